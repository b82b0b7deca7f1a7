//! When to look for children that no signal has named.
//!
//! SIGCHLDs merge while they wait, so each one may stand for several children, and only a look at all
//! of them finds the rest. But the kernel walks the list of children for that: with thousands of
//! live ones a look costs a millisecond, and a look after each signal would leave time for little
//! else. So looks may take a twentieth of the processor time: after one that took long, the next waits. With
//! few children that is no wait at all.
//!
//! Children that end together were mostly started together, and so have pids that follow each other. To ask
//! for one pid costs the same however many children there are. So where one has ended, those behind it are
//! asked for, as long as that is no dearer than the next look would be: this at most doubles what looks
//! cost, and where thousands end among thousands that live, they need a few looks and not thousands. Nothing
//! has to be remembered for it, and no /proc.

use std::time::Duration;

use crate::sys::clock;
use crate::sys::reap::{self, Found};
use crate::types::{Pid, Time};

/// The share of the time that looks may take: one in so many.
const SHARE: u32 = 20;
/// No orphan stays a zombie longer than this because of it.
const LONGEST: Duration = Duration::from_millis(100);
/// One round of the loop does not look for longer than this.
const ROUND: Duration = Duration::from_millis(5);

/// What it costs about to ask for one pid.
const ASK: Duration = Duration::from_nanos(500);
/// A look that was over so soon was cheap, whoever else had the processor meanwhile.
const QUICK: Duration = Duration::from_micros(20);

/// The schedule of looks.
#[derive(Debug, Default)]
pub struct Reaper {
    /// A look is wanted.
    wanted: bool,
    /// Not before this.
    earliest: Time,
    /// When the present round of looks began.
    round: Option<Time>,
    /// Who is asked for before there is another look, and how many more if that one has not ended.
    behind: Option<(Pid, u32)>,
    /// How many of them have the price of the last look.
    patience: u32,
    /// The last look was not quick: what the next one costs is measured.
    dear: bool,
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// This child has ended, or may have: reap it.
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
        self.next_by(now, reap::find)
    }

    /// This one had ended and was reaped.
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
            // The rest in the next round of the loop, which comes at once.
            self.round = None;
            return None;
        }
        if let Some((pid, left)) = self.behind {
            self.behind = following(pid, left);
            return Some(Finding::Ended(pid));
        }
        // To ask for the processor time is a system call, before and after: twice what a quick look costs.
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
            // It may have been another who had the processor. The next round measures that.
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

    /// Among children whose walk costs `price` of processor time: how many looks it takes until all of `ended` are
    /// reaped, and how many pids are asked for in vain.
    fn looks_and_misses(mut ended: BTreeSet<i32>, price: Duration) -> (usize, usize) {
        let (mut reaper, mut looks, mut misses) = (Reaper::default(), 0, 0);
        reaper.ask();
        // The last look, which finds nothing, ends it.
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
        // And the look that finds nothing more.
        assert_eq!(looks_and_misses((6000..7000).collect(), price).0, 2);
        // Each third lives: that it is worth while to ask on is known after the second look.
        assert_eq!(looks_and_misses((6000..7000).filter(|pid| pid % 3 > 0).collect(), price).0, 3);
    }

    #[test]
    fn children_far_from_each_other_are_found_by_looks() {
        let pids: BTreeSet<i32> =
            (1..20).map(|count| count * 100_000_000).chain([i32::MAX]).collect();
        let (looks, misses) = looks_and_misses(pids, Duration::from_micros(100));
        assert_eq!(looks, 21);
        // 200 for each that others could follow: as many as a look is worth. One for the first.
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
