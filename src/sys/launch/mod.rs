//! How programs are started: the program's own entry point, the app's early start, and the child up to execve.

pub mod child;
pub mod early;
pub mod spawn;
