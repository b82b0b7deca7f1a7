//! A deputy: a child of root that sends signals as another user. Root without CAP_KILL may not signal a process of
//! another user (kill(2)), and `--user` needs CAP_SETUID and CAP_SETGID only: with these, a process may become that
//! user. graceinit itself does not: meanwhile it could not write its files, and would no longer be dumpable.
//!
//! A deputy changes its effective user alone. Its real user and its saved user stay root, so that a process of the app
//! cannot stop, kill or trace it (kill(2) looks at these two).

use std::io;

use super::{process, signals, tree};
use crate::types::{Pid, Signal};

/// The process or the processes that a signal is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// A child of graceinit.
    Child(Pid),
    /// A process that a scan has found.
    Found(tree::Process),
    /// A process group.
    Group(Pid),
    /// Everything below graceinit; as PID 1, everything in the pid namespace.
    Everything,
}

/// A signal that graceinit itself may not send.
#[derive(Clone, Copy, Debug)]
pub struct Errand {
    /// For whom it is.
    pub to: To,
    /// The signal.
    pub signal: Signal,
    /// The value of sigqueue(3).
    pub value: Option<usize>,
    /// The user to send it as, if /proc does not show the user of the process.
    pub user: u32,
}

/// In the deputy, a child of graceinit: sends these signals in this order. Processes in `spare` are graceinit's own.
///
/// # Errors
/// Those of kill(2) and setresuid(2), but for ESRCH: the process has ended.
pub fn run(errands: &[Errand], spare: &[Pid]) -> io::Result<()> {
    let root = process::parent();
    let mut result = Ok(());
    for errand in errands {
        match perform(errand, root, spare) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => result = Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    result
}

fn perform(errand: &Errand, root: Pid, spare: &[Pid]) -> io::Result<()> {
    let Errand { to, signal, value, user } = *errand;
    let user_of = |pid| user_of(pid).unwrap_or(user);
    match to {
        To::Child(pid) => {
            // graceinit may have reaped it since, and its pid may be used again.
            if tree::look_up(pid).is_some_and(|now| now.parent != root) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            as_user(user_of(pid), || match value {
                Some(value) => signals::queue(pid, signal, value),
                None => signals::send(pid, signal),
            })
        }
        To::Found(found) => as_user(user_of(found.pid), || tree::signal_found(&found, signal)),
        To::Group(group) => as_user(user_of(group), || signals::send_group(group, signal)),
        To::Everything => {
            let spare = [spare, &[process::own_pid()]].concat();
            let Some(found) = tree::descendants_of(root, &spare) else {
                if root == Pid(1) {
                    return as_user(user, || signals::send_all(signal));
                }
                return Err(io::Error::from_raw_os_error(libc::ENOENT));
            };
            let mut result = Ok(());
            for found in &found {
                let sent = as_user(user_of(found.pid), || tree::signal_found(found, signal));
                let ended = |error: &io::Error| error.raw_os_error() == Some(libc::ESRCH);
                if sent.as_ref().is_err_and(|error| !ended(error)) {
                    result = sent;
                }
            }
            result
        }
    }
}

/// The real user of a process, as /proc shows it.
fn user_of(pid: Pid) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Calls `act` with this effective user.
fn as_user(user: u32, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let own = process::own_uid();
    process::set_effective_user(user)?;
    let done = act();
    process::set_effective_user(own)?;
    done
}
