//! The table: a row per case, server and init.

use super::cases::Case;
use super::update::Report;
use crate::support::Program;

pub(crate) fn name(init: Program) -> &'static str {
    match init {
        Program::Graceinit => "graceinit",
        Program::Tini => "tini",
        Program::DumbInit => "dumb-init",
        Program::Catatonit => "catatonit",
        Program::AsTini => "graceinit as tini",
        Program::AsDumbInit => "graceinit as dumb-init",
        Program::AsCatatonit => "graceinit as catatonit",
    }
}

pub(crate) fn head() -> String {
    line([
        "case",
        "server",
        "init",
        "req/s",
        "stops",
        "requests",
        "drops",
        "stop mean",
        "max",
        "codes",
        "kills",
        "p50",
        "p99",
        "wait99",
        "late",
        "drops by class",
    ])
}

pub(crate) fn row(case: &Case, init: Program, rate: u32, report: &Report) -> String {
    let tally = &report.tally;
    let over = init == Program::Graceinit && report.mean_stop() > case.bar;
    line([
        case.name,
        report.server.name(),
        name(init),
        &rate.to_string(),
        &report.stops.len().to_string(),
        &tally.sent.to_string(),
        &tally.drops().to_string(),
        &format!("{:.3}{}", report.mean_stop(), if over { "!" } else { "" }),
        &format!("{:.3}", report.longest_stop()),
        &report.codes(),
        &report.kills().to_string(),
        &format!("{:.1}", tally.latency(50)),
        &format!("{:.1}", tally.latency(99)),
        &format!("{:.1}", tally.beyond(99)),
        &format!("{:.1}", tally.latest.as_secs_f64() * 1000.0),
        &tally.drops_by_class(),
    ])
}

/// What the columns are.
pub(crate) const LEGEND: &str = "\
stop: seconds from the stop signal to the end of the init (!: over what the case promises). p50, p99: milliseconds from the moment a request was
meant to be sent to the end of its answer; wait99: the same less what the handler was asked to take.
late: the longest that the generator itself was behind, in milliseconds.
drops: refused (no connection), empty (no byte of an answer), cut (an answer that broke off), 502/503/504 (the
balancer's word for the same), wrong (another body), timeout (no answer in 30 s).";

fn line(cells: [&str; 16]) -> String {
    const WIDTHS: [usize; 15] = [12, 11, 10, 6, 6, 9, 7, 10, 7, 14, 6, 8, 8, 8, 7];
    let mut text = String::new();
    for (number, cell) in cells.iter().enumerate() {
        match WIDTHS.get(number) {
            // Words to the left, numbers to the right.
            Some(width) if number < 3 => text.push_str(&format!("{cell:<width$}")),
            Some(width) => text.push_str(&format!("{cell:>width$}")),
            None => text.push_str(&format!("  {cell}")),
        }
    }
    text.trim_end().to_owned()
}
