//! Everything that is no life of an app: `--check`, `--rehearse`, `--probe`, `--render` and `-P`.

pub mod check;
pub mod pause;
mod plan_drawing;
pub mod probe;
pub mod rehearse;
pub mod render;
