//! The time line: the whole life as one strip, and on a scale of its own the beginning or the stop.

use super::super::document::{Account, Attempt, Entry, Hook, Stretch};
use super::super::time::Span;
use super::super::value::Value;
use super::chart::{self, Marker, Row, Window, later};
use super::html::{self, Html};
use super::{FEW, end, few};

/// The phases before the stop.
const BEFORE: [&str; 3] = ["starting", "running", "ready"];

/// The section, if there is anything to draw.
pub(super) fn section(out: &mut Html, account: &Account) {
    if account.phases.is_empty() {
        return;
    }
    out.raw("<section id=\"time\"><h2>Time line</h2>\n");
    key(out, account);
    let whole = whole(out, account);
    match ending(account) {
        Some(from) => {
            stop(out, account, whole, from);
        }
        None => beginning(out, account, whole),
    }
    out.raw("</section>\n");
}

/// When the end begins: with the stop request, or else with what follows the life of the app.
fn ending(account: &Account) -> Option<Span> {
    let is_end = |stretch: &&Stretch| !BEFORE.contains(&stretch.phase.as_str());
    let asked = account.stop.as_ref().map(|stop| stop.at);
    asked.or_else(|| account.phases.iter().find(is_end).map(|stretch| stretch.at))
}

/// When a phase ended, or how far it has come.
fn ended(stretch: &Stretch, account: &Account) -> Span {
    stretch.took.map_or_else(|| end(account).max(stretch.at), |took| later(stretch.at, took))
}

/// How a phase is drawn.
fn ink(phase: &str) -> &'static str {
    match phase {
        "starting" => "starting",
        "running" => "running",
        "ready" => "serving",
        "pre-stop" | "drain" | "on-stop" => "parting",
        "killed" => "killed",
        "post-stop" => "after",
        _ => "closing",
    }
}

fn stretches(account: &Account) -> impl Iterator<Item = &Stretch> {
    // `exit` is a moment.
    few(&account.phases).iter().filter(|stretch| stretch.phase != "exit")
}

/// Draws the strip of the whole life.
fn whole(out: &mut Html, account: &Account) -> Window {
    let window = Window::new(Span(0), end(account));
    let mut strip = Row::new("strip", "whole life");
    for stretch in stretches(account) {
        let to = ended(stretch, account);
        let title = format!("{} for {}", stretch.phase, html::span(to.since(stretch.at)));
        strip.bar(ink(&stretch.phase), (stretch.at, to), title);
    }
    strip.note.tag("b", html::span(end(account)));
    let mut rows = vec![strip];
    let reloads = account.hooks.iter().filter(|hook| hook.phase == "on-reload");
    let reloads = reloads.filter(|hook| !hook.attempts.is_empty()).take(FEW);
    rows.extend(reloads.map(|hook| hook_row(hook, end(account))));
    chart::draw(out, window, "The whole life", rows, &[]);
    window
}

/// The key: each phase and its duration.
fn key(out: &mut Html, account: &Account) {
    out.raw("<ul class=\"key\">");
    for stretch in stretches(account) {
        let took = ended(stretch, account).since(stretch.at);
        out.raw("<li><i").attr("class", ink(&stretch.phase)).raw("></i>").text(&stretch.phase);
        out.raw(" <b data-metric=\"phase_seconds\"").attr("data-phase", &stretch.phase);
        out.attr("data-seconds", took.seconds()).raw(">").text(html::span(took)).raw("</b></li> ");
    }
    out.raw("</ul>\n");
}

/// Draws the beginning.
fn beginning(out: &mut Html, account: &Account, whole: Window) {
    let hooks = account.hooks.iter().filter(|hook| hook.phase == "on-ready");
    let hooks_end =
        hooks.flat_map(|hook| &hook.attempts).map(|attempt| attempt_end(attempt, account));
    let ready = account.phases.iter().find(|stretch| stretch.phase == "ready");
    let up =
        ready.map_or(end(account), |stretch| stretch.at).max(hooks_end.max().unwrap_or(Span(0)));
    // With a little of what follows.
    let window = Window::new(Span(0), later(up, Span(up.0 / 8)).min(end(account)));
    let mut rows = Vec::new();
    for stretch in stretches(account).filter(|stretch| window.shows(stretch.at)) {
        rows.push(phase_row(stretch, account));
        let hooks: &[&str] = match stretch.phase.as_str() {
            "starting" => &["pre-start"],
            "ready" => &["on-ready"],
            _ => &[],
        };
        rows.extend(hook_rows(account, hooks));
    }
    let mut note = Html::default();
    note.tag("b", html::span(up));
    let shares = (whole.place(Span(0)), whole.place(window.end()));
    chart::magnify(out, shares, "the start", note);
    chart::draw(out, window, "The start", rows, &[]);
}

/// Draws the stop, from its request on.
fn stop(out: &mut Html, account: &Account, whole: Window, from: Span) {
    let end = end(account);
    let took = end.since(from);
    let whole_budget = account.stop.as_ref().and_then(|stop| stop.budget);
    let budget = whole_budget.zip(budget_end(account));
    // The end of a budget of an hour would squeeze a stop of seconds.
    let shown = budget.filter(|(_, at)| at.since(from).0 / 5 <= took.0).map(|(_, at)| at);
    let room = Span(took.0 / 50);
    let window = Window::new(from, later(end.max(shown.unwrap_or_default()), room));
    let mut markers = Vec::new();
    let mut rows = Vec::new();
    if let Some(stop) = &account.stop {
        rows.push(request_row(account, &stop.signal, &stop.from));
    }
    for stretch in stretches(account).filter(|stretch| ended(stretch, account) >= from) {
        if BEFORE.contains(&stretch.phase.as_str()) {
            continue;
        }
        let mut row = phase_row(stretch, account);
        marks(&mut row, account, stretch);
        rows.push(row);
        rows.extend(hook_rows(account, &[&stretch.phase]));
        if let Some(ended) = account.app.ended.as_ref().filter(|end| end.phase == stretch.phase) {
            let mut row = Row::new("point", "app ended");
            let how = super::how_ended(ended);
            row.moment("end", ended.at, format!("the app {how}"));
            row.note.text(how).raw(" ");
            dim(&mut row.note, &format!("at {}", html::span(ended.at.since(from))));
            rows.push(row);
        }
    }
    if let Some((budget, at)) = budget {
        let mut row = Row::new("point", "end of the budget");
        row.moment("limit", at, "the end of the budget");
        if window.shows(at) {
            markers.push(Marker { ink: "limit", at });
        } else {
            row.marks.clear();
        }
        row.note.text(html::round(at.since(from)));
        let extended = at.since(from) != budget;
        match (window.shows(at), extended) {
            (_, true) => dim(&mut row.note, &format!(" extended from {}", html::round(budget))),
            (false, false) => dim(&mut row.note, " far to the right"),
            (true, false) => {}
        }
        rows.push(row);
    }
    markers.extend(account.killed.iter().map(|killed| Marker { ink: "kill", at: killed.at }));
    if account.exit.is_none() {
        markers.push(Marker { ink: "now", at: end });
    }
    let mut note = Html::default();
    note.tag("b", html::span(took));
    dim(&mut note, if account.exit.is_some() { "" } else { " so far" });
    if let Some((_, at)) = budget {
        dim(&mut note, &format!(" of {}", html::round(at.since(from))));
    }
    let name = if account.stop.is_some() { "the stop" } else { "the end" };
    chart::magnify(out, (whole.place(from), whole.place(end)), name, note);
    chart::draw(out, window, "The stop", rows, &markers);
}

/// The end of the budget, if there is one; the app may have extended it.
pub(super) fn budget_end(account: &Account) -> Option<Span> {
    let stop = account.stop.as_ref()?;
    let extended = account.timeline.iter().rev().find(|entry| entry.fact == "extended");
    let left = extended.and_then(|entry| match entry.fields.get("left") {
        Some(Value::Span(left)) => Some(later(entry.at, Span::from(*left))),
        Some(Value::Number(left)) => {
            let left = u64::try_from(*left).ok()?;
            Some(later(entry.at, Span(left.saturating_mul(1_000_000))))
        }
        Some(Value::Text(_) | Value::Unknown) | None => None,
    });
    left.or_else(|| stop.budget.map(|budget| later(stop.at, budget)))
}

fn phase_row(stretch: &Stretch, account: &Account) -> Row {
    let to = ended(stretch, account);
    let took = to.since(stretch.at);
    let mut row = Row::new("phase", &*stretch.phase);
    let title = format!("{} for {}", stretch.phase, html::span(took));
    row.bar(ink(&stretch.phase), (stretch.at, to), title);
    row.note.tag("b", html::span(took));
    if stretch.took.is_none() && account.exit.is_none() {
        dim(&mut row.note, " so far");
    }
    if let (Some(drain), "drain") = (&account.drain, &*stretch.phase) {
        dim(&mut row.note, super::drain::why(drain));
    }
    row
}

/// Marks the signals that were sent in a phase.
fn marks(row: &mut Row, account: &Account, stretch: &Stretch) {
    let to = stretch.took.map(|took| later(stretch.at, took));
    let within = |at: Span| at >= stretch.at && to.is_none_or(|to| at <= to);
    if let Some(killed) = account.killed.as_ref().filter(|_| stretch.phase == "killed") {
        row.moment("kill", killed.at, "SIGKILL to everything that is left");
        dim(&mut row.note, " SIGKILL");
        return;
    }
    let sent = account.timeline.iter().filter(|entry| within(entry.at));
    for entry in sent.take(FEW) {
        let (ink, text) = match entry.fact.as_str() {
            "stop-signal" if stretch.phase == "stopping" => ("sent", signal(entry)),
            "diagnosed" => ("sent", signal(entry)),
            _ => continue,
        };
        row.moment(ink, entry.at, format!("{text} sent"));
        dim(&mut row.note, &format!(" {text}"));
    }
}

fn request_row(account: &Account, signal: &str, from: &str) -> Row {
    let mut row = Row::new("point", "stop requested");
    let at = account.stop.as_ref().map_or(Span(0), |stop| stop.at);
    row.moment("request", at, format!("stop requested: {signal} from {from}"));
    row.note.raw("<b>").text(signal).raw("</b>");
    dim(&mut row.note, &format!(" from {from}"));
    let again: u64 = account.counts.stop_requests.values().copied().fold(0, u64::saturating_add);
    for entry in account.timeline.iter().filter(|entry| entry.fact == "stop-again").take(FEW) {
        row.moment("request", entry.at, &*entry.msg);
    }
    if again > 1 {
        row.note.text(format_args!(", {} more", again - 1));
    }
    row
}

fn signal(entry: &Entry) -> String {
    match entry.fields.get("signal") {
        Some(Value::Text(signal)) => signal.to_string(),
        Some(Value::Number(_) | Value::Span(_) | Value::Unknown) | None => entry.msg.clone(),
    }
}

/// The hooks of these phases that have run or were skipped.
fn hook_rows<'a>(account: &'a Account, phases: &'a [&str]) -> impl Iterator<Item = Row> + 'a {
    let of = account.hooks.iter().filter(|hook| phases.contains(&hook.phase.as_str()));
    let ran = of.filter(|hook| hook.skipped || !hook.attempts.is_empty()).take(FEW);
    ran.map(|hook| hook_row(hook, end(account)))
}

/// Each attempt is a bar, each pause before a retry a thin one.
fn hook_row(hook: &Hook, now: Span) -> Row {
    let mut row = Row::new("hook", &*hook.name);
    if hook.skipped {
        row.note.raw("<span class=\"bad\">skipped</span>");
    }
    let mut before: Option<&Attempt> = None;
    for attempt in few(&hook.attempts) {
        let pause = before.filter(|before| attempt.n > before.n && before.round == attempt.round);
        if let Some((at, took)) = pause.and_then(|before| Some((before.at, before.took?))) {
            row.bar("pause", (later(at, took), attempt.at), "waits for the next attempt");
        }
        let to = attempt.took.map_or(now, |took| later(attempt.at, took));
        row.bar(outcome_ink(attempt), (attempt.at, to), super::hooks::attempt_text(attempt));
        before = Some(attempt);
    }
    notes(&mut row.note, hook);
    row
}

/// `failed, failed, done`
fn notes(note: &mut Html, hook: &Hook) {
    const SHOWN: usize = 4;
    let skipped = hook.attempts.len().saturating_sub(SHOWN);
    if skipped > 0 {
        note.raw("… ");
    }
    for (index, attempt) in hook.attempts.iter().skip(skipped).enumerate() {
        if index > 0 {
            note.raw(", ");
        }
        super::hooks::outcome(note, attempt.outcome.as_deref());
    }
    if let [attempt] = &hook.attempts[..] {
        if let Some(took) = attempt.took {
            dim(note, &format!(" {}", html::span(took)));
        }
    }
}

pub(super) fn outcome_ink(attempt: &Attempt) -> &'static str {
    match attempt.outcome.as_deref() {
        Some("done") => "done",
        Some("timed-out" | "stop-again") => "late",
        Some(_) => "failed",
        None => "runs",
    }
}

fn attempt_end(attempt: &Attempt, account: &Account) -> Span {
    attempt.took.map_or_else(|| end(account), |took| later(attempt.at, took))
}

fn dim(note: &mut Html, text: &str) {
    note.raw("<span class=\"dim\">").text(text).raw("</span>");
}
