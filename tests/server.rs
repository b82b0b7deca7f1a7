//! A static HTTP server for the container tests, and the few commands that an image without a shell
//! needs beside it. An example of the crate, so that `cargo install` never installs it.
//!
//! ```text
//! server PORT [--slow-ms N] [--on-term exit|ignore]   answers GET /; PORT 0 is any free one
//! server env [OPTIONS]                                the same at the IP:PORT of the variable LISTEN
//! server get URL                                      prints the body; status 1 unless it is a 200
//! server touch PATH                                   makes a file
//! server ps                                           one line per process: pid ppid state name
//! ```
//!
//! The answer to `/` is `hello`, or what the variable HELLO says; that to `/sleep/MS/N` comes so late and
//! is `/sleep/MS/N done`.
//!
//! The server prints `listening PORT`, `request PATH` for each one it has read, `stopping` on TERM and,
//! when every request that had begun is answered, `stopped`.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["get", url] => get(url),
        ["touch", path] => fs::write(path, ""),
        ["ps"] => ps(),
        [place, options @ ..] => address(place).and_then(|address| serve(address, options)),
        [] => Err(usage("no command")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn usage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn number(text: &str) -> io::Result<u16> {
    text.parse().map_err(|_| usage(&format!("{text} is no number")))
}

/// An engine that starts several of a kind can only tell them apart in their environment.
fn address(place: &str) -> io::Result<SocketAddrV4> {
    if place != "env" {
        return Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, number(place)?));
    }
    let listen = std::env::var("LISTEN").unwrap_or_default();
    listen.parse().map_err(|_| usage(&format!("LISTEN is '{listen}', which is no IP:PORT")))
}

/// One line with one write: graceinit writes to the same pipe.
fn complain(error: &io::Error) {
    drop(io::stderr().write_all(format!("server: {error}\n").as_bytes()));
}

/// One line, whole and at once: a test waits for it.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn serve(address: SocketAddrV4, options: &[&str]) -> io::Result<()> {
    let (mut slow, mut ignore) = (Duration::ZERO, false);
    for option in options.chunks(2) {
        match option {
            ["--slow-ms", n] => slow = Duration::from_millis(number(n)?.into()),
            ["--on-term", "exit"] => ignore = false,
            ["--on-term", "ignore"] => ignore = true,
            _ => return Err(usage(&format!("what is {}?", option.join(" ")))),
        }
    }
    // The handler writes a byte, which poll sees: a flag alone would be missed by a blocked accept.
    let (terms, handler) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(libc::SIGTERM, handler)?;
    let listener = TcpListener::bind(address)?;
    // Between poll and accept a client may have gone again.
    listener.set_nonblocking(true)?;
    say(&format!("listening {}", listener.local_addr()?.port()))?;
    let mut requests: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let (connection, term) = wait(&listener, &terms)?;
        if term {
            (&terms).read_exact(&mut [0])?;
            say("stopping")?;
            if !ignore {
                break;
            }
        }
        if !connection {
            continue;
        }
        if let Ok((stream, _)) = listener.accept() {
            requests.retain(|request| !request.is_finished());
            requests.push(thread::spawn(move || {
                if let Err(error) = answer(stream, slow) {
                    complain(&error);
                }
            }));
        }
    }
    // No new connection from here on; what was accepted is answered.
    drop(listener);
    for request in requests {
        drop(request.join());
    }
    say("stopped")
}

/// Blocks until there is a connection, a TERM, or both.
fn wait(listener: &TcpListener, terms: &UnixStream) -> io::Result<(bool, bool)> {
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = [watch(listener.as_fd()), watch(terms.as_fd())];
    match poll(&mut fds, PollTimeout::NONE) {
        // The handler itself interrupts poll; its byte is there at the next call.
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready = |fd: &PollFd<'_>| fd.any() == Some(true);
    Ok((ready(&fds[0]), ready(&fds[1])))
}

fn answer(stream: TcpStream, slow: Duration) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_string();
    let mut parts = path.split('/').skip(1);
    let sleep = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("sleep"), Some(ms), Some(_), None) => ms.parse().ok().map(Duration::from_millis),
        _ => None,
    };
    let root = path == "/" || path.starts_with("/?");
    // The headers, up to an empty line.
    while !line.trim_end().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    say(&format!("request {path}"))?;
    // A slow handler: nobody ever sends on the channel.
    let (_never, timer) = mpsc::channel::<()>();
    let _ = timer.recv_timeout(sleep.unwrap_or(slow));
    let hello = std::env::var("HELLO").unwrap_or_else(|_| "hello".into());
    let (status, body) = match sleep {
        Some(_) => ("200 OK", format!("{path} done")),
        None if root => ("200 OK", hello),
        None => ("404 Not Found", "no".into()),
    };
    write!(
        reader.into_inner(),
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}\n",
        body.len() + 1
    )
}

fn get(url: &str) -> io::Result<()> {
    let rest = url.strip_prefix("http://").ok_or_else(|| usage("only http://IP:PORT/PATH"))?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(|| usage("no response"))?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    say(body.trim_end())
}

fn ps() -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        // /proc/self and thread-self are links to processes that are listed anyway.
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // One that has just gone cannot be read.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // `pid (name) state ppid …`, where a name may hold parentheses and blanks.
        let parts =
            stat.rsplit_once(") ").and_then(|(head, tail)| Some((head.split_once(" (")?, tail)));
        let Some(((pid, name), tail)) = parts else { continue };
        let mut fields = tail.split(' ');
        let (state, ppid) = (fields.next().unwrap_or("?"), fields.next().unwrap_or("?"));
        say(&format!("{pid} {ppid} {state} {name}"))?;
    }
    Ok(())
}
