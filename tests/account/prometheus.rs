//! A Prometheus scrapes a life, and what happened in it can be asked afterwards.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;

use super::metrics::blocks;
use crate::servers::common::free_address;
use crate::support::account::Account;
use crate::support::files::{Fifo, Place};
use crate::support::init::puppet_line;
use crate::support::port::free_port;
use crate::support::{Fault, Launch, Outcome, PATIENCE, Room, need, proc};
use crate::{ensure, ensure_eq};

const PROMETHEUS: &str = "/usr/bin/prometheus";
const PYTHON: &str = "/usr/bin/python3";
/// An HTTP server that answers `/held` when a FIFO is released.
const APP: &str = include_str!("../blackbox/drain/app.py");

/// What is still to come is held until it was scraped, on however busy a machine.
const LONG: Duration = Duration::from_secs(40);

/// A server of its own, with its database in the test's directory. Ends when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddrV4,
    log: std::sync::Arc<Account>,
}

impl Prometheus {
    /// Scrapes `target` four times a second.
    fn scraping(place: &Place, target: SocketAddrV4) -> Outcome<Prometheus> {
        let address = free_address()?;
        let config = format!(
            "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms }}\n\
             scrape_configs:\n\
             - job_name: app\n  \
               static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        let mut server = Command::new(PROMETHEUS);
        server
            .arg(format!("--config.file={}", place.file("config.yaml", config, 0o644).display()))
            .arg(format!("--storage.tsdb.path={}", place.text("database")))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(place.path("."))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = server.spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| Fault::new("no stderr"))?;
        let log = Account::of("prometheus", stderr);
        let server = Prometheus { child, address, log };
        proc::poll_within(LONG, "a Prometheus", || {
            server.get("/-/ready").ok().filter(|(status, _)| *status == 200)
        })?;
        Ok(server)
    }

    /// The status and the body of an answer.
    fn get(&self, path: &str) -> Outcome<(u16, String)> {
        let mut stream = TcpStream::connect(SocketAddr::from(self.address))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| Fault::new(format!("no answer: {answer:?}")))?;
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| Fault::new(format!("no status: {head:?}")))?;
        Ok((status, body.to_owned()))
    }

    fn ask(&self, api: &str, query: &str) -> Outcome<Json> {
        let plain = |byte: u8| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let query: String = query.bytes().map(plain).collect();
        let (status, body) = self.get(&format!("/api/v1/{api}{query}"))?;
        ensure_eq!(status, 200, "the answer to {api}{query}: {body}");
        let answer: Json = serde_json::from_str(&body)?;
        ensure_eq!(
            answer["status"].as_str(),
            Some("success"),
            "the answer to {api}{query}: {body}"
        );
        Ok(answer["data"].clone())
    }

    /// The values that a query gives now.
    fn values(&self, query: &str) -> Outcome<Vec<f64>> {
        let data = self.ask("query?query=", query)?;
        let series = data["result"].as_array().cloned().unwrap_or_default();
        let value = |series: &Json| series["value"][1].as_str()?.parse().ok();
        Ok(series.iter().filter_map(value).collect())
    }

    /// Until a query gives this.
    fn sees(&self, query: &str, value: f64) -> Outcome {
        let mut last = Vec::new();
        let seen = proc::poll_within(LONG, query, || {
            last = self.values(query).ok()?;
            (last == [value]).then_some(())
        });
        let wanted = |_| Fault::new(format!("{query} is not {value} but {last:?}"));
        seen.map_err(wanted)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A hook that ends when its FIFO is released.
fn held_by(fifo: &Fifo) -> String {
    puppet_line(&format!("read={}", fifo.path().display()))
}

#[test]
fn a_recorded_stop_can_be_queried() -> Outcome {
    if !need::pid_namespace() || !need::program(PROMETHEUS) || !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let [leave, gate, bye] = ["leave", "gate", "bye"].map(|name| place.fifo(name));
    let (target, port) = (free_address()?, free_port()?.to_string());
    let server = Prometheus::scraping(&place, target)?;
    let begun = now();
    let app = [PYTHON, "-IS", "-c", APP, &port, "4"].map(str::to_owned).into_iter();
    let mut run = Launch::graceinit(Room::PidNs)
        .flags("--grace 120 --hook-timeout 60 --post-stop-timeout 60")
        .flags("--drain-delay 0 --drain")
        .words([&port])
        .flags("--listen")
        .words([target.to_string()])
        .flag("--pre-stop", held_by(&leave))
        .flag("--post-stop", held_by(&bye))
        .command(app.chain([gate.path().display().to_string()]))
        .patience(LONG)
        .start()?;
    run.out.until("listening")?;
    // Nothing goes on before it was recorded.
    server.sees("graceinit_ready", 1.0)?;
    server.sees("graceinit_stop_requests_total{signal=\"TERM\"}", 0.0)?;
    // Of the two forms only OpenMetrics knows units: it is the one that was asked for and given.
    let about = server.ask("metadata?metric=", "graceinit_phase_duration_seconds")?;
    let about = &about["graceinit_phase_duration_seconds"][0];
    ensure_eq!(about["type"].as_str(), Some("histogram"), "{about}");
    ensure_eq!(about["unit"].as_str(), Some("seconds"), "{about}");

    let mut client = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    client.set_read_timeout(Some(LONG))?;
    client.write_all(b"GET /held HTTP/1.1\r\n\r\n")?;
    run.out.until("held")?;
    run.signal("TERM")?;
    server.sees("graceinit_phase{phase=\"pre-stop\"}", 1.0)?;
    leave.release()?;
    server.sees("graceinit_drain_connections{state=\"owed\"}", 1.0)?;
    gate.release()?;
    let mut answer = [0; 17];
    client.read_exact(&mut answer)?;
    ensure_eq!(&answer, b"HTTP/1.1 200 OK\r\n", "the answer to who was there before the stop");
    drop(client);
    server.sees("graceinit_phase{phase=\"post-stop\"}", 1.0)?;
    // What docs/metrics.md tells to ask is understood, and finds something in such a life.
    for block in blocks("promql")? {
        for query in block.split("\n\n") {
            let found = server.values(query)?;
            ensure!(!found.is_empty() || query.contains('>'), "nothing is found by {query}");
        }
    }
    bye.release()?;
    run.exits(5)?;

    // It has gone, and what it was is known.
    server.sees("up", 0.0)?;
    for (query, value) in [
        ("max_over_time(graceinit_build_info[5m])", 1.0),
        ("max_over_time(graceinit_phase{phase=\"pre-stop\"}[5m])", 1.0),
        ("max_over_time(graceinit_phase{phase=\"drain\"}[5m])", 1.0),
        ("max_over_time(graceinit_phase{phase=\"killed\"}[5m])", 0.0),
        // In each scrape there was one.
        ("max(max_over_time(sum without(phase)(graceinit_phase)[5m:250ms]))", 1.0),
        ("max_over_time(graceinit_ready[5m])", 1.0),
        ("last_over_time(graceinit_ready[5m])", 0.0),
        ("min_over_time(graceinit_stop_requests_total{signal=\"TERM\"}[5m])", 0.0),
        ("max_over_time(graceinit_stop_requests_total{signal=\"TERM\"}[5m])", 1.0),
        ("max_over_time(graceinit_stop_requests_total{signal=\"INT\"}[5m])", 0.0),
        ("last_over_time(graceinit_signals_forwarded_total{signal=\"TERM\"}[5m])", 1.0),
        ("max_over_time(graceinit_drain_connections{state=\"owed\"}[5m])", 1.0),
        ("last_over_time(graceinit_hook_duration_seconds_count{phase=\"pre-stop\"}[5m])", 1.0),
        (
            "last_over_time(graceinit_hook_attempts_total{phase=\"pre-stop\",outcome=\"done\"}[5m])",
            1.0,
        ),
        (
            "last_over_time(graceinit_hook_attempts_total{phase=\"post-stop\",outcome=\"done\"}[5m])",
            0.0,
        ),
        ("last_over_time(graceinit_phase_duration_seconds_count{phase=\"drain\"}[5m])", 1.0),
        (
            "last_over_time(graceinit_phase_duration_seconds_bucket{phase=\"drain\",le=\"+Inf\"}[5m])",
            1.0,
        ),
        ("sum(last_over_time(graceinit_exit_total[5m]))", 1.0),
        ("last_over_time(graceinit_exit_total{phase=\"stopping\"}[5m])", 1.0),
        ("last_over_time(graceinit_processes_reaped_total{kind=\"app\"}[5m])", 1.0),
        ("last_over_time(graceinit_processes_reaped_total{kind=\"hook\"}[5m])", 1.0),
        ("last_over_time(graceinit_kills_total[5m])", 0.0),
        ("last_over_time(graceinit_log_lines_dropped_total[5m])", 0.0),
        // Only a counter that was there with 0 has risen.
        ("increase(graceinit_stop_requests_total{signal=\"TERM\"}[5m]) > bool 0", 1.0),
    ] {
        ensure_eq!(server.values(query)?, [value], "{query}");
    }
    let started = server.values("last_over_time(graceinit_app_start_time_seconds[5m])")?;
    let in_between = |at: &f64| (begun - 1.0..now() + 1.0).contains(at);
    ensure!(started.len() == 1 && started.iter().all(in_between), "started at {started:?}");
    // As long as the hook was held, the phase was; the bound of a second is for two clock readings.
    let difference = "last_over_time(graceinit_phase_duration_seconds_sum{phase=\"pre-stop\"}[5m]) \
                      - ignoring(hook) \
                      last_over_time(graceinit_hook_duration_seconds_sum{phase=\"pre-stop\"}[5m])";
    let difference = server.values(difference)?;
    ensure!(matches!(difference[..], [0.0..1.0]), "between phase and hook: {difference:?}");

    let rejected =
        server.log.so_far().into_iter().find(|line| line.0.contains("Error on ingesting"));
    ensure!(rejected.is_none(), "{rejected:?}");
    Ok(())
}
