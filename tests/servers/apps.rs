//! What the application servers have in common: a profile to start them with, and work in flight that the
//! test holds at a FIFO. So a test knows that the work had begun when the stop came, and decides when it
//! may end: only after the server has said that it is stopping, or never.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

pub(super) use super::common::free_address;
use crate::ensure;
use crate::support::files::{Fifo, Place};
use crate::support::{Fault, Launch, Line, Outcome, Room, Run, Status, need, proc};

/// Interpreters take a second to start where nothing else runs, and tests run side by side.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What the handlers answer when they have read the FIFO to its end.
const ANSWER: &str = "whole";

/// How graceinit is told to stop the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// With nothing said: the stop request as received, to the app's group.
    Plain,
    /// With the profile of this name.
    Profile(&'static str),
}

impl How {
    /// A launch that has these settings and says what it does.
    pub(super) fn launch(self) -> Launch {
        let launch = Launch::graceinit(Room::PidNs).flags("-v --grace 60s").patience(PATIENCE);
        match self {
            How::Plain => launch.words(["--scope", "group"]),
            How::Profile(name) => launch.words(["--profile", name]),
        }
    }
}

/// Whether these programs are there, and pid namespaces.
pub(super) fn needs(programs: &[&str]) -> bool {
    need::pid_namespace() && programs.iter().all(|program| need::program(program))
}

/// Where the work of one test waits.
pub(super) struct Gate {
    pub(super) place: Place,
    fifo: Fifo,
}

impl Gate {
    pub(super) fn new() -> Gate {
        let place = Place::new();
        let fifo = place.fifo("gate");
        Gate { place, fifo }
    }

    /// The path of the FIFO, for the server's program.
    pub(super) fn path(&self) -> String {
        self.place.text("gate")
    }

    /// Waits until the work has begun. It ends when what this gives is dropped.
    pub(super) fn begun(&self) -> Outcome<File> {
        self.fifo.hold()
    }

    /// Waits until nobody has the FIFO open for reading: the one who did the work has gone.
    pub(super) fn deserted(&self) -> Outcome {
        let open =
            || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(self.fifo.path());
        let gone = || open().is_err_and(|error| error.raw_os_error() == Some(libc::ENXIO));
        proc::poll_within(PATIENCE, "the end of the work", || gone().then_some(()))
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was answered.
    Whole,
    /// The connection ended without an answer, or with an error in its place.
    CutOff,
}

/// A server with a request in it.
pub(super) struct Busy {
    pub(super) run: Run,
    client: TcpStream,
    held: Option<File>,
}

impl Busy {
    /// Starts the server and makes a request, which is being worked on when this returns.
    pub(super) fn start(launch: Launch, gate: &Gate, address: SocketAddrV4) -> Outcome<Busy> {
        let run = launch.start()?;
        let connect = || TcpStream::connect(address).ok();
        let mut client = proc::poll_within(PATIENCE, "a connection", connect)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let held = Some(gate.begun()?);
        Ok(Busy { run, client, held })
    }

    /// Asks graceinit to stop, and waits until the server's output (one of both) says that it is on it.
    pub(super) fn stop(&self, signal: &str, sign: &str) -> Outcome {
        self.run.signal(signal)?;
        said(&self.run, sign).map(drop)
    }

    /// Lets the work go on and end.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// What the client gets, and how graceinit ends.
    pub(super) fn end(mut self) -> Outcome<(Fate, Status)> {
        let mut answer = Vec::new();
        match self.client.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error.into()),
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let fate = if answer.is_empty() || answer.starts_with("HTTP/1.1 500") {
            Fate::CutOff
        } else {
            let good = answer.starts_with("HTTP/1.1 200") && answer.contains(ANSWER);
            ensure!(good, "a strange answer: {answer:?}");
            Fate::Whole
        };
        Ok((fate, self.run.wait()?))
    }
}

/// Waits for a line with this in what the server or graceinit prints.
pub(super) fn said(run: &Run, sign: &str) -> Outcome<Line> {
    let look = || {
        let lines = [run.err.so_far(), run.out.so_far()].concat();
        lines.into_iter().find(|line| line.0.contains(sign))
    };
    proc::poll_within(PATIENCE, &format!("a line with {sign:?}"), look)
        .map_err(|fault| Fault::new(fault.reason()))
}
