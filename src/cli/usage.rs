//! The messages of dumb-init for a wrong command line, letter by letter: scripts that were written for dumb-init
//! compare them. A wrong value of one of graceinit's own settings is reported in graceinit's words under every name.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Given;
use super::options::OptionId;
use crate::cli::persona::Persona;
use crate::types::Signal;
use crate::types::text::in_one_line;

/// Options that need no command.
const ALONE: [OptionId; 4] = [OptionId::Check, OptionId::Probe, OptionId::Render, OptionId::Pause];

const REWRITE: &str = "Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.\n\
     This option can be specified multiple times.\n\
     Use --help for full usage.\n";

/// The words of getopt(3) for an option that clap does not know, or that lacks its value.
pub(super) fn of_getopt(error: &clap::Error) -> Option<String> {
    let name = Persona::DumbInit.name();
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    // clap adds the name of the value: `--rewrite <FROM:TO>`.
    let word = word.split(' ').next().unwrap_or(word);
    let word = &*in_one_line(word);
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

/// What is wrong with a command line that clap has accepted: a rule of `-r`, or no command.
pub(super) fn of_given(given: &Given) -> Option<String> {
    if given.values(OptionId::Rewrite).iter().any(|rule| !is_rule(rule)) {
        return Some(REWRITE.to_owned());
    }
    let name = Persona::DumbInit.name();
    (given.command.is_empty() && !ALONE.iter().any(|id| given.has(*id))).then(|| {
        format!("Usage: {name} [option] program [args]\nTry {name} --help for full usage.\n")
    })
}

/// Whether a rule has the form `FROM:TO`, with numbers as in dumb-init or with names. `config` decides which signals
/// are allowed.
fn is_rule(rule: &OsString) -> bool {
    let Some((from, to)) = rule.to_str().and_then(|rule| rule.split_once(':')) else {
        return false;
    };
    let is_signal = |text: &str| Signal::parse(text).is_some();
    is_signal(from) && (to.trim() == "0" || is_signal(to))
}

#[cfg(test)]
mod tests {
    use super::super::{Instead, parse};
    use super::*;

    #[test]
    fn the_messages_are_those_of_dumb_init_letter_by_letter() {
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
            let got = parse(&words, Persona::DumbInit);
            assert_eq!(got, Err(Instead::Usage(want.to_owned())), "{line}");
            let other = parse(&words, Persona::Tini);
            assert!(!matches!(other, Err(Instead::Usage(_))), "{line}: {other:?}");
        }
        for line in ["-r 15:0 app", "-r TERM:QUIT app", "--check", "-P", "-r 1:40 app"] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert!(parse(&words, Persona::DumbInit).is_ok(), "{line}");
        }
    }
}
