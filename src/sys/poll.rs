//! Waiting for descriptors with ppoll(2). (While there is nothing but signals to wait for, the loop waits with
//! `signals::Source`.)
//!
//! A security profile may refuse any call at any time, and a loop whose wait returns at once would use up a processor.
//! So another call takes the place of one that is refused; the last ones only pause.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

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
    /// Nothing but a hang-up.
    End,
}

/// The list for ppoll(2). It is kept from one wait to the next: to free it would take longer than all else between a
/// signal and its effect.
#[derive(Default)]
pub struct Waiter(Vec<libc::pollfd>);

impl Waiter {
    /// Waits until one of `fds` is ready, a handler ran, or `until` is reached; for ever if `until` is `None`. False: no
    /// call that waits is allowed.
    pub fn wait<'a>(
        &mut self,
        fds: impl Iterator<Item = (BorrowedFd<'a>, Want)>,
        until: Option<Time>,
        now: Time,
    ) -> bool {
        self.0.clear();
        // (Not `extend`: it asks a long chain of iterators for its length, which is slow.)
        for (fd, want) in fds {
            let events = match want {
                Want::Read => libc::POLLIN,
                Want::Write => libc::POLLOUT,
                Want::Both => libc::POLLIN | libc::POLLOUT,
                Want::End => 0,
            };
            self.0.push(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
        }
        let timeout = until.map(|until| left(until, now));
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the list is live and its length is what is passed on; the time is null or live.
        let result = unsafe {
            libc::ppoll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, timeout, ptr::null())
        };
        // EINTR: the handler of the dead-man timer ran. The loop comes round and waits again.
        result >= 0 || is_interrupted() || self.wait_otherwise(until, now)
    }

    /// ppoll(2) is refused.
    #[cold]
    fn wait_otherwise(&mut self, until: Option<Time>, now: Time) -> bool {
        // Rounded up, so that the time is over when the call returns.
        let millis = until.map(|until| until.since(now).as_millis().saturating_add(1));
        let millis = millis.map_or(-1, |millis| i32::try_from(millis).unwrap_or(i32::MAX));
        // SAFETY: the list is live and its length is what is passed on.
        let result =
            unsafe { libc::poll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, millis) };
        if result >= 0 || is_interrupted() {
            return true;
        }
        // Whether a descriptor is ready is not known: all of them are tried, and none of them blocks.
        for fd in &mut self.0 {
            fd.revents = fd.events;
        }
        pause(until.map_or(PAUSE, |until| until.since(now)))
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
        tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: left.subsec_nanos() as libc::c_long,
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

/// The pause between two tries where no descriptor can be waited for.
const PAUSE: Duration = Duration::from_millis(20);

fn is_interrupted() -> bool {
    io::Error::last_os_error().raw_os_error() == Some(libc::EINTR)
}

/// Pauses for `span`, but not longer than [`PAUSE`]. False: that is refused as well.
pub(super) fn pause(span: Duration) -> bool {
    let time = left(Time::default().after(span.min(PAUSE)), Time::default());
    let (none, word) = (0u64, 0u32);
    let waited = |result: libc::c_long| {
        let known = [Some(libc::EAGAIN), Some(libc::EINTR), Some(libc::ETIMEDOUT)];
        result >= 0 || known.contains(&io::Error::last_os_error().raw_os_error())
    };
    // Waits for no signal at all.
    // SAFETY: the pointers are to live values of the sizes that the kernel expects; no siginfo_t is wanted.
    let by_signals = unsafe {
        let no_info = ptr::null_mut::<libc::siginfo_t>();
        libc::syscall(libc::SYS_rt_sigtimedwait, &raw const none, no_info, &raw const time, 8usize)
    };
    // Nothing changes the word: the wait ends with its time.
    // SAFETY: the pointers are to live values.
    waited(by_signals)
        || waited(unsafe {
            let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            libc::syscall(libc::SYS_futex, &raw const word, wait, 0u32, &raw const time)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    #[test]
    fn a_pause_takes_its_time_and_not_more_than_the_longest() {
        let before = clock::now();
        assert!(pause(Duration::from_millis(3)));
        assert!(clock::now().since(before) >= Duration::from_millis(3));
        assert!(pause(Duration::MAX));
        assert!(clock::now().since(before) >= PAUSE);
    }
}
