//! The one place that facts go to: the log, and the account if anybody reads it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::LevelFilter;

use super::account::{Account, Span};
use super::incident::Incident;
use super::line::{Line, Took};
use super::{json, log as account_log};
use crate::machine::fact::Fact;
use crate::machine::plan::Ending;
use crate::sys::clock;
use crate::types::Time;

/// The account of this life, if it is kept. graceinit has one thread, so the lock is always free.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);
static IS_KEPT: AtomicBool = AtomicBool::new(false);
/// What has begun, for log and account alike.
static TOOK: Mutex<Took> = Mutex::new(Took::NOTHING);

struct Kept {
    account: Account,
    began: Time,
    changes: u64,
}

fn kept() -> MutexGuard<'static, Option<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on the account is kept. It begins with what `account` knows already.
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
    let told = log::max_level() >= floor(fact);
    // What nobody is told of need not be remembered either: its end would not be heard.
    if !told && !IS_KEPT.load(Relaxed) {
        return;
    }
    let at = at();
    let took = TOOK.lock().unwrap_or_else(PoisonError::into_inner).take(at, fact);
    if told {
        tell(&Line::of(fact).took(took));
    }
    change(|account| account.take_end(at, fact, took));
}

/// The least level at which a fact may be told. What a life without any trouble is made of must not
/// cost lines that nobody reads.
fn floor(fact: &Fact) -> LevelFilter {
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

/// Now, as the account counts.
fn at() -> Span {
    let began = kept().as_ref().map(|kept| kept.began);
    clock::now().since(began.unwrap_or_default()).into()
}

/// Records what was met.
pub fn incident(incident: &Incident) {
    let floor = match incident {
        Incident::Reaped { warn: false, .. } => LevelFilter::Trace,
        Incident::Started { .. } => LevelFilter::Info,
        _ => LevelFilter::Error,
    };
    match incident {
        // Not subject to the level: there is nothing else to tell of.
        Incident::NotExecuted { why } => account_log::fatal_fact("not-executed", why),
        // The log itself says it, when it has room again.
        Incident::LinesDropped { .. } => {}
        _ if log::max_level() >= floor => tell(&Line::of_incident(incident)),
        _ => {}
    }
    if IS_KEPT.load(Relaxed) {
        let at = at();
        change(|account| account.take_incident(at, incident));
    }
}

/// Something could not be done; life goes on.
pub fn warn(text: impl Into<String>) {
    incident(&Incident::Trouble { text: text.into() });
}

fn tell(line: &Line) {
    if line.level <= log::max_level() {
        account_log::fact(line);
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

/// Shows the account as it is now, if it is kept.
pub fn read<R>(look: impl FnOnce(&Account) -> R) -> Option<R> {
    let mut kept = kept();
    let kept = kept.as_mut()?;
    kept.account.age = clock::now().since(kept.began).into();
    Some(look(&kept.account))
}

/// How often the account has changed; 0 if none is kept.
pub fn changes() -> u64 {
    if !IS_KEPT.load(Relaxed) {
        return 0;
    }
    kept().as_ref().map_or(0, |kept| kept.changes)
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
    fn nothing_that_would_be_told_is_left_out() {
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
            assert!(level >= floor(&fact), "{fact:?} is told at {level}");
        }
    }
}
