//! graceinit as a library of rooms; the program in `main.rs` is the only one who uses it.
//!
//! Dependencies point one way: `main → cli → config`; `main → supervisor → {machine, perform, reaper,
//! sys, observe}`; `perform → {table, outputs, hookenv, sight, observer, notify, sys, observe}`;
//! `sight → {machine::drain, sys}`; `observer → sys`; `observe → machine::fact`. `types`, `exit` and
//! `notify` are vocabulary that every room may use; `machine` uses nothing but the first two.

pub mod account;
pub mod cli;
pub mod config;
pub mod exit;
pub mod http_client;
pub mod life;
pub mod machine;
pub mod notify;
pub mod observer;
pub mod reaper;
pub mod sockets;
pub mod sys;
pub mod tools;
pub mod types;
