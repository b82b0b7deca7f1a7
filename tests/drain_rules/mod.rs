//! The rules of the drain on real traffic: clients and servers of many shapes are played over loopback,
//! the kernel is asked every 100 ms, and what it told is replayed through the rules for each
//! `--drain-idle`.
//!
//! `cargo test drain_rules -- --ignored --nocapture` prints the tables of docs/drain-how.md; it takes two minutes. The
//! same shapes are played over a network with a round trip of 40 ms, which needs root.

#![allow(unreachable_pub, reason = "tools for the tests of this folder")]

mod delay;
mod old;
mod record;
mod replay;
mod script;
mod shapes;

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use graceinit::machine::connections::State;

use self::delay::Network;
use self::record::{Recording, Way, record};
use self::replay::{DELAY, Ended, judge, replay};
use self::script::{BEGIN, Cast, Deed, END, Link};
use self::shapes::SHAPES;
use crate::support::{Outcome, need};
use crate::{ensure, ensure_eq};

/// Stops of each shape.
const STOPS: u64 = 4;
/// What grace periods of 15 s and 30 s leave for the drain.
const LENGTHS: [(i64, &str); 2] = [(11_250, "15 s"), (25_000, "30 s")];
const IDLES: [i64; 8] = [500, 1000, 2000, 3000, 4000, 5000, 5625, 8000];

fn plays(seed: u64) -> Vec<Vec<Link>> {
    let mut casts = Vec::new();
    for (number, (_, play)) in SHAPES.iter().enumerate() {
        for stop in 0..STOPS {
            let mut cast = Cast::new(seed + stop * 1000 + number as u64);
            // The first numbers of neighbouring seeds are alike.
            for _ in 0..8 {
                cast.dice.roll(2);
            }
            play(&mut cast);
            for link in &mut cast.links {
                // Of two deeds at the same time the first one stays first.
                link.deeds.sort_by_key(|(at, _)| *at);
            }
            casts.push(cast.links);
        }
    }
    casts
}

/// Seconds, to a tenth.
fn seconds(millis: i64) -> String {
    format!("{}.{}", millis / 1000, millis % 1000 / 100)
}

fn rows(
    out: &mut String,
    casts: &[Vec<Link>],
    recordings: &[Recording],
    end: impl Fn(&[Link], &Recording) -> Ended,
) -> Vec<Ended> {
    let all: Vec<Ended> =
        casts.iter().zip(recordings).map(|(links, recording)| end(links, recording)).collect();
    let stops = all.iter().filter(|one| one.cut > 0).count();
    let requests: u32 = all.iter().map(|one| one.cut).sum();
    let wasted = all.iter().map(Ended::wasted).sum::<i64>() / i64::try_from(all.len()).unwrap_or(1);
    let lasted = all.iter().map(|one| one.at).sum::<i64>() / i64::try_from(all.len()).unwrap_or(1);
    let share = stops * 100 / all.len().max(1);
    let _ = writeln!(
        out,
        "{share:>4} % of stops, {requests:>4} requests cut; wasted {:>4} s, lasted {:>4} s",
        seconds(wasted),
        seconds(lasted)
    );
    all
}

/// One way, in milliseconds.
const AWAY: i64 = 20;

#[test]
#[ignore = "plays all shapes for 40 s, and prints tables"]
fn what_each_drain_idle_costs() -> Outcome {
    tables(Way::Loopback, "over loopback")
}

#[test]
#[ignore = "plays all shapes for 40 s, and prints tables"]
fn what_each_drain_idle_costs_with_a_round_trip() -> Outcome {
    if !need::root() || !need::program("/dev/net/tun") {
        return Ok(());
    }
    let _network = Network::new(Duration::from_millis(AWAY.unsigned_abs()))?;
    tables(Way::Far, "with a round trip of 40 ms, in packets of 1500 bytes")
}

fn tables(way: Way, what: &str) -> Outcome {
    let seed = std::env::var("GRACEINIT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let casts = plays(seed.unwrap_or(1));
    let recordings = record(&casts, BEGIN, END, way)?;
    // The last bytes of an answer need their time.
    let away = if way == Way::Far { 2 * AWAY } else { 0 };
    let late = recordings.iter().map(|one| one.late).max().unwrap_or(0);
    let samples = recordings.first().map_or(0, |one| one.samples.len());
    let mut out = format!(
        "{} shapes, {} stops, {samples} samples, {what}; the latest deed was {late} ms late\n",
        SHAPES.len(),
        casts.len(),
    );
    for (length, grace) in LENGTHS {
        let _ = write!(out, "\ngrace {grace} (drain {} s)\n  0.1.0      ", seconds(length));
        let mut columns = vec![rows(&mut out, &casts, &recordings, |links, recording| {
            judge(links, old::end(&recording.samples, DELAY, length), away)
        })];
        for idle in IDLES {
            let _ = write!(out, "  idle {:>4} s", seconds(idle));
            columns.push(rows(&mut out, &casts, &recordings, |links, recording| {
                replay(links, &recording.samples, idle, length, away)
            }));
        }
        let _ = write!(out, "\n{:<36}{:>9}", "stops cut of 4/seconds wasted", "0.1.0");
        for idle in IDLES {
            let _ = write!(out, "{:>9}", seconds(idle));
        }
        out.push('\n');
        for (number, (name, _)) in SHAPES.iter().enumerate() {
            let _ = write!(out, "{name:<36}");
            for all in &columns {
                let stops = STOPS as usize;
                let of = &all[number * stops..(number + 1) * stops];
                let cut = of.iter().filter(|one| one.cut > 0).count();
                let wasted = of.iter().map(Ended::wasted).sum::<i64>() / STOPS as i64;
                let cut = if cut == 0 { "-".to_owned() } else { cut.to_string() };
                let _ = write!(out, "{:>9}", format!("{cut}/{}", seconds(wasted)));
            }
            out.push('\n');
        }
    }
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(())
}

/// What the kernel told of connections is what was played on them.
#[test]
fn a_recording_shows_what_was_played() -> Outcome {
    let mut cast = Cast::new(1);
    let link = cast.link(-300);
    link.exchange(-290, 200, 40, 700);
    link.ask(-100, 300);
    let link = cast.link(-300);
    link.ask(-250, 17);
    link.say(-240, 17);
    link.does(-200, Deed::HalfClose);
    let link = cast.link(-300);
    link.ask(-250, 200);
    link.say(-200, 900);
    link.does(-190, Deed::Leave);
    link.does(-180, Deed::Close);
    let link = cast.link(-300);
    link.ask(-250, 200);
    link.does(-240, Deed::Vanish);
    link.say(-230, 900);
    let recordings = record(&[cast.links.clone()], -300, 250, Way::Loopback)?;
    let recording = recordings.first().map_or(&[][..], |one| &one.samples);
    ensure!(!recording.is_empty(), "no sample");
    for (at, readings) in recording {
        ensure_eq!(readings.len(), 3, "those that were not closed");
        let find = |received| {
            readings
                .iter()
                .find(|one| one.info.is_some_and(|info| info.bytes_received == Some(received)))
        };
        let (Some(owed), Some(half), Some(lost)) = (find(500), find(18), find(200)) else {
            return Err(crate::support::Fault::new(format!("at {at}: {readings:?}")));
        };
        let numbers = |one: &graceinit::machine::connections::Reading| {
            let info = one.info.unwrap_or_default();
            (one.state, info.bytes_acknowledged, one.unsent, info.segments_in)
        };
        ensure_eq!(numbers(owed), (State::Established, Some(700), 0, Some(2)), "two requests");
        ensure_eq!(numbers(half), (State::CloseWait, Some(17), 0, Some(1)), "its end");
        ensure_eq!(numbers(lost), (State::Established, Some(0), 900, Some(1)), "nothing arrives");
        let (Some(out), Some(again)) = (owed.info, lost.info) else { continue };
        ensure_eq!(out.segments_out, Some(1), "one answer");
        ensure!(out.received <= out.sent, "{owed:?}");
        ensure!(again.segments_out >= Some(1), "{lost:?}");
    }
    // The first one is owed an answer, whatever the time.
    let ended = replay(&cast.links, recording, 300, 250, 0);
    ensure_eq!((ended.at, ended.last.owed, ended.last.over), (250, 1, false), "an answer is owed");
    Ok(())
}

/// The short form: some shapes, whose verdicts do not depend on how busy the machine is.
#[test]
fn debts_are_seen_in_played_traffic() -> Outcome {
    let mut casts = Vec::new();
    for (name, owed, idle) in [
        ("http/1.1 pool, never used again", 0, 4),
        ("half a request", 0, 1),
        ("long poll, for ever", 1, 0),
        ("connections made ahead", 0, 2),
    ] {
        let play = SHAPES.iter().find(|(shape, _)| *shape == name).map(|(_, play)| *play);
        let Some(play) = play else { return Err(crate::support::Fault::new(name)) };
        let mut cast = Cast::new(3);
        play(&mut cast);
        casts.push((name, owed, idle, cast.links));
    }
    let links: Vec<Vec<Link>> = casts.iter().map(|(.., links)| links.clone()).collect();
    // All that happened before is played at once, and then nothing: only silences grow.
    let recordings = record(&links, -100, 700, Way::Loopback)?;
    for ((name, owed, idle, links), recording) in casts.iter().zip(&recordings) {
        let ended = replay(links, &recording.samples, 300, 700, 0);
        ensure_eq!(ended.last.owed, *owed, "{name}: {ended:?}");
        let all = ended.last.owed + ended.last.idle + ended.last.busy;
        ensure_eq!(all, owed + idle, "{name}: {ended:?}");
        ensure_eq!(ended.cut, *owed, "{name}: {ended:?}");
    }
    Ok(())
}
