//! Small configurations of readiness, watchdog and drain.

use graceinit::machine::connections::{self, Rules, Sample, Visibility};
use graceinit::machine::plan::{
    Condition, Diagnose, PerPhase, Plan, Scope, StopAgain, Surroundings,
};
use graceinit::machine::ready::Notice;
use graceinit::machine::{Event, Origin, Received};
use graceinit::types::{Pid, Signal, SignalSet, Status};

use super::setups::{app_alone, at_a_terminal, decisive, hook, more, plain, setup};
use super::world::{Setup, from_kernel, from_process, ms};

/// The signal that the app sends when it is ready.
const WORD: Signal = Signal::URG;

/// The signal comes from outside the pid namespace.
fn from_outside(signal: Signal) -> Received {
    Received { origin: Origin::Process(0), ..from_process(signal) }
}

fn notice(notice: Notice) -> Event {
    Event::Notice(notice)
}

/// `max`: 0 is none.
pub(super) fn drain(looks: bool, delay: u64, max: u64, acks: Option<u32>) -> connections::Plan {
    let rules = Rules { idle: ms(1000), owed: None };
    let max = (max > 0).then(|| ms(max));
    connections::Plan { looks, delay: ms(delay), acks, max, words: 0, rules }
}

/// Nothing is in flight; another sample is worth taking after this many milliseconds.
pub(super) fn calm(next: Option<u64>) -> Sample {
    let next = next.map_or(connections::PERIOD, ms);
    Sample { over: true, next, listening: true, ..Sample::default() }
}

pub(super) fn busy() -> Sample {
    Sample { busy: 1, cut: 1, over: false, ..calm(None) }
}

/// Every condition that needs no probe.
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
        ..app_alone(Plan {
            ready: vec![Condition::Notify, Condition::Newline, Condition::Signal(WORD), after],
            ready_timeout: Some(ms(80)),
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: PerPhase { on_ready: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// A condition that needs longer than `--ready-timeout`.
pub(super) fn too_late() -> Setup {
    let pre_stop = vec![hook(0)];
    Setup {
        signals: vec![from_process(Signal::INT), from_process(Signal::TERM)],
        endings: vec![Status::Code(0), Status::Code(3)],
        ..app_alone(Plan {
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

/// The processes are frozen while the app starts or is watched. It may ask for more time.
pub(super) fn standstill() -> Setup {
    Setup {
        standstills: 1,
        surroundings: Surroundings { watchdog: Some(ms(40)), ..Surroundings::default() },
        ..app_alone(Plan {
            ready: vec![Condition::Notify, Condition::After(ms(20))],
            ready_timeout: Some(ms(60)),
            ..plain()
        })
        .saying(vec![notice(Notice::Ready), notice(Notice::Alive), more(90)])
    }
}

/// A second stop request during each phase that asks processes.
pub(super) fn drain_hurried() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::TERM)],
        ..app_alone(Plan {
            grace: ms(400),
            stop_again: StopAgain::Kill,
            drain: Some(drain(true, 50, 0, None)),
            hooks: PerPhase {
                pre_stop: vec![hook(0)],
                on_stop: vec![hook(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
        .seeing(vec![busy()])
    }
}

/// An app that is ready after more than ten seconds, or never.
pub(super) fn late() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM)],
        says: vec![notice(Notice::Ready)],
        ..app_alone(Plan {
            ready: vec![Condition::Notify, Condition::After(ms(11_000))],
            ready_timeout: Some(ms(12_000)),
            ..plain()
        })
    }
}

/// The signal and the notification of readiness arrive before the app is started.
pub(super) fn ready_before_the_start() -> Setup {
    Setup {
        signals: vec![from_process(WORD), from_process(WORD), from_process(Signal::TERM)],
        says: vec![notice(Notice::MainPid(Pid(9))), notice(Notice::Ready)],
        newcomers: 1,
        ..app_alone(Plan {
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
        not_yet: 2,
        ..app_alone(Plan {
            ready: vec![Condition::Probe, Condition::Probe],
            probe_timeout: ms(30),
            hooks: PerPhase { on_ready: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
        .saying(vec![notice(Notice::Stopping)])
    }
}

/// A slow start: the pauses between checks grow.
pub(super) fn slow_probe() -> Setup {
    Setup {
        not_yet: 5,
        ..app_alone(Plan {
            ready: vec![Condition::Probe],
            probe_timeout: ms(100),
            ready_timeout: Some(ms(250)),
            drain: Some(drain(true, 0, 0, None)),
            ..plain()
        })
        .seeing(vec![calm(None)])
    }
}

/// A terminal, and an app that is suspended before it is ready.
pub(super) fn suspended() -> Setup {
    Setup {
        signals: vec![from_process(Signal::CONT), from_kernel(Signal::INT)],
        app_stops: vec![Signal::TSTP],
        stops: 1,
        surroundings: Surroundings { watchdog: Some(ms(50)), ..at_a_terminal(true) },
        ..app_alone(Plan {
            ready: vec![Condition::Probe, Condition::After(ms(40))],
            ready_timeout: Some(ms(90)),
            probe_timeout: ms(30),
            hooks: PerPhase { on_ready: vec![decisive(1)], ..PerPhase::default() },
            ..plain()
        })
        .saying(vec![notice(Notice::Alive)])
    }
}

/// A watchdog.
pub(super) fn watchdog() -> Setup {
    Setup {
        endings: vec![Status::Code(0), Status::Code(3)],
        surroundings: Surroundings { watchdog: Some(ms(40)), ..Surroundings::default() },
        ..app_alone(Plan {
            scope: Scope::Tree,
            ready: vec![Condition::Notify],
            diagnose: Some(Diagnose { signal: Signal::QUIT, lead: ms(20) }),
            drain: Some(drain(false, 30, 0, None)),
            hooks: PerPhase { pre_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
        .saying(vec![notice(Notice::Ready), notice(Notice::Alive), notice(Notice::Dead)])
    }
}

/// The other notifications, at any time.
pub(super) fn notifications() -> Setup {
    Setup {
        signals: vec![from_process(Signal::HUP), from_process(Signal::TERM)],
        surroundings: Surroundings { watchdog: Some(ms(40)), ..Surroundings::default() },
        ..app_alone(Plan {
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

/// A drain without ports: only the delay ends it.
pub(super) fn delay() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::INT)],
        acks: 2,
        ..app_alone(Plan {
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

/// A delay that does not fit into the budget.
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

/// Samples until the ports are quiet.
pub(super) fn quiet() -> Setup {
    Setup {
        acks: 1,
        not_yet: 1,
        ..app_alone(Plan { grace: ms(450), drain: Some(drain(true, 160, 0, Some(1))), ..plain() })
            .seeing(vec![
                busy(),
                Sample { next: ms(30), ..busy() },
                calm(None),
                Sample { holding: 1, ..calm(Some(50)) },
            ])
    }
}

/// Ports and the app's own word: it is asked while the ports are quiet, and again after they were not.
pub(super) fn words_and_samples() -> Setup {
    let words = Some(connections::Plan { words: 1, ..drain(true, 20, 0, None) });
    Setup {
        fork_fails: true,
        ..app_alone(Plan { grace: ms(500), drain: words, ..plain() })
            .seeing(vec![calm(Some(60)), busy()])
    }
}

/// The app's own word alone, from two sources.
pub(super) fn words() -> Setup {
    let words = Some(connections::Plan { words: 2, ..drain(false, 30, 700, Some(1)) });
    let on_stop = vec![hook(0)];
    Setup {
        acks: 1,
        ..app_alone(Plan {
            grace: ms(1500),
            drain: words,
            hooks: PerPhase { on_stop, ..PerPhase::default() },
            ..plain()
        })
    }
}

/// Samples that take long, and times shorter than the shortest pause between two samples.
pub(super) fn hasty() -> Setup {
    Setup {
        acks: 1,
        lingers: 1,
        ..app_alone(Plan {
            grace: ms(800),
            drain: Some(drain(true, 5, 400, None)),
            hooks: PerPhase { pre_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
        .seeing(vec![
            Sample { owed: 1, over: false, ..calm(Some(1)) },
            Sample { cost: ms(4), ..calm(Some(0)) },
            Sample { idle: 3, cost: ms(60), ..calm(Some(2)) },
            Sample { visibility: Visibility::Blind, over: true, ..Sample::default() },
        ])
    }
}

impl Setup {
    fn saying(self, says: Vec<Event>) -> Setup {
        Setup { says, ..self }
    }

    fn seeing(self, samples: Vec<Sample>) -> Setup {
        Setup { samples, ..self }
    }
}
