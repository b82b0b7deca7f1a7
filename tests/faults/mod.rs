//! Every system call that PID 1 makes after the start is made to fail, with each error that its man page lists: at each
//! single call, and from a call on. Four lives; the same code makes the short tests here and the long table of
//! `cargo bench --bench faults`, which is in docs/reliability.md.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::expect_used)]
#![allow(dead_code, reason = "the tests and the long form take different parts of it")]

pub(crate) mod calls;
pub(crate) mod judge;
pub(crate) mod life;
pub(crate) mod long;
pub(crate) mod table;
pub(crate) mod work;

#[cfg(test)]
mod short;
