//! Who spoke last.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use graceinit::config::Ports;
use graceinit::machine::connections::{Rules, Sample, Visibility};
use graceinit::sockets::Sampler;
use graceinit::sys::clock;

use super::{RULES, connect, connect_to, counts, eyes, listen, say, until};
use crate::support::Outcome;
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
    let later = |look: &Sample| look.silence.is_some_and(|silence| silence > RULES.idle * 3);
    let look = until(&mut eyes, "a request that was waiting", later)?;
    ensure_eq!(counts(&look), (0, 1, 0, 0), "for as long as it takes");
    ensure!(!look.calm() && look.visibility == Visibility::Full && look.listening, "{look:?}");
    say(&mut app, &mut client)?;
    let look = until(&mut eyes, "an answer given", |look| look.idle == 1)?;
    ensure!(look.calm(), "{look:?}");
    Ok(())
}

#[test]
fn a_part_of_a_request_is_owed() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    client.write_all(b"GET / HT")?;
    let mut eyes = eyes(&[port]);
    until(&mut eyes, "unread bytes", |look| look.busy == 1)?;
    app.read_exact(&mut [0; 8])?;
    until(&mut eyes, "half a request", |look| look.owed == 1)?;
    Ok(())
}

#[test]
fn an_owed_answer_counts_no_longer_than_it_may() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let rules = Rules { owed: Some(Duration::from_millis(600)), ..RULES };
    let mut eyes = Sampler::new(Ports::List(vec![port]), rules);
    until(&mut eyes, "one that never asked", |look| look.idle == 1)?;
    say(&mut client, &mut app)?;
    let look = until(&mut eyes, "a request given up", |look| look.idle == 1)?;
    ensure!(look.silence.is_some_and(|silence| silence >= Duration::from_millis(600)), "{look:?}");
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
fn a_body_that_the_client_does_not_read_is_busy() -> Outcome {
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
    let quiet = |look: &Sample| look.silence.is_some_and(|silence| silence > RULES.idle * 2);
    let look = until(&mut eyes, "a body on its way", quiet)?;
    ensure_eq!(counts(&look), (1, 0, 0, 0), "however long nothing moves");
    // Closed by the app, the kernel still has to deliver it.
    drop(app);
    let look = until(&mut eyes, "the same", |look| look.busy == 1)?;
    ensure_eq!(counts(&look), (1, 0, 0, 0), "the app has closed it");
    std::io::copy(&mut (&client).take(written as u64), &mut std::io::sink())?;
    until(&mut eyes, "all delivered", |look| look.calm())?;
    Ok(())
}

#[test]
fn a_client_that_closed_its_side_is_owed_its_answer() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (mut client, mut app) = connect(&listener)?;
    let mut eyes = eyes(&[port]);
    until(&mut eyes, "one that never asked", |look| look.idle == 1)?;
    say(&mut client, &mut app)?;
    client.shutdown(Shutdown::Write)?;
    // The app has not read the end: that alone makes it owed, not busy.
    until(&mut eyes, "a request", |look| look.owed == 1)?;
    ensure_eq!(app.read(&mut [0; 9])?, 0, "the end");
    let look = until(&mut eyes, "a request", |look| look.owed == 1)?;
    ensure_eq!(counts(&look), (0, 1, 0, 0), "nothing else");
    say(&mut app, &mut client)?;
    until(&mut eyes, "an answer given", |look| look.idle == 1)?;
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
        let look = eyes(&ports).look(clock::now(), &[]);
        let all = look.busy + look.owed + look.idle;
        // On all ports there are the connections of other tests, too.
        ensure!(if ports.len() < 4 { all == seen } else { all >= seen }, "{seen}: {look:?}");
    }
    drop((held, ignored));
    Ok(())
}

#[test]
fn new_connections_are_counted_and_break_the_silence() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let _first = connect(&listener)?;
    let mut eyes = eyes(&[port]);
    let quiet = |look: &Sample| look.silence.is_some_and(|silence| silence > RULES.idle);
    until(&mut eyes, "silence", quiet)?;
    let look = eyes.look(clock::now(), &[]);
    ensure_eq!(look.new, 0, "seen before");
    let begun = Instant::now();
    let _second = connect(&listener)?;
    let look = eyes.look(clock::now(), &[]);
    ensure_eq!((look.new, look.busy + look.idle), (1, 2), "one more");
    // tcp_info's stamps of a fresh connection begin with itself. A jiffy is 10 ms at most.
    let silence = look.silence.unwrap_or(Duration::MAX);
    ensure!(silence <= begun.elapsed() + Duration::from_millis(10), "{look:?}");
    let look = eyes.look(clock::now(), &[]);
    ensure_eq!(look.new, 0, "seen before");
    Ok(())
}
