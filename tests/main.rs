//! All integration tests, one binary: one line per module.

mod machine;
