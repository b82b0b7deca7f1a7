//! The phase machine, explored.
