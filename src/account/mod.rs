//! Renders facts: the account of a life, and from it log lines, metrics, report and page. Decides nothing.

#[allow(clippy::module_inception, reason = "the room is named after the document in it")]
pub mod document;
mod fold;
pub mod incident;
pub mod journal;
mod json;
pub mod line;
pub mod live;
pub mod log;
pub mod metrics;
pub mod page;
pub mod plan_names;
pub mod report;
pub mod summary;
pub mod text;
pub mod time;
pub mod timeline;
pub mod value;
pub mod waiting;

pub use json::set_trace;
