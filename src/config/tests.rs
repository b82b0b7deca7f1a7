use super::hooks::Task;
use super::*;
use crate::cli;
use crate::machine::plan::Wait;

fn given(line: &str) -> Given {
    let words: Vec<OsString> =
        shlex::split(line).expect("closed quotes").into_iter().map(OsString::from).collect();
    cli::parse(&words, Persona::Graceinit).expect(line)
}

fn with(line: &str, variables: &[(&str, &str)], place: Place) -> Result<Config, Vec<String>> {
    let variables: Vec<(&str, &[u8])> =
        variables.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    build(given(line), &variables, place).map_err(|refusal| refusal.mistakes)
}

fn config(line: &str) -> Config {
    with(line, &[], Place::default()).expect(line)
}

fn mistakes(line: &str, variables: &[(&str, &str)]) -> Vec<String> {
    with(line, variables, Place::default()).expect_err(line)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_flag_counts_more_than_its_variable_and_grace_exit_timeout_least() {
    let grace = |line: &str, variables: &[(&str, &str)]| {
        with(line, variables, Place::default()).expect(line).plan.grace
    };
    let all = [("GRACEINIT_GRACE", "20"), ("GRACE_EXIT_TIMEOUT", "30")];
    assert_eq!(grace("app", &[]), secs(15));
    assert_eq!(grace("app", &all[1..]), secs(30));
    assert_eq!(grace("app", &all), secs(20));
    assert_eq!(grace("-t 1m app", &all), secs(60));
    assert_eq!(grace("-t 1 -t 2 app", &[]), secs(2));
    // An empty variable counts as unset.
    assert_eq!(grace("app", &[("GRACEINIT_GRACE", " "), all[1]]), secs(30));
}

#[test]
fn defaults_depend_on_the_place() {
    let times = |kubernetes, container| {
        let config =
            with("app", &[], Place { kubernetes, container, ..Place::default() }).expect("fine");
        (config.plan.grace, config.plan.post_stop_timeout, config.level)
    };
    assert_eq!(times(false, false), (secs(15), secs(5), LevelFilter::Warn));
    assert_eq!(times(false, true), (secs(7), secs(2), LevelFilter::Warn));
    assert_eq!(times(true, false), (secs(15), secs(5), LevelFilter::Info));
    assert_eq!(times(true, true), (secs(15), secs(5), LevelFilter::Info));
}

#[test]
fn durations_are_read_in_every_notation() {
    for (text, want) in [
        ("5", Some(secs(5))),
        ("0", Some(Duration::ZERO)),
        ("1.5", Some(Duration::from_millis(1500))),
        ("250ms", Some(Duration::from_millis(250))),
        ("1m 30s", Some(secs(90))),
        ("", None),
        (".", None),
        ("-1", None),
        ("5 bananas", None),
        ("36499d", Some(secs(36_499 * 86_400))),
    ] {
        assert_eq!(parse::duration(text).ok(), want, "{text:?}");
    }
}

/// Sums of times are made in PID 1, which must not overflow.
#[test]
fn absurd_durations_are_refused() {
    let ten_million_years = "9999999999999999";
    for text in [
        "99999999999999999999",
        "18446744073709551615",
        "18446744073709551615ms",
        "18446744073709551615ns",
        "18446744073709551615s 1s",
        "999999999y",
        "36500d",
        "3153600000.5",
        ten_million_years,
    ] {
        let why = parse::duration(text).unwrap_err();
        assert_eq!(why, "too long; write less than 100 years (36500d)", "{text:?}");
    }
}

#[test]
fn ladders_rewrites_and_scopes_reach_the_plan() {
    let plan = config(
        "--stop-signal TERM:10s,SIGINT:5,0:90%,RTMIN+3 -r HUP:0 -r 15:QUIT --scope tree app",
    )
    .plan;
    let ladder: Vec<(String, Option<Wait>)> = plan
        .ladder
        .iter()
        .map(|rung| (rung.signal.map_or_else(String::new, |s| s.to_string()), rung.wait))
        .collect();
    let want = [
        ("TERM", Some(Wait::For(secs(10)))),
        ("INT", Some(Wait::For(secs(5)))),
        ("", Some(Wait::Share(90))),
        ("RTMIN+3", None),
    ];
    assert_eq!(ladder, want.map(|(name, wait)| (name.to_owned(), wait)));
    assert_eq!(plan.rewrite.apply(Signal::HUP), None);
    assert_eq!(plan.rewrite.apply(Signal::TERM), Some(Signal::QUIT));
    assert_eq!(plan.scope, Scope::Tree);
    assert_eq!(config("-c app").plan.scope, Scope::Main);
    assert_eq!(config("-g app").plan.scope, Scope::Group);
}

#[test]
fn hooks_are_split_as_a_shell_would_and_only_on_stop_is_retried() {
    let config =
        config("--pre-stop 'a \"b c\" d\\ e' --on-stop x --on-stop y --hook-timeout 2 app");
    let words = ["a", "b c", "d e"].map(OsString::from);
    assert_eq!(config.hooks.pre_stop[0].task, Task::Command(words.to_vec()));
    assert_eq!(config.hooks.on_stop.len(), 2);
    assert_eq!(config.plan.hooks.pre_stop[0].retries, 0);
    assert_eq!(config.plan.hooks.on_stop[1].retries, 3);
    assert_eq!(config.plan.hooks.on_stop[1].timeout, secs(2));
    let lines = [("GRACEINIT_POST_STOP", "one 1\n\n  two\n")];
    let hooks = with("app", &lines, Place::default()).expect("fine").hooks;
    let texts: Vec<&str> = hooks.post_stop.iter().map(|hook| &hook.text[..]).collect();
    assert_eq!(texts, ["one 1", "two"]);
}

#[test]
fn all_mistakes_come_at_once_each_with_its_source_and_the_fix() {
    let found = mistakes(
        "-t soon --stop-on TERM,KILL --stop-signal TERM,INT -r HUP --scope all -e 256 \
         --hook-retries many --on-stop '\"open' --user nobody-here app",
        &[("GRACEINIT_STOP_AGAIN", "maybe"), ("GRACEINIT_P", "x"), ("GRACEINIT_LOG", "loud")],
    );
    let want = [
        "unable to use --grace 'soon': not a duration; write 10s, 1m 30s, 250ms or a number of seconds",
        "unable to use --stop-on 'TERM,KILL': KILL cannot begin a stop; name a signal that can be caught",
        "unable to use --stop-signal 'TERM,INT': each signal but the last needs a time; write TERM:10s,INT",
        "unable to use --scope 'all': not a scope; write auto, group, main, mixed or tree",
        "unable to use --rewrite 'HUP': not FROM:TO; write TERM:QUIT, or HUP:0 to drop it",
        "unable to use GRACEINIT_STOP_AGAIN 'maybe': not a response to a second stop request; write \
         ignore or kill",
        "unable to use -e '256': not an exit code; write a number from 0 to 255",
        "unable to use --hook-retries 'many': not a count; write a whole number",
        "unable to use --on-stop '\"open': a quote is not closed; close it",
        "unable to use --user 'nobody-here': there is no user 'nobody-here' in /etc/passwd; write a name from \
         there, or a number",
        "unable to use GRACEINIT_LOG 'loud': not a level; write off, error, warn, info, debug or trace",
    ];
    assert_eq!(found, want);
}

#[test]
fn conflicts_of_signals_and_scopes_are_refused() {
    let dropped = mistakes("-r TERM:0 app", &[]);
    assert_eq!(dropped.len(), 1);
    assert!(dropped[0].contains("--rewrite 'TERM:0'") && dropped[0].contains("--stop-signal"));
    assert!(with("-r TERM:0 --stop-signal INT app", &[], Place::default()).is_ok());
    assert!(with("-r TERM:0 --stop-on INT app", &[], Place::default()).is_ok());
    assert_eq!(mistakes("-g -c app", &[]).len(), 1);
    assert_eq!(mistakes("-g --scope main app", &[]).len(), 1);
    assert_eq!(mistakes("-r KILL:TERM app", &[]).len(), 1);
}

#[test]
fn unknown_variables_and_shell_operators_are_warnings() {
    let variables = [
        ("GRACEINIT_PORT_80_TCP", "tcp://10.0.0.1"),
        ("GRACEINIT_PHASE", "on-stop"),
        ("GRACEINIT_GRACE", "3"),
    ];
    let config = with("--pre-stop 'a && b' app", &variables, Place::default()).expect("fine");
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("sh -c"));
    assert!(config.warnings[1].contains("GRACEINIT_PORT_80_TCP"));
}

#[test]
fn each_v_raises_the_log_level_by_one() {
    let level = |line: &str| config(line).level;
    assert_eq!(level("app"), LevelFilter::Warn);
    assert_eq!(level("-v app"), LevelFilter::Info);
    assert_eq!(level("-vv app"), LevelFilter::Debug);
    assert_eq!(level("-vvvvv app"), LevelFilter::Trace);
    assert_eq!(level("--log-level off app"), LevelFilter::Off);
    assert_eq!(level("--log-level error -v app"), LevelFilter::Warn);
}

fn called(persona: Persona, line: &str, variables: &[(&str, &str)]) -> Config {
    with(line, variables, Place { persona, ..Place::default() }).expect(line)
}

#[test]
fn another_name_has_no_deadline_unless_one_is_set() {
    use crate::machine::budget::ENDLESS;
    for persona in [Persona::Tini, Persona::DumbInit, Persona::Catatonit] {
        let grace = |line: &str, variables: &[(&str, &str)]| {
            let config = called(persona, line, variables);
            (config.plain, config.plan.grace)
        };
        assert_eq!(grace("app", &[]), (true, ENDLESS));
        assert_eq!(grace("-g -e 3 -v app", &[]), (true, ENDLESS));
        assert_eq!(grace("-r TERM:QUIT -- app", &[("GRACEINIT_LOG", "info")]), (true, ENDLESS));
        assert_eq!(grace("app", &[("GRACEINIT_USER", "7")]), (true, ENDLESS));
        assert_eq!(grace("app", &[("GRACEINIT_PRE_STOP", "a")]), (false, ENDLESS));
        assert_eq!(grace("app", &[("GRACEINIT_READY", "after:1s")]), (false, ENDLESS));
        assert_eq!(grace("app", &[("GRACEINIT_GRACE", "9")]), (false, secs(9)));
        assert_eq!(grace("app", &[("GRACE_EXIT_TIMEOUT", "9")]), (false, secs(9)));
        assert_eq!(grace("-t 9 app", &[]), (false, secs(9)));
    }
    assert!(!config("app").plain, "under its own name graceinit is never plain");
    let place = |container| Place { container, persona: Persona::Tini, ..Place::default() };
    let leftovers = |container| with("app", &[], place(container)).expect("fine").plan.leftovers;
    assert_eq!(
        (leftovers(true), leftovers(false)),
        (secs(7), secs(15)),
        "the same as graceinit's default deadline"
    );
}

#[test]
fn a_name_selects_scope_session_and_signals() {
    let of = |persona, line: &str, variables: &[(&str, &str)]| {
        let plan = called(persona, line, variables).plan;
        (plan.scope, plan.session, plan.stop_on == SignalSet::default())
    };
    use Persona::{Catatonit, DumbInit, Graceinit, Tini};
    assert_eq!(of(Graceinit, "app", &[]), (Scope::Auto, false, false));
    assert_eq!(of(Tini, "app", &[]), (Scope::Main, false, true));
    assert_eq!(of(Tini, "-g app", &[]), (Scope::Group, false, true));
    assert_eq!(of(Tini, "app", &[("TINI_KILL_PROCESS_GROUP", "")]), (Scope::Group, false, true));
    assert_eq!(of(Catatonit, "app", &[]), (Scope::Main, false, true));
    assert_eq!(of(DumbInit, "app", &[]), (Scope::Group, true, true));
    assert_eq!(of(DumbInit, "-c app", &[]), (Scope::Main, false, true));
    assert_eq!(of(DumbInit, "--single-child app", &[]), (Scope::Main, false, true));
    assert_eq!(of(DumbInit, "app", &[("DUMB_INIT_SETSID", "0")]), (Scope::Main, false, true));
    assert_eq!(of(DumbInit, "app", &[("DUMB_INIT_SETSID", "no")]), (Scope::Group, true, true));
    // A GRACEINIT_ variable counts more, and a setting of a stop brings a stop in phases.
    let both = [("GRACEINIT_SCOPE", "tree"), ("TINI_KILL_PROCESS_GROUP", "1")];
    assert_eq!(of(Tini, "app", &both), (Scope::Tree, false, true));
    assert_eq!(of(Tini, "app", &[("GRACEINIT_DRAIN", "80")]), (Scope::Main, false, false));
    // A variable of another program has no effect under graceinit's own name.
    assert_eq!(of(Graceinit, "app", &[("DUMB_INIT_SETSID", "0")]), (Scope::Auto, false, false));
}

#[test]
fn a_name_selects_levels_and_codes() {
    let level =
        |persona, line: &str, variables: &[(&str, &str)]| called(persona, line, variables).level;
    use LevelFilter::{Debug, Error, Info, Trace, Warn};
    assert_eq!(level(Persona::Tini, "-v app", &[]), Info);
    assert_eq!(level(Persona::Tini, "app", &[("TINI_VERBOSITY", "0")]), Error);
    assert_eq!(level(Persona::Tini, "-v app", &[("TINI_VERBOSITY", "2")]), Debug);
    assert_eq!(level(Persona::DumbInit, "--verbose app", &[]), Debug);
    assert_eq!(level(Persona::DumbInit, "-vvv app", &[]), Trace);
    assert_eq!(level(Persona::DumbInit, "app", &[("DUMB_INIT_DEBUG", "1")]), Debug);
    assert_eq!(level(Persona::Catatonit, "app", &[("CATATONIT_DEBUG", "")]), Debug);
    let told = [("TINI_VERBOSITY", "4"), ("GRACEINIT_LOG", "error")];
    assert_eq!(level(Persona::Tini, "app", &told), Error);
    let kubernetes = Place { kubernetes: true, persona: Persona::Tini, ..Place::default() };
    assert_eq!(with("app", &[], kubernetes).expect("fine").level, Warn, "as quiet as tini");
    let codes = |persona| {
        let codes = called(persona, "app", &[]).plan.exit.codes;
        (
            codes.own,
            codes.of_exec(libc::ENOENT),
            codes.of_exec(libc::EACCES),
            codes.of_exec(libc::ENOTDIR),
        )
    };
    assert_eq!(codes(Persona::Graceinit), (125, 127, 126, 127));
    assert_eq!(codes(Persona::Tini), (1, 127, 126, 1));
    assert_eq!(codes(Persona::DumbInit), (1, 2, 2, 2));
    assert_eq!(codes(Persona::Catatonit), (1, 1, 1, 1));
}

#[test]
fn options_that_need_a_deadline_are_refused_without_one() {
    let place = Place { persona: Persona::Tini, ..Place::default() };
    for (variable, value, lacks) in [
        ("GRACEINIT_GRACE_MAX", "30", "it moves the deadline"),
        ("GRACEINIT_DIAGNOSE", "QUIT", "it is sent before the deadline"),
    ] {
        let mistakes = with("app", &[(variable, value)], place).expect_err(variable);
        let why = format!(
            "unable to use {variable} '{value}': {lacks}, and tini has none; set GRACEINIT_GRACE too"
        );
        assert_eq!(mistakes, [why]);
        assert!(with("app", &[(variable, value), ("GRACEINIT_GRACE", "20")], place).is_ok());
    }
    let warnings =
        |variables: &[(&str, &str)]| with("app", variables, place).expect("fine").warnings;
    let hook = ("GRACEINIT_PRE_STOP", "a");
    assert!(warnings(&[hook])[0].starts_with("this stop has no deadline, as tini has none"));
    assert_eq!(warnings(&[hook, ("GRACEINIT_GRACE", "7")]), [""; 0]);
    assert_eq!(warnings(&[("GRACEINIT_LISTEN", "127.0.0.1:1")]), [""; 0]);
}

/// The early start (`sys::launch::early`) runs the app before any setting is read. It must only do so where the
/// settings, once they are read, are the defaults.
#[test]
fn an_app_is_started_early_only_where_every_setting_has_its_default() {
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
    let named = cli::persona::NAMES.iter().map(|(name, _)| vec![*name, "--", "app"]);
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
            let started = crate::sys::launch::early::would_start(&words, variables);
            let Some((_, command)) = started else { continue };
            early += 1;
            let persona = Persona::of(std::ffi::OsStr::new(words[0]));
            let args: Vec<OsString> = words[1..].iter().map(OsString::from).collect();
            let Ok(given) = cli::parse(&args, persona) else { panic!("{words:?} is wrong") };
            let here = Place { persona, ..Place::default() };
            let got = build(given, &[], here).expect("no mistake");
            assert_eq!(got.command, command.iter().map(OsString::from).collect::<Vec<_>>());
            let defaults = Config { command: got.command.clone(), ..config("app") };
            assert_eq!(format!("{got:?}"), format!("{defaults:?}"), "{words:?}");
            assert!(variables.is_empty() || variables.contains(&"GR=1"), "{variables:?}");
        }
    }
    // In the first two environments: the six lines with an app and without an option, by graceinit's name and by a
    // name that is not one of another program.
    assert_eq!(early, 2 * 7);
}
