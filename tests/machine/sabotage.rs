//! The machine, with a bug planted between it and its world.

use std::time::Duration;

use graceinit::machine::fact::{Fact, Reason};
use graceinit::machine::hooks::{HookId, HookPhase};
use graceinit::machine::phase::{Phase, PhaseName};
use graceinit::machine::plan::{Ending, OnFailure, Plan, Surroundings};
use graceinit::machine::ready::Notice;
use graceinit::machine::{Action, Event, Machine, Target, budget};
use graceinit::types::{Signal, SignalSet, Status, Time};

use super::bug::Bug;
use super::mischief;
use super::world::{OWN_ERROR, Setup};

/// What the effect of a bug may depend on.
#[derive(Clone, Copy)]
struct Context {
    bug: Bug,
    event: Event,
    app_was_alive: bool,
    /// The event is a second stop request.
    asked_again: bool,
}

/// The machine with its bug, as world and ledger see it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    machine: Machine,
    bug: Option<Bug>,
    /// The attempt that was started last.
    newest: Option<HookId>,
    /// The first attempt for a reload.
    first_round: Option<HookId>,
    /// The first stop request.
    asked: Option<Time>,
    /// By how much the bug delays everything.
    put_off: Duration,
    dead_man_set: bool,
    looked: bool,
    /// The scan of the survivors goes on.
    scanning: bool,
    scanned: bool,
    killed_in_post_stop: bool,
}

impl Subject {
    pub(super) fn new(setup: &Setup, bug: Option<Bug>) -> Subject {
        let (mut plan, mut surroundings) = (setup.plan.clone(), setup.surroundings);
        if let Some(bug) = bug {
            misread(bug, &mut plan, &mut surroundings);
        }
        Subject {
            machine: Machine::new(plan, surroundings),
            bug,
            newest: None,
            first_round: None,
            asked: None,
            put_off: Duration::ZERO,
            dead_man_set: false,
            looked: false,
            scanning: false,
            scanned: false,
            killed_in_post_stop: false,
        }
    }

    pub(super) fn phase(&self) -> PhaseName {
        self.machine.phase().name()
    }

    pub(super) fn ready(&self) -> bool {
        self.machine.ready()
    }

    pub(super) fn reason(&self) -> Reason {
        match self.bug {
            Some(Bug::ForgetsWhyItEnded) => Reason::Crash,
            _ => self.machine.reason(),
        }
    }

    /// The signal that a hook which starts now is about.
    pub(super) fn occasion(&self) -> Option<(Signal, Option<i32>)> {
        match self.bug {
            Some(Bug::ForgetsTheOccasion) => self.machine.stop_request(),
            _ => self.machine.occasion(),
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Time> {
        let wake = self.machine.next_wakeup().map(|time| time.after(self.put_off));
        match self.bug {
            Some(Bug::ForgetsToWake(phase)) if phase == self.phase() => None,
            Some(Bug::WakesLate(phase)) if phase == self.phase() => {
                wake.map(|time| time.after(Duration::from_millis(1)))
            }
            Some(Bug::LingersAtTheEnd) if self.killed_in_post_stop => {
                wake.map(|time| time.after(Duration::from_millis(1)))
            }
            Some(Bug::WaitsForTheScan) if self.scanning => {
                wake.map(|time| time.after(Duration::from_millis(1)))
            }
            Some(Bug::WakesForNothing) => wake.or(Some(Time(u64::MAX))),
            _ => wake,
        }
    }

    pub(super) fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let Some(bug) = self.bug else { return self.machine.handle(now, event, out) };
        let is_stop = matches!(event, Event::Signal(received)
            if self.machine.plan().stop_on.contains(received.signal));
        let asked_again = is_stop && self.asked.is_some();
        if bug == Bug::RestartsTheBudgetWhenAskedAgain && asked_again {
            // A delay of everything has the effect of a budget that began later.
            self.put_off = now.since(self.asked.unwrap_or(now));
        }
        if is_stop {
            self.asked.get_or_insert(now);
        }
        let event = match (bug, event) {
            (Bug::LateExitEndsTheNextAttempt, Event::HookExited(id, status)) => {
                let same = |newest: &HookId| (newest.phase, newest.index) == (id.phase, id.index);
                Event::HookExited(self.newest.filter(same).unwrap_or(id), status)
            }
            (Bug::NamesRoundsAlike, Event::HookExited(id, status)) => {
                Event::HookExited(in_round_of(self.newest, id), status)
            }
            (Bug::LateExitEndsTheNewest, Event::HookExited(id, status)) => {
                Event::HookExited(self.newest.unwrap_or(id), status)
            }
            (Bug::OverlooksTheEmptyTree, Event::TreeEmpty)
            | (Bug::IgnoresMoreTime, Event::Notice(Notice::MoreTime(_)))
            | (Bug::OverlooksTheStandstill, Event::StoodStill(_))
            | (Bug::WaitsOnAfterTheScan, Event::SurvivorsRecorded) => Event::AppExecuted,
            (Bug::MoreTimeCountsFromTheEnd, Event::Notice(Notice::MoreTime(span))) => {
                let left =
                    self.machine.next_wakeup().map_or(Duration::ZERO, |wake| wake.since(now));
                Event::Notice(Notice::MoreTime(span + left))
            }
            (Bug::LosesTheSecondReload, Event::Signal(received))
                if self.newest.is_some_and(|id| id.phase == HookPhase::OnReload)
                    && received.signal == Signal::HUP =>
            {
                Event::AppExecuted
            }
            (Bug::SleepsThroughTicks(phase), Event::Tick) if phase == self.phase() => {
                Event::AppExecuted
            }
            _ => mischief::mishears(bug, event),
        };
        let mut told = Time(now.0.saturating_sub(self.put_off.as_nanos() as u64));
        let due = self.next_wakeup().is_some_and(|wake| wake <= now);
        if bug == Bug::GivesUpTooEarly && self.phase() == PhaseName::Killed && due {
            told = told.after(budget::dying(self.machine.plan().post_stop_timeout));
        }
        let app_was_alive = self.machine.ending().is_none();
        let mut orders = Vec::new();
        self.machine.handle(told, event, &mut orders);
        if mischief::overlooks(bug, &orders) {
            return;
        }
        if bug == Bug::ThinksTheAppRuns && orders.contains(&Action::StartApp) {
            self.machine.handle(told, Event::AppExecuted, &mut orders);
        }
        if bug == Bug::MixesUpWhatItHeld && orders.contains(&Action::StartApp) {
            let to_app = |order: &Action| matches!(order, Action::SignalApp { .. });
            let (signals, rest): (Vec<_>, Vec<_>) = orders.into_iter().partition(to_app);
            orders = rest.into_iter().chain(signals.into_iter().rev()).collect();
        }
        let killed_probes = orders.iter().filter_map(|order| match order {
            Action::KillHook(id) if id.phase == HookPhase::Ready => Some(*id),
            _ => None,
        });
        if bug == Bug::PilesUpProbes {
            for id in killed_probes.collect::<Vec<_>>() {
                let reaped = Event::HookExited(id, Status::Signal(Signal::KILL));
                self.machine.handle(told, reaped, &mut orders);
            }
        }
        self.scanning &= event != Event::SurvivorsRecorded;
        if bug == Bug::PostStopWhileLeftoversLive && matches!(event, Event::AppExited(_)) {
            self.machine.handle(told, Event::TreeEmpty, &mut orders);
        }
        let context = Context { bug, event, app_was_alive, asked_again };
        for action in orders {
            self.output(context, action, out);
        }
        self.append(context, now, out);
    }

    /// Outputs one action, or what the bug makes of it.
    fn output(&mut self, context: Context, action: Action, out: &mut Vec<Action>) {
        let bug = context.bug;
        let put_off = self.put_off;
        let after_stop = matches!(out.last(), Some(Action::SignalApp { stop: true, .. }));
        if self.swallows(context, after_stop, &action) {
            return;
        }
        let ladder = &self.machine.plan().ladder;
        self.killed_in_post_stop |=
            action == Action::KillTree && self.phase() == PhaseName::PostStop;
        let action = match (bug, action) {
            (Bug::RepeatsTheFirstRung, Action::SignalApp { stop: true, signal, target, value }) => {
                let signal = ladder.first().and_then(|rung| rung.signal).unwrap_or(signal);
                Action::SignalApp { signal, target, value, stop: true }
            }
            (Bug::StopSignalToTheAppAlone, Action::SignalApp { stop: true, signal, value, .. }) => {
                Action::SignalApp { signal, target: Target::App, value, stop: true }
            }
            (
                Bug::RewritesTheLeftoversSignal,
                Action::SignalLeftovers { signal, group_asked, first },
            ) => {
                let signal = self.machine.plan().rewrite.apply(signal).unwrap_or(signal);
                Action::SignalLeftovers { signal, group_asked, first }
            }
            (Bug::ThinksTheGroupWasAsked, Action::SignalLeftovers { signal, first, .. }) => {
                Action::SignalLeftovers { signal, group_asked: true, first }
            }
            (Bug::ExitsWithZero, Action::Exit { by, .. }) => Action::Exit { code: 0, by },
            (Bug::HooksMayUseTheWholeBudget, Action::StartHook { id, kill_at, budget_end }) => {
                let kill_at = budget_end.unwrap_or(kill_at);
                Action::StartHook { id, kill_at, budget_end }
            }
            (Bug::DiagnosesTheAppAlone, Action::SignalApp { signal, value, stop: false, .. })
                if self.machine.plan().diagnose.is_some_and(|it| it.signal == signal) =>
            {
                Action::SignalApp { signal, target: Target::App, value, stop: false }
            }
            (Bug::PausesAreSpreadTooFar, Action::Record(Fact::HookRetried { id, pause })) => {
                Action::Record(Fact::HookRetried { id, pause: pause / 2 })
            }
            (_, Action::StartHook { id, kill_at, budget_end }) => {
                let budget_end = budget_end.map(|end| end.after(put_off));
                Action::StartHook { id, kill_at: kill_at.after(put_off), budget_end }
            }
            (_, Action::ArmDeadMan(time)) => Action::ArmDeadMan(time.after(put_off)),
            (_, action) => action,
        };
        let mut action = action;
        let alike = bug == Bug::NamesRoundsAlike;
        match &mut action {
            Action::StartHook { id, .. } => {
                self.newest = Some(*id);
                self.first_round = self.first_round.or(self.newest.filter(is_reload));
                *id = in_round_of(self.first_round.filter(|_| alike), *id);
            }
            Action::KillHook(id)
            | Action::Record(
                Fact::HookStarted { id, .. }
                | Fact::HookEnded { id, .. }
                | Fact::HookRetried { id, .. }
                | Fact::PhaseAborted { id },
            ) => *id = in_round_of(self.first_round.filter(|_| alike), *id),
            Action::RecordSurvivors => (self.scanning, self.scanned) = (true, true),
            _ => {}
        }
        if bug == Bug::StopSignalBeforeOnStop
            && action == Action::Record(Fact::Entered(PhaseName::OnStop))
        {
            let signal = ladder.first().and_then(|rung| rung.signal).unwrap_or(Signal::TERM);
            let target = Target::Group;
            out.push(Action::SignalApp { signal, target, value: None, stop: true });
        }
        let twice = match (bug, &action) {
            (Bug::ExitsTwice, Action::Exit { .. })
            | (Bug::StartsTheAppTwice, Action::StartApp)
            | (Bug::StopsHooksTwice, Action::StopHook { .. })
            | (Bug::ScansTwice, Action::RecordSurvivors)
            | (Bug::DiagnosesTwice, Action::Record(Fact::Diagnosed { .. })) => true,
            (Bug::ForwardsTwice, Action::SignalApp { stop: false, .. }) => !after_stop,
            (Bug::StartsHooksTwice(phase), Action::StartHook { id, .. }) => id.phase == phase,
            _ => mischief::twice(bug, &action),
        };
        if twice {
            out.push(action.clone());
        }
        out.push(action);
    }

    /// The bug drops this action.
    fn swallows(&mut self, context: Context, after_stop: bool, it: &Action) -> bool {
        let Context { bug, event, app_was_alive, asked_again } = context;
        match (bug, it) {
            (Bug::NeverKillsTheTree, Action::KillTree)
            | (Bug::NoStopSignal, Action::SignalApp { stop: true, .. })
            | (Bug::SwallowsKillHook, Action::KillHook(_))
            | (Bug::NeverExits, Action::Exit { .. })
            | (Bug::NeverArmsTheDeadMan, Action::ArmDeadMan(_))
            | (Bug::LeftoversGetNothing, Action::SignalLeftovers { .. })
            | (Bug::KeepsTheTerminal, Action::TakeTerminal)
            | (Bug::ForgetsTheApp, Action::StartApp)
            | (Bug::StopsNoHook, Action::StopHook { .. })
            | (Bug::NoScan, Action::RecordSurvivors)
            | (Bug::RecordsNoPhases, Action::Record(Fact::Entered(_)))
            | (Bug::ForgetsThatHooksEnded, Action::Record(Fact::HookEnded { .. })) => true,
            (Bug::NoContinueAfterTheStopSignal, Action::SignalApp { stop: false, .. }) => {
                after_stop
            }
            (Bug::ForwardsNothing, Action::SignalApp { stop: false, .. }) => !after_stop,
            (Bug::LosesWhatItHeld, Action::SignalApp { .. }) => {
                matches!(self.machine.phase(), Phase::Starting { .. })
            }
            (Bug::LosesAKeyTypedEarly, Action::SignalApp { .. } | Action::SuspendSelf) => {
                event == Event::AppExecuted
            }
            (Bug::LosesTheReload, Action::SignalApp { stop: false, .. }) => {
                self.newest.is_some_and(|id| id.phase == HookPhase::OnReload) && !after_stop
            }
            (Bug::ScansOnce, Action::RecordSurvivors) => self.scanned,
            (Bug::HurriesWithoutAScan, Action::RecordSurvivors) => asked_again,
            (Bug::DeadManNotRearmedForMoreTime, Action::ArmDeadMan(_)) => {
                matches!(event, Event::Notice(Notice::MoreTime(_)))
            }
            (Bug::DeadManNotRearmedForHurry, Action::ArmDeadMan(_)) => asked_again,
            (Bug::NeverResumes, Action::SignalApp { signal: Signal::CONT, .. }) => !after_stop,
            (Bug::LeavesWithoutKilling, Action::KillTree) => self.phase() == PhaseName::Exit,
            (Bug::KillsAtTheEndOnlyIfAppLives, Action::KillTree) => !app_was_alive,
            (Bug::NoPostStopHooks, Action::StartHook { id, .. }) => id.phase == HookPhase::PostStop,
            (Bug::PreStopOneAtATime, Action::StartHook { id, .. }) => {
                id.phase == HookPhase::PreStop && id.index > 0
            }
            (Bug::DeadManNotRearmedForPostStop, Action::ArmDeadMan(_)) => {
                std::mem::replace(&mut self.dead_man_set, true)
            }
            (Bug::NoFurtherRounds, Action::SignalLeftovers { .. }) => {
                std::mem::replace(&mut self.looked, true)
            }
            _ => mischief::swallows(bug, self.phase(), it),
        }
    }

    /// Adds the actions of the bug at the end.
    fn append(&self, context: Context, now: Time, out: &mut Vec<Action>) {
        let Context { bug, event, asked_again, .. } = context;
        let to_app =
            |signal, stop| Action::SignalApp { signal, target: Target::Group, value: None, stop };
        let exits = out.iter().any(|action| matches!(action, Action::Exit { .. }));
        let stops = out.iter().any(|action| matches!(action, Action::SignalApp { stop: true, .. }));
        let early = matches!(self.machine.phase(), Phase::PreStart { .. });
        let never_started = out.iter().any(|action| {
            matches!(
                action,
                Action::Record(Fact::AppEnded {
                    ending: Ending::Forestalled(_) | Ending::NotStarted(OWN_ERROR)
                })
            )
        });
        let late = |id: HookId| id.phase < HookPhase::PreStop && self.phase() > PhaseName::Ready;
        let begins = |action: &Action| matches!(action, Action::Record(Fact::StopRequested { .. }));
        match (bug, event) {
            (Bug::RepeatsTheStopSignalWhenAskedAgain, Event::Signal(received))
                if asked_again && self.machine.ending().is_none() =>
            {
                out.push(to_app(received.signal, true));
                out.push(to_app(Signal::CONT, false));
            }
            (Bug::KillsTheTreeWithTheStopSignal, _) if stops => out.push(Action::KillTree),
            (Bug::ActsOnEveryTick, Event::Tick) if self.phase() == PhaseName::Leftovers => {
                out.push(Action::SignalLeftovers {
                    signal: Signal::TERM,
                    group_asked: true,
                    first: false,
                });
            }
            (Bug::KillsTheReapedHook, Event::HookExited(id, _)) => out.push(Action::KillHook(id)),
            (Bug::StartsTheAppAtOnce, Event::Begun) => out.push(Action::StartApp),
            (Bug::StartsTheAppAfterAll, _) if never_started => out.push(Action::StartApp),
            (Bug::HoldsNothing, Event::Signal(received)) if early => {
                out.push(to_app(received.signal, false));
            }
            (Bug::ReloadsDespiteAFailure, _)
                if out.iter().any(|action| {
                    matches!(action, Action::Record(Fact::PhaseAborted { id })
                        if id.phase == HookPhase::OnReload)
                }) =>
            {
                out.push(to_app(Signal::QUIT, false));
            }
            (Bug::ReloadsDuringAStop, Event::Signal(_))
                if out.contains(&Action::Record(Fact::ReloadDropped { signal: Signal::HUP })) =>
            {
                out.push(to_app(Signal::QUIT, false));
            }
            (Bug::AbortsAfterItsPhase, Event::HookExited(id, Status::Code(1))) if late(id) => {
                out.push(Action::Record(Fact::PhaseAborted { id }));
            }
            (Bug::RetriesAfterItsPhase, Event::HookExited(id, Status::Code(1))) if late(id) => {
                let (id, end) = (HookId { attempt: 2, ..id }, now.after(Duration::from_secs(1)));
                out.push(Action::Record(Fact::HookStarted { id, limit: Duration::MAX }));
                out.push(Action::StartHook { id, kill_at: end, budget_end: Some(end) });
            }
            (Bug::StopsWithoutASignalToo, _)
                if out
                    .iter()
                    .any(|action| matches!(action, Action::Record(Fact::NoStopSignal { .. }))) =>
            {
                out.push(to_app(Signal::TERM, true));
                out.push(to_app(Signal::CONT, false));
            }
            (Bug::ScansAtTheBeginning, Event::Signal(_)) if out.iter().any(begins) => {
                out.push(Action::RecordSurvivors);
            }
            (Bug::KillsWithTheScan, Event::Signal(_)) if asked_again => {
                out.push(Action::KillTree);
            }
            (Bug::ActsAfterTheExit, _) if exits => out.push(Action::TakeTerminal),
            (Bug::ForwardsToTheDead, Event::Signal(received))
                if self.machine.ending().is_some() && !exits =>
            {
                out.push(to_app(received.signal, false));
            }
            (Bug::OnStopAfterTheApp, Event::AppExited(Status::Code(_))) => {
                let Some(newest) = self.newest else { return };
                let id = HookId { phase: HookPhase::OnStop, attempt: 9, ..newest };
                let end = Time(u64::MAX);
                out.push(Action::Record(Fact::HookStarted { id, limit: Duration::MAX }));
                out.push(Action::StartHook { id, kill_at: end, budget_end: Some(end) });
            }
            _ => mischief::append(bug, event, now, out),
        }
    }
}

fn is_reload(id: &HookId) -> bool {
    id.phase == HookPhase::OnReload
}

/// The same attempt of the same hook, but of the round of `other`.
fn in_round_of(other: Option<HookId>, id: HookId) -> HookId {
    match other.filter(is_reload).filter(|_| is_reload(&id)) {
        Some(other) => HookId { index: id.index, attempt: id.attempt, ..other },
        None => id,
    }
}

/// Bugs of arithmetic: the machine follows a changed plan.
fn misread(bug: Bug, plan: &mut Plan, surroundings: &mut Surroundings) {
    let all = &mut plan.hooks;
    let hooks = (all.pre_start.iter_mut())
        .chain(&mut all.on_ready)
        .chain(&mut all.on_reload)
        .chain(&mut all.pre_stop)
        .chain(&mut all.on_stop)
        .chain(&mut all.post_stop);
    match bug {
        Bug::EveryFailureAborts => hooks.for_each(|hook| hook.on_failure = OnFailure::Abort),
        Bug::NoFailureAborts => hooks.for_each(|hook| hook.on_failure = OnFailure::Warn),
        Bug::ReloadsWithoutHooks => plan.reload_on = SignalSet::default(),
        Bug::NeverDiagnoses => plan.diagnose = None,
        Bug::DiagnosesTooEarly => {
            plan.diagnose.iter_mut().for_each(|diagnose| diagnose.lead *= 2);
        }
        Bug::DiagnosesWithTheStopSignal => {
            plan.diagnose.iter_mut().for_each(|diagnose| diagnose.signal = Signal::TERM);
        }
        Bug::MoreTimeHasNoEnd => plan.grace_max = Duration::MAX,
        Bug::PausesAreNeverSpread => surroundings.jitter = 0,
        Bug::OneRetryTooMany => hooks.for_each(|hook| hook.retries += 1),
        Bug::OneRetryTooFew => hooks.for_each(|hook| hook.retries = hook.retries.saturating_sub(1)),
        Bug::NoPauseBeforeRetry => hooks.for_each(|hook| hook.backoff = Duration::ZERO),
        Bug::IgnoresRewrite => plan.rewrite = Default::default(),
        Bug::IgnoresSecondRequestToKill => {
            plan.stop_again = graceinit::machine::plan::StopAgain::Ignore;
        }
        Bug::SkipsHooksThatFit => plan.post_stop_timeout = Duration::ZERO,
        Bug::ForgetsTheWatchdog => surroundings.watchdog = None,
        _ => mischief::misread(bug, plan),
    }
}
