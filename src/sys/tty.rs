//! The controlling terminal and its foreground group.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::types::{Pid, Signal};

/// The controlling terminal.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Terminal {
    /// Opens the controlling terminal, if there is one.
    pub fn controlling() -> Option<Terminal> {
        let open = |path| {
            // O_NONBLOCK for `refuses_reads`: another process may be reading.
            let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
        };
        // An image without /dev still has its terminal on stdio. A terminal that is not the controlling one refuses
        // TIOCGPGRP (ENOTTY).
        match open("/dev/tty") {
            Ok(file) => return Some(Terminal(file.into())),
            // There is none (tty_open_current_tty in drivers/tty/tty_io.c).
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return None,
            Err(_) => {}
        }
        (0..3).find_map(|fd| {
            // SAFETY: a plain number; the result is -1 if no descriptor has it.
            let group = unsafe { libc::tcgetpgrp(fd) };
            // SAFETY: the descriptor is open, as the call before shows. It is used in this closure only.
            let fd = (group >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })?;
            fd.try_clone_to_owned().ok().map(Terminal)
        })
    }

    /// The foreground group; `None` if the terminal is gone. A group whose leader is outside this pid namespace is 0.
    pub fn foreground(&self) -> Option<Pid> {
        // SAFETY: plain numbers.
        let group = unsafe { libc::tcgetpgrp(self.0.as_raw_fd()) };
        (group >= 0).then_some(Pid(group))
    }

    /// Whether the group of this process is in the foreground.
    pub fn is_ours(&self) -> bool {
        // With `unshare --pid --fork graceinit` this group is 0, and the foreground group may be another that is 0.
        let group = own_group();
        self.foreground() == Some(group) && (group.0 != 0 || !self.refuses_reads())
    }

    /// Whether the kernel counts this process to the background: there it refuses a read of zero bytes with EIO,
    /// because SIGTTIN is blocked (n_tty_read in drivers/tty/n_tty.c).
    fn refuses_reads(&self) -> bool {
        // SAFETY: a read of zero bytes writes to no memory.
        let done = unsafe { libc::read(self.0.as_raw_fd(), std::ptr::null_mut(), 0) };
        done < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EIO)
    }

    /// Puts this group into the foreground. SIGTTOU is blocked in graceinit, so a background process may do it, too.
    ///
    /// # Errors
    /// Those of tcsetpgrp(3): EPERM if the group belongs to another session.
    pub fn set_foreground(&self, group: Pid) -> io::Result<()> {
        // SAFETY: plain numbers.
        match unsafe { libc::tcsetpgrp(self.0.as_raw_fd(), group.0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Detaches this session, which graceinit leads, from its terminal, so that another session can have it. The
    /// kernel sends HUP and CONT to the foreground group (disassociate_ctty in drivers/tty/tty_jobctrl.c). If that
    /// were the group of graceinit, a HUP that a process sends at the same time could not be told from the kernel's,
    /// CONT would remove a pending TSTP, and other processes of the group would get the HUP. So the group of
    /// `stand_in` is put into the foreground first: a child that is alone in its group and only exits.
    ///
    /// # Errors
    /// Those of tcsetpgrp(3) and TIOCNOTTY: the terminal is gone.
    pub fn part(&self, stand_in: Pid) -> io::Result<()> {
        self.set_foreground(stand_in)?;
        // SAFETY: TIOCNOTTY takes no argument.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCNOTTY) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Whether this process leads its session. Only a leader can detach the session from its terminal.
pub fn leads_session() -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::getsid(0) == libc::getpid() }
}

/// Whether this descriptor is a terminal.
pub fn is_terminal(fd: i32) -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::isatty(fd) == 1 }
}

/// Whether the terminal knows the sequence that erases a line. Any terminal does, except `dumb` ones.
pub fn can_erase() -> bool {
    super::process::variable("TERM").is_some_and(|term| !term.is_empty() && term != b"dumb")
}

/// The number of columns; `None` if the terminal does not know it.
pub fn columns(fd: i32) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is to a live winsize.
    let done = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// The process group of this process.
pub fn own_group() -> Pid {
    // SAFETY: getpgrp takes nothing and cannot fail.
    Pid(unsafe { libc::getpgrp() })
}

/// Whether a shell can resume this process after a stop by the terminal: its group is not orphaned. By the kernel's
/// rule (credentials(7)) a process of the group has a parent in the same session, but in another group. Searched
/// upwards from this process, because a script may be between it and the shell.
pub fn can_be_resumed() -> bool {
    let own = own_group();
    // SAFETY: plain numbers.
    let session = unsafe { libc::getsid(0) };
    let mut parent = super::process::parent();
    // Scripts do not call each other more deeply than this.
    for _ in 0..32 {
        if parent.0 == 0 {
            // The parent is outside this pid namespace.
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
/// Stops this process and the rest of its group until SIGCONT, as Ctrl-Z at the terminal does.
pub fn suspend() {
    use super::signals::{Disposition, Mask, send_group, set_disposition, set_mask};
    // The group is the shell's job. This process is in it, so there is no ESRCH.
    let _ = send_group(own_group(), Signal::TSTP);
    let before = set_disposition(Signal::TSTP, Disposition::Default);
    // The process stops here, when the signal is unblocked.
    let mask = set_mask(Mask::ALL.without(Signal::TSTP));
    set_mask(mask);
    set_disposition(Signal::TSTP, before);
}
