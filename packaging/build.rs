//! Build script: the commit for `--version`, and the program's entry point.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=packaging/build.rs");
    // The entry point blocks signals before the C library starts: see src/sys/launch/entry.rs. GNU ld, lld and mold
    // know these options.
    let target = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let has_entry_point = ["x86_64", "aarch64"].contains(&target.as_str());
    if has_entry_point {
        println!("cargo:rustc-link-arg-bin=graceinit=-Wl,-e,graceinit_start");
        println!("cargo:rustc-link-arg-bin=graceinit=-Wl,--wrap=__register_frame_info");
    }
    // rustc ends its list of libraries with -Bdynamic, which mold 1 takes as the end of -static: it leaves out the
    // symbols by which the C library relocates itself, and the program crashes. Other linkers ignore the repetition.
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        println!("cargo:rustc-link-arg-bin=graceinit=-Wl,-Bstatic");
    }
    // Without any optimization the compiler calls memcpy(3) for every copy, which an early start cannot: see
    // src/sys/launch/early/mod.rs.
    println!("cargo:rustc-check-cfg=cfg(early_start)");
    let is_wanted = std::env::var_os("CARGO_FEATURE_EARLY_START").is_some();
    let is_optimized = std::env::var("OPT_LEVEL").is_ok_and(|level| level != "0");
    if has_entry_point && is_wanted && is_optimized {
        println!("cargo:rustc-cfg=early_start");
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
