//! Orphans: adopted, waited for, and no hindrance.

use std::time::{Duration, Instant};

use super::peers::{Subject, shared};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, Run, Status, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// Waits until the init has no child but these many.
fn children_come_down_to(run: &Run, count: usize, patience: Duration) -> Outcome<Duration> {
    let init = run.init()?;
    let start = Instant::now();
    proc::poll_within(patience, &format!("only {count} children of the init"), || {
        (proc::children(init).len() <= count).then_some(())
    })?;
    Ok(start.elapsed())
}

fn two_thousand_orphans_at_once(subject: Subject) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let script =
        format!("block orphans=2000 ready read={} release echo=TERM:7", fifo.path().display());
    let mut run = subject.launch().app(&script).start()?;
    run.out.expect("orphans")?;
    run.ready()?;
    let adopted = proc::children(run.init()?).len();
    ensure_eq!(adopted, 2001, "children of the init before they end");
    fifo.release()?;
    children_come_down_to(&run, 1, subject.patience)?;
    ensure!(proc::zombies(run.init()?).is_empty(), "zombies are left");
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(7), "the app's code");
    Ok(())
}

/// wait4(-1) walks all live children: with thousands of them reaping gets slow by the square.
fn a_thousand_orphans_end_among_five_thousand_live_ones(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let script = format!(
        "block live-orphans=5000 orphans=1000 ready read={} release echo=TERM:7",
        fifo.path().display()
    );
    let mut run = Launch::graceinit(room).flags("--grace 60").app(&script).start()?;
    run.out.expect("orphans 5000")?;
    run.out.expect("orphans 1000")?;
    run.ready()?;
    fifo.release()?;
    children_come_down_to(&run, 5001, Duration::from_secs(20))?;
    run.signal("TERM")?;
    ensure_eq!(run.wait_within(Duration::from_secs(30))?, Status::Code(7), "the app's code");
    ensure!(run.survivors().is_empty(), "orphans are left behind");
    Ok(())
}

/// A parent that ignores SIGCHLD hands that on through exec, and the kernel then throws every exit
/// status away.
fn chld_inherited_as_ignored(subject: Subject) -> Outcome {
    let mut run = subject.launch().given("ignore=CHLD").app("exit=7").start()?;
    ensure_eq!(run.wait()?, Status::Code(7), "the app's code");
    Ok(())
}

/// Other children end before, with and after the app; the code is the app's.
fn the_apps_code_is_not_mixed_up_with_an_orphans(subject: Subject) -> Outcome {
    for _ in 0..20 {
        let mut run = subject
            .launch()
            .app("spawn=orphan:exit=1 orphans=100 release spawn=double:exit=2 exit=7")
            .start()?;
        ensure_eq!(run.wait()?, Status::Code(7), "the app's code");
    }
    Ok(())
}

/// Orphans that end one by one over a life.
fn no_zombie_of_a_stray_remains(subject: Subject) -> Outcome {
    let run = subject
        .launch()
        .app(
            "block spawn=orphan:exit=0 spawn=double:exit=1 spawn=orphan:die=SEGV \
             spawn=double:spawn=orphan:exit=0 ready echo",
        )
        .given("limit=4:0:0")
        .start()?;
    run.ready()?;
    children_come_down_to(&run, 1, subject.patience)?;
    let left = proc::children(run.init()?);
    ensure!(left.iter().all(|p| p.state != 'Z'), "zombies: {left:?}");
    Ok(())
}

/// tini's `-w`: one warning for each.
#[test]
fn reaped_orphans_are_told_on_request() -> Outcome {
    let mut run = Launch::graceinit(Room::Plain)
        .flags("-w")
        .app("block spawn=orphan:ready;exit=3 ready echo=TERM:0")
        .start()?;
    let pid = run.ready()?.get("pid").unwrap_or_default().to_string();
    run.ready()?;
    run.err.find(&pid)?;
    run.signal("TERM")?;
    run.exits(0)
}

shared!(
    two_thousand_orphans_at_once,
    chld_inherited_as_ignored,
    the_apps_code_is_not_mixed_up_with_an_orphans,
    no_zombie_of_a_stray_remains
);
both_rooms!(a_thousand_orphans_end_among_five_thousand_live_ones);
