//! Parsers of values. Each says what is wrong and what to write instead, as the end of a sentence.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use log::LevelFilter;

use super::Ports;
use crate::machine::budget::ENDLESS;
use crate::machine::plan::{ChildOom, Diagnose, OnFailure, Rung, Scope, StopAgain, Wait};
use crate::sys::listen::Address;
use crate::types::Signal;

/// graceinit cannot receive the first two, and uses SIGCHLD itself.
pub(super) const NEVER_SEEN: [Signal; 3] = [Signal::KILL, Signal::STOP, Signal::CHLD];

/// The lead of `--diagnose` where none is written.
const USUAL_LEAD: Duration = Duration::from_secs(2);

/// `15s`, `200ms`, `15`: the form of all defaults and of most values. They are read without the larger parsers, whose
/// pages a life without settings would have to load.
fn plain_duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number = digits.parse().ok()?;
    match unit {
        "" | "s" => Some(Duration::from_secs(number)),
        "ms" => Some(Duration::from_millis(number)),
        _ => None,
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match any_duration(text.trim())? {
        // Sums of shorter times stay within `Duration` and the monotonic clock (584 years).
        time if time >= ENDLESS => Err(TOO_LONG.to_owned()),
        time => Ok(time),
    }
}

const TOO_LONG: &str = "too long; write less than 100 years (36500d)";

fn any_duration(text: &str) -> Result<Duration, String> {
    if let Some(plain) = plain_duration(text) {
        return Ok(plain);
    }
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        digits.then(|| text.parse::<f64>().ok()).flatten()
    };
    if let Some(seconds) = number(text.strip_suffix('s').unwrap_or(text)) {
        return Duration::try_from_secs_f64(seconds).map_err(|_| TOO_LONG.to_owned());
    }
    humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => TOO_LONG.to_owned(),
        _ => "not a duration; write 10s, 1m 30s, 250ms or a number of seconds".to_owned(),
    })
}

/// A duration that is not zero: zero would mean that there is no limit.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("zero is not allowed; write at least 1ms".to_owned()),
        some => Ok(some),
    }
}

pub(super) fn signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text).ok_or_else(|| "not a signal; write TERM, SIGTERM, 15 or RTMIN+3".to_owned())
}

/// The parts of a list with commas; a message about one part of several names the part.
fn list<T>(text: &str, part: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let named = |one: &str| {
        part(one)
            .map_err(|why| if one == text { why } else { format!("'{}' is {why}", one.trim()) })
    };
    if text.is_empty() {
        return Err("an empty list; write at least one value, or leave the option out".to_owned());
    }
    text.split(',').map(named).collect()
}

fn signals(text: &str, effect: &str) -> Result<Vec<Signal>, String> {
    let mut signals = Vec::new();
    for signal in list(text, signal)? {
        if NEVER_SEEN.contains(&signal) {
            return Err(format!(
                "{signal} cannot begin a {effect}; name a signal that can be caught"
            ));
        }
        if !signals.contains(&signal) {
            signals.push(signal);
        }
    }
    Ok(signals)
}

pub(super) fn stop_signals(text: &str) -> Result<Vec<Signal>, String> {
    signals(text, "stop")
}

pub(super) fn reload_signals(text: &str) -> Result<Vec<Signal>, String> {
    signals(text, "reload")
}

fn rung_wait(text: &str) -> Result<Wait, String> {
    let Some(share) = text.trim().strip_suffix('%') else { return some_time(text).map(Wait::For) };
    let hundredths = share.trim().parse().ok().filter(|share| (1..100).contains(share));
    let hundredths =
        hundredths.ok_or("not a share of the time; write 1% to 99%, as in QUIT:90%")?;
    Ok(Wait::Share(hundredths))
}

pub(super) fn ladder(text: &str) -> Result<Vec<Rung>, String> {
    let rung = |text: &str| {
        let (name, wait) = match text.split_once(':') {
            Some((name, wait)) => (name, Some(rung_wait(wait)?)),
            None => (text, None),
        };
        Ok(Rung { signal: if name.trim() == "0" { None } else { Some(signal(name)?) }, wait })
    };
    let rungs = list(text, rung)?;
    let waits = rungs.iter().rev().skip(1).all(|rung| rung.wait.is_some());
    if waits {
        Ok(rungs)
    } else {
        Err("each signal but the last needs a time; write TERM:10s,INT".to_owned())
    }
}

pub(super) fn rewrite_rule(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let Some((from, to)) = text.split_once(':') else {
        return Err("not FROM:TO; write TERM:QUIT, or HUP:0 to drop it".to_owned());
    };
    let from = signal(from)?;
    if NEVER_SEEN.contains(&from) {
        return Err(format!("{from} never reaches graceinit; name a signal that can be caught"));
    }
    let to = if to.trim() == "0" { None } else { Some(signal(to)?) };
    Ok((from, to))
}

pub(super) fn diagnose(text: &str) -> Result<Diagnose, String> {
    let (name, lead) = match text.split_once('@') {
        Some((name, lead)) => (name, some_time(lead)?),
        None => (text, USUAL_LEAD),
    };
    let signal = signal(name)?;
    if NEVER_SEEN.contains(&signal) {
        return Err(format!("{signal} makes no app print its state; write QUIT@2s"));
    }
    Ok(Diagnose { signal, lead })
}

pub(super) fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "auto" => Ok(Scope::Auto),
        "group" => Ok(Scope::Group),
        "main" => Ok(Scope::Main),
        "mixed" => Ok(Scope::Mixed),
        "tree" => Ok(Scope::Tree),
        _ => Err("not a scope; write auto, group, main, mixed or tree".to_owned()),
    }
}

pub(super) fn stop_again(text: &str) -> Result<StopAgain, String> {
    match text {
        "ignore" => Ok(StopAgain::Ignore),
        "kill" => Ok(StopAgain::Kill),
        _ => Err("not a response to a second stop request; write ignore or kill".to_owned()),
    }
}

pub(super) fn child_oom(text: &str) -> Result<ChildOom, String> {
    match text {
        "note" => Ok(ChildOom::Note),
        "stop" => Ok(ChildOom::Stop),
        _ => Err("not a response to a process that was killed; write note or stop".to_owned()),
    }
}

pub(super) fn on_failure(text: &str) -> Result<OnFailure, String> {
    match text {
        "warn" => Ok(OnFailure::Warn),
        "abort" => Ok(OnFailure::Abort),
        _ => Err("not a response to a failure; write warn or abort".to_owned()),
    }
}

pub(super) fn code(text: &str) -> Result<u8, String> {
    text.trim().parse().map_err(|_| "not an exit code; write a number from 0 to 255".to_owned())
}

pub(super) fn count(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| "not a count; write a whole number".to_owned())
}

/// A count that is not zero.
pub(super) fn some_count(text: &str) -> Result<u32, String> {
    match count(text)? {
        0 => Err("zero is not allowed; write at least 1".to_owned()),
        some => Ok(some),
    }
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.filter(|port| *port > 0)
        .ok_or_else(|| "not a port; write a number from 1 to 65535".to_owned())
}

/// The ports and the Unix sockets of `--drain`.
pub(super) fn drained(text: &str) -> Result<(Ports, Vec<Address>), String> {
    if text.trim() == "auto" {
        return Ok((Ports::Auto, Vec::new()));
    }
    let (mut ports, mut unix) = (Vec::new(), Vec::new());
    for one in list(text, one_drained)? {
        match one {
            Drained::Port(port) if !ports.contains(&port) => ports.push(port),
            Drained::Unix(address) if !unix.contains(&address) => unix.push(address),
            Drained::Port(_) | Drained::Unix(_) => {}
        }
    }
    Ok((Ports::List(ports), unix))
}

enum Drained {
    Port(u16),
    Unix(Address),
}

fn one_drained(text: &str) -> Result<Drained, String> {
    let text = text.trim();
    if text == "auto" {
        return Err("not allowed beside ports; write auto, or the ports".to_owned());
    }
    if text.starts_with("unix:") {
        return Address::parse(text).map(Drained::Unix);
    }
    port(text).map(Drained::Port).map_err(|why| format!("{why}, or auto"))
}

pub(super) fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "not a level; write off, error, warn, info, debug or trace".to_owned())
}

pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("not a boolean; write 1 or 0".to_owned()),
    }
}

/// The name of a hook: it is written to the log, to variables and to metrics, so the letters are restricted.
pub(super) fn hook_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("not a name; write up to 64 letters, digits, - _ and .".to_owned())
    }
}

/// The path of a file, which may exist or not.
pub(super) fn file_path(text: &OsStr, example: &str) -> Result<CString, String> {
    if text.as_bytes().ends_with(b"/") || fs::metadata(text).is_ok_and(|there| there.is_dir()) {
        return Err("it is a directory; name the file in it".to_owned());
    }
    path(text.as_bytes(), example)
}

pub(super) fn path(bytes: &[u8], example: &str) -> Result<CString, String> {
    if bytes.is_empty() {
        return Err(format!("an empty path; write {example}"));
    }
    CString::new(bytes).map_err(|_| "a NUL byte in a path; remove it".to_owned())
}

/// Writes a duration in the notation that [`duration`] reads.
pub(super) fn written(time: Duration) -> String {
    // The usual defaults, without the larger functions of std::fmt: every life writes them.
    if let (seconds @ 1..60, 0) = (time.as_secs(), time.subsec_nanos()) {
        let digit = |number: u64| char::from(b'0' + (number % 10) as u8);
        let tens = (seconds >= 10).then(|| digit(seconds / 10));
        return tens.into_iter().chain([digit(seconds), 's']).collect();
    }
    humantime::format_duration(time).to_string()
}
