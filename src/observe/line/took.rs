//! How long things took: what the fact that ends one does not say, since another one began it.

use super::super::account::Span;
use crate::machine::fact::Fact;
use crate::machine::hook::HookId;
use crate::machine::phase::PhaseName;

/// When that began whose end is still to come. Its size is bounded: an attempt is forgotten at its end.
#[derive(Debug, Default)]
pub struct Took {
    stop: Option<Span>,
    asked: Option<Span>,
    attempts: Vec<(HookId, Span)>,
}

impl Took {
    /// Nothing has begun.
    pub const NOTHING: Took = Took { stop: None, asked: None, attempts: Vec::new() };

    /// Takes in a fact. If it is the end of an attempt, of the app that was asked to stop, or of the
    /// stop: how long that took.
    pub fn take(&mut self, at: Span, fact: &Fact) -> Option<Span> {
        let since = |begun: Span| at.since(begun);
        match fact {
            // With or without a stop request, with or without an app.
            Fact::Entered(phase) if *phase >= PhaseName::PreStop => {
                self.stop.get_or_insert(at);
                None
            }
            Fact::StopSignal { .. } | Fact::NoStopSignal { .. } => {
                self.asked.get_or_insert(at);
                None
            }
            Fact::HookStarted { id, .. } => {
                self.attempts.push((*id, at));
                None
            }
            Fact::HookEnded { id, .. } => {
                let place = self.attempts.iter().position(|(attempt, _)| attempt == id)?;
                Some(since(self.attempts.swap_remove(place).1))
            }
            Fact::AppEnded { .. } => self.asked.map(since),
            Fact::Exit { .. } => self.stop.map(since),
            Fact::Entered(_)
            | Fact::ConditionHolds { .. }
            | Fact::Listens { .. }
            | Fact::Ready { .. }
            | Fact::NotReady { .. }
            | Fact::StopsItself
            | Fact::WatchdogMissed { .. }
            | Fact::MainPid { .. }
            | Fact::DrainBegun { .. }
            | Fact::Looked { .. }
            | Fact::Acknowledged { .. }
            | Fact::DrainEnded { .. }
            | Fact::StillDraining { .. }
            | Fact::HeldDrain(_)
            | Fact::StopRequested { .. }
            | Fact::StopAgain { .. }
            | Fact::Forwarded { .. }
            | Fact::Dropped { .. }
            | Fact::NoApp { .. }
            | Fact::Held { .. }
            | Fact::ReloadRequested { .. }
            | Fact::ReloadMerged { .. }
            | Fact::ReloadDropped { .. }
            | Fact::PhaseAborted { .. }
            | Fact::Extended { .. }
            | Fact::Diagnosed { .. }
            | Fact::HookRetried { .. }
            | Fact::HookSkipped { .. }
            | Fact::LeftoversSignalled { .. }
            | Fact::DeadlineReached { .. }
            | Fact::StillThere(_)
            | Fact::MoreStillThere(_)
            | Fact::NotSurveyed
            | Fact::Unkillable
            | Fact::Suspended { .. }
            | Fact::Resumed => None,
        }
    }
}
