//! unicorn takes TERM for "drop everything" and QUIT for "finish what you are doing".

use super::apps::{Busy, Fate, Gate, How, free_address, needs};
use crate::ensure_eq;
use crate::support::{Outcome, Status};

const UNICORN: &str = "/usr/bin/unicorn";

const APP: &str = "run(proc do |_env|
  File.read(ENV.fetch('GATE'))
  [200, { 'Content-Type' => 'text/plain' }, ['whole']]
end)
";

/// A request in flight during a stop; with a sign it is let go on once unicorn has said that.
fn stop(how: How, sign: Option<&str>) -> Outcome<(Fate, Status)> {
    let gate = Gate::new();
    let app = gate.place.file("config.ru", APP, 0o644);
    let conf = gate.place.file("unicorn.rb", "worker_processes 2\n", 0o644);
    let address = free_address()?;
    let launch = how
        .launch()
        .env("GATE", gate.path())
        .env("PATH", "/usr/bin:/bin")
        .cwd(gate.place.path("."))
        .command([UNICORN, "--env", "none", "--listen", &address.to_string(), "--config-file"])
        .app_arg(conf)
        .app_arg(app);
    let mut busy = Busy::start(launch, &gate, address)?;
    busy.stop("TERM", sign.unwrap_or("asking the app to stop"))?;
    if sign.is_some() {
        busy.release();
    }
    busy.end()
}

#[test]
fn with_the_profile_a_request_finishes() -> Outcome {
    if needs(&[UNICORN]) {
        let end = stop(How::Profile("unicorn"), Some("reaped"))?;
        ensure_eq!(end, (Fate::Whole, Status::Code(0)), "the request");
    }
    Ok(())
}

/// That is why the profile names the signal.
#[test]
fn a_term_cuts_it_off() -> Outcome {
    if needs(&[UNICORN]) {
        ensure_eq!(stop(How::Plain, None)?, (Fate::CutOff, Status::Code(0)), "the request");
    }
    Ok(())
}
