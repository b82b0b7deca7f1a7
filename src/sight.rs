//! How the connections of the drained ports are seen: through sock_diag; where that is refused through
//! /proc/net/tcp, which shows only that they are there; else not at all.
//!
//! A connection is known by its local port alone, although the containers of a pod share their
//! network: before it is accepted, and once the app has closed it, it is in no process, and those are
//! to be seen too. Two containers cannot have the same port, unless on different addresses.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::config::Ports;
use crate::machine::connections::{Holder, Moment, Rules, Table};
use crate::machine::drain::{Look, Sight};
use crate::observe::journal;
use crate::sys::clock;
use crate::sys::sockdiag::{Effort, Extent, States};
use crate::types::{Pid, Time};

mod auto;
mod files;
mod reading;
mod window;

pub use reading::reading;
use window::{LISTEN, Window};

/// What looks at the ports. It holds a descriptor and some 100 kB (and 160 bytes for each connection), and
/// is dropped when the drain is over.
#[derive(Debug)]
pub struct Eyes {
    ports: Ports,
    /// The ports in force, in order: those of the list, or what was found.
    known: Vec<u16>,
    /// `auto` was looked up for the drain.
    found: bool,
    /// `auto`: descriptors of the app cannot be read, which was said.
    refused: bool,
    window: Window,
    datagrams: Datagrams,
    table: Table,
    proc: PathBuf,
}

/// One warning for each life: what looks at the ports is made anew for the drain.
fn warn_once(text: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    match SAID.swap(true, Relaxed) {
        true => log::debug!("{text}"),
        false => journal::trouble(text),
    }
}

/// Sockets for datagrams on the ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Datagrams {
    /// Not looked for yet.
    Unknown,
    /// There are none: not to be looked for again.
    None,
    /// So many datagrams have come in, as far as that is told, and the last one then.
    Came(Option<u64>, Time),
}

impl Eyes {
    /// Nothing is opened yet.
    pub fn new(ports: Ports, rules: Rules) -> Eyes {
        Eyes::with(ports, rules, true, Path::new("/proc"))
    }

    /// The same with poorer means: the kernel is asked only if `ask`, and /proc is elsewhere.
    pub fn with(ports: Ports, rules: Rules, ask: bool, proc: &Path) -> Eyes {
        let mut known = match &ports {
            Ports::List(list) => list.clone(),
            Ports::Auto => Vec::new(),
        };
        known.sort_unstable();
        known.dedup();
        Eyes {
            ports,
            known,
            found: false,
            refused: false,
            window: Window::new(ask, proc),
            datagrams: Datagrams::Unknown,
            table: Table::new(rules),
            proc: proc.to_owned(),
        }
    }

    /// With these ports too: what was found earlier.
    pub fn knowing(mut self, ports: &[u16]) -> Eyes {
        self.known.extend(ports);
        self.known.sort_unstable();
        self.known.dedup();
        self
    }

    /// The ports in force, in order.
    pub fn ports(&self) -> &[u16] {
        &self.known
    }

    /// The connections that held the drain longest.
    pub fn holders(&self) -> Vec<Holder> {
        self.table.holders()
    }

    /// What the last question to the kernel has cost.
    pub fn effort(&self) -> Effort {
        self.window.effort()
    }

    /// Whether the app listens on each of the ports of the list (datagrams do as well); with `auto`,
    /// whether it listens on a port of TCP. Yes where that cannot be known: readiness must not wait
    /// for what never comes. `helpers`: our children that are not the app's.
    pub fn listening(&mut self, helpers: &[Pid]) -> bool {
        match self.ports {
            Ports::List(_) => {
                let Eyes { window, known, .. } = self;
                let mut listeners = Vec::new();
                window.look(known, States::LISTEN, |seen| match seen {
                    None => listeners.clear(),
                    Some(seen) => listeners.push(seen.port),
                });
                self.window.sight() == Sight::Blind || self.all_listen(&listeners)
            }
            Ports::Auto => {
                self.find(helpers);
                self.window.sight() == Sight::Blind || self.refused || !self.known.is_empty()
            }
        }
    }

    /// Looks at the connections of the ports. The first look of `auto` finds out which they are; what
    /// [`Eyes::listening`] has found before stays among them, because a listener may be closed while
    /// its connections live on. `helpers`: as above.
    pub fn look(&mut self, now: Time, moment: Moment, helpers: &[Pid]) -> Look {
        let begun = clock::cpu();
        if self.ports == Ports::Auto && !self.found {
            self.found = true;
            self.find(helpers);
        }
        let mut look = self.ports_seen(now, moment);
        look.cost = clock::cpu().since(begun);
        look
    }

    fn ports_seen(&mut self, now: Time, moment: Moment) -> Look {
        if self.known.is_empty() {
            let blind = self.refused || self.window.sight() == Sight::Blind;
            let sight = if blind { Sight::Blind } else { self.window.sight() };
            let over = moment.delay_left.is_zero();
            return Look { listening: blind, sight, over, ..Look::default() };
        }
        let Eyes { window, table, known, .. } = self;
        let mut listeners = Vec::new();
        let extent = window.look(known, States::CONNECTED.and(States::LISTEN), |seen| match seen {
            None => {
                table.begin(moment);
                listeners.clear();
            }
            Some(seen) if seen.state == LISTEN => {
                table.listener(seen.unread);
                listeners.push(seen.port);
            }
            Some(seen) => {
                if let Some(reading) = seen.reading() {
                    table.connection(&reading);
                }
            }
        });
        if extent == Extent::Part {
            table.incomplete();
        }
        self.look_at_datagrams(now);
        let sight = self.window.sight();
        let mut look = Look::from(self.table.end());
        look.sight = sight;
        if sight == Sight::Blind {
            look.over = moment.delay_left.is_zero();
        }
        look.listening = match self.ports {
            _ if sight == Sight::Blind => true,
            Ports::List(_) => self.all_listen(&listeners),
            Ports::Auto => !listeners.is_empty(),
        };
        look
    }

    /// Whether all known ports are among these, or have a socket for datagrams.
    fn all_listen(&self, listeners: &[u16]) -> bool {
        let mut missing: Vec<u16> =
            self.known.iter().filter(|port| !listeners.contains(port)).copied().collect();
        if !missing.is_empty() && self.datagrams != Datagrams::None {
            self.each_for_datagrams(|port, _| missing.retain(|one| *one != port));
        }
        missing.is_empty()
    }

    /// Calls `each` with the port of every socket for datagrams, and how many bytes wait in it.
    fn each_for_datagrams(&self, mut each: impl FnMut(u16, u32)) {
        for name in ["udp", "udp6"] {
            // A missing table tells of no socket.
            let _ = files::table(&self.proc.join("net").join(name), |line| {
                if self.known.contains(&line.port) {
                    each(line.port, line.unread);
                }
            });
        }
    }

    fn look_at_datagrams(&mut self, now: Time) {
        if self.datagrams == Datagrams::None {
            return;
        }
        let (mut bound, mut waiting) = (false, 0);
        self.each_for_datagrams(|_, bytes| {
            bound = true;
            waiting += u32::from(bytes > 0);
        });
        self.datagrams = match self.datagrams {
            Datagrams::None => return,
            Datagrams::Unknown if !bound => Datagrams::None,
            Datagrams::Unknown => Datagrams::Came(files::received(&self.proc), now),
            Datagrams::Came(before, last) => {
                let count = files::received(&self.proc);
                Datagrams::Came(count, if count == before { last } else { now })
            }
        };
        if let Datagrams::Came(_, last) = self.datagrams {
            self.table.datagrams(waiting, now.since(last));
        }
    }

    /// `auto`: adds the ports that the app's tree listens on now.
    fn find(&mut self, helpers: &[Pid]) {
        let listeners = self.window.listeners();
        let found = auto::ports(&self.proc, &listeners, helpers);
        self.known.extend(found.ports);
        self.known.sort_unstable();
        self.known.dedup();
        if let Some((pid, error)) = found.refused {
            if !self.refused {
                warn_once(&format!(
                    "unable to see which ports the app listens on: the descriptors of process {pid} \
                     cannot be read: {error}; name the ports: --drain PORT"
                ));
            }
            self.refused = true;
        }
    }
}
