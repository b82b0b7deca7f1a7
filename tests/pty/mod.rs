//! At a terminal: Ctrl-C, Ctrl-Z, `fg`, `bg`, `&`, window sizes and reads, under a shell and as
//! PID 1. Where the promise is shared, tini, dumb-init and catatonit go through the same steps; what
//! they do differently stands beside each case, and is asserted too, so that docs/comparison.md stays
//! true.

#![allow(unreachable_pub, reason = "the terminal is lent to the container tests")]

mod foreign;
mod live;
mod pid1;
mod shell;
mod terminal;

use std::time::Duration;

use crate::support::init::{NAMESPACE, USER_NAMESPACE, puppet_line};
use crate::support::{Outcome, PATIENCE, Program, need, sys};
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
    Catatonit,
}

impl Init {
    fn program(self) -> Program {
        match self {
            Init::Graceinit => Program::Graceinit,
            Init::Tini => Program::Tini,
            Init::DumbInit | Init::DumbInitSingle => Program::DumbInit,
            Init::Catatonit => Program::Catatonit,
        }
    }

    /// The command line of `app` under this init.
    pub fn wrap(self, app: &str) -> String {
        let flags = match self {
            Init::Tini => " -s",
            Init::DumbInitSingle => " --single-child",
            Init::Graceinit | Init::DumbInit | Init::Catatonit => "",
        };
        format!("{}{flags} -- {app}", self.program().path().display())
    }
}

/// How a case comes out under one init: the init, what is seen, and why it differs from graceinit's
/// way, if it does.
type Row = (Init, &'static str, &'static str);

/// How long to look for what a peer is known never to do.
const BRIEFLY: Duration = Duration::from_secs(1);

/// Takes every init through one case. `case` says what it saw, in the words of the table; it is told
/// how long to wait for what may not come.
fn compare(case: fn(Init, Duration) -> Outcome<String>, rows: &[Row]) {
    let mut wrong = Vec::new();
    for (init, outcome, why) in rows {
        let ours = *init == Init::Graceinit;
        if !ours && !need::peer(init.program()) {
            continue;
        }
        // What is known not to come need not be waited for long; what is promised may take its time.
        let patience = if why.is_empty() { PATIENCE } else { BRIEFLY };
        match case(*init, patience) {
            Ok(seen) if seen == *outcome => {}
            Ok(seen) => wrong.push(format!("{init:?}: expected {outcome:?}, saw {seen:?}")),
            Err(fault) => wrong.push(format!("{init:?}: expected {outcome:?}, but {fault:?}")),
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
