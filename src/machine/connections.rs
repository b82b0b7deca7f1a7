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
pub enum Visibility {
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
pub struct Sample {
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
    pub visibility: Visibility,
    /// How long it took.
    pub cost: Duration,
}

impl Sample {
    /// Nothing is under way: nobody would notice if the app stopped now.
    pub fn calm(&self) -> bool {
        match self.visibility {
            Visibility::Full | Visibility::Counts => {
                self.busy == 0 && self.owed == 0 && self.queued == 0
            }
            Visibility::Blind => true,
        }
    }
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
}

/// A connection of one of the ports, as the kernel tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Connection {
    /// What tells it from every other one, as long as the kernel runs.
    pub key: u64,
    /// Its state.
    pub state: State,
    /// A process has it open: not so before the app accepts it, nor once the app has closed it.
    pub held: bool,
    /// What came and was not read by the app, as the kernel counts: the client's FIN is one more.
    pub unread: u32,
    /// What was written and not acknowledged by the client, as the kernel counts: our FIN is one more.
    pub unsent: u32,
    /// What moved on it; `None` where only the connection itself can be seen.
    pub stamps: Option<Stamps>,
}

/// What moved on a connection, and how long ago: struct tcp_info of the kernel. It counts in jiffies,
/// 1 to 10 ms long, from one reading of the clock: what happened in the same jiffy is equal here, and
/// what did not, differs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stamps {
    /// The app's last bytes were sent, or sent again; the connection was made, if there were none.
    pub sent: Duration,
    /// The client's last bytes came; the connection was made, if there were none.
    pub received: Duration,
    /// The client's last acknowledgement came.
    pub acknowledged: Duration,
    /// How many bytes the client has sent, its FIN being one more. `None` before Linux 4.1.
    pub bytes_received: Option<u64>,
    /// The app has never said anything on it. Not known before Linux 4.1.
    pub silent: bool,
}

/// What a connection means for a stop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Bytes are on their way, or something moved just now.
    Busy,
    /// The client waits for an answer.
    Owed,
    /// Nobody waits for anything.
    Idle,
}

/// When the app and the client spoke last in the same jiffy and nothing tells who was second, the app
/// is given so long to answer.
const DOUBT: Duration = Duration::from_secs(3);

/// What a connection means for a stop.
pub fn judge(connection: &Connection, rules: &Rules) -> Verdict {
    let Connection { state, unread, unsent, stamps, .. } = *connection;
    match state {
        State::SynReceived => Verdict::Busy,
        State::Established => open(unread, unsent, stamps, rules),
        // The FIN is the last thing that the app reads: as long as anything is unread, the FIN is.
        // It is no byte, and asks for nothing.
        State::CloseWait => {
            let less = |bytes: u64| bytes.saturating_sub(1);
            let stamps = stamps.map(|s| Stamps { bytes_received: s.bytes_received.map(less), ..s });
            open(unread.saturating_sub(1), unsent, stamps, rules)
        }
        // The app has said all, so no answer is owed. The kernel needs no process to deliver what is
        // left, but it does need the network namespace, which goes with the container's last process.
        State::FinWait1 | State::Closing | State::LastAck if unsent > 1 => Verdict::Busy,
        // An upload to an app that is through with speaking: it has bytes to read.
        State::FinWait1 | State::FinWait2 if unread > 0 => Verdict::Busy,
        State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck => Verdict::Idle,
    }
}

/// A connection on which the app may speak.
fn open(unread: u32, unsent: u32, stamps: Option<Stamps>, rules: &Rules) -> Verdict {
    let Some(stamps) = stamps else { return Verdict::Busy };
    if unread > 0 || unsent > 0 {
        return Verdict::Busy;
    }
    let Stamps { sent, received, acknowledged, bytes_received, silent } = stamps;
    let moved = sent.min(received);
    // Ages: the younger one happened later.
    let app_spoke_last =
        !silent && (sent < received || (sent == received && acknowledged < received));
    if bytes_received == Some(0) || app_spoke_last {
        return if moved < rules.idle { Verdict::Busy } else { Verdict::Idle };
    }
    // A first request comes in the same jiffy as its connection as a rule, and leaves no doubt.
    let doubt = sent == received && !silent;
    let patience = if doubt { Some(DOUBT.max(rules.idle)) } else { None };
    let patience = patience.into_iter().chain(rules.owed).min();
    if patience.is_some_and(|patience| patience <= received) {
        Verdict::Idle
    } else {
        Verdict::Owed
    }
}

/// Puts together what one look sees, and remembers it until the next one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally {
    rules: Rules,
    /// The keys that the former look has seen, in order; `None` before the first look has ended.
    former: Option<Vec<u64>>,
    seen: Vec<u64>,
    /// Connections that no process has open.
    waiting: u32,
    /// What the listeners say of these.
    backlog: u32,
    look: Sample,
}

impl Tally {
    /// Nothing was seen yet.
    pub fn new(rules: Rules) -> Tally {
        let (seen, look) = (Vec::new(), Sample::default());
        Tally { rules, former: None, seen, waiting: 0, backlog: 0, look }
    }

    /// Forgets what was seen of a look that was broken off.
    pub fn restart(&mut self) {
        self.seen.clear();
        (self.waiting, self.backlog) = (0, 0);
        self.look = Sample::default();
    }

    /// One of the connections.
    pub fn connection(&mut self, connection: &Connection) {
        let key = connection.key;
        // Before the first look nothing was seen: that makes nothing new.
        let unknown = self.former.as_ref().is_none_or(|former| former.binary_search(&key).is_err());
        let new = unknown && self.former.is_some();
        self.look.new += u32::from(new);
        self.seen.push(key);
        match connection.stamps {
            Some(stamps) => self.heard(stamps.received),
            None if new => self.heard(Duration::ZERO),
            None => {}
        }
        match connection.state {
            // A client that is there completes its handshake before the next look. One that does not
            // is none (a scan), or has asked for nothing yet (TCP_DEFER_ACCEPT).
            State::SynReceived => self.look.queued += u32::from(unknown),
            State::Established | State::CloseWait if !connection.held => self.waiting += 1,
            _ => match judge(connection, &self.rules) {
                Verdict::Busy => self.look.busy += 1,
                Verdict::Owed => self.look.owed += 1,
                Verdict::Idle => self.look.idle += 1,
            },
        }
    }

    /// A listener, with so many connections to be accepted.
    pub fn listener(&mut self, backlog: u32) {
        self.backlog = self.backlog.saturating_add(backlog);
    }

    /// So many sockets have datagrams to be read.
    pub fn datagrams(&mut self, sockets: u32) {
        self.look.queued = self.look.queued.saturating_add(sockets);
    }

    /// Something came in so long ago.
    pub fn heard(&mut self, ago: Duration) {
        self.look.silence = Some(self.look.silence.map_or(ago, |silence| silence.min(ago)));
    }

    /// Not everything could be seen: what was not is taken for busy.
    pub fn incomplete(&mut self) {
        self.look.busy += 1;
    }

    /// The look is over.
    pub fn end(&mut self, visibility: Visibility) -> Sample {
        let mut look = std::mem::take(&mut self.look);
        // A listener's number and its connections were not read in the same moment.
        look.queued = look.queued.saturating_add(self.waiting.max(self.backlog));
        look.visibility = visibility;
        self.seen.sort_unstable();
        let mut former = self.former.replace(std::mem::take(&mut self.seen)).unwrap_or_default();
        former.clear();
        self.seen = former;
        (self.waiting, self.backlog) = (0, 0);
        look
    }
}

#[cfg(test)]
mod tests;
