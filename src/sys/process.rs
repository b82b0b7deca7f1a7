//! This process: its ids, its environment, and its exit.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use super::fd;
use crate::types::{Pid, Signal};

/// The pid of this process.
pub fn own_pid() -> Pid {
    // SAFETY: getpid takes nothing and cannot fail.
    Pid(unsafe { libc::getpid() })
}

/// The effective user of this process.
pub fn own_uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Takes on a user and a group for the access to files (setfsuid(2)), as far as this process may. Only for a helper:
/// PID 1 would lose its own access.
pub fn act_as_for_files(user: u32, group: u32) {
    // The group first: without the user's rights it could not be changed.
    // SAFETY: setfsgid takes a plain number.
    unsafe { libc::setfsgid(group) };
    // SAFETY: setfsuid takes a plain number.
    unsafe { libc::setfsuid(user) };
}

/// The pid of the parent; 0 if the parent is outside this pid namespace.
pub fn parent() -> Pid {
    // SAFETY: getppid takes nothing and cannot fail.
    Pid(unsafe { libc::getppid() })
}

/// Whether this process is PID 1 of its pid namespace: then orphans become its children, and the kernel drops every
/// signal for which it has no handler.
pub fn is_first() -> bool {
    own_pid() == Pid(1)
}

/// Makes orphans among the descendants children of this process, like those of PID 1 (PR_SET_CHILD_SUBREAPER of
/// prctl(2)).
///
/// # Errors
/// EINVAL before Linux 3.4, EPERM under an old seccomp profile.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Asks the kernel for `signal` when the parent dies (PR_SET_PDEATHSIG of prctl(2)).
///
/// # Errors
/// Those of prctl(2).
pub fn signal_when_parent_dies(signal: Signal) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal.number() as u32)
}

/// Sets an attribute of this process. An option that takes a pointer would get an invalid one, so `option` must take a
/// number.
pub(super) fn prctl(option: i32, value: u32) -> io::Result<()> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: plain numbers.
    match unsafe { libc::prctl(option, libc::c_ulong::from(value), NONE, NONE, NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether other processes of the same user may trace this process (PR_GET_DUMPABLE of prctl(2)). If not, its files in
/// /proc belong to root, and without a capability even root cannot open /proc/PID/fd/1.
pub(super) fn is_dumpable() -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 }
}

/// Makes this process dumpable again. If that is refused, nothing else depends on it.
pub(super) fn make_dumpable() {
    let _ = prctl(libc::PR_SET_DUMPABLE, 1);
}

/// Changes the effective user; the real user and the saved user stay. A raw system call, because the C library's
/// function would tell its other threads.
///
/// # Errors
/// Those of setresuid(2): EPERM without CAP_SETUID, EINVAL for a user that the user namespace does not have.
pub(super) fn set_effective_user(uid: u32) -> io::Result<()> {
    // SAFETY: plain numbers; -1 leaves an id alone.
    match unsafe { libc::syscall(libc::SYS_setresuid, u32::MAX, uid, u32::MAX) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A descriptor that stands for a process. It can be read when the process has ended (pidfd_open(2)).
///
/// # Errors
/// Those of pidfd_open(2): ESRCH; ENOSYS before Linux 5.3, EPERM under an old seccomp profile.
pub(super) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; the call makes a descriptor.
    unsafe { fd::created(libc::syscall(libc::SYS_pidfd_open, pid.0, 0)) }
}

/// What a helper gets of the descriptors of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Descriptors {
    /// A copy.
    Copied,
    /// The same table: what one of them opens or closes is open or closed for the other.
    Shared,
}

/// Makes a child without an exit signal: a helper (see `helper.rs`). Returns its pid, or 0 in the child. A raw system
/// call, because the C library's fork is not async-signal-safe.
///
/// # Errors
/// Those of clone(2): EAGAIN, ENOMEM.
///
/// # Safety
/// The child is a copy of this process with one thread. If this process has other threads, or is in the handler of a
/// signal, the child must call async-signal-safe functions only.
pub(super) unsafe fn clone_helper(descriptors: Descriptors) -> io::Result<Pid> {
    let flags = match descriptors {
        Descriptors::Copied => 0usize,
        Descriptors::Shared => libc::CLONE_FILES as usize,
    };
    // All other arguments are zero. The order differs between architectures: on s390 the flags come second.
    let (first, second) = if cfg!(target_arch = "s390x") { (0, flags) } else { (flags, 0) };
    // SAFETY: without CLONE_VM the child has a copy of this process's memory, its stack included.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, 0usize, 0usize, 0usize) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(Pid(pid as i32)) }
}

/// Whether this path exists. No right to read it is needed.
pub fn exists(path: &CStr) -> bool {
    // SAFETY: the path is a live, terminated string.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

/// The inherited environment, as execve(2) takes it.
pub(super) fn environ() -> *const *const libc::c_char {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the C library sets it before `main`, and nothing in this program changes it afterwards.
    unsafe { environ }
}

/// The inherited environment, entries without `=` included.
pub fn environment() -> impl Iterator<Item = &'static CStr> {
    let environ = environ();
    let mut index = 0;
    std::iter::from_fn(move || {
        // SAFETY: nothing in this program changes the environment: `environ` points to an array that ends with a null
        // pointer, and its strings live as long as the program.
        unsafe {
            if environ.is_null() || (*environ.add(index)).is_null() {
                return None;
            }
            index += 1;
            Some(CStr::from_ptr(*environ.add(index - 1)))
        }
    })
}

/// The value of a variable.
pub fn variable(name: &str) -> Option<&'static [u8]> {
    environment().find_map(|entry| {
        entry.to_bytes().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    })
}

/// The version of the kernel, such as (6, 18); zeroes if it cannot be read.
pub fn kernel() -> (u32, u32) {
    // Without the C library, because the early start calls this function.
    let mut name = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: there is room for an utsname, which the call fills in; the release is terminated.
    unsafe {
        if super::raw::call(libc::SYS_uname, [name.as_mut_ptr() as usize]).is_err() {
            return (0, 0);
        }
        let release: *const u8 = (&raw const (*name.as_ptr()).release).cast();
        let (mut at, mut numbers) = (0, [0u32; 2]);
        for number in &mut numbers {
            while (*release.add(at)).is_ascii_digit() && *number < 1000 {
                *number = *number * 10 + u32::from(*release.add(at) - b'0');
                at += 1;
            }
            if *release.add(at) != b'.' {
                break;
            }
            at += 1;
        }
        (numbers[0], numbers[1])
    }
}

/// The size of a page of memory, in bytes.
pub fn page_size() -> u64 {
    // SAFETY: sysconf takes a plain number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Random bytes, which need not be secret. Zeroes if the kernel has none yet.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the buffer is live and its length is what is passed on.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, libc::GRND_NONBLOCK) };
    bytes
}

/// The process group of a process; `None`: there is no such process.
pub fn group_of(pid: Pid) -> Option<Pid> {
    // SAFETY: a plain number.
    let group = unsafe { libc::getpgid(pid.0) };
    (group > 0).then_some(Pid(group))
}

/// Gives a process (`None`: this one) the shortest slice, so that it runs soon after it wakes up, even if every
/// processor is busy: since Linux 6.12 shorter slices run before longer ones, and each process still gets the same
/// share of the time (`__setparam_fair` in kernel/sched/syscalls.c). Needs no privilege, and is not inherited. If the
/// kernel refuses or does not know slices, nothing changes.
pub fn hurry(whom: Option<Pid>) {
    let pid = whom.map_or(0, |pid| pid.0);
    let size = size_of::<libc::sched_attr>();
    // SAFETY: sched_attr is plain numbers; all zeroes is a value of it.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value, and its size is what is passed on.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, pid, &raw mut attr, size, 0) };
    // A process with a better priority is left alone: its children would no longer inherit the priority.
    if got != 0 || attr.sched_policy != libc::SCHED_OTHER as u32 || attr.sched_nice < 0 {
        return;
    }
    attr.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    attr.sched_runtime = 100_000;
    // SAFETY: the pointer is to a live value, which holds its own size.
    unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0) };
}

/// Ends this process at once, without the functions that were registered with atexit(3). Async-signal-safe.
#[allow(clippy::disallowed_methods, reason = "the one place that ends a process")]
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit takes a plain number.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Ends this process by `signal`, so that its parent sees the signal; without a core dump. Not for PID 1: the kernel
/// drops a signal that would end it.
pub fn die_by(signal: Signal) -> ! {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    let _ = signal_hook::low_level::emulate_default_handler(signal.number());
    exit(crate::types::Status::Signal(signal).shell_code())
}

/// Changes to the root directory, so that the file system of the working directory can be unmounted. If that is
/// refused, nothing else depends on it.
pub fn leave_directory() {
    // SAFETY: the path is terminated.
    unsafe { libc::chdir(c"/".as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> libc::sched_attr {
        // SAFETY: sched_attr is plain numbers; all zeroes is a value of it.
        let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::sched_attr>();
        // SAFETY: the pointer is to a live value, and its size is what is passed on.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
        assert_eq!(got, 0, "sched_getattr");
        attr
    }

    #[test]
    fn the_kernel_has_a_version() {
        let (major, minor) = kernel();
        let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
        assert!(text.starts_with(&format!("{major}.{minor}")), "{text}: {major}.{minor}");
        assert!(major >= 3, "{major}");
    }

    /// The attributes belong to a thread, and this test runs in a thread of its own.
    #[test]
    fn a_short_slice_changes_no_priority_and_is_not_inherited() {
        let before = attributes();
        hurry(None);
        let after = attributes();
        assert_eq!(
            (after.sched_policy, after.sched_nice),
            (before.sched_policy, before.sched_nice)
        );
        assert_eq!(after.sched_flags, libc::SCHED_FLAG_RESET_ON_FORK as u64);
        // Linux before 6.12 has no slices and shows 0.
        assert!([0, 100_000].contains(&after.sched_runtime), "{}", after.sched_runtime);
        let child = std::thread::spawn(attributes).join().expect("a thread");
        assert_eq!((child.sched_flags, child.sched_runtime), (0, before.sched_runtime));
    }
}
