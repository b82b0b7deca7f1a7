//! The promises about hooks: order, retries, limits.

use std::time::Duration;

use graceinit::machine::budget;
use graceinit::machine::fact::Fact;
use graceinit::machine::hooks::{HookId, HookPhase, Outcome};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Ending, HookLimits, OnFailure, Plan};
use graceinit::types::Time;

use super::batch::Batch;
use super::ledger::{Ledger, measure};
use super::promises::{Kept, Promise, kept};
use super::world::{OWN_ERROR, World};

/// The progress of a phase that runs its hooks in order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Turn {
    NotBegun,
    Running(HookId),
    /// `again`: when it has to be retried, as computed at its end.
    Ended {
        id: HookId,
        again: Option<Time>,
    },
    /// No time was left for the hook of this index.
    Skipped(usize),
    /// A hook has failed for good, and its phase with it.
    Aborted,
    /// The phase has ended for another reason.
    Closed,
}

pub(super) fn hooks_of(plan: &Plan, phase: HookPhase) -> &[HookLimits] {
    plan.hooks.of(phase)
}

/// The pause after this attempt, without jitter.
fn whole_pause(limits: &HookLimits, attempt: u32) -> Duration {
    let mut pause = limits.backoff;
    for _ in 1..attempt {
        pause = (pause * 2).min(Duration::from_secs(30));
    }
    pause.min(Duration::from_secs(30))
}

/// The pause after this attempt. Only the range of the jitter is promised, so the value is the machine's own.
fn pause(plan: &Plan, jitter: u64, id: HookId) -> Duration {
    let whole = whole_pause(&hooks_of(plan, id.phase)[id.index], id.attempt);
    let pause = budget::jittered(whole, jitter, id);
    let least = if jitter == 0 { whole } else { whole / 2 };
    if (least..=whole).contains(&pause) { pause } else { whole }
}

impl Ledger {
    /// When hooks of this phase are killed, and the end of their budget, if it has one.
    fn hook_budget(&self, plan: &Plan, phase: HookPhase) -> (Time, Option<Time>) {
        let tenth = (plan.post_stop_timeout / 10).min(Duration::from_millis(100));
        match phase {
            // Only their own timeout counts.
            HookPhase::PreStart
            | HookPhase::OnReady
            | HookPhase::OnReload
            | HookPhase::Ready
            | HookPhase::Drained => (Time(u64::MAX), None),
            HookPhase::PreStop | HookPhase::OnStop => {
                let quarter = (measure(plan) / 4).min(Duration::from_secs(5));
                let last = |budget_end: Time| budget_end.before(quarter);
                (self.budget_end.map_or(Time(u64::MAX), last), self.budget_end)
            }
            HookPhase::PostStop => {
                let end = self.post_end.unwrap_or_default();
                (end.before(tenth), Some(end))
            }
        }
    }

    pub(super) fn last_moment(&self, plan: &Plan, phase: HookPhase) -> Time {
        self.hook_budget(plan, phase).0
    }

    /// The progress of a phase that runs its hooks in order.
    fn turn(&self, phase: HookPhase) -> Option<&Turn> {
        match phase {
            HookPhase::PreStart => Some(&self.pre_start),
            HookPhase::OnReady => Some(&self.on_ready),
            HookPhase::OnReload => Some(&self.on_reload),
            HookPhase::PreStop | HookPhase::Ready | HookPhase::Drained => None,
            HookPhase::OnStop => Some(&self.on_stop),
            HookPhase::PostStop => Some(&self.post_stop),
        }
    }

    fn set_turn(&mut self, phase: HookPhase, turn: Turn) {
        match phase {
            HookPhase::PreStart => self.pre_start = turn,
            HookPhase::OnReady => self.on_ready = turn,
            HookPhase::OnReload => self.on_reload = turn,
            HookPhase::PreStop | HookPhase::Ready | HookPhase::Drained => {}
            HookPhase::OnStop => self.on_stop = turn,
            HookPhase::PostStop => self.post_stop = turn,
        }
    }

    /// Whether hooks of this phase may start or be retried now.
    fn is_present(&self, phase: HookPhase) -> bool {
        let alive = self.ended.is_none() && self.killed.is_none();
        match phase {
            HookPhase::PreStart => alive && !self.started,
            HookPhase::OnReady | HookPhase::OnReload => alive && self.executed && !self.begun,
            HookPhase::PreStop => alive && self.phase == PhaseName::PreStop,
            HookPhase::OnStop => alive && self.phase == PhaseName::OnStop,
            HookPhase::PostStop => self.phase == PhaseName::PostStop,
            HookPhase::Ready | HookPhase::Drained => false,
        }
    }

    /// An attempt has ended, or was killed.
    pub(super) fn attempt_ended(
        &mut self,
        plan: &Plan,
        at: Time,
        id: HookId,
        ok: bool,
        batch: &mut Batch,
    ) {
        match id.phase {
            HookPhase::Ready => return self.probe_ended(at, id, ok, batch),
            HookPhase::Drained => return self.look_ended(plan, at, id, ok),
            _ => {}
        }
        // An attempt that was killed at its timeout got its outcome then.
        let place = self.pre_stop_running.iter().position(|running| *running == id);
        let in_turn = self.turn(id.phase) == Some(&Turn::Running(id));
        // The failure of a hook that has outlived its phase has no consequence.
        let missed = !ok && self.is_present(id.phase) && !self.is_hurried();
        let again = if missed { self.retry_of(plan, id, at) } else { None };
        if let Some(place) = place {
            self.pre_stop_running.remove(place);
            self.pre_stop_failed.extend(again.map(|again| (id, again)));
            self.pre_stop_failed.sort();
        } else if in_turn {
            self.set_turn(id.phase, Turn::Ended { id, again });
        } else {
            return;
        }
        if again.is_some() {
            let pause = pause(plan, self.surroundings.jitter, id);
            batch.owed_facts.push(Fact::HookRetried { id, pause });
        } else if missed {
            self.hook_failed(plan, at, id, batch);
        }
        self.work_goes_on(plan, batch);
    }

    /// The hook has failed for good.
    fn hook_failed(&mut self, plan: &Plan, at: Time, id: HookId, batch: &mut Batch) {
        let aborts = match id.phase {
            HookPhase::PreStop | HookPhase::PostStop | HookPhase::Ready | HookPhase::Drained => {
                false
            }
            phase => hooks_of(plan, phase)[id.index].on_failure == OnFailure::Abort,
        };
        if aborts {
            batch.owed_facts.push(Fact::PhaseAborted { id });
            self.set_turn(id.phase, Turn::Aborted);
            if id.phase == HookPhase::PreStart {
                self.app_ended(plan, at, Ending::NotStarted(OWN_ERROR), batch);
            }
        }
    }

    /// When the failed hook has to be retried; in pre-stop, the first of several.
    pub(super) fn retry_due(&self, phase: HookPhase) -> Option<Time> {
        match self.turn(phase) {
            Some(&Turn::Ended { again, .. }) => again,
            Some(_) => None,
            None => self.pre_stop_failed.iter().map(|(_, again)| *again).min(),
        }
    }

    fn retry_of(&self, plan: &Plan, id: HookId, failed: Time) -> Option<Time> {
        let limits = &hooks_of(plan, id.phase)[id.index];
        let due = failed.after(pause(plan, self.surroundings.jitter, id));
        let more = id.attempt <= limits.retries && due < self.last_moment(plan, id.phase);
        more.then_some(due)
    }

    /// A further attempt of a pre-stop hook takes the place of the failed one.
    fn pre_stop_retried(&mut self, now: Time, id: HookId) -> Kept {
        let before = |failed: &HookId| failed.index == id.index && failed.attempt + 1 == id.attempt;
        let place = self.pre_stop_failed.iter().position(|(failed, _)| before(failed));
        let due = place.map(|place| self.pre_stop_failed.remove(place).1);
        kept(due.is_some_and(|due| due <= now), Promise::Retries, || {
            format!("{id:?} at {now:?}; due: {due:?}")
        })
    }

    /// Which hook comes next; `None` while one runs or waits for its retry.
    fn next_index(&self, plan: &Plan, phase: HookPhase) -> Option<usize> {
        match *self.turn(phase)? {
            Turn::NotBegun => Some(0),
            Turn::Aborted => Some(hooks_of(plan, phase).len()),
            Turn::Closed => None,
            Turn::Running(_) => None,
            Turn::Ended { again: Some(_), .. } => None,
            Turn::Ended { id, again: None } => Some(id.index + 1),
            Turn::Skipped(index) => Some(index + 1),
        }
    }

    /// Every hook of the phase had its turn.
    pub(super) fn all_had_their_turn(&self, plan: &Plan, phase: HookPhase) -> bool {
        self.next_index(plan, phase) == Some(hooks_of(plan, phase).len())
    }

    pub(super) fn hook_starts(
        &mut self,
        plan: &Plan,
        world: &World,
        (id, until, end): (HookId, Time, Option<Time>),
    ) -> Kept {
        let now = world.now;
        kept(self.open.contains(&id), Promise::Account, || "an attempt that no fact tells of")?;
        let Some(limits) = hooks_of(plan, id.phase).get(id.index) else {
            return kept(false, Promise::HookLimit, || "there is no such hook");
        };
        let aborted = self.turn(id.phase) == Some(&Turn::Aborted);
        kept(!aborted, Promise::Abort, || format!("{id:?} begins all the same"))?;
        let order = match id.phase {
            HookPhase::PreStart => Promise::PreStartInOrder,
            HookPhase::OnReady | HookPhase::Ready | HookPhase::Drained => Promise::OnReadyInOrder,
            HookPhase::OnReload => Promise::ReloadInOrder,
            HookPhase::PreStop | HookPhase::OnStop => Promise::StopHooksNeedTheApp,
            HookPhase::PostStop => Promise::PostStopInOrder,
        };
        let rightly = match id.phase {
            HookPhase::PreStart | HookPhase::PostStop => true,
            _ => world.app_lives() && self.ended.is_none(),
        };
        kept(rightly, order, || "the app has ended")?;
        match id.phase {
            HookPhase::PreStart => {
                kept(self.is_present(id.phase), order, || "the start is over")?;
            }
            HookPhase::OnReady => {
                kept(self.is_present(id.phase), order, || "the app does not run")?;
                kept(self.readiness.was_ready, order, || "the app is not ready")?;
            }
            HookPhase::OnReload => {
                let round = self.is_present(id.phase) && self.reloading.is_some();
                kept(round, order, || "for no signal")?;
            }
            HookPhase::PreStop => {
                kept(self.phase == PhaseName::PreStop, Promise::PhasesInOrder, || {
                    format!("a pre-stop hook in {:?}", self.phase)
                })?;
                if id.attempt == 1 {
                    kept(id.index == self.pre_stop, Promise::PreStopTogether, || "not its turn")?;
                    self.pre_stop += 1;
                } else {
                    self.pre_stop_retried(now, id)?;
                }
                self.pre_stop_running.push(id);
                self.pre_stop_running.sort();
            }
            HookPhase::OnStop => {
                kept(
                    self.pre_stop_is_over(plan, world),
                    Promise::OnStopInOrder,
                    || "a pre-stop hook still runs",
                )?;
            }
            HookPhase::PostStop | HookPhase::Ready | HookPhase::Drained => {}
        }
        if id.phase != HookPhase::PreStop {
            let order = if id.phase == HookPhase::OnStop { Promise::OnStopInOrder } else { order };
            self.takes_its_turn(plan, now, id, order)?;
            self.set_turn(id.phase, Turn::Running(id));
        }
        let namesake = world.hooks.iter().any(|hook| hook.id == id);
        kept(!namesake, Promise::NamesApart, || format!("{id:?}"))?;
        let (last, budget_end) = self.hook_budget(plan, id.phase);
        kept(now < last, Promise::HookLimit, || "no time was left for it")?;
        kept(until == now.after(limits.timeout).min(last), Promise::HookLimit, || {
            format!("{id:?} may run until {until:?}, the last moment is {last:?}")
        })?;
        // Where no budget runs, a hook gets the end of its own timeout.
        let budget_end = if id.phase < HookPhase::PreStop { Some(until) } else { budget_end };
        kept(end == budget_end, Promise::HookLimit, || {
            format!("the budget ends at {budget_end:?}, the hook gets {end:?}")
        })
    }

    /// For hooks that run in order.
    fn takes_its_turn(&self, plan: &Plan, now: Time, id: HookId, order: Promise) -> Kept {
        if let Some(&Turn::Ended { id: before, again: Some(due) }) = self.turn(id.phase) {
            let same = (before.index, before.attempt + 1) == (id.index, id.attempt);
            return kept(same && due <= now, Promise::Retries, || {
                format!("{id:?} after {before:?}; due: {due:?}, now: {now:?}")
            });
        }
        let next = self.next_index(plan, id.phase);
        kept(id.attempt == 1, Promise::Retries, || format!("{id:?} is one too many"))?;
        kept(next == Some(id.index), order, || format!("{id:?} begins when {next:?} is next"))
    }

    pub(super) fn hook_is_skipped(&mut self, plan: &Plan, now: Time, id: HookId) -> Kept {
        let last = self.last_moment(plan, id.phase);
        let always = match id.phase {
            HookPhase::PostStop => Promise::PostStopAlways,
            _ => Promise::HookLimit,
        };
        kept(last <= now, always, || format!("skipped at {now:?}, time is left until {last:?}"))?;
        match id.phase {
            HookPhase::PreStop if id.attempt == 1 => self.pre_stop += 1,
            HookPhase::PreStop => self.pre_stop_retried(now, id)?,
            // This includes a retry whose tick comes too late.
            phase => self.set_turn(phase, Turn::Skipped(id.index)),
        }
        Ok(())
    }

    pub(super) fn hook_is_killed(
        &mut self,
        plan: &Plan,
        world: &World,
        id: HookId,
        batch: &mut Batch,
    ) -> Kept {
        let hook = world.hooks.iter().find(|hook| hook.id == id && !hook.killed);
        let Some(hook) = hook else {
            return kept(false, Promise::KillsOnlyLivingHooks, || format!("{id:?}"));
        };
        let drains = self.phase == PhaseName::Drain && self.drain.ended.is_none();
        let moot = match id.phase {
            HookPhase::Ready => !self.is_waiting(),
            HookPhase::Drained => !drains || self.ended.is_some(),
            _ => false,
        };
        kept(hook.kill_at <= world.now || moot, Promise::KillNotEarly, || format!("{hook:?}"))?;
        match id.phase {
            HookPhase::Drained => self.look_killed(id),
            _ => self.attempt_ended(plan, world.now, id, false, batch),
        }
        Ok(())
    }

    /// Every pre-stop hook was started, each has ended or was killed, and no retry waits.
    pub(super) fn pre_stop_is_over(&self, plan: &Plan, world: &World) -> bool {
        let busy =
            world.hooks.iter().any(|hook| hook.id.phase == HookPhase::PreStop && !hook.killed);
        let waits = self.retry_due(HookPhase::PreStop).is_some();
        self.pre_stop == plan.hooks.pre_stop.len() && !busy && !waits
    }

    pub(super) fn attempt_is_closed(
        &mut self,
        id: HookId,
        outcome: Outcome,
        batch: &mut Batch,
    ) -> Kept {
        let place = self.open.iter().position(|open| *open == id);
        kept(place.is_some(), Promise::Account, || format!("{id:?} ends twice: {outcome:?}"))?;
        self.open.retain(|open| *open != id);
        let expected = batch.expected_end.take();
        let hurried = outcome != Outcome::StopAgain || self.hurried;
        kept(hurried, Promise::Account, || format!("{id:?}: there was no second request"))?;
        kept(expected.is_none_or(|end| end == (id, outcome)), Promise::Account, || {
            format!("{id:?} is said to be {outcome:?}, and it was {expected:?}")
        })
    }
}
