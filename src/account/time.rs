//! Time spans and points in time of the account, to the microsecond.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A time span in microseconds. In JSON: seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Span(pub u64);

impl Span {
    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// From `earlier` to `self`.
    pub fn since(self, earlier: Span) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl From<Duration> for Span {
    fn from(span: Duration) -> Span {
        Span(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.seconds())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        let seconds = f64::deserialize(from)?;
        if !(0.0..=1e12).contains(&seconds) {
            return Err(de::Error::custom("a time in seconds is expected"));
        }
        Ok(Span((seconds * 1e6).round() as u64))
    }
}

/// A point in time in microseconds since the Unix epoch. In JSON: as in RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wall(pub u64);

impl Wall {
    /// `2026-11-23T00:42:01.123456Z`
    pub fn text(self) -> String {
        let mut text = String::new();
        if let Some(time) = UNIX_EPOCH.checked_add(Duration::from_micros(self.0)) {
            // Fails after the year 9999: a wall clock that is wrong by millennia must not end PID 1.
            let _ = write!(text, "{}", humantime::format_rfc3339_micros(time));
        }
        text
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Wall, D::Error> {
        let text = <Cow<'_, str>>::deserialize(from)?;
        let time = humantime::parse_rfc3339(&text).map_err(de::Error::custom)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(de::Error::custom)?;
        Ok(Wall(Span::from(since).0))
    }
}
