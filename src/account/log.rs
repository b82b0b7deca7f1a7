//! The log: one grammar, stderr only. A line that cannot be written at once is counted and dropped.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use env_logger::fmt::Formatter;
use env_logger::{Builder, Logger, Target};
use log::kv::{Key, Source, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::incident::Incident;
use super::line::{HOOK_SAID, Line, Value, is_said};
use super::{journal, json};
use crate::sys::stderr;

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Lines that found no room since the last one that did.
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Sets the log up. The logger itself is made with the first line: a life without one does not pay
/// for it.
pub fn init(level: LevelFilter, format: Format) {
    // It can only have been set before by a second call, which changes nothing.
    let _ = log::set_logger(&LAZY);
    log::set_max_level(level);
    IS_JSON.store(format == Format::Json, Relaxed);
}

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether lines are JSON: then nothing else may be written between them.
pub fn is_json() -> bool {
    IS_JSON.load(Relaxed)
}

struct Lazy(OnceLock<Logger>);

static LAZY: Lazy = Lazy(OnceLock::new());

impl Log for Lazy {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let make = || {
            let mut builder = Builder::new();
            // The level was sifted by the macros already.
            builder.filter_level(LevelFilter::Trace).target(Target::Pipe(Box::new(Stderr)));
            builder.format(render).build()
        };
        self.0.get_or_init(make).log(record);
    }

    fn flush(&self) {}
}

/// Takes each line in one piece, whatever becomes of it: nothing that happens to the log may stop
/// the life that it tells of.
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

/// A line stands on the terminal that has to give way to the next one.
static OVERLAID: AtomicBool = AtomicBool::new(false);
/// To the first column, and erase to the end (ECMA-48: CR, EL).
const ERASE: &str = "\r\x1b[K";

/// Shows a line that will be taken back; an empty one takes it back.
pub fn overlay(line: &str) {
    OVERLAID.store(!line.is_empty(), Relaxed);
    // If there is no room for it, the next one will come soon.
    stderr::write(format!("{ERASE}{line}").as_bytes());
}

/// Whether that line still stands there.
pub fn is_overlaid() -> bool {
    OVERLAID.load(Relaxed)
}

fn put(line: &[u8]) {
    if OVERLAID.swap(false, Relaxed) {
        stderr::write(ERASE.as_bytes());
    }
    let dropped = DROPPED.load(Relaxed);
    if dropped > 0 {
        if !stderr::write(news_of(dropped).as_bytes()) {
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
    journal::incident(&Incident::LinesDropped { lines: 1 });
}

fn news_of(dropped: u32) -> String {
    if is_json() {
        let fields = [("lines", Value::Number(dropped.into()))];
        let msg = "log lines dropped: stderr was not read";
        return json::line(Level::Warn, Some("lines-dropped"), msg, &fields);
    }
    let lines = if dropped == 1 { "line was" } else { "lines were" };
    format!("graceinit: warn: {dropped} log {lines} dropped: stderr was not read\n")
}

fn render(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    // What the macros write names its module, a fact has none.
    let fact = record.module_path().is_none().then(|| record.target());
    let mut fields = Fields(Vec::new());
    // The visitor below never fails.
    let _ = record.key_values().visit(&mut fields);
    let Fields(fields) = fields;
    let msg = record.args().to_string();
    if is_json() {
        return out.write_all(json::line(record.level(), fact, &msg, &fields).as_bytes());
    }
    let (level, msg) = (level_name(record.level()), in_one_line(&msg));
    if fact == Some(HOOK_SAID) {
        let words: Vec<String> = fields.iter().map(|(_, value)| value.to_string()).collect();
        return writeln!(out, "graceinit: {level}: [{}] {msg}", words.join(" "));
    }
    write!(out, "graceinit: {level}: {msg}")?;
    for (name, value) in &fields {
        match value {
            _ if fact.is_some_and(|fact| is_said(fact, name)) => {}
            // In quotes, so that its own are marked; other letters than ASCII stay.
            Value::Text(text) if *name == "command" => {
                let text = in_one_line(text).replace('\\', "\\\\").replace('"', "\\\"");
                write!(out, " {name}=\"{text}\"")?;
            }
            Value::Text(text) => write!(out, " {name}={}", in_one_line(text))?,
            Value::Number(_) | Value::Span(_) | Value::Unknown => write!(out, " {name}={value}")?,
        }
    }
    writeln!(out)
}

/// What others have named (a path, a program) may hold a line's end, which would make two lines of one.
fn in_one_line(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => printable(text.as_bytes()).into(),
        false => text.into(),
    }
}

/// As users write it with `--log-level`.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Number(number) => number.fmt(f),
            Value::Span(span) => write!(f, "{:.3}s", span.as_secs_f64()),
            Value::Unknown => f.write_str("-"),
        }
    }
}

/// A line's particulars on their way through the log crate. It knows no times: what is no whole number
/// is one.
struct Particulars<'a>(&'a [(&'static str, Value)]);

impl Source for Particulars<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), log::kv::Error> {
        self.0.iter().try_for_each(|(name, value)| {
            let value = match value {
                Value::Text(text) => log::kv::Value::from(&**text),
                Value::Number(number) => log::kv::Value::from(*number),
                Value::Span(span) => log::kv::Value::from(span.as_secs_f64()),
                Value::Unknown => log::kv::Value::null(),
            };
            visitor.visit_pair(Key::from_str(name), value)
        })
    }
}

struct Fields(Vec<(String, Value)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(
        &mut self,
        key: Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        let mut kind = Kind(Value::Unknown);
        value.visit(&mut kind)?;
        self.0.push((key.as_str().to_owned(), kind.0));
        Ok(())
    }
}

/// What a particular is.
struct Kind(Value);

impl<'kvs> VisitValue<'kvs> for Kind {
    fn visit_any(&mut self, value: log::kv::Value<'_>) -> Result<(), log::kv::Error> {
        self.0 = Value::Text(value.to_string().into());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), log::kv::Error> {
        self.0 = Value::Unknown;
        Ok(())
    }

    fn visit_i64(&mut self, number: i64) -> Result<(), log::kv::Error> {
        self.0 = Value::Number(number);
        Ok(())
    }

    fn visit_f64(&mut self, seconds: f64) -> Result<(), log::kv::Error> {
        self.0 = Value::Span(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        Ok(())
    }

    fn visit_str(&mut self, text: &str) -> Result<(), log::kv::Error> {
        self.0 = Value::Text(text.to_owned().into());
        Ok(())
    }
}

/// Logs a fact.
pub(super) fn fact(line: &Line) {
    let fields = Particulars(&line.fields);
    let mut record = Record::builder();
    record.level(line.level).target(line.fact).key_values(&fields);
    log::logger().log(&record.args(format_args!("{}", line.msg)).build());
}

/// Before the app runs an error is fatal: what was wrong, and what to do. Not subject to the level.
pub fn fatal(message: &str) {
    fatal_fact("fatal", message);
}

/// The same, about a fact of this kind.
pub(super) fn fatal_fact(fact: &str, message: &str) {
    let line = match is_json() {
        true => json::line::<&str>(Level::Error, Some(fact), message, &[]),
        false => format!("graceinit: fatal: {message}\n"),
    };
    put(line.as_bytes());
}

/// Foreign bytes as text, with whatever would move the cursor or change colours made visible.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            c if c.is_control() && c != '\t' => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}
