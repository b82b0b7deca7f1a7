//! The phase machine, explored: every order of events in small configurations, many orders in large
//! ones, and proof that a bug would be seen.
//!
//! `world` plays the kernel and the supervisor. `ledger` holds the machine to what `promises` lists, with
//! `batch`, `signals`, `hooks`, `stopping`, `sleep` and `exits`; `life` ties the three together. `setups`
//! has the configurations that `explore` walks through; `random` makes up others; `stories` tells of
//! what has no room in either; `planted` breaks the machine on purpose (`sabotage`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batch;
mod exits;
mod explore;
mod hooks;
mod ledger;
mod life;
mod planted;
mod promises;
mod random;
mod sabotage;
mod setups;
mod signals;
mod sleep;
mod stopping;
mod stories;
mod world;
