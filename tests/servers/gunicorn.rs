//! gunicorn takes TERM for "finish what you are doing", and INT, which is what a Ctrl-C or a Procfile
//! runner sends, for "drop everything": the profile makes a graceful stop of both.

use super::apps::{Busy, Fate, Gate, How, free_address, needs};
use crate::ensure_eq;
use crate::support::{Outcome, Status};

const GUNICORN: &str = "/usr/bin/gunicorn";

/// The worker's only thread is in the handler as long as the test likes.
const APP: &str = "import os

def app(environ, start_response):
    with open(os.environ['GATE']) as gate:
        gate.read()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'whole']
";

/// A request in flight during a stop, in the only worker: one that has just been forked does not hear the
/// arbiter's TERM, and is waited for until `--graceful-timeout`. `finish`: the request is let go on once
/// the arbiter has seen the signal.
fn stop(how: How, class: &str, signal: &str, finish: bool) -> Outcome<(Fate, Status)> {
    let gate = Gate::new();
    gate.place.file("app.py", APP, 0o644);
    let address = free_address()?;
    let dir = gate.place.text(".");
    let bind = address.to_string();
    let launch = how
        .launch()
        .env("GATE", gate.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .command([GUNICORN, "--worker-class", class, "--bind", &bind])
        .app_arg("--chdir")
        .app_arg(&dir)
        .app_arg("--worker-tmp-dir")
        .app_arg(&dir)
        .app_arg("app:app");
    let mut busy = Busy::start(launch, &gate, address)?;
    busy.stop(signal, "Handling signal")?;
    if finish {
        busy.release();
    }
    busy.end()
}

#[test]
fn with_the_profile_a_request_finishes() -> Outcome {
    if needs(&[GUNICORN]) {
        for signal in ["TERM", "INT"] {
            let end = stop(How::Profile("gunicorn"), "sync", signal, true)?;
            ensure_eq!(end, (Fate::Whole, Status::Code(0)), "after {signal}");
        }
    }
    Ok(())
}

/// The other kind of worker that needs nothing but gunicorn.
#[test]
fn with_the_profile_a_request_in_a_thread_finishes() -> Outcome {
    if needs(&[GUNICORN]) {
        let end = stop(How::Profile("gunicorn"), "gthread", "INT", true)?;
        ensure_eq!(end, (Fate::Whole, Status::Code(0)), "the request");
    }
    Ok(())
}

/// That is why the profile names the signal.
#[test]
fn an_int_as_received_cuts_it_off() -> Outcome {
    if needs(&[GUNICORN]) {
        let end = stop(How::Plain, "sync", "INT", false)?;
        ensure_eq!(end, (Fate::CutOff, Status::Code(0)), "the request");
    }
    Ok(())
}
