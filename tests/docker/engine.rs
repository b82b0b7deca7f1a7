//! The engine that the container tests use: one that runs already, or one started for this test
//! binary and ended with it; and the image, made of the static programs alone.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::account::Account;
use crate::support::files::Place;
use crate::support::{Fault, Outcome, alias, need, proc, sys};

/// Longer than anything that an engine does, on a machine that is busy compiling.
const LONG: Duration = Duration::from_secs(90);

/// graceinit as in its documentation, with the programs that the tests run under it. No shell, no
/// /etc, no /tmp; hooks may write to /w.
const DOCKERFILE: &str = r#"FROM scratch
COPY graceinit puppet server /
WORKDIR /w
ENTRYPOINT ["/graceinit", "--"]
"#;

/// Holds an engine of our own; see there.
const OWN: &str = include_str!("engine.sh");

/// Starts it, and leaves nothing of it.
const AROUND_OWN: &str = r#"
unshare --mount --pid --fork --kill-child --mount-proc sh -c "$2" engine "$1" "$3"
touch "$1/ended"
read -r _
rm -rf "$1"
"#;

/// Leaves nothing of ours in an engine that is not.
const AFTERWARDS: &str = r#"
read -r _
docker ps --all --quiet --filter "ancestor=$1" | xargs -r docker rm --force
docker rmi --force "$1"
"#;

/// An engine that can build and run the test image.
pub struct Engine {
    /// Its address; `None`: wherever the client looks by itself.
    host: Option<String>,
    /// The test image.
    pub image: String,
    /// When this closes, the guard cleans up. It closes when the process ends, however it ends.
    _lifeline: ChildStdin,
}

/// The engine, if there can be one; otherwise the test is skipped.
pub fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Engine::find().map_err(|fault| fault.reason().to_string()));
    let why = engine.as_ref().err().map_or("", String::as_str);
    need::met(engine.is_ok(), &format!("a Docker engine ({why})"));
    engine.as_ref().ok()
}

/// An engine that nobody else uses, for tests that change the engine itself; graceinit is its `--init-path`.
pub fn own_engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let shared = engine()?;
    if shared.host.is_some() {
        return Some(shared);
    }
    let start = || {
        let engine = Engine::start(shared.image.clone())?;
        engine.build()?;
        Ok(engine)
    };
    let engine = ENGINE.get_or_init(|| start().map_err(|fault: Fault| fault.reason().to_string()));
    let why = engine.as_ref().err().map_or("", String::as_str);
    need::met(engine.is_ok(), &format!("a second Docker engine ({why})"));
    engine.as_ref().ok()
}

impl Engine {
    fn find() -> Outcome<Engine> {
        // A name of this test binary's own: several may share an engine.
        let image = format!("graceinit-test:{}", std::process::id());
        let engine = if answers(None) {
            Engine { host: None, _lifeline: guard(AFTERWARDS, &[&image])?, image }
        } else if sys::ids().1 == 0 {
            Engine::start(image)?
        } else {
            return Err(Fault::new("none is running, and only root can start one"));
        };
        engine.build()?;
        Ok(engine)
    }

    fn start(image: String) -> Outcome<Engine> {
        // Not in TMPDIR, which may be long: the address of a unix socket has 107 bytes.
        let dir = tempfile::Builder::new().prefix("engine-").tempdir_in("/tmp")?.keep();
        let host = format!("unix://{}/sock", dir.display());
        let init = alias("docker-init").display().to_string();
        let lifeline = guard(AROUND_OWN, &[&dir.display().to_string(), OWN, &init])?;
        let up = proc::poll_within(LONG, "an engine", || {
            let ended = dir.join("ended").exists();
            if answers(Some(&host)) { Some(true) } else { ended.then_some(false) }
        })?;
        if !up {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or("it cannot be started here");
            return Err(Fault::new(format!("dockerd: {last}")));
        }
        Ok(Engine { host: Some(host), image, _lifeline: lifeline })
    }

    fn build(&self) -> Outcome {
        let context = Place::new();
        let graceinit = Path::new(env!("CARGO_BIN_EXE_graceinit"));
        let examples = graceinit.with_file_name("examples");
        fs::copy(graceinit, context.path("graceinit"))?;
        fs::copy(examples.join("puppet"), context.path("puppet"))?;
        fs::copy(examples.join("server"), context.path("server"))?;
        context.file("Dockerfile", DOCKERFILE, 0o644);
        self.docker(&["build", "--quiet", "--tag", &self.image, &context.text(".")]).map(drop)
    }

    /// The test image and what these lines of a Dockerfile add: its id. Goes with the engine.
    pub fn variant(&self, lines: &str) -> Outcome<String> {
        self.image_of(&format!("FROM {}\n{lines}\n", self.image))
    }

    /// An image of this Dockerfile, with nothing in the directory that it is built from: its id.
    pub fn image_of(&self, dockerfile: &str) -> Outcome<String> {
        let context = Place::new();
        context.file("Dockerfile", dockerfile, 0o644);
        self.docker(&["build", "--quiet", &context.text(".")])
    }

    /// A command of the client, in preparation.
    pub fn client(&self) -> Command {
        client(self.host.as_deref())
    }

    /// Runs a command of the client that must succeed; gives its output.
    pub fn docker(&self, words: &[&str]) -> Outcome<String> {
        match self.try_docker(words)? {
            (0, out, _) => Ok(out),
            (code, out, err) => {
                let what = words.join(" ");
                Err(Fault::new(format!("docker {what} ends with {code}: {out} {err}")))
            }
        }
    }

    /// Runs a command of the client: its exit code, output and errors.
    pub fn try_docker(&self, words: &[&str]) -> Outcome<(i32, String, String)> {
        let mut command = self.client();
        command.args(words);
        let mut running = Running::start(command, &format!("docker {}", words.join(" ")))?;
        running.whole()
    }
}

/// A client command that runs; ended when dropped.
pub struct Running {
    child: Child,
    pub out: std::sync::Arc<Account>,
    pub err: std::sync::Arc<Account>,
}

impl Running {
    pub fn start(mut command: Command, what: &str) -> Outcome<Running> {
        let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn()?;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Fault::new("no pipes"));
        };
        let out = Account::of(&format!("stdout of {what}"), out);
        let err = Account::of(&format!("stderr of {what}"), err);
        Ok(Running { child, out, err })
    }

    /// Sends the client a signal.
    pub fn signal(&self, number: i32) -> Outcome {
        sys::kill(i32::try_from(self.child.id())?, number)?;
        Ok(())
    }

    /// Waits for its end; its exit code.
    pub fn end(&mut self) -> Outcome<i32> {
        let child = &mut self.child;
        let ended = || child.try_wait().ok().flatten();
        let status = proc::poll_within(LONG, "the end of a client of the engine", ended)?;
        status.code().ok_or_else(|| Fault::new("the client was killed"))
    }

    /// Waits for its end: exit code, output and errors.
    pub fn whole(&mut self) -> Outcome<(i32, String, String)> {
        let code = self.end()?;
        let text = |account: &Account| -> Outcome<String> {
            let lines: Vec<String> = account.all()?.into_iter().map(|line| line.0).collect();
            Ok(lines.join("\n"))
        };
        Ok((code, text(&self.out)?, text(&self.err)?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn client(host: Option<&str>) -> Command {
    let mut docker = Command::new("docker");
    // The client's old builder needs no plugin, and the image needs nothing new.
    docker.env("DOCKER_BUILDKIT", "0").env("DOCKER_CLI_HINTS", "false");
    if let Some(host) = host {
        docker.env("DOCKER_HOST", host).env_remove("DOCKER_CONTEXT");
    }
    docker
}

/// Whether there is an engine on this machine (on another one loopback is not ours).
fn answers(host: Option<&str>) -> bool {
    let elsewhere = std::env::var("DOCKER_HOST").is_ok_and(|host| !host.starts_with("unix:"));
    let mut version = client(host);
    version.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    (host.is_some() || !elsewhere) && version.status().is_ok_and(|status| status.success())
}

/// A shell that outlives this process for as long as it takes to clean up.
pub fn guard(script: &str, arguments: &[&str]) -> Outcome<ChildStdin> {
    let mut sh = Command::new("sh");
    sh.args(["-c", script, "guard"]).args(arguments);
    // A group of its own: a Ctrl-C at the tests must not keep it from its work.
    sh.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    sh.spawn()?.stdin.ok_or_else(|| Fault::new("no pipe to the guard"))
}
