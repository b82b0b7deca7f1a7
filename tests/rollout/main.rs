//! The long proof that no request is dropped: `cargo bench --bench rollout`, as root on a machine with the
//! programs that `tests/run` installs. Prints one table; ends with 1 if graceinit dropped a request or was
//! late, or if the control dropped none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a program of its own, which measures times")]
#![allow(missing_docs)]
#![allow(
    unused_imports,
    reason = "the tests within the modules are not built here, their imports are"
)]

#[path = "mod.rs"]
mod rollout;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rollout::cases::{CASES, Case, INITS};
use rollout::{apps, found, table, update};
use support::Program;

/// Requests per second of a rehearsal, which is its default.
const REHEARSED: u32 = 200;

fn cli() -> Command {
    let list = |name: &'static str, of: Vec<&'static str>, help: &'static str| {
        Arg::new(name).long(name).value_delimiter(',').value_parser(of).help(help)
    };
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(u32).range(1..)).help(help)
    };
    let cases = CASES.iter().map(|case| case.name).collect();
    let servers = apps::SERVERS.iter().map(|server| server.name()).collect();
    let inits = INITS.iter().map(|init| table::name(*init)).collect();
    let about: String =
        CASES.iter().map(|case| format!("  {:<12}{}\n", case.name, case.about)).collect();
    Command::new("rollout")
        .about("Rolls services over under load and counts what is dropped")
        .after_help(format!("Cases:\n{about}"))
        .arg(list("case", cases, "these cases alone"))
        .arg(list("server", servers, "these servers alone"))
        .arg(list("init", inits, "these inits alone"))
        .arg(number("rounds", "rounds for every init, instead of the case's"))
        .arg(number("rate", "requests per second, instead of the case's"))
        .arg(Arg::new("graceinit").long("graceinit").help("another file than the one just built"))
        .arg(
            Arg::new("options")
                .long("options")
                .allow_hyphen_values(true)
                .help("graceinit's options, instead of the case's"),
        )
        .arg(
            Arg::new("rehearsed")
                .long("rehearsed")
                .action(ArgAction::SetTrue)
                .help("graceinit's options are those that its own rehearsal finds, with no profile beside them"),
        )
        .arg(
            Arg::new("pool")
                .long("pool")
                .value_parser(value_parser!(bool))
                .help("whether the balancer keeps its connections to the servers"),
        )
        .arg(number(
            "pool-idle",
            "milliseconds after which Caddy closes a connection without a request",
        ))
        .arg(number("interval", "milliseconds between two checks of Envoy and Caddy"))
        .arg(
            Arg::new("keep-alive")
                .long("keep-alive")
                .action(ArgAction::SetTrue)
                .help("the clients use their connections again; else each request opens one"),
        )
        .arg(Arg::new("drops").long("drops").action(ArgAction::SetTrue).help("print each drop"))
        // Cargo says it to every bench.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}

/// Whether a name was asked for; nothing said is everything.
fn wanted(matches: &ArgMatches, list: &str, name: &str) -> bool {
    matches.get_many::<String>(list).is_none_or(|mut words| words.any(|word| word == name))
}

fn main() -> ExitCode {
    let matches = cli().get_matches();
    println!("{}", table::head());
    let mut good = true;
    for case in CASES.iter().filter(|case| wanted(&matches, "case", case.name)) {
        for (server, rate) in case.servers {
            if !wanted(&matches, "server", server.name()) {
                continue;
            }
            for init in
                INITS.into_iter().filter(|init| wanted(&matches, "init", table::name(*init)))
            {
                let rate = matches.get_one::<u32>("rate").copied().unwrap_or(*rate);
                good &= try_it(&matches, case, *server, rate, init);
            }
        }
    }
    println!("\n{}", table::LEGEND);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One row; whether it is as it should be.
fn try_it(
    matches: &ArgMatches,
    case: &Case,
    server: apps::Server,
    rate: u32,
    init: Program,
) -> bool {
    let mut trial = case.trial(server, rate, init);
    trial.pool = matches.get_one("pool").copied().unwrap_or(case.pool);
    let millis =
        |name: &str| matches.get_one::<u32>(name).map(|ms| Duration::from_millis(u64::from(*ms)));
    trial.idle = millis("pool-idle").unwrap_or(case.idle);
    trial.interval = millis("interval").unwrap_or(case.interval);
    trial.keep_alive = matches.get_flag("keep-alive");
    if let Some(rounds) = matches.get_one::<u32>("rounds") {
        trial.rounds = *rounds;
    }
    if init == Program::Graceinit {
        trial.setup.path = matches.get_one::<String>("graceinit").map(Into::into);
        if let Some(options) = matches.get_one::<String>("options") {
            trial.setup.options.clone_from(options);
        }
        if matches.get_flag("rehearsed") {
            match found::settings(server, REHEARSED.min(rate)) {
                Ok(options) => {
                    println!("{}: the rehearsal finds {options:?}", server.name());
                    (trial.setup.options, trial.setup.profile) = (options, false);
                }
                Err(fault) => {
                    println!("{} {}: the rehearsal: {fault:?}", case.name, server.name());
                    return false;
                }
            }
        }
    }
    let report = match update::roll(&trial) {
        Ok(report) => report,
        Err(fault) => {
            println!("{} {} {}: {fault:?}", case.name, server.name(), table::name(init));
            return false;
        }
    };
    println!("{}", table::row(case, init, rate, &report));
    if matches.get_flag("drops") {
        for drop in &report.tally.examples {
            println!("  {} {}", drop.class, drop.path);
        }
    }
    match init {
        Program::Graceinit => report.tally.drops() == 0 && report.kills() == 0,
        _ => report.tally.drops() > 0,
    }
}
