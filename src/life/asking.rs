//! Asks processes to stop: reads the process tree when `machine::who` wants to see it, and sends what that answers.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::leftovers::{Leftovers, Refused, signal_process};
use super::reveal::{self, Reveal};
use crate::account::incident::Incident;
use crate::account::journal;
use crate::machine::who::{self, Answer, Ask, Manner, Who, Why};
use crate::sys::tree::{self, Reach};
use crate::sys::{clock, process, proctree, reap, signals};
use crate::types::process::{Handling, Id, Process, Tree};
use crate::types::{Pid, Signal, Status, Time};

/// An app that is no shell and ends this soon after its stop signal is mostly the only process: the tree is read
/// after this time, and not at all if nothing is left.
const QUICK: Duration = Duration::from_millis(1);

/// The longest pause after a reading, unless four times the reading is more.
const LONG: Duration = Duration::from_millis(200);

/// The processes that are asked in the present stop.
#[derive(Debug, Default)]
pub struct Asking {
    state: State,
    /// What was sent otherwise: to a group, to the whole tree.
    pub leftovers: Leftovers,
    reveal: Reveal,
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
    /// The main process was asked, and the others are judged at `next`.
    Main(Main),
    /// The others are judged.
    Tree(Box<Who>),
}

/// The main process that was asked.
#[derive(Debug)]
struct Main {
    pid: Pid,
    signal: Signal,
    /// What it did with signals before, unless the tree was read then.
    handling: Option<Handling>,
    /// The first reading, of which something was hidden.
    snapshot: Option<Tree>,
    /// What it was sent besides, since then.
    further: Vec<Signal>,
}

/// The processes that are asked beside the app, as far as they are known without `who`.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// graceinit's own processes, hooks included.
    pub own: &'a [Pid],
    /// The id of the app's process group.
    pub group: Option<Pid>,
}

/// A reading, and of which processes something was refused; `None`: /proc cannot be read.
type Reading = Option<(Tree, Vec<Id>)>;

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
        if let Some(until) = self.reveal.until() {
            return Some(until);
        }
        let wanted = if self.news { Some(Time::default()) } else { self.next };
        let reads = !matches!(self.state, State::Idle);
        wanted.filter(|_| reads).map(|wanted| wanted.max(self.paused.0))
    }

    /// Whether the tree is to be read now.
    pub fn is_due(&mut self, now: Time) -> bool {
        if self.reveal.until().is_some() {
            return self.reveal.is_over(now);
        }
        self.next_wakeup().is_some_and(|next| next <= now)
    }

    /// The pipe to wait for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reveal.fd()
    }

    /// The pid of the helper that reads.
    pub fn helper(&self) -> Option<Pid> {
        self.reveal.pid()
    }

    /// Every process is killed: no process is asked any more.
    pub fn stop(&mut self) {
        self.reveal.stop();
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
    ) -> std::io::Result<()> {
        if let State::Main(asked) = &mut self.state {
            // The others are not judged yet.
            if self.reveal.until().is_some() {
                asked.further.push(signal);
                return signals::send(main, signal);
            }
            self.look(now, true, around);
        }
        match &self.state {
            State::Idle | State::Main(_) => {
                self.from = now;
                // A shell may start processes at once, in its trap. They must not be taken for those that were
                // there before, so the tree of a shell is read first.
                let first = is_read_first(main);
                let reading = if first { self.read(around.own, signal) } else { None };
                let handling = if first { None } else { proctree::handling(main) };
                let sent = signals::send(main, signal);
                let asked =
                    Main { pid: main, signal, handling, snapshot: None, further: Vec::new() };
                self.state = State::Main(asked);
                self.next = Some(now.after(QUICK));
                if reading.is_some() {
                    self.judge(now, reading, true, around);
                }
                sent
            }
            State::Tree(_) => {
                let reading = self.read(around.own, signal);
                let State::Tree(who) = &mut self.state else { return Ok(()) };
                let Some((tree, _)) = &reading else { return signals::send(main, signal) };
                let answer = who.step(now, signal, tree);
                self.perform(&answer);
                self.judge(now, reading, true, around);
                Ok(())
            }
        }
    }

    /// The main process has ended: asks what it has left behind. `patience`: near the end of the budget every process
    /// is asked. Under `--scope auto` the asking that has begun goes on.
    pub fn ask_leftovers(&mut self, now: Time, signal: Signal, patience: bool, around: Around<'_>) {
        // Mostly nothing is left, and to read the tree would be half of what the whole stop costs.
        if !reap::is_any_alive() {
            self.next = None;
            return;
        }
        if let State::Idle = self.state {
            self.from = now;
            self.state = State::Tree(Box::new(Who::leftovers(now, self.end, patience, signal)));
        }
        if self.reveal.until().is_none() {
            self.look(now, false, around);
        }
    }

    /// Reads the tree and asks the processes whose turn it is.
    pub fn look(&mut self, now: Time, main_lives: bool, around: Around<'_>) {
        (self.news, self.next) = (false, None);
        // A reading must be over when the budget ends.
        if self.end.is_some_and(|end| end < now.after(self.paused.1 * 2)) {
            return;
        }
        let signal = match &self.state {
            State::Idle => return,
            State::Main(main) => main.signal,
            State::Tree(who) => who.signal(),
        };
        let reading = self.read(around.own, signal);
        self.judge(now, reading, main_lives, around);
    }

    fn judge(&mut self, now: Time, reading: Reading, main_lives: bool, around: Around<'_>) {
        let Some((mut tree, refused)) = reading else {
            self.begin(None);
            return self.without_proc(now, main_lives, around);
        };
        let Some(revealed) = self.reveal.answer(now, &refused) else {
            if let State::Main(main) = &mut self.state {
                main.snapshot.get_or_insert(tree);
            }
            return;
        };
        reveal::fill(&mut tree, &revealed);
        if let State::Main(Main { snapshot: Some(snapshot), .. }) = &mut self.state {
            reveal::fill(snapshot, &revealed);
        }
        self.begin(Some(&tree));
        let State::Tree(who) = &mut self.state else { return };
        if who.is_new() {
            let (signal, group) = (who.signal(), around.group);
            let heard = |process: &_| self.leftovers.has_heard(process, signal, group);
            who.mark_asked(now, &tree, heard);
        }
        let answer = who.look(now, &tree);
        self.perform(&answer);
    }

    /// From here on the others are judged as well.
    fn begin(&mut self, tree: Option<&Tree>) {
        let State::Main(main) = &self.state else { return };
        let (manner, whom) = (Manner::Auto, (main.pid, main.handling));
        let snapshot = main.snapshot.as_ref().or(tree);
        let mut who = Who::begin(self.from, self.end, manner, main.signal, whom, snapshot);
        for signal in &main.further {
            // The answer is the main process, which was sent the signal.
            let _ = snapshot.map(|tree| who.step(self.from, *signal, tree));
        }
        self.state = State::Tree(Box::new(who));
    }

    /// A reading costs as much as the machine has processes, so readings take a twentieth of the time at most; a fifth
    /// where one takes long, because a process may have its turn meanwhile.
    fn read(&mut self, own: &[Pid], signal: Signal) -> Reading {
        let begun = clock::now();
        let reading = proctree::read(own, signal);
        let ended = clock::now();
        let cost = ended.since(begun);
        self.paused = (ended.after((cost * 20).min(LONG.max(cost * 4))), cost);
        let is_hidden = |process: &&Process| process.started == tree::HIDDEN;
        let hidden = reading.iter().flat_map(|(tree, _)| &tree.processes).filter(is_hidden).count();
        if hidden > 0 && !std::mem::replace(&mut self.warned_of_hidden, true) {
            journal::warn(format!(
                "processes of the app are hidden from graceinit, which knows their pids only: {hidden}; is /proc mounted \
                 with hidepid, or access denied? They are asked to stop and killed as others are"
            ));
        }
        reading
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
    fn without_proc(&mut self, now: Time, main_lives: bool, around: Around<'_>) {
        let State::Tree(who) = &mut self.state else { return };
        // To some programs a second signal means "exit at once". So if processes were asked one by one before, all are
        // asked only near the end of the budget, and until then the tree may become readable again.
        let by_one =
            !who.is_new() && who.awaits_an_end() || self.leftovers.awaits_an_end(who.signal());
        let by_one = by_one && self.end.is_some();
        let signal = if main_lives || by_one {
            let (signal, next) = who.without_proc(now, main_lives);
            let again = Some(now.after(LONG)).filter(|_| by_one);
            self.next = next.into_iter().chain(again).min();
            signal
        } else {
            // No leftover can be told from another, so all are asked at once, and only once.
            let signal = (!self.all_asked).then_some(who.signal());
            self.next = None;
            signal
        };
        let Some(signal) = signal else { return };
        self.all_asked = true;
        self.leftovers.warn_of_proc(Reach::WithoutProc);
        for signal in [signal, Signal::CONT] {
            if process::is_first() {
                // ESRCH: there is no other process.
                let _ = signals::send_all(signal);
            } else if let Some(group) = around.group.filter(|_| !self.leftovers.was_group_asked()) {
                tree::signal_groups(&[group], signal);
            }
        }
    }
}

/// Whether the tree is read before the main process is asked. A program that may not be read may be a shell; without a
/// /proc there is nothing to read at all.
fn is_read_first(pid: Pid) -> bool {
    match proctree::program(pid) {
        Some(name) => who::is_read_first(&name),
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
