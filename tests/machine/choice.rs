//! The choices: everything that may happen in the world of the machine.

use graceinit::types::{Signal, Status, Time};

/// One thing that may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// Everything is prepared.
    Begins,
    /// The child that becomes the app was forked.
    AppIsForked,
    AppIsNotForked,
    Executed,
    NotExecuted,
    AppEnds(Status),
    /// The kernel kills it for want of memory.
    AppRunsOutOfMemory,
    AppStops(Signal, bool),
    /// The first of the fresh attempts runs.
    HookRuns,
    /// fork failed for the first of the fresh attempts.
    HookFailsToStart,
    HookEnds {
        place: usize,
        status: Status,
        leaves_a_descendant: bool,
    },
    /// Its execve failed, which the loop learns when it reaps the child that tried.
    HookCannotBeExecuted(usize),
    DescendantEnds(usize),
    DescendantIsForked,
    /// The signal of this number in `Setup::signals`.
    Arrives(usize),
    /// The app sends the notification of this number in `Setup::says`.
    AppSays(usize),
    /// A sample has the result of this number in `Setup::samples`.
    Sees(usize),
    /// The check shows whether the app listens.
    Listens(bool),
    /// Another probe is answered "not ready".
    Acknowledges,
    ScanRuns,
    /// The machine gets no event for this, and SIGKILL comes all the same.
    ScanFailsToStart,
    ScanEnds,
    /// graceinit has no child left.
    TreeIsEmpty,
    Tick,
    Wait(Time),
    /// The processes are frozen until after the wake-up.
    StandStill(Time),
    /// `Wait`, but not up to the wake-up.
    Linger(Time),
}
