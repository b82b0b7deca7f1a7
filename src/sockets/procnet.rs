//! Reads sockets from /proc/net, where sock_diag is refused, and the numbers of datagrams. The parsers accept any
//! bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest part of a table that is read (200,000 lines): the loop must not be held up for longer.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// A line of /proc/net/tcp, tcp6, udp or udp6 (proc_pid_net(5)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// The local port.
    pub port: u16,
    /// A hash of both addresses and ports.
    pub key: u64,
    /// The kernel's number of the state.
    pub state: u8,
    /// Bytes that are not acknowledged.
    pub unsent: u32,
    /// Bytes that are not read; of a listener: connections that are not accepted.
    pub unread: u32,
    /// The inode that its descriptors link to; 0: no process has it open.
    pub inode: u64,
}

/// Parses a line; `None` for the heading and for anything else.
pub fn line(text: &[u8]) -> Option<Line> {
    let mut fields = text.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let (local, remote) = (fields.nth(1)?, fields.next()?);
    let port = local.rsplit(|byte| *byte == b':').next()?;
    let state = fields.next()?;
    let mut queues = fields.next()?.split(|byte| *byte == b':');
    let (unsent, unread) = (queues.next()?, queues.next()?);
    // After timer, retransmissions, user and timeout.
    let inode = number(fields.nth(4)?, 10)?;
    Some(Line {
        port: u16::try_from(number(port, 16)?).ok()?,
        key: mark(local, remote),
        state: u8::try_from(number(state, 16)?).ok()?,
        unsent: u32::try_from(number(unsent, 16)?).ok()?,
        unread: u32::try_from(number(unread, 16)?).ok()?,
        inode,
    })
}

fn number(digits: &[u8], base: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = char::from(*digit).to_digit(base)?;
        sum.checked_mul(u64::from(base))?.checked_add(u64::from(digit))
    })
}

/// FNV-1a.
fn mark(local: &[u8], remote: &[u8]) -> u64 {
    local.iter().chain(b" ").chain(remote).fold(0xcbf2_9ce4_8422_2325, |mark, byte| {
        (mark ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A number of /proc/net/snmp: of the two lines that begin with `protocol`, the first has the names of the numbers in the
/// second.
pub fn counter(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut both = names.split_whitespace().zip(numbers.split_whitespace());
    both.find(|(its, _)| *its == name)?.1.parse().ok()
}

/// The same in /proc/net/snmp6, which has one number on each line.
pub fn received_v6(text: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("Udp6InDatagrams"))?;
    rest.trim().parse().ok()
}

/// Calls `each` for every line of a table. False if the table is longer than [`MOST_BYTES`].
pub(super) fn table(path: &Path, mut each: impl FnMut(&Line)) -> io::Result<bool> {
    lines(File::open(path)?, |text| {
        if let Some(line) = line(text) {
            each(&line);
        }
    })
}

/// Calls `each` for every line of a file. False if the file is longer than [`MOST_BYTES`].
pub(super) fn each_line(path: &Path, each: impl FnMut(&[u8])) -> io::Result<bool> {
    lines(File::open(path)?, each)
}

/// Calls `each` for every line of `file`. False if it is longer than [`MOST_BYTES`].
///
/// # Errors
/// Those of the file.
pub fn lines(mut file: impl Read, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    // The beginning of a line that continues in the next read.
    let mut rest = Vec::new();
    let mut total = 0;
    while total < MOST_BYTES {
        let read = match file.read(&mut buffer) {
            Ok(0) => {
                each(&rest);
                return Ok(true);
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        total += read;
        let mut text = buffer.get(..read).unwrap_or_default();
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = text.split_at(end);
            if rest.is_empty() {
                each(line);
            } else {
                rest.extend(line);
                each(&rest);
                rest.clear();
            }
            text = behind.get(1..).unwrap_or_default();
        }
        rest.extend(text);
    }
    Ok(false)
}

/// The number of datagrams that this network namespace has received; `None` if it cannot be read.
pub(super) fn received(proc: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(proc.join("net").join(name)).ok();
    let v4 = read("snmp").and_then(|text| counter(&text, "Udp:", "InDatagrams"));
    let v6 = read("snmp6").and_then(|text| received_v6(&text));
    v4.into_iter().chain(v6).reduce(u64::wrapping_add)
}

/// The number of TCP segments that this network namespace has received and sent, over IPv4 and IPv6; `None` if it cannot
/// be read.
pub(super) fn segments(proc: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(proc.join("net/snmp")).ok()?;
    let count = |name| counter(&text, "Tcp:", name);
    Some(count("InSegs")?.wrapping_add(count("OutSegs")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:A2C4 01 0000000A:0000000B 02:000002A9 00000000     0        0 4712 2 0000000000000000 20 4 30 10 -1
";
    const TCP6: &str = "   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 0000000000000000 100 0 0 10 0";

    #[test]
    fn lines_of_the_tables() {
        let all: Vec<Option<Line>> = TCP.lines().map(|text| line(text.as_bytes())).collect();
        assert_eq!(all[0], None);
        let listener = all[1].expect("a line");
        assert_eq!((listener.port, listener.state, listener.unread), (8080, 10, 3));
        assert_eq!((listener.unsent, listener.inode), (0, 4711));
        let connection = all[2].expect("a line");
        assert_eq!((connection.port, connection.state, connection.inode), (8080, 1, 4712));
        assert_eq!((connection.unsent, connection.unread), (10, 11));
        assert_ne!(listener.key, connection.key);
        let listener = line(TCP6.as_bytes()).expect("a line");
        assert_eq!((listener.port, listener.state, listener.inode), (443, 10, 99));
    }

    #[test]
    fn a_table_is_read_whatever_pieces_it_comes_in() {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let size = self.1.min(self.0.len()).min(into.len());
                let (now, later) = self.0.split_at(size);
                into[..size].copy_from_slice(now);
                self.0 = later;
                Ok(size)
            }
        }
        for size in 1..200 {
            let mut found = Vec::new();
            let whole = lines(Pieces(TCP.as_bytes(), size), |text| found.extend(line(text)));
            assert!(whole.expect("no error"));
            assert_eq!(found.iter().map(|line| line.inode).collect::<Vec<_>>(), [4711, 4712]);
        }
    }

    #[test]
    fn a_table_without_end_is_given_up() {
        assert!(!lines(io::repeat(b'\n'), |_| {}).expect("no error"));
    }

    #[test]
    fn counters_of_datagrams() {
        let received_v4 = |text: &str| counter(text, "Udp:", "InDatagrams");
        let snmp = "Ip: A B\nIp: 1 2\nUdp: InDatagrams NoPorts InErrors\nUdp: 42 7 0\nUdpLite: InDatagrams\nUdpLite: 3\n";
        assert_eq!(received_v4(snmp), Some(42));
        assert_eq!(received_v4("Udp: NoPorts InDatagrams\nUdp: 7 43\n"), Some(43));
        for broken in ["", "Udp: InDatagrams\n", "Udp: InDatagrams\nUdp: x\n", "Udp:\nUdp:\n"] {
            assert_eq!(received_v4(broken), None);
        }
        let tcp = "Tcp: MaxConn InSegs OutSegs\nTcp: -1 5 6\n";
        assert_eq!(counter(tcp, "Tcp:", "OutSegs"), Some(6));
        assert_eq!(counter(tcp, "Tcp:", "MaxConn"), None);
        let snmp6 = "Ip6InReceives   \t5\nUdp6InDatagrams                 \t17\nUdp6NoPorts 1\n";
        assert_eq!(received_v6(snmp6), Some(17));
        assert_eq!(received_v6("Udp6InDatagramsX 1"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "(?s).{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            counter(&text, "Tcp:", "InSegs");
            received_v6(&text);
            line(text.as_bytes());
            line(&bytes);
            lines(&bytes[..], |text| { line(text); }).expect("no error");
        }

        #[test]
        fn a_garbled_line_is_harmless(at in 0usize..150, byte: u8, cut in 0usize..150) {
            let mut text = TCP6.as_bytes().to_vec();
            if let Some(place) = text.get_mut(at) {
                *place = byte;
            }
            text.truncate(cut);
            line(&text);
        }
    }
}
