//! Ports for servers that are told which to take.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Outcome, proc};

/// A port that nobody has, and that nobody else of this run is given. It lies below those that the kernel gives
/// to clients (`ip_local_port_range` of ip(7)): one of them might be taken before the server comes.
pub fn free_port() -> Outcome<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Two runs at the same time begin at different places.
    let begin = std::process::id() % 100 * (COUNT / 100);
    proc::poll("a free port", || {
        let next = (begin + GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + u16::try_from(next).ok()?;
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        (tcp && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()).then_some(port)
    })
}
