//! The defaults that go with another program's name (see [`crate::persona`]).

use std::time::Duration;

use super::parse;
use super::reader::{self, Reader};
use crate::cli::{Group, OPTIONS};
use crate::machine::budget::ENDLESS;
use crate::persona::Persona;
use crate::types::Signal;

/// Options that the originals have too, and what only the log is concerned with: they ask for no more than
/// an init that passes signals on.
const NO_MORE: [&str; 5] = ["scope", "rewrite", "v", "log-level", "log-format"];

impl Reader<'_> {
    pub(super) fn persona(&self) -> Persona {
        self.place.persona
    }

    /// Whether graceinit stands in for another program and nothing was asked for that it does not do.
    /// Then it does what that one does: every signal is passed on, TERM and INT like all others and as
    /// often as they come, and nothing of a stop in phases happens.
    pub(super) fn is_plain(&self) -> bool {
        if self.persona() == Persona::Graceinit {
            return false;
        }
        let more = |group| match group {
            Group::Stop | Group::Hooks | Group::Ready | Group::Drain | Group::Watch => true,
            Group::Process | Group::Tools => false,
        };
        let mut asks = OPTIONS.iter().filter(|opt| more(opt.group) && !NO_MORE.contains(&opt.name));
        self.contents.hooks.is_empty() && !asks.any(|opt| self.asks_for(opt.name))
    }

    /// `--grace`; the others have no deadline unless one was asked for.
    pub(super) fn grace(&mut self) -> Duration {
        if self.persona() != Persona::Graceinit && !self.asks_for("grace") {
            self.note("grace", "none", self.persona().why());
            return ENDLESS;
        }
        self.one("grace", parse::duration).unwrap_or_default()
    }

    /// What leftovers get where there is no deadline: as long as graceinit gives by default. An app that has
    /// gone by itself must not leave a container that never ends.
    pub(super) fn leftovers(&self) -> Duration {
        let usual = reader::default("grace", self.place);
        usual.and_then(|(text, _)| parse::duration(text).ok()).unwrap_or_default()
    }

    pub(super) fn stop_on(&mut self, plain: bool) -> Vec<Signal> {
        if plain {
            self.note("stop-on", "none", self.persona().why());
            return Vec::new();
        }
        self.one("stop-on", parse::stop_signals).unwrap_or_default()
    }

    /// dumb-init gives the app a session of its own, unless it is to signal that child alone.
    pub(super) fn session(&self) -> bool {
        let single = self.given.options.iter().any(|(name, _)| *name == "c");
        let no_session = self.says("scope").is_some();
        self.persona() == Persona::DumbInit && !single && !no_session
    }
}
