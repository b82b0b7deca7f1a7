//! The first milliseconds: a signal sent while the program, its group or its app do not exist yet.

use std::io::Write;

use super::peers::{Subject, shared};
use crate::support::{Fault, Launch, Line, Outcome, Program, Room, Run, Status, need, sys};
use crate::{both_rooms, ensure, ensure_eq};

/// How often each race is run, and over how many microseconds after exec the signals are spread.
const TRIES: u64 = 300;
const SPAN_US: u64 = 5_000;

/// The points of time, spread evenly but not in order, so that a slow second does not hit one end.
fn moments(tries: u64) -> impl Iterator<Item = u64> {
    // 167 has no factor in common with the number of tries, so each slot comes up once.
    (0..tries).map(move |n| (n * 167 % tries) * SPAN_US / tries)
}

/// One life under a TERM so many microseconds after exec. Gives whether TERM was already blocked
/// when it was sent: then nothing but that TERM ends this life, so that it ends at all is the proof
/// that the TERM was kept. Otherwise (the kernel drops it at a PID 1 and kills another process, as it
/// does with any program that runs nothing yet) a second TERM follows once the app runs.
fn life_under_term(room: Room, micros: u64) -> Outcome<bool> {
    let run = Launch::graceinit(room)
        .race(micros, libc::SIGTERM)
        .app("block ready echo=TERM:0")
        .start()?;
    let (mut init, mut blocked, mut repeated) = (None, None, false);
    let (mut ready, mut got) = (false, 0);
    let end = loop {
        let line = run.out.next()?;
        let Line(text) = &line;
        if text.starts_with("sent") {
            init = Some(line.number("pid")?);
            blocked = Some(line.number("blocked")? == 1);
        } else if text.starts_with("ready") {
            ready = true;
        } else if text.starts_with("got TERM") {
            got += 1;
        } else if text.starts_with("ended") {
            break line;
        } else {
            ensure!(text.starts_with("got CONT"), "unexpected: {text}");
        }
        if let (Some(init), Some(false), true, false) = (init, blocked, ready, repeated) {
            repeated = true;
            // It may be gone by now, if the first TERM came between our look and its arrival.
            drop(sys::kill(init, libc::SIGTERM));
        }
    };
    ensure!(got <= 1, "TERM {micros} µs after exec came {got} times");
    let blocked = blocked.ok_or_else(|| Fault::new("nothing was sent"))?;
    let fine = match end.0.as_str() {
        "ended code=0" => got == 1,
        // The app was still without its mask (or did not exist) when it was told to go.
        "ended code=143" => got == 0,
        // Killed before its first instruction.
        "ended signal=15" => got == 0 && !blocked && room == Room::Plain,
        _ => false,
    };
    ensure!(fine, "TERM {micros} µs after exec: {} after {got} echoes", end.0);
    Ok(blocked)
}

fn no_term_is_lost_once_it_is_blocked(room: Room) -> Outcome {
    if room == Room::PidNs && !need::root() {
        return Ok(());
    }
    let mut kept = 0;
    for micros in moments(TRIES) {
        kept += u64::from(life_under_term(room, micros)?);
    }
    // Otherwise the race was never run.
    let news =
        format!("start, {room:?}: TERM was blocked in {kept} of {TRIES} tries, none was lost\n");
    // Past libtest's capture: the figure is wanted even when all is well.
    std::io::stderr().write_all(news.as_bytes())?;
    ensure!(kept > 0, "TERM was blocked in {kept} of {TRIES} tries only");
    Ok(())
}

/// The program is started with RTMIN blocked, and has to hand that mask on to the app: so the signal
/// stays pending from the first moment on whoever holds it, in the fork and exec window too, and the
/// app must get it exactly once whenever it was sent. Real-time signals queue: a doubled one shows.
fn a_signal_in_the_start_window_comes_exactly_once(subject: Subject) -> Outcome {
    if subject.room == Room::PidNs && !need::root() {
        return Ok(());
    }
    let tries = if subject.program == Program::Graceinit { TRIES } else { TRIES / 10 };
    for micros in moments(tries) {
        let mut run = subject
            .launch()
            .given("mask=RTMIN")
            .race(micros, 34)
            .app("block ready echo=RTMAX:0")
            .start()?;
        let pid = sent_and_ready(&run)?;
        // RTMAX comes after RTMIN: what has not come before it was lost.
        sys::kill(pid, 64)?;
        let ended = loop {
            match run.out.next_within(subject.patience)? {
                Some(line) if line.0.starts_with("ended") => break line,
                Some(_) => {}
                None => return Err(Fault::new("the account ended too early")),
            }
        };
        ensure_eq!(ended.0, "ended code=0", "the end, signal sent after {micros} µs");
        ensure_eq!(run.out.count("got RTMIN "), 1, "RTMIN sent after {micros} µs");
        ensure_eq!(run.wait()?, Status::Code(0), "the launcher");
    }
    Ok(())
}

/// Reads until the signal was sent and the app is ready, in whichever order.
fn sent_and_ready(run: &Run) -> Outcome<i32> {
    let (mut pid, mut ready) = (None, false);
    loop {
        let line = run.out.next()?;
        if line.0.starts_with("sent") {
            pid = Some(line.number("pid")?);
        }
        ready |= line.0.starts_with("ready");
        match pid {
            Some(pid) if ready => return Ok(pid),
            _ => {}
        }
    }
}

both_rooms!(no_term_is_lost_once_it_is_blocked);
shared!(a_signal_in_the_start_window_comes_exactly_once);
