//! Takes facts and incidents into the account.

use std::collections::BTreeMap;

use super::document::{
    Account, Attempt, Death, Drain, DrainSample, Ended, Entry, Exit, Held, Hook, Killed, Said,
    Stop, Stretch, Survivor, Word,
};
use super::incident::{Incident, KilledBy, Killing, Kin};
use super::line::{self, Line, level_name};
use super::plan_names;
use super::text::cut;
use super::time::Span;
use super::value::Value;
use crate::machine::connections::{Holder, Sample, Visibility};
use crate::machine::fact::{self, DrainEnd, Fact};
use crate::machine::hooks::{HookId, Outcome};
use crate::machine::phase::PhaseName;
use crate::machine::plan::Ending;
use crate::types::{Signal, Status};

/// How many entries of the time line are kept from the beginning, and how many from the end.
const FIRST: usize = 60;
const LAST: usize = 140;
/// How many troubles, attempts of a hook and lines of its output are kept.
const TROUBLES: usize = 20;
/// How many processes that died of SIGKILL are kept.
const DEATHS: usize = 20;
const ATTEMPTS: usize = 8;
const OUTPUT: usize = 10;
/// How many samples of the drain are kept. When there are more, every second one is removed.
const SAMPLES: usize = 240;
/// So many connections that held the drain are kept.
const MOST_HELD: usize = 3;

impl Account {
    /// Takes a fact of the machine in.
    pub fn take(&mut self, at: Span, fact: &Fact) {
        self.take_end(at, fact, None);
    }

    /// Takes a fact in, with the duration of what it ends.
    pub fn take_end(&mut self, at: Span, fact: &Fact, took: Option<Span>) {
        self.note(at, || Line::of(fact).took(took), is_elsewhere(fact));
        match fact {
            Fact::Entered(phase) => self.enter(at, *phase),
            Fact::Ready { after } => {
                self.ready = true;
                self.app.ready_after = Some((*after).into());
            }
            Fact::StopsItself => self.ready = false,
            Fact::StopRequested { signal, sender, grace } => {
                count(&mut self.counts.stop_requests, signal);
                let (signal, from) = (signal.to_string(), line::sender(*sender));
                let budget = grace.map(Span::from);
                self.stop.get_or_insert(Stop { at, signal, from, budget });
            }
            Fact::StopAgain { signal, .. } => count(&mut self.counts.stop_requests, signal),
            Fact::Forwarded { sent: signal, .. } | Fact::StopSignal { signal, .. } => {
                count(&mut self.counts.forwarded, signal);
            }
            Fact::HookStarted { id, limit } => self.hook_started(at, *id, (*limit).into()),
            Fact::HookEnded { id, outcome, status } => {
                self.hook_ended(at, *id, *outcome, *status);
            }
            Fact::HookSkipped { id } => self.hook(*id).skipped = true,
            Fact::DrainBegun { delay } => {
                self.drain = Some(Drain { at, delay: (*delay).into(), ..Drain::default() });
            }
            Fact::Sampled { sample } => self.sampled(at, sample),
            Fact::Acknowledged { acks, .. } => {
                if let Some(drain) = &mut self.drain {
                    drain.acks = Some(*acks);
                }
            }
            Fact::DrainEnded { why, .. } => self.drained(at, *why),
            Fact::HeldDrain(holder) => self.held_drain(holder),
            Fact::StillDraining { .. } => {}
            Fact::AppEnded { ending } => self.app_ended(at, *ending),
            Fact::DeadlineReached { early } => {
                self.counts.kills += 1;
                let killed = self.killed.get_or_insert_default();
                (killed.at, killed.early) = (at, *early);
            }
            Fact::StillThere(survivor) => self.survivors.push(Survivor::from(&**survivor)),
            Fact::MoreStillThere(count) => self.killed_mut().more = *count as u64,
            Fact::SurvivorsNotRecorded => self.killed_mut().unseen = true,
            Fact::Unkillable => self.killed_mut().unkillable = true,
            Fact::Exit { code, reason } => {
                self.close_phase(at);
                self.phase = PhaseName::Exit.as_str().to_owned();
                let reason = reason.as_str().to_owned();
                self.exit = Some(Exit { at, code: *code, reason, dead_man: false });
            }
            // Only in the time line.
            _ => {}
        }
    }

    /// Takes an incident in.
    pub fn take_incident(&mut self, at: Span, incident: &Incident) {
        let elsewhere = matches!(
            incident,
            Incident::HookSaid { .. }
                | Incident::Reaped { .. }
                | Incident::Holding(_)
                | Incident::HeldByWord { .. }
        );
        self.note(at, || Line::of_incident(incident), elsewhere);
        match incident {
            Incident::Started { pid, .. } => {
                self.app.pid = Some(pid.0);
                self.app.started = Some(at);
            }
            Incident::TookOver { pid } => self.app.pid = Some(pid.0),
            Incident::Reaped { kin, .. } => count(&mut self.counts.reaped, kin.as_str()),
            Incident::Killed(killing) => self.killing(at, killing),
            Incident::DumpedCore { .. } => self.app.dumped_core = true,
            Incident::DiedOfForwarded { after, .. } => self.app.forwarded = Some((*after).into()),
            Incident::HookSaid { id, stderr, text } => {
                let stream = if *stderr { "stderr" } else { "stdout" }.to_owned();
                if !id.phase.checks() {
                    let said = Said { at, stream, text: cut(text) };
                    push(&mut self.hook(*id).output, said, OUTPUT);
                }
            }
            Incident::Holding(holders) => {
                if let Some(drain) = &mut self.drain {
                    drain.held = holders.iter().map(held).collect();
                }
            }
            Incident::Looked { index, missing, .. } => {
                if let Some(word) = self.word(*index) {
                    word.said = cut(missing.as_deref().unwrap_or_default());
                }
            }
            Incident::HeldByWord { index, said } => {
                if let Some(word) = self.word(*index) {
                    (word.said, word.held) = (cut(said), true);
                }
            }
            Incident::Awaits { waits } => self.waiting = waits.clone(),
            Incident::Answered { wait } => {
                let known = self.waiting.iter_mut().find(|one| one.condition == wait.condition);
                if let Some(known) = known {
                    *known = wait.clone();
                }
            }
            // Only in the time line.
            _ => {}
        }
    }

    /// The entry of a condition of `--drained`.
    fn word(&mut self, index: usize) -> Option<&mut Word> {
        let (words, condition) = (&mut self.drain.as_mut()?.words, cut(plan_names::word(index)));
        let known = words.iter().position(|word| word.condition == condition);
        let place = known.unwrap_or_else(|| {
            words.push(Word { condition, ..Word::default() });
            words.len() - 1
        });
        words.get_mut(place)
    }

    fn killing(&mut self, at: Span, killing: &Killing) {
        let Killing { kin, pid, name, by, limit, peak } = killing;
        if *by == KilledBy::OutOfMemory {
            self.counts.oom_kills += 1;
        }
        let why = match by {
            KilledBy::Unknown(why) => why.clone(),
            KilledBy::OutOfMemory | KilledBy::Elsewhere => String::new(),
        };
        let (kind, by) = (kin.as_str().to_owned(), by.as_str().to_owned());
        let (name, limit, peak) = (name.clone().unwrap_or_default(), *limit, *peak);
        if self.deaths.len() >= DEATHS {
            let of_another = self.deaths.iter().position(|death| death.kind != Kin::App.as_str());
            self.deaths.remove(of_another.unwrap_or(0));
        }
        self.deaths.push(Death { at, pid: pid.0, kind, name, by, why, limit, peak });
    }

    /// Adds a line to the time line, and to the troubles if it is one.
    fn note(&mut self, at: Span, line: impl FnOnce() -> Line, elsewhere: bool) {
        if elsewhere {
            return;
        }
        let line = line();
        if line.level > log::Level::Info {
            return;
        }
        let fact = line.fact;
        let fields = line.fields.into_iter().filter(|(name, _)| !line::is_said(fact, name));
        let fields = fields.map(|(name, value)| {
            let value = match value {
                Value::Text(text) => Value::Text(cut(&text).into()),
                value => value,
            };
            (name.to_owned(), value)
        });
        let entry = Entry {
            at,
            level: level_name(line.level).to_owned(),
            fact: line.fact.to_owned(),
            msg: cut(&line.msg),
            fields: fields.collect(),
        };
        if line.level <= log::Level::Warn && self.troubles.len() >= TROUBLES {
            self.troubles.remove(0);
            count(&mut self.cut, "troubles");
        }
        if line.level <= log::Level::Warn {
            self.troubles.push(entry.clone());
        }
        if self.timeline.len() >= FIRST + LAST {
            self.timeline.remove(FIRST);
            count(&mut self.cut, "timeline");
        }
        self.timeline.push(entry);
    }

    fn enter(&mut self, at: Span, phase: PhaseName) {
        self.close_phase(at);
        self.phase = phase.as_str().to_owned();
        if phase >= PhaseName::PreStop {
            self.ready = false;
        }
        let phase = self.phase.clone();
        self.phases.push(Stretch { phase, at, took: None });
    }

    /// Ends the present phase.
    fn close_phase(&mut self, at: Span) {
        if let Some(last) = self.phases.last_mut() {
            last.took.get_or_insert(at.since(last.at));
        }
    }

    fn killed_mut(&mut self) -> &mut Killed {
        self.killed.get_or_insert_default()
    }

    fn hook(&mut self, id: HookId) -> &mut Hook {
        let (phase, name) = (id.phase.as_str(), plan_names::hook(id));
        let known = self.hooks.iter().position(|hook| hook.phase == phase && hook.name == name);
        let place = known.unwrap_or_else(|| {
            self.hooks.push(Hook { phase: phase.to_owned(), name, ..Hook::default() });
            self.hooks.len() - 1
        });
        &mut self.hooks[place]
    }

    fn hook_started(&mut self, at: Span, id: HookId, limit: Span) {
        let (n, round) = (id.attempt, id.round);
        let attempt = Attempt { n, round, at, limit, ..Attempt::default() };
        push(&mut self.hook(id).attempts, attempt, ATTEMPTS);
    }

    fn hook_ended(&mut self, at: Span, id: HookId, outcome: Outcome, status: Option<Status>) {
        let outcome = line::outcome(outcome);
        let hook = self.hook(id);
        count(&mut hook.outcomes, outcome);
        let running = hook.attempts.iter_mut().rev().find(|attempt| {
            (attempt.n, attempt.round) == (id.attempt, id.round) && attempt.outcome.is_none()
        });
        if let Some(attempt) = running {
            let took = at.since(attempt.at);
            attempt.took = Some(took);
            attempt.outcome = Some(outcome.to_owned());
            attempt.status = status.map(|status| status.to_string());
            hook.took.add(took);
        }
    }

    fn sampled(&mut self, at: Span, sample: &Sample) {
        let Some(drain) = &mut self.drain else { return };
        if sample.visibility == Visibility::Blind {
            // Zeros would be statements.
            drain.looks += 1;
            return;
        }
        let Sample { busy, owed, idle, new, queued, vanished, stalled, .. } = *sample;
        let Sample { cut, uncertain, .. } = *sample;
        let counts = DrainSample { at, busy, owed, idle, new, queued, ..DrainSample::default() };
        let sample = DrainSample { vanished, stalled, cut, uncertain, ..counts };
        // A power of two: every sample, every second, every fourth…
        let stride = (drain.looks / SAMPLES as u64 + 1).next_power_of_two();
        if drain.looks % stride == 0 {
            drain.series.push(sample.clone());
        }
        if drain.series.len() > SAMPLES {
            let mut odd = false;
            drain.series.retain(|_| {
                odd = !odd;
                odd
            });
        }
        drain.looks += 1;
        drain.last = Some(sample);
    }

    fn drained(&mut self, at: Span, why: DrainEnd) {
        let Some(drain) = &mut self.drain else { return };
        drain.ended = Some(at);
        drain.why = line::drain_end(why).to_owned();
        // Those that held a drain that was broken off are told next.
        drain.held.clear();
    }

    fn held_drain(&mut self, holder: &Holder) {
        let Some(drain) = &mut self.drain else { return };
        if drain.held.len() < MOST_HELD {
            drain.held.push(held(holder));
        }
    }

    fn app_ended(&mut self, at: Span, ending: Ending) {
        self.ready = false;
        let (how, code, signal) = match ending {
            Ending::Was(Status::Code(code)) => ("exited", Some(code), None),
            Ending::Was(Status::Signal(signal)) => ("signalled", None, Some(signal)),
            Ending::OutOfMemory => ("signalled", None, Some(Signal::KILL)),
            Ending::NotStarted(code) => ("not-started", Some(code), None),
            Ending::Forestalled(signal) => ("forestalled", None, Some(signal)),
            Ending::Unkillable => ("unkillable", None, None),
        };
        let (how, phase) = (how.to_owned(), self.phase.clone());
        let signal = signal.map(|signal| signal.to_string());
        self.app.ended = Some(Ended { at, phase, how, code, signal });
    }
}

impl From<&fact::Survivor> for Survivor {
    fn from(found: &fact::Survivor) -> Survivor {
        Survivor {
            pid: found.pid.0,
            ppid: found.parent.0,
            command: cut(&found.command),
            state: found.state.to_string(),
            wchan: found.wchan.clone(),
            age: found.age.into(),
            threads: found.threads,
            connections: found.connections.map(|count| count as u64),
            unread: found.unread.clone(),
        }
    }
}

fn held(holder: &Holder) -> Held {
    Held {
        peer: holder.peer.map_or_else(String::new, |peer| peer.to_string()),
        port: holder.port,
        verdict: holder.verdict.as_str().to_owned(),
        held: holder.held.into(),
        silent: holder.silent.into(),
        bytes_in: holder.bytes_in,
        bytes_out: holder.bytes_out,
        option: holder.remedy().option().to_owned(),
    }
}

/// Whether the fact has a place of its own in the account: there may be thousands of it.
fn is_elsewhere(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Forwarded { .. }
            | Fact::Sampled { .. }
            | Fact::StillDraining { .. }
            | Fact::HeldDrain(_)
            | Fact::StillThere(_)
    )
}

fn count(counts: &mut BTreeMap<String, u64>, name: impl ToString) {
    *counts.entry(name.to_string()).or_default() += 1;
}

/// Adds to a list that keeps the last `most`.
fn push<T>(list: &mut Vec<T>, one: T, most: usize) {
    if list.len() >= most {
        list.remove(0);
    }
    list.push(one);
}
