//! How many instructions an init executes until it waits, counted one by one: a count that is the same on a
//! busy machine, and which functions they belong to.

#![allow(unsafe_code)]

use std::collections::HashSet;
use std::ffi::CString;

use super::apps;
use super::sys::{self, Room};

/// A child that is stopped after each instruction.
pub struct Steps {
    pid: i32,
    /// Where the instructions lay that were executed, each once, in the order of the first time.
    pub places: Vec<u64>,
    /// How many were executed.
    pub count: u64,
}

impl Steps {
    /// Starts a program and follows it until it has slept for a while.
    pub fn of(words: &[CString], stdout: i32) -> Steps {
        let pid = sys::spawn(words, stdout, Room::Traced).expect("a start");
        let mut steps = Steps { pid, places: Vec::new(), count: 0 };
        let mut seen = HashSet::new();
        while steps.is_stopped() {
            // SAFETY: the structure is plain numbers, and the child is stopped.
            let place = unsafe {
                let mut registers: libc::user_regs_struct = std::mem::zeroed();
                let part = libc::iovec {
                    iov_base: (&raw mut registers).cast(),
                    iov_len: size_of::<libc::user_regs_struct>(),
                };
                libc::ptrace(
                    libc::PTRACE_GETREGSET,
                    pid,
                    1usize, /* NT_PRSTATUS */
                    &raw const part,
                );
                #[cfg(target_arch = "x86_64")]
                let place = registers.rip;
                #[cfg(target_arch = "aarch64")]
                let place = registers.pc;
                place
            };
            if seen.insert(place) {
                steps.places.push(place);
            }
            steps.count += 1;
            // SAFETY: plain numbers; no signal is handed over: nobody sends one meanwhile.
            unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) };
        }
        steps
    }

    /// False once it sleeps in the kernel.
    fn is_stopped(&self) -> bool {
        let mut asleep = 0;
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to a live integer.
            let pid = unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) };
            assert!(
                pid >= 0 && (pid == 0 || libc::WIFSTOPPED(status)),
                "the init has ended: {status:x}"
            );
            if pid > 0 {
                return true;
            }
            asleep = if sys::is_asleep(self.pid) { asleep + 1 } else { 0 };
            if asleep > 1000 {
                return false;
            }
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // The app does not end with an init that is killed.
        for pid in apps::children(self.pid).into_iter().chain([self.pid]) {
            sys::kill(pid, libc::SIGKILL);
        }
        sys::wait(self.pid);
    }
}
