//! What a rehearsal prints.

use std::ffi::{CStr, OsStr};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use serde::Serialize;

use super::diagnosis;
use super::page::{self, Panel};
use super::round::{Kind, NeverReady};
use super::search::{LIMIT, Progress, Row};
use super::words::{self, Set};
use crate::account::timeline::seconds;
use crate::cli::{Given, OptionId};
use crate::config::platform::Contract;
use crate::config::rehearse::Rehearsal;
use crate::sys::safe_path::{self, Last, Place};
use crate::sys::{stderr, tty};
use crate::types::Signal;
use crate::types::text::in_one_line;

/// The longest name that shares its line with the numbers.
const NAME: usize = 36;

/// Prints a rehearsal as it goes on.
pub(super) struct Printer<'a> {
    rehearsal: &'a Rehearsal,
    contract: Contract,
    signal: Signal,
    kill: Option<Duration>,
    /// stderr is a terminal that shows what goes on.
    live: bool,
    /// Stops that have begun.
    stops: u32,
    /// Where the page goes.
    page: Option<File>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(
        rehearsal: &'a Rehearsal,
        contract: Contract,
        signal: Signal,
        kill: Option<Duration>,
    ) -> Result<Printer<'a>, String> {
        let live = tty::is_terminal(stderr::NUMBER) && tty::can_erase() && !rehearsal.json;
        // Opened at once: a mistake in the path must not be found out after a minute.
        let page = rehearsal.html.as_deref().map(open).transpose()?;
        Ok(Printer { rehearsal, contract, signal, kill, live, stops: 0, page })
    }

    fn print(&self, text: &str) {
        if !self.rehearsal.json {
            put(text);
        }
    }

    /// The platform and the balancer, in a line.
    fn platform(&self) -> String {
        let kill = match self.kill {
            Some(kill) => format!("SIGKILL after {}", seconds(kill)),
            None => "nothing kills".to_owned(),
        };
        let balancer = match &self.rehearsal.health {
            Some(health) => {
                format!("the balancer asks {} every 0.5 s", health.text)
            }
            None => format!("the balancer forgets the app {} late", seconds(self.rehearsal.lag)),
        };
        let (name, signal) = (self.contract.platform.name, self.signal);
        format!("{name}: {signal}, {kill}; {balancer}")
    }

    /// The load, in a line.
    fn load(&self) -> String {
        let urls: Vec<&str> = self.rehearsal.urls.iter().map(|url| &*url.text).collect();
        let (rate, urls) = (self.rehearsal.rate, urls.join(", "));
        let pinned = if self.rehearsal.pinned { ", on which clients stay" } else { "" };
        format!(
            "{rate} requests/s to {urls}, 3 kept connections in 4{pinned}, open loop, nothing retried"
        )
    }

    /// What is going to be done.
    pub(super) fn begin(&self, apart: bool, warnings: &[String]) {
        let Rehearsal { rounds, only, .. } = self.rehearsal;
        let mut text = format!("platform  {}\nload      {}\n", self.platform(), self.load());
        let _ = writeln!(
            text,
            "init      graceinit {}",
            if apart {
                "is PID 1 of a pid namespace"
            } else {
                "is a subreaper: no right to make a pid namespace"
            }
        );
        let stops = if *rounds == 1 { "1 stop".to_owned() } else { format!("{rounds} stops") };
        let _ = match only {
            true => writeln!(text, "takes     {stops}, no search"),
            false => writeln!(
                text,
                "takes     at most about {}: a search, and {stops} with what it finds",
                seconds(LIMIT)
            ),
        };
        for warning in warnings {
            let _ = writeln!(text, "warning   {}", in_one_line(warning));
        }
        self.print(&(text + &head()));
    }

    /// How many stops have begun.
    pub(super) fn stops(&self) -> u32 {
        self.stops
    }

    /// Removes the line that shows what goes on.
    pub(super) fn erase(&self) {
        if self.live {
            stderr::write(b"\r\x1b[K");
        }
    }

    /// The app did not answer.
    pub(super) fn never_ready(&self, why: &NeverReady) {
        self.erase();
        let text = diagnosis::never_ready(why);
        match self.rehearsal.json {
            true => self.json(&[], None, vec![text]),
            false => {
                let mut wrapped = "\n".to_owned();
                wrap(&mut wrapped, &text);
                put(&wrapped);
            }
        }
    }

    /// What was found.
    pub(super) fn end(&self, rows: &[Row], best: Option<usize>, life: &Given) {
        self.erase();
        let mut findings = self.findings(rows, best);
        if best.is_none() && !self.rehearsal.only && self.rehearsal.json {
            findings.push(self.nothing_helps(rows));
        }
        self.write_page(rows, best, &findings);
        if self.rehearsal.json {
            return self.json(rows, best, findings);
        }
        let mut text = String::new();
        for finding in findings {
            text.push('\n');
            wrap(&mut text, &finding);
        }
        let sets = best.and_then(|best| rows.get(best)).map(|row| &row.sets[..]);
        match sets {
            Some([]) => text.push_str("\nThese settings lose nothing in this rehearsal.\n"),
            Some(sets) => {
                let _ = write!(text, "\nWrite: {}\n", words::text(sets));
            }
            None if self.rehearsal.only => {}
            None => {
                text.push('\n');
                wrap(&mut text, &self.nothing_helps(rows));
            }
        }
        if let Some(sets) = sets.filter(|_| self.rehearsal.toml) {
            let _ = write!(text, "\n{}", words::toml(life, sets));
        }
        put(&text);
    }

    /// The stop as it is, and beside it the best one, or the last that was tried.
    fn write_page(&self, rows: &[Row], best: Option<usize>, findings: &[String]) {
        let Some(mut file) = self.page.as_ref() else { return };
        let second = best.unwrap_or(rows.len().saturating_sub(1));
        let places = [0, second];
        let places = if second == 0 { &places[..1] } else { &places[..] };
        let panels: Vec<Panel<'_>> = places
            .iter()
            .filter_map(|place| {
                let row = rows.get(*place)?;
                Some(Panel { title: name(&row.sets), round: row.shown()? })
            })
            .collect();
        let about = format!("{}. {}.", self.platform(), self.load());
        let write = best.and_then(|best| rows.get(best)).map(|row| words::text(&row.sets));
        let write = write.filter(|text| !text.is_empty());
        let text = page::page(&about, &panels, findings, write.as_deref());
        if let Err(error) = file.write_all(text.as_bytes()) {
            stderr::write(format!("graceinit: unable to write the page: {error}\n").as_bytes());
        }
    }

    /// Why no settings were found, as far as it was seen.
    fn nothing_helps(&self, rows: &[Row]) -> String {
        let slowest = rows.iter().map(Row::slowest).max().unwrap_or_default();
        let tried = "No settings that were tried lose nothing";
        let last = rows.last().and_then(Row::shown);
        if last.is_some_and(|round| round.lost_late().is_some()) {
            return format!("{tried}. {}", diagnosis::CLOSES);
        }
        let Some(kill) = self.kill.filter(|kill| slowest > *kill / 2) else {
            return format!("{tried}.");
        };
        // The balancer's lag, the answer, and a third for the end of the stop.
        let wanted = (slowest + self.rehearsal.lag) * 3 / 2;
        let more = match self.contract.longer(Duration::from_secs(wanted.as_secs() + 1)) {
            Some(how) => format!("give it more time, as in {how}"),
            None => "this platform gives no more time".to_owned(),
        };
        format!(
            "{tried}: an answer took {:.1} s, and the platform kills after {}. Make the handler quicker, or {more}.",
            slowest.as_secs_f64(),
            seconds(kill)
        )
    }

    /// What happened with the settings as they are; and what is left to say of the best or of the last ones.
    fn findings(&self, rows: &[Row], best: Option<usize>) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let last = best.unwrap_or(rows.len().saturating_sub(1));
        for (place, row) in rows.iter().enumerate().filter(|(place, _)| [0, last].contains(place)) {
            for finding in &row.findings {
                // What has a cure that was found needs no second mention.
                let with = match (place, best) {
                    (0, _) => "",
                    (_, Some(_)) => "With the settings below: ",
                    (_, None) => "With the last settings: ",
                };
                let cures = words::text(&finding.cures);
                let cures = match (place, cures.is_empty() || finding.text.contains(&cures)) {
                    (_, true) | (1.., _) => String::new(),
                    (_, false) => format!(" Cure: {cures}"),
                };
                if !all.iter().any(|known| known.contains(&finding.text)) {
                    all.push(format!("{with}{}{cures}", finding.text));
                }
            }
        }
        let found = best.and_then(|best| rows.get(best));
        if found.is_some_and(|row| row.sets.iter().any(|(id, _)| *id == OptionId::DrainAcks)) {
            all.push(ONE_CHECKER.to_owned());
        }
        all
    }

    fn json(&self, rows: &[Row], best: Option<usize>, findings: Vec<String>) {
        let Rehearsal { rate, lag, .. } = *self.rehearsal;
        let row = |row: &Row| JsonRow {
            settings: words::text(&row.sets),
            rounds: row.rounds.len(),
            sent: row.sent(),
            answered: row.count(Kind::Answered),
            refused: row.count(Kind::Refused),
            cut: row.count(Kind::Cut),
            failed: row.count(Kind::Failed),
            slowest: row.slowest().as_secs_f64(),
            stop: row.took().as_secs_f64(),
            exit: row.codes(),
            ok: row.is_clean(),
        };
        let document = Document {
            v: 1,
            platform: self.contract.platform.name,
            signal: self.signal.to_string(),
            kill: self.kill.map(|kill| kill.as_secs_f64()),
            lag: lag.as_secs_f64(),
            rate,
            ok: rows.first().is_some_and(Row::is_clean),
            rows: rows.iter().map(row).collect(),
            findings,
            found: best.and_then(|best| rows.get(best)).map(|row| words::text(&row.sets)),
        };
        put(&(serde_json::to_string(&document).unwrap_or_default() + "\n"));
    }
}

/// The balancer of the rehearsal is one process.
const ONE_CHECKER: &str = "--drain-acks 1 is right where one balancer asks, and acts on the first answer. For others \
                           add up the answers until all of them know (docs/drain.md).";

/// Opens the file of the page.
fn open(path: &CStr) -> Result<File, String> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
    let opened = Place::find(path, Last::Keep).and_then(|place| place.open(flags, 0o644));
    opened.map_err(|error| {
        let why = safe_path::explain(&error);
        format!("unable to write the page '{}': {why}; name another file", path.display())
    })
}

/// The result as JSON (docs/rehearsal.md).
#[derive(Serialize)]
struct Document {
    v: u32,
    platform: &'static str,
    signal: String,
    kill: Option<f64>,
    lag: f64,
    rate: u32,
    ok: bool,
    rows: Vec<JsonRow>,
    findings: Vec<String>,
    found: Option<String>,
}

#[derive(Serialize)]
struct JsonRow {
    settings: String,
    rounds: usize,
    sent: u64,
    answered: u64,
    refused: u64,
    cut: u64,
    failed: u64,
    slowest: f64,
    stop: f64,
    exit: String,
    ok: bool,
}

impl Progress for Printer<'_> {
    fn begins(&mut self, sets: &[Set], left: Duration) {
        self.stops += 1;
        if self.live {
            let left = if self.rehearsal.only || left.is_zero() {
                String::new()
            } else {
                format!(", {} s left for others", left.as_secs())
            };
            let line = format!("\r\x1b[Kstop {}: {}{left}", self.stops, name(sets));
            stderr::write(line.as_bytes());
        }
    }

    fn row(&mut self, row: &Row, is_best: bool) {
        self.erase();
        self.print(&line(row, is_best));
    }
}

fn name(sets: &[Set]) -> String {
    if sets.is_empty() { "as it is".to_owned() } else { words::text(sets) }
}

fn head() -> String {
    format!(
        "\n{:NAME$} {:>7} {:>8} {:>7} {:>7} {:>6} {:>7} {:>6}  exit\n",
        "", "sent", "answered", "refused", "cut off", "errors", "slowest", "stop"
    )
}

fn line(row: &Row, is_best: bool) -> String {
    let name = name(&row.sets);
    let (name, more) = match name.len() <= NAME {
        true => (name, String::new()),
        false => (String::new(), format!("{name}\n")),
    };
    let short = |time: Duration| match time.as_secs() {
        0..10 => format!("{:.2} s", time.as_secs_f64()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    };
    let rounds = match row.rounds.len() {
        1 => String::new(),
        count => format!(" in {count} stops"),
    };
    let verdict = match (row.is_clean(), row.drops()) {
        (true, _) if is_best => format!("\u{2713} quickest without a loss{rounds}"),
        (true, _) => format!("\u{2713}{rounds}"),
        (false, 0) => "\u{2717} killed by the platform".to_owned(),
        (false, drops) => format!("\u{2717} {drops} lost{rounds}"),
    };
    let [answered, refused, cut, failed] =
        [Kind::Answered, Kind::Refused, Kind::Cut, Kind::Failed].map(|kind| row.count(kind));
    format!(
        "{more}{name:NAME$} {:>7} {answered:>8} {refused:>7} {cut:>7} {failed:>6} {:>7} {:>6}  {:4} {verdict}\n",
        row.sent(),
        short(row.slowest()),
        short(row.took()),
        row.codes(),
    )
}

/// Appends a text in lines that fit the terminal. Lines of the app, which are indented, stay as they are.
fn wrap(text: &mut String, paragraph: &str) {
    let width = tty::columns(1).unwrap_or(100).clamp(60, 120);
    for line in paragraph.lines() {
        let mut column = 0;
        if line.starts_with(' ') {
            text.push_str(line);
        }
        for word in line.split(' ').filter(|_| !line.starts_with(' ')) {
            let letters = word.chars().count();
            if column > 0 && column + 1 + letters > width {
                text.push('\n');
                column = 0;
            } else if column > 0 {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += letters;
        }
        text.push('\n');
    }
}

/// Writes to stdout.
fn put(text: &str) {
    // Ignore EPIPE.
    let _ = io::stdout().write_all(text.as_bytes());
    let _ = io::stdout().flush();
}
