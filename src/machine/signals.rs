//! Signals that arrive: forwarding, stop requests, and job control at a terminal.

use super::attempt::HookPhase;
use super::fact::Fact;
use super::phase::Phase;
use super::plan::Scope;
use super::{Action, Machine, Origin, Received, Target};
use crate::types::{Signal, Time};

impl Machine {
    pub(super) fn signal(&mut self, now: Time, received: Received, out: &mut Vec<Action>) {
        let Received { signal, origin, .. } = received;
        if self.plan.stop_on.contains(signal) {
            return self.stop_request(now, signal, origin, out);
        }
        if self.ending.is_some() {
            return out.push(Action::Record(Fact::NoApp { signal }));
        }
        if origin == Origin::Kernel && (signal == Signal::TTIN || signal == Signal::TTOU) {
            // Job control meant for graceinit itself, which neither reads nor writes the terminal.
            return;
        }
        let interval = self.watchdog;
        if let (Signal::CONT, Phase::Running { suspended: suspended @ true, watchdog, .. }) =
            (signal, &mut self.phase)
        {
            *suspended = false;
            // It could give no sign of life meanwhile.
            if let (Some(due), Some(interval)) = (watchdog, interval) {
                *due = now.after(interval);
            }
            out.push(Action::Record(Fact::Resumed));
            if self.plan.session {
                // Whom Ctrl-Z has stopped.
                return self.continue_app(self.target(false), out);
            }
            out.push(Action::GiveTerminal);
            return self.continue_app(Target::Group, out);
        }
        if signal == Signal::CONT {
            // As the kernel has it, it takes back a stop that is pending.
            self.typed_early = false;
        }
        if origin == Origin::Kernel && signal == Signal::TSTP && self.typed_stop(out) {
            return;
        }
        // Nothing outside this pid namespace (pid 0) is the app.
        if origin.process().is_some_and(|pid| pid != 0)
            && self.signal_of_readiness(now, signal, out)
        {
            return;
        }
        self.signal_for_the_app(now, received, out);
    }

    /// Kept, passed on after its hooks, or passed on at once.
    pub(super) fn signal_for_the_app(
        &mut self,
        now: Time,
        received: Received,
        out: &mut Vec<Action>,
    ) {
        match self.phase {
            Phase::PreStart { .. } => self.hold(received, out),
            Phase::Starting { .. } | Phase::Running { .. }
                if self.plan.reload_on.contains(received.signal) =>
            {
                self.reload(now, received, out);
            }
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => self.forward(received, out),
        }
    }

    /// Whether this signal asks the app for its end, once it is passed on. One that is stopped does not act on it,
    /// so whoever sends it would wait in vain.
    pub fn asks_for_an_end(&self, signal: Signal) -> bool {
        let asks = |signal| signal == Signal::TERM || signal == Signal::INT;
        let sent = self.plan.rewrite.apply(signal).filter(|_| !self.plan.stop_on.contains(signal));
        sent.is_some_and(|sent| (asks(signal) || asks(sent)) && sent != Signal::STOP)
    }

    /// Passes a signal on to the app.
    pub(super) fn forward(&mut self, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        match self.plan.rewrite.apply(signal) {
            None => out.push(Action::Record(Fact::Dropped { signal })),
            Some(sent) => {
                let scope = self.plan.scope;
                let target = self.target(false);
                // First: nothing keeps it waiting, not even the account.
                self.tell_app(sent, target, received.value, false, out);
                out.push(Action::Record(Fact::Forwarded { signal, sent, scope }));
                // No other is followed by anything.
                if self.app_stopped && self.asks_for_an_end(signal) {
                    self.continue_app(target, out);
                }
            }
        }
    }

    /// Sends the app a signal.
    pub(super) fn tell_app(
        &mut self,
        signal: Signal,
        target: Target,
        value: Option<usize>,
        stop: bool,
        out: &mut Vec<Action>,
    ) {
        match signal {
            Signal::STOP => self.app_stopped = true,
            Signal::CONT => self.app_stopped = false,
            _ => {}
        }
        out.push(Action::SignalApp { signal, target, value, stop });
    }

    /// Ctrl-Z at graceinit's terminal, where the app is in a session of its own: the key does not reach it,
    /// and its group is orphaned, for which the kernel drops TSTP (credentials(7)), so it is stopped by
    /// STOP unless `--rewrite` knows better. Where no shell could resume both, TSTP is passed on like every
    /// other signal: an app with a handler learns of the key, and no other is stopped by it.
    pub(super) fn typed_stop(&mut self, out: &mut Vec<Action>) -> bool {
        let signal = Signal::TSTP;
        let sent = match self.plan.rewrite.said(signal) {
            None => Signal::STOP,
            Some(Some(sent)) => sent,
            // Dropped: then nothing at all comes of the key.
            Some(None) => return false,
        };
        if !(self.plan.session && self.surroundings.suspendable) {
            return false;
        }
        match &mut self.phase {
            // Again, if it is so already: a second TSTP takes back the CONT that came before it.
            Phase::Running { suspended, .. } => *suspended = true,
            // Its session may not be there yet, and whether it becomes an app at all is not known.
            Phase::Starting { .. } => {
                self.typed_early = true;
                out.push(Action::Record(Fact::Held { signal }));
                return true;
            }
            _ => return false,
        }
        let (scope, target) = (self.plan.scope, self.target(false));
        out.push(Action::Record(Fact::Forwarded { signal, sent, scope }));
        self.tell_app(sent, target, None, false, out);
        out.push(Action::Record(Fact::Suspended { signal }));
        out.push(Action::SuspendSelf);
        true
    }

    /// To whom signals go now.
    pub fn scope_target(&self) -> Target {
        let escalated = matches!(self.phase, Phase::Stopping { rung, .. } if rung > 0);
        self.target(escalated)
    }

    pub(super) fn target(&self, escalated: bool) -> Target {
        match self.plan.scope {
            Scope::Group => Target::Group,
            Scope::Main => Target::App,
            Scope::Mixed if escalated => Target::Tree,
            Scope::Mixed => Target::App,
            Scope::Tree => Target::Tree,
        }
    }

    pub(super) fn continue_app(&mut self, target: Target, out: &mut Vec<Action>) {
        self.tell_app(Signal::CONT, target, None, false, out);
    }

    /// The terminal is the app's no longer. The foreground of another session is not ours to choose.
    pub(super) fn take_terminal(&self, out: &mut Vec<Action>) {
        if self.surroundings.terminal && !self.plan.session {
            out.push(Action::TakeTerminal);
        }
    }

    /// Job control. A stop by `kill -STOP` is no key of a terminal but the sender's own affair: whoever
    /// sends it to the app sends the app the CONT as well.
    pub(super) fn app_stopped(
        &mut self,
        now: Time,
        signal: Signal,
        ours: bool,
        out: &mut Vec<Action>,
    ) {
        self.app_stopped = true;
        if !self.surroundings.terminal || self.plan.session {
            return;
        }
        let wants_terminal = signal == Signal::TTIN || signal == Signal::TTOU;
        if !wants_terminal && signal != Signal::TSTP {
            return;
        }
        // It was executed, then, whatever became of the news.
        self.app_executed(now, out);
        // Nothing is in the way of that.
        let give = ours && wants_terminal;
        match &mut self.phase {
            Phase::Running { suspended, .. } if self.surroundings.suspendable && !give => {
                *suspended = true;
                out.push(Action::Record(Fact::Suspended { signal }));
                out.push(Action::SuspendSelf);
            }
            // Nobody is there who could resume the app (the kernel drops the stop of an orphaned
            // group for the same reason), or the deadline does not wait for it.
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. } => {
                if give {
                    out.push(Action::GiveTerminal);
                }
                if give || signal == Signal::TSTP {
                    self.continue_app(Target::Group, out);
                }
            }
            // There is no app.
            Phase::PreStart { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => {}
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
}
