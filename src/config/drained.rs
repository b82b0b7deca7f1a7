//! `--drained`: what the app itself has to say before the drain ends.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::commands::{Builtin, Task};
use super::metric::{self, Metric};
use super::reader::Reader;
use super::ready::{MOST, program, warn_of_shell, words};
use super::{Drained, address};
use crate::cli::OptionId;

#[cold]
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Drained> {
    let tasks = reader.each_bytes(OptionId::Drained, task);
    if reader.has_failed(OptionId::Drained) {
        return Vec::new();
    }
    let found = reader.all_known(OptionId::Drained).to_vec();
    let mut list: Vec<Drained> = Vec::with_capacity(tasks.len());
    for (found, task) in found.iter().zip(tasks) {
        if list.iter().any(|drained| drained.task == task) {
            reader.wrong(OptionId::Drained, found, "it is given twice; give it once");
        } else if list.len() == MOST {
            let why = "there are more than 64 conditions; write fewer";
            reader.wrong(OptionId::Drained, found, why);
            break;
        } else {
            warn_of_shell(reader, found, &task);
            list.push(Drained { text: found.text(), task });
        }
    }
    list
}

/// One `--drained`.
fn task(text: &OsStr) -> Result<Task, String> {
    let all = text.as_bytes().trim_ascii();
    let colon = all.iter().position(|byte| *byte == b':').unwrap_or(all.len());
    let (kind, rest) = all.split_at(colon);
    let rest = rest.get(1..).unwrap_or_default().trim_ascii();
    match kind {
        b"exec" if rest.is_empty() => {
            Err("the command is missing; write exec:bin/is-idle".to_owned())
        }
        b"exec" => program(rest),
        b"http" | b"https" => {
            let url = address::address(&words(all)?, "http://127.0.0.1:8080/idle")?;
            Ok(Task::Builtin(Builtin::Answers(url)))
        }
        b"metric" if rest.is_empty() => {
            Err(format!("the address and the metric are missing; write {}", metric::EXAMPLE))
        }
        b"metric" => Ok(Task::Builtin(Builtin::Metric(Metric::parse(&words(rest)?)?))),
        _ => Err(format!(
            "not a condition; write exec:CMD, http://127.0.0.1:8080/idle or {}",
            metric::EXAMPLE
        )),
    }
}
