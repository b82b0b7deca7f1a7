//! Log, metrics, report and page are renderings of one list: whatever happens, their numbers agree.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use graceinit::account::document::{Account, Stretch, VERSION};
use graceinit::account::line::Line;
use graceinit::account::metrics::{self, Form};
use graceinit::account::page::{self, Edition};
use graceinit::account::report;
use graceinit::account::time::Span;
use graceinit::machine::phase::PhaseName;
use serde_json::Value as Json;

use super::tally::Tally;
use crate::blackbox::plans::Plan;
use crate::machine::life::Recorded;
use crate::support::dice::Dice;
use crate::support::files::Place;
use crate::support::{Fault, Outcome, Program, need};
use crate::{ensure, ensure_eq};

/// Folds what was told of a random life, holds the account to the machine at every step, and its
/// renderings to one another at the end.
pub(crate) fn check(told: &[Recorded]) -> Result<(), String> {
    let phase = PhaseName::Starting.as_str().to_owned();
    let phases = vec![Stretch { phase: phase.clone(), ..Stretch::default() }];
    let mut account = Account { v: VERSION, phase, phases, ..Account::default() };
    let mut log = Tally::begun();
    for Recorded { at, facts, phase, ready } in told {
        for fact in facts {
            log.hear_line(&Line::of(fact), &account.phase);
            account.take(Span(at.0 / 1000), fact);
        }
        if account.phase != phase.as_str() {
            return Err(format!("the account is in {}, the machine in {phase:?}", account.phase));
        }
        if account.ready != *ready {
            return Err(format!(
                "in {phase:?} the machine is ready: {ready}, the account is not so"
            ));
        }
    }
    same("report", &log, &Tally::of_report(&parsed(&account, usize::MAX)?))?;
    same("metrics", &log, &Tally::of_metrics(&metrics::render(&account, Form::Text)))?;
    let page = page::render(&account, Edition::Saved);
    same("page", &log, &Tally::of_page(&page))
}

/// The report in JSON, which may be so long.
pub(super) fn parsed(account: &Account, longest: usize) -> Result<Json, String> {
    let text = report::fit(account, longest);
    if text.len() > longest {
        return Err(format!("a report of {} bytes, not {longest}", text.len()));
    }
    serde_json::from_slice(&text).map_err(|error| format!("the report is no JSON: {error}"))
}

const LIVES: usize = 40;
const SIDE_BY_SIDE: usize = 4;

/// Everything that a life leaves behind is compared with its log.
fn one_life(plan: &Plan) -> Outcome {
    let place = Place::new();
    let mut run = plan
        .launch(&place)
        .flags("--log-format json --log-level trace")
        .flag("--report", place.path("report.json"))
        .flag("--metrics-file", place.path("app.prom"))
        .start()?;
    run.out.until("ready")?;
    for name in ["USR1", "WINCH", "USR1"] {
        run.signal(name)?;
    }
    run.signal("TERM")?;
    run.wait()?;
    let lines = run.err.all()?.into_iter().filter(|line| line.0.starts_with('{'));
    let lines: Vec<Json> =
        lines.map(|line| serde_json::from_str(&line.0)).collect::<Result<_, _>>()?;
    let log = Tally::of_log(&lines);
    let report: Json = serde_json::from_str(&place.expect("report.json")?)?;
    let exit = lines.iter().find(|line| line["fact"] == "exit");
    if exit.is_none() {
        // On a starved machine the dead-man may end a life, without a further word but in the report.
        ensure_eq!(report["exit"]["dead_man"], true, "no last line, and the report says {report}");
        return Ok(());
    }
    same("report", &log, &Tally::of_report(&report)).map_err(Fault::new)?;
    let metrics = Tally::of_metrics(&place.expect("app.prom")?);
    same("metrics", &log, &metrics).map_err(Fault::new)?;
    let render = Command::new(Program::Graceinit.path())
        .arg("--render")
        .arg(place.path("report.json"))
        .output()?;
    let page = String::from_utf8_lossy(&render.stdout).into_owned();
    same("page", &log, &Tally::of_page(&page)).map_err(Fault::new)?;
    let code = exit.map(|line| line["code"].clone()).unwrap_or_default();
    ensure_eq!(report["exit"]["code"], code, "the code in report and log");
    let trace = &report["trace_id"];
    ensure!(lines.iter().all(|line| line["trace_id"] == *trace), "another trace than {trace}");
    Ok(())
}

#[test]
fn in_real_lives() -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let mut dice = Dice(0x5eed_cafe_f00d_0001);
    let plans: Vec<Plan> = (0..LIVES).map(|_| Plan::roll(&mut dice)).collect();
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(fault) = one_life(plan) {
                        faults.lock().unwrap().push(Fault::new(format!("{plan:?}: {fault:?}")));
                    }
                }
            });
        }
    });
    faults.into_inner().unwrap().into_iter().next().map_or(Ok(()), Err)
}

/// Two renderings say the same.
pub(super) fn same(name: &str, log: &Tally, other: &Tally) -> Result<(), String> {
    match log == other {
        true => Ok(()),
        false => Err(format!("the log says {log:#?},\nbut the {name} {other:#?}")),
    }
}
