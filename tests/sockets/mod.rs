//! What is seen of real connections over loopback. The kernel's clock goes on meanwhile: a test samples
//! again and again, with a bound, until it sees what it waits for.

#![allow(unreachable_pub, reason = "tools for the tests beside this file")]

mod auto;
mod cost;
mod datagrams;
mod lack;
mod listeners;
mod spoken;
mod unix;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use graceinit::machine::connections::{Moment, Rules, Sample};
use graceinit::sockets::Sampler;
use graceinit::sys::clock;
use graceinit::types::{Pid, Time};

use crate::support::{Fault, Outcome, PATIENCE};

pub const RULES: Rules = Rules { idle: Duration::from_millis(300), owed: None };

/// A sampler of these ports.
pub fn sampler(ports: &[u16]) -> Sampler {
    Sampler::new(Some(ports), RULES)
}

/// A sampler that has only /proc/net/tcp.
pub fn procnet_sampler(ports: &[u16]) -> Sampler {
    Sampler::with(Some(ports), RULES, false, Path::new("/proc"))
}

/// One sample, after the delay and long before the end.
pub fn see(sampler: &mut Sampler, helpers: &[Pid]) -> Sample {
    let now = clock::now();
    let moment = Moment { at: now.since(Time::default()), ..Moment::default() };
    sampler.sample(now, moment, helpers)
}

/// Looks until it is as expected.
pub fn until(
    sampler: &mut Sampler,
    what: &str,
    expected: impl Fn(&Sample) -> bool,
) -> Outcome<Sample> {
    let begun = Instant::now();
    loop {
        let sample = see(sampler, &[]);
        if expected(&sample) {
            return Ok(sample);
        }
        if begun.elapsed() > PATIENCE {
            return Err(Fault::new(format!(
                "no sample showed {what}, the last one was {sample:?}"
            )));
        }
        std::thread::yield_now();
    }
}

/// A listener and its port.
pub fn listen(address: &str) -> Outcome<(TcpListener, u16)> {
    let listener = TcpListener::bind(address)?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// Both ends of a connection: the client's, the app's.
pub fn connect(listener: &TcpListener) -> Outcome<(TcpStream, TcpStream)> {
    connect_to(listener, listener.local_addr()?)
}

pub fn connect_to(listener: &TcpListener, to: SocketAddr) -> Outcome<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(to)?;
    let (app, _) = listener.accept()?;
    for end in [&client, &app] {
        end.set_read_timeout(Some(PATIENCE))?;
        end.set_nodelay(true)?;
    }
    Ok((client, app))
}

/// One end says something, the other one reads it.
pub fn say(from: &mut TcpStream, to: &mut TcpStream) -> Outcome {
    // More than half a request, and more than keep-alive chatter.
    let mut text = [b'x'; 200];
    from.write_all(&text)?;
    to.read_exact(&mut text)?;
    Ok(())
}

pub fn counts(sample: &Sample) -> (u32, u32, u32, u32) {
    (sample.busy, sample.owed, sample.idle, sample.queued)
}
