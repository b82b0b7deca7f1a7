//! What hooks print, line by line into the log. Reading does not block and is bounded in memory. A pipe is never closed
//! before its writer closes it: a process that a hook has left behind must not die of SIGPIPE. (The pipes of probes
//! are closed when the probe ends.)

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::account::incident::Incident;
use crate::account::journal;
use crate::machine::hooks::{HookId, HookPhase};
use crate::sys::fd::{self, Read};
use crate::types::text::printable;

/// A longer line is logged in pieces.
const LONGEST_LINE: usize = 1024;
/// One round of the loop reads this much from one pipe, so that a hook that prints a lot does not hold up the loop.
const LOOK: usize = 4096;
/// The default capacity of a pipe (pipe(7)): this much is still read when a hook has ended.
const PIPE: usize = 65_536;

/// The pipes of all hooks.
#[derive(Debug, Default)]
pub struct Outputs(Vec<Output>);

#[derive(Debug)]
struct Output {
    hook: HookId,
    is_stderr: bool,
    pipe: OwnedFd,
    line: Vec<u8>,
    /// The last line of a look of `--drained`.
    last: Option<String>,
    ended: bool,
    /// For hooks that run again and again: the end that the next run gets as well. A process that a run has left behind
    /// keeps the pipe open, and must not cost two descriptors each time.
    writer: Option<OwnedFd>,
}

impl Outputs {
    /// A pipe for an attempt to write to: the child's end.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(&mut self, hook: HookId, is_stderr: bool) -> io::Result<OwnedFd> {
        let repeated = hook.phase == HookPhase::OnReload;
        let is_same = |output: &&mut Output| {
            let HookId { phase, index, .. } = output.hook;
            output.is_stderr == is_stderr && (phase, index) == (hook.phase, hook.index)
        };
        if let Some(output) = self.0.iter_mut().find(is_same).filter(|_| repeated) {
            if let Some(writer) = &output.writer {
                let writer = writer.try_clone()?;
                output.hook = hook;
                return Ok(writer);
            }
        }
        let (pipe, child) = fd::pipe()?;
        let writer = if repeated { Some(child.try_clone()?) } else { None };
        self.0.push(Output {
            hook,
            is_stderr,
            pipe,
            line: Vec::new(),
            last: None,
            ended: false,
            writer,
        });
        Ok(child)
    }

    /// An attempt was not started: its pipes are closed.
    pub fn not_started(&mut self, hook: HookId) {
        self.0.retain(|output| output.hook != hook || output.writer.is_some());
    }

    /// The ends that the next runs get.
    pub fn writers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().filter_map(|output| output.writer.as_ref().map(AsFd::as_fd))
    }

    /// The descriptors to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().filter(|output| !output.ended).map(|output| output.pipe.as_fd())
    }

    /// Reads a bounded amount from each pipe.
    pub fn read(&mut self) {
        for output in &mut self.0 {
            output.read(LOOK);
        }
        // What a look has printed last is asked for when it has ended.
        self.0.retain(|output| !output.ended || output.last.is_some());
    }

    /// Reads what a hook has printed before it ended, so that its last lines are logged before its end. Returns the
    /// last line of a look of `--drained`, rather one from stderr.
    pub fn drain(&mut self, hook: HookId) -> Option<String> {
        let mut last = None;
        for output in self.0.iter_mut().filter(|output| output.hook == hook) {
            output.read(PIPE);
            output.flush();
            last = output.last.take().or(last);
        }
        // Checks are repeated: the processes that one leaves behind must not cost two descriptors each time.
        let check = hook.phase.checks();
        self.0.retain(|output| match output.hook == hook {
            true => !(output.ended || check),
            false => !output.ended || output.last.is_some(),
        });
        last
    }
}

impl Output {
    fn read(&mut self, most: usize) {
        let mut taken = 0;
        let mut buffer = [0; LOOK];
        while taken < most && !self.ended {
            match fd::read(self.pipe.as_fd(), &mut buffer) {
                Read::Bytes(count) => {
                    taken += count;
                    self.take(&buffer[..count]);
                }
                Read::Empty => return,
                Read::End => {
                    self.flush();
                    self.ended = true;
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.say();
                self.line.clear();
            } else {
                if self.line.len() == LONGEST_LINE {
                    self.flush();
                }
                self.line.push(*byte);
            }
        }
    }

    fn say(&mut self) {
        let (id, stderr, text) = (self.hook, self.is_stderr, printable(&self.line));
        if id.phase == HookPhase::Drained {
            self.last = Some(text.clone());
        }
        journal::incident(&Incident::HookSaid { id, stderr, text });
    }

    /// Logs a last line that has no newline.
    fn flush(&mut self) {
        if !self.line.is_empty() {
            self.say();
            self.line.clear();
        }
    }
}
