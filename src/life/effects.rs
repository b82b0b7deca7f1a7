//! Performs the machine's actions. What cannot be done is logged, and life goes on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::app::{self, App};
use super::asking::{Around, Asking};
use super::background_write::BackgroundWrite;
use super::children::{Children, Role};
use super::deaths::Deaths;
use super::deputy::{Deputy, is_refused};
use super::drain::Drain;
use super::files::Files;
use super::hooks::attempts::{self, Attempts};
use super::hooks::builtin::Given;
use super::hooks::environment::Moment;
use super::notify_app::AppNotify;
use super::ready_file::ReadyFile;
use super::service_manager::ServiceManager;
use super::survivors::Survivors;
use super::terminal::JobControl;
use crate::account::incident::Incident;
use crate::account::live::Live;
use crate::account::waiting::Awaited;
use crate::account::{journal, plan_names};
use crate::config::Config;
use crate::config::hooks::{Builtin, Task};
use crate::config::user::User;
use crate::machine::hooks::{HookId, HookPhase};
use crate::machine::phase::PhaseName;
use crate::machine::plan::Scope;
use crate::machine::{Action, Event, Machine, Target};
use crate::notify::{Family, Message};
use crate::observer::{Observer, Snapshot};
use crate::sys::deadman::{DeadMan, rescue};
use crate::sys::deputy::To;
use crate::sys::notify as socket;
use crate::sys::{fd, process, proctree, sharing, signals, stderr, tree, tty};
use crate::types::{Pid, Signal, Time};

/// How graceinit ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leave {
    /// Its exit code.
    pub code: u8,
    /// The signal to die of instead, so that the shell that waits for graceinit learns of the Ctrl-C.
    pub by: Option<Signal>,
}

/// Everything that actions need, each object with what belongs together.
pub struct Effects {
    pub(super) config: Box<Config>,
    pub(super) app: App,
    pub(super) children: Children,
    pub(super) attempts: Attempts,
    pub(super) asking: Asking,
    pub(super) deputy: Deputy,
    pub(super) survivors: Survivors,
    pub(super) deaths: Deaths,
    pub(super) terminal: JobControl,
    /// The line at the terminal.
    pub(super) live: Option<Live>,
    pub(super) ready_file: Option<ReadyFile>,
    pub(super) notify: AppNotify,
    pub(super) manager: ServiceManager,
    pub(super) drain: Drain,
    pub(super) dead_man: DeadManTimer,
    pub(super) observer: Observer,
    /// What the observer was told last.
    pub(super) published: Option<(bool, PhaseName)>,
    /// The app accepts work, as the observer was told last.
    pub(super) serving: bool,
    /// The conditions that the account was told last: a bit for each, and whether the app has to listen.
    pub(super) awaited: (u64, bool),
    pub(super) files: Files,
    /// Closes the descriptors that graceinit has inherited.
    pub(super) closing: BackgroundWrite,
    /// Set by [`Action::Exit`]: the loop ends.
    pub(super) leave: Option<Leave>,
}

/// The timer that ends graceinit if the loop is stuck, and the time it is set to.
#[derive(Debug, Default)]
pub struct DeadManTimer {
    timer: Option<DeadMan>,
}

impl DeadManTimer {
    /// Makes the timer, while nothing waits for it. A failure is logged when the timer is needed.
    pub fn prepare(&mut self) {
        if self.timer.is_none() {
            self.timer = DeadMan::new().ok();
        }
    }

    /// A round of the loop begins, in which something may hang.
    pub fn watch_round(&self, now: Time) {
        if let Some(timer) = &self.timer {
            timer.round_begins(now);
        }
    }

    fn arm(&mut self, end: Time) {
        if self.timer.is_none() {
            match DeadMan::new() {
                Ok(timer) => self.timer = Some(timer),
                Err(error) => journal::warn(format!(
                    "unable to set the dead-man timer: {error}; going on without it"
                )),
            }
        }
        if let Some(timer) = &mut self.timer {
            timer.arm(end);
        }
    }
}

impl Effects {
    /// Performs one action; the event that follows from it at once, if any. `signals` is the descriptor that the
    /// loop reads signals from.
    pub fn perform(
        &mut self,
        action: Action,
        now: Time,
        machine: &Machine,
        signals: BorrowedFd<'_>,
    ) -> Option<Event> {
        match action {
            Action::Record(fact) => journal::record(&fact),
            Action::StartApp => return self.start_app(signals),
            Action::SignalApp { signal, target, value, stop } => {
                if signal == Signal::KILL {
                    self.deaths.kills_all();
                } else if !stop && !machine.is_diagnosing(signal) {
                    self.deaths.forwards(signal, now);
                }
                let result = match target {
                    Target::Auto => self.ask_main(now, signal),
                    target => self.signal_app(signal, target, value),
                };
                if stop {
                    rescue::asked();
                }
                if !(is_refused(&result) && self.deputize(signal, target, value)) {
                    app::warn_unsent("the app", signal, result);
                }
            }
            Action::StartHook { id, budget_end, kill_at } => {
                let kill_at = budget_end.map_or(kill_at, |end| end.min(kill_at));
                return self.start_hook(id, (budget_end, kill_at), now, machine);
            }
            Action::StopHook { id, signal } => self.signal_hook(id, signal),
            Action::KillHook(id) => {
                // Otherwise its answer has no use any more.
                if id.phase == HookPhase::Ready && machine.is_waiting() {
                    attempts::probe_timed_out(id, machine.plan().probe_timeout);
                }
                self.signal_hook(id, Signal::KILL);
            }
            Action::SetReady(ready) => {
                if let Some(file) = &mut self.ready_file {
                    file.set(ready);
                }
                self.manager.set_ready(ready, now);
            }
            Action::FollowMain(pid) => self.follow_main(pid),
            Action::TellMoreTime(span) => self.manager.send(now, &Message::MoreTime(span)),
            Action::SeekListeners => {
                let own = self.own_processes();
                let missing = self.drain.missing(&self.config, &own);
                if let Some(answer) = &missing {
                    journal::answered(Awaited::Ports, answer);
                }
                return Some(Event::Listening(missing.is_none()));
            }
            Action::TellHolders { missing } => self.drain.tell_holders(missing),
            Action::TakeSample => {
                let own = self.own_processes();
                let moment = machine.drain_moment(now);
                return Some(Event::Sampled(self.drain.sample(&self.config, now, moment, &own)));
            }
            Action::SignalLeftovers { signal, first, group_asked: _ } => {
                // Further rounds are the business of `asking`, which knows when the tree has to be read again.
                if signal == Signal::KILL {
                    self.deaths.kills_all();
                }
                if first {
                    self.ask_leftovers(now, signal, machine);
                }
            }
            Action::RecordSurvivors => {
                // The end of the budget is near, and must not find graceinit waiting for a processor.
                process::hurry(None);
                let helpers: Vec<Pid> = self.helpers().collect();
                self.survivors.record(&helpers, &mut self.children);
            }
            Action::ReportSurvivors => {
                let wanted = machine.plan().budget().is_some_and(|budget| !budget.is_zero());
                self.survivors.report(wanted);
                let killed = self.children.pid(Role::App).is_some();
                if let Some(hint) = self.config.hint.as_ref().filter(|_| killed) {
                    journal::warn(hint.as_str());
                }
            }
            Action::PrepareReport => self.files.prepare_last_report(),
            Action::KillTree => {
                self.deaths.kills_all();
                self.asking.stop();
                self.kill_tree();
            }
            Action::ArmDeadMan(end) => {
                self.asking.set_end(end);
                rescue::stop_begun(end);
                self.dead_man.arm(end);
            }
            Action::SuspendSelf => tty::suspend(),
            Action::GiveTerminal => self.terminal.give(self.app.group()),
            Action::TakeTerminal => self.terminal.take(self.app.group()),
            Action::Exit { code, by } => {
                if let Some(live) = &mut self.live {
                    live.clear();
                }
                // Only at a terminal does the parent look at more than the code.
                let by = by.filter(|_| self.terminal.exists());
                self.leave = Some(Leave { code, by });
            }
        }
        None
    }

    // ---- the app ------------------------------------------------------------------------------

    fn start_app(&mut self, signals: BorrowedFd<'_>) -> Option<Event> {
        let Effects { config, terminal, notify, children, .. } = self;
        let started = self.app.start(config, terminal, notify.variable(), children);
        if let Err(why) = started {
            journal::incident(&Incident::NotExecuted { why });
            return Some(Event::AppNotExecuted(self.config.plan.exit.codes.own));
        }
        // They are the app's now: if graceinit kept the end of a pipe open, its reader would never see the end.
        let mut closing = std::mem::take(&mut self.closing);
        let keep: Vec<BorrowedFd<'_>> = std::iter::once(signals).chain(self.all_fds()).collect();
        let hanging = sharing::close_others(&keep);
        if !hanging.is_empty() && closing.close(hanging).is_err() {
            // A limit of processes is reached. That a file system hangs as well is less likely.
            fd::close_inherited(&keep);
        }
        self.closing = closing;
        if self.app.is_found_anywhere() {
            // Before execve: a mount that is to be unmounted is not kept busy.
            App::leave_directory(&self.config);
        }
        None
    }

    pub(super) fn signal_app(
        &mut self,
        signal: Signal,
        target: Target,
        value: Option<usize>,
    ) -> io::Result<()> {
        let Some(pid) = self.children.pid(Role::App) else {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        };
        let group = self.app.group().unwrap_or(pid);
        match target {
            // The stop signal of `--scope auto` goes through `asking`; all else is for the app alone.
            Target::App | Target::Auto => {
                // The default action of this signal is to ignore it. From a shell that does (apache2ctl, with
                // `STOPSIGNAL SIGWINCH`) it is handed down, as a stop signal is that a shell ignores.
                let auto = self.config.plan.scope == Scope::Auto && signal == Signal::WINCH;
                let caught =
                    || proctree::handling(pid).map(|handling| handling.caught.contains(signal));
                if auto && caught() == Some(false) {
                    return self.signal_app(signal, Target::Group, value);
                }
                self.app.send(&self.children, signal, value)
            }
            Target::Group => {
                // A forwarded signal has been received as well.
                if signal == self.config.plan.leftover_signal() {
                    self.asking.leftovers.group_is_asked();
                }
                self.signal_group(pid, group, signal, value)
            }
            Target::Tree => {
                let own = self.own_processes();
                if self.asking.leftovers.signal_tree(signal, &own) {
                    return Ok(());
                }
                self.signal_group(pid, group, signal, value)
            }
        }
    }

    /// Signals the app's group, and the app apart if it has left that group (setpgid).
    fn signal_group(
        &self,
        pid: Pid,
        group: Pid,
        signal: Signal,
        value: Option<usize>,
    ) -> io::Result<()> {
        let sent = signals::send_group(group, signal);
        match process::group_of(pid) {
            // The app makes its group or session itself, a moment after the fork: perhaps between the signal, which met
            // no group then, and the look.
            Some(own) if own == group && sent.is_err() => signals::send_group(group, signal),
            Some(own) if own == group => sent,
            Some(_) | None => self.app.send(&self.children, signal, value),
        }
    }

    /// Has a signal to the app sent by a child that becomes the app's user.
    fn deputize(&mut self, signal: Signal, target: Target, value: Option<usize>) -> bool {
        let Some(pid) = self.children.pid(Role::App) else { return false };
        let group = self.app.group().unwrap_or(pid);
        let is_apart = process::group_of(pid) != Some(group);
        let whom: &[To] = match target {
            Target::App | Target::Auto => &[To::Child(pid)],
            Target::Group | Target::Tree if is_apart => &[To::Group(group), To::Child(pid)],
            Target::Group | Target::Tree => &[To::Group(group)],
        };
        whom.iter().all(|to| self.deputy.take(&self.config, *to, signal, value))
    }

    /// Starts a child for the signals that graceinit may not send itself, if there are any.
    pub(super) fn send_refused(&mut self) {
        let refused = self.asking.refused.drain(..).chain(self.asking.leftovers.refused.drain(..));
        for (process, signal) in refused {
            if !self.deputy.take(&self.config, To::Found(process), signal, None) {
                let error = io::Error::from_raw_os_error(libc::EPERM);
                app::warn_unsent(format!("process {}", process.pid), signal, Err(error));
            }
        }
        if self.deputy.has_work() {
            let spare: Vec<Pid> = self.helpers().collect();
            self.deputy.send(&spare, &mut self.children);
        }
    }

    fn ask_main(&mut self, now: Time, signal: Signal) -> io::Result<()> {
        let Some(main) = self.children.pid(Role::App) else {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        };
        let own = self.own_processes();
        let around = Around { own: &own, group: self.app.group() };
        self.asking.ask_main(now, signal, main, around)
    }

    fn ask_leftovers(&mut self, now: Time, signal: Signal, machine: &Machine) {
        if machine.phase().name() == PhaseName::PostStop {
            // These were left behind by hooks, and nothing was asked of them.
            self.asking.stop();
        }
        let own = self.own_processes();
        let around = Around { own: &own, group: self.app.group() };
        let patience = machine.plan().scope != Scope::Main;
        self.asking.ask_leftovers(now, signal, patience, around);
    }

    /// Asks the processes whose turn it is.
    pub(super) fn ask_due(&mut self, now: Time, machine: &Machine) {
        if !self.asking.is_due(now) {
            return;
        }
        let own = self.own_processes();
        let around = Around { own: &own, group: self.app.group() };
        self.asking.look(now, machine.ending().is_none(), around);
    }

    /// `MAINPID=`: this process is the app when the present one ends.
    fn follow_main(&mut self, pid: Pid) {
        let own = self.own_processes();
        if socket::may_be_main(&self.speaker(&own), pid) {
            self.app.set_successor(pid);
        } else {
            journal::incident(&Incident::ForeignMain { pid });
        }
    }

    /// The processes that may send messages for the app.
    pub(super) fn speaker<'a>(&self, own: &'a [Pid]) -> Family<'a> {
        let own_uid = process::own_uid();
        Family {
            own: process::own_pid(),
            app: self.children.pid(Role::App),
            helpers: own,
            own_uid,
            app_uid: self.config.user.as_ref().map_or(own_uid, |user| User::ids(user).0),
        }
    }

    // ---- hooks --------------------------------------------------------------------------------

    fn start_hook(
        &mut self,
        id: HookId,
        (end, kill_at): (Option<Time>, Time),
        now: Time,
        machine: &Machine,
    ) -> Option<Event> {
        let variables = Moment { machine, id, end, now, app: self.app.pid() }.variables();
        let started = attempts::find(&self.config, id).and_then(|hook| {
            // graceinit itself sends the signal of `signal:`: only it knows that the pid is still the app's.
            let signalled = match &hook.task {
                Task::Builtin(Builtin::Signal(signal)) => {
                    if *signal == Signal::KILL {
                        self.deaths.kills_all();
                    }
                    self.signal_app(*signal, machine.scope_target(), None)
                }
                Task::Builtin(_) | Task::Command(_) => Ok(()),
            };
            let Effects { config, children, attempts, .. } = self;
            let given = Given { signalled, kill_at };
            attempts.start(config, id, &hook, variables, &given, children)
        });
        let error = started.err()?;
        if id.phase == HookPhase::Ready {
            let awaited = Awaited::Condition(id.index);
            journal::answered(awaited, &format!("unable to start the probe: {error}"));
        }
        let hint = app::limit_hint(&error);
        journal::warn(format!("unable to start the hook {}: {error}{hint}", plan_names::hook(id)));
        Some(Event::HookNotStarted(id))
    }

    fn signal_hook(&mut self, id: HookId, signal: Signal) {
        if let Some(pid) = self.children.pid(Role::Hook(id)) {
            if signal == Signal::KILL {
                self.deaths.kills_group(pid);
            }
            let result = signals::send_group(pid, signal);
            let refused = is_refused(&result);
            if !(refused && self.deputy.take(&self.config, To::Group(pid), signal, None)) {
                app::warn_unsent("a hook", signal, result);
            }
        }
    }

    // ---- the tree -----------------------------------------------------------------------------

    fn kill_tree(&mut self) {
        let groups: Vec<Pid> =
            self.app.group().into_iter().chain(self.children.except_app()).collect();
        let spare: Vec<Pid> = self.helpers().collect();
        if let Some(app) = self.children.pid(Role::App) {
            // A killed process has to run once more to die.
            process::hurry(Some(app));
            if !process::is_first() {
                // It may have left its group, and without /proc nothing else reaches it.
                let _ = signals::send(app, Signal::KILL);
            }
        }
        let killed = tree::kill_everything(&groups, &spare);
        let deputized = self.deputy.kill_everything(&self.config, &self.children);
        match killed {
            Ok(reach) => self.asking.leftovers.warn_of_proc(reach),
            Err(_) if deputized => {}
            Err(error) => self.asking.leftovers.warn_of_kill(error),
        }
        self.send_refused();
    }

    /// The helpers: children that are no part of the tree. A signal to all processes spares them.
    fn helpers(&self) -> impl Iterator<Item = Pid> + '_ {
        let ready_file = self.ready_file.as_ref().and_then(ReadyFile::pid);
        let helpers = self.observer.pid().into_iter().chain(stderr::helper());
        helpers
            .chain(self.files.pids())
            .chain(self.notify.pids())
            .chain(self.closing.pid())
            .chain(self.asking.helper())
            .chain(ready_file)
    }

    /// Every process that graceinit has started but the app.
    pub(super) fn own_processes(&self) -> Vec<Pid> {
        self.children.except_app().chain(self.helpers()).collect()
    }

    // ---- the observer -------------------------------------------------------------------------

    /// Publishes phase and readiness to the observer. The loop does this before it performs the actions of an event:
    /// after a stop request no traffic may be routed to the app.
    pub fn publish(&mut self, machine: &Machine) {
        if let Some(missing) = machine.missing().filter(|missing| *missing != self.awaited) {
            self.awaited = missing;
            journal::awaits(missing.0, missing.1);
        }
        let (ready, name) = (machine.ready(), machine.phase().name());
        let serving = ready || self.serving && machine.may_serve();
        if self.published == Some((ready, name)) {
            return;
        }
        self.published = Some((ready, name));
        self.serving = serving;
        self.drain.close_if_unused(machine);
        self.observer.publish(&Snapshot {
            ready,
            serving,
            live: true,
            stopping: name >= PhaseName::PreStop,
            phase: match name {
                // The app has sent STOPPING=1.
                PhaseName::Ready if !ready => "ending".into(),
                name => name.as_str().into(),
            },
        });
    }

    // ---- descriptors --------------------------------------------------------------------------

    /// The descriptors that children and the app write to.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.app
            .fds()
            .chain(self.attempts.pipes())
            .chain(self.survivors.fd())
            .chain(self.asking.fd())
            .chain(self.notify.fds())
            .chain(self.closing.fd())
    }

    /// Every descriptor of graceinit but those of the loop.
    fn all_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes()
            .chain(self.terminal.fd())
            .chain(self.attempts.exec_status_fds())
            .chain(self.observer.owned())
            .chain(self.files.owned())
            .chain(self.notify.owned())
            .chain(self.closing.owned())
            .chain(stderr::own())
            .chain(self.ready_file.as_ref().and_then(ReadyFile::owned))
            .chain(self.manager.socket().map(AsFd::as_fd))
    }

    /// When one of the objects has work without any event.
    pub(super) fn next_wakeup(&self) -> Option<Time> {
        let live = self.live.as_ref().and_then(Live::due);
        let asking = self.asking.next_wakeup();
        let ready_file = self.ready_file.as_ref().and_then(ReadyFile::due);
        let (observer, manager) = (self.observer.due(), self.manager.next_wakeup());
        let (files, closing) = (self.files.due(), self.closing.due());
        let dues = [observer, manager, files, self.notify.due(), live, asking, ready_file, closing];
        dues.into_iter().flatten().min()
    }
}
