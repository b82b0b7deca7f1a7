//! The only place that waits for children (wait(2)). No function here blocks.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::types::{Pid, Signal, Status};

/// The result of [`find`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// This child has ended and is still a zombie.
    Ended(Pid),
    /// All children are alive.
    AllAlive,
    /// There is no child.
    NoChild,
}

/// Finds a child that has ended, without reaping it. The kernel walks the list of children up to the first one that has
/// ended, which takes long with thousands of live children: ask for a known pid first.
pub fn find() -> Found {
    match wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT) {
        Ok(Some(info)) => Found::Ended(info.pid),
        Ok(None) => Found::AllAlive,
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Found::NoChild,
        // Both calls are refused: nothing is known.
        Err(_) => Found::AllAlive,
    }
}

/// Whether any child is alive. If none is, there is no descendant either: the children of a process become children
/// of this one in the same step in which it becomes a zombie (exit_notify in kernel/exit.c). Helpers do not count.
///
/// If waitid(2) is asked for stopped children only, the kernel passes over zombies, and answers ECHILD if there is no
/// other child (wait_consider_task in kernel/exit.c). With WNOWAIT a stop can still be read later.
pub fn is_any_alive() -> bool {
    let found = wait(libc::P_ALL, 0, libc::WSTOPPED | libc::WNOWAIT);
    found.map_or_else(|error| error.raw_os_error() != Some(libc::ECHILD), |_| true)
}

/// The status of this child if it has ended. It stays a zombie: its pid and its group id cannot be used again until it
/// is reaped.
pub fn peek(pid: Pid) -> Option<Status> {
    wait(libc::P_PID, pid.0, libc::WEXITED | libc::WNOWAIT).ok().flatten().and_then(|i| i.ended)
}

/// What the kernel knows of a child that a signal has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remains {
    /// It has dumped core.
    pub dumped_core: bool,
    /// The most memory that it had in RAM, in bytes; more if one of the children that it has waited for had more.
    pub peak: u64,
}

/// The remains of a child that has ended. It stays a zombie.
pub fn remains(pid: Pid) -> Option<Remains> {
    // SAFETY: rusage is plain numbers; all zeroes is a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let info = wait_usage(libc::P_PID, pid.0, libc::WEXITED | libc::WNOWAIT, Some(&mut usage));
    let info = info.ok().flatten()?;
    let kilobytes = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Some(Remains { dumped_core: info.dumped_core, peak: kilobytes << 10 })
}

/// Whether this is a child that has not ended.
pub fn is_alive(pid: Pid) -> bool {
    matches!(wait(libc::P_PID, pid.0, libc::WEXITED | libc::WNOWAIT), Ok(None))
}

/// Reaps this child if it has ended.
pub fn reap(pid: Pid) -> Option<Status> {
    wait(libc::P_PID, pid.0, libc::WEXITED).ok().flatten().and_then(|info| info.ended)
}

/// Reaps a helper (see `helper.rs`) if it has ended. No other call finds it: it is a "clone child", which only __WALL
/// includes (wait(2); eligible_child in kernel/exit.c).
pub(super) fn reap_helper(pid: Pid) -> Option<Status> {
    let options = libc::WEXITED | libc::__WALL;
    wait(libc::P_PID, pid.0, options).ok().flatten().and_then(|info| info.ended)
}

/// Whether a helper has been stopped since the last call. The kernel sends SIGCHLD for a stop, whatever the exit
/// signal of the child is (do_notify_parent_cldstop in kernel/signal.c).
pub(super) fn has_helper_stopped(pid: Pid) -> bool {
    let options = libc::WSTOPPED | libc::__WALL;
    wait(libc::P_PID, pid.0, options).is_ok_and(|info| info.is_some_and(|i| i.stopped.is_some()))
}

/// The signal that has stopped this child since the last call.
pub fn stopped(pid: Pid) -> Option<Signal> {
    wait(libc::P_PID, pid.0, libc::WSTOPPED).ok().flatten().and_then(|info| info.stopped)
}

/// Whether a child is in this process group. As long as one is, the id of the group is not used again.
pub fn has_child_in_group(group: Pid) -> bool {
    wait(libc::P_PGID, group.0, libc::WEXITED | libc::WNOWAIT).is_ok()
}

struct Info {
    pid: Pid,
    ended: Option<Status>,
    stopped: Option<Signal>,
    dumped_core: bool,
}

/// waitid(2), or wait4(2) where that is refused.
fn wait(kind: libc::idtype_t, id: i32, options: i32) -> io::Result<Option<Info>> {
    match wait_usage(kind, id, options, None) {
        Err(error) if error.raw_os_error() != Some(libc::ECHILD) => {
            wait_by_pid(kind, id, options).unwrap_or(Err(error))
        }
        result => result,
    }
}

/// Children that wait4(2) has reaped although they were only to be looked at (WNOWAIT): the pid in the upper half, the
/// status in the lower one; 0: none. (Atomics, because the handler of the dead-man timer waits for children too.)
static TAKEN: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// wait4(2) cannot leave a zombie as it is: its status is kept until it is asked for again. `None`: this cannot be
/// found out with wait4(2).
#[cold]
fn wait_by_pid(kind: libc::idtype_t, id: i32, options: i32) -> Option<io::Result<Option<Info>>> {
    if options & libc::WEXITED == 0 || kind == libc::P_PGID {
        return None;
    }
    let (wanted, peeks) = (if kind == libc::P_ALL { -1 } else { id }, options & libc::WNOWAIT != 0);
    let is_wanted = |taken: u64| taken != 0 && (wanted == -1 || (taken >> 32) as i32 == wanted);
    let slot = TAKEN.iter().find(|slot| is_wanted(slot.load(Relaxed)));
    let (pid, status) = match slot {
        Some(slot) => {
            let taken = if peeks { slot.load(Relaxed) } else { slot.swap(0, Relaxed) };
            ((taken >> 32) as i32, taken as i32)
        }
        None => {
            let mut status = 0;
            // SAFETY: the pointer is to a live number; no usage is wanted.
            let pid = unsafe {
                let options = libc::WNOHANG | (options & libc::__WALL);
                libc::wait4(wanted, &raw mut status, options, std::ptr::null_mut())
            };
            match pid {
                ..0 => return Some(Err(io::Error::last_os_error())),
                0 => return Some(Ok(None)),
                1.. => {}
            }
            let free = TAKEN.iter().find(|slot| peeks && slot.load(Relaxed) == 0);
            if let Some(slot) = free {
                slot.store((pid as u64) << 32 | u64::from(status as u32), Relaxed);
            }
            (pid, status)
        }
    };
    let ended = match libc::WIFSIGNALED(status) {
        true => Signal::new(libc::WTERMSIG(status)).map(Status::Signal),
        false => Some(Status::Code(libc::WEXITSTATUS(status) as u8)),
    };
    let dumped_core = libc::WIFSIGNALED(status) && libc::WCOREDUMP(status);
    Some(Ok(Some(Info { pid: Pid(pid), ended, stopped: None, dumped_core })))
}

fn wait_usage(
    kind: libc::idtype_t,
    id: i32,
    options: i32,
    usage: Option<&mut libc::rusage>,
) -> io::Result<Option<Info>> {
    let usage = usage.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: siginfo_t is plain numbers; all zeroes is a value of it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // The raw system call, because the C library's function is a cancellation point.
    // SAFETY: the pointers are to a live siginfo_t and to a live rusage or to nothing; all else is plain numbers.
    let result = unsafe {
        libc::syscall(libc::SYS_waitid, kind, id, &raw mut info, options | libc::WNOHANG, usage)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: these fields of the union are the ones that waitid sets. If no child has changed its state, they are
    // still zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let ended = match info.si_code {
        libc::CLD_EXITED => Some(Status::Code(status as u8)),
        libc::CLD_KILLED | libc::CLD_DUMPED => Signal::new(status).map(Status::Signal),
        _ => None,
    };
    let stopped = (info.si_code == libc::CLD_STOPPED).then(|| Signal::new(status)).flatten();
    let dumped_core = info.si_code == libc::CLD_DUMPED;
    Ok(Some(Info { pid: Pid(pid), ended, stopped, dumped_core }))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Runs the test below in a process of its own, because other tests of this process have children.
    #[test]
    fn zombies_are_not_alive() {
        let name = "sys::reap::tests::in_a_process_of_its_own";
        let own = std::env::current_exe().expect("this program");
        let done =
            Command::new(own).args(["--exact", name, "--ignored"]).output().expect("a process");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"));
    }

    #[test]
    #[ignore = "run by zombies_are_not_alive"]
    #[allow(clippy::zombie_processes, reason = "the tested function reaps it")]
    fn in_a_process_of_its_own() {
        assert!(!is_any_alive(), "no child");
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        let pid = Pid(cat.id() as i32);
        assert!(is_any_alive(), "a child");
        drop(cat.stdin.take());
        let mut left = 1_000_000;
        while peek(pid).is_none() {
            left -= 1;
            assert!(left > 0, "cat does not end");
            std::thread::yield_now();
        }
        assert!(!is_any_alive(), "a zombie");
        assert_eq!(reap(pid), Some(Status::Code(0)));
        assert!(!is_any_alive(), "no child any more");
    }
}
