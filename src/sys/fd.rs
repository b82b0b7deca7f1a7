//! Descriptors: pipes, and closing what was inherited.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// What a read from a pipe that never blocks brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Empty,
    /// All writers have gone.
    End,
}

/// A pipe for a child to write to: (our end, never blocking; the child's end). Both are closed by
/// execve.
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

/// Takes the numbers 0, 1 and 2 if the caller left them closed, so that no descriptor of ours can be
/// mistaken for stdio. They are closed again by execve: the app finds them as graceinit did.
pub fn reserve_stdio() {
    for number in 0..3 {
        // SAFETY: only asks.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0 {
            continue;
        }
        // SAFETY: the path is terminated. The lowest free number is taken: this one.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if null < 0 {
            // An image without /dev: anything that answers every write at once will do.
            // SAFETY: plain numbers.
            unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        }
    }
}

/// Whether there is such a descriptor.
pub fn is_open(number: i32) -> bool {
    // SAFETY: only asks.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// An empty input: /dev/null, or a pipe without a writer where there is none.
///
/// # Errors
/// Those of pipe2(2).
pub fn empty_input() -> io::Result<OwnedFd> {
    match std::fs::File::open("/dev/null") {
        Ok(file) => Ok(file.into()),
        Err(_) => pipe().map(|(read, _)| read),
    }
}

/// Reads what there is.
pub fn read(fd: BorrowedFd<'_>, into: &mut [u8]) -> Read {
    match nix::unistd::read(fd, into) {
        Ok(0) => Read::End,
        Ok(count) => Read::Bytes(count),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Read::Empty,
        Err(_) => Read::End,
    }
}

/// Closes every descriptor from 3 on but those in `keep`: they are the app's now, and a pipe that
/// graceinit held open would never show its end to the reader.
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

/// When descriptors are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// At once.
    Now,
    /// When a program is executed.
    AtExecve,
}

/// For a child between fork(2) and what it is for: every descriptor from `first` on. Async-signal-safe.
pub fn close_from(first: u32, when: Close) {
    close_range(first, u32::MAX, when);
}

fn close_range(first: u32, last: u32, when: Close) {
    let flags = match when {
        Close::Now => 0,
        Close::AtExecve => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: nobody else owns these descriptors: they were open when this program started (its
    // own are the ones that the caller left out), or this is a child that uses none of them. No
    // memory is involved.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 {
        return;
    }
    // Before Linux 5.9 (with the flag 5.11), or refused by an old seccomp profile.
    // SAFETY: sysconf takes a plain number.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    let limit = u32::try_from(limit).unwrap_or(1024).min(65_536);
    for fd in first..=last.min(limit) {
        match when {
            // SAFETY: as above.
            Close::Now => unsafe { libc::close(fd as i32) },
            // SAFETY: as above; the only flag that a descriptor has is this one.
            Close::AtExecve => unsafe { libc::fcntl(fd as i32, libc::F_SETFD, libc::FD_CLOEXEC) },
        };
    }
}
