//! Processes that run out of memory, and others that are killed beside them: who has killed them?

use super::container::Container;
use super::engine::engine;
use super::{phases, variables};
use crate::support::account::Line;
use crate::support::{Outcome, proc};
use crate::{ensure, ensure_eq};

const BY_THE_KERNEL: &str = "was killed by the kernel: out of memory, limit 64 MiB";
const ELSEWHERE: &str = "that neither graceinit nor the kernel's OOM killer has sent";

/// A container with 64 MiB of memory; its exit code and graceinit's log.
fn life(pairs: &[&str], app: &str) -> Outcome<Option<(i32, Vec<String>)>> {
    let Some(engine) = engine() else { return Ok(None) };
    let limit = ["--memory", "64m", "--memory-swap", "64m"];
    let options = [&limit[..], &variables(&["GRACEINIT_LOG=info"]), &variables(pairs)].concat();
    let container = Container::run(engine, &options, app)?;
    let code = container.exit_code()?;
    Ok(Some((code, container.whole_log()?)))
}

fn has(log: &[String], text: &str) -> bool {
    log.iter().any(|line| line.contains(text))
}

#[test]
fn an_app_that_the_kernel_has_killed_has_a_reason_and_a_code_of_its_own() -> Outcome {
    let pairs = ["GRACEINIT_OOM_EXIT=33", "GRACEINIT_POST_STOP=/puppet env=GRACEINIT_REASON"];
    let Some((code, log)) = life(&pairs, "/puppet ready eat=500")? else { return Ok(()) };
    ensure_eq!(code, 33, "exit code, {log:#?}");
    for text in
        [BY_THE_KERNEL, "reason=oom", "[post-stop post-stop-1 stdout] env GRACEINIT_REASON=oom"]
    {
        ensure!(has(&log, text), "no {text:?} in {log:#?}");
    }
    Ok(())
}

#[test]
fn an_orphan_that_the_kernel_has_killed_stops_the_app_if_that_is_wanted() -> Outcome {
    let app = "/puppet block ready spawn=orphan:ready;eat=500 echo=TERM:5";
    let stop = ["GRACEINIT_CHILD_OOM=stop", "GRACEINIT_OOM_EXIT=44"];
    let Some((code, log)) = life(&stop, app)? else { return Ok(()) };
    ensure_eq!(code, 44, "exit code, {log:#?}");
    ensure!(has(&log, "puppet (orphan, pid ") && has(&log, BY_THE_KERNEL), "{log:#?}");
    ensure!(has(&log, "stopping the app (--child-oom)") && has(&log, "reason=oom"), "{log:#?}");
    Ok(())
}

#[test]
fn a_worker_dies_unseen_and_the_end_of_the_app_tells() -> Outcome {
    let app = "/puppet ready spawn=same:ready;eat=500 children exit=5";
    let Some((code, log)) = life(&[], app)? else { return Ok(()) };
    ensure_eq!(code, 5, "exit code, {log:#?}");
    ensure!(has(&log, "for want of memory; graceinit has not seen which"), "{log:#?}");
    ensure!(has(&log, "reason=crash") && !has(&log, BY_THE_KERNEL), "{log:#?}");
    Ok(())
}

/// The count has grown, and one process died of SIGKILL, but they are not the same.
#[test]
fn a_kill_after_the_unseen_death_of_a_worker_is_not_taken_for_the_kernels() -> Outcome {
    let app = "/puppet ready spawn=same:ready;eat=500 children raise=KILL";
    let Some((code, log)) = life(&["GRACEINIT_OOM_EXIT=33"], app)? else { return Ok(()) };
    ensure_eq!(code, 137, "exit code, {log:#?}");
    ensure!(
        has(&log, "is unknown: the kernel has killed 1 process in its control group"),
        "{log:#?}"
    );
    ensure!(has(&log, "reason=crash") && !has(&log, BY_THE_KERNEL), "{log:#?}");
    Ok(())
}

#[test]
fn a_kill_from_elsewhere_is_told_apart_however_large_the_process_was() -> Outcome {
    for app in ["/puppet ready raise=KILL", "/puppet ready eat=40 raise=KILL"] {
        let Some((code, log)) = life(&["GRACEINIT_OOM_EXIT=33"], app)? else { return Ok(()) };
        ensure_eq!(code, 137, "exit code of {app}, {log:#?}");
        ensure!(has(&log, ELSEWHERE) && has(&log, "reason=crash"), "{app}: {log:#?}");
    }
    Ok(())
}

/// Each reload and the pre-stop hook take all the memory that there is. Nothing that PID 1 does then fails for want of it.
#[test]
fn a_container_at_its_limit_of_memory_is_stopped_in_order() -> Outcome {
    let Some(engine) = engine() else { return Ok(()) };
    // The kernel kills the hook, not the largest process.
    const EATS: &str = "/puppet write=/proc/self/oom_score_adj:1000 eat=500";
    const RELOAD: &str = "on-reload hook failed with signal KILL";
    let hook = |name: &str| format!("GRACEINIT_{name}={EATS}");
    let pairs =
        [&hook("ON_RELOAD"), &hook("PRE_STOP"), "GRACEINIT_POST_STOP=/puppet say=afterwards"];
    let limit = ["--memory", "32m", "--memory-swap", "32m"];
    let options = [&limit[..], &variables(&["GRACEINIT_LOG=debug"]), &variables(&pairs)].concat();
    let container = Container::run(engine, &options, "/puppet block ready echo=TERM:3")?;
    container.log.out.until("ready ")?;
    for round in 0..5 {
        container.docker(&["kill", "--signal", "HUP"])?;
        let killed = |line: &&Line| line.0.contains(RELOAD);
        let times = || container.log.err.so_far().iter().filter(killed).count();
        proc::poll("the end of the hook", || (times() > round).then_some(()))?;
        container.log.out.until("got HUP ")?;
    }
    container.docker(&["stop"])?;
    ensure_eq!(container.exit_code()?, 3, "exit code");
    let log = container.whole_log()?;
    let expected = ["pre-stop", "on-stop", "stopping", "leftovers", "post-stop"];
    ensure!(phases(&log).ends_with(&expected), "{log:#?}");
    for text in [
        "pre-stop hook failed with signal KILL",
        "[post-stop post-stop-1 stdout] afterwards",
        "leaving code=3",
    ] {
        ensure!(has(&log, text), "no {text:?} in {log:#?}");
    }
    ensure_eq!(container.log.out.count("got TERM "), 1, "stop signals that the app had");
    Ok(())
}
