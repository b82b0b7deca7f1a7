//! One reading of the process tree, with all that `machine::who` judges by.
//!
//! PID 1 reads this itself, so it touches nothing that may hang: masks and counters, and the *targets* of
//! links, which the kernel prints without a look at the file behind them. Not the command line (it waits
//! for a lock of the process), and no stat of an open file, which asks the file system: an NFS server that
//! is gone would hold up the stop. Any process may end while it is read, and any file be refused; then it
//! is left out, or the fact is.
//!
//! Refused by rule are exe, fd and fdinfo of another user's process (root without CAP_SYS_PTRACE, as in
//! Docker, after gosu or `--user`): such a process is marked [`Unreadable`] and named by its title. A helper
//! reads them with [`reveal`]: it takes on the user and group of that process for files (setfsuid(2)). PID 1
//! must not: a signal or a file of its own would be refused meanwhile.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use super::{clock, mounts, process, tree};
use crate::types::process::{
    Activity, Files, Handling, Id, Opened, PipeEnd, Process, Tree, Unreadable,
};
use crate::types::{Pid, Signal, SignalSet};

/// So many processes are read in detail. Of more than these only the parents matter: who has a thousand
/// processes has a master that tells them.
const MOST_PROCESSES: usize = 1024;
/// So many open files of one process are looked at.
const MOST_FILES: usize = 256;
/// The context switches of more threads than these are not counted: the process counts as one that runs.
const MOST_THREADS: usize = 64;
/// The longest file that is read. status is long where there are many supplementary groups.
const MOST_BYTES: u64 = 64 * 1024;
/// Every live process below us, those in `except` and all below them left out. `signal`: the one that they
/// may be asked with. With those of which something was refused. `None` without a usable /proc.
pub fn read(except: &[Pid], signal: Signal) -> Option<(Tree, Vec<Id>)> {
    let ticks = clock::boot_ticks();
    let found = tree::descendants(except)?;
    // A plain app has no other process whose input could matter.
    let mut reading = Reading { alone: found.len() <= 1, ..Reading::default() };
    let stdin = if reading.alone { None } else { reading.stdin("self").ok().flatten() };
    let mut processes = Vec::with_capacity(found.len());
    for (place, process) in found.iter().enumerate() {
        if place < MOST_PROCESSES {
            processes.extend(reading.process(process));
        } else {
            processes.push(unread(process));
        }
    }
    // Who holds the other end of a pipe counts only if it is the input of a process.
    let own = stdin.as_ref().map(|stdin| &stdin.target);
    let reads = |stdin: &Opened| stdin.pipe && Some(&stdin.target) != own;
    let stdins = processes.iter().filter_map(|process| process.files.as_ref().ok()?.stdin.as_ref());
    reading.readers = stdins.into_iter().any(reads);
    let below = below_traps(&processes, signal);
    for process in processes.iter_mut().take(MOST_PROCESSES) {
        reading.pipes_and_activity(process, below.contains(&process.pid), signal);
    }
    let tree = Tree { root: process::own_pid(), ticks, stdin, processes };
    Some((tree, reading.refused))
}

/// What the kernel shows of a process only to its own user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revealed {
    /// The process.
    pub id: Id,
    /// The file name of its executable, or else of argv\[0\].
    pub program: Box<str>,
    /// What it has open.
    pub files: Result<Files, Unreadable>,
}

/// For a helper, since it changes the credentials of this process: what was refused of these.
pub fn reveal(refused: &[Id]) -> Vec<Revealed> {
    let mut reading = Reading::default();
    let lives = |id: &&Id| tree::look_up(id.0).is_some_and(|found| found.started == id.1);
    let mut revealed: Vec<Revealed> =
        refused.iter().filter(lives).filter_map(|id| reading.reveal(*id)).collect();
    // Not before: a FIFO counts if it is the standard input of any process.
    for Revealed { id, files, .. } in &mut revealed {
        if let Ok(files) = files {
            reading.take_on_credentials(id.0);
            files.pipes = reading.pipes(&id.0.to_string());
        }
    }
    revealed
}

fn unread(found: &tree::Process) -> Process {
    Process {
        pid: found.pid,
        started: found.started,
        parent: found.parent,
        group: found.group,
        program: Box::default(),
        title: Box::default(),
        handling: None,
        activity: None,
        files: Err(Unreadable),
    }
}

/// Those with a shell among their ancestors that has a handler for `signal`: its trap may tell them, and
/// whether they have run since then counts.
fn below_traps(processes: &[Process], signal: Signal) -> BTreeSet<Pid> {
    let mut traps = BTreeSet::new();
    let mut below = BTreeSet::new();
    for process in processes {
        if traps.contains(&process.parent) || below.contains(&process.parent) {
            below.insert(process.pid);
        }
        let caught = process.handling.is_some_and(|handling| handling.caught.contains(signal));
        // ash, dash, bash; `machine::who` has the lists. What is refused may be one.
        let shell = process.program.ends_with("sh") || process.files.is_err();
        if caught && (shell || ["busybox", "timeout"].contains(&&*process.program)) {
            traps.insert(process.pid);
        }
    }
    below
}

/// The file name of a process's executable; `None`: it has ended, or may not be traced.
pub fn program(pid: Pid) -> Option<String> {
    program_of(&pid.to_string()).ok()
}

fn program_of(pid: &str) -> io::Result<String> {
    let link = fs::read_link(Path::new("/proc").join(pid).join("exe"))?;
    let name = link.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // The file was replaced by a newer one since.
    Ok(name.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(name))
}

/// What a process does with signals; `None`: it has ended, or /proc cannot be read.
pub fn handling(pid: Pid) -> Option<Handling> {
    let mut file = File::open(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let mut text = [0; 4096];
    // What is wanted comes first, but for hundreds of supplementary groups.
    let length = file.read(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text[..length]);
    field(&text, "SigCgt:").map(|_| Status::parse(&text).handling)
}

/// The buffers of one reading, and what it has found out once for all.
#[derive(Default)]
struct Reading {
    text: Vec<u8>,
    /// Processes of which something was refused.
    refused: Vec<Id>,
    /// There is one process.
    alone: bool,
    /// There is a process that reads what others write.
    readers: bool,
    /// The mounts whose open files can be looked at without waiting.
    local_mounts: Option<Vec<u64>>,
    /// The paths of FIFOs that are the standard input of a process.
    fifos: Vec<Box<str>>,
}

impl Reading {
    /// The text of /proc/PID/FILE; `None`: gone, or refused.
    fn file(&mut self, pid: &str, file: &str) -> Option<&str> {
        self.text.clear();
        // As a rule one read(2).
        self.text.reserve(4096);
        let file = File::open(Path::new("/proc").join(pid).join(file)).ok()?;
        file.take(MOST_BYTES).read_to_end(&mut self.text).ok()?;
        // A name is bytes; all that counts here is plain ASCII.
        self.text.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        std::str::from_utf8(&self.text).ok()
    }

    /// `None`: it has ended meanwhile.
    fn process(&mut self, found: &tree::Process) -> Option<Process> {
        let mut process = unread(found);
        let pid = found.pid.to_string();
        let Some(status) = self.file(&pid, "status").map(Status::parse) else {
            // Not by a look at /proc, which may hide it.
            process::group_of(found.pid)?;
            if found.started == tree::HIDDEN {
                process.title = "hidden process".into();
            }
            return Some(process);
        };
        (process.program, process.title) = (status.name.clone(), status.name);
        process.handling = Some(status.handling);
        // For one with more threads this is not all, and counted later if it matters.
        process.activity = Some(status.activity).filter(|_| status.threads == 1);
        self.links(&pid, &mut process);
        Some(process)
    }

    /// What only those may read who may trace the process.
    fn links(&mut self, pid: &str, process: &mut Process) {
        match program_of(pid) {
            Ok(program) => process.program = program.into(),
            Err(error) => {
                if error.kind() == ErrorKind::PermissionDenied {
                    self.refused.push(process.id());
                }
                return;
            }
        }
        let stdin = if self.alone { Ok(None) } else { self.stdin(pid) };
        process.files = stdin.map(|stdin| Files { stdin, pipes: Vec::new() });
    }

    /// `None`: the process is exiting, and has neither a program nor a command line any more.
    fn reveal(&mut self, id: Id) -> Option<Revealed> {
        let pid = id.0.to_string();
        // A name that only a helper reads: the kernel waits for a lock of the process.
        let words = fs::read(Path::new("/proc").join(&pid).join("cmdline")).unwrap_or_default();
        let first = words.split(|byte| *byte == 0).next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        let called = first.rsplit('/').next().unwrap_or_default();
        self.take_on_credentials(id.0);
        let program = program_of(&pid);
        let stdin = if program.is_ok() { self.stdin(&pid) } else { Err(Unreadable) };
        let files = stdin.map(|stdin| Files { stdin, pipes: Vec::new() });
        // A login shell is called "-bash".
        let called = || called.strip_prefix('-').unwrap_or(called).to_owned();
        let program = program.unwrap_or_else(|_| called());
        (!program.is_empty()).then(|| Revealed { id, program: program.into(), files })
    }

    /// Takes on the user and group of a process for files. The kernel compares with all of its ids but the file
    /// system's.
    fn take_on_credentials(&mut self, pid: Pid) {
        let text = self.file(&pid.to_string(), "status").unwrap_or_default();
        // Real, effective, saved, of the file system.
        let id = |name| {
            let ids = field(text, name)?;
            ids.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        if let (Some(user), Some(group)) = (id("Uid:"), id("Gid:")) {
            process::act_as_for_files(user, group);
        }
    }

    /// The standard input; `None`: it is closed.
    fn stdin(&mut self, pid: &str) -> Result<Option<Opened>, Unreadable> {
        let target = match fs::read_link(Path::new("/proc").join(pid).join("fd/0")) {
            Ok(target) => target.to_string_lossy().into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(Unreadable),
        };
        let fdinfo = self.file(pid, "fdinfo/0").unwrap_or_default();
        let mount = field(fdinfo, "mnt_id:").and_then(|id| id.parse().ok()).unwrap_or_default();
        let flags = field(fdinfo, "flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok());
        // Close-on-exec is a flag of the descriptor, not of the open file: node sets it on its standard input.
        let flags = flags.unwrap_or_default() & !(libc::O_CLOEXEC as u32);
        let fifo = target.starts_with('/') && self.is_fifo(pid, &target, mount);
        let target: Box<str> = target.into();
        if fifo && !self.fifos.contains(&target) {
            self.fifos.push(target.clone());
        }
        Ok(Some(Opened { pipe: fifo || is_pipe(&target), target, mount, flags }))
    }

    /// Whether this path, as opened, is a FIFO (`mkfifo log; tee file < log & exec app > log`). Of a file
    /// behind a server that is not asked: it is none.
    fn is_fifo(&mut self, pid: &str, path: &str, mount: u64) -> bool {
        if path.starts_with("/dev/") {
            return false;
        }
        if self.local_mounts.is_none() {
            let text = self.file("self", "mountinfo").unwrap_or_default();
            self.local_mounts = Some(mounts::local_mounts(text));
        }
        let local = self.local_mounts.as_ref().is_some_and(|local| local.contains(&mount));
        let meta = || fs::metadata(Path::new("/proc").join(pid).join("fd/0"));
        local && meta().is_ok_and(|meta| meta.file_type().is_fifo())
    }

    /// What counts only for some: the pipes of readers and of those that may be some, and how much these
    /// have run, or a process whose parent's trap may have told it.
    fn pipes_and_activity(&mut self, process: &mut Process, below_trap: bool, signal: Signal) {
        let pid = process.pid.to_string();
        let handling = process.handling.unwrap_or_default();
        let known = handling.caught.contains(signal) || handling.ignored.contains(signal);
        let Ok(files) = &mut process.files else {
            process.activity = self.activity(&pid);
            return;
        };
        let by_stdin = files.stdin.as_ref().is_some_and(|stdin| stdin.pipe);
        if !self.alone && (self.readers || by_stdin || !known) {
            files.pipes = self.pipes(&pid);
        }
        let reads = by_stdin || files.pipes.iter().any(|end| end.reads);
        process.activity = match process.activity {
            None if reads || below_trap => self.activity(&pid),
            known => known,
        };
    }

    /// A FIFO counts if it is the standard input of a process that was read.
    fn pipes(&self, pid: &str) -> Vec<PipeEnd> {
        let folder = Path::new("/proc").join(pid).join("fd");
        let Ok(open) = tree::numbers_in(&folder, MOST_FILES) else {
            return Vec::new();
        };
        let end = |number: i32| {
            let link = folder.join(number.to_string());
            let target: Box<str> = fs::read_link(&link).ok()?.to_string_lossy().into();
            if !is_pipe(&target) && !self.fifos.contains(&target) {
                return None;
            }
            // The link's own permissions are those that the file was opened with.
            let mode = fs::symlink_metadata(&link).ok()?.permissions().mode();
            Some(PipeEnd { target, reads: mode & 0o400 != 0, writes: mode & 0o200 != 0 })
        };
        open.into_iter().filter_map(end).collect()
    }

    /// Of all threads; `None`: there are too many, or they may not be read.
    fn activity(&mut self, pid: &str) -> Option<Activity> {
        let folder = Path::new("/proc").join(pid).join("task");
        let threads = tree::numbers_in(&folder, MOST_THREADS + 1).ok()?;
        if threads.len() > MOST_THREADS {
            return None;
        }
        let mut sum = Activity { switches: 0, busy: false };
        for thread in threads {
            let file = format!("task/{thread}/status");
            // A thread that has ended meanwhile has run.
            let thread = Status::parse(self.file(pid, &file)?).activity;
            sum.switches = sum.switches.wrapping_add(thread.switches);
            sum.busy |= thread.busy;
        }
        Some(sum)
    }
}

/// What counts of proc_pid_status(5).
#[derive(Debug, PartialEq, Eq)]
struct Status {
    name: Box<str>,
    threads: usize,
    handling: Handling,
    activity: Activity,
}

impl Status {
    fn parse(text: &str) -> Status {
        let number = |name| field(text, name).and_then(|value| value.parse::<u64>().ok());
        let set = |name| {
            let mask = field(text, name).and_then(|value| u64::from_str_radix(value, 16).ok());
            SignalSet::from_mask(mask.unwrap_or_default())
        };
        // R: runs or wants to. D: it waits for a disk, say, and what woke it up waits with it.
        let busy = field(text, "State:").is_some_and(|state| state.starts_with(['R', 'D']));
        let switches = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
        let switches = switches.iter().map(|name| number(name).unwrap_or_default());
        Status {
            name: field(text, "Name:").unwrap_or_default().into(),
            threads: number("Threads:").and_then(|n| usize::try_from(n).ok()).unwrap_or_default(),
            handling: Handling {
                caught: set("SigCgt:"),
                ignored: set("SigIgn:"),
                blocked: set("SigBlk:"),
                pending: set("ShdPnd:"),
            },
            activity: Activity { switches: switches.fold(0, u64::wrapping_add), busy },
        }
    }
}

/// The value on the line that begins with `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn is_pipe(target: &str) -> bool {
    target.starts_with("pipe:[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_files() {
        let text = "Name:\tnode (x)\nUmask:\t0022\nState:\tS (sleeping)\nThreads:\t11\n\
                    ShdPnd:\t0000000000004000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\n\
                    SigCgt:\t0000000100004602\nvoluntary_ctxt_switches:\t38\n\
                    nonvoluntary_ctxt_switches:\t4\n";
        let status = Status::parse(text);
        assert_eq!((&*status.name, status.threads), ("node (x)", 11));
        assert_eq!(status.activity, Activity { switches: 42, busy: false });
        assert!(status.handling.caught.contains(Signal::TERM));
        assert!(status.handling.caught.contains(Signal::INT));
        assert!(status.handling.ignored.contains(Signal::PIPE));
        assert!(!status.handling.ignored.contains(Signal::TERM));
        assert!(status.handling.pending.contains(Signal::TERM));
        assert!(Status::parse("State:\tD (disk sleep)\n").activity.busy);
        assert_eq!(Status::parse("").threads, 0);
    }
}
