//! What a stop waits for, for the status line at a terminal.

use crate::account::live::Progress;
use crate::account::plan_names;
use crate::machine::Machine;
use crate::machine::phase::Phase;

/// The progress of a stop; `None` where nothing is waited for. `foreground`: whether graceinit's own group, rather than
/// the app's, is the foreground group, so that a Ctrl-C reaches graceinit.
pub(super) fn of(machine: &Machine, foreground: bool) -> Option<Progress> {
    let budget_end = machine.budget_end();
    let (waiting_for, end) = match machine.phase() {
        Phase::PreStart { .. } | Phase::Starting { .. } | Phase::Running { .. } | Phase::Exited => {
            return None;
        }
        Phase::PreStop { .. } | Phase::OnStop(_) => (hooks(machine), budget_end),
        Phase::Drain(draining) => {
            let open = draining.last_sample.map_or(0, |last| last.busy + last.owed + last.queued);
            let what = match open {
                0 => "load balancers and a quiet moment".to_owned(),
                1 => "1 connection".to_owned(),
                n => format!("{n} connections"),
            };
            (what, machine.drain_end())
        }
        Phase::Stopping { .. } => ("the app".to_owned(), budget_end),
        Phase::Leftovers(_) => ("what the app left behind".to_owned(), budget_end),
        Phase::Killed { give_up, .. } => ("what was killed".to_owned(), Some(*give_up)),
        Phase::PostStop { reserve_end, asked: true, .. } => {
            ("what the hooks left behind".to_owned(), Some(*reserve_end))
        }
        Phase::PostStop { reserve_end, asked: false, .. } => (hooks(machine), Some(*reserve_end)),
    };
    let again_kills = foreground && machine.again_kills();
    Some(Progress { phase: machine.phase().name(), waiting_for, end, again_kills })
}

fn hooks(machine: &Machine) -> String {
    let names: Vec<String> = machine.running_hooks().map(plan_names::hook).collect();
    match names.len() {
        0 => "the retry of a hook".to_owned(),
        1 => format!("the hook {}", names.join("")),
        _ => format!("the hooks {}", names.join(", ")),
    }
}
