//! Where a value was found, in the order in which sources count.

use std::fmt;
use std::sync::Arc;

/// The source of one value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The command line; the option's name.
    Flag(&'static str),
    /// The environment; the variable's name.
    Variable(&'static str),
    /// The file; its path, line and column (from 1).
    File(Arc<str>, usize, usize),
    /// `--profile`; its name.
    Profile(&'static str),
    /// Nothing was said; why the default is what it is, if that depends on anything.
    Default(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) if name.len() == 1 => write!(f, "-{name}"),
            Source::Flag(name) => write!(f, "--{name}"),
            Source::Variable(name) => f.write_str(name),
            Source::File(path, line, column) => write!(f, "{path}:{line}:{column}"),
            Source::Profile(name) => write!(f, "profile {name}"),
            Source::Default("") => f.write_str("default"),
            Source::Default(why) => write!(f, "default {why}"),
        }
    }
}
