//! With poorer means.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use graceinit::machine::connections::Visibility;
use graceinit::sockets::Sampler;

use super::{RULES, connect, counts, listen, procnet_sampler, see, until};
use crate::support::Outcome;
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
