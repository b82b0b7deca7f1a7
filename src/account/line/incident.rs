//! The line of an incident.

use log::Level;

use super::{Line, debug, info, warn};
use crate::account::incident::{Incident, KilledBy, Killing, Kin};
use crate::account::text::size;
use crate::account::value::Value;
use crate::account::{plan_names, waiting};
use crate::machine::hooks::HookId;

/// The kind of a line of a hook's output.
pub const HOOK_SAID: &str = "hook-said";

impl Line {
    /// The line of an incident.
    pub fn of_incident(incident: &Incident) -> Line {
        match incident {
            Incident::Started { pid, name } => {
                info("started", format!("started {name}")).number("pid", pid.0)
            }
            Incident::NotExecuted { why } => Line::new(Level::Error, "not-executed", why.clone()),
            Incident::TookOver { pid } => {
                info("took-over", "the app continues as another process").number("pid", pid.0)
            }
            Incident::Reaped { kin, pid, status, warn } => {
                let level = if *warn { Level::Warn } else { Level::Trace };
                let msg = format!("reaped the {} {pid}, which ended with {status}", kin.as_str());
                Line::new(level, "reaped", msg)
                    .number("pid", pid.0)
                    .text("kind", kin.as_str())
                    .status(Some(*status))
            }
            Incident::Killed(killing) => killed(killing),
            Incident::KilledUnseen { count } => {
                let (them, which) =
                    if *count == 1 { ("a process", "which") } else { ("processes", "which ones") };
                let msg = format!(
                    "the kernel has killed {them} in graceinit's control group for want of memory; graceinit has \
                     not seen {which}"
                );
                warn("killed-unseen", msg).number("processes", *count)
            }
            Incident::DumpedCore { signal } => {
                warn("dumped-core", format!("the app has dumped core, because of {signal}"))
                    .show("signal", signal)
            }
            Incident::DiedOfForwarded { signal, after } => {
                let millis = after.as_millis();
                let msg =
                    format!("the app ended by {signal}, which was forwarded {millis} ms before");
                warn("died-of-forwarded", msg).show("signal", signal).span("after", *after)
            }
            Incident::LeftoversAsked { signal, processes } => {
                info("leftovers-asked", "asking the leftovers to stop")
                    .show("signal", signal)
                    .number("processes", *processes)
            }
            Incident::HookSaid { id, stderr, text } => said(*id, *stderr, text),
            Incident::Looked { index, missing, again } => looked(*index, missing.as_ref(), *again),
            Incident::Holding(holders) => {
                Line::new(Level::Trace, "holding", "connections that hold the drain")
                    .number("connections", holders.len())
            }
            Incident::HeldByWord { index, said } => {
                info("held-by-word", "the app's own word held the drain")
                    .text("condition", plan_names::word(*index))
                    .text("said", said.clone())
            }
            Incident::Says { text } => info("says", format!("the app says: {text}")),
            Incident::Reloads => info("reloads", "the app says that it reloads its configuration"),
            Incident::Failed { errno } => {
                warn("failed", "the app says that it has failed").number("errno", *errno)
            }
            Incident::Unheard { pid, uid, why, again } => {
                let level = if *again { Level::Debug } else { Level::Warn };
                let msg = format!("a message to NOTIFY_SOCKET is refused: {why}");
                Line::new(level, "unheard", msg).number("pid", pid.0).number("uid", *uid)
            }
            Incident::ForeignMain { pid } => {
                warn("foreign-main", "the app names a main process that is not one of its own")
                    .number("pid", pid.0)
            }
            Incident::ObserverEnded { status } => {
                let msg = format!("the observer ended with {status}; restarting it");
                info("observer-ended", msg)
            }
            Incident::Awaits { waits } => debug("awaits", "what the app is not ready for")
                .text("answers", waiting::text(waits)),
            Incident::Answered { wait } => {
                debug("condition-fails", "a condition does not hold: waiting")
                    .text("condition", wait.condition.clone())
                    .text("answer", wait.answer.clone())
            }
            Incident::Trouble { text } => warn("trouble", text.clone()),
        }
    }
}

/// At info for the first look that has found work.
fn looked(index: usize, missing: Option<&String>, again: bool) -> Line {
    let condition = plan_names::word(index);
    match missing {
        Some(said) => {
            let level = if again { Level::Debug } else { Level::Info };
            Line::new(level, "not-drained", "the app says that it is not drained")
                .text("condition", condition)
                .text("said", said.clone())
        }
        None => {
            debug("says-drained", "the app says that it is drained").text("condition", condition)
        }
    }
}

/// At debug if it was no app: a supervisor may kill what it has started.
fn killed(killing: &Killing) -> Line {
    let Killing { kin, pid, name, by, limit, peak } = killing;
    let who = match (name, kin) {
        (Some(name), Kin::App) => format!("{name} (pid {pid})"),
        (Some(name), kin) => format!("{name} ({}, pid {pid})", kin.as_str()),
        (None, kin) => format!("the {} (pid {pid})", kin.as_str()),
    };
    let level = if *kin == Kin::App { Level::Warn } else { Level::Debug };
    let (level, msg) = match by {
        KilledBy::OutOfMemory => {
            let limit = limit.map_or(String::new(), |limit| format!(", limit {}", size(limit)));
            (Level::Warn, format!("{who} was killed by the kernel: out of memory{limit}"))
        }
        KilledBy::Elsewhere => (
            level,
            format!(
                "{who} was ended by a SIGKILL that neither graceinit nor the kernel's OOM killer has sent"
            ),
        ),
        KilledBy::Unknown(why) => (
            level,
            format!(
                "{who} was ended by a SIGKILL that graceinit has not sent; whether it was the kernel, for want of \
                 memory, is unknown: {why}"
            ),
        ),
    };
    let number = |bytes: &u64| Value::Number(i64::try_from(*bytes).unwrap_or(i64::MAX));
    let line = Line::new(level, "killed", msg);
    let line = line.number("pid", pid.0).text("kind", kin.as_str()).text("by", by.as_str());
    let line = limit.iter().fold(line, |line, bytes| line.known("limit", Some(number(bytes))));
    peak.iter().fold(line, |line, bytes| line.known("peak", Some(number(bytes))))
}

/// At info if the hook wrote the line to stdout, at warn for stderr. At debug for a probe: that an app is not ready yet
/// is no failure.
fn said(id: HookId, stderr: bool, text: &str) -> Line {
    let (level, stream) = if stderr { (Level::Warn, "stderr") } else { (Level::Info, "stdout") };
    let level = if id.phase.checks() { Level::Debug } else { level };
    Line::new(level, HOOK_SAID, text.to_owned())
        .text("phase", id.phase.as_str())
        .text("hook", plan_names::hook(id))
        .text("stream", stream)
}
