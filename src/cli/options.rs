//! The table of options.

/// The headings of `--help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// How a stop goes.
    Stop,
    /// External commands.
    Hooks,
    /// When the app is ready.
    Ready,
    /// Serving on while others learn of the stop.
    Drain,
    /// The account.
    Watch,
    /// The app's process and graceinit's own.
    Process,
    /// What starts no app, and where settings are read from.
    Tools,
}

/// How often an option may be given, and whether it takes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Present or not.
    Flag,
    /// Counted.
    Count,
    /// One value; the last one counts.
    One(&'static str),
    /// One value, a list with commas; the last one counts. In the file it may be an array.
    List(&'static str),
    /// Perhaps a value, then after `=`.
    Perhaps(&'static str),
    /// A value each time. In its variable: one on each line.
    Many(&'static str),
}

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// What it is called: the long name where there is one.
    pub name: &'static str,
    /// Its key in the file; `None`: it has none.
    pub key: Option<&'static str>,
    /// Its short name.
    pub short: Option<char>,
    /// Other spellings, of the programs that graceinit can stand in for.
    pub also: &'static [&'static str],
    /// `false` for the letters taken over from tini and dumb-init, which have no long name.
    pub long: bool,
    /// The variable that says the same.
    pub variable: Option<&'static str>,
    /// Its values.
    pub kind: Kind,
    /// Where `--help` shows it.
    pub group: Group,
    /// What `--help` says.
    pub help: &'static str,
}

const fn long(
    name: &'static str,
    variable: &'static str,
    kind: Kind,
    group: Group,
    help: &'static str,
) -> Opt {
    let (key, variable) = (Some(name), Some(variable));
    Opt { name, key, short: None, also: &[], long: true, variable, kind, group, help }
}

const fn short(
    letter: char,
    name: &'static str,
    key: Option<&'static str>,
    variable: Option<&'static str>,
    kind: Kind,
    help: &'static str,
) -> Opt {
    let group = Group::Process;
    Opt { name, key, short: Some(letter), also: &[], long: false, variable, kind, group, help }
}

/// Every option, in the order of `--help`.
pub const OPTIONS: &[Opt] = &[
    Opt {
        short: Some('t'),
        ..long(
            "grace",
            "GRACEINIT_GRACE",
            Kind::One("DUR"),
            Group::Stop,
            "Total budget from the stop request to SIGKILL; every other limit lies inside it [default: 15s; \
         in Docker or Podman 7s]. GRACE_EXIT_TIMEOUT is read too",
        )
    },
    long(
        "grace-max",
        "GRACEINIT_GRACE_MAX",
        Kind::One("DUR"),
        Group::Stop,
        "How far the app itself may move that moment (EXTEND_TIMEOUT_USEC through NOTIFY_SOCKET), counted from \
         the stop request [default: not at all]",
    ),
    long(
        "post-stop-timeout",
        "GRACEINIT_POST_STOP_TIMEOUT",
        Kind::One("DUR"),
        Group::Stop,
        "What the post-stop hooks get after that [default: 5s; in Docker or Podman 2s]",
    ),
    long(
        "stop-on",
        "GRACEINIT_STOP_ON",
        Kind::List("SIG,..."),
        Group::Stop,
        "Signals that begin a graceful stop [default: TERM,INT]",
    ),
    long(
        "stop-signal",
        "GRACEINIT_STOP_SIGNAL",
        Kind::List("SIG[:WAIT],..."),
        Group::Stop,
        "What the app is sent; several make a ladder, each waiting WAIT for the app to end before the next \
         (TERM:10s,INT:5s) [default: the signal that was received]",
    ),
    long(
        "scope",
        "GRACEINIT_SCOPE",
        Kind::One("group|main|mixed|tree"),
        Group::Stop,
        "Who receives the signals: the app's process group; the app alone; the app first and every \
         descendant from the second stop signal on; every descendant [default: group]",
    ),
    Opt {
        short: Some('r'),
        ..long(
            "rewrite",
            "GRACEINIT_REWRITE",
            Kind::Many("FROM:TO"),
            Group::Stop,
            "Send the app TO instead of FROM (names or numbers); TO 0 drops it",
        )
    },
    long(
        "diagnose",
        "GRACEINIT_DIAGNOSE",
        Kind::One("SIG[@LEAD]"),
        Group::Stop,
        "Sent to the app LEAD before SIGKILL, so that it says what it is doing (QUIT for Go and the JVM) \
         [default LEAD: 2s]",
    ),
    long(
        "stop-again",
        "GRACEINIT_STOP_AGAIN",
        Kind::One("ignore|kill"),
        Group::Stop,
        "What a second stop request does [default: ignore; for a Ctrl-C typed at the terminal kill]",
    ),
    long(
        "grace-exit",
        "GRACEINIT_GRACE_EXIT",
        Kind::One("CODE"),
        Group::Stop,
        "Exit code when the app had to be killed [default: 137]",
    ),
    long(
        "stop-exit-ok",
        "GRACEINIT_STOP_EXIT_OK",
        Kind::Many("CODE"),
        Group::Stop,
        "Exit 0 for this code of the app if a stop had been asked for (143 of a JVM)",
    ),
    long(
        "reload-on",
        "GRACEINIT_RELOAD_ON",
        Kind::List("SIG,..."),
        Group::Stop,
        "Signals that are passed on only after the on-reload hooks, if there are any [default: HUP]",
    ),
    long(
        "profile",
        "GRACEINIT_PROFILE",
        Kind::One("NAME[:ARG]"),
        Group::Stop,
        "Settings known to be right for a server (nginx, postgres, jvm ...); every other source counts more",
    ),
    long(
        "pre-start",
        "GRACEINIT_PRE_START",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run in order before the app is started; a failure ends the start",
    ),
    long(
        "on-ready",
        "GRACEINIT_ON_READY",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run in order when the app is ready",
    ),
    long(
        "on-reload",
        "GRACEINIT_ON_RELOAD",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run in order before a signal of --reload-on is passed on",
    ),
    long(
        "pre-stop",
        "GRACEINIT_PRE_STOP",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run first, all side by side; a failure is a warning",
    ),
    long(
        "on-stop",
        "GRACEINIT_ON_STOP",
        Kind::Many("CMD"),
        Group::Hooks,
        "Then run in order while the app still runs; retried while time is left",
    ),
    long(
        "post-stop",
        "GRACEINIT_POST_STOP",
        Kind::Many("CMD"),
        Group::Hooks,
        "Run in order after everything else, whatever happened",
    ),
    long(
        "hook-timeout",
        "GRACEINIT_HOOK_TIMEOUT",
        Kind::One("DUR"),
        Group::Hooks,
        "A hook is killed after this [default: 5s]",
    ),
    long(
        "hook-retries",
        "GRACEINIT_HOOK_RETRIES",
        Kind::One("N"),
        Group::Hooks,
        "How often a failed hook is tried again [default: 3 for on-stop, else 0]",
    ),
    long(
        "hook-backoff",
        "GRACEINIT_HOOK_BACKOFF",
        Kind::One("DUR"),
        Group::Hooks,
        "The pause before the first retry, doubled each time [default: 200ms]",
    ),
    long(
        "ready",
        "GRACEINIT_READY",
        Kind::Many("WHEN"),
        Group::Ready,
        "The app is ready when all of these hold: notify, fd:N, tcp:PORT, http://127.0.0.1:PORT/PATH, exec:CMD, \
         signal:SIG, file:PATH, after:DUR [default: started]",
    ),
    long(
        "ready-timeout",
        "GRACEINIT_READY_TIMEOUT",
        Kind::One("DUR"),
        Group::Ready,
        "Not ready by then: the app is stopped, exit 124 [default: none]",
    ),
    long(
        "ready-file",
        "GRACEINIT_READY_FILE",
        Kind::One("PATH"),
        Group::Ready,
        "A file that exists exactly while the app is ready (for exec probes)",
    ),
    long(
        "drain",
        "GRACEINIT_DRAIN",
        Kind::List("PORT,...|auto"),
        Group::Drain,
        "Before the stop signal wait until the connections of these ports are closed or idle; auto: the ports \
         that the app listens on [default: off]",
    ),
    long(
        "drain-delay",
        "GRACEINIT_DRAIN_DELAY",
        Kind::One("DUR"),
        Group::Drain,
        "Serve at least this long after readiness fell, so that load balancers learn of it [default: 2s with \
         --drain, else 0s]",
    ),
    long(
        "drain-acks",
        "GRACEINIT_DRAIN_ACKS",
        Kind::One("N"),
        Group::Drain,
        "End the delay early once N readiness probes were answered \"not ready\" (needs --listen) [default: off]",
    ),
    long(
        "drain-idle",
        "GRACEINIT_DRAIN_IDLE",
        Kind::One("DUR"),
        Group::Drain,
        "The longest silence of the app inside one answer: after it, a connection on which the app spoke last is \
         idle [default: half of the drain's time, at most 8s]",
    ),
    long(
        "drain-max",
        "GRACEINIT_DRAIN_MAX",
        Kind::One("DUR"),
        Group::Drain,
        "End the drain after this at the latest [default: what the budget leaves]",
    ),
    long(
        "drain-quiet",
        "GRACEINIT_DRAIN_QUIET",
        Kind::One("DUR"),
        Group::Drain,
        "Has no effect any more: each connection has to be idle once (--drain-idle)",
    ),
    long(
        "drain-owed",
        "GRACEINIT_DRAIN_OWED",
        Kind::One("DUR"),
        Group::Drain,
        "An answer that is owed for longer counts as busy no more (HTTP/2 keeps connections owed) [default: \
         no limit]",
    ),
    long(
        "listen",
        "GRACEINIT_LISTEN",
        Kind::Many("ADDR"),
        Group::Watch,
        "Answer /metrics, /readyz, /livez and /debug/graceinit here: 127.0.0.1:9180, [::]:9180, :9180 or unix:/run/graceinit.sock",
    ),
    long(
        "metrics-file",
        "GRACEINIT_METRICS_FILE",
        Kind::One("PATH"),
        Group::Watch,
        "Keep the metrics in this file too, replaced atomically, the final values included (for the textfile \
         collector)",
    ),
    long(
        "report",
        "GRACEINIT_REPORT",
        Kind::One("PATH"),
        Group::Watch,
        "Write the account of this life here at exit: JSON, at most 4 KiB. /dev/termination-log shows it in \
         kubectl describe pod",
    ),
    Opt {
        short: Some('v'),
        also: &["verbose"],
        long: false,
        key: Some("verbosity"),
        ..long(
            "v",
            "GRACEINIT_VERBOSITY",
            Kind::Count,
            Group::Watch,
            "Log more: -v info, -vv debug, -vvv trace",
        )
    },
    long(
        "log-level",
        "GRACEINIT_LOG",
        Kind::One("LEVEL"),
        Group::Watch,
        "off, error, warn, info, debug or trace [default: warn; in Kubernetes info]",
    ),
    long(
        "log-format",
        "GRACEINIT_LOG_FORMAT",
        Kind::One("text|json"),
        Group::Watch,
        "text for people, json for programs: one object a line [default: text; in Kubernetes json, unless \
         stderr is a terminal]",
    ),
    long(
        "user",
        "GRACEINIT_USER",
        Kind::One("USER[:GROUP]"),
        Group::Process,
        "Run the app and the hooks as this user: names from /etc/passwd and /etc/group, or numbers",
    ),
    short(
        's',
        "s",
        Some("subreaper"),
        Some("GRACEINIT_SUBREAPER"),
        Kind::Flag,
        "Be a child subreaper (accepted; automatic when not PID 1)",
    ),
    short(
        'p',
        "p",
        Some("parent-signal"),
        Some("GRACEINIT_PARENT_SIGNAL"),
        Kind::One("SIG"),
        "Be sent SIG when the parent process dies",
    ),
    short(
        'e',
        "e",
        Some("exit-ok"),
        Some("GRACEINIT_EXIT_OK"),
        Kind::Many("CODE"),
        "Exit 0 for this code of the app",
    ),
    short(
        'w',
        "w",
        Some("warn-reap"),
        Some("GRACEINIT_WARN_REAP"),
        Kind::Flag,
        "Warn when an orphan is reaped",
    ),
    short('g', "g", None, None, Kind::Flag, "The same as --scope group"),
    Opt {
        also: &["single-child"],
        ..short('c', "c", None, None, Kind::Flag, "The same as --scope main")
    },
    Opt {
        key: None,
        ..long(
            "config",
            "GRACEINIT_CONFIG",
            Kind::One("PATH"),
            Group::Tools,
            "Read settings from this TOML file too; flags and variables count more",
        )
    },
    Opt {
        key: None,
        ..long(
            "check",
            "GRACEINIT_CHECK",
            Kind::Perhaps("docker|k8s:DUR"),
            Group::Tools,
            "Read everything, print the plan of a stop as a time line and start nothing; held against the \
             time that docker stop (10s) or a pod (k8s:30s) gives",
        )
    },
    Opt {
        key: None,
        variable: None,
        ..long(
            "probe",
            "",
            Kind::One("ready|live|status"),
            Group::Tools,
            "Ask the graceinit that answers at --listen (or GRACEINIT_LISTEN) and exit 0 or 1: for a HEALTHCHECK \
             or an exec probe in an image without curl",
        )
    },
    Opt {
        key: None,
        variable: None,
        ..long(
            "render",
            "",
            Kind::One("PATH"),
            Group::Tools,
            "Draw a saved report (- is stdin) as a page on stdout: graceinit --render report.json > stop.html",
        )
    },
    Opt {
        group: Group::Tools,
        ..short(
            'P',
            "P",
            None,
            None,
            Kind::Flag,
            "Run no app: reap orphans, and exit 0 at TERM or INT (the pause process of a pod)",
        )
    },
    Opt {
        group: Group::Tools,
        also: &["L"],
        ..short('l', "l", None, None, Kind::Flag, "Show the licence and exit")
    },
];
