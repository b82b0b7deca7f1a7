//! An attempt: one run of one hook, or of one readiness probe. The lowest file of the room: phases, the
//! plan and the facts all name attempts.

use crate::types::Time;

/// The phases that have hooks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum HookPhase {
    /// In order, before the app is started.
    PreStart,
    /// In order, when the app is ready.
    OnReady,
    /// In order, before a reload signal is passed on to the app.
    OnReload,
    /// Side by side, before anything else of a stop.
    PreStop,
    /// In order, while the app still runs; retried.
    OnStop,
    /// In order, always, after everything else.
    PostStop,
    /// No hooks of users, but looks whether the app is ready: one for each condition, side by side,
    /// until it holds.
    Ready,
}

impl HookPhase {
    /// Those that users give hooks to, in the order of a life.
    pub const ALL: [HookPhase; 6] = [
        HookPhase::PreStart,
        HookPhase::OnReady,
        HookPhase::OnReload,
        HookPhase::PreStop,
        HookPhase::OnStop,
        HookPhase::PostStop,
    ];

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            HookPhase::PreStart => "pre-start",
            HookPhase::OnReady => "on-ready",
            HookPhase::OnReload => "on-reload",
            HookPhase::PreStop => "pre-stop",
            HookPhase::OnStop => "on-stop",
            HookPhase::PostStop => "post-stop",
            HookPhase::Ready => "ready",
        }
    }
}

/// One attempt of one hook. No two attempts share an id, so a late exit of attempt 1 can never be
/// taken for the end of attempt 2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HookId {
    /// Its phase.
    pub phase: HookPhase,
    /// Which round of on-reload hooks it is part of; 0 in other phases, which have only one.
    pub round: u32,
    /// Its place among the hooks of the phase, from 0.
    pub index: usize,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl HookId {
    /// The first attempt of a hook.
    pub fn first(phase: HookPhase, index: usize) -> HookId {
        HookId { phase, round: 0, index, attempt: 1 }
    }
}

/// An attempt whose process has not been reaped.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// Which.
    pub id: HookId,
    /// When it is killed.
    pub until: Time,
    /// It was; nobody waits for its result any more.
    pub killed: bool,
}

/// Hooks that run in order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Queue {
    /// Whose turn it is.
    pub index: usize,
    /// Which attempt of it, from 1.
    pub attempt: u32,
    /// The pause before that attempt; `None` while it runs.
    pub pause: Option<Time>,
}

impl Queue {
    /// At the first attempt of the first hook.
    pub fn first() -> Queue {
        Queue { index: 0, attempt: 1, pause: None }
    }

    /// On to the next hook.
    pub fn advance(&mut self) {
        *self = Queue { index: self.index + 1, attempt: 1, pause: None };
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// Any other end.
    Failed,
    /// Killed at its limit.
    TimedOut,
    /// It could not be started.
    NotStarted,
}

impl Outcome {
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::TimedOut => "timed out",
            Outcome::NotStarted => "not started",
        }
    }
}
