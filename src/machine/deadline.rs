//! The end of the budget, and what may move it.

use std::time::Duration;

use super::attempt::Outcome;
use super::fact::Fact;
use super::phase::{Phase, Sweep, Tree};
use super::plan::{Ending, StopAgain};
use super::{Action, Machine, Origin, budget, hooks};
use crate::types::{Signal, Time};

impl Machine {
    /// When the records of the survivors are to be begun, if that is still to be done.
    pub(super) fn survey_due(&self) -> Option<Time> {
        let lead = budget::survey_lead(self.plan.measure());
        let due = self.budget_runs() && !self.surveyed && !lead.is_zero();
        self.budget_end.filter(|_| due).map(|deadline| deadline.before(lead))
    }

    pub(super) fn survey(&mut self, out: &mut Vec<Action>) {
        self.surveyed = true;
        out.push(Action::RecordSurvivors);
    }

    pub(super) fn survey_done(&mut self, now: Time, out: &mut Vec<Action>) {
        // Nothing else is waited for when the budget was ended by hand.
        if self.hurried && self.budget_runs() {
            self.kill_all(now, out);
        }
    }

    /// EXTEND_TIMEOUT_USEC: the deadline moves to `span` from now if that is later, but
    /// never beyond `--grace-max`, and only for an app that is being stopped. One that has no deadline
    /// has all the time there is.
    pub(super) fn more_time(&mut self, now: Time, span: Duration, out: &mut Vec<Action>) {
        let Some(deadline) = self.budget_end else { return };
        let wanted = now.after(span).min(self.budget_end_limit);
        let stopping = self.budget_runs() && self.ending.is_none() && !self.hurried;
        if !stopping || wanted <= deadline {
            return;
        }
        self.budget_end = Some(wanted);
        // Whoever is still there at the new end is recorded then.
        self.surveyed = false;
        if let Phase::Stopping { diagnose: Some(due), .. } = &mut self.phase {
            *due = due.after(wanted.since(deadline));
        }
        let left = wanted.since(now);
        // The service manager waits until graceinit itself has exited.
        out.push(Action::TellMoreTime(left + self.plan.post_stop_timeout));
        out.push(Action::Record(Fact::Extended { left }));
        out.push(Action::ArmDeadMan(wanted));
    }

    pub(super) fn stop_again(
        &mut self,
        now: Time,
        signal: Signal,
        origin: Origin,
        out: &mut Vec<Action>,
    ) {
        let wanted = match self.plan.stop_again {
            StopAgain::Ignore => false,
            StopAgain::Kill => true,
            StopAgain::Default => signal == Signal::INT && origin == Origin::Kernel,
        };
        let kill = wanted && self.budget_runs();
        out.push(Action::Record(Fact::StopAgain { signal, kill }));
        if kill {
            self.hurry(now, out);
        }
    }

    /// Whether a Ctrl-C that is typed now ends the budget.
    pub fn again_kills(&self) -> bool {
        let kills = self.plan.stop_again != StopAgain::Ignore;
        let asked = self.stop.is_some() && self.budget_runs() && !self.hurried;
        kills && asked && self.plan.stop_on.contains(Signal::INT)
    }

    /// Ends the budget: as soon as it is recorded who is still there, at once if it is.
    pub(super) fn hurry(&mut self, now: Time, out: &mut Vec<Action>) {
        let moment = now.after(budget::HURRIED_SURVEY);
        let end = self.budget_end.map_or(moment, |deadline| deadline.min(moment));
        self.hurried = true;
        self.budget_end = Some(end);
        if self.surveyed || end <= now {
            return self.kill_all(now, out);
        }
        out.push(Action::ArmDeadMan(end));
        self.survey(out);
    }

    /// Whether the phase is one that the end of the budget cuts off.
    pub(super) fn budget_runs(&self) -> bool {
        match self.phase {
            Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_) => true,
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => false,
        }
    }

    /// What is left of the budget, if it has an end.
    pub(super) fn left(&self, now: Time) -> Option<Duration> {
        self.budget_end.map(|deadline| deadline.since(now))
    }

    pub(super) fn kill_all(&mut self, now: Time, out: &mut Vec<Action>) {
        self.app_killed = self.ending.is_none();
        for run in self.runs.iter_mut().filter(|run| !run.killed) {
            run.killed = true;
            hooks::tell_end(run.id, Outcome::TimedOut, None, out);
        }
        // A wake-up that came late (`docker pause`) must not cost the post-stop hooks their reserve.
        self.budget_end = Some(now);
        let give_up = now.after(budget::dying(self.plan.post_stop_timeout));
        // Before their end, while the account is still in the phase in which they hung.
        out.push(Action::ReportSurvivors);
        out.push(Action::Record(Fact::DeadlineReached { early: self.hurried }));
        self.enter(Phase::Killed { give_up, sweep: Sweep { looks: 0, next: now } }, out);
        // The dead-man must not cut off the post-stop that is still to come.
        out.push(Action::ArmDeadMan(now.after(self.plan.post_stop_timeout)));
        self.sweep(now, out);
    }

    pub(super) fn give_up(&mut self, now: Time, out: &mut Vec<Action>) {
        out.push(Action::Record(Fact::Unkillable));
        if self.ending.is_none() {
            self.ending = Some(Ending::Unkillable);
            self.ended = Some(now);
            self.take_terminal(out);
        }
        self.enter_post_stop(now, Tree::GivenUp, out);
    }
}
