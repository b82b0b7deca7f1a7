//! `--drain` and its limits: how long the app keeps serving after a stop request.

use std::time::Duration;

use super::Ports;
use super::parse;
use super::reader::Reader;
use crate::cli::OptionId;
use crate::machine::budget;
use crate::machine::connections::{Plan, Rules};
use crate::types::Time;

/// `--drain-idle` and `--drain-quiet` where there are no ports; [`read`] has the same values as texts.
const IDLE: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(500);

/// The settings of the drain.
#[derive(Default)]
pub(super) struct Drain {
    pub(super) ports: Option<Ports>,
    delay: Duration,
    acks: Option<u32>,
    quiet: Duration,
    idle: Duration,
    owed: Option<Duration>,
}

impl Drain {
    /// The settings in the form that the machine takes; `None`: there is no drain.
    pub(super) fn plan(&self) -> Option<Plan> {
        let looks = self.ports.is_some();
        let rules = Rules { idle: self.idle, owed: self.owed };
        let plan = Plan { looks, delay: self.delay, acks: self.acks, quiet: self.quiet, rules };
        (looks || !self.delay.is_zero()).then_some(plan)
    }
}

#[cold]
pub(super) fn read(reader: &mut Reader<'_>) -> Drain {
    let ports = reader.one(OptionId::Drain, parse::ports);
    // Without ports there are no defaults to show.
    let usual = |value, reason| ports.is_some().then_some((value, reason));
    let delay = reader.one_or(OptionId::DrainDelay, usual("2s", "with --drain"), parse::duration);
    let acks = reader.one(OptionId::DrainAcks, parse::some_count);
    let idle = reader.one_or(OptionId::DrainIdle, usual("1s", ""), parse::duration);
    let quiet = reader.one_or(OptionId::DrainQuiet, usual("500ms", ""), parse::duration);
    let owed = reader.one(OptionId::DrainOwed, parse::some_time);
    Drain {
        ports,
        delay: delay.unwrap_or_default(),
        acks,
        quiet: quiet.unwrap_or(QUIET),
        idle: idle.unwrap_or(IDLE),
        owed,
    }
}

/// Refuses what cannot be used together with another setting. `hooks`: there are on-stop hooks.
#[cold]
pub(super) fn conflicts(reader: &mut Reader<'_>, drain: &Drain, grace: Duration, hooks: bool) {
    if drain.ports.is_none() && !reader.has_failed(OptionId::Drain) {
        for id in [OptionId::DrainIdle, OptionId::DrainQuiet, OptionId::DrainOwed] {
            let why = "it has no effect without ports; add --drain PORT, or remove it";
            no_effect(reader, id, why);
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
    let (found, begin) = (found.clone(), Time(0));
    let most = budget::drain_end(begin.after(grace), grace, hooks).since(begin);
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
