//! The rules of graceinit 0.1.0, to compare with: busy for a second after the last movement, owed for
//! ever, three seconds in doubt, and half a second in which nothing came in.

use graceinit::machine::connections::{Reading, State};

const IDLE: u32 = 1000;
const DOUBT: u32 = 3000;
const QUIET: u32 = 500;

fn is_calm(reading: &Reading) -> bool {
    let Some(info) = reading.info else { return reading.state == State::SynReceived };
    let open = |unread: u32, fin: u64| {
        let received = info.bytes_received.unwrap_or(0).saturating_sub(fin);
        let silent = info.bytes_acknowledged == Some(0) && reading.unsent == 0;
        let last = info.sent < info.received
            || (info.sent == info.received && info.acknowledged < info.received);
        if !reading.held || unread > 0 || reading.unsent > 0 {
            return false;
        }
        if received == 0 || (!silent && last) {
            return info.sent.min(info.received) >= IDLE;
        }
        info.sent == info.received && !silent && info.received >= DOUBT
    };
    match reading.state {
        State::SynReceived => false,
        State::Established => open(reading.unread, 0),
        State::CloseWait => open(reading.unread.saturating_sub(1), 1),
        State::FinWait1 | State::Closing | State::LastAck => reading.unsent <= 1,
        State::FinWait2 => reading.unread == 0,
        State::Local => false,
    }
}

/// When the drain ends.
pub fn end(samples: &[(i64, Vec<Reading>)], delay: i64, length: i64) -> i64 {
    let mut noise = 0;
    for (at, readings) in samples.iter().filter(|(at, _)| (0..length).contains(at)) {
        for info in readings.iter().filter_map(|reading| reading.info) {
            noise = noise.max(at - i64::from(info.received));
        }
        let quiet = noise + i64::from(QUIET) <= *at;
        if delay <= *at && quiet && readings.iter().all(is_calm) {
            return *at;
        }
    }
    length
}
