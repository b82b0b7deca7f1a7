//! Every option, from everywhere it can be said; and which source counts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use graceinit::account::log::Format;
use graceinit::cli::persona::Persona;
use graceinit::cli::{self, Given, Instead, OPTIONS, OptionId};
use graceinit::config::platform::{self, Detected};
use graceinit::config::{self, Config, Place as Where, source::Source};

use crate::support::files::Place;
use crate::support::{Launch, Outcome, Room};
use crate::{ensure, ensure_eq};

mod serving;
mod watch;

/// What is said to graceinit.
#[derive(Default)]
pub(super) struct Said<'a> {
    /// The words before the command.
    pub(super) flags: Vec<&'a str>,
    pub(super) variables: Vec<(&'a str, &'a str)>,
    pub(super) file: Option<&'a str>,
    pub(super) place: Where,
}

impl Said<'_> {
    /// What becomes of it. The file is called FILE in what is said about it.
    pub(super) fn build(&self) -> Result<Config, Vec<String>> {
        self.run(["--", "app"].as_slice())
    }

    pub(super) fn run(&self, command: &[&str]) -> Result<Config, Vec<String>> {
        let room = Place::new();
        let mut words: Vec<OsString> = Vec::new();
        let mut path = String::new();
        if let Some(text) = self.file {
            let file = room.file("graceinit.toml", text, 0o644);
            path = file.to_string_lossy().into_owned();
            words.extend([OsString::from("--config"), file.into()]);
        }
        words.extend(self.flags.iter().chain(command).map(OsString::from));
        let given = match cli::parse(&words, Persona::Graceinit) {
            Ok(given) => given,
            Err(
                Instead::Print(text)
                | Instead::PrintOnStderr(text)
                | Instead::Usage(text)
                | Instead::Mistake(text),
            ) => {
                return Err(vec![text]);
            }
        };
        let variables: Vec<(&str, &[u8])> =
            self.variables.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let named = |mistake: String| mistake.replace(&path, "FILE");
        config::build_with_settings(given, &variables, self.place).map_err(|refusal| {
            let mistakes = refusal.mistakes;
            if path.is_empty() { mistakes } else { mistakes.into_iter().map(named).collect() }
        })
    }
}

/// All of a configuration but where it came from.
fn essence(config: &Config) -> String {
    let hooks = config::hooks::Hook::clone;
    let mut list = Vec::new();
    for phase in graceinit::machine::hooks::HookPhase::ALL {
        list.extend(config.hooks.of(phase).iter().map(hooks).map(|mut hook| {
            hook.source = Source::Default("");
            (phase, hook)
        }));
    }
    let Config { command, plan, hooks: _, user, parent_signal, warn_on_reap, level, .. } = config;
    let Config { ready, ready_file, drain, listen, watch, log_format, tool, .. } = config;
    // Each source has its own word for yes.
    let value = |value: &'_ str| if value == "true" { "1".to_owned() } else { value.to_owned() };
    let settings: Vec<(&str, String)> = config
        .settings
        .iter()
        .filter(|setting| setting.option != OptionId::Config)
        .map(|setting| (setting.option.name(), value(&setting.value)))
        .collect();
    format!(
        "{command:?} {plan:?} {list:?} {user:?} {parent_signal:?} {warn_on_reap} {level} {:?} {:?} {:?} \
         {ready:?} {ready_file:?} {drain:?} {listen:?} {watch:?} {log_format:?} {tool:?} {:?}",
        config.check, config.warnings, settings, config.rehearsal
    )
}

/// How an option is said: on the command line, in its variable, in the file. Empty: it cannot be.
const ROWS: &[(&str, &[&str], &str, &str)] = &[
    ("grace", &["-t", "20"], "20", "grace = 20"),
    ("grace-max", &["--grace-max", "1m"], "1m", "grace-max = '1m'"),
    ("post-stop-timeout", &["--post-stop-timeout", "1.5"], "1.5", "post-stop-timeout = 1.5"),
    ("stop-on", &["--stop-on", "HUP,USR1"], "HUP,USR1", "stop-on = ['HUP', 'USR1']"),
    (
        "stop-signal",
        &["--stop-signal", "TERM:10s,0:1,9"],
        "TERM:10s,0:1,9",
        "stop-signal = ['TERM:10s', '0:1', 9]",
    ),
    ("scope", &["--scope", "tree"], "tree", "scope = 'tree'"),
    ("rewrite", &["-r", "HUP:0", "-r15:3"], "HUP:0\n15:3", "rewrite = ['HUP:0', '15:3']"),
    ("diagnose", &["--diagnose", "QUIT@3s"], "QUIT@3s", "diagnose = 'QUIT@3s'"),
    ("stop-again", &["--stop-again", "kill"], "kill", "stop-again = 'kill'"),
    ("grace-exit", &["--grace-exit", "9"], "9", "grace-exit = 9"),
    ("oom-exit", &["--oom-exit", "33"], "33", "oom-exit = 33"),
    ("child-oom", &["--child-oom", "stop"], "stop", "child-oom = 'stop'"),
    (
        "stop-exit-ok",
        &["--stop-exit-ok", "143", "--stop-exit-ok=3"],
        " 143\n3\n\n",
        "stop-exit-ok = [143, '3']",
    ),
    ("reload-on", &["--reload-on", "USR2"], "USR2", "reload-on = 'USR2'"),
    ("profile", &["--profile", "nginx"], "nginx", "profile = 'nginx'"),
    ("platform", &["--platform", "ecs:45s"], "ecs:45s", "platform = 'ecs:45s'"),
    ("pre-start", &["--pre-start", "a 'b c'"], "a 'b c'", "pre-start = \"a 'b c'\""),
    ("on-ready", &["--on-ready", "touch:/x"], "touch:/x", "on-ready = ['touch:/x']"),
    ("on-reload", &["--on-reload", "a", "--on-reload", "b"], "a\nb", "on-reload = ['a', 'b']"),
    ("pre-stop", &["--pre-stop", "a"], "a", "[[hook.pre-stop]]\ncommand = ['a']"),
    ("on-stop", &["--on-stop", "a b"], "a b", "[[hook.on-stop]]\ncommand = 'a b'"),
    ("post-stop", &["--post-stop", "sleep:1ms"], "sleep:1ms", "post-stop = 'sleep:1ms'"),
    ("hook-timeout", &["--hook-timeout", "2m"], "2m", "hook-timeout = '2m'"),
    ("hook-retries", &["--hook-retries", "7"], "7", "hook-retries = 7"),
    ("hook-backoff", &["--hook-backoff", "0"], "0", "hook-backoff = 0"),
    (
        "ready",
        &["--ready", "notify", "--ready=tcp:80"],
        "notify\ntcp:80",
        "ready = ['notify', 'tcp:80']",
    ),
    ("ready-timeout", &["--ready-timeout", "30"], "30", "ready-timeout = 30"),
    ("ready-file", &["--ready-file", "/run/ready"], "/run/ready", "ready-file = '/run/ready'"),
    (
        "health",
        &["--health", "tcp:80", "--health=http://127.0.0.1:80/up"],
        "tcp:80\nhttp://127.0.0.1:80/up",
        "health = ['tcp:80', 'http://127.0.0.1:80/up']",
    ),
    (
        "live",
        &["--live", "unix:/run/app.sock"],
        "unix:/run/app.sock",
        "live = 'unix:/run/app.sock'",
    ),
    ("health-timeout", &["--health-timeout", "2s"], "2s", "health-timeout = '2s'"),
    ("drain", &["--drain", "8080,9090"], "8080,9090", "drain = [8080, 9090]"),
    ("drain-delay", &["--drain-delay", "3s"], "3s", "drain-delay = '3s'"),
    ("drain-acks", &["--drain-acks", "2"], "2", "drain-acks = 2"),
    ("drain-idle", &["--drain-idle", "1.5"], "1.5", "drain-idle = 1.5"),
    ("drain-max", &["--drain-max", "9s"], "9s", "drain-max = \"9s\""),
    ("drain-quiet", &["--drain-quiet", "0"], "0", "drain-quiet = 0"),
    ("drain-owed", &["--drain-owed", "1m"], "1m", "drain-owed = '1m'"),
    (
        "drained",
        &["--drained", "exec:idle", "--drained=http://127.0.0.1:1/idle"],
        "exec:idle\nhttp://127.0.0.1:1/idle",
        "drained = ['exec:idle', 'http://127.0.0.1:1/idle']",
    ),
    (
        "listen",
        &["--listen", ":9180", "--listen=unix:/x"],
        ":9180\nunix:/x",
        "listen = [':9180', 'unix:/x']",
    ),
    (
        "metrics-file",
        &["--metrics-file", "/run/app.prom"],
        "/run/app.prom",
        "metrics-file = '/run/app.prom'",
    ),
    ("report", &["--report", "/run/report"], "/run/report", "report = '/run/report'"),
    ("v", &["-vv"], "2", "verbosity = 2"),
    ("log-level", &["--log-level", "trace"], "trace", "log-level = 'trace'"),
    ("log-format", &["--log-format", "json"], "json", "log-format = 'json'"),
    ("user", &["--user", "4242"], "4242", "user = 4242"),
    ("s", &["-s"], "1", "subreaper = true"),
    ("p", &["-p", "USR1"], "USR1", "parent-signal = 'USR1'"),
    ("e", &["-e", "3", "-e", "143"], "3\n143", "exit-ok = [3, 143]"),
    ("w", &["-w"], "1", "warn-reap = true"),
    ("g", &["-g"], "", ""),
    ("c", &["-c"], "", ""),
    ("config", &["--config", "/dev/null/x"], "/dev/null/x", ""),
    ("check", &["--check=k8s:45s"], "k8s:45s", ""),
    ("probe", &["--probe", "ready"], "", ""),
    ("render", &["--render", "-"], "", ""),
    ("P", &["-P"], "", ""),
    ("l", &["-l"], "", ""),
    ("rehearse", &["--rehearse=k8s:30s", "--url=:80/"], "", ""),
    ("url", &["--url", ":81/path*2"], "", ""),
    ("rate", &["--rate", "7"], "", ""),
    ("lag", &["--lag", "3s"], "", ""),
    ("rehearse-health", &["--rehearse-health", ":82/readyz"], "", ""),
    ("pinned", &["--pinned"], "", ""),
    ("rounds", &["--rounds", "7"], "", ""),
    ("only", &["--only"], "", ""),
    ("json", &["--json"], "", ""),
    ("rehearse-toml", &["--rehearse-toml"], "", ""),
    ("rehearse-html", &["--rehearse-html", "stop.html"], "", ""),
];

/// What has to be said too, for an option that has no effect alone.
fn beside(name: &str) -> Vec<&'static str> {
    match name {
        "ready-timeout" => vec!["--ready", "notify"],
        "health" | "live" => vec!["--listen=127.0.0.1:1"],
        "health-timeout" => vec!["--health=tcp:80", "--listen=127.0.0.1:1"],
        "drain-acks" => vec!["--drain=80", "--listen=127.0.0.1:1"],
        "drain-idle" | "drain-max" | "drain-quiet" | "drain-owed" => vec!["--drain=80"],
        _ if is_of_rehearsal(name) => vec!["--rehearse", "--url=:80/"],
        _ => vec![],
    }
}

fn is_of_rehearsal(name: &str) -> bool {
    let rehearsal = OPTIONS.iter().filter(|opt| opt.group == cli::Group::Rehearsal);
    rehearsal.skip(1).any(|opt| opt.name == name)
}

#[test]
fn every_option_means_the_same_as_flag_variable_and_key() -> Outcome {
    for opt in OPTIONS {
        let said = Said { flags: beside(opt.name), ..Said::default() };
        let plain = essence(&said.build().expect("nothing is fine"));
        let rows: Vec<_> = ROWS.iter().filter(|row| row.0 == opt.name).collect();
        let [(name, flags, variable, file)] = rows[..] else {
            panic!("{} has {} rows in this table", opt.name, rows.len());
        };
        ensure_eq!(opt.variable.is_some(), !variable.is_empty(), "the variable of {name}");
        ensure_eq!(opt.key.is_some(), !file.is_empty(), "the key of {name}");
        let both = [&beside(name)[..], flags].concat();
        let flag = Said { flags: both, ..Said::default() }.build();
        let variables = opt.variable.map(|known| (known, *variable)).into_iter().collect();
        let variable = Said { flags: beside(name), variables, ..Said::default() }.build();
        match *name {
            // They say what the program is for: `options/watch.rs`.
            "probe" | "render" | "P" => {
                let beside = ensure_refused(flag)?;
                ensure!(beside[0].contains("together with the command 'app'"), "{beside:?}");
            }
            "l" => ensure!(flag.is_err_and(|text| text[0].contains("MIT")), "no licence"),
            "config" => ensure_eq!(
                flag.expect_err("no file")[0].replace("--config", "GRACEINIT_CONFIG"),
                variable.expect_err("no file")[0],
                "the file that is not there"
            ),
            _ => {
                let flag = essence(&flag.expect(name));
                ensure!(flag != plain, "{name} changes nothing");
                if opt.variable.is_some() {
                    ensure_eq!(essence(&variable.expect(name)), flag, "the variable of {name}");
                }
                if opt.key.is_some() {
                    let file = Said { flags: beside(name), file: Some(file), ..Said::default() };
                    let file = file.build();
                    ensure_eq!(essence(&file.expect(name)), flag, "the key of {name}");
                }
            }
        }
    }
    ensure_eq!(ROWS.len(), OPTIONS.len(), "rows of options that are no more");
    Ok(())
}

fn ensure_refused(config: Result<Config, Vec<String>>) -> Outcome<Vec<String>> {
    config.err().ok_or_else(|| crate::support::Fault::new("it was not refused"))
}

/// The source and the value of a setting.
fn setting(said: &Said<'_>, name: &str) -> (String, String) {
    let config = said.build().expect("no mistake");
    let setting = config.settings.into_iter().find(|setting| setting.option.name() == name);
    let setting = setting.expect("a setting");
    let source = match setting.source {
        Source::File(_, line, column) => format!("file {line}:{column}"),
        source => source.to_string(),
    };
    (source, setting.value)
}

fn of_php_fpm(name: &str) -> &'static str {
    let mut profiles = graceinit::config::profiles::PROFILES.iter();
    let php_fpm = profiles.find(|profile| profile.name == "php-fpm").expect("php-fpm");
    php_fpm.settings.iter().find(|(known, _)| known.name() == name).expect("a setting").1
}

/// Of each pair of sources the one further to the left counts: all sixteen cases.
#[test]
fn flag_then_variable_then_file_then_profile_then_default() -> Outcome {
    for (option, file, values, sources) in [
        // One value.
        (
            "stop-signal",
            "stop-signal = 'HUP:1s,INT'",
            ["USR1", "USR2", "HUP:1s,INT", of_php_fpm("stop-signal"), "as received"],
            ["--stop-signal", "GRACEINIT_STOP_SIGNAL", "file 1:15", "profile php-fpm", "default"],
        ),
        (
            "scope",
            "\n  scope = 'mixed'",
            ["tree", "group", "mixed", "main", "auto"],
            ["--scope", "GRACEINIT_SCOPE", "file 2:11", "profile php-fpm", "default"],
        ),
    ] {
        for bits in 0..16 {
            let has = |source: usize| bits & (1 << source) != 0;
            let flag = format!("--{option}={}", values[0]);
            let variable = format!("GRACEINIT_{}", option.to_uppercase().replace('-', "_"));
            let mut said = Said { file: has(2).then_some(file), ..Said::default() };
            if has(0) {
                said.flags.push(&flag);
            }
            if has(1) {
                said.variables.push((&variable, values[1]));
            }
            if has(3) {
                said.variables.push(("GRACEINIT_PROFILE", "php-fpm"));
            }
            let first = (0..4).find(|source| has(*source)).unwrap_or(4);
            let want = (sources[first].to_owned(), values[first].to_owned());
            ensure_eq!(setting(&said, option), want, "{option}, case {bits:04b}");
        }
    }
    Ok(())
}

#[test]
fn what_can_be_repeated_is_replaced_as_a_whole() -> Outcome {
    let said =
        |flags: &[&'static str], file| Said { flags: flags.to_vec(), file, ..Said::default() };
    for (flags, file, source, value) in [
        (&["-e", "1", "-e", "2"][..], Some("exit-ok = [3, 4]"), "-e", "1, 2"),
        (&[], Some("exit-ok = [3, 4]"), "file 1:12", "3, 4"),
    ] {
        let want = (source.to_owned(), value.to_owned());
        ensure_eq!(setting(&said(flags, file), "e"), want, "{flags:?}");
    }
    let ok = |flags: &[&'static str], file| {
        said(flags, file).build().expect("fine").plan.exit.stop_ok.clone()
    };
    ensure_eq!(ok(&["--profile", "jvm"], None), [143], "the profile alone");
    ensure_eq!(ok(&["--profile", "jvm"], Some("stop-exit-ok = [3]")), [3], "the file");
    ensure_eq!(ok(&["--profile", "jvm"], Some("stop-exit-ok = []")), [0_u8; 0], "none at all");
    Ok(())
}

/// GRACE_EXIT_TIMEOUT is a variable of --grace: after GRACEINIT_GRACE, before the file.
#[test]
fn the_second_variable_of_the_grace_counts_more_than_the_file() -> Outcome {
    let file = Some("grace = 20");
    let second = ("GRACE_EXIT_TIMEOUT", "30");
    for (variables, want) in [
        (vec![], ("file 1:9", "20")),
        (vec![second], ("GRACE_EXIT_TIMEOUT", "30")),
        (vec![second, ("GRACEINIT_GRACE", "40")], ("GRACEINIT_GRACE", "40")),
        (vec![("GRACE_EXIT_TIMEOUT", " "), ("GRACEINIT_GRACE", "")], ("file 1:9", "20")),
    ] {
        let got = setting(&Said { variables, file, ..Said::default() }, "grace");
        ensure_eq!((&got.0[..], &got.1[..]), want, "grace");
    }
    Ok(())
}

#[test]
fn defaults_name_their_place() -> Outcome {
    for (name, why, level, values) in [
        ("none", "default outside containers", "default", ["15s", "5s", "warn"]),
        ("docker", "default on docker: Docker kills after 10s", "default", ["7s", "2s", "warn"]),
        (
            "kubernetes",
            "default on kubernetes: Kubernetes kills after 30s",
            "default on kubernetes",
            ["15s", "5s", "info"],
        ),
    ] {
        let said = Said { place: on(name), ..Said::default() };
        for (name, value) in ["grace", "post-stop-timeout"].iter().zip(values) {
            ensure_eq!(setting(&said, name), (why.to_owned(), value.to_owned()), "{name}");
        }
        ensure_eq!(setting(&said, "log-level"), (level.to_owned(), values[2].to_owned()), "level");
    }
    let said = Said { place: on("docker"), ..Said::default() };
    let found = ("found by /.dockerenv".to_owned(), "docker".to_owned());
    ensure_eq!(setting(&said, "platform"), found, "what was found");
    Ok(())
}

/// A place where this platform is found.
pub(super) fn on(name: &str) -> Where {
    let Some(platform) = platform::by_name(name) else { return Where::default() };
    let by = "/.dockerenv";
    Where { detected: Detected { platform, by, is_first: false }, ..Where::default() }
}

/// The level that counts is shown, with what has raised it.
#[test]
fn the_settings_show_the_level_in_force() -> Outcome {
    for (flags, source, level) in [
        (vec![], "default", "warn"),
        (vec!["-v"], "-v", "info"),
        (vec!["-vv", "--log-level=error"], "-v", "info"),
        (vec!["-vvvv"], "-v", "trace"),
        (vec!["--log-level=debug"], "--log-level", "debug"),
    ] {
        let said = Said { flags: flags.clone(), ..Said::default() };
        let got = setting(&said, "log-level");
        ensure_eq!((&got.0[..], &got.1[..]), (source, level), "{flags:?}");
    }
    Ok(())
}

fn commands(said: &Said<'_>) -> Vec<(String, String)> {
    let config = said.build().expect("no mistake");
    let hooks = config.hooks.pre_stop.iter();
    hooks.map(|hook| (hook.name.clone(), hook.text.clone())).collect()
}

/// The hooks of a profile are a part of how its server is stopped: they come after the user's.
#[test]
fn the_hooks_of_a_profile_stay() -> Outcome {
    let profile = ("GRACEINIT_PROFILE", "sidekiq");
    for (flags, file, want) in [
        (vec![], None, &["signal:TSTP"][..]),
        (vec!["--pre-stop", "a"], None, &["a", "signal:TSTP"]),
        (vec!["--pre-stop", "a"], Some("pre-stop = 'b'"), &["a", "signal:TSTP"]),
        (vec![], Some("pre-stop = ['b', 'c']"), &["b", "c", "signal:TSTP"]),
        (vec![], Some("[[hook.pre-stop]]\ncommand = ['b c']"), &["'b c'", "signal:TSTP"]),
        (vec![], Some("pre-stop = []"), &["signal:TSTP"]),
    ] {
        let got = commands(&Said { flags, file, variables: vec![profile], ..Said::default() });
        let texts: Vec<&str> = got.iter().map(|(_, text)| &text[..]).collect();
        ensure_eq!(texts, want, "{file:?}");
        let names: Vec<String> = got.into_iter().map(|(name, _)| name).collect();
        let numbered: Vec<String> = (1..=names.len()).map(|n| format!("pre-stop-{n}")).collect();
        ensure_eq!(names, numbered, "the names");
    }
    Ok(())
}

#[test]
fn a_profile_takes_its_argument() -> Outcome {
    for (profile, want) in [
        ("envoy", "http:POST http://127.0.0.1:9901/healthcheck/fail"),
        ("envoy:[::1]:1", "http:POST http://[::1]:1/healthcheck/fail"),
    ] {
        let said = Said { flags: vec!["--profile", profile], ..Said::default() };
        ensure_eq!(commands(&said)[0].1, want, "{profile}");
    }
    Ok(())
}

#[test]
fn every_profile_can_be_used() -> Outcome {
    for profile in graceinit::config::profiles::PROFILES {
        let said = Said { flags: vec!["--profile", profile.name], ..Said::default() };
        ensure_eq!(said.build().err(), None, "{}", profile.name);
    }
    Ok(())
}

#[test]
fn reload_signals_matter_only_with_reload_hooks() -> Outcome {
    let reload = |flags: Vec<&'static str>| {
        let plan = Said { flags, ..Said::default() }.build().expect("fine").plan;
        (1..=64)
            .filter_map(graceinit::types::Signal::new)
            .filter(|signal| plan.reload_on.contains(*signal))
            .map(|signal| signal.to_string())
            .collect::<Vec<_>>()
    };
    ensure_eq!(reload(vec![]), [""; 0], "no hook");
    ensure_eq!(reload(vec!["--reload-on", "TERM"]), [""; 0], "no hook");
    ensure_eq!(reload(vec!["--on-reload", "x"]), ["HUP"], "the default");
    ensure_eq!(reload(vec!["--on-reload", "x", "--reload-on", "USR2,HUP"]), ["HUP", "USR2"], "two");
    Ok(())
}

#[test]
fn a_check_needs_no_command() -> Outcome {
    use graceinit::config::Check;
    let check = |flags: Vec<&'static str>, value: &'static str| {
        let variables = vec![("GRACEINIT_CHECK", value)];
        Said { flags, variables, ..Said::default() }.run(&[]).map(|config| config.check)
    };
    let limit = |name, time: Option<u64>| Check::Limit {
        platform: platform::by_name(name),
        time: time.map(std::time::Duration::from_secs),
    };
    for (flags, variable, want) in [
        (vec!["--check"], "", Check::Plain),
        (vec![], "1", Check::Plain),
        (vec!["--check=docker"], "1", limit("docker", None)),
        (vec![], "k8s:45s", limit("kubernetes", Some(45))),
        (vec!["--check=k8s"], "", limit("kubernetes", None)),
        (vec!["--check=fly"], "", limit("fly", None)),
        (vec!["--check=45s"], "", limit("", Some(45))),
        (vec!["--check=45"], "", limit("", Some(45))),
    ] {
        ensure_eq!(check(flags, variable), Ok(Some(want)), "{variable}");
    }
    for value in ["", "0"] {
        let mistakes = check(vec![], value).expect_err("no command");
        ensure!(mistakes[0].starts_with("there is no command to run"), "{mistakes:?}");
    }
    Ok(())
}

#[test]
fn a_path_and_a_command_may_be_any_bytes() -> Outcome {
    let bytes = OsString::from_vec(b"a\xff".to_vec());
    let given =
        Given { options: vec![(OptionId::OnStop, vec![bytes.clone()])], command: vec![bytes] };
    let config = config::build(given, &[], Where::default()).expect("fine");
    ensure_eq!(config.hooks.on_stop.len(), 1, "the hook");
    Ok(())
}

/// `--help` is the table as well.
#[test]
fn help_names_every_option_and_variable() -> Outcome {
    let Err(Instead::Print(help)) = cli::parse(&["--help".into()], Persona::Graceinit) else {
        panic!("no help")
    };
    for opt in OPTIONS {
        let flag = if opt.long { format!("--{}", opt.name) } else { format!("-{}", opt.name) };
        ensure!(help.contains(&flag), "{flag} is not in --help");
        ensure!(opt.variable.is_none_or(|name| help.contains(&format!("[{name}]"))), "{flag}");
    }
    Ok(())
}

/// docs/options.md names every key that is not the option's own name.
#[test]
fn the_documentation_names_every_key() -> Outcome {
    let docs = include_str!("../../docs/options.md");
    for key in OPTIONS.iter().filter(|opt| !opt.long).filter_map(|opt| opt.key) {
        ensure!(docs.contains(&format!("`{key}`")), "{key} is not in docs/options.md");
    }
    Ok(())
}

/// The real program, with a file that only the environment names.
#[test]
fn a_file_works_without_any_flag() -> Outcome {
    let place = Place::new();
    let text = format!(
        "stop-on = ['USR1']\nstop-signal = ['QUIT']\nstop-exit-ok = [4]\n\
         [[hook.post-stop]]\ncommand = ['sh', '-c', 'echo $GRACEINIT_PHASE > {}']\n",
        place.text("phase")
    );
    let file = place.file("graceinit.toml", text, 0o644);
    let mut run = Launch::graceinit(Room::Plain)
        .env("GRACEINIT_CONFIG", file)
        .app("block ready echo=QUIT:4")
        .start()?;
    run.ready()?;
    run.signal("USR1")?;
    run.out.expect("got QUIT ")?;
    run.exits(0)?;
    ensure_eq!(place.expect("phase")?, "post-stop\n", "the hook");
    Ok(())
}

/// The pieces of TOML in docs/configuration.md are right, and no phase of the example is forgotten.
#[test]
fn the_documentation_can_be_used() -> Outcome {
    let docs = include_str!("../../docs/configuration.md");
    let mut pieces = docs.split("```toml\n").skip(1).filter_map(|piece| piece.split("```").next());
    // Their users live in containers.
    let text = |piece: Option<&str>| {
        let text = piece.expect("a piece").replace("user = \"consul\"", "user = \"root\"");
        text.replace("user = \"app\"", "user = \"root\"")
    };
    let one = text(pieces.next());
    let config = Said { file: Some(&one), ..Said::default() }.build();
    let config = config.map_err(|mistakes| crate::support::Fault::new(mistakes.join("\n")))?;
    let hook = &config.hooks.pre_stop[0];
    ensure_eq!(hook.name, "deregister", "the name");
    ensure_eq!(hook.env.len(), 1, "the environment");
    ensure!(hook.user.is_some(), "the user");
    let example = text(pieces.next());
    let config = Said { file: Some(&example), ..Said::default() }.build();
    let config = config.map_err(|mistakes| crate::support::Fault::new(mistakes.join("\n")))?;
    ensure_eq!(config.warnings, [""; 0], "warnings");
    ensure_eq!(config.plan.ladder.len(), 2, "the ladder");
    let files = [&config.watch.metrics_file, &config.watch.report].map(Option::is_some);
    ensure_eq!((files, config.log_format), ([true, true], Format::Json), "the account");
    let hooks = &config.hooks;
    ensure_eq!(
        (hooks.pre_start.len(), hooks.pre_stop.len(), hooks.post_stop.len()),
        (2, 2, 1),
        "the hooks"
    );
    ensure!(pieces.next().is_none(), "a piece that nobody tests");
    Ok(())
}
