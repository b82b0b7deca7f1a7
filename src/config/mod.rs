//! Flags, variables, the file and the profile become the configuration. Every mistake is refused here, all of them at
//! once, each with its source: later code cannot meet a bad value.

use std::ffi::{CString, OsString};
use std::rc::Rc;
use std::time::Duration;

use log::LevelFilter;

use crate::account::log::Format;
use crate::cli::Given;
use crate::cli::persona::Persona;
use crate::config::user::User;
use crate::machine::hooks::HookPhase;
use crate::machine::plan::{ExitRules, PerPhase, Plan, Rewrite, Scope, StopAgain};
use crate::sys::listen::Address;
use crate::sys::{fd, process, stderr, tty};
use crate::types::{Signal, SignalSet};

mod commands;
mod conflicts;
pub mod drain;
mod drop_in;
mod file;
mod found;
mod hooklist;
pub mod hooks;
mod listen;
pub mod outputs;
mod parse;
pub mod profiles;
mod reader;
mod ready;
mod silence;
pub mod source;
pub mod user;

use drain::Drain;
use hooklist::{Draft, Usual};
use hooks::{Hook, Task};
use outputs::{Tool, Watch};
use reader::Reader;
use ready::Readiness;
use source::Source;

/// Everything that a life needs to know beforehand.
#[derive(Debug)]
pub struct Config {
    /// The app.
    pub command: Vec<OsString>,
    /// What the machine is told, and shares with us.
    pub plan: Rc<Plan>,
    /// The hooks, in the order of the plan's limits.
    pub hooks: PerPhase<Vec<Hook>>,
    /// Who the app and the hooks run as.
    pub user: Option<User>,
    /// `-p`
    pub parent_signal: Option<Signal>,
    /// `-w`
    pub warn_on_reap: bool,
    /// Nothing was asked for that an init of another name does not do: signals are passed on, orphans reaped,
    /// and everything else is left as it is.
    pub plain: bool,
    /// What is logged.
    pub level: LevelFilter,
    /// `--log-format`
    pub log_format: Format,
    /// What is odd but no mistake.
    pub warnings: Vec<String>,
    /// `--ready`, in the order of the plan's conditions.
    pub ready: Vec<Ready>,
    /// `--ready-file`: exists exactly while the app is ready.
    pub ready_file: Option<CString>,
    /// `--drain`; `None`: no ports are looked at.
    pub drain: Option<Ports>,
    /// `--listen`
    pub listen: Vec<Address>,
    /// `--metrics-file`, `--report`
    pub watch: Watch,
    /// `--probe`, `--render`: no app is started.
    pub tool: Option<Tool>,
    /// `--check`: nothing is to be started, and there may be no command.
    pub check: Option<Check>,
    /// What is in force, in the order of [`crate::cli::OPTIONS`]; hooks are above. Empty where nobody is told.
    pub settings: Vec<Setting>,
}

/// One value in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The option's name.
    pub name: &'static str,
    /// As it was written; several with a comma between them.
    pub value: String,
    /// Who said so.
    pub source: Source,
}

/// One `--ready`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ready {
    /// As it was written.
    pub text: String,
    /// What has to hold.
    pub when: When,
}

/// What has to hold before the app counts as ready.
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
    /// `tcp:PORT`, `http://…`, `exec:CMD`, `file:PATH`: done again and again by a child, until it ends
    /// with 0.
    Probe(Task),
}

/// `--drain`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ports {
    /// These.
    List(Vec<u16>),
    /// Those that the app's tree listens on.
    Auto,
}

impl Config {
    /// Somebody reads the account.
    pub fn is_watched(&self) -> bool {
        self.watch.writes_files() || !self.listen.is_empty()
    }

    /// Whether anything that comes after the app's start may depend on the working directory: a hook or a
    /// probe that is run in it, a path that may be relative to it.
    pub fn needs_directory(&self) -> bool {
        let hooks = HookPhase::ALL.iter().any(|phase| !self.hooks.of(*phase).is_empty());
        hooks || !self.ready.is_empty() || self.ready_file.is_some() || self.is_watched()
    }

    /// What `--listen` lets others see who are not on this host; `None`: there are none.
    pub fn exposed(&self) -> Option<String> {
        let open: Vec<String> = self
            .listen
            .iter()
            .filter(|address| listen::is_open(address))
            .map(Address::to_string)
            .collect();
        (!open.is_empty()).then(|| {
            format!(
                "whoever can reach {} can read metrics, settings, command lines, the names of processes and \
                 what hooks print; --listen 127.0.0.1:PORT answers this host (or pod) only",
                open.join(" and ")
            )
        })
    }
}

/// What a plan is held against (`--check`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// Nothing.
    Plain,
    /// The ten seconds of `docker stop`.
    Docker,
    /// terminationGracePeriodSeconds of a pod.
    Kubernetes(Duration),
}

/// Where this runs, as far as defaults depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// KUBERNETES_SERVICE_HOST is set.
    pub kubernetes: bool,
    /// /.dockerenv or /run/.containerenv exists.
    pub container: bool,
    /// stderr is a terminal.
    pub terminal: bool,
    /// Whose name graceinit was called by.
    pub persona: Persona,
    /// Whether a descriptor was inherited open; without, none was.
    pub is_open: Option<fn(i32) -> bool>,
}

impl Place {
    /// Looks. Before graceinit opens anything itself.
    pub fn here(persona: Persona) -> Place {
        let kubernetes = process::variable("KUBERNETES_SERVICE_HOST").is_some();
        let container = !kubernetes
            && (process::exists(c"/.dockerenv") || process::exists(c"/run/.containerenv"));
        let terminal = tty::is_terminal(stderr::NUMBER);
        Place { kubernetes, container, terminal, persona, is_open: Some(fd::is_open) }
    }
}

/// The variables that this module reads, as bytes.
pub type Variables<'a> = [(&'a str, &'a [u8])];

/// Those of the environment.
pub fn our_variables(persona: Persona) -> Vec<(&'static str, &'static [u8])> {
    process::environment()
        .filter_map(|entry| {
            let entry = entry.to_bytes();
            let end = entry.iter().position(|byte| *byte == b'=')?;
            let name = std::str::from_utf8(&entry[..end]).ok()?;
            let ours = name.starts_with("GRACEINIT_") || name == GRACE_EXIT_TIMEOUT;
            (ours || persona.reads(name)).then_some((name, &entry[end + 1..]))
        })
        .collect()
}

/// The second variable for `--grace`, known from other servers.
const GRACE_EXIT_TIMEOUT: &str = "GRACE_EXIT_TIMEOUT";

/// Makes the configuration.
///
/// # Errors
/// Every mistake, each a sentence that names its source and what to write instead.
pub fn build(given: Given, variables: &Variables<'_>, place: Place) -> Result<Config, Vec<String>> {
    if silence::reigns(&given, variables, place) {
        return Ok(silence::config(given.command, place.container));
    }
    in_full(given, variables, place, false)
}

/// The same, and what is in force is told whoever is there to hear it.
///
/// # Errors
/// The same.
pub fn build_told(
    given: Given,
    variables: &Variables<'_>,
    place: Place,
) -> Result<Config, Vec<String>> {
    in_full(given, variables, place, true)
}

/// From what every option is found to be.
#[cold]
fn in_full(
    given: Given,
    variables: &Variables<'_>,
    place: Place,
    told: bool,
) -> Result<Config, Vec<String>> {
    if outputs::wants_tool(&given) {
        return instead(&given, variables);
    }
    let mut reader = Reader::new(&given, variables, place);
    let plain = reader.is_plain();
    let (plan, hooks, about) = plan(&mut reader, plain);
    let user = reader.one("user", reader::user);
    reader.one("s", parse::truth);
    let parent_signal = reader.one("p", parse::signal);
    let warn_on_reap = reader.one("w", parse::truth).unwrap_or(false);
    let level = level(&mut reader);
    let log_format = reader.one("log-format", outputs::format).unwrap_or_default();
    let check = reader.one("check", parse::check).flatten();
    if given.command.is_empty() && check.is_none() {
        reader.wrong_at_all(format!(
            "there is no command to run; write {} [OPTIONS] -- COMMAND [ARG]...",
            place.persona.name()
        ));
    }
    reader.unknown_variables();
    // Texts for those who are told what is in force: few lives have one, and all would pay for them.
    let told = told
        || about.watch.writes_files()
        || !about.listen.is_empty()
        || check.is_some()
        || level >= LevelFilter::Info;
    let settings = if told { reader.settings() } else { Vec::new() };
    let mistakes = reader.mistakes();
    let Reader { warnings, .. } = reader;
    if !mistakes.is_empty() {
        return Err(mistakes);
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
        ready: about.readiness.ready,
        ready_file: about.readiness.file,
        drain: about.drain.ports,
        listen: about.listen,
        watch: about.watch,
        tool: None,
        check,
        settings,
    })
}

/// No app is started: all else is as if nothing had been said.
#[cold]
fn instead(given: &Given, variables: &Variables<'_>) -> Result<Config, Vec<String>> {
    let (tool, listen) = outputs::tool(given, variables)?;
    let nobody = Given { command: vec![OsString::new()], ..Given::default() };
    let silent = build(nobody, &[], Place::default())?;
    Ok(Config { command: Vec::new(), tool: Some(tool), listen, ..silent })
}

/// What the plan does not need to know of readiness, drain and observer.
#[derive(Default)]
struct About {
    readiness: Readiness,
    drain: Drain,
    listen: Vec<Address>,
    watch: Watch,
}

fn plan(reader: &mut Reader<'_>, plain: bool) -> (Plan, PerPhase<Vec<Hook>>, About) {
    // What has a default is there, unless it could not be read: then nothing comes of this plan.
    let grace = reader.grace();
    let grace_max = reader.one("grace-max", parse::duration).unwrap_or(grace);
    let post_stop_timeout = reader.one("post-stop-timeout", parse::duration).unwrap_or_default();
    let stop_on = reader.stop_on(plain);
    let ladder = reader.one("stop-signal", parse::ladder).unwrap_or_default();
    reader.short_scope();
    let scope = reader.one("scope", parse::scope).unwrap_or(Scope::Group);
    let mut rewrite = Rewrite::default();
    for (from, to) in reader.each("rewrite", parse::rewrite_rule) {
        rewrite.set(from, to);
    }
    let diagnose = reader.one("diagnose", parse::diagnose);
    let stop_again = reader.one("stop-again", parse::stop_again).unwrap_or(StopAgain::Default);
    let killed = reader.one("grace-exit", parse::code);
    let stop_ok = reader.each("stop-exit-ok", parse::code);
    let always_ok = reader.each("e", parse::code);
    let reload_on = reader.one("reload-on", parse::reload_signals).unwrap_or_default();
    let usual = Usual {
        timeout: reader.one("hook-timeout", parse::some_time).unwrap_or_default(),
        asked: reader.asked("hook-timeout").is_some(),
        retries: reader.one("hook-retries", parse::count),
        backoff: reader.one("hook-backoff", parse::duration).unwrap_or_default(),
    };
    let silent = reader.is_silent();
    let hooks = |phase| match phase {
        HookPhase::Ready => Vec::new(),
        _ if silent => Vec::new(),
        _ => reader.hooks(phase, &usual),
    };
    let drafts: PerPhase<Vec<Draft>> = PerPhase::each(hooks);
    let reload_on = if drafts.on_reload.is_empty() { Vec::new() } else { reload_on };
    let mut about = About::default();
    let time = drain::drain_time(grace, !drafts.on_stop.is_empty());
    if !silent {
        about = About {
            readiness: reader.readiness(),
            drain: reader.drain(time),
            listen: reader.listen(),
            watch: reader.watch(),
        };
    }
    let limits = |list: &Vec<Draft>| list.iter().map(|draft| draft.limits).collect();
    let plan = Plan {
        grace,
        grace_max,
        leftovers: reader.leftovers(),
        post_stop_timeout,
        stop_on: SignalSet::of(&stop_on),
        ladder,
        scope,
        rewrite,
        stop_again,
        diagnose,
        reload_on: SignalSet::of(&reload_on),
        ready: about.readiness.conditions(),
        ready_timeout: about.readiness.timeout,
        probe_timeout: usual.timeout,
        drain: about.drain.plan(time),
        hooks: PerPhase::each(|phase| limits(drafts.of(phase))),
        exit: ExitRules { always_ok, stop_ok, killed, codes: reader.persona().codes() },
        session: reader.session(),
    };
    if !silent {
        reader.conflicts(&plan, &stop_on, &drafts);
        let drains = about.drain.ports.is_some() || reader.has_failed("drain");
        reader.ready_conflicts(&about.readiness, &stop_on, &reload_on, drains);
        reader.drain_conflicts(&about.drain, grace, !drafts.on_stop.is_empty());
        reader.watch_conflicts();
        reader.warn_of_no_deadline(&plan);
    }
    let hook = |draft: &Draft| draft.hook.clone();
    (plan, PerPhase::each(|phase| drafts.of(phase).iter().map(hook).collect()), about)
}

/// `-v` counts from `--log-level`; dumb-init's means "debug" at once.
fn level(reader: &mut Reader<'_>) -> LevelFilter {
    let base = reader.one("log-level", parse::level).unwrap_or(LevelFilter::Warn);
    let step = if reader.persona() == Persona::DumbInit { 2 } else { 1 };
    let more = step * reader.one("v", parse::count).unwrap_or(0) as usize;
    LevelFilter::iter().nth((base as usize).saturating_add(more)).unwrap_or(LevelFilter::Trace)
}

#[cfg(test)]
mod tests;
