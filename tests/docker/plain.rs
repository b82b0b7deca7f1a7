//! An image without a shell, set up by variables alone: built-in actions, a mounted file, a profile,
//! and a look at the plan before anything runs.

use super::container::Container;
use super::engine::engine;
use super::{phases, variables};
use crate::support::Outcome;
use crate::support::files::Place;
use crate::{ensure, ensure_eq};

/// What the container has changed, as `docker diff` tells it.
fn changed(container: &Container, what: &str) -> Outcome<bool> {
    Ok(container.docker(&["diff"])?.lines().any(|line| line == what))
}

#[test]
fn built_in_actions_do_the_work() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let options = variables(&[
        "GRACEINIT_LOG=info",
        "GRACEINIT_PRE_START=touch:/w/running",
        "GRACEINIT_PRE_STOP=touch:/w/leaving\nhttp:GET http://127.0.0.1:8080/",
        // This is the stop: graceinit itself sends nothing.
        "GRACEINIT_ON_STOP=signal:TERM",
        "GRACEINIT_STOP_SIGNAL=0:5s",
        "GRACEINIT_POST_STOP=rm:/w/running",
    ]);
    let container = Container::run(engine, &options, "/server 8080")?;
    container.log.out.until("listening")?;
    ensure!(changed(&container, "A /w/running")?, "pre-start has made no file");
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 0, "exit code");
    let log = container.whole_log()?;
    ensure!(changed(&container, "A /w/leaving")?, "pre-stop has made no file: {log:#?}");
    ensure!(!changed(&container, "A /w/running")?, "post-stop has not removed it: {log:#?}");
    ensure_eq!(container.log.out.count("request"), 1, "requests of the hook");
    ensure_eq!(container.log.out.count("stopping"), 1, "signals that the server had");
    ensure!(!log.iter().any(|line| line.contains("asking the app to stop")), "{log:#?}");
    ensure!(!log.iter().any(|line| line.contains(": warn: ")), "{log:#?}");
    Ok(())
}

/// `--volume`, or a ConfigMap in Kubernetes.
#[test]
fn a_mounted_file_brings_a_hook_with_a_name() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let place = Place::new();
    let toml = r#"
        grace = "5s"
        log-level = "info"

        [[hook.pre-stop]]
        name = "last-look"
        command = "http:GET http://127.0.0.1:8080/"
        timeout = "2s"
    "#;
    place.file("graceinit.toml", toml, 0o644);
    let volume = format!("{}:/etc/graceinit.toml:ro", place.text("graceinit.toml"));
    let mount = ["--volume", &volume];
    // A variable counts more than the file.
    let pairs = variables(&["GRACEINIT_CONFIG=/etc/graceinit.toml", "GRACEINIT_GRACE=6s"]);
    let container = Container::run(engine, &[&mount[..], &pairs].concat(), "/server 8080")?;
    container.log.out.until("listening")?;
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 0, "exit code");
    let log = container.whole_log()?;
    for expected in [
        "grace=6s (GRACEINIT_GRACE)",
        "log-level=info (/etc/graceinit.toml:3:21)",
        "hook started hook=last-look attempt=1 limit=2.000s",
        "hook done with code 0 hook=last-look ",
    ] {
        ensure!(log.iter().any(|line| line.contains(expected)), "no {expected:?} in {log:#?}");
    }
    ensure_eq!(container.log.out.count("request"), 1, "requests of the hook");
    Ok(())
}

/// A step of the pipeline that builds the image.
#[test]
fn a_plan_is_printed_and_nothing_started() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let check = |pairs: &[&str]| {
        let pairs = variables(pairs);
        let run = [&["run", "--rm", "--network", "none"][..], &pairs, &[&engine.image]];
        engine.try_docker(&[&run.concat()[..], &["/server", "8080"]].concat())
    };
    let docker = "GRACEINIT_CHECK=docker";
    let kills = "10s: Docker kills PID 1";
    let too_long = "warning: this plan may take 20s, but after 10s Docker kills PID 1";
    for (pairs, code, expected) in [
        (&[docker][..], 0, kills),
        (&[docker, "GRACEINIT_GRACE=20s"], 1, too_long),
        (&["GRACEINIT_CHECK=k8s:30s", "GRACEINIT_GRACE=20s"], 0, "terminationGracePeriodSeconds"),
        (&[docker, "GRACEINIT_GRACE=soon"], 125, "unable to use GRACEINIT_GRACE 'soon'"),
    ] {
        let (ended, out, err) = check(pairs)?;
        ensure_eq!(ended, code, "exit code with {pairs:?}: {out} {err}");
        ensure!(out.contains(expected) || err.contains(expected), "{pairs:?}: {out} {err}");
        ensure!(!out.contains("listening"), "{pairs:?} has started the app: {out}");
    }
    Ok(())
}

/// An image inherits its base's STOPSIGNAL: what nginx calls a graceful stop begins graceinit's.
#[test]
fn a_profile_knows_the_stop_signal_of_the_image() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    for (profile, signal) in [("nginx", "QUIT"), ("haproxy", "USR1")] {
        let profile = format!("GRACEINIT_PROFILE={profile}");
        let pairs = variables(&[&profile, "GRACEINIT_LOG=debug"]);
        let options = [&["--stop-signal", signal][..], &pairs].concat();
        let app = format!("/puppet block ready echo={signal}:0");
        let container = Container::run(engine, &options, &app)?;
        container.log.out.until("ready")?;
        container.docker(&["stop"])?;
        ensure_eq!(container.exit_code()?, 0, "exit code with {profile}");
        let log = container.whole_log()?;
        let walked = phases(&log);
        ensure!(walked.contains(&"pre-stop"), "{profile}: no stop in {walked:?}");
        let lines = container.log.out.all()?;
        let got: Vec<&str> =
            lines.iter().filter_map(|line| Some(line.0.split_once(" code=")?.0)).collect();
        ensure_eq!(got, [format!("got {signal}")], "{profile}: what the app was told");
    }
    Ok(())
}
