//! Signals: blocked in the first instruction, read from one signalfd, sent by number.
//!
//! Raw system calls where the C library would interfere: glibc takes 32 and 33 out of every mask
//! (its own thread signals), and they have to be forwarded like all others.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::poll;
use crate::types::{Pid, Signal, Time};

/// The kernel's sigset_t: bit n-1 for signal n.
const MASK_BYTES: usize = 8;
/// How many signals one read takes: as many as cost the stack no page of its own.
const BATCH: usize = 8;
/// How many reads there are in a round of the loop.
const READS: usize = 16;

/// A signal mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask(pub u64);

impl Mask {
    /// All 64.
    pub const ALL: Mask = Mask(u64::MAX);

    /// None.
    pub const NONE: Mask = Mask(0);

    /// Without `signal`.
    pub fn without(self, signal: Signal) -> Mask {
        Mask(self.0 & !(1 << (signal.number() - 1)))
    }
}

/// Sets the mask of the calling thread and returns the one before. Async-signal-safe.
pub fn set_mask(mask: Mask) -> Mask {
    let mut old = 0u64;
    // SAFETY: both pointers are to live 8-byte sets, which is the size that is passed on. With a
    // valid `how` and size the call cannot fail.
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

/// A signal as signalfd(2) tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming {
    /// Which.
    pub signal: Signal,
    /// The process that it is about: its sender, or the child of a SIGCHLD.
    pub pid: Pid,
    /// A process sent it, not the kernel.
    pub by_process: bool,
    /// The value given to sigqueue(3).
    pub value: Option<usize>,
}

/// The one source of signals.
#[derive(Debug)]
pub struct Source(OwnedFd);

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Source {
    /// One that was opened before.
    fn from(fd: OwnedFd) -> Source {
        Source(fd)
    }
}

impl Source {
    /// A signalfd for every signal. They must be blocked already.
    ///
    /// # Errors
    /// Those of signalfd(2): no descriptor or memory left.
    pub fn open() -> io::Result<Source> {
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        let all = Mask::ALL;
        // SAFETY: the mask pointer is to a live 8-byte set; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const all.0, MASK_BYTES, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(Source(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Waits for the next signal, or until `until`, as long as nothing else is waited for: one system call, where poll(2)
    /// and a read are two. `None`: a handler ran, or it is time.
    pub fn wait(&self, until: Option<Time>, now: Time) -> Option<Incoming> {
        let limit = until.map(|until| poll::left(until, now));
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // A handler has to run, where there is one (the dead-man's), and would not for a signal that is waited for.
        let mask = super::deadman::blocked();
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        // SAFETY: live values of the sizes that the kernel expects; the time is null or live. What is filled is looked at
        // only after the kernel has filled it (sigwaitinfo(2)).
        unsafe {
            let (set, into) = (&raw const mask.0, info.as_mut_ptr());
            let call = libc::SYS_rt_sigtimedwait;
            let number = libc::syscall(call, set, into, limit, MASK_BYTES);
            if number <= 0 {
                return None;
            }
            let info = info.assume_init_ref();
            let by_queue = info.si_code == libc::SI_QUEUE;
            Some(Incoming {
                signal: Signal::new(number as i32)?,
                pid: Pid(info.si_pid()),
                by_process: is_by_process(info.si_code),
                value: by_queue.then(|| info.si_value().sival_ptr as usize),
            })
        }
    }

    /// Appends what is pending, in the order of the kernel: lowest number first, real-time signals
    /// of one number in the order they were sent. Takes at most some batches, so that a flood
    /// cannot keep the loop from its other work.
    pub fn read(&self, into: &mut Vec<Incoming>) {
        // Written by the kernel; to fill it with zeroes first would cost as much as all the rest.
        let mut batch: [MaybeUninit<libc::signalfd_siginfo>; BATCH] =
            [const { MaybeUninit::uninit() }; BATCH];
        let one = size_of::<libc::signalfd_siginfo>();
        for _ in 0..READS {
            // SAFETY: the buffer is live and its size is what is passed on.
            let bytes =
                unsafe { libc::read(self.0.as_raw_fd(), batch.as_mut_ptr().cast(), one * BATCH) };
            let count = usize::try_from(bytes).unwrap_or(0) / one;
            into.extend(batch[..count].iter().filter_map(|info| {
                // SAFETY: the kernel has written `count` of them as a whole (signalfd(2)).
                incoming(unsafe { info.assume_init_ref() })
            }));
            if count < BATCH {
                return;
            }
        }
    }
}

fn incoming(info: &libc::signalfd_siginfo) -> Option<Incoming> {
    Some(Incoming {
        signal: Signal::new(info.ssi_signo as i32)?,
        pid: Pid(info.ssi_pid as i32),
        by_process: is_by_process(info.ssi_code),
        value: (info.ssi_code == libc::SI_QUEUE).then_some(info.ssi_ptr as usize),
    })
}

fn is_by_process(code: i32) -> bool {
    [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL].contains(&code)
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

/// Whether a process is in this process group, zombies included.
pub fn group_exists(group: Pid) -> bool {
    is_there(-group.0)
}

fn is_there(target: i32) -> bool {
    // SAFETY: plain numbers; signal 0 only asks. EPERM says that the process exists.
    let result = unsafe { libc::kill(target, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Sends a signal to every process of this pid namespace but the caller. Only for PID 1.
/// Async-signal-safe.
///
/// # Errors
/// Those of kill(2): ESRCH if there is nobody.
pub fn send_all(signal: Signal) -> io::Result<()> {
    kill(-1, signal)
}

fn kill(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: kill(2) takes plain numbers.
    check(unsafe { libc::kill(target, signal.number()) })
}

/// Sends a signal with a value, as sigqueue(3) does.
///
/// # Errors
/// Those of sigqueue(3); EAGAIN when the queue of the receiver's user is full.
pub fn queue(pid: Pid, signal: Signal, value: usize) -> io::Result<()> {
    let value = libc::sigval { sival_ptr: value as *mut libc::c_void };
    // SAFETY: plain numbers; the pointer is only a value to the kernel.
    check(unsafe { libc::sigqueue(pid.0, signal.number(), value) })
}

pub(super) fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets all dispositions to the default, those of 32 and 33 too, which the C library keeps from its
/// callers. Async-signal-safe.
pub fn reset_dispositions() {
    // The kernel's struct sigaction is at most 32 bytes; all zeroes is SIG_DFL with an empty mask.
    let default = [0u64; 4];
    for number in 1..=64 {
        // SAFETY: the pointer is to a live structure; KILL and STOP are refused, which is as well.
        unsafe {
            let none = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), none, MASK_BYTES)
        };
    }
}

/// What a process does on a signal, as far as it is inherited through execve(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// SIG_DFL (or a handler, which execve resets to it).
    Default,
    /// SIG_IGN
    Ignore,
}

/// Sets the disposition of a signal and returns the one before. Async-signal-safe.
pub fn set_disposition(signal: Signal, to: Disposition) -> Disposition {
    // SAFETY: sigaction is plain numbers and a set; all zeroes is SIG_DFL with an empty mask.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = match to {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
    };
    // SAFETY: both pointers are to live structures.
    unsafe { libc::sigaction(signal.number(), &raw const new, &raw mut old) };
    if old.sa_sigaction == libc::SIG_IGN { Disposition::Ignore } else { Disposition::Default }
}
