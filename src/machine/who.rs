//! Which process is asked to stop, with which signal, and when: `--scope auto`, and the leftovers of
//! every scope. The tree as it was last read goes in ([`Who::look`]), the processes to ask now and the
//! time of the next reading come out.
//!
//! A process that is asked too early loses its work, one that is asked twice cuts it short, one that is
//! never asked is killed with it. Many processes are asked by their own parent: a master tells its
//! workers, a shell's trap tells its job. So the main process is asked alone, and every other process
//! has to wait until it is clear that no living process is going to tell it. `rules` has the rules, one
//! function for each; this file has what is remembered during a stop.
//!
//! The order of a stop with `--scope auto`:
//!
//! ```text
//! tree is read → the main process is sent the signal, then SIGCONT → Who::begin
//!                Who::look  at once, at Answer::next and whenever a child of graceinit has ended
//!                Who::step  for the next step of --stop-signal, or another stop signal from outside
//! ```

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::types::process::{Activity, Handling, Id, Process, Tree};
use crate::types::{Pid, Signal, Status, Time};
use rules::Look;
pub use rules::is_read_first;

/// Which processes are this module's business.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Manner {
    /// `--scope auto`: all of them, from the first signal on.
    Auto,
    /// The other scopes: those that are left when the main process has ended. `patience`: rule 6 holds
    /// for them (`--scope main` has none).
    Leftovers {
        /// See above.
        patience: bool,
    },
}

/// The rule by which a process is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Why {
    /// Its parent ignores the signal.
    HandedDown,
    /// The process that would have told it has ended.
    Topmost,
    /// It reads a pipe, and nothing else is left.
    Reader,
    /// It is in the foreground of a shell that waits for it with a trap.
    Foreground,
    /// The budget is nearly over.
    Patience,
    /// It was asked before, with another signal.
    Again,
}

/// A process whose end is the reason why another is asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ended {
    /// Its pid.
    pub pid: Pid,
    /// Its name.
    pub name: Box<str>,
    /// The signal that it died of.
    pub signal: Signal,
}

/// One process to be sent a signal now, and SIGCONT after it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ask {
    /// Its pid and start time: what is sent must reach this process and no other of the same pid.
    pub id: Id,
    /// Its parent's pid.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// Its name.
    pub name: Box<str>,
    /// What it is sent.
    pub signal: Signal,
    /// The rule.
    pub why: Why,
    /// "TERM ended uv (pid 7); its child python (pid 9) was asked instead".
    pub instead_of: Option<Ended>,
}

/// What follows from one reading.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Answer {
    /// The processes to ask now, parents before their children.
    pub asks: Vec<Ask>,
    /// When the tree has to be read again at the latest, even if no child has ended; `None`: that is
    /// not needed.
    pub next: Option<Time>,
    /// These rules applied for the first time in this stop: each is worth one warning, with the names
    /// of those in `asks`.
    pub warn: Vec<Why>,
}

impl Answer {
    fn wake(&mut self, at: Time) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// A process that was asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Asked {
    at: Time,
    /// Every signal that it was sent. None is sent twice.
    told: Vec<Signal>,
    name: Box<str>,
    /// `None`: its program could not be read.
    shell: Option<bool>,
    /// It sends what it gets to its whole process group.
    relays: bool,
    /// It is in the foreground of a shell that waits for it with a trap.
    nested: bool,
    /// It had a handler before it was asked last.
    caught: bool,
    /// It ignored the signal before it was asked last.
    ignored: bool,
    /// How it ended, if graceinit has reaped it.
    status: Option<Status>,
}

/// What is remembered of every process that was seen.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Kin {
    /// Its parent, or the last one that it had before it became an orphan.
    parent: Option<Id>,
    /// It is in the snapshot. Start times, in ticks of 10 ms, cannot say that.
    first: bool,
    /// It was seen while the main process lived, or just when that had ended.
    early: bool,
    /// How much it had run at the first reading.
    baseline: Option<Activity>,
    /// The same at the last reading.
    activity: Option<Activity>,
    /// When it was last found to have run.
    ran: Time,
}

/// The state of one stop.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Who {
    manner: Manner,
    /// The main process; `None`: it has ended.
    main: Option<Id>,
    /// The present step's signal.
    signal: Signal,
    /// When the first signal was sent: shares of the budget count from here.
    from: Time,
    /// When everything is killed, if there is such a time.
    end: Option<Time>,
    asked: BTreeMap<Id, Asked>,
    kin: BTreeMap<Id, Kin>,
    /// There was a reading: the first one is the snapshot.
    snapshot: bool,
    /// When the tree was last stirred up (a signal, the end of the main process): readings that look for
    /// news are frequent after that, and become rare.
    stirred: Time,
    /// When the main process had ended, in ticks since boot.
    main_ended: Option<u64>,
    /// Since when there are readers only.
    alone: Option<Time>,
    /// The moments of rule 6 that have passed.
    passed: [bool; 2],
    warned: BTreeSet<Why>,
}

impl Who {
    /// A stop has begun: the main process was sent `signal` at `now`, alone, and SIGCONT after it (rule 2).
    /// `snapshot` was read just before that or soon after, `before` just before it: what a process did with
    /// the signal counts as it was before the signal came (timeout(1) ignores what it has passed on).
    /// No snapshot: /proc cannot be read.
    pub fn begin(
        now: Time,
        end: Option<Time>,
        manner: Manner,
        signal: Signal,
        (main, before): (Pid, Option<Handling>),
        snapshot: Option<&Tree>,
    ) -> Who {
        let mut who = Who::new(now, end, manner, signal);
        let Some(tree) = snapshot else { return who };
        if let Some(process) = tree.processes.iter().find(|process| process.pid == main) {
            who.main = Some(process.id());
            let handling = before.or(process.handling);
            who.note(now, &Process { handling, ..process.clone() }, signal);
            if let Some(asked) = who.asked.get_mut(&process.id()).filter(|_| before.is_some()) {
                // A shell's tree is read before: this one was found to be none, and may have begun to exit since,
                // when its program cannot be read any more.
                asked.shell = asked.shell.or(Some(false));
            }
        }
        who.observe(now, tree);
        who
    }

    /// The main process has ended before any signal was sent: the app has ended by itself, or what a
    /// hook has left behind is to go.
    pub fn leftovers(now: Time, end: Option<Time>, patience: bool, signal: Signal) -> Who {
        Who::new(now, end, Manner::Leftovers { patience }, signal)
    }

    fn new(now: Time, end: Option<Time>, manner: Manner, signal: Signal) -> Who {
        Who {
            manner,
            main: None,
            signal,
            from: now,
            end,
            asked: BTreeMap::new(),
            kin: BTreeMap::new(),
            snapshot: false,
            stirred: now,
            main_ended: None,
            alone: None,
            passed: [false; 2],
            warned: BTreeSet::new(),
        }
    }

    /// These have heard of the stop already, at `at`: the app's group, under `--scope group`.
    pub fn mark_asked(&mut self, at: Time, tree: &Tree, heard: impl Fn(&Process) -> bool) {
        for process in tree.processes.iter().filter(|process| heard(process)) {
            self.note(at, process, self.signal);
        }
    }

    /// No tree was looked at yet.
    pub fn is_new(&self) -> bool {
        !self.snapshot
    }

    /// A process was asked and has not ended, as far as graceinit has reaped it.
    pub fn awaits_an_end(&self) -> bool {
        self.asked.values().any(|asked| asked.status.is_none())
    }

    /// The present step's signal.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The budget has changed (the app has asked for more time), or has begun with the leftovers.
    pub fn set_budget(&mut self, from: Time, end: Option<Time>) {
        (self.from, self.end) = (from, end);
    }

    /// graceinit has reaped this child. Before the next reading, since its pid may be used again then.
    pub fn ended(&mut self, pid: Pid, status: Status) {
        let asked = self.asked.iter_mut().rfind(|((asked, _), _)| *asked == pid);
        if let Some((_, asked)) = asked {
            asked.status = Some(status);
        }
    }

    /// Rule 9: the next step of `--stop-signal`, or a stop signal from outside that is not the one
    /// before (GitHub Actions and Fly send INT, then TERM). It goes to all that were asked and live,
    /// and the rules go on with it; the clock does not begin anew. The answer has these only: what follows
    /// for others is the next [`Who::look`]'s.
    pub fn step(&mut self, now: Time, signal: Signal, tree: &Tree) -> Answer {
        self.signal = signal;
        self.stirred = now;
        let mut again = Vec::new();
        for process in &tree.processes {
            let told = self.asked.get(&process.id()).map(|asked| asked.told.contains(&signal));
            if told == Some(false) {
                again.push(self.ask(now, process, signal, Why::Again));
            }
        }
        Answer { asks: again, next: Some(now), warn: Vec::new() }
    }

    /// Rule 10: /proc cannot be read. All but the main process are asked at the first moment of
    /// rule 6, with one signal to all, once; the second value is that moment, if it is still to come.
    pub fn without_proc(&mut self, now: Time, main_lives: bool) -> (Option<Signal>, Option<Time>) {
        let ours = self.manner == Manner::Auto || !main_lives;
        match self.moments().map(|[first, _]| first).filter(|_| ours && !self.passed[0]) {
            Some(first) if first <= now => {
                self.passed = [true; 2];
                (Some(self.signal), None)
            }
            first => (None, first),
        }
    }

    /// The tree was read: at the time of [`Answer::next`], or because a child has ended.
    pub fn look(&mut self, now: Time, tree: &Tree) -> Answer {
        let news = self.observe(now, tree);
        let mut look = Look::new(now, tree);
        let mut answer = Answer::default();
        for process in &tree.processes {
            if let Some(asked) = self.asked.get(&process.id()) {
                match self.hands_down_from(&look, process, asked) {
                    Some(at) if at > now => answer.wake(at),
                    Some(_) => {
                        look.hand_down.insert(process.pid);
                    }
                    None => {}
                }
                continue;
            }
            match self.turn(&look, process) {
                None => {}
                Some(turn) if turn.at > now => answer.wake(turn.at),
                Some(turn) => match self.signal_for(&look, process, turn.why) {
                    Some(signal) => answer.asks.push(self.ask(now, process, signal, turn.why)),
                    None => {
                        look.hand_down.insert(process.pid);
                    }
                },
            }
        }
        if self.is_in_charge() && (news || self.must_poll(&look)) {
            answer.wake(now.after(poll_pause(now.since(self.stirred))));
        }
        let moments = self.moments().into_iter().flatten();
        for (passed, moment) in self.passed.iter_mut().zip(moments) {
            *passed |= moment <= now;
        }
        let rules: BTreeSet<Why> = answer.asks.iter().map(|ask| ask.why).collect();
        let patience = |why: &Why| matches!(why, Why::Foreground | Why::Patience);
        answer.warn =
            rules.into_iter().filter(patience).filter(|why| self.warned.insert(*why)).collect();
        answer
    }

    /// In the other scopes the machine itself signals, as long as the main process lives.
    fn is_in_charge(&self) -> bool {
        self.manner == Manner::Auto || self.main.is_none()
    }

    /// Takes down what a reading shows. Whether the main process has been found to have ended.
    fn observe(&mut self, now: Time, tree: &Tree) -> bool {
        let ids: BTreeMap<Pid, Id> = tree.processes.iter().map(|p| (p.pid, p.id())).collect();
        let (first, early) = (!self.snapshot, self.main_ended.is_none());
        for process in &tree.processes {
            let activity = process.activity;
            let kin = self.kin.entry(process.id()).or_insert(Kin {
                parent: None,
                first,
                early,
                baseline: activity,
                activity,
                ran: now,
            });
            kin.parent = ids.get(&process.parent).copied().or(kin.parent);
            if kin.activity != activity || activity.is_none_or(|activity| activity.busy) {
                (kin.activity, kin.ran) = (activity, now);
            }
        }
        self.snapshot = true;
        let lives = |id: &Id| ids.get(&id.0) == Some(id);
        self.main = self.main.filter(lives);
        let news = self.main.is_none() && early;
        if news {
            (self.main_ended, self.stirred) = (Some(tree.ticks), now);
        }
        self.forget(lives);
        let alone = self.main.is_none() && self.only_readers(&Look::new(now, tree));
        self.alone = if alone { self.alone.or(Some(now)) } else { None };
        news
    }

    /// Keeps those that live, and those that they descend from: what is remembered is bounded by what
    /// there is.
    fn forget(&mut self, lives: impl Fn(&Id) -> bool) {
        let mut kept = BTreeSet::new();
        for id in self.kin.keys().filter(|id| lives(id)) {
            let mut next = Some(*id);
            while let Some(id) = next.filter(|id| kept.insert(*id)) {
                next = self.kin.get(&id).and_then(|kin| kin.parent);
            }
        }
        self.kin.retain(|id, _| kept.contains(id));
        self.asked.retain(|id, _| kept.contains(id));
    }

    fn ask(&mut self, now: Time, process: &Process, signal: Signal, why: Why) -> Ask {
        let instead_of = if why == Why::Topmost { self.died_of_it(&process.id()) } else { None };
        self.note(now, process, signal);
        if let Some(asked) = self.asked.get_mut(&process.id()) {
            asked.nested |= why == Why::Foreground;
        }
        let name = process.title.clone();
        let (id, parent, group) = (process.id(), process.parent, process.group);
        Ask { id, parent, group, name, signal, why, instead_of }
    }

    fn note(&mut self, at: Time, process: &Process, signal: Signal) {
        let before = self.asked.remove(&process.id());
        let shell = process.shell().or(before.as_ref().and_then(|before| before.shell));
        let nested = before.as_ref().is_some_and(|before| before.nested);
        let mut told = before.map(|before| before.told).unwrap_or_default();
        told.push(signal);
        let asked = Asked {
            at,
            told,
            name: process.title.clone(),
            shell,
            relays: process.relays(),
            nested,
            caught: process.catches(signal),
            ignored: process.ignores(signal),
            status: None,
        };
        self.asked.insert(process.id(), asked);
    }

    /// The parent of `child`, if graceinit knows that it had no handler and died of what it was sent.
    fn died_of_it(&self, child: &Id) -> Option<Ended> {
        let (pid, started) = self.kin.get(child)?.parent?;
        let asked = self.asked.get(&(pid, started))?;
        match asked.status {
            Some(Status::Signal(signal)) if asked.told.contains(&signal) && !asked.caught => {
                Some(Ended { pid, name: asked.name.clone(), signal })
            }
            _ => None,
        }
    }
}

/// The pause before the next reading where processes may appear, or become orphans, without news.
fn poll_pause(calm: Duration) -> Duration {
    (calm / 2).clamp(Duration::from_millis(20), Duration::from_secs(1))
}
