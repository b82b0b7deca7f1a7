//! The command line. The table of options is the one source of the parser, of `-h` and `--help`, of the variables and
//! of the keys of the file; what the values mean is decided in `config`.

use std::ffi::OsString;

use clap::builder::OsStringValueParser;
use clap::error::{ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::persona::Persona;
use crate::sys::process;
use crate::types::text::in_one_line;

mod help;
mod options;
pub mod persona;
mod usage;

pub use help::{ABOUT, NOTES};
pub use options::{Group, Kind, OPTIONS, Opt, OptionId, Toml, Value};

/// The command line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Options with their values, in the order of [`OPTIONS`]. The value of a flag is empty.
    pub options: Vec<(OptionId, Vec<OsString>)>,
    /// The app and its arguments. `config` decides whether there must be one.
    pub command: Vec<OsString>,
}

impl Given {
    /// Whether the option is on the command line.
    pub fn has(&self, id: OptionId) -> bool {
        self.options.iter().any(|(given, _)| *given == id)
    }

    /// The values of an option; none where it is not on the command line.
    pub fn values(&self, id: OptionId) -> &[OsString] {
        let found = self.options.iter().find(|(given, _)| *given == id);
        found.map_or(&[], |(_, values)| &values[..])
    }
}

/// What is done instead of running an app.
#[derive(Debug, PartialEq, Eq)]
pub enum Instead {
    /// Prints a text on stdout and exits with 0 (`--help`, `--version`, `-l`).
    Print(String),
    /// The same on stderr, where dumb-init and catatonit print some of their texts.
    PrintOnStderr(String),
    /// A mistake, in graceinit's own words.
    Mistake(String),
    /// A mistake, as the replaced program prints it on stderr.
    Usage(String),
}

/// Reads the command line, without the program's own name. Reading stops at the first word that is not an option, so
/// the app's own flags are never taken.
///
/// # Errors
/// What is to be done instead of running an app.
pub fn parse(args: &[OsString], persona: Persona) -> Result<Given, Instead> {
    let mut given = read(args, persona)?;
    let dashes =
        args.len().checked_sub(given.command.len() + 1).and_then(|before| args.get(before));
    // With this variable getopt(3) stops at the first word that is not an option.
    let takes = persona.takes_dashes() && process::variable("POSIXLY_CORRECT").is_none();
    let is_second = given.command.get(1).is_some_and(|word| word == "--");
    if takes && is_second && dashes.is_none_or(|word| word != "--") {
        given.command.remove(1);
    }
    let refused = (persona == Persona::DumbInit).then(|| usage::of_given(&given)).flatten();
    refused.map_or(Ok(given), |text| Err(Instead::Usage(text)))
}

/// Reads the options of graceinit and of all programs that it can replace.
fn read(args: &[OsString], persona: Persona) -> Result<Given, Instead> {
    // Without an option there is nothing to parse: most lives begin like this.
    match args.first() {
        Some(first) if first == "--" && args.len() > 1 => {
            return Ok(Given { options: Vec::new(), command: args[1..].to_vec() });
        }
        Some(first) if !first.as_encoded_bytes().starts_with(b"-") => {
            return Ok(Given { options: Vec::new(), command: args.to_vec() });
        }
        _ => {}
    }
    let given = match read_named(args) {
        Some(given) => given,
        None => read_all(args, persona)?,
    };
    if given.has(OptionId::Licence) {
        return Err(Instead::Print(include_str!("../../LICENSE").to_owned()));
    }
    Ok(given)
}

/// Reads a command line with a parser that knows only the options named in it: for the whole table clap needs about
/// 100,000 instructions, which is as much as the rest of a start. `None`: this parser refused the line.
fn read_named(args: &[OsString]) -> Option<Given> {
    let named = named(args);
    let opts = || OPTIONS.iter().zip(named).filter(|(_, named)| *named).map(|(opt, _)| opt);
    let command = command(opts()).disable_help_flag(true).disable_version_flag(true);
    let matches = command.try_get_matches_from(args).ok()?;
    Some(given(matches, opts()))
}

/// Which options of the table can be meant by the words before a `--`. Words of the app are looked at too, since
/// only the parser can tell where its command begins; an option too many does no harm.
fn named(args: &[OsString]) -> [bool; OPTIONS.len()] {
    let mut named = [false; OPTIONS.len()];
    let mut mark = |is_it: &dyn Fn(&Opt) -> bool| {
        if let Some(opt) = OPTIONS.iter().find(|opt| is_it(opt)) {
            named[opt.id as usize] = true;
        }
    };
    for word in args.iter().map(|word| word.as_encoded_bytes()).take_while(|word| *word != b"--") {
        if let Some(long) = word.strip_prefix(b"--") {
            let name = long.split(|byte| *byte == b'=').next().unwrap_or_default();
            let is = |known: &&str| known.as_bytes() == name;
            mark(&|opt| (opt.long && is(&opt.name)) || opt.also.iter().any(is));
        } else if let Some(letters) = word.strip_prefix(b"-") {
            for letter in letters.iter().map(|byte| char::from(*byte)) {
                let is = |also: &&str| also.chars().eq([letter]);
                mark(&|opt| opt.short == Some(letter) || opt.also.iter().any(is));
            }
        }
    }
    named
}

/// Reads a command line with a parser that knows the whole table, and so can say what was meant by a misspelt word.
#[cold]
fn read_all(args: &[OsString], persona: Persona) -> Result<Given, Instead> {
    let name = persona.name();
    let help_flag = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let command = command(OPTIONS.iter())
        .name(name)
        .version(VERSION)
        .arg(help_flag)
        .override_usage(format!("{name} [OPTIONS] [--] COMMAND [ARG]..."));
    let matches = command.try_get_matches_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => help(persona, args),
        ErrorKind::DisplayVersion => version(persona),
        _ => {
            let theirs = (persona == Persona::DumbInit).then(|| usage::of_getopt(&error));
            let ours = || Instead::Mistake(plain(&safe(&error)));
            theirs.flatten().map_or_else(ours, Instead::Usage)
        }
    })?;
    Ok(given(matches, OPTIONS.iter()))
}

/// What clap has read.
fn given<'a>(mut matches: ArgMatches, opts: impl Iterator<Item = &'a Opt>) -> Given {
    let mut given = Given::default();
    for opt in opts {
        let values: Vec<OsString> = match opt.kind {
            Kind::Flag => matches.get_flag(opt.name).then(OsString::new).into_iter().collect(),
            Kind::Count => vec![OsString::new(); usize::from(matches.get_count(opt.name))],
            Kind::One(_) | Kind::List(_) | Kind::Optional(_) | Kind::Many(_) => {
                matches.remove_many(opt.name).map(Iterator::collect).unwrap_or_default()
            }
        };
        if !values.is_empty() {
            given.options.push((opt.id, values));
        }
    }
    given.command = matches.remove_many("COMMAND").map(Iterator::collect).unwrap_or_default();
    given
}

/// clap's message, in which the words of the command line are escaped: they must not make lines of their own.
fn safe(error: &clap::Error) -> String {
    let words = error.context().flat_map(|(_, value)| match value {
        ContextValue::String(word) => vec![word],
        ContextValue::Strings(words) => words.iter().collect(),
        _ => Vec::new(),
    });
    let text = error.to_string();
    words.fold(text, |text, word| text.replace(word.as_str(), &in_one_line(word)))
}

/// clap's message without its "error:", since graceinit puts "fatal:" before it.
fn plain(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message).trim_end();
    // This tip is wrong for graceinit: after `--` comes the app.
    let lines = message.lines().filter(|line| !line.starts_with("  tip: to pass '"));
    lines.collect::<Vec<_>>().join("\n")
}

/// `X.Y.Z`, and the commit if it was known to the build.
pub const VERSION: &str = env!("GRACEINIT_VERSION");

/// Help, printed where the replaced program prints its own. tini and catatonit have `-h` only, so under their names
/// `--help` lists the options of graceinit.
fn help(persona: Persona, args: &[OsString]) -> Instead {
    let words = args.iter().map(|word| word.as_encoded_bytes());
    let mut words = words.take_while(|word| *word != b"--");
    // The first of the words that ask for help counts.
    let asks = |word: &&[u8]| {
        let letters = word.starts_with(b"-") && !word.starts_with(b"--") && word.contains(&b'h');
        *word == b"--help" || letters
    };
    let is_long = words.find(asks).is_some_and(|word| word == b"--help");
    match persona {
        Persona::DumbInit => Instead::PrintOnStderr(persona.help()),
        _ if is_long => Instead::Print(help::long(persona.name(), help::width())),
        Persona::Graceinit => Instead::Print(help::short(persona.name())),
        Persona::Tini => Instead::Print(persona.help()),
        Persona::Catatonit => Instead::PrintOnStderr(persona.help()),
    }
}

/// `--version`, in the form that its readers expect: dockerd and podman want `tini version X`, and take the commit from
/// ` - git.SHA`. What follows X is as in catatonit, which podman accepts under the name tini as well.
fn version(persona: Persona) -> Instead {
    let (number, commit) = (env!("CARGO_PKG_VERSION"), env!("GRACEINIT_COMMIT_KNOWN"));
    let git = if commit.is_empty() { String::new() } else { format!(" - git.{commit}") };
    match persona {
        Persona::Graceinit => Instead::Print(format!("graceinit {VERSION}\n")),
        Persona::Tini | Persona::Catatonit => {
            Instead::Print(format!("tini version {number}_graceinit{git}\n"))
        }
        Persona::DumbInit => {
            Instead::PrintOnStderr(format!("dumb-init v{number}_graceinit{git}\n"))
        }
    }
}

/// A parser of these options.
fn command<'a>(opts: impl Iterator<Item = &'a Opt>) -> Command {
    let app = Arg::new("COMMAND")
        .num_args(0..)
        .trailing_var_arg(true)
        .value_parser(OsStringValueParser::new());
    let command = Command::new("graceinit").no_binary_name(true).args_override_self(true).arg(app);
    command.args(opts.map(arg))
}

fn arg(opt: &Opt) -> Arg {
    let mut arg = Arg::new(opt.name);
    if opt.long {
        arg = arg.long(opt.name);
    }
    for also in opt.also {
        let mut letters = also.chars();
        arg = match (letters.next(), letters.next()) {
            (Some(letter), None) => arg.short_alias(letter),
            _ if opt.long => arg.alias(*also),
            // The option has no other long name.
            _ => arg.long(*also),
        };
    }
    if let Some(letter) = opt.short {
        arg = arg.short(letter);
    }
    if let Some(value) = opt.kind.value() {
        arg = arg.value_name(value.name).value_parser(OsStringValueParser::new());
    }
    match opt.kind {
        Kind::Flag => arg.action(ArgAction::SetTrue),
        Kind::Count => arg.action(ArgAction::Count),
        Kind::One(_) | Kind::List(_) => arg,
        Kind::Many(_) => arg.action(ArgAction::Append),
        Kind::Optional(_) => arg.num_args(0..=1).require_equals(true).default_missing_value(""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn command_of(line: &str) -> Vec<OsString> {
        parse(&words(line), Persona::Graceinit).expect(line).command
    }

    #[test]
    fn the_table_is_a_valid_parser() {
        command(OPTIONS.iter()).debug_assert();
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

    /// getopt(3) of glibc takes the first `--` out wherever it is; the usage text of tini writes it there.
    #[test]
    fn dashes_after_the_name_are_taken_by_tini_and_catatonit() {
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
    fn the_spellings_of_the_replaced_programs_are_known() {
        let names = |line: &str| -> Vec<&str> {
            let given = parse(&words(line), Persona::Graceinit).expect(line);
            given.options.iter().map(|(id, _)| id.name()).collect()
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
            Err(Instead::PrintOnStderr(text)) => (false, text),
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
            (Persona::Graceinit, "-h", true, false),
            (Persona::Graceinit, "--help", true, true),
            (Persona::Graceinit, "-vh", true, false),
            (Persona::Graceinit, "-t 5 --help", true, true),
            (Persona::Tini, "-h", true, false),
            (Persona::Tini, "--help", true, true),
            (Persona::DumbInit, "--help", false, false),
            (Persona::Catatonit, "-h", false, false),
            (Persona::Catatonit, "--help", true, true),
        ] {
            let (where_to, text) = told(persona, flag);
            assert_eq!(
                (where_to, text.contains("--drain-quiet")),
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
        assert_eq!(given.values(OptionId::Verbosity).len(), 3);
        assert_eq!(given.values(OptionId::ExitOk), words("3 143"));
        assert_eq!(given.values(OptionId::Rewrite), words("TERM:QUIT"));
        assert_eq!(given.values(OptionId::Grace), words("5"));
        assert!(given.has(OptionId::Subreaper) && given.has(OptionId::ScopeGroup));
        assert!(!given.has(OptionId::ScopeMain));
    }

    #[test]
    fn mistakes_name_the_word_and_what_was_meant() {
        let wrong = |line: &str| match parse(&words(line), Persona::Graceinit) {
            Err(Instead::Mistake(message)) => message,
            other => format!("{other:?}"),
        };
        let message = wrong("--grase 3 app");
        assert!(message.contains("'--grase'") && message.contains("'--grace'"), "{message}");
        assert!(wrong("app").contains("Ok("), "a lone command is fine");
    }

    #[test]
    fn the_value_of_check_follows_an_equals_sign() {
        for (line, value, command) in [
            ("--check app", "", "app"),
            ("--check=docker app", "docker", "app"),
            ("--check", "", ""),
        ] {
            let given = parse(&words(line), Persona::Graceinit).expect(line);
            assert_eq!(given.options, [(OptionId::Check, vec![OsString::from(value)])], "{line}");
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

    /// Words that command lines are made of: every option in every spelling, values, and words that are neither.
    fn vocabulary() -> Vec<String> {
        let mut list: Vec<String> =
            ["--", "-", "app", "5s", "15:2", "", "-x", "--x", "=", "-vg", "-t5", "-h", "--help"]
                .map(str::to_owned)
                .to_vec();
        for opt in OPTIONS {
            let letters = opt.short.map(String::from);
            let long = opt.long.then(|| opt.name.to_owned());
            let spellings =
                letters.into_iter().chain(long).chain(opt.also.iter().map(|s| (*s).to_owned()));
            for spelling in spellings {
                let dashes = if spelling.len() == 1 { "-" } else { "--" };
                list.push(format!("{dashes}{spelling}"));
                list.push(format!("{dashes}{spelling}=5s"));
                list.push(format!("{dashes}{spelling}5"));
            }
        }
        list
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn the_parser_of_the_named_options_reads_what_the_whole_parser_reads(
            line in prop::collection::vec(prop::sample::select(vocabulary()), 0..6),
        ) {
            let args: Vec<OsString> = line.iter().map(OsString::from).collect();
            prop_assert_eq!(read_named(&args), read_all(&args, Persona::Graceinit).ok(), "{:?}", line);
        }
    }
}
