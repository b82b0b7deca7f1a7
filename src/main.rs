//! The program: command line → configuration → life → exit status. Only this file ends the process.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::io::Write;

use graceinit::account::log::Format;
use graceinit::account::{self, journal, set_trace};
use graceinit::cli::persona::Persona;
use graceinit::cli::{self, Instead, OptionId};
use graceinit::config::outputs::Tool;
use graceinit::config::{self, Config, Place, Refusal};
use graceinit::exit;
use graceinit::life::files;
use graceinit::life::hooks::environment;
use graceinit::life::{self, Leave};
use graceinit::sys::heap::Heap;
use graceinit::sys::launch::Inherited;
use graceinit::sys::signals::{self, Mask};
use graceinit::sys::{process, sharing, stderr};
use graceinit::tools::{check, pause, probe, rehearse, render};
use graceinit::types::text::in_one_line;
use graceinit::types::{Signal, Status};

#[path = "sys/launch/entry.rs"]
mod entry;

#[global_allocator]
static HEAP: Heap = Heap;

/// How graceinit was called.
struct Call {
    persona: Persona,
    /// The command line without the name of the program.
    args: Vec<OsString>,
}

/// Called by the entry point, with the name that the program was called by and the words behind it.
fn start(name: Option<&OsStr>, args: Vec<OsString>, inherited: Inherited) -> ! {
    let persona = name.map_or(Persona::Graceinit, Persona::of);
    run(&Call { persona, args }, inherited)
}

fn run(call: &Call, inherited: Inherited) -> ! {
    let config = configure(call, inherited.mask);
    account::log::init(config.level, config.log_format);
    files::keep_account(&config);
    for warning in &config.warnings {
        journal::warn(warning.as_str());
    }
    for note in config.notes.iter().chain(&config.hint) {
        log::info!("{note}");
    }
    if log::log_enabled!(log::Level::Info) {
        log::info!("settings: {}", check::in_one_line(&config));
    }
    leave(life::run(config, inherited), call.persona)
}

/// Builds the configuration. For --check, --probe, --render and -P, runs the tool and exits.
///
/// Never inlined: what comes later uses the same pages of the stack again.
#[inline(never)]
fn configure(call: &Call, mask: Mask) -> Box<Config> {
    let Call { persona, args } = call;
    let given = match cli::parse(args, *persona) {
        Ok(given) => given,
        Err(Instead::Print(text)) => {
            signals::hear(mask);
            print(&text, 0)
        }
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
    let mut variables = config::our_variables(*persona);
    let nested = config::drop_what_another_acts_on(*persona, &given, &mut variables);
    let rehearsed = given.has(OptionId::Rehearse).then(|| given.clone());
    let mut config = match config::build(given, &variables, place) {
        Ok(config) => config,
        Err(refusal) => refuse(*persona, refusal),
    };
    config.notes.extend(nested);
    config.warnings.extend(config::foreign_variables(*persona));
    // There is no log beside a tool, so its errors are for people.
    let refuse_tool = |message: String| {
        let mistakes = vec![in_one_line(&message).into_owned()];
        refuse(*persona, Refusal { mistakes, format: Format::Text })
    };
    if let (Some(rehearsal), Some(given)) = (&config.rehearsal, &rehearsed) {
        let call = rehearse::Call { given, variables: &variables, place, persona: *persona, mask };
        match rehearse::run(&config, rehearsal, &call) {
            Ok(rehearse::Ended::Code(code)) => process::exit(code),
            Ok(rehearse::Ended::By(signal)) => {
                let code = Status::Signal(signal).shell_code();
                leave(Leave { code, by: Some(signal) }, *persona)
            }
            Err(message) => refuse_tool(message),
        }
    }
    if config.check.is_some() || config.tool.as_ref().is_some_and(|tool| *tool != Tool::Pause) {
        // A tool may wait for its input, or for the reader of its output.
        signals::hear(mask);
    }
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
    // Ignore EPIPE.
    let _ = std::io::stdout().write_all(text.as_bytes());
    process::exit(code)
}

#[cold]
fn refuse(persona: Persona, refusal: Refusal) -> ! {
    account::log::init(log::LevelFilter::Off, refusal.format);
    if refusal.format == Format::Json {
        set_trace(environment::trace().id());
    }
    for mistake in &refusal.mistakes {
        account::log::fatal(mistake);
    }
    stderr::finish();
    process::exit(persona.codes().own)
}

fn leave(leave: Leave, persona: Persona) -> ! {
    // The kernel does not let PID 1 die of a signal.
    let by = leave.by.filter(|_| !process::is_first());
    stderr::finish();
    sharing::let_go();
    match by {
        // A shell ends a loop only if the Ctrl-C has killed the program in it.
        Some(Signal::INT) => process::die_by(Signal::INT),
        // The other inits always exit with 128 + n, and no loop depends on SIGQUIT.
        Some(Signal::QUIT) if persona == Persona::Graceinit => process::die_by(Signal::QUIT),
        _ => process::exit(leave.code),
    }
}
