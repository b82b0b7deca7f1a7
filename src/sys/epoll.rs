//! What std lacks for one thread with a thousand connections: a connect that does not wait, and epoll.

#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use nix::sys::time::TimeSpec;

/// A type's size as the socket calls take it.
const fn size<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Begins a connection. Whether it came about is known when the socket becomes writable.
pub(super) fn connect(to: SocketAddrV4) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes three integers.
    let fd = check(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    // SAFETY: the kernel has just made it and nobody else knows the number.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let length = size::<libc::sockaddr_in>();
    // SAFETY: pointer and length are those of a live sockaddr_in.
    match check(unsafe { libc::connect(fd, (&raw const address).cast(), length) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(stream),
    }
}

/// Ends a connection so that the other side is told of a reset and not of an end.
#[cfg(test)]
pub(super) fn close_with_reset(stream: TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = size::<libc::linger>();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: pointer and length are those of a live linger.
    let done = unsafe {
        libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const linger).cast(), length)
    };
    check(done).map(drop)
}

/// Many descriptors in one wait, each under a number of its own.
pub(super) struct Poller {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        // SAFETY: takes an integer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made it and nobody else knows the number.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Poller { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Watches a connection until it is closed. There is news when it can be written to, and whenever
    /// something has arrived; not again for what was there before, so all of it has to be read.
    pub(super) fn watch(&self, stream: &TcpStream, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, stream, number)
    }

    /// Gives a connection another number, and the first news at once if it can be written to.
    pub(super) fn rename(&self, stream: &TcpStream, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, stream, number)
    }

    fn control(&self, what: i32, stream: &TcpStream, number: u64) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: number };
        let (epoll, fd) = (self.fd.as_raw_fd(), stream.as_raw_fd());
        // SAFETY: both descriptors are open and the event lives through the call.
        check(unsafe { libc::epoll_ctl(epoll, what, fd, &mut event) }).map(drop)
    }

    /// The numbers of those with news, at the latest after `timeout`. (epoll_wait counts in
    /// milliseconds, between which several requests may be due: so ppoll does the waiting.)
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<Vec<u64>> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match nix::poll::ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (fd, room) = (self.fd.as_raw_fd(), self.events.len() as libc::c_int);
        // SAFETY: the pointer is to `room` live events; no wait, so nothing interrupts it.
        let count = check(unsafe { libc::epoll_wait(fd, self.events.as_mut_ptr(), room, 0) })?;
        Ok(self.events[..count as usize].iter().map(|event| event.u64).collect())
    }
}
