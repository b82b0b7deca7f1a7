//! Makes every system call of PID 1 fail, in four lives: `cargo bench --bench faults`, as root. Results are kept in
//! target/faults, so that a run that was interrupted goes on where it was. At the end the table of docs/reliability.md is
//! written; ends with 1 if a promise was broken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a program of its own, which measures times")]
#![allow(missing_docs)]
#![allow(unused_imports, reason = "the box has tools that only the tests take")]

#[path = "mod.rs"]
mod faults;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    faults::long::main()
}

/// The tracer knows the registers of x86-64 alone.
#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    eprintln!("faults: x86-64 only");
    ExitCode::FAILURE
}
