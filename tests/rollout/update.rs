//! The rolling update, and what is known after it.

use std::collections::BTreeMap;
use std::time::Duration;

use graceinit::tools::rehearse::answer::Class;
use graceinit::tools::rehearse::tally::Tally;

use super::apps::{Server, Site};
use super::balancer::{Balancer, Kind, Notice};
use super::load::{Mix, Plan, start};
use super::replica::{Replica, Setup, Stop};
use super::{REPLICAS, SLOTS, Slot};
use crate::support::port::free_port;
use crate::support::{Fault, Outcome, Status, proc};

/// What happens to whom.
#[derive(Clone)]
pub(crate) struct Trial {
    pub(crate) setup: Setup,
    pub(crate) balancer: Kind,
    pub(crate) notice: Notice,
    /// How long after the stop signal the balancer is told.
    pub(crate) lag: Duration,
    /// When the orchestrator kills.
    pub(crate) grace: Duration,
    pub(crate) mix: Mix,
    pub(crate) rate: u32,
    /// The balancer keeps its connections to the servers, for all requests. That is the efficient way to
    /// run it, and the harder stop: at its end there are idle connections.
    pub(crate) pool: bool,
    /// The clients keep their connections.
    pub(crate) keep_alive: bool,
    /// How often all replicas are replaced.
    pub(crate) rounds: u32,
}

/// What became of it.
pub(crate) struct Report {
    pub(crate) server: Server,
    pub(crate) tally: Tally,
    pub(crate) stops: Vec<Stop>,
}

impl Report {
    pub(crate) fn mean_stop(&self) -> f64 {
        let total: Duration = self.stops.iter().map(|stop| stop.took).sum();
        total.as_secs_f64() / self.stops.len() as f64
    }

    pub(crate) fn longest_stop(&self) -> f64 {
        let longest = self.stops.iter().map(|stop| stop.took).max();
        longest.unwrap_or_default().as_secs_f64()
    }

    /// How many did not end by themselves.
    pub(crate) fn kills(&self) -> usize {
        // 137 is how graceinit says that it had to.
        let killed = |stop: &&Stop| stop.killed || stop.status == Status::Code(137);
        self.stops.iter().filter(killed).count()
    }

    /// The exit codes and how often each came.
    pub(crate) fn codes(&self) -> String {
        let mut codes: BTreeMap<String, usize> = BTreeMap::new();
        for stop in &self.stops {
            let code = match stop.status {
                Status::Code(code) => code.to_string(),
                other => other.to_string(),
            };
            *codes.entry(code).or_default() += 1;
        }
        codes.iter().map(|(code, count)| format!("{code}x{count}")).collect::<Vec<_>>().join(" ")
    }
}

/// How long the balancer's own checks may take to notice a new replica.
const NOTICED: Duration = Duration::from_secs(20);
/// Longer than any handler takes on a busy machine: what has no answer by then has none.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A service of three replicas.
struct Service<'a> {
    trial: &'a Trial,
    site: &'a Site,
    slots: [Slot; SLOTS],
    balancer: &'a Balancer,
}

impl Service<'_> {
    /// A new replica, in service when this returns.
    fn add(&self, slot: usize) -> Outcome<Replica> {
        let replica = Replica::start(&self.trial.setup, self.site, self.slots[slot])?;
        if self.trial.notice == Notice::Told {
            self.balancer.set(slot, "ready")?;
        }
        self.until(slot, true)?;
        Ok(replica)
    }

    fn until(&self, slot: usize, used: bool) -> Outcome {
        proc::poll_within(NOTICED, &format!("used={used} of slot {slot}"), || {
            self.balancer.uses(slot).is_ok_and(|now| now == used).then_some(())
        })
    }

    fn remove(&self, slot: usize, replica: Replica) -> Outcome<Stop> {
        let Trial { lag, grace, notice, .. } = *self.trial;
        match notice {
            Notice::Told => replica.stop(lag, grace, || self.balancer.set(slot, "maint")),
            Notice::Checks => {
                let stop = replica.stop(Duration::ZERO, grace, || Ok(()))?;
                self.until(slot, false)?;
                Ok(stop)
            }
        }
    }
}

/// Rolls the service over under load.
pub(crate) fn roll(trial: &Trial) -> Outcome<Report> {
    let server = trial.setup.server;
    let site = Site::new(server)?;
    let mut slots = [Slot { port: 0, check: 0 }; SLOTS];
    // Only graceinit answers checks itself; under another init the balancer asks the server.
    let own = trial.setup.options.contains("{check}");
    for slot in &mut slots {
        let port = free_port()?;
        *slot = Slot { port, check: if own { free_port()? } else { port } };
    }
    let check = if own { "/readyz" } else { "/sleep/0/0" };
    let Trial { balancer, notice, pool, .. } = *trial;
    let balancer = Balancer::start(balancer, &site.place, &slots, notice, check, pool)?;
    let service = Service { trial, site: &site, slots, balancer: &balancer };
    let mut replicas = Vec::new();
    for slot in 0..REPLICAS {
        replicas.push((slot, service.add(slot)?));
    }
    if trial.notice == Notice::Checks {
        // HAProxy takes every server for good until its first check.
        for slot in REPLICAS..SLOTS {
            service.until(slot, false)?;
        }
    }
    let plan = Plan {
        to: balancer.address,
        rate: trial.rate,
        mix: trial.mix,
        timeout: TIMEOUT,
        limit: u64::MAX,
        keep_alive: trial.keep_alive,
    };
    let load = start(plan)?;
    // The load is steady when as many as come in a second have been answered.
    proc::poll_within(TIMEOUT, "a steady load", || {
        (load.answered() >= u64::from(trial.rate)).then_some(())
    })?;
    let mut stops = Vec::new();
    for _ in 0..trial.rounds {
        let old = std::mem::take(&mut replicas);
        for (slot, replica) in old {
            let next = (slot + REPLICAS) % SLOTS;
            replicas.push((next, service.add(next)?));
            stops.push(service.remove(slot, replica)?);
        }
    }
    let tally = load.stop()?;
    if tally.count(Class::Generator) > 0 {
        return Err(Fault::new("the load generator itself failed: the measurement is void"));
    }
    Ok(Report { server, tally, stops })
}
