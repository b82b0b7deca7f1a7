//! Connections that are opened without waiting for the other side, and what is asked on them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::fd;
use super::listen::{Address, Stream};

/// How a check looks at the app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// One of the addresses accepts a connection.
    Connect(Vec<Address>),
    /// A GET is answered with 200 to 399.
    Http {
        /// Of the server.
        address: Address,
        /// For the header `Host`.
        host: String,
        /// With the query.
        path: String,
    },
    /// The file exists.
    File(PathBuf),
}

/// One `--health` or `--live`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// As it was written.
    pub text: String,
    /// How it looks.
    pub look: Look,
}

/// The checks of a life, which the observer makes when a client asks it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checks {
    /// `--health`
    pub health: Vec<Check>,
    /// `--live`
    pub live: Vec<Check>,
    /// `--health-timeout`
    pub timeout: Duration,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks { health: Vec::new(), live: Vec::new(), timeout: Duration::from_secs(1) }
    }
}

impl Checks {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.health.len() + self.live.len()
    }
}

/// Begins to open a connection. It is open, or has failed, when it can be written: [`Stream::is_connected`] tells which.
///
/// # Errors
/// Those of socket(2) and connect(2). EAGAIN: the backlog of a Unix socket is full.
pub fn start(address: &Address) -> io::Result<Stream> {
    let (family, bytes) = sockaddr(address)?;
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers; the call makes a descriptor.
    let socket: OwnedFd = unsafe { fd::created(libc::socket(family, kind, 0).into())? };
    let length = libc::socklen_t::try_from(bytes.len()).unwrap_or(0);
    // SAFETY: the pointer is to live bytes, and their number is what is passed on.
    let result = unsafe { libc::connect(socket.as_raw_fd(), bytes.as_ptr().cast(), length) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error);
        }
    }
    Ok(match address {
        Address::Tcp(_) => Stream::Tcp(socket.into()),
        Address::Unix(_) | Address::Abstract(_) => Stream::Unix(socket.into()),
    })
}

/// The address family, and the address as the kernel takes it (ip(7), ipv6(7), unix(7)).
fn sockaddr(address: &Address) -> io::Result<(i32, Vec<u8>)> {
    let family = match address {
        Address::Tcp(SocketAddr::V4(_)) => libc::AF_INET,
        Address::Tcp(SocketAddr::V6(_)) => libc::AF_INET6,
        Address::Unix(_) | Address::Abstract(_) => libc::AF_UNIX,
    };
    let mut bytes = (family as libc::sa_family_t).to_ne_bytes().to_vec();
    match address {
        Address::Tcp(SocketAddr::V4(v4)) => {
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        Address::Tcp(SocketAddr::V6(v6)) => {
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
        Address::Unix(path) => {
            bytes.extend(path.as_os_str().as_bytes());
            bytes.push(0);
        }
        Address::Abstract(name) => {
            bytes.push(0);
            bytes.extend(name.as_bytes());
        }
    }
    match bytes.len() <= size_of::<libc::sockaddr_un>() {
        true => Ok((family, bytes)),
        false => Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;
    use crate::sys::listen::{Accepted, Listener};
    use crate::sys::{clock, poll};

    /// Waits until the connection is open or has failed.
    fn outcome(address: &Address) -> io::Result<bool> {
        let stream = start(address)?;
        let end = clock::now().after(Duration::from_secs(20));
        poll::wait_for(&[(stream.as_fd(), poll::Want::Write)], Some(end), clock::now());
        stream.is_connected()
    }

    #[test]
    fn every_kind_of_address_is_reached_or_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        for ip in ["127.0.0.1", "::1"] {
            let socket = TcpListener::bind((ip, 0)).expect("a socket");
            let address = Address::Tcp(socket.local_addr().expect("an address"));
            assert!(outcome(&address).expect("open"));
        }
        let name = format!("graceinit-dial-{}", std::process::id());
        for address in [Address::Unix(dir.path().join("sock")), Address::Abstract(name)] {
            let kind = outcome(&address).expect_err("nothing listens").raw_os_error();
            assert!(matches!(kind, Some(libc::ENOENT | libc::ECONNREFUSED)), "{kind:?}");
            let listener = Listener::open(&address).expect("a socket");
            assert!(outcome(&address).expect("open"));
            assert!(matches!(listener.accept(), Accepted::Stream(_)));
        }
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
        let refused = outcome(&Address::Tcp(free)).expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
