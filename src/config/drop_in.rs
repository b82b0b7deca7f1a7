//! The defaults that go with another program's name (see [`crate::persona`]).

use std::time::Duration;

use super::found::Found;
use super::parse;
use super::reader::{self, Reader};
use super::source::Source;
use crate::cli::persona::Persona;
use crate::cli::{Group, OPTIONS};
use crate::machine::budget::ENDLESS;
use crate::machine::plan::Plan;
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

    /// What needs a deadline, where there is none.
    #[cold]
    pub(super) fn times_without_end(&mut self) {
        let name = self.persona().name();
        for (option, lacks) in [
            ("grace-max", "there is none that could be moved"),
            ("diagnose", "it is sent before SIGKILL"),
        ] {
            let written = |found: &&Found| !matches!(found.source, Source::Profile(_));
            let Some(found) = self.asked(option).filter(written).cloned() else { continue };
            let why = format!("{lacks}, as {name} has no deadline; set GRACEINIT_GRACE too");
            self.wrong(option, &found, why);
        }
    }

    /// A stop that does more than pass a signal on should end before the container is killed.
    #[cold]
    pub(super) fn warn_of_no_deadline(&mut self, plan: &Plan) {
        let lasts = !plan.hooks.pre_stop.is_empty() || !plan.hooks.on_stop.is_empty();
        if plan.grace == ENDLESS && (lasts || plan.drain.is_some() || plan.ladder.len() > 1) {
            let name = self.persona().name();
            self.warnings.push(format!(
                "this stop has no deadline, as {name} has none: set GRACEINIT_GRACE (docker stop and podman \
                 stop kill after 10 s, which 7s fits; Kubernetes after terminationGracePeriodSeconds)"
            ));
        }
    }

    /// dumb-init gives the app a session of its own, unless it is to signal that child alone.
    pub(super) fn session(&self) -> bool {
        let single = self.given.options.iter().any(|(name, _)| *name == "c");
        let no_session = self.says("scope").is_some();
        self.persona() == Persona::DumbInit && !single && !no_session
    }
}
