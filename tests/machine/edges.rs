//! Further stories: what may happen at the edges of a start and of a stop. `story` has the language.

use graceinit::machine::attempt::HookPhase::{PreStart, PreStop};
use graceinit::machine::attempt::{HookId, HookPhase};
use graceinit::machine::connections;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{
    Condition, HookLimits, OnFailure, PerPhase, Plan, Scope, StopAgain, Surroundings,
};
use graceinit::machine::ready::Notice;
use graceinit::machine::{Action, Event, Machine};
use graceinit::types::{Signal, Status, Time};

use super::serving::{busy, drain};
use super::setups::plain;
use super::story::{seconds, story, story_of_a_running_app};
use super::world::{from_process, ms};

fn plan() -> Plan {
    Plan {
        grace: seconds(10),
        grace_max: seconds(30),
        leftovers: seconds(10),
        post_stop_timeout: seconds(5),
        scope: Scope::Main,
        ..plain()
    }
}

fn hook() -> HookLimits {
    HookLimits { timeout: seconds(3), retries: 0, backoff: ms(0), on_failure: OnFailure::Warn }
}

#[test]
fn a_second_request_in_the_drain_kills_and_asks_no_process() {
    let on_stop = vec![hook()];
    let hooks = PerPhase { on_stop, ..PerPhase::default() };
    let drains = Some(drain(true, 5_000, 0, None));
    story_of_a_running_app(Plan { hooks, drain: drains, stop_again: StopAgain::Kill, ..plan() })
        .happens(Event::Listening(true))
        .receives(from_process(Signal::TERM))
        .is("drain")
        .happens(Event::Sampled(busy()))
        .receives(from_process(Signal::TERM))
        .does(&["record survivors"])
        .after(ms(99))
        .does_nothing()
        .after(ms(1))
        .does(&["report survivors", "KILL to the tree"])
        .is("killed");
}

#[test]
fn a_second_request_in_pre_stop_starts_no_further_hook() {
    let hooks = PerPhase { pre_stop: vec![hook()], on_stop: vec![hook()], ..PerPhase::default() };
    story_of_a_running_app(Plan { hooks, stop_again: StopAgain::Kill, ..plan() })
        .receives(from_process(Signal::TERM))
        .does(&["not ready", "start pre-stop 0"])
        .receives(from_process(Signal::TERM))
        .does(&["record survivors"])
        .hook_exits(PreStop, 0, 0)
        .does_nothing()
        .happens(Event::SurvivorsRecorded)
        .does(&["report survivors", "KILL to the tree"]);
}

#[test]
fn more_time_before_readiness_moves_the_ready_timeout() {
    let ready = vec![Condition::Notify];
    story_of_a_running_app(Plan { ready, ready_timeout: Some(seconds(3)), ..plan() })
        .after(seconds(2))
        .app_says(Notice::MoreTime(seconds(6)))
        .does(&["ask for 6s more"])
        .after(ms(5_999))
        .does_nothing()
        // Less than it has already.
        .app_says(Notice::MoreTime(ms(1)))
        .does_nothing()
        .app_says(Notice::Ready)
        .does(&["ready"])
        .is("ready");
}

#[test]
fn the_time_that_more_time_gives_has_an_end() {
    let ready = vec![Condition::Notify];
    story_of_a_running_app(Plan { ready, ready_timeout: Some(seconds(3)), ..plan() })
        .app_says(Notice::MoreTime(seconds(6)))
        .after(seconds(6))
        .does(&["not ready", "TERM to the app"])
        .is("stopping");
}

#[test]
fn a_machine_that_stood_still_gives_the_app_its_time_again() {
    let ready = vec![Condition::Notify];
    story_of_a_running_app(Plan { ready, ready_timeout: Some(seconds(3)), ..plan() })
        .app_says(Notice::Interval(seconds(1)))
        .after(ms(900))
        // Frozen for a minute, in which no time passes for the app.
        .happens(Event::StoodStill(seconds(60)))
        .does_nothing()
        .after(ms(999))
        .does_nothing()
        .app_says(Notice::Alive)
        .happens(Event::StoodStill(seconds(60)))
        .after(ms(999))
        .does_nothing()
        // Once between two keep-alives: an app that hangs on a slow machine is noticed.
        .happens(Event::StoodStill(seconds(60)))
        .after(ms(1))
        .does(&["not ready", "TERM to the app"]);
}

#[test]
fn a_tstp_that_the_app_has_not_taken_survives_the_stop_signal() {
    story_of_a_running_app(plan())
        .receives(from_process(Signal::TERM))
        // CONT would discard it.
        .does(&["not ready", "TERM to the app"])
        .happens(Event::AppStopped { signal: Signal::TSTP, ours: false })
        .does(&["CONT to the app"])
        .happens(Event::AppStopped { signal: Signal::STOP, ours: false })
        .does_nothing();
}

#[test]
fn a_stopped_app_is_continued_with_the_stop_signal() {
    story_of_a_running_app(plan())
        .happens(Event::AppStopped { signal: Signal::STOP, ours: false })
        .does_nothing()
        .receives(from_process(Signal::TERM))
        .does(&["not ready", "TERM to the app", "CONT to the app"]);
}

#[test]
fn reloads_before_the_start_wait_for_readiness_or_are_dropped() {
    let pre_start = || PerPhase { pre_start: vec![hook()], ..PerPhase::default() };
    story(Plan { hooks: pre_start(), ..plan() })
        .receives(from_process(Signal::HUP))
        .receives(from_process(Signal::WINCH))
        .hook_exits(PreStart, 0, 0)
        .does(&["start the app", "WINCH to the app"]);
    let ready = vec![Condition::Notify];
    story(Plan { hooks: pre_start(), ready, ..plan() })
        .receives(from_process(Signal::HUP))
        .hook_exits(PreStart, 0, 0)
        .does(&["start the app"])
        .happens(Event::AppExecuted)
        .does_nothing()
        .app_says(Notice::Ready)
        .does(&["ready", "HUP to the app"]);
}

/// How many hooks the machine starts for this event.
fn started(machine: &mut Machine, now: Time, event: Event) -> usize {
    let mut out = Vec::new();
    machine.handle(now, event, &mut out);
    out.iter().filter(|action| matches!(action, Action::StartHook { .. })).count()
}

/// A probe in uninterruptible sleep does not die of SIGKILL.
#[test]
fn probes_that_do_not_die_do_not_pile_up() {
    let plan = Plan { ready: vec![Condition::Probe], probe_timeout: seconds(1), ..plan() };
    let mut machine = Machine::new(plan, Surroundings::default());
    let mut now = Time::default().after(seconds(1000));
    started(&mut machine, now, Event::Begun);
    assert_eq!(started(&mut machine, now, Event::AppExecuted), 1);
    now = machine.next_wakeup().expect("a timeout");
    assert_eq!(started(&mut machine, now, Event::Tick), 0, "killed");
    // Apart from the warning that the app is not ready, nothing is left to wake up for but its end.
    now = machine.next_wakeup().expect("the warning");
    assert_eq!(started(&mut machine, now, Event::Tick), 0);
    assert_eq!(machine.next_wakeup(), None);
    now = now.after(seconds(3600));
    assert_eq!(started(&mut machine, now, Event::Tick), 0);
    let id = HookId::first(HookPhase::Ready, 0);
    started(&mut machine, now, Event::HookExited(id, Status::Signal(Signal::KILL)));
    now = now.max(machine.next_wakeup().expect("the next attempt"));
    assert_eq!(started(&mut machine, now, Event::Tick), 1);
}

/// Nor does a child that asks for the app's own word: until it is gone, no other one is started.
#[test]
fn looks_of_drained_that_do_not_die_do_not_pile_up() {
    let word = connections::Plan { words: 1, ..drain(false, 0, 0, None) };
    let plan = Plan { drain: Some(word), ..plan() };
    let mut machine = Machine::new(plan, Surroundings::default());
    let mut now = Time::default().after(seconds(1000));
    started(&mut machine, now, Event::Begun);
    started(&mut machine, now, Event::AppExecuted);
    assert_eq!(started(&mut machine, now, Event::Signal(from_process(Signal::TERM))), 1);
    now = machine.next_wakeup().expect("the end of the look");
    assert_eq!(started(&mut machine, now, Event::Tick), 0, "killed");
    let mut other = machine.clone();
    while machine.phase().name() == PhaseName::Drain {
        now = machine.next_wakeup().expect("the end of the drain at the latest");
        assert_eq!(started(&mut machine, now, Event::Tick), 0);
    }
    let id = HookId::first(HookPhase::Drained, 0);
    let killed = Event::HookExited(id, Status::Signal(Signal::KILL));
    let mut found = started(&mut other, now, killed);
    while other.phase().name() == PhaseName::Drain && found == 0 {
        let next = other.next_wakeup().expect("the next look");
        found += started(&mut other, next, Event::Tick);
    }
    assert_eq!(found, 1);
}

/// What the status line says of a Ctrl-C.
#[test]
fn a_second_ctrl_c_kills_once_and_not_if_it_is_to_be_ignored() {
    for stop_again in [StopAgain::Default, StopAgain::Kill, StopAgain::Ignore] {
        let mut machine = Machine::new(Plan { stop_again, ..plan() }, Surroundings::default());
        let mut kills = Vec::new();
        for event in [
            Event::Begun,
            Event::AppExecuted,
            Event::Signal(from_process(Signal::INT)),
            Event::Signal(from_process(Signal::INT)),
        ] {
            machine.handle(Time::default().after(seconds(1000)), event, &mut Vec::new());
            kills.push(machine.again_kills());
        }
        let may = stop_again != StopAgain::Ignore;
        assert_eq!(kills[..3], [false, false, may], "{stop_again:?}");
        assert_eq!(kills[3], stop_again == StopAgain::Default, "{stop_again:?}");
    }
}
