//! The supervisor. To follow one signal, read in this order:
//!
//! - `main_loop`: waits, turns what came into events, hands each event to the machine, in a fixed order;
//! - `effects`: performs the actions that the machine answers with, one total match;
//! - the rest: what one action or one event needs.
//!
//! Before the border in `start` an error is fatal. After it nothing is: the loop warns and goes on.

pub mod app;
pub mod asking;
pub mod background_write;
pub mod children;
pub mod deaths;
pub mod deputy;
pub mod drain;
pub mod effects;
pub mod exits;
pub mod files;
pub mod hooks;
pub mod kept;
pub mod leftovers;
pub mod main_loop;
pub mod notify_app;
mod panic;
mod progress;
pub mod ready_file;
pub mod reveal;
pub mod service_manager;
pub mod start;
pub mod survivors;
pub mod terminal;

pub use effects::Leave;
pub use start::run;
