//! `--probe`: the observer's client, for images without curl.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::observer::{Door, listening};
use crate::support::files::Place;
use crate::support::init::{Program, puppet_line};
use crate::support::{Launch, Outcome, Room};
use crate::{both_rooms, ensure, ensure_eq};

/// What a probe takes at most, and what a busy machine adds.
const LIMIT: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(3);

/// With these variables and nothing else, as a HEALTHCHECK is run.
fn healthcheck(question: &str, variables: &[(&str, &str)]) -> Outcome<(String, i32)> {
    let mut command = Command::new(Program::Graceinit.path());
    command.args(["--probe", question]).env_clear().envs(variables.iter().copied());
    answer_of(command)
}

fn probe<S: AsRef<OsStr>>(question: &str, flags: &[S]) -> Outcome<(String, i32)> {
    let mut command = Command::new(Program::Graceinit.path());
    command.args(["--probe", question]).args(flags).env_clear();
    answer_of(command)
}

fn answer_of(mut command: Command) -> Outcome<(String, i32)> {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = begun.elapsed();
    ensure!(took < LIMIT + SLACK, "it took {took:?}");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &complaint;
    Ok((said, output.status.code().unwrap_or(-1)))
}

fn said(text: &str, code: i32) -> (String, i32) {
    (text.to_owned(), code)
}

/// The container's variables are the same for both: nothing has to be told twice.
fn a_healthcheck_needs_variables_only(room: Room) -> Outcome {
    let place = Place::new();
    let (start, stop) = (place.fifo("start"), place.fifo("stop"));
    let [unix, tcp] = Door::both(&place)?;
    for (door, address) in
        [(&unix, unix.address()), (&tcp, tcp.address().replace("127.0.0.1", "[::]"))]
    {
        let hooks =
            [&start, &stop].map(|gate| puppet_line(&format!("read={}", gate.path().display())));
        let variables = [
            ("GRACEINIT_LISTEN", address.as_str()),
            ("GRACEINIT_PRE_START", &hooks[0]),
            ("GRACEINIT_PRE_STOP", &hooks[1]),
            ("GRACEINIT_GRACE", "60"),
            ("GRACEINIT_HOOK_TIMEOUT", "50"),
            ("GRACEINIT_READY", "fd:7"),
        ];
        let launch = variables
            .iter()
            .fold(Launch::graceinit(room), |launch, (name, value)| launch.env(name, value));
        let mut run =
            launch.command(["sh", "-c", "echo >&7; echo ready; exec sleep 600"]).start()?;
        door.until(503, "not ready: starting\n")?;
        ensure_eq!(healthcheck("ready", &variables)?, said("not ready: starting\n", 1), "ready");
        ensure_eq!(healthcheck("live", &variables)?, said("live\n", 0), "live");
        start.release()?;
        run.out.until("ready")?;
        door.until(200, "ready\n")?;
        ensure_eq!(healthcheck("ready", &variables)?, said("ready\n", 0), "ready");
        run.signal("TERM")?;
        let held = stop.hold()?;
        ensure_eq!(healthcheck("ready", &variables)?, said("not ready: pre-stop\n", 1), "ready");
        ensure_eq!(healthcheck("live", &variables)?, said("live\n", 0), "live");
        let (text, code) = healthcheck("status", &variables)?;
        ensure_eq!(code, 0, "status: {text}");
        for word in [
            "phase        pre-stop for ",
            "ready        no",
            "requested by TERM from ",
            " of 1m left",
        ] {
            ensure!(text.contains(word), "no {word:?} in {text}");
        }
        drop(held);
        run.wait()?;
        let (text, code) = healthcheck("live", &variables)?;
        ensure!(code == 1 && text.contains("unable to ask "), "after the end: {code} {text}");
    }
    Ok(())
}

/// The first one that answers; those before it cannot.
fn several_addresses(room: Room) -> Outcome {
    let place = Place::new();
    let doors = Door::both(&place)?;
    let name = format!("unix:@graceinit-{}-{room:?}", std::process::id());
    let mut run =
        listening(room, &doors).flag("--listen", &name).app("block ready echo=TERM:5").start()?;
    run.ready()?;
    doors[0].until(200, "ready\n")?;
    let nobody = format!("unix:{}", place.text("nobody"));
    for address in [doors[0].address(), doors[1].address(), name] {
        let flags = ["--listen", &nobody, "--listen", &address];
        ensure_eq!(probe("ready", &flags)?, said("ready\n", 0), "{address}");
    }
    run.signal("TERM")?;
    run.exits(5)
}

both_rooms!(a_healthcheck_needs_variables_only, several_addresses);

/// Every connection is treated like this, as long as the test lasts.
fn server(treat: impl Fn(&mut dyn Write) + Send + 'static) -> Outcome<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            drop(stream.read(&mut [0; 512]));
            treat(&mut stream);
        }
    });
    Ok(address)
}

#[test]
fn whoever_else_answers_is_not_believed() -> Outcome {
    let place = Place::new();
    let nobody = format!("unix:{}", place.text("nobody"));
    let garbage = server(|stream| drop(stream.write_all(b"SSH-2.0-x\x1b[2J\r\n\r\nready\n")))?;
    let other =
        server(|stream| drop(stream.write_all(b"HTTP/1.1 404 No\r\n\r\nwho are \x1byou?\n")))?;
    let rude = server(|_| {})?;
    let endless = server(|stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    })?;
    let cut =
        server(|stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nre")))?;
    // It takes connections, as its kernel does, and that is all.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let silent = (silent.local_addr()?.to_string(), silent);
    for (address, complaint) in [
        (&nobody, "No such file or directory"),
        (&garbage, "the answer is not HTTP/1"),
        (&other, "gave an answer that is not graceinit's: 404 who are ?you?\n"),
        (&rude, "it closed the connection without an answer"),
        (&endless, "the answer is too long"),
        (&cut, "the answer is cut off"),
        (&silent.0, "no answer within 2.0s"),
    ] {
        for question in ["ready", "live", "status"] {
            let (text, code) = probe(question, &["--listen", address])?;
            ensure_eq!(code, 1, "{question} of {address}: {text}");
            ensure!(text.contains(complaint), "no {complaint:?} in {text:?}");
            ensure!(text.lines().count() == 1 && !text.contains('\x1b'), "{text:?}");
        }
    }
    Ok(())
}

#[test]
fn mistakes() -> Outcome {
    let (text, code) = probe::<&str>("ready", &[])?;
    ensure_eq!(code, 125, "nobody to ask: {text}");
    for word in ["--listen", "GRACEINIT_LISTEN"] {
        ensure!(text.contains(word), "no {word} in {text}");
    }
    ensure_eq!(healthcheck("maybe", &[])?.1, 125, "an unknown question");
    ensure_eq!(probe("ready", &["--listen", "nonsense"])?.1, 125, "no address");
    Ok(())
}
