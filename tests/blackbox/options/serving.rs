//! What becomes of the options of readiness, of the drain and of `--listen`.

use std::time::Duration;

use graceinit::config::{Config, Place as Where, Ports, When};
use graceinit::machine::connections::{Plan, Rules};
use graceinit::machine::plan::Condition;
use graceinit::types::Signal;

use super::{Said, on, setting};
use crate::support::Outcome;
use crate::{ensure, ensure_eq};

const S: Duration = Duration::from_secs(1);

fn config(flags: &[&str]) -> Config {
    let said = Said { flags: flags.to_vec(), ..Said::default() };
    said.build().unwrap_or_else(|mistakes| panic!("{flags:?}: {mistakes:?}"))
}

#[test]
fn the_machine_is_told_the_conditions_in_their_order() -> Outcome {
    let config = config(&[
        "--ready=exec:test -f x",
        "--ready=notify",
        "--ready=fd:7",
        "--ready=signal:USR1",
        "--ready=after:2s",
        "--ready=tcp:80",
        "--ready=http://localhost/",
        "--ready=file:/x",
        "--hook-timeout=3s",
        "--ready-timeout=1m",
    ]);
    let usr1 = Signal::parse("USR1").expect("a signal");
    let probe = Condition::Probe;
    let told = [
        probe,
        Condition::Notify,
        Condition::Newline,
        Condition::Signal(usr1),
        Condition::After(S * 2),
    ];
    ensure_eq!(config.plan.ready, [&told[..], &[probe; 3]].concat(), "the conditions");
    ensure_eq!(config.ready[2].when, When::Fd(7), "the descriptor");
    ensure_eq!(config.ready[0].text, "exec:test -f x", "the text");
    ensure_eq!(
        (config.plan.ready_timeout, config.plan.probe_timeout),
        (Some(S * 60), S * 3),
        "times"
    );
    Ok(())
}

#[test]
fn nothing_said_is_ready_when_started_and_no_drain() -> Outcome {
    for flags in
        [&[][..], &["--ready", "started"], &["--log-level", "warn"], &["--drain-delay", "0"]]
    {
        let config = config(flags);
        ensure_eq!(
            (config.plan.ready.clone(), config.plan.ready_timeout),
            (vec![], None),
            "{flags:?}"
        );
        ensure_eq!((config.plan.drain, config.drain), (None, None), "{flags:?}");
    }
    let (none, file) = (Said::default(), Some("ready = []"));
    let variables = vec![("GRACEINIT_READY", " \n")];
    let set = Said { variables, file, ..Said::default() };
    ensure_eq!(setting(&none, "ready"), ("default".to_owned(), "started".to_owned()), "ready");
    ensure_eq!(setting(&none, "drain"), ("default".to_owned(), "off".to_owned()), "drain");
    ensure_eq!(set.build().map(|config| config.ready), Ok(vec![]), "none at all");
    Ok(())
}

#[test]
fn the_drain_has_its_defaults_only_with_ports() -> Outcome {
    // A quarter of 15 s is the app's; half of the rest.
    let rules = Rules { idle: Duration::from_millis(5625), owed: None };
    let usual = Plan { looks: true, delay: S * 2, acks: None, max: None, words: 0, rules };
    let delay = Plan { looks: false, delay: S * 3, ..usual };
    let acks = Plan { acks: Some(4), ..delay };
    // Half of `--drain-max`.
    let rules = Rules { idle: Duration::from_millis(2500), owed: None };
    let word = Plan { delay: Duration::ZERO, max: Some(S * 5), words: 2, rules, ..delay };
    let rules = Rules { idle: S * 4, owed: Some(S * 6) };
    let all =
        Plan { looks: true, delay: Duration::ZERO, acks: None, max: Some(S * 5), words: 0, rules };
    for (flags, ports, want) in [
        (&["--drain=443, 80,443"][..], Some(Ports::List(vec![443, 80])), usual),
        (&["--drain=auto"], Some(Ports::Auto), usual),
        (&["--drain-delay=3s"], None, delay),
        (&["--drain-delay=3s", "--drain-acks=4", "--listen=:1"], None, acks),
        (&["--drained=exec:a", "--drained=exec:b", "--drain-max=5"], None, word),
        (
            &["--drain=1", "--drain-delay=0", "--drain-idle=4", "--drain-max=5", "--drain-owed=6"],
            Some(Ports::List(vec![1])),
            all,
        ),
    ] {
        let config = config(flags);
        ensure_eq!((config.drain, config.plan.drain), (ports, Some(want)), "{flags:?}");
    }
    let said = Said { flags: vec!["--drain=80"], ..Said::default() };
    ensure_eq!(
        setting(&said, "drain-delay"),
        ("default with --drain".into(), "2s".into()),
        "the delay"
    );
    let delay = Said { flags: vec!["--drain-delay=3s"], ..Said::default() };
    let known =
        delay.build().map(|config| config.settings.iter().any(|s| s.option.name() == "drain-idle"));
    ensure_eq!(known, Ok(false), "what nobody looks at");
    Ok(())
}

/// Of each pair of sources the one further to the left counts.
#[test]
fn flag_then_variable_then_file_then_default() -> Outcome {
    for (option, beside, file, values, sources) in [
        (
            "drain-delay",
            "--drain=80",
            "drain-delay = 3",
            ["1s", "2s", "3", "2s"],
            ["--drain-delay", "GRACEINIT_DRAIN_DELAY", "file 1:15", "default with --drain"],
        ),
        (
            "ready",
            "--drain=80",
            "ready = ['notify', 'tcp:80']",
            ["fd:3", "after:1s", "notify, tcp:80", "started"],
            ["--ready", "GRACEINIT_READY", "file 1:10", "default"],
        ),
        (
            "drain",
            "-v",
            "drain = [1, 2]",
            ["auto", "80", "1,2", "off"],
            ["--drain", "GRACEINIT_DRAIN", "file 1:9", "default"],
        ),
    ] {
        for bits in 0..8 {
            let has = |source: usize| bits & (1 << source) != 0;
            let flag = format!("--{option}={}", values[0]);
            let variable = format!("GRACEINIT_{}", option.to_uppercase().replace('-', "_"));
            let mut said = Said { file: has(2).then_some(file), ..Said::default() };
            said.flags.push(beside);
            if has(0) {
                said.flags.push(&flag);
            }
            if has(1) {
                said.variables.push((&variable, values[1]));
            }
            let first = (0..3).find(|source| has(*source)).unwrap_or(3);
            let want = (sources[first].to_owned(), values[first].to_owned());
            ensure_eq!(setting(&said, option), want, "{option}, case {bits:03b}");
        }
    }
    Ok(())
}

#[test]
fn every_profile_goes_with_a_drain() -> Outcome {
    let platforms = graceinit::config::platform::all().map(|platform| platform.name);
    for platform in ["none"].into_iter().chain(platforms) {
        for profile in graceinit::config::profiles::PROFILES {
            let flags = vec!["--profile", profile.name, "--drain", "80", "--ready", "tcp:80"];
            let config = Said { flags, place: on(platform), ..Said::default() }.build();
            ensure_eq!(config.err(), None, "{} on {platform}", profile.name);
        }
    }
    Ok(())
}

#[test]
fn there_are_at_most_64_conditions() -> Outcome {
    let conditions: Vec<String> = (1..=65).map(|n| format!("--ready=tcp:{n}")).collect();
    let flags: Vec<&str> = conditions.iter().map(String::as_str).collect();
    ensure_eq!(config(&flags[1..]).plan.ready.len(), 64, "conditions");
    let mistakes = Said { flags, ..Said::default() }.build().expect_err("one too many");
    let want = "unable to use --ready 'tcp:65': there are more than 64 conditions; write fewer";
    ensure_eq!(mistakes, [want], "the last one");
    Ok(())
}

/// What came in from outside is the app's, and stays what it is.
#[test]
fn a_descriptor_that_was_inherited_cannot_be_the_one() -> Outcome {
    let place = Where { is_open: Some(|number| number == 4), ..Where::default() };
    let flags = vec!["--ready=fd:3", "--ready=fd:4"];
    let mistakes = Said { flags, place, ..Said::default() }.build().expect_err("it is open");
    let want = "unable to use --ready 'fd:4': descriptor 4 was already open when graceinit was started (a \
                socket of LISTEN_FDS, a redirection), and the app inherits it; write another number";
    ensure_eq!(mistakes, [want], "the descriptor");
    Ok(())
}

#[test]
fn a_probe_has_no_shell() -> Outcome {
    let warnings = config(&["--ready=exec:a && b", "--ready=exec:sh -c 'a && b'"]).warnings;
    let want = "--ready 'exec:a && b': the command runs without a shell, so '&&' is a plain argument; \
                write exec:sh \
                -c '...' if a shell is meant";
    ensure_eq!(warnings, [want], "the warning");
    Ok(())
}

#[test]
fn what_others_can_reach_is_told() -> Outcome {
    for (flags, want) in [
        (&[][..], None),
        (
            &[
                "--listen=127.0.0.1:1",
                "--listen=[::1]:1",
                "--listen=unix:/x",
                "--listen=127.9.9.9:1",
            ],
            None,
        ),
        (&["--listen=[::ffff:127.0.0.1]:1"], None),
        (&["--listen=:9180"], Some("[::]:9180")),
        (
            &["--listen=10.0.0.1:1", "--listen=unix:@x", "--listen=0.0.0.0:2"],
            Some("10.0.0.1:1 and 0.0.0.0:2"),
        ),
    ] {
        let exposed = config(flags).exposed();
        let told =
            exposed.as_deref().and_then(|text| text.strip_prefix("every client that can reach "));
        let told = told.and_then(|text| text.split_once(" can read ")).map(|(told, _)| told);
        ensure_eq!(told, want, "{flags:?}");
        ensure!(exposed.is_some() == want.is_some(), "{exposed:?}");
    }
    Ok(())
}
