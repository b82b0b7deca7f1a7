//! What the app is given: exactly what graceinit was given. The yardstick is not a list of values but
//! the same puppet put in the program's place by the same launcher: both accounts must be equal.

use std::collections::BTreeSet;

use super::peers::{Subject, shared};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Program, Room, need, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// What the puppet says of itself with the program in between, and without it. `given` prepares
/// both, `asks` are the puppet's words.
fn accounts(subject: Subject, given: &str, asks: &str) -> Outcome<(Vec<String>, Vec<String>)> {
    let prepare = |launch: Launch, marker: &str| {
        // The mark that tells runs apart must not make a difference.
        let name = marker.split('=').next().unwrap_or_default();
        launch.given(&format!("drop-env={name} setenv=MARK=x")).given(given)
    };
    let launch = subject.launch();
    let marker = launch.marker().to_string();
    let mut through = prepare(launch, &marker).app(asks).start()?;
    let launch = Launch::direct(subject.room, asks);
    let marker = launch.marker().to_string();
    let mut direct = prepare(launch, &marker).start()?;
    through.exits(0)?;
    direct.exits(0)?;
    let text = |lines: Vec<crate::support::Line>| lines.into_iter().map(|line| line.0).collect();
    Ok((text(through.out.all()?), text(direct.out.all()?)))
}

fn equal(subject: Subject, given: &str, asks: &str) -> Outcome {
    let (through, direct) = accounts(subject, given, asks)?;
    ensure!(!direct.is_empty(), "no account");
    let missing: Vec<_> = direct.iter().filter(|line| !through.contains(line)).collect();
    let extra: Vec<_> = through.iter().filter(|line| !direct.contains(line)).collect();
    ensure!(
        missing.is_empty() && extra.is_empty(),
        "given {given:?}: missing {missing:?}, instead {extra:?}"
    );
    ensure_eq!(through, direct, "given {given:?}: the order");
    Ok(())
}

/// nohup's HUP, a shell's background INT and QUIT, Python's PIPE must survive; std would set PIPE to
/// default and leave 32 and 33 ignored.
fn mask_and_dispositions(subject: Subject) -> Outcome {
    for given in [
        "clean",
        "mask=TERM",
        "mask=USR1,CHLD,32,33,RTMIN,RTMAX",
        "ignore=PIPE",
        "ignore=HUP",
        "ignore=INT,QUIT mask=HUP",
        "ignore=32,33",
        "ignore=CHLD",
        "ignore=TSTP,TTIN,TTOU",
        "ignore=TERM,RTMAX",
    ] {
        equal(subject, given, "status")?;
    }
    Ok(())
}

/// Arguments, environment and directory are bytes; the kernel does not ask for `=` or UTF-8.
fn arguments_environment_and_directory(subject: Subject) -> Outcome {
    // Entries without `=`, with an empty name, twice, not UTF-8, and the shell's exported functions.
    let entries = "entry=6e6f657175616c entry=3d78 entry= setenv=A=1 setenv=A=2 \
                   entry=ff3dfe entry=424153483d28297b20 entry=66253d61";
    equal(subject, entries, "environ")?;
    equal(subject, "clear-env", "environ")?;
    equal(subject, &format!("clear-env {entries}"), "environ")?;
    let place = Place::new();
    let odd = place.path("").join(std::ffi::OsStr::new("ümläut\u{a0}dir"));
    std::fs::create_dir(&odd)?;
    let run = |launch: Launch| -> Outcome<Vec<String>> {
        let odd_bytes = [0x61, 0xff, 0xfe, 0x20, 0x0a, 0x62];
        let word = std::ffi::OsStr::from_bytes(&odd_bytes);
        let run = launch.cwd(&odd).app_arg("--").app_arg("").app_arg(word).app_arg("-x").start()?;
        Ok(run.out.all()?.into_iter().map(|line| line.0).collect())
    };
    use std::os::unix::ffi::OsStrExt;
    let through = run(subject.launch().app("argv cwd"))?;
    let tail: Vec<&str> = through.iter().rev().take(5).rev().map(String::as_str).collect();
    let cwd = odd.as_os_str().as_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>();
    let cwd = format!("cwd {cwd}");
    ensure_eq!(tail, ["argv 2d2d", "argv ", "argv 61fffe200a62", "argv 2d78", &cwd], "the bytes");
    Ok(())
}

fn umask_and_limits(subject: Subject) -> Outcome {
    for given in [
        "set-umask=022",
        "set-umask=000",
        "set-umask=777",
        // Core files, open files, stack: soft below hard.
        "limit=4:0:0 limit=7:100:200 limit=3:1000000:2000000",
    ] {
        equal(subject, given, "umask limits")?;
    }
    Ok(())
}

/// Numbers and, from 3 on, the files behind them; 0 to 2 are pipes that differ from run to run.
fn descriptors_of(lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("fd"), Some(n @ ("0" | "1" | "2"))) => format!("fd {n}"),
                _ => line,
            }
        })
        .collect()
}

/// Descriptors that were handed over (socket activation, a lock, a pipe to the parent) go to the app.
fn inherited_descriptors(subject: Subject) -> Outcome {
    let place = Place::new();
    let given = format!(
        "open=3:{} open=5:{} open=77:{}",
        place.text("a"),
        place.text("b"),
        place.text("c")
    );
    let (through, direct) = accounts(subject, &given, "fds")?;
    ensure_eq!(direct.len(), 7, "the descriptors of the yardstick {direct:?}");
    ensure_eq!(descriptors_of(through), descriptors_of(direct), "descriptors");
    Ok(())
}

/// …and must not stay open in the init: the other end of a pipe would never see its end.
fn inherited_descriptors_are_not_kept(subject: Subject) -> Outcome {
    let place = Place::new();
    let names = ["a", "b", "c"];
    let given = format!(
        "open=3:{} open=4:{} open=500:{}",
        place.text("a"),
        place.text("b"),
        place.text("c")
    );
    let run = subject.launch().given(&given).app("block ready echo").start()?;
    run.ready()?;
    let init = run.init()?;
    // The app may be ready before the init has come round to it.
    proc::poll_within(subject.patience, "the init without its inherited descriptors", || {
        let open: BTreeSet<_> = std::fs::read_dir(format!("/proc/{init}/fd"))
            .ok()?
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .collect();
        let some = open.contains(std::path::Path::new("/dev/null"));
        (some && names.iter().all(|name| !open.contains(&place.path(name)))).then_some(())
    })
}

/// systemd's protocol: LISTEN_PID names the process that the sockets are for. The launcher has the
/// pid that the init will have.
fn listen_pid_names_the_app(subject: Subject) -> Outcome {
    let run = subject
        .launch()
        .given("listen-pid setenv=LISTEN_FDS=1 setenv=LISTEN_FDNAMES=web")
        .app("ready env=LISTEN_PID env=LISTEN_FDS env=LISTEN_FDNAMES")
        .start()?;
    let pid = run.ready()?.number("pid")?;
    ensure_eq!(run.out.next()?.0, format!("env LISTEN_PID={pid}"), "LISTEN_PID");
    ensure_eq!(run.out.next()?.0, "env LISTEN_FDS=1", "LISTEN_FDS");
    ensure_eq!(run.out.next()?.0, "env LISTEN_FDNAMES=web", "LISTEN_FDNAMES");
    Ok(())
}

/// What was closed stays closed for the app, and nothing of the init's own takes its number.
fn closed_standard_streams(subject: Subject) -> Outcome {
    for closed in 0..8 {
        let words: String =
            (0..3).filter(|fd| closed & 1 << fd != 0).map(|fd| format!("close={fd} ")).collect();
        let account = |launch: Launch, direct: bool| -> Outcome<String> {
            let place = Place::new();
            let script = format!("to={} fds exit=9", place.text("account"));
            let launch = if direct { launch.flags(&script) } else { launch.app(&script) };
            let mut run = launch.given(&words).start()?;
            let status = run.wait()?;
            ensure_eq!(status, crate::support::Status::Code(9), "the end after {words:?}");
            let lines = place.expect("account")?.lines().map(String::from).collect();
            Ok(descriptors_of(lines).join("\n"))
        };
        let direct = account(Launch::direct(subject.room, ""), true)?;
        let open: usize = 3 - words.split_whitespace().count();
        ensure_eq!(direct.lines().count(), open + 1, "the yardstick after {words:?}: {direct}");
        ensure_eq!(account(subject.launch(), false)?, direct, "after {words:?}");
    }
    Ok(())
}

/// A container may have no /dev at all.
fn without_dev_null(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let script = "mount -t tmpfs none /dev && exec \"$@\"";
    for given in ["", "close=0", "close=0 close=2"] {
        let mut run = Launch::graceinit(room)
            .given(given)
            .wrapped_by(["unshare", "--mount", "sh", "-c", script, "sh"])
            .app("block ready echo=TERM:3")
            .start()?;
        run.ready()?;
        run.signal("TERM")?;
        run.exits(3)?;
    }
    Ok(())
}

/// Its own group, so that the group can be signalled; the session stays (tini and catatonit do the
/// same; dumb-init makes a session).
fn the_app_leads_a_group_of_its_own(room: Room) -> Outcome {
    let run = Launch::graceinit(room).app("block ready echo").start()?;
    let line = run.ready()?;
    ensure_eq!(line.number("pgid")?, line.number("pid")?, "the group");
    let init = proc::process(run.init()?);
    ensure!(init.is_some(), "no init");
    let app = proc::process(run.outer(line.number("pid")?)?);
    ensure_eq!(app.map(|p| p.sid), init.map(|p| p.sid), "the session");
    Ok(())
}

/// The init itself must not be stopped or ended by what it inherited either.
fn an_inherited_mask_does_not_hide_the_stop(subject: Subject) -> Outcome {
    let mut run = subject
        .launch()
        .given("mask=TERM,INT,CHLD ignore=TERM,INT")
        .app("block ready echo=TERM:8")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    let status = run.wait()?;
    ensure_eq!(status, crate::support::Status::Code(8), "the end");
    Ok(())
}

shared!(
    mask_and_dispositions,
    arguments_environment_and_directory,
    umask_and_limits,
    inherited_descriptors,
    inherited_descriptors_are_not_kept,
    listen_pid_names_the_app,
    closed_standard_streams,
    an_inherited_mask_does_not_hide_the_stop
);
both_rooms!(without_dev_null, the_app_leads_a_group_of_its_own);

/// The launchers themselves must hand everything over, or the comparisons above compare nothing.
#[test]
fn the_yardstick_shows_what_was_given() -> Outcome {
    let subject = Subject::new(Program::Graceinit, Room::Plain);
    let (_, direct) = accounts(subject, "mask=USR1,32 ignore=PIPE,33,CHLD", "status")?;
    ensure!(direct.contains(&"status SigBlk=0000000080000200".to_string()), "{direct:?}");
    ensure!(direct.contains(&"status SigIgn=0000000100011000".to_string()), "{direct:?}");
    let (_, direct) = accounts(subject, "clear-env entry=6e6f", "environ")?;
    ensure_eq!(direct, ["environ 6e6f", "environ-end"], "the environment");
    Ok(())
}
