//! What happens around a running app: pre-start hooks before it, on-ready and on-reload hooks beside
//! it, and its wish for more time.

use std::collections::VecDeque;
use std::time::Duration;

use super::attempt::{HookId, HookPhase, Queue};
use super::fact::Fact;
use super::phase::{Phase, Readiness, Work};
use super::plan::Ending;
use super::{Action, Machine, Origin, Received, budget};
use crate::types::{Signal, Time};

/// The kernel too keeps only so much for a process that does not look.
const MOST_HELD: usize = 64;

impl Machine {
    /// The pre-start hooks are through.
    pub(super) fn start_app(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::PreStart { held, .. } = &mut self.phase else { return };
        let held = std::mem::take(held);
        self.phase = Phase::Starting { reloads: VecDeque::new() };
        out.push(Action::StartApp);
        // Not the app's own word of its readiness: it was sent before there was an app.
        for received in held {
            self.signal_for_the_app(now, received, out);
        }
    }

    /// Keeps a signal for the app that is not there yet.
    pub(super) fn hold(&mut self, received: Received, out: &mut Vec<Action>) {
        let Phase::PreStart { held, .. } = &mut self.phase else { return };
        let Received { signal, origin, .. } = received;
        // A key typed at the terminal, or a new size of it, is nothing to an app that will look for
        // itself when it starts.
        let job_control = [Signal::TSTP, Signal::CONT, Signal::WINCH].contains(&signal);
        // As the kernel has it, a standard signal that is pending already is not pending twice.
        let pending = signal.is_standard() && held.iter().any(|other| other.signal == signal);
        if job_control && origin == Origin::Kernel || pending || held.len() == MOST_HELD {
            out.push(Action::Record(Fact::NoApp { signal }));
        } else {
            held.push(received);
            out.push(Action::Record(Fact::Held { signal }));
        }
    }

    pub(super) fn app_executed(&mut self, now: Time, out: &mut Vec<Action>) {
        // Otherwise a stop request overtook the news.
        if let Phase::Starting { reloads } = &mut self.phase {
            let reloads = std::mem::take(reloads);
            let readiness = Readiness::Waiting(self.waiting(now));
            let phase =
                Phase::Running { suspended: false, work: None, reloads, readiness, watchdog: None };
            self.enter(phase, out);
            self.seek(now, out);
            self.ready_if_nothing_is_missing(now, out);
        }
    }

    /// A signal that is passed on only after the on-reload hooks.
    pub(super) fn reload(&mut self, now: Time, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        let (reloads, begun) = match &mut self.phase {
            Phase::Starting { reloads } => (reloads, 0),
            Phase::Running { work: Some(work), reloads, .. }
                if work.phase == HookPhase::OnReload =>
            {
                (reloads, 1)
            }
            Phase::Running { reloads, .. } => (reloads, 0),
            Phase::PreStart { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => return,
        };
        // Whoever asks again while the first round runs wants another one, but not ten.
        if reloads.iter().skip(begun).any(|waiting| waiting.signal == signal) {
            return out.push(Action::Record(Fact::ReloadMerged { signal }));
        }
        reloads.push_back(received);
        out.push(Action::Record(Fact::ReloadRequested { signal }));
        if let Phase::Running { work: None, .. } = self.phase {
            self.next_work(now, out);
        }
    }

    /// A stop has begun, or there is no app to stop: what waits is not passed on any more.
    /// Hooks that still run are asked to end: one that registers the app somewhere must not come
    /// after the pre-stop hook that takes it out there.
    pub(super) fn end_work(&mut self, out: &mut Vec<Action>) {
        self.end_probes(out);
        let signal = self.plan.leftover_signal();
        let running = self.runs.iter().filter(|run| !run.killed);
        let stop = running.map(|run| Action::StopHook { id: run.id, signal });
        match &mut self.phase {
            Phase::PreStart { held, .. } => {
                out.extend(stop);
                let lost = held.drain(..).map(|Received { signal, .. }| Fact::NoApp { signal });
                out.extend(lost.map(Action::Record));
            }
            Phase::Starting { reloads } | Phase::Running { reloads, .. } => {
                out.extend(stop);
                let dropped = reloads.drain(..);
                let dropped = dropped.map(|Received { signal, .. }| Fact::ReloadDropped { signal });
                out.extend(dropped.map(Action::Record));
            }
            Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => {}
        }
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

    pub(super) fn diagnose(&mut self, now: Time, out: &mut Vec<Action>) {
        let left = self.left(now);
        let Some(signal) = self.plan.diagnose.map(|diagnose| diagnose.signal) else { return };
        if let Phase::Stopping { diagnose, .. } = &mut self.phase {
            *diagnose = None;
            out.push(Action::Record(Fact::Diagnosed { signal, left }));
            let target = self.scope_target();
            self.tell_app(signal, target, None, false, out);
        }
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
}
