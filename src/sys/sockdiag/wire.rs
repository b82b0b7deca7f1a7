//! The messages of sock_diag (sock_diag(7), linux/inet_diag.h, linux/unix_diag.h): queries are written, answers are
//! parsed. Pure; any bytes are harmless.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// States of a socket, as bits (enum tcp state of netinet/tcp.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct States(u32);

impl States {
    /// Listeners.
    pub const LISTEN: States = States(1 << 10);
    /// Connections that are being opened, are open, or are being closed while bytes may still be under way. Not
    /// TIME-WAIT and SYN-SENT.
    pub const CONNECTED: States = States(
        1 << 1 // ESTABLISHED
            | 1 << 3 // SYN-RECEIVED
            | 1 << 4 // FIN-WAIT-1
            | 1 << 5 // FIN-WAIT-2
            | 1 << 8 // CLOSE-WAIT
            | 1 << 9 // LAST-ACK
            | 1 << 11, // CLOSING
    );

    /// The states of both.
    pub const fn and(self, other: States) -> States {
        States(self.0 | other.0)
    }

    /// Whether the state of this number is one of them.
    pub const fn contains(self, state: u8) -> bool {
        state < 32 && self.0 & 1 << state != 0
    }
}

/// The kind of sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// TCP over IPv4 and IPv6 in one answer. Only the first version of the protocol has such a query. Every kernel
    /// understands it, and walks through its table of all connections (those of the machine, not of the container) once
    /// instead of twice.
    Tcp,
    /// MPTCP of one address family (libc's AF_INET, AF_INET6).
    MptcpOf(u8),
}

/// A query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query<'a> {
    /// The kind of sockets.
    pub kind: Kind,
    /// Their states.
    pub states: States,
    /// Their local ports; empty: all.
    pub ports: &'a [u16],
    /// The answer holds [`Info`] as well.
    pub info: bool,
}

/// A socket of the answer (struct inet_diag_msg).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket {
    /// Its state, the number of a bit of [`States`].
    pub state: u8,
    /// Its local port.
    pub port: u16,
    /// The other end, if the socket is one of IPv4 or IPv6. A mapped address is told as IPv4.
    pub peer: Option<SocketAddr>,
    /// The kernel's identification of the socket, which is never used again.
    pub cookie: u64,
    /// Bytes that the process has not read; for a listener, the connections in its backlog.
    pub unread: u32,
    /// Bytes that the peer has not acknowledged.
    pub unsent: u32,
    /// The inode that the descriptors of the socket show; 0: no process has it open.
    pub inode: u32,
    /// The traffic on the connection. `None` for listeners and connections that are being opened.
    pub info: Option<Info>,
}

/// Fields of struct tcp_info. Ages are in milliseconds. The struct of an older kernel ends earlier: fields behind its
/// end are not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Info {
    /// tcpi_retransmits
    pub retransmits: u8,
    /// tcpi_probes
    pub probes: u8,
    /// tcpi_backoff
    pub backoff: u8,
    /// tcpi_last_data_sent
    pub last_data_sent: u32,
    /// tcpi_last_data_recv
    pub last_data_received: u32,
    /// tcpi_last_ack_recv
    pub last_ack_received: u32,
    /// tcpi_rtt, in microseconds.
    pub rtt: u32,
    /// tcpi_bytes_acked, since Linux 4.1.
    pub bytes_acknowledged: Option<u64>,
    /// tcpi_bytes_received, since Linux 4.1.
    pub bytes_received: Option<u64>,
    /// tcpi_data_segs_in, since Linux 4.6.
    pub segments_in: Option<u32>,
    /// tcpi_data_segs_out, since Linux 4.6.
    pub segments_out: Option<u32>,
}

/// A Unix socket of the answer (struct unix_diag_msg).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnixSocket<'a> {
    /// Its type: SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET.
    pub kind: u8,
    /// Its state, as of TCP: established or listening.
    pub state: u8,
    /// The inode that the descriptors of the socket show; 0: no process has it open.
    pub inode: u32,
    /// The kernel's identification of the socket, which is never used again.
    pub cookie: u64,
    /// The name that it was bound to. A socket that was accepted has the name of its listener.
    pub name: Option<&'a [u8]>,
    /// Inode and device (in the kernel's form) of the file that bind(2) made.
    pub file: Option<(u32, u32)>,
    /// Bytes that the process has not read; for a listener, the connections in its backlog.
    pub unread: u32,
    /// Bytes that the peer has not read; for a listener, the longest backlog.
    pub unsent: u32,
    /// Which directions are shut down (shutdown(2)). Both, once the peer has closed its end.
    pub shut: u8,
}

impl UnixSocket<'_> {
    /// Whether the peer has closed its end, so that an answer would have no reader.
    pub fn peer_is_gone(&self) -> bool {
        self.shut & SHUTDOWN_MASK == SHUTDOWN_MASK
    }

    /// Whether it is of a kind that has connections.
    pub fn is_stream(&self) -> bool {
        [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].contains(&i32::from(self.kind))
    }
}

/// What follows a piece of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// There are more pieces.
    More,
    /// This was the last piece.
    Last,
    /// The kernel has refused the query with this errno.
    Refused(i32),
    /// A part was lost, or is not as specified.
    Broken,
}

/// The most ports that the kernel filters by, because a jump in the filter has 16 bits. With more ports the caller
/// filters.
const MOST_PORTS: usize = 1000;

const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
const INET_DIAG_INFO: u16 = 2;
const UDIAG_SHOW_NAME: u32 = 0x1;
const UDIAG_SHOW_VFS: u32 = 0x2;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_VFS: u16 = 1;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_SHUTDOWN: u16 = 6;
/// RCV_SHUTDOWN and SEND_SHUTDOWN (net/sock.h).
const SHUTDOWN_MASK: u8 = 3;
/// struct unix_diag_msg
const UNIX_MESSAGE: usize = 16;
/// struct nlmsghdr
const HEADER: usize = 16;
/// struct inet_diag_msg
const MESSAGE: usize = 72;

// ---- queries ----------------------------------------------------------------------------------

/// Writes a query. Its answers carry the same `sequence`.
pub fn query(query: &Query<'_>, sequence: u32) -> Vec<u8> {
    let (kind, family) = match query.kind {
        Kind::Tcp => (TCPDIAG_GETSOCK, 0),
        Kind::MptcpOf(family) => (SOCK_DIAG_BY_FAMILY, family),
    };
    let extensions = if query.info { 1u8 << (INET_DIAG_INFO - 1) } else { 0 };
    let mut text = header(kind, sequence);
    // struct inet_diag_sockid is left empty. It could hold a single port, but the filter is as quick.
    if kind == TCPDIAG_GETSOCK {
        text.extend([family, 0, 0, extensions]);
        text.extend([0; 48]);
        text.extend(query.states.0.to_ne_bytes());
        text.extend([0; 4]);
    } else {
        // The number of the protocol is too large for its field and follows as an attribute.
        text.extend([family, u8::MAX, extensions, 0]);
        text.extend(query.states.0.to_ne_bytes());
        text.extend([0; 48]);
    }
    if let Kind::MptcpOf(_) = query.kind {
        attribute(&mut text, INET_DIAG_REQ_PROTOCOL, &libc::IPPROTO_MPTCP.to_ne_bytes());
    }
    if (1..=MOST_PORTS).contains(&query.ports.len()) {
        attribute(&mut text, INET_DIAG_REQ_BYTECODE, &filter(query.ports));
    }
    with_length(text)
}

/// Writes a query for all Unix sockets in these states (struct unix_diag_req).
pub fn unix_query(states: States, sequence: u32) -> Vec<u8> {
    let show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_RQLEN;
    let mut text = header(SOCK_DIAG_BY_FAMILY, sequence);
    text.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    text.extend(states.0.to_ne_bytes());
    // The inode of one socket; not used for a list.
    text.extend([0; 4]);
    text.extend(show.to_ne_bytes());
    text.extend([0; 8]);
    with_length(text)
}

/// struct nlmsghdr, without the length.
fn header(kind: u16, sequence: u32) -> Vec<u8> {
    let mut text = Vec::with_capacity(256);
    text.extend([0; 4]);
    text.extend(kind.to_ne_bytes());
    text.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    text.extend(sequence.to_ne_bytes());
    text.extend([0; 4]);
    text
}

fn with_length(mut text: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    for (place, byte) in text.iter_mut().zip(length.to_ne_bytes()) {
        *place = byte;
    }
    text
}

/// Appends an attribute. The length of `content` is a multiple of four.
fn attribute(text: &mut Vec<u8>, name: u16, content: &[u8]) {
    let length = u16::try_from(content.len() + 4).unwrap_or(u16::MAX);
    text.extend(length.to_ne_bytes());
    text.extend(name.to_ne_bytes());
    text.extend(content);
}

/// The filter, in the kernel's byte code. Each step compares, and holds the distance in bytes to the next step if the
/// comparison is true (`yes`, at most 255) and if it is false (`no`). A socket that reaches exactly the end is in the
/// answer; one that reaches four bytes behind the end is not. The kernel accepts only targets that can be reached by
/// `yes` alone, so there is a jump (which always goes the way of `no`) behind each port except the last:
///
/// ```text
/// from p: 8, next   to p: 8, next   jump: 4, end     for each port except the last
/// from p: 8, wrong  to p: 8, wrong                   for the last
/// ```
///
/// "From" and "to", because older kernels have no "equal".
fn filter(ports: &[u16]) -> Vec<u8> {
    const JUMP: u8 = 1;
    const FROM: u8 = 2;
    const TO: u8 = 3;
    let mut code = Vec::with_capacity(ports.len() * 20);
    let mut step = |op: u8, yes: u8, no: usize| {
        code.extend([op, yes]);
        code.extend(u16::try_from(no).unwrap_or(u16::MAX).to_ne_bytes());
    };
    for (index, port) in ports.iter().enumerate() {
        let left = ports.len() - 1 - index;
        // The length of the steps behind those of this port.
        let rest = left.saturating_sub(1) * 20 + left.min(1) * 16;
        // Beyond the jump: to the next port, or behind the end.
        let over = 4;
        step(FROM, 8, 16 + over);
        step(0, 0, usize::from(*port));
        step(TO, 8, 8 + over);
        step(0, 0, usize::from(*port));
        if left > 0 {
            step(JUMP, 4, 4 + rest);
        }
    }
    code
}

// ---- answers ----------------------------------------------------------------------------------

/// Parses a piece and calls `each` for every socket.
pub fn answers(bytes: &[u8], sequence: u32, mut each: impl FnMut(Socket)) -> Piece {
    messages(bytes, sequence, |body| socket(body).map(&mut each))
}

/// The same for Unix sockets.
pub fn unix_answers(bytes: &[u8], sequence: u32, mut each: impl FnMut(&UnixSocket<'_>)) -> Piece {
    messages(bytes, sequence, |body| unix_socket(body).map(|socket| each(&socket)))
}

/// Calls `each` with the body of every message about a socket; `None`: it is not as specified.
fn messages(mut bytes: &[u8], sequence: u32, mut each: impl FnMut(&[u8]) -> Option<()>) -> Piece {
    // A piece that is cut off within a header is broken.
    while !bytes.is_empty() {
        let Some(length) = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok()) else {
            return Piece::Broken;
        };
        let (Some(message), Some(kind)) = (bytes.get(..length), u16_at(bytes, 4)) else {
            return Piece::Broken;
        };
        let Some(body) = message.get(HEADER..) else { return Piece::Broken };
        // Skip the rest of an earlier answer.
        if u32_at(bytes, 8) == Some(sequence) {
            match kind {
                TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY => match each(body) {
                    Some(()) => {}
                    None => return Piece::Broken,
                },
                NLMSG_NOOP => {}
                NLMSG_DONE | NLMSG_ERROR => {
                    return match u32_at(body, 0).map(|code| code as i32) {
                        None | Some(0) if kind == NLMSG_DONE => Piece::Last,
                        Some(code) if code < 0 => Piece::Refused(code.saturating_neg()),
                        _ => Piece::Broken,
                    };
                }
                NLMSG_OVERRUN => return Piece::Broken,
                _ => {}
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Piece::More
}

fn socket(body: &[u8]) -> Option<Socket> {
    let attributes = body.get(MESSAGE..)?;
    Some(Socket {
        state: *body.get(1)?,
        port: u16::from_be(u16_at(body, 4)?),
        peer: peer(body),
        // Two halves, the lower one first on every architecture.
        cookie: u64::from(u32_at(body, 44)?) | u64::from(u32_at(body, 48)?) << 32,
        unread: u32_at(body, 56)?,
        unsent: u32_at(body, 60)?,
        inode: u32_at(body, 68)?,
        info: info(attributes),
    })
}

fn unix_socket(body: &[u8]) -> Option<UnixSocket<'_>> {
    let mut attributes = body.get(UNIX_MESSAGE..)?;
    let mut socket = UnixSocket {
        kind: *body.get(1)?,
        state: *body.get(2)?,
        inode: u32_at(body, 4)?,
        cookie: u64::from(u32_at(body, 8)?) | u64::from(u32_at(body, 12)?) << 32,
        name: None,
        file: None,
        unread: 0,
        unsent: 0,
        shut: 0,
    };
    while !attributes.is_empty() {
        let length = usize::from(u16_at(attributes, 0)?);
        let content = attributes.get(4..length)?;
        // The two highest bits are flags.
        match u16_at(attributes, 2)? & 0x3fff {
            UNIX_DIAG_NAME => socket.name = Some(content),
            UNIX_DIAG_VFS => socket.file = Some((u32_at(content, 0)?, u32_at(content, 4)?)),
            UNIX_DIAG_RQLEN => {
                (socket.unread, socket.unsent) = (u32_at(content, 0)?, u32_at(content, 4)?);
            }
            UNIX_DIAG_SHUTDOWN => socket.shut = *content.first()?,
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(socket)
}

/// The other end, of struct inet_diag_sockid.
fn peer(body: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be(u16_at(body, 6)?);
    let octets: &[u8; 16] = body.get(24..)?.first_chunk()?;
    let address = match i32::from(*body.first()?) {
        libc::AF_INET => IpAddr::from(*octets.first_chunk::<4>()?),
        libc::AF_INET6 => Ipv6Addr::from(*octets).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Finds the attribute. Other kernels may have a shorter or a longer struct.
fn info(mut attributes: &[u8]) -> Option<Info> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let content = attributes.get(4..length)?;
        // The two highest bits are flags.
        if u16_at(attributes, 2)? & 0x3fff == INET_DIAG_INFO {
            return Some(Info {
                retransmits: *content.get(2)?,
                probes: *content.get(3)?,
                backoff: *content.get(4)?,
                last_data_sent: u32_at(content, 44)?,
                last_data_received: u32_at(content, 52)?,
                last_ack_received: u32_at(content, 56)?,
                rtt: u32_at(content, 68)?,
                bytes_acknowledged: u64_at(content, 120),
                bytes_received: u64_at(content, 128),
                segments_in: u32_at(content, 152),
                segments_out: u32_at(content, 156),
            });
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests;
