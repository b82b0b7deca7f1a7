//! The program: command line → configuration → supervisor → exit status. The one place that ends the
//! process.
#![no_main]

use std::ffi::OsString;
use std::io::Write;

use graceinit::account::log::{self as account, Format};
use graceinit::account::{journal, set_trace};
use graceinit::cli::persona::Persona;
use graceinit::cli::{self, Instead};
use graceinit::config::outputs::Tool;
use graceinit::config::{self, Config, Place, Refusal};
use graceinit::exit;
use graceinit::life::effects::Leave;
use graceinit::life::files;
use graceinit::life::hooks::environment;
use graceinit::life::main_loop::{self, Birth};
use graceinit::sys::{process, stderr};
use graceinit::tools::{check, pause, probe, render};
use graceinit::types::Signal;

#[path = "sys/launch/entry.rs"]
mod entry;

/// What graceinit was called with.
struct Call {
    persona: Persona,
    /// Without the name.
    args: Vec<OsString>,
}

fn run(call: &Call, birth: Birth) -> ! {
    let config = configure(call);
    account::init(config.level, config.log_format);
    files::keep_account(&config);
    for warning in &config.warnings {
        journal::warn(warning.as_str());
    }
    if log::log_enabled!(log::Level::Info) {
        log::info!("settings: {}", check::in_one_line(&config));
    }
    leave(main_loop::run(config, birth), call.persona)
}

/// What the app is to be run with. Where something else was asked for, that is done, and the end.
///
/// Never inlined: what it needs of the stack is to be used again by what comes later.
#[inline(never)]
fn configure(call: &Call) -> Box<Config> {
    let Call { persona, args } = call;
    let given = match cli::parse(args, *persona) {
        Ok(given) => given,
        Err(Instead::Print(text)) => print(&text, 0),
        Err(Instead::PrintOnStderr(text)) => {
            stderr::write(text.as_bytes());
            process::exit(0)
        }
        Err(Instead::Usage(text)) => {
            stderr::write(text.as_bytes());
            process::exit(persona.codes().own)
        }
        Err(Instead::Mistake(message)) => {
            let variables = config::our_variables(*persona);
            let format = config::outputs::format_of_mistakes(&variables, Place::here(*persona));
            refuse(*persona, Refusal { mistakes: vec![message], format })
        }
    };
    let place = Place::here(*persona);
    let config = match config::build(given, &config::our_variables(*persona), place) {
        Ok(config) => config,
        Err(refusal) => refuse(*persona, refusal),
    };
    // There is no log beside a tool, so its errors are for people.
    let refuse_tool =
        |message| refuse(*persona, Refusal { mistakes: vec![message], format: Format::Text });
    if config.check.is_some() {
        let (text, fits) = check::render(&config);
        print(&text, if fits { 0 } else { exit::DOES_NOT_FIT });
    }
    match &config.tool {
        Some(Tool::Render(path)) => match render::run(path) {
            Ok(page) => print(&page, 0),
            Err(message) => refuse_tool(message),
        },
        Some(Tool::Probe(question)) => {
            let (text, code) = probe::run(*question, &config.listen);
            print(&text, code)
        }
        Some(Tool::Pause) => match pause::run() {
            Ok(()) => process::exit(0),
            Err(message) => refuse_tool(message),
        },
        None => {}
    }
    Box::new(config)
}

fn print(text: &str, code: u8) -> ! {
    // A reader that has gone is no error of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
    process::exit(code)
}

#[cold]
fn refuse(persona: Persona, refusal: Refusal) -> ! {
    account::init(log::LevelFilter::Off, refusal.format);
    if refusal.format == Format::Json {
        set_trace(environment::trace().id());
    }
    for mistake in &refusal.mistakes {
        account::fatal(mistake);
    }
    process::exit(persona.codes().own)
}

fn leave(leave: Leave, persona: Persona) -> ! {
    // PID 1 cannot die of a signal.
    let by = leave.by.filter(|_| !process::is_first());
    match by {
        // A shell that runs a loop stops it only if it sees that the Ctrl-C has killed something.
        Some(Signal::INT) => process::die_by(Signal::INT),
        // The others always leave with 128 + n, and no loop asks for this one.
        Some(Signal::QUIT) if persona == Persona::Graceinit => process::die_by(Signal::QUIT),
        _ => process::exit(leave.code),
    }
}
