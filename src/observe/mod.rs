//! Renders facts; decides nothing.

pub mod log;
