//! What the tests of real servers share: a launch with a profile and one without, free addresses, and
//! a piece of work that is held in the middle until the test lets it finish.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::ensure;
pub(super) use crate::support::client::Client;
use crate::support::{Launch, Outcome, PATIENCE, Program, Room, proc};

/// What every answer that is held begins with, and what it ends with.
pub(super) const FIRST: &str = "first";
pub(super) const LATER: &str = "later";

/// graceinit as PID 1 with a profile; the budget is much longer than the work in flight, or short for
/// work that never ends.
pub(super) fn with_profile(name: &str, grace: &str) -> Launch {
    // No scope is named: it would count more than the profile's.
    let launch = Launch::new(Program::Graceinit, Room::PidNs).flags("--grace").words([grace]);
    launch.flag("--profile", name)
}

/// graceinit as PID 1 with a budget and nothing else: the app's group is sent what graceinit got.
pub(super) fn without(grace: &str) -> Launch {
    Launch::new(Program::Graceinit, Room::PidNs).flags("--scope group --grace").words([grace])
}

/// A free port on an address of this process's own, so that nobody takes it before the server does; not
/// twice the same, for tests that run side by side.
pub(crate) fn free_address() -> Outcome<SocketAddrV4> {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    // A pid has 22 bits at most.
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 + a, b, c.max(1));
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    proc::poll("a free port", || {
        let port = TcpListener::bind((ip, 0)).ok()?.local_addr().ok()?.port();
        let new = !given.contains(&port);
        new.then(|| {
            given.push(port);
            SocketAddrV4::new(ip, port)
        })
    })
}

/// A connection, as soon as somebody listens there.
pub(super) fn connect(address: SocketAddrV4) -> Outcome<TcpStream> {
    let client = proc::poll("a connection", || TcpStream::connect(address).ok())?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}

/// Waits until nobody listens there any more.
pub(super) fn until_refused(address: SocketAddrV4) -> Outcome {
    proc::poll("the end of listening", || {
        let refused = TcpStream::connect(address).err()?;
        (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
    })
}

/// The program of the highest version, where the distribution has each under a path of its own: that
/// version stands between `start` and `end`.
pub(super) fn by_version(start: &str, end: &str) -> Option<PathBuf> {
    let (dir, name) = start.rsplit_once('/')?;
    let version = |entry: &std::fs::DirEntry| -> Option<f64> {
        entry.file_name().to_str()?.strip_prefix(name)?.parse().ok()
    };
    std::fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let mut path = entry.path().into_os_string();
            path.push(end);
            let path = PathBuf::from(path);
            Some((version(&entry)?, path.exists().then_some(path)?))
        })
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, path)| path)
}

/// The answer to a request, some of which has arrived.
pub(super) struct Answer {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Answer {
    /// Sends a request and waits until the answer has begun.
    pub(super) fn begun(mut stream: TcpStream, request: &[u8]) -> Outcome<Answer> {
        stream.write_all(request)?;
        let mut answer = Answer { stream, got: Vec::new() };
        answer.until(FIRST)?;
        Ok(answer)
    }

    fn has(&self, text: &str) -> bool {
        self.got.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn until(&mut self, text: &str) -> Outcome {
        let mut buffer = [0; 4096];
        while !self.has(text) {
            let n = self.stream.read(&mut buffer)?;
            let so_far = String::from_utf8_lossy(&self.got);
            ensure!(n > 0, "the answer ended before {text:?}: {so_far:?}");
            self.got.extend_from_slice(&buffer[..n]);
        }
        Ok(())
    }

    /// Reads to the end: `whole`, or `cut off`.
    pub(super) fn end(mut self) -> Outcome<&'static str> {
        match self.stream.read_to_end(&mut self.got) {
            Ok(_) => {}
            // Cut off with bytes on their way.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error.into()),
        }
        Ok(if self.has(LATER) { "whole" } else { "cut off" })
    }
}

/// The plainest request.
pub(super) const REQUEST: &[u8] = b"GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A server behind the server under test. It answers the first half, and the rest when it is told.
pub(super) struct Upstream(TcpListener);

impl Upstream {
    pub(super) fn new() -> Outcome<Upstream> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // A server that never asks must not hold the test for ever.
        listener.set_nonblocking(true)?;
        Ok(Upstream(listener))
    }

    pub(super) fn address(&self) -> Outcome<String> {
        Ok(self.0.local_addr()?.to_string())
    }

    /// A request through the proxy at `proxy`, answered by half.
    pub(super) fn held_request(&self, proxy: SocketAddrV4) -> Outcome<(Answer, Held)> {
        let mut client = connect(proxy)?;
        client.write_all(REQUEST)?;
        let (mut here, _) = proc::poll("a request from the proxy", || self.0.accept().ok())?;
        here.set_nonblocking(false)?;
        here.set_read_timeout(Some(PATIENCE))?;
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            let n = here.read(&mut buffer)?;
            ensure!(n > 0, "the proxy's request ended early");
            request.extend_from_slice(&buffer[..n]);
        }
        let length = FIRST.len() + LATER.len();
        write!(
            here,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{FIRST}"
        )?;
        let mut answer = Answer { stream: client, got: Vec::new() };
        answer.until(FIRST)?;
        Ok((answer, Held(here)))
    }
}

/// The other half of an answer.
pub(super) struct Held(TcpStream);

impl Held {
    /// Sends it.
    pub(super) fn release(mut self) -> Outcome {
        Ok(self.0.write_all(LATER.as_bytes())?)
    }
}
