//! What differs on purpose. docs/comparison.md has the reasons, and says the same to people.

use super::Name::{self, Catatonit, DumbInit, Tini};

/// A difference: what was tried, what the original does, and what graceinit does by its name.
pub(super) struct Row {
    pub(super) case: &'static str,
    who: &'static [Name],
    pub(super) what: &'static [&'static str],
    pub(super) theirs: &'static str,
    pub(super) ours: &'static str,
    why: &'static str,
}

pub(super) fn rows(case: &str, name: Name) -> Vec<&'static Row> {
    ROWS.iter().filter(|row| row.case == case && row.who.contains(&name)).collect()
}

const fn row(
    case: &'static str,
    who: &'static [Name],
    what: &'static [&'static str],
    theirs: &'static str,
    ours: &'static str,
    why: &'static str,
) -> Row {
    Row { case, who, what, theirs, ours, why }
}

// The reasons, by the first column of the page's table.
const EATEN: &str = "flags behind the command";
const DASHES: &str = "a `--` further back than right behind the command";
const UNION: &str = "options of the other programs, and graceinit's own";
const VERSION: &str = "`tini --version` with more words behind it";
const SHORTENED: &str = "shortened long options (`--sing`)";
const CARELESS: &str = "careless numbers (`-r 15:12x`, `-e ''`, `TINI_VERBOSITY=-1`)";
const BY_NAME: &str = "signals by name, and above 31";
const STDOUT: &str = "what `-v` and `TINI_VERBOSITY` from 2 on make it say";
const BOTH: &str = "`-v` together with `TINI_VERBOSITY`";
const RESERVED: &str = "`CATATONIT_LOG`";
const FOREIGN: &str = "a program for another machine";
const ORPHANS: &str = "orphans, when it is not PID 1";
const HELPERS: &str = "what the app leaves behind";
const LOST: &str = "ILL TRAP ABRT BUS FPE SEGV SYS, 32 and 33";
const ORDERS: &str = "TSTP, TTIN and TTOU that a process sends";
const GROUP: &str = "the app's process group under `-c`";
const ROOT: &str = "the init's own directory";

const LINES: &str = "command_lines";
const GETS: &str = "who_gets_a_signal";
const FATE: &str = "what_becomes_of_helpers";
const FAULTS: &str = "all but ILL TRAP ABRT BUS FPE SEGV SYS 32 33";

const ROWS: &[Row] = &[
    // The command line.
    row(LINES, &[Tini, Catatonit], &["echo APP -v --x"], "1 stderr", "0 app[ -v --x ]", EATEN),
    row(LINES, &[Tini], &["echo APP -h"], "0 stdout", "0 app[ -h ]", EATEN),
    row(LINES, &[Catatonit], &["echo APP -h"], "0 stderr", "0 app[ -h ]", EATEN),
    row(LINES, &[Tini], &["echo APP --version"], "1 stderr", "0 app[ --version ]", EATEN),
    row(LINES, &[Catatonit], &["echo APP --version"], "0 stdout", "0 app[ --version ]", EATEN),
    row(LINES, &[Tini, Catatonit], &["echo APP -- -x"], "0 app[ -x ]", "0 app[ -- -x ]", DASHES),
    row(LINES, &[Tini, Catatonit], &["--help"], "1 stderr", "0 stdout", UNION),
    row(LINES, &[Tini], &["-V", "-L"], "1 stderr", "0 stdout", UNION),
    row(LINES, &[DumbInit], &["-l", "-L"], "1 stderr", "0 stdout", UNION),
    row(LINES, &[Catatonit], &["-l"], "1 stderr", "0 stdout", UNION),
    row(LINES, &[Tini], &["-r 15:2 -- echo APP"], "1 stderr", "0 app[ ]", UNION),
    row(LINES, &[Tini], &["-c -- echo APP"], "1 stderr", "0 app[ ]", UNION),
    row(LINES, &[Tini], &["--single-child -- echo APP"], "1 stderr", "0 app[ ]", UNION),
    row(LINES, &[DumbInit], &["-g echo APP", "-s echo APP"], "1 stderr", "0 app[ ]", UNION),
    row(LINES, &[Catatonit], &["-v -- echo APP"], "1 stderr", "0 app[ ] stderr", UNION),
    row(
        LINES,
        &[Catatonit],
        &["-s -- echo APP", "-c -- echo APP", "-r 15:2 -- echo APP"],
        "1 stderr",
        "0 app[ ]",
        UNION,
    ),
    row(LINES, &[Tini], &["--version echo APP"], "1 stderr", "0 stdout", VERSION),
    row(LINES, &[DumbInit], &["--sing echo APP"], "0 app[ ]", "1 stderr", SHORTENED),
    row(LINES, &[Catatonit], &["--vers"], "0 stdout", "1 stderr", SHORTENED),
    row(LINES, &[DumbInit], &["-r 15:12x echo APP"], "0 app[ ]", "1 stderr", CARELESS),
    row(LINES, &[Tini], &["-e '' -- echo APP"], "0 app[ ]", "1 stderr", CARELESS),
    row(
        LINES,
        &[DumbInit],
        &["-r 1:32 echo APP", "-r 34:15 echo APP", "-r TERM:INT echo APP"],
        "1 stderr",
        "0 app[ ]",
        BY_NAME,
    ),
    row(
        LINES,
        &[Tini],
        &["-p TERM -- echo APP", "-p 15 -- echo APP"],
        "1 stderr",
        "0 app[ ]",
        BY_NAME,
    ),
    row(
        LINES,
        &[Tini],
        &["-wvvg -- echo APP", "-v -- echo APP"],
        "0 app[ ] stdout",
        "0 app[ ] stderr",
        STDOUT,
    ),
    // Variables.
    row(
        "how_much_is_said",
        &[Tini],
        &["TINI_VERBOSITY=2", "TINI_VERBOSITY=3", "TINI_VERBOSITY=4"],
        "0 app[ ] stdout",
        "0 app[ ] stderr",
        STDOUT,
    ),
    row(
        "how_much_is_said",
        &[Tini],
        &["TINI_VERBOSITY=-1"],
        "0 app[ ] stdout",
        "0 app[ ]",
        CARELESS,
    ),
    row("how_much_is_said", &[Tini], &["TINI_VERBOSITY=1 -v"], "0 app[ ]", "0 app[ ] stderr", BOTH),
    row("how_much_is_said", &[Catatonit], &["CATATONIT_LOG=1"], "1 stderr", "0 app[ ]", RESERVED),
    // What cannot be run.
    row(
        "what_cannot_be_run",
        &[Tini, Catatonit],
        &["./foreign"],
        "127 stderr",
        "1 stderr",
        FOREIGN,
    ),
    row("what_cannot_be_run", &[DumbInit], &["./foreign"], "127 stderr", "2 stderr", FOREIGN),
    // Orphans and helpers.
    row("who_adopts_orphans", &[Tini], &["[]"], "somebody above", "the init", ORPHANS),
    row("who_adopts_orphans", &[Tini], &["[] says"], "something", "nothing", ORPHANS),
    row("who_adopts_orphans", &[DumbInit], &["[]", "[-c]"], "somebody above", "the init", ORPHANS),
    row(
        FATE,
        &[Tini, Catatonit],
        &["Plain same", "Plain setsid"],
        "code 6, left behind",
        "code 6, told",
        HELPERS,
    ),
    row(
        FATE,
        &[Tini, Catatonit],
        &["PidNs same", "PidNs setsid"],
        "code 6, killed",
        "code 6, told",
        HELPERS,
    ),
    row(
        FATE,
        &[DumbInit],
        &["Plain setsid", "Plain same -c"],
        "code 6, left behind",
        "code 6, told",
        HELPERS,
    ),
    row(FATE, &[DumbInit], &["PidNs setsid"], "code 6, killed", "code 6, told", HELPERS),
    // Signals.
    row(
        GETS,
        &[Tini],
        &[
            "[] app",
            "[-g] app",
            "[-g] child",
            "[TINI_KILL_PROCESS_GROUP=] app",
            "[TINI_KILL_PROCESS_GROUP=] child",
            "[DUMB_INIT_SETSID=0] app",
        ],
        FAULTS,
        "all",
        LOST,
    ),
    row(
        GETS,
        &[Catatonit],
        &["[] app", "[-g] app", "[-g] child", "[TINI_KILL_PROCESS_GROUP=1] app"],
        FAULTS,
        "all",
        LOST,
    ),
    row(
        GETS,
        &[DumbInit],
        &[
            "[] app",
            "[] child",
            "[-c] app",
            "[--single-child] app",
            "[DUMB_INIT_SETSID=0] app",
            "[DUMB_INIT_SETSID=1] app",
            "[DUMB_INIT_SETSID=1] child",
            "[DUMB_INIT_SETSID=] app",
            "[DUMB_INIT_SETSID=] child",
        ],
        "all but 32 33",
        "all",
        LOST,
    ),
    row(
        GETS,
        &[Tini],
        &[
            "[] TTIN",
            "[] TTOU",
            "[-g] TTIN",
            "[-g] TTOU",
            "[TINI_KILL_PROCESS_GROUP=] TTIN",
            "[TINI_KILL_PROCESS_GROUP=] TTOU",
            "[DUMB_INIT_SETSID=0] TTIN",
            "[DUMB_INIT_SETSID=0] TTOU",
        ],
        "not told",
        "told",
        ORDERS,
    ),
    row(
        GETS,
        &[Catatonit],
        &[
            "[] TSTP",
            "[] TTIN",
            "[] TTOU",
            "[-g] TSTP",
            "[-g] TTIN",
            "[-g] TTOU",
            "[TINI_KILL_PROCESS_GROUP=1] TSTP",
            "[TINI_KILL_PROCESS_GROUP=1] TTIN",
            "[TINI_KILL_PROCESS_GROUP=1] TTOU",
        ],
        "not told",
        "told",
        ORDERS,
    ),
    row(
        GETS,
        &[DumbInit],
        &[
            "[] TSTP",
            "[] TTIN",
            "[] TTOU",
            "[DUMB_INIT_SETSID=1] TSTP",
            "[DUMB_INIT_SETSID=1] TTIN",
            "[DUMB_INIT_SETSID=1] TTOU",
            "[DUMB_INIT_SETSID=] TSTP",
            "[DUMB_INIT_SETSID=] TTIN",
            "[DUMB_INIT_SETSID=] TTOU",
        ],
        "frozen",
        "told",
        ORDERS,
    ),
    // Where the app stands.
    row("where_init_and_app_stand", &[DumbInit], &["[-c] leads a group"], "false", "true", GROUP),
    row(
        "where_init_and_app_stand",
        &[Tini, Catatonit],
        &["[] the init's directory", "[-g] the init's directory"],
        "as started",
        "/",
        ROOT,
    ),
];

/// The page lists what this table has, and the other way round. Lines with † come from elsewhere.
#[test]
fn the_page_has_every_reason() {
    let page = include_str!("../../docs/comparison.md");
    let (_, section) = page.split_once("\n### What still differs\n").expect("the section");
    let section = section.split_once("\n#").map_or(section, |(section, _)| section);
    // Without the head of the table.
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
    let first = rows.filter_map(|line| line.split(" | ").next());
    let mut told: Vec<&str> = first.filter(|first| !first.ends_with('†')).collect();
    let mut known: Vec<&str> = ROWS.iter().map(|row| row.why).collect();
    told.sort_unstable();
    known.sort_unstable();
    known.dedup();
    assert_eq!(told, known, "docs/comparison.md (left) and the table (right)");
}
