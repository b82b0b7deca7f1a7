//! The lists: troubles, facts, counters, settings, and what was left out.

use std::collections::BTreeMap;

use super::super::document::{Account, Entry};
use super::super::time::Span;
use super::super::value::Value;
use super::html::{self, Html};
use super::{FEW, ROWS, first, more, table};

/// The section of warnings and errors, if there are any.
pub(super) fn troubles(out: &mut Html, account: &Account) {
    if account.troubles.is_empty() {
        return;
    }
    out.raw("<section id=\"troubles\"><h2>Warnings and errors</h2>\n");
    entries(out, account, &account.troubles, "The last warnings and errors");
    out.raw("</section>\n");
}

/// The section of the facts.
pub(super) fn facts(out: &mut Html, account: &Account) {
    if account.timeline.is_empty() {
        return;
    }
    out.raw("<section id=\"facts\"><h2>What happened</h2>\n");
    entries(out, account, &account.timeline, "Every fact at log level info and above");
    out.raw("</section>\n");
}

fn entries(out: &mut Html, account: &Account, all: &[Entry], caption: &'static str) {
    let stop = account.stop.as_ref().map(|stop| stop.at);
    let columns: &[_] = match stop {
        Some(_) => &["at", "of the stop", "level", "what"],
        None => &["at", "level", "what"],
    };
    table(out, "facts", caption, columns);
    out.raw("<tbody>\n");
    for entry in first(all) {
        let level = match entry.level.as_str() {
            "error" => "error",
            "warn" => "warn",
            _ => "info",
        };
        out.raw("<tr").attr("class", level).attr("data-fact", &entry.fact).raw(">");
        out.raw("<td class=\"n dim\">+").text(html::clock(entry.at)).raw("</td>");
        if let Some(stop) = stop {
            out.raw("<td class=\"n\">");
            if entry.at >= stop {
                out.raw("+").text(html::clock(entry.at.since(stop)));
            }
            out.raw("</td>");
        }
        out.raw("<td class=\"level\">").text(&entry.level).raw("</td><td>").text(&entry.msg);
        for (name, value) in entry.fields.iter().take(FEW) {
            out.raw(" <span class=\"field\">").text(name).raw("=<b>");
            match value {
                Value::Text(text) => out.text(text),
                Value::Number(number) => out.text(number),
                Value::Span(span) => out.text(html::round(Span::from(*span))),
                Value::Unknown => out.text("-"),
            };
            out.raw("</b></span>");
        }
        out.raw("</td></tr>\n");
    }
    out.raw("</tbody></table></div>\n");
    more(out, all.len(), "facts");
}

/// The section of the counters.
pub(super) fn counts(out: &mut Html, account: &Account) {
    let counts = &account.counts;
    out.raw("<section id=\"counts\"><h2>Counts</h2>\n<div class=\"wide\"><table class=\"counts\">");
    out.raw("<caption>The same counters as in the metrics</caption><tbody>\n");
    let maps = [
        ("stop requests", "stop_requests", "data-signal", &counts.stop_requests),
        ("signals forwarded to the app", "forwarded", "data-signal", &counts.forwarded),
        ("processes reaped", "reaped", "data-kind", &counts.reaped),
    ];
    for (name, metric, label, map) in maps {
        by_name(out, name, metric, label, map);
    }
    let singles = [
        ("kills at the end of the budget", "kills", counts.kills),
        ("processes killed by the kernel: out of memory", "oom_kills", counts.oom_kills),
        ("log lines dropped", "lines_dropped", counts.lines_dropped),
    ];
    for (name, metric, count) in singles {
        out.raw("<tr><th scope=\"row\">").text(name).raw("</th><td><b").attr("data-metric", metric);
        out.raw(">").text(count).raw("</b></td></tr>\n");
    }
    out.raw("</tbody></table></div></section>\n");
}

fn by_name(
    out: &mut Html,
    name: &str,
    metric: &str,
    label: &'static str,
    counts: &BTreeMap<String, u64>,
) {
    out.raw("<tr><th scope=\"row\">").text(name).raw("</th><td>");
    if counts.is_empty() {
        out.raw("<span class=\"dim\">none</span>");
    }
    for (name, count) in counts.iter().take(ROWS) {
        out.raw("<span class=\"count\">").text(name).raw(" <b").attr("data-metric", metric);
        out.attr(label, name).raw(">").text(count).raw("</b></span> ");
    }
    out.raw("</td></tr>\n");
}

/// The section of the settings in force.
pub(super) fn settings(out: &mut Html, account: &Account) {
    if account.settings.is_empty() {
        return;
    }
    out.raw("<section id=\"settings\"><h2>Configuration</h2>\n");
    let columns = ["setting", "value", "source"];
    table(out, "settings", "The settings in force and their sources", &columns);
    out.raw("<tbody>\n");
    for setting in first(&account.settings) {
        out.raw("<tr><th scope=\"row\">").text(&setting.name).raw("</th><td><code>");
        out.text(&setting.value).raw("</code></td><td class=\"dim\">").text(&setting.source);
        out.raw("</td></tr>\n");
    }
    out.raw("</tbody></table></div>\n");
    more(out, account.settings.len(), "settings");
    out.raw("</section>\n");
}

/// The section of what was left out.
pub(super) fn cut(out: &mut Html, account: &Account) {
    if account.cut.is_empty() {
        return;
    }
    out.raw("<section id=\"cut\"><h2>Left out</h2>\n<p>To limit its size this account leaves out");
    for (index, (what, count)) in account.cut.iter().take(ROWS).enumerate() {
        out.raw(if index > 0 { ", " } else { " " }).raw("<b").attr("data-cut", what).raw(">");
        out.text(count).raw("</b> ").text(what);
    }
    out.raw(".</p></section>\n");
}
