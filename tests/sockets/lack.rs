//! With poorer means.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use graceinit::machine::connections::{Moment, Sample, Visibility};
use graceinit::sockets::Sampler;
use graceinit::sys::clock;

use super::{RULES, connect, counts, listen, procnet_sampler, see, until};
use crate::support::Outcome;
use crate::support::files::Place;
use crate::{ensure, ensure_eq};

#[test]
fn without_sock_diag_connections_are_counted() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (other, _) = listen("127.0.0.1:0")?;
    let _ignored = connect(&other)?;
    let mut sampler = procnet_sampler(&[port]);
    ensure!(sampler.is_listening(&[]), "it does");
    let sample = see(&mut sampler, &[]);
    ensure_eq!(sample.visibility, Visibility::Counts, "the next best means");
    ensure_eq!(counts(&sample), (0, 0, 0, 0), "nothing yet");
    ensure!(sample.calm() && sample.listening, "{sample:?}");
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    let sample = until(&mut sampler, "a queue", |sample| sample.queued == 1)?;
    ensure_eq!(sample.new, 1, "not seen before");
    let (app, _) = listener.accept()?;
    // Nothing more is known than that its queues do not change.
    let sample = until(&mut sampler, "a connection", |sample| sample.idle == 1)?;
    ensure_eq!((counts(&sample), sample.new), ((0, 0, 1, 0), 0), "not waited for");
    client.write_all(b"?")?;
    let sample = until(&mut sampler, "an unread byte", |sample| sample.busy == 1)?;
    ensure!(!sample.over && sample.cut == 1, "{sample:?}");
    drop(app);
    until(&mut sampler, "none", |sample| sample.calm() && sample.over)?;
    Ok(())
}

#[test]
fn the_tables_show_every_family() -> Outcome {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (listener, port) = listen(address)?;
        let _held = connect(&listener)?;
        let sample = see(&mut procnet_sampler(&[port]), &[]);
        ensure_eq!(sample.busy, 1, "{address}");
    }
    Ok(())
}

#[test]
fn without_anything_the_drain_is_its_delay() -> Outcome {
    let nowhere = Path::new("/nonexistent");
    for ports in [Some(&[80][..]), None] {
        let mut sampler = Sampler::with(ports, RULES, false, nowhere);
        let sample = see(&mut sampler, &[]);
        ensure_eq!(sample.visibility, Visibility::Blind, "nothing is seen");
        ensure!(sample.calm() && sample.listening, "nothing is waited for: {sample:?}");
        ensure!(sampler.is_listening(&[]), "readiness does not wait for it");
    }
    Ok(())
}

/// A table of /proc/net and counters that a test writes itself.
fn fake(segments: Option<u32>) -> Outcome<Place> {
    let place = Place::new();
    std::fs::create_dir(place.path("net"))?;
    let line = |remote: &str, state: &str, inode: u32| {
        format!(
            " 0: 0100007F:0050 {remote} {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0\n"
        )
    };
    let table = line("00000000:0000", "0A", 7) + &line("0100007F:A2C4", "01", 8);
    place.file("net/tcp", table, 0o644);
    if let Some(segments) = segments {
        count(&place, segments);
    }
    Ok(place)
}

fn count(place: &Place, segments: u32) {
    let text = format!("Tcp: InSegs OutSegs\nTcp: {segments} 9\n");
    place.file("net/snmp", text, 0o644);
}

/// The delay lasts for two seconds, drain-idle for 300 ms.
fn at(sampler: &mut Sampler, millis: u64) -> Sample {
    let at = Duration::from_millis(millis);
    let delay_left = Duration::from_secs(2).saturating_sub(at);
    sampler.sample(clock::now(), Moment { at, delay_left, left: None }, &[])
}

#[test]
fn without_sock_diag_traffic_of_the_namespace_in_the_delay_restarts_drain_idle() -> Outcome {
    let place = fake(Some(1))?;
    let mut sampler = Sampler::with(Some(&[80]), RULES, false, &place.path("."));
    for (millis, segments, busy) in [
        (0, 1, 1),
        (400, 1, 0),
        (800, 2, 1),
        (1200, 2, 0),
        (1900, 3, 1),
        (2050, 4, 1),
        (2300, 5, 1),
    ] {
        count(&place, segments);
        let sample = at(&mut sampler, millis);
        ensure_eq!((sample.busy, sample.over), (busy, false), "after {millis} ms");
    }
    // What moves after the delay may be health checks.
    count(&place, 6);
    ensure!(at(&mut sampler, 2360).over, "the delay and drain-idle");
    Ok(())
}

#[test]
fn without_sock_diag_and_counters_drain_idle_begins_with_the_end_of_the_delay() -> Outcome {
    let place = fake(None)?;
    let mut sampler = Sampler::with(Some(&[80]), RULES, false, &place.path("."));
    for (millis, over) in [(0, false), (1900, false), (2000, false), (2250, false), (2310, true)] {
        ensure_eq!(at(&mut sampler, millis).over, over, "after {millis} ms");
    }
    Ok(())
}
