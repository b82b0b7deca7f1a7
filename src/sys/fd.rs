//! Descriptors: pipes, and closing the inherited ones.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// The result of a read that never blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// The number of bytes that were read.
    Bytes(usize),
    /// There is nothing to read at present.
    Empty,
    /// All writers have closed their end.
    End,
}

/// How often bytes were read or sent by what the main loop waits for.
static MOVES: AtomicU32 = AtomicU32::new(0);

/// Bytes were read or sent.
pub(super) fn has_moved() {
    MOVES.fetch_add(1, Relaxed);
}

/// A number that changes when bytes are read or sent. While it stays, the main loop comes round for nothing.
pub fn moves() -> u32 {
    MOVES.load(Relaxed)
}

/// A pipe for a child to write to: (our end, which never blocks; the child's end). Both are closed by execve.
///
/// # Errors
/// Those of pipe2(2): no descriptors left.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// The pipe of an exec status: (our end, the child's end). Both are closed by execve. Both never block, which makes no
/// difference to the child: its few bytes always fit.
///
/// # Errors
/// As for [`pipe`].
pub fn exec_status_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// The descriptor that a system call has made.
///
/// # Errors
/// The errno of the call, if it has failed.
///
/// # Safety
/// `result` is the result of a call that makes a descriptor, and no other value owns that descriptor.
pub(super) unsafe fn created(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the caller promises that the descriptor is new.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets an option of a socket.
///
/// # Errors
/// Those of setsockopt(2).
pub(super) fn set_option<T>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &T,
) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to a live value, and its size is what is passed on. The kernel only reads it.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What became of a descriptor of stdio that was to be given to a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given {
    /// The user can open it anew.
    Yes,
    /// It need not be given, or must not: its file is not root's, or other processes use the file as well.
    Left,
    /// Those of fchown(2).
    Refused(nix::errno::Errno),
}

/// Gives the files of stdin, stdout and stderr to a user, as runc does, so that a program of that user can open
/// /dev/stdout. Only a pipe without a name, and (`terminals`) a terminal, and only if it is root's: these end with the
/// container. A log file or a FIFO would belong to the user from then on.
pub fn give_stdio(uid: u32, terminals: bool) -> [Given; 3] {
    use nix::sys::stat::{SFlag, fstat};
    use nix::sys::statfs::{FsType, fstatfs};
    const PIPES: FsType = FsType(0x5049_5045);
    [0, 1, 2].map(|number| {
        // SAFETY: `reserve_stdio` has opened the descriptor if it was closed, and nothing closes it.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let Ok(stat) = fstat(fd) else { return Given::Left };
        let is_pipe = fstatfs(fd).is_ok_and(|fs| fs.filesystem_type() == PIPES);
        let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
        let is_terminal = terminals && kind == SFlag::S_IFCHR && is_terminal(number);
        if stat.st_uid != 0 || uid == 0 || !(is_pipe || is_terminal) {
            return Given::Left;
        }
        // SAFETY: plain numbers; the group is left alone.
        match unsafe { libc::fchown(number, uid, u32::MAX) } {
            0 => Given::Yes,
            _ => Given::Refused(nix::errno::Errno::last()),
        }
    })
}

fn is_terminal(number: i32) -> bool {
    // SAFETY: a plain number.
    unsafe { libc::isatty(number) == 1 }
}

/// Opens the descriptors 0, 1 and 2 if they are closed, so that no other descriptor of graceinit gets one of these
/// numbers. execve closes them again, so that the app inherits them as graceinit did.
pub fn reserve_stdio() {
    for number in 0..3 {
        if is_open(number) {
            continue;
        }
        // The kernel takes the lowest free number, which is this one.
        // SAFETY: the path is terminated.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if null < 0 {
            // An image without /dev. An eventfd never blocks a write either.
            // SAFETY: plain numbers.
            unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        }
    }
}

/// Whether this descriptor is open.
pub fn is_open(number: i32) -> bool {
    // SAFETY: F_GETFD changes nothing.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// An empty input: /dev/null, or a pipe without a writer if there is no /dev.
///
/// # Errors
/// Those of pipe2(2).
pub fn empty_input() -> io::Result<OwnedFd> {
    match std::fs::File::open("/dev/null") {
        Ok(file) => Ok(file.into()),
        Err(_) => pipe().map(|(read, _)| read),
    }
}

/// Reads once.
pub fn read(fd: BorrowedFd<'_>, into: &mut [u8]) -> Read {
    match nix::unistd::read(fd, into) {
        Ok(0) => Read::End,
        Ok(count) => {
            has_moved();
            Read::Bytes(count)
        }
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Read::Empty,
        Err(_) => Read::End,
    }
}

/// Writes one byte to a pipe of [`pipe`], for a reader that waits for it.
pub fn say(pipe: BorrowedFd<'_>) {
    // The pipe is empty, so there is room.
    let _ = nix::unistd::write(pipe, &[0]);
}

/// Closes every descriptor from 3 on except `keep`. close(2) can wait for ever for the server of a file system, so PID 1
/// has it done by a helper (`sys::sharing`).
pub fn close_inherited(keep: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut first = 3u32;
    for fd in kept.into_iter().chain([u32::MAX]) {
        if fd > first {
            close_range(first, fd - 1, Close::Now);
        }
        first = first.max(fd.saturating_add(1));
    }
}

/// A number that descriptors hardly exceed, for a search without the kernel's list. (A higher one was opened before the
/// limit was lowered.)
pub(super) fn limit() -> i32 {
    // SAFETY: sysconf takes a plain number.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    i32::try_from(limit).unwrap_or(1024).clamp(3, 65_536)
}

/// When descriptors are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// At once.
    Now,
    /// When execve(2) is called.
    AtExecve,
}

/// Closes every descriptor from `first` on, in a child after fork(2). Async-signal-safe.
pub fn close_from(first: u32, when: Close) {
    close_range(first, u32::MAX, when);
}

fn close_range(first: u32, last: u32, when: Close) {
    let flags = match when {
        Close::Now => 0,
        Close::AtExecve => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: no memory is involved, and no value of this program owns these descriptors: they were open when it
    // started (the callers leave its own out), or this is a child that does not use them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 {
        return;
    }
    // Before Linux 5.9 (with the flag 5.11), or refused by an old seccomp profile.
    for fd in first..=last.min(limit() as u32) {
        match when {
            // SAFETY: no value owns the descriptor, as said above.
            Close::Now => unsafe { libc::close(fd as i32) },
            // SAFETY: a descriptor has no other flag, so none is lost.
            Close::AtExecve => unsafe { libc::fcntl(fd as i32, libc::F_SETFD, libc::FD_CLOEXEC) },
        };
    }
}
