//! The images of a release: loaded, run and copied from, by Docker and by Podman.

use std::path::Path;

use super::engine::own_engine;
use super::podman::Podman;
use crate::packaging::release::{VERSION, release};
use crate::support::files::Place;
use crate::support::{Outcome, need};
use crate::{ensure, ensure_eq, footprint};

/// The architecture of this machine in Docker, and another one. (An engine loads both and runs one; the program of the
/// other is never started.)
const ARCH: [&str; 2] =
    if cfg!(target_arch = "x86_64") { ["amd64", "arm64"] } else { ["arm64", "amd64"] };

/// Packs the images of two architectures into a directory.
fn images(program: &Path, dist: &str) -> Outcome {
    let other = format!("{}={}", ARCH[1], program.display());
    let done = release(program, dist, &["--kind", "image", "--pack", &other])?;
    ensure!(done.status.success(), "{done:?}");
    Ok(())
}

#[test]
fn docker_loads_and_runs_the_image() -> Outcome {
    let Some(program) = footprint::release() else { return Ok(()) };
    if !need::program("/usr/bin/python3") {
        return Ok(());
    }
    let Some(engine) = own_engine() else { return Ok(()) };
    let place = Place::new();
    let dist = place.text("dist");
    images(&program, &dist)?;
    for (file, name) in [
        (format!("graceinit-{VERSION}-image-{}.tar", ARCH[0]), format!("graceinit:{VERSION}")),
        (format!("graceinit-{VERSION}-image.tar"), format!("graceinit:{VERSION}-{}", ARCH[0])),
    ] {
        let said = engine.docker(&["load", "--input", &format!("{dist}/{file}")])?;
        ensure!(said.lines().any(|line| line == format!("Loaded image: {name}")), "{file}: {said}");
        let life = ["run", "--rm", "--network", "none", &name, "/graceinit", "--version"];
        let told = engine.docker(&life)?;
        ensure!(told.starts_with(&format!("graceinit {VERSION}")), "{file}: {told}");
        let format =
            r#"{{.Architecture}} {{index .Config.Labels "org.opencontainers.image.version"}}"#;
        let told = engine.docker(&["image", "inspect", "--format", format, &name])?;
        ensure_eq!(told.trim(), format!("{} {VERSION}", ARCH[0]), "architecture and label");
        // What switching.md has: a copy to where tini stood.
        let copied = engine.image_of(&format!(
            "FROM scratch\nCOPY --from={name} /tini /sbin/tini\nENTRYPOINT [\"/sbin/tini\", \"--\"]\n"
        ))?;
        let told = engine.docker(&[
            "run",
            "--rm",
            "--network",
            "none",
            copied.trim(),
            "/sbin/tini",
            "--version",
        ])?;
        ensure!(told.starts_with(&format!("tini version {VERSION}_graceinit")), "{told}");
        engine.docker(&["rmi", "--force", &name, copied.trim()])?;
    }
    Ok(())
}

#[test]
fn podman_loads_and_runs_the_image() -> Outcome {
    let Some(program) = footprint::release() else { return Ok(()) };
    let Some(podman) = Podman::here()? else { return Ok(()) };
    let place = Place::new();
    let dist = place.text("dist");
    images(&program, &dist)?;
    // Each name is loaded once: podman would take the second for the first.
    for file in [format!("image-{}", ARCH[0]), "image".to_owned()] {
        let file = format!("{dist}/graceinit-{VERSION}-{file}.tar");
        podman.podman(&["load", "--input", &file])?;
        let name = format!("localhost/graceinit:{VERSION}");
        let life = ["run", "--rm", "--network", "none", &name, "/graceinit", "--version"];
        let told = podman.podman(&life)?;
        ensure!(told.starts_with(&format!("graceinit {VERSION}")), "{file}: {told}");
        let told = podman.podman(&["image", "inspect", "--format", "{{.Architecture}}", &name])?;
        ensure_eq!(told.trim(), ARCH[0], "the architecture of {file}");
        podman.podman(&["rmi", "--force", &name])?;
    }
    Ok(())
}

#[test]
fn skopeo_finds_each_architecture_under_one_name() -> Outcome {
    let Some(program) = footprint::release() else { return Ok(()) };
    if !need::program("/usr/bin/skopeo") {
        return Ok(());
    }
    let place = Place::new();
    let dist = place.text("dist");
    images(&program, &dist)?;
    let archive = format!("oci-archive:{dist}/graceinit-{VERSION}-image.tar:{VERSION}");
    for arch in ARCH {
        let done = std::process::Command::new("skopeo")
            .args(["inspect", "--override-arch", arch, "--format", "{{.Architecture}}", &archive])
            .output()?;
        ensure_eq!(
            String::from_utf8_lossy(&done.stdout).trim(),
            arch,
            "skopeo said {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(())
}
