//! Samples of the connections of the drained ports.

use crate::config::Config;
use crate::machine::Machine;
use crate::machine::connections::Sample;
use crate::machine::phase::{Phase, Readiness};
use crate::sockets::Sampler;
use crate::types::{Pid, Time};

/// The sampler, while samples are needed: it costs memory and a descriptor.
#[derive(Debug, Default)]
pub struct Drain {
    sampler: Option<Sampler>,
    /// The ports that an earlier sampler had found (`--drain auto`).
    ports: Vec<u16>,
}

impl Drain {
    /// Takes a sample. `own`: graceinit's own processes, whose ports are not the app's.
    pub fn sample(&mut self, config: &Config, now: Time, own: &[Pid]) -> Sample {
        self.sampler(config).map_or(Sample::default(), |sampler| sampler.look(now, own))
    }

    /// Whether the app listens on the ports.
    pub fn is_listening(&mut self, config: &Config, own: &[Pid]) -> bool {
        self.sampler(config).is_none_or(|sampler| sampler.listening(own))
    }

    fn sampler(&mut self, config: &Config) -> Option<&mut Sampler> {
        let rules = config.plan.drain?.rules;
        let ports = config.drain.as_ref()?;
        let known = &self.ports;
        Some(self.sampler.get_or_insert_with(|| Sampler::new(ports.clone(), rules).knowing(known)))
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
            }
        }
    }
}
