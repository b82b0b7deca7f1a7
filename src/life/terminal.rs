//! The controlling terminal and its foreground process group (credentials(7), "job control").

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::life::children::{Children, Role};
use crate::sys::launch::spawn::{self, Setup, Task};
use crate::sys::signals;
use crate::sys::tty::{self, Terminal};
use crate::types::Pid;

/// The controlling terminal, if there is one.
#[derive(Debug)]
pub struct JobControl {
    terminal: Option<Terminal>,
    /// The app runs in a session of its own: the foreground of this session is not for its group.
    session: bool,
}

impl JobControl {
    /// Nothing is changed yet.
    pub fn new(terminal: Option<Terminal>, session: bool) -> JobControl {
        JobControl { terminal, session }
    }

    /// Whether there is a terminal.
    pub fn exists(&self) -> bool {
        self.terminal.is_some()
    }

    /// Its descriptor.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(AsFd::as_fd)
    }

    /// Whether graceinit's own group is in the foreground.
    pub fn is_ours(&self) -> bool {
        self.terminal.as_ref().is_some_and(Terminal::is_ours)
    }

    /// Whether the foreground is graceinit's own group (`true`) or `app`'s; `None`: neither, as for a background job.
    pub fn front(&self, app: Option<Pid>) -> Option<bool> {
        if self.is_ours() {
            return Some(true);
        }
        let foreground = self.terminal.as_ref().and_then(Terminal::foreground);
        foreground.filter(|group| Some(*group) == app).map(|_| false)
    }

    /// The terminal for the app's child to take, if graceinit is in the foreground. A background job
    /// (`graceinit ... &`) has no terminal to give, and a new session cannot have one that another session keeps.
    pub fn for_app(&self) -> Option<BorrowedFd<'_>> {
        let ours = self.terminal.as_ref().filter(|terminal| !self.session && terminal.is_ours());
        ours.map(AsFd::as_fd)
    }

    /// Gives the terminal up, so that the app's own session can take it. `None`: there is none, or another
    /// process leads its session.
    pub fn part(&mut self, children: &mut Children) -> io::Result<Option<Terminal>> {
        if !self.session {
            return Ok(None);
        }
        let Some(terminal) = self.terminal.take_if(|_| tty::leads_session()) else {
            return Ok(None);
        };
        let holder = spawn::spawn(Task::Call(&|| 0), &Setup::CLEAN)?;
        children.add(holder.pid, Role::TerminalHolder);
        if let Err(error) = terminal.part(holder.pid) {
            log::debug!("unable to give up the terminal: {error}; the app's session has none");
        }
        Ok(Some(terminal))
    }

    /// Makes the app's group the foreground group, if graceinit's is that now.
    pub fn give(&self, app: Option<Pid>) {
        let (Some(terminal), Some(group)) = (&self.terminal, app) else { return };
        // A group of another session cannot be the foreground group.
        if !self.session && terminal.is_ours() {
            if let Err(error) = terminal.set_foreground(group) {
                log::debug!("unable to give the app the terminal: {error}");
            }
        }
    }

    /// Makes graceinit's group the foreground group, if the app's is that now.
    pub fn take(&self, app: Option<Pid>) {
        let (Some(terminal), Some(group)) = (&self.terminal, app) else { return };
        // The app may have made a job of its own the foreground, and that job has ended.
        let free = |foreground: Pid| foreground == group || !signals::group_exists(foreground);
        if terminal.foreground().is_some_and(free) {
            if let Err(error) = terminal.set_foreground(tty::own_group()) {
                log::debug!("unable to take the terminal back: {error}");
            }
        }
    }
}
