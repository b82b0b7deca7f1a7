//! The account: log, metrics, report and page say the same, and cost nothing where nobody reads them.

pub(crate) mod agree;
mod files;
mod memory;
mod observer;
mod off;
mod probe;
mod report;
mod tally;
