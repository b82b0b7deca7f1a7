//! The optional TOML file. Its keys are the options of the table in `cli`, and `[[hook.PHASE]]`. The values are given on
//! in the notation of the command line, each with its place in the file.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::HOOK_VARIABLES;
use super::source::{At, Found, Source};
use crate::cli::{Kind, OPTIONS, Opt, OptionId, Toml};
use crate::machine::hooks::HookPhase;
use crate::types::text::is_harmful;

/// A larger file was not written by hand: it is a wrong path.
const LARGEST: u64 = 1 << 16;
/// A file that is not TOML has a mistake in every line.
const MOST_SYNTAX_ERRORS: usize = 10;
/// Longer lines are cut where a message shows them.
const WIDEST: usize = 120;

/// The text of the file.
#[derive(Debug)]
pub(super) struct File {
    path: Arc<str>,
    text: String,
    /// Where the values of `env` tables stand: they may be passwords, so no message shows them.
    secrets: Vec<Range<usize>>,
}

/// The settings in the file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The options with their values.
    pub(super) options: Vec<(OptionId, Vec<Found>)>,
    /// The `[[hook.PHASE]]` tables.
    pub(super) hooks: Vec<(HookPhase, Vec<Block>)>,
    /// What is wrong, with its place.
    pub(super) mistakes: Vec<(usize, Mistake)>,
}

/// A mistake in the file.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The sentence, not escaped yet.
    pub(super) text: String,
    /// The line of the file and a caret below it.
    pub(super) quote: String,
}

/// One `[[hook.PHASE]]`, or a hook of another source, which has a command only.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) command: Found,
    /// The words of `command`, if it was an array.
    pub(super) words: Option<Vec<Vec<u8>>>,
    pub(super) name: Option<Found>,
    pub(super) timeout: Option<Found>,
    pub(super) retries: Option<Found>,
    pub(super) backoff: Option<Found>,
    pub(super) on_failure: Option<Found>,
    pub(super) user: Option<Found>,
    pub(super) env: Vec<CString>,
}

impl Block {
    pub(super) fn new(command: Found) -> Block {
        Block {
            command,
            words: None,
            name: None,
            timeout: None,
            retries: None,
            backoff: None,
            on_failure: None,
            user: None,
            env: Vec::new(),
        }
    }
}

/// The keys of a `[[hook.PHASE]]`, and the types of their values.
const HOOK_KEYS: [(&str, Takes); 8] = [
    ("name", Takes::Text("NAME")),
    ("command", Takes::Text("CMD")),
    ("timeout", Takes::Time),
    ("retries", Takes::Number),
    ("backoff", Takes::Time),
    ("on_failure", Takes::Text("warn|abort")),
    ("env", Takes::Text("VALUE")),
    ("user", Takes::Number),
];

/// The types that a value may have in TOML.
#[derive(Clone, Copy)]
enum Takes {
    /// Text, or a number of seconds.
    Time,
    /// Text, or a whole number.
    Number,
    /// Text.
    Text(&'static str),
    /// A boolean.
    Truth,
}

impl Takes {
    fn of(kind: Kind) -> Takes {
        match kind.value() {
            Some(value) => match value.toml {
                Toml::Duration => Takes::Time,
                Toml::Number => Takes::Number,
                Toml::Text => Takes::Text(value.name),
            },
            None if kind == Kind::Flag => Takes::Truth,
            None => Takes::Number,
        }
    }

    fn example(self) -> String {
        match self {
            Takes::Time => "\"10s\", \"1m 30s\" or a number of seconds".to_owned(),
            Takes::Number => "a whole number, or text in quotes".to_owned(),
            Takes::Text(value) => format!("{value} in quotes"),
            Takes::Truth => "true or false".to_owned(),
        }
    }
}

impl File {
    /// Reads the file; an error says why the file cannot be used, and what to do.
    pub(super) fn read(path: &OsStr) -> Result<File, String> {
        let unread = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                "the file does not exist; create it, or remove the option".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this user has no permission to read it; change the mode of the file, or mount it \
                 readable"
                    .to_owned()
            }
            _ => format!("{error}; name a file that can be read"),
        };
        let about = fs::metadata(path).map_err(unread)?;
        if about.is_dir() {
            return Err("it is a directory; name the file in it".to_owned());
        }
        // Opening a FIFO without a writer blocks for ever.
        if !about.is_file() {
            return Err("it is not a regular file; name one".to_owned());
        }
        let mut bytes = Vec::new();
        // Some files of /proc are regular files, and a read of them blocks (/proc/kmsg).
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unread)?;
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.len() as u64 > LARGEST {
            return Err("it is larger than 64 KiB; name the right file".to_owned());
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            format!("line {} is not UTF-8 text; save the file as UTF-8", line + 1)
        })?;
        Ok(File { path: path.to_string_lossy().into(), text, secrets: Vec::new() })
    }

    /// The settings in the file, and what is wrong with the syntax, the keys and the types.
    pub(super) fn contents(&mut self) -> Contents {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        self.secrets =
            if errors.is_empty() { secrets(root.get_ref()) } else { secret_lines(&self.text) };
        let mut walk = Walk { file: self, contents: Contents::default() };
        if errors.is_empty() {
            walk.root(root.get_ref());
        } else {
            // After an error of syntax the parser guesses, so the rest is not looked at.
            walk.syntax(&errors);
        }
        walk.contents
    }

    /// The message about a value.
    pub(super) fn wrong(&self, at: &At, why: &str) -> Mistake {
        self.mistake(at.span.start, &format!("{} = {}", at.key, self.raw(&at.span)), why)
    }

    fn source(&self, place: usize) -> Source {
        let (line, column, _) = self.line(place);
        Source::File(self.path.clone(), line, column)
    }

    fn mistake(&self, place: usize, subject: &str, why: &str) -> Mistake {
        let (_, column, line) = self.shown_line(place);
        let (line, caret) = shown(&line, column);
        let text = format!("unable to use {} {subject}: {why}", self.source(place));
        Mistake { text, quote: format!("\n  {line}\n  {caret}^") }
    }

    /// Line and column (from 1) of a byte, and the text of that line.
    fn line(&self, place: usize) -> (usize, usize, &str) {
        let mut place = place.min(self.text.len());
        while !self.text.is_char_boundary(place) {
            place -= 1;
        }
        let (before, after) = self.text.split_at(place);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let end = after.find('\n').map_or(self.text.len(), |end| place + end);
        let column = before[start..].chars().count() + 1;
        let line = self.text[start..end].trim_end_matches('\r');
        (before.matches('\n').count() + 1, column, line)
    }

    /// The same without secrets.
    fn shown_line(&self, place: usize) -> (usize, usize, String) {
        let (number, _, line) = self.line(place);
        let start = line.as_ptr() as usize - self.text.as_ptr() as usize;
        let before = self.masked(&(start..place.min(start + line.len())));
        (number, before.chars().count() + 1, self.masked(&(start..start + line.len())))
    }

    /// A piece of the file, with asterisks for the secrets in it.
    fn masked(&self, span: &Range<usize>) -> String {
        let (mut shown, mut at) = (String::new(), span.start);
        for secret in self.secrets.iter().filter(|s| s.start < span.end && span.start < s.end) {
            shown.push_str(self.text.get(at..secret.start.max(at)).unwrap_or_default());
            shown.push_str(MASK);
            at = secret.end.min(span.end);
        }
        shown.push_str(self.text.get(at..span.end).unwrap_or_default());
        shown
    }

    /// The first line of a piece of the file.
    fn raw(&self, span: &Range<usize>) -> String {
        let raw = &*self.masked(span);
        let line = raw.lines().next().unwrap_or_default();
        let short: String = line.chars().take(WIDEST).map(visible).collect();
        if short.len() < raw.len() { format!("{short} ...") } else { short }
    }
}

/// In place of a secret.
const MASK: &str = "***";

/// The values of all `env` tables of hooks, and a value that should be such a table.
fn secrets(root: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let hooks = root.iter().filter(|(key, _)| key.get_ref() == "hook");
    hooks.for_each(|(_, value)| find_env(value, &mut found));
    found.sort_by_key(|span| span.start);
    found
}

/// Looks for `env` below a value, in tables and arrays of any shape.
fn find_env(value: &Value<'_>, found: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, value) in table {
                match (key.get_ref() == "env", value.get_ref()) {
                    (true, DeValue::Table(env)) => {
                        found.extend(env.iter().map(|(_, value)| value.span()));
                    }
                    (true, _) => found.push(value.span()),
                    (false, _) => find_env(value, found),
                }
            }
        }
        DeValue::Array(values) => values.iter().for_each(|value| find_env(value, found)),
        _ => {}
    }
}

/// The same for a file that is not TOML, where it is not known what is a value: the rest of each line behind its first
/// `=` or `{`, from a line that begins with `env` (or a header that ends with it) to the next header or
/// other key of a hook.
fn secret_lines(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut within, mut place) = (Vec::new(), false, 0);
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let key = trimmed.split(['=', '.', ' ', '\t']).next().unwrap_or_default();
        if trimmed.starts_with('[') {
            let name = trimmed.trim_matches(['[', ']', ' ', '\t']);
            within = name.rsplit('.').next().is_some_and(is_env);
        } else if is_env(key) {
            within = true;
        } else if HOOK_KEYS.iter().any(|(name, _)| *name == key) {
            within = trimmed.contains("env");
        }
        // An inline table further on in the line.
        let inline = line.find("env").filter(|at| !within && line[at + 3..].contains('='));
        let end = place + line.trim_end().len();
        let begin = line.find(['=', '{']).map_or(place, |at| place + at + 1);
        if within && begin < end && !trimmed.starts_with('[') {
            found.push(begin..end);
        } else if let Some(at) = inline {
            found.push(place + at + 3..end);
        }
        place += line.len();
    }
    found
}

fn is_env(key: &str) -> bool {
    key.trim_matches(['"', '\'', ' ']) == "env"
}

/// A line, and the space before the caret below it. Long lines are cut, and control characters are replaced.
fn shown(line: &str, column: usize) -> (String, String) {
    let skip = if line.chars().count() > WIDEST { column.saturating_sub(WIDEST / 2) } else { 0 };
    let cut: String = line.chars().skip(skip).take(WIDEST).map(visible).collect();
    let caret = line.chars().skip(skip).take(column - 1 - skip);
    let caret: String = caret.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    (cut, caret)
}

fn visible(c: char) -> char {
    if is_harmful(c) { '\u{fffd}' } else { c }
}

type Value<'a> = Spanned<DeValue<'a>>;

struct Walk<'f> {
    file: &'f File,
    contents: Contents,
}

impl Walk<'_> {
    fn wrong(&mut self, place: usize, subject: &str, why: &str) {
        self.contents.mistakes.push((place, self.file.mistake(place, subject, why)));
    }

    fn syntax(&mut self, errors: &[toml::de::Error]) {
        let mut lines = Vec::new();
        for error in errors {
            let place = error.span().map_or(0, |span| span.start);
            let (line, _, text) = self.file.shown_line(place);
            // One mistake often causes others in the same line.
            if lines.contains(&line) || lines.len() == MOST_SYNTAX_ERRORS {
                continue;
            }
            lines.push(line);
            let subject: String = text.trim().chars().take(WIDEST).map(visible).collect();
            let fix = match error.message() {
                "duplicate key" => "write each key once",
                _ => "write KEY = VALUE, with text in quotes",
            };
            self.wrong(place, &format!("'{subject}'"), &format!("{}; {fix}", error.message()));
        }
    }

    fn root(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if name == "hook" {
                self.phases(value);
            } else if let Some(opt) = OPTIONS.iter().find(|opt| opt.key == Some(name)) {
                self.option(opt, name, value);
            } else {
                let subject = self.file.raw(&key.span());
                self.wrong(key.span().start, &subject, &no_key(name));
            }
        }
    }

    fn option(&mut self, opt: &'static Opt, key: &str, value: &Value<'_>) {
        let takes = Takes::of(opt.kind);
        let found = match (opt.kind, value.get_ref()) {
            (Kind::Many(_), DeValue::Array(values)) => {
                values.iter().map(|value| self.scalar(takes, key, value)).collect()
            }
            (Kind::List(_), DeValue::Array(values)) => {
                let parts: Option<Vec<Found>> =
                    values.iter().map(|value| self.scalar(takes, key, value)).collect();
                parts.map(|parts| {
                    let parts: Vec<OsString> = parts.into_iter().map(|part| part.value).collect();
                    vec![self.found(key, value, parts.join(OsStr::new(",")))]
                })
            }
            _ => self.scalar(takes, key, value).map(|found| vec![found]),
        };
        if let Some(found) = found {
            self.contents.options.push((opt.id, found));
        }
    }

    fn found(&self, key: &str, value: &Value<'_>, text: impl Into<OsString>) -> Found {
        let at = At { key: key.to_owned(), span: value.span() };
        Found { source: self.file.source(at.span.start), value: text.into(), at: Some(at) }
    }

    /// One value in the notation of the command line.
    fn scalar(&mut self, takes: Takes, key: &str, value: &Value<'_>) -> Option<Found> {
        let text = match (value.get_ref(), takes) {
            (DeValue::String(text), Takes::Time | Takes::Number | Takes::Text(_)) => {
                Some(text.clone().into_owned())
            }
            (DeValue::Boolean(truth), Takes::Truth) => Some(truth.to_string()),
            (DeValue::Integer(number), Takes::Time | Takes::Number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                number.ok().map(|number| number.to_string())
            }
            // Rust writes floating-point numbers without an exponent.
            (DeValue::Float(number), Takes::Time) => {
                let number = number.as_str().parse::<f64>().ok();
                number.map(|number| number.to_string())
            }
            _ => None,
        };
        if let Some(text) = text {
            return Some(self.found(key, value, text));
        }
        let kind = value.get_ref().type_str();
        let subject = format!("{key} = {}", self.file.raw(&value.span()));
        let why = format!("{key} takes no {kind}; write {}", takes.example());
        self.wrong(value.span().start, &subject, &why);
        None
    }

    fn phases(&mut self, value: &Value<'_>) {
        let DeValue::Table(phases) = value.get_ref() else {
            let why = "hook is a table of phases; write [[hook.pre-stop]]";
            return self.wrong(value.span().start, "hook", why);
        };
        for (key, value) in phases {
            let name: &str = key.get_ref();
            let Some(phase) = HookPhase::ALL.into_iter().find(|phase| phase.as_str() == name)
            else {
                let names = HookPhase::ALL.map(HookPhase::as_str).join(", ");
                let why = format!("not a phase with hooks; write one of {names}");
                let subject = format!("hook.{}", self.file.raw(&key.span()));
                self.wrong(key.span().start, &subject, &why);
                continue;
            };
            let DeValue::Array(blocks) = value.get_ref() else {
                let why = format!("each hook is a table of its own; write [[hook.{name}]]");
                self.wrong(key.span().start, &format!("hook.{name}"), &why);
                continue;
            };
            let mut list = Vec::new();
            for block in blocks.iter() {
                match block.get_ref() {
                    DeValue::Table(table) => list.extend(self.block(name, block, table)),
                    _ => {
                        let why = format!("a hook is a table; write [[hook.{name}]]");
                        self.wrong(block.span().start, &format!("hook.{name}"), &why);
                    }
                }
            }
            self.contents.hooks.push((phase, list));
        }
    }

    fn block(&mut self, phase: &str, block: &Value<'_>, table: &DeTable<'_>) -> Option<Block> {
        let (mut command, mut words, mut env) = (None, None, Vec::new());
        let mut others: Vec<(&str, Found)> = Vec::new();
        let known = self.contents.mistakes.len();
        for (key, value) in table {
            let Some((name, takes)) = HOOK_KEYS.iter().find(|(name, _)| *name == key.get_ref())
            else {
                let names = HOOK_KEYS.map(|(name, _)| name).join(", ");
                let why = format!("not a key of a hook; the keys are {names}");
                let subject = self.file.raw(&key.span());
                self.wrong(key.span().start, &subject, &why);
                continue;
            };
            match (*name, value.get_ref()) {
                ("env", DeValue::Table(table)) => env = self.variables(table),
                ("env", _) => {
                    let why = "env is a table; write env = { NAME = \"value\" }";
                    let subject = format!("env = {}", self.file.raw(&value.span()));
                    self.wrong(value.span().start, &subject, why);
                }
                ("command", DeValue::Array(array)) => {
                    let list: Option<Vec<Found>> =
                        array.iter().map(|word| self.scalar(*takes, name, word)).collect();
                    if let Some(list) = list {
                        let list: Vec<Vec<u8>> =
                            list.into_iter().map(|word| word.value.into_encoded_bytes()).collect();
                        let parts = list.iter().map(Vec::as_slice);
                        let line = shlex::bytes::try_join(parts).unwrap_or_default();
                        let line = String::from_utf8_lossy(&line).into_owned();
                        command = Some(self.found(name, value, line));
                        words = Some(list);
                    }
                }
                ("command", _) => command = self.scalar(*takes, name, value),
                _ => others.extend(self.scalar(*takes, name, value).map(|found| (*name, found))),
            }
        }
        let mut take = |name| {
            let place = others.iter().position(|(other, _)| *other == name)?;
            Some(others.swap_remove(place).1)
        };
        let (name, timeout, retries) = (take("name"), take("timeout"), take("retries"));
        let (backoff, on_failure, user) = (take("backoff"), take("on_failure"), take("user"));
        if let Some(command) = command {
            let hook =
                Block { command, words, name, timeout, retries, backoff, on_failure, user, env };
            return Some(hook);
        }
        if self.contents.mistakes.len() == known {
            let why = "it has no command; write command = [\"PROGRAM\", \"ARGUMENT\"]";
            self.wrong(block.span().start, &format!("[[hook.{phase}]]"), why);
        }
        None
    }

    fn variables(&mut self, table: &DeTable<'_>) -> Vec<CString> {
        let mut list = Vec::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let subject = format!("env.{}", self.file.raw(&key.span()));
            if HOOK_VARIABLES.contains(&name) || name == "TRACEPARENT" {
                let why = "graceinit sets this variable itself; write another name";
                self.wrong(key.span().start, &subject, why);
            } else if name.is_empty() || name.contains('=') {
                let why = "not the name of a variable; write a name without =";
                self.wrong(key.span().start, &subject, why);
            } else if let Some(value) = self.scalar(Takes::Text("VALUE"), name, value) {
                match CString::new(format!("{name}={}", value.text())) {
                    Ok(entry) => list.push(entry),
                    Err(_) => {
                        let why = "a NUL byte, which a variable cannot hold; remove it";
                        self.wrong(key.span().start, &subject, why);
                    }
                }
            }
        }
        list
    }
}

/// What is wrong with an unknown key: the message names the key that was meant, or all keys.
fn no_key(name: &str) -> String {
    let letter = |opt: &&Opt| {
        let short = opt.short.is_some_and(|letter| name.chars().eq([letter]));
        short || opt.name == name.replace('_', "-") || opt.key == Some(&name.replace('_', "-"))
    };
    let meant = match name {
        "g" => Some("scope = \"group\""),
        "c" => Some("scope = \"main\""),
        "hooks" => Some("[[hook.pre-stop]]"),
        _ => OPTIONS.iter().find(letter).and_then(|opt| opt.key),
    };
    if let Some(meant) = meant {
        return format!("not a key of graceinit; write {meant}");
    }
    match name {
        "l" => return "the licence is printed by the flag only; write graceinit -l".to_owned(),
        "config" => {
            return "a file cannot name another file; write all settings into this file".to_owned();
        }
        "check" => {
            return "a check is requested by the flag only; write graceinit --check".to_owned();
        }
        "probe" => {
            return "a probe is requested by the flag only; write graceinit --probe ready"
                .to_owned();
        }
        "render" => {
            return "a page is requested by the flag only; write graceinit --render report.json"
                .to_owned();
        }
        _ => {}
    }
    let keys: Vec<&str> = OPTIONS.iter().filter_map(|opt| opt.key).chain(["hook"]).collect();
    format!("not a key of graceinit; the keys are {}", keys.join(", "))
}
