//! What the observer serves, and that nothing which happens to it moves anybody else. Probes are
//! answered again within a second; `GRACEINIT_TEST_FIGURES=1 cargo test account::observer -- --nocapture`
//! prints after how long.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::port::free_port;
use crate::support::{Fault, Launch, Outcome, PATIENCE, Room, Run, Status, need, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

/// Probes are answered again within this...
const AGAIN: Duration = Duration::from_secs(1);
/// ...and on a machine that is busy with other tests so much later.
const SLACK: Duration = Duration::from_secs(3);

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";

/// Where the observer listens.
#[derive(Clone, Debug)]
pub(super) enum Door {
    Unix(PathBuf),
    Tcp(u16),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub(super) struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Door {
    /// One of each kind.
    pub(super) fn both(place: &Place) -> Outcome<[Door; 2]> {
        Ok([Door::Unix(place.path("sock")), Door::Tcp(free_port()?)])
    }

    pub(super) fn address(&self) -> String {
        match self {
            Door::Unix(path) => format!("unix:{}", path.display()),
            Door::Tcp(port) => format!("127.0.0.1:{port}"),
        }
    }

    fn connect(&self) -> Outcome<Box<dyn Stream>> {
        Ok(match self {
            Door::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Door::Tcp(port) => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }

    /// All that comes back.
    fn say(&self, request: &[u8]) -> Outcome<Vec<u8>> {
        let mut stream = self.connect()?;
        // It may be refused in the middle.
        drop(stream.write_all(request));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        Ok(answer)
    }

    pub(super) fn ask(&self, method: &str, path: &str, accept: &str) -> Outcome<Answer> {
        let request = format!("{method} {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n");
        let answer = String::from_utf8_lossy(&self.say(request.as_bytes())?).into_owned();
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| Fault::new(format!("no answer: {answer:?}")))?;
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| Fault::new(format!("no status: {head:?}")))?;
        Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
    }

    fn account(&self) -> Outcome<Json> {
        Ok(serde_json::from_str(&self.ask("GET", "/debug/graceinit", "*/*")?.body)?)
    }

    /// Until the probe is answered so.
    pub(super) fn until(&self, status: u16, body: &str) -> Outcome {
        proc::poll(&format!("{status} {body:?}"), || {
            let answer = self.ask("GET", "/readyz", "*/*").ok()?;
            (answer.status == status && answer.body == body).then_some(())
        })
    }
}

pub(super) fn listening(room: Room, doors: &[Door]) -> Launch {
    doors
        .iter()
        .fold(Launch::graceinit(room), |launch, door| launch.flag("--listen", door.address()))
}

fn observer(run: &Run) -> Outcome<i32> {
    let init = run.init()?;
    proc::poll("an observer", || {
        let children = proc::children(init).into_iter();
        children.filter(|p| p.comm == "graceinit-obs" && p.state != 'Z').map(|p| p.pid).next()
    })
}

fn figures() -> bool {
    std::env::var_os("GRACEINIT_TEST_FIGURES").is_some()
}

fn figure(text: &str) {
    if figures() {
        eprintln!("{text}");
    }
}

// ---- what is served ---------------------------------------------------------------------------

fn every_path_has_its_answer(room: Room) -> Outcome {
    let place = Place::new();
    let doors = Door::both(&place)?;
    let mut run = listening(room, &doors)
        .app("block spawn=same:block;ready;echo ready echo=TERM:5")
        .start()?;
    let child = run.out.expect("ready")?.number("pid")?;
    let app = run.out.expect("ready")?.number("pid")?;
    for door in &doors {
        door.until(200, "ready\n")?;
        for (path, accept, kind, within) in [
            ("/", "*/*", "text/plain; charset=utf-8", "/debug/graceinit"),
            ("/livez", "*/*", "text/plain; charset=utf-8", "live\n"),
            ("/metrics", "*/*", "text/plain; version=0.0.4", "graceinit_ready 1\n"),
            ("/metrics", OPEN_METRICS, "application/openmetrics-text; version=1.0.0", "# EOF\n"),
            ("/debug/graceinit", "*/*", "application/json", "\"phase\":\"ready\""),
            ("/debug/graceinit", BROWSER, "text/html; charset=utf-8", "<!"),
        ] {
            // PID 1 may show the account a moment after the probe's answer.
            let answer = proc::poll(&format!("{within:?} at {path} for {accept}"), || {
                let answer = door.ask("GET", path, accept).ok()?;
                answer.body.contains(within).then_some(answer)
            })?;
            ensure_eq!(answer.status, 200, "{path}");
            for line in [format!("Content-Type: {kind}"), "X-Content-Type-Options: nosniff".into()]
            {
                ensure!(answer.head.contains(&line), "{path}: no {line:?} in {}", answer.head);
            }
            let html = kind.starts_with("text/html");
            let guarded = answer.head.contains("Content-Security-Policy: default-src 'none'");
            ensure_eq!(guarded, html, "what {path} may load");
            let varies = answer.head.contains("Vary: Accept");
            ensure_eq!(varies, accept != "*/*" || within.contains(['"', '1']), "Vary of {path}");
            let head = door.ask("HEAD", path, accept)?;
            ensure_eq!((head.status, head.body.as_str()), (200, ""), "HEAD {path}");
            ensure_eq!(door.ask("PUT", path, accept)?.status, 405, "PUT {path}");
        }
        ensure_eq!(door.ask("GET", "/metric", "*/*")?.status, 404, "/metric");
        // The tree of this moment, without the observer.
        let account = door.account()?;
        let processes = account["processes"].as_array().unwrap();
        let found = |pid: i32| processes.iter().find(|one| one["pid"] == pid);
        let [Some(parent), Some(child)] = [app, child].map(found) else {
            return Err(Fault::new(format!("{app} and {child} are not among {processes:?}")));
        };
        ensure_eq!(child["ppid"], app, "the parent");
        ensure_eq!(parent["name"], "puppet", "the name");
        ensure!(parent["rss"].as_u64() > Some(10_000), "no memory: {parent}");
        ensure!(child["age"].as_f64() < Some(60.0), "too old: {child}");
        let observers = processes.iter().filter(|one| one["name"] == "graceinit-obs").count();
        ensure_eq!(observers, 0, "observers among {processes:?}");
    }
    run.signal("TERM")?;
    run.exits(5)
}

/// What happens is to be seen while it happens.
fn a_stop_can_be_watched(room: Room) -> Outcome {
    let place = Place::new();
    let doors = Door::both(&place)?;
    let gate = place.fifo("gate");
    let hook = puppet_line(&format!("say=working read={}", gate.path().display()));
    let mut run = listening(room, &doors)
        .flag("--pre-stop", hook)
        .flags("--grace 60 --hook-timeout 50")
        .app("block ready echo=TERM:5")
        .start()?;
    run.ready()?;
    doors[0].until(200, "ready\n")?;
    let before = doors[0].account()?;
    ensure_eq!(before["stop"], Json::Null, "a stop");
    run.signal("TERM")?;
    let held = gate.hold()?;
    for door in &doors {
        let account = proc::poll("a running hook", || {
            let account = door.account().ok()?;
            account["hooks"][0]["output"][0]["text"].is_string().then_some(account)
        })?;
        let hook = &account["hooks"][0];
        ensure_eq!(account["phase"], "pre-stop", "phase");
        ensure_eq!(account["ready"], false, "ready");
        ensure_eq!(account["stop"]["signal"], "TERM", "signal");
        ensure_eq!(account["stop"]["budget"].as_f64(), Some(60.0), "budget");
        ensure_eq!(hook["attempts"][0]["outcome"], Json::Null, "outcome of {hook}");
        ensure_eq!(hook["output"][0]["text"], "working", "output of {hook}");
        ensure!(account["age"].as_f64() > before["age"].as_f64(), "it grew no older");
    }
    drop(held);
    run.exits(5)
}

// ---- secrets ----------------------------------------------------------------------------------

const SECRETS: [&str; 4] =
    ["zebra-in-a-variable", "zebra-in-our-variable", "zebra-in-a-hook", "zebra-for-a-hook"];

/// Where in the memory of `pid` these words are: how often each.
fn in_memory(pid: i32, words: &[&str]) -> Outcome<Vec<usize>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut counts = vec![0; words.len()];
    let mut looked = 0;
    for line in maps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let Some((begin, end)) = range else { continue };
        let parsed = [begin, end].map(|hex| u64::from_str_radix(hex, 16));
        let [Ok(begin), Ok(end)] = parsed else { continue };
        let mut bytes = vec![0; (end - begin) as usize];
        // Some mappings of the kernel's cannot be read.
        let read = memory.seek(SeekFrom::Start(begin)).and_then(|_| memory.read_exact(&mut bytes));
        if read.is_err() {
            continue;
        }
        looked += bytes.len();
        for (word, count) in words.iter().zip(&mut counts) {
            *count += bytes.windows(word.len()).filter(|window| *window == word.as_bytes()).count();
        }
    }
    ensure!(looked > 100_000, "only {looked} bytes of memory were seen");
    Ok(counts)
}

fn no_answer_holds_a_secret(door: &Door) -> Outcome {
    let mut requests: Vec<Vec<u8>> = Vec::new();
    for path in ["/", "/readyz", "/livez", "/metrics", "/debug/graceinit", "/environ", "*"] {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "TRACE"] {
            for accept in ["*/*", BROWSER, OPEN_METRICS, "text/html", "application/json"] {
                let request = format!("{method} {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n");
                requests.push(request.into_bytes());
            }
        }
    }
    requests.push(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec());
    requests.push(vec![b'x'; 60_000]);
    requests.push(b"GET /debug/graceinit?%s%n%x${SECRET} HTTP/1.0\r\n\r\n".to_vec());
    requests.push(b"GET /debug/graceinit/../../proc/self/environ HTTP/1.0\r\n\r\n".to_vec());
    for request in requests {
        let answer = String::from_utf8_lossy(&door.say(&request)?).into_owned();
        ensure!(answer.starts_with("HTTP/1.1 "), "no answer to {request:?}: {answer:?}");
        for secret in SECRETS {
            let request = String::from_utf8_lossy(&request).into_owned();
            ensure!(!answer.contains(secret), "{secret} in the answer to {request}: {answer}");
        }
    }
    Ok(())
}

/// Passwords are handed over in variables.
fn environment_values_are_never_shown(room: Room) -> Outcome {
    let place = Place::new();
    let doors = Door::both(&place)?;
    let gate = place.fifo("gate");
    let file = format!(
        "[[hook.pre-stop]]\nname = \"hold\"\ncommand = [{:?}, \"to={}\", \"env=TOKEN\", \"read={}\"]\n\
         env = {{ TOKEN = {:?} }}\n",
        crate::support::init::puppet(),
        place.text("told"),
        gate.path().display(),
        SECRETS[2],
    );
    let file = place.file("graceinit.toml", file, 0o644);
    let mut run = listening(room, &doors)
        .flag("--config", file)
        .flags("--grace 60 --hook-timeout 50 -vvv")
        .env("SECRET", SECRETS[0])
        .env("GRACEINIT_UNKNOWN", SECRETS[1])
        .env("TOKEN", SECRETS[3])
        .app("block ready env=SECRET echo=TERM:5")
        .start()?;
    run.out.until("ready")?;
    doors[0].until(200, "ready\n")?;
    let pid = observer(&run)?;
    if need::root() {
        let environ = fs::read(format!("/proc/{pid}/environ"))?;
        ensure!(environ.iter().all(|byte| *byte == 0), "an environment: {environ:?}");
        let found = in_memory(pid, &SECRETS)?;
        // What the file gives to hooks is part of the configuration, of which the observer has a copy.
        ensure_eq!([found[0], found[1], found[3]], [0; 3], "in the observer's memory");
        figure(&format!(
            "{room:?}: a hook's variable in the observer's memory: {} times",
            found[2]
        ));
        // It can be found where it is.
        let found = in_memory(run.init()?, &SECRETS)?;
        ensure!(found[0] > 0 && found[1] > 0 && found[3] > 0, "not even in PID 1: {found:?}");
    }
    for door in &doors {
        no_answer_holds_a_secret(door)?;
    }
    run.signal("TERM")?;
    let held = gate.hold()?;
    doors[0].until(503, "not ready: pre-stop\n")?;
    ensure_eq!(place.expect("told")?, format!("env TOKEN={}\n", SECRETS[2]), "the hook's variable");
    for door in &doors {
        no_answer_holds_a_secret(door)?;
    }
    drop(held);
    run.exits(5)
}

// ---- what may happen to it --------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Harm {
    Kill,
    Stop,
    SlowClients,
    Garbage,
}

const HARMS: [Harm; 4] = [Harm::Kill, Harm::Stop, Harm::SlowClients, Harm::Garbage];

impl Harm {
    /// Does it. What comes back keeps it up.
    fn done(self, run: &Run, door: &Door) -> Outcome<Vec<Box<dyn Stream>>> {
        let mut crowd = Vec::new();
        match self {
            Harm::Kill => sys::kill(observer(run)?, libc::SIGKILL)?,
            Harm::Stop => sys::kill(observer(run)?, libc::SIGSTOP)?,
            Harm::SlowClients => {
                for client in 0..300 {
                    let mut stream = door.connect()?;
                    // One that was parted from already may refuse it.
                    drop(stream.write_all(if client % 2 == 0 { b"GET /rea" } else { b"" }));
                    crowd.push(stream);
                }
            }
            Harm::Garbage => {
                for length in 0..100 {
                    let mut stream = door.connect()?;
                    drop(stream.write_all(&b"\x16\x03\x01\0\xff{}GET /\n\n".repeat(length * 10)));
                    crowd.push(stream);
                }
            }
        }
        Ok(crowd)
    }
}

/// How long after the harm the next good answer came.
fn answered_again(run: &Run, door: &Door, harm: Harm, body: &str) -> Outcome<Duration> {
    let status = if body == "ready\n" { 200 } else { 503 };
    let crowd = harm.done(run, door)?;
    let begun = Instant::now();
    door.until(status, body)?;
    let took = begun.elapsed();
    drop(crowd);
    ensure!(took < AGAIN + SLACK, "{harm:?} at {door:?}: answered again after {took:?}");
    Ok(took)
}

/// How often each harm is done; more often for figures.
fn times() -> usize {
    if figures() { 5 } else { 2 }
}

fn probes_are_answered_again(room: Room) -> Outcome {
    let place = Place::new();
    let doors = Door::both(&place)?;
    let gate = place.fifo("gate");
    let mut run = listening(room, &doors)
        .flags("--grace 60 --hook-timeout 50")
        .flag("--pre-stop", puppet_line(&format!("read={}", gate.path().display())))
        .app("block ready echo=TERM:5")
        .start()?;
    run.ready()?;
    doors[0].until(200, "ready\n")?;
    let mut held = None;
    for body in ["ready\n", "not ready: pre-stop\n"] {
        if body != "ready\n" {
            run.signal("TERM")?;
            held = Some(gate.hold()?);
        }
        for door in &doors {
            for harm in HARMS {
                let mut longest = Duration::ZERO;
                for _ in 0..times() {
                    let before = observer(&run)?;
                    longest = longest.max(answered_again(&run, door, harm, body)?);
                    // Who was stopped goes on; nobody takes its place.
                    let same = observer(&run)? == before;
                    ensure_eq!(same, harm != Harm::Kill, "the same observer after {harm:?}");
                }
                let kind = if matches!(door, Door::Tcp(_)) { "TCP" } else { "Unix" };
                let body = body.trim_end();
                figure(&format!("{room:?}, {kind}, {body}: {harm:?}: again within {longest:.1?}"));
            }
        }
    }
    drop(held);
    run.exits(5)?;
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    Ok(())
}

/// The whole budget long one harm follows the other.
fn neither_stop_nor_deadline_moves(room: Room) -> Outcome {
    for (app, code) in [("block ready echo", 137), ("block ready wait=TERM wait=USR1 exit=5", 5)] {
        let place = Place::new();
        let doors = Door::both(&place)?;
        let mut run = listening(room, &doors)
            .flags("--grace 2 --post-stop-timeout 1 --pre-stop true --on-stop true")
            .app(app)
            .start()?;
        run.ready()?;
        doors[0].until(200, "ready\n")?;
        let begun = Instant::now();
        run.signal("TERM")?;
        let mut harms = HARMS.into_iter().cycle();
        let mut done = 0;
        while run.ended()?.is_none() && done < 100_000 {
            // At the end there is nobody to be harmed any more.
            let children = proc::children(run.init()?);
            let observer = children.iter().find(|p| p.comm == "graceinit-obs" && p.state != 'Z');
            match (harms.next(), observer) {
                (Some(Harm::Kill), Some(one)) => drop(sys::kill(one.pid, libc::SIGKILL)),
                (Some(Harm::Stop), Some(one)) => drop(sys::kill(one.pid, libc::SIGSTOP)),
                (Some(Harm::SlowClients | Harm::Garbage), _) => {
                    let stream = doors[done % 2].connect();
                    drop(stream.map(|mut stream| stream.write_all(b"GET /debug/grac")));
                }
                _ => {}
            }
            done += 1;
            if code == 5 && done == 40 {
                run.signal("USR1")?;
            }
        }
        let took = begun.elapsed();
        ensure_eq!(run.wait()?, Status::Code(code), "the end after {done} harms");
        let grace = Duration::from_secs(2);
        ensure!(code == 5 || took >= grace, "ended after {took:?}, before the end of the budget");
        ensure!(took < grace + SLACK, "it took {took:?} with {done} harms");
        ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
        figure(&format!("{room:?}: code {code} after {took:.3?}, {done} harms, grace {grace:?}"));
    }
    Ok(())
}

/// Only the observer is let go on.
fn an_app_that_is_stopped_stays_so(room: Room) -> Outcome {
    let place = Place::new();
    let doors = Door::both(&place)?;
    let mut run = listening(room, &doors).app("block ready echo=TERM:5").start()?;
    let app = run.outer(run.ready()?.number("pid")?)?;
    doors[1].until(200, "ready\n")?;
    sys::kill(app, libc::SIGSTOP)?;
    proc::poll("a stopped app", || proc::process(app).filter(|app| app.state == 'T'))?;
    answered_again(&run, &doors[1], Harm::Stop, "ready\n")?;
    ensure_eq!(proc::process(app).map(|app| app.state), Some('T'), "the app's state");
    sys::kill(app, libc::SIGCONT)?;
    run.signal("TERM")?;
    run.exits(5)
}

/// What has changed is shown, once; then nobody wakes up, neither PID 1 nor the observer.
fn idle_means_no_wake_up(room: Room) -> Outcome {
    let place = Place::new();
    let doors = Door::both(&place)?;
    let mut run = listening(room, &doors).app("block ready echo=TERM:5").start()?;
    run.ready()?;
    doors[0].until(200, "ready\n")?;
    run.signal("USR1")?;
    proc::poll("the signal in the account", || {
        (doors[0].account().ok()?["counts"]["forwarded"]["USR1"] == 1).then_some(())
    })?;
    let switches = || -> Outcome<Vec<Option<String>>> {
        let pids = [run.init()?, observer(&run)?];
        Ok(pids.map(|pid| proc::status_field(pid, "voluntary_ctxt_switches")).to_vec())
    };
    // Until the last connection is closed; then there is no event to wait for.
    std::thread::sleep(Duration::from_millis(1500));
    let before = switches()?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(before.iter().all(Option::is_some), "no context switches: {before:?}");
    ensure_eq!(switches()?, before, "context switches of PID 1 and observer in five idle seconds");
    run.signal("TERM")?;
    run.exits(5)
}

both_rooms!(
    every_path_has_its_answer,
    a_stop_can_be_watched,
    environment_values_are_never_shown,
    probes_are_answered_again,
    neither_stop_nor_deadline_moves,
    an_app_that_is_stopped_stays_so,
    idle_means_no_wake_up,
);
