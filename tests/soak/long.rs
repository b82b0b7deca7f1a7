//! One long life with everything in it: memory and descriptors of PID 1 stay as they are.

use std::path::Path;
use std::time::{Duration, Instant};

use super::clients;
use crate::support::dice::Dice;
use crate::support::files::Place;
use crate::support::init::puppet_line;
use crate::support::{Fault, Launch, Outcome, Room, Run, proc};
use crate::{ensure, ensure_eq};

/// How many orphans the app makes at a time (app.py).
const ORPHANS: u64 = 20;
/// What the heap may grow by, in KiB: glibc asks the kernel for so much at a time. Its pages are touched one after the
/// other for a long time, as blocks of other sizes come to lie elsewhere; so the address space counts.
const ROOM_TO_BREATHE: u64 = 132;
/// So many rounds fill all that is kept: the time line, the output of hooks, the samples.
pub(crate) const WARM_UP: u64 = 500;

/// What was done, and what it has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rounds: u64,
    pub(crate) signals: u64,
    pub(crate) reloads: u64,
    pub(crate) orphans: u64,
    pub(crate) messages: u64,
    pub(crate) requests: u64,
    pub(crate) answers: u64,
    pub(crate) pauses: u64,
    pub(crate) crashes: u64,
    /// Anonymous memory and data of the address space in KiB, and descriptors: after the warm-up, at the most after it,
    /// and at the end.
    pub(crate) memory: [u64; 3],
    pub(crate) data: [u64; 3],
    pub(crate) descriptors: [usize; 3],
}

/// A size of /proc/PID/status in KiB.
fn size(pid: i32, field: &str) -> Outcome<u64> {
    let text = proc::status_field(pid, field).unwrap_or_default();
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| Fault::new(format!("no {field} of {pid}: {text:?}")))
}

fn descriptors(pid: i32) -> Outcome<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Waits until graceinit has reaped its last hook and orphan and is asleep.
fn settles(init: i32) -> Outcome {
    proc::poll("a quiet graceinit", || {
        let quiet = |child: &proc::Process| {
            child.comm.starts_with("python") || child.comm == clients::OBSERVER
        };
        let asleep = proc::process(init).is_some_and(|it| it.state == 'S');
        (asleep && proc::children(init).iter().all(quiet)).then_some(())
    })
}

/// Rounds until `go_on` says no, at least `warm_up` and one more.
pub(crate) fn live(
    graceinit: Option<&Path>,
    warm_up: u64,
    mut go_on: impl FnMut(&Figures) -> bool,
) -> Outcome<Figures> {
    let place = Place::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/soak/app.py");
    let room = if crate::support::need::pid_namespace() { Room::PidNs } else { Room::Plain };
    let mut launch = Launch::graceinit(room)
        .flags("--grace 20s --ready notify --grace-max 30s --hook-timeout 10s -v")
        .flag("--listen", format!("unix:{}", place.text("socket")))
        .flag("--report", place.text("report"))
        .flag("--metrics-file", place.text("metrics.prom"))
        .flag("--ready-file", place.text("ready"))
        .flag("--on-reload", puppet_line("say=words complain=words orphans=10 release exit=0"))
        .flag("--on-reload", "touch:/dev/null")
        .command(["python3".as_ref(), script.as_os_str()])
        .patience(Duration::from_secs(30));
    if let Some(graceinit) = graceinit {
        launch = launch.program_file(graceinit);
    }
    let mut run = launch.start()?;
    run.out.until("ready")?;
    run.err.until("graceinit: info: the app is ready")?;
    let init = run.init()?;
    let mut dice = Dice(0x5eed);
    let mut figures = Figures::default();
    let mut looked = Instant::now();
    while figures.rounds <= warm_up || go_on(&figures) {
        round(&run, init, &place, &mut dice, &mut figures)?;
        figures.rounds += 1;
        let first = figures.rounds == warm_up;
        if first || figures.rounds > warm_up && looked.elapsed() > Duration::from_secs(2) {
            look(init, &mut figures, first)?;
            looked = Instant::now();
        }
    }
    look(init, &mut figures, false)?;
    run.signal("TERM")?;
    run.exits(3)?;
    let gone = || run.survivors().is_empty().then_some(());
    proc::poll("the end of all processes", gone)?;
    for name in ["socket", "ready"] {
        ensure!(!place.path(name).exists(), "{name} was left behind");
    }
    let report: serde_json::Value = serde_json::from_str(&place.expect("report")?)?;
    ensure_eq!(report["exit"]["code"], 3, "the code in the report");
    let [first, _, last] = figures.data;
    ensure!(last <= first + ROOM_TO_BREATHE, "the heap grew: {figures:?}");
    let [first, _, last] = figures.descriptors;
    ensure_eq!(first, last, "descriptors: {figures:?}");
    Ok(figures)
}

fn look(init: i32, figures: &mut Figures, first: bool) -> Outcome {
    settles(init)?;
    let (memory, data) = (size(init, "RssAnon")?, size(init, "VmData")?);
    let descriptors = descriptors(init)?;
    if first {
        figures.memory = [memory; 3];
        (figures.data, figures.descriptors) = ([data; 3], [descriptors; 3]);
    }
    figures.memory = [figures.memory[0], figures.memory[1].max(memory), memory];
    figures.data = [figures.data[0], figures.data[1].max(data), data];
    let most = figures.descriptors[1].max(descriptors);
    figures.descriptors = [figures.descriptors[0], most, descriptors];
    Ok(())
}

fn round(run: &Run, init: i32, place: &Place, dice: &mut Dice, figures: &mut Figures) -> Outcome {
    for _ in 0..5 {
        run.signal("USR1")?;
        run.out.until("got SIGUSR1")?;
        figures.signals += 1;
        figures.messages += 1;
    }
    run.signal("USR2")?;
    run.out.until("got SIGUSR2")?;
    figures.signals += 1;
    figures.orphans += ORPHANS;
    for _ in 0..10 {
        figures.answers += u64::from(clients::ask(&place.path("socket"), dice));
        figures.requests += 1;
    }
    if figures.rounds % 5 == 0 {
        run.signal("HUP")?;
        run.err.until("graceinit: info: on-reload hook done with code 0 hook=on-reload-2")?;
        run.out.until("got SIGHUP")?;
        figures.reloads += 1;
        figures.orphans += 10;
    }
    if figures.rounds % 50 == 0 {
        clients::pause(init)?;
        figures.pauses += 1;
    }
    if figures.rounds % 100 == 0 {
        figures.crashes += u64::from(clients::crash_a_helper(init, dice));
    }
    Ok(())
}
