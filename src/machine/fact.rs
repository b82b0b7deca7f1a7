//! Facts: the one list of what happened that log, report and metrics are rendered from. No behaviour
//! depends on them.

use std::time::Duration;

use super::attempt::{HookId, Outcome};
use super::connections::{Holder, Sample};
use super::phase::PhaseName;
use super::plan::{Ending, Scope};
use crate::types::{Pid, Signal, Status};

/// A process that exists when the budget ends, just before SIGKILL.
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
    /// The kernel function that it waits in.
    pub wchan: Option<String>,
    /// How many TCP connections it has open, listening sockets not counted.
    pub connections: Option<usize>,
    /// The names of what could not be read, separated by commas.
    pub unread: String,
    /// Its command line, made one line and truncated.
    pub command: String,
}

/// Why the app ended: `GRACEINIT_REASON`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// A stop was requested.
    Signal,
    /// It exited by itself with code 0.
    Exit,
    /// It exited by itself with another code or died of a signal, or its execve failed.
    Crash,
    /// It was killed at the end of the budget.
    Deadline,
    /// It was not ready in time.
    NotReady,
    /// The kernel has killed it for want of memory; or another process, and `--child-oom stop` is set.
    OutOfMemory,
}

impl Reason {
    /// The value of `GRACEINIT_REASON`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Signal => "signal",
            Reason::Exit => "exit",
            Reason::Crash => "crash",
            Reason::Deadline => "deadline",
            Reason::NotReady => "not-ready",
            Reason::OutOfMemory => "oom",
        }
    }
}

/// Why a drain ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DrainEnd {
    /// Nothing was in flight.
    Quiet,
    /// The time was nearly over, and nothing was owed, unread or unacknowledged.
    Moment,
    /// There are no ports to sample, and `--drain-delay` was over.
    Delay,
    /// The rest of the budget is kept for the on-stop hooks and the app.
    Budget,
    /// `--drain-max` is over.
    Max,
}

/// One thing that happened.
#[allow(missing_docs, reason = "each variant says what its fields are")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Fact {
    /// A phase began.
    Entered(PhaseName),
    /// One of several conditions of readiness holds; `index` is its index in the plan.
    ConditionHolds { index: usize, after: Duration },
    /// The app listens on the ports that will be drained.
    Listens { after: Duration },
    /// The app is ready, `after` it was executed.
    Ready { after: Duration },
    /// The app is not ready after `--ready-timeout`. `missing`: a bit for each condition that does not hold;
    /// `ports`: it does not listen on the ports that are to be drained.
    NotReady { after: Duration, missing: u64, ports: bool },
    /// The app was not ready for a while. The fields are those of `NotReady`.
    StillNotReady { after: Duration, missing: u64, ports: bool },
    /// The app has announced that it ends by itself (STOPPING=1).
    StopsItself,
    /// The app has sent no keep-alive within this interval.
    WatchdogMissed { interval: Duration },
    /// The kernel has killed another process than the app for want of memory, so the app is stopped (`--child-oom stop`).
    ChildOutOfMemory,
    /// The app has named another process as its main process (MAINPID).
    MainPid { pid: Pid },
    /// A drain began: the app keeps serving.
    DrainBegun { delay: Duration },
    /// A sample of the connections was taken.
    Sampled { sample: Sample },
    /// Enough readiness probes were answered "not ready", which ends `--drain-delay`.
    Acknowledged { acks: u32, after: Duration },
    /// The drain ended; `last`: the last sample. `missing`: the conditions of `--drained` that alone kept it from
    /// ending, a bit for each.
    DrainEnded { why: DrainEnd, after: Duration, last: Option<Sample>, missing: u64 },
    /// One of the connections that held a drain longest that was broken off.
    HeldDrain(Box<Holder>),
    /// The drain lasts. `missing`: as above.
    StillDraining { sample: Option<Sample>, missing: u64, after: Duration },
    /// A stop was requested. `grace`: the length of the budget, if it has an end.
    StopRequested { signal: Signal, sender: Option<i32>, grace: Option<Duration> },
    /// Another stop request. `kill`: it ends the budget. `sent`: what the app is sent for it as well.
    StopAgain { signal: Signal, kill: bool, sent: Option<Signal> },
    /// A signal was forwarded.
    Forwarded { signal: Signal, sent: Signal, scope: Scope },
    /// A signal was dropped, by `--rewrite`.
    Dropped { signal: Signal },
    /// A signal arrived when there was no app to forward it to.
    NoApp { signal: Signal },
    /// The stop signal was sent, as step `rung` (from 1) `of` all. `left`: the rest of the budget, if it has
    /// an end.
    StopSignal { signal: Signal, rung: usize, of: usize, left: Option<Duration> },
    /// This step of the stop sends no signal.
    NoStopSignal { signal: Signal, left: Option<Duration> },
    /// A signal waits for the app to be started, or to be ready.
    Held { signal: Signal },
    /// A signal that could end the app is not forwarded: the app is not ready for it.
    TooEarly { signal: Signal },
    /// The loop woke up much later than it had asked for. The app gets its time for readiness and keep-alives again.
    StoodStill { span: Duration },
    /// A signal waits for the on-reload hooks.
    ReloadRequested { signal: Signal },
    /// The same signal already waits for the on-reload hooks.
    ReloadMerged { signal: Signal },
    /// A reload signal that still waited is not forwarded: the app has ended, or a stop has begun.
    ReloadDropped { signal: Signal },
    /// A hook has failed for good, which ends its phase.
    PhaseAborted { id: HookId },
    /// The app has asked for more time and got it.
    Extended { left: Duration },
    /// The diagnose signal was sent to the app.
    Diagnosed { signal: Signal, left: Option<Duration> },
    /// An attempt started. `limit`: its timeout, or less if the budget ends before.
    HookStarted { id: HookId, limit: Duration },
    /// An attempt ended.
    HookEnded { id: HookId, outcome: Outcome, status: Option<Status> },
    /// A failed attempt is followed by another, after `pause`.
    HookRetried { id: HookId, pause: Duration },
    /// A hook was not started, because no time was left for it.
    HookSkipped { id: HookId },
    /// The app has ended.
    AppEnded { ending: Ending },
    /// The leftovers were sent the stop signal.
    LeftoversSignalled { signal: Signal, left: Duration },
    /// The budget ended: SIGKILL to the whole tree. `early`: a second stop request has ended it.
    DeadlineReached { early: bool },
    /// A survivor. Boxed, so that it does not make every fact larger.
    StillThere(Box<Survivor>),
    /// How many more survivors there were than were reported one by one.
    MoreStillThere(usize),
    /// The survivors are not known: their records were not complete in time.
    SurvivorsNotRecorded,
    /// A process still existed when the wait after SIGKILL was over.
    Unkillable,
    /// The app was stopped at the terminal, and graceinit with it.
    Suspended { signal: Signal },
    /// The app was continued.
    Resumed,
    /// graceinit exits.
    Exit { code: u8, reason: Reason },
}
