//! The looks at the ports that are to be drained.

use super::Hands;
use crate::machine::Machine;
use crate::machine::drain::{Look, Moment};
use crate::machine::fact::Fact;
use crate::machine::phase::{Phase, Readiness};
use crate::observe::journal;
use crate::sight::Eyes;
use crate::types::Time;

impl Hands {
    /// Looks at the connections.
    pub fn look(&mut self, now: Time, moment: Moment) -> Look {
        let helpers = self.helpers();
        self.eyes().map_or(Look::default(), |eyes| eyes.look(now, moment, &helpers))
    }

    /// Tells which connections held the drain longest.
    pub(super) fn tell_holders(&mut self) {
        for holder in std::mem::take(&mut self.holders) {
            journal::record(&Fact::HeldDrain(Box::new(holder)));
        }
    }

    /// Whether the app listens on the ports.
    pub fn listening(&mut self) -> bool {
        let helpers = self.helpers();
        self.eyes().is_none_or(|eyes| eyes.listening(&helpers))
    }

    fn eyes(&mut self) -> Option<&mut Eyes> {
        let drain = self.config.plan.drain?;
        let ports = self.config.drain.as_ref()?;
        let known = &self.ports;
        Some(self.eyes.get_or_insert_with(|| Eyes::new(ports.clone(), drain.rules).knowing(known)))
    }

    /// An app that merely runs is not looked at: that shall cost neither memory nor a descriptor.
    pub(super) fn close_eyes(&mut self, machine: &Machine) {
        let needed = matches!(
            machine.phase(),
            Phase::Running { readiness: Readiness::Waiting(_), .. } | Phase::Drain(_)
        );
        if !needed {
            if let Some(eyes) = self.eyes.take() {
                self.ports = eyes.ports().to_vec();
                self.holders = eyes.holders();
            }
        }
    }
}
