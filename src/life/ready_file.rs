//! The file of `--ready-file`. Children make and remove it, one at a time: a file system that hangs must not block
//! PID 1.

use std::ffi::{CString, OsStr};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::background_write::{BackgroundWrite, Outcome};
use super::files::at_the_start;
use crate::account::journal;
use crate::cli::OptionId;
use crate::config::Config;
use crate::sys::safe_path::{self, Last, Place};
use crate::sys::sharing::Done;
use crate::types::{Pid, Time};

/// The file, and whether it is to exist.
#[derive(Debug)]
pub struct ReadyFile {
    path: CString,
    wanted: bool,
    /// Whether it exists, or what the running child makes of it.
    exists: bool,
    child: BackgroundWrite,
}

impl ReadyFile {
    /// Removes the file of an earlier life, if there is to be a file. The app does not run yet, so this may fail.
    ///
    /// # Errors
    /// The file cannot be removed, or its directory does not exist, and what to do.
    pub fn open(config: &Config) -> Result<Option<ReadyFile>, String> {
        let Some(path) = config.ready_file.clone() else { return Ok(None) };
        let child = BackgroundWrite::default();
        let file = ReadyFile { path, wanted: false, exists: false, child };
        let (shown, source) = (file.path().display(), config.source_of(OptionId::ReadyFile));
        let done = at_the_start(config, &|| {
            let has_place = prepare(file.path())?;
            Ok(Done { file: None, notes: [has_place.into(), 0, 0] })
        });
        match done.map(|done| done.notes[0] != 0) {
            Err(error) => Err(format!(
                "unable to remove {shown} ({source}): {}; name a file that can be made and removed",
                safe_path::explain(&error)
            )),
            Ok(false) => Err(format!(
                "unable to make {shown} ({source}): its directory does not exist; create it, or name a file in \
                 another directory"
            )),
            Ok(true) => Ok(Some(file)),
        }
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.to_bytes()))
    }

    /// The app is ready, or not any more.
    pub fn set(&mut self, ready: bool) {
        self.wanted = ready;
        self.update();
    }

    fn update(&mut self) {
        if self.wanted == self.exists || self.child.is_busy() {
            return;
        }
        self.exists = self.wanted;
        let mut child = std::mem::take(&mut self.child);
        let path = self.path();
        let work = || if self.wanted { make(path) } else { remove(path) };
        // The file must not stay because a limit of processes is reached. That the file system hangs as well is less
        // likely.
        if let Err(error) = child.start(None, &work) {
            log::debug!("unable to start the child that writes the file of --ready-file: {error}");
            self.tell(work());
        }
        self.child = child;
    }

    /// Reads the result of a child that has ended. The loop calls this in every round.
    pub fn go_on(&mut self, now: Time) {
        if let Some(outcome) = self.child.outcome(now) {
            self.written(outcome);
        }
    }

    fn written(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => {}
            Outcome::Failed(errno) => self.tell(Err(errno.into())),
            // Whether the file exists is not known.
            Outcome::Killed => self.exists = !self.wanted,
        }
        self.update();
    }

    fn tell(&self, done: io::Result<()>) {
        if let Err(error) = done {
            let verb = if self.exists { "make" } else { "remove" };
            let why = safe_path::explain(&error);
            journal::warn(format!("unable to {verb} {}: {why}; going on", self.path().display()));
        }
    }

    /// Waits until `end` for the child: the file must not outlive the app.
    pub fn finish(&mut self, end: Time) {
        while self.child.is_busy() {
            match self.child.wait(end) {
                Some(outcome) => self.written(outcome),
                None => {
                    self.tell(Err(io::Error::other("it takes too long")));
                    return self.child.abandon();
                }
            }
        }
    }

    /// The descriptor that the main loop waits for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.child.fd()
    }

    /// The descriptor that belongs to the child.
    pub fn owned(&self) -> Option<BorrowedFd<'_>> {
        self.child.owned()
    }

    /// The child, which is no part of the tree.
    pub fn pid(&self) -> Option<Pid> {
        self.child.pid()
    }

    /// When reaping is tried next.
    pub fn due(&self) -> Option<Time> {
        self.child.due()
    }
}

/// Never follows a link that another user may have made: in a directory that the app can write, a link could name any
/// file.
fn make(path: &Path) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NONBLOCK;
    Place::find(path, Last::Keep)?.open(flags, 0o666).map(drop)
}

/// Removes the file if it exists. Whether its directory exists.
fn prepare(path: &Path) -> io::Result<bool> {
    match remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        // The name of a file alone has an empty parent: the working directory, which exists.
        Err(_) => {
            let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            Ok(parent.is_none_or(Path::is_dir))
        }
        Ok(()) => Ok(true),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    Place::find(path, Last::Keep)?.remove()
}
