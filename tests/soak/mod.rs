//! Does graceinit last? Random lives at full speed, and one long life in which memory and descriptors of PID 1 stay as
//! they are. The same code makes the short tests here and `cargo bench --bench soak -- SECONDS`.

#![allow(clippy::expect_used)]
#![allow(dead_code, reason = "the tests and the long form take different parts of it")]

pub(crate) mod clients;
pub(crate) mod lives;
pub(crate) mod long;

#[cfg(test)]
mod short;
