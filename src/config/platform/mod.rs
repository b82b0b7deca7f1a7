//! The platform that graceinit runs on: how it is recognised, when it kills, and which defaults follow (`--platform`).

use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

use super::parse;
use crate::types::Pid;

pub(super) mod choice;
mod table;

use table::{FIRST, PLAIN, PLATFORMS};

/// One platform.
#[derive(PartialEq, Eq, Debug)]
pub struct Platform {
    /// The name that `--platform` takes.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// Other names.
    also: &'static [&'static str],
    /// The platform is recognised by any of these lists, all markers of the list together.
    markers: &'static [&'static [Marker]],
    /// The usual time from the stop signal to SIGKILL; `None`: nothing kills.
    kill: Option<Duration>,
    /// The default of `--grace` for that time.
    grace: Duration,
    /// The default of `--post-stop-timeout` for that time.
    post_stop: Duration,
    /// The hundredths of another time that `--grace` and `--post-stop-timeout` get; `None`: as above.
    shares: Option<(u32, u32)>,
    /// The variable that has the seconds until SIGKILL.
    seconds: Option<&'static str>,
    /// The longest time that the platform allows.
    most: Option<Duration>,
    /// The signals that begin a stop, beside TERM and INT. The app is sent TERM in their place.
    pub stops: &'static str,
    /// What happens at the end of the time.
    pub killer: &'static str,
    /// How to get a longer time; `{}` stands for its seconds.
    longer: Option<&'static str>,
    /// What cannot be promised.
    warning: Option<&'static str>,
    /// Why there can be no drain.
    no_drain: Option<&'static str>,
    /// Its logs are collected as JSON, and show the whole stop.
    pub(super) logs_json: bool,
}

/// What a platform is recognised by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Marker {
    /// This variable is set.
    Set(&'static str),
    /// This variable has this value.
    Is(&'static str, &'static str),
    /// This variable is the pid of graceinit: children inherit variables, but no pid.
    OwnPid(&'static str),
    /// This file exists. The path as the kernel takes it, and as text.
    File(&'static CStr, &'static str),
}

impl Marker {
    fn name(self) -> &'static str {
        match self {
            Marker::Set(name) | Marker::Is(name, _) | Marker::OwnPid(name) => name,
            Marker::File(_, path) => path,
        }
    }
}

/// The platform that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detected {
    /// The platform.
    pub platform: &'static Platform,
    /// The marker.
    pub by: &'static str,
    /// graceinit is PID 1.
    pub is_first: bool,
}

impl Default for Detected {
    fn default() -> Self {
        Detected::none(false)
    }
}

impl Detected {
    fn none(is_first: bool) -> Detected {
        Detected { platform: if is_first { &FIRST } else { &PLAIN }, by: "", is_first }
    }

    /// Looks for the markers, files last: most platforms are known by a variable.
    pub fn find<'a>(
        own: Pid,
        variable: impl Fn(&str) -> Option<&'a [u8]>,
        exists: impl Fn(&CStr) -> bool,
    ) -> Detected {
        let is_first = own == Pid(1);
        let holds = |marker: &Marker| match marker {
            Marker::Set(name) => variable(name).is_some(),
            Marker::Is(name, value) => variable(name) == Some(value.as_bytes()),
            Marker::OwnPid(name) => {
                variable(name).is_some_and(|pid| pid == own.0.to_string().as_bytes())
            }
            Marker::File(path, _) => exists(path),
        };
        for platform in &PLATFORMS {
            let found = platform.markers.iter().find(|all| all.iter().all(holds));
            if let Some(marker) = found.and_then(|all| all.first()) {
                return Detected { platform, by: marker.name(), is_first };
            }
        }
        Detected::none(is_first)
    }
}

/// A platform, and the time that it gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contract {
    /// The platform.
    pub platform: &'static Platform,
    /// The time from the stop signal to SIGKILL; `None`: nothing kills.
    pub kill: Option<Duration>,
}

impl Contract {
    /// The platform with the time that it usually gives.
    pub fn usual(platform: &'static Platform) -> Contract {
        Contract { platform, kill: platform.kill }
    }

    /// The default of `--grace`.
    pub fn grace(self) -> Duration {
        self.times().0
    }

    /// The default of `--post-stop-timeout`.
    pub fn post_stop(self) -> Duration {
        self.times().1
    }

    fn times(self) -> (Duration, Duration) {
        let Platform { kill: usual, grace, post_stop, shares, .. } = *self.platform;
        let Some(kill) = self.kill.filter(|kill| Some(*kill) != usual) else {
            return (grace, post_stop);
        };
        let (first, second, of) = match (shares, usual) {
            (Some((first, second)), _) => (first.into(), second.into(), 100),
            (None, Some(usual)) => (grace.as_millis(), post_stop.as_millis(), usual.as_millis()),
            (None, None) => return (grace, post_stop),
        };
        // Rounded down to a number that is easy to read.
        let unit = if kill < Duration::from_secs(5) { 10 } else { 100 };
        let share = |share: u128| {
            let span = kill.as_millis() * share / of.max(1) / unit * unit;
            Duration::from_millis(u64::try_from(span).unwrap_or(u64::MAX))
        };
        (share(first), share(second))
    }

    /// The reason of a default. Every life needs it, so it is put together without the larger functions of std::fmt.
    pub(super) fn reason(self) -> String {
        let Contract { platform, kill } = self;
        let time = kill.map(parse::written).unwrap_or_default();
        if platform == &PLAIN && kill.is_none() {
            "outside containers".to_owned()
        } else if platform == &FIRST && kill == FIRST.kill {
            ["for PID 1: a kill after ", &time, " is assumed"].concat()
        } else if platform == &PLAIN || platform == &FIRST {
            ["for a kill after ", &time].concat()
        } else {
            ["on ", platform.name, ": ", platform.title, " kills after ", &time].concat()
        }
    }

    /// How to get at least this time from the platform; `None`: there is no way.
    pub fn longer(self, wanted: Duration) -> Option<String> {
        let Platform { longer, most, .. } = self.platform;
        let allowed = most.is_none_or(|most| wanted <= most);
        longer.filter(|_| allowed).map(|text| text.replace("{}", &wanted.as_secs().to_string()))
    }
}

impl Default for Contract {
    fn default() -> Self {
        Contract { platform: &PLAIN, kill: None }
    }
}

/// The reason of a default.
impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())
    }
}

// ---- names -------------------------------------------------------------------------------------

/// The platform of this name.
pub fn by_name(name: &str) -> Option<&'static Platform> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    PLATFORMS.iter().find(|platform| is(&platform.name) || platform.also.iter().any(is))
}

/// Every platform.
pub fn all() -> impl Iterator<Item = &'static Platform> {
    PLATFORMS.iter()
}

#[cfg(test)]
mod tests;
