//! PgBouncer drops everything on TERM (before 1.23; since then it waits for every client to go) and
//! waits on INT until no server connection is in use.

use std::net::SocketAddrV4;

use super::common::{connect, free_address, until_refused, with_profile, without};
use super::postgres;
use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, PATIENCE, Run, Status, need};
use crate::{ensure, ensure_eq};

const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

fn needs() -> bool {
    postgres::needs() && need::program(PGBOUNCER)
}

/// A database, and the pooler in front of it at the address given back.
fn start(launch: Launch, place: &Place) -> Outcome<(Run, Run, SocketAddrV4)> {
    let (behind, address) = (free_address()?, free_address()?);
    postgres::cluster(place)?;
    let database = postgres::start(without("60s"), place, behind)?;
    let user = postgres::USER;
    let conf = format!(
        "[databases]\n{user} = host={} port={} user={user}\n\
         [pgbouncer]\nlisten_addr={}\nlisten_port={}\nunix_socket_dir=\nauth_type=any\n\
         pool_mode=transaction\npidfile={}\n",
        behind.ip(),
        behind.port(),
        address.ip(),
        address.port(),
        place.text("pid"),
    );
    let conf = place.file("pgbouncer.ini", conf, 0o644);
    let conf = conf.to_str().ok_or_else(|| Fault::new("a strange path"))?;
    let pooler = launch.flags("--user").words([user]).command([PGBOUNCER, conf]).start()?;
    connect(address)?;
    Ok((database, pooler, address))
}

#[test]
fn a_transaction_finishes_with_the_profile() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    let (_database, mut run, address) = start(with_profile("pgbouncer", "60s"), &place)?;
    let mut client = postgres::transaction(address)?;
    run.signal("TERM")?;
    run.err.find("got SIGINT")?;
    client.say("commit;")?;
    client.out.expect("COMMIT")?;
    run.exits(0)
}

/// The second signal of the ladder: its pid file goes, which it would trip over at the next start.
#[test]
fn one_that_never_finishes_is_cut_off_in_order() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    let (_database, mut run, address) = start(with_profile("pgbouncer", "3s"), &place)?;
    let _client = postgres::transaction(address)?;
    ensure!(place.path("pid").exists(), "no pid file");
    run.signal("TERM")?;
    // 0 since PgBouncer 1.23, before that 1.
    run.wait()?;
    ensure_eq!(run.err.count("graceinit: warn"), 0, "warnings");
    ensure!(!place.path("pid").exists(), "the pid file is still there");
    Ok(())
}

/// That is why the profile exists: either the transaction is cut off, or PgBouncer does not end before
/// its client does, which with a pool of clients is never.
#[test]
fn without_it_there_is_a_victim() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    let (_database, mut run, address) = start(without("2s"), &place)?;
    let mut client = postgres::transaction(address)?;
    run.signal("TERM")?;
    until_refused(address)?;
    client.say("commit;")?;
    let answer = client.out.next_within(PATIENCE)?;
    let (committed, status) = (answer.is_some_and(|line| line.0 == "COMMIT"), run.wait()?);
    let victims = (!committed, status == Status::Code(137));
    ensure!(victims.0 != victims.1, "committed: {committed}, the end: {status}");
    Ok(())
}
