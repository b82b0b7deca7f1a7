//! The processes below us, as /proc shows them. The scan allocates nothing, so that the dead-man
//! timer's handler can use it.
//!
//! /proc/PID/task/TID/children would be cheaper, but needs CONFIG_PROC_CHILDREN, which not every
//! kernel has.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io::Write;

use super::stat::{Stat, decimal};
use super::{process, reap, signals};
use crate::types::{Pid, Signal};

/// A process, as a scan of /proc finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its pid.
    pub pid: Pid,
    /// The pid of its parent.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// When it started, in hundredths of a second since boot.
    pub started: u64,
    /// It has ended and is not reaped yet.
    pub zombie: bool,
}

impl From<Stat<'_>> for Process {
    fn from(stat: Stat<'_>) -> Process {
        let Stat { pid, parent, group, started, .. } = stat;
        Process { pid, parent, group, started, zombie: stat.is_zombie() }
    }
}

/// What a signal to the tree came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Every process that was meant.
    All,
    /// /proc is missing, or is that of another pid namespace: only those that can be known
    /// without it.
    WithoutProc,
}

/// Calls `each` for every process in /proc. False if /proc is missing or not that of our pid
/// namespace. Async-signal-safe if `each` is.
pub fn scan(mut each: impl FnMut(Process)) -> bool {
    let Some(proc) = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY) else { return false };
    if !is_our_proc(proc.0) {
        return false;
    }
    let mut entries = Entries { buffer: [0; 8192] };
    loop {
        // SAFETY: the buffer is live, aligned as the kernel needs it, and its size is passed on.
        let bytes = unsafe {
            libc::syscall(libc::SYS_getdents64, proc.0, entries.buffer.as_mut_ptr(), 8192usize)
        };
        let Ok(bytes @ 1..) = usize::try_from(bytes) else { return true };
        let mut at = 0;
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, then the name.
        while at + 19 < bytes {
            let length = u16::from_ne_bytes([entries.buffer[at + 16], entries.buffer[at + 17]]);
            let name = &entries.buffer[at + 19..bytes];
            if let Some(process) = pid_of(name).and_then(|pid| read_stat(proc.0, pid)) {
                each(process);
            }
            at += usize::from(length.max(1));
        }
    }
}

#[repr(align(8))]
struct Entries {
    buffer: [u8; 8192],
}

/// A descriptor that closes itself; without std's check that would abort.
struct Raw(i32);

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: opened by `open` below and owned by this value alone.
        unsafe { libc::close(self.0) };
    }
}

fn open(dir: i32, path: &CStr, flags: i32) -> Option<Raw> {
    // SAFETY: the path is a live, terminated string.
    let fd = unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_RDONLY | libc::O_CLOEXEC) };
    (fd >= 0).then_some(Raw(fd))
}

/// After `unshare --pid` without a new mount, /proc shows the pids of another namespace: signals
/// sent to those numbers would hit strangers.
fn is_our_proc(proc: i32) -> bool {
    let mut link = [0u8; 16];
    // SAFETY: the path is terminated, the buffer is live and its size is passed on.
    let length =
        unsafe { libc::readlinkat(proc, c"self".as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    let length = usize::try_from(length).unwrap_or(0).min(link.len() - 1);
    link[length] = 0;
    pid_of(&link) == Some(process::own_pid())
}

/// The pid that a terminated text consists of.
fn pid_of(text: &[u8]) -> Option<Pid> {
    let digits = text.split(|byte| *byte == 0).next()?;
    decimal(digits).and_then(|number| i32::try_from(number).ok()).map(Pid)
}

/// What /proc says of one process.
pub fn look_up(pid: Pid) -> Option<Process> {
    let proc = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY)?;
    if is_our_proc(proc.0) { read_stat(proc.0, pid) } else { None }
}

fn read_stat(proc: i32, pid: Pid) -> Option<Process> {
    let mut path = [0u8; 24];
    write!(&mut path[..23], "{pid}/stat").ok()?;
    let file = open(proc, CStr::from_bytes_until_nul(&path).ok()?, 0)?;
    let mut text = [0u8; 512];
    // SAFETY: the buffer is live and its size is what is passed on.
    let bytes = unsafe { libc::read(file.0, text.as_mut_ptr().cast(), text.len()) };
    Stat::parse(text.get(..usize::try_from(bytes).ok()?)?).map(Process::from)
}

/// Every live process below us; those in `except` and all below them left out. `None` without a
/// usable /proc. Parents come before their children.
pub fn descendants(except: &[Pid]) -> Option<Vec<Process>> {
    descendants_of(process::own_pid(), except)
}

/// The same for another root than this process.
pub fn descendants_of(root: Pid, except: &[Pid]) -> Option<Vec<Process>> {
    let mut children: HashMap<Pid, Vec<Process>> = HashMap::new();
    if !scan(|process| children.entry(process.parent).or_default().push(process)) {
        return None;
    }
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            if !except.contains(&child.pid) {
                parents.push(child.pid);
                found.push(child);
            }
        }
    }
    found.retain(|process| !process.zombie);
    Some(found)
}

/// Sends `signal` to one process that a scan has found. Our own children cannot vanish between the
/// scan and the signal: only we reap them. Others can, and their pid can be reused: they are held
/// by a pidfd and looked at again first.
pub fn signal_found(found: &Process, signal: Signal) -> std::io::Result<()> {
    if found.parent == process::own_pid() {
        return signals::send(found.pid, signal);
    }
    // SAFETY: plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, found.pid.0, 0) };
    if fd < 0 {
        let error = std::io::Error::last_os_error();
        return match error.raw_os_error() {
            // Before Linux 5.3, or refused by an old seccomp profile: the next best way.
            Some(libc::ENOSYS | libc::EPERM) => signals::send(found.pid, signal),
            _ => Err(error),
        };
    }
    let held = Raw(fd as i32);
    if look_up(found.pid).is_none_or(|now| now.started != found.started) {
        return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: plain numbers; a null siginfo makes it like kill(2).
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            held.0,
            signal.number(),
            std::ptr::null::<u8>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// SIGKILL to everything below us. As PID 1 the kernel does it in one step that no fork can escape.
/// `groups`: what is known without /proc.
pub fn kill_everything(groups: &[Pid], spare: &[Pid]) -> Reach {
    if process::is_first() {
        let _ = signals::send_all(Signal::KILL);
        return Reach::All;
    }
    // In one step, whatever a look at /proc costs: most of the tree is in these.
    signal_groups(groups, Signal::KILL);
    if let Some(found) = descendants(spare) {
        for process in &found {
            let _ = signal_found(process, Signal::KILL);
        }
        return Reach::All;
    }
    Reach::WithoutProc
}

/// Signals groups, as long as a child of ours in them vouches that their id is not reused.
pub fn signal_groups(groups: &[Pid], signal: Signal) {
    for group in groups {
        if reap::has_child_in_group(*group) {
            let _ = signals::send_group(*group, signal);
        }
    }
}

/// SIGKILL to all our direct children; what they leave comes to us as we are subreaper or PID 1.
/// Async-signal-safe. False without a usable /proc.
pub fn kill_children() -> bool {
    let own = process::own_pid();
    scan(|process| {
        if process.parent == own && !process.zombie {
            let _ = signals::send(process.pid, Signal::KILL);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_finds_this_process_and_its_parent() {
        let mut all = Vec::new();
        assert!(scan(|process| all.push(process)));
        let own = all.iter().find(|process| process.pid == process::own_pid()).expect("ourselves");
        assert_eq!(own.parent, process::parent());
    }
}
