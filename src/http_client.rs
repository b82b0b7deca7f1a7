//! A small HTTP/1 client (RFC 9112), for the built-in hook action `http:` and for `--probe`. A file of its own at the
//! top, since life and tools both use it and neither may use the other. It may block: it never runs in PID 1.

use std::io::{self, BufRead, BufReader, Read, Write};

/// The longest status line that is read.
const LONGEST_LINE: u64 = 1024;
/// The most header lines that an answer may have.
const HEADERS: usize = 64;

/// An answer, of which the status line was read.
#[derive(Debug)]
pub struct Answer<S> {
    /// `200`
    pub status: u16,
    /// `200 OK`
    pub reason: String,
    rest: BufReader<S>,
}

/// Sends a request without a body and reads the status line of the answer. The server is asked to close the connection.
///
/// # Errors
/// The connection failed, or the answer is not HTTP/1.
pub fn ask<S: Read + Write>(
    mut stream: S,
    method: &str,
    host: &str,
    path: &str,
) -> io::Result<Answer<S>> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: graceinit\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut rest = BufReader::new(stream);
    let mut line = Vec::new();
    rest.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::other("it closed the connection without an answer"));
    }
    let line = String::from_utf8_lossy(&line);
    // HTTP/1.1 200 OK
    let reason = line.trim_end().strip_prefix("HTTP/1.").and_then(|line| line.split_once(' '));
    let reason = reason.map_or("", |(_, reason)| reason);
    match reason.get(..3).and_then(|status| status.parse().ok()) {
        Some(status) => Ok(Answer { status, reason: reason.to_owned(), rest }),
        None => Err(io::Error::other(format!("the answer is not HTTP/1: {line:?}"))),
    }
}

impl<S: Read> Answer<S> {
    /// The connection.
    pub fn stream(&self) -> &S {
        self.rest.get_ref()
    }

    /// Reads what is left of the answer, up to `longest` bytes, and throws it away.
    pub fn discard(self, longest: u64) {
        let _ = io::copy(&mut self.rest.take(longest), &mut io::sink());
    }

    /// Reads the body, if the rest of the answer is at most `longest` bytes long.
    ///
    /// # Errors
    /// The answer is too long, cut off, or not HTTP/1.
    pub fn body(self, longest: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // An error after the whole body (a reset) does not matter.
        let end = self.rest.take(longest + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > longest {
            return Err(io::Error::other("the answer is too long"));
        }
        match split(&bytes) {
            Ok(body) => Ok(body.to_vec()),
            Err(why) => end.and_then(|_| Err(io::Error::other(why))),
        }
    }
}

/// The body behind these header lines.
fn split(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let Ok(httparse::Status::Complete((head, headers))) =
        httparse::parse_headers(bytes, &mut headers)
    else {
        return Err("the answer is not HTTP/1");
    };
    let body = bytes.get(head..).unwrap_or_default();
    let length = headers.iter().find(|one| one.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|one| std::str::from_utf8(one.value).ok()?.parse().ok());
    body.get(..length.unwrap_or(body.len())).ok_or("the answer is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection on which this answer comes, whatever is sent.
    struct Replay<'a>(&'a [u8]);

    impl Read for Replay<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into)
        }
    }

    impl Write for Replay<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answer(bytes: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let answer = ask(Replay(bytes), "GET", "host", "/")?;
        Ok((answer.status, answer.body(100)?))
    }

    #[test]
    fn answers() {
        let text =
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-LENGTH: 11\r\n\r\nnot ready: \nrest";
        assert_eq!(answer(text).expect("an answer"), (503, b"not ready: ".to_vec()));
        assert_eq!(
            answer(b"HTTP/1.0 200 OK\r\n\r\nready\n").expect("an answer"),
            (200, b"ready\n".to_vec())
        );
        let long = [b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 200][..]].concat();
        for wrong in
            [&b""[..], b"\0\0", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n", &text[..60], &long]
        {
            assert!(answer(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
