//! The exploration: breadth-first through every state that a setup leads to.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::io::Write;

use graceinit::machine::plan::{ChildOom, Scope, StopAgain};
use graceinit::types::Signal;

use super::bug::Bug;
use super::choice::Choice;
use super::life::Life;
use super::promises::{Broken, Promise, kept};
use super::world::Setup;
use super::{serving, setups, standin};

/// The size of an exploration.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) transitions: usize,
    /// How many of the states are exits.
    pub(super) ends: usize,
}

/// Folds 64-bit words into 64 bits: the xor of the halves of a 128-bit product, as in wyhash. With the
/// standard hasher, hashing takes half of the time.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = Folded(self.0);
        last.write_u64(0);
        last.0
    }
}

/// The hasher of keys that are hashes.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only 64 bits are asked for")
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The graph of the states, with a 64-bit hash for each. That two of a million states share a hash has a
/// probability of 1 in 40 million.
#[derive(Default)]
struct Atlas {
    known: HashMap<u64, usize, BuildHasherDefault<AsItIs>>,
    /// The state and the choice by which each state was reached first.
    origin: Vec<Option<(usize, Choice)>>,
    /// The state that follows each state if only time passes.
    quiet: Vec<Quiet>,
}

#[derive(Clone, Copy)]
enum Quiet {
    /// It is an exit, or the app may run for ever.
    Rests,
    LeadsTo(usize),
}

impl Atlas {
    /// The number of this state, and whether it is new.
    fn enter(&mut self, life: &Life, origin: Option<(usize, Choice)>) -> (usize, bool) {
        let mut hasher = Folded::default();
        life.hash(&mut hasher);
        let next = self.origin.len();
        let number = *self.known.entry(hasher.finish()).or_insert(next);
        if number == next {
            self.origin.push(origin);
            self.quiet.push(Quiet::Rests);
        }
        (number, number == next)
    }

    fn story(&self, mut number: usize, last: Option<Choice>) -> Vec<Choice> {
        let mut story: Vec<Choice> = last.into_iter().collect();
        while let Some((before, choice)) = self.origin[number] {
            story.push(choice);
            number = before;
        }
        story.reverse();
        story
    }

    /// A state that leads back to itself if only time passes.
    fn find_quiet_circle(&self) -> Option<usize> {
        let mut settled = vec![false; self.quiet.len()];
        let mut walk_of = vec![usize::MAX; self.quiet.len()];
        for start in 0..self.quiet.len() {
            let mut here = start;
            while !settled[here] {
                if walk_of[here] == start {
                    return Some(here);
                }
                walk_of[here] = start;
                match self.quiet[here] {
                    Quiet::LeadsTo(next) => here = next,
                    Quiet::Rests => settled[here] = true,
                }
            }
            let end = here;
            here = start;
            while here != end {
                settled[here] = true;
                let Quiet::LeadsTo(next) = self.quiet[here] else { break };
                here = next;
            }
        }
        None
    }
}

/// Visits all states. With a bug there may be infinitely many, so `limit` bounds their number.
pub(super) fn explore(setup: &Setup, bug: Option<Bug>, limit: usize) -> Result<Explored, Broken> {
    let mut atlas = Atlas::default();
    let mut transitions = 0;
    let mut ends = 0;
    let first = Life::new(setup, bug);
    let (number, _) = atlas.enter(&first, None);
    let mut frontier = VecDeque::from([(number, first)]);
    while let Some((number, life)) = frontier.pop_front() {
        let blame = |atlas: &Atlas, broken: Broken, last: Option<Choice>| Broken {
            story: atlas.story(number, last),
            ..broken
        };
        life.judge_sleep(setup).map_err(|broken| blame(&atlas, broken, None))?;
        let choices = life.choices(setup);
        let quiet = life.quiet_choice();
        if life.is_over() {
            ends += 1;
        } else if let Some(quiet) = quiet {
            kept(choices.contains(&quiet), Promise::Terminates, || format!("{quiet:?}"))
                .map_err(|broken| blame(&atlas, broken, None))?;
        }
        // `vec!` clones for all but the last, which gets `life` itself.
        let copies = vec![life; choices.len()];
        for (mut next, &choice) in copies.into_iter().zip(&choices) {
            transitions += 1;
            next.step(setup, choice).map_err(|broken| blame(&atlas, broken, Some(choice)))?;
            let (to, new) = atlas.enter(&next, Some((number, choice)));
            if quiet == Some(choice) {
                atlas.quiet[number] = Quiet::LeadsTo(to);
            }
            if new && atlas.origin.len() <= limit {
                frontier.push_back((to, next));
            }
        }
    }
    if let Some(circle) = atlas.find_quiet_circle() {
        let story = atlas.story(circle, None);
        let how = "nothing happens, for ever".to_owned();
        return Err(Broken { promise: Promise::Terminates, how, story });
    }
    Ok(Explored { states: atlas.origin.len(), transitions, ends })
}

/// The steps that led to a broken promise, performed again.
pub(super) fn tell(setup: &Setup, bug: Option<Bug>, broken: &Broken) -> String {
    let mut life = Life::new(setup, bug);
    let mut text = format!("{}: {}\n", broken.promise, broken.how);
    for &choice in &broken.story {
        text += &format!("  {:<24} {choice:?}\n", life.describe());
        if life.step(setup, choice).is_err() {
            break;
        }
    }
    text + &format!("  {}; reason {:?}\n{:#?}", life.describe(), life.reason(), setup.plan)
}

/// Printed even without --nocapture.
pub(super) fn report(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Far more states than any setup has.
pub(super) const LIMIT: usize = 3_000_000;

fn keeps_every_promise(name: &str, setup: &Setup, at_least: usize) {
    match explore(setup, None, LIMIT) {
        Ok(Explored { states, transitions, ends }) => {
            report(&format!("machine: {name}: {states} states, {transitions} transitions\n"));
            assert!((at_least..LIMIT).contains(&states), "{name}: {states} states");
            assert!(ends > 0, "{name}: no life ends");
        }
        Err(broken) => panic!("{name}: {}", tell(setup, None, &broken)),
    }
}

/// One test for each setup, with the least number of states that it must have.
macro_rules! explored {
    ($($name:ident: $setup:expr, $at_least:expr;)*) => {$(
        #[test]
        fn $name() {
            keeps_every_promise(stringify!($name), &$setup, $at_least);
        }
    )*};
}

explored! {
    no_hooks: setups::no_hooks(), 100_000;
    long_leftovers: setups::long_leftovers(), 50_000;
    stop_again_ignore: setups::stop_again(StopAgain::Ignore), 20_000;
    stop_again_kill: setups::stop_again(StopAgain::Kill), 20_000;
    stop_again_default: setups::stop_again(StopAgain::Default), 20_000;
    scope_auto: setups::scope(Scope::Auto), 2_000;
    scope_group: setups::scope(Scope::Group), 2_000;
    scope_main: setups::scope(Scope::Main), 2_000;
    scope_mixed: setups::scope(Scope::Mixed), 2_000;
    scope_tree: setups::scope(Scope::Tree), 2_000;
    squeezed_ladder: setups::squeezed_ladder(), 50_000;
    harmless_first_rung: setups::harmless_first_rung(), 2_000;
    pre_stop: setups::pre_stop(), 20_000;
    pre_stop_retried: setups::pre_stop_retried(), 20_000;
    on_stop: setups::on_stop(), 100_000;
    post_stop: setups::post_stop(), 100_000;
    every_hook: setups::every_hook(), 100_000;
    terminal: setups::terminal(true), 50_000;
    terminal_without_a_shell: setups::terminal(false), 50_000;
    interrupted_twice: setups::interrupted_twice(), 50_000;
    no_grace: setups::no_grace(), 2_000;
    no_time_for_post_stop: setups::no_post_stop_time(), 5_000;
    rewritten: setups::rewritten(), 5_000;
    exit_rules: setups::exit_rules(), 500;
    out_of_memory: setups::out_of_memory(ChildOom::Note, None), 500;
    out_of_memory_stops: setups::out_of_memory(ChildOom::Stop, None), 500;
    out_of_memory_has_a_code: setups::out_of_memory(ChildOom::Stop, Some(33)), 500;
    pre_start: setups::pre_start(), 100_000;
    held: setups::held(), 5_000;
    held_until_ready: setups::held_until_ready(), 20_000;
    standstill: serving::standstill(), 5_000;
    drain_hurried: serving::drain_hurried(), 500;
    reload: setups::reload(), 200_000;
    reload_at_a_terminal: setups::reload_at_a_terminal(), 100_000;
    outlived_on_ready: setups::outlived(true), 50_000;
    outlived_on_reload: setups::outlived(false), 100_000;
    diagnose_group: setups::diagnose(Scope::Group), 20_000;
    diagnose_mixed: setups::diagnose(Scope::Mixed), 20_000;
    more_time: setups::more_time(), 50_000;
    hurried: setups::hurried(), 200_000;
    no_stop_signal: setups::no_stop_signal(), 20_000;
    no_stop_signal_at_first: setups::no_stop_signal_at_first(), 50_000;
    jittered: setups::jittered(), 100_000;
    conditions: serving::conditions(), 10_000;
    too_late: serving::too_late(), 10_000;
    late: serving::late(), 300;
    ready_before_the_start: serving::ready_before_the_start(), 5_000;
    probes: serving::probes(), 10_000;
    slow_probe: serving::slow_probe(), 5_000;
    suspended: serving::suspended(), 10_000;
    watchdog: serving::watchdog(), 10_000;
    notifications: serving::notifications(), 10_000;
    delay: serving::delay(), 10_000;
    long_delay: serving::long_delay(), 2_000;
    quiet: serving::quiet(), 10_000;
    hasty: serving::hasty(), 2_000;
    words: serving::words(), 10_000;
    words_and_samples: serving::words_and_samples(), 10_000;
    without_an_end: standin::without_an_end(), 10_000;
    without_an_end_but_limits: standin::without_an_end_but_limits(), 10_000;
    without_an_end_but_a_delay: standin::without_an_end_but_a_delay(), 2_000;
    without_an_end_but_ports: standin::without_an_end_but_ports(), 2_000;
    forwards_all: standin::forwards_all(), 10_000;
    forwards_all_at_a_terminal: standin::forwards_all_at_a_terminal(), 10_000;
    session: standin::session(true, true), 2_000;
    session_without_a_shell: standin::session(false, true), 2_000;
    session_that_forwards_all: standin::session(true, false), 2_000;
    session_with_another_stop: standin::session_with_rewrites(Some(Signal::TSTP)), 300;
    session_with_a_quit: standin::session_with_rewrites(Some(Signal::QUIT)), 300;
    session_without_a_stop: standin::session_with_rewrites(None), 300;
}
