//! `--user` in a container with few capabilities: what graceinit may not do itself, and what it leaves to others.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use super::observer::ask;
use crate::support::files::Place;
use crate::support::init::puppet;
use crate::support::{Launch, Outcome, Room, need, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// The least that `--user` needs.
const LEAST: [&str; 3] = ["setpriv", "--bounding-set=-all,+setuid,+setgid", "--inh-caps=-all"];

/// graceinit with these capabilities, and an app of another user.
fn least(room: Room) -> Launch {
    Launch::graceinit(room).wrapped_by(LEAST).flags("-v --user 65534")
}

fn can_drop() -> bool {
    need::root() && need::program("/usr/bin/setpriv")
}

fn an_app_of_another_user_is_signalled_without_cap_kill(room: Room) -> Outcome {
    if !can_drop() {
        return Ok(());
    }
    for scope in ["auto", "main", "group", "tree", "mixed"] {
        let mut run = least(room)
            .flags(&format!("--grace 60s --scope {scope}"))
            .app("block ready echo=TERM:3")
            .start()?;
        run.ready()?;
        run.err.find("signals to the app are sent by a child that becomes user 65534")?;
        run.signal("HUP")?;
        run.out.expect("got HUP ")?;
        run.queue(libc::SIGRTMIN() + 1, 7)?;
        let got = run.out.expect("got RT")?;
        // Signals to a group or a tree have no value.
        ensure!(
            !matches!(scope, "auto" | "main") || got.0.contains("value=7"),
            "{scope}: {}",
            got.0
        );
        run.signal("TERM")?;
        run.out.until("got TERM ")?;
        run.exits(3)?;
        ensure_eq!(run.out.count("got TERM "), 1, "--scope {scope}");
        ensure!(!run.err.so_far().iter().any(|line| line.0.contains("unable to send")), "{scope}");
    }
    Ok(())
}

fn leftovers_of_another_user_are_asked_without_cap_kill(room: Room) -> Outcome {
    if !can_drop() {
        return Ok(());
    }
    let mut run = least(room)
        .flags("--grace 60s")
        .app("spawn=double:name=helper;block;ready;echo=TERM:0 exit=3")
        .start()?;
    run.out.until("helper: got TERM ")?;
    run.exits(3)
}

/// SIGKILL at the end of the budget: a post-stop hook must not run beside the app.
fn an_app_of_another_user_is_killed_without_cap_kill(room: Room) -> Outcome {
    if !can_drop() {
        return Ok(());
    }
    let mut run = least(room)
        .flags("--log-level trace --grace 1s --post-stop-timeout 5s")
        .flag("--post-stop", "true")
        .app("spawn=setsid:name=helper;block;ready;echo block ready echo")
        .start()?;
    run.out.until("ready")?;
    run.signal("TERM")?;
    run.exits(137)?;
    let log: Vec<String> = run.err.all()?.into_iter().map(|line| line.0).collect();
    let place = |part: &str| log.iter().position(|line| line.contains(part));
    let (reaped, hook) = (place("reaped the app"), place("post-stop-1"));
    let first = place("entering phase=post-stop");
    ensure!(reaped.is_some() && hook.is_some() && reaped < first, "{}", log.join("\n"));
    ensure!(run.survivors().is_empty(), "left: {:?}", run.survivors());
    Ok(())
}

fn a_hook_of_another_user_is_killed_without_cap_kill(room: Room) -> Outcome {
    if !can_drop() {
        return Ok(());
    }
    let place = Place::new();
    let script = puppet().display().to_string();
    let hook = format!(
        "[[hook.pre-stop]]\nuser = 65534\ntimeout = \"300ms\"\ncommand = [{script:?}, \"block\", \"pause\"]\n"
    );
    place.file("hooks.toml", hook, 0o644);
    let mut run = Launch::graceinit(room)
        .wrapped_by(LEAST)
        .flags(&format!("-v --grace 60s --config {}", place.text("hooks.toml")))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.err.find("timed out")?;
    run.out.until("got TERM ")?;
    run.exits(3)
}

/// `docker exec` writes to the log of the container: root opens /proc/1/fd/1, which the kernel refuses if graceinit is
/// not dumpable.
fn root_can_open_the_log_of_graceinit(room: Room) -> Outcome {
    if !can_drop() {
        return Ok(());
    }
    let mut run = least(room).app("block ready echo=TERM:3").start()?;
    run.ready()?;
    let path = format!("/proc/{}/fd/1", run.init()?);
    let readable = || {
        let mut command = Command::new(LEAST[0]);
        let done = command.args(&LEAST[1..]).args(["readlink", &path]).output().ok()?;
        done.status.success().then_some(())
    };
    // The app runs a moment before graceinit knows that it was executed.
    proc::poll("a readable /proc/1/fd/1", readable)?;
    run.signal("TERM")?;
    run.exits(3)
}

fn the_app_can_open_its_stdout(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let script = "echo one >/dev/stdout && echo two >/dev/stderr && exit 3";
    let mut run =
        Launch::graceinit(room).flags("--user 65534").command(["sh", "-c", script]).start()?;
    run.exits(3)?;
    run.out.expect("one")?;
    run.err.find("two")?;
    // A log file stays root's.
    let place = Place::new();
    let log = File::create(place.path("log"))?;
    let mut run = Launch::graceinit(room)
        .flags("--user 65534")
        .stdout(log.try_clone()?)
        .app("exit=3")
        .start()?;
    run.exits(3)?;
    ensure_eq!(log.metadata()?.uid(), 0, "the owner of the log file");
    if !need::program("/usr/bin/setpriv") {
        return Ok(());
    }
    let mut run = least(room).app("exit=3").start()?;
    run.exits(3)?;
    run.err.find("unable to give /dev/stdout to user 65534: Operation not permitted").map(drop)
}

/// A user namespace with one user: there is nobody that the observer could become.
#[test]
fn an_observer_that_stays_root_is_told() -> Outcome {
    if !(need::root() && need::pid_namespace()) {
        return Ok(());
    }
    let place = Place::new();
    let mut run = Launch::graceinit(Room::Plain)
        .wrapped_by(["unshare", "--user", "--map-root-user"])
        .flag("--listen", format!("unix:{}", place.text("sock")))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    // The first client starts it.
    ask(&place, "/livez")?;
    let warning = "graceinit: warn: unable to run the observer as user 65534: this user namespace has no such user";
    run.err.find(warning)?;
    run.signal("TERM")?;
    run.exits(3)?;
    ensure_eq!(run.err.count(warning), 1, "warnings");
    let mut run = Launch::graceinit(Room::Plain)
        .flag("--listen", format!("unix:{}", place.text("sock")))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    ensure_eq!(ask(&place, "/livez")?.0, 200, "an answer");
    run.signal("TERM")?;
    run.exits(3)?;
    ensure!(run.err.all()?.is_empty(), "a warning without a reason");
    Ok(())
}

both_rooms!(
    an_app_of_another_user_is_signalled_without_cap_kill,
    leftovers_of_another_user_are_asked_without_cap_kill,
    an_app_of_another_user_is_killed_without_cap_kill,
    a_hook_of_another_user_is_killed_without_cap_kill,
    root_can_open_the_log_of_graceinit,
    the_app_can_open_its_stdout,
);
