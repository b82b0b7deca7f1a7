//! The connections that held the drain longest.

use std::net::SocketAddr;
use std::time::Duration;

use super::Verdict;
use super::memory::{Memory, millis};
use super::{Millis, Moment};

/// So many are told.
const TOLD: usize = 3;

/// A connection that held the drain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Holder {
    /// The client's end, where it was told.
    pub peer: Option<SocketAddr>,
    /// The port of the app.
    pub port: u16,
    /// Why it held the drain, the last time that it did.
    pub verdict: Verdict,
    /// For how long it held the drain.
    pub held: Duration,
    /// How long nothing had moved on it, keep-alive chatter included. Of one that has gone: unknown, zero.
    pub silent: Duration,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes from the app.
    pub bytes_out: u64,
    /// It went before the drain ended.
    pub gone: bool,
}

/// The option that would have made the drain end sooner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Remedy {
    /// `--drain-owed`: limits how long an answer is waited for.
    Owed,
    /// `--drain-idle`: a shorter one counts the connection as idle sooner.
    Idle,
    /// `--drain-max`: nothing else ends an exchange that goes on.
    Max,
}

impl Remedy {
    /// As users write it.
    pub fn option(self) -> &'static str {
        match self {
            Remedy::Owed => "--drain-owed",
            Remedy::Idle => "--drain-idle",
            Remedy::Max => "--drain-max",
        }
    }
}

impl Holder {
    pub(super) fn present(memory: &Memory, moment: &Moment) -> Holder {
        let silent = u64::try_from(millis(moment.at) - memory.moved).unwrap_or(0);
        Holder { silent: Duration::from_millis(silent), gone: false, ..Holder::gone(memory) }
    }

    pub(super) fn gone(memory: &Memory) -> Holder {
        Holder {
            peer: memory.peer(),
            port: memory.port,
            verdict: memory.held_as,
            held: Duration::from_millis(memory.held.into()),
            silent: Duration::ZERO,
            bytes_in: memory.bytes.inward,
            bytes_out: memory.bytes.outward,
            gone: true,
        }
    }

    /// Which option would have helped.
    pub fn remedy(&self) -> Remedy {
        // Streams and chats never pause for long.
        const FLOWS: Millis = 1000;
        match self.verdict {
            Verdict::Owed | Verdict::Open => Remedy::Owed,
            Verdict::Recent | Verdict::Unseen if millis(self.silent) >= FLOWS || self.gone => {
                Remedy::Idle
            }
            _ => Remedy::Max,
        }
    }
}

/// Keeps those that held the drain longest, the longest first.
pub(super) fn keep(found: &mut Vec<Holder>, holder: Holder) {
    if holder.held.is_zero() {
        return;
    }
    let place = found.partition_point(|other| other.held >= holder.held);
    if place < TOLD {
        found.insert(place, holder);
        found.truncate(TOLD);
    }
}
