//! How a rehearsal itself lives: without rights, interrupted, with wrong options.

use std::process::{Command, Stdio};

use super::{Site, needs};
use crate::support::{Fault, Outcome, Program, need, proc, sys};
use crate::{ensure, ensure_eq};

/// The processes that have this text in their command line.
fn with(text: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
    .collect()
}

#[test]
fn without_a_right_graceinit_is_a_subreaper_and_variables_count() -> Outcome {
    if !needs() || !need::root() {
        return Ok(());
    }
    let site = Site::new()?;
    let program = Program::Graceinit.path();
    let url = format!("POST::{}/", site.port);
    let done = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"])
        .arg(program)
        .args(["--rehearse=docker", "--only", "--rate", "50", "--url", &url, "--"])
        .args(site.server("get=no"))
        .env_clear()
        .env("GRACEINIT_DRAIN", site.port.to_string())
        .env("GRACEINIT_DRAIN_IDLE", "1s")
        .output()?;
    let text = String::from_utf8_lossy(&done.stdout);
    ensure!(text.contains("graceinit is a subreaper"), "{text}");
    ensure!(text.contains("These settings lose nothing"), "{text}");
    ensure_eq!(done.status.code(), Some(0), "{text}");
    ensure_eq!(with(&site.place.text("server.py")), Vec::<i32>::new(), "what is left");
    Ok(())
}

/// With a pid namespace and without one.
#[test]
fn an_interrupt_ends_everything_that_was_started() -> Outcome {
    if !needs() {
        return Ok(());
    }
    for prefix in [&[][..], &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]]
    {
        if !prefix.is_empty() && !need::root() {
            continue;
        }
        let site = Site::new()?;
        let script = format!("{} ; true", site.server("").join(" "));
        let program = Program::Graceinit.path().display().to_string();
        let mut words: Vec<String> = prefix.iter().map(|word| (*word).to_owned()).collect();
        let url = format!(":{}/", site.port);
        words.extend(
            [program].into_iter().chain(
                ["--rehearse=k8s", "--rate", "20", "--url", &url, "--", "sh", "-c", &script]
                    .map(String::from),
            ),
        );
        let mut child = Command::new(&words[0]).args(&words[1..]).stdout(Stdio::null()).spawn()?;
        let server = site.place.text("server.py");
        let python = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
                exe.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
            })
        };
        proc::poll("the server", || with(&server).iter().any(python).then_some(()))?;
        sys::kill(child.id() as i32, libc::SIGINT)?;
        let status = proc::poll("the end", || child.try_wait().ok().flatten())?;
        ensure!(!status.success(), "{status}");
        ensure_eq!(with(&server), Vec::<i32>::new(), "what is left");
    }
    Ok(())
}

#[test]
fn mistakes_are_refused_before_anything_is_started() -> Outcome {
    for (words, wanted) in [
        ("--rehearse -- app", "add --url :8080/path"),
        ("--rehearse --url http://10.0.0.1/ -- app", "this host only"),
        ("--rehearse --url :1/ --rate 0 -- app", "not a number from 1 to 5000"),
        ("--rehearse=moon --url :1/ -- app", "not a platform"),
        ("--rehearse --url :1/ --grace bananas -- app", "not a duration"),
        ("--rehearse --check --url :1/ -- app", "choose one"),
        ("--rehearse --url :1/", "there is no command"),
        ("--rate 5 -- app", "no effect without --rehearse"),
        ("--only -- app", "no effect without --rehearse"),
    ] {
        let done =
            Command::new(Program::Graceinit.path()).args(words.split(' ')).env_clear().output()?;
        let text = String::from_utf8_lossy(&done.stderr);
        ensure!(text.contains(wanted), "{words}: {text}");
        ensure_eq!(done.status.code(), Some(125), "{words}");
        ensure_eq!(String::from_utf8_lossy(&done.stdout), "", "{words}");
    }
    Ok(())
}

/// A balancer that asks graceinit is not told, and needs no delay.
#[test]
fn a_balancer_that_checks_learns_of_the_stop_from_readyz() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let site = Site::new()?;
    let check = crate::support::port::free_port()?;
    let options = format!(
        "--rehearse=k8s:30s --only --rate 50 --url :{{port}}/ --rehearse-health :{check}/readyz \
         --drain {{port}} --drain-idle 1s --drain-acks 1 --listen 127.0.0.1:{check}"
    );
    let result = site.rehearse(&options, &site.server(""))?;
    ensure_eq!((result.code, result.lost()), (0, 0), "{}", result.text);
    Ok(())
}

#[test]
fn the_file_that_is_printed_loses_nothing() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let site = Site::new()?;
    let url = format!(":{}/", site.port);
    let rehearse = |words: &[&str]| {
        let mut command = Command::new(Program::Graceinit.path());
        command.args(["--rehearse=docker", "--rate", "50", "--rounds", "1", "--url", &url]);
        command
            .args(words)
            .arg("--")
            .args(site.server(""))
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command.output()
    };
    let done = rehearse(&["--rehearse-toml", "--stop-exit-ok", "143"])?;
    let text = String::from_utf8_lossy(&done.stdout);
    let file = text.split_once("# Found by").ok_or(Fault::new(text.to_string()))?.1;
    let path = site.place.file("graceinit.toml", format!("#{file}"), 0o644);
    let done = rehearse(&["--only", "--config", &path.display().to_string()])?;
    let text = String::from_utf8_lossy(&done.stdout);
    ensure_eq!(done.status.code(), Some(0), "{file}\n{text}");
    ensure!(
        text.contains(" 0 \u{2713}") || text.contains("0    \u{2713}"),
        "the exit code: {text}"
    );
    Ok(())
}

/// Otherwise the load would go to that program, and nothing would be lost.
#[test]
fn a_port_that_another_program_has_is_refused() -> Outcome {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!(":{}/", taken.local_addr()?.port());
    let mut command = Command::new(Program::Graceinit.path());
    command.args(["--rehearse", "--url", &url, "--", "/bin/true"]).env_clear();
    let done = command.output()?;
    let text = String::from_utf8_lossy(&done.stderr);
    ensure!(text.contains("another program listens there"), "{text}");
    ensure_eq!(done.status.code(), Some(125), "{text}");
    Ok(())
}

#[test]
fn a_command_that_cannot_be_executed_is_named() -> Outcome {
    let site = Site::new()?;
    let result = site.rehearse("--rehearse --url :{port}/", &["/nowhere/app".to_owned()])?;
    ensure_eq!(result.code, 1, "{}", result.text);
    result.says(&["never got ready", "code 127", "/nowhere/app"])
}

/// Each request is a dot, text from outside is no markup, and nothing is loaded.
#[test]
fn the_page_shows_both_stops() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let site = Site::new()?;
    let page = site.place.text("stop.html");
    let options = format!(
        "--rehearse=k8s:30s --rate 20 --rounds 1 --url ':{{port}}/?<b>' --rehearse-html {page}"
    );
    let result = site.rehearse(&options, &site.server(""))?;
    let text = site.place.expect("stop.html")?;
    for wanted in
        ["as it is", "requests were lost", "nothing was lost", "the balancer knows", "&lt;b&gt;"]
    {
        ensure!(text.contains(wanted), "the page lacks {wanted}: {text}");
    }
    for unwanted in ["<script", "src=", "<b>?", "http://"] {
        ensure!(!text.contains(unwanted), "the page has {unwanted}: {text}");
    }
    let sent = |row: usize| result.json["rows"][row]["sent"].as_u64().unwrap_or(0);
    let most = usize::try_from(sent(0).max(sent(1)) * 2 + 50)?;
    let dots = text.matches("<circle").count();
    ensure!((10..=most).contains(&dots), "{dots} dots for {}", result.text);
    Ok(())
}
