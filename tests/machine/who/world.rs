//! A container with a few processes that do what such processes do, at any time and in any order, and a
//! graceinit that has only [`Who`] to go by.

use std::fmt;

use graceinit::machine::who::{Answer, Ask, Manner, Who};
use graceinit::types::process::{Id, Process, Tree};
use graceinit::types::{Pid, Signal, SignalSet, Time};

use super::planted::{Bug, Sabotaged};
use super::scene::{BUDGET, Differs, MAIN, ROOT, at, tree};

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    /// It works. With a handler it ends at some time after it was told.
    App,
    /// The same, but it may end at any time.
    Brief,
    /// It waits for its foreground child. With a handler: then it passes the signal on to its jobs, or
    /// does not; then it ends.
    Shell { forwards: bool },
    /// It tells its workers, and ends when all have ended.
    Master,
    /// It ends when no process writes to its pipe any more.
    Reader,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Actor {
    pub(super) process: Process,
    pub(super) kind: Kind,
    /// The child that a shell waits for.
    pub(super) foreground: Option<Id>,
    /// How many children it may still start.
    pub(super) forks: u8,
    /// It was there when the stop began.
    first: bool,
    /// It has heard of the stop.
    told: bool,
    /// Its parent has told it.
    told_by_parent: bool,
    /// It has told its children.
    acted: bool,
    /// When graceinit asked it, in which step, with what.
    asked: Vec<(Time, usize, Signal)>,
    /// Its parent was asked and has ended; `true`: that was a shell with a trap.
    left_by: Option<bool>,
}

impl Actor {
    pub(super) fn new(process: Process, kind: Kind) -> Actor {
        Actor {
            process,
            kind,
            foreground: None,
            forks: 0,
            first: true,
            told: false,
            told_by_parent: false,
            acted: false,
            asked: Vec::new(),
            left_by: None,
        }
    }

    pub(super) fn waits_for(mut self, child: &Actor) -> Actor {
        self.foreground = Some(child.process.id());
        self
    }

    pub(super) fn forks(self, forks: u8) -> Actor {
        Actor { forks, ..self }
    }

    fn busy(&self) -> bool {
        self.process.activity.is_some_and(|activity| activity.busy)
    }

    fn wake(&mut self) {
        self.process.activity.iter_mut().for_each(|activity| activity.busy = true);
    }

    fn has_trap(&self, signal: Signal) -> bool {
        matches!(self.kind, Kind::Shell { .. }) && self.catches(signal)
    }

    fn catches(&self, signal: Signal) -> bool {
        self.process.handling.is_some_and(|handling| handling.caught.contains(signal))
    }

    fn ignores(&self, signal: Signal) -> bool {
        self.process.handling.is_some_and(|handling| handling.ignored.contains(signal))
    }

    fn blocks(&self, signal: Signal) -> bool {
        self.process.handling.is_some_and(|handling| handling.blocked.contains(signal))
    }

    fn defaults(&self, signal: Signal) -> bool {
        !self.catches(signal) && !self.ignores(signal) && !self.blocks(signal)
    }

    fn is_reader(&self) -> bool {
        self.kind == Kind::Reader
    }

    fn writes_to(&self, reader: &Actor) -> bool {
        let pipes = |actor: &Actor| actor.process.files.clone().map(|files| files.pipes);
        let (Ok(mine), Ok(theirs)) = (pipes(self), pipes(reader)) else { return false };
        mine.iter().any(|w| w.writes && theirs.iter().any(|r| r.reads && r.target == w.target))
    }
}

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// Nothing, until graceinit wakes up or the budget ends.
    Wait,
    /// Nothing, for half of that time.
    Linger,
    /// This process ends.
    Ends(Id),
    /// It tells its children.
    Tells(Id),
    /// It gets the processor.
    Runs(Id),
    /// It starts a child.
    Forks(Id),
    /// The platform sends its second signal.
    Escalates,
}

macro_rules! promises {
    ($($name:ident: $sentence:literal,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Promise {
            $($name,)*
        }

        impl Promise {
            pub(super) const ALL: &[Promise] = &[$(Promise::$name,)*];
        }

        impl fmt::Display for Promise {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Promise::$name => write!(f, "{self:?} ({})", $sentence),)*
                }
            }
        }
    };
}

promises! {
    OnlyTheLiving: "no process is asked once it was reaped, nor another one of its pid in its place",
    Once: "a process is asked once in each step, and never twice with the same signal",
    LeftToItsParent: "a process is not asked while a living process may tell it, before patience",
    NotTwice: "a process that its parent has told is not told by graceinit, before half of the budget",
    OrphansWait: "an orphan from before the stop is not asked while the main process lives",
    ReadersLast: "a reader is asked when nothing else is left, and its last line is read",
    AtOnce: "a process that no living process can tell is asked at the first look",
    TrapInTime: "a child is asked when its parent has waited for it for 300 ms (a shell in a shell: 150 ms) instead of taking the signal",
    HandedDown: "what a deaf process starts is sought, and asked when it is found",
    Everybody: "a process that was there at the request is asked before it is killed",
    Escalated: "another stop signal reaches every process that was asked",
    Rests: "graceinit does not look again at the same moment",
}

#[derive(Debug)]
pub(super) struct Broken {
    pub(super) promise: Promise,
    pub(super) how: String,
}

pub(super) type Kept = Result<(), Broken>;

fn kept(yes: bool, promise: Promise, how: impl fmt::Debug) -> Kept {
    if yes { Ok(()) } else { Err(Broken { promise, how: format!("{how:?}") }) }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub(super) now: Time,
    /// In the order of their pids, parents before children.
    actors: Vec<Actor>,
    signal: Signal,
    step: usize,
    /// The second signal, until it has come.
    second: Option<Signal>,
    lingers: u8,
    main_ended: Option<Time>,
    who: Sabotaged,
    next: Option<Time>,
}

/// A tree and what may happen to it.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) actors: Vec<Actor>,
    pub(super) signal: Signal,
    pub(super) second: Option<Signal>,
    pub(super) lingers: u8,
}

const HALF: Time = at(BUDGET / 2);
/// The moments of patience.
const FIRST: Time = at(BUDGET * 3 / 4);
const SECOND: Time = at(BUDGET * 9 / 10);
const END: Time = at(BUDGET);

impl World {
    pub(super) fn new(shape: &Shape, bug: Option<Bug>) -> Result<World, Broken> {
        let actors = shape.actors.clone();
        let processes = actors.iter().map(|actor| actor.process.clone()).collect();
        let tree = tree(at(0), processes);
        let main = (Pid(MAIN), None);
        let mut who = Who::begin(at(0), Some(END), Manner::Auto, shape.signal, main, Some(&tree));
        let answer = who.look(at(0), &tree);
        let mut world = World {
            now: at(0),
            actors,
            signal: shape.signal,
            step: 0,
            second: shape.second,
            lingers: shape.lingers,
            main_ended: None,
            who: Sabotaged::new(who, bug),
            next: None,
        };
        // Rule 2: the machine itself asks the main process.
        if let Some(main) = world.actors.iter_mut().find(|actor| actor.process.pid == Pid(MAIN)) {
            main.asked.push((at(0), 0, shape.signal));
            let id = main.process.id();
            world.deliver(id, shape.signal);
        }
        let answer = world.who.sabotage(world.now, answer, &tree);
        world.take(answer)?;
        if world.find((Pid(MAIN), tree.processes[0].started)).is_none() {
            world.look()?;
        }
        Ok(world)
    }

    fn find(&self, id: Id) -> Option<&Actor> {
        self.actors.iter().find(|actor| actor.process.id() == id)
    }

    fn find_mut(&mut self, id: Id) -> Option<&mut Actor> {
        self.actors.iter_mut().find(|actor| actor.process.id() == id)
    }

    fn parent(&self, actor: &Actor) -> Option<&Actor> {
        self.actors.iter().find(|other| other.process.pid == actor.process.parent)
    }

    fn children(&self, id: Id) -> impl Iterator<Item = &Actor> {
        self.actors.iter().filter(move |actor| actor.process.parent == id.0)
    }

    pub(super) fn tree(&self) -> Tree {
        tree(self.now, self.actors.iter().map(|actor| actor.process.clone()).collect())
    }

    pub(super) fn is_over(&self) -> bool {
        self.actors.is_empty() || self.now >= END
    }

    // ---- what may happen ----------------------------------------------------------------------

    pub(super) fn choices(&self) -> Vec<Choice> {
        if self.is_over() {
            return Vec::new();
        }
        let mut choices = vec![Choice::Wait];
        if self.lingers > 0 {
            choices.push(Choice::Linger);
        }
        if self.second.is_some() {
            choices.push(Choice::Escalates);
        }
        for actor in &self.actors {
            let id = actor.process.id();
            if actor.busy() {
                choices.push(Choice::Runs(id));
                continue;
            }
            if actor.forks > 0 {
                choices.push(Choice::Forks(id));
            }
            if self.may_tell(actor) {
                choices.push(Choice::Tells(id));
            }
            if self.may_end(actor) {
                choices.push(Choice::Ends(id));
            }
        }
        choices
    }

    fn waits(&self, actor: &Actor) -> bool {
        actor.foreground.is_some_and(|child| self.find(child).is_some())
    }

    fn may_tell(&self, actor: &Actor) -> bool {
        let tells = match actor.kind {
            Kind::Shell { forwards } => forwards && !self.waits(actor),
            Kind::Master => true,
            Kind::App | Kind::Brief | Kind::Reader => false,
        };
        tells && actor.told && !actor.acted && self.children(actor.process.id()).next().is_some()
    }

    fn may_end(&self, actor: &Actor) -> bool {
        match actor.kind {
            Kind::Brief => true,
            Kind::App => actor.told,
            Kind::Master => actor.told && self.children(actor.process.id()).next().is_none(),
            Kind::Shell { .. } => {
                // Without a foreground child it is in `wait`, until it is told.
                let over = actor.foreground.is_some() || actor.told;
                over && !self.waits(actor) && !self.may_tell(actor)
            }
            Kind::Reader => {
                let fed = |other: &Actor| {
                    other.process.pid != actor.process.pid && other.writes_to(actor)
                };
                !self.actors.iter().any(fed)
            }
        }
    }

    pub(super) fn step(&mut self, choice: Choice) -> Kept {
        match choice {
            Choice::Wait => {
                let next = self.next.filter(|next| *next < END).unwrap_or(END);
                self.judge_sleep(next)?;
                self.now = next;
                if next == END {
                    return self.judge_end();
                }
                self.look()
            }
            Choice::Linger => {
                self.lingers -= 1;
                let next = self.next.map_or(END, |next| next.min(END));
                self.now = Time(self.now.0 + (next.0 - self.now.0) / 2_000_000 * 1_000_000);
                Ok(())
            }
            Choice::Ends(id) => {
                if self.remove(id) {
                    self.look()
                } else {
                    Ok(())
                }
            }
            Choice::Runs(id) => {
                let actor = self.find_mut(id).expect("it lives");
                if let Some(activity) = &mut actor.process.activity {
                    (activity.busy, activity.switches) = (false, activity.switches + 1);
                }
                Ok(())
            }
            Choice::Forks(id) => {
                self.fork(id);
                Ok(())
            }
            Choice::Tells(id) => {
                let signal = self.signal;
                let children: Vec<Id> = self.children(id).map(|child| child.process.id()).collect();
                self.find_mut(id).expect("it lives").acted = true;
                for child in children {
                    if let Some(actor) = self.find_mut(child) {
                        actor.told_by_parent = true;
                    }
                    self.deliver(child, signal);
                }
                Ok(())
            }
            Choice::Escalates => {
                let signal = self.second.take().expect("there is one");
                (self.signal, self.step) = (signal, self.step + 1);
                let tree = self.tree();
                let answer = self.who.step(self.now, signal, &tree);
                self.take(answer)?;
                let missed = self.actors.iter().find(|actor| {
                    let told = |(_, _, sent): &(Time, usize, Signal)| *sent == signal;
                    !actor.asked.is_empty() && !actor.asked.iter().any(told)
                });
                kept(missed.is_none(), Promise::Escalated, missed)
            }
        }
    }

    /// A child with a handler, in the lowest pid that is free.
    fn fork(&mut self, id: Id) {
        let pid = (MAIN + 1..).find(|pid| self.actors.iter().all(|a| a.process.pid != Pid(*pid)));
        let pid = Pid(pid.expect("a free pid"));
        let started = self.tree().ticks;
        let parent = self.find_mut(id).expect("it lives");
        parent.forks -= 1;
        let process = super::scene::process(pid.0, id.0.0, "app").catches();
        let child = Actor::new(process.edit(|process| process.started = started), Kind::App);
        self.actors.push(Actor { first: false, ..child });
    }

    /// Takes a process out. Whether graceinit is told of it.
    fn remove(&mut self, id: Id) -> bool {
        let place = self.actors.iter().position(|actor| actor.process.id() == id);
        let gone = self.actors.remove(place.expect("it lives"));
        if gone.process.pid == Pid(MAIN) {
            self.main_ended = Some(self.now);
        }
        let trap = gone.has_trap(self.signal);
        for actor in &mut self.actors {
            if actor.process.parent == id.0 {
                actor.process.parent = ROOT;
                actor.left_by = (!gone.asked.is_empty()).then_some(trap);
            }
            // Its last line.
            if actor.is_reader() && gone.writes_to(actor) {
                actor.wake();
            }
        }
        gone.process.parent == ROOT
    }

    /// Whether graceinit has to look: a child of its own has died of it.
    fn deliver(&mut self, id: Id, signal: Signal) -> bool {
        let Some(actor) = self.find_mut(id) else { return false };
        if actor.ignores(signal) {
            return false;
        }
        if actor.defaults(signal) {
            return self.remove(id);
        }
        if actor.blocks(signal) {
            // It stays there, untaken.
            if let Some(handling) = &mut actor.process.handling {
                handling.pending = SignalSet::of(&[signal]);
            }
            return false;
        }
        actor.told = true;
        actor.wake();
        false
    }

    // ---- graceinit ----------------------------------------------------------------------------

    fn look(&mut self) -> Kept {
        let tree = self.tree();
        let answer = self.who.look(self.now, &tree);
        self.take(answer)?;
        self.judge_look(&tree)
    }

    fn take(&mut self, answer: Answer) -> Kept {
        kept(answer.next.is_none_or(|next| next > self.now), Promise::Rests, answer.next)?;
        self.next = answer.next;
        let mut again = false;
        for ask in answer.asks {
            self.judge_ask(&ask)?;
            let (now, step) = (self.now, self.step);
            let actor = self.find_mut(ask.id).expect("it was judged to live");
            actor.asked.push((now, step, ask.signal));
            again |= self.deliver(ask.id, ask.signal);
        }
        if again { self.look() } else { Ok(()) }
    }

    // ---- promises -----------------------------------------------------------------------------

    fn judge_ask(&self, ask: &Ask) -> Kept {
        let Some(actor) = self.find(ask.id) else {
            return kept(false, Promise::OnlyTheLiving, ask);
        };
        let twice =
            |(_, step, signal): &(Time, usize, Signal)| *step == self.step || *signal == ask.signal;
        kept(!actor.asked.iter().any(twice), Promise::Once, ask)?;
        if !actor.asked.is_empty() {
            // The next step.
            return Ok(());
        }
        let may_have_heard = actor.told_by_parent && self.now < HALF;
        kept(!may_have_heard, Promise::NotTwice, ask)?;
        if actor.is_reader() && self.now < SECOND {
            let calm = |other: &Actor| {
                other.is_reader() || self.parent(other).is_some_and(Actor::is_reader)
            };
            kept(self.actors.iter().all(calm), Promise::ReadersLast, ask)?;
            kept(!actor.busy() || self.now >= HALF, Promise::ReadersLast, "its last line")?;
        }
        if self.now >= FIRST {
            return Ok(());
        }
        match self.parent(actor) {
            Some(parent) => {
                let reached = |actor: &Actor| actor.ignores(self.signal) && !actor.told;
                let deaf = reached(parent);
                let waits =
                    parent.has_trap(self.signal) && parent.foreground == Some(actor.process.id());
                let trap = (waits || parent.blocks(self.signal))
                    && parent
                        .asked
                        .last()
                        .is_some_and(|(then, ..)| self.now >= self.waited(parent, *then));
                kept(deaf || trap, Promise::LeftToItsParent, ask)
            }
            None => {
                let orphan = actor.left_by.is_none() && actor.first;
                kept(!orphan || self.main_ended.is_some(), Promise::OrphansWait, ask)
            }
        }
    }

    /// What has to be done now that graceinit has read `tree`.
    fn judge_look(&self, tree: &Tree) -> Kept {
        let seen = |actor: &&Actor| {
            let (id, parent) = (actor.process.id(), actor.process.parent);
            tree.processes.iter().any(|process| process.id() == id && process.parent == parent)
        };
        for actor in self.actors.iter().filter(seen) {
            let old = self.tree().ticks - actor.process.started >= 20;
            let grown = actor.catches(self.signal) || old;
            let open = actor.asked.is_empty() && !actor.ignores(self.signal) && !actor.is_reader();
            if !open || !grown {
                continue;
            }
            match self.parent(actor) {
                None => {
                    let left = actor.left_by.is_some() || self.main_ended.is_some();
                    let may_have_heard = actor.left_by == Some(true) && actor.catches(self.signal);
                    // One that is started later is a leftover's own, or its parent was never seen.
                    let due = left && actor.first;
                    kept(!due || may_have_heard, Promise::AtOnce, actor)?;
                }
                Some(parent) => {
                    let deaf = parent.process.pid == Pid(MAIN) && parent.ignores(self.signal);
                    kept(!deaf, Promise::HandedDown, actor)?;
                }
            }
        }
        Ok(())
    }

    /// When a parent that was asked `then` has waited for its child long enough.
    fn waited(&self, parent: &Actor, then: Time) -> Time {
        let shells = |above: &Actor| {
            above.has_trap(self.signal) && above.foreground == Some(parent.process.id())
        };
        let nested = self.parent(parent).is_some_and(shells);
        Time(then.0 + if nested { 150_000_000 } else { 300_000_000 })
    }

    /// What must not happen only after `until`.
    fn judge_sleep(&self, until: Time) -> Kept {
        let soon = until.0 <= self.now.0 + 1_000_000_000;
        for actor in self.actors.iter().filter(|actor| actor.asked.is_empty()) {
            let left = actor.left_by == Some(false) && actor.catches(self.signal) && actor.first;
            kept(!left || soon, Promise::AtOnce, actor)?;
            let Some(parent) = self.parent(actor) else { continue };
            let (Some((then, ..)), true) = (parent.asked.last(), actor.first) else { continue };
            let waited_for = parent.foreground == Some(actor.process.id());
            let trap = parent.has_trap(self.signal) && waited_for;
            if (trap || parent.blocks(self.signal)) && actor.catches(self.signal) {
                let due = self.waited(parent, *then);
                kept(until.0 <= due.0.max(self.now.0 + 1), Promise::TrapInTime, actor)?;
            }
        }
        let deaf =
            self.actors.iter().find(|a| a.process.pid == Pid(MAIN) && a.ignores(self.signal));
        kept(deaf.is_none() || soon, Promise::HandedDown, until)
    }

    fn judge_end(&self) -> Kept {
        let missed = self
            .actors
            .iter()
            .find(|actor| actor.first && actor.asked.is_empty() && !actor.ignores(self.signal));
        kept(missed.is_none(), Promise::Everybody, missed)
    }
}
