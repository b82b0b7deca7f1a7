//! Facts become the account.

use std::collections::BTreeMap;

use super::{
    Account, Attempt, Drain, Ended, Entry, Exit, Held, Hook, Killed, Said, Seen, Span, Stop,
    Stretch, Survivor,
};
use crate::machine::drain::{Holder, Look};
use crate::machine::fact::{self, DrainEnd, Fact};
use crate::machine::hook::{HookId, HookPhase, Outcome};
use crate::machine::phase::PhaseName;
use crate::machine::plan::Ending;
use crate::observe::json;
use crate::observe::line::{self, Line};
use crate::observe::log::level_name;
use crate::observe::met::Met;
use crate::observe::names;
use crate::types::Status;

/// Of the time line the first so many are kept, and of the rest the last so many.
const FIRST: usize = 60;
const LAST: usize = 140;
/// So many troubles are kept, attempts of a hook, lines of its output.
const TROUBLES: usize = 20;
const ATTEMPTS: usize = 8;
const OUTPUT: usize = 10;
/// So many looks are kept; where there were more, every second one is left out.
const LOOKS: usize = 240;
/// So many connections that held the drain are kept.
const MOST_HELD: usize = 3;
/// A text is cut after so many bytes.
const LONGEST: usize = 300;

impl Account {
    /// Takes in a fact of the machine.
    pub fn take(&mut self, at: Span, fact: &Fact) {
        self.take_end(at, fact, None);
    }

    /// Takes in a fact that is the end of something that took so long.
    pub fn take_end(&mut self, at: Span, fact: &Fact, took: Option<Span>) {
        self.note(at, || Line::of(fact).took(took), is_told_elsewhere(fact));
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
            Fact::Looked { look } => self.looked(at, look),
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
            Fact::NotSurveyed => self.killed_mut().unseen = true,
            Fact::Unkillable => self.killed_mut().unkillable = true,
            Fact::Exit { code, reason } => {
                self.close_phase(at);
                self.phase = PhaseName::Exit.as_str().to_owned();
                let reason = reason.as_str().to_owned();
                self.exit = Some(Exit { at, code: *code, reason, dead_man: false });
            }
            Fact::ConditionHolds { .. }
            | Fact::Listens { .. }
            | Fact::NotReady { .. }
            | Fact::WatchdogMissed { .. }
            | Fact::MainPid { .. }
            | Fact::Dropped { .. }
            | Fact::NoApp { .. }
            | Fact::NoStopSignal { .. }
            | Fact::Held { .. }
            | Fact::ReloadRequested { .. }
            | Fact::ReloadMerged { .. }
            | Fact::ReloadDropped { .. }
            | Fact::PhaseAborted { .. }
            | Fact::Extended { .. }
            | Fact::Diagnosed { .. }
            | Fact::HookRetried { .. }
            | Fact::LeftoversSignalled { .. }
            | Fact::Suspended { .. }
            | Fact::Resumed => {}
        }
    }

    /// Takes in what was met.
    pub fn meet(&mut self, at: Span, met: &Met) {
        let elsewhere =
            matches!(met, Met::HookSaid { .. } | Met::Reaped { .. } | Met::LinesDropped { .. });
        self.note(at, || Line::of_met(met), elsewhere);
        match met {
            Met::Started { pid, .. } => {
                self.app.pid = Some(pid.0);
                self.app.started = Some(at);
            }
            Met::TookOver { pid } => self.app.pid = Some(pid.0),
            Met::Reaped { kin, .. } => count(&mut self.counts.reaped, kin.as_str()),
            Met::HookSaid { id, stderr, text } => {
                let stream = if *stderr { "stderr" } else { "stdout" }.to_owned();
                if id.phase != HookPhase::Ready {
                    let said = Said { at, stream, text: cut(text) };
                    push(&mut self.hook(*id).output, said, OUTPUT);
                }
            }
            Met::LinesDropped { lines } => self.counts.lines_dropped += u64::from(*lines),
            Met::NotExecuted { .. }
            | Met::LeftoversAsked { .. }
            | Met::Says { .. }
            | Met::Reloads
            | Met::Failed { .. }
            | Met::Unheard { .. }
            | Met::ForeignMain { .. }
            | Met::ObserverEnded { .. }
            | Met::Trouble { .. } => {}
        }
    }

    /// Puts it into the time line, if it is not too small for that.
    fn note(&mut self, at: Span, line: impl FnOnce() -> Line, elsewhere: bool) {
        if elsewhere {
            return;
        }
        let line = line();
        if line.level > log::Level::Info {
            return;
        }
        let fact = line.fact;
        let news = line.fields.into_iter().filter(|(name, _)| !line::is_said(fact, name));
        let fields = news.map(|(name, value)| {
            let value = match value {
                line::Value::Text(text) => line::Value::Text(cut(&text).into()),
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

    /// The present phase is over.
    fn close_phase(&mut self, at: Span) {
        if let Some(last) = self.phases.last_mut() {
            last.took.get_or_insert(at.since(last.at));
        }
    }

    fn killed_mut(&mut self) -> &mut Killed {
        self.killed.get_or_insert_default()
    }

    fn hook(&mut self, id: HookId) -> &mut Hook {
        let (phase, name) = (id.phase.as_str(), names::hook(id));
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
        let outcome = outcome_name(outcome);
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

    fn looked(&mut self, at: Span, look: &Look) {
        let Some(drain) = &mut self.drain else { return };
        let Look { busy, owed, idle, new, queued, vanished, stalled, .. } = *look;
        let Look { cut, uncertain, .. } = *look;
        let seen = Seen { at, busy, owed, idle, new, queued, vanished, stalled, cut, uncertain };
        // A power of two: every look, every second, every fourth…
        let stride = (drain.looks / LOOKS as u64 + 1).next_power_of_two();
        if drain.looks % stride == 0 {
            drain.series.push(seen.clone());
        }
        if drain.series.len() > LOOKS {
            let mut odd = false;
            drain.series.retain(|_| {
                odd = !odd;
                odd
            });
        }
        drain.looks += 1;
        drain.last = Some(seen);
    }

    fn drained(&mut self, at: Span, why: DrainEnd) {
        let Some(drain) = &mut self.drain else { return };
        drain.ended = Some(at);
        drain.why = match why {
            DrainEnd::Quiet => "quiet",
            DrainEnd::Delay => "delay",
            DrainEnd::Budget => "budget",
            DrainEnd::Max => "max",
        }
        .to_owned();
    }

    fn held_drain(&mut self, holder: &Holder) {
        let Some(drain) = &mut self.drain else { return };
        if drain.held.len() < MOST_HELD {
            drain.held.push(Held {
                peer: holder.peer.map_or_else(String::new, |peer| peer.to_string()),
                port: holder.port,
                verdict: holder.verdict.as_str().to_owned(),
                held: holder.held.into(),
                silent: holder.silent.into(),
                bytes_in: holder.bytes_in,
                bytes_out: holder.bytes_out,
                option: holder.remedy().option().to_owned(),
            });
        }
    }

    fn app_ended(&mut self, at: Span, ending: Ending) {
        self.ready = false;
        let (how, code, signal) = match ending {
            Ending::Was(Status::Code(code)) => ("exited", Some(code), None),
            Ending::Was(Status::Signal(signal)) => ("signalled", None, Some(signal)),
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

/// As metrics and JSON have it: one word.
pub(crate) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed-out",
        Outcome::NotStarted => "not-started",
    }
}

/// What has a place of its own in the account, and comes in numbers.
fn is_told_elsewhere(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Forwarded { .. }
            | Fact::Looked { .. }
            | Fact::StillDraining { .. }
            | Fact::HeldDrain(_)
            | Fact::StillThere(_)
    )
}

fn count(counts: &mut BTreeMap<String, u64>, name: impl ToString) {
    *counts.entry(name.to_string()).or_default() += 1;
}

/// Keeps the last so many.
fn push<T>(list: &mut Vec<T>, one: T, most: usize) {
    if list.len() >= most {
        list.remove(0);
    }
    list.push(one);
}

/// The text, or its beginning.
pub fn cut(text: &str) -> String {
    json::cut(text, LONGEST)
}
