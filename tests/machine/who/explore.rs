//! Every order of events in small trees, breadth-first.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;

use super::planted::Bug;
use super::shapes;
use super::world::{Broken, Choice, Shape, World};

/// Far above what any shape has.
const LIMIT: usize = 400_000;

/// How many states there are, or the promise that is broken and the story of it.
pub(super) fn explore(shape: &Shape, bug: Option<Bug>) -> Result<usize, (Broken, String)> {
    let first = World::new(shape, bug).map_err(|broken| (broken, "at the beginning".to_owned()))?;
    let mut known = HashSet::from([digest(&first)]);
    let mut origin: Vec<Option<(usize, Choice)>> = vec![None];
    let mut frontier = VecDeque::from([(0, first)]);
    while let Some((number, world)) = frontier.pop_front() {
        for choice in world.choices() {
            let mut next = world.clone();
            if let Err(broken) = next.step(choice) {
                return Err((broken, story(&origin, number, choice)));
            }
            if known.insert(digest(&next)) && known.len() <= LIMIT {
                frontier.push_back((origin.len(), next));
                origin.push(Some((number, choice)));
            }
        }
    }
    Ok(known.len())
}

/// 64 bits stand for a state.
fn digest(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

fn story(origin: &[Option<(usize, Choice)>], mut number: usize, last: Choice) -> String {
    let mut choices = vec![last];
    while let Some((before, choice)) = origin[number] {
        choices.push(choice);
        number = before;
    }
    choices.iter().rev().map(|choice| format!("  {choice:?}\n")).collect()
}

/// Seen without --nocapture too.
fn report(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
}

macro_rules! explored {
    ($($name:ident: $at_least:expr;)*) => {$(
        #[test]
        fn $name() {
            match explore(&shapes::$name(), None) {
                Ok(states) => {
                    report(&format!("who: {}: {states} states\n", stringify!($name)));
                    assert!(($at_least..LIMIT).contains(&states), "{states} states");
                }
                Err((broken, story)) => panic!("{}: {}\n{story}", broken.promise, broken.how),
            }
        }
    )*};
}

explored! {
    wrapper: 10;
    daemon: 40;
    blocked: 20;
    workers: 80;
    trap_that_forwards: 300;
    trap_with_children: 1000;
    nested_traps: 200;
    deaf: 100_000;
    subshell: 1000;
    deaf_subshell: 2_000;
    master: 1_000;
    silent: 10_000;
    logger: 5_000;
    helpers: 100;
    escalated: 5_000;
}
