//! A tracer (ptrace(2)) that makes chosen system calls of a running process fail, and counts its calls. Nothing that
//! the process starts is traced.

#![allow(unsafe_code)]

use std::ffi::c_long;
use std::io;

use super::sys;

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The number of the system call.
    pub call: i64,
    /// It fails when it is called for the n-th time, counted from 1 after the tracer has come.
    pub nth: usize,
    /// All later calls fail as well.
    pub on: bool,
    /// What it fails with.
    pub errno: i32,
}

/// What a tracer has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The numbers of the calls, in order: the first [`MOST`] of them.
    pub calls: Vec<i64>,
    /// How many calls were made to fail.
    pub injected: usize,
    /// How many calls were made after the first that failed.
    pub after: usize,
}

/// How many calls are remembered by their numbers.
pub const MOST: usize = 100_000;

/// What becomes of a call that is to fail.
enum Way {
    /// It is not made.
    Skip,
    /// It is made, and its answer is replaced: after an error of close(2) the descriptor is gone all the same.
    Replace,
    /// It becomes a question: brk(2) answers with the old end of the heap if there is no memory.
    Ask,
}

impl Way {
    fn of(call: i64) -> Way {
        match call {
            libc::SYS_close => Way::Replace,
            libc::SYS_brk => Way::Ask,
            _ => Way::Skip,
        }
    }
}

/// Traces process `pid` from now until its end. `attached` is called once every later call is seen. The calling thread
/// does nothing else meanwhile.
#[cfg(target_arch = "x86_64")]
pub fn follow(pid: i32, injection: Option<Injection>, attached: impl FnOnce()) -> io::Result<Seen> {
    const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;
    // If this thread ends, the process that it traces must not stay stopped.
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SEIZE, pid, 0, options as usize)?;
    request(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
    let mut attached = Some(attached);
    let mut asked = 0;
    let (mut seen, mut count, mut entry, mut failing) = (Seen::default(), 0, true, false);
    loop {
        let (_, status) = sys::wait_pid(pid, libc::__WALL)?;
        if !libc::WIFSTOPPED(status) {
            return Ok(seen);
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let mut pass_on = 0;
        if signal == SYSCALL_STOP {
            // Until the first call after the interruption it is not known on which side of a call the process was.
            let regs = registers(pid)?;
            if entry && regs.rax as i64 == -i64::from(libc::ENOSYS) {
                let call = regs.orig_rax as i64;
                seen.after += usize::from(seen.injected > 0);
                if seen.calls.len() < MOST {
                    seen.calls.push(call);
                }
                if let Some(injection) = injection.filter(|injection| injection.call == call) {
                    count += 1;
                    failing = count == injection.nth || injection.on && count > injection.nth;
                    if failing {
                        asked = regs.rdi;
                        prepare(pid, call)?;
                    }
                }
                entry = false;
            } else if !entry {
                if let Some(injection) = injection.filter(|_| failing) {
                    seen.injected += 1;
                    match Way::of(injection.call) {
                        // A call changes none of its arguments.
                        Way::Ask => set(pid, RDI, asked as i64)?,
                        Way::Skip | Way::Replace => set(pid, RAX, -i64::from(injection.errno))?,
                    }
                }
                (entry, failing) = (true, false);
            }
        } else if event == libc::PTRACE_EVENT_STOP {
            if let Some(attached) = attached.take() {
                attached();
            } else if signal != libc::SIGTRAP {
                // It is stopped by a signal, and stays so until SIGCONT.
                request(libc::PTRACE_LISTEN, pid, 0, 0)?;
                continue;
            }
        } else if event == 0 {
            pass_on = signal as usize;
        }
        match request(libc::PTRACE_SYSCALL, pid, 0, pass_on) {
            // It was killed while it was stopped.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
}

/// Offsets of a `user_regs_struct`, in the numbering of PTRACE_POKEUSER.
#[cfg(target_arch = "x86_64")]
const RAX: usize = std::mem::offset_of!(libc::user_regs_struct, rax);
#[cfg(target_arch = "x86_64")]
const ORIG_RAX: usize = std::mem::offset_of!(libc::user_regs_struct, orig_rax);
#[cfg(target_arch = "x86_64")]
const RDI: usize = std::mem::offset_of!(libc::user_regs_struct, rdi);

/// At the entry of a call that is to fail.
#[cfg(target_arch = "x86_64")]
fn prepare(pid: i32, call: i64) -> io::Result<()> {
    match Way::of(call) {
        // No call has this number.
        Way::Skip => set(pid, ORIG_RAX, -1),
        Way::Replace => Ok(()),
        Way::Ask => set(pid, RDI, 0),
    }
}

#[cfg(target_arch = "x86_64")]
fn registers(pid: i32) -> io::Result<libc::user_regs_struct> {
    let none: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: plain numbers, for which zeros are a value.
    let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: GETREGS fills a user_regs_struct, which lives through the call.
    check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, none, &raw mut regs) })?;
    Ok(regs)
}

#[cfg(target_arch = "x86_64")]
fn set(pid: i32, register: usize, value: i64) -> io::Result<()> {
    request(libc::PTRACE_POKEUSER, pid, register, value as usize)
}

/// A request of ptrace(2) that takes two integers.
#[cfg(target_arch = "x86_64")]
fn request(request: libc::c_uint, pid: i32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: these requests take integers: a pid, an offset in the registers and a word, no pointer into this process.
    check(unsafe { libc::ptrace(request as _, pid, address, data) })
}

#[cfg(target_arch = "x86_64")]
fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
