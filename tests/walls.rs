//! The walls of the house (docs/design.md), as far as the compiler does not hold them up.

#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8 text");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "nothing found in {dir}");
    found
}

/// Lines of `room` that name one of `forbidden`, comments left out.
fn trespasses(room: &str, forbidden: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(room) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if forbidden.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn the_machine_is_pure() {
    let foreign = [
        "sys::",
        "account::",
        "log::",
        "libc::",
        "nix::",
        "std::time::Instant",
        "SystemTime",
        "std::fs",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "println!",
        "unsafe",
    ];
    assert_eq!(trespasses("src/machine", &foreign), Vec::<String>::new());
}

#[test]
fn the_kernels_side_knows_nothing_of_us() {
    let ours = [
        "crate::machine",
        "crate::config",
        "crate::cli",
        "crate::account",
        "crate::life",
        "crate::supervisor",
        "crate::tools",
        "log::",
    ];
    assert_eq!(trespasses("src/sys", &ours), Vec::<String>::new());
}

#[test]
fn the_account_decides_nothing() {
    let hands = ["sys::signals", "sys::spawn", "sys::tree", "crate::life", "crate::supervisor"];
    assert_eq!(trespasses("src/account", &hands), Vec::<String>::new());
}

#[test]
fn nothing_is_unsafe_outside_sys_and_only_reap_waits() {
    for (path, text) in sources("src") {
        let in_sys = path.components().any(|part| part.as_os_str() == "sys");
        let unsafe_code = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or("");
            code.contains("unsafe ")
                || code.contains("unsafe{")
                || code.contains("allow(unsafe_code)")
        });
        // The module's own declaration allows it for the whole room.
        assert!(in_sys || !unsafe_code, "{} is unsafe", path.display());
        let waits =
            text.contains("SYS_waitid") || text.contains("libc::wait") || text.contains(".wait()");
        let reap = path.ends_with("sys/reap.rs") || path.ends_with("life/main_loop.rs");
        assert!(reap || !waits, "{} waits for children", path.display());
    }
}

#[test]
fn nothing_sleeps() {
    // The dead-man's handler is the one exception: no loop is left then that could be told anything.
    let found = trespasses("src", &["thread::sleep", "libc::sleep", "usleep", "nanosleep"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("deadman.rs"), "{found:?}");
    // In tests a sleep is no synchronisation. These measure that nothing happens in a span of time, which no event
    // marks, or leave the processor to others between two looks.
    let measures = ["tests/inits/main.rs", "tests/blackbox/still.rs", "tests/account/observer.rs"];
    let looks = ["tests/support/proc.rs"];
    for line in trespasses("tests", &["thread::sleep(", "libc::nanosleep(", "libc::usleep("]) {
        let known = measures.iter().chain(&looks).any(|path| line.contains(path));
        assert!(known || line.contains("trespasses("), "{line}");
    }
}

#[test]
fn files_stay_readable() {
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        let lines = text.lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

/// `tests/run` runs many tests at a time, and those of the list `tests/alone` one by one afterwards. A name in
/// there must be one, and who burdens the whole machine must be in there.
#[test]
fn who_needs_the_machine_alone_is_listed() {
    let list =
        include_str!("alone").lines().map(|line| line.split('#').next().unwrap_or("").trim());
    let list: Vec<&str> = list.filter(|name| !name.is_empty()).collect();
    let own = std::env::current_exe().expect("a program");
    let all = Command::new(own).args(["--list", "--format=terse"]).output().expect("the names");
    let all = String::from_utf8(all.stdout).expect("UTF-8 text");
    for name in &list {
        assert!(all.lines().any(|test| test.starts_with(name)), "tests/alone: no test {name}");
    }
    let burdens = ["spin_loop()", "available_parallelism()", "live-orphans="];
    // What the tests start, and what is no test.
    let others = ["walls.rs", "puppet.rs", "inits"];
    for (path, text) in sources("tests") {
        let path = path.strip_prefix(root().join("tests")).expect("a file in there").to_path_buf();
        if others.iter().any(|other| path.starts_with(other)) {
            continue;
        }
        let module = path.with_extension("").to_string_lossy().replace('/', "::") + "::";
        let listed = list.iter().any(|name| name.starts_with(&module));
        let burden = burdens.iter().find(|word| text.contains(*word));
        assert!(listed || burden.is_none(), "{module} is not in tests/alone: {burden:?}");
    }
}

#[test]
fn every_option_is_explained_to_users() {
    let readme = fs::read_to_string(root().join("docs/options.md")).expect("docs/options.md");
    for opt in graceinit::cli::OPTIONS {
        let name = if opt.long { format!("`--{}", opt.name) } else { format!("`-{}", opt.name) };
        assert!(readme.contains(&name) || readme.contains(&format!(", --{}", opt.name)), "{name}");
        if let Some(variable) = opt.variable {
            assert!(readme.contains(variable), "{variable} is not in docs/options.md");
        }
    }
}
