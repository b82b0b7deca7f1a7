//! The verdict on one connection in one sample.

use std::time::Duration;

use super::memory::{Debt, Memory, millis};
use super::{Info, Millis, Moment, Reading, Rules, State};

/// What a connection means for a stop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The handshake is under way.
    Handshake,
    /// The app has not accepted it.
    Unaccepted,
    /// The app has not read what came.
    Unread,
    /// The client has not acknowledged what the app wrote.
    Unacknowledged,
    /// The client spoke last, and waits for an answer.
    Owed,
    /// The app spoke last, not long enough ago.
    Recent,
    /// Only the connection itself can be seen, not long enough.
    Unseen,
    /// A connection of a Unix socket is open: nothing tells whether an answer is owed.
    Open,
    /// The app spoke last, and nothing that counts has moved for long enough.
    Idle,
    /// The app has closed it, and nothing of what it wrote is on its way.
    Closed,
    /// The client spoke last, but for longer than it is waited for.
    GivenUp,
    /// The client acknowledges nothing any more.
    Vanished,
    /// The client does not read.
    Stalled,
}

impl Verdict {
    /// Something is owed, unread or unacknowledged.
    pub fn is_debt(self) -> bool {
        matches!(self, Verdict::Unread | Verdict::Unacknowledged | Verdict::Owed)
    }

    /// The connection was idle once.
    pub(super) fn releases(self) -> bool {
        matches!(self, Verdict::Idle | Verdict::Closed | Verdict::GivenUp)
    }

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Handshake => "handshake",
            Verdict::Unaccepted => "unaccepted",
            Verdict::Unread => "unread",
            Verdict::Unacknowledged => "unacknowledged",
            Verdict::Owed => "owed",
            Verdict::Recent => "recent",
            Verdict::Unseen => "unseen",
            Verdict::Open => "open",
            Verdict::Idle => "idle",
            Verdict::Closed => "closed",
            Verdict::GivenUp => "given-up",
            Verdict::Vanished => "vanished",
            Verdict::Stalled => "stalled",
        }
    }
}

/// An exchange that was seen before is complete after so long.
const ROUTINE: Duration = Duration::from_millis(300);
/// A client that wants something right after it has connected has asked after so long.
const UNUSED: Duration = Duration::from_secs(1);
/// A client that has begun a request sends the rest of it within that time, unless it is a scanner or a
/// broken probe.
const HALF: Duration = Duration::from_secs(4);
/// A client that has not acknowledged anything for so long, and so many retransmissions or window
/// probes, has vanished. Where there is time, a longer outage is waited for.
const VANISHED: Duration = Duration::from_secs(5);
const VANISHED_OF_MANY: Duration = Duration::from_secs(8);
const MANY: Duration = Duration::from_secs(20);
const RETRANSMITS: u8 = 4;
const PROBES: u8 = 2;
/// A lost segment is sent again before that, which shows that the client's window is not the reason.
const LEAST_STALL: Duration = Duration::from_secs(1);
/// Where only queues are seen, one that does not change for so long is not waited for.
const FROZEN: Duration = Duration::from_secs(8);

impl Memory {
    /// Judges what [`Memory::observe`] has taken in. `traffic`: see [`super::Table::traffic`].
    pub(super) fn judge(
        &mut self,
        reading: &Reading,
        rules: &Rules,
        moment: &Moment,
        traffic: Millis,
    ) {
        self.settles = 0;
        self.verdict = match reading.state {
            State::SynReceived => Verdict::Handshake,
            State::Established | State::CloseWait | State::Local if !reading.held => {
                Verdict::Unaccepted
            }
            State::Local => self.local(reading, rules, moment),
            State::Established | State::CloseWait if reading.info.is_none() => {
                self.unseen(reading, rules, moment, traffic)
            }
            State::Established => self.open(reading, reading.unread, rules, moment),
            // The FIN is the last thing that the app reads: while anything is unread, the FIN is. It is
            // no byte, and asks for nothing.
            State::CloseWait => self.open(reading, reading.unread.saturating_sub(1), rules, moment),
            // The app has said all, so no answer is owed. The kernel needs no process to deliver what is
            // left, but it does need the network namespace, which goes with the container's last
            // process.
            State::FinWait1 | State::Closing | State::LastAck if reading.unsent > 1 => {
                self.lost(reading, rules, moment).unwrap_or(Verdict::Unacknowledged)
            }
            // An upload to an app that has said all: it has bytes to read.
            State::FinWait1 | State::FinWait2 if reading.held && reading.unread > 0 => {
                Verdict::Unread
            }
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck => Verdict::Closed,
        };
    }

    /// The app may speak.
    fn open(&mut self, reading: &Reading, unread: u32, rules: &Rules, moment: &Moment) -> Verdict {
        let lost = self.lost(reading, rules, moment);
        // What it owes is found out in any case: keep-alive chatter puts it back.
        self.debt = reading.info.as_ref().map_or(Debt::None, |info| self.owes(reading, info));
        if let Some(lost) = lost {
            return lost;
        }
        if unread > 0 {
            return Verdict::Unread;
        }
        if reading.unsent > 0 {
            return Verdict::Unacknowledged;
        }
        match self.debt {
            Debt::None => self.quiet(rules, moment),
            Debt::OneMore if moment.in_last(5) => self.quiet(rules, moment),
            Debt::Answer | Debt::Doubtful | Debt::OneMore => self.owed(reading, rules, moment),
        }
    }

    /// A connection of a Unix socket. A server may work on its request for long without a byte that moves, so its end is
    /// waited for, unless `--drain-owed` limits that.
    fn local(&mut self, reading: &Reading, rules: &Rules, moment: &Moment) -> Verdict {
        if reading.unread > 0 {
            return Verdict::Unread;
        }
        if reading.unsent > 0 {
            return self.frozen(reading, rules, moment).unwrap_or(Verdict::Unacknowledged);
        }
        match rules.owed {
            Some(limit) => self.after(self.moved, limit, Verdict::Open, Verdict::GivenUp, moment),
            None => Verdict::Open,
        }
    }

    fn quiet(&mut self, rules: &Rules, moment: &Moment) -> Verdict {
        let enough = if self.is_unused() {
            rules.idle.min(UNUSED)
        } else if self.is_routine() {
            rules.idle.min(ROUTINE)
        } else {
            rules.idle
        };
        self.after(self.counted(), enough, Verdict::Recent, Verdict::Idle, moment)
    }

    fn owed(&mut self, reading: &Reading, rules: &Rules, moment: &Moment) -> Verdict {
        // A client that has closed its side has gone, more often than not.
        let closed = reading.state == State::CloseWait;
        let short = closed || self.debt == Debt::Doubtful;
        let half = self.is_half_a_request().then_some(rules.idle.min(HALF));
        let limits = [half, short.then_some(rules.idle), rules.owed];
        let limit = limits.into_iter().flatten().min();
        match limit {
            Some(limit) => {
                self.after(self.counted(), limit, Verdict::Owed, Verdict::GivenUp, moment)
            }
            None => Verdict::Owed,
        }
    }

    /// `young` until the last movement that counts is old enough.
    fn after(
        &mut self,
        last: Millis,
        enough: Duration,
        young: Verdict,
        old: Verdict,
        moment: &Moment,
    ) -> Verdict {
        let left = millis(enough) - (millis(moment.at) - last);
        if left <= 0 {
            return old;
        }
        self.settles = u32::try_from(left).unwrap_or(u32::MAX);
        young
    }

    /// What the app wrote does not arrive.
    fn lost(&self, reading: &Reading, rules: &Rules, moment: &Moment) -> Option<Verdict> {
        let info = reading.info.as_ref().filter(|_| reading.unsent > 0);
        let Some(info) = info else { return self.frozen(reading, rules, moment) };
        let patience = match moment.whole() {
            Some(whole) if whole < MANY => VANISHED,
            _ => VANISHED_OF_MANY,
        };
        let Info { retransmits, probes, .. } = *info;
        let unanswered = retransmits >= RETRANSMITS || probes >= PROBES;
        if unanswered && Millis::from(info.acknowledged) >= millis(patience) {
            return Some(Verdict::Vanished);
        }
        let stalled =
            retransmits == 0 && Millis::from(info.sent) >= millis(rules.idle.max(LEAST_STALL));
        stalled.then_some(Verdict::Stalled)
    }

    /// The same where only queues are seen.
    fn frozen(&self, reading: &Reading, rules: &Rules, moment: &Moment) -> Option<Verdict> {
        let long = millis(moment.at) - self.moved >= millis(rules.idle.max(FROZEN));
        (reading.info.is_none() && reading.unsent > 0 && long).then_some(Verdict::Stalled)
    }

    /// Only the connection itself and its queues are seen. It is taken to be idle when its queues have not changed for as
    /// long as the app may be silent, nor anything in the namespace while clients still sent requests: it cannot be known,
    /// and a pool of idle connections must not cost the whole budget.
    fn unseen(
        &mut self,
        reading: &Reading,
        rules: &Rules,
        moment: &Moment,
        traffic: Millis,
    ) -> Verdict {
        // The client's FIN is unread until all before it is read.
        let closed = reading.state == State::CloseWait;
        let unread = reading.unread.saturating_sub(closed.into());
        if let Some(lost) = self.frozen(reading, rules, moment) {
            return lost;
        }
        if unread > 0 {
            return Verdict::Unread;
        }
        if reading.unsent > 0 {
            return Verdict::Unacknowledged;
        }
        let last = self.moved.max(traffic);
        self.after(last, rules.idle, Verdict::Unseen, Verdict::Idle, moment)
    }
}
