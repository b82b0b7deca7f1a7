//! mysqld (here MariaDB's) ends in order on TERM: clients are cut off, their transactions rolled back,
//! the files closed. INT, which some think means the same, it ignores.

use std::process::{Command, Stdio};

use super::common::{Client, with_profile, without};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Run, Status, need};
use crate::{ensure, ensure_eq};

const MARIADB: &str = "/usr/sbin/mariadbd";
const INSTALL: &str = "/usr/bin/mariadb-install-db";
const CLIENT: &str = "/usr/bin/mariadb";

fn needs() -> bool {
    // The installation changes owners.
    need::root()
        && need::pid_namespace()
        && need::program(MARIADB)
        && need::program(INSTALL)
        && need::program(CLIENT)
}

/// New files in `place`.
fn install(place: &Place) -> Outcome {
    let made = Command::new(INSTALL)
        .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal"])
        .args(["--skip-test-db", "--skip-name-resolve"])
        .arg(format!("--datadir={}", place.text("data")))
        .env("TMPDIR", place.path("."))
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "mariadb-install-db: {said}");
    Ok(())
}

fn start(launch: Launch, place: &Place) -> Outcome<Run> {
    let command = format!(
        "{MARIADB} --no-defaults --user=root --skip-networking --datadir={} --socket={} --pid-file={}",
        place.text("data"),
        place.text("socket"),
        place.text("pid"),
    );
    // When it starts it removes what it takes for leftovers of its own, also what another one uses.
    let launch = launch.env("TMPDIR", place.path("."));
    let run = launch.command(command.split_whitespace()).start()?;
    run.err.find("ready for connections")?;
    Ok(run)
}

fn client(place: &Place) -> Outcome<Client> {
    let mut command = Command::new(CLIENT);
    command.args(["--no-defaults", "--unbuffered", "--batch", "--skip-column-names", "-uroot"]);
    command.arg(format!("--socket={}", place.text("socket")));
    Client::start(&mut command)
}

/// A client with one row written and another in the middle of its transaction.
fn transaction(place: &Place) -> Outcome<Client> {
    let mut client = client(place)?;
    client.say("create database work; use work; create table t (x int) engine=innodb;")?;
    client.say("insert into t values (1); begin; insert into t values (2);")?;
    client.say("select 'rows', count(*) from t;")?;
    client.out.expect("rows\t2")?;
    Ok(client)
}

/// Asked by INT, as by a Ctrl-C.
#[test]
fn it_ends_in_order_with_the_profile() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    install(&place)?;
    let mut run = start(with_profile("mysql", "60s"), &place)?;
    let _client = transaction(&place)?;
    run.signal("INT")?;
    run.exits(0)?;
    run.err.find("Shutdown complete")?;

    let run = start(with_profile("mysql", "60s"), &place)?;
    let mut client = client(&place)?;
    client.say("select 'rows', count(*) from work.t;")?;
    client.out.expect("rows\t1")?;
    let recovery = run.err.so_far().into_iter().find(|line| line.0.contains("crash recovery"));
    ensure!(recovery.is_none(), "after a stop in order: {recovery:?}");
    Ok(())
}

/// That is why the profile exists.
#[test]
fn without_it_an_int_makes_the_end_a_crash() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    install(&place)?;
    let mut run = start(without("1s"), &place)?;
    let _client = transaction(&place)?;
    run.signal("INT")?;
    ensure_eq!(run.wait()?, Status::Code(137), "its end");
    let again = start(with_profile("mysql", "60s"), &place)?;
    again.err.find("crash recovery")?;
    Ok(())
}
