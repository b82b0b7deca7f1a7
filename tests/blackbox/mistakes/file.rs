//! What is wrong in the file, with place, line and caret.

use super::super::options::Said;
use super::{NO_CODE, NO_COUNT, NO_PORT, NO_TIME};
use crate::support::Outcome;
use crate::{ensure, ensure_eq};

/// What is said about a file, which is called FILE.
fn of_file(text: &str) -> Vec<String> {
    Said { file: Some(text), ..Said::default() }.build().expect_err(text)
}

const KEYS: &str = "grace, grace-max, post-stop-timeout, stop-on, stop-signal, scope, rewrite, diagnose, \
    stop-again, grace-exit, oom-exit, child-oom, stop-exit-ok, reload-on, profile, platform, pre-start, on-ready, \
    on-reload, pre-stop, on-stop, post-stop, hook-timeout, hook-retries, hook-backoff, ready, ready-timeout, ready-file, \
    health, live, health-timeout, \
    drain, drain-delay, \
    drain-acks, drain-idle, drain-max, drain-quiet, drain-owed, drained, listen, metrics-file, report, verbosity, log-level, \
    log-format, user, subreaper, parent-signal, exit-ok, warn-reap, hook";

/// The file: place, line and caret.
#[test]
fn a_bad_key_or_value_in_the_file() -> Outcome {
    let shown = |at: &str, subject: &str, why: &str, line: &str, caret: &str| {
        format!("unable to use FILE:{at} {subject}: {why}\n  {line}\n  {caret}^")
    };
    let hook = |line: &str| format!("[[hook.pre-stop]]\ncommand = 'x'\n{line}\n");
    for (text, at, subject, why, line, caret) in [
        // A value that its option does not take.
        ("grace = \"soon\"", "1:9", "grace = \"soon\"", NO_TIME, "grace = \"soon\"", "        "),
        ("\n\t grace = -1", "2:11", "grace = -1", NO_TIME, "\t grace = -1", "\t         "),
        ("grace = inf\r\n", "1:9", "grace = inf", NO_TIME, "grace = inf", "        "),
        (
            "exit-ok = [3, 300]",
            "1:15",
            "exit-ok = 300",
            NO_CODE,
            "exit-ok = [3, 300]",
            "              ",
        ),
        (
            "stop-on = ['TERM', 'X']",
            "1:11",
            "stop-on = ['TERM', 'X']",
            "'X' is not a signal; write TERM, SIGTERM, 15 or RTMIN+3",
            "stop-on = ['TERM', 'X']",
            "          ",
        ),
        (
            "stop-on = []",
            "1:11",
            "stop-on = []",
            "an empty list; write at least one value, or leave the option out",
            "stop-on = []",
            "          ",
        ),
        (
            "profile = 'ä' # é",
            "1:11",
            "profile = 'ä'",
            &format!("not a profile; write one of {}", profiles()),
            "profile = 'ä' # é",
            "          ",
        ),
        (
            "log-level = '''\nx'''",
            "1:13",
            "log-level = ''' ...",
            "not a level; write off, error, warn, info, debug or trace",
            "log-level = '''",
            "            ",
        ),
        (
            "ready = ['tcp:80', 'tcp:x']",
            "1:20",
            "ready = 'tcp:x'",
            "not a port; write a number from 1 to 65535 of this host, as in tcp:8080",
            "ready = ['tcp:80', 'tcp:x']",
            "                   ",
        ),
        (
            "ready = \"file:a\\u0000\"",
            "1:9",
            "ready = \"file:a\\u0000\"",
            "a NUL byte in a path; remove it",
            "ready = \"file:a\\u0000\"",
            "        ",
        ),
        (
            "ready-file = ''",
            "1:14",
            "ready-file = ''",
            "an empty path; write /run/ready",
            "ready-file = ''",
            "             ",
        ),
        (
            "report = \"\"",
            "1:10",
            "report = \"\"",
            "an empty path; write /dev/termination-log",
            "report = \"\"",
            "         ",
        ),
        (
            "log-format = 'JSON'",
            "1:14",
            "log-format = 'JSON'",
            "not a format; write text or json",
            "log-format = 'JSON'",
            "             ",
        ),
        (
            "drain = [80, 0]",
            "1:9",
            "drain = [80, 0]",
            &format!("'0' is {NO_PORT}"),
            "drain = [80, 0]",
            "        ",
        ),
        ("drain = -1", "1:9", "drain = -1", NO_PORT, "drain = -1", "        "),
        // The wrong type.
        (
            "drain = true",
            "1:9",
            "drain = true",
            "drain takes no boolean; write a whole number, or text in quotes",
            "drain = true",
            "        ",
        ),
        (
            "ready = 80",
            "1:9",
            "ready = 80",
            "ready takes no integer; write WHEN in quotes",
            "ready = 80",
            "        ",
        ),
        (
            "grace = true",
            "1:9",
            "grace = true",
            "grace takes no boolean; write \"10s\", \"1m 30s\" or a number of seconds",
            "grace = true",
            "        ",
        ),
        (
            "hook-retries = 1.5",
            "1:16",
            "hook-retries = 1.5",
            "hook-retries takes no float; write a whole number, or text in quotes",
            "hook-retries = 1.5",
            "               ",
        ),
        (
            "grace-exit = 99999999999999999999",
            "1:14",
            "grace-exit = 99999999999999999999",
            "grace-exit takes no integer; write a whole number, or text in quotes",
            "grace-exit = 99999999999999999999",
            "             ",
        ),
        (
            "scope = 1",
            "1:9",
            "scope = 1",
            "scope takes no integer; write auto|group|main|mixed|tree in quotes",
            "scope = 1",
            "        ",
        ),
        (
            "scope = ['main']",
            "1:9",
            "scope = ['main']",
            "scope takes no array; write auto|group|main|mixed|tree in quotes",
            "scope = ['main']",
            "        ",
        ),
        (
            "warn-reap = 'yes'",
            "1:13",
            "warn-reap = 'yes'",
            "warn-reap takes no string; write true or false",
            "warn-reap = 'yes'",
            "            ",
        ),
        (
            "stop-exit-ok = [[1]]",
            "1:17",
            "stop-exit-ok = [1]",
            "stop-exit-ok takes no array; write a whole number, or text in quotes",
            "stop-exit-ok = [[1]]",
            "                ",
        ),
        (
            "on-stop = 2024-01-01",
            "1:11",
            "on-stop = 2024-01-01",
            "on-stop takes no datetime; write CMD in quotes",
            "on-stop = 2024-01-01",
            "          ",
        ),
        (
            "[grace]\nx = 1",
            "1:1",
            "grace = [grace]",
            "grace takes no table; write \"10s\", \"1m 30s\" or a number of seconds",
            "[grace]",
            "",
        ),
        // An unknown key.
        (
            "grase = 1",
            "1:1",
            "grase",
            &format!("not a key of graceinit; the keys are {KEYS}"),
            "grase = 1",
            "",
        ),
        (
            "stop_on = 1",
            "1:1",
            "stop_on",
            "not a key of graceinit; write stop-on",
            "stop_on = 1",
            "",
        ),
        ("v = 1", "1:1", "v", "not a key of graceinit; write verbosity", "v = 1", ""),
        ("e = 1", "1:1", "e", "not a key of graceinit; write exit-ok", "e = 1", ""),
        ("r = 1", "1:1", "r", "not a key of graceinit; write rewrite", "r = 1", ""),
        ("g = 1", "1:1", "g", "not a key of graceinit; write scope = \"group\"", "g = 1", ""),
        ("c = 1", "1:1", "c", "not a key of graceinit; write scope = \"main\"", "c = 1", ""),
        (
            "l = 1",
            "1:1",
            "l",
            "the licence is printed by the flag only; write graceinit -l",
            "l = 1",
            "",
        ),
        (
            "config = 1",
            "1:1",
            "config",
            "a file cannot name another file; write all settings into this file",
            "config = 1",
            "",
        ),
        (
            "check = 1",
            "1:1",
            "check",
            "a check is requested by the flag only; write graceinit --check",
            "check = 1",
            "",
        ),
        (
            "probe = 'ready'",
            "1:1",
            "probe",
            "a probe is requested by the flag only; write graceinit --probe ready",
            "probe = 'ready'",
            "",
        ),
        (
            "render = 'x'",
            "1:1",
            "render",
            "a page is requested by the flag only; write graceinit --render report.json",
            "render = 'x'",
            "",
        ),
        (
            "[[hooks.pre-stop]]",
            "1:3",
            "hooks",
            "not a key of graceinit; write [[hook.pre-stop]]",
            "[[hooks.pre-stop]]",
            "  ",
        ),
        // Hooks.
        (
            "hook = 3",
            "1:8",
            "hook",
            "hook is a table of phases; write [[hook.pre-stop]]",
            "hook = 3",
            "       ",
        ),
        (
            "[[hook.later]]",
            "1:8",
            "hook.later",
            "not a phase with hooks; write one of pre-start, on-ready, on-reload, pre-stop, on-stop, \
             post-stop",
            "[[hook.later]]",
            "       ",
        ),
        (
            "[hook.on-stop]\ncommand = 'x'",
            "1:7",
            "hook.on-stop",
            "each hook is a table of its own; write [[hook.on-stop]]",
            "[hook.on-stop]",
            "      ",
        ),
        (
            "[hook]\non-stop = ['x']",
            "2:12",
            "hook.on-stop",
            "a hook is a table; write [[hook.on-stop]]",
            "on-stop = ['x']",
            "           ",
        ),
        (
            "[[hook.on-stop]]\nname = 'x'",
            "1:1",
            "[[hook.on-stop]]",
            "it has no command; write command = [\"PROGRAM\", \"ARGUMENT\"]",
            "[[hook.on-stop]]",
            "",
        ),
        (
            &hook("colour = 1"),
            "3:1",
            "colour",
            "not a key of a hook; the keys are name, command, timeout, retries, backoff, on_failure, env, \
             user",
            "colour = 1",
            "",
        ),
        (
            "[[hook.on-stop]]\ncommand = [1]",
            "2:12",
            "command = 1",
            "command takes no integer; write CMD in quotes",
            "command = [1]",
            "           ",
        ),
        (
            "[[hook.on-stop]]\ncommand = []",
            "2:11",
            "command = []",
            "an empty command; write a program and its arguments",
            "command = []",
            "          ",
        ),
        (
            "[[hook.on-stop]]\ncommand = [\"a\", \"b\\u0000\"]",
            "2:11",
            "command = [\"a\", \"b\\u0000\"]",
            "a NUL byte in a word, which execve(2) cannot pass; remove it",
            "command = [\"a\", \"b\\u0000\"]",
            "          ",
        ),
        (
            "[[hook.on-stop]]\ncommand = ['http:POST']",
            "2:11",
            "command = ['http:POST']",
            "http needs a URL, optionally after a method; write http:POST \
             http://127.0.0.1:9000/drain",
            "command = ['http:POST']",
            "          ",
        ),
        (
            &hook("name = 'a b'"),
            "3:8",
            "name = 'a b'",
            "not a name; write up to 64 letters, digits, - _ and .",
            "name = 'a b'",
            "       ",
        ),
        (&hook("timeout = 'x'"), "3:11", "timeout = 'x'", NO_TIME, "timeout = 'x'", "          "),
        (&hook("retries = -1"), "3:11", "retries = -1", NO_COUNT, "retries = -1", "          "),
        (
            &hook("backoff = true"),
            "3:11",
            "backoff = true",
            "backoff takes no boolean; write \"10s\", \"1m 30s\" or a number of seconds",
            "backoff = true",
            "          ",
        ),
        (
            &hook("on_failure = 'stop'"),
            "3:14",
            "on_failure = 'stop'",
            "not a response to a failure; write warn or abort",
            "on_failure = 'stop'",
            "             ",
        ),
        (
            &hook("on_failure = 'abort'"),
            "3:14",
            "on_failure = 'abort'",
            "pre-stop continues after every failure; write warn, or move the hook to pre-start, on-reload \
             or on-stop",
            "on_failure = 'abort'",
            "             ",
        ),
        (
            &hook("user = 'no-one'"),
            "3:8",
            "user = 'no-one'",
            "there is no user 'no-one' in /etc/passwd; write a name from there, or a number",
            "user = 'no-one'",
            "       ",
        ),
        (
            &hook("env = 'A=1'"),
            "3:7",
            "env = ***",
            "env is a table; write env = { NAME = \"value\" }",
            "env = ***",
            "      ",
        ),
        (
            &hook("env.A = 1"),
            "3:9",
            "A = ***",
            "A takes no integer; write VALUE in quotes",
            "env.A = ***",
            "        ",
        ),
        (
            &hook("env.'A=' = 'x'"),
            "3:5",
            "env.'A='",
            "not the name of a variable; write a name without =",
            "env.'A=' = ***",
            "    ",
        ),
        (
            &hook("env.GRACEINIT_PHASE = 'x'"),
            "3:5",
            "env.GRACEINIT_PHASE",
            "graceinit sets this variable itself; write another name",
            "env.GRACEINIT_PHASE = ***",
            "    ",
        ),
        (
            &hook("env.A = \"\\u0000\""),
            "3:5",
            "env.A",
            "a NUL byte, which a variable cannot hold; remove it",
            "env.A = ***",
            "    ",
        ),
    ] {
        ensure_eq!(of_file(text), [shown(at, subject, why, line, caret)], "{text}");
    }
    Ok(())
}

fn profiles() -> String {
    let mut names: Vec<&str> =
        graceinit::config::profiles::PROFILES.iter().map(|profile| profile.name).collect();
    names.sort_unstable();
    names.join(", ")
}

/// The variables of a hook may be passwords: a mistake beside them, in them or in the syntax shows none.
#[test]
fn the_values_of_env_are_in_no_message() -> Outcome {
    let hook = "[[hook.pre-stop]]\ncommand = 'x'\n";
    for text in [
        format!("{hook}env = {{ TOKEN = 'hunter2', X = 5 }}\n"),
        format!("{hook}env = {{ X = 5, TOKEN = \"hunter2\" }}\n"),
        format!("{hook}env = {{ TOKEN = ['hunter2'] }}\n"),
        format!("{hook}env = 'hunter2'\n"),
        format!("{hook}env = ['TOKEN=hunter2']\n"),
        format!("{hook}env = {{ 'a=b' = 'hunter2' }}\n"),
        format!("{hook}env = {{ TOKEN = 'hunter2', GRACEINIT_HOOK = 'x' }}\n"),
        format!("{hook}env.TOKEN = 'hunter2'\nenv.X = 5\n"),
        format!("{hook}[hook.pre-stop.env]\nX = 5\nTOKEN = 'hunter2'\n"),
        format!("{hook}env = {{ TOKEN = 'hunter2' }}\ntimeout = 'never'\n"),
        "[hook.pre-stop]\nenv = { TOKEN = 'hunter2' }\n".to_owned(),
        "[[hook.pre-stop]]\nenv = { TOKEN = 'hunter2' }\n".to_owned(),
        // What is no TOML has no values.
        format!("{hook}env = {{ TOKEN = 'hunter2, X = 'x' }}\n"),
        format!("{hook}env = {{ TOKEN = hunter2 }}\n"),
        format!("{hook}env = {{ TOKEN 'hunter2' }}\n"),
        format!("{hook}env.TOKEN = hunter2\n"),
        format!("{hook}[hook.pre-stop.env]\nTOKEN = hunter2\n"),
        format!("{hook}\"env\" = {{ TOKEN = hunter2 }}\n"),
        "hook.pre-stop = [{ command = 'x', env = { TOKEN = hunter2 } }]\n".to_owned(),
    ] {
        let said = of_file(&text);
        ensure!(!said.is_empty(), "nothing is said about {text}");
        let shown = said.iter().any(|line| line.contains("hunter2"));
        ensure!(!shown, "{text}: {said:?}");
    }
    Ok(())
}

/// The caret stands where the mistake is, although the line is shown without the secrets.
#[test]
fn a_line_with_a_secret_keeps_its_caret() -> Outcome {
    let text = "[[hook.pre-stop]]\ncommand = 'x'\nenv = { TOKEN = 'hunter2', X.y = 5 }\n";
    let line = "env = { TOKEN = ***, X.y = 5 }";
    let said = of_file(&text.replace("X.y", "GRACEINIT_HOOK"));
    let shown = line.replace("X.y = 5", "GRACEINIT_HOOK = ***");
    let caret = " ".repeat("env = { TOKEN = ***, ".len());
    ensure!(said.len() == 1 && said[0].ends_with(&format!("\n  {shown}\n  {caret}^")), "{said:?}");
    Ok(())
}
