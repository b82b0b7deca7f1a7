//! What clients and servers do, as a timetable. The stop request is at 0, times are in milliseconds.

use crate::support::dice::Dice;

/// The first thing happens not before.
pub const BEGIN: i64 = -9000;
/// Nothing happens after.
pub const END: i64 = 25_000;
/// A balancer sends no new request when the stop is so old.
pub const LAG: i64 = 1000;

/// What one of both ends does.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// The client sends so many bytes in one write.
    Ask(usize),
    /// The server does.
    Say(usize),
    /// The client closes its side, and listens on.
    HalfClose,
    /// The client closes the connection.
    Leave,
    /// The server closes the connection as soon as it has written everything.
    Close,
    /// The client reads no more.
    StopReading,
    /// Whatever comes for the client is dropped, acknowledgements included.
    Vanish,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Link {
    /// When the client connects.
    pub opens: i64,
    /// In any order; of two at the same time, the first one is first.
    pub deeds: Vec<(i64, Deed)>,
    /// From when until when a request was under way.
    pub flights: Vec<(i64, i64)>,
    /// The client reads so many bytes in 50 ms.
    pub pace: Option<usize>,
}

impl Link {
    pub fn ask(&mut self, at: i64, bytes: usize) {
        self.deeds.push((at, Deed::Ask(bytes)));
    }

    pub fn say(&mut self, at: i64, bytes: usize) {
        self.deeds.push((at, Deed::Say(bytes)));
    }

    pub fn does(&mut self, at: i64, deed: Deed) {
        self.deeds.push((at, deed));
    }

    pub fn flight(&mut self, from: i64, until: i64) {
        self.flights.push((from, until));
    }

    /// A request that is answered in one piece; when.
    pub fn exchange(&mut self, at: i64, request: usize, work: i64, answer: usize) -> i64 {
        self.ask(at, request);
        self.say(at + work, answer);
        self.flight(at, at + work);
        at + work
    }

    /// The handshake of TLS 1.3, with the session tickets; the request comes with the client's last
    /// message, as curl and Python send it.
    pub fn tls13(&mut self, at: i64, request: usize) {
        self.ask(at, 517);
        self.say(at, 1400);
        self.ask(at + 2, 80);
        self.ask(at + 2, request);
        self.say(at + 2, 510);
    }

    /// The handshake of TLS 1.2: the server's Finished is its last word before the request.
    pub fn tls12(&mut self, at: i64, request: usize) {
        self.ask(at, 220);
        self.say(at, 1600);
        self.ask(at + 2, 126);
        self.say(at + 2, 258);
        self.ask(at + 2, request);
    }
}

/// The clients of one server.
pub struct Cast {
    pub links: Vec<Link>,
    pub dice: Dice,
}

impl Cast {
    pub fn new(seed: u64) -> Cast {
        Cast { links: Vec::new(), dice: Dice(seed) }
    }

    /// A client connects.
    pub fn link(&mut self, opens: i64) -> &mut Link {
        let link = Link { opens, deeds: Vec::new(), flights: Vec::new(), pace: None };
        self.links.push(link);
        let place = self.links.len() - 1;
        &mut self.links[place]
    }

    pub fn roll(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.dice.roll((to - from).unsigned_abs())).unwrap_or(0)
    }

    pub fn size(&mut self, from: i64, to: i64) -> usize {
        usize::try_from(self.roll(from, to)).unwrap_or(0)
    }
}
