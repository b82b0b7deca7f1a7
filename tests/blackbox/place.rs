//! Where graceinit puts the app, and where it stays itself: session, group, working directory. By the
//! names of tini, dumb-init and catatonit, beside these.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::support::files::Place;
use crate::support::init::puppet;
use crate::support::{Launch, Outcome, Program, Room, Run, alias, need, proc};
use crate::{both_rooms, ensure, ensure_eq};
use Program::{Catatonit, DumbInit, Tini};

/// Where the app is, among sessions and groups.
fn standing(run: &Run) -> Outcome<String> {
    let ready = run.ready()?;
    let app = run.outer(ready.number("pid")?)?;
    // From here: inside a namespace ids from outside are 0.
    let app = proc::poll("the app", || proc::process(app))?;
    let init = proc::poll("the init", || proc::process(app.ppid))?;
    let session = match app.sid {
        sid if sid == app.pid => "a session of its own",
        sid if sid == init.sid => "the init's session",
        _ => "another session",
    };
    let group = match app.pgid {
        pgid if pgid == app.pid => "a group of its own",
        pgid if pgid == init.pgid => "the init's group",
        _ => "another group",
    };
    let terminal = if app.tty == 0 { "no terminal" } else { "a terminal" };
    Ok(format!("{session}, {group}, {terminal}"))
}

const SESSION: &str = "a session of its own, a group of its own, no terminal";
const GROUP: &str = "the init's session, a group of its own, no terminal";
const NEITHER: &str = "the init's session, the init's group, no terminal";

/// The session comes with the name dumb-init alone, and goes with its flag and its variable. A group of
/// its own the app has in any case: what it leaves behind is found by that.
fn the_app_has_a_session_where_the_name_says_so(room: Room) -> Outcome {
    // (whose name, flags, variable, there, here)
    let ways = [
        (Tini, "-s", "", GROUP, GROUP),
        (Tini, "-s -g", "", GROUP, GROUP),
        (DumbInit, "", "", SESSION, SESSION),
        (DumbInit, "-v", "DUMB_INIT_SETSID=1", SESSION, SESSION),
        (DumbInit, "-c", "", NEITHER, GROUP),
        (DumbInit, "--single-child", "DUMB_INIT_SETSID=1", NEITHER, GROUP),
        (DumbInit, "", "DUMB_INIT_SETSID=0", NEITHER, GROUP),
        (Catatonit, "", "", GROUP, GROUP),
        (Catatonit, "-g", "", GROUP, GROUP),
    ];
    for (program, flags, variable, there, here) in ways {
        let path = program.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut inits = vec![(alias(name), here)];
        if need::peer(program) {
            inits.push((path.clone(), there));
        }
        for (file, expected) in inits {
            let label = format!("{} {flags} {variable}", file.display());
            let mut launch = Launch::new(program, room).no_flags().program_file(file).flags(flags);
            if let Some((name, value)) = variable.split_once('=') {
                launch = launch.env(name, value);
            }
            let run = launch.app("block ready echo").start()?;
            ensure_eq!(standing(&run)?, expected, "{label}");
        }
    }
    let run = Launch::graceinit(room).app("block ready echo").start()?;
    ensure_eq!(standing(&run)?, GROUP, "by its own name");
    Ok(())
}

// ---- the working directory ------------------------------------------------------------------------

/// The directory of a process, as its own root calls it.
fn directory(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// An init that stays where it was started keeps that mount busy for as long as the app lives.
fn the_working_directory_is_left_to_the_app(room: Room) -> Outcome {
    let names = [
        (None, "-s"),
        (Some("tini"), "-s"),
        (Some("dumb-init"), ""),
        (Some("dumb-init"), "-c"),
        (Some("catatonit"), ""),
    ];
    let place = Place::new();
    let here = place.path("").canonicalize()?;
    symlink(puppet(), place.path("app"))?;
    for (name, flags) in names {
        let file = name.map_or_else(|| Program::Graceinit.path(), alias);
        // One that lies in the directory is executed before that is left.
        for relative in [false, true] {
            let launch = Launch::graceinit(room).program_file(&file).flags(flags).cwd(&here);
            let run = match relative {
                false => launch.app("block ready echo"),
                true => launch.command(["./app", "block", "ready", "echo"]),
            }
            .start()?;
            let app = run.outer(run.ready()?.number("pid")?)?;
            proc::poll(&format!("{name:?} {flags} has left"), || {
                directory(run.init().ok()?).filter(|dir| dir.as_os_str() == "/")
            })?;
            ensure_eq!(directory(app), Some(here.clone()), "the app's ({name:?} {flags})");
        }
    }
    Ok(())
}

/// What runs later, or is opened later, may count on the directory.
fn the_working_directory_is_kept_where_something_needs_it(room: Room) -> Outcome {
    let place = Place::new();
    let here = place.path("").canonicalize()?;
    place.file("there", "", 0o644);
    let socket = format!("--listen unix:{}", place.text("socket"));
    for flags in [
        "--pre-start true",
        "--on-ready true",
        "--post-stop true",
        "--ready file:there",
        "--ready-file is-ready",
        "--metrics-file metrics",
        "--report report",
        &socket,
    ] {
        let run =
            Launch::graceinit(room).flags(flags).cwd(&here).app("block ready echo").start()?;
        run.ready()?;
        // Passed on by a loop that has heard of the app's execve.
        run.signal("USR1")?;
        run.out.expect("got USR1 ")?;
        ensure_eq!(directory(run.init()?), Some(here.clone()), "with {flags}");
    }
    Ok(())
}

/// The reason for a start that failed is looked for where the app was looked for.
fn a_relative_program_is_still_found_to_explain_it(room: Room) -> Outcome {
    let place = Place::new();
    place.file("script", "#!/nowhere/python3\n", 0o755);
    let mut run = Launch::graceinit(room).cwd(place.path("")).command(["./script"]).start()?;
    run.exits(127)?;
    let said = run.err.find("unable to execute ./script")?;
    ensure!(said.0.contains("./script is there, but not the interpreter"), "{said:?}");
    Ok(())
}

both_rooms!(
    the_app_has_a_session_where_the_name_says_so,
    the_working_directory_is_left_to_the_app,
    the_working_directory_is_kept_where_something_needs_it,
    a_relative_program_is_still_found_to_explain_it,
);
