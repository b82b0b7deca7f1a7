//! The stop signal: which one, to whom, how often, and what follows when it does not help.

use std::time::{Duration, Instant};

use super::peers::{Subject, shared};
use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Launch, Outcome, Program, Room, Status, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

/// The signal goes through as it came: Redis and PostgreSQL mean different things by TERM and INT.
fn term_and_int_are_passed_on_as_received(subject: Subject) -> Outcome {
    for (name, code) in [("TERM", 3), ("INT", 4)] {
        let mut run = subject.launch().app("block ready echo=TERM:3,INT:4").start()?;
        run.ready()?;
        run.signal(name)?;
        run.out.expect(&format!("got {name} "))?;
        ensure_eq!(run.wait()?, Status::Code(code), "the app");
    }
    Ok(())
}

fn a_stop_that_is_not_answered_ends_in_a_kill(room: Room) -> Outcome {
    let place = Place::new();
    let hook = puppet_line(&format!(
        "to={} env=GRACEINIT_REASON env=GRACEINIT_SIGNAL env=GRACEINIT_EXIT_SIGNAL",
        place.text("hook")
    ));
    let mut run = Launch::graceinit(room)
        .flags("--grace 700ms")
        .flag("--post-stop", hook)
        .app("block spawn=double:name=stray;block;ready;echo ready echo")
        .start()?;
    run.out.expect("stray: ready")?;
    run.ready()?;
    let start = Instant::now();
    run.signal("TERM")?;
    run.exits(137)?;
    let took = start.elapsed();
    ensure!(took >= Duration::from_millis(700), "killed after {took:?}");
    ensure!(took < Duration::from_secs(5), "killed after {took:?} only");
    ensure!(run.survivors().is_empty(), "left behind");
    let told = place.expect("hook")?;
    for line in ["env GRACEINIT_REASON=deadline", "env GRACEINIT_SIGNAL=TERM"] {
        ensure!(told.lines().any(|l| l == line), "no {line:?} in {told:?}");
    }
    // `KILL` or `9`: a name is what the documentation promises, checked in hook_env.
    ensure!(told.contains("GRACEINIT_EXIT_SIGNAL="), "no signal in {told:?}");
    ensure_eq!(run.out.count("got TERM"), 1, "TERM at the app");
    Ok(())
}

/// A stopped process keeps TERM pending until it is continued.
fn a_stopped_app_is_continued(subject: Subject) -> Outcome {
    let mut run = subject.launch().app("block ready raise=STOP echo=TERM:3").start()?;
    let app = run.outer(run.ready()?.number("pid")?)?;
    proc::poll("the app stopped", || proc::process(app).filter(|p| p.state == 'T'))?;
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(3), "the app");
    Ok(())
}

/// An app without a mask of its own: the stop must end it as the default action says.
fn an_app_that_handles_nothing_ends(subject: Subject) -> Outcome {
    let mut run = subject.launch().app("ready pause").start()?;
    run.ready()?;
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(143), "the app");
    Ok(())
}

fn the_ladder_is_climbed(room: Room) -> Outcome {
    let start = |app: &str| {
        Launch::graceinit(room)
            .flags("--grace 60 --stop-signal USR1:300ms,USR2:200ms,TERM")
            .app(app)
            .start()
    };
    let mut run = start("block ready echo=TERM:3")?;
    run.ready()?;
    let begin = Instant::now();
    run.signal("INT")?;
    let mut times = Vec::new();
    for name in ["USR1", "USR2", "TERM"] {
        run.out.until(&format!("got {name} "))?;
        times.push(begin.elapsed());
    }
    run.exits(3)?;
    ensure!(times[1] >= Duration::from_millis(300), "USR2 came after {times:?}");
    ensure!(times[2] >= Duration::from_millis(500), "TERM came after {times:?}");
    for name in ["USR1", "USR2", "TERM"] {
        ensure_eq!(run.out.count(&format!("got {name} ")), 1, "{name} at the app");
    }
    ensure_eq!(run.out.count("got INT"), 0, "INT at the app");
    // One that ends on the first rung does not wait for the others.
    let mut run = start("block ready echo=USR1:4")?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(4)
}

fn rewriting(room: Room) -> Outcome {
    for flags in
        ["--rewrite TERM:QUIT --rewrite HUP:0 --rewrite USR1:USR2", "-r 15:3 -r 1:0 -r 10:12"]
    {
        let mut run =
            Launch::graceinit(room).flags(flags).app("block ready echo=QUIT:3").start()?;
        run.ready()?;
        run.signal("HUP")?;
        run.signal("USR1")?;
        run.out.expect("got USR2 ")?;
        run.signal("TERM")?;
        run.out.expect("got QUIT ")?;
        run.exits(3)?;
        for name in ["HUP", "USR1", "TERM"] {
            ensure_eq!(run.out.count(&format!("got {name} ")), 0, "{name} under {flags}");
        }
    }
    Ok(())
}

/// dumb-init's table, in its own spelling.
fn rewriting_as_dumb_init_does(subject: Subject) -> Outcome {
    if !(subject.program.is_ours() || subject.program == Program::DumbInit) {
        return Ok(());
    }
    let mut run = subject
        .launch()
        .flags("-r 15:3 -r 1:0 --rewrite 10:12")
        .app("block ready echo=QUIT:3")
        .start()?;
    run.ready()?;
    run.signal("HUP")?;
    run.signal("USR1")?;
    run.out.expect("got USR2 ")?;
    run.signal("TERM")?;
    run.out.expect("got QUIT ")?;
    ensure_eq!(run.wait()?, Status::Code(3), "the app");
    ensure_eq!(run.out.count("got HUP"), 0, "HUP at the app");
    Ok(())
}

fn another_signal_may_mean_stop(room: Room) -> Outcome {
    for (stop, code) in [("QUIT", 3), ("RTMIN+3", 4), ("USR2", 5)] {
        let place = Place::new();
        let hook = puppet_line(&format!("to={} env=GRACEINIT_SIGNAL", place.text("hook")));
        let mut run = Launch::graceinit(room)
            .flags(&format!("--stop-on {stop}"))
            .flag("--pre-stop", hook)
            .app("block ready echo=QUIT:3,RTMIN+3:4,USR2:5")
            .start()?;
        run.ready()?;
        // TERM and INT are signals like others then: passed on, and no stop begins.
        for name in ["TERM", "INT", "WINCH"] {
            run.signal(name)?;
            run.out.expect(&format!("got {name} "))?;
        }
        ensure!(place.read("hook").is_none(), "a stop began without {stop}");
        run.signal(stop)?;
        // CONT follows it and may overtake a real-time signal.
        run.out.until(&format!("got {stop} "))?;
        run.exits(code)?;
        ensure_eq!(place.expect("hook")?, format!("env GRACEINIT_SIGNAL={stop}\n"), "the hook");
    }
    Ok(())
}

/// PgBouncer, Redis and Caddy take the second one as "die now".
/// The same signal is not sent twice. Another one is a platform that escalates, and is sent once.
fn a_second_stop_request_is_not_repeated_to_the_app(room: Room) -> Outcome {
    let mut run =
        Launch::graceinit(room).flags("--grace 60").app("block ready echo=RTMAX:3").start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.signal("TERM")?;
    run.signal("INT")?;
    run.out.until("got INT ")?;
    run.signal("INT")?;
    // Forwarded as ever, and behind the two: the end of the sentence.
    run.signal("USR1")?;
    run.out.until("got USR1 ")?;
    run.signal("RTMAX")?;
    run.exits(3)?;
    ensure_eq!(run.out.count("got TERM"), 1, "TERM at the app");
    ensure_eq!(run.out.count("got INT"), 1, "INT at the app");
    Ok(())
}

fn a_second_stop_request_may_mean_kill(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 60 --stop-again kill")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.signal("TERM")?;
    run.exits(137)?;
    ensure_eq!(run.out.count("got TERM"), 1, "TERM at the app");
    Ok(())
}

/// A reload or a log rotation goes through while a hook runs.
fn signals_are_forwarded_during_a_hook(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let mut run = Launch::graceinit(room)
        .flags("--grace 60 --hook-timeout 50")
        .flag("--pre-stop", puppet_line(&format!("read={}", fifo.path().display())))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    let held = fifo.hold()?;
    run.signal("HUP")?;
    run.out.expect("got HUP ")?;
    run.signal("TERM")?;
    run.signal("USR1")?;
    run.out.expect("got USR1 ")?;
    drop(held);
    run.out.expect("got TERM ")?;
    run.exits(3)
}

/// An app that dies of something else while a hook runs does not hold the end up.
fn an_app_that_ends_during_the_stop_cuts_it_short(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let mut run = Launch::graceinit(room)
        .flags("--grace 2")
        .flag("--on-stop", puppet_line(&format!("read={}", fifo.path().display())))
        .app("block ready echo=USR1:6")
        .start()?;
    let app = run.outer(run.ready()?.number("pid")?)?;
    run.signal("TERM")?;
    let _held = fifo.hold()?;
    sys::kill(app, libc::SIGUSR1)?;
    run.exits(6)?;
    ensure!(run.survivors().is_empty(), "the hook is left behind");
    Ok(())
}

/// mixed: polite to the app alone, and at the escalation to everybody.
fn mixed_escalates_to_the_tree(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 60 --scope mixed --stop-signal TERM:300ms,QUIT")
        .app("block spawn=setsid:name=child;block;ready;echo=QUIT:0 ready echo=QUIT:3")
        .start()?;
    run.out.expect("child: ready")?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    ensure_eq!(run.out.count("child: got TERM"), 0, "TERM at the child");
    ensure_eq!(run.out.count("child: got QUIT"), 1, "QUIT at the child");
    Ok(())
}

shared!(
    term_and_int_are_passed_on_as_received,
    a_stopped_app_is_continued,
    an_app_that_handles_nothing_ends,
    rewriting_as_dumb_init_does
);
both_rooms!(
    a_stop_that_is_not_answered_ends_in_a_kill,
    the_ladder_is_climbed,
    rewriting,
    another_signal_may_mean_stop,
    a_second_stop_request_is_not_repeated_to_the_app,
    a_second_stop_request_may_mean_kill,
    signals_are_forwarded_during_a_hook,
    an_app_that_ends_during_the_stop_cuts_it_short,
    mixed_escalates_to_the_tree
);
