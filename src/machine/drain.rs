//! The drain as a phase: when looks are made, and when it is over.

use std::time::Duration;

use super::connections::Sample;
use super::fact::{DrainEnd, Fact};
use super::phase::{Draining, Phase, Serving};
use super::{Action, Machine, budget};
use crate::types::Time;

/// How often the ports are looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// At least this is between two looks, however short the times are that are waited for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

impl Machine {
    /// The pre-stop hooks are through.
    pub(super) fn enter_drain(&mut self, now: Time, serving: Serving, out: &mut Vec<Action>) {
        let Some(plan) = self.plan.drain else { return self.enter_on_stop(now, out) };
        // Nothing is known of the time before the first look: the silence begins here.
        let draining = Draining { serving, begun: now, noise: now, last: None, next: now };
        self.enter(Phase::Drain(draining), out);
        out.push(Action::Record(Fact::DrainBegun { delay: plan.delay }));
        self.drain_tick(now, out);
    }

    /// The last moment of the drain, if the budget has an end: it needs the rest.
    pub(super) fn drain_end(&self) -> Option<Time> {
        let hooks = !self.plan.hooks.on_stop.is_empty();
        self.budget_end.map(|end| budget::drain_end(end, self.plan.measure(), hooks))
    }

    /// When the drain is over at the latest, if the budget has an end.
    pub fn drain_deadline(&self) -> Option<Time> {
        matches!(self.phase, Phase::Drain(_)).then(|| self.drain_end()).flatten()
    }

    /// When the delay is over; `None`: it is, because enough probes were answered.
    fn delay_end(&self, serving: Serving) -> Option<Time> {
        let plan = self.plan.drain?;
        let acknowledged = plan.acks.is_some_and(|wanted| wanted <= serving.acks);
        (!acknowledged).then(|| serving.fell.after(plan.delay))
    }

    /// When the drain wants to be woken.
    pub(super) fn drain_due(&self, draining: &Draining) -> Option<Time> {
        let looks = self.plan.drain.is_some_and(|plan| plan.looks);
        let next = if looks { Some(draining.next) } else { self.delay_end(draining.serving) };
        next.into_iter().chain(self.drain_end()).min()
    }

    pub(super) fn drain_tick(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Drain(draining) = &self.phase else { return };
        let (serving, next) = (draining.serving, draining.next);
        if self.drain_end().is_some_and(|end| end <= now) {
            return self.leave_drain(now, DrainEnd::Budget, out);
        }
        if self.plan.drain.is_some_and(|plan| plan.looks) {
            if next <= now {
                // The answer says when the next is due; until then nobody asks again.
                if let Phase::Drain(draining) = &mut self.phase {
                    draining.next = now.after(PERIOD);
                }
                out.push(Action::TakeSample);
            }
        } else if self.delay_end(serving).is_none_or(|end| end <= now) {
            self.leave_drain(now, DrainEnd::Delay, out);
        }
    }

    /// The ports were looked at.
    pub(super) fn sampled(&mut self, now: Time, sample: Sample, out: &mut Vec<Action>) {
        let Some(plan) = self.plan.drain else { return };
        let Phase::Drain(draining) = &mut self.phase else { return };
        if let Some(silence) = sample.silence {
            draining.noise = draining.noise.max(now.before(silence));
        }
        draining.last = Some(sample);
        let quiet_at = draining.noise.after(plan.quiet);
        let serving = draining.serving;
        out.push(Action::Record(Fact::Sampled { sample }));
        let delay_end = self.delay_end(serving).unwrap_or(now);
        if sample.calm() && quiet_at <= now && delay_end <= now {
            return self.leave_drain(now, DrainEnd::Quiet, out);
        }
        // If possible, at the moment at which it may be over. A look that costs much is not made
        // often: a tenth of the time at most.
        let edges = [delay_end, quiet_at].into_iter().filter(|edge| now < *edge);
        let next = edges.fold(now.after(PERIOD), Time::min);
        let pause = SHORTEST_PAUSE.max(sample.cost.saturating_mul(10));
        if let Phase::Drain(draining) = &mut self.phase {
            draining.next = next.max(now.after(pause));
        }
    }

    /// So many readiness probes were answered "not ready" since readiness fell.
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
            let after = now.since(serving.fell);
            out.push(Action::Record(Fact::Acknowledged { acks, after }));
            if draining {
                self.look_now(now, out);
            }
        }
    }

    fn look_now(&mut self, now: Time, out: &mut Vec<Action>) {
        if let Phase::Drain(draining) = &mut self.phase {
            draining.next = now;
        }
        self.drain_tick(now, out);
    }

    fn leave_drain(&mut self, now: Time, why: DrainEnd, out: &mut Vec<Action>) {
        let Phase::Drain(draining) = &self.phase else { return };
        let (after, last) = (now.since(draining.begun), draining.last);
        out.push(Action::Record(Fact::DrainEnded { why, after, last }));
        self.enter_on_stop(now, out);
    }
}
