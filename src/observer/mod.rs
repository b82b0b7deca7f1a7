//! The observer: a process of its own that answers what the network asks. PID 1 tells it how things
//! are and parses nothing that comes from outside.
//!
//! PID 1 opens the sockets and keeps them. While the observer is dead, connections wait in the
//! backlog; a new one goes on with the last snapshot and the account, which it has in its copy of PID
//! 1's memory.

mod connection;
mod http;
mod processes;
mod routes;
mod server;
mod shown;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

pub use crate::sys::listen::{Address, Listener};
pub use server::{Limits, serve};
pub use snapshot::Snapshot;

use crate::account::account::Account;
use crate::account::incident::Incident;
use crate::account::{journal, report};
use crate::sys::clock;
use crate::sys::fd::Read;
use crate::sys::helper::{End, Given, Helper, Sent};
use crate::sys::poll::Want;
use crate::types::{Pid, Time};

/// It is started at most once in so long, and if it dies young again and again, in twice as long each
/// time.
const PAUSE: Duration = Duration::from_millis(100);
/// Up to this: probes are answered again within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(900);
/// An observer that lived so long did not die young.
const ADULT: Duration = Duration::from_secs(10);
/// Its socket ends a moment before it can be reaped. So long until another look, then twice as long.
const DYING: Duration = Duration::from_millis(1);
/// At the very end it is waited for, but not for longer than this.
const LEAVING: Duration = Duration::from_millis(100);
/// So many messages are taken in one round. There is one per answered probe at most.
const ROUND: usize = 64;
/// The account is shown at most once in so long, except where phase or readiness change.
const BETWEEN: Duration = Duration::from_millis(100);
/// While so much of what it was told is untaken, it is not shown the account: snapshots, which are
/// small and must not wait, find the queue (of ten messages; net.unix.max_dgram_qlen) nearly empty.
const UNTAKEN: usize = 4096;
/// A document of this size fits into any socket's buffer.
const SHORT: usize = 2048;

/// PID 1's side: starts the observer, feeds it, and starts it again. Never waits, never fails.
pub struct Observer {
    listeners: Vec<Listener>,
    user: Option<(u32, u32)>,
    limits: Limits,
    snapshot: Snapshot,
    /// Of which state of the journal it was shown the account last.
    shown: u64,
    /// Not shown again before.
    next: Time,
    /// How long a document may be.
    longest: usize,
    state: State,
    /// Not started again before.
    earliest: Time,
    pause: Duration,
    /// That it cannot be started was said.
    complained: bool,
    /// How many "not ready" answers former observers had counted, and the present one.
    answered: (u32, u32),
}

enum State {
    /// There is none.
    Down,
    /// There is one.
    Up {
        child: Helper,
        link: End,
        since: Time,
        /// It does not know the last snapshot: there was no room.
        stale: bool,
    },
    /// It was killed or has ended, and was not reaped yet.
    Dying { child: Helper, next: Time, pause: Duration },
    /// Nobody needs it any more.
    Closed,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

impl Observer {
    /// For these sockets, to run as this user and group (nobody, if graceinit is root). Starts nothing
    /// yet.
    pub fn new(listeners: Vec<Listener>, user: Option<(u32, u32)>) -> Observer {
        Observer {
            listeners,
            user,
            limits: Limits::default(),
            snapshot: Snapshot::default(),
            shown: 0,
            next: Time::default(),
            longest: shown::LONGEST,
            state: State::Down,
            earliest: Time::default(),
            pause: PAUSE,
            complained: false,
            answered: (0, 0),
        }
    }

    /// Starts it if there is none and it is time to, first of all before the app is started. Without
    /// sockets there is nothing to observe.
    pub fn ensure(&mut self, now: Time) {
        if let State::Dying { child, next, pause } = &mut self.state {
            if now < *next {
                return;
            }
            match child.reap() {
                Some(status) => {
                    journal::incident(&Incident::ObserverEnded { status });
                    self.state = State::Down;
                }
                None => {
                    *pause = (*pause * 2).min(PAUSE);
                    *next = now.after(*pause);
                }
            }
        }
        if matches!(self.state, State::Down) && !self.listeners.is_empty() && now >= self.earliest {
            self.start(now);
        }
    }

    fn start(&mut self, now: Time) {
        self.earliest = now.after(self.pause);
        match self.spawn() {
            Ok((child, link)) => {
                self.complained = false;
                // It began with the account as it is.
                self.shown = journal::changes();
                self.next = now.after(BETWEEN);
                self.longest = shown::LONGEST;
                self.state = State::Up { child, link, since: now, stale: false };
            }
            Err(error) => {
                if !self.complained {
                    journal::warn(format!(
                        "unable to start the observer: {error}; nothing is answered until a later try"
                    ));
                }
                self.complained = true;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn spawn(&self) -> std::io::Result<(Helper, End)> {
        let (ours, theirs) = End::pair()?;
        // Room for a document, snapshots beside it, and what the kernel needs for keeping them.
        ours.make_room(4 * shown::LONGEST as i32);
        let mut keep: Vec<BorrowedFd<'_>> = self.listeners.iter().map(AsFd::as_fd).collect();
        keep.push(theirs.as_fd());
        let given = Given {
            name: c"graceinit-obs",
            user: self.user,
            trusted: false,
            keep: &keep,
            // Besides those that it keeps and stdio: one that is accepted before another is closed, and
            // two for a look at /proc.
            files: (self.limits.connections + keep.len() + 6) as u64,
        };
        let work = || {
            let account = journal::read(Account::clone).unwrap_or_default();
            serve(&self.listeners, &theirs, self.snapshot.clone(), account, self.limits);
            0
        };
        Ok((Helper::start(&given, &work)?, ours))
    }

    /// When `ensure` has something to do.
    pub fn due(&self) -> Option<Time> {
        match &self.state {
            State::Down if !self.listeners.is_empty() => Some(self.earliest),
            State::Dying { next, .. } => Some(*next),
            State::Up { .. } => (journal::changes() != self.shown).then_some(self.next),
            State::Down | State::Closed => None,
        }
    }

    /// Tells it how things are. The last word counts: what finds no room is sent again when there is
    /// some, unless it is out of date by then.
    pub fn publish(&mut self, snapshot: &Snapshot) {
        if *snapshot == self.snapshot {
            return;
        }
        if snapshot.stopping && !self.snapshot.stopping {
            self.answered = (0, 0);
        }
        self.snapshot = snapshot.clone();
        self.send();
        // What follows from it is to be seen at once.
        self.next = Time::default();
    }

    fn send(&mut self) {
        if let State::Up { child, link, stale, .. } = &mut self.state {
            match link.send(&self.snapshot.message()) {
                Sent::Yes => *stale = false,
                Sent::Full => *stale = true,
                // The next one begins with this snapshot.
                Sent::Lost | Sent::TooLong => child.kill(),
            }
        }
    }

    /// Shows it the account, if that has changed and it is time to. Once per round of the main loop,
    /// after all else.
    pub fn feed(&mut self) {
        let changes = journal::changes();
        if changes == self.shown || !matches!(self.state, State::Up { .. }) {
            return;
        }
        let now = clock::now();
        if now < self.next {
            return;
        }
        if self.is_behind() {
            self.next = now.after(BETWEEN);
            return;
        }
        if let Some(document) = journal::read(|account| report::fit(account, self.longest)) {
            if self.show(document, now) {
                self.shown = changes;
            }
        }
    }

    /// It has not taken what it was sent before.
    fn is_behind(&self) -> bool {
        matches!(&self.state, State::Up { link, .. } if link.untaken() > UNTAKEN)
    }

    /// Shows it a document. Whether no more is to be done about it; else it is to be shown (as it is
    /// by then) when it is [`Observer::due`].
    fn show(&mut self, mut document: Vec<u8>, now: Time) -> bool {
        self.next = now.after(BETWEEN);
        if self.is_behind() {
            return false;
        }
        let State::Up { link, .. } = &self.state else { return true };
        document.insert(0, shown::KIND);
        match link.send(&document) {
            Sent::Yes => true,
            // That it has gone is seen elsewhere; of memory there may be more later.
            Sent::Full | Sent::Lost => false,
            // As much as fits (net.core.wmem_max may be small); less than all is better than none.
            Sent::TooLong => {
                let shortest = self.longest <= SHORT;
                self.longest = (self.longest / 2).max(SHORT);
                shortest
            }
        }
    }

    /// After a SIGCHLD: lets the observer go on if somebody has stopped it.
    pub fn resume(&self) {
        if let State::Up { child, .. } = &self.state {
            if child.resume() {
                journal::warn("the observer was stopped by a signal; it goes on");
            }
        }
    }

    /// What the main loop waits for.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Want)> {
        let link = match &self.state {
            State::Up { link, stale: false, .. } => Some((link.as_fd(), Want::Read)),
            State::Up { link, stale: true, .. } => Some((link.as_fd(), Want::Both)),
            State::Down | State::Dying { .. } | State::Closed => None,
        };
        link.into_iter()
    }

    /// Every descriptor that belongs to it in PID 1.
    pub fn owned(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(AsFd::as_fd).chain(self.fds().map(|(fd, _)| fd))
    }

    /// Takes what the observer says, and sees its end. How many probes were answered "not ready"
    /// since the snapshot that said `stopping`, if that is news.
    pub fn read(&mut self, now: Time) -> Option<u32> {
        let State::Up { link, stale, .. } = &self.state else { return None };
        let stale = *stale;
        let before = self.answered;
        let mut ended = false;
        let mut message = [0; 5];
        for _ in 0..ROUND {
            match link.receive(&mut message) {
                // Of four bytes; nothing else is ever sent, and nothing else is understood.
                Read::Bytes(4) => {
                    let [a, b, c, d, _] = message;
                    self.answered.1 = u32::from_ne_bytes([a, b, c, d]);
                }
                Read::Bytes(_) => {}
                Read::Empty => break,
                Read::End => {
                    ended = true;
                    break;
                }
            }
        }
        let news = self.answered != before;
        if ended {
            self.ended(now);
        } else if stale {
            self.send();
        }
        news.then(|| self.answered.0.saturating_add(self.answered.1))
    }

    fn ended(&mut self, now: Time) {
        if let State::Up { child, since, .. } = std::mem::replace(&mut self.state, State::Down) {
            // It may have closed its socket and live on.
            child.kill();
            self.answered = (self.answered.0.saturating_add(self.answered.1), 0);
            let young = now.since(since) < ADULT;
            self.pause = if young { (self.pause * 2).min(LONGEST_PAUSE) } else { PAUSE };
            self.state = State::Dying { child, next: now, pause: DYING };
            self.ensure(now);
        }
    }

    /// Its pid while it is not reaped: what is sent to the whole tree spares it, and it is no leftover.
    pub fn pid(&self) -> Option<Pid> {
        match &self.state {
            State::Up { child, .. } | State::Dying { child, .. } => Some(child.pid()),
            State::Down | State::Closed => None,
        }
    }

    /// For the very end: no answer any more, no process, no socket's file.
    pub fn close(&mut self) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Up { child, link, .. } => {
                // It goes when this does, and root without CAP_KILL may not kill it.
                drop(link);
                child.end(LEAVING);
            }
            State::Dying { child, .. } => child.end(LEAVING),
            State::Down | State::Closed => {}
        }
        for mut listener in self.listeners.drain(..) {
            listener.remove_file();
        }
    }
}
