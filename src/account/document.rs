//! The account of one life, made from facts: metrics, report, `/debug/graceinit` and page show nothing else. Its size
//! is bounded, whatever the app does. `docs/report.md` describes its JSON form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::time::{Span, Wall};
use super::value::Value;

#[cfg(test)]
mod tests;

/// The version of the JSON form. It is raised when a field is removed or changes its meaning, not when one is added.
pub const VERSION: u32 = 1;

/// The upper bounds of the histograms' buckets, in milliseconds. One more bucket has no bound.
pub const BUCKETS: [u64; 15] =
    [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000];

/// The account of one life. Every `at` counts from `began`. The most important fields come first, since a report may be
/// cut. In JSON, fields that are empty, false or not known are left out.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// [`VERSION`]
    pub v: u32,
    /// One or two sentences for people; made when the account is written.
    pub summary: String,
    /// The exit of graceinit; `None` before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The first stop request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// The app.
    pub app: App,
    /// Set once SIGKILL was sent to everything that was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed: Option<Killed>,
    /// The name of the present phase.
    pub phase: String,
    /// Whether the app can be sent work.
    pub ready: bool,
    /// What the app was not ready for last: the conditions of readiness that do not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Wait>,
    /// `graceinit 0.1.0`
    pub program: String,
    /// The beginning of the account.
    pub began: Wall,
    /// The time from there to the writing of this account.
    pub age: Span,
    /// The trace that this life is part of (W3C Trace Context).
    pub trace_id: String,
    /// The phases so far, in order; none is there twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Stretch>,
    /// The processes that were still there before SIGKILL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub survivors: Vec<Survivor>,
    /// The processes that died of a SIGKILL which graceinit did not send, the last ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deaths: Vec<Death>,
    /// The hooks, in the order of a life.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// The drain, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Warnings and errors, the last ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Entry>,
    /// The counters.
    pub counts: Counts,
    /// The facts at log level info and above: the first and the last ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Entry>,
    /// The settings in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// The processes at this moment; only the observer adds them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// The checks of `--health` and `--live`; only the observer adds them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Health>,
    /// What was left out to limit the size: how many of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cut: BTreeMap<String, u64>,
}

/// The exit of graceinit.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// When.
    pub at: Span,
    /// The exit code.
    pub code: u8,
    /// Why the app ended: `signal`, `exit`, `crash`, `deadline`, `not-ready`, `oom`.
    pub reason: String,
    /// The loop was stuck, and the dead-man timer has ended graceinit.
    #[serde(skip_serializing_if = "is_false")]
    pub dead_man: bool,
}

/// The first stop request.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// When.
    pub at: Span,
    /// Its signal.
    pub signal: String,
    /// `process 12`, `outside` (of the pid namespace), `the terminal or the kernel`.
    pub from: String,
    /// The whole budget; `None`: the stop has no deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Span>,
}

/// The app.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct App {
    /// Its command in one line, cut.
    pub command: String,
    /// Its pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When it was forked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Span>,
    /// The time from there until it was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_after: Option<Span>,
    /// Its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// It has dumped core.
    #[serde(skip_serializing_if = "is_false")]
    pub dumped_core: bool,
    /// The signal that ended it was forwarded so long before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Span>,
}

/// The end of the app.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// When.
    pub at: Span,
    /// The phase at that time.
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

/// A check of `--health` or `--live`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `health`, `live`
    pub option: String,
    /// As it was written; cut.
    pub check: String,
    /// Whether the last answer was yes; `None`: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// The last answer in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// The time since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ago: Option<Span>,
}

/// A process that died of a SIGKILL which graceinit did not send.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Death {
    /// When graceinit found it.
    pub at: Span,
    /// Its pid.
    pub pid: i32,
    /// Its role: `app`, `hook`, `orphan`.
    pub kind: String,
    /// Its name; empty: not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `oom`: the kernel, for want of memory; `elsewhere`: neither the kernel for that nor graceinit; `unknown`.
    pub by: String,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The limit of the memory of its control group, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The most memory that its control group has used, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
}

/// A condition of readiness that does not hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Wait {
    /// As it was written, or the option that it comes from; cut.
    pub condition: String,
    /// What the last look at it said; cut.
    pub answer: String,
}

/// SIGKILL to everything that was left.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Killed {
    /// When.
    pub at: Span,
    /// A second stop request ended the budget.
    #[serde(skip_serializing_if = "is_false")]
    pub early: bool,
    /// There was no time to record the survivors.
    #[serde(skip_serializing_if = "is_false")]
    pub unseen: bool,
    /// How many survivors were not recorded.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u64,
    /// A process survived SIGKILL.
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
    /// How long it took; `None` for the present phase.
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
    /// Its command line in one line, cut.
    pub command: String,
    /// As in proc_pid_stat(5).
    pub state: String,
    /// The function of the kernel that it was waiting in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wchan: Option<String>,
    /// The time since its start.
    pub age: Span,
    /// The number of its threads.
    pub threads: u32,
    /// The number of its open TCP connections; `None`: they could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// The files of /proc/PID that could not be read, separated by commas.
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
    /// It was skipped, because no time was left for it.
    #[serde(skip_serializing_if = "is_false")]
    pub skipped: bool,
    /// The last attempts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The number of attempts by outcome: `done`, `failed`, `timed-out`, `stop-again`, `not-started`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<String, u64>,
    /// The durations of its attempts.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub took: Histogram,
    /// The last lines of its output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<Said>,
}

/// An attempt of a hook.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// 1 for the first one.
    pub n: u32,
    /// The round of on-reload hooks that it belongs to.
    #[serde(skip_serializing_if = "is_zero")]
    pub round: u32,
    /// When it began.
    pub at: Span,
    /// The time after which it is killed.
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

/// A line of a hook's output.
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

/// Durations, counted by [`BUCKETS`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// The number of durations.
    pub count: u64,
    /// Their sum.
    pub sum: Span,
    /// The number in each bucket alone; the last bucket has no bound.
    pub buckets: Vec<u64>,
}

impl Histogram {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts one duration.
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
    /// It lasts at least this long.
    pub delay: Span,
    /// The number of readiness probes that were answered "not ready", if they ended the delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acks: Option<u32>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Span>,
    /// `quiet`, `delay`, `budget`, `max`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The number of samples.
    pub looks: u64,
    /// The last sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<DrainSample>,
    /// The samples; of many, every second, fourth… one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<DrainSample>,
    /// The connections that hold it at present; once it has ended, those that held it longest, if it was broken off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// What the app itself has said (`--drained`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
}

/// A condition of `--drained`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Word {
    /// As it was written.
    pub condition: String,
    /// What the last look has found, if the condition does not hold.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub said: String,
    /// It alone has kept the drain from ending, until there was no time left.
    #[serde(skip_serializing_if = "is_false")]
    pub held: bool,
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

impl Held {
    /// The verdict in words.
    pub fn because(&self) -> &str {
        match self.verdict.as_str() {
            "owed" => "an answer is owed",
            "unread" => "the app has not read everything",
            "unacknowledged" => "the client has not taken everything",
            "recent" => "the app sent something not long ago",
            "unseen" => "what moves on it cannot be seen",
            other => other,
        }
    }
}

impl Drain {
    /// What keeps a drain from ending that goes on: a line for each connection and for each condition of `--drained`.
    pub fn holds(&self) -> Vec<String> {
        if self.ended.is_some() {
            return Vec::new();
        }
        let connections = self.held.iter().map(|held| {
            let peer = if held.peer.is_empty() { "a client" } else { &held.peer };
            let (port, because, seconds) = (held.port, held.because(), held.held.seconds());
            format!("{peer} on port {port}: {because}, for {seconds:.1}s")
        });
        let words = self.words.iter().filter(|word| !word.said.is_empty());
        let words = words.map(|word| format!("{}: {}", word.condition, word.said));
        connections.chain(words).collect()
    }
}

/// A sample of the connections on the drained ports.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainSample {
    /// When.
    pub at: Span,
    /// Connections with bytes in transit.
    pub busy: u32,
    /// Connections on which the app owes an answer.
    pub owed: u32,
    /// Connections without a request.
    pub idle: u32,
    /// Connections that no earlier sample has.
    pub new: u32,
    /// Connections that the app has not accepted yet.
    pub queued: u32,
    /// Connections whose client acknowledges nothing any more.
    #[serde(skip_serializing_if = "is_zero")]
    pub vanished: u32,
    /// Connections whose client does not read.
    #[serde(skip_serializing_if = "is_zero")]
    pub stalled: u32,
    /// Connections that a stop signal would have cut off: something was owed, unread or unacknowledged.
    #[serde(skip_serializing_if = "is_zero")]
    pub cut: u32,
    /// Connections on which the app spoke last, and may not have been through.
    #[serde(skip_serializing_if = "is_zero")]
    pub uncertain: u32,
}

/// The counters.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Stop requests, the first and all further ones, by signal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stop_requests: BTreeMap<String, u64>,
    /// Signals that were forwarded to the app, stop signals included, by the signal that was sent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub forwarded: BTreeMap<String, u64>,
    /// Reaped processes by role: `app`, `hook`, `orphan`, `helper`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reaped: BTreeMap<String, u64>,
    /// How often SIGKILL was sent to everything because the budget was over.
    pub kills: u64,
    /// Processes that the kernel has killed for want of memory, as far as graceinit has seen them die.
    #[serde(skip_serializing_if = "is_zero")]
    pub oom_kills: u64,
    /// Lines of the log that were dropped.
    pub lines_dropped: u64,
}

/// A fact in the time line.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When.
    pub at: Span,
    /// `error`, `warn`, `info`.
    pub level: String,
    /// Its kind.
    pub fact: String,
    /// Its sentence.
    pub msg: String,
    /// Its fields.
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
    /// Where it comes from: a flag, a variable, a file, a default.
    pub source: String,
}

/// A process in the tree.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its parent's pid.
    pub ppid: i32,
    /// Its name (comm), not its command line, which may hold secrets.
    pub name: String,
    /// As in proc_pid_stat(5).
    pub state: String,
    /// The time since its start.
    pub age: Span,
    /// The number of its threads.
    pub threads: u32,
    /// Its resident memory in bytes.
    pub rss: u64,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &(impl PartialEq + Default)) -> bool {
    *number == Default::default()
}
