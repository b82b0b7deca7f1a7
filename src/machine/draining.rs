//! The drain as a phase: when looks are made, and when it is over.

use std::time::Duration;

use super::drain::{Look, Moment};
use super::fact::{DrainEnd, Fact};
use super::hook::Queue;
use super::phase::{Draining, Phase, Serving};
use super::{Action, Machine, budget};
use crate::types::Time;

/// A look whose result is not told makes another one due so much later.
const PERIOD: Duration = Duration::from_millis(100);
/// How often it is told that the drain lasts.
const TOLD: Duration = Duration::from_secs(5);
/// At least this is between two looks, however short the times are that are waited for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

impl Machine {
    /// The pre-stop hooks are through.
    pub(super) fn enter_drain(&mut self, now: Time, serving: Serving, out: &mut Vec<Action>) {
        let Some(plan) = self.plan.drain else { return self.enter_on_stop(now, out) };
        let draining = Draining { serving, begun: now, told: now, last: None, next: now };
        self.enter(Phase::Drain(draining), out);
        out.push(Action::Record(Fact::DrainBegun { delay: plan.delay }));
        self.drain_tick(now, out);
    }

    pub(super) fn enter_on_stop(&mut self, now: Time, out: &mut Vec<Action>) {
        self.enter(Phase::OnStop(Queue::first()), out);
        self.run_queue(now, out);
    }

    /// The last moment of the drain, if the budget has an end: it needs the rest.
    fn budget_needs_rest(&self) -> Option<Time> {
        let hooks = !self.plan.hooks.on_stop.is_empty();
        self.deadline.map(|end| budget::drain_end(end, self.plan.measure(), hooks))
    }

    /// The last moment of the drain by `--drain-max`.
    fn longest_drain(&self) -> Option<Time> {
        let Phase::Drain(draining) = &self.phase else { return None };
        let max = self.plan.drain.and_then(|plan| plan.max)?;
        Some(draining.begun.after(max))
    }

    /// The last moment of the drain, if it has one.
    pub(super) fn drain_end(&self) -> Option<Time> {
        self.budget_needs_rest().into_iter().chain(self.longest_drain()).min()
    }

    /// Where in the drain a look is made.
    pub fn drain_moment(&self, now: Time) -> Moment {
        let Phase::Drain(draining) = &self.phase else { return Moment::default() };
        let delay_end = self.delay_end(draining.serving);
        Moment {
            at: now.since(draining.begun),
            delay_left: delay_end.map_or(Duration::ZERO, |end| end.since(now)),
            left: self.drain_end().map(|end| end.since(now)),
        }
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
        if self.budget_needs_rest().is_some_and(|end| end <= now) {
            return self.leave_drain(now, DrainEnd::Budget, out);
        }
        if self.longest_drain().is_some_and(|end| end <= now) {
            return self.leave_drain(now, DrainEnd::Max, out);
        }
        if self.plan.drain.is_some_and(|plan| plan.looks) {
            if next <= now {
                // The answer says when the next is due; until then nobody asks again.
                if let Phase::Drain(draining) = &mut self.phase {
                    draining.next = now.after(PERIOD);
                }
                out.push(Action::Look);
            }
        } else if self.delay_end(serving).is_none_or(|end| end <= now) {
            self.leave_drain(now, DrainEnd::Delay, out);
        }
    }

    /// The ports were looked at.
    pub(super) fn looked(&mut self, now: Time, look: Look, out: &mut Vec<Action>) {
        let Phase::Drain(draining) = &mut self.phase else { return };
        draining.last = Some(look);
        let Draining { serving, begun, told, .. } = *draining;
        out.push(Action::Record(Fact::Looked { look }));
        let delay_end = self.delay_end(serving).unwrap_or(now);
        if look.over && delay_end <= now {
            return self.leave_drain(now, DrainEnd::Quiet, out);
        }
        let tells = told.after(TOLD) <= now;
        if tells {
            out.push(Action::Record(Fact::StillDraining { look, after: now.since(begun) }));
        }
        // A look that costs much is not made often: a tenth of the time at most.
        let pause = look.next.max(SHORTEST_PAUSE).max(look.cost.saturating_mul(10));
        if let Phase::Drain(draining) = &mut self.phase {
            draining.next = now.after(pause);
            if tells {
                draining.told = now;
            }
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
        if last.is_some() && matches!(why, DrainEnd::Budget | DrainEnd::Max) {
            out.push(Action::TellHolders);
        }
        self.enter_on_stop(now, out);
    }
}
