//! `--report` and `--metrics-file`: what is in them, when, and that whatever becomes of them moves
//! nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use graceinit::account::document::Account;

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Outcome, Room, Run, need, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

fn launch(room: Room, place: &Place) -> Launch {
    Launch::graceinit(room).flag("--report", place.path("report"))
}

/// The report, which is one line of JSON and not too long.
fn report(place: &Place) -> Outcome<Account> {
    parse(&place.expect("report")?)
}

fn parse(text: &str) -> Outcome<Account> {
    ensure!(text.len() <= 4096, "a report of {} bytes", text.len());
    ensure!(text.ends_with('\n') && text.lines().count() == 1, "not one line: {text}");
    serde_json::from_str(text).map_err(|error| Fault::new(format!("{error}: {text}")))
}

/// The whole life ends with this code; what the report says of it.
fn ends(mut run: Run, place: &Place, code: u8, reason: &str) -> Outcome<Account> {
    run.exits(i32::from(code))?;
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    let account = report(place)?;
    let exit = account.exit.clone().unwrap_or_default();
    ensure_eq!((exit.code, exit.reason.as_str()), (code, reason), "the exit in {account:?}");
    ensure!(!exit.dead_man, "no dead-man");
    ensure_eq!(account.phase, "exit", "the phase");
    Ok(account)
}

fn says(account: &Account, parts: &[&str]) -> Outcome {
    for part in parts {
        ensure!(account.summary.contains(part), "no {part:?} in {}", account.summary);
    }
    Ok(())
}

fn a_crash(room: Room) -> Outcome {
    let place = Place::new();
    let run = launch(room, &place).app("block ready exit=3").start()?;
    let account = ends(run, &place, 3, "crash")?;
    says(&account, &["The app ended by itself with code 3 after ", ": a crash."])?;
    ensure_eq!(account.app.ended.and_then(|ended| ended.code), Some(3), "the app's code");
    let place = Place::new();
    let run = launch(room, &place).app("ready die=SEGV").start()?;
    let account = ends(run, &place, 139, "crash")?;
    says(&account, &["The app was ended by SEGV after ", ", exit 139: a crash."])
}

fn a_stop_in_order(room: Room) -> Outcome {
    let place = Place::new();
    let run = launch(room, &place)
        .flags("--grace 50s --pre-stop sleep:50ms --post-stop true")
        .app("block ready echo=TERM:0")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    let account = ends(run, &place, 0, "signal")?;
    says(&account, &["Stopped by TERM from ", ", exit 0 after ", " s of 50 s: pre-stop ", "app "])?;
    let phases: Vec<&str> = account.phases.iter().map(|stretch| &*stretch.phase).collect();
    let stop = ["pre-stop", "on-stop", "stopping", "leftovers", "post-stop"];
    ensure!(phases.ends_with(&stop), "the phases {phases:?}");
    ensure!(account.phases.iter().all(|stretch| stretch.took.is_some()), "{:?}", account.phases);
    ensure_eq!(account.hooks.len(), 2, "hooks");
    Ok(())
}

fn a_kill_at_the_deadline(room: Room) -> Outcome {
    let place = Place::new();
    let chatter = format!("say={} ", "chatter-".repeat(40)).repeat(20);
    let run = launch(room, &place)
        .flags("--grace 4s")
        .flag("--pre-stop", puppet_line(&chatter))
        .flag("--pre-stop", puppet_line(&format!("complain=no {chatter} exit=1")))
        .app("block orphans=200 ready echo")
        .start()?;
    run.out.until("ready")?;
    run.signal("TERM")?;
    let account = ends(run, &place, 137, "deadline")?;
    says(
        &account,
        &["Killed at the deadline after 4.", "puppet (pid ", " more.", "failed with code 1"],
    )?;
    let killed = account.killed.unwrap_or_default();
    let cut = account.cut.get("survivors").copied().unwrap_or(0);
    let there = account.survivors.len() as u64 + cut + killed.more;
    ensure_eq!(there, 201, "survivors");
    ensure!(account.survivors.len() >= 5, "{} survivors are told of", account.survivors.len());
    Ok(())
}

fn a_second_stop_request(room: Room) -> Outcome {
    let place = Place::new();
    let run = launch(room, &place)
        .flags("--grace 60s --stop-again kill")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.signal("TERM")?;
    let account = ends(run, &place, 137, "deadline")?;
    ensure!(account.killed.as_ref().is_some_and(|killed| killed.early), "not by hand");
    says(&account, &["Killed because a second stop request came"])
}

fn what_is_not_executed(room: Room) -> Outcome {
    let place = Place::new();
    let run = launch(room, &place).command(["/no/such/file"]).start()?;
    let account = ends(run, &place, 127, "crash")?;
    says(&account, &["Not started, exit 127: unable to execute /no/such/file: No such file"])?;
    let place = Place::new();
    let script = place.file("script", "#!/bin/sh\n", 0o644);
    let run = launch(room, &place).command([&script]).start()?;
    let account = ends(run, &place, 126, "crash")?;
    says(&account, &["Not started, exit 126: unable to execute "])
}

fn a_pre_start_hook_that_fails(room: Room) -> Outcome {
    let place = Place::new();
    let run = launch(room, &place).flags("--pre-start false").app("ready").start()?;
    let account = ends(run, &place, 125, "crash")?;
    says(&account, &["Not started, exit 125: the pre-start hook ", " has failed"])
}

fn not_ready(room: Room) -> Outcome {
    let place = Place::new();
    let file = place.text("never");
    let run = launch(room, &place)
        .flags(&format!("--ready file:{file} --ready-timeout 200ms"))
        .app("block ready echo=TERM:0")
        .start()?;
    let account = ends(run, &place, 124, "not-ready")?;
    says(&account, &["Not ready after 0.", &format!("file:{file} is missing"), "exit 124"])?;
    let waits: Vec<_> = account.waiting.iter().map(|wait| wait.answer.as_str()).collect();
    ensure_eq!(waits, ["no such file"], "what the last look said");
    says(&account, &[&format!("(file:{file}: no such file)")])
}

/// Before there is an app an error is fatal, and the report says which.
fn a_fatal_error(room: Room) -> Outcome {
    let place = Place::new();
    let sock = format!("unix:{}", place.text("no/sock"));
    let mut run = launch(room, &place).flag("--listen", &sock).app("ready").start()?;
    run.exits(125)?;
    let account = report(&place)?;
    says(&account, &["Not started, exit 125: unable to listen on ", "; name another one"])?;
    ensure_eq!(account.troubles.len(), 1, "troubles");
    ensure_eq!(account.exit.map(|exit| exit.code), Some(125), "the code");
    Ok(())
}

fn files_that_cannot_be_written(room: Room) -> Outcome {
    let place = Place::new();
    let no = place.text("no/file");
    for (name, what) in [
        ("report", "unable to open"),
        ("metrics-file", "unable to write"),
        ("ready-file", "unable to make"),
    ] {
        // What is wrong is said with the name of what said it.
        let variable = format!("GRACEINIT_{}", name.to_uppercase().replace('-', "_"));
        let toml = place.file("graceinit.toml", format!("{name} = '{no}'"), 0o644);
        let key = format!("{}:1:{}", toml.display(), name.len() + 4);
        let flag = format!("--{name}");
        let launch = || Launch::graceinit(room).app("ready");
        for (launch, source) in [
            (launch().flag(&flag, &no), &flag),
            (launch().env(&variable, &no), &variable),
            (launch().env("GRACEINIT_CONFIG", &toml), &key),
        ] {
            let mut run = launch.start()?;
            run.exits(125)?;
            run.err.find(&format!("graceinit: fatal: {what} {no} ({source}): "))?;
            ensure_eq!(run.out.count("ready"), 0, "an app");
        }
    }
    // A name without a directory is one in the working directory.
    let mut run = Launch::graceinit(room).flag("--ready-file", "there").app("ready").start()?;
    run.exits(0)?;
    // The report says what is wrong with the other file.
    let mut run = launch(room, &place).flag("--metrics-file", &no).app("ready").start()?;
    run.exits(125)?;
    says(&report(&place)?, &["Not started, exit 125: unable to write "])
}

/// A full disk is said once, and nothing else comes of it.
fn a_full_disk(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--report /dev/full --pre-stop true --post-stop true")
        .app("block ready echo=TERM:5")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(5)?;
    let line = "graceinit: warn: unable to write /dev/full: No space left on device; going on";
    ensure_eq!(run.err.count(line), 1, "complaints");
    Ok(())
}

/// A log gets one line at the end, behind what is there.
fn our_own_stderr(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = Launch::graceinit(room)
        .flags("--report /dev/stderr")
        .app("complain=here exit=3")
        .start()?;
    run.exits(3)?;
    let lines = run.err.so_far();
    ensure_eq!(lines.len(), 2, "lines");
    let account = parse(&format!("{}\n", lines[1].0))?;
    ensure_eq!(account.exit.map(|exit| exit.code), Some(3), "the code");
    place.file("log", "before\n", 0o644);
    let log = OpenOptions::new().append(true).open(place.path("log"))?;
    let path = place.text("log");
    let mut run = Launch::graceinit(room)
        .flag("--report", &path)
        .stderr(log)
        .app("complain=here exit=3")
        .start()?;
    run.exits(3)?;
    let text = place.expect("log")?;
    ensure!(text.starts_with("before\nhere\n{\"v\":1,"), "the log: {text}");
    Ok(())
}

/// Nobody reads it; or somebody does not read on, as if a file system hung.
fn a_fifo(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("report");
    let mut run = launch(room, &place).app("ready exit=3").start()?;
    run.exits(3)?;
    ensure!(run.err.so_far().is_empty(), "{:?}", run.err.so_far());
    let mut options = OpenOptions::new();
    let mut both =
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(fifo.path())?;
    while both.write(&[b'x'; 4096]).is_ok() {}
    let begun = Instant::now();
    let mut run = launch(room, &place).app("ready exit=3").start()?;
    run.exits(3)?;
    run.err.find("report: the write takes too long; going on")?;
    ensure!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    let mut text = vec![0; 1 << 20];
    let length = both.read(&mut text)?;
    ensure!(!text[..length].contains(&b'{'), "something was written");
    Ok(())
}

/// Whatever ends graceinit itself: the last state is there.
fn a_kill_of_graceinit_itself(room: Room) -> Outcome {
    let place = Place::new();
    place.file("report", "x".repeat(9000), 0o644);
    let fifo = place.fifo("gate");
    let mut run = launch(room, &place)
        .flags("--grace 60s --hook-timeout 50s")
        .flag("--on-stop", puppet_line(&format!("read={}", fifo.path().display())))
        .app("block ready echo")
        .start()?;
    run.ready()?;
    let phase = |phase: &str| {
        let is_there = || report(&place).ok().filter(|account| account.phase == phase);
        proc::poll(&format!("the phase {phase} in the report"), is_there)
    };
    let account = phase("ready")?;
    ensure!(account.ready && account.exit.is_none(), "{account:?}");
    says(&account, &["Running for ", ", ready."])?;
    run.signal("TERM")?;
    let _held = fifo.hold()?;
    phase("on-stop")?;
    run.send(libc::SIGKILL)?;
    run.wait()?;
    let account = report(&place)?;
    ensure_eq!((account.phase.as_str(), account.exit.is_none()), ("on-stop", true), "the state");
    ensure_eq!(account.stop.clone().map(|stop| stop.signal).as_deref(), Some("TERM"), "the stop");
    says(&account, &["Stopping, in on-stop after ", " of 1 min: TERM from "])
}

/// The loop hangs for ever; what was known before is written by the timer's handler.
#[cfg(target_arch = "x86_64")]
fn the_dead_man(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let mut run = launch(room, &place)
        .flags("--grace 2s --post-stop-timeout 1s")
        .flag("--on-stop", puppet_line(&format!("read={}", fifo.path().display())))
        .app("block spawn=double:name=daemon;block;ready;echo ready echo")
        .start()?;
    run.out.expect("daemon: ready")?;
    run.ready()?;
    let init = run.init()?;
    run.signal("TERM")?;
    let _held = fifo.hold()?;
    // The present phase was written, so no child of that is on its way.
    proc::poll("on-stop in the report", || {
        report(&place).ok().filter(|account| account.phase == "on-stop")
    })?;
    sys::wedge(init)?;
    run.exits(137)?;
    let account = report(&place)?;
    let exit = account.exit.clone().unwrap_or_default();
    ensure!(exit.dead_man, "no dead-man in {account:?}");
    ensure_eq!((exit.code, exit.reason.as_str()), (137, "deadline"), "the exit");
    ensure_eq!(account.phase, "on-stop", "the phase");
    let stop = account.stop.clone().unwrap_or_default();
    let took = exit.at.since(stop.at).seconds();
    ensure!((2.0..8.0).contains(&took), "after {took} s");
    ensure_eq!(
        (account.age, account.killed.as_ref().map(|k| k.at)),
        (exit.at, Some(exit.at)),
        "ages"
    );
    says(&account, &["graceinit itself was stuck; ", "in on-stop", "TERM from "])
}

#[cfg(not(target_arch = "x86_64"))]
fn the_dead_man(_: Room) -> Outcome {
    // The arguments of a call lie in registers that are named per architecture.
    need::x86_64();
    Ok(())
}

/// The directory is graceinit's, and so is the user, whatever the app's are.
fn the_files_are_graceinits_own(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let place = Place::new();
    fs::create_dir(place.path("own"))?;
    fs::set_permissions(place.path("own"), fs::Permissions::from_mode(0o700))?;
    let run = Launch::graceinit(room)
        .given("set-umask=077")
        .cwd(place.path("own"))
        .flags("--report report --metrics-file app.prom --user 65534:65534")
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    let mut run = run;
    run.exits(3)?;
    parse(&place.expect("own/report")?)?;
    let mode = fs::metadata(place.path("own/app.prom"))?.permissions().mode();
    ensure_eq!(mode & 0o777, 0o644, "who may read the metrics");
    let text = place.expect("own/app.prom")?;
    ensure!(text.contains("graceinit_exit_total{phase=\"stopping\"} 1\n"), "{text}");
    Ok(())
}

/// One who reads all the time never sees less than a whole file, from before the app's start on.
fn metrics_are_whole_at_every_moment(room: Room) -> Outcome {
    let place = Place::new();
    let (seen, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let path = place.path("app.prom");
    let begun = |path: &Path| File::open(path).ok();
    let read = || -> Outcome<usize> {
        proc::poll("a first version", || begun(&path))?;
        let mut versions = Vec::new();
        let mut is_last = false;
        while !is_last {
            is_last = over.load(Ordering::Relaxed);
            let text = fs::read_to_string(&path)?;
            ensure!(text.ends_with('\n'), "half a file: {text:?}");
            for family in ["graceinit_build_info{", "graceinit_phase{", "graceinit_log_lines"] {
                ensure!(text.contains(family), "no {family}: {text}");
            }
            if versions.last() != Some(&text) {
                versions.push(text);
            }
            seen.store(true, Ordering::Relaxed);
        }
        Ok(versions.len())
    };
    let live = || -> Outcome {
        let mut run = Launch::graceinit(room)
            .flag("--metrics-file", &path)
            .flags(
                "--pre-start true --on-ready true --pre-stop true --on-stop true --post-stop true",
            )
            .app("block ready echo=TERM:3")
            .start()?;
        run.ready()?;
        let is_ready = |text: &String| text.contains("graceinit_phase{phase=\"ready\"} 1\n");
        proc::poll("the phase", || fs::read_to_string(&path).ok().filter(is_ready))?;
        proc::poll("a look at it", || seen.load(Ordering::Relaxed).then_some(()))?;
        run.signal("TERM")?;
        run.exits(3)
    };
    let versions = std::thread::scope(|scope| {
        let reader = scope.spawn(read);
        let lived = live();
        over.store(true, Ordering::Relaxed);
        let versions = reader.join().map_err(|_| Fault::new("the reader"));
        lived.and(versions)
    })??;
    ensure!(versions >= 2, "{versions} versions");
    let text = place.expect("app.prom")?;
    ensure!(text.contains("graceinit_exit_total{phase=\"stopping\"} 1\n"), "the end: {text}");
    let names: Vec<_> = fs::read_dir(place.path(""))?.map(|e| e.map(|e| e.file_name())).collect();
    ensure_eq!(names.len(), 1, "files: {names:?}");
    Ok(())
}

/// Numbers alone are written too, later; a directory that has gone is said once.
fn metrics_follow_what_happens(room: Room) -> Outcome {
    let place = Place::new();
    fs::create_dir(place.path("dir"))?;
    let mut run = Launch::graceinit(room)
        .flag("--metrics-file", place.path("dir/app.prom"))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    for _ in 0..3 {
        run.signal("USR1")?;
        run.out.expect("got USR1 ")?;
    }
    let line = "graceinit_signals_forwarded_total{signal=\"USR1\"} 3\n";
    proc::poll("the signals", || place.read("dir/app.prom").filter(|text| text.contains(line)))?;
    fs::remove_dir_all(place.path("dir"))?;
    run.signal("TERM")?;
    run.exits(3)?;
    let path = place.text("dir/app.prom");
    let said =
        format!("graceinit: warn: unable to write {path}: No such file or directory; going on");
    ensure_eq!(run.err.count(&said), 1, "complaints");
    Ok(())
}

both_rooms!(
    a_crash,
    a_stop_in_order,
    a_kill_at_the_deadline,
    a_second_stop_request,
    what_is_not_executed,
    a_pre_start_hook_that_fails,
    not_ready,
    a_fatal_error,
    files_that_cannot_be_written,
    a_full_disk,
    our_own_stderr,
    a_fifo,
    a_kill_of_graceinit_itself,
    the_dead_man,
    the_files_are_graceinits_own,
    metrics_are_whole_at_every_moment,
    metrics_follow_what_happens,
);

/// Nobody but root may write what is read-only.
#[test]
fn a_file_that_is_read_only() -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let place = Place::new();
    let path = place.file("report", "", 0o444);
    let mut run = launch(Room::Plain, &place)
        .wrapped_by(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        .app("ready")
        .start()?;
    run.exits(125)?;
    let said = format!(
        "graceinit: fatal: unable to open {} (--report): Permission denied; ",
        path.display()
    );
    ensure_eq!(run.err.count(&said), 1, "what is said");
    Ok(())
}
