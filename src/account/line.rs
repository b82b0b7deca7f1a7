//! A fact as one line: its kind, how much it matters, what it says, and its particulars. The log writes
//! it as text or JSON, the account keeps it as part of the time line. `docs/logging.md` lists all kinds.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use log::Level;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::account::Span;
use crate::machine::connections::Sample;
use crate::machine::hooks::HookPhase;
use crate::types::Status;

mod fact;
mod incident;
#[cfg(test)]
mod tests;
mod took;

pub use fact::{ENTERED, sender};
pub use incident::HOOK_SAID;
pub use took::Took;

/// A particular.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A word or a sentence.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// A time, shown in seconds.
    Span(Duration),
    /// It could not be found out: `-`, in JSON null.
    Unknown,
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Text(text) => to.serialize_str(text),
            Value::Number(number) => to.serialize_i64(*number),
            // To the microsecond.
            Value::Span(span) => to.serialize_f64(span.as_micros() as f64 / 1e6),
            Value::Unknown => to.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        from.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl Visitor<'_> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number or null")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned().into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Number).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Value, E> {
        Duration::try_from_secs_f64(seconds).map(Value::Span).map_err(E::custom)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Unknown)
    }
}

#[cfg(test)]
thread_local! {
    /// How many lines were made.
    static MADE: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// A fact as one line.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What kind of fact it is: a word that does not change from version to version.
    pub fact: &'static str,
    /// What a person reads.
    pub msg: Cow<'static, str>,
    /// Its particulars, in the order in which they are shown.
    pub fields: Vec<(&'static str, Value)>,
}

/// Whether the sentence says it already: then it is no use to people, and programs alone get it.
pub(super) fn is_said(fact: &str, field: &str) -> bool {
    match (fact, field) {
        (ENTERED, "phase") => false,
        (_, "phase" | "outcome" | "why" | "sender") => true,
        ("hook-ended" | "app-ended" | "reaped", "code" | "signal") => true,
        ("reaped", "pid" | "kind") => true,
        _ => false,
    }
}

impl Line {
    fn new(level: Level, fact: &'static str, msg: impl Into<Cow<'static, str>>) -> Line {
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

    fn span(mut self, name: &'static str, value: Duration) -> Line {
        self.fields.push((name, Value::Span(value)));
        self
    }

    /// A time that may have no end: then nothing is said of it.
    fn limit(self, name: &'static str, value: Option<Duration>) -> Line {
        match value {
            Some(value) => self.span(name, value),
            None => self,
        }
    }

    /// The value, if it is known.
    fn known(mut self, name: &'static str, value: Option<Value>) -> Line {
        self.fields.push((name, value.unwrap_or(Value::Unknown)));
        self
    }

    /// A hook belongs to its own phase, which may be over.
    fn within(self, phase: HookPhase) -> Line {
        self.text("phase", phase.as_str())
    }

    /// How something ended, as a program wants to know it.
    fn ended(self, status: Option<Status>) -> Line {
        match status {
            Some(Status::Code(code)) => self.number("code", code),
            Some(Status::Signal(signal)) => self.show("signal", signal),
            None => self,
        }
    }

    /// It is the end of something that took so long.
    pub fn took(self, took: Option<Span>) -> Line {
        match took {
            Some(Span(micros)) => self.span("took", Duration::from_micros(micros)),
            None => self,
        }
    }

    /// What was seen of the ports.
    fn seen(self, look: Option<&Sample>) -> Line {
        let Some(Sample { busy, owed, idle, new, queued, .. }) = look else { return self };
        let counts =
            [("busy", busy), ("owed", owed), ("idle", idle), ("new", new), ("queued", queued)];
        counts.into_iter().fold(self, |line, (name, count)| line.number(name, *count))
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
