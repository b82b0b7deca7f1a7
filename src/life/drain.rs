//! Samples of the connections of the drained ports.

use crate::account::journal;
use crate::config::{Config, Ports};
use crate::machine::Machine;
use crate::machine::connections::{Holder, Moment, Sample};
use crate::machine::fact::Fact;
use crate::machine::phase::{Phase, Readiness};
use crate::sockets::Sampler;
use crate::types::{Pid, Time};

/// The sampler, while samples are needed: it costs memory and a descriptor.
#[derive(Debug, Default)]
pub struct Drain {
    sampler: Option<Sampler>,
    /// The ports that an earlier sampler had found (`--drain auto`).
    ports: Vec<u16>,
    /// The connections that held the drain longest, once the sampler is closed.
    holders: Vec<Holder>,
    /// One warning of a sampler has been logged.
    warned: bool,
}

impl Drain {
    /// Takes a sample. `own`: graceinit's own processes, whose ports are not the app's.
    pub fn sample(&mut self, config: &Config, now: Time, moment: Moment, own: &[Pid]) -> Sample {
        self.with_sampler(config, |sampler| sampler.sample(now, moment, own)).unwrap_or_default()
    }

    /// Tells which connections held the drain longest.
    pub fn tell_holders(&mut self) {
        for holder in std::mem::take(&mut self.holders) {
            journal::record(&Fact::HeldDrain(Box::new(holder)));
        }
    }

    /// Which of the ports the app does not listen on, in words; `None`: it listens on all of them.
    pub fn missing(&mut self, config: &Config, own: &[Pid]) -> Option<String> {
        self.with_sampler(config, |sampler| sampler.missing(own)).flatten()
    }

    /// Uses the sampler, and logs what it warns of: one warning for each life, since the sampler is made anew for the
    /// drain.
    fn with_sampler<R>(
        &mut self,
        config: &Config,
        act: impl FnOnce(&mut Sampler) -> R,
    ) -> Option<R> {
        let rules = config.plan.drain?.rules;
        let ports = match config.drain.as_ref()? {
            Ports::Auto => None,
            Ports::List(ports) => Some(&ports[..]),
        };
        let found = &self.ports;
        let new = || Sampler::new(ports, rules).with_ports(found);
        let sampler = self.sampler.get_or_insert_with(new);
        let result = act(sampler);
        for warning in sampler.take_warnings() {
            match std::mem::replace(&mut self.warned, true) {
                true => log::debug!("{warning}"),
                false => journal::warn(warning),
            }
        }
        Some(result)
    }

    /// Closes the sampler in phases that need no samples.
    pub fn close_if_unused(&mut self, machine: &Machine) {
        let needed = matches!(
            machine.phase(),
            Phase::Running { readiness: Readiness::Waiting(_), .. } | Phase::Drain(_)
        );
        if !needed {
            if let Some(sampler) = self.sampler.take() {
                self.ports = sampler.ports().to_vec();
                self.holders = sampler.holders();
            }
        }
    }
}
