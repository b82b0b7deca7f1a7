//! Small configurations, each rich in one thing.

use std::time::Duration;

use graceinit::machine::plan::{
    ChildOom, Condition, Diagnose, ExitRules, HookLimits, OnFailure, PerPhase, Plan, Rewrite, Rung,
    Scope, StopAgain, Surroundings,
};
use graceinit::machine::ready::Notice;
use graceinit::machine::{Event, Received};
use graceinit::types::{Signal, SignalSet, Status};

use super::world::{Setup, from_kernel, from_process, ms, rung, silence};

const CRASH: Status = Status::Signal(Signal::QUIT);

/// 100 ms of grace and 100 ms for post-stop, so that there are few rounds of signals to leftovers.
pub(super) fn plain() -> Plan {
    Plan {
        ready: Vec::new(),
        ready_timeout: None,
        probe_timeout: Duration::from_secs(1),
        drain: None,
        grace: ms(100),
        leftovers: ms(100),
        post_stop_timeout: ms(100),
        stop_on: SignalSet::of(&[Signal::TERM, Signal::INT]),
        ladder: Vec::new(),
        scope: Scope::Group,
        rewrite: Rewrite::default(),
        stop_again: StopAgain::Default,
        grace_max: ms(100),
        child_oom: ChildOom::Note,
        diagnose: None,
        reload_on: SignalSet::default(),
        hooks: PerPhase::default(),
        exit: ExitRules::default(),
        session: false,
    }
}

/// A controlling terminal. `suspendable`: a shell can resume graceinit.
pub(super) fn at_a_terminal(suspendable: bool) -> Surroundings {
    Surroundings { terminal: true, suspendable, ..Surroundings::default() }
}

/// One TERM, an app that may exit with 0, and one other process in its group.
pub(super) fn setup(plan: Plan) -> Setup {
    Setup {
        plan,
        surroundings: Surroundings::default(),
        endings: vec![Status::Code(0)],
        signals: vec![from_process(Signal::TERM)],
        says: Vec::new(),
        samples: Vec::new(),
        acks: 0,
        not_yet: 0,
        app_stops: Vec::new(),
        stops: 0,
        descendants: vec![true],
        newcomers: 0,
        standstills: 0,
        lingers: 0,
        fork_fails: false,
        out_of_memory: false,
    }
}

/// The same without other processes of the app.
pub(super) fn app_alone(plan: Plan) -> Setup {
    Setup { descendants: Vec::new(), ..setup(plan) }
}

/// A timeout of 30 ms for each attempt.
pub(super) fn hook(retries: u32) -> HookLimits {
    HookLimits { timeout: ms(30), retries, backoff: ms(10), on_failure: OnFailure::Warn }
}

/// The same, but a failure ends the phase.
pub(super) fn decisive(retries: u32) -> HookLimits {
    HookLimits { on_failure: OnFailure::Abort, ..hook(retries) }
}

/// The app asks for so much time.
pub(super) fn more(span: u64) -> Event {
    Event::Notice(Notice::MoreTime(ms(span)))
}

/// Everything that can happen to a plan without hooks.
pub(super) fn no_hooks() -> Setup {
    Setup {
        endings: vec![Status::Code(0), CRASH],
        signals: vec![
            from_process(Signal::TERM),
            from_kernel(Signal::INT),
            from_process(Signal::HUP),
            from_kernel(Signal::TTIN),
        ],
        descendants: vec![true, false],
        newcomers: 1,
        lingers: 1,
        ..setup(plain())
    }
}

/// A budget so long that leftovers get many rounds of signals.
pub(super) fn long_leftovers() -> Setup {
    Setup {
        descendants: vec![true, false],
        newcomers: 2,
        lingers: 1,
        ..setup(Plan { grace: Duration::from_secs(4), ..plain() })
    }
}

pub(super) fn stop_again(stop_again: StopAgain) -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_process(Signal::INT),
            from_kernel(Signal::INT),
        ],
        lingers: 1,
        ..setup(Plan {
            stop_again,
            hooks: PerPhase {
                pre_stop: vec![hook(0)],
                post_stop: vec![hook(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
    }
}

pub(super) fn scope(scope: Scope) -> Setup {
    let ladder = vec![rung(Signal::INT, Some(40)), rung(Signal::TERM, None)];
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::HUP)],
        descendants: vec![true, false],
        app_stops: vec![Signal::STOP],
        stops: 1,
        lingers: 1,
        ..setup(Plan { scope, ladder, ..plain() })
    }
}

/// Waits that do not fit into the budget.
pub(super) fn squeezed_ladder() -> Setup {
    let ladder =
        vec![rung(Signal::TERM, Some(80)), rung(Signal::INT, Some(60)), rung(Signal::QUIT, None)];
    Setup {
        signals: vec![from_process(Signal::INT), from_process(Signal::TERM)],
        descendants: vec![true, false],
        lingers: 2,
        ..setup(Plan {
            ladder,
            hooks: PerPhase { on_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// The first rung ends nothing, so leftovers need another signal.
pub(super) fn harmless_first_rung() -> Setup {
    let ladder = vec![rung(Signal::TSTP, Some(30)), rung(Signal::TERM, None)];
    Setup { descendants: vec![true, false], newcomers: 1, ..setup(Plan { ladder, ..plain() }) }
}

pub(super) fn pre_stop() -> Setup {
    let long = HookLimits { timeout: ms(500), ..hook(0) };
    Setup {
        newcomers: 1,
        lingers: 1,
        fork_fails: true,
        ..setup(Plan {
            hooks: PerPhase { pre_stop: vec![hook(0), long], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// Retries side by side, one of them after a kill at the timeout.
pub(super) fn pre_stop_retried() -> Setup {
    Setup {
        fork_fails: true,
        ..setup(Plan {
            hooks: PerPhase { pre_stop: vec![hook(1), hook(2)], ..PerPhase::default() },
            ..plain()
        })
    }
}

pub(super) fn on_stop() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::INT)],
        lingers: 1,
        fork_fails: true,
        ..setup(Plan {
            hooks: PerPhase { on_stop: vec![hook(1), hook(0)], ..PerPhase::default() },
            stop_again: StopAgain::Kill,
            ..plain()
        })
    }
}

pub(super) fn post_stop() -> Setup {
    Setup {
        endings: vec![Status::Code(0), Status::Code(1)],
        newcomers: 1,
        lingers: 1,
        fork_fails: true,
        ..setup(Plan {
            hooks: PerPhase { post_stop: vec![decisive(1), hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

pub(super) fn every_hook() -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_kernel(Signal::INT),
            from_process(Signal::HUP),
        ],
        fork_fails: true,
        ..setup(Plan {
            hooks: PerPhase {
                pre_stop: vec![hook(0)],
                on_stop: vec![hook(1)],
                post_stop: vec![hook(0)],
                ..PerPhase::default()
            },
            ladder: vec![rung(Signal::TERM, Some(10)), rung(Signal::INT, None)],
            ..plain()
        })
    }
}

/// At a terminal: Ctrl-Z, fg, reads from the background.
pub(super) fn terminal(suspendable: bool) -> Setup {
    Setup {
        signals: vec![
            from_kernel(Signal::INT),
            from_process(Signal::CONT),
            from_process(Signal::HUP),
            from_kernel(Signal::TTIN),
            from_kernel(Signal::TSTP),
        ],
        app_stops: vec![Signal::TSTP, Signal::TTIN, Signal::STOP],
        stops: 2,
        surroundings: at_a_terminal(suspendable),
        ..setup(Plan {
            hooks: PerPhase { post_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// A second Ctrl-C, at a terminal.
pub(super) fn interrupted_twice() -> Setup {
    Setup {
        signals: vec![
            from_kernel(Signal::INT),
            from_process(Signal::INT),
            from_kernel(Signal::INT),
        ],
        app_stops: vec![Signal::TTOU],
        stops: 1,
        lingers: 1,
        surroundings: at_a_terminal(true),
        ..setup(Plan {
            hooks: PerPhase { on_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

pub(super) fn no_grace() -> Setup {
    Setup {
        fork_fails: true,
        ..setup(Plan {
            grace: ms(0),
            hooks: PerPhase {
                pre_stop: vec![hook(0)],
                on_stop: vec![hook(1)],
                post_stop: vec![hook(1)],
                ..PerPhase::default()
            },
            ladder: vec![rung(Signal::TERM, Some(10)), rung(Signal::INT, None)],
            ..plain()
        })
    }
}

pub(super) fn no_post_stop_time() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_kernel(Signal::INT)],
        lingers: 1,
        ..setup(Plan {
            post_stop_timeout: ms(0),
            hooks: PerPhase {
                on_stop: vec![hook(0)],
                post_stop: vec![hook(1), hook(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
    }
}

pub(super) fn rewritten() -> Setup {
    let mut rewrite = Rewrite::default();
    rewrite.set(Signal::TERM, Some(Signal::QUIT));
    rewrite.set(Signal::HUP, None);
    rewrite.set(Signal::INT, None);
    rewrite.set(Signal::WINCH, Some(Signal::INT));
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_process(Signal::INT),
            from_process(Signal::HUP),
            from_process(Signal::WINCH),
        ],
        lingers: 1,
        ..setup(Plan { rewrite, ..plain() })
    }
}

pub(super) fn exit_rules() -> Setup {
    Setup {
        endings: vec![Status::Code(3), Status::Code(1), Status::Signal(Signal::TERM)],
        descendants: vec![true],
        lingers: 1,
        ..setup(Plan {
            exit: ExitRules {
                always_ok: vec![3],
                stop_ok: vec![143, 1],
                killed: Some(9),
                ..ExitRules::default()
            },
            ..plain()
        })
    }
}

/// The kernel kills the app, or another process, for want of memory.
pub(super) fn out_of_memory(child_oom: ChildOom, code: Option<u8>) -> Setup {
    Setup {
        endings: vec![Status::Code(0), Status::Code(3)],
        says: vec![Event::ChildOutOfMemory, Event::ChildOutOfMemory],
        out_of_memory: true,
        ..setup(Plan {
            child_oom,
            exit: ExitRules { always_ok: vec![137], oom: code, ..ExitRules::default() },
            hooks: PerPhase {
                pre_stop: vec![hook(0)],
                post_stop: vec![hook(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
    }
}

/// Pre-start hooks; a stop before the app is started, and an app that never is.
pub(super) fn pre_start() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_kernel(Signal::INT)],
        newcomers: 1,
        fork_fails: true,
        ..app_alone(Plan {
            hooks: PerPhase { pre_start: vec![decisive(1), hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// Signals that arrive before the app is started.
pub(super) fn held() -> Setup {
    let mut rewrite = Rewrite::default();
    rewrite.set(Signal::QUIT, None);
    let real_time = Received { value: Some(3), ..from_process(Signal::new(40).unwrap()) };
    Setup {
        signals: vec![
            from_process(Signal::HUP),
            from_process(Signal::WINCH),
            from_process(Signal::URG),
            from_kernel(Signal::WINCH),
            real_time,
            from_process(Signal::QUIT),
            from_process(Signal::TERM),
        ],
        fork_fails: true,
        ..app_alone(Plan {
            rewrite,
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: PerPhase { pre_start: vec![decisive(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// The same for an app that says when it is ready.
pub(super) fn held_until_ready() -> Setup {
    let real_time = Received { value: Some(3), ..from_process(Signal::new(40).unwrap()) };
    Setup {
        signals: vec![
            from_process(Signal::HUP),
            from_process(Signal::WINCH),
            real_time,
            real_time,
            from_process(Signal::TERM),
        ],
        says: vec![Event::Notice(Notice::Ready), Event::Notice(Notice::Stopping)],
        fork_fails: true,
        ..app_alone(Plan {
            ready: vec![Condition::Notify],
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: PerPhase {
                pre_start: vec![decisive(0)],
                on_ready: vec![hook(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
    }
}

/// Rounds of on-reload hooks, and signals that arrive while they run.
pub(super) fn reload() -> Setup {
    let mut rewrite = Rewrite::default();
    rewrite.set(Signal::HUP, Some(Signal::QUIT));
    Setup {
        signals: vec![
            from_process(Signal::HUP),
            from_process(Signal::HUP),
            from_process(Signal::WINCH),
            from_process(Signal::TERM),
        ],
        ..app_alone(Plan {
            rewrite,
            reload_on: SignalSet::of(&[Signal::HUP, Signal::WINCH]),
            hooks: PerPhase { on_reload: vec![decisive(1)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// Reload signals without hooks for them, at a terminal.
pub(super) fn reload_at_a_terminal() -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::HUP),
            from_kernel(Signal::INT),
            from_process(Signal::HUP),
            from_process(Signal::CONT),
        ],
        app_stops: vec![Signal::TSTP, Signal::TTIN],
        stops: 1,
        surroundings: at_a_terminal(true),
        ..app_alone(Plan {
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: PerPhase {
                pre_start: vec![hook(0)],
                on_ready: vec![decisive(0), hook(0)],
                ..PerPhase::default()
            },
            ..plain()
        })
    }
}

/// On-ready or on-reload hooks that still run when the stop begins, and fail then.
pub(super) fn outlived(on_ready: bool) -> Setup {
    let long = vec![HookLimits { timeout: ms(500), ..decisive(1) }];
    let (on_ready, on_reload) = if on_ready { (long, Vec::new()) } else { (Vec::new(), long) };
    let reload = (!on_reload.is_empty()).then_some(from_process(Signal::HUP));
    Setup {
        signals: reload.into_iter().chain([from_process(Signal::TERM)]).collect(),
        ..app_alone(Plan {
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: PerPhase {
                on_ready,
                on_reload,
                pre_stop: vec![hook(1)],
                on_stop: vec![decisive(1)],
                ..PerPhase::default()
            },
            ..plain()
        })
    }
}

/// The diagnose signal.
pub(super) fn diagnose(scope: Scope) -> Setup {
    Setup {
        descendants: vec![true, false],
        lingers: 2,
        ..setup(Plan {
            scope,
            diagnose: Some(Diagnose { signal: Signal::QUIT, lead: ms(40) }),
            ladder: vec![rung(Signal::TERM, Some(60)), rung(Signal::INT, None)],
            hooks: PerPhase { on_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// An app that asks for more time.
pub(super) fn more_time() -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_kernel(Signal::INT)],
        says: vec![more(90), more(500)],
        lingers: 1,
        ..app_alone(Plan {
            grace_max: ms(250),
            diagnose: Some(Diagnose { signal: Signal::QUIT, lead: ms(20) }),
            hooks: PerPhase { on_stop: vec![hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// A budget so long that the scan of the survivors may begin before or after a second request.
pub(super) fn hurried() -> Setup {
    Setup {
        signals: vec![
            from_process(Signal::TERM),
            from_process(Signal::INT),
            from_process(Signal::INT),
        ],
        says: vec![more(1200)],
        descendants: vec![true],
        lingers: 2,
        fork_fails: true,
        ..setup(Plan {
            grace: ms(1000),
            grace_max: ms(2000),
            stop_again: StopAgain::Kill,
            ..plain()
        })
    }
}

/// An on-stop hook stops the app: no signal is sent.
pub(super) fn no_stop_signal() -> Setup {
    silent(vec![silence(None)])
}

/// The first step sends no signal.
pub(super) fn no_stop_signal_at_first() -> Setup {
    silent(vec![silence(Some(30)), rung(Signal::INT, None)])
}

fn silent(ladder: Vec<Rung>) -> Setup {
    Setup {
        signals: vec![from_process(Signal::TERM), from_process(Signal::HUP)],
        descendants: vec![true, false],
        lingers: 1,
        ..setup(Plan {
            ladder,
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: PerPhase { on_stop: vec![decisive(0), hook(0)], ..PerPhase::default() },
            ..plain()
        })
    }
}

/// Pauses with jitter.
pub(super) fn jittered() -> Setup {
    Setup {
        surroundings: Surroundings { jitter: 0x5eed, ..Surroundings::default() },
        ..app_alone(Plan {
            hooks: PerPhase {
                pre_start: vec![hook(1)],
                pre_stop: vec![hook(1)],
                on_stop: vec![hook(1)],
                ..PerPhase::default()
            },
            ..plain()
        })
    }
}
