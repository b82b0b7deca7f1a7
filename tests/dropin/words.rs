//! The command line and the variables: what is run, with which code it ends, and on which stream
//! something is said. What is said is graceinit's own.

use super::{Name, Seen, Subject, pairs};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, Status};

/// How it ended: the code, the app's words if it ran, and where else something was said.
fn end_of(launch: Launch) -> Outcome<String> {
    // tini warns of what is no matter of the command line.
    let mut run = launch.env("TINI_SUBREAPER", "").start()?;
    let status = match run.wait()? {
        Status::Code(code) => code.to_string(),
        other => other.to_string(),
    };
    let out = run.out.all()?;
    let apps = |line: &str| line.strip_prefix("APP").map(str::to_owned);
    let app: String =
        out.iter().filter_map(|line| apps(&line.0)).map(|w| format!(" app[{w} ]")).collect();
    let out = if out.iter().any(|line| apps(&line.0).is_none()) { " stdout" } else { "" };
    let err = if run.err.all()?.is_empty() { "" } else { " stderr" };
    Ok(format!("{status}{app}{out}{err}"))
}

/// In the order of trying; `''` is an empty word.
fn lines(name: Name) -> Vec<&'static str> {
    // For every one of them.
    let mut lines = vec![
        "",
        "--",
        "--nonsense -- echo APP",
        "-Z echo APP",
        "-h",
        "--help",
        "-V",
        "--version",
        "-l",
        "-L",
        "--version echo APP",
        "echo APP",
        "-- echo APP",
        "-- -- echo APP",
        "-- echo APP -- -x",
        "-- echo APP -v --x -h --version",
        "-- echo APP '' end",
        "-- ''",
        "echo -- APP -x",
        "echo APP -- -x",
        "echo APP -v --x",
        "echo APP -h",
        "echo APP --version",
    ];
    lines.extend(match name {
        Name::Tini => &[
            "-g -- echo APP",
            "-sg -- echo APP",
            "-s -w -g echo APP",
            "-wvvg -- echo APP",
            "-v -- echo APP",
            "-e143 -- echo APP",
            "-e 3 -e 4 -- echo APP",
            "-e 256 -- echo APP",
            "-e x -- echo APP",
            "-e -1 -- echo APP",
            "-e 0x3 -- echo APP",
            "-e +3 -- echo APP",
            "-e '' -- echo APP",
            "-e",
            "-p SIGTERM -- echo APP",
            "-pSIGTERM -- echo APP",
            "-p TERM -- echo APP",
            "-p 15 -- echo APP",
            "-p SIGFOO -- echo APP",
            "-p",
            "-r 15:2 -- echo APP",
            "-c -- echo APP",
            "--single-child -- echo APP",
        ][..],
        Name::DumbInit => &[
            "-c echo APP",
            "--single-child echo APP",
            "--sing echo APP",
            "-v echo APP",
            "-cv -- echo APP",
            "-cr 15:2 echo APP",
            "-r15:2 echo APP",
            "--rewrite 15:2 echo APP",
            "--rewrite=15:2 -- echo APP",
            "-r 15:2 -r 1:0 -- echo APP",
            "-r 15:31 -r 31:1 -- echo APP",
            "-r",
            "-r '' echo APP",
            "-r herp echo APP",
            "-r herp:derp echo APP",
            "-r 15 echo APP",
            "-r 15: echo APP",
            "-r :2 echo APP",
            "-r 15::12 echo APP",
            "-r 15:derp echo APP",
            "-r 15:12 -r",
            "-r 15:12 -r 0 echo APP",
            "-r 0:1 echo APP",
            "-r 15:-1 echo APP",
            "-r 15:65 echo APP",
            "-r 15:12x echo APP",
            "-r 1:32 echo APP",
            "-r 34:15 echo APP",
            "-r TERM:INT echo APP",
            "-g echo APP",
            "-s echo APP",
        ],
        Name::Catatonit => &[
            "-g -- echo APP",
            "-gg -- echo APP",
            "--vers",
            "-v -- echo APP",
            "-s -- echo APP",
            "-c -- echo APP",
            "-r 15:2 -- echo APP",
        ],
    });
    lines
}

fn command_lines(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    for line in lines(subject.name) {
        let words = line.split_whitespace().map(|word| word.trim_matches('\''));
        seen.note(line, end_of(subject.launch(Room::Plain).words(words))?);
    }
    for line in ["echo -- APP -x", "echo APP -- -x", "echo APP -v", "-- echo APP -- -x"] {
        let launch = subject.launch(Room::Plain).words(line.split_whitespace());
        seen.note(format!("POSIXLY_CORRECT {line}"), end_of(launch.env("POSIXLY_CORRECT", "1"))?);
    }
    Ok(seen)
}

/// Everything that execve(2) may answer, as far as an app's path can bring it about.
fn what_cannot_be_run(subject: Subject) -> Outcome<Seen> {
    let place = Place::new();
    place.file("no-x", "#!/bin/sh\necho APP\n", 0o644);
    place.file("lost-interpreter", "#!/nowhere/python3\n", 0o755);
    place.file("script", "echo APP $1\nexit 42\n", 0o755);
    place.file("nothing", "", 0o755);
    place.file("foreign", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xf7\0not ours\n", 0o755);
    std::os::unix::fs::symlink("loop", place.path("loop"))?;
    let busy = place.file("busy", "#!/bin/sh\necho APP\n", 0o755);
    let writer = std::fs::OpenOptions::new().append(true).open(busy)?;
    let mut seen = Seen::default();
    for path in [
        "missing",
        "./missing",
        "./no-x",
        "./no-x/below",
        ".",
        "./loop",
        "./lost-interpreter",
        "./script",
        "./nothing",
        "./foreign",
        "./busy",
    ] {
        let launch = subject.launch(Room::Plain).cwd(place.path(".")).words(["--", path, "one"]);
        seen.note(path, end_of(launch)?);
    }
    drop(writer);
    Ok(seen)
}

/// The variables that choose how much is said. Where: the app's stdout stays the app's.
fn how_much_is_said(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    let cases: &[(&str, &str, &str)] = match subject.name {
        Name::Tini => &[
            ("TINI_VERBOSITY", "", ""),
            ("TINI_VERBOSITY", "0", ""),
            ("TINI_VERBOSITY", "1", ""),
            ("TINI_VERBOSITY", "2", ""),
            ("TINI_VERBOSITY", "3", ""),
            ("TINI_VERBOSITY", "4", ""),
            ("TINI_VERBOSITY", "x", ""),
            ("TINI_VERBOSITY", "-1", ""),
            ("TINI_VERBOSITY", "1", "-v"),
            ("TINI_VERBOSITY", "0", "-w"),
            ("DUMB_INIT_DEBUG", "1", ""),
            ("CATATONIT_DEBUG", "1", ""),
        ],
        Name::DumbInit => &[
            ("DUMB_INIT_DEBUG", "", ""),
            ("DUMB_INIT_DEBUG", "0", ""),
            ("DUMB_INIT_DEBUG", "1", ""),
            ("DUMB_INIT_DEBUG", "yes", ""),
            ("DUMB_INIT_DEBUG", "0", "-v"),
            ("DUMB_INIT_DEBUG", "0", "--verbose"),
            ("TINI_VERBOSITY", "4", ""),
        ],
        Name::Catatonit => &[
            ("CATATONIT_DEBUG", "", ""),
            ("CATATONIT_DEBUG", "0", ""),
            ("CATATONIT_LOG", "1", ""),
            ("DUMB_INIT_DEBUG", "1", ""),
        ],
    };
    for (variable, value, flags) in cases {
        let launch = subject.launch(Room::Plain).flags(flags).words(["--", "echo", "APP"]);
        let what = format!("{variable}={value} {flags}");
        seen.note(what.trim_end(), end_of(launch.env(variable, value))?);
    }
    if subject.name == Name::Tini {
        // A fatal error is said at every level.
        let launch = subject.launch(Room::Plain).words(["--", "/missing"]);
        seen.note("TINI_VERBOSITY=0 /missing", end_of(launch.env("TINI_VERBOSITY", "0"))?);
    }
    Ok(seen)
}

pairs!(command_lines, what_cannot_be_run, how_much_is_said);

/// Who asks docker-init for its version reads this line (dockerd: `docker info`), and podman does.
#[test]
fn versions_are_read_by_engines() -> Outcome {
    for name in Name::ALL {
        let mut run =
            Launch::new(name.ours(), Room::Plain).no_flags().words(["--version"]).start()?;
        run.exits(0)?;
        let stream = if name == Name::DumbInit { &run.err } else { &run.out };
        let start = match name {
            Name::Tini | Name::Catatonit => "tini version 0.",
            Name::DumbInit => "dumb-init v0.",
        };
        let line = stream.expect(start)?.0;
        crate::ensure!(line.contains("_graceinit"), "{line:?} does not say who it is");
        crate::ensure!(stream.next_within(crate::support::PATIENCE)?.is_none(), "more than a line");
    }
    Ok(())
}
