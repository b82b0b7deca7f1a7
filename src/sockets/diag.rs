//! Reads sockets by the best method that works: sock_diag, else /proc/net/tcp, else none.

use std::io;
use std::path::{Path, PathBuf};

use super::{procnet, reading};
use crate::machine::connections::{Reading, Visibility};
use crate::sys::sockdiag::{self, Diag, Effort, Extent, Kind, Query, States};

/// The kernel's number of the state LISTEN (enum tcp_state of netinet/tcp.h).
pub(super) const LISTEN: u8 = 10;

#[derive(Debug)]
enum Method {
    /// sock_diag; opened by the first request.
    SockDiag(Option<Diag>),
    /// /proc/net/tcp and tcp6.
    ProcNet,
    /// Neither works.
    None,
}

/// Where sockets are read from.
#[derive(Debug)]
pub(super) struct Source {
    method: Method,
    proc: PathBuf,
    /// Warnings that were not taken yet.
    pub(super) warnings: Vec<String>,
}

/// A socket, whatever it was read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket {
    pub(super) port: u16,
    pub(super) state: u8,
    pub(super) unread: u32,
    pub(super) inode: u64,
    told: Told,
}

/// The rest of it, which depends on the method.
#[derive(Clone, Copy, Debug)]
enum Told {
    Diag(sockdiag::Socket),
    Line { key: u64, unsent: u32 },
}

impl Source {
    /// Opens nothing yet.
    pub(super) fn new(sock_diag: bool, proc: &Path) -> Source {
        let method = if sock_diag { Method::SockDiag(None) } else { Method::ProcNet };
        Source { method, proc: proc.to_owned(), warnings: Vec::new() }
    }

    /// How much the samples show.
    pub(super) fn visibility(&self) -> Visibility {
        match self.method {
            Method::SockDiag(_) => Visibility::Full,
            Method::ProcNet => Visibility::Counts,
            Method::None => Visibility::Blind,
        }
    }

    /// The cost of the last request to the kernel.
    pub(super) fn effort(&self) -> Effort {
        match &self.method {
            Method::SockDiag(Some(diag)) => diag.effort(),
            Method::SockDiag(None) | Method::ProcNet | Method::None => Effort::default(),
        }
    }

    /// Calls `each` for every TCP socket on the ports (an empty list: on all) that is in one of the states. `None`
    /// begins a reading: what an earlier one gave is void.
    pub(super) fn read(
        &mut self,
        ports: &[u16],
        states: States,
        mut each: impl FnMut(Option<&Socket>),
    ) -> Extent {
        let mut refused = None;
        if let Method::SockDiag(diag) = &mut self.method {
            // Retried once, since a lack of memory may be over.
            for _ in 0..2 {
                each(None);
                match read_diag(diag, ports, states, &mut each) {
                    Ok(extent) => return extent,
                    Err(error) => refused = Some(error),
                }
            }
            self.method = Method::ProcNet;
        }
        if let Method::ProcNet = self.method {
            each(None);
            match read_proc(&self.proc, ports, states, &mut each) {
                Ok(extent) => {
                    if let Some(error) = refused {
                        self.warnings.push(format!(
                            "unable to ask the kernel for connections (sock_diag): {error}; they are \
                             counted in /proc/net/tcp, and each is waited for until --drain-idle is over, \
                             after the last traffic in the delay (/proc/net/snmp)"
                        ));
                    }
                    return extent;
                }
                Err(error) => {
                    let first = refused.map(|error| format!("sock_diag: {error}, "));
                    let first = first.unwrap_or_default();
                    self.warnings.push(format!(
                        "unable to see connections ({first}/proc/net/tcp: {error}); the drain is its \
                         delay alone"
                    ));
                    self.method = Method::None;
                }
            }
        }
        each(None);
        Extent::Whole
    }

    /// The inode and the port of every listener.
    pub(super) fn listeners(&mut self) -> Vec<(u64, u16)> {
        let mut found = Vec::new();
        self.read(&[], States::LISTEN, |socket| match socket {
            None => found.clear(),
            Some(socket) => found.push((socket.inode, socket.port)),
        });
        // A listener of MPTCP, the default of Go programs, is listed among those of TCP with an inode that no
        // descriptor has.
        if let Method::SockDiag(Some(diag)) = &mut self.method {
            for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
                let kind = Kind::MptcpOf(family);
                let query = Query { kind, states: States::LISTEN, ports: &[], info: false };
                // A kernel without MPTCP refuses the request.
                let _ = diag.ask(&query, |socket| {
                    found.push((socket.inode.into(), socket.port));
                });
            }
        }
        found
    }
}

fn read_diag(
    diag: &mut Option<Diag>,
    ports: &[u16],
    states: States,
    each: &mut impl FnMut(Option<&Socket>),
) -> io::Result<Extent> {
    let diag = match diag {
        Some(diag) => diag,
        None => diag.insert(Diag::open()?),
    };
    let query = Query { kind: Kind::Tcp, states, ports, info: states != States::LISTEN };
    diag.ask(&query, |socket| {
        each(Some(&Socket {
            port: socket.port,
            state: socket.state,
            unread: socket.unread,
            inode: socket.inode.into(),
            told: Told::Diag(*socket),
        }));
    })
}

fn read_proc(
    proc: &Path,
    ports: &[u16],
    states: States,
    each: &mut impl FnMut(Option<&Socket>),
) -> io::Result<Extent> {
    let mut table = |name: &str| {
        procnet::table(&proc.join("net").join(name), |line| {
            let wanted = ports.is_empty() || ports.contains(&line.port);
            if wanted && states.contains(line.state) {
                each(Some(&Socket {
                    port: line.port,
                    state: line.state,
                    unread: line.unread,
                    inode: line.inode,
                    told: Told::Line { key: line.key, unsent: line.unsent },
                }));
            }
        })
    };
    let v4 = table("tcp")?;
    // A kernel without IPv6 has no such file.
    let v6 = table("tcp6").unwrap_or(true);
    Ok(if v4 && v6 { Extent::Whole } else { Extent::Part })
}

impl Socket {
    /// The connection; `None` in a state that is none, or none any more.
    pub(super) fn reading(&self) -> Option<Reading> {
        match self.told {
            Told::Diag(socket) => reading::reading(&socket),
            Told::Line { key, unsent } => {
                let held = self.inode != 0;
                let state = reading::state(self.state, held)?;
                let (port, unread) = (self.port, self.unread);
                Some(Reading { key, peer: None, port, state, held, unread, unsent, info: None })
            }
        }
    }
}
