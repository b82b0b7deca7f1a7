//! Orphans and helpers: who adopts them, who is told of them, and what becomes of them at the end.

use super::{Name, Seen, Subject, pairs};
use crate::support::files::Place;
use crate::support::{Outcome, Room, proc};

/// Outside a pid namespace: do orphans come to the init, and does it reap them?
fn who_adopts_orphans(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    let cases: &[(&str, &str, &str)] = match subject.name {
        Name::Tini => &[
            ("", "", ""),
            ("-s", "", ""),
            ("-ss", "", ""),
            ("", "TINI_SUBREAPER", ""),
            ("", "TINI_SUBREAPER", "0"),
        ],
        Name::DumbInit => &[("", "", ""), ("-c", "", "")],
        Name::Catatonit => &[("", "", "")],
    };
    for (flags, variable, value) in cases {
        let place = Place::new();
        let fifo = place.fifo("gate");
        let script =
            format!("spawn=orphan:name=orphan;ready;read={} ready pause", fifo.path().display());
        let mut launch = subject.launch(Room::Plain).flags(flags);
        if !variable.is_empty() {
            launch = launch.env(variable, value);
        }
        let run = launch.app(&script).start()?;
        let orphan = run.out.expect("orphan: ready")?;
        run.ready()?;
        let adopted = orphan.number("ppid")? == run.init()?;
        let what = format!("[{flags}{variable}]{value}");
        seen.note(what.as_str(), if adopted { "the init" } else { "somebody above" });
        fifo.release()?;
        if adopted {
            let pid = orphan.number("pid")?;
            proc::poll("the orphan reaped", || proc::process(pid).is_none().then_some(()))?;
        }
        seen.note(format!("{what} says"), said(&run.err.so_far()));
    }
    Ok(seen)
}

fn said(lines: &[crate::support::Line]) -> &'static str {
    if lines.is_empty() { "nothing" } else { "something" }
}

/// tini's `-w`: what is reaped besides the app is worth a line on stderr.
fn warnings_of_orphans(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    if subject.name != Name::Tini {
        return Ok(seen);
    }
    for (flags, verbosity) in [("", "1"), ("-w", "1"), ("-w", "0"), ("-ww", "1")] {
        let place = Place::new();
        let fifo = place.fifo("gate");
        let script = format!(
            "spawn=orphan:name=orphan;ready;read={} ready echo=USR1:3",
            fifo.path().display()
        );
        let launch = subject.launch(Room::PidNs).flags(flags).env("TINI_VERBOSITY", verbosity);
        let mut run = launch.app(&format!("block {script}")).start()?;
        let orphan = run.outer(run.out.expect("orphan: ready")?.number("pid")?)?;
        run.ready()?;
        fifo.release()?;
        proc::poll("the orphan reaped", || proc::process(orphan).is_none().then_some(()))?;
        run.signal("USR1")?;
        run.exits(3)?;
        let lines = run.err.all()?;
        seen.note(format!("{flags} TINI_VERBOSITY={verbosity}"), format!("{} lines", lines.len()));
    }
    Ok(seen)
}

/// The app ends by itself; what it leaves behind would like to say good-bye.
fn what_becomes_of_helpers(subject: Subject) -> Outcome<Seen> {
    let mut seen = Seen::default();
    for (room, way, flags) in [
        (Room::Plain, "same", ""),
        (Room::Plain, "setsid", ""),
        (Room::PidNs, "same", ""),
        (Room::PidNs, "setsid", ""),
        (Room::Plain, "same", "-c"),
    ] {
        // dumb-init tells the group and leaves at once, which as PID 1 kills it: either may come first.
        let races = (room, way) == (Room::PidNs, "same");
        if if subject.name == Name::DumbInit { races } else { !flags.is_empty() } {
            continue;
        }
        let place = Place::new();
        let file = place.text("notes");
        let script =
            format!("block spawn={way}:name=helper;to={file};block;ready;echo=TERM:0 ready exit=6");
        let mut run = subject.launch(room).flags(flags).app(&script).start()?;
        run.ready()?;
        let status = run.wait()?;
        let ready = crate::support::Line(place.wait_for("notes")?);
        let pid = ready.number("pid")?;
        // Whether one that is told is waited for as well, the shared cases show.
        let told = || place.read("notes").unwrap_or_default().contains("got TERM");
        if room == Room::Plain && !told() {
            // Told in time or never: a marker, handed out after TERM, shows which.
            drop(crate::support::sys::kill(pid, 64));
            proc::poll("TERM or the marker", || {
                let marker = place.read("notes").unwrap_or_default().contains("got RTMAX");
                (told() || marker || !proc::alive(pid)).then_some(())
            })?;
        }
        let fate = match (told(), room) {
            (true, _) => "told",
            (false, Room::Plain) => "left behind",
            (false, Room::PidNs) => "killed",
        };
        seen.note(format!("{room:?} {way} {flags}").trim_end(), format!("{status}, {fate}"));
    }
    Ok(seen)
}

pairs!(who_adopts_orphans, warnings_of_orphans, what_becomes_of_helpers);
