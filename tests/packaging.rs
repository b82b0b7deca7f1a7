//! What `packaging/` makes: the files as they are installed, and in `release` the files of a release. (Images are
//! tested in `tests/docker`.)

mod docs;
pub(crate) mod release;
mod supply;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use graceinit::cli::persona::{NAMES, Persona};

use crate::support::Outcome;
use crate::support::files::Place;
use crate::{ensure, ensure_eq};

const PROGRAM: &str = env!("CARGO_BIN_EXE_graceinit");

fn script(name: &str, words: &[&str]) -> Outcome<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
    let mut command = Command::new(script);
    Ok(command.args(words).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_string()
}

/// Everything below a directory but directories, sorted.
fn files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => left.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every name is a link that works wherever the directory is put, and the program knows who it is by it.
fn names_lead_to_the_program(links: &Path) -> Outcome {
    for (name, persona) in NAMES {
        let path = links.join(name);
        let target = fs::read_link(&path)?;
        ensure!(target.is_relative(), "{name} leads to {}", target.display());
        let told = Command::new(&path).arg("--version").output()?;
        let expected = match persona {
            Persona::DumbInit => "dumb-init v",
            Persona::Tini | Persona::Catatonit | Persona::Graceinit => "tini version ",
        };
        let said = text(&told.stdout) + &text(&told.stderr);
        ensure!(said.starts_with(expected), "{name} says {said}");
    }
    Ok(())
}

#[test]
fn the_program_is_installed_with_all_its_names() -> Outcome {
    let place = Place::new();
    for (layout, bin, links) in [("", "usr/bin", "usr/lib/graceinit"), ("--flat", ".", ".")] {
        let dest = place.text(&format!("root{layout}"));
        let words = [&["--program", PROGRAM][..], if layout.is_empty() { &[] } else { &[layout] }];
        // A second time over the first: an update.
        for _ in 0..2 {
            let done = script("install", &[&words.concat()[..], &[&dest]].concat())?;
            ensure!(done.status.success(), "{layout}: {done:?}");
        }
        let dest = PathBuf::from(dest);
        let program = dest.join(bin).join("graceinit");
        ensure_eq!(fs::metadata(&program)?.permissions().mode() & 0o7777, 0o755, "{layout} mode");
        names_lead_to_the_program(&dest.join(links))?;
        ensure_eq!(files(&dest)?.len(), NAMES.len() + 1, "files of the layout {layout:?}");
    }
    Ok(())
}

#[test]
fn mistakes_of_a_packager_are_named() -> Outcome {
    let place = Place::new();
    let dest = place.text("dest");
    for (name, words, expected) in [
        ("install", &[][..], "packaging/install: into which directory? usage: "),
        ("install", &["--program"], "packaging/install: --program needs a file"),
        ("install", &["--program", "/nothing", &dest], "packaging/install: no program /nothing"),
        ("install", &["--prefix=/", &dest], "packaging/install: there is no option --prefix=/"),
        ("install", &[&dest, "/x"], "packaging/install: one directory, not two: "),
    ] {
        let done = script(name, words)?;
        ensure!(!done.status.success(), "{name} {words:?} is fine");
        ensure!(text(&done.stderr).starts_with(expected), "{name} {words:?}: {done:?}");
    }
    ensure!(!place.path("dest").exists(), "something was installed all the same");
    Ok(())
}
