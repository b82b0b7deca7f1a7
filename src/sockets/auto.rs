//! `--drain auto`: which of the listeners are open in a process of the app's tree.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::tree;
use crate::types::Pid;

/// More descriptors of one process are not looked at. A server opens its listeners before it has so
/// many connections, and they are listed by their number.
const MOST_OF_ONE: usize = 4096;
/// Nor more altogether: each costs about a microsecond.
const MOST: usize = 65_536;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Their ports, in order.
    pub(super) ports: Vec<u16>,
    /// A process whose descriptors could not be read, and why.
    pub(super) refused: Option<(Pid, io::Error)>,
}

/// Of the `listeners` (inode, port), those that the tree below us has open; `helpers` are not the
/// app's. Nothing in here waits: no lock of the processes is needed for their descriptors.
pub(super) fn ports(proc: &Path, listeners: &[(u64, u16)], helpers: &[Pid]) -> Found {
    let mut found = Found::default();
    let mut left: Vec<(u64, u16)> = listeners.to_vec();
    if left.is_empty() {
        return found;
    }
    let Some(tree) = tree::descendants(helpers) else {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no /proc of ours");
        found.refused = Some((crate::sys::process::own_pid(), error));
        return found;
    };
    let mut looked = 0;
    for process in tree {
        let of_it = descriptors(proc, process.pid, MOST_OF_ONE.min(MOST - looked), |inode| {
            left.retain(|(listener, port)| {
                let same = *listener == inode;
                if same {
                    found.ports.push(*port);
                }
                !same
            });
            !left.is_empty()
        });
        match of_it {
            Ok(count) => looked += count,
            // It has gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.refused = Some((process.pid, error)),
        }
        if left.is_empty() || looked >= MOST {
            break;
        }
    }
    found.ports.sort_unstable();
    found.ports.dedup();
    found
}

/// Calls `each` with the inode of every socket that a process has open, until it has enough. How many
/// descriptors were looked at.
fn descriptors(
    proc: &Path,
    pid: Pid,
    most: usize,
    mut each: impl FnMut(u64) -> bool,
) -> io::Result<usize> {
    let dir = proc.join(pid.to_string()).join("fd");
    let mut looked = 0;
    for entry in std::fs::read_dir(&dir)?.take(most) {
        looked += 1;
        let Ok(entry) = entry else { continue };
        let link = match std::fs::read_link(entry.path()) {
            Ok(link) => link,
            // The list may be read by anybody on old kernels, what is in it not.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(_) => continue,
        };
        if let Some(inode) = socket_inode(link.as_os_str().as_bytes()) {
            if !each(inode) {
                break;
            }
        }
    }
    Ok(looked)
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
