//! PostgreSQL takes TERM for "wait until every client has gone", which with a connection pool is
//! never, INT for "roll back, and leave in order", and QUIT for "crash".

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::common::{Client, by_version, free_address, with_profile, without};
use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, Run, Status, need};
use crate::{ensure, ensure_eq};

/// It runs as no other, least of all as root.
pub(super) const USER: &str = "postgres";

/// Where Debian has the programs of one version.
fn programs() -> Option<PathBuf> {
    by_version("/usr/lib/postgresql/", "/bin/postgres")?.parent().map(Path::to_path_buf)
}

pub(super) fn needs() -> bool {
    need::root()
        && need::pid_namespace()
        && need::met(programs().is_some(), "/usr/lib/postgresql/*/bin/postgres")
}

pub(super) fn program(name: &str) -> Outcome<PathBuf> {
    programs().map(|dir| dir.join(name)).ok_or_else(|| Fault::new("no PostgreSQL"))
}

/// Makes a program that user's, for who cannot do it alone.
pub(super) const AS_USER: [&str; 6] =
    ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];

/// A new database cluster in `place`.
pub(super) fn cluster(place: &Place) -> Outcome {
    let made = Command::new(AS_USER[0])
        .args(&AS_USER[1..])
        .arg(program("initdb")?)
        .args(["--no-sync", "--auth=trust", "--locale=C", "--encoding=UTF8", "-D"])
        .arg(place.path("data"))
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "initdb: {said}");
    Ok(())
}

/// The command of that cluster's server.
pub(super) fn server(place: &Place, address: SocketAddrV4) -> Outcome<Vec<String>> {
    let server = program("postgres")?.display().to_string();
    let (ip, port) = (address.ip(), address.port());
    let data = place.text("data");
    let command = format!(
        "{server} -F -D {data} -h {ip} -p {port} -c unix_socket_directories= \
         -c dynamic_shared_memory_type=mmap"
    );
    Ok(command.split_whitespace().map(str::to_string).collect())
}

/// Starts what has the server for its app, and waits until that is ready.
pub(super) fn started(launch: Launch) -> Outcome<Run> {
    // What is killed leaves shared memory behind: of a namespace of its own, nothing stays.
    let run = launch.outside(["unshare", "--ipc"]).start()?;
    run.err.find("ready to accept connections")?;
    Ok(run)
}

/// The server of that cluster under graceinit, ready.
pub(super) fn start(launch: Launch, place: &Place, address: SocketAddrV4) -> Outcome<Run> {
    started(launch.flag("--user", USER).command(server(place, address)?))
}

/// A client of whatever speaks the protocol there.
pub(super) fn client(address: SocketAddrV4) -> Outcome<Client> {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new(program("psql")?);
    command.args(["-X", "-A", "-t", "-h", &ip, "-p", &port, "-U", USER, "-d", USER]);
    Client::start(&mut command)
}

/// A client in the middle of a transaction.
pub(super) fn transaction(address: SocketAddrV4) -> Outcome<Client> {
    let mut client = client(address)?;
    client.say("create table if not exists work (x int);")?;
    client.say("begin; insert into work values (42);")?;
    client.out.until("INSERT 0 1")?;
    Ok(client)
}

/// What the cluster says of its last end: `shut down`, or `in production` after a crash.
pub(super) fn state(place: &Place) -> Outcome<String> {
    let mut command = Command::new(program("pg_controldata")?);
    let output = command.arg("-D").arg(place.path("data")).env("LC_ALL", "C").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Database cluster state:"));
    line.map(|rest| rest.trim().to_string()).ok_or_else(|| Fault::new("no state of the cluster"))
}

#[test]
fn a_transaction_finishes_with_the_profile() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    cluster(&place)?;
    let mut run = start(with_profile("postgres", "60s"), &place, address)?;
    let mut client = transaction(address)?;
    run.signal("TERM")?;
    run.err.find("received smart shutdown request")?;
    client.say("commit;")?;
    client.out.expect("COMMIT")?;
    client.say("\\q")?;
    run.exits(0)?;
    ensure_eq!(state(&place)?, "shut down", "the cluster");
    Ok(())
}

/// The second signal of the ladder, for a client that stays.
#[test]
fn a_client_that_stays_is_sent_away_in_time() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    cluster(&place)?;
    let mut run = start(with_profile("postgres", "3s"), &place, address)?;
    let _client = transaction(address)?;
    run.signal("TERM")?;
    run.exits(0)?;
    ensure_eq!(run.err.count("graceinit: warn"), 0, "warnings");
    ensure_eq!(state(&place)?, "shut down", "the cluster");
    Ok(())
}

/// That is why the profile exists.
#[test]
fn without_it_such_a_client_makes_the_end_a_crash() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    cluster(&place)?;
    let mut run = start(without("2s"), &place, address)?;
    let _client = transaction(address)?;
    run.signal("TERM")?;
    ensure_eq!(run.wait()?, Status::Code(137), "its end");
    ensure_eq!(state(&place)?, "in production", "the cluster");
    Ok(())
}
