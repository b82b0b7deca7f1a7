//! The drain: when samples of the connections are taken, and when the drain is over.

use std::time::Duration;

use super::connections::{Moment, Sample};
use super::fact::{DrainEnd, Fact};
use super::phase::{Draining, Phase, Serving, Word};
use super::{Action, Machine, budget};
use crate::types::Time;

/// The next sample, if the result of this one is not told.
const PERIOD: Duration = Duration::from_millis(100);
/// How often a fact tells that the drain lasts.
const TOLD: Duration = Duration::from_secs(5);
/// The shortest pause between two samples, however soon the drain may be over.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

impl Machine {
    /// Begins the drain, after the last pre-stop hook.
    pub(super) fn enter_drain(&mut self, now: Time, serving: Serving, out: &mut Vec<Action>) {
        let Some(plan) = self.plan.drain else { return self.enter_on_stop(now, out) };
        let draining = Draining {
            serving,
            begun: now,
            told: now,
            last_sample: None,
            next_sample: now,
            quiet_since: None,
            words: (0..plan.words).map(Word::new).collect(),
        };
        self.enter(Phase::Drain(draining), out);
        out.push(Action::Record(Fact::DrainBegun { delay: plan.delay }));
        self.drain_tick(now, out);
    }

    /// When the drain ends whatever the samples show, because the rest of the budget belongs to the on-stop
    /// hooks and the app. `None`: the budget has no end.
    fn budget_needs_rest(&self) -> Option<Time> {
        let hooks = !self.plan.hooks.on_stop.is_empty();
        self.budget_end().map(|end| budget::drain_end(end, self.plan.share_base(), hooks))
    }

    /// When `--drain-max` is over.
    fn longest_drain_end(&self) -> Option<Time> {
        let Phase::Drain(draining) = &self.phase else { return None };
        let max = self.plan.drain.and_then(|plan| plan.max)?;
        Some(draining.begun.after(max))
    }

    /// The earlier of both.
    fn last_drain_moment(&self) -> Option<Time> {
        self.budget_needs_rest().into_iter().chain(self.longest_drain_end()).min()
    }

    /// Where in the drain a sample is taken.
    pub fn drain_moment(&self, now: Time) -> Moment {
        let Phase::Drain(draining) = &self.phase else { return Moment::default() };
        let delay_end = self.delay_end(draining.serving);
        Moment {
            at: now.since(draining.begun),
            delay_left: delay_end.map_or(Duration::ZERO, |end| end.since(now)),
            left: self.last_drain_moment().map(|end| end.since(now)),
        }
    }

    /// When a drain that goes on now is over whatever the samples show.
    pub fn drain_end(&self) -> Option<Time> {
        matches!(self.phase, Phase::Drain(_)).then(|| self.last_drain_moment()).flatten()
    }

    /// When `--drain-delay` is over; `None`: enough probes were answered, which ends it.
    fn delay_end(&self, serving: Serving) -> Option<Time> {
        let plan = self.plan.drain?;
        let acknowledged = plan.acks.is_some_and(|wanted| wanted <= serving.acks);
        (!acknowledged).then(|| serving.not_ready_since.after(plan.delay))
    }

    /// When `drain_tick` has to be called next.
    pub(super) fn drain_wakeup(&self, draining: &Draining) -> Option<Time> {
        let samples = self.plan.drain.is_some_and(|plan| plan.looks);
        let next = match (samples, draining.quiet_since) {
            (true, _) => Some(draining.next_sample),
            (false, None) => self.delay_end(draining.serving),
            (false, Some(_)) => Some(draining.told.after(TOLD)),
        };
        let words = draining.words_wakeup();
        next.into_iter().chain(words).chain(self.last_drain_moment()).min()
    }

    pub(super) fn drain_tick(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Drain(draining) = &self.phase else { return };
        if self.is_hurried() {
            return;
        }
        let (serving, next_sample) = (draining.serving, draining.next_sample);
        if self.budget_needs_rest().is_some_and(|end| end <= now) {
            return self.leave_drain(now, DrainEnd::Budget, out);
        }
        if self.longest_drain_end().is_some_and(|end| end <= now) {
            return self.leave_drain(now, DrainEnd::Max, out);
        }
        if self.plan.drain.is_some_and(|plan| plan.looks) {
            if next_sample <= now {
                // `sampled` sets the time of the next sample. Until then none is taken.
                if let Phase::Drain(draining) = &mut self.phase {
                    draining.next_sample = now.after(PERIOD);
                }
                out.push(Action::TakeSample);
            }
            self.ask_app(now, out);
        } else if self.delay_end(serving).is_none_or(|end| end <= now) {
            if self.quiet_but_for_words(now, out) {
                return self.tell_still_draining(now, out);
            }
            self.leave_drain(now, DrainEnd::Delay, out);
        }
    }

    /// Every five seconds a fact tells that the drain lasts.
    fn tell_still_draining(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Drain(draining) = &mut self.phase else { return };
        if draining.told.after(TOLD) <= now {
            draining.told = now;
            out.push(Action::Record(Fact::StillDraining {
                sample: draining.last_sample,
                missing: draining.missing_words(),
                after: now.since(draining.begun),
            }));
        }
    }

    /// A sample was taken.
    pub(super) fn sampled(&mut self, now: Time, sample: Sample, out: &mut Vec<Action>) {
        if self.is_hurried() {
            return;
        }
        let Phase::Drain(draining) = &mut self.phase else { return };
        draining.last_sample = Some(sample);
        let serving = draining.serving;
        out.push(Action::Record(Fact::Sampled { sample }));
        let delay_end = self.delay_end(serving).unwrap_or(now);
        let quiet = sample.over && delay_end <= now;
        if quiet && !self.quiet_but_for_words(now, out) {
            let why = if sample.holding > 0 { DrainEnd::Moment } else { DrainEnd::Quiet };
            return self.leave_drain(now, why, out);
        }
        // A sample that takes long is taken rarely: a tenth of the time at most.
        let pause = sample.next.max(SHORTEST_PAUSE).max(sample.cost.saturating_mul(10));
        if let Phase::Drain(draining) = &mut self.phase {
            draining.next_sample = now.after(pause);
            if !quiet {
                draining.quiet_since = None;
            }
        }
        self.tell_still_draining(now, out);
    }

    /// Readiness probes were answered "not ready", `acks` of them since readiness fell.
    pub(super) fn acknowledged(&mut self, now: Time, acks: u32, out: &mut Vec<Action>) {
        let wanted = self.plan.drain.and_then(|plan| plan.acks);
        let (serving, draining) = match &mut self.phase {
            Phase::PreStop { serving: Some(serving), .. } => (serving, false),
            Phase::Drain(draining) => (&mut draining.serving, true),
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { serving: None, .. }
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => return,
        };
        let before = std::mem::replace(&mut serving.acks, acks);
        if wanted.is_some_and(|wanted| before < wanted && wanted <= acks) {
            let after = now.since(serving.not_ready_since);
            out.push(Action::Record(Fact::Acknowledged { acks, after }));
            if draining {
                self.sample_now(now, out);
            }
        }
    }

    pub(super) fn sample_now(&mut self, now: Time, out: &mut Vec<Action>) {
        if let Phase::Drain(draining) = &mut self.phase {
            draining.next_sample = now;
        }
        self.drain_tick(now, out);
    }

    pub(super) fn leave_drain(&mut self, now: Time, why: DrainEnd, out: &mut Vec<Action>) {
        let Phase::Drain(draining) = &self.phase else { return };
        let (after, last) = (now.since(draining.begun), draining.last_sample);
        let missing = draining.missing_words();
        out.push(Action::Record(Fact::DrainEnded { why, after, last, missing }));
        let told = last.is_some() || missing != 0;
        if told && matches!(why, DrainEnd::Moment | DrainEnd::Budget | DrainEnd::Max) {
            out.push(Action::TellHolders { missing });
        }
        self.kill_checks(out);
        self.enter_on_stop(now, out);
    }
}
