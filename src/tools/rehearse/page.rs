//! `--rehearse-html`: the stop as it is beside the stop with the settings that were found. Each request is a dot. The page
//! loads nothing, and has no script.

use std::fmt::Write as _;
use std::time::Duration;

use super::diagnosis::span;
use super::round::{Kind, Round};
use super::tally::Record;

/// What is drawn.
pub(super) struct Panel<'a> {
    /// The settings.
    pub(super) title: String,
    pub(super) round: &'a Round,
}

/// The size of a panel, in units of the drawing.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 380.0;
/// The left edge of the time line, and its width.
const LEFT: f64 = 66.0;
const INNER: f64 = WIDTH - LEFT - 14.0;
/// The lanes: from the top, the answers by how long they took, then what was lost.
const ANSWERS: (f64, f64) = (64.0, 226.0);
const LANES: [(Kind, f64, &str); 3] = [
    (Kind::Refused, 252.0, "refused"),
    (Kind::Cut, 282.0, "cut off"),
    (Kind::Failed, 312.0, "errors"),
];
/// How much is drawn before the stop signal.
const BEFORE: Duration = Duration::from_millis(500);
/// More dots of one kind are thinned out.
const DOTS: usize = 3000;

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1b2027;--dim:#626c7a;--line:#e3e7ec;--soft:#f5f7f9;\
--green:#379866;--red:#cf3f34;--amber:#d98b1f;--violet:#8250c8;--blue:#2a62ab;--band:#e9eff8}\
@media(prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#dde3ea;--dim:#8d98a6;--line:#2a313a;--soft:#1b2027;\
--green:#46a877;--red:#dd5a4f;--amber:#dd9a3a;--violet:#a98be0;--blue:#8ab6ee;--band:#1d2733}}\
body{margin:0;background:var(--paper);color:var(--ink);font:14px/1.5 system-ui,\"DejaVu Sans\",sans-serif}\
main{max-width:1220px;margin:0 auto;padding:1.4rem 1.2rem 2.5rem}h1{font-size:1.2rem;margin:0 0 .3rem}\
.sides{display:flex;flex-wrap:wrap;gap:1.2rem;margin:1.1rem 0}\
figure{flex:1 1 480px;margin:0;min-width:0;display:flex;flex-direction:column}figcaption b{font-size:1.02rem;overflow-wrap:anywhere}\
figcaption span{display:block;color:var(--dim)}figcaption .good{color:var(--green)}figcaption .bad{color:var(--red)}\
svg{width:100%;height:auto;display:block;background:var(--soft);border-radius:6px;margin-top:auto}figcaption{padding-bottom:.5rem}\
svg text{font-size:11px;fill:var(--dim)}svg .mark{fill:var(--ink)}\
.answered{fill:var(--green)}.refused{fill:var(--red)}.cut{fill:var(--amber)}.failed{fill:var(--violet)}\
.band{fill:var(--band)}.grid{stroke:var(--line)}.event{stroke:var(--blue)}.knew{stroke:var(--ink);stroke-dasharray:4 3}\
.kill{stroke:var(--red)}ul{padding-left:1.2rem;max-width:62rem}li{margin:.35rem 0}\
code{font:13px ui-monospace,\"DejaVu Sans Mono\",monospace;background:var(--soft);padding:.1rem .3rem;border-radius:4px;\
overflow-wrap:anywhere}.dim{color:var(--dim)}";

/// Text that cannot become markup.
fn safe(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page. `about`: what was done; `findings`: what happened; `write`: the settings that were found.
pub(super) fn page(
    about: &str,
    panels: &[Panel<'_>],
    findings: &[String],
    write: Option<&str>,
) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>A rehearsed stop</title>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    let _ = write!(
        out,
        "<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>A rehearsed stop</h1>\n<div class=\"dim\">{}</div>\n",
        safe(about)
    );
    // Both sides have the same scale, or they could not be compared.
    let end = panels.iter().map(|panel| shown(panel.round)).max().unwrap_or_default();
    let slowest = panels.iter().map(|panel| panel.round.slowest()).max().unwrap_or_default();
    out.push_str("<div class=\"sides\">\n");
    for panel in panels {
        figure(&mut out, panel, end, slowest.max(Duration::from_millis(1)));
    }
    out.push_str("</div>\n");
    if let Some(write) = write {
        let _ = writeln!(out, "<p>Write: <code>{}</code></p>", safe(write));
    }
    out.push_str("<ul>\n");
    for finding in findings {
        let _ = writeln!(out, "<li>{}</li>", safe(finding));
    }
    out.push_str("</ul>\n</main>\n</body>\n</html>\n");
    out
}

/// How much of a round is drawn, from the stop signal on.
fn shown(round: &Round) -> Duration {
    round.took.max(round.knew) + Duration::from_millis(200)
}

/// A moment of the drawing, counted from the stop signal; negative before it.
fn offset(round: &Round, at: crate::types::Time) -> f64 {
    at.since(round.at).as_secs_f64() - round.at.since(at).as_secs_f64()
}

fn figure(out: &mut String, panel: &Panel<'_>, end: Duration, slowest: Duration) {
    let round = panel.round;
    let [answered, refused, cut, failed] =
        [Kind::Answered, Kind::Refused, Kind::Cut, Kind::Failed].map(|kind| round.count(kind));
    let lost = refused + cut + failed;
    let (class, verdict) = match (lost, round.killed) {
        (0, false) => ("good", "nothing was lost".to_owned()),
        (0, true) => ("bad", "killed by the platform".to_owned()),
        (lost, _) => ("bad", format!("{lost} of {} requests were lost", answered + lost)),
    };
    let _ = write!(
        out,
        "<figure>\n<figcaption><b>{}</b><span><b class=\"{class}\">{verdict}</b> · {answered} answered, {refused} \
         refused, {cut} cut off, {failed} errors · stop {}</span></figcaption>\n",
        safe(&panel.title),
        span(round.took)
    );
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Requests during the stop\">"
    );
    let whole = (end + BEFORE).as_secs_f64();
    let x =
        |seconds: f64| LEFT + INNER * (seconds + BEFORE.as_secs_f64()).clamp(0.0, whole) / whole;
    band(out, round, x);
    grid(out, end, slowest, x);
    marks(out, panel, x);
    dots(out, round, slowest, end, x);
    out.push_str("</svg>\n</figure>\n");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
        safe(text)
    );
}

fn line(out: &mut String, x1: f64, y1: f64, x2: f64, y2: f64, class: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
    );
}

/// The axes and the names of the lanes.
fn grid(out: &mut String, end: Duration, slowest: Duration, x: impl Fn(f64) -> f64) {
    let seconds = end.as_secs_f64();
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0];
    let step = steps.into_iter().find(|step| seconds / step <= 9.0).unwrap_or(300.0);
    let mut at = 0.0;
    while at <= seconds {
        line(out, x(at), ANSWERS.0, x(at), HEIGHT - 42.0, "grid");
        let label = if step < 1.0 { format!("{at:.1} s") } else { format!("{at:.0} s") };
        text(out, x(at), HEIGHT - 26.0, "middle", "", &label);
        at += step;
    }
    text(out, LEFT - 6.0, ANSWERS.1, "end", "", "0 s");
    text(out, LEFT - 6.0, ANSWERS.0 + 4.0, "end", "", &format!("{:.2} s", slowest.as_secs_f64()));
    text(out, LEFT - 6.0, (ANSWERS.0 + ANSWERS.1) / 2.0, "end", "", "answered");
    text(out, LEFT - 6.0, (ANSWERS.0 + ANSWERS.1) / 2.0 + 13.0, "end", "", "after");
    for (_, y, name) in LANES {
        text(out, LEFT - 6.0, y + 4.0, "end", "", name);
        line(out, LEFT, y + 15.0, LEFT + INNER, y + 15.0, "grid");
    }
    line(out, LEFT, ANSWERS.1 + 9.0, LEFT + INNER, ANSWERS.1 + 9.0, "grid");
    text(
        out,
        LEFT + INNER,
        HEIGHT - 8.0,
        "end",
        "",
        "after the stop signal; a dot: the end of a request",
    );
}

/// The time of the drain.
fn band(out: &mut String, round: &Round, x: impl Fn(f64) -> f64) {
    let when = |fact: &str| round.fact(fact).map(|seen| offset(round, seen.at));
    if let (Some(from), Some(to)) = (when("drain-begun"), when("drain-ended")) {
        let (left, width) = (x(from), x(to) - x(from));
        let height = HEIGHT - 42.0 - ANSWERS.0;
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"band\"/>",
            ANSWERS.0
        );
        text(out, left + 4.0, ANSWERS.0 + 12.0, "start", "", "drain");
    }
}

/// What happened when.
fn marks(out: &mut String, panel: &Panel<'_>, x: impl Fn(f64) -> f64) {
    let round = panel.round;
    let when = |fact: &str| round.fact(fact).map(|seen| offset(round, seen.at));
    let signal = round.fact("stop-signal").map(|seen| seen.signal.clone()).unwrap_or_default();
    let mut all: Vec<(f64, &str, String)> = vec![(0.0, "event", "stop begins".to_owned())];
    all.extend(when("stop-signal").map(|at| (at, "event", format!("{signal} to the app"))));
    all.push((round.knew.as_secs_f64(), "knew", "the balancer knows".to_owned()));
    all.extend(when("deadline-reached").map(|at| (at, "kill", "graceinit kills".to_owned())));
    let took = round.took.as_secs_f64();
    let ends = if round.killed { ("kill", "the platform kills") } else { ("event", "end") };
    all.push((took, ends.0, ends.1.to_owned()));
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut rows = [f64::MIN; 4];
    for (at, class, name) in all {
        line(out, x(at), ANSWERS.0 - 2.0, x(at), HEIGHT - 42.0, class);
        // Names that would lie on each other get rows of their own.
        let width = name.len() as f64 * 6.2;
        let right = x(at) + width > LEFT + INNER;
        let (from, anchor) = if right { (x(at) - width, "end") } else { (x(at), "start") };
        let row = rows.iter().position(|taken| *taken < from).unwrap_or(rows.len() - 1);
        rows[row] = from + width + 8.0;
        text(out, x(at), 14.0 + 13.0 * row as f64, anchor, "mark", &name);
    }
}

fn dots(out: &mut String, round: &Round, slowest: Duration, end: Duration, x: impl Fn(f64) -> f64) {
    let visible = |record: &&Record| {
        let at = offset(round, record.ended);
        at >= -BEFORE.as_secs_f64() && at <= end.as_secs_f64()
    };
    for (kind, class) in [
        (Kind::Answered, "answered"),
        (Kind::Refused, "refused"),
        (Kind::Cut, "cut"),
        (Kind::Failed, "failed"),
    ] {
        let of_kind = || {
            round
                .tally
                .records
                .iter()
                .filter(visible)
                .filter(|record| Kind::of(record.class) == kind)
        };
        let every = of_kind().count().div_ceil(DOTS).max(1);
        let _ = writeln!(out, "<g class=\"{class}\" fill-opacity=\".75\">");
        for (number, record) in of_kind().step_by(every).enumerate() {
            let took = record.ended.since(record.meant).as_secs_f64() / slowest.as_secs_f64();
            let y = match LANES.iter().find(|(lane, ..)| *lane == kind) {
                // Spread over the lane, so that dots of one moment can be told apart.
                Some((_, y, _)) => y + (number % 7) as f64 * 3.0 - 9.0,
                None => ANSWERS.1 - (ANSWERS.1 - ANSWERS.0) * took.clamp(0.0, 1.0),
            };
            let x = x(offset(round, record.ended));
            let _ = write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>");
        }
        out.push_str("\n</g>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_no_markup() {
        let page = page("a <b> & \"c\"", &[], &["<script>".to_owned()], Some("--pre-stop '<i>'"));
        assert!(page.contains("a &lt;b&gt; &amp; &quot;c&quot;"), "{page}");
        assert!(page.contains("<li>&lt;script&gt;</li>") && !page.contains("<script"), "{page}");
        assert!(page.contains("<code>--pre-stop '&lt;i&gt;'</code>"), "{page}");
    }
}
