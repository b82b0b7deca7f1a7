//! The order of effects, as the kernel sees it: what graceinit does for one event is traced with strace(1).

use super::observer::ask;
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Program, Room, Run, need, proc};
use crate::{ensure, ensure_eq};

/// The system calls with an effect on other processes, and those that reap.
const CALLS: &str = "trace=kill,pidfd_send_signal,write,pwritev2,writev,sendto,sendmsg,timer_settime,\
                     waitid,wait4,clone,clone3";

/// A launch that is traced, and the file with the trace. `-DD`: the tracer is no parent, so graceinit keeps its pid.
fn traced(place: &Place) -> Launch {
    let file = place.text("trace");
    Launch::graceinit(Room::Plain)
        .wrapped_by(["strace", "-DD", "-s", "200", "-o", &file, "-e", CALLS])
}

fn has_strace() -> bool {
    need::met(std::path::Path::new("/usr/bin/strace").exists(), "strace")
}

/// The traced lines from the first one that begins with `from` on, once graceinit has ended with `code`.
fn lines(place: &Place, run: &mut Run, code: i32, from: &str) -> Outcome<Vec<String>> {
    run.exits(code)?;
    // The tracer writes its last line when the program has gone.
    let ended = || place.read("trace").filter(|text| text.contains("+++ "));
    let text = proc::poll("the end of the trace", ended)?;
    let lines: Vec<String> =
        text.lines().skip_while(|line| !line.contains(from)).map(str::to_owned).collect();
    ensure!(!lines.is_empty(), "no {from} in {text}");
    Ok(lines)
}

/// Where the first line with all of `parts` is.
fn place_of(lines: &[String], parts: &[&str]) -> Outcome<usize> {
    let found = lines.iter().position(|line| parts.iter().all(|part| line.contains(part)));
    found
        .ok_or_else(|| crate::support::Fault::new(format!("no {parts:?} in\n{}", lines.join("\n"))))
}

fn in_order(lines: &[String], steps: &[&[&str]]) -> Outcome {
    let places = steps.iter().map(|step| place_of(lines, step)).collect::<Outcome<Vec<_>>>()?;
    let mut sorted = places.clone();
    sorted.sort_unstable();
    ensure!(
        places == sorted,
        "{steps:?} are at {places:?} in
{}",
        lines.join(
            "
"
        )
    );
    Ok(())
}

/// The log may be slow to write; the signal does not wait for it.
#[test]
fn a_signal_is_forwarded_before_it_is_logged() -> Outcome {
    if !has_strace() {
        return Ok(());
    }
    let place = Place::new();
    let mut run = traced(&place).flags("-vv").app("block ready echo=TERM:0").start()?;
    run.ready()?;
    run.signal("USR1")?;
    run.out.until("got USR1 ")?;
    run.signal("TERM")?;
    let lines = lines(&place, &mut run, 0, "SIGUSR1")?;
    in_order(&lines, &[&["kill(", "SIGUSR1"], &["write", "signal=USR1"]])
}

/// After a stop request no traffic may be routed to the app, and a loop that gets stuck must not outlive the budget.
#[test]
fn readiness_and_the_dead_man_come_before_the_stop_signal() -> Outcome {
    if !has_strace() {
        return Ok(());
    }
    let place = Place::new();
    let mut run = traced(&place)
        .flag("--listen", format!("unix:{}", place.text("sock")))
        .app("block ready echo=TERM:0")
        .start()?;
    run.ready()?;
    // The first client starts the observer.
    ask(&place, "/readyz")?;
    run.signal("TERM")?;
    let lines = lines(&place, &mut run, 0, "kill(")?;
    let text = place.read("trace").unwrap_or_default();
    let all: Vec<String> = text.lines().map(str::to_owned).collect();
    ensure!(lines[0].contains("SIGTERM"), "{}", lines[0]);
    // A snapshot for the observer: not ready, live, stopping. (Before it the timer watches each round of the loop.)
    const SNAPSHOT: &[&str] = &["sendto(", r#""S\0\0\1\1"#];
    in_order(
        &all[place_of(&all, SNAPSHOT)?..],
        &[SNAPSHOT, &["timer_settime"], &["kill(", "SIGTERM"]],
    )?;
    let continued = all.iter().any(|line| line.contains("SIGCONT"));
    ensure!(!continued, "an app that is not stopped is continued: {all:#?}");
    Ok(())
}

/// As a zombie the app holds its pid and its group, so that no signal can reach a process that has got the number.
#[test]
fn what_the_app_left_behind_is_asked_before_the_app_is_reaped() -> Outcome {
    if !has_strace() {
        return Ok(());
    }
    let place = Place::new();
    let mut run = traced(&place)
        .flags("--scope main")
        .app("block spawn=setsid:name=helper;block;ready;echo=TERM:0 ready echo=TERM:0")
        .start()?;
    let helper = run.out.expect("helper: ready")?.number("pid")?;
    let app = run.ready()?.number("pid")?;
    // A process without a handler is not asked before it is 200 ms old: a shell may not have redirected it yet.
    proc::poll("a helper that is old enough", || {
        crate::support::proc::age(helper).filter(|age| *age > 300).map(drop)
    })?;
    run.signal("TERM")?;
    let lines = lines(&place, &mut run, 0, "SIGTERM")?;
    let reaps = format!("waitid(P_PID, {app},");
    let reaped = lines.iter().position(|line| {
        line.contains(&reaps) && line.contains("CLD_EXITED") && !line.contains("WNOWAIT")
    });
    let asked = lines.iter().position(|line| {
        (line.contains("pidfd_send_signal") || line.contains(&format!("kill({helper},")))
            && line.contains("SIGTERM")
    });
    ensure!(asked.is_some() && asked < reaped, "asked {asked:?}, reaped {reaped:?}: {lines:#?}");
    Ok(())
}

/// A process that is killed can no longer be described.
#[test]
fn survivors_are_reported_before_they_are_killed() -> Outcome {
    if !has_strace() {
        return Ok(());
    }
    let place = Place::new();
    let mut run = traced(&place).flags("--grace 2s").app("block ready echo").start()?;
    run.ready()?;
    run.signal("TERM")?;
    let lines = lines(&place, &mut run, 137, "SIGTERM")?;
    in_order(&lines, &[&["kill(", "SIGTERM"], &["still there"], &["SIGKILL"]])
}

/// As dumb-init: the app becomes the leader of a session itself, a moment after the fork. A signal that comes before that
/// meets no process group, and the look whether the app has left its group may come after it. strace holds up both.
#[test]
fn a_signal_just_before_the_app_leads_its_session_is_not_lost() -> Outcome {
    if !has_strace() {
        return Ok(());
    }
    let place = Place::new();
    let file = place.text("trace");
    let mut run = Launch::new(Program::AsDumbInit, Room::Plain)
        .wrapped_by(["strace", "-DD", "-f", "-o", &file, "-e", "trace=setsid,getpgid,kill"])
        .wrapped_by(["-e", "inject=setsid:delay_enter=500000"])
        .wrapped_by(["-e", "inject=getpgid:delay_enter=1000000"])
        .app("block ready echo=USR1:7")
        .start()?;
    let init = run.init()?;
    let comm = format!("/proc/{init}/comm");
    let begun = || std::fs::read_to_string(&comm).is_ok_and(|name| name == "dumb-init\n");
    let forked = || (begun() && !proc::children(init).is_empty()).then_some(());
    proc::poll("the app's process", forked)?;
    run.signal("USR1")?;
    run.exits(7)?;
    ensure_eq!(run.out.count("got USR1 "), 1, "how often the app got it");
    Ok(())
}
