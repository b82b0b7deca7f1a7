//! `--drain` and what belongs to it: how long the app keeps serving while others learn that it is
//! going.

use std::time::Duration;

use super::Ports;
use super::conflicts::length;
use super::parse;
use super::reader::Reader;
use crate::machine::budget;
use crate::machine::connections::{Plan, Rules};
use crate::types::Time;

/// `--drain-idle` is by default half of the drain's time, but no more than this: a longer one costs more
/// time than it saves answers.
const LONGEST_IDLE: Duration = Duration::from_secs(8);

/// What was said of it.
#[derive(Default)]
pub(super) struct Drain {
    pub(super) ports: Option<Ports>,
    delay: Duration,
    acks: Option<u32>,
    max: Option<Duration>,
    idle: Option<Duration>,
    owed: Option<Duration>,
}

impl Drain {
    /// What the machine is told; `None`: the app is stopped at once. `time`: what the budget leaves for
    /// the drain.
    pub(super) fn plan(&self, time: Duration) -> Option<Plan> {
        let looks = self.ports.is_some();
        let idle = self.idle.unwrap_or_else(|| usual_idle(time, self.max));
        let rules = Rules { idle, owed: self.owed };
        let Drain { delay, acks, max, .. } = *self;
        let plan = Plan { looks, delay, acks, max, rules };
        (looks || !self.delay.is_zero()).then_some(plan)
    }
}

/// What the budget leaves for the drain. `hooks`: there are on-stop hooks.
pub(super) fn drain_time(grace: Duration, hooks: bool) -> Duration {
    let begin = Time(0);
    budget::drain_end(begin.after(grace), grace, hooks).since(begin)
}

/// The default of `--drain-idle`.
fn usual_idle(time: Duration, max: Option<Duration>) -> Duration {
    (max.map_or(time, |max| max.min(time)) / 2).min(LONGEST_IDLE)
}

impl Reader<'_> {
    /// `time`: what the budget leaves for the drain.
    #[cold]
    pub(super) fn drain(&mut self, time: Duration) -> Drain {
        let ports = self.one("drain", parse::ports);
        // What nobody looks at has no defaults that would be worth showing.
        let usual = |value, why| ports.is_some().then_some((value, why));
        let delay = self.one_or("drain-delay", usual("2s", "with --drain"), parse::duration);
        let acks = self.one("drain-acks", parse::some_count);
        let max = self.one("drain-max", parse::some_time);
        let idle = self.one("drain-idle", parse::duration);
        if ports.is_some() && idle.is_none() && !self.has_failed("drain-idle") {
            let text = length(usual_idle(time, max));
            self.note("drain-idle", &text, "half of the drain, at most 8s");
        }
        self.one("drain-quiet", parse::duration);
        if self.asked("drain-quiet").is_some() && ports.is_some() {
            let text = "--drain-quiet has no effect any more: the drain ends when each connection was idle once \
                        (--drain-idle); leave it out";
            self.warnings.push(text.to_owned());
        }
        let owed = self.one("drain-owed", parse::some_time);
        Drain { ports, delay: delay.unwrap_or_default(), acks, max, idle, owed }
    }

    /// What of it cannot be used together with anything else. `hooks`: there are on-stop hooks.
    #[cold]
    pub(super) fn drain_conflicts(&mut self, drain: &Drain, grace: Duration, hooks: bool) {
        if drain.ports.is_none() && !self.has_failed("drain") {
            for option in ["drain-idle", "drain-max", "drain-quiet", "drain-owed"] {
                let why = "there are no ports that it could be for; write --drain PORT too, or leave it out";
                self.no_effect(option, why);
            }
        }
        if drain.acks.is_some() && !self.has_failed("drain") {
            if self.all_known("listen").is_empty() {
                let why = "there is nothing that answers probes; write --listen ADDR too, or leave it out";
                self.no_effect("drain-acks", why);
            } else if drain.delay.is_zero() && !self.has_failed("drain-delay") {
                let why = "there is no delay that it could shorten; write --drain-delay too, or leave it out";
                self.no_effect("drain-acks", why);
            }
        }
        // A delay that nobody wrote is cut to what there is room for.
        let (Some(found), true) = (self.asked("drain-delay"), self.known("grace").is_some()) else {
            return;
        };
        let (found, most) = (found.clone(), drain_time(grace, hooks));
        if drain.delay > most {
            let beside = if hooks { "beside on-stop hooks " } else { "" };
            let why = format!(
                "{beside}a drain gets {} at most ({}); write a shorter one, or a longer --grace",
                length(most),
                self.told("grace")
            );
            self.wrong("drain-delay", &found, why);
        }
    }

    fn no_effect(&mut self, option: &'static str, why: &str) {
        if let Some(found) = self.asked(option).cloned() {
            self.wrong(option, &found, why);
        }
    }
}
