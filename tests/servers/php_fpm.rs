//! PHP-FPM takes TERM for "drop everything" and QUIT for "finish what you are doing" - but only where
//! its `process_control_timeout` leaves time for that.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use super::common::{Answer, by_version, connect, free_address, with_profile, without};
use crate::ensure_eq;
use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, need};

fn fpm() -> Option<PathBuf> {
    by_version("/usr/sbin/php-fpm", "")
}

fn needs() -> bool {
    need::pid_namespace() && need::met(fpm().is_some(), "/usr/sbin/php-fpm*")
}

fn command(launch: Launch, place: &Place, global: &str, address: SocketAddrV4) -> Outcome<Launch> {
    let conf = format!(
        "[global]\nerror_log=/proc/self/fd/2\ndaemonize=no\n{global}\n\
         [www]\nuser=root\ngroup=root\nlisten={address}\npm=static\npm.max_children=2\n"
    );
    let conf = place.file("fpm.conf", conf, 0o644);
    let fpm = fpm().ok_or_else(|| Fault::new("no php-fpm"))?;
    let words = [fpm.as_os_str(), "-nRFy".as_ref(), conf.as_os_str()];
    Ok(launch.command(words))
}

/// One FastCGI request, all in one: a record has a version, a type, a request, two lengths.
fn request(script: &str) -> Vec<u8> {
    let record = |kind: u8, content: &[u8]| {
        let length = (content.len() as u16).to_be_bytes();
        [&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()
    };
    let pair = |name: &str, value: &str| {
        [&[name.len() as u8, value.len() as u8], name.as_bytes(), value.as_bytes()].concat()
    };
    let params = [pair("SCRIPT_FILENAME", script), pair("REQUEST_METHOD", "GET")].concat();
    // BEGIN_REQUEST as a responder, PARAMS and their end, an empty STDIN.
    let begin = [0, 1, 0, 0, 0, 0, 0, 0];
    [record(1, &begin), record(4, &params), record(4, &[]), record(5, &[])].concat()
}

/// A request whose script says the first half and the rest when there is a file `go`.
fn held_request(place: &Place, address: SocketAddrV4) -> Outcome<Answer> {
    let go = place.text("go");
    let script = format!(
        "<?php echo 'first'; flush(); while (!file_exists('{go}')) {{ clearstatcache(); usleep(2000); }} \
         echo 'later';"
    );
    place.file("held.php", script, 0o644);
    Answer::begun(connect(address)?, &request(&place.text("held.php")))
}

#[test]
fn a_request_finishes_with_the_profile() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    let launch = with_profile("php-fpm", "60s");
    let mut run = command(launch, &place, "process_control_timeout=50s", address)?.start()?;
    let answer = held_request(&place, address)?;
    run.signal("TERM")?;
    run.err.find("Finishing")?;
    place.file("go", "", 0o644);
    ensure_eq!(answer.end()?, "whole", "the request");
    run.exits(0)
}

fn cut_off(launch: Launch, signal: &str, global: &str) -> Outcome {
    let (place, address) = (Place::new(), free_address()?);
    let mut run = command(launch, &place, global, address)?.start()?;
    let answer = held_request(&place, address)?;
    run.signal(signal)?;
    ensure_eq!(answer.end()?, "cut off", "the request");
    run.exits(0)
}

/// Its default is to wait for nobody.
#[test]
fn the_profile_needs_the_servers_own_timeout() -> Outcome {
    if needs() { cut_off(with_profile("php-fpm", "60s"), "TERM", "") } else { Ok(()) }
}

/// The second signal of the ladder, for a timeout that is longer than the budget.
#[test]
fn one_that_never_finishes_is_cut_off_in_order() -> Outcome {
    if needs() {
        // The official image has it for its stop signal: it begins a stop like TERM.
        cut_off(with_profile("php-fpm", "3s"), "QUIT", "process_control_timeout=50s")?;
    }
    Ok(())
}

/// That is why the profile exists.
#[test]
fn without_it_a_request_is_cut_off() -> Outcome {
    if needs() { cut_off(without("60s"), "TERM", "process_control_timeout=50s") } else { Ok(()) }
}
