//! At a terminal: Ctrl-C, Ctrl-Z, `fg`, `bg`, `&`, window sizes and reads, under a shell and as
//! PID 1. Where the promise is shared, tini, dumb-init and catatonit go through the same steps; what
//! they do differently stands beside each case, and is asserted too, so that docs/comparison.md stays
//! true. So does graceinit by each of their names, from which the same is expected as from the one whose
//! name it is (`dropin.rs`).

#![allow(unreachable_pub, reason = "the terminal is lent to the container tests")]

mod dropin;
mod foreign;
mod live;
mod pid1;
mod shell;
mod terminal;

use std::any::type_name;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::ensure;
use crate::support::init::{NAMESPACE, USER_NAMESPACE, puppet_line};
use crate::support::{Outcome, PATIENCE, Program, alias, need, sys};
use terminal::{BASH, PROMPT, bare};
pub use terminal::{Pty, Terminal};

/// An init in front of an app, with the flags that suit a terminal best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "the peer is called that")]
pub enum Init {
    Graceinit,
    /// A subreaper, so that it does not warn outside PID 1.
    Tini,
    DumbInit,
    /// Without a session of the app's own: what its README advises for interactive use.
    DumbInitSingle,
    /// The same by its variable.
    DumbInitSetsid0,
    Catatonit,
    /// graceinit by the name of this one, with its flags.
    Named(&'static Init),
}

impl Init {
    fn program(self) -> Program {
        match self {
            Init::Graceinit => Program::Graceinit,
            Init::Tini => Program::Tini,
            Init::DumbInit | Init::DumbInitSingle | Init::DumbInitSetsid0 => Program::DumbInit,
            Init::Catatonit => Program::Catatonit,
            Init::Named(other) => other.program(),
        }
    }

    fn path(self) -> PathBuf {
        let path = self.program().path();
        match (self, path.file_name().and_then(|name| name.to_str())) {
            (Init::Named(_), Some(name)) => alias(name),
            _ => path,
        }
    }

    fn env(self) -> &'static str {
        match self {
            Init::DumbInitSetsid0 => "env DUMB_INIT_SETSID=0 ",
            Init::Named(other) => other.env(),
            _ => "",
        }
    }

    fn flags(self) -> &'static str {
        match self {
            Init::Tini => " -s",
            Init::DumbInitSingle => " --single-child",
            Init::Named(other) => other.flags(),
            _ => "",
        }
    }

    /// The command line of `app` under this init.
    pub fn wrap(self, app: &str) -> String {
        format!("{}{}{} -- {app}", self.env(), self.path().display(), self.flags())
    }
}

/// How a case comes out under one init: the init, what is seen, and why it differs from graceinit's
/// way, if it does.
type Row = (Init, &'static str, &'static str);

/// How long to look for what a peer is known never to do.
const BRIEFLY: Duration = Duration::from_secs(1);

/// Takes every init through one case, and graceinit by the name of each. `case` says what it saw, in the
/// words of the table; it is told how long to wait for what may not come. The table begins with graceinit.
fn compare<Case>(case: Case, rows: &'static [Row])
where
    Case: Fn(Init, Duration) -> Outcome<String>,
{
    let mut wrong = Vec::new();
    // `graceinit::pty::shell::NAME::case`
    let name = type_name::<Case>().rsplit("::").nth(1).unwrap_or_default();
    let (_, ours, _) = rows[0];
    let mut expect = |init: Init, outcome: &str, differs: bool| {
        // What is known not to come need not be waited for long; what is promised may take its time.
        let patience = if differs { BRIEFLY } else { PATIENCE };
        match case(init, patience) {
            Ok(seen) if seen == outcome => {}
            Ok(seen) => wrong.push(format!("{init:?}: expected {outcome:?}, saw {seen:?}")),
            Err(fault) => wrong.push(format!("{init:?}: expected {outcome:?}, but {fault:?}")),
        }
    };
    for (init, outcome, why) in rows {
        if *init == Init::Graceinit {
            expect(*init, outcome, false);
            continue;
        }
        match dropin::difference(name, *init) {
            Some(_) => {
                assert_ne!(*outcome, ours, "{name}: {init:?} does not differ, but is listed");
                expect(Init::Named(init), ours, false);
            }
            None => expect(Init::Named(init), outcome, !why.is_empty()),
        }
        if need::peer(init.program()) {
            expect(*init, outcome, !why.is_empty());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// unshare(1) for a pid namespace that ends with it.
fn unshare() -> Vec<&'static str> {
    let user = if sys::ids().1 == 0 { &[][..] } else { &USER_NAMESPACE[..] };
    ["unshare"].iter().chain(&NAMESPACE).chain(user).copied().collect()
}

/// What a terminal makes of keys.
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";

/// Why Ctrl-Z does nothing under catatonit.
const BLOCKED: &str = "leaves SIGTSTP blocked in the app, and in what the app starts";

/// An app that tells every signal it gets and ends by none but KILL.
fn telling_app() -> String {
    puppet_line("block ready echo")
}

/// Takes a bash that is about to show its first prompt through a job, and ends it with 7. Whether it ends,
/// and what the job could do.
fn jobs_of_a_bash(terminal: &mut Terminal, patience: Duration) -> Outcome<(bool, &'static str)> {
    if terminal.expect(PROMPT)?.contains("no job control") {
        terminal.line("exit 7")?;
        return Ok((true, "no job control"));
    }
    terminal.line("sleep 1000")?;
    terminal.process("sleep")?;
    terminal.send(CTRL_Z)?;
    if terminal.expect_within("Stopped", patience)?.is_none() {
        return Ok((false, "does not stop"));
    }
    terminal.expect(PROMPT)?;
    terminal.line("fg")?;
    let sleep = terminal.process("sleep")?;
    terminal.until("sleep in the foreground again", |terminal| {
        let front = terminal.processes().into_iter().find(|process| process.pid == sleep.pid);
        front.filter(|sleep| sleep.state == 'S' && sleep.tpgid == sleep.pgid)
    })?;
    terminal.send(CTRL_C)?;
    terminal.expect(PROMPT)?;
    terminal.line("exit 7")?;
    Ok((true, "stops and continues"))
}

/// Does something at the keyboard that makes the kernel send `signal` to the foreground, and says how
/// often an app that handles it is told. `start` runs a command line on a terminal. (Not for dumb-init
/// --single-child: there the app is in the init's group, is told by both, and it is a matter of luck
/// whether it sees one signal or two.)
fn deliveries(
    init: Init,
    signal: &str,
    start: fn(&str) -> Outcome<Terminal>,
    cause: fn(&mut Terminal) -> Outcome,
) -> Outcome<String> {
    let mut terminal = start(&init.wrap(&telling_app()))?;
    terminal.expect("ready pid=")?;
    cause(&mut terminal)?;
    terminal.expect(&format!("got {signal} "))?;
    // Whatever the init passes on in addition it passes on before the USR2 that comes later.
    let app = terminal.process("puppet")?;
    sys::kill(app.ppid, libc::SIGUSR2)?;
    terminal.expect("got USR2 ")?;
    Ok(match terminal.count(&format!("got {signal} ")) {
        1 => "once".into(),
        2 => "twice".into(),
        more => format!("{more} times"),
    })
}

/// As a shell script starts the tests with `&`, and nohup does: with signals ignored, which no program at the terminal
/// may inherit.
#[test]
fn the_tests_may_be_started_with_signals_ignored() -> Outcome {
    if !need::program("/usr/bin/env") {
        return Ok(());
    }
    let some = [
        "pty::pid1::ctrl_c_ends_the_app",
        "pty::pid1::ctrl_z_does_not_freeze_the_app_for_ever",
        "pty::shell::ctrl_backslash_ends_the_app_and_the_shell_sees_131",
        "pty::shell::ctrl_z_stops_the_job_and_fg_gives_the_terminal_back",
        "pty::shell::a_read_in_the_background_waits_for_fg",
    ];
    let done = Command::new("env")
        .arg("--ignore-signal=HUP,INT,QUIT,PIPE,TERM,TSTP,TTIN,TTOU")
        .arg(std::env::current_exe()?)
        .arg("--exact")
        .args(some)
        .output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success() && said.contains(" 5 passed;"), "{said}");
    Ok(())
}
