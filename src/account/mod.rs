//! Renders facts; decides nothing.

pub mod account;
mod fold;
pub mod incident;
pub mod journal;
mod json;
pub mod line;
pub mod live;
pub mod log;
pub mod metrics;
pub mod names;
pub mod page;
pub mod report;
pub mod summary;
pub mod timeline;

pub use json::set_trace;
