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
    sleep(&mut polled(&wanted), until, now);
}

/// The same, for descriptors that want something else too.
pub fn wait_for_some(fds: &[(BorrowedFd<'_>, Want)], until: Option<Time>, now: Time) {
    sleep(&mut polled(fds), until, now);
}

/// The same, and tells which of them have news.
pub fn wait_for(fds: &[(BorrowedFd<'_>, Want)], until: Option<Time>, now: Time) -> Vec<bool> {
    let mut polled = polled(fds);
    sleep(&mut polled, until, now);
    polled.iter().map(|fd| fd.any().unwrap_or(true)).collect()
}

fn polled<'a>(fds: &[(BorrowedFd<'a>, Want)]) -> Vec<PollFd<'a>> {
    fds.iter()
        .map(|(fd, want)| {
            let flags = match want {
                Want::Read => PollFlags::POLLIN,
                Want::Write => PollFlags::POLLOUT,
                Want::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
            };
            PollFd::new(*fd, flags)
        })
        .collect()
}

fn sleep(polled: &mut [PollFd<'_>], until: Option<Time>, now: Time) {
    let timeout = until.map(|until| TimeSpec::from_duration(until.since(now)));
    // EINTR (the handler of the dead-man timer ran) and ENOMEM are no reason to do anything but to
    // come round again.
    let _ = ppoll(polled, timeout, None);
}
