//! `--drain` and its limits: how long the app keeps serving after a stop request.

use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::{Drained, Ports, drained};
use crate::cli::OptionId;
use crate::machine::budget;
use crate::machine::connections::{Plan, Rules};
use crate::sys::listen::Address;
use crate::types::Time;

/// `--drain-idle` is by default half of the drain's time, but no more than this: a longer one costs more time than it
/// saves answers.
const LONGEST_IDLE: Duration = Duration::from_secs(8);

/// The settings of the drain.
#[derive(Default)]
pub(super) struct Drain {
    pub(super) ports: Option<Ports>,
    pub(super) unix: Vec<Address>,
    pub(super) words: Vec<Drained>,
    delay: Duration,
    acks: Option<u32>,
    max: Option<Duration>,
    idle: Option<Duration>,
    owed: Option<Duration>,
}

impl Drain {
    /// The settings in the form that the machine takes; `None`: there is no drain. `time`: what the budget leaves for
    /// the drain.
    pub(super) fn plan(&self, time: Duration) -> Option<Plan> {
        let looks = self.ports.is_some();
        let idle = self.idle.unwrap_or_else(|| default_idle(time, self.max));
        let rules = Rules { idle, owed: self.owed };
        let Drain { delay, acks, max, .. } = *self;
        let words = self.words.len();
        let plan = Plan { looks, delay, acks, max, words, rules };
        (looks || words > 0 || !self.delay.is_zero()).then_some(plan)
    }
}

/// What the budget leaves for the drain. `hooks`: there are on-stop hooks.
pub(super) fn time(grace: Duration, hooks: bool) -> Duration {
    let begin = Time(0);
    budget::drain_end(begin.after(grace), grace, hooks).since(begin)
}

fn default_idle(time: Duration, max: Option<Duration>) -> Duration {
    (max.map_or(time, |max| max.min(time)) / 2).min(LONGEST_IDLE)
}

/// `time`: what the budget leaves for the drain.
#[cold]
pub(super) fn read(reader: &mut Reader<'_>, time: Duration) -> Drain {
    let (ports, unix) = reader.one(OptionId::Drain, parse::drained).unzip();
    let unix = unix.unwrap_or_default();
    // Without ports there are no defaults to show.
    let usual = |value, reason| ports.is_some().then_some((value, reason));
    let delay = reader.one_or(OptionId::DrainDelay, usual("2s", "with --drain"), parse::duration);
    let acks = reader.one(OptionId::DrainAcks, parse::some_count);
    let max = reader.one(OptionId::DrainMax, parse::some_time);
    let idle = reader.one(OptionId::DrainIdle, parse::duration);
    if ports.is_some() && idle.is_none() && !reader.has_failed(OptionId::DrainIdle) {
        let text = parse::written(default_idle(time, max));
        reader.record_default(OptionId::DrainIdle, &text, "half of the drain, at most 8s");
    }
    reader.one(OptionId::DrainQuiet, parse::duration);
    if reader.asked(OptionId::DrainQuiet).is_some() && ports.is_some() {
        let text = "--drain-quiet has no effect any more: the drain ends when each connection was idle once \
                    (--drain-idle); remove it";
        reader.warnings.push(text.to_owned());
    }
    let owed = reader.one(OptionId::DrainOwed, parse::some_time);
    let words = drained::read(reader);
    Drain { ports, unix, words, delay: delay.unwrap_or_default(), acks, max, idle, owed }
}

/// Refuses what cannot be used together with another setting. `hooks`: there are on-stop hooks.
#[cold]
pub(super) fn conflicts(reader: &mut Reader<'_>, drain: &Drain, grace: Duration, hooks: bool) {
    if drain.ports.is_none() && !reader.has_failed(OptionId::Drain) {
        let why = "it has no effect without ports; add --drain PORT, or remove it";
        for id in [OptionId::DrainIdle, OptionId::DrainQuiet, OptionId::DrainOwed] {
            no_effect(reader, id, why);
        }
        if drain.words.is_empty() && !reader.has_failed(OptionId::Drained) {
            no_effect(reader, OptionId::DrainMax, why);
        }
    }
    if drain.acks.is_some() && !reader.has_failed(OptionId::Drain) {
        if reader.all_known(OptionId::Listen).is_empty() {
            let why =
                "it has no effect where probes are not answered; add --listen ADDR, or remove it";
            no_effect(reader, OptionId::DrainAcks, why);
        } else if drain.delay.is_zero() && !reader.has_failed(OptionId::DrainDelay) {
            let why = "it has no effect without a delay; add --drain-delay, or remove it";
            no_effect(reader, OptionId::DrainAcks, why);
        }
    }
    // A default delay is cut to the time that there is; a delay that was set is refused.
    let (Some(found), true) =
        (reader.asked(OptionId::DrainDelay), reader.known(OptionId::Grace).is_some())
    else {
        return;
    };
    let (found, most) = (found.clone(), time(grace, hooks));
    if drain.delay > most {
        let beside = if hooks { "beside on-stop hooks " } else { "" };
        let why = format!(
            "{beside}a drain gets {} at most ({}); write a shorter time, or a longer --grace",
            parse::written(most),
            reader.known_with_source(OptionId::Grace)
        );
        reader.wrong(OptionId::DrainDelay, &found, why);
    }
}

fn no_effect(reader: &mut Reader<'_>, id: OptionId, why: &str) {
    if let Some(found) = reader.asked(id).cloned() {
        reader.wrong(id, &found, why);
    }
}
