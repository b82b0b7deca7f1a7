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

/// hidepid=2 hides a process that may not be traced: here a program that may not be read.
fn a_hidden_leftover_is_asked(room: Room) -> Outcome {
    if !(need::root() && need::program("/usr/bin/setpriv") && has_children_file()) {
        return Ok(());
    }
    let place = Place::new();
    let secret = place.file("secret", fs::read(puppet())?, 0o711);
    for option in ["hidepid=1", "hidepid=2"] {
        let script = format!(
            "mount -t proc -o {option} proc /proc && exec setpriv --reuid 1000 --regid 1000 --clear-groups \
             --bounding-set=-all --inh-caps=-all \"$@\""
        );
        let app = format!(
            "spawn=double:exec;{};name=helper;block;ready;echo=TERM:0 exit=3",
            secret.display()
        );
        let mut run = Launch::graceinit(room)
            .wrapped_by(["unshare", "--mount", "sh", "-c", &script, "sh"])
            .flags("--grace 60s")
            .app(&app)
            .start()?;
        run.out.until("helper: got TERM ")?;
        run.exits(3)?;
        run.err.find("1 processes of the app are hidden from graceinit")?;
        ensure_eq!(run.out.count("helper: got TERM "), 1, "{option}: requests");
    }
    Ok(())
}

/// It is killed at the end of the budget, as others are.
fn a_hidden_leftover_is_killed(room: Room) -> Outcome {
    if !(need::root() && need::program("/usr/bin/setpriv") && has_children_file()) {
        return Ok(());
    }
    let place = Place::new();
    let secret = place.file("secret", fs::read(puppet())?, 0o711);
    let script = "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 1000 --regid 1000 --clear-groups \
                  --bounding-set=-all --inh-caps=-all \"$@\"";
    let app = format!("spawn=double:exec;{};name=helper;block;ready;echo exit=3", secret.display());
    let mut run = Launch::graceinit(room)
        .wrapped_by(["unshare", "--mount", "sh", "-c", script, "sh"])
        .flags("--grace 2s")
        .app(&app)
        .start()?;
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
