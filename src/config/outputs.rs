//! `--log-format`, `--metrics-file`, `--report`: where and how graceinit writes about a life. `--probe`, `--render`, `-P`:
//! what is done instead of running an app.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use super::platform::choice;
use super::reader::Reader;
use super::source::{Found, Source};
use super::{Place, Variables, defaults, listen, parse};
use crate::account::log::Format;
use crate::cli::{Given, OptionId};
use crate::sys::listen::Address;

/// The files that graceinit writes about a life.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watch {
    /// `--metrics-file`
    pub metrics_file: Option<CString>,
    /// `--report`
    pub report: Option<CString>,
}

impl Watch {
    /// Whether there is such a file.
    pub fn writes_files(&self) -> bool {
        self.metrics_file.is_some() || self.report.is_some()
    }
}

/// What is done instead of running an app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tool {
    /// `--probe`
    Probe(Question),
    /// `--render`; `-` is stdin.
    Render(CString),
    /// `-P`
    Pause,
}

/// The question of `--probe`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// `ready`
    Ready,
    /// `live`
    Live,
    /// `status`
    Status,
}

/// The options of which each is all that graceinit does: no app, no log.
const TOOLS: [OptionId; 5] =
    [OptionId::Probe, OptionId::Render, OptionId::Check, OptionId::Pause, OptionId::Rehearse];
/// Options with a path. If two name the same file, the message is about the later one.
const PATHS: [OptionId; 4] =
    [OptionId::Config, OptionId::ReadyFile, OptionId::MetricsFile, OptionId::Report];

#[cold]
pub(super) fn read(reader: &mut Reader<'_>) -> Watch {
    Watch {
        metrics_file: reader.one_bytes(OptionId::MetricsFile, |text| {
            let path = parse::file_path(text, "/run/metrics/app.prom")?;
            match fs::metadata(text) {
                // The file is replaced by rename(2), which would put a regular file in the place of a device.
                Ok(there) if !there.is_file() => {
                    Err("it is not a regular file, so it cannot be replaced; name a regular file"
                        .to_owned())
                }
                _ => Ok(path),
            }
        }),
        report: reader
            .one_bytes(OptionId::Report, |text| parse::file_path(text, "/dev/termination-log")),
    }
}

/// Refuses what cannot be used together with another setting, and warns of what has no effect.
#[cold]
pub(super) fn conflicts(reader: &mut Reader<'_>) {
    let mut taken: Vec<(PathBuf, String)> = Vec::new();
    for found in reader.all_known(OptionId::Listen) {
        let text = found.text();
        let socket = text.trim().strip_prefix("unix:").filter(|path| path.starts_with('/'));
        let source = || found.with_source(OptionId::Listen);
        taken.extend(socket.map(|path| (PathBuf::from(path), source())));
    }
    for id in PATHS {
        let Some(found) = reader.known(id).cloned() else { continue };
        // Resolves `.` and doubled `/` only: the file may not exist yet.
        let Ok(path) = std::path::absolute(&found.value) else { continue };
        if let Some((_, other)) = taken.iter().find(|(known, _)| *known == path) {
            let why = format!("it is already in use ({other}); name another file");
            reader.wrong(id, &found, why);
        }
        taken.push((path, found.with_source(id)));
    }
    let metrics = reader.known(OptionId::MetricsFile).filter(|found| !is_prom(found)).cloned();
    if let Some(found) = metrics {
        reader.warnings.push(format!(
            "{} '{}': the textfile collector reads only files that end in .prom",
            found.source,
            found.text()
        ));
    }
}

fn is_prom(found: &Found) -> bool {
    Path::new(&found.value).extension().is_some_and(|ending| ending == "prom")
}

/// The addresses that `--probe` asks: of the flag, else of the variable, else of the file. Nothing else in the file
/// counts: it may have been changed since the app was started, and a mistake in it must not make a running app look
/// unready.
fn probed_addresses(reader: &mut Reader<'_>) -> Vec<Address> {
    let above = reader.lookup.above_file(OptionId::Listen).is_some_and(|found| !found.is_empty());
    let in_file = if above { Vec::new() } else { reader.open_file() };
    let addresses = listen::read(reader);
    if addresses.is_empty() && !reader.has_failed(OptionId::Listen) {
        let probe = reader.known(OptionId::Probe).cloned();
        if let (true, Some(found)) = (in_file.is_empty(), probe) {
            let why =
                "the address of graceinit is unknown; add --listen ADDR, or set GRACEINIT_LISTEN";
            reader.wrong(OptionId::Probe, &found, why);
        }
        reader.add_mistakes(in_file);
    }
    addresses
}

/// Whether `--probe`, `--render` or `-P` is on the command line.
pub(super) fn wants_tool(given: &Given) -> bool {
    [OptionId::Probe, OptionId::Render, OptionId::Pause].iter().any(|id| given.has(*id))
}

/// The tool, and the addresses that it asks. No setting for the life of an app is read: the variables are there for the
/// graceinit that runs the app.
#[cold]
pub(super) fn tool(
    given: &Given,
    variables: &Variables<'_>,
) -> Result<(Tool, Vec<Address>), Vec<String>> {
    let mut reader = Reader::without_file(given, variables, Place::default());
    let probe = reader.one(OptionId::Probe, question).map(Tool::Probe);
    let render = reader.one_bytes(OptionId::Render, |text| parse::file_path(text, "report.json"));
    let render = render.map(Tool::Render);
    let is_probe = given.has(OptionId::Probe);
    let is_pause = given.has(OptionId::Pause) && render.is_none();
    let (asked, allowed, alone) = match (is_probe, is_pause) {
        (true, _) => (
            "--probe",
            &[OptionId::Probe, OptionId::Listen, OptionId::Config][..],
            "a probe starts nothing, and reads --listen and --config only",
        ),
        // The other three have no effect where there is no app.
        (false, true) => (
            "-P",
            &[OptionId::Pause, OptionId::Subreaper, OptionId::ScopeGroup, OptionId::Verbosity][..],
            "it runs no app, and only reaps orphans",
        ),
        (false, false) => {
            ("--render", &[OptionId::Render][..], "a page is made from the report alone")
        }
    };
    for (id, _) in given.options.iter().filter(|(id, _)| !allowed.contains(id)) {
        let flag = Source::Flag(*id);
        reader.wrong_at_all(if TOOLS.contains(id) {
            format!(
                "unable to use {asked} together with {flag}: each of them is a mode of its own; choose one"
            )
        } else {
            format!("unable to use {flag} together with {asked}: {alone}; leave {flag} out")
        });
    }
    if let Some(word) = given.command.first() {
        reader.wrong_at_all(format!(
            "unable to use {asked} together with the command '{}': {alone}; leave the command out",
            word.to_string_lossy()
        ));
    }
    let addresses = if is_probe { probed_addresses(&mut reader) } else { Vec::new() };
    let pause = is_pause.then_some(Tool::Pause);
    match (reader.mistakes(), probe.or(render).or(pause)) {
        (mistakes, Some(tool)) if mistakes.is_empty() => Ok((tool, addresses)),
        (mistakes, _) => Err(mistakes),
    }
}

/// `--log-format`; the default where the value cannot be read.
pub(super) fn log_format(reader: &mut Reader<'_>) -> Format {
    let default =
        defaults::default(OptionId::LogFormat, reader.lookup.place, reader.lookup.contract);
    let default = default.and_then(|found| format(&found.text()).ok()).unwrap_or_default();
    reader.one(OptionId::LogFormat, format).unwrap_or(default)
}

/// How a mistake on a command line that could not be read is written: as the log would be, as far as the variables and
/// the file say so.
#[cold]
pub fn format_of_mistakes(variables: &Variables<'_>, place: Place) -> Format {
    let nothing = Given::default();
    let mut reader = Reader::new(&nothing, variables, place);
    choice::choose(&mut reader);
    match reader.one(OptionId::Check, choice::check).flatten() {
        Some(_) => Format::Text,
        None => log_format(&mut reader),
    }
}

pub(super) fn format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("not a format; write text or json".to_owned()),
    }
}

fn question(text: &str) -> Result<Question, String> {
    match text {
        "ready" => Ok(Question::Ready),
        "live" => Ok(Question::Live),
        "status" => Ok(Question::Status),
        _ => Err("not a question; write ready, live or status".to_owned()),
    }
}
