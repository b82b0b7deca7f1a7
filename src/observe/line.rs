//! A fact as one line: its kind, how much it matters, what it says, and its particulars. The log writes
//! it as text or JSON, the account keeps it as part of the time line.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use log::Level;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::met::Met;
use super::names;
use crate::machine::drain::{Look, Sight};
use crate::machine::fact::{DrainEnd, Fact, Survivor};
use crate::machine::hook::{HookId, HookPhase, Outcome};
use crate::machine::phase::PhaseName;
use crate::machine::plan::{Ending, Scope};

/// The kind of a line that a hook has printed.
pub const HOOK_SAID: &str = "hook-said";

/// A particular.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A word or a sentence.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// A time, shown in seconds.
    Span(Duration),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Text(text) => to.serialize_str(text),
            Value::Number(number) => to.serialize_i64(*number),
            // To the microsecond.
            Value::Span(span) => to.serialize_f64(span.as_micros() as f64 / 1e6),
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
        f.write_str("a text or a number")
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

impl Line {
    fn new(level: Level, fact: &'static str, msg: impl Into<Cow<'static, str>>) -> Line {
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

    /// What was seen of the ports.
    fn seen(self, look: Option<&Look>) -> Line {
        let Some(Look { busy, owed, idle, new, queued, .. }) = look else { return self };
        let counts =
            [("busy", busy), ("owed", owed), ("idle", idle), ("new", new), ("queued", queued)];
        counts.into_iter().fold(self, |line, (name, count)| line.number(name, *count))
    }

    /// The line of a fact of the machine.
    pub fn of(fact: &Fact) -> Line {
        match fact {
            Fact::Entered(phase) => {
                let level = if is_news(*phase) { Level::Info } else { Level::Debug };
                Line::new(level, "entered", "entering").text("phase", phase.as_str())
            }
            Fact::ConditionHolds { .. }
            | Fact::Listens { .. }
            | Fact::Ready { .. }
            | Fact::NotReady { .. }
            | Fact::StopsItself
            | Fact::WatchdogMissed { .. }
            | Fact::MainPid { .. } => readiness(fact),
            Fact::DrainBegun { .. }
            | Fact::Looked { .. }
            | Fact::Acknowledged { .. }
            | Fact::DrainEnded { .. } => drain(fact),
            Fact::PhaseAborted { .. }
            | Fact::HookStarted { .. }
            | Fact::HookEnded { .. }
            | Fact::HookRetried { .. }
            | Fact::HookSkipped { .. } => hook(fact),
            Fact::StopRequested { .. }
            | Fact::StopAgain { .. }
            | Fact::Forwarded { .. }
            | Fact::Dropped { .. }
            | Fact::NoApp { .. }
            | Fact::Held { .. }
            | Fact::ReloadRequested { .. }
            | Fact::ReloadMerged { .. }
            | Fact::ReloadDropped { .. } => signal(fact),
            Fact::StopSignal { .. }
            | Fact::NoStopSignal { .. }
            | Fact::Extended { .. }
            | Fact::Diagnosed { .. }
            | Fact::AppEnded { .. }
            | Fact::LeftoversSignalled { .. }
            | Fact::DeadlineReached { .. }
            | Fact::StillThere(_)
            | Fact::MoreStillThere(_)
            | Fact::NotSurveyed
            | Fact::Unkillable
            | Fact::Suspended { .. }
            | Fact::Resumed
            | Fact::Exit { .. } => ending(fact),
        }
    }

    /// The line of what was met.
    pub fn of_met(met: &Met) -> Line {
        match met {
            Met::Started { pid, name } => {
                info("started", format!("started {name}")).number("pid", pid.0)
            }
            Met::NotExecuted { why } => Line::new(Level::Error, "not-executed", why.clone()),
            Met::TookOver { pid } => {
                info("took-over", "the app goes on as another process").number("pid", pid.0)
            }
            Met::Reaped { kin, pid, status, warn } => {
                let level = if *warn { Level::Warn } else { Level::Trace };
                let msg = format!("reaped the {} {pid}, which ended with {status}", kin.as_str());
                Line::new(level, "reaped", msg).number("pid", pid.0).text("kind", kin.as_str())
            }
            Met::LeftoversAsked { signal, processes } => {
                info("leftovers-asked", "asking what the app left behind to stop")
                    .show("signal", signal)
                    .number("processes", *processes)
            }
            Met::HookSaid { id, stderr, text } => said(*id, *stderr, text),
            Met::Says { text } => info("says", format!("the app says: {text}")),
            Met::Reloads => info("reloads", "the app says that it reloads its configuration"),
            Met::Failed { errno } => {
                warn("failed", "the app says that it has failed").number("errno", *errno)
            }
            Met::Unheard { pid, uid, why, again } => {
                let level = if *again { Level::Debug } else { Level::Warn };
                let msg = format!("a message to NOTIFY_SOCKET is left unread: {why}");
                Line::new(level, "unheard", msg).number("pid", pid.0).number("uid", *uid)
            }
            Met::ForeignMain { pid } => {
                warn("foreign-main", "the app names a main process that is none of its own")
                    .number("pid", pid.0)
            }
            Met::ObserverEnded { status } => {
                let msg = format!("the observer ended with {status}; it is started again");
                info("observer-ended", msg)
            }
            Met::Trouble { text } => warn("trouble", text.clone()),
            Met::LinesDropped { lines } => {
                warn("lines-dropped", "log lines dropped: stderr was not read")
                    .number("lines", *lines)
            }
        }
    }
}

/// Whether the beginning of a phase is worth a line: most are told by what follows at once.
fn is_news(phase: PhaseName) -> bool {
    match phase {
        PhaseName::Running | PhaseName::Drain => true,
        PhaseName::PreStop => names::has_hooks(HookPhase::PreStop),
        PhaseName::OnStop => names::has_hooks(HookPhase::OnStop),
        PhaseName::PostStop => names::has_hooks(HookPhase::PostStop),
        PhaseName::Starting
        | PhaseName::Ready
        | PhaseName::Stopping
        | PhaseName::Leftovers
        | PhaseName::Killed
        | PhaseName::Exit => false,
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

/// What a hook prints on stdout is news, on stderr a complaint. That an app is not ready yet is none.
fn said(id: HookId, stderr: bool, text: &str) -> Line {
    let (level, stream) = if stderr { (Level::Warn, "stderr") } else { (Level::Info, "stdout") };
    let level = if id.phase == HookPhase::Ready { Level::Debug } else { level };
    Line::new(level, HOOK_SAID, text.to_owned())
        .text("phase", id.phase.as_str())
        .text("hook", names::hook(id))
        .text("stream", stream)
}

fn readiness(fact: &Fact) -> Line {
    match fact {
        Fact::ConditionHolds { index, after } => debug("condition-holds", "condition holds")
            .text("condition", names::condition(*index))
            .span("after", *after),
        Fact::Listens { after } => {
            debug("listens", "the app listens on the ports to be drained").span("after", *after)
        }
        Fact::Ready { after } => info("ready", "the app is ready").span("after", *after),
        Fact::NotReady { after, missing, ports } => {
            let names = (0..64).filter(|index| missing & 1 << index != 0).map(names::condition);
            let ports = ports.then_some("listening on the ports of --drain");
            let missing = names.chain(ports).collect::<Vec<_>>().join(", ");
            error("not-ready", "the app is not ready in time: stopping it")
                .span("after", *after)
                .text("missing", missing)
        }
        Fact::WatchdogMissed { interval } => {
            error("watchdog-missed", "the app has given no sign of life in time: stopping it")
                .span("interval", *interval)
        }
        Fact::MainPid { pid } => {
            info("main-pid", "the app names its main process").number("pid", pid.0)
        }
        _ => info("stops-itself", "the app says that it is stopping"),
    }
}

fn drain(fact: &Fact) -> Line {
    match fact {
        Fact::DrainBegun { delay } => {
            debug("drain-begun", "the app serves on").span("delay", *delay)
        }
        Fact::Looked { look } => {
            debug("looked", "connections").seen(Some(look)).span("took", look.cost)
        }
        Fact::DrainEnded { why, after, last } => {
            let last = last.as_ref();
            let blind = last.is_some_and(|look| look.sight == Sight::Blind);
            let calm = last.is_some_and(Look::calm);
            let line = match why {
                DrainEnd::Quiet if !blind => info("drain-ended", "drained"),
                DrainEnd::Quiet | DrainEnd::Delay => info("drain-ended", "the delay is over"),
                DrainEnd::Budget if calm => {
                    info("drain-ended", "no time is left to wait for a quiet moment")
                }
                DrainEnd::Budget => {
                    warn("drain-ended", "no time is left to drain: requests may be cut off")
                }
            };
            line.seen(last.filter(|_| !blind)).span("after", *after)
        }
        Fact::Acknowledged { acks, after } => {
            info("acknowledged", "load balancers have been told \"not ready\"")
                .number("probes", *acks)
                .span("after", *after)
        }
        _ => debug("drain", "draining"),
    }
}

fn hook(fact: &Fact) -> Line {
    let line = |level, kind, id: &HookId, msg: Cow<'static, str>| {
        Line::new(level, kind, msg).text("hook", names::hook(*id))
    };
    match fact {
        Fact::PhaseAborted { id } => {
            let (level, msg) = match id.phase {
                HookPhase::PreStart => {
                    (Level::Error, "the app is not started: a pre-start hook has failed".into())
                }
                HookPhase::OnReload => (
                    Level::Warn,
                    "the reload signal is not passed on: an on-reload hook has failed".into(),
                ),
                phase => {
                    let phase = phase.as_str();
                    let msg = format!("the other {phase} hooks are left out: this one has failed");
                    (Level::Warn, msg.into())
                }
            };
            line(level, "phase-aborted", id, msg)
        }
        Fact::HookStarted { id, limit } => {
            line(Level::Info, "hook-started", id, "hook started".into())
                .number("attempt", id.attempt)
                .span("limit", *limit)
        }
        Fact::HookEnded { id, outcome, status } => {
            let level = if *outcome == Outcome::Done { Level::Info } else { Level::Warn };
            let status = status.map_or(String::new(), |status| format!(" with {status}"));
            let msg = format!("hook {}{status}", outcome.as_str());
            line(level, "hook-ended", id, msg.into()).number("attempt", id.attempt)
        }
        Fact::HookRetried { id, pause } => {
            line(Level::Info, "hook-retried", id, "hook is tried again".into())
                .span("pause", *pause)
        }
        Fact::HookSkipped { id } => {
            let msg = "hook left out: no time is left for it";
            line(Level::Warn, "hook-skipped", id, msg.into())
        }
        _ => debug("hook", "hook"),
    }
}

/// Who asked for a stop, as users read it.
pub fn sender(pid: Option<i32>) -> String {
    match pid {
        None => "the terminal or the kernel".to_owned(),
        Some(0) => "outside".to_owned(),
        Some(pid) => format!("process {pid}"),
    }
}

fn signal(fact: &Fact) -> Line {
    match fact {
        Fact::StopRequested { signal, sender: pid, grace } => {
            info("stop-requested", format!("stop requested from {}", sender(*pid)))
                .show("signal", signal)
                .span("budget", *grace)
        }
        Fact::StopAgain { signal, kill: true } => {
            warn("stop-again", "second stop request: ending the budget now").show("signal", signal)
        }
        Fact::StopAgain { signal, kill: false } => {
            info("stop-again", "second stop request: a stop is on already").show("signal", signal)
        }
        Fact::Forwarded { signal, sent, scope } => {
            let whom = match scope {
                Scope::Group => "the app's group",
                Scope::Main | Scope::Mixed => "the app",
                Scope::Tree => "every process",
            };
            debug("forwarded", format!("passing a signal on to {whom}"))
                .show("signal", signal)
                .show("sent", sent)
        }
        Fact::Dropped { signal } => {
            debug("dropped", "dropping a signal as --rewrite asks").show("signal", signal)
        }
        Fact::NoApp { signal } => {
            debug("no-app", "a signal came when there was no app for it").show("signal", signal)
        }
        Fact::Held { signal } => {
            info("held", "keeping a signal until the app is started").show("signal", signal)
        }
        Fact::ReloadRequested { signal } => {
            info("reload-requested", "reload requested").show("signal", signal)
        }
        Fact::ReloadMerged { signal } => {
            info("reload-merged", "reload requested again: another one waits already")
                .show("signal", signal)
        }
        Fact::ReloadDropped { signal } => {
            info("reload-dropped", "reload dropped: the app is ending").show("signal", signal)
        }
        _ => debug("signal", "signal"),
    }
}

fn ending(fact: &Fact) -> Line {
    match fact {
        Fact::StopSignal { signal, rung, of, left } => {
            info("stop-signal", "asking the app to stop")
                .show("signal", signal)
                .text("step", format!("{rung}/{of}"))
                .span("left", *left)
        }
        Fact::NoStopSignal { left, .. } => {
            info("no-stop-signal", "waiting for the app to end by itself").span("left", *left)
        }
        Fact::Extended { left } => {
            info("extended", "the app has asked for more time").span("left", *left)
        }
        Fact::Diagnosed { signal, left } => {
            warn("diagnosed", "asking the app to say what it is doing")
                .show("signal", signal)
                .span("left", *left)
        }
        Fact::AppEnded { ending } => match ending {
            Ending::Was(status) => info("app-ended", format!("the app ended with {status}")),
            Ending::NotStarted(_) => info("app-ended", "the app was never started"),
            Ending::Forestalled(signal) => {
                info("app-ended", "the app is not started: a stop was asked for before")
                    .show("signal", signal)
            }
            Ending::Unkillable => warn("app-ended", "the app does not die"),
        },
        Fact::LeftoversSignalled { signal, left } => {
            debug("leftovers-signalled", "looking for what the app left behind")
                .show("signal", signal)
                .span("left", *left)
        }
        Fact::DeadlineReached { early: false } => {
            warn("deadline-reached", "the budget is over: killing what is left")
        }
        Fact::DeadlineReached { early: true } => warn("deadline-reached", "killing what is left"),
        Fact::StillThere(survivor) => still_there(survivor),
        Fact::MoreStillThere(count) => {
            warn("more-still-there", "more processes are still there").number("count", *count)
        }
        Fact::NotSurveyed => {
            warn("not-surveyed", "who is still there is not known: there was no time to look")
        }
        Fact::Unkillable => warn(
            "unkillable",
            "something survives SIGKILL (uninterruptible sleep): going on without it",
        ),
        Fact::Suspended { signal } => {
            debug("suspended", "suspended with the app").show("signal", signal)
        }
        Fact::Resumed => debug("resumed", "resumed with the app"),
        Fact::Exit { code, reason } => {
            info("exit", "leaving").number("code", *code).text("reason", reason.as_str())
        }
        _ => debug("ending", "ending"),
    }
}

fn still_there(survivor: &Survivor) -> Line {
    let Survivor { pid, parent, state, threads, age, connections, unread, .. } = survivor;
    let line = warn("still-there", "still there")
        .number("pid", pid.0)
        .number("ppid", parent.0)
        .text("command", survivor.command.clone())
        .show("state", state)
        .text("wchan", survivor.wchan.clone().unwrap_or_else(|| "-".to_owned()))
        .span("age", *age)
        .number("threads", *threads);
    let line = match connections {
        Some(count) => line.number("connections", *count as u64),
        None => line.text("connections", "-"),
    };
    let unread = if unread.is_empty() { "-".to_owned() } else { unread.clone() };
    line.text("unread", unread)
}
