//! The checks of `--health` and `--live`: made when a client asks, never by themselves, and without waiting for the app.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::account::document;
use crate::account::text::cut;
use crate::sys::dial::{self, Check, Checks, Look};
use crate::sys::listen::Stream;
use crate::sys::poll::Want;
use crate::types::text::printable;
use crate::types::{Time, http};

/// An answer is given to all clients that ask within this time.
const SHARED: Duration = Duration::from_secs(1);
/// The longest status line that is read.
const LONGEST_LINE: usize = 1024;
/// The longest head of a 1xx answer.
const LONGEST_HEAD: usize = 8192;
/// The most reads of one turn, so that an app that sends without end does not hold up the others.
const READS: usize = 16;

/// What an answer depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    Health,
    Live,
}

/// How long an answer may be waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// Until the app was asked, unless an answer is fresh.
    Asks,
    /// It has waited: until the checks that are under way are done.
    Waited,
    /// Not at all.
    None,
}

/// Both kinds of checks, with their last answers.
#[derive(Debug)]
pub(super) struct Health {
    health: Round,
    live: Round,
}

impl Health {
    pub(super) fn new(checks: &Checks) -> Health {
        let round = |checks: &[Check], timeout| Round {
            asked: checks.iter().cloned().map(Asked::new).collect(),
            begun: None,
            timeout,
        };
        Health {
            health: round(&checks.health, checks.timeout),
            live: round(&checks.live, checks.timeout),
        }
    }

    /// Whether an answer can be given now. Otherwise the checks are under way.
    pub(super) fn is_known(&mut self, which: Which, now: Time, patience: Patience) -> bool {
        let round = match which {
            Which::Health => &mut self.health,
            Which::Live => &mut self.live,
        };
        if round.asked.is_empty() || patience == Patience::None {
            return true;
        }
        if !round.is_running() && !round.is_fresh(now) && patience == Patience::Asks {
            round.begin(now);
        }
        !round.is_running()
    }

    /// Why the last answer was no; `None`: it was yes, or there are no checks.
    pub(super) fn trouble(&self, which: Which) -> Option<String> {
        let round = match which {
            Which::Health => &self.health,
            Which::Live => &self.live,
        };
        let bad = round.asked.iter().filter(|asked| !matches!(asked.answer, Some((true, ..))));
        let texts: Vec<String> = bad
            .map(|asked| {
                let answer = asked.answer.as_ref().map_or("no answer yet", |(_, text, _)| text);
                format!("{}: {answer}", cut(&asked.check.text))
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// The checks and their last answers, for metrics and page.
    pub(super) fn list(&self, now: Time) -> Vec<document::Health> {
        let both = [("health", &self.health), ("live", &self.live)];
        let each = both.into_iter().flat_map(|(option, round)| {
            round.asked.iter().map(move |asked| {
                let known = asked.answer.as_ref();
                document::Health {
                    option: option.to_owned(),
                    check: cut(&asked.check.text),
                    ok: known.map(|(ok, ..)| *ok),
                    answer: known.map_or(String::new(), |(_, text, _)| text.clone()),
                    ago: known.map(|(_, _, at)| now.since(*at).into()),
                }
            })
        });
        each.collect()
    }

    /// The descriptors to wait for.
    pub(super) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Want)> {
        self.health.asked.iter().chain(&self.live.asked).filter_map(Asked::wants)
    }

    /// When `turn` has something to do without any event.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.health.deadline().into_iter().chain(self.live.deadline()).min()
    }

    /// Goes on as far as that is possible without waiting.
    pub(super) fn turn(&mut self, now: Time) {
        self.health.turn(now);
        self.live.turn(now);
    }
}

/// The checks of one kind, which are made at the same time.
#[derive(Debug)]
struct Round {
    asked: Vec<Asked>,
    begun: Option<Time>,
    timeout: Duration,
}

impl Round {
    fn is_running(&self) -> bool {
        self.asked.iter().any(|asked| asked.pending)
    }

    fn is_fresh(&self, now: Time) -> bool {
        self.begun.is_some_and(|begun| now < begun.after(SHARED))
    }

    fn deadline(&self) -> Option<Time> {
        let open = self.asked.iter().any(|asked| asked.pending || asked.stream.is_some());
        self.begun.filter(|_| open).map(|begun| begun.after(self.timeout))
    }

    fn begin(&mut self, now: Time) {
        self.begun = Some(now);
        for asked in &mut self.asked {
            asked.begin(now);
            asked.turn(now);
        }
    }

    fn turn(&mut self, now: Time) {
        for asked in &mut self.asked {
            asked.turn(now);
        }
        if self.deadline().is_some_and(|end| end <= now) {
            for asked in &mut self.asked {
                if asked.pending {
                    let limit = humantime::format_duration(self.timeout);
                    asked.answered(false, &format!("no answer within {limit}"), now);
                }
                asked.stream = None;
            }
        }
    }
}

/// One check.
#[derive(Debug)]
struct Asked {
    check: Check,
    /// It is under way.
    pending: bool,
    /// After the answer to a GET its rest is read: the app would log that the connection was reset.
    stream: Option<Stream>,
    /// Of several addresses, the one that is tried.
    address: usize,
    connected: bool,
    /// How much of the request was sent.
    sent: usize,
    input: Vec<u8>,
    /// Whether the last answer was yes, in words, and when it came.
    answer: Option<(bool, String, Time)>,
}

impl Asked {
    fn new(check: Check) -> Asked {
        Asked {
            check,
            pending: false,
            stream: None,
            address: 0,
            connected: false,
            sent: 0,
            input: Vec::new(),
            answer: None,
        }
    }

    fn wants(&self) -> Option<(BorrowedFd<'_>, Want)> {
        let stream = self.stream.as_ref()?;
        let reads = self.connected && self.sent >= self.request().len();
        Some((stream.as_fd(), if reads { Want::Read } else { Want::Write }))
    }

    fn request(&self) -> String {
        match &self.check.look {
            Look::Http { host, path, .. } => format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: graceinit\r\nConnection: close\r\n\r\n"
            ),
            Look::Connect(_) | Look::File(_) => String::new(),
        }
    }

    fn answered(&mut self, ok: bool, text: &str, now: Time) {
        self.pending = false;
        self.answer = Some((ok, cut(&printable(text.as_bytes())), now));
    }

    fn begin(&mut self, now: Time) {
        self.pending = true;
        (self.stream, self.address, self.connected, self.sent) = (None, 0, false, 0);
        self.input.clear();
        match &self.check.look {
            Look::File(path) => match fs::metadata(path) {
                Ok(_) => self.answered(true, "it exists", now),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.answered(false, "no such file", now);
                }
                Err(error) => self.answered(false, &reason(&error), now),
            },
            Look::Connect(_) | Look::Http { .. } => self.dial(now),
        }
    }

    /// Tries the address; after an error the next one.
    fn dial(&mut self, now: Time) {
        loop {
            let address = match &self.check.look {
                Look::Connect(addresses) => addresses.get(self.address),
                Look::Http { address, .. } => Some(address),
                Look::File(_) => None,
            };
            let Some(address) = address else { return };
            match dial::start(address) {
                Ok(stream) => return self.stream = Some(stream),
                Err(error) if !self.next_address() => {
                    return self.answered(false, &reason(&error), now);
                }
                Err(_) => {}
            }
        }
    }

    fn next_address(&mut self) -> bool {
        let more = match &self.check.look {
            Look::Connect(addresses) => self.address + 1 < addresses.len(),
            Look::Http { .. } | Look::File(_) => false,
        };
        self.address += usize::from(more);
        more
    }

    fn turn(&mut self, now: Time) {
        if let Err(error) = self.advance(now) {
            self.stream = None;
            if self.pending && !self.connected && self.next_address() {
                return self.dial(now);
            }
            if self.pending {
                self.answered(false, &reason(&error), now);
            }
        }
    }

    /// Connects, sends and reads as far as that is possible without waiting.
    fn advance(&mut self, now: Time) -> io::Result<()> {
        let request = self.request();
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if !self.connected {
            if !stream.is_connected()? {
                return Ok(());
            }
            self.connected = true;
            if let Look::Connect(_) = self.check.look {
                self.stream = None;
                self.answered(true, "connected", now);
                return Ok(());
            }
        }
        while let Some(rest) = request.as_bytes().get(self.sent..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0; 4096];
        for _ in 0..READS {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            match stream.read(&mut buffer) {
                Ok(0) if self.pending => {
                    return Err(io::Error::other("it closed the connection without an answer"));
                }
                Ok(0) => self.stream = None,
                Ok(count) if self.pending => {
                    self.input.extend_from_slice(&buffer[..count]);
                    self.read_status(now)?;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_status(&mut self, now: Time) -> io::Result<()> {
        if let Some((number, text)) = take_status(&mut self.input)? {
            self.answered((200..400).contains(&number), &text, now);
            self.input = Vec::new();
        }
        Ok(())
    }
}

/// Reads the status line, as a number and in words, if it is there. A 1xx (RFC 9110, section 15.2) precedes the
/// answer and is removed from `input`.
///
/// # Errors
/// The answer is not HTTP/1.
pub fn take_status(input: &mut Vec<u8>) -> io::Result<Option<(u16, String)>> {
    loop {
        // The limits hold in whatever pieces the answer comes.
        let end = input.iter().take(LONGEST_LINE + 1).position(|byte| *byte == b'\n');
        let Some(line) = end.and_then(|end| input.get(..end)) else {
            return bounded(input, LONGEST_LINE);
        };
        let line = String::from_utf8_lossy(line);
        let Some((number, text)) = http::status(&line) else {
            return Err(io::Error::other("the answer is not HTTP/1"));
        };
        if !(100..200).contains(&number) {
            return Ok(Some((number, text.to_owned())));
        }
        let front = input.get(..LONGEST_HEAD).unwrap_or(input);
        let Some(head) = front.windows(4).position(|four| four == b"\r\n\r\n") else {
            return bounded(input, LONGEST_HEAD);
        };
        input.drain(..head + 4);
    }
}

fn bounded<T>(input: &[u8], longest: usize) -> io::Result<Option<T>> {
    match input.len() <= longest {
        true => Ok(None),
        false => Err(io::Error::other("the answer is not HTTP/1")),
    }
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => "the backlog of its socket is full".to_owned(),
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
