//! The defaults of options, as texts in the notation of the command line.

use std::time::Duration;

use super::platform::Contract;
use super::source::{Found, Source};
use super::{Place, parse};
use crate::cli::OptionId;
use crate::cli::persona::Persona;

/// The default of an option.
pub(super) fn default(id: OptionId, place: Place, contract: Contract) -> Option<Found> {
    let persona = place.persona;
    let replaces = persona != Persona::Graceinit;
    let platform = contract.platform;
    let on = || Source::Platform(["on ", platform.name].concat().into());
    let plain = |value: &str| Found::new(Source::Default(""), value);
    let time = |time: Duration| {
        Found::new(Source::Platform(contract.reason().into()), parse::written(time))
    };
    Some(match id {
        OptionId::Grace => time(contract.grace()),
        OptionId::PostStopTimeout => time(contract.post_stop()),
        // The replaced programs are quiet everywhere unless something is wrong.
        OptionId::LogLevel if replaces => Found::new(Source::Default(persona.reason()), "warn"),
        OptionId::LogLevel if platform.logs_json => Found::new(on(), "info"),
        OptionId::LogLevel => plain("warn"),
        OptionId::LogFormat if platform.logs_json && !place.terminal => Found::new(on(), "json"),
        OptionId::LogFormat => plain("text"),
        OptionId::StopOn if platform.stops.is_empty() => plain(STOP_ON),
        OptionId::StopOn => Found::new(on(), [STOP_ON, ",", platform.stops].concat()),
        OptionId::ReloadOn => plain("HUP"),
        OptionId::Scope => Found::new(Source::Default(persona.reason()), persona.scope()),
        OptionId::HookTimeout => plain("5s"),
        OptionId::HookBackoff => plain("200ms"),
        _ => return None,
    })
}

/// The signals that begin a stop on every platform.
const STOP_ON: &str = "TERM,INT";

/// How a default that is not a single value is described.
pub(super) fn description(id: OptionId, contract: Contract) -> Option<(String, &'static str)> {
    let (value, reason) = match id {
        OptionId::GraceMax => ("as --grace", ""),
        OptionId::StopSignal if !contract.platform.stops.is_empty() => {
            return Some((format!("TERM for {}", contract.platform.stops), "(else as received)"));
        }
        OptionId::StopSignal => ("as received", ""),
        OptionId::StopAgain => ("ignore", "(kill for a Ctrl-C typed at the terminal)"),
        OptionId::GraceExit => ("137", ""),
        OptionId::Ready => ("started", ""),
        OptionId::Drain => ("off", ""),
        OptionId::HookRetries => ("0", "(3 for on-stop)"),
        _ => return None,
    };
    Some((value.to_owned(), reason))
}
