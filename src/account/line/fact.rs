//! The line of a fact of the machine.

use std::borrow::Cow;
use std::time::Duration;

use log::Level;

use super::{Line, debug, error, info, warn};
use crate::account::value::Value;
use crate::account::{plan_names, waiting};
use crate::machine::connections::{Holder, SHORT, Sample, Visibility};
use crate::machine::fact::{DrainEnd, Fact, Survivor};
use crate::machine::hooks::{HookId, HookPhase, Outcome};
use crate::machine::phase::PhaseName;
use crate::machine::plan::{Ending, Scope};
use crate::types::{Signal, Status};

impl Line {
    /// The line of a fact of the machine.
    pub fn of(fact: &Fact) -> Line {
        match fact {
            Fact::Entered(phase) => entered(*phase),
            Fact::ConditionHolds { index, after } => debug("condition-holds", "condition holds")
                .text("condition", plan_names::condition(*index))
                .span("after", *after),
            Fact::Listens { after } => {
                debug("listens", "the app listens on the drained ports").span("after", *after)
            }
            Fact::Ready { after } => info("ready", "the app is ready").span("after", *after),
            Fact::NotReady { after, missing, ports } => {
                let msg = "the app is not ready in time: stopping it";
                not_ready(error("not-ready", msg), *after, *missing, *ports)
            }
            Fact::StillNotReady { after, missing, ports } => {
                let line = warn("still-not-ready", "the app is not ready yet: still waiting");
                not_ready(line, *after, *missing, *ports)
            }
            Fact::StopsItself => info("stops-itself", "the app says that it is stopping"),
            Fact::WatchdogMissed { interval } => {
                error("watchdog-missed", "no WATCHDOG=1 from the app in time: stopping it")
                    .span("interval", *interval)
            }
            Fact::ChildOutOfMemory => error(
                "child-oom",
                "the kernel has killed a process for want of memory: stopping the app (--child-oom)",
            ),
            Fact::MainPid { pid } => {
                info("main-pid", "the app names its main process").number("pid", pid.0)
            }
            Fact::DrainBegun { delay } => {
                info("drain-begun", "draining: the app keeps serving").span("delay", *delay)
            }
            Fact::Sampled { sample } => {
                debug("looked", "connections").sample(Some(sample)).span("took", sample.cost)
            }
            Fact::StillDraining { sample, missing, after } => {
                let seen = |sample: &&Sample| sample.visibility != Visibility::Blind;
                info("still-draining", "still draining")
                    .sample(sample.as_ref().filter(seen))
                    .words(*missing)
                    .span("after", *after)
            }
            Fact::HeldDrain(holder) => held_drain(holder),
            Fact::Acknowledged { acks, after } => {
                info("acknowledged", "load balancers have been told \"not ready\"")
                    .number("probes", *acks)
                    .span("after", *after)
            }
            Fact::DrainEnded { why, after, last, missing } => {
                drain_ended(*why, *after, last.as_ref(), *missing)
            }
            Fact::PhaseAborted { id } => phase_aborted(*id),
            Fact::HookStarted { id, limit } => hook(Level::Info, "hook-started", *id, "started")
                .number("attempt", id.attempt)
                .span("limit", *limit)
                .within(id.phase),
            Fact::HookEnded { id, outcome, status } => {
                let level = if *outcome == Outcome::Done { Level::Info } else { Level::Warn };
                let with = status.map_or(String::new(), |status| format!(" with {status}"));
                hook(level, "hook-ended", *id, &format!("{}{with}", outcome.as_str()))
                    .number("attempt", id.attempt)
                    .within(id.phase)
                    .text("outcome", self::outcome(*outcome))
                    .status(*status)
            }
            Fact::HookRetried { id, pause } => hook(Level::Info, "hook-retried", *id, "is retried")
                .span("pause", *pause)
                .within(id.phase),
            Fact::HookSkipped { id } => {
                hook(Level::Warn, "hook-skipped", *id, "skipped: no time is left for it")
                    .within(id.phase)
            }
            Fact::StopRequested { signal, sender: pid, grace } => {
                info("stop-requested", format!("stop requested from {}", sender(*pid)))
                    .show("signal", signal)
                    .span("budget", *grace)
                    .known("sender", pid.map(|pid| Value::Number(pid.into())))
            }
            Fact::StopAgain { signal, kill, sent } => stop_again(*signal, *kill, *sent),
            Fact::Forwarded { signal, sent, scope } => forwarded(*signal, *sent, *scope),
            Fact::Dropped { signal } => {
                debug("dropped", "dropping a signal (--rewrite)").show("signal", signal)
            }
            Fact::NoApp { signal } => {
                debug("no-app", "dropping a signal: the app is not running").show("signal", signal)
            }
            Fact::Held { signal } => {
                info("held", "keeping a signal until the app can take it").show("signal", signal)
            }
            Fact::TooEarly { signal } => {
                info("too-early", "dropping a signal: the app is not ready, and could die of it")
                    .show("signal", signal)
            }
            Fact::StoodStill { span } => info(
                "stood-still",
                "woke up late (docker pause, a suspended or busy machine): the app gets its time again",
            )
            .span("span", *span),
            Fact::ReloadRequested { signal } => {
                info("reload-requested", "reload requested").show("signal", signal)
            }
            Fact::ReloadMerged { signal } => {
                info("reload-merged", "reload requested again: one is already pending")
                    .show("signal", signal)
            }
            Fact::ReloadDropped { signal } => {
                info("reload-dropped", "reload dropped: the app is ending").show("signal", signal)
            }
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
            Fact::AppEnded { ending } => app_ended(*ending),
            Fact::LeftoversSignalled { signal, left } => {
                debug("leftovers-signalled", "looking for leftovers")
                    .show("signal", signal)
                    .span("left", *left)
            }
            Fact::DeadlineReached { early: false } => {
                warn("deadline-reached", "the budget is over: killing what is left")
            }
            Fact::DeadlineReached { early: true } => {
                warn("deadline-reached", "killing what is left")
            }
            Fact::StillThere(survivor) => still_there(survivor),
            Fact::MoreStillThere(count) => {
                warn("more-still-there", "more processes are still there").number("count", *count)
            }
            Fact::SurvivorsNotRecorded => {
                warn("not-surveyed", "survivors were not recorded: there was no time")
            }
            Fact::Unkillable => warn(
                "unkillable",
                "a process has not ended after the kill: going on without it",
            ),
            Fact::Suspended { signal } => {
                debug("suspended", "suspended with the app").show("signal", signal)
            }
            Fact::Resumed => debug("resumed", "resumed with the app"),
            Fact::Exit { code, reason } => {
                info("exit", "leaving").number("code", *code).text("reason", reason.as_str())
            }
        }
    }
}

/// At info only for `running`: in every other phase the next fact shows the phase.
fn entered(phase: PhaseName) -> Line {
    let level = if phase == PhaseName::Running { Level::Info } else { Level::Debug };
    Line::new(level, "entered", "entering").text("phase", phase.as_str())
}

fn not_ready(line: Line, after: Duration, missing: u64, ports: bool) -> Line {
    let answers = waiting::text(&waiting::list(missing, ports));
    let names = (0..64).filter(|index| missing & 1 << index != 0).map(plan_names::condition);
    let ports = ports.then_some("listening on the ports of --drain");
    let missing = names.chain(ports).collect::<Vec<_>>().join(", ");
    line.span("after", after).text("missing", missing).text("answers", answers)
}

fn drain_ended(why: DrainEnd, after: Duration, last: Option<&Sample>, missing: u64) -> Line {
    let blind = last.is_some_and(|sample| sample.visibility == Visibility::Blind);
    let last = last.filter(|_| !blind);
    let cut = last.is_none_or(|sample| sample.cut > 0 || sample.queued > 0) && !blind;
    let uncertain = last.is_some_and(|sample| sample.uncertain > 0);
    let (level, msg) = match (why, cut, uncertain) {
        (DrainEnd::Budget, ..) if missing != 0 => {
            (Level::Warn, "no time is left to drain: by its own word the app is not drained")
        }
        (DrainEnd::Max, ..) if missing != 0 => {
            (Level::Warn, "--drain-max is over: by its own word the app is not drained")
        }
        (DrainEnd::Quiet, ..) if !blind => (Level::Info, "drained"),
        (DrainEnd::Quiet | DrainEnd::Delay, ..) => (Level::Info, "the delay is over"),
        (DrainEnd::Moment, _, false) => (Level::Info, "drained"),
        (DrainEnd::Moment, _, true) => {
            (Level::Warn, "the time to drain is nearly over: an answer may be cut off in a pause")
        }
        (DrainEnd::Budget, true, _) => {
            (Level::Warn, "no time is left to drain: requests may be cut off")
        }
        (DrainEnd::Budget, false, true) => {
            (Level::Warn, "no time is left to drain: an answer may be cut off in a pause")
        }
        (DrainEnd::Budget, false, false) => {
            (Level::Info, "no time is left to wait for a quiet moment")
        }
        (DrainEnd::Max, true, _) => (Level::Warn, "--drain-max is over: requests may be cut off"),
        (DrainEnd::Max, false, true) => {
            (Level::Warn, "--drain-max is over: an answer may be cut off in a pause")
        }
        (DrainEnd::Max, false, false) => (Level::Info, "--drain-max is over"),
    };
    let mut line = Line::new(level, "drain-ended", msg).sample(last);
    // A drain that ended quiet has cut nothing off.
    let broken_off = matches!(why, DrainEnd::Moment | DrainEnd::Budget | DrainEnd::Max);
    if let Some(sample) = last.filter(|_| broken_off) {
        line = line.number("cut", sample.cut).number("uncertain", sample.uncertain);
    }
    let line = line.words(missing).span("after", after).text("why", drain_end(why));
    match last.map(|sample| sample.sooner.as_secs_f64()).filter(|sooner| *sooner > 0.0) {
        Some(sooner) => {
            let idle = SHORT.as_secs();
            line.text(
                "hint",
                format!("--drain-idle {idle}s would have ended it {sooner:.1}s sooner"),
            )
        }
        None => line,
    }
}

/// A connection that held the drain, and the option that would have limited that.
fn held_drain(holder: &Holder) -> Line {
    let line = info("held-drain", "this connection held the drain");
    let line = match holder.peer {
        Some(peer) => line.show("peer", peer),
        None => line,
    };
    line.number("port", holder.port)
        .text("verdict", holder.verdict.as_str())
        .span("held", holder.held)
        .span("silent", holder.silent)
        .number("in", holder.bytes_in)
        .number("out", holder.bytes_out)
        .text("option", holder.remedy().option())
}

/// Why a drain ended, as one word.
pub fn drain_end(why: DrainEnd) -> &'static str {
    match why {
        DrainEnd::Quiet => "quiet",
        DrainEnd::Moment => "moment",
        DrainEnd::Delay => "delay",
        DrainEnd::Budget => "budget",
        DrainEnd::Max => "max",
    }
}

/// How an attempt ended, as one word.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed-out",
        Outcome::StopAgain => "stop-again",
        Outcome::NotStarted => "not-started",
    }
}

/// A line about a hook.
fn hook(level: Level, fact: &'static str, id: HookId, msg: &str) -> Line {
    let msg = format!("{} hook {msg}", id.phase.as_str());
    Line::new(level, fact, msg).text("hook", plan_names::hook(id))
}

fn phase_aborted(id: HookId) -> Line {
    let (level, msg): (Level, Cow<'static, str>) = match id.phase {
        HookPhase::PreStart => {
            (Level::Error, "the app is not started: a pre-start hook has failed".into())
        }
        HookPhase::OnReload => {
            (Level::Warn, "the reload signal is not forwarded: an on-reload hook has failed".into())
        }
        HookPhase::OnReady
        | HookPhase::PreStop
        | HookPhase::OnStop
        | HookPhase::PostStop
        | HookPhase::Ready
        | HookPhase::Drained => {
            let phase = id.phase.as_str();
            (
                Level::Warn,
                format!("the other {phase} hooks are skipped: this one has failed").into(),
            )
        }
    };
    Line::new(level, "phase-aborted", msg).text("hook", plan_names::hook(id)).within(id.phase)
}

/// The sender of a stop request, as users read it.
pub fn sender(pid: Option<i32>) -> String {
    match pid {
        None => "the terminal or the kernel".to_owned(),
        Some(0) => "outside".to_owned(),
        Some(pid) => format!("process {pid}"),
    }
}

fn stop_again(signal: Signal, kill: bool, sent: Option<Signal>) -> Line {
    let line = match (kill, sent) {
        (true, _) => warn("stop-again", "second stop request: ending the budget now"),
        (false, None) => info("stop-again", "second stop request: already stopping"),
        (false, Some(sent)) => {
            let text =
                format!("second stop request: {sent} is sent as well, after the first signal");
            info("stop-again", text)
        }
    };
    line.show("signal", signal)
}

fn forwarded(signal: Signal, sent: Signal, scope: Scope) -> Line {
    let whom = match scope {
        Scope::Group => "the app's group",
        Scope::Auto | Scope::Main | Scope::Mixed => "the app",
        Scope::Tree => "every process",
    };
    debug("forwarded", format!("forwarding a signal to {whom}"))
        .show("signal", signal)
        .show("sent", sent)
}

fn app_ended(ending: Ending) -> Line {
    match ending {
        Ending::Was(status) => {
            info("app-ended", format!("the app ended with {status}")).status(Some(status))
        }
        Ending::OutOfMemory => {
            let status = Status::Signal(Signal::KILL);
            info("app-ended", format!("the app ended with {status}: out of memory"))
                .status(Some(status))
        }
        Ending::NotStarted(_) => info("app-ended", "the app was never started"),
        Ending::Forestalled(signal) => {
            let msg = format!("the app is not started: {signal} requested a stop before");
            info("app-ended", msg).status(Some(Status::Signal(signal)))
        }
        Ending::Unkillable => warn("app-ended", "the app has not ended after the kill"),
    }
}

fn still_there(survivor: &Survivor) -> Line {
    let Survivor { pid, parent, state, threads, age, wchan, connections, unread, command } =
        survivor;
    let text = |text: &String| Value::Text(text.clone().into());
    let number = |count: &usize| Value::Number(i64::try_from(*count).unwrap_or(i64::MAX));
    warn("still-there", "still there")
        .number("pid", pid.0)
        .number("ppid", parent.0)
        .text("command", command.clone())
        .show("state", state)
        .known("wchan", wchan.as_ref().map(text))
        .span("age", *age)
        .number("threads", *threads)
        .known("connections", connections.as_ref().map(number))
        .known("unread", Some(unread).filter(|unread| !unread.is_empty()).map(text))
}
