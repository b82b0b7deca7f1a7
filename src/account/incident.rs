//! What happened besides the machine's own facts: what was met while its actions were performed. Both
//! make up the one list that every account of a life is rendered from.

use crate::machine::hooks::HookId;
use crate::types::{Pid, Signal, Status};

/// What a process that was reaped had been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kin {
    /// The app.
    App,
    /// An attempt of a hook or of a probe.
    Hook,
    /// What the app or a hook had left behind.
    Orphan,
    /// A child of graceinit's own.
    Helper,
}

impl Kin {
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kin::App => "app",
            Kin::Hook => "hook",
            Kin::Orphan => "orphan",
            Kin::Helper => "helper",
        }
    }
}

/// One thing that was met.
#[allow(missing_docs, reason = "each variant tells what its fields are")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incident {
    /// The app was forked; `name` is its first word.
    Started { pid: Pid, name: String },
    /// Why it was not executed, and what to do.
    NotExecuted { why: String },
    /// The app goes on as another process.
    TookOver { pid: Pid },
    /// A process was reaped. `warn`: the user wants to know (`-w`).
    Reaped { kin: Kin, pid: Pid, status: Status, warn: bool },
    /// What the app left behind is asked to stop: so many processes.
    LeftoversAsked { signal: Signal, processes: usize },
    /// A hook has printed a line.
    HookSaid { id: HookId, stderr: bool, text: String },
    /// STATUS= of the app.
    Says { text: String },
    /// RELOADING=1 of the app.
    Reloads,
    /// ERRNO= of the app.
    Failed { errno: i32 },
    /// A message to the app's socket was left unread. `again`: not for the first time.
    Unheard { pid: Pid, uid: u32, why: String, again: bool },
    /// MAINPID= of the app names a process that is none of its own.
    ForeignMain { pid: Pid },
    /// The observer has ended.
    ObserverEnded { status: Status },
    /// Something could not be done; life goes on.
    Trouble { text: String },
    /// Lines of the log found no room.
    LinesDropped { lines: u32 },
}
