//! A child between its start and execve. Nothing is allocated or freed here, and no errno is used: the child
//! may have a copy of this process, or be a guest in its memory while the loop goes on.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::spawn::{Program, Setup, Signals, Step};
use crate::sys::signals::{self, Disposition, Mask};
use crate::sys::{fd, process, raw};
use crate::types::Signal;

/// A terminated string.
pub(super) type Text = *const libc::c_char;

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
    candidates: Vec<Text>,
    argv: Vec<Text>,
    /// For a file that execve does not know the format of, execvp(3) runs a shell on it.
    script: Vec<Text>,
    /// `None`: as it was given.
    environment: Option<Vec<Text>>,
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
        let script = [ptr::null()].into_iter().chain(argv.iter().copied()).collect();
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

fn pointers(words: &[CString]) -> Vec<Text> {
    words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
}

fn environment(variables: &[CString], without: &[&str], numbers: &[Variable]) -> Option<Vec<Text>> {
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
    let mut list: Vec<Text> = process::environment()
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
    original: Text,
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
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && is_recent(process::kernel())
}

/// Whether a kernel of this version does.
pub(super) fn is_recent(version: (u32, u32)) -> bool {
    version >= (5, 16)
}

/// The top of that stack, with so much room above it (a multiple of 16); `None` if it was taken before.
pub(super) fn take_stack(room: usize) -> Option<*mut u8> {
    // SAFETY: far less than there is.
    let top = unsafe { CHILD_STACK.0.get().cast::<u8>().add(STACK - room) };
    (!IS_TAKEN.swap(true, Relaxed)).then_some(top)
}

/// Nobody came to use it.
pub(super) fn return_stack() {
    IS_TAKEN.store(false, Relaxed);
}

/// Starts a child as vfork(2) does, but goes on beside it: execve may take for ever on a file system that hangs,
/// and a stop must not. Where the kernel refuses, and the second time, the orders come back.
pub(super) fn share(orders: &'static mut Orders) -> Result<i32, &'static mut Orders> {
    extern "C" fn guest(orders: *mut c_void) -> ! {
        // SAFETY: the one reference to them was handed over.
        unsafe { (*orders.cast::<Orders>()).execute() }
    }
    let Some(top) = take_stack(0) else { return Err(orders) };
    let orders = ptr::from_mut(orders);
    // SAFETY: the stack is the child's alone, since nobody comes here twice; what it reads is never freed. It makes
    // raw system calls only, so the C library's state (errno, locks) is left alone.
    match unsafe { raw::clone(top, guest, orders.cast()) } {
        Ok(pid) => Ok(pid as i32),
        // SAFETY: without a child the one reference is ours again.
        Err(_) => Err(unsafe { &mut *orders }),
    }
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
        let (argv, words) = (self.argv.as_ptr(), &mut self.script);
        let errno = become_one_of(&self.candidates, argv, environment, |shell, script| {
            (words[0], words[1]) = (shell, script);
            become_program(shell, words.as_ptr(), environment);
        });
        self.fail(Step::Execute, errno)
    }

    fn fail(&self, step: Step, errno: i32) -> ! {
        fail(self.report, step, errno)
    }
}

/// Becomes the first of these programs that is there. `run_script`: a shell (the first) on the file (the second).
/// Why that could not be.
pub(super) fn become_one_of(
    candidates: &[Text],
    argv: *const Text,
    environment: *const Text,
    run_script: impl FnOnce(Text, Text),
) -> i32 {
    let mut last = libc::ENOENT;
    let mut denied = false;
    for candidate in candidates {
        last = become_program(*candidate, argv, environment);
        if last == libc::ENOEXEC {
            if is_script(*candidate) {
                run_script(c"/bin/sh".as_ptr(), *candidate);
            }
            // Where there is no shell either, the format is what is wrong.
            break;
        }
        // The same as execvp(3): look further, but remember that something was there.
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

/// Whether this says that there is no such file, at least for now.
fn is_absent(errno: i32) -> bool {
    errno == libc::ENOENT
        || errno == libc::ENOTDIR
        || errno == libc::ENODEV
        || errno == libc::ESTALE
        || errno == libc::ETIMEDOUT
}

/// Says why no program runs, and ends.
pub(super) fn fail(report: RawFd, step: Step, errno: i32) -> ! {
    let words = [step as i32, errno];
    let code = usize::from(crate::exit::Codes::GRACEINIT.not_found);
    // SAFETY: the buffer is live and its length is what is passed on.
    let _ = unsafe { raw::call(libc::SYS_write, [report as usize, words.as_ptr() as usize, 8]) };
    loop {
        // SAFETY: a plain number. It never returns.
        let _ = unsafe { raw::call(libc::SYS_exit_group, [code]) };
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
pub(super) fn become_program(path: Text, argv: *const Text, environment: *const Text) -> i32 {
    // SAFETY: the path is terminated; both lists hold terminated strings and end with a null
    // pointer; all of them live.
    unsafe { raw::call(libc::SYS_execve, [path as usize, argv as usize, environment as usize]) }
        .err()
        .unwrap_or(0)
}

/// Whether a file that execve does not know the format of can be meant for a shell. A program for
/// another machine is not: a shell would make nonsense of it.
fn is_script(path: Text) -> bool {
    // (Neither filled nor searched as slices are: see `early`, which has no memset(3) and no memcmp(3).)
    let mut head = MaybeUninit::<[u8; 128]>::uninit();
    let head: *mut u8 = head.as_mut_ptr().cast();
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the path is terminated, the buffer is live and its size is passed on; what is looked at was read.
    unsafe {
        let length =
            raw::call(libc::SYS_openat, [libc::AT_FDCWD as usize, path as usize, flags as usize])
                .and_then(|fd| raw::call(libc::SYS_read, [fd, head as usize, 128]));
        // One that may be executed but not read is left to the shell to judge.
        let length = length.unwrap_or(0);
        let byte = |at: usize| ptr::read_volatile(head.add(at));
        let is_elf =
            length >= 4 && byte(0) == 0x7f && byte(1) == b'E' && byte(2) == b'L' && byte(3) == b'F';
        let mut is_text = true;
        for at in 0..length {
            is_text &= byte(at) != 0;
        }
        is_text && !is_elf
    }
}
