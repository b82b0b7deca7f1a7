//! The platforms that Debian has, for real, as far as they run on the machine; Docker and Podman are in `tests/docker`.
//! Each gives four seconds, and kills long after that: what ends the container is graceinit, and the report says so.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use graceinit::account::document::Account;

use crate::support::files::Place;
use crate::support::init::puppet;
use crate::support::{Fault, Outcome, Program, need, proc, sys};
use crate::{ensure, ensure_eq};

/// Longer than anything that these programs do on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);
/// graceinit and an app that does not end, where the programs and what they write lie.
fn words(graceinit: &str, puppet: &str, w: &str) -> Vec<String> {
    let line = format!(
        "{graceinit} --report {w}/report --post-stop touch:{w}/post-stop -- {puppet} to={w}/out block ready echo"
    );
    line.split(' ').map(str::to_owned).collect()
}

/// The same in a root file system of its own.
fn inside() -> Vec<String> {
    words("/graceinit", "/puppet", "/w")
}

/// A root file system with graceinit and the puppet.
fn root(place: &Place) -> Outcome<String> {
    for dir in [
        "root/w",
        "root/proc",
        "root/sys",
        "root/dev",
        "root/run",
        "root/tmp",
        "root/usr",
        "root/etc",
    ] {
        fs::create_dir_all(place.path(dir))?;
    }
    fs::copy(Program::Graceinit.path(), place.path("root/graceinit"))?;
    fs::copy(puppet(), place.path("root/puppet"))?;
    Ok(place.text("root"))
}

/// The life in its own words: the signal that began the stop, and how it ended.
fn is_stopped(place: &Place, w: &str, platform: &str, signals: &[&str]) -> Outcome {
    let name = |file: &str| format!("{w}/{file}");
    let ended = || {
        let account: Account = serde_json::from_str(&place.read(&name("report"))?).ok()?;
        account.exit.is_some().then_some(account)
    };
    let account = proc::poll_within(LONG, "the report of a whole life", ended)?;
    // A report that would become too long has no settings.
    let grace = account.settings.iter().find(|setting| setting.name == "grace");
    let source = grace.map(|grace| grace.source.clone());
    let source = source.or_else(|| place.read(&name("log"))).unwrap_or_default();
    ensure!(source.contains(&format!("default on {platform}: ")), "grace: {source}");
    let signal = account.stop.map(|stop| stop.signal).unwrap_or_default();
    ensure!(signals.contains(&signal.as_str()), "stopped by {signal}, not by {signals:?}");
    let exit = account.exit.map(|exit| (exit.code, exit.reason));
    ensure_eq!(exit, Some((137, "deadline".to_owned())), "the end");
    ensure!(place.read(&name("post-stop")).is_some(), "no post-stop hook ran");
    let out = place.expect(&name("out"))?;
    ensure_eq!(out.matches("got TERM ").count(), 1, "TERM to the app: {out}");
    let others = out.matches("got ").count() - out.matches("got CONT ").count();
    ensure_eq!(others, 1, "other signals to the app: {out}");
    Ok(())
}

fn started(place: &Place, w: &str) -> Outcome {
    let ready = || place.read(&format!("{w}/out"))?.contains("ready").then_some(());
    proc::poll_within(LONG, "the app", ready)
}

/// Runs a command that must succeed.
fn run(words: &[&str]) -> Outcome<String> {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(Fault::new(format!("{words:?} fails: {text}"))),
    }
}

#[test]
fn lxc_stop() -> Outcome {
    if !need::root() || !need::program("/usr/bin/lxc-start") {
        return Ok(());
    }
    let place = Place::new();
    let root = root(&place)?;
    fs::create_dir(place.path("lxc"))?;
    let config = place.file(
        "config",
        format!(
            "lxc.rootfs.path = dir:{root}\nlxc.net.0.type = none\nlxc.mount.auto = proc:rw\n\
             lxc.environment = GRACEINIT_PLATFORM=auto:4s\nlxc.init.cmd = {}\n",
            inside().join(" ")
        ),
        0o644,
    );
    let (lxc, config) = (place.text("lxc"), config.display().to_string());
    let lxc = ["-P", &lxc, "-n", "test"];
    let log = place.text("log");
    let start =
        [&["lxc-start"][..], &lxc, &["-f", &config, "-d", "-l", "INFO", "-o", &log]].concat();
    let begun = run(&start);
    let why =
        begun.as_ref().err().map(|_| place.read("log").unwrap_or_default()).unwrap_or_default();
    let why = why.lines().find(|line| line.contains("ERROR")).unwrap_or_default();
    if !need::met(begun.is_ok(), &format!("an LXC that can start a container ({why})")) {
        return Ok(());
    }
    started(&place, "root/w")?;
    run(&[&["lxc-stop"][..], &lxc, &["-t", "60"]].concat())?;
    // The second one if LXC takes PID 1 for systemd.
    is_stopped(&place, "root/w", "lxc", &["PWR", "RTMIN+3"])
}

#[test]
fn systemd_nspawn() -> Outcome {
    if !need::root() || !need::program("/usr/bin/systemd-nspawn") {
        return Ok(());
    }
    let place = Place::new();
    let root = root(&place)?;
    let mut command = Command::new("systemd-nspawn");
    command.args(["--register=no", "--keep-unit", "--quiet", "--console=pipe"]);
    // What --boot sets too. SIGTERM to systemd-nspawn is then passed on as this signal.
    command.args(["--kill-signal=SIGRTMIN+3", "--setenv=GRACEINIT_PLATFORM=auto:4s", "-D", &root]);
    command.args(inside()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut nspawn = command.spawn()?;
    let begun = proc::poll_within(LONG, "the app, or the end of systemd-nspawn", || {
        let out = place.read("root/w/out").unwrap_or_default();
        let ended = nspawn.try_wait().ok().flatten().map(|_| false);
        if out.contains("ready") { Some(true) } else { ended }
    })?;
    let mut why = String::new();
    if let (false, Some(stderr)) = (begun, nspawn.stderr.as_mut()) {
        stderr.read_to_string(&mut why)?;
    }
    let why = why.lines().last().unwrap_or_default();
    if !need::met(begun, &format!("a systemd-nspawn that can start a container ({why})")) {
        return Ok(());
    }
    sys::kill(nspawn.id() as i32, libc::SIGTERM)?;
    let end = proc::poll_within(LONG, "the end", || nspawn.try_wait().ok().flatten());
    drop(nspawn.kill());
    ensure_eq!(end?.code(), Some(137), "the code");
    is_stopped(&place, "root/w", "nspawn", &["RTMIN+3"])
}

/// A unit of a user's systemd, in namespaces of its own: PID 1 of the machine may be another program.
const UNIT: &str = r#"
set -e
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "$1/run" "$1/config/systemd/user"
export XDG_RUNTIME_DIR=$1/run XDG_CONFIG_HOME=$1/config HOME=$1
cp "$1/test.service" "$1/config/systemd/user/"
/lib/systemd/systemd --user --log-target=console >"$1/log" 2>&1 &
until systemctl --user start test.service 2>>"$1/log"; do kill -0 $!; done
echo started
read -r line || true
systemctl --user stop test.service
echo stopped
"#;

#[test]
fn a_systemd_unit() -> Outcome {
    if !need::root()
        || !need::program("/lib/systemd/systemd")
        || !need::program("/usr/bin/systemctl")
    {
        return Ok(());
    }
    let place = Place::new();
    let w = place.path("w");
    fs::create_dir(&w)?;
    // systemd does not find its own sockets by a path with `.` in it.
    let dir = w.parent().unwrap_or(&w).display().to_string();
    let graceinit = Program::Graceinit.path().display().to_string();
    let line = words(&graceinit, &puppet().display().to_string(), &place.text("w")).join(" ");
    // The platform by its name: on a machine with /.dockerenv, Docker is found before a unit.
    let unit = format!(
        "[Service]\nExecStart={line}\nEnvironment=GRACEINIT_PLATFORM=systemd:4s\nTimeoutStopSec=60\nKillMode=mixed\nEnvironment=GRACEINIT_LOG=info\nStandardError=file:{dir}/w/log\n"
    );
    place.file("test.service", unit, 0o644);
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        UNIT,
        "unit",
        &dir,
    ]);
    let mut manager =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let begun = proc::poll_within(LONG, "the app, or the end of systemd", || {
        let out = place.read("w/out").unwrap_or_default();
        let ended = manager.try_wait().ok().flatten().map(|_| false);
        if out.contains("ready") { Some(true) } else { ended }
    })?;
    let log = place.read("log").unwrap_or_default();
    let why = log.lines().last().unwrap_or_default();
    if !need::met(begun, &format!("a systemd that can run a unit ({why})")) {
        return Ok(());
    }
    drop(manager.stdin.take());
    let end = proc::poll_within(LONG, "the end", || manager.try_wait().ok().flatten());
    drop(manager.kill());
    end?;
    is_stopped(&place, "w", "systemd", &["TERM"])
}

/// containerd through `ctr`, which leaves no marker: PID 1 expects a kill after ten seconds.
#[test]
fn containerd_through_ctr() -> Outcome {
    if !need::root() || !need::program("/usr/bin/ctr") || !need::program("/usr/bin/containerd") {
        return Ok(());
    }
    let place = Place::new();
    let root = root(&place)?;
    // A short path: the addresses of sockets have 107 bytes.
    let dir = tempfile::Builder::new().prefix("ctr-").tempdir_in("/tmp")?;
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut command = Command::new("containerd");
    command.args(["--address", &at("sock"), "--root", &at("root"), "--state", &at("state")]);
    let log = fs::File::create(dir.path().join("log"))?;
    let mut containerd = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
    let outcome = with_containerd(&place, &root, &at("sock"), &mut containerd);
    drop(sys::kill(containerd.id() as i32, libc::SIGTERM));
    drop(proc::poll_within(LONG, "the end of containerd", || containerd.try_wait().ok().flatten()));
    outcome
}

fn with_containerd(
    place: &Place,
    root: &str,
    socket: &str,
    containerd: &mut std::process::Child,
) -> Outcome {
    let ctr = |words: &[&str]| run(&[&["ctr", "--address", socket], words].concat());
    let up = proc::poll_within(LONG, "containerd", || {
        let ended = containerd.try_wait().ok().flatten().map(|_| false);
        if Path::new(socket).exists() { Some(true) } else { ended }
    })?;
    let start = ["run", "-d", "--env", "GRACEINIT_PLATFORM=auto:4s", "--rootfs", root, "test"];
    let app = inside();
    let app: Vec<&str> = app.iter().map(String::as_str).collect();
    let begun = up.then(|| ctr(&[&start[..], &app].concat()));
    let is_ok = begun.as_ref().is_some_and(Result::is_ok);
    let why = begun.and_then(Result::err).map(|fault| fault.reason().to_owned());
    if !need::met(is_ok, &format!("a containerd that can start a container ({why:?})")) {
        return Ok(());
    }
    let outcome = started(place, "root/w").and_then(|()| {
        ctr(&["task", "kill", "-s", "SIGTERM", "test"])?;
        let stopped = || ctr(&["task", "ls"]).ok()?.contains("STOPPED").then_some(());
        proc::poll_within(LONG, "the end of the task", stopped)
    });
    drop(ctr(&["task", "rm", "-f", "test"]));
    drop(ctr(&["container", "rm", "test"]));
    outcome?;
    let report = place.expect("root/w/report")?;
    ensure!(report.contains("for a kill after 4s"), "no deadline of four seconds: {report}");
    let account: Account = serde_json::from_str(&report)?;
    let exit = account.exit.map(|exit| (exit.code, exit.reason));
    ensure_eq!(exit, Some((137, "deadline".to_owned())), "the end");
    ensure!(place.read("root/w/post-stop").is_some(), "no post-stop hook ran");
    Ok(())
}
