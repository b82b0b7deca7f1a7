//! The promises about a stop: its ladder, its deadline, what is left behind.

use std::time::Duration;

use graceinit::machine::fact::Fact;
use graceinit::machine::hooks::HookPhase;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::Plan;
use graceinit::machine::{Target, budget};
use graceinit::types::{Signal, Time};

use super::batch::Batch;
use super::ledger::{Ledger, leftovers_signal, measure};
use super::promises::{Kept, Promise, kept};
use super::signals::scope_target;
use super::world::{Surveyor, World, ms};

impl Ledger {
    /// The next step of the ladder is taken, with this signal or with none.
    pub(super) fn judge_step(
        &mut self,
        plan: &Plan,
        world: &World,
        signal: Option<Signal>,
    ) -> Kept {
        let order = Promise::StopSignalInOrder;
        let first = self.rungs == 0;
        let wanted = match plan.ladder.get(self.rungs) {
            Some(rung) => Some(rung.signal),
            None if first => {
                let asked = self.asked.map_or(Signal::TERM, |asked| asked.signal);
                // A stop that nobody has asked for has a signal in any case.
                let unasked = self.asked.is_none().then_some(asked);
                Some(plan.rewrite.apply(asked).or(unasked))
            }
            None => None,
        };
        kept(self.begun, order, || "nobody asked for a stop")?;
        kept(wanted == Some(signal), order, || format!("{signal:?}, not {wanted:?}"))?;
        kept(self.rung_due.is_none_or(|due| due <= world.now), order, || "before its time")?;
        let hooks =
            self.pre_stop_is_over(plan, world) && self.all_had_their_turn(plan, HookPhase::OnStop);
        kept(hooks, Promise::OnStopInOrder, || "the stop signal comes before the last hook")?;
        kept(self.phase == PhaseName::Stopping, order, || format!("in {:?}", self.phase))?;
        self.rungs += 1;
        let left = self.deadline.map(|deadline| deadline.since(world.now));
        let more = self.rungs < plan.ladder.len();
        // `rung_wait` has tests of its own.
        let wait = || budget::rung_wait(&plan.ladder, self.rungs - 1, left);
        self.rung_due = wait().filter(|_| more).map(|wait| world.now.after(wait));
        Ok(())
    }

    pub(super) fn judge_stop_signal(&self, plan: &Plan, target: Target, batch: &mut Batch) -> Kept {
        let scope = scope_target(plan.scope, self.rungs <= 1);
        kept(target == scope, Promise::StopSignalScope, || format!("{target:?}, not {scope:?}"))?;
        let owed = batch.owed_continue.is_none();
        kept(owed, Promise::ContinueAfterStop, || "one stop signal after the other")?;
        batch.owed_continue = Some(target);
        Ok(())
    }

    pub(super) fn judge_diagnosis(
        &mut self,
        plan: &Plan,
        world: &World,
        signal: Signal,
        left: Option<Duration>,
        batch: &mut Batch,
    ) -> Kept {
        let promise = Promise::Diagnose;
        if let Some(missed) = batch.owed_diagnosis.take() {
            kept((signal, left) == missed, promise, || format!("{signal}, {left:?} left"))?;
            batch.sent_by = promise;
            batch.owed.push((signal, scope_target(plan.scope, true), None));
            return Ok(());
        }
        let asked = self.phase == PhaseName::Stopping && self.rungs > 0;
        kept(asked, promise, || format!("in {:?}, before the stop signal", self.phase))?;
        let due = self.diagnose_due.take();
        kept(due.is_some_and(|due| due <= world.now), promise, || {
            format!("at {:?}; due: {due:?}", world.now)
        })?;
        let right = plan.diagnose.map(|diagnose| diagnose.signal);
        kept(right == Some(signal), promise, || format!("{signal}, not {right:?}"))?;
        self.judge_left(world.now, left)?;
        batch.sent_by = promise;
        batch.owed.push((signal, scope_target(plan.scope, self.rungs <= 1), None));
        Ok(())
    }

    /// The app asks for more time.
    pub(super) fn more_time_asked(
        &mut self,
        plan: &Plan,
        now: Time,
        span: Duration,
        batch: &mut Batch,
    ) {
        let Some(deadline) = self.deadline.filter(|_| self.budget_runs()) else { return };
        let wanted = now.after(span).min(self.latest);
        if self.ended.is_some() || self.cut_short || wanted <= deadline {
            return;
        }
        self.deadline = Some(wanted);
        self.diagnose_due = self.diagnose_due.map(|due| due.after(wanted.since(deadline)));
        // Who is there at the new end is another question.
        self.surveyed = false;
        batch.owed_facts.push(Fact::Extended { left: wanted.since(now) });
        batch.owed_more_time.push(wanted.since(now) + plan.post_stop_timeout);
    }

    /// When somebody is to be sent to record who is still there, if that is still to be done.
    pub(super) fn survey_due(&self, plan: &Plan) -> Option<Time> {
        let lead = (measure(plan) / 10).min(ms(250));
        let wanted = self.budget_runs() && !self.surveyed && !lead.is_zero();
        self.deadline.filter(|_| wanted).map(|deadline| deadline.before(lead))
    }

    pub(super) fn judge_survey(&mut self, plan: &Plan, now: Time, batch: &mut Batch) -> Kept {
        batch.surveys += 1;
        if !batch.owed_survey {
            let due = self.survey_due(plan);
            kept(due.is_some_and(|due| due <= now), Promise::Survey, || {
                format!("at {now:?}; due: {due:?}")
            })?;
            batch.owed_survey = true;
            self.surveyed = true;
        }
        Ok(())
    }

    /// It is recorded who is still there.
    pub(super) fn survey_ended(&mut self, now: Time, batch: &mut Batch) {
        if self.cut_short && self.budget_runs() {
            self.deadline = Some(now);
            batch.owed_kill = Some(Promise::StopAgain);
        }
    }

    pub(super) fn judge_kill(&mut self, plan: &Plan, world: &World, batch: &mut Batch) -> Kept {
        batch.kills += 1;
        let earliest = match self.post_end {
            // Nothing is waited for any more.
            Some(_) if self.gave_up && self.all_had_their_turn(plan, HookPhase::PostStop) => None,
            Some(_) => Some(self.last_moment(plan, HookPhase::PostStop)),
            None => self.deadline,
        };
        kept(self.deadline.is_some(), Promise::Endless, || format!("in {:?}", self.phase))?;
        let known = earliest.is_none_or(|time| time <= world.now);
        kept(known, Promise::KillNotEarly, || {
            format!("at {:?}, not before {earliest:?}", world.now)
        })?;
        if self.post_end.is_some() {
            return Ok(());
        }
        if self.killed.is_none() && world.app_lives() {
            self.app_killed = true;
            let whole = if plan.grace.is_zero() { 1 } else { plan.ladder.len().max(1) };
            // A tick that comes too late may jump over the whole ladder.
            let excused = self.cut_short || !self.late.is_zero();
            kept(self.rungs >= whole || excused, Promise::StopSignalAlways, || {
                format!("killed after {} of {whole} stop signals", self.rungs)
            })?;
        }
        let untold = world.strays.iter().any(|stray| !stray.told && stray.born <= Time::default());
        let first_look = self.killed.is_none() && self.ended.is_some();
        kept(!untold || !first_look, Promise::LeftoversTold, || "killed without a word")?;
        self.killed.get_or_insert(world.now);
        for id in world.hooks.iter().map(|hook| hook.id) {
            self.attempt_ended(plan, world.now, id, false, batch);
        }
        Ok(())
    }

    pub(super) fn judge_leftovers_signal(
        &mut self,
        plan: &Plan,
        world: &World,
        signal: Signal,
        group_asked: bool,
    ) -> Kept {
        let promise = Promise::LeftoversTold;
        let of_hooks = self.phase == PhaseName::PostStop
            && self.all_had_their_turn(plan, HookPhase::PostStop)
            && !self.post_told;
        self.post_told |= of_hooks;
        let gone = self.ended.is_some() && self.phase == PhaseName::Leftovers || of_hooks;
        kept(gone, promise, || format!("in {:?}", self.phase))?;
        let right = leftovers_signal(plan);
        kept(signal == right, promise, || format!("{signal}, not {right}"))?;
        let twice = world.strays.iter().any(|stray| stray.told_in_group && !group_asked);
        kept(!twice, promise, || "told twice")?;
        let left_out = world.strays.iter().any(|s| s.in_group && !s.told && group_asked);
        kept(!left_out, promise, || "the group was never told that")
    }

    pub(super) fn judge_post_stop_begins(&self, plan: &Plan, world: &World) -> Kept {
        let last = Promise::PostStopLast;
        kept(self.phase == PhaseName::PostStop, last, || format!("in {:?}", self.phase))?;
        kept(self.ended.is_some(), last, || "what became of the app is not known")?;
        let earlier = world.app_lives()
            || world.strays.iter().any(|stray| !stray.of_post_stop && !stray.killed)
            || world.hooks.iter().any(|h| h.id.phase != HookPhase::PostStop && !h.killed)
            || world.surveyor == Surveyor::Runs;
        // What was born into the killing may be missed by the last look.
        let gave_up = self
            .killed
            .is_some_and(|at| at.after(budget::dying(plan.post_stop_timeout)) <= world.now);
        kept(!earlier || gave_up, last, || "something still lives")
    }
}
