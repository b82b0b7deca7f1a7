//! The end of the budget: what moves it, the records of the survivors, SIGKILL, and giving up.

use std::time::Duration;

use super::attempt::Outcome;
use super::fact::Fact;
use super::hooks;
use super::phase::{Phase, Readiness, Stop, Sweep, Tree, Waiting};
use super::plan::{Ending, StopAgain};
use super::{Action, AppEnd, Machine, Origin, budget};
use crate::types::{Signal, Time};

impl Machine {
    /// The end of the budget, once it runs, if it has one.
    pub fn budget_end(&self) -> Option<Time> {
        self.stop.as_ref().and_then(|stop| stop.budget_end)
    }

    /// Whether the end of the budget cuts the present phase off.
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

    /// The rest of the budget, if it has an end.
    pub(super) fn time_left(&self, now: Time) -> Option<Duration> {
        self.budget_end().map(|end| end.since(now))
    }

    // ---- more time ------------------------------------------------------------------------------

    /// EXTEND_TIMEOUT_USEC: moves the end of the budget to `span` from now if that is later than the present
    /// end, but never beyond `--grace-max`, and only for an app that is being stopped. A budget without an
    /// end has nothing to move. For an app that is not ready yet it moves the end of `--ready-timeout`.
    pub(super) fn more_time(&mut self, now: Time, span: Duration, out: &mut Vec<Action>) {
        if let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &mut self.phase {
            return more_time_to_start(now, span, waiting, out);
        }
        let app_is_stopping = self.budget_runs() && self.app_end.is_none();
        let Some(stop) = self.stop.as_mut().filter(|stop| app_is_stopping && !stop.hurried) else {
            return;
        };
        let Some(before) = stop.budget_end else { return };
        let budget_end = now.after(span).min(stop.budget_end_limit);
        if budget_end <= before {
            return;
        }
        stop.budget_end = Some(budget_end);
        // Other processes may survive until the new end.
        stop.survivors_requested = false;
        if let Phase::Stopping { diagnose: Some(at), .. } = &mut self.phase {
            *at = at.after(budget_end.since(before));
        }
        let left = budget_end.since(now);
        // The service manager waits for graceinit's own exit, which comes after the post-stop reserve.
        out.push(Action::TellMoreTime(left.saturating_add(self.plan.post_stop_timeout)));
        out.push(Action::Record(Fact::Extended { left }));
        out.push(Action::ArmDeadMan(budget_end));
    }

    // ---- a second stop request ------------------------------------------------------------------

    /// A further signal of `--stop-on`: it ends the budget, or is only recorded (`--stop-again`).
    pub(super) fn second_request(
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
        let sent = self.escalation(signal).filter(|_| !kill);
        out.push(Action::Record(Fact::StopAgain { signal, kill, sent }));
        if kill {
            self.hurry(now, out);
        } else if let Some(sent) = sent {
            self.escalate(signal, sent, out);
        }
    }

    /// A further request with another signal is the platform escalating (GitHub Actions and Fly send INT, then TERM). The
    /// app may know only the second one, so it is sent as well; it starts no new clock. A ladder of `--stop-signal`
    /// says itself what the app is sent. `None`: nothing is sent.
    fn escalation(&self, signal: Signal) -> Option<Signal> {
        let sent = self.plan.rewrite.apply(signal).filter(|_| self.plan.ladder.is_empty())?;
        let stop = self.stop.as_ref().filter(|_| !self.is_hurried())?;
        let first = stop.request.and_then(|request| self.plan.rewrite.apply(request.signal));
        let known = match self.phase {
            Phase::PreStop { .. } | Phase::Drain(_) | Phase::OnStop(_) => first == Some(sent),
            Phase::Stopping { .. } => stop.sent.contains(sent),
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => true,
        };
        (!known).then_some(sent)
    }

    /// Sends it, after the first stop signal.
    fn escalate(&mut self, signal: Signal, sent: Signal, out: &mut Vec<Action>) {
        match self.phase {
            Phase::PreStop { .. } | Phase::Drain(_) | Phase::OnStop(_) => {
                self.stop.get_or_insert_default().escalation = Some(signal);
            }
            Phase::Stopping { .. } => self.send_escalation(signal, sent, out),
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => {}
        }
    }

    /// Sends the app the signal of a further stop request.
    pub(super) fn send_escalation(&mut self, signal: Signal, sent: Signal, out: &mut Vec<Action>) {
        let scope = self.plan.scope;
        out.push(Action::Record(Fact::Forwarded { signal, sent, scope }));
        self.send_stop_signal(sent, false, out);
    }

    /// Whether a Ctrl-C that is typed now ends the budget.
    pub fn again_kills(&self) -> bool {
        let waits = |stop: &Stop| stop.request.is_some() && !stop.hurried;
        let kills = self.plan.stop_again != StopAgain::Ignore;
        let waits = self.budget_runs() && self.stop.as_ref().is_some_and(waits);
        kills && waits && self.plan.stop_on.contains(Signal::INT)
    }

    /// Whether a second stop request has ended the budget, and only the records of the survivors are waited for: from
    /// then on no process is asked any more, and nothing is started.
    pub(super) fn is_hurried(&self) -> bool {
        self.budget_runs() && self.stop.as_ref().is_some_and(|stop| stop.hurried)
    }

    /// Ends the budget as soon as the survivors are recorded; at once if they were.
    fn hurry(&mut self, now: Time, out: &mut Vec<Action>) {
        let latest = now.after(budget::HURRIED_SURVIVORS_LEAD);
        let stop = self.stop.get_or_insert_default();
        let budget_end = stop.budget_end.map_or(latest, |end| end.min(latest));
        stop.hurried = true;
        stop.budget_end = Some(budget_end);
        if stop.survivors_requested || budget_end <= now {
            return self.kill_all(now, out);
        }
        out.push(Action::ArmDeadMan(budget_end));
        self.record_survivors(out);
    }

    // ---- survivors ------------------------------------------------------------------------------

    /// When the records of the survivors are begun, if that is still to be done.
    pub(super) fn survivors_wakeup(&self) -> Option<Time> {
        let lead = budget::survivors_lead(self.plan.share_base());
        let stop = self.stop.as_ref().filter(|stop| !stop.survivors_requested)?;
        let wanted = self.budget_runs() && !lead.is_zero();
        stop.budget_end.filter(|_| wanted).map(|end| end.before(lead))
    }

    /// Starts the child that records the survivors.
    pub(super) fn record_survivors(&mut self, out: &mut Vec<Action>) {
        self.stop.get_or_insert_default().survivors_requested = true;
        out.push(Action::RecordSurvivors);
    }

    /// The records are complete, or could not be made.
    pub(super) fn survivors_recorded(&mut self, now: Time, out: &mut Vec<Action>) {
        // A hurried budget waits for nothing else.
        if self.is_hurried() {
            self.kill_all(now, out);
        }
    }

    // ---- SIGKILL --------------------------------------------------------------------------------

    /// The end of the budget: SIGKILL to the whole tree.
    pub(super) fn kill_all(&mut self, now: Time, out: &mut Vec<Action>) {
        let outcome = if self.is_hurried() { Outcome::StopAgain } else { Outcome::TimedOut };
        for run in self.runs.iter_mut().filter(|run| !run.killed) {
            run.killed = true;
            hooks::record_end(run.id, outcome, None, out);
        }
        let stop = self.stop.get_or_insert_default();
        stop.app_killed = self.app_end.is_none();
        // Now, not the planned time: a wake-up that comes late (`docker pause`) must not cost the post-stop
        // hooks their reserve.
        stop.budget_end = Some(now);
        let give_up = now.after(budget::dying(self.plan.post_stop_timeout));
        let early = stop.hurried;
        // Before the phase changes: the report names the phase in which the survivors hung.
        out.push(Action::ReportSurvivors);
        out.push(Action::Record(Fact::DeadlineReached { early }));
        self.enter(Phase::Killed { give_up, sweep: Sweep { rounds: 0, next: now } }, out);
        // The dead-man must not cut off the post-stop hooks that are still to come.
        out.push(Action::ArmDeadMan(now.after(self.plan.post_stop_timeout)));
        self.sweep(now, out);
    }

    /// A process did not die of SIGKILL (uninterruptible sleep): post-stop begins without its exit.
    pub(super) fn give_up(&mut self, now: Time, out: &mut Vec<Action>) {
        out.push(Action::Record(Fact::Unkillable));
        if self.app_end.is_none() {
            self.app_end = Some(AppEnd { ending: Ending::Unkillable, at: now });
            self.take_terminal(out);
        }
        self.enter_post_stop(now, Tree::GivenUp, out);
    }
}

/// The end of `--ready-timeout` moves to `span` from now if that is later than the present end. (As in systemd, the
/// time of a start has no upper limit.)
fn more_time_to_start(now: Time, span: Duration, waiting: &mut Waiting, out: &mut Vec<Action>) {
    let end = now.after(span);
    if waiting.timeout_end.is_some_and(|before| end <= before) {
        return;
    }
    // The service manager has a time limit for the start too.
    out.push(Action::TellMoreTime(span));
    if let Some(timeout_end) = &mut waiting.timeout_end {
        *timeout_end = end;
        out.push(Action::Record(Fact::Extended { left: span }));
    }
}
