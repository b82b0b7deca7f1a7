//! What dumb-init says of a wrong command line, to the letter: those who put graceinit in its place have
//! scripts that compare it. Wrong settings of graceinit's own are told in graceinit's grammar under every name.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Given;
use crate::cli::persona::Persona;

/// Options that need no command.
const ALONE: [&str; 4] = ["check", "probe", "render", "P"];

/// The words of getopt(3) for an option that clap does not know, or that lacks its value.
pub(super) fn of_getopt(error: &clap::Error) -> Option<String> {
    let name = Persona::DumbInit.name();
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    // clap names a value's place, too: `--rewrite <FROM:TO>`.
    let word = word.split(' ').next().unwrap_or(word);
    let letter = word.strip_prefix('-').filter(|letter| !letter.starts_with('-'));
    Some(match (error.kind(), letter) {
        (ErrorKind::UnknownArgument, None) => format!("{name}: unrecognized option '{word}'\n"),
        (ErrorKind::UnknownArgument, Some(letter)) => {
            format!("{name}: invalid option -- '{letter}'\n")
        }
        (ErrorKind::InvalidValue, _) if word == "--rewrite" => REWRITE.to_owned(),
        _ => return None,
    })
}

/// A command line that could be read but is of no use.
pub(super) fn of_given(given: &Given) -> Option<String> {
    let is = |option: &str| given.options.iter().any(|(name, _)| *name == option);
    let rewrites = given.options.iter().find(|(name, _)| *name == "rewrite");
    let mut rules = rewrites.iter().flat_map(|(_, values)| values.iter());
    if rules.any(|rule| !is_rule(rule)) {
        return Some(REWRITE.to_owned());
    }
    let name = Persona::DumbInit.name();
    (given.command.is_empty() && !ALONE.iter().any(|option| is(option))).then(|| {
        format!("Usage: {name} [option] program [args]\nTry {name} --help for full usage.\n")
    })
}

const REWRITE: &str = "Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.\n\
     This option can be specified multiple times.\n\
     Use --help for full usage.\n";

/// Numbers as dumb-init has them, and names as graceinit has them: which signals may be meant is another
/// question, answered where rules are read.
fn is_rule(rule: &OsString) -> bool {
    let Some((from, to)) = rule.to_str().and_then(|rule| rule.split_once(':')) else {
        return false;
    };
    let signal = |text: &str| crate::types::Signal::parse(text).is_some();
    signal(from) && (to.trim() == "0" || signal(to))
}

#[cfg(test)]
mod tests {
    use super::super::{Instead, parse};
    use super::*;

    #[test]
    fn dumb_init_is_answered_for_to_the_letter() {
        let missing =
            "Usage: dumb-init [option] program [args]\nTry dumb-init --help for full usage.\n";
        for (line, want) in [
            ("", missing),
            ("-v", missing),
            ("--", missing),
            ("--yolo app", "dumb-init: unrecognized option '--yolo'\n"),
            ("-Z app", "dumb-init: invalid option -- 'Z'\n"),
            ("-r", REWRITE),
            ("-r app", REWRITE),
            ("-r 15 app", REWRITE),
            ("-r 15:12 -r", REWRITE),
            ("-r 15:12 -r 0 app", REWRITE),
            ("-r 15::12 app", REWRITE),
            ("-r 15:derp app", REWRITE),
        ] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            let told = parse(&words, Persona::DumbInit);
            assert_eq!(told, Err(Instead::Refuse(want.to_owned())), "{line}");
            let other = parse(&words, Persona::Tini);
            assert!(!matches!(other, Err(Instead::Refuse(_))), "{line}: {other:?}");
        }
        for line in ["-r 15:0 app", "-r TERM:QUIT app", "--check", "-P", "-r 1:40 app"] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert!(parse(&words, Persona::DumbInit).is_ok(), "{line}");
        }
    }
}
