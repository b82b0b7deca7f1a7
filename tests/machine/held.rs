//! Signals that are held for an app that does not exist yet: more than a small configuration has.

use graceinit::machine::Received;
use graceinit::machine::plan::PerPhase;
use graceinit::types::{Signal, Status};

use super::choice::Choice;
use super::explore::tell;
use super::life::Life;
use super::promises::Broken;
use super::setups;
use super::world::{Setup, from_process};

/// Performs all choices and checks every promise at each step.
fn happen(life: &mut Life, setup: &Setup, story: &[Choice]) {
    for (place, &choice) in story.iter().enumerate() {
        let kept = life.step(setup, choice).and_then(|()| life.judge_sleep(setup));
        if let Err(broken) = kept {
            panic!("{}", tell(setup, None, &Broken { story: story[..=place].to_vec(), ..broken }));
        }
    }
}

/// As in the kernel, real-time signals queue, each with its value, up to a limit.
#[test]
fn sixty_four_signals_wait_for_the_app() {
    let mut setup = setups::held_until_ready();
    let real_time = from_process(Signal::new(40).unwrap());
    let valued = |value| Received { value: Some(value), ..real_time };
    setup.signals = (0..70).map(valued).chain([from_process(Signal::HUP)]).collect();
    setup.plan.hooks =
        PerPhase { pre_start: setup.plan.hooks.pre_start.clone(), ..PerPhase::default() };
    let mut life = Life::new(&setup, None);
    happen(&mut life, &setup, &[Choice::Begins, Choice::HookRuns]);
    happen(&mut life, &setup, &(0..71).map(Choice::Arrives).collect::<Vec<_>>());
    assert_eq!(life.ledger.held.len(), 64);
    let ends = Choice::HookEnds { place: 0, status: Status::Code(0), leaves_a_descendant: false };
    happen(&mut life, &setup, &[ends, Choice::AppIsForked, Choice::Executed]);
    assert_eq!(life.ledger.held_for_ready.len(), 64, "the app is not ready");
    happen(&mut life, &setup, &[Choice::AppSays(0)]);
    assert!(life.ledger.held_for_ready.is_empty(), "all were forwarded");
}
