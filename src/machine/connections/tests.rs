//! The rules on connections that are made up: what each side sends and when, seen as the kernel would
//! tell of it.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;

mod properties;
mod rules;
mod sample;
mod table;

const IDLE: Duration = Duration::from_secs(4);
const RULES: Rules = Rules { idle: IDLE, owed: None };
/// 11.25 s: what a budget of 15 s leaves for the drain.
const LENGTH: i64 = 11_250;
const DELAY: i64 = 2000;

fn ms(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).expect("a time after the beginning"))
}

fn moment(at: i64) -> Moment {
    Moment { at: ms(at), delay_left: ms((DELAY - at).max(0)), left: Some(ms((LENGTH - at).max(0))) }
}

/// What one side sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    /// Since the first sample; negative: before it.
    at: i64,
    by_client: bool,
    bytes: u64,
    segments: u32,
}

/// A connection on which everything arrives, is read and is acknowledged at once, unless a test says
/// otherwise.
#[derive(Clone, Debug)]
struct Wire {
    key: u64,
    made: i64,
    gone: i64,
    said: Vec<Said>,
    jiffy: i64,
    base: Reading,
}

fn wire(said: Vec<Said>) -> Wire {
    let base = Reading {
        key: 1,
        peer: Some(SocketAddr::from(([10, 0, 0, 7], 40_001))),
        port: 8080,
        state: State::Established,
        held: true,
        unread: 0,
        unsent: 0,
        info: Some(Info::default()),
    };
    Wire { key: 1, made: -100_000, gone: i64::MAX, said, jiffy: 4, base }
}

fn ask(at: i64, bytes: u64) -> Said {
    Said { at, by_client: true, bytes, segments: 1 }
}

fn say(at: i64, bytes: u64) -> Said {
    Said { at, by_client: false, bytes, segments: 1 }
}

impl Wire {
    fn named(self, key: u64) -> Wire {
        Wire { key, ..self }
    }

    fn state(mut self, state: State) -> Wire {
        self.base.state = state;
        self
    }

    fn made(self, made: i64) -> Wire {
        Wire { made, ..self }
    }

    fn info(&self, at: i64) -> Info {
        let past = || self.said.iter().filter(|said| said.at <= at);
        let side = |by_client| past().filter(move |said| said.by_client == by_client);
        let floor = |time: i64| time.div_euclid(self.jiffy) * self.jiffy;
        let age = |by_client| {
            let last = side(by_client).map(|said| said.at).max().unwrap_or(self.made);
            u32::try_from(floor(at) - floor(last)).expect("in the past")
        };
        let bytes = |by_client| Some(side(by_client).map(|said| said.bytes).sum());
        let segments = |by_client| Some(side(by_client).map(|said| said.segments).sum());
        Info {
            sent: age(false),
            received: age(true),
            acknowledged: age(false),
            bytes_received: bytes(true),
            bytes_acknowledged: bytes(false),
            segments_in: segments(true),
            segments_out: segments(false),
            ..Info::default()
        }
    }

    fn reading(&self, at: i64) -> Option<Reading> {
        if at < self.made || self.gone <= at {
            return None;
        }
        let mut reading = Reading { key: self.key, ..self.base };
        let client_closed =
            matches!(reading.state, State::CloseWait | State::LastAck | State::Closing);
        if let Some(base) = &mut reading.info {
            let Info { retransmits, probes, backoff, rtt, acknowledged, .. } = *base;
            *base = Info { retransmits, probes, backoff, rtt, ..self.info(at) };
            base.acknowledged = base.acknowledged.max(acknowledged);
            // What is in the queue was not acknowledged.
            let all = base.bytes_acknowledged.unwrap_or_default();
            base.bytes_acknowledged = Some(all.saturating_sub(reading.unsent.into()));
            base.bytes_received = base.bytes_received.map(|bytes| bytes + u64::from(client_closed));
        }
        Some(reading)
    }
}

/// One sample.
fn sample(table: &mut Table, wires: &[Wire], moment: Moment) -> Summary {
    table.begin(moment);
    let at = i64::try_from(moment.at.as_millis()).expect("a short time");
    for reading in wires.iter().filter_map(|wire| wire.reading(at)) {
        table.connection(&reading);
    }
    table.end()
}

/// When the drain ends, and what the last sample showed.
fn drain_by(rules: Rules, wires: &[Wire]) -> (i64, Summary, Table) {
    let mut table = Table::new(rules);
    let mut at = 0;
    loop {
        let summary = sample(&mut table, wires, moment(at));
        if summary.over || at >= LENGTH {
            return (at, summary, table);
        }
        assert!(summary.next > Duration::ZERO && summary.next <= PERIOD, "{summary:?}");
        at = (at + i64::try_from(summary.next.as_millis()).expect("short").max(20)).min(LENGTH);
    }
}

fn drain(wires: &[Wire]) -> i64 {
    drain_by(RULES, wires).0
}

/// The drain of one connection ends within a sample of this moment.
fn ends(said: Vec<Said>, expected: i64) {
    ends_at(&wire(said), expected);
}

fn ends_at(wire: &Wire, expected: i64) {
    let end = drain(std::slice::from_ref(wire));
    // A jiffy earlier, because the kernel counts in them.
    assert!((expected - 4..=expected + 100).contains(&end), "at {end}, not {expected}: {wire:?}");
}

/// The drain of one connection lasts until nothing is left.
fn lasts(said: Vec<Said>) {
    assert_eq!(drain(&[wire(said)]), LENGTH);
}
