//! graceinit in the place of tini, dumb-init and catatonit: the same cases run against the original and
//! against graceinit under its name, and what is seen is compared word for word. A difference has to be
//! a row of `table.rs`, and its reason a line of docs/comparison.md; a row whose difference is gone fails.

mod given;
mod pause;
mod reap;
mod settings;
mod signals;
mod table;
mod words;

use crate::support::{Fault, Launch, Outcome, Program, Room, need};

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Tini,
    DumbInit,
    Catatonit,
}

impl Name {
    const ALL: [Name; 3] = [Name::Tini, Name::DumbInit, Name::Catatonit];

    fn original(self) -> Program {
        match self {
            Name::Tini => Program::Tini,
            Name::DumbInit => Program::DumbInit,
            Name::Catatonit => Program::Catatonit,
        }
    }

    fn ours(self) -> Program {
        match self {
            Name::Tini => Program::AsTini,
            Name::DumbInit => Program::AsDumbInit,
            Name::Catatonit => Program::AsCatatonit,
        }
    }
}

/// Who is being tried.
#[derive(Clone, Copy)]
struct Subject {
    name: Name,
    program: Program,
}

impl Subject {
    /// Without any flags but those that follow.
    fn launch(self, room: Room) -> Launch {
        Launch::new(self.program, room).no_flags()
    }
}

/// What a case has seen: of what, and the outcome.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn note(&mut self, what: impl Into<String>, outcome: impl Into<String>) {
        self.0.push((what.into(), outcome.into()));
    }
}

/// Runs a case with the original and with graceinit under its name.
fn compare(case: &str, name: Name, test: impl Fn(Subject) -> Outcome<Seen>) -> Outcome {
    if !need::peer(name.original()) || !need::pid_namespace() {
        return Ok(());
    }
    let Seen(theirs) = test(Subject { name, program: name.original() })?;
    let Seen(ours) = test(Subject { name, program: name.ours() })?;
    let rows = table::rows(case, name);
    let mut wrong = Vec::new();
    for ((what, theirs), (also, ours)) in theirs.iter().zip(&ours) {
        let row = rows.iter().find(|row| row.what.contains(&what.as_str()));
        let ok = match row {
            _ if what != also => false,
            Some(row) => row.theirs == theirs && row.ours == ours,
            None => theirs == ours,
        };
        if !ok {
            let listed = match row {
                Some(row) => format!(" (listed: {:?} and {:?})", row.theirs, row.ours),
                None => String::new(),
            };
            wrong.push(format!("{what}: they {theirs:?}, we {ours:?}{listed}"));
        }
    }
    for what in rows.iter().flat_map(|row| row.what) {
        if !theirs.iter().any(|(seen, _)| seen == what) {
            wrong.push(format!("{what}: listed, but not tried"));
        }
    }
    match wrong.is_empty() && theirs.len() == ours.len() {
        true => Ok(()),
        false => Err(Fault::new(format!("{name:?}, {case}:\n{}", wrong.join("\n")))),
    }
}

/// Makes the tests of cases `fn name(subject: Subject) -> Outcome<Seen>`: one for each name.
macro_rules! pairs {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            use $crate::dropin::{Name, compare};
            use $crate::support::Outcome;

            #[test]
            fn tini() -> Outcome { compare(stringify!($case), Name::Tini, super::$case) }
            #[test]
            fn dumb_init() -> Outcome { compare(stringify!($case), Name::DumbInit, super::$case) }
            #[test]
            fn catatonit() -> Outcome { compare(stringify!($case), Name::Catatonit, super::$case) }
        }
    )*};
}
use pairs;
