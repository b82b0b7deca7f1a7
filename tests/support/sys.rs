//! Everything unsafe that the tests and the puppet need, and nothing else: signals with the kernel's
//! own 8-byte masks (the C library hides 32 and 33), fork, exec with raw bytes, ptrace.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "shared by the puppet and the tests, each uses its part")]
#![allow(missing_docs, unreachable_pub, reason = "a test's tool: the names say it")]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Size of the kernel's signal set in bytes: 64 signals.
const MASK_BYTES: usize = 8;

/// What came with a signal.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    pub signal: i32,
    pub code: i32,
    pub pid: i32,
    pub value: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Default,
    Ignore,
}

/// `struct sigaction` as the kernel takes it (x86-64 and arm64 have the same).
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: c_ulong,
    restorer: usize,
    mask: u64,
}

fn check(result: c_long) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The bit of a signal in a mask.
pub fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Replaces this thread's signal mask, 32 and 33 included, and gives the old one.
pub fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: both pointers are to 8 bytes that live through the call, the size the kernel expects.
    let done = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &mask, &mut old, MASK_BYTES)
    };
    assert_eq!(done, 0, "rt_sigprocmask: {}", io::Error::last_os_error());
    old
}

/// Takes the next pending signal of `mask`; `None` when `timeout` passed first.
pub fn wait_signal(mask: u64, timeout: Option<Duration>) -> Option<Info> {
    let span = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs() as libc::time_t,
        tv_nsec: t.subsec_nanos() as c_long,
    });
    loop {
        // SAFETY: siginfo_t is plain data for which zeros are a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let span = span.as_ref().map_or(std::ptr::null(), |s| s as *const libc::timespec);
        // SAFETY: the pointers are to live values of the kernel's types; a null time means for ever.
        let got =
            unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &mask, &mut info, span, MASK_BYTES) };
        if got > 0 {
            // SAFETY: the kernel filled the record; for senders with kill and sigqueue these
            // fields are set, for others they hold whatever it put there, which is still an int.
            let (pid, value) = unsafe { (info.si_pid(), info.si_value().sival_ptr as usize) };
            return Some(Info {
                signal: got as i32,
                code: info.si_code,
                pid,
                value: value as i32 as i64,
            });
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => continue,
            _ => return None,
        }
    }
}

/// Sets a disposition, also of 32 and 33.
pub fn set_disposition(signal: i32, what: Disposition) -> io::Result<()> {
    let handler = match what {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
    };
    let action = KernelAction { handler, flags: 0, restorer: 0, mask: 0 };
    // SAFETY: `action` has the kernel's layout and names no function that could be called.
    let done = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, &action, std::ptr::null::<u8>(), MASK_BYTES)
    };
    check(done).map(drop)
}

/// Ends that the tests ignore what they were started with ignored, as a shell script does with INT and QUIT for what it
/// starts with `&`, and nohup with HUP: what a test starts has to be as in a container. (std sets SIGPIPE itself.)
pub fn heed_all() -> io::Result<()> {
    (1..=64).try_for_each(|signal| match disposition_is_ignore(signal)? {
        true if signal != libc::SIGPIPE => set_disposition(signal, Disposition::Default),
        _ => Ok(()),
    })
}

/// Whether a signal is ignored.
fn disposition_is_ignore(signal: i32) -> io::Result<bool> {
    let mut action = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    // SAFETY: `action` has the kernel's layout and lives through the call.
    let done = unsafe {
        let none = std::ptr::null::<u8>();
        libc::syscall(libc::SYS_rt_sigaction, signal, none, &mut action, MASK_BYTES)
    };
    check(done).map(|_| action.handler == libc::SIG_IGN)
}

/// kill(2), for any number.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes two integers.
    check(unsafe { libc::kill(pid, signal) } as c_long).map(drop)
}

/// sigqueue(3), for any number.
pub fn queue(pid: i32, signal: i32, value: i32) -> io::Result<()> {
    let value = libc::sigval { sival_ptr: value as u32 as usize as *mut _ };
    // SAFETY: takes integers and a union that is passed on as it is.
    check(unsafe { libc::sigqueue(pid, signal, value) } as c_long).map(drop)
}

/// fork(2). Only for a program with one thread, which the puppet is: the child may then do anything.
pub fn fork() -> io::Result<i32> {
    // SAFETY: called by the single-threaded puppet only, so no lock is left held in the child.
    check(unsafe { libc::fork() } as c_long).map(|pid| pid as i32)
}

/// Moves this process to a process group that a child has led.
pub fn leave_group() -> io::Result<()> {
    let pid = fork()?;
    if pid == 0 {
        loop {
            wait_signal(0, None);
        }
    }
    // SAFETY: takes two integers. The child is not reaped yet, so its pid is its own.
    let join = |who| check(unsafe { libc::setpgid(who, pid) }.into());
    let moved = join(pid).and_then(|_| join(0));
    kill(pid, libc::SIGKILL)?;
    wait_pid(pid, 0)?;
    moved.map(drop)
}

/// Ends this thread alone, and at once: pthread_exit(3) would unwind, which Rust does not let pass.
pub fn exit_thread() {
    // SAFETY: nothing of this thread is used by another one.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// _exit(2): no buffers, no exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// waitpid(2): (pid, raw status); pid 0 when nothing has changed under WNOHANG.
pub fn wait_pid(pid: i32, flags: i32) -> io::Result<(i32, i32)> {
    let mut status: c_int = 0;
    loop {
        // SAFETY: `status` lives through the call.
        match check(unsafe { libc::waitpid(pid, &mut status, flags) } as c_long) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => return other.map(|pid| (pid as i32, status)),
        }
    }
}

/// Waits for the end of a child: its raw status, and its page faults with those of all children that it has
/// waited for itself.
pub fn wait_counting(pid: i32) -> io::Result<(i32, i64)> {
    let mut status: c_int = 0;
    // SAFETY: rusage is plain numbers; all zeroes is a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values.
        let result = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
        match check(result as c_long) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => return other.map(|_| (status, usage.ru_minflt + usage.ru_majflt)),
        }
    }
}

/// execve(2) with raw bytes; returns only when it failed.
pub fn exec(path: &CStr, argv: &[CString], environ: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, environ) = (pointers(argv), pointers(environ));
    // SAFETY: both vectors end with a null pointer and outlive the call, as do their strings.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environ.as_ptr()) };
    io::Error::last_os_error()
}

/// The entries of a null-terminated vector as `main` gets it.
///
/// # Safety
/// `vector` is null or a null-terminated array of pointers to C strings that nothing changes.
pub unsafe fn strings(vector: *const *const c_char) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    if vector.is_null() {
        return all;
    }
    for i in 0.. {
        // SAFETY: the terminator was not met yet, so the entry is inside the array.
        let entry = unsafe { *vector.add(i) };
        if entry.is_null() {
            break;
        }
        // SAFETY: the caller promises C strings.
        all.push(unsafe { CStr::from_ptr(entry) }.to_bytes().to_vec());
    }
    all
}

/// The environment as bytes, entries without `=` included (std's iterator drops those).
pub fn raw_environ() -> Vec<Vec<u8>> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the C library's own vector; nothing in the puppet changes it.
    unsafe { strings(environ) }
}

/// (soft, hard) of a resource by number.
pub fn limit(resource: u32) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through the call; no new value is given.
    let done = unsafe { libc::prlimit64(0, resource as _, std::ptr::null(), &mut limit) };
    (done == 0).then_some((limit.rlim_cur, limit.rlim_max))
}

pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives through the call; the old value is not asked for.
    let done = unsafe { libc::prlimit64(0, resource as _, &limit, std::ptr::null_mut()) };
    check(done as c_long).map(drop)
}

/// (uid, euid, gid, egid)
pub fn ids() -> (u32, u32, u32, u32) {
    // SAFETY: these take nothing and cannot fail.
    unsafe { (libc::getuid(), libc::geteuid(), libc::getgid(), libc::getegid()) }
}

/// The flags of a descriptor; `None` when it is closed.
pub fn descriptor_flags(fd: i32) -> Option<i32> {
    // SAFETY: reads a flag; a number that is no descriptor is answered with EBADF.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    (flags >= 0).then_some(flags)
}

/// "DEV:INO", which names the open file without /proc.
pub fn identity(fd: i32) -> Option<String> {
    // SAFETY: plain data for which zeros are a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` lives through the call.
    let done = unsafe { libc::fstat(fd, &mut stat) };
    (done == 0).then(|| format!("{}:{}", stat.st_dev, stat.st_ino))
}

pub fn close(fd: i32) {
    // SAFETY: the puppet closes by number what its script tells it to; it holds no owner of it.
    unsafe { libc::close(fd) };
}

pub fn dup_to(from: i32, to: i32) -> io::Result<()> {
    // SAFETY: takes two integers; the puppet holds no owner of `to`.
    check(unsafe { libc::dup2(from, to) } as c_long).map(drop)
}

/// Takes over a descriptor that the kernel has just made.
pub fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the caller has it from the kernel and keeps no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// write(2) on a number, so that it works on descriptors that nobody owns.
pub fn write(fd: i32, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of one live slice.
    check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as c_long)
        .map(|n| n as usize)
}

/// Puts this process into a new pid namespace for its children (and a new mount namespace).
pub fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: takes an integer.
    check(unsafe { libc::unshare(flags) } as c_long).map(drop)
}

/// Mounts a fresh /proc for the pid namespace this process is in; the mount namespace is its own.
pub fn mount_proc() -> io::Result<()> {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: constant strings; a null source, type and data are what this call wants.
    let private = unsafe {
        libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null())
    };
    check(private as c_long)?;
    // SAFETY: constant strings.
    let done = unsafe {
        libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, std::ptr::null())
    };
    check(done as c_long).map(drop)
}

pub fn window_size(fd: i32) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills a winsize.
    let done = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) };
    (done == 0).then_some((size.ws_row, size.ws_col))
}

pub fn foreground_group(fd: i32) -> Option<i32> {
    // SAFETY: takes an integer.
    let group = unsafe { libc::tcgetpgrp(fd) };
    (group >= 0).then_some(group)
}

/// Makes everybody who opens this file (execve does) wait until it is closed here, or for as long as
/// /proc/sys/fs/lease-break-time says: a write lease (fcntl(2)).
pub fn lease(file: &impl AsRawFd) -> io::Result<()> {
    /// include/uapi/asm-generic/fcntl.h
    const F_SETSIG: i32 = 10;
    // By default the kernel tells of somebody who waits with SIGIO, which ends the process; this one is
    // ignored.
    for (request, word) in [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, libc::F_WRLCK)] {
        // SAFETY: plain numbers.
        check(unsafe { libc::fcntl(file.as_raw_fd(), request, word) }.into())?;
    }
    Ok(())
}

/// Whether somebody waits for that.
pub fn is_lease_wanted(file: &impl AsRawFd) -> bool {
    // SAFETY: plain numbers. While it is waited for, the answer is what the lease is to become.
    let lease = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    lease != libc::F_WRLCK
}

/// prctl(PR_GET_NO_NEW_PRIVS)
pub fn no_new_privileges() -> bool {
    // SAFETY: takes integers.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// Holds process `pid` at the entry of its next wait until it is let go. The calling thread traces it, and only that
/// thread can let it go.
#[cfg(target_arch = "x86_64")]
pub fn hold(pid: i32) -> io::Result<()> {
    hold_with_registers(pid).map(drop)
}

/// Lets a process go that [`hold`] holds.
#[cfg(target_arch = "x86_64")]
pub fn let_go(pid: i32) -> io::Result<()> {
    trace(libc::PTRACE_DETACH, pid, 0)
}

/// Swallows the next wait of process `pid`: it waits on a lock that nobody ever opens instead, as
/// if its main loop were deadlocked. A signal handler still runs, and the lock is waited for again
/// after it. The calling thread traces the process for that moment only.
#[cfg(target_arch = "x86_64")]
pub fn wedge(pid: i32) -> io::Result<()> {
    let mut regs = hold_with_registers(pid)?;
    let word = read_word(pid, regs.rsp)?;
    // futex(2): sleep while the word on top of the stack is what it is; no timeout.
    regs.orig_rax = libc::SYS_futex as u64;
    (regs.rdi, regs.rdx, regs.r10) = (regs.rsp, u64::from(word), 0);
    regs.rsi = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
    let none: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: SETREGS reads a user_regs_struct, which lives through the call.
    check(unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, none, &regs) })?;
    let_go(pid)
}

/// A request of ptrace(2) that takes an integer.
#[cfg(target_arch = "x86_64")]
fn trace(request: libc::c_uint, pid: i32, data: usize) -> io::Result<()> {
    let none: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: these requests take the pid and an integer, no pointer into this process.
    check(unsafe { libc::ptrace(request as _, pid, none, data) }).map(drop)
}

#[cfg(target_arch = "x86_64")]
fn hold_with_registers(pid: i32) -> io::Result<libc::user_regs_struct> {
    const TRACE_STOP: i32 = libc::SIGTRAP | 0x80;
    let none: *mut libc::c_void = std::ptr::null_mut();
    trace(libc::PTRACE_SEIZE, pid, libc::PTRACE_O_TRACESYSGOOD as usize)?;
    trace(libc::PTRACE_INTERRUPT, pid, 0)?;
    loop {
        let (_, status) = wait_pid(pid, libc::__WALL)?;
        if !libc::WIFSTOPPED(status) {
            return Err(io::Error::other(format!("ended while traced, status {status:#x}")));
        }
        let signal = libc::WSTOPSIG(status);
        let event = status >> 16;
        if signal == TRACE_STOP {
            // SAFETY: plain data for which zeros are a value.
            let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
            // SAFETY: GETREGS fills a user_regs_struct, which lives through the call.
            check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, none, &mut regs) })?;
            // At the entry of a call the result register holds -ENOSYS (ptrace(2)).
            let entry = regs.rax as i64 == -i64::from(libc::ENOSYS);
            let waits = [libc::SYS_ppoll, libc::SYS_rt_sigtimedwait];
            if entry && waits.contains(&(regs.orig_rax as i64)) {
                return Ok(regs);
            }
        }
        let pass_on = if signal == TRACE_STOP || event != 0 { 0 } else { signal as usize };
        trace(libc::PTRACE_SYSCALL, pid, pass_on)?;
    }
}

/// Four bytes of the memory of a process that is traced and stopped.
#[cfg(target_arch = "x86_64")]
fn read_word(pid: i32, address: u64) -> io::Result<u32> {
    use std::os::unix::fs::FileExt;
    let mut word = [0; 4];
    std::fs::File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut word, address)?;
    Ok(u32::from_ne_bytes(word))
}

/// The numbers of the system calls that a command makes until it has a child, which is then killed with it. Empty if
/// it ends without one.
#[cfg(target_arch = "x86_64")]
pub fn calls_until_a_child(command: &mut std::process::Command) -> io::Result<Vec<i64>> {
    use std::os::unix::process::CommandExt;
    let none: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: one system call between fork and exec, without a pointer.
    unsafe {
        command.pre_exec(|| check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize)).map(drop));
    }
    let child = command.spawn()?;
    let pid = child.id() as i32;
    let mut calls = Vec::new();
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_EXITKILL;
    let mut wanted = Some((libc::PTRACE_SETOPTIONS, options as usize));
    let mut entry = true;
    loop {
        let (_, status) = wait_pid(pid, libc::__WALL)?;
        if !libc::WIFSTOPPED(status) {
            return Ok(Vec::new());
        }
        if let Some((request, data)) = wanted.take() {
            // SAFETY: takes an integer.
            check(unsafe { libc::ptrace(request, pid, none, data) })?;
        }
        if status >> 16 == libc::PTRACE_EVENT_FORK {
            break;
        }
        if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
            if entry {
                // SAFETY: plain data for which zeros are a value; GETREGS fills it.
                let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
                // SAFETY: as above.
                check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, none, &mut regs) })?;
                calls.push(regs.orig_rax as i64);
            }
            entry = !entry;
        }
        // SAFETY: takes an integer.
        check(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, none, 0usize) })?;
    }
    let mut other = 0u64;
    // SAFETY: fills a number.
    check(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, none, &mut other) })?;
    for pid in [other as i32, pid] {
        kill(pid, libc::SIGKILL)?;
        while wait_pid(pid, libc::__WALL).is_ok_and(|(_, status)| libc::WIFSTOPPED(status)) {}
    }
    Ok(calls)
}

/// From now on the kernel drops all that comes for this socket, acknowledgements included: to its other
/// end it has vanished. Needs no privilege.
pub fn drop_all_that_comes(socket: &impl AsRawFd) -> io::Result<()> {
    // BPF_RET | BPF_K, 0 bytes.
    let mut code = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let filter = libc::sock_fprog { len: 1, filter: &raw mut code };
    let size = u32::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0);
    // SAFETY: the pointer is to a live sock_fprog of the size that is told, and that points to as many
    // instructions as it says. The kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A new tun device of this name in the present network namespace: what is written to it arrives as a packet, and what
/// is sent through it is read from it. It does not block.
pub fn tun(name: &str) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    // TUNSETIFF of linux/if_tun.h, which libc does not have: _IOW('T', 202, int).
    const SET_INTERFACE: libc::Ioctl = 0x4004_54ca;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let device = options.open("/dev/net/tun")?;
    // SAFETY: an ifreq is plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the pointer is to a live ifreq, as this request wants it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), SET_INTERFACE, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(device) }
}
