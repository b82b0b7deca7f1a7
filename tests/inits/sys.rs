//! What measuring needs of the kernel: a start that costs the measured process nothing, and an app of a few
//! instructions.

#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a child does before it becomes another program.
struct Task {
    path: *const libc::c_char,
    argv: *const *const libc::c_char,
    environ: *const *const libc::c_char,
    stdout: i32,
    room: Room,
}

/// Where a program is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Here.
    Plain,
    /// Here, stopped by ptrace(2) at its first instruction.
    Traced,
    /// As PID 1 of a new pid namespace; /proc is still the old one's.
    First,
    /// The same, with a /proc of its own.
    FirstWithProc,
}

extern "C" fn become_program(task: *mut c_void) -> i32 {
    // SAFETY: the parent waits in clone until this child has executed or ended, so the task lives; nothing
    // but system calls is made on the shared memory.
    unsafe {
        let task = &*task.cast::<Task>();
        libc::dup2(task.stdout, 1);
        if task.room == Room::Traced {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        }
        if task.room == Room::FirstWithProc {
            let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            libc::mount(none, root, std::ptr::null(), flags, std::ptr::null());
            let (kind, place) = (c"proc".as_ptr(), c"/proc".as_ptr());
            libc::mount(kind, place, kind, 0, std::ptr::null());
        }
        libc::execve(task.path, task.argv, task.environ);
        libc::_exit(127)
    }
}

/// Starts a program as posix_spawn(3) does, in the parent's memory until execve: so the page faults that the
/// kernel counts are the program's own.
///
/// # Errors
/// Those of clone(2).
pub fn spawn(argv: &[CString], stdout: i32, room: Room) -> io::Result<i32> {
    // As in a container. Ours has what cargo says of the package, which graceinit would take for settings.
    let path = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let environment = [path.as_ptr(), c"HOME=/root".as_ptr(), std::ptr::null()];
    let mut words: Vec<*const libc::c_char> = argv.iter().map(|word| word.as_ptr()).collect();
    words.push(std::ptr::null());
    let mut task =
        Task { path: words[0], argv: words.as_ptr(), environ: environment.as_ptr(), stdout, room };
    let mut stack = vec![0u8; 64 * 1024];
    let namespace = match room {
        Room::Plain | Room::Traced => 0,
        Room::First => libc::CLONE_NEWPID,
        Room::FirstWithProc => libc::CLONE_NEWPID | libc::CLONE_NEWNS,
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | namespace;
    // SAFETY: the stack and the task outlive the child's use of them, as CLONE_VFORK makes us wait.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        let top = top.sub(top as usize % 16);
        libc::clone(become_program, top.cast(), flags, (&raw mut task).cast())
    };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

/// A pipe that no program inherits: (reader, writer).
pub fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: the pointer is to two live integers.
    let done = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(done, 0, "pipe: {}", io::Error::last_os_error());
    // SAFETY: both were just made and belong to nobody else.
    unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) }
}

/// Waits until a child has ended; its raw status.
pub fn wait(pid: i32) -> i32 {
    wait_and_count(pid).0
}

/// The same, and the page faults of the child and of all children that it has waited for.
pub fn wait_and_count(pid: i32) -> (i32, i64) {
    let mut status = 0;
    // SAFETY: rusage is plain numbers; all zeroes is a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values.
        let ended = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if ended >= 0 && !libc::WIFSTOPPED(status) {
            return (status, usage.ru_minflt + usage.ru_majflt);
        }
    }
}

/// Whether a process sleeps in the kernel.
pub fn is_asleep(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

/// Has a program's file read from the disk again: what a linker has just written lies in the cache in larger
/// pieces than what was read, and is mapped in these.
pub fn read_anew(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    // SAFETY: plain numbers.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// kill(2)
pub fn kill(pid: i32, signal: i32) -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Holds a process wherever it is (ptrace(2)). No signal is taken up for that.
pub fn hold(pid: i32) {
    trace(libc::PTRACE_SEIZE, pid);
    trace(libc::PTRACE_INTERRUPT, pid);
}

/// Lets a process go that is held.
pub fn let_go(pid: i32) {
    trace(libc::PTRACE_DETACH, pid);
}

fn trace(request: libc::c_uint, pid: i32) {
    // SAFETY: these requests take a pid, and no pointer into this process.
    let done = unsafe { libc::ptrace(request as _, pid, 0usize, 0usize) };
    assert_eq!(done, 0, "ptrace({request}): {}", io::Error::last_os_error());
}

/// fork(2), for the apps, which have one thread. 0 is the child.
pub fn fork() -> i32 {
    // SAFETY: no other thread is there whose locks could be left held.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
    pid
}

/// Ends this process at once.
pub fn exit(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

/// pause(2)
pub fn pause() {
    // SAFETY: takes nothing.
    unsafe { libc::pause() };
}

/// Blocks a signal and takes the next one, again and again.
pub fn each(signal: i32, mut then: impl FnMut()) -> ! {
    // SAFETY: the set is initialised by the first call; all pointers are to live values.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        println!("ready");
        loop {
            let mut got = 0;
            libc::sigwait(&raw const set, &raw mut got);
            then();
        }
    }
}

/// Lets a signal pass by.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is no function of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// CLOCK_MONOTONIC in nanoseconds: the same for all processes.
pub fn clock() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Spins until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::hint::spin_loop();
    }
}

/// Waits until a process that is no child has become a zombie. Not through /proc: the kernel would have to throw
/// away what it keeps of each entry when the process is reaped, and that costs more than to reap it.
pub fn until_ended(pid: i32) {
    // SAFETY: plain numbers, and a pointer to a live pollfd; the descriptor is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
        assert!(fd >= 0, "pidfd_open: {}", io::Error::last_os_error());
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        assert_eq!(libc::poll(&raw mut poll, 1, 60_000), 1, "{pid} has not ended");
        libc::close(fd);
    }
}

/// What an app of a few instructions does once it has written one byte to stdout.
#[derive(Clone, Copy)]
pub enum Then {
    /// Waits for a signal to end it.
    Wait,
    /// Ends.
    End,
}

/// An app of a few instructions. What is measured with it is the init.
pub fn write_app(path: &Path, then: Then) -> io::Result<()> {
    // write(1, this code, 1); for (;;) pause();
    const CODE: [u8; 34] = [
        0xb8, 1, 0, 0, 0, // mov eax, 1
        0xbf, 1, 0, 0, 0, // mov edi, 1
        0x48, 0x8d, 0x35, 0xef, 0xff, 0xff, 0xff, // lea rsi, [rip - 17]: the code itself
        0xba, 1, 0, 0, 0, // mov edx, 1
        0x0f, 0x05, // syscall
        0xb8, 34, 0, 0, 0, // mov eax, 34
        0x0f, 0x05, // syscall
        0xeb, 0xf7, // jmp -9
        0x90,
    ];
    // The number of pause(2), and of exit(2), whose argument is the 1 in edi.
    const NUMBER: usize = 25;
    const BASE: u64 = 0x40_0000;
    let mut code = CODE;
    if let Then::End = then {
        code[NUMBER] = 60;
    }
    let mut file = Vec::new();
    file.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + 120, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // One segment, readable and executable.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let size = 120 + code.len() as u64;
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    fs::write(path, file)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
