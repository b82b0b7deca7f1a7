//! WebSockets on which nothing but pings happens: thirty of them are never all silent at once.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::common::Client;
use crate::support::files::Place;
use crate::support::port::free_port;
use crate::support::{Launch, Outcome, Room, need, proc};
use crate::{ensure, ensure_eq};

/// The place of what `tests/run` installs from PyPI.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
const CHAT: &str = include_str!("websockets/chat.py");

const HAPROXY: &str = "/usr/sbin/haproxy";

/// The clients connect for five seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A balancer that passes on what both sides say once the connection is a WebSocket. Ends when dropped.
struct Tunnel {
    _place: Place,
    child: Child,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Tunnel {
    fn start(front: u16, back: &str) -> Outcome<Tunnel> {
        let place = Place::new();
        let conf = format!(
            "defaults\n mode http\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n\
             timeout tunnel 1h\n\
             frontend front\n bind 127.0.0.1:{front}\n default_backend back\n\
             backend back\n server one 127.0.0.1:{back}\n"
        );
        let conf = place.file("haproxy.cfg", conf, 0o644);
        let mut haproxy = Command::new(HAPROXY);
        haproxy.args(["-db", "-q", "-f"]).arg(conf).stdin(Stdio::null()).stdout(Stdio::null());
        let tunnel = Tunnel { child: haproxy.stderr(Stdio::null()).spawn()?, _place: place };
        proc::poll("the balancer", || TcpStream::connect(("127.0.0.1", front)).ok())?;
        Ok(tunnel)
    }
}

fn pings_do_not_hold_the_drain(through_haproxy: bool) -> Outcome {
    let library = need::program(PYTHON)
        && need::met(
            Command::new(PYTHON).args(["-c", "import websockets"]).status()?.success(),
            "websockets of PyPI in target/python",
        );
    if !library || !need::pid_namespace() || through_haproxy && !need::program(HAPROXY) {
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
    let front = if through_haproxy { free_port()? } else { port.parse().unwrap_or(0) };
    let tunnel = through_haproxy.then(|| Tunnel::start(front, &port)).transpose()?;
    let clients =
        Client::start(Command::new(PYTHON).args(["-c", CHAT, "connect", &front.to_string()]))?;
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
    clients.out.until("closed ")?;
    drop(tunnel);
    Ok(())
}

#[test]
fn pings_do_not_hold_the_drain_of_a_server() -> Outcome {
    pings_do_not_hold_the_drain(false)
}

#[test]
fn pings_do_not_hold_the_drain_behind_a_balancer() -> Outcome {
    pings_do_not_hold_the_drain(true)
}
