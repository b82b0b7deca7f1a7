//! Signal names as the tests write and read them: without SIG; 32 and 33, which no C library names,
//! are numbers.

#![allow(dead_code, reason = "shared by the puppet and the tests, each uses its part")]
#![allow(missing_docs, unreachable_pub, reason = "a test's tool: the names say it")]

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The kernel's numbers below this are standard signals, then come two that the C library keeps.
const RTMIN: i32 = 34;

pub fn name_of(number: i32) -> String {
    match number {
        1..=31 => NAMES[number as usize - 1].to_string(),
        RTMIN => "RTMIN".to_string(),
        64 => "RTMAX".to_string(),
        35..=63 => format!("RTMIN+{}", number - RTMIN),
        _ => number.to_string(),
    }
}

/// # Panics
/// When the text names no signal: the test is wrong.
pub fn number_of(text: &str) -> i32 {
    (1..=64)
        .find(|n| name_of(*n) == text)
        .or_else(|| text.parse().ok().filter(|n| (1..=64).contains(n)))
        .unwrap_or_else(|| panic!("no such signal: {text}"))
}

/// Everything that an init has to pass on: all but KILL and STOP, which no process can take, and
/// CHLD, which is the kernel's word about children.
pub fn forwardable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(n))
}
