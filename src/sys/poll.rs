//! The one place where graceinit waits.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

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

/// Waits until one of `fds` can be read or was hung up, a handler ran, or `until` is reached; for
/// ever if there is no `until`. Does not tell which: all of them are read without blocking.
pub fn wait(fds: &[BorrowedFd<'_>], until: Option<Time>, now: Time) {
    let wanted: Vec<_> = fds.iter().map(|fd| (*fd, Want::Read)).collect();
    wait_for(&wanted, until, now);
}

/// The same, for descriptors that want something else too. Tells which of them have news.
pub fn wait_for(fds: &[(BorrowedFd<'_>, Want)], until: Option<Time>, now: Time) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|(fd, want)| {
            let flags = match want {
                Want::Read => PollFlags::POLLIN,
                Want::Write => PollFlags::POLLOUT,
                Want::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
            };
            PollFd::new(*fd, flags)
        })
        .collect();
    let timeout = until.map(|until| TimeSpec::from_duration(until.since(now)));
    // EINTR (the handler of the dead-man timer ran) and ENOMEM are no reason to do anything but to
    // come round again.
    let _ = ppoll(&mut polled, timeout, None);
    polled.iter().map(|fd| fd.any().unwrap_or(true)).collect()
}
