//! The app's process: how it is started, how its execve went, who it is now, and signals to it.

use std::ffi::CString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use super::children::{Children, Role};
use super::terminal::JobControl;
use crate::account::incident::{Incident, Kin};
use crate::account::journal;
use crate::cli::OptionId;
use crate::config::source::Source;
use crate::config::user::User;
use crate::config::{Config, When};
use crate::exit;
use crate::sys::deadman::rescue;
use crate::sys::launch::spawn::{
    self, Child, ExecStatus, Failure, Program, Setup, Signals, Started, Step,
};
use crate::sys::notify::{Line, ReadyPipe};
use crate::sys::signals::{Disposition, Mask};
use crate::sys::{deadman, fd, process, reap, signals, tree, tty};
use crate::types::{Pid, Signal};

/// What graceinit was started with and the app is to get as it was.
#[derive(Clone, Copy, Debug)]
pub struct SignalState {
    /// The signal mask.
    pub mask: Mask,
    /// How SIGCHLD was handled.
    pub child_signal: Disposition,
}

/// The app.
pub struct App {
    program: &'static Program,
    signals: SignalState,
    /// The app's child, if it was started before everything else.
    early: Option<Child>,
    /// Its pid, reaped or not.
    pid: Option<Pid>,
    /// The id of its process group, reaped or not.
    group: Option<Pid>,
    /// The process that becomes the app when the present one ends (`MAINPID=`).
    successor: Option<Pid>,
    /// The pipe that tells how its execve went; `None` once that is known.
    exec_status: Option<ExecStatus>,
    /// Its execve failed.
    failure: Option<Failure>,
    /// Where it writes a newline when it is ready (`--ready fd:N`).
    ready_pipe: Option<ReadyPipe>,
}

impl App {
    /// Nothing runs yet, unless `early` does.
    pub fn new(program: &'static Program, signals: SignalState, early: Option<Child>) -> App {
        App {
            program,
            signals,
            early,
            pid: None,
            group: None,
            successor: None,
            exec_status: None,
            failure: None,
            ready_pipe: None,
        }
    }

    /// Its pid, reaped or not.
    pub fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// The id of its process group, reaped or not.
    pub fn group(&self) -> Option<Pid> {
        self.group
    }

    /// Why it could not be executed.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Whether its program is found from every directory.
    pub fn is_found_anywhere(&self) -> bool {
        self.program.is_absolute()
    }

    /// Whether it has a descriptor to write its newline to.
    pub fn has_ready_pipe(&self) -> bool {
        self.ready_pipe.is_some()
    }

    /// What the loop waits for: the exec status and the newline.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let status = self.exec_status.as_ref().map(AsFd::as_fd);
        status.into_iter().chain(self.ready_pipe.as_ref().map(AsFd::as_fd))
    }

    /// Starts it, with everything that graceinit was given.
    ///
    /// # Errors
    /// It could not even be forked, and what to do.
    pub fn start(
        &mut self,
        config: &Config,
        terminal: &mut JobControl,
        notify_socket: Option<CString>,
        children: &mut Children,
    ) -> Result<(), String> {
        let name = self.program.name().to_string_lossy().into_owned();
        let child = match self.early.take() {
            Some(child) => child,
            None => self.spawn(config, terminal, notify_socket, children, &name)?,
        };
        journal::incident(&Incident::Started { pid: child.pid, name });
        children.add(child.pid, Role::App);
        (self.pid, self.group) = (Some(child.pid), Some(child.pid));
        deadman::set_code(config.plan.exit.killed.unwrap_or(exit::KILLED));
        deadman::app_started(child.pid);
        rescue::set_main(Some(child.pid));
        self.exec_status = Some(child.report);
        Ok(())
    }

    fn spawn(
        &mut self,
        config: &Config,
        terminal: &mut JobControl,
        notify_socket: Option<CString>,
        children: &mut Children,
        name: &str,
    ) -> Result<Child, String> {
        let dispositions = [(Signal::CHLD, self.signals.child_signal)];
        let (pipe, line) = match ready_number(config) {
            Some(number) => {
                let (pipe, line) = ReadyPipe::open().map_err(|error| {
                    let hint = limit_hint(&error);
                    format!("unable to make a pipe for --ready fd: {error}{hint}")
                })?;
                (Some(pipe), Some((line, number)))
            }
            None => (None, None),
        };
        self.ready_pipe = pipe;
        let not_started =
            |error: io::Error| format!("unable to start {name}: {error}{}", limit_hint(&error));
        if let Some(user) = &config.user {
            give_stdio(user.uid);
        }
        let parted = terminal.part(children).map_err(not_started)?;
        let variable: Vec<CString> = notify_socket.into_iter().collect();
        let child = spawn::spawn_app(
            self.program,
            &Setup {
                signals: Signals::Inherited(self.signals.mask, &dispositions),
                user: config.user.as_ref().map(User::ids),
                session: config.plan.session,
                terminal: parted.as_ref().map(AsFd::as_fd).or_else(|| terminal.for_app()),
                stdio: None,
                variables: &variable,
                without: &[],
                extra: line.as_ref().map(|(line, number)| (line.as_fd(), *number)),
            },
        );
        child.map_err(not_started)
    }

    /// How its execve went, if that has become known.
    pub fn execve_result(&mut self) -> Option<Started> {
        let started = self.exec_status.as_ref().map(ExecStatus::read)?;
        match started {
            Started::Pending => return None,
            Started::Yes => {}
            Started::No(failure) => self.failure = Some(failure),
        }
        self.exec_status = None;
        Some(started)
    }

    /// Logs why it was not executed. graceinit's exit code for that.
    pub fn explain(&self, failure: Failure, config: &Config) -> u8 {
        let user = config.user.as_ref().map(User::ids);
        let source = config.source_of(OptionId::User);
        let why = explain(self.program, failure, user.map(|ids| (ids, source)));
        journal::incident(&Incident::NotExecuted { why });
        let codes = config.plan.exit.codes;
        match failure.step {
            Step::Execute => codes.of_exec(failure.errno),
            Step::User | Step::Stdio | Step::Extra => codes.own,
        }
    }

    /// What has become of its newline.
    pub fn newline(&mut self) -> Line {
        let line = self.ready_pipe.as_mut().map_or(Line::Pending, ReadyPipe::read);
        if line != Line::Pending {
            self.ready_pipe = None;
        }
        line
    }

    /// Sends a signal to its process.
    ///
    /// # Errors
    /// Those of kill(2); ESRCH if it was reaped.
    pub fn send(
        &self,
        children: &Children,
        signal: Signal,
        value: Option<usize>,
    ) -> io::Result<()> {
        let Some(app) = children.pid(Role::App) else {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        };
        match value {
            Some(value) => signals::queue(app, signal, value),
            None => signals::send(app, signal),
        }
    }

    /// `pid` becomes the app when the present process ends.
    pub fn set_successor(&mut self, pid: Pid) {
        self.successor = Some(pid);
    }

    /// The app's process has ended: its successor becomes the app, if it is alive. It was reparented to graceinit
    /// when its parent ended. Returns the id of its group.
    pub fn succeed(&mut self, ended: Pid, children: &mut Children) -> Option<Pid> {
        let successor = self.successor.take().filter(|successor| *successor != ended)?;
        let group = reap::is_alive(successor).then(|| tree::look_up(successor))??.group;
        let status = reap::reap(ended)?;
        journal::incident(&Incident::Reaped { kin: Kin::App, pid: ended, status, warn: false });
        children.forget(ended);
        children.add(successor, Role::App);
        self.pid = Some(successor);
        rescue::set_main(Some(successor));
        // graceinit's own group must not be signalled.
        let group = if group == tty::own_group() { successor } else { group };
        self.group = Some(group);
        journal::incident(&Incident::TookOver { pid: successor });
        Some(group)
    }

    /// Changes to a directory that keeps no mount busy, unless a later program or path may depend on the present one.
    pub fn leave_directory(config: &Config) {
        if !config.needs_directory() {
            process::leave_directory();
        }
    }
}

/// Lets the app's user open /dev/stdin, /dev/stdout and /dev/stderr. A terminal is given only by PID 1: elsewhere it is
/// the terminal of a session that goes on.
fn give_stdio(uid: u32) {
    let names = ["/dev/stdin", "/dev/stdout", "/dev/stderr"];
    for (name, given) in names.into_iter().zip(fd::give_stdio(uid, process::is_first())) {
        if let fd::Given::Refused(errno) = given {
            log::info!(
                "unable to give {name} to user {uid}: {}; the app cannot open it, but can use the inherited \
                 descriptor",
                errno.desc()
            );
        }
    }
}

/// The number under which the app finds its end of the pipe.
fn ready_number(config: &Config) -> Option<i32> {
    config.ready.iter().find_map(|ready| match ready.when {
        When::Fd(number) => Some(number),
        When::Notify | When::Signal(_) | When::After(_) | When::Probe(_) => None,
    })
}

/// Which limit a failed start has met, and what to do.
pub fn limit_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "; raise the limit of open files (ulimit -n, RLIMIT_NOFILE)",
        Some(libc::ENFILE) => "; raise the system's limit of open files (fs.file-max)",
        Some(libc::EAGAIN) => "; raise the limit of processes (ulimit -u, pids.max of the cgroup)",
        Some(libc::ENOMEM) => {
            "; memory or its limit is used up (memory.max of the cgroup, ulimit -v)"
        }
        _ => "",
    }
}

/// Logs that a signal could not be sent.
pub fn warn_unsent(whom: impl Display, signal: Signal, result: io::Result<()>) {
    if let Err(error) = result {
        journal::warn(format!("unable to send {signal} to {whom}: {error}; going on"));
    }
}

/// The uid, the gid and the further groups of a user.
type Ids<'a> = (u32, u32, &'a [u32]);

/// Whether the file is a script whose first line ends in CR LF, as an editor of Windows writes it.
fn ends_in_cr_lf(file: &str) -> bool {
    // The kernel has just read the same bytes; it reads no more of the line (BINPRM_BUF_SIZE).
    let mut bytes = [0; 256];
    let length = File::open(file).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    let first = bytes[..length].split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.starts_with(b"#!") && first.ends_with(b"\r")
}

/// Why a program was not executed, and what to do.
pub fn explain(program: &Program, failure: Failure, user: Option<(Ids<'_>, Source)>) -> String {
    let reason = nix::errno::Errno::from_raw(failure.errno).desc();
    let name = program.name().to_string_lossy();
    match failure.step {
        Step::User => {
            let ((uid, gid, _), source) =
                user.unwrap_or(((0, 0, &[]), Source::Flag(OptionId::User)));
            format!(
                "unable to become user {uid} and group {gid} ({source}): {reason}; start graceinit as root, \
                 or leave the user out"
            )
        }
        Step::Stdio => format!("unable to redirect the output of {name}: {reason}"),
        Step::Extra => format!(
            "unable to give {name} the descriptor of --ready fd: {reason}; is its number above the \
             limit of open files?"
        ),
        Step::Execute => {
            let file = program.file().map(|file| file.to_string_lossy().into_owned());
            let advice = match (failure.errno, file) {
                (libc::ENOENT, Some(file)) if ends_in_cr_lf(&file) => format!(
                    "; the first line of {file} ends in CR LF, and the kernel takes the CR for a part of the \
                     interpreter's name: write the file with LF alone (sed -i 's/\\r$//' {file})"
                ),
                (libc::ENOENT, Some(file)) => format!(
                    "; {file} is there, but not the interpreter that its first line names, or its \
                     dynamic loader"
                ),
                (libc::ENOENT, None) if name.contains('/') => "; check the path".to_owned(),
                (libc::ENOENT, None) => "; it is in no directory of PATH".to_owned(),
                (libc::EACCES, Some(file)) => {
                    format!("; {file} must be a file with execute permission for this user")
                }
                (libc::ENOEXEC, _) => {
                    "; it is built for another machine, or a script without #! and without /bin/sh"
                        .to_owned()
                }
                _ => String::new(),
            };
            format!("unable to execute {name}: {reason}{advice}")
        }
    }
}
