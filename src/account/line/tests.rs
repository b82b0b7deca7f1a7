//! Every kind of fact as it is documented: level, fields and their types.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use log::LevelFilter;

use super::{Line, MADE, Took, level_name};
use crate::account::document::Wait;
use crate::account::incident::{Incident, KilledBy, Killing, Kin};
use crate::account::journal;
use crate::account::time::Span;
use crate::account::value::Value;
use crate::machine::connections::{Holder, Sample, Verdict, Visibility};
use crate::machine::fact::{DrainEnd, Fact, Reason, Survivor};
use crate::machine::hooks::{HookId, HookPhase, Outcome};
use crate::machine::phase::PhaseName;
use crate::machine::plan::{Ending, Scope};
use crate::types::{Pid, Signal, Status};

const DOCS: &str = include_str!("../../../docs/logging.md");
const SECOND: Duration = Duration::from_secs(1);

/// Of each variant at least one, of those with several levels or sets of fields all.
fn facts() -> Vec<Fact> {
    let signal = Signal::TERM;
    let [left, after, limit] = [SECOND; 3];
    let id = HookId::first(HookPhase::OnStop, 0);
    let sample = Sample { busy: 1, visibility: Visibility::Full, ..Sample::default() };
    let sample = Sample { cut: 1, ..sample };
    let blind = Sample { visibility: Visibility::Blind, ..sample };
    let paused = Sample { cut: 0, uncertain: 1, ..sample };
    let idle = Sample { busy: 0, cut: 0, ..sample };
    let holder = Holder {
        peer: Some(([10, 0, 0, 7], 40_001).into()),
        port: 8080,
        verdict: Verdict::Owed,
        held: SECOND,
        silent: SECOND,
        bytes_in: 300,
        bytes_out: 0,
        gone: false,
    };
    let survivor = Survivor {
        pid: Pid(7),
        parent: Pid(1),
        state: 'S',
        threads: 2,
        age: SECOND,
        wchan: Some("futex_wait_queue".to_owned()),
        connections: Some(1),
        unread: "command".to_owned(),
        command: "server".to_owned(),
    };
    let unseen =
        Survivor { wchan: None, connections: None, unread: String::new(), ..survivor.clone() };
    let statuses = [Some(Status::Code(0)), Some(Status::Signal(signal)), None, None];
    // First, so that there is something to be the end of.
    let mut facts: Vec<Fact> = PhaseName::ALL.into_iter().map(Fact::Entered).collect();
    facts.extend([
        Fact::ConditionHolds { index: 0, after },
        Fact::Listens { after },
        Fact::Ready { after },
        Fact::NotReady { after, missing: 5, ports: true },
        Fact::StillNotReady { after, missing: 5, ports: true },
        Fact::StopsItself,
        Fact::WatchdogMissed { interval: SECOND },
        Fact::ChildOutOfMemory,
        Fact::MainPid { pid: Pid(2) },
        Fact::DrainBegun { delay: SECOND },
        Fact::Sampled { sample },
        Fact::StillDraining { sample: Some(sample), missing: 0, after },
        Fact::StillDraining { sample: None, missing: 3, after },
        Fact::HeldDrain(Box::new(holder)),
        Fact::HeldDrain(Box::new(Holder { peer: None, ..holder })),
        Fact::Acknowledged { acks: 3, after },
        Fact::StopRequested { signal, sender: Some(0), grace: Some(SECOND) },
        Fact::StopRequested { signal, sender: None, grace: None },
        Fact::StopAgain { signal, kill: true, sent: None },
        Fact::StopAgain { signal, kill: false, sent: None },
        Fact::StopAgain { signal, kill: false, sent: Some(signal) },
        Fact::Dropped { signal },
        Fact::NoApp { signal },
        Fact::StopSignal { signal, rung: 1, of: 2, left: Some(left) },
        Fact::StopSignal { signal, rung: 1, of: 1, left: None },
        Fact::NoStopSignal { signal, left: Some(left) },
        Fact::NoStopSignal { signal, left: None },
        Fact::Held { signal },
        Fact::TooEarly { signal },
        Fact::StoodStill { span: SECOND },
        Fact::ReloadRequested { signal },
        Fact::ReloadMerged { signal },
        Fact::ReloadDropped { signal },
        Fact::Extended { left },
        Fact::Diagnosed { signal, left: Some(left) },
        Fact::Diagnosed { signal, left: None },
        Fact::HookStarted { id, limit },
        Fact::HookRetried { id, pause: SECOND },
        Fact::HookSkipped { id },
        Fact::LeftoversSignalled { signal, left },
        Fact::DeadlineReached { early: true },
        Fact::DeadlineReached { early: false },
        Fact::StillThere(Box::new(survivor)),
        Fact::StillThere(Box::new(unseen)),
        Fact::MoreStillThere(4),
        Fact::SurvivorsNotRecorded,
        Fact::Unkillable,
        Fact::Suspended { signal },
        Fact::Resumed,
        Fact::Exit { code: 0, reason: Reason::Signal },
    ]);
    facts.extend(
        [Scope::Group, Scope::Main, Scope::Mixed, Scope::Tree].map(|scope| Fact::Forwarded {
            signal,
            sent: signal,
            scope,
        }),
    );
    facts.extend(HookPhase::ALL.map(|phase| Fact::PhaseAborted { id: HookId::first(phase, 0) }));
    facts.extend(
        [Outcome::Done, Outcome::Failed, Outcome::TimedOut, Outcome::NotStarted]
            .into_iter()
            .zip(statuses)
            .map(|(outcome, status)| Fact::HookEnded { id, outcome, status }),
    );
    facts.push(Fact::HookEnded { id, outcome: Outcome::StopAgain, status: None });
    for why in [DrainEnd::Quiet, DrainEnd::Moment, DrainEnd::Delay, DrainEnd::Budget, DrainEnd::Max]
    {
        let samples = [None, Some(sample), Some(blind), Some(paused), Some(idle)];
        facts.extend(samples.map(|last| Fact::DrainEnded { why, after, last, missing: 0 }));
        let sooner = Some(Sample { sooner: after, ..idle });
        facts.push(Fact::DrainEnded { why, after, last: sooner, missing: 0 });
        facts.push(Fact::DrainEnded { why, after, last: None, missing: 1 });
    }
    facts.extend(
        [
            Ending::Was(Status::Code(1)),
            Ending::Was(Status::Signal(signal)),
            Ending::NotStarted(127),
            Ending::Forestalled(signal),
            Ending::Unkillable,
            Ending::OutOfMemory,
        ]
        .map(|ending| Fact::AppEnded { ending }),
    );
    facts
}

fn incidents() -> Vec<Incident> {
    let pid = Pid(3);
    let status = Status::Code(0);
    let why = || "because".to_owned();
    let wait = Wait { condition: "tcp:1".to_owned(), answer: why() };
    let ready = HookId::first(HookPhase::Ready, 0);
    let id = HookId::first(HookPhase::PreStop, 0);
    let killing = |kin, name: Option<&str>, by, limit| {
        let name = name.map(str::to_owned);
        Incident::Killed(Box::new(Killing { kin, pid, name, by, limit, peak: limit }))
    };
    vec![
        killing(Kin::App, Some("python"), KilledBy::OutOfMemory, Some(512 << 20)),
        killing(Kin::Orphan, Some("worker"), KilledBy::OutOfMemory, None),
        killing(Kin::App, Some("python"), KilledBy::Elsewhere, None),
        killing(Kin::Hook, None, KilledBy::Unknown(why()), None),
        Incident::KilledUnseen { count: 1 },
        Incident::KilledUnseen { count: 2 },
        Incident::DumpedCore { signal: Signal::QUIT },
        Incident::DiedOfForwarded { signal: Signal::HUP, after: Duration::from_millis(3) },
        Incident::Started { pid, name: "app".to_owned() },
        Incident::NotExecuted { why: why() },
        Incident::TookOver { pid },
        Incident::Reaped { kin: Kin::Orphan, pid, status, warn: true },
        Incident::Reaped { kin: Kin::App, pid, status: Status::Signal(Signal::KILL), warn: false },
        Incident::LeftoversAsked { signal: Signal::TERM, processes: 2 },
        Incident::HookSaid { id, stderr: true, text: why() },
        Incident::HookSaid { id, stderr: false, text: why() },
        Incident::HookSaid { id: ready, stderr: true, text: why() },
        Incident::Says { text: why() },
        Incident::Reloads,
        Incident::Failed { errno: 5 },
        Incident::Unheard { pid, uid: 1, why: why(), again: false },
        Incident::Unheard { pid, uid: 1, why: why(), again: true },
        Incident::ForeignMain { pid },
        Incident::ObserverEnded { status },
        Incident::Trouble { text: why() },
        Incident::Looked { index: 0, missing: Some(why()), again: false },
        Incident::Looked { index: 0, missing: Some(why()), again: true },
        Incident::Looked { index: 0, missing: None, again: true },
        Incident::HeldByWord { index: 0, said: why() },
        Incident::Holding(Vec::new()),
        Incident::Awaits { waits: vec![wait.clone()] },
        Incident::Answered { wait },
    ]
}

/// The place of each variant: one that comes later has to be put here, and so among the samples.
fn place(fact: &Fact) -> usize {
    match fact {
        Fact::Entered(_) => 0,
        Fact::ConditionHolds { .. } => 1,
        Fact::Listens { .. } => 2,
        Fact::Ready { .. } => 3,
        Fact::NotReady { .. } => 4,
        Fact::StopsItself => 5,
        Fact::WatchdogMissed { .. } => 6,
        Fact::MainPid { .. } => 7,
        Fact::DrainBegun { .. } => 8,
        Fact::Sampled { .. } => 9,
        Fact::Acknowledged { .. } => 10,
        Fact::DrainEnded { .. } => 11,
        Fact::StopRequested { .. } => 12,
        Fact::StopAgain { .. } => 13,
        Fact::Forwarded { .. } => 14,
        Fact::Dropped { .. } => 15,
        Fact::NoApp { .. } => 16,
        Fact::StopSignal { .. } => 17,
        Fact::NoStopSignal { .. } => 18,
        Fact::Held { .. } => 19,
        Fact::ReloadRequested { .. } => 20,
        Fact::ReloadMerged { .. } => 21,
        Fact::ReloadDropped { .. } => 22,
        Fact::PhaseAborted { .. } => 23,
        Fact::Extended { .. } => 24,
        Fact::Diagnosed { .. } => 25,
        Fact::HookStarted { .. } => 26,
        Fact::HookEnded { .. } => 27,
        Fact::HookRetried { .. } => 28,
        Fact::HookSkipped { .. } => 29,
        Fact::AppEnded { .. } => 30,
        Fact::LeftoversSignalled { .. } => 31,
        Fact::DeadlineReached { .. } => 32,
        Fact::StillThere(_) => 33,
        Fact::MoreStillThere(_) => 34,
        Fact::SurvivorsNotRecorded => 35,
        Fact::Unkillable => 36,
        Fact::Suspended { .. } => 37,
        Fact::Resumed => 38,
        Fact::Exit { .. } => 39,
        Fact::StillDraining { .. } => 40,
        Fact::HeldDrain(_) => 41,
        Fact::TooEarly { .. } => 42,
        Fact::StoodStill { .. } => 43,
        Fact::StillNotReady { .. } => 44,
        Fact::ChildOutOfMemory => 45,
    }
}

fn place_of_incident(incident: &Incident) -> usize {
    match incident {
        Incident::Started { .. } => 0,
        Incident::NotExecuted { .. } => 1,
        Incident::TookOver { .. } => 2,
        Incident::Reaped { .. } => 3,
        Incident::LeftoversAsked { .. } => 4,
        Incident::HookSaid { .. } => 5,
        Incident::Says { .. } => 6,
        Incident::Reloads => 7,
        Incident::Failed { .. } => 8,
        Incident::Unheard { .. } => 9,
        Incident::ForeignMain { .. } => 10,
        Incident::ObserverEnded { .. } => 11,
        Incident::Trouble { .. } => 12,
        Incident::Awaits { .. } => 13,
        Incident::Answered { .. } => 14,
        Incident::Killed(_) => 15,
        Incident::KilledUnseen { .. } => 16,
        Incident::DumpedCore { .. } => 17,
        Incident::DiedOfForwarded { .. } => 18,
        Incident::Looked { .. } => 19,
        Incident::HeldByWord { .. } => 20,
        Incident::Holding(_) => 21,
    }
}

fn samples() -> Vec<Line> {
    let (facts, incidents) = (facts(), incidents());
    let places: BTreeSet<usize> = facts.iter().map(place).collect();
    assert_eq!(places, (0..46).collect(), "facts without a sample");
    let places: BTreeSet<usize> = incidents.iter().map(place_of_incident).collect();
    assert_eq!(places, (0..22).collect(), "incidents without a sample");
    let mut began = Took::NOTHING;
    let lines = facts.iter().map(|fact| Line::of(fact).took(began.take(Span(5), fact)));
    let lines = lines.chain(incidents.iter().map(Line::of_incident));
    lines.chain([Line::lines_dropped(2)]).collect()
}

/// The rows of the table: levels, and fields with their types.
fn documented()
-> BTreeMap<&'static str, (BTreeSet<&'static str>, BTreeMap<&'static str, &'static str>)> {
    let (_, table) = DOCS.split_once("## Kinds of facts").expect("the table of kinds");
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let kind = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let [levels, fields] = [*cells.get(2)?, *cells.get(3)?];
        if kind == "fact" {
            // The head of the table.
            return None;
        }
        let fields = fields.split(", ").filter_map(|field| {
            let (name, what) = field.strip_prefix('`')?.split_once('`')?;
            Some((name, what.trim()))
        });
        Some((kind, (levels.split(", ").collect(), fields.collect())))
    });
    rows.collect()
}

#[test]
fn every_kind_is_documented_as_it_is() {
    let documented = documented();
    let mut found: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for line in samples() {
        let (levels, fields) = found.entry(line.fact).or_default();
        levels.insert(level_name(line.level));
        let Some((_, told)) = documented.get(line.fact) else {
            panic!("{} is not in docs/logging.md", line.fact);
        };
        for (name, value) in &line.fields {
            fields.insert(name);
            let what = told.get(name).copied().unwrap_or("not there");
            let fits = match value {
                Value::Text(_) => what.starts_with("text"),
                Value::Number(_) => what.starts_with("number"),
                Value::Span(_) => what.starts_with("seconds"),
                Value::Unknown => what.ends_with("or null"),
            };
            assert!(fits, "{} {name}: documented as {what}, is {value:?}", line.fact);
        }
        for (name, what) in told {
            let there = line.fields.iter().any(|(field, _)| field == name);
            assert!(there || what.ends_with('?'), "{} has no {name}", line.fact);
        }
    }
    // Those are no facts: what is fatal, and what is only said.
    for kind in ["fatal", "note"] {
        assert!(documented.contains_key(kind), "{kind}");
    }
    for (kind, (levels, fields)) in &documented {
        let Some((seen, there)) = found.get(kind) else {
            assert!(["fatal", "note"].contains(kind), "{kind} is documented, but is no fact");
            continue;
        };
        assert_eq!(seen, levels, "levels of {kind}");
        assert_eq!(*there, fields.keys().copied().collect(), "fields of {kind}");
    }
}

/// In JSON every key comes once, so no particular may be called as one of the columns.
#[test]
fn no_field_hides_another() {
    for line in samples() {
        let names: BTreeSet<&str> = line.fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), line.fields.len(), "{line:?}");
        for column in ["ts", "level", "msg", "trace_id", "fact"] {
            assert!(!names.contains(column), "{line:?}");
        }
    }
}

#[test]
fn a_value_reads_back() {
    for value in [
        Value::Text("ünd".into()),
        Value::Number(-7),
        Value::Span(Duration::from_micros(1_000_001)),
        Value::Unknown,
    ] {
        let json = serde_json::to_string(&value).expect("JSON");
        assert_eq!(serde_json::from_str::<Value>(&json).expect("a value"), value, "{json}");
    }
}

#[test]
fn what_took_how_long() {
    let id = HookId::first(HookPhase::PreStop, 0);
    let other = HookId { index: 1, ..id };
    let started = |id| Fact::HookStarted { id, limit: SECOND };
    let ended = |id| Fact::HookEnded { id, outcome: Outcome::Done, status: None };
    let told = Fact::StopSignal { signal: Signal::TERM, rung: 1, of: 2, left: Some(SECOND) };
    let again = Fact::StopSignal { signal: Signal::INT, rung: 2, of: 2, left: Some(SECOND) };
    let gone = Fact::AppEnded { ending: Ending::Was(Status::Code(0)) };
    let exit = Fact::Exit { code: 0, reason: Reason::Signal };
    let mut began = Took::NOTHING;
    for (at, fact, took) in [
        (5, Fact::Entered(PhaseName::Running), None),
        (10, Fact::Entered(PhaseName::PreStop), None),
        (11, started(id), None),
        (12, started(other), None),
        (20, ended(id), Some(9)),
        // It was not started, or ended before.
        (20, ended(id), None),
        (30, Fact::Entered(PhaseName::Stopping), None),
        (31, told, None),
        (35, again, None),
        (40, ended(other), Some(28)),
        (41, gone, Some(10)),
        (42, Fact::Entered(PhaseName::Leftovers), None),
        (50, exit, Some(40)),
    ] {
        assert_eq!(began.take(Span(at), &fact), took.map(Span), "{fact:?}");
    }
}

/// A forwarded signal costs no line that is not written.
#[test]
fn no_line_is_made_below_the_level() {
    let made = |fact: &Fact| {
        let before = MADE.get();
        journal::record(fact);
        MADE.get() - before
    };
    let signal = Signal::HUP;
    let forwarded = Fact::Forwarded { signal, sent: signal, scope: Scope::Group };
    let reaped =
        Incident::Reaped { kin: Kin::Orphan, pid: Pid(2), status: Status::Code(0), warn: false };
    log::set_max_level(LevelFilter::Warn);
    assert_eq!(made(&forwarded), 0);
    assert_eq!(made(&Fact::Sampled { sample: Sample::default() }), 0);
    assert_eq!(made(&Fact::SurvivorsNotRecorded), 1);
    let before = MADE.get();
    journal::incident(&reaped);
    assert_eq!(MADE.get(), before);
    log::set_max_level(LevelFilter::Trace);
    assert_eq!(made(&forwarded), 1);
    journal::incident(&reaped);
    assert_eq!(MADE.get(), before + 2);
    log::set_max_level(LevelFilter::Off);
}
