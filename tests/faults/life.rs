//! The lives, and what is seen of one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::port::free_port;
use crate::support::trace::{Injection, Seen, follow};
use crate::support::{Fault, Launch, Outcome, Room, Run, Status, proc};

/// What graceinit has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// Signals, orphans, a helper that is left behind.
    Plain,
    /// Hooks of all kinds besides.
    Hooks,
    /// A tree of processes, one of which has to be killed, and a diagnose signal.
    Tree,
    /// Hooks, observer, drain, notify socket, report, metrics and ready file.
    Everything,
}

/// The exit code of the app.
pub(crate) const CODE: i32 = 7;
/// What is waited for and may never come, as a call failed on which it depends.
const SOON: Duration = Duration::from_millis(600);
/// After the budget, before a life counts as one that does not end.
const LIMIT: Duration = Duration::from_secs(6);

impl Life {
    pub(crate) const ALL: [Life; 4] = [Life::Plain, Life::Hooks, Life::Tree, Life::Everything];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Life::Plain => "plain",
            Life::Hooks => "hooks",
            Life::Tree => "tree",
            Life::Everything => "everything",
        }
    }

    fn flags(self) -> &'static str {
        match self {
            Life::Plain => "--grace 1s",
            Life::Hooks => {
                "--grace 1s --post-stop-timeout 500ms -vv --log-format json --hook-timeout 300ms \
                --hook-retries 1 --hook-backoff 10ms"
            }
            Life::Tree => "--grace 700ms -vv --log-format json --scope tree --diagnose USR2@100ms",
            Life::Everything => {
                "--grace 1s --post-stop-timeout 500ms -vv --log-format json --hook-timeout 300ms \
                --hook-retries 1 --hook-backoff 10ms --ready notify --grace-max 1500ms \
                --drain-delay 30ms --drain-idle 30ms"
            }
        }
    }

    /// The longest time that a stop may take: the budget with `--grace-max`, the post-stop hooks, the dead-man timer after
    /// them, and as much again for a machine that has other work.
    pub(crate) fn longest(self) -> Duration {
        Duration::from_millis(match self {
            Life::Plain => 1000 + 500,
            Life::Hooks => 1000 + 500 + 500,
            Life::Tree => 700 + 500,
            Life::Everything => 1500 + 500 + 500,
        }) + Duration::from_secs(1)
    }

    fn has_hooks(self) -> bool {
        matches!(self, Life::Hooks | Life::Everything)
    }

    /// The processes that are to be told to stop, each once.
    pub(crate) fn asked(self) -> &'static [&'static str] {
        match self {
            Life::Tree => &["", "helper: ", "worker: ", "session: ", "grandchild: ", "stubborn: "],
            _ => &["", "helper: "],
        }
    }
}

/// What was seen of a life.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// `None`: it did not end.
    pub(crate) status: Option<Status>,
    /// From the stop request to the end.
    pub(crate) took: Duration,
    pub(crate) seen: Seen,
    /// The account of the app and the processes that it has started.
    pub(crate) out: Vec<String>,
    pub(crate) log: Vec<Value>,
    /// Lines of the log that are no JSON.
    pub(crate) words: Vec<String>,
    /// Children of graceinit that had ended and were not reaped.
    pub(crate) zombies: usize,
    /// What the app, the hooks and graceinit have left in the file system, and what was answered.
    pub(crate) left: BTreeMap<&'static str, String>,
}

/// What lives outside of the container for a life with everything on.
struct Outside {
    address: String,
    /// The app's listener, and an idle connection to it.
    _served: (TcpListener, TcpStream, TcpStream),
}

impl Outside {
    fn new() -> Outcome<(Outside, u16)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let (mut server, _) = listener.accept()?;
        // A request that is answered.
        let mut word = [0; 200];
        client.write_all(&word)?;
        server.read_exact(&mut word)?;
        server.write_all(&word)?;
        client.read_exact(&mut word)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        Ok((Outside { address, _served: (listener, client, server) }, port))
    }

    /// The status of an answer to GET /readyz.
    fn asked(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(String::from_utf8_lossy(&head[9..]).into_owned())
    }
}

/// Whether it comes within the time in which it comes if nothing fails.
fn soon(mut is_there: impl FnMut() -> bool) -> bool {
    proc::poll_within(SOON, "it", || is_there().then_some(())).is_ok()
}

/// Lives this life while the call fails, and looks at it from outside.
pub(crate) fn live(
    life: Life,
    injection: Option<Injection>,
    graceinit: Option<&Path>,
) -> Outcome<Sight> {
    let place = Place::new();
    let (orphans, ready) = (place.fifo("orphans"), place.fifo("go"));
    let mut launch = Launch::graceinit(Room::PidNs).flags(life.flags());
    if let Some(graceinit) = graceinit {
        launch = launch.program_file(graceinit);
    }
    // `write:` makes no file.
    place.file("pre", "", 0o666);
    let note = |hook: &str| puppet_line(&format!("append={}:{hook}", place.text("hooks")));
    if life.has_hooks() {
        launch = launch
            .flag("--on-reload", note("reload"))
            .flag("--pre-stop", format!("write:{} pre", place.text("pre")))
            .flag("--pre-stop", puppet_line("say=words complain=words exit=0"))
            .flag("--on-stop", note("on"))
            .flag("--on-stop", puppet_line("exit=1"))
            .flag("--post-stop", note("post"));
    }
    let mut outside = None;
    if life == Life::Everything {
        let (made, port) = Outside::new()?;
        launch = launch
            .flag("--on-ready", note("ready"))
            .flag("--listen", format!("unix:{}", place.text("socket")))
            .flag("--listen", &made.address)
            .flag("--drain", port.to_string())
            .flag("--report", place.text("report"))
            .flag("--metrics-file", place.text("metrics.prom"))
            .flag("--ready-file", place.text("ready"));
        outside = Some(made);
    }
    let saved = place.text("saved");
    let mut app = format!(
        "block spawn=double:name=helper;block;ready;helper=30:{saved} \
        spawn=double:name=holder;block;ready;orphans=3;read={};release;exit=0 ",
        orphans.path().display()
    );
    app.push_str(&match life {
        Life::Tree => format!(
            "spawn=group:name=worker;block;ready;echo=TERM:0 \
            spawn=setsid:name=session;block;spawn=same:name=grandchild|block|ready|echo=TERM:0;ready;echo=TERM:0 \
            spawn=double:name=stubborn;block;ready;echo ready echo=USR2:{CODE}"
        ),
        Life::Everything => {
            format!("ready read={} notify=READY=1 echo=TERM:{CODE}", ready.path().display())
        }
        Life::Plain | Life::Hooks => format!("ready echo=TERM:{CODE}"),
    });
    let mut run = launch.app(&app).start()?;
    run.out.until("ready ")?;
    run.out.find("holder: orphans ")?;
    let pid = run.init()?;

    let (tell, told) = mpsc::channel();
    let tracer = std::thread::spawn(move || follow(pid, injection, move || _ = tell.send(())));
    // A tracer that fails drops its end.
    if told.recv().is_err() {
        let error = tracer.join().expect("no panic").err();
        return Err(Fault::new(format!("unable to trace: {error:?}")));
    }
    let mut sight = Sight::default();
    if life == Life::Everything {
        ready.release()?;
        soon(|| place.path("ready").exists() && noted(&place).contains("ready"));
    }
    drop(run.signal("USR1"));
    soon(|| run.out.count("got USR1 ") > 0);
    drop(run.signal("HUP"));
    soon(|| {
        let reloaded = !life.has_hooks() || noted(&place).contains("reload");
        reloaded && run.out.count("got HUP ") > 0
    });
    if let Some(outside) = &outside {
        let answer = outside.asked().unwrap_or_else(|error| format!("{:?}", error.kind()));
        sight.left.insert("/readyz", answer);
    }
    orphans.release()?;
    // They end at once; the last of them may be a zombie for a moment.
    soon(|| run.out.count("holder: read ") > 0);
    if !soon(|| zombies(pid) == 0) {
        sight.zombies = zombies(pid);
    }
    let asked = Instant::now();
    drop(run.signal("TERM"));
    sight.status = run.wait_within(life.longest() + LIMIT).ok();
    sight.took = asked.elapsed();
    if sight.status.is_none() {
        drop(crate::support::sys::kill(pid, libc::SIGKILL));
    }
    sight.seen = tracer.join().expect("no panic")?;
    look_around(&mut sight, &place, &run);
    Ok(sight)
}

fn noted(place: &Place) -> String {
    place.read("hooks").unwrap_or_default()
}

fn zombies(pid: i32) -> usize {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter(|pid| proc::process(*pid).is_some_and(|it| it.state == 'Z')).count()
}

fn look_around(sight: &mut Sight, place: &Place, run: &Run) {
    sight.out = run.out.so_far().into_iter().map(|line| line.0).collect();
    for line in run.err.so_far() {
        match serde_json::from_str(&line.0) {
            Ok(value) => sight.log.push(value),
            Err(_) => sight.words.push(line.0),
        }
    }
    let left = &mut sight.left;
    for name in ["saved", "hooks", "pre"] {
        left.insert(name, place.read(name).unwrap_or_default().trim().replace('\n', " "));
    }
    let report: Option<Value> =
        place.read("report").and_then(|text| serde_json::from_str(&text).ok());
    let code = report.map(|report| report["exit"]["code"].to_string());
    left.insert("report", code.unwrap_or_else(|| "none".to_owned()));
    let metrics = place
        .read("metrics.prom")
        .is_some_and(|text| text.ends_with("# EOF\n") || !text.is_empty());
    left.insert("metrics file", metrics.to_string());
    left.insert("ready file", place.path("ready").exists().to_string());
}
