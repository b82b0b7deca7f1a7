//! The built-in hook actions, for images without a shell. Each runs in a child of its own, which may block and is
//! killed like any other hook. Errors go to stderr, as those of a program.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::config::hooks::{Builtin, WaitFor};
use crate::http_client::{self, Answer};
use crate::sys::safe_path::{self, Last, Place};
use crate::sys::{clock, poll};
use crate::types::Time;

/// What PID 1 gives an action.
#[derive(Debug)]
pub struct Given {
    /// The result of `signal:`, which PID 1 sends itself: only PID 1 knows that the app's pid is still the app's.
    pub signalled: io::Result<()>,
    /// When the child is killed.
    pub kill_at: Time,
}

/// Performs the action and returns the exit code of the child.
pub fn run(action: &Builtin, given: &Given) -> u8 {
    ended(match action {
        Builtin::Sleep(span) => {
            pause(clock::now().after(*span));
            Ok(())
        }
        Builtin::Http { method, url } => match http(method, url) {
            Ok(Outcome::Good) => Ok(()),
            Ok(Outcome::Bad(reason)) => Err(format!("{method} {url} was answered with {reason}")),
            Err(error) => Err(format!("unable to {method} {url}: {error}")),
        },
        Builtin::Signal(signal) => match &given.signalled {
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
        // Not created: the file is a FIFO or a device as a rule.
        Builtin::Write(path, text) => in_file("write to", path, |path| {
            let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
            Place::find(path, Last::Follow)?.open(flags, 0)?.write_all(text)
        })
        .map_err(|error| match fs::metadata(OsStr::from_bytes(path.to_bytes())) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                format!("{error}; write: creates no file, make it before (touch:PATH makes an empty one)")
            }
            Ok(_) | Err(_) => error,
        }),
        Builtin::Wait(target) => wait(target, given.kill_at),
        Builtin::Connect(_) | Builtin::Exists(_) | Builtin::Answers(_) | Builtin::Metric(_) => {
            Err("a check of --ready or --drained only".to_owned())
        }
    })
}

/// Checks a condition of readiness or of `--drained` and returns the exit code of the child. The line that it prints
/// is the reason alone: the condition is known to the reader.
pub fn probe(action: &Builtin) -> u8 {
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
        | Builtin::Wait(_)
        | Builtin::Write(..) => Err("no check".to_owned()),
    })
}

fn reason(error: io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file".to_owned(),
        // The socket's own limit of time.
        Some(libc::EAGAIN) => "no answer in time".to_owned(),
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

fn pause(until: Time) {
    while clock::now() < until {
        poll::wait(&[], Some(until), clock::now());
    }
}

/// The time from the beginning of one look of `wait:` to the next.
const PACE: Duration = Duration::from_millis(200);
/// A look is broken off after this.
const LOOK: Duration = Duration::from_secs(1);
/// So long before it is killed, the action says what the last look has found.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Looks at the target until it answers.
fn wait(target: &WaitFor, kill_at: Time) -> Result<(), String> {
    let begun = clock::now();
    let whole = kill_at.since(begun);
    let end = kill_at.before(LAST_WORD.min(whole / 4));
    let mut next = begun;
    loop {
        let limit = LOOK.min(end.since(clock::now())).max(Duration::from_millis(1));
        let Err(said) = look(target, limit) else { return Ok(()) };
        next = next.after(PACE).max(clock::now());
        if next >= end {
            let name = match target {
                WaitFor::Tcp(address) => address.to_string(),
                WaitFor::Http(url) => url.clone(),
            };
            let waited = clock::now().since(begun).as_secs_f64();
            return Err(format!("unable to reach {name} within {waited:.1} s: {said}"));
        }
        pause(next);
    }
}

/// One look; what it has found, if that is not yet the answer.
fn look(target: &WaitFor, limit: Duration) -> Result<(), String> {
    let connect = |address: &SocketAddr| {
        let stream = TcpStream::connect_timeout(address, limit).map_err(reason)?;
        let limited = stream.set_read_timeout(Some(limit));
        limited.and_then(|()| stream.set_write_timeout(Some(limit))).map_err(reason)?;
        Ok::<TcpStream, String>(stream)
    };
    match target {
        WaitFor::Tcp(address) => connect(address).map(drop),
        WaitFor::Http(url) => {
            let (authority, path, address) = parts(url).map_err(reason)?;
            let stream = connect(&address)?;
            let answer = http_client::ask(stream, "GET", authority, path).map_err(reason)?;
            let (status, said) = (answer.status, answer.reason.clone());
            answer.discard(LONGEST_ANSWER);
            if (200..300).contains(&status) { Ok(()) } else { Err(said) }
        }
    }
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
    act(path).map_err(|error| {
        let why = safe_path::explain(&error);
        format!("unable to {verb} {}: {why}", path.display())
    })
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

fn ask(method: &str, url: &str) -> io::Result<Answer<TcpStream>> {
    let (authority, path, address) = parts(url)?;
    http_client::ask(TcpStream::connect(address)?, method, authority, path)
}

/// The parts of a URL. The address is a number: the C library's name service can crash a static program.
fn parts(url: &str) -> io::Result<(&str, &str, SocketAddr)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = authority.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok((authority, path, address))
}
