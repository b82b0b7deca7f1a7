//! One connection of a client: its input, its output, and its time limits.

use std::io::{ErrorKind, Result};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::http::{self, Answer, LONGEST_HEAD, Parsed, Request};
use crate::sys::listen::Stream;
use crate::sys::poll::Want;
use crate::types::Time;

/// The most reads in one turn, so that other connections have theirs.
const READS: usize = 4;

/// The limits for clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections at a time. For one more, the one that has made no progress for the longest time is closed:
    /// refusing the newest would let slow clients keep probes out.
    pub connections: usize,
    /// The time for a whole request.
    pub request: Duration,
    /// The time until the next request begins.
    pub idle: Duration,
    /// The time for the client to take an answer.
    pub answer: Duration,
    /// The time for the client to close after the last answer.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 64,
            request: Duration::from_secs(5),
            // Longer than the ten seconds between two probes of a kubelet.
            idle: Duration::from_secs(20),
            answer: Duration::from_secs(5),
            farewell: Duration::from_secs(1),
        }
    }
}

/// The answer to a request that names another host.
const FOREIGN_HOST: &str = "this address answers only requests whose Host is localhost or a loopback address, so that no \
                            web page can read it by DNS rebinding; set the header to Host: localhost, or choose \
                            another address with --listen\n";

/// What the connection is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    /// The first request, or the rest of one that has begun.
    Request,
    /// The next request.
    Idle,
    /// The answer to the request that has come: the app is asked first.
    Check,
    /// Room for the rest of an answer.
    Answer,
    /// The client's end. Its input is thrown away: closing first would reset the connection, and the client might lose
    /// the answer (RFC 9112, section 9.6).
    Farewell,
}

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// It came in through an address that only this host can reach, so only requests for this host are answered.
    local: bool,
    doing: Doing,
    /// Since when. One more byte of a slow client does not change it.
    since: Time,
    input: Vec<u8>,
    /// How many bytes of a body are still to be thrown away.
    skip: u64,
    output: Vec<u8>,
    /// How much of the output was sent.
    sent: usize,
    /// The present answer is the last one.
    last: bool,
    /// The present answer counts once it was sent.
    counts: bool,
}

/// Answers a request. `None`: later, when the app was asked.
pub(super) type Handler<'a> = dyn FnMut(&Request) -> Option<Answer> + 'a;

/// The result of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    /// The connection stays open.
    pub keep: bool,
    /// How many answers that count were sent.
    pub counted: u32,
}

impl Connection {
    pub(super) fn new(stream: Stream, local: bool, now: Time) -> Connection {
        Connection {
            stream,
            local,
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

    /// The event that it waits for.
    pub(super) fn wants(&self) -> (BorrowedFd<'_>, Want) {
        let want = match self.doing {
            Doing::Answer => Want::Write,
            Doing::Check => Want::End,
            Doing::Request | Doing::Idle | Doing::Farewell => Want::Read,
        };
        (self.stream.as_fd(), want)
    }

    /// Whether it waits until the app was asked.
    pub(super) fn waits_for_check(&self) -> bool {
        self.doing == Doing::Check
    }

    /// Since when it waits.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// When its time is over.
    pub(super) fn deadline(&self, limits: &Limits) -> Time {
        self.since.after(match self.doing {
            // The checks have a limit of their own.
            Doing::Check => return Time(u64::MAX),
            Doing::Request => limits.request,
            Doing::Idle => limits.idle,
            Doing::Answer => limits.answer,
            Doing::Farewell => limits.farewell,
        })
    }

    /// Reads, answers and sends as far as that is possible without waiting.
    pub(super) fn turn(&mut self, now: Time, handler: &mut Handler<'_>) -> Turn {
        let mut counted = 0;
        let keep = self.advance(now, handler, &mut counted).unwrap_or(false);
        Turn { keep, counted }
    }

    /// Whether the connection stays open. An error means that the client has closed it.
    fn advance(&mut self, now: Time, handler: &mut Handler<'_>, counted: &mut u32) -> Result<bool> {
        let mut buffer = [0; 4096];
        for reads in 0..=READS {
            // One answer at a time: a client that sends a hundred requests and reads nothing costs the memory of one
            // answer.
            while self.doing != Doing::Farewell {
                if !self.flush(now, counted)? {
                    return Ok(true);
                }
                if !self.answer(now, handler) {
                    break;
                }
            }
            if reads == READS || self.doing == Doing::Check {
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

    /// Answers the next request. False if there is none.
    fn answer(&mut self, now: Time, handler: &mut Handler<'_>) -> bool {
        match http::parse(&self.input) {
            Parsed::Partial => {
                if self.doing == Doing::Answer {
                    let idle = self.between_requests();
                    self.change(if idle { Doing::Idle } else { Doing::Request }, now);
                }
                return false;
            }
            Parsed::Wrong(status) => {
                let answer = http::text(status, "not an HTTP/1 request, or too long\n");
                http::write(&mut self.output, &answer, None);
                self.last = true;
            }
            Parsed::Request(request) => {
                let refused = self.local && !request.for_this_host;
                let answer =
                    if refused { Some(http::text(403, FOREIGN_HOST)) } else { handler(&request) };
                let Some(answer) = answer else {
                    if self.doing != Doing::Check {
                        self.change(Doing::Check, now);
                    }
                    return false;
                };
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

    /// Sends the output. False if not all of it was sent.
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

// The input holds the beginning of one request and the rest of one read.
const _: () = assert!(LONGEST_HEAD + 4096 <= 16384);
