//! What the loop asks the machine between two events.

use graceinit::machine::attempt::{HookId, HookPhase};
use graceinit::machine::fact::{Fact, Reason};
use graceinit::machine::plan::{Condition, Diagnose, PerPhase, Plan, Scope, Surroundings};
use graceinit::machine::{Action, Event, Machine, Target};
use graceinit::types::{Signal, SignalSet, Status, Time};

use super::serving::{busy, drain};
use super::setups::{self, plain};
use super::story::seconds;
use super::world::{from_kernel, from_process, ms, rung};

const NOW: Time = Time(1_000_000_000_000);

fn plan() -> Plan {
    Plan { grace: seconds(10), grace_max: seconds(10), leftovers: seconds(10), ..plain() }
}

/// All of this happened at once.
fn after(plan: Plan, events: &[Event]) -> Machine {
    let mut machine = Machine::new(plan, Surroundings::default());
    handle(&mut machine, NOW, Event::Begun);
    for event in events {
        handle(&mut machine, NOW, *event);
    }
    machine
}

fn handle(machine: &mut Machine, now: Time, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    machine.handle(now, event, &mut out);
    out
}

fn term() -> Event {
    Event::Signal(from_process(Signal::TERM))
}

#[test]
fn the_end_of_the_app_has_its_time() {
    let mut machine = after(plan(), &[Event::AppExecuted]);
    assert_eq!(machine.ended_at(), None);
    handle(&mut machine, NOW.after(ms(30)), Event::AppExited(Status::Code(3)));
    handle(&mut machine, NOW.after(ms(50)), Event::Tick);
    assert_eq!(machine.ended_at(), Some(NOW.after(ms(30))));
}

#[test]
fn a_signal_diagnoses_only_while_the_budget_runs() {
    let diagnose = Some(Diagnose { signal: Signal::QUIT, lead: seconds(1) });
    let diagnoses = |plan: Plan, events: &[Event]| {
        let machine = after(plan, events);
        [Signal::QUIT, Signal::TERM].map(|signal| machine.is_diagnosing(signal))
    };
    let plan = || Plan { diagnose, ..plan() };
    assert_eq!(diagnoses(plan(), &[Event::AppExecuted]), [false, false]);
    assert_eq!(diagnoses(plan(), &[Event::AppExecuted, term()]), [true, false]);
    let none = Plan { diagnose: None, ..plan() };
    assert_eq!(diagnoses(none, &[Event::AppExecuted, term()]), [false, false]);
}

#[test]
fn what_the_app_has_to_meet_is_told_while_it_runs() {
    let ready = vec![Condition::Notify, Condition::Newline];
    let plan = || Plan { ready: ready.clone(), drain: Some(drain(true, 0, 0, None)), ..plan() };
    let told = |events: &[Event]| {
        let machine = after(plan(), events);
        (machine.missing(), machine.is_waiting(), machine.ready())
    };
    let all = [Event::AppExecuted, Event::ConditionHolds(1), Event::Listening(true)];
    assert_eq!(told(&[]), (None, false, false));
    assert_eq!(told(&all[..1]), (Some((0b11, true)), true, false));
    assert_eq!(told(&all[..2]), (Some((0b01, true)), true, false));
    assert_eq!(told(&all), (Some((0b01, false)), true, false));
    let ready = [&all[..], &[Event::ConditionHolds(0)]].concat();
    assert_eq!(told(&ready), (Some((0, false)), false, true));
    assert_eq!(told(&[&ready[..], &[term()]].concat()), (None, false, false));
}

#[test]
fn an_app_may_serve_until_it_is_asked_has_ended_or_has_failed() {
    let plan = || Plan { drain: Some(drain(true, 5_000, 0, None)), ..plan() };
    let drains = [Event::AppExecuted, Event::Listening(true), term()];
    let serves = |plan: Plan, events: &[Event]| after(plan, events).may_serve();
    assert!(!serves(plan(), &drains[..2]), "no stop has begun");
    assert!(serves(plan(), &drains));
    assert!(!serves(Plan { drain: None, ..plan() }, &drains), "it was asked");
    let ended = [&drains[..], &[Event::AppExited(Status::Code(0))]].concat();
    assert!(!serves(plan(), &ended));
    let failed = Event::Notice(graceinit::machine::ready::Notice::Dead);
    let hooks = PerPhase { pre_stop: vec![setups::hook(0)], ..PerPhase::default() };
    let hooked = || Plan { hooks: hooks.clone(), ..plan() };
    assert!(serves(hooked(), &drains));
    assert!(!serves(hooked(), &[Event::AppExecuted, Event::Listening(true), failed]));
}

#[test]
fn the_end_of_a_probe_counts_while_the_app_is_not_ready() {
    let plan = || Plan { ready: vec![Condition::Probe, Condition::Notify], ..plan() };
    let probe = HookId { phase: HookPhase::Ready, round: 0, index: 0, attempt: 1 };
    let awaits = |events: &[Event], id| after(plan(), events).awaits_probe(id);
    assert!(awaits(&[Event::AppExecuted], probe));
    assert!(!awaits(&[], probe));
    assert!(!awaits(&[Event::AppExecuted], HookId { attempt: 2, ..probe }));
    assert!(!awaits(&[Event::AppExecuted], HookId { phase: HookPhase::Drained, ..probe }));
    assert!(!awaits(&[Event::AppExecuted, term()], probe), "it was killed");
}

#[test]
fn a_drain_has_a_moment_and_an_end() {
    let plan = || Plan { drain: Some(drain(true, 2_000, 0, None)), ..plan() };
    let mut machine = after(plan(), &[Event::AppExecuted, Event::Listening(true)]);
    assert_eq!((machine.drain_end(), machine.drain_moment(NOW)), (None, Default::default()));
    handle(&mut machine, NOW, term());
    handle(&mut machine, NOW, Event::Sampled(busy()));
    // A quarter of the budget is the app's.
    assert_eq!(machine.drain_end(), Some(NOW.after(ms(7_500))));
    let moment = machine.drain_moment(NOW.after(ms(500)));
    assert_eq!((moment.at, moment.delay_left), (ms(500), ms(1_500)));
    assert_eq!(moment.left, Some(ms(7_000)));
    let max = Plan { drain: Some(drain(true, 2_000, 3_000, None)), ..plan() };
    let machine = after(max, &[Event::AppExecuted, Event::Listening(true), term()]);
    assert_eq!(machine.drain_end(), Some(NOW.after(seconds(3))));
}

#[test]
fn from_the_second_stop_signal_on_mixed_is_the_tree() {
    let ladder = vec![rung(Signal::TERM, Some(1_000)), rung(Signal::INT, None)];
    let target = |scope, at| {
        let plan = Plan { scope, ladder: ladder.clone(), ..plan() };
        let mut machine = after(plan, &[Event::AppExecuted, term()]);
        handle(&mut machine, NOW.after(at), Event::Tick);
        machine.scope_target()
    };
    assert_eq!([ms(0), seconds(1)].map(|at| target(Scope::Mixed, at)), [Target::App, Target::Tree]);
    for (scope, expected) in [
        (Scope::Group, Target::Group),
        (Scope::Main, Target::App),
        (Scope::Auto, Target::App),
        (Scope::Tree, Target::Tree),
    ] {
        assert_eq!([ms(0), seconds(1)].map(|at| target(scope, at)), [expected; 2]);
    }
}

#[test]
fn a_signal_that_is_forwarded_may_ask_for_an_end() {
    let mut plan = Plan { stop_on: SignalSet::of(&[Signal::QUIT]), ..plan() };
    plan.rewrite.set(Signal::HUP, Some(Signal::TERM));
    plan.rewrite.set(Signal::INT, Some(Signal::STOP));
    plan.rewrite.set(Signal::QUIT, Some(Signal::TERM));
    let machine = after(plan, &[Event::AppExecuted]);
    let asks = |signal| machine.asks_for_an_end(signal);
    assert!(asks(Signal::TERM) && asks(Signal::HUP));
    assert!(!asks(Signal::INT) && !asks(Signal::WINCH) && !asks(Signal::STOP));
    assert!(!asks(Signal::QUIT), "a stop request");
}

#[test]
fn a_hook_is_about_its_reload_or_about_the_stop() {
    let hooks = PerPhase {
        on_ready: vec![setups::hook(0)],
        on_reload: vec![setups::hook(0)],
        ..PerPhase::default()
    };
    let reload_on = SignalSet::of(&[Signal::HUP]);
    let mut machine = after(Plan { hooks, reload_on, ..plan() }, &[Event::AppExecuted]);
    handle(&mut machine, NOW, Event::Signal(from_kernel(Signal::HUP)));
    assert_eq!(machine.occasion(), None, "the on-ready hook runs");
    let id = HookId::first(HookPhase::OnReady, 0);
    handle(&mut machine, NOW, Event::HookExited(id, Status::Code(0)));
    assert_eq!(machine.occasion(), Some((Signal::HUP, None)));
    handle(&mut machine, NOW, term());
    assert_eq!(machine.occasion(), Some((Signal::TERM, Some(7))));
    assert_eq!(machine.stop_request(), machine.occasion());
}

#[test]
fn a_signal_that_waited_for_readiness_is_told_when_a_stop_begins() {
    let hooks = PerPhase { pre_start: vec![setups::hook(0)], ..PerPhase::default() };
    let plan = Plan { hooks, ready: vec![Condition::Notify], ..plan() };
    let hup = Event::Signal(from_process(Signal::HUP));
    let ends = Event::HookExited(HookId::first(HookPhase::PreStart, 0), Status::Code(0));
    let lost = Action::Record(Fact::TooEarly { signal: Signal::HUP });
    for begun in [&[hup, ends][..], &[hup, ends, Event::AppExecuted]] {
        let mut machine = after(plan.clone(), begun);
        let out = handle(&mut machine, NOW, term());
        assert_eq!(out.iter().filter(|action| **action == lost).count(), 1, "{out:?}");
    }
}

#[test]
fn reasons_have_the_names_that_hooks_know() {
    let names = [
        (Reason::Signal, "signal"),
        (Reason::Exit, "exit"),
        (Reason::Crash, "crash"),
        (Reason::Deadline, "deadline"),
        (Reason::NotReady, "not-ready"),
        (Reason::OutOfMemory, "oom"),
    ];
    for (reason, name) in names {
        assert_eq!(reason.as_str(), name);
    }
}
