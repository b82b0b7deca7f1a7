//! The stop itself: one phase after the other, from the first pre-stop hook to the exit.

use std::time::Duration;

use super::attempt::{HookId, HookPhase, Queue, Run};
use super::fact::{Fact, Reason};
use super::phase::{Phase, Serving, Sweep, Tree};
use super::plan::Ending;
use super::ready::Failure;
use super::{Action, Machine, Origin, Received, Target, budget};
use crate::exit;
use crate::types::{Signal, Status, Time};

impl Machine {
    pub(super) fn stop_request(
        &mut self,
        now: Time,
        signal: Signal,
        origin: Origin,
        out: &mut Vec<Action>,
    ) {
        if self.stop.is_some() {
            return self.stop_again(now, signal, origin, out);
        }
        // The clock is read once per wake-up. Whoever signals app and graceinit at once (systemd does
        // with a control group) asks for a stop, although exits are handled before signals.
        self.stop_ended_it = self.ended.is_none_or(|ended| ended == now);
        let sender = origin.process();
        self.stop = Some((signal, sender));
        // What an app leaves behind that has gone, or never comes, has an end in any case.
        let alone = self.ended.is_some() || matches!(self.phase, Phase::PreStart { .. });
        let grace = self.plan.budget().or(alone.then_some(self.plan.leftovers));
        out.push(Action::Record(Fact::StopRequested { signal, sender, grace }));
        match self.phase {
            // There is no app to be stopped, and there will be none.
            Phase::PreStart { .. } => self.app_gone(now, Ending::Forestalled(signal), out),
            Phase::Starting { .. } | Phase::Running { .. } => {
                // One that is not ready serves nobody.
                let serves = self.ready() && self.plan.drain.is_some();
                let serving = serves.then_some(Serving { fell: now, acks: 0 });
                self.begin_stop(now, out);
                self.enter_pre_stop(now, serving, out);
            }
            // The app ended by itself; what it left is being ended already.
            Phase::Leftovers(_) | Phase::Killed { .. } | Phase::PostStop { .. } => {}
            // The app has failed, and is being stopped for that.
            Phase::PreStop { .. } | Phase::Drain(_) | Phase::OnStop(_) | Phase::Stopping { .. } => {
            }
            // Nothing happens any more.
            Phase::Exited => {}
        }
    }

    /// The app is to be stopped: nobody may send it work any more, and its budget runs.
    pub(super) fn begin_stop(&mut self, now: Time, out: &mut Vec<Action>) {
        out.push(Action::SetReady(false));
        self.begin_budget(now, self.plan.budget(), out);
        self.end_work(out);
        // From here on a Ctrl-C is for graceinit: a second stop request.
        self.take_terminal(out);
    }

    /// The budget runs; `whole`: how long, if it has an end. The dead-man has nothing to hold where it
    /// has none.
    pub(super) fn begin_budget(
        &mut self,
        now: Time,
        whole: Option<Duration>,
        out: &mut Vec<Action>,
    ) {
        self.budget_end = whole.map(|whole| now.after(whole));
        self.budget_end_limit = now.after(self.plan.grace_max);
        out.extend(self.budget_end.map(Action::ArmDeadMan));
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

    pub(super) fn enter_pre_stop(
        &mut self,
        now: Time,
        serving: Option<Serving>,
        out: &mut Vec<Action>,
    ) {
        self.enter(Phase::PreStop { retries: Vec::new(), serving }, out);
        for index in 0..self.plan.hooks.pre_stop.len() {
            self.start_hook(now, HookId::first(HookPhase::PreStop, index), out);
        }
        self.leave_pre_stop_when_done(now, out);
    }

    pub(super) fn leave_pre_stop_when_done(&mut self, now: Time, out: &mut Vec<Action>) {
        let busy = |run: &Run| run.id.phase == HookPhase::PreStop && !run.killed;
        let Phase::PreStop { retries, serving } = &self.phase else { return };
        if !retries.is_empty() || self.runs.iter().any(busy) {
            return;
        }
        match *serving {
            Some(serving) => self.enter_drain(now, serving, out),
            None => self.enter_on_stop(now, out),
        }
    }

    pub(super) fn enter_on_stop(&mut self, now: Time, out: &mut Vec<Action>) {
        self.enter(Phase::OnStop(Queue::first()), out);
        self.run_queue(now, out);
    }

    pub(super) fn enter_stopping(&mut self, now: Time, out: &mut Vec<Action>) {
        let diagnose = self.plan.diagnose.zip(self.budget_end).map(|(diagnose, deadline)| {
            budget::diagnose_at(deadline, diagnose.lead, deadline.since(now))
        });
        self.enter(Phase::Stopping { rung: 0, next: None, diagnose }, out);
        self.climb(now, 0, out);
    }

    /// Sends the stop signal number `rung` of the ladder.
    pub(super) fn climb(&mut self, now: Time, rung: usize, out: &mut Vec<Action>) {
        let left = self.left(now);
        let asked = self.stop.map_or(Signal::TERM, |(signal, _)| signal);
        let signal = match (self.plan.ladder.get(rung), self.stop) {
            (Some(step), _) => step.signal,
            (None, Some(_)) => self.plan.rewrite.apply(asked),
            // Nobody has asked for this stop, so the app is not left without a signal either.
            (None, None) => self.plan.rewrite.apply(asked).or(Some(asked)),
        };
        let more = rung + 1 < self.plan.ladder.len();
        let wait = budget::rung_wait(&self.plan.ladder, rung, left).filter(|_| more);
        let wait = wait.map(|wait| now.after(wait));
        if let Phase::Stopping { rung: present, next, .. } = &mut self.phase {
            (*present, *next) = (rung, wait);
        }
        let of = self.plan.ladder.len().max(1);
        let Some(signal) = signal else {
            return out.push(Action::Record(Fact::NoStopSignal { signal: asked, left }));
        };
        out.push(Action::Record(Fact::StopSignal { signal, rung: rung + 1, of, left }));
        let target = self.target(rung > 0);
        // Another signal than the leftovers' own does not spare them that one.
        self.group_told |= target == Target::Group && signal == self.plan.leftover_signal();
        self.tell_app(signal, target, None, true, out);
        // A stopped app could not act on it.
        self.continue_app(target, out);
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

    pub(super) fn app_gone(&mut self, now: Time, ending: Ending, out: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        self.ended = Some(now);
        if matches!(self.phase, Phase::Running { .. }) {
            out.push(Action::SetReady(false));
        }
        out.push(Action::Record(Fact::AppEnded { ending }));
        self.end_work(out);
        self.take_terminal(out);
        match self.phase {
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. } => self.enter_leftovers(now, out),
            // It dies as ordered; the rest of the tree is still waited for. (In post-stop: it was
            // given up as unkillable and died after all.)
            Phase::Killed { .. } | Phase::PostStop { .. } => {}
            // The app cannot go twice.
            Phase::Leftovers(_) | Phase::Exited => {}
        }
    }

    pub(super) fn enter_leftovers(&mut self, now: Time, out: &mut Vec<Action>) {
        // No budget ran, or one without an end. From here on there is one in any case: a leftover that
        // ignores every signal must not keep a container alive whose app has gone.
        if self.budget_end.is_none() {
            self.begin_budget(now, Some(self.plan.measure()), out);
        }
        self.enter(Phase::Leftovers(Sweep { looks: 0, next: now }), out);
        self.sweep(now, out);
    }

    /// One look for processes that have to go.
    pub(super) fn sweep(&mut self, now: Time, out: &mut Vec<Action>) {
        let signal = self.plan.leftover_signal();
        let left = self.left(now).unwrap_or_default();
        match &mut self.phase {
            Phase::Leftovers(sweep) => {
                if sweep.looks == 0 {
                    out.push(Action::Record(Fact::LeftoversSignalled { signal, left }));
                }
                let first = sweep.looks == 0;
                sweep.next = now.after(budget::resweep(sweep.looks));
                sweep.looks += 1;
                out.push(Action::SignalLeftovers { signal, group_told: self.group_told, first });
            }
            Phase::Killed { sweep, .. } => {
                sweep.next = now.after(budget::resweep(sweep.looks));
                sweep.looks += 1;
                out.push(Action::KillTree);
            }
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => {}
        }
    }

    pub(super) fn tree_empty(&mut self, now: Time, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Leftovers(_) => self.enter_post_stop(now, Tree::Empty, out),
            Phase::Killed { .. } if self.ending.is_some() => {
                self.enter_post_stop(now, Tree::Empty, out)
            }
            Phase::PostStop { tree, .. } => {
                *tree = Tree::Empty;
                self.leave_when_done(out);
            }
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Killed { .. }
            | Phase::Exited => {}
        }
    }

    pub(super) fn enter_post_stop(&mut self, now: Time, tree: Tree, out: &mut Vec<Action>) {
        // The reserve begins when the tree is gone; what had to be killed takes its time to die out of
        // it.
        let begin = match self.phase {
            Phase::Killed { .. } => self.budget_end.map_or(now, |deadline| deadline.min(now)),
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::PostStop { .. }
            | Phase::Exited => now,
        };
        let end = begin.after(self.plan.post_stop_timeout);
        if tree != Tree::Empty || !self.plan.hooks.post_stop.is_empty() {
            out.push(Action::ArmDeadMan(end));
        }
        let queue = Queue::first();
        self.enter(Phase::PostStop { queue, end, tree, told: false, killed: false }, out);
        self.run_queue(now, out);
    }

    pub(super) fn post_stop_tick(
        &mut self,
        now: Time,
        pause: Option<Time>,
        end: Time,
        out: &mut Vec<Action>,
    ) {
        // First, even past the end: it tells of the hooks that no time is left for.
        if pause.is_some_and(|pause| pause <= now) {
            self.run_queue(now, out);
        }
        if end <= now && self.phase != Phase::Exited {
            return self.exit(out);
        }
        let hooks_end = self.post_stop_hooks_end(end);
        if let Phase::PostStop { killed, .. } = &mut self.phase {
            if hooks_end <= now && !*killed {
                *killed = true;
                out.push(Action::KillTree);
            }
        }
    }

    /// Leaves once the last post-stop hook is through and nothing that it forked away is left.
    pub(super) fn leave_when_done(&mut self, out: &mut Vec<Action>) {
        let (signal, group_told) = (self.plan.leftover_signal(), self.group_told);
        let Phase::PostStop { queue, tree, told, .. } = &mut self.phase else { return };
        if queue.index < self.plan.hooks.post_stop.len() {
            return;
        }
        if *tree != Tree::Busy {
            self.exit(out);
        } else if !*told {
            // The same as for what the app leaves behind: asked once, and then waited for.
            *told = true;
            out.push(Action::SignalLeftovers { signal, group_told, first: true });
        }
    }

    /// What graceinit exits with, as things are.
    pub fn exit_code(&self) -> u8 {
        let ending = self.ending.unwrap_or(Ending::Unkillable);
        let code = self.plan.exit.code(ending, self.stop_ended_it, self.app_killed);
        match self.failure {
            Some(Failure::NotReady) => exit::NOT_READY,
            // A crash is no success, even if the app could still leave in an orderly way.
            Some(Failure::Watchdog) if code == 0 => exit::NOT_READY,
            Some(Failure::Watchdog) | None => code,
        }
    }

    pub(super) fn exit(&mut self, out: &mut Vec<Action>) {
        // Nobody is left to its fate where graceinit is not PID 1 and the kernel does not do this.
        if let Phase::PostStop { tree: Tree::Busy | Tree::GivenUp, .. } = self.phase {
            out.push(Action::KillTree);
        }
        let ending = self.ending.unwrap_or(Ending::Unkillable);
        let code = self.exit_code();
        let by = match ending {
            Ending::Was(Status::Signal(signal)) if code == 128 + signal.number() as u8 => {
                Some(signal)
            }
            Ending::Forestalled(signal) if code == 128 + signal.number() as u8 => Some(signal),
            Ending::Was(_)
            | Ending::Forestalled(_)
            | Ending::NotStarted(_)
            | Ending::Unkillable => None,
        };
        out.push(Action::Record(Fact::Exit { code, reason: self.reason() }));
        out.push(Action::Exit { code, by });
        self.phase = Phase::Exited;
    }

    /// Why the app went or is going.
    pub fn reason(&self) -> Reason {
        match self.failure {
            Some(Failure::NotReady) => return Reason::NotReady,
            Some(Failure::Watchdog) => return Reason::Crash,
            None => {}
        }
        match (self.app_killed, self.stop_ended_it, self.ending) {
            (true, _, _) => Reason::Deadline,
            (false, true, _) => Reason::Signal,
            (false, false, Some(Ending::Was(Status::Code(0)))) => Reason::Exit,
            (false, false, _) => Reason::Crash,
        }
    }
}
