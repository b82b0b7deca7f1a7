//! The kernel's own account of sockets: a netlink socket of the family sock_diag(7). Asks for no
//! privilege and for no file, and sees the sockets of our network namespace.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

mod wire;

use wire::Piece;
pub use wire::{Info, Kind, Query, Socket, States};

/// The kernel packs as much of an answer into one piece as we have room for, up to this.
const ROOM: usize = 32 * 1024;
/// More sockets than that are not read in one go: PID 1 has other things to do.
const MOST_SOCKETS: u32 = 200_000;
/// Nor more pieces: a piece holds one socket at least.
const MOST_PIECES: u32 = 20_000;

/// How much of an answer could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// All of it.
    Whole,
    /// It was too much, or a part was lost.
    Part,
}

/// What answers have cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effort {
    /// Sockets that the kernel told of.
    pub sockets: u32,
    /// Pieces that they came in.
    pub pieces: u32,
    /// Bytes of all pieces.
    pub bytes: usize,
}

/// A way to ask.
#[derive(Debug)]
pub struct Diag {
    /// `None` after an answer that was not read to its end: the next question needs a new one.
    socket: Option<OwnedFd>,
    sequence: u32,
    buffer: Vec<u8>,
    effort: Effort,
}

impl Diag {
    /// Opens one.
    ///
    /// # Errors
    /// EPROTONOSUPPORT, EAFNOSUPPORT: the kernel has no sock_diag. EPERM, EACCES, ENOSYS: a seccomp
    /// profile or a security module refuses. EMFILE, ENFILE, ENOMEM: a limit is reached.
    pub fn open() -> io::Result<Diag> {
        let socket = Some(open()?);
        Ok(Diag { socket, sequence: 0, buffer: vec![0; ROOM], effort: Effort::default() })
    }

    /// Asks, and calls `each` for every socket of the answer. Never waits: the kernel looks its sockets
    /// up while it is asked and while the answer is read. It stops nothing meanwhile, so connections
    /// that are made or go in between may be there, be missing or be told of twice; nor is its mark for
    /// that (NLM_F_DUMP_INTR) looked at, because whoever counts connections looks again soon.
    ///
    /// # Errors
    /// ENOENT: the kernel lacks the module for such sockets. Others as in [`Diag::open`].
    pub fn ask(&mut self, query: &Query<'_>, mut each: impl FnMut(&Socket)) -> io::Result<Extent> {
        self.effort = Effort::default();
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open()?,
        };
        let extent = self.exchange(&socket, query, &mut each);
        // Otherwise it is closed, which makes the kernel forget what it had still to say.
        if matches!(extent, Ok(Extent::Whole)) {
            self.socket = Some(socket);
        }
        extent
    }

    /// What the last answer has cost.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    fn exchange(
        &mut self,
        socket: &OwnedFd,
        query: &Query<'_>,
        each: &mut impl FnMut(&Socket),
    ) -> io::Result<Extent> {
        self.sequence = self.sequence.wrapping_add(1);
        let question = wire::question(query, self.sequence);
        // SAFETY: the buffer is live and its length is what is passed on.
        let sent =
            unsafe { libc::send(socket.as_raw_fd(), question.as_ptr().cast(), question.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let effort = &mut self.effort;
        while effort.pieces < MOST_PIECES && effort.sockets < MOST_SOCKETS {
            effort.pieces += 1;
            let piece = match receive(socket, &mut self.buffer) {
                Ok(Some(piece)) => piece,
                Ok(None) => continue,
                // EAGAIN: the kernel has nothing more to say, though it never said that it was
                // through. ENOBUFS: it had no memory for the next piece.
                Err(libc::EAGAIN | libc::ENOBUFS) => return Ok(Extent::Part),
                Err(libc::EINTR) => continue,
                Err(error) => return Err(io::Error::from_raw_os_error(error)),
            };
            effort.bytes += piece.len();
            let sockets = &mut effort.sockets;
            let ended = wire::answers(piece, self.sequence, |socket| {
                *sockets += 1;
                // The kernel filters unless there are too many ports for that.
                if query.ports.is_empty() || query.ports.contains(&socket.port) {
                    each(&socket);
                }
            });
            match ended {
                Piece::More => {}
                Piece::Last => return Ok(Extent::Whole),
                Piece::Refused(error) => return Err(io::Error::from_raw_os_error(error)),
                Piece::Broken => return Ok(Extent::Part),
            }
        }
        Ok(Extent::Part)
    }
}

fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // Once connected to the kernel (port 0), no other process can send to it.
    let kernel = address();
    // SAFETY: the pointer is to a live sockaddr_nl, and its size is what is passed on.
    let result = unsafe {
        libc::connect(fd, (&raw const kernel).cast(), size_of::<libc::sockaddr_nl>() as u32)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// Port 0: the kernel's.
fn address() -> libc::sockaddr_nl {
    // SAFETY: plain numbers, for which zeroes are valid.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address
}

/// What has come, if it is from the kernel.
fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, i32> {
    let mut from = address();
    let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the buffer and both pointers are live, and their sizes are what is passed on. With
    // MSG_TRUNC the result may be larger than the buffer, of which nothing behind its end is written.
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            (&raw mut from).cast(),
            &raw mut size,
        )
    };
    let Ok(length) = usize::try_from(length) else {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(0));
    };
    if from.nl_pid != 0 {
        return Ok(None);
    }
    // Larger than the buffer: a part is lost.
    buffer.get(..length).map(Some).ok_or(libc::ENOBUFS)
}
