//! Settings known to be right for a server (`--profile`). What each is for, and where that is written,
//! is in docs/profiles.md; most are tested against the real server in `tests/servers/`.

/// The settings of one server, as a user would write them.
#[derive(Debug)]
pub struct Profile {
    /// As `--profile` takes it.
    pub name: &'static str,
    /// Options by name with their values. `{}` in a value stands for the argument.
    pub settings: &'static [(&'static str, &'static str)],
    /// The argument (`--profile NAME:ARGUMENT`) if none is given; `None`: it takes none.
    pub argument: Option<&'static str>,
}

const fn profile(name: &'static str, settings: &'static [(&'static str, &'static str)]) -> Profile {
    Profile { name, settings, argument: None }
}

/// All of them.
pub const PROFILES: &[Profile] = &[
    profile(
        "nginx",
        &[("stop-on", "TERM,INT,QUIT"), ("stop-signal", "QUIT:90%,TERM"), ("scope", "main")],
    ),
    profile("httpd", &[("stop-signal", "WINCH:75%,TERM"), ("scope", "main")]),
    profile(
        "php-fpm",
        &[("stop-on", "TERM,INT,QUIT"), ("stop-signal", "QUIT:90%,TERM"), ("scope", "main")],
    ),
    profile(
        "haproxy",
        &[("stop-on", "TERM,INT,USR1"), ("stop-signal", "USR1:90%,TERM"), ("scope", "main")],
    ),
    Profile {
        name: "uwsgi",
        settings: &[("on-stop", "write:{} q"), ("stop-signal", "0:75%,INT"), ("scope", "mixed")],
        argument: Some("/run/uwsgi.fifo"),
    },
    profile("postgres", &[("stop-signal", "TERM:10s,INT:5s"), ("scope", "main")]),
    profile("pgbouncer", &[("stop-signal", "INT:90%,TERM"), ("scope", "main")]),
    profile("mysql", &[("stop-signal", "TERM"), ("scope", "main")]),
    profile("redis", &[("stop-signal", "TERM"), ("scope", "main")]),
    profile("unicorn", &[("stop-on", "TERM,INT,QUIT"), ("stop-signal", "QUIT"), ("scope", "main")]),
    profile("gunicorn", &[("stop-signal", "TERM"), ("scope", "main")]),
    profile("uvicorn", &[("stop-signal", "TERM"), ("scope", "main"), ("stop-exit-ok", "143")]),
    profile("puma", &[("stop-signal", "TERM"), ("scope", "main"), ("stop-exit-ok", "143")]),
    profile("sidekiq", &[("pre-stop", "signal:TSTP"), ("stop-signal", "TERM"), ("scope", "main")]),
    profile(
        "resque",
        &[("stop-on", "TERM,INT,QUIT"), ("stop-signal", "QUIT:90%,TERM"), ("scope", "main")],
    ),
    profile("celery", &[("stop-signal", "TERM"), ("scope", "main")]),
    profile(
        "jvm",
        &[
            ("stop-signal", "TERM"),
            ("scope", "main"),
            ("diagnose", "QUIT@2s"),
            ("stop-exit-ok", "143"),
        ],
    ),
    profile("node", &[("stop-signal", "TERM"), ("scope", "main"), ("stop-exit-ok", "143")]),
    Profile {
        name: "envoy",
        settings: &[
            ("pre-stop", "http:POST http://{}/healthcheck/fail"),
            ("on-stop", "http:POST http://{}/drain_listeners?graceful"),
            ("stop-signal", "0:5s,TERM"),
            ("scope", "main"),
        ],
        argument: Some("127.0.0.1:9901"),
    },
];
