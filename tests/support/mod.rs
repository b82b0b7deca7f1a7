//! What the black-box tests are built from: programs to run, rooms to run them in, an account to read
//! with a deadline, /proc to look at. Nothing here sleeps to wait for something: a test reads a line,
//! holds a FIFO or polls /proc with a bound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, dead_code, reason = "a tool box: not every test takes every tool")]

pub mod account;
pub mod alias;
pub mod client;
pub mod dice;
pub mod files;
pub mod init;
pub mod need;
pub mod port;
pub mod proc;
pub mod signals;
pub mod sys;
#[cfg(target_arch = "x86_64")]
pub mod trace;

use std::fmt;
use std::time::Duration;

pub use account::Line;
pub use alias::alias;
pub use init::{Launch, Program, Room, Run, Status};

/// How long a test waits for what must happen: generous, because the machine may be busy. A build for an emulated
/// machine (tests/kernels) says so.
pub const PATIENCE: Duration =
    Duration::from_secs(if option_env!("GRACEINIT_TEST_SLOW").is_some() { 120 } else { 10 });

/// What a test (or a case tried with a peer) ends with.
pub type Outcome<T = ()> = Result<T, Fault>;

/// Why a case failed, with the accounts of the programs it had running.
pub struct Fault(String);

impl Fault {
    /// The reason, and below it what the runs of this thread said until now.
    pub fn new(reason: impl fmt::Display) -> Fault {
        Fault(format!("{reason}\n{}", account::transcripts()))
    }

    /// The reason alone: its first line.
    pub fn reason(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }
}

/// libtest prints the error of a test with `Debug`: this one is for people.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Fault {
        Fault::new(error)
    }
}

/// Ends the case with a fault unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        // No `!`: on comparisons of floats clippy takes that for a mistake.
        match $condition {
            true => {}
            false => return Err($crate::support::Fault::new(format!($($reason)+))),
        }
    };
}

/// Ends the case with a fault unless both are equal; says both.
#[macro_export]
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($reason:tt)+) => {
        match (&$left, &$right) {
            (left, right) if left != right => {
                let reason = format!($($reason)+);
                return Err($crate::support::Fault::new(format!(
                    "{reason}: got {left:?}, expected {right:?}"
                )));
            }
            _ => {}
        }
    };
}

/// Makes two tests of each function `fn name(room: Room) -> Outcome`: graceinit as PID 1 of a pid
/// namespace and graceinit as a plain process.
#[macro_export]
macro_rules! both_rooms {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn pid_1() -> $crate::support::Outcome {
                if !$crate::support::need::pid_namespace() {
                    return Ok(());
                }
                super::$name($crate::support::Room::PidNs)
            }
            #[test]
            fn plain() -> $crate::support::Outcome {
                super::$name($crate::support::Room::Plain)
            }
        }
    )*};
}
