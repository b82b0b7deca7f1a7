//! What is counted: every request once, under one class.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::Class;
use crate::types::Time;

/// One request that was not answered as it should have been.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// When that was known.
    pub at: Time,
    /// What was asked for.
    pub path: String,
    /// What became of it.
    pub class: Class,
}

/// One request, for a drawing.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// When it was meant to be sent.
    pub meant: Time,
    /// When its class was known.
    pub ended: Time,
    /// What became of it.
    pub class: Class,
    /// Its connection had been used before.
    pub kept: bool,
}

/// The account of one load.
#[derive(Default)]
pub struct Tally {
    /// Requests that were sent.
    pub sent: u64,
    /// Connections that were opened for them.
    pub connections: u64,
    counts: BTreeMap<Class, u64>,
    /// In microseconds, of those that are ok, from the moment they were meant to be sent.
    latency: Vec<u32>,
    /// The same without the time that the handler was asked to take.
    beyond: Vec<u32>,
    /// How late the latest request was sent: the generator's own fault.
    pub latest: Duration,
    /// The first of the drops, to look at.
    pub examples: Vec<Dropped>,
    /// Every request up to the limit of the plan.
    pub records: Vec<Record>,
}

/// Enough to see a pattern.
const EXAMPLES: usize = 1000;

impl Tally {
    /// Counts a request that was answered as it should be. `own`: the time that the handler was asked to take.
    pub fn answered(&mut self, latency: Duration, own: Duration) {
        *self.counts.entry(Class::Ok).or_default() += 1;
        self.latency.push(latency.as_micros() as u32);
        self.beyond.push(latency.saturating_sub(own).as_micros() as u32);
    }

    /// Counts a request that was not.
    pub fn dropped(&mut self, drop: Dropped) {
        *self.counts.entry(drop.class).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(drop);
        }
    }

    /// How many requests have this class.
    pub fn count(&self, class: Class) -> u64 {
        self.counts.get(&class).copied().unwrap_or_default()
    }

    /// All that were not answered as they should have been.
    pub fn drops(&self) -> u64 {
        self.counts.iter().filter(|(class, _)| **class != Class::Ok).map(|(_, count)| count).sum()
    }

    /// The drops by class: `503:12 cut:3`.
    pub fn drops_by_class(&self) -> String {
        let bad = self.counts.iter().filter(|(class, _)| **class != Class::Ok);
        bad.map(|(class, count)| format!("{class}:{count}")).collect::<Vec<_>>().join(" ")
    }

    /// Requests that have neither an answer nor a class: none, once the load has ended.
    pub fn unaccounted(&self) -> u64 {
        self.sent - self.counts.values().sum::<u64>()
    }

    /// The latency that so many percent do not exceed, in milliseconds.
    pub fn latency(&self, percent: usize) -> f64 {
        percentile(&self.latency, percent)
    }

    /// The same without the time that the handlers were asked to take.
    pub fn beyond(&self, percent: usize) -> f64 {
        percentile(&self.beyond, percent)
    }
}

fn percentile(micros: &[u32], percent: usize) -> f64 {
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    // The nearest rank: the smallest value that at least so many percent do not exceed.
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let millis: Vec<u32> = (1..=200).rev().map(|ms| ms * 1000).collect();
        assert_eq!(percentile(&millis, 50), 100.0);
        assert_eq!(percentile(&millis, 99), 198.0);
        assert_eq!(percentile(&[7000], 99), 7.0);
        assert!(percentile(&[], 50).is_nan());
    }
}
