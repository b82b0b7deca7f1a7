//! The language of `stories`: a machine with a fake clock, events as verbs, and its actions as words.

use std::time::Duration;

use graceinit::machine::attempt::{HookId, HookPhase};
use graceinit::machine::fact::Fact;
use graceinit::machine::plan::{Plan, Surroundings};
use graceinit::machine::ready::Notice;
use graceinit::machine::{Action, Event, Machine, Received, Target};
use graceinit::types::{Signal, Status, Time};

/// More ticks than any story has. A machine that asks for more never sleeps.
const MOST_TICKS: usize = 10_000;

/// A machine, its clock, and what it did last.
pub(super) struct Story {
    machine: Machine,
    now: Time,
    /// What the machine did since the last thing that happened.
    done: Vec<String>,
}

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// graceinit has started, and the machine has begun.
pub(super) fn story(plan: Plan) -> Story {
    let machine = Machine::new(plan, Surroundings::default());
    // Not zero, so that a time before the begin differs from the begin.
    let now = Time::default().after(seconds(1000));
    let mut story = Story { machine, now, done: Vec::new() };
    story.handle(Event::Begun);
    story
}

/// graceinit has started, and the app was executed.
pub(super) fn story_of_a_running_app(plan: Plan) -> Story {
    story(plan).happens(Event::AppExecuted)
}

impl Story {
    fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        self.machine.handle(self.now, event, &mut out);
        self.done.extend(out.iter().filter_map(word));
    }

    // ---- what happens ---------------------------------------------------------------------------

    pub(super) fn happens(mut self, event: Event) -> Story {
        self.done.clear();
        self.handle(event);
        self
    }

    /// The clock moves on by `span`. The loop wakes whenever the machine asks for it.
    pub(super) fn after(mut self, span: Duration) -> Story {
        self.done.clear();
        let end = self.now.after(span);
        for _ in 0..MOST_TICKS {
            let Some(wakeup) = self.machine.next_wakeup().filter(|wakeup| *wakeup <= end) else {
                self.now = end;
                return self;
            };
            self.now = self.now.max(wakeup);
            self.handle(Event::Tick);
        }
        panic!("no sleep: {:?}", self.machine);
    }

    pub(super) fn receives(self, received: Received) -> Story {
        self.happens(Event::Signal(received))
    }

    pub(super) fn app_says(self, notice: Notice) -> Story {
        self.happens(Event::Notice(notice))
    }

    pub(super) fn app_exits(self, code: u8) -> Story {
        self.happens(Event::AppExited(Status::Code(code)))
    }

    pub(super) fn app_dies_of(self, signal: Signal) -> Story {
        self.happens(Event::AppExited(Status::Signal(signal)))
    }

    /// The attempt of this hook that runs now exits.
    pub(super) fn hook_exits(self, phase: HookPhase, index: usize, code: u8) -> Story {
        let running = |id: &HookId| id.phase == phase && id.index == index;
        let id = self.machine.running_hooks().find(running).expect("the hook runs");
        self.happens(Event::HookExited(id, Status::Code(code)))
    }

    pub(super) fn tree_is_empty(self) -> Story {
        self.happens(Event::TreeEmpty)
    }

    // ---- what is expected -----------------------------------------------------------------------

    /// Exactly this was done, in this order.
    #[track_caller]
    pub(super) fn does(self, expected: &[&str]) -> Story {
        assert_eq!(self.done, expected, "in {:?}", self.machine.phase());
        self
    }

    #[track_caller]
    pub(super) fn does_nothing(self) -> Story {
        self.does(&[])
    }

    /// The machine is in the phase of this name.
    #[track_caller]
    pub(super) fn is(self, phase: &str) -> Story {
        assert_eq!(self.machine.phase().name().as_str(), phase, "after {:?}", self.done);
        self
    }
}

/// The word for an action. Facts and the dead-man's preparations are no part of a story.
fn word(action: &Action) -> Option<String> {
    let hook = |id: &HookId| format!("{} {}", id.phase.as_str(), id.index);
    Some(match action {
        Action::Record(Fact::StillNotReady { .. }) => "warn that it is late".to_owned(),
        Action::Record(_) | Action::PrepareReport | Action::ArmDeadMan(_) => return None,
        Action::StartApp => "start the app".to_owned(),
        Action::SignalApp { signal, target, .. } => {
            let target = match target {
                Target::App => "the app",
                Target::Group => "the group",
                Target::Tree => "the tree",
                Target::Auto => "the app, alone",
            };
            format!("{signal} to {target}")
        }
        Action::StartHook { id, .. } => format!("start {}", hook(id)),
        Action::KillHook(id) => format!("KILL to {}", hook(id)),
        Action::StopHook { id, signal } => format!("{signal} to {}", hook(id)),
        Action::SignalLeftovers { signal, .. } => format!("{signal} to the leftovers"),
        Action::SetReady(true) => "ready".to_owned(),
        Action::SetReady(false) => "not ready".to_owned(),
        Action::FollowMain(pid) => format!("follow {pid}"),
        Action::SeekListeners => "check the ports".to_owned(),
        Action::TakeSample => "take a sample".to_owned(),
        Action::TellHolders { .. } => "tell which connections held the drain".to_owned(),
        Action::RecordSurvivors => "record survivors".to_owned(),
        Action::ReportSurvivors => "report survivors".to_owned(),
        Action::TellMoreTime(span) => format!("ask for {span:?} more"),
        Action::KillTree => "KILL to the tree".to_owned(),
        Action::SuspendSelf => "suspend".to_owned(),
        Action::GiveTerminal => "give the terminal".to_owned(),
        Action::TakeTerminal => "take the terminal".to_owned(),
        Action::Exit { code, .. } => format!("exit {code}"),
    })
}
