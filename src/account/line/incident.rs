//! The line of an incident.

use log::Level;

use super::{Line, debug, info, warn};
use crate::account::incident::Incident;
use crate::account::{plan_names, waiting};
use crate::machine::hooks::{HookId, HookPhase};

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
            Incident::LeftoversAsked { signal, processes } => {
                info("leftovers-asked", "asking the leftovers to stop")
                    .show("signal", signal)
                    .number("processes", *processes)
            }
            Incident::HookSaid { id, stderr, text } => said(*id, *stderr, text),
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

/// At info if the hook wrote the line to stdout, at warn for stderr. At debug for a probe: that an app is not ready yet
/// is no failure.
fn said(id: HookId, stderr: bool, text: &str) -> Line {
    let (level, stream) = if stderr { (Level::Warn, "stderr") } else { (Level::Info, "stdout") };
    let level = if id.phase == HookPhase::Ready { Level::Debug } else { level };
    Line::new(level, HOOK_SAID, text.to_owned())
        .text("phase", id.phase.as_str())
        .text("hook", plan_names::hook(id))
        .text("stream", stream)
}
