//! Settings that are known to suit a server (`--profile`). docs/profiles.md gives the reason and the reference for each;
//! most are tested against the real server in `tests/servers/`.

use std::ffi::OsStr;

use super::source::{Found, Source};
use crate::cli::OptionId;

/// The settings of one server, as a user would write them.
#[derive(Debug)]
pub struct Profile {
    /// The name that `--profile` takes.
    pub name: &'static str,
    /// Options with their values. `{}` in a value stands for the argument.
    pub settings: &'static [(OptionId, &'static str)],
    /// The argument (`--profile NAME:ARGUMENT`) if none is given; `None`: the profile takes none.
    pub argument: Option<&'static str>,
}

/// The profile that was asked for.
pub(super) struct Chosen {
    profile: &'static Profile,
    argument: String,
    /// The value of `--profile`.
    pub(super) found: Found,
}

impl Chosen {
    /// The values that the profile has for an option.
    pub(super) fn values(&self, id: OptionId) -> Vec<Found> {
        let source = || Source::Profile(self.profile.name);
        let settings = self.profile.settings.iter().filter(|(known, _)| *known == id);
        settings
            .map(|(_, value)| Found::new(source(), value.replace("{}", &self.argument)))
            .collect()
    }
}

/// Programs whose name is not that of their profile. A version may follow the name (`php-fpm8.2`).
const PROGRAMS: [(&str, &str); 9] = [
    ("apache2", "httpd"),
    ("apache2ctl", "httpd"),
    ("apache2-foreground", "httpd"),
    ("httpd-foreground", "httpd"),
    ("uwsgi-core", "uwsgi"),
    ("mysqld", "mysql"),
    ("mariadbd", "mysql"),
    ("redis-server", "redis"),
    ("java", "jvm"),
];

/// The profile of a program.
pub fn of_program(program: &OsStr) -> Option<&'static Profile> {
    let program = program.to_str()?.rsplit('/').next()?;
    let name = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let known = PROGRAMS.iter().find(|(known, _)| *known == name || *known == program);
    let name = known.map_or(name, |(_, profile)| *profile);
    PROFILES.iter().find(|profile| profile.name == name)
}

/// What to say of a command that has a profile. A hint only: a wrong guess would be a wrong signal.
pub(super) fn hint(program: &OsStr) -> Option<String> {
    let profile = of_program(program)?;
    let program = program.to_str()?.rsplit('/').next()?;
    let steps = profile.settings.iter().find(|(option, _)| *option == OptionId::StopSignal);
    let first = steps.and_then(|(_, steps)| steps.split([':', ',']).next());
    let signal = match first {
        None | Some("TERM" | "0") => String::new(),
        Some(signal) => format!("; its graceful signal is {signal}"),
    };
    Some(format!("{program} has a profile: --profile {}{signal}", profile.name))
}

/// Chooses the profile that a value of `--profile` names.
pub(super) fn choose(found: &Found) -> Result<Chosen, String> {
    let text = found.text();
    let (name, argument) = match text.split_once(':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (&text[..], None),
    };
    let Some(profile) = PROFILES.iter().find(|profile| profile.name == name) else {
        let mut names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        names.sort_unstable();
        return Err(format!("not a profile; write one of {}", names.join(", ")));
    };
    let argument = match (profile.argument, argument) {
        (None, Some(_)) => return Err(format!("{name} takes no argument; write {name}")),
        (Some(usual), Some("")) => {
            return Err(format!("the argument is missing; write {name}:{usual} or {name}"));
        }
        // The argument becomes a word in the command of a hook.
        (Some(usual), Some(argument)) if argument.contains([' ', '\t', '\'', '"', '\\']) => {
            return Err(format!(
                "a space or a quote in the argument; write one without, as in {name}:{usual}"
            ));
        }
        (_, Some(argument)) => argument,
        (usual, None) => usual.unwrap_or_default(),
    };
    Ok(Chosen { profile, argument: argument.to_owned(), found: found.clone() })
}

const fn profile(name: &'static str, settings: &'static [(OptionId, &'static str)]) -> Profile {
    Profile { name, settings, argument: None }
}

/// Every profile.
pub const PROFILES: &[Profile] = &[
    profile(
        "nginx",
        &[(OptionId::StopOn, "TERM,INT,QUIT"), (OptionId::StopSignal, "QUIT:90%,TERM")],
    ),
    profile("httpd", &[(OptionId::StopSignal, "WINCH:75%,TERM")]),
    profile(
        "php-fpm",
        &[
            (OptionId::StopOn, "TERM,INT,QUIT"),
            (OptionId::StopSignal, "QUIT:90%,TERM"),
            (OptionId::Scope, "main"),
        ],
    ),
    profile(
        "haproxy",
        &[(OptionId::StopOn, "TERM,INT,USR1"), (OptionId::StopSignal, "USR1:90%,TERM")],
    ),
    Profile {
        name: "uwsgi",
        settings: &[
            (OptionId::OnStop, "write:{} q"),
            (OptionId::StopSignal, "0:75%,INT"),
            (OptionId::Scope, "mixed"),
        ],
        argument: Some("/run/uwsgi.fifo"),
    },
    profile("postgres", &[(OptionId::StopSignal, "TERM:10s,INT:5s"), (OptionId::Scope, "main")]),
    profile("pgbouncer", &[(OptionId::StopSignal, "INT:90%,TERM")]),
    profile("mysql", &[(OptionId::StopSignal, "TERM")]),
    profile("redis", &[(OptionId::StopSignal, "TERM")]),
    profile("unicorn", &[(OptionId::StopOn, "TERM,INT,QUIT"), (OptionId::StopSignal, "QUIT")]),
    profile("gunicorn", &[(OptionId::StopSignal, "TERM")]),
    profile("uvicorn", &[(OptionId::StopSignal, "TERM"), (OptionId::StopExitOk, "143")]),
    profile("puma", &[(OptionId::StopSignal, "TERM"), (OptionId::StopExitOk, "143")]),
    profile("sidekiq", &[(OptionId::PreStop, "signal:TSTP"), (OptionId::StopSignal, "TERM")]),
    profile(
        "resque",
        &[
            (OptionId::StopOn, "TERM,INT,QUIT"),
            (OptionId::StopSignal, "QUIT:90%,TERM"),
            (OptionId::Scope, "main"),
        ],
    ),
    profile("celery", &[(OptionId::StopSignal, "TERM"), (OptionId::Scope, "main")]),
    profile(
        "jvm",
        &[
            (OptionId::StopSignal, "TERM"),
            (OptionId::Scope, "main"),
            (OptionId::Diagnose, "QUIT@2s"),
            (OptionId::StopExitOk, "143"),
        ],
    ),
    profile(
        "node",
        &[(OptionId::StopSignal, "TERM"), (OptionId::Scope, "main"), (OptionId::StopExitOk, "143")],
    ),
    Profile {
        name: "envoy",
        settings: &[
            (OptionId::PreStop, "http:POST http://{}/healthcheck/fail"),
            (OptionId::OnStop, "http:POST http://{}/drain_listeners?graceful"),
            (OptionId::StopSignal, "0:5s,TERM"),
            (OptionId::Scope, "main"),
        ],
        argument: Some("127.0.0.1:9901"),
    },
    Profile {
        name: "vllm",
        settings: &[
            (OptionId::Drained, "metric:http://{}/metrics vllm:num_requests_running <= 0"),
            (OptionId::Drained, "metric:http://{}/metrics vllm:num_requests_waiting <= 0"),
            (OptionId::StopSignal, "TERM"),
        ],
        argument: Some("127.0.0.1:8000"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_profile_is_hinted_at() {
        let hint = |program: &str| hint(OsStr::new(program));
        let nginx = "nginx has a profile: --profile nginx; its graceful signal is QUIT";
        assert_eq!(hint("/usr/sbin/nginx").as_deref(), Some(nginx));
        let fpm = "php-fpm8.2 has a profile: --profile php-fpm; its graceful signal is QUIT";
        assert_eq!(hint("php-fpm8.2").as_deref(), Some(fpm));
        assert_eq!(hint("java").as_deref(), Some("java has a profile: --profile jvm"));
        assert_eq!(hint("./app"), None);
        assert_eq!(hint("nginx-exporter"), None);
    }
}
