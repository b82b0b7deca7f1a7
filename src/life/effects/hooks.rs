//! The children besides the app: attempts of hooks, and the look at who is still there.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{Hands, explain};
use crate::account::{journal, names};
use crate::config::hooks::{self, Builtin, Hook};
use crate::config::source::Source;
use crate::config::user::User;
use crate::config::{self, When};
use crate::life::children::Role;
use crate::life::hooks::builtin;
use crate::life::hooks::environment::Moment;
use crate::life::survivors::{self, Records};
use crate::machine::fact::Fact;
use crate::machine::hooks::{HookId, HookPhase};
use crate::machine::{Event, Machine};
use crate::sys::launch::spawn::{self, Failure, Program, Setup, Signals, Started, Task};
use crate::sys::tree::Reach;
use crate::sys::{fd, signals};
use crate::types::{Pid, Status, Time};

impl Hands {
    fn hook(&self, id: HookId) -> io::Result<Hook> {
        if id.phase == HookPhase::Ready {
            return self.probe(id);
        }
        let hook = self.config.hooks.of(id.phase).get(id.index).cloned();
        hook.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    }

    /// A look whether the app is ready is run as a hook without a name of its own.
    fn probe(&self, id: HookId) -> io::Result<Hook> {
        let ready = self.config.ready.get(id.index);
        let probe = ready.and_then(|ready| match &ready.when {
            When::Probe(task) => Some((ready.text.clone(), task.clone())),
            When::Notify | When::Fd(_) | When::Signal(_) | When::After(_) => None,
        });
        let (text, task) = probe.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let source = Source::Default("");
        Ok(Hook { name: text.clone(), task, env: Vec::new(), user: None, source, text })
    }

    /// Starts an attempt.
    ///
    /// # Errors
    /// The event that it could not be started.
    pub fn start_hook(
        &mut self,
        machine: &Machine,
        id: HookId,
        end: Option<Time>,
        now: Time,
    ) -> Result<(), Event> {
        let moment = Moment { machine, id, end, now, app: self.app };
        let variables = moment.variables();
        let started = self.hook(id).and_then(|hook| self.try_hook(id, &hook, variables, machine));
        started.map_err(|error| {
            journal::warn(format!("unable to start the hook {}: {error}", names::hook(id)));
            Event::HookNotStarted(id)
        })
    }

    fn try_hook(
        &mut self,
        id: HookId,
        hook: &Hook,
        variables: Vec<CString>,
        machine: &Machine,
    ) -> io::Result<()> {
        match &hook.task {
            hooks::Task::Command(words) => {
                // Words with NUL bytes are refused with the rest of the configuration.
                let program =
                    Program::new(words).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
                self.fork_hook(id, hook, variables, Task::Program(&program))
            }
            hooks::Task::Builtin(action) => {
                let signalled = match action {
                    Builtin::Signal(signal) => {
                        self.send_to_app(*signal, machine.scope_target(), None)
                    }
                    _ => Ok(()),
                };
                let call = || builtin::run(action, &signalled);
                self.fork_hook(id, hook, variables, Task::Call(&call))
            }
        }
    }

    fn fork_hook(
        &mut self,
        id: HookId,
        hook: &Hook,
        mut variables: Vec<CString>,
        task: Task<'_>,
    ) -> io::Result<()> {
        variables.extend(hook.env.iter().cloned());
        let stdin: OwnedFd = fd::empty_input()?;
        let (stdout, out) = fd::pipe()?;
        let (stderr, err) = fd::pipe()?;
        let user = hook.user.as_ref().map(User::ids);
        let setup = Setup {
            // A hook has to work whatever state of signals graceinit was started in.
            signals: Signals::Clean,
            user: user.or(self.user()),
            session: false,
            terminal: None,
            stdio: Some([stdin.as_fd(), out.as_fd(), err.as_fd()]),
            variables: &variables,
            without: &config::HOOK_VARIABLES,
            extra: None,
        };
        let child = spawn::spawn(task, &setup)?;
        self.children.add(child.pid, Role::Hook(id));
        self.reports.push((id, child.report));
        self.outputs.add(id, false, stdout);
        self.outputs.add(id, true, stderr);
        Ok(())
    }

    /// The process of an attempt was reaped. Why it was not executed, if it was not.
    pub fn hook_ended(&mut self, id: HookId) -> Option<Failure> {
        self.outputs.drain(id);
        let place = self.reports.iter().position(|(known, _)| *known == id)?;
        match self.reports.swap_remove(place).1.read() {
            Started::No(failure) => Some(failure),
            Started::Yes | Started::Pending => None,
        }
    }

    /// Says why a hook was not executed.
    pub fn explain_hook(&self, id: HookId, failure: Failure) {
        let Ok(hook) = self.hook(id) else { return };
        let words = match &hook.task {
            hooks::Task::Command(words) => words.clone(),
            hooks::Task::Builtin(_) => vec![hook.text.clone().into()],
        };
        let user = hook.user.as_ref().map(User::ids);
        if let Ok(program) = Program::new(&words) {
            let why = explain(&program, failure, user.or(self.user()));
            let kind = if id.phase == HookPhase::Ready { "probe" } else { "hook" };
            let text = format!("{kind} {}: {why}", names::hook(id));
            // A probe is tried again and again.
            match kind == "probe" && id.attempt > 1 {
                true => log::debug!("{text}"),
                false => journal::warn(text),
            }
        }
    }

    // ---- survivors ----------------------------------------------------------------------------

    /// Starts a look at who is still there.
    pub(super) fn survey(&mut self) {
        if self.children.pid(Role::SurvivorScan).is_some() {
            return;
        }
        let aside: Vec<Pid> = self.opened.aside().collect();
        let run = || survivors::run(&aside);
        let begun = fd::empty_input().and_then(|stdin| {
            let (records, out) = fd::pipe()?;
            // It has nothing to say on stderr; what it may say goes where the records go.
            let stdio = Some([stdin.as_fd(), out.as_fd(), out.as_fd()]);
            let setup = Setup { stdio, ..Setup::CLEAN };
            Ok((spawn::spawn(Task::Call(&run), &setup)?, records))
        });
        match begun {
            Ok((child, records)) => {
                self.children.add(child.pid, Role::SurvivorScan);
                self.records = Some(Records::new(records));
            }
            Err(error) => {
                journal::warn(format!("unable to look who is still there: {error}; going on"));
            }
        }
    }

    /// Takes what the survey has brought meanwhile.
    pub fn read_records(&mut self) {
        if let Some(records) = &mut self.records {
            records.read();
        }
    }

    /// The look is over.
    pub fn surveyed(&mut self, status: Status) {
        self.read_records();
        if status == Status::Code(survivors::NO_PROC) {
            self.records = None;
            self.warn_of_proc(Reach::WithoutProc);
        }
    }

    /// Reports the processes that are about to be killed, as far as they were recorded. A process that has ended
    /// since then is no survivor.
    pub fn report_survivors(&mut self) {
        let Some(mut records) = self.records.take() else { return };
        records.read();
        let (survivors, more) = records.survivors();
        if survivors.is_empty() && !records.complete() {
            return journal::record(&Fact::NotSurveyed);
        }
        for survivor in survivors.into_iter().filter(|survivor| signals::exists(survivor.pid)) {
            journal::record(&Fact::StillThere(Box::new(survivor)));
        }
        if more > 0 {
            journal::record(&Fact::MoreStillThere(more));
        }
    }
}
