//! The settings that a rehearsal finds for a server, from a cold start and with no setting given.

use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::Value;

use super::Slot;
use super::apps::{Server, Site};
use crate::support::port::free_port;
use crate::support::{Fault, Outcome, Program};

/// What the load asks for: handlers of 50, 150 and 300 ms.
const PATHS: [&str; 3] = ["/sleep/50/0", "/sleep/150/0", "/sleep/300/0"];

/// Runs the rehearsal, as a pod with 30 s and a balancer that knows after a second. The port in the settings is `{port}`.
pub(crate) fn settings(server: Server, rate: u32) -> Outcome<String> {
    let site = Site::new(server)?;
    let port = free_port()?;
    let slot = Slot { ip: Ipv4Addr::LOCALHOST, port, check: port };
    let mut rehearsal = Command::new(Program::Graceinit.path());
    rehearsal.args(["--rehearse=k8s:30s", "--lag=1s", "--json"]).arg(format!("--rate={rate}"));
    rehearsal.args(PATHS.map(|path| format!("--url=:{port}{path}")));
    rehearsal.arg("--").args(site.command(slot)?);
    rehearsal.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    rehearsal.envs(site.environment().iter().copied());
    let text = String::from_utf8_lossy(&rehearsal.output()?.stdout).into_owned();
    let json: Value = serde_json::from_str(&text).map_err(|error| Fault::new(error.to_string()))?;
    let found =
        json["found"].as_str().ok_or_else(|| Fault::new(format!("nothing found: {text}")))?;
    Ok(found.replace(&port.to_string(), "{port}"))
}
