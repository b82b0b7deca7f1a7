//! A file that is written again whenever the account changes.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::background_write::{BackgroundWrite, Outcome};
use crate::account::journal;
use crate::sys::{clock, safe_path};
use crate::types::Time;

/// How long after a write that could not be started the next one is tried.
const PAUSE: Duration = Duration::from_secs(5);

/// The content of a file.
pub trait Content {
    /// The path, for messages.
    fn path(&self) -> &CString;
    /// The descriptor that the writing child keeps open.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
    /// Writes the present account.
    fn write(&self) -> io::Result<()>;
}

/// A file, and when it is to be written.
#[derive(Debug)]
pub struct Kept<C> {
    /// Its content.
    pub file: C,
    /// The child that writes it.
    pub write_process: BackgroundWrite,
    /// When the last write was started.
    pub last: Time,
    /// When the next write is due.
    next: Option<Time>,
    /// The warning that it cannot be written has been logged.
    complained: bool,
    /// No child could be started for the last write.
    childless: bool,
}

impl<C: Content> Kept<C> {
    /// A file that is not written yet.
    pub fn new(file: C) -> Kept<C> {
        let last = clock::now();
        Kept {
            file,
            write_process: BackgroundWrite::default(),
            last,
            next: None,
            complained: false,
            childless: false,
        }
    }

    /// Schedules a write for `when`, or keeps an earlier one.
    pub fn want(&mut self, when: Time) {
        self.next = Some(self.next.map_or(when, |next| next.min(when)));
    }

    /// Reads the result of a write, and starts one that is due.
    pub fn go_on(&mut self, now: Time) {
        self.ended(now);
        if self.next.is_some_and(|next| next <= now) && !self.write_process.is_busy() {
            self.begin(now);
        }
    }

    fn begin(&mut self, now: Time) {
        (self.last, self.next) = (now, None);
        let file = &self.file;
        let started = self.write_process.start(file.fd(), &|| file.write());
        self.childless = started.is_err();
        if let Err(error) = started {
            log::debug!("unable to start the child that writes {}: {error}", shown(file.path()));
            // No write is lost while the app runs: the next change writes all of it.
            self.want(now.after(PAUSE));
        }
    }

    fn ended(&mut self, now: Time) {
        if let Some(outcome) = self.write_process.outcome(now) {
            self.judge(outcome, now);
        }
    }

    fn judge(&mut self, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Done => {}
            Outcome::Failed(errno) => self.complain(Some(errno.desc().to_owned())),
            // It was killed with the rest of the tree: write again.
            Outcome::Killed => self.want(now),
        }
    }

    /// Warns once for each file; a later write may succeed.
    pub fn complain(&mut self, why: Option<String>) {
        let Some(why) = why.filter(|_| !self.complained) else { return };
        self.complained = true;
        journal::warn(format!("unable to write {}: {why}; going on", shown(self.file.path())));
    }

    /// Starts to write the last version.
    pub fn begin_last(&mut self, now: Time) {
        self.ended(now);
        match self.write_process.is_busy() {
            // The running child writes an older account.
            true => self.next = Some(now),
            false => self.begin(now),
        }
    }

    /// Waits until `end` for the last version.
    pub fn finish(&mut self, end: Time) {
        let outcome = self.write_process.wait(end);
        let killed = outcome == Some(Outcome::Killed);
        if let Some(outcome) = outcome {
            self.judge(outcome, clock::now());
        }
        if (killed || self.next.is_some()) && !self.write_process.is_busy() {
            self.begin(clock::now());
            if let Some(Outcome::Failed(errno)) = self.write_process.wait(end) {
                self.complain(Some(errno.desc().to_owned()));
            }
        }
        if self.write_process.is_busy() {
            self.complain(Some("the write takes too long".to_owned()));
            self.write_process.abandon();
        }
        if self.childless {
            // A limit of processes is reached. That the file system hangs as well is less likely, and the dead-man
            // timer of the stop ends the wait.
            let done = self.file.write();
            self.complain(done.err().map(|error| reason(&error)));
        }
    }

    /// When the next write is due.
    pub fn due(&self) -> Option<Time> {
        match self.write_process.is_busy() {
            true => self.write_process.due(),
            false => self.next,
        }
    }
}

/// A path from the configuration.
pub fn as_path(path: &CString) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// The path, for messages.
pub fn shown(path: &CString) -> std::path::Display<'_> {
    as_path(path).display()
}

/// The kernel's reason without the number that std adds.
pub fn reason(error: &io::Error) -> String {
    if let Some(reason) = safe_path::reason(error) {
        return reason.to_owned();
    }
    let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
    errno.map_or_else(|| error.to_string(), |errno| errno.desc().to_owned())
}
