//! The server over real sockets, in a thread; and PID 1's side with a real child.

mod checks;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use proptest::prelude::*;

use super::*;
use crate::sys::{clock, helper, poll, reap, signals};
use crate::types::Signal;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn any_port() -> Listener {
    let address = Address::Tcp((Ipv4Addr::LOCALHOST, 0).into());
    Listener::open(&address).expect("a port")
}

fn snapshot(phase: &'static str) -> Snapshot {
    let (ready, stopping) = (phase == "ready", phase == "pre-stop");
    Snapshot { ready, serving: ready || stopping, live: true, stopping, phase: phase.into() }
}

/// A server; it ends with this.
struct Running {
    link: Option<End>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn new(limits: Limits) -> Running {
        Running::with(limits, Vec::new())
    }

    fn with(limits: Limits, more: Vec<Listener>) -> Running {
        Running::asking(limits, more, Checks::default())
    }

    fn asking(limits: Limits, more: Vec<Listener>, checks: Checks) -> Running {
        let mut listeners = vec![any_port()];
        let port = listeners[0].port().expect("a port");
        listeners.extend(more);
        let (link, theirs) = End::pair().expect("a pair");
        let thread = thread::spawn(move || {
            serve(&listeners, &theirs, snapshot("ready"), Account::default(), limits, &checks);
        });
        Running { link: Some(link), port, thread: Some(thread) }
    }

    fn tell(&self, phase: &'static str) {
        let link = self.link.as_ref().expect("a link");
        assert_eq!(link.send(&snapshot(phase).message()), Sent::Yes);
    }

    /// The next number of "not ready" answers that it tells of.
    fn told(&self) -> u32 {
        let link = self.link.as_ref().expect("a link");
        let now = clock::now();
        poll::wait(&[link.as_fd()], Some(now.after(PATIENCE)), now);
        let mut message = [0; 8];
        assert_eq!(link.receive(&mut message), Read::Bytes(4));
        u32::from_ne_bytes([message[0], message[1], message[2], message[3]])
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream
    }

    /// What a client hears until the connection ends.
    fn hear(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).expect("sent");
        all(&mut stream)
    }

    fn probe(&self) -> String {
        self.hear(b"GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.link = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// Everything to the end; a reset is an end too.
fn all(stream: &mut impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

#[test]
fn a_loopback_address_answers_only_for_this_host() {
    let running = Running::new(Limits::default());
    for path in ["/metrics", "/debug/graceinit", "/readyz", "/nowhere"] {
        let head = format!("GET {path} HTTP/1.1\r\nConnection: close\r\nHost: ");
        let refused = running.hear(format!("{head}evil.example\r\n\r\n").as_bytes());
        assert!(refused.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{refused}");
        assert!(refused.contains("set the header to Host: localhost"), "{refused}");
        let answered = running.hear(format!("{head}localhost:1\r\n\r\n").as_bytes());
        assert!(!answered.starts_with("HTTP/1.1 403"), "{answered}");
    }
}

#[test]
fn answers_follow_what_was_told() {
    let server = Running::new(Limits::default());
    for round in 0..50 {
        server.tell("ready");
        assert!(server.probe().ends_with("\r\n\r\nready\n"), "{round}");
        // No answer is older than the question.
        server.tell("drain");
        let answer = server.probe();
        assert_eq!(status(&answer), "503", "{round}");
        assert!(answer.ends_with("\r\n\r\nnot ready: drain\n"), "{answer}");
    }
}

#[test]
fn all_listeners_are_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sock");
    let unix = Listener::open(&Address::Unix(path.clone())).expect("a socket");
    let server = Running::with(Limits::default(), vec![unix]);
    assert_eq!(status(&server.probe()), "200");
    let mut stream = UnixStream::connect(&path).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n").expect("sent");
    assert!(all(&mut stream).ends_with("\r\n\r\nlive\n"));
}

#[test]
fn requests_may_come_all_at_once_or_in_crumbs() {
    let server = Running::new(Limits::default());
    let requests = b"GET /readyz HTTP/1.1\r\n\r\nHEAD /readyz HTTP/1.1\r\n\r\n\
        POST /readyz HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /nowhere HTTP/1.1\r\n\r\n\
        GET /livez HTTP/1.1\r\nConnection: close\r\n\r\nGET /livez HTTP/1.1\r\n\r\n";
    let expected = ["200", "200", "405", "404", "200"];
    let answer = server.hear(requests);
    assert_eq!(statuses(&answer), expected, "{answer}");
    assert!(answer.contains("Allow: GET, HEAD\r\n"));
    let mut stream = server.connect();
    stream.set_nodelay(true).expect("no delay");
    // Some crumbs are refused: the last request comes after the end.
    let sent = requests.chunks(3).all(|crumb| stream.write_all(crumb).is_ok());
    let answer = all(&mut stream);
    assert!(!sent || statuses(&answer) == expected, "{answer}");
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let server = Running::new(Limits::default());
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"live\n") {
            let mut buffer = [0; 512];
            let count = stream.read(&mut buffer).expect("an answer");
            assert_ne!(count, 0, "closed");
            answer.extend_from_slice(&buffer[..count]);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("Connection: keep-alive\r\n"), "{answer}");
    }
    // A half-closed connection is answered too (`nc -N`).
    stream.write_all(b"GET /livez HTTP/1.1\r\n\r\n").expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("closed");
    assert_eq!(status(&all(&mut stream)), "200");
}

#[test]
fn the_answer_to_a_wrong_request_arrives() {
    let server = Running::new(Limits::default());
    let chunked = [
        b"POST /readyz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        vec![b'x'; 50_000],
    ];
    for (request, expected) in [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec(), "400"),
        (vec![b'x'; 60_000], "431"),
        (vec![b'\0'; 60_000], "400"),
        (chunked.concat(), "405"),
        (b"OPTIONS * HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(), "404"),
    ] {
        assert_eq!(status(&server.hear(&request)), expected);
    }
}

#[test]
fn slow_clients_do_not_keep_probes_out() {
    let server = Running::new(Limits::default());
    let mut slow: Vec<TcpStream> = Vec::new();
    for client in 0..300 {
        let mut stream = server.connect();
        let crumb: &[u8] = if client % 2 == 0 { b"GET /readyz HT" } else { b"" };
        stream.write_all(crumb).expect("sent");
        slow.push(stream);
        if client % 50 == 49 {
            assert_eq!(status(&server.probe()), "200");
        }
    }
    assert_eq!(status(&server.probe()), "200");
    // The oldest had to go.
    let first = &mut slow[0];
    assert_eq!(all(first), "");
    // The newest can still finish.
    let last = &mut slow[298];
    last.write_all(b"TP/1.0\r\n\r\n").expect("sent");
    assert_eq!(status(&all(last)), "200");
}

#[test]
fn everything_has_an_end() {
    let short = Duration::from_millis(30);
    let limits =
        Limits { request: short, idle: short, answer: short, farewell: short, connections: 64 };
    let server = Running::new(limits);
    for request in [&b""[..], b"GET", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel"] {
        let answer = server.hear(request);
        assert!(answer.is_empty() || status(&answer) == "405", "{answer}");
    }
    assert_eq!(status(&server.hear(b"GET /livez HTTP/1.1\r\n\r\n")), "200");
    // One that asks and never listens.
    let mut deaf = server.connect();
    deaf.set_write_timeout(Some(PATIENCE)).expect("a limit");
    let questions = b"GET /livez HTTP/1.1\r\n\r\n".repeat(1000);
    while deaf.write_all(&questions).is_ok() {}
    // One that does not leave.
    let mut stays = server.connect();
    stays.write_all(b"GET /livez HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(status(&all(&mut stays)), "200");
    while stays.write_all(b"more").is_ok() {}
    assert_eq!(status(&server.probe()), "200");
}

#[test]
fn not_ready_answers_are_counted_while_stopping() {
    let server = Running::new(Limits::default());
    server.tell("running");
    assert_eq!(status(&server.probe()), "503");
    server.tell("pre-stop");
    let all_kinds = server.hear(
        b"GET /readyz HTTP/1.1\r\n\r\nHEAD /readyz HTTP/1.1\r\n\r\nGET /livez HTTP/1.1\r\n\r\n\
          POST /readyz HTTP/1.1\r\n\r\nGET /x HTTP/1.0\r\n\r\n",
    );
    assert_eq!(statuses(&all_kinds), ["503", "503", "200", "405", "404"]);
    assert_eq!(server.told(), 2);
    assert_eq!(status(&server.probe()), "503");
    assert_eq!(server.told(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn garbage_does_no_harm(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6),
        begin in prop::sample::select(vec!["", "GET ", "GET / HTTP/1.1\r\n", "\r\n\r\n"]),
    ) {
        let server = Running::new(Limits::default());
        let mut stream = server.connect();
        let _ = stream.write_all(begin.as_bytes());
        for piece in pieces {
            // It may be refused in the middle.
            let _ = stream.write_all(&piece);
        }
        prop_assert_eq!(status(&server.probe()).to_owned(), "200");
        drop(stream);
        prop_assert_eq!(status(&server.probe()).to_owned(), "200");
    }
}

// ---- PID 1's side -----------------------------------------------------------------------------

/// One round of a main loop, until `done`.
fn live(observer: &mut Observer, mut done: impl FnMut(&mut Observer, Option<u32>) -> bool) {
    let end = clock::now().after(PATIENCE);
    loop {
        let now = clock::now();
        assert!(now < end, "it takes too long");
        observer.ensure(now);
        observer.resume();
        let acks = observer.read(now);
        observer.feed();
        if done(observer, acks) {
            return;
        }
        let fds: Vec<_> = observer.fds().collect();
        let until = observer.due().into_iter().chain([end]).min();
        poll::wait_for(&fds, until, now);
    }
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).expect("sent");
    all(&mut stream)
}

fn probe(port: u16) -> String {
    get(port, "/readyz")
}

#[test]
fn a_killed_observer_is_back_before_a_second_has_passed() {
    helper::tests::alone(|| {
        let listener = any_port();
        let port = listener.port().expect("a port");
        let mut observer = Observer::new(vec![listener], None);
        observer.publish(&snapshot("ready"));
        observer.ensure(clock::now());
        for _ in 0..4 {
            assert_eq!(status(&probe(port)), "200");
            let pid = observer.pid().expect("a pid");
            let began = clock::now();
            signals::send(pid, Signal::KILL).expect("killed");
            live(&mut observer, |observer, _| observer.pid().is_some_and(|now| now != pid));
            assert_eq!(status(&probe(port)), "200");
            let took = clock::now().since(began);
            assert!(took < Duration::from_secs(5), "{took:?}");
            assert_eq!(reap::find(), reap::Found::NoChild);
        }
        let pid = observer.pid().expect("a pid");
        observer.close();
        assert_eq!(observer.pid(), None);
        assert!(signals::send(pid, Signal::CONT).is_err(), "left behind");
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    });
}

#[test]
fn the_first_connection_starts_the_observer() {
    helper::tests::alone(|| {
        let listener = any_port();
        let port = listener.port().expect("a port");
        let mut observer = Observer::new(vec![listener], None).when_asked();
        observer.publish(&snapshot("ready"));
        observer.ensure(clock::now());
        assert_eq!((observer.pid(), observer.due()), (None, None));
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").expect("sent");
        live(&mut observer, |observer, _| observer.pid().is_some());
        assert_eq!(status(&all(&mut stream)), "200");
        assert!(observer.fds().count() == 1, "the socket is the observer's");
        observer.close();
    });
}

#[test]
fn acks_outlive_the_observer() {
    helper::tests::alone(|| {
        let listener = any_port();
        let port = listener.port().expect("a port");
        let mut observer = Observer::new(vec![listener], None);
        observer.ensure(clock::now());
        assert_eq!(status(&probe(port)), "503");
        observer.publish(&snapshot("pre-stop"));
        assert_eq!(status(&probe(port)), "503");
        live(&mut observer, |_, acks| acks == Some(1));
        let pid = observer.pid().expect("a pid");
        signals::send(pid, Signal::KILL).expect("killed");
        live(&mut observer, |observer, _| observer.pid().is_some_and(|now| now != pid));
        assert!(probe(port).ends_with("not ready: pre-stop\n"));
        live(&mut observer, |_, acks| acks == Some(2));
        observer.close();
    });
}

#[test]
fn a_stopped_observer_stops_nothing_else() {
    helper::tests::alone(|| {
        let listener = any_port();
        let port = listener.port().expect("a port");
        let mut observer = Observer::new(vec![listener], None);
        observer.ensure(clock::now());
        let pid = observer.pid().expect("a pid");
        signals::send(pid, Signal::STOP).expect("stopped");
        let stale = |observer: &Observer| observer.fds().any(|(_, want)| want == Want::Both);
        for round in 0..100_000 {
            observer.publish(&snapshot(if round % 2 == 0 { "ready" } else { "drain" }));
            if stale(&observer) {
                break;
            }
        }
        assert!(stale(&observer), "the socket has no end");
        observer.publish(&snapshot("pre-stop"));
        // It has room again only when the other side reads: no round of the loop in vain.
        let fds: Vec<_> = observer.fds().collect();
        assert_eq!(poll::wait_for(&fds, Some(clock::now()), clock::now()), [false]);
        drop(fds);
        signals::send(pid, Signal::CONT).expect("resumed");
        live(&mut observer, |observer, _| !stale(observer));
        assert!(probe(port).ends_with("not ready: pre-stop\n"));
        observer.close();
    });
}

/// As PID 1 has sent it.
fn account(port: u16) -> Account {
    let answer = get(port, "/debug/graceinit");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

fn has(port: u16, trouble: &str) -> bool {
    account(port).troubles.iter().any(|entry| entry.msg == trouble)
}

#[test]
fn the_account_follows_and_outlives_the_observer() {
    helper::tests::alone(|| {
        let listener = any_port();
        let port = listener.port().expect("a port");
        let mut observer = Observer::new(vec![listener], None);
        journal::keep(Account { phase: "starting".into(), ..Account::default() }, clock::now());
        journal::warn("one");
        observer.ensure(clock::now());
        assert!(has(port, "one"));
        assert_eq!(observer.due(), None);
        journal::warn("two");
        assert!(observer.due().is_some());
        live(&mut observer, |_, _| has(port, "two"));
        // Nothing is due when nothing has changed.
        assert_eq!(observer.due(), None);
        let pid = observer.pid().expect("a pid");
        signals::send(pid, Signal::KILL).expect("killed");
        live(&mut observer, |observer, _| observer.pid().is_some_and(|now| now != pid));
        assert!(has(port, "one") && has(port, "two"));
        observer.close();
    });
}

#[test]
fn the_account_is_sent_seldom_and_a_phase_at_once() {
    helper::tests::alone(|| {
        let mut observer = Observer::new(vec![any_port()], None);
        journal::keep(Account::default(), clock::now());
        observer.ensure(clock::now());
        journal::warn("one");
        let due = observer.due().expect("due");
        assert!(due > clock::now());
        observer.feed();
        assert_eq!(observer.due(), Some(due), "it was sent too early");
        observer.publish(&snapshot("drain"));
        observer.feed();
        assert_eq!(observer.due(), None, "it was not sent at once");
        observer.close();
    });
}

fn stop(observer: &Observer) {
    let pid = observer.pid().expect("a pid");
    signals::send(pid, Signal::STOP).expect("sent");
    let end = clock::now().after(PATIENCE);
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    while !stat().contains(") T ") {
        assert!(clock::now() < end, "it continues");
    }
}

/// A stopped observer that is not continued: one document waits in its socket, and snapshots find
/// room beside it.
#[test]
fn documents_leave_room_for_snapshots() {
    helper::tests::alone(|| {
        let listener = any_port();
        let port = listener.port().expect("a port");
        let mut observer = Observer::new(vec![listener], None);
        journal::keep(Account::default(), clock::now());
        observer.ensure(clock::now());
        assert_eq!(status(&probe(port)), "503");
        stop(&observer);
        let long = "x".repeat(50_000);
        let sent =
            (0..20).filter(|_| observer.send_account(long.clone().into(), clock::now())).count();
        assert_eq!(sent, 1);
        for round in 0..3 {
            observer.publish(&snapshot(if round % 2 == 0 { "ready" } else { "drain" }));
        }
        assert!(observer.fds().all(|(_, want)| want == Want::Read), "a snapshot had to wait");
        observer.resume();
        assert_eq!(status(&probe(port)), "200");
        observer.close();
    });
}

#[test]
fn a_document_that_is_too_long_for_the_socket_does_no_harm() {
    helper::tests::alone(|| {
        let listener = any_port();
        let port = listener.port().expect("a port");
        let mut observer = Observer::new(vec![listener], None);
        journal::keep(Account::default(), clock::now());
        observer.ensure(clock::now());
        let pid = observer.pid();
        let long = vec![b'x'; 10_000_000];
        let tries =
            (0..20).take_while(|_| !observer.send_account(long.clone(), clock::now())).count();
        assert_eq!((tries, observer.longest), (5, SHORT));
        journal::warn("short");
        live(&mut observer, |_, _| has(port, "short"));
        assert_eq!(observer.pid(), pid);
        observer.close();
    });
}

#[test]
fn a_stopped_observer_goes_on() {
    helper::tests::alone(|| {
        let listener = any_port();
        let port = listener.port().expect("a port");
        let mut observer = Observer::new(vec![listener], None);
        observer.ensure(clock::now());
        for _ in 0..3 {
            assert_eq!(status(&probe(port)), "503");
            stop(&observer);
            observer.resume();
        }
        assert_eq!(status(&probe(port)), "503");
        observer.close();
    });
}
