//! What came back for a request, and which kind of failure it was if it was one. The answer is read as it arrives, so
//! that a long one needs no memory.

use std::fmt;

use crate::types::http;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The whole answer came, and it is the right one.
    Ok,
    /// No connection came about, or it was reset before the request was sent.
    Refused,
    /// The connection ended before the first byte of an answer.
    Empty,
    /// The connection ended in the middle of the answer.
    Cut,
    /// A whole answer with a status that says that the request failed.
    Status(u16),
    /// A whole answer that is not the one to this request, or no HTTP.
    Wrong,
    /// No whole answer in time.
    Timeout,
    /// The load generator could not make a connection at all: the measurement is void.
    Generator,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Class::Ok => f.write_str("ok"),
            Class::Refused => f.write_str("refused"),
            Class::Empty => f.write_str("empty"),
            Class::Cut => f.write_str("cut"),
            Class::Status(status) => write!(f, "{status}"),
            Class::Wrong => f.write_str("wrong"),
            Class::Timeout => f.write_str("timeout"),
            Class::Generator => f.write_str("GENERATOR"),
        }
    }
}

/// Whether more of an answer can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection is open.
    Open,
    /// The other side has closed it in an orderly way.
    Closed,
    /// The other side has reset it.
    Reset,
}

/// Which answer is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Status 200 and this body.
    Body(Vec<u8>),
    /// A status from 200 to 399, and a body up to its declared end.
    Good,
}

/// The longest head of an answer.
const LONGEST_HEAD: usize = 64 * 1024;
/// The longest line in front of a chunk.
const LONGEST_LINE: usize = 4096;

/// An answer that arrives.
#[derive(Debug)]
pub struct Answer {
    want: Want,
    /// A byte has come.
    any: bool,
    /// The head as far as it has come, then nothing.
    head: Vec<u8>,
    status: u16,
    /// The connection ends with the answer.
    closes: bool,
    /// The body, only where it is compared.
    body: Vec<u8>,
    rest: Rest,
}

/// What is still to come.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    Head,
    /// So many bytes of the body.
    Bytes(u64),
    /// The line with the size of a chunk; what has come of it.
    Size(Vec<u8>),
    /// So many bytes of a chunk.
    Chunk(u64),
    /// So many bytes of the line end after a chunk: without it the chunk may not be whole.
    LineEnd(u64),
    /// Trailers (RFC 9112, 7.1.2), up to an empty line; the length of the line that has come.
    Trailer(usize),
    /// The end of the connection is the end of the answer.
    UntilEnd,
    Nothing,
    /// This is no HTTP.
    Wrong,
}

impl Answer {
    /// An answer of which nothing has come.
    pub fn new(want: Want) -> Answer {
        Answer {
            want,
            any: false,
            head: Vec::new(),
            status: 0,
            closes: false,
            body: Vec::new(),
            rest: Rest::Head,
        }
    }

    /// Whether the connection ends with this answer.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// How many bytes of the answer are kept.
    pub fn held(&self) -> usize {
        let line = if let Rest::Size(line) = &self.rest { line.len() } else { 0 };
        self.head.len() + self.body.len() + line
    }

    /// Takes the bytes that have arrived.
    pub fn take(&mut self, mut bytes: &[u8]) {
        self.any |= !bytes.is_empty();
        while !bytes.is_empty() {
            bytes = match &mut self.rest {
                Rest::Head => self.take_head(bytes),
                Rest::Size(_) => self.take_size(bytes),
                Rest::Bytes(left) | Rest::Chunk(left) => {
                    let part = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= part as u64;
                    keep(&mut self.body, &self.want, &bytes[..part]);
                    match self.rest {
                        Rest::Bytes(0) => self.rest = Rest::Nothing,
                        Rest::Chunk(0) => self.rest = Rest::LineEnd(2),
                        _ => {}
                    }
                    &bytes[part..]
                }
                Rest::LineEnd(left) => {
                    *left -= 1;
                    if *left == 0 {
                        self.rest = Rest::Size(Vec::new());
                    }
                    &bytes[1..]
                }
                Rest::Trailer(length) => {
                    match (bytes[0], *length) {
                        (b'\n', 0) => self.rest = Rest::Nothing,
                        (b'\n', _) => *length = 0,
                        (b'\r', _) => {}
                        _ => *length += 1,
                    }
                    &bytes[1..]
                }
                Rest::UntilEnd => {
                    keep(&mut self.body, &self.want, bytes);
                    &[]
                }
                Rest::Nothing => {
                    // Bytes that belong to no request: the connection is of no further use.
                    self.closes = true;
                    &[]
                }
                Rest::Wrong => &[],
            };
        }
    }

    /// Takes bytes of the head; what is behind it comes back.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let old = self.head.len();
        self.head.extend_from_slice(bytes);
        // The limit holds in whatever pieces the head comes.
        let front = self.head.get(..LONGEST_HEAD).unwrap_or(&self.head);
        let Some(end) = front.windows(4).position(|window| window == b"\r\n\r\n") else {
            if self.head.len() > LONGEST_HEAD {
                self.head = Vec::new();
                self.rest = Rest::Wrong;
            }
            return &[];
        };
        let used = end + 4 - old;
        let head = std::mem::take(&mut self.head);
        self.rest = self.read_head(&head[..end]).unwrap_or(Rest::Wrong);
        &bytes[used..]
    }

    /// What comes after this head; `None`: it is no head.
    fn read_head(&mut self, head: &[u8]) -> Option<Rest> {
        let head = std::str::from_utf8(head).ok()?;
        let (status, _) = http::status(head.lines().next()?)?;
        self.status = status;
        let says = |name, value: &str| {
            header(head, name).is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        // HTTP/1.0 closes unless it says otherwise (RFC 9112, 9.3).
        let old = head.starts_with("HTTP/1.0");
        self.closes = says("connection", "close") || old && !says("connection", "keep-alive");
        Some(match (status, header(head, "content-length")) {
            // Another head follows (RFC 9110, 15.2).
            (100 | 102..=199, _) => Rest::Head,
            (101, _) => return None,
            (204 | 304, _) => Rest::Nothing,
            _ if says("transfer-encoding", "chunked") => Rest::Size(Vec::new()),
            (_, Some(length)) => match http::number(length, 10)? {
                0 => Rest::Nothing,
                length => Rest::Bytes(length),
            },
            (_, None) => {
                self.closes = true;
                Rest::UntilEnd
            }
        })
    }

    fn take_size<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Rest::Size(line) = &mut self.rest else { return bytes };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if line.len() > LONGEST_LINE {
            self.rest = Rest::Wrong;
            return &[];
        }
        let Some(end) = end else { return &[] };
        let text = std::str::from_utf8(line).unwrap_or_default();
        let size = text.split(';').next().and_then(|size| http::number(size.trim(), 16));
        self.rest = match size {
            Some(0) => Rest::Trailer(0),
            Some(size) => Rest::Chunk(size),
            None => Rest::Wrong,
        };
        &bytes[end + 1..]
    }

    /// The class; `None` while the answer may still become whole.
    pub fn class(&self, end: End) -> Option<Class> {
        let over = end != End::Open;
        let unfinished = if self.any { Class::Cut } else { Class::Empty };
        match (&self.rest, &self.want) {
            (Rest::Wrong, _) => return Some(Class::Wrong),
            (Rest::Head, _) => return over.then_some(unfinished),
            _ => {}
        }
        let whole = match (&self.rest, &self.want) {
            (Rest::Nothing, _) => true,
            // Only a look at the body tells whether the end came too early.
            (Rest::UntilEnd, Want::Body(body)) => {
                over && !(body.len() > self.body.len() && body.starts_with(&self.body))
            }
            (Rest::UntilEnd, Want::Good) => end == End::Closed,
            _ => false,
        };
        let good = match &self.want {
            Want::Body(_) => self.status == 200,
            Want::Good => (200..400).contains(&self.status),
        };
        match &self.want {
            // An error is an error, also one that breaks off.
            _ if !good && (whole || over) => Some(Class::Status(self.status)),
            _ if !whole => over.then_some(unfinished),
            Want::Body(body) if *body != self.body => Some(Class::Wrong),
            Want::Body(_) | Want::Good => Some(Class::Ok),
        }
    }
}

/// Keeps what is compared of the body: as much as is wanted, and one byte more, which makes it a wrong one.
fn keep(body: &mut Vec<u8>, want: &Want, bytes: &[u8]) {
    if let Want::Body(wanted) = want {
        let room = (wanted.len() + 1).saturating_sub(body.len());
        body.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nbod\r\n1\r\ny\r\n0\r\n\r\n";
    const TRAILED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n4\r\nbody\r\n0\r\nA: b\r\nC: d\r\n\r\n";
    const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                         HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    const BARE: &str = "HTTP/1.0 200 OK\r\n\r\nbody";

    /// In one piece and in single bytes.
    fn judged(text: &str, end: End, want: &Want) -> Option<Class> {
        let (mut whole, mut slow) = (Answer::new(want.clone()), Answer::new(want.clone()));
        whole.take(text.as_bytes());
        text.as_bytes().iter().for_each(|byte| slow.take(&[*byte]));
        assert_eq!(whole.class(end), slow.class(end), "{text:?}");
        assert_eq!(whole.closes(), slow.closes(), "{text:?}");
        whole.class(end)
    }

    fn told(text: &str, closed: bool) -> Option<Class> {
        let end = if closed { End::Closed } else { End::Open };
        judged(text, end, &Want::Body(b"body".to_vec()))
    }

    #[test]
    fn a_whole_answer_is_ok_and_needs_no_end_of_the_connection() {
        for text in [LENGTH, CHUNKED, TRAILED, EARLY] {
            for end in [End::Open, End::Closed, End::Reset] {
                for want in [Want::Body(b"body".to_vec()), Want::Good] {
                    assert_eq!(judged(text, end, &want), Some(Class::Ok), "{text}");
                }
            }
        }
        assert_eq!(told(BARE, false), None);
        assert_eq!(told(BARE, true), Some(Class::Ok));
        assert_eq!(judged(BARE, End::Closed, &Want::Good), Some(Class::Ok));
        assert_eq!(judged(BARE, End::Reset, &Want::Good), Some(Class::Cut));
    }

    #[test]
    fn every_answer_that_is_cut_short_is_noticed() {
        for text in [LENGTH, CHUNKED, TRAILED, EARLY, BARE] {
            for end in 0..text.len() {
                let class = if end == 0 { Class::Empty } else { Class::Cut };
                assert_eq!(told(&text[..end], true), Some(class), "{:?}", &text[..end]);
                assert_eq!(told(&text[..end], false), None, "{:?}", &text[..end]);
            }
        }
    }

    #[test]
    fn an_answer_without_a_body_is_whole() {
        for status in ["204 No Content", "304 Not Modified"] {
            let text = format!("HTTP/1.1 {status}\r\n\r\n");
            assert_eq!(judged(&text, End::Open, &Want::Good), Some(Class::Ok), "{text}");
        }
        let empty = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(judged(empty, End::Open, &Want::Good), Some(Class::Ok));
    }

    #[test]
    fn limits_hold_in_whatever_pieces_an_answer_comes() {
        let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(LONGEST_HEAD));
        assert_eq!(told(&head, false), Some(Class::Wrong));
        let line = format!("{}0;{}\r\n\r\n", &CHUNKED[..47], "x".repeat(LONGEST_LINE));
        assert_eq!(told(&line, false), Some(Class::Wrong));
        for status in ["+20", "1103", "20", "2x0"] {
            let text = LENGTH.replace("200", status);
            assert_eq!(told(&text, true), Some(Class::Wrong), "{status}");
        }
    }

    #[test]
    fn an_endless_body_needs_no_memory() {
        let mut answer = Answer::new(Want::Body(b"body".to_vec()));
        answer.take(BARE.as_bytes());
        for _ in 0..100 {
            answer.take(&[b'x'; 10_000]);
        }
        assert_eq!((answer.held(), answer.class(End::Closed)), (5, Some(Class::Wrong)));
    }

    #[test]
    fn a_status_is_told_apart_from_a_wrong_body() {
        let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbo";
        assert_eq!(told(busy, false), None);
        assert_eq!(told(busy, true), Some(Class::Status(503)));
        assert_eq!(told(&format!("{busy}dy"), false), Some(Class::Status(503)));
        assert_eq!(judged(busy, End::Reset, &Want::Good), Some(Class::Status(503)));
        assert_eq!(told("HTTP/1.1 500 Oh\r\n\r\nbody", true), Some(Class::Status(500)));
        for text in [LENGTH, CHUNKED, BARE] {
            let other = text.replace("bod", "dob");
            assert_eq!(told(&other, true), Some(Class::Wrong), "{other}");
        }
        for text in ["what is this\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
            assert_eq!(told(text, false), Some(Class::Wrong), "{text}");
            assert_eq!(judged(text, End::Open, &Want::Good), Some(Class::Wrong), "{text}");
        }
    }

    #[test]
    fn the_end_of_the_connection_is_announced() {
        let closes = |text: &str| {
            let mut answer = Answer::new(Want::Good);
            answer.take(text.as_bytes());
            answer.closes()
        };
        assert!(!closes(LENGTH));
        assert!(closes(BARE));
        assert!(closes(&LENGTH.replace("Content", "Connection: Close\r\nContent")));
        let kept = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
        assert!(!closes(kept));
        // What nothing was asked for leaves the connection in doubt.
        assert!(closes(&format!("{LENGTH}more")));
    }
}
