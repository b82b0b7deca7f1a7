//! `--drained`: the app's own word, which the end of the drain waits for beside the connections.
//!
//! The app is asked only while nothing else keeps the drain from ending, and an answer counts only if it was asked for
//! since then: an earlier one says nothing of a request that came later.

use std::time::Duration;

use super::attempt::{HookId, Outcome, Run};
use super::fact::DrainEnd;
use super::phase::{Draining, Phase, Word};
use super::{Action, Machine};
use crate::types::Time;

/// The time from one look to the next.
const PERIOD: Duration = Duration::from_millis(500);
/// The same where the connections were in use meanwhile, so that the former look does not count any more.
const STALE: Duration = Duration::from_millis(100);
/// A look that takes longer is killed, and has found nothing.
const LONGEST: Duration = Duration::from_secs(5);

impl Word {
    pub(super) fn new(index: usize) -> Word {
        Word { index, attempt: 1, begun: None, runs: false, held: None }
    }

    /// When the next look starts, if nothing but the app's word has kept the drain from ending since `quiet`.
    fn next_look(&self, quiet: Time) -> Option<Time> {
        match self.begun {
            _ if self.runs => None,
            None => Some(quiet),
            Some(begun) => Some(begun.after(if begun < quiet { STALE } else { PERIOD })),
        }
    }

    /// The process of the last look is gone, so another one can start.
    fn forget(&mut self) {
        self.attempt = self.attempt.wrapping_add(1);
        self.runs = false;
    }

    /// The last look that has ended has found that the condition holds, and did not begin before `quiet`.
    fn counts(&self, quiet: Time) -> bool {
        self.held.is_some_and(|begun| begun >= quiet)
    }
}

impl Draining {
    /// The conditions that are missing, a bit for each, if nothing else keeps the drain from ending.
    pub(super) fn missing_words(&self) -> u64 {
        let Some(quiet) = self.quiet_since else { return 0 };
        let missing = self.words.iter().filter(|word| !word.counts(quiet));
        missing.fold(0, |bits, word| bits | 1 << word.index)
    }

    /// When `ask_app` has to be called next.
    pub(super) fn words_wakeup(&self) -> Option<Time> {
        let quiet = self.quiet_since?;
        self.words.iter().filter_map(|word| word.next_look(quiet)).min()
    }
}

impl Machine {
    /// Nothing but the app's own word keeps the drain from ending. Returns whether that does.
    pub(super) fn quiet_but_for_words(&mut self, now: Time, out: &mut Vec<Action>) -> bool {
        let Phase::Drain(draining) = &mut self.phase else { return false };
        draining.quiet_since.get_or_insert(now);
        let waits = draining.missing_words() != 0;
        if waits {
            self.ask_app(now, out);
        }
        waits
    }

    /// Starts the looks whose time has come.
    pub(super) fn ask_app(&mut self, now: Time, out: &mut Vec<Action>) {
        let last = self.drain_end();
        let Phase::Drain(draining) = &mut self.phase else { return };
        let Some(quiet) = draining.quiet_since else { return };
        let longest = now.after(LONGEST);
        let kill_at = last.map_or(longest, |last| last.min(longest));
        for word in &mut draining.words {
            if word.next_look(quiet).is_some_and(|next| next <= now) {
                (word.begun, word.runs) = (Some(now), true);
                let id = word.id();
                out.push(Action::StartHook { id, kill_at, budget_end: Some(kill_at) });
                self.runs.push(Run { id, kill_at, killed: false });
            }
        }
    }

    /// A look that was killed is gone: another one can follow.
    pub(super) fn look_is_gone(&mut self, id: HookId) {
        let Phase::Drain(draining) = &mut self.phase else { return };
        if let Some(word) = draining.words.iter_mut().find(|word| word.id() == id) {
            word.forget();
        }
    }

    /// A look has ended.
    pub(super) fn look_ended(
        &mut self,
        now: Time,
        id: HookId,
        outcome: Outcome,
        out: &mut Vec<Action>,
    ) {
        let Phase::Drain(draining) = &mut self.phase else { return };
        let Some(word) = draining.words.iter_mut().find(|word| word.id() == id) else { return };
        if outcome == Outcome::TimedOut {
            // It was killed. In uninterruptible sleep it stays, and further looks would pile up (`look_is_gone`).
            word.held = None;
            return;
        }
        word.forget();
        word.held = word.begun.filter(|_| outcome == Outcome::Done);
        if draining.quiet_since.is_none() || draining.missing_words() != 0 {
            return;
        }
        // Between two samples a request may have come.
        if self.plan.drain.is_some_and(|plan| plan.looks) {
            self.sample_now(now, out);
        } else {
            self.leave_drain(now, DrainEnd::Quiet, out);
        }
    }
}
