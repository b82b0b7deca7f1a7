//! The promises of graceinit, checked from outside on the real program, as PID 1 of a pid namespace
//! and as a plain process; and where other inits promise the same, on those too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod around;
mod blocking;
mod builtins;
mod check;
mod conflicts;
mod copy;
mod drain;
mod early;
mod endless;
mod exit;
mod faults;
mod foreign_text;
mod given;
mod group;
mod hang;
mod hidden;
mod hook_env;
mod hooks;
mod leftovers;
mod links;
mod logging;
mod mistakes;
mod notify;
mod observer;
mod options;
mod order;
mod peers;
mod place;
pub(crate) mod plans;
mod ready;
mod reap;
mod refused;
mod rights;
mod scarce;
mod signals;
mod start;
mod still;
mod stop;
mod tools;
mod usage;
mod user;
