//! HAProxy takes TERM for "drop everything" and USR1 for a soft stop: no new connections, and an end
//! with the last one.

use std::net::SocketAddrV4;

use super::common::{Upstream, free_address, until_refused, with_profile, without};
use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, Status, need};
use crate::{ensure, ensure_eq};

const HAPROXY: &str = "/usr/sbin/haproxy";

/// `flags` as the official image has them (`-W -db`, a master with a worker) or without `-W`.
fn command(
    launch: Launch,
    place: &Place,
    flags: &[&str],
    address: SocketAddrV4,
    upstream: &str,
) -> Outcome<Launch> {
    let conf = format!(
        "global\n maxconn 64\n\
         defaults\n mode http\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n\
         frontend front\n bind {address}\n default_backend back\n\
         backend back\n server one {upstream}\n"
    );
    let conf = place.file("haproxy.cfg", conf, 0o644);
    let conf = conf.to_str().ok_or_else(|| Fault::new("a strange path"))?;
    Ok(launch.command([HAPROXY, "-f", conf].iter().chain(flags)))
}

fn needs() -> bool {
    need::pid_namespace() && need::program(HAPROXY)
}

fn finishes_with_the_profile(flags: &[&str]) -> Outcome {
    let place = Place::new();
    let (address, upstream) = (free_address()?, Upstream::new()?);
    let launch = with_profile("haproxy", "60s");
    let mut run = command(launch, &place, flags, address, &upstream.address()?)?.start()?;
    let (answer, held) = upstream.held_request(address)?;
    run.signal("TERM")?;
    until_refused(address)?;
    held.release()?;
    ensure_eq!(answer.end()?, "whole", "the request");
    run.exits(0)
}

#[test]
fn a_request_finishes_with_the_profile() -> Outcome {
    if needs() { finishes_with_the_profile(&["-db"]) } else { Ok(()) }
}

#[test]
fn a_request_finishes_with_the_profile_and_a_master() -> Outcome {
    if needs() { finishes_with_the_profile(&["-W", "-db"]) } else { Ok(()) }
}

/// How it ends when the request is not released: with the profile after USR1 has had its time.
fn cut_off(launch: Launch, signal: &str, flags: &[&str]) -> Outcome<Status> {
    let place = Place::new();
    let (address, upstream) = (free_address()?, Upstream::new()?);
    let mut run = command(launch, &place, flags, address, &upstream.address()?)?.start()?;
    let (answer, _held) = upstream.held_request(address)?;
    run.signal(signal)?;
    ensure_eq!(answer.end()?, "cut off", "the request");
    run.wait()
}

/// The second signal of the ladder. Without a master the exit code tells of it.
#[test]
fn one_that_never_finishes_is_cut_off_in_order() -> Outcome {
    if needs() {
        // The official image has it for its stop signal: it begins a stop like TERM.
        let status = cut_off(with_profile("haproxy", "3s"), "USR1", &["-W", "-db"])?;
        ensure!(status != Status::Code(137), "the master was killed");
        let status = cut_off(with_profile("haproxy", "3s"), "TERM", &["-db"])?;
        ensure_eq!(status, Status::Code(143), "without a master");
    }
    Ok(())
}

/// That is why the profile exists.
#[test]
fn without_it_a_request_is_cut_off() -> Outcome {
    if needs() {
        let status = cut_off(without("60s"), "TERM", &["-W", "-db"])?;
        ensure!(status != Status::Code(137), "the master was killed");
        ensure_eq!(
            cut_off(without("60s"), "TERM", &["-db"])?,
            Status::Code(143),
            "without a master"
        );
    }
    Ok(())
}
