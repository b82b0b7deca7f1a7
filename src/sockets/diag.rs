//! The means of seeing sockets, and the next best one where one fails.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::procnet;
use crate::machine::connections::{Connection, Stamps, State, Visibility};
use crate::sys::sockdiag::{Diag, Effort, Extent, Info, Kind, Query, States};

/// The kernel's number of a listener's state (enum tcp state of netinet/tcp.h).
pub(super) const LISTEN: u8 = 10;

#[derive(Debug)]
enum Means {
    /// Ask the kernel.
    Ask(Option<Diag>),
    /// Read /proc/net/tcp and tcp6.
    Read,
    /// Nothing works.
    Nothing,
}

/// Looks at sockets by the best means that works.
#[derive(Debug)]
pub(super) struct Source {
    means: Means,
    proc: PathBuf,
}

/// A socket, by whatever means it was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) port: u16,
    pub(super) state: u8,
    pub(super) unread: u32,
    pub(super) inode: u64,
    key: u64,
    unsent: u32,
    info: Option<Info>,
}

impl Source {
    /// Nothing is opened yet. `ask`: the kernel may be asked.
    pub(super) fn new(ask: bool, proc: &Path) -> Source {
        let means = if ask { Means::Ask(None) } else { Means::Read };
        Source { means, proc: proc.to_owned() }
    }

    /// How much can be seen.
    pub(super) fn visibility(&self) -> Visibility {
        match self.means {
            Means::Ask(_) => Visibility::Full,
            Means::Read => Visibility::Counts,
            Means::Nothing => Visibility::Blind,
        }
    }

    /// What the last question to the kernel has cost.
    pub(super) fn effort(&self) -> Effort {
        match &self.means {
            Means::Ask(Some(diag)) => diag.effort(),
            Means::Ask(None) | Means::Read | Means::Nothing => Effort::default(),
        }
    }

    /// Calls `each` for every TCP socket on the ports (none: on all) that is in one of the states.
    /// `None` means: from the beginning, what was told so far is void.
    pub(super) fn look(
        &mut self,
        ports: &[u16],
        states: States,
        mut each: impl FnMut(Option<&Seen>),
    ) -> Extent {
        let mut refused = None;
        if let Means::Ask(diag) = &mut self.means {
            // Once more: a limit or a lack of memory may be over.
            for _ in 0..2 {
                each(None);
                match ask(diag, ports, states, &mut each) {
                    Ok(extent) => return extent,
                    Err(error) => refused = Some(error),
                }
            }
            self.means = Means::Read;
        }
        if let Means::Read = self.means {
            each(None);
            match read(&self.proc, ports, states, &mut each) {
                Ok(extent) => {
                    if let Some(error) = refused {
                        super::warn_once(&format!(
                            "unable to ask the kernel for connections (sock_diag): {error}; they are \
                             counted in /proc/net/tcp, and each of them counts as busy"
                        ));
                    }
                    return extent;
                }
                Err(error) => {
                    let first = refused.map(|error| format!("sock_diag: {error}, "));
                    let first = first.unwrap_or_default();
                    super::warn_once(&format!(
                        "unable to see connections ({first}/proc/net/tcp: {error}); the drain is its \
                         delay alone"
                    ));
                    self.means = Means::Nothing;
                }
            }
        }
        each(None);
        Extent::Whole
    }

    /// Every listener: its inode and its port.
    pub(super) fn listeners(&mut self) -> Vec<(u64, u16)> {
        let mut found = Vec::new();
        self.look(&[], States::LISTEN, |seen| match seen {
            None => found.clear(),
            Some(seen) => found.push((seen.inode, seen.port)),
        });
        // A listener of MPTCP, which a Go program has without asking for it, is shown among those of
        // TCP with an inode that no descriptor has.
        if let Means::Ask(Some(diag)) = &mut self.means {
            for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
                let kind = Kind::MptcpOf(family);
                let query = Query { kind, states: States::LISTEN, ports: &[], info: false };
                // A kernel without it has none.
                let _ = diag.ask(&query, |socket| {
                    found.push((socket.inode.into(), socket.port));
                });
            }
        }
        found
    }
}

fn ask(
    diag: &mut Option<Diag>,
    ports: &[u16],
    states: States,
    each: &mut impl FnMut(Option<&Seen>),
) -> io::Result<Extent> {
    let diag = match diag {
        Some(diag) => diag,
        None => diag.insert(Diag::open()?),
    };
    let query = Query { kind: Kind::Tcp, states, ports, info: states != States::LISTEN };
    diag.ask(&query, |socket| {
        each(Some(&Seen {
            port: socket.port,
            state: socket.state,
            unread: socket.unread,
            inode: socket.inode.into(),
            key: socket.cookie,
            unsent: socket.unsent,
            info: socket.info,
        }));
    })
}

fn read(
    proc: &Path,
    ports: &[u16],
    states: States,
    each: &mut impl FnMut(Option<&Seen>),
) -> io::Result<Extent> {
    let mut table = |name: &str| {
        procnet::table(&proc.join("net").join(name), |line| {
            let wanted = ports.is_empty() || ports.contains(&line.port);
            if wanted && states.contains(line.state) {
                each(Some(&Seen {
                    port: line.port,
                    state: line.state,
                    unread: line.unread,
                    inode: line.inode,
                    key: line.key,
                    unsent: line.unsent,
                    info: None,
                }));
            }
        })
    };
    let v4 = table("tcp")?;
    // Not there where the kernel has no IPv6.
    let v6 = table("tcp6").unwrap_or(true);
    Ok(if v4 && v6 { Extent::Whole } else { Extent::Part })
}

impl Seen {
    /// `None`: it is no connection, or none any more.
    pub(super) fn connection(&self) -> Option<Connection> {
        let state = match self.state {
            1 => State::Established,
            3 => State::SynReceived,
            4 => State::FinWait1,
            // Closed by the app: it waits for the client's FIN alone.
            5 if self.inode == 0 => return None,
            5 => State::FinWait2,
            8 => State::CloseWait,
            9 => State::LastAck,
            11 => State::Closing,
            _ => return None,
        };
        let stamps = self.info.map(|info| Stamps {
            sent: Duration::from_millis(info.last_data_sent.into()),
            received: Duration::from_millis(info.last_data_received.into()),
            acknowledged: Duration::from_millis(info.last_ack_received.into()),
            bytes_received: info.bytes_received,
            silent: info.bytes_acknowledged == Some(0) && self.unsent == 0,
        });
        let Seen { key, unread, unsent, .. } = *self;
        Some(Connection { key, state, held: self.inode != 0, unread, unsent, stamps })
    }
}
