//! The processes below us, as /proc shows them. The scan allocates nothing, so that the dead-man
//! timer's handler can use it.
//!
//! /proc/PID/task/TID/children would be cheaper, but needs CONFIG_PROC_CHILDREN, which not every
//! kernel has.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io::Write;

use super::{process, reap, signals};
use crate::types::{Pid, Signal};

/// One line of /proc/PID/stat (proc_pid_stat(5)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its pid.
    pub pid: Pid,
    /// Its parent's pid.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// When it started, in hundredths of a second since boot.
    pub started: u64,
    /// It has ended and was not reaped yet.
    pub zombie: bool,
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
            if let Some(process) = number(name).and_then(|pid| read_stat(proc.0, pid)) {
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
    number(&link) == Some(process::own_pid().0)
}

/// The number that a terminated text consists of.
fn number(text: &[u8]) -> Option<i32> {
    let digits = text.split(|byte| *byte == 0).next()?;
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0i32, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i32::from(digit - b'0'))
    })
}

/// What /proc says of one process.
pub fn look_up(pid: Pid) -> Option<Process> {
    let proc = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY)?;
    if is_our_proc(proc.0) { read_stat(proc.0, pid.0) } else { None }
}

fn read_stat(proc: i32, pid: i32) -> Option<Process> {
    let mut path = [0u8; 24];
    write!(&mut path[..23], "{pid}/stat").ok()?;
    let file = open(proc, CStr::from_bytes_until_nul(&path).ok()?, 0)?;
    let mut text = [0u8; 512];
    // SAFETY: the buffer is live and its size is what is passed on.
    let bytes = unsafe { libc::read(file.0, text.as_mut_ptr().cast(), text.len()) };
    parse_stat(text.get(..usize::try_from(bytes).ok()?)?)
}

/// Fields are counted from behind the command's closing parenthesis: the command itself may hold
/// spaces and parentheses.
fn parse_stat(text: &[u8]) -> Option<Process> {
    let pid = text.split(|byte| *byte == b' ').next()?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = text.get(close + 2..)?.split(|byte| *byte == b' ');
    let state = fields.next()?;
    let parent = number(fields.next()?)?;
    let group = number(fields.next()?)?;
    // Fields 20 and 22 of the manual page; we have passed field 5.
    let threads = number(fields.nth(14)?)?;
    let started = fields.nth(1)?;
    let started = started.iter().try_fold(0u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    })?;
    Some(Process {
        pid: Pid(number(pid)?),
        parent: Pid(parent),
        group: Pid(group),
        started,
        // One whose first thread alone has ended shows Z too, but others of its threads still run.
        zombie: matches!(state, b"Z" | b"X") && threads <= 1,
    })
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
    fn stat_lines() {
        let line = b"42 (a) S (b) R 7 40 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2";
        let process = parse_stat(line).expect("a valid line");
        assert_eq!((process.pid, process.parent, process.group), (Pid(42), Pid(7), Pid(40)));
        assert_eq!((process.started, process.zombie), (987_654, false));
        let zombie = b"9 (z) Z 1 9 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 5 1000 2";
        assert!(parse_stat(zombie).expect("a valid line").zombie);
        for broken in [&b""[..], b"1", b"1 (x)", b"1 (x) S", b"1 (x) S 1 1", b"x (x) S 1 1 1"] {
            assert_eq!(parse_stat(broken), None);
        }
    }

    #[test]
    fn the_scan_finds_this_process_and_its_parent() {
        let mut all = Vec::new();
        assert!(scan(|process| all.push(process)));
        let own = all.iter().find(|process| process.pid == process::own_pid()).expect("ourselves");
        assert_eq!(own.parent, process::parent());
    }
}
