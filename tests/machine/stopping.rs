//! The promises about a stop: its steps, the end of its budget, the leftovers.

use std::time::Duration;

use graceinit::machine::fact::Fact;
use graceinit::machine::hooks::HookPhase;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Plan, Scope};
use graceinit::machine::{Target, budget};
use graceinit::types::{Signal, Time};

use super::batch::Batch;
use super::ledger::{Ledger, leftovers_signal, measure};
use super::promises::{Kept, Promise, kept};
use super::signals::scope_target;
use super::world::{SurvivorScan, World, ms};

impl Ledger {
    /// The next step of the ladder is taken, with this signal or with none.
    pub(super) fn judge_step(
        &mut self,
        plan: &Plan,
        world: &World,
        signal: Option<Signal>,
        batch: &mut Batch,
    ) -> Kept {
        let order = Promise::StopSignalInOrder;
        let first = self.rungs == 0;
        let wanted = match plan.ladder.get(self.rungs) {
            Some(rung) => Some(rung.signal),
            None if first => {
                let asked = self.asked.map_or(Signal::TERM, |asked| asked.signal);
                // A stop without a request sends a signal even if `--rewrite` drops it.
                let unasked = self.asked.is_none().then_some(asked);
                Some(plan.rewrite.apply(asked).or(unasked))
            }
            None => None,
        };
        kept(self.begun, order, || "no stop was requested")?;
        kept(wanted == Some(signal), order, || format!("{signal:?}, not {wanted:?}"))?;
        kept(self.rung_due.is_none_or(|due| due <= world.now), order, || "before its time")?;
        let hooks =
            self.pre_stop_is_over(plan, world) && self.all_had_their_turn(plan, HookPhase::OnStop);
        kept(hooks, Promise::OnStopInOrder, || "the stop signal comes before the last hook")?;
        kept(self.phase == PhaseName::Stopping, order, || format!("in {:?}", self.phase))?;
        self.rungs += 1;
        self.stop_signals.extend(signal);
        if let Some((asked, sent)) =
            self.escalation.take().filter(|(_, sent)| Some(*sent) != signal)
        {
            if signal.is_some() {
                batch.owed_facts.push(Fact::Forwarded { signal: asked, sent, scope: plan.scope });
                batch.owed_escalation = Some(sent);
            }
        }
        let left = self.budget_end.map(|budget_end| budget_end.since(world.now));
        let more = self.rungs < plan.ladder.len();
        // `rung_wait` has unit tests of its own.
        let wait = || budget::rung_wait(&plan.ladder, self.rungs - 1, left);
        self.rung_due = wait().filter(|_| more).map(|wait| world.now.after(wait));
        Ok(())
    }

    pub(super) fn judge_stop_signal(
        &mut self,
        plan: &Plan,
        target: Target,
        batch: &mut Batch,
    ) -> Kept {
        let others = scope_target(plan.scope, self.rungs <= 1);
        let scope = if plan.scope == Scope::Auto { Target::Auto } else { others };
        kept(target == scope, Promise::StopSignalScope, || format!("{target:?}, not {scope:?}"))?;
        let owed = batch.owed_continue.is_none();
        kept(owed, Promise::ContinueAfterStop, || "one stop signal after the other")?;
        // CONT would discard a TSTP that the app has not taken yet.
        self.owes_continue = others == Target::App && !self.stopped;
        batch.owed_continue = (!self.owes_continue).then_some(others);
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
        if self.is_waiting() {
            return self.more_time_to_start(now, span, batch);
        }
        let Some(budget_end) = self.budget_end.filter(|_| self.budget_runs()) else { return };
        let wanted = now.after(span).min(self.budget_end_limit);
        if self.ended.is_some() || self.hurried || wanted <= budget_end {
            return;
        }
        self.budget_end = Some(wanted);
        self.diagnose_due = self.diagnose_due.map(|due| due.after(wanted.since(budget_end)));
        // Other processes may survive until the new end.
        self.scanned = false;
        batch.owed_facts.push(Fact::Extended { left: wanted.since(now) });
        batch.owed_more_time.push(wanted.since(now) + plan.post_stop_timeout);
    }

    /// When the scan of the survivors has to be begun, if it was not yet.
    pub(super) fn scan_due(&self, plan: &Plan) -> Option<Time> {
        let lead = (measure(plan) / 12).min(ms(500));
        let wanted = self.budget_runs() && !self.scanned && !lead.is_zero();
        self.budget_end.filter(|_| wanted).map(|budget_end| budget_end.before(lead))
    }

    pub(super) fn judge_scan(&mut self, plan: &Plan, now: Time, batch: &mut Batch) -> Kept {
        batch.scans += 1;
        if !batch.owed_scan {
            let due = self.scan_due(plan);
            kept(due.is_some_and(|due| due <= now), Promise::SurvivorScan, || {
                format!("at {now:?}; due: {due:?}")
            })?;
            batch.owed_scan = true;
            self.scanned = true;
        }
        Ok(())
    }

    /// The scan has ended.
    pub(super) fn scan_ended(&mut self, now: Time, batch: &mut Batch) {
        if self.hurried && self.budget_runs() {
            self.budget_end = Some(now);
            batch.owed_kill = Some(Promise::StopAgain);
        }
    }

    pub(super) fn judge_kill(&mut self, plan: &Plan, world: &World, batch: &mut Batch) -> Kept {
        batch.kills += 1;
        let earliest = match self.post_end {
            // No process is waited for any more.
            Some(_) if self.gave_up && self.all_had_their_turn(plan, HookPhase::PostStop) => None,
            Some(_) => Some(self.last_moment(plan, HookPhase::PostStop)),
            None => self.budget_end,
        };
        kept(self.budget_end.is_some(), Promise::Endless, || format!("in {:?}", self.phase))?;
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
            // A late tick may skip steps of the ladder.
            let excused = self.hurried || !self.late.is_zero();
            kept(self.rungs >= whole || excused, Promise::StopSignalAlways, || {
                format!("killed after {} of {whole} stop signals", self.rungs)
            })?;
        }
        let untold = world
            .descendants
            .iter()
            .any(|descendant| !descendant.asked && descendant.born <= Time::default());
        let first_look = self.killed.is_none() && self.ended.is_some();
        kept(
            !untold || !first_look || self.hurried,
            Promise::LeftoversAsked,
            || "killed without a word",
        )?;
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
        let promise = Promise::LeftoversAsked;
        let of_hooks = self.phase == PhaseName::PostStop
            && self.all_had_their_turn(plan, HookPhase::PostStop)
            && !self.post_asked;
        self.post_asked |= of_hooks;
        let gone = self.ended.is_some() && self.phase == PhaseName::Leftovers || of_hooks;
        kept(gone, promise, || format!("in {:?}", self.phase))?;
        let right = leftovers_signal(plan);
        kept(signal == right, promise, || format!("{signal}, not {right}"))?;
        let twice =
            world.descendants.iter().any(|descendant| descendant.asked_in_group && !group_asked);
        kept(!twice, promise, || "asked twice")?;
        let left_out = world.descendants.iter().any(|s| s.in_group && !s.asked && group_asked);
        kept(!left_out, promise, || "the group was never asked")
    }

    pub(super) fn judge_post_stop_begins(&self, plan: &Plan, world: &World) -> Kept {
        let last = Promise::PostStopLast;
        kept(self.phase == PhaseName::PostStop, last, || format!("in {:?}", self.phase))?;
        kept(self.ended.is_some(), last, || "what became of the app is not known")?;
        let earlier = world.app_lives()
            || world
                .descendants
                .iter()
                .any(|descendant| !descendant.of_post_stop && !descendant.killed)
            || world.hooks.iter().any(|h| h.id.phase != HookPhase::PostStop && !h.killed)
            || world.scan == SurvivorScan::Runs;
        // A process that was forked during the kill may be missed by the last round.
        let gave_up = self
            .killed
            .is_some_and(|at| at.after(budget::dying(plan.post_stop_timeout)) <= world.now);
        kept(!earlier || gave_up, last, || "something still lives")
    }
}
