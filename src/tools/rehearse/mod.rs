//! A load at a constant rate, and the account of what became of each request. The rollout benchmark (tests/rollout) uses
//! both too.

pub mod answer;
pub mod load;
pub mod tally;
