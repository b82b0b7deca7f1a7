//! The start: pre-start hooks run, the app is forked and executed.

use std::collections::VecDeque;

use super::fact::Fact;
use super::phase::{Phase, Readiness};
use super::{Action, Machine, Origin, Received};
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
}
