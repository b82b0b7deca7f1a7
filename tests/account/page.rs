//! The page for people, in a real browser: readable without a script, nothing from outside, and up to
//! date by itself while there is somebody to ask.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use graceinit::account::document::{
    self, Account, App, Attempt, Drain, DrainSample, Exit, Hook, Killed, Said, Stop, Stretch,
    Survivor,
};
use graceinit::account::page::{self, Edition};
use graceinit::account::time::{Span, Wall};

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Outcome, PATIENCE, Room, need};
use crate::{both_rooms, ensure, ensure_eq};

mod browser;

use browser::{Browser, address_of};

const S: u64 = 1_000_000;

const PYTHON: &str = "/usr/bin/python3";

/// A life that is ready.
fn ready() -> Account {
    let phase = |phase: &str, at: u64, took: Option<u64>| Stretch {
        phase: phase.to_owned(),
        at: Span(at * S),
        took: took.map(|took| Span(took * S)),
    };
    Account {
        v: document::VERSION,
        app: App { command: "shop --port 80".to_owned(), pid: Some(7), ..App::default() },
        phase: "ready".to_owned(),
        ready: true,
        began: Wall(1_700_000_000 * S),
        age: Span(100 * S),
        phases: vec![
            phase("starting", 0, Some(1)),
            phase("running", 1, Some(2)),
            phase("ready", 3, None),
        ],
        ..Account::default()
    }
}

/// The same in the middle of its stop.
fn stopping() -> Account {
    let mut account = ready();
    account.ready = false;
    account.phase = "pre-stop".to_owned();
    account.age = Span(101 * S);
    account.phases[2].took = Some(Span(97 * S));
    account.phases.push(Stretch { phase: "pre-stop".to_owned(), at: Span(100 * S), took: None });
    account.stop = Some(Stop {
        at: Span(100 * S),
        signal: "TERM".to_owned(),
        from: "outside".to_owned(),
        budget: Some(Span(10 * S)),
    });
    account.counts.stop_requests.insert("TERM".to_owned(), 1);
    account.hooks = vec![Hook {
        phase: "pre-stop".to_owned(),
        name: "deregister".to_owned(),
        attempts: vec![Attempt {
            n: 1,
            at: Span(100 * S),
            limit: Span(5 * S),
            took: Some(Span(S / 2)),
            outcome: Some("failed".to_owned()),
            status: Some("code 7".to_owned()),
            ..Attempt::default()
        }],
        outcomes: BTreeMap::from([("failed".to_owned(), 1)]),
        output: vec![Said {
            at: Span(100 * S),
            stream: "stderr".to_owned(),
            text: "<img src=x onerror=\"document.title='taken'\">".to_owned(),
        }],
        ..Hook::default()
    }];
    account
}

/// The same when all is over.
fn over() -> Account {
    let mut account = stopping();
    account.phase = "exit".to_owned();
    account.age = Span(111 * S);
    account.phases[3].took = Some(Span(10 * S));
    account.exit = Some(Exit { at: Span(111 * S), code: 137, ..Exit::default() });
    account.killed = Some(Killed { at: Span(110 * S), ..Killed::default() });
    account.survivors = vec![Survivor {
        pid: 7,
        command: "shop --port 80".to_owned(),
        state: "D".to_owned(),
        connections: Some(3),
        ..Survivor::default()
    }];
    let seen =
        |at: u64, busy| DrainSample { at: Span(at * S), busy, idle: 4, ..DrainSample::default() };
    account.drain = Some(Drain {
        at: Span(101 * S),
        ended: Some(Span(104 * S)),
        why: "quiet".to_owned(),
        looks: 3,
        last: Some(seen(104, 0)),
        series: vec![seen(101, 9), seen(102, 5), seen(104, 0)],
        ..Drain::default()
    });
    account
}

/// Base64 of SHA-256, as a Content-Security-Policy names what it allows.
fn hash(text: &str) -> Outcome<String> {
    const SCRIPT: &str = "import base64, hashlib, sys; sys.stdout.write(base64.b64encode(\
                          hashlib.sha256(sys.stdin.buffer.read()).digest()).decode())";
    let mut python = Command::new(PYTHON)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = python.stdin.take().ok_or_else(|| Fault::new("no stdin"))?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    Ok(String::from_utf8(python.wait_with_output()?.stdout)?)
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Outcome<&'a str> {
    let found = text.split_once(begin).and_then(|(_, tail)| tail.split_once(end));
    found.map(|(inside, _)| inside).ok_or_else(|| Fault::new(format!("no {begin}")))
}

#[test]
fn the_policy_allows_what_the_page_has() -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let live = page::render(&ready(), Edition::Live);
    let saved = page::render(&ready(), Edition::Saved);
    for (kind, tag) in [("style-src", "style"), ("script-src", "script")] {
        let inside = between(&live, &format!("<{tag}>"), &format!("</{tag}>"))?;
        let wanted = format!("{kind} 'sha256-{}'", hash(inside)?);
        ensure!(page::POLICY.contains(&wanted), "the policy has to have {wanted}");
        let without = tag == "script" && !saved.contains(kind);
        ensure!(without || saved.contains(&wanted), "so has a saved page");
    }
    Ok(())
}

/// The sections in their order.
fn sections(browser: &Browser) -> Outcome<Vec<String>> {
    let script = "return [...document.querySelectorAll('main > section')].map(s => s.id)";
    let ids = browser.run(script)?;
    let ids = ids.as_array().into_iter().flatten();
    Ok(ids.map(|id| id.as_str().unwrap_or_default().to_owned()).collect())
}

#[test]
fn a_saved_page_stands_alone() -> Outcome {
    if !browser::is_there() {
        return Ok(());
    }
    let place = Place::new();
    let report = serde_json::to_vec(&over())?;
    place.file("report.json", report, 0o644);
    let graceinit = Command::new(env!("CARGO_BIN_EXE_graceinit"))
        .arg("--render")
        .arg(place.path("report.json"))
        .output()?;
    ensure!(graceinit.status.success(), "{}", String::from_utf8_lossy(&graceinit.stderr));
    let file = place.file("stop.html", &graceinit.stdout, 0o644);
    let browser = Browser::start(true)?;
    browser.go(&address_of(&file))?;
    let want = ["time", "hooks", "drain", "survivors", "counts"];
    ensure_eq!(sections(&browser)?, want, "the sections");
    ensure_eq!(browser.text("[data-metric=exit_code]")?, "137", "the exit code");
    ensure_eq!(browser.text("[data-metric=stop_requests][data-signal=TERM]")?, "1", "requests");
    ensure!(browser.text("#hooks pre")?.contains("<img src=x"), "what a hook printed is text");
    let title = browser.run("return document.title")?;
    ensure_eq!(title, "exit 137 · shop · graceinit", "the title");
    // It would be white on white without its style, and as wide as its longest line.
    let styled =
        browser.run("return getComputedStyle(document.querySelector('.chart')).display")?;
    ensure_eq!(styled, "grid", "the style");
    let wide = browser.run(
        "return document.documentElement.scrollWidth > document.documentElement.clientWidth",
    )?;
    ensure_eq!(wide, false, "whether one has to scroll sideways");
    ensure_eq!(browser.complaints()?, Vec::<String>::new(), "complaints");
    ensure_eq!(browser.requests()?, [address_of(&file)], "requests");
    Ok(())
}

/// Answers connections on a port of its own, each in a thread: a browser opens some in advance, and
/// says nothing on them.
struct Port {
    number: u16,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    fn open(answer: impl Fn(TcpStream) + Clone + Send + 'static) -> Outcome<Port> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let number = listener.local_addr()?.port();
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let over = over.clone();
            move || {
                for stream in listener.incoming().flatten() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let answer = answer.clone();
                    std::thread::spawn(move || answer(stream));
                }
            }
        });
        Ok(Port { number, over, thread: Some(thread) })
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}/debug/graceinit", self.number)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.number)));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Serves the live page of an account that changes, as the observer does.
struct Server {
    port: Port,
    account: Arc<Mutex<Account>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(account: Account) -> Outcome<Server> {
        let account = Arc::new(Mutex::new(account));
        let asked = Arc::new(AtomicUsize::new(0));
        let shared = (account.clone(), asked.clone());
        let port = Port::open(move |stream| drop(answer(stream, &shared.0, &shared.1)))?;
        Ok(Server { port, account, asked })
    }

    fn address(&self) -> String {
        self.port.address()
    }

    fn set(&self, account: Account) {
        *self.account.lock().unwrap() = account;
    }
}

fn answer(
    mut stream: TcpStream,
    account: &Mutex<Account>,
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    if !head.starts_with(b"GET /debug/graceinit ") {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
    let page = page::render(&account.lock().unwrap(), Edition::Live);
    asked.fetch_add(1, Ordering::SeqCst);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: {}\r\nConnection: close\r\n\r\n{page}",
        page.len(),
        page::POLICY,
    )?;
    stream.shutdown(Shutdown::Write)
}

#[test]
fn a_live_page_follows_the_stop_and_keeps_what_it_saw_last() -> Outcome {
    if !browser::is_there() {
        return Ok(());
    }
    let server = Server::start(ready())?;
    let browser = Browser::start(true)?;
    browser.go(&server.address())?;
    browser.until("[data-metric=phase]", "ready")?;
    browser.run("window.same = true")?;
    server.set(stopping());
    browser.until("[data-metric=phase]", "pre-stop")?;
    browser.until("#hooks summary", "output")?;
    // What the reader has closed stays closed, and where they are they stay.
    browser.run(
        "document.querySelector('#hooks details').open = false; \
         document.body.style.paddingBottom = '4000px'; scrollTo(0, 300)",
    )?;
    let mut further = stopping();
    further.hooks[0].outcomes.insert("done".to_owned(), 1);
    server.set(further);
    browser.until("#hooks", "1 done, 1 failed")?;
    let open = browser.run("return document.querySelector('#hooks details').open")?;
    ensure_eq!(open, false, "whether it was opened");
    ensure_eq!(browser.run("return scrollY")?, 300, "the place on the page");
    ensure_eq!(browser.text("#lost")?, "", "a message");
    server.set(over());
    browser.until("[data-metric=exit_code]", "137")?;
    let title = browser.run("return document.title")?;
    ensure_eq!(title, "exit 137 · shop · graceinit", "the title");
    ensure_eq!(browser.complaints()?, Vec::<String>::new(), "complaints");
    drop(server);
    browser.until("#lost", "graceinit has gone")?;
    ensure_eq!(browser.text("[data-metric=exit_code]")?, "137", "what was seen last");
    ensure_eq!(browser.run("return window.same")?, true, "the same page all the time");
    Ok(())
}

/// The next life at the same address does not wipe out what is being read of this one.
#[test]
fn a_live_page_does_not_change_over_to_another_life() -> Outcome {
    if !browser::is_there() {
        return Ok(());
    }
    let server = Server::start(stopping())?;
    let browser = Browser::start(true)?;
    browser.go(&server.address())?;
    browser.until("[data-metric=phase]", "pre-stop")?;
    server.set(Account { began: Wall(1_700_000_500 * S), ..ready() });
    browser.until("#lost", "another one has begun")?;
    ensure_eq!(browser.text("[data-metric=phase]")?, "pre-stop", "the life that was read of");
    Ok(())
}

#[test]
fn without_scripts_it_is_read_and_renewed_all_the_same() -> Outcome {
    if !browser::is_there() {
        return Ok(());
    }
    let server = Server::start(stopping())?;
    let browser = Browser::start(false)?;
    browser.go(&server.address())?;
    for (selector, text) in [
        ("h1", "Stopping, in pre-stop"),
        ("[data-metric=phase]", "pre-stop"),
        ("#time .chart:last-child", "deregister"),
        ("#hooks pre", "<img src=x"),
        ("[data-metric=stop_requests]", "1"),
    ] {
        let seen = browser.text(selector)?;
        ensure!(seen.contains(text), "no {text:?} in {selector}, but {seen:?}");
    }
    let before = server.asked.load(Ordering::SeqCst);
    server.set(over());
    browser.until("[data-metric=exit_code]", "137")?;
    let asked = server.asked.load(Ordering::SeqCst) - before;
    ensure!(asked > 0, "it was not asked for again");
    Ok(())
}

/// As `kubectl port-forward` does: each connection goes on to the socket, as long as there is one.
fn forward(stream: TcpStream, socket: &PathBuf) -> std::io::Result<()> {
    let (mut there, mut back) = (stream.try_clone()?, stream);
    let mut up = UnixStream::connect(socket)?;
    let mut down = up.try_clone()?;
    std::thread::spawn(move || {
        drop(std::io::copy(&mut there, &mut up));
        drop(up.shutdown(Shutdown::Both));
    });
    drop(std::io::copy(&mut down, &mut back));
    back.shutdown(Shutdown::Both)
}

/// The observer's own page, through a stop and beyond.
fn the_page_of_a_real_life(room: Room) -> Outcome {
    if !browser::is_there() {
        return Ok(());
    }
    let place = Place::new();
    let (before, after) = (place.fifo("before"), place.fifo("after"));
    let mut run = Launch::graceinit(room)
        .flags("--grace 300 --post-stop-timeout 300 --hook-timeout 200")
        .flag("--listen", format!("unix:{}", place.text("sock")))
        .flag("--pre-stop", puppet_line(&format!("say=hello read={}", before.path().display())))
        .flag("--post-stop", puppet_line(&format!("read={}", after.path().display())))
        .app("block ready echo=TERM:5")
        .start()?;
    run.ready()?;
    let socket = place.path("sock");
    let port = Port::open(move |stream| drop(forward(stream, &socket)))?;
    let browser = Browser::start(true)?;
    browser.go(&port.address())?;
    browser.until("[data-metric=phase]", "ready")?;
    browser.until("#processes", "puppet")?;
    browser.run("window.same = true")?;
    run.signal("TERM")?;
    let held = before.hold()?;
    browser.until("[data-metric=phase]", "pre-stop")?;
    browser.until("#time", "so far of 5 min")?;
    browser.until("[data-metric=stop_requests][data-signal=TERM]", "1")?;
    browser.until("#hooks .runs", "runs")?;
    drop(held);
    let held = after.hold()?;
    browser.until("[data-metric=phase]", "post-stop")?;
    browser.until("#time", "exited with code 5")?;
    browser.until("[data-metric=hook_attempts][data-phase=pre-stop][data-outcome=done]", "1")?;
    ensure_eq!(browser.complaints()?, Vec::<String>::new(), "complaints");
    drop(held);
    run.exits(5)?;
    browser.until("#lost", "This is")?;
    ensure!(browser.text("#time")?.contains("exited with code 5"), "what was seen last");
    ensure_eq!(browser.run("return window.same")?, true, "the same page all the time");
    Ok(())
}

both_rooms!(the_page_of_a_real_life);
