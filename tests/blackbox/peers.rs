//! tini, dumb-init and catatonit go through the shared cases too. Where one of them does not keep a
//! promise, that is a line of the table below: a difference that nobody listed fails, and so does a
//! listed one that is no longer there.

use std::time::Duration;

use crate::support::{Fault, Launch, Outcome, PATIENCE, Program, Room, need};

/// Who is being tried, and where.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    pub(super) program: Program,
    pub(super) room: Room,
}

impl Subject {
    /// How long to wait for what it should do. A peer that does not do it is listed with that;
    /// nobody has to wait long for it.
    pub(super) fn patience(self) -> Duration {
        if self.program == Program::Graceinit { PATIENCE } else { Duration::from_secs(3) }
    }

    pub(super) fn launch(self) -> Launch {
        Launch::new(self.program, self.room)
    }
}

/// What a peer is known to do with a case.
enum Known {
    /// It fails it, always.
    Differs,
    /// It fails it often, by a race: either end is possible and says nothing.
    Races,
}

use Known::{Differs, Races};
use Program::{Catatonit, DumbInit, Tini};
use Room::{PidNs, Plain};

const BOTH: &[Room] = &[PidNs, Plain];

/// (case, who, where, what, why). `docs/comparison.md` says the same to people.
const KNOWN_DIFFERENCES: &[(&str, Program, &[Room], Known, &str)] = &[
];

/// Runs a shared case. graceinit must pass it; a peer must do what the table says.
pub(super) fn compare(case: &str, subject: Subject, test: impl Fn(Subject) -> Outcome) -> Outcome {
    let Subject { program, room } = subject;
    if room == PidNs && !need::pid_namespace() {
        return Ok(());
    }
    if program == Program::Graceinit {
        return test(subject);
    }
    if !need::peer(program) {
        return Ok(());
    }
    let known = KNOWN_DIFFERENCES
        .iter()
        .find(|(name, who, rooms, ..)| *name == case && *who == program && rooms.contains(&room));
    match (test(subject), known) {
        (Ok(()), None) | (_, Some((.., Races, _))) | (Err(_), Some((.., Differs, _))) => Ok(()),
        (Err(fault), None) => Err(fault),
        (Ok(()), Some((.., Differs, why))) => Err(Fault::new(format!(
            "{program:?} ({room:?}) keeps {case} now; the table says it does not: {why}"
        ))),
    }
}

/// Makes the tests of shared cases `fn name(subject: Subject) -> Outcome`: four programs, two rooms.
macro_rules! shared {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use $crate::blackbox::peers::{Subject, compare};
            use $crate::support::{Outcome, Program, Room};

            fn run(program: Program, room: Room) -> Outcome {
                compare(stringify!($name), Subject { program, room }, super::$name)
            }
            #[test]
            fn graceinit_pid_1() -> Outcome { run(Program::Graceinit, Room::PidNs) }
            #[test]
            fn graceinit_plain() -> Outcome { run(Program::Graceinit, Room::Plain) }
            #[test]
            fn tini_pid_1() -> Outcome { run(Program::Tini, Room::PidNs) }
            #[test]
            fn tini_plain() -> Outcome { run(Program::Tini, Room::Plain) }
            #[test]
            fn dumb_init_pid_1() -> Outcome { run(Program::DumbInit, Room::PidNs) }
            #[test]
            fn dumb_init_plain() -> Outcome { run(Program::DumbInit, Room::Plain) }
            #[test]
            fn catatonit_pid_1() -> Outcome { run(Program::Catatonit, Room::PidNs) }
            #[test]
            fn catatonit_plain() -> Outcome { run(Program::Catatonit, Room::Plain) }
        }
    )*};
}
pub(super) use shared;
