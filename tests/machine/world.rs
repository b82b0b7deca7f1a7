//! The world round the machine: the kernel and the supervisor, reduced to what the machine can
//! notice of them.
//!
//! Whoever lives may die at any moment, and whoever was sent a signal may live on. So a process that
//! obeys TERM, one that only KILL ends and one in uninterruptible sleep need no models of their own:
//! they are different choices in the same world.

use std::time::Duration;

use graceinit::machine::drain::Look;
use graceinit::machine::hook::{HookId, HookPhase};
use graceinit::machine::plan::{self, Plan, Rung};
use graceinit::machine::{Action, Event, Origin, Received, Target};
use graceinit::types::{Signal, Status, Time};

/// What `sh` says of a program that is not there.
const NOT_FOUND: u8 = 127;
/// What graceinit says when the fault is its own, or a hook's.
pub(super) const OWN_ERROR: u8 = 125;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A signal as `kill` sends it.
pub(super) fn from_process(signal: Signal) -> Received {
    Received { signal, origin: Origin::Process(7), value: None }
}

/// A signal as a key or a hang-up makes it.
pub(super) fn from_kernel(signal: Signal) -> Received {
    Received { signal, origin: Origin::Kernel, value: None }
}

pub(super) fn rung(signal: Signal, wait: Option<u64>) -> Rung {
    Rung { signal: Some(signal), wait: wait.map(|wait| plan::Wait::For(ms(wait))) }
}

/// A step at which nothing is sent.
pub(super) fn silence(wait: Option<u64>) -> Rung {
    Rung { signal: None, wait: wait.map(|wait| plan::Wait::For(ms(wait))) }
}

/// A plan, and what may happen while it is followed.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) plan: Plan,
    /// How the app may end by itself.
    pub(super) endings: Vec<Status>,
    /// Signals, each of which may arrive once at any time.
    pub(super) signals: Vec<Received>,
    /// What the app, or one of its other processes, may say of itself: each of these once, at any time.
    pub(super) says: Vec<Event>,
    /// What a look at the ports may show.
    pub(super) looks: Vec<Look>,
    /// How many probes may be answered "not ready" during a stop.
    pub(super) acks: u32,
    /// How often the app may be found not to be ready yet: by an attempt of a probe that fails or
    /// hangs, or because it does not listen.
    pub(super) not_yet: u8,
    /// What the terminal, or somebody else, may stop the app with.
    pub(super) app_stops: Vec<Signal>,
    /// How often it does.
    pub(super) stops: u8,
    /// The app's other processes at the start: whether each is in its group.
    pub(super) strays: Vec<bool>,
    /// How many more may be forked later on.
    pub(super) newcomers: u8,
    /// How often something may happen half-way to the next deadline, and not only at it.
    pub(super) lingers: u8,
    /// fork may fail, and the execve of a hook.
    pub(super) fork_fails: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum App {
    /// Nobody has started it.
    Unborn,
    /// It is not decided yet whether fork fails. Nothing else happens meanwhile.
    Fresh,
    /// It has not called execve yet.
    Forked,
    Running,
    /// It has ended and the supervisor peeked at its status: still a zombie.
    Ended,
    Reaped,
}

/// The child that looks who is still there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Surveyor {
    None,
    /// It is not decided yet whether fork fails. Nothing else happens meanwhile.
    Fresh,
    Runs,
    Killed,
}

/// The process of an attempt.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Attempt {
    pub(super) id: HookId,
    pub(super) until: Time,
    pub(super) killed: bool,
}

/// A process of the tree that is neither the app nor a hook.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Stray {
    pub(super) in_group: bool,
    /// It was sent the signal for leftovers.
    pub(super) told: bool,
    /// It was told when the app was, through their group.
    pub(super) told_in_group: bool,
    pub(super) killed: bool,
    /// When it was forked, if that was later than the start.
    pub(super) born: Time,
    /// A post-stop hook left it, or one of those did.
    pub(super) of_post_stop: bool,
    /// It was forked when SIGKILL had been sent to all the others.
    pub(super) after_kill: bool,
}

impl Stray {
    /// One that the app has from the start.
    fn first(in_group: bool) -> Stray {
        Stray {
            in_group,
            told: false,
            told_in_group: false,
            killed: false,
            born: Time::default(),
            of_post_stop: false,
            after_kill: false,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub(super) now: Time,
    begun: bool,
    pub(super) app: App,
    /// The app is stopped.
    pub(super) app_stopped: bool,
    /// SIGKILL was sent to the app.
    pub(super) app_killed: bool,
    /// SIGKILL was sent to all.
    tree_killed: bool,
    /// Attempts that were not reaped.
    pub(super) hooks: Vec<Attempt>,
    /// Attempts of which it is not decided yet whether fork fails. Nothing else happens meanwhile.
    pub(super) fresh: Vec<HookId>,
    /// Sorted, so that worlds which differ in nothing but the order are one.
    pub(super) strays: Vec<Stray>,
    pub(super) surveyor: Surveyor,
    /// The terminal's foreground group is graceinit's.
    pub(super) terminal_is_ours: bool,
    /// The supervisor has not told yet what it sees on the ports. Nothing else happens meanwhile.
    pub(super) looking: bool,
    /// Nor whether the app listens there.
    seeking: bool,
    /// Readiness has fallen.
    fell: bool,
    /// How many probes were answered "not ready" since then.
    acks: u32,
    signals_left: u128,
    says_left: u16,
    not_yet_left: u8,
    stops_left: u8,
    newcomers_left: u8,
    lingers_left: u8,
}

/// One thing that may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// Everything is prepared.
    Begins,
    /// There is a child that will be the app.
    AppIsForked,
    AppIsNotForked,
    Executed,
    NotExecuted,
    AppEnds(Status),
    AppStops(Signal, bool),
    /// The first of the fresh attempts runs.
    HookRuns,
    /// It does not: fork failed.
    HookFailsToStart,
    HookEnds {
        place: usize,
        status: Status,
        leaves_a_stray: bool,
    },
    /// Its execve failed: known when the child that tried is reaped.
    HookCannotBeExecuted(usize),
    StrayEnds(usize),
    StrayIsBorn,
    /// The signal of this number in `Setup::signals`.
    Arrives(usize),
    /// What has this number in `Setup::says` is said.
    AppSays(usize),
    /// The supervisor sees what has this number in `Setup::looks`.
    Sees(usize),
    /// It sees whether the app listens.
    Listens(bool),
    /// Another probe is answered "not ready".
    Acknowledges,
    SurveyorRuns,
    /// Nobody is told of it: SIGKILL comes all the same.
    SurveyorFailsToStart,
    SurveyorEnds,
    /// The supervisor sees that it has no child left.
    TreeIsEmpty,
    Tick,
    Wait(Time),
    /// `Wait`, but not up to the deadline.
    Linger(Time),
}

impl World {
    pub(super) fn new(setup: &Setup) -> World {
        World {
            // Not zero, so that a limit reckoned backwards has room.
            now: Time::default().after(ms(1_000_000)),
            begun: false,
            app: App::Unborn,
            app_stopped: false,
            app_killed: false,
            tree_killed: false,
            hooks: Vec::new(),
            fresh: Vec::new(),
            strays: Vec::new(),
            surveyor: Surveyor::None,
            terminal_is_ours: false,
            signals_left: (1 << setup.signals.len()) - 1,
            looking: false,
            seeking: false,
            fell: false,
            acks: 0,
            says_left: (1 << setup.says.len()) - 1,
            not_yet_left: setup.not_yet,
            stops_left: setup.stops,
            newcomers_left: setup.newcomers,
            lingers_left: setup.lingers,
        }
    }

    pub(super) fn app_lives(&self) -> bool {
        matches!(self.app, App::Fresh | App::Forked | App::Running)
    }

    /// What has to happen before anything else does, and what may happen in its place.
    pub(super) fn undecided(&self) -> Option<(Choice, Option<Choice>)> {
        if self.looking {
            return Some((Choice::Sees(0), None));
        }
        if self.seeking {
            return Some((Choice::Listens(true), None));
        }
        match (self.begun, self.app, self.surveyor, self.fresh.is_empty()) {
            (false, ..) => Some((Choice::Begins, None)),
            (_, App::Fresh, ..) => Some((Choice::AppIsForked, Some(Choice::AppIsNotForked))),
            (_, _, Surveyor::Fresh, _) => {
                Some((Choice::SurveyorRuns, Some(Choice::SurveyorFailsToStart)))
            }
            (_, _, _, false) => Some((Choice::HookRuns, Some(Choice::HookFailsToStart))),
            (_, _, _, true) => self.answers_at_last(),
        }
    }

    /// A probe that has failed often enough.
    fn answers_at_last(&self) -> Option<(Choice, Option<Choice>)> {
        let probe = |hook: &Attempt| hook.id.phase == HookPhase::Ready && !hook.killed;
        let place = self.hooks.iter().position(probe).filter(|_| self.not_yet_left == 0)?;
        let status = Status::Code(0);
        Some((Choice::HookEnds { place, status, leaves_a_stray: false }, None))
    }

    /// The supervisor's waitid says ECHILD.
    pub(super) fn tree_is_empty(&self) -> bool {
        matches!(self.app, App::Unborn | App::Reaped)
            && self.hooks.is_empty()
            && self.strays.is_empty()
            && self.surveyor == Surveyor::None
    }

    /// Everything that may happen now, the passing of time excepted.
    pub(super) fn choices(&self, setup: &Setup, out: &mut Vec<Choice>) {
        if let Some((succeeds, fails)) = self.undecided() {
            out.push(succeeds);
            out.extend(fails.filter(|_| setup.fork_fails));
            // There is more to be seen than one thing.
            if self.looking {
                out.extend((1..setup.looks.len()).map(Choice::Sees));
            } else if self.seeking && self.not_yet_left > 0 {
                out.push(Choice::Listens(false));
            }
            return;
        }
        self.app_choices(setup, out);
        for (place, hook) in self.hooks.iter().enumerate() {
            if setup.fork_fails {
                out.push(Choice::HookCannotBeExecuted(place));
            }
            let ends = |status, leaves_a_stray| Choice::HookEnds { place, status, leaves_a_stray };
            if hook.killed {
                out.push(ends(Status::Signal(Signal::KILL), false));
                // It may have got out just before.
                if hook.id.phase == HookPhase::Ready {
                    out.push(ends(Status::Code(0), false));
                }
                continue;
            }
            out.push(ends(Status::Code(0), false));
            out.push(ends(Status::Code(1), false));
            if self.newcomers_left > 0 && hook.id.phase != HookPhase::Ready {
                out.push(ends(Status::Code(0), true));
            }
        }
        for (place, stray) in self.strays.iter().enumerate() {
            // Of equals one is enough.
            if place == 0 || self.strays[place - 1] != *stray {
                out.push(Choice::StrayEnds(place));
            }
        }
        if self.newcomers_left > 0 && (self.app_lives() || !self.strays.is_empty()) {
            out.push(Choice::StrayIsBorn);
        }
        let is_left = |place: usize| self.signals_left & 1 << place != 0;
        for (place, signal) in setup.signals.iter().enumerate() {
            // Of equals one is enough.
            let equal = |other: usize| is_left(other) && setup.signals[other] == *signal;
            if is_left(place) && !(0..place).any(equal) {
                out.push(Choice::Arrives(place));
            }
        }
        if matches!(self.surveyor, Surveyor::Runs | Surveyor::Killed) {
            out.push(Choice::SurveyorEnds);
        }
        let speaks =
            matches!(self.app, App::Forked | App::Running) && !self.app_stopped && !self.app_killed
                || self.strays.iter().any(|stray| !stray.killed);
        for place in (0..setup.says.len()).filter(|_| speaks) {
            if self.says_left & 1 << place != 0 {
                out.push(Choice::AppSays(place));
            }
        }
        if self.fell && self.acks < setup.acks && self.app_lives() {
            out.push(Choice::Acknowledges);
        }
        if self.tree_is_empty() {
            out.push(Choice::TreeIsEmpty);
        }
    }

    fn app_choices(&self, setup: &Setup, out: &mut Vec<Choice>) {
        if !self.app_lives() {
            return;
        }
        if self.app_killed {
            out.push(Choice::AppEnds(Status::Signal(Signal::KILL)));
            // It may have got out just before.
            out.push(Choice::AppEnds(Status::Code(0)));
            return;
        }
        if self.app == App::Forked {
            out.push(Choice::Executed);
            out.push(Choice::NotExecuted);
            // A signal that came before execve.
            out.push(Choice::AppEnds(Status::Signal(Signal::TERM)));
        } else if !self.app_stopped {
            out.extend(setup.endings.iter().map(|&status| Choice::AppEnds(status)));
        }
        if self.stops_left > 0 && !self.app_stopped {
            for ours in [false, true] {
                out.extend(setup.app_stops.iter().map(|&signal| Choice::AppStops(signal, ours)));
            }
        }
    }

    pub(super) fn may_linger(&self) -> bool {
        self.lingers_left > 0
    }

    /// Lets it happen; what the machine is told of it.
    pub(super) fn happen(&mut self, setup: &Setup, choice: Choice) -> Option<Event> {
        match choice {
            Choice::Begins => {
                self.begun = true;
                Some(Event::Begun)
            }
            Choice::AppIsForked => {
                self.app = App::Forked;
                self.strays.extend(setup.strays.iter().map(|&in_group| Stray::first(in_group)));
                self.strays.sort();
                None
            }
            Choice::AppIsNotForked => {
                self.app = App::Reaped;
                Some(Event::AppNotExecuted(OWN_ERROR))
            }
            Choice::Executed => {
                self.app = App::Running;
                Some(Event::AppExecuted)
            }
            Choice::NotExecuted => {
                self.app = App::Reaped;
                Some(Event::AppNotExecuted(NOT_FOUND))
            }
            Choice::AppEnds(status) => {
                self.app = App::Ended;
                Some(Event::AppExited(status))
            }
            Choice::AppStops(signal, ours) => {
                self.stops_left -= 1;
                self.app_stopped = true;
                Some(Event::AppStopped { signal, ours })
            }
            Choice::HookRuns => {
                self.fresh.remove(0);
                None
            }
            Choice::HookFailsToStart => {
                let id = self.fresh.remove(0);
                self.not_yet(id);
                self.hooks.retain(|hook| hook.id != id);
                Some(Event::HookNotStarted(id))
            }
            Choice::HookEnds { place, status, leaves_a_stray } => {
                let Attempt { id, killed, .. } = self.hooks.remove(place);
                if status != Status::Code(0) && !killed {
                    self.not_yet(id);
                }
                if leaves_a_stray {
                    self.fork_stray(id.phase == HookPhase::PostStop);
                }
                Some(Event::HookExited(id, status))
            }
            Choice::HookCannotBeExecuted(place) => {
                let id = self.hooks.remove(place).id;
                self.not_yet(id);
                Some(Event::HookNotStarted(id))
            }
            Choice::StrayEnds(place) => {
                self.strays.remove(place);
                None
            }
            Choice::StrayIsBorn => {
                let of_post_stop =
                    !self.app_lives() && self.strays.iter().all(|stray| stray.of_post_stop);
                self.fork_stray(of_post_stop);
                None
            }
            Choice::Arrives(place) => {
                self.signals_left &= !(1 << place);
                Some(Event::Signal(setup.signals[place]))
            }
            Choice::AppSays(place) => {
                self.says_left &= !(1 << place);
                Some(setup.says[place])
            }
            Choice::Sees(place) => {
                self.looking = false;
                Some(Event::Looked(setup.looks[place]))
            }
            Choice::Listens(yes) => {
                self.seeking = false;
                self.not_yet_left -= u8::from(!yes);
                Some(Event::Listening(yes))
            }
            Choice::Acknowledges => {
                self.acks += 1;
                Some(Event::Acknowledged(self.acks))
            }
            Choice::SurveyorRuns => {
                self.surveyor = Surveyor::Runs;
                None
            }
            Choice::SurveyorFailsToStart => {
                self.surveyor = Surveyor::None;
                None
            }
            Choice::SurveyorEnds => {
                self.surveyor = Surveyor::None;
                Some(Event::Surveyed)
            }
            Choice::TreeIsEmpty => Some(Event::TreeEmpty),
            Choice::Tick => Some(Event::Tick),
            Choice::Wait(time) => {
                self.now = time;
                None
            }
            Choice::Linger(time) => {
                self.lingers_left -= 1;
                self.now = time;
                None
            }
        }
    }

    /// An attempt of a probe has failed.
    fn not_yet(&mut self, id: HookId) {
        let probe = id.phase == HookPhase::Ready;
        self.not_yet_left = self.not_yet_left.saturating_sub(u8::from(probe));
    }

    fn fork_stray(&mut self, of_post_stop: bool) {
        self.newcomers_left -= 1;
        let (born, after_kill) = (self.now, self.tree_killed);
        self.strays.push(Stray { born, of_post_stop, after_kill, ..Stray::first(false) });
        self.strays.sort();
    }

    /// What the action does to the processes. `leftovers` is the signal that leftovers get.
    pub(super) fn perform(&mut self, action: &Action, leftovers: Signal) {
        match *action {
            Action::SignalApp { signal, target, stop, .. } => {
                match signal {
                    Signal::CONT => self.app_stopped = false,
                    Signal::STOP => self.app_stopped = true,
                    _ => {}
                }
                let told = stop && signal == leftovers;
                for stray in self.strays.iter_mut().filter(|stray| told && reaches(target, stray)) {
                    stray.told = true;
                    stray.told_in_group |= target == Target::Group;
                }
            }
            Action::StartHook { id, until, .. } => {
                self.hooks.push(Attempt { id, until, killed: false });
                self.fresh.push(id);
            }
            Action::StartApp => self.app = App::Fresh,
            // One that still looks is enough.
            Action::Survey => {
                if self.surveyor == Surveyor::None {
                    self.surveyor = Surveyor::Fresh;
                }
            }
            Action::KillHook(id) => {
                self.not_yet(id);
                for hook in self.hooks.iter_mut().filter(|hook| hook.id == id) {
                    hook.killed = true;
                }
            }
            Action::SignalLeftovers { group_told, .. } => {
                for stray in &mut self.strays {
                    stray.told |= !(group_told && stray.in_group);
                }
            }
            Action::KillTree => {
                self.tree_killed = true;
                self.app_killed |= self.app_lives();
                self.hooks.iter_mut().for_each(|hook| hook.killed = true);
                self.strays.iter_mut().for_each(|stray| stray.killed = true);
                if self.surveyor != Surveyor::None {
                    self.surveyor = Surveyor::Killed;
                }
            }
            Action::SetReady(false) => self.fell = true,
            Action::SeekListeners => self.seeking = true,
            Action::Look => self.looking = true,
            Action::GiveTerminal => self.terminal_is_ours = false,
            Action::TakeTerminal => self.terminal_is_ours = true,
            // Whoever is asked may live on.
            Action::StopHook { .. }
            | Action::ArmDeadMan(_)
            | Action::SuspendSelf
            | Action::TellHolders
            | Action::SetReady(true)
            | Action::FollowMain(_)
            | Action::Record(_)
            | Action::Exit { .. } => {}
        }
        self.strays.sort();
    }

    /// The supervisor has performed all actions of an event.
    pub(super) fn reap_app(&mut self) {
        if self.app == App::Ended {
            self.app = App::Reaped;
        }
    }
}

fn reaches(target: Target, stray: &Stray) -> bool {
    match target {
        Target::App => false,
        Target::Group => stray.in_group,
        Target::Tree => true,
    }
}
