//! The hooks, attempt by attempt, and their output.

use super::super::document::{Account, Attempt, Hook};
use super::html::{self, Html};
use super::{FEW, few, first, more, offset, table};

/// The section, if there are hooks.
pub(super) fn section(out: &mut Html, account: &Account) {
    if account.hooks.is_empty() {
        return;
    }
    out.raw("<section id=\"hooks\"><h2>Hooks</h2>\n");
    let columns = ["phase", "hook", "attempt", "began", "took", "limit", "outcome", "status"];
    table(out, "hooks", "Each hook with its last attempts", &columns);
    for (index, hook) in first(&account.hooks).iter().enumerate() {
        body(out, account, index, hook);
    }
    out.raw("</table></div>\n");
    more(out, account.hooks.len(), "hooks");
    out.raw("</section>\n");
}

fn body(out: &mut Html, account: &Account, index: usize, hook: &Hook) {
    out.raw("<tbody class=\"hook\">");
    let attempts = few(&hook.attempts);
    if attempts.is_empty() {
        out.raw("<tr>");
        heading(out, hook, 1);
        let why = match (hook.skipped, account.exit.is_some()) {
            (true, _) => "skipped: no time was left for it",
            (false, true) => "has not run",
            (false, false) => "has not run yet",
        };
        out.raw("<td colspan=\"6\" class=\"dim\">").text(why).raw("</td></tr>\n");
    }
    for (place, attempt) in attempts.iter().enumerate() {
        out.raw("<tr>");
        if place == 0 {
            heading(out, hook, attempts.len());
        }
        out.raw("<td class=\"n\">").text(attempt.n);
        if attempt.round > 1 {
            out.raw(" <span class=\"dim\">of round ").text(attempt.round).raw("</span>");
        }
        out.raw("</td><td class=\"n\">");
        offset(out, account, attempt.at);
        out.raw("</td><td class=\"n\"");
        match attempt.took {
            Some(took) => out.attr("data-seconds", took.seconds()).raw(">").text(html::span(took)),
            None => out.raw(">"),
        };
        out.raw("</td><td class=\"n dim\">").text(html::round(attempt.limit)).raw("</td><td>");
        outcome(out, attempt.outcome.as_deref());
        out.raw("</td><td>").text(attempt.status.as_deref().unwrap_or("")).raw("</td></tr>\n");
    }
    output(out, account, index, hook);
    out.raw("</tbody>\n");
}

/// The cells that belong to all attempts, with the numbers that the metrics have.
fn heading(out: &mut Html, hook: &Hook, rows: usize) {
    out.raw("<th scope=\"rowgroup\"").attr("rowspan", rows).raw(">").text(&hook.phase);
    out.raw("</th><td class=\"name\"").attr("rowspan", rows).raw("><b>").text(&hook.name);
    out.raw("</b>");
    if !hook.outcomes.is_empty() {
        out.raw("<span class=\"sums\">");
    }
    for (index, (outcome, count)) in hook.outcomes.iter().take(FEW).enumerate() {
        out.raw(if index > 0 { ", " } else { "" });
        out.raw("<span data-metric=\"hook_attempts\"").attr("data-phase", &hook.phase);
        out.attr("data-hook", &hook.name).attr("data-outcome", outcome).raw(">").text(count);
        out.raw("</span> ").text(outcome);
    }
    if !hook.took.is_empty() {
        out.raw(" in <span data-metric=\"hook_seconds\"").attr("data-phase", &hook.phase);
        out.attr("data-hook", &hook.name).attr("data-count", hook.took.count);
        out.attr("data-seconds", hook.took.sum.seconds()).raw(">");
        out.text(html::span(hook.took.sum)).raw("</span>");
    }
    if !hook.outcomes.is_empty() {
        out.raw("</span>");
    }
    out.raw("</td>");
}

fn output(out: &mut Html, account: &Account, index: usize, hook: &Hook) {
    if hook.output.is_empty() {
        return;
    }
    out.raw("<tr class=\"output\"><td></td><td colspan=\"7\"><details");
    out.attr("id", format_args!("output-{index}"));
    // Open where something failed.
    if hook.outcomes.keys().any(|outcome| outcome != "done") {
        out.raw(" open");
    }
    let lines = few(&hook.output);
    out.raw("><summary>").raw(if lines.len() == 1 { "the last line" } else { "the last lines" });
    out.raw(" of its output</summary><pre tabindex=\"0\">");
    for said in lines {
        let err = said.stream == "stderr";
        out.raw(if err { "<span class=\"err\">" } else { "<span>" });
        out.raw("<span class=\"dim\">");
        offset(out, account, said.at);
        out.raw(" ").text(&said.stream).raw("</span> ").text(&said.text).raw("</span>\n");
    }
    out.raw("</pre></details></td></tr>\n");
}

/// An outcome as a word in its colour.
pub(super) fn outcome(out: &mut Html, outcome: Option<&str>) {
    out.raw("<span class=\"").raw(match outcome {
        Some("done") => "good",
        Some("timed-out" | "stop-again") => "late",
        Some(_) => "bad",
        None => "runs",
    });
    out.raw("\">").text(outcome.unwrap_or("runs")).raw("</span>");
}

/// `attempt 2: failed with code 1 after 512 ms`
pub(super) fn attempt_text(attempt: &Attempt) -> String {
    let outcome = attempt.outcome.as_deref().unwrap_or("runs");
    let status = attempt.status.as_ref().map_or(String::new(), |status| format!(" with {status}"));
    let took = attempt.took.map_or(String::new(), |took| format!(" after {}", html::span(took)));
    format!("attempt {}: {outcome}{status}{took}", attempt.n)
}
