//! Ports for datagrams.

use std::net::UdpSocket;

use super::{eyes, until};
use crate::ensure;
use crate::support::{Outcome, PATIENCE};

#[test]
fn unread_datagrams_are_queued_and_read_ones_are_waited_for() -> Outcome {
    let app = UdpSocket::bind("127.0.0.1:0")?;
    app.set_read_timeout(Some(PATIENCE))?;
    let mut eyes = eyes(&[app.local_addr()?.port()]);
    until(&mut eyes, "silence", |look| look.over)?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.send_to(b"something", app.local_addr()?)?;
    until(&mut eyes, "one unread", |look| look.queued == 1 && !look.calm() && !look.over)?;
    app.recv(&mut [0; 9])?;
    let look = until(&mut eyes, "one read", |look| look.queued == 0)?;
    ensure!(!look.over, "it came just now: {look:?}");
    until(&mut eyes, "silence again", |look| look.over && look.calm())?;
    Ok(())
}
