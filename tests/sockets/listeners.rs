//! Accept queues, and who listens.

use std::net::{TcpStream, UdpSocket};

use super::{connect, listen, sampler, see, until};
use crate::support::Outcome;
use crate::{ensure, ensure_eq};

#[test]
fn connections_to_be_accepted_are_queued() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let mut sampler = sampler(&[port]);
    let _waiting =
        [TcpStream::connect(("127.0.0.1", port))?, TcpStream::connect(("127.0.0.1", port))?];
    let sample = until(&mut sampler, "a queue", |sample| sample.queued == 2)?;
    ensure_eq!((sample.busy, sample.owed, sample.idle), (0, 0, 0), "not the app's yet");
    ensure!(!sample.calm(), "{sample:?}");
    let _first = listener.accept()?;
    until(&mut sampler, "one less", |sample| sample.queued == 1)?;
    let _second = listener.accept()?;
    let sample = until(&mut sampler, "none", |sample| sample.queued == 0)?;
    ensure_eq!(sample.busy + sample.idle, 2, "all the app's");
    Ok(())
}

#[test]
fn a_queue_is_seen_when_the_listener_is_another_familys() -> Outcome {
    let (_listener, port) = listen("[::]:0")?;
    let _waiting = TcpStream::connect(("127.0.0.1", port))?;
    until(&mut sampler(&[port]), "a queue", |sample| sample.queued == 1)?;
    Ok(())
}

#[test]
fn the_app_listens_once_it_does_on_each_port() -> Outcome {
    let (first, one) = listen("127.0.0.1:0")?;
    let (second, other) = listen("[::1]:0")?;
    let mut sampler = sampler(&[one, other]);
    ensure!(sampler.is_listening(&[]), "both");
    let sample = see(&mut sampler, &[]);
    ensure!(sample.listening, "both");
    let _open = connect(&second)?;
    drop(second);
    ensure!(!sampler.is_listening(&[]), "one is missing, though a connection of it is there");
    let sample = see(&mut sampler, &[]);
    ensure!(!sample.listening, "one is missing");
    drop(first);
    ensure!(!sampler.is_listening(&[]), "both are missing");
    Ok(())
}

#[test]
fn a_socket_for_datagrams_does_as_well() -> Outcome {
    let socket = UdpSocket::bind("[::]:0")?;
    let mut sampler = sampler(&[socket.local_addr()?.port()]);
    ensure!(sampler.is_listening(&[]), "bound");
    drop(socket);
    ensure!(!sampler.is_listening(&[]), "closed");
    Ok(())
}
