//! `--check`: the configuration in force, and the stop that follows from it, drawn before it happens.
//! The plan is not worked out a second time: the phase machine itself is taken through a stop in which
//! nothing ends before it has to.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

use crate::config::hooks::{Builtin, Task};
use crate::config::source::Source;
use crate::config::{Check, Config, Ports, Setting, When};
use crate::machine::drain::Look;
use crate::machine::fact::Fact;
use crate::machine::hook::{HookId, HookPhase};
use crate::machine::phase::{Phase, PhaseName};
use crate::machine::plan::OnFailure;
use crate::machine::{Action, Event, Machine, Origin, Received};
use crate::observe::timeline::{self, Limit, Row, seconds};
use crate::sys::spawn::Program;
use crate::sys::{stderr, tty};
use crate::types::{Signal, SignalSet, Status, Time};

/// What Docker and Podman wait between TERM and KILL.
const DOCKER: Duration = Duration::from_secs(10);
/// What the dead-man timer adds in the worst case (docs/shutdown.md); a tie is lost anyhow.
const SLACK: Duration = Duration::from_millis(500);
/// So much is shown of a stop that has no deadline, if nothing says more.
const HORIZON: Duration = Duration::from_secs(30);
/// A machine that needs more steps than this is not walked any further.
const MOST_STEPS: usize = 100_000;

/// The text, and whether the plan fits where it was asked to fit.
pub fn render(config: &Config) -> (String, bool) {
    // What is printed is for people, or for a file that people read.
    let columns = tty::columns(1).or_else(|| tty::columns(stderr::NUMBER)).unwrap_or(100);
    render_in(config, columns.clamp(72, 140))
}

fn render_in(config: &Config, columns: usize) -> (String, bool) {
    let mut text = String::new();
    settings(&mut text, config);
    hooks(&mut text, config);
    readiness(&mut text, config);
    let limit = config.check.and_then(limit);
    let (story, end) = rehearse(config, limit.as_ref().map_or(HORIZON, |limit| limit.at));
    // There may be no stop that graceinit could be held against.
    let mut fits = true;
    if config.plan.stop_on == SignalSet::default() {
        let _ = writeln!(text, "\n{}", no_stop(config));
    } else {
        let _ = writeln!(
            text,
            "\nA stop in which nothing ends before it has to (a real one ends as soon as everything has \
             ended):\n"
        );
        text.push_str(&timeline::draw(&rows(config, &story, end), limit.as_ref(), columns));
        let known = config.plan.budget().is_some();
        fits = limit.as_ref().is_none_or(|limit| known && end + SLACK <= limit.at);
        if !known {
            let _ = writeln!(text, "\n{}", no_end(config));
        }
    }
    let notes = notes(config, &story, end, limit.as_ref().filter(|_| !fits));
    for note in notes.iter().chain(&config.warnings) {
        let _ = writeln!(text, "\nwarning: {note}");
    }
    if let Some(exposed) = config.exposed() {
        let _ = writeln!(text, "\nnote: {exposed}");
    }
    (text, fits)
}

/// What is not as it is everywhere by default, for the log.
pub fn in_one_line(config: &Config) -> String {
    let told = |setting: &&Setting| match setting.source {
        // Defaults that depend on the place say "in" it, those that go with a name "as" whom.
        Source::Default(why) => why.starts_with("in ") || why.starts_with("as "),
        Source::Flag(_) | Source::Variable(_) | Source::File(..) | Source::Profile(_) => true,
    };
    let told = config.settings.iter().filter(told);
    told.map(|Setting { name, value, source }| format!("{name}={value} ({source})"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn settings(text: &mut String, config: &Config) {
    let words: Vec<_> = config.command.iter().map(|word| word.to_string_lossy()).collect();
    let command = if words.is_empty() { "(no command given)".into() } else { words.join(" ") };
    let _ = writeln!(text, "The app: {command}\n\nSettings in force:");
    for setting in &config.settings {
        let _ = writeln!(text, "  {:18} {:24} {}", setting.name, setting.value, setting.source);
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
                hook.text,
                hook.source
            );
        }
    }
}

fn readiness(text: &mut String, config: &Config) {
    let ports = config.drain.as_ref().map(|ports| match ports {
        Ports::Auto => "the app listens (--drain auto)".to_owned(),
        Ports::List(ports) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("the app listens on port {} (--drain)", ports.join(" and "))
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
            When::Probe(_) => format!("   (each look takes at most {each})"),
            When::Notify | When::Fd(_) | When::Signal(_) | When::After(_) => String::new(),
        };
        let _ = writeln!(text, "  {}{probed}", ready.text);
    }
    if let Some(ports) = ports {
        let _ = writeln!(text, "  {ports}");
    }
}

fn limit(check: Check) -> Option<Limit> {
    match check {
        Check::Plain => None,
        Check::Docker => {
            Some(Limit { at: DOCKER, name: "Docker and Podman kill PID 1".to_owned() })
        }
        Check::Kubernetes(grace) => Some(Limit {
            at: grace,
            name: "the kubelet kills the container (terminationGracePeriodSeconds)".to_owned(),
        }),
    }
}

// ---- the rehearsal ----------------------------------------------------------------------------

/// The facts of a stop in which hooks hang, connections stay busy and the app does not end, with their
/// times. (But for those built-in actions that are known to end.) And the end of all: where there is none,
/// what is to be shown at least.
fn rehearse(config: &Config, least: Duration) -> (Vec<(Duration, Fact)>, Duration) {
    let mut plan = (*config.plan).clone();
    // A stop is what is shown, with the pauses as they are written.
    plan.hooks.pre_start.clear();
    plan.hooks.on_ready.clear();
    plan.ready.clear();
    plan.watchdog = None;
    plan.jitter = 0;
    let request = if plan.stop_on.contains(Signal::TERM) {
        Some(Signal::TERM)
    } else {
        (1..=64).filter_map(Signal::new).find(|signal| plan.stop_on.contains(*signal))
    };
    let Some(signal) = request else { return (Vec::new(), least) };
    let (budget, delay) = (plan.budget(), plan.drain.map_or(Duration::ZERO, |drain| drain.delay));
    let whole = budget.unwrap_or(least + delay);
    let received = Received { signal, origin: Origin::Process(0), value: None };
    let mut machine = Machine::new(plan);
    let mut rehearsal =
        Rehearsal { config, whole, now: Time::default(), running: Vec::new(), story: Vec::new() };
    for event in [Event::Begun, Event::AppExecuted, Event::Signal(received)] {
        rehearsal.play(&mut machine, event);
    }
    for _ in 0..MOST_STEPS {
        let ends = rehearsal.running.iter().filter_map(|(id, end)| Some(((*end)?, *id))).min();
        let Some(due) = machine.deadline() else { break };
        // A drain without an end looks for ever.
        let drains = matches!(machine.phase(), Phase::Drain(_));
        if budget.is_none() && drains && whole < due.since(Time::default()) {
            break;
        }
        let (now, event) = match ends {
            Some((end, id)) if end <= due => (end, Event::HookExited(id, Status::Code(0))),
            Some(_) | None => (due, Event::Tick),
        };
        rehearsal.now = rehearsal.now.max(now);
        if let Event::HookExited(id, _) = event {
            rehearsal.running.retain(|(running, _)| *running != id);
        }
        rehearsal.play(&mut machine, event);
    }
    let last = rehearsal.story.last().map_or(Duration::ZERO, |(at, _)| *at);
    let end = if budget.is_some() { last } else { least.max(last + last / 4) };
    (rehearsal.story, end)
}

struct Rehearsal<'a> {
    config: &'a Config,
    /// How long it may take, as far as it is shown.
    whole: Duration,
    now: Time,
    /// Attempts, and when those end that do so by themselves.
    running: Vec<(HookId, Option<Time>)>,
    story: Vec<(Duration, Fact)>,
}

impl Rehearsal<'_> {
    /// How long a hook takes, where that is known.
    fn takes(&self, id: HookId) -> Option<Duration> {
        let hook = self.config.hooks.of(id.phase).get(id.index)?;
        match &hook.task {
            Task::Builtin(Builtin::Sleep(span)) => Some(*span),
            Task::Builtin(Builtin::Signal(_) | Builtin::Touch(_) | Builtin::Remove(_)) => {
                Some(Duration::ZERO)
            }
            Task::Builtin(
                Builtin::Http { .. }
                | Builtin::Write(..)
                | Builtin::Connect(_)
                | Builtin::Exists(_),
            )
            | Task::Command(_) => None,
        }
    }

    fn play(&mut self, machine: &mut Machine, event: Event) {
        let killed = Status::Signal(Signal::KILL);
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut actions = Vec::new();
            machine.handle(self.now, event, &mut actions);
            for action in actions {
                match action {
                    Action::Record(fact) => {
                        self.story.push((self.now.since(Time::default()), fact));
                    }
                    Action::StartHook { id, .. } => {
                        let end = self.takes(id).map(|span| self.now.after(span));
                        self.running.push((id, end));
                    }
                    Action::KillHook(id) => {
                        self.running.retain(|(running, _)| *running != id);
                        events.push_back(Event::HookExited(id, killed));
                    }
                    Action::KillTree => {
                        let all = self.running.drain(..);
                        events.extend(all.map(|(id, _)| Event::HookExited(id, killed)));
                        if machine.ending().is_none() {
                            events.push_back(Event::AppExited(killed));
                        }
                        events.push_back(Event::TreeEmpty);
                    }
                    // Nothing gets quiet. Looks that cost much are not made often, and a drain of
                    // hours is not to be walked in steps of 100 ms.
                    Action::Look => events.push_back(Event::Looked(Look {
                        busy: 1,
                        cost: self.whole / 10_000,
                        ..Look::default()
                    })),
                    Action::SeekListeners => events.push_back(Event::Listening(true)),
                    Action::StartApp
                    | Action::SetReady(_)
                    | Action::FollowMain(_)
                    | Action::SignalApp { .. }
                    | Action::StopHook { .. }
                    | Action::SignalLeftovers { .. }
                    | Action::Survey
                    | Action::ArmDeadMan(_)
                    | Action::SuspendSelf
                    | Action::GiveTerminal
                    | Action::TakeTerminal
                    | Action::TellHolders
                    | Action::Exit { .. } => {}
                }
            }
            // Nothing but hooks is left once the app has gone.
            let hook_ended = matches!(event, Event::HookExited(..));
            if hook_ended && self.running.is_empty() && machine.ending().is_some() {
                events.push_back(Event::TreeEmpty);
            }
        }
    }
}

// ---- the drawing ------------------------------------------------------------------------------

fn rows(config: &Config, story: &[(Duration, Fact)], end: Duration) -> Vec<Row> {
    let mut rows = Vec::new();
    let entered: Vec<(Duration, PhaseName)> = story
        .iter()
        .filter_map(|(at, fact)| match fact {
            Fact::Entered(phase) => Some((*at, *phase)),
            _ => None,
        })
        .collect();
    for (index, (begin, phase)) in entered.iter().enumerate() {
        let until = entered.get(index + 1).map_or(end, |(at, _)| *at);
        let hook_phase = HookPhase::ALL.into_iter().find(|one| one.as_str() == phase.as_str());
        let hooks = hook_phase.map_or(0, |phase| config.hooks.of(phase).len());
        // Phases that take no time have nothing to show: no hooks, or killed at once.
        if *phase >= PhaseName::PreStop && (until > *begin || hooks > 0) {
            let open = config.plan.budget().is_none() && index + 1 == entered.len();
            let note = match open {
                true => format!("{} on, no deadline", seconds(*begin)),
                false => span(*begin, until),
            };
            rows.push(Row {
                label: phase.as_str().to_owned(),
                spans: vec![(*begin, until)],
                ink: '=',
                note,
            });
        }
        if *phase == PhaseName::Drain {
            rows.extend(delay_row(config, story, until));
        }
        for index in 0..hooks {
            rows.extend(hook_phase.map(|phase| hook_row(config, phase, index, story)));
        }
        rows.extend(moments(*phase, story));
    }
    rows
}

/// For how long the app serves whatever the connections do: since readiness fell.
fn delay_row(config: &Config, story: &[(Duration, Fact)], end: Duration) -> Option<Row> {
    let plan = config.plan.drain.filter(|plan| !plan.delay.is_zero())?;
    let fell = story.iter().find(|(_, fact)| matches!(fact, Fact::StopRequested { .. }));
    let begin = fell.map_or(Duration::ZERO, |(at, _)| *at);
    let until = (begin + plan.delay).min(end);
    let acks = match plan.acks {
        Some(1) => ", or 1 probe".to_owned(),
        Some(acks) => format!(", or {acks} probes"),
        None => String::new(),
    };
    let note = span(begin, until) + &acks;
    Some(Row { label: "  delay".to_owned(), spans: vec![(begin, until)], ink: '-', note })
}

fn hook_row(config: &Config, phase: HookPhase, index: usize, story: &[(Duration, Fact)]) -> Row {
    let ours = |id: &HookId| id.phase == phase && id.index == index;
    let mut spans: Vec<(Duration, Duration)> = Vec::new();
    for (at, fact) in story {
        match fact {
            Fact::HookStarted { id, limit } if ours(id) => spans.push((*at, *at + *limit)),
            Fact::HookEnded { id, .. } if ours(id) => {
                if let Some(last) = spans.last_mut() {
                    last.1 = *at;
                }
            }
            _ => {}
        }
    }
    let note = match &spans[..] {
        [] => "no time is left for it".to_owned(),
        [(begin, end)] => span(*begin, *end),
        [(begin, _), .., (_, end)] => {
            format!("{}, {} tries", span(*begin, *end), spans.len())
        }
    };
    let name = hook_name(config, phase, index);
    Row { label: format!("  {name}"), spans, ink: '-', note }
}

fn span(begin: Duration, end: Duration) -> String {
    if begin == end { seconds(begin) } else { format!("{} to {}", seconds(begin), seconds(end)) }
}

fn hook_name(config: &Config, phase: HookPhase, index: usize) -> &str {
    config.hooks.of(phase).get(index).map_or("", |hook| &hook.name)
}

/// What is sent in a phase.
fn moments(phase: PhaseName, story: &[(Duration, Fact)]) -> Vec<Row> {
    let row = |label: String, at: Duration, ink: char| Row {
        label,
        spans: vec![(at, at)],
        ink,
        note: seconds(at),
    };
    let found = story.iter().filter_map(|(at, fact)| match (phase, fact) {
        (PhaseName::Stopping, Fact::StopSignal { signal, .. }) => {
            Some(row(format!("  {signal} to the app"), *at, 'v'))
        }
        (PhaseName::Stopping, Fact::NoStopSignal { .. }) => {
            Some(row("  waits, sends nothing".to_owned(), *at, 'v'))
        }
        (PhaseName::Stopping, Fact::Diagnosed { signal, .. }) => {
            Some(row(format!("  {signal} to diagnose"), *at, '?'))
        }
        (PhaseName::Killed, Fact::DeadlineReached { .. }) => {
            Some(row("SIGKILL to all".to_owned(), *at, 'X'))
        }
        _ => None,
    });
    found.collect()
}

// ---- what to think of it ----------------------------------------------------------------------

/// Why there is nothing to be drawn.
fn no_stop(config: &Config) -> String {
    let setting = config.settings.iter().find(|setting| setting.name == "stop-on");
    let why = setting.map_or(String::new(), |setting| format!("; {}", setting.source));
    format!(
        "There is no stop in phases: signals are passed on, TERM and INT like all others (nothing else was \
         asked for{why}). What the app leaves behind is asked to end, and killed after {}.",
        seconds(config.plan.leftovers)
    )
}

/// What that means where a stop has no deadline.
fn no_end(config: &Config) -> String {
    format!(
        "No deadline: the app is waited for until it ends, what it leaves behind at most {}. Set \
         GRACEINIT_GRACE to have one.",
        seconds(config.plan.leftovers)
    )
}

fn notes(
    config: &Config,
    story: &[(Duration, Fact)],
    end: Duration,
    limit: Option<&Limit>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(limit) = limit {
        let takes = match config.plan.budget() {
            Some(_) => format!("may take {}", seconds(end)),
            None => "has no deadline".to_owned(),
        };
        let (at, name) = (seconds(limit.at), &limit.name);
        let advice = advice(config, end, limit.at);
        notes.push(format!("this plan {takes}, but after {at} {name}: {advice}"));
    }
    let begun = |fact: &Fact| matches!(fact, Fact::StopSignal { .. } | Fact::NoStopSignal { .. });
    let steps = story.iter().filter(|(_, fact)| begun(fact)).count();
    if config.plan.budget().is_none() && (1..config.plan.ladder.len()).contains(&steps) {
        notes.push(
            "the last steps of --stop-signal never come: a share of the budget has no end where there is \
             no deadline"
                .to_owned(),
        );
    }
    for (_, fact) in story {
        if let Fact::HookSkipped { id } = fact {
            notes.push(format!(
                "no time may be left for the hook {}: shorten the timeouts of those before it, or \
                 lengthen {}",
                hook_name(config, id.phase, id.index),
                if id.phase == HookPhase::PostStop { "--post-stop-timeout" } else { "--grace" }
            ));
        }
    }
    notes.extend(missing_programs(config));
    notes
}

/// Settings that fit, and what to change outside instead.
fn advice(config: &Config, end: Duration, limit: Duration) -> String {
    // A second of room, as whoever kills has to get there too.
    let room = limit.saturating_sub(Duration::from_secs(1));
    let quarter = room / 4;
    // In whole seconds where there are any.
    let quarter = quarter - Duration::from_nanos(quarter.subsec_nanos().into());
    let quarter = if quarter.is_zero() { room / 4 } else { quarter };
    let reserve = config.plan.post_stop_timeout.min(quarter);
    if config.plan.budget().is_none() {
        // Whoever starts it by another name has no flags to give.
        let (grace, reserve) = (seconds(room - reserve), seconds(reserve));
        return format!("set GRACEINIT_GRACE={grace} GRACEINIT_POST_STOP_TIMEOUT={reserve}");
    }
    let outside = Duration::from_secs(end.as_secs() + 2);
    let outside = match config.check {
        Some(Check::Kubernetes(_)) => {
            format!("terminationGracePeriodSeconds: {}", outside.as_secs())
        }
        Some(Check::Docker | Check::Plain) | None => {
            format!("docker stop -t {} (stop_grace_period in Compose)", outside.as_secs())
        }
    };
    format!(
        "set --grace {} --post-stop-timeout {}, or {outside}",
        seconds(room - reserve),
        seconds(reserve)
    )
}

/// Programs that are not there now. A pre-start hook may still bring them.
fn missing_programs(config: &Config) -> Vec<String> {
    let mut missing = Vec::new();
    let mut look = |what: &str, words: &[std::ffi::OsString]| {
        let Some(name) = words.first() else { return };
        if Program::new(words).is_ok_and(|program| program.file().is_none()) {
            let name = name.to_string_lossy();
            missing.push(format!("{what} cannot be started now: there is no program '{name}'"));
        }
    };
    look("the app", &config.command);
    for phase in HookPhase::ALL {
        for hook in config.hooks.of(phase) {
            if let Task::Command(words) = &hook.task {
                look(&format!("the hook {}", hook.name), words);
            }
        }
    }
    for ready in &config.ready {
        if let When::Probe(Task::Command(words)) = &ready.when {
            look("the probe of --ready", words);
        }
    }
    missing
}
