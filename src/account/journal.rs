//! Takes every fact and every incident, and passes it to the log and to the account, if that is kept.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::LevelFilter;

use super::document::Account;
use super::incident::Incident;
use super::line::{Line, Took};
use super::time::Span;
use super::waiting::{self, Awaited};
use super::{json, log as account_log};
use crate::machine::fact::Fact;
use crate::machine::hooks::HookPhase;
use crate::machine::plan::Ending;
use crate::sys::clock;
use crate::types::Time;

/// The account of this life, if it is kept. graceinit has one thread, so the lock is always free.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);
/// Whether there is one, without the lock.
static IS_KEPT: AtomicBool = AtomicBool::new(false);
/// The durations that the log and the account need.
static TOOK: Mutex<Took> = Mutex::new(Took::NOTHING);

struct Kept {
    account: Account,
    began: Time,
    changes: u64,
}

impl Kept {
    /// Adds the log lines that were dropped since the last call. The log does not call the account, which calls the
    /// log.
    fn count_dropped_lines(&mut self) {
        let dropped = account_log::take_dropped();
        if dropped > 0 {
            self.account.counts.lines_dropped += u64::from(dropped);
            self.changes += 1;
        }
    }
}

fn kept() -> MutexGuard<'static, Option<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the account is kept.
pub fn is_kept() -> bool {
    IS_KEPT.load(Relaxed)
}

/// Keeps the account from now on. It begins with what `account` holds already.
pub fn keep(account: Account, began: Time) {
    *kept() = Some(Kept { account, began, changes: 1 });
    IS_KEPT.store(true, Relaxed);
}

/// When the account begins, if it is kept.
pub fn began() -> Option<Time> {
    kept().as_ref().map(|kept| kept.began)
}

/// Records a fact of the machine.
pub fn record(fact: &Fact) {
    if let Fact::Entered(phase) = fact {
        json::set_phase(*phase);
    }
    let logged = log::max_level() >= least_level(fact);
    // A beginning need not be remembered either, since its end would not be shown.
    if !logged && !IS_KEPT.load(Relaxed) {
        return;
    }
    let at = at();
    let took = TOOK.lock().unwrap_or_else(PoisonError::into_inner).take(at, fact);
    if logged {
        write(&Line::of(fact).took(took));
    }
    change(|account| account.take_end(at, fact, took));
}

/// The level below which no line of the fact is written. Known before the line is made: the facts of a life without
/// any trouble must not cost the making of lines that are not written.
fn least_level(fact: &Fact) -> LevelFilter {
    match fact {
        Fact::Forwarded { .. } | Fact::Sampled { .. } | Fact::LeftoversSignalled { .. } => {
            LevelFilter::Debug
        }
        Fact::Entered(_)
        | Fact::Ready { .. }
        | Fact::StopRequested { .. }
        | Fact::StopSignal { .. }
        | Fact::AppEnded { ending: Ending::Was(_) }
        | Fact::Exit { .. } => LevelFilter::Info,
        _ => LevelFilter::Error,
    }
}

/// Now, counted from the beginning of the account.
fn at() -> Span {
    clock::now().since(began().unwrap_or_default()).into()
}

/// Records an incident.
pub fn incident(incident: &Incident) {
    let least_level = match incident {
        Incident::Reaped { warn: false, .. } | Incident::Holding(_) => LevelFilter::Trace,
        Incident::Started { .. } => LevelFilter::Info,
        Incident::Awaits { .. } | Incident::Answered { .. } => LevelFilter::Debug,
        _ => LevelFilter::Error,
    };
    if let Incident::HookSaid { id, text, .. } = incident {
        if id.phase == HookPhase::Ready {
            waiting::said(*id, text);
        }
    }
    match incident {
        // Written at every level: it is the reason why there is no app.
        Incident::NotExecuted { why } => account_log::fatal_fact_in_one_line("not-executed", why),
        _ if log::max_level() >= least_level => write(&Line::of_incident(incident)),
        _ => {}
    }
    if IS_KEPT.load(Relaxed) {
        let at = at();
        change(|account| account.take_incident(at, incident));
    }
}

/// Records what the app is not ready for now. `missing`: a bit for each condition of the plan; `ports`: the ports of
/// `--drain`.
pub fn awaits(missing: u64, ports: bool) {
    incident(&Incident::Awaits { waits: waiting::list(missing, ports) });
}

/// Records the answer of the last look at a condition, if it has changed.
pub fn answered(awaited: Awaited, answer: &str) {
    if let Some(wait) = waiting::answer(awaited, answer) {
        incident(&Incident::Answered { wait });
    }
}

/// Records that something could not be done; graceinit goes on.
pub fn warn(text: impl Into<String>) {
    incident(&Incident::Trouble { text: text.into() });
}

fn write(line: &Line) {
    if line.level <= log::max_level() {
        account_log::write(line);
    }
}

fn change(fold: impl FnOnce(&mut Account)) {
    if !IS_KEPT.load(Relaxed) {
        return;
    }
    if let Some(kept) = &mut *kept() {
        fold(&mut kept.account);
        kept.changes += 1;
    }
}

/// Hands the present account to `read`, if it is kept.
pub fn read<R>(read: impl FnOnce(&Account) -> R) -> Option<R> {
    let mut kept = kept();
    let kept = kept.as_mut()?;
    kept.count_dropped_lines();
    kept.account.age = clock::now().since(kept.began).into();
    Some(read(&kept.account))
}

/// How often the account has changed; 0 if none is kept.
pub fn changes() -> u64 {
    if !IS_KEPT.load(Relaxed) {
        return 0;
    }
    kept().as_mut().map_or(0, |kept| {
        kept.count_dropped_lines();
        kept.changes
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::machine::connections::Sample;
    use crate::machine::fact::Reason;
    use crate::machine::phase::PhaseName;
    use crate::machine::plan::Scope;
    use crate::types::{Signal, Status};

    #[test]
    fn a_log_that_is_off_remembers_nothing() {
        use crate::machine::hooks::{HookId, HookPhase, Outcome};
        assert_eq!(log::max_level(), LevelFilter::Off);
        let id = HookId::first(HookPhase::OnReload, 0);
        record(&Fact::HookStarted { id, limit: Duration::from_secs(1) });
        let begun = format!("{:?}", TOOK.lock().expect("a lock"));
        assert!(begun.contains("attempts: []"), "{begun}");
        record(&Fact::HookEnded { id, outcome: Outcome::Done, status: None });
    }

    #[test]
    fn no_fact_has_a_line_below_its_least_level() {
        let (signal, span) = (Signal::TERM, Duration::from_secs(1));
        let mut facts: Vec<Fact> = PhaseName::ALL.into_iter().map(Fact::Entered).collect();
        facts.extend([
            Fact::Forwarded { signal, sent: signal, scope: Scope::Tree },
            Fact::Sampled { sample: Sample::default() },
            Fact::LeftoversSignalled { signal, left: span },
            Fact::Ready { after: span },
            Fact::StopRequested { signal, sender: None, grace: Some(span) },
            Fact::StopSignal { signal, rung: 1, of: 1, left: None },
            Fact::AppEnded { ending: Ending::Was(Status::Code(3)) },
            Fact::AppEnded { ending: Ending::Unkillable },
            Fact::Exit { code: 1, reason: Reason::Crash },
        ]);
        for fact in facts {
            let level = Line::of(&fact).level.to_level_filter();
            assert!(level >= least_level(&fact), "{fact:?} is written at {level}");
        }
    }
}
