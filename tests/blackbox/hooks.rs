//! Hooks: when they run, how often, and that none of them can hold a stop up.

use std::time::{Duration, Instant};

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Launch, Outcome, Room, Run, Status, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// A life with an app that ends on TERM with code 3.
fn started(launch: Launch) -> Outcome<Run> {
    let run = launch.app("block ready echo=TERM:3").start()?;
    run.ready()?;
    Ok(run)
}

/// A hook that adds a line to a file.
fn note(place: &Place, file: &str, text: &str) -> String {
    puppet_line(&format!("append={}:{text}", place.text(file)))
}

/// Each waits for the other: in order they would both be killed.
fn pre_stop_hooks_run_side_by_side(room: Room) -> Outcome {
    let place = Place::new();
    let (one, other) = (place.fifo("one"), place.fifo("other"));
    let hook = |first: &str| format!("sh -c '{first} >> {}'", place.text("met"));
    let (one, other) = (one.path().display(), other.path().display());
    let mut run = started(
        Launch::graceinit(room)
            .flags("--grace 60 --hook-timeout 50")
            .flag("--pre-stop", hook(&format!("echo a > {one}; read x < {other}; echo $x")))
            .flag("--pre-stop", hook(&format!("read x < {one}; echo b > {other}; echo $x"))),
    )?;
    run.signal("TERM")?;
    run.exits(3)?;
    let mut met: Vec<String> = place.expect("met")?.lines().map(String::from).collect();
    met.sort();
    ensure_eq!(met, ["a", "b"], "what the hooks heard from each other");
    Ok(())
}

/// One after the other, while the app lives and has not been told yet.
fn on_stop_hooks_run_in_order_before_the_signal(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let held =
        puppet_line(&format!("append={}:one read={}", place.text("notes"), fifo.path().display()));
    let mut run = started(
        Launch::graceinit(room)
            .flags("--grace 60 --hook-timeout 50")
            .flag("--pre-stop", note(&place, "notes", "zero"))
            .flag("--on-stop", held)
            .flag("--on-stop", note(&place, "notes", "two"))
            .flag("--on-stop", note(&place, "notes", "three"))
            .flag("--post-stop", note(&place, "notes", "four"))
            .flag("--post-stop", note(&place, "notes", "five")),
    )?;
    run.signal("TERM")?;
    let holding = fifo.hold()?;
    ensure_eq!(place.expect("notes")?, "zero\none\n", "while the first on-stop hook is held");
    ensure_eq!(run.out.count("got TERM"), 0, "TERM at the app before the hooks are through");
    drop(holding);
    run.exits(3)?;
    ensure_eq!(place.expect("notes")?, "zero\none\ntwo\nthree\nfour\nfive\n", "the order");
    Ok(())
}

fn a_failing_on_stop_hook_is_retried_with_growing_pauses(room: Room) -> Outcome {
    let place = Place::new();
    let file = place.text("attempts");
    let hook = format!(
        "sh -c 'echo $GRACEINIT_ATTEMPT $(date +%s%N) >> {file}; test $GRACEINIT_ATTEMPT = 3'"
    );
    let mut run = started(
        Launch::graceinit(room)
            .flags("--grace 60 --hook-backoff 200ms")
            .flag("--on-stop", hook)
            .flag("--on-stop", note(&place, "then", "next")),
    )?;
    run.signal("TERM")?;
    run.exits(3)?;
    let text = place.expect("attempts")?;
    let attempts: Vec<(u32, u128)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(n, time)| Some((n.parse().ok()?, time.parse().ok()?)))
        .collect();
    let numbers: Vec<u32> = attempts.iter().map(|(n, _)| *n).collect();
    ensure_eq!(numbers, [1, 2, 3], "the attempts");
    let pause = |n: usize| (attempts[n].1 - attempts[n - 1].1) / 1_000_000;
    // 200 and 400 ms, each cut by up to a half, so that replicas do not retry together.
    ensure!(pause(1) >= 100, "first pause {} ms", pause(1));
    ensure!(pause(2) >= 200, "second pause {} ms", pause(2));
    ensure_eq!(place.expect("then")?, "next\n", "the hook after it");
    run.err.find("on-stop-1").map(drop)
}

/// Retries are counted, a failure is a warning, and the stop goes on.
fn failing_hooks_are_warnings(room: Room) -> Outcome {
    let place = Place::new();
    let fail = |file: &str| {
        puppet_line(&format!("append={}:x complain={file}-failed exit=9", place.text(file)))
    };
    for (flags, pre, on, post) in [
        ("--hook-backoff 10ms", 1, 4, 1),
        ("--hook-backoff 10ms --hook-retries 2", 3, 3, 3),
        ("--hook-retries 0", 1, 1, 1),
    ] {
        let mut run = started(
            Launch::graceinit(room)
                .flags("--grace 60")
                .flags(flags)
                .flag("--pre-stop", fail("pre"))
                .flag("--on-stop", fail("on"))
                .flag("--post-stop", fail("post")),
        )?;
        run.signal("TERM")?;
        run.exits(3)?;
        ensure_eq!(run.out.count("got TERM"), 1, "TERM at the app");
        for (file, times) in [("pre", pre), ("on", on), ("post", post)] {
            let count = place.expect(file)?.lines().count();
            ensure_eq!(count, times, "attempts of {file} under {flags:?}");
            std::fs::remove_file(place.path(file))?;
            run.err.find(&format!("{file}-failed"))?;
        }
        for name in ["pre-stop-1", "on-stop-1", "post-stop-1"] {
            let line = format!("hook={name}");
            let said = |line: &crate::support::Line| {
                line.0.starts_with("graceinit: warn: ") && line.0.contains(name)
            };
            ensure!(run.err.so_far().iter().any(said), "no warning about {line}");
        }
    }
    Ok(())
}

/// Post-stop is the one phase that always comes.
fn post_stop_hooks_always_run(room: Room) -> Outcome {
    for (app, stop, code, told) in [
        ("ready exit=0", None, 0, "exit:0:"),
        ("ready exit=3", None, 3, "crash:3:"),
        ("ready die=SEGV", None, 139, "crash::SEGV"),
        ("block ready echo=TERM:0", Some("TERM"), 0, "signal:0:"),
        ("block ready echo=INT:4", Some("INT"), 4, "signal:4:"),
        ("ready pause", Some("TERM"), 143, "signal::TERM"),
        ("block ready echo", Some("TERM"), 137, "deadline::KILL"),
    ] {
        let place = Place::new();
        let hook = format!(
            "sh -c 'echo $GRACEINIT_REASON:$GRACEINIT_EXIT_CODE:$GRACEINIT_EXIT_SIGNAL > {}'",
            place.text("told")
        );
        let mut run = Launch::graceinit(room)
            .given("limit=4:0:0")
            .flags("--grace 500ms")
            .flag("--post-stop", hook)
            .app(app)
            .start()?;
        run.ready()?;
        if let Some(name) = stop {
            run.signal(name)?;
        }
        run.exits(code)?;
        ensure_eq!(place.expect("told")?.trim(), told, "what the hook was told after {app:?}");
    }
    Ok(())
}

fn post_stop_hooks_run_after_a_failed_start_too(room: Room) -> Outcome {
    let place = Place::new();
    place.file("no-x", "#!/bin/sh\n", 0o644);
    for (name, code) in [("missing", 127), ("no-x", 126)] {
        let mut run = Launch::graceinit(room)
            .flag("--post-stop", note(&place, "notes", name))
            .flag("--pre-stop", note(&place, "notes", "pre-stop"))
            .command([place.path(name)])
            .start()?;
        run.exits(code)?;
    }
    ensure_eq!(place.expect("notes")?, "missing\nno-x\n", "the hooks that ran");
    Ok(())
}

/// The app ending by itself goes straight to the end: nothing is left to be stopped.
fn an_app_that_ends_by_itself_skips_the_hooks_before_the_stop(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = Launch::graceinit(room)
        .flag("--pre-stop", note(&place, "notes", "pre"))
        .flag("--on-stop", note(&place, "notes", "on"))
        .flag("--post-stop", note(&place, "notes", "post"))
        .app("exit=0")
        .start()?;
    run.exits(0)?;
    ensure_eq!(place.expect("notes")?, "post\n", "the hooks that ran");
    Ok(())
}

/// Killed with its whole group, and the stop goes on.
fn a_hanging_hook_is_killed(room: Room) -> Outcome {
    for phase in ["--pre-stop", "--on-stop"] {
        let place = Place::new();
        let fifo = place.fifo("gate");
        // Its child holds the FIFO and the hook's output open.
        let hook = format!("block spawn=same:ready;read={} pause", fifo.path().display());
        let mut run = started(
            Launch::graceinit(room)
                .flags("--grace 60 --hook-timeout 500ms --hook-retries 0")
                .flag(phase, puppet_line(&hook)),
        )?;
        let start = Instant::now();
        run.signal("TERM")?;
        let held = fifo.hold()?;
        run.exits(3)?;
        ensure!(start.elapsed() >= Duration::from_millis(500), "cut off early");
        ensure!(run.survivors().is_empty(), "the hook is left behind");
        drop(held);
        let name = format!("{}-1", phase.trim_start_matches('-'));
        run.err.find(&name)?;
    }
    Ok(())
}

/// …and what it has forked away is asked to go then, not waited for until the end of the reserve.
fn a_hanging_post_stop_hook_is_killed(room: Room) -> Outcome {
    for flags in [
        "--hook-timeout 400ms --post-stop-timeout 60",
        "--post-stop-timeout 800ms",
        "--post-stop-timeout 800ms --hook-retries 2",
    ] {
        let mut run = started(
            Launch::graceinit(room)
                .flags(flags)
                .flag("--post-stop", puppet_line("block spawn=double:clean;ready;pause pause")),
        )?;
        run.signal("TERM")?;
        run.exits(3)?;
        ensure!(run.survivors().is_empty(), "left behind under {flags}");
    }
    Ok(())
}

/// However long hooks take, the app is told while there is time left for it: at the latest when a
/// quarter of the budget (5 s at most) is left.
fn hooks_leave_the_app_its_share_of_the_budget(room: Room) -> Outcome {
    for phase in ["--pre-stop", "--on-stop"] {
        let mut run = started(
            Launch::graceinit(room).flags("--grace 2").flag(phase, puppet_line("block pause")),
        )?;
        run.signal("TERM")?;
        run.out.expect("got TERM ")?;
        run.exits(3)?;
    }
    Ok(())
}

/// `nginx -s reload` style: a hook may leave a daemon. It neither holds the stop up (it has the
/// hook's output open) nor outlives it.
fn a_daemon_of_a_hook_does_not_hold_the_stop_up(room: Room) -> Outcome {
    for phase in ["--pre-stop", "--on-stop", "--post-stop"] {
        let mut run = started(
            Launch::graceinit(room)
                .flags("--grace 60 --hook-timeout 50 --post-stop-timeout 60")
                .flag(phase, puppet_line("spawn=double:ready;pause exit=0")),
        )?;
        run.signal("TERM")?;
        run.exits(3)?;
        ensure!(run.survivors().is_empty(), "the daemon of {phase} is left behind");
    }
    Ok(())
}

fn a_stubborn_daemon_of_a_hook_is_killed(room: Room) -> Outcome {
    for phase in ["--pre-stop", "--post-stop"] {
        let mut run = started(
            Launch::graceinit(room)
                .flags("--grace 1 --post-stop-timeout 1")
                .flag(phase, puppet_line("spawn=double:block;ready;pause exit=0")),
        )?;
        run.signal("TERM")?;
        run.exits(3)?;
        ensure!(run.survivors().is_empty(), "the daemon of {phase} is left behind");
    }
    Ok(())
}

/// A hook may be the stop itself (`nginx -s quit`), if it waits for the end of the app: the stop
/// signal would follow it otherwise. The app is not told twice then.
fn an_on_stop_hook_may_be_the_stop(room: Room) -> Outcome {
    let hook = "sh -c 'kill -TERM $GRACEINIT_APP_PID; \
                while kill -0 $GRACEINIT_APP_PID 2>/dev/null; do sleep 0.01; done'";
    let mut run = started(
        Launch::graceinit(room).flags("--grace 60 --hook-timeout 50").flag("--on-stop", hook),
    )?;
    run.signal("INT")?;
    run.exits(3)?;
    ensure_eq!(run.out.count("got TERM"), 1, "TERM at the app");
    ensure_eq!(run.out.count("got INT"), 0, "INT at the app");
    Ok(())
}

fn a_hook_that_is_not_there_is_a_warning(room: Room) -> Outcome {
    let place = Place::new();
    let missing = place.text("missing");
    let mut run = started(
        Launch::graceinit(room)
            .flags("--grace 60 --hook-backoff 10ms")
            .flag("--pre-stop", &missing)
            .flag("--on-stop", &missing)
            .flag("--on-stop", note(&place, "notes", "second"))
            .flag("--post-stop", &missing),
    )?;
    run.signal("TERM")?;
    run.exits(3)?;
    ensure_eq!(place.expect("notes")?, "second\n", "the hook after it");
    for name in ["pre-stop-1", "on-stop-1", "post-stop-1"] {
        run.err.find(name)?;
    }
    let line = run.err.find(&missing)?.0;
    ensure!(line.starts_with("graceinit: warn: "), "not a warning: {line}");
    Ok(())
}

/// A second request with `kill` ends hooks, too.
fn kill_again_does_not_wait_for_a_hook(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let mut run = started(
        Launch::graceinit(room)
            .flags("--grace 60 --hook-timeout 50 --stop-again kill")
            .flag("--on-stop", puppet_line(&format!("read={}", fifo.path().display())))
            .flag("--post-stop", note(&place, "notes", "post")),
    )?;
    run.signal("TERM")?;
    let _held = fifo.hold()?;
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(137), "the end");
    ensure_eq!(place.expect("notes")?, "post\n", "post-stop");
    ensure!(run.survivors().is_empty(), "left behind");
    Ok(())
}

/// A hook that dies by a signal has failed.
fn a_hook_killed_by_somebody_is_retried(room: Room) -> Outcome {
    let place = Place::new();
    let hook = format!(
        "sh -c 'echo $GRACEINIT_ATTEMPT >> {}; test $GRACEINIT_ATTEMPT = 2 || kill -KILL $$'",
        place.text("attempts")
    );
    let mut run = started(
        Launch::graceinit(room).flags("--grace 60 --hook-backoff 10ms").flag("--on-stop", hook),
    )?;
    run.signal("TERM")?;
    run.exits(3)?;
    ensure_eq!(place.expect("attempts")?, "1\n2\n", "the attempts");
    ensure!(proc::zombies(run.outer_pid()).is_empty(), "zombies");
    Ok(())
}

both_rooms!(
    pre_stop_hooks_run_side_by_side,
    on_stop_hooks_run_in_order_before_the_signal,
    a_failing_on_stop_hook_is_retried_with_growing_pauses,
    failing_hooks_are_warnings,
    post_stop_hooks_always_run,
    post_stop_hooks_run_after_a_failed_start_too,
    an_app_that_ends_by_itself_skips_the_hooks_before_the_stop,
    a_hanging_hook_is_killed,
    a_hanging_post_stop_hook_is_killed,
    hooks_leave_the_app_its_share_of_the_budget,
    a_daemon_of_a_hook_does_not_hold_the_stop_up,
    a_stubborn_daemon_of_a_hook_is_killed,
    an_on_stop_hook_may_be_the_stop,
    a_hook_that_is_not_there_is_a_warning,
    kill_again_does_not_wait_for_a_hook,
    a_hook_killed_by_somebody_is_retried
);
