//! The one line that a stop in progress shows at a terminal: the phase, what it waits for, the time
//! left. It is written over itself, and gives way to every line of the log.

use std::time::Duration;

use super::{log, names};
use crate::machine::Machine;
use crate::machine::phase::Phase;
use crate::sys::{stderr, tty};
use crate::types::Time;

/// A stop that is over sooner shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);

/// The line.
#[derive(Debug)]
pub struct Live {
    /// When the first line is due.
    first: Option<Time>,
    /// What stands there now.
    shown: Option<String>,
    /// When it will be out of date.
    next: Option<Time>,
}

impl Live {
    /// If stderr is a terminal that can take a line back, and what is written there is for people.
    pub fn new() -> Option<Live> {
        let wanted = ::log::max_level() > ::log::LevelFilter::Off && !log::is_json();
        let able = wanted && tty::is_terminal(stderr::NUMBER) && tty::can_erase();
        able.then_some(Live { first: None, shown: None, next: None })
    }

    /// When it wants to be updated.
    pub fn due(&self) -> Option<Time> {
        self.next
    }

    /// Shows how things are. `front`: the terminal is ours or the app's, and a Ctrl-C would reach us or
    /// not; `None`: it is somebody else's, who is not to be written over.
    pub fn update(&mut self, machine: &Machine, front: Option<bool>, now: Time) {
        let (Some((what, end)), Some(can_kill)) = (waits_for(machine), front) else {
            return self.clear();
        };
        let first = *self.first.get_or_insert(now.after(PATIENCE));
        if now < first {
            self.next = Some(first);
            return;
        }
        let left = end.map(|end| end.since(now));
        let seconds = left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0));
        let next = end.zip(seconds).filter(|(_, seconds)| *seconds > 0);
        self.next = next.map(|(end, seconds)| end.before(Duration::from_secs(seconds - 1)));
        let left = seconds.map_or(String::new(), |seconds| format!(", {seconds} s left"));
        let hint = if can_kill && machine.again_kills() { "; Ctrl-C again to kill" } else { "" };
        let phase = machine.phase().name().as_str();
        let mut line = format!("graceinit: {phase}: waiting for {what}{left}{hint}");
        // A line that wraps cannot be taken back.
        let columns = tty::columns(stderr::NUMBER).unwrap_or(80);
        if let Some((end, _)) = line.char_indices().nth(columns.saturating_sub(1)) {
            line.truncate(end);
        }
        if self.shown.as_ref() != Some(&line) || !log::is_overlaid() {
            log::overlay(&line);
            self.shown = Some(line);
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            log::overlay("");
        }
        self.next = None;
    }
}

/// Who is waited for, and how long at most, if that has an end.
fn waits_for(machine: &Machine) -> Option<(String, Option<Time>)> {
    let hooks = || {
        let names: Vec<String> = machine.running_hooks().map(names::hook).collect();
        match names.len() {
            0 => "the next try of a hook".to_owned(),
            1 => format!("the hook {}", names.join("")),
            _ => format!("the hooks {}", names.join(", ")),
        }
    };
    let deadline = machine.budget_end();
    match machine.phase() {
        Phase::PreStart { .. } | Phase::Starting { .. } | Phase::Running { .. } | Phase::Exited => {
            None
        }
        Phase::PreStop { .. } | Phase::OnStop(_) => Some((hooks(), deadline)),
        Phase::Drain(draining) => {
            let under_way =
                draining.last_sample.map_or(0, |look| look.busy + look.owed + look.queued);
            let what = match under_way {
                0 => "load balancers and a quiet moment".to_owned(),
                1 => "1 connection".to_owned(),
                n => format!("{n} connections"),
            };
            Some((what, machine.drain_end()))
        }
        Phase::Stopping { .. } => Some(("the app".to_owned(), deadline)),
        Phase::Leftovers(_) => Some(("what the app left behind".to_owned(), deadline)),
        Phase::Killed { give_up, .. } => Some(("what was killed".to_owned(), Some(*give_up))),
        Phase::PostStop { reserve_end, asked: true, .. } => {
            Some(("what the hooks left behind".to_owned(), Some(*reserve_end)))
        }
        Phase::PostStop { reserve_end, asked: false, .. } => Some((hooks(), Some(*reserve_end))),
    }
}
