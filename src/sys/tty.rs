//! The terminal: who is in its foreground.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::types::Pid;

/// The controlling terminal.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Terminal {
    /// The controlling terminal if there is one and our process group is in its foreground. In the
    /// background (`graceinit … &`) it is not ours to give away.
    pub fn in_foreground() -> Option<Terminal> {
        let terminal = Terminal::open()?;
        (terminal.foreground() == Some(own_group())).then_some(terminal)
    }

    fn open() -> Option<Terminal> {
        let open = |path| {
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)
        };
        // /dev/tty is the controlling terminal whatever stdio is; an image without a /dev still has
        // it on stdio. A terminal that is not the controlling one refuses TIOCGPGRP (ENOTTY).
        if let Ok(file) = open("/dev/tty") {
            return Some(Terminal(file.into()));
        }
        (0..3).find_map(|fd| {
            // SAFETY: only asks about a number; answers -1 if it is no descriptor.
            let group = unsafe { libc::tcgetpgrp(fd) };
            // SAFETY: the descriptor is open: the kernel just answered for it.
            let fd = (group > 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })?;
            fd.try_clone_to_owned().ok().map(Terminal)
        })
    }

    /// The group in the foreground; `None` if there is none or the terminal has gone.
    pub fn foreground(&self) -> Option<Pid> {
        // SAFETY: plain numbers.
        let group = unsafe { libc::tcgetpgrp(self.0.as_raw_fd()) };
        (group > 0).then_some(Pid(group))
    }

    /// Puts this group into the foreground. SIGTTOU must be blocked, as it always is here: then a
    /// background process may do that too.
    ///
    /// # Errors
    /// Those of tcsetpgrp(3): EPERM if the group is not of this session.
    pub fn set_foreground(&self, group: Pid) -> io::Result<()> {
        // SAFETY: plain numbers.
        match unsafe { libc::tcsetpgrp(self.0.as_raw_fd(), group.0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The process group of this process.
pub fn own_group() -> Pid {
    // SAFETY: cannot fail, takes nothing.
    Pid(unsafe { libc::getpgrp() })
}

/// Whether a shell could resume this process after a terminal stop: its group is not orphaned, which
/// means that the parent is of the same session but of another group (credentials(7)).
pub fn can_be_resumed() -> bool {
    // SAFETY: plain numbers; a parent outside this pid namespace is 0, which is refused below.
    let (parent, session) = unsafe { (libc::getppid(), libc::getsid(0)) };
    // SAFETY: plain numbers.
    parent > 0
        && unsafe { libc::getsid(parent) == session && libc::getpgid(parent) != libc::getpgrp() }
}
