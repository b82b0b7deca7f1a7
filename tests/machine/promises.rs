//! What users are promised, one name per promise. `ledger` and `hooks` hold the checks.

use std::fmt;

use super::world::Choice;

macro_rules! promises {
    ($($name:ident: $sentence:literal,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Promise {
            $($name,)*
        }

        impl Promise {
            pub(super) const ALL: &[Promise] = &[$(Promise::$name,)*];

            fn sentence(self) -> &'static str {
                match self {
                    $(Promise::$name => $sentence,)*
                }
            }
        }
    };
}

promises! {
    ExitsOnce: "there is one exit, and nothing after it",
    ExitsInTime: "exit comes by the end of grace and post-stop reserve",
    ExitCode: "the exit code is the app's, by the rules",
    Reason: "hooks and the account are told why the app went",
    StartsOnce: "the app is started once, after the last pre-start hook",
    PreStartInOrder: "pre-start hooks run in order, before the app",
    Forestalled: "a stop or the app's end asks the hooks from before it to end, and no app comes after it",
    HeldSignals: "what comes before the app is kept for it, and comes in order",
    OnReadyInOrder: "on-ready hooks run in order, once the app is there",
    Readiness: "the app is ready once everything holds that it is waited for, at once, and only then",
    ReadyInTime: "an app that is not ready in time is stopped",
    ReadyFalls: "readiness falls for good, before anything else of a stop, and when the app ends",
    Probes: "a probe is one attempt at a time, killed at its limit, tried again until it holds",
    Seeks: "it is looked whether the app listens, in time and without haste, until it does",
    Watchdog: "an app that gives no sign of life in time is stopped, and no other",
    MainPid: "the app is another process if it says so while it lives",
    News: "what is told of readiness and drain is what happened, once",
    DrainInPlace: "an app that was ready is drained between pre-stop and on-stop, and no other",
    DrainHolds: "a drain ends no earlier than its delay, its quiet and its ports allow",
    DrainEnds: "a drain ends when it may, and before the budget needs the rest",
    Looks: "ports are looked at in time and without haste, only during the drain",
    ReloadInOrder: "on-reload hooks run round by round, one at a time",
    Reloads: "a reload signal is passed on after its hooks, or it is told why not",
    Abort: "a failure that ends its phase does so then, and no other",
    Occasion: "hooks are told which signal they are about",
    NamesApart: "no attempt begins while a namesake lives",
    Diagnose: "the app is made to speak once, after the stop signal, before SIGKILL",
    MoreTime: "the app gets the time it asks for, up to its limit, and loses none",
    Survey: "once before SIGKILL it is recorded who is there",
    Survivors: "survivors are reported when the budget ends, before SIGKILL, and at no other time",
    DeadMansReport: "the dead-man's report is prepared in every phase that reads the process tree",
    Endless: "where a stop has no deadline, SIGKILL needs a second request, or an app that has gone",
    TimeTold: "what is told of the time that is left is right, and nothing where there is no end",
    KillNotEarly: "nothing is killed before the end of its budget",
    KillNotLate: "nothing outlives the deadline without SIGKILL",
    GivesUpInTime: "what cannot be killed is waited for in the reserve only",
    StopAgain: "a second stop request does what was configured, and is told",
    SignalsOnlyTheLiving: "no process is signalled once it was reaped",
    KillsOnlyLivingHooks: "no attempt is killed once it was reaped",
    StopSignalInOrder: "every rung of the ladder is sent once, in its turn",
    StopSignalAlways: "the app gets the whole ladder before it is killed",
    StopSignalScope: "the stop signal goes to whom --scope says",
    ContinueAfterStop: "a stopped app is continued, so that it can act",
    Continued: "a TERM or INT that is passed on continues an app that is stopped, and is else all there is",
    ForwardedOnce: "a signal is forwarded once, to a living app",
    LeftoversTold: "leftovers get the stop signal once before SIGKILL",
    PhasesInOrder: "phases never go back, and each is in the account",
    PreStopTogether: "all pre-stop hooks start at once",
    OnStopInOrder: "on-stop hooks run after pre-stop, one at a time",
    StopHooksNeedTheApp: "pre-stop and on-stop hooks start while the app lives",
    PostStopLast: "post-stop begins when all is gone or given up",
    PostStopAlways: "post-stop hooks run whatever happened",
    PostStopInOrder: "post-stop hooks run in order, one at a time",
    Retries: "a failed attempt is retried as configured, after its pause",
    HookLimit: "a hook's limit is its own or what is left, and it is told",
    HookKilledAtLimit: "a hook that runs into its limit is killed",
    DeadMan: "the dead-man timer covers the budget and cuts off nothing",
    NoLostWakeUp: "every wait ends by an event that can come",
    LeavesAtOnce: "nothing is waited for that is not there",
    LeavesNothing: "whatever still lives at the exit was killed",
    TickOnTime: "a tick before its time changes nothing",
    Terminal: "job control: Ctrl-Z stops both, fg resumes them, and the terminal comes back",
    Account: "what begins in the account ends there, once",
    Terminates: "if nobody does anything, graceinit still leaves",
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.sentence())
    }
}

/// A promise that was not kept.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) promise: Promise,
    pub(super) how: String,
    /// What had happened, if that is known.
    pub(super) story: Vec<Choice>,
}

pub(super) type Kept = Result<(), Broken>;

/// `Ok` if it was kept. `how` is called only if not.
pub(super) fn kept<S: Into<String>>(yes: bool, promise: Promise, how: impl FnOnce() -> S) -> Kept {
    if yes { Ok(()) } else { Err(Broken { promise, how: how().into(), story: Vec::new() }) }
}
