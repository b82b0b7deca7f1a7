//! Hooks: the queue of a phase that runs them one after the other, retries, timeouts, and what a failure
//! means for the phase. Commands and their processes are not known here.

use super::attempt::{Queue, Run};
use super::fact::Fact;
use super::phase::{LiveHooks, Phase, Readiness, Tree};
use super::plan::{Ending, HookLimits, OnFailure};
use super::{Action, Machine, budget};
use crate::types::{Status, Time};

pub use super::attempt::{HookId, HookPhase, Outcome};

/// Records the end of an attempt. Checks that fail are not recorded: an app that is still starting or still
/// has work fails many.
pub(super) fn record_end(
    id: HookId,
    outcome: Outcome,
    status: Option<Status>,
    out: &mut Vec<Action>,
) {
    if !id.phase.checks() {
        out.push(Action::Record(Fact::HookEnded { id, outcome, status }));
    }
}

impl Machine {
    // ---- what an attempt may take ---------------------------------------------------------------

    pub(super) fn limits(&self, id: HookId) -> Option<&HookLimits> {
        self.plan.hooks.of(id.phase).get(id.index)
    }

    pub(super) fn post_stop_hooks_end(&self, reserve_end: Time) -> Time {
        budget::post_stop_hooks_end(reserve_end, self.plan.post_stop_timeout)
    }

    /// When hooks of the present phase are killed whatever their timeout says, and the end of the budget
    /// that they are part of: `None` while no budget runs, or one without an end.
    fn hook_budget(&self) -> Option<(Time, Option<Time>)> {
        match &self.phase {
            Phase::PreStart { .. } | Phase::Running { .. } => Some((Time(u64::MAX), None)),
            Phase::PreStop { .. } | Phase::Drain(_) | Phase::OnStop(_) => {
                let hooks_end = |end| budget::hooks_end(end, self.plan.share_base());
                let budget_end = self.budget_end();
                Some((budget_end.map_or(Time(u64::MAX), hooks_end), budget_end))
            }
            Phase::PostStop { reserve_end, .. } => {
                Some((self.post_stop_hooks_end(*reserve_end), Some(*reserve_end)))
            }
            Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::Exited => None,
        }
    }

    // ---- hooks that run in order ----------------------------------------------------------------

    /// The hooks that run in order in the present phase.
    fn queue(&mut self) -> Option<(HookPhase, &mut Queue)> {
        match &mut self.phase {
            Phase::PreStart { queue, .. } => Some((HookPhase::PreStart, queue)),
            Phase::Running { hooks: Some(hooks), .. } => Some((hooks.phase, &mut hooks.queue)),
            Phase::OnStop(queue) => Some((HookPhase::OnStop, queue)),
            Phase::PostStop { queue, .. } => Some((HookPhase::PostStop, queue)),
            Phase::Starting { .. }
            | Phase::Running { hooks: None, .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::Exited => None,
        }
    }

    /// The attempt that the queue points at.
    fn present_attempt(&mut self) -> Option<HookId> {
        let rounds = self.reload_rounds;
        let (phase, Queue { index, attempt, .. }) = self.queue()?;
        let round = if phase == HookPhase::OnReload { rounds } else { 0 };
        Some(HookId { phase, round, index: *index, attempt: *attempt })
    }

    /// Starts the attempt that the queue points at; past the last hook, leaves the phase.
    pub(super) fn run_queue(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some(id) = self.present_attempt() {
            if let Some((_, queue)) = self.queue() {
                queue.pause = None;
            }
            if self.limits(id).is_none() {
                return self.queue_done(now, id.phase, out);
            }
            if self.start_hook(now, id, out) {
                return;
            }
            if let Some((_, queue)) = self.queue() {
                queue.advance();
            }
        }
    }

    fn queue_done(&mut self, now: Time, phase: HookPhase, out: &mut Vec<Action>) {
        match phase {
            HookPhase::PreStart => self.start_app(now, out),
            HookPhase::OnReady | HookPhase::OnReload => self.live_hooks_done(now, false, out),
            HookPhase::OnStop => self.enter_stopping(now, out),
            HookPhase::PostStop => self.exit_if_done(out),
            // They run side by side, without a queue.
            HookPhase::PreStop | HookPhase::Ready | HookPhase::Drained => {}
        }
    }

    /// A hook has failed for good, and its failure ends its phase.
    fn abort_phase(&mut self, now: Time, id: HookId, out: &mut Vec<Action>) {
        out.push(Action::Record(Fact::PhaseAborted { id }));
        match id.phase {
            HookPhase::PreStart => {
                self.app_ended(now, Ending::NotStarted(self.plan.exit.codes.own), out)
            }
            HookPhase::OnReady | HookPhase::OnReload => self.live_hooks_done(now, true, out),
            HookPhase::OnStop => self.enter_stopping(now, out),
            // `on_failure` does not apply: a stop goes on whatever fails.
            HookPhase::PreStop | HookPhase::PostStop | HookPhase::Ready | HookPhase::Drained => {}
        }
    }

    // ---- one attempt ----------------------------------------------------------------------------

    /// Starts an attempt if there is such a hook and time for it.
    pub(super) fn start_hook(&mut self, now: Time, id: HookId, out: &mut Vec<Action>) -> bool {
        let (Some((hooks_end, budget_end)), Some(limits)) = (self.hook_budget(), self.limits(id))
        else {
            return false;
        };
        let Some(kill_at) = budget::attempt_end(now, limits, hooks_end) else {
            out.push(Action::Record(Fact::HookSkipped { id }));
            return false;
        };
        out.push(Action::Record(Fact::HookStarted { id, limit: kill_at.since(now) }));
        let budget_end = match id.phase {
            // No budget runs: the timeout is all the time that the hook has.
            HookPhase::PreStart
            | HookPhase::OnReady
            | HookPhase::OnReload
            | HookPhase::Ready
            | HookPhase::Drained => Some(kill_at),
            HookPhase::PreStop | HookPhase::OnStop | HookPhase::PostStop => budget_end,
        };
        out.push(Action::StartHook { id, kill_at, budget_end });
        self.runs.push(Run { id, kill_at, killed: false });
        if let Phase::PostStop { tree: tree @ Tree::Empty, .. } = &mut self.phase {
            *tree = Tree::Busy;
        }
        true
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
        // An attempt that was killed got its outcome at that time.
        if self.runs.remove(place).killed {
            if id.phase == HookPhase::Drained {
                self.look_is_gone(id);
            }
            return;
        }
        record_end(id, outcome, status, out);
        self.attempt_ended(now, id, outcome, out);
    }

    /// Kills the attempts whose timeout has ended.
    pub(super) fn kill_timed_out(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some(run) = self.runs.iter_mut().find(|run| !run.killed && run.kill_at <= now) {
            run.killed = true;
            let id = run.id;
            out.push(Action::KillHook(id));
            record_end(id, Outcome::TimedOut, None, out);
            self.attempt_ended(now, id, Outcome::TimedOut, out);
        }
    }

    /// Draws the consequence for the phase, if the attempt is still part of it.
    fn attempt_ended(&mut self, now: Time, id: HookId, outcome: Outcome, out: &mut Vec<Action>) {
        if self.is_hurried() {
            return;
        }
        match id.phase {
            HookPhase::Ready => return self.probe_ended(now, id, outcome, out),
            HookPhase::Drained => return self.look_ended(now, id, outcome, out),
            HookPhase::PreStart
            | HookPhase::OnReady
            | HookPhase::OnReload
            | HookPhase::PreStop
            | HookPhase::OnStop
            | HookPhase::PostStop => {}
        }
        let Some(limits) = self.limits(id).copied() else { return };
        let backoff = budget::backoff(&limits, id.attempt);
        let pause = budget::jittered(backoff, self.surroundings.jitter, id);
        let hooks_end = self.hook_budget().map(|(hooks_end, _)| hooks_end);
        let again = now.after(pause);
        let failed = outcome != Outcome::Done;
        let retry = failed && id.attempt <= limits.retries && Some(again) < hooks_end;
        let next = HookId { attempt: id.attempt + 1, ..id };
        if let Phase::PreStop { retries, .. } = &mut self.phase {
            // An on-ready or on-reload hook that has outlived its phase is not retried.
            if retry && id.phase == HookPhase::PreStop {
                retries.push((next, again));
                out.push(Action::Record(Fact::HookRetried { id, pause }));
            }
            return self.leave_pre_stop_if_done(now, out);
        }
        if self.present_attempt() != Some(id) {
            return;
        }
        let Some((phase, queue)) = self.queue() else { return };
        // Post-stop is never aborted: each of its hooks runs whatever happened before.
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
        let (ready, later): (Vec<_>, Vec<_>) =
            retries.drain(..).partition(|(_, start)| *start <= now);
        *retries = later;
        for (id, _) in ready {
            self.start_hook(now, id, out);
        }
        self.leave_pre_stop_if_done(now, out);
    }

    // ---- hooks beside the running app -----------------------------------------------------------

    /// The on-ready or on-reload hooks are done. `abort`: one has failed, and its phase with it, so the
    /// reload signal is not forwarded.
    fn live_hooks_done(&mut self, now: Time, abort: bool, out: &mut Vec<Action>) {
        let Phase::Running { hooks, reloads, .. } = &mut self.phase else { return };
        let was_reload = hooks.take().is_some_and(|hooks| hooks.phase == HookPhase::OnReload);
        let reloaded = if was_reload { reloads.pop_front() } else { None };
        if let Some(received) = reloaded.filter(|_| !abort) {
            self.forward(received, out);
        }
        self.next_reload(now, out);
    }

    /// Starts the on-reload hooks for the next reload signal that waits.
    pub(super) fn next_reload(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { hooks, reloads, readiness, .. } = &mut self.phase else { return };
        // An app that is not ready may not have installed its handler, and would die of the signal.
        let ready = !matches!(readiness, Readiness::Waiting(_));
        let waits = ready && !reloads.is_empty();
        self.reload_rounds = self.reload_rounds.wrapping_add(u32::from(waits));
        *hooks = waits.then(|| LiveHooks { phase: HookPhase::OnReload, queue: Queue::first() });
        if waits {
            self.run_queue(now, out);
        }
    }
}
