//! An app that has left its process group is reached all the same: by forwarded signals and by the stop signal of every
//! scope, once, and by SIGKILL.

use crate::support::{Launch, Outcome, Program, Room, Run, need};
use crate::{both_rooms, ensure, ensure_eq};

/// The child stays in the group.
const LEAVES: &str = "name=app block spawn=same:name=child;block;ready;echo=TERM:0 regroup ready";

/// The app has left the group that graceinit has made for it.
fn has_left(run: &Run) -> Outcome {
    let child = run.out.expect("child: ready ")?;
    let app = run.out.expect("app: ready ")?;
    ensure!(app.get("pgid") != child.get("pgid"), "the same group: {} {}", app.0, child.0);
    Ok(())
}

fn every_scope_reaches_an_app_that_has_left_its_group(room: Room) -> Outcome {
    // Whether the child gets what is forwarded.
    for (scope, with_child) in
        [("auto", false), ("group", true), ("main", false), ("mixed", false), ("tree", true)]
    {
        let mut run = Launch::graceinit(room)
            .flags(&format!("--grace 60s --scope {scope}"))
            .app(&format!("{LEAVES} echo=TERM:3"))
            .start()?;
        has_left(&run)?;
        for signal in ["USR1", "HUP"] {
            run.signal(signal)?;
            run.out.find(&format!("app: got {signal} "))?;
            if with_child {
                run.out.find(&format!("child: got {signal} "))?;
            }
        }
        run.signal("TERM")?;
        run.exits(3)?;
        for signal in ["USR1", "HUP", "TERM"] {
            ensure_eq!(run.out.count(&format!("app: got {signal} ")), 1, "{scope}: {signal}");
            // It is asked when the app has ended, at the latest.
            let expected = usize::from(with_child || signal == "TERM");
            let count = run.out.count(&format!("child: got {signal} "));
            ensure_eq!(count, expected, "{scope}: {signal} at the child");
        }
        ensure!(run.survivors().is_empty(), "{scope}: left behind");
    }
    Ok(())
}

/// The app makes its group after the signal was sent to that group in vain, and before graceinit asks for its group.
#[test]
fn a_signal_is_not_lost_while_the_app_makes_its_group() -> Outcome {
    if !need::program("/usr/bin/strace") {
        return Ok(());
    }
    let mut run = Launch::new(Program::AsDumbInit, Room::Plain)
        .given("mask=RTMIN raise=RTMIN")
        .wrapped_by(["strace", "-DD", "-f", "-o", "/dev/null", "-e", "trace=setsid,getpgid"])
        .wrapped_by(["-e", "inject=setsid:delay_enter=400000"])
        .wrapped_by(["-e", "inject=getpgid:delay_enter=800000"])
        .app("block ready echo=RTMAX:3")
        .start()?;
    run.ready()?;
    run.out.expect("got RTMIN ")?;
    run.signal("RTMAX")?;
    run.exits(3)?;
    ensure_eq!(run.out.count("got RTMIN "), 1, "RTMIN");
    Ok(())
}

/// Where /proc is missing.
const WITHOUT_PROC: [&str; 6] =
    ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"];

/// Without /proc nothing but its pid leads to it.
fn without_proc_an_app_that_has_left_its_group_is_asked_and_killed(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    for scope in ["auto", "group", "tree"] {
        let mut run = Launch::graceinit(room)
            .wrapped_by(WITHOUT_PROC)
            .flags(&format!("--grace 1s --scope {scope}"))
            .app(&format!("{LEAVES} echo"))
            .start()?;
        has_left(&run)?;
        run.signal("TERM")?;
        run.out.find("app: got TERM ")?;
        run.exits(137)?;
        // Near the end of the budget PID 1 has nothing but a signal to all processes for those that it cannot see.
        let most = if room == Room::PidNs && scope == "auto" { 2 } else { 1 };
        let count = run.out.count("app: got TERM ");
        ensure!((1..=most).contains(&count), "{scope}: {count} stop signals");
        ensure!(run.survivors().is_empty(), "{scope}: left behind: {:?}", run.survivors());
    }
    Ok(())
}

/// The main loop hangs, and the dead-man's handler ends everything.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_dead_man_kills_an_app_that_has_left_its_group() -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let mut run = Launch::graceinit(Room::Plain)
        .wrapped_by(WITHOUT_PROC)
        .flags("--grace 1s --post-stop-timeout 500ms --scope group")
        .app(&format!("{LEAVES} echo"))
        .start()?;
    has_left(&run)?;
    run.signal("TERM")?;
    run.out.find("app: got TERM ")?;
    crate::support::sys::wedge(run.init()?)?;
    run.exits(137)?;
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    Ok(())
}

/// graceinit fails before it has asked the app.
fn after_a_panic_an_app_that_has_left_its_group_is_asked(room: Room) -> Outcome {
    for scope in ["auto", "group"] {
        let mut run = Launch::graceinit(room)
            .env("FAULT_OF_GRACEINIT", "panic:pre-stop")
            .flags(&format!("--grace 60s --pre-stop sleep:10ms --scope {scope}"))
            .app(&format!("{LEAVES} echo=TERM:3"))
            .start()?;
        has_left(&run)?;
        run.signal("TERM")?;
        run.exits(3)?;
        for name in ["app", "child"] {
            let count = run.out.count(&format!("{name}: got TERM "));
            ensure_eq!(count, 1, "{scope}: stop signals of {name}");
        }
    }
    Ok(())
}

/// graceinit may not signal it, so a child that becomes its user does.
fn a_deputy_reaches_an_app_that_has_left_its_group(room: Room) -> Outcome {
    if !(need::root() && need::program("/usr/bin/setpriv")) {
        return Ok(());
    }
    for scope in ["auto", "group", "tree"] {
        let mut run = Launch::graceinit(room)
            .wrapped_by(["setpriv", "--bounding-set=-all,+setuid,+setgid", "--inh-caps=-all"])
            .flags(&format!("--user 65534 --grace 60s --scope {scope}"))
            .app(&format!("{LEAVES} echo=TERM:3"))
            .start()?;
        has_left(&run)?;
        run.signal("USR1")?;
        run.out.find("app: got USR1 ")?;
        run.signal("TERM")?;
        run.exits(3)?;
        for signal in ["USR1", "TERM"] {
            ensure_eq!(run.out.count(&format!("app: got {signal} ")), 1, "{scope}: {signal}");
        }
        ensure_eq!(run.out.count("child: got TERM "), 1, "{scope}: stop signals of the child");
    }
    Ok(())
}

both_rooms!(
    every_scope_reaches_an_app_that_has_left_its_group,
    without_proc_an_app_that_has_left_its_group_is_asked_and_killed,
    after_a_panic_an_app_that_has_left_its_group_is_asked,
    a_deputy_reaches_an_app_that_has_left_its_group,
);
