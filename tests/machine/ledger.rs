//! The ledger follows one life from outside the machine and checks every promise. It computes anew, from the
//! events alone, what the machine has to do.

use std::collections::VecDeque;
use std::time::Duration;

use graceinit::machine::budget::ENDLESS;
use graceinit::machine::fact::{Fact, Reason};
use graceinit::machine::hooks::{HookId, HookPhase, Outcome};
use graceinit::machine::phase::Failure;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{ChildOom, Ending, Plan, Surroundings};
use graceinit::machine::{Action, Event, Received, Target};
use graceinit::types::{Signal, Status, Time};

use super::batch::Batch;
use super::drain::Drain;
use super::hooks::Turn;
use super::promises::{Kept, Promise, kept};
use super::ready::Readiness;
use super::world::World;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ledger {
    pub(super) surroundings: Surroundings,
    /// The last phase that was recorded.
    pub(super) phase: PhaseName,
    /// The app was forked.
    pub(super) started: bool,
    /// Its execve was reported as successful.
    pub(super) executed: bool,
    /// A stop has begun: it was requested, or the app has failed.
    pub(super) begun: bool,
    /// Readiness and watchdog.
    pub(super) readiness: Readiness,
    pub(super) drain: Drain,
    /// The first stop request.
    pub(super) asked: Option<Received>,
    /// It came while the app lived, or in the wake-up that reported its end.
    pub(super) asked_in_life: bool,
    /// How the app ended, and when.
    pub(super) ended: Option<(Ending, Time)>,
    /// The end of the budget, once it runs, if it has one, and how far the app may move it.
    pub(super) budget_end: Option<Time>,
    pub(super) budget_end_limit: Time,
    /// A second stop request has ended the budget.
    pub(super) hurried: bool,
    /// The scan of the survivors was begun.
    pub(super) scanned: bool,
    /// When SIGKILL was sent to the tree.
    pub(super) killed: Option<Time>,
    /// A process survived that for too long.
    pub(super) gave_up: bool,
    /// The app was alive when SIGKILL was sent to the tree.
    pub(super) app_killed: bool,
    /// How many steps of the ladder were taken, and when the next one has to be.
    pub(super) rungs: usize,
    /// The stop signals that the app was sent.
    pub(super) stop_signals: Vec<Signal>,
    /// Another signal was asked for before the stop signal was sent: as it came, and as it is sent.
    pub(super) escalation: Option<(Signal, Signal)>,
    pub(super) rung_due: Option<Time>,
    /// When the diagnose signal has to be sent, until it was.
    pub(super) diagnose_due: Option<Time>,
    /// Signals that wait for the app to be started.
    pub(super) held: Vec<Received>,
    /// Those that an app without a handler would die of: they wait until it is ready.
    pub(super) held_for_ready: Vec<Received>,
    /// Reload signals that wait for their round of hooks, and the one whose round it is.
    pub(super) reloads: VecDeque<Received>,
    pub(super) reloading: Option<Received>,
    pub(super) pre_start: Turn,
    pub(super) on_ready: Turn,
    pub(super) on_reload: Turn,
    /// How many pre-stop hooks had their turn.
    pub(super) pre_stop: usize,
    pub(super) on_stop: Turn,
    pub(super) post_stop: Turn,
    /// The end of the post-stop reserve, once it runs.
    pub(super) post_end: Option<Time>,
    /// Attempts of pre-stop hooks that have not ended.
    pub(super) pre_stop_running: Vec<HookId>,
    /// Attempts of pre-stop hooks that failed, and when they have to be retried.
    pub(super) pre_stop_failed: Vec<(HookId, Time)>,
    /// The processes that post-stop hooks left behind were sent the stop signal.
    pub(super) post_asked: bool,
    pub(super) dead_man: Option<Time>,
    /// Attempts that were recorded as started and not as ended.
    pub(super) open: Vec<HookId>,
    /// The app is known to be stopped.
    pub(super) stopped: bool,
    /// No CONT has followed the last stop signal, because the app was not stopped.
    pub(super) owes_continue: bool,
    /// graceinit has stopped itself.
    pub(super) suspended: bool,
    /// Ctrl-Z was typed before the app was executed.
    pub(super) typed_early: bool,
    /// The sum of the delays of late ticks.
    pub(super) late: Duration,
    pub(super) exited: bool,
}

/// The signal that leftovers get. `--rewrite` does not apply to them.
pub(super) fn leftovers_signal(plan: &Plan) -> Signal {
    match plan.ladder.first().and_then(|rung| rung.signal) {
        Some(signal) if signal.ends_by_default() => signal,
        _ => Signal::TERM,
    }
}

/// The whole budget of a stop, if it has an end.
pub(super) fn budget_of(plan: &Plan) -> Option<Duration> {
    (plan.grace != ENDLESS).then_some(plan.grace)
}

/// The length that shares of the budget are taken from.
pub(super) fn measure(plan: &Plan) -> Duration {
    budget_of(plan).unwrap_or(plan.leftovers)
}

impl Ledger {
    pub(super) fn new(surroundings: Surroundings) -> Ledger {
        Ledger {
            surroundings,
            phase: PhaseName::Starting,
            started: false,
            executed: false,
            begun: false,
            readiness: Readiness::new(surroundings.watchdog),
            drain: Drain::default(),
            asked: None,
            asked_in_life: false,
            ended: None,
            budget_end: None,
            budget_end_limit: Time::default(),
            hurried: false,
            scanned: false,
            killed: None,
            gave_up: false,
            app_killed: false,
            rungs: 0,
            stop_signals: Vec::new(),
            escalation: None,
            rung_due: None,
            diagnose_due: None,
            held: Vec::new(),
            held_for_ready: Vec::new(),
            reloads: VecDeque::new(),
            reloading: None,
            pre_start: Turn::NotBegun,
            on_ready: Turn::NotBegun,
            on_reload: Turn::NotBegun,
            pre_stop: 0,
            on_stop: Turn::NotBegun,
            post_stop: Turn::NotBegun,
            post_end: None,
            post_asked: false,
            pre_stop_running: Vec::new(),
            pre_stop_failed: Vec::new(),
            dead_man: None,
            open: Vec::new(),
            stopped: false,
            owes_continue: false,
            suspended: false,
            typed_early: false,
            late: Duration::ZERO,
            exited: false,
        }
    }

    /// SIGKILL was sent to the tree.
    pub(super) fn was_killed(&self) -> bool {
        self.killed.is_some()
    }

    pub(super) fn ran_post_stop_hooks(&self) -> bool {
        matches!(self.post_stop, Turn::Ended { .. })
    }

    /// A second request has ended the budget, and SIGKILL waits for the scan of the survivors only.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurried && self.budget_runs()
    }

    /// The end of the budget cuts the present phase off.
    pub(super) fn budget_runs(&self) -> bool {
        (PhaseName::PreStop..=PhaseName::Leftovers).contains(&self.phase)
    }

    /// What the event means, before the machine handles it.
    pub(super) fn hear(&mut self, plan: &Plan, world: &World, event: Event, batch: &mut Batch) {
        let now = world.now;
        match event {
            Event::AppExecuted => self.app_executed(plan, now),
            Event::AppExited(status) => {
                self.app_leaves(plan, batch);
                self.app_ended(plan, now, Ending::Was(status), batch);
            }
            Event::AppOutOfMemory => {
                self.app_leaves(plan, batch);
                self.app_ended(plan, now, Ending::OutOfMemory, batch);
            }
            Event::ChildOutOfMemory => {
                let lives = self.started && !self.begun && self.ended.is_none();
                let stops = lives && plan.child_oom == ChildOom::Stop;
                batch.owed_failure = stops.then_some(Failure::OutOfMemory);
            }
            Event::AppNotExecuted(code) => {
                self.app_leaves(plan, batch);
                self.app_ended(plan, now, Ending::NotStarted(code), batch);
            }
            Event::AppStopped { signal, ours } => {
                self.stopped = true;
                let lives = self.ended.is_none() && self.budget_runs();
                if lives && std::mem::take(&mut self.owes_continue) {
                    batch.owed.push((Signal::CONT, Target::App, None));
                    batch.sent_by = Promise::ContinueAfterStop;
                }
                self.app_is_stopped(plan, now, (signal, ours), batch);
            }
            Event::Signal(received) if plan.stop_on.contains(received.signal) => {
                self.stop_asked(plan, world, received, batch);
            }
            Event::Signal(received) => self.signal_arrives(plan, now, received, batch),
            Event::HookExited(id, status) => {
                let ok = status.success();
                let outcome = if ok { Outcome::Done } else { Outcome::Failed };
                batch.expected_end = Some((id, outcome));
                self.attempt_ended(plan, now, id, ok, batch);
            }
            Event::HookNotStarted(id) => {
                batch.expected_end = Some((id, Outcome::NotStarted));
                self.attempt_ended(plan, now, id, false, batch);
            }
            Event::SurvivorsRecorded => self.scan_ended(now, batch),
            Event::Notice(notice) => self.notice(plan, now, notice, batch),
            Event::ConditionHolds(index) => {
                self.app_executed(plan, now);
                self.condition_holds(now, index, batch);
            }
            Event::Listening(yes) => self.listening(now, yes, batch),
            Event::Sampled(look) => self.sampled(plan, now, look, batch),
            Event::Acknowledged(acks) => self.acknowledged(plan, now, acks, batch),
            Event::StoodStill(span) => self.stood_still(now, span, batch),
            Event::Tick => {
                self.time_passes(plan, now, batch);
                self.delay_may_be_over(plan, now);
            }
            Event::Begun | Event::TreeEmpty => {}
        }
    }

    /// The app ends before a stop, or is never started.
    fn app_leaves(&mut self, plan: &Plan, batch: &mut Batch) {
        if self.phase < PhaseName::PreStop && self.ended.is_none() {
            self.owe_stopped_hooks(plan, batch);
        }
    }

    pub(super) fn app_ended(&mut self, plan: &Plan, now: Time, ending: Ending, batch: &mut Batch) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some((ending, now));
        // The time of the leftovers has an end even where the budget has none.
        self.budget_end.get_or_insert(now.after(measure(plan)));
        batch.owed_facts.push(Fact::AppEnded { ending });
        self.close_work(batch);
    }

    /// Checks one action against the promises, before the world performs it.
    pub(super) fn judge(
        &mut self,
        plan: &Plan,
        world: &World,
        action: &Action,
        batch: &mut Batch,
    ) -> Kept {
        kept(!self.exited, Promise::ExitsOnce, || format!("{action:?} after the exit"))?;
        let asks = matches!(action, Action::SignalApp { stop: true, .. })
            || matches!(action, Action::StartHook { .. } | Action::SignalLeftovers { .. });
        kept(!(asks && self.is_hurried()), Promise::KillsAtOnce, || format!("{action:?}"))?;
        match *action {
            Action::StartApp => self.judge_start(plan, world, batch),
            Action::SignalApp { signal, target, value, stop } => {
                let alive = world.app_lives() && self.ended.is_none();
                kept(alive, Promise::SignalsOnlyTheLiving, || format!("{action:?}"))?;
                self.is_sent(signal);
                if stop {
                    self.judge_readiness_fell()?;
                    if batch.owed_escalation == Some(signal) {
                        batch.owed_escalation = None;
                        self.stop_signals.push(signal);
                        return self.judge_stop_signal(plan, target, batch);
                    }
                    self.judge_step(plan, world, Some(signal), batch)?;
                    return self.judge_stop_signal(plan, target, batch);
                }
                if let Some(owed) = batch.owed_continue.take() {
                    return kept(
                        (signal, target) == (Signal::CONT, owed),
                        Promise::ContinueAfterStop,
                        || format!("{action:?} follows the stop signal to {owed:?}"),
                    );
                }
                batch.sent.push((signal, target, value));
                Ok(())
            }
            Action::StartHook { id, kill_at, budget_end } => {
                match id.phase {
                    HookPhase::PostStop => self.judge_post_stop_begins(plan, world)?,
                    HookPhase::PreStop => self.judge_readiness_fell()?,
                    HookPhase::Ready => {
                        return self.probe_starts(plan, world, (id, kill_at, budget_end));
                    }
                    HookPhase::Drained => {
                        return self.look_starts(plan, world, (id, kill_at, budget_end));
                    }
                    _ => {}
                }
                self.hook_starts(plan, world, (id, kill_at, budget_end))
            }
            Action::KillHook(id) => self.hook_is_killed(plan, world, id, batch),
            Action::StopHook { id, signal } => {
                batch.stopped_hooks.push((id, signal));
                Ok(())
            }
            Action::SignalLeftovers { signal, group_asked, .. } => {
                self.judge_leftovers_signal(plan, world, signal, group_asked)
            }
            Action::SetReady(true) => self.judge_ready(plan, world, batch),
            Action::SetReady(false) => self.judge_not_ready(plan, batch),
            Action::FollowMain(pid) => {
                batch.follows.push(pid);
                Ok(())
            }
            Action::SeekListeners => self.judge_seek(world.now),
            Action::TakeSample => self.judge_sample(plan, world.now),
            Action::TellHolders { missing } => self.judge_holders(missing),
            Action::RecordSurvivors => self.judge_scan(plan, world.now, batch),
            Action::ReportSurvivors => {
                batch.survivor_reports += 1;
                let before = self.killed.is_none() && self.budget_runs();
                kept(before, Promise::Survivors, || format!("in {:?}", self.phase))
            }
            Action::TellMoreTime(span) => {
                batch.more_time.push(span);
                Ok(())
            }
            Action::PrepareReport => {
                batch.prepared_reports += 1;
                Ok(())
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
                let shared = self.surroundings.terminal && !plan.session;
                kept(
                    shared && self.ended.is_none(),
                    Promise::Terminal,
                    || "there is no app to give it to",
                )
            }
            Action::TakeTerminal => {
                let shared = self.surroundings.terminal && !plan.session;
                kept(shared, Promise::Terminal, || "there is none to be taken")
            }
            Action::Record(ref fact) => self.judge_fact(plan, world, fact, batch),
            Action::Exit { code, by } => self.judge_exit(plan, world, code, by),
        }
    }

    fn judge_fact(&mut self, plan: &Plan, world: &World, fact: &Fact, batch: &mut Batch) -> Kept {
        match *fact {
            Fact::Entered(phase) => self.judge_phase(plan, world, phase, batch),
            Fact::HookStarted { id, .. } => {
                self.open.push(id);
                Ok(())
            }
            Fact::HookEnded { id, outcome, .. } => self.attempt_is_closed(id, outcome, batch),
            Fact::HookSkipped { id } => self.hook_is_skipped(plan, world.now, id),
            Fact::DeadlineReached { early } => {
                let told = early == self.hurried;
                kept(told, Promise::Account, || "at the end of the budget, or hurried?")?;
                batch.budget_ends += 1;
                let reported = batch.survivor_reports == batch.budget_ends;
                kept(reported, Promise::Survivors, || "the end of the budget was recorded first")
            }
            Fact::Unkillable => {
                self.gave_up = true;
                if world.app_lives() {
                    self.ended.get_or_insert((Ending::Unkillable, world.now));
                }
                kept(!world.tree_is_empty(), Promise::Account, || "no process is left")
            }
            Fact::Diagnosed { signal, left } => {
                self.judge_diagnosis(plan, world, signal, left, batch)
            }
            Fact::PhaseAborted { .. } => {
                batch.facts.push(fact.clone());
                batch.judge_facts_so_far()
            }
            Fact::NoStopSignal { left, .. } => {
                self.judge_left(world.now, left)?;
                self.judge_step(plan, world, None, batch)
            }
            Fact::StopSignal { left, .. } => self.judge_left(world.now, left),
            Fact::LeftoversSignalled { left, .. } => self.judge_left(world.now, Some(left)),
            Fact::Exit { reason, .. } => self.judge_reason(reason),
            Fact::StopRequested { .. }
            | Fact::StopAgain { .. }
            | Fact::Forwarded { .. }
            | Fact::Dropped { .. }
            | Fact::NoApp { .. }
            | Fact::Held { .. }
            | Fact::TooEarly { .. }
            | Fact::StoodStill { .. }
            | Fact::ReloadRequested { .. }
            | Fact::ReloadMerged { .. }
            | Fact::ReloadDropped { .. }
            | Fact::Extended { .. }
            | Fact::HookRetried { .. }
            | Fact::AppEnded { .. }
            | Fact::Resumed => {
                batch.facts.push(fact.clone());
                Ok(())
            }
            Fact::Suspended { .. } => Ok(()),
            Fact::NotReady { .. } | Fact::WatchdogMissed { .. } | Fact::ChildOutOfMemory => {
                self.judge_failure(plan, world, fact, batch)
            }
            Fact::DrainEnded { why, after, last, missing } => {
                self.judge_drain_end(plan, world.now, (why, after, last, missing), batch)
            }
            Fact::StillDraining { sample, missing, after } => {
                self.judge_still_draining(world.now, (sample, missing, after))
            }
            Fact::StillNotReady { .. } => self.judge_late(plan, world, fact),
            Fact::Ready { .. }
            | Fact::ConditionHolds { .. }
            | Fact::Listens { .. }
            | Fact::StopsItself
            | Fact::MainPid { .. }
            | Fact::DrainBegun { .. }
            | Fact::Sampled { .. }
            | Fact::Acknowledged { .. } => {
                batch.news.push(fact.clone());
                Ok(())
            }
            // Only the loop can record these.
            Fact::StillThere(_)
            | Fact::MoreStillThere(_)
            | Fact::SurvivorsNotRecorded
            | Fact::HeldDrain(_) => {
                kept(false, Promise::Account, || "it cannot know who is still there")
            }
        }
    }

    /// The rest of the budget, as it was recorded.
    pub(super) fn judge_left(&self, now: Time, left: Option<Duration>) -> Kept {
        let really = self.budget_end.map(|budget_end| budget_end.since(now));
        kept(left == really, Promise::TimeRecorded, || format!("{left:?}, really {really:?}"))
    }

    fn judge_phase(
        &mut self,
        plan: &Plan,
        world: &World,
        phase: PhaseName,
        batch: &mut Batch,
    ) -> Kept {
        let now = world.now;
        let forward = self.phase < phase;
        kept(forward, Promise::PhasesInOrder, || format!("{phase:?} after {:?}", self.phase))?;
        self.judge_drain_place(plan, world, phase, batch)?;
        let reads_the_tree =
            [PhaseName::Leftovers, PhaseName::Killed, PhaseName::PostStop].contains(&phase);
        batch.tree_phases += usize::from(reads_the_tree);
        self.phase = phase;
        self.pre_stop_running.clear();
        self.pre_stop_failed.clear();
        if phase == PhaseName::Stopping {
            self.diagnose_due = plan.diagnose.zip(self.budget_end).map(|(diagnose, budget_end)| {
                budget_end.before(diagnose.lead.min(budget_end.since(now) / 2))
            });
        }
        if phase == PhaseName::PostStop {
            let reserve = plan.post_stop_timeout;
            // A late wake-up must not cost the hooks their reserve; the time that killed processes take to
            // vanish does.
            self.post_end = Some(self.killed.unwrap_or(now).after(reserve));
        }
        Ok(())
    }

    /// The signal and the reason that are given to a hook.
    pub(super) fn judge_occasion(
        &self,
        id: HookId,
        occasion: Option<(Signal, Option<i32>)>,
        reason: Reason,
    ) -> Kept {
        if id.phase == HookPhase::Ready {
            return Ok(());
        }
        let about = if id.phase == HookPhase::OnReload { self.reloading } else { self.asked };
        let about = about.map(|received| (received.signal, received.origin.process()));
        kept(occasion == about, Promise::Occasion, || format!("{occasion:?}, not {about:?}"))?;
        // Earlier hooks get no reason.
        if id.phase < HookPhase::PreStop { Ok(()) } else { self.judge_reason(reason) }
    }

    fn judge_reason(&self, reason: Reason) -> Kept {
        let right = match self.ended {
            _ if self.readiness.failure == Some(Failure::NotReady) => Reason::NotReady,
            _ if self.readiness.failure == Some(Failure::Watchdog) => Reason::Crash,
            _ if self.readiness.failure == Some(Failure::OutOfMemory) => Reason::OutOfMemory,
            Some((Ending::OutOfMemory, _)) => Reason::OutOfMemory,
            _ if self.app_killed => Reason::Deadline,
            _ if self.asked_in_life => Reason::Signal,
            Some((Ending::Was(Status::Code(0)), _)) => Reason::Exit,
            _ => Reason::Crash,
        };
        kept(reason == right, Promise::Reason, || format!("{reason:?}, not {right:?}"))
    }

    /// Checks that need all actions of an event.
    pub(super) fn judge_batch(
        &mut self,
        plan: &Plan,
        now: Time,
        batch: &Batch,
        phase: PhaseName,
    ) -> Kept {
        batch.judge_failures()?;
        kept(phase == self.phase, Promise::PhasesInOrder, || {
            format!("the machine is in {phase:?}, the account in {:?}", self.phase)
        })?;
        kept(batch.owed_continue.is_none(), Promise::ContinueAfterStop, || "it stays stopped")?;
        if self.phase >= PhaseName::PreStop && batch.phase_before < PhaseName::PreStop {
            let all = self.ended.is_some() || self.pre_stop == plan.hooks.pre_stop.len();
            kept(all, Promise::PreStopTogether, || format!("only {} began", self.pre_stop))?;
        }
        if self.phase == PhaseName::Stopping {
            kept(self.rungs > 0, Promise::StopSignalAlways, || "the ladder was not begun")?;
        }
        self.judge_announced(batch)?;
        self.judge_drain_goes_on(plan, now, batch)?;
        batch.judge()?;
        let resumed = matches!(batch.event, Event::Signal(Received { signal: Signal::CONT, .. }));
        if resumed || self.begun || self.ended.is_some() {
            self.suspended = false;
        }
        Ok(())
    }
}
