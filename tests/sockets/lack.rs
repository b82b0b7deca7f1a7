//! With poorer means.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use graceinit::config::Ports;
use graceinit::machine::connections::Visibility;
use graceinit::sockets::Sampler;
use graceinit::sys::clock;

use super::{RULES, connect, counts, listen, poor_eyes, until};
use crate::support::Outcome;
use crate::{ensure, ensure_eq};

#[test]
fn without_sock_diag_connections_are_counted() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (other, _) = listen("127.0.0.1:0")?;
    let _ignored = connect(&other)?;
    let mut eyes = poor_eyes(&[port]);
    ensure!(eyes.listening(&[]), "it does");
    let look = eyes.look(clock::now(), &[]);
    ensure_eq!(look.visibility, Visibility::Counts, "the next best means");
    ensure_eq!(counts(&look), (0, 0, 0, 0), "nothing yet");
    ensure!(look.calm() && look.listening, "{look:?}");
    let _waiting = TcpStream::connect(("127.0.0.1", port))?;
    let look = until(&mut eyes, "a queue", |look| look.queued == 1)?;
    ensure_eq!(look.new, 1, "not seen before");
    ensure_eq!(look.silence, Some(Duration::ZERO), "of a new one");
    let (app, _) = listener.accept()?;
    let look = until(&mut eyes, "a connection", |look| look.busy == 1)?;
    ensure_eq!(counts(&look), (1, 0, 0, 0), "however idle it is");
    ensure_eq!((look.new, look.silence), (0, None), "nothing more is known");
    drop(app);
    until(&mut eyes, "none", |look| look.calm() && look.busy == 0)?;
    Ok(())
}

#[test]
fn the_tables_show_every_family() -> Outcome {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (listener, port) = listen(address)?;
        let _held = connect(&listener)?;
        let look = poor_eyes(&[port]).look(clock::now(), &[]);
        ensure_eq!(look.busy, 1, "{address}");
    }
    Ok(())
}

#[test]
fn without_anything_the_drain_is_its_delay() -> Outcome {
    let nowhere = Path::new("/nonexistent");
    for ports in [Ports::List(vec![80]), Ports::Auto] {
        let mut eyes = Sampler::with(ports, RULES, false, nowhere);
        let look = eyes.look(clock::now(), &[]);
        ensure_eq!(look.visibility, Visibility::Blind, "nothing is seen");
        ensure!(look.calm() && look.listening, "nothing is waited for: {look:?}");
        ensure!(eyes.listening(&[]), "readiness does not wait for it");
    }
    Ok(())
}
