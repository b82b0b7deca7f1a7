//! A fact as one line: its level, its kind, a sentence, and fields. The log writes the line as text or JSON, the
//! account keeps it in its time line. `docs/logging.md` lists all kinds.

use std::borrow::Cow;
use std::time::Duration;

use log::Level;

use super::plan_names;
use super::time::Span;
use super::value::Value;
use crate::machine::connections::Sample;
use crate::machine::hooks::HookPhase;
use crate::types::Status;

mod fact;
mod incident;
#[cfg(test)]
mod tests;
mod took;

pub use fact::{drain_end, outcome, sender};
pub use incident::HOOK_SAID;
pub use took::Took;

#[cfg(test)]
thread_local! {
    /// How many lines this thread has made.
    static MADE: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// A fact as one line.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// The kind of the fact: a word that does not change from version to version.
    pub fact: &'static str,
    /// The sentence for people.
    pub msg: Cow<'static, str>,
    /// Its fields, in the order of the log.
    pub fields: Vec<(&'static str, Value)>,
}

/// The level as users write it with `--log-level`.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// Whether the sentence holds the value of the field already: then only programs get the field.
pub(super) fn is_said(fact: &str, field: &str) -> bool {
    match (fact, field) {
        ("entered", "phase") => false,
        (_, "phase" | "outcome" | "why" | "sender") => true,
        ("hook-ended" | "app-ended" | "reaped", "code" | "signal") => true,
        ("reaped" | "killed", "pid" | "kind") => true,
        ("killed", "by") => true,
        _ => false,
    }
}

impl Line {
    pub(super) fn new(level: Level, fact: &'static str, msg: impl Into<Cow<'static, str>>) -> Line {
        #[cfg(test)]
        MADE.set(MADE.get() + 1);
        Line { level, fact, msg: msg.into(), fields: Vec::new() }
    }

    fn text(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Line {
        self.fields.push((name, Value::Text(value.into())));
        self
    }

    fn show(self, name: &'static str, value: impl ToString) -> Line {
        self.text(name, value.to_string())
    }

    fn number(mut self, name: &'static str, value: impl TryInto<i64>) -> Line {
        self.fields.push((name, Value::Number(value.try_into().unwrap_or(i64::MAX))));
        self
    }

    /// A time span; no field if it is `None`.
    fn span(mut self, name: &'static str, value: impl Into<Option<Duration>>) -> Line {
        self.fields.extend(value.into().map(|span| (name, Value::Span(span))));
        self
    }

    /// A value that may be unknown.
    fn known(mut self, name: &'static str, value: Option<Value>) -> Line {
        self.fields.push((name, value.unwrap_or(Value::Unknown)));
        self
    }

    /// The phase of a hook: not the present one if that hook's phase is over.
    fn within(self, phase: HookPhase) -> Line {
        self.text("phase", phase.as_str())
    }

    /// The exit code or the signal, for programs.
    fn status(self, status: Option<Status>) -> Line {
        match status {
            Some(Status::Code(code)) => self.number("code", code),
            Some(Status::Signal(signal)) => self.show("signal", signal),
            None => self,
        }
    }

    /// The duration of what this fact ends.
    pub fn took(self, took: Option<Span>) -> Line {
        self.span("took", took.map(|Span(micros)| Duration::from_micros(micros)))
    }

    /// The connections of a sample.
    fn sample(self, sample: Option<&Sample>) -> Line {
        let Some(Sample { busy, owed, idle, new, queued, .. }) = sample else { return self };
        let counts =
            [("busy", busy), ("owed", owed), ("idle", idle), ("new", new), ("queued", queued)];
        counts.into_iter().fold(self, |line, (name, count)| line.number(name, *count))
    }

    /// The conditions of `--drained` that alone keep the drain from ending, a bit for each.
    fn words(self, missing: u64) -> Line {
        let names = (0..64).filter(|index| missing & 1 << index != 0).map(plan_names::word);
        match names.collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => self,
            names => self.text("missing", names),
        }
    }

    /// The notice that `count` lines of the log were dropped.
    pub(super) fn lines_dropped(count: u32) -> Line {
        warn("lines-dropped", "log lines dropped: stderr was not read").number("lines", count)
    }
}

fn debug(fact: &'static str, msg: impl Into<Cow<'static, str>>) -> Line {
    Line::new(Level::Debug, fact, msg)
}

fn info(fact: &'static str, msg: impl Into<Cow<'static, str>>) -> Line {
    Line::new(Level::Info, fact, msg)
}

fn warn(fact: &'static str, msg: impl Into<Cow<'static, str>>) -> Line {
    Line::new(Level::Warn, fact, msg)
}

fn error(fact: &'static str, msg: impl Into<Cow<'static, str>>) -> Line {
    Line::new(Level::Error, fact, msg)
}
