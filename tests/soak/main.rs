//! Random lives at full speed, and beside them one long life: `cargo bench --bench soak -- SECONDS`, as root. Prints
//! figures; ends with 1 if a life did not end as it should, or if memory or descriptors grew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a program of its own, which measures times")]
#![allow(missing_docs)]
#![allow(unused_imports, reason = "the box has tools that only the tests take")]

#[path = "mod.rs"]
mod soak;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, Command, value_parser};
use soak::{lives, long};
use support::init;

/// How often figures are printed.
const MINUTE: Duration = Duration::from_secs(60);

fn cli() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(u64)).default_value(default).help(help)
    };
    Command::new("soak")
        .about("Random lives at full speed, and one long life")
        .arg(
            Arg::new("seconds")
                .value_parser(value_parser!(u64))
                .default_value("3600")
                .help("how long"),
        )
        .arg(number("jobs", "1", "how many random lives at a time"))
        .arg(number("seed", "1", "the first random life; each one has the next number"))
        .arg(number("lives", "0", "so many random lives, and no long one").hide_default_value(true))
        .arg(Arg::new("graceinit").long("graceinit").help("another file than the one just built"))
        // Cargo says it to every bench.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}

fn main() -> ExitCode {
    let matches = cli().get_matches();
    let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or(0);
    let graceinit = matches.get_one::<String>("graceinit").map(PathBuf::from);
    let graceinit = graceinit.as_deref();
    if !init::puppet().exists() {
        // Cargo builds no examples for a bench.
        let words = ["build", "--locked", "--release", "--example", "puppet"];
        drop(Program::new(env!("CARGO")).args(words).status());
    }
    let begun = Instant::now();
    let seconds = Duration::from_secs(number("seconds"));
    let first = number("seed");
    let last = match number("lives") {
        0 => u64::MAX,
        lives => first + lives,
    };
    let time_is_left = || begun.elapsed() < seconds;
    let (next, lived, failed) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let sums: Mutex<BTreeMap<&str, u64>> = Mutex::new(BTreeMap::new());
    let random = || {
        while time_is_left() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return;
            }
            match lives::live(seed, graceinit) {
                Ok(done) => {
                    let mut sums = sums.lock().expect("no panic");
                    done.into_iter().for_each(|(what, n)| *sums.entry(what).or_default() += n);
                }
                Err(fault) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("seed {seed}: {fault:?}");
                }
            }
            lived.fetch_add(1, Ordering::Relaxed);
        }
    };
    let tell = |what: &str, long: &long::Figures| {
        let sums = sums.lock().expect("no panic");
        let (lived, failed) = (lived.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
        println!(
            "{what} {} s: {lived} random lives, {failed} failed, {sums:?}; the long life: {long:?}",
            begun.elapsed().as_secs()
        );
    };
    let good = std::thread::scope(|scope| {
        (0..number("jobs")).for_each(|_| drop(scope.spawn(random)));
        if last != u64::MAX {
            return true;
        }
        let mut told = Instant::now();
        let ended = long::live(graceinit, long::WARM_UP, |figures| {
            if told.elapsed() > MINUTE {
                told = Instant::now();
                tell("after", figures);
            }
            time_is_left()
        });
        match ended {
            Ok(figures) => {
                tell("the end after", &figures);
                true
            }
            Err(fault) => {
                println!("the long life: {fault:?}");
                false
            }
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    println!("{} random lives, {failed} failed", lived.load(Ordering::Relaxed));
    if good && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
