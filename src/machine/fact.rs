//! What happened: the one list that every account of a life is rendered from.

use std::time::Duration;

use super::hook::{HookId, Outcome};
use super::phase::PhaseName;
use super::plan::{Ending, Scope};
use crate::types::{Signal, Status};

/// Why the app went: `GRACEINIT_REASON`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// A stop was asked for.
    Signal,
    /// It ended by itself with code 0.
    Exit,
    /// It ended by itself with another code or by a signal, or could not be executed.
    Crash,
    /// It was killed at the end of the budget.
    Deadline,
}

impl Reason {
    /// As hooks read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Signal => "signal",
            Reason::Exit => "exit",
            Reason::Crash => "crash",
            Reason::Deadline => "deadline",
        }
    }
}

/// One thing that happened.
#[allow(missing_docs, reason = "each variant tells what its fields are")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Fact {
    /// A phase began.
    Entered(PhaseName),
    /// A stop was asked for; `grace` is the whole budget.
    StopRequested { signal: Signal, sender: Option<i32>, grace: Duration },
    /// A further stop request.
    StopAgain { signal: Signal, kill: bool },
    /// A signal was passed on.
    Forwarded { signal: Signal, sent: Signal, scope: Scope },
    /// A signal was dropped because `--rewrite` says so.
    Dropped { signal: Signal },
    /// A signal came when there was no app to pass it on to.
    NoApp { signal: Signal },
    /// The stop signal was sent; `rung` counts from 1.
    StopSignal { signal: Signal, rung: usize, of: usize, left: Duration },
    /// `--rewrite` drops the signal that the app would have been stopped with.
    NoStopSignal { signal: Signal },
    /// An attempt began.
    HookStarted { id: HookId, limit: Duration },
    /// An attempt ended.
    HookEnded { id: HookId, outcome: Outcome, status: Option<Status> },
    /// A failed attempt is followed by another.
    HookRetried { id: HookId, pause: Duration },
    /// A hook did not run, because no time was left for it.
    HookSkipped { id: HookId },
    /// The app has gone.
    AppEnded { ending: Ending },
    /// What the app left behind was sent this.
    LeftoversSignalled { signal: Signal, left: Duration },
    /// The budget is over: SIGKILL to all.
    DeadlineReached { early: bool },
    /// Something survived SIGKILL for as long as there was time to wait.
    Unkillable,
    /// The app was stopped at the terminal.
    Suspended { signal: Signal },
    /// It was continued.
    Resumed,
    /// The end.
    Exit { code: u8, reason: Reason },
}
