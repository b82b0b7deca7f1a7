//! The world of the machine: the kernel and the loop, reduced to what the machine can notice of them.
//!
//! A process that lives may exit at any moment, and a process that was sent a signal may live on. So a process
//! that obeys TERM, one that only KILL ends and one in uninterruptible sleep need no models of their own: they
//! are different choices in the same world.

use std::time::Duration;

use graceinit::machine::connections::Sample;
use graceinit::machine::hooks::{HookId, HookPhase};
use graceinit::machine::plan::{self, Plan, Rung, Surroundings};
use graceinit::machine::{Action, Event, Origin, Received, Target};
use graceinit::types::{Signal, Status, Time};

use super::choice::Choice;

/// The exit code of `sh` for a program that does not exist.
const NOT_FOUND: u8 = 127;
/// The exit code of graceinit when a hook or graceinit itself has failed.
pub(super) const OWN_ERROR: u8 = 125;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A signal as `kill` sends it.
pub(super) fn from_process(signal: Signal) -> Received {
    Received { signal, origin: Origin::Process(7), value: None }
}

/// A signal as a key at the terminal or a hang-up sends it.
pub(super) fn from_kernel(signal: Signal) -> Received {
    Received { signal, origin: Origin::Kernel, value: None }
}

pub(super) fn rung(signal: Signal, wait: Option<u64>) -> Rung {
    Rung { signal: Some(signal), wait: wait.map(|wait| plan::Wait::For(ms(wait))) }
}

/// A step of `--stop-signal` that sends nothing.
pub(super) fn silence(wait: Option<u64>) -> Rung {
    Rung { signal: None, wait: wait.map(|wait| plan::Wait::For(ms(wait))) }
}

/// A plan, and what may happen while it is followed.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) plan: Plan,
    pub(super) surroundings: Surroundings,
    /// How the app may end by itself.
    pub(super) endings: Vec<Status>,
    /// Signals, each of which may arrive once at any time.
    pub(super) signals: Vec<Received>,
    /// Notifications of the app or of its other processes, each of which may come once at any time.
    pub(super) says: Vec<Event>,
    /// Results that a sample may have.
    pub(super) samples: Vec<Sample>,
    /// How many probes may be answered "not ready" during a stop.
    pub(super) acks: u32,
    /// How often a check may find the app not ready: an attempt of a probe fails or hangs, or the app does not
    /// listen.
    pub(super) not_yet: u8,
    /// Signals that may stop the app, from the terminal or from another process.
    pub(super) app_stops: Vec<Signal>,
    /// How often one of them stops it.
    pub(super) stops: u8,
    /// The app's other processes at the start: whether each is in its group.
    pub(super) descendants: Vec<bool>,
    /// How many more processes may be forked later.
    pub(super) newcomers: u8,
    /// How often the loop may wake up much later than it asked for.
    pub(super) standstills: u8,
    /// How often something may happen halfway to the next wake-up, and not only at it.
    pub(super) lingers: u8,
    /// fork may fail, and so may the execve of a hook.
    pub(super) fork_fails: bool,
    /// The kernel may kill the app for want of memory.
    pub(super) out_of_memory: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum App {
    /// It was not started.
    Unborn,
    /// Whether fork fails is decided next, before anything else happens.
    Fresh,
    /// It was forked, and has not called execve.
    Forked,
    Running,
    /// It has exited and the loop has read its status without reaping it: a zombie.
    Ended,
    Reaped,
}

/// The child that records the survivors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum SurvivorScan {
    None,
    /// Whether fork fails is decided next, before anything else happens.
    Fresh,
    Runs,
    Killed,
}

/// The process of an attempt.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Attempt {
    pub(super) id: HookId,
    pub(super) kill_at: Time,
    pub(super) killed: bool,
}

/// A process of the tree that is neither the app nor a hook.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Descendant {
    pub(super) in_group: bool,
    /// It was sent the stop signal of leftovers.
    pub(super) asked: bool,
    /// It was sent that through the app's process group.
    pub(super) asked_in_group: bool,
    pub(super) killed: bool,
    /// When it was forked; zero: with the app.
    pub(super) born: Time,
    /// A post-stop hook has forked it, or another process of that kind.
    pub(super) of_post_stop: bool,
    /// It was forked after SIGKILL had been sent to all other processes.
    pub(super) after_kill: bool,
}

impl Descendant {
    /// A process that the app has from the start.
    fn first(in_group: bool) -> Descendant {
        Descendant {
            in_group,
            asked: false,
            asked_in_group: false,
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
    /// SIGKILL was sent to the tree.
    tree_killed: bool,
    /// Attempts that were not reaped.
    pub(super) hooks: Vec<Attempt>,
    /// Attempts whose fork succeeds or fails next, before anything else happens.
    pub(super) fresh: Vec<HookId>,
    /// Sorted, so that worlds which differ only in this order are the same state.
    pub(super) descendants: Vec<Descendant>,
    pub(super) scan: SurvivorScan,
    /// graceinit's process group is in the foreground of the terminal.
    pub(super) terminal_is_ours: bool,
    /// A sample is being taken. Its event comes next, before anything else happens.
    pub(super) sampling: bool,
    /// The check whether the app listens goes on. Its event comes next.
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
    standstills_left: u8,
    lingers_left: u8,
}

impl World {
    pub(super) fn new(setup: &Setup) -> World {
        World {
            // Not zero, so that a time can be computed backwards from it.
            now: Time::default().after(ms(1_000_000)),
            begun: false,
            app: App::Unborn,
            app_stopped: false,
            app_killed: false,
            tree_killed: false,
            hooks: Vec::new(),
            fresh: Vec::new(),
            descendants: Vec::new(),
            scan: SurvivorScan::None,
            terminal_is_ours: false,
            signals_left: (1 << setup.signals.len()) - 1,
            sampling: false,
            seeking: false,
            fell: false,
            acks: 0,
            says_left: (1 << setup.says.len()) - 1,
            not_yet_left: setup.not_yet,
            stops_left: setup.stops,
            newcomers_left: setup.newcomers,
            standstills_left: setup.standstills,
            lingers_left: setup.lingers,
        }
    }

    pub(super) fn app_lives(&self) -> bool {
        matches!(self.app, App::Fresh | App::Forked | App::Running)
    }

    /// What has to happen before anything else, and what may happen instead of it.
    pub(super) fn undecided(&self) -> Option<(Choice, Option<Choice>)> {
        if self.sampling {
            return Some((Choice::Sees(0), None));
        }
        if self.seeking {
            return Some((Choice::Listens(true), None));
        }
        match (self.begun, self.app, self.scan, self.fresh.is_empty()) {
            (false, ..) => Some((Choice::Begins, None)),
            (_, App::Fresh, ..) => Some((Choice::AppIsForked, Some(Choice::AppIsNotForked))),
            (_, _, SurvivorScan::Fresh, _) => {
                Some((Choice::ScanRuns, Some(Choice::ScanFailsToStart)))
            }
            (_, _, _, false) => Some((Choice::HookRuns, Some(Choice::HookFailsToStart))),
            (_, _, _, true) => self.answers_at_last(),
        }
    }

    /// The success of a probe that has failed as often as the setup allows.
    fn answers_at_last(&self) -> Option<(Choice, Option<Choice>)> {
        let probe = |hook: &Attempt| hook.id.phase == HookPhase::Ready && !hook.killed;
        let place = self.hooks.iter().position(probe).filter(|_| self.not_yet_left == 0)?;
        let status = Status::Code(0);
        Some((Choice::HookEnds { place, status, leaves_a_descendant: false }, None))
    }

    /// waitid fails with ECHILD.
    pub(super) fn tree_is_empty(&self) -> bool {
        matches!(self.app, App::Unborn | App::Reaped)
            && self.hooks.is_empty()
            && self.descendants.is_empty()
            && self.scan == SurvivorScan::None
    }

    /// Everything that may happen now, except that time passes.
    pub(super) fn choices(&self, setup: &Setup, out: &mut Vec<Choice>) {
        if let Some((succeeds, fails)) = self.undecided() {
            out.push(succeeds);
            out.extend(fails.filter(|_| setup.fork_fails));
            // The event that has to come next may have other results.
            if self.sampling {
                out.extend((1..setup.samples.len()).map(Choice::Sees));
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
            let ends = |status, leaves_a_descendant| Choice::HookEnds {
                place,
                status,
                leaves_a_descendant,
            };
            if hook.killed {
                out.push(ends(Status::Signal(Signal::KILL), false));
                // It may have exited just before the signal.
                if hook.id.phase.checks() {
                    out.push(ends(Status::Code(0), false));
                }
                continue;
            }
            out.push(ends(Status::Code(0), false));
            out.push(ends(Status::Code(1), false));
            if self.newcomers_left > 0 && !hook.id.phase.checks() {
                out.push(ends(Status::Code(0), true));
            }
        }
        for (place, descendant) in self.descendants.iter().enumerate() {
            // One of several equal choices is enough.
            if place == 0 || self.descendants[place - 1] != *descendant {
                out.push(Choice::DescendantEnds(place));
            }
        }
        if self.newcomers_left > 0 && (self.app_lives() || !self.descendants.is_empty()) {
            out.push(Choice::DescendantIsForked);
        }
        let is_left = |place: usize| self.signals_left & 1 << place != 0;
        for (place, signal) in setup.signals.iter().enumerate() {
            // One of several equal choices is enough.
            let equal = |other: usize| is_left(other) && setup.signals[other] == *signal;
            if is_left(place) && !(0..place).any(equal) {
                out.push(Choice::Arrives(place));
            }
        }
        if matches!(self.scan, SurvivorScan::Runs | SurvivorScan::Killed) {
            out.push(Choice::ScanEnds);
        }
        let speaks =
            matches!(self.app, App::Forked | App::Running) && !self.app_stopped && !self.app_killed
                || self.descendants.iter().any(|descendant| !descendant.killed);
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
            // It may have exited just before the signal.
            out.push(Choice::AppEnds(Status::Code(0)));
            return;
        }
        if setup.out_of_memory {
            out.push(Choice::AppRunsOutOfMemory);
        }
        if self.app == App::Forked {
            out.push(Choice::Executed);
            out.push(Choice::NotExecuted);
            // A signal arrived before execve.
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

    pub(super) fn may_stand_still(&self) -> bool {
        self.standstills_left > 0
    }

    pub(super) fn may_linger(&self) -> bool {
        self.lingers_left > 0
    }

    /// Changes the world; the event that the machine gets for it.
    pub(super) fn happen(&mut self, setup: &Setup, choice: Choice) -> Option<Event> {
        match choice {
            Choice::Begins => {
                self.begun = true;
                Some(Event::Begun)
            }
            Choice::AppIsForked => {
                self.app = App::Forked;
                self.descendants
                    .extend(setup.descendants.iter().map(|&in_group| Descendant::first(in_group)));
                self.descendants.sort();
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
            Choice::AppRunsOutOfMemory => {
                self.app = App::Ended;
                Some(Event::AppOutOfMemory)
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
            Choice::HookEnds { place, status, leaves_a_descendant } => {
                let Attempt { id, killed, .. } = self.hooks.remove(place);
                if status != Status::Code(0) && !killed {
                    self.not_yet(id);
                }
                if leaves_a_descendant {
                    self.fork_descendant(id.phase == HookPhase::PostStop);
                }
                Some(Event::HookExited(id, status))
            }
            Choice::HookCannotBeExecuted(place) => {
                let id = self.hooks.remove(place).id;
                self.not_yet(id);
                Some(Event::HookNotStarted(id))
            }
            Choice::DescendantEnds(place) => {
                self.descendants.remove(place);
                None
            }
            Choice::DescendantIsForked => {
                let of_post_stop = !self.app_lives()
                    && self.descendants.iter().all(|descendant| descendant.of_post_stop);
                self.fork_descendant(of_post_stop);
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
                self.sampling = false;
                Some(Event::Sampled(setup.samples[place]))
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
            Choice::ScanRuns => {
                self.scan = SurvivorScan::Runs;
                None
            }
            Choice::ScanFailsToStart => {
                self.scan = SurvivorScan::None;
                None
            }
            Choice::ScanEnds => {
                self.scan = SurvivorScan::None;
                Some(Event::SurvivorsRecorded)
            }
            Choice::TreeIsEmpty => Some(Event::TreeEmpty),
            Choice::Tick => Some(Event::Tick),
            Choice::Wait(time) => {
                self.now = time;
                None
            }
            Choice::StandStill(time) => {
                self.standstills_left -= 1;
                let span = time.since(self.now);
                self.now = time;
                Some(Event::StoodStill(span))
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

    fn fork_descendant(&mut self, of_post_stop: bool) {
        self.newcomers_left -= 1;
        let (born, after_kill) = (self.now, self.tree_killed);
        self.descendants.push(Descendant {
            born,
            of_post_stop,
            after_kill,
            ..Descendant::first(false)
        });
        self.descendants.sort();
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
                let asked = stop && signal == leftovers;
                for descendant in self
                    .descendants
                    .iter_mut()
                    .filter(|descendant| asked && reaches(target, descendant))
                {
                    descendant.asked = true;
                    descendant.asked_in_group |= target == Target::Group;
                }
            }
            Action::StartHook { id, kill_at, .. } => {
                self.hooks.push(Attempt { id, kill_at, killed: false });
                self.fresh.push(id);
            }
            Action::StartApp => self.app = App::Fresh,
            // A scan that still runs is enough.
            Action::RecordSurvivors => {
                if self.scan == SurvivorScan::None {
                    self.scan = SurvivorScan::Fresh;
                }
            }
            Action::KillHook(id) => {
                self.not_yet(id);
                for hook in self.hooks.iter_mut().filter(|hook| hook.id == id) {
                    hook.killed = true;
                }
            }
            Action::SignalLeftovers { group_asked, .. } => {
                for descendant in &mut self.descendants {
                    descendant.asked |= !(group_asked && descendant.in_group);
                }
            }
            Action::KillTree => {
                self.tree_killed = true;
                self.app_killed |= self.app_lives();
                self.hooks.iter_mut().for_each(|hook| hook.killed = true);
                self.descendants.iter_mut().for_each(|descendant| descendant.killed = true);
                if self.scan != SurvivorScan::None {
                    self.scan = SurvivorScan::Killed;
                }
            }
            Action::SetReady(false) => self.fell = true,
            Action::SeekListeners => self.seeking = true,
            Action::TakeSample => self.sampling = true,
            Action::GiveTerminal => self.terminal_is_ours = false,
            Action::TakeTerminal => self.terminal_is_ours = true,
            // A hook that is asked to end may live on.
            Action::StopHook { .. }
            | Action::ArmDeadMan(_)
            | Action::SuspendSelf
            | Action::TellHolders { .. }
            | Action::ReportSurvivors
            | Action::TellMoreTime(_)
            | Action::PrepareReport
            | Action::SetReady(true)
            | Action::FollowMain(_)
            | Action::Record(_)
            | Action::Exit { .. } => {}
        }
        self.descendants.sort();
    }

    /// All actions of an event were performed.
    pub(super) fn reap_app(&mut self) {
        if self.app == App::Ended {
            self.app = App::Reaped;
        }
    }
}

fn reaches(target: Target, descendant: &Descendant) -> bool {
    match target {
        // Which other processes are asked later is explored in `who`.
        Target::App | Target::Auto => false,
        Target::Group => descendant.in_group,
        Target::Tree => true,
    }
}
