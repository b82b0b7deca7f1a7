//! Plays timetables over loopback and records what the kernel tells of the servers' ends. One thread
//! drives both ends of every connection: what is written arrives at once, is read at once, and a pause
//! is a time until which the thread waits in poll(2). Over a network with a round trip (`delay`), each end does what it
//! does once everything has arrived that the other one has said before.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use graceinit::machine::connections::Reading;
use graceinit::sockets::reading;
use graceinit::sys::sockdiag::{Diag, Kind, Query, States};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::delay::{HERE, THERE};
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
    /// The next deed.
    next: usize,
    /// What was said, and what has arrived of it.
    asked: usize,
    heard: usize,
    said: usize,
    got: usize,
    /// The client has no connection yet.
    connects: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    Open(usize),
    Deed(usize, usize),
    Pace(usize),
    Sample,
}

/// What the connections go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The loopback device: what is written has arrived.
    Loopback,
    /// The network of `delay`, which the calling thread is in.
    Far,
}

/// A deed waits no longer than that for what the other end has said.
const PATIENCE: i64 = 500;
/// How often it is looked whether it has arrived.
const LOOK: i64 = 5;

/// Plays all casts at once, each a list of connections; the recordings are in their order.
pub fn record(casts: &[Vec<Link>], begin: i64, end: i64, way: Way) -> Outcome<Vec<Recording>> {
    let here = if way == Way::Far { HERE } else { Ipv4Addr::LOCALHOST };
    let listener = TcpListener::bind((here, 0))?;
    listener.set_nonblocking(way == Way::Far)?;
    let mut stage = Stage::new(casts, begin, &listener, way)?;
    let started = Instant::now();
    let now = || begin + i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX / 2);
    while let Some(Reverse((at, _, due))) = stage.due.peek().copied() {
        if at > end {
            break;
        }
        let wait = at - now();
        if way == Way::Far {
            stage.connect(&listener)?;
        }
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
    way: Way,
    /// Clients that have connected, and servers' ends whose client is not known yet.
    connected: (Sender<Connected>, Receiver<Connected>),
    accepted: HashMap<u16, TcpStream>,
    /// Whose client has this port.
    clients: HashMap<u16, usize>,
}

type Connected = (usize, std::io::Result<TcpStream>);

impl<'a> Stage<'a> {
    fn new(
        casts: &'a [Vec<Link>],
        begin: i64,
        listener: &TcpListener,
        way: Way,
    ) -> Outcome<Stage<'a>> {
        let mut stage = Stage {
            played: Vec::new(),
            due: BinaryHeap::new(),
            number: 0,
            casts: HashMap::new(),
            recordings: vec![Recording::default(); casts.len()],
            diag: Diag::open()?,
            port: listener.local_addr()?.port(),
            way,
            connected: channel(),
            accepted: HashMap::new(),
            clients: HashMap::new(),
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
                    next: 0,
                    asked: 0,
                    heard: 0,
                    said: 0,
                    got: 0,
                    connects: way == Way::Far,
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
            Due::Deed(place, number)
                if self.way == Way::Far
                    && now - at < PATIENCE
                    && !self.played[place].may(number) =>
            {
                self.number += 1;
                let due = Reverse((now + LOOK, self.number, Due::Deed(place, number)));
                self.due.push(due);
                Ok(())
            }
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
        if self.way == Way::Far {
            let (sender, port) = (self.connected.0.clone(), self.port);
            std::thread::spawn(move || sender.send((place, TcpStream::connect((THERE, port)))));
            if self.played[place].link.pace.is_some() {
                self.plan(at + PACE, Due::Pace(place));
            }
            return Ok(());
        }
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

    /// Takes the connections that have been made.
    fn connect(&mut self, listener: &TcpListener) -> Outcome {
        while let Ok((place, client)) = self.connected.1.try_recv() {
            let client = client?;
            client.set_nonblocking(true)?;
            client.set_nodelay(true)?;
            let port = client.local_addr()?.port();
            let played = &mut self.played[place];
            self.casts.insert(port, played.cast);
            self.clients.insert(port, place);
            (played.client, played.connects) = (Some(client), false);
        }
        loop {
            match listener.accept() {
                Ok((server, peer)) => {
                    server.set_nonblocking(true)?;
                    server.set_nodelay(true)?;
                    self.accepted.insert(peer.port(), server);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let Stage { accepted, clients, played, .. } = self;
        let known: Vec<u16> =
            accepted.keys().copied().filter(|port| clients.contains_key(port)).collect();
        for port in known {
            if let Some((server, place)) = accepted.remove(&port).zip(clients.get(&port)) {
                played[*place].server = Some(server);
            }
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
        let most = if self.way == Way::Far { LOOK } else { millis };
        let timeout = Duration::from_millis(millis.min(most).unsigned_abs());
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
    /// Whether everything has arrived that this deed comes after.
    fn may(&self, number: usize) -> bool {
        if self.connects || self.server.is_none() && self.next == 0 {
            return false;
        }
        let arrived = match self.link.deeds.get(number) {
            Some((_, Deed::Say(_) | Deed::Close)) => self.asked <= self.heard,
            // A client that reads slowly, or not at all, does not wait for what it has not read.
            Some(_) => self.link.pace.is_some() || !self.reads || self.said <= self.got,
            None => true,
        };
        self.next == number && arrived
    }

    fn perform(&mut self, deed: Deed) -> Outcome {
        self.next += 1;
        match deed {
            Deed::Ask(bytes) => {
                self.to_server += bytes;
                self.asked += bytes;
            }
            Deed::Say(bytes) => {
                self.to_client += bytes;
                self.said += bytes;
            }
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
            self.ended |= receive(&mut self.server, usize::MAX, &mut self.heard)?;
            if self.closes && self.to_client == 0 {
                self.server = None;
            }
        }
        Ok(())
    }

    fn read_as_client(&mut self, most: usize) -> Outcome<bool> {
        if receive(&mut self.client, most, &mut self.got)? {
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

/// Reads what is there, counts it, and says whether that was all.
fn receive(end: &mut Option<TcpStream>, most: usize, count: &mut usize) -> Outcome<bool> {
    let mut room = [0; 65_536];
    let mut left = most;
    while left > 0 {
        let Some(stream) = end else { return Ok(false) };
        let size = room.len().min(left);
        match stream.read(&mut room[..size]) {
            Ok(0) => return Ok(true),
            Ok(read) => {
                left -= read;
                *count += read;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(_) => *end = None,
        }
    }
    Ok(false)
}
