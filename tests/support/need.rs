//! What a test needs from the machine. Where it is missing, the test is skipped and says so, on the
//! real stderr and in the file named by `GRACEINIT_TEST_SKIPS`; with `CI=true` it fails instead.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::init::Program;
use super::sys;

/// Whether the test may go on; the one place that counts skips.
pub fn met(there: bool, what: &str) -> bool {
    if there {
        return true;
    }
    let test = std::thread::current().name().unwrap_or("a test").to_string();
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test} needs {what}, which must not be missing in CI"
    );
    let line = format!("skipped: {test}: needs {what}\n");
    // Not eprintln!, which libtest captures.
    drop(std::io::stderr().write_all(line.as_bytes()));
    if let Some(path) = std::env::var_os("GRACEINIT_TEST_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
    }
    false
}

/// Root, for tests that change user or mount.
pub fn root() -> bool {
    met(is_root(), "root")
}

/// A new pid namespace (as root, or through a user namespace).
pub fn pid_namespace() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    let possible = POSSIBLE.get_or_init(|| {
        Command::new("unshare")
            .args(super::init::NAMESPACE)
            .args(if is_root() { &[][..] } else { &super::init::USER_NAMESPACE[..] })
            .arg("true")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    met(*possible, "a pid namespace")
}

/// Another init to compare with.
pub fn peer(program: Program) -> bool {
    let path = program.path();
    met(path.exists(), &format!("{}", path.display()))
}

/// A program of the distribution.
pub fn program(path: &str) -> bool {
    met(Path::new(path).exists(), path)
}

/// An architecture that a test is written for.
pub fn x86_64() -> bool {
    met(cfg!(target_arch = "x86_64"), "x86-64")
}

pub(super) fn is_root() -> bool {
    sys::ids().1 == 0
}
