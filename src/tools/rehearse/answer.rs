//! What came back for a request, and which kind of failure it was if it was one.

use std::fmt;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    Ok,
    /// No connection came about, or it was reset before the request was sent.
    Refused,
    /// The connection ended before the first byte of an answer.
    Empty,
    /// The connection ended in the middle of the answer.
    Cut,
    /// A whole answer with another status than 200: 502, 503 and 504 are the balancer's own.
    Status(u16),
    /// A whole answer with status 200 that is not the one to this request.
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

/// The class of an answer of which `raw` has arrived so far; `None` while it may still become whole.
/// `closed`: nothing more will come.
pub(super) fn class(raw: &[u8], closed: bool, expected: &[u8]) -> Option<Class> {
    let unfinished = || closed.then_some(if raw.is_empty() { Class::Empty } else { Class::Cut });
    let Some(head_end) = raw.windows(4).position(|window| window == b"\r\n\r\n") else {
        return unfinished();
    };
    let Ok(head) = std::str::from_utf8(&raw[..head_end]) else { return Some(Class::Wrong) };
    let body = &raw[head_end + 4..];
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    let Some(status) = status else { return Some(Class::Wrong) };
    let whole = match header(head, "content-length").map(str::parse::<usize>) {
        Some(Ok(length)) => body.get(..length).map(<[u8]>::to_vec),
        Some(Err(_)) => return Some(Class::Wrong),
        None if header(head, "transfer-encoding") == Some("chunked") => dechunked(body),
        // Neither: the end of the connection is the end of the answer, and only a look at the body
        // tells whether it came too early.
        None if !closed => None,
        None if status == 200 && body.len() < expected.len() && expected.starts_with(body) => None,
        None => Some(body.to_vec()),
    };
    match whole {
        // An error is an error, also one that breaks off.
        _ if status != 200 && (closed || whole.is_some()) => Some(Class::Status(status)),
        None => unfinished(),
        Some(body) if body == expected => Some(Class::Ok),
        Some(_) => Some(Class::Wrong),
    }
}

/// Whether the answer says that the connection ends with it.
pub(super) fn closes(raw: &[u8]) -> bool {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
    let head = std::str::from_utf8(&raw[..end]).unwrap_or_default();
    header(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The content of all chunks, once the last one is there (RFC 9112, 7.1; nobody sends trailers here).
fn dechunked(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = raw.windows(2).position(|window| window == b"\r\n")?;
        let length = std::str::from_utf8(&raw[..line]).ok()?;
        let length = usize::from_str_radix(length.split(';').next()?.trim(), 16).ok()?;
        let (from, to) = (line + 2, line + 2 + length);
        // The line end after a chunk counts: without it the chunk may not be whole.
        raw.get(to..to + 2)?;
        if length == 0 {
            return Some(content);
        }
        content.extend_from_slice(&raw[from..to]);
        raw = &raw[to + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nbod\r\n1\r\ny\r\n0\r\n\r\n";
    const BARE: &str = "HTTP/1.0 200 OK\r\n\r\nbody";

    fn told(text: &str, closed: bool) -> Option<Class> {
        class(text.as_bytes(), closed, b"body")
    }

    #[test]
    fn a_whole_answer_is_ok_and_needs_no_end_of_the_connection() {
        for text in [LENGTH, CHUNKED] {
            assert_eq!(told(text, false), Some(Class::Ok), "{text}");
            assert_eq!(told(text, true), Some(Class::Ok), "{text}");
        }
        assert_eq!(told(BARE, false), None);
        assert_eq!(told(BARE, true), Some(Class::Ok));
    }

    #[test]
    fn every_answer_that_is_cut_short_is_noticed() {
        for text in [LENGTH, CHUNKED, BARE] {
            for end in 0..text.len() {
                let class = if end == 0 { Class::Empty } else { Class::Cut };
                assert_eq!(told(&text[..end], true), Some(class), "{:?}", &text[..end]);
                assert_eq!(told(&text[..end], false), None, "{:?}", &text[..end]);
            }
        }
    }

    #[test]
    fn a_status_is_told_apart_from_a_wrong_body() {
        let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbo";
        assert_eq!(told(busy, false), None);
        assert_eq!(told(busy, true), Some(Class::Status(503)));
        assert_eq!(told(&format!("{busy}dy"), false), Some(Class::Status(503)));
        assert_eq!(told("HTTP/1.1 500 Oh\r\n\r\nbody", true), Some(Class::Status(500)));
        for text in [LENGTH, CHUNKED, BARE] {
            let other = text.replace("bod", "dob");
            assert_eq!(told(&other, true), Some(Class::Wrong), "{other}");
        }
        assert_eq!(told("what is this\r\n\r\n", false), Some(Class::Wrong));
    }
}
