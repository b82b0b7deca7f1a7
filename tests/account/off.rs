//! What nobody has asked for costs nothing: no process, no descriptor.

use std::fs;
use std::os::unix::net::UnixStream;

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, proc};
use crate::{both_rooms, ensure_eq};

/// What an init holds open besides stdin, stdout and stderr, in words.
fn held(init: i32) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{init}/fd"))? {
        let entry = entry?;
        if !["0", "1", "2"].iter().any(|number| entry.file_name() == *number) {
            found.push(fs::read_link(entry.path())?.display().to_string());
        }
    }
    found.sort();
    Ok(found)
}

/// What a graceinit at rest holds open, and that it has so many children then.
fn look(launch: Launch, children: usize) -> Outcome<Vec<String>> {
    look_after(launch, children, || Ok(()))
}

/// The same, after a client did this.
fn look_after(
    launch: Launch,
    children: usize,
    client: impl Fn() -> Outcome,
) -> Outcome<Vec<String>> {
    let mut run = launch.app("block ready echo=TERM:3").start()?;
    run.ready()?;
    client()?;
    run.signal("USR1")?;
    run.out.expect("got USR1 ")?;
    let init = run.init()?;
    // The pipe that tells of the execve may be read a moment after the signal, and after it the cgroup's count of OOM
    // kills; and a child may be writing a file. One that stays open lets this run into its bound.
    let passing =
        |name: &String| ["pipe:", "/proc/", "/sys/"].iter().any(|of| name.starts_with(of));
    let held =
        proc::poll(&format!("{children} children, no pipe, no file of /proc or /sys"), || {
            let alone = proc::children(init).len() == children;
            let held = held(init).ok().filter(|_| alone)?;
            (!held.iter().any(passing)).then_some(held)
        })?;
    run.signal("TERM")?;
    run.wait()?;
    Ok(held)
}

fn a_life_that_nobody_watches(room: Room) -> Outcome {
    let logs = "-vvv --log-format json --pre-stop true --grace 9";
    for flags in ["", logs] {
        let held = look(Launch::graceinit(room).flags(flags), 1)?;
        ensure_eq!(held, ["anon_inode:[signalfd]"], "descriptors with '{flags}'");
    }
    Ok(())
}

/// The report is a descriptor, the metrics file not even that, and a socket is one; the first client makes it a process
/// and two descriptors.
fn a_life_that_is_watched(room: Room) -> Outcome {
    let place = Place::new();
    let (report, metrics) = (place.text("report.json"), place.text("app.prom"));
    let files = format!("--report {report} --metrics-file {metrics}");
    let held = look(Launch::graceinit(room).flags(&files), 1)?;
    ensure_eq!(held, [report, "anon_inode:[signalfd]".to_owned()], "descriptors with files");
    let listen = format!("--listen unix:{}", place.text("sock"));
    let sockets = |held: &[String]| held.iter().filter(|name| name.starts_with("socket:")).count();
    let held = look(Launch::graceinit(room).flags(&listen), 1)?;
    ensure_eq!((held.len(), sockets(&held)), (2, 1), "descriptors before a client: {held:?}");
    let client = || {
        drop(UnixStream::connect(place.path("sock"))?);
        Ok(())
    };
    let held = look_after(Launch::graceinit(room).flags(&listen), 2, client)?;
    ensure_eq!((held.len(), sockets(&held)), (3, 2), "descriptors with an observer: {held:?}");
    Ok(())
}

both_rooms!(a_life_that_nobody_watches, a_life_that_is_watched);
