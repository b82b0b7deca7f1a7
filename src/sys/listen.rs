//! Listening sockets, and the connections that come in through them.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{self as unix, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};

use super::safe_path::{Last, Place};

/// sun_path holds 108 bytes, the last of which is 0 (unix(7)).
const LONGEST_PATH: usize = 107;

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// `127.0.0.1:9180`, `[::]:9180`
    Tcp(SocketAddr),
    /// `unix:/run/graceinit.sock`
    Unix(PathBuf),
    /// `unix:@name`: in the abstract namespace, which needs no file (unix(7)).
    Abstract(String),
}

impl Address {
    /// Parses an address of the command line.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path);
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => {
                Err("port 0 is any free port, which clients cannot know; choose a port".to_owned())
            }
            Ok(address) => Ok(Address::Tcp(address)),
            Err(_) => Err(advise(text)),
        }
    }
}

fn parse_unix(path: &str) -> Result<Address, String> {
    let name = path.strip_prefix('@');
    let length = name.unwrap_or(path).len();
    if path.contains('\0') {
        return Err("a socket's path cannot hold a NUL byte".to_owned());
    }
    if length > LONGEST_PATH {
        let excess = length - LONGEST_PATH;
        return Err(format!(
            "a socket's path has at most {LONGEST_PATH} bytes; this one has {excess} too many"
        ));
    }
    match name {
        Some("") => Err("the name after 'unix:@' is missing; write unix:@graceinit".to_owned()),
        Some(name) => Ok(Address::Abstract(name.to_owned())),
        None if path.starts_with('/') => Ok(Address::Unix(PathBuf::from(path))),
        None => Err("a socket's path begins with '/'; write unix:/run/graceinit.sock".to_owned()),
    }
}

/// What is wrong with an address, and what to write instead.
fn advise(text: &str) -> String {
    let all = "write ADDRESS:PORT as in 127.0.0.1:9180 or [::]:9180, or unix:/run/graceinit.sock";
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    if text.starts_with('/') {
        return format!("a path needs 'unix:' in front; write unix:{text}");
    }
    if text.contains("://") {
        return format!("this is a URL; {all}");
    }
    if is_port(text) {
        return format!(
            "the address is missing; write [::]:{text} for all of them or 127.0.0.1:{text}"
        );
    }
    match text.rsplit_once(':') {
        Some(("" | "*", port)) if is_port(port) => {
            format!("the address is missing; write [::]:{port} for all of them or 127.0.0.1:{port}")
        }
        Some(("localhost", port)) if is_port(port) => {
            format!("names are not looked up; write 127.0.0.1:{port}")
        }
        Some((host, port)) if is_port(port) && host.parse::<std::net::Ipv6Addr>().is_ok() => {
            format!("an IPv6 address goes into brackets; write [{host}]:{port}")
        }
        Some((_, port)) if is_port(port) => {
            format!("names are not looked up, and this is no address; {all}")
        }
        Some((host, _)) if host.parse::<Ipv4Addr>().is_ok() || host.ends_with(']') => {
            format!("the port is not a number from 1 to 65535; write {host}:9180")
        }
        _ => format!("this is no address; {all}"),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

/// A listening socket. It never blocks, and execve closes it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// Path, device and inode of the file that bind(2) made.
    file: Option<(PathBuf, libc::dev_t, libc::ino_t)>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Listener {
    /// Opens the socket. `[::]` accepts IPv4 as well (unless net.ipv6.bindv6only is set). The file of a socket
    /// without a listener is replaced. Every user may connect.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and listen(2): EADDRINUSE, EACCES, ENOENT; ELOOP for a path that leads through a link
    /// that another user may have made.
    pub fn open(address: &Address) -> io::Result<Listener> {
        let mut file = None;
        let socket = match address {
            Address::Tcp(address) => Socket::Tcp(open_tcp(*address)?),
            Address::Unix(path) => {
                let place = Place::find(path, Last::Keep)?;
                let socket = bind_path(path, &place)?;
                let stat = place.look().ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
                file = Some((path.clone(), stat.st_dev, stat.st_ino));
                Socket::Unix(socket)
            }
            Address::Abstract(name) => {
                let address = unix::SocketAddr::from_abstract_name(name)?;
                Socket::Unix(UnixListener::bind_addr(&address)?)
            }
        };
        match &socket {
            Socket::Tcp(socket) => socket.set_nonblocking(true)?,
            Socket::Unix(socket) => socket.set_nonblocking(true)?,
        }
        Ok(Listener { socket, file })
    }

    /// The TCP port.
    pub fn port(&self) -> Option<u16> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok().map(|address| address.port()),
            Socket::Unix(_) => None,
        }
    }

    /// Whether it is a TCP address of the loopback network. A Unix socket is none: no browser can reach one.
    pub fn is_loopback(&self) -> bool {
        match &self.socket {
            Socket::Tcp(socket) => {
                socket.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
            }
            Socket::Unix(_) => false,
        }
    }

    /// Accepts the next connection.
    pub fn accept(&self) -> Accepted {
        let stream = match &self.socket {
            Socket::Tcp(socket) => socket.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                // An answer is one write, so its last part need not wait for more.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }),
            Socket::Unix(socket) => socket.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }),
        };
        match stream {
            Ok(stream) => Accepted::Stream(stream),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Accepted::Empty,
                // accept(2): the client has closed its connection, or errors of its network.
                Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO | libc::EPERM) => {
                    Accepted::Gone
                }
                _ => Accepted::Scarce,
            },
        }
    }

    /// Removes the file of a Unix socket, unless another file has taken its place.
    pub fn remove_file(&mut self) {
        if let Some((path, device, inode)) = self.file.take() {
            let same = nix::sys::stat::lstat(&path)
                .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode));
            if same {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address) {
        // A kernel without IPv6: `[::]` stands for all addresses.
        Err(error)
            if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                && address.is_ipv6()
                && address.ip().is_unspecified() =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
        }
        bound => bound,
    }
}

fn bind_path(path: &Path, place: &Place) -> io::Result<UnixListener> {
    // A probe may run as another user, and the answers hold no secret. Not chmod(2) after bind(2): by then another
    // user may have put a link in the place of the socket. There is no other thread that the umask would matter to.
    let umask = umask(Mode::from_bits_truncate(0o111));
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_abandoned(path) => {
            place.remove().and_then(|()| UnixListener::bind(path))
        }
        bound => bound,
    };
    self::umask(umask);
    bound
}

/// Whether this is the file of a socket that no process has open. Tried with a datagram socket: a stream socket
/// refuses it because of its type, while a connection to one with a full backlog would have to wait.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    is_socket && asked.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNREFUSED))
}

/// The result of accepting a connection.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Stream(Stream),
    /// The client has closed its connection already. There may be more connections.
    Gone,
    /// There is no connection in the backlog.
    Empty,
    /// No descriptor or memory is left. There may be connections in the backlog.
    Scarce,
}

/// A connection. It never blocks.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Ends the stream to the other side with shutdown(2).
    pub fn finish(&self) {
        // Ignore ENOTCONN: the other side has closed the connection.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Whether a connection that [`super::dial::start`] began to open is open.
    ///
    /// # Errors
    /// It failed: ECONNREFUSED, ETIMEDOUT and so on.
    pub fn is_connected(&self) -> io::Result<bool> {
        let (error, open) = match self {
            Stream::Tcp(stream) => (stream.take_error()?, stream.peer_addr().is_ok()),
            // Opened at once, or not at all (unix(7)).
            Stream::Unix(stream) => (stream.take_error()?, true),
        };
        error.map_or(Ok(open), Err)
    }

    /// read(2)
    ///
    /// # Errors
    /// Those of read(2): WouldBlock if there is nothing to read.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
        }
    }

    /// write(2), without SIGPIPE.
    ///
    /// # Errors
    /// Those of write(2): WouldBlock if there is no room.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in [
            "127.0.0.1:9180",
            "0.0.0.0:1",
            "[::]:9180",
            "[fe80::1%2]:65535",
            "unix:/run/graceinit.sock",
            "unix:@graceinit",
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn mistakes_come_with_advice() {
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        for (text, advice) in [
            ("", "127.0.0.1:9180"),
            ("9180", "write [::]:9180"),
            (":9180", "write [::]:9180"),
            ("*:9180", "write [::]:9180"),
            ("localhost:9180", "write 127.0.0.1:9180"),
            ("example.org:80", "names are not looked up"),
            ("::1:9180", "write [::1]:9180"),
            ("127.0.0.1", "write ADDRESS:PORT"),
            ("127.0.0.1:", "from 1 to 65535"),
            ("127.0.0.1:65536", "from 1 to 65535"),
            ("[::]:http", "from 1 to 65535"),
            ("127.0.0.1:0", "port 0"),
            ("/run/x.sock", "write unix:/run/x.sock"),
            ("http://127.0.0.1:9180", "URL"),
            ("unix:", "begins with '/'"),
            ("unix:run/x.sock", "begins with '/'"),
            ("unix:@", "unix:@graceinit"),
            ("unix:/a\0b", "NUL"),
            (long.as_str(), "1 too many"),
        ] {
            let message = Address::parse(text).expect_err(text);
            assert!(message.contains(advice), "{text}: {message}");
        }
    }

    #[test]
    fn an_abandoned_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sock");
        let address = Address::Unix(path.clone());
        // A process that is killed leaves its file.
        drop(UnixListener::bind(&path).expect("a socket"));
        let mut first = Listener::open(&address).expect("replaced");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let refused = Listener::open(&address).expect_err("in use");
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        UnixStream::connect(&path).expect("still the first");
        first.remove_file();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_was_not_made_here_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sock");
        let address = Address::Unix(path.clone());
        fs::write(&path, "precious").expect("a file");
        assert_eq!(Listener::open(&address).expect_err("a file").kind(), ErrorKind::AddrInUse);
        fs::remove_file(&path).expect("removed");
        let mut listener = Listener::open(&address).expect("a socket");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "precious").expect("a file");
        listener.remove_file();
        assert_eq!(fs::read(&path).expect("the file"), b"precious");
    }

    #[test]
    fn abstract_names_need_no_file() {
        let name = format!("graceinit-test-{}", std::process::id());
        let address = Address::Abstract(name);
        let _first = Listener::open(&address).expect("a socket");
        assert_eq!(Listener::open(&address).expect_err("in use").kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn the_unspecified_address_accepts_ipv4_as_well() {
        let any = Address::Tcp("[::]:0".parse().expect("an address"));
        let listener = Listener::open(&any).expect("a socket");
        let port = listener.port().expect("a port");
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    }
}
