//! Podman: `podman run --init`, and a pod whose infra container is our catatonit. Images are not needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};

use super::engine::{Running, guard};
use super::{phases, variables};
use crate::support::init::puppet;
use crate::support::{Fault, Line, Outcome, alias, need, proc};
use crate::{ensure, ensure_eq};

/// Leaves nothing of ours.
const AFTERWARDS: &str = r#"
read -r _
"$@" pod rm --all --force --time 0
"$@" rm --all --force --time 0
rm -rf "$CONTAINERS_CONF_DIR"
"#;

/// A podman with a place of its own for everything that it keeps, and graceinit for its helpers.
pub(super) struct Podman {
    dir: PathBuf,
    /// When this closes, the guard cleans up.
    _lifeline: ChildStdin,
}

impl Podman {
    /// Or the test is skipped.
    pub(super) fn here() -> Outcome<Option<Podman>> {
        if !need::root() || !need::program("/usr/bin/podman") || !need::program("/usr/bin/conmon") {
            return Ok(None);
        }
        // A short path: conmon's sockets lie below.
        let dir = tempfile::Builder::new().prefix("podman-").tempdir_in("/tmp")?.keep();
        fs::create_dir_all(dir.join("fs/w"))?;
        fs::copy(puppet(), dir.join("fs/puppet"))?;
        fs::copy(env!("CARGO_BIN_EXE_graceinit"), dir.join("fs/graceinit"))?;
        fs::copy(puppet().with_file_name("server"), dir.join("fs/server"))?;
        let names = alias("catatonit");
        let names = names.parent().unwrap_or(Path::new("/")).display();
        let init = alias("podman-init");
        // What podman asks for by itself is more than the tests may have where they run without
        // CAP_SYS_RESOURCE; and crun refuses two kinds of control groups mounted at once.
        let config = format!(
            "[containers]\n\
             init_path = \"{}\"\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
             [engine]\n\
             helper_binaries_dir = [\"{names}\"]\n\
             runtime = \"runc\"\n\
             cgroup_manager = \"cgroupfs\"\n\
             events_logger = \"file\"\n\
             lock_type = \"file\"\n",
            init.display()
        );
        fs::write(dir.join("containers.conf"), config)?;
        let podman = command(&dir);
        let mut words = vec![format!("CONTAINERS_CONF={}", dir.join("containers.conf").display())];
        words.push(podman.get_program().to_string_lossy().into_owned());
        words.extend(podman.get_args().map(|word| word.to_string_lossy().into_owned()));
        let script = AFTERWARDS.replace("$CONTAINERS_CONF_DIR", &dir.display().to_string());
        let words: Vec<&str> =
            ["env"].into_iter().chain(words.iter().map(String::as_str)).collect();
        let podman = Podman { _lifeline: guard(&script, &words)?, dir };
        // Without graceinit: what fails here is not ours.
        let (code, _, why) = podman.run(&["--rm"], "/puppet exit=0")?;
        let runs = need::met(code == 0, &format!("podman that can run a container ({why})"));
        Ok(runs.then_some(podman))
    }

    /// Runs a command: its exit code, output and errors.
    fn attempt(&self, words: &[&str]) -> Outcome<(i32, String, String)> {
        let mut podman = command(&self.dir);
        podman.args(words);
        Running::start(podman, &format!("podman {}", words.join(" ")))?.whole()
    }

    /// Runs a command that must succeed; its output.
    pub(super) fn podman(&self, words: &[&str]) -> Outcome<String> {
        match self.attempt(words)? {
            (0, out, _) => Ok(out),
            (code, out, err) => {
                let what = words.join(" ");
                Err(Fault::new(format!("podman {what} ends with {code}: {out} {err}")))
            }
        }
    }

    /// `podman run` of an app in our directory.
    fn run(&self, options: &[&str], app: &str) -> Outcome<(i32, String, String)> {
        let root = self.dir.join("fs").display().to_string();
        let app: Vec<&str> = app.split(' ').collect();
        self.attempt(
            &[&["run", "--network", "none"][..], options, &["--rootfs", &root], &app].concat(),
        )
    }

    /// The same, until the app is ready: that line.
    fn start(&self, name: &str, options: &[&str], app: &str) -> Outcome<Line> {
        let (code, out, err) =
            self.run(&[&["--detach", "--name", name][..], options].concat(), app)?;
        ensure_eq!(code, 0, "podman run of {app}: {out} {err}");
        proc::poll("an app that is ready", || {
            let log = self.podman(&["logs", name]).ok()?;
            log.lines().find(|line| line.starts_with("ready ")).map(|line| Line(line.to_string()))
        })
    }

    fn exit_code(&self, name: &str) -> Outcome<i32> {
        let code = self.podman(&["wait", name])?;
        code.trim().parse().map_err(|_| Fault::new(format!("no exit code: {code}")))
    }
}

fn command(dir: &Path) -> Command {
    let mut podman = Command::new("podman");
    podman.env("CONTAINERS_CONF", dir.join("containers.conf"));
    for (option, place) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        podman.arg(option).arg(dir.join(place));
    }
    podman.args(["--storage-driver", "vfs"]);
    podman
}

#[test]
fn under_podman_run_init() -> Outcome {
    let Some(podman) = Podman::here()? else { return Ok(()) };
    let ready =
        podman.start("plain", &["--init"], "/puppet block orphans=20 ready release echo=QUIT:5")?;
    ensure_eq!(ready.number("ppid")?, 1, "the app's parent");
    let list = proc::poll("no orphan and no zombie", || {
        let list = podman.podman(&["exec", "plain", "/server", "ps"]).ok()?;
        let of_init = |line: &&str| line.split(' ').nth(1) == Some("1");
        (list.lines().filter(of_init).count() == 1).then_some(list)
    })?;
    ensure!(list.lines().any(|line| line == "1 0 S podman-init"), "PID 1 is another: {list}");
    for signal in ["TERM", "TERM", "QUIT"] {
        podman.podman(&["kill", "--signal", signal, "plain"])?;
    }
    ensure_eq!(podman.exit_code("plain")?, 5, "exit code");
    let log = podman.podman(&["logs", "plain"])?;
    ensure!(log.matches("got TERM ").count() > 0, "no TERM in {log}");

    let (code, _, err) = podman.run(&["--rm", "--init"], "/nothing")?;
    ensure_eq!(code, 1, "exit code of a command that is not there");
    ensure!(err.contains("graceinit: fatal: unable to execute /nothing: "), "{err}");

    let options = variables(&[
        "GRACEINIT_GRACE=300ms",
        "GRACEINIT_POST_STOP=/puppet say=afterwards",
        "GRACEINIT_LOG=debug",
    ]);
    podman.start("phases", &[&["--init"][..], &options].concat(), "/puppet block ready echo")?;
    podman.podman(&["stop", "--time", "9", "phases"])?;
    ensure_eq!(podman.exit_code("phases")?, 137, "exit code");
    let (_, out, err) = podman.attempt(&["logs", "phases"])?;
    let log: Vec<String> = out.lines().chain(err.lines()).map(String::from).collect();
    let walked = phases(&log);
    ensure!(walked.ends_with(&["stopping", "killed", "post-stop"]), "walked {walked:?}: {log:#?}");
    Ok(())
}

/// graceinit under its own name, with the defaults of Podman scaled to four of the ten seconds: a machine may be busy.
#[test]
fn podman_stop_does_not_kill() -> Outcome {
    let Some(podman) = Podman::here()? else { return Ok(()) };
    let options = variables(&[
        "GRACEINIT_PLATFORM=auto:4s",
        "GRACEINIT_POST_STOP=/puppet say=afterwards",
        "GRACEINIT_LOG=info",
    ]);
    podman.start("own", &options, "/graceinit -- /puppet block ready echo")?;
    podman.podman(&["stop", "own"])?;
    ensure_eq!(podman.exit_code("own")?, 137, "exit code");
    let (_, out, err) = podman.attempt(&["logs", "own"])?;
    let log = [out, err].concat();
    for part in
        ["grace=2s 800ms (default on podman: ", "got TERM ", "] afterwards", "reason=deadline"]
    {
        ensure!(log.contains(part), "no {part:?} in {log}");
    }
    Ok(())
}

/// The infra container holds the pod's namespaces; in a shared pid namespace it is everybody's PID 1.
#[test]
fn as_the_infra_container_of_a_pod() -> Outcome {
    let Some(podman) = Podman::here()? else { return Ok(()) };
    podman.podman(&["pod", "create", "--name", "pod", "--share", "ipc,uts,pid"])?;
    podman.podman(&["pod", "start", "pod"])?;
    let infra = podman.podman(&["pod", "inspect", "--format", "{{.InfraContainerID}}", "pod"])?;
    let infra = infra.trim();
    let version = podman.podman(&["exec", infra, "/catatonit", "--version"])?;
    ensure!(version.contains("_graceinit"), "another infra: {version}");
    let pid = podman.podman(&["inspect", "--format", "{{.State.Pid}}", infra])?;
    let pid: i32 = pid.trim().parse().map_err(|_| Fault::new(format!("no pid: {pid}")))?;
    let line = fs::read(format!("/proc/{pid}/cmdline"))?;
    ensure_eq!(String::from_utf8_lossy(&line), "/catatonit\0-P\0", "its command line");
    // A member's orphans have the infra for their PID 1.
    let app = "/puppet block orphans=20 ready echo=QUIT:0";
    podman.start("member", &["--pod", "pod"], app)?;
    ensure_eq!(proc::children(pid).len(), 20, "orphans that the infra has adopted");
    podman.podman(&["kill", "--signal", "QUIT", "member"])?;
    ensure_eq!(podman.exit_code("member")?, 0, "exit code of the member");
    proc::poll("no child and no zombie of the infra", || {
        proc::children(pid).is_empty().then_some(())
    })?;
    podman.podman(&["pod", "stop", "--time", "9", "pod"])?;
    ensure_eq!(podman.exit_code(infra)?, 0, "exit code of the infra container");
    Ok(())
}
