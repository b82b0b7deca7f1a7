//! The main loop: wait → events → machine → actions. No policy in it: what happens when is the
//! machine's decision.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use crate::config::Config;
use crate::machine::fact::Fact;
use crate::machine::hook::{HookId, HookPhase};
use crate::machine::phase::PhaseName;
use crate::machine::plan::{Condition, PerPhase};
use crate::machine::{Action, Event, Machine, Origin, Received};
use crate::notify::Message;
use crate::observe::live::Live;
use crate::observe::met::{Kin, Met};
use crate::observe::{journal, names};
use crate::perform::{Hands, Leave, Opened};
use crate::reaper::{Finding, Reaper};
use crate::sys::early::First;
use crate::sys::notify::watchdog_from_environment;
use crate::sys::poll::{Waiter, Want};
use crate::sys::signals::{Disposition, Incoming, Mask, Source};
use crate::sys::spawn::{Failure, Program, Report, Started, Step};
use crate::sys::{clock, deadman, fd, process, reap, signals, tty};
use crate::table::Role;
use crate::types::{Pid, Signal, Status, Time};
use crate::watch::Files;

/// What was found out in the first instructions, before anything else ran.
#[derive(Debug)]
pub struct Birth {
    /// The mask that graceinit was started with. Since then every signal is blocked.
    pub mask: Mask,
    /// The parent at that time.
    pub parent: Pid,
    /// The app, if it was started early: then `config` says nothing that it would have to know.
    pub first: Option<First>,
}

/// Signals that come faster than this are read together.
const ALONE: Duration = Duration::from_millis(1);

/// Room for so many signals, and for so many actions, is there from the start: a stop without hooks needs no more, and
/// goes without the allocator.
const BATCH: usize = 12;

/// Runs the app to its end, and graceinit with it.
pub fn run(config: Box<Config>, birth: Birth) -> Leave {
    let mut files = Files::default();
    let codes = config.plan.exit.codes;
    let early = birth.first.as_ref().map(|first| first.child.pid);
    match start(config, birth, &mut files) {
        Ok(supervisor) => supervisor.live(),
        Err(message) => {
            if let Some(app) = early {
                let _ = signals::send(app, Signal::KILL);
            }
            // It is said as one that is fatal.
            files.never_started(message, codes.own);
            Leave { code: codes.own, by: None }
        }
    }
}

struct Supervisor {
    machine: Machine,
    hands: Hands,
    source: Source,
    waiter: Waiter,
    reaper: Reaper,
    /// How the app's execve went; `None` once that is known.
    report: Option<Report>,
    /// It went wrong.
    failure: Option<Failure>,
    actions: Vec<Action>,
    /// When a signal was last dealt with before others were asked for.
    stood_alone: Time,
    leave: Option<Leave>,
    /// The line at the terminal.
    live: Option<Live>,
}

/// Everything that comes before the first child. An error in here is fatal.
///
/// Never inlined, and what comes back is boxed: the loop uses the same pages of the stack again.
#[inline(never)]
fn start(
    mut config: Box<Config>,
    birth: Birth,
    files: &mut Files,
) -> Result<Box<Supervisor>, String> {
    let (source, child_signal, app) = match birth.first {
        Some(First { child, source }) => (source, Disposition::Default, Some(child)),
        None => {
            fd::reserve_stdio();
            // First, so that they tell of everything that goes wrong.
            files.open(&config)?;
            let (source, child_signal) = take_charge()?;
            (source, child_signal, None)
        }
    };
    if let Some(signal) = config.parent_signal {
        ask_for_parent_death(signal, birth.parent)?;
    }
    let program = Program::new(&config.command).map_err(|word| {
        format!("unable to use the word '{}': it holds a NUL byte", word.to_string_lossy())
    })?;
    // For as long as this process lives: the app's start reads it.
    let program: &'static Program = Box::leak(Box::new(program));
    // (An app that was started early has none.)
    let terminal = if app.is_none() { tty::Terminal::controlling() } else { None };
    // In place of another program it is the app's own business, as it is there.
    let watchdog = if config.plain { None } else { watchdog_from_environment() };
    // Nobody else has it yet.
    let plan = Rc::make_mut(&mut config.plan);
    // What goes to the app's session with the app is not there for us.
    let ours = terminal.as_ref().filter(|_| !(plan.session && tty::leads_session()));
    plan.terminal = ours.is_some();
    plan.suspendable = plan.terminal && !process::is_first() && tty::can_be_resumed();
    if HookPhase::ALL.iter().any(|phase| !plan.hooks.of(*phase).is_empty()) {
        names::set_hooks(PerPhase::each(|phase| {
            config.hooks.of(phase).iter().map(|hook| hook.name.clone()).collect()
        }));
        plan.jitter = u64::from_ne_bytes(process::random());
    }
    plan.watchdog = watchdog;
    let plan = Rc::clone(&config.plan);
    names::set_conditions(config.ready.iter().map(|ready| ready.text.clone()).collect());
    let opened = Opened::open(&config, plan.watchdog.is_some(), files)?;
    if let Some(exposed) = config.exposed() {
        log::info!("{exposed}");
    }
    let live = ours.and_then(|_| Live::new());
    let mut hands = Hands::new(config, program, birth.mask, child_signal, terminal, opened);
    hands.early = app;
    // ---- The border. From here on nothing is fatal: hooks have run, or the app is relying on us. ----
    Ok(Box::new(Supervisor {
        machine: Machine::new(plan),
        hands,
        source,
        waiter: Waiter::default(),
        reaper: Reaper::default(),
        report: None,
        failure: None,
        actions: Vec::with_capacity(BATCH),
        stood_alone: Time::default(),
        leave: None,
        live,
    }))
}

/// Of signals and of orphans. How SIGCHLD was handled before.
fn take_charge() -> Result<(Source, Disposition), String> {
    let source = Source::open().map_err(|error| {
        format!("unable to open a signalfd: {error}; raise the limit of open files")
    })?;
    // Inherited as ignored, SIGCHLD would make the kernel throw every exit status away.
    let child_signal = signals::set_disposition(Signal::CHLD, Disposition::Default);
    if !process::is_first() {
        if let Err(error) = process::become_subreaper() {
            journal::trouble(format!(
                "unable to become a child subreaper: {error}; orphans of the app are not reaped"
            ));
        }
    }
    Ok((source, child_signal))
}

/// The signal is lost if the parent died before it was asked for (and the setting with it when the
/// program is set-user-ID, which graceinit is not).
fn ask_for_parent_death(signal: Signal, parent: Pid) -> Result<(), String> {
    process::signal_when_parent_dies(signal)
        .map_err(|error| format!("unable to ask for {signal} at the parent's death: {error}"))?;
    if process::parent() != parent {
        let _ = signals::send(process::own_pid(), signal);
    }
    Ok(())
}

fn reaped(kin: Kin, pid: Pid, status: Status) {
    journal::met(&Met::Reaped { kin, pid, status, warn: false });
}

impl Supervisor {
    fn live(mut self: Box<Self>) -> Leave {
        let mut incoming = Vec::with_capacity(BATCH);
        self.hands.opened.observer.ensure(clock::now());
        self.handle(clock::now(), Event::Begun);
        loop {
            if let Some(leave) = self.leave {
                let Opened { files, observer, .. } = &mut self.hands.opened;
                files.begin_last(clock::now());
                observer.close();
                files.finish(clock::now());
                self.hands.opened.close_socket();
                // All else the kernel takes back at once.
                std::mem::forget(self);
                return leave;
            }
            self.show();
            self.hands.opened.files.update(clock::now());
            self.hands.opened.observer.feed();
            incoming.clear();
            incoming.extend(self.wait());
            let now = clock::now();
            // First, while whoever has said something and has ended since can still be looked up.
            self.notices(now);
            // The order is fixed: exits first, so that nothing that signals can meet a pid that is
            // about to be reaped; then signals, descriptors, and the time.
            if !incoming.first().is_some_and(|only| self.stands_alone(now, only)) {
                self.source.read(&mut incoming);
            }
            let alone = self.exits(now, &incoming);
            self.signals(now, &incoming);
            self.report(now);
            self.hands.outputs.read();
            self.hands.read_records();
            self.observer(now);
            // Not before the signals: one that came together with the app's end was a stop request,
            // and must not be lost to an exit. Not after the time: an empty tree needs no killing.
            if alone && self.machine.ending().is_some() {
                self.handle(now, Event::TreeEmpty);
            }
            if self.machine.deadline().is_some_and(|deadline| deadline <= now) {
                self.handle(now, Event::Tick);
            }
        }
    }

    /// Brings the line at the terminal up to date.
    fn show(&mut self) {
        if let Some(live) = &mut self.live {
            live.update(&self.machine, self.hands.front(), clock::now());
        }
    }

    /// Whether it makes no difference what has come with this signal: it is merely passed on. Not one of those that
    /// an app has to be continued for: the news that it was stopped may be right behind. Not so soon after
    /// another one: the kernel gives the lowest number first, and whoever sends that again and again must not keep
    /// all others waiting.
    fn stands_alone(&mut self, now: Time, incoming: &Incoming) -> bool {
        let stop = self.machine.plan().stop_on.contains(incoming.signal);
        let rare = now.since(self.stood_alone) > ALONE;
        let asks = self.machine.asks_for_an_end(incoming.signal);
        let alone = incoming.signal != Signal::CHLD && !stop && !asks && rare;
        if alone {
            self.stood_alone = now;
        }
        alone
    }

    /// A signal, if nothing else was waited for.
    fn wait(&mut self) -> Option<Incoming> {
        let now = clock::now();
        let live = self.live.as_ref().and_then(Live::due);
        let dues = [self.machine.deadline(), self.reaper.due(), live, self.hands.opened.due()];
        let until = dues.into_iter().flatten().min();
        let report = self.report.as_ref().map(AsFd::as_fd);
        let read =
            report.into_iter().chain(self.hands.pipes()).chain(self.hands.opened.files.fds());
        let others = read.map(|fd| (fd, Want::Read)).chain(self.hands.opened.observer.fds());
        let mut others = others.peekable();
        if others.peek().is_none() {
            return self.source.wait(until, now);
        }
        self.waiter.wait(others.chain([(self.source.as_fd(), Want::Read)]), until, now);
        None
    }

    /// Hands one event to the machine and does what it says. An action that fails at once is an
    /// event in its turn.
    fn handle(&mut self, now: Time, event: Event) {
        let (mut next, mut events) = (Some(event), VecDeque::new());
        while let Some(event) = next {
            let lived = self.machine.ending().is_none();
            self.machine.handle(now, event, &mut self.actions);
            let ended = lived && self.machine.ending().is_some();
            if ended || matches!(event, Event::HookNotStarted(_)) {
                // No signal will tell that nothing is left: there may have been no child at all (a
                // stop in the pause before a pre-start hook is tried again).
                self.reaper.ask();
            }
            if ended && self.hands.table.pid(Role::App).is_none() {
                // There never was one: the dead-man has to know our code as it is.
                deadman::app_reaped(self.machine.exit_code());
            }
            // Before anything is done: from a stop request on nobody is to be sent here.
            self.hands.publish(&self.machine);
            let mut actions = std::mem::take(&mut self.actions);
            for action in actions.drain(..) {
                match action {
                    Action::Exit { code, by } => {
                        // Without a terminal nobody looks for more than the code.
                        let by = by.filter(|_| self.hands.terminal.is_some());
                        if let Some(live) = &mut self.live {
                            live.clear();
                        }
                        self.leave = Some(Leave { code, by });
                    }
                    Action::Record(fact) => {
                        if let Fact::Extended { left } = fact {
                            // Until graceinit itself has gone.
                            let all = left + self.machine.plan().post_stop_timeout;
                            self.hands.tell(now, &Message::MoreTime(all));
                        }
                        if let Fact::DeadlineReached { .. } = fact {
                            // Who it is comes before their end, in the phase in which they hung.
                            self.hands.tell_survivors();
                        }
                        journal::record(&fact);
                        if matches!(fact, Fact::Entered(phase) if phase >= PhaseName::Leftovers) {
                            self.hands.opened.files.foresee();
                        }
                    }
                    Action::Look => {
                        let moment = self.machine.drain_moment(now);
                        events.push_back(Event::Looked(self.hands.look(now, moment)));
                    }
                    Action::SeekListeners => {
                        events.push_back(Event::Listening(self.hands.listening()));
                    }
                    Action::StartApp => events.extend(self.start_app()),
                    Action::StartHook { id, end, .. } => {
                        if let Err(event) = self.hands.start_hook(&self.machine, id, end, now) {
                            events.push_back(event);
                        }
                    }
                    other => self.hands.perform(other, now),
                }
            }
            // For the next time, with the room that it has.
            self.actions = actions;
            next = events.pop_front();
        }
    }

    /// Forks the app; the event that this could not be done.
    fn start_app(&mut self) -> Option<Event> {
        match self.hands.start_app() {
            Ok(report) => {
                let mut keep: Vec<BorrowedFd<'_>> = vec![self.source.as_fd(), report.as_fd()];
                keep.extend(self.hands.fds());
                fd::close_inherited(&keep);
                self.report = Some(report);
                if self.hands.is_found_anywhere() {
                    // At once: whoever wants to unmount it need not wait for execve.
                    self.hands.leave_directory();
                }
                None
            }
            Err(message) => {
                journal::met(&Met::NotExecuted { why: message });
                Some(Event::AppNotExecuted(self.hands.codes().own))
            }
        }
    }

    /// Reaps all that have ended. Whether no child is left.
    fn exits(&mut self, now: Time, incoming: &[Incoming]) -> bool {
        let mut news = false;
        for signal in incoming.iter().filter(|incoming| incoming.signal == Signal::CHLD) {
            news = true;
            // The pid that the signal names is asked for first: that costs the same however many
            // children there are.
            if self.hands.table.role(signal.pid).is_none() && signal.pid.0 > 0 {
                self.stray(signal.pid);
            }
        }
        if news {
            self.reaper.ask();
            self.own_children(now);
            self.hands.opened.observer.resume();
        } else if incoming.iter().any(|incoming| self.machine.asks_for_an_end(incoming.signal)) {
            // An app is seen to be stopped before we are told of it (do_signal_stop in kernel/signal.c), and
            // whoever has seen that may have asked for its end since.
            self.own_children(now);
        }
        while let Some(finding) = self.reaper.next(now) {
            match finding {
                Finding::Ended(pid) if self.hands.table.role(pid).is_some() => {
                    self.own_children(now);
                }
                Finding::Ended(pid) => {
                    if self.stray(pid) {
                        self.reaper.reaped(pid);
                    }
                }
                Finding::NoChild => return true,
            }
        }
        false
    }

    /// Reaps this orphan if it has ended.
    fn stray(&mut self, pid: Pid) -> bool {
        let status = reap::reap(pid);
        if let Some(status) = status {
            self.hands.stray_reaped(pid, status);
        }
        status.is_some()
    }

    /// The app and the hooks: each asked for by its pid, so that none is missed although signals of
    /// the same number merge into one.
    fn own_children(&mut self, now: Time) {
        for pid in self.hands.table.pids().collect::<Vec<_>>() {
            match self.hands.table.role(pid) {
                Some(Role::App) => self.app(now, pid),
                Some(Role::Hook(id)) => self.hook(now, pid, id),
                Some(Role::Surveyor) => self.surveyor(now, pid),
                Some(Role::Clerk) => self.clerk(pid),
                Some(Role::StandIn) => self.stand_in(pid),
                None => {}
            }
        }
    }

    fn app(&mut self, now: Time, pid: Pid) {
        let Some(status) = reap::peek(pid) else {
            if let Some(signal) = reap::stopped(pid) {
                let ours = self.hands.terminal_is_ours();
                self.handle(now, Event::AppStopped { signal, ours });
            }
            return;
        };
        self.report(now);
        // One that takes over after the stop signal would never have heard of it: it is a leftover, which
        // is told.
        let told = self.machine.phase().name() >= PhaseName::Stopping;
        if self.failure.is_none() && !told {
            // It may have said a moment ago who goes on in its place.
            self.notices(now);
            if let Some(heir) = self.hands.succession(pid) {
                deadman::app_started(heir);
                self.reaper.ask();
                return;
            }
        }
        let event = match self.failure {
            Some(failure) => Event::AppNotExecuted(self.explain(failure)),
            None => Event::AppExited(status),
        };
        // As a zombie it still holds its pid and its group: what it left behind can be signalled.
        self.handle(now, event);
        reap::reap(pid);
        reaped(Kin::App, pid, status);
        self.hands.table.forget(pid);
        deadman::app_reaped(self.machine.exit_code());
    }

    fn hook(&mut self, now: Time, pid: Pid, id: HookId) {
        let Some(status) = reap::reap(pid) else { return };
        reaped(Kin::Hook, pid, status);
        self.hands.table.forget(pid);
        let event = match self.hands.hook_ended(id) {
            Some(failure) => {
                self.hands.explain_hook(id, failure);
                Event::HookNotStarted(id)
            }
            None => Event::HookExited(id, status),
        };
        self.handle(now, event);
    }

    fn surveyor(&mut self, now: Time, pid: Pid) {
        if let Some(status) = reap::reap(pid) {
            reaped(Kin::Helper, pid, status);
            self.hands.table.forget(pid);
            self.hands.surveyed(status);
            self.handle(now, Event::Surveyed);
        }
    }

    fn clerk(&mut self, pid: Pid) {
        if let Some(status) = reap::reap(pid) {
            reaped(Kin::Helper, pid, status);
            self.hands.table.forget(pid);
            self.hands.clerk_ended(status);
        }
    }

    fn stand_in(&mut self, pid: Pid) {
        if let Some(status) = reap::reap(pid) {
            reaped(Kin::Helper, pid, status);
            self.hands.table.forget(pid);
        }
    }

    /// What the app says of itself.
    fn notices(&mut self, now: Time) {
        if !self.hands.is_spoken_to() {
            return;
        }
        let (notices, answered) = self.hands.notices(now);
        for notice in notices {
            self.handle(now, Event::Notice(notice));
        }
        // Only now: whoever waits at a barrier wants to know that all of it was dealt with.
        drop(answered);
        if self.hands.newline() {
            let conditions = &self.machine.plan().ready;
            let index = conditions.iter().position(|condition| *condition == Condition::Newline);
            if let Some(index) = index {
                self.handle(now, Event::ConditionHolds(index));
            }
        }
    }

    fn observer(&mut self, now: Time) {
        if let Some(acks) = self.hands.opened.observer.read(now) {
            self.handle(now, Event::Acknowledged(acks));
        }
        self.hands.opened.observer.ensure(now);
        self.hands.retry_upward(now);
    }

    /// How the app's execve went, if that is news.
    fn report(&mut self, now: Time) {
        match self.report.as_ref().map(Report::read) {
            None | Some(Started::Pending) => {}
            Some(Started::Yes) => {
                self.report = None;
                if !self.hands.is_found_anywhere() {
                    // Not before: why a start has failed is looked for in it.
                    self.hands.leave_directory();
                }
                self.handle(now, Event::AppExecuted);
                self.hands.foresee();
            }
            // The event comes with the end of the child that tried.
            Some(Started::No(failure)) => {
                self.report = None;
                self.failure = Some(failure);
            }
        }
    }

    fn explain(&self, failure: Failure) -> u8 {
        journal::met(&Met::NotExecuted { why: self.hands.explain_app(failure) });
        match failure.step {
            Step::Execute => self.hands.codes().of_exec(failure.errno),
            Step::User | Step::Stdio | Step::Extra => self.hands.codes().own,
        }
    }

    fn signals(&mut self, now: Time, incoming: &[Incoming]) {
        for incoming in incoming {
            // A broken pipe of our own makes the kernel send us SIGPIPE; it is not the app's.
            let own_pipe = incoming.signal == Signal::PIPE && incoming.pid == process::own_pid();
            if incoming.signal == Signal::CHLD || own_pipe {
                continue;
            }
            let origin =
                if incoming.by_process { Origin::Process(incoming.pid.0) } else { Origin::Kernel };
            let Incoming { signal, value, .. } = *incoming;
            self.handle(now, Event::Signal(Received { signal, origin, value }));
        }
        for _ in 0..deadman::take_alarms() {
            let origin = Origin::Process(0);
            let received = Received { signal: Signal::ALRM, origin, value: None };
            self.handle(now, Event::Signal(received));
        }
    }
}
