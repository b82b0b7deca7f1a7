//! Places and files of one test: a directory that goes with it, FIFOs to hold a process on.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::proc::poll;
use super::{Fault, Outcome};

/// A directory of this test alone, open to every user (some tests run as another one).
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("graceinit-").tempdir().expect("tempdir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
        Place(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path as text, for a script.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("temporary directories have plain names").to_string()
    }

    /// Makes a FIFO that everybody may use.
    pub fn fifo(&self, name: &str) -> Fifo {
        let path = self.path(name);
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o666)).expect("mkfifo");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
        Fifo(path)
    }

    /// Writes a file with these permissions.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)
            .expect("create");
        file.write_all(content.as_ref()).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        path
    }

    /// The content of a file, `None` when there is none.
    pub fn read(&self, name: &str) -> Option<String> {
        fs::read(self.path(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The content of a file that must be there.
    pub fn expect(&self, name: &str) -> Outcome<String> {
        self.read(name).ok_or_else(|| Fault::new(format!("no file {name}")))
    }

    /// The content of a file that something is about to write, once it has a whole line.
    pub fn wait_for(&self, name: &str) -> Outcome<String> {
        poll(&format!("a line in file {name}"), || {
            self.read(name).filter(|text| text.ends_with('\n'))
        })
    }
}

/// A FIFO that holds whoever reads it.
pub struct Fifo(pub PathBuf);

impl Fifo {
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Waits until somebody has it open for reading and gives the end that holds them: they go on
    /// when it is dropped. Never blocks: a writer without a reader gets ENXIO.
    pub fn hold(&self) -> Outcome<File> {
        poll(&format!("a reader of {}", self.0.display()), || {
            OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&self.0).ok()
        })
    }

    /// Lets the reader go on, as soon as there is one.
    pub fn release(&self) -> Outcome {
        self.hold().map(drop)
    }
}

impl AsRef<OsStr> for Fifo {
    fn as_ref(&self) -> &OsStr {
        self.0.as_os_str()
    }
}
