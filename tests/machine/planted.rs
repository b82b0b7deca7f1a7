//! Planted bugs, one at a time. Each has to break a promise; else the exploration would prove nothing.

use graceinit::machine::hooks::HookPhase;
use graceinit::machine::phase::Failure;
use graceinit::machine::phase::PhaseName;
use graceinit::machine::plan::{ChildOom, Scope, StopAgain};

use super::bug::Bug;
use super::explore::{LIMIT, explore, report, tell};
use super::promises::Promise;
use super::world::Setup;
use super::{serving, setups, standin};

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
    report(&format!("machine: {} planted bugs, each caught\n", bugs().len()));
    // Every promise is broken by a bug, so every check can fail.
    for promise in Promise::ALL {
        assert!(bugs().iter().any(|(_, _, broken)| broken == promise), "no bug breaks {promise}");
    }
}

/// A bug, a setup that shows it, and the promise that it breaks first.
type Planted = (Bug, Setup, Promise);

fn asked_once() -> Setup {
    setups::scope(Scope::Group)
}

/// Each bug once for each promise that it may break.
fn bugs() -> Vec<Planted> {
    let no_hooks = setups::no_hooks;
    let every = setups::every_hook;
    let again = || setups::stop_again(StopAgain::Kill);
    let ignoring = || setups::stop_again(StopAgain::Ignore);
    let terminal = || setups::terminal(true);
    vec![
        (Bug::NeverKillsTheTree, asked_once(), Promise::KillNotLate),
        (Bug::KillsTheTreeWithTheStopSignal, no_hooks(), Promise::KillNotEarly),
        (Bug::KillsAtTheEndOnlyIfAppLives, asked_once(), Promise::KillNotLate),
        (Bug::ReportsSurvivorsAtEveryKill, setups::post_stop(), Promise::Survivors),
        (Bug::KeepsTheOtherSignalBack, ignoring(), Promise::Escalates),
        (Bug::ReportsNoSurvivors, asked_once(), Promise::Survivors),
        (Bug::PreparesNoReport, no_hooks(), Promise::DeadMansReport),
        (Bug::LeavesWithoutKilling, setups::post_stop(), Promise::LeavesNothing),
        (Bug::WakesLate(PhaseName::Stopping), asked_once(), Promise::StopSignalInOrder),
        (Bug::WakesLate(PhaseName::Leftovers), asked_once(), Promise::SurvivorScan),
        (Bug::WakesLate(PhaseName::Killed), asked_once(), Promise::GivesUpInTime),
        (Bug::WakesLate(PhaseName::PostStop), every(), Promise::HookKilledAtLimit),
        (Bug::LingersAtTheEnd, setups::post_stop(), Promise::ExitsInTime),
        (Bug::SleepsThroughTicks(PhaseName::Killed), asked_once(), Promise::Terminates),
        (Bug::ActsOnEveryTick, asked_once(), Promise::TickOnTime),
        (Bug::NoStopSignal, no_hooks(), Promise::StopSignalAlways),
        (Bug::RepeatsTheStopSignalWhenAskedAgain, ignoring(), Promise::StopSignalInOrder),
        (Bug::RepeatsTheStopSignalWhenAskedAgain, again(), Promise::KillsAtOnce),
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
        (Bug::RecordsNoPhases, no_hooks(), Promise::PhasesInOrder),
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
        (Bug::NoFurtherRounds, setups::long_leftovers(), Promise::LeftoversAsked),
        (Bug::LeftoversGetNothing, no_hooks(), Promise::LeftoversAsked),
        (Bug::RewritesTheLeftoversSignal, setups::rewritten(), Promise::LeftoversAsked),
        (Bug::ThinksTheGroupWasAsked, no_hooks(), Promise::LeftoversAsked),
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
    .into_iter()
    .chain(bugs_of_the_start())
    .chain(bugs_of_the_running_app())
    .chain(bugs_of_readiness())
    .chain(bugs_of_the_drain())
    .chain(bugs_of_the_end())
    .chain(bugs_of_the_stand_in())
    .collect()
}

fn bugs_of_the_start() -> Vec<Planted> {
    let pre_start = setups::pre_start;
    let held = setups::held;
    vec![
        (Bug::StartsTheAppTwice, pre_start(), Promise::StartsOnce),
        (Bug::StartsTheAppAtOnce, pre_start(), Promise::StartsOnce),
        (Bug::StartsTheAppAfterAll, pre_start(), Promise::StartsOnce),
        (Bug::ForgetsTheApp, pre_start(), Promise::LeavesAtOnce),
        (Bug::ForgetsToWake(PhaseName::Starting), pre_start(), Promise::NoLostWakeUp),
        (Bug::WakesLate(PhaseName::Starting), pre_start(), Promise::HookKilledAtLimit),
        (Bug::StartsHooksTwice(HookPhase::PreStart), pre_start(), Promise::PreStartInOrder),
        (Bug::EveryFailureAborts, pre_start(), Promise::Abort),
        (Bug::NoFailureAborts, pre_start(), Promise::Abort),
        (Bug::OneRetryTooMany, pre_start(), Promise::Retries),
        (Bug::OneRetryTooFew, pre_start(), Promise::Retries),
        (Bug::StopsNoHook, pre_start(), Promise::Forestalled),
        (Bug::StopsHooksTwice, pre_start(), Promise::Forestalled),
        (Bug::LosesWhatItHeld, held(), Promise::HeldSignals),
        (Bug::MixesUpWhatItHeld, held(), Promise::HeldSignals),
        (Bug::HoldsNothing, held(), Promise::SignalsOnlyTheLiving),
        (Bug::ReloadsWithoutHooks, setups::held_until_ready(), Promise::Reloads),
    ]
}

fn bugs_of_the_running_app() -> Vec<Planted> {
    let reload = setups::reload;
    let ready = setups::reload_at_a_terminal;
    let outlived = || setups::outlived(true);
    vec![
        (Bug::WakesForNothing, setups::no_hooks(), Promise::TickOnTime),
        (Bug::ForgetsToWake(PhaseName::Ready), reload(), Promise::NoLostWakeUp),
        (Bug::WakesLate(PhaseName::Ready), reload(), Promise::HookKilledAtLimit),
        (Bug::ThinksTheAppRuns, ready(), Promise::Readiness),
        (Bug::StartsHooksTwice(HookPhase::OnReady), ready(), Promise::OnReadyInOrder),
        (Bug::StartsHooksTwice(HookPhase::OnReload), reload(), Promise::ReloadInOrder),
        (Bug::ReloadsWithoutHooks, reload(), Promise::Reloads),
        (Bug::LosesTheReload, reload(), Promise::Reloads),
        (Bug::LosesTheSecondReload, reload(), Promise::Reloads),
        (Bug::ReloadsDespiteAFailure, reload(), Promise::Reloads),
        (Bug::ReloadsDuringAStop, reload(), Promise::Reloads),
        (Bug::NamesRoundsAlike, reload(), Promise::NamesApart),
        (Bug::ForgetsTheOccasion, reload(), Promise::Occasion),
        (Bug::NoFailureAborts, reload(), Promise::Abort),
        (Bug::EveryFailureAborts, ready(), Promise::Abort),
        (Bug::AbortsAfterItsPhase, outlived(), Promise::Abort),
        (Bug::AbortsAfterItsPhase, setups::outlived(false), Promise::Abort),
        (Bug::RetriesAfterItsPhase, outlived(), Promise::OnReadyInOrder),
        (Bug::RetriesAfterItsPhase, setups::outlived(false), Promise::ReloadInOrder),
        (Bug::LateExitEndsTheNewest, outlived(), Promise::Account),
        (Bug::PausesAreNeverSpread, setups::jittered(), Promise::Retries),
        (Bug::PausesAreSpreadTooFar, setups::jittered(), Promise::Retries),
    ]
}

fn bugs_of_readiness() -> Vec<Planted> {
    let conditions = serving::conditions;
    let probes = serving::probes;
    let too_late = serving::too_late;
    let watchdog = serving::watchdog;
    let seeks = serving::slow_probe;
    let oom = || setups::out_of_memory(ChildOom::Stop, None);
    vec![
        (Bug::ReadyAtOnce, conditions(), Promise::Readiness),
        (Bug::ReadyTwice, conditions(), Promise::ReadyFalls),
        (Bug::TakesWordsFromOutside, conditions(), Promise::News),
        (Bug::ForwardsTheWord, conditions(), Promise::Readiness),
        (Bug::ForgetsToWake(PhaseName::Running), conditions(), Promise::NoLostWakeUp),
        (Bug::WakesLate(PhaseName::Running), too_late(), Promise::NoLostWakeUp),
        (Bug::ForgetsTheReadyLimit, too_late(), Promise::NoLostWakeUp),
        (Bug::Overlooks(Failure::NotReady), too_late(), Promise::ReadyInTime),
        (Bug::NeverTellsOfLate, serving::late(), Promise::Late),
        (Bug::ExitsWithZero, too_late(), Promise::ExitCode),
        (Bug::ForgetsWhyItEnded, too_late(), Promise::Reason),
        (Bug::StaysReady, too_late(), Promise::ReadyFalls),
        (Bug::StaysReady, serving::notifications(), Promise::ReadyFalls),
        (Bug::ReadyAgain, serving::delay(), Promise::ReadyFalls),
        (Bug::StartsHooksTwice(HookPhase::Ready), probes(), Promise::NamesApart),
        (Bug::SwallowsKillHook, probes(), Promise::Probes),
        (Bug::PilesUpProbes, probes(), Promise::TickOnTime),
        (Bug::OverlooksTheStandstill, serving::standstill(), Promise::Standstill),
        (Bug::ProbesDuringTheStop, probes(), Promise::Probes),
        (Bug::ProbesForTooLong, probes(), Promise::Probes),
        (Bug::KillsTheReapedHook, probes(), Promise::KillsOnlyLivingHooks),
        (Bug::SeeksNoListeners, seeks(), Promise::Seeks),
        (Bug::SeeksTwice, seeks(), Promise::Seeks),
        (Bug::ForgetsTheWatchdog, watchdog(), Promise::Watchdog),
        (Bug::Overlooks(Failure::Watchdog), watchdog(), Promise::Watchdog),
        (Bug::IgnoresSignsOfLife, watchdog(), Promise::NoLostWakeUp),
        (Bug::Overlooks(Failure::OutOfMemory), oom(), Promise::ChildOom),
        (Bug::ForgetsWhyItEnded, oom(), Promise::Reason),
        (Bug::ExitsWithZero, oom(), Promise::ExitCode),
        (Bug::NeverDiagnoses, watchdog(), Promise::Diagnose),
        (Bug::DiagnosesTheAppAlone, watchdog(), Promise::Diagnose),
        (Bug::ExitsWithZero, watchdog(), Promise::ExitCode),
        (Bug::FollowsNoMainPid, serving::notifications(), Promise::MainPid),
    ]
}

fn bugs_of_the_drain() -> Vec<Planted> {
    let (delay, quiet) = (serving::delay, serving::quiet);
    vec![
        (Bug::NeverDrains, delay(), Promise::DrainInPlace),
        (Bug::StopsDuringTheDrain, serving::long_delay(), Promise::StopSignalInOrder),
        (Bug::SkipsTheDelay, delay(), Promise::DrainHolds),
        (Bug::ForgetsTheLongestDrain, serving::hasty(), Promise::DrainEnds),
        (Bug::TakesBusyForCalm, quiet(), Promise::News),
        (Bug::SamplesLate, quiet(), Promise::News),
        (Bug::TakesNoSamples, quiet(), Promise::Readiness),
        (Bug::IgnoresAcknowledgements, delay(), Promise::News),
        (Bug::RecordsNoSamples, quiet(), Promise::News),
        (Bug::WakesLate(PhaseName::Drain), delay(), Promise::DrainEnds),
        (Bug::WakesLate(PhaseName::Drain), quiet(), Promise::Samples),
        (Bug::ForgetsToWake(PhaseName::Drain), quiet(), Promise::NoLostWakeUp),
        (Bug::SamplesTwice, quiet(), Promise::Samples),
        (Bug::TakesNoForYes, serving::words(), Promise::DrainHolds),
        (Bug::AsksForNoWord, serving::words_and_samples(), Promise::DrainHolds),
        (Bug::StartsHooksTwice(HookPhase::Drained), serving::words(), Promise::Words),
        (Bug::SwallowsKillHook, serving::words_and_samples(), Promise::Words),
        (Bug::SamplesAfterTheDrain, serving::long_delay(), Promise::Samples),
    ]
}

fn bugs_of_the_stand_in() -> Vec<Planted> {
    let endless = standin::without_an_end;
    let limits = standin::without_an_end_but_limits;
    let forwards_all = standin::forwards_all;
    let session = || standin::session(true, true);
    vec![
        (Bug::KillsTheTreeWithTheStopSignal, endless(), Promise::Endless),
        (Bug::NeverKillsTheTree, forwards_all(), Promise::KillNotLate),
        (Bug::ForgetsToWake(PhaseName::Leftovers), endless(), Promise::NoLostWakeUp),
        (Bug::ForgetsToWake(PhaseName::PreStop), limits(), Promise::NoLostWakeUp),
        (Bug::ForgetsToWake(PhaseName::Stopping), limits(), Promise::NoLostWakeUp),
        (Bug::WakesForNothing, endless(), Promise::TickOnTime),
        (Bug::IgnoresSecondRequestToKill, limits(), Promise::StopAgain),
        (Bug::RecordsACentury, endless(), Promise::TimeRecorded),
        (Bug::EndsWhatHasNoEnd, endless(), Promise::TimeRecorded),
        (Bug::GivesLeftoversMore, endless(), Promise::TimeRecorded),
        (Bug::DeadManOfACentury, endless(), Promise::DeadMan),
        (Bug::StopsAllTheSame, forwards_all(), Promise::ReadyFalls),
        (Bug::ForwardsTwice, forwards_all(), Promise::ForwardedOnce),
        (Bug::ForwardsNothing, forwards_all(), Promise::ForwardedOnce),
        (Bug::ContinuesNoApp, forwards_all(), Promise::Continued),
        (Bug::ContinuesARunningApp, forwards_all(), Promise::Continued),
        (Bug::StopsWithTheKeysSignal, session(), Promise::Terminal),
        (Bug::SuspendsNothing, session(), Promise::Terminal),
        (Bug::LosesAKeyTypedEarly, session(), Promise::Terminal),
        (Bug::TakesAnothersTerminal, session(), Promise::Terminal),
    ]
}

fn bugs_of_the_end() -> Vec<Planted> {
    let silent = setups::no_stop_signal;
    let diagnose = || setups::diagnose(Scope::Mixed);
    let more_time = setups::more_time;
    let hurried = setups::hurried;
    vec![
        (Bug::StopsWithoutASignalToo, silent(), Promise::StopSignalInOrder),
        (Bug::NoFailureAborts, silent(), Promise::Abort),
        (Bug::EveryFailureAborts, setups::on_stop(), Promise::Abort),
        (Bug::NeverDiagnoses, diagnose(), Promise::Diagnose),
        (Bug::DiagnosesTwice, diagnose(), Promise::Diagnose),
        (Bug::DiagnosesTooEarly, diagnose(), Promise::Diagnose),
        (Bug::DiagnosesWithTheStopSignal, diagnose(), Promise::Diagnose),
        (Bug::DiagnosesTheAppAlone, diagnose(), Promise::Diagnose),
        (Bug::TellsNoMoreTime, more_time(), Promise::MoreTime),
        (Bug::IgnoresMoreTime, more_time(), Promise::MoreTime),
        (Bug::MoreTimeHasNoEnd, more_time(), Promise::MoreTime),
        (Bug::MoreTimeCountsFromTheEnd, more_time(), Promise::MoreTime),
        (Bug::DeadManNotRearmedForMoreTime, more_time(), Promise::DeadMan),
        (Bug::DeadManNotRearmedForHurry, hurried(), Promise::DeadMan),
        (Bug::NoScan, asked_once(), Promise::SurvivorScan),
        (Bug::ScansTwice, asked_once(), Promise::SurvivorScan),
        (Bug::ScansAtTheBeginning, asked_once(), Promise::SurvivorScan),
        (Bug::ScansOnce, more_time(), Promise::SurvivorScan),
        (Bug::WaitsForTheScan, asked_once(), Promise::KillNotLate),
        (Bug::HurriesWithoutAScan, hurried(), Promise::SurvivorScan),
        (Bug::KillsWithTheScan, hurried(), Promise::KillNotEarly),
        (Bug::WaitsOnAfterTheScan, hurried(), Promise::StopAgain),
    ]
}
