//! The clocks. Times that something has to happen at are of the monotonic clock, because the wall clock can be set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::types::Time;

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec. The clocks used here exist since Linux 2.6.39, so the call cannot
    // fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}

fn nanos(time: libc::timespec) -> u64 {
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// Now, by CLOCK_MONOTONIC. Async-signal-safe.
pub fn now() -> Time {
    Time(nanos(read(libc::CLOCK_MONOTONIC)))
}

/// The processor time that this process has used.
pub fn cpu() -> Time {
    Time(nanos(read(libc::CLOCK_PROCESS_CPUTIME_ID)))
}

/// Now, in the unit of start times in /proc/PID/stat: hundredths of a second since boot.
pub fn boot_ticks() -> u64 {
    // USER_HZ is 100 on every architecture that this program is built for (time(7)).
    nanos(read(libc::CLOCK_BOOTTIME)) / 10_000_000
}

/// Now, since the Unix epoch.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
