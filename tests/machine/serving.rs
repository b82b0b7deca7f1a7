//! Small configurations of readiness, watchdog and drain.

use graceinit::machine::connections::PERIOD;
use graceinit::machine::drain::{self, Look, Rules, Sight};
use graceinit::machine::plan::{Condition, Diagnose, PerPhase, Plan, Scope, StopAgain};
use graceinit::machine::ready::Notice;
use graceinit::machine::{Event, Origin, Received};
use graceinit::types::{Pid, Signal, SignalSet, Status};

use super::setups::{decisive, hook, more, plain, setup};
use super::world::{Setup, from_kernel, from_process, ms};

/// What the app is to send when it is ready.
const WORD: Signal = Signal::URG;

/// It comes from outside the pid namespace.
fn from_outside(signal: Signal) -> Received {
    Received { origin: Origin::Process(0), ..from_process(signal) }
}

fn notice(notice: Notice) -> Event {
    Event::Notice(notice)
}

/// `max`: 0 is none.
pub(super) fn drain(looks: bool, delay: u64, max: u64, acks: Option<u32>) -> drain::Plan {
    let rules = Rules { idle: ms(1000), owed: None };
    let max = (max > 0).then(|| ms(max));
    drain::Plan { looks, delay: ms(delay), acks, max, rules }
}

/// Nothing is under way; another look is worth making after so long.
pub(super) fn calm(next: Option<u64>) -> Look {
    Look { over: true, next: next.map_or(PERIOD, ms), listening: true, ..Look::default() }
}

pub(super) fn busy() -> Look {
    Look { busy: 1, cut: 1, over: false, ..calm(None) }
}

/// Everything that an app may be waited for without a child that looks.
pub(super) fn conditions() -> Setup {
    let after = Condition::After(ms(50));
    Setup {
        signals: vec![
            from_process(WORD),
            from_outside(WORD),
            from_kernel(WORD),
            from_process(Signal::HUP),
            from_process(Signal::TERM),
        ],
        says: vec![notice(Notice::Ready), Event::ConditionHolds(1)],
        strays: Vec::new(),
        ..setup(Plan {
            ready: vec![Condition::Notify, Condition::Newline, Condition::Signal(WORD), after],
            ready_timeout: Some(ms(80)),
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: PerPhase { on_ready: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// A time that is longer than the app has.
pub(super) fn too_late() -> Setup {
    let pre_stop = vec![hook(0)];
    Setup {
        signals: vec![from_process(Signal::INT), from_process(Signal::TERM)],
        endings: vec![Status::Code(0), Status::Code(3)],
        strays: Vec::new(),
        ..setup(Plan {
            ready: vec![Condition::After(ms(50)), Condition::After(ms(90))],
            ready_timeout: Some(ms(60)),
            stop_again: StopAgain::Kill,
            drain: Some(drain(false, 30, 0, None)),
            diagnose: Some(Diagnose { signal: Signal::QUIT, lead: ms(20) }),
            hooks: PerPhase { pre_stop, post_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// What the app is to say comes before there is an app.
pub(super) fn too_early() -> Setup {
    Setup {
        signals: vec![from_process(WORD), from_process(WORD), from_process(Signal::TERM)],
        says: vec![notice(Notice::MainPid(Pid(9))), notice(Notice::Ready)],
        strays: Vec::new(),
        newcomers: 1,
        ..setup(Plan {
            ready: vec![Condition::Signal(WORD)],
            hooks: PerPhase {
                pre_start: vec![decisive(0)],
                on_ready: vec![hook(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
    }
}

/// Attempts that fail, hang, cannot be started or end late.
pub(super) fn probes() -> Setup {
    Setup {
        strays: Vec::new(),
        not_yet: 2,
        ..setup(Plan {
            ready: vec![Condition::Probe, Condition::Probe],
            probe_timeout: ms(30),
            hooks: PerPhase { on_ready: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
        .saying(vec![notice(Notice::Stopping)])
    }
}

/// An app that takes its time: the pauses between looks grow.
pub(super) fn slow_probe() -> Setup {
    Setup {
        strays: Vec::new(),
        not_yet: 5,
        ..setup(Plan {
            ready: vec![Condition::Probe],
            probe_timeout: ms(100),
            ready_timeout: Some(ms(250)),
            drain: Some(drain(true, 0, 0, None)),
            ..plain()
        })
        .seeing(vec![calm(None)])
    }
}

/// A terminal, and an app that can do nothing while it is stopped.
pub(super) fn suspended() -> Setup {
    Setup {
        signals: vec![from_process(Signal::CONT), from_kernel(Signal::INT)],
        app_stops: vec![Signal::TSTP],
        stops: 1,
        strays: Vec::new(),
        ..setup(Plan {
            terminal: true,
            suspendable: true,
            ready: vec![Condition::Probe, Condition::After(ms(40))],
            ready_timeout: Some(ms(90)),
            probe_timeout: ms(30),
            watchdog: Some(ms(50)),
            hooks: PerPhase { on_ready: vec![decisive(1)], ..PerPhase::default() },
            ..plain()
        })
        .saying(vec![notice(Notice::Alive)])
    }
}

/// Signs of life.
pub(super) fn watchdog() -> Setup {
    Setup {
        endings: vec![Status::Code(0), Status::Code(3)],
        strays: Vec::new(),
        ..setup(Plan {
            scope: Scope::Tree,
            watchdog: Some(ms(40)),
            ready: vec![Condition::Notify],
            diagnose: Some(Diagnose { signal: Signal::QUIT, lead: ms(20) }),
            drain: Some(drain(false, 30, 0, None)),
            hooks: PerPhase { pre_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
        .saying(vec![notice(Notice::Ready), notice(Notice::Alive), notice(Notice::Dead)])
    }
}

/// What else an app may say of itself, at any time.
pub(super) fn outspoken() -> Setup {
    Setup {
        signals: vec![from_process(Signal::HUP), from_process(Signal::TERM)],
        strays: Vec::new(),
        ..setup(Plan {
            watchdog: Some(ms(40)),
            ready: vec![Condition::Notify],
            drain: Some(drain(false, 30, 0, None)),
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: PerPhase {
                on_ready: vec![hook(0)],
                on_reload: vec![decisive(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
        .saying(vec![
            notice(Notice::Ready),
            notice(Notice::Stopping),
            notice(Notice::Interval(ms(30))),
            notice(Notice::MainPid(Pid(9))),
        ])
    }
}

/// The delay is all there is.
pub(super) fn delay() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::INT)],
        acks: 2,
        strays: Vec::new(),
        ..setup(Plan {
            grace: ms(200),
            grace_max: ms(300),
            stop_again: StopAgain::Kill,
            ready: vec![Condition::Notify],
            drain: Some(drain(false, 60, 40, Some(2))),
            hooks: PerPhase {
                pre_stop: vec![hook(0)],
                on_stop: vec![hook(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
        .saying(vec![notice(Notice::Ready)])
    }
}

/// A delay that the budget does not hold.
pub(super) fn long_delay() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::HUP)],
        lingers: 1,
        ..setup(Plan {
            grace: ms(200),
            grace_max: ms(400),
            drain: Some(drain(false, 60_000, 0, None)),
            ..plain()
        })
        .saying(vec![more(350)])
        .seeing(vec![calm(None)])
    }
}

/// Ports that are looked at until they are quiet.
pub(super) fn quiet() -> Setup {
    Setup {
        acks: 1,
        not_yet: 1,
        strays: Vec::new(),
        ..setup(Plan { grace: ms(450), drain: Some(drain(true, 160, 0, Some(1))), ..plain() })
            .seeing(vec![busy(), Look { next: ms(30), ..busy() }, calm(None), calm(Some(50))])
    }
}

/// Looks that cost much, and times that are too short to be waited for one by one.
pub(super) fn hasty() -> Setup {
    Setup {
        acks: 1,
        strays: Vec::new(),
        lingers: 1,
        ..setup(Plan {
            grace: ms(800),
            drain: Some(drain(true, 5, 400, None)),
            hooks: PerPhase { pre_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
        .seeing(vec![
            Look { owed: 1, over: false, ..calm(Some(1)) },
            Look { cost: ms(4), ..calm(Some(0)) },
            Look { idle: 3, cost: ms(60), ..calm(Some(2)) },
            Look { sight: Sight::Blind, over: true, ..Look::default() },
        ])
    }
}

impl Setup {
    fn saying(self, says: Vec<Event>) -> Setup {
        Setup { says, ..self }
    }

    fn seeing(self, looks: Vec<Look>) -> Setup {
        Setup { looks, ..self }
    }
}
