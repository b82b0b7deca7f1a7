//! The app first. Where nobody has said anything, as most lives begin, the app is started before the C library is:
//! that library asks the processor what it can do (CPUID), and on a virtual machine the hypervisor answers each
//! question, which takes longer than all else of a launch. What else there is to be done is done beside the app.
//!
//! So nothing in here may use the C library: its memory functions are not linked up yet (IRELATIVE relocations), and
//! there is no place for errno. Texts are read and written byte by byte and volatile, or the compiler would make a
//! strlen(3) or memcpy(3) of a loop that looks like one; and there are no tables of pointers, which a program that
//! relocates itself has not yet put right.
//!
//! Wherever something is not as it mostly is, all is left as it was, and the app is started later, as any other.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use super::child::{self, Text};
use super::spawn::{Child, DEFAULT_PATH, Step};
use crate::sys::signals::Source;
use crate::sys::{process, raw};
use crate::types::{Pid, Signal};

/// Room for the paths where the app may lie; with a longer PATH it is started later, as with more words.
const PATHS: usize = 24;
const LETTERS: usize = 1024;
const WORDS: usize = 250;

/// A child that was started early, and where its signals are read.
#[derive(Debug)]
pub struct First {
    /// The app's child.
    pub child: Child,
    /// What was opened for its signals.
    pub source: Source,
}

static PID: AtomicI32 = AtomicI32::new(0);
static REPORT: AtomicI32 = AtomicI32::new(0);
static SIGNALS: AtomicI32 = AtomicI32::new(0);

/// Hands over what [`begin`] has started, if it has. We are a subreaper then or PID 1, have stdio and no terminal,
/// and SIGCHLD was never ignored.
pub fn take() -> Option<First> {
    let pid = PID.swap(0, Relaxed);
    // SAFETY: opened by `begin` for whoever comes first.
    let own = |number: &AtomicI32| unsafe { OwnedFd::from_raw_fd(number.load(Relaxed)) };
    (pid > 0).then(|| First {
        child: Child::guest(Pid(pid), own(&REPORT)),
        source: Source::from(own(&SIGNALS)),
    })
}

/// Called by the program's first instructions, with all signals blocked; `mask`: which were before.
///
/// # Safety
/// `stack` is what the kernel has put there: the number of words, the words, the environment and the auxiliary
/// vector (`create_elf_tables` in fs/binfmt_elf.c).
pub unsafe extern "C" fn begin(stack: *const usize, mask: u64) {
    // SAFETY: as the caller vouches for.
    if let Some(given) = unsafe { Given::read(stack) } {
        given.start(mask);
    }
}

// ---- what was given --------------------------------------------------------------------------------

/// A command line without options, in an environment that says nothing to graceinit.
struct Given {
    /// The app's words.
    argv: *const Text,
    environment: *const Text,
    path: Option<Text>,
}

/// # Safety
/// The text must have this byte, or end before it and be looked at in order.
unsafe fn byte(text: Text, at: usize) -> u8 {
    // SAFETY: as the caller vouches for.
    unsafe { ptr::read_volatile(text.add(at).cast()) }
}

/// Whether a text begins with this.
fn begins(text: Text, with: &[u8]) -> bool {
    // SAFETY: what differs first is at the latest the end of the text.
    with.iter().enumerate().all(|(at, wanted)| unsafe { byte(text, at) } == *wanted)
}

/// Whether some byte is in a text, and where the text after the last one begins.
fn after_last(text: Text, wanted: u8) -> (bool, Text) {
    let (mut at, mut found, mut rest) = (0, false, text);
    loop {
        // SAFETY: up to the end of the text.
        match unsafe { byte(text, at) } {
            0 => return (found, rest),
            // SAFETY: not behind the end of the text.
            here if here == wanted => (found, rest) = (true, unsafe { text.add(at + 1) }),
            _ => {}
        }
        at += 1;
    }
}

/// How variables begin that may mean something, to graceinit or, by its pid, to the app; and one that the C library
/// replaces when it starts, while the app's child may be reading it. (One text, with a name: packaging/layout.)
static TELLING: [u8; 79] =
    *b"GRACE\0KUBERNETES_SERVICE_HOST=\0NOTIFY_SOCKET=\0WATCHDOG_\0LISTEN_\0GLIBC_TUNABLES=";
static PATH: [u8; 5] = *b"PATH=";
static TERMINAL: [u8; 9] = *b"/dev/tty\0";

/// Whether a variable begins like one of those.
fn tells(entry: Text) -> bool {
    let (mut at, mut like) = (0, true);
    for wanted in &TELLING {
        if *wanted == 0 {
            if like {
                return true;
            }
            (at, like) = (0, true);
            continue;
        }
        // SAFETY: as far as it is alike, it has not ended.
        like = like && unsafe { byte(entry, at) } == *wanted;
        at += 1;
    }
    like
}

impl Given {
    /// # Safety
    /// As for [`begin`].
    unsafe fn read(stack: *const usize) -> Option<Given> {
        // SAFETY: the kernel's layout: a number, so many pointers, null, pointers up to null, pairs up to 0.
        unsafe {
            let count = *stack;
            let words: *const Text = stack.add(1).cast();
            if !(2..=WORDS).contains(&count) {
                return None;
            }
            // The other programs that it may be called as have their own defaults; none begins so.
            if byte(after_last(*words, b'/').1, 0) != b'g' {
                return None;
            }
            let first = *words.add(1);
            let argv = match byte(first, 0) {
                b'-' if byte(first, 1) == b'-' && byte(first, 2) == 0 => words.add(2),
                b'-' => return None,
                _ => words.add(1),
            };
            if (*argv).is_null() || byte(*argv, 0) == 0 {
                return None;
            }
            let environment = words.add(count + 1);
            let (mut entries, mut path) = (environment, None);
            while !(*entries).is_null() {
                if tells(*entries) {
                    return None;
                }
                if path.is_none() && begins(*entries, &PATH) {
                    path = Some((*entries).add(5));
                }
                entries = entries.add(1);
            }
            let mut pairs: *const usize = entries.add(1).cast();
            while *pairs != libc::AT_NULL as usize {
                // The C library takes variables away from a program with more rights than its caller.
                if *pairs == libc::AT_SECURE as usize && *pairs.add(1) != 0 {
                    return None;
                }
                pairs = pairs.add(2);
            }
            Some(Given { argv, environment, path })
        }
    }
}

// ---- the start -------------------------------------------------------------------------------------

/// What the child reads. It lies where its stack begins.
#[repr(align(16))]
struct Orders {
    mask: u64,
    report: RawFd,
    argv: *const Text,
    environment: *const Text,
    paths: [Text; PATHS],
    count: usize,
    letters: [u8; LETTERS],
}

impl Given {
    fn start(&self, mask: u64) {
        if !is_ordinary() {
            return;
        }
        let Some(top) = child::take_stack(size_of::<Orders>()) else { return };
        let orders: *mut Orders = top.cast();
        let Some((signals, report, line)) = open() else { return child::return_stack() };
        // SAFETY: the room is ours alone, large enough, and aligned as the stack is.
        let pid = unsafe {
            (*orders).mask = mask;
            (*orders).report = line;
            (*orders).argv = self.argv;
            (*orders).environment = self.environment;
            (*orders).count = 0;
            if self.find(orders).is_some() { raw::clone(top, guest, orders.cast()) } else { Err(0) }
        };
        let Ok(pid) = pid else {
            [line, signals, report].into_iter().for_each(close);
            return child::return_stack();
        };
        close(line);
        // SAFETY: plain numbers. From both sides: see `spawn::start`.
        let _ = unsafe { raw::call(libc::SYS_setpgid, [pid, pid]) };
        give_way(signals);
        REPORT.store(report, Relaxed);
        SIGNALS.store(signals, Relaxed);
        PID.store(pid as i32, Relaxed);
    }

    /// Where the app may lie, in the order of PATH: as `spawn::Program` has it. `None`: there is no room.
    ///
    /// # Safety
    /// The orders are live and empty.
    unsafe fn find(&self, orders: *mut Orders) -> Option<()> {
        // SAFETY: live, and up to the ends of texts.
        unsafe {
            let name = *self.argv;
            let paths: *mut Text = (&raw mut (*orders).paths).cast();
            if after_last(name, b'/').0 {
                ptr::write_volatile(paths, name);
                (*orders).count = 1;
                return Some(());
            }
            let path = self.path.unwrap_or(DEFAULT_PATH.as_ptr());
            let letters: *mut u8 = (&raw mut (*orders).letters).cast();
            let (mut from, mut to) = (0, 0);
            let mut write = |letter: u8| {
                if to == LETTERS {
                    return None;
                }
                ptr::write_volatile(letters.add(to), letter);
                to += 1;
                Some(letters.add(to - 1))
            };
            loop {
                // An empty part is the current directory.
                let begin = match byte(path, from) {
                    0 | b':' => write(b'.')?,
                    letter => {
                        from += 1;
                        write(letter)?
                    }
                };
                while byte(path, from) != 0 && byte(path, from) != b':' {
                    write(byte(path, from))?;
                    from += 1;
                }
                write(b'/')?;
                let mut at = 0;
                while byte(name, at) != 0 {
                    write(byte(name, at))?;
                    at += 1;
                }
                write(0)?;
                if (*orders).count == PATHS {
                    return None;
                }
                ptr::write_volatile(paths.add((*orders).count), begin.cast());
                (*orders).count += 1;
                if byte(path, from) == 0 {
                    return Some(());
                }
                from += 1;
            }
        }
    }
}

fn close(fd: RawFd) {
    // SAFETY: it is ours.
    let _ = unsafe { raw::call(libc::SYS_close, [fd as usize]) };
}

/// Whether all is as mostly: stdio is there, there is no terminal, SIGCHLD is not ignored, and the kernel lets a
/// child share our memory. Orphans come to us then.
fn is_ordinary() -> bool {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let terminal = [libc::AT_FDCWD as usize, TERMINAL.as_ptr() as usize, flags as usize];
    let mut action = MaybeUninit::<[u64; 4]>::uninit();
    let asked = [Signal::CHLD.number() as usize, 0, action.as_mut_ptr() as usize, 8];
    // SAFETY: plain numbers, a terminated path, and room for the kernel's structure (`signals::reset_dispositions`).
    unsafe {
        for number in 0..3 {
            if raw::call(libc::SYS_fcntl, [number, libc::F_GETFD as usize]).is_err() {
                return false;
            }
        }
        match raw::call(libc::SYS_openat, terminal) {
            Ok(fd) => {
                close(fd as RawFd);
                return false;
            }
            Err(libc::ENXIO) => {}
            Err(_) => return false,
        }
        // The handler comes first, and was reset by execve if it was one.
        if raw::call(libc::SYS_rt_sigaction, asked).is_err()
            || *action.as_ptr().cast::<usize>() != 0
        {
            return false;
        }
        if !child::is_recent(process::kernel()) {
            return false;
        }
        let subreaper = [libc::PR_SET_CHILD_SUBREAPER as usize, 1, 0, 0];
        raw::call(libc::SYS_getpid, []) == Ok(1) || raw::call(libc::SYS_prctl, subreaper).is_ok()
    }
}

/// What signals are read from, and both ends of the report.
fn open() -> Option<(RawFd, RawFd, RawFd)> {
    let all = u64::MAX;
    let flags = (libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) as usize;
    let mut ends = [0 as RawFd; 2];
    // SAFETY: live values of the sizes that the kernel expects.
    unsafe {
        let wanted = [usize::MAX, &raw const all as usize, 8, flags];
        let signals = raw::call(libc::SYS_signalfd4, wanted).ok()? as RawFd;
        let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK) as usize;
        if raw::call(libc::SYS_pipe2, [ends.as_mut_ptr() as usize, flags]).is_err() {
            close(signals);
            return None;
        }
        Some((signals, ends[0], ends[1]))
    }
}

/// The app has the first millisecond to itself: with one processor, what we have to do would come before its first
/// instruction. Unless there is something to be done, as a signal tells: its end is one.
fn give_way(signals: RawFd) {
    let news = libc::pollfd { fd: signals, events: libc::POLLIN, revents: 0 };
    let limit = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    // SAFETY: live values, and no mask.
    let _ = unsafe {
        raw::call(libc::SYS_ppoll, [&raw const news as usize, 1, &raw const limit as usize, 0])
    };
}

/// The child: a guest in our memory, on its own stack.
extern "C" fn guest(orders: *mut c_void) -> ! {
    let orders: *const Orders = orders.cast_const().cast();
    // SAFETY: they are not changed and not freed while there is a child.
    unsafe {
        let _ = raw::call(libc::SYS_setpgid, [0, 0]);
        let mask = &raw const (*orders).mask as usize;
        let _ = raw::call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, mask, 0, 8]);
        let paths =
            std::slice::from_raw_parts((&raw const (*orders).paths).cast(), (*orders).count);
        let (argv, environment) = ((*orders).argv, (*orders).environment);
        let errno = child::become_one_of(paths, argv, environment, |shell, script| {
            run_script(shell, script, argv, environment);
        });
        child::fail((*orders).report, Step::Execute, errno)
    }
}

/// A shell, for a file that execve does not know the format of.
#[cold]
#[inline(never)]
fn run_script(shell: Text, script: Text, argv: *const Text, environment: *const Text) {
    let mut words = MaybeUninit::<[Text; WORDS + 2]>::uninit();
    let words: *mut Text = words.as_mut_ptr().cast();
    // SAFETY: there are no more words than were counted, with the null behind them.
    unsafe {
        ptr::write_volatile(words, shell);
        ptr::write_volatile(words.add(1), script);
        let mut at = 1;
        loop {
            let word = *argv.add(at);
            at += 1;
            ptr::write_volatile(words.add(at), word);
            if word.is_null() {
                break;
            }
        }
        child::become_program(shell, words, environment);
    }
}

/// What would be started with these words and this environment: the paths that are tried, and the app's words.
#[cfg(test)]
pub(crate) fn would_start(
    words: &[&str],
    variables: &[&str],
) -> Option<(Vec<String>, Vec<String>)> {
    use std::ffi::{CStr, CString};
    let texts = |all: &[&str]| -> Vec<CString> {
        all.iter().map(|text| CString::new(*text).expect("no NUL")).collect()
    };
    let (words, variables) = (texts(words), texts(variables));
    let pointers = |texts: &[CString]| -> Vec<usize> {
        texts.iter().map(|text| text.as_ptr() as usize).chain([0]).collect()
    };
    let vector = [libc::AT_SECURE as usize, 0, libc::AT_NULL as usize, 0];
    let stack =
        [vec![words.len()], pointers(&words), pointers(&variables), vector.to_vec()].concat();
    // SAFETY: as the kernel makes it.
    let given = unsafe { Given::read(stack.as_ptr()) }?;
    let mut orders = Box::new(MaybeUninit::<Orders>::uninit());
    let shown = |text: &Text| {
        // SAFETY: terminated.
        unsafe { CStr::from_ptr(*text) }.to_string_lossy().into_owned()
    };
    // SAFETY: the orders are live; as many paths were written as were counted, and the words end with a null pointer.
    unsafe {
        let orders = orders.as_mut_ptr();
        (*orders).count = 0;
        given.find(orders)?;
        let paths =
            std::slice::from_raw_parts((&raw const (*orders).paths).cast(), (*orders).count);
        let count = (0..).position(|at| (*given.argv.add(at)).is_null()).unwrap_or_default();
        let argv = std::slice::from_raw_parts(given.argv, count);
        Some((paths.iter().map(shown).collect(), argv.iter().map(shown).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(name: &str, path: &str) -> Option<Vec<String>> {
        would_start(&["graceinit", name], &["HOME=/", &format!("PATH={path}"), "PATH=/no"])
            .map(|(paths, _)| paths)
    }

    #[test]
    fn it_is_looked_for_as_ever() {
        assert_eq!(paths("app", "/a:/b").unwrap(), ["/a/app", "/b/app"]);
        assert_eq!(paths("app", ":/b:").unwrap(), ["./app", "/b/app", "./app"]);
        assert_eq!(paths("app", "").unwrap(), ["./app"]);
        assert_eq!(paths("./app", "/a:/b").unwrap(), ["./app"]);
        let (found, _) = would_start(&["g", "app"], &[]).unwrap();
        assert_eq!(found, ["/bin/app", "/usr/bin/app"]);
    }

    #[test]
    fn what_there_is_no_room_for_waits() {
        let fits = vec!["/a"; PATHS].join(":");
        assert_eq!(paths("app", &fits).map(|paths| paths.len()), Some(PATHS));
        assert_eq!(paths("app", &format!("{fits}:/a")), None);
        let long = "x".repeat(LETTERS - "/a//\0".len());
        assert!(paths(&long, "/a/").is_some());
        assert_eq!(paths(&format!("{long}x"), "/a/"), None);
        let words = |count: usize| would_start(&vec!["g"; count], &[]).is_some();
        assert!(words(WORDS) && !words(WORDS + 1));
    }
}
