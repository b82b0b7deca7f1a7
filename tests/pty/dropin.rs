//! graceinit at a terminal in the place of tini, dumb-init and catatonit, called by their names: it does
//! what they do there, but for what is listed here. Every case of this folder that is shared with them is
//! gone through by name as well (`compare`); here are those that only matter to whoever replaces one.

use std::fs::File;
use std::time::Duration;

use super::pid1::as_pid_1;
use super::shell::{Shell, in_a_shell};
use super::{
    BASH, BLOCKED, CTRL_C, CTRL_Z, Init, PROMPT, Terminal, bare, compare, jobs_of_a_bash,
    telling_app,
};
use crate::ensure_eq;
use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Outcome, need, sys};
use Init::{Catatonit, DumbInit, DumbInitSetsid0, DumbInitSingle, Graceinit, Tini};

const SHELLS: &str = "dies of the SIGINT that ended the app, so that one Ctrl-C ends the loop";
const CTRL_Z_WORKS: &str = "stops with the app, so that the shell notices; fg and bg resume both";
const STAYS_BACK: &str = "looks whether it is in the foreground before it gives that to the app";
const GIVES_BACK: &str = "takes the terminal back from a group that has gone";
const OWN_GROUP: &str = "the app has a group in every mode: what it leaves behind can be found";

/// (case, whose name, why): by this name graceinit does as it does by its own, and not as the original.
/// docs/comparison.md says the same to people.
const DIFFERENCES: &[(&str, &[Init], &str)] = &[
    ("ctrl_c_ends_a_loop_round_the_init", &[Tini, DumbInit, DumbInitSingle, Catatonit], SHELLS),
    ("ctrl_c_ends_the_leader_of_a_session", &[Tini, Catatonit, DumbInitSingle], SHELLS),
    ("ctrl_z_stops_the_job_and_fg_gives_the_terminal_back", &[Tini, Catatonit], CTRL_Z_WORKS),
    ("ctrl_z_and_bg_let_it_run_in_the_background", &[Tini, Catatonit], CTRL_Z_WORKS),
    (
        "ctrl_z_does_not_freeze_a_session_without_job_control",
        &[Tini],
        "continues the app where no shell could resume it",
    ),
    (
        "ctrl_z_does_not_freeze_the_app_for_ever",
        &[Tini],
        "continues the app where no shell could resume it",
    ),
    ("a_start_in_the_background_takes_no_terminal_away", &[Tini, Catatonit], STAYS_BACK),
    ("the_app_has_a_group_in_the_foreground_and_reads", &[DumbInitSingle], OWN_GROUP),
    ("the_terminal_is_given_back_to_a_parent_without_job_control", &[Tini, Catatonit], GIVES_BACK),
    ("a_shell_inside_has_job_control", &[Catatonit], "the app's mask is what was given"),
    ("a_shell_inside_a_job", &[Catatonit], "the app's mask is what was given"),
    (
        "nobody_else_is_hung_up_when_the_terminal_changes_hands",
        &[DumbInit],
        "nobody is in the foreground when it gives the terminal up",
    ),
];

/// Why this init and graceinit by its name come out differently in this case; `None`: they do not.
pub(super) fn difference(case: &str, init: Init) -> Option<&'static str> {
    let known = |(name, inits, _): &&(&str, &[Init], &str)| *name == case && inits.contains(&init);
    DIFFERENCES.iter().find(known).map(|(_, _, why)| *why)
}

/// Types Ctrl-C twice; how often an app that handles it is told.
fn twice(mut terminal: Terminal) -> Outcome<String> {
    terminal.expect("ready pid=")?;
    for _ in 0..2 {
        terminal.send(CTRL_C)?;
        terminal.expect("got INT ")?;
    }
    // What might come in addition came before this.
    let app = terminal.process("puppet")?;
    sys::kill(app.ppid, libc::SIGUSR2)?;
    terminal.expect("got USR2 ")?;
    Ok(format!("{} times", terminal.count("got INT ")))
}

/// No second Ctrl-C means more than the first: nothing was asked for that these programs do not do.
#[test]
fn the_second_ctrl_c_is_passed_on_like_the_first() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        twice(in_a_shell(&init.wrap(&telling_app()))?)
    }
    compare(
        case,
        &[
            (Graceinit, "2 times", ""),
            (Tini, "2 times", ""),
            (DumbInit, "2 times", ""),
            (Catatonit, "2 times", ""),
        ],
    );
}

#[test]
fn the_second_ctrl_c_is_passed_on_by_pid_1() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        twice(as_pid_1(&init.wrap(&telling_app()))?)
    }
    if need::pid_namespace() {
        compare(
            case,
            &[
                (Graceinit, "2 times", ""),
                (Tini, "2 times", ""),
                (DumbInit, "2 times", ""),
                (Catatonit, "2 times", ""),
            ],
        );
    }
}

/// The leader of a session that gives up its terminal is sent HUP and CONT by the kernel. They are not for
/// the app; those that a process sends are.
#[test]
fn hup_and_cont_are_passed_on_and_those_of_the_terminal_are_not() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mut terminal = as_pid_1(&init.wrap(&telling_app()))?;
        terminal.expect("ready pid=")?;
        let app = terminal.process("puppet")?;
        for (signal, name) in [(libc::SIGHUP, "HUP"), (libc::SIGCONT, "CONT")] {
            sys::kill(app.ppid, signal)?;
            terminal.expect(&format!("got {name} "))?;
        }
        sys::kill(app.ppid, libc::SIGUSR2)?;
        terminal.expect("got USR2 ")?;
        let (hups, conts) = (terminal.count("got HUP "), terminal.count("got CONT "));
        let leads = if app.sid == app.pid { "leads the session" } else { "is in the session" };
        Ok(format!("{leads}, HUP {hups}, CONT {conts}"))
    }
    const OWN_SESSION: &str = "the session goes to the app, with its terminal";
    if need::pid_namespace() {
        compare(
            case,
            &[
                (Graceinit, "is in the session, HUP 1, CONT 1", ""),
                (Tini, "is in the session, HUP 1, CONT 1", ""),
                (DumbInit, "leads the session, HUP 1, CONT 1", OWN_SESSION),
                (DumbInitSingle, "is in the session, HUP 1, CONT 1", ""),
                (DumbInitSetsid0, "is in the session, HUP 1, CONT 1", ""),
                (Catatonit, "is in the session, HUP 1, CONT 1", ""),
            ],
        );
    }
}

/// Whoever leads the session when its terminal goes is told; where that is the init, it tells the app.
#[test]
fn a_terminal_that_goes_hangs_the_app_up() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let place = Place::new();
        let script = format!("block to={} ready echo=IO:3", place.text("account"));
        let mut terminal = as_pid_1(&init.wrap(&puppet_line(&script)))?;
        place.wait_for("account")?;
        let app = terminal.process("puppet")?;
        terminal.hang_up()?;
        terminal.until("the app is told", |_| {
            place.read("account").filter(|account| account.contains("got HUP "))
        })?;
        // The number is higher than both of the kernel's, so that it comes after them.
        sys::kill(app.ppid, libc::SIGIO)?;
        let status = terminal.wait()?;
        let account = place.expect("account")?;
        Ok(format!("HUP {}, {status}", account.matches("got HUP ").count()))
    }
    if need::pid_namespace() {
        compare(
            case,
            &[
                (Graceinit, "HUP 1, code 3", ""),
                (Tini, "HUP 1, code 3", ""),
                (DumbInit, "HUP 1, code 3", ""),
                (DumbInitSingle, "HUP 1, code 3", ""),
                (Catatonit, "HUP 1, code 3", ""),
            ],
        );
    }
}

/// stdin may be a terminal that is nobody's: then a session of the app's own can have it.
#[test]
fn a_session_of_its_own_takes_a_terminal_that_is_nobodys() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mut setsid = bare("setsid");
        setsid.args(init.wrap(&puppet_line("ready echo")).split(' '));
        let mut terminal = Terminal::attach(setsid)?;
        terminal.expect("ready pid=")?;
        let app = terminal.process("puppet")?;
        Ok(match (app.tty, app.tpgid == app.pid) {
            (0, _) => "no terminal".into(),
            (_, true) => "a terminal, in front".into(),
            (_, false) => "a terminal, not in front".into(),
        })
    }
    compare(
        case,
        &[
            (Graceinit, "no terminal", ""),
            (Tini, "no terminal", ""),
            (DumbInit, "a terminal, in front", "the app leads a session, which can have one"),
            (DumbInitSingle, "no terminal", ""),
            (DumbInitSetsid0, "no terminal", ""),
            (Catatonit, "no terminal", ""),
        ],
    );
}

/// A terminal's first process that is no PID 1: `xterm -e`, `script -c`.
#[test]
fn ctrl_c_ends_the_leader_of_a_session() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let line = init.wrap("cat");
        let mut terminal = Terminal::start(&line.split(' ').collect::<Vec<_>>())?;
        let cat = terminal.process("cat")?;
        terminal.line("typed")?;
        terminal.expect("typed\r\ntyped\r\n")?;
        let place = if cat.tpgid == cat.pgid { "in front" } else { "not in front" };
        terminal.send(CTRL_C)?;
        Ok(format!("{place}, {}", terminal.wait()?))
    }
    const CODE: &str = "exits with 130 where it should die of SIGINT";
    compare(
        case,
        &[
            (Graceinit, "in front, signal INT", ""),
            (Tini, "in front, code 130", CODE),
            (DumbInit, "in front, code 130", CODE),
            (DumbInitSingle, "in front, code 130", CODE),
            (Catatonit, "in front, code 130", CODE),
        ],
    );
}

/// A program that an entry point script has started before it became the init: it shares the init's group,
/// which the kernel hangs up when a session is parted from its terminal.
#[test]
fn nobody_else_is_hung_up_when_the_terminal_changes_hands() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mate = puppet_line("name=mate block ready echo");
        let app = init.wrap(&puppet_line("name=app block ready echo"));
        let mut terminal = Terminal::start(&["sh", "-c", &format!("{mate} & read x; exec {app}")])?;
        terminal.expect("mate: ready pid=")?;
        let pid = terminal.expect(" ")?.parse()?;
        terminal.line("")?;
        terminal.expect("app: ready pid=")?;
        sys::kill(pid, libc::SIGUSR2)?;
        terminal.expect("mate: got USR2 ")?;
        Ok(match terminal.count("mate: got HUP ") {
            0 => "left alone".into(),
            _ => "hung up".into(),
        })
    }
    compare(
        case,
        &[
            (Graceinit, "left alone", ""),
            (Tini, "left alone", ""),
            (
                DumbInit,
                "hung up",
                "is in the foreground itself when it gives the terminal up, with its whole group",
            ),
            (DumbInitSingle, "left alone", ""),
            (DumbInitSetsid0, "left alone", ""),
            (Catatonit, "left alone", ""),
        ],
    );
}

/// The app is forked, but its file cannot be opened yet (a slow disk, a network): the key must not be lost
/// meanwhile.
#[test]
fn ctrl_z_before_the_app_is_executed_stops_it_then() -> Outcome {
    let place = Place::new();
    let script = place.file("app", "#!/bin/sh\nexec sleep 1000\n", 0o755);
    let lease = File::open(&script)?;
    sys::lease(&lease)?;
    let mut shell = Shell::start()?;
    shell.0.line(
        &Init::Named(&DumbInit).wrap(&script.display().to_string()).replace(" -- ", " -v -- "),
    )?;
    shell.0.until("the app's execve", |_| sys::is_lease_wanted(&lease).then_some(()))?;
    shell.0.send(CTRL_Z)?;
    shell.0.expect("keeping a signal until the app can take it")?;
    drop(lease);
    shell.0.expect("Stopped")?;
    shell.0.expect(PROMPT)?;
    let init = shell.0.process("dumb-init")?;
    shell.0.line("fg")?;
    let sleep = shell.0.process("sleep")?;
    ensure_eq!(sleep.ppid, init.pid, "whose child the app is");
    shell.0.state(sleep.pid, 'S')?;
    Ok(())
}

/// `tini -- bash` typed at a prompt.
#[test]
fn a_shell_inside_a_job() {
    fn case(init: Init, patience: Duration) -> Outcome<String> {
        let mut shell = Shell::start()?;
        shell.0.line(&init.wrap(&BASH.join(" ")))?;
        match jobs_of_a_bash(&mut shell.0, patience)? {
            (true, job) => {
                shell.0.expect(PROMPT)?;
                Ok(format!("{job}, status {}", shell.value("$?")?))
            }
            (false, job) => Ok(job.into()),
        }
    }
    compare(
        case,
        &[
            (Graceinit, "stops and continues, status 7", ""),
            (Tini, "stops and continues, status 7", ""),
            (
                DumbInit,
                "no job control, status 7",
                "the app's session has no terminal: it stays with the session that has it",
            ),
            (DumbInitSingle, "stops and continues, status 7", ""),
            (DumbInitSetsid0, "stops and continues, status 7", ""),
            (Catatonit, "does not stop", BLOCKED),
        ],
    );
}
