//! PID 1's memory does not grow, however long the life and however much is told of it.
//!
//! `GRACEINIT_TEST_FIGURES=1 cargo test account::memory -- --nocapture` takes the long way (100,000
//! signals, 100,000 orphans, 1,000 hooks) and prints the figures; otherwise it is a twentieth of that.

use std::io::Write;
use std::time::Duration;

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, Run, Status, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// In KiB: the allocator's slack.
const ROOM_TO_BREATHE: u64 = 64;

fn anonymous(pid: i32) -> Outcome<u64> {
    let text = proc::status_field(pid, "RssAnon").unwrap_or_default();
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| crate::support::Fault::new(format!("no RssAnon of {pid}: {text:?}")))
}

/// Real-time signals are queued one by one, with EAGAIN where the queue is full: none is lost.
fn send(run: &Run, count: usize) -> Outcome {
    let number = libc::SIGRTMIN() + 4;
    for _ in 0..count {
        proc::poll_within(Duration::from_secs(30), "room for a signal", || {
            run.queue(number, 0).ok()
        })?;
    }
    Ok(())
}

fn reload(run: &Run, count: usize) -> Outcome {
    for _ in 0..count {
        run.signal("HUP")?;
        run.err.until("graceinit: info: on-reload hook done")?;
    }
    Ok(())
}

/// The value of a line of the metrics file.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn it_does_not_grow(room: Room) -> Outcome {
    let long = std::env::var_os("GRACEINIT_TEST_FIGURES").is_some();
    // Before it is looked for the first time: enough to fill all that is kept.
    let (few, twice, some) = (1000, 2, 200);
    let times = if long { 20 } else { 1 };
    let (signals, rounds, hooks) = (5000 * times, 5 * times, 50 * times);
    let orphans = |rounds: usize| "orphans=1000 release ".repeat(rounds);
    let place = Place::new();
    let metrics = place.path("app.prom");
    let mut run = Launch::graceinit(room)
        .patience(Duration::from_secs(100))
        .flags("--grace 30 --log-level info --on-reload touch:/dev/null")
        .flag("--report", place.path("report.json"))
        .flag("--metrics-file", &metrics)
        .flag("--listen", format!("unix:{}", place.text("sock")))
        .app(&format!(
            "ignore=RTMIN+4 mask=TERM,HUP,USR1,RTMAX {}ready wait=USR1 {}say=reaped \
             echo=TERM:3",
            orphans(twice),
            orphans(rounds)
        ))
        .start()?;
    run.out.until("ready")?;
    let init = run.init()?;
    send(&run, few)?;
    reload(&run, some)?;
    let before = anonymous(init)?;
    run.signal("USR1")?;
    run.out.until("reaped")?;
    send(&run, signals)?;
    reload(&run, hooks)?;
    // The last of the queue comes after the others.
    run.signal("RTMAX")?;
    run.out.until("got RTMAX ")?;
    let after = anonymous(init)?;
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(3), "the app's code");
    if long {
        let _ = writeln!(
            std::io::stderr(),
            "{room:?}: {signals} signals, {rounds}000 orphans, {hooks} hooks: anonymous memory \
             {before} KiB before, {after} KiB after"
        );
    }
    let text = place.expect("app.prom")?;
    let count = |name: &str| metric(&text, name).unwrap_or(-1.0);
    let forwarded = count("graceinit_signals_forwarded_total{signal=\"RTMIN+4\"}");
    ensure_eq!(forwarded, (few + signals) as f64, "signals that were passed on");
    let orphans = count("graceinit_processes_reaped_total{kind=\"orphan\"}");
    let all = (twice + rounds) as f64 * 1000.0;
    ensure!(orphans >= all, "{orphans} orphans were reaped, not {all}");
    ensure!(
        after <= before + ROOM_TO_BREATHE,
        "anonymous memory grew from {before} to {after} KiB"
    );
    Ok(())
}

both_rooms!(it_does_not_grow);
