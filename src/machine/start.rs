//! The start: from the last pre-start hook to an app that was executed.

use std::collections::VecDeque;

use super::fact::Fact;
use super::phase::{Phase, Readiness};
use super::{Action, Machine, Origin, Received};
use crate::types::{Signal, Time};

/// The kernel bounds the queue of pending signals too (RLIMIT_SIGPENDING).
const MOST_HELD: usize = 64;

impl Machine {
    /// Starts the app, after the last pre-start hook.
    pub(super) fn start_app(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::PreStart { held, .. } = &mut self.phase else { return };
        let held = std::mem::take(held);
        let (held, now_sent): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|received| self.needs_a_handler(received.signal));
        self.phase = Phase::Starting { reloads: VecDeque::new(), held, typed_stop: false };
        out.push(Action::StartApp);
        // Not through `signal`: the app did not exist yet, so none of these is its `--ready signal:`.
        for received in now_sent {
            self.signal_for_the_app(now, received, out);
        }
    }

    /// Whether a signal ends an app that has no handler for it yet, although it does not ask for an end: HUP and USR1
    /// mean "read your configuration" or "open your log again" to most programs.
    fn needs_a_handler(&self, signal: Signal) -> bool {
        const ASKS_FOR_AN_END: [Signal; 4] =
            [Signal::TERM, Signal::INT, Signal::QUIT, Signal::ABRT];
        let sent = self.plan.rewrite.apply(signal);
        sent.is_some_and(|sent| sent.ends_by_default() && !ASKS_FOR_AN_END.contains(&sent))
    }

    /// Keeps a signal for an app that does not exist yet.
    pub(super) fn hold(&mut self, received: Received, out: &mut Vec<Action>) {
        let Phase::PreStart { held, .. } = &mut self.phase else { return };
        let Received { signal, origin, .. } = received;
        // A key or a new size of the terminal needs no repetition: the app reads the state of the terminal
        // when it starts.
        let job_control = [Signal::TSTP, Signal::CONT, Signal::WINCH].contains(&signal);
        // The kernel's rule: a standard signal that is already pending is not queued again (signal(7)).
        let pending = signal.is_standard() && held.iter().any(|other| other.signal == signal);
        if job_control && origin == Origin::Kernel || pending || held.len() == MOST_HELD {
            out.push(Action::Record(Fact::NoApp { signal }));
        } else if self.needs_a_handler(signal) && !self.awaits_readiness() {
            // When the app can take it is not known. It will read its configuration when it starts in any case.
            out.push(Action::Record(Fact::TooEarly { signal }));
        } else if let Phase::PreStart { held, .. } = &mut self.phase {
            held.push(received);
            out.push(Action::Record(Fact::Held { signal }));
        }
    }

    /// The app's execve succeeded. Also called by events that prove it earlier than the loop learns of it.
    pub(super) fn app_executed(&mut self, now: Time, out: &mut Vec<Action>) {
        // In any other phase a stop has begun before execve was reported.
        if let Phase::Starting { reloads, held, typed_stop } = &mut self.phase {
            let (reloads, held) = (std::mem::take(reloads), std::mem::take(held));
            let typed_stop = *typed_stop;
            let readiness = Readiness::Waiting(self.waiting(now, held));
            let phase = Phase::Running {
                suspended: false,
                typed_stop,
                hooks: None,
                reloads,
                readiness,
                watchdog: None,
                granted: false,
            };
            self.enter(phase, out);
            self.check_readiness(now, out);
            self.enter_ready_if_complete(now, out);
        }
    }
}
