//! Which program graceinit stands in for, by the name it was called by (`argv[0]`). A name selects that
//! program's defaults, its variables, its exit codes and where it prints; everything else is graceinit.
//! What the originals do was read in their sources and tried on them: tini 0.19.0 (`src/tini.c`), dumb-init
//! 1.2.5 (`dumb-init.c`), catatonit 0.1.7 (`catatonit.c`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::exit::Codes;

/// The program stood in for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Persona {
    /// None: graceinit is itself.
    #[default]
    Graceinit,
    /// tini, and Docker's copy of it.
    Tini,
    /// dumb-init.
    DumbInit,
    /// catatonit, and Podman's copy of it.
    Catatonit,
}

/// The names, and whose they are.
pub const NAMES: [(&str, Persona); 6] = [
    ("tini", Persona::Tini),
    ("tini-static", Persona::Tini),
    ("docker-init", Persona::Tini),
    ("dumb-init", Persona::DumbInit),
    ("catatonit", Persona::Catatonit),
    ("podman-init", Persona::Catatonit),
];

impl Persona {
    /// Whose name this is: the last part of a path counts. Any other name is graceinit's.
    pub fn of(called: &OsStr) -> Persona {
        let last = called.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let found = NAMES.iter().find(|(name, _)| name.as_bytes() == last);
        found.map_or(Persona::Graceinit, |(_, persona)| *persona)
    }

    /// What it is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            Persona::Graceinit => "graceinit",
            Persona::Tini => "tini",
            Persona::DumbInit => "dumb-init",
            Persona::Catatonit => "catatonit",
        }
    }

    /// The reason for a default that is so because of the name.
    pub fn why(self) -> &'static str {
        match self {
            Persona::Graceinit => "",
            Persona::Tini => "as tini",
            Persona::DumbInit => "as dumb-init",
            Persona::Catatonit => "as catatonit",
        }
    }

    /// Its exit codes.
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

    /// Whether a `--` right behind the app's name is its own (`tini PROGRAM -- ARGS` is how tini shows its
    /// usage): getopt(3) of glibc, which it is built with, takes it out wherever it stands.
    pub fn takes_dashes(self) -> bool {
        match self {
            Persona::Graceinit | Persona::DumbInit => false,
            Persona::Tini | Persona::Catatonit => true,
        }
    }

    /// What `-h` prints.
    pub fn help(self) -> String {
        let name = self.name();
        let all = if self == Persona::DumbInit { "graceinit" } else { name };
        let (usage, own) = match self {
            Persona::Graceinit => ("[OPTIONS] [--] COMMAND [ARG]...", ""),
            Persona::Tini => (
                "[OPTIONS] [--] PROGRAM [ARGS]",
                "  -g           signals go to the app's process group, not to the app alone\n\
                 \x20 -s           child subreaper (automatic when not PID 1)\n\
                 \x20 -p SIGNAL    be sent SIGNAL when the parent process dies\n\
                 \x20 -e CODE      exit 0 for this code of the app; can be repeated\n\
                 \x20 -w           warn when an orphan is reaped\n\
                 \x20 -v           log more: -v info, -vv debug, -vvv trace\n\
                 \x20 -l           show the licence\n\
                 \x20 -h           show this\n\
                 \x20 --version    show the version\n\
                 \n\
                 TINI_KILL_PROCESS_GROUP (any value) is -g, TINI_SUBREAPER -s; TINI_VERBOSITY is a number:\n\
                 0 errors, 1 warnings (default), 2 info, 3 debug, 4 trace.\n",
            ),
            Persona::DumbInit => (
                "[OPTIONS] [--] COMMAND [ARG]...",
                "  -c, --single-child  signals go to the app alone, which gets no session of its own\n\
                 \x20 -r, --rewrite S:R   send the app signal R instead of S; R 0 drops it; can be repeated\n\
                 \x20 -v, --verbose       log at level debug\n\
                 \x20 -V, --version       show the version\n\
                 \x20 -h, --help          show this\n\
                 \n\
                 DUMB_INIT_SETSID=0 is -c, DUMB_INIT_DEBUG=1 is -v.\n",
            ),
            Persona::Catatonit => (
                "[-ghLPV] [--] COMMAND [ARG]...",
                "  -g             signals go to the app's process group, not to the app alone\n\
                 \x20 -P             run no app: reap orphans, and exit 0 at TERM or INT\n\
                 \x20 -L             show the licence\n\
                 \x20 -V, --version  show the version\n\
                 \x20 -h             show this\n\
                 \n\
                 CATATONIT_DEBUG (any value) logs at level debug.\n",
            ),
        };
        format!(
            "This is graceinit, called by the name {name}: with its defaults and its exit codes.\n\
             Usage: {name} {usage}\n\n{own}\n\
             All settings of graceinit work under this name, too: as GRACEINIT_... variables and as flags.\n\
             With the first one that concerns a stop (GRACEINIT_GRACE=7s) TERM and INT begin a stop in phases.\n\
             They are listed by: {all} --help\n"
        )
    }

    /// What one of its own variables says of an option: the variable, and the option's value.
    pub fn says(
        self,
        option: &str,
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
            (Persona::Tini, "scope") => set("TINI_KILL_PROCESS_GROUP", "group"),
            (Persona::Tini, "s") => set("TINI_SUBREAPER", "1"),
            (Persona::Tini, "log-level") => {
                let verbosity = value("TINI_VERBOSITY")?;
                Some(("TINI_VERBOSITY", of_verbosity(verbosity)))
            }
            (Persona::DumbInit, "scope") => is("DUMB_INIT_SETSID", "0", "main"),
            (Persona::DumbInit, "log-level") => is("DUMB_INIT_DEBUG", "1", "debug"),
            (Persona::Catatonit, "log-level") => set("CATATONIT_DEBUG", "debug"),
            _ => None,
        }
    }

    /// Whether a variable is one of its own.
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

/// The level of log that tini's number stands for: 0 is fatal errors only, 1 its default. Read as atoi(3)
/// does, by which something that is no number is 0.
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
    fn variables_speak_for_their_own_program_only() {
        let set: &Variables<'_> = &[
            ("TINI_SUBREAPER", b""),
            ("TINI_KILL_PROCESS_GROUP", b"no"),
            ("TINI_VERBOSITY", b"3x"),
            ("DUMB_INIT_SETSID", b"0"),
            ("DUMB_INIT_DEBUG", b"yes"),
            ("CATATONIT_DEBUG", b""),
        ];
        let say = |persona: Persona, option| persona.says(option, set).map(|(_, value)| value);
        assert_eq!(say(Persona::Tini, "scope"), Some("group"), "set to anything");
        assert_eq!(say(Persona::Tini, "s"), Some("1"));
        assert_eq!(say(Persona::Tini, "log-level"), Some("debug"));
        assert_eq!(say(Persona::DumbInit, "scope"), Some("main"));
        assert_eq!(say(Persona::DumbInit, "log-level"), None, "only 1 counts");
        assert_eq!(say(Persona::Catatonit, "log-level"), Some("debug"));
        assert_eq!(say(Persona::Catatonit, "scope"), None);
        for option in ["scope", "s", "log-level", "grace"] {
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
