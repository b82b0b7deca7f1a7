//! Standard error that nobody reads, that is closed, or broken: no trouble of the app's.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::unistd::pipe;

use super::peers::{Subject, shared};
use crate::support::account::Account;
use crate::support::{Fault, Launch, Line, Outcome, Program, Room, Run, Status, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// As talkative on stderr as the program can be. tini's `-v` is about stdout.
fn talkative(subject: Subject) -> Launch {
    subject.launch().flags(match subject.program {
        Program::Graceinit | Program::AsTini | Program::AsCatatonit => "-vvv",
        Program::DumbInit | Program::AsDumbInit => "-v",
        Program::Tini | Program::Catatonit => "",
    })
}

/// A pipe that is full to the last byte; both ends.
fn full_pipe() -> Outcome<(File, File)> {
    let (reader, writer) = pipe()?;
    let mut writer = File::from(writer);
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096))?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    loop {
        match writer.write(b"x") {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e.into()),
        }
    }
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok((reader.into(), writer))
}

/// Two hundred signals with their echoes, so that there is something to log, then the stop.
fn is_served_and_stopped(run: &mut Run) -> Outcome {
    run.out.until("ready")?;
    for n in 0..200 {
        run.signal("USR1")?;
        run.out.until("got USR1 ")?;
        ensure_eq!(run.out.count("got "), n + 1, "signals at the app");
    }
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(3), "the app");
    ensure_eq!(run.out.count("got PIPE"), 0, "PIPE at the app");
    Ok(())
}

/// The app's stdout is data for somebody.
fn the_log_keeps_off_the_apps_stdout(subject: Subject) -> Outcome {
    let launch = match subject.program {
        Program::Tini => talkative(subject).flags("-vvv"),
        _ => talkative(subject),
    };
    let mut run = launch.app("block ready echo=TERM:3").start()?;
    run.out.until("ready")?;
    run.signal("USR1")?;
    run.out.until("got USR1 ")?;
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(3), "the app");
    let foreign = |line: &Line| !line.0.starts_with("ready ") && !line.0.starts_with("got ");
    let lines: Vec<Line> = run.out.all()?.into_iter().filter(foreign).collect();
    ensure!(lines.is_empty(), "foreign lines on stdout: {lines:?}");
    Ok(())
}

fn a_full_stderr_blocks_nobody(subject: Subject) -> Outcome {
    let (reader, writer) = full_pipe()?;
    let flags = writer.try_clone()?;
    let mut run = talkative(subject).stderr(writer).app("block ready echo=TERM:3").start()?;
    is_served_and_stopped(&mut run)?;
    // The app shares the open file: a flag set on it would change what the app's writes do.
    let now = OFlag::from_bits_truncate(fcntl(&flags, FcntlArg::F_GETFL)?);
    ensure!(!now.contains(OFlag::O_NONBLOCK), "stderr was made non-blocking for the app, too");
    drop(reader);
    Ok(())
}

/// EPIPE comes with a SIGPIPE for the writer, which must not be taken for one from outside.
fn a_broken_stderr_is_no_sigpipe_for_the_app(subject: Subject) -> Outcome {
    let (reader, writer) = pipe()?;
    drop(reader);
    let mut run = talkative(subject).stderr(writer).app("block ready echo=TERM:3").start()?;
    is_served_and_stopped(&mut run)
}

fn a_closed_stderr_is_no_error(subject: Subject) -> Outcome {
    let mut run = talkative(subject).given("close=2").app("block ready echo=TERM:3").start()?;
    is_served_and_stopped(&mut run)
}

/// A file system that has no room.
fn a_full_disk_is_no_error(subject: Subject) -> Outcome {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
    let mut run = talkative(subject).stderr(full).app("block ready echo=TERM:3").start()?;
    is_served_and_stopped(&mut run)
}

/// With a log that cannot be written it must not try for ever: its processor time is looked at over
/// a second in which nothing happens.
fn a_log_that_cannot_be_written_costs_no_time(subject: Subject) -> Outcome {
    let (reader, broken) = pipe()?;
    drop(reader);
    let (_reader, full) = full_pipe()?;
    let mut runs = Vec::new();
    for stderr in [broken, full.into()] {
        let run = talkative(subject).stderr(stderr).app("block ready echo=RTMAX:3").start()?;
        run.out.until("ready")?;
        run.signal("USR1")?;
        run.out.until("got USR1 ")?;
        if subject.program.is_ours() {
            // And in the middle of a stop.
            run.signal("TERM")?;
            run.out.until("got TERM ")?;
        }
        let before = proc::cpu_time(run.init()?);
        runs.push((before, run));
    }
    // Nothing is expected; this is how long we look.
    let begun = Instant::now();
    for (_, run) in &runs {
        let left = Duration::from_secs(1).saturating_sub(begun.elapsed());
        let _line = run.out.next_within(left);
    }
    for (before, run) in &mut runs {
        let (before, after) = (*before, proc::cpu_time(run.init()?));
        let (Some(before), Some(after)) = (before, after) else {
            return Err(Fault::new("the init has gone"));
        };
        let used = after.saturating_sub(before);
        ensure!(used < Duration::from_millis(300), "{used:?} of processor time in a second");
    }
    Ok(())
}

/// The lines that found no room are counted, and that is said as soon as there is room again. Comes
/// back with all that was read in the end.
fn lines_are_dropped(room: Room, format: &str) -> Outcome<Arc<Account>> {
    let (reader, writer) = full_pipe()?;
    let room_in_it = writer.try_clone()?;
    let mut run = Launch::graceinit(room)
        .flags("-vvv --log-format")
        .flags(format)
        .stderr(writer)
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    for _ in 0..20 {
        run.signal("USR1")?;
        run.out.expect("got USR1 ")?;
    }
    let account = Account::of("stderr, read at last", reader);
    proc::poll("room in the pipe", || {
        let mut fds = [PollFd::new(room_in_it.as_fd(), PollFlags::POLLOUT)];
        (nix::poll::poll(&mut fds, PollTimeout::ZERO) == Ok(1)).then_some(())
    })?;
    // What filled the pipe is one long line without an end.
    run.signal("USR2")?;
    run.out.expect("got USR2 ")?;
    run.signal("TERM")?;
    run.exits(3)?;
    drop(room_in_it);
    Ok(account)
}

fn dropped_lines_are_counted_and_told(room: Room) -> Outcome {
    let account = lines_are_dropped(room, "text")?;
    let line = account.find("dropped")?;
    let count = line.0.rsplit("graceinit: warn: ").next().and_then(|rest| rest.split(' ').next());
    // Each signal is at least the line that it was passed on.
    ensure!(count.and_then(|count| count.parse().ok()).is_some_and(|n: u32| n >= 20), "{line:?}");
    ensure!(line.0.ends_with(" log lines were dropped: stderr was not read"), "{line:?}");
    Ok(())
}

/// A program that reads the log hears of it as of everything else.
fn dropped_lines_are_told_in_json(room: Room) -> Outcome {
    let account = lines_are_dropped(room, "json")?;
    let lines = account.all()?;
    // What had filled the pipe has no end of its own.
    let lines: Vec<&str> = lines.iter().map(|line| line.0.trim_start_matches('x')).collect();
    let values = lines.iter().map(|line| Ok(serde_json::from_str(line)?));
    let values: Vec<serde_json::Value> = values.collect::<Outcome<_>>()?;
    let told: Vec<_> = values.iter().filter(|value| value["fact"] == "lines-dropped").collect();
    ensure_eq!(told.len(), 1, "lines that tell of it");
    ensure_eq!(told[0]["level"].as_str(), Some("warn"), "level");
    ensure!(told[0]["lines"].as_u64().is_some_and(|lines| lines >= 20), "{}", told[0]);
    ensure_eq!(values.last().map(|value| value["fact"] == "exit"), Some(true), "the last line");
    Ok(())
}

fn json_blocks_nobody_either(room: Room) -> Outcome {
    let (_reader, writer) = full_pipe()?;
    let mut run = Launch::graceinit(room)
        .flags("-vvv --log-format json")
        .stderr(writer)
        .app("block ready echo=TERM:3")
        .start()?;
    is_served_and_stopped(&mut run)
}

shared!(
    the_log_keeps_off_the_apps_stdout,
    a_full_stderr_blocks_nobody,
    a_broken_stderr_is_no_sigpipe_for_the_app,
    a_closed_stderr_is_no_error,
    a_full_disk_is_no_error,
    a_log_that_cannot_be_written_costs_no_time
);
both_rooms!(
    dropped_lines_are_counted_and_told,
    dropped_lines_are_told_in_json,
    json_blocks_nobody_either
);
