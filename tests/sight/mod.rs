//! What is seen of real connections over loopback. The kernel's clock goes on meanwhile: a test looks
//! again and again, with a bound, until it sees what it waits for.

#![allow(unreachable_pub, reason = "tools for the tests beside this file")]

mod auto;
mod cost;
mod datagrams;
mod lack;
mod listeners;
mod spoken;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use graceinit::config::Ports;
use graceinit::machine::drain::{Look, Moment, Rules};
use graceinit::sight::Eyes;
use graceinit::sys::clock;
use graceinit::types::{Pid, Time};

use crate::support::{Fault, Outcome, PATIENCE};

pub const RULES: Rules = Rules { idle: Duration::from_millis(300), owed: None };

/// Eyes on these ports.
pub fn eyes(ports: &[u16]) -> Eyes {
    Eyes::new(Ports::List(ports.to_vec()), RULES)
}

/// Eyes that have only /proc/net/tcp.
pub fn poor_eyes(ports: &[u16]) -> Eyes {
    Eyes::with(Ports::List(ports.to_vec()), RULES, false, Path::new("/proc"))
}

/// One look, after the delay and long before the end.
pub fn see(eyes: &mut Eyes, helpers: &[Pid]) -> Look {
    let now = clock::now();
    let moment = Moment { at: now.since(Time::default()), ..Moment::default() };
    eyes.look(now, moment, helpers)
}

/// Looks until it is as expected.
pub fn until(eyes: &mut Eyes, what: &str, expected: impl Fn(&Look) -> bool) -> Outcome<Look> {
    let begun = Instant::now();
    loop {
        let look = see(eyes, &[]);
        if expected(&look) {
            return Ok(look);
        }
        if begun.elapsed() > PATIENCE {
            return Err(Fault::new(format!("no look showed {what}, the last one was {look:?}")));
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

pub fn counts(look: &Look) -> (u32, u32, u32, u32) {
    (look.busy, look.owed, look.idle, look.queued)
}
