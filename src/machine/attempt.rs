//! An attempt: one run of one hook, or of one readiness probe. The lowest file of the room: phases, plan
//! and facts all name attempts.

use crate::types::Time;

/// The phases that have hooks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum HookPhase {
    /// In order, before the app is started.
    PreStart,
    /// In order, when the app has become ready.
    OnReady,
    /// In order, before a reload signal is forwarded.
    OnReload,
    /// Side by side, at the begin of a stop.
    PreStop,
    /// In order, during the stop, while the app still runs; retried.
    OnStop,
    /// In order, after the app, whatever happened before.
    PostStop,
    /// No hooks: the probes of `--ready`, one for each condition, side by side, until it holds.
    Ready,
    /// No hooks: the looks of `--drained`, one for each condition, side by side, during the drain.
    Drained,
}

impl HookPhase {
    /// The phases whose hooks users configure, in the order of a life.
    pub const ALL: [HookPhase; 6] = [
        HookPhase::PreStart,
        HookPhase::OnReady,
        HookPhase::OnReload,
        HookPhase::PreStop,
        HookPhase::OnStop,
        HookPhase::PostStop,
    ];

    /// The name as users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            HookPhase::PreStart => "pre-start",
            HookPhase::OnReady => "on-ready",
            HookPhase::OnReload => "on-reload",
            HookPhase::PreStop => "pre-stop",
            HookPhase::OnStop => "on-stop",
            HookPhase::PostStop => "post-stop",
            HookPhase::Ready => "ready",
            HookPhase::Drained => "drained",
        }
    }

    /// Its attempts check conditions, again and again: they are no hooks.
    pub fn checks(self) -> bool {
        matches!(self, HookPhase::Ready | HookPhase::Drained)
    }
}

/// The identity of an attempt. No two attempts share one, so the late exit of attempt 1 is never taken
/// for the end of attempt 2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HookId {
    /// The phase of the hook.
    pub phase: HookPhase,
    /// The round of on-reload hooks; 0 in other phases, which have only one.
    pub round: u32,
    /// The index among the hooks of the phase.
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

/// An attempt whose process was not reaped.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// The attempt.
    pub id: HookId,
    /// When its timeout ends.
    pub kill_at: Time,
    /// SIGKILL was sent, and its outcome was recorded then.
    pub killed: bool,
}

/// The position in hooks that run in order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Queue {
    /// The index of the hook.
    pub index: usize,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The end of the pause before that attempt; `None` while it runs.
    pub pause: Option<Time>,
}

impl Queue {
    /// The first attempt of the first hook.
    pub fn first() -> Queue {
        Queue { index: 0, attempt: 1, pause: None }
    }

    /// Moves to the first attempt of the next hook.
    pub fn advance(&mut self) {
        *self = Queue { index: self.index + 1, attempt: 1, pause: None };
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It exited with code 0.
    Done,
    /// It exited in another way.
    Failed,
    /// It was killed at the end of its timeout.
    TimedOut,
    /// It was killed because a second stop request has ended the budget.
    StopAgain,
    /// It could not be started.
    NotStarted,
}

impl Outcome {
    /// The outcome as users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::TimedOut => "timed out",
            Outcome::StopAgain => "killed by a second stop request",
            Outcome::NotStarted => "not started",
        }
    }
}
