//! An app that does not end: it is asked what it is doing, and who is still there is written down before
//! SIGKILL.

use std::io::Write;
use std::net::TcpStream;

use crate::support::{Launch, Outcome, Room, Run, need};
use crate::{both_rooms, ensure, ensure_eq};

/// The line of the log about this survivor, as words. Those who want it give a budget of 3 s: the look gets
/// a tenth of it at most, and takes its time where much else runs.
fn record(run: &Run, command: &str) -> Outcome<String> {
    let all = run.err.so_far();
    let found = all.iter().find(|line| line.0.contains("still there") && line.0.contains(command));
    match found {
        Some(line) => Ok(line.0.clone()),
        None => Err(crate::support::Fault::new(format!("no record of {command:?}"))),
    }
}

/// After the stop signal, before SIGKILL, once.
fn the_app_is_asked_what_it_is_doing(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 1s --diagnose QUIT@300ms")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.out.until("got QUIT ")?;
    run.exits(137)?;
    ensure_eq!(run.out.count("got QUIT "), 1, "diagnose signals");
    run.err.find("asking the app to say what it is doing signal=QUIT").map(drop)
}

/// One that ends in time is not bothered.
fn an_app_that_ends_is_not_asked(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 60s --diagnose QUIT@59s")
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    ensure_eq!(run.out.count("got QUIT "), 0, "diagnose signals");
    Ok(())
}

/// The app and its helper, each with what the kernel knows of it.
fn survivors_are_recorded(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 3s")
        .app("block spawn=double:name=helper;block;ready;echo ready echo")
        .start()?;
    let helper = run.out.expect("helper: ready")?.number("pid")?;
    let app = run.ready()?.number("pid")?;
    run.signal("TERM")?;
    run.exits(137)?;
    for pid in [app, helper] {
        let record = record(&run, &format!("pid={pid} "))?;
        for field in
            ["ppid=", "command=\"", "state=S", "wchan=", "age=", "threads=1", "connections=0"]
        {
            ensure!(record.contains(field), "{field} is not in {record}");
        }
        ensure!(record.contains("puppet"), "{record}");
    }
    run.err.find("the budget is over: killing what is left").map(drop)
}

/// The server that hangs with a client connected.
fn their_connections_are_counted(room: Room) -> Outcome {
    let server = crate::support::init::puppet().with_file_name("server");
    let server = server.to_str().unwrap_or_default();
    let mut run = Launch::graceinit(room)
        .flags("--grace 3s")
        .command([server, "0", "--slow-ms", "60000", "--on-term", "ignore"])
        .start()?;
    let listening = run.out.until("listening")?;
    let port: u16 = listening.0.rsplit(' ').next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    run.out.until("request")?;
    run.signal("TERM")?;
    run.exits(137)?;
    let record = record(&run, "server")?;
    ensure!(record.contains("connections=1 "), "{record}");
    Ok(())
}

/// root without CAP_SYS_PTRACE, as in most containers, and an app with another uid.
#[test]
fn what_may_not_be_read_is_said() -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let mut run = Launch::graceinit(Room::Plain)
        .wrapped_by(["setpriv", "--bounding-set=-all,+kill,+setuid,+setgid,+dac_override"])
        .flags("--grace 3s --user 65534")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(137)?;
    let record = record(&run, "puppet")?;
    for field in ["state=S", "wchan=- ", "connections=- ", "unread=wchan,connections"] {
        ensure!(record.contains(field), "{field} is not in {record}");
    }
    Ok(())
}

/// A process whose first thread has ended looks like a zombie in /proc, and is none.
fn a_process_without_its_first_thread_is_killed_too(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 3s")
        .app("block spawn=setsid:name=helper;ready;leaderless ready echo=TERM:3")
        .start()?;
    let helper = run.out.expect("helper: ready")?.number("pid")?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    record(&run, &format!("pid={helper} "))?;
    crate::support::proc::poll("the helper's end", || run.survivors().is_empty().then_some(()))
}

/// A name is bytes, cut by the kernel after 15, in the middle of a letter if need be; a command line may
/// have been wiped.
fn strange_names_are_recorded(room: Room) -> Outcome {
    let script = "printf '\\320\\277\\321' >/proc/$$/comm; trap '' TERM; echo ready pid=$$; \
                  while :; do sleep 1; done";
    let mut run = Launch::graceinit(room)
        .flags("--grace 3s")
        .command(["sh", "-c", script, "an \"odd\" näme"])
        .start()?;
    let pid = run.ready()?.number("pid")?;
    run.signal("TERM")?;
    run.exits(137)?;
    let record = record(&run, &format!("pid={pid} "))?;
    ensure!(record.contains("an \\\"odd\\\" näme\" state="), "{record}");
    Ok(())
}

/// `kill` means now: the records are made at once, and nothing else is waited for.
fn who_is_killed_by_hand_is_recorded_too(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--grace 60s --stop-again kill")
        .app("block ready echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.out.expect("got TERM ")?;
    run.signal("TERM")?;
    run.exits(137)?;
    record(&run, "puppet").map(drop)
}

/// The app ends after it was recorded among those who are still there and before the budget ends. A post-stop hook
/// is killed later on: that is no reason to report the app.
fn an_app_that_ends_after_it_was_recorded_is_not_reported(room: Room) -> Outcome {
    let mut run = Launch::graceinit(room)
        .flags("--log-level trace --scope main --grace 2s --diagnose QUIT@50ms")
        .flags("--post-stop-timeout 1s")
        .flag("--post-stop", "tail -f /dev/null")
        .app("block ready echo=QUIT:0")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(0)?;
    // Otherwise there would have been nothing to report.
    run.err.find("reaped the helper")?;
    run.err.find("timed out")?;
    let reported: Vec<_> =
        run.err.all()?.into_iter().filter(|line| line.0.contains("still there")).collect();
    ensure!(reported.is_empty(), "{reported:?}");
    Ok(())
}

both_rooms!(
    an_app_that_ends_after_it_was_recorded_is_not_reported,
    the_app_is_asked_what_it_is_doing,
    an_app_that_ends_is_not_asked,
    survivors_are_recorded,
    their_connections_are_counted,
    who_is_killed_by_hand_is_recorded_too,
    a_process_without_its_first_thread_is_killed_too,
    strange_names_are_recorded,
);
