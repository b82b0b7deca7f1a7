//! What is in force where nobody has said anything: as most lives begin. Reading forty defaults from their texts
//! would be a tenth of such a start. A test holds this to what the texts say.

use std::ffi::OsString;
use std::time::Duration;

use log::LevelFilter;

use super::draining::Drain;
use super::watch::Watch;
use super::{Config, Format, Persona, Place};
use crate::exit::Codes;
use crate::machine::plan::{ExitRules, PerPhase, Plan, Rewrite, Scope, StopAgain};
use crate::types::{Signal, SignalSet};

/// The configuration; `None`: this is no such place.
pub(super) fn config(command: &[OsString], place: Place) -> Option<Config> {
    let (kubernetes, stranger) = (place.kubernetes, place.persona != Persona::Graceinit);
    if command.is_empty() || kubernetes || stranger {
        return None;
    }
    let (grace, post_stop) = if place.container { (7, 2) } else { (15, 5) };
    let grace = Duration::from_secs(grace);
    let plan = Plan {
        grace,
        leftovers: grace,
        grace_max: grace,
        post_stop_timeout: Duration::from_secs(post_stop),
        stop_on: SignalSet::of(&[Signal::TERM, Signal::INT]),
        ladder: Vec::new(),
        scope: Scope::Group,
        rewrite: Rewrite::default(),
        stop_again: StopAgain::Default,
        diagnose: None,
        reload_on: SignalSet::default(),
        ready: Vec::new(),
        ready_timeout: None,
        probe_timeout: Duration::from_secs(5),
        drain: Drain::default().plan(),
        watchdog: None,
        hooks: PerPhase::each(|_| Vec::new()),
        jitter: 0,
        exit: ExitRules {
            always_ok: Vec::new(),
            stop_ok: Vec::new(),
            killed: None,
            codes: Codes::GRACEINIT,
        },
        terminal: false,
        session: false,
        suspendable: false,
    };
    Some(Config {
        command: command.to_vec(),
        plan,
        hooks: PerPhase::each(|_| Vec::new()),
        user: None,
        parent_signal: None,
        warn_on_reap: false,
        plain: false,
        level: LevelFilter::Warn,
        log_format: Format::Text,
        warnings: Vec::new(),
        ready: Vec::new(),
        ready_file: None,
        drain: None,
        listen: Vec::new(),
        watch: Watch::default(),
        tool: None,
        check: None,
        settings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::in_full;
    use super::*;
    use crate::cli::Given;

    #[test]
    fn silence_means_what_the_texts_of_the_defaults_say() {
        let command = || vec![OsString::from("app"), OsString::from("-x")];
        for container in [false, true] {
            for terminal in [false, true] {
                let place = Place { container, terminal, ..Place::default() };
                let given = Given { options: Vec::new(), command: command() };
                let full = in_full(given, &[], place, false).expect("nothing is wrong");
                let quick = config(&command(), place).expect("a silent place");
                assert_eq!(format!("{quick:?}"), format!("{full:?}"));
            }
        }
    }

    #[test]
    fn elsewhere_somebody_has_spoken() {
        let command = [OsString::from("app")];
        let tini = Place { persona: Persona::Tini, ..Place::default() };
        for place in [Place { kubernetes: true, ..Place::default() }, tini] {
            assert!(config(&command, place).is_none());
        }
        assert!(config(&[], Place::default()).is_none());
    }
}
