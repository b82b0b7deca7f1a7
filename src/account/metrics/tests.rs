#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::account::document::{App, Drain, DrainSample, Ended, Hook, Setting, Stretch};
use crate::account::incident::Incident;
use crate::account::time::Wall;
use crate::machine::fact::Fact;
use crate::machine::hooks::{HookId, HookPhase, Outcome};
use crate::types::{Pid, Status};

fn stretch(phase: &str, at: u64, took: Option<u64>) -> Stretch {
    Stretch { phase: phase.to_owned(), at: Span(at), took: took.map(Span) }
}

fn hook(phase: &str, name: &str, outcomes: &[(&str, u64)], took: &[u64]) -> Hook {
    let outcomes = outcomes.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let mut hook = Hook { phase: phase.into(), name: name.into(), outcomes, ..Hook::default() };
    took.iter().for_each(|micros| hook.took.add(Span(*micros)));
    hook
}

/// In the middle of a stop.
fn small() -> Account {
    let mut account = Account {
        phase: "drain".into(),
        program: "graceinit 0.1.0 (0123456789ab)".into(),
        began: Wall(1_800_000_000_000_001),
        app: App { started: Some(Span(2_500_000)), ..App::default() },
        phases: vec![
            stretch("starting", 0, Some(5_000)),
            stretch("running", 5_000, Some(1)),
            stretch("drain", 5_001, None),
        ],
        hooks: vec![
            hook("pre-stop", "leave", &[("done", 1), ("failed", 2)], &[5_000, 5_001, 301_000_000]),
            hook("post-stop", "bye", &[], &[]),
        ],
        drain: Some(Drain {
            last: Some(DrainSample {
                busy: 1,
                owed: 2,
                idle: 3,
                queued: 4,
                ..DrainSample::default()
            }),
            ..Drain::default()
        }),
        settings: vec![
            Setting { name: "stop-on".into(), value: "SIGTERM, 2".into(), ..Setting::default() },
            Setting { name: "stop-again".into(), value: "QUIT".into(), ..Setting::default() },
        ],
        ..Account::default()
    };
    account.counts.stop_requests = BTreeMap::from([("TERM".into(), 2)]);
    account.counts.forwarded = BTreeMap::from([("HUP".into(), 7), ("RTMIN+3".into(), 1)]);
    account.counts.reaped = BTreeMap::from([("orphan".into(), 9)]);
    account.counts.lines_dropped = 4;
    account.counts.oom_kills = 2;
    account
}

/// The samples, without the lines about families.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[track_caller]
fn same(found: &str, golden: &str) {
    for (found, golden) in found.lines().zip(golden.lines()) {
        assert_eq!(found, golden);
    }
    assert_eq!(found, golden);
}

#[test]
fn a_small_account_as_text() {
    same(&render(&small(), Form::Text), include_str!("golden.txt"));
}

#[test]
fn a_small_account_as_openmetrics() {
    same(&render(&small(), Form::OpenMetrics), include_str!("golden.om"));
}

#[test]
fn both_forms_show_the_same_series() {
    for account in [Account::default(), small()] {
        let (text, open) = (render(&account, Form::Text), render(&account, Form::OpenMetrics));
        assert_eq!(samples(&text), samples(&open));
    }
}

/// What is not known is not there, and what did not happen is 0.
#[test]
fn an_account_that_has_only_begun() {
    let text = render(&Account::default(), Form::Text);
    for absent in ["app_start", "drain_", "signals_", "stop_requests", "duration", "hook"] {
        assert!(!text.contains(&format!("graceinit_{absent}")), "{absent} in {text}");
    }
    for line in [
        "graceinit_ready 0",
        "graceinit_kills_total 0",
        "graceinit_processes_reaped_total{kind=\"helper\"} 0",
        "graceinit_exit_total{phase=\"killed\"} 0",
        "graceinit_build_info 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in {text}");
    }
}

#[test]
fn one_phase_is_the_present_one() {
    for phase in PhaseName::ALL.map(PhaseName::as_str) {
        let account = Account { phase: phase.into(), ..Account::default() };
        let text = render(&account, Form::Text);
        let present = text.lines().filter(|line| line.starts_with("graceinit_phase{"));
        let present: Vec<_> = present.filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(present, [format!("graceinit_phase{{phase=\"{phase}\"}} 1")]);
    }
}

#[test]
fn the_end_of_the_app_is_counted_where_it_came() {
    let ended = Ended { phase: "stopping".into(), ..Ended::default() };
    let app = App { ended: Some(ended), ..App::default() };
    let text = render(&Account { app, ..Account::default() }, Form::Text);
    let ends: Vec<_> = text.lines().filter(|line| line.starts_with("graceinit_exit")).collect();
    assert_eq!(ends.len(), PhaseName::ALL.len());
    let counted: Vec<_> = ends.into_iter().filter(|line| line.ends_with(" 1")).collect();
    assert_eq!(counted, ["graceinit_exit_total{phase=\"stopping\"} 1"]);
}

#[test]
fn labels_are_escaped() {
    let odd = "a\"b\\c\nd{e},f=ü";
    let account = Account { hooks: vec![hook(odd, odd, &[], &[])], ..Account::default() };
    let text = render(&account, Form::Text);
    let value = r#""a\"b\\c\nd{e},f=ü""#;
    let line =
        format!("graceinit_hook_attempts_total{{phase={value},hook={value},outcome=\"done\"}} 0");
    assert!(text.lines().any(|found| found == line), "no {line} in {text}");
}

#[test]
fn seconds_are_exact_and_canonical() {
    for (micros, text) in [
        (0, "0.0"),
        (1, "0.000001"),
        (5_000, "0.005"),
        (1_000_000, "1.0"),
        (10_100_000, "10.1"),
        (300_000_000, "300.0"),
        (1_800_000_000_123_456, "1800000000.123456"),
        (u64::MAX, "18446744073709.551615"),
    ] {
        assert_eq!(seconds(micros), text);
    }
}

/// The lines of a series, as numbers.
fn values(text: &str, start: &str) -> Vec<f64> {
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
}

#[test]
fn buckets_hold_all_that_is_not_longer() {
    use proptest::prelude::*;
    let times = proptest::collection::vec(0_u64..400_000_000, 1..40);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(times in times)| {
        let hooks = vec![hook("on-stop", "x", &[], &times)];
        let text = render(&Account { hooks, ..Account::default() }, Form::Text);
        let bounds = crate::account::document::BUCKETS.map(|bound| bound * 1000);
        let mut expected: Vec<f64> = bounds
            .iter()
            .map(|bound| times.iter().filter(|time| *time <= bound).count() as f64)
            .collect();
        expected.push(times.len() as f64);
        prop_assert_eq!(values(&text, "graceinit_hook_duration_seconds_bucket"), expected);
        let count = values(&text, "graceinit_hook_duration_seconds_count");
        prop_assert_eq!(count, vec![times.len() as f64]);
        // As text: no digit is lost.
        let total = seconds(times.iter().sum());
        let sum = format!(
            "graceinit_hook_duration_seconds_sum{{phase=\"on-stop\",hook=\"x\"}} {total}"
        );
        prop_assert!(text.lines().any(|line| line == sum), "no {} in {}", sum, text);
    });
}

#[test]
fn hooks_of_one_name_are_one_series() {
    let hooks = vec![
        hook("pre-stop", "same", &[("done", 1)], &[1_000]),
        hook("pre-stop", "same", &[("done", 2), ("failed", 1)], &[2_000_000, 3]),
        hook("post-stop", "same", &[], &[]),
    ];
    let text = render(&Account { hooks, ..Account::default() }, Form::Text);
    let mut series: Vec<_> =
        samples(&text).into_iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all);
    let done = "graceinit_hook_attempts_total{phase=\"pre-stop\",hook=\"same\",outcome=\"done\"}";
    assert_eq!(values(&text, done), [3.0]);
    assert_eq!(values(&text, "graceinit_hook_duration_seconds_count"), [3.0]);
    assert_eq!(values(&text, "graceinit_hook_duration_seconds_sum"), [2.001003]);
}

/// An account that was read from a file may be of another build.
#[test]
fn a_histogram_of_any_length_is_written() {
    let mut one = hook("on-stop", "x", &[], &[1]);
    for (buckets, count) in [(vec![], 0.0), (vec![2], 2.0), (vec![1; 30], 30.0)] {
        one.took.buckets = buckets;
        let text = render(&Account { hooks: vec![one.clone()], ..Account::default() }, Form::Text);
        let lines = values(&text, "graceinit_hook_duration_seconds_bucket");
        assert_eq!(lines.len(), crate::account::document::BUCKETS.len() + 1);
        assert_eq!(lines.last(), Some(&count));
        assert_eq!(values(&text, "graceinit_hook_duration_seconds_count"), [count]);
    }
}

/// Names that are written down here and there agree.
#[test]
fn every_outcome_and_every_kind_is_shown() {
    let mut account = Account::default();
    let ends = [
        Outcome::Done,
        Outcome::Failed,
        Outcome::TimedOut,
        Outcome::StopAgain,
        Outcome::NotStarted,
    ];
    for (n, outcome) in (1..).zip(ends) {
        let id = HookId { phase: HookPhase::OnStop, round: 0, index: 0, attempt: n };
        let limit = Duration::from_secs(1);
        account.take(Span(0), &Fact::HookStarted { id, limit });
        account.take(Span(7), &Fact::HookEnded { id, outcome, status: None });
    }
    for kin in [Kin::App, Kin::Hook, Kin::Orphan, Kin::Helper] {
        let status = Status::Code(0);
        account.take_incident(Span(8), &Incident::Reaped { kin, pid: Pid(9), status, warn: false });
    }
    let text = render(&account, Form::Text);
    assert_eq!(values(&text, "graceinit_hook_attempts_total"), [1.0; 5]);
    assert_eq!(values(&text, "graceinit_processes_reaped_total"), [1.0; 4]);
}

#[test]
fn the_program_s_text_is_taken_apart() {
    for (program, parts) in [
        ("graceinit 0.1.0 (abc)", ("0.1.0", "abc")),
        ("graceinit 0.1.0", ("0.1.0", "")),
        ("graceinit 1.0.0-rc.1 (v1 (dirty))", ("1.0.0-rc.1", "v1 (dirty)")),
        ("other", ("other", "")),
        ("", ("", "")),
    ] {
        assert_eq!(build(program), parts, "{program:?}");
    }
}
