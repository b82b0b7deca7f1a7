//! What std lacks: a connection that ends with a reset.

#![allow(unsafe_code)]

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Ends a connection so that the other side is told of a reset and not of an end.
pub(super) fn close_with_reset(stream: TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = size_of::<libc::linger>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: pointer and length are those of a live linger.
    let done = unsafe {
        libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const linger).cast(), length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
