//! Text from outside (names, values, paths, files, the output of hooks) neither drives a terminal nor makes lines of
//! the log: it is escaped in every message.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::ensure;
use crate::support::files::Place;
use crate::support::{Outcome, Program};

/// A title for the terminal, a line that looks like one of the log, a C1 control (U+009B, also as a lone byte), an
/// override of the direction of text, a line separator.
const EVIL: &[u8] =
    b"x\x1b]0;t\x07\ngraceinit: info: forged\r\xc2\x9b31m\x9b\xe2\x80\xae\xe2\x80\xa8\x7fy";

fn evil(before: &str, after: &str) -> OsString {
    OsStr::from_bytes(&[before.as_bytes(), EVIL, after.as_bytes()].concat()).to_owned()
}

fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || "\u{202e}\u{2028}".contains(c)
}

/// What the program prints on stdout and stderr.
fn printed(
    program: Program,
    words: &[OsString],
    variable: Option<(&str, &OsStr)>,
) -> Outcome<String> {
    let mut command = Command::new(program.path());
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(variable).args(words);
    let output = command.stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn is_safe(what: &str, text: &str) -> Outcome {
    ensure!(text.contains('x'), "{what}: the text is not shown: {text:?}");
    ensure!(!text.contains(is_harmful), "{what}: not escaped: {text:?}");
    let forged = text.lines().any(|line| line.trim_start().starts_with("graceinit: info: forged"));
    ensure!(!forged, "{what}: a line was made: {text:?}");
    Ok(())
}

fn words(plain: &[&str]) -> Vec<OsString> {
    plain.iter().map(OsString::from).collect()
}

#[test]
fn text_from_outside_is_escaped_in_every_message() -> Outcome {
    let place = Place::new();
    place.file("evil.toml", [b"grace = '", EVIL, b"'\n"].concat(), 0o644);
    let utf8 = String::from_utf8_lossy(EVIL).into_owned();
    place.file("key.toml", format!("{utf8:?} = 1\n"), 0o644);
    place.file("value.toml", format!("grace = {}\n", toml_text(&utf8)), 0o644);
    place.file("hook.toml", format!("[hook.{}]\na=1\n", toml_text(&utf8)), 0o644);
    let named = |name: &str| place.path(name).into_os_string();
    for (what, program, plain, last, command) in [
        ("the app", Program::Graceinit, &[][..], evil("/no/", ""), false),
        ("the app, logged", Program::Graceinit, &["-vvv"], evil("/no/", ""), false),
        (
            "the app, logged as JSON",
            Program::Graceinit,
            &["--log-format", "json"],
            evil("/no/", ""),
            false,
        ),
        ("a value", Program::Graceinit, &["--grace"], evil("", ""), true),
        ("a value in one word", Program::Graceinit, &[], evil("--scope=", ""), true),
        ("an option", Program::Graceinit, &[], evil("--", ""), true),
        ("an option like a known one", Program::Graceinit, &[], evil("--grace", ""), true),
        ("a letter", Program::Graceinit, &[], evil("-", ""), true),
        ("a value of a flag", Program::Graceinit, &[], evil("-s=", ""), true),
        ("an option of dumb-init", Program::AsDumbInit, &[], evil("--", ""), true),
        ("an option of tini", Program::AsTini, &[], evil("--", ""), true),
        ("a hook", Program::Graceinit, &["--pre-start"], evil("'/no/", "'"), true),
        ("a hook with a mistake", Program::Graceinit, &["--pre-start"], evil("signal:", ""), true),
        ("a file that is missing", Program::Graceinit, &["--config"], evil("/no/", ""), true),
        ("a file that is not TOML", Program::Graceinit, &["--config"], named("evil.toml"), true),
        ("a key", Program::Graceinit, &["--config"], named("key.toml"), true),
        ("a value in the file", Program::Graceinit, &["--config"], named("value.toml"), true),
        ("a phase in the file", Program::Graceinit, &["--config"], named("hook.toml"), true),
        ("a report to render", Program::Graceinit, &["--render"], evil("/no/", ""), false),
        ("a report to write", Program::Graceinit, &["--report"], evil("/no/", ""), true),
        ("an address", Program::Graceinit, &["--listen"], evil("", ""), true),
        ("a question", Program::Graceinit, &["--probe"], evil("", ""), false),
        (
            "an address to probe",
            Program::Graceinit,
            &["--probe", "ready", "--listen"],
            evil("unix:/no/", ""),
            false,
        ),
        ("a user", Program::Graceinit, &["--user"], evil("", ""), true),
        ("the app of a check", Program::Graceinit, &["--check"], evil("", ""), false),
        ("a hook of a check", Program::Graceinit, &["--check", "--pre-stop"], evil("'", "'"), true),
        (
            "a condition of a check",
            Program::Graceinit,
            &["--check", "--ready"],
            evil("exec:'", "'"),
            true,
        ),
        (
            "a path of a check",
            Program::Graceinit,
            &["--check", "--report"],
            evil("/tmp/", ""),
            true,
        ),
    ] {
        let mut all = words(plain);
        all.push(last);
        all.extend(command.then(|| words(&["true"])).into_iter().flatten());
        is_safe(what, &printed(program, &all, None)?)?;
    }
    Ok(())
}

/// A string of TOML with escapes, so that the value has the characters although the file has none of them.
fn toml_text(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        c if c.is_ascii_graphic() => c.to_string(),
        c => format!("\\u{:04x}", u32::from(c)),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[test]
fn text_of_variables_is_escaped() -> Outcome {
    let value = evil("", "");
    for name in ["GRACEINIT_GRACE", "GRACEINIT_CONFIG", "GRACE_EXIT_TIMEOUT"] {
        is_safe(name, &printed(Program::Graceinit, &words(&["true"]), Some((name, &value)))?)?;
    }
    let utf8 = String::from_utf8_lossy(EVIL).into_owned();
    let name = format!("GRACEINIT_{utf8}");
    is_safe(
        "a name",
        &printed(Program::Graceinit, &words(&["true"]), Some((&name, OsStr::new("1"))))?,
    )
}

/// Bytes that a hook prints: one line of the log for each line of the hook.
#[test]
fn output_of_hooks_is_escaped() -> Outcome {
    let place = Place::new();
    let said = [&b"x\x1b[2J\r\xc2\x9b\x9b\xe2\x80\xae\xe2\x80\xa8\x7fy\n"[..]].concat();
    let path = place.file("said", said, 0o644).display().to_string();
    for format in ["text", "json"] {
        let flags = ["-v", "--log-format", format, "--pre-start", &format!("cat {path}"), "true"];
        let text = printed(Program::Graceinit, &words(&flags), None)?;
        is_safe(format, &text)?;
        ensure!(text.contains("u{202e}") || text.contains("u202e"), "not shown: {text:?}");
    }
    Ok(())
}
