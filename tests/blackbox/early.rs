//! Signals that come before the app has a handler for them.

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Launch, Outcome, Room, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

/// To an app without a handler HUP is the end. It reads its configuration when it starts in any case.
fn a_reload_before_the_start_does_not_end_the_app(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let mut run = Launch::graceinit(room)
        .flags("-v --hook-timeout 60")
        .flag("--pre-start", puppet_line(&format!("read={}", gate.path().display())))
        .app("ready pause")
        .start()?;
    let held = gate.hold()?;
    run.signal("HUP")?;
    run.err.until("graceinit: info: dropping a signal: the app is not ready")?;
    drop(held);
    run.ready()?;
    run.signal("TERM")?;
    run.exits(143)
}

/// An app that says when it is ready gets it then.
fn a_reload_before_the_start_waits_for_readiness(room: Room) -> Outcome {
    let place = Place::new();
    let (gate, start) = (place.fifo("gate"), place.fifo("start"));
    let script =
        format!("block ready read={} kill=USR1:parent echo=TERM:3", start.path().display());
    let mut run = Launch::graceinit(room)
        .flags("-v --hook-timeout 60 --ready signal:USR1")
        .flag("--pre-start", puppet_line(&format!("read={}", gate.path().display())))
        .app(&script)
        .start()?;
    let held = gate.hold()?;
    run.signal("HUP")?;
    run.err.until("graceinit: info: keeping a signal")?;
    drop(held);
    let starting = start.hold()?;
    let app = run.outer(run.ready()?.number("pid")?)?;
    // A later signal has arrived, and HUP has not.
    run.signal("USR2")?;
    proc::poll("USR2", || {
        (proc::mask(app, "ShdPnd")? & sys::bit(libc::SIGUSR2) != 0).then_some(())
    })?;
    let pending = proc::mask(app, "ShdPnd").unwrap_or_default();
    ensure_eq!(pending & sys::bit(libc::SIGHUP), 0, "a HUP before readiness");
    drop(starting);
    run.out.until("got HUP ")?;
    run.signal("TERM")?;
    run.exits(3)
}

/// What asks for the end does so at any time.
fn a_quit_before_the_start_ends_the_app(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let mut run = Launch::graceinit(room)
        .given("limit=4:0:0")
        .flags("-v --hook-timeout 60")
        .flag("--pre-start", puppet_line(&format!("read={}", gate.path().display())))
        .app("ready pause")
        .start()?;
    let held = gate.hold()?;
    run.signal("QUIT")?;
    run.err.until("graceinit: info: keeping a signal")?;
    drop(held);
    run.exits(131)
}

/// A hook that a second request has killed did not time out.
fn a_hook_that_a_second_request_kills_is_said_to_be_killed_by_it(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let mut run = Launch::graceinit(room)
        .flags("--grace 60 --hook-timeout 50 --stop-again kill")
        .flag("--pre-stop", puppet_line(&format!("read={}", gate.path().display())))
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    let _held = gate.hold()?;
    run.signal("TERM")?;
    run.exits(137)?;
    run.err.find("pre-stop hook killed by a second stop request")?;
    // Killed at once: it was never asked.
    ensure_eq!(run.out.count("got TERM"), 0, "stop signals");
    Ok(())
}

/// Each run leaves a process behind that keeps the pipes of its hook open.
fn reload_hooks_that_leave_processes_behind_cost_no_descriptors(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("-v --grace 60")
        .flag("--on-reload", "sh -c 'sleep 1000 & echo reloaded'")
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    let init = run.init()?;
    let mut open = Vec::new();
    for _ in 0..12 {
        run.signal("HUP")?;
        run.err.until("graceinit: info: [on-reload on-reload-1 stdout] reloaded")?;
        run.out.expect("got HUP ")?;
        open.push(std::fs::read_dir(format!("/proc/{init}/fd"))?.count());
    }
    ensure!(open.last() <= open.get(1), "descriptors after each reload: {open:?}");
    run.signal("TERM")?;
    run.exits(3)
}

both_rooms!(
    a_reload_before_the_start_does_not_end_the_app,
    a_reload_before_the_start_waits_for_readiness,
    a_quit_before_the_start_ends_the_app,
    a_hook_that_a_second_request_kills_is_said_to_be_killed_by_it,
    reload_hooks_that_leave_processes_behind_cost_no_descriptors,
);
