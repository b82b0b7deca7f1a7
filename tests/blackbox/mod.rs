//! The promises of graceinit, checked from outside on the real program, as PID 1 of a pid namespace
//! and as a plain process; and where other inits promise the same, on those too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod exit;
mod given;
mod leftovers;
mod peers;
mod reap;
mod signals;
mod start;
mod usage;
