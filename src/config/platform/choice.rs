//! Which platform counts: `--platform`, and the word of `--check` or `--rehearse`.

use std::time::Duration;

use super::{Contract, Detected, PLATFORMS, Platform, by_name};
use crate::cli::OptionId;
use crate::config::reader::Reader;
use crate::config::source::{Found, Source};
use crate::config::{Check, parse};

/// What is wrong with a name that no platform has. `others`: what else is allowed.
fn unknown(others: &str) -> String {
    let names: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name).collect();
    format!(
        "not a platform; write {others} or one of {}, and behind it :DUR for another time than the usual \
         one (ecs:45s)",
        names.join(", ")
    )
}

/// `--check`; `None`: no.
pub(in crate::config) fn check(text: &str) -> Result<Option<Check>, String> {
    if text.is_empty() || text == "plain" {
        return Ok(Some(Check::Plain));
    }
    if let Ok(yes) = parse::truth(text) {
        return Ok(yes.then_some(Check::Plain));
    }
    let limit = |platform, time| Ok(Some(Check::Limit { platform, time }));
    match text.split_once(':') {
        Some((name, time)) if by_name(name).is_some() => {
            limit(by_name(name), Some(parse::some_time(time)?))
        }
        None if by_name(text).is_some() => limit(by_name(text), None),
        // A time alone.
        _ => match parse::some_time(text) {
            Ok(time) => limit(None, Some(time)),
            Err(_) => Err(unknown("a time (30s)")),
        },
    }
}

/// `--platform`
#[derive(Clone, Copy, Debug)]
struct Choice {
    which: Which,
    /// The time that the platform gives.
    time: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Auto,
    None,
    Named(&'static Platform),
}

fn choice(text: &str) -> Result<Choice, String> {
    let (name, time) = match text.split_once(':') {
        Some((name, time)) => (name, Some(parse::some_time(time)?)),
        None => (text, None),
    };
    let which = match name {
        "auto" => Which::Auto,
        "none" => Which::None,
        _ => Which::Named(by_name(name).ok_or_else(|| unknown("auto, none"))?),
    };
    Ok(Choice { which, time })
}

/// Variables of platforms that are read.
pub(in crate::config) const VARIABLES: [&str; 2] =
    ["RAILWAY_DEPLOYMENT_DRAINING_SECONDS", "WEBSITES_CONTAINER_STOP_TIME_LIMIT"];

/// The platform of a rehearsal where none is named and none is found.
const LAPTOP: &str = "docker";

/// Chooses the platform whose defaults count: that of `--check` or `--rehearse`, else of `--platform`, else the one that was found.
pub(in crate::config) fn choose(reader: &mut Reader<'_>) {
    let detected = reader.lookup.place.detected;
    let asked = reader.one(OptionId::Platform, choice);
    let Choice { which, time } = asked.unwrap_or(Choice { which: Which::Auto, time: None });
    let found = match which {
        Which::Auto => detected,
        Which::None => Detected::none(detected.is_first),
        Which::Named(platform) => Detected { platform, ..detected },
    };
    let mut contract = contract(reader, found.platform, time);
    if let Which::Auto = which {
        let name = with_time(found.platform.name, time);
        let source =
            if found.by.is_empty() { Source::Default("") } else { Source::Marker(found.by) };
        reader.record(OptionId::Platform, Found::new(source, name));
    }
    let mut word = reader.lookup.values(OptionId::Check).pop();
    let rehearsal = reader.lookup.values(OptionId::Rehearse).pop();
    let rehearses = rehearsal.is_some();
    word = rehearsal.or(word);
    let limit = word.as_ref().and_then(|word| match check(&word.text()) {
        Ok(Some(Check::Limit { platform, time })) => Some((platform, time)),
        // On a laptop there is no platform to be found, but the app is to run in a container.
        Ok(Some(Check::Plain)) if rehearses && found.by.is_empty() => match which {
            Which::Auto => Some((by_name(LAPTOP), None)),
            Which::None | Which::Named(_) => None,
        },
        Ok(_) | Err(_) => None,
    });
    if let (Some(word), Some((platform, limit))) = (word, limit) {
        let same = platform.is_none_or(|platform| platform == contract.platform);
        if let Some(platform) = platform.filter(|_| !same) {
            contract = self::contract(reader, platform, None);
        }
        // What a run takes, which knows nothing of the check.
        reader.lookup.usual = Some(contract);
        if !(same && time.is_some()) {
            contract.kill = limit.or(contract.kill);
        }
        if platform.is_some() {
            let name = with_time(contract.platform.name, limit);
            reader.record(OptionId::Platform, Found::new(word.source, name));
        }
    }
    reader.lookup.contract = contract;
}

fn with_time(name: &str, time: Option<Duration>) -> String {
    time.map_or(name.to_owned(), |time| format!("{name}:{}", parse::written(time)))
}

fn contract(
    reader: &mut Reader<'_>,
    platform: &'static Platform,
    time: Option<Duration>,
) -> Contract {
    let kill = time.or_else(|| told(reader, platform)).or(platform.kill);
    Contract { platform, kill }
}

/// The time that the platform's own variable has. The variable is not graceinit's, so a mistake in it is a warning.
fn told(reader: &mut Reader<'_>, platform: &'static Platform) -> Option<Duration> {
    let name = platform.seconds?;
    let value = String::from_utf8_lossy(reader.lookup.variable(name)?).into_owned();
    let usual = platform.kill.map(parse::written).unwrap_or_default();
    let Ok(number) = value.trim().parse() else {
        reader.warnings.push(format!(
            "{name} '{value}' is not a whole number of seconds; {usual} until SIGKILL are assumed \
             ({}'s default)",
            platform.title
        ));
        return None;
    };
    let time = Duration::from_secs(number);
    match platform.most {
        Some(most) if most < time => {
            let most_text = parse::written(most);
            reader.warnings.push(format!(
                "{name} '{value}' is more than {} allows; {most_text} until SIGKILL are assumed",
                platform.title
            ));
            Some(most)
        }
        _ => Some(time),
    }
}

/// Warns of what the platform cannot promise. `drains`: there is a drain.
pub(in crate::config) fn warn(reader: &mut Reader<'_>, drains: bool) {
    let Contract { platform, kill } = reader.lookup.contract;
    reader.warnings.extend(platform.warning.map(str::to_owned));
    reader.warnings.extend(platform.no_drain.filter(|_| drains).map(str::to_owned));
    if let (Some(Duration::ZERO), Some(name)) = (kill, platform.seconds) {
        reader.warnings.push(format!(
            "{} kills the container at once: set {name} to the seconds that a stop may take",
            platform.title
        ));
    }
    if let (Some(kill), Some(most)) = (kill, platform.most.filter(|most| Some(*most) < kill)) {
        reader.warnings.push(format!(
            "{} gives a stop at most {}, not {}",
            platform.title,
            parse::written(most),
            parse::written(kill)
        ));
    }
}
