//! The service manager that started graceinit and listens on its NOTIFY_SOCKET (sd_notify(3)).

use crate::account::journal;
use crate::notify::Message;
use crate::sys::notify::{Sent, Upward};
use crate::types::Time;

/// What is sent to the service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager {
    upward: Option<Upward>,
    /// It wants watchdog messages.
    pub watches: bool,
    /// STOPPING=1 was sent.
    stopping: bool,
    /// A failure was logged, or is of no interest any more.
    warned: bool,
}

impl ServiceManager {
    /// `listens`: false in place of another program that knows nothing of NOTIFY_SOCKET: the app keeps the socket.
    pub fn new(listens: bool, watches: bool) -> ServiceManager {
        let upward = if listens { Upward::from_environment() } else { Ok(None) };
        let upward = upward.unwrap_or_else(|why| {
            journal::warn(why.to_string());
            None
        });
        ServiceManager { upward, watches, stopping: false, warned: false }
    }

    /// Its socket.
    pub fn socket(&self) -> Option<&Upward> {
        self.upward.as_ref()
    }

    /// When an unsent message is tried again.
    pub fn next_wakeup(&self) -> Option<Time> {
        self.upward.as_ref().and_then(Upward::due)
    }

    /// The app is ready, or not any more.
    pub fn set_ready(&mut self, ready: bool, now: Time) {
        if ready {
            self.send(now, &Message::Ready);
        } else if !self.stopping {
            self.stopping = true;
            self.send(now, &Message::Stopping);
        }
    }

    /// Sends a message.
    pub fn send(&mut self, now: Time, message: &Message) {
        if let Some(upward) = &mut self.upward {
            let sent = upward.send(now, message);
            self.judge(sent);
        }
    }

    /// Sends a message again that found no room, if its time has come.
    pub fn retry(&mut self, now: Time) {
        if let Some(upward) = &mut self.upward {
            if upward.due().is_some_and(|due| due <= now) {
                let sent = upward.retry(now);
                self.judge(sent);
            }
        }
    }

    fn judge(&mut self, sent: Sent) {
        match sent {
            // runc and others listen for READY only: a closed socket after it is no failure.
            Sent::Yes => self.warned = true,
            Sent::Full => {}
            Sent::Failed(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    journal::warn(format!("unable to send to NOTIFY_SOCKET: {error}; going on"));
                }
            }
        }
    }
}
