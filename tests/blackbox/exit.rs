//! How graceinit ends: the app's code, or why there was none.

use super::peers::{Subject, compare, shared};
use crate::support::files::Place;
use crate::support::signals::name_of;
use crate::support::{Launch, Outcome, Program, Room, Status};
use crate::{both_rooms, ensure, ensure_eq};

/// Ends after its app did `how`.
fn end_of(launch: Launch, how: &str) -> Outcome<Status> {
    launch.app(how).start()?.wait()
}

fn the_apps_code_is_passed_on(subject: Subject) -> Outcome {
    for code in [0, 1, 2, 3, 63, 64, 77, 100, 124, 125, 126, 127, 128, 130, 137, 143, 200, 254, 255]
    {
        let status = end_of(subject.launch(), &format!("exit={code}"))?;
        ensure_eq!(status, Status::Code(code), "the app's code {code}");
    }
    Ok(())
}

fn every_code_is_passed_on(room: Room) -> Outcome {
    for code in 0..=255 {
        let status = end_of(Launch::graceinit(room), &format!("exit={code}"))?;
        ensure_eq!(status, Status::Code(code), "the app's code {code}");
    }
    Ok(())
}

/// The signals whose default action ends a process, some with a core file (which the launcher
/// forbids, so that no directory fills up).
fn death_by_signal_is_128_plus_its_number(subject: Subject) -> Outcome {
    let deadly = (1..=31).filter(|n| ![17, 18, 19, 20, 21, 22, 23, 28].contains(n));
    for signal in deadly.chain([32, 33, 34, 50, 64]) {
        let launch = subject.launch().given("limit=4:0:0");
        let status = end_of(launch, &format!("die={}", name_of(signal)))?;
        ensure_eq!(status, Status::Code(128 + signal), "death by {}", name_of(signal));
    }
    Ok(())
}

/// tini's `-e`; repeatable, and only for the codes it names.
fn a_code_can_be_made_zero(subject: Subject) -> Outcome {
    for (how, expected) in [("exit=3", 0), ("exit=143", 0), ("exit=4", 4), ("die=TERM", 0)] {
        let status = end_of(subject.launch().flags("-e 143 -e 3"), how)?;
        ensure_eq!(status, Status::Code(expected), "{how} under -e 143 -e 3");
    }
    Ok(())
}

/// A JVM answers TERM with 143: fine after a stop, alarming without one.
fn a_code_can_be_made_zero_after_a_stop_only(room: Room) -> Outcome {
    let launch = || Launch::graceinit(room).flags("--stop-exit-ok 143 --stop-exit-ok 9");
    for (code, expected) in [(143, 0), (9, 0), (10, 10)] {
        let status = end_of(launch(), &format!("exit={code}"))?;
        ensure_eq!(status, Status::Code(code), "code {code} without a stop");
        let mut run = launch().app(&format!("block ready echo=TERM:{code}")).start()?;
        run.ready()?;
        run.signal("TERM")?;
        ensure_eq!(run.wait()?, Status::Code(expected), "code {code} after a stop");
    }
    // Dead by TERM is 143 too.
    let mut run = launch().app("ready pause").start()?;
    run.ready()?;
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(0), "death by TERM after a stop");
    Ok(())
}

fn the_code_after_a_kill_can_be_chosen(room: Room) -> Outcome {
    for (flags, expected) in [("", 137), ("--grace-exit 99", 99), ("--grace-exit 0", 0)] {
        let mut run = Launch::graceinit(room)
            .flags("--grace 300ms")
            .flags(flags)
            .app("block ready echo")
            .start()?;
        run.ready()?;
        run.signal("TERM")?;
        ensure_eq!(run.wait()?, Status::Code(expected), "killed under {flags:?}");
    }
    // It is about graceinit's own KILL: one from elsewhere is the app's death like any other.
    let status = end_of(Launch::graceinit(room).flags("--grace-exit 99"), "die=KILL")?;
    ensure_eq!(status, Status::Code(137), "killed by somebody else");
    Ok(())
}

/// A program that cannot be started, and what must be said about it.
fn refused(launch: Launch, codes: &[i32], name: &str) -> Outcome<String> {
    let mut run = launch.start()?;
    let status = run.wait()?;
    let said: Vec<String> = run.err.all()?.into_iter().map(|line| line.0).collect();
    let said = said.join("\n");
    ensure!(
        codes.iter().any(|code| status == Status::Code(*code)),
        "{name}: ended with {status}, expected one of {codes:?}"
    );
    ensure!(said.contains(name), "stderr does not name {name}: {said:?}");
    Ok(said)
}

/// tini's and the shells' codes.
fn exec_failures_have_the_shells_codes(subject: Subject) -> Outcome {
    let place = Place::new();
    place.file("no-x", "#!/bin/sh\nexit 0\n", 0o644);
    for (program, code) in
        [("missing", 127), ("no-x", 126), (".", 126), ("no-x/below", 127), ("", 127)]
    {
        let path = match program {
            "" => String::new(),
            name => place.text(name),
        };
        let mut run = subject.launch().command([&path]).start()?;
        ensure_eq!(run.wait()?, Status::Code(code), "{program:?}");
    }
    Ok(())
}

fn exec_failures_name_path_and_reason(room: Room) -> Outcome {
    let place = Place::new();
    place.file("no-x", "#!/bin/sh\nexit 0\n", 0o644);
    place.file("garbage", b"\x7fELF\0\0\0\0not a program\0\xff", 0o755);
    place.file("lost-interpreter", "#!/nowhere/python3\nexit 0\n", 0o755);
    let at = |name: &str| Launch::graceinit(room).command([place.path(name)]);
    for (name, codes, reason) in [
        ("missing", &[127][..], "No such file"),
        ("no-x", &[126], "ermission denied"),
        ("garbage", &[126], "xec format error"),
        // Found, but what its first line names was not: the shells disagree about the code.
        ("lost-interpreter", &[126, 127], "interpreter"),
    ] {
        let said = refused(at(name), codes, &place.text(name))?;
        ensure!(said.contains(reason), "{name}: no {reason:?} in {said:?}");
        ensure!(said.contains("graceinit: fatal: "), "{name}: not in the grammar: {said:?}");
    }
    refused(at(""), &[126], &place.text(""))?;
    refused(Launch::graceinit(room).command(["no-such-command"]), &[127], "no-such-command")?;
    Ok(())
}

/// execvp(3): a text without `#!` is a shell script.
fn a_script_without_interpreter_runs_in_the_shell(subject: Subject) -> Outcome {
    let place = Place::new();
    let script = place.file("script", "echo \"arg $1\"\nexit 42\n", 0o755);
    let mut run = subject.launch().command([script.as_os_str(), "x y".as_ref()]).start()?;
    ensure_eq!(run.wait()?, Status::Code(42), "the script");
    ensure_eq!(run.out.next()?.0, "arg x y", "its argument");
    Ok(())
}

/// execvp(3) again: PATH is searched in order, what cannot be executed is passed over, and the error
/// is EACCES if that was the only trouble.
fn the_path_is_searched_as_execvp_does(subject: Subject) -> Outcome {
    let place = Place::new();
    for dir in ["first", "second", "third"] {
        std::fs::create_dir(place.path(dir))?;
    }
    place.file("first/tool", "#!/bin/sh\nexit 1\n", 0o644);
    place.file("second/tool", "#!/bin/sh\nexit 2\n", 0o755);
    place.file("third/tool", "#!/bin/sh\nexit 3\n", 0o755);
    std::fs::create_dir(place.path("third/dir"))?;
    let all = ["first", "second", "third"].map(|dir| place.text(dir)).join(":");
    for (path, tool, code) in [
        (all.as_str(), "tool", 2),
        (&place.text("third"), "tool", 3),
        (&place.text("first"), "tool", 126),
        (&place.text("third"), "dir", 126),
        (&place.text("third"), "none", 127),
        // An empty element is the working directory.
        (&format!("{}:", place.text("first")), "second/../second/tool", 2),
        (&format!(":{}", place.text("first")), "here", 7),
    ] {
        place.file("here", "#!/bin/sh\nexit 7\n", 0o755);
        // The variable is set at the last moment: the launchers need the real one.
        let mut run = subject
            .launch()
            .given("drop-env=PATH")
            .given(&format!("setenv=PATH={path}"))
            .cwd(place.path("."))
            .command([tool])
            .start()?;
        ensure_eq!(run.wait()?, Status::Code(code), "{tool} in {path}");
    }
    Ok(())
}

/// The app's own flags belong to the app, with and without `--`.
fn flags_behind_the_command_are_the_apps(subject: Subject) -> Outcome {
    for dashes in [true, false] {
        let launch = subject.launch().command(["/bin/echo", "-v", "--grace", "-g", "--", "-x"]);
        let launch = if dashes { launch } else { launch.without_dashes() };
        let mut run = launch.start()?;
        ensure_eq!(run.out.next()?.0, "-v --grace -g -- -x", "what the app was given");
        run.exits(0)?;
    }
    Ok(())
}

shared!(
    the_apps_code_is_passed_on,
    death_by_signal_is_128_plus_its_number,
    exec_failures_have_the_shells_codes,
    a_script_without_interpreter_runs_in_the_shell,
    the_path_is_searched_as_execvp_does,
    flags_behind_the_command_are_the_apps
);
both_rooms!(
    every_code_is_passed_on,
    a_code_can_be_made_zero_after_a_stop_only,
    the_code_after_a_kill_can_be_chosen,
    exec_failures_name_path_and_reason
);

/// Only tini promises this one.
#[test]
fn a_code_can_be_made_zero_as_in_tini() -> Outcome {
    for program in [Program::Graceinit, Program::Tini] {
        for room in [Room::PidNs, Room::Plain] {
            compare("a_code_can_be_made_zero", program, room, a_code_can_be_made_zero)?;
        }
    }
    Ok(())
}
