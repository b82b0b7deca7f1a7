//! Small configurations of a graceinit that runs under the name of another init: budgets without an end, no
//! stops at all, an app in a session of its own.

use graceinit::machine::budget::ENDLESS;
use graceinit::machine::plan::{Diagnose, PerPhase, Plan, Rewrite, Rung, Scope, StopAgain, Wait};
use graceinit::types::{Signal, SignalSet};

use super::serving::{calm, drain};
use super::setups::{app_alone, at_a_terminal, hook, more, plain, setup};
use super::world::{Setup, from_kernel, from_process, ms, rung};

/// A budget without an end, and 100 ms for leftovers.
fn endless() -> Plan {
    Plan { grace: ENDLESS, grace_max: ENDLESS, leftovers: ms(100), ..plain() }
}

/// No hooks; a wish for more time changes nothing; a second Ctrl-C kills.
pub(super) fn without_an_end() -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_kernel(Signal::INT),
            from_process(Signal::HUP),
        ],
        says: vec![more(500)],
        descendants: vec![true, false],
        lingers: 1,
        ..setup(Plan {
            diagnose: Some(Diagnose { signal: Signal::QUIT, lead: ms(40) }),
            ..endless()
        })
    }
}

/// Hooks have their timeouts and steps their waits; a share of a budget without an end has no end.
pub(super) fn without_an_end_but_limits() -> Setup {
    let share = Rung { signal: Some(Signal::INT), wait: Some(Wait::Share(50)) };
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::INT)],
        ..app_alone(Plan {
            stop_again: StopAgain::Kill,
            scope: Scope::Mixed,
            ladder: vec![rung(Signal::TERM, Some(10)), share, rung(Signal::QUIT, None)],
            hooks: PerPhase {
                pre_stop: vec![hook(0)],
                on_stop: vec![hook(0)],
                post_stop: vec![hook(0)],
                ..PerPhase::default()
            },
            ..endless()
        })
    }
}

/// Only the delay ends the drain.
pub(super) fn without_an_end_but_a_delay() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_kernel(Signal::INT)],
        acks: 2,
        lingers: 1,
        ..app_alone(Plan {
            drain: Some(drain(false, 60, 0, Some(2))),
            hooks: PerPhase {
                pre_stop: vec![hook(0)],
                on_stop: vec![hook(0)],
                ..PerPhase::default()
            },
            ..endless()
        })
    }
}

/// The drain lasts until the ports are quiet.
pub(super) fn without_an_end_but_ports() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_kernel(Signal::INT)],
        samples: vec![calm(None)],
        not_yet: 1,
        acks: 1,
        ..setup(Plan { drain: Some(drain(true, 160, 0, Some(1))), ..endless() })
    }
}

/// Every signal is forwarded each time it arrives. Any process may stop the app.
pub(super) fn forwards_all() -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_process(Signal::TERM),
            from_kernel(Signal::INT),
            from_process(Signal::HUP),
            from_process(Signal::CONT),
        ],
        app_stops: vec![Signal::STOP],
        stops: 2,
        lingers: 1,
        ..setup(Plan { stop_on: SignalSet::default(), ..endless() })
    }
}

/// The same at a terminal.
pub(super) fn forwards_all_at_a_terminal() -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_kernel(Signal::INT),
            from_kernel(Signal::TSTP),
            from_process(Signal::CONT),
        ],
        app_stops: vec![Signal::TSTP, Signal::TTIN, Signal::STOP],
        stops: 2,
        surroundings: at_a_terminal(true),
        ..setup(Plan { stop_on: SignalSet::default(), ..endless() })
    }
}

/// The app has a session of its own, so only graceinit gets the keys of the terminal.
pub(super) fn session(suspendable: bool, stops: bool) -> Setup {
    let stop_on = if stops { plain().stop_on } else { SignalSet::default() };
    Setup {
        signals: vec![
            from_kernel(Signal::TSTP),
            from_kernel(Signal::TSTP),
            from_process(Signal::CONT),
            from_process(Signal::CONT),
            from_kernel(Signal::INT),
            from_process(Signal::TSTP),
            from_kernel(Signal::TTOU),
        ],
        app_stops: vec![Signal::STOP],
        stops: 1,
        surroundings: at_a_terminal(suspendable),
        ..setup(Plan { stop_on, session: true, ..endless() })
    }
}

/// `--rewrite` says what Ctrl-Z does to the app.
pub(super) fn session_with_rewrites(to: Option<Signal>) -> Setup {
    let mut rewrite = Rewrite::default();
    rewrite.set(Signal::TSTP, to);
    rewrite.set(Signal::ALRM, Some(Signal::STOP));
    rewrite.set(Signal::PIPE, Some(Signal::TERM));
    Setup {
        signals: vec![
            from_kernel(Signal::TSTP),
            from_process(Signal::CONT),
            from_process(Signal::ALRM),
            from_process(Signal::PIPE),
            from_process(Signal::TERM),
        ],
        surroundings: at_a_terminal(true),
        ..app_alone(Plan {
            rewrite,
            scope: Scope::Main,
            stop_on: SignalSet::default(),
            session: true,
            ..endless()
        })
    }
}
