//! The account as a page for people: one HTML document that loads nothing, and can be read without its script and on a
//! narrow screen.
//!
//! Numbers that are in the report and the metrics too have attributes, so that tests can compare them. The text of an
//! element with `data-metric` is the number; where the text is rounded, `data-seconds` has it exactly.
//!
//! | `data-metric` | further attributes | in the report |
//! |---|---|---|
//! | `phase` | | `phase` |
//! | `ready` | `data-value`: 0, 1 | `ready` |
//! | `exit_code` | | `exit.code` |
//! | `ended_phase` | | `app.ended.phase` |
//! | `phase_seconds` | `data-phase`, `data-seconds` | `phases` (the present one: until now) |
//! | `stop_requests`, `forwarded` | `data-signal` | `counts` |
//! | `reaped` | `data-kind` | `counts` |
//! | `kills`, `oom_kills`, `lines_dropped` | | `counts` |
//! | `hook_attempts` | `data-phase`, `data-hook`, `data-outcome` | `hooks[].outcomes` |
//! | `hook_seconds` | `data-phase`, `data-hook`, `data-count`, `data-seconds` | `hooks[].took` |
//! | `drain_connections` | `data-state` | `drain.last` |
//!
//! `data-pid` is on the rows of deaths, survivors and processes, `data-fact` on those of facts, `data-cut` on what was
//! left out. `<main>` has `data-began`, which tells lives apart, `data-exit` once there is an exit, and `data-every`: the
//! number of milliseconds after which a live page is loaded again.

mod chart;
mod drain;
mod hooks;
mod html;
mod life;
mod processes;
mod tables;
#[cfg(test)]
mod tests;

use html::Html;

use super::document::{Account, Ended};
use super::summary;
use super::time::Span;
use super::waiting;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// The hashes of the style and of the script; a test compares them.
macro_rules! style_hash {
    () => {
        "'sha256-eEcu0RWimbUXv0HAC+jkk8+hGlM5obi9rtS9sq3RFyk='"
    };
}
macro_rules! script_hash {
    () => {
        "'sha256-QrwTqo883Wa/gvQnd1A3IwfnHV3ysR2Kzgl6lBS1WIw='"
    };
}

/// The `Content-Security-Policy` of a live page: its own style and script, and loading the same address again.
pub const POLICY: &str = concat!(
    "default-src 'none'; style-src ",
    style_hash!(),
    "; script-src ",
    script_hash!(),
    "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// The same for a page in a file, which has no script, so that output of hooks can only be text.
const SAVED_POLICY: &str = concat!(
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src ",
    style_hash!(),
    "; img-src data:; base-uri 'none'; form-action 'none'\">\n"
);

/// The most rows of a list. No real account has more; a forged file may.
const ROWS: usize = 500;
/// The most items in a row, and the most rows of a drawing.
const FEW: usize = 40;

/// The two editions of the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edition {
    /// Served by the observer. It updates itself.
    Live,
    /// Made from a report. It has no script.
    Saved,
}

/// The whole page.
pub fn render(account: &Account, edition: Edition) -> String {
    let mut out = Html::default();
    let state = State::of(account);
    out.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    if edition == Edition::Saved {
        out.raw(SAVED_POLICY);
    }
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    out.raw("<meta name=\"referrer\" content=\"no-referrer\">\n");
    if edition == Edition::Live {
        out.raw("<noscript><meta http-equiv=\"refresh\" content=\"2\"></noscript>\n");
    }
    out.raw("<link rel=\"icon\" href=\"").raw(state.icon()).raw("\">\n<title>");
    out.text(short(account)).raw(" · ").text(app_name(account)).raw(" · graceinit</title>\n");
    out.raw("<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n");
    if edition == Edition::Live {
        out.raw("<p id=\"lost\" role=\"status\" hidden></p>\n");
    }
    out.raw("<main").attr("data-began", account.began.text());
    if account.exit.is_some() {
        out.raw(" data-exit");
    }
    let stops = state == State::Stopping || state == State::Killed && account.exit.is_none();
    out.attr("data-every", if stops { 500 } else { 2000 }).raw(">\n");
    head(&mut out, account, state);
    life::section(&mut out, account);
    hooks::section(&mut out, account);
    drain::section(&mut out, account);
    processes::deaths(&mut out, account);
    processes::survivors(&mut out, account);
    processes::tree(&mut out, account);
    tables::troubles(&mut out, account);
    tables::facts(&mut out, account);
    tables::counts(&mut out, account);
    tables::settings(&mut out, account);
    tables::cut(&mut out, account);
    foot(&mut out, account, edition);
    out.raw("</main>\n");
    if edition == Edition::Live {
        out.raw("<script>").raw(SCRIPT).raw("</script>\n");
    }
    out.raw("</body>\n</html>\n");
    out.done()
}

/// The state that the colour of the page shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Starting,
    Ready,
    Stopping,
    Killed,
    Gone,
    Failed,
}

impl State {
    fn of(account: &Account) -> State {
        match (&account.exit, account.phase.as_str()) {
            (Some(_), _) if account.killed.is_some() => State::Killed,
            (Some(exit), _) if exit.dead_man || matches!(&*exit.reason, "crash" | "not-ready") => {
                State::Failed
            }
            (Some(_), _) => State::Gone,
            (None, "ready") => State::Ready,
            (None, "" | "starting" | "running") => State::Starting,
            (None, "killed") => State::Killed,
            (None, _) => State::Stopping,
        }
    }

    fn class(self) -> &'static str {
        match self {
            State::Starting => "badge starting",
            State::Ready => "badge serving",
            State::Stopping => "badge parting",
            State::Killed | State::Failed => "badge killed",
            State::Gone => "badge after",
        }
    }

    /// A dot in that colour for the browser's tab.
    fn icon(self) -> &'static str {
        macro_rules! dot {
            ($colour:literal) => {
                concat!(
                    "data:image/svg+xml,%3Csvg xmlns=%22http://www.w3.org/2000/svg%22 viewBox=%220 0 8 8%22\
                     %3E%3Ccircle cx=%224%22 cy=%224%22 r=%223.5%22 fill=%22%23",
                    $colour,
                    "%22/%3E%3C/svg%3E"
                )
            };
        }
        match self {
            State::Starting => dot!("8a94a3"),
            State::Ready => dot!("2f8f5b"),
            State::Stopping => dot!("3d78c9"),
            State::Killed | State::Failed => dot!("c8372d"),
            State::Gone => dot!("6b7482"),
        }
    }
}

/// The state in two or three words.
fn short(account: &Account) -> String {
    match &account.exit {
        Some(exit) => format!("exit {}", exit.code),
        None if account.phase.is_empty() => "no phase yet".to_owned(),
        None => account.phase.clone(),
    }
}

fn app_name(account: &Account) -> &str {
    let word = account.app.command.split_whitespace().next().unwrap_or("no app");
    word.rsplit('/').next().unwrap_or(word)
}

/// `exited with code 0`
fn how_ended(ended: &Ended) -> String {
    match (ended.how.as_str(), &ended.code, &ended.signal) {
        ("exited", Some(code), _) => format!("exited with code {code}"),
        ("signalled", _, Some(signal)) => format!("was ended by {signal}"),
        ("not-started", Some(code), _) => format!("was not started: code {code}"),
        ("forestalled", ..) => "was not started: a stop came first".to_owned(),
        ("unkillable", ..) => "has not ended after the kill".to_owned(),
        (how, ..) => how.to_owned(),
    }
}

fn head(out: &mut Html, account: &Account, state: State) {
    out.raw("<header>\n<p class=\"state\"><span").attr("class", state.class());
    out.raw(">phase <b data-metric=\"phase\">").text(&account.phase).raw("</b></span> ");
    let (class, word) = match account.ready {
        true => ("badge serving", "ready"),
        false => ("badge plain", "not ready"),
    };
    out.raw("<span data-metric=\"ready\"").attr("data-value", u8::from(account.ready));
    out.attr("class", class).raw(">").raw(word).raw("</span> ");
    if let Some(exit) = &account.exit {
        out.raw("<span").attr("class", state.class()).raw(">exit code ");
        out.raw("<b data-metric=\"exit_code\">").text(exit.code).raw("</b>");
        if !exit.reason.is_empty() {
            out.raw(" · ").text(&exit.reason);
        }
        out.raw("</span> ");
        if exit.dead_man {
            out.raw("<span class=\"badge killed\">ended by the dead-man timer</span> ");
        }
    }
    out.raw("<span class=\"program\">").text(&account.program).raw("</span></p>\n<h1>");
    match account.summary.is_empty() {
        true => out.text(summary::of(account)),
        false => out.text(&account.summary),
    };
    out.raw("</h1>\n<dl class=\"vital\">");
    vital(out, "app", |out| {
        out.raw("<code>").text(&account.app.command).raw("</code>");
        if let Some(pid) = account.app.pid {
            out.raw(" <span class=\"dim\">pid ").text(pid).raw("</span>");
        }
    });
    vital(out, "began", |out| {
        let began = account.began.text();
        let seconds = began.split('.').next().unwrap_or(&began).replace('T', " ");
        out.raw("<time").attr("datetime", &began).raw(">").text(seconds).raw(" UTC</time>");
    });
    vital(out, "lived", |out| {
        out.text(html::span(end(account)));
    });
    if !account.waiting.is_empty() {
        // Once a stop has begun, this is what it waited for last.
        let name = if before_stop(account) { "waits for" } else { "waited for" };
        vital(out, name, |out| {
            out.text(waiting::text(&account.waiting));
        });
    }
    for health in few(&account.health) {
        let name = if health.option == "live" { "--live" } else { "--health" };
        vital(out, name, |out| {
            out.text(&health.check).raw(": ");
            out.text(if health.answer.is_empty() { "not asked yet" } else { &health.answer });
            if let Some(ago) = health.ago {
                out.raw(" <span class=\"dim\">").text(html::span(ago)).raw(" ago</span>");
            }
        });
    }
    if let Some(ended) = &account.app.ended {
        vital(out, "app ended", |out| {
            out.text(how_ended(ended)).raw(" <span class=\"dim\">in ");
            out.raw("<span data-metric=\"ended_phase\">").text(&ended.phase);
            out.raw("</span></span>");
        });
    }
    if !account.trace_id.is_empty() {
        vital(out, "trace", |out| {
            out.raw("<code>").text(&account.trace_id).raw("</code>");
        });
    }
    out.raw("</dl>\n</header>\n");
}

/// Whether neither a stop has begun nor the app has ended.
fn before_stop(account: &Account) -> bool {
    account.stop.is_none() && account.app.ended.is_none() && account.exit.is_none()
}

fn vital(out: &mut Html, name: &'static str, value: impl FnOnce(&mut Html)) {
    out.raw("<div><dt>").raw(name).raw("</dt><dd>");
    value(out);
    out.raw("</dd></div>");
}

fn foot(out: &mut Html, account: &Account, edition: Edition) {
    out.raw("<footer>as of +").text(html::clock(account.age)).raw(" · ");
    out.raw(match edition {
        Edition::Live => "updates itself",
        Edition::Saved => "saved",
    });
    out.raw(" · version ").text(account.v).raw(" of the account</footer>\n");
}

/// A point in time, counted from the stop request if it is later.
fn offset(out: &mut Html, account: &Account, at: Span) {
    match account.stop.as_ref().filter(|stop| at >= stop.at) {
        Some(stop) => out.raw("stop +").text(html::clock(at.since(stop.at))),
        None => out.raw("+").text(html::clock(at)),
    };
}

/// Begins a table, up to its body.
fn table(out: &mut Html, class: &'static str, caption: &'static str, columns: &[&'static str]) {
    out.raw("<div class=\"wide\"><table").attr("class", class).raw("><caption>").raw(caption);
    out.raw("</caption><thead><tr>");
    for column in columns {
        out.raw("<th scope=\"col\">").raw(column).raw("</th>");
    }
    out.raw("</tr></thead>\n");
}

/// How far the account reaches.
fn end(account: &Account) -> Span {
    account.exit.as_ref().map_or(account.age, |exit| exit.at)
}

/// The part of a list that is shown.
fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(ROWS)]
}

/// The part of a list within a list, or of a drawing.
fn few<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(FEW)]
}

/// Adds the number of rows that are not shown.
fn more(out: &mut Html, all: usize, what: &'static str) {
    if all > ROWS {
        out.raw("<p class=\"dim\">").text(all - ROWS).raw(" more ").raw(what);
        out.raw(" are not shown.</p>\n");
    }
}
