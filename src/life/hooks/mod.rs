//! The processes of hooks and probes: their environment, their output, and the built-in actions.

pub mod attempts;
pub mod builtin;
pub mod environment;
pub mod output;
