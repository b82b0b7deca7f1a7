//! The app comes first: where nobody has said anything it is started before the C library is (`sys::early`). As it is
//! delivered and as the tests build it, which are compiled differently.
#![cfg(target_arch = "x86_64")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use graceinit::sys::process;

use crate::footprint::release;
use crate::support::files::Place;
use crate::support::{Fault, Outcome, need, proc, sys};
use crate::{ensure, ensure_eq};

/// Both builds.
fn builds() -> Vec<PathBuf> {
    [PathBuf::from(env!("CARGO_BIN_EXE_graceinit"))].into_iter().chain(release()).collect()
}

/// The program without a terminal, which `cargo test` may have.
fn without_terminal(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program).args(words).env_clear().stdin(Stdio::null());
    command
}

/// Whether the app is there before the C library has told the kernel where its thread's memory lies; and how many
/// system calls there were until then.
fn is_early(command: &mut Command) -> Outcome<(bool, usize)> {
    let calls = sys::calls_until_a_child(command.stderr(Stdio::null()))?;
    ensure!(!calls.is_empty(), "no app is started by {command:?}");
    // Those before are setsid's.
    let execve = calls.iter().rposition(|call| *call == libc::SYS_execve);
    let ours = execve.map_or(&calls[..], |at| &calls[at + 1..]);
    Ok((!ours.contains(&libc::SYS_arch_prctl), ours.len()))
}

#[test]
fn it_is_there_after_a_dozen_system_calls() -> Outcome {
    if !need::met(process::kernel() >= (5, 16), "Linux 5.16, where a child may share our memory") {
        return Ok(());
    }
    for build in builds() {
        let (early, calls) = is_early(&mut without_terminal(&build, &["--", "/bin/true"]))?;
        ensure!(early && calls <= 12, "{}: {early}, after {calls}", build.display());
        let (early, _) =
            is_early(without_terminal(&build, &["true"]).env("PATH", "/bin:/usr/bin"))?;
        ensure!(early, "{}: looked for in PATH", build.display());
    }
    Ok(())
}

/// What is to be read, or is not as it mostly is, comes first.
#[test]
fn it_waits_for_whatever_has_a_say() -> Outcome {
    let late = |command: &mut Command, why: &str| -> Outcome {
        let (early, _) = is_early(command)?;
        ensure!(!early, "it is early: {why}");
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
        // execve keeps that.
        let build = build.display().to_string();
        let ignored = ["--ignore-signal=CHLD", &build, "--", "/bin/true"];
        late(&mut without_terminal(Path::new("/usr/bin/env"), &ignored), "SIGCHLD is ignored")?;
    }
    Ok(())
}

/// Its file cannot be opened yet (a slow disk, a network): a stop does not wait for that.
#[test]
fn one_that_is_not_executed_yet_holds_up_no_stop() -> Outcome {
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

/// What becomes of an app that cannot be executed as it is.
#[test]
fn what_cannot_be_executed_is_told_as_ever() -> Outcome {
    let place = Place::new();
    let script = place.file("script", "echo \"$0 $*\"\n", 0o755);
    let data = place.file("data", "nothing", 0o644);
    let library = place.file("library", b"\x7fELF\0", 0o755);
    let script_line = format!("{} a b c\n", script.display());
    let no_directory = format!("{}/app", data.display());
    for build in builds() {
        for (app, code, stdout, stderr) in [
            (script.to_str().unwrap_or_default(), 0, script_line.as_str(), ""),
            ("script", 0, script_line.as_str(), ""),
            (data.to_str().unwrap_or_default(), 126, "", "Permission denied"),
            (library.to_str().unwrap_or_default(), 126, "", "Exec format error"),
            ("/nowhere/app", 127, "", "No such file"),
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

/// Not one instruction before the C library's start may reach that library: its functions are called through
/// addresses that are filled in later, and errno lies in a thread's memory that there is none of.
#[test]
fn what_comes_before_the_c_library_calls_nothing_of_it() -> Outcome {
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
    // The first call of the first instructions, and what is called from there; an address in the code that is taken is
    // that of a function that will be called.
    let first = code.range(entry..).map(|(_, line)| *line).find(|line| line.starts_with("call"));
    let first = first.and_then(|line| number(line.split_whitespace().nth(1)?));
    let mut left: Vec<u64> = first.into_iter().collect();
    ensure_eq!(left.len(), 1, "the first instructions call the start of the app");
    let (mut seen, mut guests) = (BTreeSet::new(), 0);
    while let Some(address) = left.pop() {
        if !seen.insert(address) {
            continue;
        }
        let Some(line) = code.get(&address) else {
            return Err(Fault::new(format!("no instruction at {address:#x}")));
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        ensure!(!line.contains("%fs:"), "{address:#x}: {line}: a thread's memory");
        let target = words.get(1).and_then(|word| number(word));
        let jumps = words[0].starts_with('j') || words[0].starts_with("call");
        if jumps && line.contains('*') {
            // The child's stack is new, so what it runs is called there, by its address: `raw::clone`.
            ensure_eq!(*line, "call   *%r8", "{address:#x}: through an address");
            guests += 1;
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
    ensure_eq!(guests, 1, "the child's own function");
    ensure!(seen.len() > 200, "only {} instructions", seen.len());
    Ok(())
}
