//! What /proc and control groups show of processes.

use graceinit::sys::cgroup::{self, Version};
use graceinit::sys::proctree::Status;
use graceinit::sys::stat::Stat;
use graceinit::sys::tree::{self, Numbers};
use graceinit::types::{Pid, Signal};

use super::{Draw, pieces};

/// stat, status and children of a process, and a folder of /proc.
pub(super) fn processes(bytes: &[u8]) {
    if let Some(stat) = Stat::parse(bytes) {
        assert!(stat.pid.0 >= 0 && stat.parent.0 >= 0 && stat.group.0 >= 0, "{stat:?}");
        assert!(stat.name.len() < bytes.len());
    }
    let text = String::from_utf8_lossy(bytes);
    let status = Status::parse(&text);
    assert!(status.name.len() <= text.len() && !status.name.contains('\n'), "{status:?}");
    children(bytes);
    let mut names = 0;
    tree::names(bytes, |name| {
        names += 1;
        assert!(!name.is_empty() && name.len() + 19 <= bytes.len());
    });
    // The kernel's entries have 24 bytes at least.
    assert!(names * 20 <= bytes.len() + 20, "{names} names");
    let draw = &mut Draw(bytes);
    stat_reads_back(draw);
    status_reads_back(draw);
    names_read_back(draw);
}

/// The pids are the numbers of the text that can be pids, however the text is cut. Signals are sent to them: 0 would
/// be this process's own group, and a number that wraps around another process.
fn children(bytes: &[u8]) {
    let mut whole = Vec::new();
    let mut numbers = Numbers::default();
    numbers.take(bytes, &mut |pid| whole.push(pid));
    numbers.end(&mut |pid| whole.push(pid));
    let mut cut = Vec::new();
    for piece in pieces(bytes) {
        numbers.take(piece, &mut |pid| cut.push(pid));
    }
    numbers.end(&mut |pid| cut.push(pid));
    assert_eq!(whole, cut);
    let words = bytes.split(|byte| !byte.is_ascii_digit());
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<i32>().ok();
    let expected: Vec<Pid> = words.filter_map(number).filter(|n| *n > 0).map(Pid).collect();
    assert_eq!(whole, expected);
}

fn stat_reads_back(draw: &mut Draw<'_>) {
    let name = draw.some(15);
    let state = b"RSDZTtX"[usize::from(draw.byte()) % 7];
    let pid = |draw: &mut Draw<'_>| Pid((draw.word() >> 1) as i32);
    let (own, parent, group) = (pid(draw), pid(draw), pid(draw));
    let (threads, started, resident) = (draw.word(), draw.long(), draw.long());
    let faults = [draw.word(), draw.word(), draw.word(), draw.word()].map(u64::from);
    let line = [
        format!("{own} (").as_bytes(),
        name,
        format!(
            ") {} {parent} {group} 1 0 -1 4194560 {} {} {} {} 5 6 7 8 20 0 {threads} 0 {started} 1000 \
             {resident} 18446\n",
            char::from(state),
            faults[0],
            faults[1],
            faults[2],
            faults[3]
        )
        .as_bytes(),
    ]
    .concat();
    let stat = Stat::parse(&line).expect("a valid line");
    let expected = Stat {
        pid: own,
        name,
        state: state.into(),
        parent,
        group,
        faults: faults[0] + faults[2],
        faults_of_children: faults[1] + faults[3],
        threads,
        started,
        resident,
    };
    assert_eq!(stat, expected);
    assert_eq!(stat.is_zombie(), matches!(state, b'Z' | b'X') && threads <= 1);
    // What ends before the last field is refused.
    let end = line.len() - format!(" {resident} 18446\n").len();
    assert_eq!(Stat::parse(&line[..end - 1]), None);
}

fn status_reads_back(draw: &mut Draw<'_>) {
    let (caught, pending, switches) = (draw.long(), draw.long(), draw.word());
    let (threads, busy) = (draw.short(), draw.byte() % 2 == 0);
    let text = format!(
        "Name:\tx\nState:\t{} (what)\nThreads:\t{threads}\nShdPnd:\t{pending:016x}\n\
         SigCgt:\t{caught:016x}\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t1\n",
        if busy { 'R' } else { 'S' }
    );
    let status = Status::parse(&text);
    assert_eq!((&*status.name, status.threads), ("x", usize::from(threads)));
    assert_eq!((status.activity.switches, status.activity.busy), (u64::from(switches) + 1, busy));
    for number in 1..=64 {
        let signal = Signal::new(number).expect("a signal");
        assert_eq!(status.handling.caught.contains(signal), caught >> (number - 1) & 1 == 1);
        assert_eq!(status.handling.pending.contains(signal), pending >> (number - 1) & 1 == 1);
    }
}

fn names_read_back(draw: &mut Draw<'_>) {
    let mut entries = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..draw.byte() % 5 {
        let name: Vec<u8> = draw.some(30).iter().map(|byte| (*byte).max(1)).collect();
        let length = (19 + name.len() + 1).next_multiple_of(8);
        let start = entries.len();
        entries.extend([0; 16]);
        entries.extend((length as u16).to_ne_bytes());
        entries.push(4);
        entries.extend(&name);
        entries.resize(start + length, 0);
        expected.push(name);
    }
    let mut found = Vec::new();
    tree::names(&entries, |name| {
        found.push(name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec());
    });
    assert_eq!(found, expected);
}

/// /proc/PID/cgroup, and the files of a control group.
pub(super) fn groups(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some((_, path)) = cgroup::memory_line(&text) {
        assert!(!path.contains('\n') && text.contains(path), "{path}");
    }
    if let Some(path) = cgroup::unified_path(&text) {
        assert!(!path.contains('\n') && !path.ends_with(" (deleted)\n"), "{path}");
    }
    let draw = &mut Draw(bytes);
    let count = draw.long();
    let path = format!("/{}", draw.text(60).replace(['\n', '\r'], ""));
    let cgroup = format!("3:cpu:/a\n0::{path}\n");
    assert_eq!(cgroup::memory_line(&cgroup), Some((Version::Two, &*path)));
    let first = format!("4:memory,hugetlb:{path}\n0::/other\n");
    assert_eq!(cgroup::memory_line(&first), Some((Version::One, &*path)));
    let removed = format!("0::{path} (deleted)\n");
    assert_eq!(cgroup::unified_path(&removed), Some(&*path));
    // The first line of a name counts, whatever follows it.
    let events = format!("low 0\noom_kill {count}\n{text}");
    assert_eq!(cgroup::field(&events, "oom_kill"), Some(count));
    cgroup::field(&text, "oom_kill");
}
