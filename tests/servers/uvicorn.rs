//! uvicorn takes TERM and INT for "finish what you are doing", and an INT after another stop signal for
//! "give up the requests": the profile tells the main process alone, once, and that with TERM. From 0.29
//! on it dies of the TERM that it has obeyed: 143 is a good end. With the profile all end with 0.

use super::apps::{Busy, Fate, Gate, How, free_address, needs};
use crate::ensure_eq;
use crate::support::{Outcome, Status};

const UVICORN: &str = "/usr/bin/uvicorn";

/// The gate is waited for in a thread, so that the event loop sees the signal.
const APP: &str = "import asyncio, os

def wait():
    with open(os.environ['GATE']) as gate:
        gate.read()

async def app(scope, receive, send):
    if scope['type'] != 'http':
        return
    await asyncio.get_running_loop().run_in_executor(None, wait)
    await send({'type': 'http.response.start', 'status': 200,
                'headers': [(b'content-length', b'5')]})
    await send({'type': 'http.response.body', 'body': b'whole'})
";

/// A request in flight during a stop; it is let go on once a worker has seen the signal.
fn stop(workers: &str, signal: &str) -> Outcome<(Fate, Status)> {
    let gate = Gate::new();
    gate.place.file("app.py", APP, 0o644);
    let address = free_address()?;
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let launch = How::Profile("uvicorn")
        .launch()
        .env("GATE", gate.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .command([UVICORN, "--host", &host, "--port", &port, "--workers", workers])
        .app_arg("--app-dir")
        .app_arg(gate.place.path("."))
        .app_arg("app:app");
    let mut busy = Busy::start(launch, &gate, address)?;
    busy.stop(signal, "Shutting down")?;
    busy.release();
    busy.end()
}

#[test]
fn with_the_profile_a_request_finishes() -> Outcome {
    if needs(&[UVICORN]) {
        for (workers, signal) in [("1", "TERM"), ("1", "INT"), ("2", "INT")] {
            let end = stop(workers, signal)?;
            ensure_eq!(end, (Fate::Whole, Status::Code(0)), "{workers} workers after {signal}");
        }
    }
    Ok(())
}
