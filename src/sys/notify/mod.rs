//! The socket for the app's messages (sd_notify(3)), the socket of the service manager that started graceinit, and the
//! pipe on which an app of s6 tells that it is ready. The grammar of the messages is in `crate::notify`.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use super::fd::{self, Read};
use super::{process, tree};
use crate::notify::{self, Family, Message, Refusal, Sender};
use crate::types::{Pid, Time};

/// Where the socket may lie. First in memory, which a container has even if its root file system is read-only, and
/// where no file outlives the container.
const PLACES: [&str; 3] = ["/dev/shm", "/run", "/tmp"];

/// How many messages are read at once: a flood must not keep the loop from its other work.
const BATCH: usize = 32;

/// The length of the longest message. systemd has the same limit (NOTIFY_BUFFER_MAX).
const LONGEST: usize = 4096;

/// The most descriptors that the kernel sends with one datagram (SCM_MAX_FD).
pub const DESCRIPTORS: usize = 253;

// ---- the app's socket -----------------------------------------------------------------------------

/// The socket for the app's messages.
///
/// It has a path, like that of systemd, if any of the places can be written: Ruby (Puma, Sidekiq) and the Rust crate
/// `sd-notify` take an abstract `@name` for the name of a file, and Sidekiq exits because of that.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    name: Name,
    /// It cannot be read any more.
    failure: Option<io::Error>,
}

#[derive(Debug)]
enum Name {
    Path(PathBuf),
    /// The name without the NUL at its beginning.
    Abstract(String),
}

/// A message of the app.
#[derive(Debug)]
pub struct Datagram {
    /// The process that sent it.
    pub sender: Sender,
    /// Its text; `None`: it was too long, and a part of it would be misleading.
    pub bytes: Option<Vec<u8>>,
}

impl Socket {
    /// Opens the socket. Every user may write to it: the kernel tells the sender of each message.
    ///
    /// # Errors
    /// Those of socket(2), and of bind(2) with an abstract name.
    pub fn open() -> io::Result<Socket> {
        let fd = unix_datagram()?;
        // Before the socket has a name, so that no message can arrive without credentials.
        fd::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, &1i32)?;
        for place in PLACES {
            let path = PathBuf::from(place).join(random_name());
            if bind(&fd, path.as_os_str().as_bytes()).is_ok() {
                return Ok(Socket { fd, name: Name::Path(path), failure: None });
            }
        }
        // Abstract names belong to the network namespace, which other containers may share (those of a pod). The name
        // is random, so that no process can guess it and take it first.
        let name = random_name();
        bind(&fd, &[b"\0", name.as_bytes()].concat())?;
        Ok(Socket { fd, name: Name::Abstract(name), failure: None })
    }

    /// The variable for the app: `NOTIFY_SOCKET=...`.
    pub fn variable(&self) -> CString {
        let mut text = OsString::from("NOTIFY_SOCKET=");
        match &self.name {
            Name::Path(path) => text.push(path),
            Name::Abstract(name) => {
                text.push("@");
                text.push(name);
            }
        }
        // No part of it has a NUL byte.
        CString::new(text.into_vec()).unwrap_or_default()
    }

    /// Receives messages, up to a limit, after which poll(2) shows that there are more, and up to one that has
    /// descriptors. True: that is the last one of `into`. It stays in the socket, and comes again, until a helper has
    /// called [`take`].
    pub fn receive(&mut self, into: &mut Vec<Datagram>) -> bool {
        for _ in 0..BATCH {
            let (datagram, descriptors) = match look(self.fd.as_fd()) {
                Ok(Some(found)) => found,
                Ok(None) => return false,
                Err(error) => {
                    self.failure = Some(error);
                    return false;
                }
            };
            into.push(datagram);
            if descriptors {
                return true;
            }
            // A message that stays would be heard again and again.
            if let Err(error) = skip(self.fd.as_fd()) {
                self.failure = Some(error);
                return false;
            }
        }
        false
    }

    /// Why the socket cannot be read any more.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Name::Path(path) = &self.name {
            // It may be removed already, or there is no right to remove it.
            let _ = fs::remove_file(path);
        }
    }
}

fn random_name() -> String {
    let number = u64::from_ne_bytes(process::random());
    // With the pid, because right after boot there may be no random bytes.
    format!("graceinit-{}-{number:016x}", process::own_pid())
}

fn unix_datagram() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers; the call makes a descriptor.
    unsafe { fd::created(libc::socket(libc::AF_UNIX, kind, 0).into()) }
}

/// The address of a path, or of a NUL and an abstract name (unix(7)). `None` if it is too long.
fn address(name: &[u8]) -> Option<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: sockaddr_un is plain numbers; all zeroes is a value of it.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // Behind a path there has to be room for a NUL.
    if name.is_empty() || name.len() >= address.sun_path.len() {
        return None;
    }
    for (place, byte) in address.sun_path.iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    // The length of an abstract name is exact; that of a path may leave the NUL out.
    let length = mem::offset_of!(libc::sockaddr_un, sun_path) + name.len();
    Some((address, length as libc::socklen_t))
}

fn bind(fd: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let (address, length) =
        address(name).ok_or_else(|| io::Error::from_raw_os_error(libc::ENAMETOOLONG))?;
    // The app may run as any user, so the umask does not apply. There is no other thread that it would matter to.
    // SAFETY: umask takes a plain number.
    let umask = unsafe { libc::umask(0o111) };
    // SAFETY: the pointer is to a live address, whose length is passed on.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    let error = io::Error::last_os_error();
    // SAFETY: umask takes a plain number.
    unsafe { libc::umask(umask) };
    if result == 0 { Ok(()) } else { Err(error) }
}

/// Room for the credentials, or for as many descriptors as can come and the credentials.
#[repr(C, align(8))]
struct Control<const SIZE: usize>([u8; SIZE]);

/// The room for the credentials alone.
const CREDENTIALS: usize = 32;
/// The room for all.
const ALL: usize = 1088;

const _: () = {
    let credentials = size_of::<libc::ucred>() as u32;
    // SAFETY: CMSG_SPACE computes a size.
    let (one, descriptors) =
        unsafe { (libc::CMSG_SPACE(credentials), libc::CMSG_SPACE((DESCRIPTORS * 4) as u32)) };
    assert!(one as usize <= CREDENTIALS && (one + descriptors) as usize <= ALL);
};

/// Looks at the first message and leaves it in the socket: the message, and whether it has descriptors.
///
/// There is no room for descriptors, so the kernel makes none for this process, and says so (MSG_CTRUNC): close(2) of
/// a descriptor that another process has chosen can wait for ever (a file system whose server does not answer).
fn look(fd: BorrowedFd<'_>) -> io::Result<Option<(Datagram, bool)>> {
    let mut bytes = [0u8; LONGEST];
    let mut control = Control([0; CREDENTIALS]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let Some((header, length)) = receive(fd, &mut part, &mut control.0, libc::MSG_PEEK)? else {
        return Ok(None);
    };
    let whole = header.msg_flags & libc::MSG_TRUNC == 0;
    let text = bytes.get(..length).filter(|_| whole);
    let datagram = Datagram { sender: credentials(&header), bytes: text.map(<[u8]>::to_vec) };
    Ok(Some((datagram, header.msg_flags & libc::MSG_CTRUNC != 0)))
}

/// Removes the first message, which has no descriptors.
fn skip(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    receive(fd, &mut part, &mut [], 0).map(drop)
}

/// Removes the first message with its descriptors and calls `taken`. The descriptors are not closed: the caller exits.
/// Only for a helper, because to close them can take for ever.
pub fn take(fd: BorrowedFd<'_>, taken: &dyn Fn()) {
    let mut control = Control([0; ALL]);
    let mut part = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    let taken_out = receive(fd, &mut part, &mut control.0, libc::MSG_CMSG_CLOEXEC);
    let Ok(Some((header, _))) = taken_out else { return };
    taken();
    for_each(&header, |level, kind, data| {
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            for index in 0..data.len() / size_of::<i32>() {
                // SAFETY: the data hold more than `index` numbers, which need not be aligned.
                let fd = unsafe { ptr::read_unaligned(data.as_ptr().cast::<i32>().add(index)) };
                disable_linger(fd);
            }
        }
    });
}

/// There is no message, or no memory for it.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::EAGAIN, libc::ENOMEM, libc::ENOBUFS];
    error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

/// Calls recvmsg(2). `None`: there is no message, or no memory for it; poll(2) tells when to try again.
fn receive(
    fd: BorrowedFd<'_>,
    part: &mut libc::iovec,
    control: &mut [u8],
    flags: i32,
) -> io::Result<Option<(libc::msghdr, usize)>> {
    // SAFETY: msghdr is numbers and pointers; all zeroes is a value of it.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len() as _;
    loop {
        // SAFETY: the header points to live buffers and holds their sizes.
        let length =
            unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags | libc::MSG_DONTWAIT) };
        match usize::try_from(length) {
            Ok(length) => {
                fd::has_moved();
                return Ok(Some((header, length)));
            }
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return if is_passing(&error) { Ok(None) } else { Err(error) },
            },
        }
    }
}

/// The sender; pid 0 if the message has no credentials.
fn credentials(header: &libc::msghdr) -> Sender {
    let mut sender = Sender { pid: Pid(0), uid: u32::MAX, gid: u32::MAX };
    for_each(header, |level, kind, data| {
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
            && data.len() >= size_of::<libc::ucred>()
        {
            // SAFETY: the data hold a ucred, which need not be aligned.
            let who = unsafe { ptr::read_unaligned(data.as_ptr().cast::<libc::ucred>()) };
            sender = Sender { pid: Pid(who.pid), uid: who.uid, gid: who.gid };
        }
    });
    sender
}

/// Calls `each` with the level, the type and the data of each control message.
fn for_each(header: &libc::msghdr, mut each: impl FnMut(i32, i32, &[u8])) {
    // SAFETY: the kernel has filled the header in, and its control buffer is live and aligned.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give only headers that lie within the buffer.
        let (level, kind, length) =
            unsafe { ((*at).cmsg_level, (*at).cmsg_type, (*at).cmsg_len as usize) };
        // SAFETY: CMSG_LEN computes a size.
        let size = length.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        // SAFETY: the header lies within the buffer; its data follow it, and end where the header says.
        each(level, kind, unsafe { std::slice::from_raw_parts(libc::CMSG_DATA(at), size) });
        // SAFETY: the header and its control buffer are still as the kernel has filled them in.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
}

/// Turns SO_LINGER off (socket(7)): with it, closing the last descriptor of a TCP socket waits for the peer, for a
/// time that the sender has chosen.
fn disable_linger(fd: i32) {
    let off = libc::linger { l_onoff: 0, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // Ignore ENOTSOCK, the result for any other descriptor.
    // SAFETY: the pointer is to a live value, and its size is what is passed on.
    unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const off).cast(), size)
    };
}

/// The parent of a process, from /proc.
pub fn parent_of(pid: Pid) -> Option<Pid> {
    tree::look_up(pid).map(|process| process.parent)
}

/// Whether this sender may speak for the app (see [`Family::hear`]).
///
/// # Errors
/// The reason to refuse it.
pub fn hear(family: &Family<'_>, sender: Sender) -> Result<(), Refusal> {
    family.hear(sender, parent_of)
}

/// Whether this process can be the main process (see [`Family::may_be_main`]).
pub fn may_be_main(family: &Family<'_>, pid: Pid) -> bool {
    family.may_be_main(pid, parent_of)
}

/// The interval of WATCHDOG_USEC, if it is meant for this process.
pub fn watchdog_from_environment() -> Option<Duration> {
    let usec = process::variable("WATCHDOG_USEC");
    notify::watchdog(usec, process::variable("WATCHDOG_PID"), process::own_pid())
}

// ---- upwards --------------------------------------------------------------------------------------

/// The service manager that started graceinit and has given it a NOTIFY_SOCKET.
#[derive(Debug)]
pub struct Upward {
    fd: OwnedFd,
    /// The name, as bind(2) takes it.
    name: Vec<u8>,
    /// The message to send again when there is room.
    owed: Option<Message>,
    /// When to try again, and how long the wait after that is.
    again: (Time, Duration),
}

/// The result of sending a message.
#[derive(Debug)]
pub enum Sent {
    /// The message is in the socket.
    Yes,
    /// The socket has no room. A message about a state is sent again later.
    Full,
    /// There is no socket, or it refuses the message.
    Failed(io::Error),
}

/// The first wait before a message is sent again. Each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Upward {
    /// The socket that NOTIFY_SOCKET of the inherited environment names, if there is one.
    ///
    /// # Errors
    /// Why it cannot be used. graceinit warns once and goes on without it.
    pub fn from_environment() -> Result<Option<Upward>, String> {
        match process::variable("NOTIFY_SOCKET") {
            None | Some(b"") => Ok(None),
            Some(value) => Upward::new(value).map(Some),
        }
    }

    fn new(value: &[u8]) -> Result<Upward, String> {
        let shown = OsStr::from_bytes(value).to_string_lossy();
        let name = match value {
            [b'/', ..] => value.to_vec(),
            [b'@', rest @ ..] if !rest.is_empty() => [b"\0", rest].concat(),
            _ => {
                return Err(format!(
                    "unable to use NOTIFY_SOCKET={shown}: neither a path nor an abstract name"
                ));
            }
        };
        if address(&name).is_none() {
            return Err(format!("unable to use NOTIFY_SOCKET={shown}: it is too long"));
        }
        let fd = unix_datagram()
            .map_err(|error| format!("unable to open a socket for NOTIFY_SOCKET: {error}"))?;
        Ok(Upward { fd, name, owed: None, again: (Time::default(), FIRST_WAIT) })
    }

    /// Sends a message. Never waits. The name is looked up each time, because the socket may have been replaced.
    pub fn send(&mut self, now: Time, message: &Message) -> Sent {
        if message.lasts() {
            // A new state replaces the one that is to be sent again.
            self.owed = None;
        } else if self.owed.is_some() {
            // Keep the order of the messages.
            if let Sent::Full = self.retry(now) {
                return Sent::Full;
            }
        }
        let sent = self.transmit(&message.compose());
        if matches!(sent, Sent::Full) && message.lasts() {
            self.owed = Some(message.clone());
            self.again = (now.after(FIRST_WAIT), FIRST_WAIT);
        }
        sent
    }

    /// When to call [`Upward::retry`].
    pub fn due(&self) -> Option<Time> {
        self.owed.as_ref().map(|_| self.again.0)
    }

    /// Sends the message again that had no room.
    pub fn retry(&mut self, now: Time) -> Sent {
        let Some(message) = self.owed.take() else { return Sent::Yes };
        let sent = self.transmit(&message.compose());
        if matches!(sent, Sent::Full) {
            self.owed = Some(message);
            let wait = (self.again.1 * 2).min(LONGEST_WAIT);
            self.again = (now.after(wait), wait);
        }
        sent
    }

    fn transmit(&self, bytes: &[u8]) -> Sent {
        let Some((address, length)) = address(&self.name) else {
            return Sent::Failed(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        };
        // SAFETY: both pointers are to live values, whose lengths are passed on.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                (&raw const address).cast(),
                length,
            )
        };
        if sent >= 0 {
            return Sent::Yes;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Sent::Full,
            _ => Sent::Failed(error),
        }
    }
}

impl AsFd for Upward {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

// ---- a line on a descriptor -----------------------------------------------------------------------

/// The pipe on which the app writes a newline when it is ready
/// (<https://skarnet.org/software/s6/notifywhenup.html>).
#[derive(Debug)]
pub struct ReadyPipe(OwnedFd);

/// The result of reading the pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// There is no newline yet.
    Pending,
    /// There is a newline: the app is ready.
    Ready,
    /// All writers have closed the pipe, so no newline can come.
    Closed,
}

impl ReadyPipe {
    /// Makes the pipe and the end for the app ([`super::launch::spawn::Setup::extra`]). Drop that end when the app is
    /// started, so that the pipe ends when the app closes it.
    ///
    /// # Errors
    /// Those of pipe2(2).
    pub fn open() -> io::Result<(ReadyPipe, OwnedFd)> {
        let (read, write) = fd::pipe()?;
        Ok((ReadyPipe(read), write))
    }

    /// Reads up to the newline. What comes before it is ignored.
    pub fn read(&mut self) -> Line {
        let mut bytes = [0u8; 512];
        // A limit, because an app may write its log into the pipe. poll(2) shows that there is more.
        for _ in 0..8 {
            match fd::read(self.0.as_fd(), &mut bytes) {
                Read::Bytes(count) if bytes.iter().take(count).any(|byte| *byte == b'\n') => {
                    return Line::Ready;
                }
                Read::Bytes(_) => {}
                Read::Empty => return Line::Pending,
                Read::End => return Line::Closed,
            }
        }
        Line::Pending
    }
}

impl AsFd for ReadyPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
