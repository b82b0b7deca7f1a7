//! What the app says about itself on its NOTIFY_SOCKET (sd_notify(3)), and what follows.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::background_write::{BackgroundWrite, Child};
use super::service_manager::ServiceManager;
use crate::account::incident::Incident;
use crate::account::journal;
use crate::config::Config;
use crate::config::When;
use crate::machine::ready::Notice;
use crate::notify::{self, Family, Message, Sender};
use crate::sys::fd;
use crate::sys::notify::{self as socket, Socket};
use crate::sys::process;
use crate::types::{Pid, Time};

/// The app's socket.
#[derive(Debug, Default)]
pub struct AppNotify {
    socket: Option<Socket>,
    /// The app has sent RELOADING=1, and not READY=1 since then.
    reloading: bool,
    /// A message was refused.
    refused: bool,
    descriptors: Descriptors,
}

impl AppNotify {
    /// Opens the socket, where a message on it can have an effect.
    ///
    /// # Errors
    /// It could not be opened, and what to do.
    pub fn open(config: &Config, watched: bool) -> Result<AppNotify, String> {
        let notify = config.ready.iter().any(|ready| ready.when == When::Notify);
        let more_time = config.plan.grace_max > config.plan.grace;
        let given = !config.plain && process::variable("NOTIFY_SOCKET").is_some();
        let wanted = notify || more_time || given || watched;
        let socket = wanted.then(Socket::open).transpose().map_err(|error| {
            format!(
                "unable to open a notify socket for the app: {error}; is there a network namespace?"
            )
        })?;
        Ok(AppNotify { socket, ..AppNotify::default() })
    }

    /// The variable that tells the app of its socket.
    pub fn variable(&self) -> Option<CString> {
        self.socket.as_ref().map(Socket::variable)
    }

    /// What the loop waits for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let socket = self.socket.as_ref().filter(|_| !self.descriptors.are_first());
        socket.map(AsFd::as_fd).into_iter().chain(self.descriptors.fds())
    }

    /// Every descriptor that belongs to the socket.
    pub fn owned(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let children = self.descriptors.children().filter_map(BackgroundWrite::owned);
        self.socket.as_ref().map(AsFd::as_fd).into_iter().chain(children)
    }

    /// The children that take messages with descriptors. They are no part of the tree.
    pub fn pids(&self) -> impl Iterator<Item = Pid> + '_ {
        self.descriptors.children().filter_map(BackgroundWrite::pid)
    }

    /// When there is work without any event.
    pub fn due(&self) -> Option<Time> {
        let children = self.descriptors.children().filter_map(BackgroundWrite::due);
        children.chain(self.descriptors.again).min()
    }

    /// Closes the socket and removes its name.
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// Whether there is a socket.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Receives what was sent since the last time. What the machine has to know comes back.
    // Never inlined, because of the room that a message needs on the stack.
    #[inline(never)]
    pub fn receive(
        &mut self,
        speaker: &Family<'_>,
        app: Option<Pid>,
        manager: &mut ServiceManager,
        now: Time,
    ) -> Vec<Notice> {
        let mut datagrams = Vec::new();
        self.descriptors.update(now);
        if let Some(socket) = self.socket.as_mut().filter(|_| !self.descriptors.are_first()) {
            self.descriptors.first = socket.receive(&mut datagrams);
            if let Some(error) = socket.failure() {
                journal::warn(format!(
                    "unable to read the notify socket: {error}; the messages of the app are not heard any more"
                ));
                self.close();
            }
        }
        let mut notices = Vec::new();
        for datagram in &datagrams {
            let sender = datagram.sender;
            let messages = datagram.bytes.as_deref().map(notify::parse);
            if messages.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            if let Err(refusal) = socket::hear(speaker, sender) {
                self.refuse(sender, &refusal.to_string());
                continue;
            }
            let Some(messages) = messages else {
                self.refuse(sender, "it is too long");
                continue;
            };
            for message in messages {
                notices.extend(self.hear(message, app, manager, now));
            }
        }
        notices
    }

    /// Has the descriptors of the last message taken away, for which its sender may wait (`BARRIER=1`).
    pub fn take(&mut self, now: Time) {
        if let Some(socket) = &self.socket {
            self.descriptors.take(socket, now);
        }
    }

    /// Warns once, so that another process cannot fill the log.
    fn refuse(&mut self, sender: Sender, why: &str) {
        let again = std::mem::replace(&mut self.refused, true);
        let Sender { pid, uid, .. } = sender;
        journal::incident(&Incident::Unheard { pid, uid, why: why.to_owned(), again });
    }

    fn hear(
        &mut self,
        message: notify::Notice,
        app: Option<Pid>,
        manager: &mut ServiceManager,
        now: Time,
    ) -> Option<Notice> {
        match message {
            notify::Notice::Ready => {
                if std::mem::take(&mut self.reloading) {
                    manager.send(now, &Message::Ready);
                }
                Some(Notice::Ready)
            }
            notify::Notice::Stopping => Some(Notice::Stopping),
            notify::Notice::Reloading => {
                journal::incident(&Incident::Reloads);
                self.reloading = true;
                manager.send(now, &Message::Reloading(now));
                None
            }
            notify::Notice::Status(text) => {
                journal::incident(&Incident::Says { text: text.clone() });
                manager.send(now, &Message::Status(text));
                None
            }
            notify::Notice::MoreTime(span) => Some(Notice::MoreTime(span)),
            notify::Notice::Watchdog => {
                if manager.watches {
                    manager.send(now, &Message::Watchdog);
                }
                Some(Notice::Alive)
            }
            notify::Notice::WatchdogTrigger => Some(Notice::Dead),
            notify::Notice::WatchdogInterval(span) => {
                if manager.watches {
                    manager.send(now, &Message::WatchdogInterval(span));
                }
                Some(Notice::Interval(span))
            }
            notify::Notice::MainPid(pid) => {
                (app != Some(Pid(pid))).then_some(Notice::MainPid(Pid(pid)))
            }
            notify::Notice::Errno(errno) => {
                journal::incident(&Incident::Failed { errno });
                None
            }
            notify::Notice::Barrier => None,
        }
    }
}

/// A child takes a message that has descriptors out of the socket. PID 1 never holds such a descriptor, because any
/// process may send one, and close(2) can wait for ever: for the server of a file system that does not answer, or for
/// the peer of a socket that lingers.
#[derive(Debug, Default)]
struct Descriptors {
    /// The first message in the socket has descriptors. It was heard, and no other one can be read.
    first: bool,
    /// The child that takes it.
    taking: BackgroundWrite,
    /// No child could be started, or it was killed before it had taken the message: when to try again.
    again: Option<Time>,
    /// Children that have taken their message and not ended yet.
    closing: Vec<BackgroundWrite>,
    /// The warning that too many children hang has been logged.
    complained: bool,
}

/// So many children may hang; then messages with descriptors stay in the socket, and all that come after them.
const HANGING: usize = 8;
/// The pause before another child is started.
const PAUSE: Duration = Duration::from_millis(100);

impl Descriptors {
    /// Whether a message that has descriptors is the first one in the socket.
    fn are_first(&self) -> bool {
        self.first
    }

    fn take(&mut self, socket: &Socket, now: Time) {
        if !self.first || self.taking.is_busy() || self.again.is_some_and(|again| now < again) {
            return;
        }
        if self.closing.len() >= HANGING {
            // Those that wait for the peer of a socket can be killed.
            self.closing.iter().for_each(BackgroundWrite::kill);
            if !std::mem::replace(&mut self.complained, true) {
                journal::warn(format!(
                    "unable to close the descriptors of {HANGING} messages on the notify socket: close(2) does not \
                     return; messages are read again when it does"
                ));
            }
            return;
        }
        let child = Child {
            name: c"graceinit-fds",
            trusted: false,
            files: socket::DESCRIPTORS as u64 + 16,
        };
        let fd = socket.as_fd();
        let started = self.taking.start_as(child, Some(fd), &|pipe| {
            socket::take(fd, &|| fd::say(pipe));
            Ok(())
        });
        self.again = started.err().map(|_| now.after(PAUSE));
    }

    fn update(&mut self, now: Time) {
        self.closing.retain_mut(|child| child.outcome(now).is_none());
        if self.taking.has_said() {
            self.first = false;
            self.closing.push(std::mem::take(&mut self.taking));
        } else if self.taking.outcome(now).is_some() {
            self.again = Some(now.after(PAUSE));
        }
    }

    fn children(&self) -> impl Iterator<Item = &BackgroundWrite> {
        self.closing.iter().chain([&self.taking])
    }

    fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.children().filter_map(BackgroundWrite::fd)
    }
}
