//! Puma takes TERM for "finish what you are doing" and then dies of it on purpose: 143 is a good end.

use super::apps::{Busy, Fate, Gate, How, free_address, needs};
use crate::ensure_eq;
use crate::support::{Outcome, Status};

const PUMA: &str = "/usr/bin/puma";

const APP: &str = "run(proc do |_env|
  File.read(ENV.fetch('GATE'))
  [200, { 'content-type' => 'text/plain' }, ['whole']]
end)
";

/// A request in flight during a stop; it is let go on once Puma has said that it is stopping.
fn stop(how: How, workers: &str) -> Outcome<(Fate, Status)> {
    let gate = Gate::new();
    let app = gate.place.file("config.ru", APP, 0o644);
    let address = free_address()?;
    let launch = how
        .launch()
        .env("GATE", gate.path())
        .env("PATH", "/usr/bin:/bin")
        .cwd(gate.place.path("."))
        .command([PUMA, "--config", "-", "--environment", "none", "--workers", workers])
        .app_arg("--bind")
        .app_arg(format!("tcp://{address}"))
        .app_arg(app);
    let mut busy = Busy::start(launch, &gate, address)?;
    busy.stop("TERM", "Gracefully")?;
    busy.release();
    busy.end()
}

#[test]
fn with_the_profile_a_request_finishes_and_the_code_is_0() -> Outcome {
    if needs(&[PUMA]) {
        for workers in ["0", "2"] {
            let end = stop(How::Profile("puma"), workers)?;
            ensure_eq!(end, (Fate::Whole, Status::Code(0)), "with {workers} workers");
        }
    }
    Ok(())
}

/// That is why the profile takes it for a good one.
#[test]
fn without_it_the_code_is_143() -> Outcome {
    if needs(&[PUMA]) {
        let end = stop(How::Plain, "0")?;
        ensure_eq!(end, (Fate::Whole, Status::Code(143)), "the end");
    }
    Ok(())
}
