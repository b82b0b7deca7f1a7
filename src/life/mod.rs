//! The supervisor: the main loop, what performs the machine's actions, and the children.

pub mod background_write;
pub mod children;
pub mod effects;
pub mod files;
pub mod hooks;
pub mod main_loop;
pub mod reaper;
pub mod survivors;
