//! Trees as /proc would show them, and a stop that is told event by event.

use graceinit::machine::who::{Answer, Ask, Manner, Who};
use graceinit::types::process::{Activity, Files, Handling, Id, Opened, PipeEnd, Process, Tree};
use graceinit::types::{Pid, Signal, SignalSet, Status, Time};

/// graceinit's pid.
pub(super) const ROOT: Pid = Pid(1);
/// The main process.
pub(super) const MAIN: i32 = 2;
/// The budget in which the shapes were measured, in milliseconds.
pub(super) const BUDGET: u64 = 7_000;

/// The system has been up for so many ticks when a scene begins.
const UPTIME: u64 = 100_000;

pub(super) const fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

fn opened(target: &str, mount: u64) -> Opened {
    Opened { target: target.into(), pipe: target.starts_with("pipe:"), mount, flags: 0 }
}

/// A process that was started long ago, in the main process's group, with the default action for every
/// signal and the container's standard input.
pub(super) fn process(pid: i32, parent: i32, program: &str) -> Process {
    Process {
        pid: Pid(pid),
        started: UPTIME - 1_000 + pid as u64,
        parent: Pid(parent),
        group: Pid(MAIN),
        program: program.into(),
        title: program.into(),
        handling: Some(Handling::default()),
        activity: Some(Activity { switches: 1, busy: false }),
        files: Ok(Files { stdin: Some(opened("/dev/null", 1)), pipes: Vec::new() }),
    }
}

/// What makes a process differ from the plainest one.
pub(super) trait Differs: Sized {
    fn edit(self, edit: impl FnOnce(&mut Process)) -> Self;

    fn handling(self, edit: impl FnOnce(&mut Handling)) -> Self {
        self.edit(|p| edit(p.handling.get_or_insert_default()))
    }

    fn files(self, edit: impl FnOnce(&mut Files)) -> Self {
        self.edit(|p| {
            if let Ok(files) = &mut p.files {
                edit(files);
            }
        })
    }

    /// Has a handler for TERM alone.
    fn catches(self) -> Self {
        self.catches_all(&[Signal::TERM])
    }

    fn catches_all(self, signals: &[Signal]) -> Self {
        self.handling(|handling| handling.caught = SignalSet::of(signals))
    }

    fn ignores(self, signals: &[Signal]) -> Self {
        self.handling(|handling| handling.ignored = SignalSet::of(signals))
    }

    /// As POSIX wants what `&` starts.
    fn job(self) -> Self {
        self.ignores(&[Signal::INT, Signal::QUIT])
            .files(|files| files.stdin = Some(opened("/dev/null", 2)))
    }

    /// Its standard input is this pipe.
    fn reads(self, pipe: u64) -> Self {
        self.files(|files| {
            files.stdin = Some(opened(&format!("pipe:[{pipe}]"), 0));
            files.pipes.push(end(pipe, true, false));
        })
    }

    fn writes(self, pipe: u64) -> Self {
        self.files(|files| files.pipes.push(end(pipe, false, true)))
    }

    fn titled(self, title: &str) -> Self {
        self.edit(|process| process.title = title.into())
    }
}

impl Differs for Process {
    fn edit(mut self, edit: impl FnOnce(&mut Process)) -> Process {
        edit(&mut self);
        self
    }
}

pub(super) fn end(pipe: u64, reads: bool, writes: bool) -> PipeEnd {
    PipeEnd { target: format!("pipe:[{pipe}]").into(), reads, writes }
}

pub(super) fn tree(now: Time, processes: Vec<Process>) -> Tree {
    let ticks = UPTIME + now.0 / 10_000_000;
    Tree { root: ROOT, ticks, stdin: Some(opened("/dev/null", 1)), processes }
}

/// One stop.
pub(super) struct Scene {
    processes: Vec<Process>,
    who: Option<Who>,
    now: Time,
    next: Option<Time>,
    /// "300: 5 TERM Foreground", in milliseconds since the request.
    log: Vec<String>,
    /// The last asks, whole.
    pub(super) asks: Vec<Ask>,
    pub(super) warned: Vec<String>,
}

impl Scene {
    /// A stop of this tree with TERM and `--scope auto`.
    pub(super) fn stop(processes: Vec<Process>) -> Scene {
        Scene::stop_with(Signal::TERM, Manner::Auto, processes)
    }

    pub(super) fn stop_with(signal: Signal, manner: Manner, processes: Vec<Process>) -> Scene {
        Scene::begun(signal, manner, None, processes)
    }

    /// The main process did this with signals before the first one came.
    pub(super) fn begun(
        signal: Signal,
        manner: Manner,
        before: Option<Handling>,
        processes: Vec<Process>,
    ) -> Scene {
        let now = at(0);
        let tree = tree(now, processes.clone());
        let (end, main) = (Some(at(BUDGET)), (Pid(MAIN), before));
        let mut who = Who::begin(now, end, manner, signal, main, Some(&tree));
        let answer = who.look(now, &tree);
        let who = Some(who);
        let (next, log) = (None, Vec::new());
        let (asks, warned) = (Vec::new(), Vec::new());
        let mut scene = Scene { processes, who, now, next, log, asks, warned };
        scene.take(answer);
        scene
    }

    fn take(&mut self, answer: Answer) {
        for ask in &answer.asks {
            let ms = self.now.0 / 1_000_000;
            let (Pid(pid), signal, why) = (ask.id.0, ask.signal, ask.why);
            self.log.push(format!("{ms}: {pid} {signal} {why:?}"));
        }
        let names = || answer.asks.iter().map(|ask| &*ask.name).collect::<Vec<_>>().join(" ");
        self.warned.extend(answer.warn.iter().map(|why| format!("{why:?}: {}", names())));
        self.asks = answer.asks;
        self.next = answer.next;
    }

    fn who(&mut self) -> &mut Who {
        self.who.as_mut().expect("a stop has begun")
    }

    pub(super) fn look(&mut self) {
        let (now, tree) = (self.now, tree(self.now, self.processes.clone()));
        let answer = self.who().look(now, &tree);
        self.take(answer);
    }

    /// Another stop signal comes.
    pub(super) fn escalate(&mut self, signal: Signal) {
        let (now, tree) = (self.now, tree(self.now, self.processes.clone()));
        let mut answer = self.who().step(now, signal, &tree);
        let mut rest = self.who().look(now, &tree);
        rest.asks.splice(0..0, answer.asks.drain(..));
        self.take(rest);
    }

    /// Time goes on to `ms`, with every look that was asked for.
    pub(super) fn until(&mut self, ms: u64) -> &mut Scene {
        while let Some(next) = self.next.filter(|next| *next <= at(ms)) {
            assert!(next > self.now, "a look at {next:?} after one at {:?}", self.now);
            self.now = next;
            self.look();
        }
        self.now = at(ms);
        self
    }

    /// These end, one after the other; graceinit is told of its own children.
    pub(super) fn end(&mut self, pids: &[i32], status: Status) -> &mut Scene {
        for pid in pids.iter().map(|pid| Pid(*pid)) {
            let place = self.processes.iter().position(|p| p.pid == pid).expect("it lives");
            let gone = self.processes.remove(place);
            for child in self.processes.iter_mut().filter(|child| child.parent == pid) {
                child.parent = ROOT;
            }
            if gone.parent == ROOT {
                self.who().ended(pid, status);
                self.look();
            }
        }
        self
    }

    pub(super) fn exit(&mut self, pids: &[i32]) -> &mut Scene {
        self.end(pids, Status::Code(0))
    }

    pub(super) fn dies(&mut self, pid: i32) -> &mut Scene {
        self.end(&[pid], Status::Signal(Signal::TERM))
    }

    /// It is started now.
    pub(super) fn starts(&mut self, process: Process) -> &mut Scene {
        let started = UPTIME + self.now.0 / 10_000_000;
        self.processes.push(process.edit(|process| process.started = started));
        self
    }

    pub(super) fn change(&mut self, pid: i32, edit: impl FnOnce(&mut Process)) -> &mut Scene {
        edit(self.processes.iter_mut().find(|p| p.pid == Pid(pid)).expect("it lives"));
        self
    }

    /// It has run.
    pub(super) fn runs(&mut self, pid: i32) -> &mut Scene {
        self.change(pid, |process| {
            if let Some(activity) = &mut process.activity {
                activity.switches += 1;
            }
        })
    }

    pub(super) fn log(&self) -> Vec<&str> {
        self.log.iter().map(String::as_str).collect()
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.next
    }

    pub(super) fn ids(&self) -> Vec<Id> {
        self.asks.iter().map(|ask| ask.id).collect()
    }
}
