//! Where something is missing: processes, privileges, /proc, a writable root.

use super::peers::{Subject, shared};
use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Launch, Line, Outcome, Program, Room, Status, need, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// A uid that nothing else runs as: limits of processes count per user.
pub(super) fn lonely_uid() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Far above what distributions hand out, apart for tests that run side by side.
    2_000_000 + (std::process::id() % 10_000) * 100 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Runs the rest of the command line as this user, without any privilege.
pub(super) fn as_user(uid: u32) -> Vec<String> {
    let words = ["setpriv", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
    let mut words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
    words.extend([format!("--reuid={uid}"), format!("--regid={uid}"), "--no-new-privs".into()]);
    words
}

/// Whether another user may execute the programs under test (not below a closed home directory).
pub(super) fn can_run_as_another_user() -> bool {
    need::root()
        && need::program("/usr/bin/setpriv")
        && need::met(
            std::process::Command::new("setpriv")
                .args(["--reuid=65534", "--clear-groups"])
                .arg(crate::support::init::puppet())
                .arg("exit=0")
                .stderr(std::process::Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
            "programs that another user may execute",
        )
}

/// RLIMIT_NPROC is number 6; graceinit and the app are two processes.
fn a_hook_that_cannot_be_forked_is_a_warning(room: Room) -> Outcome {
    if !can_run_as_another_user() {
        return Ok(());
    }
    let place = Place::new();
    let mut run = Launch::graceinit(room)
        .given("limit=6:2:2")
        .wrapped_by(as_user(lonely_uid()))
        .flags("--hook-backoff 10ms")
        .flag("--pre-stop", puppet_line(&format!("append={}:pre", place.text("notes"))))
        .flag("--on-stop", puppet_line(&format!("append={}:on", place.text("notes"))))
        .flag("--post-stop", puppet_line(&format!("append={}:post", place.text("notes"))))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    for name in ["pre-stop-1", "on-stop-1"] {
        let said = run.err.find(name)?.0;
        ensure!(said.starts_with("graceinit: warn: "), "not a warning: {said}");
    }
    run.err.find("emporarily unavailable")?;
    // The app's place was free again by then.
    ensure_eq!(place.expect("notes")?, "post\n", "the hooks that ran");
    Ok(())
}

fn an_app_that_cannot_be_forked_is_fatal(room: Room) -> Outcome {
    if !can_run_as_another_user() {
        return Ok(());
    }
    let mut run = Launch::graceinit(room)
        .given("limit=6:1:1")
        .wrapped_by(as_user(lonely_uid()))
        .app("say=started")
        .start()?;
    run.exits(125)?;
    let said = run.err.find("graceinit: fatal: unable to ")?.0;
    ensure!(said.contains("emporarily unavailable"), "no reason in {said:?}");
    ensure!(run.out.all()?.is_empty(), "the app was started");
    Ok(())
}

/// A life with everything in it: signals, hooks, a helper, the stop. `saved`: whether a daemon can be
/// found and waited for here.
fn a_whole_life(launch: Launch, saved: bool) -> Outcome<crate::support::Run> {
    let place = Place::new();
    let mut run = launch
        .flags("--hook-retries 0")
        .flag("--pre-stop", puppet_line(&format!("append={}:pre", place.text("notes"))))
        .flag("--post-stop", puppet_line(&format!("append={}:post", place.text("notes"))))
        .app(&format!(
            "block spawn=double:name=helper;block;ready;helper=300:{} ready echo=TERM:3",
            place.text("saved")
        ))
        .start()?;
    run.out.expect("helper: ready")?;
    run.ready()?;
    run.signal("USR1")?;
    run.out.expect("got USR1 ")?;
    run.signal("TERM")?;
    run.exits(3)?;
    ensure_eq!(place.expect("notes")?, "pre\npost\n", "the hooks");
    if saved {
        ensure_eq!(place.expect("saved")?, "saved terms=1", "the helper's file");
        ensure!(run.survivors().is_empty(), "left behind");
    }
    Ok(run)
}

/// A mount namespace of its own, prepared by a line of shell.
fn prepared(script: &str) -> [String; 6] {
    let script = format!("{script} && exec \"$@\"");
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(String::from)
}

fn without_proc(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let launch = Launch::graceinit(room).wrapped_by(prepared("mount -t tmpfs none /proc"));
    if room == Room::PidNs {
        a_whole_life(launch.flags("--grace 60"), true)?;
        return Ok(());
    }
    // Only PID 1 can reach what it cannot see: a plain process waits for the daemon, in vain.
    let run = a_whole_life(launch.flags("--grace 2"), false)?;
    let warnings: Vec<_> = run.err.so_far();
    let about = |line: &&Line| line.0.starts_with("graceinit: warn: ") && line.0.contains("/proc");
    ensure_eq!(warnings.iter().filter(about).count(), 1, "warnings about /proc");
    Ok(())
}

/// Whether anybody is left is known without /proc: nobody is told of what it would be needed for.
fn without_proc_and_leftovers(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let mut run = Launch::graceinit(room)
        .wrapped_by(prepared("mount -t tmpfs none /proc"))
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    let warnings = run.err.so_far();
    ensure!(!warnings.iter().any(|line| line.0.contains("/proc")), "told: {warnings:?}");
    Ok(())
}

/// Without /proc the direct children and the app's group are still known.
#[test]
fn without_proc_the_group_is_still_swept() -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let place = Place::new();
    let fifo = place.fifo("gate");
    // The app ends only after the helper has taken its TERM: a second one could merge with it unseen.
    let stopped = format!("wait=TERM read={} exit=3", fifo.path().display());
    for end in [stopped.as_str(), "exit=3"] {
        let mut run = Launch::graceinit(Room::Plain)
            .wrapped_by(prepared("mount -t tmpfs none /proc"))
            .flags("--grace 60 --scope group")
            .app(&format!(
                "block spawn=orphan:name=helper;block;ready;helper=300:{} ready {end}",
                place.text("saved")
            ))
            .start()?;
        run.out.expect("helper: ready")?;
        run.ready()?;
        if end.starts_with("wait") {
            run.signal("TERM")?;
            run.out.until("helper: got TERM")?;
            fifo.release()?;
        }
        run.exits(3)?;
        ensure_eq!(place.expect("saved")?, "saved terms=1", "the helper's file ({end})");
        std::fs::remove_file(place.path("saved"))?;
        ensure!(run.survivors().is_empty(), "left behind ({end})");
    }
    Ok(())
}

/// …also when the missing /proc was noticed, and told, long before.
#[test]
fn without_proc_leftovers_are_told_whatever_was_missed_before() -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let place = Place::new();
    let script = format!(
        "block spawn=orphan:name=helper;block;ready;helper=0:{} ready wait=USR1 exit=3",
        place.text("saved")
    );
    let mut run = Launch::graceinit(Room::Plain)
        .wrapped_by(prepared("mount -t tmpfs none /proc"))
        .flags("--grace 60 --scope tree")
        .app(&script)
        .start()?;
    run.out.expect("helper: ready")?;
    run.ready()?;
    run.signal("USR1")?;
    run.exits(3)?;
    ensure_eq!(place.expect("saved")?, "saved terms=1", "the helper's file");
    Ok(())
}

/// `unshare --pid` without a /proc of its own: the numbers in there are other processes'.
#[test]
fn the_proc_of_another_namespace_is_not_believed() -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    a_whole_life(Launch::graceinit(Room::PidNs).foreign_proc().flags("--grace 60"), true)?;
    Ok(())
}

/// The same below another PID 1, whose other children must not be touched.
#[test]
fn bystanders_in_a_foreign_proc_are_left_alone() -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let place = Place::new();
    let graceinit = Program::Graceinit.path();
    let puppet = crate::support::init::puppet();
    // PID 1 is a puppet with two bystanders; graceinit is its third child.
    let script = format!(
        "name=one block spawn=same:name=bystander;block;ready;echo \
         spawn=setsid:name=bystander;block;ready;echo \
         spawn=same:exec;{};--grace;60;--;{};block;name=app;ready;spawn=same:ready|helper=0:{};exit=3 \
         children",
        graceinit.display(),
        puppet.display(),
        place.text("saved")
    );
    let run = Launch::graceinit(Room::PidNs).foreign_proc().program_file(&puppet).flags(&script);
    let run = run.start()?;
    run.out.until("bystander: ready")?;
    run.out.until("app: ready")?;
    // graceinit's end, which its parent sees: status 3 << 8.
    let ended = run.out.until("one: reaped")?;
    ensure_eq!(ended.number("status")?, 3 << 8, "how graceinit ended");
    ensure_eq!(run.out.count("bystander: got"), 0, "signals at the bystanders");
    Ok(())
}

fn on_a_read_only_root(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    // Only the place of the test stays writable, for the account of its hooks.
    let script = "mount -t tmpfs none /mnt && mount -o remount,bind,ro / && ! touch /x 2>/dev/null";
    let run = Launch::graceinit(room)
        .wrapped_by(prepared(script))
        .flags("--hook-retries 0")
        .flag("--pre-stop", puppet_line("say=hello"))
        .flags("-v")
        .app("block spawn=double:name=helper;block;ready;echo=TERM:0 ready echo=TERM:3");
    let mut run = run.start()?;
    run.out.expect("helper: ready")?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    run.out.find("helper: got TERM")?;
    run.err.find("[pre-stop pre-stop-1 stdout] hello").map(drop)
}

fn as_nobody_without_any_privilege(room: Room) -> Outcome {
    if !can_run_as_another_user() {
        return Ok(());
    }
    a_whole_life(Launch::graceinit(room).wrapped_by(as_user(65534)).flags("--grace 60"), true)?;
    Ok(())
}

/// Root without CAP_KILL, an app with another uid: a signal that may not be sent is a warning.
fn a_signal_that_may_not_be_sent_is_no_end(subject: Subject) -> Outcome {
    if !can_run_as_another_user() {
        return Ok(());
    }
    let place = Place::new();
    let fifo = place.fifo("gate");
    let puppet = crate::support::init::puppet();
    let mut run = subject
        .launch()
        .wrapped_by(["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"])
        .command(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        .app_arg(&puppet)
        .app_arg("block")
        .app_arg("ready")
        .app_arg(format!("read={}", fifo.path().display()))
        .app_arg("exit=6")
        .start()?;
    run.ready()?;
    run.signal("USR1")?;
    // Taken, not only sent: nothing pending any more, or the program is gone.
    let init = run.init()?;
    proc::poll("the signal taken", || {
        let pending = proc::mask(init, "ShdPnd").unwrap_or(0);
        (pending & crate::support::sys::bit(libc::SIGUSR1) == 0).then_some(())
    })?;
    fifo.release()?;
    ensure_eq!(run.wait()?, Status::Code(6), "the app's end");
    if subject.program.is_ours() {
        let said = run.err.find("not permitted")?.0;
        ensure!(said.starts_with("graceinit: warn: "), "not a warning: {said}");
    }
    Ok(())
}

/// …and at the end of the budget there is an end, whether or not the app could be killed.
fn what_may_not_be_killed_does_not_hold_up_the_end(room: Room) -> Outcome {
    if !can_run_as_another_user() {
        return Ok(());
    }
    let puppet = crate::support::init::puppet();
    let mut run = Launch::graceinit(room)
        .flags("--grace 500ms --post-stop-timeout 500ms")
        .wrapped_by(["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"])
        .command(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        .app_arg(&puppet)
        .app_arg("block")
        .app_arg("ready")
        .app_arg("echo")
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(137)
}

both_rooms!(
    a_hook_that_cannot_be_forked_is_a_warning,
    an_app_that_cannot_be_forked_is_fatal,
    without_proc,
    without_proc_and_leftovers,
    on_a_read_only_root,
    as_nobody_without_any_privilege,
    what_may_not_be_killed_does_not_hold_up_the_end
);
shared!(a_signal_that_may_not_be_sent_is_no_end);
