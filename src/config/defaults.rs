//! The defaults of options, as texts in the notation of the command line.

use super::Place;
use crate::cli::OptionId;
use crate::cli::persona::Persona;

/// The default of an option, and why the default is what it is where that depends on the place or the name.
pub(super) fn default(id: OptionId, place: Place) -> Option<(&'static str, &'static str)> {
    let reason = match place {
        Place { kubernetes: true, .. } => "in Kubernetes",
        Place { container: true, .. } => "in Docker or Podman",
        Place { .. } => "outside containers",
    };
    // Docker and Podman kill PID 1 ten seconds after `stop`: 7 s and a reserve of 2 s fit.
    let short = place.container && !place.kubernetes;
    let replaces = place.persona != Persona::Graceinit;
    match id {
        OptionId::Grace => Some((if short { "7s" } else { "15s" }, reason)),
        OptionId::PostStopTimeout => Some((if short { "2s" } else { "5s" }, reason)),
        // The replaced programs are quiet everywhere unless something is wrong.
        OptionId::LogLevel if replaces => Some(("warn", place.persona.reason())),
        OptionId::LogLevel => Some((if place.kubernetes { "info" } else { "warn" }, reason)),
        OptionId::LogFormat => Some(match place {
            Place { kubernetes: true, terminal: false, .. } => ("json", "in Kubernetes"),
            Place { .. } => ("text", ""),
        }),
        OptionId::StopOn => Some(("TERM,INT", "")),
        OptionId::ReloadOn => Some(("HUP", "")),
        OptionId::Scope => Some((place.persona.scope(), place.persona.reason())),
        OptionId::HookTimeout => Some(("5s", "")),
        OptionId::HookBackoff => Some(("200ms", "")),
        _ => None,
    }
}

/// How a default that is not a single value is described.
pub(super) fn description(id: OptionId) -> Option<(&'static str, &'static str)> {
    match id {
        OptionId::GraceMax => Some(("as --grace", "")),
        OptionId::StopSignal => Some(("as received", "")),
        OptionId::StopAgain => Some(("ignore", "(kill for a Ctrl-C typed at the terminal)")),
        OptionId::GraceExit => Some(("137", "")),
        OptionId::Ready => Some(("started", "")),
        OptionId::Drain => Some(("off", "")),
        OptionId::HookRetries => Some(("0", "(3 for on-stop)")),
        _ => None,
    }
}
