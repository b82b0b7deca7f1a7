//! Samples of the connections on the drained ports and Unix sockets: through sock_diag; where that is refused through /proc/net/tcp,
//! which shows no traffic; else none.
//!
//! A connection is told by its local port alone, although the containers of a pod share their network: before it is
//! accepted, and once the app has closed it, it belongs to no process, and such connections count too. Two containers
//! cannot use the same port, unless on different addresses.

use std::path::{Path, PathBuf};

use crate::machine::connections::{Holder, Moment, Rules, Sample, Table, Visibility};
use crate::sys::clock;
use crate::sys::listen::Address;
use crate::sys::sockdiag::{Effort, Extent, States};
use crate::types::{Pid, Time};

mod auto;
mod diag;
pub mod procnet;
mod reading;
pub mod unix;

use diag::{LISTEN, Source};
pub use reading::reading;
use unix::UnixSockets;

/// Takes the samples. It holds a descriptor and some 100 kB (and 160 bytes for each connection), so it is dropped after the
/// drain.
#[derive(Debug)]
pub struct Sampler {
    /// The ports are those that the app listens on.
    auto: bool,
    /// The drained ports, in order. With `auto` those that were found so far.
    ports: Vec<u16>,
    /// `auto`: the ports were searched for the drain.
    searched: bool,
    /// `auto`: descriptors of the app cannot be read.
    refused: bool,
    source: Source,
    unix: UnixSockets,
    datagrams: Datagrams,
    /// Where no traffic is seen on connections: the number of TCP segments of the network namespace in the former sample.
    segments: Option<u64>,
    table: Table,
    proc: PathBuf,
}

/// Datagram sockets on the ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Datagrams {
    /// Not checked yet.
    Unchecked,
    /// There are none, so they are not checked again.
    None,
    /// The number of datagrams received so far, if it can be read, and when it last changed.
    Received(Option<u64>, Time),
}

impl Sampler {
    /// For these ports; `None`: those that the app listens on. Opens nothing yet.
    pub fn new(ports: Option<&[u16]>, rules: Rules) -> Sampler {
        Sampler::with(ports, rules, true, Path::new("/proc"))
    }

    /// The same without sock_diag unless `sock_diag`, and with another /proc.
    pub fn with(ports: Option<&[u16]>, rules: Rules, sock_diag: bool, proc: &Path) -> Sampler {
        let sampler = Sampler {
            auto: ports.is_none(),
            ports: Vec::new(),
            searched: false,
            refused: false,
            source: Source::new(sock_diag, proc),
            unix: UnixSockets::new(&[], sock_diag),
            datagrams: Datagrams::Unchecked,
            segments: None,
            table: Table::new(rules),
            proc: proc.to_owned(),
        };
        sampler.with_ports(ports.unwrap_or_default())
    }

    /// Adds Unix sockets.
    pub fn with_unix(self, addresses: &[Address]) -> Sampler {
        let sock_diag = self.source.visibility() == Visibility::Full;
        Sampler { unix: UnixSockets::new(addresses, sock_diag), ..self }
    }

    /// Adds ports that an earlier sampler found.
    pub fn with_ports(mut self, ports: &[u16]) -> Sampler {
        self.add_ports(ports);
        self
    }

    fn add_ports(&mut self, ports: &[u16]) {
        self.ports.extend(ports);
        self.ports.sort_unstable();
        self.ports.dedup();
    }

    /// The drained ports, in order.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The cost of the last request to the kernel.
    pub fn effort(&self) -> Effort {
        self.source.effort()
    }

    /// The connections that held the drain longest.
    pub fn holders(&self) -> Vec<Holder> {
        self.table.holders()
    }

    /// The connections that hold the drain at present.
    pub fn holding(&self) -> Vec<Holder> {
        self.table.holding()
    }

    /// What has become known since the last call that users should know. Each warning comes once.
    pub fn take_warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.source.warnings);
        warnings.append(&mut self.unix.warnings);
        warnings
    }

    /// Whether the app listens on all that is drained.
    pub fn is_listening(&mut self, helpers: &[Pid]) -> bool {
        self.missing(helpers).is_none()
    }

    /// Which of the ports the app does not listen on (a datagram socket will do), in words; with `auto`, that it listens
    /// on no TCP port. `None`: it listens on all. Also where that cannot be known: readiness must not wait for something
    /// that never comes. `helpers`: children of graceinit that are not the app's.
    pub fn missing(&mut self, helpers: &[Pid]) -> Option<String> {
        if self.auto {
            self.search(helpers);
            let some = !self.ports.is_empty() || !self.unix.is_empty();
            let listens = self.is_blind() || self.refused || some;
            let none = "no process of the app listens on a TCP port or a Unix socket";
            return (!listens).then(|| none.to_owned());
        }
        let mut missing = self.missing_ports();
        missing.extend(self.unix.sample(&self.proc, None));
        (!missing.is_empty()).then(|| format!("nothing listens on {}", missing.join(", ")))
    }

    fn missing_ports(&mut self) -> Vec<String> {
        if self.ports.is_empty() {
            return Vec::new();
        }
        let Sampler { source, ports, .. } = self;
        let mut listeners = Vec::new();
        source.read(ports, States::LISTEN, |socket| match socket {
            None => listeners.clear(),
            Some(socket) => listeners.push(socket.port),
        });
        let missing = self.not_listening(&listeners);
        if self.is_blind() { Vec::new() } else { missing.iter().map(u16::to_string).collect() }
    }

    fn is_blind(&self) -> bool {
        self.source.visibility() == Visibility::Blind
    }

    /// Takes a sample. With `auto`, the first one searches for the ports. Ports that [`Sampler::is_listening`] found
    /// before stay, because a listener may be closed while its connections live on. `helpers`: as above.
    pub fn sample(&mut self, now: Time, moment: Moment, helpers: &[Pid]) -> Sample {
        let begun = clock::cpu();
        if self.auto && !self.searched {
            self.searched = true;
            self.search(helpers);
        }
        let mut sample = self.sample_ports(now, moment);
        sample.cost = clock::cpu().since(begun);
        sample
    }

    fn sample_ports(&mut self, now: Time, moment: Moment) -> Sample {
        if self.ports.is_empty() && self.unix.is_empty() {
            let blind = self.refused || self.is_blind();
            let visibility = if blind { Visibility::Blind } else { self.source.visibility() };
            let over = moment.delay_left.is_zero();
            return Sample { listening: blind, visibility, over, ..Sample::default() };
        }
        if self.ports.is_empty() {
            return self.sample_unix(moment);
        }
        let traffic = self.traffic();
        let Sampler { source, table, ports, .. } = self;
        let mut listeners = Vec::new();
        let extent =
            source.read(ports, States::CONNECTED.and(States::LISTEN), |socket| match socket {
                None => {
                    table.begin(moment);
                    if traffic {
                        table.traffic();
                    }
                    listeners.clear();
                }
                Some(socket) if socket.state == LISTEN => {
                    listeners.push(socket.port);
                    table.listener(socket.unread);
                }
                Some(socket) => {
                    if let Some(reading) = socket.reading() {
                        table.connection(&reading);
                    }
                }
            });
        if extent == Extent::Part {
            table.incomplete();
        }
        self.check_datagrams(now);
        let missing = self.unix.sample(&self.proc, Some(&mut self.table));
        let visibility = self.source.visibility();
        let mut sample = Sample::from(self.table.end());
        sample.visibility = visibility;
        if visibility == Visibility::Blind {
            sample.over = moment.delay_left.is_zero();
        }
        let ports = match self.auto {
            true => !listeners.is_empty(),
            false => self.not_listening(&listeners).is_empty(),
        };
        sample.listening = missing.is_empty() && (self.is_blind() || ports);
        sample
    }

    /// Whether something may have moved in the network namespace since the former sample. Looked up only where samples
    /// show no traffic.
    fn traffic(&mut self) -> bool {
        if self.source.visibility() != Visibility::Counts {
            return true;
        }
        let before = std::mem::replace(&mut self.segments, procnet::segments(&self.proc));
        before.is_none() || before != self.segments
    }

    /// There are Unix sockets alone.
    fn sample_unix(&mut self, moment: Moment) -> Sample {
        self.table.begin(moment);
        let missing = self.unix.sample(&self.proc, Some(&mut self.table));
        let mut sample = Sample::from(self.table.end());
        sample.listening = missing.is_empty();
        if self.unix.is_blind() {
            sample.visibility = Visibility::Blind;
            sample.over = moment.delay_left.is_zero();
        }
        sample
    }

    /// The ports that are not among these listeners and have no datagram socket.
    fn not_listening(&self, listeners: &[u16]) -> Vec<u16> {
        let mut missing: Vec<u16> =
            self.ports.iter().filter(|port| !listeners.contains(port)).copied().collect();
        if !missing.is_empty() && self.datagrams != Datagrams::None {
            self.each_datagram_socket(|port, _| missing.retain(|one| *one != port));
        }
        missing
    }

    /// Calls `each` with the port of every datagram socket and the number of bytes waiting in it.
    fn each_datagram_socket(&self, mut each: impl FnMut(u16, u32)) {
        for name in ["udp", "udp6"] {
            // A table that is missing (no IPv6) has no sockets.
            let _ = procnet::table(&self.proc.join("net").join(name), |line| {
                if self.ports.contains(&line.port) {
                    each(line.port, line.unread);
                }
            });
        }
    }

    fn check_datagrams(&mut self, now: Time) {
        if self.datagrams == Datagrams::None {
            return;
        }
        let (mut bound, mut waiting) = (false, 0);
        self.each_datagram_socket(|_, bytes| {
            bound = true;
            waiting += u32::from(bytes > 0);
        });
        self.datagrams = match self.datagrams {
            Datagrams::None => return,
            Datagrams::Unchecked if !bound => Datagrams::None,
            Datagrams::Unchecked => Datagrams::Received(procnet::received(&self.proc), now),
            Datagrams::Received(before, last) => {
                let count = procnet::received(&self.proc);
                Datagrams::Received(count, if count == before { last } else { now })
            }
        };
        if let Datagrams::Received(_, last) = self.datagrams {
            self.table.datagrams(waiting, now.since(last));
        }
    }

    /// `auto`: adds the ports that the app's tree listens on now; if there is none, its Unix sockets. An app that takes
    /// requests over TCP often has Unix sockets for other things, whose connections never end.
    fn search(&mut self, helpers: &[Pid]) {
        let listeners = self.source.listeners();
        let found = auto::owned(&self.proc, &listeners, helpers);
        self.add_ports(&found.found);
        let mut refused = found.refused;
        if self.ports.is_empty() && refused.is_none() {
            let bound = self.unix.listeners(&self.proc);
            let numbered: Vec<(u64, usize)> =
                bound.iter().enumerate().map(|(number, one)| (one.inode, number)).collect();
            let found = auto::owned(&self.proc, &numbered, helpers);
            for one in found.found.iter().filter_map(|number| bound.get(*number)) {
                self.unix.add(one);
            }
            refused = found.refused;
        }
        if let Some((pid, error)) = refused {
            if !self.refused {
                self.source.warnings.push(format!(
                    "unable to see which ports the app listens on: the descriptors of process {pid} \
                     cannot be read: {error}; name the ports: --drain PORT"
                ));
            }
            self.refused = true;
        }
    }
}
