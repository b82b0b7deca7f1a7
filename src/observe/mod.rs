//! Renders facts; decides nothing.

pub mod live;
pub mod log;
pub mod timeline;
