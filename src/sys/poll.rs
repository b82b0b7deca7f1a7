//! Waiting for descriptors with ppoll(2). (While there is nothing but signals to wait for, the loop waits with
//! `signals::Source`.)

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::types::Time;

/// What to wait for. A hang-up ends the wait as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// The descriptor can be read.
    Read,
    /// The descriptor can be written.
    Write,
    /// The descriptor can be read or written.
    Both,
}

/// The list for ppoll(2). It is kept from one wait to the next: to free it would take longer than all else between a
/// signal and its effect.
#[derive(Default)]
pub struct Waiter(Vec<libc::pollfd>);

impl Waiter {
    /// Waits until one of `fds` is ready, a handler ran, or `until` is reached; for ever if `until` is `None`.
    pub fn wait<'a>(
        &mut self,
        fds: impl Iterator<Item = (BorrowedFd<'a>, Want)>,
        until: Option<Time>,
        now: Time,
    ) {
        self.0.clear();
        // (Not `extend`: it asks a long chain of iterators for its length, which is slow.)
        for (fd, want) in fds {
            let events = match want {
                Want::Read => libc::POLLIN,
                Want::Write => libc::POLLOUT,
                Want::Both => libc::POLLIN | libc::POLLOUT,
            };
            self.0.push(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
        }
        let timeout = until.map(|until| left(until, now));
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // After an error (EINTR: the handler of the dead-man timer ran; ENOMEM) the loop comes round and waits again.
        // SAFETY: the list is live and its length is what is passed on; the time is null or live.
        unsafe {
            libc::ppoll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, timeout, ptr::null())
        };
    }

    /// Whether the last of the descriptors was ready after the last wait.
    pub fn is_last_ready(&self) -> bool {
        self.0.last().is_some_and(|fd| fd.revents != 0)
    }

    /// Which of the descriptors were ready after the last wait.
    pub fn news(&self) -> Vec<bool> {
        self.0.iter().map(|fd| fd.revents != 0).collect()
    }
}

/// The time from `now` to `until`.
pub(super) fn left(until: Time, now: Time) -> libc::timespec {
    let left = until.since(now);
    libc::timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}

/// Waits once until one of `fds` can be read.
pub fn wait(fds: &[BorrowedFd<'_>], until: Option<Time>, now: Time) {
    Waiter::default().wait(fds.iter().map(|fd| (*fd, Want::Read)), until, now);
}

/// Waits once until one of `fds` is ready. Which of them are.
pub fn wait_for(fds: &[(BorrowedFd<'_>, Want)], until: Option<Time>, now: Time) -> Vec<bool> {
    let mut waiter = Waiter::default();
    waiter.wait(fds.iter().copied(), until, now);
    waiter.news()
}
