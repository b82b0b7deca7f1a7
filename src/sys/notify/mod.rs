//! The socket that the app speaks to (sd_notify(3)), the one that graceinit itself may speak to, and
//! the pipe for readiness as s6 has it.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use super::fd::{self, Read};
use super::{process, tree};
use crate::notify::{self, Family, Message, Refusal, Sender};
use crate::types::{Pid, Time};

/// Where the socket may lie. Memory first, which a container has even where its root cannot be
/// written; nothing of it outlives the container then.
const PLACES: [&str; 3] = ["/dev/shm", "/run", "/tmp"];

/// What one read takes at most: a flood must not keep the loop from its other work.
const BATCH: usize = 32;

/// As long as a datagram may be. systemd takes no more either (NOTIFY_BUFFER_MAX).
const LONGEST: usize = 4096;

/// The kernel sends no more descriptors with one datagram (SCM_MAX_FD).
const DESCRIPTORS: usize = 253;

// ---- the app's socket -----------------------------------------------------------------------------

/// Where the app's messages arrive.
///
/// It has a path if any place can be written, as systemd's own: to Ruby (Puma, Sidekiq) and to the
/// Rust crate `sd-notify` an abstract `@name` is a file of that name. Sidekiq even ends then.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    name: Name,
}

#[derive(Debug)]
enum Name {
    Path(PathBuf),
    /// Without the NUL that it begins with.
    Abstract(String),
}

/// A message.
#[derive(Debug)]
pub struct Datagram {
    /// Who sent it.
    pub sender: Sender,
    /// What it says; `None`: it was too long, and nobody can say what is missing.
    pub bytes: Option<Vec<u8>>,
    /// The descriptor that came with `BARRIER=1`. To be dropped when all that came before is dealt
    /// with: the sender waits for that. All other descriptors were closed on arrival.
    pub barrier: Option<OwnedFd>,
}

impl Socket {
    /// Opens the socket, for everyone to write to: the kernel says who sent what.
    ///
    /// # Errors
    /// Those of socket(2), and of bind(2) with an abstract name.
    pub fn open() -> io::Result<Socket> {
        let fd = unix_datagram()?;
        let on: libc::c_int = 1;
        // Before there is a name: nothing can arrive without credentials.
        // SAFETY: the value is a live int and its size is what is passed on.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PASSCRED,
                (&raw const on).cast(),
                mem::size_of_val(&on) as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        for place in PLACES {
            let path = PathBuf::from(place).join(random_name());
            if bind(&fd, path.as_os_str().as_bytes()).is_ok() {
                return Ok(Socket { fd, name: Name::Path(path) });
            }
        }
        // Abstract names belong to the network namespace, which others may share (the containers of a
        // pod): nobody must be able to guess it and take it first.
        let name = random_name();
        bind(&fd, &[b"\0", name.as_bytes()].concat())?;
        Ok(Socket { fd, name: Name::Abstract(name) })
    }

    /// What the app is told: `NOTIFY_SOCKET=...`.
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

    /// Takes what is there, up to a bound (poll says again then), and up to a barrier: what came before
    /// it must be dealt with first.
    pub fn receive(&mut self, into: &mut Vec<Datagram>) {
        for _ in 0..BATCH {
            let Some(datagram) = receive(self.fd.as_fd()) else { return };
            let barrier = datagram.barrier.is_some();
            into.push(datagram);
            if barrier {
                return;
            }
        }
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
            // Gone already, or no right to: as good.
            let _ = fs::remove_file(path);
        }
    }
}

fn random_name() -> String {
    let number = u64::from_ne_bytes(process::random());
    // The pid, because right after boot there may be no random bytes.
    format!("graceinit-{}-{number:016x}", process::own_pid())
}

fn unix_datagram() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// unix(7): a path, or a NUL and an abstract name. `None` if it is too long.
fn address(name: &[u8]) -> Option<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: all zero is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // A path keeps its NUL at the end.
    if name.is_empty() || name.len() >= address.sun_path.len() {
        return None;
    }
    for (place, byte) in address.sun_path.iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    // An abstract name is as long as the length says; for a path the NUL may be left out.
    let length = mem::offset_of!(libc::sockaddr_un, sun_path) + name.len();
    Some((address, length as libc::socklen_t))
}

fn bind(fd: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let (address, length) =
        address(name).ok_or_else(|| io::Error::from_raw_os_error(libc::ENAMETOOLONG))?;
    // The app may run as any user: the socket gets no umask. With one thread nobody else sees that.
    // SAFETY: plain number.
    let umask = unsafe { libc::umask(0o111) };
    // SAFETY: the address is live and its length is what is passed on.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    let error = io::Error::last_os_error();
    // SAFETY: plain number.
    unsafe { libc::umask(umask) };
    if result == 0 { Ok(()) } else { Err(error) }
}

/// Room for credentials and as many descriptors as can come.
#[repr(C, align(8))]
struct Control([u8; 1088]);

fn receive(fd: BorrowedFd<'_>) -> Option<Datagram> {
    const {
        // SAFETY: computes a size.
        let needed = unsafe {
            libc::CMSG_SPACE(mem::size_of::<libc::ucred>() as u32)
                + libc::CMSG_SPACE((DESCRIPTORS * 4) as u32)
        };
        assert!(needed as usize <= mem::size_of::<Control>());
    }
    let mut bytes = [0u8; LONGEST];
    let mut control = Control([0; 1088]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let length = loop {
        // SAFETY: the header points to live buffers and holds their sizes.
        let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
        match usize::try_from(length) {
            Ok(length) => break length.min(bytes.len()),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // Nothing there, or no memory to say what: poll tells when to ask again.
            Err(_) => return None,
        }
    };
    // What was truncated (MSG_CTRUNC) the kernel has closed itself; what arrived is in here.
    let (sender, mut descriptors) = ancillary(&header);
    let whole = header.msg_flags & libc::MSG_TRUNC == 0;
    let text = bytes.get(..length).filter(|_| whole);
    let is_barrier = text.is_some_and(|text| notify::parse(text) == [notify::Notice::Barrier]);
    Some(Datagram {
        sender,
        bytes: text.map(<[u8]>::to_vec),
        barrier: descriptors.pop().filter(|_| is_barrier),
    })
}

/// The credentials (nobody's if there are none), and all descriptors.
fn ancillary(header: &libc::msghdr) -> (Sender, Vec<OwnedFd>) {
    let mut sender = Sender { pid: Pid(0), uid: u32::MAX, gid: u32::MAX };
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has filled in the header; its control buffer is live and aligned.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give only headers that lie within the buffer.
        let (level, kind, length) =
            unsafe { ((*at).cmsg_level, (*at).cmsg_type, (*at).cmsg_len as usize) };
        // SAFETY: as above; the data follow the header.
        let data = unsafe { libc::CMSG_DATA(at) };
        // SAFETY: computes a size.
        let size = length.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if size >= mem::size_of::<libc::ucred>() => {
                // SAFETY: so many bytes are there; they need not be aligned.
                let who = unsafe { ptr::read_unaligned(data.cast::<libc::ucred>()) };
                sender = Sender { pid: Pid(who.pid), uid: who.uid, gid: who.gid };
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for index in 0..size / mem::size_of::<i32>() {
                    // SAFETY: so many numbers are there.
                    let fd = unsafe { ptr::read_unaligned(data.cast::<i32>().add(index)) };
                    // SAFETY: the kernel has just opened it for us.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    do_not_linger(&fd);
                    descriptors.push(fd);
                }
            }
            _ => {}
        }
        // SAFETY: as for the first one.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    (sender, descriptors)
}

/// Whoever closes the last descriptor of a TCP socket with SO_LINGER (socket(7)) waits for its peer, for
/// as long as its owner has chosen. That must not be us.
fn do_not_linger(fd: &OwnedFd) {
    let off = libc::linger { l_onoff: 0, l_linger: 0 };
    // ENOTSOCK for all others.
    // SAFETY: the value is live and its size is what is passed on.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const off).cast(),
            mem::size_of_val(&off) as libc::socklen_t,
        )
    };
}

/// The parent of a process, by /proc.
pub fn parent_of(pid: Pid) -> Option<Pid> {
    tree::look_up(pid).map(|process| process.parent)
}

/// Whether this sender may speak for the app, as far as /proc tells.
///
/// # Errors
/// Why not.
pub fn hear(family: &Family<'_>, sender: Sender) -> Result<(), Refusal> {
    family.hear(sender, parent_of)
}

/// Whether this process can be the main one from now on.
pub fn may_be_main(family: &Family<'_>, pid: Pid) -> bool {
    family.may_be_main(pid, parent_of)
}

/// WATCHDOG_USEC, if it is meant for this process.
pub fn watchdog_from_environment() -> Option<Duration> {
    let usec = process::variable("WATCHDOG_USEC");
    notify::watchdog(usec, process::variable("WATCHDOG_PID"), process::own_pid())
}

// ---- upwards --------------------------------------------------------------------------------------

/// Whoever started graceinit and wants to hear from it.
#[derive(Debug)]
pub struct Upward {
    fd: OwnedFd,
    /// As bind(2) takes it.
    name: Vec<u8>,
    /// What it has to be told as soon as there is room.
    owed: Option<Message>,
    /// When to try again, and how long to wait after that.
    again: (Time, Duration),
}

/// What became of a message.
#[derive(Debug)]
pub enum Sent {
    /// It is there.
    Yes,
    /// There is no room. It is tried again later if it is a state.
    Full,
    /// Nobody is there, or not for us.
    Failed(io::Error),
}

/// How long to wait before a message is tried again, at first and at most.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Upward {
    /// The socket that NOTIFY_SOCKET of our own environment names; `None` if it names none.
    ///
    /// # Errors
    /// Why it cannot be used, to be said once; life goes on without.
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

    /// Tells it. Never waits. The name is looked up each time: what it names may have been replaced.
    pub fn send(&mut self, now: Time, message: &Message) -> Sent {
        if message.lasts() {
            // The last state is the one that counts.
            self.owed = None;
        } else if self.owed.is_some() {
            // In the order in which it happened.
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

    /// When [`Upward::retry`] is to be called.
    pub fn due(&self) -> Option<Time> {
        self.owed.as_ref().map(|_| self.again.0)
    }

    /// Tries once more what there was no room for.
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
        // SAFETY: text and address are live, and their lengths are what is passed on.
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

/// The pipe on which the app says with a newline that it is ready
/// (<https://skarnet.org/software/s6/notifywhenup.html>).
#[derive(Debug)]
pub struct ReadyPipe(OwnedFd);

/// What the pipe says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// Nothing yet.
    Pending,
    /// The app is ready.
    Ready,
    /// All that could have said so have closed it: it never will.
    Closed,
}

impl ReadyPipe {
    /// The pipe, and the end for the app ([`super::spawn::Setup::extra`]). That end is to be dropped
    /// once the app is forked; only then the pipe can end.
    ///
    /// # Errors
    /// Those of pipe2(2).
    pub fn open() -> io::Result<(ReadyPipe, OwnedFd)> {
        let (read, write) = fd::pipe()?;
        Ok((ReadyPipe(read), write))
    }

    /// Asks. Reads no more than there has to be; what comes before the newline says nothing.
    pub fn read(&mut self) -> Line {
        let mut bytes = [0u8; 512];
        // Somebody may pour a log into it: the rest another time, poll says again.
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
