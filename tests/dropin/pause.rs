//! Podman's shapes: `catatonit -P`, the process of a pod that runs no app, and `/run/podman-init -- CMD`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::files::Place;
use crate::support::init::puppet;
use crate::support::signals::number_of;
use crate::support::{Fault, Launch, Outcome, Program, Room, Run, Status, alias, need, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

/// Whose `catatonit -P`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    Original,
}

/// (case, where, why): what the original does not do. `docs/comparison.md` says the same to people.
const DIFFERENCES: &[(&str, Room, &str)] = &[
    (
        "it_holds_no_directory",
        Room::PidNs,
        "it stays where it was started; 0.2.1 goes to / as well",
    ),
    ("it_holds_no_directory", Room::Plain, "the same"),
    (
        "every_other_signal_is_ignored",
        Room::Plain,
        "ILL TRAP ABRT BUS FPE SEGV SYS, 32 and 33 kill it when it is not PID 1",
    ),
    ("a_command_is_a_mistake", Room::PidNs, "the command is not run and nothing is said"),
    ("a_command_is_a_mistake", Room::Plain, "the same"),
];

/// Ours must pass a case; the original must, or be in the table of differences.
fn compare(
    case: &str,
    whose: Whose,
    room: Room,
    test: fn(Whose, Room, Duration) -> Outcome,
) -> Outcome {
    if room == Room::PidNs && !need::pid_namespace() {
        return Ok(());
    }
    if whose == Whose::Ours {
        return test(whose, room, crate::support::PATIENCE);
    }
    if !need::peer(Program::Catatonit) {
        return Ok(());
    }
    let known = DIFFERENCES.iter().find(|(name, place, _)| *name == case && *place == room);
    // What is known not to come need not be waited for long.
    let patience = known.map_or(crate::support::PATIENCE, |_| Duration::from_secs(1));
    match (test(whose, room, patience), known) {
        (Ok(()), None) | (Err(_), Some(_)) => Ok(()),
        (Err(fault), None) => Err(fault),
        (Ok(()), Some((.., why))) => Err(Fault::new(format!(
            "the original ({room:?}) does as ours in {case}; the table says it does not: {why}"
        ))),
    }
}

/// Makes the tests of `fn name(whose: Whose, room: Room, patience: Duration) -> Outcome`.
macro_rules! shared {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use super::{Outcome, Room, Whose, compare};

            fn run(whose: Whose, room: Room) -> Outcome {
                compare(stringify!($name), whose, room, super::$name)
            }
            #[test]
            fn ours_pid_1() -> Outcome { run(Whose::Ours, Room::PidNs) }
            #[test]
            fn ours_plain() -> Outcome { run(Whose::Ours, Room::Plain) }
            #[test]
            fn original_pid_1() -> Outcome { run(Whose::Original, Room::PidNs) }
            #[test]
            fn original_plain() -> Outcome { run(Whose::Original, Room::Plain) }
        }
    )*};
}

fn pause(whose: Whose, room: Room) -> Launch {
    let launch = Launch::new(Program::Catatonit, room).no_flags().flags("-P");
    match whose {
        Whose::Ours => launch.program_file(alias("catatonit")),
        Whose::Original => launch,
    }
}

/// Its pid, once it is the program itself and sleeps with TERM blocked: it waits for signals.
fn waiting(run: &Run) -> Outcome<i32> {
    let init = run.init()?;
    proc::poll("a pause process that waits", || {
        let words = fs::read(format!("/proc/{init}/cmdline")).ok()?;
        let is_it = words.iter().filter(|byte| **byte == 0).count() == 2;
        let deaf = proc::mask(init, "SigBlk")? & sys::bit(libc::SIGTERM) != 0;
        (is_it && deaf && proc::process(init)?.state == 'S').then_some(init)
    })
}

/// What its descriptors from 3 on are.
fn descriptors(pid: i32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| !["0", "1", "2"].iter().any(|name| entry.file_name() == *name))
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect()
}

/// A descriptor that it holds never ends.
fn it_holds_no_descriptor(whose: Whose, room: Room, _: Duration) -> Outcome {
    let place = Place::new();
    let open = format!("open=7:{} open=9:{}", place.text("seven"), place.text("nine"));
    let mut run = pause(whose, room).given(&open).start()?;
    let init = waiting(&run)?;
    proc::poll("a signalfd for its only descriptor", || {
        (descriptors(init) == [PathBuf::from("anon_inode:[signalfd]")]).then_some(())
    })?;
    ensure!(proc::children(init).is_empty(), "it has started something");
    run.signal("TERM")?;
    run.exits(0)?;
    ensure_eq!(run.out.so_far().len() + run.err.so_far().len(), 0, "lines of output");
    Ok(())
}

/// A directory that it holds cannot be unmounted.
fn it_holds_no_directory(whose: Whose, room: Room, patience: Duration) -> Outcome {
    let place = Place::new();
    let mut run = pause(whose, room).cwd(place.path(".")).start()?;
    let init = waiting(&run)?;
    proc::poll_within(patience, "/ for its directory", || {
        let directory = fs::read_link(format!("/proc/{init}/cwd")).ok()?;
        (directory.as_path() == Path::new("/")).then_some(())
    })?;
    run.signal("TERM")?;
    run.exits(0)
}

fn it_ends_with_0_at_term_and_int(whose: Whose, room: Room, _: Duration) -> Outcome {
    for signal in ["TERM", "INT"] {
        // Podman's user namespaces are held by one whose stdin is closed.
        for given in ["", "close=0"] {
            let mut run = pause(whose, room).given(given).start()?;
            waiting(&run)?;
            run.signal(signal)?;
            run.exits(0)?;
        }
    }
    Ok(())
}

fn every_other_signal_is_ignored(whose: Whose, room: Room, _: Duration) -> Outcome {
    let ends = ["KILL", "STOP", "TERM", "INT"].map(number_of);
    let mut run = pause(whose, room).start()?;
    let init = waiting(&run)?;
    for signal in (1..=64).filter(|signal| !ends.contains(signal)) {
        run.send(signal)?;
    }
    proc::poll("no signal pending", || {
        let pending = proc::mask(init, "ShdPnd")? | proc::mask(init, "SigPnd")?;
        (pending == 0 && proc::process(init)?.state == 'S').then_some(())
    })?;
    run.signal("TERM")?;
    run.exits(0)
}

/// A thousand that end at the same moment, and ten thousand that end while others are made.
fn orphans_are_reaped(whose: Whose, room: Room, _: Duration) -> Outcome {
    let place = Place::new();
    let gates = [place.fifo("gate-0"), place.fifo("gate-1"), place.fifo("gate-2")];
    let [first, second, third] = gates.each_ref().map(|fifo| fifo.path().display());
    let rounds = if whose == Whose::Ours { 10 } else { 1 };
    let many = "orphans=1000;release;".repeat(rounds);
    // A child from before its exec: what that one leaves behind is its to reap.
    let maker = format!(
        "spawn=same:ready;read={first};orphans=1000;read={second};release;read={third};{many}exit=0"
    );
    let mut run = pause(whose, room).given(&maker).start()?;
    run.ready()?;
    let init = waiting(&run)?;
    gates[0].release()?;
    run.out.expect("read")?;
    run.out.expect("orphans")?;
    ensure_eq!(proc::children(init).len(), 1001, "its children, the one that made them included");
    gates[1].release()?;
    proc::poll("the thousand reaped", || (proc::children(init).len() == 1).then_some(()))?;
    gates[2].release()?;
    proc::poll_within(Duration::from_secs(30), "all the others reaped", || {
        proc::children(init).is_empty().then_some(())
    })?;
    run.signal("TERM")?;
    run.exits(0)
}

fn chld_inherited_as_ignored(whose: Whose, room: Room, _: Duration) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let child = format!("ignore=CHLD spawn=same:ready;read={};exit=3", fifo.path().display());
    let mut run = pause(whose, room).given(&child).start()?;
    run.ready()?;
    let init = waiting(&run)?;
    ensure_eq!(proc::children(init).len(), 1, "its children");
    fifo.release()?;
    proc::poll("no child and no zombie", || proc::children(init).is_empty().then_some(()))?;
    run.signal("TERM")?;
    run.exits(0)
}

fn a_command_is_a_mistake(whose: Whose, room: Room, patience: Duration) -> Outcome {
    let place = Place::new();
    for dashes in [true, false] {
        let touch = ["touch", &place.text("made")];
        let launch = pause(whose, room).command(touch);
        let launch = if dashes { launch } else { launch.without_dashes() };
        let mut run = launch.start()?;
        ensure_eq!(run.wait_within(patience)?, Status::Code(1), "the end");
        ensure_eq!(place.read("made"), None, "what the command has made");
        run.err.find("graceinit: fatal: unable to use -P together with the command 'touch'")?;
    }
    Ok(())
}

shared!(
    it_holds_no_descriptor,
    it_holds_no_directory,
    it_ends_with_0_at_term_and_int,
    every_other_signal_is_ignored,
    orphans_are_reaped,
    chld_inherited_as_ignored,
    a_command_is_a_mistake,
);

/// Variables are there for the graceinit that runs an app, the wrong ones too; `-g` has nothing to be
/// about, and podman says it nowhere.
fn no_setting_makes_a_difference(room: Room) -> Outcome {
    for (name, value) in [
        ("GRACEINIT_GRACE", "1s"),
        ("GRACEINIT_GRACE", "soon"),
        ("GRACEINIT_PRE_START", "/nothing"),
        ("GRACEINIT_LISTEN", "unix:/nowhere/socket"),
        ("GRACEINIT_STOP_ON", "USR1"),
        ("CATATONIT_DEBUG", "1"),
    ] {
        let mut run = pause(Whose::Ours, room).flags("-g").env(name, value).start()?;
        let init = run.init()?;
        // Two words and the flag.
        proc::poll("a pause process with one descriptor", || {
            let alone = descriptors(init) == [PathBuf::from("anon_inode:[signalfd]")];
            let words = fs::read(format!("/proc/{init}/cmdline")).ok()?;
            let is_it = words.iter().filter(|byte| **byte == 0).count() == 3;
            (alone && is_it).then_some(())
        })?;
        ensure!(proc::children(init).is_empty(), "{name}={value} has started something");
        run.signal("TERM")?;
        run.exits(0)?;
        ensure_eq!(run.err.so_far().len(), 0, "what it says of {name}={value}");
    }
    Ok(())
}

/// One that was dead before anybody could have told.
fn a_zombie_from_before_is_reaped(room: Room) -> Outcome {
    let mut run = pause(Whose::Ours, room).given("spawn=same:exit=3").start()?;
    let init = waiting(&run)?;
    proc::poll("no child and no zombie", || proc::children(init).is_empty().then_some(()))?;
    run.signal("TERM")?;
    run.exits(0)
}

/// As soon as TERM is blocked, in the very first instruction, it is kept.
fn no_term_is_lost_once_it_is_blocked(room: Room) -> Outcome {
    const TRIES: u64 = 60;
    if room == Room::PidNs && !need::root() {
        return Ok(());
    }
    let mut kept = 0;
    for slot in 0..TRIES {
        // Spread over two milliseconds, but not in order.
        let micros = (slot * 17 % TRIES) * 2_000 / TRIES;
        let run = pause(Whose::Ours, room).race(micros, libc::SIGTERM).start()?;
        let sent = run.out.expect("sent")?;
        let (pid, blocked) = (sent.number("pid")?, sent.number("blocked")? == 1);
        if !blocked {
            // Nobody has heard it: the kernel drops it for a PID 1 and kills another process. Unless
            // that one has blocked it since it was looked at.
            proc::poll("an end, or TERM blocked", || match proc::mask(pid, "SigBlk") {
                Some(mask) if proc::alive(pid) => {
                    (mask & sys::bit(libc::SIGTERM) != 0).then_some(())
                }
                _ => Some(()),
            })?;
            drop(sys::kill(pid, libc::SIGTERM));
        }
        let ended = run.out.expect("ended")?;
        let fine = ended.0 == "ended code=0"
            || (ended.0 == "ended signal=15" && !blocked && room == Room::Plain);
        ensure!(fine, "TERM {micros} µs after exec, blocked: {blocked}: {}", ended.0);
        kept += u64::from(blocked);
    }
    ensure!(kept > 0, "TERM was never blocked when it was sent");
    Ok(())
}

/// `/run/podman-init -- CMD`, as podman puts it together. Podman 3 mounted it at `/dev/init`: a name that
/// says nothing, so there it is graceinit with its own defaults.
fn the_name_that_it_is_mounted_by_decides(room: Room) -> Outcome {
    for (name, nothing, stop) in [("podman-init", 1, false), ("init", 127, true)] {
        let launch = || {
            let launch = Launch::new(Program::Catatonit, room).no_flags();
            launch.program_file(alias(name)).env("GRACEINIT_LOG", "info")
        };
        let mut run =
            launch().app("block argv ready echo=TERM:5").app_arg("--").app_arg("-g").start()?;
        let mut words = Vec::new();
        while words.last().is_none_or(|line: &String| !line.starts_with("ready")) {
            words.push(run.out.next()?.0);
        }
        let expected: Vec<String> = [
            puppet().display().to_string().as_str(),
            "block",
            "argv",
            "ready",
            "echo=TERM:5",
            "--",
            "-g",
        ]
        .iter()
        .map(|word| {
            let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("argv {hex}")
        })
        .collect();
        words.pop();
        ensure_eq!(words, expected, "the app's arguments under {name}");
        run.signal("TERM")?;
        run.exits(5)?;
        let asked = run.err.count("graceinit: info: stop requested ");
        ensure_eq!(asked, usize::from(stop), "stops in phases under {name}");
        let mut run = launch().command(["/nothing"]).start()?;
        run.exits(nothing)?;
    }
    Ok(())
}

both_rooms!(
    no_setting_makes_a_difference,
    a_zombie_from_before_is_reaped,
    no_term_is_lost_once_it_is_blocked,
    the_name_that_it_is_mounted_by_decides,
);
