//! The app under a graceinit of its own, which is PID 1 of a pid namespace where this process may make one.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::sys::fd::{self, Read};
use crate::sys::launch::spawn::{self, Setup, Signals, Task};
use crate::sys::poll::Want;
use crate::sys::reap::{self, Found};
use crate::sys::room::{self, Apart};
use crate::sys::signals::{self, Mask, Source};
use crate::sys::{clock, poll, process, stderr, tree};
use crate::types::text::in_one_line;
use crate::types::{Pid, Signal, Status, Time};

/// A line that the graceinit of the app has logged.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) at: Time,
    pub(super) fact: String,
    pub(super) level: String,
    pub(super) msg: String,
    pub(super) hook: String,
    pub(super) outcome: String,
    pub(super) signal: String,
    pub(super) why: String,
    pub(super) missing: String,
    pub(super) answers: String,
    pub(super) peer: String,
    pub(super) verdict: String,
    pub(super) option: String,
}

impl Seen {
    fn field(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "fact" => &mut self.fact,
            "level" => &mut self.level,
            "msg" => &mut self.msg,
            "hook" => &mut self.hook,
            "outcome" => &mut self.outcome,
            "signal" => &mut self.signal,
            "why" => &mut self.why,
            "missing" => &mut self.missing,
            "answers" => &mut self.answers,
            "peer" => &mut self.peer,
            "verdict" => &mut self.verdict,
            "option" => &mut self.option,
            _ => return None,
        })
    }
}

/// By hand: what derive makes of so many fields takes 25 KB of the program.
impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Seen, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Seen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a line of the log")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
                let mut seen = Seen::default();
                while let Some(name) = map.next_key::<String>()? {
                    match seen.field(&name) {
                        Some(field) => *field = map.next_value()?,
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(seen)
            }
        }
        from.deserialize_map(Fields)
    }
}

/// The most lines of graceinit that are kept.
const FACTS: usize = 1000;
/// The most lines of the app that are kept: the last ones.
const LINES: usize = 12;
/// The longest line of either.
const LONGEST: usize = 8192;

/// What graceinit and the app write.
struct Output {
    pipe: Option<OwnedFd>,
    /// A line that has not ended.
    part: Vec<u8>,
    facts: Vec<Seen>,
    last: VecDeque<String>,
}

impl Output {
    /// Reads what is there.
    fn read(&mut self) {
        let mut buffer = [0; 16_384];
        while let Some(pipe) = &self.pipe {
            match fd::read(pipe.as_fd(), &mut buffer) {
                Read::Bytes(count) => self.take(&buffer[..count]),
                Read::Empty => return,
                Read::End => self.pipe = None,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.line(),
                _ if self.part.len() < LONGEST => self.part.push(*byte),
                _ => {}
            }
        }
    }

    fn line(&mut self) {
        let line = std::mem::take(&mut self.part);
        let seen = serde_json::from_slice(&line).ok().filter(|seen: &Seen| !seen.fact.is_empty());
        if let Some(seen) = seen {
            if self.facts.len() < FACTS {
                self.facts.push(Seen { at: clock::now(), ..seen });
            }
            return;
        }
        let text = String::from_utf8_lossy(&line).trim().chars().take(200).collect::<String>();
        if !text.is_empty() {
            self.last.truncate(LINES - 1);
            self.last.push_front(in_one_line(&text).into_owned());
        }
    }
}

/// The app under its graceinit.
pub(super) struct Replica {
    pub(super) pid: Pid,
    pub(super) started: Time,
    /// How and when graceinit ended.
    pub(super) ended: Option<(Time, Status)>,
    output: Output,
}

impl Replica {
    /// What graceinit has logged.
    pub(super) fn facts(&self) -> &[Seen] {
        &self.output.facts
    }

    /// The last lines that the app has written, the latest one last, and the errors of graceinit.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let errors = self.facts().iter().filter(|seen| seen.level == "error");
        let errors = errors.map(|seen| format!("graceinit: {}", seen.msg));
        self.output.last.iter().rev().cloned().chain(errors).collect()
    }

    /// Whether graceinit has logged this.
    pub(super) fn has_seen(&self, fact: &str) -> bool {
        self.facts().iter().any(|seen| seen.fact == fact)
    }
}

/// A signal that ends the rehearsal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interrupted(pub(super) Signal);

/// How replicas are started and watched.
pub(super) struct Stage {
    signals: Source,
    /// The mask that this program was started with.
    mask: Mask,
    /// The name that it was called by.
    name: OsString,
    /// Replicas get a pid namespace of their own.
    pub(super) apart: bool,
}

/// What the child of a trial exits with if it could not mount its /proc.
const NO_PROC: u8 = 99;
/// How long the end of killed processes is waited for.
const END: Duration = Duration::from_secs(5);

impl Stage {
    /// Finds out what this process may do.
    pub(super) fn open(mask: Mask, name: &str) -> io::Result<Stage> {
        fd::reserve_stdio();
        signals::set_disposition(Signal::CHLD, signals::Disposition::Default);
        if !process::is_first() {
            process::become_subreaper()?;
        }
        let signals = Source::open()?;
        let mut stage = Stage { signals, mask, name: name.into(), apart: false };
        stage.apart = stage.tries_apart().unwrap_or(false);
        Ok(stage)
    }

    /// Whether a child can have a pid namespace with a /proc of its own.
    fn tries_apart(&self) -> io::Result<bool> {
        let apart = Apart::begin()?;
        let call = || room::mount_own_proc().map_or(NO_PROC, |()| 0);
        let child = spawn::spawn(Task::Call(&call), &Setup::CLEAN)?;
        drop(apart);
        let limit = clock::now().after(END);
        while clock::now() < limit {
            if let Some(status) = reap::reap(child.pid) {
                return Ok(status.success());
            }
            // Pending signals stay pending: an interrupt is noticed at the first wait for a replica.
            poll::wait(&[child.report.as_fd()], Some(clock::now().after(TRIAL)), clock::now());
        }
        Ok(false)
    }

    /// Starts the program again with these words.
    pub(super) fn start(&self, words: &[OsString], without: &[&str]) -> io::Result<Replica> {
        let (read, write) = fd::pipe()?;
        let input = fd::empty_input()?;
        let stdio = Some([input.as_fd(), write.as_fd(), write.as_fd()]);
        let setup = Setup { signals: Signals::Inherited(self.mask, &[]), stdio, ..Setup::CLEAN };
        let apart = if self.apart { Some(Apart::begin()?) } else { None };
        let is_apart = self.apart;
        let call = || {
            // PID 1 takes its whole namespace with it. Without one, graceinit has to stop the app.
            let signal = if is_apart { Signal::KILL } else { Signal::TERM };
            let _ = process::signal_when_parent_dies(signal);
            if is_apart && room::mount_own_proc().is_err() {
                return NO_PROC;
            }
            let error = room::execute_again(&self.name, words, without);
            stderr::write(format!("unable to execute graceinit again: {error}\n").as_bytes());
            127
        };
        let started = clock::now();
        let child = spawn::spawn(Task::Call(&call), &setup);
        drop(apart);
        let output =
            Output { pipe: Some(read), part: Vec::new(), facts: Vec::new(), last: VecDeque::new() };
        Ok(Replica { pid: child?.pid, started, ended: None, output })
    }

    /// Waits until `until`, or until the replica ends or writes.
    pub(super) fn wait(&self, replica: &mut Replica, until: Time) -> Result<(), Interrupted> {
        let mut fds = vec![(self.signals.as_fd(), Want::Read)];
        fds.extend(replica.output.pipe.as_ref().map(|pipe| (pipe.as_fd(), Want::Read)));
        poll::wait_for(&fds, Some(until), clock::now());
        replica.output.read();
        let mut incoming = Vec::new();
        self.signals.read(&mut incoming, false);
        while let Found::Ended(pid) = reap::find() {
            let status = reap::reap(pid);
            if let Some(status) = status.filter(|_| pid == replica.pid) {
                // All that it has written is in the pipe.
                replica.output.read();
                replica.ended = Some((clock::now(), status));
            }
        }
        let ends = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
        match incoming.iter().find(|incoming| ends.contains(&incoming.signal)) {
            Some(incoming) => Err(Interrupted(incoming.signal)),
            None => Ok(()),
        }
    }

    /// Kills graceinit and the app, as the platform kills a container.
    pub(super) fn kill(&self, replica: &Replica) {
        if replica.ended.is_none() {
            let _ = signals::send(replica.pid, Signal::KILL);
        }
        if !self.apart && reap::is_any_alive() {
            // As a subreaper this process is the parent of what the kill has left behind.
            let _ = tree::kill_everything(&[replica.pid], &[]);
        }
    }

    /// Kills what is left of a replica and waits for its end.
    pub(super) fn clear(&self, replica: &mut Replica) -> Result<(), Interrupted> {
        let limit = clock::now().after(END);
        let mut interrupted = Ok(());
        while reap::is_any_alive() && clock::now() < limit {
            self.kill(replica);
            let ended = self.wait(replica, clock::now().after(TRIAL));
            interrupted = interrupted.and(ended);
        }
        // Reaps those that had ended before.
        interrupted.and(self.wait(replica, clock::now()))
    }
}

/// The pause between two looks at processes that end.
const TRIAL: Duration = Duration::from_millis(10);
