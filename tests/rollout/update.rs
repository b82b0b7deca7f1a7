//! The rolling update, and what is known after it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use graceinit::tools::rehearse::answer::Class;
use graceinit::tools::rehearse::tally::Tally;

use super::apps::{Server, Site};
use super::balancer::{Balancer, Front, Kind, Notice};
use super::load::{Mix, Plan, start};
use super::replica::{Replica, Setup, Stop};
use super::{REPLICAS, SLOTS, Slot, envoy, grpc};
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
    pub(crate) method: &'static str,
    pub(crate) rate: u32,
    /// The balancer keeps its connections to the servers, for all requests. That is the efficient way to
    /// run it, and the harder stop: at its end there are idle connections.
    pub(crate) pool: bool,
    /// When it closes one of them that has no request.
    pub(crate) idle: Duration,
    /// How often it checks, if it does.
    pub(crate) interval: Duration,
    /// The clients keep their connections.
    pub(crate) keep_alive: bool,
    /// How often all replicas are replaced.
    pub(crate) rounds: u32,
    /// How many of them are, in each round.
    pub(crate) replaced: usize,
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
            let now = match self.trial.notice {
                Notice::Files => {
                    Ok(UnixStream::connect(self.site.socket(self.slots[slot])).is_ok())
                }
                Notice::Told | Notice::Checks => self.balancer.uses(slot),
            };
            now.is_ok_and(|now| now == used).then_some(())
        })
    }

    fn remove(&self, slot: usize, replica: Replica) -> Outcome<Stop> {
        let Trial { lag, grace, notice, .. } = *self.trial;
        match notice {
            Notice::Told => replica.stop(lag, grace, || self.balancer.set(slot, "maint")),
            Notice::Checks | Notice::Files => {
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
    if server == Server::Grpc {
        let (tally, stops) = grpc::roll(trial)?;
        return Ok(Report { server, tally, stops });
    }
    let (tally, stops) = roll_under(trial, |to, replace| {
        let plan = Plan {
            to,
            rate: trial.rate,
            mix: trial.mix,
            method: trial.method,
            timeout: TIMEOUT,
            limit: u64::MAX,
            keep_alive: trial.keep_alive,
        };
        let load = start(plan)?;
        // The load is steady when as many as come in a second have been answered.
        proc::poll_within(TIMEOUT, "a steady load", || {
            (load.answered() >= u64::from(trial.rate)).then_some(())
        })?;
        replace()?;
        Ok(load.stop()?)
    })?;
    if tally.count(Class::Generator) > 0 {
        return Err(Fault::new("the load generator itself failed: the measurement is void"));
    }
    Ok(Report { server, tally, stops })
}

/// Rolls the service over while `load` runs, which is told where the balancer is, and calls what replaces the replicas.
pub(crate) fn roll_under<T>(
    trial: &Trial,
    load: impl FnOnce(SocketAddrV4, &mut dyn FnMut() -> Outcome) -> Outcome<T>,
) -> Outcome<(T, Vec<Stop>)> {
    let server = trial.setup.server;
    let site = Site::new(server)?;
    let ip = Ipv4Addr::LOCALHOST;
    let mut slots = [Slot { ip, port: 0, check: 0 }; SLOTS];
    // Only graceinit answers checks itself; under another init the balancer asks the server.
    let own = trial.setup.options.contains("{check}");
    // Caddy checks the same port of all servers, so each has an address of its own.
    let shared = if trial.balancer == Kind::Caddy && own { Some(free_port()?) } else { None };
    for (number, slot) in (1_u8..).zip(&mut slots) {
        let port = free_port()?;
        *slot = match shared {
            Some(check) => Slot { ip: Ipv4Addr::new(127, 0, 77, number), port, check },
            None => Slot { ip, port, check: if own { free_port()? } else { port } },
        };
    }
    let check = match own {
        true => "/readyz",
        false if server == Server::Grpc => envoy::GRPC,
        false => "/sleep/0/0",
    };
    let Trial { balancer, notice, pool, idle, interval, .. } = *trial;
    let wire = server.wire();
    let front = Front { site: &site, slots: &slots, notice, check, pool, idle, interval, wire };
    let balancer = Balancer::start(balancer, &front)?;
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
    let mut stops = Vec::new();
    let mut replace = || -> Outcome {
        for _ in 0..trial.rounds {
            let old = std::mem::take(&mut replicas);
            for (number, (slot, replica)) in old.into_iter().enumerate() {
                if number >= trial.replaced {
                    replicas.push((slot, replica));
                    continue;
                }
                let next = (slot + REPLICAS) % SLOTS;
                replicas.push((next, service.add(next)?));
                stops.push(service.remove(slot, replica)?);
            }
        }
        Ok(())
    };
    let done = load(balancer.address, &mut replace)?;
    Ok((done, stops))
}
