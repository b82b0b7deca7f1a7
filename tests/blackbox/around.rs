//! Hooks around a running app: before it is started, when it is ready, before it reloads.

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Launch, Outcome, Room, Run};
use crate::{both_rooms, ensure, ensure_eq};

/// A hook that adds a line to the file `notes`.
fn note(place: &Place, text: &str) -> String {
    puppet_line(&format!("append={}:{text}", place.text("notes")))
}

/// The same, and then it waits for the test to let it go on. TERM ends it with a note.
fn held(place: &Place, text: &str, gate: &str) -> String {
    puppet_line(&format!("append={}:{text} read={}", place.text("notes"), place.text(gate)))
}

/// An app that notes its start, tells its signals, and ends on TERM with code 3.
fn with_app(place: &Place, launch: Launch) -> Launch {
    launch.app(&format!("block append={}:app ready echo=TERM:3", place.text("notes")))
}

fn stops(run: &mut Run) -> Outcome {
    run.signal("TERM")?;
    run.exits(3)
}

/// In order, each to its end, and the app after the last.
fn pre_start_hooks_come_before_the_app(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let launch = Launch::graceinit(room)
        .flag("--pre-start", held(&place, "one", "gate"))
        .flag("--pre-start", note(&place, "two"));
    let mut run = with_app(&place, launch).start()?;
    let holding = gate.hold()?;
    ensure_eq!(place.expect("notes")?, "one\n", "while the first hook is held");
    drop(holding);
    run.ready()?;
    ensure_eq!(place.expect("notes")?, "one\ntwo\napp\n", "the order");
    stops(&mut run)
}

/// The app is not started, what is left of the life goes on, and the code is graceinit's own.
fn a_failing_pre_start_hook_ends_the_start(room: Room) -> Outcome {
    let place = Place::new();
    let launch = Launch::graceinit(room)
        .flags("--hook-retries 1 --hook-backoff 1ms")
        .flag("--pre-start", format!("{} exit=4", note(&place, "try")))
        .flag("--pre-start", note(&place, "never"))
        .flag("--post-stop", note(&place, "afterwards"));
    let mut run = with_app(&place, launch).start()?;
    run.exits(125)?;
    ensure_eq!(place.expect("notes")?, "try\ntry\nafterwards\n", "what ran");
    run.err.find("the app is not started: a pre-start hook has failed").map(drop)
}

/// It is a warning where the file says so.
fn a_pre_start_hook_may_fail(room: Room) -> Outcome {
    let place = Place::new();
    let file =
        "[[hook.pre-start]]\nname = \"migrate\"\ncommand = \"false\"\non_failure = \"warn\"\n";
    let file = place.file("graceinit.toml", file, 0o644);
    let launch = Launch::graceinit(room).flag("--config", file);
    let mut run = with_app(&place, launch).start()?;
    run.ready()?;
    run.err.find("hook failed with code 1 hook=migrate")?;
    stops(&mut run)
}

/// The hook is asked to end, the app is never started, and the code tells of the signal.
fn a_stop_before_the_app_is_started(room: Room) -> Outcome {
    let place = Place::new();
    let hook = puppet_line(&format!(
        "block append={}:hook write={} echo=TERM:0",
        place.text("notes"),
        place.text("begun:1")
    ));
    let after =
        format!("sh -c 'echo $GRACEINIT_REASON $GRACEINIT_SIGNAL >> {}'", place.text("notes"));
    let launch = Launch::graceinit(room)
        .flags("--grace 60s -v")
        .flag("--pre-start", hook)
        .flag("--pre-start", note(&place, "never"))
        .flag("--post-stop", after);
    let mut run = with_app(&place, launch).start()?;
    run.err.until("graceinit: info: pre-start hook started hook=pre-start-1")?;
    crate::support::proc::poll("the hook", || place.read("begun"))?;
    run.signal("TERM")?;
    run.exits(143)?;
    ensure_eq!(place.expect("notes")?, "hook\nsignal TERM\n", "what ran");
    run.err.find("[pre-start pre-start-1 stdout] got TERM").map(drop)
}

/// In the pause before a retry nobody is there to wait for: no child, so no SIGCHLD either.
fn a_stop_between_two_tries_of_a_pre_start_hook(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 60s --hook-retries 3 --hook-backoff 30s -v --pre-start false")
        .app("ready exit=0")
        .start()?;
    run.err.until("graceinit: info: pre-start hook is retried")?;
    run.signal("TERM")?;
    run.exits(143)
}

/// Nothing is lost because it came too early.
fn signals_wait_for_the_app(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    // An app without a handler would die of them, so they wait until it is ready.
    let launch = Launch::graceinit(room)
        .given("mask=USR1,HUP")
        .flags("--ready after:1ms")
        .flag("--pre-start", held(&place, "one", "gate"));
    let mut run = with_app(&place, launch).start()?;
    let holding = gate.hold()?;
    for signal in ["USR1", "HUP", "USR1"] {
        run.signal(signal)?;
    }
    drop(holding);
    run.ready()?;
    let mut told = vec![run.out.next()?.0, run.out.next()?.0];
    told.sort();
    ensure!(told[0].starts_with("got HUP ") && told[1].starts_with("got USR1 "), "told {told:?}");
    stops(&mut run)?;
    ensure_eq!(run.out.count("got USR1 "), 1, "a standard signal that is pending is one");
    Ok(())
}

/// They are handed to the app. A hook that daemonizes must not keep a listening socket open.
fn a_pre_start_hook_gets_no_inherited_descriptor(room: Room) -> Outcome {
    let place = Place::new();
    let file = place.file("inherited", "x", 0o644);
    let mut run = Launch::graceinit(room)
        .given(&format!("open=7:{}", file.display()))
        .flag("--pre-start", puppet_line(&format!("to={} fds", place.text("fds"))))
        .app("block ready fds echo=TERM:3")
        .start()?;
    run.ready()?;
    run.out.until("fd 7 ")?;
    let of_hook = place.expect("fds")?;
    let open: Vec<&str> = of_hook.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    // Its own file is opened last.
    ensure!(open.starts_with(&["0", "1", "2"]), "{of_hook}");
    ensure!(!open.contains(&"7"), "{of_hook}");
    stops(&mut run)
}

/// In order beside the running app; they know of no reason and no signal.
fn on_ready_hooks_run_when_the_app_does(room: Room) -> Outcome {
    let place = Place::new();
    let tell =
        "echo $GRACEINIT_PHASE $GRACEINIT_HOOK ${GRACEINIT_REASON-none} ${GRACEINIT_SIGNAL-none}";
    let launch = Launch::graceinit(room)
        .flag(
            "--on-ready",
            format!("sh -c 'test $GRACEINIT_APP_PID -gt 0 && {tell} >> {}'", place.text("notes")),
        )
        .flag(
            "--on-ready",
            puppet_line(&format!(
                "append={}:last write={}",
                place.text("notes"),
                place.text("done:1")
            )),
        );
    let mut run = launch.app("block ready echo=TERM:3").start()?;
    run.ready()?;
    crate::support::proc::poll("the second hook", || place.read("done"))?;
    ensure_eq!(place.expect("notes")?, "on-ready on-ready-1 none none\nlast\n", "what ran");
    stops(&mut run)
}

/// The signal is passed on when the hooks are through; others overtake it.
fn a_reload_waits_for_its_hooks(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let env = puppet_line(&format!(
        "to={} env=GRACEINIT_SIGNAL env=GRACEINIT_SENDER_PID",
        place.text("env")
    ));
    let launch = Launch::graceinit(room)
        .flags("--hook-timeout 60s --grace 100s")
        .flag("--on-reload", held(&place, "reload", "gate"))
        .flag("--on-reload", env);
    let mut run = with_app(&place, launch).start()?;
    run.ready()?;
    run.signal("HUP")?;
    let holding = gate.hold()?;
    run.signal("USR1")?;
    ensure!(run.out.next()?.0.starts_with("got USR1 "), "HUP came before its hooks were through");
    drop(holding);
    run.out.expect("got HUP ")?;
    ensure!(
        place.expect("env")?.starts_with("env GRACEINIT_SIGNAL=HUP\n"),
        "what the hook was told"
    );
    stops(&mut run)
}

/// Asked ten times while the first round runs: one more round.
fn reloads_do_not_pile_up(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let launch = Launch::graceinit(room)
        .flags("--hook-timeout 60s --grace 100s --reload-on HUP,USR2 -v")
        .flag("--on-reload", held(&place, "reload", "gate"));
    let mut run = with_app(&place, launch).start()?;
    run.ready()?;
    run.signal("HUP")?;
    let holding = gate.hold()?;
    for _ in 0..10 {
        run.signal("HUP")?;
        run.err.until("graceinit: info: reload requested")?;
    }
    run.signal("USR2")?;
    run.err.until("graceinit: info: reload requested signal=USR2")?;
    drop(holding);
    run.out.expect("got HUP ")?;
    gate.release()?;
    run.out.expect("got HUP ")?;
    gate.release()?;
    run.out.expect("got USR2 ")?;
    stops(&mut run)?;
    ensure_eq!(place.expect("notes")?, "app\nreload\nreload\nreload\n", "the rounds");
    Ok(())
}

/// A check of the new configuration as a hook: what it refuses is not reloaded.
fn a_reload_can_be_refused(room: Room) -> Outcome {
    let place = Place::new();
    let file = format!(
        "[[hook.on-reload]]\nname = \"check\"\ncommand = [\"test\", \"-e\", \"{}\"]\n\
         on_failure = \"abort\"\n",
        place.text("valid")
    );
    let file = place.file("graceinit.toml", file, 0o644);
    let launch = Launch::graceinit(room).flag("--config", file);
    let mut run = with_app(&place, launch).start()?;
    run.ready()?;
    run.signal("HUP")?;
    run.err.until("graceinit: warn: the reload signal is not forwarded: an on-reload hook has failed hook=check")?;
    place.file("valid", "", 0o644);
    run.signal("HUP")?;
    run.out.expect("got HUP ")?;
    stops(&mut run)?;
    ensure_eq!(run.out.count("got HUP "), 1, "reloads");
    Ok(())
}

/// A stop does not wait for a reload, and a server that stops is not reloaded.
fn a_stop_overtakes_a_reload(room: Room) -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let launch = Launch::graceinit(room)
        .flags("--hook-timeout 60s --grace 100s -v")
        .flag("--on-reload", held(&place, "reload", "gate"));
    let mut run = with_app(&place, launch).start()?;
    run.ready()?;
    run.signal("HUP")?;
    let holding = gate.hold()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.err.until("graceinit: info: reload dropped: the app is ending signal=HUP")?;
    // The hook was asked to end, and its reader with it.
    run.exits(3)?;
    drop(holding);
    Ok(())
}

/// What an on-ready hook does must not come after the pre-stop hook that undoes it; and nobody waits for
/// a hook that has lost its purpose.
fn a_stop_ends_an_on_ready_hook(room: Room) -> Outcome {
    let place = Place::new();
    let hook = puppet_line(&format!("block write={} echo=TERM:0", place.text("begun:1")));
    let launch = Launch::graceinit(room)
        .flags("--grace 100s --hook-timeout 60s -v")
        .flag("--on-ready", hook);
    let mut run = with_app(&place, launch).start()?;
    run.ready()?;
    crate::support::proc::poll("the hook", || place.read("begun"))?;
    stops(&mut run)?;
    run.err.find("[on-ready on-ready-1 stdout] got TERM").map(drop)
}

/// The hooks after one that aborts are left out; the stop goes on.
fn an_on_stop_hook_may_abort_its_phase(room: Room) -> Outcome {
    let place = Place::new();
    let file = format!(
        "[[hook.on-stop]]\nname = \"drain\"\ncommand = \"false\"\nretries = 0\non_failure = \"abort\"\n\
         [[hook.on-stop]]\ncommand = '{}'\n",
        note(&place, "never")
    );
    let file = place.file("graceinit.toml", file, 0o644);
    let launch = Launch::graceinit(room).flag("--config", file);
    let mut run = with_app(&place, launch).start()?;
    run.ready()?;
    stops(&mut run)?;
    ensure_eq!(place.expect("notes")?, "app\n", "what ran");
    run.err.find("the other on-stop hooks are skipped: this one has failed hook=drain").map(drop)
}

both_rooms!(
    pre_start_hooks_come_before_the_app,
    a_failing_pre_start_hook_ends_the_start,
    a_pre_start_hook_may_fail,
    a_stop_before_the_app_is_started,
    a_stop_between_two_tries_of_a_pre_start_hook,
    signals_wait_for_the_app,
    a_pre_start_hook_gets_no_inherited_descriptor,
    on_ready_hooks_run_when_the_app_does,
    a_reload_waits_for_its_hooks,
    reloads_do_not_pile_up,
    a_reload_can_be_refused,
    a_stop_overtakes_a_reload,
    a_stop_ends_an_on_ready_hook,
    an_on_stop_hook_may_abort_its_phase
);
