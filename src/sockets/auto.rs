//! `--drain auto`: finds the listeners that a process of the app's tree has open.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::tree;
use crate::types::Pid;

/// How many descriptors of one process are read at most. They are listed by number, and a server opens its listeners
/// before it has as many connections.
const MOST_OF_ONE: usize = 4096;
/// How many are read of all processes: each costs about a microsecond.
const MOST: usize = 65_536;

/// The result of a search.
#[derive(Debug)]
pub(super) struct Found<T> {
    /// The listeners that were found, by their ports or numbers, in order.
    pub(super) found: Vec<T>,
    /// A process whose descriptors could not be read, and the reason.
    pub(super) refused: Option<(Pid, io::Error)>,
}

/// Those `listeners` (inode, port or number) that the tree below graceinit has open, without its `helpers`. Never blocks:
/// the kernel takes no lock of a process to list its descriptors.
pub(super) fn owned<T: Copy + Ord>(
    proc: &Path,
    listeners: &[(u64, T)],
    helpers: &[Pid],
) -> Found<T> {
    let mut found = Found { found: Vec::new(), refused: None };
    let mut left: Vec<(u64, T)> = listeners.to_vec();
    if left.is_empty() {
        return found;
    }
    let Some(tree) = tree::descendants(helpers) else {
        let error = io::Error::new(io::ErrorKind::NotFound, "/proc is of another pid namespace");
        found.refused = Some((crate::sys::process::own_pid(), error));
        return found;
    };
    let mut read = 0;
    for process in tree {
        let of_it = descriptors(proc, process.pid, MOST_OF_ONE.min(MOST - read), |inode| {
            left.retain(|(listener, port)| {
                let same = *listener == inode;
                if same {
                    found.found.push(*port);
                }
                !same
            });
            !left.is_empty()
        });
        match of_it {
            Ok(count) => read += count,
            // The process has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.refused = Some((process.pid, error)),
        }
        if left.is_empty() || read >= MOST {
            break;
        }
    }
    found.found.sort_unstable();
    found.found.dedup();
    found
}

/// Calls `each` with the inode of every socket that a process has open, until `each` returns false. Returns how many
/// descriptors were read.
fn descriptors(
    proc: &Path,
    pid: Pid,
    most: usize,
    mut each: impl FnMut(u64) -> bool,
) -> io::Result<usize> {
    let dir = proc.join(pid.to_string()).join("fd");
    let mut read = 0;
    for number in tree::numbers_in(&dir, most)? {
        read += 1;
        let link = match std::fs::read_link(dir.join(number.to_string())) {
            Ok(link) => link,
            // Old kernels let every user list the descriptors, but not read the links.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(_) => continue,
        };
        if let Some(inode) = socket_inode(link.as_os_str().as_bytes()) {
            if !each(inode) {
                break;
            }
        }
    }
    Ok(read)
}

/// `socket:[4711]`
fn socket_inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_descriptors_of_sockets_look_like() {
        assert_eq!(socket_inode(b"socket:[4711]"), Some(4711));
        for other in
            [&b"pipe:[4711]"[..], b"socket:[]", b"socket:[4711", b"socket:[-1]", b"/tmp/x", b""]
        {
            assert_eq!(socket_inode(other), None);
        }
    }
}
