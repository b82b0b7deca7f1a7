//! The supply chain: the rules for dependencies (`packaging/deny.toml`), the list of crates in the program, the SBOM, and
//! the packed crate.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::release::{ARCH, VERSION, release, run};
use crate::support::files::Place;
use crate::support::{Outcome, need};
use crate::{ensure, ensure_eq, footprint};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A tool of the tests' own python, which `tests/run` installs.
pub(super) fn tool(name: &str) -> Option<String> {
    let path = root().join("target/python/bin").join(name).display().to_string();
    need::program(&path).then_some(path)
}

#[test]
fn licences_duplicates_and_sources_follow_the_rules() -> Outcome {
    let Some(deny) = tool("cargo-deny") else { return Ok(()) };
    let check = |config: &str| {
        let words = ["--config", config, "check", "licenses", "bans", "sources"];
        Command::new(&deny).args(words).current_dir(root()).output()
    };
    let done = check("packaging/deny.toml")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    // The rules can fail.
    let place = Place::new();
    let rules = fs::read_to_string(root().join("packaging/deny.toml"))?;
    let stricter = rules.replace("\"MIT\", ", "");
    ensure!(stricter != rules, "MIT is not in {rules}");
    place.file("deny.toml", &stricter, 0o644);
    let done = check(&place.text("deny.toml"))?;
    ensure!(!done.status.success(), "MIT is not allowed, and nothing is said");
    Ok(())
}

#[test]
fn cargo_audit_reads_the_list_of_crates_in_the_program() -> Outcome {
    let Some(audit) = tool("cargo-audit") else { return Ok(()) };
    let Some(program) = footprint::release() else { return Ok(()) };
    if !need::program("/usr/bin/python3") {
        return Ok(());
    }
    let place = Place::new();
    let dist = place.text("dist");
    let done = release(&program, &dist, &["--kind", "program"])?;
    ensure!(done.status.success(), "{done:?}");
    // The database is made up: one crate of the program has a vulnerability, another only as an earlier version.
    let advisory = |number: u8, name: &str, patched: &str| {
        let text = format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2099-000{number}\"\npackage = \"{name}\"\ndate = \"2099-01-01\"\n\n\
             [versions]\npatched = [\"{patched}\"]\n```\n\n# Made up\n\nMade up.\n"
        );
        let folder = place.path(&format!("db/crates/{name}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("RUSTSEC-2099-000{number}.md")), text)
    };
    advisory(1, "httparse", ">= 99.0.0")?;
    advisory(2, "nix", ">= 0.1.0")?;
    let bare = format!("{dist}/graceinit-{VERSION}-linux-{ARCH}");
    let words = ["audit", "--no-fetch", "--stale", "--no-yanked", "--db", &place.text("db"), "bin"];
    let done = Command::new(audit).args(words).arg(&bare).output()?;
    let said =
        [String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)].concat();
    ensure!(said.contains("Found 'cargo auditable' data"), "{said}");
    ensure!(said.contains("RUSTSEC-2099-0001") && !done.status.success(), "not found: {said}");
    ensure!(!said.contains("RUSTSEC-2099-0002"), "found in another version: {said}");
    Ok(())
}

#[test]
fn the_sbom_follows_its_schema_and_lists_the_crates_of_the_lock_file() -> Outcome {
    let Some(python) = tool("python3") else { return Ok(()) };
    let Some(program) = footprint::release() else { return Ok(()) };
    let place = Place::new();
    let dist = place.text("dist");
    let done = release(&program, &dist, &["--kind", "sbom"])?;
    ensure!(done.status.success(), "{done:?}");
    let path = format!("{dist}/graceinit-{VERSION}.cdx.json");
    let script = "import sys\n\
        from cyclonedx.schema import SchemaVersion\n\
        from cyclonedx.validation.json import JsonStrictValidator\n\
        sys.exit(JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read()))\n";
    run(&python, &["-c", script, &path])?;

    let list: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    let mut names = Vec::new();
    for component in list["components"].as_array().into_iter().flatten() {
        let (name, version) = (&component["name"], &component["version"]);
        let locked = format!("name = {name}\nversion = {version}\n");
        ensure!(lock.contains(&locked), "{name} {version} is not in Cargo.lock");
        names.push(name.as_str().unwrap_or_default().to_owned());
    }
    let licences = fs::read_to_string(format!("{dist}/LICENSES"))?;
    // Direct dependencies, which are surely in the program; those of tests, of macros and of features that are off
    // are not.
    for name in ["clap", "libc", "nix", "serde_json", "toml"] {
        ensure!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
        ensure!(licences.contains(&format!("\n{name} ")), "no licence of {name}");
    }
    for name in ["proptest", "tempfile", "syn", "regex"] {
        ensure!(!names.iter().any(|known| known == name), "{name} is in {names:?}");
    }
    Ok(())
}

/// `cargo package` as a packager sees it: what is needed to build and to read, and no tests.
#[test]
fn the_packed_crate_holds_sources_and_docs_alone() -> Outcome {
    let words = ["package", "--list", "--allow-dirty", "--locked"];
    let done = Command::new(env!("CARGO")).args(words).current_dir(root()).output()?;
    ensure!(done.status.success(), "{done:?}");
    let list = String::from_utf8_lossy(&done.stdout).into_owned();
    let files: Vec<&str> = list.lines().collect();
    for name in [
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "docs/options.md",
        "packaging/build.rs",
        "src/main.rs",
    ] {
        ensure!(files.contains(&name), "{name} is not in {files:?}");
    }
    let foreign = |name: &&&str| name.starts_with("tests/") || name.starts_with(".ci/");
    ensure_eq!(files.iter().find(foreign), None, "a file that is not for packagers");
    Ok(())
}
