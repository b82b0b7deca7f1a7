//! Reads the values of options, and collects what is wrong with them: all mistakes are reported at once.

use std::ffi::OsStr;
use std::fmt;

use super::file::{self, File};
use super::lookup::Lookup;
use super::source::{Found, Source};
use super::{Place, Setting, Variables, defaults, profiles};
use crate::cli::persona::Persona;
use crate::cli::{Given, Group, Kind, OPTIONS, Opt, OptionId};
use crate::types::text::in_one_line;

/// One mistake.
pub(super) struct Mistake {
    /// The place in the file, for a mistake in the file.
    place: Option<usize>,
    text: String,
    /// The line of the file and a caret below it.
    quote: String,
}

impl Mistake {
    /// The message. The text holds values and paths, which must not make lines of their own.
    fn message(self) -> String {
        format!("{}{}", in_one_line(&self.text), self.quote)
    }
}

/// The options as far as they were read.
pub(super) struct Reader<'a> {
    pub(super) lookup: Lookup<'a>,
    mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<String>,
    /// The values of each option, in the order of reading.
    found: Vec<(OptionId, Vec<Found>)>,
    /// Options whose value could not be read: nothing may be concluded from them.
    failed: Vec<OptionId>,
}

impl<'a> Reader<'a> {
    /// Opens the file and chooses the profile, if there are such options.
    pub(super) fn new(given: &'a Given, variables: &'a Variables<'a>, place: Place) -> Self {
        let mut reader = Reader::without_file(given, variables, place);
        let mistakes = reader.open_file();
        reader.mistakes.extend(mistakes);
        if let Some(found) = reader.lookup.values(OptionId::Profile).pop() {
            reader.choose_profile(found);
        }
        reader
    }

    /// Reads neither a file nor a profile.
    pub(super) fn without_file(
        given: &'a Given,
        variables: &'a Variables<'a>,
        place: Place,
    ) -> Self {
        Reader {
            lookup: Lookup::new(given, variables, place),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            found: Vec::new(),
            failed: Vec::new(),
        }
    }

    pub(super) fn persona(&self) -> Persona {
        self.lookup.place.persona
    }

    /// Opens the file of `--config`, and gives what is wrong with it.
    pub(super) fn open_file(&mut self) -> Vec<Mistake> {
        match self.lookup.above_file(OptionId::Config).and_then(|mut found| found.pop()) {
            Some(found) => self.read_file(found),
            None => Vec::new(),
        }
    }

    // Not inlined, so that a life without a file needs no stack for it.
    #[cold]
    fn read_file(&mut self, found: Found) -> Vec<Mistake> {
        let mistakes = match File::read(&found.value) {
            Ok(mut file) => {
                self.lookup.contents = file.contents();
                self.lookup.file = Some(file);
                let mistakes = self.lookup.contents.mistakes.drain(..);
                mistakes
                    .map(|(place, file::Mistake { text, quote })| {
                        let place = Some(place);
                        Mistake { place, text, quote }
                    })
                    .collect()
            }
            Err(why) => vec![self.mistake(OptionId::Config.name(), &found, &why)],
        };
        self.found.push((OptionId::Config, vec![found]));
        mistakes
    }

    #[cold]
    fn choose_profile(&mut self, found: Found) {
        match profiles::choose(&found) {
            Ok(chosen) => self.lookup.profile = Some(chosen),
            Err(why) => self.wrong(OptionId::Profile, &found, why),
        }
        self.found.push((OptionId::Profile, vec![found]));
    }

    // ---- mistakes ----------------------------------------------------------------------------

    /// Records what is wrong with a value of an option.
    pub(super) fn wrong(&mut self, id: OptionId, found: &Found, why: impl fmt::Display) {
        self.wrong_key(id.name(), found, why);
    }

    /// The same for a key of a hook.
    #[cold]
    pub(super) fn wrong_key(&mut self, key: &str, found: &Found, why: impl fmt::Display) {
        let mistake = self.mistake(key, found, &why.to_string());
        self.mistakes.push(mistake);
    }

    /// Records what is wrong with more than one value, or with a missing one.
    pub(super) fn wrong_at_all(&mut self, text: String) {
        self.mistakes.push(Mistake { place: None, text, quote: String::new() });
    }

    pub(super) fn add_mistakes(&mut self, mistakes: Vec<Mistake>) {
        self.mistakes.extend(mistakes);
    }

    fn mistake(&self, key: &str, found: &Found, why: &str) -> Mistake {
        let text = match (&found.source, &found.at, &self.lookup.file, &self.lookup.profile) {
            (_, Some(at), Some(file), _) => {
                let file::Mistake { text, quote } = file.wrong(at, why);
                return Mistake { place: Some(at.span.start), text, quote };
            }
            (Source::Profile(_), _, _, Some(chosen)) => {
                let why = format!("its {key} is '{}': {why}", found.text());
                return self.mistake(OptionId::Profile.name(), &chosen.found, &why);
            }
            (source, ..) if source.is_default() => {
                format!("unable to use --{key} '{}' ({}): {why}", found.text(), found.source)
            }
            _ => format!("unable to use {} '{}': {why}", found.source, found.text()),
        };
        Mistake { place: None, text, quote: String::new() }
    }

    /// All mistakes: first those of flags and variables in the order of reading, then those of the file from its top.
    pub(super) fn mistakes(&mut self) -> Vec<String> {
        self.mistakes.sort_by_key(|mistake| mistake.place);
        self.mistakes.drain(..).map(Mistake::message).collect()
    }

    // ---- reading -----------------------------------------------------------------------------

    /// Reads values that were found.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        found: &[Found],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.read_bytes(key, found, |value| utf8(value).and_then(&parse))
    }

    fn read_bytes<T>(
        &mut self,
        key: &str,
        found: &[Found],
        parse: impl Fn(&OsStr) -> Result<T, String>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for found in found {
            match parse(&found.value) {
                Ok(value) => parsed.push(value),
                Err(why) => self.wrong_key(key, found, why),
            }
        }
        parsed
    }

    /// All values of an option that can be repeated.
    pub(super) fn each<T>(
        &mut self,
        id: OptionId,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.each_bytes(id, |value| utf8(value).and_then(&parse))
    }

    /// The same for values that may be any bytes: paths and commands.
    pub(super) fn each_bytes<T>(
        &mut self,
        id: OptionId,
        parse: impl Fn(&OsStr) -> Result<T, String>,
    ) -> Vec<T> {
        let found = self.lookup.values(id);
        let before = self.mistakes.len();
        let parsed = self.read_bytes(id.name(), &found, &parse);
        if self.mistakes.len() > before {
            self.failed.push(id);
        }
        // The whole file is checked, also where another source counts more.
        if !found.iter().any(|found| found.at.is_some()) {
            let hidden = self.lookup.in_file(id).map(<[_]>::to_vec).unwrap_or_default();
            self.read_bytes(id.name(), &hidden, &parse);
        }
        if !found.is_empty() {
            self.found.push((id, found));
        }
        parsed
    }

    /// The value of an option; the last one counts.
    pub(super) fn one<T>(
        &mut self,
        id: OptionId,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.each(id, parse).pop()
    }

    /// The same for a value that may be any bytes.
    pub(super) fn one_bytes<T>(
        &mut self,
        id: OptionId,
        parse: impl Fn(&OsStr) -> Result<T, String>,
    ) -> Option<T> {
        self.each_bytes(id, parse).pop()
    }

    /// The value of an option whose default depends on other options; with the reason for that default.
    pub(super) fn one_or<T>(
        &mut self,
        id: OptionId,
        default: Option<(&'static str, &'static str)>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.one(id, &parse);
        if value.is_some() || self.has_failed(id) {
            return value;
        }
        let (value, reason) = default?;
        let found = vec![Found::new(Source::Default(reason), value)];
        let parsed = self.read(id.name(), &found, parse).pop();
        self.found.push((id, found));
        parsed
    }

    /// Records a default that is not in the notation of the option.
    pub(super) fn record_default(&mut self, id: OptionId, value: &str, reason: &'static str) {
        self.found.push((id, vec![Found::new(Source::Default(reason), value)]));
    }

    /// Records the value in force in place of what was read.
    pub(super) fn record(&mut self, id: OptionId, found: Found) {
        self.found.retain(|(known, _)| *known != id);
        self.found.push((id, vec![found]));
    }

    // ---- what was read -----------------------------------------------------------------------

    /// Whether a value of the option could not be read.
    pub(super) fn has_failed(&self, id: OptionId) -> bool {
        self.failed.contains(&id)
    }

    /// The value in force; `None` if it could not be read.
    pub(super) fn known(&self, id: OptionId) -> Option<&Found> {
        if self.has_failed(id) { None } else { self.all_known(id).last() }
    }

    /// The same with its source, for a message about another value.
    pub(super) fn known_with_source(&self, id: OptionId) -> String {
        self.known(id).map_or(String::new(), |found| found.with_source(id))
    }

    /// All values in force, also those that could not be read.
    pub(super) fn all_known(&self, id: OptionId) -> &[Found] {
        let found = self.found.iter().find(|(known, _)| *known == id);
        found.map_or(&[], |(_, found)| &found[..])
    }

    /// The value in force, unless it is a default.
    pub(super) fn asked(&self, id: OptionId) -> Option<&Found> {
        self.known(id).filter(|found| !found.source.is_default())
    }

    /// The values in force, one entry for each option; hooks are listed elsewhere.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let is_hook = |group, kind| group == Group::Hooks && matches!(kind, Kind::Many(_));
        let mut settings = Vec::new();
        let shown = |opt: &&Opt| !is_hook(opt.group, opt.kind) && opt.group != Group::Rehearsal;
        for opt in OPTIONS.iter().filter(shown) {
            let found = self.all_known(opt.id);
            let entry = match found.first() {
                Some(first) => {
                    let texts: Vec<String> = found.iter().map(Found::text).collect();
                    Some((texts.join(", "), first.source.clone()))
                }
                None => defaults::description(opt.id, self.lookup.contract)
                    .map(|(value, reason)| (value, Source::Default(reason))),
            };
            if let Some((value, source)) = entry.filter(|_| opt.id != OptionId::Check) {
                settings.push(Setting { option: opt.id, value, source });
            }
        }
        settings
    }
}

fn utf8(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| "not UTF-8 text; write it in UTF-8".to_owned())
}
