//! `--log-format`, `--metrics-file`, `--report`: where the account goes. `--probe`, `--render`: what is
//! done with it instead of running an app.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use super::reader::Reader;
use crate::observe::log::Format;

/// Where the account goes besides the log and `--listen`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watch {
    /// `--metrics-file`
    pub metrics_file: Option<CString>,
    /// `--report`
    pub report: Option<CString>,
}

/// What is done instead of running an app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tool {
    /// `--probe`
    Probe(Question),
    /// `--render`; `-` is stdin.
    Render(CString),
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

impl Reader<'_> {
    #[cold]
    pub(super) fn watch(&mut self) -> Watch {
        Watch {
            metrics_file: self.one_of("metrics-file", |text| path(text, "/run/metrics/app.prom")),
            report: self.one_of("report", |text| path(text, "/dev/termination-log")),
        }
    }

    #[cold]
    pub(super) fn tool(&mut self) -> Option<Tool> {
        let probe = self.one("probe", question).map(Tool::Probe);
        let render = self.one_of("render", |text| path(text, "report.json")).map(Tool::Render);
        probe.or(render)
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
        _ => Err("nothing to ask; write ready, live or status".to_owned()),
    }
}

fn path(text: &OsStr, example: &str) -> Result<CString, String> {
    if text.is_empty() {
        return Err(format!("an empty path; write {example}"));
    }
    CString::new(text.as_bytes()).map_err(|_| "a byte 0 in a path; take it out".to_owned())
}
