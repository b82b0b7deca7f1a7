//! Long lives of plans that nobody would think of, with wake-ups that come too early and too late.

use std::cell::Cell;

use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{
    ExitRules, HookLimits, OnFailure, PerPhase, Plan, Rewrite, Rung, Scope, StopAgain,
};
use graceinit::machine::{Origin, Received};
use graceinit::types::{Signal, SignalSet, Status, Time};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::life::Life;
use super::promises::{Broken, Promise, kept};
use super::world::{Choice, Setup, ms};

/// Signals that mean something to the machine, and some that do not.
const SIGNALS: [Signal; 10] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::CONT,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
    Signal::WINCH,
    Signal::URG,
];

fn signal() -> impl Strategy<Value = Signal> {
    prop::sample::select(SIGNALS.to_vec())
}

fn received() -> impl Strategy<Value = Received> {
    let origin = prop_oneof![Just(Origin::Kernel), (0..9i32).prop_map(Origin::Process)];
    let kind = prop_oneof![1 => Just(Signal::TERM), 1 => Just(Signal::INT), 4 => signal()];
    (kind, origin, option::of(0..99usize)).prop_map(|(signal, origin, value)| Received {
        signal,
        origin,
        value,
    })
}

fn hooks() -> impl Strategy<Value = Vec<HookLimits>> {
    let hook =
        (1..10_000u64, 0..4u32, 0..2000u64).prop_map(|(timeout, retries, backoff)| HookLimits {
            timeout: ms(timeout),
            retries,
            backoff: ms(backoff),
            on_failure: OnFailure::Warn,
        });
    vec(hook, 0..4)
}

fn ladder() -> impl Strategy<Value = Vec<Rung>> {
    let wait = option::of((1..20_000u64).prop_map(ms));
    vec((signal(), wait).prop_map(|(signal, wait)| Rung { signal: Some(signal), wait }), 0..4)
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    vec((signal(), option::of(signal())), 0..3).prop_map(|pairs| {
        let mut rewrite = Rewrite::default();
        pairs.into_iter().for_each(|(from, to)| rewrite.set(from, to));
        rewrite
    })
}

fn span(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 1 => 1..50u64, 6 => 50..most]
}

fn plan() -> impl Strategy<Value = Plan> {
    let scopes = vec![Scope::Group, Scope::Main, Scope::Mixed, Scope::Tree];
    let again = vec![StopAgain::Ignore, StopAgain::Kill, StopAgain::Default];
    let codes = || vec(prop::sample::select(vec![0u8, 1, 3, 137, 143]), 0..2);
    let exit = (codes(), codes(), option::of(Just(9u8)))
        .prop_map(|(always_ok, stop_ok, killed)| ExitRules { always_ok, stop_ok, killed });
    let times = (span(20_000), span(5000));
    let taste = (prop::sample::select(scopes), prop::sample::select(again), any::<(bool, bool)>());
    (times, ladder(), rewrite(), taste, (hooks(), hooks(), hooks()), exit).prop_map(
        |(times, ladder, rewrite, (scope, stop_again, (terminal, suspendable)), hooks, exit)| {
            Plan {
                grace: ms(times.0),
                post_stop_timeout: ms(times.1),
                stop_on: SignalSet::of(&[Signal::TERM, Signal::INT]),
                ladder,
                scope,
                rewrite,
                stop_again,
                grace_max: ms(times.0),
                diagnose: None,
                reload_on: SignalSet::default(),
                hooks: PerPhase {
                    pre_stop: hooks.0,
                    on_stop: hooks.1,
                    post_stop: hooks.2,
                    ..PerPhase::default()
                },
                jitter: 0,
                exit,
                terminal,
                suspendable,
            }
        },
    )
}

fn setup() -> impl Strategy<Value = Setup> {
    let world = (vec(received(), 1..16), vec(any::<bool>(), 0..4), 0..4u8, 0..4u8);
    (plan(), world).prop_map(|(plan, (signals, strays, newcomers, stops))| Setup {
        more_time: Vec::new(),
        app_stops: if plan.terminal { vec![Signal::TSTP, Signal::TTIN] } else { Vec::new() },
        plan,
        endings: vec![Status::Code(0), Status::Code(3), Status::Signal(Signal::QUIT)],
        signals,
        stops,
        strays,
        newcomers,
        lingers: 0,
        fork_fails: true,
    })
}

/// What fate decides at one step.
#[derive(Clone, Copy, Debug)]
struct Dice {
    which: usize,
    /// Prefer to let time pass.
    patient: bool,
    /// Wake up this late, if more than zero, or in this part of the wait.
    late: u64,
    part: Option<u8>,
}

fn dice() -> impl Strategy<Value = Dice> {
    let late = prop_oneof![8 => Just(0u64), 1 => 1..40u64, 1 => 40..9000u64];
    let part = prop_oneof![3 => Just(None), 1 => any::<u8>().prop_map(Some)];
    (0..1000usize, any::<bool>(), late, part).prop_map(|(which, patient, late, part)| Dice {
        which,
        patient,
        late,
        part,
    })
}

fn pick(life: &Life, setup: &Setup, dice: Dice) -> Option<Choice> {
    let choices = life.choices(setup);
    let wait = |choice: &Choice| matches!(choice, Choice::Wait(_) | Choice::Tick);
    let patient = choices.iter().copied().find(|choice| dice.patient && wait(choice));
    let choice = patient.or_else(|| choices.get(dice.which % choices.len().max(1)).copied())?;
    let Choice::Wait(due) = choice else { return Some(choice) };
    let now = life.world.now;
    Some(Choice::Wait(match dice.part {
        Some(part) => Time(now.0 + due.since(now).as_nanos() as u64 / 256 * u64::from(part)),
        None => due.after(ms(dice.late)),
    }))
}

/// Lives by the dice, then lets nothing happen any more.
fn live(setup: &Setup, dice: &[Dice]) -> Result<Life, Broken> {
    let mut life = Life::new(setup, None);
    let mut story = Vec::new();
    let mut steps = |life: &mut Life, choice| {
        story.push(choice);
        let told = |broken| Broken { story: story.clone(), ..broken };
        life.step(setup, choice).map_err(told)?;
        life.judge_sleep(setup).map_err(told)
    };
    for &dice in dice {
        let Some(choice) = pick(&life, setup, dice) else { break };
        steps(&mut life, choice)?;
    }
    // Far more than the looks for leftovers in the longest budget.
    for _ in 0..2000 {
        let Some(choice) = life.quiet_choice().filter(|_| !life.is_over()) else { break };
        steps(&mut life, choice)?;
    }
    let done = life.is_over() || life.ledger.phase <= PhaseName::Running;
    kept(done, Promise::Terminates, || "it does not end")?;
    Ok(life)
}

#[test]
fn long_random_lives_keep_every_promise() {
    let config = Config { cases: 30_000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let (ended, killed, late, hooked) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |cell: &Cell<u32>, yes: bool| cell.set(cell.get() + u32::from(yes));
    let lives = (setup(), vec(dice(), 1..120));
    let all_kept = runner.run(&lives, |(setup, dice)| {
        let life = live(&setup, &dice)
            .map_err(|broken| TestCaseError::fail(super::explore::tell(&setup, None, &broken)))?;
        count(&ended, life.is_over());
        count(&killed, life.ledger.was_killed());
        count(&late, life.is_over() && !life.ledger.late.is_zero());
        count(&hooked, life.ledger.ran_post_stop_hooks());
        Ok(())
    });
    if let Err(error) = all_kept {
        panic!("{error}");
    }
    // The lives were worth living: far below what is usual, so that chance does not decide.
    let counts = [&ended, &killed, &late, &hooked].map(Cell::get);
    assert!(counts.iter().all(|&count| count > 2000), "ended, killed, late, hooked: {counts:?}");
    super::explore::report(&format!(
        "machine: random lives ended, killed, late, hooked: {counts:?}\n"
    ));
}
