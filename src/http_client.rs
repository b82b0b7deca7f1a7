//! A small HTTP/1 client (RFC 9112), for built-in actions of hooks and checks and for `--probe`. A file of its own at the
//! top, since life and tools both use it and neither may use the other. It may block: it never runs in PID 1.

use std::io::{self, BufRead, BufReader, Read, Write};

use crate::types::http;

/// The longest status line that is read.
const LONGEST_LINE: u64 = 1024;
/// The longest header line that is read.
const LONGEST_HEADER: u64 = 16_384;
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
    match http::status(&line) {
        Some((status, reason)) => Ok(Answer { status, reason: reason.to_owned(), rest }),
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

    /// Reads the body, if it is at most `longest` bytes long.
    ///
    /// # Errors
    /// The answer is too long, cut off, or not HTTP/1.
    pub fn body(mut self, longest: u64) -> io::Result<Vec<u8>> {
        let (mut length, mut chunked) = (None, false);
        for _ in 0..HEADERS {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                let length = length.filter(|_| !chunked);
                return match line.is_empty() {
                    true if chunked => self.chunks(longest),
                    true => self.plain(length, longest),
                    false => Err(io::Error::other("the answer is not HTTP/1")),
                };
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = http::number(value, 10);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.to_ascii_lowercase().ends_with("chunked");
            }
        }
        Err(io::Error::other("the answer has too many headers"))
    }

    /// A line of the head, or between two chunks.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.rest.by_ref().take(LONGEST_HEADER).read_until(b'\n', &mut line)?;
        match line.pop() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()),
            _ => Err(io::Error::other("the answer is cut off")),
        }
    }

    /// Without a length the body ends with the connection.
    fn plain(self, length: Option<u64>, longest: u64) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        // An error after the whole body (a reset) does not matter: the body is not read further.
        let end =
            self.rest.take(length.unwrap_or(u64::MAX).min(longest + 1)).read_to_end(&mut body);
        if body.len() as u64 > longest {
            return Err(io::Error::other("the answer is too long"));
        }
        match length {
            Some(length) if (body.len() as u64) < length => {
                end.and_then(|_| Err(io::Error::other("the answer is cut off")))
            }
            Some(_) => Ok(body),
            None => end.map(|_| body),
        }
    }

    /// A body in chunks (RFC 9112, section 7.1).
    fn chunks(mut self, longest: u64) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let Some(size) = http::number(size, 16) else {
                return Err(io::Error::other("the answer is not HTTP/1"));
            };
            let whole = (body.len() as u64).saturating_add(size);
            if size == 0 {
                return Ok(body);
            }
            if whole > longest {
                return Err(io::Error::other("the answer is too long"));
            }
            self.rest.by_ref().take(size).read_to_end(&mut body)?;
            if (body.len() as u64) < whole || !self.line()?.is_empty() {
                return Err(io::Error::other("the answer is cut off"));
            }
        }
    }
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
        let chunks =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nA;x=y\r\n\
                       0123456789\r\n0\r\n\r\nrest";
        assert_eq!(answer(chunks).expect("an answer"), (200, b"abcde0123456789".to_vec()));
        for end in 1..chunks.len() - 8 {
            assert!(answer(&chunks[..end]).is_err(), "{end}");
        }
        for size in ["x", "-1", "+1", "64", "ffffffffffffffff", "10000000000000000"] {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
            assert!(answer(format!("{head}{size}\r\nb").as_bytes()).is_err(), "{size}");
        }
        for wrong in [
            &b""[..],
            b"\0\0",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 +20 OK\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
            &text[..60],
            &long,
        ] {
            assert!(answer(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
