//! The table of options: what starts no app for good, and where settings are read from.

use super::table::{DUR, PATH, letter, long, number, text};
use super::{Group, Kind, Opt, OptionId};

/// An option of `--rehearse`. On the command line only: a forgotten variable of a container must not turn the life of
/// its app into a rehearsal.
const fn rehearsal(id: OptionId, name: &'static str, kind: Kind, help: &'static str) -> Opt {
    long(id, name, "", kind, Group::Rehearsal, help).no_key().no_variable()
}

/// These options, in the order of `--help`.
pub(super) const TOOLS: &[Opt] = &[
    long(
        OptionId::Config,
        "config",
        "GRACEINIT_CONFIG",
        Kind::One(PATH),
        Group::Tools,
        "Read settings from this TOML file too; flags and variables count more",
    )
    .no_key()
    .common("read settings from this TOML file too"),
    long(
        OptionId::Check,
        "check",
        "GRACEINIT_CHECK",
        Kind::Optional(text("PLATFORM[:DUR]|DUR")),
        Group::Tools,
        "Read all settings, print the plan of a stop as a timeline and start nothing; compare it with the time \
         that a platform gives (docker, k8s:30s, fly ...), and draw the defaults of that platform",
    )
    .no_key()
    .common("print the plan of a stop, start nothing"),
    long(
        OptionId::Probe,
        "probe",
        "",
        Kind::One(text("ready|live|status")),
        Group::Tools,
        "Ask the graceinit that serves --listen (or GRACEINIT_LISTEN) and exit with 0 or 1: for a HEALTHCHECK or an \
         exec probe in an image without curl",
    )
    .no_key()
    .no_variable()
    .common("ask a running graceinit, exit with 0 or 1"),
    long(
        OptionId::Render,
        "render",
        "",
        Kind::One(PATH),
        Group::Tools,
        "Print a saved report (- is stdin) as an HTML page: graceinit --render report.json > stop.html",
    )
    .no_key()
    .no_variable(),
    Opt {
        group: Group::Tools,
        ..letter(
            OptionId::Pause,
            "P",
            'P',
            None,
            None,
            Kind::Flag,
            "Run no app: reap orphans, and exit with 0 on TERM or INT (the pause process of a pod)",
        )
    },
    Opt {
        group: Group::Tools,
        also: &["L"],
        ..letter(
            OptionId::Licence,
            "l",
            'l',
            None,
            None,
            Kind::Flag,
            "Print the licence and exit",
        )
    },
    rehearsal(
        OptionId::Rehearse,
        "rehearse",
        Kind::Optional(text("PLATFORM[:DUR]|DUR")),
        "Start the app as configured, put load on it, stop it as the platform does (docker, k8s:30s, fly ...), count \
         the requests that got no whole answer, and search the settings that lose none; exit with 0 if none was lost \
         and the stop fits, else with 1",
    )
    .common("stop the app under load; what is lost?"),
    rehearsal(
        OptionId::Url,
        "url",
        Kind::Many(text("[METHOD:]URL[*WEIGHT]")),
        "What the load asks for, on this host only: :8080/api, http://127.0.0.1:8080/api or POST::8080/api; *3 behind \
         it: three times as often as one without",
    ),
    rehearsal(
        OptionId::Rate,
        "rate",
        Kind::One(number("N")),
        "Requests in a second [default: 200]",
    ),
    rehearsal(
        OptionId::Lag,
        "lag",
        Kind::One(DUR),
        "How long after the stop signal the load balancer stops sending requests to the app [default: 1s]",
    ),
    rehearsal(
        OptionId::RehearseHealth,
        "rehearse-health",
        Kind::One(text("URL")),
        "The balancer is told nothing, but asks this every 0.5 s, and stops sending requests when the answer is no \
         2xx (:9180/readyz)",
    ),
    rehearsal(
        OptionId::Pinned,
        "pinned",
        Kind::Flag,
        "Clients keep their connections to the app itself, as through a Service of Kubernetes, and send on them until \
         the app closes them; only new connections go elsewhere after --lag",
    ),
    rehearsal(
        OptionId::Rounds,
        "rounds",
        Kind::One(number("N")),
        "How many stops must lose nothing [default: 3; with --only 1]",
    ),
    rehearsal(
        OptionId::Only,
        "only",
        Kind::Flag,
        "No search: only the settings that are given, as a step of a pipeline",
    ),
    rehearsal(OptionId::Json, "json", Kind::Flag, "Print the result as one JSON object"),
    rehearsal(
        OptionId::RehearseToml,
        "rehearse-toml",
        Kind::Flag,
        "Print the settings that were found as a file for --config",
    ),
    rehearsal(
        OptionId::RehearseHtml,
        "rehearse-html",
        Kind::One(PATH),
        "Write a page that draws the stop as it is beside the stop with the settings that were found",
    ),
];
