//! The control group that limits this process's memory, and how many processes the kernel's OOM killer has killed in
//! it. The kernel raises that count before it sends SIGKILL (__oom_kill_process in mm/oom_kill.c), so a process that
//! has died of it was counted before.
//!
//! Version 2 counts a process in its own group and in every group above (memory.events), version 1 in its own group
//! alone (memory.oom_control). Nothing here blocks: these files are answered from the kernel's memory.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::process;
use crate::types::Pid;

/// Where cgroup_namespaces(7), container engines and systemd mount the groups.
const UNIFIED: &str = "/sys/fs/cgroup";
const MEMORY: &str = "/sys/fs/cgroup/memory";
/// The longest file that is read.
const LONGEST: u64 = 256 * 1024;
/// How many groups inside one are read.
const MOST_GROUPS: usize = 256;
/// The inode of /proc/PID/ns/pid in the first pid namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// A version of control groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// One hierarchy for each controller.
    One,
    /// One hierarchy for all.
    Two,
}

/// A memory group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    version: Version,
    /// Its path, as /proc/PID/cgroup has it.
    path: String,
    /// The directory of this group.
    directory: PathBuf,
    /// How many processes were killed, as it was read with the group; `None`: the count cannot be read.
    pub kills: Option<Kills>,
    /// The whole machine is counted, by /proc/vmstat.
    whole_machine: bool,
}

/// How many processes the kernel has killed for want of memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kills {
    /// The directory in which they are counted: that of the group, or with version 2 the next one above that controls
    /// memory. `None`: the whole machine.
    counted_in: Option<PathBuf>,
    /// Their number.
    pub count: u64,
}

/// The limit of a group's memory, and the most that it has ever used, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// The limit; `None`: there is none, or it cannot be seen.
    pub limit: Option<u64>,
    /// The peak; `None`: the kernel does not tell.
    pub peak: Option<u64>,
}

/// Whether a process that has ended was counted in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// It was.
    Here,
    /// It may have been counted in another group.
    Unsure,
}

impl Group {
    /// The group of this process.
    pub fn own() -> Option<Group> {
        let text = read(Path::new("/proc/self/cgroup"))?;
        let (version, path) = memory_line(&text)?;
        let path = path.to_owned();
        let base = Path::new(if version == Version::Two { UNIFIED } else { MEMORY });
        let inside = base.join(path.trim_start_matches('/'));
        // Without a cgroup namespace, an engine mounts the container's own group there, and the path is the host's.
        let directory = if inside.is_dir() { inside } else { base.to_owned() };
        let whole_machine = version == Version::Two && is_first_of_all();
        let kills = match whole_machine {
            true => kills_of_the_machine(),
            false => Some(counter(version, &directory)?),
        };
        Some(Group { version, path, directory, kills, whole_machine })
    }

    /// Whether the directory that was taken for the group may be another one: this process is not in it.
    pub fn is_unverifiable(&self) -> bool {
        !self.whole_machine && self.is_shared().is_none()
    }

    /// Whether processes outside of this pid namespace are in the group. `None`: this process itself cannot be seen in
    /// it.
    fn is_shared(&self) -> Option<bool> {
        let members = read(&self.directory.join("cgroup.procs"))?;
        let own = process::own_pid().to_string();
        members.lines().any(|line| line == own).then(|| members.lines().any(|line| line == "0"))
    }

    /// Whether the count began with 0 when this process began: a process that is PID 1 and has its group for itself
    /// was started together with the group.
    pub fn began_with_zero(&self) -> bool {
        self.whole_machine || process::is_first() && self.is_shared() == Some(false)
    }

    /// Whether the count has all processes that were killed in the group of `ended`, a child that was not reaped.
    pub fn counts(&self, ended: Pid) -> Counted {
        if self.whole_machine {
            return Counted::Here;
        }
        match self.version {
            Version::Two => match group_of(ended) {
                Some(path) if path == self.path => Counted::Here,
                // With the mount option memory_localevents a group counts its own processes alone.
                Some(path) => {
                    match self.inside(&path).map(|inside| kills_in(Version::Two, &inside)) {
                        Some(Some(0)) => Counted::Here,
                        Some(_) | None => Counted::Unsure,
                    }
                }
                None => Counted::Unsure,
            },
            // /proc shows the root group for every process that has ended (proc_cgroup_show in kernel/cgroup/cgroup.c).
            Version::One => {
                let mut left = MOST_GROUPS;
                match no_kills_inside(&self.directory, &mut left) {
                    true => Counted::Here,
                    false => Counted::Unsure,
                }
            }
        }
    }

    /// Whether other groups can be seen that are not inside this one: a process may have been moved there.
    pub fn has_neighbours(&self) -> bool {
        let base = if self.version == Version::Two { UNIFIED } else { MEMORY };
        self.version == Version::One && self.directory != Path::new(base)
    }

    /// The memory of the group of `ended`, a child that was not reaped, as far as that is known; else of this group.
    pub fn memory(&self, ended: Pid) -> Memory {
        let path = group_of(ended).filter(|_| self.version == Version::Two);
        let directory = path.and_then(|path| self.inside(&path)).filter(|path| path.is_dir());
        memory(self.version, directory.as_deref().unwrap_or(&self.directory))
    }

    /// The directory of the group with this path; `None`: it is not inside this one. A path with `..` is outside of the
    /// namespace.
    fn inside(&self, path: &str) -> Option<PathBuf> {
        let below = path.strip_prefix(self.path.trim_end_matches('/'))?;
        let is_inside = (below.is_empty() || below.starts_with('/')) && !below.contains("/..");
        is_inside.then(|| self.directory.join(below.trim_start_matches('/')))
    }
}

impl Kills {
    /// How many more there are than in `before`; `None`: the two were counted in different places.
    pub fn since(&self, before: &Kills) -> Option<u64> {
        let same = self.counted_in == before.counted_in;
        self.count.checked_sub(before.count).filter(|_| same)
    }

    /// The count that began with 0.
    pub fn from_zero(&self) -> Kills {
        Kills { counted_in: self.counted_in.clone(), count: 0 }
    }
}

/// The memory of the machine, in bytes.
pub fn memory_of_the_machine() -> Option<u64> {
    field(&read(Path::new("/proc/meminfo"))?.replace(':', ""), "MemTotal").map(|kilo| kilo << 10)
}

/// Whether a page fault of any process may bring in a huge page.
pub fn has_huge_pages() -> bool {
    let setting = read(Path::new("/sys/kernel/mm/transparent_hugepage/enabled"));
    setting.is_none_or(|setting| setting.contains("[always]"))
}

/// Whether this is the first process of the machine: then every group is younger than it.
fn is_first_of_all() -> bool {
    let first = |data: fs::Metadata| data.ino() == FIRST_PID_NAMESPACE;
    process::is_first() && fs::metadata("/proc/self/ns/pid").is_ok_and(first)
}

/// The path on the line of the memory controller, or of version 2, in a text as in /proc/PID/cgroup.
pub fn memory_line(text: &str) -> Option<(Version, &str)> {
    let mut unified = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.split(',').any(|name| name == "memory") {
            return Some((Version::One, path));
        }
        if controllers.is_empty() {
            unified = Some((Version::Two, path));
        }
    }
    unified
}

/// The path of a child that has ended and was not reaped, in version 2. The group may have been removed meanwhile.
fn group_of(ended: Pid) -> Option<String> {
    let text = read(Path::new(&format!("/proc/{ended}/cgroup")))?;
    unified_path(&text).map(str::to_owned)
}

/// The path of version 2 in a text as in /proc/PID/cgroup.
pub fn unified_path(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(" (deleted)").unwrap_or(path))
}

fn kills_of_the_machine() -> Option<Kills> {
    let count = field(&read(Path::new("/proc/vmstat"))?, "oom_kill")?;
    Some(Kills { counted_in: None, count })
}

/// How many processes were killed in the group of this directory.
fn counter(version: Version, directory: &Path) -> Option<Kills> {
    let base = Path::new(UNIFIED);
    let mut place = directory;
    loop {
        if let Some(count) = kills_in(version, place) {
            return Some(Kills { counted_in: Some(place.to_owned()), count });
        }
        if version == Version::One || place == base {
            return None;
        }
        place = place.parent()?;
    }
}

fn kills_in(version: Version, directory: &Path) -> Option<u64> {
    let name = if version == Version::Two { "memory.events" } else { "memory.oom_control" };
    field(&read(&directory.join(name))?, "oom_kill")
}

/// Whether no process was killed in any group inside this one.
fn no_kills_inside(directory: &Path, left: &mut usize) -> bool {
    // Two links, and one for each directory inside.
    if fs::metadata(directory).is_ok_and(|data| data.nlink() <= 2) {
        return true;
    }
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().all(|entry| {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return true;
        }
        *left = left.saturating_sub(1);
        let inside = entry.path();
        *left > 0 && kills_in(Version::One, &inside) == Some(0) && no_kills_inside(&inside, left)
    })
}

/// The lowest limit of this group and those above, and the peak of the group whose limit that is.
fn memory(version: Version, directory: &Path) -> Memory {
    let (base, limit, peak) = match version {
        Version::Two => (UNIFIED, "memory.max", "memory.peak"),
        Version::One => (MEMORY, "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    };
    let number = |place: &Path, name: &str| -> Option<u64> {
        let text = read(&place.join(name))?;
        // `max` is no limit; nor is the highest number of pages that version 1 can count.
        text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62)
    };
    let mut found = Memory { limit: None, peak: number(directory, peak) };
    for place in directory.ancestors().take_while(|place| place.starts_with(base)) {
        if let Some(bytes) = number(place, limit) {
            if found.limit.is_none_or(|known| bytes < known) {
                found = Memory { limit: Some(bytes), peak: number(place, peak).or(found.peak) };
            }
        }
    }
    found
}

/// The number on the line `name number`.
pub fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

fn read(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
