//! The account in one or two sentences: why the stop took as long as it did, and what was lost.

use super::document::{Account, Death, Drain, Hook, Survivor};
use super::incident::Kin;
use super::text::size;
use super::time::Span;
use super::value::Value;
use super::waiting;
use crate::machine::phase::PhaseName;
use crate::types::text::in_one_line;

/// A shorter phase is not mentioned.
const SHORT: Span = Span(10_000);

/// The sentences.
pub fn of(account: &Account) -> String {
    let mut text = match &account.exit {
        Some(exit) if exit.dead_man => stuck(account),
        Some(exit) => ended(account, exit.at, exit.code, &exit.reason),
        None => present(account),
    };
    for loss in losses(account) {
        text.push(' ');
        text.push_str(&loss);
    }
    text
}

/// The loop was stuck in the last phase.
fn stuck(account: &Account) -> String {
    format!(
        "graceinit itself was stuck; the dead-man timer has killed what was left, in {} after {}{}.",
        account.phase,
        asked(account),
        budget(account)
    )
}

/// Before the exit.
fn present(account: &Account) -> String {
    if let Some(begun) = stop_begun(account) {
        let whole = account.stop.as_ref().map_or(String::new(), |stop| {
            format!("{}: {} from {}", of_budget(stop.budget), stop.signal, stop.from)
        });
        let for_so_long = span(account.age.since(begun));
        return format!("Stopping, in {} after {for_so_long}{whole}.", account.phase);
    }
    match account.app.started {
        None => "Starting: the app was not started yet.".to_owned(),
        Some(started) => {
            let ready = if account.ready { "ready" } else { "not ready" };
            format!("Running for {}, {ready}.", span(account.age.since(started)))
        }
    }
}

fn ended(account: &Account, at: Span, code: u8, reason: &str) -> String {
    let end = account.app.ended.as_ref();
    let how = end.map_or("", |end| end.how.as_str());
    if how == "forestalled" {
        let cause = account.stop.as_ref().map_or(String::new(), |stop| {
            format!(": {} came from {} before it was started", stop.signal, stop.from)
        });
        return format!("Not started, exit {code}{cause}.");
    }
    if how == "not-started" {
        return format!("Not started, exit {code}: {}.", why_not_started(account));
    }
    if let Some(killed) = account.killed.as_ref().filter(|_| reason != "not-ready") {
        let begun = stop_begun(account).unwrap_or_default();
        let after = span(killed.at.since(begun));
        let why = if killed.early { "Killed because a second stop request came" } else { KILLED };
        return format!("{why} after {after}{}, exit {code}{}.", spent(account), alive(account));
    }
    let begun = stop_begun(account).unwrap_or(at);
    let took = span(at.since(begun));
    if reason == "not-ready" {
        let after = stop_begun(account).unwrap_or_default();
        let after = span(after.since(account.app.started.unwrap_or_default()));
        let killed = if account.killed.is_some() { KILLED_TOO } else { "" };
        return format!(
            "Not ready after {after}{}: the app was stopped, exit {code}{killed}.",
            missing(account)
        );
    }
    match &account.stop {
        Some(stop) if reason == "signal" => format!(
            "Stopped by {} from {}, exit {code} after {took}{}{}.",
            stop.signal,
            stop.from,
            of_budget(stop.budget),
            spent(account)
        ),
        _ => by_itself(account, code, reason),
    }
}

/// The kernel has killed it for want of memory.
const OOM: &str = "oom";
const KILLED: &str = "Killed at the deadline";
const KILLED_TOO: &str = ", killed at the deadline";

/// There was no stop request.
fn by_itself(account: &Account, code: u8, reason: &str) -> String {
    let end = account.app.ended.as_ref();
    let death = account.deaths.iter().find(|death| death.kind == Kin::App.as_str());
    let other = account.deaths.iter().rev().find(|death| death.by == OOM);
    match (death.filter(|death| death.by == OOM), other) {
        (Some(death), _) => return format!("{}, exit {code}.", out_of_memory(death)),
        (None, Some(other)) if reason == OOM => {
            return format!(
                "Stopped because of --child-oom, exit {code}{}.",
                if account.killed.is_some() { KILLED_TOO } else { "" }
            ) + &format!(" {}.", out_of_memory(other));
        }
        (None, _) => {}
    }
    let lived = end.map_or(Span(0), |end| end.at.since(account.app.started.unwrap_or_default()));
    let lived = span(lived);
    let text = match end.map(|end| (end.code, end.signal.as_deref())) {
        Some((Some(own), _)) => format!("The app ended by itself with code {own} after {lived}"),
        Some((None, Some(signal))) => {
            let cause = cause(account, death);
            format!("The app was ended by {signal}{cause} after {lived}")
        }
        _ => format!("The app ended after {lived}"),
    };
    let own = end.and_then(|end| end.code);
    let exit = if own == Some(code) { String::new() } else { format!(", exit {code}") };
    let crash = if reason == "crash" { ": a crash" } else { "" };
    format!("{text}{exit}{crash}.")
}

/// What is known of the signal that ended the app.
fn cause(account: &Account, death: Option<&Death>) -> &'static str {
    match death.map(|death| death.by.as_str()) {
        Some("elsewhere") => ", which neither graceinit nor the kernel's OOM killer has sent,",
        Some(_) => ", which graceinit has not sent,",
        None if account.app.forwarded.is_some() => ", which was forwarded just before,",
        None => "",
    }
}

/// `python (pid 42) was killed by the kernel: out of memory, limit 512 MiB`
fn out_of_memory(death: &Death) -> String {
    let Death { name, pid, kind, limit, peak, .. } = death;
    let who = if name.is_empty() { format!("the {kind}") } else { in_one_line(name).into_owned() };
    let limit = limit.map_or(String::new(), |limit| format!(", limit {}", size(limit)));
    let peak = peak.map_or(String::new(), |peak| format!(", peak {}", size(peak)));
    format!("{who} (pid {pid}) was killed by the kernel: out of memory{limit}{peak}")
}

/// The last error has the reason: what could not be executed, or the hook that failed.
fn why_not_started(account: &Account) -> String {
    let error = |fact: &str| account.troubles.iter().rev().find(|entry| entry.fact == fact);
    if let Some(entry) = error("not-executed") {
        return entry.msg.trim_end_matches('.').to_owned();
    }
    let aborted = error("phase-aborted").and_then(|entry| entry.fields.get("hook"));
    match aborted {
        Some(name) => format!("the pre-start hook {name} has failed"),
        None => "see the troubles".to_owned(),
    }
}

fn missing(account: &Account) -> String {
    let entry = account.troubles.iter().rev().find(|entry| entry.fact == "not-ready");
    let missing = entry.and_then(|entry| match entry.fields.get("missing") {
        Some(Value::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    });
    let answers = waiting::text(&account.waiting);
    let answers = if answers.is_empty() { answers } else { format!(" ({answers})") };
    missing.map_or(String::new(), |missing| format!(", {missing} is missing{answers}"))
}

/// When the budget began: with the stop request, or with the first phase of the stop.
fn stop_begun(account: &Account) -> Option<Span> {
    let first = account.phases.iter().find(|stretch| {
        let known = PhaseName::ALL.iter().find(|phase| phase.as_str() == stretch.phase);
        known.is_some_and(|phase| *phase >= PhaseName::PreStop)
    });
    let begun = first.map(|stretch| stretch.at);
    match (&account.stop, begun) {
        (Some(stop), Some(begun)) => Some(stop.at.min(begun)),
        (Some(stop), None) => Some(stop.at),
        (None, begun) => begun,
    }
}

fn asked(account: &Account) -> String {
    match &account.stop {
        Some(stop) => format!("{} from {}", stop.signal, stop.from),
        None => "the end of the app".to_owned(),
    }
}

fn budget(account: &Account) -> String {
    let budget = account.stop.as_ref().and_then(|stop| stop.budget);
    budget.map_or(String::new(), |budget| format!(" (budget {})", span(budget)))
}

/// The whole budget, if there is one.
fn of_budget(budget: Option<Span>) -> String {
    budget.map_or(String::new(), |budget| format!(" of {}", span(budget)))
}

/// `: pre-stop 0.10 s, drain 2.01 s, app 0.23 s`
fn spent(account: &Account) -> String {
    let stop = stop_begun(account).unwrap_or_default();
    let parts = account.phases.iter().filter(|stretch| stretch.at >= stop).filter_map(|stretch| {
        let name = match stretch.phase.as_str() {
            // The app after its stop signal.
            "stopping" => "app",
            "killed" => return None,
            name => name,
        };
        let took = stretch.took.unwrap_or(account.age.since(stretch.at));
        (took >= SHORT || name == "app").then(|| format!("{name} {}", span(took)))
    });
    let parts: Vec<String> = parts.collect();
    match &account.killed {
        _ if parts.is_empty() => String::new(),
        Some(_) => format!(" ({})", parts.join(", ")),
        None => format!(": {}", parts.join(", ")),
    }
}

/// The survivors.
fn alive(account: &Account) -> String {
    let Some(killed) = &account.killed else { return String::new() };
    let named = account.survivors.len() as u64;
    let others = named.saturating_sub(1).saturating_add(killed.more);
    let more = if others == 0 { String::new() } else { format!("; {others} more") };
    match account.survivors.first() {
        Some(first) => format!(": {}{more}", survivor(first)),
        None if killed.unseen => ": there was no time to see what was still there".to_owned(),
        None => String::new(),
    }
}

fn survivor(survivor: &Survivor) -> String {
    let program = survivor.command.split(' ').next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    let mut text = format!("{name} (pid {}) was still there", survivor.pid);
    match survivor.wchan.as_deref() {
        Some(wchan) if wchan != "0" => text.push_str(&format!(", in {wchan}")),
        _ => text.push_str(&format!(", in state {}", survivor.state)),
    }
    if survivor.threads > 1 {
        text.push_str(&format!(", {} threads", survivor.threads));
    }
    match survivor.connections {
        None | Some(0) => {}
        Some(1) => text.push_str(", 1 connection"),
        Some(count) => text.push_str(&format!(", {count} connections")),
    }
    text
}

/// What was lost: one sentence each, and not too many.
fn losses(account: &Account) -> Vec<String> {
    let mut all: Vec<String> = account.drain.iter().filter_map(cut_off).collect();
    let words = account.drain.iter().flat_map(|drain| &drain.words).filter(|word| word.held);
    all.extend(words.take(3).map(|word| {
        format!("By its own word the app was not drained: {} ({}).", word.condition, word.said)
    }));
    // The process that has stopped the app, and the app itself, are in the first sentence.
    let told = usize::from(account.exit.as_ref().is_some_and(|exit| exit.reason == OOM));
    let others = |death: &&Death| death.by == OOM && death.kind != Kin::App.as_str();
    let app = account.deaths.iter().any(|death| death.by == OOM && death.kind == Kin::App.as_str());
    let others = account.deaths.iter().rev().filter(others).skip(if app { 0 } else { told });
    all.extend(others.take(3).map(|death| format!("{}.", out_of_memory(death))));
    if account.app.dumped_core {
        all.push("It has dumped core.".to_owned());
    }
    all.extend(account.hooks.iter().filter_map(hook).take(3));
    if account.killed.as_ref().is_some_and(|killed| killed.unkillable) {
        all.push("A process has not ended after the kill.".to_owned());
    }
    all
}

fn cut_off(drain: &Drain) -> Option<String> {
    let broken_off = ["moment", "budget", "max"].contains(&drain.why.as_str());
    let last = drain.last.as_ref().filter(|_| broken_off)?;
    match (last.cut, last.uncertain) {
        (0, 0) => None,
        (0, 1) => Some("1 answer may have been cut off in a pause.".to_owned()),
        (0, more) => Some(format!("{more} answers may have been cut off in a pause.")),
        (1, _) => Some("1 request may have been cut off.".to_owned()),
        (more, _) => Some(format!("{more} requests may have been cut off.")),
    }
}

fn hook(hook: &Hook) -> Option<String> {
    let Hook { phase, name, .. } = hook;
    if hook.skipped {
        return Some(format!("No time was left for the {phase} hook {name}."));
    }
    let last = hook.attempts.last()?;
    let (took, tries) = (span(last.took?), last.n);
    let tries = if tries > 1 { format!(" at attempt {tries}") } else { String::new() };
    match last.outcome.as_deref()? {
        "done" if tries.is_empty() => None,
        "done" => Some(format!("The {phase} hook {name} has succeeded{tries} only.")),
        "timed-out" => Some(format!("The {phase} hook {name} timed out after {took}{tries}.")),
        "stop-again" => Some(format!(
            "The {phase} hook {name} was killed by a second stop request after {took}."
        )),
        "failed" => {
            let status = last.status.as_deref().unwrap_or("an error");
            Some(format!("The {phase} hook {name} failed with {status}{tries}."))
        }
        _ => Some(format!("The {phase} hook {name} could not be started.")),
    }
}

/// `0.23 s`, `12.4 s`, `15 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
fn span(span: Span) -> String {
    let seconds = span.0 / 1_000_000;
    let two = |big: u64, unit: &str, small: u64, least: &str| match small {
        0 => format!("{big} {unit}"),
        small => format!("{big} {unit} {small} {least}"),
    };
    match seconds {
        _ if span.0 % 1_000_000 == 0 && seconds < 60 => format!("{seconds} s"),
        0..10 => format!("{:.2} s", span.seconds()),
        10..60 => format!("{:.1} s", span.seconds()),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}
