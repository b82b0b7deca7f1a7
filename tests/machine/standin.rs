//! Small configurations of a graceinit that stands in for another program: stops without a deadline.

use graceinit::machine::budget::ENDLESS;
use graceinit::machine::plan::{Diagnose, PerPhase, Plan, Rung, Scope, StopAgain, Wait};
use graceinit::types::Signal;

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
        newcomers: 1,
        lingers: 1,
        fork_fails: true,
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
        lingers: 1,
        fork_fails: true,
        ..setup(Plan {
            stop_again: StopAgain::Kill,
            scope: Scope::Mixed,
            ladder: vec![rung(Signal::TERM, Some(10)), share, rung(Signal::QUIT, None)],
            hooks: PerPhase {
                pre_stop: vec![hook(1)],
                on_stop: vec![hook(1)],
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
        ..setup(Plan { drain: Some(drain(true, 160, 90, Some(1))), ..endless() })
    }
}
