//! A line of the log as a JSON object: `ts`, `level`, `msg`, `trace_id`, `phase`, `fact` (its kind), and its fields.
//! Time spans are in seconds, points in time as in RFC 3339.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use serde::Serializer as _;

use super::line::{Line, level_name};
use super::text::cut_to;
use super::time::{Span, Wall};
use super::value::Value;
use crate::machine::phase::PhaseName;
use crate::sys::{clock, stderr};
use crate::types::text;

static TRACE: OnceLock<String> = OnceLock::new();

/// Sets the trace id of all lines (W3C Trace Context).
pub fn set_trace(id: &str) {
    let _ = TRACE.set(id.to_owned());
}

/// The present phase, as its place in [`PhaseName::ALL`].
static PHASE: AtomicU8 = AtomicU8::new(0);

/// Sets the phase of the lines from now on.
pub(super) fn set_phase(phase: PhaseName) {
    PHASE.store(phase as u8, Relaxed);
}

const PHASE_KEY: &str = "phase";

/// The line with its newline, short enough for one write.
pub(super) fn line(line: &Line) -> String {
    let mut longest = stderr::LONGEST;
    loop {
        let text = render(line, longest);
        if text.len() <= stderr::LONGEST || longest < 32 {
            return text;
        }
        // An escaped byte takes up to six, so the length in JSON is not known before.
        longest /= 2;
    }
}

/// `longest`: where each text is cut.
fn render(line: &Line, longest: usize) -> String {
    let text = |text: &str| Value::Text(text.to_owned().into());
    let ts = Wall(Span::from(clock::wall()).0).text();
    // A line about a hook has a phase of its own: the hook's, which may be over.
    let own = line.fields.iter().find(|(name, _)| *name == PHASE_KEY);
    let now = PhaseName::ALL.get(usize::from(PHASE.load(Relaxed)));
    let phase = || text(now.map_or("", |phase| phase.as_str()));
    let mut all = vec![
        ("ts", text(&ts)),
        ("level", text(level_name(line.level))),
        ("msg", text(&cut_to(&line.msg, longest))),
        ("trace_id", text(TRACE.get().map_or("", String::as_str))),
        (PHASE_KEY, own.map_or_else(phase, |(_, phase)| phase.clone())),
        ("fact", text(line.fact)),
    ];
    let others = line.fields.iter().filter(|(name, _)| *name != PHASE_KEY);
    all.extend(others.map(|(name, value)| match value {
        Value::Text(value) => (*name, text(&cut_to(value, longest))),
        value => (*name, value.clone()),
    }));
    let mut json = Vec::new();
    // Cannot fail: a Vec takes every write, and every key is a string.
    let _ = serde_json::Serializer::new(&mut json).collect_map(all);
    json.push(b'\n');
    escape(String::from_utf8(json).unwrap_or_default())
}

/// JSON escapes control characters below U+0020 only. A terminal obeys more of them, and `\uXXXX` is the same string.
fn escape(json: String) -> String {
    let is_escaped = |c: char| text::is_harmful(c) && c != '\n';
    if !json.contains(is_escaped) {
        return json;
    }
    json.chars().fold(String::new(), |mut safe, c| {
        match is_escaped(c) {
            // All of them are in the first plane. Writing to a String cannot fail.
            true => drop(write!(safe, "\\u{:04x}", u32::from(c))),
            false => safe.push(c),
        }
        safe
    })
}
