//! What the kernel does not show to PID 1: program and open files of another user's process, if graceinit is root
//! without CAP_SYS_PTRACE (as in Docker, after gosu or `--user`). A helper that takes on the user of each process reads
//! them. PID 1 goes on meanwhile, and without the answer if it does not come soon.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::sys::fd::{self, Read};
use crate::sys::helper::{Descriptors, Given, Helper};
use crate::sys::process;
use crate::sys::proctree::{self, Revealed};
use crate::types::process::{Files, Id, Opened, PipeEnd, Tree, Unreadable};
use crate::types::{Pid, Time};

/// The answer takes some milliseconds. A file system that hangs must not hold up the stop.
const PATIENCE: Duration = Duration::from_millis(200);

/// The helper that reads, if one runs, and its answer.
#[derive(Debug, Default)]
pub struct Reveal {
    running: Option<Running>,
    answer: Option<Vec<Revealed>>,
    /// Helpers that are killed and not reaped yet.
    ended: Vec<Helper>,
}

#[derive(Debug)]
struct Running {
    helper: Helper,
    /// The other end closes when the helper has said all.
    pipe: OwnedFd,
    bytes: Vec<u8>,
    until: Time,
}

impl Reveal {
    /// What the helper knows of these processes, once. `None`: it was just started; [`Reveal::is_over`] will tell when
    /// to ask again, with a new reading.
    pub fn answer(&mut self, now: Time, refused: &[Id]) -> Option<Vec<Revealed>> {
        self.ended.retain(|helper| helper.reap().is_none());
        let answer = self.answer.take();
        // Only root may take on the credentials of others.
        if answer.is_some() || refused.is_empty() || process::own_uid() != 0 {
            return Some(answer.unwrap_or_default());
        }
        match start(now, refused) {
            Ok(running) => {
                self.running = Some(running);
                None
            }
            // No process or no descriptor is left: what is hidden stays so.
            Err(_) => Some(Vec::new()),
        }
    }

    /// Until when the helper is waited for.
    pub fn until(&self) -> Option<Time> {
        self.running.as_ref().map(|running| running.until)
    }

    /// Reads what the helper has said so far. Whether no helper is waited for any more.
    pub fn is_over(&mut self, now: Time) -> bool {
        let Some(running) = &mut self.running else { return true };
        if !running.has_said_all() && now < running.until {
            return false;
        }
        self.give_up();
        true
    }

    /// No longer waits for the helper: its answer is what it has said.
    pub fn give_up(&mut self) {
        if let Some(running) = self.running.take() {
            let text = String::from_utf8_lossy(&running.bytes);
            // A line that is cut off is none.
            self.answer = Some(text.split_inclusive('\n').filter_map(parse).collect());
            running.helper.kill();
            self.ended.push(running.helper);
        }
    }

    /// Nothing is asked any more.
    pub fn stop(&mut self) {
        self.give_up();
        self.answer = None;
    }

    /// The pipe to wait for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.pipe.as_fd())
    }

    /// The helper's pid: it is no part of the tree.
    pub fn pid(&self) -> Option<Pid> {
        self.running.as_ref().map(|running| running.helper.pid())
    }
}

impl Running {
    fn has_said_all(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match fd::read(self.pipe.as_fd(), &mut buffer) {
                Read::Bytes(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Read::Empty => return false,
                Read::End => return true,
            }
        }
    }
}

/// Puts what was revealed into a tree that shows the same processes.
pub fn fill(tree: &mut Tree, revealed: &[Revealed]) {
    for process in &mut tree.processes {
        let known = revealed.iter().find(|known| known.id == process.id());
        if let Some(known) = known.filter(|_| process.files.is_err()) {
            (process.program, process.files) = (known.program.clone(), known.files.clone());
        }
    }
}

fn start(now: Time, refused: &[Id]) -> io::Result<Running> {
    let (pipe, other) = fd::pipe()?;
    let keep = [other.as_fd()];
    let given = Given {
        name: c"graceinit-look",
        user: None,
        trusted: true,
        log: false,
        descriptors: Descriptors::Only(&keep),
        files: 16,
    };
    let helper = Helper::start(&given, &|| tell(other.as_fd(), refused))?;
    Ok(Running { helper, pipe, bytes: Vec::new(), until: now.after(PATIENCE) })
}

// ---- in the helper ----------------------------------------------------------------------------

fn tell(out: BorrowedFd<'_>, refused: &[Id]) -> u8 {
    let text: String = proctree::reveal(refused).iter().map(render).collect();
    let Ok(out) = out.try_clone_to_owned() else { return 1 };
    u8::from(std::fs::File::from(out).write_all(text.as_bytes()).is_err())
}

/// pid, start time, program; then of the standard input whether it is a pipe, flags, mount, target; then of each pipe
/// which end it is, and target.
pub fn render(revealed: &Revealed) -> String {
    let plain = |text: &str| text.replace(char::is_control, "?");
    let Revealed { id: (pid, started), program, files } = revealed;
    let mut line = format!("{pid}\t{started}\t{}", plain(program));
    match files {
        Err(Unreadable) => {}
        Ok(Files { stdin: None, .. }) => line.push_str("\t-\t\t\t"),
        Ok(Files { stdin: Some(Opened { target, pipe, mount, flags }), .. }) => {
            line.push_str(&format!("\t{pipe}\t{flags}\t{mount}\t{}", plain(target)));
        }
    }
    for PipeEnd { target, reads, writes } in files.iter().flat_map(|files| &files.pipes) {
        line.push_str(&format!("\t{reads}\t{writes}\t{}", plain(target)));
    }
    line.push('\n');
    line
}

// ---- in PID 1 again ---------------------------------------------------------------------------

/// Reads what [`render`] has written; `None`: the line is cut off or not as specified.
pub fn parse(line: &str) -> Option<Revealed> {
    let mut fields = line.strip_suffix('\n')?.split('\t');
    let id = (Pid(fields.next()?.parse().ok()?), fields.next()?.parse().ok()?);
    let program = fields.next()?.into();
    let files = match fields.next() {
        None => Err(Unreadable),
        Some(pipe) => {
            let (flags, mount, target) = (fields.next()?, fields.next()?, fields.next()?.into());
            let stdin = match pipe.parse() {
                Err(_) => None,
                Ok(pipe) => {
                    let (mount, flags) = (mount.parse().ok()?, flags.parse().ok()?);
                    Some(Opened { target, pipe, mount, flags })
                }
            };
            let mut pipes = Vec::new();
            while let Some(reads) = fields.next() {
                let (reads, writes) = (reads.parse().ok()?, fields.next()?.parse().ok()?);
                pipes.push(PipeEnd { target: fields.next()?.into(), reads, writes });
            }
            Ok(Files { stdin, pipes })
        }
    };
    Some(Revealed { id, program, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revealed_reads_back() {
        let id = (Pid(7), 1234);
        let end = |target: &str| PipeEnd { target: target.into(), reads: true, writes: false };
        let pipes = vec![end("pipe:[5]"), PipeEnd { writes: true, ..end("/tmp/fifo") }];
        let stdin = Opened { target: "/dev/null".into(), pipe: false, mount: 9, flags: 2 };
        let all = [
            Err(Unreadable),
            Ok(Files { stdin: None, pipes: pipes.clone() }),
            Ok(Files { stdin: Some(stdin), pipes }),
        ];
        for files in all {
            let revealed = Revealed { id, program: "app".into(), files };
            let line = render(&revealed);
            assert_eq!(parse(&line), Some(revealed), "{line}");
            assert_eq!(parse(&line[..line.len() - 1]), None, "cut off: {line}");
        }
        let odd = Revealed { id, program: "a\n\tb".into(), files: Err(Unreadable) };
        assert_eq!(parse(&render(&odd)).map(|read| read.program), Some("a??b".into()));
    }
}
