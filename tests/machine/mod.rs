//! Tests of the phase machine. Begin with `stories`: ten lives that read like a specification.
//!
//! The rest explores every order of events in small configurations and many orders in large ones, and proves
//! that a bug would be found:
//!
//! - `world` plays the kernel and the loop; `choice` lists everything that may happen there. `setups`,
//!   `serving` and `standin` have small configurations.
//! - `ledger` holds the machine to what `promises` lists, with `batch`, `signals`, `hooks`, `ready`, `drain`,
//!   `stopping`, `sleep` and `exits`. It computes anew, from the events alone, what the machine has to do.
//! - `life` ties machine, world and ledger together. `explore` walks through all states of the small
//!   configurations, `random` through long lives of random ones.
//! - `planted` breaks the machine on purpose (`bug`, `sabotage`, `mischief`); each bug must break its promise.
//! - `drained` and `held` test one rule each, `told` what the loop asks the machine between two events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stories;

mod batch;
mod bug;
mod choice;
mod drain;
mod drained;
mod edges;
mod exits;
mod explore;
mod held;
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
mod story;
mod told;
mod who;
mod world;
