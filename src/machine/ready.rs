//! Readiness: what the app is waited for, what it says of itself, and what it means when that does not
//! come.

use std::time::Duration;

use super::attempt::{HookId, HookPhase, Outcome, Queue, Run};
use super::fact::Fact;
use super::phase::{Phase, Probe, Readiness, Waiting, Work};
use super::plan::Condition;
use super::{Action, Machine, Target, budget};
use crate::types::{Pid, Signal, Time};

/// Why graceinit stops an app that nobody asked it to stop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// It was not ready in time.
    NotReady,
    /// It has given no sign of life in time.
    Watchdog,
}

/// What the app says of itself (sd_notify(3)), as far as the machine has to know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Notice {
    /// `READY=1`
    Ready,
    /// `STOPPING=1`
    Stopping,
    /// `EXTEND_TIMEOUT_USEC=`: it asks for so much time from now on.
    MoreTime(Duration),
    /// `WATCHDOG=1`: a sign of life.
    Alive,
    /// `WATCHDOG=trigger`: it has found out itself that it does not work.
    Dead,
    /// `WATCHDOG_USEC=`: from now on signs of life come this often; zero: none.
    Interval(Duration),
    /// `MAINPID=`: another process is the app from now on.
    MainPid(Pid),
}

impl Machine {
    /// Whether the app is ready, and no stop has begun.
    pub fn ready(&self) -> bool {
        matches!(self.phase, Phase::Running { readiness: Readiness::Ready, .. })
    }

    /// What has to hold before an app that runs from now on counts as ready.
    pub(super) fn waiting(&self, now: Time) -> Waiting {
        let conditions = self.plan.ready.iter().enumerate();
        let missing = conditions.clone().fold(0, |bits, (index, _)| bits | 1 << index);
        let looks = self.plan.drain.is_some_and(|drain| drain.looks);
        let probes = conditions
            .filter(|(_, condition)| **condition == Condition::Probe)
            .map(|(index, _)| Probe { index, attempt: 1, due: Some(now) })
            .collect();
        Waiting { since: now, missing, look: looks.then_some(now), probes }
    }

    /// When it has to be ready.
    pub(super) fn ready_limit(&self, waiting: &Waiting) -> Option<Time> {
        self.plan.ready_timeout.map(|limit| waiting.since.after(limit))
    }

    /// Sees what is due of it.
    pub(super) fn seek(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &mut self.phase else {
            return;
        };
        for (index, condition) in self.plan.ready.iter().enumerate() {
            if let Condition::After(span) = condition {
                if waiting.since.after(*span) <= now {
                    waiting.missing &= !(1 << index);
                }
            }
        }
        if waiting.look.is_some_and(|due| due <= now) {
            waiting.look = Some(now.after(budget::probe_pause(now.since(waiting.since))));
            out.push(Action::SeekListeners);
        }
        let until = now.after(self.plan.probe_timeout);
        for probe in waiting.probes.iter_mut().filter(|probe| probe.due <= Some(now)) {
            let Some(_) = probe.due.take() else { continue };
            let id = probe.id();
            out.push(Action::StartHook { id, until, end: Some(until) });
            self.runs.push(Run { id, until, killed: false });
        }
    }

    /// When something of it is due.
    pub(super) fn readiness_due(&self, waiting: &Waiting) -> Option<Time> {
        let after = self.plan.ready.iter().enumerate().filter_map(|(index, condition)| {
            let missing = waiting.missing & 1 << index != 0;
            match condition {
                Condition::After(span) if missing => Some(waiting.since.after(*span)),
                Condition::After(_)
                | Condition::Notify
                | Condition::Newline
                | Condition::Signal(_)
                | Condition::Probe => None,
            }
        });
        let probes = waiting.probes.iter().filter_map(|probe| probe.due);
        let limit = self.ready_limit(waiting);
        after.chain(probes).chain(waiting.look).chain(limit).min()
    }

    /// An attempt of a probe has ended.
    pub(super) fn probe_ended(
        &mut self,
        now: Time,
        id: HookId,
        outcome: Outcome,
        out: &mut Vec<Action>,
    ) {
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &mut self.phase else {
            return;
        };
        let Some(place) = waiting.probes.iter().position(|probe| probe.id() == id) else { return };
        if outcome == Outcome::Done {
            waiting.probes.remove(place);
            return self.condition_holds(now, id.index, out);
        }
        if let Some(probe) = waiting.probes.get_mut(place) {
            probe.attempt = probe.attempt.wrapping_add(1);
            probe.due = Some(now.after(budget::probe_pause(now.since(waiting.since))));
        }
    }

    /// The app listens on the ports that are to be drained, or does not.
    pub(super) fn listening(&mut self, now: Time, yes: bool, out: &mut Vec<Action>) {
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &mut self.phase else {
            return;
        };
        if yes && waiting.look.take().is_some() {
            out.push(Action::Record(Fact::Listens { after: now.since(waiting.since) }));
            self.ready_if_nothing_is_missing(now, out);
        }
    }

    pub(super) fn condition_holds(&mut self, now: Time, index: usize, out: &mut Vec<Action>) {
        // Whoever has something to say has been executed, whatever became of the news.
        self.app_executed(now, out);
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &mut self.phase else {
            return;
        };
        let bit = 1u64.checked_shl(index as u32).unwrap_or(0);
        if waiting.missing & bit != 0 {
            waiting.missing &= !bit;
            out.push(Action::Record(Fact::ConditionHolds {
                index,
                after: now.since(waiting.since),
            }));
            self.ready_if_nothing_is_missing(now, out);
        }
    }

    /// A signal that the app was to send when it is ready, not one to be passed on to it.
    pub(super) fn signal_of_readiness(
        &mut self,
        now: Time,
        signal: Signal,
        out: &mut Vec<Action>,
    ) -> bool {
        let awaited = self.plan.ready.iter().position(|c| *c == Condition::Signal(signal));
        let Some(index) = awaited else { return false };
        let missing = match &self.phase {
            Phase::Starting { .. } => true,
            Phase::Running { readiness: Readiness::Waiting(waiting), .. } => {
                waiting.missing & 1 << index != 0
            }
            Phase::PreStart { .. }
            | Phase::Running { readiness: Readiness::Ready | Readiness::Over { .. }, .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => false,
        };
        if missing {
            self.condition_holds(now, index, out);
        }
        missing
    }

    pub(super) fn ready_if_nothing_is_missing(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { readiness, work, watchdog, .. } = &mut self.phase else { return };
        let Readiness::Waiting(waiting) = readiness else { return };
        if waiting.missing != 0 || waiting.look.is_some() {
            return;
        }
        let after = now.since(waiting.since);
        *readiness = Readiness::Ready;
        *work = Some(Work { phase: HookPhase::OnReady, queue: Queue::first() });
        // From here on it can be expected to be alive; one that spoke before has begun already.
        if watchdog.is_none() {
            *watchdog = self.watchdog.map(|interval| now.after(interval));
        }
        out.push(Action::SetReady(true));
        out.push(Action::Record(Fact::Entered(self.phase.name())));
        out.push(Action::Record(Fact::Ready { after }));
        self.run_queue(now, out);
    }

    /// What the app says of itself.
    pub(super) fn notice(&mut self, now: Time, notice: Notice, out: &mut Vec<Action>) {
        // One that does not work does not get ready first.
        if notice != Notice::Dead {
            self.app_executed(now, out);
        }
        match notice {
            Notice::Ready => {
                let conditions = self.plan.ready.iter();
                if let Some(index) = conditions.clone().position(|c| *c == Condition::Notify) {
                    self.condition_holds(now, index, out);
                }
            }
            Notice::Stopping => self.app_stops_itself(now, out),
            Notice::MoreTime(span) => self.more_time(now, span, out),
            Notice::Alive => self.alive(now),
            Notice::Dead => self.watchdog_missed(now, out),
            Notice::Interval(interval) => {
                self.watchdog = Some(interval).filter(|interval| !interval.is_zero());
                self.alive(now);
            }
            Notice::MainPid(pid) => {
                let begun = !matches!(self.phase, Phase::PreStart { .. });
                if begun && self.ending.is_none() {
                    out.push(Action::Record(Fact::MainPid { pid }));
                    out.push(Action::FollowMain(pid));
                }
            }
        }
    }

    /// It ends by itself, and says so before: it takes no new work any more.
    fn app_stops_itself(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { readiness, watchdog, work, .. } = &mut self.phase else { return };
        let was_ready = *readiness == Readiness::Ready;
        if matches!(readiness, Readiness::Over { .. }) {
            return;
        }
        *readiness = Readiness::Over { was_ready };
        *watchdog = None;
        let idle = work.is_none();
        out.push(Action::SetReady(false));
        out.push(Action::Record(Fact::StopsItself));
        self.end_probes(out);
        // What waited for it to get ready would wait for ever.
        if idle {
            self.next_work(now, out);
        }
    }

    /// A sign of life.
    fn alive(&mut self, now: Time) {
        let interval = self.watchdog;
        let Phase::Running { watchdog, readiness, .. } = &mut self.phase else { return };
        if !matches!(readiness, Readiness::Over { .. }) {
            *watchdog = interval.map(|interval| now.after(interval));
        }
    }

    pub(super) fn watchdog_missed(&mut self, now: Time, out: &mut Vec<Action>) {
        let (Phase::Starting { .. } | Phase::Running { .. }) = self.phase else { return };
        let interval = self.watchdog.unwrap_or_default();
        out.push(Action::Record(Fact::WatchdogMissed { interval }));
        self.fail(now, Failure::Watchdog, out);
    }

    pub(super) fn not_ready(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &self.phase else {
            return;
        };
        let (missing, ports) = (waiting.missing, waiting.look.is_some());
        let after = now.since(waiting.since);
        out.push(Action::Record(Fact::NotReady { after, missing, ports }));
        self.fail(now, Failure::NotReady, out);
    }

    /// The app is stopped although nobody asked for it.
    fn fail(&mut self, now: Time, failure: Failure, out: &mut Vec<Action>) {
        self.failure = Some(failure);
        self.begin_stop(now, out);
        // Whatever it hangs in, this is the moment to say it.
        if let (Failure::Watchdog, Some(diagnose)) = (failure, self.plan.diagnose) {
            let (signal, left) = (diagnose.signal, self.left(now));
            out.push(Action::Record(Fact::Diagnosed { signal, left }));
            let target: Target = self.target(false);
            self.tell_app(signal, target, None, false, out);
        }
        self.enter_pre_stop(now, None, out);
    }

    /// Nobody waits for the answer of a probe any more.
    pub(super) fn end_probes(&mut self, out: &mut Vec<Action>) {
        for run in &mut self.runs {
            if run.id.phase == HookPhase::Ready && !run.killed {
                run.killed = true;
                out.push(Action::KillHook(run.id));
            }
        }
    }

    pub(super) fn running_tick(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { suspended, work, readiness, .. } = &self.phase else { return };
        let pause = work.as_ref().and_then(|work| work.queue.pause);
        if let (Readiness::Waiting(waiting), false) = (readiness, *suspended) {
            let limit = self.ready_limit(waiting);
            self.seek(now, out);
            self.ready_if_nothing_is_missing(now, out);
            if limit.is_some_and(|limit| limit <= now) {
                self.not_ready(now, out);
            }
        } else if pause.is_some_and(|pause| pause <= now) {
            self.run_queue(now, out);
        }
    }
}
