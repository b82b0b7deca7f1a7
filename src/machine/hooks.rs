//! Hooks as the machine sees them: attempts with a deadline, and the queue of a phase that runs
//! them one after the other.

use super::attempt::{Queue, Run};
use super::fact::Fact;
use super::phase::{Phase, Readiness, Tree, Work};
use super::plan::{Ending, HookLimits, OnFailure};
use super::{Action, Machine, budget};
use crate::types::{Status, Time};

pub use super::attempt::{HookId, HookPhase, Outcome};

/// Records the end of an attempt. That an app is not ready yet is no news.
pub(super) fn tell_end(
    id: HookId,
    outcome: Outcome,
    status: Option<Status>,
    out: &mut Vec<Action>,
) {
    if id.phase != HookPhase::Ready {
        out.push(Action::Record(Fact::HookEnded { id, outcome, status }));
    }
}

impl Machine {
    pub(super) fn limits(&self, id: HookId) -> Option<&HookLimits> {
        self.plan.hooks.of(id.phase).get(id.index)
    }

    pub(super) fn post_stop_hooks_end(&self, end: Time) -> Time {
        budget::post_stop_hooks_end(end, self.plan.post_stop_timeout)
    }

    /// The last moment for hooks of the present phase, and the end of the budget they are part of:
    /// `None` while no budget runs, or one without an end.
    fn hook_budget(&self) -> Option<(Time, Option<Time>)> {
        match &self.phase {
            Phase::PreStart { .. } | Phase::Running { .. } => Some((Time(u64::MAX), None)),
            Phase::PreStop { .. } | Phase::Drain(_) | Phase::OnStop(_) => {
                let last = |end| budget::hooks_end(end, self.plan.measure());
                Some((self.budget_end.map_or(Time(u64::MAX), last), self.budget_end))
            }
            Phase::PostStop { end, .. } => Some((self.post_stop_hooks_end(*end), Some(*end))),
            Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::Exited => None,
        }
    }

    /// The hooks that run in order in the present phase.
    fn queue(&mut self) -> Option<(HookPhase, &mut Queue)> {
        match &mut self.phase {
            Phase::PreStart { queue, .. } => Some((HookPhase::PreStart, queue)),
            Phase::Running { work: Some(work), .. } => Some((work.phase, &mut work.queue)),
            Phase::OnStop(queue) => Some((HookPhase::OnStop, queue)),
            Phase::PostStop { queue, .. } => Some((HookPhase::PostStop, queue)),
            Phase::Starting { .. }
            | Phase::Running { work: None, .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::Exited => None,
        }
    }

    /// The attempt whose turn it is.
    fn turn(&mut self) -> Option<HookId> {
        let rounds = self.rounds;
        let (phase, Queue { index, attempt, .. }) = self.queue()?;
        let round = if phase == HookPhase::OnReload { rounds } else { 0 };
        Some(HookId { phase, round, index: *index, attempt: *attempt })
    }

    /// Starts an attempt if there is such a hook and time for it.
    pub(super) fn start_hook(&mut self, now: Time, id: HookId, out: &mut Vec<Action>) -> bool {
        let (Some((last, end)), Some(limits)) = (self.hook_budget(), self.limits(id)) else {
            return false;
        };
        let Some(until) = budget::attempt_end(now, limits, last) else {
            out.push(Action::Record(Fact::HookSkipped { id }));
            return false;
        };
        out.push(Action::Record(Fact::HookStarted { id, limit: until.since(now) }));
        let end = match id.phase {
            // Only its own limit ends it.
            HookPhase::PreStart | HookPhase::OnReady | HookPhase::OnReload | HookPhase::Ready => {
                Some(until)
            }
            HookPhase::PreStop | HookPhase::OnStop | HookPhase::PostStop => end,
        };
        out.push(Action::StartHook { id, until, end });
        self.runs.push(Run { id, until, killed: false });
        if let Phase::PostStop { tree: tree @ Tree::Empty, .. } = &mut self.phase {
            *tree = Tree::Busy;
        }
        true
    }

    /// Starts the attempt whose turn it is; past the last hook, leaves the phase.
    pub(super) fn run_queue(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some(id) = self.turn() {
            let phase = id.phase;
            if let Some((_, queue)) = self.queue() {
                queue.pause = None;
            }
            if self.limits(id).is_none() {
                return self.queue_done(now, phase, out);
            }
            if self.start_hook(now, id, out) {
                return;
            }
            self.advance();
        }
    }

    fn queue_done(&mut self, now: Time, phase: HookPhase, out: &mut Vec<Action>) {
        match phase {
            HookPhase::PreStart => self.start_app(now, out),
            HookPhase::OnReady | HookPhase::OnReload => self.work_done(now, false, out),
            HookPhase::OnStop => self.enter_stopping(now, out),
            HookPhase::PostStop => self.leave_when_done(out),
            // They run side by side.
            HookPhase::PreStop | HookPhase::Ready => {}
        }
    }

    fn advance(&mut self) {
        if let Some((_, queue)) = self.queue() {
            queue.advance();
        }
    }

    pub(super) fn hook_exited(
        &mut self,
        now: Time,
        id: HookId,
        status: Status,
        out: &mut Vec<Action>,
    ) {
        let outcome = if status.success() { Outcome::Done } else { Outcome::Failed };
        self.hook_ended(now, id, outcome, Some(status), out);
    }

    pub(super) fn hook_ended(
        &mut self,
        now: Time,
        id: HookId,
        outcome: Outcome,
        status: Option<Status>,
        out: &mut Vec<Action>,
    ) {
        let Some(place) = self.runs.iter().position(|run| run.id == id) else { return };
        // The end of an attempt that was killed was judged when it was killed.
        if self.runs.remove(place).killed {
            return;
        }
        tell_end(id, outcome, status, out);
        self.hook_judged(now, id, outcome, out);
    }

    /// What the end of an attempt means for the phase, if it is still the phase's business.
    pub(super) fn hook_judged(
        &mut self,
        now: Time,
        id: HookId,
        outcome: Outcome,
        out: &mut Vec<Action>,
    ) {
        if id.phase == HookPhase::Ready {
            return self.probe_ended(now, id, outcome, out);
        }
        let Some(limits) = self.limits(id).copied() else { return };
        let pause =
            budget::jittered(budget::backoff(&limits, id.attempt), self.surroundings.jitter, id);
        let last = self.hook_budget().map(|(last, _)| last);
        let again = now.after(pause);
        let failed = outcome != Outcome::Done;
        let retry = failed && id.attempt <= limits.retries && Some(again) < last;
        let next = HookId { attempt: id.attempt + 1, ..id };
        if let Phase::PreStop { retries, .. } = &mut self.phase {
            // An on-ready or on-reload hook may outlive its phase.
            if retry && id.phase == HookPhase::PreStop {
                retries.push((next, again));
                out.push(Action::Record(Fact::HookRetried { id, pause }));
            }
            return self.leave_pre_stop_when_done(now, out);
        }
        if self.turn() != Some(id) {
            return;
        }
        let Some((phase, queue)) = self.queue() else { return };
        // After the app nothing can be ended early: every hook has its turn.
        let aborts = limits.on_failure == OnFailure::Abort && phase != HookPhase::PostStop;
        if retry {
            queue.attempt = next.attempt;
            queue.pause = Some(again);
            out.push(Action::Record(Fact::HookRetried { id, pause }));
        } else if failed && aborts {
            self.abort_phase(now, id, out);
        } else {
            queue.advance();
            self.run_queue(now, out);
        }
    }

    /// Starts the pre-stop hooks whose pause is over.
    pub(super) fn retry_pre_stop(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::PreStop { retries, .. } = &mut self.phase else { return };
        let (due, later) = retries.drain(..).partition(|(_, again)| *again <= now);
        *retries = later;
        let due: Vec<(HookId, Time)> = due;
        for (id, _) in due {
            self.start_hook(now, id, out);
        }
        self.leave_pre_stop_when_done(now, out);
    }

    /// Takes the next reload signal in hand, if one waits.
    pub(super) fn next_work(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { work, reloads, readiness, .. } = &mut self.phase else { return };
        // One that is not ready may have no handler yet, and die of the signal.
        let ready = !matches!(readiness, Readiness::Waiting(_));
        let waits = ready && !reloads.is_empty();
        self.rounds = self.rounds.wrapping_add(u32::from(waits));
        *work = waits.then(|| Work { phase: HookPhase::OnReload, queue: Queue::first() });
        if waits {
            self.run_queue(now, out);
        }
    }

    /// The hooks beside the running app are through. `abort`: one has failed, and its phase with it.
    pub(super) fn work_done(&mut self, now: Time, abort: bool, out: &mut Vec<Action>) {
        let Phase::Running { work, reloads, .. } = &mut self.phase else { return };
        let was_reload = work.take().is_some_and(|work| work.phase == HookPhase::OnReload);
        let reloaded = if was_reload { reloads.pop_front() } else { None };
        if let Some(received) = reloaded.filter(|_| !abort) {
            self.forward(received, out);
        }
        self.next_work(now, out);
    }

    /// A hook has failed for good whose failure ends its phase.
    pub(super) fn abort_phase(&mut self, now: Time, id: HookId, out: &mut Vec<Action>) {
        out.push(Action::Record(Fact::PhaseAborted { id }));
        match id.phase {
            HookPhase::PreStart => {
                self.app_gone(now, Ending::NotStarted(self.plan.exit.codes.own), out)
            }
            HookPhase::OnReady | HookPhase::OnReload => self.work_done(now, true, out),
            HookPhase::OnStop => self.enter_stopping(now, out),
            // They have no such setting: a stop goes on whatever fails.
            HookPhase::PreStop | HookPhase::PostStop | HookPhase::Ready => {}
        }
    }
}
