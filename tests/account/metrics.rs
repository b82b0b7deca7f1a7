//! The metrics of an account are read by those who define the formats, and are what docs/metrics.md says
//! they are.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use graceinit::account::document::{Account, Health, Hook, Setting, VERSION, Wait};
use graceinit::account::incident::{Incident, Kin};
use graceinit::account::metrics::{self, Form};
use graceinit::account::time::{Span, Wall};
use graceinit::machine::connections::Sample;
use graceinit::machine::fact::{DrainEnd, Fact, Reason};
use graceinit::machine::hooks::{HookId, HookPhase, Outcome as End};
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Ending, Scope};
use graceinit::types::{Pid, Signal, Status};

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, need};
use crate::{ensure, ensure_eq};

/// What users may rely on: the name as in OpenMetrics, its type and unit.
const FAMILIES: [(&str, &str, &str); 17] = [
    ("build_info", "gauge", "-"),
    ("phase", "gauge", "-"),
    ("ready", "gauge", "-"),
    ("waiting", "gauge", "-"),
    ("health", "gauge", "-"),
    ("app_start_time_seconds", "gauge", "seconds"),
    ("drain_connections", "gauge", "-"),
    ("stop_requests", "counter", "-"),
    ("signals_forwarded", "counter", "-"),
    ("processes_reaped", "counter", "-"),
    ("kills", "counter", "-"),
    ("oom_kills", "counter", "-"),
    ("exit", "counter", "-"),
    ("log_lines_dropped", "counter", "-"),
    ("phase_duration_seconds", "histogram", "seconds"),
    ("hook_attempts", "counter", "-"),
    ("hook_duration_seconds", "histogram", "seconds"),
];

const PROMTOOL: &str = "/usr/bin/promtool";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/run` installs the reference parsers.
fn python() -> PathBuf {
    root().join("target/python/bin/python3")
}

fn parsers() -> bool {
    let import = Command::new(python()).args(["-c", "import prometheus_client"]).output();
    let there = import.is_ok_and(|output| output.status.success());
    need::met(there, "prometheus-client of PyPI in target/python")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The families of an account, as the reference parsers understand both forms of it.
fn families(text_form: &str, open: &str) -> Outcome<Vec<String>> {
    let place = Place::new();
    let mut read = Command::new(python());
    read.arg(root().join("tests/account/metrics.py"));
    read.arg(place.file("metrics.txt", text_form, 0o644));
    let output = read.arg(place.file("metrics.om", open, 0o644)).output()?;
    ensure!(output.status.success(), "{}\n{text_form}", text(&output.stderr));
    Ok(text(&output.stdout).lines().map(str::to_owned).collect())
}

/// What promtool says of it.
fn promtool(args: &[&str], stdin: &str) -> Outcome<Output> {
    let mut tool = Command::new(PROMTOOL);
    tool.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn()?;
    // It reads to the end before it writes.
    if let Some(mut input) = tool.stdin.take() {
        input.write_all(stdin.as_bytes())?;
    }
    Ok(tool.wait_with_output()?)
}

/// No error and no advice either.
fn is_flawless(metrics: &str) -> Outcome {
    let output = promtool(&["check", "metrics"], metrics)?;
    let said = text(&output.stdout) + &text(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "promtool: {said}\n{metrics}");
    Ok(())
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// One life in which everything happens, and some of it more often than any app can do it.
fn rich() -> Account {
    let mut account = Account {
        v: VERSION,
        program: "graceinit 1.2.3 (0123456789ab)".into(),
        began: Wall(1_800_000_000_123_456),
        settings: vec![Setting {
            name: "stop-on".into(),
            value: "TERM,INT".into(),
            ..Setting::default()
        }],
        health: vec![Health {
            option: "health".into(),
            check: "tcp:1".into(),
            ok: Some(false),
            answer: "Connection refused".into(),
            ..Health::default()
        }],
        waiting: vec![Wait { condition: "tcp:1".into(), answer: "a \"b\"".into() }],
        ..Account::default()
    };
    let mut at = 0;
    let mut now = || {
        at += 1_234_567;
        Span(at)
    };
    let signals: Vec<Signal> = (1..=64).filter_map(Signal::new).collect();
    for phase in PhaseName::ALL {
        account.take(now(), &Fact::Entered(phase));
        match phase {
            PhaseName::Starting => {
                account
                    .take_incident(now(), &Incident::Started { pid: Pid(7), name: "app".into() });
            }
            PhaseName::Ready => account.take(now(), &Fact::Ready { after: seconds(1) }),
            PhaseName::PreStop => {
                for _ in 0..3 {
                    for &signal in &signals {
                        let grace = Some(seconds(15));
                        let request = Fact::StopRequested { signal, sender: Some(3), grace };
                        account.take(now(), &request);
                        let scope = Scope::Group;
                        account.take(now(), &Fact::Forwarded { signal, sent: signal, scope });
                    }
                }
            }
            PhaseName::Drain => {
                account.take(now(), &Fact::DrainBegun { delay: seconds(2) });
                let look = Sample { busy: 1, owed: 2, idle: 3, queued: 4, ..Sample::default() };
                account.take(now(), &Fact::Sampled { sample: look });
                let (why, after, last) = (DrainEnd::Quiet, seconds(1), Some(look));
                account.take(now(), &Fact::DrainEnded { why, after, last, missing: 0 });
            }
            PhaseName::Stopping => {
                let ending = Ending::Was(Status::Code(0));
                account.take(now(), &Fact::AppEnded { ending });
            }
            PhaseName::Killed => account.take(now(), &Fact::DeadlineReached { early: false }),
            PhaseName::Exit => {
                account.take(now(), &Fact::Exit { code: 0, reason: Reason::Signal });
            }
            PhaseName::Running | PhaseName::OnStop | PhaseName::Leftovers | PhaseName::PostStop => {
            }
        }
    }
    for kin in [Kin::App, Kin::Hook, Kin::Orphan, Kin::Helper] {
        let status = Status::Code(0);
        account.take_incident(now(), &Incident::Reaped { kin, pid: Pid(9), status, warn: false });
    }
    account.counts.lines_dropped = 4;
    for phase in HookPhase::ALL {
        for (round, outcome) in
            (0..).zip([End::Done, End::Failed, End::TimedOut, End::StopAgain, End::NotStarted])
        {
            let id = HookId { round, ..HookId::first(phase, 0) };
            account.take(now(), &Fact::HookStarted { id, limit: seconds(5) });
            account.take(now(), &Fact::HookEnded { id, outcome, status: None });
        }
    }
    // No configuration lets such a name pass; if ever one does, it is still read.
    let odd = "a \"b\" \\c\\ \n{d=\"e\"} ü\t# EOF".to_owned();
    account.hooks.push(Hook { phase: "pre-stop".into(), name: odd, ..Hook::default() });
    account
}

fn documentation() -> Outcome<String> {
    Ok(fs::read_to_string(root().join("docs/metrics.md"))?)
}

/// The blocks of that kind in docs/metrics.md.
pub(super) fn blocks(kind: &str) -> Outcome<Vec<String>> {
    let text = documentation()?;
    let begin = format!("```{kind}\n");
    let rest = text.split(&begin).skip(1);
    let found: Vec<String> =
        rest.filter_map(|rest| Some(rest.split("```").next()?.to_owned())).collect();
    ensure!(!found.is_empty(), "docs/metrics.md has no block of {kind}");
    Ok(found)
}

#[test]
fn the_reference_parsers_read_both_forms() -> Outcome {
    if !parsers() {
        return Ok(());
    }
    let account = rich();
    let forms = [Form::Text, Form::OpenMetrics].map(|form| metrics::render(&account, form));
    let found = families(&forms[0], &forms[1])?;
    let mut sizes = BTreeMap::new();
    for (line, (name, kind, unit)) in found.iter().zip(FAMILIES) {
        let (about, size) = line.rsplit_once(' ').unwrap_or_default();
        ensure_eq!(about, format!("graceinit_{name} {kind} {unit}"), "a family");
        sizes.insert(name, size.parse::<usize>().unwrap_or_default());
    }
    ensure_eq!(found.len(), FAMILIES.len(), "families");
    // As many as docs/metrics.md promises, whatever the app does.
    for (name, most) in [
        ("phase", 11),
        ("drain_connections", 4),
        ("stop_requests", 64),
        ("signals_forwarded", 64),
        ("processes_reaped", 4),
        ("exit", 11),
        ("phase_duration_seconds", 11 * 18),
        ("hook_attempts", 4 * 7),
        ("hook_duration_seconds", 18 * 6),
    ] {
        ensure_eq!(sizes.get(name), Some(&most), "series of {name}");
    }
    // One that has only begun, too.
    let account = Account::default();
    let forms = [Form::Text, Form::OpenMetrics].map(|form| metrics::render(&account, form));
    let found = families(&forms[0], &forms[1])?;
    ensure!(found.contains(&"graceinit_phase gauge - 11".to_owned()), "{found:?}");
    Ok(())
}

/// What the tests here would not let pass.
#[test]
fn the_reference_parsers_are_strict() -> Outcome {
    if !parsers() || !need::program(PROMTOOL) {
        return Ok(());
    }
    let account = rich();
    let (text, open) =
        (metrics::render(&account, Form::Text), metrics::render(&account, Form::OpenMetrics));
    let cut = open.replace("# EOF\n", "");
    let sum = "graceinit_phase_duration_seconds_sum{phase=\"drain\"} ";
    ensure!(open.contains(sum), "no {sum}");
    let other = open.replace(sum, &format!("{sum}1"));
    let unit = open.replace("# UNIT graceinit_hook_duration_seconds seconds", "# UNIT x seconds");
    for wrong in [cut, other, unit] {
        ensure!(families(&text, &wrong).is_err(), "accepted: {wrong}");
    }
    let helpless = text.replace("# HELP graceinit_ready", "# ");
    ensure!(is_flawless(&helpless).is_err(), "accepted: {helpless}");
    Ok(())
}

#[test]
fn promtool_has_nothing_to_say() -> Outcome {
    if !need::program(PROMTOOL) {
        return Ok(());
    }
    is_flawless(&metrics::render(&rich(), Form::Text))?;
    is_flawless(&metrics::render(&Account::default(), Form::Text))
}

/// What the textfile collector finds after a life.
#[test]
fn the_file_of_a_life_is_flawless() -> Outcome {
    if !parsers() || !need::program(PROMTOOL) {
        return Ok(());
    }
    let place = Place::new();
    let mut run = Launch::graceinit(Room::Plain)
        .flag("--metrics-file", place.path("graceinit.prom"))
        .flags("--pre-start true --post-stop false")
        .app("block ready echo=TERM:5")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(5)?;
    let file = place.expect("graceinit.prom")?;
    is_flawless(&file)?;
    // Its counters are called as those of OpenMetrics, so its series are the same.
    for line in [
        "graceinit_phase{phase=\"exit\"} 1",
        "graceinit_phase_duration_seconds_count{phase=\"starting\"} 1",
        "graceinit_stop_requests_total{signal=\"TERM\"} 1",
        "graceinit_stop_requests_total{signal=\"INT\"} 0",
        "graceinit_exit_total{phase=\"stopping\"} 1",
        "graceinit_hook_attempts_total{phase=\"pre-start\",hook=\"pre-start-1\",outcome=\"done\"} 1",
        "graceinit_hook_attempts_total{phase=\"post-stop\",hook=\"post-stop-1\",outcome=\"failed\"} 1",
        "graceinit_hook_duration_seconds_count{phase=\"post-stop\",hook=\"post-stop-1\"} 1",
        "graceinit_processes_reaped_total{kind=\"app\"} 1",
        "graceinit_processes_reaped_total{kind=\"hook\"} 2",
        "graceinit_kills_total 0",
    ] {
        ensure!(file.lines().any(|found| found == line), "no {line} in {file}");
    }
    Ok(())
}

/// Each name, with its type, unit and labels, as the program has them.
#[test]
fn the_documentation_lists_what_there_is() -> Outcome {
    let doc = documentation()?;
    let rows = doc.lines().filter_map(|line| line.strip_prefix("| `graceinit_"));
    let documented: Vec<(String, String, String)> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let mut next = || cells.next().unwrap_or_default().to_owned();
            let (name, kind, labels) = (next(), next(), next());
            (name.trim_end_matches('`').to_owned(), kind, labels.replace(['`', ' '], ""))
        })
        .collect();
    let metrics = metrics::render(&rich(), Form::Text);
    let mut exposed = Vec::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE graceinit_")) {
        let (name, kind) = line.split_once(' ').unwrap_or_default();
        let start = format!("graceinit_{name}");
        let sample = metrics.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
        let labels = sample.split_once('{').map_or("", |(_, labels)| labels);
        let names = labels.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
        let names: Vec<&str> = names.map(|name| name.trim_start_matches(',')).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| *name != "le").collect();
        let labels = if names.is_empty() { "–".to_owned() } else { names.join(",") };
        exposed.push((name.to_owned(), kind.to_owned(), labels));
    }
    exposed.sort();
    let mut sorted = documented;
    sorted.sort();
    ensure_eq!(sorted, exposed, "docs/metrics.md and the program");
    Ok(())
}

/// The rules of docs/metrics.md are rules, and fire when they should.
#[test]
fn the_documented_alerts_fire() -> Outcome {
    if !need::program(PROMTOOL) {
        return Ok(());
    }
    let blocks = blocks("yaml")?;
    let rules: Vec<&String> = blocks.iter().filter(|block| block.starts_with("groups:")).collect();
    ensure_eq!(rules.len(), 1, "blocks of rules");
    let place = Place::new();
    place.file("rules.yaml", rules[0], 0o644);
    let file = place.text("rules.yaml");
    let checked = promtool(&["check", "rules", "--lint=all", "--lint-fatal", &file], "")?;
    let said = text(&checked.stdout) + &text(&checked.stderr);
    ensure!(checked.status.success(), "{said}");
    ensure!(said.contains("2 rules found"), "{said}");
    let cases = fs::read_to_string(root().join("tests/account/alerts.yaml"))?;
    place.file("cases.yaml", &cases, 0o644);
    let cases = place.text("cases.yaml");
    let tested = promtool(&["test", "rules", &cases], "")?;
    let said = text(&tested.stdout) + &text(&tested.stderr);
    ensure!(tested.status.success(), "{said}");
    Ok(())
}
