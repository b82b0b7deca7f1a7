//! tini, dumb-init and catatonit go through the shared cases too. Where one of them does not keep a
//! promise, that is a line of the table below: a difference that nobody listed fails, and so does a
//! listed one that is no longer there. graceinit goes through them under their names as well, and there it
//! has to keep every promise, but for the codes that go with a name.

use std::time::Duration;

use crate::support::{Fault, Launch, Outcome, PATIENCE, Program, Room, need};

/// Who is being tried, and where.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    pub(super) program: Program,
    pub(super) room: Room,
    /// How long to wait for what it should do. A peer that is known not to do it needs no patience.
    pub(super) patience: Duration,
}

impl Subject {
    pub(super) fn new(program: Program, room: Room) -> Subject {
        Subject { program, room, patience: PATIENCE }
    }

    pub(super) fn launch(self) -> Launch {
        Launch::new(self.program, self.room).patience(self.patience)
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
use Program::{AsCatatonit, AsDumbInit, AsTini, Catatonit, DumbInit, Tini};
use Room::{PidNs, Plain};

const BOTH: &[Room] = &[PidNs, Plain];
/// graceinit under another name is tried as PID 1; what it does elsewhere is the same code.
const NAMED: &[Room] = &[PidNs];

/// (case, who, where, what, why). `docs/comparison.md` says the same to people.
const KNOWN_DIFFERENCES: &[(&str, Program, &[Room], Known, &str)] = &[
    // Signals.
    (
        "every_signal_reaches_the_app_once",
        Tini,
        BOTH,
        Differs,
        "loses ILL TRAP ABRT BUS FPE SEGV SYS, TTIN TTOU, 32 33",
    ),
    ("every_signal_reaches_the_app_once", DumbInit, BOTH, Differs, "loses TSTP TTIN TTOU, 32 33"),
    (
        "every_signal_reaches_the_app_once",
        Catatonit,
        BOTH,
        Differs,
        "loses ILL TRAP ABRT BUS FPE SEGV SYS, TSTP TTIN TTOU, 32 33",
    ),
    (
        "a_signal_in_the_start_window_comes_exactly_once",
        Tini,
        BOTH,
        Races,
        "signals the group before it exists: ESRCH, and the signal is lost",
    ),
    (
        "a_signal_in_the_start_window_comes_exactly_once",
        DumbInit,
        BOTH,
        Races,
        "the same; and it unblocks what the app was given blocked, so that the signal may kill it",
    ),
    ("a_signal_in_the_start_window_comes_exactly_once", Catatonit, BOTH, Races, "as tini"),
    ("a_stopped_app_is_continued", Tini, BOTH, Differs, "no CONT follows the stop signal"),
    ("a_stopped_app_is_continued", DumbInit, BOTH, Differs, "no CONT follows the stop signal"),
    ("a_stopped_app_is_continued", Catatonit, BOTH, Differs, "no CONT follows the stop signal"),
    (
        "a_signal_that_may_not_be_sent_is_no_end",
        Tini,
        BOTH,
        Differs,
        "exits 1 when kill(2) answers EPERM, and leaves the app to itself",
    ),
    (
        "a_signal_that_may_not_be_sent_is_no_end",
        Catatonit,
        BOTH,
        Races,
        "exits 1 at the start if the app's uid has changed by then: it may not signal it",
    ),
    // What the app is given.
    ("mask_and_dispositions", Tini, BOTH, Differs, "32 and 33 are unblocked"),
    ("mask_and_dispositions", DumbInit, BOTH, Differs, "everything is unblocked"),
    ("mask_and_dispositions", Catatonit, BOTH, Differs, "TSTP TTIN TTOU are blocked in the app"),
    ("inherited_descriptors_are_not_kept", Tini, BOTH, Differs, "keeps all open"),
    ("inherited_descriptors_are_not_kept", DumbInit, BOTH, Differs, "keeps all open"),
    ("listen_pid_names_the_app", Tini, BOTH, Differs, "names tini"),
    ("listen_pid_names_the_app", DumbInit, BOTH, Differs, "names dumb-init"),
    ("closed_standard_streams", Tini, BOTH, Differs, "exits 1 without a stdin"),
    // Exit status.
    ("exec_failures_have_the_shells_codes", Tini, BOTH, Differs, "1 for ENOTDIR"),
    ("exec_failures_have_the_shells_codes", DumbInit, BOTH, Differs, "2 whatever the reason"),
    ("exec_failures_have_the_shells_codes", Catatonit, BOTH, Differs, "1 whatever the reason"),
    ("the_path_is_searched_as_execvp_does", DumbInit, BOTH, Differs, "2 for EACCES"),
    ("the_path_is_searched_as_execvp_does", Catatonit, BOTH, Differs, "1 for EACCES"),
    (
        "flags_behind_the_command_are_the_apps",
        Tini,
        BOTH,
        Differs,
        "without `--` it takes the app's flags for its own",
    ),
    ("flags_behind_the_command_are_the_apps", Catatonit, BOTH, Differs, "as tini"),
    ("chld_inherited_as_ignored", Tini, BOTH, Differs, "hangs for ever"),
    ("chld_inherited_as_ignored", Catatonit, BOTH, Differs, "hangs for ever"),
    // By name, the codes are those of the name.
    ("exec_failures_have_the_shells_codes", AsTini, NAMED, Differs, "1 for ENOTDIR, as tini"),
    ("exec_failures_have_the_shells_codes", AsDumbInit, NAMED, Differs, "2, as dumb-init"),
    ("exec_failures_have_the_shells_codes", AsCatatonit, NAMED, Differs, "1, as catatonit"),
    ("the_path_is_searched_as_execvp_does", AsDumbInit, NAMED, Differs, "2 for EACCES"),
    ("the_path_is_searched_as_execvp_does", AsCatatonit, NAMED, Differs, "1 for EACCES"),
    // Orphans.
    (
        "two_thousand_orphans_at_once",
        DumbInit,
        &[Plain],
        Differs,
        "no subreaper: orphans go to the next one above",
    ),
    (
        "helpers_are_waited_for_when_the_app_is_stopped",
        Tini,
        BOTH,
        Differs,
        "leaves with the app: helpers are killed (PID 1) or left behind",
    ),
    ("helpers_are_waited_for_when_the_app_is_stopped", DumbInit, BOTH, Differs, "as tini"),
    ("helpers_are_waited_for_when_the_app_is_stopped", Catatonit, BOTH, Differs, "as tini"),
    ("helpers_are_waited_for_when_the_app_ends_by_itself", Tini, BOTH, Differs, "as above"),
    (
        "helpers_are_waited_for_when_the_app_ends_by_itself",
        DumbInit,
        BOTH,
        Differs,
        "sends TERM to the group and leaves without waiting",
    ),
    ("helpers_are_waited_for_when_the_app_ends_by_itself", Catatonit, BOTH, Differs, "as tini"),
    // The log.
    ("the_log_keeps_off_the_apps_stdout", Tini, BOTH, Differs, "-v, -vv, -vvv go to stdout"),
    ("a_full_stderr_blocks_nobody", DumbInit, BOTH, Differs, "-v hangs in write(2)"),
    (
        "a_broken_stderr_is_no_sigpipe_for_the_app",
        DumbInit,
        BOTH,
        Differs,
        "-v forwards its own SIGPIPE to the app, and so on without end",
    ),
    (
        "a_log_that_cannot_be_written_costs_no_time",
        DumbInit,
        BOTH,
        Differs,
        "-v spins on a broken pipe and hangs on a full one",
    ),
];

/// Runs a shared case. graceinit must pass it; a peer must do what the table says.
pub(super) fn compare(
    case: &str,
    program: Program,
    room: Room,
    test: impl Fn(Subject) -> Outcome,
) -> Outcome {
    if room == PidNs && !need::pid_namespace() {
        return Ok(());
    }
    if !program.is_ours() && !need::peer(program) {
        return Ok(());
    }
    let known = KNOWN_DIFFERENCES
        .iter()
        .find(|(name, who, rooms, ..)| *name == case && *who == program && rooms.contains(&room));
    let mut subject = Subject::new(program, room);
    if known.is_some() {
        subject.patience = Duration::from_secs(1);
    }
    match (test(subject), known) {
        (Ok(()), None) | (_, Some((.., Races, _))) | (Err(_), Some((.., Differs, _))) => Ok(()),
        (Err(fault), None) => Err(fault),
        (Ok(()), Some((.., Differs, why))) => Err(Fault::new(format!(
            "{program:?} ({room:?}) keeps {case} now; the table says it does not: {why}"
        ))),
    }
}

/// Makes the tests of shared cases `fn name(subject: Subject) -> Outcome`: four programs, two rooms, and
/// graceinit as PID 1 by the three other names.
macro_rules! shared {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use $crate::blackbox::peers::compare;
            use $crate::support::{Outcome, Program, Room};

            fn run(program: Program, room: Room) -> Outcome {
                compare(stringify!($name), program, room, super::$name)
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
            #[test]
            fn as_tini() -> Outcome { run(Program::AsTini, Room::PidNs) }
            #[test]
            fn as_dumb_init() -> Outcome { run(Program::AsDumbInit, Room::PidNs) }
            #[test]
            fn as_catatonit() -> Outcome { run(Program::AsCatatonit, Room::PidNs) }
        }
    )*};
}
pub(super) use shared;
