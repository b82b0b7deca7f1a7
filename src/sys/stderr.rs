//! Writing to stderr without waiting for its reader. With a full pipe, a stopped terminal or a closed descriptor the
//! line is lost, and the loop goes on. O_NONBLOCK cannot be set on the descriptor itself: it belongs to the open file,
//! which the app shares. Which way is taken is found out with the first line, from the kind of the file.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::helper::{Descriptors, End, Given, Helper};
use super::{clock, fd, mounts, process, tty};
use crate::types::{Pid, Status, Time};

/// The length of the longest write that a pipe keeps in one piece (PIPE_BUF of pipe(7)).
pub const LONGEST: usize = 4096;

/// The descriptor.
pub const NUMBER: i32 = 2;

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Way {
    /// With RWF_NOWAIT. Tried first; terminals and many file systems do not know the flag, nor do pipes before Linux
    /// 5.8, and old seccomp profiles refuse the call.
    NoWait,
    /// With write(2): a file of a local file system, or /dev/null.
    Plain,
    /// With send(2) and MSG_DONTWAIT.
    Socket,
    /// Through an open file of graceinit's own, with O_NONBLOCK.
    Own,
    /// Through a helper, which may wait for the file system.
    Helper,
}

/// The present way, as a number.
static WAY: AtomicU8 = AtomicU8::new(Way::NoWait as u8);
/// The open file, or the end of the socket that leads to the helper.
static FD: AtomicI32 = AtomicI32::new(-1);
/// The helper's end. graceinit keeps it open, so that the lines that a killed helper has not written reach the next one.
static UNREAD: AtomicI32 = AtomicI32::new(-1);
/// The process that has opened it. In a child the number may stand for another descriptor.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// The helper; 0: none.
static HELPER: AtomicI32 = AtomicI32::new(0);
/// When the helper was started.
static STARTED: AtomicU64 = AtomicU64::new(0);
/// Only the beginning of the last line was written.
static TORN: AtomicBool = AtomicBool::new(false);

/// The shortest time between two starts of the helper, which is killed with all other processes at the end of a stop.
const PAUSE: Duration = Duration::from_millis(100);
/// How long [`finish`] waits for the helper.
const LEAVING: Duration = Duration::from_millis(250);

/// Writes `line` if that is possible without waiting. Whether all of it was written.
pub fn write(line: &[u8]) -> bool {
    let line = &line[..line.len().min(LONGEST)];
    // The next line must not continue one that was cut off.
    if TORN.load(SeqCst) && !write_once(b"\n") {
        return false;
    }
    write_once(line)
}

fn write_once(line: &[u8]) -> bool {
    let way = way();
    let mut written = write_by(way, line);
    if way == Way::NoWait && written.as_ref().is_err_and(must_find_another) {
        let Some(way) = find() else { return false };
        WAY.store(way as u8, SeqCst);
        written = write_by(way, line);
    }
    if way == Way::Helper && clock::now().since(Time(STARTED.load(SeqCst))) >= PAUSE {
        revive_helper();
    }
    if let Ok(count) = written {
        TORN.store(count < line.len() && (count > 0 || TORN.load(SeqCst)), SeqCst);
    }
    written == Ok(line.len())
}

fn way() -> Way {
    match WAY.load(SeqCst) {
        way if way == Way::Plain as u8 => Way::Plain,
        way if way == Way::Socket as u8 => Way::Socket,
        way if way == Way::Own as u8 && is_owner() => Way::Own,
        way if way == Way::Helper as u8 && is_owner() => Way::Helper,
        _ => Way::NoWait,
    }
}

fn is_owner() -> bool {
    OWNER.load(SeqCst) == process::own_pid().0
}

/// Whether this error of a write with RWF_NOWAIT calls for another way.
fn must_find_another(errno: &i32) -> bool {
    match *errno {
        libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EPERM | libc::ESPIPE => true,
        // A file gives EAGAIN when memory is short; then a short wait is right.
        libc::EAGAIN => mounts::file_type(NUMBER).is_some_and(|file| file.kind == libc::S_IFREG),
        _ => false,
    }
}

/// The number of bytes that were written, or the errno.
fn write_by(way: Way, line: &[u8]) -> Result<usize, i32> {
    let (start, length) = (line.as_ptr().cast::<libc::c_void>(), line.len());
    let written = match way {
        Way::NoWait => {
            let part = libc::iovec { iov_base: start.cast_mut(), iov_len: length };
            // The position -1 is the current one. With RWF_NOWAIT the call fails with EAGAIN instead of waiting.
            // SAFETY: the vector points to `line`, which is live and only read.
            unsafe { libc::pwritev2(NUMBER, &raw const part, 1, -1, libc::RWF_NOWAIT) }
        }
        // SAFETY: the buffer is live and its length is what is passed on.
        Way::Plain => unsafe { libc::write(NUMBER, start, length) },
        Way::Socket => {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the buffer is live and its length is what is passed on.
            unsafe { libc::send(NUMBER, start, length, flags) }
        }
        // SAFETY: the buffer is live and its length is what is passed on.
        Way::Own => unsafe { libc::write(FD.load(SeqCst), start, length) },
        Way::Helper => {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the buffer is live and its length is what is passed on.
            unsafe { libc::send(FD.load(SeqCst), start, length, flags) }
        }
    };
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    usize::try_from(written).map_err(|_| errno())
}

/// The way for this kind of file. `None`: it needs a helper, and none could be started.
fn find() -> Option<Way> {
    let kind = mounts::file_type(NUMBER);
    match kind.map_or(0, |file| file.kind) {
        // (A disk that hangs makes every process on it hang, the app as well.)
        libc::S_IFREG if kind.is_some_and(|file| mounts::is_local(&file)) => Some(Way::Plain),
        libc::S_IFSOCK => Some(Way::Socket),
        // The devices of mem(4): null, zero, full, kmsg.
        libc::S_IFCHR if kind.is_some_and(|file| file.device.0 == 1) => Some(Way::Plain),
        // poll(2) is of no use: POLLOUT of a terminal promises room for one byte, and write(2) waits for the rest.
        libc::S_IFCHR if tty::is_terminal(NUMBER) && open_own() => Some(Way::Own),
        libc::S_IFIFO if open_own() => Some(Way::Own),
        _ => begin_helping().then_some(Way::Helper),
    }
}

/// Opens the file again. Not possible without /proc, nor with a terminal of another user if graceinit is not root.
fn open_own() -> bool {
    let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    const PATH: &CStr = c"/proc/self/fd/2";
    // SAFETY: the path is terminated; the call makes a descriptor.
    let opened = unsafe { fd::created(libc::open(PATH.as_ptr(), flags).into()) };
    let Ok(own) = opened else { return false };
    // /dev/tty is another terminal for a process of another session.
    let same = mounts::file_type(own.as_raw_fd()) == mounts::file_type(NUMBER);
    if same {
        keep(own);
    }
    same
}

/// Makes the socket, and starts the helper. Whether both were possible.
fn begin_helping() -> bool {
    let Ok((ours, theirs)) = End::pair() else { return false };
    let theirs = OwnedFd::from(theirs);
    if !start_helper(theirs.as_raw_fd()) {
        return false;
    }
    UNREAD.store(theirs.into_raw_fd(), SeqCst);
    keep(ours.into());
    true
}

/// Starts another helper if the present one was killed. Until that is possible the lines stay in the socket.
fn revive_helper() {
    if helper().is_none_or(|old| Helper::of(old).reap().is_some()) {
        // Its pid may belong to another process from now on.
        HELPER.store(0, SeqCst);
        start_helper(UNREAD.load(SeqCst));
    }
}

/// Starts the helper, which copies what comes through this socket.
fn start_helper(from: RawFd) -> bool {
    // SAFETY: the descriptor is open, and stays open for the time of this call.
    let from = unsafe { BorrowedFd::borrow_raw(from) };
    let keep_open = [from];
    // It needs no right but the open file. But the server of a file system may look at the user of each write.
    let given = Given {
        name: c"graceinit-log",
        user: None,
        trusted: true,
        log: true,
        descriptors: Descriptors::Only(&keep_open),
        files: 16,
    };
    let Ok(helper) = Helper::start(&given, &|| copy(from)) else { return false };
    HELPER.store(helper.pid().0, SeqCst);
    STARTED.store(clock::now().0, SeqCst);
    true
}

/// The helper's work: copies lines to stderr until the other end is closed. A line leaves the socket when it is
/// written: the helper may be killed before.
fn copy(from: BorrowedFd<'_>) -> u8 {
    // SAFETY: plain numbers. The flag belongs to this end of the socket alone.
    unsafe { libc::fcntl(from.as_raw_fd(), libc::F_SETFL, 0) };
    let mut bytes = [0u8; LONGEST];
    let receive = |bytes: &mut [u8], flags| {
        // SAFETY: the buffer is live and its length is what is passed on.
        unsafe { libc::recv(from.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) }
    };
    while let Ok(count @ 1..) = usize::try_from(receive(&mut bytes, libc::MSG_PEEK)) {
        let mut rest = &bytes[..count];
        // A line that cannot be written is lost.
        while let Ok(written @ 1..) = write_by(Way::Plain, rest) {
            rest = &rest[written.min(rest.len())..];
        }
        receive(&mut bytes, libc::MSG_DONTWAIT);
    }
    0
}

/// Keeps a descriptor for the rest of the life; closes the one before.
fn keep(new: OwnedFd) {
    let old = FD.swap(new.into_raw_fd(), SeqCst);
    if old >= 0 && is_owner() {
        // SAFETY: the descriptor was stored by this function, and is not used any more.
        drop(unsafe { OwnedFd::from_raw_fd(old) });
    }
    OWNER.store(process::own_pid().0, SeqCst);
}

/// The descriptors that lines are written to in place of stderr.
pub fn own<'a>() -> impl Iterator<Item = BorrowedFd<'a>> {
    let open = [&FD, &UNREAD].map(|fd| fd.load(SeqCst)).into_iter().filter(|fd| *fd >= 0);
    // SAFETY: the descriptors stay open until others take their places, and no caller keeps the result that long.
    open.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The helper, which is no part of the tree.
pub fn helper() -> Option<Pid> {
    let helper = HELPER.load(SeqCst);
    (helper != 0).then_some(Pid(helper))
}

/// Gives the helper a moment to write what it has. For the end of this process, with which the helper dies.
pub fn finish() {
    if way() != Way::Helper {
        return;
    }
    // SAFETY: the descriptor was stored by `keep`, and -1 takes its place.
    drop(unsafe { OwnedFd::from_raw_fd(FD.swap(-1, SeqCst)) });
    WAY.store(Way::NoWait as u8, SeqCst);
    // Twice: SIGKILL for all processes ends the helper too, which a slow file system can delay.
    for _ in 0..2 {
        revive_helper();
        let Some(helper) = helper().map(Helper::of) else { return };
        helper.wait_for_end(LEAVING);
        if helper.reap().is_none_or(|status| status == Status::Code(0)) {
            return;
        }
        HELPER.store(0, SeqCst);
    }
}
