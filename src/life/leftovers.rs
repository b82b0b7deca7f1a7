//! Processes that the app or a hook left behind, and which of them were asked to stop.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::account::incident::Incident;
use crate::account::journal;
use crate::sys::tree::{Process, Reach};
use crate::sys::{clock, process, reap, signals, tree};
use crate::types::{Pid, Signal, Time};

/// What was asked of whom. To some programs a second TERM means "exit at once", so a process is asked once.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Processes that were sent a signal by their pid, and the signal.
    asked: BTreeSet<(Pid, Signal)>,
    /// When the app's whole group was last sent the leftovers' signal, in the unit of [`Process::started`].
    group_asked: Option<u64>,
    /// When the tree was first read, in the same unit.
    first_read: u64,
    /// No further read of the tree before this time, and how long the last one took.
    next_read: (Time, Duration),
    /// The missing-/proc warning has been logged.
    warned_of_proc: bool,
}

/// What [`Leftovers::ask`] has to know besides.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The signal that leftovers get.
    pub signal: Signal,
    /// The stop signal went to the app's whole group.
    pub group_asked: bool,
    /// The first request in this phase: it is for all. A further one is for those that the first has missed.
    pub first: bool,
    /// The id of the app's process group.
    pub group: Option<Pid>,
    /// The processes of graceinit itself, hooks included.
    pub own: &'a [Pid],
    /// The end of the budget.
    pub budget_end: Time,
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

    fn signal_each(&mut self, found: &[Process], signal: Signal) {
        for process in found {
            let result = tree::signal_found(process, signal);
            self.asked.insert((process.pid, signal));
            match result {
                // It has exited meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => {
                    super::app::warn_unsent(format!("process {}", process.pid), signal, result)
                }
            }
        }
    }

    /// Asks every process that is still there and was not asked before.
    pub fn ask(&mut self, request: &Request<'_>) {
        let Request { signal, group_asked, first, group, own, budget_end } = *request;
        let now = clock::boot_ticks();
        // Mostly nothing is left, and to read the tree would be half of what the whole stop costs.
        if !reap::is_any_alive() {
            if first {
                self.first_read = now;
            }
            return;
        }
        // The cost of one read grows with the processes of the machine (a second for ten thousand on a busy
        // processor). So further reads take a twentieth of the time at most, and none begins that might
        // not be over at the end of the budget.
        let begun = clock::now();
        let (next, cost) = self.next_read;
        if !first && (begun < next || budget_end < begun.after(cost * 2)) {
            return;
        }
        let Some(found) = tree::descendants(own) else {
            return self.ask_without_proc(signal, group.filter(|_| !group_asked), first);
        };
        let ended = clock::now();
        let cost = ended.since(begun);
        self.next_read = (ended.after(cost * 20), cost);
        // A further read is for processes that the first one missed: a parent that exits during it hides its
        // children. A process that was started since then belongs to a leftover that cleans up.
        if first {
            self.first_read = now;
        }
        let newcomer = |process: &Process| !first && process.started >= self.first_read;
        let asked = |process: &Process| {
            // A process that was started after its group was asked has not got the signal.
            let heard = Some(process.started) <= self.group_asked;
            let with_group = Some(process.group) == group && heard;
            with_group || self.asked.contains(&(process.pid, signal))
        };
        let unasked: Vec<Process> =
            found.into_iter().filter(|process| !newcomer(process) && !asked(process)).collect();
        if unasked.is_empty() {
            return;
        }
        journal::incident(&Incident::LeftoversAsked { signal, processes: unasked.len() });
        self.signal_each(&unasked, signal);
        // A stopped process could not act on the signal.
        self.signal_each(&unasked, Signal::CONT);
    }

    /// Without /proc no process can be told from another, so all are asked, and only once.
    fn ask_without_proc(&mut self, signal: Signal, group: Option<Pid>, first: bool) {
        self.warn_of_proc(Reach::WithoutProc);
        if !first {
            return;
        }
        for signal in [signal, Signal::CONT] {
            if process::is_first() {
                // ESRCH: there is no other process.
                let _ = signals::send_all(signal);
            } else if let Some(group) = group {
                tree::signal_groups(&[group], signal);
            }
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
