//! Ports for datagrams.

use std::net::UdpSocket;
use std::time::Duration;

use graceinit::machine::connections::Sample;

use super::{sampler, until};
use crate::support::{Outcome, PATIENCE};

#[test]
fn unread_datagrams_are_queued_and_read_ones_break_the_silence() -> Outcome {
    let app = UdpSocket::bind("127.0.0.1:0")?;
    app.set_read_timeout(Some(PATIENCE))?;
    let mut sampler = sampler(&[app.local_addr()?.port()]);
    let still = Duration::from_millis(50);
    let silent = |sample: &Sample| sample.silence.is_some_and(|s| s > still);
    until(&mut sampler, "silence", silent)?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.send_to(b"something", app.local_addr()?)?;
    until(&mut sampler, "one unread", |sample| sample.queued == 1 && !sample.calm())?;
    until(&mut sampler, "silence", silent)?;
    app.recv(&mut [0; 9])?;
    until(&mut sampler, "one read", |sample| {
        sample.queued == 0 && sample.silence == Some(Duration::ZERO)
    })?;
    until(&mut sampler, "silence again", |sample| silent(sample) && sample.calm())?;
    Ok(())
}
