//! The process tree as one reading of /proc shows it: plain values, filled in by `sys::proctree` and
//! judged by `machine::who`.

use super::{Pid, SignalSet};

/// A process across readings. A pid alone may be reused; together with the start time it is not, unless
/// the kernel goes through all pids within one tick.
pub type Id = (Pid, u64);

/// The kernel's clock tick of `started`, per second (`sysconf(_SC_CLK_TCK)`, 100 on every Linux).
pub const TICKS_PER_SECOND: u64 = 100;

/// The live processes below graceinit at one moment, helpers and hooks left out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tree {
    /// graceinit's own pid: the parent of the topmost processes.
    pub root: Pid,
    /// When the reading began, in ticks since boot, as `started`.
    pub ticks: u64,
    /// graceinit's own standard input, if that could be read.
    pub stdin: Option<Opened>,
    /// Parents come before their children.
    pub processes: Vec<Process>,
}

/// One process.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Process {
    /// Its pid.
    pub pid: Pid,
    /// When it started, in ticks since boot.
    pub started: u64,
    /// Its parent's pid.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// The file name of its executable; the same as `title` where the link could not be read.
    pub program: Box<str>,
    /// The name that ps(1) shows: of a script its own name, of a busybox applet the applet's.
    pub title: Box<str>,
    /// What it does with signals; `None`: that could not be read.
    pub handling: Option<Handling>,
    /// How much it has run; `None`: it was not counted.
    pub activity: Option<Activity>,
    /// What it has open.
    pub files: Result<Files, Unreadable>,
}

/// The masks of proc_pid_status(5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Handling {
    /// SigCgt: there is a handler.
    pub caught: SignalSet,
    /// SigIgn.
    pub ignored: SignalSet,
    /// SigBlk of the first thread.
    pub blocked: SignalSet,
    /// ShdPnd: it was sent to the process, and no thread has taken it yet.
    pub pending: SignalSet,
}

/// How much a process has run so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Activity {
    /// Voluntary and other context switches of all threads.
    pub switches: u64,
    /// A thread runs, wants to run, or is in uninterruptible sleep: what woke it is not counted yet.
    pub busy: bool,
}

/// What a process has open, as far as it matters here.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Files {
    /// Standard input; `None`: it is closed.
    pub stdin: Option<Opened>,
    /// The ends of pipes and FIFOs; empty where they were not asked for.
    pub pipes: Vec<PipeEnd>,
}

/// An open file, told apart from others without a look at its file system (which may hang).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Opened {
    /// Where the link in /proc/PID/fd leads: a path, `pipe:[N]`, `socket:[N]`.
    pub target: Box<str>,
    /// It is a pipe or a FIFO.
    pub pipe: bool,
    /// The mount it was opened through (fdinfo's mnt_id).
    pub mount: u64,
    /// The flags it was opened with.
    pub flags: u32,
}

/// One end of a pipe or FIFO.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PipeEnd {
    /// As in [`Opened`]: the same for both ends.
    pub target: Box<str>,
    /// It can be read from.
    pub reads: bool,
    /// It can be written to.
    pub writes: bool,
}

/// The kernel shows exe, fd and fdinfo of another user's process only to a process with
/// CAP_SYS_PTRACE or with that user's fsuid and fsgid. A helper that takes these on can read what is
/// missing; PID 1 does not change its own credentials for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Unreadable;

impl Process {
    /// Its identity.
    pub fn id(&self) -> Id {
        (self.pid, self.started)
    }
}

impl SignalSet {
    /// From a mask as /proc shows it: bit 0 is signal 1.
    pub const fn from_mask(mask: u64) -> SignalSet {
        SignalSet(mask)
    }
}
