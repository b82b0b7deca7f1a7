//! The report: whatever the account holds, it fits, it is JSON, and it begins with what matters.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use graceinit::account::document::{
    Account, App, Attempt, Counts, Death, Drain, DrainSample, Ended, Entry, Exit, Health, Held,
    Histogram, Hook, Killed, Process, Said, Setting, Stop, Stretch, Survivor, VERSION, Wait, Word,
};
use graceinit::account::time::{Span, Wall};
use graceinit::account::value::Value;
use graceinit::account::{report, summary};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// The words of graceinit itself.
fn word() -> impl Strategy<Value = String> {
    vec(prop::char::range('a', 'z'), 0..16).prop_map(|letters| letters.into_iter().collect())
}

/// What others say: any letters, those that JSON has to escape among them.
fn text() -> impl Strategy<Value = String> {
    vec(prop_oneof![any::<char>(), prop::char::range('\0', '~')], 0..80)
        .prop_map(|letters| letters.into_iter().collect())
}

fn span() -> impl Strategy<Value = Span> {
    (0..400_000_000_000u64).prop_map(Span)
}

fn entry() -> impl Strategy<Value = Entry> {
    let value = prop_oneof![
        text().prop_map(|text| Value::Text(text.into())),
        (-5..i64::MAX).prop_map(Value::Number),
        span().prop_map(|span| Value::Span(std::time::Duration::from_micros(span.0))),
    ];
    (span(), word(), word(), text(), btree_map(word(), value, 0..4))
        .prop_map(|(at, level, fact, msg, fields)| Entry { at, level, fact, msg, fields })
}

fn seen() -> impl Strategy<Value = DrainSample> {
    let counts = (any::<[u32; 5]>(), any::<[u32; 4]>());
    (span(), counts).prop_map(
        |(at, ([busy, owed, idle, new, queued], [vanished, stalled, cut, uncertain]))| {
            DrainSample { at, busy, owed, idle, new, queued, vanished, stalled, cut, uncertain }
        },
    )
}

fn held() -> impl Strategy<Value = Held> {
    let numbers = (any::<u16>(), span(), span(), any::<u64>(), any::<u64>());
    (word(), word(), word(), numbers).prop_map(
        |(peer, verdict, option, (port, held, silent, bytes_in, bytes_out))| Held {
            peer,
            port,
            verdict,
            held,
            silent,
            bytes_in,
            bytes_out,
            option,
        },
    )
}

fn said() -> impl Strategy<Value = Word> {
    (word(), word(), any::<bool>()).prop_map(|(condition, said, held)| Word {
        condition,
        said,
        held,
    })
}

fn drain() -> impl Strategy<Value = Drain> {
    let head = (span(), span(), option::of(any::<u32>()), option::of(span()));
    let all = (vec(seen(), 0..60), vec(held(), 0..4), vec(said(), 0..3));
    (head, word(), any::<u64>(), option::of(seen()), all).prop_map(
        |((at, delay, acks, ended), why, looks, last, (series, held, words))| Drain {
            at,
            delay,
            acks,
            ended,
            why,
            looks,
            last,
            series,
            held,
            words,
        },
    )
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let ended = (option::of(span()), option::of(word()), option::of(word()));
    (any::<u32>(), any::<u32>(), span(), span(), ended).prop_map(
        |(n, round, at, limit, (took, outcome, status))| Attempt {
            n,
            round,
            at,
            limit,
            took,
            outcome,
            status,
        },
    )
}

fn hook() -> impl Strategy<Value = Hook> {
    let said = (span(), word(), text()).prop_map(|(at, stream, text)| Said { at, stream, text });
    let took = vec(span(), 0..5).prop_map(|spans| {
        let mut took = Histogram::default();
        spans.into_iter().for_each(|span| took.add(span));
        took
    });
    let lists = (vec(attempt(), 0..8), btree_map(word(), any::<u64>(), 0..4), vec(said, 0..10));
    (word(), text(), any::<bool>(), lists, took).prop_map(
        |(phase, name, skipped, (attempts, outcomes, output), took)| Hook {
            phase,
            name,
            skipped,
            attempts,
            outcomes,
            took,
            output,
        },
    )
}

fn survivor() -> impl Strategy<Value = Survivor> {
    let numbers = (any::<i32>(), any::<i32>(), span(), any::<u32>(), option::of(any::<u64>()));
    (numbers, text(), word(), option::of(word()), word()).prop_map(
        |((pid, ppid, age, threads, connections), command, state, wchan, unread)| Survivor {
            pid,
            ppid,
            command,
            state,
            wchan,
            age,
            threads,
            connections,
            unread,
        },
    )
}

fn head() -> impl Strategy<Value = Account> {
    let exit = (span(), any::<u8>(), word(), any::<bool>())
        .prop_map(|(at, code, reason, dead_man)| Exit { at, code, reason, dead_man });
    let stop = (span(), word(), word(), option::of(span()))
        .prop_map(|(at, signal, from, budget)| Stop { at, signal, from, budget });
    let ended = (span(), word(), word(), option::of(any::<u8>()), option::of(word()))
        .prop_map(|(at, phase, how, code, signal)| Ended { at, phase, how, code, signal });
    let app = (text(), option::of(any::<i32>()), option::of(span()), option::of(span()))
        .prop_map(|(command, pid, started, ready_after)| (command, pid, started, ready_after));
    let app = (app, option::of(ended)).prop_map(|((command, pid, started, ready_after), ended)| {
        App { command, pid, started, ready_after, ended, ..App::default() }
    });
    let killed = (span(), any::<[bool; 3]>(), any::<u64>()).prop_map(
        |(at, [early, unseen, unkillable], more)| Killed { at, early, unseen, more, unkillable },
    );
    let state = (word(), any::<bool>(), word(), 0..4_000_000_000_000_000u64, span(), word());
    (option::of(exit), option::of(stop), app, option::of(killed), state).prop_map(
        |(exit, stop, app, killed, (phase, ready, program, began, age, trace_id))| Account {
            v: VERSION,
            exit,
            stop,
            app,
            killed,
            phase,
            ready,
            program,
            began: Wall(began),
            age,
            trace_id,
            ..Account::default()
        },
    )
}

fn account() -> impl Strategy<Value = Account> {
    let stretch = (word(), span(), option::of(span())).prop_map(|(phase, at, took)| Stretch {
        phase,
        at,
        took,
    });
    let setting = (word(), text(), prop_oneof![word(), Just("default".to_owned())])
        .prop_map(|(name, value, source)| Setting { name, value, source });
    let process = (any::<[i32; 2]>(), word(), word(), span(), any::<u32>(), any::<u64>()).prop_map(
        |([pid, ppid], name, state, age, threads, rss)| Process {
            pid,
            ppid,
            name,
            state,
            age,
            threads,
            rss,
        },
    );
    let map = || btree_map(word(), any::<u64>(), 0..30);
    let counts = (map(), map(), map(), any::<[u64; 2]>(), any::<u64>()).prop_map(
        |(stop_requests, forwarded, reaped, [kills, oom_kills], lines_dropped)| Counts {
            stop_requests,
            forwarded,
            reaped,
            kills,
            oom_kills,
            lines_dropped,
        },
    );
    let first =
        (vec(stretch, 0..9), vec(survivor(), 0..12), vec(hook(), 0..6), option::of(drain()));
    let rest = (vec(entry(), 0..20), counts, vec(entry(), 0..60), vec(setting, 0..40));
    let death = (any::<i32>(), [word(), word(), word()], text(), option::of(any::<u64>()), span())
        .prop_map(|(pid, [kind, name, by], why, limit, at)| Death {
            at,
            pid,
            kind,
            name,
            by,
            why,
            limit,
            peak: limit,
        });
    let last = (vec(process, 0..5), vec(death, 0..20));
    (head(), first, rest, last).prop_map(|(head, first, rest, (processes, deaths))| {
        let (phases, survivors, hooks, drain) = first;
        let (troubles, counts, timeline, settings) = rest;
        Account {
            phases,
            survivors,
            deaths,
            hooks,
            drain,
            troubles,
            counts,
            timeline,
            settings,
            processes,
            ..head
        }
    })
}

fn parse(text: &[u8]) -> Account {
    serde_json::from_slice(text)
        .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(text)))
}

/// What is never left out, with times to the millisecond, and without the texts that others chose.
fn essence(account: &Account) -> Account {
    let mut head = Account {
        v: account.v,
        exit: account.exit.clone(),
        stop: account.stop.clone(),
        app: App { command: String::new(), ..account.app.clone() },
        killed: account.killed.clone(),
        phase: account.phase.clone(),
        ready: account.ready,
        program: account.program.clone(),
        began: account.began,
        age: account.age,
        trace_id: account.trace_id.clone(),
        ..Account::default()
    };
    let round = |span: &mut Span| span.0 = (span.0 + 500) / 1000 * 1000;
    round(&mut head.age);
    head.exit.iter_mut().for_each(|exit| round(&mut exit.at));
    head.killed.iter_mut().for_each(|killed| round(&mut killed.at));
    head.stop.iter_mut().for_each(|stop| round(&mut stop.at));
    head.stop.iter_mut().flat_map(|stop| &mut stop.budget).for_each(round);
    head.app.started.iter_mut().chain(&mut head.app.ready_after).for_each(round);
    head.app.ended.iter_mut().for_each(|ended| round(&mut ended.at));
    head
}

/// So many of each.
fn lengths(account: &Account) -> BTreeMap<&'static str, usize> {
    let sum = |length: fn(&Hook) -> usize| account.hooks.iter().map(length).sum();
    [
        ("phases", account.phases.len()),
        ("survivors", account.survivors.len()),
        ("hooks", account.hooks.len()),
        ("hooks.output", sum(|hook| hook.output.len())),
        ("hooks.attempts", sum(|hook| hook.attempts.len())),
        ("drain.series", account.drain.as_ref().map_or(0, |drain| drain.series.len())),
        ("troubles", account.troubles.len()),
        ("timeline", account.timeline.len()),
        ("settings", account.settings.len()),
        ("processes", account.processes.len()),
    ]
    .into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_account_fits(account in account(), longest in 1024usize..16_384) {
        let text = report::fit(&account, longest);
        prop_assert!(text.len() <= longest, "{} bytes, not {longest}", text.len());
        prop_assert!(!text.contains(&b'\n'), "not one line");
        let read = parse(&text);
        prop_assert_eq!(essence(&read), essence(&account));
        prop_assert!(account.app.command.starts_with(read.app.command.trim_end_matches("...")));
        let whole = Account { summary: summary::of(&account), ..account.clone() };
        prop_assert!(whole.summary.starts_with(read.summary.trim_end_matches("...")));
        let all = serde_json::to_vec(&whole).unwrap();
        if all.len() <= longest {
            prop_assert_eq!(&read, &whole);
        } else if !read.cut.contains_key("all") && !read.cut.contains_key("hooks") {
            // With a hook go its lines and attempts.
            let (before, after) = (lengths(&account), lengths(&read));
            for (what, before) in before {
                let cut = read.cut.get(what).copied().unwrap_or(0) as usize;
                let drain = what == "drain.series" && read.cut.contains_key("drain");
                prop_assert!(drain || after[what] + cut == before, "{what} {before}: {after:?} {cut}");
            }
        }
        // The order: nothing of the story goes before the settings do.
        if !read.settings.is_empty() {
            for what in ["drain.series", "hooks.output", "troubles", "survivors", "phases"] {
                prop_assert!(!read.cut.contains_key(what), "{what} went, {:?}", read.cut);
            }
        }
    }

    /// However little room there is: it is JSON, or nothing.
    #[test]
    fn what_cannot_fit_is_no_half_of_it(account in account(), longest in 0usize..1024) {
        let text = report::fit(&account, longest);
        prop_assert!(text.len() <= longest);
        prop_assert!(text.len() < 2 || serde_json::from_slice::<Account>(&text).is_ok());
    }
}

/// 200 survivors, and hooks that have printed all that is kept of them.
fn crowded() -> Account {
    let mut account = full();
    let survivor = account.survivors[0].clone();
    account.survivors = (0..200).map(|pid| Survivor { pid, ..survivor.clone() }).collect();
    let hook = account.hooks[0].clone();
    let said = Said { text: "\"a line\" ".repeat(30), ..hook.output[0].clone() };
    let output = vec![said; 10];
    account.hooks = ["drain", "tell", "wait", "flush"]
        .map(|name| Hook { name: name.into(), output: output.clone(), ..hook.clone() })
        .into();
    account.timeline = vec![account.timeline[0].clone(); 200];
    account
}

/// The room is used, and the names of what has failed are in it.
#[test]
fn a_crowded_account_keeps_what_matters() {
    let account = crowded();
    let text = report::fit(&account, report::LONGEST);
    assert!(text.len() <= report::LONGEST && text.len() > 3000, "{} bytes", text.len());
    let read = parse(&text);
    assert_eq!(read.hooks.len(), 4);
    assert!(read.survivors.len() >= 5, "{}", read.survivors.len());
    assert_eq!(read.cut["survivors"] as usize + read.survivors.len(), 200);
    assert_eq!(read.phases.len(), account.phases.len());
    let wide = parse(&report::fit(&account, 65_536));
    assert_eq!(wide.survivors.len(), 200);
}

/// Of the time line the middle goes first, its oldest part before the rest.
#[test]
fn the_first_and_the_last_of_the_time_line_stay() {
    let entry = |n: usize| Entry { fact: format!("fact-{n}"), ..full().timeline[0].clone() };
    let account = Account { timeline: (0..100).map(entry).collect(), ..full() };
    let facts = |longest| -> Vec<String> {
        parse(&report::fit(&account, longest)).timeline.into_iter().map(|e| e.fact).collect()
    };
    let all = serde_json::to_vec(&account).unwrap().len();
    let most = facts(all - 1000);
    assert_eq!(most[..4], ["fact-0", "fact-1", "fact-2", "fact-3"]);
    assert!(most.len() > 80 && most.len() < 100, "{}", most.len());
    assert_eq!(most[4], format!("fact-{}", 100 - most.len() + 4));
    assert_eq!(most.last().unwrap(), "fact-99");
}

/// Everything that an account can hold.
fn full() -> Account {
    let at = Span(1_234_567);
    let text = |text: &str| text.to_owned();
    let entry = Entry {
        at,
        level: text("warn"),
        fact: text("trouble"),
        msg: text("something could not be done"),
        fields: [(text("pid"), Value::Number(12))].into(),
    };
    let (busy, owed, idle, new, queued) = (1, 2, 3, 4, 5);
    let (vanished, stalled, cut, uncertain) = (6, 7, 8, 9);
    let seen = DrainSample { at, busy, owed, idle, new, queued, vanished, stalled, cut, uncertain };
    let mut took = Histogram::default();
    took.add(at);
    Account {
        v: VERSION,
        summary: text("?"),
        exit: Some(Exit { at, code: 137, reason: text("deadline"), dead_man: true }),
        stop: Some(Stop { at, signal: text("TERM"), from: text("outside"), budget: Some(at) }),
        app: App {
            command: text("/srv/app --port 80"),
            pid: Some(7),
            started: Some(at),
            ready_after: Some(at),
            ended: Some(Ended {
                at,
                phase: text("killed"),
                how: text("signalled"),
                code: Some(1),
                signal: Some(text("KILL")),
            }),
            dumped_core: true,
            forwarded: Some(at),
        },
        killed: Some(Killed { at, early: true, unseen: true, more: 3, unkillable: true }),
        phase: text("exit"),
        ready: true,
        health: vec![Health {
            option: text("live"),
            check: text("tcp:80"),
            ok: Some(true),
            answer: text("connected"),
            ago: Some(at),
        }],
        waiting: vec![Wait { condition: text("tcp:80"), answer: text("Connection refused") }],
        program: text("graceinit 0.1.0"),
        began: Wall(1_700_000_000_000_000),
        age: at,
        trace_id: text("4bf92f3577b34da6a3ce929d0e0e4736"),
        phases: vec![Stretch { phase: text("drain"), at, took: Some(at) }],
        survivors: vec![Survivor {
            pid: 7,
            ppid: 1,
            command: text("java -jar app.jar"),
            state: text("S"),
            wchan: Some(text("futex_wait_queue")),
            age: at,
            threads: 48,
            connections: Some(3),
            unread: text("wchan"),
        }],
        deaths: vec![Death {
            at,
            pid: 7,
            kind: text("app"),
            name: text("java"),
            by: text("unknown"),
            why: text("the count of its control group cannot be read"),
            limit: Some(512 << 20),
            peak: Some(512 << 20),
        }],
        hooks: vec![Hook {
            phase: text("pre-stop"),
            name: text("tell"),
            skipped: true,
            attempts: vec![Attempt {
                n: 2,
                round: 1,
                at,
                limit: at,
                took: Some(at),
                outcome: Some(text("failed")),
                status: Some(text("code 1")),
            }],
            outcomes: [(text("failed"), 2)].into(),
            took,
            output: vec![Said { at, stream: text("stderr"), text: text("no") }],
        }],
        drain: Some(Drain {
            at,
            delay: at,
            acks: Some(3),
            ended: Some(at),
            why: text("budget"),
            looks: 12,
            last: Some(seen.clone()),
            series: vec![seen],
            held: vec![Held {
                peer: text("10.0.0.7:40001"),
                port: 8080,
                verdict: text("owed"),
                held: at,
                silent: at,
                bytes_in: 300,
                bytes_out: 1,
                option: text("--drain-owed"),
            }],
            words: vec![Word { condition: text("exec:idle"), said: text("no"), held: true }],
        }),
        troubles: vec![entry.clone()],
        counts: Counts {
            stop_requests: [(text("TERM"), 1)].into(),
            forwarded: [(text("TERM"), 1)].into(),
            reaped: [(text("app"), 1)].into(),
            kills: 1,
            oom_kills: 1,
            lines_dropped: 2,
        },
        timeline: vec![entry],
        settings: vec![Setting { name: text("grace"), value: text("7s"), source: text("--grace") }],
        processes: vec![Process {
            pid: 7,
            ppid: 1,
            name: text("java"),
            state: text("S"),
            age: at,
            threads: 48,
            rss: 123,
        }],
        cut: [(text("timeline"), 12)].into(),
    }
}

/// These hold names that are not graceinit's to choose, or one of many.
const MAPS: [&str; 6] = [
    "cut",
    "counts.stop_requests",
    "counts.forwarded",
    "counts.reaped",
    "hooks[].outcomes",
    "troubles[].fields",
];

fn fields(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) if !MAPS.contains(&path) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                found.insert(path.clone());
                fields(value, &path, found);
            }
        }
        serde_json::Value::Array(array) => {
            array.iter().for_each(|value| fields(value, &format!("{path}[]"), found));
        }
        _ => {}
    }
}

#[test]
fn every_field_is_documented_and_nothing_else() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.md");
    let text = fs::read_to_string(docs).expect("docs/report.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
    let mut found = BTreeSet::new();
    let value = serde_json::to_value(full()).unwrap();
    fields(&value, "", &mut found);
    // It looks like `troubles`, and is said to.
    found.retain(|path| !path.starts_with("timeline[].") && !path.starts_with("drain.series[]."));
    let missing: Vec<_> = found.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not documented: {missing:?}, gone: {gone:?}");
    // An account that is all there reads back as it was.
    assert_eq!(parse(value.to_string().as_bytes()), full());
}

/// Nothing that is empty, false or unknown takes room.
#[test]
fn what_is_empty_is_left_out() {
    let text = String::from_utf8(report::fit(&Account::default(), 4096)).unwrap();
    for absent in ["null", "[]", "{}", "early", "exit", "stop", "hooks", "cut"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}
