//! What the program costs, in counts that are the same on a busy machine: its size, the page faults of a life, the
//! memory that it keeps. (That it never wakes up is in `blackbox::still`; the benchmark measures times.) Each bound
//! is a little above what was measured on the release build for x86_64, and the measurement stands beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ensure;
use crate::support::files::Place;
use crate::support::{Fault, Outcome, need, proc, sys};

const TRUE: &str = "/bin/true";

/// The release build, which is compiled differently from the tests' own build.
pub(crate) fn release() -> Option<PathBuf> {
    let debug = Path::new(env!("CARGO_BIN_EXE_graceinit"));
    let path = debug.parent()?.parent()?.join("release/graceinit");
    need::met(path.exists(), "the release build (cargo build --release)").then_some(path)
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().stdin(Stdio::null());
    command
}

/// The median of the page faults of a command and of all children that it has waited for. (Where the kernel puts the
/// stack makes a difference of one.)
fn faults(words: &[&str]) -> Outcome<i64> {
    let mut counts = Vec::new();
    for _ in 0..15 {
        let child = command(words).spawn().map_err(|error| Fault::new(error.to_string()))?;
        let (status, faults) = sys::wait_counting(child.id() as i32)
            .map_err(|error| Fault::new(format!("{words:?}: {error}")))?;
        ensure!(status == 0, "{words:?} ended with {status:#x}");
        counts.push(faults);
    }
    counts.sort_unstable();
    Ok(counts[counts.len() / 2])
}

#[test]
fn a_life_costs_fewer_page_faults_than_with_tini() -> Outcome {
    let Some(built) = release() else { return Ok(()) };
    // A copy, as the program is installed. The linker writes the file in pieces, which lie in the page cache as small
    // folios: the kernel maps less of them at a time, which makes ten page faults more.
    let place = Place::new();
    let ours = place.text("graceinit");
    fs::copy(built, &ours)?;
    let app = faults(&[TRUE])?;
    let plain = faults(&[&ours, "--", TRUE])? - app;
    // There is no stop, so no hook runs: only the reading of the flags is counted.
    let flags = [&ours, "--grace", "5s", "--pre-stop", "a", "--on-stop", "b", "--", TRUE];
    let flags = faults(&flags)? - app;
    // Measured: 49 to 51, the reading of the group's memory included, which a short app may end before; tini 80,
    // tini-static 43. (With lld, which Rust uses since 1.90. With GNU ld ten more.)
    ensure!(plain <= 52, "a plain life costs {plain} page faults");
    ensure!(flags <= 55, "a life with flags costs {flags} page faults");
    let tini = "/usr/bin/tini";
    if !need::program(tini) {
        return Ok(());
    }
    let theirs = faults(&[tini, "-s", "--", TRUE])? - app;
    ensure!(plain <= theirs, "a plain life costs {plain} page faults, tini {theirs}");
    Ok(())
}

#[test]
fn the_memory_that_stays_is_less_than_tinis() -> Outcome {
    let Some(ours) = release() else { return Ok(()) };
    let ours = ours.to_string_lossy().into_owned();
    let anonymous = |words: &[&str]| -> Outcome<u64> {
        let child = command(words).spawn().map_err(|error| Fault::new(error.to_string()))?;
        let pid = child.id() as i32;
        // Read when graceinit waits and the app has executed its program.
        let found = proc::poll("an idle init", || {
            let [app] = &proc::children(pid)[..] else { return None };
            let is_there = app.comm == "sleep" && app.state == 'S';
            let asleep = proc::process(pid).is_some_and(|process| process.state == 'S');
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
            (is_there && asleep).then(|| line.split_whitespace().next()?.parse().ok()).flatten()
        });
        sys::kill(pid, 15).map_err(|error| Fault::new(error.to_string()))?;
        sys::wait_counting(pid).map_err(|error| Fault::new(error.to_string()))?;
        found
    };
    let kept = anonymous(&[&ours, "--", "/bin/sleep", "1000"])?;
    // Measured: 68 to 76; tini 92.
    ensure!(kept <= 88, "{kept} KiB of anonymous memory stay");
    Ok(())
}

#[test]
fn no_part_of_the_program_is_both_writable_and_executable() -> Outcome {
    let Some(ours) = release() else { return Ok(()) };
    let bytes = fs::read(&ours).map_err(|error| Fault::new(error.to_string()))?;
    // elf(5): e_phoff, e_phentsize and e_phnum of a 64-bit program; p_type and p_flags of each entry.
    let number = |at: usize, size: usize| -> usize {
        let digits = bytes.get(at..at + size).unwrap_or_default();
        digits.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    const LOAD: usize = 1;
    let loads: Vec<usize> = (0..count)
        .map(|index| table + index * size)
        .filter(|entry| number(*entry, 4) == LOAD)
        .map(|entry| number(entry + 4, 4))
        .collect();
    let (executable, writable) = (1, 2);
    ensure!(loads.iter().any(|flags| flags & executable != 0), "no code in {loads:?}");
    for flags in &loads {
        ensure!(flags & executable == 0 || flags & writable == 0, "flags of the parts: {loads:?}");
    }
    Ok(())
}

#[test]
fn the_program_has_not_grown() -> Outcome {
    let Some(ours) = release() else { return Ok(()) };
    let size = fs::metadata(&ours).map_err(|error| Fault::new(error.to_string()))?.len();
    // Of these some 170,000 bytes are the rehearsal, which no life of an app reads from the disk.
    ensure!(size <= 3_000_000, "the program has {size} bytes");
    Ok(())
}
