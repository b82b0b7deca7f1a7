//! The processes below this one, as /proc shows them. The scan allocates nothing, so that the handler of the dead-man
//! timer can use it.
//!
//! /proc/PID/task/TID/children would be quicker, but needs CONFIG_PROC_CHILDREN, which not every kernel has. It shows
//! what the list of /proc hides, and is used for that.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::poll::Want;
use super::stat::{Stat, decimal};
use super::{clock, poll, process, reap, signals};
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

/// What a scan of /proc has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scan {
    /// All that /proc lists.
    All,
    /// The files of some processes were refused. They may be those of other users, and no descendants.
    Refused,
    /// Not all: /proc is missing, cannot be listed or read, or belongs to another pid namespace.
    Failed,
}

/// Calls `each` for every process in /proc. False if /proc is missing, cannot be listed or read, or belongs to another
/// pid namespace. Async-signal-safe if `each` is.
pub fn scan(each: impl FnMut(Process)) -> bool {
    scan_all(each) != Scan::Failed
}

fn scan_all(mut each: impl FnMut(Process)) -> Scan {
    let Some(proc) = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY) else { return Scan::Failed };
    if !is_our_proc(proc.0) {
        return Scan::Failed;
    }
    let own = process::own_pid();
    let (mut found_own, mut refused, mut failed) = (false, false, false);
    let listed = each_entry::<8192>(proc.0, |name| {
        let Some(pid) = pid_of(name) else { return };
        match read_stat(proc.0, pid) {
            Ok(process) => {
                found_own |= process.pid == own;
                each(process);
            }
            Err(Unread::Ended) => {}
            Err(Unread::Refused) => refused = true,
            Err(Unread::Failed) => failed = true,
        }
    });
    // A list without this process is one whose files cannot be read: nobody hides a process from itself.
    match (listed && found_own && !failed, refused) {
        (false, _) => Scan::Failed,
        (true, true) => Scan::Refused,
        (true, false) => Scan::All,
    }
}

/// Calls `each` with the number of every open descriptor of this process. False if /proc cannot tell.
pub(super) fn each_descriptor(mut each: impl FnMut(i32)) -> bool {
    let Some(folder) = open(libc::AT_FDCWD, c"/proc/self/fd", libc::O_DIRECTORY) else {
        return false;
    };
    let own = folder.0;
    // Few are open as a rule, and a larger buffer would cost each start two more pages of stack.
    each_entry::<1024>(own, |name| {
        if let Some(Pid(number)) = pid_of(name).filter(|number| number.0 != own) {
            each(number);
        }
    })
}

/// The numbers in a folder of /proc: descriptors, threads; at most `most` of them. (Not std's `read_dir`, which panics if
/// close(2) fails.)
///
/// # Errors
/// Those of open(2) and getdents64(2).
pub fn numbers_in(folder: &Path, most: usize) -> io::Result<Vec<i32>> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    let Some(folder) = open(libc::AT_FDCWD, &path, libc::O_DIRECTORY) else {
        return Err(io::Error::last_os_error());
    };
    let mut numbers = Vec::new();
    let listed = each_entry::<8192>(folder.0, |name| {
        numbers.extend(pid_of(name).filter(|_| numbers.len() < most).map(|number| number.0));
    });
    if listed { Ok(numbers) } else { Err(io::Error::last_os_error()) }
}

/// Calls `each` with every name of a folder and what follows it in the buffer. False if the folder cannot be listed:
/// what was found then is no list of all.
fn each_entry<const SIZE: usize>(folder: i32, mut each: impl FnMut(&[u8])) -> bool {
    let mut entries = Entries { buffer: [0; SIZE] };
    loop {
        // SAFETY: the buffer is live, and its size is passed on.
        let bytes = unsafe {
            libc::syscall(libc::SYS_getdents64, folder, entries.buffer.as_mut_ptr(), SIZE)
        };
        let bytes = match usize::try_from(bytes) {
            Ok(0) => return true,
            Ok(bytes) => bytes,
            Err(_) => return false,
        };
        names(entries.buffer.get(..bytes).unwrap_or_default(), &mut each);
    }
}

/// Calls `each` with every name of an answer of getdents64(2) and what follows the name. Any bytes are harmless.
pub fn names(mut entries: &[u8], mut each: impl FnMut(&[u8])) {
    // struct linux_dirent64: inode 8, offset 8, length 2, type 1, then the name.
    while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, low, high, _, name @ ..] = entries {
        if name.is_empty() {
            return;
        }
        each(name);
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        // An entry that ends before its name is none.
        entries = entries.get(length.max(20)..).unwrap_or_default();
    }
}

#[repr(align(8))]
struct Entries<const SIZE: usize> {
    buffer: [u8; SIZE],
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
    let mut fs = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: there is room for a statfs, which is read only if the kernel has filled it in.
    let is_proc = unsafe {
        libc::fstatfs(proc, fs.as_mut_ptr()) == 0
            && fs.assume_init_ref().f_type == libc::PROC_SUPER_MAGIC
    };
    if !is_proc {
        return false;
    }
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
    look_again(pid).ok()
}

fn look_again(pid: Pid) -> Result<Process, Unread> {
    let proc = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY).ok_or(Unread::Failed)?;
    if is_our_proc(proc.0) { read_stat(proc.0, pid) } else { Err(Unread::Failed) }
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
    .ok()
}

/// Why the file of a process was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unread {
    /// It has ended.
    Ended,
    /// The file is that of another user (hidepid=1), or a security module refuses it.
    Refused,
    /// For want of descriptors or memory, or for another reason: the process may be there.
    Failed,
}

impl Unread {
    fn last(at_open: bool) -> Unread {
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Unread::Ended,
            Some(libc::EACCES | libc::EPERM) if at_open => Unread::Refused,
            _ => Unread::Failed,
        }
    }
}

fn read_stat(proc: i32, pid: Pid) -> Result<Process, Unread> {
    with_stat(proc, pid, |stat| stat.into())
}

fn with_stat<T>(proc: i32, pid: Pid, make: impl FnOnce(Stat<'_>) -> T) -> Result<T, Unread> {
    let mut path = [0u8; 24];
    write!(&mut path[..23], "{pid}/stat").map_err(|_| Unread::Failed)?;
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Unread::Failed)?;
    let Some(file) = open(proc, path, 0) else { return Err(Unread::last(true)) };
    let mut text = [0u8; 512];
    // SAFETY: the buffer is live and its size is what is passed on.
    let bytes = unsafe { libc::read(file.0, text.as_mut_ptr().cast(), text.len()) };
    let Ok(bytes) = usize::try_from(bytes) else { return Err(Unread::last(false)) };
    text.get(..bytes).and_then(Stat::parse).map(make).ok_or(Unread::Failed)
}

/// All descendants of this process that have not ended, without `except` and their descendants. Parents come before
/// their children. `None` if /proc is missing or belongs to another pid namespace.
pub fn descendants(except: &[Pid]) -> Option<Vec<Process>> {
    descendants_of(process::own_pid(), except)
}

/// The same for another process.
pub fn descendants_of(root: Pid, except: &[Pid]) -> Option<Vec<Process>> {
    let mut children: BTreeMap<Pid, Vec<Process>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let scan = scan_all(|process| {
        seen.insert(process.pid);
        children.entry(process.parent).or_default().push(process);
    });
    if scan == Scan::Failed {
        (children, seen) = Default::default();
    }
    match (scan, add_unlisted(root, &mut children, &mut seen)) {
        (Scan::All, _) | (_, Ok(())) | (Scan::Refused, Err(Unlisted::Unsupported)) => {}
        (Scan::Refused, Err(Unlisted::Failed)) | (Scan::Failed, Err(_)) => return None,
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

/// The start time of a process that /proc hides.
pub const HIDDEN: u64 = 0;

/// Adds the processes below `root` that the scan has not found. The list of /proc leaves processes out if it was
/// mounted with hidepid=2 (systemd: ProtectProc=invisible), and another mount option or a security module may refuse
/// their files; /proc/PID/task/TID/children is not subject to that.
fn add_unlisted(
    root: Pid,
    children: &mut BTreeMap<Pid, Vec<Process>>,
    seen: &mut BTreeSet<Pid>,
) -> Result<(), Unlisted> {
    let proc = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY).ok_or(Unlisted::Failed)?;
    if !is_our_proc(proc.0) {
        return Err(Unlisted::Failed);
    }
    let listed = !seen.is_empty();
    let mut parents = vec![root];
    let mut any = false;
    while let Some(parent) = parents.pop() {
        let mut pids = Vec::new();
        if !each_child(proc.0, parent, |pid| pids.push(pid)) && parent == root {
            return Err(match io::Error::last_os_error().raw_os_error() {
                Some(libc::ENOENT) => Unlisted::Unsupported,
                _ => Unlisted::Failed,
            });
        }
        for pid in pids {
            if seen.insert(pid) {
                // It may be a process that was started after the scan.
                let process = read_stat(proc.0, pid).ok().or_else(|| hidden(pid, parent));
                any |= process.is_some_and(|process| process.started == HIDDEN);
                children.entry(parent).or_default().extend(process);
            }
        }
        // Where nothing of the first is hidden, the rest is not looked at: that costs a file for each process.
        if listed && !any {
            break;
        }
        parents.extend(children.get(&parent).into_iter().flatten().map(|child| child.pid));
    }
    Ok(())
}

/// Why the children of a process could not be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unlisted {
    /// The kernel has no such list (CONFIG_PROC_CHILDREN).
    Unsupported,
    /// It has one, perhaps.
    Failed,
}

/// What is known of a process that /proc hides; `None`: it has ended.
fn hidden(pid: Pid, parent: Pid) -> Option<Process> {
    let group = process::group_of(pid)?;
    // It can be read when the process is a zombie (pidfd_open(2)).
    if let Ok(held) = process::pidfd(pid) {
        let now = clock::now();
        if poll::wait_for(&[(held.as_fd(), Want::Read)], Some(now), now).first() == Some(&true) {
            return None;
        }
    }
    Some(Process { pid, parent, group, started: HIDDEN, zombie: false })
}

/// Calls `each` for every child of a process, zombies included. The children of further threads are not listed if the
/// folder of the threads cannot be. False if the list cannot be read. Async-signal-safe if `each` is.
fn each_child(proc: i32, parent: Pid, mut each: impl FnMut(Pid)) -> bool {
    let mut path = [0u8; 64];
    if write!(&mut path[..63], "{parent}/task").is_err() {
        return false;
    }
    let mut threads = [0i32; 64];
    threads[0] = parent.0;
    let mut count = 1;
    if let Some(folder) =
        CStr::from_bytes_until_nul(&path).ok().and_then(|path| open(proc, path, libc::O_DIRECTORY))
    {
        each_entry::<8192>(folder.0, |name| {
            if let Some(thread) = pid_of(name).filter(|thread| *thread != parent) {
                if count < threads.len() {
                    threads[count] = thread.0;
                    count += 1;
                }
            }
        });
    }
    let mut any = false;
    for thread in &threads[..count] {
        let mut path = [0u8; 64];
        let written = write!(&mut path[..63], "{parent}/task/{thread}/children").is_ok();
        let path = CStr::from_bytes_until_nul(&path).ok().filter(|_| written);
        if let Some(file) = path.and_then(|path| open(proc, path, 0)) {
            any |= each_number(file.0, &mut each);
        }
    }
    any
}

/// Calls `each` for every number of a file. False if it cannot be read.
fn each_number(file: i32, each: &mut impl FnMut(Pid)) -> bool {
    let mut buffer = [0u8; 512];
    let mut numbers = Numbers::default();
    loop {
        // SAFETY: the buffer is live and its size is what is passed on.
        let bytes = unsafe { libc::read(file, buffer.as_mut_ptr().cast(), buffer.len()) };
        let Ok(bytes) = usize::try_from(bytes) else { return false };
        if bytes == 0 {
            numbers.end(each);
            return true;
        }
        numbers.take(buffer.get(..bytes).unwrap_or_default(), each);
    }
}

/// The pids of a text of decimal numbers that comes in pieces.
#[derive(Debug, Default)]
pub struct Numbers(Option<u64>);

impl Numbers {
    /// Takes a piece and calls `each` for every pid that has ended in it.
    pub fn take(&mut self, bytes: &[u8], each: &mut impl FnMut(Pid)) {
        for byte in bytes {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    self.0 = Some(self.0.unwrap_or(0).saturating_mul(10).saturating_add(digit));
                }
                _ => self.end(each),
            }
        }
    }

    /// Calls `each` for the pid that the text ends with, if there is one.
    pub fn end(&mut self, each: &mut impl FnMut(Pid)) {
        // A signal to 0 would go to this process's own group.
        let pid = self.0.take().and_then(|number| i32::try_from(number).ok());
        pid.filter(|pid| *pid > 0).into_iter().for_each(|pid| each(Pid(pid)));
    }
}

/// Sends `signal` to a process that a scan has found. The pid of a child cannot be used again between the scan and
/// the signal, because only this process reaps it. Any other pid can: such a process is looked up again while a pidfd
/// holds it.
///
/// # Errors
/// Those of kill(2): ESRCH if the process has ended, EPERM.
pub fn signal_found(found: &Process, signal: Signal) -> io::Result<()> {
    if found.parent == process::own_pid() {
        return signals::send(found.pid, signal);
    }
    let held = match process::pidfd(found.pid) {
        Ok(held) => Some(held),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(error),
        // Linux before 5.3, an old seccomp profile, or no descriptor or memory is left.
        Err(_) => None,
    };
    let in_its_group = || process::group_of(found.pid) == Some(found.group);
    let same = match found.started {
        HIDDEN => in_its_group(),
        started => match look_again(found.pid) {
            Ok(now) => now.started == started,
            Err(Unread::Ended) => false,
            // /proc has become unreadable since the scan.
            Err(Unread::Refused | Unread::Failed) => in_its_group(),
        },
    };
    if !same {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    let Some(held) = held else { return signals::send(found.pid, signal) };
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
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Linux before 5.1, or refused by a filter that allows pidfd_open(2).
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            signals::send(found.pid, signal)
        }
        error => Err(error),
    }
}

/// Sends SIGKILL to all descendants, except `spare` and their descendants where graceinit is not PID 1. For PID 1 it
/// is one system call, which no fork can escape. `groups` are the process groups that are known without /proc.
///
/// # Errors
/// That of the one system call, if it is refused.
pub fn kill_everything(groups: &[Pid], spare: &[Pid]) -> io::Result<Reach> {
    if process::is_first() {
        return match signals::send_all(Signal::KILL) {
            // ESRCH: there is no other process.
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(Reach::All),
        };
    }
    // First, because it needs no search of /proc: most processes are in these groups.
    signal_groups(groups, Signal::KILL);
    if let Some(found) = descendants(spare) {
        for process in &found {
            let _ = signal_found(process, Signal::KILL);
        }
        return Ok(Reach::All);
    }
    Ok(Reach::WithoutProc)
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
    let listed = scan(|process| {
        if process.parent == own && !process.zombie {
            let _ = signals::send(process.pid, Signal::KILL);
        }
    });
    // Those that the list hides as well. A signal to a zombie does nothing.
    let Some(proc) = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY) else { return listed };
    let kill = |pid| drop(signals::send(pid, Signal::KILL));
    is_our_proc(proc.0) && each_child(proc.0, own, kill) || listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pid_gets_no_signal() {
        let mut found = Vec::new();
        let mut numbers = Numbers::default();
        for piece in ["12 0 4294967308 2147483648 3", "4 -5 x 99999999999999999999 7"] {
            numbers.take(piece.as_bytes(), &mut |pid| found.push(pid.0));
        }
        numbers.end(&mut |pid| found.push(pid.0));
        assert_eq!(found, [12, 34, 5, 7]);
    }

    #[test]
    fn the_scan_finds_this_process_and_its_parent() {
        let mut all = Vec::new();
        assert!(scan(|process| all.push(process)));
        let own =
            all.iter().find(|process| process.pid == process::own_pid()).expect("this process");
        assert_eq!(own.parent, process::parent());
    }
}
