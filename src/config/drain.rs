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

/// `--drain-idle`, `--drain-quiet`; the texts of the defaults are in [`Reader::drain`].
const IDLE: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(500);

/// What was said of it.
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
    /// What the machine is told; `None`: the app is stopped at once.
    pub(super) fn plan(&self) -> Option<Plan> {
        let looks = self.ports.is_some();
        let rules = Rules { idle: self.idle, owed: self.owed };
        let plan = Plan { looks, delay: self.delay, acks: self.acks, quiet: self.quiet, rules };
        (looks || !self.delay.is_zero()).then_some(plan)
    }
}

impl Reader<'_> {
    #[cold]
    pub(super) fn drain(&mut self) -> Drain {
        let ports = self.one("drain", parse::ports);
        // What nobody looks at has no defaults that would be worth showing.
        let usual = |value, why| ports.is_some().then_some((value, why));
        let delay = self.one_or("drain-delay", usual("2s", "with --drain"), parse::duration);
        let acks = self.one("drain-acks", parse::some_count);
        let idle = self.one_or("drain-idle", usual("1s", ""), parse::duration);
        let quiet = self.one_or("drain-quiet", usual("500ms", ""), parse::duration);
        let owed = self.one("drain-owed", parse::some_time);
        Drain {
            ports,
            delay: delay.unwrap_or_default(),
            acks,
            quiet: quiet.unwrap_or(QUIET),
            idle: idle.unwrap_or(IDLE),
            owed,
        }
    }

    /// What of it cannot be used together with anything else. `hooks`: there are on-stop hooks.
    #[cold]
    pub(super) fn drain_conflicts(&mut self, drain: &Drain, grace: Duration, hooks: bool) {
        if drain.ports.is_none() && !self.has_failed("drain") {
            for option in ["drain-idle", "drain-quiet", "drain-owed"] {
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
        let (found, begin) = (found.clone(), Time(0));
        let most = budget::drain_end(begin.after(grace), grace, hooks).since(begin);
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
