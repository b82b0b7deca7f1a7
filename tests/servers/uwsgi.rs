//! uWSGI reloads on TERM and drops everything on INT and QUIT. Its graceful end is a `q` written to
//! its master FIFO.

use std::net::SocketAddrV4;

use super::common::{Answer, REQUEST, connect, free_address, with_profile, without};
use crate::support::files::Place;
use crate::support::{Launch, Outcome, Run, Status, need};
use crate::{ensure, ensure_eq};

const UWSGI: &str = "/usr/bin/uwsgi-core";

fn needs() -> bool {
    need::pid_namespace() && need::program(UWSGI)
}

/// The FIFO of this place, as the profile's argument.
fn profile(place: &Place, grace: &str) -> Launch {
    with_profile(&format!("uwsgi:{}", place.text("fifo")), grace)
}

/// A CGI script is the smallest application: it says the first half of its answer, and the rest when
/// there is a file `go`.
fn start(launch: Launch, place: &Place, address: SocketAddrV4) -> Outcome<(Run, Answer)> {
    let go = place.text("go");
    let script = format!(
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nfirst'\n\
         until [ -e {go} ]; do sleep 0.01; done\nprintf later\n"
    );
    place.file("held", script, 0o755);
    let command = format!(
        "{UWSGI} --plugin cgi --http-socket {address} --http-socket-modifier1 9 --cgi {} --master \
         --processes 2 --master-fifo {}",
        place.text("held"),
        place.text("fifo"),
    );
    let run = launch.command(command.split_whitespace()).start()?;
    let answer = Answer::begun(connect(address)?, REQUEST)?;
    Ok((run, answer))
}

#[test]
fn a_request_finishes_with_the_profile() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    let (mut run, answer) = start(profile(&place, "60s"), &place, address)?;
    run.signal("TERM")?;
    run.err.find("Gracefully killing worker")?;
    place.file("go", "", 0o644);
    ensure_eq!(answer.end()?, "whole", "the request");
    run.exits(0)
}

/// The master acts on no further signal while it waits for its workers, so the second one of the
/// ladder goes to them as well.
#[test]
fn one_that_never_finishes_is_cut_off_in_order() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    let (mut run, answer) = start(profile(&place, "6s"), &place, address)?;
    run.signal("TERM")?;
    ensure_eq!(answer.end()?, "cut off", "the request");
    run.exits(0)
}

/// That is why the profile exists: TERM drops the request, and it does not even end uWSGI.
#[test]
fn without_it_a_request_is_cut_off_and_the_server_goes_on() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let (place, address) = (Place::new(), free_address()?);
    let (mut run, answer) = start(without("3s"), &place, address)?;
    run.signal("TERM")?;
    ensure_eq!(answer.end()?, "cut off", "the request");
    ensure_eq!(run.wait()?, Status::Code(137), "its end");
    ensure!(run.err.count("gracefully (RE)spawned uWSGI master") == 1, "no reload");
    Ok(())
}
