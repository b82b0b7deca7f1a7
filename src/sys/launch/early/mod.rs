//! The early start: the app is started before the C library.
//!
//! When the C library starts, it asks the processor what it can do (CPUID). On a virtual machine the hypervisor
//! answers each question, and all of them together take longer than the rest of a launch. So the entry point starts
//! the app first, where nothing has to be read before: no option, no variable that concerns graceinit, no terminal.
//! What remains is done while the app starts. If anything is out of the ordinary, nothing is changed, and the app is
//! started later.
//!
//! Nothing in this folder may use the C library: the addresses of its memory functions are not filled in yet (IRELATIVE
//! relocations), and errno has no place. So strings are read and written byte by byte and volatile, or the compiler
//! would make calls of strlen(3) and memcpy(3) of the loops; and there are no tables of pointers, which a
//! position-independent program has not relocated yet. A test follows each instruction of the release build that can be
//! reached from [`begin`] (`tests/first.rs`).

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use super::EarlyApp;
use super::child;
use super::spawn::{Child, Step};
use super::text::{List, Text};
use crate::sys::signals::Source;
use crate::sys::{process, raw};
use crate::types::{Pid, Signal};

mod command;

#[cfg(test)]
pub(crate) use command::would_start;
use command::{Command, WORDS};

/// With more places to look for the app, or longer ones, the app is started later.
const PATHS: usize = 24;
const LETTERS: usize = 1024;

static PID: AtomicI32 = AtomicI32::new(0);
static STATUS: AtomicI32 = AtomicI32::new(0);
static SIGNALS: AtomicI32 = AtomicI32::new(0);

/// The app that [`begin`] has started, if it has; the first call gets it. Then graceinit is PID 1 or a subreaper, stdio
/// is open, there is no terminal, and SIGCHLD was not ignored.
pub fn take() -> Option<EarlyApp> {
    let pid = PID.swap(0, Relaxed);
    // SAFETY: `begin` has opened both descriptors. The pid was swapped, so they are taken once.
    let own = |number: &AtomicI32| unsafe { OwnedFd::from_raw_fd(number.load(Relaxed)) };
    (pid > 0).then(|| EarlyApp {
        child: Child::sharing_memory(Pid(pid), own(&STATUS)),
        source: Source::from(own(&SIGNALS)),
    })
}

/// Starts the app if that is possible. Called by the first instructions of the program, with all signals blocked;
/// `mask` is the mask before that.
///
/// # Safety
/// `stack` is what the kernel has put on the stack of a new program: the number of words, the words, the environment
/// and the auxiliary vector (`create_elf_tables` in fs/binfmt_elf.c).
pub unsafe extern "C" fn begin(stack: *const usize, mask: u64) {
    // SAFETY: the caller promises that this is the kernel's stack. It stays where it is for as long as the program
    // runs.
    if let Some(command) = unsafe { Command::read(stack) } {
        start(&command, mask);
    }
}

/// What the child reads.
struct Orders {
    mask: u64,
    /// The end of the exec status that the child writes to.
    status: RawFd,
    argv: List<'static>,
    environment: List<'static>,
    /// Where the app may lie. Those behind the last one are `None`.
    paths: [Option<Text<'static>>; PATHS],
}

/// What lies above the child's stack.
#[repr(align(16))]
struct Room {
    orders: Orders,
    letters: [u8; LETTERS],
}

fn start(command: &Command<'static>, mask: u64) {
    if !is_ordinary() {
        return;
    }
    let Some(top) = child::take_stack(size_of::<Room>()) else { return };
    // SAFETY: the stack was taken, so the room belongs to this function alone. It is aligned as the size of the room
    // is, and nothing has been written to it, so it is all zeroes: numbers, null pointers and `None`.
    let Room { orders, letters } = unsafe { &mut *top.cast::<Room>() };
    let Some((signals, status, line)) = open() else { return child::return_stack() };
    (orders.mask, orders.status) = (mask, line);
    (orders.argv, orders.environment) = (command.argv, command.environment);
    let pid = match command.find(&mut orders.paths, letters) {
        // SAFETY: nothing else uses the stack below `top`. The child alone uses the orders from now on; it makes raw
        // system calls only, and the orders are neither changed nor freed.
        Some(()) => unsafe { raw::clone(top, run, ptr::from_mut(orders).cast()) },
        None => Err(libc::ENAMETOOLONG),
    };
    close(line);
    let Ok(pid) = pid else {
        close(signals);
        close(status);
        return child::return_stack();
    };
    // From both sides, as in `spawn::start`.
    // SAFETY: plain numbers.
    let _ = unsafe { raw::call(libc::SYS_setpgid, [pid, pid]) };
    give_way(signals);
    STATUS.store(status, Relaxed);
    SIGNALS.store(signals, Relaxed);
    PID.store(pid as i32, Relaxed);
}

/// Writes so that the compiler does not make a call of memcpy(3) or memset(3) of a loop.
fn put<T: Copy>(place: &mut T, value: T) {
    // SAFETY: a reference can be written to.
    unsafe { ptr::write_volatile(place, value) };
}

fn close(fd: RawFd) {
    // SAFETY: a plain number. The callers own the descriptor and do not use it any more.
    let _ = unsafe { raw::call(libc::SYS_close, [fd as usize]) };
}

/// Whether stdio is open, memory is not limited, there is no terminal, SIGCHLD is not ignored, and the kernel lets a
/// child share memory without harm. Then orphans become children of this process.
///
/// With too little memory this program cannot start. It has to find that out before the app runs, which would be left
/// without an init.
fn is_ordinary() -> bool {
    (0..3).all(is_open)
        && is_unlimited(libc::RLIMIT_DATA)
        && is_unlimited(libc::RLIMIT_AS)
        && !has_terminal()
        && !is_child_signal_ignored()
        && child::is_recent(process::kernel())
        && adopts_orphans()
}

fn is_open(number: usize) -> bool {
    // SAFETY: F_GETFD takes a number.
    unsafe { raw::call(libc::SYS_fcntl, [number, libc::F_GETFD as usize]) }.is_ok()
}

fn is_unlimited(resource: libc::__rlimit_resource_t) -> bool {
    // The kernel's struct rlimit64: the soft and the hard limit. Its infinity has 64 bits everywhere.
    let mut limit = MaybeUninit::<[u64; 2]>::uninit();
    let arguments = [0, resource as usize, 0, limit.as_mut_ptr() as usize];
    // SAFETY: there is room for the kernel's structure; no new limit is given.
    let known = unsafe { raw::call(libc::SYS_prlimit64, arguments) }.is_ok();
    // SAFETY: the kernel has filled the structure in.
    known && unsafe { *limit.as_ptr().cast::<u64>() } == u64::MAX
}

/// Also true where that cannot be found out.
fn has_terminal() -> bool {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let path = Text::from(c"/dev/tty").address();
    // SAFETY: the path is terminated.
    match unsafe { raw::call(libc::SYS_openat, [libc::AT_FDCWD as usize, path, flags as usize]) } {
        Ok(fd) => {
            close(fd as RawFd);
            true
        }
        // There is none (tty_open_current_tty in drivers/tty/tty_io.c).
        Err(errno) => errno != libc::ENXIO,
    }
}

/// Also true where that cannot be found out.
fn is_child_signal_ignored() -> bool {
    // The kernel's struct sigaction (see `signals::reset_dispositions`).
    let mut action = MaybeUninit::<[u64; 4]>::uninit();
    let arguments = [Signal::CHLD.number() as usize, 0, action.as_mut_ptr() as usize, 8];
    // SAFETY: there is room for the kernel's structure, and the size of a mask is 8.
    let known = unsafe { raw::call(libc::SYS_rt_sigaction, arguments) }.is_ok();
    // The handler is the first field. execve(2) has reset it to SIG_DFL unless it was SIG_IGN.
    // SAFETY: the kernel has filled the structure in.
    !known || unsafe { *action.as_ptr().cast::<usize>() } != libc::SIG_DFL
}

fn adopts_orphans() -> bool {
    let subreaper = [libc::PR_SET_CHILD_SUBREAPER as usize, 1, 0, 0];
    // SAFETY: plain numbers.
    unsafe {
        raw::call(libc::SYS_getpid, []) == Ok(1) || raw::call(libc::SYS_prctl, subreaper).is_ok()
    }
}

/// A signalfd for all signals, and both ends of the exec status.
fn open() -> Option<(RawFd, RawFd, RawFd)> {
    let all = u64::MAX;
    let flags = (libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) as usize;
    // SAFETY: the mask is live and its size is 8; -1 asks for a new descriptor.
    let signals =
        unsafe { raw::call(libc::SYS_signalfd4, [usize::MAX, &raw const all as usize, 8, flags]) };
    let signals = signals.ok()? as RawFd;
    let mut ends = [0 as RawFd; 2];
    let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK) as usize;
    // SAFETY: there is room for two numbers.
    if unsafe { raw::call(libc::SYS_pipe2, [ends.as_mut_ptr() as usize, flags]) }.is_err() {
        close(signals);
        return None;
    }
    let [read, write] = ends;
    Some((signals, read, write))
}

/// Leaves the processor to the app for a millisecond, unless a signal comes (the end of the app is one). A new child
/// waits in the queue of its parent's processor: with one processor all that graceinit still has to do would come
/// before the app's first instruction.
fn give_way(signals: RawFd) {
    let news = libc::pollfd { fd: signals, events: libc::POLLIN, revents: 0 };
    let limit = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    // SAFETY: one live pollfd and a live time; a null mask leaves the mask as it is.
    let _ = unsafe {
        raw::call(libc::SYS_ppoll, [&raw const news as usize, 1, &raw const limit as usize, 0])
    };
}

// ---- in the child ----------------------------------------------------------------------------------

/// The child, on a stack of its own in this process's memory.
extern "C" fn run(orders: *mut c_void) -> ! {
    // SAFETY: the argument is the orders, which are neither changed nor freed while there is a child.
    let orders = unsafe { &*orders.cast::<Orders>() };
    // SAFETY: plain numbers.
    let _ = unsafe { raw::call(libc::SYS_setpgid, [0, 0]) };
    let mask = &raw const orders.mask as usize;
    // SAFETY: the mask is live and its size is 8.
    let _ =
        unsafe { raw::call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, mask, 0, 8]) };
    let paths = orders.paths.iter().map_while(|path| *path);
    let errno = child::execute_first(paths, orders.argv, orders.environment, |shell, script| {
        let _ = run_script(shell, script, orders);
    });
    child::fail(orders.status, Step::Execute, errno)
}

/// Executes a shell, for a file whose format execve does not know. `None` if the words do not fit.
#[cold]
#[inline(never)]
fn run_script(shell: Text<'static>, script: Text<'static>, orders: &Orders) -> Option<()> {
    let mut words = [const { MaybeUninit::<Option<Text<'static>>>::uninit() }; WORDS + 2];
    let mut places = words.iter_mut();
    let mut write = |word| {
        put(places.next()?, MaybeUninit::new(word));
        Some(())
    };
    write(Some(shell))?;
    write(Some(script))?;
    let (_, mut rest) = orders.argv.split_first()?;
    while let Some((word, after)) = rest.split_first() {
        write(Some(word))?;
        rest = after;
    }
    write(None)?;
    // SAFETY: all pointers up to the null pointer were written; the strings are there for as long as the program runs.
    let words = unsafe { List::from_raw(words.as_ptr().cast()) };
    child::execute(shell, words, orders.environment);
    Some(())
}
