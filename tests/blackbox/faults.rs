//! Faults of graceinit itself, which builds for development make on request: a panic, memory that is refused, a main
//! loop that hangs. The app is asked to stop, has its time, and its exit code counts.

use std::process::{Child, Command};

use graceinit::machine::phase::PhaseName;

use crate::support::{Fault, Launch, Outcome, Room, Run, need, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

/// graceinit with this fault.
fn with_fault(room: Room, fault: &str) -> Launch {
    Launch::graceinit(room)
        .env("FAULT_OF_GRACEINIT", fault)
        .flags("--grace 20s --pre-stop sleep:10ms --on-stop sleep:10ms --post-stop sleep:10ms")
}

/// The loop has to come round in the phase of the fault. Until it has failed, the app hears of each signal.
fn comes_round_until_it_fails(run: &mut Run) -> Outcome {
    run.ready()?;
    loop {
        run.signal("USR1")?;
        if run.out.expect("got ")?.0.starts_with("got TERM ") {
            return Ok(());
        }
    }
}

/// Before a stop was requested, the app's 0 would say that all went well.
fn a_panic_before_a_stop(room: Room) -> Outcome {
    for (phase, code, expected) in [("running", 3, 3), ("ready", 3, 3), ("running", 0, 125)] {
        let ready = if phase == "running" { "--ready after:60s" } else { "" };
        let mut run = with_fault(room, &format!("panic:{phase}"))
            .flags(ready)
            .app(&format!("block ready echo=TERM:{code}"))
            .start()?;
        comes_round_until_it_fails(&mut run)?;
        run.exits(expected)?;
        ensure_eq!(run.out.count("got TERM "), 1, "stop signals");
        run.err.find("graceinit: error: internal error: a test'fault ")?;
    }
    Ok(())
}

/// The app is asked once, and its exit code counts, in whichever phase graceinit fails.
fn a_panic_in_each_phase(room: Room) -> Outcome {
    const ENDS: &str = "block ready echo=TERM:3";
    let place = crate::support::files::Place::new();
    for phase in PhaseName::ALL {
        let mut launch = with_fault(room, &format!("panic:{}", phase.as_str()));
        // The app, how often it is asked, and the exit code.
        let (app, asked, code) = match phase {
            PhaseName::Starting => {
                launch = launch.flags("--pre-start sleep:10ms");
                (ENDS, 0, 125)
            }
            // The loop has to come round: `a_panic_before_a_stop`.
            PhaseName::Running | PhaseName::Ready => continue,
            PhaseName::PreStop | PhaseName::OnStop | PhaseName::PostStop => (ENDS, 1, 3),
            PhaseName::Stopping => ("block ready echo=USR1:3", 1, 3),
            PhaseName::Drain => {
                let listen = format!("unix:{}", place.text("socket"));
                launch = launch.flags("-v --drained exec:/bin/false").flag("--listen", listen);
                (ENDS, 1, 3)
            }
            PhaseName::Leftovers => {
                ("block spawn=double:block;ready;name=helper;echo=USR1:0 ready echo=TERM:3", 1, 3)
            }
            PhaseName::Killed => {
                launch = launch.flags("--grace 300ms --stop-signal TERM");
                ("block ready echo", 1, 137)
            }
            // The loop has ended.
            PhaseName::Exit => (ENDS, 1, 3),
        };
        let mut run = launch.app(app).start()?;
        if phase != PhaseName::Starting {
            // In the leftovers it is the helper that is ready first, and ends last.
            let last = run.outer(run.out.until("ready ")?.number("pid")?)?;
            if phase == PhaseName::Drain {
                run.err.find("the app is ready")?;
            }
            run.signal("TERM")?;
            let asked = match phase {
                PhaseName::Stopping => Some("got TERM "),
                PhaseName::Leftovers => Some("helper: got TERM "),
                _ => None,
            };
            if let Some(asked) = asked {
                run.out.until(asked)?;
                // The loop comes round.
                run.signal("HUP")?;
                run.err.find("internal error")?;
                sys::kill(last, libc::SIGUSR1)?;
            }
        }
        run.exits(code)?;
        ensure_eq!(run.out.count("got TERM "), asked, "stop signals in {phase:?}");
        if phase != PhaseName::Exit {
            let error = run.err.find("graceinit: error: internal error: a test'fault ")?.0;
            ensure!(error.contains(&format!("'in' {}", phase.as_str())), "{phase:?}: {error}");
        }
        let helpers = usize::from(phase == PhaseName::Leftovers);
        ensure_eq!(run.out.count("helper: got TERM "), helpers, "stop signals of the helper");
        ensure!(run.survivors().is_empty(), "left behind in {phase:?}");
    }
    Ok(())
}

/// An app that does not end is killed at the end of the budget, like any other.
fn a_panic_and_an_app_that_stays(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .env("FAULT_OF_GRACEINIT", "panic:stopping")
        .flags("--grace 1s --on-reload sleep:1ms")
        .app("block spawn=double:name=helper;block;ready;echo ready echo")
        .start()?;
    run.out.until("helper: ready")?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.until("got TERM ")?;
    // The loop comes round.
    run.signal("HUP")?;
    run.exits(137)?;
    ensure!(run.survivors().is_empty(), "left behind");
    Ok(())
}

/// What the app leaves behind is asked too, and waited for.
fn a_panic_and_a_helper_that_saves(room: Room) -> Outcome {
    let place = crate::support::files::Place::new();
    let mut run = with_fault(room, "panic:ready")
        .app(&format!(
            "block spawn=same:name=helper;block;ready;helper=300:{} ready echo=TERM:3",
            place.text("saved")
        ))
        .start()?;
    run.out.until("helper: ready")?;
    comes_round_until_it_fails(&mut run)?;
    run.exits(3)?;
    ensure_eq!(place.expect("saved")?, "saved terms=1", "the helper's file");
    Ok(())
}

fn json_stays_json(room: Room) -> Outcome {
    let mut run = with_fault(room, "panic:ready")
        .flags("--log-format json")
        .app("block ready echo=TERM:3")
        .start()?;
    comes_round_until_it_fails(&mut run)?;
    run.exits(3)?;
    let line = run.err.find("internal error")?.0;
    let value: serde_json::Value = serde_json::from_str(&line)?;
    ensure_eq!(value["level"], "error", "{line}");
    Ok(())
}

/// The stop request waits for a loop that hangs; the dead-man timer reads it. A life with nothing but signals has
/// nothing that could hang, and no such timer.
fn a_loop_that_hangs_when_a_stop_is_requested(room: Room) -> Outcome {
    for phase in ["ready", "pre-stop", "stopping"] {
        let mut run = with_fault(room, &format!("hang:{phase}"))
            .flags("--grace-max 30s")
            .app("block ready echo=TERM:3")
            .start()?;
        run.ready()?;
        run.signal("TERM")?;
        run.exits(3)?;
        ensure_eq!(run.out.count("got TERM "), 1, "stop signals in {phase}");
    }
    Ok(())
}

/// graceinit waits for memory. Meanwhile a stop request, or the app's end, ends the life.
fn memory_that_never_comes(room: Room) -> Outcome {
    let mut run = with_fault(room, "memory:ready").app("block ready echo=TERM:3").start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    ensure_eq!(run.out.count("got TERM "), 1, "stop signals");
    let mut run = with_fault(room, "memory:ready").app("block ready wait=USR1 exit=4").start()?;
    let app = run.outer(run.ready()?.number("pid")?)?;
    sys::kill(app, libc::SIGUSR1)?;
    run.exits(4)
}

/// The kernel sends graceinit SIGXFSZ for its own write. (RLIMIT_FSIZE is number 1.)
fn a_log_beyond_the_limit_of_file_sizes(room: Room) -> Outcome {
    let place = crate::support::files::Place::new();
    let mut run = Launch::graceinit(room)
        .given("limit=1:4096:4096")
        .flags("-vvv")
        .stderr(std::fs::File::create(place.path("log"))?)
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    for _ in 0..100 {
        run.signal("USR1")?;
        run.out.expect("got USR1 ")?;
    }
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.exits(3)?;
    ensure_eq!(std::fs::metadata(place.path("log"))?.len(), 4096, "the log is full");
    Ok(())
}

/// The signals are read all the same.
fn a_signalfd_that_cannot_be_read(room: Room) -> Outcome {
    if !need::program("/usr/bin/strace") {
        return Ok(());
    }
    // With a descriptor besides the signalfd: the loop waits with ppoll(2).
    let launch = Launch::graceinit(room).flags("--grace 20s --grace-max 30s");
    let mut run = launch.app("block ready echo=TERM:3").start()?;
    run.ready()?;
    let mut tracer = refuse(&run, "read:error=EAGAIN")?;
    run.signal("USR1")?;
    run.out.expect("got USR1 ")?;
    run.signal("TERM")?;
    run.exits(3)?;
    tracer.wait()?;
    Ok(())
}

/// From now on these calls of graceinit fail.
fn refuse(run: &Run, calls: &str) -> Outcome<Child> {
    let pid = run.init()?;
    let inject = format!("inject={calls}");
    let tracer = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", &inject, "-p", &pid.to_string()])
        .spawn()?;
    proc::poll("the tracer", || (proc::status_field(pid, "TracerPid")? != "0").then_some(()))?;
    Ok(tracer)
}

/// /proc can be listed, and the files in it cannot be read: the group of the app is asked.
fn a_process_tree_that_cannot_be_read(room: Room) -> Outcome {
    if !need::program("/usr/bin/strace") {
        return Ok(());
    }
    for error in ["EPERM", "ENOMEM", "EIO"] {
        let launch = Launch::graceinit(room).flags("--grace 20s --scope tree");
        let mut run = launch.app("block ready echo=TERM:3").start()?;
        run.ready()?;
        let mut tracer = refuse(&run, &format!("read:error={error}"))?;
        run.signal("TERM")?;
        run.exits(3)?;
        run.err.find("unable to read the process tree")?;
        tracer.wait()?;
    }
    Ok(())
}

/// The heap may not grow any more, while an account is kept.
fn a_heap_that_cannot_grow(room: Room) -> Outcome {
    for limit in [libc::RLIMIT_DATA, libc::RLIMIT_AS] {
        let place = crate::support::files::Place::new();
        let prints =
            "sh -c 'i=0; while [ $i -lt 100 ]; do printf %0900d $i; echo; i=$((i+1)); done'";
        let mut run = Launch::graceinit(room)
            .flags("-v --grace 20s")
            .flag("--report", place.text("report"))
            .flag("--on-reload", prints)
            .app("block ready echo=TERM:3")
            .start()?;
        run.ready()?;
        no_more_memory(&run, limit)?;
        for _ in 0..40 {
            run.signal("HUP")?;
            run.out.until("got HUP ")?;
        }
        run.signal("TERM")?;
        run.exits(3)?;
        ensure_eq!(run.out.count("got TERM "), 1, "stop signals");
    }
    Ok(())
}

/// Sets a limit of the running graceinit to less than it uses.
fn no_more_memory(run: &Run, resource: libc::__rlimit_resource_t) -> Outcome {
    let option = if resource == libc::RLIMIT_AS { "--as" } else { "--data" };
    let pid = run.init()?.to_string();
    let status =
        Command::new("prlimit").args(["--pid", &pid, &format!("{option}=4096:")]).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(Fault::new(format!("prlimit: {status}"))),
    }
}

both_rooms!(
    a_panic_before_a_stop,
    a_panic_in_each_phase,
    a_panic_and_an_app_that_stays,
    a_panic_and_a_helper_that_saves,
    json_stays_json,
    a_loop_that_hangs_when_a_stop_is_requested,
    memory_that_never_comes,
    a_log_beyond_the_limit_of_file_sizes,
    a_signalfd_that_cannot_be_read,
    a_process_tree_that_cannot_be_read,
    a_heap_that_cannot_grow,
);
