//! Signals: blocked by the first instructions, read from one signalfd, sent by number.
//!
//! Masks are set with raw system calls: glibc removes 32 and 33 from every mask (it uses them for threads), but they
//! have to be forwarded like all other signals.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::{fd, poll, process};
use crate::types::{Pid, Signal, SignalSet, Time};

/// The kernel's sigset_t: bit n-1 for signal n.
const MASK_BYTES: usize = 8;
/// How many signals one read takes. More would need another page of the stack.
const BATCH: usize = 8;
/// How many reads a round of the loop does.
const READS: usize = 16;

/// A signal mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask(pub u64);

impl Mask {
    /// All 64 signals.
    pub const ALL: Mask = Mask(u64::MAX);

    /// No signal.
    pub const NONE: Mask = Mask(0);

    /// This mask without `signal`.
    pub fn without(self, signal: Signal) -> Mask {
        Mask(self.0 & !(1 << (signal.number() - 1)))
    }
}

/// Sets the mask of the calling thread and returns the previous one. Async-signal-safe.
pub fn set_mask(mask: Mask) -> Mask {
    // With a valid `how` and size the call cannot fail, unless a security profile refuses it. Then the mask is what it
    // was: with another one as the "previous" mask, signals would be unblocked by those who set it again, and lost.
    let mut old = blocked().0;
    // SAFETY: both pointers are to live sets of 8 bytes, which is the size that is passed on.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask.0,
            &raw mut old,
            MASK_BYTES,
        );
    }
    Mask(old)
}

/// A received signal, as signalfd(2) describes it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming {
    /// The signal.
    pub signal: Signal,
    /// The sender; for SIGCHLD, the child.
    pub pid: Pid,
    /// A process sent the signal, not the kernel.
    pub by_process: bool,
    /// The value of sigqueue(3).
    pub value: Option<usize>,
    /// For SIGCHLD: SIGKILL has ended the child.
    pub killed: bool,
}

/// The signalfd that all signals are read from.
#[derive(Debug)]
pub struct Source(OwnedFd);

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Source {
    /// Takes a signalfd that was opened by the early start.
    fn from(fd: OwnedFd) -> Source {
        Source(fd)
    }
}

impl Source {
    /// Opens a signalfd for every signal. The signals must be blocked already.
    ///
    /// # Errors
    /// Those of signalfd(2): no descriptor or memory left.
    pub fn open() -> io::Result<Source> {
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        let all = Mask::ALL;
        // SAFETY: the pointer is to a live set of 8 bytes; -1 asks for a new descriptor.
        let fd = unsafe {
            let set = &raw const all.0;
            fd::created(libc::syscall(libc::SYS_signalfd4, -1, set, MASK_BYTES, flags))
        };
        fd.map(Source)
    }

    /// Waits for the next signal, or until `until`: one system call instead of poll(2) and read(2), if there is no
    /// descriptor to wait for. `None`: a handler ran, or `until` is reached.
    ///
    /// # Errors
    /// The call is refused, and nothing was waited for.
    pub fn wait(&self, until: Option<Time>, now: Time) -> io::Result<Option<Incoming>> {
        let limit = until.map(|until| poll::left(until, now));
        let taken = take_one(limit.as_ref().map_or(ptr::null(), ptr::from_ref));
        taken.or_else(|error| match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(None),
            _ => Err(error),
        })
    }

    /// Appends the pending signals where read(2) is refused. False: this is refused as well.
    #[cold]
    fn take_each(&self, into: &mut Vec<Incoming>) -> bool {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        for _ in 0..READS * BATCH {
            match take_one(&raw const at_once) {
                Ok(incoming) => into.extend(incoming),
                Err(error) => return error.raw_os_error() == Some(libc::EAGAIN),
            }
        }
        true
    }

    /// Appends the pending signals in the order of the kernel: the lowest number first, real-time signals of one
    /// number in the order in which they were sent. The number of reads is limited, so that a flood of signals cannot
    /// keep the loop from its other work. `readable`: the last wait has shown that there is
    /// a signal. False: signals cannot be read, because the calls for that are refused.
    pub fn read(&self, into: &mut Vec<Incoming>, readable: bool) -> bool {
        // Not filled with zeroes, which would take as long as all the rest.
        let mut batch: [MaybeUninit<libc::signalfd_siginfo>; BATCH] =
            [const { MaybeUninit::uninit() }; BATCH];
        let one = size_of::<libc::signalfd_siginfo>();
        for _ in 0..READS {
            // SAFETY: the buffer is live and its size is what is passed on.
            let bytes =
                unsafe { libc::read(self.0.as_raw_fd(), batch.as_mut_ptr().cast(), one * BATCH) };
            if bytes < 0 {
                let errno = io::Error::last_os_error().raw_os_error();
                // A signal that was there has to come, whatever the error says.
                let is_missing = readable && into.is_empty();
                let is_empty = [Some(libc::EAGAIN), Some(libc::EINTR)].contains(&errno);
                // Where nothing can be waited for, every descriptor counts as ready: it may well be empty.
                let is_read = (is_empty && !is_missing) || self.take_each(into);
                return is_read || is_empty;
            }
            let count = usize::try_from(bytes).unwrap_or(0) / one;
            into.extend(batch[..count].iter().filter_map(|info| {
                // SAFETY: the kernel has filled in the first `count` structures (signalfd(2)).
                incoming(unsafe { info.assume_init_ref() })
            }));
            if count < BATCH {
                return true;
            }
        }
        true
    }
}

/// Waits up to `limit` (null: for ever) for one signal. `None`: one that is no signal of this program.
fn take_one(limit: *const libc::timespec) -> io::Result<Option<Incoming>> {
    // Not for SIGALRM once it is unblocked: its handler would not run for a signal that is waited for.
    let mask = blocked();
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    // SAFETY: live values of the sizes that the kernel expects; the callers pass a time that is null or live. The
    // siginfo_t is read only if the kernel has filled it in (sigwaitinfo(2)).
    unsafe {
        let (set, into) = (&raw const mask.0, info.as_mut_ptr());
        let number = libc::syscall(libc::SYS_rt_sigtimedwait, set, into, limit, MASK_BYTES);
        if number <= 0 {
            return Err(io::Error::last_os_error());
        }
        let info = info.assume_init_ref();
        let by_queue = info.si_code == libc::SI_QUEUE;
        Ok(Signal::new(number as i32).map(|signal| Incoming {
            signal,
            pid: Pid(info.si_pid()),
            by_process: is_by_process(info.si_code),
            value: by_queue.then(|| info.si_value().sival_ptr as usize),
            killed: info.si_code == libc::CLD_KILLED && info.si_status() == libc::SIGKILL,
        }))
    }
}

fn incoming(info: &libc::signalfd_siginfo) -> Option<Incoming> {
    Some(Incoming {
        signal: Signal::new(info.ssi_signo as i32)?,
        pid: Pid(info.ssi_pid as i32),
        by_process: is_by_process(info.ssi_code),
        value: (info.ssi_code == libc::SI_QUEUE).then_some(info.ssi_ptr as usize),
        killed: info.ssi_code == libc::CLD_KILLED && info.ssi_status == libc::SIGKILL,
    })
}

/// Whether a process has sent the signal, by the code of its siginfo.
pub(super) fn is_by_process(code: i32) -> bool {
    [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL].contains(&code)
}

/// The signals that are pending. Async-signal-safe.
pub(super) fn pending() -> Mask {
    let mut set = 0u64;
    // SAFETY: the pointer is to a live set of 8 bytes, which is the size that is passed on.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set, MASK_BYTES) };
    Mask(set)
}

/// Whether one of these signals is pending.
pub fn is_any_pending(signals: SignalSet) -> bool {
    pending().0 & signals.bits() != 0
}

/// Waits for SIGCHLD until `until`, and takes it. Async-signal-safe.
pub(super) fn wait_for_child(until: Time, now: Time) {
    let (set, limit) = (1u64 << (Signal::CHLD.number() - 1), poll::left(until, now));
    let (call, none) = (libc::SYS_rt_sigtimedwait, ptr::null_mut::<libc::siginfo_t>());
    // SAFETY: live values of the sizes that the kernel expects; no information is asked for.
    unsafe { libc::syscall(call, &raw const set, none, &raw const limit, MASK_BYTES) };
}

/// Sends a signal to a process.
///
/// # Errors
/// Those of kill(2): ESRCH, EPERM.
pub fn send(pid: Pid, signal: Signal) -> io::Result<()> {
    kill(pid.0, signal)
}

/// Sends a signal to a process group.
///
/// # Errors
/// Those of kill(2): ESRCH (no such group, or only zombies in it), EPERM.
pub fn send_group(group: Pid, signal: Signal) -> io::Result<()> {
    kill(-group.0, signal)
}

/// Whether a process has this pid, zombies included.
pub fn exists(pid: Pid) -> bool {
    is_there(pid.0)
}

/// Whether this process may signal `pid`. True if there is no such process.
pub fn may_signal(pid: Pid) -> bool {
    // Signal 0 only checks.
    // SAFETY: plain numbers.
    let result = unsafe { libc::kill(pid.0, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EPERM)
}

/// Whether a process is in this process group, zombies included.
pub fn group_exists(group: Pid) -> bool {
    is_there(-group.0)
}

fn is_there(target: i32) -> bool {
    // Signal 0 only checks. EPERM says that the process exists.
    // SAFETY: plain numbers.
    let result = unsafe { libc::kill(target, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Sends a signal to every process of this pid namespace except the caller. Only for PID 1. Async-signal-safe.
///
/// # Errors
/// Those of kill(2): ESRCH if there is no other process.
pub fn send_all(signal: Signal) -> io::Result<()> {
    kill(-1, signal)
}

fn kill(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::kill(target, signal.number()) })
}

/// Sends a signal with a value, as sigqueue(3) does.
///
/// # Errors
/// Those of sigqueue(3); EAGAIN when the queue of the receiver's user is full.
pub fn queue(pid: Pid, signal: Signal, value: usize) -> io::Result<()> {
    let value = libc::sigval { sival_ptr: value as *mut libc::c_void };
    // SAFETY: plain numbers; the kernel passes the pointer on as a value.
    check(unsafe { libc::sigqueue(pid.0, signal.number(), value) })
}

/// The result of a call that returns 0 or sets errno.
pub(super) fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets all dispositions to the default, also those of 32 and 33, which the C library refuses to change.
/// Async-signal-safe.
pub fn reset_dispositions() {
    // The kernel's struct sigaction is at most 32 bytes; all zeroes is SIG_DFL with an empty mask.
    let default = [0u64; 4];
    for number in 1..=64 {
        // The kernel refuses SIGKILL and SIGSTOP, which always have the default.
        // SAFETY: the pointer is to a live structure.
        unsafe {
            let none = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), none, MASK_BYTES)
        };
    }
}

/// Lets signals act on this process as on any other program: for a tool, which starts no app. `mask` is the mask that the
/// program was started with.
pub fn hear(mask: Mask) {
    if process::is_first() {
        // The kernel drops a signal for PID 1 that has the default action (sig_task_ignored in kernel/signal.c).
        for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
            // SAFETY: sigaction is plain numbers and a set; all zeroes is a value of it.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            let handler: extern "C" fn(i32) = leave;
            action.sa_sigaction = handler as libc::sighandler_t;
            // SAFETY: the pointer is to a live value. The handler is async-signal-safe: it only exits.
            unsafe { libc::sigaction(signal.number(), &raw const action, ptr::null_mut()) };
        }
    }
    set_mask(mask);
}

/// Exits with the code that a shell shows for a death by this signal.
extern "C" fn leave(signal: i32) {
    process::exit(u8::try_from(128 + signal).unwrap_or(u8::MAX));
}

/// A disposition that execve(2) keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// SIG_DFL, or a handler, which execve resets to SIG_DFL.
    Default,
    /// SIG_IGN
    Ignore,
}

/// Sets the disposition of a signal and returns the previous one. Async-signal-safe.
pub fn set_disposition(signal: Signal, to: Disposition) -> Disposition {
    // SAFETY: sigaction is plain numbers and a set; all zeroes is SIG_DFL with an empty mask.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: all zeroes is a value of sigaction, as said above.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = match to {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
    };
    // SAFETY: both pointers are to live structures.
    unsafe { libc::sigaction(signal.number(), &raw const new, &raw mut old) };
    if old.sa_sigaction == libc::SIG_IGN { Disposition::Ignore } else { Disposition::Default }
}
/// SIGALRM is unblocked: the dead-man timer has a handler for it.
static ALARM_UNBLOCKED: AtomicBool = AtomicBool::new(false);

/// The mask of graceinit: all signals, but SIGALRM only until the dead-man timer is first armed.
fn blocked() -> Mask {
    if ALARM_UNBLOCKED.load(SeqCst) { Mask::ALL.without(Signal::ALRM) } else { Mask::ALL }
}

/// Unblocks SIGALRM from now on.
pub fn unblock_alarm() {
    if !ALARM_UNBLOCKED.swap(true, SeqCst) {
        set_mask(blocked());
    }
}
