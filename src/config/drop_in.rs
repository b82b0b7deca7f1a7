//! The defaults that another program's name brings (see [`crate::cli::persona`]).

use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::source::{Found, Source};
use crate::cli::persona::Persona;
use crate::cli::{Group, OPTIONS, OptionId};
use crate::machine::budget::ENDLESS;
use crate::machine::plan::Plan;
use crate::types::Signal;

/// Options that the replaced programs have too, that concern the log only, or that only choose defaults: they ask for
/// nothing that an init that forwards signals does not do.
const PLAIN: [OptionId; 6] = [
    OptionId::Platform,
    OptionId::Scope,
    OptionId::Rewrite,
    OptionId::Verbosity,
    OptionId::LogLevel,
    OptionId::LogFormat,
];

/// Whether graceinit replaces another program and no setting asks for more than that program does. Then graceinit
/// behaves like it: every signal is forwarded, TERM and INT too, each time it arrives, and there is no stop in phases.
pub(super) fn is_plain(reader: &Reader<'_>) -> bool {
    if reader.persona() == Persona::Graceinit {
        return false;
    }
    let more = |group| match group {
        Group::Stop | Group::Hooks | Group::Ready | Group::Drain | Group::Watch => true,
        Group::Process | Group::Tools | Group::Rehearsal => false,
    };
    let mut others = OPTIONS.iter().filter(|opt| more(opt.group) && !PLAIN.contains(&opt.id));
    reader.lookup.contents.hooks.is_empty() && !others.any(|opt| reader.lookup.is_set(opt.id))
}

/// `--grace`. Under the name of another program there is no deadline unless one was set.
pub(super) fn grace(reader: &mut Reader<'_>) -> Duration {
    if reader.persona() != Persona::Graceinit && !reader.lookup.is_set(OptionId::Grace) {
        reader.record_default(OptionId::Grace, "none", reader.persona().reason());
        return ENDLESS;
    }
    reader.one(OptionId::Grace, parse::duration).unwrap_or_default()
}

/// The time for leftovers where there is no deadline: graceinit's default. After the app has exited by itself, leftovers
/// must not keep the container running for ever.
pub(super) fn leftovers(reader: &Reader<'_>) -> Duration {
    reader.lookup.contract.grace()
}

/// `--stop-on`; a plain init begins no stop.
pub(super) fn stop_on(reader: &mut Reader<'_>, is_plain: bool) -> Vec<Signal> {
    if is_plain {
        reader.record_default(OptionId::StopOn, "none", reader.persona().reason());
        return Vec::new();
    }
    reader.one(OptionId::StopOn, parse::stop_signals).unwrap_or_default()
}

/// The signals by which only the platform asks for a stop: no app has a handler for them, and without one they end it.
pub(super) fn stops_of_platform(reader: &Reader<'_>) -> impl Iterator<Item = Signal> + use<> {
    reader.lookup.contract.platform.stops.split(',').filter_map(Signal::parse)
}

/// Refuses options that need a deadline where there is none.
#[cold]
pub(super) fn times_without_end(reader: &mut Reader<'_>) {
    let name = reader.persona().name();
    for (id, lacks) in [
        (OptionId::GraceMax, "it moves the deadline"),
        (OptionId::Diagnose, "it is sent before the deadline"),
    ] {
        let written = |found: &&Found| !matches!(found.source, Source::Profile(_));
        let Some(found) = reader.asked(id).filter(written).cloned() else { continue };
        let why = format!("{lacks}, and {name} has none; set GRACEINIT_GRACE too");
        reader.wrong(id, &found, why);
    }
}

/// A stop that does more than forward a signal must end before the container is killed.
#[cold]
pub(super) fn warn_of_no_deadline(reader: &mut Reader<'_>, plan: &Plan) {
    let lasts = !plan.hooks.pre_stop.is_empty() || !plan.hooks.on_stop.is_empty();
    if plan.grace == ENDLESS && (lasts || plan.drain.is_some() || plan.ladder.len() > 1) {
        let name = reader.persona().name();
        reader.warnings.push(format!(
            "this stop has no deadline, as {name} has none: set GRACEINIT_GRACE (docker stop and podman \
             stop kill after 10 s, so 7s fits; Kubernetes after terminationGracePeriodSeconds)"
        ));
    }
}

/// dumb-init gives the app a session of its own, except where it signals the child alone.
pub(super) fn session(reader: &Reader<'_>) -> bool {
    let is_single = reader.lookup.given.has(OptionId::ScopeMain);
    let no_session = reader.lookup.replaced_programs_value(OptionId::Scope).is_some();
    reader.persona() == Persona::DumbInit && !is_single && !no_session
}
