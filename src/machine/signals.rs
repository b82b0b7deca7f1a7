//! Signals that arrive: stop requests, signals to forward, and job control at a terminal.

use super::attempt::HookPhase;
use super::fact::Fact;
use super::phase::Phase;
use super::plan::Scope;
use super::{Action, Machine, Origin, Received, Target};
use crate::types::{Signal, Time};

impl Machine {
    /// A signal arrived.
    pub(super) fn signal(&mut self, now: Time, received: Received, out: &mut Vec<Action>) {
        let Received { signal, origin, .. } = received;
        if self.plan.stop_on.contains(signal) {
            return self.stop_requested(now, signal, origin, out);
        }
        if self.app_end.is_some() {
            return out.push(Action::Record(Fact::NoApp { signal }));
        }
        if origin == Origin::Kernel && (signal == Signal::TTIN || signal == Signal::TTOU) {
            // Job control meant for graceinit itself, which neither reads nor writes the terminal.
            return;
        }
        if signal == Signal::CONT && self.resume(now, out) {
            return;
        }
        if let (Signal::CONT, Phase::Starting { typed_stop, .. }) = (signal, &mut self.phase) {
            // The kernel's rule: SIGCONT discards a pending stop signal (signal(7)).
            *typed_stop = false;
        }
        if origin == Origin::Kernel && signal == Signal::TSTP && self.typed_stop(out) {
            return;
        }
        // The app itself lives in this pid namespace, so pid 0 is not its own.
        if origin.process().is_some_and(|pid| pid != 0)
            && self.signal_of_readiness(now, signal, out)
        {
            return;
        }
        self.signal_for_the_app(now, received, out);
    }

    /// Holds the signal, forwards it after its hooks, or forwards it at once.
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

    /// Whether this signal asks the app to end when it is forwarded. A stopped app would not act on it, so
    /// its sender would wait in vain.
    pub fn asks_for_an_end(&self, signal: Signal) -> bool {
        let asks = |signal| signal == Signal::TERM || signal == Signal::INT;
        let sent = self.plan.rewrite.apply(signal).filter(|_| !self.plan.stop_on.contains(signal));
        sent.is_some_and(|sent| (asks(signal) || asks(sent)) && sent != Signal::STOP)
    }

    /// Forwards a signal to the app.
    pub(super) fn forward(&mut self, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        match self.plan.rewrite.apply(signal) {
            None => out.push(Action::Record(Fact::Dropped { signal })),
            Some(sent) => {
                let scope = self.plan.scope;
                let target = self.target(false);
                // Forward before recording, so that logging cannot delay the signal.
                self.signal_app(sent, target, received.value, false, out);
                out.push(Action::Record(Fact::Forwarded { signal, sent, scope }));
                // Only requests to end: any other signal may be meant for a stopped app.
                if self.app_is_stopped && self.asks_for_an_end(signal) {
                    self.continue_app(target, out);
                }
            }
        }
    }

    /// Sends the app a signal, and keeps track of whether it is stopped.
    pub(super) fn signal_app(
        &mut self,
        signal: Signal,
        target: Target,
        value: Option<usize>,
        stop: bool,
        out: &mut Vec<Action>,
    ) {
        match signal {
            Signal::STOP => self.app_is_stopped = true,
            Signal::CONT => self.app_is_stopped = false,
            _ => {}
        }
        out.push(Action::SignalApp { signal, target, value, stop });
    }

    /// Sends the app SIGCONT.
    pub(super) fn continue_app(&mut self, target: Target, out: &mut Vec<Action>) {
        self.signal_app(Signal::CONT, target, None, false, out);
    }

    /// The processes that a signal is sent to now.
    pub fn scope_target(&self) -> Target {
        let escalated = matches!(self.phase, Phase::Stopping { rung, .. } if rung > 0);
        self.target(escalated)
    }

    /// The processes that `--scope` names. `escalated`: from the second stop signal on.
    pub(super) fn target(&self, escalated: bool) -> Target {
        match self.plan.scope {
            Scope::Group => Target::Group,
            Scope::Main | Scope::Auto => Target::App,
            Scope::Mixed if escalated => Target::Tree,
            Scope::Mixed => Target::App,
            Scope::Tree => Target::Tree,
        }
    }

    /// A signal of `--reload-on`: it is forwarded after the on-reload hooks.
    fn reload(&mut self, now: Time, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        let (reloads, in_progress) = match &mut self.phase {
            Phase::Starting { reloads, .. } => (reloads, 0),
            Phase::Running { hooks: Some(hooks), reloads, .. }
                if hooks.phase == HookPhase::OnReload =>
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
        // The round in progress may have read the configuration before it was changed again, so one more
        // round follows it. That round covers every further request.
        if reloads.iter().skip(in_progress).any(|waiting| waiting.signal == signal) {
            return out.push(Action::Record(Fact::ReloadMerged { signal }));
        }
        reloads.push_back(received);
        out.push(Action::Record(Fact::ReloadRequested { signal }));
        if let Phase::Running { hooks: None, .. } = self.phase {
            self.next_reload(now, out);
        }
    }

    // ---- job control ----------------------------------------------------------------------------

    /// Ctrl-Z at graceinit's terminal, where the app has a session of its own. The key does not reach the
    /// app, and its process group is orphaned, for which the kernel drops SIGTSTP (credentials(7)): the app
    /// is stopped with SIGSTOP unless `--rewrite` names another signal. Where no shell could resume both,
    /// SIGTSTP is forwarded like every other signal: an app with a handler learns of the key, and no other
    /// app is stopped by it.
    ///
    /// Whether the signal was dealt with.
    pub(super) fn typed_stop(&mut self, out: &mut Vec<Action>) -> bool {
        let signal = Signal::TSTP;
        let sent = match self.plan.rewrite.said(signal) {
            None => Signal::STOP,
            Some(Some(sent)) => sent,
            // `--rewrite` drops it, so graceinit is not stopped either.
            Some(None) => return false,
        };
        if !(self.plan.session && self.surroundings.suspendable) {
            return false;
        }
        match &mut self.phase {
            // Even if it is suspended already: SIGTSTP discards a SIGCONT that is still pending.
            Phase::Running { suspended, .. } => *suspended = true,
            // Before execve the app may not have its session yet, and its execve may fail.
            Phase::Starting { typed_stop, .. } => {
                *typed_stop = true;
                out.push(Action::Record(Fact::Held { signal }));
                return true;
            }
            Phase::PreStart { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => return false,
        }
        let (scope, target) = (self.plan.scope, self.target(false));
        out.push(Action::Record(Fact::Forwarded { signal, sent, scope }));
        self.signal_app(sent, target, None, false, out);
        out.push(Action::Record(Fact::Suspended { signal }));
        out.push(Action::SuspendSelf);
        true
    }

    /// SIGCONT from the shell resumes a suspended app. Whether the app was suspended.
    fn resume(&mut self, now: Time, out: &mut Vec<Action>) -> bool {
        let Phase::Running { suspended: suspended @ true, watchdog, .. } = &mut self.phase else {
            return false;
        };
        *suspended = false;
        // A suspended app could not send a keep-alive, so it gets a whole interval.
        if let (Some(missed), Some(interval)) = (watchdog, self.watchdog_interval) {
            *missed = now.after(interval);
        }
        out.push(Action::Record(Fact::Resumed));
        if self.plan.session {
            // The processes that `typed_stop` has stopped.
            self.continue_app(self.target(false), out);
        } else {
            out.push(Action::GiveTerminal);
            self.continue_app(Target::Group, out);
        }
        true
    }

    /// The app was stopped. SIGSTOP is not job control: it comes from a process, and that process sends the
    /// SIGCONT as well.
    pub(super) fn app_stopped(
        &mut self,
        now: Time,
        signal: Signal,
        ours: bool,
        out: &mut Vec<Action>,
    ) {
        self.app_is_stopped = true;
        self.continue_if_owed(out);
        if !self.surroundings.terminal || self.plan.session {
            return;
        }
        let wants_terminal = signal == Signal::TTIN || signal == Signal::TTOU;
        if !wants_terminal && signal != Signal::TSTP {
            return;
        }
        // An app that was stopped at the terminal has been executed, even if that is not reported yet.
        self.app_executed(now, out);
        let give = ours && wants_terminal;
        match &mut self.phase {
            Phase::Running { suspended, .. } if self.surroundings.suspendable && !give => {
                *suspended = true;
                out.push(Action::Record(Fact::Suspended { signal }));
                out.push(Action::SuspendSelf);
            }
            // No shell could resume the app (the kernel drops stop signals of an orphaned group for the
            // same reason), or the budget runs and does not pause for it.
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
            // The app has ended, was killed, or does not exist yet.
            Phase::PreStart { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => {}
        }
    }

    /// Takes the terminal back from the app. The foreground of another session is out of reach
    /// (tcsetpgrp(3)).
    pub(super) fn take_terminal(&self, out: &mut Vec<Action>) {
        if self.surroundings.terminal && !self.plan.session {
            out.push(Action::TakeTerminal);
        }
    }
}
