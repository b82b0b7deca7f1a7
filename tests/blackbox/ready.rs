//! Readiness: each condition, all of them together, what hangs on it, and what happens when it does
//! not come. (The notify socket has tests of its own.)

use std::path::Path;
use std::time::Duration;

use crate::support::files::Place;
use crate::support::init::{puppet, puppet_line};
use crate::support::port::free_port;
use crate::support::{Launch, Outcome, Room, Run};
use crate::{both_rooms, ensure, ensure_eq};

/// A graceinit whose on-ready hook writes `ready` to the file `notes`.
fn launch(room: Room, place: &Place) -> Launch {
    let hook = puppet_line(&format!("append={}:ready", place.text("notes")));
    Launch::graceinit(room).flags("-v --grace 60s").flag("--on-ready", hook)
}

fn not_ready_yet(place: &Place) -> Outcome {
    ensure_eq!(place.read("notes"), None, "nothing is ready yet");
    Ok(())
}

fn stops(run: &mut Run) -> Outcome {
    run.signal("TERM")?;
    run.exits(3)
}

/// It is ready, its hook has run, and TERM ends it.
fn gets_ready_and_stops(run: &mut Run, place: &Place) -> Outcome {
    run.err.until("graceinit: info: the app is ready")?;
    ensure_eq!(place.wait_for("notes")?, "ready\n", "the on-ready hook");
    stops(run)
}

/// The app waits for the test before it says that it is ready.
fn condition(room: Room, when: &str, gate_then: &str) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let script = format!("block ready read={} {gate_then} echo=TERM:3", gate.path().display());
    let mut run = launch(room, &place).flag("--ready", when).app(&script).start()?;
    let holding = gate.hold()?;
    run.ready()?;
    run.err.until("graceinit: info: entering phase=running")?;
    not_ready_yet(&place)?;
    drop(holding);
    gets_ready_and_stops(&mut run, &place)
}

fn a_signal_of_the_app(room: Room) -> Outcome {
    condition(room, "signal:USR1", "kill=USR1:parent")
}

fn a_file(room: Room) -> Outcome {
    let place = Place::new();
    let file = place.text("up");
    condition(room, &format!("file:{file}"), &format!("write={file}:1"))
}

fn a_program(room: Room) -> Outcome {
    let place = Place::new();
    let file = place.text("up");
    condition(room, &format!("exec:test -e {file}"), &format!("write={file}:1"))
}

/// The first one is graceinit's; whatever comes later is the app's again.
fn the_signal_of_readiness_is_taken_once(room: Room) -> Outcome {
    let place = Place::new();
    let script = "block ready kill=USR1:parent echo=TERM:3";
    let mut run = launch(room, &place).flag("--ready", "signal:USR1").app(script).start()?;
    run.ready()?;
    run.err.until("graceinit: info: the app is ready")?;
    run.signal("USR1")?;
    run.out.until("got USR1")?;
    ensure_eq!(run.out.count("got USR1"), 1, "passed on once");
    stops(&mut run)
}

/// As for s6: a newline on a descriptor that only the app has.
fn a_newline_on_a_descriptor(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let script = format!(
        "read x < {}; printf 'not yet'; printf 'not yet' >&7; echo >&7; exec 7>&-; exec {} block ready echo=TERM:3",
        gate.path().display(),
        puppet().display()
    );
    let run = launch(room, &place).flag("--ready", "fd:7").command(["sh", "-c", &script]);
    let mut run = run.start()?;
    let holding = gate.hold()?;
    run.err.until("graceinit: info: entering phase=running")?;
    not_ready_yet(&place)?;
    drop(holding);
    run.err.until("graceinit: info: the app is ready")?;
    ensure_eq!(place.wait_for("notes")?, "ready\n", "the on-ready hook");
    run.out.until("not yetready").map(drop)?;
    stops(&mut run)
}

/// It can never get ready that way any more, and that is worth a word.
fn a_descriptor_that_is_closed_without_a_newline(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let script = format!("exec 7>&-; read x < {}; exit 0", gate.path().display());
    let mut run =
        launch(room, &place).flag("--ready", "fd:7").command(["sh", "-c", &script]).start()?;
    run.err.until(
        "graceinit: warn: the app has closed the descriptor of --ready fd without a newline",
    )?;
    not_ready_yet(&place)?;
    gate.release()?;
    run.exits(0)
}

/// Who listens later is ready later; a port that nobody listens on costs no more than a look now and
/// then.
fn a_port(room: Room) -> Outcome {
    let place = Place::new();
    let server = puppet().with_file_name("server");
    let port = free_port()?;
    let gate = place.fifo("gate");
    let script = format!("read x < {}; exec {} {port}", gate.path().display(), server.display());
    let mut run = launch(room, &place)
        .flag("--ready", format!("tcp:{port}"))
        .flag("--ready", format!("http://127.0.0.1:{port}/"))
        .command(["sh", "-c", &script])
        .start()?;
    let holding = gate.hold()?;
    run.err.until("graceinit: info: entering phase=running")?;
    not_ready_yet(&place)?;
    drop(holding);
    run.err.until("graceinit: info: the app is ready")?;
    ensure_eq!(place.wait_for("notes")?, "ready\n", "the on-ready hook");
    run.signal("TERM")?;
    run.exits(0)
}

/// All have to hold.
fn several_conditions(room: Room) -> Outcome {
    let place = Place::new();
    let (one, two) = (place.text("one"), place.text("two"));
    let gate = place.fifo("gate");
    let script = format!(
        "block ready write={one}:1 read={} write={two}:1 echo=TERM:3",
        gate.path().display()
    );
    let mut run = launch(room, &place)
        .flags("--log-level debug --ready after:50ms")
        .flag("--ready", format!("file:{one}"))
        .flag("--ready", format!("file:{two}"))
        .app(&script)
        .start()?;
    let holding = gate.hold()?;
    run.ready()?;
    run.err.until(&format!("graceinit: debug: condition holds condition=file:{one}"))?;
    not_ready_yet(&place)?;
    drop(holding);
    gets_ready_and_stops(&mut run, &place)
}

/// The file is there exactly while the app is ready; one that an earlier life has left is not.
fn the_ready_file(room: Room) -> Outcome {
    let place = Place::new();
    let stale = place.file("ready", "stale", 0o644);
    let gate = place.fifo("gate");
    let hook = puppet_line(&format!("complain=pre-stop read={}", place.text("stop-gate")));
    let stop_gate = place.fifo("stop-gate");
    let script = format!("block ready read={} kill=USR1:parent echo=TERM:3", gate.path().display());
    let mut run = launch(room, &place)
        .flag("--ready", "signal:USR1")
        .flag("--ready-file", &stale)
        .flag("--pre-stop", hook)
        .app(&script)
        .start()?;
    let holding = gate.hold()?;
    run.ready()?;
    ensure!(!stale.exists(), "the file of an earlier life is gone before the app runs");
    drop(holding);
    let there = |path: &Path, wanted: bool| {
        crate::support::proc::poll("the ready file", || (path.exists() == wanted).then_some(()))
    };
    there(&stale, true)?;
    run.signal("TERM")?;
    let stopping = stop_gate.hold()?;
    // While the pre-stop hook still runs.
    there(&stale, false)?;
    drop(stopping);
    run.exits(3)
}

/// A crash is no readiness either.
fn the_ready_file_goes_with_the_app(room: Room) -> Outcome {
    let place = Place::new();
    let file = place.path("ready");
    let mut run = launch(room, &place)
        .flag("--ready-file", &file)
        .flags("-vvv")
        .app("block ready wait=USR1 exit=5")
        .start()?;
    run.ready()?;
    crate::support::proc::poll("the ready file", || file.exists().then_some(()))?;
    run.signal("USR1")?;
    run.exits(5)?;
    ensure!(!file.exists(), "the file is gone");
    // What makes and removes the file is no child of the tree, which a stop would wait for.
    let reaped =
        run.err.so_far().iter().filter(|line| line.0.contains("reaped the helper")).count();
    ensure_eq!(reaped, 0, "helpers that were children");
    Ok(())
}

fn an_app_that_does_not_get_ready(room: Room) -> Outcome {
    let place = Place::new();
    let after = format!("sh -c 'echo $GRACEINIT_REASON >> {}'", place.text("notes"));
    let mut run = launch(room, &place)
        .flags("--ready file:/nowhere --ready signal:USR2 --ready-timeout 150ms")
        .flag("--post-stop", after)
        .app("block ready echo=TERM:0")
        .start()?;
    run.exits(124)?;
    let line = run.err.find("graceinit: error: the app is not ready in time: stopping it")?;
    ensure!(line.0.contains("missing=file:/nowhere, signal:USR2"), "what is missing: {}", line.0);
    let answers = "answers=file:/nowhere: no such file; signal:USR2: no USR2 came";
    ensure!(line.0.contains(answers), "why it is missing: {}", line.0);
    ensure_eq!(run.out.count("got TERM"), 1, "it was asked to stop");
    ensure_eq!(place.expect("notes")?, "not-ready\n", "the reason, and no on-ready hook");
    Ok(())
}

/// Each kind of probe tells what its last look said.
fn why_it_does_not_get_ready(room: Room) -> Outcome {
    let place = Place::new();
    let port = free_port()?;
    let fails =
        place.file("fails", "#!/bin/sh\necho one; echo no such database >&2; exit 3\n", 0o755);
    let hangs = place.file("hangs", "#!/bin/sh\necho hm; exec sleep 60\n", 0o755);
    let mut run = launch(room, &place)
        .flags(&format!("--ready tcp:{port} --ready http://127.0.0.1:{port}/up --drain {port}"))
        .flag("--ready", format!("exec:{}", fails.display()))
        .flag("--ready", format!("exec:{}", hangs.display()))
        .flags("--ready exec:/no/such/program --log-level debug --hook-timeout 2s")
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    for (condition, answer) in [
        (format!("tcp:{port}"), "Connection refused"),
        (format!("http://127.0.0.1:{port}/up"), "Connection refused"),
        (format!("exec:{}", fails.display()), "exit code 3: no such database"),
        ("exec:/no/such/program".to_owned(), "unable to execute /no/such/program: No such file"),
        ("--drain".to_owned(), &format!("nothing listens on {port}")),
        (format!("exec:{}", hangs.display()), "no answer within 2s: hm"),
    ] {
        run.err.find(&format!(
            "graceinit: debug: a condition does not hold: waiting condition={condition} answer={answer}"
        ))?;
    }
    stops(&mut run)
}

/// After ten seconds a warning says what is missing; the endpoints and the status say the same.
fn an_app_that_is_late_is_warned_of(room: Room) -> Outcome {
    let place = Place::new();
    let (port, listen) = (free_port()?, format!("unix:{}", place.text("sock")));
    let script = "#!/bin/sh\nprintf 'no\\033[2J\\nnever\\n'; exit 1\n";
    let never = place.file("never", script, 0o755);
    let mut run = launch(room, &place)
        .flags(&format!("--drain {port} --listen {listen}"))
        .flag("--ready", format!("exec:{}", never.display()))
        .app("block ready echo=TERM:3")
        .patience(Duration::from_secs(60))
        .start()?;
    let line = run.err.until("graceinit: warn: the app is not ready yet: still waiting")?.0;
    let answers = format!(
        "exec:{}: exit code 1: never; nothing listens on {port} (--drain)",
        never.display()
    );
    ensure!(line.contains(&format!("answers={answers}")), "why: {line}");
    let ask = |question: &str| {
        let mut probe = std::process::Command::new(env!("CARGO_BIN_EXE_graceinit"));
        let output = probe.args(["--probe", question, "--listen", &listen]).output()?;
        Ok::<_, crate::support::Fault>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ensure_eq!(ask("ready")?, format!("not ready: running: {answers}\n"), "the endpoint");
    let status = ask("status")?;
    ensure!(status.contains(&format!("waits for    {answers}\n")), "the status: {status}");
    ensure_eq!(run.err.count("graceinit: warn: the app is not ready yet"), 1, "warned once");
    stops(&mut run)
}

/// A stop that comes earlier is a stop like any other.
fn a_stop_before_it_is_ready(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = launch(room, &place)
        .flags("--ready file:/nowhere --drain-delay 30s")
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    stops(&mut run)?;
    not_ready_yet(&place)?;
    ensure!(run.err.find("draining: the app keeps serving").is_err(), "nothing is drained");
    Ok(())
}

/// A HUP for an app that is not ready waits with the on-reload hooks.
fn reloads_wait_for_readiness(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let hook = puppet_line(&format!("append={}:reload", place.text("notes")));
    let script = format!("block ready read={} kill=USR1:parent echo=TERM:3", gate.path().display());
    let mut run = launch(room, &place)
        .flags("--ready signal:USR1")
        .flag("--on-reload", hook)
        .app(&script)
        .start()?;
    let holding = gate.hold()?;
    run.ready()?;
    run.signal("HUP")?;
    run.err.until("graceinit: info: reload requested")?;
    not_ready_yet(&place)?;
    drop(holding);
    run.out.until("got HUP")?;
    ensure_eq!(place.expect("notes")?, "ready\nreload\n", "the order");
    stops(&mut run)
}

/// One that hangs is killed at its limit and tried again; it ends with the stop at the latest.
fn a_probe_that_hangs(room: Room) -> Outcome {
    let place = Place::new();
    let probe = puppet_line(&format!("append={}:probe pause", place.text("probes")));
    let mut run = launch(room, &place)
        .flags("--hook-timeout 50ms")
        .flag("--ready", format!("exec:{probe}"))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    crate::support::proc::poll("a second attempt", || {
        place.read("probes").filter(|text| text.lines().count() >= 2)
    })?;
    stops(&mut run)?;
    ensure_eq!(run.survivors(), Vec::<i32>::new(), "nobody is left");
    Ok(())
}

both_rooms!(
    a_signal_of_the_app,
    a_file,
    a_program,
    the_signal_of_readiness_is_taken_once,
    a_newline_on_a_descriptor,
    a_descriptor_that_is_closed_without_a_newline,
    a_port,
    several_conditions,
    the_ready_file,
    the_ready_file_goes_with_the_app,
    an_app_that_does_not_get_ready,
    why_it_does_not_get_ready,
    an_app_that_is_late_is_warned_of,
    a_stop_before_it_is_ready,
    reloads_wait_for_readiness,
    a_probe_that_hangs,
);
