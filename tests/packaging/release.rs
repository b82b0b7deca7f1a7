//! What `packaging/release` makes of a built program: every artefact is installed and run, and made twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::files::Place;
use crate::support::{Outcome, need};
use crate::{ensure, ensure_eq, footprint};

pub(crate) const ARCH: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
const RPM_ARCH: &str = if cfg!(target_arch = "x86_64") { "x86_64" } else { "aarch64" };
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The example that makes the man page: cargo builds it beside the puppet.
fn generate() -> PathBuf {
    crate::support::init::puppet().with_file_name("generate")
}

pub(crate) fn release(program: &Path, dist: &str, more: &[&str]) -> Outcome<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/release");
    let pack = format!("{ARCH}={}", program.display());
    let mut command = Command::new(script);
    command.args(["--pack", &pack, "--dist", dist, "--generate"]).arg(generate());
    Ok(command.args(more).output()?)
}

pub(super) fn run(program: &str, words: &[&str]) -> Outcome<String> {
    let done = Command::new(program).args(words).output()?;
    ensure!(done.status.success(), "{program} {words:?}: {done:?}");
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn tools() -> bool {
    ["/usr/bin/rpmbuild", "/usr/bin/dpkg", "/usr/bin/python3"]
        .iter()
        .all(|path| need::program(path))
}

#[test]
fn every_artefact_is_installed_and_runs() -> Outcome {
    let Some(program) = footprint::release() else { return Ok(()) };
    if !tools() || !need::root() {
        return Ok(());
    }
    let place = Place::new();
    let dist = place.text("dist");
    // Without the site, which needs mdBook.
    let kinds = "program,tar,deb,rpm,apk,wheel,image,sbom";
    let done = release(&program, &dist, &["--kind", kinds])?;
    ensure!(done.status.success(), "{done:?}");
    let file = |name: String| format!("{dist}/{name}");
    let version = run(&program.display().to_string(), &["--version"])?;
    let runs = |path: &str| -> Outcome {
        ensure_eq!(run(path, &["--version"])?, version, "the version of {path}");
        ensure_eq!(run(path, &["--", "/bin/echo", "it runs"])?, "it runs\n", "a life of {path}");
        Ok(())
    };

    // The program itself, with the list of its crates.
    let bare = file(format!("graceinit-{VERSION}-linux-{ARCH}"));
    runs(&bare)?;
    let sections = run("objdump", &["-h", &bare])?;
    ensure!(sections.contains(".dep-v0"), "no list of crates in {sections}");

    // tar.gz.
    let unpacked = place.text("tar");
    fs::create_dir(&unpacked)?;
    run("tar", &["-xzf", &format!("{bare}.tar.gz"), "-C", &unpacked, "--strip-components=1"])?;
    runs(&format!("{unpacked}/graceinit"))?;
    ensure!(
        run(&format!("{unpacked}/tini"), &["--version"])?.starts_with("tini version "),
        "no tini"
    );

    // deb, into a root of its own.
    let root = place.text("deb");
    fs::create_dir_all(format!("{root}/var/lib/dpkg/info"))?;
    fs::create_dir_all(format!("{root}/var/lib/dpkg/updates"))?;
    fs::write(format!("{root}/var/lib/dpkg/status"), "")?;
    let deb = file(format!("graceinit_{VERSION}_{ARCH}.deb"));
    run("dpkg", &["--root", &root, "--force-script-chrootless", "-i", &deb])?;
    runs(&format!("{root}/usr/bin/graceinit"))?;
    let dumb =
        Command::new(format!("{root}/usr/lib/graceinit/dumb-init")).arg("--version").output()?;
    ensure!(dumb.stderr.starts_with(b"dumb-init v"), "{dumb:?}");
    let fields = run("dpkg-deb", &["--field", &deb, "Package", "Version", "Depends"])?;
    ensure_eq!(fields.trim(), format!("Package: graceinit\nVersion: {VERSION}"), "the fields");
    ensure!(
        Path::new(&format!("{root}/usr/share/doc/graceinit/docs/docker.md")).exists(),
        "no docs"
    );

    // rpm.
    let root = place.text("rpm");
    fs::create_dir(&root)?;
    run("rpm", &["--root", &root, "--initdb"])?;
    let rpm = file(format!("graceinit-{VERSION}-1.{RPM_ARCH}.rpm"));
    run("rpm", &["--root", &root, "--install", &rpm])?;
    runs(&format!("{root}/usr/bin/graceinit"))?;

    // apk: two streams of tar, which tar reads as one archive.
    let root = place.text("apk");
    fs::create_dir(&root)?;
    let apk = file(format!("graceinit-{VERSION}-r0.{RPM_ARCH}.apk"));
    run("tar", &["-xzf", &apk, "-C", &root, "--warning=no-unknown-keyword"])?;
    runs(&format!("{root}/usr/bin/graceinit"))?;
    let about = fs::read_to_string(format!("{root}/.PKGINFO"))?;
    ensure!(about.contains(&format!("pkgver = {VERSION}-r0\n")), "{about}");

    // The wheel, in an environment of its own.
    let venv = place.text("venv");
    run("python3", &["-m", "venv", &venv])?;
    let mut wheels = Vec::new();
    for entry in fs::read_dir(&dist)? {
        wheels.push(entry?.path());
    }
    wheels.retain(|path| path.extension().is_some_and(|ending| ending == "whl"));
    ensure_eq!(wheels.len(), 1, "wheels");
    let wheel = wheels[0].display().to_string();
    run(
        &format!("{venv}/bin/pip"),
        &["install", "--quiet", "--no-index", "--disable-pip-version-check", &wheel],
    )?;
    runs(&format!("{venv}/bin/graceinit"))?;
    ensure!(!Path::new(&format!("{venv}/bin/tini")).exists(), "tini is on the PATH");

    // The list of checksums fits.
    let sums = Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(&dist)
        .output()?;
    ensure!(sums.status.success(), "{sums:?}");
    Ok(())
}

#[test]
fn two_runs_give_the_same_bytes() -> Outcome {
    let Some(program) = footprint::release() else { return Ok(()) };
    if !tools() {
        return Ok(());
    }
    let place = Place::new();
    let done = release(
        &program,
        &place.text("dist"),
        &["--compare", "--kind", "tar,deb,rpm,apk,wheel,image,sbom"],
    )?;
    ensure!(done.status.success(), "{done:?}");
    Ok(())
}

#[test]
fn the_list_of_checksums_is_signed() -> Outcome {
    let Some(program) = footprint::release() else { return Ok(()) };
    let tools = ["/usr/bin/minisign", "/usr/bin/signify-openbsd", "/usr/bin/python3"];
    if !tools.iter().all(|path| need::program(path)) {
        return Ok(());
    }
    let place = Place::new();
    let (public, secret) = (place.text("key.pub"), place.text("key.sec"));
    let make = [
        // Without a password.
        &["minisign", "-G", "-W", "-f", "-p", &public, "-s", &secret][..],
        &["signify-openbsd", "-G", "-n", "-p", &public, "-s", &secret],
    ];
    for command in make {
        run(command[0], &command[1..])?;
        let dist = place.text(command[0]);
        let done = release(&program, &dist, &["--kind", "program", "--key", &secret])?;
        ensure!(done.status.success(), "{done:?}");
        let sums = format!("{dist}/SHA256SUMS");
        // As docs/verify.md says.
        let verify = ["-V", "-p", &public, "-m", &sums];
        run(command[0], &verify)?;
        fs::write(&sums, "another list\n")?;
        let done = Command::new(command[0]).args(verify).output()?;
        ensure!(!done.status.success(), "{} takes another list: {done:?}", command[0]);
        // signify does not write over a file.
        fs::remove_file(&public)?;
        fs::remove_file(&secret)?;
    }
    Ok(())
}

#[test]
fn mistakes_are_named() -> Outcome {
    if !need::program("/usr/bin/python3") {
        return Ok(());
    }
    let place = Place::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/release");
    let full = place.text("full");
    fs::create_dir(&full)?;
    fs::write(format!("{full}/file"), "")?;
    let no_key = format!("{full}/file");
    for (words, expected) in [
        (&["--arch", "vax"][..], "packaging/release: there is no architecture vax; known are "),
        (&["--pack", "amd64=/nothing"], "packaging/release: there is no program '/nothing'"),
        (
            &["--pack", "amd64=/bin/sh", "--key", "/nothing"],
            "packaging/release: there is no key '/nothing'",
        ),
        (
            &["--pack", "amd64=/bin/sh", "--kind", "program", "--key", &no_key],
            &format!(
                "packaging/release: {no_key} is a secret key neither of minisign nor of signify"
            ),
        ),
        (&["--pack", "amd64=/bin/sh", "--kind", "zip"], "packaging/release: there is no kind zip"),
        (
            &["--pack", "amd64=/bin/sh", "--dist", &full],
            &format!("packaging/release: {full} is not empty"),
        ),
    ] {
        let done = Command::new(&script).args(words).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(!done.status.success() && said.starts_with(expected), "{words:?}: {done:?}");
    }
    Ok(())
}

/// A repository of its own, with what the checklist of docs/releasing.md looks at.
#[test]
fn a_release_is_refused_until_the_checklist_holds() -> Outcome {
    if !(need::program("/usr/bin/git") && need::program("/usr/bin/python3")) {
        return Ok(());
    }
    let place = Place::new();
    let folder = place.path("");
    for name in ["packaging", "docs"] {
        fs::create_dir(place.path(name))?;
    }
    for name in ["release", "artefacts.py", "book.py", "debian.py"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
        fs::copy(source, place.path("packaging").join(name))?;
    }
    // What a release builds would come after this refusal.
    fs::create_dir(place.path("dist"))?;
    place.file("dist/a file", "", 0o644);
    place.file(".gitignore", "/dist\n", 0o644);
    place.file("Cargo.toml", "[package]\nversion = \"1.2.3\"\n", 0o644);
    let git = |words: &[&str]| -> Outcome<String> {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@localhost"]).args(words);
        let done = command.current_dir(&folder).output()?;
        ensure!(done.status.success(), "git {words:?}: {done:?}");
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let refusal = |words: &[&str]| -> Outcome<String> {
        let script = place.path("packaging/release");
        let done = Command::new(script).args(words).current_dir(&folder).output()?;
        ensure!(!done.status.success(), "{done:?}");
        Ok(String::from_utf8_lossy(&done.stderr).trim_end().to_owned())
    };
    let dist = place.text("dist");
    let ready = format!(
        "packaging/release: {dist} is not empty; name another directory with --dist, or remove it"
    );
    let told = refusal(&["--dist", &dist])?;
    ensure!(told.starts_with("packaging/release: unable to read the repository: "), "{told}");
    git(&["init", "--quiet"])?;

    let upgrading = "## From 1.0 to 1.2.3\n";
    for (changes, page, tag, expected) in [
        ("## 1.2.2\n", upgrading, "", "CHANGELOG.md has no section 1.2.3; write one, or "),
        ("## 1.2.30\n", upgrading, "", "CHANGELOG.md has no section 1.2.3; write one, or "),
        (
            "## 1.2.3 (not published)\n",
            upgrading,
            "",
            "CHANGELOG.md says that 1.2.3 is not published; ",
        ),
        (
            "## Unreleased\n\n- New.\n\n## 1.2.3\n",
            upgrading,
            "",
            "CHANGELOG.md has entries under Unreleased; ",
        ),
        ("## 1.2.3\n", "## From 1.0 to 1.2\n", "", "docs/upgrading.md has no section for 1.2.3; "),
        (
            "## 1.2.3\n",
            upgrading,
            "v1.2.2",
            "the commit has the tag v1.2.2, and Cargo.toml the version 1.2.3",
        ),
        ("## Unreleased\n\n## 1.2.3 (2026-12-01)\n", upgrading, "", ""),
        ("## 1.2.3\n", upgrading, "v1.2.3", ""),
    ] {
        place.file("CHANGELOG.md", changes, 0o644);
        place.file("docs/upgrading.md", page, 0o644);
        git(&["add", "--all"])?;
        git(&["commit", "--quiet", "--allow-empty", "--message", "a state"])?;
        if !tag.is_empty() {
            git(&["tag", tag])?;
        }
        let expected = match expected {
            "" => ready.clone(),
            why => format!("packaging/release: {why}"),
        };
        let told = refusal(&["--dist", &dist])?;
        ensure!(told.starts_with(&expected), "{changes:?} {page:?} {tag:?}: {told}");
        ensure_eq!(refusal(&["--draft", "--dist", &dist])?, ready, "a draft of {changes:?}");
    }
    place.file("docs/new.md", "", 0o644);
    for words in [&["--dist", &dist][..], &["--draft", "--dist", &dist]] {
        let told = refusal(words)?;
        let expected = "packaging/release: there are changes that are not committed; commit them: ";
        ensure!(told.starts_with(expected), "{words:?}: {told}");
    }
    Ok(())
}

#[test]
fn the_man_page_and_the_completions_are_read_by_their_programs() -> Outcome {
    let programs = ["/usr/bin/man", "/bin/bash", "/bin/zsh", "/usr/bin/fish"];
    if !programs.iter().all(|path| need::program(path)) {
        return Ok(());
    }
    let place = Place::new();
    let made = |kind: &str| -> Outcome<String> {
        let text = run(&generate().display().to_string(), &[kind])?;
        let path = place.text(&format!("graceinit.{kind}"));
        fs::write(&path, text)?;
        Ok(path)
    };
    let (man, bash, zsh, fish) = (made("man")?, made("bash")?, made("zsh")?, made("fish")?);

    let page = Command::new("man")
        .args(["--warnings", "-l", &man])
        .env("MANWIDTH", "80")
        .env("LC_ALL", "C")
        .output()?;
    ensure!(page.status.success() && page.stderr.is_empty(), "{page:?}");
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    for opt in graceinit::cli::OPTIONS.iter().filter(|opt| opt.long) {
        ensure!(page.contains(&format!("--{}", opt.name)), "--{} is not on the man page", opt.name);
    }

    let complete = |words: &str| -> Outcome<String> {
        let script = format!(
            "source {bash}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _graceinit; echo \"${{COMPREPLY[*]}}\""
        );
        Ok(run("bash", &["-c", &script])?.trim().to_owned())
    };
    ensure_eq!(complete("graceinit --sco")?, "--scope", "an option in bash");
    ensure_eq!(complete("graceinit --scope gr")?, "group", "a value in bash");
    ensure_eq!(complete("graceinit --grace 5s -- /bin/bashb")?, "/bin/bashbug", "the app in bash");
    run("zsh", &["-n", &zsh])?;
    let script = format!("source {fish}; complete -C 'graceinit --scope gr'");
    let offered = run("fish", &["-c", &script])?;
    ensure_eq!(offered.split('\t').next(), Some("group"), "a value in fish");
    Ok(())
}
