//! What is in force where nobody has said anything: as most lives begin. Reading forty defaults from their texts
//! would be a tenth of such a start. A test holds this to what the texts say.

use std::ffi::OsString;
use std::time::Duration;

use log::LevelFilter;

use super::drain::Drain;
use super::outputs::Watch;
use super::{Config, Format, Persona, Place, Variables};
use crate::cli::Given;
use crate::exit::Codes;
use crate::machine::plan::{ExitRules, PerPhase, Plan, Rewrite, Scope, StopAgain};
use crate::types::{Signal, SignalSet};

/// Whether nobody has said anything.
pub(super) fn is_kept(given: &Given, variables: &Variables<'_>) -> bool {
    given.options.is_empty() && variables.is_empty()
}

/// Whether that means what [`config`] says: neither Kubernetes nor another program's name has its own defaults.
pub(super) fn reigns(given: &Given, variables: &Variables<'_>, place: Place) -> bool {
    let ordinary = !place.kubernetes && place.persona == Persona::Graceinit;
    is_kept(given, variables) && ordinary && !given.command.is_empty()
}

/// The configuration, in a container of Docker or Podman and elsewhere.
pub(super) fn config(command: Vec<OsString>, container: bool) -> Config {
    let (grace, post_stop) = if container { (7, 2) } else { (15, 5) };
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
        drain: Drain::default().plan(Duration::ZERO),
        hooks: PerPhase::each(|_| Vec::new()),
        exit: ExitRules {
            always_ok: Vec::new(),
            stop_ok: Vec::new(),
            killed: None,
            codes: Codes::GRACEINIT,
        },
        session: false,
    };
    Config {
        command,
        plan: plan.into(),
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
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "early-start")]
    use std::ffi::OsStr;

    use super::super::in_full;
    use super::*;
    #[cfg(feature = "early-start")]
    use crate::{cli, sys::launch::early};

    fn given(words: &[&str]) -> Given {
        Given { options: Vec::new(), command: words.iter().map(OsString::from).collect() }
    }

    #[test]
    fn silence_means_what_the_texts_of_the_defaults_say() {
        let given = || given(&["app", "-x"]);
        for container in [false, true] {
            for terminal in [false, true] {
                let place = Place { container, terminal, ..Place::default() };
                assert!(reigns(&given(), &[], place), "a silent place");
                let full = in_full(given(), &[], place, false).expect("nothing is wrong");
                let quick = config(given().command, container);
                assert_eq!(format!("{quick:?}"), format!("{full:?}"));
            }
        }
    }

    #[test]
    fn elsewhere_somebody_has_spoken() {
        let tini = Place { persona: Persona::Tini, ..Place::default() };
        for place in [Place { kubernetes: true, ..Place::default() }, tini] {
            assert!(!reigns(&given(&["app"]), &[], place));
        }
        assert!(!reigns(&given(&[]), &[], Place::default()));
        assert!(!reigns(&given(&["app"]), &[("GRACEINIT_GRACE", b"3s")], Place::default()));
    }

    /// Whoever starts the app before anything is read must not be contradicted by what is read then.
    #[test]
    #[cfg(feature = "early-start")]
    fn an_app_that_is_started_early_would_be_started_like_this() {
        let lines: &[&[&str]] = &[
            &["graceinit"],
            &["graceinit", ""],
            &["graceinit", "--"],
            &["graceinit", "--", ""],
            &["graceinit", "app"],
            &["graceinit", "app", "--grace", "3s"],
            &["graceinit", "app", "--", "-x"],
            &["graceinit", "--", "app", "-x"],
            &["graceinit", "--", "-x"],
            &["graceinit", "--", "--", "app"],
            &["graceinit", "-", "app"],
            &["graceinit", "-v", "app"],
            &["graceinit", "--grace=3s", "app"],
            &["graceinit", "-x"],
            &["/sbin/g", "app"],
            &["/g/", "app"],
            &["", "app"],
        ];
        let named = crate::cli::persona::NAMES.iter().map(|(name, _)| vec![*name, "--", "app"]);
        let environments: &[&[&str]] = &[
            &[],
            &["PATH=/bin", "HOME=/root", "GR=1", "=", "WATCHDOG=1", "LISTEN=1"],
            &["PATH=/bin", "GRACEINIT_GRACE=3s"],
            &["GRACE_EXIT_TIMEOUT=3"],
            &["KUBERNETES_SERVICE_HOST=10.0.0.1"],
            &["NOTIFY_SOCKET=/run/x"],
            &["WATCHDOG_USEC=1"],
            &["WATCHDOG_PID=7"],
            &["LISTEN_PID=7"],
            &["GLIBC_TUNABLES=x"],
        ];
        let mut early = 0;
        for words in lines.iter().map(|words| words.to_vec()).chain(named) {
            for variables in environments {
                let Some((_, command)) = early::would_start(&words, variables) else { continue };
                early += 1;
                let persona = Persona::of(OsStr::new(words[0]));
                let args: Vec<OsString> = words[1..].iter().map(OsString::from).collect();
                let Ok(given) = cli::parse(&args, persona) else { panic!("{words:?} is wrong") };
                let place = Place { persona, ..Place::default() };
                assert!(reigns(&given, &[], place), "{words:?}");
                assert_eq!(given.command, command.iter().map(OsString::from).collect::<Vec<_>>());
                assert!(variables.is_empty() || variables.contains(&"GR=1"), "{variables:?}");
            }
        }
        // In both of the first environments: the six lines with an app and without an option, by graceinit's name and
        // by one that is nobody's.
        assert_eq!(early, 2 * 7);
    }
}
