//! The plan: what the machine has to know of the configuration. Numbers and sets, no commands and no paths.

use std::time::Duration;

use super::attempt::HookPhase;
use super::connections;
use crate::exit::Codes;
use crate::types::{Signal, SignalSet, Status};

/// Stands for a budget without an end: longer than any machine runs, and short enough not to overflow.
pub const ENDLESS: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The processes that signals are sent to (`--scope`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// The app alone; a stop signal goes to every descendant in its turn (`who`).
    Auto,
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
    /// It is recorded and changes nothing.
    Ignore,
    /// It ends the budget at once.
    Kill,
    /// `Ignore`, but `Kill` for a Ctrl-C that was typed at the terminal.
    Default,
}

/// What happens when the kernel kills another process than the app for want of memory (`--child-oom`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChildOom {
    /// It is recorded.
    Note,
    /// The app is stopped.
    Stop,
}

/// One step of `--stop-signal`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rung {
    /// The signal to the app; `None`: none is sent, because an on-stop hook has stopped the app.
    pub signal: Option<Signal>,
    /// The time until the next step.
    pub wait: Option<Wait>,
}

/// How long a step of `--stop-signal` lasts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wait {
    /// A fixed time, if the budget has room for it.
    For(Duration),
    /// Hundredths of the time that is left when the step begins.
    Share(u8),
}

/// The limits of one hook. Its command is not known here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HookLimits {
    /// The time until SIGKILL.
    pub timeout: Duration,
    /// How many times a failed attempt is followed by another.
    pub retries: u32,
    /// The pause before the first retry; each further pause is twice as long.
    pub backoff: Duration,
    /// What happens when the last attempt has failed too.
    pub on_failure: OnFailure,
}

/// What happens to its phase when a hook has failed for good (`on_failure`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OnFailure {
    /// A warning; the phase goes on.
    Warn,
    /// The phase ends: in pre-start the app is not started, in on-reload the signal is not forwarded, in
    /// on-stop the remaining on-stop hooks are skipped.
    Abort,
}

/// `--diagnose`: a signal that makes the app say what it is doing, before it is killed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Diagnose {
    /// The signal.
    pub signal: Signal,
    /// How long before the end of the budget it is sent.
    pub lead: Duration,
}

/// A condition of `--ready`. The app is ready when all of them hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Condition {
    /// `notify`: the app says READY=1.
    Notify,
    /// `fd:N`: the app writes a newline there.
    Newline,
    /// `signal:SIG`: the app sends this signal to graceinit.
    Signal(Signal),
    /// `after:DUR`: the app has run for this long.
    After(Duration),
    /// `tcp:`, `http:`, `exec:`, `file:`: a child process checks it, again and again.
    Probe,
}

/// One value for each phase that has hooks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PerPhase<T> {
    /// Before the app is started.
    pub pre_start: T,
    /// When the app has become ready.
    pub on_ready: T,
    /// Before a reload signal is forwarded.
    pub on_reload: T,
    /// At the begin of a stop.
    pub pre_stop: T,
    /// During the stop, while the app still runs.
    pub on_stop: T,
    /// After the app.
    pub post_stop: T,
    /// The probes of `--ready`.
    pub ready: T,
    /// The looks of `--drained`.
    pub drained: T,
}

impl<T> PerPhase<T> {
    /// Calls `make` for each phase.
    pub fn each(mut make: impl FnMut(HookPhase) -> T) -> PerPhase<T> {
        PerPhase {
            pre_start: make(HookPhase::PreStart),
            on_ready: make(HookPhase::OnReady),
            on_reload: make(HookPhase::OnReload),
            pre_stop: make(HookPhase::PreStop),
            on_stop: make(HookPhase::OnStop),
            post_stop: make(HookPhase::PostStop),
            ready: make(HookPhase::Ready),
            drained: make(HookPhase::Drained),
        }
    }

    /// The value of one phase.
    pub fn of(&self, phase: HookPhase) -> &T {
        match phase {
            HookPhase::PreStart => &self.pre_start,
            HookPhase::OnReady => &self.on_ready,
            HookPhase::OnReload => &self.on_reload,
            HookPhase::PreStop => &self.pre_stop,
            HookPhase::OnStop => &self.on_stop,
            HookPhase::PostStop => &self.post_stop,
            HookPhase::Ready => &self.ready,
            HookPhase::Drained => &self.drained,
        }
    }
}

impl<T: Default> Default for PerPhase<T> {
    fn default() -> Self {
        PerPhase::each(|_| T::default())
    }
}

/// The signals that are sent in place of others (`--rewrite`).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rewrite(Vec<(Signal, Option<Signal>)>);

impl Rewrite {
    /// Makes `from` become `to`; `None` drops it. A later call for the same signal replaces an earlier one.
    pub fn set(&mut self, from: Signal, to: Option<Signal>) {
        self.0.retain(|(known, _)| *known != from);
        self.0.push((from, to));
    }

    /// The rule for `signal`, if there is one: what it becomes, or `Some(None)`: it is dropped.
    pub fn said(&self, signal: Signal) -> Option<Option<Signal>> {
        self.0.iter().find(|(from, _)| *from == signal).map(|(_, to)| *to)
    }

    /// What `signal` becomes; `None`: it is dropped.
    pub fn apply(&self, signal: Signal) -> Option<Signal> {
        self.said(signal).unwrap_or(Some(signal))
    }
}

/// How the app's exit status becomes graceinit's.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ExitRules {
    /// Codes that count as 0 (`-e`).
    pub always_ok: Vec<u8>,
    /// Codes that count as 0 after a stop request (`--stop-exit-ok`).
    pub stop_ok: Vec<u8>,
    /// The code when graceinit had to kill the app (`--grace-exit`); `None`: 137.
    pub killed: Option<u8>,
    /// The code when the kernel has killed the app for want of memory, or another process with `--child-oom stop`
    /// (`--oom-exit`); `None`: 137, or the app's own.
    pub oom: Option<u8>,
    /// graceinit's own codes.
    pub codes: Codes,
}

impl ExitRules {
    /// graceinit's exit code. `killed`: graceinit has sent the app SIGKILL.
    pub fn code(&self, app: Ending, stop_asked: bool, killed: bool) -> u8 {
        let code = match (app, self.killed) {
            (Ending::Was(Status::Signal(Signal::KILL)), Some(code)) if killed => return code,
            (Ending::Unkillable, Some(code)) => return code,
            (Ending::OutOfMemory, _) => match self.oom {
                Some(code) => return code,
                None => Status::Signal(Signal::KILL).shell_code(),
            },
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

/// How the app has ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// It exited with this status.
    Was(Status),
    /// The kernel has killed it for want of memory.
    OutOfMemory,
    /// Its execve or a pre-start hook has failed; graceinit's own code for that.
    NotStarted(u8),
    /// This signal requested a stop before the app was started.
    Forestalled(Signal),
    /// It did not die of SIGKILL (a process in uninterruptible sleep).
    Unkillable,
}

/// The plan of one life.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// `--grace`: the time from the stop request to SIGKILL; [`ENDLESS`]: SIGKILL never comes.
    pub grace: Duration,
    /// Where `grace` has no end: the time that leftovers get after the app has ended.
    pub leftovers: Duration,
    /// `--grace-max`: the longest budget that the app itself may ask for.
    pub grace_max: Duration,
    /// `--post-stop-timeout`: the reserve of the post-stop hooks, after the budget.
    pub post_stop_timeout: Duration,
    /// `--stop-on`.
    pub stop_on: SignalSet,
    /// The steps of `--stop-signal`; empty: the signal of the stop request is forwarded.
    pub ladder: Vec<Rung>,
    /// `--scope`.
    pub scope: Scope,
    /// `--rewrite`.
    pub rewrite: Rewrite,
    /// `--stop-again`.
    pub stop_again: StopAgain,
    /// `--diagnose`.
    pub diagnose: Option<Diagnose>,
    /// `--child-oom`.
    pub child_oom: ChildOom,
    /// `--reload-on`: signals that are forwarded only after the on-reload hooks.
    pub reload_on: SignalSet,
    /// `--ready`; none: the app is ready when it was executed (and listens on the ports to be drained).
    pub ready: Vec<Condition>,
    /// `--ready-timeout`: an app that is not ready after this time is stopped.
    pub ready_timeout: Option<Duration>,
    /// The timeout of one attempt of a probe.
    pub probe_timeout: Duration,
    /// `--drain`, `--drain-delay`; `None`: there is no drain.
    pub drain: Option<connections::Plan>,
    /// The limits of each hook.
    pub hooks: PerPhase<Vec<HookLimits>>,
    /// How the app's exit status becomes graceinit's.
    pub exit: ExitRules,
    /// The app has a session of its own, so the keys of graceinit's terminal do not reach it.
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
    /// The length of the budget; `None`: it has no end.
    pub fn budget(&self) -> Option<Duration> {
        (self.grace < ENDLESS).then_some(self.grace)
    }

    /// The length that shares of the budget are taken from. A budget without an end has no shares, so the
    /// time of the leftovers stands in.
    pub(super) fn share_base(&self) -> Duration {
        self.budget().unwrap_or(self.leftovers)
    }

    /// The signal to leftovers: the configured stop signal if it ends a process without a handler, else TERM.
    /// The signal of the stop request does not count, because background jobs of a shell ignore INT. Nor does
    /// `--rewrite`, which is about the app.
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
        // SIGKILL from elsewhere keeps its code, and so does an app that exited just before graceinit's SIGKILL
        // arrived.
        assert_eq!(chosen.code(Ending::Was(Status::Signal(Signal::KILL)), true, false), 137);
        assert_eq!(chosen.code(Ending::Was(Status::Code(0)), true, true), 0);
        // `-e 137` and `--stop-exit-ok 137` count for the kernel's SIGKILL, but not for a code of its own.
        assert_eq!(chosen.code(Ending::OutOfMemory, false, false), 137);
        let forgiving = ExitRules { always_ok: vec![137, 33], ..ExitRules::default() };
        assert_eq!(forgiving.code(Ending::OutOfMemory, false, false), 0);
        let chosen = ExitRules { oom: Some(33), ..forgiving };
        assert_eq!(chosen.code(Ending::OutOfMemory, true, false), 33);
        assert_eq!(chosen.code(Ending::Was(Status::Signal(Signal::KILL)), false, false), 0);
    }
}
