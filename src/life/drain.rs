//! Samples of the connections of the drained ports.

use std::time::Duration;

use crate::account::incident::Incident;
use crate::account::journal;
use crate::config::{Config, Ports};
use crate::machine::Machine;
use crate::machine::connections::{Holder, Moment, Sample};
use crate::machine::fact::Fact;
use crate::machine::phase::{Phase, Readiness};
use crate::sockets::Sampler;
use crate::types::{Pid, Signal, Status, Time};

/// The sampler, while samples are needed: it costs memory and a descriptor.
#[derive(Debug, Default)]
pub struct Drain {
    sampler: Option<Sampler>,
    /// The ports that an earlier sampler had found (`--drain auto`).
    ports: Vec<u16>,
    /// The connections that held the drain longest, once the sampler is closed.
    holders: Vec<Holder>,
    /// When the account is told next of the connections that hold the drain.
    next_holders: Time,
    /// What the last look at each condition of `--drained` has found: `None`: that it holds.
    words: Vec<Option<String>>,
    /// A bit for each condition whose first failed look was logged.
    told: u64,
    /// One warning of a sampler has been logged.
    warned: bool,
}

/// How often the account is told of the connections that hold the drain.
const HOLDERS: Duration = Duration::from_millis(500);
/// The longest text of a look that is told.
const LONGEST_WORD: usize = 200;

impl Drain {
    /// Takes a sample. `own`: graceinit's own processes, whose ports are not the app's.
    pub fn sample(&mut self, config: &Config, now: Time, moment: Moment, own: &[Pid]) -> Sample {
        let sample = self.with_sampler(config, |sampler| sampler.sample(now, moment, own));
        if self.next_holders <= now && journal::is_kept() {
            self.next_holders = now.after(HOLDERS);
            let holders = self.sampler.as_ref().map(Sampler::holding).unwrap_or_default();
            journal::incident(&Incident::Holding(holders));
        }
        sample.unwrap_or_default()
    }

    /// Tells which connections held the drain longest. `missing`: a bit for each condition of `--drained` that held it
    /// alone.
    pub fn tell_holders(&mut self, missing: u64) {
        for holder in std::mem::take(&mut self.holders) {
            journal::record(&Fact::HeldDrain(Box::new(holder)));
        }
        for index in (0..64).filter(|index| missing & 1 << index != 0) {
            let said = self.words.get(index).cloned().flatten();
            let said = said.unwrap_or_else(|| "no answer yet".to_owned());
            journal::incident(&Incident::HeldByWord { index, said });
        }
    }

    /// A look at a condition of `--drained` has ended; `said`: its last line.
    pub fn looked(&mut self, index: usize, status: Status, said: Option<String>) {
        // A look that graceinit killed has only its status to show.
        let found = said.unwrap_or_else(|| match status {
            Status::Signal(Signal::KILL) => "no answer in time".to_owned(),
            status => status.to_string(),
        });
        let found = found.chars().take(LONGEST_WORD).collect::<String>();
        let missing = (!status.success()).then_some(found);
        let again = self.told & 1 << index != 0;
        self.told |= u64::from(missing.is_some()) << index;
        journal::incident(&Incident::Looked { index, missing: missing.clone(), again });
        if self.words.len() <= index {
            self.words.resize(index + 1, None);
        }
        if let Some(place) = self.words.get_mut(index) {
            *place = missing;
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
        let unix = &config.drain_unix;
        let new = || Sampler::new(ports, rules).with_unix(unix).with_ports(found);
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
