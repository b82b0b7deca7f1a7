//! What users are promised, one name per promise. `ledger` and `hooks` hold the checks.

use std::fmt;

use super::choice::Choice;

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
    Reason: "hooks and the report get the reason why the app ended",
    StartsOnce: "the app is started once, after the last pre-start hook",
    PreStartInOrder: "pre-start hooks run in order, before the app",
    Forestalled: "a stop or the app's end asks earlier hooks to end, and the app is not started after it",
    HeldSignals: "signals that arrive before the app is started are kept until it can take them, and are sent in order",
    OnReadyInOrder: "on-ready hooks run in order, once the app is ready",
    Readiness: "the app becomes ready at once when all conditions hold, and only then",
    ReadyInTime: "an app that is not ready in time is stopped",
    Late: "that an app is late to be ready is told once, with what is missing",
    ReadyFalls: "readiness falls for good, before anything else of a stop, and when the app ends",
    Probes: "a probe is one attempt at a time, killed at its timeout, retried until it holds",
    Seeks: "checks whether the app listens come in time and not too often, until it does",
    ChildOom: "with --child-oom stop the app is stopped when another process ran out of memory, else not",
    Watchdog: "an app that misses its watchdog is stopped, and no other",
    MainPid: "the app may name another main process while it lives",
    News: "what is recorded of readiness and drain is what happened, once",
    DrainInPlace: "an app that was ready is drained between pre-stop and on-stop, and no other",
    DrainHolds: "a drain ends no earlier than its delay, its quiet time and its connections allow",
    DrainEnds: "a drain ends when it may, and before the time that is kept for the rest of the stop",
    Words: "the app is asked for its own word while nothing else is in the way, in time and not too often",
    Samples: "samples are taken in time and not too often, only during the drain",
    ReloadInOrder: "on-reload hooks run round by round, one at a time",
    Reloads: "a reload signal is forwarded after its hooks, or the reason why not is recorded",
    Abort: "a failure that ends its phase does so then, and no other",
    Occasion: "hooks get the signal that they are about",
    NamesApart: "no attempt starts while another one with the same id lives",
    Diagnose: "the diagnose signal is sent once, after the stop signal, before SIGKILL",
    MoreTime: "the app gets the time it asks for, up to its limit, and loses none",
    SurvivorScan: "the survivors are recorded once before SIGKILL",
    Survivors: "survivors are reported when the budget ends, before SIGKILL, and at no other time",
    DeadMansReport: "the dead-man's report is prepared in every phase that reads the process tree",
    Endless: "where a budget has no end, SIGKILL needs a second request, or an app that has ended",
    TimeRecorded: "the recorded rest of the budget is right, and absent where the budget has no end",
    KillNotEarly: "nothing is killed before the end of its budget",
    KillNotLate: "nothing outlives the end of the budget without SIGKILL",
    GivesUpInTime: "what cannot be killed is waited for in the reserve only",
    Escalates: "a further stop request with another signal is sent to the app as well, once",
    KillsAtOnce: "when a second stop request has ended the budget, nothing is started or asked any more",
    Standstill: "an app gets its time again when nothing has run for a while, once between two keep-alives",
    StopAgain: "a second stop request does what was configured, and is recorded",
    SignalsOnlyTheLiving: "no process is signalled once it was reaped",
    KillsOnlyLivingHooks: "no attempt is killed once it was reaped",
    StopSignalInOrder: "every rung of the ladder is sent once, in its turn",
    StopSignalAlways: "the app gets the whole ladder before it is killed",
    StopSignalScope: "the stop signal goes to the processes that --scope names",
    ContinueAfterStop: "a stopped app is continued, so that it can act",
    Continued: "a forwarded TERM or INT is followed by CONT if the app is stopped, and by nothing otherwise",
    ForwardedOnce: "a signal is forwarded once, to a living app",
    LeftoversAsked: "leftovers get the stop signal once before SIGKILL",
    PhasesInOrder: "phases never go back, and each is recorded",
    PreStopTogether: "all pre-stop hooks start at once",
    OnStopInOrder: "on-stop hooks run after pre-stop, one at a time",
    StopHooksNeedTheApp: "pre-stop and on-stop hooks start while the app lives",
    PostStopLast: "post-stop begins when all processes have ended or were given up",
    PostStopAlways: "post-stop hooks run whatever happened",
    PostStopInOrder: "post-stop hooks run in order, one at a time",
    Retries: "a failed attempt is retried as configured, after its pause",
    HookLimit: "a hook is killed at its timeout or at the end of its share of the budget, and gets that time",
    HookKilledAtLimit: "a hook that reaches its timeout is killed",
    DeadMan: "the dead-man timer covers the budget and cuts off nothing",
    NoLostWakeUp: "every wait is ended by an event that can come",
    LeavesAtOnce: "the machine does not wait for what does not exist",
    LeavesNothing: "every process that still lives at the exit was sent SIGKILL",
    TickOnTime: "a tick before its time changes nothing",
    Terminal: "job control: Ctrl-Z stops both, fg resumes them, and the terminal comes back",
    Account: "what is recorded as begun is recorded as ended, once",
    Terminates: "if only time passes, graceinit exits",
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
