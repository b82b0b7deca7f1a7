//! Why did it hang? What the app says of itself when it is asked stands beside what the kernel knows of
//! it: the examples of `docs/debugging.md`.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::pipe;

use super::logging::{Entry, only};
use crate::support::account::Account;
use crate::support::files::Place;
use crate::support::{Fault, Launch, Line, Outcome, Room, Run, need};
use crate::{both_rooms, ensure, ensure_eq};

const JAVA: &str = "/usr/bin/java";
const PYTHON: &str = "/usr/bin/python3";
/// A JVM takes its time where much else runs.
const PATIENCE: Duration = Duration::from_secs(30);

/// As the log of a container: what the app and graceinit write, in the order in which they do.
struct Container {
    run: Run,
    log: Arc<Account>,
}

impl Container {
    fn start(launch: Launch) -> Outcome<Container> {
        let (reader, writer) = pipe()?;
        let log = Account::with_patience("the container's log", File::from(reader), PATIENCE);
        let launch = launch.stdout(writer.try_clone()?).stderr(writer).patience(PATIENCE);
        Ok(Container { run: launch.start()?, log })
    }

    /// Where these lines stand, which must be in this order.
    fn in_order(&self, parts: &[&str]) -> Outcome<Vec<Line>> {
        let lines = self.log.all()?;
        let mut from = 0;
        for part in parts {
            let found = lines[from..].iter().position(|line| line.0.contains(part));
            let Some(place) = found else {
                return Err(Fault::new(format!("no {part:?} after line {from}")));
            };
            from += place + 1;
        }
        Ok(lines)
    }
}

/// The words of the record of a process, by its command.
fn record(lines: &[Line], command: &str) -> Outcome<Line> {
    let found =
        lines.iter().find(|line| line.0.contains("warn: still there") && line.0.contains(command));
    found.cloned().ok_or_else(|| Fault::new(format!("no record of {command}")))
}

/// Its shutdown hook wants a lock whose owner wants another one.
const DEADLOCK: &str = r#"public class Shop {
    static final Object orders = new Object(), stock = new Object();

    static void reserve() {
        synchronized (stock) {
            Thread.yield();
            synchronized (orders) { }
        }
    }

    public static void main(String[] args) throws Exception {
        Thread worker = new Thread(Shop::reserve, "worker");
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            synchronized (orders) {
                worker.start();
                while (worker.getState() != Thread.State.BLOCKED) Thread.onSpinWait();
                synchronized (stock) { System.out.println("saved"); }
            }
        }, "save-orders"));
        System.out.println("serving");
        Thread.currentThread().join();
    }
}
"#;

/// The JVM finds the deadlock itself; it goes on, so the kernel's view comes after it.
fn a_hung_jvm_shows_its_deadlock(room: Room) -> Outcome {
    if !need::program(JAVA) {
        return Ok(());
    }
    let place = Place::new();
    let launch = Launch::graceinit(room)
        .flags("--grace 6s --diagnose QUIT@3s --scope main")
        .command([JAVA, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"])
        .app_arg(place.file("Shop.java", DEADLOCK, 0o644));
    let mut container = Container::start(launch)?;
    container.log.find("serving")?;
    container.run.signal("TERM")?;
    container.run.exits(137)?;
    let lines = container.in_order(&[
        "graceinit: warn: asking the app to say what it is doing signal=QUIT left=",
        "Full thread dump",
        "Found one Java-level deadlock:",
        "\"save-orders\":",
        "Shop.reserve",
        "graceinit: warn: still there pid=",
        "graceinit: warn: the budget is over: killing what is left",
    ])?;
    let record = record(&lines, "Shop.java")?;
    ensure!(record.0.contains(" state=S wchan=futex"), "{record:?}");
    ensure!(record.number("threads")? > 5, "{record:?}");
    ensure_eq!(record.number("connections")?, 0, "connections");
    Ok(())
}

/// It waits for an answer of its database, whatever it is told.
const QUERY: &str = r#"import faulthandler, signal, socket, sys

faulthandler.register(signal.SIGUSR1, all_threads=True)
stopping = False

def stop(*_):
    global stopping
    stopping = True

def fetch(database):
    database.sendall(b'select 1')
    return database.recv(4096)

signal.signal(signal.SIGTERM, stop)
database = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
while not stopping:
    fetch(database)
"#;

/// The line of the program that hangs, and beside it the connection that it waits for.
fn a_hung_python_shows_its_line(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let place = Place::new();
    let database = TcpListener::bind("127.0.0.1:0")?;
    let launch = Launch::graceinit(room)
        .flags("--grace 3s --diagnose USR1@1s")
        .command([PYTHON.as_ref(), place.file("shop.py", QUERY, 0o644).as_os_str()])
        .app_arg(database.local_addr()?.port().to_string());
    let mut container = Container::start(launch)?;
    let (mut connection, _) = database.accept()?;
    let mut query = [0; 8];
    connection.read_exact(&mut query)?;
    container.run.signal("TERM")?;
    container.run.exits(137)?;
    let lines = container.in_order(&[
        "graceinit: warn: asking the app to say what it is doing signal=USR1 left=",
        "Current thread 0x",
        "shop.py\", line 12 in fetch",
        "shop.py\", line 17 in <module>",
        "graceinit: warn: still there pid=",
        "graceinit: warn: the budget is over: killing what is left",
    ])?;
    let record = record(&lines, "shop.py")?;
    ensure!(record.0.contains(" state=S wchan="), "{record:?}");
    ensure_eq!(record.number("threads")?, 1, "threads");
    ensure_eq!(record.number("connections")?, 1, "connections");
    Ok(())
}

/// A program that dumps on QUIT as Go does: on stderr, and that is its end, with code 2. So there is
/// nobody left to be killed.
fn one_that_ends_after_its_dump_is_no_survivor(room: Room) -> Outcome {
    let script = "trap '' TERM; trap 'echo what it is doing >&2; exit 2' QUIT; echo serving; \
                  while :; do sleep 0.1; done";
    let launch = Launch::graceinit(room)
        .flags("-v --grace 10s --diagnose QUIT@9s")
        .flags("--scope main")
        .command(["sh", "-c", script]);
    let mut container = Container::start(launch)?;
    container.log.find("serving")?;
    container.run.signal("TERM")?;
    container.run.exits(2)?;
    let lines = container.in_order(&[
        "graceinit: info: asking the app to stop signal=TERM",
        "graceinit: warn: asking the app to say what it is doing signal=QUIT",
        "what it is doing",
        "graceinit: info: the app ended with code 2",
        "graceinit: info: leaving code=2 reason=signal",
    ])?;
    ensure!(!lines.iter().any(|line| line.0.contains("still there")), "{lines:#?}");
    Ok(())
}

/// A process that waits in the kernel, out of reach of every handler: here for a vfork that never ends.
const UNINTERRUPTIBLE: &str = r#"
import ctypes, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('serving', flush=True)
ctypes.CDLL(None).vfork()
signal.pause()
"#;

/// It hears no diagnose signal, but its record tells the state and where it waits.
fn one_that_waits_in_the_kernel_is_told(room: Room) -> Outcome {
    if !need::program(PYTHON) {
        return Ok(());
    }
    let launch = Launch::graceinit(room).flags("--grace 3s --log-format json").command([
        PYTHON,
        "-c",
        UNINTERRUPTIBLE,
    ]);
    let mut run = launch.start()?;
    run.out.until("serving")?;
    run.signal("TERM")?;
    run.exits(137)?;
    let lines = run.err.all()?;
    let entries: Vec<Entry> =
        lines.iter().map(|line| Entry::of(&line.0)).collect::<Outcome<_>>()?;
    let mut survivors = entries.iter().filter(|entry| entry.is("still-there"));
    let parent = survivors.find(|entry| entry.text("state").is_ok_and(|state| state == "D"));
    let parent = parent.ok_or_else(|| Fault::new("nobody in state D"))?;
    ensure!(!parent.text("wchan")?.is_empty(), "{parent:?}");
    // It is told in the phase in which it hung, and before it is killed.
    ensure_eq!(parent.text("phase")?, "stopping", "phase");
    let place = |fact: &str| entries.iter().position(|entry| entry.is(fact));
    ensure!(place("still-there") < place("deadline-reached"), "{entries:#?}");
    only(&entries, "deadline-reached").map(drop)
}

both_rooms!(
    a_hung_jvm_shows_its_deadlock,
    a_hung_python_shows_its_line,
    one_that_ends_after_its_dump_is_no_survivor,
    one_that_waits_in_the_kernel_is_told,
);
