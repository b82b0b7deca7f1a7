//! What is remembered of one connection from sample to sample: its totals, the present burst, the
//! signatures of earlier bursts, the last movement that counts.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{Info, Millis, Moment, Reading, State, Verdict};

/// Movements with shorter pauses between them are one burst.
const BURST_PAUSE: Millis = 450;
/// Keep-alive chatter has at most so many bytes each way: a WebSocket's ping may carry 125.
const MOST_OF_ECHO: u32 = 160;
/// So many signatures are remembered. A balancer's checks are of one or two kinds.
const SIGNATURES: usize = 4;
/// Of a connection whose life was uniform, so many requests were seen.
const UNIFORM: u32 = 8;

/// Fewer bytes are no request of any protocol that clients wait in.
const LEAST_REQUEST: u64 = 16;

/// What is remembered of one connection.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) key: u64,
    /// The client's end; port 0: it was not told.
    address: [u8; 16],
    peer_port: u16,
    pub(super) port: u16,
    /// How long it has held the drain, in milliseconds.
    pub(super) held: u32,
    /// Totals, without FINs. Where only queues are seen: the queues.
    pub(super) bytes: Pair<u64>,
    segments: Pair<u32>,
    burst: Pair<u32>,
    burst_segments: Pair<u16>,
    signatures: [Signature; SIGNATURES],
    /// The last movement of any kind.
    pub(super) moved: Millis,
    /// The last movement that counted before the present burst.
    before: Millis,
    /// In how many milliseconds it is idle, if nothing moves.
    pub(super) settles: u32,
    /// What it owes at present, and what it owed before the present burst.
    pub(super) debt: Debt,
    debt_before: Debt,
    pub(super) verdict: Verdict,
    /// The last verdict for which it held the drain.
    pub(super) held_as: Verdict,
    within: Within,
    /// The kernel tells of bytes.
    counts_bytes: bool,
    /// The app spoke strictly last in the present burst.
    strict: bool,
    /// The client has spoken in this drain.
    pub(super) client_spoke: bool,
    /// The app spoke less than a second ago, and the client did not speak in this drain.
    pub(super) streams: bool,
    /// It was idle once after the delay.
    pub(super) released: bool,
    /// The same for `hint::SHORT` in place of `--drain-idle`.
    pub(super) released_soon: bool,
    /// The app went on with an answer after a pause, or spoke without being asked.
    pub(super) in_parts: bool,
    /// How many exchanges were seen from their beginning to their end.
    pub(super) exchanges: u16,
    /// The present sample shows it.
    pub(super) seen: bool,
    /// The present sample is the first one that shows it.
    pub(super) new: bool,
}

/// From the client, and from the app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Pair<T> {
    pub(super) inward: T,
    pub(super) outward: T,
}

/// The bytes of a burst with one segment of the client's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Signature {
    bytes: Pair<u32>,
    /// The app was strictly last in one of them.
    strict: bool,
}

/// Whether there was a burst in this drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Within {
    /// Nothing has moved since the first sample.
    Nothing,
    /// It began before the first sample.
    Part,
    /// It was seen from its beginning on.
    Whole,
}

/// What the app owes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Debt {
    /// Nothing: the app spoke last.
    None,
    /// The client spoke last.
    Answer,
    /// The client probably did not ask for anything: owed for `--drain-idle` at most.
    Doubtful,
    /// One segment of the client's more than of the app's: owed until the last fifth.
    OneMore,
}

/// How many bytes each side has sent, without FINs; `None` before Linux 4.1.
fn bytes(reading: &Reading, info: &Info) -> Option<Pair<u64>> {
    let client_closed = matches!(reading.state, State::CloseWait | State::LastAck | State::Closing);
    let app_closed = matches!(
        reading.state,
        State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck
    );
    let outward = info.bytes_acknowledged?.saturating_add(reading.unsent.into());
    Some(Pair {
        inward: info.bytes_received?.saturating_sub(client_closed.into()),
        outward: outward.saturating_sub(app_closed.into()),
    })
}

fn segments(info: &Info) -> Option<Pair<u32>> {
    Some(Pair { inward: info.segments_in?, outward: info.segments_out? })
}

pub(super) fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX / 4)
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Memory {
    /// First seen. `later`: by a sample that is not the first one, so that its whole life was seen.
    pub(super) fn new(reading: &Reading, moment: &Moment, later: bool) -> Memory {
        let now = millis(moment.at);
        let (address, peer_port) = match reading.peer {
            Some(peer) => match peer.ip() {
                IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), peer.port()),
                IpAddr::V6(address) => (address.octets(), peer.port()),
            },
            None => ([0; 16], 0),
        };
        let mut memory = Memory {
            key: reading.key,
            address,
            peer_port,
            port: reading.port,
            held: 0,
            bytes: Pair::default(),
            segments: Pair::default(),
            burst: Pair::default(),
            burst_segments: Pair::default(),
            signatures: [Signature::default(); SIGNATURES],
            moved: now,
            before: now,
            settles: 0,
            debt: Debt::None,
            debt_before: Debt::None,
            verdict: Verdict::Idle,
            held_as: Verdict::Idle,
            within: Within::Nothing,
            counts_bytes: false,
            strict: false,
            client_spoke: false,
            streams: false,
            released: false,
            released_soon: false,
            in_parts: false,
            exchanges: 0,
            seen: true,
            new: true,
        };
        let Some(info) = &reading.info else {
            memory.bytes = queues(reading);
            return memory;
        };
        memory.moved = now - Millis::from(info.sent.min(info.received));
        memory.before = memory.moved;
        memory.counts_bytes = bytes(reading, info).is_some();
        if later {
            memory.observe(reading, moment);
        } else {
            memory.bytes = bytes(reading, info).unwrap_or_default();
            memory.segments = segments(info).unwrap_or_default();
        }
        memory.watch_app(info);
        memory
    }

    /// Takes in what a sample shows.
    pub(super) fn observe(&mut self, reading: &Reading, moment: &Moment) {
        self.seen = true;
        let now = millis(moment.at);
        let Some(info) = &reading.info else {
            let queues = queues(reading);
            if queues != self.bytes {
                self.moved = now;
                self.bytes = queues;
            }
            return;
        };
        let last = now - Millis::from(info.sent.min(info.received));
        match bytes(reading, info) {
            None => (self.moved, self.before) = (last, last),
            Some(totals) => {
                let moved = Pair {
                    inward: narrow(totals.inward.saturating_sub(self.bytes.inward)),
                    outward: narrow(totals.outward.saturating_sub(self.bytes.outward)),
                };
                if moved != Pair::default() {
                    self.movement(info, now, last, moved);
                    self.bytes = totals;
                }
            }
        }
        self.watch_app(info);
    }

    fn watch_app(&mut self, info: &Info) {
        self.strict = info.sent < info.received;
        self.streams = info.sent < super::PAUSE && !self.client_spoke;
    }

    fn movement(&mut self, info: &Info, now: Millis, last: Millis, moved: Pair<u32>) {
        // The first movement that the former sample has not seen.
        let first = match (moved.inward > 0, moved.outward > 0) {
            (true, true) => info.sent.max(info.received),
            (true, false) => info.received,
            (false, _) => info.sent,
        };
        let begun = now - Millis::from(first);
        let fresh = self.new && self.bytes == Pair::default();
        if fresh || begun - self.moved >= BURST_PAUSE {
            self.close_burst();
            self.in_parts |= moved.inward == 0 && self.debt == Debt::None;
            self.before = self.counted();
            self.debt_before = self.debt;
            self.within = Within::Whole;
            (self.burst, self.burst_segments) = (Pair::default(), Pair::default());
        } else if self.within == Within::Nothing {
            self.within = Within::Part;
        }
        self.burst.inward = self.burst.inward.saturating_add(moved.inward);
        self.burst.outward = self.burst.outward.saturating_add(moved.outward);
        if let Some(totals) = segments(info) {
            let more = |now: u32, before: u32| {
                u16::try_from(now.saturating_sub(before)).unwrap_or(u16::MAX)
            };
            let Pair { inward, outward } = self.segments;
            let segments = &mut self.burst_segments;
            segments.inward = segments.inward.saturating_add(more(totals.inward, inward));
            segments.outward = segments.outward.saturating_add(more(totals.outward, outward));
            self.segments = totals;
        }
        self.client_spoke |= moved.inward > 0;
        self.moved = last;
    }

    /// Remembers the signature of the burst that has ended.
    fn close_burst(&mut self) {
        self.exchanges = self.exchanges.saturating_add(self.is_exchange().into());
        if !self.has_signature() {
            return;
        }
        let (bytes, strict) = (self.burst, self.strict);
        if let Some(known) = self.signatures.iter_mut().find(|known| known.bytes == bytes) {
            known.strict |= strict;
            return;
        }
        self.signatures.rotate_right(1);
        if let Some(place) = self.signatures.first_mut() {
            *place = Signature { bytes, strict };
        }
    }

    /// The present burst is a request that was seen from its beginning on, with an answer.
    pub(super) fn is_exchange(&self) -> bool {
        let Pair { inward, outward } = self.burst;
        self.within == Within::Whole && inward > 0 && outward > 0 && !self.is_echo()
    }

    fn has_signature(&self) -> bool {
        let Pair { inward, outward } = self.burst;
        self.within == Within::Whole
            && self.burst_segments.inward == 1
            && inward > 0
            && outward > 0
            && inward < u32::MAX
            && outward < u32::MAX
    }

    /// Keep-alive chatter: both sides said about the same. HTTP/2's ping is 17 bytes each way, and under
    /// any TLS the overhead is the same on both sides; a WebSocket's client adds a mask of 4 bytes, two
    /// pings 8; a WINDOW_UPDATE has 13.
    pub(super) fn is_echo(&self) -> bool {
        let Pair { inward, outward } = self.burst;
        self.within == Within::Whole
            && (1..=MOST_OF_ECHO).contains(&inward)
            && (1..=MOST_OF_ECHO).contains(&outward)
            && [0, 4, -4, 8, 13].contains(&(i64::from(inward) - i64::from(outward)))
    }

    /// The exchange was seen before in this drain, and the app was strictly last in one of them: without
    /// that a finite stream of equal messages is taken for it.
    fn is_repeat(&self) -> bool {
        self.has_signature()
            && self
                .signatures
                .iter()
                .any(|known| known.bytes == self.burst && (known.strict || self.strict))
    }

    /// All exchanges of the connection's life were alike.
    fn is_uniform(&self) -> bool {
        let requests = self.segments.inward;
        let shared = |total: u64| total > 0 && total % u64::from(requests) == 0;
        requests >= UNIFORM
            && shared(self.bytes.inward)
            && shared(self.bytes.outward)
            && shared(self.segments.outward.into())
    }

    /// The exchange is one of many that were alike. Keep-alive chatter is none, and says nothing of an exchange before it.
    /// Nor is what happens on a connection on which the app speaks without being asked: a stream of equal messages.
    pub(super) fn is_routine(&self) -> bool {
        !self.in_parts && !self.is_echo() && (self.is_repeat() || self.is_uniform())
    }

    /// The last movement that counts.
    pub(super) fn counted(&self) -> Millis {
        if self.is_echo() { self.before } else { self.moved }
    }

    /// What the app owes.
    pub(super) fn owes(&self, reading: &Reading, info: &Info) -> Debt {
        let known = bytes(reading, info);
        if known.is_some_and(|totals| totals.inward == 0) {
            return Debt::None;
        }
        if self.is_echo() {
            return self.debt_before;
        }
        // The stamp of an app that never spoke is that of the connection.
        if known.is_some_and(|totals| totals.outward == 0) || info.sent > info.received {
            return if self.is_balanced(info) { Debt::Doubtful } else { Debt::Answer };
        }
        if info.sent < info.received || self.is_routine() {
            return Debt::None;
        }
        // Both in the same jiffy.
        if segments(info).is_none() {
            return Debt::Doubtful;
        }
        let (inward, outward) = if self.within == Within::Whole {
            let Pair { inward, outward } = self.burst_segments;
            (u32::from(inward), u32::from(outward))
        } else {
            (self.segments.inward, self.segments.outward)
        };
        match inward.saturating_sub(outward) {
            0 => Debt::None,
            1 => Debt::OneMore,
            _ => Debt::Doubtful,
        }
    }

    /// Before the first sample the client spoke right after the app, which had sent as many segments:
    /// probably a pong.
    fn is_balanced(&self, info: &Info) -> bool {
        let near = (info.rtt / 500).max(20);
        self.within == Within::Nothing
            && self.bytes.outward > 0
            && info.sent.saturating_sub(info.received) <= near
            && segments(info).is_some_and(|totals| totals.outward >= totals.inward)
    }

    /// Nothing was said by either side.
    pub(super) fn is_unused(&self) -> bool {
        self.counts_bytes && self.bytes == Pair::default()
    }

    /// The client stopped in the middle of a request. Where the kernel does not tell of bytes, none were
    /// counted.
    pub(super) fn is_half_a_request(&self) -> bool {
        (1..LEAST_REQUEST).contains(&self.bytes.inward) && self.bytes.outward == 0
    }

    /// The app may be between two parts of an answer.
    pub(super) fn is_uncertain(&self) -> bool {
        match self.verdict {
            Verdict::Recent => !self.is_unused(),
            Verdict::Unseen | Verdict::Open => true,
            Verdict::GivenUp => self.debt == Debt::Answer && !self.is_half_a_request(),
            _ => false,
        }
    }

    /// Whether it keeps the drain from ending.
    pub(super) fn holds(&self) -> bool {
        match self.verdict {
            Verdict::Recent | Verdict::Unseen => !self.released,
            Verdict::Open => true,
            verdict => verdict.is_debt(),
        }
    }

    /// The client's end.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        let address = Ipv6Addr::from(self.address).to_canonical();
        (self.peer_port != 0).then(|| SocketAddr::new(address, self.peer_port))
    }
}

fn queues(reading: &Reading) -> Pair<u64> {
    Pair { inward: reading.unread.into(), outward: reading.unsent.into() }
}
