//! The one place that facts go to: the log, and the account if anybody reads it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::LevelFilter;

use super::account::{Account, Span};
use super::line::{Line, Took};
use super::met::Met;
use super::{json, log as account_log};
use crate::machine::fact::Fact;
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
    // A signal that is passed on must not cost a line that nobody reads.
    let floor = match fact {
        Fact::Forwarded { .. } | Fact::Looked { .. } => LevelFilter::Debug,
        _ => LevelFilter::Error,
    };
    let at = at();
    let took = TOOK.lock().unwrap_or_else(PoisonError::into_inner).take(at, fact);
    if log::max_level() >= floor {
        tell(&Line::of(fact).took(took));
    }
    change(|account| account.take_end(at, fact, took));
}

/// Now, as the account counts.
fn at() -> Span {
    let began = kept().as_ref().map(|kept| kept.began);
    clock::now().since(began.unwrap_or_default()).into()
}

/// Records what was met.
pub fn met(met: &Met) {
    let floor = match met {
        Met::Reaped { warn: false, .. } => LevelFilter::Trace,
        _ => LevelFilter::Error,
    };
    match met {
        // Not subject to the level: there is nothing else to tell of.
        Met::NotExecuted { why } => account_log::fatal_fact("not-executed", why),
        // The log itself says it, when it has room again.
        Met::LinesDropped { .. } => {}
        _ if log::max_level() >= floor => tell(&Line::of_met(met)),
        _ => {}
    }
    let at = at();
    change(|account| account.meet(at, met));
}

/// Something could not be done; life goes on.
pub fn trouble(text: impl Into<String>) {
    met(&Met::Trouble { text: text.into() });
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
