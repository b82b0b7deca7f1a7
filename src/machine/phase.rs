//! The phases of one life, in the order in which a stop walks them. What matters in one phase only
//! lives in that phase's variant, so no flag can disagree with the state.

use std::collections::VecDeque;

use super::Received;
use super::drain::Look;
use super::hook::{HookId, HookPhase, Queue};
use crate::types::Time;

/// Where the machine is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// The pre-start hooks run, in order; there is no app yet.
    PreStart {
        /// Whose turn it is.
        queue: Queue,
        /// Signals for the app, to be sent when it is there.
        held: Vec<Received>,
    },
    /// The app was forked; whether it could be executed is not known yet.
    Starting {
        /// Reload signals that came meanwhile.
        reloads: VecDeque<Received>,
    },
    /// The app runs.
    Running {
        /// The app was stopped at the terminal and graceinit with it: the next SIGCONT resumes both.
        suspended: bool,
        /// The on-ready or on-reload hooks that run now.
        work: Option<Work>,
        /// Reload signals that were not passed on yet; the on-reload hooks that run are for the first.
        reloads: VecDeque<Received>,
        /// Whether it can be sent work.
        readiness: Readiness,
        /// When the next sign of life has to have come.
        watchdog: Option<Time>,
    },
    /// The pre-stop hooks run, side by side.
    PreStop {
        /// Attempts that follow failed ones, and when.
        retries: Vec<(HookId, Time)>,
        /// The app was ready, so it is drained.
        serving: Option<Serving>,
    },
    /// The app serves on until balancers have learned that it is going and its ports are quiet.
    Drain(Draining),
    /// The on-stop hooks run, in order.
    OnStop(Queue),
    /// The stop signal was sent; the app is waited for.
    Stopping {
        /// The step of the ladder that was sent last.
        rung: usize,
        /// When the next step is due.
        next: Option<Time>,
        /// When the diagnose signal is due; `None` once it was sent.
        diagnose: Option<Time>,
    },
    /// The app has gone; what it left behind was sent the stop signal.
    Leftovers(Sweep),
    /// SIGKILL was sent to all; they are waited for.
    Killed {
        /// When the wait ends even if something does not die.
        give_up: Time,
        /// Newcomers are looked for.
        sweep: Sweep,
    },
    /// The post-stop hooks run, in order.
    PostStop {
        /// Whose turn it is.
        queue: Queue,
        /// The end of everything.
        end: Time,
        /// Whether anything but graceinit itself is left.
        tree: Tree,
        /// What the hooks left behind was told to stop.
        told: bool,
        /// It was killed.
        killed: bool,
    },
    /// `Exit` was ordered. Nothing happens any more.
    Exited,
}

/// Whether a running app can be sent work.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Readiness {
    /// Not yet.
    Waiting(Waiting),
    /// It can.
    Ready,
    /// Not any more: it has said that it ends by itself.
    Over {
        /// It could be, before.
        was_ready: bool,
    },
}

/// What an app is waited for before it counts as ready.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Waiting {
    /// Since when it runs.
    pub since: Time,
    /// The conditions that do not hold yet: a bit for each, by its place in the plan.
    pub missing: u64,
    /// When it is looked again whether the app listens on the ports to be drained; `None`: it does, or
    /// there are none.
    pub look: Option<Time>,
    /// The conditions that children look at.
    pub probes: Vec<Probe>,
}

/// A condition that children look at.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Probe {
    /// Its place in the plan.
    pub index: usize,
    /// Which attempt runs or comes next, from 1.
    pub attempt: u32,
    /// When that begins; `None`: it runs.
    pub due: Option<Time>,
}

impl Probe {
    /// Its attempt, which is run as one of a hook.
    pub fn id(&self) -> HookId {
        HookId { phase: HookPhase::Ready, round: 0, index: self.index, attempt: self.attempt }
    }
}

/// An app that serves although it is going to be stopped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Serving {
    /// When readiness fell.
    pub fell: Time,
    /// How many probes were answered "not ready" since then.
    pub acks: u32,
}

/// The drain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Draining {
    /// What balancers know.
    pub serving: Serving,
    /// When it began.
    pub begun: Time,
    /// When it was told last that it lasts.
    pub told: Time,
    /// The last look.
    pub last: Option<Look>,
    /// When the next is due.
    pub next: Time,
}

/// Hooks that run in order beside a running app.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Work {
    /// On-ready or on-reload.
    pub phase: HookPhase,
    /// Whose turn it is.
    pub queue: Queue,
}

/// What is left of the tree in post-stop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tree {
    /// Nothing.
    Empty,
    /// A hook, or what a hook forked away.
    Busy,
    /// Something that did not die of SIGKILL. Nobody waits for it.
    GivenUp,
}

/// Looks for processes that an earlier look missed (one that was being forked meanwhile).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sweep {
    /// How many looks there were.
    pub looks: u32,
    /// When the next is due.
    pub next: Time,
}

/// A phase's name: the same in code, docs, logs and hook variables. Ordered as a stop walks them.
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
    /// All of them, as a stop walks them.
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

    /// As users read it.
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
    /// Its name.
    pub fn name(&self) -> PhaseName {
        match self {
            Phase::PreStart { .. } | Phase::Starting { .. } => PhaseName::Starting,
            // Phases never go back.
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
