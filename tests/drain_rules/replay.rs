//! Replays recorded samples through the rules: when does the drain end, what is cut off, what is wasted.

use std::time::Duration;

use graceinit::machine::connections::{Moment, Reading, Rules, Summary, Table};

use super::script::Link;

/// `--drain-delay`
pub const DELAY: i64 = 2000;

/// One stop, replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub at: i64,
    /// Requests that were under way.
    pub cut: u32,
    /// What a drain would have lasted that ends with the last answer.
    pub ideal: i64,
    /// What the last sample showed.
    pub last: Summary,
}

impl Ended {
    pub fn wasted(&self) -> i64 {
        (self.at - self.ideal).max(0)
    }
}

fn ms(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// Answers that were under way when the drain ended, and when the last one before that was complete.
/// `away`: an answer has arrived so long after it was given.
pub fn judge(links: &[Link], at: i64, away: i64) -> Ended {
    let flights = links.iter().flat_map(|link| &link.flights);
    let flights = || flights.clone().map(|(from, until)| (*from, *until + away));
    let cut = flights().filter(|(from, until)| *from < at && at < *until).count();
    let done = flights().filter(|(_, until)| *until <= at).map(|(_, until)| until);
    let ideal = done.fold(DELAY, i64::max);
    Ended { at, cut: u32::try_from(cut).unwrap_or(u32::MAX), ideal, last: Summary::default() }
}

/// Through the rules.
pub fn replay(
    links: &[Link],
    samples: &[(i64, Vec<Reading>)],
    idle: i64,
    length: i64,
    away: i64,
) -> Ended {
    let mut table = Table::new(Rules { idle: ms(idle), owed: None });
    let mut last = Summary::default();
    for (at, readings) in samples.iter().filter(|(at, _)| (0..length).contains(at)) {
        table.begin(Moment {
            at: ms(*at),
            delay_left: ms((DELAY - at).max(0)),
            left: Some(ms(length - at)),
        });
        for reading in readings {
            table.connection(reading);
        }
        last = table.end();
        if last.over {
            return Ended { last, ..judge(links, *at, away) };
        }
    }
    Ended { last, ..judge(links, length, away) }
}
