//! The dead-man timer: a POSIX timer whose handler needs nothing of the main loop. If the loop is
//! stuck (a blocked write, a hung file system, a bug) the tree still dies and graceinit exits.
//!
//! It uses SIGALRM, which is unblocked from the first arming on (and not when the timer is made). An alarm that a process sends is told
//! from the timer's by the time, and handed to the loop as a signal like any other.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::signals::{self, Mask};
use super::{clock, last_report, process, tree};
use crate::types::{Pid, Signal, Time};

/// The loop gets this long beyond the deadline for each of two chances: a machine that was frozen
/// (`docker pause`) wakes up past the deadline with nothing wrong with it.
const CHANCE: Duration = Duration::from_millis(250);
/// How long the handler waits for what it has killed.
const DYING: Duration = Duration::from_millis(200);
/// And for the last report to be written.
const WRITING: Duration = Duration::from_millis(100);

static DUE: AtomicU64 = AtomicU64::new(u64::MAX);
static CHANCES: AtomicU32 = AtomicU32::new(0);
static ALARMS: AtomicU32 = AtomicU32::new(0);
static APP: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(137);
/// Its signal is unblocked.
static HEARD: AtomicBool = AtomicBool::new(false);

/// The timer. One for the whole life.
#[derive(Debug)]
pub struct DeadMan(());

// Here, because the handler arms it once more. A plain number behind a pointer type.
static TIMER: AtomicU64 = AtomicU64::new(0);

impl DeadMan {
    /// Makes the timer and its handler; not armed yet.
    ///
    /// # Errors
    /// Those of timer_create(2) and sigaction(2): EAGAIN when no memory is left.
    pub fn new() -> io::Result<DeadMan> {
        listen()?;
        // SAFETY: sigevent is plain numbers; all zeroes is a value of it.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = Signal::ALRM.number();
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: both pointers are to live values.
        signals::check(unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer)
        })?;
        TIMER.store(timer as u64, SeqCst);
        Ok(DeadMan(()))
    }

    /// Sets it to `deadline` plus its slack. Whatever it was set to before no longer counts.
    pub fn arm(&mut self, deadline: Time) {
        CHANCES.store(0, SeqCst);
        set(deadline.after(CHANCE));
        if !HEARD.load(SeqCst) {
            HEARD.store(true, SeqCst);
            signals::set_mask(blocked());
        }
    }
}

/// What graceinit blocks: all, but for the dead-man's signal once that was armed.
pub fn blocked() -> Mask {
    if HEARD.load(SeqCst) { Mask::ALL.without(Signal::ALRM) } else { Mask::ALL }
}

/// Sets what the handler exits with if it has to kill the app.
pub fn set_code(code: u8) {
    CODE.store(i32::from(code), SeqCst);
}

/// Tells the handler the id of the app's group: the app's pid, unless another process has taken over.
pub fn app_started(group: Pid) {
    APP.store(group.0, SeqCst);
}

/// The app was reaped: its pid may be anybody's from now on. `code` is what graceinit would exit with.
pub fn app_reaped(code: u8) {
    APP.store(0, SeqCst);
    CODE.store(i32::from(code), SeqCst);
}

/// How many alarms came from processes since the last question.
pub fn take_alarms() -> u32 {
    ALARMS.swap(0, SeqCst)
}

fn set(due: Time) {
    let timer = TIMER.load(SeqCst) as libc::timer_t;
    DUE.store(due.0, SeqCst);
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let at = libc::timespec {
        // A time beyond what the kernel can count is never.
        tv_sec: i64::try_from(due.0 / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (due.0 % 1_000_000_000) as i64,
    };
    let spec = libc::itimerspec { it_interval: zero, it_value: at };
    // SAFETY: the timer was made by timer_create and is never deleted; the pointer is to a live
    // value. Async-signal-safe (signal-safety(7)).
    unsafe { libc::timer_settime(timer, libc::TIMER_ABSTIME, &raw const spec, ptr::null_mut()) };
}

/// Sets the handler. By ourselves: signal-hook's list of handlers, of which there is one here, would take half a page of
/// memory that is there as long as we are.
fn listen() -> io::Result<()> {
    // SAFETY: sigaction is plain numbers and a set; all zeroes is a value of it, with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(i32) = on_alarm;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the pointer is to a live value. The handler is async-signal-safe: it uses atomics, and functions that
    // say they are.
    signals::check(unsafe {
        libc::sigaction(Signal::ALRM.number(), &raw const action, ptr::null_mut())
    })
}

/// The handler. Everything in here is async-signal-safe.
extern "C" fn on_alarm(_: i32) {
    // SAFETY: the place is this thread's for as long as it lives. Whoever was interrupted may be about to read it.
    let errno = unsafe { *libc::__errno_location() };
    alarm();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn alarm() {
    let now = clock::now();
    if now.0 < DUE.load(SeqCst) {
        ALARMS.fetch_add(1, SeqCst);
    } else if CHANCES.fetch_add(1, SeqCst) == 0 {
        set(now.after(CHANCE));
    } else {
        end_everything(now);
    }
}

fn end_everything(now: Time) -> ! {
    let give_up = now.after(DYING);
    let mut rounds = 0;
    // In one step, whatever a look at /proc costs: most of the tree is in the app's group.
    let app = APP.load(SeqCst);
    if app > 0 {
        let _ = signals::send_group(Pid(app), Signal::KILL);
    }
    loop {
        if process::is_first() {
            let _ = signals::send_all(Signal::KILL);
        } else {
            tree::kill_children();
        }
        // As PID 1 leaving kills the rest and reaps it. Elsewhere what the dead leave behind comes
        // to us, and has to be killed in its turn: at least one more round, however long one takes.
        rounds += 1;
        let in_time = rounds < 2 || clock::now() < give_up;
        if process::is_first() || !reap_all() || !in_time {
            leave(CODE.load(SeqCst) as u8);
        }
        pause();
    }
}

/// After the kill, which must not wait for it and would end it.
fn leave(code: u8) -> ! {
    if let Some(child) = last_report::execute(code) {
        let give_up = clock::now().after(WRITING);
        while !last_report::is_executed(child) {
            if clock::now() >= give_up {
                last_report::give_up(child);
                break;
            }
            pause();
        }
    }
    process::exit(code)
}

fn pause() {
    let pause = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    // SAFETY: the pointer is to a live value. This is the one place that waits for a fixed time:
    // there is no loop left that could be told of an event.
    unsafe { libc::nanosleep(&raw const pause, ptr::null_mut()) };
}

/// Reaps what has ended; whether a child is left.
fn reap_all() -> bool {
    loop {
        match super::reap::find() {
            super::reap::Found::Ended(pid) => super::reap::reap(pid),
            super::reap::Found::AllAlive => return true,
            super::reap::Found::NoChild => return false,
        };
    }
}
