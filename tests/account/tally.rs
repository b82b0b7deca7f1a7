//! What each rendering says happened, in one form, so that they can be compared.

use std::collections::{BTreeMap, BTreeSet};

use graceinit::account::line::Line;
use graceinit::account::value::Value;
use serde_json::Value as Json;

/// Numbers by name.
pub(super) type Counts = BTreeMap<String, u64>;

/// What can be counted.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Tally {
    /// By signal.
    pub stop_requests: Counts,
    /// By signal.
    pub forwarded: Counts,
    /// `hook outcome`
    pub hooks: Counts,
    /// How often all were killed.
    pub kills: u64,
    /// Phases that were entered.
    pub phases: BTreeSet<String>,
    /// The phase in which the app ended.
    pub ended_in: Option<String>,
    /// By kind.
    pub reaped: Counts,
}

fn add(counts: &mut Counts, name: impl Into<String>) {
    *counts.entry(name.into()).or_default() += 1;
}

impl Tally {
    /// What no log has to say: every life begins with this.
    pub(super) fn begun() -> Tally {
        Tally { phases: BTreeSet::from(["starting".to_owned()]), ..Tally::default() }
    }

    /// Adds a line of the log.
    pub(super) fn hear(&mut self, fact: &str, field: impl Fn(&str) -> String) {
        match fact {
            "entered" => {
                self.phases.insert(field("phase"));
            }
            "stop-requested" | "stop-again" => add(&mut self.stop_requests, field("signal")),
            "forwarded" => add(&mut self.forwarded, field("sent")),
            "stop-signal" => add(&mut self.forwarded, field("signal")),
            "hook-ended" => {
                add(&mut self.hooks, format!("{} {}", field("hook"), field("outcome")));
            }
            "deadline-reached" => self.kills += 1,
            "app-ended" => self.ended_in = self.ended_in.take().or(Some(field("in"))),
            "reaped" => add(&mut self.reaped, field("kind")),
            _ => {}
        }
    }

    /// Adds a line before it is written.
    pub(super) fn hear_line(&mut self, line: &Line, phase: &str) {
        self.hear(line.fact, |name| {
            let found = line.fields.iter().find(|(known, _)| *known == name);
            match found {
                Some((_, Value::Text(text))) => text.to_string(),
                Some((_, Value::Number(number))) => number.to_string(),
                Some((_, Value::Span(span))) => span.as_secs_f64().to_string(),
                Some((_, Value::Unknown)) => String::new(),
                None => phase.to_owned(),
            }
        });
    }

    /// What a log in JSON says.
    pub(super) fn of_log<'a>(lines: impl IntoIterator<Item = &'a Json>) -> Tally {
        let mut tally = Tally::begun();
        for line in lines {
            let text = |name: &str| match &line[name] {
                Json::String(text) => text.clone(),
                Json::Null => String::new(),
                other => other.to_string(),
            };
            tally.hear(&text("fact"), |name| match name {
                "in" => text("phase"),
                name => text(name),
            });
        }
        tally
    }

    /// What a report says.
    pub(super) fn of_report(report: &Json) -> Tally {
        let counts = |value: &Json| -> Counts {
            let pairs = value.as_object().into_iter().flatten();
            pairs.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0))).collect()
        };
        let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
        let mut hooks = Counts::new();
        for hook in list("hooks") {
            let name = hook["name"].as_str().unwrap_or("?").to_owned();
            for (outcome, count) in counts(&hook["outcomes"]) {
                hooks.insert(format!("{name} {outcome}"), count);
            }
        }
        Tally {
            stop_requests: counts(&report["counts"]["stop_requests"]),
            forwarded: counts(&report["counts"]["forwarded"]),
            hooks,
            kills: report["counts"]["kills"].as_u64().unwrap_or(0),
            phases: list("phases")
                .iter()
                .filter_map(|phase| Some(phase["phase"].as_str()?.to_owned()))
                .collect(),
            ended_in: report["app"]["ended"]["phase"].as_str().map(str::to_owned),
            reaped: counts(&report["counts"]["reaped"]),
        }
    }

    /// What a page says.
    pub(super) fn of_page(page: &str) -> Tally {
        let mut tally = Tally::default();
        for element in page.split(" data-metric=\"").skip(1) {
            let Some((tag, rest)) = element.split_once('>') else { continue };
            let number = rest.split('<').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            let by = |name: &str| {
                let value = tag.split_once(&format!("data-{name}=\"")).map_or("", |(_, rest)| rest);
                value.split('"').next().unwrap_or_default().to_owned()
            };
            match tag.split('"').next().unwrap_or_default() {
                "stop_requests" => {
                    tally.stop_requests.insert(by("signal"), number);
                }
                "forwarded" => {
                    tally.forwarded.insert(by("signal"), number);
                }
                "reaped" => {
                    tally.reaped.insert(by("kind"), number);
                }
                "hook_attempts" => {
                    let name = format!("{} {}", by("hook"), by("outcome"));
                    tally.hooks.insert(name, number);
                }
                "kills" => tally.kills = number,
                "ended_phase" => tally.ended_in = rest.split('<').next().map(str::to_owned),
                "phase_seconds" => {
                    tally.phases.insert(by("phase"));
                }
                _ => {}
            }
        }
        tally
    }

    /// What metrics in Prometheus' text format say.
    pub(super) fn of_metrics(text: &str) -> Tally {
        let mut tally = Tally::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let value = value.parse::<f64>().unwrap_or(-1.0) as u64;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let label = |name: &str| {
                let from = labels.find(&format!("{name}=\""))? + name.len() + 2;
                Some(labels[from..].split('"').next()?.to_owned())
            };
            let by = |name: &str| label(name).unwrap_or_default();
            // What is there from the beginning is no news.
            if value == 0 {
                continue;
            }
            match name {
                "graceinit_stop_requests_total" => {
                    let _ = tally.stop_requests.insert(by("signal"), value);
                }
                "graceinit_signals_forwarded_total" => {
                    let _ = tally.forwarded.insert(by("signal"), value);
                }
                "graceinit_processes_reaped_total" => {
                    let _ = tally.reaped.insert(by("kind"), value);
                }
                "graceinit_hook_attempts_total" => {
                    let name = format!("{} {}", by("hook"), by("outcome"));
                    let _ = tally.hooks.insert(name, value);
                }
                "graceinit_kills_total" => tally.kills = value,
                "graceinit_phase_duration_seconds_count" => {
                    let _ = tally.phases.insert(by("phase"));
                }
                "graceinit_phase" if by("phase") != "exit" => {
                    let _ = tally.phases.insert(by("phase"));
                }
                "graceinit_exit_total" => tally.ended_in = label("phase"),
                _ => {}
            }
        }
        tally
    }
}
