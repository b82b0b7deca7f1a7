//! The promises about waiting: whenever the loop sleeps, an event or a tick ends that in time.

use std::time::Duration;

use graceinit::machine::budget;
use graceinit::machine::hooks::HookPhase;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::Plan;
use graceinit::types::Time;

use super::ledger::Ledger;
use super::promises::{Kept, Promise, kept};
use super::world::{SurvivorScan, World};

fn runs(world: &World, phase: HookPhase) -> bool {
    world.hooks.iter().any(|hook| hook.id.phase == phase && !hook.killed)
}

impl Ledger {
    /// Checks a loop that has no event left and sleeps until `wake`.
    pub(super) fn judge_sleep(&self, plan: &Plan, world: &World, wake: Option<Time>) -> Kept {
        for hook in world.hooks.iter().filter(|hook| !hook.killed) {
            let due = wake.is_some_and(|wake| wake <= hook.kill_at);
            kept(due || wake.is_none(), Promise::HookKilledAtLimit, || format!("{hook:?}"))?;
        }
        self.judge_probes(world)?;
        self.judge_looks(world)?;
        if self.begun || self.ended.is_some() {
            self.judge_waiting(plan, world, wake)
        } else {
            self.judge_idle(plan, world, wake)
        }
    }

    /// A phase whose hooks are not done: one of them has to run or wait for its retry.
    fn hooks_are_at_work(&self, world: &World, wake: Time, phase: HookPhase) -> Kept {
        let retry = self.retry_due(phase);
        let waits = runs(world, phase) || retry.is_some();
        kept(waits, Promise::LeavesAtOnce, || format!("no {} hook runs", phase.as_str()))?;
        kept(retry.is_none_or(|due| wake <= due), Promise::Retries, || format!("due at {retry:?}"))
    }

    /// No budget runs.
    fn judge_idle(&self, plan: &Plan, world: &World, wake: Option<Time>) -> Kept {
        let phases = [HookPhase::PreStart, HookPhase::OnReady, HookPhase::OnReload];
        let limits = world.hooks.iter().filter(|hook| !hook.killed).map(|hook| hook.kill_at);
        let retries = phases.iter().filter_map(|&phase| self.retry_due(phase));
        let awaited = self.judge_waking(plan, world)?;
        let wanted = limits.chain(retries).chain(awaited).min();
        kept(wanted.is_none() || wake.is_some(), Promise::NoLostWakeUp, || {
            format!("no tick is due in {:?}", self.phase)
        })?;
        kept(wake.is_none() || wanted.is_some(), Promise::TickOnTime, || "idle means no wake-ups")?;
        kept(awaited.is_none() || wake <= awaited, Promise::NoLostWakeUp, || {
            format!("sleeps until {wake:?}, something is due at {awaited:?}")
        })?;
        kept(wake >= wanted, Promise::TickOnTime, || format!("{wake:?}, {wanted:?} is enough"))?;
        let wake = wake.unwrap_or(Time(u64::MAX));
        if !self.started {
            let phase = HookPhase::PreStart;
            let over = self.all_had_their_turn(plan, phase);
            kept(!over, Promise::LeavesAtOnce, || "the app could be started")?;
            return self.hooks_are_at_work(world, wake, phase);
        }
        kept(world.app_lives(), Promise::NoLostWakeUp, || "waits for an app that has ended")?;
        let phase = self.running_phase();
        kept(self.phase == phase, Promise::PhasesInOrder, || format!("{:?}", self.phase))?;
        if !self.executed {
            return kept(wanted.is_none(), Promise::OnReadyInOrder, || "the app is not there yet");
        }
        if !self.readiness.was_ready && !self.readiness.over {
            return Ok(());
        }
        if self.readiness.was_ready && !self.all_had_their_turn(plan, HookPhase::OnReady) {
            return self.hooks_are_at_work(world, wake, HookPhase::OnReady);
        }
        if self.reloading.is_some() {
            return self.hooks_are_at_work(world, wake, HookPhase::OnReload);
        }
        let waits = self.reloads.is_empty();
        kept(waits, Promise::Reloads, || "nothing is in the way of a reload")?;
        let moot = wanted.is_some() && wanted != awaited;
        kept(!moot, Promise::TickOnTime, || format!("{wanted:?} has no purpose"))
    }

    /// A stop whose budget has no end: something else has to end each wait.
    fn judge_endless_wait(&self, plan: &Plan, world: &World, wake: Option<Time>) -> Kept {
        let limits = world.hooks.iter().filter(|hook| !hook.killed).map(|hook| hook.kill_at);
        let wanted = match self.phase {
            PhaseName::PreStop => self.retry_due(HookPhase::PreStop),
            PhaseName::Drain => self.drain_wakes(plan),
            PhaseName::OnStop => self.retry_due(HookPhase::OnStop),
            PhaseName::Stopping => self.rung_due,
            phase => {
                return kept(false, Promise::Endless, || {
                    format!("no end of the budget in {phase:?}")
                });
            }
        };
        let wanted = limits.chain(wanted).min();
        kept(wanted.is_none() || wake.is_some(), Promise::NoLostWakeUp, || {
            format!("no tick is due in {:?}", self.phase)
        })?;
        kept(wake.is_none() || wanted.is_some(), Promise::TickOnTime, || "for nothing")
    }

    fn judge_waiting(&self, plan: &Plan, world: &World, wake: Option<Time>) -> Kept {
        match self.budget_end {
            Some(_) => kept(wake.is_some(), Promise::NoLostWakeUp, || {
                format!("the budget runs, and no tick is due in {:?}", self.phase)
            })?,
            None => self.judge_endless_wait(plan, world, wake)?,
        }
        let wake = wake.unwrap_or(Time(u64::MAX));
        let due = |time: Option<Time>| time.is_none_or(|time| wake <= time);
        let unkilled = world.app_lives() && !world.app_killed
            || world.descendants.iter().any(|s| !(s.killed || s.of_post_stop || s.after_kill))
            || world.hooks.iter().any(|h| !h.killed && h.id.phase != HookPhase::PostStop)
            || world.scan == SurvivorScan::Runs;
        kept(!unkilled || due(self.budget_end), Promise::KillNotLate, || {
            format!("sleeps until {wake:?}, the budget ends at {:?}", self.budget_end)
        })?;
        kept(due(self.scan_due(plan)), Promise::SurvivorScan, || "too late for the scan")?;
        match self.phase {
            _ if self.is_hurried() => {
                kept(due(self.budget_end), Promise::KillNotLate, || "hurried")?;
            }
            PhaseName::Starting | PhaseName::Running | PhaseName::Ready | PhaseName::Exit => {
                kept(false, Promise::PhasesInOrder, || format!("still {:?}", self.phase))?;
            }
            PhaseName::PreStop => {
                self.hooks_are_at_work(world, wake, HookPhase::PreStop)?;
            }
            PhaseName::Drain => self.judge_drain_waits(plan, world, wake)?,
            PhaseName::OnStop => self.hooks_are_at_work(world, wake, HookPhase::OnStop)?,
            PhaseName::Stopping => {
                kept(world.app_lives(), Promise::LeavesAtOnce, || "the app has ended")?;
                kept(due(self.rung_due), Promise::StopSignalInOrder, || "late")?;
                kept(due(self.diagnose_due), Promise::Diagnose, || "late")?;
            }
            PhaseName::Leftovers => {
                kept(!world.tree_is_empty(), Promise::LeavesAtOnce, || "nothing is left")?;
                let second = Duration::from_secs(1);
                let missed =
                    world.descendants.iter().any(|s| !s.asked && s.born.after(second) < world.now);
                let excused = !self.late.is_zero();
                kept(!missed || excused, Promise::LeftoversAsked, || "a newcomer is overlooked")?;
            }
            PhaseName::Killed => {
                kept(!world.tree_is_empty(), Promise::LeavesAtOnce, || "nothing is left")?;
                let dying = budget::dying(plan.post_stop_timeout);
                kept(due(self.killed.map(|at| at.after(dying))), Promise::GivesUpInTime, || "")?;
            }
            PhaseName::PostStop => {
                let retry = self.retry_due(HookPhase::PostStop);
                kept(due(retry), Promise::Retries, || format!("due at {retry:?}"))?;
                let lives = world.descendants.iter().any(|descendant| descendant.of_post_stop)
                    || world.hooks.iter().any(|h| h.id.phase == HookPhase::PostStop);
                kept(lives || retry.is_some(), Promise::LeavesAtOnce, || "nothing is left")?;
                kept(due(self.post_end), Promise::ExitsInTime, || "the reserve is over")?;
                let served = self.all_had_their_turn(plan, HookPhase::PostStop);
                let told = !served || self.post_asked;
                kept(told, Promise::LeftoversAsked, || "what a post-stop hook forked away")?;
            }
        }
        let latest = self.budget_end.unwrap_or_default().after(plan.post_stop_timeout);
        let latest = latest.after(self.late);
        let covered = match self.phase {
            PhaseName::PostStop => self.dead_man == self.post_end,
            PhaseName::Killed => self.dead_man.is_some_and(|t| wake <= t && t <= latest),
            // A budget without an end leaves the dead-man timer unset.
            _ => self.dead_man == self.budget_end,
        };
        kept(covered, Promise::DeadMan, || {
            format!("set to {:?} in {:?}", self.dead_man, self.phase)
        })
    }
}
