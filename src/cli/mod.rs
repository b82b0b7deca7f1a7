//! The command line. One table of options is the source of the parser, of `--help` and of the list
//! of variables; what the values mean is `config`'s business.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, builder::OsStringValueParser, error::ErrorKind};

use crate::cli::persona::Persona;
use crate::sys::process;

mod options;
pub mod persona;
mod quick;
mod usage;

pub use options::{Group, Kind, OPTIONS, Opt};

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
    /// The same for stderr, where dumb-init and catatonit print some of it.
    Tell(String),
    /// What is wrong, for the one grammar of messages.
    Wrong(String),
    /// What is wrong, as the program stood in for says it on stderr.
    Refuse(String),
}

/// Reads the command line, without the program's own name. Parsing stops at the first word that is
/// no option: the app's own flags are never eaten.
///
/// # Errors
/// The text to print instead of running anything.
pub fn parse(args: &[OsString], persona: Persona) -> Result<Given, Instead> {
    let mut given = union(args, persona)?;
    let dashes =
        args.len().checked_sub(given.command.len() + 1).and_then(|before| args.get(before));
    // With this variable getopt(3) stops at the first word that is no option.
    let takes = persona.takes_dashes() && process::variable("POSIXLY_CORRECT").is_none();
    let is_second = given.command.get(1).is_some_and(|word| word == "--");
    if takes && is_second && dashes.is_none_or(|word| word != "--") {
        given.command.remove(1);
    }
    let refused = (persona == Persona::DumbInit).then(|| usage::of_given(&given)).flatten();
    refused.map_or(Ok(given), |text| Err(Instead::Refuse(text)))
}

/// The options of all of them.
fn union(args: &[OsString], persona: Persona) -> Result<Given, Instead> {
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
    match quick::read(args) {
        Some(given) => Ok(given),
        None => by_clap(args, persona),
    }
}

/// By the parser that knows what was meant where something is wrong.
#[cold]
fn by_clap(args: &[OsString], persona: Persona) -> Result<Given, Instead> {
    let mut matches =
        command(persona).try_get_matches_from(args).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp => help(persona, args, error.to_string()),
            ErrorKind::DisplayVersion => version(persona),
            _ => {
                let theirs = (persona == Persona::DumbInit).then(|| usage::of_getopt(&error));
                let ours = || Instead::Wrong(plain(&error.to_string()));
                theirs.flatten().map_or_else(ours, Instead::Refuse)
            }
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
        return Err(Instead::Print(include_str!("../../LICENSE").to_owned()));
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

/// Help, where the program stood in for prints it. tini and catatonit have only `-h`, so there `--help`
/// is free for all that graceinit can do.
fn help(persona: Persona, args: &[OsString], whole: String) -> Instead {
    let options = args.iter().take_while(|word| word.as_encoded_bytes().starts_with(b"-"));
    let long = options.filter(|word| *word == "--help").count() > 0;
    match persona {
        Persona::Graceinit => Instead::Print(whole),
        Persona::Tini | Persona::Catatonit if long => Instead::Print(whole),
        Persona::Tini => Instead::Print(persona.help()),
        Persona::DumbInit | Persona::Catatonit => Instead::Tell(persona.help()),
    }
}

/// `--version`, as those read it who ask for it: dockerd and podman want `tini version X`, and take the
/// commit from ` - git.SHA`. What follows X is as catatonit does it, which podman knows under that name, too.
fn version(persona: Persona) -> Instead {
    let (number, commit) = (env!("CARGO_PKG_VERSION"), env!("GRACEINIT_COMMIT_KNOWN"));
    let git = if commit.is_empty() { String::new() } else { format!(" - git.{commit}") };
    match persona {
        Persona::Graceinit => Instead::Print(format!("graceinit {VERSION}\n")),
        Persona::Tini | Persona::Catatonit => {
            Instead::Print(format!("tini version {number}_graceinit{git}\n"))
        }
        Persona::DumbInit => Instead::Tell(format!("dumb-init v{number}_graceinit{git}\n")),
    }
}

fn command(persona: Persona) -> Command {
    let name = persona.name();
    let mut command = Command::new(name)
        .version(VERSION)
        .no_binary_name(true)
        .about("Runs one app as PID 1 (or a child subreaper) and stops it gracefully.")
        .override_usage(format!("{name} [OPTIONS] [--] COMMAND [ARG]..."))
        .args_override_self(true)
        .after_help(
            "Durations: 250ms, 10s, 1m 30s; a bare number is seconds. Signals: TERM, SIGTERM, 15, RTMIN+3.\n\
             Every setting has a variable (in brackets) and a key in the file of --config. A flag counts more \
             than its variable, then come the file, the profile and the default. In the variable of an option \
             that can be repeated, each line is one value.\n\
             Hooks without a program: sleep:5s, http:POST http://127.0.0.1:9000/drain, signal:TSTP, touch:PATH, \
             rm:PATH, write:PATH TEXT.\n\
             Exit status: the app's; 128+n if signal n ended it; 124 not ready in time, or watchdog missed; 125 graceinit's own \
             error; 126 not executable; 127 not found.",
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
        Group::Ready => "Ready",
        Group::Drain => "Drain",
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
    for also in opt.also {
        let mut letters = also.chars();
        arg = match (letters.next(), letters.next()) {
            (Some(letter), None) => arg.short_alias(letter),
            // One that has no long name yet: it is the only one.
            _ if opt.long => arg.alias(*also),
            _ => arg.long(*also),
        };
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
        parse(&words(line), Persona::Graceinit).expect(line).command
    }

    #[test]
    fn the_table_is_a_valid_parser() {
        command(Persona::Graceinit).debug_assert();
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

    /// getopt(3) of glibc takes the first `--` out wherever it stands, and tini shows its usage so.
    #[test]
    fn dashes_behind_the_name_are_those_of_tini_and_catatonit() {
        for (line, apps, theirs) in [
            ("app -- -x", "app -- -x", "app -x"),
            ("-- app -- -x", "app -- -x", "app -- -x"),
            ("-g app -- -x", "app -- -x", "app -x"),
            ("-g -- app -- -x", "app -- -x", "app -- -x"),
            ("app a -- -x", "app a -- -x", "app a -- -x"),
            ("app -- -- x", "app -- -- x", "app -- x"),
            ("-- -- x", "-- x", "-- x"),
            ("app", "app", "app"),
        ] {
            for (persona, want) in [
                (Persona::Graceinit, apps),
                (Persona::DumbInit, apps),
                (Persona::Tini, theirs),
                (Persona::Catatonit, theirs),
            ] {
                let given = parse(&words(line), persona).expect(line);
                assert_eq!(given.command, words(want), "{persona:?}: {line}");
            }
        }
    }

    #[test]
    fn the_spellings_of_all_of_them_are_known() {
        let names = |line: &str| -> Vec<&str> {
            let given = parse(&words(line), Persona::Graceinit).expect(line);
            given.options.iter().map(|(name, _)| *name).collect()
        };
        assert_eq!(names("--single-child --verbose --rewrite 15:2 app"), ["rewrite", "v", "c"]);
        assert_eq!(names("-vvgs -e143 -P"), ["v", "s", "e", "g", "P"]);
        for line in ["-l", "-L"] {
            assert!(matches!(parse(&words(line), Persona::Catatonit), Err(Instead::Print(_))));
        }
    }

    #[test]
    fn version_and_help_go_where_each_program_prints_them() {
        let told = |persona, flag: &str| match parse(&words(flag), persona) {
            Err(Instead::Print(text)) => (true, text),
            Err(Instead::Tell(text)) => (false, text),
            other => panic!("{other:?}"),
        };
        let version = env!("CARGO_PKG_VERSION");
        for (persona, stdout, begin) in [
            (Persona::Graceinit, true, format!("graceinit {version}")),
            (Persona::Tini, true, format!("tini version {version}_graceinit")),
            (Persona::Catatonit, true, format!("tini version {version}_graceinit")),
            (Persona::DumbInit, false, format!("dumb-init v{version}_graceinit")),
        ] {
            for flag in ["--version", "-V"] {
                let (where_to, text) = told(persona, flag);
                assert_eq!(where_to, stdout, "{persona:?}");
                assert!(text.starts_with(&begin) && text.ends_with('\n'), "{text}");
                assert_eq!(text.lines().count(), 1);
            }
        }
        for (persona, flag, stdout, all) in [
            (Persona::Graceinit, "-h", true, true),
            (Persona::Tini, "-h", true, false),
            (Persona::Tini, "--help", true, true),
            (Persona::DumbInit, "--help", false, false),
            (Persona::Catatonit, "-h", false, false),
            (Persona::Catatonit, "--help", true, true),
        ] {
            let (where_to, text) = told(persona, flag);
            assert_eq!(
                (where_to, text.contains("--drain-delay")),
                (stdout, all),
                "{persona:?} {flag}"
            );
            assert!(
                text.contains(&format!("{} [", persona.name())) || persona == Persona::Catatonit
            );
        }
    }

    #[test]
    fn options_arrive_with_their_values() {
        let given =
            parse(&words("-vvv -e 3 -e143 --rewrite TERM:QUIT -sg -t 5 app"), Persona::Graceinit)
                .expect("fine");
        let find = |name| given.options.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        assert_eq!(find("v").map(|v| v.len()), Some(3));
        assert_eq!(find("e"), Some(words("3 143")));
        assert_eq!(find("rewrite"), Some(words("TERM:QUIT")));
        assert_eq!(find("grace"), Some(words("5")));
        assert!(find("s").is_some() && find("g").is_some() && find("c").is_none());
    }

    #[test]
    fn mistakes_name_the_word_and_what_was_meant() {
        let wrong = |line: &str| match parse(&words(line), Persona::Graceinit) {
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
            let given = parse(&words(line), Persona::Graceinit).expect(line);
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
