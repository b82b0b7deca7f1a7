//! Ports for datagrams.

use std::net::UdpSocket;

use super::{sampler, until};
use crate::ensure;
use crate::support::{Outcome, PATIENCE};

#[test]
fn unread_datagrams_are_queued_and_read_ones_are_waited_for() -> Outcome {
    let app = UdpSocket::bind("127.0.0.1:0")?;
    app.set_read_timeout(Some(PATIENCE))?;
    let mut sampler = sampler(&[app.local_addr()?.port()]);
    until(&mut sampler, "silence", |sample| sample.over)?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.send_to(b"something", app.local_addr()?)?;
    until(&mut sampler, "one unread", |sample| {
        sample.queued == 1 && !sample.calm() && !sample.over
    })?;
    app.recv(&mut [0; 9])?;
    let sample = until(&mut sampler, "one read", |sample| sample.queued == 0)?;
    ensure!(!sample.over, "it came just now: {sample:?}");
    until(&mut sampler, "silence again", |sample| sample.over && sample.calm())?;
    Ok(())
}
