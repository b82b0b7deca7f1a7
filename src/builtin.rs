//! The built-in hook actions, for images without a shell. They run in a child of their own, which may
//! block and is killed like any other hook. They complain on stderr as a program would.

use std::ffi::{CStr, OsStr};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use crate::config::hooks::Builtin;
use crate::sys::{clock, poll};

/// Does it; the exit code of the child. `signalled` is how the sending went of `signal:`, which PID 1
/// does itself: only it knows that the app's pid is still the app's.
pub fn run(action: &Builtin, signalled: &io::Result<()>) -> u8 {
    let done = match action {
        Builtin::Sleep(span) => {
            let until = clock::now().after(*span);
            while clock::now() < until {
                poll::wait(&[], Some(until), clock::now());
            }
            Ok(())
        }
        Builtin::Http { method, url } => http(method, url),
        Builtin::Signal(signal) => match signalled {
            Ok(()) => Ok(()),
            Err(error) => Err(format!("unable to send {signal} to the app: {error}")),
        },
        Builtin::Touch(path) => in_file("touch", path, |path| {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.set_modified(SystemTime::now())
        }),
        Builtin::Remove(path) => in_file("remove", path, |path| match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }),
        // Not created: a FIFO that is missing has no reader either.
        Builtin::Write(path, text) => in_file("write to", path, |path| {
            OpenOptions::new().append(true).open(path)?.write_all(text)
        }),
    };
    match done {
        Ok(()) => 0,
        Err(complaint) => {
            let _ = writeln!(io::stderr(), "{complaint}");
            1
        }
    }
}

fn in_file(verb: &str, path: &CStr, act: impl Fn(&Path) -> io::Result<()>) -> Result<(), String> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    act(path).map_err(|error| format!("unable to {verb} {}: {error}", path.display()))
}

/// As for the probes of Kubernetes, every answer from 200 to 399 is a yes.
fn http(method: &str, url: &str) -> Result<(), String> {
    let request = minreq::Request::new(minreq::Method::Custom(method.to_owned()), url)
        .with_follow_redirects(false)
        .with_max_headers_size(16 * 1024);
    match request.send_lazy() {
        Ok(answer) if (200..400).contains(&answer.status_code) => Ok(()),
        Ok(answer) => Err(format!(
            "{method} {url} was answered with {} {}",
            answer.status_code, answer.reason_phrase
        )),
        Err(error) => Err(format!("unable to {method} {url}: {error}")),
    }
}
