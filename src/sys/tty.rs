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
    /// The controlling terminal, if there is one.
    pub fn controlling() -> Option<Terminal> {
        let open = |path| {
            // O_NONBLOCK for `refuses_reads`: somebody else may be reading.
            let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
        };
        // /dev/tty is the controlling terminal whatever stdio is; an image without a /dev still has
        // it on stdio. A terminal that is not the controlling one refuses TIOCGPGRP (ENOTTY).
        match open("/dev/tty") {
            Ok(file) => return Some(Terminal(file.into())),
            // There is none (tty_open_current_tty in drivers/tty/tty_io.c).
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return None,
            Err(_) => {}
        }
        (0..3).find_map(|fd| {
            // SAFETY: only asks about a number; answers -1 if it is no descriptor.
            let group = unsafe { libc::tcgetpgrp(fd) };
            // SAFETY: the descriptor is open: the kernel just answered for it.
            let fd = (group >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })?;
            fd.try_clone_to_owned().ok().map(Terminal)
        })
    }

    /// The group in the foreground; `None` if the terminal has gone. 0 is any group whose leader is
    /// outside our pid namespace.
    pub fn foreground(&self) -> Option<Pid> {
        // SAFETY: plain numbers.
        let group = unsafe { libc::tcgetpgrp(self.0.as_raw_fd()) };
        (group >= 0).then_some(Pid(group))
    }

    /// Whether our group is in the foreground.
    pub fn is_ours(&self) -> bool {
        // `unshare --pid --fork graceinit` is in a group from outside, and so may the foreground be.
        let group = own_group();
        self.foreground() == Some(group) && (group.0 != 0 || !self.refuses_reads())
    }

    /// The kernel's own word on who is in the background: a read of nothing takes nothing, but is
    /// refused there with EIO (as SIGTTIN is blocked). n_tty_read in drivers/tty/n_tty.c.
    fn refuses_reads(&self) -> bool {
        // SAFETY: a length of 0 writes to no memory.
        let done = unsafe { libc::read(self.0.as_raw_fd(), std::ptr::null_mut(), 0) };
        done < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EIO)
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

    /// Parts this session, which we lead, from its terminal, so that another can have it. The kernel tells
    /// the terminal's foreground with HUP and CONT (disassociate_ctty in drivers/tty/tty_jobctrl.c). Were
    /// that us, they could not be told from a HUP that somebody sends at the same time, CONT would take a
    /// pending TSTP with it, and whoever shares our group would be hung up. So `stand_in` is put there
    /// first, a child whose group nobody else is in and that cares for nothing.
    ///
    /// # Errors
    /// Those of tcsetpgrp(3) and TIOCNOTTY: the terminal has gone.
    pub fn part(&self, stand_in: Pid) -> io::Result<()> {
        self.set_foreground(stand_in)?;
        // SAFETY: takes no argument.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCNOTTY) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Whether this process leads its session: only then can it part the session from its terminal.
pub fn leads_session() -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::getsid(0) == libc::getpid() }
}

/// Whether this descriptor is a terminal.
pub fn is_terminal(fd: i32) -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::isatty(fd) == 1 }
}

/// Whether the terminal knows the sequence that erases a line: all do that are not `dumb`.
pub fn can_erase() -> bool {
    super::process::variable("TERM").is_some_and(|term| !term.is_empty() && term != b"dumb")
}

/// How many columns it has; `None` if it does not know.
pub fn columns(fd: i32) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is to a live winsize.
    let done = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// The process group of this process.
pub fn own_group() -> Pid {
    // SAFETY: cannot fail, takes nothing.
    Pid(unsafe { libc::getpgrp() })
}

/// Whether a shell could resume this process after a terminal stop: its group is not orphaned. The
/// kernel's rule (credentials(7)): some process of the group has a parent in the same session but in
/// another group. Looked for from us upwards: a script may stand between us and the shell.
pub fn can_be_resumed() -> bool {
    let own = own_group();
    // SAFETY: plain numbers.
    let session = unsafe { libc::getsid(0) };
    let mut parent = super::process::parent();
    // Deeper than any script.
    for _ in 0..32 {
        if parent.0 == 0 {
            // Outside this pid namespace.
            return false;
        }
        // SAFETY: plain numbers.
        let (its_session, group) = unsafe { (libc::getsid(parent.0), libc::getpgid(parent.0)) };
        if its_session != session {
            return false;
        }
        if group != own.0 {
            return true;
        }
        match super::tree::look_up(parent) {
            Some(process) => parent = process.parent,
            None => return false,
        }
    }
    false
}
