//! The log: one line for each fact, on stderr. A line that cannot be written at once is dropped and counted: a full
//! pipe or a stopped terminal must not delay the loop.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use env_logger::{Builder, Logger, Target};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::json;
use super::line::{HOOK_SAID, Line, is_said, level_name};
use super::value::Value;
use crate::sys::stderr;
use crate::types::text::{in_lines, in_one_line};

/// The form of the lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The kind of a line that is not about a fact.
const NOTE: &str = "note";

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Sets level and form, and takes over the messages of the `log` macros.
pub fn init(level: LevelFilter, format: Format) {
    // Fails on a second call, when the logger is set already.
    let _ = log::set_logger(&NOTES);
    log::set_max_level(level);
    IS_JSON.store(format == Format::Json, Relaxed);
}

/// Whether the lines are JSON: nothing else may be written between them.
pub fn is_json() -> bool {
    IS_JSON.load(Relaxed)
}

/// Writes a line. The caller has compared its level.
pub(super) fn write(line: &Line) {
    put(render(line).as_bytes());
}

/// Logs an error that ends graceinit before the app runs: what is wrong, and what to do. Written at every level. The
/// message may have lines of its own (the usage, a line of the file); text from outside has to be escaped in it.
pub fn fatal(message: &str) {
    fatal_fact("fatal", &in_lines(message));
}

/// The same for a fact of this kind, whose message is one line.
pub(super) fn fatal_fact_in_one_line(fact: &'static str, message: &str) {
    fatal_fact(fact, &in_one_line(message));
}

fn fatal_fact(fact: &'static str, message: &str) {
    match is_json() {
        true => write(&Line::new(Level::Error, fact, message.to_owned())),
        false => put(format!("graceinit: fatal: {message}\n").as_bytes()),
    }
}

fn render(line: &Line) -> String {
    if is_json() {
        return json::line(line);
    }
    let (level, msg) = (level_name(line.level), in_one_line(&line.msg));
    if line.fact == HOOK_SAID {
        let words: Vec<String> = line.fields.iter().map(|(_, value)| value.to_string()).collect();
        return format!("graceinit: {level}: [{}] {msg}\n", words.join(" "));
    }
    let mut text = format!("graceinit: {level}: {msg}");
    for (name, value) in line.fields.iter().filter(|(name, _)| !is_said(line.fact, name)) {
        // Writing to a String cannot fail.
        let _ = match value {
            Value::Text(value) if *name == "command" => {
                // A command line has spaces and quotes of its own.
                let value = in_one_line(value).replace('\\', "\\\\").replace('"', "\\\"");
                write!(text, " {name}=\"{value}\"")
            }
            Value::Text(value) => write!(text, " {name}={}", in_one_line(value)),
            Value::Number(_) | Value::Span(_) | Value::Unknown => write!(text, " {name}={value}"),
        };
    }
    text.push('\n');
    text
}

// ---- the messages of the `log` macros ---------------------------------------------------------

/// The logger behind the macros, made with the first message: most lives have none, and do not pay for it.
struct Notes(OnceLock<Logger>);

static NOTES: Notes = Notes(OnceLock::new());

impl Log for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let make = || {
            let mut builder = Builder::new();
            // The macros have compared the level.
            builder.filter_level(LevelFilter::Trace).target(Target::Pipe(Box::new(Stderr)));
            builder.format(|out, record| {
                let line = Line::new(record.level(), NOTE, record.args().to_string());
                out.write_all(render(&line).as_bytes())
            });
            builder.build()
        };
        self.0.get_or_init(make).log(record);
    }

    fn flush(&self) {}
}

/// stderr as env_logger writes to it: each line in one call. Never an error, since a lost line is counted here.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// ---- writing ----------------------------------------------------------------------------------

/// Lines that were dropped since the last line that was written.
static DROPPED: AtomicU32 = AtomicU32::new(0);
/// Lines that were dropped since [`take_dropped`].
static UNCOUNTED: AtomicU32 = AtomicU32::new(0);

/// How many lines were dropped since the last call.
pub(super) fn take_dropped() -> u32 {
    UNCOUNTED.swap(0, Relaxed)
}

/// Whether a status line stands at the terminal, which the next line has to erase.
static OVERLAID: AtomicBool = AtomicBool::new(false);
/// To the first column, and erase to the end of the line (ECMA-48: CR, EL).
const ERASE: &str = "\r\x1b[K";

/// Shows a status line, or removes it if `line` is empty.
pub fn overlay(line: &str) {
    OVERLAID.store(!line.is_empty(), Relaxed);
    // A status line that cannot be written is not counted: the next one follows within a second.
    stderr::write(format!("{ERASE}{line}").as_bytes());
}

/// Whether the status line still stands there.
pub fn is_overlaid() -> bool {
    OVERLAID.load(Relaxed)
}

fn put(line: &[u8]) {
    if OVERLAID.swap(false, Relaxed) {
        stderr::write(ERASE.as_bytes());
    }
    let dropped = DROPPED.load(Relaxed);
    if dropped > 0 {
        if !stderr::write(dropped_notice(dropped).as_bytes()) {
            return drop_one();
        }
        DROPPED.store(0, Relaxed);
    }
    if line.len() > stderr::LONGEST {
        let cut = [&line[..stderr::LONGEST - 5], b" ...\n"].concat();
        return put(&cut);
    }
    if !stderr::write(line) {
        drop_one();
    }
}

fn drop_one() {
    DROPPED.fetch_add(1, Relaxed);
    UNCOUNTED.fetch_add(1, Relaxed);
}

fn dropped_notice(count: u32) -> String {
    if is_json() {
        return json::line(&Line::lines_dropped(count));
    }
    let lines = if count == 1 { "line was" } else { "lines were" };
    format!("graceinit: warn: {count} log {lines} dropped: stderr was not read\n")
}
