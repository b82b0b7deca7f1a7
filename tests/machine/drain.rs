//! The promises about the drain: when there is one, how long it lasts, when samples are taken.

use std::time::Duration;

use graceinit::machine::connections::Sample;
use graceinit::machine::fact::{DrainEnd, Fact};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::Plan;
use graceinit::types::Time;

use super::batch::Batch;
use super::ledger::{Ledger, measure};
use super::promises::{Kept, Promise, kept};
use super::world::{World, ms};

/// The state of the drain.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Drain {
    /// When readiness fell, if the app is to be drained.
    pub(super) fell: Option<Time>,
    acks: u32,
    begun: Option<Time>,
    /// When a fact told last that the drain lasts.
    told: Time,
    /// The connections that held it have to be told.
    holders_owed: bool,
    last: Option<Sample>,
    /// When the next sample has to be taken.
    sample_due: Option<Time>,
    pub(super) ended: Option<DrainEnd>,
}

impl Ledger {
    /// The rest of the budget is kept for on-stop hooks and the app.
    fn budget_needs_rest(&self, plan: &Plan) -> Option<Time> {
        let quarter = (measure(plan) / 4).min(Duration::from_secs(5));
        let quarters = if plan.hooks.on_stop.is_empty() { 1 } else { 2 };
        self.budget_end.map(|budget_end| budget_end.before(quarter * quarters))
    }

    fn longest_drain_end(&self, plan: &Plan) -> Option<Time> {
        Some(self.drain.begun?.after(plan.drain?.max?))
    }

    /// The last moment of the drain.
    pub(super) fn drain_end(&self, plan: &Plan) -> Option<Time> {
        self.budget_needs_rest(plan).into_iter().chain(self.longest_drain_end(plan)).min()
    }

    /// When load balancers count as informed.
    fn known_at(&self, plan: &Plan) -> Time {
        let Some((drain, fell)) = plan.drain.zip(self.drain.fell) else { return Time::default() };
        let acknowledged = drain.acks.is_some_and(|wanted| wanted <= self.drain.acks);
        if acknowledged { Time::default() } else { fell.after(drain.delay) }
    }

    /// Why the drain is over, if it is. `seen`: this event is a sample.
    fn over(&self, plan: &Plan, now: Time, seen: bool) -> Option<DrainEnd> {
        let drain = plan.drain?;
        let known = self.known_at(plan) <= now;
        let past = |end: Option<Time>| end.is_some_and(|end| end <= now);
        if seen && known && self.drain.last.is_some_and(|look| look.over) {
            Some(DrainEnd::Quiet)
        } else if past(self.budget_needs_rest(plan)) {
            Some(DrainEnd::Budget)
        } else if past(self.longest_drain_end(plan)) {
            Some(DrainEnd::Max)
        } else {
            (!drain.looks && known).then_some(DrainEnd::Delay)
        }
    }

    /// The next phase begins. Between pre-stop and on-stop an app that served is drained.
    pub(super) fn judge_drain_place(
        &mut self,
        plan: &Plan,
        world: &World,
        phase: PhaseName,
        batch: &mut Batch,
    ) -> Kept {
        let promise = Promise::DrainInPlace;
        if phase == PhaseName::Drain {
            kept(self.phase == PhaseName::PreStop, promise, || format!("in {:?}", self.phase))?;
            kept(self.pre_stop_is_over(plan, world), promise, || "before the last pre-stop hook")?;
            let Some(drain) = plan.drain.filter(|_| self.drain.fell.is_some()) else {
                return kept(false, promise, || "the app did not serve, or should not be drained");
            };
            let now = world.now;
            self.drain.begun = Some(now);
            self.drain.told = now;
            self.drain.sample_due = drain.looks.then_some(now);
            batch.owed_news.push(Fact::DrainBegun { delay: drain.delay });
        }
        if phase == PhaseName::OnStop || phase == PhaseName::Stopping {
            let drained = self.drain.fell.is_none() || self.drain.ended.is_some();
            kept(drained, promise, || "the app was not drained")?;
            kept(!self.drain.holders_owed, Promise::News, || "who held the drain is not told")?;
        }
        Ok(())
    }

    pub(super) fn sampled(&mut self, plan: &Plan, now: Time, look: Sample, batch: &mut Batch) {
        if self.phase != PhaseName::Drain || plan.drain.is_none() || self.is_hurried() {
            return;
        }
        self.drain.last = Some(look);
        batch.owed_news.push(Fact::Sampled { sample: look });
        let five_seconds = self.drain.told.after(ms(5000)) <= now;
        if five_seconds && self.over(plan, now, true) != Some(DrainEnd::Quiet) {
            let after = now.since(self.drain.begun.unwrap_or_default());
            batch.owed_news.push(Fact::StillDraining { sample: look, after });
            self.drain.told = now;
        }
        // When it is worth it; samples take a tenth of the time at most.
        self.drain.sample_due = Some(now.after(look.next.max(ms(20)).max(look.cost * 10)));
    }

    pub(super) fn judge_holders(&mut self) -> Kept {
        let owed = std::mem::take(&mut self.drain.holders_owed);
        kept(owed, Promise::News, || "who held the drain: twice, or without a sample")
    }

    pub(super) fn judge_sample(&mut self, plan: &Plan, now: Time) -> Kept {
        let promise = Promise::Samples;
        kept(self.phase == PhaseName::Drain, promise, || format!("in {:?}", self.phase))?;
        kept(plan.drain.is_some_and(|drain| drain.looks), promise, || "there are no ports")?;
        let due = self.drain.sample_due.take();
        kept(due.is_some_and(|due| due <= now), promise, || format!("at {now:?}, due: {due:?}"))
    }

    pub(super) fn acknowledged(&mut self, plan: &Plan, now: Time, acks: u32, batch: &mut Batch) {
        let serves = [PhaseName::PreStop, PhaseName::Drain].contains(&self.phase);
        let Some((drain, fell)) = plan.drain.zip(self.drain.fell).filter(|_| serves) else {
            return;
        };
        let before = std::mem::replace(&mut self.drain.acks, acks);
        if drain.acks.is_some_and(|wanted| (before + 1..=acks).contains(&wanted)) {
            batch.owed_news.push(Fact::Acknowledged { acks, after: now.since(fell) });
            if self.phase == PhaseName::Drain && drain.looks {
                self.drain.sample_due = Some(now);
            }
        }
    }

    pub(super) fn judge_drain_end(
        &mut self,
        plan: &Plan,
        now: Time,
        (why, after, last): (DrainEnd, Duration, Option<Sample>),
        batch: &Batch,
    ) -> Kept {
        let drains = self.phase == PhaseName::Drain && self.drain.ended.is_none();
        kept(drains, Promise::News, || format!("no drain is there to end in {:?}", self.phase))?;
        let seen = matches!(batch.event, graceinit::machine::Event::Sampled(_));
        let right = self.over(plan, now, seen);
        kept(right.is_some(), Promise::DrainHolds, || format!("{why:?}: {:?}", self.drain))?;
        kept(right == Some(why), Promise::News, || format!("{why:?}, not {right:?}"))?;
        let really = now.since(self.drain.begun.unwrap_or_default());
        kept((after, last) == (really, self.drain.last), Promise::News, || {
            format!("after {after:?}, really {really:?}; last {last:?}")
        })?;
        self.drain.ended = Some(why);
        let broken_off = [DrainEnd::Budget, DrainEnd::Max].contains(&why);
        self.drain.holders_owed = broken_off && last.is_some();
        Ok(())
    }

    /// A drain that goes on after a sample must not be over.
    pub(super) fn judge_drain_goes_on(&self, plan: &Plan, now: Time, batch: &Batch) -> Kept {
        let seen = matches!(batch.event, graceinit::machine::Event::Sampled(_));
        let over = if seen { self.over(plan, now, true) } else { None };
        let drains = self.phase == PhaseName::Drain && !self.is_hurried();
        kept(!drains || over.is_none(), Promise::DrainEnds, || format!("{over:?}"))
    }

    /// When the machine has to wake for the drain, apart from the budget.
    pub(super) fn drain_wakes(&self, plan: &Plan) -> Option<Time> {
        let looks = plan.drain.is_some_and(|drain| drain.looks);
        if looks { self.drain.sample_due } else { Some(self.known_at(plan)) }
    }

    /// The loop sleeps until `wake` during the drain.
    pub(super) fn judge_drain_waits(&self, plan: &Plan, world: &World, wake: Time) -> Kept {
        let now = world.now;
        kept(world.app_lives(), Promise::LeavesAtOnce, || "the app has ended")?;
        let over = self.over(plan, now, false);
        kept(over.is_none(), Promise::DrainEnds, || format!("{over:?}"))?;
        let end = self.drain_end(plan);
        kept(end.is_none_or(|end| wake <= end), Promise::DrainEnds, || {
            format!("until {wake:?}, its end is {end:?}")
        })?;
        if plan.drain.is_some_and(|drain| drain.looks) {
            let due = self.drain.sample_due;
            return kept(due.is_some_and(|due| wake <= due), Promise::Samples, || {
                format!("until {wake:?}, due: {due:?}")
            });
        }
        let known = self.known_at(plan);
        kept(wake <= known, Promise::DrainEnds, || format!("until {wake:?}, over at {known:?}"))
    }
}
