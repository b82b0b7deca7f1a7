//! graceinit as a library of rooms; the program in `main.rs` is the only one who uses it.

pub mod machine;
pub mod types;
