//! Starting processes: everything is prepared before fork(2), and between fork and execve only
//! async-signal-safe calls are made. A start never waits: how it went comes through a pipe.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use super::fd::{self, Read};
use super::signals::{self, Disposition, Mask};
use super::{process, tty};
use crate::types::{Pid, Signal};

/// Where execvp(3) looks when there is no PATH (confstr(3), _CS_PATH).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// A command, ready for execve.
#[derive(Debug)]
pub struct Program {
    argv: Vec<CString>,
    /// Where it may lie, in the order of PATH.
    candidates: Vec<CString>,
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
        let path = process::variable("PATH").unwrap_or(DEFAULT_PATH);
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
    pub report: Report,
}

/// The pipe that tells how execve went.
#[derive(Debug)]
pub struct Report(OwnedFd);

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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

impl Report {
    /// Asks.
    pub fn read(&self) -> Started {
        let mut bytes = [0u8; 8];
        match fd::read(self.0.as_fd(), &mut bytes) {
            Read::Empty => Started::Pending,
            Read::End => Started::Yes,
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
    let (read, write) = fd::pipe()?;
    // Only for the app, the one that is given all as graceinit was; for a hook they name nobody.
    let mut numbers = match setup.signals {
        Signals::Inherited(..) => Variable::NAMES.map(Variable::of_ours),
        Signals::Clean => [None, None],
    };
    let environment = environment(setup, &numbers);
    let argv: Vec<*const libc::c_char> = match task {
        Task::Program(program) => pointers(&program.argv),
        Task::Call(_) => Vec::new(),
    };
    // For a file that execve does not know the format of, execvp(3) runs a shell on it.
    let mut script = argv.clone();
    script.insert(0, c"/bin/sh".as_ptr());
    let own = signals::set_mask(Mask::ALL);
    // SAFETY: this program has one thread, so the child is a full copy; on the way to execve it calls
    // only async-signal-safe functions all the same.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        for variable in numbers.iter_mut().flatten() {
            variable.set_number(process::own_pid().0);
        }
        let report = prepare_child(setup, write.as_raw_fd());
        match task {
            Task::Program(program) => execute(program, &environment, &argv, &mut script, report),
            Task::Call(call) => {
                // The report's end among them: it says that all went well.
                fd::close_from(3, fd::Close::Now);
                process::exit(call());
            }
        }
    }
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
    Ok(Child { pid: Pid(pid), report: Report(read) })
}

fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
}

fn environment(setup: &Setup<'_>, numbers: &[Option<Variable>]) -> Vec<*const libc::c_char> {
    let Setup { variables, without, .. } = setup;
    let name =
        |entry: &CStr| entry.to_bytes().split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
    let replaced: Vec<Option<Vec<u8>>> = variables
        .iter()
        .map(|variable| name(variable))
        .chain(without.iter().map(|name| Some(name.as_bytes().to_vec())))
        .collect();
    let mut list: Vec<*const libc::c_char> = process::environment()
        .filter(|entry| replaced.is_empty() || !replaced.contains(&name(entry)))
        .map(CStr::as_ptr)
        .collect();
    for variable in numbers.iter().flatten() {
        if let Some(place) = list.iter_mut().find(|entry| **entry == variable.original) {
            *place = variable.text.as_ptr().cast();
        }
    }
    list.extend(variables.iter().map(|variable| variable.as_ptr()));
    list.push(ptr::null());
    list
}

/// A variable that named graceinit by its pid has to name the app. The number is known only after
/// fork, where nothing may be allocated any more.
struct Variable {
    original: *const libc::c_char,
    name: &'static str,
    text: [u8; 32],
}

impl Variable {
    /// sd_listen_fds(3), sd_watchdog_enabled(3).
    const NAMES: [&'static str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

    fn of_ours(name: &'static str) -> Option<Variable> {
        let ours = format!("{name}={}", process::own_pid());
        let entry = process::environment().find(|entry| entry.to_bytes() == ours.as_bytes())?;
        Some(Variable { original: entry.as_ptr(), name, text: [0; 32] })
    }

    fn set_number(&mut self, number: i32) {
        use std::io::Write;
        // The longest name and ten digits; the buffer's last byte stays 0. (Formatting an integer into
        // a slice allocates nothing.)
        let _ = write!(&mut self.text[..31], "{}={number}", self.name);
    }
}

/// The child's side before it does what it is for. The order matters: the session or the group first, so
/// that signals find it; the terminal while SIGTTOU is blocked; the user after both; the mask last, so
/// that a signal that came meanwhile meets the child as it was meant to be. What comes back is where
/// failures are reported from then on.
fn prepare_child(setup: &Setup<'_>, mut report: RawFd) -> RawFd {
    // A session brings a group of the same number. A child that was just forked leads no group, the one
    // reason to refuse (a sandbox aside).
    // SAFETY: takes nothing.
    let leads = setup.session && unsafe { libc::setsid() } >= 0;
    if leads {
        // stdin may be one that is nobody's. dumb-init's apps get that, too.
        tty::adopt(setup.terminal.map_or(libc::STDIN_FILENO, |terminal| terminal.as_raw_fd()));
    } else {
        // SAFETY: plain numbers.
        unsafe { libc::setpgid(0, 0) };
        if let Some(terminal) = setup.terminal {
            // SAFETY: plain numbers. A terminal that has gone meanwhile is no error.
            unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), tty::own_group().0) };
        }
    }
    if let Some((uid, gid, groups)) = setup.user {
        // SAFETY: the list is live and its length is what is passed on. Raw system calls: the C
        // library's versions want to tell other threads.
        let changed = unsafe {
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) == 0
                && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
                && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
        };
        // Without the right to change, one may be that user already (runAsUser of Kubernetes). Whoever
        // started us has chosen the groups then.
        // SAFETY: neither takes anything nor can fail.
        let already = unsafe { libc::geteuid() == uid && libc::getegid() == gid };
        if !changed && !already {
            fail(report, Step::User);
        }
    }
    if let Some(stdio) = setup.stdio {
        for (number, fd) in stdio.iter().enumerate() {
            // SAFETY: plain numbers.
            if unsafe { libc::dup2(fd.as_raw_fd(), number as i32) } < 0 {
                fail(report, Step::Stdio);
            }
        }
        // Before the app is started its descriptors are still here; they are no hook's business.
        fd::close_from(3, fd::Close::AtExecve);
    }
    if let Some((fd, number)) = setup.extra {
        if report == number {
            // SAFETY: plain numbers.
            let moved = unsafe { libc::fcntl(report, libc::F_DUPFD_CLOEXEC, number + 1) };
            if moved < 0 {
                fail(report, Step::Extra);
            }
            report = moved;
        }
        if !give(fd.as_raw_fd(), number) {
            fail(report, Step::Extra);
        }
    }
    match setup.signals {
        Signals::Inherited(mask, dispositions) => {
            for (signal, disposition) in dispositions {
                signals::set_disposition(*signal, *disposition);
            }
            signals::set_mask(mask);
        }
        Signals::Clean => {
            signals::reset_dispositions();
            signals::set_mask(Mask::NONE);
        }
    }
    report
}

/// Puts a descriptor where the program will look for it, to stay open over execve.
fn give(fd: RawFd, number: RawFd) -> bool {
    // SAFETY: plain numbers. In this child nobody needs what had that number.
    unsafe {
        if fd == number {
            // dup2(2) would leave the flag as it is.
            libc::fcntl(fd, libc::F_SETFD, 0) == 0
        } else {
            libc::dup2(fd, number) >= 0
        }
    }
}

fn execute(
    program: &Program,
    environment: &[*const libc::c_char],
    argv: &[*const libc::c_char],
    script: &mut [*const libc::c_char],
    report: RawFd,
) -> ! {
    let mut denied = false;
    for candidate in &program.candidates {
        // SAFETY: the path is terminated; both lists hold terminated strings and end with a null
        // pointer; all of them live.
        unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
        match errno() {
            libc::ENOEXEC => {
                if is_script(candidate) {
                    script[1] = candidate.as_ptr();
                    // SAFETY: as above.
                    unsafe { libc::execve(script[0], script.as_ptr(), environment.as_ptr()) };
                }
                // Where there is no shell either, the format is what is wrong.
                set_errno(libc::ENOEXEC);
                break;
            }
            // The same as execvp(3): look further, but remember that something was there.
            libc::EACCES => denied = true,
            libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT => {}
            _ => break,
        }
    }
    if denied && [libc::ENOENT, libc::ENOTDIR].contains(&errno()) {
        set_errno(libc::EACCES);
    }
    fail(report, Step::Execute)
}

/// Whether a file that execve does not know the format of can be meant for a shell. A program for
/// another machine is not: a shell would make nonsense of it.
fn is_script(path: &CStr) -> bool {
    let mut head = [0u8; 128];
    // SAFETY: the path is terminated, the buffer is live and its size is passed on.
    let length = unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        libc::read(fd, head.as_mut_ptr().cast(), head.len())
    };
    // One that may be executed but not read is left to the shell to judge.
    let head = &head[..usize::try_from(length).unwrap_or(0)];
    !head.starts_with(b"\x7fELF") && !head.contains(&0)
}

fn errno() -> i32 {
    // SAFETY: the location is this thread's own.
    unsafe { *libc::__errno_location() }
}

fn set_errno(errno: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn fail(report: RawFd, step: Step) -> ! {
    let mut bytes = [0u8; 8];
    bytes[..4].copy_from_slice(&(step as i32).to_ne_bytes());
    bytes[4..].copy_from_slice(&errno().to_ne_bytes());
    // SAFETY: the buffer is live and its length is what is passed on.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
    process::exit(crate::exit::Codes::GRACEINIT.not_found)
}
