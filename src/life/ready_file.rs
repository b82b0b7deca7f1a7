//! The file of `--ready-file`. Children make and remove it, one at a time: a file system that hangs must not block
//! PID 1.

use std::ffi::{CString, OsStr};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;

use super::background_write::exit_code;
use super::children::{Children, Role};
use crate::account::journal;
use crate::cli::OptionId;
use crate::config::Config;
use crate::sys::launch::spawn::{self, Setup, Task};
use crate::types::Status;

/// The file, and whether it is to exist.
#[derive(Debug)]
pub struct ReadyFile {
    path: CString,
    wanted: bool,
    /// Whether it exists, or what the running child makes of it.
    exists: bool,
}

impl ReadyFile {
    /// Removes the file of an earlier life, if there is to be a file. The app does not run yet, so this may fail.
    ///
    /// # Errors
    /// The file cannot be removed, or its directory does not exist, and what to do.
    pub fn open(config: &Config) -> Result<Option<ReadyFile>, String> {
        let Some(path) = config.ready_file.clone() else { return Ok(None) };
        let file = ReadyFile { path, wanted: false, exists: false };
        let (shown, source) = (file.path().display(), config.source_of(OptionId::ReadyFile));
        match fs::remove_file(file.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(format!(
                "unable to remove {shown} ({source}): {error}; name a file that can be made and removed"
            )),
            // The name of a file alone has an empty parent: the working directory, which exists.
            Err(_)
                if file
                    .path()
                    .parent()
                    .is_some_and(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) =>
            {
                Err(format!(
                    "unable to make {shown} ({source}): its directory does not exist; create it, or name a file in \
                     another directory"
                ))
            }
            Ok(()) | Err(_) => Ok(Some(file)),
        }
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.to_bytes()))
    }

    /// The app is ready, or not any more.
    pub fn set(&mut self, ready: bool, children: &mut Children) {
        self.wanted = ready;
        self.update(children);
    }

    fn update(&mut self, children: &mut Children) {
        if self.wanted == self.exists || children.pid(Role::ReadyFileWriter).is_some() {
            return;
        }
        self.exists = self.wanted;
        let (path, wanted) = (self.path(), self.wanted);
        let call = || exit_code(if wanted { make(path) } else { fs::remove_file(path) });
        match spawn::spawn(Task::Call(&call), &Setup::CLEAN) {
            Ok(child) => children.add(child.pid, Role::ReadyFileWriter),
            // The file must not stay because a limit of processes is reached. That the file system hangs as
            // well is less likely.
            Err(error) => {
                log::debug!(
                    "unable to start the child that writes the file of --ready-file: {error}"
                );
                let code = call();
                self.written(Status::Code(code), children);
            }
        }
    }

    /// The child that makes or removes the file has ended.
    pub fn written(&mut self, status: Status, children: &mut Children) {
        match status {
            Status::Code(0) => {}
            Status::Code(errno) => {
                let verb = if self.exists { "make" } else { "remove" };
                let why = Errno::from_raw(i32::from(errno)).desc();
                let path = self.path().display();
                journal::warn(format!("unable to {verb} {path}: {why}; going on"));
            }
            // It was killed with the rest of the tree; whether the file exists is not known.
            Status::Signal(_) => self.exists = !self.wanted,
        }
        self.update(children);
    }
}

/// Never follows a link: in a directory that the app can write, a link could name any file.
fn make(path: &Path) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().create(true).append(true).custom_flags(flags).open(path).map(drop)
}
