//! Clients of the observer, good and bad, and what else disturbs a life from outside.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::dice::Dice;
use crate::support::{Outcome, proc, sys};

/// An answer takes a moment; the observer may just have been killed.
const PATIENCE: Duration = Duration::from_millis(500);

const REQUESTS: [&str; 7] = [
    "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /livez HTTP/1.0\r\n\r\n",
    "GET /metrics HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET /nothing HTTP/1.0\r\n\r\n",
    "POST /readyz HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345",
    "\0\u{7f}nonsense\r\n\r\n",
];

/// One client: it asks, or leaves in the middle, or says nothing. Whether it got an answer.
pub(crate) fn ask(socket: &Path, dice: &mut Dice) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let patient = stream.set_read_timeout(Some(PATIENCE)).is_ok();
    let request = REQUESTS[dice.roll(REQUESTS.len() as u64) as usize].as_bytes();
    match dice.roll(10) {
        0 => false,
        1 => {
            let part = request.len() / 2;
            drop(stream.write_all(&request[..part]));
            false
        }
        2 => {
            // It does not read its answer.
            drop(stream.write_all(request));
            false
        }
        _ => {
            let mut answer = [0; 4096];
            let asked = patient && stream.write_all(request).is_ok();
            asked && stream.read(&mut answer).is_ok_and(|count| count > 0)
        }
    }
}

/// The name of a helper that answers HTTP.
pub(crate) const OBSERVER: &str = "graceinit-obs";

/// Kills a helper of graceinit, as the OOM killer might. Whether there was one.
pub(crate) fn crash_a_helper(init: i32, dice: &mut Dice) -> bool {
    let helpers: Vec<i32> = proc::children(init)
        .into_iter()
        .filter(|child| child.comm.starts_with("graceinit-"))
        .map(|child| child.pid)
        .collect();
    if helpers.is_empty() {
        return false;
    }
    let helper = helpers[dice.roll(helpers.len() as u64) as usize];
    sys::kill(helper, libc::SIGKILL).is_ok()
}

/// Stops a process and lets it go on, as `docker pause` does.
pub(crate) fn pause(pid: i32) -> Outcome {
    let stopped = || {
        // Again: a SIGCONT of before may have come later.
        drop(sys::kill(pid, libc::SIGSTOP));
        proc::process(pid).is_none_or(|it| "TtZX".contains(it.state)).then_some(())
    };
    let seen = proc::poll("a stopped process", stopped);
    drop(sys::kill(pid, libc::SIGCONT));
    seen
}
