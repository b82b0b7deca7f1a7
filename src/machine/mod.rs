//! The phase machine: an event and the time go in, actions come out, and [`Machine::next_wakeup`] says
//! when the loop has to wake. Pure: no clock, no I/O, no log, no environment, no `unsafe`.
//!
//! [`phase`] opens with the picture of a stop. `docs/shutdown.md` has the table of states and events.

pub mod attempt;
pub mod budget;
pub mod connections;
mod deadline;
mod drain;
mod drained;
pub mod fact;
pub mod hooks;
pub mod phase;
pub mod plan;
pub mod ready;
mod signals;
mod start;
mod stop;
pub mod who;

use std::rc::Rc;
use std::time::Duration;

use crate::types::{Pid, Signal, Status, Time};
use attempt::{HookId, HookPhase, Outcome, Queue, Run};
use connections::Sample;
use fact::Fact;
use phase::{Phase, Readiness, Stop};
use plan::{Ending, Plan, Surroundings};
use ready::Notice;

/// The sender of a signal (`si_code` of sigaction(2)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// The kernel itself: a key typed at the terminal, a hang-up, a timer.
    Kernel,
    /// A process; 0 if it lives outside this pid namespace.
    Process(i32),
}

impl Origin {
    /// The pid of the sender.
    pub fn process(self) -> Option<i32> {
        match self {
            Origin::Process(pid) => Some(pid),
            Origin::Kernel => None,
        }
    }
}

/// A signal that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Received {
    /// Its number.
    pub signal: Signal,
    /// Its sender.
    pub origin: Origin,
    /// The value that sigqueue(3) attached to it.
    pub value: Option<usize>,
}

/// An input of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// The loop runs, and children can be started.
    Begun,
    /// The app's execve succeeded.
    AppExecuted,
    /// The app's execve failed, and the child that tried was reaped. graceinit's own exit code for that.
    AppNotExecuted(u8),
    /// The app has exited. It is reaped after the actions of this event were performed, so that its pid
    /// and its process group can still be signalled.
    AppExited(Status),
    /// As [`Event::AppExited`]; the kernel has killed the app for want of memory.
    AppOutOfMemory,
    /// The kernel has killed another process than the app for want of memory.
    ChildOutOfMemory,
    /// `signal` has stopped the app. `ours`: graceinit's process group is in the foreground of the
    /// terminal, so graceinit can hand the terminal over.
    AppStopped {
        /// The signal that stopped the app.
        signal: Signal,
        /// See above.
        ours: bool,
    },
    /// A signal arrived.
    Signal(Received),
    /// The process of an attempt has exited.
    HookExited(HookId, Status),
    /// The process of an attempt could not be started.
    HookNotStarted(HookId),
    /// The records of the survivors are complete, or could not be made.
    SurvivorsRecorded,
    /// The app sent a notification (sd_notify(3)).
    Notice(Notice),
    /// A condition of `--ready` holds; its index in the plan.
    ConditionHolds(usize),
    /// Whether the app listens on the ports that are to be drained.
    Listening(bool),
    /// A sample of the connections was taken.
    Sampled(Sample),
    /// How many readiness probes were answered "not ready" since readiness fell.
    Acknowledged(u32),
    /// The loop woke up much later than it had asked for: nothing may have run for this long.
    StoodStill(Duration),
    /// graceinit has no child left.
    TreeEmpty,
    /// The time of [`Machine::next_wakeup`] has come.
    Tick,
}

/// The processes that a signal is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// The app's process.
    App,
    /// The app's process group.
    Group,
    /// Every descendant, hooks excepted.
    Tree,
    /// The app's process alone now, and every other process when its turn comes (`who`).
    Auto,
}

/// An output of the machine. Actions are performed in the order in which they were pushed.
#[allow(missing_docs, reason = "each variant says what its fields are")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Start the app.
    StartApp,
    /// Send a signal to the app. `stop`: it is the stop signal.
    SignalApp { signal: Signal, target: Target, value: Option<usize>, stop: bool },
    /// Start an attempt. `kill_at`: when its timeout ends. `budget_end`: the end of the budget that the
    /// attempt is part of, if that has one.
    StartHook { id: HookId, kill_at: Time, budget_end: Option<Time> },
    /// Send SIGKILL to the process group of an attempt.
    KillHook(HookId),
    /// Send the stop signal to an attempt.
    StopHook { id: HookId, signal: Signal },
    /// Send the stop signal to every leftover that was not asked before. `group_asked`: the whole process
    /// group of the app was. `first`: this is the first round, for every leftover; a later round is for
    /// processes that the first one has missed.
    SignalLeftovers { signal: Signal, group_asked: bool, first: bool },
    /// Publish that the app can be sent work, or that it cannot.
    SetReady(bool),
    /// Treat this process as the app when the present one exits.
    FollowMain(Pid),
    /// Check whether the app listens on the ports that are to be drained.
    SeekListeners,
    /// Take a sample of the connections of these ports.
    TakeSample,
    /// Tell which connections held the drain longest, and which conditions of `--drained` did, a bit for each.
    TellHolders { missing: u64 },
    /// Start the child that records which processes are still there, before they are killed.
    RecordSurvivors,
    /// Report the recorded processes, before SIGKILL ends them.
    ReportSurvivors,
    /// Tell the service manager that the stop takes up to this much longer.
    TellMoreTime(Duration),
    /// Prepare the report that the dead-man's handler would write: the loop may get stuck from here on.
    PrepareReport,
    /// Send SIGKILL to every process of the tree, hooks included.
    KillTree,
    /// Set the dead-man timer: if the loop is stuck at that time, the tree is killed and graceinit exits.
    ArmDeadMan(Time),
    /// Stop graceinit, as the terminal has stopped the app.
    SuspendSelf,
    /// Make the app's process group the foreground group, if graceinit's is that now.
    GiveTerminal,
    /// Make graceinit's process group the foreground group, if the app's is that now.
    TakeTerminal,
    /// Record a fact in the log, the report and the metrics.
    Record(Fact),
    /// Exit. `by`: the signal that ended the app, if `code` stands for it.
    Exit { code: u8, by: Option<Signal> },
}

/// The state of one life.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Machine {
    plan: Rc<Plan>,
    surroundings: Surroundings,
    phase: Phase,
    /// `None`: no stop was requested, and no budget runs.
    stop: Option<Stop>,
    /// `None`: the app has not ended.
    app_end: Option<AppEnd>,
    /// The app is known to be stopped (SIGSTOP), and no SIGCONT has passed through graceinit since.
    app_is_stopped: bool,
    /// How often the app has to send a keep-alive. The app itself may change it.
    watchdog_interval: Option<Duration>,
    /// How many rounds of on-reload hooks were begun.
    reload_rounds: u32,
    /// Attempts whose processes were not reaped. They may outlive the phase that started them.
    runs: Vec<Run>,
}

/// The end of the app.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct AppEnd {
    ending: Ending,
    at: Time,
}

impl Machine {
    /// A machine that waits for [`Event::Begun`].
    pub fn new(plan: impl Into<Rc<Plan>>, surroundings: Surroundings) -> Machine {
        Machine {
            plan: plan.into(),
            surroundings,
            phase: Phase::PreStart { queue: Queue::first(), held: Vec::new() },
            stop: None,
            app_end: None,
            app_is_stopped: false,
            watchdog_interval: surroundings.watchdog,
            reload_rounds: 0,
            runs: Vec::new(),
        }
    }

    /// The plan that the machine follows.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The present phase.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How the app has ended; `None` while it lives.
    pub fn ending(&self) -> Option<Ending> {
        self.app_end.map(|end| end.ending)
    }

    /// When the app has ended.
    pub fn ended_at(&self) -> Option<Time> {
        self.app_end.map(|end| end.at)
    }

    /// The signal of the first stop request and the process that sent it (0: one outside this pid
    /// namespace).
    pub fn stop_request(&self) -> Option<(Signal, Option<i32>)> {
        let request = self.stop.as_ref().and_then(|stop| stop.request)?;
        Some((request.signal, request.sender))
    }

    /// The signal that a hook which starts now is about, and the process that sent it: the reload signal
    /// for on-reload hooks, else the first stop request.
    pub fn occasion(&self) -> Option<(Signal, Option<i32>)> {
        match &self.phase {
            Phase::Running { hooks: Some(hooks), reloads, .. }
                if hooks.phase == HookPhase::OnReload =>
            {
                reloads.front().map(|received| (received.signal, received.origin.process()))
            }
            Phase::PreStart { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Drain(_)
            | Phase::OnStop(_)
            | Phase::Stopping { .. }
            | Phase::Leftovers(_)
            | Phase::Killed { .. }
            | Phase::PostStop { .. }
            | Phase::Exited => self.stop_request(),
        }
    }

    /// Whether a signal that the app is sent now makes it say what it is doing (`--diagnose`).
    pub fn is_diagnosing(&self, signal: Signal) -> bool {
        let diagnose = self.plan.diagnose.map(|diagnose| diagnose.signal);
        diagnose == Some(signal) && self.budget_runs()
    }

    /// The attempts of hooks that the present phase waits for.
    pub fn running_hooks(&self) -> impl Iterator<Item = HookId> + '_ {
        let hook = |run: &&Run| !run.killed && !run.id.phase.checks();
        self.runs.iter().filter(hook).map(|run| run.id)
    }

    /// When the loop has to wake and send [`Event::Tick`]. Derived from the state on each call, so no
    /// timer can be forgotten.
    pub fn next_wakeup(&self) -> Option<Time> {
        let budget_end = self.budget_end();
        let phase = match &self.phase {
            _ if self.is_hurried() => budget_end,
            Phase::Starting { .. } | Phase::Exited => None,
            Phase::PreStart { queue, .. } => queue.pause,
            // A suspended app can neither become ready nor send a keep-alive.
            Phase::Running { suspended: true, hooks, .. } => {
                hooks.as_ref().and_then(|hooks| hooks.queue.pause)
            }
            Phase::Running { hooks, readiness, watchdog, .. } => {
                let pause = hooks.as_ref().and_then(|hooks| hooks.queue.pause);
                let ready = match readiness {
                    Readiness::Waiting(waiting) => self.readiness_wakeup(waiting),
                    Readiness::Ready | Readiness::Over { .. } => None,
                };
                earliest(earliest(pause, ready), *watchdog)
            }
            Phase::PreStop { retries, .. } => {
                earliest(retries.iter().map(|(_, start)| *start).min(), budget_end)
            }
            Phase::Drain(draining) => earliest(self.drain_wakeup(draining), budget_end),
            Phase::OnStop(queue) => earliest(queue.pause, budget_end),
            Phase::Stopping { next_rung, diagnose, .. } => {
                earliest(earliest(*next_rung, *diagnose), budget_end)
            }
            Phase::Leftovers(sweep) => earliest(Some(sweep.next), budget_end),
            Phase::Killed { give_up, sweep } => Some(sweep.next.min(*give_up)),
            Phase::PostStop { queue, reserve_end, killed, .. } => {
                let next =
                    if *killed { *reserve_end } else { self.post_stop_hooks_end(*reserve_end) };
                earliest(queue.pause, Some(next))
            }
        };
        let attempt = self.runs.iter().filter(|run| !run.killed).map(|run| run.kill_at).min();
        earliest(earliest(phase, self.survivors_wakeup()), attempt)
    }

    /// Takes one event in and pushes to `out` what has to be done.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        if self.phase == Phase::Exited {
            return;
        }
        match event {
            Event::Begun => self.run_queue(now, out),
            Event::AppExecuted => self.app_executed(now, out),
            Event::AppNotExecuted(code) => self.app_ended(now, Ending::NotStarted(code), out),
            Event::AppExited(status) => self.app_ended(now, Ending::Was(status), out),
            Event::AppOutOfMemory => self.app_ended(now, Ending::OutOfMemory, out),
            Event::ChildOutOfMemory => self.child_out_of_memory(now, out),
            Event::AppStopped { signal, ours } => self.app_stopped(now, signal, ours, out),
            Event::Signal(received) => self.signal(now, received, out),
            Event::HookExited(id, status) => self.hook_exited(now, id, status, out),
            Event::HookNotStarted(id) => self.hook_ended(now, id, Outcome::NotStarted, None, out),
            Event::SurvivorsRecorded => self.survivors_recorded(now, out),
            Event::Notice(notice) => self.notice(now, notice, out),
            Event::ConditionHolds(index) => self.condition_holds(now, index, out),
            Event::Listening(yes) => self.listening(now, yes, out),
            Event::Sampled(sample) => self.sampled(now, sample, out),
            Event::Acknowledged(acks) => self.acknowledged(now, acks, out),
            Event::StoodStill(span) => self.stood_still(now, span, out),
            Event::TreeEmpty => self.tree_empty(now, out),
            Event::Tick => self.tick(now, out),
        }
        // Last, because a suspended app would not act on the signals that waited for it.
        if let Phase::Running { typed_stop: typed_stop @ true, .. } = &mut self.phase {
            *typed_stop = false;
            self.typed_stop(out);
        }
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.budget_runs() && self.budget_end().is_some_and(|end| end <= now) {
            return self.kill_all(now, out);
        }
        if self.survivors_wakeup().is_some_and(|start| start <= now) {
            self.record_survivors(out);
        }
        // Before timeouts of hooks: the end of one starts the next, which a stop would end at once.
        if let Phase::Running { suspended: false, watchdog: Some(missed), .. } = self.phase {
            if missed <= now {
                self.watchdog_missed(now, out);
            }
        }
        self.kill_timed_out(now, out);
        if self.is_hurried() {
            return;
        }
        match &self.phase {
            Phase::PreStart { queue, .. } | Phase::OnStop(queue) => {
                if queue.pause.is_some_and(|pause| pause <= now) {
                    self.run_queue(now, out);
                }
            }
            Phase::Running { .. } => self.running_tick(now, out),
            Phase::PreStop { .. } => self.retry_pre_stop(now, out),
            Phase::Drain(_) => self.drain_tick(now, out),
            Phase::Stopping { .. } => self.stopping_tick(now, out),
            Phase::Leftovers(sweep) => {
                if sweep.next <= now {
                    self.sweep(now, out);
                }
            }
            Phase::Killed { give_up, sweep } => {
                if *give_up <= now {
                    self.give_up(now, out);
                } else if sweep.next <= now {
                    self.sweep(now, out);
                }
            }
            Phase::PostStop { .. } => self.post_stop_tick(now, out),
            Phase::Starting { .. } | Phase::Exited => {}
        }
    }
}

fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
