//! The dead-man timer: a POSIX timer whose handler works without the main loop. If the loop is stuck (a blocked
//! write, a hung file system, a bug), the handler kills all processes, and graceinit exits.
//!
//! The timer sends SIGALRM, which is unblocked when the timer is first armed. An alarm that a process has sent is kept by
//! the handler with its sender and value, and the loop treats it like any other signal.

pub mod rescue;

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::last_report::Writer;
use super::signals::{self, Mask};
use super::{clock, last_report, process, tree};
use crate::types::{Pid, Signal, Time};

/// The loop gets two chances of this length after the end of the budget: a machine that was frozen (`docker pause`)
/// wakes up after that end although nothing is stuck.
const CHANCE: Duration = Duration::from_millis(250);
/// How long the handler waits for the killed processes to end.
const DYING: Duration = Duration::from_millis(200);
/// How long it waits for the last report to be written.
const WRITING: Duration = Duration::from_millis(100);

/// A round of the loop that takes longer than this hangs, if a stop request waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// When the dead man's end is due: after the end of the budget.
static DUE: AtomicU64 = AtomicU64::new(u64::MAX);
/// When the present round of the loop takes too long.
static ROUND_DUE: AtomicU64 = AtomicU64::new(u64::MAX);
/// How often a hanging round was found since it began.
static HANGS: AtomicU32 = AtomicU32::new(0);
static CHANCES: AtomicU32 = AtomicU32::new(0);
/// Alarms that are not from the timer. The handler fills it, the loop empties it. When it is full, an alarm is lost, as
/// the kernel drops one that is pending already.
static ALARMS: [Slot; 8] = [const { Slot::empty() }; 8];
/// How many alarms were put into it, and how many were taken out.
static PUT: AtomicU32 = AtomicU32::new(0);
static TAKEN: AtomicU32 = AtomicU32::new(0);
static APP: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(137);

/// The timer. There is one for the whole life.
#[derive(Debug)]
pub struct DeadMan(());

/// The id of the timer, for the handler, which arms it again: a timer_t, which is a number behind a pointer type.
static TIMER: AtomicU64 = AtomicU64::new(0);
/// The interval timer is used in its place.
static IS_INTERVAL: AtomicBool = AtomicBool::new(false);

impl DeadMan {
    /// Makes the timer, which is not armed yet, and sets the handler.
    ///
    /// A timer of timer_create(2) takes one of the signals that its user may have pending (RLIMIT_SIGPENDING). Where
    /// none is left (EAGAIN) the interval timer of setitimer(2) is used, which needs none. It is not the first choice:
    /// the program that started graceinit may have set it (alarm(2)), and it counts from the call on.
    ///
    /// # Errors
    /// Those of sigaction(2): none with these arguments.
    pub fn new() -> io::Result<DeadMan> {
        set_handler()?;
        // SAFETY: sigevent is plain numbers; all zeroes is a value of it.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = Signal::ALRM.number();
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: both pointers are to live values.
        let made = signals::check(unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer)
        });
        match made {
            Ok(()) => TIMER.store(timer as u64, SeqCst),
            Err(_) => IS_INTERVAL.store(true, SeqCst),
        }
        Ok(DeadMan(()))
    }

    /// Arms the timer for a while after `budget_end`. An earlier setting is replaced.
    pub fn arm(&mut self, budget_end: Time) {
        CHANCES.store(0, SeqCst);
        DUE.store(budget_end.after(CHANCE).0, SeqCst);
        program();
        signals::unblock_alarm();
    }

    /// A round of the loop begins. If it hangs before the app was asked to stop, and a stop is requested, the handler
    /// ends the life in order (`rescue`). If the app was asked, the budget is the limit.
    pub fn round_begins(&self, now: Time) {
        HANGS.store(0, SeqCst);
        ROUND_DUE.store(now.after(PATIENCE).0, SeqCst);
        program();
        signals::unblock_alarm();
    }
}

/// The round of the loop is over: nothing may wake it from its wait.
pub fn round_ends() {
    if ROUND_DUE.load(SeqCst) != u64::MAX {
        ROUND_DUE.store(u64::MAX, SeqCst);
        program();
    }
}

/// The handler writes the last report itself.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// Sets the code that the handler exits with if it kills the app.
pub fn set_code(code: u8) {
    CODE.store(i32::from(code), SeqCst);
}

/// Tells the handler the process group of the app. (Its id is the app's pid, unless another process is the main one.)
pub fn app_started(group: Pid) {
    APP.store(group.0, SeqCst);
}

/// Tells the handler that the app was reaped, because its pid may be used again. `code` is what graceinit would exit
/// with.
pub fn app_reaped(code: u8) {
    rescue::set_main(None);
    APP.store(0, SeqCst);
    CODE.store(i32::from(code), SeqCst);
}

/// An alarm that is not from the timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// The sender; `None`: the kernel, for alarm(2) of the program that started graceinit.
    pub sender: Option<Pid>,
    /// The value of sigqueue(3).
    pub value: Option<usize>,
}

/// A place for an alarm.
struct Slot {
    /// The sender; -1: the kernel.
    sender: AtomicI32,
    value: AtomicU64,
    has_value: AtomicBool,
}

impl Slot {
    const fn empty() -> Slot {
        Slot {
            sender: AtomicI32::new(-1),
            value: AtomicU64::new(0),
            has_value: AtomicBool::new(false),
        }
    }
}

/// Called by the handler, which is never interrupted by itself.
fn put(alarm: Alarm) {
    let at = PUT.load(SeqCst);
    if at.wrapping_sub(TAKEN.load(SeqCst)) as usize >= ALARMS.len() {
        return;
    }
    let slot = &ALARMS[at as usize % ALARMS.len()];
    slot.sender.store(alarm.sender.map_or(-1, |pid| pid.0), SeqCst);
    slot.value.store(alarm.value.unwrap_or(0) as u64, SeqCst);
    slot.has_value.store(alarm.value.is_some(), SeqCst);
    PUT.store(at.wrapping_add(1), SeqCst);
}

/// The next alarm that has come and is not from the timer.
pub fn take_alarm() -> Option<Alarm> {
    let at = TAKEN.load(SeqCst);
    if at == PUT.load(SeqCst) {
        return None;
    }
    let slot = &ALARMS[at as usize % ALARMS.len()];
    let sender = slot.sender.load(SeqCst);
    let value = slot.value.load(SeqCst) as usize;
    let alarm = Alarm {
        sender: (sender >= 0).then_some(Pid(sender)),
        value: slot.has_value.load(SeqCst).then_some(value),
    };
    TAKEN.store(at.wrapping_add(1), SeqCst);
    Some(alarm)
}

/// Sets the timer to what is due first.
fn program() {
    let due = Time(DUE.load(SeqCst).min(ROUND_DUE.load(SeqCst)));
    if IS_INTERVAL.load(SeqCst) {
        return set_interval(due);
    }
    let timer = TIMER.load(SeqCst) as libc::timer_t;
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let at = match due.0 {
        // Zero disarms the timer (timer_settime(2)).
        u64::MAX => zero,
        // The kernel cannot count further than this; such a time is never reached.
        due => libc::timespec {
            tv_sec: libc::time_t::try_from(due / 1_000_000_000).unwrap_or(libc::time_t::MAX),
            tv_nsec: (due % 1_000_000_000) as libc::c_long,
        },
    };
    let spec = libc::itimerspec { it_interval: zero, it_value: at };
    // SAFETY: the timer was made by timer_create and is never deleted; the pointer is to a live value.
    unsafe { libc::timer_settime(timer, libc::TIMER_ABSTIME, &raw const spec, ptr::null_mut()) };
}

/// The same with the interval timer.
fn set_interval(due: Time) {
    // The kernel counts in microseconds: one more, so that the time is over when the signal comes. Zero disarms it.
    let left = match due.0 {
        u64::MAX => Duration::ZERO,
        _ => due.since(clock::now()).saturating_add(Duration::from_micros(1)),
    };
    let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let once = libc::timeval {
        tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: left.subsec_micros() as libc::suseconds_t,
    };
    let spec = libc::itimerval { it_interval: never, it_value: once };
    // SAFETY: the pointer is to a live value. (The C library declares the other one as not null, but the kernel is not.)
    unsafe { libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const spec, 0usize) };
}

/// Sets the handler. Not by signal-hook, whose list of handlers would take half a page of memory for one handler.
fn set_handler() -> io::Result<()> {
    // SAFETY: sigaction is plain numbers and a set; all zeroes is a value of it, with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_alarm;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
    // SAFETY: the pointer is to a live value. The handler is async-signal-safe: it uses atomics and functions that are
    // async-signal-safe.
    signals::check(unsafe {
        libc::sigaction(Signal::ALRM.number(), &raw const action, ptr::null_mut())
    })
}

/// The handler. Everything in here is async-signal-safe.
extern "C" fn on_alarm(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: errno of this thread is always there. The code that was interrupted may be about to read it.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: with SA_SIGINFO the kernel passes a live siginfo.
    alarm(foreign(unsafe { &*info }));
    // SAFETY: errno of this thread is always there.
    unsafe { *libc::__errno_location() = errno };
}

/// An alarm that is not from the timer.
fn foreign(info: &libc::siginfo_t) -> Option<Alarm> {
    if signals::is_by_process(info.si_code) {
        // SAFETY: these codes come with a sender, and that of sigqueue(3) with a value.
        let (sender, value) = unsafe { (info.si_pid(), info.si_value().sival_ptr as usize) };
        let value = (info.si_code == libc::SI_QUEUE).then_some(value);
        return Some(Alarm { sender: Some(Pid(sender)), value });
    }
    let own = info.si_code == libc::SI_TIMER || IS_INTERVAL.load(SeqCst);
    (!own).then_some(Alarm { sender: None, value: None })
}

fn alarm(foreign: Option<Alarm>) {
    if let Some(foreign) = foreign {
        put(foreign);
    }
    if LEAVING.load(SeqCst) {
        process::exit(code());
    }
    let now = clock::now();
    if now.0 >= DUE.load(SeqCst) {
        if CHANCES.fetch_add(1, SeqCst) > 0 {
            end_everything(now);
        }
        DUE.store(now.after(CHANCE).0, SeqCst);
    } else if now.0 >= ROUND_DUE.load(SeqCst) {
        // Two chances, as above. While no stop is requested, a round may take any time.
        let hangs = rescue::is_wanted().then(|| HANGS.fetch_add(1, SeqCst));
        if hangs.is_some_and(|before| before > 0) {
            rescue::end();
        }
        ROUND_DUE.store(now.after(CHANCE).0, SeqCst);
    } else if foreign.is_some() {
        return;
    }
    program();
}

/// The code that graceinit would exit with now.
pub(super) fn code() -> u8 {
    CODE.load(SeqCst) as u8
}

pub(super) fn end_everything(now: Time) -> ! {
    let give_up = now.after(DYING);
    let mut rounds = 0;
    // First, because it needs no search of /proc: most processes are in the app's group.
    let app = APP.load(SeqCst);
    if app > 0 {
        let _ = signals::send_group(Pid(app), Signal::KILL);
    }
    // It may have left that group, and without /proc nothing else reaches it.
    if let Some(main) = rescue::main() {
        let _ = signals::send(main, Signal::KILL);
    }
    loop {
        if process::is_first() {
            let _ = signals::send_all(Signal::KILL);
        } else {
            tree::kill_children();
        }
        // When PID 1 exits, the kernel kills and reaps the rest. Elsewhere the children of killed processes become
        // children of this process and have to be killed as well: at least one more round, however long it takes.
        rounds += 1;
        let in_time = rounds < 2 || clock::now() < give_up;
        if process::is_first() || !reap_all() || !in_time {
            leave(CODE.load(SeqCst) as u8);
        }
        pause();
    }
}

/// Writes the last report and exits. Called after the kill, which must not wait for a file system and would kill the
/// child that writes.
fn leave(code: u8) -> ! {
    let give_up = clock::now().after(WRITING);
    match last_report::begin(code) {
        Writer::None => {}
        Writer::Child(child) => {
            while !last_report::is_written(child) {
                if clock::now() >= give_up {
                    last_report::kill(child);
                    break;
                }
                pause();
            }
        }
        Writer::Here => {
            // The next alarm exits, in the middle of the write if that takes too long. (Only a file system in
            // uninterruptible sleep keeps the process longer. All others are dead by now.)
            LEAVING.store(true, SeqCst);
            DUE.store(give_up.0, SeqCst);
            ROUND_DUE.store(u64::MAX, SeqCst);
            program();
            signals::set_mask(Mask::ALL.without(Signal::ALRM));
            last_report::write_here(code);
        }
    }
    process::exit(code)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the main loop is stuck, so nothing can wait for an event"
)]
fn pause() {
    let pause = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    // SAFETY: the pointer is to a live value.
    unsafe { libc::nanosleep(&raw const pause, ptr::null_mut()) };
}

/// Reaps all children that have ended. Whether a child is left.
fn reap_all() -> bool {
    loop {
        match super::reap::find() {
            super::reap::Found::Ended(pid) => super::reap::reap(pid),
            super::reap::Found::AllAlive => return true,
            super::reap::Found::NoChild => return false,
        };
    }
}
