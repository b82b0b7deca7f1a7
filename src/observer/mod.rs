//! The observer: a process of its own that answers HTTP requests, so that PID 1 parses nothing that comes from the
//! network. PID 1 sends it snapshots and the account.
//!
//! PID 1 opens the sockets and keeps them. The first connection starts the observer, so a life in which no client asks
//! needs none. While the observer is dead, connections wait in the backlog; a new one begins with the last snapshot and
//! the account, which are in its copy of PID 1's memory.

pub mod accept;
mod connection;
mod copy;
pub mod health;
pub mod http;
mod processes;
mod routes;
mod server;
pub mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

pub use crate::sys::listen::{Address, Listener};
pub use connection::Limits;
pub use server::serve;
pub use snapshot::Snapshot;

use crate::account::document::Account;
use crate::account::incident::Incident;
use crate::account::{journal, report};
use crate::sys::dial::Checks;
use crate::sys::fd::Read;
use crate::sys::helper::{self, Descriptors, End, Given, Helper, Sent};
use crate::sys::poll::{self, Want};
use crate::sys::{clock, process, safe_path};
use crate::types::{Pid, Time};

/// The time between two starts, doubled each time an observer dies young.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest time between two starts: probes are answered again within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(900);
/// An observer that lived this long did not die young.
const ADULT: Duration = Duration::from_secs(10);
/// Its socket closes a moment before it can be reaped. The time until the next attempt to reap it, doubled each time.
const DYING: Duration = Duration::from_millis(1);
/// An observer that has not taken its messages for this long hangs.
const HANGS: Duration = Duration::from_secs(5);
/// The longest wait for its end when graceinit exits.
const LEAVING: Duration = Duration::from_millis(100);
/// The most messages that are taken in one round. There is at most one per answered probe.
const ROUND: usize = 64;
/// The time between two sendings of the account, unless phase or readiness change.
const BETWEEN: Duration = Duration::from_millis(100);
/// While this many bytes wait in its socket, the account is not sent: snapshots must not wait, and so find the queue
/// (of ten messages; net.unix.max_dgram_qlen) nearly empty.
const UNTAKEN: usize = 4096;
/// The size of a document that fits into any socket's buffer.
const SHORT: usize = 2048;

/// The message of an observer that could not give up the user root.
const STILL_ROOT: [u8; 1] = [0];

/// PID 1's side: starts the observer, sends it the state, and restarts it. Never waits, never fails.
pub struct Observer {
    listeners: Vec<Listener>,
    user: Option<(u32, u32)>,
    limits: Limits,
    checks: Checks,
    snapshot: Snapshot,
    /// The number of changes ([`journal::changes`]) when the account was sent last.
    sent: u64,
    /// Not sent again before.
    next: Time,
    /// The longest document that fits into the socket.
    longest: usize,
    state: State,
    /// Not restarted before.
    earliest: Time,
    pause: Duration,
    /// A failed start was logged.
    warned: bool,
    /// It was logged that the observer could not change its user.
    warned_of_root: bool,
    /// The "not ready" answers that former observers counted, and those of the present one.
    answered: (u32, u32),
}

enum State {
    /// No client has connected so far, so there was no process.
    Unasked,
    /// There is no process.
    Down,
    /// It runs.
    Up {
        child: Helper,
        link: End,
        since: Time,
        /// The last snapshot found no room.
        stale: bool,
        /// When the oldest message was sent that it may not have taken.
        sent: Option<Time>,
    },
    /// It was killed or has exited, and is not reaped yet.
    Dying { child: Helper, next: Time, pause: Duration },
    /// graceinit exits.
    Closed,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

impl Observer {
    /// For these sockets, as this user and group (without any: as nobody if graceinit is root). Starts nothing yet.
    pub fn new(listeners: Vec<Listener>, user: Option<(u32, u32)>) -> Observer {
        Observer {
            listeners,
            user,
            limits: Limits::default(),
            checks: Checks::default(),
            snapshot: Snapshot::default(),
            sent: 0,
            next: Time::default(),
            longest: copy::LONGEST,
            state: State::Down,
            earliest: Time::default(),
            pause: PAUSE,
            warned: false,
            warned_of_root: false,
            answered: (0, 0),
        }
    }

    /// It starts when the first client connects.
    pub fn when_asked(self) -> Observer {
        Observer { state: State::Unasked, ..self }
    }

    /// The checks that it makes when a client asks.
    pub fn with_checks(self, checks: Checks) -> Observer {
        Observer { checks, ..self }
    }

    /// Starts it if it does not run and its time has come. Without sockets it is not needed, and costs a plain life
    /// nothing.
    #[inline]
    pub fn ensure(&mut self, now: Time) {
        if !self.listeners.is_empty() {
            self.keep_up(now);
        }
    }

    fn keep_up(&mut self, now: Time) {
        if matches!(self.state, State::Unasked) && self.is_asked(now) {
            self.state = State::Down;
        }
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
        if matches!(self.state, State::Down) && now >= self.earliest {
            self.start(now);
        }
    }

    /// Whether a client waits to be accepted.
    fn is_asked(&self, now: Time) -> bool {
        let fds: Vec<_> = self.listeners.iter().map(|one| (one.as_fd(), Want::Read)).collect();
        poll::wait_for(&fds, Some(now), now).contains(&true)
    }

    fn start(&mut self, now: Time) {
        self.earliest = now.after(self.pause);
        match self.spawn() {
            Ok((child, link)) => {
                self.warned = false;
                // It begins with the present account.
                self.sent = journal::changes();
                self.next = now.after(BETWEEN);
                self.longest = copy::LONGEST;
                self.state = State::Up { child, link, since: now, stale: false, sent: None };
            }
            Err(error) => {
                if !self.warned {
                    journal::warn(format!(
                        "unable to start the observer: {error}; nothing is answered until a later try"
                    ));
                }
                self.warned = true;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn spawn(&self) -> std::io::Result<(Helper, End)> {
        let (ours, theirs) = End::pair()?;
        // Room for a document, snapshots, and what the kernel needs to keep them.
        ours.make_room(4 * copy::LONGEST as i32);
        let mut keep: Vec<BorrowedFd<'_>> = self.listeners.iter().map(AsFd::as_fd).collect();
        keep.push(theirs.as_fd());
        let given = Given {
            name: c"graceinit-obs",
            user: self.user,
            trusted: false,
            log: false,
            descriptors: Descriptors::Only(&keep),
            // Besides these and stdio: one for a connection that is accepted before another is closed, and two to
            // read /proc.
            files: (self.limits.connections + self.checks.count() + keep.len() + 6) as u64,
        };
        let was_root = process::own_uid() == 0;
        let work = || {
            if was_root && process::own_uid() == 0 {
                theirs.send(&STILL_ROOT);
            }
            let account = journal::read(Account::clone).unwrap_or_default();
            serve(
                &self.listeners,
                &theirs,
                self.snapshot.clone(),
                account,
                self.limits,
                &self.checks,
            );
            0
        };
        Ok((Helper::start(&given, &work)?, ours))
    }

    /// When `ensure` has something to do.
    pub fn due(&self) -> Option<Time> {
        match &self.state {
            State::Down if !self.listeners.is_empty() => Some(self.earliest),
            State::Dying { next, .. } => Some(*next),
            State::Up { .. } => (journal::changes() != self.sent).then_some(self.next),
            State::Unasked | State::Down | State::Closed => None,
        }
    }

    /// Sends a snapshot. If there is no room, the one that is the last by then is sent when there is.
    pub fn publish(&mut self, snapshot: &Snapshot) {
        if *snapshot == self.snapshot {
            return;
        }
        if snapshot.stopping && !self.snapshot.stopping {
            self.answered = (0, 0);
        }
        self.snapshot = snapshot.clone();
        self.send();
        // The account that belongs to it is sent at once.
        self.next = Time::default();
    }

    fn send(&mut self) {
        self.notice_hang();
        if let State::Up { child, link, stale, sent, .. } = &mut self.state {
            match link.send(&self.snapshot.message()) {
                Sent::Yes => {
                    *stale = false;
                    sent.get_or_insert_with(clock::now);
                }
                Sent::Full => *stale = true,
                // The next observer begins with this snapshot.
                Sent::Lost | Sent::TooLong => child.kill(),
            }
        }
    }

    /// Kills an observer that has taken no message for long, which `read` then notices: it runs in circles, or waits in
    /// the kernel. Looked at when the loop is awake anyway, so it costs no wake-up; at the latest the first message
    /// of a stop finds it out.
    fn notice_hang(&mut self) {
        let State::Up { child, link, sent: sent @ Some(_), .. } = &mut self.state else { return };
        let now = clock::now();
        if !sent.is_some_and(|sent| now.since(sent) >= HANGS) {
            return;
        }
        if link.untaken() == 0 {
            *sent = None;
            return;
        }
        journal::warn("the observer does not take its messages: killing it; a new one is started");
        child.kill();
        // Once is enough.
        *sent = None;
    }

    /// PID 1 did not run for a while, and the observer may not have run either.
    pub fn stood_still(&mut self, now: Time) {
        if let State::Up { sent: Some(sent), .. } = &mut self.state {
            *sent = now;
        }
    }

    /// Sends the account, if it has changed and its time has come. Called once per round of the main loop, at the end.
    pub fn feed(&mut self) {
        self.notice_hang();
        let changes = journal::changes();
        if changes == self.sent || !matches!(self.state, State::Up { .. }) {
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
            if self.send_account(document, now) {
                self.sent = changes;
            }
        }
    }

    /// Whether it has not taken earlier messages.
    fn is_behind(&self) -> bool {
        matches!(&self.state, State::Up { link, .. } if link.untaken() > UNTAKEN)
    }

    /// Sends a document. False if it has to be sent again (as it is by then) when [`Observer::due`] says.
    fn send_account(&mut self, mut document: Vec<u8>, now: Time) -> bool {
        self.next = now.after(BETWEEN);
        if self.is_behind() {
            return false;
        }
        let State::Up { link, sent, .. } = &mut self.state else { return true };
        document.insert(0, copy::KIND);
        match link.send(&document) {
            Sent::Yes => {
                sent.get_or_insert(now);
                true
            }
            // `read` notices that it has exited; a lack of memory may pass.
            Sent::Full | Sent::Lost => false,
            // net.core.wmem_max may be small: send as much as fits.
            Sent::TooLong => {
                let shortest = self.longest <= SHORT;
                self.longest = (self.longest / 2).max(SHORT);
                shortest
            }
        }
    }

    /// Continues the observer if a signal has stopped it. Called after a SIGCHLD.
    pub fn resume(&self) {
        if let State::Up { child, .. } = &self.state {
            if child.resume() {
                journal::warn("the observer was stopped by a signal; continuing it");
            }
        }
    }

    /// The descriptors that the main loop waits for.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Want)> {
        let unasked: &[Listener] = match self.state {
            State::Unasked => &self.listeners,
            _ => &[],
        };
        self.link().into_iter().chain(unasked.iter().map(|one| (one.as_fd(), Want::Read)))
    }

    fn link(&self) -> Option<(BorrowedFd<'_>, Want)> {
        match &self.state {
            State::Up { link, stale: false, .. } => Some((link.as_fd(), Want::Read)),
            State::Up { link, stale: true, .. } => Some((link.as_fd(), Want::Both)),
            State::Unasked | State::Down | State::Dying { .. } | State::Closed => None,
        }
    }

    /// Every descriptor that belongs to it in PID 1.
    pub fn owned(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(AsFd::as_fd).chain(self.link().map(|(fd, _)| fd))
    }

    /// Takes the messages of the observer and notices its end. Returns how many probes were answered "not ready"
    /// since the snapshot with `stopping`, if that number has changed.
    pub fn read(&mut self, now: Time) -> Option<u32> {
        let State::Up { link, stale, .. } = &self.state else { return None };
        let stale = *stale;
        let before = self.answered;
        let (mut ended, mut still_root) = (false, false);
        let mut message = [0; 5];
        for _ in 0..ROUND {
            match link.receive(&mut message) {
                // A message has four bytes; others are ignored.
                Read::Bytes(4) => {
                    let [a, b, c, d, _] = message;
                    self.answered.1 = u32::from_ne_bytes([a, b, c, d]);
                }
                Read::Bytes(1) if message[..1] == STILL_ROOT => still_root = true,
                Read::Bytes(_) => {}
                Read::Empty => break,
                Read::End => {
                    ended = true;
                    break;
                }
            }
        }
        if still_root && !self.warned_of_root {
            self.warned_of_root = true;
            let why = if safe_path::is_mapped(helper::NOBODY.0) {
                "the change was refused. Is CAP_SETUID missing?"
            } else {
                "this user namespace has no such user; map more users into it."
            };
            journal::warn(format!(
                "unable to run the observer as user {}: {why} It keeps user 0, without capabilities",
                helper::NOBODY.0
            ));
        }
        let changed = self.answered != before;
        if ended {
            self.ended(now);
        } else if stale {
            self.send();
        }
        changed.then(|| self.answered.0.saturating_add(self.answered.1))
    }

    fn ended(&mut self, now: Time) {
        if let State::Up { child, since, .. } = std::mem::replace(&mut self.state, State::Down) {
            // It may have closed its socket without exiting.
            child.kill();
            self.answered = (self.answered.0.saturating_add(self.answered.1), 0);
            let young = now.since(since) < ADULT;
            self.pause = if young { (self.pause * 2).min(LONGEST_PAUSE) } else { PAUSE };
            self.state = State::Dying { child, next: now, pause: DYING };
            self.ensure(now);
        }
    }

    /// Its pid until it is reaped. A signal to the whole tree spares it, and it is no leftover.
    pub fn pid(&self) -> Option<Pid> {
        match &self.state {
            State::Up { child, .. } | State::Dying { child, .. } => Some(child.pid()),
            State::Unasked | State::Down | State::Closed => None,
        }
    }

    /// Ends it and removes the files of its sockets, when graceinit exits.
    pub fn close(&mut self) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Up { child, link, .. } => {
                // This ends it: root without CAP_KILL may not kill it.
                drop(link);
                child.end(LEAVING);
            }
            State::Dying { child, .. } => child.end(LEAVING),
            State::Unasked | State::Down | State::Closed => {}
        }
        for mut listener in self.listeners.drain(..) {
            listener.remove_file();
        }
    }
}
