//! The one place where graceinit waits.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::types::Time;

/// What a descriptor is waited for. That it was hung up is news in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// That it can be read.
    Read,
    /// That it can be written.
    Write,
    /// Either.
    Both,
}

/// What is waited for. It keeps its room from one wait to the next: to give that back would cost more than
/// all else between a signal and what is done about it.
#[derive(Default)]
pub struct Waiter(Vec<libc::pollfd>);

impl Waiter {
    /// Waits until one of `fds` has news, a handler ran, or `until` is reached; for ever if there is no `until`.
    pub fn wait<'a>(
        &mut self,
        fds: impl Iterator<Item = (BorrowedFd<'a>, Want)>,
        until: Option<Time>,
        now: Time,
    ) {
        self.0.clear();
        // (One by one: an iterator that is a chain of many tells how many there are at some length.)
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
        // SAFETY: the list is live, of the length that is passed on, and its descriptors are borrowed for as long
        // as this takes; the time is null or live. EINTR (the handler of the dead-man timer ran) and ENOMEM are no
        // reason to do anything but to come round again.
        unsafe {
            libc::ppoll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, timeout, ptr::null())
        };
    }

    /// Which of them had news the last time.
    pub fn news(&self) -> Vec<bool> {
        self.0.iter().map(|fd| fd.revents != 0).collect()
    }
}

/// How long it is until then, for the kernel.
pub(super) fn left(until: Time, now: Time) -> libc::timespec {
    let left = until.since(now);
    libc::timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}

/// Waits once until one of `fds` can be read or was hung up.
pub fn wait(fds: &[BorrowedFd<'_>], until: Option<Time>, now: Time) {
    Waiter::default().wait(fds.iter().map(|fd| (*fd, Want::Read)), until, now);
}

/// The same, for descriptors that want something else too. Which of them have news.
pub fn wait_for(fds: &[(BorrowedFd<'_>, Want)], until: Option<Time>, now: Time) -> Vec<bool> {
    let mut waiter = Waiter::default();
    waiter.wait(fds.iter().copied(), until, now);
    waiter.news()
}
