//! The walls of the house (docs/design.md), as far as the compiler does not hold them up.

#![allow(clippy::expect_used)]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::Module;

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

/// Which rooms of `src` may use which. `src/lib.rs` and docs/design.md show the same list.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["account", "cli", "config", "exit", "life", "sys", "tools", "types"]),
    ("tools", &["account", "cli", "config", "http_client", "machine", "reaper", "sys", "types"]),
    (
        "life",
        &[
            "account",
            "cli",
            "config",
            "exit",
            "http_client",
            "machine",
            "notify",
            "observer",
            "reaper",
            "sockets",
            "sys",
            "types",
        ],
    ),
    ("config", &["account", "cli", "machine", "sys", "types"]),
    ("cli", &["exit", "sys", "types"]),
    ("sockets", &["machine", "sys", "types"]),
    ("observer", &["account", "sys", "types"]),
    ("account", &["machine", "sys", "types"]),
    ("machine", &["exit", "types"]),
    ("reaper", &["sys", "types"]),
    ("sys", &["notify", "types"]),
    ("http_client", &["types"]),
    ("notify", &["types"]),
];

/// Every file of `src` by its module, as code without comments and unit tests.
fn modules() -> BTreeMap<Module, String> {
    let src = root().join("src");
    let mut found = BTreeMap::new();
    for (path, text) in sources("src") {
        let path = path.strip_prefix(&src).expect("a file in src");
        if !path.ends_with("tests.rs") && !path.ends_with("lib.rs") {
            found.insert(imports::module(path), imports::code(&text));
        }
    }
    // It is compiled into the program, not into the library.
    let entry = ["sys", "launch", "entry"].map(str::to_owned).to_vec();
    assert!(found.contains_key(&entry), "src/sys/launch/entry.rs");
    found
}

/// Which file uses which other files.
fn uses() -> BTreeMap<Module, BTreeSet<Module>> {
    let files = modules();
    files
        .iter()
        .map(|(module, code)| {
            let paths = imports::paths(code, module);
            let used = paths.iter().filter_map(|path| imports::file(path, &files));
            (module.clone(), used.filter(|used| *used != module).cloned().collect())
        })
        .collect()
}

#[test]
fn rooms_use_only_the_rooms_that_the_list_allows() {
    let mut real: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (module, used) in uses() {
        for other in used {
            let (from, to) = (&module[0], &other[0]);
            if from != to {
                let allowed = ARROWS.iter().find(|(room, _)| room == from);
                if !allowed.is_some_and(|(_, rooms)| rooms.contains(&to.as_str())) {
                    wrong.push(format!("{} uses {}", module.join("/"), other.join("/")));
                }
                real.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (room, rooms) in ARROWS {
        let real = real.get(*room).cloned().unwrap_or_default();
        let unused: Vec<_> = rooms.iter().filter(|other| !real.contains(**other)).collect();
        assert!(unused.is_empty(), "{room} does not use {unused:?}");
    }
}

#[test]
fn the_map_and_the_design_show_the_arrows() {
    let list: Vec<String> =
        ARROWS.iter().map(|(room, rooms)| format!("{room} → {}", rooms.join(", "))).collect();
    for (file, comment) in [("src/lib.rs", "//! "), ("docs/design.md", "")] {
        let text = fs::read_to_string(root().join(file)).expect("a text");
        let shown: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(comment))
            .filter(|line| line.split_once(" → ").is_some_and(|(room, _)| !room.contains(' ')))
            .collect();
        assert_eq!(shown, list, "{file}");
    }
}

#[test]
fn the_map_names_every_room() {
    let map = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let design = fs::read_to_string(root().join("docs/design.md")).expect("docs/design.md");
    let rooms: BTreeSet<String> = modules().into_keys().map(|module| module[0].clone()).collect();
    for room in rooms.iter().filter(|room| *room != "main") {
        assert!(map.contains(&format!("//! - `{room}`")), "src/lib.rs does not describe {room}");
        assert!(design.contains(&format!("src/{room}")), "docs/design.md does not name {room}");
    }
}

/// A file and its parent may use each other, and the files of a folder may not go round in a circle.
#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let mut edges = uses();
    for (module, used) in &mut edges {
        used.retain(|other| {
            other[0] == module[0] && !module.starts_with(other) && !other.starts_with(module)
        });
    }
    let circles: Vec<Vec<String>> = imports::circles(&edges)
        .iter()
        .map(|circle| circle.iter().map(|module| module.join("/")).collect())
        .collect();
    assert_eq!(circles, Vec::<Vec<String>>::new());
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
        let waits = text.contains("SYS_waitid")
            || text.contains("libc::wait")
            || text.contains("child.wait()");
        let reap = path.ends_with("sys/reap.rs");
        assert!(reap || !waits, "{} waits for children", path.display());
    }
}

/// In the room of unsafe code these parse what comes from outside.
#[test]
fn parsers_of_foreign_bytes_are_safe_code() {
    for parser in ["sockdiag/wire.rs", "stat.rs", "proctree.rs", "cgroup.rs"] {
        let text = fs::read_to_string(root().join("src/sys").join(parser)).expect("a file");
        assert!(!text.contains("unsafe"), "src/sys/{parser} has unsafe code");
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

/// std's RandomState panics where getrandom(2) is refused.
#[test]
fn no_hash_table_is_seeded_at_random() {
    let found = trespasses("src", &["HashMap", "HashSet", "RandomState"]);
    assert!(found.is_empty(), "{found:?}");
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

/// The conditions of `if let` and `while let` that chain a second one: Rust has them since 1.88.
fn let_chains(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for head in ["if let ", "while let "] {
        for (at, _) in code.match_indices(head) {
            let mut depth = 0;
            let condition: String = code[at..]
                .chars()
                .take_while(|letter| {
                    match letter {
                        '(' | '[' => depth += 1,
                        ')' | ']' => depth -= 1,
                        _ => {}
                    }
                    depth >= 0 && (depth > 0 || !"{;".contains(*letter))
                })
                .collect();
            // What is inside brackets is a condition of its own.
            let mut depth = 0;
            let outer: String = condition
                .chars()
                .filter(|letter| {
                    match letter {
                        '(' | '[' => depth += 1,
                        ')' | ']' => depth -= 1,
                        _ => {}
                    }
                    depth == 0
                })
                .collect();
            if outer.contains(" && ") {
                found.push(condition);
            }
        }
    }
    let later = code.match_indices("&& let ").map(|(at, _)| code[at..].chars().take(40).collect());
    found.extend::<Vec<String>>(later.collect());
    found
}

/// `rust-version` in Cargo.toml is that of Debian 13. clippy's incompatible_msrv finds functions of the standard library
/// that are younger, and no syntax.
#[test]
fn no_syntax_is_younger_than_the_rust_of_the_manifest() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    assert!(manifest.contains("\nrust-version = \"1.85\"\n"), "another version: what is younger?");
    for dir in ["src", "tests", "packaging"] {
        for (path, text) in sources(dir) {
            // Unit tests count as well.
            let found = let_chains(&imports::code(&text.replace("#[cfg(test)]", "")));
            assert!(found.is_empty(), "{}: {found:?}", path.display());
        }
    }
}

#[test]
fn a_let_chain_is_found() {
    for chain in [
        "if let Some(n) = x && y { }",
        "while let Some(n) = x.f(a && b) && y { }",
        "if y\n && let Some(n) = x { }",
    ] {
        assert!(!let_chains(chain).is_empty(), "{chain}");
    }
    for other in ["if let Some(n) = x.filter(|x| *x > 0 && y) { a && b }", "let a = b && c;"] {
        assert!(let_chains(other).is_empty(), "{other}");
    }
}
