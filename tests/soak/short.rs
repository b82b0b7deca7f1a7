//! A few seconds of it, for every run of the tests.

use super::{lives, long};
use crate::support::{Outcome, need};

#[test]
fn random_lives_end_as_they_should() -> Outcome {
    for seed in 1..=12 {
        lives::live(seed, None)?;
    }
    Ok(())
}

#[test]
fn memory_and_descriptors_stay_as_they_are() -> Outcome {
    if !need::program("/usr/bin/python3") {
        return Ok(());
    }
    long::live(None, 60, |figures| figures.rounds < 100).map(drop)
}
