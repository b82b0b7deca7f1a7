//! graceinit as a library of rooms. The program in `main.rs` is its only user.
//!
//! - `cli`: the command line: the table of options, help, and the names of other inits.
//! - `config`: builds the configuration from flags, variables, file and profile, and refuses every mistake.
//! - `tools`: what is no life of an app: `--check`, `--rehearse`, `--probe`, `--render` and `-P`.
//! - `machine`: decides what happens when. Pure: no clock, no I/O, no log.
//! - `life`: the supervisor: the main loop, and what performs the machine's actions.
//! - `sockets`: samples of the connections of the drained ports.
//! - `account`: records what happens, and renders it as log, metrics, report and page.
//! - `observer`: the process that answers HTTP.
//! - `sys`: every call into the kernel, and everything unsafe.
//! - `notify`: the grammar of sd_notify(3).
//! - `reaper`: when to scan for children that no SIGCHLD has named.
//! - `http_client`: asks one URL and reads the status line.
//! - `types`: the vocabulary of all rooms.
//! - `exit`: graceinit's own exit codes.
//!
//! A room may use the rooms behind its arrow and no other (`tests/walls.rs` compares this list, docs/design.md and
//! the code):
//!
//! ```text
//! main → account, cli, config, exit, life, sys, tools, types
//! tools → account, cli, config, http_client, machine, reaper, sys, types
//! life → account, cli, config, exit, http_client, machine, notify, observer, reaper, sockets, sys, types
//! config → account, cli, machine, sys, types
//! cli → exit, sys, types
//! sockets → machine, sys, types
//! observer → account, sys, types
//! account → machine, sys, types
//! machine → exit, types
//! reaper → sys, types
//! sys → notify, types
//! http_client → types
//! notify → types
//! ```

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
