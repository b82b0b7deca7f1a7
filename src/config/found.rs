//! A value as it was found, before anybody knows whether it means anything.

use std::ffi::OsString;
use std::ops::Range;

use super::source::Source;

/// One value of an option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) source: Source,
    /// In the notation of the command line.
    pub(super) value: OsString,
    /// Its place, if it came from the file.
    pub(super) at: Option<At>,
}

/// A place in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct At {
    /// The key that it belongs to.
    pub(super) key: String,
    /// Its bytes.
    pub(super) span: Range<usize>,
}

impl Found {
    pub(super) fn new(source: Source, value: impl Into<OsString>) -> Found {
        Found { source, value: value.into(), at: None }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        self.value.to_string_lossy().into_owned()
    }

    /// The value with its source, to be named in a sentence about another one.
    pub(super) fn told(&self, option: &str) -> String {
        let text = self.text();
        match &self.source {
            Source::Flag(_) => format!("{} {text}", self.source),
            Source::Variable(name) => format!("{name}={text}"),
            Source::File(..) => format!("{option} {text} at {}", self.source),
            Source::Profile(name) => format!("{option} {text} of the profile {name}"),
            Source::Default(_) => format!("{option} {text}, {}", self.source),
        }
    }
}
