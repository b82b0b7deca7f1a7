//! Ten stories. Read these first: each is one life, step by step, with a fake clock. After each step stands
//! what the machine does, exactly and in order (`does`), and the phase that it is in then (`is`).
//! `story` has the language.

use graceinit::machine::attempt::HookPhase::{OnReload, OnStop, PostStop, PreStart, PreStop};
use graceinit::machine::plan::{Condition, HookLimits, OnFailure, PerPhase, Plan};
use graceinit::machine::ready::Notice;
use graceinit::types::{Signal, SignalSet};

use super::serving::drain;
use super::setups::plain;
use super::story::{seconds, story, story_of_a_running_app};
use super::world::{from_kernel, from_process, ms};

/// Ten seconds from the stop request to SIGKILL, and five for post-stop hooks.
fn plan() -> Plan {
    Plan {
        grace: seconds(10),
        grace_max: seconds(30),
        leftovers: seconds(10),
        post_stop_timeout: seconds(5),
        ..plain()
    }
}

/// Three seconds, no retries.
fn hook() -> HookLimits {
    HookLimits { timeout: seconds(3), retries: 0, backoff: ms(0), on_failure: OnFailure::Warn }
}

#[test]
fn term_ten_seconds_sigkill() {
    story_of_a_running_app(plan())
        .does(&["ready"])
        .is("ready")
        .receives(from_process(Signal::TERM))
        .does(&["not ready", "TERM to the group", "CONT to the group"])
        .is("stopping")
        .after(ms(9_499))
        .does_nothing()
        .after(ms(500))
        .does(&["record survivors"])
        .is("stopping")
        .after(ms(1))
        .does(&["report survivors", "KILL to the tree"])
        .is("killed")
        .app_dies_of(Signal::KILL)
        .does_nothing()
        .tree_is_empty()
        .does(&["exit 137"])
        .is("exit");
}

#[test]
fn an_app_that_ends_in_time_is_never_killed() {
    story_of_a_running_app(plan())
        .receives(from_process(Signal::TERM))
        .is("stopping")
        .after(seconds(2))
        .does_nothing()
        .app_exits(3)
        .does(&["TERM to the leftovers"])
        .is("leftovers")
        .tree_is_empty()
        .does(&["exit 3"])
        .is("exit");
}

#[test]
fn a_stop_goes_from_pre_stop_over_drain_and_on_stop_to_post_stop() {
    let hooks = PerPhase {
        pre_stop: vec![hook(), hook()],
        on_stop: vec![hook(), hook()],
        post_stop: vec![hook()],
        ..PerPhase::default()
    };
    story_of_a_running_app(Plan { hooks, drain: Some(drain(false, 2_000, 0, None)), ..plan() })
        .receives(from_process(Signal::TERM))
        .does(&["not ready", "start pre-stop 0", "start pre-stop 1"])
        .is("pre-stop")
        .hook_exits(PreStop, 1, 0)
        .does_nothing()
        .hook_exits(PreStop, 0, 0)
        .does_nothing()
        .is("drain")
        .after(seconds(2))
        .does(&["start on-stop 0"])
        .is("on-stop")
        .hook_exits(OnStop, 0, 0)
        .does(&["start on-stop 1"])
        .hook_exits(OnStop, 1, 1)
        .does(&["TERM to the group", "CONT to the group"])
        .is("stopping")
        .app_exits(0)
        .does(&["TERM to the leftovers"])
        .tree_is_empty()
        .does(&["start post-stop 0"])
        .is("post-stop")
        .hook_exits(PostStop, 0, 0)
        .does(&["TERM to the leftovers"])
        .tree_is_empty()
        .does(&["exit 0"])
        .is("exit");
}

#[test]
fn a_second_ctrl_c_kills_as_soon_as_the_survivors_are_recorded() {
    story_of_a_running_app(plan())
        .receives(from_kernel(Signal::INT))
        .does(&["not ready", "INT to the group", "CONT to the group"])
        .after(seconds(1))
        .does_nothing()
        .receives(from_kernel(Signal::INT))
        .does(&["record survivors"])
        .is("stopping")
        .after(ms(99))
        .does_nothing()
        .after(ms(1))
        .does(&["report survivors", "KILL to the tree"])
        .is("killed");
}

#[test]
fn an_app_that_asks_for_more_time_gets_it_up_to_grace_max() {
    story_of_a_running_app(plan())
        .receives(from_process(Signal::TERM))
        .after(seconds(8))
        .app_says(Notice::MoreTime(seconds(7)))
        .does(&["ask for 12s more"])
        .after(ms(6_999))
        .does(&["record survivors"])
        .is("stopping")
        .app_says(Notice::MoreTime(seconds(60)))
        .does(&["ask for 20.001s more"])
        .after(ms(15_001))
        .does(&["record survivors", "report survivors", "KILL to the tree"])
        .is("killed");
}

#[test]
fn leftovers_get_the_rest_of_the_budget_and_post_stop_hooks_run_after_sigkill() {
    let hooks = PerPhase { post_stop: vec![hook()], ..PerPhase::default() };
    story_of_a_running_app(Plan { hooks, ..plan() })
        .receives(from_process(Signal::TERM))
        .after(seconds(4))
        .app_exits(0)
        .does(&["TERM to the leftovers"])
        .after(ms(30))
        .does(&["TERM to the leftovers"])
        .is("leftovers")
        .after(ms(5_969))
        .is("leftovers")
        .after(ms(1))
        .does(&["report survivors", "KILL to the tree"])
        .is("killed")
        .tree_is_empty()
        .does(&["start post-stop 0"])
        .hook_exits(PostStop, 0, 0)
        .tree_is_empty()
        .does(&["exit 0"]);
}

#[test]
fn an_app_that_is_not_ready_in_time_is_stopped_with_124() {
    let ready = vec![Condition::Notify];
    story_of_a_running_app(Plan { ready, ready_timeout: Some(seconds(30)), ..plan() })
        .does_nothing()
        .is("running")
        .after(ms(9_999))
        .does_nothing()
        .after(ms(20_000))
        .does(&["warn that it is late"])
        .after(ms(1))
        .does(&["not ready", "TERM to the group", "CONT to the group"])
        .is("stopping")
        .app_exits(0)
        .tree_is_empty()
        .does(&["exit 124"]);
}

#[test]
fn a_stop_before_the_start_never_starts_the_app() {
    let hooks = PerPhase { pre_start: vec![hook()], ..PerPhase::default() };
    story(Plan { hooks, ..plan() })
        .does(&["start pre-start 0"])
        .is("starting")
        .receives(from_process(Signal::TERM))
        .does(&["TERM to pre-start 0", "TERM to the leftovers"])
        .is("leftovers")
        .after(ms(10))
        .does_nothing()
        .hook_exits(PreStart, 0, 0)
        .does_nothing()
        .tree_is_empty()
        .does(&["exit 143"]);
}

#[test]
fn a_reload_signal_is_forwarded_after_its_hooks_and_merged_while_one_waits() {
    let hooks = PerPhase { on_reload: vec![hook()], ..PerPhase::default() };
    let reload_on = SignalSet::of(&[Signal::HUP]);
    story_of_a_running_app(Plan { hooks, reload_on, ..plan() })
        .receives(from_process(Signal::HUP))
        .does(&["start on-reload 0"])
        .receives(from_process(Signal::HUP))
        .does_nothing()
        .receives(from_process(Signal::HUP))
        .does_nothing()
        .hook_exits(OnReload, 0, 0)
        .does(&["HUP to the group", "start on-reload 0"])
        .hook_exits(OnReload, 0, 0)
        .does(&["HUP to the group"])
        .is("ready");
}

#[test]
fn a_process_that_survives_sigkill_does_not_prevent_the_post_stop_hooks() {
    let hooks = PerPhase { post_stop: vec![hook()], ..PerPhase::default() };
    story_of_a_running_app(Plan { hooks, ..plan() })
        .receives(from_process(Signal::TERM))
        .after(seconds(10))
        .is("killed")
        .after(ms(499))
        .is("killed")
        .after(ms(1))
        .does(&["start post-stop 0"])
        .is("post-stop")
        .hook_exits(PostStop, 0, 0)
        .does(&["KILL to the tree", "exit 137"]);
}
