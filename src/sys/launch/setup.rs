//! What is started, and how the child differs from graceinit.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::sys::process;
use crate::sys::signals::{Disposition, Mask};
use crate::types::Signal;

/// Where execvp(3) looks for a program if there is no PATH (confstr(3), _CS_PATH).
pub(super) const DEFAULT_PATH: &CStr = c"/bin:/usr/bin";

/// A command, ready for execve.
#[derive(Debug)]
pub struct Program {
    pub(super) argv: Vec<CString>,
    /// Where the program may lie, in the order of PATH.
    pub(super) candidates: Vec<CString>,
}

impl Program {
    /// Prepares a command. The first word is looked for in PATH unless it has a slash.
    ///
    /// # Errors
    /// The word that has a NUL byte: execve(2) cannot take it.
    pub fn new(words: &[OsString]) -> Result<Program, OsString> {
        let argv: Vec<CString> = words
            .iter()
            .map(|word| CString::new(word.clone().into_vec()).map_err(|_| word.clone()))
            .collect::<Result<_, _>>()?;
        let name = words.first().map_or(&b""[..], |word| word.as_bytes());
        let path = process::variable("PATH").unwrap_or(DEFAULT_PATH.to_bytes());
        let candidates = if name.contains(&b'/') || name.is_empty() {
            argv.first().cloned().into_iter().collect()
        } else {
            path.split(|byte| *byte == b':')
                .filter_map(|dir| {
                    // An empty part of PATH is the current directory.
                    let dir: &[u8] = if dir.is_empty() { b"." } else { dir };
                    CString::new([dir, b"/", name].concat()).ok()
                })
                .collect()
        };
        Ok(Program { argv, candidates })
    }

    /// Whether the program is looked for in absolute paths only, so that the working directory does not matter.
    pub fn is_absolute(&self) -> bool {
        self.candidates.iter().all(|path| path.to_bytes().starts_with(b"/"))
    }

    /// The first word.
    pub fn name(&self) -> &OsStr {
        self.argv.first().map_or(OsStr::new(""), |word| OsStr::from_bytes(word.to_bytes()))
    }

    /// The file of the program, if it exists. If execve(2) says ENOENT all the same, the interpreter or the dynamic
    /// loader of the file is missing.
    pub fn file(&self) -> Option<&OsStr> {
        let file = self.candidates.iter().find(|path| process::exists(path))?;
        Some(OsStr::from_bytes(file.to_bytes()))
    }
}

/// What a child does.
#[derive(Clone, Copy)]
pub enum Task<'a> {
    /// Executes a program.
    Program(&'a Program),
    /// Calls a function and exits with the code that it returns. The child is a full copy of this process, but keeps
    /// only the descriptors 0, 1 and 2.
    Call(&'a dyn Fn() -> u8),
}

/// How a child differs from this process.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Its mask and dispositions.
    pub signals: Signals<'a>,
    /// Its user, group and supplementary groups.
    pub user: Option<(u32, u32, &'a [u32])>,
    /// The child leads a session of its own, and not just a process group.
    pub session: bool,
    /// The terminal whose foreground group the child becomes. A child with a session of its own gets it as its
    /// controlling terminal; if this is `None`, it gets its stdin, if that is a terminal without a session.
    pub terminal: Option<BorrowedFd<'a>>,
    /// Its stdin, stdout and stderr; `None`: those of graceinit.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Variables that are added to the inherited ones or replace them, as `NAME=value`.
    pub variables: &'a [CString],
    /// Names of variables that are not inherited.
    pub without: &'a [&'a str],
    /// A descriptor, and the number (3 or more) that it has in the child. An inherited descriptor of that number is
    /// replaced.
    pub extra: Option<(BorrowedFd<'a>, i32)>,
}

impl Setup<'_> {
    /// Clean signals; all else as graceinit has it.
    pub const CLEAN: Setup<'static> = Setup {
        signals: Signals::Clean,
        user: None,
        session: false,
        terminal: None,
        stdio: None,
        variables: &[],
        without: &[],
        extra: None,
    };
}

/// The signal mask and the dispositions of a child.
#[derive(Clone, Copy, Debug)]
pub enum Signals<'a> {
    /// What graceinit was started with: the mask, and the dispositions that graceinit has changed.
    Inherited(Mask, &'a [(Signal, Disposition)]),
    /// Nothing blocked, nothing ignored.
    Clean,
}

/// The steps that can fail in a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Changing the user.
    User,
    /// Redirecting stdin, stdout and stderr.
    Stdio,
    /// Giving the child the extra descriptor.
    Extra,
    /// execve(2).
    Execute,
}
