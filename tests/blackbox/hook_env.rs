//! What a hook is given, and where its words go.

use std::collections::BTreeMap;

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Outcome, Room, Run};
use crate::{both_rooms, ensure, ensure_eq};

type Variables = BTreeMap<String, String>;

fn unhex(text: &str) -> String {
    let bytes: Vec<u8> = (0..text.len() / 2)
        .filter_map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The environment that a puppet wrote to a file with its word `environ`.
fn environment(place: &Place, file: &str) -> Outcome<Variables> {
    Ok(place
        .expect(file)?
        .lines()
        .filter_map(|line| line.strip_prefix("environ "))
        .filter_map(|entry| {
            let entry = unhex(entry);
            let (name, value) = entry.split_once('=')?;
            Some((name.to_string(), value.to_string()))
        })
        .collect())
}

fn dump(place: &Place, file: &str) -> String {
    puppet_line(&format!("to={} environ", place.text(file)))
}

fn get<'a>(variables: &'a Variables, name: &str) -> Outcome<&'a str> {
    variables
        .get(name)
        .map(String::as_str)
        .ok_or_else(|| Fault::new(format!("{name} is not set in {variables:?}")))
}

fn number(variables: &Variables, name: &str) -> Outcome<f64> {
    let text = get(variables, name)?;
    text.parse().map_err(|_| Fault::new(format!("{name}={text} is no number")))
}

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn run_to_the_end(launch: Launch) -> Outcome<(Run, i32)> {
    let mut run = launch.app("block ready echo=TERM:3").start()?;
    let pid = run.ready()?.number("pid")?;
    run.signal("TERM")?;
    run.exits(3)?;
    Ok((run, pid))
}

fn the_variables_of_a_hook_are_complete(room: Room) -> Outcome {
    let place = Place::new();
    let before = now();
    let (_run, app) = run_to_the_end(
        Launch::graceinit(room)
            .flags("--grace 100 --post-stop-timeout 50")
            .env("OF_THE_APP", "a b")
            .flag("--pre-stop", dump(&place, "pre-1"))
            .flag("--pre-stop", dump(&place, "pre-2"))
            .flag("--on-stop", dump(&place, "on-1"))
            .flag("--post-stop", dump(&place, "post-1")),
    )?;
    let after = now();
    for (file, phase, hook) in [
        ("pre-1", "pre-stop", "pre-stop-1"),
        ("pre-2", "pre-stop", "pre-stop-2"),
        ("on-1", "on-stop", "on-stop-1"),
        ("post-1", "post-stop", "post-stop-1"),
    ] {
        let all = environment(&place, file)?;
        ensure_eq!(get(&all, "GRACEINIT_PHASE")?, phase, "{file}");
        ensure_eq!(get(&all, "GRACEINIT_HOOK")?, hook, "{file}");
        ensure_eq!(get(&all, "GRACEINIT_ATTEMPT")?, "1", "{file}");
        ensure_eq!(get(&all, "GRACEINIT_REASON")?, "signal", "{file}");
        ensure_eq!(get(&all, "GRACEINIT_SIGNAL")?, "TERM", "{file}");
        ensure_eq!(get(&all, "GRACEINIT_APP_PID")?, app.to_string(), "{file}");
        ensure_eq!(get(&all, "OF_THE_APP")?, "a b", "the app's environment for {file}");
        // As PID 1 the sender is outside of the namespace and has no number inside.
        let sender = match room {
            Room::PidNs => 0,
            Room::Plain => std::process::id(),
        };
        ensure_eq!(get(&all, "GRACEINIT_SENDER_PID")?, sender.to_string(), "{file}");
        let budget = number(&all, "GRACEINIT_BUDGET_MS")?;
        let deadline = number(&all, "GRACEINIT_DEADLINE")?;
        let full = if phase == "post-stop" { 50.0 } else { 100.0 };
        ensure!(budget > 0.0 && budget <= full * 1000.0, "{file}: {budget} ms of {full} s");
        let text = get(&all, "GRACEINIT_DEADLINE")?;
        ensure!(text.contains('.'), "{file}: the deadline {text} has no fraction");
        let end = if phase == "post-stop" { after + 50.0 } else { after + 100.0 };
        ensure!(
            deadline > before && deadline <= end,
            "{file}: deadline {deadline}, begun {before}, ended {after}"
        );
    }
    let post = environment(&place, "post-1")?;
    ensure_eq!(get(&post, "GRACEINIT_EXIT_CODE")?, "3", "post-stop");
    ensure!(!post.contains_key("GRACEINIT_EXIT_SIGNAL"), "a code and a signal: {post:?}");
    for file in ["pre-1", "on-1"] {
        let all = environment(&place, file)?;
        ensure!(!all.contains_key("GRACEINIT_EXIT_CODE"), "{file}: the app has not ended yet");
    }
    Ok(())
}

/// The budget is what is left, not what there was.
fn the_budget_of_a_hook_shrinks(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let held =
        puppet_line(&format!("to={} environ read={}", place.text("one"), fifo.path().display()));
    let mut run = Launch::graceinit(room)
        .flags("--grace 100 --hook-timeout 90")
        .flag("--on-stop", held)
        .flag("--on-stop", dump(&place, "two"))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    let holding = fifo.hold()?;
    let first = environment(&place, "one")?;
    // Until the clock of the budget has visibly moved on; no other event marks that.
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(50) {
        std::thread::yield_now();
    }
    drop(holding);
    run.exits(3)?;
    let second = environment(&place, "two")?;
    let left = |all: &Variables| number(all, "GRACEINIT_BUDGET_MS");
    ensure!(left(&second)? + 50.0 <= left(&first)?, "{} then {}", left(&first)?, left(&second)?);
    let end = |all: &Variables| number(all, "GRACEINIT_DEADLINE");
    ensure!((end(&second)? - end(&first)?).abs() < 5.0, "the deadline moved");
    Ok(())
}

/// What a hook's own variables are named must not come from outside.
fn foreign_hook_variables_are_replaced(room: Room) -> Outcome {
    let place = Place::new();
    run_to_the_end(
        Launch::graceinit(room)
            .env("GRACEINIT_PHASE", "nonsense")
            .env("GRACEINIT_EXIT_CODE", "77")
            .env("GRACEINIT_ATTEMPT", "9")
            .flag("--pre-stop", dump(&place, "pre")),
    )?;
    let text = place.expect("pre")?;
    let all: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("environ ")).map(unhex).collect();
    let of = |name: &str| all.iter().filter(|e| e.starts_with(&format!("{name}="))).count();
    ensure!(all.contains(&"GRACEINIT_PHASE=pre-stop".to_string()), "{all:?}");
    ensure_eq!(of("GRACEINIT_PHASE"), 1, "entries of GRACEINIT_PHASE");
    ensure_eq!(of("GRACEINIT_ATTEMPT"), 1, "entries of GRACEINIT_ATTEMPT");
    ensure_eq!(of("GRACEINIT_EXIT_CODE"), 0, "an exit code before the app has ended");
    Ok(())
}

/// W3C Trace Context: version 00, trace id, span id, flags; no id is all zeros.
fn parts(header: &str) -> Outcome<(String, String, String)> {
    let parts: Vec<&str> = header.split('-').collect();
    let hex = |text: &str, len: usize| {
        text.len() == len
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && text.bytes().any(|b| b != b'0')
    };
    let fine = parts.len() == 4
        && parts[0] == "00"
        && hex(parts[1], 32)
        && hex(parts[2], 16)
        && parts[3].len() == 2;
    ensure!(fine, "no trace parent: {header:?}");
    Ok((parts[1].to_string(), parts[2].to_string(), parts[3].to_string()))
}

fn a_trace_is_begun_or_continued(room: Room) -> Outcome {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    let life = |incoming: Option<&str>| -> Outcome<Vec<(String, String, String)>> {
        let place = Place::new();
        let mut launch = Launch::graceinit(room)
            .flag("--pre-stop", dump(&place, "a"))
            .flag("--on-stop", dump(&place, "b"))
            .flag("--post-stop", dump(&place, "c"));
        if let Some(incoming) = incoming {
            launch = launch.env("TRACEPARENT", incoming);
        }
        run_to_the_end(launch)?;
        ["a", "b", "c"]
            .iter()
            .map(|file| parts(get(&environment(&place, file)?, "TRACEPARENT")?))
            .collect()
    };
    let begun = life(None)?;
    ensure!(begun.iter().all(|(trace, ..)| *trace == begun[0].0), "several traces: {begun:?}");
    let other = life(None)?;
    ensure!(other[0].0 != begun[0].0, "two lives with one trace id");
    let continued = life(Some(&format!("00-{TRACE}-{SPAN}-01")))?;
    for (trace, span, flags) in &continued {
        ensure_eq!(trace, TRACE, "the trace");
        ensure!(span != SPAN, "the span is the parent's own");
        ensure_eq!(flags, "01", "the flags");
    }
    let broken = life(Some("00-00000000000000000000000000000000-zz-01"))?;
    ensure!(broken.iter().all(|(trace, ..)| *trace == broken[0].0), "several traces: {broken:?}");
    Ok(())
}

/// A last line without a newline is read when the hook is reaped, and is recorded before that.
fn the_last_line_of_a_hook_comes_before_its_end(room: Room) -> Outcome {
    let (run, _) = run_to_the_end(
        Launch::graceinit(room)
            .flags("--log-level trace")
            .flag("--pre-stop", "sh -c 'printf unfinished'"),
    )?;
    let lines = run.err.all()?;
    let place = |part: &str| lines.iter().position(|line| line.0.contains(part));
    let (said, reaped) = (place("stdout] unfinished"), place("reaped the hook"));
    ensure!(said.is_some() && said < reaped, "said: line {said:?}, reaped: line {reaped:?}");
    Ok(())
}

/// News on stdout, complaints on stderr, both line by line with phase, hook and stream.
fn the_output_of_a_hook_is_in_the_log(room: Room) -> Outcome {
    let script = "say=hello complain=alas";
    let (run, _) = run_to_the_end(
        Launch::graceinit(room)
            .flags("-v")
            .flag("--pre-stop", puppet_line(script))
            .flag("--on-stop", puppet_line(script))
            .flag("--on-stop", "sh -c 'printf unfinished; printf \"\\\\033[31mred\\\\n\" >&2'")
            .flag("--post-stop", puppet_line(script)),
    )?;
    for (phase, hook) in
        [("pre-stop", "pre-stop-1"), ("on-stop", "on-stop-1"), ("post-stop", "post-stop-1")]
    {
        run.err.find(&format!("graceinit: info: [{phase} {hook} stdout] hello"))?;
        run.err.find(&format!("graceinit: warn: [{phase} {hook} stderr] alas"))?;
    }
    // A last line without an end is a line; nothing may move the reader's cursor or colours.
    run.err.find("[on-stop on-stop-2 stdout] unfinished")?;
    let red = run.err.find("[on-stop on-stop-2 stderr] ")?.0;
    ensure!(red.contains("red") && !red.contains('\u{1b}'), "escape codes pass: {red:?}");
    ensure_eq!(run.out.count("hello"), 0, "a hook's words on the app's stdout");
    // Without -v complaints only.
    let (run, _) = run_to_the_end(Launch::graceinit(room).flag("--pre-stop", puppet_line(script)))?;
    run.err.find("[pre-stop pre-stop-1 stderr] alas")?;
    let quiet = !run.err.so_far().iter().any(|line| line.0.contains("hello"));
    ensure!(quiet, "news without -v");
    Ok(())
}

/// More output than a pipe holds, in lines longer than a buffer.
fn a_hook_may_print_a_lot(room: Room) -> Outcome {
    let hook = "sh -c 'i=0; while [ $i -lt 3000 ]; do echo \"line $i of many many many words\"; \
                i=$((i+1)); done; head -c 200000 /dev/zero | tr \"\\\\0\" x; echo; echo end'";
    let (run, _) = run_to_the_end(
        Launch::graceinit(room).flags("-v --grace 60 --hook-timeout 50").flag("--on-stop", hook),
    )?;
    run.err.find("graceinit: info: [on-stop on-stop-1 stdout] line 0 of many")?;
    Ok(())
}

/// Its own group, no terminal to read from, nothing blocked or ignored, no descriptor but the three.
fn a_hook_starts_clean(room: Room) -> Outcome {
    let place = Place::new();
    let hook = puppet_line(&format!("to={} stdin status fds ready cwd umask", place.text("hook")));
    let (_run, app) = run_to_the_end(
        Launch::graceinit(room)
            .given(&format!(
                "mask=USR1,RTMIN,32 ignore=HUP,PIPE,CHLD,33 open=7:{} set-umask=027",
                place.text("open")
            ))
            .cwd(place.path(""))
            .flag("--pre-stop", hook),
    )?;
    let text = place.expect("hook")?;
    let has = |line: &str| text.lines().any(|l| l == line);
    ensure!(has("stdin "), "stdin is not /dev/null: {text}");
    ensure!(has("status SigBlk=0000000000000000"), "the mask: {text}");
    ensure!(has("status SigIgn=0000000000000000"), "the dispositions: {text}");
    let fds: Vec<&str> =
        text.lines().filter_map(|l| l.strip_prefix("fd ")?.split(' ').next()).collect();
    ensure_eq!(fds, ["0", "1", "2"], "the descriptors");
    ensure!(has("umask 027"), "the umask: {text}");
    let ready = crate::support::Line(
        text.lines().find(|line| line.starts_with("ready")).unwrap_or_default().to_string(),
    );
    ensure_eq!(ready.number("pgid")?, ready.number("pid")?, "the group");
    ensure!(ready.number("pgid")? != app, "the app's group");
    Ok(())
}

/// As a shell splits, but without one.
fn words_are_split_as_a_shell_does(room: Room) -> Outcome {
    let place = Place::new();
    let puppet = crate::support::init::puppet();
    let hook = format!(
        "{} to={} argv -- 'a b' \"c 'd'\" e\\ f '' \"\\\"g\\\"\" $HOME *  h'i'j",
        puppet.display(),
        place.text("words")
    );
    run_to_the_end(Launch::graceinit(room).flag("--pre-stop", hook))?;
    let text = place.expect("words")?;
    let words: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("argv"))
        .map(|word| unhex(word.trim()))
        .skip_while(|word| word != "--")
        .skip(1)
        .collect();
    let expected = ["a b", "c 'd'", "e f", "", "\"g\"", "$HOME", "*", "hij"];
    ensure_eq!(words, expected, "the words");
    Ok(())
}

both_rooms!(
    the_variables_of_a_hook_are_complete,
    the_budget_of_a_hook_shrinks,
    foreign_hook_variables_are_replaced,
    a_trace_is_begun_or_continued,
    the_output_of_a_hook_is_in_the_log,
    the_last_line_of_a_hook_comes_before_its_end,
    a_hook_may_print_a_lot,
    a_hook_starts_clean,
    words_are_split_as_a_shell_does
);
