//! graceinit as a library of rooms; the program in `main.rs` is the only one who uses it.
//!
//! Dependencies point one way: `main → cli → config`; `main → supervisor → {machine, perform, reaper,
//! sys, observe}`; `perform → {table, outputs, hookenv, sight, observer, notify, sys, observe}`;
//! `sight → {machine::drain, sys}`; `observer → sys`; `observe → machine::fact`. `types`, `exit` and
//! `notify` are vocabulary that every room may use; `machine` uses nothing but the first two.

pub mod builtin;
pub mod check;
pub mod cli;
pub mod config;
pub mod errand;
pub mod exit;
pub mod hookenv;
pub mod machine;
pub mod notify;
pub mod observe;
pub mod observer;
pub mod outputs;
pub mod pause;
pub mod perform;
pub mod persona;
pub mod probe;
pub mod reaper;
pub mod render;
pub mod sight;
pub mod supervisor;
pub mod survey;
pub mod sys;
pub mod table;
pub mod types;
pub mod user;
pub mod watch;
