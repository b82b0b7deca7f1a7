//! This process: who it is, what it was given, and how it leaves.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

use crate::types::{Pid, Signal};

/// Our pid.
pub fn own_pid() -> Pid {
    // SAFETY: cannot fail, takes nothing.
    Pid(unsafe { libc::getpid() })
}

/// Our effective user.
pub fn own_uid() -> u32 {
    // SAFETY: cannot fail, takes nothing.
    unsafe { libc::geteuid() }
}

/// Our parent's pid; 0 if it lives outside this pid namespace.
pub fn parent() -> Pid {
    // SAFETY: cannot fail, takes nothing.
    Pid(unsafe { libc::getppid() })
}

/// Whether we are PID 1 of our pid namespace: orphans come to us by themselves, and the kernel
/// ignores every signal that we have no handler for.
pub fn is_first() -> bool {
    own_pid() == Pid(1)
}

/// Makes orphans below us our children, as PID 1 has it (PR_SET_CHILD_SUBREAPER of prctl(2)).
///
/// # Errors
/// EINVAL before Linux 3.4, EPERM under an old seccomp profile.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Asks for `signal` when the parent dies (PR_SET_PDEATHSIG of prctl(2)).
///
/// # Errors
/// Those of prctl(2).
pub fn signal_when_parent_dies(signal: Signal) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal.number() as libc::c_ulong)
}

fn prctl(option: i32, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both options take one plain number.
    match unsafe { libc::prctl(option, value, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this path exists, as far as we can see. Asks for no right to read it.
pub fn exists(path: &CStr) -> bool {
    // SAFETY: the path is a live, terminated string.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

/// The environment as it was given: as execve(2) takes it.
pub(super) fn environ() -> *const *const libc::c_char {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the C library sets it before `main`, and nothing here ever does.
    unsafe { environ }
}

/// The environment as it was given, entries without `=` included.
pub fn environment() -> impl Iterator<Item = &'static CStr> {
    let environ = environ();
    let mut index = 0;
    std::iter::from_fn(move || {
        // SAFETY: one thread, and nothing here ever changes the environment: `environ` points to an
        // array that ends with a null pointer, and its strings live as long as the program.
        unsafe {
            if environ.is_null() || (*environ.add(index)).is_null() {
                return None;
            }
            index += 1;
            Some(CStr::from_ptr(*environ.add(index - 1)))
        }
    })
}

/// The value of a variable, in bytes.
pub fn variable(name: &str) -> Option<&'static [u8]> {
    environment().find_map(|entry| {
        entry.to_bytes().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    })
}

/// The version of the kernel, as (6, 18); zeroes where it says something else.
pub fn kernel() -> (u32, u32) {
    // Without the C library: `early` asks before there is one.
    let mut name = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: room for an utsname, which the call fills; the release is terminated.
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
    // SAFETY: takes a plain number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Random bytes, for the ids of a trace. Zeroes where the kernel has none to give yet.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the buffer is live and its length is what is passed on; GRND_NONBLOCK never waits.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, libc::GRND_NONBLOCK) };
    bytes
}

/// What SIGTSTP does to us by default: stops this process until somebody continues it. Together with
/// the rest of our group, as a key typed at the terminal would.
pub fn suspend() {
    use super::signals::{Disposition, Mask, send_group, set_disposition, set_mask};
    // Our group is the shell's job. ESRCH cannot be: we are in it.
    let _ = send_group(super::tty::own_group(), Signal::TSTP);
    let before = set_disposition(Signal::TSTP, Disposition::Default);
    // The stop happens in here, as soon as it is unblocked.
    let mask = set_mask(Mask::ALL.without(Signal::TSTP));
    set_mask(mask);
    set_disposition(Signal::TSTP, before);
}

/// Asks that a process (`None`: this one) be run as soon as it wakes up, even where every processor is busy: by the
/// shortest slice, which since Linux 6.12 goes before longer ones and gives nobody more time than another
/// (`__setparam_fair` in kernel/sched/syscalls.c). Needs no privilege, and is not inherited. What is refused, or
/// not known, changes nothing.
pub fn hurry(whom: Option<Pid>) {
    let pid = whom.map_or(0, |pid| pid.0);
    let size = size_of::<libc::sched_attr>();
    // SAFETY: sched_attr is plain numbers; all zeroes is a value of it.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value, and its size is what is passed on.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, pid, &raw mut attr, size, 0) };
    // Whoever was put before others is left as they are: their children would not inherit that.
    if got != 0 || attr.sched_policy != libc::SCHED_OTHER as u32 || attr.sched_nice < 0 {
        return;
    }
    attr.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    attr.sched_runtime = 100_000;
    // SAFETY: as above; the value names its own size.
    unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0) };
}

/// Ends this process at once. Async-signal-safe; runs nothing that was registered with atexit.
pub fn exit(code: u8) -> ! {
    // SAFETY: never returns, takes a plain number.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Ends this process by `signal`, so that whoever waits for it sees that; without a core of ours.
/// Not for PID 1: the kernel would not let it die that way.
pub fn die_by(signal: Signal) -> ! {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    let _ = signal_hook::low_level::emulate_default_handler(signal.number());
    exit(crate::types::Status::Signal(signal).shell_code())
}

/// Goes to the root directory, so that the one that it was started in can be unmounted. Where that is
/// forbidden, nothing is lost.
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

    /// The scheduler knows threads: this one is the test's own.
    #[test]
    fn who_hurries_is_what_it_was_and_does_not_hand_it_on() {
        let before = attributes();
        hurry(None);
        let after = attributes();
        assert_eq!(
            (after.sched_policy, after.sched_nice),
            (before.sched_policy, before.sched_nice)
        );
        assert_eq!(after.sched_flags, libc::SCHED_FLAG_RESET_ON_FORK as u64);
        // Linux before 6.12 knows no slice, and tells of none.
        assert!([0, 100_000].contains(&after.sched_runtime), "{}", after.sched_runtime);
        let child = std::thread::spawn(attributes).join().expect("a thread");
        assert_eq!((child.sched_flags, child.sched_runtime), (0, before.sched_runtime));
    }
}
