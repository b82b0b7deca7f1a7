//! A helper: a child that does not count as part of the tree that graceinit signals, reaps and waits for.
//!
//! It is made with clone(2) and no exit signal. For wait(2) that makes it a "clone child", which the kernel leaves
//! out of every call without __WALL or __WCLONE (eligible_child in kernel/exit.c). So a helper does not keep the tree
//! from being empty. No SIGCHLD is sent when it exits; the end of its socket tells that.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::fd::{self, Read};
use super::signals::{self, Mask};
use super::{clock, poll, process, reap};
use crate::types::{Pid, Signal, Status};

/// The user and group of a helper if graceinit is root and no other user is given: `nobody`.
pub const NOBODY: (u32, u32) = (65534, 65534);

/// How a helper differs from this process.
#[derive(Debug)]
pub struct Given<'a> {
    /// Its name, as ps(1) shows it: at most 15 bytes.
    pub name: &'a CStr,
    /// Its user and group; `None`: [`NOBODY`].
    pub user: Option<(u32, u32)>,
    /// The helper keeps the user, the rights and the working directory of graceinit. Only for a helper that parses no
    /// input of other processes.
    pub trusted: bool,
    /// It keeps stderr.
    pub log: bool,
    /// The descriptors that it has.
    pub descriptors: Descriptors<'a>,
    /// The number of descriptors that it may have open.
    pub files: u64,
}

/// The descriptors of a helper.
#[derive(Debug)]
pub enum Descriptors<'a> {
    /// Copies of these, and stdio that leads nowhere.
    Only(&'a [BorrowedFd<'a>]),
    /// Those of this process, which sees what the helper opens and closes (`sys::sharing`).
    Shared,
}

/// A helper that is not reaped yet.
#[derive(Debug)]
pub struct Helper(Pid);

impl Helper {
    /// Makes a helper that calls `work` and exits with the code that it returns. The helper is a copy of this process
    /// without the environment. It blocks every signal, is killed when this process dies, and has no privilege unless
    /// it is trusted. (`work` must not use strings that were borrowed from the environment: they are zeroes.)
    ///
    /// # Errors
    /// Those of clone(2): EAGAIN, ENOMEM.
    pub fn start(given: &Given<'_>, work: &dyn Fn() -> u8) -> io::Result<Helper> {
        let parent = process::own_pid();
        // SIGALRM as well: the handler of the dead-man timer must not run in the helper.
        let own = signals::set_mask(Mask::ALL);
        // (What the C library's fork does besides is for other threads.)
        // SAFETY: this program has one thread, so no lock is held, and the child can use all of the memory.
        let pid = unsafe {
            process::clone_helper(match given.descriptors {
                Descriptors::Only(_) => process::Descriptors::Copied,
                Descriptors::Shared => process::Descriptors::Shared,
            })
        };
        if let Ok(Pid(0)) = pid {
            let code = match settle(given, parent) {
                Ok(()) => work(),
                Err(_) => 1,
            };
            process::exit(code);
        }
        signals::set_mask(own);
        pid.map(Helper)
    }

    /// A helper that was started before and is not reaped yet.
    pub(super) fn of(pid: Pid) -> Helper {
        Helper(pid)
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.0
    }

    /// Sends SIGKILL. The pid is not used again until the helper is reaped.
    pub fn kill(&self) {
        let _ = signals::send(self.0, Signal::KILL);
    }

    /// Kills and reaps the helper. If it does not end `within` that time (it is traced), or before Linux 5.3, it may
    /// stay a zombie, which the next parent reaps.
    pub fn end(&self, within: Duration) {
        self.kill();
        self.wait_for_end(within);
        self.reap();
    }

    /// Waits until the helper has ended, but not longer than `within`. It is not reaped.
    pub fn wait_for_end(&self, within: Duration) {
        if let Ok(held) = process::pidfd(self.0) {
            let now = clock::now();
            poll::wait(&[held.as_fd()], Some(now.after(within)), now);
        }
    }

    /// Sends SIGCONT if the helper was stopped since the last call. Whether it was.
    pub fn resume(&self) -> bool {
        let stopped = reap::has_helper_stopped(self.0);
        if stopped {
            let _ = signals::send(self.0, Signal::CONT);
        }
        stopped
    }

    /// Reaps the helper and returns its status, if it has ended.
    pub fn reap(&self) -> Option<Status> {
        reap::reap_helper(self.0)
    }
}

/// Makes the child a helper. Where the result of a call is ignored, a failure does no harm.
fn settle(given: &Given<'_>, parent: Pid) -> io::Result<()> {
    // So that no signal to a group or from a terminal reaches the helper.
    // SAFETY: setsid takes nothing.
    unsafe { libc::setsid() };
    if let Descriptors::Only(keep) = given.descriptors {
        keep_only(keep, given.log)?;
    }
    forget_environment();
    if !given.trusted {
        process::leave_directory();
    }
    limit(libc::RLIMIT_CORE, 0);
    limit(libc::RLIMIT_NOFILE, given.files);
    if !given.trusted {
        give_up_rights(given.user);
    }
    let _ = process::prctl(libc::PR_SET_DUMPABLE, 0);
    // SAFETY: the pointer is to a terminated string.
    unsafe { libc::prctl(libc::PR_SET_NAME, given.name.as_ptr()) };
    // Last, because a change of the user clears it (prctl(2)). A parent that has died before sends nothing.
    let _ = process::signal_when_parent_dies(Signal::KILL);
    if process::parent() != parent {
        process::exit(1);
    }
    Ok(())
}

/// Closes all descriptors but these, and perhaps stderr.
fn keep_only(keep: &[BorrowedFd<'_>], log: bool) -> io::Result<()> {
    // A reader of the log must see its end when graceinit exits.
    let nothing = fd::empty_input()?;
    for number in 0..if log { 2 } else { 3 } {
        // SAFETY: plain numbers.
        if unsafe { libc::dup2(nothing.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    drop(nothing);
    fd::close_inherited(keep);
    Ok(())
}

/// Overwrites the environment, which may hold passwords: an attacker who controls a helper must not find them in its
/// memory. There is no other copy of the strings: the app and the hooks get pointers to the same ones.
fn forget_environment() {
    unsafe extern "C" {
        static environ: *mut *mut libc::c_char;
    }
    // SAFETY: there is one thread. `environ` points to an array that ends with a null pointer; its strings are
    // terminated and lie on the stack, which can be written. The memory is the child's own copy, and the child does
    // not read strings that were borrowed from it.
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

/// Changes the user, and drops all groups and capabilities for good. A process that may not change its user keeps it,
/// but loses its capabilities as well.
fn give_up_rights(user: Option<(u32, u32)>) {
    let root = process::own_uid() == 0;
    if let Some((uid, gid)) = user.or(root.then_some(NOBODY)) {
        // Raw system calls: the C library's functions would tell its other threads.
        // SAFETY: plain numbers; an empty list of groups is not read.
        unsafe {
            libc::syscall(libc::SYS_setgroups, 0usize, std::ptr::null::<u32>());
            libc::syscall(libc::SYS_setresgid, gid, gid, gid);
            libc::syscall(libc::SYS_setresuid, uid, uid, uid);
        }
    }
    // capset(2), version 3: the version and the pid (0: this process); twice effective, permitted, inheritable.
    let header = [0x2008_0522u32, 0];
    let none = [0u32; 6];
    // SAFETY: both pointers are to live values of the sizes that this version has.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    let _ = process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
}

/// Sets a soft limit: to 0, or up to `wanted` as far as the hard limit allows.
fn limit(resource: libc::__rlimit_resource_t, wanted: u64) {
    let wanted = wanted as libc::rlim_t;
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    unsafe { libc::getrlimit(resource, &raw mut now) };
    now.rlim_cur = if wanted == 0 { 0 } else { now.rlim_cur.max(wanted.min(now.rlim_max)) };
    // SAFETY: the pointer is to a live rlimit.
    unsafe { libc::setrlimit(resource, &raw const now) };
}

/// One end of a connection between graceinit and a helper. It carries whole messages, never blocks, and is closed by
/// execve.
#[derive(Debug)]
pub struct End(OwnedFd);

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<End> for OwnedFd {
    fn from(end: End) -> OwnedFd {
        end.0
    }
}

/// The result of sending a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The message is in the socket.
    Yes,
    /// The socket has no room at present.
    Full,
    /// The message is lost: the other end is closed, or no memory is left.
    Lost,
    /// The message is longer than the buffer of the socket.
    TooLong,
}

impl End {
    /// Makes a connection and returns both ends.
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
        // SAFETY: both descriptors are new, so no other value owns them.
        Ok(unsafe { (End(OwnedFd::from_raw_fd(fds[0])), End(OwnedFd::from_raw_fd(fds[1]))) })
    }

    /// Sends a message, without SIGPIPE.
    pub fn send(&self, message: &[u8]) -> Sent {
        let fd = self.0.as_raw_fd();
        // SAFETY: the buffer is live and its length is what is passed on.
        let sent =
            unsafe { libc::send(fd, message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            fd::has_moved();
            return Sent::Yes;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Sent::Full,
            Some(libc::EMSGSIZE) => Sent::TooLong,
            _ => Sent::Lost,
        }
    }

    /// Enlarges the buffer for messages of `bytes`, as far as net.core.wmem_max allows.
    pub fn make_room(&self, bytes: i32) {
        let fd = self.0.as_raw_fd();
        let mut now: i32 = 0;
        let mut size = size_of::<i32>() as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
        // SAFETY: the pointers are to live numbers of the size that is passed on.
        unsafe { libc::getsockopt(fd, level, name, (&raw mut now).cast(), &raw mut size) };
        // The kernel doubles the value that is set, and shows the doubled value (socket(7)).
        if now < bytes.saturating_mul(2) {
            let _ = fd::set_option(self.as_fd(), level, name, &bytes);
        }
    }

    /// How much of what was sent the other end has not received yet, in bytes of the kernel's memory: a short message
    /// counts as some hundred.
    pub fn untaken(&self) -> usize {
        let mut bytes: i32 = 0;
        // TIOCOUTQ is SIOCOUTQ (unix(7)).
        // SAFETY: the pointer is to a live number.
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        usize::try_from(bytes).unwrap_or(0)
    }

    /// Receives a message. What does not fit into `into` is lost.
    pub fn receive(&self, into: &mut [u8]) -> Read {
        let fd = self.0.as_raw_fd();
        // SAFETY: the buffer is live and its length is what is passed on.
        let count = unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), 0) };
        match usize::try_from(count) {
            Ok(0) => Read::End,
            Ok(count) => {
                fd::has_moved();
                Read::Bytes(count)
            }
            Err(_) => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Read::Empty,
                _ => Read::End,
            },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read as _, Write as _};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::sys::launch::spawn::{self, Setup, Signals, Task};

    /// Does `work` in a process with one thread, like graceinit. The test runner has many threads, and in a child of
    /// clone(2) the locks of the other threads would stay locked for ever.
    pub(crate) fn alone(work: impl Fn()) {
        let (said, says) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
        let mut said = std::fs::File::from(said);
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
        // Until the last process that has the pipe ends.
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
        Given {
            name: c"graceinit-test",
            user: None,
            trusted: false,
            log: false,
            descriptors: Descriptors::Only(keep),
            files: 64,
        }
    }

    #[test]
    fn a_helper_is_found_by_no_wait_for_children() {
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
            // While the helper runs.
            assert_eq!(reap::find(), reap::Found::NoChild);
            assert!(helper.reap().is_none());
            // Every signal is blocked.
            signals::send(helper.pid(), Signal::TERM).expect("sent");
            signals::send_group(helper.pid(), Signal::HUP).expect("the helper leads a group");
            assert_eq!(ours.send(b"go"), Sent::Yes);
            drop(ours);
            // When the helper has ended, which the end of its socket has asked for.
            assert_eq!(helper.ended(), Some(Status::Code(7)));
            assert_eq!(reap::find(), reap::Found::NoChild);
        });
    }

    #[test]
    fn the_zombie_of_a_helper_is_found_by_its_own_reap_only() {
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
    fn a_helper_has_no_environment() {
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
    fn a_helper_keeps_no_other_descriptor_and_no_privilege() {
        alone(|| {
            let (ours, theirs) = End::pair().expect("a pair");
            let keep = [theirs.as_fd()];
            let helper = Helper::start(&given(&keep), &|| {
                let mut open: Vec<u32> = Vec::new();
                for number in 0..100 {
                    if fd::is_open(number) {
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
            let root = process::own_uid() == 0;
            assert!(text.starts_with("false|graceinit-test|"), "{text}");
            // All but KILL and STOP, which cannot be blocked.
            let rights = "|0000000000000000|1|fffffffffffbfeff";
            assert!(text.contains(rights), "{text}");
            assert!(!root || text.contains("|65534 65534 65534 65534||"), "{text}");
            assert_eq!(helper.reap(), Some(Status::Code(0)));
        });
    }
}
