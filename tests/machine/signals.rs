//! The promises about forwarded signals: at once, when the app exists, or after the on-reload hooks.

use graceinit::machine::fact::Fact;
use graceinit::machine::hooks::HookPhase;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Ending, Plan, Scope, StopAgain};
use graceinit::machine::{Origin, Received, Target};
use graceinit::types::{Signal, Time};

use super::batch::Batch;
use super::hooks::Turn;
use super::ledger::{Ledger, budget_of, leftovers_signal, measure};
use super::promises::{Kept, Promise, kept};
use super::ready::Readiness;
use super::world::{World, ms};

/// The most signals that are held for the app.
const MOST_HELD: usize = 64;

/// The processes that get the first stop signal, or a later one.
pub(super) fn scope_target(scope: Scope, first: bool) -> Target {
    match (scope, first) {
        (Scope::Group, _) => Target::Group,
        (Scope::Auto | Scope::Main, _) | (Scope::Mixed, true) => Target::App,
        (Scope::Mixed, false) | (Scope::Tree, _) => Target::Tree,
    }
}

/// Whether an app without a handler would end, although the signal does not ask for that.
fn needs_a_handler(plan: &Plan, signal: Signal) -> bool {
    let asks = ["TERM", "INT", "QUIT", "ABRT"].map(Signal::parse);
    let sent = plan.rewrite.apply(signal);
    sent.is_some_and(|sent| sent.ends_by_default() && !asks.contains(&Some(sent)))
}

impl Ledger {
    /// A signal that is no stop request.
    pub(super) fn signal_arrives(
        &mut self,
        plan: &Plan,
        now: Time,
        received: Received,
        batch: &mut Batch,
    ) {
        let Received { signal, origin, .. } = received;
        let typed = origin == Origin::Kernel;
        if signal == Signal::CONT {
            self.typed_early = false;
        }
        if self.ended.is_some() {
            batch.owed_facts.push(Fact::NoApp { signal });
        } else if typed && [Signal::TTIN, Signal::TTOU].contains(&signal) {
            // Meant for graceinit itself.
        } else if signal == Signal::CONT && self.suspended {
            batch.owed_facts.push(Fact::Resumed);
            let session = scope_target(plan.scope, true);
            let whom = if plan.session { session } else { Target::Group };
            batch.owed.push((Signal::CONT, whom, None));
            self.is_resumed(now);
        } else if let Some(sent) = self.typed_stop(plan, received) {
            if self.executed {
                self.owe_typed_stop(plan, sent, batch);
            } else {
                batch.owed_facts.push(Fact::Held { signal });
                self.typed_early = true;
            }
        } else if let Some(index) = self.awaited(plan, received) {
            batch.sent_by = Promise::Readiness;
            self.app_executed(plan, now);
            self.condition_holds(now, index, batch);
        } else if !self.started {
            let moot = typed && [Signal::TSTP, Signal::CONT, Signal::WINCH].contains(&signal);
            let pending = self.held.iter().any(|held| held.signal == signal);
            let waits = !plan.ready.is_empty() || plan.drain.is_some_and(|drain| drain.looks);
            if moot || pending && signal.is_standard() || self.held.len() >= MOST_HELD {
                batch.owed_facts.push(Fact::NoApp { signal });
            } else if needs_a_handler(plan, signal) && !waits {
                batch.owed_facts.push(Fact::TooEarly { signal });
            } else {
                batch.owed_facts.push(Fact::Held { signal });
                self.held.push(received);
            }
        } else {
            self.signal_for_the_app(plan, received, batch);
        }
    }

    /// The signals that have waited for readiness are sent.
    pub(super) fn held_signals_go_on(&mut self, plan: &Plan, batch: &mut Batch) {
        for held in std::mem::take(&mut self.held_for_ready) {
            self.signal_for_the_app(plan, held, batch);
        }
    }

    /// It is forwarded, at once or after its hooks.
    fn signal_for_the_app(&mut self, plan: &Plan, received: Received, batch: &mut Batch) {
        let signal = received.signal;
        if self.begun || !plan.reload_on.contains(signal) {
            return self.owe(plan, received, batch);
        }
        batch.sent_by = Promise::Reloads;
        if self.reloads.iter().any(|waiting| waiting.signal == signal) {
            batch.owed_facts.push(Fact::ReloadMerged { signal });
        } else {
            batch.owed_facts.push(Fact::ReloadRequested { signal });
            self.reloads.push_back(received);
            self.work_goes_on(plan, batch);
        }
    }

    /// The app was executed.
    pub(super) fn app_executed(&mut self, plan: &Plan, now: Time) {
        if self.started && !self.executed && self.ended.is_none() {
            self.executed = true;
            if !self.begun {
                self.waits_until_ready(plan, now);
            }
        }
    }

    /// A Ctrl-Z that was typed before execve takes effect after it, after all signals that waited for the app.
    pub(super) fn typed_stop_comes(&mut self, plan: &Plan, batch: &mut Batch) {
        let due = self.executed || self.begun || self.ended.is_some();
        if due && std::mem::take(&mut self.typed_early) && !self.begun && self.ended.is_none() {
            let sent = plan.rewrite.said(Signal::TSTP).unwrap_or(Some(Signal::STOP));
            sent.into_iter().for_each(|sent| self.owe_typed_stop(plan, sent, batch));
        }
    }

    /// One round of hooks for each reload signal, after the on-ready hooks.
    pub(super) fn work_goes_on(&mut self, plan: &Plan, batch: &mut Batch) {
        // An app that is not ready may have no handler for the signal yet. An app that has announced its end
        // will not become ready any more.
        let Readiness { was_ready, over, .. } = self.readiness;
        let runs = (was_ready || over) && self.ended.is_none() && !self.begun;
        while runs && (!was_ready || self.all_had_their_turn(plan, HookPhase::OnReady)) {
            if let Some(received) = self.reloading {
                if !self.all_had_their_turn(plan, HookPhase::OnReload) {
                    return;
                }
                self.reloading = None;
                batch.sent_by = Promise::Reloads;
                if self.on_reload != Turn::Aborted {
                    self.owe(plan, received, batch);
                }
            } else if let Some(next) = self.reloads.pop_front() {
                self.reloading = Some(next);
                self.on_reload = Turn::NotBegun;
            } else {
                return;
            }
        }
    }

    /// From here on only the stop starts hooks and sends signals; every signal that still waits is recorded.
    pub(super) fn close_work(&mut self, batch: &mut Batch) {
        for held in self.held.drain(..) {
            batch.owed_facts.push(Fact::NoApp { signal: held.signal });
        }
        for held in self.held_for_ready.drain(..) {
            batch.owed_facts.push(Fact::TooEarly { signal: held.signal });
        }
        if self.reloading.is_some() || !self.reloads.is_empty() {
            batch.sent_by = Promise::Reloads;
        }
        for waiting in self.reloading.take().into_iter().chain(self.reloads.drain(..)) {
            batch.owed_facts.push(Fact::ReloadDropped { signal: waiting.signal });
        }
        for turn in [&mut self.pre_start, &mut self.on_ready, &mut self.on_reload] {
            if *turn != Turn::Aborted {
                *turn = Turn::Closed;
            }
        }
    }

    /// The app is about to be forked.
    pub(super) fn judge_start(&mut self, plan: &Plan, world: &World, batch: &mut Batch) -> Kept {
        let once = Promise::StartsOnce;
        kept(!self.started, once, || "a second time")?;
        kept(self.ended.is_none(), once, || "although the start has ended")?;
        let hooks = self.all_had_their_turn(plan, HookPhase::PreStart);
        kept(hooks, once, || format!("before the last pre-start hook: {:?}", self.pre_start))?;
        let busy = world.hooks.iter().any(|hook| !hook.killed);
        kept(!busy, once, || "while a hook runs")?;
        self.started = true;
        batch.sent_by = Promise::HeldSignals;
        for held in std::mem::take(&mut self.held) {
            match needs_a_handler(plan, held.signal) {
                true => self.held_for_ready.push(held),
                false => self.signal_for_the_app(plan, held, batch),
            }
        }
        batch.sent_by = Promise::HeldSignals;
        Ok(())
    }

    pub(super) fn stop_asked(
        &mut self,
        plan: &Plan,
        world: &World,
        received: Received,
        batch: &mut Batch,
    ) {
        let (signal, now) = (received.signal, world.now);
        if self.asked.is_some() {
            return self.stop_asked_again(plan, now, received, batch);
        }
        self.asked = Some(received);
        // A wake-up reads the clock once. A kill(2) to the group of app and graceinit is a stop request,
        // whichever of its effects is handled first.
        self.asked_in_life = self.ended.is_none_or(|(_, at)| at == now);
        let sender = received.origin.process();
        let no_app = self.ended.is_some() || !self.started;
        let grace = if no_app { Some(measure(plan)) } else { budget_of(plan) };
        batch.owed_facts.push(Fact::StopRequested { signal, sender, grace });
        // A failed app is being stopped already.
        if self.ended.is_some() || self.begun {
            return;
        }
        self.owe_stopped_hooks(plan, batch);
        if self.started {
            let Readiness { was_ready, over, .. } = self.readiness;
            if was_ready && !over && plan.drain.is_some() {
                self.drain.fell = Some(now);
            }
            self.stop_begins(plan, now, batch);
        } else {
            self.budget_end_limit = now.after(plan.grace_max);
            self.app_ended(plan, now, Ending::Forestalled(signal), batch);
        }
    }

    /// The stop of an app that lives begins.
    pub(super) fn stop_begins(&mut self, plan: &Plan, now: Time, batch: &mut Batch) {
        self.begun = true;
        self.budget_end = budget_of(plan).map(|whole| now.after(whole));
        self.budget_end_limit = now.after(plan.grace_max);
        self.close_work(batch);
    }

    /// Hooks from before the stop are asked to end: they could undo what pre-stop hooks do.
    pub(super) fn owe_stopped_hooks(&mut self, plan: &Plan, batch: &mut Batch) {
        let early = self.open.iter().filter(|id| id.phase < HookPhase::PreStop);
        batch.owed_stopped_hooks = early.map(|id| (*id, leftovers_signal(plan))).collect();
    }

    /// A platform escalates: the app is sent the other signal as well, unless a ladder says what it is sent.
    fn escalation_of(&self, plan: &Plan, signal: Signal) -> Option<Signal> {
        let sent = plan.rewrite.apply(signal).filter(|_| plan.ladder.is_empty())?;
        let first = self.asked.and_then(|asked| plan.rewrite.apply(asked.signal));
        let new = match self.phase {
            PhaseName::PreStop | PhaseName::Drain | PhaseName::OnStop => first != Some(sent),
            PhaseName::Stopping => !self.stop_signals.contains(&sent),
            _ => false,
        };
        (new && self.ended.is_none() && !self.is_hurried()).then_some(sent)
    }

    fn escalates(&mut self, plan: &Plan, signal: Signal, sent: Signal, batch: &mut Batch) {
        if self.phase == PhaseName::Stopping {
            batch.owed_facts.push(Fact::Forwarded { signal, sent, scope: plan.scope });
            batch.owed_escalation = Some(sent);
        } else {
            self.escalation = Some((signal, sent));
        }
    }

    fn stop_asked_again(&mut self, plan: &Plan, now: Time, received: Received, batch: &mut Batch) {
        let signal = received.signal;
        let typed = signal == Signal::INT && received.origin == Origin::Kernel;
        let wanted = match plan.stop_again {
            StopAgain::Ignore => false,
            StopAgain::Kill => true,
            StopAgain::Default => typed,
        };
        let kill = wanted && self.budget_runs();
        let sent = self.escalation_of(plan, signal).filter(|_| !kill);
        batch.owed_facts.push(Fact::StopAgain { signal, kill, sent });
        if !kill {
            if let Some(sent) = sent {
                self.escalates(plan, signal, sent, batch);
            }
            return;
        }
        self.hurried = true;
        // Time for the scan of the survivors, if it was not begun yet.
        let moment = now.after(ms(100));
        let budget_end = self.budget_end.unwrap_or(moment).min(moment);
        if self.scanned || budget_end <= now {
            self.budget_end = Some(now);
            batch.owed_kill = Some(Promise::StopAgain);
        } else {
            self.budget_end = Some(budget_end);
            self.scanned = true;
            batch.owed_scan = true;
        }
    }

    /// Job control.
    pub(super) fn app_is_stopped(
        &mut self,
        plan: &Plan,
        now: Time,
        (signal, ours): (Signal, bool),
        batch: &mut Batch,
    ) {
        let wants = [Signal::TTIN, Signal::TTOU].contains(&signal);
        let key = wants || signal == Signal::TSTP;
        let shared = self.surroundings.terminal && !plan.session;
        if !shared || self.ended.is_some() || self.phase >= PhaseName::Killed || !key {
            return;
        }
        self.app_executed(plan, now);
        let give = ours && wants;
        if !self.begun && self.surroundings.suspendable && !give {
            batch.owed_suspends = 1;
        } else if give || signal == Signal::TSTP {
            batch.owed_at_last = Some((Signal::CONT, Target::Group, None));
        }
    }

    /// The signal that a Ctrl-Z which reaches graceinit alone sends the app, if a shell can resume both.
    fn typed_stop(&self, plan: &Plan, received: Received) -> Option<Signal> {
        let typed = received.signal == Signal::TSTP && received.origin == Origin::Kernel;
        let runs = self.started && !self.begun && self.ended.is_none();
        let job = typed && runs && plan.session && self.surroundings.suspendable;
        plan.rewrite.said(Signal::TSTP).unwrap_or(Some(Signal::STOP)).filter(|_| job)
    }

    fn owe_typed_stop(&self, plan: &Plan, sent: Signal, batch: &mut Batch) {
        let (signal, scope) = (Signal::TSTP, plan.scope);
        batch.owed_facts.push(Fact::Forwarded { signal, sent, scope });
        batch.owed.push((sent, scope_target(scope, true), None));
        batch.sent_by = Promise::Terminal;
        batch.owed_suspends = 1;
    }

    /// Follows whether the app is stopped.
    pub(super) fn is_sent(&mut self, signal: Signal) {
        match signal {
            Signal::STOP => self.stopped = true,
            Signal::CONT => self.stopped = false,
            _ => {}
        }
    }

    fn owe(&mut self, plan: &Plan, received: Received, batch: &mut Batch) {
        let Received { signal, value, .. } = received;
        let Some(sent) = plan.rewrite.apply(signal) else {
            return batch.owed_facts.push(Fact::Dropped { signal });
        };
        let (scope, target) = (plan.scope, scope_target(plan.scope, true));
        batch.owed_facts.push(Fact::Forwarded { signal, sent, scope });
        batch.owed.push((sent, target, value));
        self.is_sent(sent);
        let asks = [Signal::TERM, Signal::INT];
        if asks.contains(&signal) || asks.contains(&sent) {
            batch.asks = true;
            if self.stopped && sent != Signal::STOP {
                batch.owed.push((Signal::CONT, target, None));
                self.is_sent(Signal::CONT);
            }
        }
    }
}
