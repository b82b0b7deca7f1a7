//! What becomes of the work, shape by shape, under graceinit and its peers: `cargo bench --bench shapes`, as root on
//! a machine with the programs that `tests/run` installs. Prints the table of docs/comparison.md; ends with 1 if a
//! shape could not be tried, or if graceinit lost work or asked twice where another saved it and asked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a program of its own, which measures times")]
#![allow(missing_docs)]
#![allow(unused_imports, reason = "the box has tools that only the tests take")]

#[path = "mod.rs"]
mod shapes;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use shapes::run::{self, Cell, Runner};
use shapes::shape::Shape;
use shapes::table;
use support::Outcome;

fn cli() -> Command {
    let list = |name: &'static str, of: Vec<&'static str>, help: &'static str| {
        Arg::new(name).long(name).value_delimiter(',').value_parser(of).help(help)
    };
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(u8).range(1..)).help(help)
    };
    Command::new("shapes")
        .about(
            "Stops entry scripts and servers of all shapes and looks at what became of their work",
        )
        .arg(list("shape", shapes::all().map(|shape| shape.id).collect(), "these shapes alone"))
        .arg(list(
            "init",
            Runner::ALL.iter().map(|init| init.name()).collect(),
            "these inits alone",
        ))
        .arg(Arg::new("graceinit").long("graceinit").help("another file than the one just built"))
        .arg(number("jobs", "how many at a time: most of them wait").default_value("4"))
        .arg(number("times", "how often each; the table shows the worst").default_value("1"))
        // Cargo says it to every bench.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}

/// Whether a name was asked for; nothing said is everything.
fn wanted(matches: &ArgMatches, list: &str, name: &str) -> bool {
    matches.get_many::<String>(list).is_none_or(|mut words| words.any(|word| word == name))
}

fn main() -> ExitCode {
    let matches = cli().get_matches();
    let inits: Vec<Runner> =
        Runner::ALL.into_iter().filter(|init| wanted(&matches, "init", init.name())).collect();
    let shapes: Vec<&Shape> =
        shapes::all().filter(|shape| wanted(&matches, "shape", shape.id)).collect();
    let times = matches.get_one::<u8>("times").copied().unwrap_or(1);
    let jobs = matches.get_one::<u8>("jobs").copied().unwrap_or(1);

    let graceinit = matches.get_one::<String>("graceinit").map(Path::new);
    let try_it = |shape: &Shape, init| run::run(shape, init, graceinit);
    let cells = try_all(&shapes, &inits, times, jobs, try_it);
    println!("{}", table::head(&inits));
    let mut good = true;
    for (number, shape) in shapes.iter().enumerate() {
        let row: Vec<Option<Cell>> =
            inits.iter().map(|init| cells.get(&(number, init.name())).copied()).collect();
        println!("{}", table::row(shape, &row));
        good &= row.iter().all(Option::is_some);
        if let Some(worse) = table::worse(&inits, &row) {
            eprintln!("{}: graceinit is worse than {worse}", shape.id);
            good &= shape.id == shapes::UNTOLD;
        } else if let Some(seconds) = table::slower(&inits, &row) {
            eprintln!("{}: graceinit takes {seconds:.1} s longer than the quickest", shape.id);
        }
    }
    println!("\n{}", table::LEGEND);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every cell that could be had, so many at a time; of several tries the worst.
fn try_all(
    shapes: &[&Shape],
    inits: &[Runner],
    times: u8,
    jobs: u8,
    try_it: impl Fn(&Shape, Runner) -> Outcome<Cell> + Sync,
) -> HashMap<(usize, &'static str), Cell> {
    let work: Vec<(usize, Runner)> = (0..times)
        .flat_map(|_| 0..shapes.len())
        .flat_map(|shape| inits.iter().map(move |init| (shape, *init)))
        .collect();
    let (next, cells) = (Mutex::new(work.into_iter()), Mutex::new(HashMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let Some((number, init)) = next.lock().expect("no panic").next() else {
                        return;
                    };
                    let shape = shapes[number];
                    if !run::possible(shape, init) {
                        continue;
                    }
                    match try_it(shape, init) {
                        Ok(cell) => {
                            let mut cells = cells.lock().expect("no panic");
                            let worst = cells.entry((number, init.name())).or_insert(cell);
                            *worst = worst.or_worse(cell);
                        }
                        Err(fault) => eprintln!("{} {}: {fault:?}", shape.id, init.name()),
                    }
                }
            });
        }
    });
    cells.into_inner().expect("no panic")
}
