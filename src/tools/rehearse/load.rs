//! The load: an open loop at a constant rate. Each request has a moment at which it is meant to be sent,
//! and is sent then, whatever became of those before it: a server that stalls gets no fewer of them.
//! Latency counts from that moment, nothing is repeated, and each request opens a connection of its own
//! unless it is told to keep them.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::answer::{self, Class};
use super::sys::{self, Poller};
use super::tally::{Drop, Tally};
use crate::support::{Fault, Outcome};

/// Which requests there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Handlers that take 5 to 300 ms.
    Short,
    /// Besides them, one in thirty a stream of 3 s, a piece each [`PIECE`], and one in a hundred a
    /// long poll of 10 s.
    Full,
}

/// How often a piece of a stream comes.
pub(super) const PIECE: Duration = Duration::from_millis(250);

/// What is asked for: the handler's time is part of the path, the number makes each answer unlike all
/// others.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    /// What the handler takes.
    pub(super) own: Duration,
}

impl Mix {
    fn request(self, number: u64) -> Request {
        let dice = scatter(number);
        let kind = dice % 300;
        let (kind, ms) = match self {
            Mix::Full if kind < 10 => ("stream", 3000),
            Mix::Full if kind < 13 => ("poll", 10_000),
            Mix::Short | Mix::Full => ("sleep", 5 + (dice >> 32) % 296),
        };
        Request { path: format!("/{kind}/{ms}/{number}"), own: Duration::from_millis(ms) }
    }
}

/// The body that every server of these tests answers with.
pub(super) fn expected(path: &str) -> Vec<u8> {
    let mut parts = path.split('/').skip(1);
    let (kind, ms) = (parts.next(), parts.next().and_then(|ms| ms.parse::<u128>().ok()));
    let pieces = if kind == Some("stream") { ms.unwrap_or(0) / PIECE.as_millis() } else { 0 };
    let mut body: String = (1..=pieces).map(|piece| format!("piece {piece}\n")).collect();
    body.push_str(&format!("{path} done\n"));
    body.into_bytes()
}

/// The same for each number in each run, and as good as random (splitmix64).
fn scatter(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The balancer.
    pub(crate) to: SocketAddrV4,
    /// Requests per second.
    pub(crate) rate: u32,
    pub(crate) mix: Mix,
    /// A request without a whole answer by then is given up.
    pub(crate) timeout: Duration,
    /// So many, if it is not stopped before.
    pub(crate) limit: u64,
    /// Connections are used again.
    pub(crate) keep_alive: bool,
}

/// A load in progress, in a thread of its own.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<Tally>>>,
}

impl Load {
    pub(crate) fn start(plan: Plan) -> Outcome<Load> {
        let (stop, sent, answered) = (Arc::default(), Arc::default(), Arc::default());
        let generator = Generator {
            plan,
            poller: Poller::new()?,
            flights: HashMap::new(),
            order: VecDeque::new(),
            idle: Vec::new(),
            tally: Tally::default(),
            stop: Arc::clone(&stop),
            sent: Arc::clone(&sent),
            answered: Arc::clone(&answered),
        };
        let thread = std::thread::Builder::new().name("load".into());
        let thread = Some(thread.spawn(move || generator.run())?);
        Ok(Load { stop, sent, answered, thread })
    }

    /// How many have been sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many have been answered as they should be.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends no more, waits for what is under way, and gives the account.
    pub(crate) fn stop(self) -> Outcome<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.end()
    }

    /// Waits until the plan's limit is sent and answered.
    pub(crate) fn end(mut self) -> Outcome<Tally> {
        let thread = self.thread.take().ok_or_else(|| Fault::new("the load has no thread"))?;
        let tally = thread.join().map_err(|_| Fault::new("the load generator panicked"))??;
        match tally.unaccounted() {
            0 => Ok(tally),
            some => Err(Fault::new(format!("{some} requests are unaccounted for"))),
        }
    }
}

impl std::ops::Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A request under way.
struct Flight {
    stream: TcpStream,
    request: Request,
    meant: Instant,
    /// What is not written yet.
    rest: Vec<u8>,
    got: Vec<u8>,
    /// The other side has closed.
    closed: bool,
}

struct Generator {
    plan: Plan,
    poller: Poller,
    flights: HashMap<u64, Flight>,
    /// Numbers in the order in which they time out.
    order: VecDeque<(Instant, u64)>,
    /// Connections that wait for the next request.
    idle: Vec<TcpStream>,
    tally: Tally,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

/// How often to look whether to stop.
const LOOK: Duration = Duration::from_millis(20);

impl Generator {
    fn run(mut self) -> io::Result<Tally> {
        let (start, rate) = (Instant::now(), u64::from(self.plan.rate.max(1)));
        let moment = |number: u64| start + Duration::from_nanos(number * 1_000_000_000 / rate);
        loop {
            let sending = self.tally.sent < self.plan.limit && !self.stop.load(Ordering::Relaxed);
            let now = Instant::now();
            let next = moment(self.tally.sent);
            if sending && next <= now {
                self.send(next, now);
                continue;
            }
            self.give_up(now);
            if !sending && self.flights.is_empty() {
                return Ok(self.tally);
            }
            let pause = if sending { LOOK.min(next - now) } else { LOOK };
            for number in self.poller.wait(pause)? {
                // One that was given up while this news was under way is not there any more.
                if let Some(flight) = self.flights.get_mut(&number) {
                    if let Some(class) = flight.go_on() {
                        self.ended(number, class);
                    }
                }
            }
        }
    }

    fn send(&mut self, meant: Instant, now: Instant) {
        let number = self.tally.sent;
        self.tally.sent += 1;
        self.sent.store(self.tally.sent, Ordering::Relaxed);
        self.tally.latest = self.tally.latest.max(now - meant);
        let request = self.plan.mix.request(number);
        let begun = match self.idle.pop() {
            Some(stream) => self.poller.rename(&stream, number).map(|()| stream),
            None => self.connect(number),
        };
        let stream = match begun {
            Ok(stream) => stream,
            Err(error) => {
                // On the loopback a refusal may be known at once. Else: no descriptor, no port.
                let refused = error.kind() == ErrorKind::ConnectionRefused;
                let class = if refused { Class::Refused } else { Class::Generator };
                return self.tally.dropped(Drop { at: now, path: request.path, class });
            }
        };
        let connection = if self.plan.keep_alive { "keep-alive" } else { "close" };
        let path = &request.path;
        let rest = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n");
        let rest = rest.into_bytes();
        let flight = Flight { stream, request, meant, rest, got: Vec::new(), closed: false };
        self.flights.insert(number, flight);
        self.order.push_back((meant + self.plan.timeout, number));
    }

    fn connect(&mut self, number: u64) -> io::Result<TcpStream> {
        self.tally.connections += 1;
        let stream = sys::connect(self.plan.to)?;
        self.poller.watch(&stream, number)?;
        Ok(stream)
    }

    /// All have the same timeout, so the oldest is the first whose time is over.
    fn give_up(&mut self, now: Instant) {
        while let Some(&(end, number)) = self.order.front() {
            if end > now && self.flights.contains_key(&number) {
                break;
            }
            self.order.pop_front();
            self.ended(number, Class::Timeout);
        }
    }

    fn ended(&mut self, number: u64, class: Class) {
        let Some(flight) = self.flights.remove(&number) else { return };
        let now = Instant::now();
        if class == Class::Ok {
            self.answered.fetch_add(1, Ordering::Relaxed);
            self.tally.answered(now - flight.meant, flight.request.own);
            if self.plan.keep_alive && !flight.closed && !answer::closes(&flight.got) {
                self.idle.push(flight.stream);
            }
        } else {
            self.tally.dropped(Drop { at: now, path: flight.request.path, class });
        }
    }
}

impl Flight {
    /// Writes and reads what there is to write and to read; gives the class at the end.
    fn go_on(&mut self) -> Option<Class> {
        while !self.rest.is_empty() {
            match self.stream.write(&self.rest) {
                Ok(written) => drop(self.rest.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // It ended before the request was sent, or never was: the first write says so.
                Err(_) => return Some(Class::Refused),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // A reset: what was read before it counts.
                Err(_) => self.closed = true,
            }
            let class = answer::class(&self.got, self.closed, &expected(&self.request.path));
            if class.is_some() {
                return class;
            }
        }
    }
}
