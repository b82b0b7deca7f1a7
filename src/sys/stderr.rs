//! Writing to stderr without waiting for its reader. With a full pipe, a stopped terminal or a closed descriptor the
//! line is lost, and the loop goes on. O_NONBLOCK cannot be used: it belongs to the open file, which the app shares.

use std::io;

/// The length of the longest write that a pipe keeps in one piece (PIPE_BUF of pipe(7)).
pub const LONGEST: usize = 4096;

/// The descriptor.
pub const NUMBER: i32 = 2;

/// Writes `line` if that is possible without waiting. Whether all of it was written.
pub fn write(line: &[u8]) -> bool {
    let line = &line[..line.len().min(LONGEST)];
    let part = libc::iovec { iov_base: line.as_ptr() as *mut libc::c_void, iov_len: line.len() };
    // The position -1 is the current one. With RWF_NOWAIT the call fails with EAGAIN instead of waiting.
    // SAFETY: the vector points to `line`, which is live and only read.
    let written = unsafe { libc::pwritev2(NUMBER, &raw const part, 1, -1, libc::RWF_NOWAIT) };
    if written >= 0 {
        return written as usize == line.len();
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => is_regular_file() && write_plainly(line),
        // Terminals do not know the flag, nor do pipes before Linux 5.8. Old seccomp profiles refuse the call.
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EPERM | libc::ESPIPE) => {
            has_room() && write_plainly(line)
        }
        _ => false,
    }
}

fn write_plainly(line: &[u8]) -> bool {
    // SAFETY: the buffer is live and its length is what is passed on.
    let written = unsafe { libc::write(NUMBER, line.as_ptr().cast(), line.len()) };
    written >= 0 && written as usize == line.len()
}

/// Whether stderr is a file. A file gives EAGAIN when memory is short; then a short wait is right.
fn is_regular_file() -> bool {
    // SAFETY: stat is plain numbers; all zeroes is a value of it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live stat.
    let known = unsafe { libc::fstat(NUMBER, &raw mut stat) } == 0;
    known && stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

fn has_room() -> bool {
    let mut poll = libc::pollfd { fd: NUMBER, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one live pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLOUT != 0 }
}
