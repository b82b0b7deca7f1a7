//! graceinit's own settings, under the names: `docker run --init` can pass variables only, so each has to
//! work there. There is nothing to be compared with.

use std::fs;

use super::{Name, Subject};
use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Line, Outcome, Program, Room, Run, Status, need, proc, sys};
use crate::{ensure, ensure_eq};

/// Every case, under each name.
macro_rules! named {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            use $crate::dropin::{Name, Subject};
            use $crate::support::Outcome;

            fn run(name: Name) -> Outcome {
                super::$case(Subject { name, program: name.ours() })
            }
            #[test]
            fn tini() -> Outcome { run(Name::Tini) }
            #[test]
            fn dumb_init() -> Outcome { run(Name::DumbInit) }
            #[test]
            fn catatonit() -> Outcome { run(Name::Catatonit) }
        }
    )*};
}

fn plain(subject: Subject) -> Launch {
    subject.launch(Room::Plain)
}

/// A deadline that is set is kept: in a variable, by its second name, as a flag, in a file.
fn a_deadline_is_kept(subject: Subject) -> Outcome {
    let place = Place::new();
    let file = place.file("g.toml", "grace = \"200ms\"\n", 0o644);
    let launches = [
        plain(subject).env("GRACEINIT_GRACE", "200ms"),
        plain(subject).env("GRACE_EXIT_TIMEOUT", "200ms"),
        plain(subject).flags("-t 200ms"),
        plain(subject).env("GRACEINIT_CONFIG", file),
    ];
    for (index, launch) in launches.into_iter().enumerate() {
        let mut run = launch.app("block ready echo").start()?;
        run.ready()?;
        run.signal("TERM")?;
        run.out.expect("got TERM")?;
        ensure_eq!(run.wait()?, Status::Code(137), "number {index}");
    }
    Ok(())
}

/// Waits until graceinit waits with an end of the stop, or without any: ppoll(2) and sigtimedwait(2) both have their
/// time in the third place (proc_pid_syscall(5)).
fn waits_with_a_deadline(run: &Run, has_one: bool) -> Outcome {
    let init = run.init()?;
    proc::poll(&format!("a wait with a deadline: {has_one}"), || {
        let text = fs::read_to_string(format!("/proc/{init}/syscall")).ok()?;
        let words: Vec<&str> = text.split(' ').collect();
        let number = words.first()?.parse::<i64>().ok()?;
        let waits = [libc::SYS_ppoll, libc::SYS_rt_sigtimedwait].contains(&number);
        (waits && (*words.get(3)? != "0x0") == has_one).then_some(())
    })
}

/// Without one there is none: in plain mode nothing but the signal happens, in phases the stop waits for
/// the app. Who has put graceinit in another's place must not see an app killed that takes its time.
fn no_deadline_is_set(subject: Subject) -> Outcome {
    for (variable, value, expected) in [
        ("GRACEINIT_LOG", "warn", false),
        ("GRACEINIT_STOP_SIGNAL", "TERM", false),
        ("GRACEINIT_PRE_STOP", "touch:/dev/null", false),
        ("GRACEINIT_GRACE", "1h", true),
    ] {
        let mut run = plain(subject).env(variable, value).app("block ready echo=USR1:4").start()?;
        run.ready()?;
        run.signal("TERM")?;
        run.out.expect("got TERM")?;
        waits_with_a_deadline(&run, expected)
            .map_err(|fault| Fault::new(format!("{variable}={value}: {}", fault.reason())))?;
        run.signal("USR1")?;
        run.out.until("got USR1")?;
        run.exits(4)?;
    }
    Ok(())
}

/// Hooks are what phases are for. None is told of an end that does not exist.
fn hooks_run(subject: Subject) -> Outcome {
    let place = Place::new();
    let note = |name: &str, words: &str| {
        puppet_line(&format!("to={} env=GRACEINIT_SIGNAL {words}", place.text(name)))
    };
    let mut run = plain(subject)
        .env("GRACEINIT_PRE_START", note("pre-start", ""))
        .env(
            "GRACEINIT_PRE_STOP",
            note("pre-stop", "env=GRACEINIT_DEADLINE env=GRACEINIT_BUDGET_MS"),
        )
        .env("GRACEINIT_POST_STOP", note("post-stop", "env=GRACEINIT_REASON"))
        .app("block ready echo=TERM:6")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(6)?;
    ensure_eq!(place.expect("pre-start")?, "env GRACEINIT_SIGNAL unset\n", "pre-start");
    ensure_eq!(
        place.expect("pre-stop")?,
        "env GRACEINIT_SIGNAL=TERM\nenv GRACEINIT_DEADLINE unset\nenv GRACEINIT_BUDGET_MS unset\n",
        "pre-stop"
    );
    let last = place.expect("post-stop")?;
    ensure_eq!(last, "env GRACEINIT_SIGNAL=TERM\nenv GRACEINIT_REASON=signal\n", "post-stop");
    Ok(())
}

/// In phases a second stop request is not sent again; without phases every one is.
fn phases_begin_with_the_first_setting_that_needs_them(subject: Subject) -> Outcome {
    for (variable, value, terms) in [
        ("GRACEINIT_LOG", "warn", 2),
        ("GRACEINIT_EXIT_OK", "9", 2),
        ("GRACEINIT_SCOPE", "main", 2),
        ("GRACEINIT_REWRITE", "USR2:WINCH", 2),
        ("GRACEINIT_PRE_STOP", "", 2),
        ("GRACEINIT_GRACE", "1h", 1),
        ("GRACEINIT_POST_STOP", "touch:/dev/null", 1),
        ("GRACEINIT_STOP_ON", "TERM", 1),
        ("GRACEINIT_READY", "started", 1),
        ("GRACEINIT_PROFILE", "node", 1),
    ] {
        let mut run = plain(subject).env(variable, value).app("block ready echo=USR1:4").start()?;
        run.ready()?;
        run.signal("TERM")?;
        run.out.until("got TERM")?;
        run.signal("TERM")?;
        // Behind it: handed out after TERM and passed on after it.
        run.signal("RTMIN+1")?;
        run.out.until("got RTMIN+1")?;
        ensure_eq!(run.out.count("got TERM"), terms, "TERM with {variable}={value}");
        run.signal("USR1")?;
        run.exits(4)?;
    }
    Ok(())
}

/// What the app is sent, and to whom it is sent.
fn signal_and_scope(subject: Subject) -> Outcome {
    let mut run = plain(subject)
        .env("GRACEINIT_STOP_SIGNAL", "INT")
        .app("block ready echo=INT:2,TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(2)?;
    // Over the default that goes with the name, and over what its own variable says.
    for (scope, expected) in [("group", 1), ("main", 0)] {
        let mut run = plain(subject)
            .env("GRACEINIT_SCOPE", scope)
            .env("TINI_KILL_PROCESS_GROUP", "")
            .app("name=app block spawn=same:name=child;block;ready;echo=RTMAX:0 ready echo=USR2:4")
            .start()?;
        let child = run.out.expect("child: ready")?.number("pid")?;
        run.out.expect("app: ready")?;
        run.signal("USR1")?;
        run.out.find("app: got USR1")?;
        sys::kill(child, 64)?;
        run.out.find("child: got RTMAX")?;
        ensure_eq!(run.out.count("child: got USR1"), expected, "USR1 at the child, {scope}");
        run.signal("USR2")?;
        run.exits(4)?;
    }
    Ok(())
}

/// Codes: those that are fine, graceinit's own error, one that was not ready.
fn codes(subject: Subject) -> Outcome {
    for (variable, value, script, code) in [
        ("GRACEINIT_EXIT_OK", "3\n4", "exit=4", 0),
        ("GRACEINIT_EXIT_OK", "3\n4", "exit=5", 5),
        ("GRACEINIT_EXIT_OK", "256", "exit=5", 1),
        ("GRACEINIT_GRACE", "soon", "exit=5", 1),
        ("GRACEINIT_NONSENSE", "1", "exit=5", 5),
        ("GRACEINIT_PRE_START", "false", "exit=5", 1),
    ] {
        let mut run = plain(subject).env(variable, value).app(script).start()?;
        ensure_eq!(run.wait()?, Status::Code(code), "{variable}={value}, {script}");
    }
    let mut run = plain(subject)
        .env("GRACEINIT_READY", "file:/missing")
        .env("GRACEINIT_READY_TIMEOUT", "100ms")
        .app("ready pause")
        .start()?;
    run.exits(124)
}

fn another_user(subject: Subject) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let mut run = plain(subject).env("GRACEINIT_USER", "65534:65534").app("ids").start()?;
    let ids = run.out.next()?;
    ensure_eq!((ids.number("uid")?, ids.number("gid")?), (65534, 65534), "the app");
    run.exits(0)
}

/// Log, report and endpoints.
fn what_is_told(subject: Subject) -> Outcome {
    let place = Place::new();
    let address = format!("unix:{}", place.text("sock"));
    let mut run = plain(subject)
        .env("GRACEINIT_LOG", "info")
        .env("GRACEINIT_LOG_FORMAT", "json")
        .env("GRACEINIT_REPORT", place.path("report"))
        .env("GRACEINIT_LISTEN", &address)
        .app("block ready echo=TERM:7")
        .start()?;
    run.ready()?;
    run.err.find("\"msg\":\"settings: ")?;
    proc::poll("the probe's yes", || {
        let mut probe = Launch::new(subject.program, Room::Plain)
            .no_flags()
            .env("GRACEINIT_LISTEN", &address)
            .words(["--probe", "ready"])
            .start()
            .ok()?;
        (probe.wait().ok()? == Status::Code(0)).then_some(())
    })?;
    run.signal("TERM")?;
    run.exits(7)?;
    let report = place.expect("report")?;
    ensure!(report.contains("\"code\":7,\"reason\":\"signal\""), "{report}");
    Ok(())
}

/// The plan can be looked at: it says whose defaults are in force, and that there is no deadline.
fn the_plan_is_shown(subject: Subject) -> Outcome {
    let mut run = plain(subject).words(["--check", "--", "app"]).start()?;
    run.exits(0)?;
    let lines = run.out.all()?;
    let has =
        |words: &[&str]| lines.iter().any(|Line(line)| words.iter().all(|w| line.contains(w)));
    let why = match subject.name {
        Name::Tini => "as tini",
        Name::DumbInit => "as dumb-init",
        Name::Catatonit => "as catatonit",
    };
    for words in [["grace", "none", why], ["stop-on", "none", why], ["scope", "", why]] {
        ensure!(has(&words), "no line with {words:?} in {lines:#?}");
    }
    Ok(())
}

named!(
    a_deadline_is_kept,
    no_deadline_is_set,
    hooks_run,
    phases_begin_with_the_first_setting_that_needs_them,
    signal_and_scope,
    codes,
    another_user,
    what_is_told,
    the_plan_is_shown
);

/// Another name is graceinit's own, whatever it looks like; the path does not count.
#[test]
fn only_the_names_count() -> Outcome {
    let place = Place::new();
    std::fs::create_dir(place.path("tini"))?;
    for (name, code) in [
        ("tini-static", 1),
        ("docker-init", 1),
        ("podman-init", 1),
        ("dumb-init", 1),
        ("tini2", 125),
        ("my-tini", 125),
        ("tini/init", 125),
    ] {
        let path = place.path(name);
        std::os::unix::fs::symlink(Program::Graceinit.path(), &path)?;
        let mut run =
            Launch::graceinit(Room::Plain).program_file(path).words(["--nonsense"]).start()?;
        ensure_eq!(run.wait()?, Status::Code(code), "the code of wrong usage, called {name}");
    }
    Ok(())
}
