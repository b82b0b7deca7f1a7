//! epoll(7): many connections in one wait. For tools; PID 1 has few descriptors and waits with `poll`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{fd, poll};
use crate::types::Time;

/// How many events one wait takes.
const BATCH: usize = 256;

/// Many descriptors in one wait, each under a number of its own.
pub struct Poller {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    /// A poller that watches nothing.
    ///
    /// # Errors
    /// Those of epoll_create1(2): no descriptors or memory left.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: a plain number; the call makes a descriptor.
        let fd = unsafe { fd::created(libc::epoll_create1(libc::EPOLL_CLOEXEC).into())? };
        Ok(Poller { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; BATCH] })
    }

    /// Watches a connection until it is closed. There is news when it can be written to, and whenever something has
    /// arrived; not again for what was there before, so all of it has to be read.
    ///
    /// # Errors
    /// Those of epoll_ctl(2): no memory left.
    pub fn watch(&self, stream: &impl AsFd, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, stream, number)
    }

    /// Gives a connection another number, and the first news at once if it can be written to.
    ///
    /// # Errors
    /// Those of epoll_ctl(2): the connection is not watched.
    pub fn rename(&self, stream: &impl AsFd, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, stream, number)
    }

    fn control(&self, what: i32, stream: &impl AsFd, number: u64) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: number };
        let (epoll, fd) = (self.fd.as_raw_fd(), stream.as_fd().as_raw_fd());
        // SAFETY: both descriptors are open and the event lives through the call.
        match unsafe { libc::epoll_ctl(epoll, what, fd, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The numbers of those with news, at the latest at `until`. (epoll_wait(2) counts in milliseconds, between which
    /// several requests may be due, so ppoll(2) does the waiting.)
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn wait(&mut self, until: Time, now: Time) -> io::Result<Vec<u64>> {
        poll::wait(&[self.fd.as_fd()], Some(until), now);
        // SAFETY: the pointer is to BATCH live events. The call does not wait, so nothing interrupts it.
        let count = unsafe {
            let room = self.events.as_mut_ptr();
            libc::epoll_wait(self.fd.as_raw_fd(), room, BATCH as libc::c_int, 0)
        };
        match usize::try_from(count) {
            Ok(count) => Ok(self.events[..count].iter().map(|event| event.u64).collect()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}
