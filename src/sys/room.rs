//! A pid namespace for a child, as a container has one. For a rehearsal; the life of an app needs none of this.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{io, iter, ptr};

use super::process;

/// Where the kernel shows this program's own file, also if its path is not known or another file has taken its place.
const OWN: &str = "/proc/self/exe";

/// As long as this exists, the next child is PID 1 of a new pid namespace. There must be no other thread, and none may
/// be started meanwhile: clone(2) refuses threads.
pub struct Apart {
    own: File,
}

impl Apart {
    /// Prepares for the next child.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN, or those of unshare(2).
    pub fn begin() -> io::Result<Apart> {
        let own = File::open("/proc/self/ns/pid")?;
        // SAFETY: a plain number.
        match unsafe { libc::unshare(libc::CLONE_NEWPID) } {
            0 => Ok(Apart { own }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // With the same right as unshare(2); if it fails all the same, the next thread is refused.
        // SAFETY: the descriptor is open.
        unsafe { libc::setns(self.own.as_raw_fd(), libc::CLONE_NEWPID) };
    }
}

/// Mounts a /proc of the pid namespace of this process, which only this process and its children see.
///
/// # Errors
/// Those of unshare(2) and mount(2).
pub fn mount_own_proc() -> io::Result<()> {
    let mount = |kind: *const libc::c_char, target: &CStr, flags| {
        // SAFETY: the strings are terminated, and a null pointer stands for no file system and no data.
        match unsafe { libc::mount(kind, target.as_ptr(), kind, flags, ptr::null()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: a plain number.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    mount(ptr::null(), c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"proc".as_ptr(), c"/proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)
}

/// Executes this program again, under this name and with these words, without some variables. Returns only if that
/// fails. In a child: nothing is freed.
pub fn execute_again(name: &OsStr, words: &[OsString], without: &[&str]) -> io::Error {
    let text = |word: &OsStr| CString::new(word.as_bytes());
    let path = std::fs::read_link(OWN).ok().filter(|path| path.exists());
    let path = text(path.as_deref().map_or(OsStr::new(OWN), Path::as_os_str));
    let words = iter::once(name).chain(words.iter().map(OsString::as_os_str)).map(text);
    let (Ok(path), Ok(words)) = (path, words.collect::<Result<Vec<CString>, _>>()) else {
        return io::Error::from(io::ErrorKind::InvalidInput);
    };
    let is_kept = |entry: &&CStr| {
        let name = entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        !without.iter().any(|known| known.as_bytes() == name)
    };
    let end = || iter::once(ptr::null());
    let words: Vec<*const libc::c_char> =
        words.iter().map(|word| word.as_ptr()).chain(end()).collect();
    let environment: Vec<*const libc::c_char> =
        process::environment().filter(is_kept).map(CStr::as_ptr).chain(end()).collect();
    // SAFETY: both lists end with a null pointer, and their strings are terminated and live through the call.
    unsafe { libc::execve(path.as_ptr(), words.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
