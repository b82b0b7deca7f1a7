//! A hook as it was configured: what it runs, as whom, and with which additions to the environment.

use std::ffi::{CString, OsString};
use std::time::Duration;

use super::source::Source;
use crate::config::user::User;
use crate::types::Signal;

/// One hook. Its limits are in the plan, at the same place of the same phase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    /// As the log and `GRACEINIT_HOOK` name it.
    pub name: String,
    /// What it does.
    pub task: Task,
    /// `NAME=value` for each variable of its own.
    pub env: Vec<CString>,
    /// Who it runs as, if not as the app does.
    pub user: Option<User>,
    /// Where it was configured.
    pub source: Source,
    /// As it was written, for people.
    pub text: String,
}

/// What a hook does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Runs a program.
    Command(Vec<OsString>),
    /// Does something that needs no program, in a child of its own all the same.
    Builtin(Builtin),
}

/// The built-in actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Builtin {
    /// `sleep:5s`
    Sleep(Duration),
    /// `http:POST http://127.0.0.1:9000/drain`; without a method GET. Any answer below 400 will do.
    Http {
        /// GET, POST, PUT…
        method: String,
        /// With an address, not a name: there is no name service in a static program.
        url: String,
    },
    /// `signal:TSTP`, to the scope.
    Signal(Signal),
    /// `touch:PATH`
    Touch(CString),
    /// `rm:PATH`; one that is not there is removed already.
    Remove(CString),
    /// Something listens on this port of this host. (Probes only.)
    Connect(u16),
    /// There is such a file. (Probes only.)
    Exists(CString),
    /// `write:PATH TEXT`, for FIFOs that take orders. Waits for a reader.
    Write(CString, Vec<u8>),
}
