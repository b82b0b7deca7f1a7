//! Which program graceinit replaces: the name it was called by (`argv[0]`) says so. A name selects that program's
//! defaults, variables, exit codes and where texts are printed; everything else is as under graceinit's own name.
//! The behaviour of the originals was read in their sources and tested on them: tini 0.19.0 (`src/tini.c`),
//! dumb-init 1.2.5 (`dumb-init.c`), catatonit 0.1.7 (`catatonit.c`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::options::OptionId;
use crate::exit::Codes;

/// The program whose name graceinit was called by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Persona {
    /// graceinit itself.
    #[default]
    Graceinit,
    /// tini, and the copy of tini in Docker.
    Tini,
    /// dumb-init.
    DumbInit,
    /// catatonit, and the copy of catatonit in Podman.
    Catatonit,
}

/// The names of the programs that graceinit can replace.
pub const NAMES: [(&str, Persona); 6] = [
    ("tini", Persona::Tini),
    ("tini-static", Persona::Tini),
    ("docker-init", Persona::Tini),
    ("dumb-init", Persona::DumbInit),
    ("catatonit", Persona::Catatonit),
    ("podman-init", Persona::Catatonit),
];

impl Persona {
    /// The persona for `argv[0]`: the last part of the path counts, and every unknown name is graceinit's.
    pub fn of(argv0: &OsStr) -> Persona {
        let last = argv0.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let found = NAMES.iter().find(|(name, _)| name.as_bytes() == last);
        found.map_or(Persona::Graceinit, |(_, persona)| *persona)
    }

    /// The program's name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Persona::Graceinit => "graceinit",
            Persona::Tini => "tini",
            Persona::DumbInit => "dumb-init",
            Persona::Catatonit => "catatonit",
        }
    }

    /// Why a default is what it is, where the name decides.
    pub fn reason(self) -> &'static str {
        match self {
            Persona::Graceinit => "",
            Persona::Tini => "as tini",
            Persona::DumbInit => "as dumb-init",
            Persona::Catatonit => "as catatonit",
        }
    }

    /// The program's exit codes.
    pub fn codes(self) -> Codes {
        match self {
            Persona::Graceinit => Codes::GRACEINIT,
            Persona::Tini => Codes::TINI,
            Persona::DumbInit => Codes::DUMB_INIT,
            Persona::Catatonit => Codes::CATATONIT,
        }
    }

    /// The default of `--scope`.
    pub fn scope(self) -> &'static str {
        match self {
            Persona::Graceinit | Persona::DumbInit => "group",
            Persona::Tini | Persona::Catatonit => "main",
        }
    }

    /// Whether the program takes a `--` that follows the app's name (`tini PROGRAM -- ARGS` in the usage text of
    /// tini): both are built with getopt(3) of glibc, which takes the first `--` out wherever it is.
    pub fn takes_dashes(self) -> bool {
        match self {
            Persona::Graceinit | Persona::DumbInit => false,
            Persona::Tini | Persona::Catatonit => true,
        }
    }

    /// What `-h` prints under another program's name.
    pub(super) fn help(self) -> String {
        let name = self.name();
        let all = if self == Persona::DumbInit { "graceinit" } else { name };
        let (usage, own) = match self {
            Persona::Graceinit => ("[OPTIONS] [--] COMMAND [ARG]...", ""),
            Persona::Tini => (
                "[OPTIONS] [--] PROGRAM [ARGS]",
                "  -g           signals go to the app's process group, not to the app alone\n\
                 \x20 -s           child subreaper (automatic when not PID 1)\n\
                 \x20 -p SIGNAL    the signal that graceinit gets when the parent process dies\n\
                 \x20 -e CODE      exit with 0 when the app exits with CODE; can be repeated\n\
                 \x20 -w           warn when an orphan is reaped\n\
                 \x20 -v           log more: -v info, -vv debug, -vvv trace\n\
                 \x20 -l           print the licence\n\
                 \x20 -h           print this help\n\
                 \x20 --version    print the version\n\
                 \n\
                 TINI_KILL_PROCESS_GROUP (any value) is -g, TINI_SUBREAPER -s; TINI_VERBOSITY is a number:\n\
                 0 errors, 1 warnings (default), 2 info, 3 debug, 4 trace.\n",
            ),
            Persona::DumbInit => (
                "[OPTIONS] [--] COMMAND [ARG]...",
                "  -c, --single-child  signals go to the app alone; it gets no session of its own\n\
                 \x20 -r, --rewrite S:R   forward signal R instead of S; R 0 drops it; can be repeated\n\
                 \x20 -v, --verbose       log at level debug\n\
                 \x20 -V, --version       print the version\n\
                 \x20 -h, --help          print this help\n\
                 \n\
                 DUMB_INIT_SETSID=0 is -c, DUMB_INIT_DEBUG=1 is -v.\n",
            ),
            Persona::Catatonit => (
                "[-ghLPV] [--] COMMAND [ARG]...",
                "  -g             signals go to the app's process group, not to the app alone\n\
                 \x20 -P             run no app: reap orphans, and exit with 0 on TERM or INT\n\
                 \x20 -L             print the licence\n\
                 \x20 -V, --version  print the version\n\
                 \x20 -h             print this help\n\
                 \n\
                 CATATONIT_DEBUG (any value) logs at level debug.\n",
            ),
        };
        format!(
            "This is graceinit, called by the name {name}: it has the defaults and the exit codes of {name}.\n\
             Usage: {name} {usage}\n\n{own}\n\
             All settings of graceinit work under this name too, as GRACEINIT_... variables and as flags.\n\
             Once a setting of a stop is given (GRACEINIT_GRACE=7s), TERM and INT begin a stop in phases.\n\
             {all} --help lists all settings.\n"
        )
    }

    /// The value that one of the program's own variables gives to an option: the variable, and the value.
    pub fn value_of(
        self,
        option: OptionId,
        variables: &Variables<'_>,
    ) -> Option<(&'static str, &'static str)> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        };
        let is = |name: &'static str, wanted: &str, means: &'static str| {
            value(name).is_some_and(|value| value == wanted.as_bytes()).then_some((name, means))
        };
        let set = |name: &'static str, means: &'static str| value(name).map(|_| (name, means));
        match (self, option) {
            (Persona::Tini, OptionId::Scope) => set("TINI_KILL_PROCESS_GROUP", "group"),
            (Persona::Tini, OptionId::Subreaper) => set("TINI_SUBREAPER", "1"),
            (Persona::Tini, OptionId::LogLevel) => {
                let verbosity = value("TINI_VERBOSITY")?;
                Some(("TINI_VERBOSITY", of_verbosity(verbosity)))
            }
            (Persona::DumbInit, OptionId::Scope) => is("DUMB_INIT_SETSID", "0", "main"),
            (Persona::DumbInit, OptionId::LogLevel) => is("DUMB_INIT_DEBUG", "1", "debug"),
            (Persona::Catatonit, OptionId::LogLevel) => set("CATATONIT_DEBUG", "debug"),
            _ => None,
        }
    }

    /// Whether a variable is one of the program's own.
    pub fn reads(self, variable: &str) -> bool {
        let own: &[&str] = match self {
            Persona::Graceinit => &[],
            Persona::Tini => &["TINI_SUBREAPER", "TINI_KILL_PROCESS_GROUP", "TINI_VERBOSITY"],
            Persona::DumbInit => &["DUMB_INIT_SETSID", "DUMB_INIT_DEBUG"],
            Persona::Catatonit => &["CATATONIT_DEBUG"],
        };
        own.contains(&variable)
    }
}

/// Names and values, as bytes.
type Variables<'a> = [(&'a str, &'a [u8])];

/// The log level for a number of TINI_VERBOSITY: 0 is fatal errors only, 1 is tini's default. Read as by atoi(3): a
/// text that is not a number is 0.
fn of_verbosity(value: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(value);
    let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
    match digits.parse::<u32>() {
        Ok(0) | Err(_) => "error",
        Ok(1) => "warn",
        Ok(2) => "info",
        Ok(3) => "debug",
        Ok(_) => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_name_counts() {
        for (called, persona) in [
            ("tini", Persona::Tini),
            ("/usr/bin/tini-static", Persona::Tini),
            ("/sbin/docker-init", Persona::Tini),
            ("./dumb-init", Persona::DumbInit),
            ("/run/podman-init", Persona::Catatonit),
            ("/catatonit", Persona::Catatonit),
            ("graceinit", Persona::Graceinit),
            ("", Persona::Graceinit),
            ("/tini/", Persona::Graceinit),
            ("/tini/graceinit", Persona::Graceinit),
            ("tini2", Persona::Graceinit),
            ("init", Persona::Graceinit),
        ] {
            assert_eq!(Persona::of(OsStr::new(called)), persona, "{called}");
        }
    }

    #[test]
    fn a_variable_counts_only_under_the_name_of_its_program() {
        let set: &Variables<'_> = &[
            ("TINI_SUBREAPER", b""),
            ("TINI_KILL_PROCESS_GROUP", b"no"),
            ("TINI_VERBOSITY", b"3x"),
            ("DUMB_INIT_SETSID", b"0"),
            ("DUMB_INIT_DEBUG", b"yes"),
            ("CATATONIT_DEBUG", b""),
        ];
        let say = |persona: Persona, option| persona.value_of(option, set).map(|(_, value)| value);
        assert_eq!(say(Persona::Tini, OptionId::Scope), Some("group"), "set to anything");
        assert_eq!(say(Persona::Tini, OptionId::Subreaper), Some("1"));
        assert_eq!(say(Persona::Tini, OptionId::LogLevel), Some("debug"));
        assert_eq!(say(Persona::DumbInit, OptionId::Scope), Some("main"));
        assert_eq!(say(Persona::DumbInit, OptionId::LogLevel), None, "only 1 counts");
        assert_eq!(say(Persona::Catatonit, OptionId::LogLevel), Some("debug"));
        assert_eq!(say(Persona::Catatonit, OptionId::Scope), None);
        for option in [OptionId::Scope, OptionId::Subreaper, OptionId::LogLevel, OptionId::Grace] {
            assert_eq!(say(Persona::Graceinit, option), None, "{option}");
        }
        for (name, _) in set {
            let readers = NAMES.iter().filter(|(_, persona)| persona.reads(name)).count();
            assert!(readers > 0 && !Persona::Graceinit.reads(name), "{name}");
        }
    }

    #[test]
    fn verbosity_is_read_as_a_number() {
        let levels: Vec<&str> =
            [&b"0"[..], b"1", b" 2", b"3", b"4", b"99", b"", b"-v", b"99999999999"]
                .into_iter()
                .map(of_verbosity)
                .collect();
        let want = ["error", "warn", "info", "debug", "trace", "trace", "error", "error", "error"];
        assert_eq!(levels, want);
    }
}
