//! A terminal for tests: a pseudo-terminal whose other side is the controlling terminal of a new
//! session, read with a deadline, typed at, resized.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};

use crate::ensure;
use crate::support::proc::{self, Process};
use crate::support::{Fault, Outcome, PATIENCE, Status, sys};

/// The pause between two looks at something that announces itself nowhere.
const LOOK: Duration = Duration::from_millis(10);

/// The prompt of an interactive bash on a [`Terminal`]; nothing else prints it.
pub const PROMPT: &str = "shell> ";

/// bash as a person meets it, but without start-up files and without the line editor, which would
/// draw what is typed a second time.
pub const BASH: [&str; 5] = ["bash", "--norc", "--noprofile", "--noediting", "-i"];

/// Both sides of a pseudo-terminal that is nobody's controlling terminal yet.
pub struct Pty {
    master: PtyMaster,
    /// Held open, so that the master side never sees a hang-up between two processes.
    slave: File,
}

impl Pty {
    pub fn open() -> Outcome<Pty> {
        // Close-on-exec from the start: tests run side by side, and a copy of either side in another
        // test's children would keep this terminal alive.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = posix_openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
        let slave = options.open(ptsname_r(&master)?)?;
        Ok(Pty { master, slave })
    }

    /// The name of the side that programs are given.
    pub fn path(&self) -> Outcome<String> {
        Ok(ptsname_r(&self.master)?)
    }

    /// All that can be read now.
    pub fn available(&self) -> Outcome<String> {
        let (mut text, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = (&self.master).read(&mut bytes) {
            text.extend_from_slice(&bytes[..count]);
        }
        Ok(String::from_utf8(text)?)
    }

    /// Types at the keyboard.
    pub fn type_in(&self, keys: &str) -> Outcome {
        Ok((&self.master).write_all(keys.as_bytes())?)
    }

    /// That side.
    pub fn slave(&self) -> Outcome<File> {
        Ok(self.slave.try_clone()?)
    }
}

/// A command whose environment is not that of the tests (cargo's, a developer's), but just what an
/// interactive bash needs: a prompt to wait for, and no history.
pub fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("TERM", "dumb").env("PS1", PROMPT).env("HISTFILE", "");
    command
}

/// A session on a pseudo-terminal.
pub struct Terminal {
    pty: Pty,
    leader: Child,
    /// An entry in the environment of everything that runs here: sessions, groups and parents change
    /// (that is what is tested), the environment stays.
    mark: String,
    seen: Vec<u8>,
    /// Where the next `expect` begins to look.
    cursor: usize,
}

impl Terminal {
    /// Runs `command` as the leader of a new session that has the terminal.
    pub fn start(command: &[&str]) -> Outcome<Terminal> {
        // setsid does between fork and exec what safe Rust cannot: setsid(2) and TIOCSCTTY on its
        // stdin. It does not fork, because a child of ours leads no group.
        let mut setsid = bare("setsid");
        setsid.arg("--ctty").args(command);
        Terminal::attach(setsid)
    }

    /// The same for a command in preparation, with the environment that it would have.
    pub fn lead(command: &Command) -> Outcome<Terminal> {
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => setsid.env(name, value),
                None => setsid.env_remove(name),
            };
        }
        Terminal::attach(setsid)
    }

    /// Runs `command` with the terminal as its stdin, stdout and stderr, but with no session of its
    /// own: it may make one itself (or inside a namespace, where it must).
    pub fn attach(mut command: Command) -> Outcome<Terminal> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let (name, value) = ("TERMINAL_RUN", format!("{}-{number}", std::process::id()));
        let pty = Pty::open()?;
        command.env(name, &value);
        sys::heed_all()?;
        command.stdin(pty.slave()?).stdout(pty.slave()?).stderr(pty.slave()?);
        let leader = command.spawn()?;
        Ok(Terminal { pty, leader, mark: format!("{name}={value}"), seen: Vec::new(), cursor: 0 })
    }

    /// The process that was started.
    pub fn leader(&self) -> i32 {
        self.leader.id() as i32
    }

    /// The process group in the foreground, as this side of the terminal knows it.
    pub fn foreground(&self) -> Outcome<i32> {
        Ok(nix::unistd::tcgetpgrp(self.pty.master.as_fd())?.as_raw())
    }

    /// Types at the keyboard.
    pub fn send(&mut self, keys: &str) -> Outcome {
        // A few bytes into an empty queue: never partial, never EAGAIN.
        Ok(self.pty.master.write_all(keys.as_bytes())?)
    }

    /// Types a line.
    pub fn line(&mut self, text: &str) -> Outcome {
        self.send(&format!("{text}\n"))
    }

    /// Makes the window so many rows high, as a terminal emulator does when its frame is dragged.
    pub fn resize(&self, rows: u16) -> Outcome {
        // The rows alone: for each of its two words stty sets the size once.
        let mut stty = Command::new("stty");
        let status = stty.args(["rows", &rows.to_string()]).stdin(self.pty.slave()?).status()?;
        ensure!(status.success(), "stty could not resize the terminal");
        Ok(())
    }

    /// Closes the window: nothing can be read or written any more.
    pub fn hang_up(&mut self) -> Outcome {
        // A fresh pair in its place; the old one is closed, and the kernel hangs up.
        self.pty = Pty::open()?;
        Ok(())
    }

    /// Waits until `text` is written, and goes on behind it. Gives what stood before it.
    pub fn expect(&mut self, text: &str) -> Outcome<String> {
        let before = self.expect_within(text, PATIENCE)?;
        before.ok_or_else(|| self.fault(&format!("no {text:?} on the terminal")))
    }

    /// [`Terminal::expect`], but `None` when it was not written in time.
    pub fn expect_within(&mut self, text: &str, patience: Duration) -> Outcome<Option<String>> {
        let end = Instant::now() + patience;
        loop {
            let fresh = String::from_utf8_lossy(&self.seen[self.cursor..]).into_owned();
            if let Some((before, _)) = fresh.split_once(text) {
                self.cursor += before.len() + text.len();
                return Ok(Some(before.to_owned()));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.read(LOOK)?;
        }
    }

    /// Waits until `look` finds what it looks for, reading the terminal meanwhile.
    pub fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Terminal) -> Option<T>,
    ) -> Outcome<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if Instant::now() >= end {
                return Err(self.fault(&format!("not in {PATIENCE:?}: {what}")));
            }
            self.read(LOOK)?;
        }
    }

    /// Waits for the one process of this name.
    pub fn process(&mut self, name: &str) -> Outcome<Process> {
        self.until(&format!("a process called {name}"), |terminal| {
            let mut processes = terminal.processes().into_iter();
            processes.find(|process| process.comm == name)
        })
    }

    /// Waits for a process to be in this state (one letter, as in proc_pid_stat(5)).
    pub fn state(&mut self, pid: i32, state: char) -> Outcome {
        self.until(&format!("process {pid} in state {state}"), |_| {
            proc::process(pid).filter(|process| process.state == state).map(drop)
        })
    }

    /// Waits for the process that was started to end.
    pub fn wait(&mut self) -> Outcome<Status> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.leader.try_wait()? {
                self.read(Duration::ZERO)?;
                return Ok(status.into());
            }
            if Instant::now() >= end {
                return Err(self.fault("it does not end"));
            }
            self.read(LOOK)?;
        }
    }

    /// How often `text` was written so far.
    pub fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.seen).matches(text).count()
    }

    /// A fault that shows what was written last, and who is there.
    pub fn fault(&self, reason: &str) -> Fault {
        let tail = &self.seen[self.seen.len().saturating_sub(4096)..];
        let tail = String::from_utf8_lossy(tail).replace('\r', "");
        Fault::new(format!("{reason}\n{tail}\n{:#?}", self.processes()))
    }

    /// Everything that was started on this terminal and lives.
    pub fn processes(&self) -> Vec<Process> {
        proc::with_environ(&self.mark, self.leader.id() as i32)
            .into_iter()
            .filter_map(proc::process)
            .collect()
    }

    /// Waits up to `patience` for output and takes it.
    fn read(&mut self, patience: Duration) -> Outcome {
        let mut fds = [PollFd::new(self.pty.master.as_fd(), PollFlags::POLLIN)];
        // Whether it timed out or was interrupted: what matters is what can be read.
        let _ = poll(&mut fds, PollTimeout::try_from(patience)?);
        let mut buffer = [0; 4096];
        loop {
            match self.pty.master.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => self.seen.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let end = Instant::now() + PATIENCE;
        // Again until nothing is found: one may fork while the others are looked at.
        while Instant::now() < end {
            let processes = proc::with_environ(&self.mark, self.leader.id() as i32);
            if processes.is_empty() {
                break;
            }
            for pid in processes {
                drop(sys::kill(pid, libc::SIGKILL));
            }
            drop(self.leader.try_wait());
            let _ = poll(&mut [], PollTimeout::from(10u8));
        }
        // In the middle of an exec it has no environment to be known by.
        drop(self.leader.kill());
        drop(self.leader.wait());
    }
}
