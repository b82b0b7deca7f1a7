//! Starting processes: everything is prepared before fork(2), and what comes after it is in `sys::child`. A start never waits: how it went comes through a pipe.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::child::{self, Orders};
use crate::sys::fd::{self, Read};
use crate::sys::process;
use crate::sys::signals::{self, Disposition, Mask};
use crate::types::{Pid, Signal};

/// Where execvp(3) looks when there is no PATH (confstr(3), _CS_PATH).
pub(super) const DEFAULT_PATH: &CStr = c"/bin:/usr/bin";

/// A command, ready for execve.
#[derive(Debug)]
pub struct Program {
    pub(super) argv: Vec<CString>,
    /// Where it may lie, in the order of PATH.
    pub(super) candidates: Vec<CString>,
}

impl Program {
    /// Prepares a command. Words are bytes; the first is looked up in PATH unless it has a slash.
    ///
    /// # Errors
    /// The word that has a NUL byte, which no command line can have.
    pub fn new(words: &[OsString]) -> Result<Program, OsString> {
        let argv: Vec<CString> = words
            .iter()
            .map(|word| CString::new(word.clone().into_vec()).map_err(|_| word.clone()))
            .collect::<Result<_, _>>()?;
        let name = words.first().map_or(&b""[..], |word| word.as_bytes());
        let path = process::variable("PATH").unwrap_or(DEFAULT_PATH.to_bytes());
        let candidates = if name.contains(&b'/') || name.is_empty() {
            argv.first().cloned().into_iter().collect()
        } else {
            path.split(|byte| *byte == b':')
                .filter_map(|dir| {
                    // An empty part of PATH is the current directory.
                    let dir: &[u8] = if dir.is_empty() { b"." } else { dir };
                    CString::new([dir, b"/", name].concat()).ok()
                })
                .collect()
        };
        Ok(Program { argv, candidates })
    }

    /// Whether it is looked for in places that do not depend on the working directory.
    pub fn is_absolute(&self) -> bool {
        self.candidates.iter().all(|path| path.to_bytes().starts_with(b"/"))
    }

    /// Its name, as it was written.
    pub fn name(&self) -> &OsStr {
        self.argv.first().map_or(OsStr::new(""), |word| OsStr::from_bytes(word.to_bytes()))
    }

    /// A file of that name is there although execve says that something is not: its interpreter or
    /// its dynamic loader is what is missing.
    pub fn file(&self) -> Option<&OsStr> {
        let there = self.candidates.iter().find(|path| process::exists(path))?;
        Some(OsStr::from_bytes(there.to_bytes()))
    }
}

/// What a child does.
#[derive(Clone, Copy)]
pub enum Task<'a> {
    /// Becomes a program.
    Program(&'a Program),
    /// Calls a function and ends with what that returns. It has a full copy of this process, of which
    /// it keeps no descriptor but its stdio.
    Call(&'a dyn Fn() -> u8),
}

/// What a child is given to begin with.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Its mask and dispositions.
    pub signals: Signals<'a>,
    /// Its user, group and supplementary groups.
    pub user: Option<(u32, u32, &'a [u32])>,
    /// It leads a session of its own, and not just a group.
    pub session: bool,
    /// A terminal whose foreground it becomes. With a session of its own, the terminal of that; without
    /// one, its stdin is, if no session has that.
    pub terminal: Option<BorrowedFd<'a>>,
    /// Its stdin, stdout and stderr; graceinit's own without.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Variables that join the inherited ones, as `NAME=value`.
    pub variables: &'a [CString],
    /// Names of variables that are not inherited. (Those above are not either.)
    pub without: &'a [&'a str],
    /// A descriptor, and the number from 3 on under which the child finds it. It takes the place of one
    /// that was inherited.
    pub extra: Option<(BorrowedFd<'a>, i32)>,
}

impl Setup<'_> {
    /// Clean signals, and everything else as graceinit has it.
    pub const CLEAN: Setup<'static> = Setup {
        signals: Signals::Clean,
        user: None,
        session: false,
        terminal: None,
        stdio: None,
        variables: &[],
        without: &[],
        extra: None,
    };
}

/// What a child is given of signals.
#[derive(Clone, Copy, Debug)]
pub enum Signals<'a> {
    /// What graceinit was started with: its mask, and the dispositions that graceinit has changed.
    Inherited(Mask, &'a [(Signal, Disposition)]),
    /// Nothing blocked, nothing ignored.
    Clean,
}

/// A child that is on its way to execve.
#[derive(Debug)]
pub struct Child {
    /// Its pid, and the id of its process group.
    pub pid: Pid,
    /// Ends when it was executed; brings a [`Failure`] when not.
    pub report: ExecStatus,
}

impl Child {
    /// One that uses our memory meanwhile.
    pub(super) fn guest(pid: Pid, pipe: OwnedFd) -> Child {
        Child { pid, report: ExecStatus { pipe, guest: true } }
    }
}

/// The pipe that tells how execve went.
#[derive(Debug)]
pub struct ExecStatus {
    pipe: OwnedFd,
    /// The child uses our memory meanwhile.
    guest: bool,
}

impl AsFd for ExecStatus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// How execve went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Started {
    /// Nobody knows yet.
    Pending,
    /// The program runs.
    Yes,
    /// It does not; the child has gone or is about to.
    No(Failure),
}

/// Why a program does not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// At which step.
    pub step: Step,
    /// errno.
    pub errno: i32,
}

/// The steps that can fail in a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Changing to another user.
    User,
    /// Redirecting stdin, stdout, stderr.
    Stdio,
    /// Giving it a descriptor under a number of its own.
    Extra,
    /// execve.
    Execute,
}

impl ExecStatus {
    /// Asks.
    pub fn read(&self) -> Started {
        let mut bytes = [0u8; 8];
        match fd::read(self.pipe.as_fd(), &mut bytes) {
            Read::Empty => Started::Pending,
            Read::End => {
                if self.guest {
                    child::forget_stack();
                }
                Started::Yes
            }
            // Eight bytes are written in one piece (pipe(7)).
            Read::Bytes(_) => {
                let number = |part: &[u8]| part.try_into().map_or(0, i32::from_ne_bytes);
                let step = match number(&bytes[..4]) {
                    0 => Step::User,
                    1 => Step::Stdio,
                    2 => Step::Extra,
                    _ => Step::Execute,
                };
                Started::No(Failure { step, errno: number(&bytes[4..]) })
            }
        }
    }
}

/// Forks a child for `task`, leader of a process group of its own, or of a session. Every signal that
/// is not blocked for good (the dead-man's) is held back meanwhile.
///
/// # Errors
/// Those of fork(2) and pipe2(2): EAGAIN, ENOMEM, EMFILE.
pub fn spawn(task: Task<'_>, setup: &Setup<'_>) -> io::Result<Child> {
    let (read, write) = fd::report_pipe()?;
    let program = match task {
        Task::Program(program) => Some(program),
        Task::Call(_) => None,
    };
    let mut orders = Orders::new(setup, program, write.as_raw_fd());
    start(setup, read, || {
        // SAFETY: this program has one thread, so the child is a full copy; on the way to execve it calls
        // only async-signal-safe functions all the same.
        let pid = unsafe { libc::fork() };
        match task {
            _ if pid != 0 => pid,
            Task::Program(_) => orders.execute(),
            Task::Call(call) => {
                orders.prepare();
                // The report's end among them: it says that all went well.
                fd::close_from(3, fd::Close::Now);
                process::exit(call());
            }
        }
    })
}

/// The same for the app: until execve its child uses this process's memory instead of a copy, where the kernel is
/// fit for that. The copy costs more than all else that a start does: the page tables, and a page fault for
/// every page that either side then writes to. Once in a life: what the child reads is never freed.
///
/// # Errors
/// As above.
pub fn spawn_app(program: &'static Program, setup: &Setup<'_>) -> io::Result<Child> {
    if !child::can_share() {
        return spawn(Task::Program(program), setup);
    }
    let (read, write) = fd::report_pipe()?;
    let orders = Box::leak(Box::new(Orders::new(setup, Some(program), write.as_raw_fd())));
    let mut guest = true;
    let mut child = start(setup, read, || match child::share(orders) {
        Ok(pid) => pid,
        // Refused: by a sandbox, or by a kernel that is not Linux.
        Err(orders) => {
            guest = false;
            // SAFETY: as above.
            let pid = unsafe { libc::fork() };
            if pid == 0 { orders.execute() } else { pid }
        }
    })?;
    child.report.guest = guest;
    Ok(child)
}

fn start(setup: &Setup<'_>, report: OwnedFd, fork: impl FnOnce() -> i32) -> io::Result<Child> {
    let own = signals::set_mask(Mask::ALL);
    let pid = fork();
    let error = io::Error::last_os_error();
    signals::set_mask(own);
    if pid < 0 {
        return Err(error);
    }
    if !setup.session {
        // Also from here, so that the group exists before any signal is forwarded to it: one sent
        // earlier would be lost with ESRCH. EACCES says that the child was quicker and has executed.
        // A session cannot be made from here, and the leader of a group could not make one any more
        // (setsid(2)): whoever signals that group asks the child itself when there is none yet.
        // SAFETY: plain numbers.
        unsafe { libc::setpgid(pid, pid) };
    }
    Ok(Child { pid: Pid(pid), report: ExecStatus { pipe: report, guest: false } })
}
