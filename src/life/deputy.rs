//! Signals that graceinit may not send itself, to an app or a hook of another user: a child that becomes that user
//! sends them (`sys::deputy`).

use std::io;

use super::background_write::exit_code;
use super::children::{Children, Role};
use crate::account::journal;
use crate::config::Config;
use crate::config::user::User;
use crate::machine::hooks::HookPhase;
use crate::sys::deputy::{self, Errand, To};
use crate::sys::launch::spawn::{self, Setup, Task};
use crate::sys::{process, signals};
use crate::types::{Pid, Signal, Status};

/// What is to be sent, and what is known of the right to send.
#[derive(Debug, Default)]
pub struct Deputy {
    errands: Vec<Errand>,
    /// A signal was refused, or would be.
    needed: bool,
    /// It was logged that a deputy could not send its signals.
    warned: bool,
}

/// Whether kill(2) was refused for want of the right.
pub fn is_refused(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

impl Deputy {
    /// The app runs as its user: whether graceinit may signal it is found out before a stop depends on it.
    pub fn meet(&mut self, app: Option<Pid>, config: &Config) {
        let Some((user, app)) = config.user.as_ref().zip(app) else { return };
        if !signals::may_signal(app) {
            self.needed = true;
            log::info!(
                "graceinit has no CAP_KILL: signals to the app are sent by a child that becomes user {}",
                user.uid
            );
        }
    }

    /// Takes a signal that was refused. False if a deputy could not send it either: graceinit has changed no user, so
    /// it need not have the right to.
    pub fn take(&mut self, config: &Config, to: To, signal: Signal, value: Option<usize>) -> bool {
        let app = config.user.as_ref().map(|user| User::ids(user).0);
        let Some(user) = app.or_else(|| hook_user(config)) else { return false };
        self.needed = true;
        self.errands.push(Errand { to, signal, value, user });
        true
    }

    /// Everything is to be killed: takes the part that graceinit may not kill. False if there is none.
    pub fn kill_everything(&mut self, config: &Config, children: &Children) -> bool {
        if config.user.is_none() && hook_user(config).is_none() {
            return false;
        }
        let needed = self.needed || children.pids().any(|pid| !signals::may_signal(pid));
        needed && self.take(config, To::Everything, Signal::KILL, None)
    }

    /// Whether signals were taken.
    pub fn has_work(&self) -> bool {
        !self.errands.is_empty()
    }

    /// Starts a child that sends what was taken, in that order.
    pub fn send(&mut self, spare: &[Pid], children: &mut Children) {
        let errands = std::mem::take(&mut self.errands);
        let call = || {
            // It must not outlive graceinit, and its work is over in a moment.
            let _ = process::signal_when_parent_dies(Signal::KILL);
            exit_code(deputy::run(&errands, spare))
        };
        match spawn::spawn(Task::Call(&call), &Setup::CLEAN) {
            Ok(child) => children.add(child.pid, Role::Deputy),
            Err(error) => self.warn(&error.to_string()),
        }
    }

    /// The child has ended.
    pub fn ended(&mut self, status: Status) {
        if let Status::Code(errno @ 1..) = status {
            self.warn(nix::errno::Errno::from_raw(i32::from(errno)).desc());
        }
    }

    fn warn(&mut self, why: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            journal::warn(format!(
                "unable to send a signal as the user of its process: {why}; add CAP_KILL to the container"
            ));
        }
    }
}

/// A user of a hook.
fn hook_user(config: &Config) -> Option<u32> {
    let mut hooks = HookPhase::ALL.iter().flat_map(|phase| config.hooks.of(*phase));
    hooks.find_map(|hook| hook.user.as_ref()).map(|user| user.uid)
}
