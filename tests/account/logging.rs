//! The log in both forms: what a stop reads like, what a program may rely on, and who says which form it is.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::Path;

use nix::pty::openpty;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::support::account::Account;
use crate::support::files::Place;
use crate::support::init::{puppet, puppet_line};
use crate::support::{Fault, Launch, Outcome, Room, Run, need};
use crate::{both_rooms, ensure, ensure_eq};

/// What every line begins with.
const COLUMNS: [&str; 6] = ["ts", "level", "msg", "trace_id", "phase", "fact"];
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// No line is longer: so the kernel keeps it in one piece.
const LONGEST: usize = 4096;

/// A line of JSON, its fields in their order and each as often as it is there.
#[derive(Clone, Debug)]
pub(super) struct Entry(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Entry, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entry, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Entry(pairs))
            }
        }
        from.deserialize_map(Pairs)
    }
}

impl Entry {
    /// Reads a line and holds it against all that is promised of every line.
    pub(super) fn of(line: &str) -> Outcome<Entry> {
        ensure!(line.len() < LONGEST, "{} bytes: {line}", line.len());
        let entry: Entry =
            serde_json::from_str(line).map_err(|error| Fault::new(format!("{error} in {line}")))?;
        let keys: Vec<&str> = entry.0.iter().map(|(key, _)| key.as_str()).collect();
        ensure_eq!(keys.get(..6), Some(&COLUMNS[..]), "the first columns of {line}");
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        sorted.dedup();
        ensure_eq!(sorted.len(), keys.len(), "keys of {line}");
        let ts = entry.text("ts")?;
        ensure!(ts.len() == "2026-11-23T00:42:01.123456Z".len(), "{ts}");
        ensure!(humantime::parse_rfc3339(ts).is_ok(), "{ts}");
        ensure!(LEVELS.contains(&entry.text("level")?), "{line}");
        for column in ["phase", "fact"] {
            ensure!(!entry.text(column)?.is_empty(), "{column} of {line}");
        }
        let trace = entry.text("trace_id")?;
        let hex = trace.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        ensure!(trace.len() == 32 && hex && trace.contains(|c| c != '0'), "{line}");
        Ok(entry)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(super) fn text(&self, key: &str) -> Outcome<&str> {
        let text = self.get(key).and_then(Value::as_str);
        text.ok_or_else(|| Fault::new(format!("no text {key} in {self:?}")))
    }

    pub(super) fn number(&self, key: &str) -> Outcome<f64> {
        let number = self.get(key).and_then(Value::as_f64);
        number.ok_or_else(|| Fault::new(format!("no number {key} in {self:?}")))
    }

    pub(super) fn is(&self, fact: &str) -> bool {
        self.get("fact").and_then(Value::as_str) == Some(fact)
    }
}

/// All lines of a log of which every line must be JSON.
fn entries(run: &Run) -> Outcome<Vec<Entry>> {
    run.err.so_far().iter().map(|line| Entry::of(&line.0)).collect()
}

/// The only one of its kind.
pub(super) fn only<'a>(entries: &'a [Entry], fact: &str) -> Outcome<&'a Entry> {
    let found: Vec<&Entry> = entries.iter().filter(|entry| entry.is(fact)).collect();
    match found[..] {
        [entry] => Ok(entry),
        _ => {
            let others: Vec<&str> = entries.iter().filter_map(|e| e.text("fact").ok()).collect();
            Err(Fault::new(format!("{} lines of {fact} among {others:?}", found.len())))
        }
    }
}

fn facts(entries: &[Entry]) -> Outcome<Vec<&str>> {
    entries.iter().map(|entry| entry.text("fact")).collect()
}

/// A server with one pre-stop hook, a drain and one on-stop hook, stopped by TERM.
fn whole_stop(room: Room, flags: &str) -> Outcome<Run> {
    let server = puppet().with_file_name("server");
    let place = Place::new();
    let config = format!(
        "[[hook.pre-stop]]\nname = \"deregister\"\ncommand = [{0:?}, \"say=gone\"]\n\
         [[hook.on-stop]]\nname = \"flush\"\ncommand = [{0:?}, \"say=flushed\"]\n",
        puppet()
    );
    let mut run = Launch::graceinit(room)
        .flag("--config", place.file("graceinit.toml", config, 0o644))
        .flags("-v --grace 10s --drain auto --drain-delay 200ms")
        .flags(flags)
        .command([server.as_os_str()])
        .app_arg("0")
        .start()?;
    run.out.until("listening")?;
    run.err.find("the app is ready")?;
    run.signal("TERM")?;
    run.exits(0)?;
    Ok(run)
}

/// Somebody who has never seen it has to understand what happened, in which order, and what took how long.
fn a_stop_reads_as_a_story(room: Room) -> Outcome {
    let run = whole_stop(room, "--log-format text")?;
    let all = run.err.so_far();
    let lines: Vec<&str> = all.iter().map(|line| line.0.as_str()).collect();
    for said in [
        "graceinit: info: [pre-stop deregister stdout] gone",
        "graceinit: info: [on-stop flush stdout] flushed",
    ] {
        ensure!(lines.contains(&said), "{said} is not in {lines:#?}");
    }
    let begin = lines.iter().position(|line| line.contains("stop requested"));
    let story: Vec<&&str> = lines[begin.unwrap_or(0)..]
        .iter()
        .filter(|line| !line.starts_with("graceinit: info: ["))
        .collect();
    let expected = [
        ("stop requested from ", " signal=TERM budget=10.000s"),
        ("pre-stop hook started hook=deregister attempt=1 limit=5.000s", ""),
        ("pre-stop hook done with code 0 hook=deregister attempt=1 took=0.", "s"),
        ("draining: the app keeps serving delay=0.200s", ""),
        ("drained busy=0 owed=0 idle=0 new=0 queued=0 after=", "s"),
        ("on-stop hook started hook=flush attempt=1 limit=5.000s", ""),
        ("on-stop hook done with code 0 hook=flush attempt=1 took=0.", "s"),
        ("asking the app to stop signal=TERM step=1/1 left=", "s"),
        ("the app ended with code 0 took=0.", "s"),
        ("leaving code=0 reason=signal took=", "s"),
    ];
    ensure!(story.len() <= 12, "not a story of about ten lines: {story:#?}");
    ensure_eq!(story.len(), expected.len(), "lines of {story:#?}");
    for (line, (start, end)) in story.iter().zip(expected) {
        let rest = line.strip_prefix("graceinit: info: ").unwrap_or(line);
        ensure!(rest.starts_with(start) && rest.ends_with(end), "{start}…{end}: {line}");
    }
    Ok(())
}

/// The same as JSON: the phases in their order, and what each step took adds up to the whole.
fn a_stop_can_be_read_by_a_program(room: Room) -> Outcome {
    let run = whole_stop(room, "--log-format json")?;
    let entries = entries(&run)?;
    let begin = entries.iter().position(|entry| entry.is("stop-requested")).unwrap_or(0);
    let stop: Vec<Entry> =
        entries[begin..].iter().filter(|entry| !entry.is("hook-said")).cloned().collect();
    let told = [
        ("stop-requested", "ready"),
        ("hook-started", "pre-stop"),
        ("hook-ended", "pre-stop"),
        ("drain-begun", "drain"),
        ("drain-ended", "drain"),
        ("hook-started", "on-stop"),
        ("hook-ended", "on-stop"),
        ("stop-signal", "stopping"),
        ("app-ended", "stopping"),
        ("exit", "post-stop"),
    ];
    let found = stop.iter().map(|entry| Ok((entry.text("fact")?, entry.text("phase")?)));
    ensure_eq!(found.collect::<Outcome<Vec<_>>>()?, told.to_vec(), "the stop");
    let requested = only(&stop, "stop-requested")?;
    ensure_eq!(requested.number("budget")?, 10.0, "budget");
    ensure_eq!(requested.text("signal")?, "TERM", "signal");
    let said = entries.iter().find(|entry| entry.is("hook-said"));
    let said = said.ok_or_else(|| Fault::new("no hook-said"))?;
    for (key, value) in
        [("msg", "gone"), ("phase", "pre-stop"), ("hook", "deregister"), ("stream", "stdout")]
    {
        ensure_eq!(said.text(key)?, value, "{key}");
    }
    let exit = only(&stop, "exit")?;
    ensure_eq!(exit.number("code")?, 0.0, "code");
    let steps: Vec<f64> = stop
        .iter()
        .filter(|entry| entry.is("hook-ended") || entry.is("app-ended"))
        .map(|entry| entry.number("took"))
        .collect::<Outcome<_>>()?;
    ensure_eq!(steps.len(), 3, "steps with a time");
    let drain = only(&stop, "drain-ended")?.number("after")?;
    // The delay counts from the stop request.
    ensure!(drain + steps[0] >= 0.195, "the drain took {drain}, the hook before it {steps:?}");
    let all = exit.number("took")?;
    // The drain counts from the stop request.
    let parts = drain + steps[1] + steps[2];
    ensure!(steps.iter().all(|step| *step > 0.0) && parts <= all, "{parts} of {all}: {steps:?}");
    Ok(())
}

/// Bytes that hooks print: what is no UTF-8, moves the cursor, needs escapes, or never ends.
fn hostile() -> Vec<u8> {
    let mut bytes = b"\xff\xfe invalid \xc3\x28 \xed\xa0\x80\n".to_vec();
    bytes.extend((0..32).filter(|byte| *byte != b'\n'));
    bytes.extend(b"\x7f\n\"quoted\" \\back\\slash {\"ts\":1}\n\n\r\n\x1b[2J\x1b[1;31mred\n");
    bytes.extend("ä€😀\u{2028}\u{2029}\u{85}\u{202e}\n".bytes());
    bytes.extend([b'x'; 100_000]);
    bytes.push(b'\n');
    bytes.extend([1; 100_000]);
    bytes.push(b'\n');
    bytes.extend([b'"'; 5_000]);
    bytes.push(b'\n');
    bytes.extend("😀".repeat(2_000).bytes());
    bytes.push(b'\n');
    bytes.extend([0; 3_000]);
    bytes.extend(b"\nno end");
    bytes
}

/// It says what only the app may say, and stays.
const APP: &str = r#"
import os, signal, socket
signal.signal(signal.SIGTERM, signal.SIG_IGN)
name = os.environ['NOTIFY_SOCKET']
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect('\0' + name[1:] if name[0] == '@' else name)
for text in (b'STATUS="\\\x01\x1b[2J\xff\xfe', b'STATUS=' + b'"' * 4000, b'STATUS=' + b'\x02' * 4000):
    s.send(text)
s.send(b'READY=1')
print('ready', flush=True)
while True: signal.pause()
"#;

/// Whatever is printed, said or called as, every line is one object that a program can read.
fn every_line_is_one_object(room: Room) -> Outcome {
    const PYTHON: &str = "/usr/bin/python3";
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let file = place.file("hostile", hostile(), 0o644);
    let config = format!(
        "[[hook.pre-stop]]\nname = \"out\"\ncommand = [\"cat\", {file:?}]\n\
         [[hook.pre-stop]]\nname = \"err\"\ncommand = [\"sh\", \"-c\", 'cat \"$0\" >&2', {file:?}]\n"
    );
    let log = place.path("log");
    let mut run = Launch::graceinit(room)
        .flag("--config", place.file("graceinit.toml", config, 0o644))
        .flags("--log-format json -vvv --grace 5s --ready notify")
        .stderr(File::create(&log)?)
        .command([PYTHON, "-c", APP, "a \"word\"\n\t\u{1}\\", "é"])
        .start()?;
    run.out.until("ready")?;
    run.signal("TERM")?;
    run.exits(137)?;
    let entries = check_bytes(&std::fs::read(&log)?, 2 * 100_000)?;
    let statuses = entries.iter().filter(|entry| entry.is("says")).count();
    ensure_eq!(statuses, 3, "what the app said");
    let survivor = only(&entries, "still-there")?;
    let command = survivor.text("command")?;
    ensure!(command.starts_with(PYTHON), "{command}");
    ensure!(!command.contains(char::is_control), "{command:?}");
    ensure_eq!(survivor.number("threads")?, 1.0, "threads");
    ensure_eq!(survivor.number("connections")?, 0.0, "connections");
    ensure_eq!(survivor.get("unread"), Some(&Value::Null), "unread");
    ensure!(survivor.number("age")? > 0.0, "{survivor:?}");
    Ok(())
}

/// Reads a log as bytes; of the longest line that a hook has printed so much must be there.
fn check_bytes(bytes: &[u8], printed: usize) -> Outcome<Vec<Entry>> {
    let text = std::str::from_utf8(bytes)?;
    ensure!(text.ends_with('\n'), "the last line has an end");
    let entries: Vec<Entry> = text.lines().map(Entry::of).collect::<Outcome<_>>()?;
    let mut types: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut found = 0;
    for entry in &entries {
        let fact = entry.text("fact")?;
        for (key, value) in &entry.0 {
            let kind = match value {
                Value::Null => continue,
                Value::String(_) => "text",
                Value::Number(number) if number.is_f64() => "seconds",
                Value::Number(_) => "number",
                Value::Bool(_) | Value::Array(_) | Value::Object(_) => "something else",
            };
            let known = types.entry((fact.to_owned(), key.clone())).or_insert(kind.to_owned());
            ensure_eq!(known.as_str(), kind, "{fact} {key}");
            ensure!(kind != "something else", "{fact} {key}");
        }
        let msg = entry.text("msg")?;
        ensure!(!msg.contains(|c: char| c.is_control() && c != '\t'), "{msg:?}");
        if msg.bytes().all(|byte| byte == b'x') {
            found += msg.len();
        }
    }
    ensure_eq!(found, printed, "bytes of the longest line");
    Ok(entries)
}

/// The trace that graceinit was started in goes on in the log and in the hooks; else a new one does.
fn the_trace_is_the_hooks_too(room: Room) -> Outcome {
    let given = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = |trace: &str| format!("00-{trace}-00f067aa0ba902b7-01");
    let mut seen = Vec::new();
    for (variable, trace) in [
        (Some(traceparent(given)), Some(given)),
        (None, None),
        // Not valid, so not continued.
        (Some(traceparent(&given.to_uppercase())), None),
        (Some(traceparent(&"0".repeat(32))), None),
    ] {
        let place = Place::new();
        let hook = puppet_line(&format!("to={} env=TRACEPARENT", place.text("told")));
        let mut launch =
            Launch::graceinit(room).flags("-v --log-format json").flag("--post-stop", hook);
        if let Some(variable) = variable {
            launch = launch.env("TRACEPARENT", variable);
        }
        let mut run = launch.app("exit=0").start()?;
        run.exits(0)?;
        let told = place.expect("told")?;
        let entries = entries(&run)?;
        let id = entries.first().ok_or_else(|| Fault::new("no line"))?.text("trace_id")?;
        ensure!(told.contains(&format!("00-{id}-")), "{told} is not of {id}");
        for entry in &entries {
            ensure_eq!(entry.text("trace_id")?, id, "the trace");
        }
        ensure!(trace.is_none_or(|trace| trace == id), "{id}");
        ensure!(trace.is_some() || !seen.contains(&id.to_owned()), "{id} again");
        seen.push(id.to_owned());
    }
    Ok(())
}

/// A life of an app that is passed a signal.
fn life(launch: Launch) -> Outcome<Run> {
    let mut run = launch.app("block ready echo=TERM:0").start()?;
    run.ready()?;
    run.signal("USR1")?;
    run.out.until("got USR1")?;
    run.signal("TERM")?;
    run.exits(0)?;
    Ok(run)
}

fn each_level_says_more(room: Room) -> Outcome {
    for (flags, level) in [
        ("", None),
        ("--log-level off -v", Some("error")),
        ("--log-level info", Some("info")),
        ("-v", Some("info")),
        ("-vv", Some("debug")),
        ("-vvv", Some("trace")),
        ("-vvvvv", Some("trace")),
        ("--log-level info -v", Some("debug")),
    ] {
        let complaint = puppet_line("complain=oh");
        let launch = Launch::graceinit(room).flags("--log-format json").flags(flags);
        let run = life(launch.flag("--pre-stop", complaint))?;
        let entries = entries(&run)?;
        let there =
            |level: &str| entries.iter().any(|entry| entry.text("level").is_ok_and(|l| l == level));
        // Without any flag only the complaint is told, and nothing with `off` and one step more.
        let last = LEVELS.iter().position(|l| *l == level.unwrap_or("warn")).unwrap_or(0);
        for (place, level) in LEVELS.iter().enumerate().skip(1) {
            ensure_eq!(there(level), place <= last, "{level} with {flags:?}");
        }
        ensure_eq!(facts(&entries)?.contains(&"forwarded"), last >= 3, "{flags:?}");
        ensure_eq!(facts(&entries)?.contains(&"reaped"), last >= 4, "{flags:?}");
    }
    Ok(())
}

/// A log for programs in Kubernetes, unless somebody looks on; else one for people, of what is wrong.
#[test]
fn the_place_decides_unless_somebody_does() -> Outcome {
    let kubernetes = |launch: Launch| launch.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let plain = || Launch::graceinit(Room::Plain);
    let run = life(kubernetes(plain()))?;
    let levels = entries(&run)?
        .iter()
        .map(|e| Ok(e.text("level")? == "info"))
        .collect::<Outcome<Vec<_>>>()?;
    ensure!(!levels.is_empty() && levels.iter().all(|info| *info), "not at info: {levels:?}");

    let run = life(kubernetes(plain()).env("GRACEINIT_LOG_FORMAT", "text"))?;
    run.err.find("graceinit: info: leaving code=0")?;

    let terminal = openpty(None, None)?;
    let seen = Account::of("the terminal", File::from(terminal.master));
    let run = life(kubernetes(plain()).stderr(terminal.slave))?;
    drop(run);
    seen.find("graceinit: info: leaving code=0")?;

    let run = life(plain())?;
    ensure_eq!(run.err.so_far().len(), 0, "lines of a life in which nothing is wrong");

    let run = life(plain().flags("-v").env("GRACEINIT_LOG_FORMAT", "json"))?;
    only(&entries(&run)?, "exit").map(drop)
}

/// What graceinit does not start for, and why it could not start the app, in the form that was asked for.
fn what_is_fatal_is_json_too(room: Room) -> Outcome {
    let started = |launch: Launch, code| -> Outcome<Vec<Entry>> {
        let mut run = launch.start()?;
        run.exits(code)?;
        entries(&run)
    };
    let json = || Launch::graceinit(room).flags("--log-format json --log-level off");
    let found = started(json().command(["/no/such/program"]), 127)?;
    let entry = only(&found, "not-executed")?;
    ensure!(entry.text("msg")?.contains("/no/such/program"), "{entry:?}");
    ensure_eq!(entry.text("level")?, "error", "level");

    let found = started(json().flags("--grace soon --scope all").app("exit=0"), 125)?;
    ensure_eq!(facts(&found)?, ["fatal", "fatal"], "mistakes");

    // The command line cannot be read, so the place alone tells.
    let wrong = Launch::graceinit(room).flags("--no-such-flag").app("exit=0");
    let found = started(wrong.env("KUBERNETES_SERVICE_HOST", "10.0.0.1"), 125)?;
    ensure!(only(&found, "fatal")?.text("msg")?.contains("--no-such-flag"), "{found:?}");
    Ok(())
}

/// Values of a hook's own environment, and of everybody's, are nobody's business.
fn no_value_of_the_environment_is_logged(room: Room) -> Outcome {
    let place = Place::new();
    let config = format!(
        "[[hook.pre-stop]]\ncommand = [{0:?}, \"env=TOKEN\", \"say=x\"]\nenv = {{ TOKEN = \"s3cret-of-hook\" }}\n\
         [[hook.on-stop]]\ncommand = [\"/no/such\"]\nretries = 1\nenv = {{ TOKEN = \"s3cret-of-hook\" }}\n",
        Path::new("/bin/true")
    );
    for format in ["text", "json"] {
        let config = place.file("graceinit.toml", &config, 0o644);
        let launch = Launch::graceinit(room)
            .flag("--config", config)
            .flags("-vvv --grace 1s --log-format")
            .flags(format)
            .env("PASSWORD", "s3cret-of-app");
        let mut run = launch.app("block ready echo").start()?;
        run.ready()?;
        run.signal("TERM")?;
        run.exits(137)?;
        let lines = run.err.all()?;
        ensure!(lines.len() > 10, "a log: {lines:#?}");
        let told = lines.iter().find(|line| line.0.contains("s3cret"));
        ensure!(told.is_none(), "{told:?}");
    }
    Ok(())
}

/// A name that holds a line's end makes no second line.
fn a_line_stays_one(room: Room) -> Outcome {
    let place = Place::new();
    let script = place.file("odd\nname \u{1b}[2J", "#!/bin/sh\nexit 0\n", 0o755);
    let mut run = Launch::graceinit(room).flags("-v").command([script]).start()?;
    run.exits(0)?;
    let lines = run.err.all()?;
    ensure!(lines.iter().all(|line| line.0.starts_with("graceinit: info: ")), "{lines:#?}");
    ensure!(lines.iter().all(|line| !line.0.contains('\u{1b}')), "{lines:#?}");
    run.err.find("odd\\nname \\u{1b}[2J").map(drop)
}

both_rooms!(
    a_stop_reads_as_a_story,
    a_stop_can_be_read_by_a_program,
    every_line_is_one_object,
    the_trace_is_the_hooks_too,
    each_level_says_more,
    what_is_fatal_is_json_too,
    no_value_of_the_environment_is_logged,
    a_line_stays_one,
);
