//! Errands: what may hang (a file system) is done by a child that stands aside, one at a time. It is no
//! part of the tree, so it keeps nobody waiting and is no leftover.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;

use crate::sys::helper::{Given, Helper};
use crate::sys::{clock, fd, poll};
use crate::types::{Pid, Status, Time};

/// The end of its pipe comes a moment before it can be reaped. So long until another look, then twice
/// as long.
const DYING: Duration = Duration::from_millis(1);
/// Up to this.
const LONGEST: Duration = Duration::from_millis(100);

/// The child that runs an errand, if there is one.
#[derive(Debug, Default)]
pub struct BackgroundWrite(Option<Running>);

#[derive(Debug)]
struct Running {
    child: Helper,
    /// Its other end is closed when the child has ended.
    pipe: OwnedFd,
    /// It was, and the child is looked for again then, and after twice as long each time.
    again: Option<(Time, Duration)>,
}

/// What became of an errand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It could not be done.
    Failed(Errno),
    /// The child was killed, as everything is at the end of the budget.
    Killed,
}

impl BackgroundWrite {
    /// Whether one is under way.
    pub fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// Sends a child on its way, which has everything that this process has, but of descriptors only
    /// `keep`. Does nothing while another one is under way.
    ///
    /// # Errors
    /// No process or no descriptor is left.
    pub fn start(
        &mut self,
        keep: Option<BorrowedFd<'_>>,
        work: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        if self.is_busy() {
            return Ok(());
        }
        let (pipe, other) = fd::pipe()?;
        let keep: Vec<BorrowedFd<'_>> = keep.into_iter().chain([other.as_fd()]).collect();
        // Its three, what it keeps, and what it may open.
        let given =
            Given { name: c"graceinit-file", user: None, trusted: true, keep: &keep, files: 16 };
        let child = Helper::start(&given, &|| exit_code(work()))?;
        self.0 = Some(Running { child, pipe, again: None });
        Ok(())
    }

    /// What became of it, once: as soon as it has ended.
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

    /// Waits for the end of the present one until `end`: for the very end of a life.
    pub fn wait(&mut self, end: Time) -> Option<Outcome> {
        let running = self.0.as_mut()?;
        let pipe = running.pipe.as_fd();
        let now = clock::now();
        poll::wait(&[pipe], Some(end), now);
        if fd::read(pipe, &mut [0]) != fd::Read::End {
            return None;
        }
        running.child.wait_for_end(DYING * 10);
        running.again = Some((Time::default(), LONGEST));
        let outcome = self.outcome(clock::now());
        // Before Linux 5.3 there is no waiting for that last moment. Its work is over all the same.
        self.0 = None;
        outcome.or(Some(Outcome::Done))
    }

    /// Nobody waits for the present one any more. (In uninterruptible sleep it dies with graceinit, or when it
    /// wakes up.)
    pub fn abandon(&mut self) {
        if let Some(running) = self.0.take() {
            running.child.end(DYING * 10);
        }
    }

    /// What the main loop waits for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let waiting = self.0.as_ref().filter(|running| running.again.is_none());
        waiting.map(|running| running.pipe.as_fd())
    }

    /// What belongs to it.
    pub fn owned(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|running| running.pipe.as_fd())
    }

    /// When it is to be looked at again.
    pub fn due(&self) -> Option<Time> {
        self.0.as_ref().and_then(|running| running.again).map(|(due, _)| due)
    }

    /// The child that no signal to all is meant for.
    pub fn pid(&self) -> Option<Pid> {
        self.0.as_ref().map(|running| running.child.pid())
    }
}

/// The exit code of a child that works for us, which says why. (No errno is above 133.)
pub(crate) fn exit_code(done: io::Result<()>) -> u8 {
    done.map_or_else(
        |error| error.raw_os_error().and_then(|n| n.try_into().ok()).unwrap_or(1),
        |()| 0,
    )
}
