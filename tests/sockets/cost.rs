//! What a sample costs. `GRACEINIT_TEST_FIGURES=1 cargo test visibility::cost` prints the time of one at
//! thousands of connections; what gates is what the kernel was asked for and how it was read.

use std::io::Write;

use super::{connect, listen, sampler, say, see, until};
use crate::support::Outcome;
use crate::{ensure, ensure_eq};

const FIGURES: &str = "GRACEINIT_TEST_FIGURES";

fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(256)
}

#[test]
fn the_kernel_tells_of_the_ports_alone_and_in_large_pieces() -> Outcome {
    let figures = std::env::var_os(FIGURES).is_some();
    // Two for each, and some for the tests beside this one.
    let many = if figures { 10_000.min((descriptors() - 1500) / 2) } else { 100 };
    let (listener, port) = listen("127.0.0.1:0")?;
    let mut held = Vec::new();
    for _ in 0..many {
        let (mut client, mut app) = connect(&listener)?;
        say(&mut client, &mut app)?;
        say(&mut app, &mut client)?;
        held.push((client, app));
    }
    let mut sampler = sampler(&[port]);
    let sample = until(&mut sampler, "all idle", |sample| sample.idle == many as u32)?;
    let effort = sampler.effort();
    // Neither the clients' ends nor other ports; the listener.
    ensure_eq!(effort.sockets as usize, many + 1, "filtered by the kernel");
    ensure!(effort.bytes / (many + 1) < 700, "only what is needed was asked for: {effort:?}");
    ensure!(effort.pieces as usize <= 3 + effort.bytes / 16_384, "large pieces: {effort:?}");
    if figures {
        let mut costs: Vec<_> = (0..50).map(|_| see(&mut sampler, &[]).cost).collect();
        costs.sort();
        let line = format!(
            "a sample of {many} connections: {:?} to {:?}, half of them within {:?}; {effort:?}\n",
            costs[0], costs[49], costs[25]
        );
        drop(std::io::stderr().write_all(line.as_bytes()));
    }
    ensure!(sample.calm(), "{sample:?}");
    Ok(())
}
