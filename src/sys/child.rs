//! A child between its start and execve. Nothing is allocated or freed here, and no errno is used: the child
//! may have a copy of this process, or be a guest in its memory while the loop goes on.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::signals::{self, Disposition, Mask};
use super::spawn::{Program, Setup, Signals, Step};
use super::{fd, process, raw};
use crate::types::Signal;

/// All that the child needs to know: numbers, and pointers to what outlives it.
#[derive(Debug)]
pub(super) struct Orders {
    mask: Mask,
    /// `None`: all are reset.
    dispositions: Option<Vec<(Signal, Disposition)>>,
    user: Option<(u32, u32, Vec<u32>)>,
    session: bool,
    terminal: Option<RawFd>,
    stdio: Option<[RawFd; 3]>,
    extra: Option<(RawFd, RawFd)>,
    /// Where failures are reported.
    report: RawFd,
    candidates: Vec<*const libc::c_char>,
    argv: Vec<*const libc::c_char>,
    /// For a file that execve does not know the format of, execvp(3) runs a shell on it.
    script: Vec<*const libc::c_char>,
    /// `None`: as it was given.
    environment: Option<Vec<*const libc::c_char>>,
    /// On the heap: `environment` points to their texts.
    numbers: Vec<Variable>,
    /// Held for `environment`.
    _variables: Vec<CString>,
}

// ---- before the start ------------------------------------------------------------------------------

impl Orders {
    /// The program must outlive the child's use of it.
    pub(super) fn new(setup: &Setup<'_>, program: Option<&Program>, report: RawFd) -> Orders {
        let (mask, dispositions) = match setup.signals {
            Signals::Inherited(mask, list) => (mask, Some(list.to_vec())),
            Signals::Clean => (Mask::NONE, None),
        };
        // Only for the app, the one that is given all as graceinit was; for a hook they name nobody.
        let numbers: Vec<Variable> = match setup.signals {
            Signals::Inherited(..) => {
                Variable::NAMES.into_iter().filter_map(Variable::of_ours).collect()
            }
            Signals::Clean => Vec::new(),
        };
        let variables = setup.variables.to_vec();
        let (mut argv, mut candidates) = (Vec::new(), Vec::new());
        if let Some(program) = program {
            argv = pointers(&program.argv);
            candidates = program.candidates.iter().map(|path| path.as_ptr()).collect();
        }
        let script = [c"/bin/sh".as_ptr()].into_iter().chain(argv.iter().copied()).collect();
        Orders {
            mask,
            dispositions,
            user: setup.user.map(|(uid, gid, groups)| (uid, gid, groups.to_vec())),
            session: setup.session,
            terminal: setup.terminal.map(|fd| fd.as_raw_fd()),
            stdio: setup.stdio.map(|stdio| stdio.map(|fd| fd.as_raw_fd())),
            extra: setup.extra.map(|(fd, number)| (fd.as_raw_fd(), number)),
            report,
            candidates,
            argv,
            script,
            environment: environment(&variables, setup.without, &numbers),
            numbers,
            _variables: variables,
        }
    }
}

fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
}

fn environment(
    variables: &[CString],
    without: &[&str],
    numbers: &[Variable],
) -> Option<Vec<*const libc::c_char>> {
    if variables.is_empty() && without.is_empty() && numbers.is_empty() {
        return None;
    }
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
    for variable in numbers {
        if let Some(place) = list.iter_mut().find(|entry| **entry == variable.original) {
            *place = variable.text.as_ptr().cast();
        }
    }
    list.extend(variables.iter().map(|variable| variable.as_ptr()));
    list.push(ptr::null());
    Some(list)
}

/// A variable that named graceinit by its pid has to name the app. The number is known only after
/// fork, where nothing may be allocated any more.
#[derive(Debug)]
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

// ---- a guest in our memory -------------------------------------------------------------------------

/// The child's stack while it has no memory of its own. Used once in a life, so that nobody can be on it any more.
#[repr(align(4096))]
struct Stack(UnsafeCell<[u8; STACK]>);
/// Of which a page is used; the rest is never touched.
const STACK: usize = 32 * 1024;

// SAFETY: never read or written from here; only its address is taken.
unsafe impl Sync for Stack {}

static CHILD_STACK: Stack = Stack(UnsafeCell::new([0; STACK]));
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether this kernel lets a child be a guest without harm. Before Linux 5.16 one that dumps core (a QUIT that
/// comes between its mask and its execve) takes all who share its memory with it (zap_threads in
/// fs/coredump.c).
pub(super) fn can_share() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && process::kernel() >= (5, 16)
}

/// Starts a child as vfork(2) does, but goes on beside it: execve may take for ever on a file system that hangs,
/// and a stop must not. Where the kernel refuses, and the second time, the orders come back.
pub(super) fn share(orders: &'static mut Orders) -> Result<i32, &'static mut Orders> {
    extern "C" fn guest(orders: *mut c_void) -> i32 {
        // SAFETY: the one reference to them was handed over.
        unsafe { (*orders.cast::<Orders>()).execute() }
    }
    if IS_TAKEN.swap(true, Relaxed) {
        return Err(orders);
    }
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    let orders = ptr::from_mut(orders);
    // SAFETY: the stack is the child's alone, since nobody comes here twice; what it reads is never freed. It makes
    // raw system calls only, so the C library's state (errno, locks) is left alone.
    let pid = unsafe {
        let top = CHILD_STACK.0.get().cast::<u8>().add(STACK);
        libc::clone(guest, top.cast(), flags, orders.cast())
    };
    // SAFETY: without a child the one reference is ours again.
    if pid > 0 { Ok(pid) } else { Err(unsafe { &mut *orders }) }
}

/// Gives the pages back that the child's stack has used.
pub(super) fn forget_stack() {
    // SAFETY: the one child that was on it has executed or ended.
    unsafe { libc::madvise(CHILD_STACK.0.get().cast(), STACK, libc::MADV_DONTNEED) };
}

// ---- in the child ----------------------------------------------------------------------------------

impl Orders {
    /// Before the child does what it is for. The order matters: the session or the group first, so
    /// that signals find it; the terminal while SIGTTOU is blocked; the user after both; the mask last, so
    /// that a signal that came meanwhile meets the child as it was meant to be.
    pub(super) fn prepare(&mut self) {
        for variable in &mut self.numbers {
            variable.set_number(process::own_pid().0);
        }
        // A session brings a group of the same number. A child that was just forked leads no group, the one
        // reason to refuse (a sandbox aside).
        // SAFETY: takes nothing.
        let leads = self.session && unsafe { raw::call(libc::SYS_setsid, []) }.is_ok();
        if leads {
            // stdin may be one that is nobody's: then this session has none, as dumb-init's apps.
            let terminal = self.terminal.unwrap_or(libc::STDIN_FILENO);
            // SAFETY: plain numbers; 0: no terminal is stolen.
            let _ = unsafe {
                raw::call(libc::SYS_ioctl, [terminal as usize, libc::TIOCSCTTY as usize, 0])
            };
        } else {
            // SAFETY: plain numbers.
            let _ = unsafe { raw::call(libc::SYS_setpgid, [0, 0]) };
            if let Some(terminal) = self.terminal {
                let own = process::own_pid().0;
                let (request, group) = (libc::TIOCSPGRP as usize, &raw const own);
                // SAFETY: the pointer is to a live number. A terminal that has gone meanwhile is no error.
                let _ = unsafe {
                    raw::call(libc::SYS_ioctl, [terminal as usize, request, group as usize])
                };
            }
        }
        if let Some((uid, gid, groups)) = &self.user {
            if let Err(errno) = become_user(*uid, *gid, groups) {
                self.fail(Step::User, errno);
            }
        }
        if let Some(stdio) = self.stdio {
            for (number, fd) in stdio.into_iter().enumerate() {
                if let Err(errno) = duplicate(fd, number as RawFd) {
                    self.fail(Step::Stdio, errno);
                }
            }
            // Before the app is started its descriptors are still here; they are no hook's business.
            fd::close_from(3, fd::Close::AtExecve);
        }
        if let Some((fd, number)) = self.extra {
            if self.report == number {
                // SAFETY: plain numbers.
                match unsafe { control(self.report, libc::F_DUPFD_CLOEXEC, number + 1) } {
                    Ok(moved) => self.report = moved as RawFd,
                    Err(errno) => self.fail(Step::Extra, errno),
                }
            }
            if let Err(errno) = duplicate(fd, number) {
                self.fail(Step::Extra, errno);
            }
        }
        match &self.dispositions {
            Some(list) => {
                for (signal, disposition) in list {
                    signals::set_disposition(*signal, *disposition);
                }
            }
            None => signals::reset_dispositions(),
        }
        signals::set_mask(self.mask);
    }

    /// Prepares, and becomes the program.
    pub(super) fn execute(&mut self) -> ! {
        self.prepare();
        let environment =
            self.environment.as_ref().map_or(process::environ(), |list| list.as_ptr());
        let mut last = libc::ENOENT;
        let mut denied = false;
        for candidate in self.candidates.iter().copied() {
            last = become_program(candidate, &self.argv, environment);
            match last {
                libc::ENOEXEC => {
                    if is_script(candidate) {
                        self.script[1] = candidate;
                        become_program(self.script[0], &self.script, environment);
                    }
                    // Where there is no shell either, the format is what is wrong.
                    break;
                }
                // The same as execvp(3): look further, but remember that something was there.
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT => {}
                _ => break,
            }
        }
        if denied && [libc::ENOENT, libc::ENOTDIR].contains(&last) {
            last = libc::EACCES;
        }
        self.fail(Step::Execute, last)
    }

    fn fail(&self, step: Step, errno: i32) -> ! {
        let mut bytes = [0u8; 8];
        bytes[..4].copy_from_slice(&(step as i32).to_ne_bytes());
        bytes[4..].copy_from_slice(&errno.to_ne_bytes());
        let words = [self.report as usize, bytes.as_ptr() as usize, bytes.len()];
        // SAFETY: the buffer is live and its length is what is passed on.
        let _ = unsafe { raw::call(libc::SYS_write, words) };
        process::exit(crate::exit::Codes::GRACEINIT.not_found)
    }
}

/// Raw system calls: the C library's versions want to tell other threads.
fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), i32> {
    let (user, group) = (uid as usize, gid as usize);
    // SAFETY: the list is live and its length is what is passed on.
    let changed = unsafe {
        raw::call(libc::SYS_setgroups, [groups.len(), groups.as_ptr() as usize])
            .and_then(|_| raw::call(libc::SYS_setresgid, [group, group, group]))
            .and_then(|_| raw::call(libc::SYS_setresuid, [user, user, user]))
    };
    // Without the right to change, one may be that user already (runAsUser of Kubernetes). Whoever
    // started us has chosen the groups then.
    // SAFETY: neither takes anything nor can fail.
    let already = unsafe { libc::geteuid() == uid && libc::getegid() == gid };
    if already { Ok(()) } else { changed.map(|_| ()) }
}

fn duplicate(fd: RawFd, number: RawFd) -> Result<(), i32> {
    // (aarch64 has no dup2.)
    let done = if fd == number {
        // SAFETY: plain numbers; it would stay as it is, the flag too.
        unsafe { control(fd, libc::F_SETFD, 0) }
    } else {
        // SAFETY: plain numbers. In this child nobody needs what had that number.
        unsafe { raw::call(libc::SYS_dup3, [fd as usize, number as usize, 0]) }
    };
    done.map(|_| ())
}

/// fcntl(2)
///
/// # Safety
/// The request must take a number.
unsafe fn control(fd: RawFd, request: i32, argument: RawFd) -> Result<usize, i32> {
    // SAFETY: plain numbers, as the caller vouches for.
    unsafe { raw::call(libc::SYS_fcntl, [fd as usize, request as usize, argument as usize]) }
}

/// execve(2): why it failed.
fn become_program(
    path: *const libc::c_char,
    argv: &[*const libc::c_char],
    environment: *const *const libc::c_char,
) -> i32 {
    let words = [path as usize, argv.as_ptr() as usize, environment as usize];
    // SAFETY: the path is terminated; both lists hold terminated strings and end with a null
    // pointer; all of them live.
    unsafe { raw::call(libc::SYS_execve, words) }.err().unwrap_or(0)
}

/// Whether a file that execve does not know the format of can be meant for a shell. A program for
/// another machine is not: a shell would make nonsense of it.
fn is_script(path: *const libc::c_char) -> bool {
    let mut head = [0u8; 128];
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the path is terminated, the buffer is live and its size is passed on.
    let length = unsafe {
        raw::call(libc::SYS_openat, [libc::AT_FDCWD as usize, path as usize, flags as usize])
            .and_then(|fd| raw::call(libc::SYS_read, [fd, head.as_mut_ptr() as usize, head.len()]))
    };
    // One that may be executed but not read is left to the shell to judge.
    let head = &head[..length.unwrap_or(0)];
    !head.starts_with(b"\x7fELF") && !head.contains(&0)
}
