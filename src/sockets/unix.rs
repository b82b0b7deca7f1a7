//! Connections of Unix sockets: through sock_diag (UNIX_DIAG), else from /proc/net/unix. Neither tells when something
//! moved on a connection, so an open connection counts as one that is waited for.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::diag::LISTEN;
use super::procnet;
use crate::machine::connections::{Reading, State, Table};
use crate::sys::listen::Address;
use crate::sys::sockdiag::{Diag, States, UnixSocket};

/// The number of the state of an open connection.
const ESTABLISHED: u8 = 1;

/// The Unix sockets of the drain.
#[derive(Debug)]
pub(super) struct UnixSockets {
    wanted: Vec<Wanted>,
    method: Method,
    /// Warnings that were not taken yet.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug)]
enum Method {
    /// sock_diag; opened by the first request.
    SockDiag(Option<Diag>),
    /// /proc/net/unix
    ProcNet,
    /// Neither works.
    None,
}

/// A listener whose connections are waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wanted {
    /// As users write it.
    text: String,
    /// As bind(2) was given it: a path, or a name behind a zero byte.
    name: Vec<u8>,
}

/// A socket that is bound to a name, or was accepted from one that is: only the server's end has the name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// It is a listener.
    pub listens: bool,
    /// The inode that its descriptors link to.
    pub inode: u64,
    /// The kernel's name of the socket, never used again.
    pub(super) key: u64,
    name: Vec<u8>,
    /// Inode and device of the file that bind(2) has made.
    file: Option<(u32, u32)>,
    /// Of a listener: connections to be accepted. Else bytes that the app has not read.
    unread: u32,
    /// Bytes that the client has not read.
    unsent: u32,
}

impl Bound {
    /// A path, or a name behind a zero byte.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
}

impl UnixSockets {
    /// For these sockets. Opens nothing yet.
    pub(super) fn new(addresses: &[Address], sock_diag: bool) -> UnixSockets {
        let name = |address: &Address| match address {
            Address::Unix(path) => Some(path.as_os_str().as_bytes().to_vec()),
            Address::Abstract(name) => Some([b"\0", name.as_bytes()].concat()),
            Address::Tcp(_) => None,
        };
        let wanted = addresses
            .iter()
            .filter_map(|address| Some(Wanted { text: address.to_string(), name: name(address)? }));
        let method = if sock_diag { Method::SockDiag(None) } else { Method::ProcNet };
        UnixSockets { wanted: wanted.collect(), method, warnings: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn is_blind(&self) -> bool {
        matches!(self.method, Method::None)
    }

    /// Every listener; for `--drain auto`.
    pub(super) fn listeners(&mut self, proc: &Path) -> Vec<Bound> {
        let mut all = self.read(proc, States::LISTEN);
        all.retain(|bound| bound.listens);
        all
    }

    /// Adds a listener that was found.
    pub(super) fn add(&mut self, bound: &Bound) {
        let name = &bound.name;
        let text = match name.split_first() {
            Some((0, rest)) => format!("unix:@{}", String::from_utf8_lossy(rest)),
            _ => format!("unix:{}", String::from_utf8_lossy(name)),
        };
        let wanted = Wanted { text, name: name.clone() };
        if !name.is_empty() && !self.wanted.contains(&wanted) {
            self.wanted.push(wanted);
        }
    }

    /// Takes the connections into a sample. Returns the sockets that nothing listens on, as users write them.
    pub(super) fn sample(&mut self, proc: &Path, mut table: Option<&mut Table>) -> Vec<String> {
        if self.wanted.is_empty() {
            return Vec::new();
        }
        let states = States::LISTEN.and(States::CONNECTED);
        let all = self.read(proc, if table.is_some() { states } else { States::LISTEN });
        let mut missing = Vec::new();
        for wanted in &self.wanted {
            let of_it = wanted.sockets(&all);
            if !of_it.iter().any(|bound| bound.listens) {
                missing.push(wanted.text.clone());
            }
            for bound in of_it {
                match &mut table {
                    Some(table) if bound.listens => table.listener(bound.unread),
                    Some(table) => table.connection(&bound.reading()),
                    None => {}
                }
            }
        }
        if self.is_blind() { Vec::new() } else { missing }
    }

    /// All stream sockets in these states that have a name.
    fn read(&mut self, proc: &Path, states: States) -> Vec<Bound> {
        let mut refused = None;
        if let Method::SockDiag(diag) = &mut self.method {
            // Retried once, since a lack of memory may be over.
            for _ in 0..2 {
                match read_diag(diag, states) {
                    Ok(all) => return all,
                    Err(error) => refused = Some(error),
                }
            }
            self.method = Method::ProcNet;
        }
        if let Method::ProcNet = self.method {
            match read_proc(proc) {
                Ok(all) => {
                    if let Some(error) = refused {
                        self.warnings.push(format!(
                            "unable to ask the kernel for Unix sockets (sock_diag): {error}; their connections \
                             are counted in /proc/net/unix"
                        ));
                    }
                    return all;
                }
                Err(error) => {
                    self.warnings.push(format!(
                        "unable to see connections of Unix sockets (/proc/net/unix: {error}); the drain does not \
                         wait for them"
                    ));
                    self.method = Method::None;
                }
            }
        }
        Vec::new()
    }
}

impl Wanted {
    /// The listener and its connections. The name that bind(2) was given may be a relative one, or one of another mount:
    /// then the file tells. It is looked up only if the name alone finds no listener, since a file system may hang.
    fn sockets<'a>(&self, all: &'a [Bound]) -> Vec<&'a Bound> {
        let named = |bound: &&Bound| bound.name == self.name;
        let exact: Vec<&Bound> = all.iter().filter(named).collect();
        if exact.iter().any(|bound| bound.listens) || self.name.first() == Some(&0) {
            return exact;
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(&self.name));
        let Ok(meta) = std::fs::metadata(path) else { return exact };
        let (inode, device) = (meta.ino() as u32, kernel_device(meta.dev()));
        let last = |name: &[u8]| name.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
        let same = |bound: &&Bound| {
            bound.file.is_some_and(|(its_inode, its_device)| {
                // The device of stat(2) is another one on btrfs and on some overlays.
                its_inode == inode
                    && (its_device == device || last(&bound.name) == last(&self.name))
            })
        };
        all.iter().filter(|bound| named(bound) || same(bound)).collect()
    }
}

/// The kernel's own form of a device number (linux/kdev_t.h), of that of stat(2).
fn kernel_device(device: u64) -> u32 {
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    (major << 20 | minor & 0xf_ffff) as u32
}

impl Bound {
    fn reading(&self) -> Reading {
        Reading {
            key: self.key,
            peer: None,
            port: 0,
            state: State::Local,
            // The kernel makes the server's end before it is accepted; it has no inode then.
            held: self.inode != 0,
            unread: self.unread,
            unsent: self.unsent,
            info: None,
        }
    }
}

fn read_diag(diag: &mut Option<Diag>, states: States) -> io::Result<Vec<Bound>> {
    let diag = match diag {
        Some(diag) => diag,
        None => diag.insert(Diag::open()?),
    };
    let mut all = Vec::new();
    diag.ask_unix(states, |socket: &UnixSocket<'_>| {
        let name = socket.name.filter(|_| socket.is_stream()).unwrap_or_default();
        // A path ends with a zero byte (unix(7)).
        let name = match name {
            [0, ..] => name,
            [path @ .., 0] => path,
            path => path,
        };
        let known = [LISTEN, ESTABLISHED].contains(&socket.state);
        if !name.is_empty() && known && !socket.peer_is_gone() {
            all.push(Bound {
                listens: socket.state == LISTEN,
                inode: socket.inode.into(),
                key: socket.cookie,
                name: name.to_vec(),
                file: socket.file,
                unread: socket.unread,
                unsent: if socket.state == LISTEN { 0 } else { socket.unsent },
            });
        }
    })?;
    Ok(all)
}

fn read_proc(proc: &Path) -> io::Result<Vec<Bound>> {
    let mut all = Vec::new();
    procnet::each_line(&proc.join("net/unix"), |line| all.extend(bound(line)))?;
    Ok(all)
}

/// A line of /proc/net/unix (proc_net_unix(5)): `Num: RefCount Protocol Flags Type St Inode Path`.
pub fn bound(line: &[u8]) -> Option<Bound> {
    const LISTENS: u64 = 0x1_0000;
    let line = std::str::from_utf8(line).ok()?;
    let mut rest = line;
    let mut field = || {
        let (first, more) = rest.trim_start_matches(' ').split_once(' ')?;
        rest = more;
        Some(first)
    };
    let (number, _, _) = (field()?, field()?, field()?);
    let flags = u64::from_str_radix(field()?, 16).ok()?;
    let kind = u64::from_str_radix(field()?, 16).ok()?;
    let state = u64::from_str_radix(field()?, 16).ok()?;
    let (inode, path) = rest.trim_start_matches(' ').split_once(' ')?;
    let inode = inode.parse().ok()?;
    let listens = flags & LISTENS != 0;
    // SS_CONNECTED, or SS_CONNECTING: not accepted yet (linux/net.h).
    let open = matches!(state, 2 | 3);
    if path.is_empty() || kind == 2 || !(listens || open) {
        return None;
    }
    // An abstract name is shown with `@` in place of each zero byte.
    let name = path.strip_prefix('@').map(|name| [b"\0", name.as_bytes()].concat());
    let mut hasher = DefaultHasher::new();
    (number, inode, path).hash(&mut hasher);
    Some(Bound {
        listens,
        inode,
        key: hasher.finish(),
        name: name.unwrap_or_else(|| path.as_bytes().to_vec()),
        file: None,
        unread: 0,
        unsent: 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bound_at(name: &[u8], file: Option<(u32, u32)>, listens: bool) -> Bound {
        Bound { listens, inode: 1, key: 1, name: name.to_vec(), file, unread: 0, unsent: 0 }
    }

    #[test]
    fn lines_of_the_table() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/a b.sock
0000000000000000: 00000003 00000000 00000000 0001 03 4712 /run/a b.sock
0000000000000000: 00000002 00000000 00000000 0001 02     0 @name
0000000000000000: 00000003 00000000 00000000 0001 03 4713
0000000000000000: 00000002 00000000 00000000 0002 01 4714 /run/log
";
        let all: Vec<Bound> = text.lines().filter_map(|line| bound(line.as_bytes())).collect();
        let seen: Vec<_> = all.iter().map(|one| (one.listens, one.inode, &one.name[..])).collect();
        assert_eq!(
            seen,
            [
                (true, 4711, &b"/run/a b.sock"[..]),
                (false, 4712, b"/run/a b.sock"),
                (false, 0, b"\0name")
            ]
        );
    }

    #[test]
    fn a_socket_is_found_by_its_name_or_by_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("app.sock");
        std::fs::write(&path, "").expect("a file");
        let meta = std::fs::metadata(&path).expect("a file");
        let file = Some((meta.ino() as u32, kernel_device(meta.dev())));
        let elsewhere = Some((meta.ino() as u32, 7));
        let sockets = UnixSockets::new(&[Address::Unix(path.clone())], true);
        let name = path.as_os_str().as_bytes();
        let found = |all: &[Bound]| sockets.wanted[0].sockets(all).len();
        assert_eq!(found(&[bound_at(name, None, true), bound_at(name, None, false)]), 2);
        // A relative name; a bind mount; a file system with device numbers of its own.
        assert_eq!(found(&[bound_at(b"app.sock", file, true)]), 1);
        assert_eq!(found(&[bound_at(b"/mnt/other", file, true)]), 1);
        assert_eq!(found(&[bound_at(b"./app.sock", elsewhere, true)]), 1);
        // Other sockets.
        assert_eq!(
            found(&[bound_at(b"other.sock", elsewhere, true), bound_at(b"x", None, true)]),
            0
        );
    }

    #[test]
    fn device_numbers_are_those_of_the_kernel() {
        // Major 8, minor 1; major 254, minor 0x12345 (makedev(3)).
        assert_eq!(kernel_device(0x801), 8 << 20 | 1);
        assert_eq!(kernel_device(0x1230_fe45), 254 << 20 | 0x1_2345);
    }

    proptest! {
        #[test]
        fn any_line_is_harmless(line in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,100}") {
            bound(&line);
            bound(text.as_bytes());
        }
    }
}
