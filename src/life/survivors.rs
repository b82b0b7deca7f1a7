//! Which processes are still there when the budget ends, and what each of them does: one record per process, made by a
//! child a moment before SIGKILL. PID 1 must not read this itself: reading /proc/PID/cmdline waits for a lock of that
//! process, and a process that hangs may hold it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use super::children::{Children, Role};
use crate::account::journal;
use crate::machine::fact::{Fact, Survivor};
use crate::sys::fd::{self, Read};
use crate::sys::launch::spawn::{self, Setup, Task};
use crate::sys::stat::Stat;
use crate::sys::tree::{self, Process};
use crate::sys::{clock, process, signals};
use crate::types::{Pid, Status};

/// The processes that are described; further ones are counted.
const MOST: usize = 100;
/// The longest command line, in characters.
const LONGEST_COMMAND: usize = 160;

// ---- in PID 1 ---------------------------------------------------------------------------------

/// The processes that are still there, as far as they are recorded.
#[derive(Debug, Default)]
pub struct Survivors {
    records: Option<Records>,
    /// The child was started, or could not be.
    begun: bool,
}

impl Survivors {
    /// Starts the child that records them, unless one runs already. `helpers` are left out.
    pub fn record(&mut self, helpers: &[Pid], children: &mut Children) {
        if children.pid(Role::SurvivorScan).is_some() {
            return;
        }
        self.begun = true;
        let run = || run(helpers);
        let started = fd::empty_input().and_then(|stdin| {
            let (records, out) = fd::pipe()?;
            // The child writes nothing to stderr; a message of the C library would go where the records go.
            let stdio = Some([stdin.as_fd(), out.as_fd(), out.as_fd()]);
            let setup = Setup { stdio, ..Setup::CLEAN };
            Ok((spawn::spawn(Task::Call(&run), &setup)?, records))
        });
        match started {
            Ok((child, records)) => {
                children.add(child.pid, Role::SurvivorScan);
                self.records = Some(Records::new(records));
            }
            Err(error) => {
                journal::warn(format!(
                    "unable to record the processes that are still there: {error}; going on"
                ));
            }
        }
    }

    /// Reads what the child has written so far.
    pub fn read(&mut self) {
        if let Some(records) = &mut self.records {
            records.read();
        }
    }

    /// The pipe to wait for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.records.as_ref().and_then(Records::fd)
    }

    /// The child has ended. False: /proc is of no use.
    pub fn recorded(&mut self, status: Status) -> bool {
        self.read();
        let has_proc = status != Status::Code(NO_PROC);
        if !has_proc {
            self.records = None;
        }
        has_proc
    }

    /// Reports the processes that are about to be killed. A process that has ended since it was recorded is no
    /// survivor. `wanted`: there was to be a record of them.
    pub fn report(&mut self, wanted: bool) {
        let begun = std::mem::take(&mut self.begun);
        let Some(mut records) = self.records.take() else {
            // graceinit itself has come too late: no processor was free, or it stood still.
            if wanted && !begun {
                journal::record(&Fact::SurvivorsNotRecorded);
            }
            return;
        };
        records.read();
        let (survivors, more) = records.survivors();
        if survivors.is_empty() && !records.complete() {
            return journal::record(&Fact::SurvivorsNotRecorded);
        }
        for survivor in survivors.into_iter().filter(|survivor| signals::exists(survivor.pid)) {
            journal::record(&Fact::StillThere(Box::new(survivor)));
        }
        if more > 0 {
            journal::record(&Fact::MoreStillThere(more));
        }
    }
}

/// What the child has written so far.
#[derive(Debug)]
struct Records {
    pipe: OwnedFd,
    bytes: Vec<u8>,
    ended: bool,
}

impl Records {
    /// `pipe`: the reading end.
    fn new(pipe: OwnedFd) -> Records {
        Records { pipe, bytes: Vec::new(), ended: false }
    }

    /// Reads what is there.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while !self.ended {
            match fd::read(self.pipe.as_fd(), &mut buffer) {
                Read::Bytes(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Read::Empty => return,
                Read::End => self.ended = true,
            }
        }
    }

    /// The descriptor to wait for; `None` once all was read.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended).then(|| self.pipe.as_fd())
    }

    /// Whether all was read.
    fn complete(&self) -> bool {
        self.ended
    }

    /// The complete records, and the number of further processes.
    fn survivors(&self) -> (Vec<Survivor>, usize) {
        complete_records(&self.bytes)
    }
}

/// The complete records of a text, and the number of further processes.
pub fn complete_records(bytes: &[u8]) -> (Vec<Survivor>, usize) {
    let mut found = Vec::new();
    let mut more = 0;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    for line in String::from_utf8_lossy(&bytes[..end]).lines() {
        match line.strip_prefix('+') {
            Some(count) => more = count.parse().unwrap_or(0),
            None => found.extend(parse(line)),
        }
    }
    (found, more)
}

fn parse(line: &str) -> Option<Survivor> {
    let mut fields = line.split('\t');
    let mut field = || fields.next();
    let number = |text: &str| text.parse::<i32>().ok();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Some(Survivor {
        pid: Pid(number(field()?)?),
        parent: Pid(number(field()?)?),
        state: field()?.chars().next()?,
        threads: field()?.parse().ok()?,
        age: Duration::from_millis(field()?.parse().ok()?),
        wchan: some(field()?),
        connections: field()?.parse().ok(),
        unread: field()?.to_owned(),
        command: field()?.to_owned(),
    })
}

/// The record of a process: one line.
pub fn render(survivor: &Survivor) -> String {
    let Survivor { pid, parent, state, threads, age, wchan, connections, unread, command } =
        survivor;
    let wchan = wchan.as_deref().unwrap_or("");
    let connections = connections.map_or(String::new(), |count| count.to_string());
    let age = age.as_millis();
    format!(
        "{pid}\t{parent}\t{state}\t{threads}\t{age}\t{wchan}\t{connections}\t{unread}\t{command}\n"
    )
}

/// The child's exit code if /proc is of no use.
const NO_PROC: u8 = 2;

// ---- in the child -----------------------------------------------------------------------------

/// Writes the records to stdout, without `helpers`. Returns the child's exit code.
fn run(helpers: &[Pid]) -> u8 {
    // On a busy machine the first record must not wait for the end of a time slice.
    process::hurry(None);
    let without: Vec<Pid> = helpers.iter().copied().chain([process::own_pid()]).collect();
    let Some(found) = tree::descendants_of(process::parent(), &without) else {
        return NO_PROC;
    };
    let mut sockets = Sockets::default();
    let mut out = std::io::stdout();
    for process in found.iter().take(MOST) {
        // A process that has ended meanwhile has no record.
        let Some(survivor) = look(process, &mut sockets) else { continue };
        if out.write_all(render(&survivor).as_bytes()).is_err() {
            return 1;
        }
    }
    // Of a hidden process there is nothing to record, but it is there.
    let hidden = found.iter().take(MOST).filter(|process| process.started == tree::HIDDEN);
    let more = hidden.count() + found.len().saturating_sub(MOST);
    if more > 0 && writeln!(out, "+{more}").is_err() {
        return 1;
    }
    0
}

fn look(process: &Process, sockets: &mut Sockets) -> Option<Survivor> {
    let dir = PathBuf::from(format!("/proc/{}", process.pid));
    let stat = fs::read(dir.join("stat")).ok()?;
    let stat = Stat::parse(&stat)?;
    let mut unread = Vec::new();
    let command = match fs::read(dir.join("cmdline")) {
        Ok(words) => one_line(&words),
        Err(_) => {
            unread.push("command");
            String::new()
        }
    };
    // Kernel threads have no command line, and some programs overwrite theirs.
    let command = if command.is_empty() { format!("[{}]", one_line(stat.name)) } else { command };
    // The kernel shows "0" for a running process, and to readers without permission.
    let wchan = fs::read_to_string(dir.join("wchan")).ok().filter(|name| !name.is_empty());
    let wchan = wchan.filter(|name| name != "0");
    if wchan.is_none() && stat.state != 'R' {
        unread.push("wchan");
    }
    let connections = sockets.count(&dir);
    if connections.is_none() {
        unread.push("connections");
    }
    Some(Survivor {
        pid: process.pid,
        parent: process.parent,
        state: stat.state,
        threads: stat.threads,
        age: Duration::from_millis(clock::boot_ticks().saturating_sub(process.started) * 10),
        wchan: wchan.map(|name| name.replace(['\t', '\n'], " ")),
        connections,
        unread: unread.join(","),
        command,
    })
}

/// A command line (words that end with NUL) as text in one line, truncated.
pub fn one_line(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let text: String = text
        .trim_end_matches('\0')
        .chars()
        .map(|c| if c == '\0' || c.is_control() { ' ' } else { c })
        .take(LONGEST_COMMAND)
        .collect();
    text.trim().to_owned()
}

/// The inodes of the TCP connections in each network namespace.
#[derive(Default)]
struct Sockets(BTreeMap<Option<PathBuf>, Option<BTreeSet<u64>>>);

impl Sockets {
    /// The number of a process's open TCP connections; `None` without permission to see them.
    fn count(&mut self, dir: &std::path::Path) -> Option<usize> {
        let links = fs::read_dir(dir.join("fd")).ok()?;
        let mut inodes: Vec<u64> = Vec::new();
        for link in links {
            let target = match fs::read_link(link.ok()?.path()) {
                Ok(target) => target,
                // Closed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                // CAP_DAC_OVERRIDE allows reading the folder, but the links need CAP_SYS_PTRACE.
                Err(_) => return None,
            };
            let name = target.to_str().and_then(|target| target.strip_prefix("socket:["));
            inodes.extend(name.and_then(|name| name.strip_suffix(']')?.parse::<u64>().ok()));
        }
        if inodes.is_empty() {
            return Some(0);
        }
        let namespace = fs::read_link(dir.join("ns/net")).ok();
        let known = self.0.entry(namespace).or_insert_with(|| connections(dir));
        let known = known.as_ref()?;
        Some(inodes.iter().filter(|inode| known.contains(inode)).count())
    }
}

/// proc_pid_net(5): the fourth column is the state (0A: listening), the tenth the inode.
fn connections(dir: &std::path::Path) -> Option<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for table in ["net/tcp", "net/tcp6"] {
        // Without IPv6 the second table does not exist.
        let text = match fs::read_to_string(dir.join(table)) {
            Ok(text) => text,
            Err(_) if table == "net/tcp6" => continue,
            Err(_) => return None,
        };
        for line in text.lines().skip(1) {
            let mut columns = line.split_whitespace().skip(3);
            let listens = columns.next() == Some("0A");
            let inode = columns.nth(5).and_then(|inode| inode.parse::<u64>().ok());
            found.extend(inode.filter(|inode| !listens && *inode != 0));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor() -> Survivor {
        Survivor {
            pid: Pid(12),
            parent: Pid(1),
            state: 'D',
            threads: 7,
            age: Duration::from_millis(1230),
            wchan: Some("folio_wait_bit".to_owned()),
            connections: Some(3),
            unread: String::new(),
            command: "java -jar app.jar".to_owned(),
        }
    }

    #[test]
    fn records_read_back() {
        let unseen = Survivor {
            wchan: None,
            connections: None,
            unread: "wchan,connections".to_owned(),
            ..survivor()
        };
        for record in [survivor(), unseen] {
            assert_eq!(parse(render(&record).trim_end()), Some(record));
        }
        for broken in ["", "1", "x\t1\tS\t1\t1\t\t\t\tc", "1\t1\tS\tmany\t1\t\t\t\tc"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_record_that_is_cut_off_is_none() {
        let (pipe, _) = fd::pipe().expect("a pipe");
        let mut records = Records::new(pipe);
        let whole = render(&survivor());
        records.bytes = format!("{whole}+9\n{}", &whole[..10]).into_bytes();
        assert_eq!(records.survivors(), (vec![survivor()], 9));
    }

    #[test]
    fn a_process_with_a_connection_is_described() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let _client = std::net::TcpStream::connect(address).expect("a connection");
        let own = tree::look_up(process::own_pid()).expect("ourselves");
        let record = look(&own, &mut Sockets::default()).expect("a record");
        assert_eq!(record.pid, process::own_pid());
        assert!(record.connections >= Some(1), "{record:?}");
        assert!(record.command.contains("graceinit"), "{record:?}");
        assert!(record.threads >= 1 && record.age < Duration::from_secs(86_400), "{record:?}");
    }
}
