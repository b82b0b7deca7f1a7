//! What was asked of which process, where the scope is a group or the whole tree.

use std::collections::BTreeSet;

use super::app::warn_unsent;
use crate::account::journal;
use crate::sys::deadman::rescue;
use crate::sys::tree::Reach;
use crate::sys::{clock, tree};
use crate::types::process::Process;
use crate::types::{Pid, Signal};

/// Which process was sent which signal. To some programs a second TERM means "exit at once", so a process is asked once.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Processes that were sent a signal by their pid, and the signal.
    asked: BTreeSet<(Pid, Signal)>,
    /// When the app's whole group was last sent the leftovers' signal, in the unit of [`Process::started`].
    group_asked: Option<u64>,
    /// Signals that graceinit may not send itself.
    pub refused: Vec<Refused>,
    /// The missing-/proc warning has been logged.
    warned_of_proc: bool,
    /// The warning about SIGKILL has been logged.
    warned_of_kill: bool,
}

/// A signal to a process of another user, which graceinit may not send itself.
pub type Refused = (tree::Process, Signal);

/// Sends a signal to a process that a reading has found. A process that has exited meanwhile needs none.
pub fn signal_process(process: &tree::Process, signal: Signal, refused: &mut Vec<Refused>) {
    match tree::signal_found(process, signal) {
        Ok(()) => rescue::also_asked(process.pid),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => refused.push((*process, signal)),
        result => warn_unsent(format!("process {}", process.pid), signal, result),
    }
}

impl Leftovers {
    /// An orphan was reaped: its pid may be reused.
    pub fn forget(&mut self, pid: Pid) {
        self.asked.retain(|(asked, _)| *asked != pid);
    }

    /// The app's group was sent the leftovers' signal.
    pub fn group_is_asked(&mut self) {
        self.group_asked = Some(clock::boot_ticks());
    }

    /// Whether the app's group was sent the leftovers' signal.
    pub fn was_group_asked(&self) -> bool {
        self.group_asked.is_some()
    }

    /// Sends `signal` to every descendant but `own`. False: /proc is of no use, and nothing was sent.
    pub fn signal_tree(&mut self, signal: Signal, own: &[Pid]) -> bool {
        let Some(found) = tree::descendants(own) else {
            self.warn_of_proc(Reach::WithoutProc);
            return false;
        };
        // A process that has exited need not be remembered.
        let there: BTreeSet<Pid> = found.iter().map(|process| process.pid).collect();
        self.asked.retain(|(asked, _)| there.contains(asked));
        self.signal_each(&found, signal);
        true
    }

    fn signal_each(&mut self, found: &[tree::Process], signal: Signal) {
        for process in found {
            signal_process(process, signal, &mut self.refused);
            self.asked.insert((process.pid, signal));
        }
    }

    /// A process was sent this signal by its pid, and has not ended as far as is known.
    pub fn awaits_an_end(&self, signal: Signal) -> bool {
        self.asked.iter().any(|(_, sent)| *sent == signal)
    }

    /// Whether a process has got `signal` already: by its pid, or with the app's group.
    pub fn has_heard(&self, process: &Process, signal: Signal, group: Option<Pid>) -> bool {
        // A process that was started after its group was asked has not got the signal.
        let heard = Some(process.started) <= self.group_asked;
        let with_group = Some(process.group) == group && heard;
        with_group || self.asked.contains(&(process.pid, signal))
    }

    /// Warns once that SIGKILL was refused. It is sent in rounds.
    pub fn warn_of_kill(&mut self, error: std::io::Error) {
        if !std::mem::replace(&mut self.warned_of_kill, true) {
            warn_unsent("every process", Signal::KILL, Err(error));
        }
    }

    /// Warns once that /proc is of no use.
    pub fn warn_of_proc(&mut self, reach: Reach) {
        if reach == Reach::WithoutProc && !self.warned_of_proc {
            self.warned_of_proc = true;
            journal::warn(
                "unable to read the process tree: /proc is missing or belongs to another pid \
                 namespace; signalling only what is known without it",
            );
        }
    }
}
