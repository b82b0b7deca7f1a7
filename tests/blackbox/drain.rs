//! The drain: what was asked before TERM, and what comes while balancers learn of the stop, is
//! answered; what is idle holds nothing up; and the deadline stays where it is.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use crate::support::account::Line;
use crate::support::files::{Fifo, Place};
use crate::support::init::puppet_line;
use crate::support::port::free_port;
use crate::support::{Fault, Launch, Outcome, PATIENCE, Room, Run, Status, need};
use crate::{both_rooms, ensure, ensure_eq};

/// A server with HTTP/1.1; its head says what it can do.
const APP: &str = include_str!("drain/app.py");

/// What a program is wrapped in that must not ask the kernel for sockets.
const WITHOUT_SOCK_DIAG: &str = include_str!("drain/refuse.py");

const PYTHON: &str = "/usr/bin/python3";

/// Ends the case where python3 or something else is missing.
macro_rules! needs {
    ($($condition:expr),*) => {
        if !need::program(PYTHON) $(|| !$condition)* {
            return Ok(());
        }
    };
}

// Behind the macro, which it uses.
mod asked;
mod held;
mod lack;
mod word;

/// A server that is drained, and what is needed round it.
struct Drained {
    place: Place,
    port: u16,
    family: &'static str,
    launch: Launch,
}

impl Drained {
    /// The drain needs no longer than it has to, and the budget is in nobody's way.
    fn new(room: Room, family: &'static str) -> Outcome<Drained> {
        Drained::with(room, family, "--grace 60s --drain-delay 0")
    }

    fn with(room: Room, family: &'static str, flags: &str) -> Outcome<Drained> {
        let place = Place::new();
        let listen = format!("unix:{}", place.text("sock"));
        let launch = Launch::graceinit(room).flags("--log-level debug").flags(flags);
        Ok(Drained { launch: launch.flag("--listen", listen), place, port: free_port()?, family })
    }

    fn flags(mut self, flags: &str) -> Drained {
        self.launch = self.launch.flags(flags);
        self
    }

    fn hook(mut self, phase: &str, script: &str) -> Drained {
        self.launch = self.launch.flag(phase, puppet_line(script));
        self
    }

    fn wrapped_by<S: AsRef<std::ffi::OsStr>>(
        mut self,
        words: impl IntoIterator<Item = S>,
    ) -> Drained {
        self.launch = self.launch.wrapped_by(words);
        self
    }

    /// `--drain` with the server's port, which answers in one piece.
    fn drain(self) -> Drained {
        let flag = format!("--drain {} --drain-idle 1s", self.port);
        self.flags(&flag)
    }

    /// Started; `late`: it listens when the FIFO is released, otherwise it is waited for.
    fn start(self, late: bool) -> Outcome<Server> {
        let Drained { place, port, family, launch } = self;
        let (number, gate) = (port.to_string(), place.fifo("gate"));
        let gate = gate.path().display().to_string();
        let mut words = vec![PYTHON, "-IS", "-c", APP, &number, family, &gate];
        words.extend(late.then_some("late"));
        let run = launch.command(words).start()?;
        let server = Server { place, port, family, run };
        if !late {
            server.gets_ready()?;
        }
        Ok(server)
    }
}

struct Server {
    place: Place,
    port: u16,
    family: &'static str,
    run: Run,
}

impl Server {
    fn gets_ready(&self) -> Outcome {
        self.run.out.until("listening")?;
        self.run.err.until("graceinit: info: the app is ready").map(drop)
    }

    fn address(&self) -> SocketAddr {
        match self.family {
            "6" => (Ipv6Addr::LOCALHOST, self.port).into(),
            _ => (Ipv4Addr::LOCALHOST, self.port).into(),
        }
    }

    fn connect(&self) -> Outcome<TcpStream> {
        let client = TcpStream::connect(self.address())?;
        client.set_read_timeout(Some(PATIENCE))?;
        Ok(client)
    }

    /// A request that the app has taken in hand, and does not answer before it is released.
    fn held(&self) -> Outcome<TcpStream> {
        let mut client = self.connect()?;
        client.write_all(b"GET /held HTTP/1.1\r\n\r\n")?;
        self.run.out.until("held")?;
        Ok(client)
    }

    fn release(&self) -> Outcome {
        Fifo(self.place.path("gate")).release()
    }

    /// What a probe is answered: the status line's code and the body.
    fn probe(&self) -> Outcome<String> {
        let mut stream = UnixStream::connect(self.place.path("sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| Fault::new(format!("no answer: {answer:?}")))?;
        Ok(format!("{} {}", head.get(9..12).unwrap_or_default(), body.trim_end()))
    }

    fn answers(&self, expected: &str) -> Outcome {
        ensure_eq!(self.probe()?, expected, "the answer to a probe");
        Ok(())
    }

    /// A stop is asked for, and the drain has begun.
    fn drains(&self) -> Outcome {
        self.run.signal("TERM")?;
        self.run.err.until("graceinit: info: draining: the app keeps serving").map(drop)
    }

    /// Waits for a look that shows this, and says that the app was told nothing until then.
    fn sees(&self, what: &str) -> Outcome {
        loop {
            let line = self.run.err.until("graceinit: debug: connections ")?;
            if line.0.split_whitespace().any(|word| word == what) {
                return self.is_untold();
            }
        }
    }

    fn is_untold(&self) -> Outcome {
        ensure_eq!(self.run.out.count("got TERM"), 0, "signals to the app");
        ensure_eq!(self.run.err.count("graceinit: info: asking the app to stop"), 0, "requests");
        Ok(())
    }

    /// The drain ends as this says, then the app is told, and ends.
    fn ends(&mut self, how: &str) -> Outcome<Line> {
        let line = self.run.err.until(&format!("graceinit: {how}"))?;
        self.run.err.until("graceinit: info: asking the app to stop")?;
        self.leaves(5)?;
        ensure!(self.run.out.count("got TERM") > 0, "the app was told");
        Ok(line)
    }

    /// What was held is answered, and that was all.
    fn finishes(&mut self, mut client: TcpStream) -> Outcome {
        self.release()?;
        is_answered(&mut client)?;
        drop(client);
        self.ends("info: drained").map(drop)
    }

    fn leaves(&mut self, code: i32) -> Outcome {
        self.run.exits(code)?;
        ensure_eq!(self.run.survivors(), Vec::<i32>::new(), "nobody is left");
        ensure_eq!(self.run.err.count("graceinit: warn: the budget is over"), 0, "deadlines");
        Ok(())
    }
}

/// On a connection that goes on.
fn ask(client: &mut TcpStream, path: &str) -> Outcome {
    client.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())?;
    is_answered(client)
}

fn is_answered(client: &mut TcpStream) -> Outcome {
    let mut text = Vec::new();
    while !text.ends_with(b"hello\n") {
        let mut part = [0; 512];
        let count = client.read(&mut part)?;
        text.extend_from_slice(part.get(..count).unwrap_or_default());
        ensure!(count > 0, "an answer was cut off: {:?}", String::from_utf8_lossy(&text));
    }
    ensure!(text.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&text));
    Ok(())
}

/// A client that was never answered learns that nobody is there any more.
fn is_cut_off(client: &mut TcpStream) -> Outcome {
    match client.read(&mut [0]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        other => Err(Fault::new(format!("not cut off: {other:?}"))),
    }
}

/// A mount namespace of its own with nothing in /proc.
const WITHOUT_PROC: [&str; 6] =
    ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"];

// ---- what is under way ------------------------------------------------------------------------------

/// TERM comes while a request is in hand: it is answered, and so is one that comes later, on a new
/// connection and on an old one. Only then the app is told.
fn a_request_in_flight(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::new(room, "4")?.drain().start(false)?;
    let mut pooled = server.connect()?;
    ask(&mut pooled, "/")?;
    let client = server.held()?;
    server.drains()?;
    ask(&mut pooled, "/")?;
    ask(&mut server.connect()?, "/")?;
    drop(pooled);
    server.sees("owed=1")?;
    server.finishes(client)
}

/// A balancer keeps connections that nobody uses at present: used ones, and ones that were made to be
/// there.
fn idle_connections_hold_nothing_up(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::new(room, "4")?.drain().flags("--drain-idle 100ms").start(false)?;
    let mut pooled = [server.connect()?, server.connect()?];
    for client in &mut pooled {
        ask(client, "/")?;
    }
    let fresh = server.connect()?;
    server.drains()?;
    let line = server.ends("info: drained")?;
    ensure!(line.0.contains("busy=0 owed=0 idle=3 "), "the last look: {}", line.0);
    drop((pooled, fresh));
    Ok(())
}

/// The budget has the last word, and the app keeps its share of it.
fn a_connection_that_never_ends(room: Room) -> Outcome {
    needs!();
    let mut server =
        Drained::with(room, "4", "--grace 2s --drain-delay 0")?.drain().start(false)?;
    let mut client = server.held()?;
    server.drains()?;
    server.sees("owed=1")?;
    let line = server.ends("warn: no time is left to drain: requests may be cut off")?;
    ensure!(line.0.contains("owed=1"), "the last look: {}", line.0);
    is_cut_off(&mut client)
}

/// As a rule the first request comes in the same jiffy as its connection. That makes no difference,
/// however long the answer takes: looks are made ten times a second, and doubts end after three.
fn a_slow_first_answer(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::new(room, "4")?.drain().start(false)?;
    let client = server.held()?;
    server.drains()?;
    for _ in 0..36 {
        server.sees("owed=1")?;
    }
    server.finishes(client)
}

// ---- what balancers know ----------------------------------------------------------------------------

fn requests_in_the_delay(room: Room) -> Outcome {
    needs!();
    let flags = "--grace 60s --drain-delay 700ms";
    let mut server = Drained::with(room, "4", flags)?.drain().start(false)?;
    server.drains()?;
    // The first look finds nothing, and that is not the end of it.
    server.sees("busy=0")?;
    ask(&mut server.connect()?, "/")?;
    server.ends("info: drained").map(drop)
}

/// Without ports nobody looks at connections.
fn the_delay_alone(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::with(room, "4", "--grace 60s --drain-delay 500ms")?.start(false)?;
    let mut client = server.held()?;
    server.drains()?;
    server.answers("503 not ready: drain")?;
    ask(&mut server.connect()?, "/")?;
    server.is_untold()?;
    server.ends("info: the delay is over")?;
    ensure_eq!(server.run.err.count("graceinit: debug: connections "), 0, "looks");
    is_cut_off(&mut client)
}

/// A delay that is far longer than this test's patience, but for the balancers: they have asked.
fn enough_probes_end_the_delay(room: Room) -> Outcome {
    needs!();
    let flags = "--grace 120s --drain-delay 60s --drain-acks 3";
    let mut server = Drained::with(room, "4", flags)?.drain().start(false)?;
    // These are no acknowledgement of anything.
    for _ in 0..3 {
        server.answers("200 ready")?;
    }
    server.drains()?;
    server.answers("503 not ready: drain")?;
    server.answers("503 not ready: drain")?;
    server.sees("busy=0")?;
    ask(&mut server.connect()?, "/")?;
    server.answers("503 not ready: drain")?;
    let line = server.run.err.until("graceinit: info: load balancers have been told")?;
    ensure_eq!(line.get("probes"), Some("3"), "answers");
    server.ends("info: drained").map(drop)
}

/// Without ports too; and those that ask while the pre-stop hooks run count.
fn probes_during_pre_stop_count(room: Room) -> Outcome {
    needs!();
    let flags = "--grace 120s --hook-timeout 60s --drain-delay 60s --drain-acks 2";
    let server = Drained::with(room, "4", flags)?;
    let hold = server.place.fifo("hold");
    let hook = format!("read={}", hold.path().display());
    let mut server = server.hook("--pre-stop", &hook).start(false)?;
    server.run.signal("TERM")?;
    let held = hold.hold()?;
    server.answers("503 not ready: pre-stop")?;
    server.answers("503 not ready: pre-stop")?;
    server.run.err.until("graceinit: info: load balancers have been told")?;
    server.is_untold()?;
    drop(held);
    server.ends("info: the delay is over").map(drop)
}

/// From when the app listens to when its stop is asked for.
fn readiness_of_the_ports(room: Room) -> Outcome {
    needs!();
    let server = Drained::new(room, "4")?;
    let hold = server.place.fifo("hold");
    let hook = format!("read={}", hold.path().display());
    let server = server.flags("--hook-timeout 50s").hook("--pre-stop", &hook);
    let mut server = server.drain().start(true)?;
    server.run.err.until("graceinit: info: entering phase=running")?;
    let answer = server.probe()?;
    ensure!(answer.starts_with("503 not ready: running"), "{answer}");
    server.release()?;
    server.gets_ready()?;
    server.answers("200 ready")?;
    server.run.signal("TERM")?;
    let held = hold.hold()?;
    server.answers("503 not ready: pre-stop")?;
    ask(&mut server.connect()?, "/")?;
    server.is_untold()?;
    drop(held);
    server.ends("info: drained").map(drop)
}

/// It serves nobody yet.
fn a_stop_before_the_app_listens(room: Room) -> Outcome {
    needs!();
    let server = Drained::new(room, "4")?.drain().start(true)?;
    let Server { mut run, place, .. } = server;
    // Somebody reads the FIFO: the app has its handler.
    let gate = Fifo(place.path("gate")).hold()?;
    run.signal("TERM")?;
    run.err.until("graceinit: info: asking the app to stop")?;
    // A signal that comes just before Python reads is handled when it has read.
    drop(gate);
    run.exits(5)?;
    ensure_eq!(run.err.count("graceinit: info: draining"), 0, "drains");
    Ok(())
}

// ---- which ports ------------------------------------------------------------------------------------

/// `auto` finds the port, or says that it cannot.
fn found(room: Room, family: &'static str) -> Outcome {
    needs!();
    let mut server =
        Drained::new(room, family)?.flags("--drain auto --drain-idle 1s").start(false)?;
    let client = server.held()?;
    server.drains()?;
    server.sees("owed=1")?;
    server.finishes(client)
}

fn auto(room: Room) -> Outcome {
    found(room, "4")
}

fn auto_in_a_child(room: Room) -> Outcome {
    found(room, "worker")
}

fn auto_over_ipv6(room: Room) -> Outcome {
    let there = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !need::met(there, "IPv6 on the loopback interface") {
        return Ok(());
    }
    found(room, "6")
}

/// Somebody else's port is not the app's.
fn auto_knows_whose_ports_they_are(room: Room) -> Outcome {
    needs!();
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut busy = TcpStream::connect(stranger.local_addr()?)?;
    let (_owed, _) = stranger.accept()?;
    busy.write_all(b"?")?;
    let mut server = Drained::new(room, "4")?.flags("--drain auto --drain-idle 1s").start(false)?;
    server.drains()?;
    let line = server.ends("info: drained")?;
    ensure!(line.0.contains("busy=0 owed=0 idle=0 "), "the last look: {}", line.0);
    Ok(())
}

/// Datagrams are answered in the delay; whether more will come nobody knows.
fn datagrams(room: Room) -> Outcome {
    needs!();
    let flags = "--grace 60s --drain-delay 500ms";
    let mut server = Drained::with(room, "udp", flags)?.drain().start(false)?;
    server.drains()?;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.send_to(b"hello", server.address())?;
    let mut text = [0; 16];
    let count = client.recv(&mut text)?;
    ensure_eq!(text.get(..count), Some(&b"hello"[..]), "the answer");
    server.ends("info: drained").map(drop)
}

// ---- what can be missing ----------------------------------------------------------------------------

/// Nobody can tell whose listeners they are. That is said once the app runs, and the app gets ready.
fn auto_without_proc(room: Room) -> Outcome {
    needs!(need::root());
    let server =
        Drained::new(room, "4")?.flags("--drain auto --drain-idle 1s").wrapped_by(WITHOUT_PROC);
    let server = server.start(false)?;
    let line =
        server.run.err.find("graceinit: warn: unable to see which ports the app listens on")?;
    ensure!(line.0.ends_with("name the ports: --drain PORT"), "advice: {}", line.0);
    let Server { mut run, .. } = server;
    run.signal("TERM")?;
    run.err.until("graceinit: info: draining")?;
    run.err.until("graceinit: info: asking the app to stop")?;
    run.exits(5)
}

fn without_sock_diag() -> [&'static str; 4] {
    [PYTHON, "-IS", "-c", WITHOUT_SOCK_DIAG]
}

/// Where the kernel may not be asked, only queues are seen: a connection holds the drain for drain-idle.
fn connections_are_counted(room: Room) -> Outcome {
    needs!(need::x86_64());
    let server = Drained::new(room, "4")?.drain().flags("--drain-idle 50s");
    let mut server = server.wrapped_by(without_sock_diag()).start(false)?;
    let warning = "graceinit: warn: unable to ask the kernel for connections (sock_diag)";
    server.run.err.find(warning)?;
    let idle = server.connect()?;
    server.drains()?;
    server.sees("busy=1")?;
    server.sees("busy=1")?;
    drop(idle);
    server.ends("info: drained").map(drop)
}

/// And where nothing can be seen, the delay is all there is.
fn nothing_can_be_seen(room: Room) -> Outcome {
    needs!(need::x86_64(), need::root());
    let server = Drained::new(room, "4")?.drain().wrapped_by(WITHOUT_PROC);
    let mut server = server.wrapped_by(without_sock_diag()).start(false)?;
    let line = server.run.err.find("graceinit: warn: unable to see connections")?;
    ensure!(line.0.ends_with("the drain is its delay alone"), "what follows: {}", line.0);
    let mut client = server.held()?;
    server.drains()?;
    server.run.err.until("graceinit: info: asking the app to stop")?;
    server.run.exits(5)?;
    is_cut_off(&mut client)
}

// ---- what else can happen ---------------------------------------------------------------------------

/// There is nothing left to wait for, and nobody to be told.
fn the_app_ends_in_the_drain(room: Room) -> Outcome {
    needs!();
    let flags = "--grace 120s --drain-delay 60s";
    let mut server = Drained::with(room, "4", flags)?.drain().start(false)?;
    server.drains()?;
    server.sees("busy=0")?;
    ask(&mut server.connect()?, "/exit")?;
    server.leaves(7)?;
    server.is_untold()?;
    ensure_eq!(server.run.err.count("graceinit: debug: entering phase=on-stop"), 0, "on-stop");
    Ok(())
}

/// Whoever asks again is impatient, the client is not to blame for that.
fn a_second_request_is_ignored(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::new(room, "4")?.drain().start(false)?;
    let client = server.held()?;
    server.drains()?;
    server.sees("owed=1")?;
    server.run.signal("TERM")?;
    server.run.err.until("graceinit: info: second stop request")?;
    server.sees("owed=1")?;
    server.finishes(client)
}

fn a_second_request_that_kills(room: Room) -> Outcome {
    needs!();
    let mut server = Drained::new(room, "4")?.drain().flags("--stop-again kill").start(false)?;
    let mut client = server.held()?;
    server.drains()?;
    server.sees("owed=1")?;
    server.run.signal("TERM")?;
    server.run.err.until("graceinit: warn: second stop request: ending the budget now")?;
    // Told a moment before that, the app may be quicker than SIGKILL.
    let status = server.run.wait()?;
    ensure!([Status::Code(137), Status::Code(5)].contains(&status), "the end: {status}");
    ensure_eq!(server.run.survivors(), Vec::<i32>::new(), "nobody is left");
    is_cut_off(&mut client)
}

/// Pre-stop hooks tell others of the stop, so they come before; on-stop hooks may be the stop itself, so
/// they come after.
fn hooks_before_and_after(room: Room) -> Outcome {
    needs!();
    let server = Drained::new(room, "4")?;
    let notes = server.place.text("notes");
    let note = |text: &str| format!("append={notes}:{text}");
    let server = server.hook("--pre-stop", &note("pre-stop")).hook("--on-stop", &note("on-stop"));
    let mut server = server.drain().start(false)?;
    let client = server.held()?;
    server.drains()?;
    server.sees("owed=1")?;
    server.sees("owed=1")?;
    ensure_eq!(server.place.expect("notes")?, "pre-stop\n", "the hooks until now");
    server.finishes(client)?;
    ensure_eq!(server.place.expect("notes")?, "pre-stop\non-stop\n", "the hooks");
    Ok(())
}

both_rooms!(
    a_request_in_flight,
    a_slow_first_answer,
    idle_connections_hold_nothing_up,
    a_connection_that_never_ends,
    requests_in_the_delay,
    the_delay_alone,
    enough_probes_end_the_delay,
    probes_during_pre_stop_count,
    readiness_of_the_ports,
    a_stop_before_the_app_listens,
    auto,
    auto_in_a_child,
    auto_over_ipv6,
    auto_knows_whose_ports_they_are,
    datagrams,
    auto_without_proc,
    connections_are_counted,
    nothing_can_be_seen,
    the_app_ends_in_the_drain,
    a_second_request_is_ignored,
    a_second_request_that_kills,
    hooks_before_and_after,
);
