//! The loop of the observer: a bounded number of connections, each with a time limit.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use super::connection::{Connection, Limits};
use super::copy::{self, AccountCopy};
use super::health::{Health, Patience};
use super::routes::{self, View};
use super::snapshot::Snapshot;
use crate::account::document::Account;
use crate::sys::clock;
use crate::sys::dial::Checks;
use crate::sys::fd::Read;
use crate::sys::helper::{End, Sent};
use crate::sys::listen::{Accepted, Listener};
use crate::sys::poll::{self, Want};
use crate::types::Time;

/// The most connections that are accepted in one round, so that the others have their turn.
const ROUND: usize = 64;
/// The time until the next accept when there are no descriptors and no connection to close.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until PID 1 has ended. Begins with this snapshot and this account.
pub fn serve(
    listeners: &[Listener],
    link: &End,
    snapshot: Snapshot,
    account: Account,
    limits: Limits,
    checks: &Checks,
) {
    let server = Server {
        listeners,
        link,
        snapshot,
        copy: AccountCopy::new(account, clock::now()),
        // One byte more, for the kind of the message.
        message: vec![0; copy::LONGEST + 1],
        limits,
        health: Health::new(checks),
        connections: VecDeque::new(),
        paused: None,
        answered: 0,
        sent: 0,
        unsent: false,
    };
    server.run();
}

struct Server<'a> {
    listeners: &'a [Listener],
    link: &'a End,
    snapshot: Snapshot,
    copy: AccountCopy,
    message: Vec<u8>,
    limits: Limits,
    health: Health,
    connections: VecDeque<Connection>,
    /// Nothing is accepted until then.
    paused: Option<Time>,
    /// "Not ready" answers since the stop request, and the number that was sent to PID 1 last.
    answered: u32,
    sent: u32,
    /// The last message to PID 1 found no room.
    unsent: bool,
}

impl Server<'_> {
    fn run(mut self) {
        loop {
            self.send_count();
            let ready = self.wait_for_events();
            let now = clock::now();
            if !self.receive() {
                return;
            }
            self.health.turn(now);
            self.turns(now, &ready);
            self.accept(now);
        }
    }

    /// Waits for an event. Returns which of the connections are ready.
    fn wait_for_events(&mut self) -> Vec<bool> {
        let now = clock::now();
        self.paused = self.paused.filter(|until| *until > now);
        let deadlines = self.connections.iter().map(|client| client.deadline(&self.limits));
        let until = deadlines.chain(self.paused).chain(self.health.deadline()).min();
        let link = (self.link.as_fd(), if self.unsent { Want::Both } else { Want::Read });
        let mut fds: Vec<_> = self.connections.iter().map(Connection::wants).collect();
        fds.push(link);
        fds.extend(self.health.fds());
        if self.paused.is_none() {
            fds.extend(self.listeners.iter().map(|listener| (listener.as_fd(), Want::Read)));
        }
        poll::wait_for(&fds, until, now)
    }

    /// Takes the messages of PID 1, of which the last counts. False if PID 1 has ended.
    fn receive(&mut self) -> bool {
        loop {
            match self.link.receive(&mut self.message) {
                Read::Bytes(count) => {
                    let message = &self.message[..count];
                    self.copy.take(message, clock::now());
                    if let Some(snapshot) = Snapshot::read(message) {
                        if snapshot.stopping && !self.snapshot.stopping {
                            (self.answered, self.sent) = (0, 0);
                        }
                        self.snapshot = snapshot;
                    }
                }
                Read::Empty => return true,
                Read::End => return false,
            }
        }
    }

    fn send_count(&mut self) {
        if self.answered != self.sent {
            let sent = self.link.send(&self.answered.to_ne_bytes());
            self.unsent = sent == Sent::Full;
            if sent == Sent::Yes {
                self.sent = self.answered;
            }
        }
    }

    fn turns(&mut self, now: Time, ready: &[bool]) {
        let clients = self.connections.len();
        for client in 0..clients {
            let Some(mut connection) = self.connections.pop_front() else { return };
            let is_ready = ready.get(client) == Some(&true);
            let keep = match (is_ready, connection.waits_for_check()) {
                // Nothing but the end of the client wakes it.
                (true, true) => false,
                (true, false) => self.turn(&mut connection, now, Patience::Asks),
                (false, true) => self.turn(&mut connection, now, Patience::Waited),
                (false, false) => true,
            };
            if keep && connection.deadline(&self.limits) > now {
                self.connections.push_back(connection);
            }
        }
    }

    /// `patience`: of the first request that is answered.
    fn turn(&mut self, connection: &mut Connection, now: Time, mut patience: Patience) -> bool {
        let turn = connection.turn(now, &mut |request| {
            // A request that came after a message of PID 1 must not be answered from an older one.
            self.receive();
            let now = clock::now();
            let next = if patience == Patience::None { patience } else { Patience::Asks };
            let patience = std::mem::replace(&mut patience, next);
            if let Some(which) = routes::asks(&request.path, &self.snapshot) {
                if !self.health.is_known(which, now, patience) {
                    return None;
                }
            }
            let Server { snapshot, copy, health, .. } = self;
            let mut view = View { snapshot, copy, health, accept: &request.accept, now };
            Some(routes::answer(&request.method, &request.path, &mut view))
        });
        self.answered = self.answered.saturating_add(turn.counted);
        turn.keep
    }

    fn accept(&mut self, now: Time) {
        if self.paused.is_some() {
            return;
        }
        for listener in self.listeners {
            let local = listener.is_loopback();
            for _ in 0..ROUND {
                match listener.accept() {
                    Accepted::Stream(stream) => {
                        // Most clients have sent their request already, and are answered without taking up a place.
                        let mut connection = Connection::new(stream, local, now);
                        if self.turn(&mut connection, now, Patience::Asks) {
                            if self.connections.len() >= self.limits.connections {
                                self.close_slowest(now);
                            }
                            self.connections.push_back(connection);
                        }
                    }
                    Accepted::Gone => {}
                    Accepted::Empty => break,
                    Accepted::Scarce if self.close_slowest(now) => {}
                    Accepted::Scarce => {
                        self.paused = Some(now.after(PAUSE));
                        return;
                    }
                }
            }
        }
    }

    /// Closes the connection that has made no progress for the longest time, after answering a request that has arrived
    /// meanwhile. False if there is none.
    fn close_slowest(&mut self, now: Time) -> bool {
        // A client that waits until the app was asked is not slow: it goes last, and learns what is known.
        let slowest = (0..self.connections.len()).min_by_key(|at| {
            let connection = &self.connections[*at];
            (connection.waits_for_check(), connection.since())
        });
        let Some(mut connection) = slowest.and_then(|at| self.connections.remove(at)) else {
            return false;
        };
        self.turn(&mut connection, now, Patience::None);
        true
    }
}
