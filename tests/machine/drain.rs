//! The promises about the drain: when there is one, how long it lasts, when samples are taken.

use std::time::Duration;

use graceinit::machine::connections::Sample;
use graceinit::machine::fact::{DrainEnd, Fact};
use graceinit::machine::hooks::{HookId, HookPhase};
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
    /// Since when nothing but the app's own word keeps the drain from ending.
    quiet: Option<Time>,
    words: Vec<Word>,
    pub(super) ended: Option<DrainEnd>,
}

/// A condition of `--drained`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Word {
    /// How many looks were begun, and when the last one was.
    looks: u32,
    begun: Option<Time>,
    runs: bool,
    /// The look that runs was killed.
    killed: bool,
    /// When the last look that has ended was begun, if the condition held.
    held: Option<Time>,
}

impl Word {
    fn is_missing(&self, quiet: Time) -> bool {
        self.held.is_none_or(|begun| begun < quiet)
    }

    /// When the next look has to begin.
    fn due(&self, quiet: Time) -> Option<Time> {
        let again = |begun: Time| begun.after(ms(if begun < quiet { 100 } else { 500 }));
        (!self.runs).then(|| self.begun.map_or(quiet, again))
    }
}

impl Drain {
    /// The conditions that alone keep the drain from ending.
    fn missing(&self) -> u64 {
        let Some(quiet) = self.quiet else { return 0 };
        let words = self.words.iter().enumerate().filter(|(_, word)| word.is_missing(quiet));
        words.fold(0, |bits, (index, _)| bits | 1 << index)
    }

    /// When the first of the next looks has to begin.
    fn word_due(&self) -> Option<Time> {
        let quiet = self.quiet?;
        self.words.iter().filter_map(|word| word.due(quiet)).min()
    }
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
        let word = self.drain.quiet.is_some() && self.drain.missing() == 0;
        let looked = seen && self.drain.last.is_some_and(|look| look.over);
        let said = !drain.looks && drain.words > 0;
        if (looked || said) && known && word {
            let holding = self.drain.last.is_some_and(|look| look.holding > 0);
            Some(if drain.looks && holding { DrainEnd::Moment } else { DrainEnd::Quiet })
        } else if past(self.budget_needs_rest(plan)) {
            Some(DrainEnd::Budget)
        } else if past(self.longest_drain_end(plan)) {
            Some(DrainEnd::Max)
        } else {
            (!drain.looks && drain.words == 0 && known).then_some(DrainEnd::Delay)
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
            let new = Word { looks: 0, begun: None, runs: false, killed: false, held: None };
            self.drain.words = vec![new; drain.words];
            self.delay_may_be_over(plan, now);
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
        let quiet = look.over && self.known_at(plan) <= now;
        self.drain.quiet = quiet.then(|| self.drain.quiet.unwrap_or(now));
        // When it is worth it; samples take a tenth of the time at most.
        self.drain.sample_due = Some(now.after(look.next.max(ms(20)).max(look.cost * 10)));
    }

    /// Without ports, the delay alone keeps a drain from being quiet.
    pub(super) fn delay_may_be_over(&mut self, plan: &Plan, now: Time) {
        let without = self.phase == PhaseName::Drain || self.drain.begun == Some(now);
        let over = self.drain_end(plan).is_some_and(|end| end <= now);
        if without
            && !over
            && plan.drain.is_some_and(|drain| !drain.looks)
            && self.known_at(plan) <= now
        {
            self.drain.quiet.get_or_insert(now);
        }
    }

    pub(super) fn judge_still_draining(
        &mut self,
        now: Time,
        (sample, missing, after): (Option<Sample>, u64, Duration),
    ) -> Kept {
        let due = self.phase == PhaseName::Drain && self.drain.told.after(ms(5000)) <= now;
        kept(due, Promise::News, || "that the drain lasts is told too early")?;
        self.drain.told = now;
        let really = now.since(self.drain.begun.unwrap_or_default());
        let right = (self.drain.last, self.drain.missing(), really);
        kept((sample, missing, after) == right, Promise::News, || {
            format!("{sample:?}, not {right:?}")
        })
    }

    pub(super) fn look_starts(
        &mut self,
        plan: &Plan,
        world: &World,
        (id, until, end): (HookId, Time, Option<Time>),
    ) -> Kept {
        let (promise, now) = (Promise::Words, world.now);
        let last = self.drain_end(plan).unwrap_or(Time(u64::MAX));
        let drains = self.phase == PhaseName::Drain && self.drain.ended.is_none();
        let quiet = self.drain.quiet.filter(|_| drains);
        let word = self.drain.words.get_mut(id.index);
        let Some((quiet, word)) = quiet.zip(word) else {
            return kept(false, promise, || format!("{id:?}: something else is in the way"));
        };
        let due = word.due(quiet);
        kept(due.is_some_and(|due| due <= now), promise, || format!("due: {due:?}"))?;
        word.looks += 1;
        (word.begun, word.runs, word.killed) = (Some(now), true, false);
        let right = HookId { round: 0, attempt: word.looks, ..id };
        kept(id == right, Promise::NamesApart, || format!("{id:?}, not {right:?}"))?;
        let limit = now.after(ms(5000)).min(last);
        kept((until, end) == (limit, Some(limit)), promise, || format!("{until:?}, not {limit:?}"))
    }

    pub(super) fn look_ended(&mut self, plan: &Plan, now: Time, id: HookId, ok: bool) {
        if self.phase != PhaseName::Drain {
            return;
        }
        let Some(word) = self.drain.words.get_mut(id.index) else { return };
        if !word.runs || word.looks != id.attempt {
            return;
        }
        word.runs = false;
        if word.killed {
            return;
        }
        word.held = word.begun.filter(|_| ok);
        let says = self.drain.quiet.is_some() && self.drain.missing() == 0;
        if says && plan.drain.is_some_and(|drain| drain.looks) {
            // A request may have come since the last sample.
            self.drain.sample_due = Some(now);
        }
    }

    /// A look takes too long. Until the killed process is gone, it counts as one that runs.
    pub(super) fn look_killed(&mut self, id: HookId) {
        let word = self.drain.words.get_mut(id.index);
        if let Some(word) = word.filter(|word| word.runs && word.looks == id.attempt) {
            (word.killed, word.held) = (true, None);
        }
    }

    /// No look goes on after the drain.
    pub(super) fn judge_looks(&self, world: &World) -> Kept {
        let idle = world.hooks.iter().all(|h| h.id.phase != HookPhase::Drained || h.killed);
        kept(idle || self.phase == PhaseName::Drain, Promise::Words, || "a look runs on")
    }

    pub(super) fn judge_holders(&mut self, missing: u64) -> Kept {
        let owed = std::mem::take(&mut self.drain.holders_owed);
        kept(missing == self.drain.missing(), Promise::News, || format!("{missing}"))?;
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
            self.delay_may_be_over(plan, now);
            if self.phase == PhaseName::Drain && drain.looks {
                self.drain.sample_due = Some(now);
            }
        }
    }

    pub(super) fn judge_drain_end(
        &mut self,
        plan: &Plan,
        now: Time,
        (why, after, last, missing): (DrainEnd, Duration, Option<Sample>, u64),
        batch: &Batch,
    ) -> Kept {
        let drains = self.phase == PhaseName::Drain && self.drain.ended.is_none();
        kept(drains, Promise::News, || format!("no drain is there to end in {:?}", self.phase))?;
        let seen = matches!(batch.event, graceinit::machine::Event::Sampled(_));
        let right = self.over(plan, now, seen);
        kept(right.is_some(), Promise::DrainHolds, || format!("{why:?}: {:?}", self.drain))?;
        kept(right == Some(why), Promise::News, || format!("{why:?}, not {right:?}"))?;
        let really = now.since(self.drain.begun.unwrap_or_default());
        let right = (really, self.drain.last, self.drain.missing());
        kept((after, last, missing) == right, Promise::News, || {
            format!("after {after:?}, last {last:?}, missing {missing}, not {right:?}")
        })?;
        self.drain.ended = Some(why);
        let broken_off = [DrainEnd::Moment, DrainEnd::Budget, DrainEnd::Max].contains(&why);
        self.drain.holders_owed = broken_off && (last.is_some() || missing != 0);
        Ok(())
    }

    /// A drain that goes on after a sample must not be over.
    pub(super) fn judge_drain_goes_on(&self, plan: &Plan, now: Time, batch: &Batch) -> Kept {
        let seen = matches!(batch.event, graceinit::machine::Event::Sampled(_));
        let over = if seen { self.over(plan, now, true) } else { None };
        let drains = self.phase == PhaseName::Drain && !self.is_hurried();
        kept(!drains || over.is_none(), Promise::DrainEnds, || format!("{over:?}"))?;
        let tick = batch.event == graceinit::machine::Event::Tick;
        let looks = plan.drain.is_some_and(|drain| drain.looks);
        let tells = seen || tick && !looks && self.drain.quiet.is_some();
        let late = drains && tells && self.drain.told.after(ms(5000)) <= now;
        kept(!late, Promise::News, || "that the drain lasts is not told")
    }

    /// When the machine has to wake for the drain, apart from the budget.
    pub(super) fn drain_wakes(&self, plan: &Plan) -> Option<Time> {
        let looks = plan.drain.is_some_and(|drain| drain.looks);
        let told = self.drain.told.after(ms(5000));
        let next = match (looks, self.drain.quiet) {
            (true, _) => self.drain.sample_due,
            (false, None) => Some(self.known_at(plan)),
            (false, Some(_)) => Some(told),
        };
        next.into_iter().chain(self.drain.word_due()).min()
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
        let word = self.drain.word_due();
        kept(word.is_none_or(|due| now < due && wake <= due), Promise::Words, || {
            format!("until {wake:?}, the app has to be asked at {word:?}")
        })?;
        if plan.drain.is_some_and(|drain| drain.looks) {
            let due = self.drain.sample_due;
            return kept(due.is_some_and(|due| wake <= due), Promise::Samples, || {
                format!("until {wake:?}, due: {due:?}")
            });
        }
        if self.drain.quiet.is_some() {
            let told = self.drain.told.after(ms(5000));
            return kept(wake <= told, Promise::News, || format!("until {wake:?}, not {told:?}"));
        }
        let known = self.known_at(plan);
        kept(wake <= known, Promise::DrainEnds, || format!("until {wake:?}, over at {known:?}"))
    }
}
