//! What the app leaves behind: asked to go, waited for, killed only at the end of the budget, and
//! never left behind.

use std::time::{Duration, Instant};

use super::peers::{Subject, shared};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Program, Room, Run, Status, need, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// How a helper stands to the app: its child in the group, in a session of its own, an orphan in the
/// group, a daemon.
const WAYS: [&str; 4] = ["same", "setsid", "orphan", "double"];

/// A helper that needs 700 ms after TERM to save its work, and an app that ends as `end` says.
fn saving(subject: Subject, place: &Place, way: &str, end: &str) -> Outcome<Run> {
    let file = place.text(way);
    let script = format!("block spawn={way}:name=helper;block;ready;helper=700:{file} ready {end}");
    let launch = subject.launch();
    let launch = match subject.program {
        Program::Graceinit => launch.flags("--grace 60"),
        _ => launch,
    };
    let run = launch.app(&script).start()?;
    run.out.expect("helper: ready")?;
    run.ready()?;
    Ok(run)
}

fn all_saved(mut runs: Vec<(&'static str, Run)>, place: &Place) -> Outcome {
    for (way, run) in &mut runs {
        ensure_eq!(run.wait()?, Status::Code(5), "the app ({way})");
        ensure!(run.survivors().is_empty(), "{way}: left behind");
        // Once: a second TERM is "die now" to many programs.
        let text = place.read(way);
        ensure_eq!(text.as_deref(), Some("saved terms=1"), "the helper's file ({way})");
    }
    Ok(())
}

fn helpers_are_waited_for_when_the_app_is_stopped(subject: Subject) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let mut runs = Vec::new();
    // graceinit asks the app alone, and its helpers when it has ended. Others may ask the whole group.
    let alone = matches!(subject.program, crate::support::Program::Graceinit);
    for way in WAYS {
        // One in the group is told with the app. The app ends only after it has taken that TERM, so
        // that a second one could not merge with it unseen.
        let in_group = !alone && (way == "same" || way == "orphan");
        let end = match in_group {
            true => format!("wait=TERM read={} exit=5", fifo.path().display()),
            false => "echo=TERM:5".to_string(),
        };
        let run = saving(subject, &place, way, &end)?;
        run.signal("TERM")?;
        if in_group {
            run.out.until("helper: got TERM")?;
            fifo.release()?;
        }
        runs.push((way, run));
    }
    all_saved(runs, &place)
}

fn helpers_are_waited_for_when_the_app_ends_by_itself(subject: Subject) -> Outcome {
    let place = Place::new();
    let mut runs = Vec::new();
    for way in WAYS {
        runs.push((way, saving(subject, &place, way, "exit=5")?));
    }
    all_saved(runs, &place)
}

/// The app itself is a helper with much to save: it must be waited for as well.
fn an_app_that_needs_time_gets_it(subject: Subject) -> Outcome {
    let place = Place::new();
    let mut run =
        subject.launch().app(&format!("block ready helper=700:{}", place.text("app"))).start()?;
    run.ready()?;
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(0), "the app");
    ensure_eq!(place.expect("app")?, "saved terms=1", "the app's file");
    Ok(())
}

/// Daemons of a child that has a session of its own.
fn a_deep_tree_is_swept(room: Room) -> Outcome {
    let place = Place::new();
    let script = format!(
        "block spawn=setsid:block;spawn=double:name=deep|block|ready|helper=300:{};\
         spawn=setsid:name=deeper|block|ready|helper=300:{};ready;echo=TERM:0 ready echo=TERM:5",
        place.text("one"),
        place.text("two")
    );
    let mut run = Launch::graceinit(room).flags("--grace 60").app(&script).start()?;
    for line in ["deep: ready", "deeper: ready", "ready", "ready"] {
        run.out.expect(line)?;
    }
    run.signal("TERM")?;
    run.exits(5)?;
    ensure!(run.survivors().is_empty(), "left behind");
    ensure_eq!(place.expect("one")?, "saved terms=1", "the first file");
    ensure_eq!(place.expect("two")?, "saved terms=1", "the second file");
    Ok(())
}

/// It leaves the moment the tree is empty, not at the end of some fixed time.
fn nothing_left_means_leaving_at_once(subject: Subject) -> Outcome {
    let launch = match subject.program {
        Program::Graceinit => subject.launch().flags("--grace 60 --post-stop-timeout 60"),
        _ => subject.launch(),
    };
    let mut run = launch.app("block spawn=same:clean;ready;pause ready echo=TERM:5").start()?;
    run.out.expect("ready")?;
    run.out.expect("ready")?;
    run.signal("TERM")?;
    let start = Instant::now();
    ensure_eq!(run.wait()?, Status::Code(5), "the app");
    ensure!(start.elapsed() < Duration::from_secs(5), "left after {:?}", start.elapsed());
    Ok(())
}

/// A stray that ignores TERM has the whole budget, and not more.
fn a_stubborn_stray_is_killed_at_the_end_of_the_budget(room: Room) -> Outcome {
    for end in ["echo=TERM:5", "exit=5"] {
        for way in ["same", "double"] {
            let script = format!("block spawn={way}:name=stray;block;ready;echo ready {end}");
            let mut run = Launch::graceinit(room).flags("--grace 1s").app(&script).start()?;
            let stray = run.out.expect("stray: ready")?;
            let stray = run.outer(stray.number("pid")?).ok();
            run.ready()?;
            let asked = Instant::now();
            if end.starts_with("echo") {
                run.signal("TERM")?;
            }
            run.out.until("stray: got TERM")?;
            ensure_eq!(run.wait()?, Status::Code(5), "the app's code ({way}, {end})");
            // The budget begins with the request, or with the app's own end, which is after its start
            // and no later than we can tell.
            let begun = if end.starts_with("echo") { asked } else { run.started };
            let took = begun.elapsed();
            ensure!(took >= Duration::from_secs(1), "killed after {took:?} ({way}, {end})");
            // Generous: it has to be far from hanging only.
            ensure!(took < Duration::from_secs(5), "killed after {took:?} only ({way}, {end})");
            ensure!(run.survivors().is_empty(), "left behind ({way}, {end})");
            ensure!(stray.is_none_or(|pid| !proc::alive(pid)), "the stray lives ({way}, {end})");
            ensure_eq!(run.out.count("stray: got TERM"), 1, "TERM at the stray ({way}, {end})");
        }
    }
    Ok(())
}

/// The rewrite table is for the app: one that drops TERM must not leave helpers unasked.
fn rewriting_does_not_touch_the_leftovers(room: Room) -> Outcome {
    for flags in [
        "--rewrite TERM:0 --stop-signal WINCH",
        "--rewrite TERM:USR1",
        "--rewrite TERM:USR1 --stop-signal TERM",
    ] {
        let place = Place::new();
        let script = format!(
            "block spawn=double:name=helper;block;ready;helper=0:{} ready exit=5",
            place.text("saved")
        );
        let mut run =
            Launch::graceinit(room).flags("--grace 60").flags(flags).app(&script).start()?;
        ensure_eq!(run.wait()?, Status::Code(5), "the app under {flags}");
        ensure_eq!(place.expect("saved")?, "saved terms=1", "the helper under {flags}");
    }
    Ok(())
}

/// A configured stop signal that ends a process is what helpers are asked with, too.
fn leftovers_get_the_configured_stop_signal(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 60 --stop-signal QUIT")
        .app("block spawn=double:name=helper;block;ready;echo=QUIT:0,TERM:1 ready echo=QUIT:5")
        .start()?;
    run.out.expect("helper: ready")?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(5)?;
    ensure_eq!(run.out.count("helper: got QUIT"), 1, "QUIT at the helper");
    ensure_eq!(run.out.count("helper: got TERM"), 0, "TERM at the helper");
    Ok(())
}

/// What a helper starts after it was told to go is how it puts its house in order (`trap "sync; mail"
/// TERM`): not told to go in its turn, waited for as long as the budget lasts, and killed then.
fn a_process_started_during_the_sweep_may_finish(room: Room) -> Outcome {
    let script = |newborn: &str| {
        format!(
            "block spawn=double:name=parent;block;ready;wait=TERM;\
             spawn=setsid:name=newborn|block|ready|{newborn} ready exit=5"
        )
    };
    let place = Place::new();
    let fifo = place.fifo("gate");
    let work = format!("read={}|write={}:done", fifo.path().display(), place.text("work"));
    let mut run = Launch::graceinit(room).flags("--grace 60").app(&script(&work)).start()?;
    run.out.until("newborn: ready")?;
    fifo.release()?;
    run.exits(5)?;
    ensure_eq!(place.expect("work")?, "done", "the work");
    let mut run = Launch::graceinit(room).flags("--grace 1").app(&script("echo")).start()?;
    run.out.until("newborn: ready")?;
    run.exits(5)?;
    ensure!(run.survivors().is_empty(), "left behind");
    ensure_eq!(run.out.count("newborn: got TERM"), 0, "TERM at the newborn");
    Ok(())
}

/// A stopped stray cannot act on TERM unless it is continued.
fn a_stopped_stray_is_continued(room: Room) -> Outcome {
    let script = "block spawn=double:name=stray;mask=TERM;ready;raise=STOP;echo=TERM:0 \
                  ready read=FIFO exit=5";
    let place = Place::new();
    let fifo = place.fifo("gate");
    let script = script.replace("FIFO", &place.text("gate"));
    let mut run = Launch::graceinit(room).flags("--grace 60").app(&script).start()?;
    let stray = run.outer(run.out.expect("stray: ready")?.number("pid")?)?;
    proc::poll("the stray stopped", || proc::process(stray).filter(|p| p.state == 'T'))?;
    fifo.release()?;
    run.exits(5)?;
    run.out.find("stray: got TERM").map(drop)
}

/// `docker exec` comes into the namespace from outside: no descendant, so not asked to go, and not
/// waited for either.
#[test]
fn a_session_from_outside_is_left_alone() -> Outcome {
    if !(need::root() && need::pid_namespace() && need::program("/usr/bin/nsenter")) {
        return Ok(());
    }
    let place = Place::new();
    let mut run = Launch::graceinit(Room::PidNs)
        .flags("--grace 60")
        .app(&format!(
            "block spawn=double:name=helper;block;ready;helper=300:{} ready echo=TERM:5",
            place.text("saved")
        ))
        .start()?;
    run.out.expect("helper: ready")?;
    run.ready()?;
    let target = format!("--target={}", run.init()?);
    let mut session = Launch::graceinit(Room::Plain)
        .program_file("/usr/bin/nsenter")
        .words([&target, "--pid", "--mount", "--"])
        .words([crate::support::init::puppet()])
        .flags("block ready echo")
        .start()?;
    session.ready()?;
    run.signal("TERM")?;
    run.exits(5)?;
    ensure_eq!(place.expect("saved")?, "saved terms=1", "the helper's file");
    // It went with its namespace, by the kernel's KILL, and had heard nothing before.
    session.wait()?;
    ensure_eq!(session.out.count("got"), 0, "signals at the session");
    Ok(())
}

shared!(
    helpers_are_waited_for_when_the_app_is_stopped,
    helpers_are_waited_for_when_the_app_ends_by_itself,
    an_app_that_needs_time_gets_it,
    nothing_left_means_leaving_at_once
);
both_rooms!(
    a_deep_tree_is_swept,
    a_stubborn_stray_is_killed_at_the_end_of_the_budget,
    rewriting_does_not_touch_the_leftovers,
    leftovers_get_the_configured_stop_signal,
    a_process_started_during_the_sweep_may_finish,
    a_stopped_stray_is_continued
);
