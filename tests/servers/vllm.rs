//! vLLM drops its requests at the stop signal, but tells how many it has: the profile waits until there are none. A
//! server stands in for it that has its metrics and no model.

use std::process::Command;

use super::apps::{Busy, Fate, Gate, How, free_address, needs, said};
use crate::support::{Outcome, Status, need};
use crate::{ensure, ensure_eq};

/// The place of what `tests/run` installs from PyPI.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
const SERVER: &str = include_str!("vllm/serve.py");

/// A request in flight during a stop. `drained`: with the profile, else without.
fn stop(drained: bool) -> Outcome<Option<(Fate, Status)>> {
    let library = needs(&[PYTHON])
        && Command::new(PYTHON).args(["-c", "import prometheus_client"]).status()?.success();
    if !need::met(library, "prometheus-client of PyPI in target/python") {
        return Ok(None);
    }
    let (gate, address) = (Gate::new(), free_address()?);
    let launch = match drained {
        // The words of the profile with its argument.
        true => How::Plain.launch().flag("--profile", format!("vllm:{address}")),
        false => How::Plain.launch(),
    };
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let launch = launch
        .env("GATE", gate.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .command([PYTHON, "-c", SERVER, &host, &port]);
    let mut busy = Busy::start(launch, &gate, address)?;
    busy.run.signal("TERM")?;
    if drained {
        let line = said(&busy.run, "the app says that it is not drained")?;
        let metric = "vllm:num_requests_running <= 0";
        ensure!(line.0.contains(metric), "the condition: {}", line.0);
        ensure!(line.0.ends_with(" said=vllm:num_requests_running = 1"), "{}", line.0);
        let asked = "asking the app to stop";
        ensure_eq!(busy.run.err.count(asked), 0, "stop signals while there is a request");
        busy.release();
        said(&busy.run, asked)?;
    }
    busy.end().map(Some)
}

#[test]
fn with_the_profile_a_request_finishes() -> Outcome {
    match stop(true)? {
        None => Ok(()),
        Some(end) => {
            ensure_eq!(end, (Fate::Whole, Status::Code(143)), "the request");
            Ok(())
        }
    }
}

#[test]
fn without_it_a_request_is_cut_off() -> Outcome {
    match stop(false)? {
        None => Ok(()),
        Some(end) => {
            ensure_eq!(end, (Fate::CutOff, Status::Code(143)), "the request");
            Ok(())
        }
    }
}
