//! One life: the machine, its world, and the ledger that holds the machine to its promises.

use std::cell::RefCell;

use graceinit::machine::fact::{Fact, Reason};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::{Action, Event};
use graceinit::types::Time;

use super::batch::Batch;
use super::bug::Bug;
use super::choice::Choice;
use super::ledger::{Ledger, leftovers_signal};
use super::promises::{Kept, Promise, kept};
use super::sabotage::Subject;
use super::world::{Setup, World, ms};

/// The result of one event.
pub(crate) struct Recorded {
    pub(crate) at: Time,
    pub(crate) facts: Vec<Fact>,
    pub(crate) phase: PhaseName,
    pub(crate) ready: bool,
}

thread_local! {
    /// Kept outside of the life, which is copied and compared by the million, and only while a test reads it.
    pub(super) static RECORDED: RefCell<Option<Vec<Recorded>>> = const { RefCell::new(None) };
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub(super) subject: Subject,
    pub(super) world: World,
    pub(super) ledger: Ledger,
}

impl Life {
    pub(super) fn new(setup: &Setup, bug: Option<Bug>) -> Life {
        let subject = Subject::new(setup, bug);
        Life { subject, world: World::new(setup), ledger: Ledger::new(setup.surroundings) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ledger.exited
    }

    /// Performs one choice.
    pub(super) fn step(&mut self, setup: &Setup, choice: Choice) -> Kept {
        if let Choice::Wait(time) | Choice::StandStill(time) = choice {
            let due = self.subject.next_wakeup().unwrap_or(time);
            self.ledger.late += time.since(due);
        }
        match self.world.happen(setup, choice) {
            Some(event) => self.tell(setup, event),
            None => Ok(()),
        }
    }

    /// Keeps the recorded facts and the state after them, for tests that compare renderings.
    fn record(&self, out: &[Action]) {
        RECORDED.with_borrow_mut(|told| {
            let Some(told) = told else { return };
            let facts = out.iter().filter_map(|action| match action {
                Action::Record(fact) => Some(fact.clone()),
                _ => None,
            });
            told.push(Recorded {
                at: self.world.now,
                facts: facts.collect(),
                phase: self.subject.phase(),
                ready: self.subject.ready(),
            });
        });
    }

    fn tell(&mut self, setup: &Setup, event: Event) -> Kept {
        let plan = &setup.plan;
        let (mut out, mut batch) = (Vec::new(), Batch::new(event, self.ledger.phase));
        self.ledger.hear(plan, &self.world, event, &mut batch);
        self.subject.handle(self.world.now, event, &mut out);
        self.record(&out);
        for action in &out {
            self.ledger.judge(plan, &self.world, action, &mut batch)?;
            if let Action::StartHook { id, .. } = action {
                self.ledger.judge_occasion(*id, self.subject.occasion(), self.subject.reason())?;
            }
            self.world.perform(action, leftovers_signal(plan));
        }
        self.world.reap_app();
        self.ledger.typed_stop_comes(plan, &mut batch);
        self.ledger.judge_batch(plan, self.world.now, &batch, self.subject.phase())
    }

    /// The loop has no event left before it sleeps. It reports an empty tree at the end of each turn, so that
    /// event must have no effect any more either.
    fn is_at_rest(&self) -> bool {
        if self.world.undecided().is_some() || self.is_over() {
            return false;
        }
        !self.world.tree_is_empty() || self.ignores(Event::TreeEmpty)
    }

    fn ignores(&self, event: Event) -> bool {
        let (mut subject, mut out) = (self.subject.clone(), Vec::new());
        subject.handle(self.world.now, event, &mut out);
        out.is_empty() && subject == self.subject
    }

    fn sleeps_until(&self) -> Option<Option<Time>> {
        let wake = self.subject.next_wakeup();
        let due = wake.is_some_and(|wake| wake <= self.world.now);
        (self.is_at_rest() && !due).then_some(wake)
    }

    /// What has to hold whenever the loop goes to sleep.
    pub(super) fn judge_sleep(&self, setup: &Setup) -> Kept {
        let Some(wake) = self.sleeps_until() else { return Ok(()) };
        kept(self.ignores(Event::Tick), Promise::TickOnTime, || format!("due at {wake:?}"))?;
        self.ledger.judge_sleep(&setup.plan, &self.world, wake)
    }

    /// The choice if no process exits and no signal arrives: only time passes. `None` when that may last for
    /// ever: the app runs and no stop was requested.
    pub(super) fn quiet_choice(&self) -> Option<Choice> {
        let wake = self.subject.next_wakeup();
        if let Some((succeeds, _)) = self.world.undecided() {
            Some(succeeds)
        } else if !self.is_at_rest() {
            Some(Choice::TreeIsEmpty)
        } else if wake.is_some_and(|wake| wake <= self.world.now) {
            Some(Choice::Tick)
        } else {
            wake.map(Choice::Wait)
        }
    }

    /// Every choice that is possible next, if every tick is on time.
    pub(super) fn choices(&self, setup: &Setup) -> Vec<Choice> {
        let mut out = Vec::new();
        if self.is_over() {
            return out;
        }
        self.world.choices(setup, &mut out);
        let now = self.world.now;
        match self.subject.next_wakeup() {
            Some(wake) if self.is_at_rest() && wake <= now => out.push(Choice::Tick),
            Some(wake) if self.is_at_rest() => {
                out.push(Choice::Wait(wake));
                if self.world.may_stand_still() {
                    out.push(Choice::StandStill(wake.after(ms(300))));
                }
                if self.world.may_linger() {
                    out.push(Choice::Linger(now.after(wake.since(now) / 2)));
                }
            }
            Some(_) | None => {}
        }
        out
    }

    /// The present state, for the report of a broken promise.
    pub(super) fn describe(&self) -> String {
        format!("{:?} at {} ms", self.ledger.phase, self.world.now.0 / 1_000_000)
    }

    pub(super) fn reason(&self) -> Reason {
        self.subject.reason()
    }
}
