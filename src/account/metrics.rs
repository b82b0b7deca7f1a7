//! The account as metrics. docs/metrics.md lists them for users.
//!
//! Both forms have the same series, with the same names, labels and `le`, so that a scraper may change the form.

use super::document::{Account, Histogram};
use super::incident::Kin;
use super::time::Span;
use crate::machine::phase::PhaseName;
use crate::types::Signal;

#[cfg(test)]
mod tests;
mod write;

use write::{Kind, Writer, seconds};

/// The format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Prometheus' text format, 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Form {
    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Text => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The outcomes of an attempt in the account.
const OUTCOMES: [&str; 5] = ["done", "failed", "timed-out", "stop-again", "not-started"];

/// All metrics.
pub fn render(account: &Account, form: Form) -> String {
    let mut out = Writer::new(form);
    state(account, &mut out);
    counts(account, &mut out);
    times(account, &mut out);
    hooks(account, &mut out);
    out.end()
}

fn state(account: &Account, out: &mut Writer) {
    out.family("build_info", Kind::Gauge, "The program; always 1.", |family| {
        let (version, commit) = build(&account.program);
        family.sample(&[("version", version), ("commit", commit)], 1);
    });
    out.family("phase", Kind::Gauge, "Whether this is the present phase.", |family| {
        for phase in PhaseName::ALL.map(PhaseName::as_str) {
            family.sample(&[("phase", phase)], u8::from(account.phase == phase));
        }
    });
    out.family("ready", Kind::Gauge, "Whether the app can be sent work.", |family| {
        family.sample(&[], u8::from(account.ready));
    });
    let help = "What the app is not ready for, and what the last look at it said; always 1.";
    out.family("waiting", Kind::Gauge, help, |family| {
        for wait in &account.waiting {
            family.sample(&[("condition", &*wait.condition), ("answer", &*wait.answer)], 1);
        }
    });
    let help = "Whether the last answer to a check of --health or --live was yes.";
    out.family("health", Kind::Gauge, help, |family| {
        for health in &account.health {
            let Some(ok) = health.ok else { continue };
            let labels = [
                ("option", &*health.option),
                ("check", &*health.check),
                ("answer", &*health.answer),
            ];
            family.sample(&labels, u8::from(ok));
        }
    });
    let help = "When the app was started, since the Unix epoch.";
    out.family("app_start_time_seconds", Kind::Gauge, help, |family| {
        if let Some(started) = account.app.started {
            family.sample(&[], seconds(account.began.0.saturating_add(started.0)));
        }
    });
    let help = "Connections on the drained ports, in the last sample of the drain.";
    out.family("drain_connections", Kind::Gauge, help, |family| {
        let last = account.drain.as_ref().and_then(|drain| drain.last.as_ref());
        if let Some(seen) = last {
            let states = [
                ("busy", seen.busy),
                ("owed", seen.owed),
                ("idle", seen.idle),
                ("queued", seen.queued),
            ];
            for (state, count) in states {
                family.sample(&[("state", state)], count);
            }
        }
    });
}

fn counts(account: &Account, out: &mut Writer) {
    let counts = &account.counts;
    let help = "Stop requests, the first and all further ones.";
    out.family("stop_requests", Kind::Counter, help, |family| {
        // A request that has not come yet is 0, so that increase() sees the first one.
        let mut requests = counts.stop_requests.clone();
        for signal in stop_signals(account) {
            requests.entry(signal.to_string()).or_default();
        }
        for (signal, count) in &requests {
            family.sample(&[("signal", signal)], count);
        }
    });
    let help = "Signals that were forwarded to the app, stop signals included, by the signal that was sent.";
    out.family("signals_forwarded", Kind::Counter, help, |family| {
        for (signal, count) in &counts.forwarded {
            family.sample(&[("signal", signal)], count);
        }
    });
    let help = "Reaped processes by role.";
    out.family("processes_reaped", Kind::Counter, help, |family| {
        for kin in [Kin::App, Kin::Hook, Kin::Orphan, Kin::Helper].map(Kin::as_str) {
            family.sample(&[("kind", kin)], counts.reaped.get(kin).unwrap_or(&0));
        }
    });
    let help = "How often SIGKILL was sent to everything because the budget was over.";
    out.family("kills", Kind::Counter, help, |family| family.sample(&[], counts.kills));
    let help = "Processes that the kernel has killed for want of memory, as far as graceinit has seen them die.";
    out.family("oom_kills", Kind::Counter, help, |family| family.sample(&[], counts.oom_kills));
    out.family("exit", Kind::Counter, "Ends of the app, by phase.", |family| {
        let ended = account.app.ended.as_ref().map(|ended| ended.phase.as_str());
        for phase in PhaseName::ALL.map(PhaseName::as_str) {
            family.sample(&[("phase", phase)], u8::from(ended == Some(phase)));
        }
    });
    let help = "Lines of the log that were dropped.";
    out.family("log_lines_dropped", Kind::Counter, help, |family| {
        family.sample(&[], counts.lines_dropped);
    });
}

fn times(account: &Account, out: &mut Writer) {
    let help = "Durations of the phases that have ended.";
    out.family("phase_duration_seconds", Kind::Histogram, help, |family| {
        let over = |phase: &str| -> Vec<Span> {
            let stretches = account.phases.iter().filter(|stretch| stretch.phase == phase);
            stretches.filter_map(|stretch| stretch.took).collect()
        };
        for phase in PhaseName::ALL.map(PhaseName::as_str) {
            let mut took = Histogram::default();
            over(phase).into_iter().for_each(|span| took.add(span));
            if !took.is_empty() {
                family.histogram(&[("phase", phase)], &took);
            }
        }
    });
}

fn hooks(account: &Account, out: &mut Writer) {
    // Two hooks may have the same name, but no series may be there twice.
    let mut hooks: Vec<super::document::Hook> = Vec::new();
    for hook in &account.hooks {
        let alike = |known: &&mut super::document::Hook| {
            known.phase == hook.phase && known.name == hook.name
        };
        match hooks.iter_mut().find(alike) {
            None => hooks.push(hook.clone()),
            Some(known) => {
                for (outcome, count) in &hook.outcomes {
                    *known.outcomes.entry(outcome.clone()).or_default() += count;
                }
                known.took = write::together(&known.took, &hook.took);
            }
        }
    }
    let help = "Attempts of hooks, by how they ended.";
    out.family("hook_attempts", Kind::Counter, help, |family| {
        for hook in &hooks {
            for outcome in OUTCOMES {
                let count = hook.outcomes.get(outcome).unwrap_or(&0);
                let labels = [("phase", &*hook.phase), ("hook", &*hook.name), ("outcome", outcome)];
                family.sample(&labels, count);
            }
        }
    });
    let help = "Durations of attempts of hooks.";
    out.family("hook_duration_seconds", Kind::Histogram, help, |family| {
        for hook in hooks.iter().filter(|hook| !hook.took.is_empty()) {
            family.histogram(&[("phase", &hook.phase), ("hook", &hook.name)], &hook.took);
        }
    });
}

/// Version and commit of `graceinit 0.1.0 (3f1c…)`; the commit may be missing.
fn build(program: &str) -> (&str, &str) {
    let version = program.strip_prefix("graceinit ").unwrap_or(program);
    let Some((version, rest)) = version.split_once(" (") else { return (version, "") };
    (version, rest.strip_suffix(')').unwrap_or(rest))
}

/// The signals that request a stop, according to the settings.
fn stop_signals(account: &Account) -> impl Iterator<Item = Signal> {
    let setting = account.settings.iter().filter(|setting| setting.name == "stop-on");
    setting
        .flat_map(|setting| setting.value.split(','))
        .filter_map(|name| Signal::parse(name.trim()))
}
