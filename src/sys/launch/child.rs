//! The child between its start and execve(2). Nothing is allocated or freed here, and errno is not used: the child may
//! be a copy of this process, or run in this process's memory while the main loop goes on.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::setup::{Program, Setup, Signals, Step};
use super::text::{List, Text};
use crate::sys::signals::{self, Disposition, Mask};
use crate::sys::{fd, process, raw};
use crate::types::Signal;

/// The exit code of a child that could not execute its program. The exec status tells the reason; graceinit's own exit
/// code is chosen from that.
const NOT_EXECUTED: usize = 127;

/// All that the child needs to know: numbers, and strings that are there for as long as the child reads them.
#[derive(Debug)]
pub(super) struct Orders<'a> {
    mask: Mask,
    /// `None`: all are reset.
    dispositions: Option<Vec<(Signal, Disposition)>>,
    user: Option<(u32, u32, Vec<u32>)>,
    session: bool,
    terminal: Option<RawFd>,
    stdio: Option<[RawFd; 3]>,
    extra: Option<(RawFd, RawFd)>,
    /// The end of the exec status that failures are written to.
    status: RawFd,
    candidates: Vec<Text<'a>>,
    argv: Vec<Option<Text<'a>>>,
    /// The words of the shell that runs a file of unknown format, as execvp(3) does: two places, then the arguments.
    script: Vec<Option<Text<'a>>>,
    /// `None`: the environment of this process.
    environment: Option<Vec<Option<Text<'a>>>>,
    /// On the heap, because `environment` points to their texts.
    numbers: Vec<Variable>,
    /// Owned here, because `environment` points to them.
    _variables: Vec<CString>,
}

// ---- before the start ------------------------------------------------------------------------------

impl<'a> Orders<'a> {
    /// Prepares the orders. `status` is the end of the exec status that the child writes to.
    pub(super) fn new(
        setup: &Setup<'_>,
        program: Option<&'a Program>,
        status: RawFd,
    ) -> Orders<'a> {
        let (mask, dispositions) = match setup.signals {
            Signals::Inherited(mask, list) => (mask, Some(list.to_vec())),
            Signals::Clean => (Mask::NONE, None),
        };
        // Only for the app, which gets the environment as graceinit got it. No variable names the pid of a hook.
        let numbers: Vec<Variable> = match setup.signals {
            Signals::Inherited(..) => {
                Variable::NAMES.into_iter().filter_map(Variable::with_own_pid).collect()
            }
            Signals::Clean => Vec::new(),
        };
        let variables = setup.variables.to_vec();
        let (mut argv, mut candidates) = (Vec::new(), Vec::new());
        if let Some(program) = program {
            argv = program.argv.iter().map(|word| Some(word.as_c_str().into())).collect();
            argv.push(None);
            candidates = program.candidates.iter().map(|path| path.as_c_str().into()).collect();
        }
        let script = [None].into_iter().chain(argv.iter().copied()).collect();
        Orders {
            mask,
            dispositions,
            user: setup.user.map(|(uid, gid, groups)| (uid, gid, groups.to_vec())),
            session: setup.session,
            terminal: setup.terminal.map(|fd| fd.as_raw_fd()),
            stdio: setup.stdio.map(|stdio| stdio.map(|fd| fd.as_raw_fd())),
            extra: setup.extra.map(|(fd, number)| (fd.as_raw_fd(), number)),
            status,
            candidates,
            argv,
            script,
            environment: environment(&variables, setup.without, &numbers),
            numbers,
            _variables: variables,
        }
    }
}

/// The child's environment. Its strings lie in `variables`, in `numbers`, and where the kernel has put them; the
/// caller keeps the first two for as long as the list is used.
fn environment<'a>(
    variables: &[CString],
    without: &[&str],
    numbers: &[Variable],
) -> Option<Vec<Option<Text<'a>>>> {
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
    let mut list: Vec<Option<Text<'a>>> = process::environment()
        .filter(|entry| replaced.is_empty() || !replaced.contains(&name(entry)))
        .map(|entry| Some(entry.into()))
        .collect();
    for variable in numbers {
        if let Some(place) = list.iter_mut().find(|entry| **entry == Some(variable.original)) {
            // SAFETY: the last byte of the text stays 0. It lies on the heap in the orders that this list is made for.
            *place = unsafe { Text::from_raw(variable.text.as_ptr().cast()) };
        }
    }
    // SAFETY: a CString is terminated, and its text lies on the heap. The orders that this list is made for own it.
    list.extend(variables.iter().map(|variable| unsafe { Text::from_raw(variable.as_ptr()) }));
    list.push(None);
    Some(list)
}

/// A variable that names graceinit by its pid and has to name the app. The app's pid is known only in the child, where
/// nothing may be allocated.
#[derive(Debug)]
struct Variable {
    original: Text<'static>,
    name: &'static str,
    text: [u8; 32],
}

impl Variable {
    /// sd_listen_fds(3), sd_watchdog_enabled(3).
    const NAMES: [&'static str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

    /// The variable of this name, if it names graceinit.
    fn with_own_pid(name: &'static str) -> Option<Variable> {
        let wanted = format!("{name}={}", process::own_pid());
        let entry = process::environment().find(|entry| entry.to_bytes() == wanted.as_bytes())?;
        Some(Variable { original: entry.into(), name, text: [0; 32] })
    }

    fn set_number(&mut self, number: i32) {
        use std::io::Write;
        // The longest name and ten digits fit, and the last byte stays 0. (Formatting an integer into a slice
        // allocates nothing.)
        let _ = write!(&mut self.text[..31], "{}={number}", self.name);
    }
}

// ---- a child in this process's memory --------------------------------------------------------------

/// The stack of a child that shares this process's memory. Used once in a life, so that no two children are on it.
#[repr(align(4096))]
struct Stack(UnsafeCell<[u8; STACK]>);
/// The child uses one page; the rest is never touched.
const STACK: usize = 32 * 1024;

// SAFETY: this process never reads or writes the stack, it only takes its address.
unsafe impl Sync for Stack {}

static CHILD_STACK: Stack = Stack(UnsafeCell::new([0; STACK]));
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether a child may share this process's memory on this kernel. Before Linux 5.16 a child that dumps core (a QUIT
/// that comes between its mask and its execve) takes all processes that share its memory with it (zap_threads in
/// fs/coredump.c).
pub(super) fn can_share() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && is_recent(process::kernel())
}

/// Whether that holds for a kernel of this version.
pub(super) fn is_recent(version: (u32, u32)) -> bool {
    version >= (5, 16)
}

/// The top of the child's stack, with `room` bytes (a multiple of 16) above it; `None` if the stack is taken.
pub(super) fn take_stack(room: usize) -> Option<*mut u8> {
    // SAFETY: `room` is far less than the size of the stack.
    let top = unsafe { CHILD_STACK.0.get().cast::<u8>().add(STACK - room) };
    (!IS_TAKEN.swap(true, Relaxed)).then_some(top)
}

/// Gives the stack back if no child was started on it.
#[cfg(feature = "early-start")]
pub(super) fn return_stack() {
    IS_TAKEN.store(false, Relaxed);
}

/// Starts a child that shares this process's memory like one of vfork(2), but lets this process go on: execve may
/// hang on a file system that hangs, and a stop must not. If the kernel refuses, or the stack is taken, the orders
/// come back.
pub(super) fn share(
    orders: &'static mut Orders<'static>,
) -> Result<i32, &'static mut Orders<'static>> {
    extern "C" fn run(orders: *mut c_void) -> ! {
        // SAFETY: the argument is the one reference to the orders, which was handed over.
        unsafe { (*orders.cast::<Orders<'static>>()).execute() }
    }
    let Some(top) = take_stack(0) else { return Err(orders) };
    let orders = ptr::from_mut(orders);
    // SAFETY: the stack is the child's alone, because it can be taken once, and what the child reads is never freed.
    // The child makes raw system calls only, so the state of the C library (errno, locks) is left alone.
    match unsafe { raw::clone(top, run, orders.cast()) } {
        Ok(pid) => Ok(pid as i32),
        // SAFETY: without a child the one reference is ours again.
        Err(_) => Err(unsafe { &mut *orders }),
    }
}

/// Gives the memory of the child's stack back to the kernel.
pub(super) fn forget_stack() {
    // SAFETY: the one child that used the stack has executed its program or has ended.
    unsafe { libc::madvise(CHILD_STACK.0.get().cast(), STACK, libc::MADV_DONTNEED) };
}

// ---- in the child ----------------------------------------------------------------------------------

impl Orders<'_> {
    /// Makes the child what its program or function expects. The order matters: the session or the group first, so
    /// that signals to it find the child; the terminal while SIGTTOU is blocked; the user after both; the mask last,
    /// so that a pending signal meets the dispositions that were ordered.
    pub(super) fn prepare(&mut self) {
        for variable in &mut self.numbers {
            variable.set_number(process::own_pid().0);
        }
        // A session brings a group of the same number. setsid(2) fails only for the leader of a group, which a new
        // child is not, or in a sandbox.
        // SAFETY: the call takes nothing.
        let leads = self.session && unsafe { raw::call(libc::SYS_setsid, []) }.is_ok();
        if leads {
            // Like the apps of dumb-init, the app gets its stdin as the terminal if no session has that.
            let terminal = self.terminal.unwrap_or(libc::STDIN_FILENO);
            let request = libc::TIOCSCTTY as usize;
            // SAFETY: plain numbers; the argument 0 says that no terminal is taken from another session.
            let _ = unsafe { raw::call(libc::SYS_ioctl, [terminal as usize, request, 0]) };
        } else {
            // SAFETY: plain numbers.
            let _ = unsafe { raw::call(libc::SYS_setpgid, [0, 0]) };
            if let Some(terminal) = self.terminal {
                let own = process::own_pid().0;
                let (request, group) = (libc::TIOCSPGRP as usize, &raw const own);
                // SAFETY: the pointer is to a live number. If the terminal is gone meanwhile, the call fails without
                // harm.
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
            // A hook before the app must not get the descriptors that are kept for the app.
            fd::close_from(3, fd::Close::AtExecve);
        }
        if let Some((fd, number)) = self.extra {
            if self.status == number {
                // SAFETY: F_DUPFD_CLOEXEC takes a number.
                match unsafe { control(self.status, libc::F_DUPFD_CLOEXEC, number + 1) } {
                    Ok(moved) => self.status = moved as RawFd,
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

    /// Prepares the child and executes its program.
    pub(super) fn execute(&mut self) -> ! {
        self.prepare();
        let environment = match &self.environment {
            Some(list) => List::new(list),
            // SAFETY: this process never changes its environment, which ends with a null pointer.
            None => Some(unsafe { List::from_raw(process::environ()) }),
        };
        let (Some(argv), Some(environment)) = (List::new(&self.argv), environment) else {
            self.fail(Step::Execute, libc::EINVAL)
        };
        let words = &mut self.script;
        let errno =
            execute_first(self.candidates.iter().copied(), argv, environment, |shell, script| {
                if let [first, second, ..] = &mut words[..] {
                    (*first, *second) = (Some(shell), Some(script));
                }
                if let Some(words) = List::new(words) {
                    execute(shell, words, environment);
                }
            });
        self.fail(Step::Execute, errno)
    }

    fn fail(&self, step: Step, errno: i32) -> ! {
        fail(self.status, step, errno)
    }
}

/// Executes the first of these programs that exists, and returns the errno if none can be executed. `run_script`
/// executes a shell (its first argument) on a file (its second).
pub(super) fn execute_first<'a>(
    candidates: impl Iterator<Item = Text<'a>>,
    argv: List<'_>,
    environment: List<'_>,
    run_script: impl FnOnce(Text<'a>, Text<'a>),
) -> i32 {
    let mut last = libc::ENOENT;
    let mut denied = false;
    for candidate in candidates {
        last = execute(candidate, argv, environment);
        if last == libc::ENOEXEC {
            if is_script(candidate) {
                run_script(c"/bin/sh".into(), candidate);
            }
            // Without a shell the errno is still that of the format.
            break;
        }
        // Like execvp(3): go on with the next directory, but remember that a file was there.
        denied |= last == libc::EACCES;
        if last != libc::EACCES && !is_absent(last) {
            break;
        }
    }
    if denied && (last == libc::ENOENT || last == libc::ENOTDIR) {
        last = libc::EACCES;
    }
    last
}

/// Whether this errno says that there is no such file, at least for now.
fn is_absent(errno: i32) -> bool {
    errno == libc::ENOENT
        || errno == libc::ENOTDIR
        || errno == libc::ENODEV
        || errno == libc::ESTALE
        || errno == libc::ETIMEDOUT
}

/// Writes to the exec status why no program runs, and ends the child.
pub(super) fn fail(status: RawFd, step: Step, errno: i32) -> ! {
    let words = [step as i32, errno];
    // SAFETY: the buffer is live and its length is what is passed on.
    let _ = unsafe { raw::call(libc::SYS_write, [status as usize, words.as_ptr() as usize, 8]) };
    loop {
        // SAFETY: a plain number. The call never returns.
        let _ = unsafe { raw::call(libc::SYS_exit_group, [NOT_EXECUTED]) };
    }
}

/// Raw system calls: the C library's functions would tell its other threads.
fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), i32> {
    let (user, group) = (uid as usize, gid as usize);
    // SAFETY: the list is live and its length is what is passed on.
    let changed = unsafe {
        raw::call(libc::SYS_setgroups, [groups.len(), groups.as_ptr() as usize])
            .and_then(|_| raw::call(libc::SYS_setresgid, [group, group, group]))
            .and_then(|_| raw::call(libc::SYS_setresuid, [user, user, user]))
    };
    // A process without the right to change may already be that user (runAsUser of Kubernetes). Its groups were chosen
    // by what started it.
    // SAFETY: neither call takes anything, and neither can fail.
    let already = unsafe { libc::geteuid() == uid && libc::getegid() == gid };
    if already { Ok(()) } else { changed.map(|_| ()) }
}

fn duplicate(fd: RawFd, number: RawFd) -> Result<(), i32> {
    // (aarch64 has no dup2.)
    let done = if fd == number {
        // dup3(2) refuses equal numbers, and the close-on-exec flag has to go.
        // SAFETY: F_SETFD takes a number.
        unsafe { control(fd, libc::F_SETFD, 0) }
    } else {
        // SAFETY: plain numbers. The child does not need the descriptor that had this number.
        unsafe { raw::call(libc::SYS_dup3, [fd as usize, number as usize, 0]) }
    };
    done.map(|_| ())
}

/// fcntl(2)
///
/// # Safety
/// The request must take a number.
unsafe fn control(fd: RawFd, request: i32, argument: RawFd) -> Result<usize, i32> {
    // SAFETY: the caller promises that the request takes a number.
    unsafe { raw::call(libc::SYS_fcntl, [fd as usize, request as usize, argument as usize]) }
}

/// execve(2). Returns its errno.
pub(super) fn execute(path: Text<'_>, argv: List<'_>, environment: List<'_>) -> i32 {
    let arguments = [path.address(), argv.address(), environment.address()];
    // SAFETY: a terminated path, and two lists of terminated strings that end with a null pointer.
    unsafe { raw::call(libc::SYS_execve, arguments) }.err().unwrap_or(0)
}

/// Whether a file whose format execve does not know can be meant for a shell. A program for another machine cannot: a
/// shell would run it as nonsense.
fn is_script(path: Text<'_>) -> bool {
    // (Not filled or searched as slices are, because memset(3) and memcmp(3) cannot be called yet in an early start.)
    let mut head = MaybeUninit::<[u8; 128]>::uninit();
    let head: *mut u8 = head.as_mut_ptr().cast();
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let place = [libc::AT_FDCWD as usize, path.address(), flags as usize];
    // SAFETY: the path is terminated, the buffer is live and its size is passed on.
    let length = unsafe {
        raw::call(libc::SYS_openat, place)
            .and_then(|fd| raw::call(libc::SYS_read, [fd, head as usize, 128]))
    };
    // A file that may be executed but not read counts as a script, so that the shell reports what is wrong.
    let length = length.unwrap_or(0);
    // SAFETY: only bytes that were read are looked at.
    let byte = |at: usize| unsafe { ptr::read_volatile(head.add(at)) };
    let is_elf =
        length >= 4 && byte(0) == 0x7f && byte(1) == b'E' && byte(2) == b'L' && byte(3) == b'F';
    let is_text = (0..length).fold(true, |text, at| text & (byte(at) != 0));
    is_text && !is_elf
}
