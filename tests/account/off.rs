//! What nobody has asked for costs nothing: no process, no descriptor.

use std::os::unix::net::UnixStream;

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, proc};
use crate::{both_rooms, ensure_eq};

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
    // A child may be writing a file.
    let held = proc::poll(&format!("{children} children, and rest"), || {
        let alone = proc::children(init).len() == children;
        proc::held_at_rest(init).filter(|_| alone)
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
