//! Children that have ended: the one place that reaps.

use super::children::Role;
use super::hooks::attempts;
use super::main_loop::Supervisor;
use crate::account::incident::{Incident, Kin};
use crate::account::journal;
use crate::machine::Event;
use crate::machine::hooks::{HookId, HookPhase};
use crate::machine::phase::PhaseName;
use crate::reaper::Finding;
use crate::sys::tree::Reach;
use crate::sys::{deadman, reap};
use crate::types::{Pid, Signal, SignalSet, Status, Time};

const KILLED: Status = Status::Signal(Signal::KILL);

fn record(kin: Kin, pid: Pid, status: Status) {
    journal::incident(&Incident::Reaped { kin, pid, status, warn: false });
}

impl Supervisor {
    /// Reaps every child that has ended. Returns whether no child is left.
    pub(super) fn exits(&mut self, now: Time) -> bool {
        let named: Vec<(Pid, bool)> = self
            .incoming()
            .iter()
            .filter(|incoming| incoming.signal == Signal::CHLD)
            .map(|incoming| (incoming.pid, incoming.killed))
            .collect();
        // The pid that a SIGCHLD names is asked for first: that costs the same however many children there are.
        for (pid, killed) in named.iter().copied().filter(|(pid, _)| pid.0 > 0) {
            if self.effects.children.role(pid).is_none() {
                self.orphan(pid, killed);
            }
        }
        if !named.is_empty() {
            self.reaper.ask();
            self.own_children(now);
            self.effects.observer.resume();
        } else if self.incoming().iter().any(|it| self.machine.asks_for_an_end(it.signal)) {
            // The kernel shows the app as stopped before it sends SIGCHLD (do_signal_stop in kernel/signal.c), and
            // a process that has seen the stop may have sent this signal since.
            self.own_children(now);
        }
        while let Some(finding) = self.reaper.next(now) {
            match finding {
                Finding::Ended(pid) if self.effects.children.role(pid).is_some() => {
                    self.own_children(now);
                }
                Finding::Ended(pid) => {
                    let killed = reap::peek(pid) == Some(KILLED);
                    if self.orphan(pid, killed) {
                        self.reaper.reaped(pid);
                    }
                }
                Finding::NoChild => {
                    self.judge_deaths(now);
                    return true;
                }
            }
        }
        self.judge_deaths(now);
        false
    }

    /// Says why processes died of a SIGKILL that graceinit did not send. Whether that was the app, and the kernel has
    /// killed it for want of memory.
    fn judge_deaths(&mut self, now: Time) -> bool {
        let mut app = false;
        for kin in self.effects.deaths.judge(now) {
            match kin {
                Kin::App => app = true,
                Kin::Orphan => self.handle(now, Event::ChildOutOfMemory),
                Kin::Hook | Kin::Helper => {}
            }
        }
        app
    }

    /// Reaps this orphan if it has ended. `killed`: of SIGKILL.
    fn orphan(&mut self, pid: Pid, killed: bool) -> bool {
        if killed && reap::peek(pid) == Some(KILLED) {
            // As long as it is not reaped, its name and its size can be read.
            self.effects.deaths.killed(Kin::Orphan, pid);
        }
        let Some(status) = reap::reap(pid) else { return false };
        self.effects.asking.leftovers.forget(pid);
        self.effects.asking.reaped(pid, status);
        let warn = self.effects.config.warn_on_reap;
        journal::incident(&Incident::Reaped { kin: Kin::Orphan, pid, status, warn });
        true
    }

    /// Asks for each child of graceinit itself by its pid: SIGCHLDs merge, and none may be missed.
    pub(super) fn own_children(&mut self, now: Time) {
        for pid in self.effects.children.pids().collect::<Vec<_>>() {
            match self.effects.children.role(pid) {
                Some(Role::App) => self.app(now, pid),
                Some(Role::Hook(id)) => self.hook(now, pid, id),
                Some(Role::SurvivorScan) => self.survivor_scan(now, pid),
                Some(Role::Deputy) => {
                    if let Some(status) = self.helper(pid) {
                        self.effects.deputy.ended(status);
                    }
                }
                Some(Role::TerminalHolder) => drop(self.helper(pid)),
                None => {}
            }
        }
    }

    fn app(&mut self, now: Time, pid: Pid) {
        let Some(status) = reap::peek(pid) else {
            if let Some(signal) = reap::stopped(pid) {
                let ours = self.effects.terminal.is_ours();
                self.handle(now, Event::AppStopped { signal, ours });
            }
            return;
        };
        self.execve_result(now);
        // A successor that takes over after the stop signal would never get it. As a leftover it is asked.
        let asked = self.machine.phase().name() >= PhaseName::Stopping;
        if self.effects.app.failure().is_none() && !asked {
            // The app may have named its successor a moment ago.
            self.notices(now);
            if let Some(group) = self.effects.app.succeed(pid, &mut self.effects.children) {
                deadman::app_started(group);
                self.reaper.ask();
                return;
            }
        }
        let event = match self.effects.app.failure() {
            Some(failure) => {
                Event::AppNotExecuted(self.effects.app.explain(failure, &self.effects.config))
            }
            None if self.ran_out_of_memory(now, pid, status) => Event::AppOutOfMemory,
            None => Event::AppExited(status),
        };
        self.effects.asking.reaped(pid, status);
        // As a zombie the app still holds its pid and its group, so what it left behind can be signalled.
        self.handle(now, event);
        reap::reap(pid);
        record(Kin::App, pid, status);
        self.effects.children.forget(pid);
        deadman::app_reaped(self.machine.exit_code());
    }

    /// Says what is known of the end of the app, which is not reaped yet. Whether the kernel has killed it for want of
    /// memory.
    fn ran_out_of_memory(&mut self, now: Time, pid: Pid, status: Status) -> bool {
        let effects = &mut self.effects;
        match status {
            KILLED => {
                effects.deaths.killed(Kin::App, pid);
                return self.judge_deaths(now);
            }
            // A plain life does not look: the app has ended well, or was asked to.
            Status::Code(code) => {
                let failed = code != 0 && self.machine.stop_request().is_none();
                if failed || journal::is_kept() {
                    effects.deaths.look_for_unseen();
                }
            }
            // Under the names of other inits every signal is forwarded, a stop request too.
            Status::Signal(signal) if effects.config.plan.stop_on != SignalSet::default() => {
                effects.deaths.app_died(pid, signal, now);
            }
            Status::Signal(_) => {}
        }
        false
    }

    fn hook(&mut self, now: Time, pid: Pid, id: HookId) {
        let Some(status) = reap::peek(pid) else { return };
        if status == KILLED {
            self.effects.deaths.killed(Kin::Hook, pid);
        }
        reap::reap(pid);
        self.effects.children.forget(pid);
        // Its last lines are recorded before its end.
        let (failure, said) = self.effects.attempts.ended(id);
        record(Kin::Hook, pid, status);
        if id.phase == HookPhase::Drained {
            self.effects.drain.looked(id.index, status, said);
        }
        let why = failure.and_then(|it| attempts::explain(&self.effects.config, id, it));
        if self.machine.awaits_probe(id) && !(failure.is_none() && status.success()) {
            attempts::probe_ended(&self.effects.config, id, status, why);
        }
        let event = match failure {
            Some(_) => Event::HookNotStarted(id),
            None => Event::HookExited(id, status),
        };
        self.handle(now, event);
    }

    /// Reaps a child that works for graceinit, if it has ended.
    fn helper(&mut self, pid: Pid) -> Option<Status> {
        let status = reap::reap(pid)?;
        record(Kin::Helper, pid, status);
        self.effects.children.forget(pid);
        Some(status)
    }

    fn survivor_scan(&mut self, now: Time, pid: Pid) {
        if let Some(status) = self.helper(pid) {
            if !self.effects.survivors.recorded(status) {
                self.effects.asking.leftovers.warn_of_proc(Reach::WithoutProc);
            }
            self.handle(now, Event::SurvivorsRecorded);
        }
    }
}
