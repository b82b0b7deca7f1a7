//! Forwarding: which signals, to whom, how often, rewritten to what.

use std::time::Instant;

use super::{Name, Seen, Subject, pairs};
use crate::support::signals::{forwardable, name_of};
use crate::support::{Launch, Line, Outcome, PATIENCE, Room, Run, Status, proc, sys};
use crate::{ensure, ensure_eq};

/// Flags and variables that choose who receives a signal.
fn targets(name: Name) -> &'static [(&'static str, &'static str, &'static str)] {
    match name {
        Name::Tini => &[
            ("", "", ""),
            ("-g", "", ""),
            ("", "TINI_KILL_PROCESS_GROUP", ""),
            ("", "DUMB_INIT_SETSID", "0"),
        ],
        Name::DumbInit => &[
            ("", "", ""),
            ("-c", "", ""),
            ("--single-child", "", ""),
            ("", "DUMB_INIT_SETSID", "0"),
            ("", "DUMB_INIT_SETSID", "1"),
            ("", "DUMB_INIT_SETSID", ""),
        ],
        Name::Catatonit => &[("", "", ""), ("-g", "", ""), ("", "TINI_KILL_PROCESS_GROUP", "1")],
    }
}

fn with(launch: Launch, variable: &str, value: &str) -> Launch {
    if variable.is_empty() { launch } else { launch.env(variable, value) }
}

/// Orders of job control, sent by a process. They are tried one by one: a CONT takes back those that are
/// still pending.
const JOB: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
/// The kernel hands out the lowest number first: after this one nothing comes.
const LAST: i32 = 64;

fn others() -> impl Iterator<Item = i32> {
    forwardable().filter(|signal| !JOB.contains(signal) && ![libc::SIGCONT, LAST].contains(signal))
}

/// What came, of those that were sent; each must have come once.
fn came(run: &Run, who: &str) -> String {
    let mut missing = Vec::new();
    let mut came = 0;
    for signal in others() {
        let name = name_of(signal);
        match run.out.count(&format!("{who}: got {name} ")) {
            0 => missing.push(name),
            1 => came += 1,
            more => return format!("{name} {more} times"),
        }
    }
    match (came, &missing[..]) {
        (0, _) => "none".to_owned(),
        (_, []) => "all".to_owned(),
        _ => format!("all but {}", missing.join(" ")),
    }
}

/// What an order of job control comes to at the app: it is told, not told, or frozen.
fn order(run: &Run, app: i32, signal: i32, marker: i32) -> Outcome<&'static str> {
    run.send(signal)?;
    run.send(marker)?;
    let count = |signal| run.out.count(&format!("app: got {} ", name_of(signal)));
    // It came once before, with all others.
    let through = || count(marker) == 2;
    let outcome = proc::poll("an order obeyed", || {
        let frozen = proc::process(app).is_some_and(|app| app.state == 'T');
        match (through(), frozen) {
            (true, _) if count(signal) == 1 => Some("told"),
            (true, _) => Some("not told"),
            (false, true) => Some("frozen"),
            (false, false) => None,
        }
    })?;
    // Again and again: dumb-init may still be at the signal that froze it, and CONT comes first in its queue.
    proc::poll("the app going on", || {
        drop(run.send(libc::SIGCONT));
        through().then_some(())
    })?;
    Ok(outcome)
}

/// Each of 1..64, sent by a process: who gets it, the app alone or its group?
fn who_gets_a_signal(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    for (flags, variable, value) in targets(subject.name) {
        let launch = with(subject.launch(Room::PidNs).flags(flags), variable, value);
        let run = launch
            .app("name=app block spawn=same:name=child;block;ready;echo ready echo")
            .start()?;
        let child = run.outer(run.out.expect("child: ready")?.number("pid")?)?;
        let app = run.outer(run.out.expect("app: ready")?.number("pid")?)?;
        for signal in others() {
            run.send(signal)?;
        }
        run.send(LAST)?;
        run.out.find("app: got RTMAX")?;
        // The child is sent it from here, once the app has it.
        sys::kill(child, LAST)?;
        run.out.find("child: got RTMAX")?;
        let what = match variable.is_empty() {
            true => format!("[{flags}]"),
            false => format!("[{variable}={value}]"),
        };
        seen.note(format!("{what} app"), came(&run, "app"));
        seen.note(format!("{what} child"), came(&run, "child"));
        for (signal, marker) in JOB.into_iter().zip([35, 36, 37]) {
            seen.note(format!("{what} {}", name_of(signal)), order(&run, app, signal, marker)?);
        }
    }
    Ok(seen)
}

/// What a signal comes to: what the app is told before the marker behind it.
fn told(run: &Run, signal: i32, marker: i32) -> Outcome<String> {
    run.send(signal)?;
    run.send(marker)?;
    let mut told = Vec::new();
    loop {
        let line = run.out.next()?;
        let name = of(&line).to_owned();
        if name == name_of(marker) {
            return Ok(if told.is_empty() { "nothing".to_owned() } else { told.join(" ") });
        }
        ensure!(line.0.starts_with("got "), "{line:?} from the app");
        told.push(name);
    }
}

fn of(line: &Line) -> &str {
    line.rest().split(' ').next().unwrap_or_default()
}

/// No stop in phases, no signal kept back: TERM is a signal like any other, as often as it comes.
fn term_comes_each_time(subject: Subject) -> Outcome<Seen> {
    const SENT: [i32; 8] = [
        libc::SIGTERM,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGQUIT,
        libc::SIGTERM,
    ];
    let mut run = subject.launch(Room::PidNs).app("block ready echo=RTMAX:9").start()?;
    run.ready()?;
    let mut seen = Seen::default();
    for (index, signal) in SENT.into_iter().enumerate() {
        seen.note(format!("{index} {}", name_of(signal)), told(&run, signal, 35 + index as i32)?);
    }
    run.send(64)?;
    seen.note("the end", run.wait()?.to_string());
    Ok(seen)
}

/// dumb-init's table. tini and catatonit have none; under their names the flag is graceinit's.
fn rewriting(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    if subject.name != Name::DumbInit {
        return Ok(seen);
    }
    let cases: &[(&str, &[i32])] = &[
        ("", &[15, 3, 18, 2]),
        ("-r 15:2", &[15, 3, 18, 2]),
        ("-r 15:2 -r 2:15 -r 3:3", &[15, 3, 18, 2]),
        ("-r 15:2 -r 2:3", &[15, 2]),
        ("-r 15:2 -r 15:3", &[15]),
        ("-r 15:3 -r 2:0 -r 28:0", &[15, 2, 28, 1]),
        ("-r 15:0", &[15, 15, 1]),
        ("--rewrite 1:31 --rewrite=31:1", &[1, 31]),
        ("-c -r 10:12", &[10, 12]),
    ];
    for (flags, sent) in cases {
        let run = subject.launch(Room::PidNs).flags(flags).app("block ready echo").start()?;
        run.ready()?;
        for (index, signal) in sent.iter().enumerate() {
            let told = told(&run, *signal, 35 + index as i32)?;
            seen.note(format!("[{flags}] {index} {}", name_of(*signal)), told);
        }
    }
    let mut run = subject.launch(Room::PidNs).flags("-r 15:9").app("block ready echo").start()?;
    run.ready()?;
    run.signal("TERM")?;
    seen.note("[-r 15:9] the end", run.wait()?.to_string());
    Ok(seen)
}

/// A stop that the app answers, one that ends it, and codes that are fine.
fn how_a_stop_ends(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    let mut cases =
        vec![("", "block ready echo=TERM:5"), ("", "ready pause"), ("", "block ready echo=TERM:0")];
    if subject.name == Name::Tini {
        cases.extend([
            ("-e 143", "ready pause"),
            ("-e 5", "block ready echo=TERM:5"),
            ("-e 4 -e 5", "block ready echo=TERM:5"),
            ("-e 6", "block ready echo=TERM:5"),
            ("-e 0", "block ready echo=TERM:0"),
        ]);
    }
    for (flags, script) in cases {
        for signal in ["TERM", "INT"] {
            let script = script.replace("TERM", signal);
            let mut run = subject.launch(Room::PidNs).flags(flags).app(&script).start()?;
            run.ready()?;
            run.signal(signal)?;
            seen.note(format!("[{flags}] {signal}: {script}"), run.wait()?.to_string());
        }
    }
    Ok(seen)
}

pairs!(who_gets_a_signal, term_comes_each_time, rewriting, how_a_stop_ends);

/// The flag and names of signals are graceinit's, under every name.
#[test]
fn rewriting_by_names_is_understood_under_every_name() -> Outcome {
    for name in Name::ALL {
        let subject = Subject { name, program: name.ours() };
        let mut run = subject
            .launch(Room::Plain)
            .flags("-r TERM:RTMIN+3 --rewrite SIGHUP:0")
            .app("block ready echo=RTMIN+3:4")
            .start()?;
        run.ready()?;
        run.signal("HUP")?;
        run.signal("TERM")?;
        ensure_eq!(run.wait()?, Status::Code(4), "{name:?}");
        ensure_eq!(run.out.count("got HUP"), 0, "HUP under {name:?}");
    }
    Ok(())
}

/// One that is stopped is continued for a request to end, however late we learn of the stop: TERM comes before
/// CHLD where both have waited.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_stop_that_waits_with_the_request_counts() -> Outcome {
    for name in Name::ALL {
        let subject = Subject { name, program: name.ours() };
        let mut run = subject.launch(Room::Plain).app("block ready echo=TERM:3").start()?;
        let (app, init) = (run.outer(run.ready()?.number("pid")?)?, run.init()?);
        sys::hold(init)?;
        stop(app)?;
        run.signal("TERM")?;
        sys::let_go(init)?;
        ensure_eq!(run.wait()?, Status::Code(3), "{name:?}");
    }
    Ok(())
}

/// And so it is at the moment at which it is seen to be stopped, when we are not told yet.
#[test]
fn a_stop_counts_as_soon_as_it_is_seen() -> Outcome {
    let subject = Subject { name: Name::DumbInit, program: Name::DumbInit.ours() };
    let run = subject.launch(Room::Plain).app("block ready echo").start()?;
    let app = run.outer(run.ready()?.number("pid")?)?;
    for _ in 0..300 {
        stop(app)?;
        run.signal("TERM")?;
        run.out.until("got TERM ")?;
    }
    Ok(())
}

/// Stops a process and waits only until that is seen.
fn stop(pid: i32) -> Outcome {
    sys::kill(pid, libc::SIGSTOP)?;
    let end = Instant::now() + PATIENCE;
    while proc::process(pid).is_none_or(|process| process.state != 'T') {
        ensure!(Instant::now() < end, "{pid} does not stop");
    }
    Ok(())
}
