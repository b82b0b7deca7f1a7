//! `--ready`, `--ready-timeout`, `--ready-file`: when the app counts as ready.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use super::address;
use super::commands;
use super::commands::{Builtin, Task};
use super::parse;
use super::reader::Reader;
use super::source::Found;
use super::{Ready, When};
use crate::cli::OptionId;
use crate::machine::plan::Condition;
use crate::types::Signal;

/// More conditions are taken for an error of a template.
pub(super) const MOST: usize = 64;
/// The usual soft limit of open descriptors is 1024.
const HIGHEST_FD: i32 = 1023;

/// The settings of readiness.
#[derive(Default)]
pub(super) struct Readiness {
    pub(super) ready: Vec<Ready>,
    pub(super) timeout: Option<Duration>,
    pub(super) file: Option<CString>,
}

impl Readiness {
    /// The conditions in the form that the machine takes.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let condition = |ready: &Ready| match &ready.when {
            When::Notify => Condition::Notify,
            When::Fd(_) => Condition::Newline,
            When::Signal(signal) => Condition::Signal(*signal),
            When::After(span) => Condition::After(*span),
            When::Probe(_) => Condition::Probe,
        };
        self.ready.iter().map(condition).collect()
    }
}

#[cold]
pub(super) fn read(reader: &mut Reader<'_>) -> Readiness {
    let whens = reader.each_bytes(OptionId::Ready, when);
    let timeout = reader.one(OptionId::ReadyTimeout, parse::some_time);
    let file = reader.one_bytes(OptionId::ReadyFile, |text| parse::file_path(text, "/run/ready"));
    let ready =
        if reader.has_failed(OptionId::Ready) { Vec::new() } else { conditions(reader, whens) };
    Readiness { ready, timeout, file }
}

/// The conditions, once all of them could be read.
fn conditions(reader: &mut Reader<'_>, whens: Vec<Option<When>>) -> Vec<Ready> {
    let found = reader.all_known(OptionId::Ready).to_vec();
    let several = whens.len() > 1;
    let mut list: Vec<Ready> = Vec::with_capacity(whens.len());
    for (found, when) in found.iter().zip(whens) {
        let why = match &when {
            None if several => {
                "it means that there is no condition, and another condition is given; remove one of them"
            }
            Some(when) if list.iter().any(|ready| ready.when == *when) => {
                "it is given twice; give it once"
            }
            Some(_) if list.len() == MOST => {
                reader.wrong(
                    OptionId::Ready,
                    found,
                    "there are more than 64 conditions; write fewer",
                );
                break;
            }
            _ => "",
        };
        match when {
            _ if !why.is_empty() => reader.wrong(OptionId::Ready, found, why),
            Some(when) => {
                if let When::Probe(task) = &when {
                    warn_of_shell(reader, found, task);
                }
                list.push(Ready { text: found.text(), when });
            }
            None => {}
        }
    }
    list
}

pub(super) fn warn_of_shell(reader: &mut Reader<'_>, found: &Found, task: &Task) {
    if let Some(word) = commands::shell_operator(task) {
        reader.warnings.push(format!(
            "{} '{}': the command runs without a shell, so '{word}' is a plain argument; write \
                 exec:sh -c '...' \
                 if a shell is meant",
            found.source,
            found.text()
        ));
    }
}

/// Refuses what cannot be used together with another setting. `drains`: there are ports to wait for.
#[cold]
pub(super) fn conflicts(
    reader: &mut Reader<'_>,
    readiness: &Readiness,
    stop_on: &[Signal],
    reload_on: &[Signal],
    drains: bool,
) {
    let known: Vec<Found> = reader.all_known(OptionId::Ready).to_vec();
    // `started` is a value without a condition; it stands alone.
    let list = || known.iter().zip(&readiness.ready).map(|(found, ready)| (found, &ready.when));
    for (found, when) in list() {
        let why = match when {
            When::Signal(signal) if stop_on.contains(signal) => Some(format!(
                "{signal} cannot both begin a stop and report that the app is ready ({}); remove it from \
                 one of them",
                reader.known_with_source(OptionId::StopOn)
            )),
            When::Signal(signal) if reload_on.contains(signal) => Some(format!(
                "{signal} cannot both run the on-reload hooks and report that the app is ready ({}); \
                 remove it from one of them",
                reader.known_with_source(OptionId::ReloadOn)
            )),
            When::Fd(number) if is_open(reader, *number) => Some(format!(
                "descriptor {number} was already open when graceinit was started (a socket of \
                     LISTEN_FDS, a redirection), and the app inherits it; write another number"
            )),
            _ => None,
        };
        if let Some(why) = why {
            reader.wrong(OptionId::Ready, found, why);
        }
    }
    timeout_conflict(reader, readiness, &known, drains);
    let (Some(file), Some(told)) = (&readiness.file, reader.known(OptionId::ReadyFile).cloned())
    else {
        return;
    };
    let itself = |when: &When| match when {
        When::Probe(Task::Builtin(Builtin::Exists(path))) => path == file,
        _ => false,
    };
    if let Some((found, _)) = list().find(|(_, when)| itself(when)) {
        let why = format!(
            "the file exists only while the app is ready, and readiness waits for the file ({}); name \
             another file",
            found.with_source(OptionId::Ready)
        );
        reader.wrong(OptionId::ReadyFile, &told, why);
    }
}

fn timeout_conflict(reader: &mut Reader<'_>, readiness: &Readiness, known: &[Found], drains: bool) {
    let (Some(timeout), Some(told)) =
        (readiness.timeout, reader.known(OptionId::ReadyTimeout).cloned())
    else {
        return;
    };
    let late = known
        .iter()
        .zip(&readiness.ready)
        .find(|(_, ready)| matches!(ready.when, When::After(span) if span >= timeout));
    let why = if let Some((found, _)) = late {
        format!(
            "the app cannot be ready by then ({}); write a longer time, or a shorter after",
            found.with_source(OptionId::Ready)
        )
    } else if readiness.ready.is_empty() && !drains && !reader.has_failed(OptionId::Ready) {
        "without --ready the app is ready as soon as it is started; add --ready, or remove this option"
                .to_owned()
    } else {
        return;
    };
    reader.wrong(OptionId::ReadyTimeout, &told, why);
}

/// Whether this descriptor was open when graceinit was started.
fn is_open(reader: &Reader<'_>, number: i32) -> bool {
    reader.lookup.place.is_open.is_some_and(|is_open| is_open(number))
}

/// One `--ready`; `None`: `started`, which is not a condition.
fn when(text: &OsStr) -> Result<Option<When>, String> {
    let all = text.as_bytes().trim_ascii();
    let colon = all.iter().position(|byte| *byte == b':').unwrap_or(all.len());
    let (kind, rest) = all.split_at(colon);
    // `tcp: 8080` means the same as `tcp:8080`.
    let rest = rest.get(1..).unwrap_or_default().trim_ascii();
    let needs = |what: &str, example: &str| {
        if rest.is_empty() { Err(format!("{what} is missing; write {example}")) } else { Ok(rest) }
    };
    let when = match kind {
        b"started" if colon == all.len() => return Ok(None),
        b"notify" if colon == all.len() => When::Notify,
        b"fd" => When::Fd(fd(&words(needs("the number", "fd:3")?)?)?),
        b"tcp" => {
            let port = parse::port(&words(needs("the port", "tcp:8080")?)?)
                .map_err(|why| format!("{why} of this host, as in tcp:8080"))?;
            probe(Builtin::Connect(port))
        }
        b"http" | b"https" => {
            let url = address::address(&words(all)?, "http://127.0.0.1:8080/ready")?;
            probe(Builtin::Http { method: "GET".to_owned(), url })
        }
        b"exec" => When::Probe(program(needs("the command", "exec:pg_isready --quiet")?)?),
        b"signal" => When::Signal(signal(&words(needs("the signal", "signal:USR1")?)?)?),
        b"file" => {
            let name = needs("the path", "file:/run/app/ready")?;
            probe(Builtin::Exists(parse::path(name, "file:/run/app/ready")?))
        }
        b"after" => When::After(parse::some_time(&words(needs("the time", "after:5s")?)?)?),
        _ => {
            return Err(
                "not a condition; write notify, fd:3, tcp:8080, http://127.0.0.1:8080/ready, \
                        exec:CMD, signal:USR1, file:PATH or after:5s"
                    .to_owned(),
            );
        }
    };
    Ok(Some(when))
}

fn probe(action: Builtin) -> When {
    When::Probe(Task::Builtin(action))
}

pub(super) fn words(bytes: &[u8]) -> Result<String, String> {
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|_| "not UTF-8 text; write it in UTF-8".to_owned())
}

fn fd(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(0..=2) => Err("descriptors 0 to 2 are the app's stdio; write fd:3 or higher".to_owned()),
        Ok(number @ 3..=HIGHEST_FD) => Ok(number),
        Ok(_) | Err(_) => Err("not a descriptor; write a number from 3 to 1023".to_owned()),
    }
}

/// A program with its arguments. Built-in actions are not allowed here: conditions have names of their own.
pub(super) fn program(line: &[u8]) -> Result<Task, String> {
    let words = commands::split(line)?;
    commands::usable(&words)?;
    Ok(Task::Command(words.into_iter().map(OsString::from_vec).collect()))
}

fn signal(text: &str) -> Result<Signal, String> {
    let signal = parse::signal(text)?;
    if parse::NEVER_SEEN.contains(&signal) {
        return Err(format!("{signal} cannot report readiness; name a signal that can be caught"));
    }
    Ok(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let c = |text: &str| CString::new(text).expect("no 0");
        let command = |words: &[&str]| Task::Command(words.iter().map(OsString::from).collect());
        let http = |url: &str| Builtin::Http { method: "GET".to_owned(), url: url.to_owned() };
        for (text, want) in [
            ("notify", When::Notify),
            (" notify ", When::Notify),
            ("fd:3", When::Fd(3)),
            ("fd: 1023", When::Fd(1023)),
            ("tcp:8080", probe(Builtin::Connect(8080))),
            ("http://127.0.0.1:80/a?b", probe(http("http://127.0.0.1:80/a?b"))),
            ("http://localhost:8080", probe(http("http://127.0.0.1:8080/"))),
            ("http://[::1]", probe(http("http://[::1]:80/"))),
            ("exec:test -f 'a b'", When::Probe(command(&["test", "-f", "a b"]))),
            ("exec: true", When::Probe(command(&["true"]))),
            ("exec:sleep:1s", When::Probe(command(&["sleep:1s"]))),
            ("signal:SIGPIPE", When::Signal(Signal::PIPE)),
            ("signal:RTMIN+1", When::Signal(Signal::parse("RTMIN+1").expect("a signal"))),
            ("file:/run/a b", probe(Builtin::Exists(c("/run/a b")))),
            ("file: ready", probe(Builtin::Exists(c("ready")))),
            ("after:1m 30s", When::After(Duration::from_secs(90))),
        ] {
            assert_eq!(when(OsStr::new(text)), Ok(Some(want)), "{text}");
        }
        assert_eq!(when(OsStr::new("started")), Ok(None));
        let bytes = OsStr::from_bytes(b"file:/\xff");
        assert!(matches!(when(bytes), Ok(Some(When::Probe(_)))), "any bytes");
    }
}
