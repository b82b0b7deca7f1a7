//! Where the values of an option are looked up: flag, variable, file, profile, default, in this order.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::defaults;
use super::file::{Contents, File};
use super::platform::Contract;
use super::profiles::Chosen;
use super::source::{Found, Source};
use super::{GRACE_EXIT_TIMEOUT, Place, Variables};
use crate::cli::{Given, Kind, OptionId};

/// All sources.
pub(super) struct Lookup<'a> {
    pub(super) given: &'a Given,
    pub(super) variables: &'a Variables<'a>,
    pub(super) file: Option<File>,
    /// What the file says.
    pub(super) contents: Contents,
    pub(super) profile: Option<Chosen>,
    /// The defaults depend on it.
    pub(super) place: Place,
    /// The platform whose defaults count.
    pub(super) contract: Contract,
    /// For `--check`: the platform as a run has it.
    pub(super) usual: Option<Contract>,
}

impl<'a> Lookup<'a> {
    /// Has neither a file nor a profile yet.
    pub(super) fn new(given: &'a Given, variables: &'a Variables<'a>, place: Place) -> Self {
        let (file, contents, profile) = (None, Contents::default(), None);
        let (contract, usual) = (Contract::default(), None);
        Lookup { given, variables, file, contents, profile, place, contract, usual }
    }

    /// Whether there is no setting at all: every option has its default.
    pub(super) fn is_empty(&self) -> bool {
        self.given.options.is_empty() && self.variables.is_empty()
    }

    /// The values of an option, from the source that counts most.
    pub(super) fn values(&self, id: OptionId) -> Vec<Found> {
        if let Some(found) = self.above_file(id).or_else(|| self.in_file(id).map(<[_]>::to_vec)) {
            return found;
        }
        let mut found = self.in_profile(id);
        let stops = self.contract.platform.stops;
        if let (OptionId::StopOn, Some(found), false) = (id, found.last_mut(), stops.is_empty()) {
            // A profile knows the server, not the platform.
            found.value.push(format!(",{stops}"));
        }
        if !found.is_empty() {
            return found;
        }
        defaults::default(id, self.place, self.contract).into_iter().collect()
    }

    /// The values of the flag, else of the variable.
    pub(super) fn above_file(&self, id: OptionId) -> Option<Vec<Found>> {
        let values = self.given.values(id);
        if !values.is_empty() {
            let source = Source::Flag(id);
            return Some(match id.opt().kind {
                Kind::Flag => vec![Found::new(source, "1")],
                Kind::Count => vec![Found::new(source, values.len().to_string())],
                Kind::One(_) | Kind::List(_) | Kind::Optional(_) | Kind::Many(_) => {
                    values.iter().map(|value| Found::new(source.clone(), value)).collect()
                }
            });
        }
        if id == OptionId::Scope {
            for (letter, value) in SCOPE_LETTERS {
                if self.given.has(letter) {
                    return Some(vec![Found::new(Source::Flag(letter), value)]);
                }
            }
        }
        if self.variables.is_empty() {
            return None;
        }
        let second = (id == OptionId::Grace).then_some(GRACE_EXIT_TIMEOUT);
        let mut variables = id.opt().variable.into_iter().chain(second);
        let found = variables.find_map(|variable| Some((variable, self.variable(variable)?)));
        let Some((variable, value)) = found else {
            let (variable, value) = self.replaced_programs_value(id)?;
            return Some(vec![Found::new(Source::Variable(variable), value)]);
        };
        let lines: Vec<&[u8]> = match id.opt().kind {
            Kind::Many(_) => value.split(|byte| *byte == b'\n').collect(),
            Kind::One(_) | Kind::List(_) | Kind::Optional(_) | Kind::Flag | Kind::Count => {
                vec![value]
            }
        };
        let lines = lines.into_iter().map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let found =
            |line: &[u8]| Found::new(Source::Variable(variable), OsString::from_vec(line.to_vec()));
        Some(lines.map(found).collect())
    }

    /// An empty variable counts as unset: templates leave such variables behind.
    pub(super) fn variable(&self, name: &str) -> Option<&[u8]> {
        let found = self.variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value).filter(|value| !value.trim_ascii().is_empty())
    }

    /// The value that a variable of the replaced program gives to an option, and that variable.
    pub(super) fn replaced_programs_value(
        &self,
        id: OptionId,
    ) -> Option<(&'static str, &'static str)> {
        self.place.persona.value_of(id, self.variables)
    }

    /// Whether any source but the defaults has a value for an option.
    pub(super) fn is_set(&self, id: OptionId) -> bool {
        let some = |list: &[Found]| !list.is_empty();
        self.above_file(id).is_some_and(|list| some(&list))
            || self.in_file(id).is_some_and(some)
            || some(&self.in_profile(id))
    }

    pub(super) fn in_file(&self, id: OptionId) -> Option<&[Found]> {
        let found = self.contents.options.iter().find(|(known, _)| *known == id);
        found.map(|(_, found)| &found[..])
    }

    pub(super) fn in_profile(&self, id: OptionId) -> Vec<Found> {
        self.profile.as_ref().map_or(Vec::new(), |chosen| chosen.values(id))
    }
}

/// The flags that are short for a value of `--scope`.
pub(super) const SCOPE_LETTERS: [(OptionId, &str); 2] =
    [(OptionId::ScopeGroup, "group"), (OptionId::ScopeMain, "main")];
