//! Small configurations of a graceinit that stands in for another program: stops without a deadline, no
//! stops at all, an app in a session of its own.

use graceinit::machine::budget::ENDLESS;
use graceinit::machine::plan::{Diagnose, PerPhase, Plan, Rewrite, Rung, Scope, StopAgain, Wait};
use graceinit::types::{Signal, SignalSet};

use super::serving::{calm, drain};
use super::setups::{hook, more, plain, setup};
use super::world::{Setup, from_kernel, from_process, ms, rung};

/// A stop without a deadline, and 100 ms for leftovers.
fn endless() -> Plan {
    Plan { grace: ENDLESS, grace_max: ENDLESS, leftovers: ms(100), ..plain() }
}

/// No hooks, and more time than anybody could ask for. A second Ctrl-C kills.
pub(super) fn no_deadline() -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_kernel(Signal::INT),
            from_process(Signal::HUP),
        ],
        says: vec![more(500)],
        strays: vec![true, false],
        lingers: 1,
        ..setup(Plan {
            diagnose: Some(Diagnose { signal: Signal::QUIT, lead: ms(40) }),
            ..endless()
        })
    }
}

/// Hooks have their own limits, and a ladder its waits; a share of what has no end has none.
pub(super) fn no_deadline_but_limits() -> Setup {
    let share = Rung { signal: Some(Signal::INT), wait: Some(Wait::Share(50)) };
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::INT)],
        strays: Vec::new(),
        ..setup(Plan {
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

/// A delay, and nothing else, ends the drain.
pub(super) fn no_deadline_but_a_delay() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_kernel(Signal::INT)],
        acks: 2,
        strays: Vec::new(),
        lingers: 1,
        ..setup(Plan {
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
pub(super) fn no_deadline_but_ports() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_kernel(Signal::INT)],
        looks: vec![calm(None)],
        not_yet: 1,
        acks: 1,
        ..setup(Plan { drain: Some(drain(true, 160, 0, Some(1))), ..endless() })
    }
}

/// Every signal is passed on, as often as it comes. Whoever stops the app may be anybody.
pub(super) fn passes_on() -> Setup {
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
pub(super) fn passes_on_at_a_terminal() -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_kernel(Signal::INT),
            from_kernel(Signal::TSTP),
            from_process(Signal::CONT),
        ],
        app_stops: vec![Signal::TSTP, Signal::TTIN, Signal::STOP],
        stops: 2,
        ..setup(Plan {
            stop_on: SignalSet::default(),
            terminal: true,
            suspendable: true,
            ..endless()
        })
    }
}

/// The app has a session of its own, and graceinit's terminal none but graceinit.
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
        ..setup(Plan { stop_on, terminal: true, session: true, suspendable, ..endless() })
    }
}

/// Somebody knows better what Ctrl-Z means to the app.
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
        strays: Vec::new(),
        ..setup(Plan {
            rewrite,
            scope: Scope::Main,
            stop_on: SignalSet::default(),
            terminal: true,
            session: true,
            suspendable: true,
            ..endless()
        })
    }
}
