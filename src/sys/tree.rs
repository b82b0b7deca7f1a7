//! The processes below this one, as /proc shows them. The scan allocates nothing, so that the handler of the dead-man
//! timer can use it.
//!
//! /proc/PID/task/TID/children would be quicker, but needs CONFIG_PROC_CHILDREN, which not every kernel has.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io::Write;
use std::os::fd::AsRawFd;

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

/// Which processes a signal has reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// All of the tree.
    All,
    /// Only the processes that are known without /proc, which is missing or belongs to another pid namespace.
    WithoutProc,
}

/// Calls `each` for every process in /proc. False if /proc is missing or belongs to another pid namespace.
/// Async-signal-safe if `each` is.
pub fn scan(mut each: impl FnMut(Process)) -> bool {
    let Some(proc) = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY) else { return false };
    if !is_our_proc(proc.0) {
        return false;
    }
    let mut entries = Entries { buffer: [0; 8192] };
    loop {
        // SAFETY: the buffer is live, and its size is passed on.
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

/// A descriptor that is closed when it is dropped. Not OwnedFd, whose checks may panic.
struct Raw(i32);

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: this value alone owns the descriptor.
        unsafe { libc::close(self.0) };
    }
}

fn open(dir: i32, path: &CStr, flags: i32) -> Option<Raw> {
    // SAFETY: the path is a live, terminated string.
    let fd = unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_RDONLY | libc::O_CLOEXEC) };
    (fd >= 0).then_some(Raw(fd))
}

/// Whether /proc belongs to the pid namespace of this process. After `unshare --pid` without a new mount it does not,
/// and signals to the pids in it would reach other processes.
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

/// Looks a process up in /proc.
pub fn look_up(pid: Pid) -> Option<Process> {
    let proc = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY)?;
    if is_our_proc(proc.0) { read_stat(proc.0, pid) } else { None }
}

/// A process that has ended, as long as it is not reaped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Its name: at most 15 bytes.
    pub name: String,
    /// Its process group.
    pub group: Pid,
    /// Its page faults.
    pub faults: u64,
    /// The page faults of the children that it has waited for.
    pub faults_of_children: u64,
}

/// Looks a process up that has ended.
pub fn look_up_ended(pid: Pid) -> Option<Ended> {
    let proc = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY)?;
    if !is_our_proc(proc.0) {
        return None;
    }
    with_stat(proc.0, pid, |stat| Ended {
        name: String::from_utf8_lossy(stat.name).into_owned(),
        group: stat.group,
        faults: stat.faults,
        faults_of_children: stat.faults_of_children,
    })
}

fn read_stat(proc: i32, pid: Pid) -> Option<Process> {
    with_stat(proc, pid, |stat| stat.into())
}

fn with_stat<T>(proc: i32, pid: Pid, make: impl FnOnce(Stat<'_>) -> T) -> Option<T> {
    let mut path = [0u8; 24];
    write!(&mut path[..23], "{pid}/stat").ok()?;
    let file = open(proc, CStr::from_bytes_until_nul(&path).ok()?, 0)?;
    let mut text = [0u8; 512];
    // SAFETY: the buffer is live and its size is what is passed on.
    let bytes = unsafe { libc::read(file.0, text.as_mut_ptr().cast(), text.len()) };
    Stat::parse(text.get(..usize::try_from(bytes).ok()?)?).map(make)
}

/// All descendants of this process that have not ended, without `except` and their descendants. Parents come before
/// their children. `None` if /proc is missing or belongs to another pid namespace.
pub fn descendants(except: &[Pid]) -> Option<Vec<Process>> {
    descendants_of(process::own_pid(), except)
}

/// The same for another process.
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

/// Sends `signal` to a process that a scan has found. The pid of a child cannot be used again between the scan and
/// the signal, because only this process reaps it. Any other pid can: such a process is looked up again while a pidfd
/// holds it.
///
/// # Errors
/// Those of kill(2): ESRCH if the process has ended, EPERM.
pub fn signal_found(found: &Process, signal: Signal) -> std::io::Result<()> {
    if found.parent == process::own_pid() {
        return signals::send(found.pid, signal);
    }
    let held = match process::pidfd(found.pid) {
        Ok(held) => held,
        // Linux before 5.3, or an old seccomp profile.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            return signals::send(found.pid, signal);
        }
        Err(error) => return Err(error),
    };
    if look_up(found.pid).is_none_or(|now| now.started != found.started) {
        return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: plain numbers; with a null siginfo the call is like kill(2).
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            held.as_raw_fd(),
            signal.number(),
            std::ptr::null::<u8>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Sends SIGKILL to all descendants, except `spare` and their descendants where graceinit is not PID 1. For PID 1 it
/// is one system call, which no fork can escape. `groups` are the process groups that are known without /proc.
pub fn kill_everything(groups: &[Pid], spare: &[Pid]) -> Reach {
    if process::is_first() {
        let _ = signals::send_all(Signal::KILL);
        return Reach::All;
    }
    // First, because it needs no search of /proc: most processes are in these groups.
    signal_groups(groups, Signal::KILL);
    if let Some(found) = descendants(spare) {
        for process in &found {
            let _ = signal_found(process, Signal::KILL);
        }
        return Reach::All;
    }
    Reach::WithoutProc
}

/// Sends a signal to process groups. A group without a child of this process is skipped: its id may be used again.
pub fn signal_groups(groups: &[Pid], signal: Signal) {
    for group in groups {
        if reap::has_child_in_group(*group) {
            let _ = signals::send_group(*group, signal);
        }
    }
}

/// Sends SIGKILL to all children. Their children become children of this process, which is PID 1 or a subreaper.
/// False if /proc is missing or belongs to another pid namespace. Async-signal-safe.
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
        let own =
            all.iter().find(|process| process.pid == process::own_pid()).expect("this process");
        assert_eq!(own.parent, process::parent());
    }
}
