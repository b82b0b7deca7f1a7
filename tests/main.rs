//! All integration tests, one binary: one line per module.

mod account;
mod blackbox;
mod docker;
mod drain_rules;
mod dropin;
mod first;
mod footprint;
mod k8s;
mod machine;
mod packaging;
mod pty;
mod rollout;
mod servers;
mod sight;
mod support;
mod walls;
