//! Is a request dropped when a service is rolled out? Three replicas of a real server stand behind a real
//! balancer under a constant load, and one after the other is replaced, as an orchestrator does it: the new
//! one first, then TERM for the old one, which the balancer hears of only some time later. Every request is
//! accounted for.
//!
//! The same code makes the short tests here and the long table of `cargo bench --bench rollout`.

#![allow(dead_code, reason = "the tests and the long form take different parts of it")]

use std::net::{Ipv4Addr, SocketAddrV4};

pub(crate) mod apps;
mod backend;
mod balancer;
mod caddy;
pub(crate) mod cases;
pub(crate) mod envoy;
pub(crate) mod found;
mod grpc;
pub(crate) mod load;
mod nginx;
mod replica;
pub(crate) mod table;
pub(crate) mod update;

#[cfg(test)]
mod frozen;
#[cfg(test)]
mod generator;
#[cfg(test)]
mod reset;
#[cfg(test)]
mod short;
#[cfg(test)]
mod single;

/// Replicas in service.
pub(crate) const REPLICAS: usize = 3;
/// Places for replicas: a round moves all from one half to the other.
pub(crate) const SLOTS: usize = 2 * REPLICAS;

/// For setpriv(1): whoever is started ends with us, also when we are killed.
const ORPHANED: [&str; 2] = ["--pdeathsig", "KILL"];

/// Where a replica listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Of both.
    pub(crate) ip: Ipv4Addr,
    /// The server.
    pub(crate) port: u16,
    /// What the balancer checks.
    pub(crate) check: u16,
}

impl Slot {
    /// Of the server.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip, self.port)
    }
}
