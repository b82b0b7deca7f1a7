//! The drain's rule, alone: every sequence of looks and acknowledgements of a few steps, against the rule
//! in the words of the manual.

use std::time::Duration;

use graceinit::machine::drain::{Look, Sight};
use graceinit::machine::fact::{DrainEnd, Fact};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::Plan;
use graceinit::machine::{Action, Event, Machine};
use graceinit::types::{Signal, Time};

use super::explore::report;
use super::serving::{busy, calm, drain};
use super::setups::plain;
use super::world::{from_process, ms};

const STEPS: usize = 4;
/// The budget ends after 900 ms, and the app keeps a quarter of it.
const GRACE: u64 = 900;
const END: u64 = 675;

/// What a look may show.
fn alphabet() -> [Look; 8] {
    [
        busy(),
        Look { owed: 1, next: ms(60), ..busy() },
        Look { queued: 1, next: ms(1), ..busy() },
        calm(None),
        calm(Some(30)),
        calm(Some(70)),
        Look { sight: Sight::Counts, ..busy() },
        Look { sight: Sight::Blind, ..calm(None) },
    ]
}

/// What was seen, and when; when probes were answered.
#[derive(Clone, Default)]
struct History {
    looks: Vec<(Time, Look)>,
    answers: Vec<Time>,
}

/// Whether the drain that began at `begun` may end with the look that was made last, and so must.
fn may_end(plan: &Plan, begun: Time, history: &History) -> bool {
    let (Some(drain), Some(&(now, last))) = (plan.drain, history.looks.last()) else {
        return false;
    };
    let known = drain.delay <= now.since(begun)
        || drain.acks.is_some_and(|wanted| wanted as usize <= history.answers.len());
    last.over && known
}

/// One drain: how it stands after each step is checked, and every continuation tried.
struct Walk {
    plan: Plan,
    begun: Time,
    steps: usize,
    ends: [usize; 2],
}

impl Walk {
    /// The budget needs the rest, or --drain-max is over.
    fn end(&self) -> Time {
        let max = self.plan.drain.and_then(|drain| drain.max);
        self.begun.after(max.map_or(ms(END), |max| max.min(ms(END))))
    }

    fn go(&mut self, machine: &Machine, now: Time, history: &History, left: usize) {
        for look in alphabet() {
            let (mut machine, mut history) = (machine.clone(), history.clone());
            let mut out = Vec::new();
            machine.handle(now, Event::Looked(look), &mut out);
            history.looks.push((now, look));
            self.steps += 1;
            let over = machine.phase().name() != PhaseName::Drain;
            let story = || format!("{:?}, {:?}", self.plan.drain, history.looks);
            assert_eq!(over, may_end(&self.plan, self.begun, &history), "{}", story());
            if over {
                let quiet = |action: &Action| {
                    matches!(action, Action::Record(Fact::DrainEnded { why: DrainEnd::Quiet, .. }))
                };
                assert_eq!(out.iter().filter(|action| quiet(action)).count(), 1, "{}", story());
                self.ends[0] += 1;
                continue;
            }
            let wake = machine.deadline().expect("the budget runs");
            let pause = wake.since(now);
            let last = self.end();
            let short = wake != last && pause < ms(20);
            assert!(!short && pause <= ms(100) && wake <= last, "{pause:?}: {}", story());
            if left == 0 {
                continue;
            }
            self.wait(&machine, wake, &history, left);
            // A probe is answered half-way.
            let half = now.after(pause / 2);
            let mut asked = machine.clone();
            history.answers.push(half);
            let mut out = Vec::new();
            asked.handle(half, Event::Acknowledged(history.answers.len() as u32), &mut out);
            let enough = self.plan.drain.and_then(|drain| drain.acks);
            let looks = enough == Some(history.answers.len() as u32);
            assert_eq!(out.contains(&Action::Look), looks, "{history:?}", history = history.looks);
            if looks {
                self.go(&asked, half, &history, left - 1);
            } else {
                self.wait(&asked, wake, &history, left);
            }
        }
    }

    /// The time of the next look comes, or the end.
    fn wait(&mut self, machine: &Machine, wake: Time, history: &History, left: usize) {
        let (mut machine, mut out) = (machine.clone(), Vec::new());
        machine.handle(wake, Event::Tick, &mut out);
        let last = self.end() <= wake;
        let looks = out.iter().filter(|action| **action == Action::Look).count();
        assert_eq!(looks, usize::from(!last), "{:?}", history.looks);
        assert_eq!(machine.phase().name() != PhaseName::Drain, last, "{:?}", history.looks);
        if last {
            self.ends[1] += 1;
        } else {
            self.go(&machine, wake, history, left - 1);
        }
    }
}

fn walk(delay: u64, max: u64, acks: Option<u32>, first: Duration) -> Walk {
    let drain = Some(drain(true, delay, max, acks));
    let plan = Plan { grace: ms(GRACE), grace_max: ms(GRACE), drain, ..plain() };
    let begun = Time::default().after(ms(1_000_000));
    let mut machine = Machine::new(plan.clone());
    let mut out = Vec::new();
    let stop = Event::Signal(from_process(Signal::TERM));
    for event in [Event::Begun, Event::AppExecuted, Event::Listening(true), stop] {
        machine.handle(begun, event, &mut out);
    }
    assert_eq!(out.last(), Some(&Action::Look));
    let mut walk = Walk { plan, begun, steps: 0, ends: [0, 0] };
    let mut history = History::default();
    if !first.is_zero() {
        // A long silence of the supervisor (a stopped machine) brings the end near.
        machine.handle(begun, Event::Looked(busy()), &mut out);
        history.looks.push((begun, busy()));
        walk.wait(&machine, begun.after(first), &history, STEPS);
    } else {
        walk.go(&machine, begun, &history, STEPS);
    }
    walk
}

#[test]
fn a_drain_ends_when_it_may_and_not_before() {
    let (mut steps, mut ends) = (0, [0, 0]);
    for (delay, max) in [(0, 0), (0, 90), (150, 0), (150, 400), (90, 650), (100, 700), (600, 0)] {
        for acks in [None, Some(0), Some(1), Some(2)] {
            for first in [ms(0), ms(500)] {
                let walk = walk(delay, max, acks, first);
                steps += walk.steps;
                ends = [ends[0] + walk.ends[0], ends[1] + walk.ends[1]];
            }
        }
    }
    assert!(ends.iter().all(|ends| *ends > 1000), "{ends:?}");
    report(&format!("machine: drains: {steps} looks, {ends:?} ends by quiet and by the budget\n"));
}
