//! The settings of the drain, and what one sample of the ports has shown, as the machine and its readers know them.

use std::time::Duration;

use super::{PERIOD, Rules, Summary};

/// `--drain` and what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// There are ports to be looked at; without, the delay and the conditions of `--drained` are all there is.
    pub looks: bool,
    /// `--drain-delay`: the app serves at least this long after readiness fell.
    pub delay: Duration,
    /// `--drain-acks`: the delay is over once so many probes were answered "not ready".
    pub acks: Option<u32>,
    /// `--drain-max`: the drain ends after this at the latest.
    pub max: Option<Duration>,
    /// How many conditions of `--drained` there are.
    pub words: usize,
    /// What is waited for.
    pub rules: Rules,
}

/// How much could be seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Visibility {
    /// Each connection, and what moved on it.
    #[default]
    Full,
    /// How many connections there are, and what is unread and unacknowledged.
    Counts,
    /// Nothing.
    Blind,
}

/// What one sample of the ports has shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sample {
    /// Connections with bytes on their way, or on which the app spoke last, not long enough ago.
    pub busy: u32,
    /// Connections whose client spoke last: an answer is owed.
    pub owed: u32,
    /// Connections that nothing is waited for on.
    pub idle: u32,
    /// Connections whose client acknowledges nothing any more.
    pub vanished: u32,
    /// Connections whose client does not read.
    pub stalled: u32,
    /// Connections that the former sample did not show.
    pub new: u32,
    /// Connections that the app has not accepted yet, and sockets with datagrams that it has not read.
    pub queued: u32,
    /// Connections that the stop signal would cut off now: something is owed, unread or unacknowledged.
    pub cut: u32,
    /// Connections on which the app spoke last, and may not be through.
    pub uncertain: u32,
    /// Connections that keep the drain from ending, until its time is nearly over.
    pub holding: u32,
    /// Nothing has to be waited for any longer.
    pub over: bool,
    /// How much sooner `--drain-idle 1s` would have ended the drain, if what was seen supports that; else zero.
    pub sooner: Duration,
    /// When another sample is worth taking.
    pub next: Duration,
    /// The app listens on the ports.
    pub listening: bool,
    /// How much could be seen.
    pub visibility: Visibility,
    /// How long it took.
    pub cost: Duration,
}

impl Default for Sample {
    fn default() -> Sample {
        Sample {
            busy: 0,
            owed: 0,
            idle: 0,
            vanished: 0,
            stalled: 0,
            new: 0,
            queued: 0,
            cut: 0,
            uncertain: 0,
            holding: 0,
            over: false,
            sooner: Duration::ZERO,
            next: PERIOD,
            listening: false,
            visibility: Visibility::Full,
            cost: Duration::ZERO,
        }
    }
}

impl From<Summary> for Sample {
    fn from(summary: Summary) -> Sample {
        let Summary { busy, owed, idle, vanished, stalled, new, queued, .. } = summary;
        let Summary { cut, uncertain, holding, over, sooner, next, .. } = summary;
        let counts =
            Sample { busy, owed, idle, vanished, stalled, new, queued, ..Sample::default() };
        Sample { cut, uncertain, holding, over, sooner, next, ..counts }
    }
}

impl Sample {
    /// Nothing is under way: no client would notice if the app stopped now.
    pub fn calm(&self) -> bool {
        match self.visibility {
            Visibility::Full | Visibility::Counts => {
                self.cut == 0 && self.uncertain == 0 && self.queued == 0
            }
            Visibility::Blind => true,
        }
    }
}
