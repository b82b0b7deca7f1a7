//! The ladder of the profile `postgres` under load: clients that never let go, as a connection pool
//! does. The next start of the cluster is the witness of how it ended.

use std::net::SocketAddrV4;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::common::{Client, free_address, with_profile};
use super::postgres::{
    AS_USER, USER, client, cluster, needs, program, server, start, started, state,
};
use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, Program, Room, Run, need, proc};
use crate::{ensure, ensure_eq};

/// pgbench for that server.
fn pgbench(address: SocketAddrV4, options: &[&str]) -> Outcome<Command> {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new(program("pgbench")?);
    command.args(["-h", &ip, "-p", &port, "-U", USER]).args(options).arg(USER);
    Ok(command)
}

/// How many transactions the database knows.
fn transactions(watcher: &mut Client) -> Outcome<u64> {
    watcher.say("select count(*) from pgbench_history;")?;
    let line = watcher.out.next()?;
    line.0.parse().map_err(|_| Fault::new(format!("no number: {line:?}")))
}

/// Eight clients, each with one transaction after the other; a good many are done.
fn load(address: SocketAddrV4) -> Outcome<Client> {
    let made = pgbench(address, &["--initialize", "--quiet"])?.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "pgbench --initialize: {said}");
    let options = ["--no-vacuum", "--client=8", "--jobs=2", "--time=120"];
    let load = Client::start(&mut pgbench(address, &options)?)?;
    let mut watcher = client(address)?;
    let many = || transactions(&mut watcher).ok().filter(|count| *count > 200);
    proc::poll("transactions", many)?;
    Ok(load)
}

/// What pgbench says, when it has lost all clients, of the transactions that were acknowledged.
fn acknowledged(load: &Client) -> Outcome<u64> {
    let line = load.out.until("number of transactions actually processed: ")?;
    let number = line.0.rsplit(' ').next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| Fault::new(format!("no number: {line:?}")))
}

/// The next start: what it says of the last end, and how many transactions are there.
fn next_start(place: &Place, address: SocketAddrV4) -> Outcome<(Run, u64)> {
    let run = start(with_profile("postgres", "60s"), place, address)?;
    let there = transactions(&mut client(address)?)?;
    Ok((run, there))
}

fn says(run: &Run, what: &str) -> bool {
    run.err.so_far().iter().any(|line| line.0.contains(what))
}

const SHUT_DOWN: &str = "database system is shut down";
const RECOVERY: &str = "was not properly shut down; automatic recovery in progress";

/// TERM first, which waits for the clients for ever; then INT, which sends them away.
#[test]
fn a_loaded_server_is_shut_down_with_the_profile() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    cluster(&place)?;
    let mut run = start(with_profile("postgres", "6s"), &place, address)?;
    let load = load(address)?;
    run.signal("TERM")?;
    run.exits(0)?;
    for said in ["received smart shutdown request", "received fast shutdown request", SHUT_DOWN] {
        ensure!(says(&run, said), "the server has not said: {said}");
    }
    ensure_eq!(run.err.count("graceinit: warn"), 0, "warnings");
    ensure_eq!(state(&place)?, "shut down", "the cluster");
    let acknowledged = acknowledged(&load)?;
    ensure!(acknowledged > 200, "{acknowledged} transactions: was there a load?");
    let (run, there) = next_start(&place, address)?;
    ensure!(says(&run, "database system was shut down at "), "how did the last one end?");
    ensure!(!says(&run, RECOVERY), "there was a crash recovery");
    // One may have been committed whose client was told no more.
    ensure!(there >= acknowledged, "{acknowledged} acknowledged, {there} are there");
    Ok(())
}

/// What a container's runtime does to the same server under tini: TERM, the period, KILL.
#[test]
fn under_tini_the_next_start_is_a_crash_recovery() -> Outcome {
    if !needs() || !need::peer(Program::Tini) {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    cluster(&place)?;
    let launch = Launch::new(Program::Tini, Room::PidNs).no_flags();
    let command = AS_USER.iter().map(ToString::to_string).chain(server(&place, address)?);
    let mut run = started(launch.command(command))?;
    let _load = load(address)?;
    run.signal("TERM")?;
    run.err.find("received smart shutdown request")?;
    let period = Duration::from_secs(3);
    ensure!(run.wait_within(period).is_err(), "the server ended, with all its clients there");
    run.signal("KILL")?;
    run.wait()?;
    ensure!(!says(&run, SHUT_DOWN), "the server had the time to shut down");
    ensure_eq!(state(&place)?, "in production", "the cluster");
    let (run, _) = next_start(&place, address)?;
    ensure!(says(&run, RECOVERY), "there was no crash recovery");
    Ok(())
}
