//! What the app is given, and where the init stands.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use super::{Name, Seen, Subject, pairs};
use crate::support::files::Place;
use crate::support::{Outcome, Room, proc};

/// Arguments, environment, directory, umask: byte for byte.
fn what_the_app_is_given(subject: Subject) -> Outcome<Seen> {
    let place = Place::new();
    // Its name is in the account, so both need the same.
    let dir = place.path("dir");
    std::fs::create_dir(&dir)?;
    let launch = subject
        .launch(Room::Plain)
        .given("set-umask=027")
        .cwd(&dir)
        .env("NOTIFY_SOCKET", "/run/systemd/notify")
        .env("WATCHDOG_USEC", "30000000")
        .env("WATCHDOG_PID", "1")
        .env("EMPTY", "")
        .env("TINI_SUBREAPER", "")
        .env("CATATONIT_DEBUG", "")
        .env("DUMB_INIT_DEBUG", "0")
        .env("BYTES", OsStr::from_bytes(b"\xff\xfe=\n"));
    let mut run = launch
        .app("argv environ umask cwd ids --")
        .app_arg("")
        .app_arg(OsStr::from_bytes(b"\x80\xff "))
        .app_arg("--grace")
        .start()?;
    run.exits(0)?;
    let mut seen = Seen::default();
    let here: String =
        dir.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    // BLACKBOX_RUN=, which differs from run to run.
    let marker: String = b"BLACKBOX_RUN=".iter().map(|byte| format!("{byte:02x}")).collect();
    let told = run.out.all()?.into_iter().map(|line| line.0.replace(&here, "HERE"));
    for (index, line) in told.filter(|line| !line.contains(&marker)).enumerate() {
        seen.note(format!("line {index}"), line);
    }
    crate::ensure!(seen.0.len() > 10, "the app said too little");
    Ok(seen)
}

/// Groups and sessions, and the directory of the init itself.
fn where_init_and_app_stand(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    let flags: &[&str] = match subject.name {
        Name::Tini | Name::Catatonit => &["", "-g"],
        Name::DumbInit => &["", "-c"],
    };
    for flags in flags {
        let place = Place::new();
        let run = subject
            .launch(Room::Plain)
            .env("TINI_SUBREAPER", "")
            .flags(flags)
            .cwd(place.path("."))
            .app("ready pause")
            .start()?;
        let ready = run.ready()?;
        let (pid, init) = (ready.number("pid")?, run.init()?);
        let leads = |key| Ok::<_, crate::support::Fault>(ready.number(key)? == pid);
        seen.note(format!("[{flags}] leads a group"), leads("pgid")?.to_string());
        seen.note(format!("[{flags}] leads a session"), leads("sid")?.to_string());
        // dumb-init and catatonit go there after the fork: not at once.
        let at_root =
            proc::poll_within(std::time::Duration::from_millis(300), "the init at /", || {
                let cwd = std::fs::read_link(format!("/proc/{init}/cwd")).ok()?;
                (cwd == std::path::Path::new("/")).then_some(())
            });
        let cwd = if at_root.is_ok() { "/" } else { "as started" };
        seen.note(format!("[{flags}] the init's directory"), cwd);
    }
    Ok(seen)
}

/// `echo 'exit 7' | NAME sh`
fn the_shell_reads_its_commands(subject: Subject) -> Outcome<Seen> {
    let place = Place::new();
    let script = place.file("script", "echo \"$0\"\ncd /\nexit 7\n", 0o644);
    let mut seen = Seen::default();
    let stdin: Stdio = std::fs::File::open(script)?.into();
    let launch = subject.launch(Room::Plain).env("TINI_SUBREAPER", "");
    let mut run = launch.stdin(stdin).words(["sh"]).start()?;
    seen.note("the end", run.wait()?.to_string());
    seen.note("argv[0]", run.out.next()?.0);
    Ok(seen)
}

pairs!(what_the_app_is_given, where_init_and_app_stand, the_shell_reads_its_commands);
