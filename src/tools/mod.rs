//! Everything that starts no app: `--check`, `--probe`, `--render` and `-P`.

pub mod check;
pub mod pause;
pub mod probe;
pub mod render;
