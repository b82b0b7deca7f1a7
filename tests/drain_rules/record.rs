//! Plays timetables over loopback and records what the kernel tells of the servers' ends. One thread
//! drives both ends of every connection: what is written arrives at once, is read at once, and a pause
//! is a time until which the thread waits in poll(2).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use graceinit::machine::connections::Reading;
use graceinit::sockets::reading;
use graceinit::sys::sockdiag::{Diag, Kind, Query, States};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::script::{Deed, Link};
use crate::support::sys::drop_all_that_comes;
use crate::support::{Fault, Outcome};

/// Samples are made so often.
const PERIOD: i64 = 100;
/// A slow client reads so often.
const PACE: i64 = 50;

/// What the kernel told of the servers' ends of one cast, and when.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub samples: Vec<(i64, Vec<Reading>)>,
    /// The latest deed was done so much too late.
    pub late: i64,
}

/// One connection that is played.
struct Played<'a> {
    link: &'a Link,
    cast: usize,
    client: Option<TcpStream>,
    server: Option<TcpStream>,
    to_server: usize,
    to_client: usize,
    reads: bool,
    closes: bool,
    /// The server has read the client's end.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    Open(usize),
    Deed(usize, usize),
    Pace(usize),
    Sample,
}

/// Plays all casts at once, each a list of connections; the recordings are in their order.
pub fn record(casts: &[Vec<Link>], begin: i64, end: i64) -> Outcome<Vec<Recording>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stage = Stage::new(casts, begin, &listener)?;
    let started = Instant::now();
    let now = || begin + i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX / 2);
    while let Some(Reverse((at, _, due))) = stage.due.peek().copied() {
        if at > end {
            break;
        }
        let wait = at - now();
        if wait > 0 {
            stage.wait(wait)?;
            continue;
        }
        stage.due.pop();
        stage.perform(at, due, &listener, now())?;
    }
    Ok(stage.recordings)
}

struct Stage<'a> {
    played: Vec<Played<'a>>,
    /// Of two at the same time, the first one is first.
    due: BinaryHeap<Reverse<(i64, u64, Due)>>,
    number: u64,
    casts: HashMap<u16, usize>,
    recordings: Vec<Recording>,
    diag: Diag,
    port: u16,
}

impl<'a> Stage<'a> {
    fn new(casts: &'a [Vec<Link>], begin: i64, listener: &TcpListener) -> Outcome<Stage<'a>> {
        let mut stage = Stage {
            played: Vec::new(),
            due: BinaryHeap::new(),
            number: 0,
            casts: HashMap::new(),
            recordings: vec![Recording::default(); casts.len()],
            diag: Diag::open()?,
            port: listener.local_addr()?.port(),
        };
        for (cast, links) in casts.iter().enumerate() {
            for link in links {
                let place = stage.played.len();
                stage.plan(link.opens.max(begin), Due::Open(place));
                for (number, (at, _)) in link.deeds.iter().enumerate() {
                    stage.plan((*at).max(begin), Due::Deed(place, number));
                }
                stage.played.push(Played {
                    link,
                    cast,
                    client: None,
                    server: None,
                    to_server: 0,
                    to_client: 0,
                    reads: true,
                    closes: false,
                    ended: false,
                });
            }
        }
        // A moment that is no deed's.
        stage.plan(PERIOD / 3, Due::Sample);
        Ok(stage)
    }

    fn plan(&mut self, at: i64, due: Due) {
        self.number += 1;
        self.due.push(Reverse((at, self.number, due)));
    }

    fn perform(&mut self, at: i64, due: Due, listener: &TcpListener, now: i64) -> Outcome {
        match due {
            Due::Open(place) => self.open(place, at, listener),
            Due::Deed(place, number) => {
                let recording = &mut self.recordings[self.played[place].cast];
                recording.late = recording.late.max(now - at);
                let deed = self.played[place].link.deeds[number].1;
                self.played[place].perform(deed)
            }
            Due::Pace(place) => {
                let played = &mut self.played[place];
                let most = played.link.pace.unwrap_or(0);
                let open = played.read_as_client(most)?;
                if open {
                    self.plan(at + PACE, Due::Pace(place));
                }
                Ok(())
            }
            Due::Sample => {
                self.sample(now)?;
                // One that is late does not make the next one late.
                let next = (now - at) / PERIOD + 1;
                self.plan(at + next * PERIOD, Due::Sample);
                Ok(())
            }
        }
    }

    fn open(&mut self, place: usize, at: i64, listener: &TcpListener) -> Outcome {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, peer) = listener.accept()?;
        if peer.port() != client.local_addr()?.port() {
            return Err(Fault::new("another client than ours"));
        }
        for end in [&client, &server] {
            end.set_nonblocking(true)?;
            end.set_nodelay(true)?;
        }
        let played = &mut self.played[place];
        self.casts.insert(peer.port(), played.cast);
        (played.client, played.server) = (Some(client), Some(server));
        if played.link.pace.is_some() {
            self.plan(at + PACE, Due::Pace(place));
        }
        Ok(())
    }

    fn sample(&mut self, now: i64) -> Outcome {
        for recording in &mut self.recordings {
            recording.samples.push((now, Vec::new()));
        }
        let Stage { diag, casts, recordings, port, .. } = self;
        let query =
            Query { kind: Kind::Tcp, states: States::CONNECTED, ports: &[*port], info: true };
        diag.ask(&query, |socket| {
            let Some(reading) = reading(socket) else { return };
            let cast = reading.peer.and_then(|peer| casts.get(&peer.port()));
            let recording = cast.and_then(|cast| recordings.get_mut(*cast));
            if let Some((_, readings)) = recording.and_then(|one| one.samples.last_mut()) {
                readings.push(reading);
            }
        })?;
        Ok(())
    }

    /// Waits until something comes, at most so long, and reads it.
    fn wait(&mut self, millis: i64) -> Outcome {
        let mut all = Vec::new();
        let mut whose = Vec::new();
        for (place, played) in self.played.iter().enumerate() {
            for (is_client, end) in [(true, &played.client), (false, &played.server)] {
                let pending = if is_client { played.to_server } else { played.to_client };
                let mut events = PollFlags::empty();
                events.set(PollFlags::POLLOUT, pending > 0);
                let reads = if is_client {
                    played.reads && played.link.pace.is_none()
                } else {
                    !played.ended
                };
                events.set(PollFlags::POLLIN, reads);
                if let Some(end) = end.as_ref().filter(|_| !events.is_empty()) {
                    all.push(PollFd::new(end.as_fd(), events));
                    whose.push((place, is_client));
                }
            }
        }
        let timeout = Duration::from_millis(millis.unsigned_abs());
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut all, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> =
            all.iter().map(|one| one.revents().is_some_and(|events| !events.is_empty())).collect();
        for ((place, is_client), _) in whose.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            self.played[place].serve(is_client)?;
        }
        Ok(())
    }
}

impl Played<'_> {
    fn perform(&mut self, deed: Deed) -> Outcome {
        match deed {
            Deed::Ask(bytes) => self.to_server += bytes,
            Deed::Say(bytes) => self.to_client += bytes,
            Deed::HalfClose => {
                if let Some(client) = &self.client {
                    client.shutdown(Shutdown::Write)?;
                }
            }
            Deed::Leave => self.client = None,
            Deed::Close => self.closes = true,
            Deed::StopReading => self.reads = false,
            Deed::Vanish => {
                if let Some(client) = &self.client {
                    drop_all_that_comes(client)?;
                }
            }
        }
        send(&mut self.client, &mut self.to_server)?;
        // What has come is read before the answer is written, and the other way round.
        if let Deed::Ask(_) = deed {
            self.serve(false)?;
        }
        send(&mut self.server, &mut self.to_client)?;
        if let Deed::Say(_) = deed {
            self.serve(true)?;
        }
        if self.closes && self.to_client == 0 {
            self.server = None;
        }
        Ok(())
    }

    fn serve(&mut self, is_client: bool) -> Outcome {
        if is_client {
            send(&mut self.client, &mut self.to_server)?;
            if self.reads && self.link.pace.is_none() {
                self.read_as_client(usize::MAX)?;
            }
        } else {
            send(&mut self.server, &mut self.to_client)?;
            // An app that has read the end keeps the connection open until it has answered.
            self.ended |= receive(&mut self.server, usize::MAX)?;
            if self.closes && self.to_client == 0 {
                self.server = None;
            }
        }
        Ok(())
    }

    fn read_as_client(&mut self, most: usize) -> Outcome<bool> {
        if receive(&mut self.client, most)? {
            self.client = None;
        }
        Ok(self.client.is_some())
    }
}

fn send(end: &mut Option<TcpStream>, pending: &mut usize) -> Outcome {
    static ROOM: [u8; 65_536] = [b'x'; 65_536];
    while *pending > 0 {
        let Some(stream) = end else { return Ok(()) };
        match stream.write(&ROOM[..ROOM.len().min(*pending)]) {
            Ok(written) => *pending -= written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The other end has gone.
            Err(_) => {
                *end = None;
                *pending = 0;
            }
        }
    }
    Ok(())
}

/// Reads what is there, and says whether that was all.
fn receive(end: &mut Option<TcpStream>, most: usize) -> Outcome<bool> {
    let mut room = [0; 65_536];
    let mut left = most;
    while left > 0 {
        let Some(stream) = end else { return Ok(false) };
        let size = room.len().min(left);
        match stream.read(&mut room[..size]) {
            Ok(0) => return Ok(true),
            Ok(read) => left -= read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(_) => *end = None,
        }
    }
    Ok(false)
}
