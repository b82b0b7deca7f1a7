//! Values that are right by themselves and cannot be used together. Defaults never conflict.

use std::time::Duration;

use super::commands::{Builtin, Task};
use super::hooks::{self, Draft};
use super::lookup::SCOPE_LETTERS;
use super::reader::Reader;
use super::source::{Found, Source};
use super::{drop_in, parse};
use crate::cli::OptionId;
use crate::machine::budget;
use crate::machine::hooks::HookPhase;
use crate::machine::plan::{HookLimits, PerPhase, Plan};
use crate::types::{Signal, Time};

/// Refuses settings that cannot be used together.
#[cold]
pub(super) fn find(reader: &mut Reader<'_>, plan: &Plan, stop_on: &[Signal], drafts: &Drafts) {
    dropped_stop_signal(reader, plan, stop_on);
    reload_that_stops(reader, plan, stop_on);
    times(reader, plan);
    hook_timeouts(reader, plan, drafts);
    retries(reader, plan, drafts);
    for phase in HookPhase::ALL {
        names(reader, drafts.of(phase));
    }
}

fn dropped_stop_signal(reader: &mut Reader<'_>, plan: &Plan, stop_on: &[Signal]) {
    if reader.all_known(OptionId::StopSignal).last().is_some() {
        return;
    }
    let Some(told) =
        reader.known(OptionId::StopOn).map(|found| found.with_source(OptionId::StopOn))
    else {
        return;
    };
    for signal in stop_on.iter().filter(|signal| plan.rewrite.apply(**signal).is_none()) {
        let drops = |found: &&Found| {
            parse::rewrite_rule(&found.text()).is_ok_and(|rule| rule == (*signal, None))
        };
        let Some(found) = reader.all_known(OptionId::Rewrite).iter().rfind(drops).cloned() else {
            continue;
        };
        let why = format!(
            "{signal} begins a stop ({told}) and would be forwarded to the app; name another signal \
                 with --stop-signal, or remove {signal} from --stop-on"
        );
        reader.wrong(OptionId::Rewrite, &found, why);
    }
}

fn reload_that_stops(reader: &mut Reader<'_>, plan: &Plan, stop_on: &[Signal]) {
    let Some(signal) = stop_on.iter().find(|signal| plan.reload_on.contains(**signal)) else {
        return;
    };
    // The message is about the one that was set.
    let (blamed, other) = match reader.asked(OptionId::ReloadOn) {
        Some(_) => (OptionId::ReloadOn, OptionId::StopOn),
        None => (OptionId::StopOn, OptionId::ReloadOn),
    };
    let Some(found) = reader.known(blamed).cloned() else { return };
    if reader.known(other).is_none() {
        return;
    }
    let why = format!(
        "{signal} cannot both begin a stop and run the on-reload hooks ({}); remove it from one of them",
        reader.known_with_source(other)
    );
    reader.wrong(blamed, &found, why);
}

fn times(reader: &mut Reader<'_>, plan: &Plan) {
    if plan.grace == budget::ENDLESS {
        return drop_in::times_without_end(reader);
    }
    let (Some(_), grace) =
        (reader.known(OptionId::Grace), reader.known_with_source(OptionId::Grace))
    else {
        return;
    };
    if let (Some(found), true) = (reader.asked(OptionId::GraceMax), plan.grace_max < plan.grace) {
        let found = found.clone();
        let why = format!("it is shorter than {grace}; write a longer time, or remove it");
        reader.wrong(OptionId::GraceMax, &found, why);
    }
    let Some(diagnose) = plan.diagnose.filter(|diagnose| diagnose.lead >= plan.grace) else {
        return;
    };
    // A default lead is shortened to fit; a lead that was written is refused.
    let written =
        |found: &&Found| found.text().contains('@') && !matches!(found.source, Source::Profile(_));
    if let Some(found) = reader.known(OptionId::Diagnose).filter(written).cloned() {
        let why = format!(
            "{} before SIGKILL the stop has not begun ({grace}); write a shorter lead or a longer --grace",
            parse::written(diagnose.lead)
        );
        reader.wrong(OptionId::Diagnose, &found, why);
    }
}

/// The longest time that the hooks of a phase can get; `None`: there is no limit, or it is not known.
fn share(reader: &Reader<'_>, plan: &Plan, phase: HookPhase) -> Option<Share> {
    let (option, length): (_, fn(&Plan) -> Duration) = match phase {
        HookPhase::PreStop | HookPhase::OnStop => (OptionId::Grace, |plan| {
            let begin = Time(0);
            budget::hooks_end(begin.after(plan.grace), plan.grace).since(begin)
        }),
        HookPhase::PostStop => (OptionId::PostStopTimeout, |plan| {
            let (begin, whole) = (Time(0), plan.post_stop_timeout);
            budget::post_stop_hooks_end(begin.after(whole), whole).since(begin)
        }),
        HookPhase::PreStart
        | HookPhase::OnReady
        | HookPhase::OnReload
        | HookPhase::Ready
        | HookPhase::Drained => return None,
    };
    reader.known(option)?;
    Some(Share { length: length(plan), phase, option })
}

fn too_long(reader: &Reader<'_>, share: Share) -> String {
    let Share { length: most, phase, option } = share;
    format!(
        "{} hooks get {} at most ({}); write a shorter time, or a longer --{option}",
        phase.as_str(),
        parse::written(most),
        reader.known_with_source(option)
    )
}

fn hook_timeouts(reader: &mut Reader<'_>, plan: &Plan, drafts: &Drafts) {
    let mut others = Vec::new();
    for (phase, draft) in all(drafts) {
        let share = share(reader, plan, phase);
        match &draft.block.timeout {
            None => match (&draft.hook.task, share) {
                (Task::Builtin(Builtin::Sleep(span)), Some(share)) if *span > share.length => {
                    let why = too_long(reader, share);
                    reader.wrong(hooks::option(phase), &draft.block.command, why);
                }
                (Task::Builtin(Builtin::Sleep(_)), _) => {}
                _ => others.push((share, draft.limits.timeout)),
            },
            Some(found) => {
                if let Some(share) = share.filter(|share| draft.limits.timeout > share.length) {
                    let why = too_long(reader, share);
                    reader.wrong_key("timeout", found, why);
                }
            }
        }
    }
    let fits = |share: Share, timeout: &Duration| *timeout <= share.length;
    let asked = reader.asked(OptionId::HookTimeout).cloned();
    if let (Some(found), Some(share)) = (asked, largest_of_none_that_fits(&others, fits)) {
        let why = too_long(reader, share);
        reader.wrong(OptionId::HookTimeout, &found, why);
    }
}

fn retries(reader: &mut Reader<'_>, plan: &Plan, drafts: &Drafts) {
    let mut others = Vec::new();
    for (phase, draft) in all(drafts).filter(|(_, draft)| draft.limits.retries > 0) {
        let share = share(reader, plan, phase);
        match draft.block.retries.as_ref().or(draft.block.backoff.as_ref()) {
            None => others.push((share, draft.limits)),
            Some(found) => {
                if let Some(share) = share.filter(|share| !pauses_fit(*share, &draft.limits)) {
                    let key = found.at.as_ref().map_or("retries", |at| &at.key);
                    let why = too_often(reader, share, draft.limits);
                    reader.wrong_key(key, found, why);
                }
            }
        }
    }
    let asked = [OptionId::HookRetries, OptionId::HookBackoff]
        .into_iter()
        .find_map(|option| Some((option, reader.asked(option)?.clone())));
    if let (Some((option, found)), Some(share)) =
        (asked, largest_of_none_that_fits(&others, pauses_fit))
    {
        let limits = others.iter().map(|(_, limits)| *limits).min_by_key(|l| l.retries);
        let why = limits.map_or(String::new(), |limits| too_often(reader, share, limits));
        reader.wrong(option, &found, why);
    }
}

fn too_often(reader: &Reader<'_>, share: Share, limits: HookLimits) -> String {
    let Share { length: most, phase, option } = share;
    format!(
        "the pauses of {} retries ({}, doubled each time) are longer than the {} that {} hooks get at \
             most ({}); write fewer retries, a shorter backoff or a longer --{option}",
        limits.retries,
        parse::written(limits.backoff),
        parse::written(most),
        phase.as_str(),
        reader.known_with_source(option)
    )
}

fn names(reader: &mut Reader<'_>, drafts: &[Draft]) {
    for (index, draft) in drafts.iter().enumerate() {
        let Some(name) = &draft.block.name else { continue };
        let twin = drafts.iter().enumerate().find(|(other, twin)| {
            // Of two hooks with a name the message is about the later one.
            let blamed = twin.block.name.is_none() || *other < index;
            *other != index && blamed && twin.hook.name == draft.hook.name
        });
        if let Some((_, twin)) = twin {
            let why = format!(
                "the hook at {} already has this name; write another name",
                twin.hook.source
            );
            reader.wrong_key("name", name, why);
        }
    }
}

/// `-g` and `-c` are short for `--scope group` and `--scope main`: they must agree.
pub(super) fn two_scopes(reader: &mut Reader<'_>) {
    let given = reader.lookup.given;
    let letters: Vec<(OptionId, &str)> =
        SCOPE_LETTERS.into_iter().filter(|(letter, _)| given.has(*letter)).collect();
    match (&letters[..], given.values(OptionId::Scope).last()) {
        ([_, _, ..], _) => {
            reader.wrong_at_all(
                "unable to use -g together with -c: they are two scopes; choose one".to_owned(),
            );
        }
        ([(letter, value)], Some(scope)) if scope != value => {
            reader.wrong_at_all(format!(
                "unable to use -{letter} together with --scope {}: they are two scopes; choose one",
                scope.to_string_lossy()
            ));
        }
        _ => {}
    }
}

/// The hooks of all phases.
pub(super) type Drafts = PerPhase<Vec<Draft>>;

fn all(drafts: &Drafts) -> impl Iterator<Item = (HookPhase, &Draft)> {
    let of = |phase| drafts.of(phase).iter().map(move |draft| (phase, draft));
    HookPhase::ALL.into_iter().flat_map(of)
}

/// The time that the hooks of a phase can get, and the option that sets it.
#[derive(Clone, Copy)]
struct Share {
    length: Duration,
    phase: HookPhase,
    option: OptionId,
}

/// An option for all hooks is refused only if it fits none of the hooks that it applies to.
fn largest_of_none_that_fits<T>(
    hooks: &[(Option<Share>, T)],
    fits: impl Fn(Share, &T) -> bool,
) -> Option<Share> {
    let fit = |(share, limit): &(Option<Share>, T)| share.is_none_or(|share| fits(share, limit));
    let shares = hooks.iter().filter_map(|(share, _)| *share);
    if hooks.iter().any(fit) { None } else { shares.max_by_key(|share| share.length) }
}

/// Whether there is time for the last retry at all. Jitter can cut a pause to half of what is written.
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
