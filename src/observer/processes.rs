//! The processes below graceinit, from /proc/PID/stat alone: reading cmdline, environ or wchan can wait for a lock of a
//! process that hangs, and command lines may hold secrets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::account::document::Process;
use crate::account::time::Span;
use crate::sys::stat::Stat;
use crate::sys::{clock, process};
use crate::types::Time;
use crate::types::text::is_harmful;

/// The most processes of an account.
const MOST: usize = 200;
/// A host may have ten thousand processes: a longer reading ends with those it has.
const LONGEST: Duration = Duration::from_millis(100);
/// Readings take at most one in this many parts of the time, however many requests there are.
const SHARE: u32 = 10;
/// A reading is used again for at least this long.
const FRESH: Duration = Duration::from_millis(100);

/// The last reading.
#[derive(Debug, Default)]
pub(super) struct Tree {
    processes: Vec<Process>,
    /// How many more there are.
    more: usize,
    /// When the next reading is allowed.
    next: Time,
}

impl Tree {
    /// Reads the tree, unless the last reading is recent. Returns the processes, parents before their children, and how
    /// many more there are.
    pub(super) fn read(&mut self) -> (&[Process], usize) {
        let begun = clock::now();
        if begun >= self.next {
            let until = begun.after(LONGEST);
            let all = read(Path::new("/proc"), &mut || clock::now() < until);
            let graceinit = process::parent().0;
            self.processes = below(graceinit, process::own_pid().0, all);
            self.more = self.processes.len().saturating_sub(MOST);
            self.processes.truncate(MOST);
            let ended = clock::now();
            self.next = ended.after((ended.since(begun) * SHARE).max(FRESH));
        }
        (&self.processes, self.more)
    }
}

/// All of /proc as far as there is time. Nothing if it cannot be read, or belongs to another pid namespace, which has
/// other numbers.
fn read(proc: &Path, in_time: &mut dyn FnMut() -> bool) -> Vec<Process> {
    let own = fs::read_link(proc.join("self")).ok();
    let is_ours = own.is_some_and(|link| link.to_str() == Some(&process::own_pid().to_string()));
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    if !is_ours {
        return Vec::new();
    }
    let now = clock::boot_ticks();
    let page = process::page_size();
    entries
        .map_while(|entry| in_time().then_some(entry))
        .filter_map(|entry| {
            let entry = entry.ok()?;
            // Folders of processes have numbers for names.
            entry.file_name().to_str()?.parse::<i32>().ok()?;
            parse(&fs::read(entry.path().join("stat")).ok()?, now, page)
        })
        .collect()
}

/// A process, from its line of /proc/PID/stat. `now` in hundredths of a second since boot.
fn parse(line: &[u8], now: u64, page: u64) -> Option<Process> {
    let stat = Stat::parse(line)?;
    Some(Process {
        pid: stat.pid.0,
        ppid: stat.parent.0,
        name: String::from_utf8_lossy(stat.name).replace(is_harmful, "?"),
        state: stat.state.to_string(),
        age: Span(now.saturating_sub(stat.started).saturating_mul(10_000)),
        threads: stat.threads,
        rss: stat.resident.saturating_mul(page),
    })
}

/// The descendants of `root` without `left_out`, each followed by its own.
fn below(root: i32, left_out: i32, mut all: Vec<Process>) -> Vec<Process> {
    // The highest pid first: the list is taken from its end.
    all.sort_by_key(|process| std::cmp::Reverse(process.pid));
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all.into_iter().filter(|process| process.pid != left_out) {
        children.entry(process.ppid).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut next = children.remove(&root).unwrap_or_default();
    while let Some(process) = next.pop() {
        // Removed: changes during the reading cannot make a circle.
        next.extend(children.remove(&process.pid).unwrap_or_default());
        found.push(process);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_an_odd_name() {
        let rest = "S 7 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 3 0 1000 9000 25 184467";
        let line = format!("12 (a) b\n(c)) {rest}");
        let process = parse(line.as_bytes(), 1500, 4096).expect("a process");
        let Process { pid, ppid, name, state, age, threads, rss } = process;
        assert_eq!((pid, ppid, name.as_str(), state.as_str()), (12, 7, "a) b?(c)", "S"));
        assert_eq!((age, threads, rss), (Span(5_000_000), 3, 25 * 4096));
        for cut in 0..line.len() - " 184467 25".len() {
            assert_eq!(parse(&line.as_bytes()[..cut], 1500, 4096), None, "{cut}");
        }
    }

    fn child(pid: i32, ppid: i32) -> Process {
        Process { pid, ppid, ..Process::default() }
    }

    #[test]
    fn the_tree_is_in_order_and_without_strangers() {
        let all =
            vec![child(9, 4), child(5, 2), child(4, 1), child(3, 1), child(2, 1), child(8, 7)];
        let found = below(1, 3, all);
        let pids: Vec<i32> = found.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [2, 5, 4, 9]);
        // It ends, whatever /proc says.
        assert_eq!(below(1, 0, vec![child(1, 1), child(1, 2), child(2, 1)]).len(), 3);
    }

    #[test]
    fn a_reading_finds_itself_in_time_and_nothing_without_proc() {
        let mut all = read(Path::new("/proc"), &mut || true);
        all.retain(|process| process.pid == process::own_pid().0);
        assert_eq!(all.len(), 1);
        let [own] = &all[..] else { panic!("{all:?}") };
        assert!(own.rss > 0 && own.threads > 0 && own.ppid == process::parent().0, "{own:?}");
        let mut left = 3;
        let mut in_time = || {
            left -= 1;
            left >= 0
        };
        assert!(read(Path::new("/proc"), &mut in_time).len() <= 3);
        assert!(read(Path::new("/nowhere"), &mut || true).is_empty());
        assert!(read(Path::new("/sys"), &mut || true).is_empty());
    }
}
