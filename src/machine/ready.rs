//! Readiness: the conditions that an app has to meet, its notifications (sd_notify(3)), its watchdog, and
//! the stop of an app that fails.

use std::time::Duration;

use super::attempt::{HookId, HookPhase, Outcome, Queue, Run};
use super::fact::Fact;
use super::phase::{Failure, LiveHooks, Phase, Probe, Readiness, Waiting};
use super::plan::ChildOom;
use super::plan::Condition;
use super::{Action, Machine, Received, budget};
use crate::types::{Pid, Signal, Time};

/// An app that is not ready after this time is warned of.
const LATE: Duration = Duration::from_secs(10);

/// A notification of the app (sd_notify(3)), as far as the machine needs it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Notice {
    /// `READY=1`
    Ready,
    /// `STOPPING=1`
    Stopping,
    /// `EXTEND_TIMEOUT_USEC=`: the app asks for this much time from now on.
    MoreTime(Duration),
    /// `WATCHDOG=1`: a keep-alive.
    Alive,
    /// `WATCHDOG=trigger`: the app reports that it does not work.
    Dead,
    /// `WATCHDOG_USEC=`: from now on keep-alives come this often; zero: never.
    Interval(Duration),
    /// `MAINPID=`: this process is the app from now on.
    MainPid(Pid),
}

impl Machine {
    /// Whether the app is ready, and no stop has begun.
    pub fn ready(&self) -> bool {
        matches!(self.phase, Phase::Running { readiness: Readiness::Ready, .. })
    }

    // ---- conditions -----------------------------------------------------------------------------

    /// What an app that was executed `now` has to meet before it counts as ready.
    pub(super) fn waiting(&self, now: Time, held: Vec<Received>) -> Waiting {
        let conditions = self.plan.ready.iter().enumerate();
        let missing = conditions.clone().fold(0, |bits, (index, _)| bits | 1 << index);
        let samples = self.plan.drain.is_some_and(|drain| drain.looks);
        let probes = conditions
            .filter(|(_, condition)| **condition == Condition::Probe)
            .map(|(index, _)| Probe { index, attempt: 1, start: Some(now) })
            .collect();
        Waiting {
            since: now,
            missing,
            next_listen_check: samples.then_some(now),
            probes,
            timeout_end: self.plan.ready_timeout.map(|timeout| now.after(timeout)),
            held,
            warned: false,
        }
    }

    /// What the app has to meet before it counts as ready: a bit for each condition, and whether it has to listen on
    /// the ports to be drained. `None` before the app runs and from the stop on.
    pub fn missing(&self) -> Option<(u64, bool)> {
        match &self.phase {
            Phase::Running { readiness: Readiness::Waiting(waiting), .. } => {
                Some((waiting.missing, waiting.next_listen_check.is_some()))
            }
            Phase::Running { readiness: Readiness::Ready | Readiness::Over { .. }, .. } => {
                Some((0, false))
            }
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => None,
        }
    }

    /// Whether the end of this attempt says something about its condition: it is a probe's, and was not killed.
    pub fn awaits_probe(&self, id: HookId) -> bool {
        let runs = || self.runs.iter().any(|run| run.id == id && !run.killed);
        id.phase == HookPhase::Ready && self.is_waiting() && runs()
    }

    /// Whether an app that was ready before still accepts work: no stop signal was sent, it lives, and has not failed.
    pub fn may_serve(&self) -> bool {
        let before_signal =
            matches!(self.phase, Phase::PreStop { .. } | Phase::Drain(_) | Phase::OnStop(_));
        let failed = self.stop.as_ref().is_some_and(|stop| stop.failure.is_some());
        before_signal && self.app_end.is_none() && !failed
    }

    /// Whether the app runs and is not ready yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Running { readiness: Readiness::Waiting(_), .. })
    }

    /// When the warning is due that the app is still not ready: conditions that need only time are not worth one.
    fn late(&self, waiting: &Waiting) -> Option<Time> {
        let conditions = self.plan.ready.iter().enumerate();
        let worth = conditions
            .filter(|(_, condition)| !matches!(condition, Condition::After(_)))
            .any(|(index, _)| waiting.missing & 1 << index != 0);
        let worth = (worth || waiting.next_listen_check.is_some()) && !waiting.warned;
        worth.then(|| waiting.since.after(LATE))
    }

    /// Whether an app that was executed has to meet any condition before it is ready.
    pub(super) fn awaits_readiness(&self) -> bool {
        !self.plan.ready.is_empty() || self.plan.drain.is_some_and(|drain| drain.looks)
    }

    /// Marks the conditions that time has met, and starts the checks whose time has come.
    pub(super) fn check_readiness(&mut self, now: Time, out: &mut Vec<Action>) {
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
        if waiting.next_listen_check.is_some_and(|check| check <= now) {
            let pause = budget::probe_pause(now.since(waiting.since));
            waiting.next_listen_check = Some(now.after(pause));
            out.push(Action::SeekListeners);
        }
        let kill_at = now.after(self.plan.probe_timeout);
        let runs = &mut self.runs;
        for probe in waiting.probes.iter_mut() {
            if probe.start.is_none_or(|start| start > now) || is_unreaped(runs, probe) {
                continue;
            }
            probe.start = None;
            let id = probe.id();
            out.push(Action::StartHook { id, kill_at, budget_end: Some(kill_at) });
            runs.push(Run { id, kill_at, killed: false });
        }
    }

    /// When `check_readiness` has to be called next.
    pub(super) fn readiness_wakeup(&self, waiting: &Waiting) -> Option<Time> {
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
        // The end of an attempt that was killed wakes the loop.
        let free = waiting.probes.iter().filter(|probe| !is_unreaped(&self.runs, probe));
        let probes = free.filter_map(|probe| probe.start);
        let ends = [waiting.next_listen_check, waiting.timeout_end, self.late(waiting)];
        after.chain(probes).chain(ends.into_iter().flatten()).min()
    }

    pub(super) fn running_tick(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { suspended, hooks, readiness, .. } = &self.phase else { return };
        let pause = hooks.as_ref().and_then(|hooks| hooks.queue.pause);
        if let (Readiness::Waiting(waiting), false) = (readiness, *suspended) {
            let timeout_end = waiting.timeout_end;
            self.check_readiness(now, out);
            self.enter_ready_if_complete(now, out);
            if timeout_end.is_some_and(|end| end <= now) {
                self.not_ready(now, out);
            } else {
                self.warn_if_late(now, out);
            }
        } else if pause.is_some_and(|pause| pause <= now) {
            self.run_queue(now, out);
        }
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
            probe.start = Some(now.after(budget::probe_pause(now.since(waiting.since))));
        }
    }

    /// The app listens on the ports that are to be drained, or does not.
    pub(super) fn listening(&mut self, now: Time, yes: bool, out: &mut Vec<Action>) {
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &mut self.phase else {
            return;
        };
        if yes && waiting.next_listen_check.take().is_some() {
            out.push(Action::Record(Fact::Listens { after: now.since(waiting.since) }));
            self.enter_ready_if_complete(now, out);
        }
    }

    pub(super) fn condition_holds(&mut self, now: Time, index: usize, out: &mut Vec<Action>) {
        // Only a program that was executed can meet a condition, even if execve is not reported yet.
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
            self.enter_ready_if_complete(now, out);
        }
    }

    /// Takes a signal of `--ready signal:` as the condition that it stands for, once. Whether it was that;
    /// if not, it is forwarded.
    pub(super) fn signal_of_readiness(
        &mut self,
        now: Time,
        signal: Signal,
        out: &mut Vec<Action>,
    ) -> bool {
        let condition = self.plan.ready.iter().position(|c| *c == Condition::Signal(signal));
        let Some(index) = condition else { return false };
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

    /// The app is ready when no condition is missing.
    pub(super) fn enter_ready_if_complete(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { readiness, hooks, watchdog, .. } = &mut self.phase else { return };
        let Readiness::Waiting(waiting) = readiness else { return };
        if waiting.missing != 0 || waiting.next_listen_check.is_some() {
            return;
        }
        let after = now.since(waiting.since);
        let held = std::mem::take(&mut waiting.held);
        *readiness = Readiness::Ready;
        *hooks = Some(LiveHooks { phase: HookPhase::OnReady, queue: Queue::first() });
        // The watchdog starts with readiness. An app that has sent a keep-alive before has started it.
        if watchdog.is_none() {
            *watchdog = self.watchdog_interval.map(|interval| now.after(interval));
        }
        out.push(Action::SetReady(true));
        out.push(Action::Record(Fact::Entered(self.phase.name())));
        out.push(Action::Record(Fact::Ready { after }));
        self.run_queue(now, out);
        self.send_held(now, held, out);
    }

    /// Sends the signals that have waited for readiness.
    fn send_held(&mut self, now: Time, held: Vec<Received>, out: &mut Vec<Action>) {
        for received in held {
            self.signal_for_the_app(now, received, out);
        }
    }

    /// Kills the checks that still run: their result has no use any more.
    pub(super) fn kill_checks(&mut self, out: &mut Vec<Action>) {
        for run in &mut self.runs {
            if run.id.phase.checks() && !run.killed {
                run.killed = true;
                out.push(Action::KillHook(run.id));
            }
        }
    }

    // ---- notifications --------------------------------------------------------------------------

    /// The app sent a notification.
    pub(super) fn notice(&mut self, now: Time, notice: Notice, out: &mut Vec<Action>) {
        // An app without conditions would become ready here, only to be stopped as broken at once.
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
                self.watchdog_interval = Some(interval).filter(|interval| !interval.is_zero());
                self.alive(now);
            }
            Notice::MainPid(pid) => {
                let forked = !matches!(self.phase, Phase::PreStart { .. });
                if forked && self.app_end.is_none() {
                    out.push(Action::Record(Fact::MainPid { pid }));
                    out.push(Action::FollowMain(pid));
                }
            }
        }
    }

    /// `STOPPING=1`: the app ends by itself and takes no new work any more.
    fn app_stops_itself(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { readiness, watchdog, hooks, .. } = &mut self.phase else { return };
        let (was_ready, held) = match readiness {
            Readiness::Waiting(waiting) => (false, std::mem::take(&mut waiting.held)),
            Readiness::Ready => (true, Vec::new()),
            Readiness::Over { .. } => return,
        };
        *readiness = Readiness::Over { was_ready };
        *watchdog = None;
        let no_hooks = hooks.is_none();
        out.push(Action::SetReady(false));
        out.push(Action::Record(Fact::StopsItself));
        self.kill_checks(out);
        // Signals that waited for readiness go on: the app will not become ready any more.
        if no_hooks {
            self.next_reload(now, out);
        }
        self.send_held(now, held, out);
    }

    // ---- watchdog and failures ------------------------------------------------------------------

    /// A keep-alive.
    fn alive(&mut self, now: Time) {
        let interval = self.watchdog_interval;
        let Phase::Running { watchdog, readiness, granted, .. } = &mut self.phase else { return };
        if !matches!(readiness, Readiness::Over { .. }) {
            *watchdog = interval.map(|interval| now.after(interval));
            *granted = false;
        }
    }

    /// The loop woke up much later than it had asked for, so that nothing may have run for `span`: the processes were
    /// frozen (`docker pause`), or the machine was suspended. A healthy app must not fail for that, so it gets its time
    /// again: a whole interval for the next keep-alive, and `span` more to become ready. Between two keep-alives only
    /// once: where processor time is so scarce that each wake-up is late, an app that hangs must still be noticed.
    pub(super) fn stood_still(&mut self, now: Time, span: Duration, out: &mut Vec<Action>) {
        let interval = self.watchdog_interval;
        let Phase::Running { suspended: false, readiness, watchdog, granted, .. } = &mut self.phase
        else {
            return;
        };
        let mut moved = false;
        if let (Some(missed), Some(interval), false) = (watchdog, interval, *granted) {
            *missed = now.after(interval);
            (*granted, moved) = (true, true);
        }
        if let Readiness::Waiting(Waiting { timeout_end: Some(end), .. }) = readiness {
            *end = end.after(span);
            moved = true;
        }
        if moved {
            out.push(Action::Record(Fact::StoodStill { span }));
        }
    }

    pub(super) fn watchdog_missed(&mut self, now: Time, out: &mut Vec<Action>) {
        let (Phase::Starting { .. } | Phase::Running { .. }) = self.phase else { return };
        let interval = self.watchdog_interval.unwrap_or_default();
        out.push(Action::Record(Fact::WatchdogMissed { interval }));
        self.fail(now, Failure::Watchdog, out);
    }

    /// The kernel has killed another process than the app for want of memory.
    pub(super) fn child_out_of_memory(&mut self, now: Time, out: &mut Vec<Action>) {
        let (Phase::Starting { .. } | Phase::Running { .. }) = self.phase else { return };
        if self.plan.child_oom == ChildOom::Stop {
            out.push(Action::Record(Fact::ChildOutOfMemory));
            self.fail(now, Failure::OutOfMemory, out);
        }
    }

    fn warn_if_late(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &self.phase else {
            return;
        };
        if self.late(waiting).is_none_or(|late| now < late) {
            return;
        }
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &mut self.phase else {
            return;
        };
        waiting.warned = true;
        let (missing, ports) = (waiting.missing, waiting.next_listen_check.is_some());
        let after = now.since(waiting.since);
        out.push(Action::Record(Fact::StillNotReady { after, missing, ports }));
    }

    fn not_ready(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { readiness: Readiness::Waiting(waiting), .. } = &self.phase else {
            return;
        };
        let (missing, ports) = (waiting.missing, waiting.next_listen_check.is_some());
        let after = now.since(waiting.since);
        out.push(Action::Record(Fact::NotReady { after, missing, ports }));
        self.fail(now, Failure::NotReady, out);
    }

    /// Stops an app that has failed, without a stop request.
    fn fail(&mut self, now: Time, failure: Failure, out: &mut Vec<Action>) {
        self.stop.get_or_insert_default().failure = Some(failure);
        self.begin_stop(now, out);
        // While the app still hangs: the first hook or signal of the stop may wake it.
        if failure == Failure::Watchdog {
            self.diagnose(now, self.target(false), out);
        }
        self.enter_pre_stop(now, None, out);
    }
}

/// Whether an attempt of this probe still exists. One that was killed in uninterruptible sleep is not followed by
/// another: they would pile up.
fn is_unreaped(runs: &[Run], probe: &Probe) -> bool {
    runs.iter().any(|run| run.id.phase == HookPhase::Ready && run.id.index == probe.index)
}
