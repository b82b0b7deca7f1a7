use std::time::Duration;

use super::*;
use crate::account::incident::{Incident, Kin};
use crate::machine::connections::Sample;
use crate::machine::fact::{DrainEnd, Fact, Reason};
use crate::machine::hooks::{HookId, HookPhase, Outcome};
use crate::machine::phase::PhaseName;
use crate::machine::plan::{Ending, Scope};
use crate::types::{Pid, Signal, Status};

const MS: u64 = 1000;

fn at(millis: u64) -> Span {
    Span(millis * MS)
}

fn entered(account: &mut Account, millis: u64, phase: PhaseName) {
    account.take(at(millis), &Fact::Entered(phase));
}

fn stopped() -> Account {
    let mut account = Account { v: VERSION, ..Account::default() };
    entered(&mut account, 0, PhaseName::Running);
    account.take_incident(at(1), &Incident::Started { pid: Pid(7), name: "app".to_owned() });
    account.take(at(5), &Fact::Ready { after: Duration::from_millis(4) });
    entered(&mut account, 5, PhaseName::Ready);
    let (signal, sender) = (Signal::TERM, Some(0));
    let grace = Some(Duration::from_secs(15));
    account.take(at(1000), &Fact::StopRequested { signal, sender, grace });
    entered(&mut account, 1000, PhaseName::PreStop);
    account
}

#[test]
fn phases_follow_one_another_without_a_gap() {
    let account = stopped();
    let took: Vec<_> =
        account.phases.iter().map(|one| (one.phase.as_str(), one.at, one.took)).collect();
    let ready = ("ready", at(5), Some(at(995)));
    assert_eq!(took, [("running", at(0), Some(at(5))), ready, ("pre-stop", at(1000), None)]);
    assert_eq!(account.phase, "pre-stop");
}

#[test]
fn readiness_falls_with_the_stop_with_the_apps_word_and_with_its_end() {
    assert!(!stopped().ready);
    for end in [
        Fact::StopsItself,
        Fact::AppEnded { ending: Ending::Was(Status::Code(0)) },
        Fact::Entered(PhaseName::OnStop),
    ] {
        let mut account = Account::default();
        account.take(at(0), &Fact::Ready { after: Duration::ZERO });
        assert!(account.ready);
        account.take(at(1), &end);
        assert!(!account.ready, "{end:?}");
    }
}

#[test]
fn the_first_stop_request_is_the_reason_and_all_are_counted() {
    let mut account = stopped();
    account.take(at(1100), &Fact::StopAgain { signal: Signal::INT, kill: false, sent: None });
    account.take(at(1200), &Fact::StopAgain { signal: Signal::TERM, kill: true, sent: None });
    let stop = account.stop.clone().expect("a stop");
    assert_eq!((stop.signal.as_str(), stop.from.as_str(), stop.at), ("TERM", "outside", at(1000)));
    let counts: Vec<_> = account.counts.stop_requests.into_iter().collect();
    assert_eq!(counts, [("INT".to_owned(), 1), ("TERM".to_owned(), 2)]);
}

#[test]
fn attempts_are_told_apart_and_the_last_ones_kept() {
    let mut account = Account::default();
    for attempt in 1..=20u32 {
        let id = HookId { attempt, ..HookId::first(HookPhase::OnStop, 0) };
        let begun = u64::from(attempt) * 100;
        let limit = Duration::from_secs(5);
        account.take(at(begun), &Fact::HookStarted { id, limit });
        let outcome = if attempt == 20 { Outcome::Done } else { Outcome::Failed };
        let status = Some(Status::Code(u8::from(attempt != 20)));
        account.take(at(begun + 7), &Fact::HookEnded { id, outcome, status });
    }
    let hook = &account.hooks[0];
    assert_eq!((hook.phase.as_str(), hook.name.as_str()), ("on-stop", "on-stop-1"));
    assert_eq!((hook.outcomes["failed"], hook.outcomes["done"]), (19, 1));
    assert_eq!((hook.attempts.len(), hook.attempts[7].n), (8, 20));
    assert_eq!(hook.attempts[7].took, Some(at(7)));
    assert_eq!(hook.attempts[7].status.as_deref(), Some("code 0"));
    assert_eq!((hook.took.count, hook.took.sum), (20, at(140)));
    // 7 ms: more than 5, at most 10.
    assert_eq!((hook.took.buckets[1], hook.took.buckets.iter().sum::<u64>()), (20, 20));
}

#[test]
fn rounds_of_reload_hooks_are_told_apart() {
    let mut account = Account::default();
    let id = |round| HookId { round, ..HookId::first(HookPhase::OnReload, 0) };
    let limit = Duration::from_secs(5);
    account.take(at(0), &Fact::HookStarted { id: id(1), limit });
    account.take(at(10), &Fact::HookStarted { id: id(2), limit });
    let (outcome, status) = (Outcome::Done, None);
    account.take(at(12), &Fact::HookEnded { id: id(1), outcome, status });
    let took: Vec<_> = account.hooks[0].attempts.iter().map(|one| one.took).collect();
    assert_eq!(took, [Some(at(12)), None]);
}

#[test]
fn whatever_happens_the_account_stays_small() {
    let mut account = stopped();
    let limit = Duration::from_secs(1);
    account.take(at(1001), &Fact::DrainBegun { delay: limit });
    let long = "x".repeat(10_000);
    for n in 0..5_000u64 {
        let id =
            HookId { attempt: n as u32 + 1, ..HookId::first(HookPhase::PreStop, (n % 3) as usize) };
        account.take(at(n), &Fact::HookStarted { id, limit });
        account.take_incident(
            at(n),
            &Incident::HookSaid { id, stderr: n % 2 == 0, text: long.clone() },
        );
        let (outcome, status) = (Outcome::TimedOut, None);
        account.take(at(n), &Fact::HookEnded { id, outcome, status });
        account.take_incident(at(n), &Incident::Says { text: long.clone() });
        account.take_incident(at(n), &Incident::Trouble { text: long.clone() });
        account.take(at(n), &Fact::Sampled { sample: Sample { busy: 1, ..Sample::default() } });
        let signal = Signal::new(1 + (n % 64) as i32).expect("a signal");
        account.take(at(n), &Fact::Forwarded { signal, sent: signal, scope: Scope::Main });
        let (kin, pid, status) = (Kin::Orphan, Pid(n as i32), Status::Code(0));
        account.take_incident(at(n), &Incident::Reaped { kin, pid, status, warn: true });
    }
    let size = serde_json::to_vec(&account).expect("JSON").len();
    assert!(size < 300_000, "{size}");
    assert_eq!(account.counts.reaped["orphan"], 5_000);
    assert_eq!(account.counts.forwarded.values().sum::<u64>(), 5_000);
    assert_eq!(account.counts.forwarded.len(), 64);
    let drain = account.drain.expect("a drain");
    assert!((120..=240).contains(&drain.series.len()), "{}", drain.series.len());
    assert_eq!(drain.looks, 5_000);
    // In even steps from the first sample on.
    let step = drain.series[1].at.since(drain.series[0].at);
    let even = drain.series.windows(2).all(|pair| pair[1].at.since(pair[0].at) == step);
    assert!(even && step > at(1), "{step:?}");
    assert!(account.cut["timeline"] > 0 && account.cut["troubles"] > 0);
    let before = account.timeline.first().map(|entry| entry.fact.as_str());
    assert_eq!(before, Some("entered"), "the beginning is kept");
}

#[test]
fn the_json_form_reads_back() {
    let mut account = stopped();
    account.began = Wall(1_795_394_521_123_456);
    account.take(at(1001), &Fact::DrainBegun { delay: Duration::from_secs(1) });
    let sample = Sample { busy: 2, cut: 1, idle: 9, ..Sample::default() };
    account.take(at(1002), &Fact::Sampled { sample });
    let (why, after) = (DrainEnd::Budget, Duration::from_millis(900));
    account.take(at(1900), &Fact::DrainEnded { why, after, last: Some(sample), missing: 0 });
    account.take(at(2000), &Fact::DeadlineReached { early: false });
    let ending = Ending::Was(Status::Signal(Signal::KILL));
    account.take(at(2001), &Fact::AppEnded { ending });
    account.take(at(2002), &Fact::Exit { code: 137, reason: Reason::Deadline });
    let text = serde_json::to_string(&account).expect("JSON");
    assert!(text.contains("\"began\":\"2026-11-23T"), "{text}");
    assert!(text.contains("\"took\":0.995"), "{text}");
    let back: Account = serde_json::from_str(&text).expect("an account");
    assert_eq!(back, account);
    // A later version may know more.
    let more = text.replacen('{', "{\"news\":{\"a\":1},", 1);
    assert_eq!(serde_json::from_str::<Account>(&more).expect("an account"), account);
}

#[test]
fn a_clock_that_is_absurdly_wrong_is_no_reason_to_end() {
    assert_eq!(Wall(0).text(), "1970-01-01T00:00:00.000000Z");
    assert_eq!(Wall(u64::MAX).text().find('T'), None);
}

#[test]
fn the_last_phase_is_closed_by_the_exit() {
    let mut account = stopped();
    account.take(at(2002), &Fact::Exit { code: 0, reason: Reason::Signal });
    assert_eq!(account.phases.last().and_then(|one| one.took), Some(at(1002)));
}
