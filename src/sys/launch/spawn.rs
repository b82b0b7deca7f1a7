//! Starting processes. All is prepared before fork(2); what the child does after it is in `child.rs`. A start never
//! waits: a pipe, the exec status, tells how execve(2) went.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::child::{self, Orders};
pub use super::setup::{Program, Setup, Signals, Step, Task};
use crate::sys::fd::{self, Read};
use crate::sys::process;
use crate::sys::signals::{self, Mask};
use crate::types::Pid;

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
        Child { pid, report: ExecStatus { pipe, shares_memory: true, undumps: false } }
    }
}

/// The pipe that tells how execve went. It ends without a byte when the program was executed, because execve closes the
/// child's end; otherwise the child writes a [`Failure`].
#[derive(Debug)]
pub struct ExecStatus {
    pipe: OwnedFd,
    /// The child shares the memory of this process until execve.
    shares_memory: bool,
    /// The child's change of user takes from this process that it is dumpable, because that belongs to the memory.
    undumps: bool,
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
                // The app has memory of its own now. Not before: as long as the memory is shared, a process of the
                // app's user could trace the child, and so read and write the memory of root.
                if self.undumps {
                    process::make_dumpable();
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
    let dumpable = setup.user.is_some() && process::is_dumpable();
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
    child.report.undumps = shares_memory && dumpable;
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
    Ok(Child { pid: Pid(pid), report: ExecStatus { pipe, shares_memory: false, undumps: false } })
}
