//! What a fault has done to a life.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::life::{CODE, Life, Sight};
use crate::support::Status;
use crate::support::trace::Injection;

/// What became of a life in which a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The call was not made so often.
    NotReached,
    /// Nothing differs.
    Same,
    /// Nothing but the log differs: it has a warning.
    Warned,
    /// Something is missing, and the log has a warning.
    Lost(Vec<String>),
    /// A promise is broken.
    Broken(Vec<String>),
}

/// Calls without which no process can be told anything.
const KILLS: [i64; 3] = [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_pidfd_send_signal];

/// So many calls more than three times those of the life without a fault are no spin. A loop that does not pause makes
/// more than ten times as many before the life ends.
const MOST_CALLS: usize = 5000;

/// What says that a process or a child does not exist is an answer, and no failure: a kernel gives it if it is so, and
/// graceinit has to believe it. Then it is enough that the life ends in time, and says nothing false.
fn is_answer(call: i64, errno: i32) -> bool {
    let of_process = [
        libc::SYS_kill,
        libc::SYS_tgkill,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_waitid,
    ];
    // A file of a process that has ended.
    let of_file = [libc::SYS_openat, libc::SYS_read, libc::SYS_readlink, libc::SYS_readlinkat];
    match errno {
        libc::ESRCH => of_process.contains(&call) || of_file.contains(&call),
        libc::ENOENT => of_file.contains(&call),
        libc::ECHILD => call == libc::SYS_waitid,
        _ => false,
    }
}

/// What is compared with a life in which no call fails.
pub(crate) fn signs(life: Life, sight: &Sight) -> BTreeMap<String, String> {
    let mut signs: BTreeMap<String, String> = BTreeMap::new();
    let code = sight.status.map_or("none".to_owned(), |status| status.to_string());
    signs.insert("exit".to_owned(), code);
    for signal in ["USR1", "HUP"] {
        signs.insert(format!("{signal} to the app"), count(sight, &format!("got {signal} ")));
    }
    for name in life.asked() {
        let who = if name.is_empty() { "app" } else { name.trim_end_matches(": ") };
        signs.insert(format!("TERM to the {who}"), count(sight, &format!("{name}got TERM ")));
    }
    signs.extend(sight.left.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    signs
}

fn count(sight: &Sight, start: &str) -> String {
    sight.out.iter().filter(|line| line.starts_with(start)).count().to_string()
}

/// Warnings and errors of the log.
pub(crate) fn warnings(sight: &Sight) -> BTreeSet<String> {
    let loud = |line: &&Value| line["level"] == "warn" || line["level"] == "error";
    let texts = sight.log.iter().filter(loud).map(|line| line["msg"].as_str().unwrap_or_default());
    let words = sight.words.iter().map(String::as_str);
    let words = words.filter(|line| line.contains(": warn: ") || line.contains(": error: "));
    texts.chain(words).map(str::to_owned).collect()
}

/// `usual`: the life without a fault.
pub(crate) fn judge(life: Life, injection: Injection, usual: &Sight, sight: &Sight) -> Verdict {
    let call = injection.call;
    let answer = is_answer(call, injection.errno);
    if sight.seen.injected == 0 {
        return Verdict::NotReached;
    }
    let usual_signs = signs(life, usual);
    let differ: Vec<(String, String)> = signs(life, sight)
        .into_iter()
        .filter(|(name, value)| usual_signs.get(name) != Some(value))
        .collect();
    let warned = warnings(sight).difference(&warnings(usual)).next().is_some();
    let deaf = warned && KILLS.contains(&call);

    let mut broken = falsehoods(sight, answer);
    match sight.status {
        None => broken.push("it does not end".to_owned()),
        Some(Status::Code(CODE)) => {}
        // The app could not be asked, so it was killed at the end of the budget.
        Some(Status::Code(137)) if deaf || answer => {}
        Some(status) => broken.push(format!("exit: {status}")),
    }
    if sight.took > life.longest() {
        broken.push(format!("the stop took {:.1} s", sight.took.as_secs_f32()));
    }
    if sight.zombies > 0 && !answer {
        broken.push(format!("{} zombies", sight.zombies));
    }
    if sight.seen.after > usual.seen.calls.len() * 3 + MOST_CALLS {
        broken.push(format!("{} calls after the fault", sight.seen.after));
    }
    for (name, value) in &differ {
        let asked = name.starts_with("TERM to ");
        // Near the end of the budget all processes are asked at once if they cannot be told apart.
        let blind =
            warnings(sight).iter().any(|text| text.contains("unable to read the process tree"));
        let known = deaf && value == "0" || blind && value == "2" || answer && value == "0";
        if asked && !known {
            broken.push(format!("{name}: {value} times"));
        }
        // null: the last report could not be written, and the one before does not know the end.
        let code = name == "report" && !["none", "null"].contains(&value.as_str());
        if code
            && sight.status.is_none_or(|status| status != Status::Code(value.parse().unwrap_or(-1)))
        {
            broken.push(format!("the report says {value}"));
        }
    }
    if !differ.is_empty() && !warned && !answer {
        let names: Vec<&str> = differ.iter().map(|(name, _)| name.as_str()).collect();
        broken.push(format!("not a word about: {}", names.join(", ")));
    }
    if !broken.is_empty() {
        return Verdict::Broken(broken);
    }
    match (differ.is_empty(), warned) {
        (true, false) => Verdict::Same,
        (true, true) => Verdict::Warned,
        (false, _) => {
            let lost = differ.into_iter().filter(|(name, _)| name != "exit");
            Verdict::Lost(lost.map(|(name, value)| tell(&usual_signs, name, &value)).collect())
        }
    }
}

/// What is missing, in a few words.
fn tell(usual: &BTreeMap<String, String>, name: String, value: &str) -> String {
    if name.starts_with("TERM to ") && value == "2" {
        return format!("a second {name} near the end of the budget");
    }
    if name != "hooks" {
        return name;
    }
    let missing: Vec<&str> = usual["hooks"]
        .split(' ')
        .filter(|hook| !value.split(' ').any(|had| had == *hook))
        .collect();
    format!("hook {}", missing.join(", "))
}

/// What the log says and is not so.
fn falsehoods(sight: &Sight, answer: bool) -> Vec<String> {
    let mut found = Vec::new();
    let warnings = warnings(sight);
    let has_warned = |text: &str| warnings.iter().any(|line| line.contains(text));
    // No process is in state D. What was not killed, or counts as no child, does not end.
    let is_killed = !answer && !has_warned("unable to send KILL to every process");
    // Without sock_diag it is not known who sent last.
    let is_seen = !has_warned("unable to ask the kernel for connections");
    let hooks = &sight.left["hooks"];
    for line in &sight.log {
        let msg = line["msg"].as_str().unwrap_or_default();
        let fact = line["fact"].as_str().unwrap_or_default();
        let is_false = match fact {
            "exit" => sight.status.is_some_and(|status| {
                status != Status::Code(line["code"].as_i64().unwrap_or(-1) as i32)
            }),
            "unkillable" => is_killed,
            // The kernel kills no process for want of memory, nor does another process.
            "killed" => line["by"] != "unknown",
            // The only connection is idle.
            "drain-ended" => {
                let counts = [&line["cut"], &line["uncertain"]];
                is_seen && counts.iter().any(|it| it.as_i64() > Some(0))
            }
            "forwarded" => {
                !sight.out.iter().any(|had| {
                    had.starts_with(&format!("got {} ", line["sent"].as_str().unwrap_or_default()))
                }) && warnings.is_empty()
            }
            "hook-ended" => {
                let phase = line["phase"].as_str().unwrap_or_default();
                let name = line["hook"].as_str().unwrap_or_default();
                let noted =
                    [("on-stop-1", "on"), ("post-stop-1", "post"), ("on-reload-1", "reload")];
                let note = noted.iter().find(|(hook, _)| *hook == name);
                let ran = |note: &str| hooks.split(' ').any(|had| had == note);
                (line["outcome"] == "done" && note.is_some_and(|(_, note)| !ran(note)))
                    || phase.is_empty()
            }
            _ => msg.contains("internal error"),
        };
        if is_false {
            found.push(format!("the log says: {msg}"));
        }
    }
    let is_false = |line: &&String| {
        line.contains("after the kill") && is_killed || line.contains("internal error")
    };
    found.extend(sight.words.iter().filter(is_false).map(|line| format!("the log says: {line}")));
    found
}
