//! The command line. One table of options is the source of the parser, of `--help` and of the list
//! of variables; what the values mean is `config`'s business.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, builder::OsStringValueParser, error::ErrorKind};

/// The headings of `--help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// How a stop goes.
    Stop,
    /// External commands.
    Hooks,
    /// The account.
    Watch,
    /// The app's process and graceinit's own.
    Process,
    /// What starts no app, and where settings are read from.
    Tools,
}

/// How often an option may be given, and whether it takes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Present or not.
    Flag,
    /// Counted.
    Count,
    /// One value; the last one counts.
    One(&'static str),
    /// One value, a list with commas; the last one counts. In the file it may be an array.
    List(&'static str),
    /// Perhaps a value, then after `=`.
    Perhaps(&'static str),
    /// A value each time. In its variable: one on each line.
    Many(&'static str),
}

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// What it is called: the long name where there is one.
    pub name: &'static str,
    /// Its key in the file; `None`: it has none.
    pub key: Option<&'static str>,
    /// Its short name.
    pub short: Option<char>,
    /// `false` for the letters taken over from tini and dumb-init, which have no long name.
    pub long: bool,
    /// The variable that says the same.
    pub variable: Option<&'static str>,
    /// Its values.
    pub kind: Kind,
    /// Where `--help` shows it.
    pub group: Group,
    /// What `--help` says.
    pub help: &'static str,
}

const fn long(
    name: &'static str,
    variable: &'static str,
    kind: Kind,
    group: Group,
    help: &'static str,
) -> Opt {
    let (key, variable) = (Some(name), Some(variable));
    Opt { name, key, short: None, long: true, variable, kind, group, help }
}

const fn short(
    letter: char,
    name: &'static str,
    key: Option<&'static str>,
    variable: Option<&'static str>,
    kind: Kind,
    help: &'static str,
) -> Opt {
    let group = Group::Process;
    Opt { name, key, short: Some(letter), long: false, variable, kind, group, help }
}

/// Every option, in the order of `--help`.
pub const OPTIONS: &[Opt] = &[
    Opt {
        short: Some('t'),
        ..long(
            "grace",
            "GRACEINIT_GRACE",
            Kind::One("DUR"),
            Group::Stop,
            "Total budget from the stop request to SIGKILL; every other limit lies inside it [default: 15s; \
         in Docker or Podman 7s]. GRACE_EXIT_TIMEOUT is read too",
        )
    },
    long(
        "grace-max",
        "GRACEINIT_GRACE_MAX",
        Kind::One("DUR"),
        Group::Stop,
        "How far the app itself may move that moment, once there is a notify socket to ask through (not yet) [default: not at all]",
    ),
    long(
        "post-stop-timeout",
        "GRACEINIT_POST_STOP_TIMEOUT",
        Kind::One("DUR"),
        Group::Stop,
        "What the post-stop hooks get after that [default: 5s; in Docker or Podman 2s]",
    ),
    long(
        "stop-on",
        "GRACEINIT_STOP_ON",
        Kind::List("SIG,..."),
        Group::Stop,
        "Signals that begin a graceful stop [default: TERM,INT]",
    ),
    long(
        "stop-signal",
        "GRACEINIT_STOP_SIGNAL",
        Kind::List("SIG[:WAIT],..."),
        Group::Stop,
        "What the app is sent; several make a ladder, each waiting WAIT for the app to end before the next \
         (TERM:10s,INT:5s) [default: the signal that was received]",
    ),
    long(
        "scope",
        "GRACEINIT_SCOPE",
        Kind::One("group|main|mixed|tree"),
        Group::Stop,
        "Who receives the signals: the app's process group; the app alone; the app first and every \
         descendant from the second stop signal on; every descendant [default: group]",
    ),
    Opt {
        short: Some('r'),
        ..long(
            "rewrite",
            "GRACEINIT_REWRITE",
            Kind::Many("FROM:TO"),
            Group::Stop,
            "Send the app TO instead of FROM (names or numbers); TO 0 drops it",
        )
    },
    long(
        "diagnose",
        "GRACEINIT_DIAGNOSE",
        Kind::One("SIG[@LEAD]"),
        Group::Stop,
        "Sent to the app LEAD before SIGKILL, so that it says what it is doing (QUIT for Go and the JVM) \
         [default LEAD: 2s]",
    ),
    long(
        "stop-again",
        "GRACEINIT_STOP_AGAIN",
        Kind::One("ignore|kill"),
        Group::Stop,
        "What a second stop request does [default: ignore; for a Ctrl-C typed at the terminal kill]",
    ),
    long(
        "grace-exit",
        "GRACEINIT_GRACE_EXIT",
        Kind::One("CODE"),
        Group::Stop,
        "Exit code when the app had to be killed [default: 137]",
    ),
    long(
        "stop-exit-ok",
        "GRACEINIT_STOP_EXIT_OK",
        Kind::Many("CODE"),
        Group::Stop,
        "Exit 0 for this code of the app if a stop had been asked for (143 of a JVM)",
    ),
    long(
        "reload-on",
        "GRACEINIT_RELOAD_ON",
        Kind::List("SIG,..."),
        Group::Stop,
        "Signals that are passed on only after the on-reload hooks, if there are any [default: HUP]",
    ),
    long(
        "profile",
        "GRACEINIT_PROFILE",
        Kind::One("NAME[:ARG]"),
        Group::Stop,
        "Settings known to be right for a server (nginx, postgres, jvm ...); every other source counts more",
    ),
    long(
        "pre-start",
        "GRACEINIT_PRE_START",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run in order before the app is started; a failure ends the start",
    ),
    long(
        "on-ready",
        "GRACEINIT_ON_READY",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run in order when the app is ready",
    ),
    long(
        "on-reload",
        "GRACEINIT_ON_RELOAD",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run in order before a signal of --reload-on is passed on",
    ),
    long(
        "pre-stop",
        "GRACEINIT_PRE_STOP",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run first, all side by side; a failure is a warning",
    ),
    long(
        "on-stop",
        "GRACEINIT_ON_STOP",
        Kind::Many("CMD"),
        Group::Hooks,
        "Then run in order while the app still runs; retried while time is left",
    ),
    long(
        "post-stop",
        "GRACEINIT_POST_STOP",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run in order after everything else, whatever happened",
    ),
    long(
        "hook-timeout",
        "GRACEINIT_HOOK_TIMEOUT",
        Kind::One("DUR"),
        Group::Hooks,
        "A hook is killed after this [default: 5s]",
    ),
    long(
        "hook-retries",
        "GRACEINIT_HOOK_RETRIES",
        Kind::One("N"),
        Group::Hooks,
        "How often a failed hook is tried again [default: 3 for on-stop, else 0]",
    ),
    long(
        "hook-backoff",
        "GRACEINIT_HOOK_BACKOFF",
        Kind::One("DUR"),
        Group::Hooks,
        "The pause before the first retry, doubled each time [default: 200ms]",
    ),
    Opt {
        short: Some('v'),
        long: false,
        key: Some("verbosity"),
        ..long(
            "v",
            "GRACEINIT_VERBOSITY",
            Kind::Count,
            Group::Watch,
            "Log more: -v info, -vv debug, -vvv trace",
        )
    },
    long(
        "log-level",
        "GRACEINIT_LOG",
        Kind::One("LEVEL"),
        Group::Watch,
        "off, error, warn, info, debug or trace [default: warn; in Kubernetes info]",
    ),
    long(
        "user",
        "GRACEINIT_USER",
        Kind::One("USER[:GROUP]"),
        Group::Process,
        "Run the app and the hooks as this user: names from /etc/passwd and /etc/group, or numbers",
    ),
    short(
        's',
        "s",
        Some("subreaper"),
        Some("GRACEINIT_SUBREAPER"),
        Kind::Flag,
        "Be a child subreaper (accepted; automatic when not PID 1)",
    ),
    short(
        'p',
        "p",
        Some("parent-signal"),
        Some("GRACEINIT_PARENT_SIGNAL"),
        Kind::One("SIG"),
        "Be sent SIG when the parent process dies",
    ),
    short(
        'e',
        "e",
        Some("exit-ok"),
        Some("GRACEINIT_EXIT_OK"),
        Kind::Many("CODE"),
        "Exit 0 for this code of the app",
    ),
    short(
        'w',
        "w",
        Some("warn-reap"),
        Some("GRACEINIT_WARN_REAP"),
        Kind::Flag,
        "Warn when an orphan is reaped",
    ),
    short('g', "g", None, None, Kind::Flag, "The same as --scope group"),
    short('c', "c", None, None, Kind::Flag, "The same as --scope main"),
    Opt {
        key: None,
        ..long(
            "config",
            "GRACEINIT_CONFIG",
            Kind::One("PATH"),
            Group::Tools,
            "Read settings from this TOML file too; flags and variables count more",
        )
    },
    Opt {
        key: None,
        ..long(
            "check",
            "GRACEINIT_CHECK",
            Kind::Perhaps("docker|k8s:DUR"),
            Group::Tools,
            "Read everything, print the plan of a stop as a time line and start nothing; held against the \
             time that docker stop (10s) or a pod (k8s:30s) gives",
        )
    },
    Opt {
        group: Group::Tools,
        ..short('l', "l", None, None, Kind::Flag, "Show the licence and exit")
    },
];

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Options with their values, in the order of [`OPTIONS`]. A flag's value is empty.
    pub options: Vec<(&'static str, Vec<OsString>)>,
    /// The app and its arguments. Whether there must be one is `config`'s business.
    pub command: Vec<OsString>,
}

/// What else the command line can come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Instead {
    /// A text for stdout, and exit 0 (`--help`, `--version`, `-l`).
    Print(String),
    /// What is wrong, for the one grammar of messages.
    Wrong(String),
}

/// Reads the command line, without the program's own name. Parsing stops at the first word that is
/// no option: the app's own flags are never eaten.
///
/// # Errors
/// The text to print instead of running anything.
pub fn parse(args: &[OsString]) -> Result<Given, Instead> {
    // The plain case must not pay for a parser that it does not use.
    match args.first() {
        Some(first) if first == "--" && args.len() > 1 => {
            return Ok(Given { options: Vec::new(), command: args[1..].to_vec() });
        }
        Some(first) if !first.as_encoded_bytes().starts_with(b"-") => {
            return Ok(Given { options: Vec::new(), command: args.to_vec() });
        }
        _ => {}
    }
    let mut matches = command().try_get_matches_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Instead::Print(error.to_string()),
        _ => Instead::Wrong(plain(&error.to_string())),
    })?;
    let mut given = Given::default();
    for opt in OPTIONS {
        let values: Vec<OsString> = match opt.kind {
            Kind::Flag => matches.get_flag(opt.name).then(OsString::new).into_iter().collect(),
            Kind::Count => vec![OsString::new(); usize::from(matches.get_count(opt.name))],
            Kind::One(_) | Kind::List(_) | Kind::Perhaps(_) | Kind::Many(_) => {
                matches.remove_many(opt.name).map(Iterator::collect).unwrap_or_default()
            }
        };
        if !values.is_empty() {
            given.options.push((opt.name, values));
        }
    }
    if given.options.iter().any(|(name, _)| *name == "l") {
        return Err(Instead::Print(include_str!("../LICENSE").to_owned()));
    }
    given.command = matches.remove_many("COMMAND").map(Iterator::collect).unwrap_or_default();
    Ok(given)
}

/// clap's message in the grammar of graceinit: no "error:" of its own.
fn plain(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message).trim_end();
    // Not here: behind `--` begins the app.
    let lines = message.lines().filter(|line| !line.starts_with("  tip: to pass '"));
    lines.collect::<Vec<_>>().join("\n")
}

/// `X.Y.Z`, and the commit if the build knew it.
pub const VERSION: &str = env!("GRACEINIT_VERSION");

fn command() -> Command {
    let mut command = Command::new("graceinit")
        .version(VERSION)
        .no_binary_name(true)
        .about("Runs one app as PID 1 (or a child subreaper) and stops it gracefully.")
        .override_usage("graceinit [OPTIONS] [--] COMMAND [ARG]...")
        .args_override_self(true)
        .after_help(
            "Durations: 250ms, 10s, 1m 30s; a bare number is seconds. Signals: TERM, SIGTERM, 15, RTMIN+3.\n\
             Every option has a variable (in brackets) and a key in the file of --config. A flag counts more \
             than its variable, then come the file, the profile and the default. In the variable of an option \
             that can be repeated, each line is one value.\n\
             Hooks without a program: sleep:5s, http:POST http://127.0.0.1:9000/drain, signal:TSTP, touch:PATH, \
             rm:PATH, write:PATH TEXT.\n\
             Exit status: the app's; 128+n if signal n ended it; 125 graceinit's own error; 126 not \
             executable; 127 not found.",
        )
        .arg(
            Arg::new("COMMAND")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(OsStringValueParser::new())
                .help("The app and its arguments"),
        );
    for opt in OPTIONS {
        command = command.arg(arg(opt));
    }
    command
}

fn arg(opt: &Opt) -> Arg {
    let heading = match opt.group {
        Group::Stop => "Stop",
        Group::Hooks => "Hooks (external commands, split into words as a shell would)",
        Group::Watch => "Watch",
        Group::Process => "Process",
        Group::Tools => "Tools",
    };
    let help = match opt.variable {
        Some(variable) => format!("{} [{variable}]", opt.help),
        None => opt.help.to_owned(),
    };
    let mut arg = Arg::new(opt.name).help_heading(heading).help(help);
    if opt.long {
        arg = arg.long(opt.name);
    }
    if let Some(letter) = opt.short {
        arg = arg.short(letter);
    }
    match opt.kind {
        Kind::Flag => arg.action(ArgAction::SetTrue),
        Kind::Count => arg.action(ArgAction::Count),
        Kind::Perhaps(value) => arg
            .value_name(value)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("")
            .value_parser(OsStringValueParser::new()),
        Kind::One(value) | Kind::List(value) => {
            arg.value_name(value).value_parser(OsStringValueParser::new())
        }
        Kind::Many(value) => {
            arg.value_name(value).action(ArgAction::Append).value_parser(OsStringValueParser::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn command_of(line: &str) -> Vec<OsString> {
        parse(&words(line)).expect(line).command
    }

    #[test]
    fn the_table_is_a_valid_parser() {
        command().debug_assert();
    }

    #[test]
    fn the_apps_flags_are_never_eaten() {
        for (line, want) in [
            ("app -v --grace 3", "app -v --grace 3"),
            ("-- app -v", "app -v"),
            ("-v app -v --help", "app -v --help"),
            ("-v -- app -- -x", "app -- -x"),
            ("-v app -- -x", "app -- -x"),
            ("-- -app", "-app"),
            ("-vv -- -- x", "-- x"),
            ("--grace 3 -g app -g", "app -g"),
            ("--grace=3 app", "app"),
            ("-t3 app -t", "app -t"),
        ] {
            assert_eq!(command_of(line), words(want), "{line}");
        }
    }

    #[test]
    fn options_arrive_with_their_values() {
        let given =
            parse(&words("-vvv -e 3 -e143 --rewrite TERM:QUIT -sg -t 5 app")).expect("fine");
        let find = |name| given.options.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        assert_eq!(find("v").map(|v| v.len()), Some(3));
        assert_eq!(find("e"), Some(words("3 143")));
        assert_eq!(find("rewrite"), Some(words("TERM:QUIT")));
        assert_eq!(find("grace"), Some(words("5")));
        assert!(find("s").is_some() && find("g").is_some() && find("c").is_none());
    }

    #[test]
    fn mistakes_name_the_word_and_what_was_meant() {
        let wrong = |line: &str| match parse(&words(line)) {
            Err(Instead::Wrong(message)) => message,
            other => format!("{other:?}"),
        };
        let message = wrong("--grase 3 app");
        assert!(message.contains("'--grase'") && message.contains("'--grace'"), "{message}");
        assert!(wrong("app").contains("Ok("), "a lone command is fine");
    }

    #[test]
    fn the_value_of_check_needs_its_sign() {
        for (line, value, command) in [
            ("--check app", "", "app"),
            ("--check=docker app", "docker", "app"),
            ("--check", "", ""),
        ] {
            let given = parse(&words(line)).expect(line);
            assert_eq!(given.options, [("check", vec![OsString::from(value)])], "{line}");
            assert_eq!(given.command, words(command), "{line}");
        }
    }

    #[test]
    fn names_variables_and_keys_are_used_once() {
        let all: [(&str, Vec<&str>); 3] = [
            ("names", OPTIONS.iter().map(|opt| opt.name).collect()),
            ("variables", OPTIONS.iter().filter_map(|opt| opt.variable).collect()),
            ("keys", OPTIONS.iter().filter_map(|opt| opt.key).collect()),
        ];
        for (what, mut list) in all {
            list.sort_unstable();
            let before = list.len();
            list.dedup();
            assert_eq!(list.len(), before, "{what}");
        }
    }
}
