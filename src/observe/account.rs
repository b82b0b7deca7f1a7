//! The account of one life: everything that metrics, report, dump and page show, folded from the facts.
//! Its size is bounded whatever the app does. In JSON it is what `docs/report.md` describes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::line::Value;

mod fold;

pub use fold::cut;
pub(crate) use fold::outcome_name;
#[cfg(test)]
mod tests;

/// The version of the JSON form. It is raised when a field goes or changes its meaning, not when one
/// comes.
pub const VERSION: u32 = 1;

/// The upper bounds of the histograms' buckets, in milliseconds. One more bucket is for the rest.
pub const BUCKETS: [u64; 15] =
    [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000];

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
        if let Some(time) = std::time::UNIX_EPOCH.checked_add(Duration::from_micros(self.0)) {
            // It fails after the year 9999; a clock that is so wrong must not end PID 1.
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
        let text = <std::borrow::Cow<'_, str>>::deserialize(from)?;
        let time = humantime::parse_rfc3339(&text).map_err(de::Error::custom)?;
        let since = time.duration_since(std::time::UNIX_EPOCH).map_err(de::Error::custom)?;
        Ok(Wall(Span::from(since).0))
    }
}

/// The account of one life. Every `at` counts from `began`. The most important comes first, since a
/// report may have to be cut. In JSON, what is empty, false or not known is left out.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// [`VERSION`]
    pub v: u32,
    /// One or two sentences for people; made when the account is written.
    pub summary: String,
    /// How graceinit has left; `None` while it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The first stop request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// The app.
    pub app: App,
    /// SIGKILL was sent to all that was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed: Option<Killed>,
    /// The name of the present phase.
    pub phase: String,
    /// The app can be sent work.
    pub ready: bool,
    /// `graceinit 0.1.0`
    pub program: String,
    /// When the account begins.
    pub began: Wall,
    /// How much later it was written.
    pub age: Span,
    /// The trace that this life is part of (W3C Trace Context).
    pub trace_id: String,
    /// The phases so far, in order; none comes twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Stretch>,
    /// Who was still there before SIGKILL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub survivors: Vec<Survivor>,
    /// The hooks, in the order of a life.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// The drain, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Warnings and errors, the last ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Entry>,
    /// What is counted.
    pub counts: Counts,
    /// What happened, at log level info and above: the first and the last things.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Entry>,
    /// What is in force, and who said so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// The processes at this moment; only the observer looks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// What is missing here for want of room: so many of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cut: BTreeMap<String, u64>,
}

/// How graceinit has left.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// When.
    pub at: Span,
    /// With this code.
    pub code: u8,
    /// Why the app went: `signal`, `exit`, `crash`, `deadline`, `not-ready`.
    pub reason: String,
    /// graceinit was stuck, and the dead-man timer has ended it.
    #[serde(skip_serializing_if = "is_false")]
    pub dead_man: bool,
}

/// The first stop request.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// When.
    pub at: Span,
    /// By this signal.
    pub signal: String,
    /// `process 12`, `outside` (of the pid namespace), `the terminal or the kernel`.
    pub from: String,
    /// The whole budget; none: the stop has no deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Span>,
}

/// The app.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct App {
    /// Its command, in one line and cut.
    pub command: String,
    /// Its pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Span>,
    /// So long after that it was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_after: Option<Span>,
    /// Its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// The end of the app.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// When.
    pub at: Span,
    /// In this phase.
    pub phase: String,
    /// `exited`, `signalled`, `not-started`, `forestalled` (by a stop request), `unkillable`.
    pub how: String,
    /// Its code, or graceinit's own if it was not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

/// SIGKILL to all.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Killed {
    /// When.
    pub at: Span,
    /// A second stop request has ended the budget.
    #[serde(skip_serializing_if = "is_false")]
    pub early: bool,
    /// There was no time to look who is still there.
    #[serde(skip_serializing_if = "is_false")]
    pub unseen: bool,
    /// So many processes were there besides the survivors that are named.
    #[serde(skip_serializing_if = "is_none")]
    pub more: u64,
    /// Something did not die.
    #[serde(skip_serializing_if = "is_false")]
    pub unkillable: bool,
}

/// A phase.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stretch {
    /// Its name.
    pub phase: String,
    /// When it began.
    pub at: Span,
    /// How long it took; `None`: it is the present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took: Option<Span>,
}

/// A process that was still there before SIGKILL.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Survivor {
    /// Its pid.
    pub pid: i32,
    /// Its parent's pid.
    pub ppid: i32,
    /// Its command line, in one line and cut.
    pub command: String,
    /// As in proc_pid_stat(5).
    pub state: String,
    /// The function of the kernel that it waits in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wchan: Option<String>,
    /// How long ago it was started.
    pub age: Span,
    /// How many threads it has.
    pub threads: u32,
    /// Its open TCP connections; `None`: they could not be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// What could not be read of it, separated by commas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unread: String,
}

/// A hook.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// `pre-stop` and so on.
    pub phase: String,
    /// Its name.
    pub name: String,
    /// It was left out, because no time was left for it.
    #[serde(skip_serializing_if = "is_false")]
    pub skipped: bool,
    /// The last attempts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// How many attempts ended in which way: `done`, `failed`, `timed-out`, `not-started`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<String, u64>,
    /// How long attempts took.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub took: Histogram,
    /// The last lines that it printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<Said>,
}

/// An attempt of a hook.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// 1 for the first.
    pub n: u32,
    /// Which round of on-reload hooks it is part of.
    #[serde(skip_serializing_if = "is_zero")]
    pub round: u32,
    /// When it began.
    pub at: Span,
    /// It is killed after so long.
    pub limit: Span,
    /// How long it took; `None` while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took: Option<Span>,
    /// `done`, `failed`, `timed-out`, `not-started`; `None` while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// `code 1`, `signal TERM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A line that a hook has printed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// When.
    pub at: Span,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The line, cut.
    pub text: String,
}

/// Times that were sorted into [`BUCKETS`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: Span,
    /// How many in each bucket alone; the last one is for what is longer than all bounds.
    pub buckets: Vec<u64>,
}

impl Histogram {
    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts one more.
    pub fn add(&mut self, span: Span) {
        self.buckets.resize(BUCKETS.len() + 1, 0);
        let place = BUCKETS.iter().position(|bound| span.0 <= bound * 1000);
        self.buckets[place.unwrap_or(BUCKETS.len())] += 1;
        self.count += 1;
        self.sum.0 += span.0;
    }
}

/// The drain.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Drain {
    /// When it began.
    pub at: Span,
    /// It lasts at least so long.
    pub delay: Span,
    /// So many readiness probes were answered "not ready", which ended the delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acks: Option<u32>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Span>,
    /// `quiet`, `delay`, `budget`, `max`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// How often the ports were looked at.
    pub looks: u64,
    /// What was seen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Seen>,
    /// What was seen; where there is too much of it, every second, fourth… look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Seen>,
    /// The connections that held it longest, if it was broken off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
}

/// A connection that held the drain.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// Address and port of the client; empty: not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
    /// Port of the app.
    pub port: u16,
    /// Why it held the drain: `owed`, `unread`, `unacknowledged`, `recent`…
    pub verdict: String,
    /// For how long it held the drain.
    pub held: Span,
    /// For how long nothing had moved on it.
    pub silent: Span,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes from the app.
    pub bytes_out: u64,
    /// The option that limits how long such a connection is waited for.
    pub option: String,
}

/// A look at the ports. Connections.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// When.
    pub at: Span,
    /// Bytes are on their way.
    pub busy: u32,
    /// An answer is owed.
    pub owed: u32,
    /// Nobody waits for them.
    pub idle: u32,
    /// Not seen by an earlier look.
    pub new: u32,
    /// Not accepted yet.
    pub queued: u32,
    /// Their clients answer nothing any more.
    #[serde(skip_serializing_if = "is_zero")]
    pub vanished: u32,
    /// Their clients do not read.
    #[serde(skip_serializing_if = "is_zero")]
    pub stalled: u32,
    /// A stop signal would have cut them off: something was owed, unread or unacknowledged.
    #[serde(skip_serializing_if = "is_zero")]
    pub cut: u32,
    /// The app spoke last, and may not have been through.
    #[serde(skip_serializing_if = "is_zero")]
    pub uncertain: u32,
}

/// What is counted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Stop requests, the first and all further ones, by their signal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stop_requests: BTreeMap<String, u64>,
    /// Signals that the app was sent on somebody's behalf (the stop signal is one), by what it was sent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub forwarded: BTreeMap<String, u64>,
    /// Processes that were reaped: `app`, `hook`, `orphan`, `helper`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reaped: BTreeMap<String, u64>,
    /// How often SIGKILL was sent to all because the budget was over.
    pub kills: u64,
    /// Lines that the log had no room for.
    pub lines_dropped: u64,
}

/// A fact of the time line.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When.
    pub at: Span,
    /// `error`, `warn`, `info`.
    pub level: String,
    /// Its kind.
    pub fact: String,
    /// What it says.
    pub msg: String,
    /// Its particulars.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

/// A setting in force.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// The option's name.
    pub name: String,
    /// Its value, cut.
    pub value: String,
    /// Who said so.
    pub source: String,
}

/// A process of the tree.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its parent's pid.
    pub ppid: i32,
    /// Its name (comm), not its command line: that may hold secrets.
    pub name: String,
    /// As in proc_pid_stat(5).
    pub state: String,
    /// How long ago it was started.
    pub age: Span,
    /// How many threads it has.
    pub threads: u32,
    /// What of it is in memory, in bytes.
    pub rss: u64,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_none(number: &u64) -> bool {
    *number == 0
}
