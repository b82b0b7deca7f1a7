//! What an option is; the table of all options is in `table` and `tools`.

use std::fmt;

mod table;
mod tools;

use table::LIFE;
use tools::TOOLS;

/// Every option, in the order of `--help`.
pub const OPTIONS: &[Opt] = &{
    let mut all = [LIFE[0]; LIFE.len() + TOOLS.len()];
    let mut place = 0;
    while place < all.len() {
        all[place] = if place < LIFE.len() { LIFE[place] } else { TOOLS[place - LIFE.len()] };
        // `OptionId::opt` takes the number of an id as the place in the table.
        assert!(all[place].id as usize == place, "the table is in the order of OptionId");
        place += 1;
    }
    all
};

/// The headings of `--help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// The steps and limits of a stop.
    Stop,
    /// External commands.
    Hooks,
    /// When the app is ready.
    Ready,
    /// How long the app keeps serving after a stop request.
    Drain,
    /// Log, metrics and report.
    Watch,
    /// The processes of the app and of graceinit.
    Process,
    /// What starts no app, and where settings are read from.
    Tools,
    /// What `--rehearse` does.
    Rehearsal,
}

/// The value of an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value {
    /// How help calls it.
    pub name: &'static str,
    /// The types that it may have in the file.
    pub toml: Toml,
}

/// The types that a value may have in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Toml {
    /// Text, or a number of seconds.
    Duration,
    /// Text, or a whole number.
    Number,
    /// Text.
    Text,
}

/// How often an option may be given, and whether it takes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Present or absent.
    Flag,
    /// Counted: `-vv` is 2.
    Count,
    /// One value; the last one counts.
    One(Value),
    /// One value, a list with commas; the last one counts. In the file it may be an array.
    List(Value),
    /// A value that may be left out; it follows a `=`.
    Optional(Value),
    /// A value each time. In the variable, one on each line.
    Many(Value),
}

impl Kind {
    /// The value, if the option takes one.
    pub fn value(self) -> Option<Value> {
        match self {
            Kind::Flag | Kind::Count => None,
            Kind::One(value) | Kind::List(value) | Kind::Optional(value) | Kind::Many(value) => {
                Some(value)
            }
        }
    }
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The name of the option in the code.
    pub id: OptionId,
    /// The name of the option in texts: the long name, or the letter where there is no long name.
    pub name: &'static str,
    /// The key in the file.
    pub key: Option<&'static str>,
    /// The short name.
    pub short: Option<char>,
    /// Other spellings, from the programs that graceinit can replace.
    pub also: &'static [&'static str],
    /// `false` for the letters taken over from tini and dumb-init, which have no long name.
    pub long: bool,
    /// The environment variable that sets the option.
    pub variable: Option<&'static str>,
    /// How often it may be given, and the value.
    pub kind: Kind,
    /// The heading in `--help`.
    pub group: Group,
    /// The line of `-h`; `None`: only `--help` lists the option.
    pub summary: Option<&'static str>,
    /// The text of `--help`.
    pub help: &'static str,
}

/// The name of an option in the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the table says what each option means")]
pub enum OptionId {
    Grace,
    GraceMax,
    PostStopTimeout,
    StopOn,
    StopSignal,
    Scope,
    Rewrite,
    Diagnose,
    StopAgain,
    GraceExit,
    OomExit,
    ChildOom,
    StopExitOk,
    ReloadOn,
    Profile,
    Platform,
    PreStart,
    OnReady,
    OnReload,
    PreStop,
    OnStop,
    PostStop,
    HookTimeout,
    HookRetries,
    HookBackoff,
    Ready,
    ReadyTimeout,
    ReadyFile,
    Health,
    Live,
    HealthTimeout,
    Drain,
    DrainDelay,
    DrainAcks,
    DrainIdle,
    DrainMax,
    DrainQuiet,
    DrainOwed,
    Drained,
    Listen,
    MetricsFile,
    Report,
    Verbosity,
    LogLevel,
    LogFormat,
    User,
    Subreaper,
    ParentSignal,
    ExitOk,
    WarnReap,
    ScopeGroup,
    ScopeMain,
    Config,
    Check,
    Probe,
    Render,
    Pause,
    Licence,
    Rehearse,
    Url,
    Rate,
    Lag,
    RehearseHealth,
    Pinned,
    Rounds,
    Only,
    Json,
    RehearseToml,
    RehearseHtml,
}

impl OptionId {
    /// The option's row in the table.
    pub const fn opt(self) -> &'static Opt {
        &OPTIONS[self as usize]
    }

    /// The name of the option in texts.
    pub const fn name(self) -> &'static str {
        self.opt().name
    }
}

impl fmt::Display for OptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
