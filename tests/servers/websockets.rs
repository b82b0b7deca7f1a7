//! WebSockets on which nothing but pings happens: thirty of them are never all silent at once.

use std::process::Command;
use std::time::Duration;

use super::common::Client;
use crate::support::port::free_port;
use crate::support::{Launch, Outcome, Room, need};
use crate::{ensure, ensure_eq};

/// The place of what `tests/run` installs from PyPI.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
const CHAT: &str = include_str!("websockets/chat.py");

/// The clients connect for five seconds.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn pings_do_not_hold_the_drain() -> Outcome {
    let library = need::program(PYTHON)
        && need::met(
            Command::new(PYTHON).args(["-c", "import websockets"]).status()?.success(),
            "websockets of PyPI in target/python",
        );
    if !library || !need::pid_namespace() {
        return Ok(());
    }
    let port = free_port()?.to_string();
    let mut run = Launch::graceinit(Room::PidNs)
        .patience(PATIENCE)
        .flags("--log-level debug --grace 30s --drain-idle 4s --stop-signal TERM --drain")
        .words([&port])
        .command([PYTHON, "-c", CHAT, "serve", &port])
        .start()?;
    run.out.until("listening")?;
    run.err.until("graceinit: info: the app is ready")?;
    let clients = Client::start(Command::new(PYTHON).args(["-c", CHAT, "connect", &port]))?;
    clients.out.until("connected")?;
    run.signal("TERM")?;
    // Each has been silent but for pings for four seconds, and nothing was in progress: not cut off near the limit.
    let line = run.err.until("graceinit: info: drained ")?;
    let after: f64 =
        line.get("after").and_then(|after| after.strip_suffix('s')?.parse().ok()).unwrap_or(99.0);
    ensure!(after <= 6.0, "it took more than delay and drain-idle: {}", line.0);
    ensure!(line.0.contains("owed=0 idle=30 "), "all are idle: {}", line.0);
    run.wait()?;
    ensure_eq!(run.err.count("may be cut off"), 0, "claims");
    clients.out.until("closed ").map(drop)
}
