//! The one place where graceinit waits.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::types::Time;

/// Waits until one of `fds` can be read or was hung up, a handler ran, or `until` is reached; for
/// ever if there is no `until`. Fills `ready` with one answer per descriptor.
pub fn wait(fds: &[BorrowedFd<'_>], until: Option<Time>, now: Time, ready: &mut Vec<bool>) {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = until.map(|until| TimeSpec::from_duration(until.since(now)));
    // EINTR (the handler of the dead-man timer ran) and ENOMEM are no news: nothing is ready then,
    // and the loop comes round again.
    let answered = ppoll(&mut polled, timeout, None).is_ok();
    ready.clear();
    ready.extend(polled.iter().map(|fd| answered && fd.any().unwrap_or(false)));
}
