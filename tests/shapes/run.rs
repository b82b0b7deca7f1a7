//! One cell of the table: a shape under an init, stopped as a platform stops a container.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::APPS;
use super::shape::{Proof, Request, Shape, Sign, Step};
use crate::support::account::Account;
use crate::support::files::Place;
use crate::support::port::free_port;
use crate::support::{Launch, Outcome, Program, Room, Run, Status, need, proc};

/// What a platform gives a container.
pub(crate) const BUDGET: Duration = Duration::from_secs(7);
/// graceinit keeps the budget itself; a platform's would be longer than what graceinit was given.
const MARGIN: Duration = Duration::from_millis(500);
/// What ends so late did not end by itself: no shape works for so long.
const LATE: Duration = Duration::from_millis(200);
/// How long a shape may take to be ready: some start a JVM or a database beside others.
const PATIENCE: Duration = Duration::from_secs(60);

/// Under what a shape is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// graceinit without a flag.
    Graceinit,
    Main,
    Group,
    Tini,
    DumbInit,
    Catatonit,
}

impl Runner {
    pub(crate) const ALL: [Runner; 6] = [
        Runner::Graceinit,
        Runner::Main,
        Runner::Group,
        Runner::Tini,
        Runner::DumbInit,
        Runner::Catatonit,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Runner::Graceinit => "graceinit",
            Runner::Main => "main",
            Runner::Group => "group",
            Runner::Tini => "tini",
            Runner::DumbInit => "dumb-init",
            Runner::Catatonit => "catatonit",
        }
    }

    pub(crate) fn program(self) -> Program {
        match self {
            Runner::Graceinit | Runner::Main | Runner::Group => Program::Graceinit,
            Runner::Tini => Program::Tini,
            Runner::DumbInit => Program::DumbInit,
            Runner::Catatonit => Program::Catatonit,
        }
    }

    /// The peers as they are without flags, which is how images run them.
    fn flags(self) -> &'static str {
        match self {
            Runner::Graceinit => "--grace 7s",
            Runner::Main => "--grace 7s --scope main",
            Runner::Group => "--grace 7s --scope group",
            Runner::Tini | Runner::DumbInit | Runner::Catatonit => "",
        }
    }
}

/// What became of a shape under an init.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) saved: bool,
    /// How often the app was asked, where that can be seen; of several apps that which was asked most often.
    pub(crate) asked: Option<usize>,
    /// The budget was over, and SIGKILL the end.
    pub(crate) killed: bool,
    pub(crate) took: Duration,
}

impl Cell {
    /// The first of two things that matter, then the second: lower is better.
    pub(crate) fn rank(&self) -> (bool, bool) {
        (!self.saved, self.asked.is_some_and(|asked| asked > 1))
    }

    /// The worse of both.
    pub(crate) fn or_worse(self, other: Cell) -> Cell {
        let key = |cell: &Cell| (cell.rank(), cell.killed, cell.took);
        if key(&other) > key(&self) { other } else { self }
    }
}

/// Whether the shape and the init can be tried here.
pub(crate) fn possible(shape: &Shape, init: Runner) -> bool {
    need::root()
        && need::pid_namespace()
        && (init.program().is_ours() || need::peer(init.program()))
        && shape.needs.iter().all(|path| need::program(&fill(path, "", 0)))
}

/// The text with its marks replaced: the shape's directory, the port, and where `tests/run` installs.
fn fill(text: &str, dir: &str, port: u16) -> String {
    text.replace("@TARGET@", concat!(env!("CARGO_MANIFEST_DIR"), "/target"))
        .replace("@D@", dir)
        .replace("@PORT@", &port.to_string())
}

/// Tries a shape under an init; `graceinit` is another file than the one just built.
pub(crate) fn run(shape: &Shape, init: Runner, graceinit: Option<&Path>) -> Outcome<Cell> {
    let place = Place::new();
    let dir = place.text("");
    let dir = dir.trim_end_matches('/');
    let port = free_port()?;
    for (name, text) in APPS.iter().chain(shape.files) {
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        if let Some(parent) = Path::new(name).parent() {
            std::fs::create_dir_all(place.path(".").join(parent))?;
        }
        place.file(name, fill(text, dir, port), mode);
    }
    let program = init.program();
    let file = graceinit.filter(|_| program.is_ours()).map_or(program.path(), Path::to_path_buf);
    let mut run = Launch::new(program, Room::PidNs)
        .program_file(file)
        .wrapped_by(shape.wrap)
        .unprepared()
        .no_flags()
        .flags(init.flags())
        .command(shape.command.iter().map(|word| fill(word, dir, port)))
        .cwd(dir)
        .env("HOME", dir)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .patience(PATIENCE)
        .start()?;
    let _visitor = shape.visitor.map(|name| Visitor::start(&place, name)).transpose()?;
    let client = shape.request.map(|request| ask(request, &place, port)).transpose()?;
    wait_until_ready(shape, &run, &place)?;

    let mut begun = Instant::now();
    let mut asked_to_stop = false;
    for step in shape.send {
        match step {
            Step::Send(signal) => {
                // The clock starts with the first request to stop.
                if !asked_to_stop {
                    begun = Instant::now();
                    asked_to_stop = *signal != "HUP";
                }
                run.signal(signal)?;
            }
            Step::Until(sign, most) => {
                let most = Duration::from_millis(*most);
                let here = || sign.is_some_and(|sign| is_there(sign, &run, &place));
                // That the sign does not come is no fault of the harness: the cell will tell.
                drop(proc::poll_within(most, "a sign", || here().then_some(())));
            }
        }
    }
    let (status, killed) = end(&mut run, init, begun)?;
    let took = begun.elapsed();
    // Only streams that somebody outside the namespace holds could still be open.
    run.wait()?;
    let client = client.map(|client| client.all()).transpose()?.unwrap_or_default();
    let saved = shape.saved.iter().all(|proof| match proof {
        Proof::File(name) => place.path(name).exists(),
        Proof::Text(name, text) => place.read(name).is_some_and(|all| all.contains(text)),
        Proof::Gone(name) => !place.path(name).exists(),
        Proof::Line(text) => lines(&run).any(|line| line.contains(text)),
        Proof::Answer => client.iter().any(|line| line.0 == "whole"),
        Proof::Code(code) => status == Status::Code(*code),
    });
    let asked = match shape.asked {
        Some(text) => Some(lines(&run).filter(|line| line.contains(text)).count()),
        None => asked_by_files(&place)?,
    };
    Ok(Cell { saved, asked, killed, took })
}

fn lines(run: &Run) -> impl Iterator<Item = String> {
    run.out.so_far().into_iter().chain(run.err.so_far()).map(|line| line.0)
}

fn is_there(sign: Sign, run: &Run, place: &Place) -> bool {
    match sign {
        Sign::File(name) => place.path(name).exists(),
        Sign::Text(name, text) => place.read(name).is_some_and(|all| all.contains(text)),
        Sign::Runs(name) => family(run).iter().any(|process| process.comm == name),
        Sign::Line(text) => lines(run).any(|line| line.contains(text)),
    }
}

/// The processes of the namespace, zombies left out.
fn family(run: &Run) -> Vec<proc::Process> {
    let all = proc::all();
    let mut family: Vec<proc::Process> = Vec::new();
    let mut parents = vec![run.outer_pid()];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.ppid == parent && process.state != 'Z') {
            parents.push(process.pid);
            family.push(process.clone());
        }
    }
    family
}

/// Waits for the shape's signs, and then until each of its processes waits for something: a shell that has just
/// started the app is at its `wait`.
fn wait_until_ready(shape: &Shape, run: &Run, place: &Place) -> Outcome {
    proc::poll_within(PATIENCE, &format!("{}: ready", shape.id), || {
        shape.ready.iter().all(|sign| is_there(*sign, run, place)).then_some(())
    })?;
    proc::poll_within(PATIENCE, &format!("{}: quiet", shape.id), || {
        family(run).iter().all(|process| process.state == 'S').then_some(())
    })
}

/// Waits for the end, and makes it when the budget is over; whether SIGKILL was the end.
fn end(run: &mut Run, init: Runner, begun: Instant) -> Outcome<(Status, bool)> {
    let ours = init.program().is_ours();
    let budget = if ours { BUDGET + MARGIN } else { BUDGET };
    let left = budget.saturating_sub(begun.elapsed());
    let ended = proc::poll_within(left, "the end", || run.ended().ok().flatten());
    if let Ok(status) = ended {
        // The main process may have ended long before: only what it left was killed.
        return Ok((status, ours && begun.elapsed() + LATE >= BUDGET));
    }
    run.signal("KILL")?;
    Ok((run.wait()?, true))
}

/// A client outside the namespace; it ends when dropped.
struct Visitor(Child);

impl Visitor {
    fn start(place: &Place, name: &str) -> Outcome<Visitor> {
        let mut command = Command::new(place.path(name));
        command.current_dir(place.path(".")).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Visitor(command.spawn()?))
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// How often an app was asked by what the apps wrote, a byte each time; of several that which was asked most often.
fn asked_by_files(place: &Place) -> Outcome<Option<usize>> {
    let mut most = None;
    for entry in std::fs::read_dir(place.path("."))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("asked") {
            most = most.max(Some(std::fs::read(entry.path())?.len()));
        }
    }
    Ok(most)
}

/// Makes a request as soon as the server listens, and reads the answer in the background.
fn ask(request: Request, place: &Place, port: u16) -> Outcome<Arc<Account>> {
    let ask = b"GET /body HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    match request {
        Request::Unix(name) => {
            let path = place.path(name);
            let connect = || UnixStream::connect(&path).ok();
            read(ask, proc::poll_within(PATIENCE, "a connection", connect)?)
        }
        Request::Tcp => {
            let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
            read(ask, proc::poll_within(PATIENCE, "a connection", connect)?)
        }
    }
}

fn read(ask: &[u8], mut stream: impl Read + Write + Send + 'static) -> Outcome<Arc<Account>> {
    stream.write_all(ask)?;
    Ok(Account::of("the client", stream))
}
