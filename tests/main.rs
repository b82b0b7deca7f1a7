//! All integration tests, one binary: one line per module.

mod blackbox;
mod docker;
mod machine;
mod pty;
mod servers;
mod sight;
mod support;
mod walls;
