//! What kind of file a descriptor is, and whether its file system is local: asked without a request to the server of a
//! file system, which may not answer (fstat(2) and fstatfs(2) of FUSE, NFS and the like can wait for ever).

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

/// A kind of file, and where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileType {
    /// S_IFREG and so on.
    pub kind: u32,
    /// Major and minor number of the device that the file is, if it is one.
    pub device: (u32, u32),
    /// Major and minor number of its file system.
    place: (u32, u32),
    /// Its inode number.
    number: u64,
    /// The id of its mount; `None` before Linux 5.8.
    mount: Option<u64>,
}

/// File systems without a server, on a disk or in memory. Any other one is taken for one that can hang.
const LOCAL: &[&str] = &[
    "aufs",
    "bcachefs",
    "btrfs",
    "devtmpfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "hugetlbfs",
    "jffs2",
    "jfs",
    "nilfs2",
    "ntfs3",
    "overlay",
    "ramfs",
    "reiserfs",
    "rootfs",
    "squashfs",
    "tmpfs",
    "ubifs",
    "vfat",
    "xfs",
    "zfs",
];

/// The kind of the file that `fd` is open for. `None` before Linux 4.11, or if `fd` is closed.
pub fn file_type(fd: i32) -> Option<FileType> {
    // SAFETY: statx is plain numbers; all zeroes is a value of it.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // Only what is known without asking (AT_STATX_DONT_SYNC).
    let flags = libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
    let wanted = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_MNT_ID;
    // SAFETY: the path is terminated, and the pointer is to a live statx.
    let result = unsafe { libc::statx(fd, c"".as_ptr(), flags, wanted, &raw mut stat) };
    (result == 0).then(|| FileType {
        kind: u32::from(stat.stx_mode) & libc::S_IFMT,
        device: (stat.stx_rdev_major, stat.stx_rdev_minor),
        place: (stat.stx_dev_major, stat.stx_dev_minor),
        number: stat.stx_ino,
        mount: (stat.stx_mask & libc::STATX_MNT_ID != 0).then_some(stat.stx_mnt_id),
    })
}

/// Whether this file lies on a local file system. False if that cannot be found out.
pub fn is_local(file: &FileType) -> bool {
    type_of(&Mounts::read().0, file).is_some_and(|name| LOCAL.contains(&name))
}

/// The mounts of this process, as in /proc/PID/mountinfo.
#[derive(Debug)]
pub struct Mounts(Vec<u8>);

impl Mounts {
    /// Reads the table. It is empty if it cannot be read.
    pub fn read() -> Mounts {
        // Most tables are shorter, and for every read the kernel goes through the mounts once more.
        let mut table = Vec::with_capacity(8192);
        let file = File::open("/proc/self/mountinfo");
        let read = file.and_then(|mut file| file.read_to_end(&mut table));
        if read.is_err() {
            table.clear();
        }
        Mounts(table)
    }

    /// Whether a path leads to a regular file or to a free name, through local file systems and no link. False if that
    /// cannot be found out.
    pub fn are_local_to(&self, path: &Path) -> bool {
        let Ok(path) = std::path::absolute(path) else { return false };
        all_are_local(&self.0, &path) && is_file_without_links(&path)
    }
}

fn is_file_without_links(path: &Path) -> bool {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC);
    let how = how.resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        Ok(found) => file_type(found.as_raw_fd()).is_some_and(|file| file.kind == libc::S_IFREG),
        Err(errno) => errno == Errno::ENOENT,
    }
}

/// Whether every mount on the way to this absolute path is one of a local file system.
fn all_are_local(table: &[u8], path: &Path) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    // The table has other characters in another form. With `..` it would be another way.
    if !path.as_os_str().as_bytes().iter().all(|byte| is_plain(*byte))
        || path.components().any(|part| part == Component::ParentDir)
    {
        return false;
    }
    let mounts = table.split(|byte| *byte == b'\n').filter_map(|line| {
        Mount::parse(std::str::from_utf8(line).ok()?).filter(|mount| path.starts_with(mount.point))
    });
    let mut kinds = mounts.map(|mount| LOCAL.contains(&mount.kind)).peekable();
    kinds.peek().is_some() && kinds.all(|local| local)
}

/// The type of the file system, from a table as in /proc/PID/mountinfo.
pub fn type_of<'a>(table: &'a [u8], file: &FileType) -> Option<&'a str> {
    let place = format!("{}:{}", file.place.0, file.place.1);
    // A later mount lies over an earlier one.
    let lines = || table.split(|byte| *byte == b'\n').rev();
    let mounts = || lines().filter_map(|line| Mount::parse(std::str::from_utf8(line).ok()?));
    // A file that was opened in another mount namespace lies in none of these mounts, but perhaps on the file system of
    // one of them.
    let known = file.mount.and_then(|id| mounts().find(|mount| mount.id == id));
    let found = known.or_else(|| mounts().find(|mount| mount.device == place));
    found.map(|mount| mount.kind)
}

/// The ids of the mounts of local file systems, from a table as in /proc/PID/mountinfo.
pub fn local_mounts(table: &str) -> Vec<u64> {
    let mounts = table.lines().filter_map(Mount::parse);
    mounts.filter(|mount| LOCAL.contains(&mount.kind)).map(|mount| mount.id).collect()
}

/// A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
struct Mount<'a> {
    id: u64,
    /// `MAJOR:MINOR`
    device: &'a str,
    /// Where it is mounted.
    point: &'a str,
    /// The type of the file system.
    kind: &'a str,
}

impl Mount<'_> {
    fn parse(line: &str) -> Option<Mount<'_>> {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ');
        let (id, _, device) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
        Some(Mount { id, device, point: fields.nth(1)?, kind: right.split(' ').next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n\
        40 21 0:55 / /mnt rw - fuse.sshfs host:/ rw,user_id=0\n\
        41 21 0:56 /a\\040b /data rw,relatime shared:3 - nfs4 host:/x rw\n\
        \xff\xfe\n\
        42 21 0:57 / /over rw - overlay overlay rw,lowerdir=/l\n";

    #[test]
    fn the_table_of_mounts_tells_the_type_of_a_file_system() {
        let file = |mount, place| FileType {
            kind: libc::S_IFREG,
            device: (0, 0),
            place,
            number: 1,
            mount,
        };
        assert_eq!(type_of(TABLE, &file(Some(21), (9, 9))), Some("ext4"));
        assert_eq!(type_of(TABLE, &file(Some(40), (254, 1))), Some("fuse.sshfs"));
        assert_eq!(type_of(TABLE, &file(None, (0, 56))), Some("nfs4"));
        assert_eq!(type_of(TABLE, &file(None, (0, 57))), Some("overlay"));
        assert_eq!(type_of(TABLE, &file(None, (0, 99))), None);
        // Opened in another mount namespace.
        assert_eq!(type_of(TABLE, &file(Some(7), (254, 1))), Some("ext4"));
        assert_eq!(type_of(TABLE, &file(Some(7), (0, 99))), None);
        assert_eq!(type_of(b"", &file(Some(21), (0, 0))), None);
        assert!(LOCAL.is_sorted());
    }

    #[test]
    fn a_path_is_local_if_every_mount_on_its_way_is() {
        let local = |path: &str| all_are_local(TABLE, Path::new(path));
        assert!(local("/run/report") && local("/over/report") && local("/mntx") && local("/"));
        // The server of a file system may have to be asked, or the way is not known.
        assert!(!local("/mnt") && !local("/mnt/x/y") && !local("/data/x"));
        assert!(!local("/run/../mnt/x") && !local("/a b") && !local("/a\\040b"));
        assert!(!all_are_local(b"", Path::new("/run/report")));
        assert!(!all_are_local(b"40 21 0:55 / /mnt rw - ext4 x rw\n", Path::new("/run/report")));
    }

    #[test]
    fn a_path_with_a_link_is_not_known_to_be_local() {
        let place = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let file = place.path().join("file");
        let look = |path: &Path| Mounts::read().are_local_to(path);
        assert!(look(&file));
        std::fs::write(&file, "x").expect("a file");
        assert!(look(&file) && look(&place.path().join("./file")));
        std::os::unix::fs::symlink(&file, place.path().join("link")).expect("a link");
        std::os::unix::fs::symlink(".", place.path().join("dir")).expect("a link");
        assert!(!look(&place.path().join("link")) && !look(&place.path().join("dir/file")));
        assert!(!look(place.path()) && !look(Path::new("/dev/null")));
    }

    #[test]
    fn mounts_without_a_server() {
        let text = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                    22 21 0:5 / /mnt rw - nfs4 server:/x rw\n\
                    23 21 0:6 / /tmp rw - tmpfs tmpfs rw\nbroken\n24 21\n";
        assert_eq!(local_mounts(text), [21, 23]);
    }

    #[test]
    fn the_kind_of_a_file_is_known() {
        let null = File::open("/dev/null").expect("/dev/null");
        let known = file_type(null.as_raw_fd()).expect("statx");
        assert_eq!((known.kind, known.device), (libc::S_IFCHR, (1, 3)));
        let file = tempfile::tempfile_in("/dev/shm").expect("a file");
        let known = file_type(file.as_raw_fd()).expect("statx");
        assert_eq!(known.kind, libc::S_IFREG);
        assert!(is_local(&known), "{known:?}");
        let (other, _) = crate::sys::fd::pipe().expect("a pipe");
        assert_eq!(file_type(other.as_raw_fd()).map(|file| file.kind), Some(libc::S_IFIFO));
        assert_eq!(file_type(-1), None);
    }
}
