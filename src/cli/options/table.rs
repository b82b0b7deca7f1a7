//! The table of options: those of the life of an app.

use super::{Group, Kind, Opt, OptionId, Toml, Value};

impl Opt {
    /// Puts the option into the list that `-h` prints.
    pub(super) const fn common(self, summary: &'static str) -> Opt {
        Opt { summary: Some(summary), ..self }
    }

    const fn short(self, letter: char) -> Opt {
        Opt { short: Some(letter), ..self }
    }

    /// An option that the file cannot set.
    pub(super) const fn no_key(self) -> Opt {
        Opt { key: None, ..self }
    }

    /// An option that no variable can set.
    pub(super) const fn no_variable(self) -> Opt {
        Opt { variable: None, ..self }
    }
}

/// An option with a long name, which is its key in the file as well.
pub(super) const fn long(
    id: OptionId,
    name: &'static str,
    variable: &'static str,
    kind: Kind,
    group: Group,
    help: &'static str,
) -> Opt {
    let (key, variable) = (Some(name), Some(variable));
    let (short, also, long, summary) = (None, &[], true, None);
    Opt { id, name, key, short, also, long, variable, kind, group, summary, help }
}

/// An option without a long name.
pub(super) const fn letter(
    id: OptionId,
    name: &'static str,
    letter: char,
    key: Option<&'static str>,
    variable: Option<&'static str>,
    kind: Kind,
    help: &'static str,
) -> Opt {
    let (group, short) = (Group::Process, Some(letter));
    let (also, long, summary): (&[&str], _, _) = (&[], false, None);
    Opt { id, name, key, short, also, long, variable, kind, group, summary, help }
}

pub(super) const DUR: Value = Value { name: "DUR", toml: Toml::Duration };
const CMD: Value = text("CMD");
pub(super) const PATH: Value = text("PATH");

pub(super) const fn text(name: &'static str) -> Value {
    Value { name, toml: Toml::Text }
}

pub(super) const fn number(name: &'static str) -> Value {
    Value { name, toml: Toml::Number }
}

/// The options of a life, in the order of `--help`.
pub(super) const LIFE: &[Opt] = &[
    long(
        OptionId::Grace,
        "grace",
        "GRACEINIT_GRACE",
        Kind::One(DUR),
        Group::Stop,
        "Total budget, from the stop request to SIGKILL; every other limit lies inside it [default: 15s; in Docker \
         or Podman 7s, elsewhere as --platform says]. GRACE_EXIT_TIMEOUT is read too",
    )
    .short('t')
    .common("total time from the stop request to SIGKILL"),
    long(
        OptionId::GraceMax,
        "grace-max",
        "GRACEINIT_GRACE_MAX",
        Kind::One(DUR),
        Group::Stop,
        "Longest budget, counted from the stop request, that the app can ask for (EXTEND_TIMEOUT_USEC, sent to \
         NOTIFY_SOCKET) [default: as --grace]",
    ),
    long(
        OptionId::PostStopTimeout,
        "post-stop-timeout",
        "GRACEINIT_POST_STOP_TIMEOUT",
        Kind::One(DUR),
        Group::Stop,
        "Time for the post-stop hooks after that [default: 5s; in Docker or Podman 2s, elsewhere as \
         --platform says]",
    ),
    long(
        OptionId::StopOn,
        "stop-on",
        "GRACEINIT_STOP_ON",
        Kind::List(number("SIG,...")),
        Group::Stop,
        "Signals that begin a graceful stop [default: TERM,INT, and those of --platform]",
    )
    .common("signals that begin a stop"),
    long(
        OptionId::StopSignal,
        "stop-signal",
        "GRACEINIT_STOP_SIGNAL",
        Kind::List(number("SIG[:WAIT],...")),
        Group::Stop,
        "The signal that asks the app to stop. Several make a ladder: the next one is sent when the app has not \
         exited WAIT after the one before (TERM:10s,INT:5s) [default: the signal that was received]",
    )
    .common("signal that asks the app to stop"),
    long(
        OptionId::Scope,
        "scope",
        "GRACEINIT_SCOPE",
        Kind::One(text("auto|group|main|mixed|tree")),
        Group::Stop,
        "Which processes receive the signals. auto: the app; a stop signal then goes to each descendant that no \
         living process stops, once; group: the app's process group; main: the app alone; mixed: the app, and \
         every descendant from the second stop signal on; tree: every descendant [default: auto]",
    )
    .common("which processes receive the signals"),
    long(
        OptionId::Rewrite,
        "rewrite",
        "GRACEINIT_REWRITE",
        Kind::Many(text("FROM:TO")),
        Group::Stop,
        "Forward signal TO instead of FROM (names or numbers); with TO 0 FROM is dropped",
    )
    .short('r')
    .common("forward another signal instead"),
    long(
        OptionId::Diagnose,
        "diagnose",
        "GRACEINIT_DIAGNOSE",
        Kind::One(number("SIG[@LEAD]")),
        Group::Stop,
        "Signal that is sent to the app LEAD before SIGKILL, so that the app prints its state (QUIT for Go and the \
         JVM) [default LEAD: 2s]",
    ),
    long(
        OptionId::StopAgain,
        "stop-again",
        "GRACEINIT_STOP_AGAIN",
        Kind::One(text("ignore|kill")),
        Group::Stop,
        "What a second stop request does [default: ignore; kill for a Ctrl-C typed at the terminal]",
    ),
    long(
        OptionId::GraceExit,
        "grace-exit",
        "GRACEINIT_GRACE_EXIT",
        Kind::One(number("CODE")),
        Group::Stop,
        "Exit status when the app had to be killed [default: 137]",
    ),
    long(
        OptionId::OomExit,
        "oom-exit",
        "GRACEINIT_OOM_EXIT",
        Kind::One(number("CODE")),
        Group::Stop,
        "Exit status when the kernel has killed the app for want of memory [default: 137]",
    ),
    long(
        OptionId::ChildOom,
        "child-oom",
        "GRACEINIT_CHILD_OOM",
        Kind::One(text("note|stop")),
        Group::Stop,
        "When the kernel has killed another process than the app for want of memory: note warns, stop also stops the \
         app [default: note]",
    ),
    long(
        OptionId::StopExitOk,
        "stop-exit-ok",
        "GRACEINIT_STOP_EXIT_OK",
        Kind::Many(number("CODE")),
        Group::Stop,
        "Exit with 0 when the app exits with CODE after a stop request (143 for a JVM)",
    ),
    long(
        OptionId::ReloadOn,
        "reload-on",
        "GRACEINIT_RELOAD_ON",
        Kind::List(number("SIG,...")),
        Group::Stop,
        "Signals that are forwarded after the on-reload hooks, if there are any [default: HUP]",
    ),
    long(
        OptionId::Profile,
        "profile",
        "GRACEINIT_PROFILE",
        Kind::One(text("NAME[:ARG]")),
        Group::Stop,
        "Settings that suit a known server (nginx, postgres, jvm ...); every other source counts more",
    )
    .common("settings for a known server (nginx, jvm ...)"),
    long(
        OptionId::Platform,
        "platform",
        "GRACEINIT_PLATFORM",
        Kind::One(text("NAME[:DUR]")),
        Group::Stop,
        "Where graceinit runs (docker, kubernetes, ecs, fly ...), and how long after the stop signal SIGKILL comes \
         there, if that is not the usual time: selects the defaults of --grace, --post-stop-timeout and --stop-on; \
         none: no platform [default: auto, which looks at variables and files]",
    ),
    long(
        OptionId::PreStart,
        "pre-start",
        "GRACEINIT_PRE_START",
        Kind::Many(CMD),
        Group::Hooks,
        "Runs before the app is started, in order; a failure ends the start",
    )
    .common("hook that runs before the app is started"),
    long(
        OptionId::OnReady,
        "on-ready",
        "GRACEINIT_ON_READY",
        Kind::Many(CMD),
        Group::Hooks,
        "Runs when the app is ready, in order",
    ),
    long(
        OptionId::OnReload,
        "on-reload",
        "GRACEINIT_ON_RELOAD",
        Kind::Many(CMD),
        Group::Hooks,
        "Runs before a signal of --reload-on is forwarded, in order",
    ),
    long(
        OptionId::PreStop,
        "pre-stop",
        "GRACEINIT_PRE_STOP",
        Kind::Many(CMD),
        Group::Hooks,
        "Runs when a stop begins, all at the same time; a failure is a warning",
    )
    .common("hook that runs when a stop begins"),
    long(
        OptionId::OnStop,
        "on-stop",
        "GRACEINIT_ON_STOP",
        Kind::Many(CMD),
        Group::Hooks,
        "Runs after the pre-stop hooks while the app still runs, in order; retried while time is left",
    )
    .common("hook that stops the app, before the signal"),
    long(
        OptionId::PostStop,
        "post-stop",
        "GRACEINIT_POST_STOP",
        Kind::Many(CMD),
        Group::Hooks,
        "Runs after everything else, in order, however the app ended",
    )
    .common("hook that runs after everything else"),
    long(
        OptionId::HookTimeout,
        "hook-timeout",
        "GRACEINIT_HOOK_TIMEOUT",
        Kind::One(DUR),
        Group::Hooks,
        "A hook is killed after this time [default: 5s]",
    )
    .common("a hook is killed after this time"),
    long(
        OptionId::HookRetries,
        "hook-retries",
        "GRACEINIT_HOOK_RETRIES",
        Kind::One(number("N")),
        Group::Hooks,
        "How often a failed hook is retried [default: 3 for on-stop, else 0]",
    ),
    long(
        OptionId::HookBackoff,
        "hook-backoff",
        "GRACEINIT_HOOK_BACKOFF",
        Kind::One(DUR),
        Group::Hooks,
        "Pause before the first retry; each further pause is twice as long [default: 200ms]",
    ),
    long(
        OptionId::Ready,
        "ready",
        "GRACEINIT_READY",
        Kind::Many(text("WHEN")),
        Group::Ready,
        "The app is ready when all of these hold: notify, fd:N, tcp:PORT, http://127.0.0.1:PORT/PATH, exec:CMD, \
         signal:SIG, file:PATH, after:DUR [default: started]",
    )
    .common("when the app is ready (notify, tcp:PORT ...)"),
    long(
        OptionId::ReadyTimeout,
        "ready-timeout",
        "GRACEINIT_READY_TIMEOUT",
        Kind::One(DUR),
        Group::Ready,
        "An app that is not ready after this time is stopped; the exit status is 124 [default: none]",
    ),
    long(
        OptionId::ReadyFile,
        "ready-file",
        "GRACEINIT_READY_FILE",
        Kind::One(PATH),
        Group::Ready,
        "A file that exists exactly while the app is ready (for exec probes)",
    ),
    long(
        OptionId::Health,
        "health",
        "GRACEINIT_HEALTH",
        Kind::Many(text("WHEN")),
        Group::Ready,
        "What /readyz and /servez ask an app that is ready: http://127.0.0.1:PORT/PATH, tcp:PORT, unix:PATH, file:PATH",
    ),
    long(
        OptionId::Live,
        "live",
        "GRACEINIT_LIVE",
        Kind::Many(text("WHEN")),
        Group::Ready,
        "What /livez and --probe live ask the app while it is ready, as --health",
    ),
    long(
        OptionId::HealthTimeout,
        "health-timeout",
        "GRACEINIT_HEALTH_TIMEOUT",
        Kind::One(DUR),
        Group::Ready,
        "The longest wait for an answer to --health and --live [default: 1s]",
    ),
    long(
        OptionId::Drain,
        "drain",
        "GRACEINIT_DRAIN",
        Kind::List(number("PORT,...|auto")),
        Group::Drain,
        "Wait until the connections of these ports and Unix sockets (unix:PATH) are idle; auto: all that the app has",
    )
    .common("wait for the connections of these ports first"),
    long(
        OptionId::DrainDelay,
        "drain-delay",
        "GRACEINIT_DRAIN_DELAY",
        Kind::One(DUR),
        Group::Drain,
        "Keep serving at least this long after the app is reported not ready, so that load balancers notice \
         [default: 2s with --drain, else 0s]",
    )
    .common("keep serving this long, for load balancers"),
    long(
        OptionId::DrainAcks,
        "drain-acks",
        "GRACEINIT_DRAIN_ACKS",
        Kind::One(number("N")),
        Group::Drain,
        "End the delay early once N readiness probes were answered \"not ready\" (needs --listen) [default: off]",
    ),
    long(
        OptionId::DrainIdle,
        "drain-idle",
        "GRACEINIT_DRAIN_IDLE",
        Kind::One(DUR),
        Group::Drain,
        "The longest silence of the app inside one answer: a connection on which the app spoke last is idle after it \
         [default: half of the drain's time, at most 8s]",
    ),
    long(
        OptionId::DrainMax,
        "drain-max",
        "GRACEINIT_DRAIN_MAX",
        Kind::One(DUR),
        Group::Drain,
        "End the drain after this at the latest [default: what the budget leaves]",
    ),
    long(
        OptionId::DrainQuiet,
        "drain-quiet",
        "GRACEINIT_DRAIN_QUIET",
        Kind::One(DUR),
        Group::Drain,
        "Has no effect any more: the drain ends when each connection was idle once (--drain-idle)",
    ),
    long(
        OptionId::DrainOwed,
        "drain-owed",
        "GRACEINIT_DRAIN_OWED",
        Kind::One(DUR),
        Group::Drain,
        "An answer that is owed for longer is not waited for (HTTP/2 looks owed for ever) [default: no limit]",
    ),
    long(
        OptionId::Drained,
        "drained",
        "GRACEINIT_DRAINED",
        Kind::Many(text("WHEN")),
        Group::Drain,
        "The drain ends when the app itself says so, too, and all of these hold: exec:CMD, http://127.0.0.1:PORT/PATH \
         (2xx), metric:http://127.0.0.1:PORT/PATH NAME <= N [default: none]",
    ),
    long(
        OptionId::Listen,
        "listen",
        "GRACEINIT_LISTEN",
        Kind::Many(text("ADDR")),
        Group::Watch,
        "Serve /metrics, /readyz, /livez and /debug/graceinit at this address: 127.0.0.1:9180, [::]:9180, :9180 or \
         unix:/run/graceinit.sock",
    )
    .common("serve /metrics, /readyz and /livez here"),
    long(
        OptionId::MetricsFile,
        "metrics-file",
        "GRACEINIT_METRICS_FILE",
        Kind::One(PATH),
        Group::Watch,
        "Write the metrics to this file too, for the textfile collector. The file is replaced atomically and holds \
         the final values at the end",
    ),
    long(
        OptionId::Report,
        "report",
        "GRACEINIT_REPORT",
        Kind::One(PATH),
        Group::Watch,
        "Write a report of this life to this file at exit: JSON, at most 4 KiB. kubectl describe pod shows \
         /dev/termination-log",
    )
    .common("write a JSON report of this life at exit"),
    Opt {
        also: &["verbose"],
        long: false,
        key: Some("verbosity"),
        ..long(
            OptionId::Verbosity,
            "v",
            "GRACEINIT_VERBOSITY",
            Kind::Count,
            Group::Watch,
            "Log more: each -v raises --log-level by one (from warn: -v info, -vv debug, -vvv trace)",
        )
    }
    .short('v')
    .common("log more: -v info, -vv debug, -vvv trace"),
    long(
        OptionId::LogLevel,
        "log-level",
        "GRACEINIT_LOG",
        Kind::One(text("LEVEL")),
        Group::Watch,
        "off, error, warn, info, debug or trace [default: warn; in Kubernetes info]",
    ),
    long(
        OptionId::LogFormat,
        "log-format",
        "GRACEINIT_LOG_FORMAT",
        Kind::One(text("text|json")),
        Group::Watch,
        "text: lines for people; json: one object on each line [default: text; in Kubernetes json, unless stderr is \
         a terminal]",
    ),
    long(
        OptionId::User,
        "user",
        "GRACEINIT_USER",
        Kind::One(number("USER[:GROUP]")),
        Group::Process,
        "Run the app and the hooks as this user: names from /etc/passwd and /etc/group, or numbers",
    )
    .common("run the app and the hooks as this user"),
    letter(
        OptionId::Subreaper,
        "s",
        's',
        Some("subreaper"),
        Some("GRACEINIT_SUBREAPER"),
        Kind::Flag,
        "Be a child subreaper (accepted, has no effect: graceinit always is one when it is not PID 1)",
    ),
    letter(
        OptionId::ParentSignal,
        "p",
        'p',
        Some("parent-signal"),
        Some("GRACEINIT_PARENT_SIGNAL"),
        Kind::One(number("SIG")),
        "The signal that the kernel sends to graceinit when the parent process dies",
    ),
    letter(
        OptionId::ExitOk,
        "e",
        'e',
        Some("exit-ok"),
        Some("GRACEINIT_EXIT_OK"),
        Kind::Many(number("CODE")),
        "Exit with 0 when the app exits with CODE",
    )
    .common("exit with 0 when the app exits with CODE"),
    letter(
        OptionId::WarnReap,
        "w",
        'w',
        Some("warn-reap"),
        Some("GRACEINIT_WARN_REAP"),
        Kind::Flag,
        "Warn when an orphan is reaped",
    ),
    letter(OptionId::ScopeGroup, "g", 'g', None, None, Kind::Flag, "The same as --scope group"),
    Opt {
        also: &["single-child"],
        ..letter(OptionId::ScopeMain, "c", 'c', None, None, Kind::Flag, "The same as --scope main")
    },
];
