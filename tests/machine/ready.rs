//! The promises about readiness, the watchdog and the notifications of the app.

use std::time::Duration;

use graceinit::machine::fact::Fact;
use graceinit::machine::hooks::{HookId, HookPhase};
use graceinit::machine::phase::Failure;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Condition, Plan};
use graceinit::machine::ready::Notice;
use graceinit::machine::{Origin, Received};
use graceinit::types::Time;

use super::batch::Batch;
use super::ledger::{Ledger, budget_of};
use super::promises::{Broken, Kept, Promise, kept};
use super::world::{World, ms};

/// A condition that attempts check, one after the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Probe {
    index: usize,
    attempt: u32,
    /// When that attempt has to start; `None`: it runs.
    due: Option<Time>,
}

/// Readiness and watchdog.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Readiness {
    /// When the app was executed, if no stop had begun by then.
    since: Option<Time>,
    /// When `--ready-timeout` is over.
    limit: Option<Time>,
    /// The watchdog got its time again since the last keep-alive.
    granted: bool,
    /// The conditions that do not hold yet, in order, without those that only need time.
    missing: Vec<usize>,
    /// When the next check comes whether the app listens; `None`: it does, or need not.
    seek_due: Option<Time>,
    probes: Vec<Probe>,
    /// It was warned that the app is late.
    warned: bool,
    /// It has been ready.
    pub(super) was_ready: bool,
    /// It has announced that it ends by itself.
    pub(super) over: bool,
    /// The readiness that was published last.
    announced: Option<bool>,
    /// How often a keep-alive has to come, and when the watchdog counts as missed.
    interval: Option<Duration>,
    pub(super) alive_due: Option<Time>,
    pub(super) failure: Option<Failure>,
}

/// The pause between two checks: a tenth of the time since execve.
fn pause(waited: Duration) -> Duration {
    (waited / 10).max(ms(20)).min(ms(1000))
}

/// An attempt of this probe was not reaped.
fn still_there(world: &World, index: usize) -> bool {
    world.hooks.iter().any(|hook| hook.id.phase == HookPhase::Ready && hook.id.index == index)
}

impl Readiness {
    pub(super) fn new(interval: Option<Duration>) -> Readiness {
        Readiness {
            since: None,
            limit: None,
            granted: false,
            missing: Vec::new(),
            seek_due: None,
            probes: Vec::new(),
            warned: false,
            was_ready: false,
            over: false,
            announced: None,
            interval,
            alive_due: None,
            failure: None,
        }
    }
}

impl Ledger {
    /// The app runs, and readiness is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.runs() && !self.readiness.was_ready && !self.readiness.over
    }

    /// The app runs, and is not being stopped.
    fn runs(&self) -> bool {
        self.readiness.since.is_some() && !self.begun && self.ended.is_none()
    }

    pub(super) fn waits_until_ready(&mut self, plan: &Plan, now: Time) {
        let time = |condition: &Condition| matches!(condition, Condition::After(_));
        let conditions = || plan.ready.iter().enumerate();
        let probes = conditions().filter(|(_, condition)| **condition == Condition::Probe);
        let readiness = &mut self.readiness;
        readiness.since = Some(now);
        readiness.limit = plan.ready_timeout.map(|limit| now.after(limit));
        readiness.missing =
            conditions().filter(|(_, c)| !time(c)).map(|(index, _)| index).collect();
        readiness.probes =
            probes.map(|(index, _)| Probe { index, attempt: 1, due: Some(now) }).collect();
        readiness.seek_due = plan.drain.filter(|drain| drain.looks).map(|_| now);
    }

    fn waited(&self, now: Time) -> Duration {
        now.since(self.readiness.since.unwrap_or(now))
    }

    fn all_holds(&self, plan: &Plan, now: Time) -> bool {
        let waited = self.waited(now);
        let time = plan.ready.iter().all(|condition| match condition {
            Condition::After(span) => *span <= waited,
            _ => true,
        });
        time && self.readiness.missing.is_empty() && self.readiness.seek_due.is_none()
    }

    pub(super) fn condition_holds(&mut self, now: Time, index: usize, batch: &mut Batch) {
        let place = self.readiness.missing.iter().position(|missing| *missing == index);
        if let (Some(place), true) = (place, self.is_waiting()) {
            self.readiness.missing.remove(place);
            let after = self.waited(now);
            batch.owed_news.push(Fact::ConditionHolds { index, after });
        }
    }

    /// The condition that this signal stands for, if the app may have sent it and the condition is missing.
    pub(super) fn awaited(&self, plan: &Plan, received: Received) -> Option<usize> {
        let condition = Condition::Signal(received.signal);
        let index = plan.ready.iter().position(|awaited| *awaited == condition)?;
        let inside = matches!(received.origin, Origin::Process(pid) if pid != 0);
        // The app can send signals before its execve is reported.
        let starting = self.started && !self.executed && !self.begun;
        let missing = self.is_waiting() && self.readiness.missing.contains(&index);
        (inside && (starting || missing)).then_some(index)
    }

    pub(super) fn listening(&mut self, now: Time, yes: bool, batch: &mut Batch) {
        if yes && self.is_waiting() && self.readiness.seek_due.take().is_some() {
            batch.owed_news.push(Fact::Listens { after: self.waited(now) });
        }
    }

    pub(super) fn notice(&mut self, plan: &Plan, now: Time, notice: Notice, batch: &mut Batch) {
        let news = !self.executed;
        if notice != Notice::Dead {
            self.app_executed(plan, now);
        }
        // An app without conditions becomes ready when it proves that it was executed.
        let ready_at_once = news && !self.begun && self.all_holds(plan, now);
        match notice {
            Notice::Ready => {
                let awaited = plan.ready.iter().position(|c| *c == Condition::Notify);
                if let Some(index) = awaited {
                    self.condition_holds(now, index, batch);
                }
            }
            Notice::Stopping => {
                batch.owed_over = self.runs() && !self.readiness.over;
            }
            Notice::MoreTime(_) if ready_at_once => {}
            Notice::MoreTime(span) => self.more_time_asked(plan, now, span, batch),
            Notice::Alive => self.next_sign_of_life(now),
            Notice::Interval(interval) => {
                self.readiness.interval = Some(interval).filter(|interval| !interval.is_zero());
                self.next_sign_of_life(now);
            }
            Notice::Dead => {
                let lives = self.started && !self.begun && self.ended.is_none();
                batch.owed_failure = lives.then_some(Failure::Watchdog);
            }
            Notice::MainPid(pid) => {
                if self.started && self.ended.is_none() {
                    batch.owed_news.push(Fact::MainPid { pid });
                    batch.owed_follows.push(pid);
                }
            }
        }
    }

    fn next_sign_of_life(&mut self, now: Time) {
        if self.runs() && !self.readiness.over {
            self.readiness.alive_due = self.readiness.interval.map(|interval| now.after(interval));
            self.readiness.granted = false;
        }
    }

    /// The app gets its time again.
    pub(super) fn stood_still(&mut self, now: Time, span: Duration, batch: &mut Batch) {
        let (runs, waiting) = (self.runs() && !self.suspended, self.is_waiting());
        let readiness = &mut self.readiness;
        let watched = readiness.alive_due.is_some() && !readiness.granted;
        let interval = readiness.interval.filter(|_| runs && watched);
        if let Some(interval) = interval {
            readiness.alive_due = Some(now.after(interval));
            readiness.granted = true;
        }
        let limit = readiness.limit.as_mut().filter(|_| runs && waiting);
        if interval.is_some() || limit.is_some() {
            batch.owed_facts.push(Fact::StoodStill { span });
        }
        if let Some(limit) = limit {
            *limit = limit.after(span);
        }
    }

    /// The app asks for more time before it is ready.
    pub(super) fn more_time_to_start(&mut self, now: Time, span: Duration, batch: &mut Batch) {
        let limit = &mut self.readiness.limit;
        if limit.is_some_and(|limit| now.after(span) <= limit) {
            return;
        }
        batch.owed_more_time.push(span);
        if let Some(limit) = limit {
            *limit = now.after(span);
            batch.owed_facts.push(Fact::Extended { left: span });
        }
    }

    /// A suspended app could not send a keep-alive.
    pub(super) fn is_resumed(&mut self, now: Time) {
        if self.readiness.alive_due.is_some() {
            self.next_sign_of_life(now);
        }
    }

    /// What a tick means for the app.
    pub(super) fn time_passes(&mut self, plan: &Plan, now: Time, batch: &mut Batch) {
        let Readiness { alive_due, limit, .. } = self.readiness;
        let due = |time: Option<Time>| time.is_some_and(|time| time <= now);
        if !self.runs() || self.suspended {
            // A suspended app can neither become ready nor send a keep-alive.
        } else if due(alive_due) {
            batch.owed_failure = Some(Failure::Watchdog);
        } else if self.is_waiting() && due(limit) && !self.all_holds(plan, now) {
            batch.owed_failure = Some(Failure::NotReady);
        }
    }

    /// It was recorded that the app has failed.
    pub(super) fn judge_failure(
        &mut self,
        plan: &Plan,
        world: &World,
        fact: &Fact,
        batch: &mut Batch,
    ) -> Kept {
        let now = world.now;
        let (failure, promise) = match fact {
            Fact::NotReady { .. } => (Failure::NotReady, Promise::ReadyInTime),
            Fact::ChildOutOfMemory => (Failure::OutOfMemory, Promise::ChildOom),
            _ => (Failure::Watchdog, Promise::Watchdog),
        };
        kept(batch.owed_failure.take() == Some(failure), promise, || format!("{fact:?}"))?;
        let waited = self.waited(now);
        let missing = self.missing(plan, now);
        let right = match failure {
            Failure::NotReady => {
                let ports = self.readiness.seek_due.is_some();
                Fact::NotReady { after: waited, missing, ports }
            }
            Failure::OutOfMemory => Fact::ChildOutOfMemory,
            Failure::Watchdog => {
                Fact::WatchdogMissed { interval: self.readiness.interval.unwrap_or_default() }
            }
        };
        kept(*fact == right, promise, || format!("{fact:?}, not {right:?}"))?;
        self.readiness.failure = Some(failure);
        // The diagnose signal comes first, while the app still hangs.
        let speaks = plan.diagnose.filter(|_| failure == Failure::Watchdog);
        batch.owed_diagnosis = speaks.map(|diagnose| (diagnose.signal, budget_of(plan)));
        self.owe_stopped_hooks(plan, batch);
        self.stop_begins(plan, now, batch);
        Ok(())
    }

    /// When the app counts as late, if that was not told and something but time is missing.
    fn late(&self) -> Option<Time> {
        let Readiness { since, ref missing, seek_due, warned, .. } = self.readiness;
        let worth = (!missing.is_empty() || seek_due.is_some()) && !warned;
        since.filter(|_| worth).map(|since| since.after(ms(10_000)))
    }

    /// It was recorded that the app is late.
    pub(super) fn judge_late(&mut self, plan: &Plan, world: &World, fact: &Fact) -> Kept {
        let (promise, now) = (Promise::Late, world.now);
        kept(self.is_waiting() && !self.suspended, promise, || "it is not waited for")?;
        kept(self.late().is_some_and(|late| late <= now), promise, || format!("{fact:?}"))?;
        let (missing, ports) = (self.missing(plan, now), self.readiness.seek_due.is_some());
        let right = Fact::StillNotReady { after: self.waited(now), missing, ports };
        kept(*fact == right, promise, || format!("{fact:?}, not {right:?}"))?;
        self.readiness.warned = true;
        Ok(())
    }

    /// The conditions that do not hold, as bits.
    fn missing(&self, plan: &Plan, now: Time) -> u64 {
        let waited = self.waited(now);
        let time = plan.ready.iter().enumerate().filter_map(|(index, condition)| match condition {
            Condition::After(span) if waited < *span => Some(index),
            _ => None,
        });
        let missing = self.readiness.missing.iter().copied().chain(time);
        missing.fold(0, |bits, index| bits | 1u64 << index)
    }

    pub(super) fn judge_ready(&mut self, plan: &Plan, world: &World, batch: &mut Batch) -> Kept {
        let now = world.now;
        kept(self.readiness.announced.is_none(), Promise::ReadyFalls, || "it is ready again")?;
        kept(
            self.is_waiting() && world.app_lives(),
            Promise::Readiness,
            || "the app is not waiting for readiness",
        )?;
        kept(self.all_holds(plan, now), Promise::Readiness, || {
            format!("something is missing: {:?}", self.readiness)
        })?;
        batch.owed_news.push(Fact::Ready { after: self.waited(now) });
        self.readiness.announced = Some(true);
        self.readiness.was_ready = true;
        if self.readiness.alive_due.is_none() {
            self.next_sign_of_life(now);
        }
        self.work_goes_on(plan, batch);
        self.held_signals_go_on(plan, batch);
        Ok(())
    }

    pub(super) fn judge_not_ready(&mut self, plan: &Plan, batch: &mut Batch) -> Kept {
        if std::mem::take(&mut batch.owed_over) {
            self.readiness.over = true;
            self.readiness.alive_due = None;
            batch.owed_news.push(Fact::StopsItself);
            self.work_goes_on(plan, batch);
            self.held_signals_go_on(plan, batch);
        }
        self.readiness.announced = Some(false);
        let over = self.begun || self.ended.is_some() || self.readiness.over;
        kept(over, Promise::ReadyFalls, || "while the app serves")
    }

    /// Readiness falls before anything else of a stop.
    pub(super) fn judge_readiness_fell(&self) -> Kept {
        let told = self.readiness.announced == Some(false);
        kept(told, Promise::ReadyFalls, || "the stop goes on before readiness falls")
    }

    /// Checks that need all actions of an event.
    pub(super) fn judge_announced(&self, batch: &Batch) -> Kept {
        let over = self.begun || self.ended.is_some() || self.readiness.over;
        let up = self.readiness.announced == Some(true);
        kept(!(up && over || batch.owed_over), Promise::ReadyFalls, || {
            format!("not at {:?}", batch.event)
        })
    }

    pub(super) fn judge_seek(&mut self, now: Time) -> Kept {
        let promise = Promise::Seeks;
        kept(self.is_waiting(), promise, || "the app is not waiting for readiness")?;
        let due = self.readiness.seek_due;
        kept(due.is_some_and(|due| due <= now), promise, || format!("due: {due:?}"))?;
        self.readiness.seek_due = Some(now.after(pause(self.waited(now))));
        Ok(())
    }

    pub(super) fn probe_starts(
        &mut self,
        plan: &Plan,
        world: &World,
        (id, until, end): (HookId, Time, Option<Time>),
    ) -> Kept {
        let (promise, now) = (Promise::Probes, world.now);
        kept(self.is_waiting(), promise, || "the app is not waiting for readiness")?;
        let namesake = world.hooks.iter().any(|hook| hook.id == id);
        kept(!namesake, Promise::NamesApart, || format!("{id:?}"))?;
        kept(!still_there(world, id.index), promise, || "the killed attempt still exists")?;
        let probes = &mut self.readiness.probes;
        let Some(probe) = probes.iter_mut().find(|probe| probe.index == id.index) else {
            return kept(false, promise, || format!("{id:?}: it holds, or there is none"));
        };
        let right = HookId { phase: HookPhase::Ready, round: 0, attempt: probe.attempt, ..id };
        kept(id == right, promise, || format!("{id:?}, not {right:?}"))?;
        let due = probe.due.take();
        kept(due.is_some_and(|due| due <= now), promise, || format!("due: {due:?}"))?;
        let limit = now.after(plan.probe_timeout);
        kept((until, end) == (limit, Some(limit)), promise, || format!("{until:?}, not {limit:?}"))
    }

    pub(super) fn probe_ended(&mut self, now: Time, id: HookId, ok: bool, batch: &mut Batch) {
        let again = now.after(pause(self.waited(now)));
        let probes = &mut self.readiness.probes;
        let running = |p: &Probe| p.due.is_none() && (p.index, p.attempt) == (id.index, id.attempt);
        let Some(place) = probes.iter().position(running).filter(|_| self.ended.is_none()) else {
            return;
        };
        if ok {
            probes.remove(place);
            self.condition_holds(now, id.index, batch);
        } else {
            let attempt = id.attempt + 1;
            probes[place] = Probe { index: id.index, attempt, due: Some(again) };
        }
    }

    /// No probe runs once the app is ready or ends.
    pub(super) fn judge_probes(&self, world: &World) -> Kept {
        let idle = world.hooks.iter().all(|h| h.id.phase != HookPhase::Ready || h.killed);
        kept(idle || self.is_waiting(), Promise::Probes, || "a probe runs on")
    }

    /// When the machine has to wake for readiness or the watchdog while no budget runs.
    pub(super) fn judge_waking(&self, plan: &Plan, world: &World) -> Result<Option<Time>, Broken> {
        let Readiness { since, limit, alive_due, seek_due, ref probes, .. } = self.readiness;
        if self.suspended {
            return Ok(None);
        }
        if !self.is_waiting() {
            return Ok(alive_due);
        }
        let now = world.now;
        let listens = seek_due.is_none_or(|due| now < due);
        kept(listens, Promise::Seeks, || format!("due: {seek_due:?}"))?;
        // The end of an attempt that was killed is an event.
        let free = || probes.iter().filter(|probe| !still_there(world, probe.index));
        for probe in free() {
            kept(probe.due.is_none_or(|due| now < due), Promise::Probes, || format!("{probe:?}"))?;
        }
        kept(!self.all_holds(plan, now), Promise::Readiness, || "nothing is missing")?;
        let late = self.late();
        kept(late.is_none_or(|late| now < late), Promise::Late, || "it is late, and not told")?;
        let since = since.unwrap_or_default();
        let spans = plan.ready.iter().filter_map(|condition| match condition {
            Condition::After(span) => Some(*span),
            _ => None,
        });
        let limits = spans.map(|span| since.after(span)).chain(limit);
        let due = limits.filter(|limit| now < *limit).chain(seek_due).chain(alive_due).chain(late);
        Ok(due.chain(free().filter_map(|probe| probe.due)).min())
    }

    /// The name of the phase of an app that runs.
    pub(super) fn running_phase(&self) -> PhaseName {
        match (self.executed, self.readiness.was_ready) {
            (false, _) => PhaseName::Starting,
            (true, false) => PhaseName::Running,
            (true, true) => PhaseName::Ready,
        }
    }
}
