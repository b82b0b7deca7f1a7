//! `--check`: the examples of docs/check.md are what a user sees, to the letter; and it starts nothing.

use std::process::{Command, Output};

use crate::support::files::Place;
use crate::support::{Fault, Outcome, Program, alias};
use crate::{ensure, ensure_eq};

fn check(variables: &[(&str, &str)], words: &[&str], cwd: &std::path::Path) -> Outcome<Output> {
    let mut command = Command::new(Program::Graceinit.path());
    // Defaults depend on the place; what is shown must not depend on where the tests run.
    command.env_clear().env("PATH", "/usr/bin:/bin").env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    Ok(command.envs(variables.iter().copied()).args(words).current_dir(cwd).output()?)
}

/// Each block of the page: the command line and what it prints. Files named in it are blocks too.
#[test]
fn the_docs_show_what_a_user_sees() -> Outcome {
    let page = include_str!("../../docs/check.md");
    let place = Place::new();
    for program in ["nginx", "postgres", "bundle", "deregister", "app"] {
        place.file(program, "", 0o755);
    }
    let path = place.text(".");
    let mut examples = 0;
    for block in page.split("```").skip(1).step_by(2) {
        let (kind, text) = block.split_once('\n').unwrap_or_default();
        if let Some(name) = kind.strip_prefix("toml ") {
            place.file(name, text, 0o644);
            continue;
        }
        let Some((line, shown)) =
            text.strip_prefix("$ graceinit ").and_then(|t| t.split_once('\n'))
        else {
            continue;
        };
        let words = shlex::split(line).ok_or_else(|| Fault::new(format!("unreadable: {line}")))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = check(&[("PATH", &path)], &words, &place.path("."))?;
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        ensure!(printed == shown, "graceinit {line} prints\n{printed}\nthe page shows\n{shown}");
        examples += 1;
    }
    ensure!(examples >= 4, "only {examples} examples");
    Ok(())
}

/// Neither the app nor a hook runs, and there may be no app at all.
#[test]
fn nothing_is_started() -> Outcome {
    let place = Place::new();
    let hook = format!("touch {}", place.text("hook"));
    let app = place.text("app");
    let words = ["--check", "--pre-start", &hook, "--post-stop", &hook, "--", "touch", &app];
    for words in [&words[..], &words[..5]] {
        let output = check(&[], words, &place.path("."))?;
        ensure_eq!(output.status.code(), Some(0), "{words:?}");
    }
    ensure_eq!((place.read("app"), place.read("hook")), (None, None), "what was started");
    Ok(())
}

/// For a pipeline that builds images: a plan that does not fit is an exit code.
#[test]
fn a_plan_that_does_not_fit_is_an_exit_code() -> Outcome {
    let here = std::path::Path::new("/");
    for (words, code) in [
        (&["--check=docker", "--grace", "8s", "--post-stop-timeout", "1s", "true"][..], 0),
        (&["--check=docker", "--grace", "10s", "--post-stop", "true", "true"], 1),
        (&["--check=k8s:30s", "--grace", "10s", "true"], 0),
        (&["--check=k8s:9s", "--grace", "10s", "true"], 1),
        // A tie is lost.
        (&["--check=k8s:10s", "--grace", "10s", "true"], 1),
        (&["--check", "--grace", "10h", "true"], 0),
        // A drain that is walked to its end as well.
        (&["--check=k8s:20h", "--grace", "10h", "--drain", "80", "true"], 0),
        (&["--check=k8s:9h", "--grace", "10h", "--drain", "80", "true"], 1),
        // Sums of the longest times.
        (
            &[
                "--check",
                "--grace=36499d",
                "--grace-max=36499d",
                "--post-stop-timeout=36499d",
                "true",
            ],
            0,
        ),
        (&["--check", "--grace=36499d", "--diagnose=QUIT@9999d", "--pre-stop=true", "true"], 0),
        (&["--check", "--grace=36499d", "--stop-signal=TERM:36499d,INT", "true"], 0),
        (&["--check", "--grace", "18446744073709551615ns", "true"], 125),
        (&["--check", "--grace", "never", "true"], 125),
    ] {
        let output = check(&[], words, here)?;
        ensure_eq!(output.status.code(), Some(code), "{words:?}");
    }
    // `docker run --init` leaves no room for a flag.
    let variables = [("GRACEINIT_CHECK", "docker"), ("GRACEINIT_GRACE", "15s")];
    let output = check(&variables, &["--", "true"], here)?;
    ensure_eq!(output.status.code(), Some(1), "15 s in Docker's 10");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let warning = "warning: this plan may take 15s, but after 10s Docker kills PID 1: set \
                   --grace 7s --post-stop-timeout 2s, or docker stop -t 17";
    ensure!(text.contains(warning), "{text}");
    Ok(())
}

/// Under another init's name there may be no deadline, and no stop to be drawn.
#[test]
fn a_plan_without_a_deadline_has_no_end() -> Outcome {
    let hooks = ("GRACEINIT_PRE_STOP", "sleep:2s");
    let drain = ("GRACEINIT_DRAIN", "80");
    let all = [
        (vec![hooks], "--check", 0, &["2s on, no deadline\n", "\nNo deadline: the app is "][..]),
        (vec![hooks, drain], "--check", 0, &["drain  ", "2s on, no deadline\n"]),
        (
            vec![hooks],
            "--check=docker",
            1,
            &["\nwarning: this plan has no deadline, but after 10s Docker kills PID 1: set \
               GRACEINIT_GRACE=7s GRACEINIT_POST_STOP_TIMEOUT=2s\n"],
        ),
        (vec![hooks, ("GRACEINIT_GRACE", "7s")], "--check", 0, &["SIGKILL to all"]),
        (
            vec![],
            "--check=docker",
            0,
            &["\nThere is no stop in phases: signals are forwarded, TERM and INT like all others"],
        ),
        (
            vec![("GRACEINIT_STOP_SIGNAL", "TERM:1s,INT:50%,QUIT")],
            "--check",
            0,
            &[
                "TERM to the app",
                "INT to the app",
                "\nwarning: the last steps of --stop-signal never",
            ],
        ),
    ];
    for (mut variables, flag, code, told) in all {
        variables.extend([
            ("GRACEINIT_CHECK", flag.strip_prefix("--check=").unwrap_or("1")),
            ("PATH", "/usr/bin:/bin"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ]);
        let mut command = Command::new(alias("tini"));
        let output = command.env_clear().envs(variables.clone()).args(["--", "true"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure_eq!(output.status.code(), Some(code), "{variables:?}: {text}");
        for told in told {
            ensure!(text.contains(told), "{told} is not in {text}");
        }
        let killed = text.contains("SIGKILL");
        ensure_eq!(killed, told.contains(&"SIGKILL to all"), "SIGKILL in {text}");
        ensure!(!text.contains("year"), "{text}");
    }
    Ok(())
}

/// Hooks that hang take the time of the drain.
#[test]
fn hooks_that_may_eat_the_drain_are_a_warning() -> Outcome {
    let here = std::path::Path::new("/");
    let hook = ["--pre-stop", "true"];
    let warning = "warning: the pre-stop hooks may take 5s, which leaves 250ms of 5.25s for the drain: \
                   shorten their timeouts, or lengthen --grace";
    for (words, told) in [
        (vec!["--check=docker", "--drain=80", hook[0], hook[1]], true),
        (vec!["--check=docker", "--drain=80", hook[0], hook[1], "--hook-timeout=2s"], false),
        (vec!["--check=docker", "--drain=80"], false),
        (vec!["--check=docker", hook[0], hook[1]], false),
        (vec!["--check=k8s", "--drain=80", hook[0], hook[1]], false),
    ] {
        let words = [&words[..], &["--", "true"]].concat();
        let output = check(&[], &words, here)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure_eq!(text.contains(warning), told, "{words:?}: {text}");
    }
    Ok(())
}

/// Where `--check` runs has no effect on what it draws of another place.
#[test]
fn a_check_of_another_place_draws_its_defaults() -> Outcome {
    let here = std::path::Path::new("/");
    let drawn =
        |word: &str, variables: &[(&str, &str)]| -> Outcome<(String, Option<i32>, String)> {
            let output = check(variables, &[&format!("--check={word}"), "--", "true"], here)?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let grace = text.lines().find(|line| line.starts_with("  grace "));
            let words = grace.unwrap_or_default().split_whitespace().skip(1);
            Ok((words.collect::<Vec<_>>().join(" "), output.status.code(), text))
        };
    let elsewhere = [("FLY_APP_NAME", "a"), ("ECS_CONTAINER_METADATA_URI_V4", "http://x")];
    for (word, grace) in [
        ("k8s", "15s default on kubernetes: Kubernetes kills after 30s"),
        ("docker", "7s default on docker: Docker kills after 10s"),
        ("fly", "3s 500ms default on fly: Fly.io kills after 5s"),
        ("ecs:45s", "33s default on ecs: Amazon ECS kills after 45s"),
        ("lxc", "45s default on lxc: LXC kills after 1m"),
    ] {
        for variables in [&[][..], &elsewhere] {
            let (got, code, text) = drawn(word, variables)?;
            ensure_eq!((&got[..], code), (grace, Some(0)), "{word}: {text}");
        }
    }
    // A time alone is that of the place where it runs.
    let (got, code, _) = drawn("45s", &elsewhere)?;
    ensure_eq!(
        (&got[..], code),
        ("31s 500ms default on fly: Fly.io kills after 45s", Some(0)),
        "45s"
    );
    // A run knows nothing of the time that only --check names.
    let (_, code, text) = drawn("k8s:10s", &[])?;
    ensure_eq!(code, Some(1), "{text}");
    let warning = "warning: a run does not know of these 10s: it takes --grace 15s and --post-stop-timeout 5s \
                   unless GRACEINIT_PLATFORM=kubernetes:10s is set where it runs";
    ensure!(text.contains(warning), "{text}");
    let (_, code, text) = drawn("k8s:10s", &[("GRACEINIT_PLATFORM", "kubernetes:10s")])?;
    ensure_eq!((code, text.contains("warning")), (Some(0), false), "{text}");
    Ok(())
}

/// What will not be there when it is needed.
#[test]
fn missing_programs_are_named() -> Outcome {
    let ready = ["--ready", "exec:no-such-probe -x"];
    let words =
        ["--check", "--on-stop", "no-such-hook -x", ready[0], ready[1], "--", "no-such-app"];
    let output = check(&[], &words, std::path::Path::new("/"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for warning in [
        "warning: the app cannot be started now: there is no program 'no-such-app'",
        "warning: the hook on-stop-1 cannot be started now: there is no program 'no-such-hook'",
        "warning: the probe of --ready cannot be started now: there is no program 'no-such-probe'",
    ] {
        ensure!(text.contains(warning), "{warning} is not in {text}");
    }
    ensure_eq!(output.status.code(), Some(0), "a pre-start hook may still bring them");
    Ok(())
}

/// Whom `--listen` answers besides this host, before anybody finds out by himself.
#[test]
fn what_others_can_read_is_a_note() -> Outcome {
    let here = std::path::Path::new("/");
    let note = "\nnote: every client that can reach [::]:9180 can read metrics, settings, command lines, \
                the names of \
                processes and what hooks print; --listen 127.0.0.1:PORT serves this host (or pod) only\n";
    for (listen, told) in [(":9180", true), ("127.0.0.1:9180", false), ("unix:@x", false)] {
        let output = check(&[("GRACEINIT_LISTEN", listen)], &["--check", "true"], here)?;
        ensure_eq!(output.status.code(), Some(0), "{listen}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure_eq!(text.contains(note), told, "{listen}: {text}");
    }
    Ok(())
}
