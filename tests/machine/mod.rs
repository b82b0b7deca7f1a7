//! The phase machine, explored: every order of events in small configurations, many orders in large
//! ones, and proof that a bug would be seen.
//!
//! `world` plays the kernel and the supervisor. `ledger` holds the machine to what `promises` lists, with
//! `batch`, `signals`, `hooks`, `stopping`, `sleep` and `exits`; `life` ties the three together. `setups`,
//! `serving` and `standin` have the configurations that `explore` walks through; `random` makes up others; `stories` tells of
//! what has no room in either; `drained` has the rule of the drain alone; `planted` breaks the machine on
//! purpose (`sabotage`, `mischief`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batch;
mod drain;
mod drained;
mod exits;
mod explore;
mod hooks;
mod ledger;
pub(crate) mod life;
mod mischief;
mod planted;
mod promises;
mod random;
mod ready;
mod sabotage;
mod serving;
mod setups;
mod signals;
mod sleep;
mod standin;
mod stopping;
mod stories;
mod who;
mod world;
