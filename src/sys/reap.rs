//! The only place that waits for children (wait(2)), and never for longer than a look.

use std::io;

use crate::types::{Pid, Signal, Status};

/// What a look at all children finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// This child has ended. It is still a zombie.
    Ended(Pid),
    /// All children are alive.
    AllAlive,
    /// There is no child.
    NoChild,
}

/// Looks for any child that has ended, without reaping it. The kernel walks the list of children up
/// to the first that has ended: with thousands of live ones this is dear, so ask for a known pid
/// first.
pub fn find() -> Found {
    match wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT) {
        Ok(Some(info)) => Found::Ended(info.pid),
        Ok(None) => Found::AllAlive,
        // ECHILD is the only error that waitid(2) has for valid arguments without blocking.
        Err(_) => Found::NoChild,
    }
}

/// Whether any child is alive, and with it any descendant: those of one that ends come to us in the same step
/// in which it becomes a zombie (exit_notify in kernel/exit.c). A child that was made aside does not count.
///
/// Asked for stops alone, the kernel passes over zombies and knows no child if there is nobody else
/// (wait_consider_task in kernel/exit.c). With WNOWAIT no stop is taken away from those who ask later.
pub fn is_any_alive() -> bool {
    wait(libc::P_ALL, 0, libc::WSTOPPED | libc::WNOWAIT).is_ok()
}

/// How this child ended, if it has. It stays a zombie: its pid and its group id cannot be reused
/// until it is reaped.
pub fn peek(pid: Pid) -> Option<Status> {
    wait(libc::P_PID, pid.0, libc::WEXITED | libc::WNOWAIT).ok().flatten().and_then(|i| i.ended)
}

/// Whether this is a child of ours that has not ended.
pub fn is_alive(pid: Pid) -> bool {
    matches!(wait(libc::P_PID, pid.0, libc::WEXITED | libc::WNOWAIT), Ok(None))
}

/// Reaps this child if it has ended.
pub fn reap(pid: Pid) -> Option<Status> {
    wait(libc::P_PID, pid.0, libc::WEXITED).ok().flatten().and_then(|info| info.ended)
}

/// Reaps a child that was made aside (`sys::aside`) if it has ended. No other question finds it: it
/// is a "clone child", which only __WALL includes (wait(2); eligible_child in kernel/exit.c).
pub fn reap_aside(pid: Pid) -> Option<Status> {
    let options = libc::WEXITED | libc::__WALL;
    wait(libc::P_PID, pid.0, options).ok().flatten().and_then(|info| info.ended)
}

/// Whether a child that was made aside has been stopped since the last question. The kernel tells of
/// that with SIGCHLD whatever the child's exit signal is (do_notify_parent_cldstop in kernel/signal.c).
pub fn has_stopped_aside(pid: Pid) -> bool {
    let options = libc::WSTOPPED | libc::__WALL;
    wait(libc::P_PID, pid.0, options).is_ok_and(|info| info.is_some_and(|i| i.stopped.is_some()))
}

/// The signal that has stopped this child since the last question.
pub fn stopped(pid: Pid) -> Option<Signal> {
    wait(libc::P_PID, pid.0, libc::WSTOPPED).ok().flatten().and_then(|info| info.stopped)
}

/// Whether a child of ours is in this process group: then the group id is certainly not reused.
pub fn has_child_in_group(group: Pid) -> bool {
    wait(libc::P_PGID, group.0, libc::WEXITED | libc::WNOWAIT).is_ok()
}

struct Info {
    pid: Pid,
    ended: Option<Status>,
    stopped: Option<Signal>,
}

fn wait(kind: libc::idtype_t, id: i32, options: i32) -> io::Result<Option<Info>> {
    // SAFETY: siginfo_t is plain numbers; all zeroes is a value of it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live siginfo_t. (`id` is positive: pids are.) The raw system
    // call, because the C library's wrapper is a cancellation point.
    let result = unsafe {
        libc::syscall(libc::SYS_waitid, kind, id, &raw mut info, options | libc::WNOHANG, 0usize)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: after waitid these fields of the union are the ones that are set; with WNOHANG and
    // nothing to tell, they are still the zeroes from above.
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
    Ok(Some(Info { pid: Pid(pid), ended, stopped }))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// The other tests of this process have children of their own: an extra process has none but these.
    #[test]
    fn zombies_are_not_alive() {
        let name = "sys::reap::tests::in_a_process_of_its_own";
        let own = std::env::current_exe().expect("this program");
        let done =
            Command::new(own).args(["--exact", name, "--ignored"]).output().expect("a start");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"));
    }

    #[test]
    #[ignore = "run by the one above"]
    #[allow(clippy::zombie_processes, reason = "it is reaped by what is tested")]
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
