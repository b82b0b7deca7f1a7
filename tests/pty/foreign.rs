//! Terminals that are somebody else's.

use std::time::Duration;

use super::{Init, Pty, Terminal, bare, compare};
use crate::support::{Outcome, Status};
use Init::{Catatonit, DumbInit, DumbInitSingle, Graceinit, Tini};

const STARTS: &str = "starts";

fn outcome(status: Status) -> String {
    if status == Status::Code(0) { STARTS.into() } else { format!("{status}") }
}

/// stdin is a terminal, but the session has another one: a descriptor that was passed on.
#[test]
fn stdin_may_be_a_terminal_that_is_not_the_controlling_one() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let other = Pty::open()?;
        let line = format!("exec {} <{}", init.wrap("true"), other.path()?);
        Ok(outcome(Terminal::start(&["sh", "-c", &line])?.wait()?))
    }
    compare(
        case,
        &[
            (Graceinit, STARTS, ""),
            (Tini, STARTS, ""),
            (DumbInit, STARTS, ""),
            (DumbInitSingle, STARTS, ""),
            (Catatonit, STARTS, ""),
        ],
    );
}

/// stdin is a terminal, but the session has none: `setsid init`, a systemd unit without TTYPath.
#[test]
fn stdin_may_be_a_terminal_in_a_session_without_one() {
    fn case(init: Init, _: Duration) -> Outcome<String> {
        let mut setsid = bare("setsid");
        setsid.args(init.wrap("true").split(' '));
        Ok(outcome(Terminal::attach(setsid)?.wait()?))
    }
    compare(
        case,
        &[
            (Graceinit, STARTS, ""),
            (Tini, STARTS, ""),
            (DumbInit, STARTS, ""),
            (DumbInitSingle, STARTS, ""),
            (Catatonit, STARTS, ""),
        ],
    );
}
