//! When to look for children that no signal has named.
//!
//! SIGCHLDs merge while they wait, so each one may stand for several children, and only a look at all
//! of them finds the rest. But the kernel walks the list of children for that: with thousands of
//! live ones a look costs a millisecond, and a look after each signal would leave time for little
//! else. So looks may take a twentieth of the processor time: after one that took long, the next waits. With
//! few children that is no wait at all.

use std::time::Duration;

use crate::sys::{clock, reap};
use crate::types::{Pid, Time};

/// The share of the time that looks may take: one in so many.
const SHARE: u32 = 20;
/// No orphan stays a zombie longer than this because of it.
const LONGEST: Duration = Duration::from_millis(100);
/// One round of the loop does not look for longer than this.
const ROUND: Duration = Duration::from_millis(5);

/// The schedule of looks.
#[derive(Debug, Default)]
pub struct Reaper {
    /// A look is wanted.
    wanted: bool,
    /// Not before this.
    earliest: Time,
    /// When the present round of looks began.
    round: Option<Time>,
}

/// What a look has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// This child has ended.
    Ended(Pid),
    /// There is no child at all.
    NoChild,
}

impl Reaper {
    /// There may be something to find.
    pub fn ask(&mut self) {
        self.wanted = true;
    }

    /// When the next look is due.
    pub fn due(&self) -> Option<Time> {
        self.wanted.then_some(self.earliest)
    }

    /// Looks, if a look is wanted and due. `None` ends the round.
    pub fn next(&mut self, now: Time) -> Option<Finding> {
        if !self.wanted || self.earliest > now {
            return None;
        }
        let before = clock::now();
        let began = *self.round.get_or_insert(before);
        if before.since(began) > ROUND {
            // The rest in the next round of the loop, which comes at once.
            self.round = None;
            return None;
        }
        let cost = clock::cpu();
        let found = reap::look();
        let (cost, after) = (clock::cpu().since(cost), clock::now());
        if let reap::Look::Ended(pid) = found {
            return Some(Finding::Ended(pid));
        }
        self.round = None;
        self.wanted = false;
        self.earliest = after.after((cost * SHARE).min(LONGEST));
        (found == reap::Look::NoChild).then_some(Finding::NoChild)
    }
}
