//! The load: an open loop at a constant rate. Each request has a moment at which it is meant to be sent, and is sent
//! then, whatever became of those before it: a server that stalls gets no fewer of them. Latency counts from that
//! moment, and nothing is repeated.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::answer::{Answer, Class, End, Want};
use super::tally::{Dropped, Record, Tally};
use crate::sys::epoll::Poller;
use crate::sys::listen::{Address, Stream};
use crate::sys::{clock, dial};
use crate::types::Time;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The server, or the balancer in front of it.
    pub to: SocketAddr,
    /// GET, or another method, with which an empty body is sent.
    pub method: &'static str,
    /// What is asked for.
    pub path: String,
    /// What the handler was asked to take.
    pub own: Duration,
    /// Which answer is right.
    pub want: Want,
}

/// Which connections are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None: each request opens one.
    None,
    /// Those of three requests in four.
    Most,
    /// All.
    All,
}

impl Keep {
    /// Whether the connection of this request is used again.
    fn keeps(self, number: u64) -> bool {
        match self {
            Keep::None => false,
            Keep::Most => number % 4 != 0,
            Keep::All => true,
        }
    }
}

/// Makes the request of each number.
pub type Requests = dyn FnMut(u64) -> Request + Send;

/// What is sent, and how fast.
pub struct Plan {
    /// The requests.
    pub requests: Box<Requests>,
    /// Requests per second.
    pub rate: u32,
    /// A request without a whole answer by then is given up.
    pub timeout: Duration,
    /// So many, if it is not stopped before.
    pub limit: u64,
    /// Which connections are used again.
    pub keep: Keep,
    /// How many requests are recorded one by one.
    pub records: usize,
}

/// What is left of a load: the account, and the connections without a request, which are open until this is dropped.
pub struct Done {
    /// The account.
    pub tally: Tally,
    /// The connections, as a balancer keeps them.
    pub idle: Vec<Stream>,
}

/// A load in progress, in a thread of its own.
pub struct Load {
    stop: Arc<AtomicBool>,
    pinned: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<Done>>>,
}

impl Load {
    /// Begins to send.
    ///
    /// # Errors
    /// No descriptors, or no thread.
    pub fn start(plan: Plan) -> io::Result<Load> {
        let (stop, pinned) = (Arc::default(), Arc::default());
        let (sent, answered) = (Arc::default(), Arc::default());
        let generator = Generator {
            plan,
            poller: Poller::new()?,
            flights: BTreeMap::new(),
            order: VecDeque::new(),
            idle: Vec::new(),
            tally: Tally::default(),
            unsent: 0,
            stop: Arc::clone(&stop),
            pinned: Arc::clone(&pinned),
            sent: Arc::clone(&sent),
            answered: Arc::clone(&answered),
        };
        let thread = std::thread::Builder::new().name("load".into());
        let thread = Some(thread.spawn(move || generator.run())?);
        Ok(Load { stop, pinned, sent, answered, thread })
    }

    /// How many have been sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many have been answered as they should be.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends no more from now on. What is under way goes on.
    pub fn hush(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Opens no connection from now on, and sends on those that are open until the server has closed all of them: new
    /// connections lead elsewhere.
    pub fn pin(&self) {
        self.pinned.store(true, Ordering::Relaxed);
    }

    /// Whether every request has its class, and no further one will be sent.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends no more, waits for what is under way, and gives the account.
    ///
    /// # Errors
    /// As for [`Load::end`].
    pub fn stop(self) -> io::Result<Tally> {
        self.hush();
        self.end().map(|done| done.tally)
    }

    /// Waits until the plan's limit is sent and answered.
    ///
    /// # Errors
    /// The load generator itself failed.
    pub fn end(mut self) -> io::Result<Done> {
        let thread = self.thread.take().ok_or_else(|| io::Error::other("the load has ended"))?;
        let panicked = |_| io::Error::other("the load generator panicked");
        let done = thread.join().map_err(panicked)??;
        match done.tally.unaccounted() {
            0 => Ok(done),
            some => Err(io::Error::other(format!("{some} requests are unaccounted for"))),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.hush();
    }
}

/// A request under way.
struct Flight {
    stream: Stream,
    request: Request,
    meant: Time,
    /// What is not written yet.
    rest: Vec<u8>,
    answer: Answer,
    end: End,
    /// The connection had been used before.
    kept: bool,
    /// The connection is to be used again.
    keep: bool,
}

struct Generator {
    plan: Plan,
    poller: Poller,
    flights: BTreeMap<u64, Flight>,
    /// Numbers in the order in which they time out.
    order: VecDeque<(Time, u64)>,
    /// Connections that wait for the next request, and where they lead.
    idle: Vec<(SocketAddr, Stream)>,
    tally: Tally,
    /// Requests that another server got, because no connection to this one was left for them.
    unsent: u64,
    stop: Arc<AtomicBool>,
    pinned: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

/// How often to look whether to stop.
const LOOK: Duration = Duration::from_millis(20);

impl Generator {
    fn run(mut self) -> io::Result<Done> {
        let (start, rate) = (clock::now(), u64::from(self.plan.rate.max(1)));
        let moment = |number: u64| start.after(Duration::from_nanos(number * 1_000_000_000 / rate));
        loop {
            let pinned = self.pinned.load(Ordering::Relaxed);
            let mut sending =
                self.tally.sent < self.plan.limit && !self.stop.load(Ordering::Relaxed);
            if pinned && self.flights.is_empty() {
                self.idle.retain_mut(|(_, stream)| is_open(stream));
                sending = sending && !self.idle.is_empty();
            }
            let now = clock::now();
            let next = moment(self.tally.sent + self.unsent);
            if sending && next <= now {
                self.send(next, now, pinned);
                continue;
            }
            self.give_up(now);
            if !sending && self.flights.is_empty() {
                let idle = self.idle.into_iter().map(|(_, stream)| stream).collect();
                return Ok(Done { tally: self.tally, idle });
            }
            let until = now.after(LOOK);
            let until = if sending { until.min(next) } else { until };
            for number in self.poller.wait(until, now)? {
                // One that was given up while this news was under way is not there any more.
                if let Some(flight) = self.flights.get_mut(&number) {
                    if let Some(class) = flight.go_on() {
                        self.ended(number, class);
                    }
                }
            }
        }
    }

    /// `pinned`: only on a connection that is open.
    fn send(&mut self, meant: Time, now: Time, pinned: bool) {
        let number = self.tally.sent + self.unsent;
        let request = (self.plan.requests)(number);
        let keep = self.plan.keep.keeps(number);
        let idle = if keep { self.take_idle(request.to) } else { None };
        let kept = idle.is_some();
        if pinned && !kept {
            self.unsent += 1;
            return;
        }
        self.tally.sent += 1;
        self.sent.store(self.tally.sent, Ordering::Relaxed);
        self.tally.latest = self.tally.latest.max(now.since(meant));
        let begun = match idle {
            Some(stream) => self.poller.rename(&stream, number).map(|()| stream),
            None => self.connect(request.to, number),
        };
        let stream = match begun {
            Ok(stream) => stream,
            Err(error) => {
                // On the loopback a refusal may be known at once. Else: no descriptor, no port.
                let refused = error.kind() == ErrorKind::ConnectionRefused;
                let class = if refused { Class::Refused } else { Class::Generator };
                self.record(Record { meant, ended: now, class, kept });
                return self.tally.dropped(Dropped { at: now, path: request.path, class });
            }
        };
        let connection = if keep { "keep-alive" } else { "close" };
        let Request { method, path, to, want, .. } = &request;
        let length = if *method == "GET" { "" } else { "Content-Length: 0\r\n" };
        let rest = format!(
            "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: {connection}\r\n{length}\r\n"
        );
        let (rest, answer, end) = (rest.into_bytes(), Answer::new(want.clone()), End::Open);
        let flight = Flight { stream, request, meant, rest, answer, end, kept, keep };
        self.flights.insert(number, flight);
        self.order.push_back((meant.after(self.plan.timeout), number));
    }

    /// A connection to this server that is still open. One that the server has closed in the meantime is given up, as
    /// every client with a pool does.
    fn take_idle(&mut self, to: SocketAddr) -> Option<Stream> {
        while let Some(place) = self.idle.iter().rposition(|(leads, _)| *leads == to) {
            let (_, mut stream) = self.idle.remove(place);
            if is_open(&mut stream) {
                return Some(stream);
            }
        }
        None
    }

    fn connect(&mut self, to: SocketAddr, number: u64) -> io::Result<Stream> {
        self.tally.connections += 1;
        let stream = dial::start(&Address::Tcp(to))?;
        self.poller.watch(&stream, number)?;
        Ok(stream)
    }

    /// All have the same timeout, so the oldest is the first whose time is over.
    fn give_up(&mut self, now: Time) {
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
        let now = clock::now();
        let Flight { request, meant, kept, .. } = flight;
        self.record(Record { meant, ended: now, class, kept });
        if class == Class::Ok {
            self.answered.fetch_add(1, Ordering::Relaxed);
            self.tally.answered(now.since(meant), request.own);
            if flight.keep && flight.end == End::Open && !flight.answer.closes() {
                self.idle.push((request.to, flight.stream));
            }
        } else {
            self.tally.dropped(Dropped { at: now, path: request.path, class });
        }
    }

    fn record(&mut self, record: Record) {
        if self.tally.records.len() < self.plan.records {
            self.tally.records.push(record);
        }
    }
}

/// Whether a connection without a request is open at the other end: there is neither an end to read nor an error.
fn is_open(stream: &mut Stream) -> bool {
    stream.read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
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
                Ok(0) => self.end = End::Closed,
                Ok(count) => self.answer.take(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // What was read before it counts.
                Err(_) => self.end = End::Reset,
            }
            let class = self.answer.class(self.end);
            if class.is_some() {
                return class;
            }
        }
    }
}
