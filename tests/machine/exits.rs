//! The promises about the exit and its code.

use graceinit::machine::hooks::HookPhase;
use graceinit::machine::phase::Failure;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Ending, Plan};
use graceinit::types::{Signal, Status};

use super::ledger::Ledger;
use super::promises::{Kept, Promise, kept};
use super::world::{SurvivorScan, World};

/// The exit code for an app that was not ready in time, or missed its watchdog and then exited with 0.
const NOT_READY: u8 = 124;

impl Ledger {
    pub(super) fn judge_exit(
        &mut self,
        plan: &Plan,
        world: &World,
        code: u8,
        by: Option<Signal>,
    ) -> Kept {
        self.exited = true;
        self.phase = PhaseName::Exit;
        let last = Promise::PostStopLast;
        let Some((ending, _)) = self.ended else {
            return kept(false, last, || "how the app ended is not known");
        };
        let limit = self.budget_end.unwrap_or_default().after(plan.post_stop_timeout);
        kept(world.now <= limit.after(self.late), Promise::ExitsInTime, || {
            format!("at {:?}, the limit is {limit:?}", world.now)
        })?;
        kept(self.post_end.is_some(), Promise::PhasesInOrder, || "there was no post-stop")?;
        let served = self.all_had_their_turn(plan, HookPhase::PostStop);
        kept(served, Promise::PostStopAlways, || format!("left at {:?}", self.post_stop))?;
        let closed = self.open.is_empty();
        kept(closed, Promise::Account, || format!("no end is recorded of {:?}", self.open))?;
        let killed = world.descendants.iter().all(|descendant| descendant.killed)
            && world.hooks.iter().all(|hook| hook.killed)
            && (world.app_killed || !world.app_lives())
            && world.scan != SurvivorScan::Runs;
        kept(killed, Promise::LeavesNothing, || "something is left to its fate")?;
        let terminal = !self.surroundings.terminal || plan.session || world.terminal_is_ours;
        kept(terminal, Promise::Terminal, || "it is not taken back from the app")?;
        let ended_by = match ending {
            Ending::Was(Status::Signal(signal)) => Some(signal),
            Ending::Forestalled(signal) => Some(signal),
            Ending::OutOfMemory => Some(Signal::KILL),
            Ending::Was(_) | Ending::NotStarted(_) | Ending::Unkillable => None,
        };
        let right = self.exit_code(plan, ending);
        kept(code == right, Promise::ExitCode, || format!("{code}, not {right}"))?;
        let by_right = ended_by.filter(|signal| i32::from(code) == 128 + signal.number());
        kept(by == by_right, Promise::ExitCode, || format!("by {by:?}, not {by_right:?}"))
    }

    /// The exit code by the rules of the manual.
    fn exit_code(&self, plan: &Plan, ending: Ending) -> u8 {
        let failure = self.readiness.failure;
        if failure == Some(Failure::NotReady) {
            return NOT_READY;
        }
        let code = self.code_of_the_app(plan, ending);
        match (failure, plan.exit.oom) {
            (Some(Failure::Watchdog), _) if code == 0 => NOT_READY,
            (Some(Failure::OutOfMemory), Some(chosen)) => chosen,
            (Some(Failure::OutOfMemory), None) if code == 0 => 137,
            _ => code,
        }
    }

    fn code_of_the_app(&self, plan: &Plan, ending: Ending) -> u8 {
        let ours = matches!(ending, Ending::Was(Status::Signal(Signal::KILL))) && self.app_killed;
        let app = match ending {
            Ending::NotStarted(code) => return code,
            Ending::OutOfMemory => match plan.exit.oom {
                Some(chosen) => return chosen,
                None => 137,
            },
            Ending::Unkillable => plan.exit.killed.unwrap_or(137),
            Ending::Was(_) if ours => plan.exit.killed.unwrap_or(137),
            Ending::Was(Status::Code(code)) => code,
            Ending::Was(Status::Signal(signal)) | Ending::Forestalled(signal) => {
                128 + signal.number() as u8
            }
        };
        let chosen = plan.exit.killed.is_some() && (ours || ending == Ending::Unkillable);
        let asked = self.asked_in_life && plan.exit.stop_ok.contains(&app);
        if !chosen && (asked || plan.exit.always_ok.contains(&app)) { 0 } else { app }
    }
}
