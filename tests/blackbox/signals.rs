//! Forwarding: who gets a signal, how often, with what.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::peers::{Subject, shared};
use crate::support::signals::{forwardable, name_of};
use crate::support::{Launch, Line, Outcome, PATIENCE, Program, Room, Run, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

const RTMIN: i32 = 34;

/// TTIN, TTOU and TSTP sent by a process are orders to gunicorn, Puma, uWSGI; ABRT and SEGV ask for
/// a core; real-time signals are stop signals of real servers; 32 and 33 are used by musl programs.
fn every_signal_reaches_the_app_once(subject: Subject) -> Outcome {
    // One signal is left out because it is the one that stops graceinit; it gets its own run below.
    let missing = lost_or_doubled(subject, 63, forwardable().filter(|s| *s != 63))?;
    let last = lost_or_doubled(subject, 64, [63, 62].into_iter())?;
    ensure!(missing.is_empty() && last.is_empty(), "wrong: {missing:?} {last:?}");
    Ok(())
}

/// Sends each signal, reads its echo, and looks at the end whether one was echoed twice. `stop` is
/// what stops graceinit, so that TERM and INT are ordinary signals.
fn lost_or_doubled(
    subject: Subject,
    stop: i32,
    signals: impl Iterator<Item = i32>,
) -> Outcome<Vec<String>> {
    let mut wrong = Vec::new();
    let mut sent = Vec::new();
    let mut run = echo(subject, stop)?;
    for signal in signals {
        run.send(signal)?;
        // A peer that loses a signal is listed with it; nobody has to wait long for that.
        let patience = match subject.program.is_ours() {
            true => PATIENCE,
            false => Duration::from_millis(150),
        };
        match run.out.next_within(patience) {
            Ok(Some(line)) if signal_of(&line) == name_of(signal) => sent.push(signal),
            _ => {
                wrong.push(format!("{} lost", name_of(signal)));
                doubled(&run, &sent, &mut wrong);
                sent.clear();
                run = echo(subject, stop)?;
            }
        }
    }
    doubled(&run, &sent, &mut wrong);
    Ok(wrong)
}

/// The last signal sent has the highest number, and the kernel hands out the lowest first: when its
/// echo is there, so are all others.
fn doubled(run: &Run, sent: &[i32], wrong: &mut Vec<String>) {
    for signal in sent {
        let count = run.out.count(&format!("got {} ", name_of(*signal)));
        if count != 1 {
            wrong.push(format!("{} came {count} times", name_of(*signal)));
        }
    }
}

fn echo(subject: Subject, stop: i32) -> Outcome<Run> {
    let launch = subject.launch();
    let launch = match subject.program {
        Program::Graceinit => launch.flags(&format!("--stop-on {stop}")),
        _ => launch,
    };
    let run = launch.app("block ready echo").start()?;
    run.ready()?;
    Ok(run)
}

fn signal_of(line: &Line) -> &str {
    line.rest().split(' ').next().unwrap_or_default()
}

/// Real-time signals queue: none may be merged or overtaken.
fn a_hundred_queued_signals_arrive(subject: Subject) -> Outcome {
    let run = echo(subject, 63)?;
    for value in 0..100 {
        run.queue(RTMIN, value)?;
    }
    for n in 0..100 {
        let line = run.out.next_within(subject.patience)?;
        let name = line.as_ref().map(signal_of);
        ensure_eq!(name, Some("RTMIN"), "number {n} of the queue");
    }
    // Its echo comes after anything that was sent before it.
    run.send(64)?;
    ensure_eq!(signal_of(&run.out.next()?), "RTMAX", "after the queue");
    Ok(())
}

/// The value of sigqueue(3) is the message of some programs; the app alone can be given it.
fn values_reach_the_app_alone(room: Room) -> Outcome {
    let run = Launch::graceinit(room)
        .flags("--stop-on 63 --scope main")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    for value in [0, 1, -1, 7, i32::MAX, i32::MIN] {
        run.queue(RTMIN + 1, value)?;
        let line = run.out.expect("got RTMIN+1 ")?;
        ensure_eq!(line.number("value")?, value, "the value");
        run.queue(libc::SIGUSR1, value)?;
        ensure_eq!(run.out.expect("got USR1 ")?.number("value")?, value, "the value");
    }
    for value in 0..100 {
        run.queue(RTMIN, value)?;
    }
    for value in 0..100 {
        ensure_eq!(run.out.expect("got RTMIN ")?.number("value")?, value, "the order of the queue");
    }
    Ok(())
}

/// The dead-man timer has a handler for this signal, once it is armed: in each round of a life that waits for
/// descriptors, and in every stop.
fn an_alarm_keeps_its_value(room: Room) -> Outcome {
    for (flags, stop) in [("", false), ("--grace-max 30s", false), ("", true)] {
        let mut run =
            Launch::graceinit(room).flags(flags).app("block ready echo=USR2:3").start()?;
        run.ready()?;
        if stop {
            run.signal("TERM")?;
            run.out.expect("got TERM ")?;
        }
        for value in [1, -1, 77, i32::MIN] {
            // The loop comes round.
            run.signal("USR1")?;
            run.out.expect("got USR1 ")?;
            run.queue(libc::SIGALRM, value)?;
            let got = run.out.expect("got ALRM ")?;
            ensure_eq!(got.number("value")?, value, "{flags:?} {stop}");
        }
        run.signal("ALRM")?;
        run.out.expect("got ALRM ")?;
        run.signal("USR2")?;
        run.exits(3)?;
    }
    Ok(())
}

/// Who gets a forwarded signal under each scope: the app, its group, a child in a session of its
/// own, a daemon that has left parent and session.
fn scopes(room: Room) -> Outcome {
    const APP: &str = "name=app block \
        spawn=same:name=same;block;ready;echo \
        spawn=setsid:name=setsid;block;ready;echo \
        spawn=double:name=double;block;ready;echo ready echo";
    let group = ["app", "same"];
    let everybody = ["app", "same", "setsid", "double"];
    for (flags, receivers) in [
        ("", &["app"][..]),
        ("--scope auto", &["app"]),
        ("--scope group", &group),
        ("-g", &group),
        ("--scope main", &["app"]),
        ("-c", &["app"]),
        ("--scope mixed", &["app"]),
        ("--scope tree", &everybody),
    ] {
        let run = Launch::graceinit(room).flags(flags).app(APP).start()?;
        let mut pids = Vec::new();
        for name in ["same", "setsid", "double", "app"] {
            let line = run.out.expect(&format!("{name}: ready"))?;
            pids.push(run.outer(line.number("pid")?)?);
        }
        run.signal("USR1")?;
        run.signal("USR2")?;
        // The second one has come to all who get it, so the first one has too…
        for name in receivers {
            run.out.find(&format!("{name}: got USR2"))?;
        }
        // …and RTMAX, from here to each of them, closes every account.
        for pid in pids {
            sys::kill(pid, 64)?;
        }
        for name in everybody {
            run.out.find(&format!("{name}: got RTMAX"))?;
            let expected = usize::from(receivers.contains(&name));
            for signal in ["USR1", "USR2"] {
                let count = run.out.count(&format!("{name}: got {signal}"));
                ensure_eq!(count, expected, "{flags:?}: {signal} at {name}");
            }
        }
    }
    Ok(())
}

/// The app may well signal its own init (`kill 1` in a container).
fn a_signal_from_the_app_itself_comes_back(subject: Subject) -> Outcome {
    let mut run = Launch::new(subject.program, subject.room)
        .app("block ready kill=USR1:parent echo=USR1:6")
        .start()?;
    ensure_eq!(run.wait()?, crate::support::Status::Code(6), "the end");
    Ok(())
}

/// The kernel gives the lowest number first: somebody who sends HUP again and again must hold up neither a stop
/// request nor the news that the app has ended.
fn a_flood_of_one_signal_keeps_no_other_waiting(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--stop-on RTMAX")
        .app("mask=RTMAX ignore=HUP ready echo=RTMAX:7")
        .start()?;
    run.ready()?;
    let (init, ended) = (run.init()?, AtomicBool::new(false));
    let status = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..10_000_000 {
                if ended.load(Relaxed) || sys::kill(init, libc::SIGHUP).is_err() {
                    break;
                }
            }
        });
        let status = run.signal("RTMAX").and_then(|()| run.wait());
        ended.store(true, Relaxed);
        status
    })?;
    ensure_eq!(status, crate::support::Status::Code(7), "the end");
    Ok(())
}

/// CHLD is the kernel's word about children; one that a process sends concerns nobody else.
fn chld_is_not_forwarded(room: Room) -> Outcome {
    let run = Launch::graceinit(room).app("block ready echo").start()?;
    run.ready()?;
    run.signal("CHLD")?;
    run.signal("USR1")?;
    run.signal("RTMAX")?;
    run.out.until("got RTMAX")?;
    ensure_eq!(run.out.count("got CHLD"), 0, "CHLD at the app");
    Ok(())
}

/// The app may be stopped and continued through its init, and the init is not stopped with it.
fn job_control_signals_from_a_process_do_not_stop_graceinit(room: Room) -> Outcome {
    let run = Launch::graceinit(room).app("block ready echo").start()?;
    run.ready()?;
    for name in ["TSTP", "TTIN", "TTOU"] {
        run.signal(name)?;
        run.out.expect(&format!("got {name} "))?;
        let state = proc::process(run.init()?).map(|p| p.state);
        ensure!(state.is_some_and(|s| s != 'T'), "graceinit is stopped by {name}");
    }
    Ok(())
}

shared!(
    every_signal_reaches_the_app_once,
    a_hundred_queued_signals_arrive,
    a_signal_from_the_app_itself_comes_back
);
both_rooms!(
    values_reach_the_app_alone,
    an_alarm_keeps_its_value,
    scopes,
    a_flood_of_one_signal_keeps_no_other_waiting,
    chld_is_not_forwarded,
    job_control_signals_from_a_process_do_not_stop_graceinit
);
