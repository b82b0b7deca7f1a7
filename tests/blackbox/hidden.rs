//! /proc that does not show everything: mounted with hidepid, broken, or no /proc at all.

use std::fs;
use std::path::Path;

use crate::both_rooms;
use crate::support::files::Place;
use crate::support::init::puppet;
use crate::support::{Launch, Outcome, Room, need};
use crate::{ensure, ensure_eq};

/// The app has left this behind.
const HELPER: &str = "spawn=double:name=helper;block;ready;echo=TERM:0 exit=3";

fn has_children_file() -> bool {
    let there = Path::new("/proc/thread-self/children").exists();
    need::met(there, "/proc/PID/task/TID/children")
}

/// graceinit and an app as user 1000, with a /proc that hides a process that may not be traced: here a program that may
/// not be read. The app leaves one behind, which ends at TERM with this code, if any.
fn hiding(room: Room, place: &Place, option: &str, echo: &str) -> Outcome<Launch> {
    let secret = place.file("secret", fs::read(puppet())?, 0o711);
    let gate = place.fifo("gate");
    let (secret, gate) = (secret.display(), gate.path().display());
    let script = format!(
        "mount -t proc -o {option} proc /proc && exec setpriv --reuid 1000 --regid 1000 --clear-groups \
         --bounding-set=-all --inh-caps=-all \"$@\""
    );
    // The app ends when the helper has blocked its signals.
    let app = format!(
        "spawn=double:exec;{secret};name=helper;block;write={gate}:go;ready;{echo} read={gate} exit=3"
    );
    Ok(Launch::graceinit(room)
        .wrapped_by(["unshare", "--mount", "sh", "-c", &script, "sh"])
        .app(&app))
}

fn can_hide() -> bool {
    need::root() && need::program("/usr/bin/setpriv") && has_children_file()
}

fn a_hidden_leftover_is_asked(room: Room) -> Outcome {
    if !can_hide() {
        return Ok(());
    }
    for option in ["hidepid=1", "hidepid=2"] {
        let place = Place::new();
        let mut run = hiding(room, &place, option, "echo=TERM:0")?.flags("--grace 60s").start()?;
        run.out.until("helper: got TERM ")?;
        run.exits(3)?;
        run.err.find(
            "processes of the app are hidden from graceinit, which knows their pids only: 1;",
        )?;
        ensure_eq!(run.out.count("helper: got TERM "), 1, "{option}: requests");
    }
    Ok(())
}

/// It is killed at the end of the budget, as others are.
fn a_hidden_leftover_is_killed(room: Room) -> Outcome {
    if !can_hide() {
        return Ok(());
    }
    let place = Place::new();
    let mut run = hiding(room, &place, "hidepid=2", "echo")?.flags("--grace 2s").start()?;
    run.out.until("helper: got TERM ")?;
    run.exits(3)?;
    ensure!(run.survivors().is_empty(), "left: {:?}", run.survivors());
    Ok(())
}

/// System calls that fail in graceinit alone.
fn failing(calls: &str) -> Launch {
    Launch::graceinit(Room::Plain).wrapped_by([
        "strace",
        "-DD",
        "-o",
        "/dev/null",
        "-e",
        "trace=/getdents|pidfd",
        "-e",
        calls,
    ])
}

/// It looks like an empty /proc.
#[test]
fn a_leftover_is_asked_if_proc_cannot_be_listed() -> Outcome {
    if !(need::program("/usr/bin/strace") && has_children_file()) {
        return Ok(());
    }
    let mut run =
        failing("inject=getdents64:error=EIO").flags("--grace 60s").app(HELPER).start()?;
    run.out.until("helper: got TERM ")?;
    run.exits(3)
}

#[test]
fn a_process_is_signalled_if_pidfds_are_refused() -> Outcome {
    if !need::program("/usr/bin/strace") {
        return Ok(());
    }
    for calls in [
        "inject=pidfd_open:error=EMFILE",
        "inject=pidfd_open:error=EPERM",
        "inject=pidfd_send_signal:error=EPERM",
        "inject=pidfd_send_signal:error=ENOSYS",
    ] {
        let mut run = failing(calls)
            .flags("--grace 60s --scope tree")
            .app("spawn=group:name=helper;block;ready;echo=TERM:0 block ready echo=TERM:3")
            .start()?;
        run.out.until("ready")?;
        run.signal("TERM")?;
        run.exits(3)?;
        ensure_eq!(run.out.count("helper: got TERM "), 1, "{calls}");
    }
    Ok(())
}

/// A directory that is no procfs says nothing about processes, whatever is in it.
#[test]
fn a_false_proc_counts_as_none() -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let script = "mount -t tmpfs none /proc && ln -s 1 /proc/self && mkdir /proc/1 && exec \"$@\"";
    let mut run = Launch::graceinit(Room::PidNs)
        .wrapped_by(["unshare", "--mount", "sh", "-c", script, "sh"])
        .flags("--grace 60s")
        .app(HELPER)
        .start()?;
    run.out.until("helper: got TERM ")?;
    run.exits(3)?;
    let warning = "graceinit: warn: unable to read the process tree: ";
    run.err.find(warning)?;
    ensure_eq!(run.err.count(warning), 1, "warnings");
    Ok(())
}

both_rooms!(a_hidden_leftover_is_asked, a_hidden_leftover_is_killed);
