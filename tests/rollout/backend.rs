//! What stands behind the servers that cannot wait themselves. nginx and httpd are asked to pass each
//! request on to this, as they are in front of an application: the handler's time is spent here, the
//! connection of the client is theirs. It is in the driver's process and outlives all replicas, so every
//! drop is the doing of the server or of its init.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::load::{PIECE, expected};
use crate::support::{Fault, Outcome};

pub(crate) struct Backend {
    pub(crate) address: SocketAddrV4,
    stop: Arc<AtomicBool>,
}

/// Enough for a handler that formats a line.
const STACK: usize = 64 * 1024;

impl Backend {
    pub(crate) fn start() -> Outcome<Backend> {
        // Connections may come in bursts: std listens with a backlog of 4096 where the kernel lets it.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let std::net::SocketAddr::V4(address) = listener.local_addr()? else {
            return Err(Fault::new("an IPv4 listener without an IPv4 address"));
        };
        let stop: Arc<AtomicBool> = Arc::default();
        let told = Arc::clone(&stop);
        std::thread::Builder::new().name("backend".into()).spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let handler = std::thread::Builder::new().stack_size(STACK);
                // A client that goes away in the middle is the client's affair.
                drop(handler.spawn(move || drop(serve(stream))));
            }
        })?;
        Ok(Backend { address, stop })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next connection.
        drop(TcpStream::connect(self.address));
    }
}

/// The requests of one connection, until the client closes it.
fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while !line.trim_end().is_empty() {
            line.clear();
            reader.read_line(&mut line)?;
        }
        answer(&mut stream, &path)?;
    }
}

fn answer(stream: &mut TcpStream, path: &str) -> io::Result<()> {
    let body = expected(path);
    let ms = path.split('/').nth(2).and_then(|ms| ms.parse().ok()).unwrap_or(0);
    if !path.starts_with("/stream/") {
        take(Duration::from_millis(ms));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        return stream.write_all(&[head.as_bytes(), &body].concat());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let mut lines = body.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        // Every line is a piece but the last, which comes with the last piece.
        if lines.peek().is_some() {
            take(PIECE);
        }
        write!(stream, "{:x}\r\n{}\r\n", line.len(), String::from_utf8_lossy(line))?;
    }
    stream.write_all(b"0\r\n\r\n")
}

/// The time that a handler takes is the load, not a wait for something: nobody ever sends.
fn take(time: Duration) {
    let (_never, timer) = mpsc::channel::<()>();
    let _ = timer.recv_timeout(time);
}
