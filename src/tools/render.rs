//! `--render`: the page of a report.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

use serde::Deserialize;

use crate::account::document::{Account, VERSION};
use crate::account::page::{self, Edition};

/// The longest file: a report has 4 KiB, the answer of /debug/graceinit some 100.
const LONGEST: u64 = 1 << 20;

/// The page of the report at `path`; `-` is standard input.
pub fn run(path: &CStr) -> Result<String, String> {
    let name = path.to_string_lossy();
    let file = || File::open(OsStr::from_bytes(path.to_bytes()));
    let text = match path.to_bytes() {
        b"-" => read(io::stdin().lock()),
        _ => file().and_then(read),
    };
    let text = text.map_err(|error| {
        format!("unable to read '{name}': {error}; name a file that --report has written")
    })?;
    let account = parse(&text).map_err(|why| format!("unable to render '{name}': {why}"))?;
    Ok(page::render(&account, Edition::Saved))
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more, to notice a longer file.
    from.take(LONGEST + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The version, which every account has.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

/// The account that a report holds.
///
/// # Errors
/// Why `text` is no report, and what to do.
pub fn parse(text: &[u8]) -> Result<Account, String> {
    const ADVICE: &str = "name a file that --report has written, or /debug/graceinit as JSON";
    if text.len() as u64 > LONGEST {
        return Err(format!("it is longer than 1 MiB, so it is not a report; {ADVICE}"));
    }
    if text.trim_ascii().is_empty() {
        return Err(format!("it is empty; {ADVICE}"));
    }
    let wrong = |error: serde_json::Error| format!("it is not a report ({error}); {ADVICE}");
    match serde_json::from_slice(text).map_err(wrong)? {
        Versioned { v: 1..=VERSION } => serde_json::from_slice(text).map_err(wrong),
        Versioned { v } => Err(format!(
            "it has version {v}, and this graceinit reads up to {VERSION}; use the one that wrote it"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_reason_for_a_refusal_says_what_to_do() {
        for (text, want) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("hello", "it is not a report"),
            ("[]", "it is not a report"),
            ("{}", "missing field `v`"),
            ("{\"v\":1,\"phases\":3}", "it is not a report"),
            ("{\"v\":1", "EOF"),
            ("{\"v\":1}x", "trailing"),
            ("{\"v\":0}", "it has version 0"),
            ("{\"v\":2,\"phase\":[]}", "it has version 2"),
        ] {
            let why = why(text);
            assert!(why.contains(want), "{text}: {why}");
            assert!(why.contains("; name ") || why.contains("; use "), "{text}: {why}");
        }
        let long = format!("{{\"v\":1,\"phase\":\"{}\"}}", "x".repeat(1 << 20));
        assert!(why(&long).contains("longer than 1 MiB"));
    }

    #[test]
    fn unknown_fields_are_left_unread() {
        let account = parse(b"{\"v\":1,\"phase\":\"ready\",\"mood\":{\"good\":[1]}}\n").unwrap();
        assert_eq!(account.phase, "ready");
    }

    #[test]
    fn a_missing_file_is_named() {
        let why = run(c"/nowhere/report.json").unwrap_err();
        assert!(why.starts_with("unable to read '/nowhere/report.json': No such file"), "{why}");
    }
}
