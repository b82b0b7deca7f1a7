//! Bugs of readiness, watchdog and drain, and of a graceinit that runs under the name of another init.

use std::time::Duration;

use graceinit::machine::budget::ENDLESS;
use graceinit::machine::connections::Sample;
use graceinit::machine::fact::Fact;
use graceinit::machine::hooks::HookPhase;
use graceinit::machine::phase::Failure;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::Plan;
use graceinit::machine::ready::Notice;
use graceinit::machine::{Action, Event, Origin, Received, Target};
use graceinit::types::{Signal, SignalSet, Status, Time};

use super::bug::Bug;

/// The event that the machine gets instead of the real one.
pub(super) fn mishears(bug: Bug, event: Event) -> Event {
    let outside = Origin::Process(0);
    match (bug, event) {
        (Bug::TakesWordsFromOutside, Event::Signal(received)) if received.origin == outside => {
            Event::Signal(Received { origin: Origin::Process(7), ..received })
        }
        (Bug::TakesBusyForCalm, Event::Sampled(look)) => {
            Event::Sampled(Sample { over: true, ..look })
        }
        (Bug::SamplesLate, Event::Sampled(look)) => {
            Event::Sampled(Sample { next: look.next + Duration::from_millis(50), ..look })
        }
        (Bug::TakesNoForYes, Event::HookExited(id, Status::Code(_)))
            if id.phase == HookPhase::Drained =>
        {
            Event::HookExited(id, Status::Code(0))
        }
        (Bug::IgnoresAcknowledgements, Event::Acknowledged(_))
        | (Bug::IgnoresSignsOfLife, Event::Notice(Notice::Alive)) => Event::AppExecuted,
        (_, event) => event,
    }
}

/// The bug drops all actions of a failure.
pub(super) fn overlooks(bug: Bug, orders: &[Action]) -> bool {
    orders.iter().any(|order| match order {
        Action::Record(Fact::NotReady { .. }) => bug == Bug::Overlooks(Failure::NotReady),
        Action::Record(Fact::ChildOutOfMemory) => bug == Bug::Overlooks(Failure::OutOfMemory),
        Action::Record(Fact::WatchdogMissed { .. }) => bug == Bug::Overlooks(Failure::Watchdog),
        _ => false,
    })
}

/// The bug drops this action.
pub(super) fn swallows(bug: Bug, phase: PhaseName, action: &Action) -> bool {
    match (bug, action) {
        (Bug::NeverTellsOfLate, Action::Record(Fact::StillNotReady { .. }))
        | (Bug::StaysReady, Action::SetReady(false))
        | (Bug::SeeksNoListeners, Action::SeekListeners)
        | (Bug::FollowsNoMainPid, Action::FollowMain(_))
        | (Bug::SuspendsNothing, Action::SuspendSelf)
        | (Bug::ReportsNoSurvivors, Action::ReportSurvivors)
        | (Bug::PreparesNoReport, Action::PrepareReport)
        | (Bug::TellsNoMoreTime, Action::TellMoreTime(_))
        | (Bug::RecordsNoSamples, Action::Record(Fact::Sampled { .. })) => true,
        (Bug::ProbesDuringTheStop, Action::KillHook(id)) => {
            id.phase == HookPhase::Ready && phase > PhaseName::Ready
        }
        _ => false,
    }
}

/// The bug doubles this action.
pub(super) fn twice(bug: Bug, action: &Action) -> bool {
    match action {
        Action::TakeSample => bug == Bug::SamplesTwice,
        Action::SeekListeners => bug == Bug::SeeksTwice,
        Action::SetReady(true) => bug == Bug::ReadyTwice,
        _ => false,
    }
}

/// Adds the actions of the bug at the end.
pub(super) fn append(bug: Bug, event: Event, now: Time, out: &mut Vec<Action>) {
    let holds = |action: &Action| matches!(action, Action::Record(Fact::ConditionHolds { .. }));
    let stop = |action: &Action| matches!(action, Action::Record(Fact::StopRequested { .. }));
    let century = Some(ENDLESS);
    match (bug, event) {
        (Bug::RecordsACentury, _) => out.iter_mut().for_each(|action| match action {
            Action::Record(Fact::StopRequested { grace: time @ None, .. })
            | Action::Record(Fact::StopSignal { left: time @ None, .. }) => *time = century,
            _ => {}
        }),
        (Bug::KeepsTheOtherSignalBack, Event::Signal(_)) => {
            let again = |it: &Action| matches!(it, Action::Record(Fact::StopAgain { .. }));
            if out.iter().any(again) {
                out.retain(|it| !matches!(it, Action::SignalApp { .. }));
            }
        }
        (Bug::ReportsSurvivorsAtEveryKill, _) => {
            if let Some(place) = out.iter().position(|action| *action == Action::KillTree) {
                if !out.contains(&Action::ReportSurvivors) {
                    out.insert(place, Action::ReportSurvivors);
                }
            }
        }
        (Bug::DeadManOfACentury, _) if out.iter().any(stop) => {
            out.push(Action::ArmDeadMan(now.after(ENDLESS)));
        }
        (Bug::TakesAnothersTerminal, _) if out.iter().any(stop) => out.push(Action::TakeTerminal),
        (Bug::ContinuesNoApp, Event::Signal(received)) if received.signal != Signal::CONT => {
            let continues =
                |it: &Action| matches!(it, Action::SignalApp { signal: Signal::CONT, .. });
            out.retain(|action| !continues(action));
        }
        (Bug::ContinuesARunningApp, Event::Signal(received))
            if received.signal == Signal::TERM && !out.iter().any(stop) && sends(out) =>
        {
            let (signal, target) = (Signal::CONT, Target::Group);
            out.push(Action::SignalApp { signal, target, value: None, stop: false });
        }
        (Bug::StopsWithTheKeysSignal, _) => out.iter_mut().for_each(|action| {
            if let Action::SignalApp { signal: signal @ Signal::STOP, .. } = action {
                *signal = Signal::TSTP;
            }
        }),
        (Bug::ForwardsTheWord, Event::Signal(received)) if out.iter().any(holds) => {
            let (signal, target) = (received.signal, Target::Group);
            out.push(Action::SignalApp { signal, target, value: None, stop: false });
        }
        (Bug::ReadyAgain, _) if out.contains(&Action::SetReady(false)) => {
            out.push(Action::SetReady(true));
        }
        (Bug::SamplesAfterTheDrain, Event::Signal(_)) => out.push(Action::TakeSample),
        (Bug::StopsDuringTheDrain, _)
            if out.contains(&Action::Record(Fact::Entered(PhaseName::Drain))) =>
        {
            let (signal, target) = (Signal::TERM, Target::Group);
            out.push(Action::SignalApp { signal, target, value: None, stop: true });
        }
        _ => {}
    }
}

fn sends(out: &[Action]) -> bool {
    out.iter().any(|action| matches!(action, Action::SignalApp { .. }))
}

/// Bugs of arithmetic: the machine follows a changed plan.
pub(super) fn misread(bug: Bug, plan: &mut Plan) {
    let drain = plan.drain.as_mut();
    match bug {
        Bug::ReadyAtOnce => plan.ready.clear(),
        Bug::NeverDrains => plan.drain = None,
        Bug::SkipsTheDelay => drain.into_iter().for_each(|drain| drain.delay = Default::default()),
        Bug::ForgetsTheLongestDrain => drain.into_iter().for_each(|drain| drain.max = None),
        Bug::AsksForNoWord => drain.into_iter().for_each(|drain| drain.words = 0),
        Bug::TakesNoSamples => drain.into_iter().for_each(|drain| drain.looks = false),
        Bug::ProbesForTooLong => plan.probe_timeout *= 2,
        Bug::ForgetsTheReadyLimit => plan.ready_timeout = None,
        Bug::EndsWhatHasNoEnd => plan.grace = plan.grace.min(Duration::from_secs(15)),
        Bug::GivesLeftoversMore => plan.leftovers *= 2,
        Bug::StopsAllTheSame => plan.stop_on = SignalSet::of(&[Signal::TERM, Signal::INT]),
        _ => {}
    }
}
