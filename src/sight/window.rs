//! The means of seeing sockets, and the next best one where one fails.

use std::io;
use std::path::{Path, PathBuf};

use super::{files, reading};
use crate::machine::connections::Reading;
use crate::machine::drain::Sight;
use crate::sys::sockdiag::{Diag, Effort, Extent, Kind, Query, Socket, States};

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
pub(super) struct Window {
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
    told: Told,
}

/// The rest of it, which depends on the means.
#[derive(Clone, Copy, Debug)]
enum Told {
    Socket(Socket),
    Line { key: u64, unsent: u32 },
}

impl Window {
    /// Nothing is opened yet. `ask`: the kernel may be asked.
    pub(super) fn new(ask: bool, proc: &Path) -> Window {
        let means = if ask { Means::Ask(None) } else { Means::Read };
        Window { means, proc: proc.to_owned() }
    }

    /// How much can be seen.
    pub(super) fn sight(&self) -> Sight {
        match self.means {
            Means::Ask(_) => Sight::Full,
            Means::Read => Sight::Counts,
            Means::Nothing => Sight::Blind,
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
                             counted in /proc/net/tcp, and each is waited for until --drain-idle is over"
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
            told: Told::Socket(*socket),
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
        files::table(&proc.join("net").join(name), |line| {
            let wanted = ports.is_empty() || ports.contains(&line.port);
            if wanted && states.contains(line.state) {
                each(Some(&Seen {
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
    // Not there where the kernel has no IPv6.
    let v6 = table("tcp6").unwrap_or(true);
    Ok(if v4 && v6 { Extent::Whole } else { Extent::Part })
}

impl Seen {
    /// `None`: it is no connection, or none any more.
    pub(super) fn reading(&self) -> Option<Reading> {
        match self.told {
            Told::Socket(socket) => reading::reading(&socket),
            Told::Line { key, unsent } => {
                let held = self.inode != 0;
                let state = reading::state(self.state, held)?;
                let (port, unread) = (self.port, self.unread);
                Some(Reading { key, peer: None, port, state, held, unread, unsent, info: None })
            }
        }
    }
}
