//! The early start: where nothing has to be considered, the app is started before the C library (`sys::launch::early`).
//! Tested on the release build as well, because it is compiled differently. Without the feature `early-start` there is
//! no early start, and the rest holds all the same.
#![cfg(target_arch = "x86_64")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::footprint::release;
use crate::support::files::Place;
use crate::support::{Fault, Outcome, need, proc, sys};
use crate::{ensure, ensure_eq};

/// The tests' own build, and the release build if there is one.
fn builds() -> Vec<PathBuf> {
    [PathBuf::from(env!("CARGO_BIN_EXE_graceinit"))].into_iter().chain(release()).collect()
}

/// The program in a session without a terminal: `cargo test` may have one.
fn without_terminal(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program).args(words).env_clear().stdin(Stdio::null());
    command
}

/// Whether the app is started before the C library (which sets up the memory of its thread with arch_prctl(2)), and the
/// number of system calls up to that.
fn is_early(command: &mut Command) -> Outcome<(bool, usize)> {
    let calls = sys::calls_until_a_child(command.stderr(Stdio::null()))?;
    ensure!(!calls.is_empty(), "no app is started by {command:?}");
    // The calls before execve are those of setsid(1).
    let execve = calls.iter().rposition(|call| *call == libc::SYS_execve);
    let ours = execve.map_or(&calls[..], |at| &calls[at + 1..]);
    Ok((!ours.contains(&libc::SYS_arch_prctl), ours.len()))
}

#[test]
#[cfg(feature = "early-start")]
fn the_app_is_started_within_fourteen_system_calls() -> Outcome {
    if !need::met(
        graceinit::sys::process::kernel() >= (5, 16),
        "Linux 5.16, where a child may share memory",
    ) {
        return Ok(());
    }
    for build in builds() {
        let (early, calls) = is_early(&mut without_terminal(&build, &["--", "/bin/true"]))?;
        ensure!(early && calls <= 14, "{}: early: {early}, after {calls} calls", build.display());
        let (early, _) =
            is_early(without_terminal(&build, &["true"]).env("PATH", "/bin:/usr/bin"))?;
        ensure!(early, "{}: looked for in PATH", build.display());
    }
    Ok(())
}

#[test]
#[cfg(not(feature = "early-start"))]
fn without_the_feature_the_app_is_started_by_the_main_loop() -> Outcome {
    let build = PathBuf::from(env!("CARGO_BIN_EXE_graceinit"));
    let (early, _) = is_early(&mut without_terminal(&build, &["--", "/bin/true"]))?;
    ensure!(!early, "the app is started early");
    Ok(())
}

/// An option, a variable that concerns graceinit, another program's name, and SIGCHLD that is ignored.
#[test]
fn the_early_start_is_skipped_when_something_has_to_be_considered() -> Outcome {
    let late = |command: &mut Command, why: &str| -> Outcome {
        let (early, _) = is_early(command)?;
        ensure!(!early, "the app is started early in spite of {why}");
        Ok(())
    };
    for build in builds() {
        late(&mut without_terminal(&build, &["-v", "--", "/bin/true"]), "an option")?;
        for (name, value) in [
            ("GRACEINIT_GRACE", "3s"),
            ("GRACE_EXIT_TIMEOUT", "3"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("NOTIFY_SOCKET", "@nobody"),
            ("WATCHDOG_USEC", "1000000"),
            ("LISTEN_PID", "1"),
            ("GLIBC_TUNABLES", "glibc.malloc.check=0"),
        ] {
            late(without_terminal(&build, &["--", "/bin/true"]).env(name, value), name)?;
        }
        let long = vec!["/nowhere"; 100].join(":") + ":/bin:/usr/bin";
        late(without_terminal(&build, &["--", "true"]).env("PATH", long), "a long PATH")?;
        let place = Place::new();
        let tini = place.path("tini");
        symlink(&build, &tini)?;
        late(&mut without_terminal(&tini, &["--", "/bin/true"]), "another program's name")?;
        // With too little memory graceinit cannot start, and the app must not run without it.
        for limit in ["--as=4000000000", "--data=1000000000"] {
            let path = build.display().to_string();
            let limited = [limit, &path, "--", "/bin/true"];
            late(&mut without_terminal(Path::new("/usr/bin/prlimit"), &limited), limit)?;
        }
        // An ignored signal stays ignored through execve.
        let build = build.display().to_string();
        let ignored = ["--ignore-signal=CHLD", &build, "--", "/bin/true"];
        late(&mut without_terminal(Path::new("/usr/bin/env"), &ignored), "SIGCHLD is ignored")?;
    }
    Ok(())
}

/// The app's file cannot be opened yet, as on a slow disk or a network.
#[test]
fn a_stop_does_not_wait_for_an_execve_that_hangs() -> Outcome {
    for build in builds() {
        let place = Place::new();
        let app = place.file("app", "#!/bin/sh\n", 0o755);
        let lease = File::open(&app)?;
        sys::lease(&lease)?;
        let app = app.display().to_string();
        let mut init = without_terminal(&build, &["--", &app]).spawn()?;
        let pid = init.id() as i32;
        proc::poll("the app's execve", || sys::is_lease_wanted(&lease).then_some(()))?;
        sys::kill(pid, libc::SIGTERM)?;
        let ended = proc::poll("the end", || init.try_wait().ok().flatten());
        if ended.is_err() {
            sys::kill(pid, libc::SIGKILL)?;
        }
        ensure_eq!(ended?.code(), Some(128 + libc::SIGTERM), "{}", build.display());
        drop(lease);
    }
    Ok(())
}

/// Exit code and message are those of a start that is not early.
#[test]
fn an_app_that_cannot_be_executed_ends_graceinit_with_the_reason() -> Outcome {
    let place = Place::new();
    let script = place.file("script", "echo \"$0 $*\"\n", 0o755);
    let data = place.file("data", "nothing", 0o644);
    let library = place.file("library", b"\x7fELF\0", 0o755);
    let script_line = format!("{} a b c\n", script.display());
    let no_directory = format!("{}/app", data.display());
    let windows = place.file("windows", "#!/bin/sh\r\nexit 3\r\n", 0o755).display().to_string();
    let foreign = place.file("foreign", "#!/nowhere/sh\nexit 3\n", 0o755).display().to_string();
    for build in builds() {
        for (app, code, stdout, stderr) in [
            (script.to_str().unwrap_or_default(), 0, script_line.as_str(), ""),
            ("script", 0, script_line.as_str(), ""),
            (data.to_str().unwrap_or_default(), 126, "", "Permission denied"),
            (library.to_str().unwrap_or_default(), 126, "", "Exec format error"),
            ("/nowhere/app", 127, "", "No such file"),
            (&windows, 127, "", "windows ends in CR LF"),
            (&foreign, 127, "", "foreign is there, but not the interpreter"),
            ("nowhere", 127, "", "it is in no directory of PATH"),
            (no_directory.as_str(), 127, "", "Not a directory"),
        ] {
            let mut command = without_terminal(&build, &["--", app, "a", "b c"]);
            let path = format!("/nowhere:{}:/bin", place.path("").display());
            let out = command.env("PATH", path.replace("/:", ":")).output()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            ensure_eq!(out.status.code(), Some(code), "{app}: {}", text(&out.stderr));
            ensure_eq!(text(&out.stdout), stdout, "{app}");
            ensure!(text(&out.stderr).contains(stderr), "{app}: {}", text(&out.stderr));
        }
    }
    Ok(())
}

/// No instruction before the start of the C library may reach that library: the addresses of its functions are filled
/// in by that start, and so is the memory of the thread, where errno lies.
#[test]
fn the_early_start_calls_nothing_of_the_c_library() -> Outcome {
    let Some(build) = release() else { return Ok(()) };
    if !need::program("/usr/bin/objdump") {
        return Ok(());
    }
    let run = |program: &str, flags: &[&str]| -> Outcome<String> {
        let out = Command::new(program).args(flags).arg(&build).output();
        let out = out.map_err(|error| Fault::new(format!("{program}: {error}")))?;
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let header = run("objdump", &["-f"])?;
    let entry = header.split("start address 0x").nth(1).map(str::trim).unwrap_or_default();
    let entry = u64::from_str_radix(entry, 16).map_err(|_| Fault::new(header.clone()))?;
    let text = run("objdump", &["-d", "--no-show-raw-insn"])?;
    let code: BTreeMap<u64, &str> = text
        .lines()
        .filter_map(|line| {
            let (address, instruction) = line.trim().split_once(":\t")?;
            Some((u64::from_str_radix(address, 16).ok()?, instruction))
        })
        .collect();
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    // Follow the first call of the entry point. An address in the code that an instruction takes is that of a function
    // that will be called.
    let first = code.range(entry..).map(|(_, line)| *line).find(|line| line.starts_with("call"));
    let first = first.and_then(|line| number(line.split_whitespace().nth(1)?));
    let mut left: Vec<u64> = first.into_iter().collect();
    ensure_eq!(left.len(), 1, "calls of the entry point");
    let (mut seen, mut children) = (BTreeSet::new(), 0);
    while let Some(address) = left.pop() {
        if !seen.insert(address) {
            continue;
        }
        let Some(line) = code.get(&address) else {
            return Err(Fault::new(format!("no instruction at {address:#x}")));
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        ensure!(!line.contains("%fs:"), "{address:#x}: {line}: the memory of a thread");
        let target = words.get(1).and_then(|word| number(word));
        let jumps = words[0].starts_with('j') || words[0].starts_with("call");
        if jumps && line.contains('*') {
            // The function that the child runs on its own stack: `raw::clone`.
            ensure_eq!(*line, "call   *%r8", "{address:#x}: a call through an address");
            children += 1;
        } else if jumps {
            left.extend(target);
        }
        let taken =
            line.split(['$', '#', ',', ' ']).filter_map(|word| number(word.strip_prefix("0x")?));
        left.extend(taken.filter(|at| !jumps && code.contains_key(at) && words[0] != "cmp"));
        if !["jmp", "ret", "ud2", "hlt", "int3"].contains(&words[0]) {
            left.extend(code.range(address + 1..).next().map(|(next, _)| *next));
        }
    }
    ensure_eq!(children, 1, "functions that a child runs");
    ensure!(seen.len() > 200, "only {} instructions", seen.len());
    Ok(())
}
