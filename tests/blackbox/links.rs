//! Another user may write the directory of a file that graceinit writes: a volume that outlives the container, which
//! the app of an earlier life has filled with links to files of root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room, need};
use crate::{both_rooms, ensure, ensure_eq};

/// The user of the app.
const APP: u32 = 1000;

/// A directory of the app, beside a file and a directory of root.
fn volume() -> Outcome<Place> {
    let place = Place::new();
    place.file("victim", "precious", 0o600);
    fs::create_dir(place.path("etc"))?;
    fs::create_dir(place.path("vol"))?;
    chown(place.path("vol"), Some(APP), Some(APP))?;
    Ok(place)
}

/// A link that the app has made.
fn plant(place: &Place, target: &str, link: &str) -> Outcome {
    symlink(place.path(target), place.path(link))?;
    Ok(lchown(place.path(link), Some(APP), Some(APP))?)
}

fn untouched(place: &Place) -> Outcome {
    ensure_eq!(place.expect("victim")?, "precious", "the file of root");
    let mode = fs::metadata(place.path("victim"))?.permissions().mode();
    ensure_eq!(mode & 0o777, 0o600, "its mode");
    ensure!(
        fs::read_dir(place.path("etc"))?.next().is_none(),
        "a file was made in root's directory"
    );
    Ok(())
}

fn no_file_is_written_through_a_planted_link(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    const LINK: &str = "its path leads through a link that another user may have made";
    const NAME: &str = "it is a further name of a file, which another user may have made";
    for (options, why) in [
        ("--report vol/link", LINK),
        ("--report vol/dir/new", LINK),
        ("--report vol/dangling", LINK),
        ("--report vol/hard", NAME),
        ("--metrics-file vol/dir/new", LINK),
        ("--ready-file vol/dir/new", LINK),
        ("--listen unix:PLACE/vol/dir/new", LINK),
    ] {
        let place = volume()?;
        plant(&place, "victim", "vol/link")?;
        plant(&place, "etc", "vol/dir")?;
        plant(&place, "etc/new", "vol/dangling")?;
        fs::hard_link(place.path("victim"), place.path("vol/hard"))?;
        let options = options.replace("PLACE", &place.text(""));
        let mut run = Launch::graceinit(room)
            .cwd(place.path(""))
            .flags(&format!("--user {APP} {options}"))
            .app("say=started")
            .start()?;
        run.exits(125)?;
        ensure!(run.out.all()?.is_empty(), "{options}: the app was started");
        let said = run.err.find("graceinit: fatal: unable to ")?.0;
        ensure!(said.contains(why) && said.contains("; name "), "{options}: {said}");
        untouched(&place)?;
    }
    // What is replaced or only made is not opened through a link at its place.
    for (option, made) in [("--metrics-file", "vol/link"), ("--ready-file", "vol/link")] {
        let place = volume()?;
        plant(&place, "victim", "vol/link")?;
        let mut run = Launch::graceinit(room)
            .flag("--user", APP.to_string())
            .flag(option, place.text(made))
            .app("exit=3")
            .start()?;
        run.exits(3)?;
        untouched(&place)?;
    }
    Ok(())
}

/// A hook of root, beside an app of another user.
fn built_in_actions_follow_no_planted_link(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    for (action, why) in [
        ("write:vol/link text", "through a link"),
        ("write:vol/hard text", "a further name"),
        ("touch:vol/dir/new", "through a link"),
        ("touch:vol/dangling", "through a link"),
        ("rm:vol/up/victim", "through a link"),
    ] {
        let place = volume()?;
        plant(&place, "victim", "vol/link")?;
        plant(&place, "etc", "vol/dir")?;
        plant(&place, "", "vol/up")?;
        plant(&place, "etc/new", "vol/dangling")?;
        fs::hard_link(place.path("victim"), place.path("vol/hard"))?;
        let mut words = action.splitn(2, ' ').map(|word| format!("{word:?}"));
        let command = words.by_ref().collect::<Vec<_>>().join(", ");
        let file = format!("[[hook.pre-start]]\nuser = 0\ncommand = [{command}]\n");
        place.file("hooks.toml", file, 0o644);
        let mut run = Launch::graceinit(room)
            .cwd(place.path(""))
            .flags(&format!("--user {APP} --config hooks.toml"))
            .app("say=started")
            .start()?;
        run.exits(125)?;
        run.err.find(why)?;
        untouched(&place)?;
    }
    Ok(())
}

/// The links of a system are root's, in directories of root.
fn links_of_the_system_are_followed(room: Room) -> Outcome {
    let place = Place::new();
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755))?;
    fs::create_dir(place.path("data"))?;
    symlink("data", place.path("current"))?;
    symlink("/dev/stderr", place.path("log"))?;
    place.file("told", "", 0o644);
    symlink("told", place.path("data/known"))?;
    fs::rename(place.path("told"), place.path("data/told"))?;
    let own = place.text("log");
    for report in ["/dev/stderr", "/proc/self/fd/2", own.as_str()] {
        let mut run = Launch::graceinit(room).flag("--report", report).app("exit=3").start()?;
        run.exits(3)?;
        run.err.find("\"exit\":")?;
    }
    let mut run = Launch::graceinit(room)
        .flag("--report", place.text("current/report"))
        .flag("--metrics-file", place.text("current/metrics"))
        .flag("--pre-start", format!("write:{} yes", place.text("current/known")))
        .flag("--pre-start", "write:/dev/stderr told")
        .flag("--pre-start", format!("touch:{}", place.text("current/touched")))
        .app("exit=3")
        .start()?;
    run.exits(3)?;
    run.err.find("told")?;
    ensure_eq!(place.expect("data/told")?, "yes", "the file behind two links");
    ensure!(place.expect("data/report")?.contains("\"exit\":"), "the report");
    ensure!(place.expect("data/metrics")?.contains("graceinit_"), "the metrics");
    place.expect("data/touched").map(drop)
}

/// By the time that chmod(2) could be called with its name, the socket may be a link.
#[test]
fn a_unix_socket_gets_its_mode_without_chmod() -> Outcome {
    if !need::program("/usr/bin/strace") {
        return Ok(());
    }
    let place = Place::new();
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755))?;
    let trace = place.text("trace");
    let mut run = Launch::graceinit(Room::Plain)
        .given("set-umask=077")
        .wrapped_by(["strace", "-DD", "-o", &trace, "-e", "trace=/chmod,umask,bind"])
        .flag("--listen", format!("unix:{}", place.text("socket")))
        .app("block umask ready echo=TERM:3")
        .start()?;
    let umask = run.out.expect("umask")?;
    run.ready()?;
    let mode = fs::metadata(place.path("socket"))?.permissions().mode();
    ensure_eq!(mode & 0o777, 0o666, "the mode of the socket");
    ensure!(umask.0.contains("77"), "the umask of the app: {}", umask.0);
    run.signal("TERM")?;
    run.exits(3)?;
    let ended = || place.read("trace").filter(|text| text.contains("+++ "));
    let text = crate::support::proc::poll("the end of the trace", ended)?;
    ensure!(text.contains("bind(") && !text.contains("chmod"), "{text}");
    Ok(())
}

both_rooms!(
    no_file_is_written_through_a_planted_link,
    built_in_actions_follow_no_planted_link,
    links_of_the_system_are_followed,
);
