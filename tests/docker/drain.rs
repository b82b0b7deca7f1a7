//! A stop under load, behind a balancer that learns of it late, in a container without any privilege.

use std::net::SocketAddrV4;

use super::container::Container;
use super::engine::{Engine, engine};
use super::phases;
use super::traffic::{self, Backend, Balancer};
use crate::servers::common::free_address;
use crate::support::{Outcome, need, proc};
use crate::{ensure, ensure_eq};

/// Debian's tini, in any image.
pub const TINI: &str = "/usr/bin/tini-static";

/// As little as `docker run` gives, with its default seccomp profile.
const STRICT: [&str; 9] = [
    "--network",
    "host",
    "--user",
    "1000",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--read-only",
];

const APP: &str = "/server env";

/// How late the balancer learns.
const INTERVAL: &str = "1s";

fn run(
    engine: &'static Engine,
    serves: SocketAddrV4,
    more: &[&str],
    words: &str,
) -> Outcome<Container> {
    let listen = format!("LISTEN={serves}");
    let options = [&STRICT[..], &["--env", &listen], more].concat();
    let container = Container::run(engine, &options, words)?;
    container.log.out.until("listening")?;
    Ok(container)
}

#[test]
fn nothing_is_dropped_without_any_privilege() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    if !traffic::needs() {
        return Ok(());
    }
    let backend = || -> Outcome<Backend> {
        Ok(Backend { serves: free_address()?, health: free_address()?, path: "/readyz" })
    };
    let backends = [backend()?, backend()?];
    let mut containers = Vec::new();
    for Backend { serves, health, .. } in &backends {
        let drain = format!("GRACEINIT_DRAIN={}", serves.port());
        let listen = format!("GRACEINIT_LISTEN={health}");
        let settings = ["--env", &drain, "--env", &listen, "--env", "GRACEINIT_LOG=debug"];
        containers.push(run(engine, *serves, &settings, APP)?);
    }
    for backend in &backends {
        backend.ready()?;
    }
    let balancer = Balancer::start(&backends, INTERVAL)?;
    let load = traffic::load(&balancer, 100)?;
    let leaving = &containers[0];
    leaving.docker(&["stop"])?;
    traffic::more(&load, 100)?;
    let tally = load.stop()?;
    ensure_eq!(tally.drops_by_class(), "", "drops of {}", tally.sent);
    ensure_eq!(leaving.exit_code()?, 0, "exit code");
    let log = leaving.whole_log()?;
    ensure!(phases(&log).contains(&"drain"), "no drain in {log:#?}");
    // It has seen the connections: without sock_diag a warning says what is done instead.
    let drained = log.iter().any(|line| line.starts_with("graceinit: info: drained busy=0 "));
    ensure!(drained, "the drain was cut off: {log:#?}");
    ensure!(!log.iter().any(|line| line.contains(": warn: ")), "{log:#?}");
    Ok(())
}

/// What the same server does when TERM reaches it at once.
#[test]
fn under_tini_requests_are_dropped() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    if !traffic::needs() || !need::program(TINI) {
        return Ok(());
    }
    let tini = format!("{TINI}:/tini:ro");
    let entry = ["--volume", &tini, "--entrypoint", "/tini"];
    let address =
        || free_address().map(|serves| Backend { serves, health: serves, path: "/?check" });
    let backends = [address()?, address()?];
    let words = format!("-- {APP}");
    let start = |backend: &Backend| run(engine, backend.serves, &entry, &words);
    let containers = [start(&backends[0])?, start(&backends[1])?];
    let balancer = Balancer::start(&backends, INTERVAL)?;
    let load = traffic::load(&balancer, 100)?;
    // Right after a check, so that the next one is nearly the whole interval away.
    let leaving = &containers[0];
    let checks = || leaving.log.out.count("request /?check");
    let before = checks();
    proc::poll("a health check", || (checks() > before).then_some(()))?;
    leaving.docker(&["stop"])?;
    traffic::more(&load, 100)?;
    let tally = load.stop()?;
    ensure_eq!(leaving.exit_code()?, 0, "exit code");
    ensure!(tally.drops() > 0, "nothing was dropped of {}", tally.sent);
    Ok(())
}
