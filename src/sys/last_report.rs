//! The last report: if graceinit itself is stuck, the handler of the dead-man timer writes a report that was prepared
//! in static memory. All that the handler calls is async-signal-safe.
//!
//! There are two buffers, which are filled in turn: the handler may run at any moment, and reads the one that is not
//! being filled. The handler does not return, so no buffer is filled while it reads.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::{clock, process, reap, signals};
use crate::types::{Pid, Signal, Time};

/// The length of the longest report, its end of line included.
pub const LONGEST: usize = 4096;
/// A time that stands for the moment of the exit, which is known only then. Rendered in seconds it is [`MOMENT`].
pub const MOMENT_MICROS: u64 = 99_999_999_999_000;
const MOMENT: &[u8] = b"99999999.999";
/// The text before the exit code.
const CODE: &[u8] = b"\"code\":";

static TEXT: [[AtomicU8; LONGEST]; 2] = [
    const { [const { AtomicU8::new(0) }; LONGEST] },
    const { [const { AtomicU8::new(0) }; LONGEST] },
];
static LENGTH: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
/// The buffer that counts; 2: none.
static CURRENT: AtomicUsize = AtomicUsize::new(2);
static FILE: AtomicI32 = AtomicI32::new(-1);
/// 1: the file is written from its beginning; 0: it is a stream.
static IS_FILE: AtomicU8 = AtomicU8::new(0);
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// Sets the file that the report is written to, which stays open for the rest of the life, and the time when the life
/// began.
pub fn keep(file: BorrowedFd<'_>, is_file: bool, began: Time) {
    FILE.store(file.as_raw_fd(), Ordering::SeqCst);
    IS_FILE.store(is_file.into(), Ordering::SeqCst);
    BEGAN.store(began.0, Ordering::SeqCst);
}

/// Replaces the report by this line of JSON. The first `"code":` has to be that of the exit, with three digits, and
/// each time that is the moment of the exit has to be [`MOMENT_MICROS`]. A line that is too long is ignored.
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

/// Drops the report: the handler writes nothing.
pub fn revoke() {
    CURRENT.store(2, Ordering::SeqCst);
}

/// How the report is written.
pub(super) enum Writer {
    /// There is no report.
    None,
    /// By this child, which has to be waited for: a file system may hang.
    Child(Pid),
    /// No child could be made: by [`write_here`].
    Here,
}

/// Starts a child that writes the report, if there is one. Called by the handler.
pub(super) fn begin(code: u8) -> Writer {
    if CURRENT.load(Ordering::SeqCst) >= TEXT.len() {
        return Writer::None;
    }
    // SAFETY: the child calls async-signal-safe functions only.
    match unsafe { process::clone_helper(process::Descriptors::Copied) } {
        Ok(Pid(0)) => process::exit(u8::from(!write_here(code))),
        Ok(child) => Writer::Child(child),
        Err(_) => Writer::Here,
    }
}

/// Writes the report. Whether all of it was written.
pub(super) fn write_here(code: u8) -> bool {
    let current = CURRENT.load(Ordering::SeqCst);
    let (Some(text), Some(length)) = (TEXT.get(current), LENGTH.get(current)) else { return false };
    let length = length.load(Ordering::SeqCst);
    let mut line = [b' '; LONGEST];
    for (to, from) in line.iter_mut().zip(text).take(length) {
        *to = from.load(Ordering::Relaxed);
    }
    let now = clock::now().0.saturating_sub(BEGAN.load(Ordering::SeqCst)) / 1_000_000;
    fill_in(&mut line, length, code, now);
    write(FILE.load(Ordering::SeqCst), &line, length)
}

/// Whether the child has ended.
pub(super) fn is_written(child: Pid) -> bool {
    reap::reap_helper(child).is_some()
}

/// Kills the child, which takes too long.
pub(super) fn kill(child: Pid) {
    let _ = signals::send(child, Signal::KILL);
}

/// Fills in the exit code, the moment of the exit and the end of the line. No length changes: numbers are padded with
/// spaces, which JSON allows.
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

/// Writes a number with leading spaces.
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

/// Writes a number with leading zeroes.
fn fraction(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Writes the line. A file is overwritten in one piece and then cut to its length, so that at any moment a reader
/// sees one whole line of JSON, with spaces behind it at most.
fn write(file: i32, line: &[u8; LONGEST], length: usize) -> bool {
    let whole = length + 1;
    if IS_FILE.load(Ordering::SeqCst) != 0 {
        // SAFETY: the buffer is live and its length is what is passed on.
        let written = unsafe { libc::pwrite(file, line.as_ptr().cast(), line.len(), 0) };
        // SAFETY: plain numbers.
        written == LONGEST as isize && unsafe { libc::ftruncate(file, whole as libc::off_t) } == 0
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
    fn the_exit_code_and_the_moment_of_the_exit_are_filled_in() {
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
