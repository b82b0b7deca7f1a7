//! graceinit as a library of rooms; the program in `main.rs` is the only one who uses it.
//!
//! Dependencies point one way: `main → cli → config`; `main → supervisor → {machine, table, sys,
//! observe}`; `observe → machine::fact`. `types` and `exit` are vocabulary that every room may use.

pub mod cli;
pub mod config;
pub mod exit;
pub mod machine;
pub mod sys;
pub mod types;
pub mod user;
