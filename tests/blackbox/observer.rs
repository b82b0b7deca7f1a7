//! The observer: probes are answered through the whole life, and whatever happens to the one who
//! answers them, PID 1 goes its way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Outcome, PATIENCE, Room, Run, Status, need, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

/// A machine that is busy with other tests may be so much later than the deadline.
const SLACK: Duration = Duration::from_secs(3);

fn listening(room: Room, place: &Place) -> Launch {
    Launch::graceinit(room).flag("--listen", format!("unix:{}", place.text("sock")))
}

fn connect(place: &Place) -> Outcome<UnixStream> {
    let stream = UnixStream::connect(place.path("sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The status and the body of what `path` is answered with.
pub(super) fn ask(place: &Place, path: &str) -> Outcome<(u16, String)> {
    let mut stream = connect(place)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| Fault::new(format!("no answer: {answer:?}")))?;
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| Fault::new(format!("no status: {head:?}")))?;
    Ok((status, body.to_string()))
}

/// Until a probe is answered so.
fn until(place: &Place, status: u16, body: &str) -> Outcome {
    proc::poll(&format!("{status} {body:?}"), || {
        let answer = ask(place, "/readyz").ok()?;
        (answer == (status, body.to_string())).then_some(())
    })
}

fn observer(run: &Run) -> Outcome<i32> {
    let init = run.init()?;
    proc::poll("an observer", || {
        let children = proc::children(init).into_iter();
        children.filter(|p| p.comm == "graceinit-obs" && p.state != 'Z').map(|p| p.pid).next()
    })
}

fn readiness_follows_the_life(room: Room) -> Outcome {
    let place = Place::new();
    let (start, stop) = (place.fifo("start"), place.fifo("stop"));
    let mut run = listening(room, &place)
        .flag("--pre-start", puppet_line(&format!("read={}", start.path().display())))
        .flag("--pre-stop", puppet_line(&format!("read={}", stop.path().display())))
        .flags("--grace 60 --hook-timeout 60")
        .app("block ready echo=TERM:5")
        .start()?;
    until(&place, 503, "not ready: starting\n")?;
    start.release()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    ensure_eq!(ask(&place, "/livez")?, (200, "live\n".to_string()), "liveness");
    run.signal("TERM")?;
    let held = stop.hold()?;
    // The hook runs, so the balancer that it tells of the stop must not hear otherwise from us.
    ensure_eq!(ask(&place, "/readyz")?, (503, "not ready: pre-stop\n".to_string()), "readiness");
    ensure_eq!(ask(&place, "/livez")?, (200, "live\n".to_string()), "liveness");
    drop(held);
    run.exits(5)?;
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    ensure!(!place.path("sock").exists(), "the socket's file is still there");
    Ok(())
}

/// A drain keeps serving, and the stop signal ends that.
fn work_is_accepted_until_the_stop_signal(room: Room) -> Outcome {
    let place = Place::new();
    let (stop, last) = (place.fifo("stop"), place.fifo("last"));
    let mut run = listening(room, &place)
        .flag("--pre-stop", puppet_line(&format!("read={}", stop.path().display())))
        .flag("--on-stop", puppet_line(&format!("read={}", last.path().display())))
        .flags("--grace 60 --hook-timeout 50 --post-stop-timeout 1")
        .app("block ready wait=TERM wait=USR1 exit=5")
        .start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let serving = || ask(&place, "/servez");
    ensure_eq!(serving()?, (200, "serving\n".to_string()), "before the stop");
    run.signal("TERM")?;
    let held = stop.hold()?;
    ensure_eq!(serving()?, (200, "serving\n".to_string()), "in pre-stop");
    drop(held);
    let held = last.hold()?;
    ensure_eq!(ask(&place, "/readyz")?.0, 503, "readiness");
    ensure_eq!(serving()?, (200, "serving\n".to_string()), "in on-stop");
    drop(held);
    proc::poll("the stop signal", || {
        (serving().ok()? == (503, "not serving: stopping\n".to_string())).then_some(())
    })?;
    run.out.expect("got TERM ")?;
    run.signal("USR1")?;
    run.exits(5)
}

/// The app is asked when a client asks, by the observer: PID 1 does not wake up for it.
fn health_is_asked_without_waking_pid_1(room: Room) -> Outcome {
    let place = Place::new();
    let (health, live) = (place.text("health"), place.text("live"));
    place.file("health", "", 0o644);
    place.file("live", "", 0o644);
    let mut run = listening(room, &place)
        .flags(&format!("--health file:{health} --live file:{live}"))
        .app("block ready echo=TERM:5")
        .start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let init = run.init()?;
    let switches = || proc::status_field(init, "voluntary_ctxt_switches");
    // Not at once: PID 1 still sends the account of its start.
    proc::poll("fifty probes without a wake-up of PID 1", || {
        let before = switches();
        let answers =
            (0..50).map(|_| Some((ask(&place, "/readyz").ok()?.0, ask(&place, "/livez").ok()?.0)));
        let right = answers.into_iter().all(|answer| answer == Some((200, 200)));
        (right && switches() == before).then_some(())
    })?;
    let before = switches();
    std::fs::remove_file(&health)?;
    until(&place, 503, &format!("not ready: unhealthy: file:{health}: no such file\n"))?;
    std::fs::remove_file(&live)?;
    proc::poll("not live", || (ask(&place, "/livez").ok()?.0 == 503).then_some(()))?;
    let (_, metrics) = ask(&place, "/metrics")?;
    for (option, file) in [("health", &health), ("live", &live)] {
        let line = format!(
            "graceinit_health{{option=\"{option}\",check=\"file:{file}\",answer=\"no such file\"}} 0"
        );
        ensure!(metrics.contains(&line), "{line} in {metrics}");
    }
    place.file("health", "", 0o644);
    until(&place, 200, "ready\n")?;
    ensure_eq!(switches(), before, "wake-ups of PID 1");
    run.signal("TERM")?;
    run.exits(5)
}

fn a_killed_observer_is_replaced(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = listening(room, &place).app("block ready echo=TERM:5").start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    for _ in 0..3 {
        let pid = observer(&run)?;
        sys::kill(pid, libc::SIGKILL)?;
        // The connection waits in the backlog of the socket that PID 1 keeps.
        ensure_eq!(ask(&place, "/readyz")?, (200, "ready\n".to_string()), "readiness");
        proc::poll("no zombie", || (proc::process(pid).is_none()).then_some(()))?;
    }
    // No answer is given by anybody else, and nothing ends that was not meant.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let pid = observer(&run)?;
        sys::kill(pid, signal)?;
        ensure_eq!(ask(&place, "/livez")?.0, 200, "liveness");
        ensure_eq!(observer(&run)?, pid, "the observer");
    }
    run.signal("TERM")?;
    run.exits(5)?;
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    Ok(())
}

/// Nobody is left when the app has gone: the observer does not count.
fn the_end_of_the_app_is_the_end(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = listening(room, &place).app("block ready wait=USR1 exit=5").start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let pid = observer(&run)?;
    sys::kill(pid, libc::SIGSTOP)?;
    run.signal("USR1")?;
    run.exits(5)?;
    ensure!(!proc::alive(pid), "the observer lives on");
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    Ok(())
}

fn a_stopped_observer_moves_no_deadline(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = listening(room, &place)
        .flags("--grace 1 --post-stop-timeout 1 --pre-stop true --on-stop true")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let pid = observer(&run)?;
    sys::kill(pid, libc::SIGSTOP)?;
    let inner = proc::inner_pid(pid).unwrap_or(pid);
    let begun = Instant::now();
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(137), "the end");
    let took = begun.elapsed();
    ensure!(took < Duration::from_secs(2) + SLACK, "it took {took:?}");
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    // Of those who were still there, the observer was none.
    let told = run.err.so_far().into_iter().filter(|line| line.0.contains("still there"));
    let pids: Vec<i32> = told.map(|line| line.number("pid")).collect::<Outcome<_>>()?;
    ensure!(pids.len() == 1 && !pids.contains(&inner), "{inner} is one of {pids:?}");
    Ok(())
}

/// What the app leaves behind is asked to stop; the observer is not of that kind, and answers as long
/// as graceinit is there.
fn leftovers_are_swept_round_it(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let mut run = listening(room, &place)
        .flags("--grace 60 -v")
        .app(&format!(
            "block spawn=double:name=daemon;block;ready;wait=TERM;say=told;read={} ready wait=TERM \
             exit=5",
            fifo.path().display()
        ))
        .start()?;
    run.out.expect("daemon: ready")?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let pid = observer(&run)?;
    run.signal("TERM")?;
    run.out.find("daemon: told")?;
    let held = fifo.hold()?;
    until(&place, 503, "not ready: leftovers\n")?;
    ensure_eq!(observer(&run)?, pid, "the observer");
    drop(held);
    run.exits(5)?;
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    Ok(())
}

/// Few descriptors, many slow clients, and some that talk nonsense: a probe is answered all the same.
fn probes_are_answered_in_a_crowd(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = listening(room, &place)
        .given(&format!("limit={}:32:32", libc::RLIMIT_NOFILE))
        .app("block ready echo=TERM:5")
        .start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let mut crowd = Vec::new();
    for client in 0..300 {
        let mut stream = connect(&place)?;
        // One that was parted from already may refuse it.
        drop(stream.write_all(if client % 2 == 0 { b"GET /rea" } else { b"\x16\x03\x01\r\n" }));
        crowd.push(stream);
        if client % 50 == 49 {
            ensure_eq!(ask(&place, "/readyz")?, (200, "ready\n".to_string()), "in the crowd");
        }
    }
    run.signal("TERM")?;
    run.exits(5)?;
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    Ok(())
}

fn the_app_inherits_none_of_it(room: Room) -> Outcome {
    let place = Place::new();
    let mut counts = Vec::new();
    for launch in [listening(room, &place), Launch::graceinit(room)] {
        let mut run = launch.app("fds exit=5").start()?;
        run.exits(5)?;
        counts.push(run.out.count("fd "));
    }
    ensure_eq!(counts[0], counts[1], "descriptors of the app");
    Ok(())
}

/// A loop without end in the observer, or a wait that never ends: nothing in the kernel tells of it.
#[cfg(target_arch = "x86_64")]
fn an_observer_that_hangs_is_replaced(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = listening(room, &place).app("block ready echo=TERM:3").start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let hung = observer(&run)?;
    sys::wedge(hung)?;
    // Each signal is news for it.
    proc::poll_within(PATIENCE * 6, "an observer that is killed", || {
        run.signal("USR1").ok()?;
        (!proc::alive(hung)).then_some(())
    })?;
    run.err.find("graceinit: warn: the observer does not take its messages")?;
    until(&place, 200, "ready\n")?;
    run.signal("TERM")?;
    run.exits(3)
}

#[cfg(not(target_arch = "x86_64"))]
fn an_observer_that_hangs_is_replaced(_: Room) -> Outcome {
    need::x86_64();
    Ok(())
}

both_rooms!(
    an_observer_that_hangs_is_replaced,
    readiness_follows_the_life,
    work_is_accepted_until_the_stop_signal,
    health_is_asked_without_waking_pid_1,
    a_killed_observer_is_replaced,
    the_end_of_the_app_is_the_end,
    a_stopped_observer_moves_no_deadline,
    leftovers_are_swept_round_it,
    probes_are_answered_in_a_crowd,
    the_app_inherits_none_of_it,
);

/// As PID 1 its end is that of the namespace.
#[test]
fn it_does_not_outlive_graceinit() -> Outcome {
    let place = Place::new();
    let run = listening(Room::Plain, &place).app("block ready echo").start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let pid = observer(&run)?;
    run.send(libc::SIGKILL)?;
    proc::poll("the end of the observer", || (!proc::alive(pid)).then_some(()))?;
    // What a SIGKILL has left lying about is no obstacle.
    let again = listening(Room::Plain, &place).app("block ready echo=TERM:5").start()?;
    again.ready()?;
    until(&place, 200, "ready\n")
}

/// It has no right that whoever takes it over could use.
#[test]
fn it_is_nobody() -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let place = Place::new();
    let run = listening(Room::Plain, &place).app("block ready echo").start()?;
    run.ready()?;
    until(&place, 200, "ready\n")?;
    let pid = observer(&run)?;
    for (field, value) in [
        ("Uid", "65534\t65534\t65534\t65534"),
        ("Gid", "65534\t65534\t65534\t65534"),
        ("Groups", ""),
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        let found = proc::status_field(pid, field).unwrap_or_default();
        ensure_eq!(found.as_str(), value, "{field}");
    }
    Ok(())
}
