//! The phases of one life, in the order in which a stop walks them. What matters in one phase only
//! lives in that phase's variant, so no flag can disagree with the state.

use std::collections::VecDeque;

use super::Received;
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
    },
    /// The pre-stop hooks run, side by side.
    PreStop {
        /// Attempts that follow failed ones, and when.
        retries: Vec<(HookId, Time)>,
    },
    // The drain has its place here: after pre-stop, before on-stop.
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
    /// `pre-stop`
    PreStop,
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
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            PhaseName::Starting => "starting",
            PhaseName::Running => "running",
            PhaseName::PreStop => "pre-stop",
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
            Phase::Running { .. } => PhaseName::Running,
            Phase::PreStop { .. } => PhaseName::PreStop,
            Phase::OnStop(_) => PhaseName::OnStop,
            Phase::Stopping { .. } => PhaseName::Stopping,
            Phase::Leftovers(_) => PhaseName::Leftovers,
            Phase::Killed { .. } => PhaseName::Killed,
            Phase::PostStop { .. } => PhaseName::PostStop,
            Phase::Exited => PhaseName::Exit,
        }
    }
}
