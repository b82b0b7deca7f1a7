//! /proc as seen from outside: who is whose child, who is a zombie, who belongs to a run. The kernel
//! may lack `task/*/children`, so parents are looked up in `stat`.

use std::fs;
use std::time::{Duration, Instant};

use super::{Fault, Outcome, PATIENCE};

/// One process, from its `stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub comm: String,
    pub state: char,
    pub ppid: i32,
    pub pgid: i32,
    pub sid: i32,
    /// The device of its session's terminal; 0: none.
    pub tty: i32,
    pub tpgid: i32,
}

/// How many milliseconds ago a process was started.
pub fn age(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22 of proc_pid_stat(5), in hundredths of a second; the first behind the name is field 3.
    let started: f64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    Some(((uptime - started / 100.0) * 1000.0) as u64)
}

/// The process of this pid, if there is one.
pub fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command may contain spaces and brackets; what follows the last one is numbers.
    let (head, tail) = stat.rsplit_once(") ")?;
    let comm = head.split_once('(')?.1.to_string();
    let mut fields = tail.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut next = || fields.next()?.parse::<i32>().ok();
    let (ppid, pgid, sid, tty, tpgid) = (next()?, next()?, next()?, next()?, next()?);
    Some(Process { pid, comm, state, ppid, pgid, sid, tty, tpgid })
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Every process there is.
pub fn all() -> Vec<Process> {
    pids().filter_map(process).collect()
}

/// The children of `pid`, zombies included.
pub fn children(pid: i32) -> Vec<Process> {
    all().into_iter().filter(|p| p.ppid == pid).collect()
}

/// A child of `pid`, if there is one. Its own list tells at once, where the kernel keeps one.
pub fn first_child(pid: i32) -> Option<i32> {
    match fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        Ok(list) => list.split_whitespace().next()?.parse().ok(),
        Err(_) => children(pid).first().map(|child| child.pid),
    }
}

/// What an init holds open besides stdin, stdout and stderr, in words. `None` while it has a pipe, which tells of an
/// execve, or a file of /proc or /sys, which it reads and closes: one that stays open lets a wait for rest fail.
pub fn held_at_rest(init: i32) -> Option<Vec<String>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(format!("/proc/{init}/fd")).ok()? {
        let entry = entry.ok()?;
        if !["0", "1", "2"].iter().any(|number| entry.file_name() == *number) {
            held.push(fs::read_link(entry.path()).ok()?.display().to_string());
        }
    }
    held.sort();
    let passing =
        |name: &String| ["pipe:", "/proc/", "/sys/"].iter().any(|of| name.starts_with(of));
    (!held.iter().any(passing)).then_some(held)
}

/// The dead children of `pid` that nobody has waited for.
pub fn zombies(pid: i32) -> Vec<Process> {
    children(pid).into_iter().filter(|p| p.state == 'Z').collect()
}

/// Whether it is there and not a zombie.
pub fn alive(pid: i32) -> bool {
    process(pid).is_some_and(|p| p.state != 'Z' && p.state != 'X')
}

/// A line of /proc/PID/status without its name.
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|text| text.trim().to_string())
}

/// A signal mask of /proc/PID/status: `SigBlk`, `SigIgn`, `SigCgt`.
pub fn mask(pid: i32, name: &str) -> Option<u64> {
    u64::from_str_radix(&status_field(pid, name)?, 16).ok()
}

/// The process's pid in its own pid namespace.
pub fn inner_pid(pid: i32) -> Option<i32> {
    status_field(pid, "NSpid")?.split_whitespace().last()?.parse().ok()
}

/// Pids of living processes whose environment has this entry: how a test knows its own processes
/// again, wherever they have gone (double-forked, another session, reparented). `first` is the one that the
/// test started: later ones have higher numbers, unless the numbers have begun anew.
pub fn with_environ(entry: &str, first: i32) -> Vec<i32> {
    let last = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let last = last.split_whitespace().last().and_then(|pid| pid.parse::<i32>().ok());
    let first = if last.is_some_and(|last| last >= first) { first } else { 0 };
    // Of a zombie it is empty.
    let has = |pid: &i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|e| e == entry.as_bytes()))
    };
    // Many are there that have nothing to do with the tests, and this is asked again and again.
    pids().filter(|pid| *pid >= first).filter(has).collect()
}

/// Processor time used by `pid`, user and system.
pub fn cpu_time(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    // utime and stime are fields 14 and 15 of the line, in ticks of 10 ms (USER_HZ is fixed at 100).
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// The pause between two looks is no synchronisation: it only leaves the processor to others, and half of it
/// where a look takes long, as one at all processes of a busy machine does.
pub fn pause_after(look: Instant) {
    std::thread::sleep(look.elapsed().clamp(Duration::from_millis(2), Duration::from_millis(50)));
}

/// Polls until `probe` gives something; a fault naming `what` when it does not in time.
pub fn poll<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> Outcome<T> {
    poll_within(PATIENCE, what, &mut probe)
}

/// [`poll`] with its own bound.
pub fn poll_within<T>(
    patience: Duration,
    what: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> Outcome<T> {
    let end = Instant::now() + patience;
    loop {
        let look = Instant::now();
        if let Some(found) = probe() {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(Fault::new(format!("not in {patience:?}: {what}")));
        }
        pause_after(look);
    }
}
