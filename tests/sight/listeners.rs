//! Accept queues, and who listens.

use std::net::{TcpStream, UdpSocket};

use super::{connect, eyes, listen, see, until};
use crate::support::Outcome;
use crate::{ensure, ensure_eq};

#[test]
fn connections_to_be_accepted_are_queued() -> Outcome {
    let (listener, port) = listen("127.0.0.1:0")?;
    let mut eyes = eyes(&[port]);
    let _waiting =
        [TcpStream::connect(("127.0.0.1", port))?, TcpStream::connect(("127.0.0.1", port))?];
    let look = until(&mut eyes, "a queue", |look| look.queued == 2)?;
    ensure_eq!((look.busy, look.owed, look.idle), (0, 0, 0), "not the app's yet");
    ensure!(!look.calm(), "{look:?}");
    let _first = listener.accept()?;
    until(&mut eyes, "one less", |look| look.queued == 1)?;
    let _second = listener.accept()?;
    let look = until(&mut eyes, "none", |look| look.queued == 0)?;
    ensure_eq!(look.busy + look.idle, 2, "all the app's");
    Ok(())
}

#[test]
fn a_queue_is_seen_when_the_listener_is_another_familys() -> Outcome {
    let (_listener, port) = listen("[::]:0")?;
    let _waiting = TcpStream::connect(("127.0.0.1", port))?;
    until(&mut eyes(&[port]), "a queue", |look| look.queued == 1)?;
    Ok(())
}

#[test]
fn the_app_listens_once_it_does_on_each_port() -> Outcome {
    let (first, one) = listen("127.0.0.1:0")?;
    let (second, other) = listen("[::1]:0")?;
    let mut eyes = eyes(&[one, other]);
    ensure!(eyes.listening(&[]), "both");
    let look = see(&mut eyes, &[]);
    ensure!(look.listening, "both");
    let _open = connect(&second)?;
    drop(second);
    ensure!(!eyes.listening(&[]), "one is missing, though a connection of it is there");
    let look = see(&mut eyes, &[]);
    ensure!(!look.listening, "one is missing");
    drop(first);
    ensure!(!eyes.listening(&[]), "both are missing");
    Ok(())
}

#[test]
fn a_socket_for_datagrams_does_as_well() -> Outcome {
    let socket = UdpSocket::bind("[::]:0")?;
    let mut eyes = eyes(&[socket.local_addr()?.port()]);
    ensure!(eyes.listening(&[]), "bound");
    drop(socket);
    ensure!(!eyes.listening(&[]), "closed");
    Ok(())
}
