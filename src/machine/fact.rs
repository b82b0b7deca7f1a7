//! What happened: the one list that every account of a life is rendered from.

use std::time::Duration;

use super::drain::{Holder, Look};
use super::hook::{HookId, Outcome};
use super::phase::PhaseName;
use super::plan::{Ending, Scope};
use crate::types::{Pid, Signal, Status};

/// A process that is still there when the budget ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Survivor {
    /// Its pid.
    pub pid: Pid,
    /// Its parent's pid.
    pub parent: Pid,
    /// Its state, as in proc_pid_stat(5): R, S, D, T…
    pub state: char,
    /// How many threads it has.
    pub threads: u32,
    /// How long ago it was started.
    pub age: Duration,
    /// The function of the kernel that it waits in.
    pub wchan: Option<String>,
    /// Its open TCP connections, listening sockets left out.
    pub connections: Option<usize>,
    /// What could not be read of it, separated by commas.
    pub unread: String,
    /// Its command line, in one line and cut.
    pub command: String,
}

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
    /// It was not ready in time.
    NotReady,
}

impl Reason {
    /// As hooks read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Signal => "signal",
            Reason::Exit => "exit",
            Reason::Crash => "crash",
            Reason::Deadline => "deadline",
            Reason::NotReady => "not-ready",
        }
    }
}

/// Why a drain was over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DrainEnd {
    /// The ports were quiet.
    Quiet,
    /// There was nothing but the delay to wait for.
    Delay,
    /// The budget needs the rest.
    Budget,
    /// `--drain-max` is over.
    Max,
}

/// One thing that happened.
#[allow(missing_docs, reason = "each variant tells what its fields are")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Fact {
    /// A phase began.
    Entered(PhaseName),
    /// One of several conditions of readiness holds; `index` is its place in the plan.
    ConditionHolds { index: usize, after: Duration },
    /// The app listens on the ports that will be drained.
    Listens { after: Duration },
    /// The app is ready, so long after it was started.
    Ready { after: Duration },
    /// It is not, so late. What is missing: a bit for each condition, and the ports.
    NotReady { after: Duration, missing: u64, ports: bool },
    /// The app has said that it ends by itself.
    StopsItself,
    /// The app has given no sign of life for so long.
    WatchdogMissed { interval: Duration },
    /// The app has said that another process is the app from now on.
    MainPid { pid: Pid },
    /// The app serves on for a while.
    DrainBegun { delay: Duration },
    /// The ports were looked at.
    Looked { look: Look },
    /// The drain lasts.
    StillDraining { look: Look, after: Duration },
    /// So many probes were answered "not ready": that ends the delay.
    Acknowledged { acks: u32, after: Duration },
    /// The drain is over.
    DrainEnded { why: DrainEnd, after: Duration, last: Option<Look> },
    /// One of the connections that held a drain longest that was broken off.
    HeldDrain(Box<Holder>),
    /// A stop was asked for; `grace` is the whole budget, if that has an end.
    StopRequested { signal: Signal, sender: Option<i32>, grace: Option<Duration> },
    /// A further stop request.
    StopAgain { signal: Signal, kill: bool },
    /// A signal was passed on.
    Forwarded { signal: Signal, sent: Signal, scope: Scope },
    /// A signal was dropped because `--rewrite` says so.
    Dropped { signal: Signal },
    /// A signal came when there was no app to pass it on to.
    NoApp { signal: Signal },
    /// The stop signal was sent; `rung` counts from 1. `left`: of the budget, if that has an end.
    StopSignal { signal: Signal, rung: usize, of: usize, left: Option<Duration> },
    /// This step of the stop sends nothing: the app is only waited for.
    NoStopSignal { signal: Signal, left: Option<Duration> },
    /// A signal waits for the app to be started.
    Held { signal: Signal },
    /// A signal waits for the on-reload hooks.
    ReloadRequested { signal: Signal },
    /// Another one of it waits already.
    ReloadMerged { signal: Signal },
    /// It is not passed on any more: a stop has begun.
    ReloadDropped { signal: Signal },
    /// A hook has failed whose failure ends its phase.
    PhaseAborted { id: HookId },
    /// The app has got more time.
    Extended { left: Duration },
    /// The app was sent the signal that makes it say what it is doing.
    Diagnosed { signal: Signal, left: Option<Duration> },
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
    /// Who was still there then.
    /// (Behind a pointer, so that a fact is no larger than others need.)
    StillThere(Box<Survivor>),
    /// So many more were.
    MoreStillThere(usize),
    /// Who that was is not known: there was no time to look.
    NotSurveyed,
    /// Something survived SIGKILL for as long as there was time to wait.
    Unkillable,
    /// The app was stopped at the terminal.
    Suspended { signal: Signal },
    /// It was continued.
    Resumed,
    /// The end.
    Exit { code: u8, reason: Reason },
}
