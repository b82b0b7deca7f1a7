//! `docker stop`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::container::Container;
use super::engine::engine;
use super::{phases, survivors};
use crate::support::{Fault, Outcome, PATIENCE};
use crate::{ensure, ensure_eq};

/// Flags cannot be given to an entry point that ends with `--`: variables do everything.
#[test]
fn it_walks_the_phases_and_ends_with_the_servers_code() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let variables = [
        "GRACEINIT_LOG=debug",
        // Still served before the stop signal.
        "GRACEINIT_PRE_STOP=/server get http://127.0.0.1:8080/",
        "GRACEINIT_ON_STOP=/puppet say=the-last-moment",
        "GRACEINIT_POST_STOP=/puppet say=afterwards env=GRACEINIT_REASON",
    ];
    let options: Vec<&str> = variables.iter().flat_map(|pair| ["--env", pair]).collect();
    let container = Container::run(engine, &options, "/server 8080")?;
    container.log.out.until("listening 8080")?;
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 0, "exit code");
    let log = container.whole_log()?;
    let expected =
        ["running", "ready", "pre-stop", "on-stop", "stopping", "leftovers", "post-stop"];
    let walked: Vec<&str> = phases(&log);
    ensure!(walked.ends_with(&expected), "walked {walked:?}, expected {expected:?}\n{log:#?}");
    for hook in [
        "[pre-stop pre-stop-1 stdout] hello",
        "[on-stop on-stop-1 stdout] the-last-moment",
        "[post-stop post-stop-1 stdout] afterwards",
        "[post-stop post-stop-1 stdout] env GRACEINIT_REASON=signal",
    ] {
        ensure!(log.iter().any(|line| line.contains(hook)), "no {hook:?} in {log:#?}");
    }
    Ok(())
}

/// A request that was accepted before the stop is answered after it began.
#[test]
fn a_request_in_flight_is_answered() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    // The client is outside: one in the container might end with it, its answer in hand.
    let container = Container::run(engine, &["--network", "host"], "/server 0 --slow-ms 1500")?;
    let listening = container.log.out.until("listening")?;
    let port = listening.0.rsplit(' ').next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    container.log.out.until("request")?;
    container.docker(&["kill", "--signal", "TERM"])?;
    container.log.out.until("stopping")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    ensure!(answer.ends_with("hello\n") || answer.ends_with("hello"), "the answer: {answer:?}");
    ensure_eq!(container.exit_code()?, 0, "exit code");
    ensure!(container.log.out.so_far().iter().any(|line| line.0 == "stopped"), "the server's end");
    Ok(())
}

/// graceinit's own kill comes first, and so the post-stop hooks have their turn.
#[test]
fn an_app_that_ignores_it_is_killed_by_graceinit_not_by_docker() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let flags = ["-vv", "--grace", "500ms", "--post-stop", "/puppet say=last-words"];
    let container = Container::with_flags(engine, &flags, "/server 8080 --on-term ignore")?;
    container.log.out.until("listening")?;
    // Docker would wait three seconds: time enough for a hook on a busy machine.
    container.docker(&["stop", "--time", "3"])?;
    ensure_eq!(container.exit_code()?, 137, "exit code");
    let log = container.whole_log()?;
    let walked = phases(&log);
    ensure!(walked.ends_with(&["stopping", "killed", "post-stop"]), "walked {walked:?}");
    let last = "[post-stop post-stop-1 stdout] last-words";
    ensure!(log.iter().any(|line| line.contains(last)), "no {last:?} in {log:#?}");
    Ok(())
}

/// Docker kills after 10 s, so that graceinit's budget is 7 s there and the hooks afterwards have 2.
/// Who hung, and on what, is written down before that.
#[test]
fn the_default_budget_fits_into_dockers() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    let hook = ["--env", "GRACEINIT_POST_STOP=/puppet say=last-words env=GRACEINIT_REASON"];
    let log = ["--env", "GRACEINIT_LOG=info"];
    let options = [hook, log].concat();
    let app = "/server 8080 --slow-ms 60000 --on-term ignore";
    let container = Container::run(engine, &options, app)?;
    container.log.out.until("listening")?;
    let _client = container.exec_beside("/server get http://127.0.0.1:8080/")?;
    container.log.out.until("request")?;
    let before = Instant::now();
    container.docker(&["stop"])?;
    let took = before.elapsed();
    ensure_eq!(container.exit_code()?, 137, "exit code");
    let log = container.whole_log()?;
    let last = "[post-stop post-stop-1 stdout] env GRACEINIT_REASON=deadline";
    ensure!(log.iter().any(|line| line.contains(last)), "no {last:?} in {log:#?}");
    ensure!(took >= Duration::from_millis(6900), "the app had {took:?} only");
    let survivors = survivors(&log);
    // The client, a session of `docker exec`, is no descendant.
    let [app] = survivors.as_slice() else {
        return Err(Fault::new(format!("not one survivor: {survivors:?} in {log:#?}")));
    };
    let command = r#" command="/server 8080 --slow-ms 60000 --on-term ignore" "#;
    ensure!(app.0.contains(command), "another command: {app:?}");
    for (key, value) in [("ppid", "1"), ("state", "S"), ("threads", "2"), ("connections", "1")] {
        ensure_eq!(app.get(key), Some(value), "{key} of {app:?}");
    }
    let age = app.get("age").and_then(|age| age.strip_suffix('s')?.parse::<f64>().ok());
    // The look begins half a second before the deadline of 7 s.
    ensure!(age >= Some(6.45), "a strange age: {app:?}");
    ensure!(app.get("wchan").is_some(), "no wchan: {app:?}");
    Ok(())
}

/// Sessions of `docker exec` are not the app's: what it left behind is swept, they are not.
#[test]
fn an_exec_session_is_spared_by_the_sweep_of_leftovers() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    // The app ends on TERM; a helper that has left its group and session works on for a while.
    let helper = "name=helper;ready;helper=1000:/w/saved";
    let app = format!("/puppet block spawn=double:{helper} ready echo=TERM:0");
    let container = Container::with_flags(engine, &["-v"], &app)?;
    container.log.out.until("ready")?;
    let guest = container.exec_beside("/puppet name=guest block ready echo")?;
    guest.out.expect("guest: ready")?;
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 0, "exit code");
    container.log.out.find("helper: got TERM")?;
    let told = guest.out.all()?;
    ensure!(told.is_empty() || told.len() == 1, "the guest was told {told:?}");
    Ok(())
}
