//! How programs are started: the child up to execve, and the early start of the app. (The entry point of the program is
//! in `entry.rs`, which `main.rs` includes.)

mod child;
#[cfg(feature = "early-start")]
pub mod early;
pub mod setup;
pub mod spawn;
mod text;

use super::signals::{Mask, Source};
use crate::types::Pid;

/// What graceinit was started with, read by its first instructions.
#[derive(Debug)]
pub struct Inherited {
    /// The signal mask. Since then every signal is blocked.
    pub mask: Mask,
    /// The parent.
    pub parent: Pid,
    /// The app, if it was started early. Then there is no option, no variable and no terminal to consider.
    pub early: Option<EarlyApp>,
}

/// An app that was started before the C library.
#[derive(Debug)]
pub struct EarlyApp {
    /// The app's child.
    pub child: spawn::Child,
    /// The signalfd, which was opened before the app was started.
    pub source: Source,
}
