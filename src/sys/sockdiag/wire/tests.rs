use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

// ---- the filter, as the kernel checks and runs it (net/ipv4/inet_diag.c) -----------------------

fn op(code: &[u8], at: usize) -> (u8, usize, usize) {
    (code[at], code[at + 1].into(), u16_at(code, at + 2).expect("within the code").into())
}

/// inet_diag_bc_audit: `None` if the kernel answers EINVAL.
fn audit(code: &[u8]) -> Option<()> {
    let reachable = |from: usize| {
        let mut at = 0;
        while at < from {
            let (_, yes, _) = op(code, at);
            if yes < 4 || yes % 4 != 0 {
                return false;
            }
            at += yes;
        }
        at == from
    };
    let mut at = 0;
    while at < code.len() {
        let left = code.len() - at;
        let (kind, yes, no) = op(code, at);
        let least = match kind {
            1 => 4,
            2 | 3 if left >= 8 => 8,
            _ => return None,
        };
        if no < least || no > left + 4 || no % 4 != 0 || (no < left && !reachable(at + no)) {
            return None;
        }
        if yes < least || yes > left + 4 || yes % 4 != 0 {
            return None;
        }
        at += yes;
    }
    (at == code.len()).then_some(())
}

/// inet_diag_bc_run
fn run(code: &[u8], port: u16) -> bool {
    let mut at = 0;
    while at < code.len() {
        let (kind, yes, no) = op(code, at);
        let holds = match kind {
            1 => false,
            2 => usize::from(port) >= op(code, at + 4).2,
            3 => usize::from(port) <= op(code, at + 4).2,
            _ => unreachable!("checked before"),
        };
        at += if holds { yes } else { no };
    }
    at == code.len()
}

proptest! {
    #[test]
    fn the_filter_takes_exactly_the_ports(
        ports in prop::collection::vec(1..=u16::MAX, 1..20),
        others in prop::collection::vec(any::<u16>(), 20),
    ) {
        let code = filter(&ports);
        prop_assert!(audit(&code).is_some());
        for port in ports.iter().chain(&others) {
            for port in [port.saturating_sub(1), *port, port.saturating_add(1)] {
                prop_assert_eq!(run(&code, port), ports.contains(&port), "{}", port);
            }
        }
    }

    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        answers(&bytes, 0, |_| {});
        socket(&bytes);
        info(&bytes);
    }

    #[test]
    fn a_garbled_answer_is_harmless(at in 0usize..700, byte: u8, cut in 0usize..700) {
        let mut answer = two_and_done(280);
        if let Some(place) = answer.get_mut(at) {
            *place = byte;
        }
        answer.truncate(cut);
        answers(&answer, 7, |_| {});
    }
}

#[test]
fn the_longest_filter_is_valid() {
    let ports: Vec<u16> = (1..).take(MOST_PORTS).collect();
    let code = filter(&ports);
    assert!(audit(&code).is_some());
    assert!(run(&code, 1) && run(&code, 1000) && !run(&code, 1001) && !run(&code, 0));
    let query = Query { kind: Kind::Tcp, states: States::LISTEN, ports: &ports, info: false };
    assert_eq!(u32_at(&super::query(&query, 1), 0), Some(16 + 60 + 4 + 1000 * 20 - 4));
}

// ---- answers ----------------------------------------------------------------------------------

fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).expect("a short message");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(2u16.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// The body of a socket whose struct tcp_info has this size.
fn body(port: u16, info_size: usize) -> Vec<u8> {
    let mut body = vec![0; MESSAGE];
    // AF_INET6, as linux/socket.h has it.
    body[0] = 10;
    body[1] = 1;
    body[4..6].copy_from_slice(&port.to_be_bytes());
    body[6..8].copy_from_slice(&40_001u16.to_be_bytes());
    body[24..40].copy_from_slice(&PEER.octets());
    body[44..48].copy_from_slice(&0x0506_0708u32.to_ne_bytes());
    body[48..52].copy_from_slice(&0x0102_0304u32.to_ne_bytes());
    body[56..60].copy_from_slice(&11u32.to_ne_bytes());
    body[60..64].copy_from_slice(&22u32.to_ne_bytes());
    body[68..72].copy_from_slice(&4711u32.to_ne_bytes());
    // Another attribute, of one byte and padded; then the one that is parsed, with a flag in its name.
    attribute(&mut body, 8, &[0; 1]);
    body.extend([0; 3]);
    let mut info = vec![0; info_size];
    for (at, value) in [
        (44, 100u32),
        (52, 200),
        (56, 300),
        (68, 250),
        (120, 350),
        (128, 400),
        (152, 500),
        (156, 600),
    ] {
        if let Some(place) = info.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
    }
    for (at, value) in [(2, 5u8), (3, 6), (4, 7)] {
        if let Some(place) = info.get_mut(at) {
            *place = value;
        }
    }
    attribute(&mut body, INET_DIAG_INFO | 0x8000, &info);
    body
}

fn two_and_done(info_size: usize) -> Vec<u8> {
    let mut answer = message(SOCK_DIAG_BY_FAMILY, 7, &body(80, info_size));
    answer.extend(message(TCPDIAG_GETSOCK, 7, &body(443, info_size)));
    answer.extend(message(NLMSG_DONE, 7, &[0; 4]));
    answer
}

fn read(bytes: &[u8]) -> (Vec<Socket>, Piece) {
    let mut found = Vec::new();
    let piece = answers(bytes, 7, |socket| found.push(socket));
    (found, piece)
}

#[test]
fn a_whole_answer_is_parsed() {
    let (found, piece) = read(&two_and_done(280));
    assert_eq!(piece, Piece::Last);
    let info = Info {
        retransmits: 5,
        probes: 6,
        backoff: 7,
        rtt: 250,
        segments_in: Some(500),
        segments_out: Some(600),
        last_data_sent: 100,
        last_data_received: 200,
        last_ack_received: 300,
        bytes_acknowledged: Some(350),
        bytes_received: Some(400),
    };
    let socket = Socket {
        state: 1,
        port: 80,
        peer: Some(SocketAddr::from((PEER, 40_001))),
        cookie: 0x0102_0304_0506_0708,
        unread: 11,
        unsent: 22,
        inode: 4711,
        info: Some(info),
    };
    // The halves of the cookie are in this order on every architecture.
    assert_eq!(found, [socket, Socket { port: 443, ..socket }]);
}

#[test]
fn the_other_end_is_told_of_both_families() {
    let of = |family: u8, address: &[u8]| {
        let mut body = body(80, 0);
        body[0] = family;
        body[24..40].fill(0);
        body[24..24 + address.len()].copy_from_slice(address);
        socket(&body).expect("a socket").peer
    };
    assert_eq!(of(2, &[10, 0, 0, 7]), Some(SocketAddr::from(([10, 0, 0, 7], 40_001))));
    let mapped = Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped();
    assert_eq!(of(10, &mapped.octets()), of(2, &[10, 0, 0, 7]));
    assert_eq!(of(10, &PEER.octets()), Some(SocketAddr::from((PEER, 40_001))));
    assert_eq!(of(1, &[10, 0, 0, 7]), None);
}

#[test]
fn fields_that_older_kernels_lack_are_none() {
    let info = |size| read(&two_and_done(size)).0[0].info;
    assert_eq!(info(160).expect("stamps").segments_out, Some(600));
    let four_five = info(144).expect("stamps");
    assert_eq!((four_five.bytes_received, four_five.segments_in), (Some(400), None));
    assert_eq!((info(156).expect("stamps").segments_in, four_five.rtt), (Some(500), 250));
    assert_eq!(info(156).expect("stamps").segments_out, None);
    // Linux 2.6 to 4.0
    assert_eq!(info(104).expect("stamps").bytes_received, None);
    assert_eq!(info(72).expect("stamps").bytes_acknowledged, None);
    assert_eq!(info(71), None);
    assert_eq!(info(56), None);
    assert_eq!(info(0), None);
    assert!(info(4000).is_some(), "the struct of newer kernels is longer");
}

#[test]
fn a_truncated_answer_gives_whole_sockets_only() {
    let answer = two_and_done(232);
    let whole = read(&answer).0;
    for length in 0..answer.len() {
        let (found, piece) = read(&answer[..length]);
        assert_ne!(piece, Piece::Last, "{length}");
        assert_eq!(found, whole[..found.len()]);
    }
}

#[test]
fn an_answer_ends_with_done_or_an_error() {
    let error = |code: i32| message(NLMSG_ERROR, 7, &code.to_ne_bytes());
    assert_eq!(read(&error(-2)).1, Piece::Refused(2));
    assert_eq!(read(&error(i32::MIN)).1, Piece::Refused(i32::MAX));
    assert_eq!(read(&error(0)).1, Piece::Broken, "an acknowledgement was not asked for");
    assert_eq!(read(&message(NLMSG_ERROR, 7, &[])).1, Piece::Broken);
    assert_eq!(read(&message(NLMSG_DONE, 7, &[])).1, Piece::Last);
    assert_eq!(read(&message(NLMSG_DONE, 7, &(-12i32).to_ne_bytes())).1, Piece::Refused(12));
    assert_eq!(read(&message(NLMSG_OVERRUN, 7, &[])).1, Piece::Broken);
    assert_eq!(read(&message(NLMSG_NOOP, 7, &[])).1, Piece::More);
    assert_eq!(read(&message(99, 7, &[1, 2, 3])).1, Piece::More);
    assert_eq!(read(&[]).1, Piece::More);
    // Lengths shorter than a header.
    assert_eq!(read(&[0; 16]).1, Piece::Broken);
    assert_eq!(read(&[15, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]).1, Piece::Broken);
}

#[test]
fn the_rest_of_an_earlier_answer_is_skipped() {
    let mut answer = message(TCPDIAG_GETSOCK, 6, &body(1, 280));
    answer.extend(message(NLMSG_DONE, 6, &[0; 4]));
    assert_eq!(read(&answer), (Vec::new(), Piece::More));
    answer.extend(two_and_done(280));
    assert_eq!(read(&answer).0.len(), 2);
}

// ---- Unix sockets -----------------------------------------------------------------------------

/// A message of unix_diag with these attributes.
fn unix_message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![1, 1, 10, 0];
    body.extend(4711u32.to_ne_bytes());
    body.extend([5, 0, 0, 0, 1, 0, 0, 0]);
    for (name, content) in attributes {
        body.extend((content.len() as u16 + 4).to_ne_bytes());
        body.extend(name.to_ne_bytes());
        body.extend(*content);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend([0, 0]);
    message.extend(7u32.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message
}

#[test]
fn a_unix_socket_is_read() {
    let (vfs, queue) = ([9, 0, 0, 0, 1, 0, 8, 0], [3, 0, 0, 0, 128, 0, 0, 0]);
    let attributes = [(0, &b"/run/app\0"[..]), (6, &[3][..]), (1, &vfs), (4, &queue)];
    let mut found = 0;
    let piece = unix_answers(&unix_message(&attributes), 7, |socket| {
        found += 1;
        assert_eq!((socket.state, socket.inode, socket.is_stream()), (10, 4711, true));
        assert_eq!(socket.cookie, 5 | 1 << 32);
        assert_eq!((socket.name, socket.file), (Some(&b"/run/app\0"[..]), Some((9, 0x8_0001))));
        assert_eq!((socket.unread, socket.unsent, socket.peer_is_gone()), (3, 128, true));
    });
    assert_eq!((found, piece), (1, Piece::More));
    assert_eq!(unix_query(States::LISTEN, 1).len(), 16 + 24);
}

proptest! {
    #[test]
    fn any_answer_about_unix_sockets_is_harmless(
        attributes in prop::collection::vec((0u16..8, prop::collection::vec(any::<u8>(), 0..20)), 0..6),
        at in 0usize..200,
        byte: u8,
        cut in 0usize..200,
    ) {
        let attributes: Vec<(u16, &[u8])> =
            attributes.iter().map(|(name, content)| (*name, &content[..])).collect();
        let mut bytes = unix_message(&attributes);
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(cut);
        unix_answers(&bytes, 7, |_| {});
    }
}
