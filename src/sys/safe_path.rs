//! Paths that graceinit writes to, where another user may write as well: a volume that outlives the container, a
//! directory of the app. The app could make a link there that leads to a file of root, and graceinit is root as a rule.
//!
//! So a path is followed step by step, each step from the descriptor of the last one. A symbolic link is followed only
//! if root or graceinit's own user has made it, in a directory where no other user can exchange it; the links of /proc
//! are the kernel's. This is what fs.protected_symlinks does for directories with the sticky bit alone (proc_sys_fs(5)).
//! /dev/stdout, /dev/termination-log and the links of Kubernetes' volumes are such links.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{self, AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, unlinkat};

use super::process;

/// The most links of one path, as in the kernel (MAXSYMLINKS in include/linux/namei.h).
const MOST_LINKS: usize = 40;

/// The kernel shows this user as the owner of what belongs to no user of the user namespace (user_namespaces(7)).
const OVERFLOW: u32 = 65534;

/// The group or all users can write.
const OTHERS_WRITE: u32 = libc::S_IWGRP | libc::S_IWOTH;

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// It is followed, if it can be trusted.
    Follow,
    /// The path means the link itself.
    Keep,
}

/// A name in a directory that was reached without an untrusted link.
#[derive(Debug)]
pub struct Place {
    dir: OwnedFd,
    name: OsString,
    /// The directory is in /proc: its links are made by the kernel, and lead to what has no other name.
    in_proc: bool,
}

impl Place {
    /// Follows a path to its last part, which need not exist.
    ///
    /// # Errors
    /// Those of open(2); ELOOP for a link that another user may have made.
    pub fn find(path: &Path, last: Last) -> io::Result<Place> {
        let mut rest: Vec<OsString> = Vec::new();
        let mut dir = match directory_without_links(path) {
            Some((dir, name)) => {
                rest.push(name.to_owned());
                dir
            }
            None => begin(path.as_os_str(), &mut rest)?,
        };
        let mut links = 0;
        while let Some(name) = rest.pop() {
            let is_last = rest.is_empty();
            let in_proc = fstatfs(&dir).is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC);
            if is_last && (in_proc || last == Last::Keep) {
                return Ok(Place { dir, name, in_proc });
            }
            if in_proc {
                dir = open(&dir, &name, OFlag::O_DIRECTORY)?;
                continue;
            }
            let found = match open(&dir, &name, OFlag::O_NOFOLLOW) {
                Err(Errno::ENOENT) if is_last => return Ok(Place { dir, name, in_proc }),
                found => found?,
            };
            let stat = fstat(&found)?;
            if kind(&stat) != SFlag::S_IFLNK {
                if is_last {
                    return Ok(Place { dir, name, in_proc });
                }
                dir = found;
                continue;
            }
            links += 1;
            if links > MOST_LINKS
                || !is_own(&fstat(&dir)?)
                || !is_ours(stat.st_uid)
                || stat.st_nlink > 1
            {
                return Err(Errno::ELOOP.into());
            }
            let target = fcntl::readlinkat(&found, "")?;
            if target.as_bytes().starts_with(b"/") {
                dir = begin(&target, &mut rest)?;
            } else {
                push(&target, &mut rest);
            }
        }
        Ok(Place { dir, name: ".".into(), in_proc: false })
    }

    /// What the name stands for, if it exists. A link of /proc is followed.
    pub fn look(&self) -> Option<FileStat> {
        let flags = if self.in_proc { AtFlags::empty() } else { AtFlags::AT_SYMLINK_NOFOLLOW };
        fstatat(&self.dir, self.name.as_os_str(), flags).ok()
    }

    /// Opens the file. It is closed by execve.
    ///
    /// # Errors
    /// Those of open(2); ELOOP for a link that another user may have made, EMLINK for a further name of a file, if
    /// another user may have made that name.
    pub fn open(&self, flags: OFlag, mode: u32) -> io::Result<File> {
        let follow = if self.in_proc { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        let flags = flags | follow | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        let file = fcntl::openat(&self.dir, self.name.as_os_str(), flags, mode)?;
        let stat = fstat(&file)?;
        // Without fs.protected_hardlinks every user can give a new name to every file of the file system.
        let has_names = kind(&stat) == SFlag::S_IFREG && stat.st_nlink > 1;
        if has_names && !self.in_proc {
            let dir = fstat(&self.dir)?;
            if !is_own(&dir) || dir.st_mode & OTHERS_WRITE != 0 {
                return Err(Errno::EMLINK.into());
            }
        }
        Ok(file.into())
    }

    /// Finds out whether a name can be added to the directory.
    ///
    /// # Errors
    /// Those of access(2).
    pub fn may_add(&self) -> io::Result<()> {
        let how = AccessFlags::W_OK | AccessFlags::X_OK;
        Ok(faccessat(&self.dir, ".", how, AtFlags::AT_EACCESS)?)
    }

    /// The file `name` in the same directory.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn beside(&self, name: &OsStr) -> io::Result<Place> {
        Ok(Place { dir: self.dir.try_clone()?, name: name.to_owned(), in_proc: self.in_proc })
    }

    /// Gives this file the name of another place in the same directory, in one step.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename_to(&self, to: &Place) -> io::Result<()> {
        Ok(fcntl::renameat(&self.dir, self.name.as_os_str(), &to.dir, to.name.as_os_str())?)
    }

    /// Removes the file; a link is removed itself.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.dir, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)?)
    }
}

/// The reason in words, where that of the C library would mislead.
pub fn reason(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::ELOOP => Some("its path leads through a link that another user may have made"),
        libc::EMLINK => Some("it is a further name of a file, which another user may have made"),
        _ => None,
    }
}

/// The reason of an error, in these words if they say more than the kernel's.
pub fn explain(error: &io::Error) -> String {
    reason(error).map_or_else(|| error.to_string(), str::to_owned)
}

/// The directory of a path that has no link before its last part, and that part. `None` also before Linux 5.6.
fn directory_without_links(path: &Path) -> Option<(OwnedFd, &OsStr)> {
    let (parent, name) = (path.parent()?, path.file_name()?);
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    let dir = openat2(AT_FDCWD, parent, how.resolve(ResolveFlag::RESOLVE_NO_SYMLINKS)).ok()?;
    Some((dir, name))
}

/// Opens the directory that the path begins in, and pushes the parts of the path.
fn begin(path: &OsStr, rest: &mut Vec<OsString>) -> nix::Result<OwnedFd> {
    push(path, rest);
    let first = if path.as_bytes().starts_with(b"/") { "/" } else { "." };
    fcntl::open(first, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

fn push(path: &OsStr, rest: &mut Vec<OsString>) {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !matches!(part, [] | [b'.']));
    rest.extend(parts.rev().map(|part| OsStr::from_bytes(part).to_owned()));
}

fn open(dir: &OwnedFd, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
    fcntl::openat(dir, name, flags | OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT)
}

/// Whether only root and graceinit's user can exchange what is in this directory. With the sticky bit other users can
/// only add to it.
fn is_own(dir: &FileStat) -> bool {
    let private = dir.st_mode & OTHERS_WRITE == 0 || dir.st_mode & libc::S_ISVTX != 0;
    private && is_ours(dir.st_uid)
}

/// Whether the owner is root, graceinit's user, or no user of this user namespace.
fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == process::own_uid() || (uid == OVERFLOW && !is_mapped(uid))
}

/// Whether this is a user of the user namespace. True if that cannot be found out.
pub fn is_mapped(uid: u32) -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return true };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let first = numbers.next().and_then(Result::ok).unwrap_or(0);
        let count = numbers.nth(1).and_then(Result::ok).unwrap_or(u64::MAX);
        (first..first.saturating_add(count)).contains(&u64::from(uid))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    const WRITE: OFlag = OFlag::O_WRONLY.union(OFlag::O_CREAT);

    fn write(path: &Path) -> io::Result<()> {
        Place::find(path, Last::Follow)?.open(WRITE, 0o644)?.write_all(b"written")
    }

    fn errno(result: io::Result<()>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    /// A directory with the file `victim` and the directory `vol`, which has this mode.
    fn places(mode: u32) -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let place = tempfile::tempdir().expect("a directory");
        // Other tests change the umask of this process for a moment.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).expect("the mode");
        let (victim, vol) = (place.path().join("victim"), place.path().join("vol"));
        fs::write(&victim, "precise").expect("a file");
        fs::create_dir(&vol).expect("a directory");
        fs::set_permissions(&vol, fs::Permissions::from_mode(mode)).expect("the mode");
        (place, victim, vol)
    }

    #[test]
    fn an_own_link_in_an_own_directory_is_followed() {
        let (_place, victim, vol) = places(0o755);
        let link = vol.join("link");
        symlink("../vol/../victim", &link).expect("a link");
        symlink(&vol, vol.join("dir")).expect("a link");
        write(&vol.join("dir/link")).expect("written");
        assert_eq!(fs::read(&victim).expect("the file"), b"written");
        fs::hard_link(&victim, vol.join("hard")).expect("a link");
        write(&vol.join("hard")).expect("written");
        write(&vol.join("dir/new")).expect("written");
        assert_eq!(fs::read(vol.join("new")).expect("the file"), b"written");
        symlink("round", vol.join("round")).expect("a link");
        assert_eq!(errno(write(&vol.join("round"))), Some(libc::ELOOP));
        assert_eq!(errno(write(&vol.join("link/x"))), Some(libc::ENOTDIR));
        assert_eq!(errno(write(&vol.join("none/x"))), Some(libc::ENOENT));
        assert_eq!(errno(write(Path::new("/"))), Some(libc::EISDIR));
    }

    #[test]
    fn a_directory_that_others_can_write_has_no_links() {
        let (_place, victim, vol) = places(0o777);
        symlink(&victim, vol.join("link")).expect("a link");
        symlink(".", vol.join("dir")).expect("a link");
        fs::hard_link(&victim, vol.join("hard")).expect("a link");
        assert_eq!(errno(write(&vol.join("link"))), Some(libc::ELOOP));
        assert_eq!(errno(write(&vol.join("dir/new"))), Some(libc::ELOOP));
        assert_eq!(errno(write(&vol.join("hard"))), Some(libc::EMLINK));
        assert_eq!(fs::read(&victim).expect("the file"), b"precise");
        write(&vol.join("new")).expect("written");
        // With the sticky bit only the owner of a name can exchange it.
        fs::set_permissions(&vol, fs::Permissions::from_mode(0o1777)).expect("the mode");
        write(&vol.join("link")).expect("written");
        assert_eq!(errno(write(&vol.join("hard"))), Some(libc::EMLINK));
    }

    #[test]
    fn a_link_of_another_user_is_not_followed() {
        if process::own_uid() != 0 {
            return;
        }
        let (_place, victim, vol) = places(0o755);
        let link = vol.join("link");
        symlink(&victim, &link).expect("a link");
        lchown(&link, Some(1000), None).expect("the owner");
        assert_eq!(errno(write(&link)), Some(libc::ELOOP));
        lchown(&link, Some(0), None).expect("the owner");
        chown(&vol, Some(1000), None).expect("the owner");
        assert_eq!(errno(write(&link)), Some(libc::ELOOP));
        assert_eq!(fs::read(&victim).expect("the file"), b"precise");
        Place::find(&link, Last::Keep).and_then(|place| place.remove()).expect("removed");
        assert!(!link.exists() && victim.exists());
    }

    #[test]
    fn the_links_of_proc_and_dev_are_followed() {
        let file = tempfile::tempfile().expect("a file");
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        write(Path::new(&format!("/proc/self/fd/{number}"))).expect("written");
        write(Path::new(&format!("/dev/fd/{number}"))).expect("written");
        assert_eq!(file.metadata().expect("the file").len(), 7);
        write(Path::new("/dev/null")).expect("written");
    }
}
