//! The rules. Each function has one, and says when a process is due by it. The words: a process
//! *catches* a signal, *ignores* it, or is left to its *default action*, which ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Asked, Kin, Manner, Who, Why};
use crate::types::process::{Handling, Id, Opened, PipeEnd, Process, TICKS_PER_SECOND, Tree};
use crate::types::{Pid, Signal, Time};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A shell runs its trap as soon as its foreground child has ended. One that has a child after this
/// long waits for it. So does a process that has not taken the signal.
const TRAP: Duration = ms(300);
/// The same for a shell in the foreground of another: it has waited all this time.
const NESTED_TRAP: Duration = ms(150);
/// A process that was sent a signal by its parent has run after this long.
const HEARD: Duration = ms(250);
/// A reader that has not run for so long has read all that is in its pipe; it waits for more, which a
/// process that holds the other end could write.
const DRAINED: Duration = ms(200);
/// The same where no process can write to the pipe: the reader has seen the end of its input, and is
/// about to end by itself unless it hangs.
const DONE: Duration = ms(1000);
/// A shell needs less than this from fork to the redirections of its child.
const GROWN: Duration = ms(200);
/// How long a process may take to tell its own children.
const PASSED_ON: Duration = ms(1000);

/// By the name of their executable.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "busybox", "ksh", "mksh", "zsh"];
/// Programs that an entry script runs in the foreground only to stay alive.
const IDLERS: [&str; 2] = ["sleep", "tail"];
/// Programs that start another and wait for it, and do nothing else.
const WAITERS: [&str; 3] = ["flock", "setsid", "time"];
/// Programs that pass the signal on to their whole process group: not only a child, but every descendant may have got
/// it, and the program may end before a reading. They make that group themselves.
const RELAYS: [&str; 1] = ["timeout"];

/// Inits pass every signal on. They wait in sigtimedwait(2), during which /proc shows no trace of that.
const INITS: [&str; 5] = ["tini", "docker-init", "dumb-init", "catatonit", "graceinit"];

/// Whether the tree has to be read before this main process is asked: a shell may start processes in its trap, and a
/// relay may be gone at once.
pub fn is_read_first(program: &str) -> bool {
    SHELLS.contains(&program) || RELAYS.contains(&program)
}

impl Process {
    fn handling(&self) -> Handling {
        self.handling.unwrap_or_default()
    }

    /// There is a handler, or a thread that waits for the blocked signal (sigwait, signalfd). A shell
    /// blocks signals only for the moment of a fork. Where nothing can be read, a handler is assumed:
    /// that is never the end of a process too early.
    pub(super) fn catches(&self, signal: Signal) -> bool {
        let Some(handling) = self.handling else { return true };
        let blocks = handling.blocked.contains(signal) && !self.is_shell();
        let init = INITS.iter().any(|init| self.program.starts_with(init));
        handling.caught.contains(signal) || blocks || init
    }

    /// Nothing happens: by its own will, or because that is the signal's default action (WINCH).
    pub(super) fn ignores(&self, signal: Signal) -> bool {
        let harmless = !self.catches(signal) && !signal.ends_by_default();
        self.handling().ignored.contains(signal) || harmless
    }

    /// The signal ends it.
    fn defaults(&self, signal: Signal) -> bool {
        !self.catches(signal) && !self.ignores(signal)
    }

    /// By the name of its executable; a script's own name may be anything. An applet of busybox has
    /// the same executable as its shell.
    pub(super) fn is_shell(&self) -> bool {
        SHELLS.contains(&&*self.program) && !self.is_idler()
    }

    /// The same; `None`: its program could not be read.
    pub(super) fn shell(&self) -> Option<bool> {
        let known = self.files.is_ok() || self.program != self.title;
        if self.is_shell() { Some(true) } else { known.then_some(false) }
    }

    pub(super) fn relays(&self) -> bool {
        RELAYS.contains(&&*self.program)
    }

    fn is_idler(&self) -> bool {
        IDLERS.contains(&&*self.program) || IDLERS.contains(&&*self.title)
    }

    fn stdin(&self) -> Option<&Opened> {
        self.files.as_ref().ok().and_then(|files| files.stdin.as_ref())
    }

    /// Whether it reads what others write to this pipe: by standard input or, if that is none, in another
    /// way. A process that holds both ends made the pipe for itself.
    fn reads(&self, target: &str) -> bool {
        if let Some(stdin) = self.stdin().filter(|stdin| stdin.pipe) {
            return &*stdin.target == target;
        }
        let files = self.files.as_ref();
        let reads = |end: &PipeEnd| end.reads && &*end.target == target;
        files.is_ok_and(|files| files.pipes.iter().any(reads)) && !self.writes(target)
    }

    fn writes(&self, target: &str) -> bool {
        let files = self.files.as_ref();
        files.is_ok_and(|files| files.pipes.iter().any(|end| end.writes && &*end.target == target))
    }
}

/// When a process is asked, and by which rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    pub(super) at: Time,
    pub(super) why: Why,
}

/// One reading, with what is derived from it alone.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) now: Time,
    pub(super) tree: &'a Tree,
    places: BTreeMap<Pid, usize>,
    /// Processes that ignore the signal and would have been asked: their children are due.
    pub(super) hand_down: BTreeSet<Pid>,
}

impl<'a> Look<'a> {
    pub(super) fn new(now: Time, tree: &'a Tree) -> Look<'a> {
        let places = tree.processes.iter().enumerate().map(|(place, p)| (p.pid, place)).collect();
        Look { now, tree, places, hand_down: BTreeSet::new() }
    }

    fn find(&self, pid: Pid) -> Option<&'a Process> {
        self.places.get(&pid).and_then(|place| self.tree.processes.get(*place))
    }

    fn lives(&self, id: Id) -> bool {
        self.find(id.0).is_some_and(|process| process.id() == id)
    }

    fn is_topmost(&self, process: &Process) -> bool {
        process.parent == self.tree.root
    }

    /// The living ancestors, the parent first. (Parents come first in a tree, so there is no circle.)
    fn ancestors(&self, process: &Process) -> impl Iterator<Item = &'a Process> + '_ {
        let mut next = process.parent;
        std::iter::from_fn(move || {
            let found = self.find(next)?;
            next = found.parent;
            Some(found)
        })
        .take(self.tree.processes.len())
    }

    /// Rule 5: it reads what others write, so that its end is theirs (SIGPIPE), and its last line is
    /// lost with it. graceinit's own standard input (`docker run -i`, CI) is no such pipe: every
    /// process inherits it. Rule 11: of a leftover whose files are hidden, that is assumed if the
    /// signal would end it.
    fn is_reader(&self, process: &Process, signal: Signal) -> bool {
        let own = self.tree.stdin.as_ref().map(|stdin| &*stdin.target);
        let foreign = |target: &str| Some(target) != own;
        let Ok(files) = &process.files else {
            return self.is_topmost(process) && process.defaults(signal);
        };
        let stdin = files.stdin.as_ref();
        let by_stdin = stdin.is_some_and(|stdin| stdin.pipe && foreign(&stdin.target));
        // A process that holds both ends made the pipe for itself, or shares it with its kind.
        let ends = || files.pipes.iter().filter(|end| end.reads && foreign(&end.target));
        by_stdin || process.defaults(signal) && ends().any(|end| !process.writes(&end.target))
    }

    /// Whether a process holds the other end of a pipe that `reader` reads.
    fn is_fed(&self, reader: &Process) -> bool {
        let ends = self.tree.processes.iter().filter_map(|process| process.files.as_ref().ok());
        let mut written = ends.flat_map(|files| &files.pipes).filter(|end| end.writes);
        written.any(|end| reader.reads(&end.target))
    }

    /// Rule 7a: `shell` did not wait for this child. POSIX has SIGINT and SIGQUIT ignored in what `&`
    /// starts without job control, and its standard input opened from /dev/null; job control gives it
    /// a group of its own. (bash itself ignores QUIT, and runc opens a container's /dev/null too, so
    /// both count only as far as the shell's own differ. An app may ignore INT by its own will, but
    /// hardly one restores QUIT.)
    fn is_background(&self, child: &Process, shell: &Process) -> bool {
        let ignores = |process: &Process, signal| process.handling().ignored.contains(signal);
        let mut keys = [Signal::INT, Signal::QUIT].into_iter();
        let deaf = keys.any(|signal| ignores(child, signal) && !ignores(shell, signal));
        let deaf = deaf && !child.defaults(Signal::QUIT);
        let null = child.stdin().is_some_and(|stdin| &*stdin.target == "/dev/null");
        let job = child.group != shell.group && !(child.relays() && child.group == child.pid);
        deaf || job || null && child.stdin() != shell.stdin()
    }

    /// Rule 7a: `shell` waits for this child.
    fn is_foreground(&self, child: &Process, shell: &Process) -> bool {
        let plain = child.handling.is_some() && child.defaults(Signal::QUIT);
        plain || child.stdin().is_some() && child.stdin() == shell.stdin()
    }

    /// A shell has put it into the background, or what it belongs to.
    fn is_job(&self, process: &Process) -> bool {
        let line = std::iter::once(process).chain(self.ancestors(process));
        let pairs = line.zip(self.ancestors(process));
        pairs
            .into_iter()
            .any(|(child, parent)| parent.is_shell() && self.is_background(child, parent))
    }

    fn has_catcher_below(&self, process: &Process, signal: Signal) -> bool {
        let below = |other: &&Process| self.ancestors(other).any(|a| a.pid == process.pid);
        self.tree.processes.iter().filter(below).any(|other| other.catches(signal))
    }
}

impl Who {
    /// When this process, which was not asked, is due; `None`: not as things are.
    pub(super) fn turn(&self, look: &Look<'_>, process: &Process) -> Option<Turn> {
        if !self.is_in_charge() {
            return None;
        }
        let turn = match look.find(process.parent) {
            None => self.topmost(look, process),
            Some(parent) if look.hand_down.contains(&parent.pid) => self.handed_down(look, process),
            Some(parent) => self.foreground(look, process, parent),
        };
        let turn = turn.map(|turn| Turn { at: self.grown(look, process, turn.at), ..turn });
        // Of two that are due, the rule that tells the reason comes first.
        let due = |turn: &Turn| (turn.at.max(look.now), turn.why);
        turn.into_iter().chain(self.patience(look, process)).min_by_key(due)
    }

    /// Rule 3: who ignores the signal hands it down (`trap '' TERM` and a loop that starts programs,
    /// mysqld_safe), at every look. Not to readers: tee would die before the app.
    fn handed_down(&self, look: &Look<'_>, process: &Process) -> Option<Turn> {
        let reader = look.is_reader(process, self.signal);
        (!reader).then_some(Turn { at: look.now, why: Why::HandedDown })
    }

    /// Rule 3, for a process that was asked: from when on it hands the signal down. One that ignored it
    /// does at once. (Not a shell whose trap has it ignored since: that trap tells the children.) One that
    /// blocks it and does not take it waits for something else, as `unshare --fork` does for its child.
    pub(super) fn hands_down_from(
        &self,
        look: &Look<'_>,
        process: &Process,
        asked: &Asked,
    ) -> Option<Time> {
        if asked.ignored {
            return process.ignores(self.signal).then_some(look.now);
        }
        let handling = process.handling();
        let caught = handling.caught.contains(self.signal) || process.is_shell();
        let from = asked.at.after(TRAP);
        // Whether it takes the signal is seen then; until then it is not even there.
        let holds = handling.pending.contains(self.signal) || look.now < from;
        let blocks = handling.blocked.contains(self.signal) && !caught && holds;
        let has_children = || look.tree.processes.iter().any(|p| p.parent == process.pid);
        (blocks && has_children()).then_some(from)
    }

    /// Rule 4: the process that would have told this one has ended, so it is told by graceinit. The
    /// descendants of a living process that was asked are left to it. One that was an orphan before the
    /// stop is left alone until the main process has ended, which may need it.
    fn topmost(&self, look: &Look<'_>, process: &Process) -> Option<Turn> {
        let owner = self.owner(process.id());
        let left = match owner {
            Some((id, _)) => !look.lives(id),
            None => self.main.is_none(),
        };
        if !look.is_topmost(process) || !left || self.is_cleaning_up(process) {
            return None;
        }
        if look.is_reader(process, self.signal) {
            return self.reader(look, process);
        }
        let at = owner.map_or(Some(look.now), |(_, owner)| self.heard(look, process, owner))?;
        Some(Turn { at, why: Why::Topmost })
    }

    /// The nearest of those it descends from that was asked, living or not.
    fn owner(&self, id: Id) -> Option<(Id, &Asked)> {
        let mut next = self.kin.get(&id)?.parent;
        for _ in 0..self.kin.len() {
            let id = next?;
            if let Some(asked) = self.asked.get(&id) {
                return Some((id, asked));
            }
            next = self.kin.get(&id)?.parent;
        }
        None
    }

    /// What is started after the end of the main process is how a leftover puts its house in order
    /// (`trap "sync; mail" TERM`): it is waited for, and killed with the rest.
    fn is_cleaning_up(&self, process: &Process) -> bool {
        let early = self.kin.get(&process.id()).is_none_or(|kin| kin.early);
        // One that an earlier reading has missed has a start time from before.
        !early && self.main_ended.is_some_and(|ended| process.started >= ended)
    }

    /// Rule 4b: a shell's trap may have passed the signal on before the shell ended (`trap 'kill $p'
    /// TERM; app & wait`). A child without a handler would have ended of it. One that has not run
    /// since cannot have heard it; one that has run may have, and gets until half of the budget. The same
    /// holds below a program that signals its whole group, and one that cannot be told from a shell.
    fn heard(&self, look: &Look<'_>, process: &Process, owner: &Asked) -> Option<Time> {
        let signal = self.signal_for(look, process, Why::Topmost).unwrap_or(self.signal);
        let passes_on = owner.caught && (owner.shell != Some(false) || owner.relays);
        if !(passes_on && process.catches(signal)) {
            return Some(look.now);
        }
        let idle = self.kin.get(&process.id()).is_some_and(|kin| kin.has_not_run());
        if idle { Some(look.now.max(owner.at.after(HEARD))) } else { self.half() }
    }

    /// Rule 5: a reader is asked when nothing else is left and it has read what there was; in any case
    /// some time after that, so that one that never rests cannot hold up the stop.
    fn reader(&self, look: &Look<'_>, process: &Process) -> Option<Turn> {
        let alone = self.alone?;
        let ran = self.kin.get(&process.id()).map_or(look.now, |kin| kin.ran);
        let rest = if look.is_fed(process) { DRAINED } else { DONE };
        let latest = alone.after(DONE);
        let latest = match process.catches(self.signal) {
            true => latest,
            false => self.half().map_or(latest, |half| half.max(latest)),
        };
        Some(Turn { at: ran.max(alone).after(rest).min(latest), why: Why::Reader })
    }

    /// Whether no process is left but readers, and what these have started.
    pub(super) fn only_readers(&self, look: &Look<'_>) -> bool {
        let reads = |process: &Process| look.is_reader(process, self.signal);
        look.tree.processes.iter().all(|p| reads(p) || look.ancestors(p).any(reads))
    }

    /// Rule 7: a shell that catches the signal runs its trap only when its foreground child has ended
    /// (bash(1), SIGNALS), so no process has told that child. Background jobs are left to the trap, and
    /// so is what the trap itself starts. In a pipeline only the members that are no readers are asked.
    fn foreground(&self, look: &Look<'_>, child: &Process, shell: &Process) -> Option<Turn> {
        let asked = self.asked.get(&shell.id())?;
        let waits = asked.shell == Some(true) && asked.caught;
        let first = self.kin.get(&child.id()).is_some_and(|kin| kin.first);
        let waited_for = !look.is_background(child, shell) && look.is_foreground(child, shell);
        if !waits || !first || !waited_for {
            return None;
        }
        let from = asked.at.after(if asked.nested { NESTED_TRAP } else { TRAP });
        if look.is_reader(child, self.signal) {
            return self.dry_reader(look, child, from);
        }
        let waits = child.is_shell() || WAITERS.contains(&&*child.program);
        let subshell = waits && look.has_catcher_below(child, self.signal);
        // Without a handler, being asked is its end: a batch job under a trap is work too.
        let at = match child.defaults(self.signal) && !child.is_idler() && !subshell {
            true => self.half()?,
            false => from,
        };
        Some(Turn { at, why: Why::Foreground })
    }

    /// The same for a reader with a handler to whose pipe no process can write any more: `app <<END`. It
    /// has read all when it rests.
    fn dry_reader(&self, look: &Look<'_>, child: &Process, from: Time) -> Option<Turn> {
        let seen = look.tree.processes.iter().all(|process| process.files.is_ok());
        if !seen || !child.catches(self.signal) {
            return None;
        }
        let ran = self.kin.get(&child.id()).map_or(look.now, |kin| kin.ran);
        let at = match look.is_fed(child) {
            // Nothing tells graceinit that the others have ended.
            true => look.now.after(DRAINED).max(from),
            false => ran.after(DRAINED).max(from).min(from.after(DONE)),
        };
        Some(Turn { at, why: Why::Foreground })
    }

    /// Rule 6: near the end of the budget all are asked that were not, so that no process is killed
    /// without a word. First those that catch the signal; for the others being asked is the end, so they
    /// come at the last moment, and with them jobs, which their shell may still tell, and readers.
    /// What was started after the request is left to its parent while there is time.
    fn patience(&self, look: &Look<'_>, process: &Process) -> Option<Turn> {
        let [first, second] = self.moments()?;
        if self.manner == (Manner::Leftovers { patience: false }) || self.is_cleaning_up(process) {
            return None;
        }
        let known = self.kin.get(&process.id()).is_some_and(|kin| kin.first);
        let reader = look.is_reader(process, self.signal);
        let last = reader || look.is_job(process);
        let turn = |at| Some(Turn { at, why: Why::Patience });
        if process.catches(self.signal) && !last {
            if known && !self.passed[0] && self.had_time(look, process, first) {
                return turn(first);
            }
            return if known && !self.passed[1] { turn(second) } else { None };
        }
        if self.passed[1] { None } else { turn(second) }
    }

    /// Rule 1: a process is not asked where its master has been asked and has had no time to pass it on.
    fn had_time(&self, look: &Look<'_>, process: &Process, at: Time) -> bool {
        let asked = look.ancestors(process).find_map(|above| self.asked.get(&above.id()));
        asked.is_none_or(|asked| asked.at.after(PASSED_ON) <= at.max(look.now))
    }

    /// Rule 5: a shell may have forked this process and not yet redirected its standard input, so that
    /// it does not look like the reader that it becomes. When it executes another program it has.
    fn grown(&self, look: &Look<'_>, process: &Process, at: Time) -> Time {
        if process.files.is_ok() && !SHELLS.contains(&&*process.program) {
            return at;
        }
        let ticks = look.tree.ticks.saturating_sub(process.started);
        let age = ms(ticks.saturating_mul(1000 / TICKS_PER_SECOND));
        match process.defaults(self.signal) {
            true => at.max(look.now.after(GROWN.saturating_sub(age))),
            false => at,
        }
    }

    /// What it is sent: the step's signal; a leftover that ignores that (a shell's job ignores INT) is
    /// sent TERM; `None`: it ignores both.
    pub(super) fn signal_for(
        &self,
        look: &Look<'_>,
        process: &Process,
        why: Why,
    ) -> Option<Signal> {
        let leftover = self.main.is_none() || look.is_topmost(process) || why == Why::Patience;
        let instead = Some(Signal::TERM).filter(|_| leftover);
        let choices = [Some(self.signal), instead];
        choices.into_iter().flatten().find(|signal| !process.ignores(*signal))
    }

    fn half(&self) -> Option<Time> {
        self.end.map(|end| self.from.after(end.since(self.from) / 2))
    }

    /// The two moments of rule 6.
    pub(super) fn moments(&self) -> Option<[Time; 2]> {
        let end = self.end?;
        let share = |tenths: u32| self.from.after(end.since(self.from) / 100 * tenths);
        Some([share(75).max(end.before(ms(3000))), share(90).max(end.before(ms(1000)))])
    }

    /// Whether something may become due without news: SIGCHLD tells of graceinit's own children only.
    pub(super) fn must_poll(&self, look: &Look<'_>) -> bool {
        let hidden = |process: &Process| match look.find(process.parent) {
            // It changed parents while the tree was read.
            None if !look.is_topmost(process) => true,
            None => self
                .kin
                .get(&process.id())
                .and_then(|kin| kin.parent)
                .is_some_and(|id| look.lives(id)),
            // The end of this parent is not told to graceinit.
            Some(parent) => {
                !look.is_topmost(parent)
                    && self.asked.contains_key(&parent.id())
                    && !self.asked.contains_key(&process.id())
            }
        };
        !look.hand_down.is_empty() || look.tree.processes.iter().any(hidden)
    }
}

impl Kin {
    /// A process that a signal has woken is busy until it has run.
    fn has_not_run(&self) -> bool {
        match (self.baseline, self.activity) {
            (Some(then), Some(now)) => then.switches == now.switches && !now.busy,
            _ => false,
        }
    }
}
