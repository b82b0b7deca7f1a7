//! What the actions of one event add up to, and what they should have added up to.

use std::mem::discriminant;
use std::ops::Range;

use graceinit::machine::fact::Fact;
use graceinit::machine::hook::{HookId, Outcome};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::{Event, Target};
use graceinit::types::Signal;

use super::promises::{Kept, Promise, kept};

pub(super) type Sent = (Signal, Target, Option<usize>);

/// `owed_…` is reckoned from the event, its namesake is what the machine did.
pub(super) struct Batch {
    pub(super) event: Event,
    pub(super) phase_before: PhaseName,
    /// Signals to the app, those that ask it to stop excepted.
    pub(super) owed: Vec<Sent>,
    pub(super) sent: Vec<Sent>,
    /// Facts about signals, retries, aborts, more time and the app's end.
    pub(super) owed_facts: Vec<Fact>,
    pub(super) facts: Vec<Fact>,
    pub(super) owed_continue: Option<Target>,
    pub(super) owed_suspends: usize,
    pub(super) suspends: usize,
    pub(super) owed_stopped_hooks: Vec<(HookId, Signal)>,
    pub(super) stopped_hooks: Vec<(HookId, Signal)>,
    /// SIGKILL must come now, and why.
    pub(super) owed_kill: Option<Promise>,
    pub(super) kills: usize,
    pub(super) owed_survey: bool,
    pub(super) surveys: usize,
    /// Whose business the signals are that go to the app.
    pub(super) sent_by: Promise,
    /// How the attempt of the present event ended.
    pub(super) expected_end: Option<(HookId, Outcome)>,
}

impl Batch {
    pub(super) fn new(event: Event, phase_before: PhaseName) -> Batch {
        Batch {
            event,
            phase_before,
            owed: Vec::new(),
            sent: Vec::new(),
            owed_facts: Vec::new(),
            facts: Vec::new(),
            owed_continue: None,
            owed_suspends: 0,
            suspends: 0,
            owed_stopped_hooks: Vec::new(),
            stopped_hooks: Vec::new(),
            owed_kill: None,
            kills: 0,
            owed_survey: false,
            surveys: 0,
            sent_by: Promise::ForwardedOnce,
            expected_end: None,
        }
    }

    /// Everything that was owed was done, once and in its order, and nothing else.
    pub(super) fn judge(&self) -> Kept {
        self.judge_facts()?;
        if let Some(promise) = self.owed_kill {
            kept(self.kills == 1, promise, || "SIGKILL was to come now, and did not")?;
        }
        kept(self.surveys == usize::from(self.owed_survey), Promise::Survey, || {
            format!("{} surveys at {:?}", self.surveys, self.event)
        })?;
        // Whether rounds are told apart is a promise of its own.
        let names = |hooks: &[(HookId, Signal)]| -> Vec<(HookId, Signal)> {
            hooks.iter().map(|(id, signal)| (HookId { round: 0, ..*id }, *signal)).collect()
        };
        let asked = names(&self.stopped_hooks) == names(&self.owed_stopped_hooks);
        kept(asked, Promise::Forestalled, || {
            format!("{:?}, not {:?}", self.stopped_hooks, self.owed_stopped_hooks)
        })?;
        kept(self.suspends == self.owed_suspends, Promise::Terminal, || {
            format!("at {:?}", self.event)
        })?;
        kept(self.sent == self.owed, self.sent_by, || {
            format!("{:?}, not {:?}, at {:?}", self.sent, self.owed, self.event)
        })
    }

    fn judge_facts(&self) -> Kept {
        let told = self.judge_facts_so_far();
        let missing = self.facts.len().max(self.owed_facts.len());
        told.and_then(|()| self.judge_places(self.facts.len()..missing))
    }

    /// Before the consequences hide the cause.
    pub(super) fn judge_facts_so_far(&self) -> Kept {
        self.judge_places(0..self.facts.len())
    }

    fn judge_places(&self, places: Range<usize>) -> Kept {
        for place in places {
            let (told, owed) = (self.facts.get(place), self.owed_facts.get(place));
            if told == owed {
                continue;
            }
            let same_kind = told.map(discriminant) == owed.map(discriminant);
            let promise = match owed.or(told) {
                Some(Fact::PhaseAborted { .. }) => Promise::Abort,
                Some(Fact::Extended { .. }) => Promise::MoreTime,
                Some(Fact::HookRetried { .. }) => Promise::Retries,
                Some(Fact::StopAgain { .. }) if same_kind => Promise::StopAgain,
                Some(Fact::Held { .. }) => Promise::HeldSignals,
                Some(
                    Fact::ReloadRequested { .. }
                    | Fact::ReloadMerged { .. }
                    | Fact::ReloadDropped { .. },
                ) => Promise::Reloads,
                Some(Fact::Forwarded { .. } | Fact::Dropped { .. }) => self.sent_by,
                _ => Promise::Account,
            };
            return kept(false, promise, || format!("{told:?}, not {owed:?}, at {:?}", self.event));
        }
        Ok(())
    }
}
