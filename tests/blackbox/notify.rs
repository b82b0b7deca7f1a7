//! What the app says of itself (sd_notify(3)), who may say it, and what is said upwards.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::support::files::{Fifo, Place};
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Outcome, PATIENCE, Room, Run, need, proc};
use crate::{both_rooms, ensure, ensure_eq};

const PYTHON: &str = "/usr/bin/python3";

/// An app that does what the lines of a FIFO say, and tells of each signal.
const APP: &str = r#"
import array, os, signal, socket, sys, time
stay = False
# Whole: a signal may interrupt a line that is only printed.
def out(*words): os.write(1, (' '.join(map(str, words)) + '\n').encode())
def send(text, fds=()):
    name = os.environ['NOTIFY_SOCKET']
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect('\0' + name[1:] if name[0] == '@' else name)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    s.sendmsg([text.encode('latin-1').decode('unicode_escape').encode('latin-1')], rights)
def barrier():
    r, w = os.pipe()
    send('BARRIER=1', [w])
    os.close(w)
    os.read(r, 1)
    os.close(r)
def got(number, frame):
    out('got', signal.Signals(number).name[3:])
    if number == signal.SIGTERM and stay is not True:
        if stay:
            send('EXTEND_TIMEOUT_USEC=%d' % stay[0])
            barrier()
            end = time.monotonic() + stay[1]
            while time.monotonic() < end: pass
            os._exit(7)
        # Python may run this handler before that of a signal that came earlier: the timer ends it all.
        leaving.append(code)
        # A child has no timer (fork(2)).
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
code = 0
leaving = []
for s in (signal.SIGTERM, signal.SIGQUIT, signal.SIGABRT): signal.signal(s, got)
# A signal that comes just before a read is handled only after it: so no read lasts.
signal.signal(signal.SIGALRM, lambda number, frame: leaving and os._exit(leaving[0]))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
out('ready pid=%d' % os.getpid())
for line in open(sys.argv[1]):
    verb, _, rest = line.rstrip('\n').partition(' ')
    if verb == 'send': send(rest)
    elif verb == 'flood':
        for n in range(int(rest)): send('STATUS=%d' % n)
    elif verb == 'fds':
        for n in range(int(rest)): send('FDSTORE=1', [0] * 253)
    elif verb == 'env': out('env', os.environ.get(rest))
    elif verb == 'code': code = int(rest)
    elif verb == 'stay': stay = True
    elif verb == 'extend': stay = tuple(float(n) for n in rest.split())
    elif verb == 'child':
        child = os.fork()
        if child:
            send('MAINPID=%d' % child)
            os._exit(0)
        out('child pid=%d' % os.getpid())
        continue
    barrier()
    out('done', verb)
while True: signal.pause()
"#;

/// The app, and the end of the FIFO that it listens to.
struct App {
    run: Run,
    pid: i32,
    orders: File,
}

impl App {
    fn start(launch: Launch, fifo: &Fifo) -> Outcome<App> {
        let fifo_path = fifo.path().as_os_str();
        let run = launch.command([PYTHON, "-c", APP]).app_arg(fifo_path).start()?;
        let pid = run.ready()?.number("pid")?;
        Ok(App { pid, orders: fifo.hold()?, run })
    }

    fn order(&mut self, line: &str) -> Outcome {
        Ok(writeln!(self.orders, "{line}")?)
    }

    /// Gives an order and waits until all that it sent was dealt with.
    fn obeys(&mut self, line: &str) -> Outcome {
        self.order(line)?;
        let verb = line.split(' ').next().unwrap_or_default();
        self.run.out.until(&format!("done {verb}")).map(drop)
    }

    fn variable(&mut self, name: &str) -> Outcome<String> {
        self.order(&format!("env {name}"))?;
        Ok(self.run.out.until("env ")?.rest().to_owned())
    }
}

/// A hook that adds the line `ready` to a file.
fn on_ready(place: &Place) -> String {
    format!("sh -c 'echo ready >>{}'", place.text("said"))
}

fn mark(place: &Place) -> Outcome {
    let mut file = File::options().append(true).create(true).open(place.path("said"))?;
    Ok(file.write_all(b"mark\n")?)
}

/// Once the hook has run too.
fn ready_comes_after_the_mark(place: &Place) -> Outcome {
    crate::support::proc::poll("the on-ready hook", || {
        place.read("said").filter(|text| text.contains("ready\n"))
    })?;
    ensure_eq!(place.expect("said")?, "mark\nready\n", "ready too early");
    Ok(())
}

fn launch(room: Room, place: &Place) -> Launch {
    Launch::graceinit(room).flags("--ready notify").flag("--on-ready", on_ready(place))
}

fn ready_is_what_the_app_says(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let mut app = App::start(launch(room, &place), &place.fifo("orders"))?;
    for nonsense in ["READY=0", "READY", "STATUS=warming up", "X_READY=1", "READY=1\\x00x"] {
        app.obeys(&format!("send {nonsense}"))?;
    }
    mark(&place)?;
    app.obeys("send READY=1")?;
    ready_comes_after_the_mark(&place)?;
    app.run.signal("TERM")?;
    app.run.exits(0)
}

/// Neither a neighbour nor somebody outside of the pid namespace, whoever they are.
fn a_stranger_is_not_heard(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let mut app = App::start(launch(room, &place), &place.fifo("orders"))?;
    let name = app.variable("NOTIFY_SOCKET")?;
    ensure!(name.starts_with('/'), "no place for a path: {name}");
    app.run.out.until("done env")?;
    UnixDatagram::unbound()?.send_to(b"READY=1", &name)?;
    if need::root() && need::program("/usr/bin/setpriv") {
        let client = "import os,socket,sys; \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', sys.argv[1])";
        let status = Command::new("/usr/bin/setpriv")
            .args(["--reuid=424242", "--regid=424242", "--clear-groups", PYTHON, "-c", client])
            .arg(&name)
            .status()?;
        ensure!(status.success(), "the stranger could not send: {status}");
    }
    // All that came before the barrier was dealt with then.
    app.obeys("send STATUS=waiting")?;
    mark(&place)?;
    app.obeys("send READY=1")?;
    ready_comes_after_the_mark(&place)?;
    app.run.signal("TERM")?;
    app.run.exits(0)
}

fn floods_and_descriptors_do_no_harm(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let mut app = App::start(launch(room, &place), &place.fifo("orders"))?;
    let init = app.run.init()?;
    let held = || proc::held_at_rest(init);
    let before = proc::poll("rest", held)?;
    app.obeys("flood 2000")?;
    app.obeys("fds 8")?;
    app.obeys(&format!("send {}", "x".repeat(5000)))?;
    app.obeys("send BARRIER=1")?;
    // The barrier's own is being closed when the app hears of it: it is waited for.
    proc::poll("all descriptors to be closed", || (held()? == before).then_some(()))?;
    mark(&place)?;
    app.obeys("send READY=1")?;
    ready_comes_after_the_mark(&place)?;
    app.run.signal("TERM")?;
    app.run.exits(0)
}

fn a_stop_takes_longer_if_the_app_asks(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let flags = "--grace 2 --grace-max 60";
    let mut app = App::start(launch(room, &place).flags(flags), &place.fifo("orders"))?;
    app.obeys("send READY=1")?;
    app.obeys("extend 50000000 2.5")?;
    app.run.signal("TERM")?;
    // Not killed after 2 s.
    app.run.exits(7)
}

fn but_no_longer_than_the_most(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let flags = "--grace 1 --grace-max 2";
    let mut app = App::start(launch(room, &place).flags(flags), &place.fifo("orders"))?;
    app.obeys("send READY=1")?;
    app.obeys("extend 3600000000 3600")?;
    app.run.signal("TERM")?;
    app.run.exits(137)
}

fn a_missed_watchdog_is_a_crash(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    for (code, want) in [(0, 124), (9, 9)] {
        for last in ["STATUS=silent", "WATCHDOG=trigger"] {
            let place = Place::new();
            let told = format!("sh -c 'echo $GRACEINIT_REASON >{}'", place.text("reason"));
            let launch = launch(room, &place)
                .flags("--grace 20 --diagnose QUIT@19s")
                .flag("--post-stop", told);
            let mut app = App::start(launch, &place.fifo("orders"))?;
            app.obeys(&format!("code {code}"))?;
            let interval = if last.ends_with("trigger") { 3_600_000_000u64 } else { 300_000 };
            app.order(&format!("send READY=1\\nWATCHDOG=1\\nWATCHDOG_USEC={interval}"))?;
            app.order(&format!("send {last}"))?;
            app.run.out.find("got QUIT")?;
            app.run.out.find("got TERM")?;
            app.run.exits(want)?;
            ensure_eq!(place.expect("reason")?, "crash\n", "the reason after {last}");
        }
    }
    Ok(())
}

/// As a daemon does that forks itself away: the first process says who comes after it.
fn another_process_becomes_the_main_one(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let mut app = App::start(launch(room, &place), &place.fifo("orders"))?;
    app.obeys("send READY=1")?;
    app.obeys("code 9")?;
    app.order("child")?;
    let child = app.run.out.until("child ")?.number("pid")?;
    ensure!(child != app.pid, "the same process");
    let first = app.pid;
    // Reaped: nobody looks after it any more, and still all goes on.
    if room == Room::Plain {
        crate::support::proc::poll("the end of the first process", || {
            crate::support::proc::process(first).is_none().then_some(())
        })?;
    }
    app.obeys("send STATUS=alone")?;
    ensure!(app.run.ended()?.is_none(), "graceinit ended with the first process");
    app.run.signal("TERM")?;
    app.run.out.until("got TERM")?;
    app.run.exits(9)
}

/// A process that is no part of the app cannot become it.
fn no_stranger_becomes_the_main_one(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let mut app = App::start(launch(room, &place), &place.fifo("orders"))?;
    for pid in ["1", "0", "-1", "2147483647", "x"] {
        app.obeys(&format!("send MAINPID={pid}"))?;
    }
    app.obeys("code 9")?;
    app.run.signal("TERM")?;
    app.run.exits(9)
}

fn systemd_notify_is_understood(room: Room) -> Outcome {
    if !need::program("/usr/bin/systemd-notify") {
        return Ok(());
    }
    let place = Place::new();
    let fifo = place.fifo("gate");
    // It waits for the answer to its barrier, and fails if there is none in 5 s.
    let script = format!(
        "systemd-notify --status=warming && echo status; read x <{}; \
         systemd-notify --ready --pid=$$ --status=up && echo told; exec sleep 1000",
        fifo.path().display()
    );
    let mut run = launch(room, &place).command(["sh", "-c", &script]).start()?;
    run.out.until("status")?;
    mark(&place)?;
    fifo.release()?;
    run.out.until("told")?;
    ready_comes_after_the_mark(&place)?;
    run.signal("TERM")?;
    run.exits(143)
}

/// A manager's socket, as systemd or podman have it.
struct Manager(UnixDatagram);

impl Manager {
    fn new(place: &Place) -> Outcome<Manager> {
        let path = place.path("manager");
        let socket = UnixDatagram::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Manager(socket))
    }

    /// Waits for this message. What else came until then.
    fn hears(&self, text: &str) -> Outcome<Vec<String>> {
        let mut before = Vec::new();
        loop {
            let mut bytes = [0; 5000];
            let length = self.0.recv(&mut bytes).map_err(|error| {
                Fault::new(format!("the manager has not heard {text:?}: {error}; {before:?}"))
            })?;
            let heard = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if heard.starts_with(text) {
                return Ok(before);
            }
            before.push(heard);
        }
    }
}

fn what_the_app_says_is_passed_on(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let manager = Manager::new(&place)?;
    let outer = place.text("manager");
    let dump =
        |file: &str| puppet_line(&format!("to={} environ 'say=that is all'", place.text(file)));
    let launch = launch(room, &place)
        .flags("--grace 5 --grace-max 60")
        .env("NOTIFY_SOCKET", &outer)
        .env("WATCHDOG_USEC", "3600000000")
        .wrapped_by(["sh", "-c", "export WATCHDOG_PID=$$; exec \"$@\"", "sh"])
        .flag("--on-ready", dump("on-ready"))
        .flag("--post-stop", dump("post-stop"));
    let mut app = App::start(launch, &place.fifo("orders"))?;
    let own = app.variable("NOTIFY_SOCKET")?;
    ensure!(own != outer && own != "None", "the app was given {own}");
    ensure_eq!(app.variable("WATCHDOG_USEC")?, "3600000000", "the watchdog");
    ensure_eq!(app.variable("WATCHDOG_PID")?, app.pid.to_string(), "whose watchdog");
    app.order("send STATUS=warming up")?;
    let before = manager.hears("STATUS=warming up")?;
    ensure!(!before.iter().any(|text| text.contains("READY")), "ready too early: {before:?}");
    app.order("send WATCHDOG=1")?;
    manager.hears("WATCHDOG=1")?;
    app.order("send STATUS=up\\nREADY=1")?;
    // First in its datagram: runc looks at nothing else.
    let before = manager.hears("READY=1")?;
    ensure!(!before.iter().any(|text| text.contains("MAINPID")), "{before:?}");
    app.order("send RELOADING=1")?;
    manager.hears("RELOADING=1\nMONOTONIC_USEC=")?;
    app.order("send READY=1")?;
    manager.hears("READY=1")?;
    app.obeys("extend 20000000 0.1")?;
    // A stop would end the hook.
    proc::poll("the on-ready hook", || {
        place.read("on-ready").filter(|text| text.contains("that is all"))
    })?;
    app.run.signal("TERM")?;
    manager.hears("STOPPING=1")?;
    manager.hears("EXTEND_TIMEOUT_USEC=")?;
    app.run.exits(7)?;
    for file in ["on-ready", "post-stop"] {
        let text = place.expect(file)?;
        for name in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"] {
            let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
            ensure!(!text.contains(&hex), "{file} was given {name}");
        }
    }
    Ok(())
}

/// A manager that does not read, or has gone, holds nothing up.
fn a_deaf_manager_does_no_harm(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    for gone in [false, true] {
        let place = Place::new();
        let manager = Manager::new(&place)?;
        if gone {
            drop(manager.0.shutdown(std::net::Shutdown::Both));
        }
        let launch = launch(room, &place).env("NOTIFY_SOCKET", place.text("manager"));
        let mut app = App::start(launch, &place.fifo("orders"))?;
        app.obeys("flood 2000")?;
        app.obeys("send READY=1")?;
        app.run.signal("TERM")?;
        app.run.exits(0)?;
        drop(manager);
    }
    Ok(())
}

/// As s6 has it: a newline on a descriptor.
fn ready_is_a_line_on_a_descriptor(room: Room) -> Outcome {
    let place = Place::new();
    let fifo = place.fifo("gate");
    let script = format!(
        "printf almost >&7; echo begun; read x <{}; echo there >&7; exec 7>&-; exec sleep 1000",
        fifo.path().display()
    );
    let mut run = Launch::graceinit(room)
        .flags("--ready fd:7")
        .flag("--on-ready", on_ready(&place))
        .command(["sh", "-c", &script])
        .start()?;
    run.out.until("begun")?;
    mark(&place)?;
    fifo.release()?;
    ready_comes_after_the_mark(&place)?;
    run.signal("TERM")?;
    run.exits(143)
}

fn a_closed_descriptor_is_no_readiness(room: Room) -> Outcome {
    let place = Place::new();
    let mut run = Launch::graceinit(room)
        .flags("--ready fd:7 --ready-timeout 1")
        .flag("--on-ready", on_ready(&place))
        .command(["sh", "-c", "exec 7>&-; exec sleep 1000"])
        .start()?;
    // Not ready in time.
    run.exits(124)?;
    ensure!(place.read("said").is_none(), "a closed descriptor was taken for readiness");
    Ok(())
}

fn the_socket_leaves_nothing_behind(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let mut app = App::start(launch(room, &place), &place.fifo("orders"))?;
    let name = app.variable("NOTIFY_SOCKET")?;
    ensure!(std::path::Path::new(&name).exists(), "no socket {name}");
    app.run.signal("TERM")?;
    app.run.exits(0)?;
    ensure!(!std::path::Path::new(&name).exists(), "{name} is left");
    Ok(())
}

both_rooms!(
    ready_is_what_the_app_says,
    a_stranger_is_not_heard,
    floods_and_descriptors_do_no_harm,
    a_stop_takes_longer_if_the_app_asks,
    but_no_longer_than_the_most,
    a_missed_watchdog_is_a_crash,
    another_process_becomes_the_main_one,
    no_stranger_becomes_the_main_one,
    systemd_notify_is_understood,
    what_the_app_says_is_passed_on,
    a_deaf_manager_does_no_harm,
    ready_is_a_line_on_a_descriptor,
    a_closed_descriptor_is_no_readiness,
    the_socket_leaves_nothing_behind,
);
