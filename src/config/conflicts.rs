//! Values that are right each for itself and cannot be used together. Defaults never conflict.

use std::time::Duration;

use super::found::Found;
use super::hooklist::Draft;
use super::hooks::{Builtin, Task};
use super::parse;
use super::reader::Reader;
use super::source::Source;
use crate::machine::budget;
use crate::machine::hooks::HookPhase;
use crate::machine::plan::{HookLimits, PerPhase, Plan};
use crate::types::{Signal, Time};

impl Reader<'_> {
    /// Looks for all of them.
    #[cold]
    pub(super) fn conflicts(&mut self, plan: &Plan, stop_on: &[Signal], drafts: &Drafts) {
        self.dropped_stop_signal(plan, stop_on);
        self.reload_that_stops(plan, stop_on);
        self.times(plan);
        self.hook_timeouts(plan, drafts);
        self.retries(plan, drafts);
        for phase in HookPhase::ALL {
            self.names(drafts.of(phase));
        }
    }

    pub(super) fn told(&self, option: &str) -> String {
        self.known(option).map_or(String::new(), |found| found.told(option))
    }

    fn dropped_stop_signal(&mut self, plan: &Plan, stop_on: &[Signal]) {
        if self.all_known("stop-signal").last().is_some() {
            return;
        }
        let Some(told) = self.known("stop-on").map(|found| found.told("stop-on")) else { return };
        for signal in stop_on.iter().filter(|signal| plan.rewrite.apply(**signal).is_none()) {
            let drops = |found: &&Found| {
                parse::rewrite_rule(&found.text()).is_ok_and(|rule| rule == (*signal, None))
            };
            let Some(found) = self.all_known("rewrite").iter().rfind(drops).cloned() else {
                continue;
            };
            let why = format!(
                "{signal} begins a stop ({told}) and is what the app would be sent; name another signal \
                 with --stop-signal, or take {signal} out of --stop-on"
            );
            self.wrong("rewrite", &found, why);
        }
    }

    fn reload_that_stops(&mut self, plan: &Plan, stop_on: &[Signal]) {
        let Some(signal) = stop_on.iter().find(|signal| plan.reload_on.contains(**signal)) else {
            return;
        };
        // The one that was asked for is to blame.
        let (blamed, other) = match self.asked("reload-on") {
            Some(_) => ("reload-on", "stop-on"),
            None => ("stop-on", "reload-on"),
        };
        let Some(found) = self.known(blamed).cloned() else { return };
        if self.known(other).is_none() {
            return;
        }
        let why = format!(
            "{signal} cannot both begin a stop and run the on-reload hooks ({}); take it out of one of them",
            self.told(other)
        );
        self.wrong(blamed, &found, why);
    }

    fn times(&mut self, plan: &Plan) {
        if plan.grace == budget::ENDLESS {
            return self.times_without_end();
        }
        let (Some(_), grace) = (self.known("grace"), self.told("grace")) else { return };
        if let (Some(found), true) = (self.asked("grace-max"), plan.grace_max < plan.grace) {
            let found = found.clone();
            let why = format!("it is shorter than {grace}; write a longer one, or leave it out");
            self.wrong("grace-max", &found, why);
        }
        let Some(diagnose) = plan.diagnose.filter(|diagnose| diagnose.lead >= plan.grace) else {
            return;
        };
        // A lead that nobody wrote is shortened as it has to be.
        let written = |found: &&Found| {
            found.text().contains('@') && !matches!(found.source, Source::Profile(_))
        };
        if let Some(found) = self.known("diagnose").filter(written).cloned() {
            let why = format!(
                "{} before SIGKILL the stop has not begun ({grace}); write a shorter lead or a longer --grace",
                length(diagnose.lead)
            );
            self.wrong("diagnose", &found, why);
        }
    }

    /// What the hooks of a phase get at most; `None`: as long as they like, or it cannot be told.
    fn share(&self, plan: &Plan, phase: HookPhase) -> Option<Share> {
        let (option, length): (_, fn(&Plan) -> Duration) = match phase {
            HookPhase::PreStop | HookPhase::OnStop => ("grace", |plan| {
                let begin = Time(0);
                budget::hooks_end(begin.after(plan.grace), plan.grace).since(begin)
            }),
            HookPhase::PostStop => ("post-stop-timeout", |plan| {
                let (begin, whole) = (Time(0), plan.post_stop_timeout);
                budget::post_stop_hooks_end(begin.after(whole), whole).since(begin)
            }),
            HookPhase::PreStart | HookPhase::OnReady | HookPhase::OnReload | HookPhase::Ready => {
                return None;
            }
        };
        self.known(option)?;
        Some(Share { length: length(plan), phase, option })
    }

    fn too_long(&self, share: Share) -> String {
        let Share { length: most, phase, option } = share;
        format!(
            "{} hooks get {} at most ({}); write a shorter one, or a longer --{option}",
            phase.as_str(),
            length(most),
            self.told(option)
        )
    }

    fn hook_timeouts(&mut self, plan: &Plan, drafts: &Drafts) {
        let mut others = Vec::new();
        for (phase, draft) in all(drafts) {
            let share = self.share(plan, phase);
            match &draft.block.timeout {
                None => match (&draft.hook.task, share) {
                    (Task::Builtin(Builtin::Sleep(span)), Some(share)) if *span > share.length => {
                        let why = self.too_long(share);
                        self.wrong(phase.as_str(), &draft.block.command, why);
                    }
                    (Task::Builtin(Builtin::Sleep(_)), _) => {}
                    _ => others.push((share, draft.limits.timeout)),
                },
                Some(found) => {
                    if let Some(share) = share.filter(|share| draft.limits.timeout > share.length) {
                        let why = self.too_long(share);
                        self.wrong("timeout", found, why);
                    }
                }
            }
        }
        let fits = |share: Share, timeout: &Duration| *timeout <= share.length;
        let asked = self.asked("hook-timeout").cloned();
        if let (Some(found), Some(share)) = (asked, largest_of_none_that_fits(&others, fits)) {
            let why = self.too_long(share);
            self.wrong("hook-timeout", &found, why);
        }
    }

    fn retries(&mut self, plan: &Plan, drafts: &Drafts) {
        let mut others = Vec::new();
        for (phase, draft) in all(drafts).filter(|(_, draft)| draft.limits.retries > 0) {
            let share = self.share(plan, phase);
            match draft.block.retries.as_ref().or(draft.block.backoff.as_ref()) {
                None => others.push((share, draft.limits)),
                Some(found) => {
                    if let Some(share) = share.filter(|share| !pauses_fit(*share, &draft.limits)) {
                        let key = found.at.as_ref().map_or("retries", |at| &at.key);
                        let why = self.too_often(share, draft.limits);
                        self.wrong(key, found, why);
                    }
                }
            }
        }
        let asked = ["hook-retries", "hook-backoff"]
            .into_iter()
            .find_map(|option| Some((option, self.asked(option)?.clone())));
        if let (Some((option, found)), Some(share)) =
            (asked, largest_of_none_that_fits(&others, pauses_fit))
        {
            let limits = others.iter().map(|(_, limits)| *limits).min_by_key(|l| l.retries);
            let why = limits.map_or(String::new(), |limits| self.too_often(share, limits));
            self.wrong(option, &found, why);
        }
    }

    fn too_often(&self, share: Share, limits: HookLimits) -> String {
        let Share { length: most, phase, option } = share;
        format!(
            "the pauses of {} retries ({}, doubled each time) are longer than the {} that {} hooks get at \
             most ({}); write fewer retries, a shorter backoff or a longer --{option}",
            limits.retries,
            length(limits.backoff),
            length(most),
            phase.as_str(),
            self.told(option)
        )
    }

    fn names(&mut self, drafts: &[Draft]) {
        for (index, draft) in drafts.iter().enumerate() {
            let Some(name) = &draft.block.name else { continue };
            let twin = drafts.iter().enumerate().find(|(other, twin)| {
                // Of two that were named the later one is to blame.
                let blamed = twin.block.name.is_none() || *other < index;
                *other != index && blamed && twin.hook.name == draft.hook.name
            });
            if let Some((_, twin)) = twin {
                let why = format!(
                    "the hook at {} has this name already; write another one",
                    twin.hook.source
                );
                self.wrong("name", name, why);
            }
        }
    }
}

/// The hooks of all phases.
pub(super) type Drafts = PerPhase<Vec<Draft>>;

fn all(drafts: &Drafts) -> impl Iterator<Item = (HookPhase, &Draft)> {
    let of = |phase| drafts.of(phase).iter().map(move |draft| (phase, draft));
    HookPhase::ALL.into_iter().flat_map(of)
}

/// The time that the hooks of a phase get, and the option that it comes from.
#[derive(Clone, Copy)]
struct Share {
    length: Duration,
    phase: HookPhase,
    option: &'static str,
}

/// An option for all hooks is in conflict only if it fits none of those that it is for.
fn largest_of_none_that_fits<T>(
    hooks: &[(Option<Share>, T)],
    fits: impl Fn(Share, &T) -> bool,
) -> Option<Share> {
    let fit = |(share, limit): &(Option<Share>, T)| share.is_none_or(|share| fits(share, limit));
    let shares = hooks.iter().filter_map(|(share, _)| *share);
    if hooks.iter().any(fit) { None } else { shares.max_by_key(|share| share.length) }
}

/// Whether there is room for the last retry at all. A pause may be as short as half of what is written.
fn pauses_fit(share: Share, limits: &HookLimits) -> bool {
    let mut sum = Duration::ZERO;
    for attempt in 1..=limits.retries {
        let pause = budget::backoff(limits, attempt);
        sum = sum.saturating_add(pause / 2);
        if sum > share.length {
            return false;
        }
        if pause.is_zero() {
            return true;
        }
    }
    true
}

pub(super) fn length(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
