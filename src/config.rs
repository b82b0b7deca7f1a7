//! Flags and variables become the configuration. Every mistake is refused here, all of them at
//! once, each with its source: later code cannot meet a bad value.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use log::LevelFilter;

use crate::cli::{Given, Kind, OPTIONS};
use crate::hookenv;
use crate::machine::hook::HookPhase;
use crate::machine::plan::{
    ExitRules, HookLimits, OnFailure, PerPhase, Plan, Rewrite, Rung, Scope, StopAgain,
};
use crate::sys::process;
use crate::types::{Signal, SignalSet};
use crate::user::{self, User};

pub mod hooks;
pub mod profiles;
pub mod source;

use hooks::{Hook, Task};
use source::Source;

/// Everything that a life needs to know beforehand.
#[derive(Debug)]
pub struct Config {
    /// The app.
    pub command: Vec<OsString>,
    /// What the machine is told.
    pub plan: Plan,
    /// The hooks, in the order of the plan's limits.
    pub hooks: PerPhase<Vec<Hook>>,
    /// Who the app and the hooks run as.
    pub user: Option<User>,
    /// `-p`
    pub parent_signal: Option<Signal>,
    /// `-w`
    pub warn_on_reap: bool,
    /// What is logged.
    pub level: LevelFilter,
    /// What is odd but no mistake.
    pub warnings: Vec<String>,
}

/// Where this runs, as far as defaults depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// KUBERNETES_SERVICE_HOST is set.
    pub kubernetes: bool,
    /// /.dockerenv or /run/.containerenv exists.
    pub container: bool,
}

impl Place {
    /// Looks.
    pub fn here() -> Place {
        let kubernetes = process::variable("KUBERNETES_SERVICE_HOST").is_some();
        let container = !kubernetes
            && (process::exists(c"/.dockerenv") || process::exists(c"/run/.containerenv"));
        Place { kubernetes, container }
    }
}

/// The variables that this module reads, as bytes.
pub type Variables<'a> = [(&'a str, &'a [u8])];

/// Those of the environment.
pub fn our_variables() -> Vec<(&'static str, &'static [u8])> {
    process::environment()
        .filter_map(|entry| {
            let entry = entry.to_bytes();
            let end = entry.iter().position(|byte| *byte == b'=')?;
            let name = std::str::from_utf8(&entry[..end]).ok()?;
            let ours = name.starts_with("GRACEINIT_") || name == GRACE_EXIT_TIMEOUT;
            ours.then_some((name, &entry[end + 1..]))
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
    let mut reader =
        Reader { given: &given, variables, mistakes: Vec::new(), warnings: Vec::new() };
    let (hooks, plan) = reader.plan(place);
    let user = reader.one("user", |text| {
        let read = |path| std::fs::read(path).unwrap_or_default();
        let text_of = |path| String::from_utf8_lossy(&read(path)).into_owned();
        user::resolve(text, &text_of("/etc/passwd"), &text_of("/etc/group"))
    });
    let parent_signal = reader.one("p", signal);
    let warn_on_reap = reader.flag("w");
    let level = reader.level(place);
    reader.unknown_variables();
    let Reader { mistakes, warnings, .. } = reader;
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let command = given.command;
    Ok(Config { command, plan, hooks, user, parent_signal, warn_on_reap, level, warnings })
}

struct Reader<'a> {
    given: &'a Given,
    variables: &'a Variables<'a>,
    mistakes: Vec<String>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    /// The values of an option: those of the flag, else those of its variable.
    fn values(&self, name: &'static str) -> Vec<(Source, OsString)> {
        if let Some((_, values)) = self.given.options.iter().find(|(given, _)| *given == name) {
            return values.iter().map(|value| (Source::Flag(name), value.clone())).collect();
        }
        let Some(opt) = OPTIONS.iter().find(|opt| opt.name == name) else { return Vec::new() };
        let value = opt.variable.and_then(|variable| Some((variable, self.variable(variable)?)));
        let Some((variable, value)) = value else { return Vec::new() };
        let lines: Vec<&[u8]> = match opt.kind {
            Kind::Many(_) => value.split(|byte| *byte == b'\n').collect(),
            Kind::One(_) | Kind::Flag | Kind::Count => vec![value],
        };
        let lines = lines.into_iter().map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        lines.map(|line| (Source::Variable(variable), OsString::from_vec(line.to_vec()))).collect()
    }

    /// A variable that is set to nothing is not set: templates leave such behind.
    fn variable(&self, name: &str) -> Option<&[u8]> {
        let found = self.variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value).filter(|value| !value.trim_ascii().is_empty())
    }

    fn wrong(&mut self, source: Source, value: &OsString, why: impl fmt::Display) {
        self.mistakes.push(format!("unable to use {source} '{}': {why}", value.to_string_lossy()));
    }

    fn each<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut parsed = Vec::new();
        for (source, value) in self.values(name) {
            match value.to_str().ok_or_else(|| "not UTF-8 text".to_owned()).and_then(&parse) {
                Ok(value) => parsed.push(value),
                Err(why) => self.wrong(source, &value, why),
            }
        }
        parsed
    }

    fn one<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.each(name, parse).pop()
    }

    fn flag(&mut self, name: &'static str) -> bool {
        let values = self.values(name);
        match values.first() {
            None => false,
            Some((Source::Flag(_), _)) => true,
            Some(_) => self.one(name, truth).unwrap_or(false),
        }
    }

    fn plan(&mut self, place: Place) -> (PerPhase<Vec<Hook>>, Plan) {
        let defaults = match place {
            // Both kill PID 1 ten seconds after `stop`; 7 s and a reserve of 2 s fit.
            Place { kubernetes: false, container: true } => (7, 2),
            _ => (15, 5),
        };
        let grace = self.one("grace", duration).or_else(|| self.grace_exit_timeout());
        let post_stop_timeout = self.one("post-stop-timeout", duration);
        let stop_on =
            self.one("stop-on", stop_signals).unwrap_or_else(|| vec![Signal::TERM, Signal::INT]);
        let ladder = self.one("stop-signal", ladder).unwrap_or_default();
        let mut rewrite = Rewrite::default();
        for (from, to) in self.each("rewrite", rewrite_rule) {
            rewrite.set(from, to);
        }
        for signal in stop_on.iter().filter(|signal| rewrite.apply(**signal).is_none()) {
            if ladder.is_empty() {
                self.mistakes.push(format!(
                    "unable to use --rewrite {signal}:0: {signal} begins a stop and is what the app would \
                     be sent; name another signal with --stop-signal, or take {signal} out of --stop-on"
                ));
            }
        }
        let timeout = self.one("hook-timeout", some_time).unwrap_or(Duration::from_secs(5));
        let retries = self.one("hook-retries", count);
        let backoff = self.one("hook-backoff", duration).unwrap_or(Duration::from_millis(200));
        let hooks = PerPhase {
            pre_stop: self.hooks("pre-stop"),
            on_stop: self.hooks("on-stop"),
            post_stop: self.hooks("post-stop"),
            ..PerPhase::default()
        };
        let limits = PerPhase::each(|phase| {
            let usual = if phase == HookPhase::OnStop { 3 } else { 0 };
            let retries = retries.unwrap_or(usual);
            let on_failure = match phase {
                HookPhase::PreStart => OnFailure::Abort,
                _ => OnFailure::Warn,
            };
            vec![HookLimits { timeout, retries, backoff, on_failure }; hooks.of(phase).len()]
        });
        let plan = Plan {
            grace: grace.unwrap_or(Duration::from_secs(defaults.0)),
            grace_max: grace.unwrap_or(Duration::from_secs(defaults.0)),
            post_stop_timeout: post_stop_timeout.unwrap_or(Duration::from_secs(defaults.1)),
            stop_on: SignalSet::of(&stop_on),
            ladder,
            scope: self.scope(),
            rewrite,
            stop_again: self.one("stop-again", stop_again).unwrap_or(StopAgain::Default),
            diagnose: None,
            reload_on: SignalSet::of(&[Signal::HUP]),
            hooks: limits,
            jitter: 0,
            exit: ExitRules {
                always_ok: self.each("e", code),
                stop_ok: self.each("stop-exit-ok", code),
                killed: self.one("grace-exit", code),
            },
            terminal: false,
            suspendable: false,
        };
        (hooks, plan)
    }

    fn grace_exit_timeout(&mut self) -> Option<Duration> {
        let value = self.variable(GRACE_EXIT_TIMEOUT)?.to_vec();
        match duration(&String::from_utf8_lossy(&value)) {
            Ok(grace) => Some(grace),
            Err(why) => {
                let value = OsString::from_vec(value);
                self.wrong(Source::Variable(GRACE_EXIT_TIMEOUT), &value, why);
                None
            }
        }
    }

    fn scope(&mut self) -> Scope {
        let (group, main) = (self.flag("g"), self.flag("c"));
        if group && main {
            self.mistakes.push("unable to use -g together with -c: choose one --scope".to_owned());
        }
        let short = match (group, main) {
            (true, _) => Some(Scope::Group),
            (_, true) => Some(Scope::Main),
            _ => None,
        };
        let named = self.one("scope", scope);
        let by_flag = self.given.options.iter().any(|(name, _)| *name == "scope");
        match (short, named) {
            (Some(short), Some(named)) if by_flag && short != named => {
                self.mistakes
                    .push("unable to use --scope together with -g or -c: choose one".to_owned());
                named
            }
            (Some(short), _) => short,
            (None, named) => named.unwrap_or(Scope::Group),
        }
    }

    fn hooks(&mut self, name: &'static str) -> Vec<Hook> {
        let mut hooks = Vec::new();
        for (source, value) in self.values(name) {
            match shlex::bytes::split(value.as_bytes()) {
                Some(words) if !words.is_empty() => {
                    if let Some(word) = words.iter().find(|word| is_shell_operator(word)) {
                        self.warnings.push(format!(
                            "{source} '{}': hooks run without a shell, so '{}' is a plain argument; \
                             write sh -c '...' if a shell is meant",
                            value.to_string_lossy(),
                            String::from_utf8_lossy(word)
                        ));
                    }
                    let words = words.into_iter().map(OsString::from_vec).collect();
                    hooks.push(Hook {
                        name: format!("{name}-{}", hooks.len() + 1),
                        task: Task::Command(words),
                        env: Vec::new(),
                        user: None,
                        source,
                        text: value.to_string_lossy().into_owned(),
                    });
                }
                Some(_) => self.wrong(
                    source,
                    &value,
                    "an empty command; write a program and its arguments",
                ),
                None => self.wrong(source, &value, "a quote is not closed"),
            }
        }
        hooks
    }

    fn level(&mut self, place: Place) -> LevelFilter {
        let default = if place.kubernetes { LevelFilter::Info } else { LevelFilter::Warn };
        let base = self.one("log-level", level).unwrap_or(default);
        let more = match self.values("v").first() {
            None => 0,
            Some((Source::Flag(_), _)) => self.values("v").len(),
            Some(_) => self.one("v", count).unwrap_or(0) as usize,
        };
        LevelFilter::iter().nth(base as usize + more).unwrap_or(LevelFilter::Trace)
    }

    fn unknown_variables(&mut self) {
        for (name, _) in self.variables {
            let ours = name.starts_with("GRACEINIT_");
            let known = OPTIONS.iter().any(|opt| opt.variable == Some(name));
            // Those of hooks are there when graceinit runs inside a hook.
            if ours && !known && !hookenv::NAMES.contains(name) {
                self.warnings.push(format!(
                    "{name} is no variable of graceinit and is ignored (a Kubernetes service called \
                     graceinit makes such variables; graceinit --help lists ours)"
                ));
            }
        }
    }
}

fn is_shell_operator(word: &[u8]) -> bool {
    [&b"&&"[..], b"||", b"|", b";", b"&", b">", b">>", b"<", b"2>&1"].contains(&word)
}

fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        digits.then(|| text.parse::<f64>().ok()).flatten()
    };
    if let Some(seconds) = number(text) {
        return Duration::try_from_secs_f64(seconds).map_err(|_| "too long".to_owned());
    }
    humantime::parse_duration(text)
        .map_err(|_| "not a duration; write 10s, 1m 30s, 250ms or a number of seconds".to_owned())
}

/// A limit of nothing would be none.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("no time at all; write at least 1ms".to_owned()),
        some => Ok(some),
    }
}

fn signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text).ok_or_else(|| "not a signal; write TERM, SIGTERM, 15 or RTMIN+3".to_owned())
}

fn stop_signals(text: &str) -> Result<Vec<Signal>, String> {
    let mut signals = Vec::new();
    for signal in text.split(',').map(signal) {
        let signal = signal?;
        if !signals.contains(&signal) {
            signals.push(signal);
        }
    }
    match signals.iter().find(|s| [Signal::KILL, Signal::STOP, Signal::CHLD].contains(s)) {
        Some(signal) => Err(format!("{signal} cannot begin a stop; name one that can be caught")),
        None => Ok(signals),
    }
}

fn ladder(text: &str) -> Result<Vec<Rung>, String> {
    let rung = |text: &str| {
        let (name, wait) = match text.split_once(':') {
            Some((name, wait)) => (name, Some(some_time(wait)?)),
            None => (text, None),
        };
        Ok(Rung { signal: if name.trim() == "0" { None } else { Some(signal(name)?) }, wait })
    };
    let rungs = text.split(',').map(rung).collect::<Result<Vec<_>, String>>()?;
    let waits = rungs.iter().rev().skip(1).all(|rung| rung.wait.is_some());
    if waits {
        Ok(rungs)
    } else {
        Err("each signal but the last needs its time; write TERM:10s,INT".to_owned())
    }
}

fn rewrite_rule(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let Some((from, to)) = text.split_once(':') else {
        return Err("not FROM:TO; write TERM:QUIT, or HUP:0 to drop it".to_owned());
    };
    let from = signal(from)?;
    if [Signal::KILL, Signal::STOP, Signal::CHLD].contains(&from) {
        return Err(format!("{from} never reaches graceinit to be rewritten"));
    }
    let to = if to.trim() == "0" { None } else { Some(signal(to)?) };
    Ok((from, to))
}

fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "group" => Ok(Scope::Group),
        "main" => Ok(Scope::Main),
        "mixed" => Ok(Scope::Mixed),
        "tree" => Ok(Scope::Tree),
        _ => Err("write group, main, mixed or tree".to_owned()),
    }
}

fn stop_again(text: &str) -> Result<StopAgain, String> {
    match text {
        "ignore" => Ok(StopAgain::Ignore),
        "kill" => Ok(StopAgain::Kill),
        _ => Err("write ignore or kill".to_owned()),
    }
}

fn code(text: &str) -> Result<u8, String> {
    text.trim().parse().map_err(|_| "not an exit code; write a number from 0 to 255".to_owned())
}

fn count(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| "not a count; write a whole number".to_owned())
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "write off, error, warn, info, debug or trace".to_owned())
}

fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("write 1 or 0".to_owned()),
    }
}

#[cfg(test)]
mod tests;
