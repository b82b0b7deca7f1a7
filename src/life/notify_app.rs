//! What the app says about itself on its NOTIFY_SOCKET (sd_notify(3)), and what follows.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use super::service_manager::ServiceManager;
use crate::account::incident::Incident;
use crate::account::journal;
use crate::config::Config;
use crate::config::When;
use crate::machine::ready::Notice;
use crate::notify::{self, Family, Message, Sender};
use crate::sys::notify::{self as socket, Datagram, Socket};
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
        Ok(AppNotify { socket, reloading: false, refused: false })
    }

    /// The variable that tells the app of its socket.
    pub fn variable(&self) -> Option<CString> {
        self.socket.as_ref().map(Socket::variable)
    }

    /// What the loop waits for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Closes the socket and removes its name.
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// Whether there is a socket.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Receives what was sent since the last time. What the machine has to know comes back, and the datagrams: a
    /// sender that waits for an answer (`BARRIER=1`) gets it when they are dropped.
    // Never inlined, because of the room that a message needs on the stack.
    #[inline(never)]
    pub fn receive(
        &mut self,
        speaker: &Family<'_>,
        app: Option<Pid>,
        manager: &mut ServiceManager,
        now: Time,
    ) -> (Vec<Notice>, Vec<Datagram>) {
        let mut datagrams = Vec::new();
        if let Some(socket) = &mut self.socket {
            socket.receive(&mut datagrams);
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
                notices.extend(self.take(message, app, manager, now));
            }
        }
        (notices, datagrams)
    }

    /// Warns once, so that another process cannot fill the log.
    fn refuse(&mut self, sender: Sender, why: &str) {
        let again = std::mem::replace(&mut self.refused, true);
        let Sender { pid, uid, .. } = sender;
        journal::incident(&Incident::Unheard { pid, uid, why: why.to_owned(), again });
    }

    fn take(
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
