//! Asks processes to stop: reads the process tree when `machine::who` wants to see it, and sends what that answers.

use std::time::Duration;

use super::leftovers::{Leftovers, Refused, signal_process};
use crate::account::incident::Incident;
use crate::account::journal;
use crate::machine::who::{Answer, Ask, Manner, SHELLS, Who, Why};
use crate::sys::tree::{self, Reach};
use crate::sys::{clock, process, proctree, reap, signals};
use crate::types::process::{Process, Tree};
use crate::types::{Pid, Signal, Status, Time};

/// An app that is no shell and ends this soon after its stop signal is mostly the only process: the tree is read
/// after this time, and not at all if nothing is left.
const QUICK: Duration = Duration::from_millis(1);

/// The processes that are asked in the present stop.
#[derive(Debug, Default)]
pub struct Asking {
    state: State,
    /// When the tree is read next without news.
    next: Option<Time>,
    /// A child was reaped since the tree was read.
    news: bool,
    /// No reading before this time, and how long the last one took.
    paused: (Time, Duration),
    /// The end of the budget, if there is one.
    end: Option<Time>,
    /// When the first signal was sent.
    from: Time,
    /// Without /proc: every process was asked.
    all_asked: bool,
    /// Signals that graceinit may not send itself.
    pub refused: Vec<Refused>,
    /// The warning about hidden processes has been logged.
    warned_of_hidden: bool,
}

#[derive(Debug, Default)]
enum State {
    /// No process is asked.
    #[default]
    Idle,
    /// The main process was asked, and the tree is read at `next`.
    Main(Pid, Signal),
    /// The tree was read.
    Tree(Box<Who>),
}

/// The processes that are asked beside the app, as far as they are known without `who`.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// graceinit's own processes, hooks included.
    pub own: &'a [Pid],
    /// The id of the app's process group.
    pub group: Option<Pid>,
}

impl Asking {
    /// The budget ends at `end`.
    pub fn set_end(&mut self, end: Time) {
        self.end = Some(end);
        if let State::Tree(who) = &mut self.state {
            who.set_budget(self.from, self.end);
        }
    }

    /// When the tree is to be read next.
    pub fn next_wakeup(&self) -> Option<Time> {
        let wanted = if self.news { Some(Time::default()) } else { self.next };
        let reads = !matches!(self.state, State::Idle);
        wanted.filter(|_| reads).map(|wanted| wanted.max(self.paused.0))
    }

    /// Every process is killed: no process is asked any more.
    pub fn stop(&mut self) {
        (self.state, self.next, self.news, self.all_asked) = (State::Idle, None, false, false);
    }

    /// graceinit has reaped a child.
    pub fn reaped(&mut self, pid: Pid, status: Status) {
        if let State::Tree(who) = &mut self.state {
            who.ended(pid, status);
            self.news = true;
        }
    }

    /// `--scope auto`: sends the stop signal to the main process, alone. A further one goes to every process that was
    /// asked before.
    ///
    /// # Errors
    /// Those of kill(2).
    pub fn ask_main(
        &mut self,
        now: Time,
        signal: Signal,
        main: Pid,
        around: Around<'_>,
        leftovers: &mut Leftovers,
    ) -> std::io::Result<()> {
        match &self.state {
            State::Idle => {
                self.from = now;
                // A shell may start processes at once, in its trap. They must not be taken for those that were
                // there before, so the tree of a shell is read first.
                let tree = if is_shell(main) { self.read(around.own, signal) } else { None };
                let sent = signals::send(main, signal);
                match tree {
                    Some(tree) => self.begin(now, signal, main, &tree, around, leftovers),
                    None => {
                        self.state = State::Main(main, signal);
                        self.next = Some(now.after(QUICK));
                    }
                }
                sent
            }
            State::Main(asked, first) => {
                let (asked, first) = (*asked, *first);
                let tree = self.read(around.own, first).unwrap_or_else(empty);
                self.begin(now, first, asked, &tree, around, leftovers);
                self.ask_main(now, signal, main, around, leftovers)
            }
            State::Tree(_) => {
                let tree = self.read(around.own, signal);
                let State::Tree(who) = &mut self.state else { return Ok(()) };
                let Some(tree) = tree else { return signals::send(main, signal) };
                let answer = who.step(now, signal, &tree);
                self.perform(&answer);
                Ok(())
            }
        }
    }

    fn begin(
        &mut self,
        now: Time,
        signal: Signal,
        main: Pid,
        tree: &Tree,
        around: Around<'_>,
        leftovers: &mut Leftovers,
    ) {
        let (who, answer) = Who::begin(now, self.end, Manner::Auto, signal, main, tree);
        self.state = State::Tree(Box::new(who));
        self.perform(&answer);
        if tree.processes.is_empty() {
            self.without_proc(now, true, around, leftovers);
        }
    }

    /// The main process has ended: asks what it has left behind. `patience`: near the end of the budget every process
    /// is asked. Under `--scope auto` the asking that has begun goes on.
    pub fn ask_leftovers(
        &mut self,
        now: Time,
        signal: Signal,
        patience: bool,
        around: Around<'_>,
        leftovers: &mut Leftovers,
    ) {
        // Mostly nothing is left, and to read the tree would be half of what the whole stop costs.
        if !reap::is_any_alive() {
            self.next = None;
            return;
        }
        if !matches!(self.state, State::Tree(_)) {
            self.from = now;
            let mut who = Who::leftovers(now, self.end, patience, signal);
            if let Some(tree) = self.read(around.own, signal) {
                let heard = |process: &_| leftovers.has_heard(process, signal, around.group);
                who.mark_asked(now, &tree, heard);
                let answer = who.look(now, &tree);
                self.state = State::Tree(Box::new(who));
                return self.perform(&answer);
            }
            self.state = State::Tree(Box::new(who));
        }
        self.look(now, signal, false, around, leftovers);
    }

    /// Whether the tree is to be read now.
    pub fn is_due(&self, now: Time) -> bool {
        self.next_wakeup().is_some_and(|next| next <= now)
    }

    /// Reads the tree and asks the processes whose turn it is.
    pub fn look(
        &mut self,
        now: Time,
        signal: Signal,
        main_lives: bool,
        around: Around<'_>,
        leftovers: &mut Leftovers,
    ) {
        (self.news, self.next) = (false, None);
        // A reading must be over when the budget ends.
        if self.end.is_some_and(|end| end < now.after(self.paused.1 * 2)) {
            return;
        }
        let tree = self.read(around.own, signal);
        match (&mut self.state, tree) {
            (State::Idle, _) => {}
            (State::Main(main, signal), tree) => {
                let (main, signal) = (*main, *signal);
                self.begin(now, signal, main, &tree.unwrap_or_else(empty), around, leftovers);
            }
            (State::Tree(who), Some(tree)) => {
                let answer = who.look(now, &tree);
                self.perform(&answer);
            }
            (State::Tree(_), None) => self.without_proc(now, main_lives, around, leftovers),
        }
    }

    /// A reading costs as much as the machine has processes, so readings take a twentieth of the time at most.
    fn read(&mut self, own: &[Pid], signal: Signal) -> Option<Tree> {
        let begun = clock::now();
        let tree = proctree::read(own, signal);
        let ended = clock::now();
        let cost = ended.since(begun);
        self.paused = (ended.after(cost * 20), cost);
        let is_hidden = |process: &&Process| process.started == tree::HIDDEN;
        let hidden = tree.iter().flat_map(|tree| &tree.processes).filter(is_hidden).count();
        if hidden > 0 && !std::mem::replace(&mut self.warned_of_hidden, true) {
            journal::warn(format!(
                "processes of the app are hidden from graceinit, which knows their pids only: {hidden}; is /proc mounted \
                 with hidepid, or access denied? They are asked to stop and killed as others are"
            ));
        }
        tree
    }

    fn perform(&mut self, answer: &Answer) {
        self.next = answer.next;
        let left: Vec<&Ask> = answer.asks.iter().filter(|ask| is_leftover(ask)).collect();
        if let Some(first) = left.first() {
            let (signal, processes) = (first.signal, left.len());
            journal::incident(&Incident::LeftoversAsked { signal, processes });
        }
        for ask in &answer.asks {
            // A stopped process could not act on the signal.
            for signal in [ask.signal, Signal::CONT] {
                send(ask, signal, &mut self.refused);
            }
            if let Some(ended) = &ask.instead_of {
                let (signal, name, pid) = (ended.signal, &ended.name, ended.pid);
                let (child, child_pid) = (&ask.name, ask.id.0);
                log::info!(
                    "{} ended {name} (pid {pid}); its child {child} (pid {child_pid}) was asked instead",
                    signal
                );
            }
        }
        for rule in &answer.warn {
            warn_of_patience(*rule, answer.asks.iter().filter(|ask| ask.why == *rule));
        }
    }

    /// Without /proc one signal goes to all, once, when little of the budget is left.
    fn without_proc(
        &mut self,
        now: Time,
        main_lives: bool,
        around: Around<'_>,
        leftovers: &mut Leftovers,
    ) {
        let State::Tree(who) = &mut self.state else { return };
        let signal = if main_lives {
            let (signal, next) = who.without_proc(now, true);
            self.next = next;
            signal
        } else {
            // No leftover can be told from another, so all are asked at once, and only once.
            let signal = (!self.all_asked).then_some(who.signal());
            self.next = None;
            signal
        };
        let Some(signal) = signal else { return };
        self.all_asked = true;
        leftovers.warn_of_proc(Reach::WithoutProc);
        for signal in [signal, Signal::CONT] {
            if process::is_first() {
                // ESRCH: there is no other process.
                let _ = signals::send_all(signal);
            } else if let Some(group) = around.group.filter(|_| !leftovers.was_group_asked()) {
                tree::signal_groups(&[group], signal);
            }
        }
    }
}

fn empty() -> Tree {
    let root = process::own_pid();
    Tree { root, ticks: clock::boot_ticks(), stdin: None, processes: Vec::new() }
}

/// Whether the process is a shell. A process whose program may not be read is taken for one; without a /proc there is
/// nothing to read at all.
fn is_shell(pid: Pid) -> bool {
    match proctree::program(pid) {
        Some(name) => SHELLS.contains(&name.as_str()),
        None => proctree::program(process::own_pid()).is_some(),
    }
}

fn is_leftover(ask: &Ask) -> bool {
    matches!(ask.why, Why::Topmost | Why::Reader)
}

fn send(ask: &Ask, signal: Signal, refused: &mut Vec<Refused>) {
    let (pid, started) = ask.id;
    let parent = ask.parent;
    let process = tree::Process { pid, parent, group: ask.group, started, zombie: false };
    signal_process(&process, signal, refused);
}

/// Warns once for each rule, with the names and the cure.
fn warn_of_patience<'a>(rule: Why, asked: impl Iterator<Item = &'a Ask>) {
    const MOST: usize = 8;
    let names: Vec<String> = asked.map(|ask| format!("{} (pid {})", ask.name, ask.id.0)).collect();
    let more = names.len().saturating_sub(MOST);
    let mut list = names[..names.len().min(MOST)].join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    let text = match rule {
        Why::Foreground => format!(
            "a shell waits with its trap until its foreground child ends, so the child was asked: {list}; \
             start the app with exec in the script, or set --scope group"
        ),
        _ => format!(
            "little of the budget is left, so processes that their parent has not stopped were asked: {list}; \
             start the app with exec in the script, set --scope group to ask all at once, or --scope main to \
             leave them to their parent"
        ),
    };
    journal::warn(text);
}
