//! The processes of attempts: how they are started, and what is known of them when they have ended.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::builtin;
use super::output::Outputs;
use crate::account::waiting::{self, Awaited};
use crate::account::{journal, plan_names};
use crate::cli::OptionId;
use crate::config::hooks::{self, Hook};
use crate::config::source::Source;
use crate::config::user::User;
use crate::config::{self, Config, When};
use crate::life::app;
use crate::life::children::{Children, Role};
use crate::machine::hooks::{HookId, HookPhase};
use crate::sys::fd;
use crate::sys::launch::spawn::{
    self, ExecStatus, Failure, Program, Setup, Signals, Started, Task,
};
use crate::types::Status;

/// The attempts whose processes were not reaped, and what hooks have printed.
#[derive(Debug, Default)]
pub struct Attempts {
    outputs: Outputs,
    /// How the execve of each went.
    exec_statuses: Vec<(HookId, ExecStatus)>,
}

/// The hook of an attempt.
///
/// # Errors
/// The configuration has none: EINVAL.
pub fn find(config: &Config, id: HookId) -> io::Result<Hook> {
    let hook = match id.phase {
        HookPhase::Ready => probe(config, id),
        HookPhase::Drained => look(config, id),
        _ => config.hooks.of(id.phase).get(id.index).cloned(),
    };
    hook.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// A probe of readiness is run as a hook without a name of its own.
fn probe(config: &Config, id: HookId) -> Option<Hook> {
    let ready = config.ready.get(id.index)?;
    let When::Probe(task) = &ready.when else { return None };
    Some(check(&ready.text, task))
}

/// The same for a look of `--drained`.
fn look(config: &Config, id: HookId) -> Option<Hook> {
    config.drained.get(id.index).map(|drained| check(&drained.text, &drained.task))
}

fn check(text: &str, task: &hooks::Task) -> Hook {
    let (name, text) = (text.to_owned(), text.to_owned());
    let source = Source::Default("");
    Hook { name, task: task.clone(), env: Vec::new(), user: None, source, text }
}

fn user<'a>(config: &'a Config, hook: &'a Hook) -> Option<(u32, u32, &'a [u32])> {
    hook.user.as_ref().or(config.user.as_ref()).map(User::ids)
}

impl Attempts {
    /// The pipes that hooks write to.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.outputs.fds()
    }

    /// The pipes that tell how each execve went, and the ends that the next runs of hooks get.
    pub fn exec_status_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let statuses = self.exec_statuses.iter().map(|(_, status)| status.as_fd());
        statuses.chain(self.outputs.writers())
    }

    /// Logs what hooks have printed.
    pub fn read_outputs(&mut self) {
        self.outputs.read();
    }

    /// Starts an attempt. `given`: what a built-in action needs of PID 1.
    ///
    /// # Errors
    /// No process or no descriptor is left.
    pub fn start(
        &mut self,
        config: &Config,
        id: HookId,
        hook: &Hook,
        variables: Vec<CString>,
        given: &builtin::Given,
        children: &mut Children,
    ) -> io::Result<()> {
        match &hook.task {
            hooks::Task::Command(words) => {
                // Words with NUL bytes are refused with the rest of the configuration.
                let program =
                    Program::new(words).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
                let task = Task::Program(&program);
                self.fork(config, id, hook, variables, task, children)
            }
            hooks::Task::Builtin(action) => {
                let call = || match id.phase {
                    HookPhase::Ready | HookPhase::Drained => builtin::probe(action),
                    _ => builtin::run(action, given),
                };
                self.fork(config, id, hook, variables, Task::Call(&call), children)
            }
        }
    }

    fn fork(
        &mut self,
        config: &Config,
        id: HookId,
        hook: &Hook,
        mut variables: Vec<CString>,
        task: Task<'_>,
        children: &mut Children,
    ) -> io::Result<()> {
        variables.extend(hook.env.iter().cloned());
        let stdin: OwnedFd = fd::empty_input()?;
        let out = self.outputs.open(id, false)?;
        let err = self.outputs.open(id, true).inspect_err(|_| self.outputs.not_started(id))?;
        let setup = Setup {
            // A hook has to work whatever signals graceinit was started with.
            signals: Signals::Clean,
            user: user(config, hook),
            session: false,
            terminal: None,
            stdio: Some([stdin.as_fd(), out.as_fd(), err.as_fd()]),
            variables: &variables,
            without: &config::HOOK_VARIABLES,
            extra: None,
        };
        let child = spawn::spawn(task, &setup).inspect_err(|_| self.outputs.not_started(id))?;
        children.add(child.pid, Role::Hook(id));
        self.exec_statuses.push((id, child.report));
        Ok(())
    }

    /// The process of an attempt was reaped: logs its last lines. Returns why it was not executed, if it was not, and
    /// the last line of a check.
    pub fn ended(&mut self, id: HookId) -> (Option<Failure>, Option<String>) {
        let said = self.outputs.drain(id);
        let place = self.exec_statuses.iter().position(|(known, _)| *known == id);
        let started = place.map(|place| self.exec_statuses.swap_remove(place).1.read());
        match started {
            Some(Started::No(failure)) => (Some(failure), said),
            Some(Started::Yes | Started::Pending) | None => (None, said),
        }
    }
}

/// Logs why a hook was not executed, and returns the reason.
pub fn explain(config: &Config, id: HookId, failure: Failure) -> Option<String> {
    let hook = find(config, id).ok()?;
    let words = match &hook.task {
        hooks::Task::Command(words) => words.clone(),
        hooks::Task::Builtin(_) => vec![hook.text.clone().into()],
    };
    let program = Program::new(&words).ok()?;
    let source = match &hook.user {
        Some(_) => hook.source.clone(),
        None => config.source_of(OptionId::User),
    };
    let user = user(config, &hook).map(|ids| (ids, source));
    let why = app::explain(&program, failure, user);
    let text = match id.phase {
        HookPhase::Ready => format!("probe {}: {why}", plan_names::hook(id)),
        HookPhase::Drained => format!("--drained {}: {why}", hook.name),
        _ => format!("hook {}: {why}", plan_names::hook(id)),
    };
    // A check is repeated until it succeeds: one warning is enough.
    match id.phase.checks() && id.attempt > 1 {
        true => log::debug!("{text}"),
        false => journal::warn(text),
    }
    Some(why)
}

// ---- the answers of probes --------------------------------------------------------------------

/// The attempt of a probe has failed: what it said is the answer. `not_executed`: why its command was not.
pub fn probe_ended(config: &Config, id: HookId, status: Status, not_executed: Option<String>) {
    let answer = not_executed.unwrap_or_else(|| {
        let said = waiting::last_line(id);
        let When::Probe(task) = &config.ready[id.index].when else { return String::new() };
        match (task, status) {
            // A built-in probe prints the reason alone.
            (hooks::Task::Builtin(_), _) if said.is_some() => said.unwrap_or_default(),
            (_, Status::Code(code)) => with_last_line(format!("exit code {code}"), said),
            (_, Status::Signal(signal)) => with_last_line(format!("ended by {signal}"), said),
        }
    });
    journal::answered(Awaited::Condition(id.index), &answer);
}

/// The attempt of a probe is killed, because its time is over.
pub fn probe_timed_out(id: HookId, limit: Duration) {
    let answer = format!("no answer within {}", humantime::format_duration(limit));
    let answer = with_last_line(answer, waiting::last_line(id));
    journal::answered(Awaited::Condition(id.index), &answer);
}

fn with_last_line(answer: String, line: Option<String>) -> String {
    match line {
        Some(line) => format!("{answer}: {line}"),
        None => answer,
    }
}
