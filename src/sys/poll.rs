//! The one place where graceinit waits.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::types::Time;

/// Waits until one of `fds` can be read or was hung up, a handler ran, or `until` is reached; for
/// ever if there is no `until`. Does not tell which: all of them are read without blocking.
pub fn wait(fds: &[BorrowedFd<'_>], until: Option<Time>, now: Time) {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = until.map(|until| TimeSpec::from_duration(until.since(now)));
    // EINTR (the handler of the dead-man timer ran) and ENOMEM are no reason to do anything but to
    // come round again.
    let _ = ppoll(&mut polled, timeout, None);
}
