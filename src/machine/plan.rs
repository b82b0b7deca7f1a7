//! What the machine must know of the configuration: numbers and sets, no commands and no paths.

use std::time::Duration;

use super::attempt::HookPhase;
use super::connections;
use crate::exit::Codes;
use crate::types::{Signal, SignalSet, Status};

/// A budget without an end: longer than any machine runs, and short enough to count with.
pub const ENDLESS: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Who receives the signals that are passed on (`--scope`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// The app's process group.
    Group,
    /// The app alone.
    Main,
    /// The app alone; from the second stop signal on, every descendant.
    Mixed,
    /// Every descendant, hooks excepted.
    Tree,
}

/// What a second stop request does (`--stop-again`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StopAgain {
    /// It is logged and changes nothing.
    Ignore,
    /// It ends the budget at once.
    Kill,
    /// `Ignore`, but `Kill` for a Ctrl-C that was typed at the terminal.
    Default,
}

/// One step of `--stop-signal`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rung {
    /// What the app is sent; `None`: nothing, it is only waited for (an on-stop hook was the stop).
    pub signal: Option<Signal>,
    /// How long the app may take before the next rung.
    pub wait: Option<Wait>,
}

/// How long a step of `--stop-signal` lasts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wait {
    /// So long, if there is time for it.
    For(Duration),
    /// So many hundredths of what is left when the step begins.
    Share(u8),
}

/// The limits of one hook. Its command is the supervisor's business.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HookLimits {
    /// SIGKILL after this long.
    pub timeout: Duration,
    /// How many times a failed attempt is followed by another.
    pub retries: u32,
    /// The pause before the first retry; each further pause is twice as long.
    pub backoff: Duration,
    /// What it means when the last attempt has failed too.
    pub on_failure: OnFailure,
}

/// What a hook that has failed for good means for its phase (`on_failure`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OnFailure {
    /// A warning; the phase goes on.
    Warn,
    /// The phase ends: after pre-start the app is not started, after on-reload the signal is not passed
    /// on, after on-stop the further on-stop hooks are left out.
    Abort,
}

/// `--diagnose`: a signal that makes the app say what it is doing, before it is killed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Diagnose {
    /// What the app is sent.
    pub signal: Signal,
    /// How long before SIGKILL.
    pub lead: Duration,
}

/// Something that has to hold before the app counts as ready (`--ready`). All have to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Condition {
    /// `notify`: the app says READY=1.
    Notify,
    /// `fd:N`: the app writes a newline there.
    Newline,
    /// `signal:SIG`: the app sends this to graceinit.
    Signal(Signal),
    /// `after:DUR`: the app has run for so long.
    After(Duration),
    /// `tcp:`, `http:`, `exec:`, `file:`: a child looks, again and again.
    Probe,
}

/// Something for each phase that has hooks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PerPhase<T> {
    /// Before the app is started.
    pub pre_start: T,
    /// When the app is ready.
    pub on_ready: T,
    /// Before a reload signal is passed on.
    pub on_reload: T,
    /// When a stop begins.
    pub pre_stop: T,
    /// While the app still runs.
    pub on_stop: T,
    /// After everything else.
    pub post_stop: T,
    /// Looks whether the app is ready.
    pub ready: T,
}

impl<T> PerPhase<T> {
    /// Makes one for each.
    pub fn each(mut make: impl FnMut(HookPhase) -> T) -> PerPhase<T> {
        PerPhase {
            pre_start: make(HookPhase::PreStart),
            on_ready: make(HookPhase::OnReady),
            on_reload: make(HookPhase::OnReload),
            pre_stop: make(HookPhase::PreStop),
            on_stop: make(HookPhase::OnStop),
            post_stop: make(HookPhase::PostStop),
            ready: make(HookPhase::Ready),
        }
    }

    /// That of one phase.
    pub fn of(&self, phase: HookPhase) -> &T {
        match phase {
            HookPhase::PreStart => &self.pre_start,
            HookPhase::OnReady => &self.on_ready,
            HookPhase::OnReload => &self.on_reload,
            HookPhase::PreStop => &self.pre_stop,
            HookPhase::OnStop => &self.on_stop,
            HookPhase::PostStop => &self.post_stop,
            HookPhase::Ready => &self.ready,
        }
    }
}

impl<T: Default> Default for PerPhase<T> {
    fn default() -> Self {
        PerPhase::each(|_| T::default())
    }
}

/// What is sent in place of a signal (`--rewrite`).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rewrite(Vec<(Signal, Option<Signal>)>);

impl Rewrite {
    /// From now on `from` becomes `to`; `None` drops it. The last word on a signal counts.
    pub fn set(&mut self, from: Signal, to: Option<Signal>) {
        self.0.retain(|(known, _)| *known != from);
        self.0.push((from, to));
    }

    /// What was said of `signal`, if anything was: what it becomes, or that it is dropped.
    pub fn said(&self, signal: Signal) -> Option<Option<Signal>> {
        self.0.iter().find(|(from, _)| *from == signal).map(|(_, to)| *to)
    }

    /// What `signal` becomes.
    pub fn apply(&self, signal: Signal) -> Option<Signal> {
        self.said(signal).unwrap_or(Some(signal))
    }
}

/// How the app's status becomes graceinit's.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ExitRules {
    /// Codes that count as 0 (`-e`).
    pub always_ok: Vec<u8>,
    /// Codes that count as 0 when a stop had been asked for (`--stop-exit-ok`).
    pub stop_ok: Vec<u8>,
    /// The code when graceinit had to kill the app (`--grace-exit`); 137 without.
    pub killed: Option<u8>,
    /// graceinit's own codes.
    pub codes: Codes,
}

impl ExitRules {
    /// graceinit's exit code.
    pub fn code(&self, app: Ending, stop_asked: bool, killed: bool) -> u8 {
        let code = match (app, self.killed) {
            (Ending::Was(Status::Signal(Signal::KILL)), Some(code)) if killed => return code,
            (Ending::Unkillable, Some(code)) => return code,
            (Ending::Was(status), _) => status.shell_code(),
            (Ending::NotStarted(code), _) => return code,
            (Ending::Forestalled(signal), _) => Status::Signal(signal).shell_code(),
            (Ending::Unkillable, None) => Status::Signal(Signal::KILL).shell_code(),
        };
        let forgiven =
            self.always_ok.contains(&code) || (stop_asked && self.stop_ok.contains(&code));
        if forgiven { 0 } else { code }
    }
}

/// What became of the app.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// It ended.
    Was(Status),
    /// It could not be executed, or a pre-start hook has failed; graceinit's own code for that.
    NotStarted(u8),
    /// A stop was asked for with this signal before it was started.
    Forestalled(Signal),
    /// SIGKILL was sent and it did not die (a process in uninterruptible sleep).
    Unkillable,
}

/// Everything the machine is told at its birth.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// `--grace`: from the stop request to SIGKILL; [`ENDLESS`]: there is no such end.
    pub grace: Duration,
    /// What leftovers get from the end of the app on, where `grace` has no end.
    pub leftovers: Duration,
    /// `--grace-max`: how far the app itself may move that.
    pub grace_max: Duration,
    /// `--post-stop-timeout`: what the post-stop hooks get after that.
    pub post_stop_timeout: Duration,
    /// `--stop-on`.
    pub stop_on: SignalSet,
    /// `--stop-signal`; empty: the signal that was received.
    pub ladder: Vec<Rung>,
    /// `--scope`.
    pub scope: Scope,
    /// `--rewrite`.
    pub rewrite: Rewrite,
    /// `--stop-again`.
    pub stop_again: StopAgain,
    /// `--diagnose`.
    pub diagnose: Option<Diagnose>,
    /// `--reload-on`: signals that are passed on only after the on-reload hooks.
    pub reload_on: SignalSet,
    /// `--ready`; none: the app is ready when it was started (and listens on the drained ports).
    pub ready: Vec<Condition>,
    /// `--ready-timeout`: the app is stopped if it is not ready by then.
    pub ready_timeout: Option<Duration>,
    /// An attempt of a probe is killed after this.
    pub probe_timeout: Duration,
    /// `--drain`, `--drain-delay`; `None`: there is no drain.
    pub drain: Option<connections::Plan>,
    /// The limits of each hook.
    pub hooks: PerPhase<Vec<HookLimits>>,
    /// What becomes of the app's status.
    pub exit: ExitRules,
    /// The app has a session of its own: keys of graceinit's terminal do not reach it.
    pub session: bool,
}

/// What graceinit finds when it starts. No option sets these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Surroundings {
    /// There is a controlling terminal, so terminal stops are job control.
    pub terminal: bool,
    /// A shell can resume graceinit after a stop: graceinit is not PID 1 and its process group is not
    /// orphaned.
    pub suspendable: bool,
    /// WATCHDOG_USEC in the environment: the app sends a keep-alive at least this often.
    pub watchdog: Option<Duration>,
    /// A random number that spreads the pauses before retries; 0: no spread.
    pub jitter: u64,
}

impl Plan {
    /// The whole budget of a stop; `None`: it has no end.
    pub fn budget(&self) -> Option<Duration> {
        (self.grace < ENDLESS).then_some(self.grace)
    }

    /// The budget of which limits are shares. Where a stop has none, that of what the app leaves behind.
    pub(super) fn measure(&self) -> Duration {
        self.budget().unwrap_or(self.leftovers)
    }

    /// What leftovers are sent: the configured stop signal if it ends a process that has no handler for it;
    /// TERM otherwise. A signal as received is no guide: background jobs of a shell ignore INT. `--rewrite` is
    /// for the app and does not touch this.
    pub fn leftover_signal(&self) -> Signal {
        let configured = self.ladder.first().and_then(|rung| rung.signal);
        configured.filter(|signal| signal.ends_by_default()).unwrap_or(Signal::TERM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rewrite_of_a_signal_counts_and_others_pass() {
        let mut rewrite = Rewrite::default();
        rewrite.set(Signal::TERM, Some(Signal::QUIT));
        rewrite.set(Signal::HUP, None);
        rewrite.set(Signal::TERM, Some(Signal::INT));
        assert_eq!(rewrite.apply(Signal::TERM), Some(Signal::INT));
        assert_eq!(rewrite.apply(Signal::HUP), None);
        assert_eq!(rewrite.said(Signal::HUP), Some(None));
        assert_eq!(rewrite.said(Signal::QUIT), None);
        assert_eq!(rewrite.apply(Signal::QUIT), Some(Signal::QUIT));
    }

    #[test]
    fn exit_codes() {
        let rules = ExitRules { always_ok: vec![3, 143], stop_ok: vec![7], ..ExitRules::default() };
        let code = |ending, stop, killed| rules.code(ending, stop, killed);
        assert_eq!(code(Ending::Was(Status::Code(255)), false, false), 255);
        assert_eq!(code(Ending::Was(Status::Code(3)), false, false), 0);
        assert_eq!(code(Ending::Was(Status::Signal(Signal::TERM)), false, false), 0);
        assert_eq!(code(Ending::Was(Status::Code(7)), false, false), 7);
        assert_eq!(code(Ending::Was(Status::Code(7)), true, false), 0);
        assert_eq!(code(Ending::Was(Status::Signal(Signal::KILL)), true, true), 137);
        assert_eq!(code(Ending::Unkillable, true, true), 137);
        assert_eq!(code(Ending::NotStarted(127), false, false), 127);
        let chosen = ExitRules { killed: Some(9), ..ExitRules::default() };
        assert_eq!(chosen.code(Ending::Was(Status::Signal(Signal::KILL)), true, true), 9);
        assert_eq!(chosen.code(Ending::Unkillable, true, true), 9);
        // Somebody else's SIGKILL (the kernel's for want of memory) is not ours to rename, and an
        // app that got out just before ours arrived keeps its code.
        assert_eq!(chosen.code(Ending::Was(Status::Signal(Signal::KILL)), true, false), 137);
        assert_eq!(chosen.code(Ending::Was(Status::Code(0)), true, true), 0);
    }
}
