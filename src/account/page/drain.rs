//! The connections during the drain.

use super::super::document::{Account, Drain, DrainSample};
use super::super::time::Span;
use super::chart::{self, Window};
use super::html::{self, Html};
use super::{end, few, first, more, table};

/// A kind of connections.
struct Layer {
    name: &'static str,
    of: fn(&DrainSample) -> u32,
    meaning: &'static str,
}

/// The kinds from below: first those that delay the stop.
const LAYERS: [Layer; 4] = [
    Layer { name: "owed", of: |seen| seen.owed, meaning: "an answer is owed" },
    Layer { name: "busy", of: |seen| seen.busy, meaning: "bytes in transit" },
    Layer { name: "queued", of: |seen| seen.queued, meaning: "not accepted yet" },
    Layer { name: "idle", of: |seen| seen.idle, meaning: "no request" },
];

/// The section, if there was a drain.
pub(super) fn section(out: &mut Html, account: &Account) {
    let Some(drain) = &account.drain else { return };
    out.raw("<section id=\"drain\"><h2>Connections while draining</h2>\n<p>");
    let end = drain.ended.unwrap_or_else(|| end(account));
    out.raw("The app kept serving for <b>").text(html::span(end.since(drain.at))).raw("</b>");
    if drain.ended.is_none() {
        out.raw(" so far");
    }
    out.text(why(drain));
    if drain.delay.0 > 0 {
        out.raw(". It had to for at least ").text(html::round(drain.delay));
    }
    if let Some(acks) = drain.acks {
        out.raw("; that ended early, since ").text(html::counted(acks.into(), "readiness probe"));
        out.raw(" had been answered “not ready”");
    }
    out.raw(".");
    if drain.looks > 0 {
        out.raw(" <b>").text(drain.looks);
        out.raw(if drain.looks == 1 { "</b> sample was" } else { "</b> samples were" });
        out.raw(" taken; the numbers are those of the last one.");
    }
    out.raw("</p>\n");
    draw(out, drain, end);
    held(out, drain);
    words(out, drain);
    out.raw("</section>\n");
}

/// The connections that hold the drain longest, or did.
fn held(out: &mut Html, drain: &Drain) {
    if drain.held.is_empty() {
        return;
    }
    let caption = match drain.ended {
        Some(_) => "What held the drain longest",
        None => "What holds the drain now",
    };
    let columns =
        ["client", "port", "because", "held", "silent", "bytes in", "bytes out", "limited by"];
    table(out, "held", caption, &columns);
    out.raw("<tbody>\n");
    for held in few(&drain.held) {
        let peer = if held.peer.is_empty() { "?" } else { &held.peer };
        out.raw("<tr data-held><td>").text(peer).raw("</td><td class=\"n\">").text(held.port);
        out.raw("</td><td>").text(held.because()).raw("</td><td>");
        out.text(html::span(held.held)).raw("</td><td>").text(html::span(held.silent));
        out.raw("</td><td class=\"n\">").text(held.bytes_in);
        out.raw("</td><td class=\"n\">").text(held.bytes_out);
        out.raw("</td><td><code>").text(&held.option).raw("</code></td></tr>\n");
    }
    out.raw("</tbody></table></div>\n");
}

/// What the app itself has said.
fn words(out: &mut Html, drain: &Drain) {
    if drain.words.is_empty() {
        return;
    }
    table(out, "words", "The app's own word", &["condition", "the last look"]);
    out.raw("<tbody>\n");
    for word in few(&drain.words) {
        out.raw("<tr data-word><td><code>").text(&word.condition).raw("</code></td><td>");
        match word.said.as_str() {
            "" => out.raw("drained"),
            said => out.text(said),
        };
        if word.held {
            out.raw(" <b class=\"bad\">held the drain</b>");
        }
        out.raw("</td></tr>\n");
    }
    out.raw("</tbody></table></div>\n");
}

/// Why the drain ended, as the rest of a sentence.
pub(super) fn why(drain: &Drain) -> &'static str {
    match drain.why.as_str() {
        "quiet" => ", until it was quiet",
        "moment" => ", until a moment without a request in progress",
        "delay" => ", until the delay was over",
        "budget" => ", until the budget needed the rest",
        "max" => ", until --drain-max was over",
        _ => "",
    }
}

fn draw(out: &mut Html, drain: &Drain, end: Span) {
    let series = first(&drain.series);
    let last = series.last().map(|seen| seen.at).unwrap_or_default();
    let window = Window::new(drain.at, end.max(last));
    let top = series.iter().map(|seen| height(seen, &LAYERS)).max().unwrap_or(0);
    if drain.last.is_none() && top == 0 {
        return;
    }
    chart::begin(out, window, "Connections while draining", &[]);
    out.raw("<li class=\"area\"><span class=\"label scale\"><span>").text(top);
    out.raw("</span><span>connections</span><span>0</span></span>");
    out.raw(
        "<svg class=\"area\" viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\" role=\"img\"",
    );
    let name = format!("Connections over time, at most {top}");
    out.attr("aria-label", name).raw(">");
    for layer in (0..LAYERS.len()).rev() {
        polygon(out, series, window, layer, top);
    }
    out.raw("</svg><dl class=\"note\">");
    for Layer { name, of, meaning } in LAYERS.iter().rev() {
        out.raw("<div><dt><i").attr("class", name).raw("></i>");
        out.text(name).raw("</dt><dd");
        match &drain.last {
            Some(seen) => {
                out.raw(" data-metric=\"drain_connections\"").attr("data-state", name);
                out.raw(">").text(of(seen));
            }
            None => {
                out.raw(">–");
            }
        }
        out.raw("</dd><dd class=\"dim small\">").raw(meaning).raw("</dd></div>");
    }
    out.raw("</dl></li></ul>\n");
    more(out, drain.series.len(), "samples");
}

fn height(seen: &DrainSample, layers: &[Layer]) -> u64 {
    layers.iter().map(|layer| u64::from((layer.of)(seen))).sum()
}

/// This layer and all below it, in steps, since nothing is known between two samples.
fn polygon(out: &mut Html, series: &[DrainSample], window: Window, layer: usize, top: u64) {
    let level = |seen: &DrainSample| {
        let sum = height(seen, &LAYERS[..=layer]);
        100.0 - sum as f64 * 100.0 / top.max(1) as f64
    };
    let Some(begin) = series.first() else { return };
    out.raw("<polygon").attr("class", LAYERS[layer].name).raw(" points=\"");
    out.text(format_args!("{:.2},100", window.place(begin.at).0));
    let mut before = None;
    for seen in series {
        let (x, y) = (window.place(seen.at).0, level(seen));
        if let Some(before) = before.replace(y).filter(|before| *before != y) {
            out.text(format_args!(" {x:.2},{before:.2}"));
        }
        out.text(format_args!(" {x:.2},{y:.2}"));
    }
    out.text(format_args!(" 100,{:.2} 100,100", before.unwrap_or(100.0))).raw("\"/>");
}
