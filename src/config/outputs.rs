//! `--log-format`, `--metrics-file`, `--report`: where the account goes. `--probe`, `--render`: what is
//! done with it instead of running an app.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::found::Found;
use super::reader::{self, Reader};
use super::{Place, Variables, parse, ready};
use crate::account::log::Format;
use crate::cli::Given;
use crate::sys::listen::Address;

/// Where the account goes besides the log and `--listen`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watch {
    /// `--metrics-file`
    pub metrics_file: Option<CString>,
    /// `--report`
    pub report: Option<CString>,
}

impl Watch {
    /// Whether there is such a place.
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

/// What `--probe` asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// `ready`
    Ready,
    /// `live`
    Live,
    /// `status`
    Status,
}

/// Each is all that is done: no app, no log.
const TOOLS: [&str; 4] = ["probe", "render", "check", "P"];
/// Options with a path; the later one is to blame if two of them name the same.
const PATHS: [&str; 4] = ["config", "ready-file", "metrics-file", "report"];

impl Reader<'_> {
    #[cold]
    pub(super) fn watch(&mut self) -> Watch {
        Watch {
            metrics_file: self.one_of("metrics-file", |text| {
                let path = path(text, "/run/metrics/app.prom")?;
                match fs::metadata(text) {
                    // A rename puts a directory entry in place of what is there.
                    Ok(there) if !there.is_file() => {
                        Err("it is no regular file and could not be replaced; name one".to_owned())
                    }
                    _ => Ok(path),
                }
            }),
            report: self.one_of("report", |text| path(text, "/dev/termination-log")),
        }
    }

    /// What of it cannot be used together with anything else, and what is odd.
    #[cold]
    pub(super) fn watch_conflicts(&mut self) {
        let mut taken: Vec<(PathBuf, String)> = Vec::new();
        for found in self.all_known("listen") {
            let text = found.text();
            let socket = text.trim().strip_prefix("unix:").filter(|path| path.starts_with('/'));
            taken.extend(socket.map(|path| (PathBuf::from(path), found.told("listen"))));
        }
        for option in PATHS {
            let Some(found) = self.known(option).cloned() else { continue };
            // Without `.` and doubled `/`; the file need not be there yet.
            let Ok(path) = std::path::absolute(&found.value) else { continue };
            if let Some((_, other)) = taken.iter().find(|(known, _)| *known == path) {
                let why = format!("it is in use already ({other}); name another file");
                self.wrong(option, &found, why);
            }
            taken.push((path, found.told(option)));
        }
        if let Some(found) = self.known("metrics-file").filter(|found| !is_prom(found)).cloned() {
            self.warnings.push(format!(
                "{} '{}': the textfile collector reads only files that end in .prom",
                found.source,
                found.text()
            ));
        }
    }

    /// Those that `--probe` can ask: of a flag, else of the variable, else of the file. Nothing else of
    /// the file counts: it may have been changed since the app was started, and a mistake in it must
    /// not make a running app look unready.
    fn asked_addresses(&mut self) -> Vec<Address> {
        let told = self.above_file("listen").is_some_and(|found| !found.is_empty());
        let elsewhere = if told { Vec::new() } else { self.open_file_apart() };
        let addresses = self.listen();
        if addresses.is_empty() && !self.has_failed("listen") {
            if elsewhere.is_empty()
                && let Some(found) = self.known("probe").cloned()
            {
                let why = "nobody says where graceinit listens; write --listen ADDR too, or set GRACEINIT_LISTEN";
                self.wrong("probe", &found, why);
            }
            self.wrong_in_file(elsewhere);
        }
        addresses
    }
}

fn is_prom(found: &Found) -> bool {
    Path::new(&found.value).extension().is_some_and(|ending| ending == "prom")
}

/// Whether `--probe`, `--render` or `-P` is asked for.
pub(super) fn wants_tool(given: &Given) -> bool {
    given.options.iter().any(|(name, _)| matches!(*name, "probe" | "render" | "P"))
}

/// What they come to, and the addresses to ask. Nothing is read that is for the life
/// of an app: the variables are there for the graceinit that runs it.
#[cold]
pub(super) fn tool(
    given: &Given,
    variables: &Variables<'_>,
) -> Result<(Tool, Vec<Address>), Vec<String>> {
    let mut reader = Reader::empty(given, variables, Place::default());
    let probe = reader.one("probe", question).map(Tool::Probe);
    let render = reader.one_of("render", |text| path(text, "report.json")).map(Tool::Render);
    let is_asked = |option: &str| given.options.iter().any(|(name, _)| *name == option);
    let (is_probe, is_pause) = (is_asked("probe"), is_asked("P") && render.is_none());
    let (asked, allowed, alone) = match (is_probe, is_pause) {
        (true, _) => (
            "--probe",
            &["probe", "listen", "config"][..],
            "a probe starts nothing, and reads --listen and --config only",
        ),
        // What is on by itself, or makes no difference where there is no app.
        (false, true) => (
            "-P",
            &["P", "s", "g", "v"][..],
            "it runs no app, and only reaps and waits for its end",
        ),
        (false, false) => ("--render", &["render"][..], "a page is drawn from the report alone"),
    };
    for (name, _) in given.options.iter().filter(|(name, _)| !allowed.contains(name)) {
        let flag = super::Source::Flag(name);
        reader.wrong_at_all(match TOOLS.contains(name) {
            true => format!(
                "unable to use {asked} together with {flag}: each is all that is done; choose one"
            ),
            false => {
                format!("unable to use {flag} together with {asked}: {alone}; leave {flag} out")
            }
        });
    }
    if let Some(word) = given.command.first() {
        reader.wrong_at_all(format!(
            "unable to use {asked} together with the command '{}': {alone}; leave the command out",
            word.to_string_lossy()
        ));
    }
    let addresses = if is_probe { reader.asked_addresses() } else { Vec::new() };
    let pause = is_pause.then_some(Tool::Pause);
    match (reader.mistakes(), probe.or(render).or(pause)) {
        (mistakes, Some(tool)) if mistakes.is_empty() => Ok((tool, addresses)),
        (mistakes, _) => Err(mistakes),
    }
}

/// How mistakes are written: as the log would be, as far as that can be told. Where there will be no
/// log, they are for people.
#[cold]
pub fn format_of_mistakes(given: &Given, variables: &Variables<'_>, place: Place) -> Format {
    let mut reader = Reader::new(given, variables, place);
    let is_tool = given.options.iter().any(|(name, _)| TOOLS.contains(name));
    if is_tool || reader.one("check", parse::check).flatten().is_some() {
        return Format::Text;
    }
    let usual = || reader::default("log-format", place).and_then(|(text, _)| format(text).ok());
    reader.one("log-format", format).or_else(usual).unwrap_or_default()
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
        _ => Err("nothing to ask; write ready, live or status".to_owned()),
    }
}

/// The path of a file that may be there or not.
pub(super) fn path(text: &OsStr, example: &str) -> Result<CString, String> {
    if text.as_bytes().ends_with(b"/") || fs::metadata(text).is_ok_and(|there| there.is_dir()) {
        return Err("it is a directory; name the file in it".to_owned());
    }
    ready::path(text.as_bytes(), example)
}
