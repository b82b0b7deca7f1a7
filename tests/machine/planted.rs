//! Bugs, planted one at a time. Each must break a promise, or the exploration proves nothing.

use graceinit::machine::hook::HookPhase;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{Scope, StopAgain};

use super::explore::{LIMIT, explore, report, tell};
use super::promises::Promise;
use super::sabotage::Bug;
use super::setups;
use super::world::Setup;

#[test]
fn every_planted_bug_is_caught() {
    let mut wrong = Vec::new();
    for (bug, setup, promise) in bugs() {
        match explore(&setup, Some(bug), LIMIT) {
            Err(broken) if broken.promise == promise => {}
            Err(broken) => wrong.push(format!("{bug:?}: {}", tell(&setup, Some(bug), &broken))),
            Ok(explored) => wrong.push(format!("{bug:?} is not seen: {explored:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (planted, all) = (bugs().len(), Promise::ALL.len());
    report(&format!("machine: {planted} planted bugs, each caught; {all} promises\n"));
}

/// Each bug with the setup that shows it, and the promise that it breaks first.
fn bugs() -> Vec<(Bug, Setup, Promise)> {
    let no_hooks = setups::no_hooks;
    let every = setups::every_hook;
    let asked_once = || setups::scope(Scope::Group);
    let again = || setups::stop_again(StopAgain::Kill);
    let ignoring = || setups::stop_again(StopAgain::Ignore);
    let terminal = || setups::terminal(true);
    vec![
        (Bug::NeverKillsTheTree, asked_once(), Promise::KillNotLate),
        (Bug::KillsTheTreeWithTheStopSignal, no_hooks(), Promise::KillNotEarly),
        (Bug::KillsAtTheDeadlineOnlyIfAppLives, asked_once(), Promise::KillNotLate),
        (Bug::LeavesWithoutKilling, setups::post_stop(), Promise::LeavesNothing),
        (Bug::WakesLate(PhaseName::Stopping), asked_once(), Promise::StopSignalInOrder),
        (Bug::WakesLate(PhaseName::Leftovers), asked_once(), Promise::Survey),
        (Bug::WakesLate(PhaseName::Killed), asked_once(), Promise::GivesUpInTime),
        (Bug::WakesLate(PhaseName::PostStop), every(), Promise::HookKilledAtLimit),
        (Bug::LingersAtTheEnd, setups::post_stop(), Promise::ExitsInTime),
        (Bug::SleepsThroughTicks(PhaseName::Killed), asked_once(), Promise::Terminates),
        (Bug::ActsOnEveryTick, asked_once(), Promise::TickOnTime),
        (Bug::NoStopSignal, no_hooks(), Promise::StopSignalAlways),
        (Bug::RepeatsTheStopSignalWhenAskedAgain, ignoring(), Promise::StopSignalInOrder),
        (Bug::RepeatsTheFirstRung, setups::squeezed_ladder(), Promise::StopSignalInOrder),
        (Bug::NoContinueAfterTheStopSignal, no_hooks(), Promise::ContinueAfterStop),
        (Bug::StopSignalToTheAppAlone, setups::scope(Scope::Tree), Promise::StopSignalScope),
        (Bug::StopSignalBeforeOnStop, every(), Promise::OnStopInOrder),
        (Bug::SwallowsKillHook, setups::pre_stop(), Promise::OnStopInOrder),
        (Bug::KillsTheReapedHook, every(), Promise::KillsOnlyLivingHooks),
        (Bug::ForgetsToWake(PhaseName::PreStop), every(), Promise::NoLostWakeUp),
        (Bug::ForgetsToWake(PhaseName::OnStop), every(), Promise::NoLostWakeUp),
        (Bug::ForgetsToWake(PhaseName::Stopping), every(), Promise::NoLostWakeUp),
        (Bug::ForgetsToWake(PhaseName::Leftovers), every(), Promise::NoLostWakeUp),
        (Bug::ForgetsToWake(PhaseName::Killed), every(), Promise::NoLostWakeUp),
        (Bug::ForgetsToWake(PhaseName::PostStop), every(), Promise::NoLostWakeUp),
        (Bug::ForgetsToTellOfPhases, no_hooks(), Promise::PhasesInOrder),
        (Bug::ExitsTwice, no_hooks(), Promise::ExitsOnce),
        (Bug::NeverExits, no_hooks(), Promise::PhasesInOrder),
        (Bug::ActsAfterTheExit, no_hooks(), Promise::ExitsOnce),
        (Bug::ExitsWithZero, no_hooks(), Promise::ExitCode),
        (Bug::PostStopWhileLeftoversLive, setups::post_stop(), Promise::PostStopLast),
        (Bug::NoPostStopHooks, setups::post_stop(), Promise::LeavesAtOnce),
        (Bug::SkipsHooksThatFit, setups::post_stop(), Promise::PostStopAlways),
        (Bug::GivesUpTooEarly, setups::post_stop(), Promise::PostStopLast),
        (Bug::ForwardsToTheDead, no_hooks(), Promise::SignalsOnlyTheLiving),
        (Bug::ForwardsTwice, no_hooks(), Promise::ForwardedOnce),
        (Bug::ForwardsNothing, no_hooks(), Promise::ForwardedOnce),
        (Bug::IgnoresRewrite, setups::rewritten(), Promise::StopSignalInOrder),
        (Bug::LateExitEndsTheNextAttempt, setups::on_stop(), Promise::Account),
        (Bug::NeverArmsTheDeadMan, no_hooks(), Promise::DeadMan),
        (Bug::DeadManNotRearmedForPostStop, every(), Promise::DeadMan),
        (Bug::RestartsTheBudgetWhenAskedAgain, no_hooks(), Promise::KillNotLate),
        (Bug::RestartsTheBudgetWhenAskedAgain, ignoring(), Promise::HookKilledAtLimit),
        (Bug::IgnoresSecondRequestToKill, again(), Promise::StopAgain),
        (Bug::NoLookForNewcomers, setups::long_leftovers(), Promise::LeftoversTold),
        (Bug::LeftoversGetNothing, no_hooks(), Promise::LeftoversTold),
        (Bug::RewritesTheLeftoversSignal, setups::rewritten(), Promise::LeftoversTold),
        (Bug::ThinksTheGroupWasTold, no_hooks(), Promise::LeftoversTold),
        (Bug::OverlooksTheEmptyTree, no_hooks(), Promise::LeavesAtOnce),
        (Bug::StartsHooksTwice(HookPhase::PreStop), setups::pre_stop(), Promise::PreStopTogether),
        (Bug::StartsHooksTwice(HookPhase::OnStop), setups::on_stop(), Promise::OnStopInOrder),
        (Bug::StartsHooksTwice(HookPhase::PostStop), setups::post_stop(), Promise::PostStopInOrder),
        (Bug::OnStopAfterTheApp, setups::on_stop(), Promise::StopHooksNeedTheApp),
        (Bug::PreStopOneAtATime, setups::pre_stop(), Promise::PreStopTogether),
        (Bug::OneRetryTooMany, setups::on_stop(), Promise::Retries),
        (Bug::OneRetryTooFew, setups::on_stop(), Promise::Retries),
        (Bug::NoPauseBeforeRetry, setups::on_stop(), Promise::Retries),
        (Bug::NoPauseBeforeRetry, setups::pre_stop_retried(), Promise::Retries),
        (Bug::OneRetryTooFew, setups::pre_stop_retried(), Promise::Retries),
        (Bug::OneRetryTooMany, setups::pre_stop_retried(), Promise::Retries),
        (Bug::HooksMayUseTheWholeBudget, setups::on_stop(), Promise::HookLimit),
        (Bug::ForgetsWhyItEnded, every(), Promise::Reason),
        (Bug::ForgetsThatHooksEnded, every(), Promise::Account),
        (Bug::NeverResumes, terminal(), Promise::ForwardedOnce),
        (Bug::KeepsTheTerminal, terminal(), Promise::Terminal),
    ]
}
