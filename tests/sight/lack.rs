//! With poorer means.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use graceinit::config::Ports;
use graceinit::machine::drain::Sight;
use graceinit::sight::Eyes;

use super::{RULES, connect, counts, listen, poor_eyes, see, until};
use crate::support::Outcome;
use crate::{ensure, ensure_eq};

#[test]
fn without_sock_diag_connections_are_counted() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let (other, _) = listen("127.0.0.1:0")?;
    let _ignored = connect(&other)?;
    let mut eyes = poor_eyes(&[port]);
    ensure!(eyes.listening(&[]), "it does");
    let look = see(&mut eyes, &[]);
    ensure_eq!(look.sight, Sight::Counts, "the next best means");
    ensure_eq!(counts(&look), (0, 0, 0, 0), "nothing yet");
    ensure!(look.calm() && look.listening, "{look:?}");
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    let look = until(&mut eyes, "a queue", |look| look.queued == 1)?;
    ensure_eq!(look.new, 1, "not seen before");
    let (app, _) = listener.accept()?;
    // Nothing more is known than that its queues do not change.
    let look = until(&mut eyes, "a connection", |look| look.idle == 1)?;
    ensure_eq!((counts(&look), look.new), ((0, 0, 1, 0), 0), "not waited for");
    client.write_all(b"?")?;
    let look = until(&mut eyes, "an unread byte", |look| look.busy == 1)?;
    ensure!(!look.over && look.cut == 1, "{look:?}");
    drop(app);
    until(&mut eyes, "none", |look| look.calm() && look.over)?;
    Ok(())
}

#[test]
fn the_tables_show_every_family() -> Outcome {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (listener, port) = listen(address)?;
        let _held = connect(&listener)?;
        let look = see(&mut poor_eyes(&[port]), &[]);
        ensure_eq!(look.busy, 1, "{address}");
    }
    Ok(())
}

#[test]
fn without_anything_the_drain_is_its_delay() -> Outcome {
    let nowhere = Path::new("/nonexistent");
    for ports in [Ports::List(vec![80]), Ports::Auto] {
        let mut eyes = Eyes::with(ports, RULES, false, nowhere);
        let look = see(&mut eyes, &[]);
        ensure_eq!(look.sight, Sight::Blind, "nothing is seen");
        ensure!(look.calm() && look.listening, "nothing is waited for: {look:?}");
        ensure!(eyes.listening(&[]), "readiness does not wait for it");
    }
    Ok(())
}
