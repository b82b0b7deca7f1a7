//! A line of the log as a JSON object: `ts`, `level`, `msg`, `trace_id`, `phase`, `fact` (its kind), and
//! its particulars. Times are in seconds, points in time as in RFC 3339.

use std::borrow::Borrow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use log::Level;
use serde::Serializer as _;

use super::account::{Span, Wall};
use super::line::Value;
use super::log::level_name;
use crate::machine::phase::PhaseName;
use crate::sys::{clock, stderr};

/// The trace that this life is part of.
static TRACE: OnceLock<String> = OnceLock::new();

/// Makes it known.
pub fn set_trace(id: &str) {
    let _ = TRACE.set(id.to_owned());
}

const PHASE_KEY: &str = "phase";

/// The present phase, by its place in [`PhaseName::ALL`].
static PHASE: AtomicU8 = AtomicU8::new(0);

/// A phase has begun.
pub(super) fn set_phase(phase: PhaseName) {
    PHASE.store(phase as u8, Relaxed);
}

fn phase() -> &'static str {
    let index = usize::from(PHASE.load(Relaxed));
    PhaseName::ALL.get(index).map_or("", |phase| phase.as_str())
}

/// The kind of a line that is no fact of the account: what it says is all there is.
const NOTE: &str = "note";

/// The whole line, which is never longer than what can be written in one piece.
pub(super) fn line<Name: Borrow<str>>(
    level: Level,
    fact: Option<&str>,
    msg: &str,
    fields: &[(Name, Value)],
) -> String {
    let mut longest = stderr::LONGEST;
    loop {
        let text = render(level, fact, msg, fields, longest);
        if text.len() <= stderr::LONGEST || longest < 32 {
            return text;
        }
        // Bytes that have to be escaped take up to six.
        longest /= 2;
    }
}

fn render<Name: Borrow<str>>(
    level: Level,
    fact: Option<&str>,
    msg: &str,
    fields: &[(Name, Value)],
    longest: usize,
) -> String {
    let word = |word: &str| Value::Text(word.to_owned().into());
    let ts = Wall(Span::from(clock::wall()).0).text();
    let mut all = vec![
        ("ts", word(&ts)),
        ("level", word(level_name(level))),
        ("msg", word(&cut(msg, longest))),
        ("trace_id", word(TRACE.get().map_or("", String::as_str))),
    ];
    // What is about a hook belongs to the hook's phase, which may be over.
    let own = fields.iter().find(|(name, _)| name.borrow() == PHASE_KEY);
    all.push((PHASE_KEY, own.map_or_else(|| word(phase()), |(_, value)| value.clone())));
    all.push(("fact", word(fact.unwrap_or(NOTE))));
    let others = fields.iter().filter(|(name, _)| name.borrow() != PHASE_KEY);
    all.extend(others.map(|(name, value)| match value {
        Value::Text(text) => (name.borrow(), word(&cut(text, longest))),
        value => (name.borrow(), value.clone()),
    }));
    let mut line = Vec::new();
    // Memory takes every write, and no key is anything but text.
    let _ = serde_json::Serializer::new(&mut line).collect_map(all);
    line.push(b'\n');
    String::from_utf8(line).unwrap_or_default()
}

/// The text, cut to about so many bytes.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} ...", &text[..end])
}
