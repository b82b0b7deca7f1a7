//! All integration tests, one binary: one line per module.
#![allow(
    clippy::disallowed_methods,
    reason = "tests measure times and wait for the processes that they start; `walls` finds what sleeps"
)]

mod account;
mod blackbox;
mod docker;
mod drain_rules;
mod dropin;
mod faults;
mod first;
mod footprint;
mod k8s;
mod machine;
mod packaging;
mod platforms;
mod proctree;
mod pty;
mod rehearse;
mod rollout;
mod servers;
mod shapes;
mod soak;
mod sockets;
mod support;
mod walls;
