//! `--check`: prints the configuration in force, the longest stop that follows from it, and what is wrong with both.

use std::ffi::OsString;
use std::fmt::Write;
use std::time::Duration;

use super::plan_drawing::{self, LongestStop, hook_name};
use crate::account::timeline::{Marker, seconds};
use crate::cli::OptionId;
use crate::config::hooks::Task;
use crate::config::platform::Contract;
use crate::config::source::Source;
use crate::config::{Check, Config, Ports, Setting, When};
use crate::machine::fact::Fact;
use crate::machine::hooks::HookPhase;
use crate::machine::plan::{OnFailure, Plan};
use crate::sys::launch::spawn::Program;
use crate::sys::{stderr, tty};
use crate::types::SignalSet;
use crate::types::text::in_one_line as escaped;

/// The time that the dead-man timer adds in the worst case (docs/shutdown.md). Of a short time a tenth is enough: what
/// it gives for a stop is not worth more.
fn slack(kill: Duration) -> Duration {
    Duration::from_millis(500).min(kill / 10)
}

/// How much is drawn of a stop without a deadline, if `--check` names no limit.
const HORIZON: Duration = Duration::from_secs(30);

/// Returns the text, and whether the plan fits into the time that `--check` names.
pub fn render(config: &Config) -> (String, bool) {
    // If stdout is a file, the terminal of stderr tells how wide it may be.
    let columns = tty::columns(1).or_else(|| tty::columns(stderr::NUMBER)).unwrap_or(100);
    render_in(config, columns.clamp(72, 140))
}

fn render_in(config: &Config, columns: usize) -> (String, bool) {
    let mut text = String::new();
    settings(&mut text, config);
    hooks(&mut text, config);
    readiness(&mut text, config);
    drained(&mut text, config);
    let kill = kill(config);
    let horizon = kill.as_ref().map_or(HORIZON, |kill| kill.at);
    let stop = plan_drawing::longest_stop(config, &config.plan, horizon);
    let (mut warnings, mut notes) = (Vec::new(), Vec::new());
    // Without stop signals there is no stop that could be too long.
    let mut fits = true;
    if config.plan.stop_on == SignalSet::default() {
        let _ = writeln!(text, "\n{}", no_stop(config));
    } else {
        let _ = writeln!(
            text,
            "\nA stop in which nothing ends before it has to (a real one ends as soon as everything has \
             ended):\n"
        );
        text.push_str(&stop.draw(config, kill.as_ref(), columns));
        let ends = config.plan.budget().is_some();
        let fits_in = |end: Duration| {
            kill.as_ref().is_none_or(|kill| ends && end + slack(kill.at) <= kill.at)
        };
        fits = fits_in(stop.end);
        if !fits {
            warnings.extend(kill.as_ref().map(|kill| too_long(config, &stop, kill)));
        } else if let (Some(plan), Some(kill)) = (usual_plan(config), &kill) {
            fits = fits_in(plan_drawing::longest_stop(config, &plan, horizon).end);
            let text = unknown_to_a_run(config, &plan, kill);
            if fits { notes.push(text) } else { warnings.push(text) }
        }
        if !ends {
            let _ = writeln!(text, "\n{}", no_end(config));
        }
    }
    warnings.extend(other_warnings(config, &stop));
    for warning in warnings.iter().chain(&config.warnings).chain(&config.hint) {
        let _ = writeln!(text, "\nwarning: {}", escaped(warning));
    }
    for note in notes.iter().chain(&config.exposed()) {
        let _ = writeln!(text, "\nnote: {}", escaped(note));
    }
    (text, fits)
}

/// The settings that are not the general defaults, for the log.
pub fn in_one_line(config: &Config) -> String {
    let special = |setting: &&Setting| match setting.source {
        // The reason of a default may say "as" another program.
        Source::Default(why) => why.starts_with("as "),
        Source::Platform(_) => config.contract != Contract::default(),
        Source::Flag(_)
        | Source::Variable(_)
        | Source::File(..)
        | Source::Profile(_)
        | Source::Marker(_) => true,
    };
    let special = config.settings.iter().filter(special);
    special
        .map(|Setting { option, value, source }| format!("{option}={value} ({source})"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn settings(text: &mut String, config: &Config) {
    let words: Vec<_> = config.command.iter().map(|word| word.to_string_lossy()).collect();
    let command = if words.is_empty() { "(no command given)".into() } else { words.join(" ") };
    let _ = writeln!(text, "The app: {}\n\nSettings in force:", escaped(&command));
    for setting in &config.settings {
        let line = format!("{:18} {:24} {}", setting.option, setting.value, setting.source);
        let _ = writeln!(text, "  {}", escaped(&line));
    }
}

fn hooks(text: &mut String, config: &Config) {
    if HookPhase::ALL.iter().all(|phase| config.hooks.of(*phase).is_empty()) {
        return;
    }
    let _ =
        writeln!(text, "\nHooks, in the order in which they run (pre-stop hooks side by side):");
    for phase in HookPhase::ALL {
        for (hook, limits) in config.hooks.of(phase).iter().zip(config.plan.hooks.of(phase)) {
            let retries = match limits.retries {
                0 => "not retried".to_owned(),
                1 => format!("retried once after {}", seconds(limits.backoff)),
                n => format!("retried {n} times, first after {}", seconds(limits.backoff)),
            };
            let abort = match limits.on_failure {
                OnFailure::Abort => ", a failure ends the phase",
                OnFailure::Warn => "",
            };
            let limit = seconds(limits.timeout);
            let _ = writeln!(
                text,
                "  {:10} {}: {}\n             at most {limit}, {retries}{abort}   ({})",
                phase.as_str(),
                hook.name,
                escaped(&hook.text),
                escaped(&hook.source.to_string())
            );
        }
    }
}

fn readiness(text: &mut String, config: &Config) {
    let ports = config.drain.as_ref().map(|ports| match ports {
        Ports::Auto => "the app listens (--drain auto)".to_owned(),
        Ports::List(ports) => {
            let unix = config.drain_unix.iter().map(ToString::to_string);
            let all: Vec<String> =
                ports.iter().map(|port| format!("port {port}")).chain(unix).collect();
            format!("the app listens on {} (--drain)", all.join(" and "))
        }
    });
    if config.ready.is_empty() && ports.is_none() {
        return;
    }
    let late = config.plan.ready_timeout.map(seconds);
    let late = late
        .map_or(String::new(), |late| format!(" (it is stopped if that takes longer than {late})"));
    let _ = writeln!(text, "\nThe app is ready when all of this holds{late}:");
    for ready in &config.ready {
        let each = seconds(config.plan.probe_timeout);
        let probed = match ready.when {
            When::Probe(_) => format!("   (each probe takes at most {each})"),
            When::Notify | When::Fd(_) | When::Signal(_) | When::After(_) => String::new(),
        };
        let _ = writeln!(text, "  {}{probed}", escaped(&ready.text));
    }
    if let Some(ports) = ports {
        let _ = writeln!(text, "  {ports}");
    }
}

fn drained(text: &mut String, config: &Config) {
    if config.drained.is_empty() {
        return;
    }
    let also = match &config.drain {
        Some(_) => "The drain ends when the connections are idle and all of this holds",
        None => "The drain ends when all of this holds",
    };
    let _ = writeln!(text, "\n{also} (looked at every 0.5s):");
    for drained in &config.drained {
        let _ = writeln!(text, "  {}", drained.text);
    }
}

/// When the stop is cut off from outside.
fn kill(config: &Config) -> Option<Marker> {
    match config.check? {
        Check::Plain => None,
        Check::Limit { time, .. } => Some(Marker {
            at: time.or(config.contract.kill)?,
            name: config.contract.platform.killer.to_owned(),
        }),
    }
}

// ---- warnings ---------------------------------------------------------------------------------

/// Why there is no drawing.
fn no_stop(config: &Config) -> String {
    let setting = config.settings.iter().find(|setting| setting.option == OptionId::StopOn);
    let why = setting.map_or(String::new(), |setting| format!("; {}", setting.source));
    format!(
        "There is no stop in phases: signals are forwarded, TERM and INT like all others (nothing else was \
         asked for{why}). What the app leaves behind is asked to end, and killed after {}.",
        seconds(config.plan.leftovers)
    )
}

/// What a stop without a deadline means.
fn no_end(config: &Config) -> String {
    format!(
        "No deadline: the app is waited for until it ends, what it leaves behind at most {}. Set \
         GRACEINIT_GRACE to have one.",
        seconds(config.plan.leftovers)
    )
}

/// The plan takes longer than the platform gives.
fn too_long(config: &Config, stop: &LongestStop, kill: &Marker) -> String {
    let takes = match config.plan.budget() {
        Some(_) => format!("may take {}", seconds(stop.end)),
        None => "has no deadline".to_owned(),
    };
    let advice = advice(config, stop.end, kill.at);
    format!("this plan {takes}, but after {} {}: {advice}", seconds(kill.at), kill.name)
}

/// The plan of a run, if it differs from what is drawn: a run does not know the time that `--check` names.
fn usual_plan(config: &Config) -> Option<Plan> {
    let usual = config.usual.filter(|usual| *usual != config.contract)?;
    let is_default = |option| {
        let setting = config.settings.iter().find(|setting| setting.option == option);
        setting.is_some_and(|setting| matches!(setting.source, Source::Platform(_)))
    };
    let mut plan = (*config.plan).clone();
    if is_default(OptionId::Grace) {
        plan.grace_max = plan.grace_max.max(usual.grace());
        plan.grace = usual.grace();
    }
    if is_default(OptionId::PostStopTimeout) {
        plan.post_stop_timeout = usual.post_stop();
    }
    (plan != *config.plan).then_some(plan)
}

/// How a run gets the defaults that are drawn.
fn unknown_to_a_run(config: &Config, plan: &Plan, kill: &Marker) -> String {
    let name = match config.check {
        Some(Check::Limit { platform: Some(platform), .. }) => platform.name,
        _ => "auto",
    };
    let times = [
        ("--grace", plan.grace, config.plan.grace),
        ("--post-stop-timeout", plan.post_stop_timeout, config.plan.post_stop_timeout),
    ];
    let differs = times.iter().filter(|(_, usual, drawn)| usual != drawn);
    let takes: Vec<String> =
        differs.map(|(option, usual, _)| format!("{option} {}", seconds(*usual))).collect();
    format!(
        "a run does not know of these {time}: it takes {} unless GRACEINIT_PLATFORM={name}:{time} is set where \
         it runs",
        takes.join(" and "),
        time = seconds(kill.at).replace(' ', ""),
    )
}

fn other_warnings(config: &Config, stop: &LongestStop) -> Vec<String> {
    let mut warnings = Vec::new();
    let begun = |fact: &Fact| matches!(fact, Fact::StopSignal { .. } | Fact::NoStopSignal { .. });
    let steps = stop.facts().filter(|fact| begun(fact)).count();
    if config.plan.budget().is_none() && (1..config.plan.ladder.len()).contains(&steps) {
        warnings.push(
            "the last steps of --stop-signal never come: a share of the budget has no end where there is \
             no deadline"
                .to_owned(),
        );
    }
    // The drain ends at the same time with and without these hooks.
    let drain = stop.drain().filter(|_| config.plan.budget().is_some());
    if let Some((left, whole)) = drain.filter(|(left, whole)| *left * 2 < *whole) {
        warnings.push(format!(
            "the pre-stop hooks may take {}, which leaves {} of {} for the drain: shorten their timeouts, or \
             lengthen --grace",
            seconds(whole - left),
            seconds(left),
            seconds(whole)
        ));
    }
    for fact in stop.facts() {
        if let Fact::HookSkipped { id } = fact {
            warnings.push(format!(
                "no time may be left for the hook {}: shorten the timeouts of those before it, or \
                 lengthen {}",
                hook_name(config, id.phase, id.index),
                if id.phase == HookPhase::PostStop { "--post-stop-timeout" } else { "--grace" }
            ));
        }
    }
    warnings.extend(missing_programs(config));
    warnings
}

/// `--grace` and `--post-stop-timeout` that fit into the time until SIGKILL; `None`: there is none.
pub(super) fn fitting(config: &Config, kill: Duration) -> Option<(Duration, Duration)> {
    // One second less, since the stop signal comes later than the timer outside begins.
    let room = kill.saturating_sub(Duration::from_secs(1).min(kill / 5));
    let quarter = room / 4;
    // In whole seconds if it is at least one.
    let quarter = quarter - Duration::from_nanos(quarter.subsec_nanos().into());
    let quarter = if quarter.is_zero() { room / 4 } else { quarter };
    let reserve = config.plan.post_stop_timeout.min(quarter);
    (!room.is_zero()).then_some((room - reserve, reserve))
}

/// Settings that fit, and what to change outside instead.
fn advice(config: &Config, end: Duration, kill: Duration) -> String {
    let fitting = fitting(config, kill);
    if config.plan.budget().is_none() {
        // Under another name there are no such flags.
        let (grace, reserve) = fitting.unwrap_or_default();
        let (grace, reserve) = (seconds(grace), seconds(reserve));
        return format!("set GRACEINIT_GRACE={grace} GRACEINIT_POST_STOP_TIMEOUT={reserve}");
    }
    let outside = config.contract.longer(Duration::from_secs(end.as_secs() + 2));
    let inside = fitting.map(|(grace, reserve)| {
        format!("--grace {} --post-stop-timeout {}", seconds(grace), seconds(reserve))
    });
    match (inside, outside) {
        (Some(inside), Some(outside)) => format!("set {inside}, or {outside}"),
        (Some(one), None) | (None, Some(one)) => format!("set {one}"),
        (None, None) => "nothing can be done in this stop".to_owned(),
    }
}

/// Programs that are missing now. A pre-start hook may still install them.
fn missing_programs(config: &Config) -> Vec<String> {
    let mut missing = Vec::new();
    let mut check = |what: &str, words: &[OsString]| {
        let Some(name) = words.first() else { return };
        if Program::new(words).is_ok_and(|program| program.file().is_none()) {
            let name = name.to_string_lossy();
            missing.push(format!("{what} cannot be started now: there is no program '{name}'"));
        }
    };
    check("the app", &config.command);
    for phase in HookPhase::ALL {
        for hook in config.hooks.of(phase) {
            if let Task::Command(words) = &hook.task {
                check(&format!("the hook {}", hook.name), words);
            }
        }
    }
    for ready in &config.ready {
        if let When::Probe(Task::Command(words)) = &ready.when {
            check("the probe of --ready", words);
        }
    }
    for drained in &config.drained {
        if let Task::Command(words) = &drained.task {
            check("the command of --drained", words);
        }
    }
    missing
}
