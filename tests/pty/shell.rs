//! Under an interactive shell with job control.

use std::time::Duration;

use super::{
    BASH, BLOCKED, CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, Init, PROMPT, Terminal, compare,
    deliveries, telling_app, unshare,
};
use crate::support::files::Place;
use crate::support::{Outcome, PATIENCE, need, proc, sys};
use crate::{ensure, ensure_eq};
use Init::{Catatonit, DumbInit, DumbInitSingle, Graceinit, Tini};

/// An interactive bash on a terminal.
pub(super) struct Shell(pub(super) Terminal);

impl Shell {
    pub(super) fn start() -> Outcome<Shell> {
        let mut shell = Shell(Terminal::start(&BASH)?);
        shell.0.expect(PROMPT)?;
        Ok(shell)
    }

    /// Waits for the prompt; whether it came.
    fn prompt(&mut self, patience: Duration) -> Outcome<bool> {
        Ok(self.0.expect_within(PROMPT, patience)?.is_some())
    }

    /// What the shell makes of an expression; it must be at its prompt.
    pub(super) fn value(&mut self, expression: &str) -> Outcome<String> {
        // The quotes keep what is typed, and echoed, apart from what is printed.
        self.0.line(&format!("echo val''ue={expression}"))?;
        self.0.expect("value=")?;
        let value = self.0.expect("\r\n")?;
        self.0.expect(PROMPT)?;
        Ok(value)
    }

    /// What became of an app whose Ctrl-Z gave the shell no prompt.
    fn frozen(&self, app: i32) -> Outcome<String> {
        let stopped = proc::process(app).is_some_and(|process| process.state == 'T');
        Ok(if stopped { "frozen" } else { "not stopped" }.into())
    }

    /// Whether the shell's own group is in the foreground.
    fn in_front(&self) -> Outcome<bool> {
        Ok(self.0.foreground()? == self.0.leader())
    }
}

#[test]
fn ctrl_c_ends_the_app_and_the_shell_sees_130() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let mut shell = Shell::start()?;
        shell.0.line(&init.wrap("sleep 1000"))?;
        shell.0.process("sleep")?;
        shell.0.send(CTRL_C)?;
        if !shell.prompt(patience)? {
            return Ok("no prompt".into());
        }
        Ok(format!("status {}", shell.value("$?")?))
    }
    compare(
        case,
        &[
            (Graceinit, "status 130", ""),
            (Tini, "status 130", ""),
            (DumbInit, "status 130", ""),
            (DumbInitSingle, "status 130", ""),
            (Catatonit, "status 130", ""),
        ],
    );
}

#[test]
fn ctrl_backslash_ends_the_app_and_the_shell_sees_131() -> Outcome {
    let mut shell = Shell::start()?;
    // SIGQUIT dumps core, into whatever directory the tests run in.
    shell.0.line("ulimit -c 0")?;
    shell.0.expect(PROMPT)?;
    shell.0.line(&Graceinit.wrap("sleep 1000"))?;
    shell.0.process("sleep")?;
    shell.0.send(CTRL_BACKSLASH)?;
    shell.0.expect(PROMPT)?;
    ensure_eq!(shell.value("$?")?, "131", "status");
    Ok(())
}

/// A shell ends a loop when the command in it died of SIGINT, not when it exited with 130.
#[test]
fn ctrl_c_ends_a_loop_round_the_init() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mut shell = Shell::start()?;
        shell
            .0
            .line(&format!("for i in 1 2; do {}; echo aga''in; done", init.wrap("sleep 1000")))?;
        shell.0.process("sleep")?;
        shell.0.send(CTRL_C)?;
        // One of the two comes in any case.
        shell.0.until("the loop ends or goes on", |terminal| {
            let (prompts, rounds) = (terminal.count(PROMPT), terminal.count("again"));
            (rounds > 0).then(|| "goes on".into()).or((prompts > 1).then(|| "ends".into()))
        })
    }
    const WHY: &str = "exits with 130 where it should die of SIGINT, so that Ctrl-C must be hit for \
                       every round";
    compare(
        case,
        &[
            (Graceinit, "ends", ""),
            (Tini, "goes on", WHY),
            (DumbInit, "goes on", WHY),
            (DumbInitSingle, "goes on", WHY),
            (Catatonit, "goes on", WHY),
        ],
    );
}

/// Runs a command line at the prompt.
pub(super) fn in_a_shell(line: &str) -> Outcome<Terminal> {
    let mut shell = Shell::start()?;
    shell.0.line(line)?;
    Ok(shell.0)
}

#[test]
fn ctrl_c_reaches_an_app_that_handles_it_once() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        deliveries(init, "INT", in_a_shell, |terminal| terminal.send(CTRL_C))
    }
    compare(
        case,
        &[
            (Graceinit, "once", ""),
            (Tini, "once", ""),
            (DumbInit, "once", ""),
            (Catatonit, "once", ""),
        ],
    );
}

#[test]
fn a_new_window_size_reaches_the_app_once() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        deliveries(init, "WINCH", in_a_shell, |terminal| terminal.resize(40))
    }
    compare(
        case,
        &[
            (Graceinit, "once", ""),
            (Tini, "once", ""),
            (DumbInit, "once", ""),
            (Catatonit, "once", ""),
        ],
    );
}

const FROZEN: &str = "the app stops, the init does not notice, and the shell waits for ever";

#[test]
fn ctrl_z_stops_the_job_and_fg_gives_the_terminal_back() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let mut shell = Shell::start()?;
        shell.0.line(&init.wrap("cat"))?;
        let cat = shell.0.process("cat")?;
        shell.0.line("one")?;
        shell.0.expect("one\r\none\r\n")?;
        shell.0.send(CTRL_Z)?;
        if !shell.prompt(patience)? {
            return shell.frozen(cat.pid);
        }
        shell.0.state(cat.pid, 'T')?;
        ensure!(shell.0.count("Stopped") == 1, "{:?}", shell.0.fault("the job is not stopped"));
        shell.0.line("fg")?;
        shell.0.state(cat.pid, 'S')?;
        shell.0.line("two")?;
        if shell.0.expect_within("two\r\ntwo\r\n", patience)?.is_none() {
            return Ok("deaf after fg".into());
        }
        shell.0.send(CTRL_D)?;
        if !shell.prompt(patience)? {
            return Ok("no prompt at the end".into());
        }
        Ok(format!("stops, goes on, status {}", shell.value("$?")?))
    }
    compare(
        case,
        &[
            (Graceinit, "stops, goes on, status 0", ""),
            (Tini, "frozen", FROZEN),
            (DumbInit, "stops, goes on, status 0", ""),
            (DumbInitSingle, "stops, goes on, status 0", ""),
            (Catatonit, "not stopped", BLOCKED),
        ],
    );
}

#[test]
fn ctrl_z_and_bg_let_it_run_in_the_background() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let mut shell = Shell::start()?;
        shell.0.line(&init.wrap("sleep 1000"))?;
        let sleep = shell.0.process("sleep")?;
        shell.0.send(CTRL_Z)?;
        if !shell.prompt(patience)? {
            return shell.frozen(sleep.pid);
        }
        shell.0.state(sleep.pid, 'T')?;
        shell.0.line("bg")?;
        shell.0.expect(PROMPT)?;
        shell.0.state(sleep.pid, 'S')?;
        ensure_eq!(shell.value("$((40 + 2))")?, "42", "the shell reads");
        Ok(if shell.in_front()? { "in the background" } else { "in front" }.into())
    }
    compare(
        case,
        &[
            (Graceinit, "in the background", ""),
            (Tini, "frozen", FROZEN),
            (DumbInit, "in the background", ""),
            (DumbInitSingle, "in the background", ""),
            (Catatonit, "not stopped", BLOCKED),
        ],
    );
}

#[test]
fn a_start_in_the_background_takes_no_terminal_away() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mut shell = Shell::start()?;
        shell.0.line(&format!("{} &", init.wrap("sleep 1000")))?;
        // A shell that has lost its terminal may end, and all with it, before anybody can look.
        shell.0.until("the app or the end of the shell", |terminal| {
            let processes = terminal.processes();
            let app = processes.iter().any(|process| process.comm == "sleep");
            (app || processes.is_empty()).then_some(())
        })?;
        let shells = shell.in_front().is_ok_and(|front| front);
        Ok(if shells { "the shell's" } else { "the app's" }.into())
    }
    const TAKES: &str =
        "puts the app into the foreground without looking whether it is there itself";
    compare(
        case,
        &[
            (Graceinit, "the shell's", ""),
            (Tini, "the app's", TAKES),
            (DumbInit, "the shell's", ""),
            (DumbInitSingle, "the shell's", ""),
            (Catatonit, "the app's", TAKES),
        ],
    );
}

/// The group of `unshare --pid --fork` is outside the namespace, where the kernel calls it 0, and the
/// shell's group in the foreground as well.
#[test]
fn a_start_in_the_background_of_another_namespace_takes_none_away_either() -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let mut shell = Shell::start()?;
    shell.0.line(&format!("{} {} &", unshare().join(" "), Graceinit.wrap("sleep 1000")))?;
    shell.0.process("sleep")?;
    ensure!(shell.in_front()?, "the terminal is the shell's");
    ensure_eq!(shell.value("$((40 + 2))")?, "42", "the shell reads");
    Ok(())
}

/// `kill` of a stopped job sends TERM and then CONT, to graceinit alone: the app must get both.
#[test]
fn a_stopped_job_can_be_ended() -> Outcome {
    let mut shell = Shell::start()?;
    shell.0.line(&Graceinit.wrap("sleep 1000"))?;
    let sleep = shell.0.process("sleep")?;
    shell.0.send(CTRL_Z)?;
    ensure!(shell.prompt(PATIENCE)?, "{:?}", shell.0.fault("no prompt"));
    shell.0.state(sleep.pid, 'T')?;
    shell.0.line("kill %1")?;
    for pid in [sleep.pid, sleep.ppid] {
        shell.0.until("the end of app and graceinit", |_| (!proc::alive(pid)).then_some(()))?;
    }
    Ok(())
}

/// Without an init, a read in the background stops the job, `fg` gives it the terminal and Ctrl-Z
/// takes it away again.
#[test]
fn a_read_in_the_background_waits_for_fg() -> Outcome {
    let mut shell = Shell::start()?;
    shell.0.line(&format!("{} &", Graceinit.wrap("cat")))?;
    let cat = shell.0.process("cat")?;
    shell.0.state(cat.pid, 'T')?;
    // The shell only knows of it when its own child stops as well.
    shell.0.state(cat.ppid, 'T')?;
    ensure_eq!(shell.value("$((40 + 2))")?, "42", "the shell reads");
    shell.0.line("fg")?;
    shell.0.state(cat.pid, 'S')?;
    shell.0.line("hello")?;
    shell.0.expect("hello\r\nhello\r\n")?;
    shell.0.send(CTRL_Z)?;
    ensure!(shell.prompt(PATIENCE)?, "{:?}", shell.0.fault("no prompt"));
    ensure!(shell.in_front()?, "the shell has the terminal again");
    shell.0.line("fg")?;
    shell.0.state(cat.pid, 'S')?;
    shell.0.line("again")?;
    shell.0.expect("again\r\nagain\r\n")?;
    shell.0.send(CTRL_D)?;
    ensure!(shell.prompt(PATIENCE)?, "{:?}", shell.0.fault("no prompt"));
    ensure_eq!(shell.value("$?")?, "0", "cat's status");
    Ok(())
}

/// `fg` sends no SIGCONT to a job that runs: the app's first read is the only sign.
#[test]
fn fg_of_a_running_job_lets_it_read() -> Outcome {
    let place = Place::new();
    let gate = place.fifo("gate");
    let mut shell = Shell::start()?;
    let app = format!("sh -c 'read x <{}; exec cat'", gate.path().display());
    shell.0.line(&format!("{} &", Graceinit.wrap(&app)))?;
    let hold = gate.hold()?;
    shell.0.line("fg")?;
    shell.0.until("graceinit in the foreground", |terminal| {
        terminal.foreground().is_ok_and(|group| group != terminal.leader()).then_some(())
    })?;
    drop(hold);
    shell.0.process("cat")?;
    shell.0.line("hello")?;
    shell.0.expect("hello\r\nhello\r\n")?;
    shell.0.send(CTRL_D)?;
    ensure!(shell.prompt(PATIENCE)?, "{:?}", shell.0.fault("no prompt"));
    ensure_eq!(shell.value("$?")?, "0", "cat's status");
    Ok(())
}

/// A job is often a script that runs the init: then the init's parent is of its own group, and the
/// shell that can resume them is one step further up.
#[test]
fn ctrl_z_stops_a_script_that_runs_the_init() -> Outcome {
    let mut shell = Shell::start()?;
    shell.0.line(&format!("sh -c '{}; true'", Graceinit.wrap("cat")))?;
    let cat = shell.0.process("cat")?;
    shell.0.line("one")?;
    shell.0.expect("one\r\none\r\n")?;
    shell.0.send(CTRL_Z)?;
    ensure!(shell.prompt(PATIENCE)?, "{:?}", shell.0.fault("no prompt"));
    shell.0.state(cat.pid, 'T')?;
    shell.0.line("fg")?;
    shell.0.state(cat.pid, 'S')?;
    shell.0.line("two")?;
    shell.0.expect("two\r\ntwo\r\n")?;
    shell.0.send(CTRL_C)?;
    ensure!(shell.prompt(PATIENCE)?, "{:?}", shell.0.fault("no prompt"));
    Ok(())
}

/// The same without a shell that could resume anything: the kernel would not stop such a group, and
/// so the app must not stay stopped either. (dumb-init stops itself, sooner or later than the next line
/// is read: no table can hold that.)
#[test]
fn ctrl_z_does_not_freeze_a_session_without_job_control() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let mut terminal = Terminal::start(&["sh", "-c", &format!("{}; true", init.wrap("cat"))])?;
        terminal.process("cat")?;
        terminal.line("one")?;
        terminal.expect("one\r\none\r\n")?;
        terminal.send(CTRL_Z)?;
        terminal.line("two")?;
        let goes_on = terminal.expect_within("two\r\ntwo\r\n", patience)?.is_some();
        Ok(if goes_on { "goes on" } else { "frozen" }.into())
    }
    compare(
        case,
        &[(Graceinit, "goes on", ""), (Tini, "frozen", FROZEN), (Catatonit, "goes on", "")],
    );
}

#[test]
fn the_app_has_a_group_in_the_foreground_and_reads() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mut shell = Shell::start()?;
        shell.0.line(&init.wrap("cat"))?;
        let cat = shell.0.process("cat")?;
        shell.0.line("typed")?;
        shell.0.expect("typed\r\ntyped\r\n")?;
        let group = if cat.pgid == cat.pid { "own group" } else { "the init's group" };
        let place = if cat.pgid == shell.0.foreground()? { "in front" } else { "not in front" };
        Ok(format!("{group}, {place}"))
    }
    compare(
        case,
        &[
            (Graceinit, "own group, in front", ""),
            (Tini, "own group, in front", ""),
            (
                DumbInit,
                "own group, not in front",
                "a session of its own has no controlling terminal: \
              no job control inside, and every key goes to the init",
            ),
            (DumbInitSingle, "the init's group, in front", "makes no group at all in this mode"),
            (Catatonit, "own group, in front", ""),
        ],
    );
}

/// Without job control nobody but the init itself puts the parent's group back.
#[test]
fn the_terminal_is_given_back_to_a_parent_without_job_control() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let script = format!("{}; read x; echo got''=$x; exec cat", init.wrap("true"));
        let mut terminal = Terminal::start(&["sh", "-c", &script])?;
        terminal.line("typed")?;
        let read = terminal.expect_within("got=typed\r\n", patience)?;
        Ok(if read.is_some() { "reads" } else { "cannot read" }.into())
    }
    const KEEPS: &str = "leaves the terminal to the group of the dead app: reads end with EIO";
    compare(
        case,
        &[
            (Graceinit, "reads", ""),
            (Tini, "cannot read", KEEPS),
            (DumbInit, "reads", ""),
            (DumbInitSingle, "reads", ""),
            (Catatonit, "cannot read", KEEPS),
        ],
    );
}

/// graceinit takes the terminal back when a stop begins, so that a Ctrl-C is its own again.
#[test]
fn ctrl_c_during_a_stop_kills_the_app() -> Outcome {
    let mut shell = Shell::start()?;
    let flags = "-v --grace 60s --on-stop touch:/dev/null";
    let line = Graceinit.wrap(&telling_app()).replacen(" -- ", &format!(" {flags} -- "), 1);
    shell.0.line(&line)?;
    shell.0.expect("ready pid=")?;
    let app = shell.0.process("puppet")?;
    ensure_eq!(shell.0.foreground()?, app.pgid, "the foreground");
    sys::kill(app.ppid, libc::SIGTERM)?;
    shell.0.expect("got TERM ")?;
    let init = proc::process(app.ppid).ok_or_else(|| shell.0.fault("no graceinit"))?;
    shell.0.until("graceinit has the terminal", |terminal| {
        terminal.foreground().is_ok_and(|group| group == init.pgid).then_some(())
    })?;
    shell.0.send(CTRL_C)?;
    shell.0.expect(PROMPT)?;
    ensure_eq!(shell.value("$?")?, "137", "status");
    ensure_eq!(shell.0.count("got INT "), 0, "the request to kill is not the app's business");
    Ok(())
}
