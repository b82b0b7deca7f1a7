//! The promises about hooks: order, retries, limits.

use std::time::Duration;

use graceinit::machine::hook::{HookId, HookPhase, Outcome};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{HookLimits, Plan};
use graceinit::types::Time;

use super::ledger::Ledger;
use super::promises::{Kept, Promise, kept};
use super::world::World;

/// How far the hooks of a phase that runs them in order have come.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Turn {
    NotBegun,
    Running(HookId),
    Ended {
        id: HookId,
        at: Time,
        ok: bool,
    },
    /// There was no time for it.
    Skipped(usize),
}

pub(super) fn hooks_of(plan: &Plan, phase: HookPhase) -> &[HookLimits] {
    plan.hooks.of(phase)
}

/// The pause after this attempt.
fn pause(limits: &HookLimits, attempt: u32) -> Duration {
    let mut pause = limits.backoff;
    for _ in 1..attempt {
        pause = (pause * 2).min(Duration::from_secs(30));
    }
    pause.min(Duration::from_secs(30))
}

impl Ledger {
    /// The last moment for hooks of this phase, and the end of their budget.
    fn hook_budget(&self, plan: &Plan, phase: HookPhase) -> (Time, Time) {
        let tenth = (plan.post_stop_timeout / 10).min(Duration::from_millis(100));
        match phase {
            HookPhase::PreStart | HookPhase::OnReady | HookPhase::OnReload => {
                (Time::default(), Time::default())
            }
            HookPhase::PreStop | HookPhase::OnStop => {
                let deadline = self.deadline.unwrap_or_default();
                let quarter = (plan.grace / 4).min(Duration::from_secs(5));
                (deadline.before(quarter), deadline)
            }
            HookPhase::PostStop => {
                let end = self.post_end.unwrap_or_default();
                (end.before(tenth), end)
            }
        }
    }

    pub(super) fn last_moment(&self, plan: &Plan, phase: HookPhase) -> Time {
        self.hook_budget(plan, phase).0
    }

    fn turn(&mut self, phase: HookPhase) -> Option<&mut Turn> {
        match phase {
            HookPhase::PreStart | HookPhase::OnReady | HookPhase::OnReload | HookPhase::PreStop => {
                None
            }
            HookPhase::OnStop => Some(&mut self.on_stop),
            HookPhase::PostStop => Some(&mut self.post_stop),
        }
    }

    /// An attempt has ended, or was given up.
    pub(super) fn attempt_ended(&mut self, id: HookId, at: Time, ok: bool) {
        // One that was killed at its limit was judged then; its exit is no news.
        if let Some(place) = self.pre_stop_running.iter().position(|running| *running == id) {
            self.pre_stop_running.remove(place);
            if !ok {
                self.pre_stop_failed.push((id, at));
                self.pre_stop_failed.sort();
            }
        }
        if let Some(turn) = self.turn(id.phase) {
            if *turn == Turn::Running(id) {
                *turn = Turn::Ended { id, at, ok };
            }
        }
    }

    /// When the hook whose attempt failed is to be tried again; the first of them in pre-stop.
    pub(super) fn retry_due(&self, plan: &Plan, phase: HookPhase) -> Option<Time> {
        let turn = match phase {
            HookPhase::PreStart | HookPhase::OnReady | HookPhase::OnReload => return None,
            HookPhase::PreStop => {
                let failed = self.pre_stop_failed.iter();
                return failed.filter_map(|&(id, at)| self.retry_of(plan, id, at)).min();
            }
            HookPhase::OnStop => &self.on_stop,
            HookPhase::PostStop => &self.post_stop,
        };
        let Turn::Ended { id, at, ok: false } = *turn else { return None };
        self.retry_of(plan, id, at)
    }

    fn retry_of(&self, plan: &Plan, id: HookId, failed: Time) -> Option<Time> {
        let limits = &hooks_of(plan, id.phase)[id.index];
        let due = failed.after(pause(limits, id.attempt));
        let more = id.attempt <= limits.retries && due < self.last_moment(plan, id.phase);
        more.then_some(due)
    }

    /// A further attempt of a pre-stop hook takes the place of the failed one.
    fn pre_stop_retried(&mut self, plan: &Plan, now: Time, id: HookId) -> Kept {
        let before = |failed: &HookId| failed.index == id.index && failed.attempt + 1 == id.attempt;
        let place = self.pre_stop_failed.iter().position(|(failed, _)| before(failed));
        let failed = place.map(|place| self.pre_stop_failed.remove(place));
        let due = failed.and_then(|(failed, at)| self.retry_of(plan, failed, at));
        kept(due.is_some_and(|due| due <= now), Promise::Retries, || {
            format!("{id:?} at {now:?}; due: {due:?}")
        })
    }

    /// Which hook comes next; `None` while one runs or waits for its retry.
    fn next_index(&self, plan: &Plan, phase: HookPhase) -> Option<usize> {
        let turn = if phase == HookPhase::OnStop { &self.on_stop } else { &self.post_stop };
        match *turn {
            Turn::NotBegun => Some(0),
            Turn::Running(_) => None,
            Turn::Ended { .. } if self.retry_due(plan, phase).is_some() => None,
            Turn::Ended { id, .. } => Some(id.index + 1),
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
        (id, until, end): (HookId, Time, Time),
    ) -> Kept {
        let now = world.now;
        kept(self.open.contains(&id), Promise::Account, || "an attempt that no fact tells of")?;
        let Some(limits) = hooks_of(plan, id.phase).get(id.index) else {
            return kept(false, Promise::HookLimit, || "there is no such hook");
        };
        match id.phase {
            HookPhase::PreStart | HookPhase::OnReady | HookPhase::OnReload => {
                return kept(false, Promise::Account, || "no such hook is in the model");
            }
            HookPhase::PreStop => {
                kept(
                    world.app_lives() && self.ended.is_none(),
                    Promise::StopHooksNeedTheApp,
                    || "the app has gone",
                )?;
                kept(self.phase == PhaseName::PreStop, Promise::PhasesInOrder, || {
                    format!("a pre-stop hook in {:?}", self.phase)
                })?;
                if id.attempt == 1 {
                    kept(id.index == self.pre_stop, Promise::PreStopTogether, || "not its turn")?;
                    self.pre_stop += 1;
                } else {
                    self.pre_stop_retried(plan, now, id)?;
                }
                self.pre_stop_running.push(id);
                self.pre_stop_running.sort();
            }
            HookPhase::OnStop => {
                kept(
                    world.app_lives() && self.ended.is_none(),
                    Promise::StopHooksNeedTheApp,
                    || "the app has gone",
                )?;
                kept(
                    self.pre_stop_is_over(plan, world),
                    Promise::OnStopInOrder,
                    || "a pre-stop hook still runs",
                )?;
                self.takes_its_turn(plan, now, id, Promise::OnStopInOrder)?;
                self.on_stop = Turn::Running(id);
            }
            HookPhase::PostStop => {
                self.takes_its_turn(plan, now, id, Promise::PostStopInOrder)?;
                self.post_stop = Turn::Running(id);
            }
        }
        let (last, budget_end) = self.hook_budget(plan, id.phase);
        kept(now < last, Promise::HookLimit, || "no time was left for it")?;
        kept(until == now.after(limits.timeout).min(last), Promise::HookLimit, || {
            format!("{id:?} may run until {until:?}, the last moment is {last:?}")
        })?;
        kept(end == budget_end, Promise::HookLimit, || {
            format!("the budget ends at {budget_end:?}, the hook is told {end:?}")
        })
    }

    /// For hooks that run in order.
    fn takes_its_turn(&self, plan: &Plan, now: Time, id: HookId, order: Promise) -> Kept {
        let turn = if id.phase == HookPhase::OnStop { &self.on_stop } else { &self.post_stop };
        if let Turn::Ended { id: before, .. } = *turn {
            if before.index == id.index {
                let due = self.retry_due(plan, id.phase);
                return kept(
                    id.attempt == before.attempt + 1 && due.is_some_and(|due| due <= now),
                    Promise::Retries,
                    || format!("{id:?} after {before:?}; due: {due:?}, now: {now:?}"),
                );
            }
            let pending = self.retry_due(plan, id.phase);
            kept(pending.is_none(), Promise::Retries, || format!("{before:?} was not retried"))?;
        }
        let next = self.next_index(plan, id.phase);
        kept(next == Some(id.index) && id.attempt == 1, order, || {
            format!("{id:?} begins when {next:?} is next")
        })
    }

    pub(super) fn hook_is_skipped(&mut self, plan: &Plan, now: Time, id: HookId) -> Kept {
        let last = self.last_moment(plan, id.phase);
        let always = match id.phase {
            HookPhase::PostStop => Promise::PostStopAlways,
            _ => Promise::HookLimit,
        };
        kept(last <= now, always, || format!("skipped at {now:?}, time is left until {last:?}"))?;
        match id.phase {
            HookPhase::PreStart | HookPhase::OnReady | HookPhase::OnReload => {}
            HookPhase::PreStop if id.attempt == 1 => self.pre_stop += 1,
            HookPhase::PreStop => self.pre_stop_retried(plan, now, id)?,
            // A retry for which the tick comes too late is no turn of its own.
            HookPhase::OnStop => self.on_stop = Turn::Skipped(id.index),
            HookPhase::PostStop => self.post_stop = Turn::Skipped(id.index),
        }
        Ok(())
    }

    pub(super) fn hook_is_killed(&mut self, world: &World, id: HookId) -> Kept {
        let hook = world.hooks.iter().find(|hook| hook.id == id && !hook.killed);
        let Some(hook) = hook else {
            return kept(false, Promise::KillsOnlyLivingHooks, || format!("{id:?}"));
        };
        kept(hook.until <= world.now, Promise::KillNotEarly, || format!("{hook:?}"))?;
        self.attempt_ended(id, world.now, false);
        Ok(())
    }

    /// Every pre-stop hook was started, each has ended or was killed, and none is to be tried again.
    pub(super) fn pre_stop_is_over(&self, plan: &Plan, world: &World) -> bool {
        let busy =
            world.hooks.iter().any(|hook| hook.id.phase == HookPhase::PreStop && !hook.killed);
        let waits = self.retry_due(plan, HookPhase::PreStop).is_some();
        self.pre_stop == plan.hooks.pre_stop.len() && !busy && !waits
    }

    pub(super) fn attempt_is_closed(&mut self, id: HookId, outcome: Outcome) -> Kept {
        let place = self.open.iter().position(|open| *open == id);
        kept(place.is_some(), Promise::Account, || format!("{id:?} ends twice: {outcome:?}"))?;
        self.open.retain(|open| *open != id);
        let expected = self.expected_end.take();
        kept(expected.is_none_or(|end| end == (id, outcome)), Promise::Account, || {
            format!("{id:?} is said to be {outcome:?}, and it was {expected:?}")
        })
    }
}
