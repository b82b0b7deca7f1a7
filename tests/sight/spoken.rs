//! Who spoke last.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use graceinit::config::Ports;
use graceinit::machine::drain::{Look, Rules, Sight};
use graceinit::sight::Eyes;

use super::{RULES, connect, connect_to, counts, eyes, listen, say, see, until};
use crate::support::{Outcome, PATIENCE};
use crate::{ensure, ensure_eq};

#[test]
fn a_long_poll_is_owed_its_answer_and_idle_after_it() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let mut eyes = eyes(&[port]);
    // The connection's own age must not be taken for an answer in the same jiffy.
    until(&mut eyes, "one that never asked", |look| look.idle == 1)?;
    say(&mut client, &mut app)?;
    until(&mut eyes, "a request", |look| look.owed == 1)?;
    let begun = Instant::now();
    let later = |_: &Look| begun.elapsed() > RULES.idle * 3;
    let look = until(&mut eyes, "a request that was waiting", later)?;
    ensure_eq!(counts(&look), (0, 1, 0, 0), "for as long as it takes");
    ensure!(!look.calm() && look.sight == Sight::Full && look.listening, "{look:?}");
    say(&mut app, &mut client)?;
    let look = until(&mut eyes, "an answer given", |look| look.idle == 1)?;
    ensure!(look.calm(), "{look:?}");
    Ok(())
}

#[test]
fn half_a_request_is_owed_for_drain_idle() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let begun = Instant::now();
    client.write_all(b"GET / HT")?;
    let mut eyes = eyes(&[port]);
    until(&mut eyes, "unread bytes", |look| look.busy == 1)?;
    app.read_exact(&mut [0; 8])?;
    let look = until(&mut eyes, "half a request", |look| look.busy == 0)?;
    // A machine that was busy meanwhile may have passed the moment.
    ensure!(look.owed == 1 || begun.elapsed() >= RULES.idle, "{look:?}");
    let look = until(&mut eyes, "one that is not waited for", |look| look.idle == 1)?;
    ensure!(look.over && look.calm(), "{look:?}");
    Ok(())
}

#[test]
fn an_owed_answer_counts_no_longer_than_it_may() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let rules = Rules { owed: Some(Duration::from_millis(600)), ..RULES };
    let mut eyes = Eyes::new(Ports::List(vec![port]), rules);
    until(&mut eyes, "one that never asked", |look| look.idle == 1)?;
    let begun = Instant::now();
    say(&mut client, &mut app)?;
    until(&mut eyes, "a request", |look| look.owed == 1)?;
    let look = until(&mut eyes, "a request given up", |look| look.idle == 1)?;
    // A jiffy is 10 ms at most.
    ensure!(begun.elapsed() >= Duration::from_millis(590), "{look:?}");
    ensure_eq!((look.cut, look.uncertain), (0, 1), "it may be a request");
    Ok(())
}

#[test]
fn an_answer_in_the_same_jiffy_is_idle_in_the_end() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let mut eyes = eyes(&[port]);
    say(&mut client, &mut app)?;
    say(&mut app, &mut client)?;
    let look = until(&mut eyes, "an answer given", |look| look.idle == 1)?;
    ensure_eq!(counts(&look), (0, 0, 1, 0), "nothing else");
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
    let mut eyes = eyes(&[port]);
    let look = until(&mut eyes, "a client that does not read", |look| look.stalled == 1)?;
    ensure_eq!((counts(&look), look.cut, look.over), ((0, 0, 0, 0), 1, true), "not waited for");
    // Closed by the app, the kernel still has to deliver it.
    drop(app);
    let look = until(&mut eyes, "the same", |look| look.stalled == 1)?;
    ensure_eq!(look.cut, 1, "the app has closed it");
    std::io::copy(&mut (&client).take(written as u64), &mut std::io::sink())?;
    until(&mut eyes, "all delivered", |look| look.calm())?;
    Ok(())
}

#[test]
fn a_client_that_closed_its_side_is_owed_its_answer() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let rules = Rules { idle: PATIENCE * 10, owed: None };
    let mut eyes = Eyes::new(Ports::List(vec![port]), rules);
    say(&mut client, &mut app)?;
    client.shutdown(Shutdown::Write)?;
    // The app has not read the end: that alone makes it owed, not busy.
    until(&mut eyes, "a request", |look| look.owed == 1)?;
    ensure_eq!(app.read(&mut [0; 9])?, 0, "the end");
    let look = until(&mut eyes, "a request", |look| look.owed == 1)?;
    ensure_eq!(counts(&look), (0, 1, 0, 0), "nothing else");
    say(&mut app, &mut client)?;
    until(&mut eyes, "an answer given", |look| look.owed == 0 && look.busy == 1)?;
    Ok(())
}

#[test]
fn a_client_that_never_asked_and_went_is_idle() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (client, _app) = connect(&listener)?;
    drop(client);
    let mut eyes = eyes(&[port]);
    let look = until(&mut eyes, "nothing to wait for", |look| look.idle == 1)?;
    ensure!(look.calm(), "{look:?}");
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
        let look = see(&mut eyes(&ports), &[]);
        let all = look.busy + look.owed + look.idle;
        // On all ports there are the connections of other tests, too.
        ensure!(if ports.len() < 4 { all == seen } else { all >= seen }, "{seen}: {look:?}");
    }
    drop((held, ignored));
    Ok(())
}

#[test]
fn new_connections_are_counted() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let _first = connect(&listener)?;
    let mut eyes = eyes(&[port]);
    until(&mut eyes, "the first one", |look| look.idle == 1)?;
    let look = see(&mut eyes, &[]);
    ensure_eq!(look.new, 0, "seen before");
    let _second = connect(&listener)?;
    let look = see(&mut eyes, &[]);
    ensure_eq!((look.new, look.busy + look.idle), (1, 2), "one more");
    let look = see(&mut eyes, &[]);
    ensure_eq!(look.new, 0, "seen before");
    Ok(())
}
