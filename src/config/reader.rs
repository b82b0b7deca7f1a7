//! Where the value of an option is found: flag, variable, file, profile, default, in this order. What
//! is wrong is collected, not told at once.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStringExt;

use super::file::{Contents, File};
use super::found::Found;
use super::profiles::{PROFILES, Profile};
use super::silence;
use super::source::Source;
use super::{GRACE_EXIT_TIMEOUT, Place, Setting, Variables};
use crate::cli::persona::Persona;
use crate::cli::{Given, Group, Kind, OPTIONS};
use crate::config::user::{self, User};
use crate::life::hooks::environment;

/// The profile that was asked for.
struct Chosen {
    profile: &'static Profile,
    argument: String,
    found: Found,
}

/// What is wrong; with its place, if that is in the file.
pub(super) type Mistakes = Vec<(Option<usize>, String)>;

pub(super) struct Reader<'a> {
    pub(super) given: &'a Given,
    variables: &'a Variables<'a>,
    pub(super) place: Place,
    file: Option<File>,
    pub(super) contents: Contents,
    profile: Option<Chosen>,
    mistakes: Mistakes,
    pub(super) warnings: Vec<String>,
    /// What each option was found to be, in the order of reading.
    found: Vec<(&'static str, Vec<Found>)>,
    /// Options whose value could not be read: no conclusion may be drawn from them.
    failed: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(given: &'a Given, variables: &'a Variables<'a>, place: Place) -> Self {
        let mut reader = Reader::empty(given, variables, place);
        if let Some(found) = reader.above_file("config").and_then(|mut found| found.pop()) {
            reader.open_file(found);
        }
        if let Some(found) = reader.values("profile").pop() {
            reader.choose_profile(found);
        }
        reader
    }

    /// Has read neither a file nor a profile.
    pub(super) fn empty(given: &'a Given, variables: &'a Variables<'a>, place: Place) -> Self {
        Reader {
            given,
            variables,
            place,
            file: None,
            contents: Contents::default(),
            profile: None,
            mistakes: Vec::new(),
            warnings: Vec::new(),
            found: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Whether nobody has said anything: then the defaults are all there is.
    pub(super) fn is_silent(&self) -> bool {
        silence::is_kept(self.given, self.variables)
    }

    // Kept apart, as other things that a plain life does not need: their room on the stack is a page.
    #[cold]
    fn open_file(&mut self, found: Found) {
        match File::read(&found.value) {
            Ok(file) => {
                self.contents = file.contents();
                let mistakes = self.contents.mistakes.drain(..);
                self.mistakes.extend(mistakes.map(|(place, text)| (Some(place), text)));
                self.file = Some(file);
            }
            Err(why) => self.wrong("config", &found, why),
        }
        self.found.push(("config", vec![found]));
    }

    /// Opens the file for somebody who needs one option of it. What is wrong with it is handed out,
    /// for [`Reader::wrong_in_file`].
    #[cold]
    pub(super) fn open_file_apart(&mut self) -> Mistakes {
        let before = std::mem::take(&mut self.mistakes);
        if let Some(found) = self.above_file("config").and_then(|mut found| found.pop()) {
            self.open_file(found);
        }
        std::mem::replace(&mut self.mistakes, before)
    }

    /// What was wrong with the file counts after all.
    pub(super) fn wrong_in_file(&mut self, mistakes: Mistakes) {
        self.mistakes.extend(mistakes);
    }

    #[cold]
    fn choose_profile(&mut self, found: Found) {
        let text = found.text();
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (&text[..], None),
        };
        let profile = PROFILES.iter().find(|profile| profile.name == name);
        let argument = match profile.map(|profile| (profile, profile.argument, argument)) {
            None => {
                let mut names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
                names.sort_unstable();
                Err(format!("not a profile; write one of {}", names.join(", ")))
            }
            Some((_, None, Some(_))) => Err(format!("{name} takes no argument; write {name}")),
            Some((_, Some(usual), Some(""))) => {
                Err(format!("the argument is missing; write {name}:{usual} or {name}"))
            }
            // It becomes a word of a hook's command.
            Some((_, Some(usual), Some(argument)))
                if argument.contains([' ', '\t', '\'', '"', '\\']) =>
            {
                Err(format!(
                    "a blank or a quote in the argument; write one without, as in {name}:{usual}"
                ))
            }
            Some((_, _, Some(argument))) => Ok(argument.to_owned()),
            Some((_, usual, None)) => Ok(usual.unwrap_or_default().to_owned()),
        };
        match (profile, argument) {
            (Some(profile), Ok(argument)) => {
                self.profile = Some(Chosen { profile, argument, found: found.clone() });
            }
            (_, Err(why)) => self.wrong("profile", &found, why),
            (None, Ok(_)) => {}
        }
        self.found.push(("profile", vec![found]));
    }

    /// The values of an option from the source that counts most.
    pub(super) fn values(&self, name: &'static str) -> Vec<Found> {
        if let Some(found) = self.above_file(name).or_else(|| self.of_file(name).map(<[_]>::to_vec))
        {
            return found;
        }
        let found = self.of_profile(name);
        if !found.is_empty() {
            return found;
        }
        let default = default(name, self.place);
        default.map(|(value, why)| Found::new(Source::Default(why), value)).into_iter().collect()
    }

    /// Those of the flag, else those of its variable.
    pub(super) fn above_file(&self, name: &'static str) -> Option<Vec<Found>> {
        let opt = OPTIONS.iter().find(|opt| opt.name == name)?;
        if let Some((_, values)) = self.given.options.iter().find(|(given, _)| *given == name) {
            let source = Source::Flag(name);
            return Some(match opt.kind {
                Kind::Flag => vec![Found::new(source, "1")],
                Kind::Count => vec![Found::new(source, values.len().to_string())],
                Kind::One(_) | Kind::List(_) | Kind::Perhaps(_) | Kind::Many(_) => {
                    values.iter().map(|value| Found::new(source.clone(), value)).collect()
                }
            });
        }
        if name == "scope" {
            let letter = |letter| self.given.options.iter().any(|(given, _)| *given == letter);
            for (short, value) in [("g", "group"), ("c", "main")] {
                if letter(short) {
                    return Some(vec![Found::new(Source::Flag(short), value)]);
                }
            }
        }
        let second = (name == "grace").then_some(GRACE_EXIT_TIMEOUT);
        let mut variables = opt.variable.into_iter().chain(second);
        let found = variables.find_map(|variable| Some((variable, self.variable(variable)?)));
        let Some((variable, value)) = found else {
            return self
                .says(name)
                .map(|(who, value)| vec![Found::new(Source::Variable(who), value)]);
        };
        let lines: Vec<&[u8]> = match opt.kind {
            Kind::Many(_) => value.split(|byte| *byte == b'\n').collect(),
            Kind::One(_) | Kind::List(_) | Kind::Perhaps(_) | Kind::Flag | Kind::Count => {
                vec![value]
            }
        };
        let lines = lines.into_iter().map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let found =
            |line: &[u8]| Found::new(Source::Variable(variable), OsString::from_vec(line.to_vec()));
        Some(lines.map(found).collect())
    }

    /// A variable that is set to nothing is not set: templates leave such behind.
    fn variable(&self, name: &str) -> Option<&[u8]> {
        let found = self.variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value).filter(|value| !value.trim_ascii().is_empty())
    }

    /// What a variable of the program stood in for says.
    pub(super) fn says(&self, name: &str) -> Option<(&'static str, &'static str)> {
        self.place.persona.says(name, self.variables)
    }

    /// Whether anybody has said anything of this option.
    pub(super) fn asks_for(&self, name: &'static str) -> bool {
        let said = |list: &[Found]| !list.is_empty();
        self.above_file(name).is_some_and(|list| said(&list))
            || self.of_file(name).is_some_and(said)
            || said(&self.of_profile(name))
    }

    pub(super) fn of_file(&self, name: &str) -> Option<&[Found]> {
        let found = self.contents.options.iter().find(|(known, _)| *known == name);
        found.map(|(_, found)| &found[..])
    }

    pub(super) fn of_profile(&self, name: &str) -> Vec<Found> {
        let Some(chosen) = &self.profile else { return Vec::new() };
        let settings = chosen.profile.settings.iter().filter(|(known, _)| *known == name);
        let value = |(_, value): &(&str, &str)| {
            Found::new(Source::Profile(chosen.profile.name), value.replace("{}", &chosen.argument))
        };
        settings.map(value).collect()
    }

    #[cold]
    pub(super) fn wrong(&mut self, option: &str, found: &Found, why: impl fmt::Display) {
        let why = why.to_string();
        let mistake = match (&found.source, &found.at, &self.file, &self.profile) {
            (_, Some(at), Some(file), _) => file.wrong(at, &why),
            (Source::Profile(_), _, _, Some(chosen)) => {
                let why = format!("its {option} is '{}': {why}", found.text());
                let asked = chosen.found.clone();
                return self.wrong("profile", &asked, why);
            }
            (Source::Default(_), ..) => {
                format!("unable to use --{option} '{}' ({}): {why}", found.text(), found.source)
            }
            _ => format!("unable to use {} '{}': {why}", found.source, found.text()),
        };
        self.mistakes.push((found.at.as_ref().map(|at| at.span.start), mistake));
    }

    /// Something is wrong that is no one value's fault.
    pub(super) fn wrong_at_all(&mut self, mistake: String) {
        self.mistakes.push((None, mistake));
    }

    /// All that is wrong: flags and variables as they were read, then the file from its top.
    pub(super) fn mistakes(&mut self) -> Vec<String> {
        self.mistakes.sort_by_key(|(place, _)| *place);
        self.mistakes.drain(..).map(|(_, mistake)| mistake).collect()
    }

    /// Reads values that were found.
    pub(super) fn read<T>(
        &mut self,
        option: &str,
        found: &[Found],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.read_of(option, found, |value| utf8(value).and_then(&parse))
    }

    fn read_of<T>(
        &mut self,
        option: &str,
        found: &[Found],
        parse: impl Fn(&OsStr) -> Result<T, String>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for found in found {
            match parse(&found.value) {
                Ok(value) => parsed.push(value),
                Err(why) => self.wrong(option, found, why),
            }
        }
        parsed
    }

    /// All values of an option that can be repeated.
    pub(super) fn each<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.each_of(name, |value| utf8(value).and_then(&parse))
    }

    /// The same for values that may be any bytes: paths, commands.
    pub(super) fn each_of<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&OsStr) -> Result<T, String>,
    ) -> Vec<T> {
        let found = self.values(name);
        let before = self.mistakes.len();
        let parsed = self.read_of(name, &found, &parse);
        if self.mistakes.len() > before {
            self.failed.push(name);
        }
        // A mistake in the file is one even where something else counts more.
        if !found.iter().any(|found| found.at.is_some()) {
            let hidden = self.of_file(name).map(<[_]>::to_vec).unwrap_or_default();
            self.read_of(name, &hidden, &parse);
        }
        if !found.is_empty() {
            self.found.push((name, found));
        }
        parsed
    }

    /// The value of an option; the last word counts.
    pub(super) fn one<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.each(name, parse).pop()
    }

    /// The same for a value that may be any bytes.
    pub(super) fn one_of<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&OsStr) -> Result<T, String>,
    ) -> Option<T> {
        self.each_of(name, parse).pop()
    }

    /// The value of an option whose default (with the reason for it) is known only to the caller.
    pub(super) fn one_or<T>(
        &mut self,
        name: &'static str,
        default: Option<(&'static str, &'static str)>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.one(name, &parse);
        if value.is_some() || self.has_failed(name) {
            return value;
        }
        let (value, why) = default?;
        let found = vec![Found::new(Source::Default(why), value)];
        let parsed = self.read(name, &found, parse).pop();
        self.found.push((name, found));
        parsed
    }

    /// Makes known a default that is no text of its option.
    pub(super) fn note(&mut self, name: &'static str, value: &str, why: &'static str) {
        self.found.push((name, vec![Found::new(Source::Default(why), value)]));
    }

    /// Whether there was something that could not be read.
    pub(super) fn has_failed(&self, name: &str) -> bool {
        self.failed.contains(&name)
    }

    /// Whether this descriptor was inherited open.
    pub(super) fn is_open(&self, number: i32) -> bool {
        self.place.is_open.is_some_and(|is_open| is_open(number))
    }

    /// What an option was found to be; `None` if it could not be read.
    pub(super) fn known(&self, name: &str) -> Option<&Found> {
        if self.has_failed(name) {
            return None;
        }
        self.found.iter().find(|(known, _)| *known == name).and_then(|(_, found)| found.last())
    }

    /// All that an option was found to be.
    pub(super) fn all_known(&self, name: &str) -> &[Found] {
        let found = self.found.iter().find(|(known, _)| *known == name);
        found.map_or(&[], |(_, found)| &found[..])
    }

    /// What an option was found to be, if somebody asked for it.
    pub(super) fn asked(&self, name: &str) -> Option<&Found> {
        self.known(name).filter(|found| !matches!(found.source, Source::Default(_)))
    }

    /// The values in force, one entry for each option.
    pub(super) fn settings(&mut self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for opt in OPTIONS.iter().filter(|opt| opt.group != Group::Hooks || !is_hook(opt.kind)) {
            let name = opt.name;
            let found = self.all_known(name);
            let entry = match found.first() {
                Some(first) => {
                    let texts: Vec<String> = found.iter().map(Found::text).collect();
                    Some((texts.join(", "), first.source.clone()))
                }
                None => unread_default(name)
                    .map(|(value, why)| (value.to_owned(), Source::Default(why))),
            };
            if let Some((value, source)) = entry.filter(|_| name != "check") {
                settings.push(Setting { name, value, source });
            }
        }
        settings
    }

    /// `-g` and `-c` are flags of `--scope`.
    pub(super) fn short_scope(&mut self) {
        let letters = [("g", "group"), ("c", "main")];
        let given = |name: &str| self.given.options.iter().find(|(given, _)| *given == name);
        let short: Vec<(&str, &str)> =
            letters.into_iter().filter(|(letter, _)| given(letter).is_some()).collect();
        let named = given("scope").and_then(|(_, values)| values.last()).cloned();
        match (&short[..], named) {
            ([_, _, ..], _) => {
                self.wrong_at_all(
                    "unable to use -g together with -c: they are two scopes; choose one".to_owned(),
                );
            }
            ([(letter, value)], Some(named)) if named != OsStr::new(value) => {
                self.wrong_at_all(format!(
                    "unable to use -{letter} together with --scope {}: they are two scopes; choose one",
                    named.to_string_lossy()
                ));
            }
            _ => {}
        }
    }

    pub(super) fn unknown_variables(&mut self) {
        for (name, _) in self.variables {
            let ours = name.starts_with("GRACEINIT_");
            let known = OPTIONS.iter().any(|opt| opt.variable == Some(name));
            // Those of hooks are there when graceinit runs inside a hook.
            if ours && !known && !environment::NAMES.contains(name) {
                self.warnings.push(format!(
                    "{name} is no variable of graceinit and is ignored (a Kubernetes service called \
                     graceinit makes such variables; graceinit --help lists ours)"
                ));
            }
        }
    }
}

fn utf8(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| "not UTF-8 text; write it in UTF-8".to_owned())
}

fn is_hook(kind: Kind) -> bool {
    kind == Kind::Many("CMD")
}

/// Who a name or a number is.
pub(super) fn user(text: &str) -> Result<User, String> {
    let read = |path| std::fs::read(path).unwrap_or_default();
    let text_of = |path| String::from_utf8_lossy(&read(path)).into_owned();
    user::resolve(text, &text_of("/etc/passwd"), &text_of("/etc/group"))
        .map_err(|why| format!("{why}; write a name from there, or a number"))
}

/// The defaults, and why they are so where that depends on the place.
pub(super) fn default(name: &str, place: Place) -> Option<(&'static str, &'static str)> {
    let why = match place {
        Place { kubernetes: true, .. } => "in Kubernetes",
        Place { container: true, .. } => "in Docker or Podman",
        Place { .. } => "outside containers",
    };
    // Docker and Podman kill PID 1 ten seconds after `stop`; 7 s and a reserve of 2 s fit.
    let short = place.container && !place.kubernetes;
    let named = place.persona != Persona::Graceinit;
    match name {
        "grace" => Some((if short { "7s" } else { "15s" }, why)),
        "post-stop-timeout" => Some((if short { "2s" } else { "5s" }, why)),
        // The others say nothing unless something is wrong, wherever they are.
        "log-level" if named => Some(("warn", place.persona.why())),
        "log-level" => Some((if place.kubernetes { "info" } else { "warn" }, why)),
        "log-format" => Some(match place {
            Place { kubernetes: true, terminal: false, .. } => ("json", "in Kubernetes"),
            Place { .. } => ("text", ""),
        }),
        "stop-on" => Some(("TERM,INT", "")),
        "reload-on" => Some(("HUP", "")),
        "scope" => Some((place.persona.scope(), place.persona.why())),
        "hook-timeout" => Some(("5s", "")),
        "hook-backoff" => Some(("200ms", "")),
        _ => None,
    }
}

/// The defaults of options that are more than one value.
fn unread_default(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "grace-max" => Some(("as --grace", "")),
        "stop-signal" => Some(("as received", "")),
        "stop-again" => Some(("ignore", "(kill for a Ctrl-C typed at the terminal)")),
        "grace-exit" => Some(("137", "")),
        "ready" => Some(("started", "")),
        "drain" => Some(("off", "")),
        "hook-retries" => Some(("0", "(3 for on-stop)")),
        _ => None,
    }
}
