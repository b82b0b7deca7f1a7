//! What cannot be used although each value is right for itself; files that cannot be read; and all of
//! it at once.

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, Status};
use crate::{ensure, ensure_eq};

use super::options::Said;

/// What is said about flags, variables and a file, which is called FILE.
fn refused(flags: &[&str], variables: &[(&str, &str)], file: Option<&str>) -> Vec<String> {
    let (flags, variables) = (flags.to_vec(), variables.to_vec());
    Said { flags, variables, file, ..Said::default() }.build().err().unwrap_or_default()
}

const GRACE: &str = "grace 15s, default outside containers";
const NO_PORTS: &str = "it has no effect without ports; add --drain PORT, or remove it";
const RESERVE: &str = "post-stop-timeout 5s, default outside containers";

#[test]
fn a_conflict_names_both_sources() -> Outcome {
    let lead = "write a shorter lead or a longer --grace";
    let retries = "write fewer retries, a shorter backoff or a longer --grace";
    for (flags, variables, want) in [
        // Times.
        (
            &["--grace-max", "5"][..],
            None,
            format!("--grace-max '5': it is shorter than {GRACE}; write a longer time, or remove it"),
        ),
        (
            &["--grace-max=1m"],
            Some(("GRACEINIT_GRACE", "2m")),
            "--grace-max '1m': it is shorter than GRACEINIT_GRACE=2m; write a longer time, or remove it"
                .to_owned(),
        ),
        (
            &["--diagnose", "QUIT@15s"],
            None,
            format!("--diagnose 'QUIT@15s': 15s before SIGKILL the stop has not begun ({GRACE}); {lead}"),
        ),
        // Hooks that never get so much.
        (
            &["--hook-timeout", "12", "--on-stop", "x"],
            None,
            format!(
                "--hook-timeout '12': on-stop hooks get 11s 250ms at most ({GRACE}); write a shorter \
                 time, or a longer --grace"
            ),
        ),
        (
            &["--hook-timeout=5s", "--post-stop", "x"],
            None,
            format!(
                "--hook-timeout '5s': post-stop hooks get 4s 900ms at most ({RESERVE}); write a shorter \
                 time, or a longer --post-stop-timeout"
            ),
        ),
        (
            &["--grace=2s", "--pre-stop", "x", "--post-stop", "x"],
            Some(("GRACEINIT_HOOK_TIMEOUT", "1m")),
            format!(
                "GRACEINIT_HOOK_TIMEOUT '1m': post-stop hooks get 4s 900ms at most ({RESERVE}); write a \
                 shorter time, or a longer --post-stop-timeout"
            ),
        ),
        (
            &["--hook-retries", "8", "--on-stop", "x"],
            None,
            format!(
                "--hook-retries '8': the pauses of 8 retries (200ms, doubled each time) are longer than the \
                 11s 250ms that on-stop hooks get at most ({GRACE}); {retries}"
            ),
        ),
        (
            &["--hook-backoff", "4s", "--on-stop", "x"],
            None,
            format!(
                "--hook-backoff '4s': the pauses of 3 retries (4s, doubled each time) are longer than the 11s \
                 250ms that on-stop hooks get at most ({GRACE}); {retries}"
            ),
        ),
        // Readiness.
        (
            &["--ready=tcp:80", "--ready=tcp: 80"],
            None,
            "--ready 'tcp: 80': it is given twice; give it once".to_owned(),
        ),
        (
            &["--ready=fd:3", "--ready=fd:03"],
            None,
            "--ready 'fd:03': it is given twice; give it once".to_owned(),
        ),
        (
            &["--ready=started", "--ready=notify"],
            None,
            "--ready 'started': it means that there is no condition, and another condition is given; \
             remove one of them"
                .to_owned(),
        ),
        (
            &["--ready", "signal:INT"],
            None,
            "--ready 'signal:INT': INT cannot both begin a stop and report that the app is ready (stop-on \
             TERM,INT, default); remove it from one of them"
                .to_owned(),
        ),
        (
            &["--ready", "signal:USR2", "--on-reload=x"],
            Some(("GRACEINIT_RELOAD_ON", "USR2")),
            "--ready 'signal:USR2': USR2 cannot both run the on-reload hooks and report that the app is ready \
             (GRACEINIT_RELOAD_ON=USR2); remove it from one of them"
                .to_owned(),
        ),
        (
            &["--ready-file=/run/ready", "--ready=file:/run/ready"],
            None,
            "--ready-file '/run/ready': the file exists only while the app is ready, and readiness waits \
             for the file (--ready \
             file:/run/ready); name another file"
                .to_owned(),
        ),
        (
            &["--health=tcp:80"],
            None,
            "--health 'tcp:80': it has no effect where probes are not answered; add --listen ADDR, or remove it"
                .to_owned(),
        ),
        (
            &["--listen=127.0.0.1:1", "--live=tcp:80", "--live=tcp:80"],
            None,
            "--live 'tcp:80': it is given twice; give it once".to_owned(),
        ),
        (
            &["--health-timeout=2s"],
            None,
            "--health-timeout '2s': it has no effect without a check; add --health \
             http://127.0.0.1:8080/health, or remove it"
                .to_owned(),
        ),
        (
            &["--ready-timeout=5s", "--ready=notify", "--ready=after:5s"],
            None,
            "--ready-timeout '5s': the app cannot be ready by then (--ready after:5s); write a longer \
             time, or a shorter after"
                .to_owned(),
        ),
        (
            &["--ready=started"],
            Some(("GRACEINIT_READY_TIMEOUT", "1m")),
            "GRACEINIT_READY_TIMEOUT '1m': without --ready the app is ready as soon as it is started; add \
             --ready, or remove this option"
                .to_owned(),
        ),
        // The drain.
        (
            &["--drain-idle=2s"],
            None,
            format!("--drain-idle '2s': {NO_PORTS}"),
        ),
        (
            &["--drain-delay=2s"],
            Some(("GRACEINIT_DRAIN_QUIET", "1s")),
            format!("GRACEINIT_DRAIN_QUIET '1s': {NO_PORTS}"),
        ),
        (&["--drain-owed=1m"], None, format!("--drain-owed '1m': {NO_PORTS}")),
        (&["--drain-max=1m"], None, format!("--drain-max '1m': {NO_PORTS}")),
        (
            &["--drained=exec:idle", "--drained=exec:idle"],
            None,
            "--drained 'exec:idle': it is given twice; give it once".to_owned(),
        ),
        (
            &["--drained=exec:idle", "--drain-idle=2s"],
            None,
            format!("--drain-idle '2s': {NO_PORTS}"),
        ),
        (
            &["--drain-acks=2", "--drain=80"],
            None,
            "--drain-acks '2': it has no effect where probes are not answered; add --listen ADDR, or remove it"
                .to_owned(),
        ),
        (
            &["--drain-acks=2", "--drain=80", "--drain-delay=0", "--listen=:1"],
            None,
            "--drain-acks '2': it has no effect without a delay; add --drain-delay, or remove it"
                .to_owned(),
        ),
        (
            &["--drain-delay=11.5"],
            None,
            format!(
                "--drain-delay '11.5': a drain gets 11s 250ms at most ({GRACE}); write a shorter time, or \
                 a longer --grace"
            ),
        ),
        (
            &["--drain-delay=8s", "--drain=80", "--on-stop=x"],
            None,
            format!(
                "--drain-delay '8s': beside on-stop hooks a drain gets 7s 500ms at most ({GRACE}); write \
                 a shorter time, or a longer --grace"
            ),
        ),
        (
            &["--listen=:9180", "--listen=[::]:9180"],
            None,
            "--listen '[::]:9180': it is given twice; give it once".to_owned(),
        ),
        // Files.
        (
            &["--report=/run/x"],
            Some(("GRACEINIT_METRICS_FILE", "/run/./x")),
            "--report '/run/x': it is already in use (GRACEINIT_METRICS_FILE=/run/./x); name another file"
                .to_owned(),
        ),
        (
            &["--ready-file=x.prom", "--metrics-file=./x.prom"],
            None,
            "--metrics-file './x.prom': it is already in use (--ready-file x.prom); name another \
             file".to_owned(),
        ),
        (
            &["--report=/run//x", "--listen=unix:/run/x"],
            None,
            "--report '/run//x': it is already in use (--listen unix:/run/x); name another file".to_owned(),
        ),
        // Signals.
        (
            &["-r", "TERM:0"],
            None,
            "--rewrite 'TERM:0': TERM begins a stop (stop-on TERM,INT, default) and would be forwarded to \
             the app; name another signal with --stop-signal, or remove TERM from --stop-on"
                .to_owned(),
        ),
        (
            &["--stop-on", "HUP"],
            Some(("GRACEINIT_ON_RELOAD", "x")),
            "--stop-on 'HUP': HUP cannot both begin a stop and run the on-reload hooks (reload-on HUP, \
             default); remove it from one of them"
                .to_owned(),
        ),
        (
            &["--reload-on=USR1,INT", "--on-reload=x"],
            Some(("GRACEINIT_STOP_ON", "INT")),
            "--reload-on 'USR1,INT': INT cannot both begin a stop and run the on-reload hooks \
             (GRACEINIT_STOP_ON=INT); remove it from one of them"
                .to_owned(),
        ),
        (&["-gc"], None, "-g together with -c: they are two scopes; choose one".to_owned()),
        (
            &["-g", "--scope", "main"],
            None,
            "-g together with --scope main: they are two scopes; choose one".to_owned(),
        ),
        // Profiles.
        (
            &["--profile", "nginx:80"],
            None,
            "--profile 'nginx:80': nginx takes no argument; write nginx".to_owned(),
        ),
        (
            &["--profile", "uwsgi:"],
            None,
            "--profile 'uwsgi:': the argument is missing; write uwsgi:/run/uwsgi.fifo or uwsgi".to_owned(),
        ),
    ] {
        let variables: Vec<(&str, &str)> = variables.into_iter().collect();
        ensure_eq!(refused(flags, &variables, None), [format!("unable to use {want}")], "{flags:?}");
    }
    Ok(())
}

#[test]
fn a_conflict_in_the_file_shows_its_line() -> Outcome {
    let hook = |phase: &str, more: &str| format!("[[hook.{phase}]]\ncommand = 'x'\n{more}\n");
    let twin = hook("on-stop", "name = 'a'") + &hook("on-stop", "name = 'a'");
    let numbered = hook("on-stop", "name = 'on-stop-2'") + &hook("on-stop", "");
    for (text, want) in [
        (
            hook("pre-stop", "timeout = 12"),
            format!(
                "3:11 timeout = 12: pre-stop hooks get 11s 250ms at most ({GRACE}); write a shorter time, \
                 or a longer --grace\n  timeout = 12\n            ^"
            ),
        ),
        (
            "grace = 8\n".to_owned() + &hook("on-stop", "timeout = '7s'"),
            "4:11 timeout = '7s': on-stop hooks get 6s at most (grace 8 at FILE:1:9); write a shorter \
             time, or a longer --grace\n  timeout = '7s'\n            ^"
                .to_owned(),
        ),
        (
            hook("on-stop", "retries = 2\nbackoff = 10"),
            format!(
                "3:11 retries = 2: the pauses of 2 retries (10s, doubled each time) are longer than the 11s \
                 250ms that on-stop hooks get at most ({GRACE}); write fewer retries, a shorter backoff or a \
                 longer --grace\n  retries = 2\n            ^"
            ),
        ),
        (
            twin,
            "6:8 name = 'a': the hook at FILE:2:11 already has this name; write another name\n  name = 'a'\n  \
             \u{20}      ^"
                .to_owned(),
        ),
        (
            numbered,
            "3:8 name = 'on-stop-2': the hook at FILE:5:11 already has this name; write another name\n  name = \
             'on-stop-2'\n         ^"
                .to_owned(),
        ),
        (
            "pre-stop = 'x'\n".to_owned() + &hook("pre-stop", ""),
            "1:12 pre-stop = 'x': there are tables [[hook.pre-stop]] too; write all hooks of a phase as \
             tables\n  pre-stop = 'x'\n             ^"
                .to_owned(),
        ),
    ] {
        ensure_eq!(refused(&[], &[], Some(&text)), [format!("unable to use FILE:{want}")], "{text}");
    }
    Ok(())
}

/// Limits that fit, or that nobody wrote, and what is wrong with something else.
#[test]
fn what_is_no_conflict() -> Outcome {
    for (flags, file) in [
        (&["--grace", "1ms", "--on-stop", "x", "--post-stop", "x"][..], ""),
        (&["--grace", "0", "--post-stop-timeout", "0", "--on-stop", "x", "--post-stop", "x"], ""),
        (&["--grace", "1s", "--diagnose", "QUIT"], ""),
        (&["--grace", "1s", "--profile", "jvm"], ""),
        (&["--grace", "5", "--grace-max", "5"], ""),
        (&["--hook-timeout", "1h"], ""),
        // The longest of several phases counts, and some have no end.
        (&["--hook-timeout", "11", "--on-stop", "x", "--post-stop", "x"], ""),
        (&["--hook-timeout", "1h", "--on-stop", "x", "--pre-start", "x"], ""),
        (&["--hook-timeout", "1h"], "[[hook.on-stop]]\ncommand = 'x'\ntimeout = 5"),
        (&["--hook-retries", "99", "--pre-start", "x"], ""),
        (&["--hook-retries", "4000000000", "--hook-backoff", "0", "--on-stop", "x"], ""),
        (&["--hook-retries", "5", "--on-stop", "x"], ""),
        // The delay by default fits everywhere: it is cut.
        (&["--grace", "1s", "--drain", "80"], ""),
        (&["--grace", "7s", "--drain-delay", "5.25"], ""),
        (&["--drain-delay", "2s", "--drain-acks", "1", "--listen", ":1"], ""),
        (&["--drain", "80", "--ready-timeout", "1m"], ""),
        (&["--drain", "80,80,80"], ""),
        (&["--drain", "80", "--drain-quiet", "0", "--drain-idle", "0", "--drain-delay", "0"], ""),
        (&["--ready", "signal:HUP"], ""),
        (&["--ready", "fd:3", "--ready", "fd:4", "--ready", "after:1", "--ready", "after:2"], ""),
        (&["--ready-file", "/x", "--ready", "file:/y"], ""),
        (&["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2", "--listen", "unix:/x"], ""),
        (
            &[
                "--report=/x/a",
                "--metrics-file=/x/b.prom",
                "--ready-file=/x/c",
                "--listen=unix:/x/d",
            ],
            "",
        ),
        (&["--report=/x/a", "--listen=unix:@/x/a"], ""),
        (&["--stop-on", "HUP"], ""),
        (&["-r", "TERM:0", "--stop-signal", "INT"], ""),
        (&["-r", "TERM:0", "--stop-signal", "0:5s,INT"], ""),
        (&["-r", "TERM:0", "-r", "TERM:INT"], ""),
        (&["-g", "--scope", "group"], ""),
        (&[], "[[hook.pre-start]]\ncommand = 'x'\non_failure = 'warn'\nname = 'a'"),
        (&[], "[[hook.on-stop]]\ncommand = 'x'\non_failure = 'abort'\nname = 'pre-stop-1'"),
    ] {
        ensure_eq!(refused(flags, &[], Some(file)), [""; 0], "{flags:?} {file}");
    }
    // No conclusions are drawn from a value that could not be read.
    let flags = ["--grace=soon", "--grace-max=1", "--hook-timeout=1h", "--on-stop=x"];
    ensure_eq!(refused(&flags, &[], None).len(), 1, "the grace alone");
    let flags =
        ["--drain=x", "--drain-idle=1s", "--ready-timeout=5s", "--listen=x", "--drain-acks=1"];
    ensure_eq!(refused(&flags, &[], None).len(), 2, "the ports and the address");
    let flags = ["--ready=x", "--ready=after:9", "--ready-timeout=5s"];
    ensure_eq!(refused(&flags, &[], None).len(), 1, "one condition");
    Ok(())
}

#[test]
fn syntax_errors_are_told_in_the_same_shape() -> Outcome {
    let fix = "write KEY = VALUE, with text in quotes";
    for (text, want) in [
        (
            "grace = soon\n",
            vec![format!(
                "1:9 'grace = soon': string values must be quoted, expected literal string; {fix}\n  grace = \
                 soon\n          ^"
            )],
        ),
        (
            "scope = 'main'\n\nscope = 'tree'",
            vec![
                "3:1 'scope = 'tree'': duplicate key; write each key once\n  scope = 'tree'\n  ^"
                    .to_owned(),
            ],
        ),
        (
            "[[hook.on-stop]\nname = 'x'\n",
            vec![format!(
                "1:16 '[[hook.on-stop]': unclosed array table, expected `]`; {fix}\n  [[hook.on-stop]\n         \
                 \u{20}       ^"
            )],
        ),
        (
            "grace = \nscope = main\n",
            vec![
                format!(
                    "1:9 'grace =': string values must be quoted, expected literal string; {fix}\n  grace = \
                     \n          ^"
                ),
                format!(
                    "2:9 'scope = main': string values must be quoted, expected literal string; {fix}\n  scope = \
                     main\n          ^"
                ),
            ],
        ),
        (
            "grace = \"\x1b[31m\"\n",
            vec![format!(
                "1:10 'grace = \"\u{fffd}[31m\"': invalid basic string, expected non-double-quote visible \
                 characters, `\\`; {fix}\n  grace = \"\u{fffd}[31m\"\n           ^"
            )],
        ),
    ] {
        let want: Vec<String> =
            want.iter().map(|why| format!("unable to use FILE:{why}")).collect();
        ensure_eq!(refused(&[], &[], Some(text)), want, "{text}");
    }
    // What is no TOML at all is not told line by line to its end.
    ensure_eq!(refused(&[], &[], Some(&"x\n".repeat(1000))).len(), 10, "a thousand mistakes");
    // A long line is cut round the mistake.
    let long = format!("on-stop = '{}' x", "y".repeat(500));
    let mistakes = refused(&[], &[], Some(&long));
    ensure!(mistakes[0].lines().all(|line| line.len() < 300), "{mistakes:?}");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read() -> Outcome {
    let place = Place::new();
    place.file("binary", b"grace = 1\n# \xff", 0o644);
    place.file("large", "#\n".repeat(1 << 15) + "#", 0o644);
    place.fifo("fifo");
    for (name, why) in [
        ("missing", "the file does not exist; create it, or remove the option"),
        ("", "it is a directory; name the file in it"),
        ("binary/x", "Not a directory (os error 20); name a file that can be read"),
        ("binary", "line 2 is not UTF-8 text; save the file as UTF-8"),
        ("large", "it is larger than 64 KiB; name the right file"),
        ("fifo", "it is not a regular file; name one"),
    ] {
        let path = place.text(name);
        let want = format!("unable to use --config '{path}': {why}");
        ensure_eq!(refused(&["--config", &path], &[], None), [want], "{name}");
    }
    let just = place.file("just", "#\n".repeat(1 << 15), 0o644);
    ensure_eq!(refused(&["--config", &just.to_string_lossy()], &[], None), [""; 0], "64 KiB");
    Ok(())
}

/// Everything that is wrong anywhere: first what the flags and the variables say, then the file from its
/// top to its end, whatever kind of mistake it is.
#[test]
fn all_at_once_in_the_order_of_the_file() -> Outcome {
    let mistakes = refused(
        &["--grace=soon", "--pre-stop=sleep:x"],
        &[("GRACEINIT_SCOPE", "all")],
        Some(
            "stop-signal = 'X'\ngrase = 1\nhook-timeout = true\npre-stop = 'rm:'\n\
             [[hook.on-stop]]\nname = ''\ncommand = 'x'\ntimeout = '1h'\nenv = 1\n\
             [[hook.on-stop]]\n",
        ),
    );
    let places: Vec<&str> = mistakes
        .iter()
        .filter_map(|mistake| mistake.strip_prefix("unable to use ")?.split(' ').next())
        .collect();
    ensure_eq!(
        places,
        [
            "--grace",
            "GRACEINIT_SCOPE",
            "--pre-stop",
            "FILE:1:15",
            "FILE:2:1",
            "FILE:3:16",
            "FILE:4:12",
            "FILE:6:8",
            "FILE:9:7",
            "FILE:10:1"
        ],
        "{mistakes:?}"
    );
    Ok(())
}

/// A mistake in the file is one even where a flag counts more.
#[test]
fn the_whole_file_is_checked() -> Outcome {
    let file = Some("grace = 'soon'\non-stop = 'sleep:'\nscope = 3\n");
    let flags = ["--grace=5", "--on-stop=x", "--scope=main"];
    ensure_eq!(refused(&flags, &[], file).len(), 3, "mistakes");
    Ok(())
}

/// The real program: everything on stderr, 125, and the app is not started.
#[test]
fn a_bad_file_ends_the_start() -> Outcome {
    let place = Place::new();
    let file = place.file("graceinit.toml", "grace = \"soon\"\nscope = 'all'\n", 0o644);
    let mut run = Launch::graceinit(Room::Plain)
        .env("GRACEINIT_CONFIG", &file)
        .flags("--log-level loud")
        .app("say=started")
        .start()?;
    ensure_eq!(run.wait()?, Status::Code(125), "the code of a usage error");
    ensure!(run.out.all()?.is_empty(), "the app was started");
    let said: Vec<String> = run.err.all()?.into_iter().map(|line| line.0).collect();
    let file = file.display();
    let want = [
        "graceinit: fatal: unable to use --log-level 'loud': not a level; write off, error, warn, info, \
         debug or \
         trace"
            .to_owned(),
        format!(
            "graceinit: fatal: unable to use {file}:1:9 grace = \"soon\": not a duration; write 10s, 1m 30s, \
             250ms or a number of seconds"
        ),
        "  grace = \"soon\"".to_owned(),
        "          ^".to_owned(),
        format!(
            "graceinit: fatal: unable to use {file}:2:9 scope = 'all': not a scope; write auto, group, \
             main, mixed or tree"
        ),
        "  scope = 'all'".to_owned(),
        "          ^".to_owned(),
    ];
    ensure_eq!(said, want, "the mistakes");
    Ok(())
}
