//! Doing nothing, and doing nothing for ever: an idle init costs nothing, a stuck one is ended.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Outcome, Room, need, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

fn switches(pid: i32) -> Outcome<u64> {
    proc::status_field(pid, "voluntary_ctxt_switches")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Fault::new(format!("no context switches of {pid}")))
}

/// Zero wake-ups over twenty seconds, as PID 1 and as a plain process at the same time: with a live
/// helper, hooks and a ladder configured, after a signal and an orphan have passed.
#[test]
fn idle_means_no_wake_up() -> Outcome {
    let rooms = [Room::PidNs, Room::Plain];
    let mut runs = Vec::new();
    for room in rooms.into_iter().filter(|room| *room == Room::Plain || need::pid_namespace()) {
        let run = Launch::graceinit(room)
            .flags("--grace 30 --stop-signal TERM:1s,INT --pre-stop true --post-stop true -v")
            .app("block spawn=double:block;ready;echo spawn=orphan:exit=0 ready echo=TERM:3")
            .start()?;
        run.ready()?;
        run.ready()?;
        run.signal("USR1")?;
        run.out.expect("got USR1 ")?;
        let init = run.init()?;
        // Until it has done what there was to do: asleep, nothing dead to reap.
        proc::poll("a sleeping init", || {
            let asleep = proc::process(init).is_some_and(|p| p.state == 'S');
            (asleep && proc::zombies(init).is_empty()).then_some(())
        })?;
        runs.push(run);
    }
    // Some start-up work may be due a moment later; the twenty seconds begin after it.
    let settle = Instant::now();
    while settle.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let before: Vec<u64> =
        runs.iter().map(|run| switches(run.init()?)).collect::<Outcome<Vec<_>>>()?;
    // The one long look of these tests: there is no event to wait for when nothing happens.
    std::thread::sleep(Duration::from_secs(20));
    let after: Vec<u64> =
        runs.iter().map(|run| switches(run.init()?)).collect::<Outcome<Vec<_>>>()?;
    ensure_eq!(after, before, "voluntary context switches after and before twenty idle seconds");
    for run in &mut runs {
        run.signal("TERM")?;
    }
    Ok(())
}

/// The main loop is made to hang in the middle of a stop, by a debugger that puts a lock in the place
/// of its next wait: whatever else is broken, the dead-man timer has to end tree and init in time.
#[cfg(target_arch = "x86_64")]
fn a_stuck_loop_is_ended_by_the_dead_man(room: Room) -> Outcome {
    let grace = Duration::from_secs(2);
    // The timer's slack by design, and as much again as a busy machine may need to notice.
    let slack = Duration::from_millis(500);
    let place = Place::new();
    let fifo = place.fifo("gate");
    let mut run = Launch::graceinit(room)
        .flags("--grace 2s --post-stop-timeout 1s")
        .flag("--on-stop", puppet_line(&format!("read={}", fifo.path().display())))
        .app(
            "block spawn=same:name=child;block;ready;echo \
             spawn=double:name=daemon;block;ready;echo ready echo",
        )
        .start()?;
    let mut pids = Vec::new();
    for name in ["child: ready", "daemon: ready", "ready"] {
        pids.push(run.outer(run.out.expect(name)?.number("pid")?)?);
    }
    let init = run.init()?;
    let start = Instant::now();
    run.signal("TERM")?;
    let _held = fifo.hold()?;
    sys::wedge(init)?;
    // Proof that it is stuck: it does not even forward any more. Only the timer can end it now.
    run.signal("USR1")?;
    let status = run.wait_within(Duration::from_secs(20))?;
    let took = start.elapsed();
    ensure_eq!(run.out.count("got USR1"), 0, "USR1 forwarded by a loop that should be stuck");
    ensure_eq!(status, crate::support::Status::Code(137), "the end of a stuck init");
    ensure!(took >= grace, "ended after {took:?}, before the end of the budget");
    ensure!(took < grace + slack + Duration::from_secs(3), "ended after {took:?} only");
    ensure!(run.survivors().is_empty(), "left behind: {:?}", run.survivors());
    for pid in pids {
        ensure!(!proc::alive(pid), "{pid} is alive");
    }
    Ok(())
}

/// `docker pause`, a suspended laptop, a starved machine: graceinit wakes up beyond the deadline with
/// nothing wrong with it. The end is due, but an orderly one.
fn a_freeze_beyond_the_deadline_ends_in_order(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let mut run = Launch::graceinit(room)
        .flags("--grace 500ms")
        .flag("--on-stop", puppet_line(&format!("read={}", fifo.path().display())))
        .flag("--post-stop", puppet_line(&format!("append={}:post", place.text("notes"))))
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    let _held = fifo.hold()?;
    let init = run.init()?;
    // From the namespace above STOP reaches even a PID 1.
    sys::kill(init, libc::SIGSTOP)?;
    proc::poll("graceinit stopped", || proc::process(init).filter(|p| p.state == 'T'))?;
    // Far beyond deadline, dead-man's slack and its second chance. Nothing happens in that time that
    // could be waited for instead.
    std::thread::sleep(Duration::from_secs(2));
    sys::kill(init, libc::SIGCONT)?;
    run.exits(137)?;
    ensure_eq!(place.expect("notes")?, "post\n", "the post-stop hook");
    ensure!(run.survivors().is_empty(), "left behind");
    run.err.find("survivors were not recorded")?;
    Ok(())
}

/// To reap takes longer than the whole budget. The budget begins when the stop request is handled, after that.
#[test]
fn a_budget_begins_after_the_exits_before_it() -> Outcome {
    if !need::program("/usr/bin/strace") {
        return Ok(());
    }
    let place = Place::new();
    let gate = place.fifo("gate");
    let mut run = Launch::graceinit(Room::Plain)
        .flags("--grace 1500ms --post-stop-timeout 100ms")
        .app(&format!(
            "block spawn=orphan:name=orphan;ready;read={};exit=0 ready helper=700:{}",
            gate.path().display(),
            place.text("saved")
        ))
        .start()?;
    run.out.expect("orphan: ready")?;
    run.ready()?;
    let init = run.init()?;
    // Until both have come, so that one round of the loop handles them.
    sys::kill(init, libc::SIGSTOP)?;
    proc::poll("graceinit stopped", || proc::process(init).filter(|p| p.state == 'T'))?;
    gate.release()?;
    proc::poll("the end of the orphan", || (!proc::zombies(init).is_empty()).then_some(()))?;
    run.signal("TERM")?;
    let pid = init.to_string();
    let mut tracer = Command::new("strace")
        .args(["-qq", "-o", &place.text("trace"), "-e", "trace=waitid"])
        .args(["-e", "inject=waitid:delay_exit=2000000:when=1", "-p", &pid])
        .spawn()?;
    proc::poll("the tracer", || (proc::status_field(init, "TracerPid")? != "0").then_some(()))?;
    sys::kill(init, libc::SIGCONT)?;
    run.exits(0)?;
    ensure_eq!(place.expect("saved")?, "saved terms=1", "the app's file");
    tracer.wait()?;
    ensure!(place.expect("trace")?.contains("DELAYED"), "nothing was delayed");
    Ok(())
}

/// An app that sends a keep-alive every 0.2 s. It is ready when the FIFO is written to.
const WATCHED: &str = r#"
import os, socket, sys, time
def send(text):
    name = os.environ['NOTIFY_SOCKET']
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(text.encode(), '\0' + name[1:] if name[0] == '@' else name)
print('ready pid=%d' % os.getpid(), flush=True)
open(sys.argv[1]).read()
send('READY=1\nWATCHDOG_USEC=4000000')
print('serving', flush=True)
while True:
    send('WATCHDOG=1')
    print('alive', flush=True)
    time.sleep(0.2)
"#;

/// A container that was frozen for longer than the watchdog and than --ready-timeout: the app could neither become ready
/// nor send a keep-alive in that time.
fn a_freeze_is_no_failure_of_the_app(room: Room) -> Outcome {
    if !need::program("/usr/bin/python3") {
        return Ok(());
    }
    let place = Place::new();
    let gate = place.fifo("gate");
    let mut run = Launch::graceinit(room)
        .flags("-v --ready notify --ready-timeout 4s")
        .command(["/usr/bin/python3", "-c", WATCHED])
        .app_arg(gate.path())
        .start()?;
    let app = run.outer(run.ready()?.number("pid")?)?;
    let starting = gate.hold()?;
    freeze(run.init()?, app)?;
    run.err.until("graceinit: info: woke up late")?;
    drop(starting);
    run.out.until("serving")?;
    run.err.until("graceinit: info: the app is ready")?;
    freeze(run.init()?, app)?;
    run.err.until("graceinit: info: woke up late")?;
    for _ in 0..3 {
        run.out.until("alive")?;
    }
    run.signal("TERM")?;
    run.exits(143)
}

/// Stops both for longer than the times above, as the freezer does. The app comes back last. The interval of the
/// watchdog began with the last keep-alive, perhaps some time before: the freeze ends long after it.
fn freeze(init: i32, app: i32) -> Outcome {
    // It passes SIGCONT on, which would undo the next SIGSTOP.
    proc::poll("graceinit waits", || proc::process(init).filter(|p| p.state == 'S'))?;
    for pid in [app, init] {
        sys::kill(pid, libc::SIGSTOP)?;
        proc::poll("a stopped process", || proc::process(pid).filter(|p| p.state == 'T'))?;
    }
    // Nothing happens in that time that could be waited for instead.
    std::thread::sleep(Duration::from_millis(5000));
    sys::kill(init, libc::SIGCONT)?;
    proc::poll("graceinit runs", || proc::process(init).filter(|p| p.state != 'T'))?;
    Ok(sys::kill(app, libc::SIGCONT)?)
}

#[cfg(not(target_arch = "x86_64"))]
fn a_stuck_loop_is_ended_by_the_dead_man(_: Room) -> Outcome {
    // The arguments of a call lie in registers that are named per architecture.
    need::x86_64();
    Ok(())
}

both_rooms!(
    a_stuck_loop_is_ended_by_the_dead_man,
    a_freeze_beyond_the_deadline_ends_in_order,
    a_freeze_is_no_failure_of_the_app,
);
