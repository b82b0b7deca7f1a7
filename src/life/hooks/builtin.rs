//! The built-in hook actions, for images without a shell. They run in a child of their own, which may
//! block and is killed like any other hook. They complain on stderr as a program would.

use std::ffi::{CStr, OsStr};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

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
        Builtin::Connect(port) => connect(*port),
        Builtin::Exists(path) => in_file("find", path, |path| fs::metadata(path).map(drop)),
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

/// An app may listen on one of the two families only.
fn connect(port: u16) -> Result<(), String> {
    let connect = |ip: IpAddr| TcpStream::connect((ip, port)).map(drop);
    connect(Ipv4Addr::LOCALHOST.into())
        .or_else(|error| connect(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))
        .map_err(|error| format!("unable to connect to port {port} of this host: {error}"))
}

/// No status line is longer.
const LONGEST_STATUS: u64 = 1024;

/// So much of an answer is read.
const LONGEST_ANSWER: u64 = 65_536;
/// So long a pause in it ends it.
const FAREWELL: Duration = Duration::from_millis(200);

/// As for the probes of Kubernetes, every answer from 200 to 399 is a yes. Nothing but its first line
/// matters.
fn http(method: &str, url: &str) -> Result<(), String> {
    let answer = ask(method, url).map_err(|error| format!("unable to {method} {url}: {error}"))?;
    // RFC 9112, section 4: HTTP/1.1 200 OK
    let mut words = answer.trim_end().splitn(2, ' ');
    let version = words.next().filter(|version| version.starts_with("HTTP/1."));
    let status = version.and(words.next()).unwrap_or_default();
    match status.get(..3).and_then(|code| code.parse::<u16>().ok()) {
        Some(200..=399) => Ok(()),
        Some(_) => Err(format!("{method} {url} was answered with {status}")),
        None => Err(format!("{method} {url} was answered with no HTTP/1: {answer:?}")),
    }
}

/// The status line of the answer. The address is in numbers: the C library's name service can crash a
/// static program.
fn ask(method: &str, url: &str) -> io::Result<String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let parsed: SocketAddr =
        address.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut stream = TcpStream::connect(parsed)?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: graceinit\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut answer = io::BufReader::new(stream.try_clone()?);
    answer.by_ref().take(LONGEST_STATUS).read_until(b'\n', &mut line)?;
    // The rest is taken as well, or the server would complain of a connection that was reset. One that
    // does not close it as it was asked to is not waited for.
    stream.set_read_timeout(Some(FAREWELL))?;
    let _ = io::copy(&mut answer.take(LONGEST_ANSWER), &mut io::sink());
    Ok(String::from_utf8_lossy(&line).into_owned())
}
