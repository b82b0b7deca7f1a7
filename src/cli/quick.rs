//! The command line of those who make no mistake. clap builds a hundred options with their help before it reads a
//! word, which costs more than the rest of graceinit's start; so it is asked only where a word is not plainly one of
//! the table's: for a mistake, for `--help`, for a spelling that only clap knows.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{Given, Kind, OPTIONS, Opt};

/// What `args` say; `None`: that is for clap to tell.
#[inline(never)] // A life without options does not bring it in.
pub(super) fn read(args: &[OsString]) -> Option<Given> {
    let mut found: Vec<(&'static Opt, OsString)> = Vec::new();
    let mut words = args.iter();
    let mut command = words.as_slice();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            command = words.as_slice();
            break;
        }
        if !bytes.starts_with(b"-") {
            break;
        }
        match bytes.strip_prefix(b"--") {
            Some(long) => {
                let mut parts = long.splitn(2, |byte| *byte == b'=');
                let opt = of_name(parts.next()?)?;
                let value = match (opt.kind, parts.next()) {
                    (Kind::Flag | Kind::Count, None) | (Kind::Perhaps(_), None) => OsStr::new(""),
                    (Kind::Flag | Kind::Count, Some(_)) => return None,
                    (_, Some(value)) => some(value)?,
                    (_, None) => next(&mut words)?,
                };
                found.push((opt, value.to_owned()));
            }
            None => letters(&bytes[1..], &mut words, &mut found)?,
        }
        command = words.as_slice();
    }
    let mut given = Given { options: Vec::new(), command: command.to_vec() };
    for opt in OPTIONS {
        let values = found.iter().filter(|(known, _)| known.name == opt.name);
        let values: Vec<OsString> = values.map(|(_, value)| value.clone()).collect();
        // The last word counts.
        let first = match opt.kind {
            Kind::Many(_) | Kind::Count => 0,
            Kind::Flag | Kind::One(_) | Kind::List(_) | Kind::Perhaps(_) => {
                values.len().saturating_sub(1)
            }
        };
        if !values.is_empty() {
            given.options.push((opt.name, values[first..].to_vec()));
        }
    }
    Some(given)
}

/// `-vvg`, `-t5`, `-t 5`
fn letters(
    mut rest: &[u8],
    words: &mut std::slice::Iter<'_, OsString>,
    found: &mut Vec<(&'static Opt, OsString)>,
) -> Option<()> {
    // A lone dash.
    rest.first()?;
    while let Some((letter, behind)) = rest.split_first() {
        let opt = of_letter(*letter)?;
        rest = behind;
        let value = match opt.kind {
            Kind::Flag | Kind::Count => OsStr::new(""),
            Kind::Perhaps(_) => return None,
            Kind::One(_) | Kind::List(_) | Kind::Many(_) => match std::mem::take(&mut rest) {
                [] => next(words)?,
                // clap takes the sign away.
                [b'=', ..] => return None,
                behind => OsStr::from_bytes(behind),
            },
        };
        found.push((opt, value.to_owned()));
    }
    Some(())
}

/// `-l` is left to clap's caller: it prints.
fn find(is_it: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
    OPTIONS.iter().find(|opt| is_it(opt) && opt.name != "l")
}

fn of_letter(letter: u8) -> Option<&'static Opt> {
    let letter = char::from(letter);
    find(|opt| opt.short == Some(letter) || opt.also.iter().any(|also| also.chars().eq([letter])))
}

fn of_name(name: &[u8]) -> Option<&'static Opt> {
    let is_it = |known: &str| known.len() > 1 && known.as_bytes() == name;
    find(|opt| (opt.long && is_it(opt.name)) || opt.also.iter().any(|also| is_it(also)))
}

fn some(value: &[u8]) -> Option<&OsStr> {
    (!value.is_empty()).then(|| OsStr::from_bytes(value))
}

/// The next word, as a value. One that begins like an option may be one, and the value missing.
fn next<'a>(words: &mut std::slice::Iter<'a, OsString>) -> Option<&'a OsStr> {
    some(words.next()?.as_bytes()).filter(|word| !word.as_bytes().starts_with(b"-"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::by_clap;
    use super::*;
    use crate::cli::persona::Persona;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
    }

    #[test]
    fn what_people_write_is_read() {
        for line in [
            "--grace 5s --pre-stop touch:/x --on-stop a --post-stop b -- app -v",
            "-t 5 -g -- app",
            "-t5 -vvs app -t",
            "--grace=5s --drain auto --listen 127.0.0.1:9180 app",
            "-g -p TERM -e 143 -e 3 -- app",
            "--single-child --verbose --rewrite 15:2 app",
            "--check=docker -- app",
            "--check app",
            "-v",
            "-v --",
        ] {
            assert!(read(&words(line)).is_some(), "{line}");
        }
    }

    #[test]
    fn what_is_odd_is_for_clap() {
        for line in [
            "--grase 3 app",
            "--grace",
            "--grace -- app",
            "--grace= app",
            "--help",
            "-h",
            "--version",
            "-l",
            "-g=3 app",
            "-t=3 app",
            "--grac 3 app",
            "- app",
            "-t -3 app",
        ] {
            assert!(read(&words(line)).is_none(), "{line}");
        }
    }

    /// Words that lines are made of: every option in every spelling, values, and what is neither.
    fn vocabulary() -> Vec<String> {
        let mut list: Vec<String> =
            ["--", "-", "app", "5s", "15:2", "", "-x", "--x", "=", "-vg", "-t5"]
                .map(str::to_owned)
                .to_vec();
        for opt in OPTIONS {
            let letters = opt.short.map(String::from);
            let long = opt.long.then(|| opt.name.to_owned());
            let spellings =
                letters.into_iter().chain(long).chain(opt.also.iter().map(|s| (*s).to_owned()));
            for spelling in spellings {
                let dashes = if spelling.len() == 1 { "-" } else { "--" };
                list.push(format!("{dashes}{spelling}"));
                list.push(format!("{dashes}{spelling}=5s"));
                list.push(format!("{dashes}{spelling}5"));
            }
        }
        list
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn clap_reads_the_same(line in prop::collection::vec(prop::sample::select(vocabulary()), 0..6)) {
            let args: Vec<OsString> = line.iter().map(OsString::from).collect();
            if let Some(given) = read(&args) {
                prop_assert_eq!(by_clap(&args, Persona::Graceinit).ok(), Some(given), "{:?}", line);
            }
        }
    }
}
