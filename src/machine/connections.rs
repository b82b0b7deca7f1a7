//! When is a drain over? The verdict on each connection of the drained ports, and what the verdicts of
//! one sample say together. Pure: numbers of the kernel and the time come in.
//!
//! TCP shows who spoke last, when, how much, and what is unread or unacknowledged. It does not show
//! whether an answer is complete. The rules, and what each of them costs, are in docs/drain.md:
//!
//! - a connection is **idle** when the app spoke last and nothing that counts moved for `--drain-idle`;
//!   once it was idle after the delay it is **released**, and only what is owed, unread or
//!   unacknowledged on it counts from then on;
//! - keep-alive chatter and exchanges that repeat themselves (`memory`) do not restart the clock;
//! - clients that vanished, that never read, or that stopped in the middle of a request are not waited
//!   for;
//! - near the end of the time the best moment is taken.

use std::net::SocketAddr;
use std::time::Duration;

mod hint;
mod holders;
mod memory;
mod sample;
mod verdict;

use hint::Hint;
pub use hint::SHORT;
pub use holders::{Holder, Remedy};
use memory::{Memory, millis};
pub use sample::{Plan, Sample, Visibility};
pub use verdict::Verdict;

/// Milliseconds since the first sample; negative before it.
type Millis = i64;

/// What the user says of silences.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rules {
    /// `--drain-idle`: the longest silence of the app inside one answer.
    pub idle: Duration,
    /// `--drain-owed`: an answer that is owed for longer is not waited for.
    pub owed: Option<Duration>,
}

/// The state of a connection, seen from the app's end (RFC 9293, section 3.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// SYN-RECEIVED: the handshake is under way.
    SynReceived,
    /// Both may speak.
    Established,
    /// The client has closed its side. It may be waiting for its answer all the same.
    CloseWait,
    /// The app has closed its side, and not all that it wrote was acknowledged.
    FinWait1,
    /// The app has closed its side, and everything was acknowledged.
    FinWait2,
    /// Both have closed, the client was second; not all that the app wrote was acknowledged.
    Closing,
    /// Both have closed, the app was second; not all that it wrote was acknowledged.
    LastAck,
    /// Of a Unix socket: that it is open is all that can be seen.
    Local,
}

/// A connection of one of the ports, as the kernel tells of it in one sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The kernel's name of the socket, never used again.
    pub key: u64,
    /// The client's end, where it is told.
    pub peer: Option<SocketAddr>,
    /// The port of the app.
    pub port: u16,
    /// Its state.
    pub state: State,
    /// A process has it open: not so before the app accepts it, nor once the app has closed it.
    pub held: bool,
    /// What came and was not read by the app, as the kernel counts: the client's FIN is one more.
    pub unread: u32,
    /// What was written and not acknowledged by the client, as the kernel counts: the app's FIN is one
    /// more.
    pub unsent: u32,
    /// What moved on it; `None` where only the connection itself can be seen.
    pub info: Option<Info>,
}

/// What moved on a connection: struct tcp_info. Ages are in milliseconds. The kernel counts them in
/// jiffies, 1 to 10 ms long, from one reading of the clock: what happened in the same jiffy is equal
/// here, and what did not, differs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Info {
    /// The app's last bytes were sent, or sent again; the connection was made, if there were none.
    pub sent: u32,
    /// The client's last bytes came; the connection was made, if there were none.
    pub received: u32,
    /// The client's last acknowledgement came.
    pub acknowledged: u32,
    /// The round trip, in microseconds.
    pub rtt: u32,
    /// Retransmissions since the last acknowledgement.
    pub retransmits: u8,
    /// Window probes since the last acknowledgement.
    pub probes: u8,
    /// How often the time-out of the retransmission was doubled.
    pub backoff: u8,
    /// Bytes that the client has sent, its FIN being one more. Since Linux 4.1.
    pub bytes_received: Option<u64>,
    /// Bytes that the client has acknowledged, the app's FIN being one more. Since Linux 4.1.
    pub bytes_acknowledged: Option<u64>,
    /// Segments with data that came. Since Linux 4.6.
    pub segments_in: Option<u32>,
    /// Segments with data that left, repeated ones included. Since Linux 4.6.
    pub segments_out: Option<u32>,
}

/// When a sample is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Moment {
    /// Time since the drain began.
    pub at: Duration,
    /// What is left of `--drain-delay`.
    pub delay_left: Duration,
    /// What is left until the drain is broken off; `None`: it may last for ever.
    pub left: Option<Duration>,
}

impl Moment {
    /// The whole length of the drain.
    fn whole(&self) -> Option<Duration> {
        self.left.map(|left| self.at.saturating_add(left))
    }

    /// Whether only one part in so many is left.
    fn in_last(&self, parts: u32) -> bool {
        self.until_last(parts).is_some_and(|until| until.is_zero())
    }

    /// How long until only one part in so many is left.
    fn until_last(&self, parts: u32) -> Option<Duration> {
        self.left.zip(self.whole()).map(|(left, whole)| left.saturating_sub(whole / parts))
    }
}

/// What one sample shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Summary {
    /// Connections with bytes that are unread or unacknowledged, and connections on which the app spoke
    /// last, not long enough ago.
    pub busy: u32,
    /// Connections whose client waits for an answer.
    pub owed: u32,
    /// Connections that are idle, closed, or were given up.
    pub idle: u32,
    /// Of all of them, those that were idle once after the delay.
    pub released: u32,
    /// Connections whose client answers nothing any more.
    pub vanished: u32,
    /// Connections whose client does not read.
    pub stalled: u32,
    /// Connections that the former sample did not show.
    pub new: u32,
    /// Connections that the app has not accepted, and sockets with datagrams that it has not read.
    pub queued: u32,
    /// Connections that keep the drain from ending.
    pub holding: u32,
    /// Connections that a stop signal would cut off now: something is owed, unread or unacknowledged.
    pub cut: u32,
    /// Connections on which the app spoke last, less than `--drain-idle` ago, and on which nothing tells
    /// that the answer is complete.
    pub uncertain: u32,
    /// The drain may end now.
    pub over: bool,
    /// How much sooner `--drain-idle 1s` would have ended it, if what was seen supports that; else zero.
    pub sooner: Duration,
    /// When the next sample is worth making.
    pub next: Duration,
}

/// Samples are made so often. Bursts are told apart by pauses of several samples.
pub const PERIOD: Duration = Duration::from_millis(100);
/// A datagram is nearly always answered at once: after so long without one, none is on its way.
const DATAGRAM_PAUSE: Duration = Duration::from_millis(500);
/// An app that was silent for so long is in a pause, and not between two tokens of a stream.
const PAUSE: u32 = 1000;
/// So many connections are remembered (8 MB). Others are judged by what one sample shows.
const MOST_REMEMBERED: usize = 50_000;

/// The connections of the drained ports: what is remembered of them from sample to sample.
#[derive(Clone, Debug)]
pub struct Table {
    rules: Rules,
    most: usize,
    /// In the order of their keys.
    known: Vec<Memory>,
    /// First seen in the present sample, in any order.
    added: Vec<Memory>,
    /// Those of the connections that have gone that held the drain longest.
    gone: Vec<Holder>,
    samples: u64,
    /// When something moved last in the network namespace, before the delay was over.
    traffic: Millis,
    hint: Hint,
    present: Present,
}

/// The sample that is being made.
#[derive(Clone, Copy, Debug, Default)]
struct Present {
    moment: Moment,
    /// Since the former sample.
    passed: Duration,
    /// The delay was not over at the former sample.
    in_delay: bool,
    /// What the listeners say of connections to be accepted.
    backlog: u32,
    /// Sockets with unread datagrams.
    datagrams: u32,
    /// Not everything could be seen.
    incomplete: bool,
    /// How long ago the last datagram came.
    datagram: Option<Duration>,
    tally: Tally,
}

/// Verdicts, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    summary: Summary,
    /// Connections that no process has open yet.
    waiting: u32,
    /// Connections that are being made.
    handshakes: u32,
    /// Connections with something owed, unread or unacknowledged.
    debts: u32,
    /// Connections that hold the drain, and whose app may be between two parts of an answer.
    streaming: u32,
    /// When the last of those that hold the drain is idle, if nothing moves.
    settled: Duration,
}

impl Table {
    /// Nothing was seen yet.
    pub fn new(rules: Rules) -> Table {
        Table {
            rules,
            most: MOST_REMEMBERED,
            known: Vec::new(),
            added: Vec::new(),
            gone: Vec::new(),
            samples: 0,
            traffic: 0,
            hint: Hint::default(),
            present: Present::default(),
        }
    }

    /// A sample begins. One that was not ended is void.
    pub fn begin(&mut self, moment: Moment) {
        for memory in &mut self.known {
            memory.seen = false;
        }
        self.added.clear();
        let passed = moment.at.saturating_sub(self.present.moment.at);
        let in_delay = !self.present.moment.delay_left.is_zero();
        // A sample that is begun again keeps what the former whole one has left behind.
        let (passed, in_delay) = match self.present.moment == moment {
            true => (self.present.passed, self.present.in_delay),
            false => (passed, in_delay),
        };
        self.present = Present { moment, passed, in_delay, ..Present::default() };
    }

    /// Something has moved in the network namespace since the former sample, on whichever connection. That counts for the
    /// connections whose own traffic cannot be seen, while clients still send requests: until the delay is over. After it,
    /// the health checks and the outgoing connections of an app would hold the drain for ever.
    pub fn traffic(&mut self) {
        if self.present.in_delay {
            self.traffic = millis(self.present.moment.at);
        }
    }

    /// One of the connections. The kernel may tell of one twice.
    pub fn connection(&mut self, reading: &Reading) {
        let moment = self.present.moment;
        match self.known.binary_search_by_key(&reading.key, |memory| memory.key) {
            Ok(place) => {
                let Some(memory) = self.known.get_mut(place) else { return };
                memory.observe(reading, &moment);
                memory.judge(reading, &self.rules, &moment, self.traffic);
            }
            Err(_) => {
                let mut memory = Memory::new(reading, &moment, self.samples > 0);
                memory.judge(reading, &self.rules, &moment, self.traffic);
                if self.known.len() + self.added.len() < self.most {
                    self.added.push(memory);
                } else {
                    self.hint.blind();
                    self.present.tally.count(&memory, self.samples > 0);
                }
            }
        }
    }

    /// A listener, with so many connections to be accepted.
    pub fn listener(&mut self, backlog: u32) {
        self.present.backlog = self.present.backlog.saturating_add(backlog);
    }

    /// So many sockets have datagrams to be read; the last datagram came so long ago.
    pub fn datagrams(&mut self, sockets: u32, silence: Duration) {
        self.present.datagrams = self.present.datagrams.saturating_add(sockets);
        self.present.datagram = Some(silence);
    }

    /// Not everything could be seen.
    pub fn incomplete(&mut self) {
        self.present.incomplete = true;
    }

    /// The sample is complete.
    pub fn end(&mut self) -> Summary {
        let passed = u32::try_from(self.present.passed.as_millis()).unwrap_or(u32::MAX);
        let later = self.samples > 0;
        self.remember();
        let present = &mut self.present;
        for memory in &mut self.known {
            if present.moment.delay_left.is_zero() && memory.verdict.releases() {
                memory.released = true;
            }
            if memory.holds() {
                memory.held = memory.held.saturating_add(passed);
                memory.held_as = memory.verdict;
            }
            present.tally.count(memory, later);
            memory.new = false;
        }
        self.samples += 1;
        // A listener's number and its connections were not read in the same moment.
        let tally = &present.tally;
        let queued = tally.waiting.max(present.backlog);
        let queued = queued.saturating_add(tally.handshakes).saturating_add(present.datagrams);
        let free = queued == 0 && tally.debts == 0 && !present.incomplete;
        let free = free && present.datagrams_rest();
        let over = present.is_over(queued);
        let next = present.next(queued);
        self.hint.sample(&mut self.known, &present.moment, free);
        let sooner = match over {
            true => self.hint.sooner(&self.known, &self.rules, &present.moment),
            false => Duration::ZERO,
        };
        Summary { queued, over, next, sooner, ..tally.summary }
    }

    /// Forgets what has gone, and takes in what is new.
    fn remember(&mut self) {
        let Table { known, added, gone, hint, .. } = self;
        known.retain(|memory| {
            if !memory.seen {
                hint.gone(memory);
                holders::keep(gone, holders::Holder::gone(memory));
            }
            memory.seen
        });
        if !added.is_empty() {
            known.append(added);
            known.sort_unstable_by_key(|memory| memory.key);
            known.dedup_by_key(|memory| memory.key);
        }
    }

    /// The three connections that held the drain longest, the longest first.
    pub fn holders(&self) -> Vec<Holder> {
        let mut found = self.gone.clone();
        for memory in &self.known {
            holders::keep(&mut found, Holder::present(memory, &self.present.moment));
        }
        found
    }

    /// The connections that hold the drain at present, three at most, the one that has held it longest first.
    pub fn holding(&self) -> Vec<Holder> {
        let mut found = Vec::new();
        for memory in self.known.iter().filter(|memory| memory.holds()) {
            holders::keep(&mut found, Holder::present(memory, &self.present.moment));
        }
        found
    }

    /// How many connections are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no connection is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Tally {
    fn count(&mut self, memory: &Memory, later: bool) {
        let summary = &mut self.summary;
        let holds = memory.holds();
        let debt = memory.verdict.is_debt();
        let number = match memory.verdict {
            // A client that is there completes its handshake before the next sample. One that does not is
            // none (a scan), or has asked for nothing yet (TCP_DEFER_ACCEPT).
            Verdict::Handshake if memory.new => Some(&mut self.handshakes),
            Verdict::Handshake => None,
            Verdict::Unaccepted => Some(&mut self.waiting),
            Verdict::Unread
            | Verdict::Unacknowledged
            | Verdict::Recent
            | Verdict::Unseen
            | Verdict::Open => Some(&mut summary.busy),
            Verdict::Owed => Some(&mut summary.owed),
            Verdict::Idle | Verdict::Closed | Verdict::GivenUp => Some(&mut summary.idle),
            Verdict::Vanished => Some(&mut summary.vanished),
            Verdict::Stalled => Some(&mut summary.stalled),
        };
        if let Some(number) = number {
            *number += 1;
        }
        summary.new += u32::from(memory.new && later);
        summary.released += u32::from(memory.released);
        summary.holding += u32::from(holds);
        // An answer that its client does not read is cut off, although it is not waited for.
        summary.cut += u32::from(debt || memory.verdict == Verdict::Stalled);
        summary.uncertain += u32::from(memory.is_uncertain());
        self.debts += u32::from(debt);
        self.streaming += u32::from(holds && !debt && memory.streams);
        if holds {
            self.settled = self.settled.max(Duration::from_millis(memory.settles.into()));
        }
    }
}

impl Present {
    fn is_over(&self, queued: u32) -> bool {
        let Present { moment, tally, .. } = self;
        if queued > 0 || self.incomplete || !moment.delay_left.is_zero() || tally.debts > 0 {
            return false;
        }
        if moment.in_last(10) {
            return true;
        }
        if moment.in_last(5) {
            return self.datagrams_rest() && tally.streaming == 0;
        }
        self.datagrams_rest() && tally.summary.holding == 0
    }

    /// No datagram has come for a while.
    fn datagrams_rest(&self) -> bool {
        self.datagram.is_none_or(|silence| silence >= DATAGRAM_PAUSE)
    }

    /// A connection on which no answer is owed can change at any time; one that has to grow old has its moment.
    fn next(&self, queued: u32) -> Duration {
        let Moment { delay_left, .. } = self.moment;
        let aging = self.tally.debts == 0 && queued == 0 && !self.tally.settled.is_zero();
        let settled = aging.then_some(self.tally.settled);
        let datagrams = self.datagram.map(|silence| DATAGRAM_PAUSE.saturating_sub(silence));
        let edges = [5, 10].map(|parts| self.moment.until_last(parts));
        let edges = edges.into_iter().chain([settled, datagrams, Some(delay_left)]);
        edges.flatten().filter(|edge| !edge.is_zero()).fold(PERIOD, Duration::min)
    }
}

#[cfg(test)]
mod tests;
