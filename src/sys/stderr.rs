//! Writing to stderr without ever waiting for its reader. A full pipe, a stopped terminal or a closed
//! descriptor costs a line, never the loop. O_NONBLOCK is out of the question: the app shares the
//! open file.

use std::io;

/// One write is at most this long: the kernel keeps it in one piece on a pipe (PIPE_BUF of pipe(7)).
pub const LONGEST: usize = 4096;

/// Its number.
pub const NUMBER: i32 = 2;

/// Writes `line` if that is possible at once; whether it was.
pub fn write(line: &[u8]) -> bool {
    let line = &line[..line.len().min(LONGEST)];
    let part = libc::iovec { iov_base: line.as_ptr() as *mut libc::c_void, iov_len: line.len() };
    // SAFETY: the vector points to `line`, which is live and only read; -1 is "at the present
    // position". RWF_NOWAIT makes it answer EAGAIN where it would wait.
    let written = unsafe { libc::pwritev2(NUMBER, &raw const part, 1, -1, libc::RWF_NOWAIT) };
    if written >= 0 {
        return written as usize == line.len();
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => is_regular_file() && write_plainly(line),
        // Terminals do not know the flag, nor do kernels before 5.8 for pipes; old seccomp profiles
        // do not know the call.
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

/// A page cache under pressure answers EAGAIN too; there a short wait is right.
fn is_regular_file() -> bool {
    // SAFETY: stat is plain numbers; all zeroes is a value of it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live stat.
    let known = unsafe { libc::fstat(NUMBER, &raw mut stat) } == 0;
    known && stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

fn has_room() -> bool {
    let mut poll = libc::pollfd { fd: NUMBER, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one live pollfd, no timeout.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLOUT != 0 }
}
