//! The main loop: wait → events → machine → actions. It has no policy: what happens when is the machine's decision.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use super::app::App;
use super::children::Role;
use super::effects::{Effects, Leave};
use super::progress;
use super::ready_file::ReadyFile;
use crate::account::journal;
use crate::account::waiting::Awaited;
use crate::machine::plan::Condition;
use crate::machine::{Action, Event, Machine, Origin, Received};
use crate::reaper::Reaper;
use crate::sys::deadman::{Alarm, rescue};
use crate::sys::launch::spawn::Started;
use crate::sys::notify::Line;
use crate::sys::poll::{self, Waiter, Want};
use crate::sys::signals::{Incoming, Source};
use crate::sys::{clock, deadman, fd, heap, process};
use crate::types::{Signal, Time};

/// Signals that come faster than this are read together.
const ALONE: Duration = Duration::from_millis(1);

/// A wake-up that comes this much later than it was asked for tells that nothing ran. A busy machine is rarely that late.
const LATE: Duration = Duration::from_millis(250);

/// The pause between two rounds of a loop that hears no signals.
const DEAF: Duration = Duration::from_millis(10);

/// The pause between two rounds of a loop that comes round for nothing.
const BRAKE: Duration = Duration::from_millis(10);

/// So many rounds may bring nothing before the loop pauses: a burst of wake-ups is no fault.
const IDLE_ROUNDS: u32 = 30;

/// At exit graceinit waits this long at most for the file of `--ready-file` to be removed.
const LEAVING: Duration = Duration::from_millis(250);

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
    /// The app was stopped because no signal is heard.
    gave_up: bool,
    brake: Brake,
    /// An event was handled in this round.
    handled: bool,
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
    /// Every call that waits, or every call that reads signals, is refused: no signal is heard any more.
    deaf: bool,
}

impl Inbox {
    /// Waits for a descriptor or until `until`. Where only signals can come, waiting and reading are one system call.
    fn wait(&mut self, effects: &Effects, until: Option<Time>) {
        self.incoming.clear();
        self.readable = false;
        let now = clock::now();
        let ready_file = effects.ready_file.as_ref().and_then(ReadyFile::fd);
        let written = effects.files.fds().chain(ready_file);
        let read = effects.pipes().chain(written).map(|fd| (fd, Want::Read));
        let mut others = read.chain(effects.observer.fds()).peekable();
        if others.peek().is_none() {
            deadman::round_ends();
            match self.source.wait(until, now) {
                Ok(incoming) => {
                    return self.incoming.extend(incoming);
                }
                // The signalfd is a descriptor to wait for, too.
                Err(_) => drop(others),
            }
            self.deaf |=
                !self.waiter.wait([(self.source.as_fd(), Want::Read)].into_iter(), until, now);
            self.readable = self.waiter.is_last_ready();
            return;
        }
        deadman::round_ends();
        let all = others.chain([(self.source.as_fd(), Want::Read)]);
        self.deaf |= !self.waiter.wait(all, until, now);
        self.readable = self.waiter.is_last_ready();
        // A life with nothing but signals does nothing that could hang, and saves the system calls.
        effects.dead_man.watch_round(clock::now());
    }

    /// Reads the signals that are pending, unless the one that was waited for can be handled without knowing them.
    fn read(&mut self, machine: &Machine, now: Time) {
        if !self.incoming.first().is_some_and(|only| skips_the_batch(only, machine))
            || now.since(self.skipped) <= ALONE
        {
            self.deaf |= !self.source.read(&mut self.incoming, self.readable);
            return;
        }
        self.skipped = now;
    }
}

impl Inbox {
    /// Waits for a signal, but not long. A signalfd that counts as readable, and of which nothing was read, is not waited
    /// for.
    #[cold]
    fn pause(&mut self, now: Time) {
        let until = Some(now.after(BRAKE));
        if self.readable {
            poll::wait(&[], until, now);
        } else {
            poll::wait(&[self.source.as_fd()], until, now);
        }
    }
}

/// Notices a loop that comes round again and again for nothing: the wait returns at once, or a descriptor stays ready
/// because its read is refused. Such a loop would use up a processor.
#[derive(Default)]
struct Brake {
    /// So many rounds without a signal and without an event have followed each other at once.
    rounds: u32,
    /// The time of the last one.
    last: Time,
    /// What `fd::moves` was then.
    moves: u32,
    /// The warning has been logged.
    warned: bool,
}

impl Brake {
    /// A round brought nothing. Whether to pause.
    fn pulls(&mut self, now: Time) -> bool {
        let idle = now.since(self.last) < BRAKE * 2 && fd::moves() == self.moves;
        self.rounds = if idle { self.rounds.saturating_add(1) } else { 0 };
        (self.last, self.moves) = (now, fd::moves());
        let pulls = self.rounds > IDLE_ROUNDS;
        if pulls && !std::mem::replace(&mut self.warned, true) {
            journal::warn(
                "the main loop wakes up for nothing: a system call that waits or reads is refused; pausing between rounds",
            );
        }
        pulls
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

/// Whether graceinit itself has caused a signal that the kernel sent: by writing to a broken pipe, to a file that may not
/// grow (RLIMIT_FSIZE) or to a terminal in the background, or by the processor time that it has used (RLIMIT_CPU). The
/// app gets its own. (The kernel names this process as the sender, or none.)
fn is_own_doing(incoming: &Incoming) -> bool {
    const CAUSED: [Signal; 5] =
        [Signal::PIPE, Signal::XFSZ, Signal::XCPU, Signal::TTIN, Signal::TTOU];
    let by_another = incoming.by_process && incoming.pid != process::own_pid();
    CAUSED.contains(&incoming.signal) && !by_another
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
            inbox: Inbox {
                source,
                waiter: Waiter::default(),
                incoming,
                readable: false,
                skipped,
                deaf: false,
            },
            actions: Vec::with_capacity(BATCH),
            gave_up: false,
            brake: Brake::default(),
            handled: false,
        }
    }

    /// Runs until the machine exits.
    pub fn live(mut self: Box<Self>) -> Leave {
        let mut last = clock::now();
        self.handle(last, Event::Begun);
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
            let until = wakeups.into_iter().flatten().min();
            self.inbox.wait(&self.effects, until);
            let now = self.read_clock(until, &mut last);
            if self.inbox.deaf {
                self.stop_deaf(now);
            }
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
            // To reap thousands takes long, and a budget must not begin before its signal was read. In the round in
            // which the app has ended the time stays: a signal of the same round came before that end.
            let now = match self.machine.ended_at() {
                Some(end) if end == now => now,
                _ => self.read_clock(until, &mut last),
            };
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
            if std::mem::take(&mut self.handled) || !self.inbox.incoming.is_empty() {
                self.brake.rounds = 0;
            } else if self.brake.pulls(now) {
                self.inbox.pause(now);
            }
        }
    }

    /// The time. Tells the machine and the observer if nothing ran since the last reading and beyond `until`: a freeze
    /// can begin at any place of the loop, not only in its wait.
    fn read_clock(&mut self, until: Option<Time>, last: &mut Time) -> Time {
        let now = clock::now();
        if until.is_some_and(|until| now.since(until.max(*last)) > LATE) {
            self.effects.observer.stood_still(now);
            self.handle(now, Event::StoodStill(now.since(*last)));
        }
        *last = now;
        now
    }

    /// No signal is heard any more, so no stop request would be: the app is stopped in an orderly way. Children are asked
    /// for in every round, because no SIGCHLD tells of them.
    #[cold]
    fn stop_deaf(&mut self, now: Time) {
        if !std::mem::replace(&mut self.gave_up, true) {
            journal::warn(
                "unable to wait for signals: the system calls for that are refused; stopping the app",
            );
            let received =
                Received { signal: Signal::TERM, origin: Origin::Process(0), value: None };
            self.handle(now, Event::Signal(received));
        }
        self.own_children(now);
        self.reaper.ask();
        poll::wait(&[], Some(now.after(DEAF)), now);
    }

    /// Hands one event to the machine and performs the actions that it answers with. An action may cause a further
    /// event.
    pub(super) fn handle(&mut self, now: Time, event: Event) {
        self.handled = true;
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
            if incoming.signal == Signal::CHLD || is_own_doing(incoming) {
                continue;
            }
            let origin =
                if incoming.by_process { Origin::Process(incoming.pid.0) } else { Origin::Kernel };
            let Incoming { signal, value, .. } = *incoming;
            self.handle(now, Event::Signal(Received { signal, origin, value }));
        }
        // Keeps its capacity.
        self.inbox.incoming = incoming;
        while let Some(Alarm { sender, value }) = deadman::take_alarm() {
            let origin = Origin::Process(sender.map_or(0, |pid| pid.0));
            let received = Received { signal: Signal::ALRM, origin, value };
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
                self.effects.deputy.meet(self.effects.app.pid(), &self.effects.config);
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
    /// Sends what was refused, and brings the line at the terminal, the files and the observer up to date.
    fn refresh(&mut self, machine: &Machine) {
        self.send_refused();
        if let Some(live) = &mut self.live {
            let foreground = self.terminal.front(self.app.group());
            let progress = foreground.and_then(|ours| progress::of(machine, ours));
            live.update(progress.as_ref(), clock::now());
        }
        self.files.update(clock::now());
        self.closing.outcome(clock::now());
        if let Some(file) = &mut self.ready_file {
            file.go_on(clock::now());
        }
        self.observer.feed();
    }

    /// Writes the files for the last time.
    fn finish(&mut self) {
        self.files.begin_last(clock::now());
        self.observer.close();
        if let Some(file) = &mut self.ready_file {
            file.finish(clock::now().after(LEAVING));
        }
        self.files.finish(clock::now());
        self.notify.close();
    }
}
