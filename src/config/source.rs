//! A value as it was found, and the source that it was found in.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::cli::OptionId;

/// The source of one value. A source further up counts more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The command line, by this option.
    Flag(OptionId),
    /// The environment, by this variable.
    Variable(&'static str),
    /// The file: path, line and column (from 1).
    File(Arc<str>, usize, usize),
    /// `--profile`, by this name.
    Profile(&'static str),
    /// The default; the text says why the default is what it is, if that depends on anything.
    Default(&'static str),
    /// The default on this platform; the text says which and why.
    Platform(Box<str>),
    /// The platform, found by this marker.
    Marker(&'static str),
}

impl Source {
    /// Whether no setting has the value.
    pub fn is_default(&self) -> bool {
        match self {
            Source::Default(_) | Source::Platform(_) | Source::Marker(_) => true,
            Source::Flag(_) | Source::Variable(_) | Source::File(..) | Source::Profile(_) => false,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(id) if id.name().len() == 1 => write!(f, "-{id}"),
            Source::Flag(id) => write!(f, "--{id}"),
            Source::Variable(name) => f.write_str(name),
            Source::File(path, line, column) => write!(f, "{path}:{line}:{column}"),
            Source::Profile(name) => write!(f, "profile {name}"),
            Source::Default("") => f.write_str("default"),
            Source::Default(reason) => write!(f, "default {reason}"),
            Source::Platform(reason) => write!(f, "default {reason}"),
            Source::Marker(name) => write!(f, "found by {name}"),
        }
    }
}

/// One value of an option, not read yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) source: Source,
    /// In the notation of the command line.
    pub(super) value: OsString,
    /// The place in the file, for a value of the file.
    pub(super) at: Option<At>,
}

/// A place in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct At {
    /// The key of the value.
    pub(super) key: String,
    /// The bytes of the value.
    pub(super) span: Range<usize>,
}

impl Found {
    pub(super) fn new(source: Source, value: impl Into<OsString>) -> Found {
        Found { source, value: value.into(), at: None }
    }

    /// The value as text, for messages.
    pub(super) fn text(&self) -> String {
        self.value.to_string_lossy().into_owned()
    }

    /// The value with its source, for a message about another value.
    pub(super) fn with_source(&self, option: OptionId) -> String {
        let text = self.text();
        match &self.source {
            Source::Flag(_) => format!("{} {text}", self.source),
            Source::Variable(name) => format!("{name}={text}"),
            Source::File(..) => format!("{option} {text} at {}", self.source),
            Source::Profile(name) => format!("{option} {text} of the profile {name}"),
            Source::Default(_) | Source::Platform(_) | Source::Marker(_) => {
                format!("{option} {text}, {}", self.source)
            }
        }
    }
}
