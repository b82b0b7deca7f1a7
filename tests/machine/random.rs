//! Long lives of random plans, with wake-ups that come too early and too late.

use std::cell::RefCell;

use graceinit::machine::budget::ENDLESS;
use graceinit::machine::connections::{self, Sample};
use graceinit::machine::fact::DrainEnd;
use graceinit::machine::phase::Failure;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{
    ChildOom, Condition, Diagnose, Ending, ExitRules, HookLimits, OnFailure, PerPhase, Plan,
    Rewrite, Rung, Scope, StopAgain, Surroundings, Wait,
};
use graceinit::machine::ready::Notice;
use graceinit::machine::{Event, Origin, Received};
use graceinit::types::{Pid, Signal, SignalSet, Status, Time};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::choice::Choice;
use super::hooks::Turn;
use super::ledger::budget_of;
use super::life::{Life, RECORDED};
use super::promises::{Broken, Promise, kept};
use super::serving;
use super::world::{Setup, SurvivorScan, from_kernel, ms};

/// Signals with a meaning for the machine, and some without.
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
    let real_time = (34..64).prop_filter_map("a signal", Signal::new);
    prop_oneof![10 => prop::sample::select(SIGNALS.to_vec()), 1 => real_time]
}

fn received() -> impl Strategy<Value = Received> {
    let origin = prop_oneof![Just(Origin::Kernel), (0..9i32).prop_map(Origin::Process)];
    let kind = prop_oneof![
        1 => Just(Signal::TERM),
        1 => Just(Signal::INT),
        2 => Just(Signal::HUP),
        4 => signal(),
    ];
    (kind, origin, option::of(0..99usize)).prop_map(|(signal, origin, value)| Received {
        signal,
        origin,
        value,
    })
}

fn hooks(most: usize) -> impl Strategy<Value = Vec<HookLimits>> {
    let on_failure = prop::sample::select(vec![OnFailure::Warn, OnFailure::Abort]);
    let hook = (1..10_000u64, 0..4u32, 0..2000u64, on_failure);
    let hook = hook.prop_map(|(timeout, retries, backoff, on_failure)| HookLimits {
        timeout: ms(timeout),
        retries,
        backoff: ms(backoff),
        on_failure,
    });
    vec(hook, 0..=most)
}

fn every_hook() -> impl Strategy<Value = PerPhase<Vec<HookLimits>>> {
    let of_life = (prop_oneof![2 => Just(Vec::new()), 1 => hooks(2)], hooks(1), hooks(2));
    (of_life, hooks(3), hooks(3), hooks(3)).prop_map(
        |((pre_start, on_ready, on_reload), pre_stop, on_stop, post_stop)| PerPhase {
            pre_start,
            on_ready,
            on_reload,
            pre_stop,
            on_stop,
            post_stop,
            ready: Vec::new(),
            drained: Vec::new(),
        },
    )
}

fn ladder() -> impl Strategy<Value = Vec<Rung>> {
    let wait = option::of((1..20_000u64).prop_map(ms));
    let signal = option::weighted(0.8, signal());
    vec((signal, wait).prop_map(|(signal, wait)| Rung { signal, wait: wait.map(Wait::For) }), 0..4)
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    let to = prop_oneof![9 => signal(), 1 => Just(Signal::STOP)];
    vec((signal(), option::of(to)), 0..3).prop_map(|pairs| {
        let mut rewrite = Rewrite::default();
        pairs.into_iter().for_each(|(from, to)| rewrite.set(from, to));
        rewrite
    })
}

fn span(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 1 => 1..50u64, 6 => 50..most]
}

/// The settings about signals: the ladder, the rewrites, reload signals, the diagnose signal.
fn sending() -> impl Strategy<Value = (Vec<Rung>, Rewrite, SignalSet, Option<Diagnose>)> {
    let reload_on = vec(prop_oneof![1 => Just(Signal::HUP), 1 => signal()], 0..4);
    let diagnose =
        (signal(), span(20_000)).prop_map(|(signal, lead)| Diagnose { signal, lead: ms(lead) });
    let reload_on = reload_on.prop_map(|signals| SignalSet::of(&signals));
    (ladder(), rewrite(), reload_on, option::of(diagnose))
}

fn plan() -> impl Strategy<Value = (Plan, Surroundings)> {
    let scopes = vec![Scope::Auto, Scope::Group, Scope::Main, Scope::Mixed, Scope::Tree];
    let again = vec![StopAgain::Ignore, StopAgain::Kill, StopAgain::Default];
    let codes = || vec(prop::sample::select(vec![0u8, 1, 3, 137, 143]), 0..2);
    let exit = (codes(), codes(), option::of(Just(9u8)), option::of(Just(33u8))).prop_map(
        |(always_ok, stop_ok, killed, oom)| ExitRules {
            always_ok,
            stop_ok,
            killed,
            oom,
            ..ExitRules::default()
        },
    );
    let child_oom = prop::sample::select(vec![ChildOom::Note, ChildOom::Stop]);
    let exit = (exit, child_oom);
    let times = (span(20_000), span(60_000), span(5000), span(9000));
    let taste = (prop::sample::select(scopes), prop::sample::select(again), any::<(bool, bool)>());
    let endless = prop::bool::weighted(0.2);
    let kind = (prop::bool::weighted(0.9), prop::bool::weighted(0.3));
    let usual = SignalSet::of(&[Signal::TERM, Signal::INT]);
    let jitter = prop_oneof![Just(0), any::<u64>()];
    let limit = option::weighted(0.3, span(5000));
    let serving = (conditions(), limit, draining(), option::weighted(0.2, 1..5000u64));
    ((times, endless, kind), sending(), taste, (every_hook(), jitter), (exit, serving)).prop_map(
        move |(
            (times, endless, (stops, session)),
            sending,
            (scope, stop_again, (terminal, suspendable)),
            hooks,
            (exit, serving),
        )| {
            let (ready, limit, drain, watchdog) = serving;
            let surroundings = Surroundings {
                terminal: terminal || session,
                suspendable,
                watchdog: watchdog.map(ms),
                jitter: hooks.1,
            };
            let plan = Plan {
                ready,
                ready_timeout: limit.map(ms),
                probe_timeout: ms(1000),
                drain,
                grace: if endless { ENDLESS } else { ms(times.0) },
                grace_max: ms(times.1),
                leftovers: ms(times.3),
                post_stop_timeout: ms(times.2),
                stop_on: if stops { usual } else { SignalSet::default() },
                ladder: sending.0,
                scope,
                rewrite: sending.1,
                stop_again,
                diagnose: sending.3,
                reload_on: sending.2,
                hooks: hooks.0,
                exit: exit.0,
                child_oom: exit.1,
                session,
            };
            (plan, surroundings)
        },
    )
}

fn said() -> impl Strategy<Value = Event> {
    let notice = prop_oneof![
        3 => span(30_000).prop_map(|span| Notice::MoreTime(ms(span))),
        6 => Just(Notice::Ready),
        1 => Just(Notice::Stopping),
        2 => Just(Notice::Alive),
        1 => Just(Notice::Dead),
        1 => span(5000).prop_map(|span| Notice::Interval(ms(span))),
        1 => Just(Notice::MainPid(Pid(9))),
    ];
    let holds = (0..4usize).prop_map(Event::ConditionHolds);
    prop_oneof![
        12 => notice.prop_map(Event::Notice),
        4 => holds,
        1 => Just(Event::ChildOutOfMemory),
    ]
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let signal = prop::sample::select(vec![Signal::HUP, Signal::URG, Signal::CONT, Signal::TERM]);
    let condition = prop_oneof![
        2 => Just(Condition::Notify),
        1 => Just(Condition::Newline),
        1 => signal.prop_map(Condition::Signal),
        1 => span(3000).prop_map(|span| Condition::After(ms(span))),
        2 => Just(Condition::Probe),
    ];
    let all = vec(condition, 1..4).prop_map(|mut conditions| {
        // Only probes may be configured twice.
        let mut seen = Vec::new();
        conditions.retain(|condition| {
            let again = seen.contains(condition) && *condition != Condition::Probe;
            seen.push(*condition);
            !again
        });
        conditions
    });
    prop_oneof![2 => Just(Vec::new()), 1 => all]
}

fn draining() -> impl Strategy<Value = Option<connections::Plan>> {
    let times = (span(3000), prop_oneof![3 => Just(0), 1 => span(4000)], option::of(0..4u32));
    let drain = (prop::bool::weighted(0.7), times)
        .prop_map(|(looks, (delay, max, acks))| serving::drain(looks, delay, max, acks));
    let words = prop_oneof![2 => Just(0), 1 => 1..3usize];
    let drain = (drain, words).prop_map(|(drain, words)| connections::Plan { words, ..drain });
    option::weighted(0.7, drain)
}

fn sample() -> impl Strategy<Value = Sample> {
    let few = || prop_oneof![9 => Just(0u32), 1 => 1..4u32];
    let cost = prop_oneof![3 => Just(0u64), 1 => 1..90u64];
    (few(), few(), few(), option::of(span(100)), cost).prop_map(
        |(busy, owed, queued, next, cost)| Sample {
            over: (busy, owed, queued) == (0, 0, 0),
            busy,
            owed,
            queued,
            cost: ms(cost),
            ..serving::calm(next)
        },
    )
}

fn setup() -> impl Strategy<Value = Setup> {
    let says = vec(said(), 0..9);
    let seen = (vec(sample(), 1..6), 0..5u32, 0..6u8);
    let world = (vec(received(), 1..20), vec(any::<bool>(), 0..4), 0..4u8, 0..4u8, says, seen);
    (plan(), world).prop_map(
        |(
            (plan, surroundings),
            (mut signals, descendants, newcomers, stops, mut says, (samples, acks, not_yet)),
        )| {
            // The loop sends this event for no other condition.
            says.retain(|event| match event {
                Event::ConditionHolds(index) => plan.ready.get(*index) == Some(&Condition::Newline),
                _ => true,
            });
            // A key that only graceinit gets.
            signals.extend(plan.session.then_some(from_kernel(Signal::TSTP)));
            Setup {
                // The process group of a session leader is orphaned, so only SIGSTOP stops it.
                app_stops: if surroundings.terminal && !plan.session {
                    vec![Signal::TSTP, Signal::TTIN, Signal::STOP]
                } else {
                    vec![Signal::STOP]
                },
                plan,
                surroundings,
                endings: vec![Status::Code(0), Status::Code(3), Status::Signal(Signal::QUIT)],
                signals,
                says,
                samples,
                acks,
                not_yet,
                stops,
                descendants,
                newcomers,
                standstills: 0,
                lingers: 0,
                fork_fails: true,
                out_of_memory: true,
            }
        },
    )
}

/// The random choice at one step.
#[derive(Clone, Copy, Debug)]
struct Dice {
    which: usize,
    /// Let time pass if that is possible.
    patient: bool,
    /// The app may end by itself.
    fatal: bool,
    /// By how many milliseconds a tick is late.
    late: u64,
    /// Wake early, after this many 256ths of the time until the tick.
    part: Option<u8>,
}

fn dice() -> impl Strategy<Value = Dice> {
    let late = prop_oneof![8 => Just(0u64), 1 => 1..40u64, 1 => 40..9000u64];
    let part = prop_oneof![3 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let fatal = prop::bool::weighted(0.2);
    (0..1000usize, any::<bool>(), fatal, late, part)
        .prop_map(|(which, patient, fatal, late, part)| Dice { which, patient, fatal, late, part })
}

fn pick(life: &Life, setup: &Setup, dice: Dice) -> Option<Choice> {
    let mut choices = life.choices(setup);
    let fatal = |choice: &Choice| {
        matches!(choice, Choice::AppEnds(_) | Choice::AppRunsOutOfMemory | Choice::NotExecuted)
    };
    if !dice.fatal && !choices.iter().all(fatal) {
        choices.retain(|choice| !fatal(choice));
    }
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

/// The features that random lives have to cover, by name.
fn features(life: &Life, plan: &Plan) -> [(&'static str, bool); 24] {
    let Life { ledger, world, .. } = life;
    let waits = |turn: &Turn| matches!(turn, Turn::Running(_));
    let aborted = [&ledger.pre_start, &ledger.on_ready, &ledger.on_reload, &ledger.on_stop];
    let stopping = ledger.asked.is_some() && ledger.ended.is_none() && ledger.killed.is_none();
    let granted = ledger.budget_end_limit.before(plan.grace_max).after(plan.grace);
    [
        ("ended", life.is_over()),
        ("killed", ledger.was_killed()),
        ("late", life.is_over() && !ledger.late.is_zero()),
        ("post-stop", ledger.ran_post_stop_hooks()),
        ("held", !ledger.held.is_empty()),
        ("forestalled", matches!(ledger.ended, Some((Ending::Forestalled(_), _)))),
        ("aborted", aborted.into_iter().any(|turn| *turn == Turn::Aborted)),
        ("reloading", ledger.reloading.is_some() && waits(&ledger.on_reload)),
        ("diagnosed", ledger.rungs > 0 && plan.diagnose.is_some() && ledger.diagnose_due.is_none()),
        ("extended", stopping && !ledger.hurried && ledger.budget_end > Some(granted)),
        ("ready", ledger.readiness.was_ready && !plan.ready.is_empty()),
        ("not ready", ledger.readiness.failure == Some(Failure::NotReady)),
        ("hung", ledger.readiness.failure == Some(Failure::Watchdog)),
        ("out of memory", matches!(ledger.ended, Some((Ending::OutOfMemory, _)))),
        ("child out of memory", ledger.readiness.failure == Some(Failure::OutOfMemory)),
        ("stops itself", ledger.readiness.over),
        ("quiet", ledger.drain.ended == Some(DrainEnd::Quiet)),
        ("delayed", ledger.drain.ended == Some(DrainEnd::Delay)),
        ("cut off", ledger.drain.ended == Some(DrainEnd::Budget)),
        ("without end", stopping && ledger.begun && ledger.budget_end.is_none()),
        (
            "with an end at last",
            budget_of(plan).is_none() && ledger.was_killed() && !ledger.hurried,
        ),
        ("suspended in its session", ledger.suspended && plan.session),
        (
            "stopped where all signals are forwarded",
            ledger.stopped && plan.stop_on == SignalSet::default(),
        ),
        ("scanned", world.scan == SurvivorScan::Runs),
    ]
}

/// How many lives had each feature.
#[derive(Default)]
struct Features(Vec<(&'static str, u32)>);

impl Features {
    /// Adds the features of one life.
    fn add(&mut self, seen: &[(&'static str, bool)]) {
        for &(name, yes) in seen {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += u32::from(yes),
                None => self.0.push((name, u32::from(yes))),
            }
        }
    }
}

/// Performs the random choices, then only lets time pass. The features of that life.
fn live(setup: &Setup, dice: &[Dice]) -> Result<[(&'static str, bool); 24], Broken> {
    let mut life = Life::new(setup, None);
    let mut seen = features(&life, &setup.plan);
    let mut story = Vec::new();
    let mut steps = |life: &mut Life, choice| {
        story.push(choice);
        let told = |broken| Broken { story: story.clone(), ..broken };
        life.step(setup, choice).map_err(told)?;
        for (all, (_, now)) in seen.iter_mut().zip(features(life, &setup.plan)) {
            all.1 |= now;
        }
        life.judge_sleep(setup).map_err(told)
    };
    for &dice in dice {
        let Some(choice) = pick(&life, setup, dice) else { break };
        steps(&mut life, choice)?;
    }
    // Far more steps than rounds of signals to leftovers, or samples, fit into the longest budget.
    let endless = budget_of(&setup.plan).is_none();
    for _ in 0..if endless { 2000 } else { 20_000 } {
        let Some(choice) = life.quiet_choice().filter(|_| !life.is_over()) else { break };
        steps(&mut life, choice)?;
    }
    // In a budget without an end the app may take for ever.
    let lives = life.ledger.ended.is_none() && !life.ledger.hurried;
    let done = life.is_over() || life.ledger.phase <= PhaseName::Ready || endless && lives;
    kept(done, Promise::Terminates, || "it does not end")?;
    Ok(seen)
}

#[test]
fn long_random_lives_keep_every_promise() {
    let config = Config { cases: 30_000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let features = RefCell::new(Features::default());
    let lives = (setup(), vec(dice(), 1..120));
    let all_kept = runner.run(&lives, |(setup, dice)| {
        RECORDED.replace(Some(Vec::new()));
        let seen = live(&setup, &dice)
            .map_err(|broken| TestCaseError::fail(super::explore::tell(&setup, None, &broken)))?;
        crate::account::agree::check(&RECORDED.take().unwrap_or_default())
            .map_err(TestCaseError::fail)?;
        features.borrow_mut().add(&seen);
        Ok(())
    });
    if let Err(error) = all_kept {
        panic!("{error}");
    }
    // Far below the usual numbers, so that the test does not fail by chance.
    let Features(counts) = features.into_inner();
    assert!(counts.iter().all(|&(_, count)| count > 50), "too few: {counts:?}");
    super::explore::report(&format!("machine: random lives: {counts:?}\n"));
}
