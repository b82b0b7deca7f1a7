//! The built-in hook actions, for images without a shell. Each runs in a child of its own, which may block and is
//! killed like any other hook. Errors go to stderr, as those of a program.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

use crate::config::hooks::Builtin;
use crate::http_client::{self, Answer};
use crate::sys::safe_path::{self, Last, Place};
use crate::sys::{clock, poll};

/// Performs the action and returns the exit code of the child. `signalled` is the result of `signal:`, which PID 1
/// sends itself: only PID 1 knows that the app's pid is still the app's.
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
            let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
            let file = Place::find(path, Last::Follow)?.open(flags, 0o666)?;
            file.set_modified(SystemTime::now())
        }),
        Builtin::Remove(path) => in_file("remove", path, |path| {
            match Place::find(path, Last::Keep).and_then(|place| place.remove()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            }
        }),
        Builtin::Connect(port) => connect(*port),
        Builtin::Exists(path) => in_file("find", path, |path| fs::metadata(path).map(drop)),
        // Not created: the file is a FIFO or a device as a rule.
        Builtin::Write(path, text) => in_file("write to", path, |path| {
            let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
            Place::find(path, Last::Follow)?.open(flags, 0)?.write_all(text)
        }),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    }
}

fn in_file(verb: &str, path: &CStr, act: impl Fn(&Path) -> io::Result<()>) -> Result<(), String> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    act(path).map_err(|error| {
        let why = safe_path::reason(&error).map_or_else(|| error.to_string(), str::to_owned);
        format!("unable to {verb} {}: {why}", path.display())
    })
}

/// Tries both families: an app may listen on one of them only.
fn connect(port: u16) -> Result<(), String> {
    let connect = |ip: IpAddr| TcpStream::connect((ip, port)).map(drop);
    connect(Ipv4Addr::LOCALHOST.into())
        .or_else(|error| connect(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))
        .map_err(|error| format!("unable to connect to port {port} of this host: {error}"))
}

/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 65_536;
/// A longer pause in the rest of the answer ends it.
const PAUSE: Duration = Duration::from_millis(200);

/// As for the probes of Kubernetes, every status from 200 to 399 is success.
fn http(method: &str, url: &str) -> Result<(), String> {
    let answer = ask(method, url).map_err(|error| format!("unable to {method} {url}: {error}"))?;
    let (status, reason) = (answer.status, answer.reason.clone());
    // The rest is read too: closing the connection before would reset it, and the server would log an error. A server
    // that does not close it as it was asked to is not waited for.
    if answer.stream().set_read_timeout(Some(PAUSE)).is_ok() {
        answer.discard(LONGEST_ANSWER);
    }
    match status {
        200..=399 => Ok(()),
        _ => Err(format!("{method} {url} was answered with {reason}")),
    }
}

/// The address is a number: the C library's name service can crash a static program.
fn ask(method: &str, url: &str) -> io::Result<Answer<TcpStream>> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let parsed: SocketAddr =
        address.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    http_client::ask(TcpStream::connect(parsed)?, method, address, path)
}
