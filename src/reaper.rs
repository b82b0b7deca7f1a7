//! When to scan for children that no SIGCHLD has named.
//!
//! SIGCHLDs merge while they are pending, so each may stand for several children, and only a scan of all children
//! finds the rest. The kernel walks the list of children for that: with thousands of live ones a scan costs a
//! millisecond, and a scan after each signal would leave little time for anything else. So scans may take a
//! twentieth of the processor time: after an expensive scan the next one waits. With few children there is no wait.
//!
//! Children that end together were mostly started together, so their pids follow each other. Asking for one pid costs
//! the same however many children there are. So after a child that has ended, the pids behind it are asked for, up
//! to the cost of one scan: this at most doubles the cost, and where thousands end among thousands that live, a few
//! scans are enough. It needs neither memory nor /proc.

use std::time::Duration;

use crate::sys::clock;
use crate::sys::reap::{self, Found};
use crate::types::{Pid, Time};

/// Scans may take one part in this many of the processor time.
const SHARE: u32 = 20;
/// The limit to the wait between scans: no orphan stays a zombie longer because of it.
const LONGEST: Duration = Duration::from_millis(100);
/// One round of the loop scans no longer than this.
const ROUND: Duration = Duration::from_millis(5);

/// The approximate cost of asking for one pid.
const ASK: Duration = Duration::from_nanos(500);
/// A scan that took no longer than this was cheap, even if another process was scheduled meanwhile.
const QUICK: Duration = Duration::from_micros(20);

/// The schedule of scans.
#[derive(Debug, Default)]
pub struct Reaper {
    /// A scan is wanted.
    wanted: bool,
    /// The next scan is not made before this.
    earliest: Time,
    /// When the present round of scans began.
    round: Option<Time>,
    /// The pid to ask for before the next scan, and how many more after it if it has not ended.
    behind: Option<(Pid, u32)>,
    /// How many pids can be asked for at the cost of the last scan.
    patience: u32,
    /// The last scan was expensive: measure the cost of the next one.
    dear: bool,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// This child has ended, or may have: reap it.
    Ended(Pid),
    /// There is no child at all.
    NoChild,
}

impl Reaper {
    /// Requests a scan.
    pub fn ask(&mut self) {
        self.wanted = true;
    }

    /// When the next scan is due.
    pub fn due(&self) -> Option<Time> {
        self.wanted.then_some(self.earliest)
    }

    /// Scans, if a scan is wanted and due. `None` ends the round.
    pub fn next(&mut self, now: Time) -> Option<Finding> {
        self.next_by(now, reap::find)
    }

    /// A child had ended and was reaped.
    pub fn reaped(&mut self, pid: Pid) {
        self.behind = following(pid, self.patience);
    }

    fn next_by(&mut self, now: Time, look: impl FnOnce() -> Found) -> Option<Finding> {
        if !self.wanted || self.earliest > now {
            return None;
        }
        let before = clock::now();
        let began = *self.round.get_or_insert(before);
        if before.since(began) > ROUND {
            // Continue in the next round of the loop, which follows at once.
            self.round = None;
            return None;
        }
        if let Some((pid, left)) = self.behind {
            self.behind = following(pid, left);
            return Some(Finding::Ended(pid));
        }
        // Reading the processor time takes two system calls, twice the cost of a cheap scan.
        let measured = self.dear.then(clock::cpu);
        let found = look();
        let after = clock::now();
        let cost = match measured {
            Some(begun) => clock::cpu().since(begun),
            None => after.since(before),
        };
        self.dear = cost > QUICK;
        let known = measured.is_some() || !self.dear;
        if !known && found == Found::AllAlive {
            // Another process may have been scheduled meanwhile. The next round measures the processor time.
            self.round = None;
            return None;
        }
        let price = if known { cost.as_nanos() / ASK.as_nanos() } else { 0 };
        self.patience = u32::try_from(price).unwrap_or(u32::MAX).max(1);
        if let Found::Ended(pid) = found {
            return Some(Finding::Ended(pid));
        }
        self.round = None;
        self.wanted = false;
        self.earliest = after.after((cost * SHARE).min(LONGEST));
        (found == Found::NoChild).then_some(Finding::NoChild)
    }
}

fn following(pid: Pid, left: u32) -> Option<(Pid, u32)> {
    Some((Pid(pid.0.checked_add(1)?), left.checked_sub(1)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Among children whose scan costs `price` of processor time: how many scans it takes until all of `ended` are
    /// reaped, and how many pids are asked for in vain.
    fn looks_and_misses(mut ended: BTreeSet<i32>, price: Duration) -> (usize, usize) {
        let (mut reaper, mut looks, mut misses) = (Reaper::default(), 0, 0);
        reaper.ask();
        // The last scan finds nothing and ends the round.
        while reaper.due().is_some() {
            let finding = reaper.next_by(clock::now(), || {
                looks += 1;
                let begun = clock::cpu();
                while clock::cpu().since(begun) < price {}
                ended.first().map_or(Found::AllAlive, |pid| Found::Ended(Pid(*pid)))
            });
            match finding {
                Some(Finding::Ended(pid)) if ended.remove(&pid.0) => reaper.reaped(pid),
                Some(Finding::Ended(_)) => misses += 1,
                Some(Finding::NoChild) => unreachable!("some live"),
                None => {}
            }
        }
        assert_eq!(ended, BTreeSet::new());
        (looks, misses)
    }

    #[test]
    fn children_with_pids_that_follow_each_other_take_one_look() {
        let price = Duration::from_millis(1);
        // The second scan finds nothing.
        assert_eq!(looks_and_misses((6000..7000).collect(), price).0, 2);
        // Each third pid lives: only the second scan shows that asking on is worth its cost.
        assert_eq!(looks_and_misses((6000..7000).filter(|pid| pid % 3 > 0).collect(), price).0, 3);
    }

    #[test]
    fn children_far_from_each_other_are_found_by_looks() {
        let pids: BTreeSet<i32> =
            (1..20).map(|count| count * 100_000_000).chain([i32::MAX]).collect();
        let (looks, misses) = looks_and_misses(pids, Duration::from_micros(100));
        assert_eq!(looks, 21);
        // 200 for each pid that others could follow: the cost of one scan. One for the first.
        assert!(misses > 18 * 200, "{misses}");
    }

    #[test]
    fn where_a_look_costs_nothing_nobody_is_asked_for_in_vain() {
        let mut reaper = Reaper::default();
        reaper.ask();
        reaper.reaped(Pid(7));
        let mut looked = false;
        let found = reaper.next_by(clock::now(), || {
            looked = true;
            Found::NoChild
        });
        assert_eq!((found, looked), (Some(Finding::NoChild), true));
        assert_eq!(reaper.due(), None);
    }
}
