//! The phases of one life.
//!
//! # A stop, from the request to the exit
//!
//! An app runs until it ends by itself or until a stop begins. A stop begins when a signal of `--stop-on`
//! arrives (the stop request), or when the app fails: it is not ready in time, or it misses its watchdog.
//! From that moment the budget (`--grace`) runs, and its end is fixed: whatever happens in the phases
//! below, SIGKILL comes at `budget_end`. Two things move that moment: the app itself, which may ask for
//! more time up to `--grace-max`, and a second stop request, which ends the budget at once.
//!
//! ```text
//!  starting ──► running ──► ready                   pre-start hooks, fork, execve, --ready, on-ready hooks
//!     │            │          │
//!     └────────────┴──────────┤ stop request, or the app has failed: the budget begins
//!                             ▼
//!                         pre-stop                  pre-stop hooks, side by side; readiness has fallen
//!                             │
//!                             ▼
//!                           drain                   the app still serves, if it was ready
//!                             │
//!                             ▼
//!                          on-stop                  on-stop hooks, one after the other
//!                             │
//!                             ▼
//!                         stopping                  the steps of --stop-signal
//!                             │
//!      app ends, from any ───►▼
//!      phase above        leftovers ───────┐        processes that the app left behind get the stop signal
//!                             │            │
//!      budget ends, from ─────┼────────►killed      SIGKILL to the whole tree
//!      pre-stop to leftovers  ▼            │
//!                         post-stop ◄──────┘        post-stop hooks, always, in a reserve of their own
//!                             │
//!                             ▼
//!                           exit
//! ```
//!
//! The order has reasons. Readiness falls first, so that no new traffic arrives during the rest. Pre-stop
//! hooks run before the drain, because they are what takes the app out of a registry. On-stop hooks run
//! while the app still lives, and the app is asked last, because after the stop signal it may be gone at
//! any moment. The app's end does not end the stop: the processes it left behind get the same chance to
//! end in an orderly way. Post-stop hooks run whatever happened before; their time is not part of the
//! budget, so an app that uses up its budget cannot prevent them.
//!
//! Phases never go back. A state that matters in one phase only is a field of that phase's variant, so
//! that it cannot disagree with the phase. What belongs to the stop as a whole is in `Stop`. What an
//! event means in each phase is the table in docs/shutdown.md.

use std::collections::VecDeque;

use super::Received;
use super::attempt::{HookId, HookPhase, Queue};
use super::connections::Sample;
use crate::types::{Signal, SignalSet, Time};

/// Where the machine is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// The pre-start hooks run, in order; there is no app yet.
    PreStart {
        /// The position in the pre-start hooks.
        queue: Queue,
        /// Signals for the app: to be sent right after its fork, or when it is ready.
        held: Vec<Received>,
    },
    /// The app was forked; whether execve succeeded is not known yet.
    Starting {
        /// Reload signals that arrived since the fork.
        reloads: VecDeque<Received>,
        /// Signals from before the fork, to be sent when the app is ready.
        held: Vec<Received>,
        /// Ctrl-Z was typed, and only graceinit can stop the app for it (`Plan::session`).
        typed_stop: bool,
    },
    /// The app runs.
    Running {
        /// The app was stopped at the terminal and graceinit with it: the next SIGCONT resumes both.
        suspended: bool,
        /// A Ctrl-Z from before execve. It takes effect at the end of the event that reports execve, after
        /// every signal that waited for the app, and is false between events.
        typed_stop: bool,
        /// The on-ready or on-reload hooks that run now.
        hooks: Option<LiveHooks>,
        /// Reload signals that were not forwarded yet; running on-reload hooks are for the first of them.
        reloads: VecDeque<Received>,
        /// Whether the app can be sent work.
        readiness: Readiness,
        /// When the watchdog counts as missed.
        watchdog: Option<Time>,
        /// The watchdog got its time again since the last keep-alive, because nothing ran.
        granted: bool,
    },
    /// The pre-stop hooks run, side by side.
    PreStop {
        /// Attempts that follow failed ones, and when they start.
        retries: Vec<(HookId, Time)>,
        /// The app was ready, so it is drained next.
        serving: Option<Serving>,
    },
    /// The app still serves: load balancers must learn of the stop, and requests in flight must end.
    Drain(Draining),
    /// The on-stop hooks run, in order.
    OnStop(Queue),
    /// The stop signal was sent; the machine waits for the app to end.
    Stopping {
        /// The step of `--stop-signal` that was taken last.
        rung: usize,
        /// When the next step is taken.
        next_rung: Option<Time>,
        /// When the diagnose signal is sent; `None` once it was.
        diagnose: Option<Time>,
    },
    /// The app has ended; the processes that it left behind were sent the stop signal.
    Leftovers(Sweep),
    /// SIGKILL was sent to the whole tree; the machine waits until all of it was reaped.
    Killed {
        /// When the wait ends even if a process does not die.
        give_up: Time,
        /// Processes that were forked during the kill need another one.
        sweep: Sweep,
    },
    /// The post-stop hooks run, in order.
    PostStop {
        /// The position in the post-stop hooks.
        queue: Queue,
        /// The end of the reserve, and of graceinit.
        reserve_end: Time,
        /// Whether a child of graceinit is left.
        tree: Tree,
        /// The processes that the hooks left behind were sent the stop signal.
        asked: bool,
        /// They were sent SIGKILL.
        killed: bool,
    },
    /// [`super::Action::Exit`] was pushed. No further event has an effect.
    Exited,
}

/// A stop, from its first cause to the exit. It exists once a stop was requested or a budget runs.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Stop {
    /// The first stop request; `None`: the app ended by itself, or has failed.
    pub(super) request: Option<Request>,
    /// graceinit stops the app without a request, for this reason.
    pub(super) failure: Option<Failure>,
    /// When SIGKILL comes; `None`: no budget runs, or one without an end. An absolute time, which only
    /// the app's wish for more time and a second request move.
    pub(super) budget_end: Option<Time>,
    /// How far the app may move `budget_end` (`--grace-max`).
    pub(super) budget_end_limit: Time,
    /// A second stop request has ended the budget.
    pub(super) hurried: bool,
    /// The records of the survivors were requested for the present `budget_end`.
    pub(super) survivors_requested: bool,
    /// The stop signal that leftovers get went to the app's whole process group.
    pub(super) group_asked: bool,
    /// The stop signals that the app was sent.
    pub(super) sent: SignalSet,
    /// The app was not stopped when it was sent the last stop signal, so no SIGCONT followed.
    pub(super) owes_continue: bool,
    /// A further request with another signal came before the stop signal was sent.
    pub(super) escalation: Option<Signal>,
    /// The app was alive when SIGKILL was sent to the tree.
    pub(super) app_killed: bool,
}

/// The first stop request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Request {
    pub(super) signal: Signal,
    /// The process that sent it.
    pub(super) sender: Option<i32>,
    /// It came before the app had ended, so it is the reason of the end.
    pub(super) while_app_lived: bool,
}

/// Why graceinit stops an app without a stop request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// The app was not ready in time.
    NotReady,
    /// The app has missed its watchdog.
    Watchdog,
    /// The kernel has killed another process for want of memory (`--child-oom stop`).
    OutOfMemory,
}

/// Whether a running app can be sent work.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Readiness {
    /// Not yet.
    Waiting(Waiting),
    /// It can.
    Ready,
    /// No longer: the app has announced that it ends by itself.
    Over {
        /// The app had been ready before.
        was_ready: bool,
    },
}

/// What has to hold before the app counts as ready.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Waiting {
    /// When the app was executed.
    pub since: Time,
    /// The conditions that do not hold yet: a bit for each, by its index in the plan.
    pub missing: u64,
    /// When the next check comes whether the app listens on the ports to be drained; `None`: it does, or
    /// there are no such ports.
    pub next_listen_check: Option<Time>,
    /// The conditions that probes check.
    pub probes: Vec<Probe>,
    /// When the app has failed to become ready (`--ready-timeout`).
    pub timeout_end: Option<Time>,
    /// Signals from before the start that an app without a handler would die of.
    pub held: Vec<Received>,
    /// The warning that the app is still not ready was given.
    pub warned: bool,
}

/// A condition that a child process checks, again and again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Probe {
    /// Its index in the plan.
    pub index: usize,
    /// The attempt that runs or comes next, from 1.
    pub attempt: u32,
    /// When that attempt starts; `None`: it runs.
    pub start: Option<Time>,
}

impl Probe {
    /// Its present attempt. A probe runs as a hook does.
    pub fn id(&self) -> HookId {
        HookId { phase: HookPhase::Ready, round: 0, index: self.index, attempt: self.attempt }
    }
}

/// An app that serves although a stop has begun.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Serving {
    /// When readiness fell.
    pub not_ready_since: Time,
    /// How many readiness probes were answered "not ready" since then.
    pub acks: u32,
}

/// The drain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Draining {
    /// What load balancers know.
    pub serving: Serving,
    /// When the drain began.
    pub begun: Time,
    /// When a fact told last that the drain lasts.
    pub told: Time,
    /// The last sample.
    pub last_sample: Option<Sample>,
    /// When the next sample is taken.
    pub next_sample: Time,
    /// Since when nothing but the app's own word keeps the drain from ending; `None`: something does, or there
    /// is no `--drained`.
    pub quiet_since: Option<Time>,
    /// The conditions of `--drained`.
    pub words: Vec<Word>,
}

/// A condition of `--drained`: a child process asks for it, again and again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Word {
    /// Its index in the plan.
    pub index: usize,
    /// The look that runs or comes next, from 1.
    pub attempt: u32,
    /// When the last look began; `None`: there was none.
    pub begun: Option<Time>,
    /// A look runs.
    pub runs: bool,
    /// When the last look that has ended began, if it has found that the condition holds.
    pub held: Option<Time>,
}

impl Word {
    /// Its present look. It runs as a hook does.
    pub fn id(&self) -> HookId {
        HookId { phase: HookPhase::Drained, round: 0, index: self.index, attempt: self.attempt }
    }
}

/// Hooks that run in order beside a running app.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LiveHooks {
    /// On-ready or on-reload.
    pub phase: HookPhase,
    /// The position in the hooks of that phase.
    pub queue: Queue,
}

/// The children of graceinit in post-stop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tree {
    /// None.
    Empty,
    /// A hook, or a process that a hook left behind.
    Busy,
    /// A process that did not die of SIGKILL. The exit does not wait for it.
    GivenUp,
}

/// Signals to the whole tree are repeated: a process that is being forked during one round is missed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sweep {
    /// How many rounds there were.
    pub rounds: u32,
    /// When the next one comes.
    pub next: Time,
}

/// A phase's name: the same in code, docs, logs, metrics and hook variables. Ordered as in a stop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PhaseName {
    /// `starting`
    Starting,
    /// `running`
    Running,
    /// `ready`
    Ready,
    /// `pre-stop`
    PreStop,
    /// `drain`
    Drain,
    /// `on-stop`
    OnStop,
    /// `stopping`
    Stopping,
    /// `leftovers`
    Leftovers,
    /// `killed`
    Killed,
    /// `post-stop`
    PostStop,
    /// `exit`
    Exit,
}

impl PhaseName {
    /// All of them, in that order.
    pub const ALL: [PhaseName; 11] = [
        PhaseName::Starting,
        PhaseName::Running,
        PhaseName::Ready,
        PhaseName::PreStop,
        PhaseName::Drain,
        PhaseName::OnStop,
        PhaseName::Stopping,
        PhaseName::Leftovers,
        PhaseName::Killed,
        PhaseName::PostStop,
        PhaseName::Exit,
    ];

    /// The name as users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            PhaseName::Starting => "starting",
            PhaseName::Running => "running",
            PhaseName::Ready => "ready",
            PhaseName::PreStop => "pre-stop",
            PhaseName::Drain => "drain",
            PhaseName::OnStop => "on-stop",
            PhaseName::Stopping => "stopping",
            PhaseName::Leftovers => "leftovers",
            PhaseName::Killed => "killed",
            PhaseName::PostStop => "post-stop",
            PhaseName::Exit => "exit",
        }
    }
}

impl Phase {
    /// Takes the signals that wait until the app is ready.
    pub(super) fn take_held(&mut self) -> Vec<Received> {
        match self {
            Phase::Starting { held, .. }
            | Phase::Running { readiness: Readiness::Waiting(Waiting { held, .. }), .. } => {
                std::mem::take(held)
            }
            Phase::PreStart { .. }
            | Phase::Running { readiness: Readiness::Ready | Readiness::Over { .. }, .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => Vec::new(),
        }
    }

    /// The name of the phase.
    pub fn name(&self) -> PhaseName {
        match self {
            Phase::PreStart { .. } | Phase::Starting { .. } => PhaseName::Starting,
            // Phases never go back: an app whose readiness has fallen is still past `running`.
            Phase::Running {
                readiness: Readiness::Ready | Readiness::Over { was_ready: true },
                ..
            } => PhaseName::Ready,
            Phase::Running {
                readiness: Readiness::Waiting(_) | Readiness::Over { was_ready: false },
                ..
            } => PhaseName::Running,
            Phase::PreStop { .. } => PhaseName::PreStop,
            Phase::Drain(_) => PhaseName::Drain,
            Phase::OnStop(_) => PhaseName::OnStop,
            Phase::Stopping { .. } => PhaseName::Stopping,
            Phase::Leftovers(_) => PhaseName::Leftovers,
            Phase::Killed { .. } => PhaseName::Killed,
            Phase::PostStop { .. } => PhaseName::PostStop,
            Phase::Exited => PhaseName::Exit,
        }
    }
}
