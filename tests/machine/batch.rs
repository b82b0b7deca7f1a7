//! A batch: the actions of one event, and the actions that the event requires.

use std::mem::discriminant;
use std::ops::Range;
use std::time::Duration;

use graceinit::machine::fact::Fact;
use graceinit::machine::hooks::{HookId, Outcome};
use graceinit::machine::phase::Failure;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::{Event, Target};
use graceinit::types::{Pid, Signal};

use super::promises::{Kept, Promise, kept};

pub(super) type Sent = (Signal, Target, Option<usize>);

/// `owed_…` is computed from the event; the field of the same name without it is what the machine did.
pub(super) struct Batch {
    pub(super) event: Event,
    pub(super) phase_before: PhaseName,
    /// Signals to the app, except stop signals.
    pub(super) owed: Vec<Sent>,
    /// A signal that has to come after all others.
    pub(super) owed_at_last: Option<Sent>,
    pub(super) sent: Vec<Sent>,
    /// Facts about signals, retries, aborts, more time and the app's end.
    pub(super) owed_facts: Vec<Fact>,
    pub(super) facts: Vec<Fact>,
    pub(super) owed_continue: Option<Target>,
    pub(super) owed_suspends: usize,
    pub(super) suspends: usize,
    pub(super) owed_stopped_hooks: Vec<(HookId, Signal)>,
    pub(super) stopped_hooks: Vec<(HookId, Signal)>,
    /// Facts about readiness and the drain.
    pub(super) owed_news: Vec<Fact>,
    pub(super) news: Vec<Fact>,
    pub(super) owed_follows: Vec<Pid>,
    pub(super) follows: Vec<Pid>,
    /// The app has failed and has to be stopped by this event.
    pub(super) owed_failure: Option<Failure>,
    /// The app has announced its end: readiness has to fall by this event.
    pub(super) owed_over: bool,
    /// The diagnose signal has to be sent by this event: the signal, and the rest of the budget.
    pub(super) owed_diagnosis: Option<(Signal, Option<Duration>)>,
    /// SIGKILL has to be sent by this event, because of this promise.
    /// The signal of a further stop request has to be sent now.
    pub(super) owed_escalation: Option<Signal>,
    pub(super) owed_kill: Option<Promise>,
    pub(super) kills: usize,
    pub(super) owed_scan: bool,
    pub(super) scans: usize,
    /// How often the end of the budget was recorded.
    pub(super) budget_ends: usize,
    pub(super) survivor_reports: usize,
    /// How many phases that read the process tree were entered.
    pub(super) tree_phases: usize,
    pub(super) prepared_reports: usize,
    pub(super) owed_more_time: Vec<Duration>,
    pub(super) more_time: Vec<Duration>,
    /// TERM or INT is forwarded.
    pub(super) asks: bool,
    /// The promise that the signals to the app are part of.
    pub(super) sent_by: Promise,
    /// The outcome that has to be recorded for the attempt of this event.
    pub(super) expected_end: Option<(HookId, Outcome)>,
}

impl Batch {
    pub(super) fn new(event: Event, phase_before: PhaseName) -> Batch {
        Batch {
            event,
            phase_before,
            owed: Vec::new(),
            owed_at_last: None,
            sent: Vec::new(),
            owed_facts: Vec::new(),
            facts: Vec::new(),
            owed_continue: None,
            owed_suspends: 0,
            suspends: 0,
            owed_stopped_hooks: Vec::new(),
            stopped_hooks: Vec::new(),
            owed_news: Vec::new(),
            news: Vec::new(),
            owed_follows: Vec::new(),
            follows: Vec::new(),
            owed_failure: None,
            owed_over: false,
            owed_diagnosis: None,
            owed_escalation: None,
            owed_kill: None,
            kills: 0,
            owed_scan: false,
            scans: 0,
            budget_ends: 0,
            survivor_reports: 0,
            tree_phases: 0,
            prepared_reports: 0,
            owed_more_time: Vec::new(),
            more_time: Vec::new(),
            asks: false,
            sent_by: Promise::ForwardedOnce,
            expected_end: None,
        }
    }

    /// Everything that the event requires was done, once and in its order, and nothing else.
    pub(super) fn judge(&self) -> Kept {
        self.judge_news()?;
        self.judge_facts()?;
        kept(self.owed_escalation.is_none(), Promise::Escalates, || {
            format!("{:?} is not sent", self.owed_escalation)
        })?;
        if let Some(promise) = self.owed_kill {
            kept(self.kills == 1, promise, || "SIGKILL was to come now, and did not")?;
        }
        kept(self.scans == usize::from(self.owed_scan), Promise::SurvivorScan, || {
            format!("{} scans at {:?}", self.scans, self.event)
        })?;
        kept(self.survivor_reports == self.budget_ends, Promise::Survivors, || {
            format!("{} reports at {:?}", self.survivor_reports, self.event)
        })?;
        kept(self.prepared_reports == self.tree_phases, Promise::DeadMansReport, || {
            format!("{} for {} phases", self.prepared_reports, self.tree_phases)
        })?;
        kept(self.more_time == self.owed_more_time, Promise::MoreTime, || {
            format!("{:?}, not {:?}", self.more_time, self.owed_more_time)
        })?;
        // That rounds differ is a promise of its own.
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
        let owed: Vec<Sent> = self.owed.iter().chain(&self.owed_at_last).copied().collect();
        let without = |sent: &[Sent]| -> Vec<Sent> {
            sent.iter().filter(|(signal, ..)| *signal != Signal::CONT).copied().collect()
        };
        let but_for_that = self.asks && without(&self.sent) == without(&owed);
        let promise = if but_for_that { Promise::Continued } else { self.sent_by };
        kept(self.sent == owed, promise, || {
            format!("{:?}, not {owed:?}, at {:?}", self.sent, self.event)
        })
    }

    /// A failure has to be acted on.
    pub(super) fn judge_failures(&self) -> Kept {
        kept(self.owed_failure != Some(Failure::NotReady), Promise::ReadyInTime, || "no stop")?;
        kept(self.owed_failure != Some(Failure::OutOfMemory), Promise::ChildOom, || "no stop")?;
        kept(self.owed_failure.is_none(), Promise::Watchdog, || "no stop")
    }

    fn judge_news(&self) -> Kept {
        kept(self.owed_diagnosis.is_none(), Promise::Diagnose, || "not when it hung")?;
        kept(self.follows == self.owed_follows, Promise::MainPid, || {
            format!("{:?}, not {:?}", self.follows, self.owed_follows)
        })?;
        // Their order is not promised.
        let count = |all: &[Fact], one: &Fact| all.iter().filter(|fact| *fact == one).count();
        let told = |one: &Fact| count(&self.news, one) == count(&self.owed_news, one);
        let right = self.news.iter().chain(&self.owed_news).all(told);
        kept(right, Promise::News, || {
            format!("{:?}, not {:?}, at {:?}", self.news, self.owed_news, self.event)
        })
    }

    fn judge_facts(&self) -> Kept {
        let told = self.judge_facts_so_far();
        let missing = self.facts.len().max(self.owed_facts.len());
        told.and_then(|()| self.judge_places(self.facts.len()..missing))
    }

    /// Called before the end of the batch, so that the first wrong fact is reported and not its consequences.
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
                Some(Fact::StopRequested { .. }) if same_kind => Promise::TimeRecorded,
                Some(Fact::Held { .. } | Fact::TooEarly { .. }) => Promise::HeldSignals,
                Some(Fact::StoodStill { .. }) => Promise::Standstill,
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
