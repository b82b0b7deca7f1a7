//! Ports for datagrams.

use std::net::UdpSocket;
use std::time::Duration;

use graceinit::machine::connections::Sample;

use super::{eyes, until};
use crate::support::{Outcome, PATIENCE};

#[test]
fn unread_datagrams_are_queued_and_read_ones_break_the_silence() -> Outcome {
    let app = UdpSocket::bind("127.0.0.1:0")?;
    app.set_read_timeout(Some(PATIENCE))?;
    let mut eyes = eyes(&[app.local_addr()?.port()]);
    let still = Duration::from_millis(50);
    let silent = |look: &Sample| look.silence.is_some_and(|s| s > still);
    until(&mut eyes, "silence", silent)?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.send_to(b"something", app.local_addr()?)?;
    until(&mut eyes, "one unread", |look| look.queued == 1 && !look.calm())?;
    until(&mut eyes, "silence", silent)?;
    app.recv(&mut [0; 9])?;
    until(&mut eyes, "one read", |look| look.queued == 0 && look.silence == Some(Duration::ZERO))?;
    until(&mut eyes, "silence again", |look| silent(look) && look.calm())?;
    Ok(())
}
