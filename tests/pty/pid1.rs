//! As PID 1 with a terminal, as under `docker run -it`: no shell above it could resume anything.

use std::time::Duration;

use super::{
    BASH, BLOCKED, CTRL_C, CTRL_D, CTRL_Z, Init, Terminal, bare, compare, deliveries,
    jobs_of_a_bash, telling_app, unshare,
};
use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Outcome, Status, need, proc, sys};
use crate::{ensure, ensure_eq};
use Init::{Catatonit, DumbInit, DumbInitSingle, Graceinit, Tini};

/// Runs `line` as PID 1 of a new pid namespace, leader of a session that has the terminal: what
/// container runtimes do.
pub(super) fn as_pid_1(line: &str) -> Outcome<Terminal> {
    let unshare = unshare();
    let mut command = bare(unshare[0]);
    command.args(&unshare[1..]).args(["setsid", "--ctty"]).args(line.split(' '));
    Terminal::attach(command)
}

#[test]
fn ctrl_c_ends_the_app() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mut terminal = as_pid_1(&init.wrap("sleep 1000"))?;
        terminal.process("sleep")?;
        terminal.send(CTRL_C)?;
        Ok(terminal.wait()?.to_string())
    }
    if need::pid_namespace() {
        compare(
            case,
            &[
                (Graceinit, "code 130", ""),
                (Tini, "code 130", ""),
                (DumbInit, "code 130", ""),
                (DumbInitSingle, "code 130", ""),
                (Catatonit, "code 130", ""),
            ],
        );
    }
}

#[test]
fn ctrl_c_reaches_an_app_that_handles_it_once() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        deliveries(init, "INT", as_pid_1, |terminal| terminal.send(CTRL_C))
    }
    if need::pid_namespace() {
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
}

#[test]
fn a_new_window_size_reaches_the_app_once() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        deliveries(init, "WINCH", as_pid_1, |terminal| terminal.resize(40))
    }
    if need::pid_namespace() {
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
}

/// The session is gone when its terminal is: its leader is told, and tells the app.
#[test]
fn the_end_of_the_terminal_reaches_the_app() -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let place = Place::new();
    let app = puppet_line(&format!("block to={} ready echo=HUP:3", place.text("account")));
    let mut terminal = as_pid_1(&Graceinit.wrap(&app))?;
    place.wait_for("account")?;
    terminal.hang_up()?;
    ensure_eq!(terminal.wait()?, Status::Code(3), "how it ends");
    ensure_eq!(place.expect("account")?.matches("got HUP ").count(), 1, "times that HUP came");
    Ok(())
}

#[test]
fn reads_in_the_foreground() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mut terminal = as_pid_1(&init.wrap("cat"))?;
        let cat = terminal.process("cat")?;
        terminal.line("typed")?;
        terminal.expect("typed\r\ntyped\r\n")?;
        let place = if cat.tpgid == cat.pgid { "in front" } else { "not in front" };
        terminal.send(CTRL_D)?;
        Ok(format!("{place}, {}", terminal.wait()?))
    }
    if need::pid_namespace() {
        compare(
            case,
            &[
                (Graceinit, "in front, code 0", ""),
                (Tini, "in front, code 0", ""),
                (DumbInit, "in front, code 0", ""),
                (DumbInitSingle, "in front, code 0", ""),
                (Catatonit, "in front, code 0", ""),
            ],
        );
    }
}

/// Nobody could ever resume it.
#[test]
fn ctrl_z_does_not_freeze_the_app_for_ever() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let mut terminal = as_pid_1(&init.wrap("cat"))?;
        terminal.process("cat")?;
        terminal.line("one")?;
        terminal.expect("one\r\none\r\n")?;
        terminal.send(CTRL_Z)?;
        terminal.line("two")?;
        let goes_on = terminal.expect_within("two\r\ntwo\r\n", patience)?.is_some();
        Ok(if goes_on { "goes on" } else { "frozen" }.into())
    }
    if need::pid_namespace() {
        compare(
            case,
            &[
                (Graceinit, "goes on", ""),
                (Tini, "frozen", "the app stops and the init does not notice"),
                (DumbInit, "goes on", ""),
                (DumbInitSingle, "goes on", ""),
                (Catatonit, "goes on", ""),
            ],
        );
    }
}

/// A shell as the app: `docker run -it IMAGE bash`.
#[test]
fn a_shell_inside_has_job_control() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let mut terminal = as_pid_1(&init.wrap(&BASH.join(" ")))?;
        match jobs_of_a_bash(&mut terminal, patience)? {
            (true, job) => Ok(format!("{job}, {}", terminal.wait()?)),
            (false, job) => Ok(job.into()),
        }
    }
    if need::pid_namespace() {
        compare(
            case,
            &[
                (Graceinit, "stops and continues, code 7", ""),
                (Tini, "stops and continues, code 7", ""),
                (DumbInit, "stops and continues, code 7", ""),
                (DumbInitSingle, "stops and continues, code 7", ""),
                (Catatonit, "does not stop", BLOCKED),
            ],
        );
    }
}

/// `unshare --pid --fork graceinit …` typed at a terminal: its group's leader is outside, so that
/// the kernel calls the group 0, and the foreground too.
#[test]
fn a_group_from_outside_the_namespace_has_the_terminal_all_the_same() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let mut words = unshare();
        let line = init.wrap("cat");
        words.extend(line.split(' '));
        let mut terminal = Terminal::start(&words)?;
        let cat = terminal.process("cat")?;
        terminal.line("typed")?;
        if terminal.expect_within("typed\r\ntyped\r\n", patience)?.is_none() {
            return Ok("cannot read".into());
        }
        let place = if cat.tpgid == cat.pgid { "in front" } else { "not in front" };
        terminal.send(CTRL_C)?;
        Ok(format!("{place}, {}", terminal.wait()?))
    }
    if need::pid_namespace() {
        compare(
            case,
            &[
                (Graceinit, "in front, code 130", ""),
                (Tini, "in front, code 130", ""),
                (
                    DumbInit,
                    "not in front, code 130",
                    "cannot give up the terminal of a session that it does not lead, so that the \
                     app's new session has none",
                ),
                (DumbInitSingle, "in front, code 130", ""),
                (Catatonit, "in front, code 130", ""),
            ],
        );
    }
}

#[test]
fn ctrl_c_during_a_stop_kills_the_app() -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let line = Graceinit.wrap(&telling_app()).replacen(" -- ", " --grace 60s -- ", 1);
    let mut terminal = as_pid_1(&line)?;
    terminal.expect("ready pid=")?;
    let app = terminal.process("puppet")?;
    ensure_eq!(app.tpgid, app.pgid, "the foreground");
    sys::kill(app.ppid, libc::SIGTERM)?;
    terminal.expect("got TERM ")?;
    terminal.until("graceinit has the terminal", |_| {
        proc::process(app.ppid).filter(|init| init.tpgid == init.pgid)
    })?;
    terminal.send(CTRL_C)?;
    ensure_eq!(terminal.wait()?, Status::Code(137), "how it ends");
    ensure!(terminal.count("got INT ") == 0, "the request to kill is not the app's business");
    Ok(())
}
