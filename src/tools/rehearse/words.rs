//! The command line of the graceinit that a rehearsal starts.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::cli::{Given, Group, Kind, OPTIONS, OptionId};
use crate::config::Variables;

/// A setting, as a user writes it.
pub(super) type Set = (OptionId, String);

/// What was given for the life of the app: the options of the rehearsal are left out, and variables have become flags.
/// They would have no effect below a graceinit that has the same variables.
pub(super) fn of_life(given: &Given, variables: &Variables<'_>) -> Given {
    let life = |id: OptionId| id.opt().group != Group::Rehearsal;
    let mut options: Vec<(OptionId, Vec<OsString>)> = Vec::new();
    for opt in OPTIONS.iter().filter(|opt| life(opt.id)) {
        let values = given.values(opt.id);
        let values =
            if values.is_empty() { from_variables(opt.id, variables) } else { values.to_vec() };
        if !values.is_empty() {
            options.push((opt.id, values));
        }
    }
    Given { options, command: given.command.clone() }
}

fn from_variables(id: OptionId, variables: &Variables<'_>) -> Vec<OsString> {
    let opt = id.opt();
    let second = (id == OptionId::Grace).then_some("GRACE_EXIT_TIMEOUT");
    let mut names = opt.variable.into_iter().chain(second);
    let value = names.find_map(|name| {
        let found = variables.iter().find(|(known, _)| *known == name)?;
        Some(found.1.trim_ascii()).filter(|value| !value.is_empty())
    });
    let Some(value) = value else { return Vec::new() };
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.trim_ascii().to_vec());
    match opt.kind {
        Kind::Many(_) => {
            let lines = value.split(|byte| *byte == b'\n').map(owned);
            lines.filter(|line| !line.is_empty()).collect()
        }
        Kind::One(_) | Kind::List(_) | Kind::Optional(_) => vec![owned(value)],
        // The variable of a flag that says no is the same as no variable.
        Kind::Flag => match value {
            b"0" | b"false" | b"no" | b"off" => Vec::new(),
            _ => vec![OsString::new()],
        },
        Kind::Count => {
            let count = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            vec![OsString::new(); count.unwrap_or(0usize).min(8)]
        }
    }
}

/// The same with other settings.
pub(super) fn with(given: &Given, sets: &[Set]) -> Given {
    let mut options: Vec<(OptionId, Vec<OsString>)> = given.options.clone();
    for (id, _) in sets {
        options.retain(|(known, _)| known != id);
    }
    for (id, value) in sets {
        options.push((*id, vec![value.into()]));
    }
    Given { options, command: given.command.clone() }
}

/// The words of a command line that reads back as this.
pub(super) fn of(given: &Given, more: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    for (id, values) in &given.options {
        let opt = id.opt();
        let letter = opt.short.map(|letter| format!("-{letter}")).unwrap_or_default();
        for value in values {
            match (opt.kind, opt.long) {
                (Kind::Flag | Kind::Count, true) => words.push(format!("--{}", opt.name).into()),
                (Kind::Flag | Kind::Count, false) => words.push(letter.clone().into()),
                (_, true) => {
                    let mut word = OsString::from(format!("--{}=", opt.name));
                    word.push(value);
                    words.push(word);
                }
                (_, false) => words.extend([letter.clone().into(), value.clone()]),
            }
        }
    }
    words.extend(more.iter().map(OsString::from));
    words.push("--".into());
    words.extend(given.command.iter().cloned());
    words
}

/// Settings as flags, for people.
pub(super) fn text(sets: &[Set]) -> String {
    let one = |(id, value): &Set| {
        let quote = if value.contains([' ', '\'', '*', '?', '$', '&', ';']) { "'" } else { "" };
        format!("--{} {quote}{value}{quote}", id.name())
    };
    sets.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Settings as a file for `--config`.
pub(super) fn toml(given: &Given, sets: &[Set]) -> String {
    let all = with(given, sets);
    let mut text = String::from("# Found by graceinit --rehearse.\n");
    for (id, values) in &all.options {
        let opt = id.opt();
        let Some(key) = opt.key else { continue };
        let quoted = |value: &OsString| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            // A JSON string is a basic string of TOML.
            serde_json::to_string(&text).unwrap_or_default()
        };
        let value = match opt.kind {
            Kind::Flag => "true".to_owned(),
            Kind::Count => values.len().to_string(),
            Kind::Many(_) => {
                format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", "))
            }
            Kind::One(_) | Kind::List(_) | Kind::Optional(_) => {
                values.last().map(quoted).unwrap_or_default()
            }
        };
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse;
    use crate::cli::persona::Persona;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn given(text: &str) -> Given {
        parse(&words(text), Persona::Graceinit).expect(text)
    }

    #[test]
    fn the_command_line_reads_back() {
        let line = "--rehearse=k8s:30s --url :8080/ --json -t 9s -r HUP:0 -r 1:2 -vv -e 3 -g \
                    --ready tcp:80 --check=docker -- app --url x";
        let life = of_life(&given(line), &[]);
        let again = parse(&of(&life, &[]), Persona::Graceinit).expect("a command line");
        assert_eq!(again, life);
        let text = format!("{life:?}");
        assert!(!text.contains("Rehearse") && !text.contains("Json"), "{text}");
        assert!(text.contains("Grace") && text.contains("ExitOk") && text.contains("ScopeGroup"));
    }

    #[test]
    fn variables_become_flags_unless_a_flag_counts_more() {
        let variables: [(&str, &[u8]); 6] = [
            ("GRACEINIT_GRACE", b"5s"),
            ("GRACEINIT_DRAIN", b" 80 "),
            ("GRACEINIT_PRE_STOP", b"a b\n\nc"),
            ("GRACEINIT_WARN_REAP", b"1"),
            ("GRACEINIT_SUBREAPER", b"false"),
            ("GRACEINIT_VERBOSITY", b"2"),
        ];
        let life = of_life(&given("--grace 7s -- app"), &variables);
        let expected = given("--grace 7s --pre-stop a --drain 80 -vv -w -- app");
        let mut expected = expected;
        for (id, values) in &mut expected.options {
            if *id == OptionId::PreStop {
                *values = vec!["a b".into(), "c".into()];
            }
        }
        assert_eq!(life, expected);
    }

    #[test]
    fn settings_are_replaced_and_written() {
        let sets = [(OptionId::Drain, "8080".to_owned()), (OptionId::Grace, "9s".to_owned())];
        let all = with(&given("--grace 7s --pre-stop a -- app"), &sets);
        assert_eq!(all.values(OptionId::Grace), ["9s"]);
        assert_eq!(text(&sets), "--drain 8080 --grace 9s");
        let file = toml(&given("--grace 7s --pre-stop 'a\"b' -- app"), &sets);
        assert!(file.contains("grace = \"9s\"\n") && file.contains("drain = \"8080\"\n"), "{file}");
        assert!(file.contains("pre-stop = [\"'a\\\"b'\"]\n"), "{file}");
    }
}
