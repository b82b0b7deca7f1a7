//! One replica: a server under an init that is PID 1 of a pid namespace of its own, as in a container; the
//! network is everybody's.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::apps::{Server, Site, Wire};
use super::{ORPHANED, Slot};
use crate::support::init::NAMESPACE;
use crate::support::{Fault, Outcome, Program, Status, proc, sys};

/// How replicas are started.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) init: Program,
    /// The init's file, if it is not the usual one.
    pub(crate) path: Option<PathBuf>,
    pub(crate) server: Server,
    /// graceinit's options; `{port}` and `{check}` are the slot's.
    pub(crate) options: String,
    /// The profile of the server is one of them.
    pub(crate) profile: bool,
    /// As uid 1000 with no capabilities and no way to any.
    pub(crate) unprivileged: bool,
}

impl Setup {
    /// The init's own words: for each the settings with which it does best.
    fn init_words(&self, slot: Slot, socket: &Path) -> Vec<String> {
        let words = match self.init {
            Program::Graceinit | Program::AsTini | Program::AsDumbInit | Program::AsCatatonit => {
                let profile = self
                    .server
                    .profile()
                    .filter(|_| self.profile)
                    .map(|name| format!("--profile {name} "));
                // It removes the file of its socket itself, and fails if there is none.
                let file = matches!(self.server, Server::GunicornUnix | Server::GunicornSync);
                let file = if file { " --on-stop touch:{socket}" } else { "" };
                let options = format!("{}{file}", self.options);
                let options = options.replace("{port}", &slot.port.to_string());
                let options = options.replace("{check}", &slot.check.to_string());
                let options = options.replace("{ip}", &slot.ip.to_string());
                profile.unwrap_or_default()
                    + &options.replace("{socket}", &socket.display().to_string())
            }
            // With the image's own signal for the main process alone: httpd's children take WINCH
            // amiss.
            Program::Tini if self.server == Server::Httpd => String::new(),
            Program::DumbInit => match self.server.image_signal() {
                Some(signal) => format!("--single-child --rewrite 15:{signal}"),
                None => String::new(),
            },
            Program::Tini | Program::Catatonit => "-g".into(),
        };
        words.split_whitespace().map(String::from).collect()
    }

    /// What the engine sends: tini cannot translate, so it gets what the official image has as its stop
    /// signal.
    fn stop_signal(&self) -> i32 {
        match (self.init, self.server.image_signal()) {
            (Program::Tini | Program::Catatonit, Some(signal)) => signal,
            _ => libc::SIGTERM,
        }
    }
}

/// How a replica ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    /// From the stop signal to the init's end.
    pub(crate) took: Duration,
    pub(crate) status: Status,
    /// It had to be killed.
    pub(crate) killed: bool,
}

pub(crate) struct Replica {
    pub(crate) slot: Slot,
    child: Child,
    pub(crate) init: i32,
    signal: i32,
    log: PathBuf,
}

/// How long a server may take to start: a JVM beside two others under load takes seconds.
const START: Duration = Duration::from_secs(60);

impl Replica {
    /// Starts one and waits until it answers.
    pub(crate) fn start(setup: &Setup, site: &Site, slot: Slot) -> Outcome<Replica> {
        let mut command = Command::new("setpriv");
        command.args(ORPHANED).arg("unshare").args(NAMESPACE);
        if setup.unprivileged {
            // A change of user takes the word for the orphan away, so it is said again.
            command.arg("setpriv").args(ORPHANED).args([
                "--reuid",
                "1000",
                "--regid",
                "1000",
                "--clear-groups",
            ]);
            command.args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
        }
        command.arg(setup.path.clone().unwrap_or_else(|| setup.init.path()));
        let socket = site.socket(slot);
        command.args(setup.init_words(slot, &socket)).arg("--").args(site.command(slot)?);
        let log = site.place.path(&format!("replica-{}.log", slot.port));
        let file = File::create(&log)?;
        // What the tests themselves were given must not reach the program under test.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(site.environment().iter().copied());
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn()?;
        let signal = setup.stop_signal();
        let mut replica = Replica { slot, child, init: 0, signal, log };
        let answers = match setup.server.wire() {
            Wire::Plain => replica.until_it_answers(),
            // The balancer speaks for it.
            Wire::Tls | Wire::Http2 => replica.until(|| TcpStream::connect(slot.address()).is_ok()),
            Wire::Unix(_) => replica.until(|| UnixStream::connect(&socket).is_ok()),
        };
        answers.map_err(|fault| {
            let log = std::fs::read_to_string(&replica.log).unwrap_or_default();
            Fault::new(format!("{}: {:?}: {log}", fault.reason(), setup.server))
        })?;
        let outer = replica.child.id() as i32;
        replica.init = proc::poll("the child of unshare", || {
            proc::children(outer).first().map(|child| child.pid)
        })?;
        Ok(replica)
    }

    fn until_it_answers(&mut self) -> Outcome {
        let address = self.slot.address();
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(START))?;
            stream.write_all(b"GET /sleep/0/0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.ends_with("/sleep/0/0 done\n"))
        };
        self.until(|| ask().is_ok_and(|whole| whole))
    }

    fn until(&mut self, answers: impl Fn() -> bool) -> Outcome {
        let child = &mut self.child;
        // One that has ended will not answer any more.
        let look = || match child.try_wait() {
            Ok(None) => answers().then_some(true),
            _ => Some(false),
        };
        match proc::poll_within(START, "an answer of the replica", look)? {
            true => Ok(()),
            false => Err(Fault::new("the replica ended before it answered")),
        }
    }

    /// Stops it as a kubelet does: the signal now, KILL when `grace` is over. After `lag` calls `leave`,
    /// which takes the replica out of the balancer, whether the replica is still there or not.
    pub(crate) fn stop(
        mut self,
        lag: Duration,
        grace: Duration,
        mut leave: impl FnMut() -> Outcome,
    ) -> Outcome<Stop> {
        let begun = Instant::now();
        sys::kill(self.init, self.signal)?;
        let (mut left, mut killed, mut ended) = (false, false, None);
        let patience = lag + grace + START;
        let end = proc::poll_within(patience, "the end of the replica", || {
            if !left && begun.elapsed() >= lag {
                left = true;
                if let Err(fault) = leave() {
                    return Some(Err(fault));
                }
            }
            if ended.is_none() {
                match self.child.try_wait() {
                    Err(error) => return Some(Err(error.into())),
                    Ok(status) => ended = status.map(|status| (begun.elapsed(), status.into())),
                }
            }
            if ended.is_none() && !killed && begun.elapsed() >= grace {
                killed = true;
                drop(sys::kill(self.init, libc::SIGKILL));
            }
            ended.filter(|_| left).map(Ok)
        })?;
        end.map(|(took, status)| Stop { took, status, killed })
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // The init goes with unshare, and the whole namespace with the init; but not if it has changed
        // its user, which clears the parent-death signal (prctl(2)).
        for child in proc::children(self.child.id() as i32) {
            drop(sys::kill(child.pid, libc::SIGKILL));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
