//! The processes of hooks: their environment, their output, and the built-in actions.

pub mod builtin;
pub mod environment;
pub mod output;
