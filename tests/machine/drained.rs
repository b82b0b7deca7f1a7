//! The rule of the drain: every sequence of a few samples and acknowledgements, checked against the rule of
//! the manual.

use std::time::Duration;

use graceinit::machine::connections::{Sample, Visibility};
use graceinit::machine::fact::{DrainEnd, Fact};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Plan, Surroundings};
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

/// What a sample may show.
fn alphabet() -> [Sample; 8] {
    [
        busy(),
        Sample { owed: 1, next: ms(60), ..busy() },
        Sample { queued: 1, next: ms(1), ..busy() },
        calm(None),
        calm(Some(30)),
        calm(Some(70)),
        Sample { visibility: Visibility::Counts, ..busy() },
        Sample { visibility: Visibility::Blind, ..calm(None) },
    ]
}

/// The samples with their times, and when probes were answered.
#[derive(Clone, Default)]
struct History {
    samples: Vec<(Time, Sample)>,
    answers: Vec<Time>,
}

/// Whether the drain that began at `begun` may, and therefore must, end with the last sample.
fn may_end(plan: &Plan, begun: Time, history: &History) -> bool {
    let (Some(drain), Some(&(now, last))) = (plan.drain, history.samples.last()) else {
        return false;
    };
    let known = drain.delay <= now.since(begun)
        || drain.acks.is_some_and(|wanted| wanted as usize <= history.answers.len());
    last.over && known
}

/// One drain: each step is checked, and every continuation tried.
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
        for sample in alphabet() {
            let (mut machine, mut history) = (machine.clone(), history.clone());
            let mut out = Vec::new();
            machine.handle(now, Event::Sampled(sample), &mut out);
            history.samples.push((now, sample));
            self.steps += 1;
            let over = machine.phase().name() != PhaseName::Drain;
            let story = || format!("{:?}, {:?}", self.plan.drain, history.samples);
            assert_eq!(over, may_end(&self.plan, self.begun, &history), "{}", story());
            if over {
                let quiet = |action: &Action| {
                    matches!(action, Action::Record(Fact::DrainEnded { why: DrainEnd::Quiet, .. }))
                };
                assert_eq!(out.iter().filter(|action| quiet(action)).count(), 1, "{}", story());
                self.ends[0] += 1;
                continue;
            }
            let wake = machine.next_wakeup().expect("the budget runs");
            let pause = wake.since(now);
            let last = self.end();
            let short = wake != last && pause < ms(20);
            assert!(!short && pause <= ms(100) && wake <= last, "{pause:?}: {}", story());
            if left == 0 {
                continue;
            }
            self.wait(&machine, wake, &history, left);
            // A probe is answered halfway.
            let half = now.after(pause / 2);
            let mut asked = machine.clone();
            history.answers.push(half);
            let mut out = Vec::new();
            asked.handle(half, Event::Acknowledged(history.answers.len() as u32), &mut out);
            let enough = self.plan.drain.and_then(|drain| drain.acks);
            let samples = enough == Some(history.answers.len() as u32);
            assert_eq!(
                out.contains(&Action::TakeSample),
                samples,
                "{history:?}",
                history = history.samples
            );
            if samples {
                self.go(&asked, half, &history, left - 1);
            } else {
                self.wait(&asked, wake, &history, left);
            }
        }
    }

    /// The clock moves to the next sample, or to the end of the drain.
    fn wait(&mut self, machine: &Machine, wake: Time, history: &History, left: usize) {
        let (mut machine, mut out) = (machine.clone(), Vec::new());
        machine.handle(wake, Event::Tick, &mut out);
        let last = self.end() <= wake;
        let samples = out.iter().filter(|action| **action == Action::TakeSample).count();
        assert_eq!(samples, usize::from(!last), "{:?}", history.samples);
        assert_eq!(machine.phase().name() != PhaseName::Drain, last, "{:?}", history.samples);
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
    let mut machine = Machine::new(plan.clone(), Surroundings::default());
    let mut out = Vec::new();
    let stop = Event::Signal(from_process(Signal::TERM));
    for event in [Event::Begun, Event::AppExecuted, Event::Listening(true), stop] {
        machine.handle(begun, event, &mut out);
    }
    assert_eq!(out.last(), Some(&Action::TakeSample));
    let mut walk = Walk { plan, begun, steps: 0, ends: [0, 0] };
    let mut history = History::default();
    if !first.is_zero() {
        // A loop that was stopped for a while wakes near the end of the drain.
        machine.handle(begun, Event::Sampled(busy()), &mut out);
        history.samples.push((begun, busy()));
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
    report(&format!(
        "machine: drains: {steps} samples, {ends:?} ends by quiet and by the budget\n"
    ));
}
