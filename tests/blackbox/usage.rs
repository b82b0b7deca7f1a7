//! Settings: what is refused, where from, and what wins.

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, Status};
use crate::{ensure, ensure_eq};

/// Starts with settings that must be refused before the app runs; gives what is said on stderr.
fn refused(launch: Launch) -> Outcome<String> {
    let mut run = launch.app("say=started").start()?;
    let status = run.wait()?;
    let said: Vec<String> = run.err.all()?.into_iter().map(|line| line.0).collect();
    let said = said.join("\n");
    ensure_eq!(status, Status::Code(125), "the code of a usage error ({said})");
    ensure!(run.out.all()?.is_empty(), "the app was started");
    ensure!(said.starts_with("graceinit: fatal: "), "not in the grammar: {said:?}");
    Ok(said)
}

fn plain() -> Launch {
    Launch::graceinit(Room::Plain)
}

#[test]
fn a_bad_flag_is_named_with_its_value() -> Outcome {
    for (flag, value) in [
        ("--grace", "soon"),
        ("-t", "10parsecs"),
        ("--post-stop-timeout", "-"),
        ("--stop-on", "TERMINATE"),
        ("--stop-on", "KILL"),
        ("--stop-on", "STOP"),
        ("--stop-signal", "TERM:often"),
        ("--stop-signal", "NOSUCH"),
        ("--scope", "world"),
        ("--rewrite", "TERM=QUIT"),
        ("-r", "TERM:NOSUCH"),
        ("--stop-again", "maybe"),
        ("--hook-timeout", "x"),
        ("--hook-retries", "many"),
        ("--hook-backoff", "y"),
        ("--grace-exit", "256"),
        ("--stop-exit-ok", "-1"),
        ("-e", "1000"),
        ("-p", "NOSUCH"),
        ("--log-level", "loud"),
        ("--user", "no-such-user"),
        ("--pre-stop", "sh -c 'unfinished"),
        ("--on-stop", "sh -c \"unfinished"),
    ] {
        // As one word, so that a value may begin with a dash.
        let word = if flag.starts_with("--") {
            format!("{flag}={value}")
        } else {
            format!("{flag}{value}")
        };
        let said = refused(plain().words([word]))?;
        ensure!(said.contains(value), "{flag} {value}: the value is not named in {said:?}");
        ensure!(
            said.contains(flag.trim_start_matches('-')),
            "{flag} {value}: the flag is not named in {said:?}"
        );
    }
    Ok(())
}

#[test]
fn a_bad_variable_is_named_with_its_value() -> Outcome {
    for (name, value) in [
        ("GRACEINIT_GRACE", "soon"),
        ("GRACE_EXIT_TIMEOUT", "later"),
        ("GRACEINIT_STOP_ON", "TERM,NOSUCH"),
        ("GRACEINIT_STOP_SIGNAL", "NOSUCH:1s"),
        ("GRACEINIT_SCOPE", "world"),
        ("GRACEINIT_REWRITE", "HUP"),
        ("GRACEINIT_STOP_AGAIN", "maybe"),
        ("GRACEINIT_HOOK_TIMEOUT", "x"),
        ("GRACEINIT_USER", "no-such-user"),
        ("GRACEINIT_PRE_STOP", "sh -c 'unfinished"),
        ("GRACEINIT_LOG", "loud"),
    ] {
        let said = refused(plain().env(name, value))?;
        ensure!(said.contains(name), "{name}={value}: the variable is not named in {said:?}");
        let (first, _) = value.split_once('\'').unwrap_or((value, ""));
        ensure!(said.contains(first), "{name}={value}: the value is not named in {said:?}");
    }
    Ok(())
}

#[test]
fn all_mistakes_are_told_at_once() -> Outcome {
    let said = refused(
        plain().flags("--grace=soon --scope=world").env("GRACEINIT_HOOK_TIMEOUT", "whenever"),
    )?;
    for part in ["soon", "world", "whenever", "--grace", "--scope", "GRACEINIT_HOOK_TIMEOUT"] {
        ensure!(said.contains(part), "{part} is not named in {said:?}");
    }
    Ok(())
}

#[test]
fn an_unknown_flag_and_a_missing_command_are_refused() -> Outcome {
    let said = refused(plain().flags("--no-such-flag"))?;
    ensure!(said.contains("--no-such-flag"), "the flag is not named in {said:?}");
    for flags in ["", "--", "--grace=5s", "--grace=5s --"] {
        let mut run = plain().flags(flags).start()?;
        ensure_eq!(run.wait()?, Status::Code(125), "no command after {flags:?}");
        let said = run.err.next()?.0;
        ensure!(said.starts_with("graceinit: fatal: "), "not in the grammar: {said:?}");
    }
    Ok(())
}

/// An empty variable is how compose files and charts say "not set".
#[test]
fn a_variable_set_to_nothing_is_not_set() -> Outcome {
    let mut run = plain()
        .env("GRACEINIT_GRACE", "")
        .env("GRACEINIT_STOP_ON", "")
        .env("GRACEINIT_PRE_STOP", "")
        .env("GRACE_EXIT_TIMEOUT", "")
        .app("exit=5")
        .start()?;
    run.exits(5)
}

/// A Kubernetes service named "graceinit" puts variables like these into every container.
#[test]
fn an_unknown_variable_is_a_warning_only() -> Outcome {
    let mut run = plain()
        .env("GRACEINIT_SERVICE_HOST", "10.0.0.1")
        .env("GRACEINIT_PORT", "tcp://10.0.0.1:80")
        .app("exit=5")
        .start()?;
    run.exits(5)?;
    run.err.find("GRACEINIT_SERVICE_HOST").map(drop)
}

#[test]
fn help_version_and_licence_go_to_stdout() -> Outcome {
    for (flag, part) in [("--help", "--grace"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let mut run = plain().flags(flag).start()?;
        run.exits(0)?;
        run.out.find(part)?;
        ensure!(run.err.all()?.is_empty(), "{flag} says something on stderr");
    }
    let mut run = plain().flags("-l").start()?;
    run.exits(0)?;
    ensure!(!run.out.all()?.is_empty(), "no licence");
    Ok(())
}

/// The budget that a stop really had, in milliseconds, as a pre-stop hook is told.
fn budget(launch: Launch) -> Outcome<u64> {
    let place = Place::new();
    let hook = format!("sh -c 'echo $GRACEINIT_BUDGET_MS > {}'", place.text("budget"));
    let mut run = launch.flag("--pre-stop", hook).app("block ready echo=TERM:0").start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(0)?;
    let text = place.expect("budget")?;
    text.trim().parse().map_err(|_| crate::support::Fault::new(format!("budget {text:?}")))
}

/// Flag before variable before GRACE_EXIT_TIMEOUT before the default. Told by numbers so far apart
/// that a slow machine does not mix them up: the budget begins some milliseconds before the hook.
#[test]
fn the_grace_comes_from_the_nearest_source() -> Outcome {
    let expect = |launch: Launch, seconds: u64, what: &str| -> Outcome {
        let got = budget(launch)?;
        let range = (seconds.saturating_sub(8) * 1000)..=(seconds * 1000);
        ensure!(range.contains(&got), "{what}: {got} ms of {seconds} s");
        Ok(())
    };
    let file = |seconds| plain().env("GRACE_EXIT_TIMEOUT", seconds);
    expect(file("100"), 100, "GRACE_EXIT_TIMEOUT, a bare number")?;
    expect(file("100").env("GRACEINIT_GRACE", "200"), 200, "GRACEINIT_GRACE before it")?;
    expect(
        file("100").env("GRACEINIT_GRACE", "200s").flags("--grace 300"),
        300,
        "the flag before both",
    )?;
    expect(plain().flags("-t 90s"), 90, "-t")?;
    expect(plain().flags("-t90"), 90, "-t without a space")?;
    expect(plain().flag("--grace", "1m 30s"), 90, "two units")?;
    expect(plain().flags("--grace=60000ms"), 60, "milliseconds")?;
    expect(plain().flags("--grace 40 --grace 80"), 80, "the last one")?;
    Ok(())
}

#[test]
fn every_setting_of_a_stop_has_a_variable() -> Outcome {
    let place = Place::new();
    let note = |name: &str| format!("sh -c 'echo {name} >> {}'", place.text("notes"));
    // In a variable, each line is one value.
    let mut run = plain()
        .env("GRACEINIT_STOP_ON", "USR2")
        .env("GRACEINIT_STOP_SIGNAL", "QUIT")
        .env("GRACEINIT_REWRITE", "HUP:USR1\nWINCH:0")
        .env("GRACEINIT_ON_STOP", format!("{}\n{}\n", note("one"), note("two")))
        .env("GRACEINIT_POST_STOP", note("three"))
        .env("GRACEINIT_STOP_EXIT_OK", "4\n5")
        .app("block ready echo=QUIT:5")
        .start()?;
    run.ready()?;
    for (sent, got) in [("TERM", "got TERM "), ("HUP", "got USR1 ")] {
        run.signal(sent)?;
        run.out.expect(got)?;
    }
    run.signal("WINCH")?;
    run.signal("USR2")?;
    run.out.expect("got QUIT ")?;
    run.exits(0)?;
    ensure_eq!(place.expect("notes")?, "one\ntwo\nthree\n", "the hooks");
    Ok(())
}

#[test]
fn scope_and_second_request_have_variables() -> Outcome {
    let mut run = plain()
        .env("GRACEINIT_SCOPE", "main")
        .env("GRACEINIT_STOP_AGAIN", "kill")
        .env("GRACEINIT_GRACE_EXIT", "44")
        .app("block spawn=same:name=same;block;ready;echo ready echo")
        .start()?;
    let child = run.outer(run.out.expect("same: ready")?.number("pid")?)?;
    run.ready()?;
    run.signal("USR1")?;
    run.out.expect("got USR1 ")?;
    crate::support::sys::kill(child, 64)?;
    run.out.expect("same: got RTMAX ")?;
    ensure_eq!(run.out.count("same: got USR1"), 0, "scope main");
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.signal("TERM")?;
    run.exits(44)
}
