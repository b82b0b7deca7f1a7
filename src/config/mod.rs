//! Builds the configuration from flags, variables, the file, the profile and the defaults. All mistakes are refused here,
//! at once and each with its source, so the rest of the program never sees a bad value.

use std::ffi::{CString, OsString};
use std::rc::Rc;
use std::time::Duration;

use log::LevelFilter;

use crate::account::log::Format;
use crate::cli::persona::Persona;
use crate::cli::{Given, OPTIONS, OptionId};
use crate::config::user::User;
use crate::machine::hooks::HookPhase;
use crate::machine::plan::{ChildOom, ExitRules, PerPhase, Plan, Rewrite, Scope, StopAgain};
use crate::sys::dial::Checks;
use crate::sys::listen::Address;
use crate::sys::{fd, nested, process, stderr, tty};
use crate::types::{Signal, SignalSet};

mod address;
mod commands;
mod conflicts;
mod defaults;
mod drain;
mod drained;
mod drop_in;
mod file;
pub mod health;
pub mod hooks;
mod listen;
mod lookup;
pub mod metric;
pub mod outputs;
mod parse;
pub mod platform;
pub mod profiles;
mod reader;
mod ready;
pub mod rehearse;
pub mod source;
pub mod user;

use drain::Drain;
use hooks::{Draft, Hook, Task, Usual};
use outputs::{Tool, Watch};
use platform::{Contract, Detected, Platform, choice};
use reader::Reader;
use ready::Readiness;
use rehearse::Rehearsal;
use source::{Found, Source};

/// The configuration of a life.
#[derive(Debug)]
pub struct Config {
    /// The app.
    pub command: Vec<OsString>,
    /// The part that the machine needs too.
    pub plan: Rc<Plan>,
    /// The hooks; the plan has their limits at the same places.
    pub hooks: PerPhase<Vec<Hook>>,
    /// The user that the app and the hooks run as.
    pub user: Option<User>,
    /// `-p`
    pub parent_signal: Option<Signal>,
    /// `-w`
    pub warn_on_reap: bool,
    /// graceinit replaces another program and no setting asks for more than that program does: signals are forwarded
    /// and orphans reaped, and there is no stop in phases.
    pub plain: bool,
    /// `--log-level`, raised by `-v`
    pub level: LevelFilter,
    /// `--log-format`
    pub log_format: Format,
    /// What looks wrong but is allowed.
    pub warnings: Vec<String>,
    /// What is worth knowing and no mistake.
    pub notes: Vec<String>,
    /// The app has a profile that is not in use.
    pub hint: Option<String>,
    /// `--ready`; the plan has the conditions at the same places.
    pub ready: Vec<Ready>,
    /// `--ready-file`
    pub ready_file: Option<CString>,
    /// `--health`, `--live`
    pub health: Checks,
    /// `--drain`; `None`: connections are not watched.
    pub drain: Option<Ports>,
    /// The Unix sockets among them.
    pub drain_unix: Vec<Address>,
    /// `--drained`
    pub drained: Vec<Drained>,
    /// `--listen`
    pub listen: Vec<Address>,
    /// `--metrics-file`, `--report`
    pub watch: Watch,
    /// `--probe`, `--render`, `-P`: no app is started.
    pub tool: Option<Tool>,
    /// `--check`: nothing is started, and there may be no command.
    pub check: Option<Check>,
    /// `--rehearse`: the app is started by a graceinit of its own.
    pub rehearsal: Option<Box<Rehearsal>>,
    /// The platform whose defaults are in force.
    pub contract: Contract,
    /// For `--check`: the platform as a run has it, which knows nothing of the time that `--check` names.
    pub usual: Option<Contract>,
    /// The values in force, in the order of [`crate::cli::OPTIONS`], without the hooks. Empty where neither the log nor
    /// an output shows them.
    pub settings: Vec<Setting>,
}

/// The value of an option that is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The option.
    pub option: OptionId,
    /// As it was written; several values with a comma between them.
    pub value: String,
    /// Where the value was found.
    pub source: Source,
}

/// One `--ready`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ready {
    /// As it was written.
    pub text: String,
    /// The condition.
    pub when: When,
}

/// A condition of readiness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// `notify`
    Notify,
    /// `fd:N`
    Fd(i32),
    /// `signal:SIG`
    Signal(Signal),
    /// `after:DUR`
    After(Duration),
    /// `tcp:PORT`, `http://…`, `exec:CMD`, `file:PATH`: a child runs the task again and again until it exits with 0.
    Probe(Task),
}

/// One `--drained`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drained {
    /// As it was written.
    pub text: String,
    /// What a child runs again and again during the drain until it exits with 0.
    pub task: Task,
}

/// `--drain`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ports {
    /// The ports that were named.
    List(Vec<u16>),
    /// `auto`: the ports that processes of the app listen on.
    Auto,
}

impl Config {
    /// Whether metrics or a report are wanted.
    pub fn is_watched(&self) -> bool {
        self.watch.writes_files() || !self.listen.is_empty()
    }

    /// Whether anything after the app's start may need the working directory: a hook or a probe that runs in it, a path
    /// relative to it.
    pub fn needs_directory(&self) -> bool {
        let hooks = HookPhase::ALL.iter().any(|phase| !self.hooks.of(*phase).is_empty());
        let checks = !self.ready.is_empty() || !self.drained.is_empty();
        hooks || checks || self.ready_file.is_some() || self.is_watched()
    }

    /// Which setting has the value of an option, for a message about the value.
    pub fn source_of(&self, option: OptionId) -> Source {
        let setting = self.settings.iter().find(|setting| setting.option == option);
        setting.map_or(Source::Flag(option), |setting| setting.source.clone())
    }

    /// What clients on other hosts can read at `--listen`; `None`: no address can be reached from other hosts.
    pub fn exposed(&self) -> Option<String> {
        let open: Vec<String> = self
            .listen
            .iter()
            .filter(|address| listen::is_open(address))
            .map(Address::to_string)
            .collect();
        (!open.is_empty()).then(|| {
            format!(
                "every client that can reach {} can read metrics, settings, command lines, the names of \
                 processes and \
                 what hooks print; --listen 127.0.0.1:PORT serves this host (or pod) only",
                open.join(" and ")
            )
        })
    }
}

/// Why there is no configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Every mistake, each a sentence that names its source and what to write instead.
    pub mistakes: Vec<String>,
    /// How the mistakes are to be written: as the log would be. For people where there would be no log
    /// (`--check`, `--probe`, `--render`, `-P`).
    pub format: Format,
}

/// What the plan of a stop is compared with (`--check`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// Nothing.
    Plain,
    /// The time that a platform gives.
    Limit {
        /// The platform; `None`: that of `--platform`.
        platform: Option<&'static Platform>,
        /// The time; `None`: the usual one of the platform.
        time: Option<Duration>,
    },
}

/// The place where graceinit runs, as far as defaults depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// The platform that was found.
    pub detected: Detected,
    /// stderr is a terminal.
    pub terminal: bool,
    /// The program whose name graceinit was called by.
    pub persona: Persona,
    /// Tells whether a descriptor was inherited open; `None`: no descriptor was.
    pub is_open: Option<fn(i32) -> bool>,
}

impl Place {
    /// Finds out. Must be called before graceinit opens any descriptor itself.
    pub fn here(persona: Persona) -> Place {
        let detected = Detected::find(process::own_pid(), process::variable, process::exists);
        let terminal = tty::is_terminal(stderr::NUMBER);
        Place { detected, terminal, persona, is_open: Some(fd::is_open) }
    }
}

/// Variables with their values, as bytes.
pub type Variables<'a> = [(&'a str, &'a [u8])];

/// The variables of the environment that are read here.
pub fn our_variables(persona: Persona) -> Vec<(&'static str, &'static [u8])> {
    process::environment()
        .filter_map(|entry| {
            let entry = entry.to_bytes();
            let end = entry.iter().position(|byte| *byte == b'=')?;
            let name = std::str::from_utf8(&entry[..end]).ok()?;
            let ours = name.starts_with("GRACEINIT_") || name == GRACE_EXIT_TIMEOUT;
            (ours || choice::VARIABLES.contains(&name) || persona.reads(name))
                .then_some((name, &entry[end + 1..]))
        })
        .collect()
}

/// Variables of other inits, and what to write under graceinit's own name.
const FOREIGN: [(&str, &str); 5] = [
    ("TINI_SUBREAPER", "graceinit is a subreaper wherever it is not PID 1"),
    ("TINI_KILL_PROCESS_GROUP", "write --scope group"),
    ("TINI_VERBOSITY", "write --log-level"),
    ("DUMB_INIT_SETSID", "write --scope main for DUMB_INIT_SETSID=0"),
    ("DUMB_INIT_DEBUG", "write -vv"),
];

/// The warning about variables that mean something only under another init's name.
pub fn foreign_variables(persona: Persona) -> Option<String> {
    if persona != Persona::Graceinit {
        return None;
    }
    let found = FOREIGN.iter().filter(|(name, _)| process::variable(name).is_some());
    let advice: Vec<String> = found.map(|(name, cure)| format!("{name} ({cure})")).collect();
    (!advice.is_empty()).then(|| {
        format!(
            "variables without effect under the name graceinit: {}; or call the program tini or dumb-init",
            advice.join(", ")
        )
    })
}

/// Variables that every graceinit acts on: they say how it logs.
const LOGGING: [&str; 3] = ["GRACEINIT_LOG", "GRACEINIT_LOG_FORMAT", "GRACEINIT_VERBOSITY"];

/// Variables that set the budget.
const BUDGET: [&str; 5] = [
    "GRACEINIT_GRACE",
    "GRACEINIT_GRACE_MAX",
    "GRACEINIT_POST_STOP_TIMEOUT",
    "GRACEINIT_PLATFORM",
    GRACE_EXIT_TIMEOUT,
];

/// Takes out the variables that another graceinit above this one acts on (`docker run --init` and an image whose entry
/// point is graceinit too): hooks must run once, and only one process can listen on an address. Returns the sentence
/// for the log, if there were any. A variable that a script between the two has set or changed is kept. A tool
/// (`--probe`, `--check`) needs them all.
pub fn drop_what_another_acts_on(
    persona: Persona,
    given: &Given,
    variables: &mut Vec<(&'static str, &'static [u8])>,
) -> Option<String> {
    // Under its own name graceinit has a budget in any case. It must not be shorter than that of the other one.
    let kept = |name: &str| {
        LOGGING.contains(&name) || persona == Persona::Graceinit && BUDGET.contains(&name)
    };
    let ours =
        |name: &str| (name.starts_with("GRACEINIT_") || name == GRACE_EXIT_TIMEOUT) && !kept(name);
    let is_tool =
        outputs::wants_tool(given) || given.has(OptionId::Check) || given.has(OptionId::Rehearse);
    if is_tool || !variables.iter().any(|(name, _)| ours(name)) {
        return None;
    }
    let outer = nested::outer()?;
    let mut dropped = Vec::new();
    variables.retain(|(name, value)| {
        let entry = [name.as_bytes(), b"=", *value].concat();
        let acts = ours(name) && outer.has(&entry);
        if acts {
            dropped.push((*name).to_owned());
        }
        !acts
    });
    let (pid, names) = (outer.pid, dropped.join(", "));
    (!dropped.is_empty()).then(|| {
        format!(
            "the graceinit above this one (pid {pid}) acts on {names}; here they have no effect"
        )
    })
}

/// Variables that graceinit sets for its hooks. They are taken out of the environment that a hook inherits: where
/// graceinit itself runs in a hook, they describe another life. The last three belong to sd_notify(3), between the
/// app and the service manager.
pub const HOOK_VARIABLES: [&str; 14] = [
    "GRACEINIT_PHASE",
    "GRACEINIT_HOOK",
    "GRACEINIT_ATTEMPT",
    "GRACEINIT_REASON",
    "GRACEINIT_SIGNAL",
    "GRACEINIT_SENDER_PID",
    "GRACEINIT_APP_PID",
    "GRACEINIT_EXIT_CODE",
    "GRACEINIT_EXIT_SIGNAL",
    "GRACEINIT_DEADLINE",
    "GRACEINIT_BUDGET_MS",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// The second variable for `--grace`, known from other servers.
const GRACE_EXIT_TIMEOUT: &str = "GRACE_EXIT_TIMEOUT";

/// Makes the configuration.
///
/// # Errors
/// Every mistake, each a sentence that names its source and what to write instead.
pub fn build(given: Given, variables: &Variables<'_>, place: Place) -> Result<Config, Refusal> {
    build_from(given, variables, place, false)
}

/// The same, with [`Config::settings`] filled in any case.
///
/// # Errors
/// The same.
pub fn build_with_settings(
    given: Given,
    variables: &Variables<'_>,
    place: Place,
) -> Result<Config, Refusal> {
    build_from(given, variables, place, true)
}

fn build_from(
    given: Given,
    variables: &Variables<'_>,
    place: Place,
    with_settings: bool,
) -> Result<Config, Refusal> {
    if outputs::wants_tool(&given) {
        return build_tool(&given, variables);
    }
    let mut reader = Reader::new(&given, variables, place);
    choice::choose(&mut reader);
    let plain = drop_in::is_plain(&reader);
    let (plan, hooks, about) = plan(&mut reader, plain);
    let user = reader.one(OptionId::User, user::read);
    reader.one(OptionId::Subreaper, parse::truth);
    let parent_signal = reader.one(OptionId::ParentSignal, parse::signal);
    let warn_on_reap = reader.one(OptionId::WarnReap, parse::truth).unwrap_or(false);
    let level = level(&mut reader);
    let log_format = outputs::log_format(&mut reader);
    let check = reader.one(OptionId::Check, choice::check).flatten();
    let rehearsal = rehearse::read(&mut reader);
    if given.command.is_empty() && check.is_none() {
        reader.wrong_at_all(format!(
            "there is no command to run; write {} [OPTIONS] -- COMMAND [ARG]...",
            place.persona.name()
        ));
    }
    warn_of_unknown_variables(&mut reader);
    if !plain {
        choice::warn(&mut reader, plan.drain.is_some());
    }
    // Few lives log or report their settings, so only those pay for the texts.
    let with_settings = with_settings
        || about.watch.writes_files()
        || !about.listen.is_empty()
        || about.readiness.file.is_some()
        || user.is_some()
        || check.is_some()
        || rehearsal.is_some()
        || level >= LevelFilter::Info;
    let settings = if with_settings { reader.settings() } else { Vec::new() };
    let mistakes = reader.mistakes();
    let unused = reader.lookup.profile.is_none() && place.persona == Persona::Graceinit;
    let hint = given.command.first().filter(|_| unused).and_then(|word| profiles::hint(word));
    let Reader { lookup, warnings, .. } = reader;
    let (contract, usual) = (lookup.contract, lookup.usual);
    if !mistakes.is_empty() {
        let is_tool =
            check.is_some() || given.has(OptionId::Check) || given.has(OptionId::Rehearse);
        let format = if is_tool { Format::Text } else { log_format };
        return Err(Refusal { mistakes, format });
    }
    let command = given.command;
    Ok(Config {
        command,
        plan: plan.into(),
        hooks,
        user,
        parent_signal,
        warn_on_reap,
        plain,
        level,
        log_format,
        warnings,
        notes: Vec::new(),
        hint,
        ready: about.readiness.ready,
        ready_file: about.readiness.file,
        health: about.health,
        drain: about.drain.ports,
        drain_unix: about.drain.unix,
        drained: about.drain.words,
        listen: about.listen,
        watch: about.watch,
        tool: None,
        check,
        rehearsal,
        contract,
        usual,
        settings,
    })
}

/// For a tool that starts no app: everything but the tool's own settings has its default.
#[cold]
fn build_tool(given: &Given, variables: &Variables<'_>) -> Result<Config, Refusal> {
    let refusal = |mistakes| Refusal { mistakes, format: Format::Text };
    let (tool, listen) = outputs::tool(given, variables).map_err(refusal)?;
    let no_app = Given { command: vec![OsString::new()], ..Given::default() };
    let defaults = build(no_app, &[], Place::default())?;
    Ok(Config { command: Vec::new(), tool: Some(tool), listen, ..defaults })
}

/// The settings of readiness, drain and outputs that are not in the plan.
#[derive(Default)]
struct About {
    readiness: Readiness,
    health: Checks,
    drain: Drain,
    listen: Vec<Address>,
    watch: Watch,
}

fn plan(reader: &mut Reader<'_>, plain: bool) -> (Plan, PerPhase<Vec<Hook>>, About) {
    // An option with a default has a value here, unless the value could not be read; then the plan is not used.
    let grace = drop_in::grace(reader);
    let grace_max = reader.one(OptionId::GraceMax, parse::duration).unwrap_or(grace);
    let post_stop_timeout =
        reader.one(OptionId::PostStopTimeout, parse::duration).unwrap_or_default();
    let stop_on = drop_in::stop_on(reader, plain);
    let ladder = reader.one(OptionId::StopSignal, parse::ladder).unwrap_or_default();
    conflicts::two_scopes(reader);
    let scope = reader.one(OptionId::Scope, parse::scope).unwrap_or(Scope::Auto);
    let mut rewrite = Rewrite::default();
    for signal in drop_in::stops_of_platform(reader).filter(|signal| stop_on.contains(signal)) {
        rewrite.set(signal, Some(Signal::TERM));
    }
    for (from, to) in reader.each(OptionId::Rewrite, parse::rewrite_rule) {
        rewrite.set(from, to);
    }
    let diagnose = reader.one(OptionId::Diagnose, parse::diagnose);
    let stop_again =
        reader.one(OptionId::StopAgain, parse::stop_again).unwrap_or(StopAgain::Default);
    let killed = reader.one(OptionId::GraceExit, parse::code);
    let oom = reader.one(OptionId::OomExit, parse::code);
    let child_oom = reader.one(OptionId::ChildOom, parse::child_oom).unwrap_or(ChildOom::Note);
    let stop_ok = reader.each(OptionId::StopExitOk, parse::code);
    let always_ok = reader.each(OptionId::ExitOk, parse::code);
    let reload_on = reader.one(OptionId::ReloadOn, parse::reload_signals).unwrap_or_default();
    let usual = Usual::read(reader);
    let is_empty = reader.lookup.is_empty();
    let drafts: PerPhase<Vec<Draft>> = PerPhase::each(|phase| match phase {
        HookPhase::Ready | HookPhase::Drained => Vec::new(),
        _ if is_empty => Vec::new(),
        _ => hooks::read(reader, phase, &usual),
    });
    let reload_on = if drafts.on_reload.is_empty() { Vec::new() } else { reload_on };
    let mut about = About::default();
    let drain_time = drain::time(grace, !drafts.on_stop.is_empty());
    if !is_empty {
        about = About {
            readiness: ready::read(reader),
            health: health::read(reader),
            drain: drain::read(reader, drain_time),
            listen: listen::read(reader),
            watch: outputs::read(reader),
        };
    }
    let limits = |list: &Vec<Draft>| list.iter().map(|draft| draft.limits).collect();
    let plan = Plan {
        grace,
        grace_max,
        leftovers: drop_in::leftovers(reader),
        post_stop_timeout,
        stop_on: SignalSet::of(&stop_on),
        ladder,
        scope,
        rewrite,
        stop_again,
        child_oom,
        diagnose,
        reload_on: SignalSet::of(&reload_on),
        ready: about.readiness.conditions(),
        ready_timeout: about.readiness.timeout,
        probe_timeout: usual.timeout,
        drain: about.drain.plan(drain_time),
        hooks: PerPhase::each(|phase| limits(drafts.of(phase))),
        exit: ExitRules { always_ok, stop_ok, killed, oom, codes: reader.persona().codes() },
        session: drop_in::session(reader),
    };
    if !is_empty {
        conflicts::find(reader, &plan, &stop_on, &drafts);
        let drains = about.drain.ports.is_some() || reader.has_failed(OptionId::Drain);
        health::conflicts(reader, &about.health);
        ready::conflicts(reader, &about.readiness, &stop_on, &reload_on, drains);
        drain::conflicts(reader, &about.drain, grace, !drafts.on_stop.is_empty());
        outputs::conflicts(reader);
        drop_in::warn_of_no_deadline(reader, &plan);
    }
    let hook = |draft: &Draft| draft.hook.clone();
    (plan, PerPhase::each(|phase| drafts.of(phase).iter().map(hook).collect()), about)
}

/// Each `-v` raises `--log-level` by one; under dumb-init's name it means debug at once.
fn level(reader: &mut Reader<'_>) -> LevelFilter {
    let base = reader.one(OptionId::LogLevel, parse::level).unwrap_or(LevelFilter::Warn);
    let step = if reader.persona() == Persona::DumbInit { 2 } else { 1 };
    let more = step * reader.one(OptionId::Verbosity, parse::count).unwrap_or(0) as usize;
    let level =
        LevelFilter::iter().nth((base as usize).saturating_add(more)).unwrap_or(LevelFilter::Trace);
    if let Some(found) = reader.asked(OptionId::Verbosity).filter(|_| level != base) {
        let found = Found::new(found.source.clone(), level.as_str().to_ascii_lowercase());
        reader.record(OptionId::LogLevel, found);
    }
    level
}

fn warn_of_unknown_variables(reader: &mut Reader<'_>) {
    for (name, _) in reader.lookup.variables {
        let ours = name.starts_with("GRACEINIT_");
        let known = OPTIONS.iter().any(|opt| opt.variable == Some(name));
        // The variables of hooks are set where graceinit runs in a hook.
        if ours && !known && !HOOK_VARIABLES.contains(name) {
            reader.warnings.push(format!(
                "{name} is not a variable of graceinit and is ignored (a Kubernetes service called \
                 graceinit creates such variables; graceinit --help lists all)"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
