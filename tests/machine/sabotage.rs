//! The machine, with a bug planted between it and its world.

use std::time::Duration;

use graceinit::machine::fact::{Fact, Reason};
use graceinit::machine::hook::{HookId, HookPhase};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::Plan;
use graceinit::machine::{Action, Event, Machine, Target, budget};
use graceinit::types::{Signal, Status, Time};

/// One thing that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Bug {
    NeverKillsTheTree,
    KillsTheTreeWithTheStopSignal,
    KillsAtTheDeadlineOnlyIfAppLives,
    NoStopSignal,
    RepeatsTheStopSignalWhenAskedAgain,
    RepeatsTheFirstRung,
    NoContinueAfterTheStopSignal,
    StopSignalToTheAppAlone,
    SwallowsKillHook,
    KillsTheReapedHook,
    ForgetsToWake(PhaseName),
    WakesLate(PhaseName),
    LingersAtTheEnd,
    SleepsThroughTicks(PhaseName),
    ActsOnEveryTick,
    ExitsTwice,
    NeverExits,
    LeavesWithoutKilling,
    ForgetsToTellOfPhases,
    ActsAfterTheExit,
    ExitsWithZero,
    PostStopWhileLeftoversLive,
    NoPostStopHooks,
    ForwardsToTheDead,
    ForwardsTwice,
    ForwardsNothing,
    IgnoresRewrite,
    LateExitEndsTheNextAttempt,
    NeverArmsTheDeadMan,
    DeadManNotRearmedForPostStop,
    RestartsTheBudgetWhenAskedAgain,
    IgnoresSecondRequestToKill,
    NoLookForNewcomers,
    LeftoversGetNothing,
    RewritesTheLeftoversSignal,
    ThinksTheGroupWasTold,
    OverlooksTheEmptyTree,
    StartsHooksTwice(HookPhase),
    OnStopAfterTheApp,
    PreStopOneAtATime,
    OneRetryTooMany,
    OneRetryTooFew,
    NoPauseBeforeRetry,
    HooksMayUseTheWholeBudget,
    ForgetsWhyItEnded,
    ForgetsThatHooksEnded,
    NeverResumes,
    KeepsTheTerminal,
    SkipsHooksThatFit,
    StopSignalBeforeOnStop,
    GivesUpTooEarly,
}

/// The machine as its world meets it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    machine: Machine,
    bug: Option<Bug>,
    /// The attempt that was started last.
    newest: Option<HookId>,
    /// The first stop request.
    asked: Option<Time>,
    /// By how much a bug has put off everything.
    put_off: Duration,
    dead_man_set: bool,
    looked: bool,
    killed_in_post_stop: bool,
}

impl Subject {
    pub(super) fn new(plan: Plan, bug: Option<Bug>) -> Subject {
        Subject {
            machine: Machine::new(bug.map_or_else(|| plan.clone(), |bug| misread(bug, &plan))),
            bug,
            newest: None,
            asked: None,
            put_off: Duration::ZERO,
            dead_man_set: false,
            looked: false,
            killed_in_post_stop: false,
        }
    }

    pub(super) fn phase(&self) -> PhaseName {
        self.machine.phase().name()
    }

    pub(super) fn reason(&self) -> Reason {
        match self.bug {
            Some(Bug::ForgetsWhyItEnded) => Reason::Crash,
            _ => self.machine.reason(),
        }
    }

    /// What a hook that starts now is told of the signal that it is about.
    pub(super) fn occasion(&self) -> Option<(Signal, Option<i32>)> {
        self.machine.occasion()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let wake = self.machine.deadline().map(|time| time.after(self.put_off));
        match self.bug {
            Some(Bug::ForgetsToWake(phase)) if phase == self.phase() => None,
            Some(Bug::WakesLate(phase)) if phase == self.phase() => {
                wake.map(|time| time.after(Duration::from_millis(1)))
            }
            Some(Bug::LingersAtTheEnd) if self.killed_in_post_stop => {
                wake.map(|time| time.after(Duration::from_millis(1)))
            }
            _ => wake,
        }
    }

    pub(super) fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let Some(bug) = self.bug else { return self.machine.handle(now, event, out) };
        let is_stop = matches!(event, Event::Signal(received)
            if self.machine.plan().stop_on.contains(received.signal));
        let asked_again = is_stop && self.asked.is_some();
        if bug == Bug::RestartsTheBudgetWhenAskedAgain && asked_again {
            // To be late for everything is the same as a budget that began later.
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
            (Bug::OverlooksTheEmptyTree, Event::TreeEmpty) => Event::AppExecuted,
            (Bug::SleepsThroughTicks(phase), Event::Tick) if phase == self.phase() => {
                Event::AppExecuted
            }
            _ => event,
        };
        let mut told = Time(now.0.saturating_sub(self.put_off.as_nanos() as u64));
        let due = self.deadline().is_some_and(|wake| wake <= now);
        if bug == Bug::GivesUpTooEarly && self.phase() == PhaseName::Killed && due {
            told = told.after(budget::dying(self.machine.plan().post_stop_timeout));
        }
        let app_was_alive = self.machine.ending().is_none();
        let mut orders = Vec::new();
        self.machine.handle(told, event, &mut orders);
        if bug == Bug::PostStopWhileLeftoversLive && matches!(event, Event::AppExited(_)) {
            self.machine.handle(told, Event::TreeEmpty, &mut orders);
        }
        for action in orders {
            self.pass_on(bug, app_was_alive, action, out);
        }
        self.append(bug, event, asked_again, out);
    }

    /// Passes one action on, or what the bug makes of it.
    fn pass_on(&mut self, bug: Bug, app_was_alive: bool, action: Action, out: &mut Vec<Action>) {
        let put_off = self.put_off;
        let after_stop = matches!(out.last(), Some(Action::SignalApp { stop: true, .. }));
        if self.swallows(bug, app_was_alive, after_stop, &action) {
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
                Action::SignalLeftovers { signal, group_told, first },
            ) => {
                let signal = self.machine.plan().rewrite.apply(signal).unwrap_or(signal);
                Action::SignalLeftovers { signal, group_told, first }
            }
            (Bug::ThinksTheGroupWasTold, Action::SignalLeftovers { signal, first, .. }) => {
                Action::SignalLeftovers { signal, group_told: true, first }
            }
            (Bug::ExitsWithZero, Action::Exit { by, .. }) => Action::Exit { code: 0, by },
            (Bug::HooksMayUseTheWholeBudget, Action::StartHook { id, end, .. }) => {
                Action::StartHook { id, until: end, end }
            }
            (_, Action::StartHook { id, until, end }) => {
                Action::StartHook { id, until: until.after(put_off), end: end.after(put_off) }
            }
            (_, Action::ArmDeadMan(time)) => Action::ArmDeadMan(time.after(put_off)),
            (_, action) => action,
        };
        if let Action::StartHook { id, .. } = action {
            self.newest = Some(id);
        }
        if bug == Bug::StopSignalBeforeOnStop
            && action == Action::Record(Fact::Entered(PhaseName::OnStop))
        {
            let signal = ladder.first().and_then(|rung| rung.signal).unwrap_or(Signal::TERM);
            let target = Target::Group;
            out.push(Action::SignalApp { signal, target, value: None, stop: true });
        }
        let twice = match (bug, &action) {
            (Bug::ExitsTwice, Action::Exit { .. }) => true,
            (Bug::ForwardsTwice, Action::SignalApp { stop: false, .. }) => !after_stop,
            (Bug::StartsHooksTwice(phase), Action::StartHook { id, .. }) => id.phase == phase,
            _ => false,
        };
        if twice {
            out.push(action.clone());
        }
        out.push(action);
    }

    /// The bug keeps this from being done.
    fn swallows(&mut self, bug: Bug, app_was_alive: bool, after_stop: bool, it: &Action) -> bool {
        match (bug, it) {
            (Bug::NeverKillsTheTree, Action::KillTree)
            | (Bug::NoStopSignal, Action::SignalApp { stop: true, .. })
            | (Bug::SwallowsKillHook, Action::KillHook(_))
            | (Bug::NeverExits, Action::Exit { .. })
            | (Bug::NeverArmsTheDeadMan, Action::ArmDeadMan(_))
            | (Bug::LeftoversGetNothing, Action::SignalLeftovers { .. })
            | (Bug::KeepsTheTerminal, Action::TakeTerminal)
            | (Bug::ForgetsToTellOfPhases, Action::Record(Fact::Entered(_)))
            | (Bug::ForgetsThatHooksEnded, Action::Record(Fact::HookEnded { .. })) => true,
            (Bug::NoContinueAfterTheStopSignal, Action::SignalApp { stop: false, .. }) => {
                after_stop
            }
            (Bug::ForwardsNothing, Action::SignalApp { stop: false, .. }) => !after_stop,
            (Bug::NeverResumes, Action::SignalApp { signal: Signal::CONT, .. }) => !after_stop,
            (Bug::LeavesWithoutKilling, Action::KillTree) => self.phase() == PhaseName::Exit,
            (Bug::KillsAtTheDeadlineOnlyIfAppLives, Action::KillTree) => !app_was_alive,
            (Bug::NoPostStopHooks, Action::StartHook { id, .. }) => id.phase == HookPhase::PostStop,
            (Bug::PreStopOneAtATime, Action::StartHook { id, .. }) => {
                id.phase == HookPhase::PreStop && id.index > 0
            }
            (Bug::DeadManNotRearmedForPostStop, Action::ArmDeadMan(_)) => {
                std::mem::replace(&mut self.dead_man_set, true)
            }
            (Bug::NoLookForNewcomers, Action::SignalLeftovers { .. }) => {
                std::mem::replace(&mut self.looked, true)
            }
            _ => false,
        }
    }

    /// What the bug adds at the end.
    fn append(&self, bug: Bug, event: Event, asked_again: bool, out: &mut Vec<Action>) {
        let to_app =
            |signal, stop| Action::SignalApp { signal, target: Target::Group, value: None, stop };
        let exits = out.iter().any(|action| matches!(action, Action::Exit { .. }));
        let stops = out.iter().any(|action| matches!(action, Action::SignalApp { stop: true, .. }));
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
                    group_told: true,
                    first: false,
                });
            }
            (Bug::KillsTheReapedHook, Event::HookExited(id, _)) => out.push(Action::KillHook(id)),
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
                out.push(Action::StartHook { id, until: end, end });
            }
            _ => {}
        }
    }
}

/// Bugs of arithmetic: the machine goes by another plan than the user's.
fn misread(bug: Bug, plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let hooks = plan
        .hooks
        .pre_stop
        .iter_mut()
        .chain(&mut plan.hooks.on_stop)
        .chain(&mut plan.hooks.post_stop);
    match bug {
        Bug::OneRetryTooMany => hooks.for_each(|hook| hook.retries += 1),
        Bug::OneRetryTooFew => hooks.for_each(|hook| hook.retries = hook.retries.saturating_sub(1)),
        Bug::NoPauseBeforeRetry => hooks.for_each(|hook| hook.backoff = Duration::ZERO),
        Bug::IgnoresRewrite => plan.rewrite = Default::default(),
        Bug::IgnoresSecondRequestToKill => {
            plan.stop_again = graceinit::machine::plan::StopAgain::Ignore;
        }
        Bug::SkipsHooksThatFit => plan.post_stop_timeout = Duration::ZERO,
        _ => {}
    }
    plan
}
