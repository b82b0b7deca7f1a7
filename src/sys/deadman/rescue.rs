//! The end of a life without the main loop: after a panic, without memory, or if the loop hangs. The app is asked to
//! stop, its processes are reaped until the end of the budget, what is left is killed, and graceinit exits. There are
//! no hooks, no drain and no report.
//!
//! A panic or a refused allocation would else end in abort(3), whose last instruction traps: as PID 1 graceinit would
//! be gone at once, and the kernel would kill the app. Everything in here is async-signal-safe and allocates nothing;
//! what it has to know is kept in atomics.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::super::signals::{self, Mask};
use super::super::{clock, process, reap, tree};
use crate::types::{Pid, Signal, Status, Time};

/// Between two looks at the children: SIGCHLD ends the pause.
const PAUSE: Duration = Duration::from_millis(100);

/// What an orderly end depends on.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    /// The signals that request a stop, as a mask.
    pub stop_on: Mask,
    /// The signal that asks the app to stop; `None`: that of the request.
    pub signal: Option<Signal>,
    /// The signal for what the app leaves behind.
    pub leftovers: Signal,
    /// The app's whole group is asked.
    pub group: bool,
    /// The length of the budget; `None`: it has no end.
    pub grace: Option<Duration>,
    /// The exit code if no stop was requested and the app ends with 0.
    pub failed: u8,
}

/// The process that supervises. Its children have copies of everything in here.
static OWNER: AtomicI32 = AtomicI32::new(0);
static STOP_ON: AtomicU64 = AtomicU64::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static LEFTOVERS: AtomicI32 = AtomicI32::new(15);
static GROUP: AtomicBool = AtomicBool::new(false);
static GRACE: AtomicU64 = AtomicU64::new(u64::MAX);
static FAILED: AtomicI32 = AtomicI32::new(125);
/// The exit codes that count as 0, one bit each.
static FORGIVEN: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
/// The app's main process; 0: there is none.
static MAIN: AtomicI32 = AtomicI32::new(0);
/// There was a main process.
static STARTED: AtomicBool = AtomicBool::new(false);
/// The app was sent its stop signal.
static ASKED: AtomicBool = AtomicBool::new(false);
/// The processes besides that were sent their stop signal; those of long ago make room for others.
static ALSO_ASKED: [AtomicI32; 128] = [const { AtomicI32::new(0) }; 128];
/// How many there were.
static ASKS: AtomicUsize = AtomicUsize::new(0);
/// A stop request that was read in this round of the loop; 0: none.
static READ: AtomicI32 = AtomicI32::new(0);
/// When the budget of the stop ends; 0: no stop has begun.
static BUDGET_END: AtomicU64 = AtomicU64::new(0);
/// The orderly end has begun.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Sets what an orderly end depends on. Until then there is none: an error ends this process.
pub fn prepare(orders: &Orders, forgiven: impl Iterator<Item = u8>) {
    STOP_ON.store(orders.stop_on.0, SeqCst);
    SIGNAL.store(orders.signal.map_or(0, Signal::number), SeqCst);
    LEFTOVERS.store(orders.leftovers.number(), SeqCst);
    GROUP.store(orders.group, SeqCst);
    let grace = orders.grace.map_or(u64::MAX, |grace| grace.as_nanos() as u64);
    GRACE.store(grace, SeqCst);
    FAILED.store(orders.failed.into(), SeqCst);
    for code in forgiven {
        FORGIVEN[usize::from(code / 64)].fetch_or(1 << (code % 64), SeqCst);
    }
    OWNER.store(process::own_pid().0, SeqCst);
}

/// The app's main process; `None`: it was reaped.
pub fn set_main(pid: Option<Pid>) {
    MAIN.store(pid.map_or(0, |pid| pid.0), SeqCst);
    STARTED.fetch_or(pid.is_some(), SeqCst);
}

/// The app's main process, until it is reaped.
pub(super) fn main() -> Option<Pid> {
    Some(Pid(MAIN.load(SeqCst))).filter(|main| main.0 != 0)
}

/// The signals that the loop has read in this round.
pub fn read(signals: impl Iterator<Item = Signal>) {
    let stop_on = STOP_ON.load(SeqCst);
    let stop = signals.map(Signal::number).find(|number| stop_on >> (number - 1) & 1 == 1);
    READ.store(stop.unwrap_or(0), SeqCst);
}

/// The app was sent its stop signal.
pub fn asked() {
    ASKED.store(true, SeqCst);
}

/// A process other than the app's main one was sent its stop signal: it is not asked again.
pub fn also_asked(pid: Pid) {
    let place = ASKS.fetch_add(1, SeqCst) % ALSO_ASKED.len();
    ALSO_ASKED[place].store(pid.0, SeqCst);
}

/// A stop has begun, and its budget ends then.
pub fn stop_begun(budget_end: Time) {
    BUDGET_END.store(budget_end.0.max(1), SeqCst);
}

/// Whether this process supervises an app. False in its children.
pub fn is_supervisor() -> bool {
    OWNER.load(SeqCst) == process::own_pid().0
}

/// Whether the life has to end without the loop, if the loop does not go on: a stop was requested, or the app has ended.
pub(in crate::sys) fn is_due() -> bool {
    let main = MAIN.load(SeqCst);
    BUDGET_END.load(SeqCst) != 0
        || pending_stop().is_some()
        || main == 0
        || reap::peek(Pid(main)).is_some()
}

/// Whether a stop is requested or has begun, and nothing that the budget could wait for goes on: the app was not asked
/// yet, or it has ended.
pub(super) fn is_wanted() -> bool {
    let main = MAIN.load(SeqCst);
    let waits = ASKED.load(SeqCst) && main != 0 && reap::peek(Pid(main)).is_none();
    !waits && (BUDGET_END.load(SeqCst) != 0 || pending_stop().is_some())
}

/// A stop request that the loop has not handled yet.
fn pending_stop() -> Option<Signal> {
    if let Some(read) = Signal::new(READ.load(SeqCst)) {
        return Some(read);
    }
    let found = signals::pending().0 & STOP_ON.load(SeqCst);
    Signal::new(found.trailing_zeros() as i32 + 1).filter(|_| found != 0)
}

/// Ends the life in order, and this process. Does not return, and a second call (a panic within the first) exits.
pub fn end() -> ! {
    let requested = BUDGET_END.load(SeqCst) != 0 || pending_stop().is_some();
    if !is_supervisor() || ENDING.swap(true, SeqCst) {
        process::exit(FAILED.load(SeqCst) as u8);
    }
    let stop = pending_stop();
    // The dead-man timer ends the life itself: it must not interrupt. And its end is later than this one.
    signals::set_mask(Mask::ALL);
    let budget_end = budget_end();
    if !STARTED.load(SeqCst) {
        super::set_code(FAILED.load(SeqCst) as u8);
    }
    if !ASKED.load(SeqCst) {
        ask(stop.unwrap_or(Signal::TERM));
    }
    let mut main_ended = MAIN.load(SeqCst) == 0;
    if main_ended {
        ask_leftovers(None);
    }
    loop {
        let childless = reap_all(&mut main_ended, requested);
        if main_ended && childless {
            process::exit(super::code());
        }
        let now = clock::now();
        if budget_end.is_some_and(|end| now >= end) {
            super::end_everything(now);
        }
        let until = budget_end.map_or(now.after(PAUSE), |end| end.min(now.after(PAUSE)));
        signals::wait_for_child(until, now);
    }
}

fn budget_end() -> Option<Time> {
    let now = clock::now();
    match (BUDGET_END.load(SeqCst), GRACE.load(SeqCst)) {
        (_, u64::MAX) => None,
        (0, grace) => Some(now.after(Duration::from_nanos(grace))),
        (end, _) => Some(Time(end)),
    }
}

/// Sends the app its stop signal. A stopped process would not see it, so it is continued.
fn ask(request: Signal) {
    let main = Pid(MAIN.load(SeqCst));
    let signal = Signal::new(SIGNAL.load(SeqCst)).unwrap_or(request);
    if main.0 == 0 {
        return;
    }
    let group = GROUP.load(SeqCst);
    for signal in [signal, Signal::CONT] {
        let sent = group && signals::send_group(main, signal).is_ok();
        // It may have left its group, or not have made it yet.
        if !sent || process::group_of(main) != Some(main) {
            let _ = signals::send(main, signal);
        }
    }
}

/// Reaps every child that has ended. Whether none is left.
fn reap_all(main_ended: &mut bool, requested: bool) -> bool {
    let mut orphans = false;
    let childless = loop {
        match reap::find() {
            reap::Found::Ended(pid) => {
                let status = reap::peek(pid);
                if pid.0 == MAIN.load(SeqCst) {
                    *main_ended = true;
                    MAIN.store(0, SeqCst);
                    // Before its group id can be used again.
                    ask_leftovers(Some(pid));
                    if let Some(status) = status {
                        super::app_reaped(code(status, requested));
                    }
                }
                reap::reap(pid);
                orphans = *main_ended;
            }
            reap::Found::AllAlive => break false,
            reap::Found::NoChild => break true,
        }
    };
    if orphans && !childless {
        // What the children that have ended have left behind.
        ask_leftovers(None);
    }
    childless
}

/// Asks the children that were not asked yet; what is below them is left to them. Without /proc: the app's group, or as
/// PID 1 every process.
fn ask_leftovers(group: Option<Pid>) {
    let signal = Signal::new(LEFTOVERS.load(SeqCst)).unwrap_or(Signal::TERM);
    let own = process::own_pid();
    let listed = tree::scan(|child| {
        let asked = ALSO_ASKED.iter().any(|asked| asked.load(SeqCst) == child.pid.0);
        if child.parent == own && !child.zombie && !asked {
            for signal in [signal, Signal::CONT] {
                let _ = signals::send(child.pid, signal);
            }
            also_asked(child.pid);
        }
    });
    let Some(group) = group.filter(|_| !listed) else { return };
    for signal in [signal, Signal::CONT] {
        let _ = match process::is_first() {
            true => signals::send_all(signal),
            false => signals::send_group(group, signal),
        };
    }
}

/// The exit code for this end of the app. 0 says that all went well: not if graceinit itself has failed.
fn code(status: Status, requested: bool) -> u8 {
    let code = status.shell_code();
    let bit = FORGIVEN[usize::from(code / 64)].load(SeqCst) >> (code % 64) & 1;
    match (code == 0 || bit == 1, requested) {
        (true, true) => 0,
        (true, false) => FAILED.load(SeqCst) as u8,
        (false, _) => code,
    }
}
