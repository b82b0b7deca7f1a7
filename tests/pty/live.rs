//! The line that a stop in progress shows at a terminal.

use std::process::Command;

use super::terminal::{Terminal, bare};
use super::{CTRL_C, telling_app};
use crate::support::{Outcome, Program, Status, sys};
use crate::{ensure, ensure_eq};

/// Takes a line back.
const ERASE: &str = "\r\x1b[K";

/// graceinit at a terminal that can erase, in front of an app that never ends.
fn start(flags: &str, term: &str) -> Outcome<Terminal> {
    let mut command = bare("bash");
    let line = format!("exec {} {flags} -- {}", Program::Graceinit.path().display(), telling_app());
    command.args(["-c", &line]).env("TERM", term);
    lead(&command)
}

fn lead(command: &Command) -> Outcome<Terminal> {
    let mut terminal = Terminal::lead(command)?;
    terminal.expect("ready pid=")?;
    Ok(terminal)
}

fn stop(terminal: &mut Terminal) -> Outcome {
    let app = terminal.process("puppet")?;
    sys::kill(app.ppid, libc::SIGTERM)?;
    terminal.expect("got TERM ").map(drop)
}

/// The phase, what is waited for, the seconds that count down, and what Ctrl-C would do; it does it.
#[test]
fn it_counts_down_and_ctrl_c_kills() -> Outcome {
    let mut terminal = start("--grace 60s", "xterm")?;
    stop(&mut terminal)?;
    let line = "graceinit: stopping: waiting for the app, 60 s left; Ctrl-C again to kill";
    terminal.expect(&format!("{ERASE}{line}"))?;
    terminal.expect(&format!("{ERASE}{}", line.replace("60", "59")))?;
    terminal.send(CTRL_C)?;
    // The log is not written into that line.
    terminal.expect(&format!("{ERASE}graceinit: warn: second stop request"))?;
    ensure_eq!(terminal.wait()?, Status::Code(137), "the end");
    Ok(())
}

/// What is waited for: the hooks by their names, then what they left; the line is gone in the end.
#[test]
fn it_names_the_hooks() -> Outcome {
    let mut terminal = start("--grace 4s --on-stop sleep:2500ms", "xterm")?;
    let app = terminal.process("puppet")?;
    sys::kill(app.ppid, libc::SIGTERM)?;
    terminal.expect("graceinit: on-stop: waiting for the hook on-stop-1, 4 s left")?;
    terminal.expect("waiting for the app, 1 s left; Ctrl-C again to kill")?;
    ensure_eq!(terminal.wait()?, Status::Code(137), "the end");
    terminal.expect(ERASE).map(drop)
}

/// A terminal that cannot take a line back is not written full of them; nor is a second Ctrl-C promised
/// what it will not do.
#[test]
fn only_where_it_can_be_taken_back() -> Outcome {
    let mut terminal = start("--grace 1s", "dumb")?;
    stop(&mut terminal)?;
    ensure_eq!(terminal.wait()?, Status::Code(137), "the end");
    ensure_eq!(terminal.count("waiting for the app"), 0, "lines on a dumb terminal");
    let mut terminal = start("--grace 2s --stop-again ignore", "xterm")?;
    stop(&mut terminal)?;
    terminal.expect("waiting for the app, 2 s left")?;
    terminal.wait()?;
    ensure!(terminal.count("to kill") == 0, "a Ctrl-C that is ignored");
    Ok(())
}

/// Where a program reads the log, nothing but the log is written, even at a terminal.
#[test]
fn not_between_lines_of_json() -> Outcome {
    let mut terminal = start("--grace 1s --log-format json", "xterm")?;
    stop(&mut terminal)?;
    terminal.expect("\"fact\":\"deadline-reached\"")?;
    ensure_eq!(terminal.wait()?, Status::Code(137), "the end");
    ensure_eq!(terminal.count("waiting for the app"), 0, "lines between");
    ensure_eq!(terminal.count(ERASE), 0, "erased lines");
    Ok(())
}
