//! Would a shorter `--drain-idle` have ended the drain sooner? Told only if what was seen supports it: the app answered
//! in one piece, several times, and sent nothing after the drain would have ended.

use std::time::Duration;

use super::memory::{Memory, millis};
use super::{Moment, Rules, Verdict};

/// For apps that answer in one piece.
pub const SHORT: Duration = Duration::from_secs(1);
/// So many exchanges are evidence.
const EXCHANGES: u32 = 3;
/// Less is not worth a hint.
const LEAST: Duration = Duration::from_secs(1);

/// What the drain would have been like with the shorter one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hint {
    /// When it would have been over; `None`: it would not be over now.
    over: Option<Duration>,
    /// Exchanges on connections that have gone.
    exchanges: u32,
    /// On a connection that has gone, the app answered in parts; or something moved after the drain would have been
    /// over; or not all connections are remembered.
    refuted: bool,
}

impl Hint {
    /// A connection has gone.
    pub(super) fn gone(&mut self, memory: &Memory) {
        self.exchanges = self.exchanges.saturating_add(exchanges(memory));
        self.refuted |= memory.in_parts;
    }

    /// A connection is not remembered.
    pub(super) fn blind(&mut self) {
        self.refuted = true;
    }

    /// A sample is complete. `free`: nothing is owed or queued, and no datagram came of late.
    pub(super) fn sample(&mut self, known: &mut [Memory], moment: &Moment, free: bool) {
        let counts = moment.delay_left.is_zero();
        let mut holds = false;
        for memory in known {
            let silent = millis(moment.at) - memory.counted() >= millis(SHORT);
            memory.released_soon |= counts && (memory.verdict.releases() || silent);
            let recent = matches!(memory.verdict, Verdict::Recent | Verdict::Unseen);
            holds |= recent && !memory.released_soon;
            self.refuted |= self.over.is_some_and(|over| memory.counted() > millis(over));
        }
        self.over = (free && counts && !holds).then(|| self.over.unwrap_or(moment.at));
    }

    /// How much sooner a drain that ends now would have been over.
    pub(super) fn sooner(&self, known: &[Memory], rules: &Rules, moment: &Moment) -> Duration {
        let Some(over) = self.over.filter(|_| rules.idle > SHORT) else { return Duration::ZERO };
        let sooner = moment.at.saturating_sub(over);
        let seen = known.iter().fold(self.exchanges, |sum, one| sum.saturating_add(exchanges(one)));
        let refuted = self.refuted || known.iter().any(|memory| memory.in_parts);
        let told = sooner >= LEAST && seen >= EXCHANGES && !refuted;
        if told { sooner } else { Duration::ZERO }
    }
}

fn exchanges(memory: &Memory) -> u32 {
    u32::from(memory.exchanges) + u32::from(memory.is_exchange())
}
