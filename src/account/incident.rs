//! Incidents: what happened while the machine's actions were performed. Together with the machine's facts they are all
//! that the account of a life is made from.

use std::time::Duration;

use super::document::Wait;
use crate::machine::connections::Holder;
use crate::machine::hooks::HookId;
use crate::types::{Pid, Signal, Status};

/// The role of a reaped process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kin {
    /// The app.
    App,
    /// An attempt of a hook or of a probe.
    Hook,
    /// A process that the app or a hook left behind.
    Orphan,
    /// A child of graceinit that is no part of the tree.
    Helper,
}

impl Kin {
    /// The word in the log, the metrics and the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Kin::App => "app",
            Kin::Hook => "hook",
            Kin::Orphan => "orphan",
            Kin::Helper => "helper",
        }
    }
}

/// A process that died of a SIGKILL which graceinit did not send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Killing {
    /// Its role.
    pub kin: Kin,
    /// Its pid.
    pub pid: Pid,
    /// Its name; `None`: it could not be read any more.
    pub name: Option<String>,
    /// Who killed it.
    pub by: KilledBy,
    /// The limit of the memory of its control group, in bytes, if there is one that can be seen.
    pub limit: Option<u64>,
    /// The most memory that its control group has used, in bytes, if the kernel tells.
    pub peak: Option<u64>,
}

/// Who killed a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KilledBy {
    /// The kernel, for want of memory.
    OutOfMemory,
    /// Neither graceinit nor the kernel's OOM killer.
    Elsewhere,
    /// One of the two, for this reason it is not known which.
    Unknown(String),
}

impl KilledBy {
    /// The word in the log and the report.
    pub fn as_str(&self) -> &'static str {
        match self {
            KilledBy::OutOfMemory => "oom",
            KilledBy::Elsewhere => "elsewhere",
            KilledBy::Unknown(_) => "unknown",
        }
    }
}

/// One incident.
#[allow(missing_docs, reason = "each variant tells what its fields are")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incident {
    /// The app was forked; `name` is the first word of its command.
    Started { pid: Pid, name: String },
    /// The app was not executed: the reason, and what to do.
    NotExecuted { why: String },
    /// The app continues as another process (MAINPID=).
    TookOver { pid: Pid },
    /// A process was reaped. `warn`: log it as a warning (`-w`).
    Reaped { kin: Kin, pid: Pid, status: Status, warn: bool },
    /// A process died of a SIGKILL that graceinit did not send.
    Killed(Box<Killing>),
    /// The kernel has killed other processes for want of memory than those that graceinit has seen die.
    KilledUnseen { count: u64 },
    /// The app has dumped core.
    DumpedCore { signal: Signal },
    /// The app died of a signal that was forwarded so long before.
    DiedOfForwarded { signal: Signal, after: Duration },
    /// Leftovers of the app were sent the signal.
    LeftoversAsked { signal: Signal, processes: usize },
    /// A line of a hook's output.
    HookSaid { id: HookId, stderr: bool, text: String },
    /// A look at a condition of `--drained` has ended; `missing`: what it has found, if the condition does not hold.
    /// `again`: a failed look was told before.
    Looked { index: usize, missing: Option<String>, again: bool },
    /// This condition of `--drained` alone kept the drain from ending.
    HeldByWord { index: usize, said: String },
    /// The connections that hold the drain longest so far.
    Holding(Vec<Holder>),
    /// STATUS= of the app.
    Says { text: String },
    /// RELOADING=1 of the app.
    Reloads,
    /// ERRNO= of the app.
    Failed { errno: i32 },
    /// A message to the app's socket was refused. `again`: not for the first time.
    Unheard { pid: Pid, uid: u32, why: String, again: bool },
    /// MAINPID= of the app names a process that is not one of its own.
    ForeignMain { pid: Pid },
    /// The observer has ended.
    ObserverEnded { status: Status },
    /// What the app is not ready for has changed.
    Awaits { waits: Vec<Wait> },
    /// A look at a condition of readiness that does not hold gave another answer than the look before.
    Answered { wait: Wait },
    /// Something could not be done; graceinit goes on.
    Trouble { text: String },
}
