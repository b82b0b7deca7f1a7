//! Who spoke last.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use graceinit::machine::connections::{Rules, Sample, Visibility};
use graceinit::sockets::Sampler;

use super::{RULES, connect, connect_to, counts, listen, sampler, say, see, until};
use crate::support::{Outcome, PATIENCE};
use crate::{ensure, ensure_eq};

#[test]
fn a_long_poll_is_owed_its_answer_and_idle_after_it() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let mut sampler = sampler(&[port]);
    // The connection's own age must not be taken for an answer in the same jiffy.
    until(&mut sampler, "one that never asked", |sample| sample.idle == 1)?;
    say(&mut client, &mut app)?;
    until(&mut sampler, "a request", |sample| sample.owed == 1)?;
    let begun = Instant::now();
    let later = |_: &Sample| begun.elapsed() > RULES.idle * 3;
    let sample = until(&mut sampler, "a request that was waiting", later)?;
    ensure_eq!(counts(&sample), (0, 1, 0, 0), "for as long as it takes");
    ensure!(
        !sample.calm() && sample.visibility == Visibility::Full && sample.listening,
        "{sample:?}"
    );
    say(&mut app, &mut client)?;
    let sample = until(&mut sampler, "an answer given", |sample| sample.idle == 1)?;
    ensure!(sample.calm(), "{sample:?}");
    Ok(())
}

#[test]
fn half_a_request_is_owed_for_drain_idle() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let begun = Instant::now();
    client.write_all(b"GET / HT")?;
    let mut sampler = sampler(&[port]);
    until(&mut sampler, "unread bytes", |sample| sample.busy == 1)?;
    app.read_exact(&mut [0; 8])?;
    let sample = until(&mut sampler, "half a request", |sample| sample.busy == 0)?;
    // A machine that was busy meanwhile may have passed the moment.
    ensure!(sample.owed == 1 || begun.elapsed() >= RULES.idle, "{sample:?}");
    let sample = until(&mut sampler, "one that is not waited for", |sample| sample.idle == 1)?;
    ensure!(sample.over && sample.calm(), "{sample:?}");
    Ok(())
}

#[test]
fn an_owed_answer_counts_no_longer_than_it_may() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let rules = Rules { owed: Some(Duration::from_millis(600)), ..RULES };
    let mut sampler = Sampler::new(Some(&[port]), rules);
    until(&mut sampler, "one that never asked", |sample| sample.idle == 1)?;
    let begun = Instant::now();
    say(&mut client, &mut app)?;
    until(&mut sampler, "a request", |sample| sample.owed == 1)?;
    let sample = until(&mut sampler, "a request given up", |sample| sample.idle == 1)?;
    // A jiffy is 10 ms at most.
    ensure!(begun.elapsed() >= Duration::from_millis(590), "{sample:?}");
    ensure_eq!((sample.cut, sample.uncertain), (0, 1), "it may be a request");
    Ok(())
}

#[test]
fn an_answer_in_the_same_jiffy_is_idle_in_the_end() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let mut sampler = sampler(&[port]);
    say(&mut client, &mut app)?;
    say(&mut app, &mut client)?;
    let sample = until(&mut sampler, "an answer given", |sample| sample.idle == 1)?;
    ensure_eq!(counts(&sample), (0, 0, 1, 0), "nothing else");
    Ok(())
}

#[test]
fn a_client_that_does_not_read_is_not_waited_for() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    say(&mut client, &mut app)?;
    app.set_nonblocking(true)?;
    let mut written = 0;
    loop {
        match app.write(&[b'x'; 65536]) {
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut sampler = sampler(&[port]);
    let sample = until(&mut sampler, "a client that does not read", |sample| sample.stalled == 1)?;
    ensure_eq!(
        (counts(&sample), sample.cut, sample.over),
        ((0, 0, 0, 0), 1, true),
        "not waited for"
    );
    // Closed by the app, the kernel still has to deliver it.
    drop(app);
    let sample = until(&mut sampler, "the same", |sample| sample.stalled == 1)?;
    ensure_eq!(sample.cut, 1, "the app has closed it");
    std::io::copy(&mut (&client).take(written as u64), &mut std::io::sink())?;
    until(&mut sampler, "all delivered", |sample| sample.calm())?;
    Ok(())
}

#[test]
fn a_client_that_closed_its_side_is_owed_its_answer() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let rules = Rules { idle: PATIENCE * 10, owed: None };
    let mut sampler = Sampler::new(Some(&[port]), rules);
    say(&mut client, &mut app)?;
    client.shutdown(Shutdown::Write)?;
    // The app has not read the end: that alone makes it owed, not busy.
    until(&mut sampler, "a request", |sample| sample.owed == 1)?;
    ensure_eq!(app.read(&mut [0; 9])?, 0, "the end");
    let sample = until(&mut sampler, "a request", |sample| sample.owed == 1)?;
    ensure_eq!(counts(&sample), (0, 1, 0, 0), "nothing else");
    say(&mut app, &mut client)?;
    until(&mut sampler, "an answer given", |sample| sample.owed == 0 && sample.busy == 1)?;
    Ok(())
}

#[test]
fn a_client_that_never_asked_and_went_is_idle() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (client, _app) = connect(&listener)?;
    drop(client);
    let mut sampler = sampler(&[port]);
    let sample = until(&mut sampler, "nothing to wait for", |sample| sample.idle == 1)?;
    ensure!(sample.calm(), "{sample:?}");
    Ok(())
}

#[test]
fn every_family_is_seen_and_no_other_port() -> Outcome {
    let (four, port_four) = listen("127.0.0.1:0")?;
    let (six, port_six) = listen("[::1]:0")?;
    let (both, port_both) = listen("[::]:0")?;
    let (other, _) = listen("127.0.0.1:0")?;
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST, port_both));
    let held = [connect(&four)?, connect(&six)?, connect_to(&both, mapped)?];
    let ignored = connect(&other)?;
    for (ports, seen) in [
        (vec![port_four], 1),
        (vec![port_six], 1),
        (vec![port_both], 1),
        (vec![port_both, port_four], 2),
        (vec![port_four, port_six, port_both], 3),
        // Too many for the kernel's filter.
        (
            (1..=u16::MAX)
                .filter(|port| *port != other.local_addr().map_or(0, |a| a.port()))
                .collect(),
            3,
        ),
    ] {
        let sample = see(&mut sampler(&ports), &[]);
        let all = sample.busy + sample.owed + sample.idle;
        // On all ports there are the connections of other tests, too.
        ensure!(if ports.len() < 4 { all == seen } else { all >= seen }, "{seen}: {sample:?}");
    }
    drop((held, ignored));
    Ok(())
}

#[test]
fn new_connections_are_counted() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let _first = connect(&listener)?;
    let mut sampler = sampler(&[port]);
    until(&mut sampler, "the first one", |sample| sample.idle == 1)?;
    let sample = see(&mut sampler, &[]);
    ensure_eq!(sample.new, 0, "seen before");
    let _second = connect(&listener)?;
    let sample = see(&mut sampler, &[]);
    ensure_eq!((sample.new, sample.busy + sample.idle), (1, 2), "one more");
    let sample = see(&mut sampler, &[]);
    ensure_eq!(sample.new, 0, "seen before");
    Ok(())
}
