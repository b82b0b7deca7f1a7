//! The account: log, metrics, report and page say the same, and cost nothing where nobody reads them.

pub(crate) mod agree;
mod files;
mod hang;
mod logging;
mod memory;
mod metrics;
mod observer;
mod off;
mod page;
mod probe;
mod prometheus;
mod report;
mod tally;
