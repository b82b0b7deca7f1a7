//! `docker run --tty` with a client that does not read: the terminal of the container is full.

use super::container::fresh_name;
use super::engine::{Running, engine};
use crate::support::files::Place;
use crate::support::{Outcome, proc};
use crate::{ensure, ensure_eq};

/// graceinit logs far more than all buffers between the terminal and the client hold; its app writes to a file.
#[test]
fn a_client_that_does_not_read_does_not_keep_the_stop_from_the_app() -> Outcome {
    const ROUNDS: usize = 10;
    let Some(engine) = engine() else { return Ok(()) };
    let (place, name) = (Place::new(), fresh_name());
    let volume = format!("{}:/account", place.text(""));
    let mut run = engine.client();
    run.args(["run", "--tty", "--name", &name, "--network", "none", "--volume", &volume]);
    run.args(["--env", "GRACEINIT_LOG=trace", &engine.image]);
    run.args(["/puppet", "block", "ready", "to=/account/told", "echo=TERM:3"]);
    let mut client = Running::start(run, "docker run --tty")?;
    let body = || {
        client.out.until("ready ")?;
        client.signal(libc::SIGSTOP)?;
        for _ in 0..ROUNDS {
            engine.docker(&["exec", &name, "/puppet", "flood=RTMIN:2000:1"])?;
        }
        let mut stop = engine.client();
        stop.args(["stop", "--timeout", "60", &name]);
        let mut stop = Running::start(stop, "docker stop")?;
        let asked = |told: &String| told.contains("got TERM ");
        proc::poll("the stop signal", || place.read("told").filter(asked))?;
        // The engine itself may wait for the client at the end of the container.
        client.signal(libc::SIGCONT)?;
        stop.end()?;
        engine.docker(&["inspect", "--format", "{{.State.ExitCode}}", &name])
    };
    let code = body();
    client.signal(libc::SIGCONT)?;
    drop(engine.docker(&["rm", "--force", "--volumes", &name]));
    ensure_eq!(code?, "3", "exit code");
    let told = place.expect("told")?;
    // Not all: the kernel delivers the lowest number first, so TERM overtakes those that wait for the app.
    ensure!(told.matches("got RTMIN").count() > 0, "no signal has reached the app: {told}");
    ensure_eq!(told.matches("got TERM ").count(), 1, "stop signals that the app had");
    client.end()?;
    let log = client.out.all()?;
    // Otherwise the terminal was never full.
    ensure!(
        log.iter().any(|line| line.0.contains("dropped: stderr was not read")),
        "{:#?}",
        log.last()
    );
    Ok(())
}
