//! Where the kernel is too old to lend the app's child our memory, it gets a copy: the same start, the other way.
//! (Under a personality with which the kernel calls itself 2.6: setarch(8).)

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, Status};
use crate::{both_rooms, ensure_eq};

fn old(room: Room) -> Launch {
    Launch::graceinit(room).wrapped_by(["setarch", "--uname-2.6"])
}

fn the_app_is_given_the_same(room: Room) -> Outcome {
    let mut run = old(room)
        .given("listen-pid setenv=LISTEN_FDS=1")
        .app("block ready env=LISTEN_PID env=LISTEN_FDS echo=TERM:3")
        .start()?;
    let pid = run.ready()?.number("pid")?;
    ensure_eq!(run.out.next()?.0, format!("env LISTEN_PID={pid}"), "LISTEN_PID");
    ensure_eq!(run.out.next()?.0, "env LISTEN_FDS=1", "LISTEN_FDS");
    run.signal("TERM")?;
    run.exits(3)
}

fn what_cannot_be_executed_has_the_same_codes(room: Room) -> Outcome {
    let place = Place::new();
    place.file("no-x", "#!/bin/sh\nexit 0\n", 0o644);
    place.file("garbage", b"\x7fELF\0\0\0\0not a program\0\xff", 0o755);
    place.file("script", "exit 7\n", 0o755);
    for (name, code) in [("missing", 127), ("no-x", 126), ("garbage", 126), ("script", 7)] {
        let mut run = old(room).command([place.path(name)]).start()?;
        ensure_eq!(run.wait()?, Status::Code(code), "{name}");
    }
    Ok(())
}

both_rooms!(the_app_is_given_the_same, what_cannot_be_executed_has_the_same_codes);
