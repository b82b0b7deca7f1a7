//! The program: command line → configuration → supervisor → exit status. The one place that ends the
//! process.
#![no_main]

use std::ffi::OsString;
use std::io::Write;

use graceinit::cli::{self, Instead};
use graceinit::config::watch::Tool;
use graceinit::config::{self, Place};
use graceinit::observe::log::{self as account, Format};
use graceinit::observe::{journal, set_trace};
use graceinit::supervisor::{self, Birth};
use graceinit::sys::process;
use graceinit::sys::signals::Mask;
use graceinit::types::{Pid, Signal};
use graceinit::{check, exit, hookenv, perform::Leave, probe, render, watch};

#[path = "sys/start.rs"]
mod start;

fn run(args: &[OsString], mask: Mask, parent: Pid) -> ! {
    let given = match cli::parse(args) {
        Ok(given) => given,
        Err(Instead::Print(text)) => print(&text, 0),
        Err(Instead::Wrong(message)) => refuse(args, &[message]),
    };
    let config = match config::build(given, &config::our_variables(), Place::here()) {
        Ok(config) => config,
        Err(mistakes) => refuse(args, &mistakes),
    };
    if config.check.is_some() {
        let (text, fits) = check::render(&config);
        print(&text, if fits { 0 } else { exit::DOES_NOT_FIT });
    }
    if let Some(Tool::Render(path)) = &config.tool {
        match render::run(path) {
            Ok(page) => print(&page, 0),
            Err(message) => refuse(args, &[message]),
        }
    }
    if let Some(Tool::Probe(question)) = config.tool {
        let (text, code) = probe::run(question, &config.listen);
        print(&text, code);
    }
    account::init(config.level, config.log_format);
    watch::keep_account(&config);
    for warning in &config.warnings {
        journal::trouble(warning.as_str());
    }
    if log::log_enabled!(log::Level::Info) {
        log::info!("settings: {}", check::in_one_line(&config));
    }
    leave(supervisor::run(config, Birth { mask, parent }))
}

fn print(text: &str, code: u8) -> ! {
    // A reader that has gone is no error of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
    process::exit(code)
}

fn refuse(args: &[OsString], mistakes: &[String]) -> ! {
    let given = cli::parse(args).unwrap_or_default();
    let variables = config::our_variables();
    let format = config::watch::format_of_mistakes(&given, &variables, Place::here());
    account::init(log::LevelFilter::Off, format);
    if format == Format::Json {
        set_trace(hookenv::trace().id());
    }
    for mistake in mistakes {
        account::fatal(mistake);
    }
    process::exit(exit::OWN_ERROR)
}

fn leave(leave: Leave) -> ! {
    match leave.by {
        // A shell that runs a loop stops it only if it sees that the Ctrl-C has killed something.
        // PID 1 cannot die of a signal.
        Some(signal @ (Signal::INT | Signal::QUIT)) if !process::is_first() => {
            process::die_by(signal)
        }
        _ => process::exit(leave.code),
    }
}
