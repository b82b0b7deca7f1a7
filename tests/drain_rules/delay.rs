//! A network with a round trip: every packet between the addresses [`HERE`] and [`THERE`] passes through a tun device,
//! and comes back with its addresses exchanged some milliseconds later. So both ends of a connection are on this
//! machine, and each sees the other one far away. Exchanging the addresses does not change any checksum.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::ensure;
use crate::support::{Outcome, sys};

/// The address of this machine, and the one that its packets come back from.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub const THERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// An Ethernet's.
const LONGEST: usize = 1500;

/// The network, while it exists.
pub struct Network {
    ends: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl Network {
    /// Gives the calling thread, and threads that it makes, a network of their own.
    pub fn new(delay: Duration) -> Outcome<Network> {
        sys::unshare(libc::CLONE_NEWNET)?;
        let device = sys::tun("far")?;
        for words in ["link set lo up", "addr add 10.99.0.1/24 dev far", "link set far up"] {
            let done = Command::new("ip").args(words.split(' ')).output()?;
            ensure!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
        }
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let carrier = std::thread::spawn(move || carry(&device, delay, &told));
        Ok(Network { ends, carrier: Some(carrier) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.ends.store(true, SeqCst);
        if let Some(carrier) = self.carrier.take() {
            drop(carrier.join());
        }
    }
}

fn carry(mut device: &File, delay: Duration, ends: &AtomicBool) {
    let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut packet = [0; LONGEST];
    while !ends.load(SeqCst) {
        let now = Instant::now();
        while queue.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, packet)) = queue.pop_front() else { break };
            // A packet that the kernel does not take is lost, and sent again.
            let _ = device.write(&packet);
        }
        let wait = queue.front().map_or(delay, |(due, _)| due.saturating_duration_since(now));
        let timeout = PollTimeout::try_from(wait.max(Duration::from_millis(1)));
        let mut ready = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, timeout.unwrap_or(PollTimeout::MAX));
        loop {
            match device.read(&mut packet) {
                Ok(length) => queue.extend(exchanged(&packet[..length], delay)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
    }
}

/// The packet with its addresses exchanged (IPv4 alone), and when it arrives.
fn exchanged(packet: &[u8], delay: Duration) -> Option<(Instant, Vec<u8>)> {
    let mut packet = packet.to_vec();
    let (from, to) = (packet.get(12..16)?.to_vec(), packet.get(16..20)?.to_vec());
    (packet[0] >> 4 == 4).then(|| {
        packet[12..16].copy_from_slice(&to);
        packet[16..20].copy_from_slice(&from);
        (Instant::now() + delay, packet)
    })
}
