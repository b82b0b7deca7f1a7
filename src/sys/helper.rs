//! A helper that stands aside: a child that is no part of what graceinit reaps, signals or waits for.
//!
//! It is made with clone(2) and no exit signal. For wait(2) that makes it a "clone child": the kernel
//! leaves it out of every question without __WALL or __WCLONE (eligible_child in kernel/exit.c), so
//! "no child is left" is still true when nobody but the helper is. Its end sends no SIGCHLD either;
//! the end of its socket tells.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::fd::{self, Read};
use super::signals::{self, Mask};
use super::{clock, poll, process, reap};
use crate::types::{Pid, Signal, Status};

/// Who a helper is if graceinit is root and nobody chose: nobody.
const NOBODY: (u32, u32) = (65534, 65534);

/// What a helper is given.
#[derive(Debug)]
pub struct Given<'a> {
    /// Its name, as ps(1) shows it: at most 15 bytes.
    pub name: &'a CStr,
    /// Its user and group, if it is to have others than [`NOBODY`].
    pub user: Option<(u32, u32)>,
    /// It stays who graceinit is, with all its rights, and where it is. Only for what reads nothing from
    /// outside.
    pub trusted: bool,
    /// The descriptors that it keeps.
    pub keep: &'a [BorrowedFd<'a>],
    /// How many descriptors it wants to have open at a time.
    pub files: u64,
}

/// A helper that was not reaped.
#[derive(Debug)]
pub struct Helper(Pid);

impl Helper {
    /// Makes a helper that calls `work` and ends with what that returns. It has a full copy of this
    /// process but for the environment, no signal reaches it except SIGKILL and SIGSTOP, it dies with
    /// this process, and it has no right that it could be robbed of. (`work` must not use what was
    /// borrowed from the environment: it reads as zeroes.)
    ///
    /// # Errors
    /// Those of clone(2): EAGAIN, ENOMEM.
    pub fn start(given: &Given<'_>, work: &dyn Fn() -> u8) -> io::Result<Helper> {
        let parent = process::own_pid();
        // The dead-man's alarm too: its handler must not run in the helper.
        let own = signals::set_mask(Mask::ALL);
        // No flag and no exit signal. All arguments are zero, so it does not matter that their order
        // differs between architectures.
        // SAFETY: without a stack of its own the child goes on with a copy of ours, as after fork(2).
        // This program has one thread, so no lock is held and all of its memory can be used. (What the
        // C library's fork would do besides is for other threads.)
        let pid = unsafe { libc::syscall(libc::SYS_clone, 0usize, 0usize, 0usize, 0usize, 0usize) };
        if pid == 0 {
            let code = match settle(given, parent) {
                Ok(()) => work(),
                Err(_) => 1,
            };
            process::exit(code);
        }
        let error = io::Error::last_os_error();
        signals::set_mask(own);
        if pid < 0 { Err(error) } else { Ok(Helper(Pid(pid as i32))) }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.0
    }

    /// SIGKILL. As long as it is not reaped its pid is its own.
    pub fn kill(&self) {
        let _ = signals::send(self.0, Signal::KILL);
    }

    /// Kills and reaps it, in a moment as a rule and never in longer than `within`. If it takes longer
    /// (it is traced), or on a kernel before 5.3, it is left to whoever inherits it.
    pub fn end(&self, within: Duration) {
        self.kill();
        self.wait_for_end(within);
        self.reap();
    }

    /// Waits for its end, but for no longer than this. It is still to be reaped.
    pub fn wait_for_end(&self, within: Duration) {
        // SAFETY: plain numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.0.0, 0) };
        if fd >= 0 {
            // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
            let held = unsafe { OwnedFd::from_raw_fd(fd as i32) };
            let now = clock::now();
            // It can be read once the process has ended (pidfd_open(2)).
            poll::wait(&[held.as_fd()], Some(now.after(within)), now);
        }
    }

    /// Lets it go on if somebody has stopped it since the last question. Whether that was so.
    pub fn resume(&self) -> bool {
        let stopped = reap::has_helper_stopped(self.0);
        if stopped {
            let _ = signals::send(self.0, Signal::CONT);
        }
        stopped
    }

    /// How it ended, if it has; then it is reaped, and this value is of no more use.
    pub fn reap(&self) -> Option<Status> {
        reap::reap_helper(self.0)
    }
}

/// The child's side. What can fail without harm is not asked for its result.
fn settle(given: &Given<'_>, parent: Pid) -> io::Result<()> {
    // Signals to a group, Ctrl-C and Ctrl-Z are not for it, whatever group is in the foreground.
    // SAFETY: takes nothing; a child that was just made leads no group, so it cannot fail.
    unsafe { libc::setsid() };
    // Somebody may wait for the end of the log.
    let nothing = fd::empty_input()?;
    for number in 0..3 {
        // SAFETY: plain numbers.
        if unsafe { libc::dup2(nothing.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    drop(nothing);
    fd::close_inherited(given.keep);
    forget_environment();
    if !given.trusted {
        // No mount stays busy because of it.
        // SAFETY: the path is terminated.
        unsafe { libc::chdir(c"/".as_ptr()) };
    }
    limit(libc::RLIMIT_CORE, 0);
    limit(libc::RLIMIT_NOFILE, given.files);
    if !given.trusted {
        give_up_rights(given.user);
    }
    set(libc::PR_SET_DUMPABLE, 0);
    set(libc::PR_SET_NAME, given.name.as_ptr() as libc::c_ulong);
    // Last: a change of the user clears it (prctl(2)). And it tells nothing of a parent that has died
    // before.
    set(libc::PR_SET_PDEATHSIG, Signal::KILL.number() as libc::c_ulong);
    if process::parent() != parent {
        process::exit(1);
    }
    Ok(())
}

/// Passwords are handed over in variables. Whoever takes a helper over is not to find them in its copy
/// of our memory. The strings lie where the kernel has put them, and nobody has copied them: the app
/// and the hooks are given the same pointers.
fn forget_environment() {
    unsafe extern "C" {
        static environ: *mut *mut libc::c_char;
    }
    // SAFETY: one thread. `environ` points to an array that ends with a null pointer, its strings are
    // terminated and lie on the stack, which can be written. This is our own copy of it, and nothing
    // that the child goes on to do reads what was borrowed from it.
    unsafe {
        if environ.is_null() {
            return;
        }
        let mut entry = environ;
        while !(*entry).is_null() {
            std::ptr::write_bytes(*entry, 0, libc::strlen(*entry));
            *entry = std::ptr::null_mut();
            entry = entry.add(1);
        }
    }
}

/// Another user, no group, no capability, and no way back. Without the right to change the user one
/// has little to lose; the capabilities go in any case.
fn give_up_rights(user: Option<(u32, u32)>) {
    // SAFETY: takes nothing, cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if let Some((uid, gid)) = user.or(root.then_some(NOBODY)) {
        // SAFETY: plain numbers; an empty list of groups is not read. Raw system calls: the C
        // library's versions want to tell other threads.
        unsafe {
            libc::syscall(libc::SYS_setgroups, 0usize, std::ptr::null::<u32>());
            libc::syscall(libc::SYS_setresgid, gid, gid, gid);
            libc::syscall(libc::SYS_setresuid, uid, uid, uid);
        }
    }
    // capset(2), version 3: version and pid (0: ours); two times effective, permitted, inheritable.
    let header = [0x2008_0522u32, 0];
    let none = [0u32; 6];
    // SAFETY: both pointers are to live values of the sizes that this version has.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    set(libc::PR_SET_NO_NEW_PRIVS, 1);
}

fn set(option: i32, value: libc::c_ulong) {
    // SAFETY: the options used here take one number, or a pointer to a terminated text that lives.
    unsafe {
        libc::prctl(option, value, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong)
    };
}

/// No core at all; of descriptors at least so many, if the hard limit allows them.
fn limit(resource: libc::__rlimit_resource_t, wanted: u64) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    unsafe { libc::getrlimit(resource, &raw mut now) };
    now.rlim_cur = if wanted == 0 { 0 } else { now.rlim_cur.max(wanted.min(now.rlim_max)) };
    // SAFETY: as above.
    unsafe { libc::setrlimit(resource, &raw const now) };
}

/// One end of a connection between graceinit and a helper. Whole messages; never blocks; closed by
/// execve.
#[derive(Debug)]
pub struct End(OwnedFd);

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// It is on its way.
    Yes,
    /// There is no room at present.
    Full,
    /// It is lost: nobody is there, or no memory is left.
    Lost,
    /// It is longer than the socket's buffer.
    TooLong,
}

impl End {
    /// Both ends.
    ///
    /// # Errors
    /// Those of socketpair(2): no descriptors left.
    pub fn pair() -> io::Result<(End, End)> {
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let mut fds = [-1; 2];
        // SAFETY: the pointer is to two live numbers.
        if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us these two; nobody else owns them.
        Ok(unsafe { (End(OwnedFd::from_raw_fd(fds[0])), End(OwnedFd::from_raw_fd(fds[1]))) })
    }

    /// Sends a message, without SIGPIPE.
    pub fn send(&self, message: &[u8]) -> Sent {
        let fd = self.0.as_raw_fd();
        // SAFETY: the buffer is live and its length is what is passed on.
        let sent =
            unsafe { libc::send(fd, message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Sent::Yes;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Sent::Full,
            Some(libc::EMSGSIZE) => Sent::TooLong,
            _ => Sent::Lost,
        }
    }

    /// Makes room for messages of `bytes`, as far as net.core.wmem_max allows. Never takes any away.
    pub fn make_room(&self, bytes: i32) {
        let fd = self.0.as_raw_fd();
        let mut now: i32 = 0;
        let mut size = size_of::<i32>() as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
        // SAFETY: the pointers are to live numbers of the size that is passed on.
        unsafe { libc::getsockopt(fd, level, name, (&raw mut now).cast(), &raw mut size) };
        // The kernel doubles what it is asked for, and shows the double (socket(7)).
        if now < bytes.saturating_mul(2) {
            // SAFETY: as above.
            unsafe { libc::setsockopt(fd, level, name, (&raw const bytes).cast(), size) };
        }
    }

    /// How much of what was sent the other side has not taken yet, in bytes of the kernel's memory: a
    /// short message counts as some hundred.
    pub fn untaken(&self) -> usize {
        let mut bytes: i32 = 0;
        // SAFETY: the pointer is to a live number. TIOCOUTQ is SIOCOUTQ (unix(7)).
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        usize::try_from(bytes).unwrap_or(0)
    }

    /// Takes a message. What is longer than `into` is cut.
    pub fn receive(&self, into: &mut [u8]) -> Read {
        let fd = self.0.as_raw_fd();
        // SAFETY: the buffer is live and its length is what is passed on.
        let count = unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), 0) };
        match usize::try_from(count) {
            Ok(0) => Read::End,
            Ok(count) => Read::Bytes(count),
            Err(_) => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Read::Empty,
                _ => Read::End,
            },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::sys::launch::spawn::{self, Setup, Signals, Task};

    /// Does `work` in a process of one thread, as graceinit is one: the test runner has many, and
    /// after a bare clone(2) the locks of the others would stay locked for ever.
    pub(crate) fn alone(work: impl Fn()) {
        let (mut said, says): (PipeReader, PipeWriter) = std::io::pipe().expect("a pipe");
        let nothing = fd::empty_input().expect("an input");
        let call = || match catch_unwind(AssertUnwindSafe(&work)) {
            Ok(()) => 0,
            Err(reason) => {
                let reason = reason
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or(reason.downcast_ref::<&str>().copied());
                let _ = std::io::stderr().write_all(reason.unwrap_or("?").as_bytes());
                1
            }
        };
        let setup = Setup {
            signals: Signals::Clean,
            user: None,
            session: false,
            terminal: None,
            stdio: Some([nothing.as_fd(), says.as_fd(), says.as_fd()]),
            variables: &[],
            without: &[],
            extra: None,
        };
        let child = spawn::spawn(Task::Call(&call), &setup).expect("a child");
        drop(says);
        let mut text = String::new();
        // To the end of the last process that has it.
        said.read_to_string(&mut text).expect("text");
        let ended = Helper(child.pid).ended();
        assert_eq!((ended, text.as_str()), (Some(Status::Code(0)), ""));
    }

    impl Helper {
        fn ended(&self) -> Option<Status> {
            self.wait_for_end(Duration::from_secs(10));
            self.reap()
        }
    }

    fn given<'a>(keep: &'a [BorrowedFd<'a>]) -> Given<'a> {
        Given { name: c"graceinit-test", user: None, trusted: false, keep, files: 64 }
    }

    #[test]
    fn it_is_seen_by_nobody_who_does_not_ask_for_it() {
        alone(|| {
            let (ours, theirs) = End::pair().expect("a pair");
            let keep = [theirs.as_fd()];
            let helper = Helper::start(&given(&keep), &|| {
                theirs.send(b"here");
                poll::wait(&[theirs.as_fd()], None, clock::now());
                7
            })
            .expect("a helper");
            poll::wait(&[ours.as_fd()], None, clock::now());
            // While it lives.
            assert_eq!(reap::find(), reap::Found::NoChild);
            assert!(helper.reap().is_none());
            // Not TERM, nor one that a process sends to all.
            signals::send(helper.pid(), Signal::TERM).expect("sent");
            signals::send_group(helper.pid(), Signal::HUP).expect("it leads a group");
            assert_eq!(ours.send(b"go"), Sent::Yes);
            drop(ours);
            // When it has ended. Its socket's end tells.
            assert_eq!(helper.ended(), Some(Status::Code(7)));
            assert_eq!(reap::find(), reap::Found::NoChild);
        });
    }

    #[test]
    fn its_zombie_does_not_count_either_and_only_its_own_question_reaps_it() {
        alone(|| {
            let (ours, theirs) = End::pair().expect("a pair");
            let keep = [theirs.as_fd()];
            let helper = Helper::start(&given(&keep), &|| 3).expect("a helper");
            drop(theirs);
            helper.wait_for_end(Duration::from_secs(10));
            assert_eq!(ours.receive(&mut [0]), Read::End);
            assert_eq!(reap::find(), reap::Found::NoChild);
            assert_eq!(reap::peek(helper.pid()), None);
            assert_eq!(reap::reap(helper.pid()), None);
            assert_eq!(helper.reap(), Some(Status::Code(3)));
            assert_eq!(helper.reap(), None);
        });
    }

    #[test]
    fn it_knows_nothing_of_the_environment() {
        alone(|| {
            let (ours, theirs) = End::pair().expect("a pair");
            let keep = [theirs.as_fd()];
            let before = process::environment().count();
            assert_ne!(before, 0);
            let helper = Helper::start(&given(&keep), &|| {
                let left = std::env::vars_os().count() + process::environment().count();
                theirs.send(&[u8::try_from(left).unwrap_or(u8::MAX)]);
                0
            })
            .expect("a helper");
            assert_eq!(helper.ended(), Some(Status::Code(0)));
            let mut left = [7];
            assert_eq!((ours.receive(&mut left), left), (Read::Bytes(1), [0]));
            assert_eq!(process::environment().count(), before);
        });
    }

    #[test]
    fn messages_are_whole_or_not_at_all() {
        let (ours, theirs) = End::pair().expect("a pair");
        ours.make_room(1 << 18);
        assert_eq!(ours.untaken(), 0);
        assert_eq!(ours.send(&vec![0; 100 << 20]), Sent::TooLong);
        assert_eq!(ours.untaken(), 0);
        assert_eq!(ours.send(&[1; 65_537]), Sent::Yes);
        assert!(ours.untaken() > 65_537);
        let mut message = vec![0; 65_540];
        assert_eq!(theirs.receive(&mut message), Read::Bytes(65_537));
        assert_eq!(ours.untaken(), 0);
        drop(theirs);
        assert_eq!(ours.send(b"x"), Sent::Lost);
    }

    #[test]
    fn it_keeps_nothing_but_what_it_is_given() {
        alone(|| {
            let (ours, theirs) = End::pair().expect("a pair");
            let keep = [theirs.as_fd()];
            let helper = Helper::start(&given(&keep), &|| {
                let mut open: Vec<u32> = Vec::new();
                for number in 0..100 {
                    // SAFETY: only asks.
                    if unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0 {
                        open.push(number as u32);
                    }
                }
                let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
                let field = |name: &str| {
                    let line = status.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or("?").split_whitespace().collect::<Vec<_>>().join(" ")
                };
                let fields = ["Name:", "Uid:", "Groups:", "CapPrm:", "NoNewPrivs:", "SigBlk:"];
                let fields = fields.map(field).join("|");
                let stray = open.iter().any(|fd| *fd > 2 && *fd != theirs.0.as_raw_fd() as u32);
                theirs.send(format!("{stray}|{fields}").as_bytes());
                0
            })
            .expect("a helper");
            helper.wait_for_end(Duration::from_secs(10));
            let mut text = [0; 200];
            let Read::Bytes(count) = ours.receive(&mut text) else { panic!("nothing said") };
            let text = String::from_utf8_lossy(&text[..count]).into_owned();
            // SAFETY: takes nothing.
            let root = unsafe { libc::geteuid() } == 0;
            assert!(text.starts_with("false|graceinit-test|"), "{text}");
            // All but KILL and STOP, which cannot be blocked.
            let rights = "|0000000000000000|1|fffffffffffbfeff";
            assert!(text.contains(rights), "{text}");
            assert!(!root || text.contains("|65534 65534 65534 65534||"), "{text}");
            assert_eq!(helper.reap(), Some(Status::Code(0)));
        });
    }
}
