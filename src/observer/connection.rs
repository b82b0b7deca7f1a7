//! One connection: what has come, what is to go, and how long that may take.

use std::io::{ErrorKind, Result};
use std::os::fd::{AsFd, BorrowedFd};

use super::http::{self, LONGEST_HEAD, Parsed, Request};
use super::routes::{self, Answer};
use super::server::Limits;
use crate::sys::listen::Stream;
use crate::sys::poll::Want;
use crate::types::Time;

/// So many reads in one turn, then others have theirs.
const READS: usize = 4;

/// What it is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    /// A request is awaited or arrives: the first one, or one that has begun.
    Request,
    /// Nothing, after an answer.
    Idle,
    /// An answer goes out.
    Answer,
    /// All was said. The rest of what the client says is read and thrown away: to close before that
    /// would reset the connection, and the client might lose the answer (RFC 9112, section 9.6).
    Farewell,
}

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    doing: Doing,
    /// Since when it is at that. A slow client does not change it by sending one more byte.
    since: Time,
    input: Vec<u8>,
    /// So many bytes of a body are still to be thrown away.
    skip: u64,
    output: Vec<u8>,
    /// So much of it is sent.
    sent: usize,
    /// The answer that goes out is the last one.
    last: bool,
    /// It counts once it is out.
    counts: bool,
}

/// Who knows the answer to a request.
pub(super) type Oracle<'a> = dyn FnMut(&Request) -> Answer + 'a;

/// How a turn went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    /// The connection lives on.
    pub keep: bool,
    /// So many answers that count went out.
    pub counted: u32,
}

impl Connection {
    pub(super) fn new(stream: Stream, now: Time) -> Connection {
        Connection {
            stream,
            doing: Doing::Request,
            since: now,
            input: Vec::new(),
            skip: 0,
            output: Vec::new(),
            sent: 0,
            last: false,
            counts: false,
        }
    }

    /// What it waits for.
    pub(super) fn wants(&self) -> (BorrowedFd<'_>, Want) {
        let want = if self.doing == Doing::Answer { Want::Write } else { Want::Read };
        (self.stream.as_fd(), want)
    }

    /// How long it is at what it does.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// When it has to be done.
    pub(super) fn deadline(&self, limits: &Limits) -> Time {
        self.since.after(match self.doing {
            Doing::Request => limits.request,
            Doing::Idle => limits.idle,
            Doing::Answer => limits.answer,
            Doing::Farewell => limits.farewell,
        })
    }

    /// Does what can be done without waiting: answers what has arrived, sends what finds room.
    pub(super) fn turn(&mut self, now: Time, oracle: &mut Oracle<'_>) -> Turn {
        let mut counted = 0;
        let keep = self.advance(now, oracle, &mut counted).unwrap_or(false);
        Turn { keep, counted }
    }

    /// Whether the connection lives on. An error says that the client has gone.
    fn advance(&mut self, now: Time, oracle: &mut Oracle<'_>, counted: &mut u32) -> Result<bool> {
        let mut buffer = [0; 4096];
        for reads in 0..=READS {
            // One answer at a time: a client that asks a hundred times in one breath and does not
            // read costs the memory of one.
            while self.doing != Doing::Farewell {
                if !self.flush(now, counted)? {
                    return Ok(true);
                }
                if !self.answer(now, oracle) {
                    break;
                }
            }
            if reads == READS {
                break;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.take(&buffer[..count], now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn change(&mut self, doing: Doing, now: Time) {
        self.doing = doing;
        self.since = now;
    }

    fn take(&mut self, bytes: &[u8], now: Time) {
        if self.doing == Doing::Farewell {
            return;
        }
        if self.doing == Doing::Idle {
            self.change(Doing::Request, now);
        }
        let body = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        self.skip -= body as u64;
        self.input.extend_from_slice(&bytes[body..]);
        if body > 0 && self.between_requests() {
            self.change(Doing::Idle, now);
        }
    }

    fn between_requests(&self) -> bool {
        self.skip == 0 && self.input.is_empty()
    }

    /// Answers the next request; whether there was one.
    fn answer(&mut self, now: Time, oracle: &mut Oracle<'_>) -> bool {
        match http::parse(&self.input) {
            Parsed::Partial => {
                if self.doing == Doing::Answer {
                    let idle = self.between_requests();
                    self.change(if idle { Doing::Idle } else { Doing::Request }, now);
                }
                return false;
            }
            Parsed::Wrong(status) => {
                let answer = routes::text(status, "this is no HTTP/1 request, or too long a one\n");
                http::write(&mut self.output, &answer, None);
                self.last = true;
            }
            Parsed::Request(request) => {
                let answer = oracle(&request);
                http::write(&mut self.output, &answer, Some(&request));
                self.counts = answer.counts;
                self.last = request.close;
                let rest = self.input.len() - request.head;
                let body = rest.min(usize::try_from(request.body).unwrap_or(usize::MAX));
                self.skip = request.body - body as u64;
                self.input.drain(..request.head + body);
            }
        }
        self.change(Doing::Answer, now);
        true
    }

    /// Sends what is to go; whether all of it went.
    fn flush(&mut self, now: Time, counted: &mut u32) -> Result<bool> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent == 0 {
            return Ok(true);
        }
        *counted += u32::from(std::mem::take(&mut self.counts));
        self.output.clear();
        self.sent = 0;
        if self.last {
            self.stream.finish();
            self.input = Vec::new();
            self.change(Doing::Farewell, now);
        }
        Ok(true)
    }
}

// The input holds the beginning of one request and what one read has brought besides.
const _: () = assert!(LONGEST_HEAD + 4096 <= 16384);
