//! The status line that a stop shows at a terminal: the phase, what it waits for, the time left. Each version
//! overwrites the one before, and every line of the log erases it.

use std::time::Duration;

use super::log;
use crate::machine::phase::PhaseName;
use crate::sys::{stderr, tty};
use crate::types::Time;

/// A shorter stop shows nothing.
const DELAY: Duration = Duration::from_millis(300);

/// What a stop waits for.
#[derive(Debug)]
pub struct Progress {
    /// The present phase.
    pub phase: PhaseName,
    /// What has to end first.
    pub waiting_for: String,
    /// When the wait ends at the latest, if there is such a time.
    pub end: Option<Time>,
    /// Whether a Ctrl-C would end the budget.
    pub again_kills: bool,
}

/// The status line.
#[derive(Debug)]
pub struct Live {
    /// When the first version is shown.
    first: Option<Time>,
    /// The version at the terminal.
    line: Option<String>,
    /// When that version is out of date.
    next: Option<Time>,
}

impl Live {
    /// If stderr is a terminal that can erase a line, and the log is written for people.
    pub fn new() -> Option<Live> {
        let wanted = ::log::max_level() > ::log::LevelFilter::Off && !log::is_json();
        let able = wanted && tty::is_terminal(stderr::NUMBER) && tty::can_erase();
        able.then_some(Live { first: None, line: None, next: None })
    }

    /// When it has to be updated.
    pub fn due(&self) -> Option<Time> {
        self.next
    }

    /// Shows the present state. `None`: nothing is waited for, or the terminal belongs to another process group, whose
    /// output must not be overwritten.
    pub fn update(&mut self, progress: Option<&Progress>, now: Time) {
        let Some(Progress { phase, waiting_for, end, again_kills }) = progress else {
            return self.clear();
        };
        let first = *self.first.get_or_insert(now.after(DELAY));
        if now < first {
            self.next = Some(first);
            return;
        }
        let left = end.map(|end| end.since(now));
        let seconds = left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0));
        let next = end.zip(seconds).filter(|(_, seconds)| *seconds > 0);
        self.next = next.map(|(end, seconds)| end.before(Duration::from_secs(seconds - 1)));
        let left = seconds.map_or(String::new(), |seconds| format!(", {seconds} s left"));
        let hint = if *again_kills { "; Ctrl-C again to kill" } else { "" };
        let phase = phase.as_str();
        let mut line = format!("graceinit: {phase}: waiting for {waiting_for}{left}{hint}");
        // A line that wraps cannot be erased.
        let columns = tty::columns(stderr::NUMBER).unwrap_or(80);
        if let Some((end, _)) = line.char_indices().nth(columns.saturating_sub(1)) {
            line.truncate(end);
        }
        if self.line.as_ref() != Some(&line) || !log::is_overlaid() {
            log::overlay(&line);
            self.line = Some(line);
        }
    }

    /// Erases the line.
    pub fn clear(&mut self) {
        if self.line.take().is_some() {
            log::overlay("");
        }
        self.next = None;
    }
}
