//! What an init costs, side by side with its peers in one run: `cargo bench --bench inits`, as root, with tini,
//! dumb-init and catatonit of the distribution, on a machine that has nothing else to do. Prints
//! one table of medians and one of ratios; tini is there twice, and how its two columns differ is the noise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]
#![allow(missing_docs, unreachable_pub)]

mod apps;
#[path = "../support/dice.rs"]
#[allow(dead_code)]
mod dice;
mod steps;
mod sys;

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, Command, value_parser};
use dice::Dice;
use steps::Steps;
use sys::{Room, Then};

/// A program that is measured.
#[derive(Clone)]
struct Init {
    name: &'static str,
    path: PathBuf,
    /// So that orphans come to it when it is not PID 1, and signals go to the group.
    flags: &'static [&'static str],
}

impl Init {
    fn words(&self, more: &[&str], app: &[&str]) -> Vec<CString> {
        let path = self.path.to_str().expect("text");
        let words =
            [path].into_iter().chain(self.flags.iter().copied()).chain(more.iter().copied());
        words.chain(["--"]).chain(app.iter().copied()).map(|w| CString::new(w).unwrap()).collect()
    }

    fn is_ours(&self) -> bool {
        self.name.starts_with("graceinit")
    }
}

/// A started init, with its app's words.
struct Life {
    pid: i32,
    out: BufReader<fs::File>,
}

impl Life {
    fn start(words: &[CString], room: Room) -> Life {
        let (read, write) = sys::pipe();
        let pid = sys::spawn(words, write.as_raw_fd(), room).expect("a start (are you root?)");
        Life { pid, out: BufReader::new(read) }
    }

    fn byte(&mut self) {
        self.out.read_exact(&mut [0]).expect("the app's byte");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("the app's line");
        line.trim().to_owned()
    }

    fn number(&mut self) -> f64 {
        let line = self.line();
        line.parse().unwrap_or_else(|_| panic!("no number from the app: {line:?}"))
    }

    /// TERM, and wait for the init's end: how long that took, in microseconds.
    fn stop(self) -> f64 {
        let begin = sys::clock();
        sys::kill(self.pid, libc::SIGTERM);
        sys::wait(self.pid);
        micros(sys::clock() - begin)
    }

    /// Waits until the init sleeps in the kernel.
    fn settle(&self) {
        let mut asleep = 0;
        // Seen so often in a row: one that is about to wait for something else is awake in between.
        sys::until("an idle init", || {
            asleep = if sys::is_asleep(self.pid) { asleep + 1 } else { 0 };
            asleep > 200
        });
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

struct Bench {
    /// The app of a few instructions.
    app: PathBuf,
    /// The same, but that it ends.
    end: PathBuf,
    /// This program.
    own: PathBuf,
}

/// What is written and served: with everything on. The peers have no such options, and run without.
fn everything(dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).display().to_string();
    let words = ["--listen", &format!("unix:{}", path("socket")), "--report", &path("report.json")]
        .map(str::to_owned);
    let more = ["--metrics-file", &path("app.prom"), "--drain", "9"].map(str::to_owned);
    words.into_iter().chain(more).collect()
}

const HOOKS: [&str; 8] = [
    "--grace",
    "5s",
    "--pre-stop",
    "touch:/dev/null",
    "--on-stop",
    "touch:/dev/null",
    "--post-stop",
    "touch:/dev/null",
];

impl Bench {
    fn app(&self) -> [&str; 1] {
        [self.app.to_str().unwrap()]
    }

    fn own<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [self.own.to_str().unwrap(), "--app"].into_iter().chain(words.iter().copied()).collect()
    }

    /// From the start of the init until its app runs, in microseconds.
    fn launch(&self, init: &Init, more: &[&str], room: Room) -> f64 {
        let words = init.words(more, &self.app());
        let begin = sys::clock();
        let mut life = Life::start(&words, room);
        life.byte();
        let took = micros(sys::clock() - begin);
        if room == Room::Plain {
            life.settle();
            life.stop();
        } else {
            // The namespace goes with it.
            sys::kill(life.pid, libc::SIGKILL);
            sys::wait(life.pid);
        }
        took
    }

    /// The whole life of an app that ends at once: microseconds, and page faults, those of the app included (four).
    fn life(&self, init: &Init, more: &[&str]) -> (f64, f64) {
        let words = init.words(more, &[self.end.to_str().unwrap()]);
        let begin = sys::clock();
        let life = Life::start(&words, Room::Plain);
        let faults = sys::wait_and_count(life.pid).1;
        (micros(sys::clock() - begin), faults as f64)
    }

    /// The anonymous memory of an init that waits, and of the processes that it has started for itself.
    fn memory(&self, init: &Init, more: &[&str], client: impl Fn()) -> f64 {
        let mut life = Life::start(&init.words(more, &self.app()), Room::Plain);
        life.byte();
        client();
        life.settle();
        let own = std::iter::once(life.pid).chain(apps::own_children(life.pid, &self.app));
        let kib = own.map(|pid| apps::of_proc(pid, "smaps_rollup", "Anonymous:").unwrap_or(0.0));
        let sum = kib.sum();
        life.stop();
        sum
    }

    /// Instructions of the init until it waits.
    fn steps(&self, init: &Init, more: &[&str]) -> Steps {
        let (_read, write) = sys::pipe();
        Steps::of(&init.words(more, &self.app()), write.as_raw_fd())
    }

    fn stop(&self, init: &Init, more: &[&str]) -> f64 {
        let mut life = Life::start(&init.words(more, &self.app()), Room::FirstWithProc);
        life.byte();
        life.settle();
        life.stop()
    }

    /// RSS, PSS and anonymous memory of an init that waits.
    fn idle(&self, init: &Init) -> [f64; 3] {
        let mut life = Life::start(&init.words(&[], &self.app()), Room::Plain);
        life.byte();
        life.settle();
        let kib = |key| apps::of_proc(life.pid, "smaps_rollup", key).expect(key);
        let found = [kib("Rss:"), kib("Pss:"), kib("Anonymous:")];
        life.stop();
        found
    }

    /// Microseconds from kill(2) at the init to the app's sigwait(3), each of `count` signals.
    fn latency(&self, init: &Init, count: usize) -> Vec<f64> {
        let mut life = Life::start(&init.words(&[], &self.own(&["echo"])), Room::FirstWithProc);
        assert_eq!(life.line(), "ready");
        let mut found = Vec::new();
        for _ in 0..count {
            life.settle();
            let begin = sys::clock();
            sys::kill(life.pid, libc::SIGUSR1);
            found.push(life.number() / 1000.0 - micros(begin));
        }
        life.stop();
        found
    }

    /// Orphans reaped per second, from the moment at which all have ended and the init goes on: until then it is
    /// held, so that their dying, which costs the kernel twenty times as much, is not what is measured. Not by
    /// STOP: the CONT that ends it would be passed on, to the thousands in the app's group.
    fn reaping(&self, init: &Init, count: usize, alive: usize) -> f64 {
        let (all, live) = (count.to_string(), alive.to_string());
        let mut life = Life::start(
            &init.words(&[], &self.own(&["orphans", &all, &live])),
            Room::FirstWithProc,
        );
        assert_eq!(life.line(), "made");
        life.settle();
        // The app waits for that.
        sys::hold(life.pid);
        assert_eq!(life.line(), "ended");
        let begin = sys::clock();
        sys::let_go(life.pid);
        let took = life.number() - begin as f64;
        // The app ends by itself.
        sys::wait(life.pid);
        count as f64 * 1e9 / took
    }

    /// A stop of an app with so many descendants in its group.
    fn family(&self, init: &Init, count: usize) -> f64 {
        let count = count.to_string();
        let mut life =
            Life::start(&init.words(&[], &self.own(&["family", &count])), Room::FirstWithProc);
        assert_eq!(life.line(), "ready");
        life.settle();
        life.stop()
    }

    /// How late SIGKILL is for an app that does not hear TERM while both processors are busy, in
    /// milliseconds.
    fn late(&self, init: &Init) -> f64 {
        let words = init.words(&["--grace", "200ms", "--log-level", "off"], &self.own(&["deaf"]));
        let mut life = Life::start(&words, Room::FirstWithProc);
        assert_eq!(life.line(), "ready");
        life.stop() / 1000.0 - 200.0
    }
}

fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// One line of the table.
struct Row {
    what: &'static str,
    values: Vec<Option<f64>>,
}

struct Table {
    inits: Vec<Init>,
    /// Lines that have this in their name.
    only: String,
    rows: Vec<Row>,
}

impl Table {
    /// Measures all in turn, in a random order each time, and keeps the medians.
    fn measure(&mut self, what: &'static str, rounds: usize, with: impl Fn(&Init) -> f64) {
        self.some(what, rounds, |_| true, with);
    }

    fn some(
        &mut self,
        what: &'static str,
        rounds: usize,
        takes: impl Fn(&Init) -> bool,
        with: impl Fn(&Init) -> f64,
    ) {
        if !what.contains(&self.only) {
            return;
        }
        eprintln!("{what}...");
        let count = self.inits.len();
        let mut found = vec![Vec::new(); count];
        let mut order: Vec<usize> = (0..count).collect();
        let mut dice = Dice(1);
        for _ in 0..rounds {
            // Nobody always comes after the same one, whose traces are in the caches.
            for left in (1..count).rev() {
                order.swap(left, dice.roll(left as u64 + 1) as usize);
            }
            for &place in &order {
                if takes(&self.inits[place]) {
                    found[place].push(with(&self.inits[place]));
                }
            }
        }
        let value = |list: &mut Vec<f64>| (!list.is_empty()).then(|| median(list));
        self.rows.push(Row { what, values: found.iter_mut().map(value).collect() });
    }

    fn print(&self) {
        let head: Vec<&str> = self.inits.iter().map(|init| init.name).collect();
        println!("| | {} |\n|---|{}", head.join(" | "), "---:|".repeat(head.len()));
        for row in &self.rows {
            let cells = row.values.iter().map(|value| value.map_or("–".to_owned(), short));
            println!("| {} | {} |", row.what, cells.collect::<Vec<_>>().join(" | "));
        }
        println!("\nRatios, graceinit to each:\n");
        println!("| | {} |\n|---|{}", head[1..].join(" | "), "---:|".repeat(head.len() - 1));
        for row in &self.rows {
            let Some(ours) = row.values[0] else { continue };
            let ratio = |value: &Option<f64>| match value {
                Some(value) if *value != 0.0 => format!("{:.2}", ours / value),
                _ => "–".to_owned(),
            };
            let cells: Vec<String> = row.values[1..].iter().map(ratio).collect();
            println!("| {} | {} |", row.what, cells.join(" | "));
        }
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 10.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let [_, flag, name, numbers @ ..] = &words[..] {
        if flag == "--app" {
            let numbers: Vec<usize> =
                numbers.iter().map(|n| n.parse().expect("a number")).collect();
            apps::run(name, &numbers);
        }
    }
    let number = |name: &'static str, help: &'static str, usual: &'static str| {
        let parser = value_parser!(usize);
        Arg::new(name).long(name).value_parser(parser).default_value(usual).help(help)
    };
    let asked = Command::new("inits")
        .about("What an init costs, beside its peers")
        .arg(number("rounds", "launches and stops of each", "101"))
        .arg(number("idle", "seconds in which wake-ups are counted", "20"))
        .arg(
            Arg::new("only").long("only").help("the lines with this in their name, as in \"stop\""),
        )
        .arg(Arg::new("places").long("places").num_args(0..).allow_hyphen_values(true).help(
            "no table: where the instructions lie that graceinit executes with these options until it waits",
        ))
        .arg(Arg::new("graceinit").long("graceinit").help("another file than the one just built"))
        .arg(Arg::new("other").long("other").help("a second graceinit to compare with"))
        // cargo bench hands it to every benchmark.
        .arg(Arg::new("bench").long("bench").num_args(0).hide(true))
        .get_matches();
    let rounds = *asked.get_one::<usize>("rounds").unwrap();
    let idle = *asked.get_one::<usize>("idle").unwrap();
    let file = |name| asked.get_one::<String>(name).map(PathBuf::from);
    let ours = file("graceinit").unwrap_or_else(|| env!("CARGO_BIN_EXE_graceinit").into());
    let dir = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let bench = Bench { app: dir.path().join("app"), end: dir.path().join("end"), own };
    sys::write_app(&bench.app, Then::Wait).unwrap();
    sys::write_app(&bench.end, Then::End).unwrap();
    let mut inits = vec![Init { name: "graceinit", path: ours, flags: &[] }];
    if let Some(options) = asked.get_many::<String>("places") {
        let options: Vec<&str> = options.map(String::as_str).collect();
        bench.steps(&inits[0], &options).places.iter().for_each(|place| println!("{place:x}"));
        return;
    }
    inits.extend(file("other").map(|path| Init { name: "graceinit, other", path, flags: &[] }));
    for (name, path, flags) in [
        ("tini", "/usr/bin/tini", &["-s", "-g"][..]),
        ("tini again", "/usr/bin/tini", &["-s", "-g"]),
        ("tini-static", "/usr/bin/tini-static", &["-s", "-g"]),
        ("dumb-init", "/usr/bin/dumb-init", &[]),
        ("catatonit", "/usr/bin/catatonit", &["-g"]),
    ] {
        if Path::new(path).exists() {
            inits.push(Init { name, path: path.into(), flags });
        } else {
            eprintln!("{path}: not installed, left out");
        }
    }
    let floor = dir.path().join("floor");
    if build_floor(&floor) {
        inits.push(Init { name: "floor", path: floor, flags: &[] });
    } else {
        eprintln!("no C compiler: no floor");
    }
    for init in &inits {
        sys::read_anew(&init.path).unwrap();
    }
    let only = asked.get_one::<String>("only").cloned().unwrap_or_default();
    let mut table = Table { inits, only, rows: Vec::new() };
    table.measure("size of the program (kB)", 1, |i| {
        fs::metadata(&i.path).unwrap().len() as f64 / 1e3
    });
    table.measure("launch, PID 1 (µs)", rounds, |init| bench.launch(init, &[], Room::First));
    table.measure("launch, not PID 1 (µs)", rounds, |init| bench.launch(init, &[], Room::Plain));
    let hooks =
        |init: &Init| bench.launch(init, if init.is_ours() { &HOOKS } else { &[] }, Room::First);
    table.measure("launch, three hooks and a grace as flags (µs)", rounds, hooks);
    let words = everything(dir.path());
    let on: Vec<&str> = words.iter().map(String::as_str).collect();
    // A drain needs a server: with one it would last for its delay.
    let written = &on[..6];
    fn if_ours<'a>(init: &Init, words: &'a [&'a str]) -> &'a [&'a str] {
        if init.is_ours() { words } else { &[] }
    }
    table.measure("launch, everything on, PID 1 (µs)", rounds, |init| {
        bench.launch(init, if_ours(init, &on), Room::First)
    });
    table.measure("life of a short app (µs)", rounds, |init| bench.life(init, &[]).0);
    table.measure("life of a short app, everything on (µs)", rounds, |init| {
        bench.life(init, if_ours(init, &on)).0
    });
    table.measure("page faults, init and app", 21, |init| bench.life(init, &[]).1);
    table.measure("page faults, everything on", 21, |init| bench.life(init, if_ours(init, &on)).1);
    table.measure("user instructions of a launch", 1, |init| bench.steps(init, &[]).count as f64);
    for (index, what) in ["RSS, idle (KiB)", "PSS, idle (KiB)", "anonymous memory, idle (KiB)"]
        .into_iter()
        .enumerate()
    {
        table.measure(what, 21, |init| bench.idle(init)[index]);
    }
    table.measure("anonymous memory, everything on (KiB)", 21, |init| {
        bench.memory(init, if_ours(init, &on), || ())
    });
    table.measure("anonymous memory, everything on, after a request (KiB)", 21, |init| {
        let ask = || apps::ask(&dir.path().join("socket"));
        match init.is_ours() {
            true => bench.memory(init, &on, ask),
            false => bench.memory(init, &[], || ()),
        }
    });
    wakes(&mut table, &bench, "wake-ups, idle", idle, &[]);
    wakes(&mut table, &bench, "wake-ups, ready, everything written and served", idle, written);
    wakes(&mut table, &bench, "wake-ups, waiting for a listener", idle, &on);
    table.measure("signal latency, p50 (µs)", 11, |init| median(&mut bench.latency(init, 200)));
    table.measure("signal latency, p99 (µs)", 5, |init| {
        quantile(&mut bench.latency(init, 200), 0.99)
    });
    table.measure("stop (µs)", rounds, |init| bench.stop(init, &[]));
    table.measure("stop, everything written and served (µs)", rounds, |init| {
        bench.stop(init, if_ours(init, written))
    });
    table.measure("stop, 1,000 descendants (µs)", 7, |init| bench.family(init, 1000));
    table.measure("orphans reaped per second, 1,000", 7, |init| bench.reaping(init, 1000, 0));
    table.measure("orphans reaped per second, 10,000", 5, |init| bench.reaping(init, 10_000, 0));
    table.measure("orphans reaped per second, 1,000 among 5,000 live", 5, |init| {
        bench.reaping(init, 1000, 5000)
    });
    let burners: Vec<i32> = (0..std::thread::available_parallelism().map_or(2, usize::from))
        .map(|_| match sys::fork() {
            0 => loop {
                std::hint::spin_loop();
            },
            pid => pid,
        })
        .collect();
    for (what, share) in [
        ("SIGKILL after the deadline, processors busy, p50 (ms late)", 0.5),
        ("SIGKILL after the deadline, processors busy, p99 (ms late)", 0.99),
    ] {
        let late = |init: &Init| {
            quantile(&mut (0..50).map(|_| bench.late(init)).collect::<Vec<_>>(), share)
        };
        table.some(what, 1, Init::is_ours, late);
    }
    for pid in burners {
        sys::kill(pid, libc::SIGKILL);
        sys::wait(pid);
    }
    table.print();
}

/// An init of nothing but system calls.
fn build_floor(to: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inits/floor.c");
    let built = std::process::Command::new("cc")
        .args(["-O2", "-static", "-nostdlib", "-s", "-o"])
        .args([to, &source])
        .status();
    built.is_ok_and(|status| status.success())
}

/// Lives of all inits at the same time, each with files and a socket of its own.
fn wakes(table: &mut Table, bench: &Bench, what: &'static str, seconds: usize, more: &[&str]) {
    if !what.contains(&table.only) {
        return;
    }
    eprintln!("{what}...");
    let lives: Vec<Life> = table
        .inits
        .iter()
        .enumerate()
        .map(|(index, init)| {
            let own: Vec<String> = more
                .iter()
                .map(
                    |word| {
                        if word.contains('/') { format!("{word}{index}") } else { (*word).into() }
                    },
                )
                .collect();
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            let words = init.words(if init.is_ours() { &own } else { &[] }, &bench.app());
            let mut life = Life::start(&words, Room::Plain);
            life.byte();
            life.settle();
            life
        })
        .collect();
    // A new phase is written a moment after it has begun.
    std::thread::sleep(Duration::from_millis(500));
    let count = |life: &Life| {
        apps::of_proc(life.pid, "status", "voluntary_ctxt_switches:").expect("a running init")
    };
    let before: Vec<f64> = lives.iter().map(count).collect();
    // The length of the measurement, not a wait for anything.
    std::thread::sleep(Duration::from_secs(seconds as u64));
    let values =
        lives.iter().zip(before).map(|(life, before)| Some(count(life) - before)).collect();
    table.rows.push(Row { what, values });
    for life in lives {
        life.stop();
    }
}
