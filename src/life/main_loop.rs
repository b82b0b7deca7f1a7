//! The main loop: wait → events → machine → actions. It has no policy: what happens when is the machine's decision.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use super::app::App;
use super::children::Role;
use super::effects::{Effects, Leave};
use super::progress;
use crate::account::journal;
use crate::account::waiting::Awaited;
use crate::machine::plan::Condition;
use crate::machine::{Action, Event, Machine, Origin, Received};
use crate::reaper::Reaper;
use crate::sys::deadman::rescue;
use crate::sys::launch::spawn::Started;
use crate::sys::notify::Line;
use crate::sys::poll::{Waiter, Want};
use crate::sys::signals::{Incoming, Source};
use crate::sys::{clock, deadman, heap, process};
use crate::types::{Signal, Time};

/// Signals that come faster than this are read together.
const ALONE: Duration = Duration::from_millis(1);

/// The capacity for signals and for actions from the start: a stop without hooks needs no more, so it does not
/// allocate.
const BATCH: usize = 12;

/// The life of one app.
pub struct Supervisor {
    pub(super) machine: Machine,
    pub(super) effects: Effects,
    pub(super) reaper: Reaper,
    inbox: Inbox,
    actions: Vec<Action>,
}

/// The signals that have arrived.
struct Inbox {
    source: Source,
    waiter: Waiter,
    incoming: Vec<Incoming>,
    /// The last wait has shown that the signalfd can be read.
    readable: bool,
    /// When a signal last skipped the batch read.
    skipped: Time,
}

impl Inbox {
    /// Waits for a descriptor or until `until`. Where only signals can come, waiting and reading are one system call.
    fn wait(&mut self, effects: &Effects, until: Option<Time>) {
        self.incoming.clear();
        self.readable = false;
        let now = clock::now();
        let read = effects.pipes().chain(effects.files.fds()).map(|fd| (fd, Want::Read));
        let mut others = read.chain(effects.observer.fds()).peekable();
        if others.peek().is_none() {
            deadman::round_ends();
            self.incoming.extend(self.source.wait(until, now));
            return;
        }
        deadman::round_ends();
        self.waiter.wait(others.chain([(self.source.as_fd(), Want::Read)]), until, now);
        self.readable = self.waiter.is_last_ready();
        // A life with nothing but signals does nothing that could hang, and saves the system calls.
        effects.dead_man.watch_round(clock::now());
    }

    /// Reads the signals that are pending, unless the one that was waited for can be handled without knowing them.
    fn read(&mut self, machine: &Machine, now: Time) {
        if !self.incoming.first().is_some_and(|only| skips_the_batch(only, machine))
            || now.since(self.skipped) <= ALONE
        {
            self.source.read(&mut self.incoming);
            if self.readable && self.incoming.is_empty() {
                // read(2) was refused.
                self.incoming.extend(self.source.wait(Some(now), now));
            }
            return;
        }
        self.skipped = now;
    }
}

/// Whether a signal is merely forwarded, so that no other pending signal makes a difference. A request to end is not:
/// the app has to be continued for it, and the news that it was stopped may be pending. Not so soon after another
/// skip (`ALONE`): the kernel hands out the lowest number first, and a signal that is sent again and again must not
/// hold up all others.
fn skips_the_batch(incoming: &Incoming, machine: &Machine) -> bool {
    let stops = machine.plan().stop_on.contains(incoming.signal);
    let ends = machine.asks_for_an_end(incoming.signal);
    incoming.signal != Signal::CHLD && !stops && !ends
}

impl Supervisor {
    /// Nothing has happened yet.
    pub fn new(machine: Machine, effects: Effects, source: Source) -> Supervisor {
        let incoming = Vec::with_capacity(BATCH);
        let skipped = Time::default();
        Supervisor {
            machine,
            effects,
            reaper: Reaper::default(),
            inbox: Inbox { source, waiter: Waiter::default(), incoming, readable: false, skipped },
            actions: Vec::with_capacity(BATCH),
        }
    }

    /// Runs until the machine exits.
    pub fn live(mut self: Box<Self>) -> Leave {
        self.effects.observer.ensure(clock::now());
        self.handle(clock::now(), Event::Begun);
        loop {
            if let Some(leave) = self.effects.leave {
                self.effects.finish();
                // The kernel takes everything else back at once.
                std::mem::forget(self);
                return leave;
            }
            self.effects.refresh(&self.machine);
            let wakeups =
                [self.machine.next_wakeup(), self.reaper.due(), self.effects.next_wakeup()];
            self.inbox.wait(&self.effects, wakeups.into_iter().flatten().min());
            let now = clock::now();
            rescue::read(self.inbox.incoming.iter().map(|incoming| incoming.signal));
            super::panic::test_hook(&self.machine);
            let refusals = heap::take_refusals();
            if refusals > 0 {
                journal::warn("memory was short: graceinit had to wait for it; going on");
                // The wait has taken SIGCHLD.
                self.reaper.ask();
            }
            // First, while a sender that has ended meanwhile can still be looked up.
            self.notices(now);
            // The order is fixed. Exits come before everything that signals, so that no signal can meet a pid that is
            // about to be reaped; then signals, descriptors, and the time.
            self.inbox.read(&self.machine, now);
            rescue::read(self.inbox.incoming.iter().map(|incoming| incoming.signal));
            let childless = self.exits(now);
            self.signals(now);
            if self.execve_result(now) {
                // Beside the app, which has begun to run.
                self.effects.deaths.begin(now);
            }
            self.effects.attempts.read_outputs();
            self.effects.survivors.read();
            self.observer(now);
            self.effects.ask_due(now, &self.machine);
            // Not before the signals: one that came together with the app's end was a stop request,
            // and must not be lost to an exit. Not after the time: an empty tree needs no killing.
            if childless && self.machine.ending().is_some() {
                self.handle(now, Event::TreeEmpty);
            }
            if self.machine.next_wakeup().is_some_and(|due| due <= now) {
                self.handle(now, Event::Tick);
            }
        }
    }

    /// Hands one event to the machine and performs the actions that it answers with. An action may cause a further
    /// event.
    pub(super) fn handle(&mut self, now: Time, event: Event) {
        let (mut next, mut events) = (Some(event), VecDeque::new());
        while let Some(event) = next {
            let lived = self.machine.ending().is_none();
            self.machine.handle(now, event, &mut self.actions);
            let ended = lived && self.machine.ending().is_some();
            if ended || matches!(event, Event::HookNotStarted(_)) {
                // There may have been no child at all, so that no SIGCHLD will come: a stop in the pause before a
                // pre-start hook is retried.
                self.reaper.ask();
            }
            if ended && self.effects.children.pid(Role::App).is_none() {
                // No app was started: the dead-man must exit with this code.
                deadman::app_reaped(self.machine.exit_code());
            }
            self.effects.publish(&self.machine);
            let mut actions = std::mem::take(&mut self.actions);
            for action in actions.drain(..) {
                let source = self.inbox.source.as_fd();
                events.extend(self.effects.perform(action, now, &self.machine, source));
            }
            // Keeps its capacity.
            self.actions = actions;
            next = events.pop_front();
        }
    }

    /// The signals that have arrived since the last round.
    pub(super) fn incoming(&self) -> &[Incoming] {
        &self.inbox.incoming
    }

    fn signals(&mut self, now: Time) {
        let incoming = std::mem::take(&mut self.inbox.incoming);
        for incoming in &incoming {
            // The kernel sends these for a write of graceinit itself (a broken pipe, a log beyond RLIMIT_FSIZE): not
            // for the app.
            let of_a_write = matches!(incoming.signal, Signal::PIPE | Signal::XFSZ);
            let own = of_a_write && incoming.pid == process::own_pid();
            if incoming.signal == Signal::CHLD || own {
                continue;
            }
            let origin =
                if incoming.by_process { Origin::Process(incoming.pid.0) } else { Origin::Kernel };
            let Incoming { signal, value, .. } = *incoming;
            self.handle(now, Event::Signal(Received { signal, origin, value }));
        }
        // Keeps its capacity.
        self.inbox.incoming = incoming;
        for _ in 0..deadman::take_alarms() {
            let origin = Origin::Process(0);
            let received = Received { signal: Signal::ALRM, origin, value: None };
            self.handle(now, Event::Signal(received));
        }
    }

    /// What the app says about itself.
    pub(super) fn notices(&mut self, now: Time) {
        if self.effects.notify.is_open() {
            let own = self.effects.own_processes();
            let speaker = self.effects.speaker(&own);
            let app = self.effects.app.pid();
            let Effects { notify, manager, .. } = &mut self.effects;
            for notice in notify.receive(&speaker, app, manager, now) {
                self.handle(now, Event::Notice(notice));
            }
            // Not before: a barrier means that all messages before it were handled.
            self.effects.notify.take(now);
        }
        let line = self.effects.app.newline();
        let conditions = &self.machine.plan().ready;
        let index = || conditions.iter().position(|condition| *condition == Condition::Newline);
        match line {
            Line::Pending => {}
            Line::Ready => {
                if let Some(index) = index() {
                    self.handle(now, Event::ConditionHolds(index));
                }
            }
            Line::Closed => {
                journal::warn("the app has closed the descriptor of --ready fd without a newline");
                if let Some(index) = index() {
                    journal::answered(Awaited::Condition(index), "closed without a line end");
                }
            }
        }
    }

    fn observer(&mut self, now: Time) {
        if let Some(acks) = self.effects.observer.read(now) {
            self.handle(now, Event::Acknowledged(acks));
        }
        self.effects.observer.ensure(now);
        self.effects.manager.retry(now);
    }

    /// How the app's execve went, if that has become known. Whether it has become known that it went well.
    pub(super) fn execve_result(&mut self, now: Time) -> bool {
        match self.effects.app.execve_result() {
            Some(Started::Yes) => {
                if !self.effects.app.is_found_anywhere() {
                    // Not before: the reason of a failed execve is looked for in the directory.
                    App::leave_directory(&self.effects.config);
                }
                self.handle(now, Event::AppExecuted);
                self.effects.dead_man.prepare();
                return true;
            }
            // The event comes when the child that tried is reaped.
            Some(Started::No(_) | Started::Pending) | None => {}
        }
        false
    }
}

impl Effects {
    /// Brings the line at the terminal, the files and the observer up to date.
    fn refresh(&mut self, machine: &Machine) {
        if let Some(live) = &mut self.live {
            let foreground = self.terminal.front(self.app.group());
            let progress = foreground.and_then(|ours| progress::of(machine, ours));
            live.update(progress.as_ref(), clock::now());
        }
        self.files.update(clock::now());
        self.observer.feed();
    }

    /// Writes the files for the last time.
    fn finish(&mut self) {
        self.files.begin_last(clock::now());
        self.observer.close();
        self.files.finish(clock::now());
        self.notify.close();
    }
}
