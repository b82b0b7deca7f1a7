//! `--user`, and `-p`: who the app runs as, and what its parent's death means.

use crate::support::files::Place;
use crate::support::init::{puppet, puppet_line};
use crate::support::{Launch, Outcome, Program, Room, need, proc};
use crate::{both_rooms, ensure, ensure_eq};

/// The fields of a name in /etc/passwd: uid and gid.
fn passwd(name: &str) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

fn group(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn the_app_and_the_hooks_run_as_the_user(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let names = passwd("nobody").zip(group("daemon"));
    if !need::met(names.is_some(), "a user nobody and a group daemon") {
        return Ok(());
    }
    let ((uid, gid), daemon) = names.unwrap_or_default();
    for (spec, uid, gid) in [
        ("nobody".to_string(), uid, gid),
        (format!("{uid}"), uid, gid),
        ("nobody:daemon".to_string(), uid, daemon),
        (format!("{uid}:{daemon}"), uid, daemon),
        ("nobody:4242".to_string(), uid, 4242),
        // Without an entry anywhere.
        ("424242:434343".to_string(), 424_242, 434_343),
        ("424242".to_string(), 424_242, 424_242),
    ] {
        let place = Place::new();
        let mut run = Launch::graceinit(room)
            .flags(&format!("--user {spec}"))
            .flag("--post-stop", puppet_line(&format!("to={} ids", place.text("hook"))))
            .app("ids exit=3")
            .start()?;
        run.exits(3)?;
        let app = run.out.next()?.0;
        let expected = format!("ids uid={uid} euid={uid} gid={gid} egid={gid} groups=");
        ensure!(app.starts_with(&expected), "--user {spec}: {app}");
        // Root's groups must not come along.
        let groups = app.split("groups=").nth(1).and_then(|rest| rest.split(' ').next());
        let foreign = groups
            .is_none_or(|groups| groups.split(',').any(|g| !g.is_empty() && g != gid.to_string()));
        ensure!(!foreign, "--user {spec}: foreign groups in {app}");
        ensure_eq!(place.expect("hook")?.trim_end(), app, "the hook under --user {spec}");
    }
    Ok(())
}

/// The supplementary groups of a named user come from /etc/group.
#[test]
fn a_named_user_has_its_supplementary_groups() -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let group = "root:x:0:\nweb:x:5001:\nlogs:x:5002:adm,www\nssl:x:5003:www\nother:x:5004:wwwx\n";
    let place = Place::new();
    place.file("passwd", "root:x:0:0::/:/bin/sh\nwww:x:5000:5001::/:/bin/false\n", 0o644);
    place.file("group", group, 0o644);
    let script = format!(
        "mount --bind {} /etc/passwd && mount --bind {} /etc/group && exec \"$@\"",
        place.text("passwd"),
        place.text("group")
    );
    let mut run = Launch::graceinit(Room::Plain)
        .wrapped_by(["unshare", "--mount", "sh", "-c", &script, "sh"])
        .flags("--user www")
        .app("ids")
        .start()?;
    run.exits(0)?;
    let line = run.out.next()?;
    ensure_eq!(line.number("uid")?, 5000, "the user");
    ensure_eq!(line.number("gid")?, 5001, "the group");
    let mut groups: Vec<&str> = line.get("groups").unwrap_or_default().split(',').collect();
    groups.sort_unstable();
    groups.retain(|g| *g != "5001");
    ensure_eq!(groups, ["5002", "5003"], "the supplementary groups");
    Ok(())
}

/// Users and groups of an image that are named by digits have the id 0: digits would be root (CVE-2016-3697).
fn digits_are_ids_and_never_names(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let place = Place::new();
    place.file("passwd", "1000:x:0:0::/root:/bin/sh\n4242:x:0:0::/root:/bin/sh\n", 0o644);
    place.file("group", "1000:x:0:\n2000:x:0:\n", 0o644);
    let script = format!(
        "mount --bind {} /etc/passwd && mount --bind {} /etc/group && exec \"$@\"",
        place.text("passwd"),
        place.text("group")
    );
    place.file(
        "hooks.toml",
        "[[hook.post-stop]]\ncommand = [\"id\", \"-u\"]\nuser = 4242\n",
        0o644,
    );
    for (spec, uid, gid) in [("1000", 1000, 1000), ("1000:2000", 1000, 2000)] {
        let mut run = Launch::graceinit(room)
            .wrapped_by(["unshare", "--mount", "sh", "-c", &script, "sh"])
            .flags(&format!("-v --user {spec} --config {}", place.text("hooks.toml")))
            .app("ids")
            .start()?;
        run.exits(0)?;
        let line = run.out.next()?;
        ensure_eq!(line.number("uid")?, uid, "the user of {spec}");
        ensure_eq!(line.number("gid")?, gid, "the group of {spec}");
        // The user of a hook is read by the same rule.
        run.err.find("4242")?;
    }
    Ok(())
}

#[test]
fn an_unknown_user_or_group_is_refused() -> Outcome {
    for spec in [
        "no-such-user",
        "root:no-such-group",
        "no-such-user:0",
        ":",
        "4294967295",
        "65534:4294967295",
        "99999999999999999999",
        "+65534",
        "-1",
        "065534",
        "65534:00",
    ] {
        let mut run =
            Launch::graceinit(Room::Plain).words(["--user", spec]).app("say=started").start()?;
        run.exits(125)?;
        ensure!(run.out.all()?.is_empty(), "the app was started as {spec}");
        let said = run.err.find("graceinit: fatal: ")?.0;
        let name = spec.split(':').find(|part| part.starts_with("no-such")).unwrap_or(spec);
        ensure!(said.contains(name), "{name} is not named in {said:?}");
    }
    Ok(())
}

/// Without the privilege the app must not run as somebody else.
fn a_user_without_the_privilege_is_fatal(room: Room) -> Outcome {
    if !(need::root() && need::program("/usr/bin/setpriv")) {
        return Ok(());
    }
    let mut run = Launch::graceinit(room)
        .wrapped_by(["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid"])
        .flags("--user 65534")
        .app("say=started")
        .start()?;
    let status = run.wait()?;
    ensure!(
        matches!(status, crate::support::Status::Code(125 | 126)),
        "ended with {status}, an error of its own expected"
    );
    ensure!(run.out.all()?.is_empty(), "the app was started all the same");
    run.err.find("not permitted").map(drop)
}

/// tini's `-p`: the parent's death is a signal. The parent is a puppet that ends when it is told.
#[test]
fn the_death_of_the_parent_is_a_signal() -> Outcome {
    for program in [Program::Graceinit, Program::Tini, Program::AsTini] {
        if !need::peer(program) {
            continue;
        }
        for (signal, code) in [("TERM", 3), ("USR1", 4)] {
            let place = Place::new();
            let fifo = place.fifo("gate");
            let notes = place.text("notes");
            // The app says its word into a file: the parent's end is the end of our account.
            let script = format!(
                "spawn=same:exec;{};-p;{signal};--;{};to={notes};block;ready;echo=TERM:3,USR1:4 \
                 read={}",
                program.path().display(),
                puppet().display(),
                fifo.path().display()
            );
            let script = match program {
                // As a plain process it does not find it worth while otherwise; and it wants SIG.
                Program::Tini | Program::AsTini => script.replace(";-p;", ";-s;-p;SIG"),
                _ => script,
            };
            let run =
                Launch::graceinit(Room::Plain).program_file(puppet()).flags(&script).start()?;
            let ready = crate::support::Line(place.wait_for("notes")?);
            let app = ready.number("pid")?;
            let init = ready.number("ppid")?;
            ensure!(proc::alive(app) && proc::alive(init), "gone too early");
            fifo.release()?;
            let what = format!("{program:?} gone after {signal} (code {code})");
            proc::poll(&what, || (!proc::alive(app) && !proc::alive(init)).then_some(()))?;
            let text = place.expect("notes")?;
            ensure!(text.contains(&format!("got {signal} ")), "no {signal} in {text:?}");
            drop(run);
        }
    }
    Ok(())
}

both_rooms!(
    digits_are_ids_and_never_names,
    the_app_and_the_hooks_run_as_the_user,
    a_user_without_the_privilege_is_fatal
);
