//! Bugs of readiness, watchdog and drain.

use graceinit::machine::drain::Look;
use graceinit::machine::fact::Fact;
use graceinit::machine::hook::HookPhase;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::Plan;
use graceinit::machine::ready::{Failure, Notice};
use graceinit::machine::{Action, Event, Origin, Received, Target};
use graceinit::types::Signal;

use super::sabotage::Bug;

/// What the machine hears in place of what was said.
pub(super) fn mishears(bug: Bug, event: Event) -> Event {
    let outside = Origin::Process(0);
    match (bug, event) {
        (Bug::TakesWordsFromOutside, Event::Signal(received)) if received.origin == outside => {
            Event::Signal(Received { origin: Origin::Process(7), ..received })
        }
        (Bug::TakesBusyForCalm, Event::Looked(look)) => {
            Event::Looked(Look { busy: 0, owed: 0, queued: 0, ..look })
        }
        (Bug::IgnoresSilence, Event::Looked(look)) => Event::Looked(Look { silence: None, ..look }),
        (Bug::IgnoresAcknowledgements, Event::Acknowledged(_))
        | (Bug::IgnoresSignsOfLife, Event::Notice(Notice::Alive)) => Event::AppExecuted,
        (_, event) => event,
    }
}

/// The machine has seen a failure and does nothing about it.
pub(super) fn overlooks(bug: Bug, orders: &[Action]) -> bool {
    orders.iter().any(|order| match order {
        Action::Record(Fact::NotReady { .. }) => bug == Bug::Overlooks(Failure::NotReady),
        Action::Record(Fact::WatchdogMissed { .. }) => bug == Bug::Overlooks(Failure::Watchdog),
        _ => false,
    })
}

/// The bug keeps this from being done.
pub(super) fn swallows(bug: Bug, phase: PhaseName, action: &Action) -> bool {
    match (bug, action) {
        (Bug::StaysReady, Action::SetReady(false))
        | (Bug::SeeksNoListeners, Action::SeekListeners)
        | (Bug::FollowsNobody, Action::FollowMain(_))
        | (Bug::TellsNothingOfLooks, Action::Record(Fact::Looked { .. })) => true,
        (Bug::ProbesDuringTheStop, Action::KillHook(id)) => {
            id.phase == HookPhase::Ready && phase > PhaseName::Ready
        }
        _ => false,
    }
}

/// The bug does this once more.
pub(super) fn twice(bug: Bug, action: &Action) -> bool {
    match action {
        Action::Look => bug == Bug::LooksTwice,
        Action::SeekListeners => bug == Bug::SeeksTwice,
        Action::SetReady(true) => bug == Bug::ReadyTwice,
        _ => false,
    }
}

/// What the bug adds at the end.
pub(super) fn append(bug: Bug, event: Event, out: &mut Vec<Action>) {
    let holds = |action: &Action| matches!(action, Action::Record(Fact::ConditionHolds { .. }));
    match (bug, event) {
        (Bug::ForwardsTheWord, Event::Signal(received)) if out.iter().any(holds) => {
            let (signal, target) = (received.signal, Target::Group);
            out.push(Action::SignalApp { signal, target, value: None, stop: false });
        }
        (Bug::ReadyAgain, _) if out.contains(&Action::SetReady(false)) => {
            out.push(Action::SetReady(true));
        }
        (Bug::LooksAfterTheDrain, Event::Signal(_)) => out.push(Action::Look),
        (Bug::StopsDuringTheDrain, _)
            if out.contains(&Action::Record(Fact::Entered(PhaseName::Drain))) =>
        {
            let (signal, target) = (Signal::TERM, Target::Group);
            out.push(Action::SignalApp { signal, target, value: None, stop: true });
        }
        _ => {}
    }
}

/// Bugs of arithmetic: the machine goes by another plan than the user's.
pub(super) fn misread(bug: Bug, plan: &mut Plan) {
    let drain = plan.drain.as_mut();
    match bug {
        Bug::ReadyAtOnce => plan.ready.clear(),
        Bug::NeverDrains => plan.drain = None,
        Bug::SkipsTheDelay => drain.into_iter().for_each(|drain| drain.delay = Default::default()),
        Bug::SkipsTheQuiet => drain.into_iter().for_each(|drain| drain.quiet = Default::default()),
        Bug::LooksAtNothing => drain.into_iter().for_each(|drain| drain.looks = false),
        Bug::ProbesForTooLong => plan.probe_timeout *= 2,
        Bug::ForgetsTheReadyLimit => plan.ready_timeout = None,
        Bug::ForgetsTheWatchdog => plan.watchdog = None,
        _ => {}
    }
}
