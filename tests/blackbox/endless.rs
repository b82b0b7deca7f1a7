//! Under another init's name: a stop that has no deadline, and signals that are only passed on.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Launch, Outcome, Room, alias, proc};
use crate::{both_rooms, ensure, ensure_eq};

fn as_tini(room: Room) -> Launch {
    Launch::graceinit(room).no_flags().program_file(alias("tini"))
}

/// The names of the variables that a hook was given.
fn names(place: &Place, file: &str) -> Outcome<BTreeSet<String>> {
    let text = place.expect(file)?;
    let entries = text.lines().filter_map(|line| line.strip_prefix("environ "));
    let names = entries.map(|entry| {
        let pairs = (0..entry.len() / 2).filter_map(|n| entry.get(2 * n..2 * n + 2));
        let bytes: Vec<u8> = pairs.filter_map(|hex| u8::from_str_radix(hex, 16).ok()).collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.split('=').next().unwrap_or_default().to_owned()
    });
    Ok(names.collect())
}

/// Neither hooks nor log nor report are told of a time that there is not.
fn nobody_is_told_of_a_deadline_that_there_is_not(room: Room) -> Outcome {
    let place = Place::new();
    let dump = |file: &str| puppet_line(&format!("to={} environ", place.text(file)));
    let mut run = as_tini(room)
        .env("GRACEINIT_PRE_STOP", dump("pre-stop"))
        .env("GRACEINIT_ON_STOP", dump("on-stop"))
        .env("GRACEINIT_POST_STOP", dump("post-stop"))
        .env("GRACEINIT_REPORT", place.path("report.json"))
        .env("GRACEINIT_LOG", "trace")
        .env("GRACEINIT_LOG_FORMAT", "json")
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    for (file, told) in [("pre-stop", false), ("on-stop", false), ("post-stop", true)] {
        let names = names(&place, file)?;
        ensure!(names.contains("GRACEINIT_PHASE"), "{file}: {names:?}");
        for name in ["GRACEINIT_DEADLINE", "GRACEINIT_BUDGET_MS"] {
            ensure_eq!(names.contains(name), told, "{name} of {file}");
        }
    }
    let lines = run.err.all()?.into_iter().filter(|line| line.0.starts_with('{'));
    let lines: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.0)).collect::<Result<_, _>>()?;
    for (fact, field) in [("stop-requested", "budget"), ("stop-signal", "left")] {
        let line = lines.iter().find(|line| line["fact"] == fact);
        ensure!(line.is_some_and(|line| line.get(field).is_none()), "{fact}: {line:?}");
    }
    // What the app leaves behind has an end.
    let left = lines.iter().find(|line| line["fact"] == "leftovers-signalled");
    let left = left.and_then(|line| line["left"].as_f64());
    ensure!(left.is_some_and(|left| left > 0.0 && left <= 15.0), "leftovers: {left:?}");
    let text = place.expect("report.json")?;
    let report: Value = serde_json::from_str(&text)?;
    ensure!(report["stop"].is_object() && report["stop"].get("budget").is_none(), "{text}");
    let summary = report["summary"].as_str().unwrap_or_default();
    let by = summary.starts_with("Stopped by TERM from ") && !summary.contains(" s of ");
    ensure!(by, "{summary}");
    Ok(())
}

/// It is the only end that such a stop has besides the app's own.
fn a_second_request_that_kills_ends_it(room: Room) -> Outcome {
    let mut run =
        as_tini(room).env("GRACEINIT_STOP_AGAIN", "kill").app("block ready echo").start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.signal("TERM")?;
    run.exits(137)?;
    ensure_eq!(run.out.count("got TERM"), 1, "TERM at the app");
    Ok(())
}

/// A stopped app acts on no other signal (signal(7)).
fn a_term_that_is_passed_on_continues_a_stopped_app(room: Room) -> Outcome {
    let launch = as_tini(room).env("GRACEINIT_LOG", "trace").env("GRACEINIT_LOG_FORMAT", "text");
    let mut run = launch.app("block ready raise=STOP echo=TERM:3").start()?;
    let app = run.outer(run.ready()?.number("pid")?)?;
    proc::poll("the app stopped", || proc::process(app).filter(|p| p.state == 'T'))?;
    // The end of this wake-up: graceinit has looked round since then.
    run.signal("WINCH")?;
    run.err.until("graceinit: debug: forwarding a signal to the app signal=WINCH")?;
    run.signal("TERM")?;
    run.exits(3)
}

/// It is passed on each time it comes, and one that runs is sent nothing else.
fn every_term_is_passed_on_and_nothing_else(room: Room) -> Outcome {
    let mut run = as_tini(room).app("block ready echo=USR2:4").start()?;
    run.ready()?;
    for name in ["TERM", "INT", "TERM"] {
        run.signal(name)?;
        run.out.expect(&format!("got {name} "))?;
    }
    run.signal("USR2")?;
    run.exits(4)?;
    ensure_eq!((run.out.count("got TERM"), run.out.count("got INT")), (2, 1), "signals");
    ensure_eq!(run.out.count("got CONT"), 0, "CONT");
    Ok(())
}

both_rooms! {
    nobody_is_told_of_a_deadline_that_there_is_not,
    a_second_request_that_kills_ends_it,
    a_term_that_is_passed_on_continues_a_stopped_app,
    every_term_is_passed_on_and_nothing_else,
}
