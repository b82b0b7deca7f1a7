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

fn on(name: &str) -> Place {
    let platform = platform::by_name(name).expect(name);
    Place { detected: Detected { platform, by: "a marker", is_first: false }, ..Place::default() }
}

#[test]
fn defaults_depend_on_the_platform() {
    let times = |line: &str, place| {
        let config = with(line, &[], place).expect("fine");
        let Plan { grace, post_stop_timeout, .. } = *config.plan;
        (grace.as_millis(), post_stop_timeout.as_millis(), config.level)
    };
    let nowhere = Place::default();
    let first = Place {
        detected: Detected::find(crate::types::Pid(1), |_| None, |_| false),
        ..Place::default()
    };
    assert_eq!(times("app", nowhere), (15_000, 5_000, LevelFilter::Warn));
    assert_eq!(times("app", first), (7_000, 2_000, LevelFilter::Warn));
    assert_eq!(times("app", on("docker")), (7_000, 2_000, LevelFilter::Warn));
    assert_eq!(times("app", on("kubernetes")), (15_000, 5_000, LevelFilter::Info));
    assert_eq!(times("app", on("fly")), (3_500, 1_000, LevelFilter::Warn));
    // The option counts more than what was found.
    assert_eq!(times("--platform ecs app", on("docker")).0, 22_000);
    assert_eq!(times("--platform ecs:45s app", on("docker")).0, 33_000);
    assert_eq!(times("--platform auto app", on("docker")).0, 7_000);
    assert_eq!(times("--platform auto:20s app", on("docker")).0, 14_000);
    assert_eq!(times("--platform none app", on("docker")).0, 15_000);
    assert_eq!(times("--platform none app", first).0, 7_000);
    assert_eq!(times("--platform none:20s app", nowhere).0, 14_000);
    // A setting counts more than a platform.
    assert_eq!(times("--grace 9s --platform fly app", nowhere).0, 9_000);
    let unknown = mistakes("--platform mars --check=venus:3s app", &[]);
    let names = "not a platform; write auto, none or one of lambda, fly, railway, ";
    assert!(unknown[0].starts_with(&format!("unable to use --platform 'mars': {names}")));
    assert!(
        unknown[1].starts_with("unable to use --check 'venus:3s': not a platform; write a time")
    );
    let never = "unable to use --platform 'fly:never': not a duration; write 10s, 1m 30s, 250ms or a number of seconds";
    assert_eq!(mistakes("--platform fly:never app", &[]), [never]);
}

/// The defaults that are drawn are those of the place that `--check` names, wherever it runs.
#[test]
fn a_check_draws_the_defaults_of_the_place_that_it_names() {
    let grace = |line: &str, place| {
        let config = with(line, &[], place).expect("fine");
        let usual = config.usual.map(|usual| usual.grace().as_millis());
        (config.plan.grace.as_millis(), usual)
    };
    assert_eq!(grace("--check", on("docker")), (7_000, None));
    assert_eq!(grace("--check=k8s", on("docker")), (15_000, Some(15_000)));
    assert_eq!(grace("--check=docker", on("kubernetes")), (7_000, Some(7_000)));
    assert_eq!(grace("--check=ecs:45s", on("docker")), (33_000, Some(22_000)));
    assert_eq!(grace("--check=45s", on("ecs")), (33_000, Some(22_000)));
    assert_eq!(grace("--check=20s", Place::default()), (14_000, Some(15_000)));
    // A run knows the time that --platform names.
    assert_eq!(grace("--platform ecs:45s --check=ecs", on("docker")), (33_000, Some(33_000)));
    assert_eq!(grace("--platform ecs:45s --check=ecs:50s", on("docker")), (33_000, Some(33_000)));
    assert_eq!(grace("--platform ecs:45s --check=fly", on("docker")), (3_500, Some(3_500)));
}

/// Some platforms have a variable for their time. It is not graceinit's, so a mistake in it is a warning.
#[test]
fn the_variable_of_a_platform_says_the_time() {
    let told = |platform: &str, variables: &[(&str, &str)]| {
        let config = with("app", variables, on(platform)).expect("fine");
        (config.plan.grace.as_millis(), config.plan.post_stop_timeout.as_millis(), config.warnings)
    };
    let railway = "RAILWAY_DEPLOYMENT_DRAINING_SECONDS";
    let at_once = format!(
        "Railway kills the container at once: set {railway} to the seconds that a stop may take"
    );
    assert_eq!(told("railway", &[]), (1_000, 500, vec![at_once.clone()]));
    assert_eq!(told("railway", &[(railway, "0")]), (1_000, 500, vec![at_once.clone()]));
    assert_eq!(told("railway", &[(railway, " 60 ")]), (42_000, 6_000, vec![]));
    let wrong = format!(
        "{railway} '1m' is not a whole number of seconds; 0s until SIGKILL are assumed (Railway's default)"
    );
    assert_eq!(told("railway", &[(railway, "1m")]), (1_000, 500, vec![wrong, at_once]));
    assert_eq!(told("docker", &[(railway, "60")]), (7_000, 2_000, vec![]));
    let azure = "WEBSITES_CONTAINER_STOP_TIME_LIMIT";
    assert_eq!(told("azure-app-service", &[]), (3_500, 1_000, vec![]));
    assert_eq!(told("azure-app-service", &[(azure, "100")]), (70_000, 20_000, vec![]));
    let most = format!(
        "{azure} '1800' is more than Azure App Service allows; 2m until SIGKILL are assumed"
    );
    assert_eq!(told("azure-app-service", &[(azure, "1800")]), (84_000, 24_000, vec![most]));
}

#[test]
fn signals_by_which_only_the_platform_asks_for_a_stop_reach_the_app_as_term() {
    let signal = |text| Signal::parse(text).expect(text);
    let sent = |line: &str, name: &str, text| {
        let plan = with(line, &[], on(name)).expect("fine").plan;
        let stops = plan.stop_on.contains(signal(text));
        (stops, plan.rewrite.apply(signal(text)).map(|sent| sent.to_string()))
    };
    let is = |text: &str| Some(text.to_owned());
    for name in ["lxc", "incus"] {
        assert_eq!(sent("app", name, "PWR"), (true, is("TERM")));
        assert_eq!(sent("app", name, "RTMIN+3"), (true, is("TERM")));
        assert_eq!(sent("app", name, "INT"), (true, is("INT")));
    }
    assert_eq!(sent("app", "nspawn", "RTMIN+4"), (true, is("TERM")));
    assert_eq!(sent("app", "podman", "RTMIN+3"), (true, is("TERM")));
    assert_eq!(sent("app", "podman", "PWR"), (false, is("PWR")));
    assert_eq!(sent("app", "docker", "RTMIN+3"), (false, is("RTMIN+3")));
    // A profile knows the server, not the platform.
    assert_eq!(sent("--profile nginx app", "lxc", "PWR"), (true, is("TERM")));
    // A setting counts more.
    assert_eq!(sent("--stop-on TERM app", "lxc", "PWR"), (false, is("PWR")));
    assert_eq!(sent("-r PWR:QUIT app", "lxc", "PWR"), (true, is("QUIT")));
    let tini = Place { persona: Persona::Tini, ..on("lxc") };
    let plan = with("app", &[("GRACEINIT_PLATFORM", "lxc")], tini).expect("fine");
    assert!(plan.plain && plan.plan.stop_on == SignalSet::default(), "as quiet as tini");
    assert_eq!(plan.plan.rewrite.apply(signal("PWR")), Some(signal("PWR")));
}

#[test]
fn what_a_platform_cannot_promise_is_a_warning() {
    let warnings = |line: &str, name: &str| with(line, &[], on(name)).expect("fine").warnings;
    let begins = |warnings: Vec<String>, text: &str| {
        assert!(warnings.len() == 1 && warnings[0].starts_with(text), "{warnings:?}");
    };
    begins(warnings("app", "lambda"), "Lambda gives a stop 0.3 s");
    assert_eq!(warnings("app", "heroku"), [""; 0]);
    begins(warnings("--drain 80 app", "heroku"), "Heroku sends TERM to every process");
    assert_eq!(warnings("app", "systemd"), [""; 0]);
    begins(warnings("--drain 80 app", "systemd"), "systemd sends TERM to every process");
    begins(
        warnings("--platform render:400s app", "docker"),
        "Render gives a stop at most 5m, not 6m 40s",
    );
}

#[test]
fn durations_are_read_in_every_notation() {
    for (text, want) in [
        ("5", Some(secs(5))),
        ("0", Some(Duration::ZERO)),
        ("1.5", Some(Duration::from_millis(1500))),
        ("1.5s", Some(Duration::from_millis(1500))),
        ("s", None),
        (".s", None),
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
    let leftovers = |place: Place| {
        let place = Place { persona: Persona::Tini, ..place };
        with("app", &[], place).expect("fine").plan.leftovers
    };
    assert_eq!(
        (leftovers(on("docker")), leftovers(Place::default())),
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
    let kubernetes = Place { persona: Persona::Tini, ..on("kubernetes") };
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
        // A platform selects other times and stop signals, which matter later only.
        &["FLY_APP_NAME=a", "container=lxc", "GR=1"],
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
    // In the first three environments: the six lines with an app and without an option, by graceinit's name and by a
    // name that is not one of another program.
    assert_eq!(early, 3 * 7);
}
