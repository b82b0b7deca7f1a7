//! Connections that hold the drain, and some that do not.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::{Drained, PYTHON, ask, is_cut_off};
use crate::support::{Outcome, Room, need, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

/// Who held the drain is told, with the option that limits it; --drain-max ends it.
fn who_held_the_drain(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::new(room, "4")?.drain().flags("--drain-max 1s").start(false)?;
    let mut client = server.held()?;
    server.drains()?;
    let line = server.run.err.until("graceinit: warn: --drain-max is over: requests may be")?;
    ensure!(line.0.contains("cut=1 uncertain=0 "), "the last look: {}", line.0);
    let line = server.run.err.until("graceinit: info: this connection held the drain")?;
    let peer = client.local_addr()?.to_string();
    ensure_eq!(line.get("peer"), Some(&peer[..]), "the client");
    ensure_eq!(
        (line.get("verdict"), line.get("option")),
        (Some("owed"), Some("--drain-owed")),
        "why"
    );
    server.run.err.until("graceinit: info: asking the app to stop")?;
    server.leaves(5)?;
    is_cut_off(&mut client)
}

/// A client that stopped in the middle of a request, and one that said nothing: neither is waited for.
fn half_a_request(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::new(room, "4")?.drain().start(false)?;
    let mut half = server.connect()?;
    half.write_all(b"GET / HT")?;
    let unused = server.connect()?;
    server.drains()?;
    let line = server.ends("info: drained")?;
    ensure!(line.0.contains("owed=0 idle=2 "), "{}", line.0);
    drop((half, unused));
    Ok(())
}

/// What holds the drain is in the answer to a probe.
fn a_probe_tells_what_holds_the_drain(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::new(room, "4")?.drain().start(false)?;
    let client = server.held()?;
    let peer = client.local_addr()?.to_string();
    server.drains()?;
    server.sees("owed=1")?;
    let held = format!("draining: {peer} on port {}: an answer is owed, for ", server.port);
    // The account is sent ten times a second.
    proc::poll("what holds the drain", || {
        server.probe().is_ok_and(|it| it.contains(&held)).then_some(())
    })?;
    server.finishes(client)
}

/// With the default of --drain-idle, 5.6 s: a checker that asks every 2.5 s on a kept connection, and a client that
/// vanished while its answer was on the way. Neither lasts to the limit, nor to the last fifth of the drain.
fn a_vanished_client_and_a_checker_hold_the_drain_for_seconds_only(room: Room) -> Outcome {
    needs!();
    let server = Drained::with(room, "4", "--grace 15s --drain-delay 2s")?;
    let port = server.port.to_string();
    let mut server = server.flags(&format!("--drain {port}")).start(false)?;
    let mut checker = server.connect()?;
    // It has been here for a while.
    for _ in 0..10 {
        ask(&mut checker, "/")?;
    }
    let (going, ended) = mpsc::channel::<()>();
    let checks = std::thread::spawn(move || {
        while ended.recv_timeout(Duration::from_millis(2500)) == Err(RecvTimeoutError::Timeout) {
            if ask(&mut checker, "/").is_err() {
                break;
            }
        }
    });
    let gone = server.held()?;
    sys::drop_all_that_comes(&gone)?;
    server.release()?;
    server.drains()?;
    let line = server.run.err.until("graceinit: info: drained")?;
    ensure!(line.0.contains(" owed=0 "), "{}", line.0);
    drop(going);
    ensure!(checks.join().is_ok(), "the checker panicked");
    drop(gone);
    server.leaves(5)
}

both_rooms!(
    a_probe_tells_what_holds_the_drain,
    a_vanished_client_and_a_checker_hold_the_drain_for_seconds_only,
    who_held_the_drain,
    half_a_request,
);
