//! Work that may hang (on a file system) is done by a child, one at a time. The child is no part of the tree, so no
//! stop waits for it and it is no leftover.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;

use crate::sys::helper::{Descriptors, Given, Helper};
use crate::sys::sharing;
use crate::sys::{clock, fd, poll};
use crate::types::{Pid, Status, Time};

/// The child's pipe closes a moment before the child can be reaped: it is tried again after this time, then after
/// twice as long.
const DYING: Duration = Duration::from_millis(1);
/// The longest of these pauses.
const LONGEST: Duration = Duration::from_millis(100);

/// The child that writes, if one runs.
#[derive(Debug, Default)]
pub struct BackgroundWrite(Option<Running>);

#[derive(Debug)]
struct Running {
    child: Helper,
    /// The other end closes when the child ends.
    pipe: OwnedFd,
    /// The child has written to the pipe.
    said: bool,
    /// The pipe has closed: when reaping is tried next, and the pause after that.
    again: Option<(Time, Duration)>,
}

/// What kind of child does the work (see [`Given`]).
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Its name.
    pub name: &'a CStr,
    /// It keeps the rights of graceinit.
    pub trusted: bool,
    /// The number of descriptors that it may have open.
    pub files: u64,
}

/// The result of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The write succeeded.
    Done,
    /// The write failed.
    Failed(Errno),
    /// The child was killed, as every process is at the end of the budget.
    Killed,
}

impl BackgroundWrite {
    /// Whether a child runs.
    pub fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// Starts a child that does `work`. It shares nothing but the descriptor `keep`. Does nothing while another child
    /// runs.
    ///
    /// # Errors
    /// No process or no descriptor is left.
    pub fn start(
        &mut self,
        keep: Option<BorrowedFd<'_>>,
        work: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        // stdio, `keep`, and what `work` may open.
        let child = Child { name: c"graceinit-file", trusted: true, files: 16 };
        self.start_as(child, keep, &|_| work())
    }

    /// The same for any kind of child. `work` gets the pipe, on which it may say something.
    ///
    /// # Errors
    /// As for [`BackgroundWrite::start`].
    pub fn start_as(
        &mut self,
        Child { name, trusted, files }: Child<'_>,
        keep: Option<BorrowedFd<'_>>,
        work: &dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.is_busy() {
            return Ok(());
        }
        let (pipe, other) = fd::pipe()?;
        let keep: Vec<BorrowedFd<'_>> = keep.into_iter().chain([other.as_fd()]).collect();
        let descriptors = Descriptors::Only(&keep);
        let given = Given { name, user: None, trusted, log: false, descriptors, files };
        let child = Helper::start(&given, &|| exit_code(work(other.as_fd())))?;
        self.0 = Some(Running { child, pipe, said: false, again: None });
        Ok(())
    }

    /// Starts a child that closes these descriptors of graceinit.
    ///
    /// # Errors
    /// As for [`BackgroundWrite::start`].
    pub fn close(&mut self, numbers: Vec<i32>) -> io::Result<()> {
        let (child, pipe) = sharing::close(numbers)?;
        self.0 = Some(Running { child, pipe, said: false, again: None });
        Ok(())
    }

    /// Whether the child has written to its pipe.
    pub fn has_said(&mut self) -> bool {
        let Some(running) = &mut self.0 else { return false };
        if !running.said && matches!(fd::read(running.pipe.as_fd(), &mut [0]), fd::Read::Bytes(_)) {
            running.said = true;
        }
        running.said
    }

    /// Kills the child. Its end is still an outcome.
    pub fn kill(&self) {
        if let Some(running) = &self.0 {
            running.child.kill();
        }
    }

    /// The result, once, as soon as the child has ended.
    pub fn outcome(&mut self, now: Time) -> Option<Outcome> {
        let running = self.0.as_mut()?;
        match running.again {
            None if fd::read(running.pipe.as_fd(), &mut [0]) != fd::Read::End => return None,
            Some((due, _)) if now < due => return None,
            None | Some(_) => {}
        }
        let Some(status) = running.child.reap() else {
            let pause = running.again.map_or(DYING, |(_, pause)| (pause * 2).min(LONGEST));
            running.again = Some((now.after(pause), pause));
            return None;
        };
        self.0 = None;
        Some(match status {
            Status::Code(0) => Outcome::Done,
            Status::Code(errno) => Outcome::Failed(Errno::from_raw(i32::from(errno))),
            Status::Signal(_) => Outcome::Killed,
        })
    }

    /// Waits until `end` for the result. For the very end of a life.
    pub fn wait(&mut self, end: Time) -> Option<Outcome> {
        let running = self.0.as_mut()?;
        let pipe = running.pipe.as_fd();
        let mut now = clock::now();
        // The alarm of the dead-man timer interrupts a wait.
        while fd::read(pipe, &mut [0]) != fd::Read::End {
            if now >= end {
                return None;
            }
            poll::wait(&[pipe], Some(end), now);
            now = clock::now();
        }
        running.child.wait_for_end(DYING * 10);
        running.again = Some((Time::default(), LONGEST));
        let outcome = self.outcome(clock::now());
        // Before Linux 5.3 pidfd cannot be waited for. The work is done all the same.
        self.0 = None;
        outcome.or(Some(Outcome::Done))
    }

    /// Kills the child and forgets it. In uninterruptible sleep it dies when it wakes up, or with graceinit.
    pub fn abandon(&mut self) {
        if let Some(running) = self.0.take() {
            running.child.end(DYING * 10);
        }
    }

    /// The descriptor that the main loop waits for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let waiting = self.0.as_ref().filter(|running| running.again.is_none());
        waiting.map(|running| running.pipe.as_fd())
    }

    /// Every descriptor that belongs to the child.
    pub fn owned(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|running| running.pipe.as_fd())
    }

    /// When reaping is tried next.
    pub fn due(&self) -> Option<Time> {
        self.0.as_ref().and_then(|running| running.again).map(|(due, _)| due)
    }

    /// The child's pid: signals to all processes spare it.
    pub fn pid(&self) -> Option<Pid> {
        self.0.as_ref().map(|running| running.child.pid())
    }
}

/// The exit code of a child that reports an errno. No errno is above 133.
pub(crate) fn exit_code(done: io::Result<()>) -> u8 {
    done.map_or_else(
        |error| error.raw_os_error().and_then(|n| n.try_into().ok()).unwrap_or(1),
        |()| 0,
    )
}
