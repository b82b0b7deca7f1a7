//! Starting processes. All is prepared before fork(2); what the child does after it is in `child.rs`. A start never
//! waits: a pipe, the exec status, tells how execve(2) went.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::child::{self, Orders};
use crate::sys::fd::{self, Read};
use crate::sys::process;
use crate::sys::signals::{self, Disposition, Mask};
use crate::types::{Pid, Signal};

/// Where execvp(3) looks for a program if there is no PATH (confstr(3), _CS_PATH).
pub(super) const DEFAULT_PATH: &CStr = c"/bin:/usr/bin";

/// A command, ready for execve.
#[derive(Debug)]
pub struct Program {
    pub(super) argv: Vec<CString>,
    /// Where the program may lie, in the order of PATH.
    pub(super) candidates: Vec<CString>,
}

impl Program {
    /// Prepares a command. The first word is looked for in PATH unless it has a slash.
    ///
    /// # Errors
    /// The word that has a NUL byte: execve(2) cannot take it.
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

    /// Whether the program is looked for in absolute paths only, so that the working directory does not matter.
    pub fn is_absolute(&self) -> bool {
        self.candidates.iter().all(|path| path.to_bytes().starts_with(b"/"))
    }

    /// The first word.
    pub fn name(&self) -> &OsStr {
        self.argv.first().map_or(OsStr::new(""), |word| OsStr::from_bytes(word.to_bytes()))
    }

    /// The file of the program, if it exists. If execve(2) says ENOENT all the same, the interpreter or the dynamic
    /// loader of the file is missing.
    pub fn file(&self) -> Option<&OsStr> {
        let file = self.candidates.iter().find(|path| process::exists(path))?;
        Some(OsStr::from_bytes(file.to_bytes()))
    }
}

/// What a child does.
#[derive(Clone, Copy)]
pub enum Task<'a> {
    /// Executes a program.
    Program(&'a Program),
    /// Calls a function and exits with the code that it returns. The child is a full copy of this process, but keeps
    /// only the descriptors 0, 1 and 2.
    Call(&'a dyn Fn() -> u8),
}

/// How a child differs from this process.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Its mask and dispositions.
    pub signals: Signals<'a>,
    /// Its user, group and supplementary groups.
    pub user: Option<(u32, u32, &'a [u32])>,
    /// The child leads a session of its own, and not just a process group.
    pub session: bool,
    /// The terminal whose foreground group the child becomes. A child with a session of its own gets it as its
    /// controlling terminal; if this is `None`, it gets its stdin, if that is a terminal without a session.
    pub terminal: Option<BorrowedFd<'a>>,
    /// Its stdin, stdout and stderr; `None`: those of graceinit.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Variables that are added to the inherited ones or replace them, as `NAME=value`.
    pub variables: &'a [CString],
    /// Names of variables that are not inherited.
    pub without: &'a [&'a str],
    /// A descriptor, and the number (3 or more) that it has in the child. An inherited descriptor of that number is
    /// replaced.
    pub extra: Option<(BorrowedFd<'a>, i32)>,
}

impl Setup<'_> {
    /// Clean signals; all else as graceinit has it.
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

/// The signal mask and the dispositions of a child.
#[derive(Clone, Copy, Debug)]
pub enum Signals<'a> {
    /// What graceinit was started with: the mask, and the dispositions that graceinit has changed.
    Inherited(Mask, &'a [(Signal, Disposition)]),
    /// Nothing blocked, nothing ignored.
    Clean,
}

/// A child that is on its way to execve.
#[derive(Debug)]
pub struct Child {
    /// Its pid, and the id of its process group.
    pub pid: Pid,
    /// Tells how execve went.
    pub report: ExecStatus,
}

impl Child {
    /// A child that shares the memory of this process until execve.
    #[cfg(feature = "early-start")]
    pub(super) fn sharing_memory(pid: Pid, pipe: OwnedFd) -> Child {
        Child { pid, report: ExecStatus { pipe, shares_memory: true } }
    }
}

/// The pipe that tells how execve went. It ends without a byte when the program was executed, because execve closes the
/// child's end; otherwise the child writes a [`Failure`].
#[derive(Debug)]
pub struct ExecStatus {
    pipe: OwnedFd,
    /// The child shares the memory of this process until execve.
    shares_memory: bool,
}

impl AsFd for ExecStatus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// How execve went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Started {
    /// It has not returned yet.
    Pending,
    /// The program runs.
    Yes,
    /// It failed, and the child exits.
    No(Failure),
}

/// Why a program does not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// The errno of that step.
    pub errno: i32,
}

/// The steps that can fail in a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Changing the user.
    User,
    /// Redirecting stdin, stdout and stderr.
    Stdio,
    /// Giving the child the extra descriptor.
    Extra,
    /// execve(2).
    Execute,
}

impl ExecStatus {
    /// Reads what the child has told so far. Never waits.
    pub fn read(&self) -> Started {
        let mut bytes = [0u8; 8];
        match fd::read(self.pipe.as_fd(), &mut bytes) {
            Read::Empty => Started::Pending,
            Read::End => {
                if self.shares_memory {
                    child::forget_stack();
                }
                Started::Yes
            }
            // The child writes eight bytes in one write, which a pipe keeps together (pipe(7)).
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

/// Forks a child for `task`. It leads a process group of its own, or a session.
///
/// # Errors
/// Those of fork(2) and pipe2(2): EAGAIN, ENOMEM, EMFILE.
pub fn spawn(task: Task<'_>, setup: &Setup<'_>) -> io::Result<Child> {
    let (read, write) = fd::exec_status_pipe()?;
    let program = match task {
        Task::Program(program) => Some(program),
        Task::Call(_) => None,
    };
    let mut orders = Orders::new(setup, program, write.as_raw_fd());
    start(setup, read, || {
        // SAFETY: this program has one thread, so the child is a full copy. On the way to execve it calls
        // async-signal-safe functions only.
        let pid = unsafe { libc::fork() };
        match task {
            _ if pid != 0 => pid,
            Task::Program(_) => orders.execute(),
            Task::Call(call) => {
                orders.prepare();
                // Among them the exec status, whose end says that the child was prepared without a failure.
                fd::close_from(3, fd::Close::Now);
                process::exit(call());
            }
        }
    })
}

/// Starts the app: like [`spawn`], but until execve the child shares the memory of this process if the kernel allows
/// it. A copy costs more than all else that a start does: the page tables, and a page fault for each page that either
/// side writes to. Called once in a life: what the child reads is never freed.
///
/// # Errors
/// As for [`spawn`].
pub fn spawn_app(program: &'static Program, setup: &Setup<'_>) -> io::Result<Child> {
    if !child::can_share() {
        return spawn(Task::Program(program), setup);
    }
    let (read, write) = fd::exec_status_pipe()?;
    let orders = Box::leak(Box::new(Orders::new(setup, Some(program), write.as_raw_fd())));
    let mut shares_memory = true;
    let mut child = start(setup, read, || match child::share(orders) {
        Ok(pid) => pid,
        // Refused by a sandbox, or by a kernel that is not Linux.
        Err(orders) => {
            shares_memory = false;
            // SAFETY: as in `spawn`.
            let pid = unsafe { libc::fork() };
            if pid == 0 { orders.execute() } else { pid }
        }
    })?;
    child.report.shares_memory = shares_memory;
    Ok(child)
}

/// Forks with all signals blocked: a handler must not run in the child.
fn start(setup: &Setup<'_>, pipe: OwnedFd, fork: impl FnOnce() -> i32) -> io::Result<Child> {
    let mask = signals::set_mask(Mask::ALL);
    let pid = fork();
    let error = io::Error::last_os_error();
    signals::set_mask(mask);
    if pid < 0 {
        return Err(error);
    }
    if !setup.session {
        // The child does the same. Here, so that the group exists before the first signal is forwarded to it: the
        // signal would be lost with ESRCH. EACCES says that the child has already executed its program. For a session
        // this cannot be done, because the leader of a group cannot make one (setsid(2)); until the session exists,
        // signals go to the child itself.
        // SAFETY: plain numbers.
        unsafe { libc::setpgid(pid, pid) };
    }
    Ok(Child { pid: Pid(pid), report: ExecStatus { pipe, shares_memory: false } })
}
