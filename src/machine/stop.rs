//! The stop: one phase after the other, from the stop request to the exit. `deadline.rs` has what moves
//! the end of the budget, and what happens at that end.

use std::time::Duration;

use super::attempt::{HookId, HookPhase, Queue, Run};
use super::fact::{Fact, Reason};
use super::phase::{Failure, Phase, PhaseName, Request, Serving, Sweep, Tree};
use super::plan::{Ending, Scope};
use super::{Action, AppEnd, Machine, Origin, Received, Target, budget};
use crate::exit;
use crate::types::{Signal, Status, Time};

impl Machine {
    /// Enters a phase, and records that.
    pub(super) fn enter(&mut self, phase: Phase, out: &mut Vec<Action>) {
        self.phase = phase;
        let name = self.phase.name();
        out.push(Action::Record(Fact::Entered(name)));
        if name >= PhaseName::Leftovers {
            // These phases read the whole process tree, and /proc may block.
            out.push(Action::PrepareReport);
        }
    }

    // ---- the begin ------------------------------------------------------------------------------

    /// A signal of `--stop-on` arrived.
    pub(super) fn stop_requested(
        &mut self,
        now: Time,
        signal: Signal,
        origin: Origin,
        out: &mut Vec<Action>,
    ) {
        if self.stop_request().is_some() {
            return self.second_request(now, signal, origin, out);
        }
        // systemd signals the app and graceinit at once. The loop handles exits before signals and reads
        // the clock once per wake-up, so an end of the same wake-up does not precede the request.
        let while_app_lived = self.app_end.is_none_or(|end| end.at == now);
        let sender = origin.process();
        let request = Request { signal, sender, while_app_lived };
        self.stop.get_or_insert_default().request = Some(request);
        // Without an app, only leftovers and hooks are waited for, and their time always has an end.
        let no_app = self.app_end.is_some() || matches!(self.phase, Phase::PreStart { .. });
        let grace = self.plan.budget().or(no_app.then_some(self.plan.leftovers));
        out.push(Action::Record(Fact::StopRequested { signal, sender, grace }));
        match self.phase {
            // The app is not started any more.
            Phase::PreStart { .. } => self.app_ended(now, Ending::Forestalled(signal), out),
            Phase::Starting { .. } | Phase::Running { .. } => {
                // An app that is not ready has no traffic to drain.
                let drains = self.ready() && self.plan.drain.is_some();
                let serving = drains.then_some(Serving { not_ready_since: now, acks: 0 });
                self.begin_stop(now, out);
                self.enter_pre_stop(now, serving, out);
            }
            // The app ended by itself, and its leftovers are being stopped already.
            Phase::Leftovers(_) | Phase::Killed { .. } | Phase::PostStop { .. } => {}
            // The app has failed, and is being stopped for that.
            Phase::PreStop { .. } | Phase::Drain(_) | Phase::OnStop(_) | Phase::Stopping { .. } => {
            }
            Phase::Exited => {}
        }
    }

    /// Begins the stop of an app that lives. Readiness falls first: after a stop request no traffic may be
    /// routed to the app.
    pub(super) fn begin_stop(&mut self, now: Time, out: &mut Vec<Action>) {
        out.push(Action::SetReady(false));
        self.begin_budget(now, self.plan.budget(), out);
        self.end_early_hooks(out);
        // From here on a Ctrl-C is meant for graceinit: it is a second stop request.
        self.take_terminal(out);
    }

    /// Starts the budget. `whole`: its length, if it has an end. Without an end the dead-man timer has
    /// nothing to guard.
    fn begin_budget(&mut self, now: Time, whole: Option<Duration>, out: &mut Vec<Action>) {
        let stop = self.stop.get_or_insert_default();
        stop.budget_end = whole.map(|whole| now.after(whole));
        stop.budget_end_limit = now.after(self.plan.grace_max);
        out.extend(stop.budget_end.map(Action::ArmDeadMan));
    }

    /// Ends what belongs to the time before the stop. Signals that still wait are not forwarded. Hooks that
    /// still run are asked to end: one that registers the app somewhere must not finish after the pre-stop
    /// hook that removes it there.
    fn end_early_hooks(&mut self, out: &mut Vec<Action>) {
        self.kill_checks(out);
        let signal = self.plan.leftover_signal();
        let running = self.runs.iter().filter(|run| !run.killed);
        let stop_hooks = running.map(|run| Action::StopHook { id: run.id, signal });
        match &mut self.phase {
            Phase::PreStart { held, .. } => {
                out.extend(stop_hooks);
                let lost = held.drain(..).map(|Received { signal, .. }| Fact::NoApp { signal });
                out.extend(lost.map(Action::Record));
            }
            Phase::Starting { .. } | Phase::Running { .. } => {
                out.extend(stop_hooks);
                let held = self.phase.take_held();
                let lost =
                    held.into_iter().map(|Received { signal, .. }| Fact::TooEarly { signal });
                out.extend(lost.map(Action::Record));
                let (Phase::Starting { reloads, .. } | Phase::Running { reloads, .. }) =
                    &mut self.phase
                else {
                    return;
                };
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

    // ---- pre-stop, on-stop, stopping ------------------------------------------------------------

    /// Starts all pre-stop hooks.
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
        self.leave_pre_stop_if_done(now, out);
    }

    /// Goes on to the drain, or to on-stop, after the last pre-stop hook.
    pub(super) fn leave_pre_stop_if_done(&mut self, now: Time, out: &mut Vec<Action>) {
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

    /// Starts the first on-stop hook; without one, the queue leads to `enter_stopping` at once.
    pub(super) fn enter_on_stop(&mut self, now: Time, out: &mut Vec<Action>) {
        self.enter(Phase::OnStop(Queue::first()), out);
        self.run_queue(now, out);
    }

    /// Sends the stop signal.
    pub(super) fn enter_stopping(&mut self, now: Time, out: &mut Vec<Action>) {
        let diagnose = self.plan.diagnose.zip(self.budget_end()).map(|(diagnose, budget_end)| {
            budget::diagnose_at(budget_end, diagnose.lead, budget_end.since(now))
        });
        self.enter(Phase::Stopping { rung: 0, next_rung: None, diagnose }, out);
        self.send_rung(now, 0, out);
    }

    /// Takes one step of `--stop-signal`.
    fn send_rung(&mut self, now: Time, rung: usize, out: &mut Vec<Action>) {
        let left = self.time_left(now);
        let request = self.stop_request().map(|(signal, _)| signal);
        let asked = request.unwrap_or(Signal::TERM);
        let signal = match self.plan.ladder.get(rung) {
            Some(step) => step.signal,
            None if request.is_some() => self.plan.rewrite.apply(asked),
            // `--rewrite` may drop the signal of a request. A failed app needs a stop signal all the same.
            None => self.plan.rewrite.apply(asked).or(Some(asked)),
        };
        let more = rung + 1 < self.plan.ladder.len();
        let wait = budget::rung_wait(&self.plan.ladder, rung, left).filter(|_| more);
        if let Phase::Stopping { rung: present, next_rung, .. } = &mut self.phase {
            (*present, *next_rung) = (rung, wait.map(|wait| now.after(wait)));
        }
        let of = self.plan.ladder.len().max(1);
        let Some(signal) = signal else {
            return out.push(Action::Record(Fact::NoStopSignal { signal: asked, left }));
        };
        out.push(Action::Record(Fact::StopSignal { signal, rung: rung + 1, of, left }));
        self.send_stop_signal(signal, rung > 0, out);
        let escalation = self.stop.as_mut().and_then(|stop| stop.escalation.take());
        let sent = escalation.and_then(|escalation| self.plan.rewrite.apply(escalation));
        if let (Some(escalation), Some(sent)) = (escalation, sent.filter(|sent| *sent != signal)) {
            self.send_escalation(escalation, sent, out);
        }
    }

    /// Sends a stop signal, and SIGCONT after it: a stopped app could not act on the stop signal.
    ///
    /// An app that is alone is sent SIGCONT only if it is stopped, or once it stops: SIGCONT discards a SIGTSTP that the
    /// app has not taken yet (signal(7)), as a hook `signal:TSTP` may have sent it a moment before. Of a group and
    /// of a tree it is not known whether one of the processes is stopped.
    pub(super) fn send_stop_signal(
        &mut self,
        signal: Signal,
        escalated: bool,
        out: &mut Vec<Action>,
    ) {
        let target = match self.plan.scope {
            Scope::Auto => Target::Auto,
            Scope::Group | Scope::Main | Scope::Mixed | Scope::Tree => self.target(escalated),
        };
        let leftover_signal = self.plan.leftover_signal();
        let stop = self.stop.get_or_insert_default();
        stop.sent.insert(signal);
        // A process that got another signal than this one is still asked as a leftover.
        stop.group_asked |= target == Target::Group && signal == leftover_signal;
        self.signal_app(signal, target, None, true, out);
        let target = self.target(escalated);
        let continues = target != Target::App || self.app_is_stopped;
        self.stop.get_or_insert_default().owes_continue = !continues;
        if continues {
            self.continue_app(target, out);
        }
    }

    /// The app was stopped although it was asked to stop: it would not act on the stop signal.
    pub(super) fn continue_if_owed(&mut self, out: &mut Vec<Action>) {
        let lives = self.app_end.is_none() && self.budget_runs();
        let stop = self.stop.as_mut().filter(|stop| lives && stop.owes_continue);
        if let Some(stop) = stop {
            stop.owes_continue = false;
            self.continue_app(Target::App, out);
        }
    }

    pub(super) fn stopping_tick(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Stopping { rung, next_rung, diagnose } = self.phase else { return };
        if next_rung.is_some_and(|next| next <= now) {
            self.send_rung(now, rung + 1, out);
        }
        if diagnose.is_some_and(|at| at <= now) {
            if let Phase::Stopping { diagnose, .. } = &mut self.phase {
                *diagnose = None;
            }
            self.diagnose(now, self.scope_target(), out);
        }
    }

    /// Sends the diagnose signal, which makes the app say what it is doing.
    pub(super) fn diagnose(&mut self, now: Time, target: Target, out: &mut Vec<Action>) {
        let Some(signal) = self.plan.diagnose.map(|diagnose| diagnose.signal) else { return };
        out.push(Action::Record(Fact::Diagnosed { signal, left: self.time_left(now) }));
        self.signal_app(signal, target, None, false, out);
    }

    // ---- the app has ended ----------------------------------------------------------------------

    /// The app has ended, or will never be started.
    pub(super) fn app_ended(&mut self, now: Time, ending: Ending, out: &mut Vec<Action>) {
        if self.app_end.is_some() {
            return;
        }
        self.app_end = Some(AppEnd { ending, at: now });
        if matches!(self.phase, Phase::Running { .. }) {
            out.push(Action::SetReady(false));
        }
        out.push(Action::Record(Fact::AppEnded { ending }));
        self.end_early_hooks(out);
        self.take_terminal(out);
        match self.phase {
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. } => self.enter_leftovers(now, out),
            // SIGKILL has ended it, and the rest of the tree is still waited for.
            Phase::Killed { .. } => {}
            // Not reached: each of these phases begins after the end of the app was recorded.
            Phase::Leftovers(_) | Phase::PostStop { .. } | Phase::Exited => {}
        }
    }

    /// Asks the processes that the app left behind to end.
    fn enter_leftovers(&mut self, now: Time, out: &mut Vec<Action>) {
        // The app ended by itself, or its stop had no end. Leftovers always have one: a process that
        // ignores every signal must not keep a container alive whose app has ended.
        if self.budget_end().is_none() {
            self.begin_budget(now, Some(self.plan.share_base()), out);
        }
        self.enter(Phase::Leftovers(Sweep { rounds: 0, next: now }), out);
        self.sweep(now, out);
    }

    /// One round of signals to the whole tree: the stop signal in leftovers, SIGKILL in killed.
    pub(super) fn sweep(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.is_hurried() {
            return;
        }
        let signal = self.plan.leftover_signal();
        let left = self.time_left(now).unwrap_or_default();
        let group_asked = self.group_asked();
        match &mut self.phase {
            Phase::Leftovers(sweep) => {
                let first = sweep.rounds == 0;
                if first {
                    out.push(Action::Record(Fact::LeftoversSignalled { signal, left }));
                }
                sweep.next = now.after(budget::sweep_pause(sweep.rounds));
                sweep.rounds += 1;
                out.push(Action::SignalLeftovers { signal, group_asked, first });
            }
            Phase::Killed { sweep, .. } => {
                sweep.next = now.after(budget::sweep_pause(sweep.rounds));
                sweep.rounds += 1;
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

    /// Every child of graceinit was reaped.
    pub(super) fn tree_empty(&mut self, now: Time, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Leftovers(_) => self.enter_post_stop(now, Tree::Empty, out),
            Phase::Killed { .. } if self.app_end.is_some() => {
                self.enter_post_stop(now, Tree::Empty, out)
            }
            Phase::PostStop { tree, .. } => {
                *tree = Tree::Empty;
                self.exit_if_done(out);
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

    fn group_asked(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.group_asked)
    }

    // ---- post-stop and exit ---------------------------------------------------------------------

    /// Starts the first post-stop hook.
    pub(super) fn enter_post_stop(&mut self, now: Time, tree: Tree, out: &mut Vec<Action>) {
        // The reserve begins when the tree is empty. After SIGKILL it begins at the end of the budget: the
        // time that killed processes take to vanish is part of it.
        let begin = match self.phase {
            Phase::Killed { .. } => self.budget_end().map_or(now, |end| end.min(now)),
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
        let reserve_end = begin.after(self.plan.post_stop_timeout);
        if tree != Tree::Empty || !self.plan.hooks.post_stop.is_empty() {
            out.push(Action::ArmDeadMan(reserve_end));
        }
        let queue = Queue::first();
        self.enter(Phase::PostStop { queue, reserve_end, tree, asked: false, killed: false }, out);
        self.run_queue(now, out);
    }

    pub(super) fn post_stop_tick(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::PostStop { queue, reserve_end, .. } = &self.phase else { return };
        let (pause, reserve_end) = (queue.pause, *reserve_end);
        // Even past the end of the reserve: it records the hooks that no time is left for.
        if pause.is_some_and(|pause| pause <= now) {
            self.run_queue(now, out);
        }
        if reserve_end <= now && self.phase != Phase::Exited {
            return self.exit(out);
        }
        let hooks_end = self.post_stop_hooks_end(reserve_end);
        if let Phase::PostStop { killed, .. } = &mut self.phase {
            if hooks_end <= now && !*killed {
                *killed = true;
                out.push(Action::KillTree);
            }
        }
    }

    /// Exits after the last post-stop hook, once every process that the hooks left behind has ended.
    pub(super) fn exit_if_done(&mut self, out: &mut Vec<Action>) {
        let (signal, group_asked) = (self.plan.leftover_signal(), self.group_asked());
        let Phase::PostStop { queue, tree, asked, .. } = &mut self.phase else { return };
        if queue.index < self.plan.hooks.post_stop.len() {
            return;
        }
        if *tree != Tree::Busy {
            self.exit(out);
        } else if !*asked {
            // As with the leftovers of the app: they are asked once, and then waited for.
            *asked = true;
            out.push(Action::SignalLeftovers { signal, group_asked, first: true });
        }
    }

    fn exit(&mut self, out: &mut Vec<Action>) {
        // When graceinit is not PID 1, the kernel does not kill survivors; do it here.
        if let Phase::PostStop { tree: Tree::Busy | Tree::GivenUp, .. } = self.phase {
            out.push(Action::KillTree);
        }
        let code = self.exit_code();
        let by = match self.ending().unwrap_or(Ending::Unkillable) {
            Ending::Was(Status::Signal(signal)) | Ending::Forestalled(signal) => Some(signal),
            Ending::OutOfMemory => Some(Signal::KILL),
            Ending::Was(Status::Code(_)) | Ending::NotStarted(_) | Ending::Unkillable => None,
        };
        // Exit rules may have given the death by a signal another code.
        let by = by.filter(|signal| code == 128 + signal.number() as u8);
        out.push(Action::Record(Fact::Exit { code, reason: self.reason() }));
        out.push(Action::Exit { code, by });
        self.phase = Phase::Exited;
    }

    // ---- what is said of the stop ---------------------------------------------------------------

    /// The exit code of graceinit, as things are.
    pub fn exit_code(&self) -> u8 {
        let ending = self.ending().unwrap_or(Ending::Unkillable);
        let code = self.plan.exit.code(ending, self.was_requested(), self.app_was_killed());
        match self.failure() {
            Some(Failure::NotReady) => exit::NOT_READY,
            // A missed watchdog is a failure even if the app then exits with 0.
            Some(Failure::Watchdog) if code == 0 => exit::NOT_READY,
            // The failure is told even by an app that could end in an orderly way.
            Some(Failure::OutOfMemory) => match self.plan.exit.oom {
                Some(oom) => oom,
                None if code == 0 => exit::KILLED,
                None => code,
            },
            Some(Failure::Watchdog) | None => code,
        }
    }

    /// Why the app has ended or is being stopped.
    pub fn reason(&self) -> Reason {
        match self.failure() {
            Some(Failure::NotReady) => return Reason::NotReady,
            Some(Failure::Watchdog) => return Reason::Crash,
            Some(Failure::OutOfMemory) => return Reason::OutOfMemory,
            None => {}
        }
        match (self.app_was_killed(), self.was_requested(), self.ending()) {
            (_, _, Some(Ending::OutOfMemory)) => Reason::OutOfMemory,
            (true, _, _) => Reason::Deadline,
            (false, true, _) => Reason::Signal,
            (false, false, Some(Ending::Was(Status::Code(0)))) => Reason::Exit,
            (false, false, _) => Reason::Crash,
        }
    }

    fn failure(&self) -> Option<Failure> {
        self.stop.as_ref().and_then(|stop| stop.failure)
    }

    /// A stop was requested while the app lived.
    fn was_requested(&self) -> bool {
        let request = self.stop.as_ref().and_then(|stop| stop.request);
        request.is_some_and(|request| request.while_app_lived)
    }

    fn app_was_killed(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.app_killed)
    }
}
