//! The promises about the drain: when there is one, how long it lasts, when the ports are looked at.

use std::time::Duration;

use graceinit::machine::drain::Look;
use graceinit::machine::fact::{DrainEnd, Fact};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::Plan;
use graceinit::types::Time;

use super::batch::Batch;
use super::ledger::{Ledger, measure};
use super::promises::{Kept, Promise, kept};
use super::world::{World, ms};

/// The account of the drain.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Drain {
    /// When readiness fell, if the app is to be drained.
    pub(super) fell: Option<Time>,
    acks: u32,
    begun: Option<Time>,
    /// When it was told last that the drain lasts.
    told: Time,
    /// Which connections held it is to be told.
    holders_owed: bool,
    last: Option<Look>,
    /// When the next look is due.
    look_due: Option<Time>,
    pub(super) ended: Option<DrainEnd>,
}

impl Ledger {
    /// On-stop hooks and the app get the rest, if the budget has an end.
    fn budget_needs_rest(&self, plan: &Plan) -> Option<Time> {
        let quarter = (measure(plan) / 4).min(Duration::from_secs(5));
        let quarters = if plan.hooks.on_stop.is_empty() { 1 } else { 2 };
        self.deadline.map(|deadline| deadline.before(quarter * quarters))
    }

    fn longest_drain(&self, plan: &Plan) -> Option<Time> {
        Some(self.drain.begun?.after(plan.drain?.max?))
    }

    pub(super) fn drain_end(&self, plan: &Plan) -> Option<Time> {
        self.budget_needs_rest(plan).into_iter().chain(self.longest_drain(plan)).min()
    }

    /// When balancers are taken to know.
    fn known_at(&self, plan: &Plan) -> Time {
        let Some((drain, fell)) = plan.drain.zip(self.drain.fell) else { return Time::default() };
        let acknowledged = drain.acks.is_some_and(|wanted| wanted <= self.drain.acks);
        if acknowledged { Time::default() } else { fell.after(drain.delay) }
    }

    /// Why the drain is over, if it is. `seen`: the ports were looked at just now.
    fn over(&self, plan: &Plan, now: Time, seen: bool) -> Option<DrainEnd> {
        let drain = plan.drain?;
        let known = self.known_at(plan) <= now;
        let past = |end: Option<Time>| end.is_some_and(|end| end <= now);
        if seen && known && self.drain.last.is_some_and(|look| look.over) {
            Some(DrainEnd::Quiet)
        } else if past(self.budget_needs_rest(plan)) {
            Some(DrainEnd::Budget)
        } else if past(self.longest_drain(plan)) {
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
            self.drain.look_due = drain.looks.then_some(now);
            batch.owed_news.push(Fact::DrainBegun { delay: drain.delay });
        }
        if phase == PhaseName::OnStop || phase == PhaseName::Stopping {
            let drained = self.drain.fell.is_none() || self.drain.ended.is_some();
            kept(drained, promise, || "the app was not drained")?;
            kept(!self.drain.holders_owed, Promise::News, || "who held the drain is not told")?;
        }
        Ok(())
    }

    pub(super) fn looked(&mut self, plan: &Plan, now: Time, look: Look, batch: &mut Batch) {
        if self.phase != PhaseName::Drain || plan.drain.is_none() {
            return;
        }
        self.drain.last = Some(look);
        batch.owed_news.push(Fact::Looked { look });
        let five_seconds = self.drain.told.after(ms(5000)) <= now;
        if five_seconds && self.over(plan, now, true) != Some(DrainEnd::Quiet) {
            let after = now.since(self.drain.begun.unwrap_or_default());
            batch.owed_news.push(Fact::StillDraining { look, after });
            self.drain.told = now;
        }
        // When it is worth it; a look that costs much takes a tenth of the time at most.
        self.drain.look_due = Some(now.after(look.next.max(ms(20)).max(look.cost * 10)));
    }

    pub(super) fn judge_holders(&mut self) -> Kept {
        let owed = std::mem::take(&mut self.drain.holders_owed);
        kept(owed, Promise::News, || "who held the drain: twice, or nothing was looked at")
    }

    pub(super) fn judge_look(&mut self, plan: &Plan, now: Time) -> Kept {
        let promise = Promise::Looks;
        kept(self.phase == PhaseName::Drain, promise, || format!("in {:?}", self.phase))?;
        kept(plan.drain.is_some_and(|drain| drain.looks), promise, || "there are no ports")?;
        let due = self.drain.look_due.take();
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
                self.drain.look_due = Some(now);
            }
        }
    }

    pub(super) fn judge_drain_end(
        &mut self,
        plan: &Plan,
        now: Time,
        (why, after, last): (DrainEnd, Duration, Option<Look>),
        batch: &Batch,
    ) -> Kept {
        let drains = self.phase == PhaseName::Drain && self.drain.ended.is_none();
        kept(drains, Promise::News, || format!("no drain is there to end in {:?}", self.phase))?;
        let seen = matches!(batch.event, graceinit::machine::Event::Looked(_));
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

    /// It was looked, and the drain goes on.
    pub(super) fn judge_drain_goes_on(&self, plan: &Plan, now: Time, batch: &Batch) -> Kept {
        let seen = matches!(batch.event, graceinit::machine::Event::Looked(_));
        let over = if seen { self.over(plan, now, true) } else { None };
        let drains = self.phase == PhaseName::Drain;
        kept(!drains || over.is_none(), Promise::DrainEnds, || format!("{over:?}"))
    }

    /// When the drain has to be looked after, whatever the budget says.
    pub(super) fn drain_wakes(&self, plan: &Plan) -> Option<Time> {
        let looks = plan.drain.is_some_and(|drain| drain.looks);
        if looks { self.drain.look_due } else { Some(self.known_at(plan)) }
    }

    /// The supervisor sleeps until `wake` while the app is drained.
    pub(super) fn judge_drain_waits(&self, plan: &Plan, world: &World, wake: Time) -> Kept {
        let now = world.now;
        kept(world.app_lives(), Promise::LeavesAtOnce, || "the app has gone")?;
        let over = self.over(plan, now, false);
        kept(over.is_none(), Promise::DrainEnds, || format!("{over:?}"))?;
        let end = self.drain_end(plan);
        kept(end.is_none_or(|end| wake <= end), Promise::DrainEnds, || {
            format!("until {wake:?}, its end is {end:?}")
        })?;
        if plan.drain.is_some_and(|drain| drain.looks) {
            let due = self.drain.look_due;
            return kept(due.is_some_and(|due| wake <= due), Promise::Looks, || {
                format!("until {wake:?}, due: {due:?}")
            });
        }
        let known = self.known_at(plan);
        kept(wake <= known, Promise::DrainEnds, || format!("until {wake:?}, over at {known:?}"))
    }
}
