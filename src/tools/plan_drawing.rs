//! The stop that follows from a configuration, worked out and drawn. The plan is not worked out a second time: the
//! phase machine itself is taken through a stop in which nothing ends before it has to.

use std::collections::VecDeque;
use std::time::Duration;

use crate::account::timeline::{self, Marker, Row, seconds};
use crate::config::Config;
use crate::config::hooks::{Builtin, Task};
use crate::machine::connections::Sample;
use crate::machine::fact::Fact;
use crate::machine::hooks::{HookId, HookPhase};
use crate::machine::phase::{Phase, PhaseName};
use crate::machine::plan::{Plan, Surroundings};
use crate::machine::{Action, Event, Machine, Origin, Received};
use crate::types::{Signal, Status, Time};

/// The most steps of the machine.
const MOST_STEPS: usize = 100_000;

/// The longest stop of a configuration.
pub(super) struct LongestStop {
    /// The facts, and when they were recorded.
    facts: Vec<(Duration, Fact)>,
    /// Its end, or how far it is drawn if it has none.
    pub(super) end: Duration,
}

/// Works out a stop in which hooks hang, except the built-in actions that end by themselves, connections stay busy and
/// the app does not end. `least`: how far it is drawn at least if it has no end.
pub(super) fn longest_stop(config: &Config, plan: &Plan, least: Duration) -> LongestStop {
    let mut plan = plan.clone();
    // Only the stop matters.
    plan.hooks.pre_start.clear();
    plan.hooks.on_ready.clear();
    plan.ready.clear();
    let request = if plan.stop_on.contains(Signal::TERM) {
        Some(Signal::TERM)
    } else {
        (1..=64).filter_map(Signal::new).find(|signal| plan.stop_on.contains(*signal))
    };
    let Some(signal) = request else { return LongestStop { facts: Vec::new(), end: least } };
    let (budget, delay) = (plan.budget(), plan.drain.map_or(Duration::ZERO, |drain| drain.delay));
    let whole = budget.unwrap_or(least + delay);
    let received = Received { signal, origin: Origin::Process(0), value: None };
    let mut machine = Machine::new(plan, Surroundings::default());
    let mut rehearsal =
        Rehearsal { config, whole, now: Time::default(), running: Vec::new(), facts: Vec::new() };
    for event in [Event::Begun, Event::AppExecuted, Event::Signal(received)] {
        rehearsal.play(&mut machine, event);
    }
    for _ in 0..MOST_STEPS {
        let ends = rehearsal.running.iter().filter_map(|(id, end)| Some(((*end)?, *id))).min();
        let Some(due) = machine.next_wakeup() else { break };
        // A drain without an end takes samples for ever.
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
    let last = rehearsal.facts.last().map_or(Duration::ZERO, |(at, _)| *at);
    let end = if budget.is_some() { last } else { least.max(last + last / 4) };
    LongestStop { facts: rehearsal.facts, end }
}

struct Rehearsal<'a> {
    config: &'a Config,
    /// How long the stop takes, as far as it is drawn.
    whole: Duration,
    now: Time,
    /// The running attempts, and when they end if that is known.
    running: Vec<(HookId, Option<Time>)>,
    facts: Vec<(Duration, Fact)>,
}

impl Rehearsal<'_> {
    /// How long a hook takes, if that is known.
    fn duration(&self, id: HookId) -> Option<Duration> {
        match &self.config.hooks.of(id.phase).get(id.index)?.task {
            Task::Builtin(Builtin::Sleep(span)) => Some(*span),
            Task::Builtin(Builtin::Signal(_) | Builtin::Touch(_) | Builtin::Remove(_)) => {
                Some(Duration::ZERO)
            }
            Task::Builtin(_) | Task::Command(_) => None,
        }
    }

    /// Hands an event to the machine, and the events that follow from its actions.
    fn play(&mut self, machine: &mut Machine, event: Event) {
        let killed = Status::Signal(Signal::KILL);
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut actions = Vec::new();
            machine.handle(self.now, event, &mut actions);
            for action in actions {
                match action {
                    Action::Record(fact) => {
                        self.facts.push((self.now.since(Time::default()), fact));
                    }
                    Action::StartHook { id, .. } => {
                        let end = self.duration(id).map(|span| self.now.after(span));
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
                    // Connections stay busy. Samples that cost much are taken seldom: a drain of hours must not
                    // take a step of the machine each 100 ms.
                    Action::TakeSample => events.push_back(Event::Sampled(Sample {
                        busy: 1,
                        cost: self.whole / 10_000,
                        ..Sample::default()
                    })),
                    Action::SeekListeners => events.push_back(Event::Listening(true)),
                    _ => {}
                }
            }
            // Once the app has ended, only hooks are left.
            let hook_ended = matches!(event, Event::HookExited(..));
            if hook_ended && self.running.is_empty() && machine.ending().is_some() {
                events.push_back(Event::TreeEmpty);
            }
        }
    }
}

// ---- the drawing ------------------------------------------------------------------------------

impl LongestStop {
    /// The facts in their order.
    pub(super) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.facts.iter().map(|(_, fact)| fact)
    }

    /// How long the drain lasts, and when it ends; `None`: there is none.
    pub(super) fn drain(&self) -> Option<(Duration, Duration)> {
        let at = |wanted: fn(&Fact) -> bool| self.facts.iter().find(|(_, fact)| wanted(fact));
        let (begin, _) = at(|fact| *fact == Fact::Entered(PhaseName::Drain))?;
        let (end, _) = at(|fact| matches!(fact, Fact::DrainEnded { .. }))?;
        Some((*end - *begin, *end))
    }

    /// The drawing. `kill`: when the stop is cut off from outside. `columns`: the width.
    pub(super) fn draw(&self, config: &Config, kill: Option<&Marker>, columns: usize) -> String {
        timeline::draw(&rows(config, &self.facts, self.end), kill, columns)
    }
}

fn rows(config: &Config, facts: &[(Duration, Fact)], end: Duration) -> Vec<Row> {
    let mut rows = Vec::new();
    let entered: Vec<(Duration, PhaseName)> = facts
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
        // A phase that takes no time is not drawn.
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
            rows.extend(delay_row(config, facts, until));
        }
        for index in 0..hooks {
            rows.extend(hook_phase.map(|phase| hook_row(config, phase, index, facts)));
        }
        rows.extend(moments(*phase, facts));
    }
    rows
}

/// How long the app keeps serving in any case, from the stop request on.
fn delay_row(config: &Config, facts: &[(Duration, Fact)], end: Duration) -> Option<Row> {
    let plan = config.plan.drain.filter(|plan| !plan.delay.is_zero())?;
    let request = facts.iter().find(|(_, fact)| matches!(fact, Fact::StopRequested { .. }));
    let begin = request.map_or(Duration::ZERO, |(at, _)| *at);
    let until = (begin + plan.delay).min(end);
    let acks = match plan.acks {
        Some(1) => ", or 1 probe".to_owned(),
        Some(acks) => format!(", or {acks} probes"),
        None => String::new(),
    };
    let note = span(begin, until) + &acks;
    Some(Row { label: "  delay".to_owned(), spans: vec![(begin, until)], ink: '-', note })
}

fn hook_row(config: &Config, phase: HookPhase, index: usize, facts: &[(Duration, Fact)]) -> Row {
    let ours = |id: &HookId| id.phase == phase && id.index == index;
    let mut spans: Vec<(Duration, Duration)> = Vec::new();
    for (at, fact) in facts {
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

pub(super) fn hook_name(config: &Config, phase: HookPhase, index: usize) -> &str {
    config.hooks.of(phase).get(index).map_or("", |hook| &hook.name)
}

/// The signals that are sent in a phase.
fn moments(phase: PhaseName, facts: &[(Duration, Fact)]) -> Vec<Row> {
    let row = |label: String, at: Duration, ink: char| Row {
        label,
        spans: vec![(at, at)],
        ink,
        note: seconds(at),
    };
    let found = facts.iter().filter_map(|(at, fact)| match (phase, fact) {
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
