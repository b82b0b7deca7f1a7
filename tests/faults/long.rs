//! The long form: all faults, kept results, the table of docs/reliability.md.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode};
use std::sync::Mutex;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::judge::{Verdict, warnings};
use super::life::{Life, Sight};
use super::table;
use super::work::{self, Job, usual};
use crate::support::{self, Outcome, init};

fn cli() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_parser(value_parser!(usize))
            .default_value(default)
            .help(help)
    };
    let list = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_delimiter(',').action(ArgAction::Append).help(help)
    };
    Command::new("faults")
        .about("Makes every system call of PID 1 fail")
        .arg(
            Arg::new("life")
                .num_args(0..)
                .value_parser(Life::ALL.map(Life::name))
                .help("these lives alone"),
        )
        .arg(list("call", "these calls alone, without the results of earlier runs"))
        .arg(list("error", "these errors alone, without the results of earlier runs"))
        .arg(number("jobs", "2", "how many lives at a time: most of them wait"))
        .arg(number("most", "25", "how many occurrences of a call, for each error"))
        .arg(
            Arg::new("shard")
                .long("shard")
                .default_value("1/1")
                .help("K/N: the K-th of N parts of the work"),
        )
        .arg(Arg::new("graceinit").long("graceinit").help("another file than the one just built"))
        .arg(
            Arg::new("verbose").long("verbose").action(ArgAction::SetTrue).help("says every fault"),
        )
        .arg(
            Arg::new("table")
                .long("table")
                .action(ArgAction::SetTrue)
                .help("only writes the table, from the results that are there"),
        )
        // Cargo says it to every bench.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}

/// Where the results lie.
fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults")
}

/// What the results of a run belong to: this file, with this number of occurrences.
fn mark(graceinit: &Path, most: usize) -> Outcome<String> {
    let meta = fs::metadata(graceinit)?;
    Ok(format!("# {} bytes of {}, at most {most} occurrences", meta.size(), meta.mtime()))
}

pub(crate) fn main() -> ExitCode {
    match run(&cli().get_matches()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("faults: {fault:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(matches: &ArgMatches) -> Outcome<bool> {
    if matches.get_flag("table") {
        return write_table();
    }
    let of = |name: &str| -> BTreeSet<String> {
        matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
    };
    let (lives, calls, errors) = (of("life"), of("call"), of("error"));
    let number = |name: &str| matches.get_one::<usize>(name).copied().unwrap_or(1);
    let (jobs, most) = (number("jobs"), number("most"));
    let shard = matches.get_one::<String>("shard").and_then(|text| text.split_once('/'));
    let shard = shard.and_then(|(k, n)| Some((k.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
    let (part, parts) = shard.filter(|(k, n)| *k > 0 && k <= n).expect("--shard K/N");
    let other = matches.get_one::<String>("graceinit").map(PathBuf::from);
    let graceinit = other.as_deref();
    if !init::puppet().exists() {
        // Cargo builds no examples for a bench.
        let words = ["build", "--locked", "--release", "--example", "puppet"];
        Program::new(env!("CARGO")).args(words).status()?;
    }
    let keep = calls.is_empty() && errors.is_empty();
    let program = graceinit.map_or_else(|| support::Program::Graceinit.path(), Path::to_path_buf);
    let mut good = true;
    for life in Life::ALL {
        if !lives.is_empty() && !lives.contains(life.name()) {
            continue;
        }
        let usual = usual(life, graceinit)?;
        let mut work = work::jobs(life, &usual, most)?;
        work.retain(|job| {
            (calls.is_empty() || calls.contains(job.call.name()))
                && (errors.is_empty() || errors.contains(job.error))
        });
        let mut number = 0;
        work.retain(|_| {
            number += 1;
            number % parts == part % parts
        });
        let mut results = Results::open(life, keep, &mark(&program, most)?)?;
        work.retain(|job| !results.known.contains(&job.name()));
        let total = work.len();
        eprintln!("{}: {} calls, {total} faults", life.name(), usual.seen.calls.len());
        let results = Mutex::new(&mut results);
        work::in_parallel(work, jobs, |job| {
            let doubt = |reasons: &[String], sight: &Sight| {
                eprintln!("{}: {} (again){}", job.name(), reasons.join("; "), log(sight));
            };
            let done = work::try_it(&job, &usual, graceinit, doubt);
            let mut results = results.lock().expect("no panic");
            match done {
                Ok((verdict, sight)) => {
                    if matches!(verdict, Verdict::Broken(_)) || matches.get_flag("verbose") {
                        println!("{}: {verdict:?}{}", job.name(), log(&sight));
                    }
                    results.put(&job, &verdict);
                }
                Err(fault) => eprintln!("{}: {}", job.name(), fault.reason()),
            }
        });
        let results = results.into_inner().expect("no panic");
        println!("{}: {}", life.name(), results.sum());
        good &= results.broken == 0;
    }
    if keep && parts == 1 {
        good &= write_table()?;
    }
    Ok(good)
}

/// The last warnings of a log.
fn log(sight: &Sight) -> String {
    let all = warnings(sight);
    let last =
        all.iter().map(|text| format!("\n    {}", text.chars().take(200).collect::<String>()));
    last.take(6).collect()
}

/// The results of a life.
struct Results {
    file: Option<fs::File>,
    known: BTreeSet<String>,
    counts: [usize; 5],
    broken: usize,
}

impl Results {
    fn open(life: Life, keep: bool, mark: &str) -> Outcome<Results> {
        let mut results = Results { file: None, known: BTreeSet::new(), counts: [0; 5], broken: 0 };
        if !keep {
            return Ok(results);
        }
        fs::create_dir_all(place())?;
        let path = place().join(life.name());
        let old = fs::read_to_string(&path).unwrap_or_default();
        let mut lines = old.lines();
        let is_ours = lines.next() == Some(mark);
        let mut file = OpenOptions::new()
            .create(true)
            .append(is_ours)
            .truncate(!is_ours)
            .write(true)
            .open(&path)?;
        if is_ours {
            for entry in lines.filter_map(table::Entry::parse) {
                results.known.insert(entry.name.to_owned());
                results.count(entry.verdict);
            }
        } else {
            writeln!(file, "{mark}")?;
        }
        results.file = Some(file);
        Ok(results)
    }

    fn count(&mut self, verdict: &str) {
        let names = ["not-reached", "same", "warned", "lost", "broken"];
        let place = names.iter().position(|name| *name == verdict).unwrap_or(0);
        self.counts[place] += 1;
        self.broken = self.counts[4];
    }

    fn put(&mut self, job: &Job, verdict: &Verdict) {
        let (name, what) = match verdict {
            Verdict::NotReached => ("not-reached", &[][..]),
            Verdict::Same => ("same", &[][..]),
            Verdict::Warned => ("warned", &[][..]),
            Verdict::Lost(what) => ("lost", what.as_slice()),
            Verdict::Broken(what) => ("broken", what.as_slice()),
        };
        self.count(name);
        let what: String = what.iter().map(|it| format!("\t{}", it.replace('\t', " "))).collect();
        if let Some(file) = &mut self.file {
            writeln!(file, "{}\t{name}{what}", job.name()).expect("the file of results");
        }
    }

    fn sum(&self) -> String {
        let [missed, same, warned, lost, broken] = self.counts;
        format!(
            "{same} changed nothing, {warned} a warning, {lost} lost something and warned, {broken} broke a promise \
            ({missed} were not reached)"
        )
    }
}

/// Writes the table of all results into the page. Whether no promise was broken.
fn write_table() -> Outcome<bool> {
    let files =
        Life::ALL.map(|life| fs::read_to_string(place().join(life.name())).unwrap_or_default());
    let lines = files.iter().flat_map(|file| file.lines().filter(|line| !line.starts_with('#')));
    let text = table::table(lines);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    let page = fs::read_to_string(&path)?;
    let page =
        table::put(&page, &text).ok_or_else(|| support::Fault::new("no marks in the page"))?;
    fs::write(path, page)?;
    Ok(!files.iter().any(|file| file.contains("\tbroken")))
}
