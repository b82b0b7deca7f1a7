//! The drain: the app keeps serving until load balancers have learned that it is going, and until
//! nothing is under way on its ports any more. When that is, is decided here.

use std::time::Duration;

/// `--drain` and what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// There are ports to be looked at; without, the delay is all there is.
    pub looks: bool,
    /// `--drain-delay`: the app serves at least this long after readiness fell.
    pub delay: Duration,
    /// `--drain-acks`: the delay is over once so many probes were answered "not ready".
    pub acks: Option<u32>,
    /// `--drain-quiet`: for so long nothing must have come in.
    pub quiet: Duration,
    /// What makes a connection busy.
    pub rules: Rules,
}

/// What makes a connection busy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rules {
    /// `--drain-idle`: a connection on which nothing moved for so long is idle, if it is the client's
    /// turn.
    pub idle: Duration,
    /// `--drain-owed`: an answer that is owed for longer does not count as busy.
    pub owed: Option<Duration>,
}

/// How much could be seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Sight {
    /// Each connection, and what moved on it.
    #[default]
    Full,
    /// How many connections there are. All of them count as busy.
    Counts,
    /// Nothing.
    Blind,
}

/// What one look at the ports has shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Look {
    /// Connections with bytes on their way, or that something moved on just now.
    pub busy: u32,
    /// Connections whose client spoke last: an answer is owed.
    pub owed: u32,
    /// Connections that nobody waits for.
    pub idle: u32,
    /// Connections that an earlier look has not seen.
    pub new: u32,
    /// Connections that the app has not accepted yet, and datagrams that it has not read.
    pub queued: u32,
    /// For how long nothing has come in: no connection, no byte, no datagram. `None`: for as long as
    /// can be told.
    pub silence: Option<Duration>,
    /// The app listens on the ports.
    pub listening: bool,
    /// How much could be seen.
    pub sight: Sight,
    /// How long it took.
    pub cost: Duration,
}
