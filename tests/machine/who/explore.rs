//! Every order of events in small trees, breadth-first.

use std::collections::{HashMap, VecDeque};

use super::planted::Bug;
use super::shapes;
use super::world::{Broken, Choice, Shape, World};

/// Far above what any shape has.
const LIMIT: usize = 400_000;

/// How many states there are, or the promise that is broken and the story of it.
pub(super) fn explore(shape: &Shape, bug: Option<Bug>) -> Result<usize, (Broken, String)> {
    let first = World::new(shape, bug).map_err(|broken| (broken, "at the beginning".to_owned()))?;
    let mut known = HashMap::from([(first.clone(), 0)]);
    let mut origin: Vec<Option<(usize, Choice)>> = vec![None];
    let mut frontier = VecDeque::from([(0, first)]);
    while let Some((number, world)) = frontier.pop_front() {
        for choice in world.choices() {
            let mut next = world.clone();
            if let Err(broken) = next.step(choice) {
                return Err((broken, story(&origin, number, choice)));
            }
            let fresh = known.len();
            if *known.entry(next.clone()).or_insert(fresh) == fresh && fresh < LIMIT {
                origin.push(Some((number, choice)));
                frontier.push_back((fresh, next));
            }
        }
    }
    Ok(known.len())
}

fn story(origin: &[Option<(usize, Choice)>], mut number: usize, last: Choice) -> String {
    let mut choices = vec![last];
    while let Some((before, choice)) = origin[number] {
        choices.push(choice);
        number = before;
    }
    choices.iter().rev().map(|choice| format!("  {choice:?}\n")).collect()
}

macro_rules! explored {
    ($($name:ident: $at_least:expr;)*) => {$(
        #[test]
        fn $name() {
            match explore(&shapes::$name(), None) {
                Ok(states) => assert!(($at_least..LIMIT).contains(&states), "{states} states"),
                Err((broken, story)) => panic!("{}: {}\n{story}", broken.promise, broken.how),
            }
        }
    )*};
}

explored! {
    wrapper: 10;
    trap_that_forwards: 10;
    trap_with_children: 10;
    nested_traps: 10;
    deaf: 10;
    master: 10;
    silent: 10;
    logger: 10;
    helpers: 10;
    escalated: 10;
}
