//! Bugs, planted one at a time between the rules and the world. Each must break a promise, or the
//! exploration proves nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use graceinit::machine::who::{Answer, Ask, Who, Why};
use graceinit::types::process::{Activity, Process, Tree};
use graceinit::types::{Pid, Signal, Time};

use super::explore::explore;
use super::scene::ROOT;
use super::shapes;
use super::world::{Promise, Shape};

/// One thing that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Bug {
    TellsTwice,
    TellsAgainWithTheSameSignal,
    TellsWorkersWithTheirMaster,
    TellsAllAtOnce,
    TellsOrphansAtOnce,
    TellsReadersWithTheOthers,
    TellsWhatMayHaveHeard,
    TellsTheReaped,
    TakesAllForIdle,
    NeverTells(Why),
    TakesAReusedPidForTheFirst,
    SleepsThrough,
    SleepsThroughOrphans,
    WakesLate,
    NeverRests,
}

/// The rules, with a bug.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Sabotaged {
    who: Who,
    bug: Option<Bug>,
    last: Vec<Ask>,
    told: BTreeSet<Pid>,
}

impl Sabotaged {
    pub(super) fn new(who: Who, bug: Option<Bug>) -> Sabotaged {
        Sabotaged { who, bug, last: Vec::new(), told: BTreeSet::new() }
    }

    pub(super) fn look(&mut self, now: Time, tree: &Tree) -> Answer {
        let mut shown = tree.clone();
        if self.bug == Some(Bug::TakesAllForIdle) {
            shown.processes.iter_mut().for_each(|process| {
                process.activity = Some(Activity { switches: 1, busy: false });
            });
        }
        let answer = self.who.look(now, &shown);
        self.sabotage(now, answer, tree)
    }

    pub(super) fn step(&mut self, now: Time, signal: Signal, tree: &Tree) -> Answer {
        let Answer { asks, .. } = self.who.step(now, signal, tree);
        let mut answer = self.who.look(now, tree);
        answer.asks.splice(0..0, asks);
        if self.bug == Some(Bug::TellsAgainWithTheSameSignal) {
            answer.asks.iter_mut().for_each(|ask| ask.signal = Signal::INT);
        }
        self.sabotage(now, answer, tree)
    }

    /// Asks also those of `tree` that are meant and that it does not know of.
    fn add(
        &mut self,
        answer: &mut Answer,
        tree: &Tree,
        why: Why,
        meant: impl Fn(&Process) -> bool,
    ) {
        self.told.extend(answer.asks.iter().map(|ask| ask.id.0));
        for process in tree.processes.iter().filter(|process| meant(process)) {
            let (id, parent, group) = (process.id(), process.parent, process.group);
            let name = process.title.clone();
            if process.pid != Pid(2) && self.told.insert(process.pid) {
                let signal = Signal::TERM;
                answer.asks.push(Ask { id, parent, group, name, signal, why, instead_of: None });
            }
        }
    }

    pub(super) fn sabotage(&mut self, now: Time, mut answer: Answer, tree: &Tree) -> Answer {
        let Some(bug) = self.bug else { return answer };
        let asks = answer.asks.clone();
        let told = |pid: Pid| asks.iter().any(|ask| ask.id.0 == pid);
        let reader = |process: &Process| {
            process.files.as_ref().is_ok_and(|files| files.pipes.iter().any(|end| end.reads))
        };
        match bug {
            Bug::TellsTwice => {
                let last = std::mem::replace(&mut self.last, asks.clone());
                let there = |ask: &Ask| tree.processes.iter().any(|p| p.id() == ask.id);
                answer.asks.extend(last.into_iter().filter(there));
            }
            Bug::TellsAgainWithTheSameSignal | Bug::TakesAllForIdle => {}
            Bug::TellsWorkersWithTheirMaster => {
                self.add(&mut answer, tree, Why::Topmost, |process| told(process.parent));
            }
            Bug::TellsAllAtOnce => self.add(&mut answer, tree, Why::Topmost, |_| true),
            Bug::TellsOrphansAtOnce => {
                self.add(&mut answer, tree, Why::Topmost, |process| process.parent == ROOT);
            }
            Bug::TellsReadersWithTheOthers => {
                let orphan = |process: &Process| process.parent == ROOT && reader(process);
                self.add(&mut answer, tree, Why::Topmost, orphan);
            }
            Bug::TellsWhatMayHaveHeard => {
                let orphan = |process: &Process| process.parent == ROOT;
                self.add(&mut answer, tree, Why::Topmost, orphan);
            }
            Bug::TellsTheReaped => {
                std::mem::swap(&mut answer.asks, &mut self.last);
                let soon = now.after(Duration::from_millis(10));
                if !self.last.is_empty() {
                    answer.next = Some(answer.next.map_or(soon, |next| next.min(soon)));
                }
            }
            Bug::NeverTells(why) => answer.asks.retain(|ask| ask.why != why),
            Bug::TakesAReusedPidForTheFirst => answer.asks.retain(|ask| self.told.insert(ask.id.0)),
            Bug::SleepsThrough => answer.next = None,
            // Only those that have a known time wake it.
            Bug::SleepsThroughOrphans => {
                answer.next =
                    answer.next.filter(|next| next.since(now) > Duration::from_millis(200));
            }
            Bug::WakesLate => {
                answer.next = answer.next.map(|next| next.after(Duration::from_millis(700)));
            }
            Bug::NeverRests => answer.next = Some(now),
        }
        answer
    }
}

/// A bug, a shape that shows it, and the promise that it breaks first.
type Planted = (Bug, Shape, Promise);

fn bugs() -> Vec<Planted> {
    vec![
        (Bug::TellsTwice, shapes::wrapper(), Promise::Once),
        (Bug::TellsAgainWithTheSameSignal, shapes::escalated(), Promise::Once),
        (Bug::TellsWorkersWithTheirMaster, shapes::master(), Promise::LeftToItsParent),
        (Bug::TellsAllAtOnce, shapes::silent(), Promise::LeftToItsParent),
        (Bug::TellsOrphansAtOnce, shapes::daemon(), Promise::OrphansWait),
        (Bug::TellsReadersWithTheOthers, shapes::logger(), Promise::ReadersLast),
        (Bug::TellsWhatMayHaveHeard, shapes::trap_that_forwards(), Promise::NotTwice),
        (Bug::TellsTheReaped, shapes::workers(), Promise::OnlyTheLiving),
        (Bug::TakesAllForIdle, shapes::trap_that_forwards(), Promise::NotTwice),
        (Bug::TakesAllForIdle, shapes::logger(), Promise::ReadersLast),
        (Bug::NeverTells(Why::Topmost), shapes::wrapper(), Promise::AtOnce),
        (Bug::NeverTells(Why::HandedDown), shapes::deaf(), Promise::HandedDown),
        (Bug::NeverTells(Why::Foreground), shapes::nested_traps(), Promise::TrapInTime),
        (Bug::NeverTells(Why::Patience), shapes::silent(), Promise::AtOnce),
        (Bug::NeverTells(Why::Again), shapes::escalated(), Promise::Escalated),
        (Bug::TakesAReusedPidForTheFirst, shapes::deaf(), Promise::HandedDown),
        (Bug::SleepsThrough, shapes::nested_traps(), Promise::TrapInTime),
        (Bug::SleepsThroughOrphans, shapes::subshell(), Promise::AtOnce),
        (Bug::SleepsThrough, shapes::silent(), Promise::Everybody),
        (Bug::WakesLate, shapes::trap_with_children(), Promise::TrapInTime),
        (Bug::NeverRests, shapes::silent(), Promise::Rests),
    ]
}

#[test]
fn every_planted_bug_is_caught() {
    let mut wrong = Vec::new();
    for (bug, shape, promise) in bugs() {
        match explore(&shape, Some(bug)) {
            Err((broken, _)) if broken.promise == promise => {}
            Err((broken, story)) => wrong.push(format!("{bug:?}: {broken:?}\n{story}")),
            Ok(states) => wrong.push(format!("{bug:?} is not seen in {states} states")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for promise in Promise::ALL {
        assert!(bugs().iter().any(|(_, _, broken)| broken == promise), "no bug breaks {promise}");
    }
}
