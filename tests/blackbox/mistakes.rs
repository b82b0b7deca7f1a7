//! What is refused, in the exact words that a user reads.

use crate::ensure_eq;
use crate::support::Outcome;

use super::options::Said;

mod file;
mod serving;

/// What is said about a command line and an environment.
fn said(flags: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let said = Said { flags: flags.to_vec(), variables: variables.to_vec(), ..Said::default() };
    said.build().expect_err(&format!("{flags:?} {variables:?}"))
}

const NO_TIME: &str = "not a duration; write 10s, 1m 30s, 250ms or a number of seconds";
const NO_SIGNAL: &str = "not a signal; write TERM, SIGTERM, 15 or RTMIN+3";
const NO_CODE: &str = "not an exit code; write a number from 0 to 255";
const NO_COUNT: &str = "not a count; write a whole number";
const NO_PORT: &str = "not a port; write a number from 1 to 65535, or auto";
const DIRECTORY: &str = "it is a directory; name the file in it";
const NO_TRUTH: &str = "not a boolean; write 1 or 0";

/// Options of one kind share what is wrong with a value; the flag and the variable are named alike.
#[test]
fn a_bad_value_of_each_option() -> Outcome {
    each_is_refused(&[
        ("grace", "GRACE", "soon", NO_TIME),
        ("grace-max", "GRACE_MAX", "later", NO_TIME),
        ("post-stop-timeout", "POST_STOP_TIMEOUT", "1 parsec", NO_TIME),
        ("stop-on", "STOP_ON", "TERMINATE", NO_SIGNAL),
        (
            "stop-on",
            "STOP_ON",
            "TERM, X",
            "'X' is not a signal; write TERM, SIGTERM, 15 or RTMIN+3",
        ),
        (
            "stop-on",
            "STOP_ON",
            "KILL",
            "KILL cannot begin a stop; name a signal that can be caught",
        ),
        ("stop-signal", "STOP_SIGNAL", "NONE", NO_SIGNAL),
        (
            "stop-signal",
            "STOP_SIGNAL",
            "INT:x,TERM",
            "'INT:x' is not a duration; write 10s, 1m 30s, 250ms or a number of seconds",
        ),
        ("stop-signal", "STOP_SIGNAL", "INT:0s", "zero is not allowed; write at least 1ms"),
        (
            "stop-signal",
            "STOP_SIGNAL",
            "INT,TERM",
            "each signal but the last needs a time; write TERM:10s,INT",
        ),
        ("scope", "SCOPE", "all", "not a scope; write auto, group, main, mixed or tree"),
        ("rewrite", "REWRITE", "HUP", "not FROM:TO; write TERM:QUIT, or HUP:0 to drop it"),
        ("rewrite", "REWRITE", "HUP:x", NO_SIGNAL),
        (
            "rewrite",
            "REWRITE",
            "KILL:TERM",
            "KILL never reaches graceinit; name a signal that can be caught",
        ),
        ("diagnose", "DIAGNOSE", "DUMP", NO_SIGNAL),
        ("diagnose", "DIAGNOSE", "QUIT@x", NO_TIME),
        ("diagnose", "DIAGNOSE", "KILL", "KILL makes no app print its state; write QUIT@2s"),
        (
            "stop-again",
            "STOP_AGAIN",
            "x",
            "not a response to a second stop request; write ignore or kill",
        ),
        ("grace-exit", "GRACE_EXIT", "256", NO_CODE),
        ("oom-exit", "OOM_EXIT", "256", NO_CODE),
        (
            "child-oom",
            "CHILD_OOM",
            "kill",
            "not a response to a process that was killed; write note or stop",
        ),
        ("stop-exit-ok", "STOP_EXIT_OK", "-1", NO_CODE),
        ("reload-on", "RELOAD_ON", "RELOAD", NO_SIGNAL),
        (
            "reload-on",
            "RELOAD_ON",
            "STOP",
            "STOP cannot begin a reload; name a signal that can be caught",
        ),
        ("pre-start", "PRE_START", "'a", "a quote is not closed; close it"),
        ("on-ready", "ON_READY", "''", "an empty command; write a program and its arguments"),
        ("on-reload", "ON_RELOAD", "sleep:", "sleep needs a time; write sleep:5s"),
        ("pre-stop", "PRE_STOP", "signal:", "signal needs one signal; write signal:TSTP"),
        ("on-stop", "ON_STOP", "rm:", "rm needs a path; write rm:/run/app/draining"),
        (
            "post-stop",
            "POST_STOP",
            "signal:HUP",
            "there is no app to signal after the stop; move it to on-ready, on-reload, pre-stop or \
             on-stop",
        ),
        ("hook-timeout", "HOOK_TIMEOUT", "0", "zero is not allowed; write at least 1ms"),
        ("hook-retries", "HOOK_RETRIES", "1.5", NO_COUNT),
        ("hook-backoff", "HOOK_BACKOFF", "x", NO_TIME),
        ("v", "VERBOSITY", "much", NO_COUNT),
        ("log-level", "LOG", "loud", "not a level; write off, error, warn, info, debug or trace"),
        ("log-format", "LOG_FORMAT", "xml", "not a format; write text or json"),
        ("metrics-file", "METRICS_FILE", "/", DIRECTORY),
        ("metrics-file", "METRICS_FILE", "/proc", DIRECTORY),
        ("metrics-file", "METRICS_FILE", "/nowhere/", DIRECTORY),
        (
            "metrics-file",
            "METRICS_FILE",
            "/dev/null",
            "it is not a regular file, so it cannot be replaced; name a regular file",
        ),
        ("report", "REPORT", "/proc/", DIRECTORY),
        ("ready-file", "READY_FILE", "/proc", DIRECTORY),
        (
            "user",
            "USER",
            "no-one:x",
            "there is no user 'no-one' in /etc/passwd; write a name from there, or a number",
        ),
        ("s", "SUBREAPER", "x", NO_TRUTH),
        ("w", "WARN_REAP", "x", NO_TRUTH),
        ("p", "PARENT_SIGNAL", "x", NO_SIGNAL),
        ("e", "EXIT_OK", "x", NO_CODE),
        ("platform", "PLATFORM", "fly:", NO_TIME),
        ("platform", "PLATFORM", "fly:0s", "zero is not allowed; write at least 1ms"),
        ("check", "CHECK", "k8s:x", NO_TIME),
        (
            "config",
            "CONFIG",
            "/nowhere",
            "the file does not exist; create it, or remove the option",
        ),
    ])?;
    let text = [("GRACE_EXIT_TIMEOUT", "x")];
    ensure_eq!(said(&[], &text), [format!("unable to use GRACE_EXIT_TIMEOUT 'x': {NO_TIME}")], "");
    Ok(())
}

/// Rows of: option, variable without its beginning, value, why not.
fn each_is_refused(rows: &[(&str, &str, &str, &str)]) -> Outcome {
    for (option, variable, value, why) in rows.iter().copied() {
        let variable = format!("GRACEINIT_{variable}");
        let want = format!("unable to use {variable} '{value}': {why}");
        ensure_eq!(said(&[], &[(&variable, value)]), [want], "{variable}");
        let flag = match option {
            "s" | "w" | "v" => continue,
            "p" | "e" => format!("-{option}"),
            _ => format!("--{option}"),
        };
        let want = format!("unable to use {flag} '{value}': {why}");
        let word =
            if option.len() == 1 { format!("{flag}{value}") } else { format!("{flag}={value}") };
        ensure_eq!(said(&[&word], &[]), [want], "{flag}");
    }
    Ok(())
}
