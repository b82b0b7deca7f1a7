//! What can make a system call wait for ever: a terminal that is not read, a file system whose server does not answer.
//! PID 1 goes on.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::pty::Pty;
use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, Room, Run, Status, need, proc, sys};
use crate::{both_rooms, ensure, ensure_eq};

const PYTHON: &str = "/usr/bin/python3";

/// A hook that prints far more than any terminal or pipe holds.
const PRINTS: &str = "sh -c 'i=0; while [ $i -lt 1500 ]; do echo \"$i ................................................\
    ..................................................................\"; i=$((i+1)); done'";

/// Lines of a hook in the log, more than fit; signals; then the stop.
fn is_served_and_stopped(run: &mut Run) -> Outcome {
    is_served(run)?;
    run.signal("TERM")?;
    run.exits(3)
}

fn is_served(run: &mut Run) -> Outcome {
    run.ready()?;
    forwards(run)
}

fn forwards(run: &mut Run) -> Outcome {
    run.signal("HUP")?;
    run.out.until("got HUP ")?;
    for _ in 0..10 {
        run.signal("USR1")?;
        run.out.until("got USR1 ")?;
    }
    Ok(())
}

/// Neither side of the terminal is the controlling terminal.
fn talkative(room: Room, pty: &Pty) -> Outcome<Launch> {
    let launch = Launch::graceinit(room).flags("-vvv").flag("--on-reload", PRINTS);
    Ok(launch.app("block ready echo=TERM:3").stderr(pty.slave()?))
}

fn a_terminal_that_is_not_read(room: Room) -> Outcome {
    let pty = Pty::open()?;
    is_served_and_stopped(&mut talkative(room, &pty)?.start()?)?;
    let text = pty.available()?;
    ensure!(text.contains("graceinit: debug: "), "nothing was written: {text:?}");
    Ok(())
}

fn a_terminal_that_was_stopped_by_ctrl_s(room: Room) -> Outcome {
    let pty = Pty::open()?;
    pty.type_in("\x13")?;
    is_served_and_stopped(&mut talkative(room, &pty)?.start()?)
}

/// Every line begins at the beginning of a line, and what is missing is counted.
fn lines_are_whole_when_the_terminal_is_read_again(room: Room) -> Outcome {
    let pty = Pty::open()?;
    let mut run = talkative(room, &pty)?.start()?;
    is_served(&mut run)?;
    let first = pty.available()?;
    run.signal("TERM")?;
    run.exits(3)?;
    let all = first + &pty.available()?;
    ensure!(all.contains("dropped: stderr was not read"), "not counted: {all}");
    let whole = |line: &str| line.is_empty() || line.starts_with("graceinit: ");
    let torn: Vec<_> = all.split("\r\n").filter(|line| !whole(line)).collect();
    ensure_eq!(torn, Vec::<&str>::new(), "lines that begin within a line");
    ensure!(all.ends_with("\r\n"), "the last line has no end: {all}");
    Ok(())
}

/// Without /proc the terminal cannot be opened again, so a helper writes.
fn a_terminal_without_proc(room: Room) -> Outcome {
    if !need::root() {
        return Ok(());
    }
    let script = "mount -t tmpfs none /proc && exec \"$@\"";
    let without_proc = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let pty = Pty::open()?;
    is_served_and_stopped(&mut talkative(room, &pty)?.wrapped_by(without_proc).start()?)?;
    let text = pty.available()?;
    ensure!(text.contains("graceinit: "), "nothing was written: {text:?}");
    // One that is read gets every line, the last one included.
    let pty = Pty::open()?;
    let launch = Launch::graceinit(room).flags("-v").app("block ready echo=TERM:3");
    let mut run = launch.wrapped_by(without_proc).stderr(pty.slave()?).start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(3)?;
    let text = pty.available()?;
    ensure!(text.trim_end().lines().last().is_some_and(|line| line.contains("leaving")), "{text}");
    Ok(())
}

/// A file system of [`fuse.py`](fuse.py). Its requests end in errors when it is dropped.
struct Silent {
    place: Place,
    server: Child,
    said: BufReader<ChildStdout>,
}

impl Silent {
    /// It never answers this request. `None`: it cannot be mounted here.
    fn mount(request: &str) -> Outcome<Option<Silent>> {
        Silent::mounted(&[request])
    }

    /// It answers this request until it is told to be silent.
    fn mount_for_now(request: &str) -> Outcome<Option<Silent>> {
        Silent::mounted(&[request, "later"])
    }

    fn mounted(words: &[&str]) -> Outcome<Option<Silent>> {
        if !(need::root() && need::program(PYTHON) && need::met(fuse_is_there(), "FUSE")) {
            return Ok(None);
        }
        let place = Place::new();
        let mut server = Command::new(PYTHON)
            .args(["-c", include_str!("fuse.py"), &place.text("")])
            .args(words)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = server.stdout.take().ok_or_else(|| Fault::new("no output"))?;
        let mut silent = Silent { place, server, said: BufReader::new(stdout) };
        silent.says("ready")?;
        Ok(Some(silent))
    }

    fn be_silent(&mut self) -> Outcome {
        sys::kill(i32::try_from(self.server.id())?, libc::SIGUSR1)?;
        self.says("silent")
    }

    /// Waits for a line. It comes, or the server has ended.
    fn says(&mut self, expected: &str) -> Outcome {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure_eq!(line.trim(), expected, "the server's line");
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.place.path("f")
    }
}

fn fuse_is_there() -> bool {
    File::open("/dev/fuse").is_ok()
}

impl Drop for Silent {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
        drop(Command::new("umount").args(["--lazy", &self.place.text("")]).status());
    }
}

/// Sends a descriptor of the file and closes its own copy.
const SENDER: &str = "
import os, signal, socket, sys
def stop(*_): os._exit(5)
signal.signal(signal.SIGTERM, stop)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print('ready', flush=True)
signal.sigwait([signal.SIGUSR1])
fd = os.open(sys.argv[1], os.O_RDWR)
for text in sys.argv[2:]: socket.send_fds(s, [text.encode()], [fd])
s.send(b'STATUS=behind')
print('sent', flush=True)
while True: signal.pause()
";

/// PID 1 neither closes it nor waits, and reads the message behind it. (Not in a pid namespace: a process that waits
/// for the file system keeps the kernel from ending the namespace.)
#[test]
fn a_descriptor_on_the_notify_socket_whose_close_hangs() -> Outcome {
    let Some(mut silent) = Silent::mount("flush")? else { return Ok(()) };
    let mut run = Launch::graceinit(Room::Plain)
        .flags("-v --grace 2s --grace-max 4s")
        .command([PYTHON, "-c", SENDER])
        .app_arg(silent.file())
        .app_arg("FDSTORE=1")
        .app_arg("BARRIER=1")
        .start()?;
    run.out.until("ready")?;
    run.signal("USR1")?;
    run.out.until("sent")?;
    silent.says("asked")?;
    silent.says("asked")?;
    run.err.find("behind")?;
    run.signal("TERM")?;
    // The app itself hangs in its exit, so it counts as one that had to be killed, or it is a moment quicker.
    let status = run.wait()?;
    ensure!(matches!(status, Status::Code(5 | 137)), "{status}");
    Ok(())
}

/// The log lies on it.
#[test]
fn a_log_on_a_file_system_that_does_not_answer() -> Outcome {
    let Some(mut silent) = Silent::mount("write")? else { return Ok(()) };
    let log = OpenOptions::new().append(true).open(silent.file())?;
    let mut run = Launch::graceinit(Room::Plain)
        .flags("-vvv")
        .flag("--on-reload", PRINTS)
        .app("block ready echo=TERM:3")
        .stderr(log)
        .start()?;
    is_served_and_stopped(&mut run)?;
    silent.says("asked")
}

/// A file lies on it: the start is given up, after some seconds or when a stop is requested, and nothing was started.
#[test]
fn a_file_that_cannot_be_opened_because_its_file_system_does_not_answer() -> Outcome {
    for (option, request, stop) in [
        ("--report", "open", true),
        ("--metrics-file", "create", true),
        ("--ready-file", "unlink", true),
        ("--report", "write", true),
        ("--report", "open", false),
    ] {
        let Some(mut silent) = Silent::mount(request)? else { return Ok(()) };
        let launch = Launch::graceinit(Room::Plain).flag(option, silent.file());
        let mut run = launch.app("say=started").start()?;
        silent.says("asked")?;
        if stop {
            run.signal("TERM")?;
        }
        run.exits(125)?;
        let said = run.err.find("graceinit: fatal: unable to ")?.0;
        ensure!(said.contains("does not answer; name a"), "{option} {request}: {said}");
        ensure!(run.out.all()?.is_empty(), "{option} {request}: the app was started");
    }
    Ok(())
}

/// The report lies on it, and it stops answering while the app runs. Not even graceinit's exit, in which the kernel
/// closes the report, waits for it.
#[test]
fn a_report_on_a_file_system_that_does_not_answer_any_more() -> Outcome {
    for request in ["write", "flush"] {
        let Some(mut silent) = Silent::mount_for_now(request)? else { return Ok(()) };
        let mut run = Launch::graceinit(Room::Plain)
            .flag("--report", silent.file())
            .app("block ready echo=TERM:3")
            .start()?;
        run.ready()?;
        silent.be_silent()?;
        forwards(&mut run)?;
        run.signal("TERM")?;
        run.exits(3)?;
        silent.says("asked")?;
    }
    Ok(())
}

/// The file of --ready-file lies on it, and cannot be removed: the exit does not wait for it, and the log says so.
#[test]
fn a_ready_file_that_stays_is_said() -> Outcome {
    let Some(mut silent) = Silent::mount_for_now("unlink")? else { return Ok(()) };
    let mut run = Launch::graceinit(Room::Plain)
        .flag("--ready-file", silent.file())
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    silent.be_silent()?;
    run.signal("TERM")?;
    run.exits(3)?;
    run.err.find("unable to remove ")?;
    silent.says("asked")
}

/// The file of --ready-file lies on it. The helper that makes the file is no part of the tree: no signal is sent to it,
/// no stop waits for it, and no record of the survivors names it.
#[test]
fn the_helper_that_makes_the_ready_file_is_no_leftover() -> Outcome {
    for (flags, app, code) in [
        ("--grace 3600s --scope auto", "block ready echo=TERM:3", 3),
        ("--grace 3600s --scope group", "block ready echo=TERM:3", 3),
        ("--grace 3600s --scope tree", "block ready echo=TERM:3", 3),
        ("--grace 1s --scope tree", "block ready echo", 137),
    ] {
        let Some(mut silent) = Silent::mount("create")? else { return Ok(()) };
        let place = Place::new();
        let mut run = Launch::graceinit(Room::Plain)
            .flags(flags)
            .flag("--ready-file", silent.place.text("made"))
            .flag("--report", place.text("report"))
            .app(app)
            .start()?;
        let app = run.ready()?.number("pid")?;
        silent.says("asked")?;
        let helper = helper(&run, app)?;
        run.signal("USR1")?;
        run.out.expect("got USR1 ")?;
        run.signal("TERM")?;
        run.out.expect("got TERM ")?;
        // It blocks all signals, so one that was sent to it is pending.
        for field in ["SigPnd", "ShdPnd"] {
            ensure_eq!(proc::mask(helper, field), Some(0), "{flags}: {field} of the helper");
        }
        run.exits(code)?;
        let report: serde_json::Value = serde_json::from_str(&place.expect("report")?)?;
        let none = Vec::new();
        let survivors = report["survivors"].as_array().unwrap_or(&none);
        let pids: Vec<_> = survivors.iter().map(|survivor| survivor["pid"].clone()).collect();
        let expected = if code == 137 { vec![serde_json::json!(app)] } else { Vec::new() };
        ensure_eq!(pids, expected, "{flags}: survivors in the report");
        ensure!(!run.err.so_far().iter().any(|line| line.0.contains("leftover")), "{flags}");
    }
    Ok(())
}

/// The one child of graceinit beside the app.
fn helper(run: &Run, app: i32) -> Outcome<i32> {
    let children: Vec<_> = proc::children(run.init()?).into_iter().map(|child| child.pid).collect();
    let others: Vec<i32> = children.iter().copied().filter(|pid| *pid != app).collect();
    ensure_eq!(others.len(), 1, "children beside the app {app}: {children:?}");
    Ok(others[0])
}

/// graceinit has inherited a descriptor of it. (Not in a pid namespace, as above.)
#[test]
fn an_inherited_descriptor_whose_close_hangs() -> Outcome {
    const INHERITS: &str = "
import os, sys
for path in sys.argv[1:3]: os.set_inheritable(os.open(path, os.O_RDWR), True)
os.execv(sys.argv[3], sys.argv[3:])
";
    let Some(mut silent) = Silent::mount("flush")? else { return Ok(()) };
    let place = Place::new();
    let other = place.file("other", "", 0o644);
    let mut run = Launch::graceinit(Room::Plain)
        .wrapped_by([PYTHON, "-c", INHERITS, &silent.place.text("f"), &place.text("other")])
        .flags("--grace 1s --post-stop-timeout 100ms --grace-max 30s")
        .app("block ready echo=TERM:3")
        .start()?;
    run.ready()?;
    silent.says("asked")?;
    forwards(&mut run)?;
    let init = run.init()?;
    let targets: Vec<_> = std::fs::read_dir(format!("/proc/{init}/fd"))?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .collect();
    for inherited in [silent.file(), other] {
        ensure!(!targets.contains(&inherited), "held: {targets:?}");
    }
    run.signal("TERM")?;
    run.out.until("got TERM ")?;
    // The app hangs in its exit, in which the kernel closes the descriptor: it cannot be killed, and is given up.
    run.exits(137)
}

/// The helper that writes the log is killed with all other processes at the end of the budget. What it has not read by
/// then is written by the next one.
#[test]
fn a_log_on_a_slow_file_system_has_its_last_lines() -> Outcome {
    let Some(mut slow) = Silent::mount("slow")? else { return Ok(()) };
    let log = OpenOptions::new().append(true).open(slow.file())?;
    let mut run = Launch::graceinit(Room::PidNs)
        .flags("-vvv --grace 1s")
        .app("ignore=TERM ready pause")
        .stderr(log)
        .start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(137)?;
    slow.server.kill()?;
    let mut text = String::new();
    slow.said.read_to_string(&mut text)?;
    let lines: Vec<&str> = text.lines().collect();
    for expected in ["still there", "entering phase=killed", "the app ended with signal KILL"] {
        ensure!(lines.iter().any(|line| line.contains(expected)), "no line {expected:?}:\n{text}");
    }
    ensure!(!text.contains("dropped"), "{text}");
    ensure!(lines.last().is_some_and(|line| line.contains("leaving code=137")), "{text}");
    Ok(())
}

both_rooms!(
    a_terminal_that_is_not_read,
    a_terminal_that_was_stopped_by_ctrl_s,
    lines_are_whole_when_the_terminal_is_read_again,
    a_terminal_without_proc,
);
