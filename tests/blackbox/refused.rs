//! System calls that are refused, and limits that are reached: graceinit neither hangs, nor spins, nor loses the app.

use std::fs::File;

use super::scarce::{as_user, can_run_as_another_user, lonely_uid};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, Status, need};
use crate::{both_rooms, ensure, ensure_eq};

/// With a wait that returns at once, strace(1) would see many thousands in the second that the app lives.
const MOST_CALLS: usize = 2000;

/// The app lives for a second while these calls fail. How graceinit ends.
fn life_with(calls: &[&str], error: &str, flags: &str) -> Outcome<Status> {
    let place = Place::new();
    let trace = place.text("trace");
    let mut words = vec!["strace".to_owned(), "-DD".to_owned(), "-o".to_owned(), trace];
    for call in calls {
        words.extend(["-e".to_owned(), format!("inject={call}:error={error}")]);
    }
    let launch = Launch::graceinit(Room::Plain).wrapped_by(words);
    let mut run = launch.flags(flags).command(["sleep", "1"]).start()?;
    let status = run.wait()?;
    let trace = place.wait_for("trace")?;
    let count = trace.lines().count();
    ensure!(count < MOST_CALLS, "{calls:?} {error}: {count} calls");
    let injected = trace.lines().filter(|line| line.contains("INJECTED")).count();
    ensure!(injected > 0, "{calls:?}: none was refused");
    Ok(status)
}

#[test]
fn a_wait_that_is_refused_is_done_by_another_call() -> Outcome {
    if !need::program("/usr/bin/strace") {
        return Ok(());
    }
    let listening = "--listen unix:@refused-wait";
    for (calls, flags) in [
        (&["rt_sigtimedwait"][..], ""),
        (&["ppoll"], listening),
        (&["ppoll", "poll"], listening),
        (&["rt_sigtimedwait", "ppoll"], ""),
        (&["rt_sigtimedwait", "ppoll", "poll"], ""),
        (&["waitid"], ""),
        (&["waitid"], listening),
    ] {
        for error in ["EPERM", "ENOSYS", "EINVAL", "ENOMEM"] {
            let status = life_with(calls, error, flags)?;
            ensure_eq!(status, Status::Code(0), "{calls:?} {error}");
        }
    }
    Ok(())
}

/// No stop request would be heard: the app is asked to end, and graceinit ends with it.
#[test]
fn without_any_way_to_hear_signals_the_app_is_stopped_in_order() -> Outcome {
    if !need::program("/usr/bin/strace") {
        return Ok(());
    }
    let status = life_with(&["rt_sigtimedwait", "ppoll", "poll", "futex"], "EPERM", "")?;
    ensure_eq!(status, Status::Code(143), "the end of the app");
    // The first signal that comes is that of the app's end.
    let status = life_with(&["rt_sigtimedwait", "read"], "EPERM", "")?;
    ensure_eq!(status, Status::Code(0), "the end of an app that ends by itself");
    Ok(())
}

/// RLIMIT_FSIZE (number 1): the kernel sends graceinit SIGXFSZ for its own write to the log.
fn a_signal_that_graceinit_has_caused_does_not_reach_the_app(room: Room) -> Outcome {
    let place = Place::new();
    let log = place.path("log");
    let mut run = Launch::graceinit(room)
        .given("limit=1:2048:2048")
        .stderr(File::create(&log)?)
        .flags("--log-level trace")
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    for _ in 0..60 {
        run.signal("USR1")?;
        run.out.expect("got USR1 ")?;
    }
    run.signal("TERM")?;
    run.out.until("got TERM ")?;
    run.exits(3)?;
    ensure_eq!(std::fs::metadata(&log)?.len(), 2048, "the limit was not reached");
    ensure_eq!(run.out.count("got XFSZ"), 0, "signals for the limit");
    Ok(())
}

/// graceinit with a report, as a user of its own whom RLIMIT_NPROC (number 6) leaves no process beside the app.
fn without_another_process(flags: &str) -> Launch {
    let launch = Launch::graceinit(Room::Plain).given("limit=6:2:2");
    launch.wrapped_by(as_user(lonely_uid())).flags("--report /dev/stdout").flags(flags)
}

#[test]
fn a_report_is_written_where_no_process_can_be_started() -> Outcome {
    if !can_run_as_another_user() {
        return Ok(());
    }
    let mut run =
        without_another_process("").app("block ready wait=USR1 spawn=same:block;echo").start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.signal("USR1")?;
    // The puppet cannot make its child either, and ends.
    run.wait()?;
    run.out.find("\"exit\":{")?;
    Ok(())
}

/// The same for the report that the dead-man's handler writes.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_dead_mans_report_is_written_where_no_process_can_be_started() -> Outcome {
    if !can_run_as_another_user() {
        return Ok(());
    }
    let mut run = without_another_process("--grace 1s --post-stop-timeout 500ms")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    crate::support::sys::wedge(run.init()?)?;
    run.exits(137)?;
    run.out.find("\"dead_man\":true").map(drop)
}

/// RLIMIT_SIGPENDING (number 11) leaves no place for a timer of timer_create(2).
#[cfg(target_arch = "x86_64")]
fn the_dead_man_needs_no_place_in_the_queue_of_signals(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .given("limit=11:0:0")
        .flags("--grace 1s --post-stop-timeout 500ms")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    crate::support::sys::wedge(run.init()?)?;
    run.exits(137)?;
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn the_dead_man_needs_no_place_in_the_queue_of_signals(_: Room) -> Outcome {
    need::x86_64();
    Ok(())
}

/// RLIMIT_NOFILE (number 7): the message names what has run out.
#[test]
fn a_limit_of_descriptors_is_named() -> Outcome {
    let mut run = Launch::graceinit(Room::Plain).given("limit=7:4:4").app("say=started").start()?;
    run.exits(125)?;
    run.err.find("raise the limit of open files (ulimit -n")?;
    ensure!(run.out.all()?.is_empty(), "the app was started");
    Ok(())
}

both_rooms!(
    a_signal_that_graceinit_has_caused_does_not_reach_the_app,
    the_dead_man_needs_no_place_in_the_queue_of_signals,
);
