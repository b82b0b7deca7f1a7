//! A rolling update of Docker Swarm, from v1 to v2 under load: two replicas on one node, one after the
//! other, behind a balancer that asks each one's health.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use super::container::fresh_name;
use super::drain::TINI;
use super::engine::{Engine, own_engine};
use super::traffic::{self, Backend, Balancer};
use crate::servers::common::free_address;
use crate::support::{Outcome, need, proc};
use crate::{ensure, ensure_eq};
use graceinit::tools::rehearse::tally::Tally;

/// The bridge that an engine makes on the host when it joins a swarm.
const BRIDGE: &str = "docker_gwbridge";

/// The engine as a swarm of its own; no longer when dropped.
struct Swarm {
    engine: &'static Engine,
    /// Another engine's bridge is not ours to remove.
    foreign_bridge: bool,
    /// The address of this test's own that everything listens on.
    ip: Ipv4Addr,
}

impl Swarm {
    fn start(engine: &'static Engine) -> Outcome<Swarm> {
        let foreign_bridge = Path::new("/sys/class/net").join(BRIDGE).exists();
        let ip = *free_address()?.ip();
        // From here on there is something to undo.
        let swarm = Swarm { engine, foreign_bridge, ip };
        let (advertise, listen) = (ip.to_string(), format!("{ip}:2377"));
        let init = ["swarm", "init", "--advertise-addr", &advertise, "--listen-addr", &listen];
        engine.docker(&init)?;
        Ok(swarm)
    }

    /// Where the replicas serve, and where their health is asked. `{{.Task.Slot}}` is all that tells
    /// one from the other, and on the host's network each needs ports of its own.
    fn backends(&self, health: u16, path: &'static str) -> [Backend; 2] {
        let at = |port| SocketAddrV4::new(self.ip, port);
        [100, 200].map(|slot| Backend { serves: at(8000 + slot), health: at(health + slot), path })
    }

    /// A service of version 1, ready; updated to version 2 under load. What the clients were told, and
    /// what the replicas of version 1 have logged.
    fn roll(&self, init: &[&str], backends: &[Backend; 2]) -> Outcome<(Tally, Vec<String>)> {
        let (engine, ip, name) = (self.engine, self.ip, fresh_name());
        // By their ids: an agent asks a registry for every name.
        let image = |version| engine.variant(&format!("ENV HELLO={version}"));
        let (v1, v2) = (image("v1")?, image("v2")?);
        let listen = format!("LISTEN={ip}:8{{{{.Task.Slot}}}}00");
        let create = [
            &["service", "create", "--quiet", "--name", &name, "--no-resolve-image"][..],
            &["--replicas", "2", "--network", "host", "--env", &listen],
            // The new task of a slot takes over its ports, so the old one has to go first.
            &["--update-order", "stop-first", "--update-parallelism", "1", "--update-delay", "1s"],
            &["--update-monitor", "500ms", "--stop-grace-period", "20s"],
            init,
            &[&v1, "/server", "env"],
        ];
        engine.docker(&create.concat())?;
        for backend in backends {
            backend.ready()?;
        }
        let balancer = Balancer::start(backends, "500ms")?;
        let load = traffic::load(&balancer, 200)?;
        let hello = || backends.iter().map(Backend::hello).collect::<Outcome<Vec<String>>>();
        ensure_eq!(hello()?, ["v1", "v1"], "before the update");
        let update = ["service", "update", "--quiet", "--no-resolve-image", "--image", &v2, &name];
        engine.docker(&update)?;
        for backend in backends {
            backend.ready()?;
        }
        ensure_eq!(hello()?, ["v2", "v2"], "after the update");
        traffic::more(&load, 100)?;
        let tally = load.stop()?;
        let mut logs = Vec::new();
        let filter = format!("label=com.docker.swarm.service.name={name}");
        let of_v1 = format!("ancestor={v1}");
        let ended = ["ps", "--all", "--quiet", "--filter", &filter, "--filter", &of_v1];
        for container in engine.docker(&ended)?.lines() {
            logs.push(engine.try_docker(&["logs", container])?.2);
        }
        ensure_eq!(logs.len(), 2, "replicas of v1");
        engine.docker(&["service", "rm", &name])?;
        // Which returns before they have gone; the next service wants their ports.
        let running = ["ps", "--quiet", "--filter", &filter];
        proc::poll("the end of the service", || {
            engine.docker(&running).ok()?.is_empty().then_some(())
        })?;
        Ok((tally, logs))
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        drop(self.engine.docker(&["swarm", "leave", "--force"]));
        if !self.foreign_bridge {
            drop(self.engine.docker(&["network", "rm", BRIDGE]));
        }
    }
}

/// One after the other: an engine is in one swarm at a time.
#[test]
fn a_rolling_update_drops_nothing_and_under_tini_it_does() -> Outcome {
    if !traffic::needs() || !need::program(TINI) {
        return Ok(());
    }
    let Some(engine) = own_engine() else { return Ok(()) };
    let swarm = Swarm::start(engine)?;

    let mount = format!("type=bind,source={TINI},target=/tini,readonly");
    let tini = ["--mount", &mount, "--entrypoint", "/tini --"];
    let (tally, _) = swarm.roll(&tini, &swarm.backends(8000, "/?check"))?;
    ensure!(tally.drops() > 0, "tini: nothing was dropped of {}", tally.sent);

    let listen = format!("GRACEINIT_LISTEN={}:9{{{{.Task.Slot}}}}00", swarm.ip);
    let graceinit = [
        &["--env", &listen, "--env", "GRACEINIT_DRAIN=8{{.Task.Slot}}00"][..],
        &["--env", "GRACEINIT_DRAIN_DELAY=4s", "--env", "GRACEINIT_DRAIN_ACKS=2"],
        &["--env", "GRACEINIT_LOG=debug"],
    ];
    let (tally, logs) = swarm.roll(&graceinit.concat(), &swarm.backends(9000, "/readyz"))?;
    ensure_eq!(tally.drops_by_class(), "", "graceinit: drops of {}, {logs:#?}", tally.sent);
    for log in logs {
        ensure!(log.contains("phase=drain"), "no drain in {log}");
        ensure!(!log.contains("graceinit: warn: "), "{log}");
    }
    Ok(())
}
