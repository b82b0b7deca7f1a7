//! What is left to be said if graceinit itself gets stuck: a report in static memory that the dead-man's
//! handler writes. Everything that the handler calls is async-signal-safe.
//!
//! Two buffers in turn: the handler may come at any moment, so what it reads is never what is being
//! written. It does not return, so nothing is written while it reads.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::{clock, process, reap, signals};
use crate::types::{Pid, Signal, Time};

/// So long is a report at most, its end of line included.
pub const LONGEST: usize = 4096;
/// A time in seconds that stands for the moment of the end; its text is [`MOMENT`].
pub const MOMENT_MICROS: u64 = 99_999_999_999_000;
const MOMENT: &[u8] = b"99999999.999";
/// What stands before the code.
const CODE: &[u8] = b"\"code\":";

static TEXT: [[AtomicU8; LONGEST]; 2] = [
    const { [const { AtomicU8::new(0) }; LONGEST] },
    const { [const { AtomicU8::new(0) }; LONGEST] },
];
static LENGTH: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
/// Which of them counts; 2: none.
static CURRENT: AtomicUsize = AtomicUsize::new(2);
static FILE: AtomicI32 = AtomicI32::new(-1);
/// It is a file that is written from its beginning, and no stream.
static IS_FILE: AtomicU8 = AtomicU8::new(0);
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// Where the will is to be written, and when the life began whose account it is. The descriptor stays
/// open for good.
pub fn keep(file: BorrowedFd<'_>, is_file: bool, began: Time) {
    FILE.store(file.as_raw_fd(), Ordering::SeqCst);
    IS_FILE.store(is_file.into(), Ordering::SeqCst);
    BEGAN.store(began.0, Ordering::SeqCst);
}

/// Renews it: one line of JSON with three digits for the code behind the first `"code":` of `"exit"`, and
/// [`MOMENT_MICROS`] for each time that is the end. What is too long is not taken.
pub fn renew(line: &[u8]) {
    if line.len() >= LONGEST {
        return;
    }
    let next = usize::from(CURRENT.load(Ordering::SeqCst) == 0);
    for (place, byte) in TEXT[next].iter().zip(line) {
        place.store(*byte, Ordering::Relaxed);
    }
    LENGTH[next].store(line.len(), Ordering::Relaxed);
    CURRENT.store(next, Ordering::SeqCst);
}

/// It is over: nobody is to write it any more.
pub fn revoke() {
    CURRENT.store(2, Ordering::SeqCst);
}

/// For the handler: begins to write it, if there is one, in a child, since a file system may hang. The
/// child, which has to be waited for.
pub(super) fn execute(code: u8) -> Option<Pid> {
    let text = TEXT.get(CURRENT.load(Ordering::SeqCst))?;
    let length = LENGTH.get(CURRENT.load(Ordering::SeqCst))?.load(Ordering::SeqCst);
    let file = FILE.load(Ordering::SeqCst);
    // SAFETY: without a stack of its own the child goes on with a copy of ours; without an exit signal
    // its end wakes nobody. A raw system call, because the C library's fork is not async-signal-safe.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0usize, 0usize, 0usize, 0usize, 0usize) };
    if pid == 0 {
        let mut line = [b' '; LONGEST];
        for (to, from) in line.iter_mut().zip(text).take(length) {
            *to = from.load(Ordering::Relaxed);
        }
        let now = clock::now().0.saturating_sub(BEGAN.load(Ordering::SeqCst)) / 1_000_000;
        fill_in(&mut line, length, code, now);
        process::exit(u8::from(!write(file, &line, length)));
    }
    (pid > 0).then_some(Pid(pid as i32))
}

/// Whether the child has ended.
pub(super) fn is_executed(child: Pid) -> bool {
    reap::reap_aside(child).is_some()
}

/// It takes too long.
pub(super) fn give_up(child: Pid) {
    let _ = signals::send(child, Signal::KILL);
}

/// Puts in what is only known now, and the end of the line. No length changes, so numbers are padded
/// with spaces, which JSON allows.
fn fill_in(line: &mut [u8; LONGEST], length: usize, code: u8, millis: u64) {
    let mut code_is_due = true;
    let mut at = 0;
    while at < length {
        let rest = &mut line[at..length];
        if rest.starts_with(MOMENT) {
            number(&mut rest[..MOMENT.len() - 4], millis / 1000);
            fraction(&mut rest[MOMENT.len() - 3..MOMENT.len()], millis % 1000);
        }
        if code_is_due && rest.starts_with(CODE) && rest.len() >= CODE.len() + 3 {
            number(&mut rest[CODE.len()..CODE.len() + 3], u64::from(code));
            code_is_due = false;
        }
        at += 1;
    }
    line[length] = b'\n';
}

/// Right-aligned.
fn number(place: &mut [u8], mut value: u64) {
    place.fill(b' ');
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return;
        }
    }
}

fn fraction(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// A file in one piece, over all that was there, and then cut to its length: a reader sees one whole line
/// of JSON at any moment, with spaces behind it at most.
fn write(file: i32, line: &[u8; LONGEST], length: usize) -> bool {
    let whole = length + 1;
    if IS_FILE.load(Ordering::SeqCst) != 0 {
        // SAFETY: the buffer is live and its length is what is passed on.
        let written = unsafe { libc::pwrite(file, line.as_ptr().cast(), line.len(), 0) };
        // SAFETY: plain numbers.
        written == LONGEST as isize && unsafe { libc::ftruncate(file, whole as i64) } == 0
    } else {
        // SAFETY: the buffer is live and `whole` is not longer.
        let written = unsafe { libc::write(file, line.as_ptr().cast(), whole) };
        written == whole as isize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(line: &[u8], code: u8, millis: u64) -> String {
        let mut whole = [b' '; LONGEST];
        whole[..line.len()].copy_from_slice(line);
        fill_in(&mut whole, line.len(), code, millis);
        assert!(whole[line.len() + 1..].iter().all(|byte| *byte == b' '));
        String::from_utf8_lossy(&whole[..=line.len()]).into_owned()
    }

    #[test]
    fn what_is_known_only_at_the_end_is_filled_in() {
        let line =
            br#"{"exit":{"at":99999999.999,"code":255},"app":{"code":255},"age":99999999.999}"#;
        let text = filled(line, 7, 17_052);
        let expected = "{\"exit\":{\"at\":      17.052,\"code\":  7},\"app\":{\"code\":255},\"age\":      17.052}\n";
        assert_eq!(text, expected);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["exit"]["code"], 7);
        assert_eq!(value["age"], 17.052);
        assert!(filled(line, 137, 0).contains("0.000,\"code\":137}"));
        assert_eq!(filled(b"", 1, 1), "\n");
        assert_eq!(filled(b"{\"code\":", 1, 1), "{\"code\":\n");
    }
}
