//! Node.js ends at once on TERM unless the program has a handler; then everything depends on that one. A
//! cluster's primary that stops its workers itself must be the only one that is told.

use super::apps::{Busy, Fate, Gate, How, free_address, needs};
use crate::ensure_eq;
use crate::support::{Outcome, Status};

const NODE: &str = "/usr/bin/node";

/// A handler that waits for the gate without standing in the way of signals.
const SERVER: &str = "const fs = require('fs'), http = require('http');
const server = http.createServer((request, response) => {
    fs.readFile(process.env.GATE, () => response.end('whole'));
});
const [host, port] = process.env.ADDRESS.split(':');
server.listen(Number(port), host);
";

/// As the documentation of `server.close` has it: no new connections, an end after the last one.
const GRACEFUL: &str = "process.on('SIGTERM', () => { server.close(); console.log('closing'); });
";

/// The primary takes TERM and disconnects its workers, which know nothing of signals.
const CLUSTER: &str = "const cluster = require('cluster');
if (cluster.isPrimary) {
    cluster.fork();
    process.on('SIGTERM', () => { cluster.disconnect(); console.log('closing'); });
} else {
    require('./server.js');
}
";

/// A request in flight in such a program; with a sign it is let go on once the program has said that.
fn stop(how: How, files: &[(&str, String)], sign: Option<&str>) -> Outcome<(Fate, Status)> {
    stop_of(how, &[NODE, "main.js"], files, sign)
}

/// [`stop`] of a program that is started in some other way.
fn stop_of(
    how: How,
    command: &[&str],
    files: &[(&str, String)],
    sign: Option<&str>,
) -> Outcome<(Fate, Status)> {
    let gate = Gate::new();
    for (name, text) in files {
        gate.place.file(name, text, 0o644);
    }
    let address = free_address()?;
    let launch = how
        .launch()
        .env("GATE", gate.path())
        .env("ADDRESS", address.to_string())
        .cwd(gate.place.path("."))
        .command(command);
    let mut busy = Busy::start(launch, &gate, address)?;
    busy.stop("TERM", sign.unwrap_or("asking the app to stop"))?;
    if sign.is_some() {
        busy.release();
    }
    busy.end()
}

fn cluster() -> [(&'static str, String); 2] {
    [("main.js", CLUSTER.into()), ("server.js", SERVER.into())]
}

#[test]
fn with_the_profile_a_request_finishes() -> Outcome {
    if needs(&[NODE]) {
        let files = [("main.js", [SERVER, GRACEFUL].concat())];
        let end = stop(How::Profile("node"), &files, Some("closing"))?;
        ensure_eq!(end, (Fate::Whole, Status::Code(0)), "the request");
    }
    Ok(())
}

/// A shell between both, as in many start scripts, dies of the signal; the server is told as a leftover.
#[test]
fn with_the_profile_a_request_finishes_behind_a_shell() -> Outcome {
    if needs(&[NODE]) {
        let files = [("main.js", [SERVER, GRACEFUL].concat())];
        let line = format!("{NODE} main.js; exit $?");
        let command = ["/bin/sh", "-c", &line];
        let end = stop_of(How::Profile("node"), &command, &files, Some("closing"))?;
        ensure_eq!(end, (Fate::Whole, Status::Code(0)), "the request");
    }
    Ok(())
}

/// No setting can help a program that does not listen, but its death by TERM is what was asked for.
#[test]
fn without_a_handler_it_is_cut_off() -> Outcome {
    if needs(&[NODE]) {
        let files = [("main.js", SERVER.to_string())];
        for (how, code) in [(How::Plain, 143), (How::Profile("node"), 0)] {
            let end = stop(how, &files, None)?;
            ensure_eq!(end, (Fate::CutOff, Status::Code(code)), "{how:?}");
        }
    }
    Ok(())
}

#[test]
fn with_the_profile_a_clusters_request_finishes() -> Outcome {
    if needs(&[NODE]) {
        let end = stop(How::Profile("node"), &cluster(), Some("closing"))?;
        ensure_eq!(end, (Fate::Whole, Status::Code(0)), "the request");
    }
    Ok(())
}

/// That is why the profile tells the main process alone.
#[test]
fn a_term_for_the_group_cuts_it_off() -> Outcome {
    if needs(&[NODE]) {
        // The code depends on who of the cluster goes first.
        let (fate, _) = stop(How::Plain, &cluster(), None)?;
        ensure_eq!(fate, Fate::CutOff, "the request");
    }
    Ok(())
}
