//! How long things took: a fact that ends something does not hold its beginning.

use crate::account::time::Span;
use crate::machine::fact::Fact;
use crate::machine::hooks::HookId;
use crate::machine::phase::PhaseName;

/// When that began which has not ended yet. Bounded: an attempt is removed at its end.
#[derive(Debug, Default)]
pub struct Took {
    /// The beginning of the stop.
    stop: Option<Span>,
    /// The first stop signal to the app.
    asked: Option<Span>,
    attempts: Vec<(HookId, Span)>,
}

impl Took {
    /// Nothing has begun.
    pub const NOTHING: Took = Took { stop: None, asked: None, attempts: Vec::new() };

    /// Takes a fact in. Returns the duration if it ends an attempt, the app after its stop signal, or the stop.
    pub fn take(&mut self, at: Span, fact: &Fact) -> Option<Span> {
        let since = |begun: Span| at.since(begun);
        match fact {
            // There may be no stop request and no app.
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
            _ => None,
        }
    }
}
