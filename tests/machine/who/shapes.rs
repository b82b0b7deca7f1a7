//! Small trees for the exploration.

use graceinit::types::Signal;
use graceinit::types::process::Process;

use super::scene::{Differs, process};
use super::world::{Actor, Kind, Shape};

const FORWARDS: Kind = Kind::Shell { forwards: true };
const FORGETS: Kind = Kind::Shell { forwards: false };

fn shape(actors: Vec<Actor>) -> Shape {
    Shape { actors, signal: Signal::TERM, second: None, lingers: 1 }
}

fn app(pid: i32, parent: i32) -> Process {
    process(pid, parent, "app").catches()
}

/// In the background of a shell, with a handler.
fn job(pid: i32, parent: i32) -> Process {
    let ignored = process(0, 0, "").job().handling.unwrap_or_default().ignored;
    app(pid, parent).job().handling(|handling| {
        handling.ignored = ignored;
        handling.caught = app(0, 0).handling.unwrap_or_default().caught;
    })
}

fn actor(process: Process, kind: Kind) -> Actor {
    Actor::new(process, kind)
}

/// A shell without a trap that waits for an app; a daemon from before.
pub(super) fn wrapper() -> Shape {
    let child = actor(app(3, 2), Kind::App);
    let shell = actor(process(2, 1, "dash"), FORGETS).waits_for(&child);
    shape(vec![shell, child, actor(process(4, 1, "daemon"), Kind::Brief)])
}

/// A main process that blocks the signal and waits for its child: `unshare --fork`.
pub(super) fn blocked() -> Shape {
    let child = actor(app(3, 2), Kind::App).forks(1);
    let main = process(2, 1, "unshare").handling(|handling| {
        handling.blocked = app(0, 0).handling.unwrap_or_default().caught;
    });
    shape(vec![actor(main, FORGETS).waits_for(&child), child])
}

/// An app, and a daemon from before.
pub(super) fn daemon() -> Shape {
    shape(vec![actor(app(2, 1), Kind::App), actor(process(3, 1, "daemon"), Kind::Brief)])
}

/// A main process that waits for its workers.
pub(super) fn workers() -> Shape {
    let worker = |pid| actor(process(pid, 2, "worker"), Kind::Brief);
    shape(vec![actor(app(2, 1), Kind::Master), worker(3), worker(4)])
}

/// `trap 'kill $p' TERM; app & wait`
pub(super) fn trap_that_forwards() -> Shape {
    shape(vec![actor(process(2, 1, "bash").catches(), FORWARDS), actor(job(3, 2), Kind::App)])
}

/// A trap, a child in the foreground, a job with a handler and one without.
pub(super) fn trap_with_children() -> Shape {
    let child = actor(app(3, 2), Kind::App);
    let shell = actor(process(2, 1, "bash").catches(), FORWARDS).waits_for(&child);
    let idle = actor(process(5, 2, "helper").job(), Kind::App);
    shape(vec![shell, child, actor(job(4, 2), Kind::App), idle])
}

/// A shell with a trap in the foreground of another.
pub(super) fn nested_traps() -> Shape {
    let child = actor(app(4, 3), Kind::App);
    let inner = actor(process(3, 2, "dash").catches(), FORGETS).waits_for(&child);
    let outer = actor(process(2, 1, "bash").catches(), FORGETS).waits_for(&inner);
    shape(vec![outer, inner, child])
}

/// A shell that ignores TERM and starts one app after the other, with a logger.
pub(super) fn deaf() -> Shape {
    let child = actor(app(3, 2).writes(1), Kind::Brief);
    let shell = process(2, 1, "bash").ignores(&[Signal::TERM]).writes(1);
    let shell = actor(shell, FORGETS).waits_for(&child).forks(1);
    let tee = actor(process(4, 2, "tee").reads(1), Kind::Reader);
    Shape { lingers: 0, ..shape(vec![shell, child, tee]) }
}

/// A subshell in the foreground: under a trap, and under a shell that ignores TERM. graceinit is not told of
/// its end.
pub(super) fn subshell() -> Shape {
    below(process(2, 1, "bash").catches())
}

/// See [`subshell`].
pub(super) fn deaf_subshell() -> Shape {
    below(process(2, 1, "bash").ignores(&[Signal::TERM]))
}

fn below(main: Process) -> Shape {
    let child = actor(app(4, 3), Kind::App);
    let inner = actor(process(3, 2, "bash"), FORGETS).waits_for(&child);
    let outer = actor(main, FORGETS).waits_for(&inner);
    shape(vec![outer, inner, child, actor(process(5, 2, "helper").job(), Kind::Brief)])
}

/// A master behind a shell, whose workers must be left to it.
pub(super) fn master() -> Shape {
    let master = actor(app(3, 2), Kind::Master);
    let shell = actor(process(2, 1, "dash"), FORGETS).waits_for(&master);
    let worker = |pid| actor(process(pid, 3, "python"), Kind::Brief);
    shape(vec![shell, master, worker(4), actor(app(5, 3), Kind::App)])
}

/// A main process that tells none of its children.
pub(super) fn silent() -> Shape {
    let silent = actor(app(2, 1), Kind::App).forks(1);
    shape(vec![silent, actor(app(3, 2), Kind::App), actor(process(4, 3, "pool"), Kind::Brief)])
}

/// `app | tee`, and a logger that holds its own pipe open.
pub(super) fn logger() -> Shape {
    let child = actor(app(3, 2).writes(1), Kind::App);
    let shell = actor(process(2, 1, "dash").writes(1).writes(2), FORGETS).waits_for(&child);
    let tee = actor(process(4, 2, "tee").reads(1), Kind::Reader);
    shape(vec![shell, child, tee, actor(process(5, 2, "awk").reads(2).writes(2), Kind::Reader)])
}

/// An app that starts helpers, before and after the main process has ended.
pub(super) fn helpers() -> Shape {
    let child = actor(app(3, 2), Kind::App).forks(2);
    let shell = actor(process(2, 1, "dash"), FORGETS).waits_for(&child);
    shape(vec![shell, child])
}

/// INT, which a script ignores and its app does not, and then TERM.
pub(super) fn escalated() -> Shape {
    let both = [Signal::INT, Signal::TERM];
    let child = actor(process(3, 2, "app").catches_all(&both), Kind::App);
    let shell = process(2, 1, "bash").ignores(&[Signal::INT]).handling(|handling| {
        handling.caught = app(0, 0).handling.unwrap_or_default().caught;
    });
    let shell = actor(shell, FORGETS).waits_for(&child);
    Shape { signal: Signal::INT, second: Some(Signal::TERM), ..shape(vec![shell, child]) }
}
