//! The phase machine: events and the time go in, actions and the next deadline come out. Pure: no
//! clock, no I/O, no log, nothing unsafe. `docs/shutdown.md` has its state table.

pub mod budget;
pub mod connections;
pub mod drain;
mod draining;
pub mod fact;
pub mod hook;
pub mod phase;
pub mod plan;
pub mod ready;
mod signal;
mod stop;
mod work;

use std::rc::Rc;
use std::time::Duration;

use crate::types::{Pid, Signal, Status, Time};
use drain::Look;
use fact::{Fact, Reason};
use hook::{HookId, HookPhase, Outcome, Queue, Run};
use phase::{Phase, Readiness};
use plan::{Ending, Plan, StopAgain};
use ready::{Failure, Notice};

/// Who sent a signal (`si_code` of sigaction(2)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// The kernel itself: a key typed at the terminal, a hang-up, a timer.
    Kernel,
    /// A process; 0 if it lives outside this pid namespace.
    Process(i32),
}

impl Origin {
    /// The process that sent it.
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
    /// Which.
    pub signal: Signal,
    /// From whom.
    pub origin: Origin,
    /// The value that came with it through sigqueue(3).
    pub value: Option<usize>,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Everything is prepared.
    Begun,
    /// The app's program runs (its execve succeeded).
    AppExecuted,
    /// The app's program could not be executed; the child that tried has gone. Our code for that.
    AppNotExecuted(u8),
    /// The app has ended. It is not reaped before the actions of this event were performed.
    AppExited(Status),
    /// The app was stopped by `signal`. `ours`: graceinit's own group is in the foreground of the
    /// terminal, so it can be given away.
    AppStopped {
        /// Which.
        signal: Signal,
        /// See above.
        ours: bool,
    },
    /// A signal arrived.
    Signal(Received),
    /// The process of an attempt has ended.
    HookExited(HookId, Status),
    /// The process of an attempt could not be started.
    HookNotStarted(HookId),
    /// The records of the survivors are there, or could not be made.
    Surveyed,
    /// The app says something of itself.
    Notice(Notice),
    /// A condition of readiness holds; its place in the plan.
    ConditionHolds(usize),
    /// Whether the app listens on the ports that are to be drained.
    Listening(bool),
    /// The ports were looked at.
    Looked(Look),
    /// So many readiness probes were answered "not ready" since readiness fell.
    Acknowledged(u32),
    /// graceinit has no child left.
    TreeEmpty,
    /// Time went by.
    Tick,
}

/// To whom a signal goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// The app's process.
    App,
    /// The app's process group.
    Group,
    /// Every descendant, hooks excepted.
    Tree,
}

/// Something to be done, in the order in which it was pushed.
#[allow(missing_docs, reason = "each variant tells what its fields are")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Start the app.
    StartApp,
    /// Send a signal to the app. `stop`: it is a request to end.
    SignalApp { signal: Signal, target: Target, value: Option<usize>, stop: bool },
    /// Start an attempt. `until`: when it will be killed. `end`: the end of the budget it is part of, if
    /// that has one.
    StartHook { id: HookId, until: Time, end: Option<Time> },
    /// SIGKILL to the group of an attempt.
    KillHook(HookId),
    /// Ask an attempt to end.
    StopHook { id: HookId, signal: Signal },
    /// Send the stop signal to all that was left behind and that was not told before. `group_told`: the
    /// stop signal went to the whole group of the app. `first`: the first look, for all; a further
    /// one is only for those that the first has missed.
    SignalLeftovers { signal: Signal, group_told: bool, first: bool },
    /// The app can be sent work from now on, or cannot (any more).
    SetReady(bool),
    /// This process is the app from now on, should the present one end.
    FollowMain(Pid),
    /// See whether the app listens on the ports that are to be drained.
    SeekListeners,
    /// Tell which connections held the drain longest.
    TellHolders,
    /// Look at the connections of those ports.
    Look,
    /// Begin to record who is still there: they will be killed.
    Survey,
    /// SIGKILL to every process of the tree, hooks included.
    KillTree,
    /// Set the dead-man timer: if the loop is stuck then, the tree dies and graceinit exits.
    ArmDeadMan(Time),
    /// Stop graceinit as the terminal stopped the app.
    SuspendSelf,
    /// Make the app's group the foreground group, if graceinit's is that now.
    GiveTerminal,
    /// Make graceinit's group the foreground group, if the app's is that now.
    TakeTerminal,
    /// Something for the account.
    Record(Fact),
    /// Leave. `by`: the signal that ended the app, if the code tells of one.
    Exit { code: u8, by: Option<Signal> },
}

/// The state of one life.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Machine {
    plan: Rc<Plan>,
    phase: Phase,
    /// What became of the app; `None` while it lives.
    ending: Option<Ending>,
    /// When it ended.
    ended: Option<Time>,
    /// The signal of the first stop request, and the process that sent it.
    stop: Option<(Signal, Option<i32>)>,
    /// That request came before the app ended: it is the reason, not a mere latecomer.
    stop_ended_it: bool,
    /// Nobody has asked for a stop: the app has failed.
    failure: Option<Failure>,
    /// How often the app is to give a sign of life.
    watchdog: Option<Duration>,
    /// The end of the budget, once it runs, if it has one. Absolute, but for [`Notice::MoreTime`].
    deadline: Option<Time>,
    /// What that may be moved to.
    latest: Time,
    /// A second stop request has ended the budget.
    hurried: bool,
    /// The records of the survivors were asked for.
    surveyed: bool,
    /// How many rounds of on-reload hooks were begun.
    rounds: u32,
    /// The app itself was killed at the deadline.
    app_killed: bool,
    /// The app is known to be stopped: whoever stopped it, nobody has continued it through graceinit.
    app_stopped: bool,
    /// The stop signal went to the app's whole group.
    group_told: bool,
    /// Ctrl-Z was typed before the app was executed, and is for an app that only we can tell of it.
    typed_early: bool,
    /// Attempts that have not been reaped. They may outlive the phase that started them.
    runs: Vec<Run>,
}

impl Machine {
    /// A machine that waits for [`Event::Begun`].
    pub fn new(plan: impl Into<Rc<Plan>>) -> Machine {
        let plan = plan.into();
        Machine {
            watchdog: plan.watchdog,
            failure: None,
            plan,
            phase: Phase::PreStart { queue: Queue::first(), held: Vec::new() },
            ending: None,
            ended: None,
            stop: None,
            stop_ended_it: false,
            deadline: None,
            latest: Time::default(),
            hurried: false,
            surveyed: false,
            rounds: 0,
            app_killed: false,
            app_stopped: false,
            group_told: false,
            typed_early: false,
            runs: Vec::new(),
        }
    }

    /// The plan it was made with.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The present phase.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What became of the app; `None` while it lives.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The signal of the first stop request, and the process that sent it (0: one that lives outside
    /// this pid namespace).
    pub fn stop(&self) -> Option<(Signal, Option<i32>)> {
        self.stop
    }

    /// What a hook that starts now is told as the signal that it is about, and the process that sent
    /// it: the reload signal for on-reload hooks, else the first stop request.
    pub fn occasion(&self) -> Option<(Signal, Option<i32>)> {
        match &self.phase {
            Phase::Running { work: Some(work), reloads, .. }
                if work.phase == HookPhase::OnReload =>
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
            | Phase::Exited => self.stop,
        }
    }

    /// The end of the budget, once it runs, if it has one.
    pub fn budget_end(&self) -> Option<Time> {
        self.deadline
    }

    /// The attempts that are waited for.
    pub fn running_hooks(&self) -> impl Iterator<Item = HookId> + '_ {
        let hook = |run: &&Run| !run.killed && run.id.phase != HookPhase::Ready;
        self.runs.iter().filter(hook).map(|run| run.id)
    }

    /// Whether a Ctrl-C that is typed now ends the budget.
    pub fn again_kills(&self) -> bool {
        let kills = self.plan.stop_again != StopAgain::Ignore;
        let asked = self.stop.is_some() && self.budget_runs() && !self.hurried;
        kills && asked && self.plan.stop_on.contains(Signal::INT)
    }

    /// Why the app went or is going.
    pub fn reason(&self) -> Reason {
        match self.failure {
            Some(Failure::NotReady) => return Reason::NotReady,
            Some(Failure::Watchdog) => return Reason::Crash,
            None => {}
        }
        match (self.app_killed, self.stop_ended_it, self.ending) {
            (true, _, _) => Reason::Deadline,
            (false, true, _) => Reason::Signal,
            (false, false, Some(Ending::Was(Status::Code(0)))) => Reason::Exit,
            (false, false, _) => Reason::Crash,
        }
    }

    /// When `Tick` is due. Derived from the state, never armed: it cannot be forgotten.
    pub fn deadline(&self) -> Option<Time> {
        let phase = match &self.phase {
            Phase::Starting { .. } | Phase::Exited => None,
            Phase::PreStart { queue, .. } => queue.pause,
            // It cannot get ready, nor give a sign of life.
            Phase::Running { suspended: true, work, .. } => {
                work.as_ref().and_then(|work| work.queue.pause)
            }
            Phase::Running { work, readiness, watchdog, .. } => {
                let pause = work.as_ref().and_then(|work| work.queue.pause);
                let ready = match readiness {
                    Readiness::Waiting(waiting) => self.readiness_due(waiting),
                    Readiness::Ready | Readiness::Over { .. } => None,
                };
                earliest(earliest(pause, ready), *watchdog)
            }
            Phase::PreStop { retries, .. } => {
                earliest(retries.iter().map(|(_, again)| *again).min(), self.deadline)
            }
            Phase::Drain(draining) => earliest(self.drain_due(draining), self.deadline),
            Phase::OnStop(queue) => earliest(queue.pause, self.deadline),
            Phase::Stopping { next, diagnose, .. } => {
                earliest(earliest(*next, *diagnose), self.deadline)
            }
            Phase::Leftovers(sweep) => earliest(Some(sweep.next), self.deadline),
            Phase::Killed { give_up, sweep } => Some(sweep.next.min(*give_up)),
            Phase::PostStop { queue, end, killed, .. } => {
                let next = if *killed { *end } else { self.post_stop_hooks_end(*end) };
                earliest(queue.pause, Some(next))
            }
        };
        let hook = self.runs.iter().filter(|run| !run.killed).map(|run| run.until).min();
        earliest(earliest(phase, self.survey_due()), hook)
    }

    /// When the records of the survivors are to be begun, if that is still to be done.
    fn survey_due(&self) -> Option<Time> {
        let lead = budget::survey_lead(self.plan.measure());
        let due = self.budget_runs() && !self.surveyed && !lead.is_zero();
        self.deadline.filter(|_| due).map(|deadline| deadline.before(lead))
    }

    /// Takes one event in; what is to be done is pushed to `out`.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        if self.phase == Phase::Exited {
            return;
        }
        match event {
            Event::Begun => self.run_queue(now, out),
            Event::AppExecuted => self.app_executed(now, out),
            Event::AppNotExecuted(code) => self.app_gone(now, Ending::NotStarted(code), out),
            Event::AppExited(status) => self.app_gone(now, Ending::Was(status), out),
            Event::AppStopped { signal, ours } => self.app_stopped(now, signal, ours, out),
            Event::Signal(received) => self.signal(now, received, out),
            Event::HookExited(id, status) => self.hook_exited(now, id, status, out),
            Event::HookNotStarted(id) => self.hook_ended(now, id, Outcome::NotStarted, None, out),
            Event::Surveyed => self.survey_done(now, out),
            Event::Notice(notice) => self.notice(now, notice, out),
            Event::ConditionHolds(index) => self.condition_holds(now, index, out),
            Event::Listening(yes) => self.listening(now, yes, out),
            Event::Looked(look) => self.looked(now, look, out),
            Event::Acknowledged(acks) => self.acknowledged(now, acks, out),
            Event::TreeEmpty => self.tree_empty(now, out),
            Event::Tick => self.tick(now, out),
        }
        // After all else that has waited for the app.
        if self.typed_early && !matches!(self.phase, Phase::Starting { .. }) {
            self.typed_early = false;
            self.typed_stop(out);
        }
    }

    fn enter(&mut self, phase: Phase, out: &mut Vec<Action>) {
        self.phase = phase;
        out.push(Action::Record(Fact::Entered(self.phase.name())));
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.budget_runs() && self.deadline.is_some_and(|deadline| deadline <= now) {
            return self.kill_all(now, out);
        }
        if self.survey_due().is_some_and(|due| due <= now) {
            self.survey(out);
        }
        // Before the end of a hook begins another one.
        if let Phase::Running { suspended: false, watchdog: Some(due), .. } = self.phase {
            if due <= now {
                self.watchdog_missed(now, out);
            }
        }
        while let Some(run) = self.runs.iter_mut().find(|run| !run.killed && run.until <= now) {
            run.killed = true;
            let id = run.id;
            out.push(Action::KillHook(id));
            hook::tell_end(id, Outcome::TimedOut, None, out);
            self.hook_judged(now, id, Outcome::TimedOut, out);
        }
        match &self.phase {
            Phase::PreStart { queue, .. } | Phase::OnStop(queue) => {
                if queue.pause.is_some_and(|pause| pause <= now) {
                    self.run_queue(now, out);
                }
            }
            Phase::Running { .. } => self.running_tick(now, out),
            Phase::Drain(_) => self.drain_tick(now, out),
            Phase::Stopping { rung, next, diagnose } => {
                let (rung, diagnose) = (*rung, *diagnose);
                if next.is_some_and(|next| next <= now) {
                    self.climb(now, rung + 1, out);
                }
                if diagnose.is_some_and(|due| due <= now) {
                    self.diagnose(now, out);
                }
            }
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
            Phase::PostStop { queue, end, .. } => {
                let (pause, end) = (queue.pause, *end);
                self.post_stop_tick(now, pause, end, out);
            }
            Phase::PreStop { .. } => self.retry_pre_stop(now, out),
            Phase::Starting { .. } | Phase::Exited => {}
        }
    }

    fn running_tick(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Running { suspended, work, readiness, .. } = &self.phase else { return };
        let pause = work.as_ref().and_then(|work| work.queue.pause);
        if let (Readiness::Waiting(waiting), false) = (readiness, *suspended) {
            let limit = self.ready_limit(waiting);
            self.seek(now, out);
            self.ready_if_nothing_is_missing(now, out);
            if limit.is_some_and(|limit| limit <= now) {
                self.not_ready(now, out);
            }
        } else if pause.is_some_and(|pause| pause <= now) {
            self.run_queue(now, out);
        }
    }
}

fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
