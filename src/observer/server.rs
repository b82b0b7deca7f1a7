//! The observer's own loop: a bounded number of connections, each with a deadline. Without any it
//! waits for ever.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use super::connection::Connection;
use super::routes::{self, View};
use super::shown::{self, Shown};
use super::snapshot::Snapshot;
use crate::account::account::Account;
use crate::sys::clock;
use crate::sys::fd::Read;
use crate::sys::helper::{End, Sent};
use crate::sys::listen::{Accepted, Listener};
use crate::sys::poll::{self, Want};
use crate::types::Time;

/// How much a client may ask of us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many connections at a time. One more, and the one that is at the same thing for the longest
    /// time has to go: a limit that refuses the newest would let slow clients keep probes out.
    pub connections: usize,
    /// A request has to be complete after so long.
    pub request: Duration,
    /// The next one has to begin after so long.
    pub idle: Duration,
    /// An answer has to be taken in so long.
    pub answer: Duration,
    /// After the last answer the client has so long to close.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 64,
            request: Duration::from_secs(5),
            // More than the ten seconds between two probes of a kubelet.
            idle: Duration::from_secs(20),
            answer: Duration::from_secs(5),
            farewell: Duration::from_secs(1),
        }
    }
}

/// So many connections are accepted in one round, then the others have their turn.
const ROUND: usize = 64;
/// When there is no descriptor and nobody to part from, so long until the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until PID 1 has gone. Begins with what is known already.
pub fn serve(
    listeners: &[Listener],
    link: &End,
    snapshot: Snapshot,
    account: Account,
    limits: Limits,
) {
    let server = Server {
        listeners,
        link,
        snapshot,
        shown: Shown::new(account, clock::now()),
        // One byte says of what kind a message is.
        message: vec![0; shown::LONGEST + 1],
        limits,
        connections: VecDeque::new(),
        paused: None,
        answered: 0,
        told: 0,
        unheard: false,
    };
    server.run();
}

struct Server<'a> {
    listeners: &'a [Listener],
    link: &'a End,
    snapshot: Snapshot,
    shown: Shown,
    message: Vec<u8>,
    limits: Limits,
    connections: VecDeque<Connection>,
    /// Nothing is accepted until then.
    paused: Option<Time>,
    /// "Not ready" answers since the stop request, and how many PID 1 was told of.
    answered: u32,
    told: u32,
    /// PID 1 had no room for the last message.
    unheard: bool,
}

impl Server<'_> {
    fn run(mut self) {
        loop {
            self.tell();
            let news = self.await_news();
            let now = clock::now();
            if !self.hear() {
                return;
            }
            self.turns(now, &news);
            self.accept(now);
        }
    }

    /// Until something happens. Which of the connections have news.
    fn await_news(&mut self) -> Vec<bool> {
        let now = clock::now();
        self.paused = self.paused.filter(|until| *until > now);
        let deadlines = self.connections.iter().map(|client| client.deadline(&self.limits));
        let until = deadlines.chain(self.paused).min();
        let link = (self.link.as_fd(), if self.unheard { Want::Both } else { Want::Read });
        let mut fds: Vec<_> = self.connections.iter().map(Connection::wants).collect();
        fds.push(link);
        if self.paused.is_none() {
            fds.extend(self.listeners.iter().map(|listener| (listener.as_fd(), Want::Read)));
        }
        poll::wait_for(&fds, until, now)
    }

    /// Takes what PID 1 says; the last word counts. Whether it is still there.
    fn hear(&mut self) -> bool {
        loop {
            match self.link.receive(&mut self.message) {
                Read::Bytes(count) => {
                    let message = &self.message[..count];
                    self.shown.take(message, clock::now());
                    if let Some(snapshot) = Snapshot::read(message) {
                        if snapshot.stopping && !self.snapshot.stopping {
                            (self.answered, self.told) = (0, 0);
                        }
                        self.snapshot = snapshot;
                    }
                }
                Read::Empty => return true,
                Read::End => return false,
            }
        }
    }

    fn tell(&mut self) {
        if self.answered != self.told {
            let sent = self.link.send(&self.answered.to_ne_bytes());
            self.unheard = sent == Sent::Full;
            if sent == Sent::Yes {
                self.told = self.answered;
            }
        }
    }

    fn turns(&mut self, now: Time, news: &[bool]) {
        let clients = self.connections.len();
        for client in 0..clients {
            let Some(mut connection) = self.connections.pop_front() else { return };
            let keep = match news.get(client) {
                Some(true) => self.turn(&mut connection, now),
                _ => true,
            };
            if keep && connection.deadline(&self.limits) > now {
                self.connections.push_back(connection);
            }
        }
    }

    fn turn(&mut self, connection: &mut Connection, now: Time) -> bool {
        let turn = connection.turn(now, &mut |request| {
            // A question that came after PID 1 had spoken is not answered from before.
            self.hear();
            let (snapshot, shown, accept) = (&self.snapshot, &mut self.shown, &request.accept);
            let mut view = View { snapshot, shown, accept, now: clock::now() };
            routes::answer(&request.method, &request.path, &mut view)
        });
        self.answered = self.answered.saturating_add(turn.counted);
        turn.keep
    }

    fn accept(&mut self, now: Time) {
        if self.paused.is_some() {
            return;
        }
        for listener in self.listeners {
            for _ in 0..ROUND {
                match listener.accept() {
                    Accepted::Stream(stream) => {
                        // Most have sent their request before we look, and have their answer before
                        // there is any contest for a place.
                        let mut connection = Connection::new(stream, now);
                        if self.turn(&mut connection, now) {
                            if self.connections.len() >= self.limits.connections {
                                self.part(now);
                            }
                            self.connections.push_back(connection);
                        }
                    }
                    Accepted::Gone => {}
                    Accepted::Empty => break,
                    Accepted::Scarce if self.part(now) => {}
                    Accepted::Scarce => {
                        self.paused = Some(now.after(PAUSE));
                        return;
                    }
                }
            }
        }
    }

    /// Parts from the connection that is at the same thing for the longest time. If its request has
    /// arrived meanwhile, it is answered. Whether there was one.
    fn part(&mut self, now: Time) -> bool {
        let longest = (0..self.connections.len()).min_by_key(|at| self.connections[*at].since());
        let Some(mut connection) = longest.and_then(|at| self.connections.remove(at)) else {
            return false;
        };
        self.turn(&mut connection, now);
        true
    }
}
