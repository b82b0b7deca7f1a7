//! Build script: the commit for `--version`, the program's first instruction, and where its functions lie.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=packaging/build.rs");
    // Signals are blocked there, before the C library starts: see src/sys/launch/entry.rs.
    let target = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let target_can = ["x86_64", "aarch64"].contains(&target.as_str());
    if target_can {
        println!("cargo:rustc-link-arg-bin=graceinit=-Wl,-e,graceinit_start");
        println!("cargo:rustc-link-arg-bin=graceinit=-Wl,--wrap=__register_frame_info");
    }
    // A build without any optimization copies whatever it moves by memcpy(3), which is not there yet when the
    // app is started early: see src/sys/launch/early.rs.
    println!("cargo:rustc-check-cfg=cfg(app_first)");
    if target_can && std::env::var("OPT_LEVEL").is_ok_and(|level| level != "0") {
        println!("cargo:rustc-cfg=app_first");
    }
    println!("cargo:rerun-if-env-changed=GRACEINIT_COMMIT");
    // Packagers without a checkout set GRACEINIT_COMMIT, or do without.
    let commit = std::env::var("GRACEINIT_COMMIT").ok().or_else(|| {
        let git = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
        let text = String::from_utf8(git.stdout).ok()?;
        (git.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
    });
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo:rustc-env=GRACEINIT_COMMIT_KNOWN={}", commit.as_deref().unwrap_or_default());
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo:rustc-env=GRACEINIT_VERSION={version}");
}
