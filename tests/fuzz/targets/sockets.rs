//! The kernel's tables of sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use graceinit::sockets::procnet::{self, Line};
use graceinit::sockets::unix;
use graceinit::sys::mounts::{self, FileType};
use graceinit::sys::sockdiag::wire::{self, Piece};
use graceinit::sys::sockdiag::{Info, Socket};

use super::{Draw, Replay};

/// The number of the query that the answers belong to.
const SEQUENCE: u32 = 7;
/// struct nlmsghdr and struct inet_diag_msg.
const LEAST: usize = 16 + 72;
/// struct nlmsghdr and struct unix_diag_msg.
const LEAST_UNIX: usize = 16 + 16;

pub(super) fn sock_diag(bytes: &[u8]) {
    let found = |bytes: &[u8], sequence| {
        let mut found = Vec::new();
        let piece = wire::answers(bytes, sequence, |socket| found.push(socket));
        (piece, found)
    };
    let (piece, all) = found(bytes, SEQUENCE);
    assert!(all.len() * LEAST <= bytes.len(), "{} sockets", all.len());
    // What is cut off has the first ones of the whole.
    for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let (_, some) = found(&bytes[..cut], SEQUENCE);
        assert!(all.starts_with(&some), "cut at {cut}");
    }
    let (other, _) = found(bytes, SEQUENCE + 1);
    for piece in [piece, other] {
        assert!(!matches!(piece, Piece::Refused(..=0)), "{piece:?}");
    }
    sock_diag_reads_back(&mut Draw(bytes));
}

/// What the kernel writes is read as it was meant.
fn sock_diag_reads_back(draw: &mut Draw<'_>) {
    let mut answer = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..draw.byte() % 4 {
        let (body, socket) = socket(draw);
        message(&mut answer, 20, SEQUENCE, &body);
        // The rest of an earlier answer is left out.
        message(&mut answer, 20, SEQUENCE - 1, &body);
        sockets.push(socket);
    }
    let (code, expected) = match draw.byte() % 3 {
        0 => (0i32, Piece::Last),
        1 => {
            let errno = i32::from(draw.byte()) + 1;
            (-errno, Piece::Refused(errno))
        }
        _ => (1, Piece::Broken),
    };
    message(&mut answer, 3, SEQUENCE, &code.to_ne_bytes());
    let mut found = Vec::new();
    let piece = wire::answers(&answer, SEQUENCE, |socket| found.push(socket));
    assert_eq!((piece, found), (expected, sockets));
}

/// struct inet_diag_msg and its attributes, and what they mean.
fn socket(draw: &mut Draw<'_>) -> (Vec<u8>, Socket) {
    let (state, port, far, cookie) = (draw.byte(), draw.short(), draw.short(), draw.long());
    let (unread, unsent, inode) = (draw.word(), draw.word(), draw.word());
    let family = draw.byte() % 3;
    let octets: [u8; 16] = draw.array();
    let address = match family {
        0 => Some(IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))),
        1 => Some(Ipv6Addr::from(octets).to_canonical()),
        _ => None,
    };
    let mut body = vec![[2, 10, 1][usize::from(family)], state, 0, 0];
    body.extend(port.to_be_bytes());
    body.extend(far.to_be_bytes());
    body.extend([0; 16]);
    body.extend(octets);
    body.extend([0; 4]);
    body.extend((cookie as u32).to_ne_bytes());
    body.extend(((cookie >> 32) as u32).to_ne_bytes());
    body.extend([0; 4]);
    for number in [unread, unsent, 0, inode] {
        body.extend(number.to_ne_bytes());
    }
    attribute(&mut body, 8, draw.some(20));
    let info = draw.some(300);
    // The highest bits are flags.
    let kind = if draw.byte() % 2 == 0 { 2 } else { 0x8002 };
    let known = attribute(&mut body, kind, info).then(|| tcp_info(info));
    let peer = address.map(|address| SocketAddr::new(address, far));
    let socket = Socket { state, port, peer, cookie, unread, unsent, inode, info: known.flatten() };
    (body, socket)
}

/// struct tcp_info; `None`: it ends before the fields that every kernel has.
fn tcp_info(bytes: &[u8]) -> Option<Info> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    Some(Info {
        retransmits: *bytes.get(2)?,
        probes: *bytes.get(3)?,
        backoff: *bytes.get(4)?,
        last_data_sent: word(44)?,
        last_data_received: word(52)?,
        last_ack_received: word(56)?,
        rtt: word(68)?,
        bytes_acknowledged: long(120),
        bytes_received: long(128),
        segments_in: word(152),
        segments_out: word(156),
    })
}

/// Appends an attribute, which is always there.
fn attribute(body: &mut Vec<u8>, kind: u16, content: &[u8]) -> bool {
    body.extend((content.len() as u16 + 4).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(content);
    body.resize(body.len().next_multiple_of(4), 0);
    true
}

/// Appends struct nlmsghdr and its body.
fn message(answer: &mut Vec<u8>, kind: u16, sequence: u32, body: &[u8]) {
    answer.extend((body.len() as u32 + 16).to_ne_bytes());
    answer.extend(kind.to_ne_bytes());
    answer.extend([2, 0]);
    answer.extend(sequence.to_ne_bytes());
    answer.extend([0; 4]);
    answer.extend(body);
    answer.resize(answer.len().next_multiple_of(4), 0);
}

pub(super) fn unix_diag(bytes: &[u8]) {
    let found = |bytes: &[u8]| {
        let mut found: Vec<(u64, Option<Vec<u8>>, u8)> = Vec::new();
        let piece = wire::unix_answers(bytes, SEQUENCE, |socket| {
            let gone = socket.shut & 3 == 3;
            assert_eq!(gone, socket.peer_is_gone());
            found.push((socket.cookie, socket.name.map(<[u8]>::to_vec), socket.kind));
        });
        (piece, found)
    };
    let (_, all) = found(bytes);
    assert!(all.len() * LEAST_UNIX <= bytes.len(), "{} sockets", all.len());
    let names: usize = all.iter().filter_map(|socket| socket.1.as_ref()).map(Vec::len).sum();
    assert!(names <= bytes.len(), "{names} bytes of names");
    for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        assert!(all.starts_with(&found(&bytes[..cut]).1), "cut at {cut}");
    }
    // What the kernel writes is read as it was meant.
    let draw = &mut Draw(bytes);
    let (kind, state, shut) = (draw.byte(), draw.byte(), draw.byte());
    let (inode, cookie) = (draw.word(), draw.long());
    let (unread, unsent, file) = (draw.word(), draw.word(), (draw.word(), draw.word()));
    let name = draw.some(108);
    let mut body = vec![1, kind, state, 0];
    body.extend(inode.to_ne_bytes());
    body.extend((cookie as u32).to_ne_bytes());
    body.extend(((cookie >> 32) as u32).to_ne_bytes());
    attribute(&mut body, 0, name);
    attribute(&mut body, 1, &[file.0.to_ne_bytes(), file.1.to_ne_bytes()].concat());
    attribute(&mut body, 4, &[unread.to_ne_bytes(), unsent.to_ne_bytes()].concat());
    attribute(&mut body, 6, &[shut]);
    let mut answer = Vec::new();
    message(&mut answer, 20, SEQUENCE, &body);
    let mut read = 0;
    let piece = wire::unix_answers(&answer, SEQUENCE, |socket| {
        read += 1;
        assert_eq!((socket.kind, socket.state, socket.shut), (kind, state, shut));
        assert_eq!((socket.inode, socket.cookie), (inode, cookie));
        assert_eq!((socket.unread, socket.unsent), (unread, unsent));
        assert_eq!((socket.file, socket.name), (Some(file), Some(name)));
    });
    assert_eq!((piece, read), (Piece::More, 1));
}

/// /proc/net/tcp and its like, /proc/net/unix, /proc/net/snmp, /proc/self/mountinfo.
pub(super) fn tables(bytes: &[u8]) {
    let lines = |piece: usize| {
        let mut all: Vec<Vec<u8>> = Vec::new();
        let file = Replay { left: bytes, piece };
        let whole = procnet::lines(file, |line| all.push(line.to_vec())).expect("no error");
        assert!(whole);
        all
    };
    let all = lines(usize::MAX);
    assert_eq!(all.join(&b'\n'), bytes);
    assert_eq!(all, lines(1 + bytes.len() % 7));
    for line in &all {
        procnet::line(line);
        if let Some(bound) = unix::bound(line) {
            assert!(bound.name().len() <= line.len());
        }
    }
    let text = String::from_utf8_lossy(bytes);
    procnet::received_v6(&text);
    for (protocol, name) in [("Tcp:", "InSegs"), ("Udp:", "InDatagrams")] {
        procnet::counter(&text, protocol, name);
    }
    let local = mounts::local_mounts(&text);
    assert!(local.len() <= all.len());
    let own = "\n4294967296 1 0:7 / /mnt rw - tmpfs tmpfs rw\n";
    assert_eq!(mounts::local_mounts(&format!("{text}{own}")).last(), Some(&4_294_967_296));
    static FILE: OnceLock<FileType> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let null = std::fs::File::open("/dev/null").expect("/dev/null");
        mounts::file_type(null.as_raw_fd()).expect("statx")
    });
    if let Some(kind) = mounts::type_of(bytes, file) {
        assert!(!kind.contains([' ', '\n']) && text.contains(kind), "{kind}");
    }
    reads_back(&mut Draw(bytes));
}

/// A line of the kernel is read as it was meant.
fn reads_back(draw: &mut Draw<'_>) {
    let (port, state, inode) = (draw.short(), draw.byte(), draw.long());
    let (unsent, unread, number) = (draw.word(), draw.word(), draw.short());
    let line = format!(
        "{number:4}: 0100007F:{port:04X} 00000000:0000 {state:02X} {unsent:08X}:{unread:08X} \
         00:00000000 00000000  1000        0 {inode} 1 0000000000000000 100 0 0 10 0"
    );
    let read = procnet::line(line.as_bytes()).expect("a line");
    assert_eq!(read, Line { port, state, inode, unsent, unread, ..read });
    let name = draw.text(40).replace(['\n', '\0'], "").trim_start_matches('@').to_owned();
    let line = format!("{number:016x}: 00000002 00000000 00010000 0001 01 {inode} /{name}");
    let read = unix::bound(line.as_bytes()).expect("a listener");
    assert!(read.listens);
    assert_eq!((read.inode, read.name()), (inode, format!("/{name}").as_bytes()));
}
