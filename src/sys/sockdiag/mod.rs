//! The kernel's tables of sockets, read with a netlink socket of the family sock_diag(7). It needs no privilege and
//! no file, and shows the sockets of this network namespace.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

pub mod wire;

use super::fd;
use wire::Piece;
pub use wire::{Info, Kind, Query, Socket, States, UnixSocket};

/// The size of the buffer. The kernel sends pieces of an answer that are as large as the buffer, up to this size.
const ROOM: usize = 32 * 1024;
/// The most sockets of one answer that are read: PID 1 has other work.
const MOST_SOCKETS: u32 = 200_000;
/// The most pieces of one answer that are read. A piece holds one socket at least.
const MOST_PIECES: u32 = 20_000;

/// How much of an answer could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// All of it.
    Whole,
    /// The answer was too long, or a part was lost.
    Part,
}

/// The size of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effort {
    /// The number of sockets.
    pub sockets: u32,
    /// The number of pieces.
    pub pieces: u32,
    /// The bytes of all pieces.
    pub bytes: usize,
}

/// A connection to sock_diag.
#[derive(Debug)]
pub struct Diag {
    /// `None` after an answer that was not read to its end: the next query needs a new socket.
    socket: Option<OwnedFd>,
    sequence: u32,
    buffer: Vec<u8>,
    effort: Effort,
}

impl Diag {
    /// Opens a connection.
    ///
    /// # Errors
    /// EPROTONOSUPPORT, EAFNOSUPPORT: the kernel has no sock_diag. EPERM, EACCES, ENOSYS: a seccomp
    /// profile or a security module refuses. EMFILE, ENFILE, ENOMEM: a limit is reached.
    pub fn open() -> io::Result<Diag> {
        let socket = Some(open()?);
        Ok(Diag { socket, sequence: 0, buffer: vec![0; ROOM], effort: Effort::default() })
    }

    /// Sends a query and calls `each` for every socket of the answer. Never waits: the kernel reads its tables while
    /// the query is sent and while the answer is received. Connections that open or close meanwhile may be in the
    /// answer, be missing or be there twice. The kernel's mark for that (NLM_F_DUMP_INTR) is ignored, because the
    /// next sample follows soon.
    ///
    /// # Errors
    /// ENOENT: the kernel lacks the module for such sockets. Others as in [`Diag::open`].
    pub fn ask(&mut self, query: &Query<'_>, mut each: impl FnMut(&Socket)) -> io::Result<Extent> {
        let sequence = self.sequence.wrapping_add(1);
        let message = wire::query(query, sequence);
        self.exchange(&message, &mut |piece, sockets| {
            wire::answers(piece, sequence, |socket| {
                *sockets += 1;
                // The kernel filters by port, unless the filter would be too long.
                if query.ports.is_empty() || query.ports.contains(&socket.port) {
                    each(&socket);
                }
            })
        })
    }

    /// Sends a query for all Unix sockets in these states, as `ask` does.
    ///
    /// # Errors
    /// As of [`Diag::ask`].
    pub fn ask_unix(
        &mut self,
        states: States,
        mut each: impl FnMut(&UnixSocket<'_>),
    ) -> io::Result<Extent> {
        let sequence = self.sequence.wrapping_add(1);
        let message = wire::unix_query(states, sequence);
        self.exchange(&message, &mut |piece, sockets| {
            wire::unix_answers(piece, sequence, |socket| {
                *sockets += 1;
                each(socket);
            })
        })
    }

    /// Sends a message and reads the answer, piece by piece.
    fn exchange(&mut self, message: &[u8], take: &mut Take<'_>) -> io::Result<Extent> {
        self.effort = Effort::default();
        self.sequence = self.sequence.wrapping_add(1);
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open()?,
        };
        let extent = self.pieces(&socket, message, take);
        // Otherwise the socket is closed, which makes the kernel drop the rest of the answer.
        if matches!(extent, Ok(Extent::Whole)) {
            self.socket = Some(socket);
        }
        extent
    }

    /// The size of the last answer.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    fn pieces(
        &mut self,
        socket: &OwnedFd,
        message: &[u8],
        take: &mut Take<'_>,
    ) -> io::Result<Extent> {
        // SAFETY: the buffer is live and its length is what is passed on.
        let sent =
            unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let effort = &mut self.effort;
        while effort.pieces < MOST_PIECES && effort.sockets < MOST_SOCKETS {
            effort.pieces += 1;
            let piece = match receive(socket, &mut self.buffer) {
                Ok(Some(piece)) => piece,
                Ok(None) => continue,
                // EAGAIN: there are no more pieces, although the last one was not marked as such. ENOBUFS: the kernel
                // had no memory for the next piece.
                Err(libc::EAGAIN | libc::ENOBUFS) => return Ok(Extent::Part),
                Err(libc::EINTR) => continue,
                Err(error) => return Err(io::Error::from_raw_os_error(error)),
            };
            effort.bytes += piece.len();
            match take(piece, &mut effort.sockets) {
                Piece::More => {}
                Piece::Last => return Ok(Extent::Whole),
                Piece::Refused(error) => return Err(io::Error::from_raw_os_error(error)),
                Piece::Broken => return Ok(Extent::Part),
            }
        }
        Ok(Extent::Part)
    }
}

/// Takes a piece of an answer in, and counts its sockets.
type Take<'a> = dyn FnMut(&[u8], &mut u32) -> Piece + 'a;

fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers; the call makes a descriptor.
    let socket = unsafe {
        fd::created(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG).into())?
    };
    // When the socket is connected to the kernel (port 0), no other process can send to it.
    let kernel = address();
    // SAFETY: the pointer is to a live sockaddr_nl, and its size is what is passed on.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const kernel).cast(),
            size_of::<libc::sockaddr_nl>() as u32,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// The address of the kernel: port 0.
fn address() -> libc::sockaddr_nl {
    // SAFETY: sockaddr_nl is plain numbers; all zeroes is a value of it.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address
}

/// Receives a piece. `None` if it is not from the kernel.
fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, i32> {
    let mut from = address();
    let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // With MSG_TRUNC the result may be larger than the buffer; nothing is written behind its end.
    // SAFETY: the buffer and both pointers are live, and their sizes are what is passed on.
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
    // A result larger than the buffer: a part is lost.
    buffer.get(..length).map(Some).ok_or(libc::ENOBUFS)
}
