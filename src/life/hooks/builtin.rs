//! The built-in hook actions, for images without a shell. Each runs in a child of its own, which may block and is
//! killed like any other hook. Errors go to stderr, as those of a program.

use std::ffi::{CStr, OsStr};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;

use crate::config::hooks::Builtin;
use crate::http_client::{self, Answer};
use crate::sys::{clock, poll};

/// Performs the action and returns the exit code of the child. `signalled` is the result of `signal:`, which PID 1
/// sends itself: only PID 1 knows that the app's pid is still the app's.
pub fn run(action: &Builtin, signalled: &io::Result<()>) -> u8 {
    ended(match action {
        Builtin::Sleep(span) => {
            let until = clock::now().after(*span);
            while clock::now() < until {
                poll::wait(&[], Some(until), clock::now());
            }
            Ok(())
        }
        Builtin::Http { method, url } => match http(method, url) {
            Ok(Outcome::Good) => Ok(()),
            Ok(Outcome::Bad(reason)) => Err(format!("{method} {url} was answered with {reason}")),
            Err(error) => Err(format!("unable to {method} {url}: {error}")),
        },
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
        // Not created: the file is a FIFO or a device as a rule.
        Builtin::Write(path, text) => in_file("write to", path, |path| {
            OpenOptions::new().append(true).open(path)?.write_all(text)
        }),
        Builtin::Connect(_) | Builtin::Exists(_) | Builtin::Answers(_) | Builtin::Metric(_) => {
            Err("a check of --ready or --drained only".to_owned())
        }
    })
}

/// Checks a condition of readiness or of `--drained` and returns the exit code of the child. The line that it prints is the reason alone:
/// the condition is known to the reader.
pub fn probe(action: &Builtin) -> u8 {
    let reason = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file".to_owned(),
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    };
    ended(match action {
        Builtin::Http { method, url } => match http(method, url) {
            Ok(Outcome::Good) => Ok(()),
            Ok(Outcome::Bad(answer)) => Err(answer),
            Err(error) => Err(reason(error)),
        },
        Builtin::Answers(url) => match ask("GET", url) {
            // A redirection is no answer: it would lead to a page that says anything.
            Ok(answer) if (200..=299).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(answer.reason),
            Err(error) => Err(reason(error)),
        },
        Builtin::Metric(metric) => match metrics(&metric.url) {
            Ok((200..=299, _, text)) => metric.check(&text),
            Ok((_, answer, _)) => Err(answer),
            Err(error) => Err(reason(error)),
        },
        Builtin::Connect(port) => connect(*port).map_err(reason),
        Builtin::Exists(path) => {
            fs::metadata(OsStr::from_bytes(path.to_bytes())).map(drop).map_err(reason)
        }
        Builtin::Sleep(_)
        | Builtin::Signal(_)
        | Builtin::Touch(_)
        | Builtin::Remove(_)
        | Builtin::Write(..) => Err("no check".to_owned()),
    })
}

/// The exit code of the child. An error goes to stderr.
fn ended(done: Result<(), String>) -> u8 {
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
    act(path).map_err(|error| format!("unable to {verb} {}: {error}", path.display()))
}

/// Tries both families: an app may listen on one of them only.
fn connect(port: u16) -> io::Result<()> {
    let connect = |ip: IpAddr| TcpStream::connect((ip, port)).map(drop);
    connect(Ipv4Addr::LOCALHOST.into())
        .or_else(|error| connect(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))
}

/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 65_536;
/// A service with thousands of series tells of some megabytes.
const MOST_METRICS: u64 = 64 << 20;
/// A longer pause in the rest of the answer ends it.
const PAUSE: Duration = Duration::from_millis(200);

/// What the status of an answer means.
enum Outcome {
    Good,
    /// `404 Not Found`
    Bad(String),
}

/// As for the probes of Kubernetes, every status from 200 to 399 is success.
fn http(method: &str, url: &str) -> io::Result<Outcome> {
    let answer = ask(method, url)?;
    let (status, reason) = (answer.status, answer.reason.clone());
    // The rest is read too: closing the connection before would reset it, and the server would log an error. A server
    // that does not close it as it was asked to is not waited for.
    if answer.stream().set_read_timeout(Some(PAUSE)).is_ok() {
        answer.discard(LONGEST_ANSWER);
    }
    Ok(if (200..=399).contains(&status) { Outcome::Good } else { Outcome::Bad(reason) })
}

/// The status, as a number and in words, and the body.
fn metrics(url: &str) -> io::Result<(u16, String, String)> {
    let answer = ask("GET", url)?;
    let (status, reason) = (answer.status, answer.reason.clone());
    let body = answer.body(MOST_METRICS)?;
    Ok((status, reason, String::from_utf8_lossy(&body).into_owned()))
}

/// The address is a number: the C library's name service can crash a static program.
fn ask(method: &str, url: &str) -> io::Result<Answer<TcpStream>> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let parsed: SocketAddr =
        address.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    http_client::ask(TcpStream::connect(parsed)?, method, address, path)
}
