//! The program under test: graceinit or a peer, as a plain process or as PID 1 of a real pid
//! namespace, wrapped round an app (as a rule the puppet) whose account the test reads.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::account::{Account, Line};
use super::alias;
use super::signals::{name_of, number_of};
use super::{Fault, Outcome, PATIENCE, need, proc, sys};

/// How unshare(1) makes a pid namespace that dies with it.
pub const NAMESPACE: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];
/// What it needs besides when the tests do not run as root.
pub const USER_NAMESPACE: [&str; 2] = ["--user", "--map-root-user"];

/// Who is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Graceinit,
    Tini,
    DumbInit,
    Catatonit,
    /// graceinit, called `tini`.
    AsTini,
    /// graceinit, called `dumb-init`.
    AsDumbInit,
    /// graceinit, called `catatonit`.
    AsCatatonit,
}

impl Program {
    pub fn path(self) -> PathBuf {
        PathBuf::from(match self {
            Program::Graceinit => env!("CARGO_BIN_EXE_graceinit"),
            Program::Tini => "/usr/bin/tini",
            Program::DumbInit => "/usr/bin/dumb-init",
            Program::Catatonit => "/usr/bin/catatonit",
            Program::AsTini => return alias("tini"),
            Program::AsDumbInit => return alias("dumb-init"),
            Program::AsCatatonit => return alias("catatonit"),
        })
    }

    /// Whether it is graceinit, whatever it is called.
    pub fn is_ours(self) -> bool {
        match self {
            Program::Graceinit | Program::AsTini | Program::AsDumbInit | Program::AsCatatonit => {
                true
            }
            Program::Tini | Program::DumbInit | Program::Catatonit => false,
        }
    }

    /// The flags that make it do what graceinit does without any: signals to the app's group, and
    /// orphans reaped when it is not PID 1.
    fn best_flags(self, room: Room) -> &'static [&'static str] {
        match (self, room) {
            (Program::Graceinit | Program::DumbInit | Program::AsDumbInit, _) => &[],
            (Program::Tini | Program::AsTini, Room::PidNs)
            | (Program::Catatonit | Program::AsCatatonit, _) => &["-g"],
            (Program::Tini | Program::AsTini, Room::Plain) => &["-s", "-g"],
        }
    }
}

/// Where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// PID 1 of a new pid namespace.
    PidNs,
    /// An ordinary process of this one.
    Plain,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Code(i32),
    Signal(i32),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Code(code) => write!(f, "code {code}"),
            Status::Signal(signal) => write!(f, "signal {}", name_of(*signal)),
        }
    }
}

impl From<ExitStatus> for Status {
    fn from(status: ExitStatus) -> Status {
        match status.code() {
            Some(code) => Status::Code(code),
            None => Status::Signal(status.signal().unwrap_or_default()),
        }
    }
}

/// The puppet's path: cargo builds examples beside the programs.
pub fn puppet() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_graceinit"))
        .parent()
        .map(|dir| dir.join("examples/puppet"))
        .expect("programs lie in a directory")
}

/// A puppet with a script, as one word for a hook's command line.
pub fn puppet_line(script: &str) -> String {
    format!("{} {script}", puppet().display())
}

/// A start in preparation.
pub struct Launch {
    program: Program,
    path: Option<PathBuf>,
    room: Room,
    own_proc: bool,
    race: Option<(u64, i32)>,
    dashes: bool,
    prepared: bool,
    outside: Vec<OsString>,
    before: Vec<OsString>,
    wrap: Vec<OsString>,
    flags: Vec<OsString>,
    app: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    stdin: Stdio,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    marker: String,
    patience: Duration,
}

impl Launch {
    /// A program with its best-known flags and no app yet.
    pub fn new(program: Program, room: Room) -> Launch {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        Launch {
            program,
            path: None,
            room,
            own_proc: true,
            race: None,
            dashes: true,
            prepared: true,
            outside: Vec::new(),
            before: vec!["clean".into(), "alone".into()],
            wrap: Vec::new(),
            flags: program.best_flags(room).iter().map(OsString::from).collect(),
            app: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: Stdio::null(),
            stdout: None,
            stderr: None,
            marker: format!("BLACKBOX_RUN={}-{count}", std::process::id()),
            patience: PATIENCE,
        }
    }

    pub fn graceinit(room: Room) -> Launch {
        Launch::new(Program::Graceinit, room)
    }

    /// Starts this file instead of the program's usual one: the same program under another name.
    pub fn program_file(mut self, path: impl Into<PathBuf>) -> Launch {
        self.path = Some(path.into());
        self
    }

    /// More flags, separated by white space.
    pub fn flags(mut self, flags: &str) -> Launch {
        self.flags.extend(flags.split_whitespace().map(OsString::from));
        self
    }

    /// A flag whose value may contain spaces.
    pub fn flag(mut self, name: &str, value: impl AsRef<OsStr>) -> Launch {
        self.flags.extend([OsString::from(name), value.as_ref().to_os_string()]);
        self
    }

    /// More flags, each word as it is.
    pub fn words<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Launch {
        self.flags.extend(words.into_iter().map(|word| word.as_ref().to_os_string()));
        self
    }

    /// No flags but those that follow.
    pub fn no_flags(mut self) -> Launch {
        self.flags.clear();
        self
    }

    /// The app is the puppet with this script, words separated by white space.
    pub fn app(mut self, script: &str) -> Launch {
        self.app = vec![puppet().into()];
        self.app.extend(script.split_whitespace().map(OsString::from));
        self
    }

    /// More arguments for the app, any bytes.
    pub fn app_arg(mut self, arg: impl AsRef<OsStr>) -> Launch {
        self.app.push(arg.as_ref().to_os_string());
        self
    }

    /// The app is this command.
    pub fn command<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Launch {
        self.app = words.into_iter().map(|word| word.as_ref().to_os_string()).collect();
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Launch {
        self.env.push((name.into(), value.as_ref().to_os_string()));
        self
    }

    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Launch {
        self.cwd = Some(path.into());
        self
    }

    /// Words for the puppet that becomes the program by exec: what the program is given (mask,
    /// dispositions, descriptors, limits…). They follow `clean` and `alone`.
    pub fn given(mut self, script: &str) -> Launch {
        self.before.extend(script.split_whitespace().map(OsString::from));
        self
    }

    /// A command line put directly before the program; it must exec, not fork.
    pub fn wrapped_by<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Launch {
        self.wrap.extend(words.into_iter().map(|word| word.as_ref().to_os_string()));
        self
    }

    /// A command line put before everything, unshare included; it must exec, not fork.
    pub fn outside<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Launch {
        self.outside.extend(words.into_iter().map(|word| word.as_ref().to_os_string()));
        self
    }

    /// As PID 1: leaves the /proc of the pid namespace outside in place.
    pub fn foreign_proc(mut self) -> Launch {
        self.own_proc = false;
        self
    }

    /// The app itself takes the program's place: what it says is what a program is given when no
    /// init stands between.
    pub fn direct(room: Room, script: &str) -> Launch {
        Launch::graceinit(room).program_file(puppet()).flags(script)
    }

    /// Sends the init a signal so many microseconds after its exec; the account then begins with
    /// `sent pid= blocked=` and ends with `ended code=` (puppet's word `race`). As PID 1 it needs
    /// root; `Run::init` is the init's parent then, its own pid is in the account.
    pub fn race(mut self, micros: u64, signal: i32) -> Launch {
        self.race = Some((micros, signal));
        self
    }

    /// No `--` between the program's flags and the app.
    pub fn without_dashes(mut self) -> Launch {
        self.dashes = false;
        self
    }

    /// The program is started without the puppet, which benchmarks have not built.
    pub fn unprepared(mut self) -> Launch {
        self.prepared = false;
        self
    }

    /// How long to wait for a line or for the end, instead of [`PATIENCE`].
    pub fn patience(mut self, patience: Duration) -> Launch {
        self.patience = patience;
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Launch {
        self.stdin = stdin.into();
        self
    }

    /// Standard output goes there; `Run::out` stays empty.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Launch {
        self.stdout = Some(stdout.into());
        self
    }

    /// Standard error goes there; `Run::err` stays empty.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Launch {
        self.stderr = Some(stderr.into());
        self
    }

    /// `NAME=VALUE` in the environment of everything that this launch starts.
    pub fn marker(&self) -> &str {
        &self.marker
    }

    fn command_line(&self) -> Vec<OsString> {
        let mut words = self.outside.clone();
        if self.room == Room::PidNs && self.race.is_none() {
            words.push("unshare".into());
            words.extend(NAMESPACE[..3].iter().map(OsString::from));
            if self.own_proc {
                words.push(NAMESPACE[3].into());
            }
            if !need::is_root() {
                words.extend(USER_NAMESPACE.iter().map(OsString::from));
            }
        }
        if self.prepared {
            words.push(puppet().into());
            words.extend(self.before.iter().cloned());
            words.push(match self.race {
                None => "exec".into(),
                Some((micros, signal)) => {
                    let room = if self.room == Room::PidNs { "pidns" } else { "plain" };
                    format!("race={room}:{micros}:{}", name_of(signal)).into()
                }
            });
        }
        words.extend(self.wrap.iter().cloned());
        words.push(self.path.clone().unwrap_or_else(|| self.program.path()).into());
        words.extend(self.flags.iter().cloned());
        if !self.app.is_empty() {
            words.extend(self.dashes.then(|| "--".into()));
            words.extend(self.app.iter().cloned());
        }
        words
    }

    /// Starts it.
    pub fn start(self) -> Outcome<Run> {
        sys::heed_all()?;
        let words = self.command_line();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        // What the tests themselves were given must not reach the program under test.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours =
                ["GRACE", "TINI_", "DUMB_INIT_", "CATATONIT_", "LISTEN_", "NOTIFY_", "CARGO"];
            if ours.iter().any(|start| text.starts_with(start)) || text == "TRACEPARENT" {
                command.env_remove(name);
            }
        }
        let (name, value) = self.marker.split_once('=').unwrap_or_default();
        command.env(name, value).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command.stdin(self.stdin);
        command.stdout(self.stdout.unwrap_or_else(Stdio::piped));
        command.stderr(self.stderr.unwrap_or_else(Stdio::piped));
        let started = Instant::now();
        let mut child = command.spawn()?;
        let label = format!("{:?} ({:?})", self.program, self.room);
        let out = match child.stdout.take() {
            Some(stream) => {
                Account::with_patience(&format!("stdout of {label}"), stream, self.patience)
            }
            None => Account::of(&format!("stdout of {label}, not ours"), std::io::empty()),
        };
        let err = match child.stderr.take() {
            Some(stream) => {
                Account::with_patience(&format!("stderr of {label}"), stream, self.patience)
            }
            None => Account::of(&format!("stderr of {label}, not ours"), std::io::empty()),
        };
        let Launch { room, marker, patience, .. } = self;
        Ok(Run { child, room, init: OnceCell::new(), out, err, marker, started, patience })
    }
}

/// What a stream may take to end when the program has: longer only if a stray still holds it.
const SETTLING: Duration = Duration::from_secs(1);

/// A program that runs. Ends with everything it started when dropped.
pub struct Run {
    child: Child,
    room: Room,
    init: OnceCell<i32>,
    /// Standard output: the app's account.
    pub out: Arc<Account>,
    /// Standard error: the program's log, and what the app complains.
    pub err: Arc<Account>,
    marker: String,
    pub started: Instant,
    patience: Duration,
}

impl Run {
    /// The init's pid as seen from here.
    pub fn init(&self) -> Outcome<i32> {
        if let Some(pid) = self.init.get() {
            return Ok(*pid);
        }
        let outer = self.child.id() as i32;
        let pid = match self.room {
            Room::Plain => outer,
            Room::PidNs => proc::poll("the child of unshare", || proc::first_child(outer))?,
        };
        Ok(*self.init.get_or_init(|| pid))
    }

    /// The process that the tests started: unshare, or the init itself.
    pub fn outer_pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for the app's `ready` line.
    pub fn ready(&self) -> Outcome<Line> {
        self.out.expect("ready")
    }

    /// Sends a signal to the init from outside.
    pub fn signal(&self, name: &str) -> Outcome {
        self.send(number_of(name))
    }

    /// [`Run::signal`] by number.
    pub fn send(&self, number: i32) -> Outcome {
        Ok(sys::kill(self.init()?, number)?)
    }

    /// Sends a signal with a value.
    pub fn queue(&self, number: i32, value: i32) -> Outcome {
        Ok(sys::queue(self.init()?, number, value)?)
    }

    /// The pid, as seen from here, of the process that calls itself `inner`.
    pub fn outer(&self, inner: i32) -> Outcome<i32> {
        if self.room == Room::Plain {
            return Ok(inner);
        }
        let unshare = self.outer_pid();
        self.processes()
            .into_iter()
            .find(|pid| *pid != unshare && proc::inner_pid(*pid) == Some(inner))
            .ok_or_else(|| Fault::new(format!("no process {inner} in the namespace")))
    }

    /// Every living process of this run, wherever it went.
    pub fn processes(&self) -> Vec<i32> {
        proc::with_environ(&self.marker, self.outer_pid())
    }

    /// Living processes other than the one that the test started: after the end, those left behind.
    pub fn survivors(&self) -> Vec<i32> {
        let outer = self.outer_pid();
        self.processes().into_iter().filter(|pid| *pid != outer).collect()
    }

    /// Whether it has ended, without waiting.
    pub fn ended(&mut self) -> Outcome<Option<Status>> {
        Ok(self.child.try_wait()?.map(Status::from))
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> Outcome<Status> {
        self.wait_within(self.patience)
    }

    pub fn wait_within(&mut self, patience: Duration) -> Outcome<Status> {
        let child = &mut self.child;
        let ended = || child.try_wait().ok().flatten().map(Status::from);
        let status = proc::poll_within(patience, "the end of the program", ended)?;
        // Whoever asks now how often a line came has to have seen all of them.
        self.out.settle(SETTLING);
        self.err.settle(SETTLING);
        Ok(status)
    }

    /// Waits for the end, which must be exit code `code`.
    pub fn exits(&mut self, code: i32) -> Outcome {
        let status = self.wait()?;
        match status == Status::Code(code) {
            true => Ok(()),
            false => Err(Fault::new(format!("ended with {status}, expected code {code}"))),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // By mark, not by tree: strays may have left it. Again until nothing is found, since a
        // process may fork while it is looked at; bounded, since one in D state never dies.
        let end = Instant::now() + PATIENCE;
        loop {
            let look = Instant::now();
            let pids = proc::with_environ(&self.marker, self.outer_pid());
            if pids.is_empty() || Instant::now() > end {
                break;
            }
            for pid in pids {
                drop(sys::kill(pid, libc::SIGKILL));
            }
            drop(self.child.try_wait());
            proc::pause_after(look);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
