//! Performs the machine's actions. Nothing in here is fatal: what cannot be done is said, and life
//! goes on.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

mod drain;
mod hooks;
mod ready;

pub use ready::Opened;

use crate::config::Config;
use crate::exit::{self, Codes};
use crate::machine::hook::HookId;
use crate::machine::phase::PhaseName;
use crate::machine::{Action, Target};
use crate::observe::journal;
use crate::observe::met::{Kin, Met};
use crate::outputs::Outputs;
use crate::sight::Eyes;
use crate::survey::Records;
use crate::sys::deadman::{self, DeadMan};
use crate::sys::notify::ReadyPipe;
use crate::sys::signals::{Disposition, Mask};
use crate::sys::spawn::{Child, Failure, Program, Report, Setup, Signals, Step, Task};
use crate::sys::tree::{Process, Reach};
use crate::sys::tty::Terminal;
use crate::sys::{clock, process, reap, signals, spawn, tree, tty};
use crate::table::{Role, Table};
use crate::types::{Pid, Signal, Status, Time};
use crate::user::User;

/// How graceinit ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leave {
    /// Its exit code.
    pub code: u8,
    /// The signal to die of instead, so that the shell that waits for us learns of the Ctrl-C.
    pub by: Option<Signal>,
}

/// Everything that actions need.
pub struct Hands {
    /// Who is who.
    pub table: Table,
    /// What hooks print.
    pub outputs: Outputs,
    /// The controlling terminal.
    pub terminal: Option<Terminal>,
    config: Box<Config>,
    mask: Mask,
    child_signal: Disposition,
    dead_man: Option<DeadMan>,
    program: &'static Program,
    /// The app's child, if it was started before all else.
    pub early: Option<Child>,
    /// The app's pid, reaped or not.
    app: Option<Pid>,
    /// The id of its process group.
    group: Option<Pid>,
    /// The process that is the app should the present one end.
    heir: Option<Pid>,
    /// What was opened before the app was started.
    pub opened: Opened,
    /// What the observer was told last.
    published: Option<(bool, PhaseName)>,
    /// Where the app writes its newline.
    ready_pipe: Option<ReadyPipe>,
    /// What looks at the ports to be drained, while that is needed.
    eyes: Option<Eyes>,
    /// The connections that held the drain longest, once it is over.
    holders: Vec<crate::machine::drain::Holder>,
    /// The ports that it had found.
    ports: Vec<u16>,
    told_stopping: bool,
    warned_of_upward: bool,
    /// The app has said that it reloads, and not yet that it is ready again.
    reloading: bool,
    /// A message to the app's socket was left unread.
    refused: bool,
    /// Who is still there, as far as that is known.
    records: Option<Records>,
    /// How the execve of each hook went.
    reports: Vec<(HookId, Report)>,
    /// Processes that were sent a signal by their pid, and which.
    told: BTreeSet<(Pid, Signal)>,
    /// When the app's group as a whole was last sent the signal that leftovers get, in the unit of
    /// [`Process::started`].
    group_told: Option<u64>,
    /// When leftovers were first looked for, in the same unit.
    first_look: u64,
    /// No further look before this, and how long the last one took.
    next_look: (Time, Duration),
    /// The deadline that the dead-man timer was set to last.
    deadline: Time,
    /// It was said that /proc is of no use.
    warned_of_proc: bool,
}

impl Hands {
    /// Before anything runs.
    pub fn new(
        config: Box<Config>,
        program: &'static Program,
        mask: Mask,
        child_signal: Disposition,
        terminal: Option<Terminal>,
        opened: Opened,
    ) -> Hands {
        Hands {
            table: Table::default(),
            outputs: Outputs::default(),
            terminal,
            config,
            mask,
            child_signal,
            dead_man: None,
            program,
            early: None,
            app: None,
            group: None,
            heir: None,
            opened,
            published: None,
            ready_pipe: None,
            eyes: None,
            holders: Vec::new(),
            ports: Vec::new(),
            told_stopping: false,
            warned_of_upward: false,
            reloading: false,
            refused: false,
            records: None,
            reports: Vec::new(),
            told: BTreeSet::new(),
            group_told: None,
            first_look: 0,
            next_look: (Time::default(), Duration::ZERO),
            deadline: Time::default(),
            warned_of_proc: false,
        }
    }

    /// Starts the app, with all that graceinit was given. What comes back tells how its execve went.
    ///
    /// # Errors
    /// Why it could not even be forked, and what to do.
    pub fn start_app(&mut self) -> Result<Report, String> {
        let name = self.program.name().to_string_lossy().into_owned();
        let child = match self.early.take() {
            Some(child) => child,
            None => self.spawn_app(&name)?,
        };
        journal::met(&Met::Started { pid: child.pid, name });
        self.table.add(child.pid, Role::App);
        (self.app, self.group) = (Some(child.pid), Some(child.pid));
        deadman::set_code(self.config.plan.exit.killed.unwrap_or(exit::KILLED));
        deadman::app_started(child.pid);
        Ok(child.report)
    }

    fn spawn_app(&mut self, name: &str) -> Result<Child, String> {
        let dispositions = [(Signal::CHLD, self.child_signal)];
        let (pipe, line) = match self.ready_number() {
            Some(number) => {
                let (pipe, line) = ReadyPipe::open()
                    .map_err(|error| format!("unable to make a pipe for --ready fd: {error}"))?;
                (Some(pipe), Some((line, number)))
            }
            None => (None, None),
        };
        self.ready_pipe = pipe;
        let not_started = |error: io::Error| {
            format!("unable to start {name}: {error}; is a limit of processes or memory reached?")
        };
        let session = self.config.plan.session;
        let handed = if session { self.part_with_terminal().map_err(not_started)? } else { None };
        // In the background (`graceinit ... &`) it is not ours to give away. What another session keeps,
        // the app's cannot have.
        let ours = self.terminal.as_ref().filter(|terminal| !session && terminal.is_ours());
        let variable: Vec<CString> = self.opened.variable().into_iter().collect();
        let child = spawn::spawn_app(
            self.program,
            &Setup {
                signals: Signals::Inherited(self.mask, &dispositions),
                user: self.user(),
                session,
                terminal: handed.as_ref().or(ours).map(AsFd::as_fd),
                stdio: None,
                variables: &variable,
                without: &[],
                extra: line.as_ref().map(|(line, number)| (line.as_fd(), *number)),
            },
        );
        child.map_err(not_started)
    }

    /// The terminal, once it is no longer that of this session: the app's can have it then. `None` if
    /// there is none, or it belongs to somebody else's session.
    fn part_with_terminal(&mut self) -> io::Result<Option<Terminal>> {
        let Some(terminal) = self.terminal.take_if(|_| tty::leads_session()) else {
            return Ok(None);
        };
        let stand_in = spawn::spawn(Task::Call(&|| 0), &Setup::CLEAN)?;
        self.table.add(stand_in.pid, Role::StandIn);
        if let Err(error) = terminal.part(stand_in.pid) {
            log::debug!("unable to give up the terminal: {error}; the app's session has none");
        }
        Ok(Some(terminal))
    }

    /// Whether the app's program is found from every directory.
    pub fn is_found_anywhere(&self) -> bool {
        self.program.is_absolute()
    }

    /// Goes where nothing keeps a mount busy, unless something that runs later or a path that is opened
    /// later may count on the directory.
    pub fn leave_directory(&self) {
        if !self.config.needs_directory() {
            process::leave_directory();
        }
    }

    /// graceinit's own exit codes.
    pub fn codes(&self) -> Codes {
        self.config.plan.exit.codes
    }

    /// Every descriptor that is our own, but for those of the loop.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let terminal = self.terminal.as_ref().map(AsFd::as_fd);
        let reports = self.reports.iter().map(|(_, report)| report.as_fd());
        let upward = self.opened.upward.as_ref().map(AsFd::as_fd);
        self.pipes()
            .chain(terminal)
            .chain(reports)
            .chain(self.opened.observer.owned())
            .chain(self.opened.files.owned())
            .chain(upward)
    }

    /// The pipes that children write to.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let app = self.opened.socket.as_ref().map(AsFd::as_fd);
        let line = self.ready_pipe.as_ref().map(AsFd::as_fd);
        let records = self.records.as_ref().and_then(Records::fd);
        self.outputs.fds().chain(records).chain(app).chain(line)
    }

    fn user(&self) -> Option<(u32, u32, &[u32])> {
        self.config.user.as_ref().map(User::ids)
    }

    /// The id of the app's group, reaped or not.
    fn app_group(&self) -> Option<Pid> {
        self.group
    }

    /// An orphan was reaped.
    pub fn stray_reaped(&mut self, pid: Pid, status: Status) {
        self.told.retain(|(told, _)| *told != pid);
        let warn = self.config.warn_on_reap;
        journal::met(&Met::Reaped { kin: Kin::Orphan, pid, status, warn });
    }

    /// Performs an action (all but the start of a hook, which has a result, and those that are the
    /// loop's own).
    pub fn perform(&mut self, action: Action, now: Time) {
        match action {
            Action::SignalApp { signal, target, value, stop: _ } => {
                self.signal_app(signal, target, value);
            }
            Action::KillHook(id) => {
                if let Some(pid) = self.table.pid(Role::Hook(id)) {
                    self.report("a hook", Signal::KILL, signals::send_group(pid, Signal::KILL));
                }
            }
            Action::StopHook { id, signal } => {
                if let Some(pid) = self.table.pid(Role::Hook(id)) {
                    self.report("a hook", signal, signals::send_group(pid, signal));
                }
            }
            Action::Survey => {
                // The deadline is near, and must not find us waiting for a processor.
                process::hurry(None);
                self.survey();
            }
            Action::SignalLeftovers { signal, group_told, first } => {
                self.signal_leftovers(signal, group_told, first);
            }
            Action::KillTree => {
                self.tell_survivors();
                let groups: Vec<Pid> =
                    self.app_group().into_iter().chain(self.table.helpers()).collect();
                let spare: Vec<Pid> = self.opened.aside().collect();
                // Who is killed has to run once more to die.
                if let Some(app) = self.table.pid(Role::App) {
                    process::hurry(Some(app));
                }
                let reach = tree::kill_everything(&groups, &spare);
                self.warn_of_proc(reach);
            }
            Action::ArmDeadMan(deadline) => self.arm_dead_man(deadline),
            Action::SuspendSelf => process::suspend(),
            Action::GiveTerminal => self.give_terminal(),
            Action::TakeTerminal => self.take_terminal(),
            Action::TellHolders => self.tell_holders(),
            Action::SetReady(ready) => self.set_ready(ready, now),
            Action::FollowMain(pid) => self.follow_main(pid),
            Action::StartApp
            | Action::Look
            | Action::SeekListeners
            | Action::StartHook { .. }
            | Action::Record(_)
            | Action::Exit { .. } => {}
        }
    }

    // ---- signals ------------------------------------------------------------------------------

    fn signal_app(&mut self, signal: Signal, target: Target, value: Option<usize>) {
        let result = self.send_to_app(signal, target, value);
        self.report("the app", signal, result);
    }

    fn send_to_app(
        &mut self,
        signal: Signal,
        target: Target,
        value: Option<usize>,
    ) -> io::Result<()> {
        let Some(app) = self.table.pid(Role::App) else {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        };
        let to_app = || match value {
            Some(value) => signals::queue(app, signal, value),
            None => signals::send(app, signal),
        };
        match target {
            Target::App => to_app(),
            Target::Group => {
                // One that was merely passed on has been heard as well.
                if signal == self.config.plan.leftover_signal() {
                    self.group_told = Some(clock::boot_ticks());
                }
                match signals::send_group(self.group.unwrap_or(app), signal) {
                    // It has left its group (setpgid), and nobody else is in it.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => to_app(),
                    result => result,
                }
            }
            Target::Tree => match tree::descendants(&self.helpers()) {
                Some(found) => {
                    // Those who have gone need not be remembered.
                    let there: BTreeSet<Pid> = found.iter().map(|process| process.pid).collect();
                    self.told.retain(|(told, _)| there.contains(told));
                    self.signal_each(&found, signal);
                    Ok(())
                }
                None => {
                    self.warn_of_proc(Reach::WithoutProc);
                    signals::send_group(self.group.unwrap_or(app), signal)
                }
            },
        }
    }

    fn signal_each(&mut self, found: &[Process], signal: Signal) {
        for process in found {
            let result = tree::signal_found(process, signal);
            self.told.insert((process.pid, signal));
            match result {
                // Gone meanwhile: as good as told.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => self.report(&format!("process {}", process.pid), signal, result),
            }
        }
    }

    fn report(&self, whom: &str, signal: Signal, result: io::Result<()>) {
        if let Err(error) = result {
            journal::trouble(format!("unable to send {signal} to {whom}: {error}; going on"));
        }
    }

    /// Everything that is still there, but for the hooks and for those that were told before: a second
    /// TERM means "die now" to some.
    fn signal_leftovers(&mut self, signal: Signal, group_told: bool, is_first: bool) {
        let now = clock::boot_ticks();
        // As a rule nobody is left, and a look would be half of what the whole stop costs.
        if !reap::is_any_alive() {
            if is_first {
                self.first_look = now;
            }
            return;
        }
        // A look costs as much as the machine has processes (a second where there are ten thousand and
        // little processor). So further looks take a twentieth of the time at most, and none begins
        // that might not be over when the deadline comes.
        let begun = clock::now();
        let (next, cost) = self.next_look;
        if !is_first && (begun < next || self.deadline < begun.after(cost * 2)) {
            return;
        }
        let Some(found) = tree::descendants(&self.helpers()) else {
            return self.signal_leftovers_unseen(signal, group_told, is_first);
        };
        let ended = clock::now();
        let cost = ended.since(begun);
        self.next_look = (ended.after(cost * 20), cost);
        // A further look is for those that the first one missed (a parent that ended while it was
        // going on hides its children). What was started since then is how a helper puts its house
        // in order, and must not be cut off.
        if is_first {
            self.first_look = now;
        }
        let newcomer = |process: &Process| !is_first && process.started >= self.first_look;
        let group = self.app_group();
        let told = |process: &Process| {
            // One that was started after the group was told has not heard of it.
            let heard = Some(process.started) <= self.group_told;
            let with_group = Some(process.group) == group && heard;
            with_group || self.told.contains(&(process.pid, signal))
        };
        let news: Vec<Process> =
            found.into_iter().filter(|process| !newcomer(process) && !told(process)).collect();
        if news.is_empty() {
            return;
        }
        journal::met(&Met::LeftoversAsked { signal, processes: news.len() });
        self.signal_each(&news, signal);
        // One that is stopped could not act on it.
        self.signal_each(&news, Signal::CONT);
    }

    /// Without /proc nobody can be told from another, so all are told, and only once.
    fn signal_leftovers_unseen(&mut self, signal: Signal, group_told: bool, is_first: bool) {
        self.warn_of_proc(Reach::WithoutProc);
        if !is_first {
            return;
        }
        for signal in [signal, Signal::CONT] {
            if process::is_first() {
                // ESRCH: nobody is there.
                let _ = signals::send_all(signal);
            } else if let Some(group) = self.app_group().filter(|_| !group_told) {
                tree::signal_groups(&[group], signal);
            }
        }
    }

    fn warn_of_proc(&mut self, reach: Reach) {
        if reach == Reach::WithoutProc && !self.warned_of_proc {
            self.warned_of_proc = true;
            journal::trouble(
                "unable to read the process tree: /proc is missing or belongs to another pid \
                 namespace; signalling only what is known without it",
            );
        }
    }

    // ---- terminal and timer -------------------------------------------------------------------

    /// Whether graceinit's own group is in the foreground.
    pub fn terminal_is_ours(&self) -> bool {
        self.terminal.as_ref().is_some_and(Terminal::is_ours)
    }

    /// Whether the terminal's foreground is our own group (`true`) or the app's; `None`: neither, as
    /// for a job in the background.
    pub fn front(&self) -> Option<bool> {
        let foreground = self.terminal.as_ref().and_then(Terminal::foreground);
        match self.terminal_is_ours() {
            true => Some(true),
            false => foreground.filter(|group| Some(*group) == self.app_group()).map(|_| false),
        }
    }

    fn give_terminal(&self) {
        let (Some(terminal), Some(group)) = (&self.terminal, self.app_group()) else { return };
        // A group of another session cannot have it.
        if !self.config.plan.session && self.terminal_is_ours() {
            if let Err(error) = terminal.set_foreground(group) {
                log::debug!("unable to give the app the terminal: {error}");
            }
        }
    }

    fn take_terminal(&self) {
        let (Some(terminal), Some(group)) = (&self.terminal, self.app_group()) else { return };
        // The app may have moved the foreground on to a job of its own that has ended.
        let free = |foreground: Pid| foreground == group || !signals::group_exists(foreground);
        if terminal.foreground().is_some_and(free) {
            if let Err(error) = terminal.set_foreground(tty::own_group()) {
                log::debug!("unable to take the terminal back: {error}");
            }
        }
    }

    /// Makes now what a stop will need, while nobody waits for it. What fails is told when it is needed.
    pub fn foresee(&mut self) {
        if self.dead_man.is_none() {
            self.dead_man = DeadMan::new().ok();
        }
    }

    fn arm_dead_man(&mut self, deadline: Time) {
        self.deadline = deadline;
        if self.dead_man.is_none() {
            match DeadMan::new() {
                Ok(dead_man) => self.dead_man = Some(dead_man),
                Err(error) => {
                    journal::trouble(format!(
                        "unable to set the dead-man timer: {error}; going on without it"
                    ));
                }
            }
        }
        if let Some(dead_man) = &mut self.dead_man {
            dead_man.arm(deadline);
        }
    }

    /// Says why the app was not executed, and what to do.
    pub fn explain_app(&self, failure: Failure) -> String {
        explain(self.program, failure, self.user())
    }
}

fn explain(program: &Program, failure: Failure, user: Option<(u32, u32, &[u32])>) -> String {
    let reason = reason(failure.errno);
    let name = program.name().to_string_lossy();
    match failure.step {
        Step::User => {
            let (uid, gid, _) = user.unwrap_or((0, 0, &[]));
            format!(
                "unable to become user {uid} and group {gid}: {reason}; start graceinit as root, or \
                 leave --user out"
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

/// The kernel's reason without the number that std adds.
fn reason(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_owned()
}
