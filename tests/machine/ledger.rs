//! Keeps account of one life from outside the machine, and holds every promise against it. What is
//! expected is reckoned here anew, from the events alone.

use std::time::Duration;

use graceinit::machine::fact::{Fact, Reason};
use graceinit::machine::hook::{HookId, HookPhase, Outcome};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Ending, Plan, Scope, StopAgain};
use graceinit::machine::{Action, Event, Origin, Received, Target, budget};
use graceinit::types::{Signal, Status, Time};

use super::hooks::Turn;
use super::promises::{Kept, Promise, kept};
use super::world::World;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ledger {
    /// The last phase in the account.
    pub(super) phase: PhaseName,
    /// The first stop request.
    asked: Option<Signal>,
    /// It came while the app lived, or in the wake-up that brought the news of its end.
    pub(super) asked_in_life: bool,
    /// What became of the app, and when.
    pub(super) ended: Option<(Ending, Time)>,
    /// The end of the budget, once it runs.
    pub(super) deadline: Option<Time>,
    /// A second stop request has ended it.
    cut_short: bool,
    /// When SIGKILL went to all.
    killed: Option<Time>,
    /// Something survived that for too long.
    gave_up: bool,
    /// The app was alive when SIGKILL went to all.
    pub(super) app_killed: bool,
    /// How many stop signals were sent, and when the next is due.
    rungs: usize,
    rung_due: Option<Time>,
    /// How many pre-stop hooks had their turn.
    pub(super) pre_stop: usize,
    pub(super) on_stop: Turn,
    pub(super) post_stop: Turn,
    /// The end of the post-stop reserve, once it runs.
    pub(super) post_end: Option<Time>,
    /// Attempts of pre-stop hooks that nobody has judged yet.
    pub(super) pre_stop_running: Vec<HookId>,
    /// Attempts of pre-stop hooks that failed and were not retried, and when they ended.
    pub(super) pre_stop_failed: Vec<(HookId, Time)>,
    /// What post-stop hooks have left behind was told to stop.
    pub(super) post_told: bool,
    dead_man: Option<Time>,
    /// Attempts that the account says have begun and not ended.
    pub(super) open: Vec<HookId>,
    /// How the attempt of the present event ended.
    pub(super) expected_end: Option<(HookId, Outcome)>,
    /// graceinit stopped itself.
    suspended: bool,
    /// By how much ticks came too late, all together.
    pub(super) late: Duration,
    pub(super) exited: bool,
}

/// What the actions of one event add up to.
#[derive(Default)]
pub(super) struct Batch {
    forwarded: Vec<(Signal, Target, Option<usize>)>,
    owed_continue: Option<Target>,
    suspends: usize,
    kills: usize,
    signal_facts: usize,
}

/// Who is sent the first stop signal, or a later one.
fn scope_target(scope: Scope, first: bool) -> Target {
    match (scope, first) {
        (Scope::Group, _) => Target::Group,
        (Scope::Main, _) | (Scope::Mixed, true) => Target::App,
        (Scope::Mixed, false) | (Scope::Tree, _) => Target::Tree,
    }
}

/// The signal that leftovers get. `--rewrite` has no say.
pub(super) fn leftovers_signal(plan: &Plan) -> Signal {
    match plan.ladder.first().and_then(|rung| rung.signal) {
        Some(signal) if signal.ends_by_default() => signal,
        _ => Signal::TERM,
    }
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger {
            phase: PhaseName::Starting,
            asked: None,
            asked_in_life: false,
            ended: None,
            deadline: None,
            cut_short: false,
            killed: None,
            gave_up: false,
            app_killed: false,
            rungs: 0,
            rung_due: None,
            pre_stop: 0,
            on_stop: Turn::NotBegun,
            post_stop: Turn::NotBegun,
            post_end: None,
            post_told: false,
            pre_stop_running: Vec::new(),
            pre_stop_failed: Vec::new(),
            dead_man: None,
            open: Vec::new(),
            expected_end: None,
            suspended: false,
            late: Duration::ZERO,
            exited: false,
        }
    }

    /// SIGKILL went to all.
    pub(super) fn was_killed(&self) -> bool {
        self.killed.is_some()
    }

    pub(super) fn ran_post_stop_hooks(&self) -> bool {
        matches!(self.post_stop, Turn::Ended { .. })
    }

    /// What the event means, before the machine hears of it.
    pub(super) fn hear(&mut self, plan: &Plan, world: &World, event: Event) {
        let now = world.now;
        match event {
            Event::AppExited(status) => self.app_ended(plan, now, Ending::Was(status)),
            Event::AppNotExecuted(code) => self.app_ended(plan, now, Ending::NotStarted(code)),
            Event::Signal(received) if plan.stop_on.contains(received.signal) => {
                self.stop_asked(plan, now, received);
            }
            Event::HookExited(id, status) => {
                self.attempt_ended(id, now, status.success());
                let outcome = if status.success() { Outcome::Done } else { Outcome::Failed };
                self.expected_end = Some((id, outcome));
            }
            Event::HookNotStarted(id) => {
                self.attempt_ended(id, now, false);
                self.expected_end = Some((id, Outcome::NotStarted));
            }
            Event::Signal(_)
            | Event::AppExecuted
            | Event::AppStopped { .. }
            | Event::TreeEmpty
            | Event::Tick => {}
        }
    }

    fn app_ended(&mut self, plan: &Plan, now: Time, ending: Ending) {
        self.ended.get_or_insert((ending, now));
        self.deadline.get_or_insert(now.after(plan.grace));
    }

    fn stop_asked(&mut self, plan: &Plan, now: Time, received: Received) {
        if self.asked.is_none() {
            self.asked = Some(received.signal);
            // One wake-up reads the clock once. Who ends app and graceinit with one kill(2) to their
            // group asks for a stop, whichever news is read first.
            self.asked_in_life = self.ended.is_none_or(|(_, at)| at == now);
            self.deadline.get_or_insert(now.after(plan.grace));
            return;
        }
        let typed = received.signal == Signal::INT && received.origin == Origin::Kernel;
        let kill = match plan.stop_again {
            StopAgain::Ignore => false,
            StopAgain::Kill => true,
            StopAgain::Default => typed,
        };
        if kill && self.phase < PhaseName::Killed {
            self.cut_short = true;
            self.deadline = Some(now);
        }
    }

    /// Holds one action against the promises. The world has not felt it yet.
    pub(super) fn judge(
        &mut self,
        plan: &Plan,
        world: &World,
        action: &Action,
        batch: &mut Batch,
    ) -> Kept {
        kept(!self.exited, Promise::ExitsOnce, || format!("{action:?} after the exit"))?;
        match *action {
            Action::SignalApp { signal, target, value, stop } => {
                let alive = world.app_lives() && self.ended.is_none();
                kept(alive, Promise::SignalsOnlyTheLiving, || format!("{action:?}"))?;
                if stop {
                    return self.judge_stop_signal(plan, world, signal, target, batch);
                }
                if let Some(owed) = batch.owed_continue.take() {
                    return kept(
                        (signal, target) == (Signal::CONT, owed),
                        Promise::ContinueAfterStop,
                        || format!("{action:?} follows the stop signal to {owed:?}"),
                    );
                }
                batch.forwarded.push((signal, target, value));
                Ok(())
            }
            Action::StartHook { id, until, end } => {
                if id.phase == HookPhase::PostStop {
                    self.judge_post_stop_begins(plan, world)?;
                }
                self.hook_starts(plan, world, (id, until, end))
            }
            Action::KillHook(id) => self.hook_is_killed(world, id),
            Action::SignalLeftovers { signal, group_told, .. } => {
                let of_hooks = self.phase == PhaseName::PostStop
                    && self.all_had_their_turn(plan, HookPhase::PostStop)
                    && !self.post_told;
                self.post_told |= of_hooks;
                let gone = self.ended.is_some() && self.phase == PhaseName::Leftovers || of_hooks;
                kept(gone, Promise::LeftoversTold, || format!("in {:?}", self.phase))?;
                let right = leftovers_signal(plan);
                kept(signal == right, Promise::LeftoversTold, || format!("{signal}, not {right}"))?;
                let twice = world.strays.iter().any(|s| s.told_in_group && !group_told);
                kept(!twice, Promise::LeftoversTold, || "told twice")?;
                let left_out = world.strays.iter().any(|s| s.in_group && !s.told && group_told);
                kept(!left_out, Promise::LeftoversTold, || "the group was never told that")
            }
            Action::KillTree => self.judge_kill(plan, world, batch),
            Action::ArmDeadMan(time) => {
                self.dead_man = Some(time);
                Ok(())
            }
            Action::SuspendSelf => {
                batch.suspends += 1;
                self.suspended = true;
                Ok(())
            }
            Action::GiveTerminal => {
                kept(plan.terminal && self.ended.is_none(), Promise::Terminal, || "to nobody")
            }
            Action::TakeTerminal => kept(plan.terminal, Promise::Terminal, || "there is none"),
            Action::Record(ref fact) => self.judge_fact(plan, world, fact, batch),
            Action::Exit { code, by } => self.judge_exit(plan, world, code, by),
        }
    }

    fn judge_stop_signal(
        &mut self,
        plan: &Plan,
        world: &World,
        signal: Signal,
        target: Target,
        batch: &mut Batch,
    ) -> Kept {
        let order = Promise::StopSignalInOrder;
        let first = self.rungs == 0;
        let wanted = match plan.ladder.get(self.rungs) {
            Some(rung) => rung.signal,
            None if first => self.asked.and_then(|asked| plan.rewrite.apply(asked)),
            None => None,
        };
        kept(self.asked.is_some(), order, || "nobody asked for a stop")?;
        kept(wanted == Some(signal), order, || format!("{signal}, not {wanted:?}"))?;
        kept(self.rung_due.is_none_or(|due| due <= world.now), order, || "before its time")?;
        let hooks =
            self.pre_stop_is_over(plan, world) && self.all_had_their_turn(plan, HookPhase::OnStop);
        kept(hooks, Promise::OnStopInOrder, || "the stop signal comes before the last hook")?;
        let scope = scope_target(plan.scope, first);
        kept(target == scope, Promise::StopSignalScope, || format!("{target:?}, not {scope:?}"))?;
        let owed = batch.owed_continue.is_none();
        kept(owed, Promise::ContinueAfterStop, || "one stop signal after the other")?;
        batch.owed_continue = Some(target);
        self.rungs += 1;
        let left = self.deadline.unwrap_or_default().since(world.now);
        let more = self.rungs < plan.ladder.len();
        // `rung_wait` has tests of its own.
        let wait = || budget::rung_wait(&plan.ladder, self.rungs - 1, left);
        self.rung_due = more.then(|| world.now.after(wait()));
        Ok(())
    }

    fn judge_kill(&mut self, plan: &Plan, world: &World, batch: &mut Batch) -> Kept {
        batch.kills += 1;
        let earliest = match self.post_end {
            // Nothing is waited for any more.
            Some(_) if self.gave_up && self.all_had_their_turn(plan, HookPhase::PostStop) => None,
            Some(_) => Some(self.last_moment(plan, HookPhase::PostStop)),
            None => self.deadline,
        };
        let known = self.deadline.is_some() && earliest.is_none_or(|time| time <= world.now);
        kept(known, Promise::KillNotEarly, || {
            format!("at {:?}, not before {earliest:?}", world.now)
        })?;
        if self.post_end.is_some() {
            return Ok(());
        }
        if self.killed.is_none() && world.app_lives() {
            self.app_killed = true;
            let whole = match plan.ladder.len() {
                0 => self.asked.and_then(|asked| plan.rewrite.apply(asked)).map_or(0, |_| 1),
                _ if plan.grace.is_zero() => 1,
                rungs => rungs,
            };
            // A tick that comes too late may jump over the whole ladder.
            let excused = self.cut_short || !self.late.is_zero();
            kept(self.rungs >= whole || excused, Promise::StopSignalAlways, || {
                format!("killed after {} of {whole} stop signals", self.rungs)
            })?;
        }
        let untold = world.strays.iter().any(|stray| !stray.told && stray.born <= Time::default());
        let first_look = self.killed.is_none() && self.ended.is_some();
        kept(!untold || !first_look, Promise::LeftoversTold, || "killed without a word")?;
        self.killed.get_or_insert(world.now);
        for id in world.hooks.iter().map(|hook| hook.id) {
            self.attempt_ended(id, world.now, false);
        }
        Ok(())
    }

    fn judge_post_stop_begins(&self, plan: &Plan, world: &World) -> Kept {
        let last = Promise::PostStopLast;
        kept(self.phase == PhaseName::PostStop, last, || format!("in {:?}", self.phase))?;
        kept(self.ended.is_some(), last, || "what became of the app is not known")?;
        let earlier = world.app_lives()
            || world.strays.iter().any(|stray| !stray.of_post_stop && !stray.killed)
            || world.hooks.iter().any(|h| h.id.phase != HookPhase::PostStop && !h.killed);
        // What was born into the killing may be missed by the last look.
        let gave_up = self
            .killed
            .is_some_and(|at| at.after(budget::dying(plan.post_stop_timeout)) <= world.now);
        kept(!earlier || gave_up, last, || "something still lives")
    }

    fn judge_fact(&mut self, plan: &Plan, world: &World, fact: &Fact, batch: &mut Batch) -> Kept {
        match *fact {
            Fact::Entered(phase) => {
                let forward = self.phase < phase;
                kept(forward, Promise::PhasesInOrder, || {
                    format!("{phase:?} after {:?}", self.phase)
                })?;
                self.phase = phase;
                self.pre_stop_running.clear();
                self.pre_stop_failed.clear();
                if phase == PhaseName::PostStop {
                    let reserve = plan.post_stop_timeout;
                    // A late wake-up must not cost the hooks their reserve; the time that the killed
                    // took to die does.
                    self.post_end = Some(self.killed.unwrap_or(world.now).after(reserve));
                }
                Ok(())
            }
            Fact::HookStarted { id, .. } => {
                self.open.push(id);
                Ok(())
            }
            Fact::HookEnded { id, outcome, .. } => self.attempt_is_closed(id, outcome),
            Fact::HookSkipped { id } => self.hook_is_skipped(plan, world.now, id),
            Fact::StopAgain { kill, .. } => {
                batch.signal_facts += 1;
                let wanted = self.cut_short && self.killed.is_none() && self.post_end.is_none();
                kept(kill == wanted, Promise::StopAgain, || format!("the account says {kill}"))
            }
            Fact::StopRequested { .. }
            | Fact::Forwarded { .. }
            | Fact::Dropped { .. }
            | Fact::NoApp { .. }
            | Fact::Resumed => {
                batch.signal_facts += 1;
                Ok(())
            }
            Fact::DeadlineReached { early } => {
                let told = early == self.cut_short;
                kept(told, Promise::Account, || "at the deadline, or cut short?")
            }
            Fact::Unkillable => {
                self.gave_up = true;
                if world.app_lives() {
                    self.ended.get_or_insert((Ending::Unkillable, world.now));
                }
                kept(!world.tree_is_empty(), Promise::Account, || "all of them have gone")
            }
            Fact::Exit { reason, .. } => self.judge_reason(reason),
            Fact::StopSignal { .. }
            | Fact::NoStopSignal { .. }
            | Fact::HookRetried { .. }
            | Fact::AppEnded { .. }
            | Fact::LeftoversSignalled { .. }
            | Fact::Suspended { .. } => Ok(()),
        }
    }

    pub(super) fn judge_reason(&self, reason: Reason) -> Kept {
        let right = match self.ended {
            _ if self.app_killed => Reason::Deadline,
            _ if self.asked_in_life => Reason::Signal,
            Some((Ending::Was(Status::Code(0)), _)) => Reason::Exit,
            _ => Reason::Crash,
        };
        kept(reason == right, Promise::Reason, || format!("{reason:?}, not {right:?}"))
    }

    /// When all actions of an event are done.
    pub(super) fn judge_batch(
        &mut self,
        plan: &Plan,
        before: &Ledger,
        event: Event,
        batch: &Batch,
        phase: PhaseName,
    ) -> Kept {
        self.expected_end = None;
        kept(phase == self.phase, Promise::PhasesInOrder, || {
            format!("the machine is in {phase:?}, the account in {:?}", self.phase)
        })?;
        kept(batch.owed_continue.is_none(), Promise::ContinueAfterStop, || "it stays stopped")?;
        if self.phase >= PhaseName::PreStop && before.phase < PhaseName::PreStop {
            let all = self.ended.is_some() || self.pre_stop == plan.hooks.pre_stop.len();
            kept(all, Promise::PreStopTogether, || format!("only {} began", self.pre_stop))?;
        }
        if self.phase == PhaseName::Stopping && self.rungs == 0 {
            let dropped =
                plan.ladder.is_empty() && self.asked.and_then(|s| plan.rewrite.apply(s)).is_none();
            kept(dropped, Promise::StopSignalAlways, || "it was not sent")?;
        }
        if self.cut_short && !before.cut_short {
            kept(batch.kills == 1, Promise::StopAgain, || "asked to kill, and did not")?;
        }
        let (forwards, suspends, facts) = before.expected(plan, event);
        kept(batch.forwarded == forwards, Promise::ForwardedOnce, || {
            format!("{:?}, not {forwards:?}, at {event:?}", batch.forwarded)
        })?;
        kept(batch.suspends == suspends, Promise::Terminal, || format!("at {event:?}"))?;
        let resumed = matches!(event, Event::Signal(Received { signal: Signal::CONT, .. }));
        if resumed || self.asked.is_some() || self.ended.is_some() {
            self.suspended = false;
        }
        kept(facts.is_none_or(|n| n == batch.signal_facts), Promise::Account, || {
            format!("{} facts of {event:?}", batch.signal_facts)
        })
    }

    /// What the event asks for: signals to the app, stops of graceinit itself, facts about the signal.
    fn expected(&self, plan: &Plan, event: Event) -> Expected {
        let gone = self.ended.is_some();
        let group = |signal| vec![(signal, Target::Group, None)];
        match event {
            Event::Signal(Received { signal, .. }) if plan.stop_on.contains(signal) => {
                (Vec::new(), 0, Some(1))
            }
            Event::Signal(_) if gone => (Vec::new(), 0, Some(1)),
            Event::Signal(Received { signal, origin, value }) => {
                let ours = signal == Signal::TTIN || signal == Signal::TTOU;
                if ours && origin == Origin::Kernel {
                    return (Vec::new(), 0, Some(0));
                }
                if signal == Signal::CONT && self.suspended {
                    return (group(Signal::CONT), 0, Some(1));
                }
                let target = scope_target(plan.scope, true);
                let sent = plan.rewrite.apply(signal);
                (sent.map(|sent| (sent, target, value)).into_iter().collect(), 0, Some(1))
            }
            Event::AppStopped { signal, ours }
                if plan.terminal && !gone && self.phase < PhaseName::Killed =>
            {
                let running = self.phase <= PhaseName::Running;
                let wants = [Signal::TTIN, Signal::TTOU].contains(&signal);
                if !wants && signal != Signal::TSTP {
                    return (Vec::new(), 0, None);
                }
                let give = ours && wants;
                if running && plan.suspendable && !give {
                    return (Vec::new(), 1, None);
                }
                (
                    if give || signal == Signal::TSTP { group(Signal::CONT) } else { Vec::new() },
                    0,
                    None,
                )
            }
            Event::AppStopped { .. }
            | Event::AppExecuted
            | Event::AppNotExecuted(_)
            | Event::AppExited(_)
            | Event::HookExited(..)
            | Event::HookNotStarted(_)
            | Event::TreeEmpty
            | Event::Tick => (Vec::new(), 0, None),
        }
    }

    /// When nothing more happens now and the machine wants to sleep until `wake`.
    pub(super) fn judge_sleep(&self, plan: &Plan, world: &World, wake: Option<Time>) -> Kept {
        let lost = Promise::NoLostWakeUp;
        let now = world.now;
        let Some(deadline) = self.deadline else {
            kept(wake.is_none(), Promise::TickOnTime, || "idle means no wake-ups")?;
            return kept(world.app_lives(), lost, || "waits for an app that has gone");
        };
        let Some(wake) = wake else {
            return kept(false, lost, || {
                format!("the budget runs, and no tick is due in {:?}", self.phase)
            });
        };
        let due = |time: Option<Time>| time.is_none_or(|time| wake <= time);
        for hook in world.hooks.iter().filter(|hook| !hook.killed) {
            kept(due(Some(hook.until)), Promise::HookKilledAtLimit, || format!("{hook:?}"))?;
        }
        let unkilled = world.app_lives() && !world.app_killed
            || world.strays.iter().any(|s| !(s.killed || s.of_post_stop || s.after_kill))
            || world.hooks.iter().any(|h| !h.killed && h.id.phase != HookPhase::PostStop);
        kept(!unkilled || wake <= deadline, Promise::KillNotLate, || {
            format!("sleeps until {wake:?}, the deadline is {deadline:?}")
        })?;
        let runs = |phase| world.hooks.iter().any(|h| h.id.phase == phase && !h.killed);
        match self.phase {
            PhaseName::Starting | PhaseName::Running | PhaseName::Exit => {
                kept(false, Promise::PhasesInOrder, || format!("still {:?}", self.phase))?;
            }
            PhaseName::PreStop => {
                let retry = self.retry_due(plan, HookPhase::PreStop);
                let waits = runs(HookPhase::PreStop) || retry.is_some();
                kept(waits, Promise::LeavesAtOnce, || "no pre-stop hook runs")?;
                kept(due(retry), Promise::Retries, || format!("due at {retry:?}"))?;
            }
            PhaseName::OnStop => {
                let retry = self.retry_due(plan, HookPhase::OnStop);
                let waits = runs(HookPhase::OnStop) || retry.is_some();
                kept(waits, Promise::LeavesAtOnce, || "no on-stop hook runs")?;
                kept(due(retry), Promise::Retries, || format!("due at {retry:?}"))?;
            }
            PhaseName::Stopping => {
                kept(world.app_lives(), Promise::LeavesAtOnce, || "the app has gone")?;
                kept(due(self.rung_due), Promise::StopSignalInOrder, || "late")?;
            }
            PhaseName::Leftovers => {
                kept(!world.tree_is_empty(), Promise::LeavesAtOnce, || "nothing is left")?;
                let second = Duration::from_secs(1);
                let missed = world.strays.iter().any(|s| !s.told && s.born.after(second) < now);
                let excused = !self.late.is_zero();
                kept(!missed || excused, Promise::LeftoversTold, || "a newcomer is overlooked")?;
            }
            PhaseName::Killed => {
                kept(!world.tree_is_empty(), Promise::LeavesAtOnce, || "nothing is left")?;
                let dying = budget::dying(plan.post_stop_timeout);
                kept(due(self.killed.map(|at| at.after(dying))), Promise::GivesUpInTime, || "")?;
            }
            PhaseName::PostStop => {
                let retry = self.retry_due(plan, HookPhase::PostStop);
                kept(due(retry), Promise::Retries, || format!("due at {retry:?}"))?;
                let lives = world.strays.iter().any(|stray| stray.of_post_stop)
                    || world.hooks.iter().any(|h| h.id.phase == HookPhase::PostStop);
                kept(lives || retry.is_some(), Promise::LeavesAtOnce, || "nothing is left")?;
                kept(due(self.post_end), Promise::ExitsInTime, || "the reserve is over")?;
                let served = self.all_had_their_turn(plan, HookPhase::PostStop);
                let told = !served || self.post_told;
                kept(told, Promise::LeftoversTold, || "what a post-stop hook forked away")?;
            }
        }
        let latest = deadline.after(plan.post_stop_timeout).after(self.late);
        let covered = match self.phase {
            PhaseName::PostStop => self.dead_man == self.post_end,
            PhaseName::Killed => self.dead_man.is_some_and(|t| wake <= t && t <= latest),
            _ => self.dead_man.is_some_and(|t| deadline <= t && t <= latest),
        };
        kept(covered, Promise::DeadMan, || {
            format!("set to {:?} in {:?}", self.dead_man, self.phase)
        })
    }
}

type Expected = (Vec<(Signal, Target, Option<usize>)>, usize, Option<usize>);
