//! A sample of the faults, for every run of the tests; and each fault that once broke a promise.

use super::judge::{Verdict, judge, warnings};
use super::life::{Life, Sight, live};
use super::work::{self, Job};
use crate::support::trace::Injection;
use crate::support::{Outcome, need};
use crate::{ensure, ensure_eq};

/// So many faults of each life.
const SAMPLE: usize = 30;

/// A build for development closes descriptors with a check of std (fcntl(2)) that ends the program.
fn is_of_std(job: &Job) -> bool {
    cfg!(debug_assertions) && job.call.number == libc::SYS_fcntl
}

/// Faults that lie far from each other: other calls, other errors, other moments.
fn sample(life: Life) -> Outcome {
    if !need::pid_namespace() {
        return Ok(());
    }
    let usual = work::usual(life, None)?;
    let mut jobs = work::jobs(life, &usual, 3)?;
    jobs.retain(|job| !is_of_std(job));
    let stride = (jobs.len() / SAMPLE).max(1);
    let mut reached = 0;
    for job in jobs.into_iter().step_by(stride) {
        let mut first = String::new();
        let doubt = |reasons: &[String], sight: &Sight| {
            first = format!("{reasons:?}, {:?}", warnings(sight));
        };
        match work::try_it(&job, &usual, None, doubt)? {
            (Verdict::Broken(reasons), sight) => {
                let all = (sight.log, sight.words, sight.out);
                ensure!(false, "{}: {reasons:?}, before {first}: {all:?}", job.name());
            }
            (Verdict::NotReached, _) => {}
            _ => reached += 1,
        }
    }
    ensure!(reached > SAMPLE / 3, "only {reached} faults were reached");
    Ok(())
}

#[test]
fn a_plain_life_bears_what_the_kernel_refuses() -> Outcome {
    sample(Life::Plain)
}

#[test]
fn a_life_with_hooks_bears_what_the_kernel_refuses() -> Outcome {
    sample(Life::Hooks)
}

#[test]
fn a_life_with_a_tree_of_processes_bears_what_the_kernel_refuses() -> Outcome {
    sample(Life::Tree)
}

#[test]
fn a_life_with_everything_bears_what_the_kernel_refuses() -> Outcome {
    sample(Life::Everything)
}

/// Lives a life in which this call fails for the n-th time, or from then on.
fn with(
    life: Life,
    call: i64,
    errno: i32,
    nth: usize,
    on: bool,
) -> Outcome<Option<(Verdict, Sight)>> {
    if !need::pid_namespace() {
        return Ok(None);
    }
    let injection = Injection { call, nth, on, errno };
    let usual = work::usual(life, None)?;
    let sight = live(life, Some(injection), None)?;
    Ok(Some((judge(life, injection, &usual, &sight), sight)))
}

fn warned(sight: &Sight, text: &str) -> bool {
    warnings(sight).iter().any(|line| line.contains(text))
}

/// The log said that a process survives SIGKILL in uninterruptible sleep.
#[test]
fn a_sigkill_that_is_refused_is_said() -> Outcome {
    let Some((verdict, sight)) = with(Life::Plain, libc::SYS_kill, libc::EPERM, 1, true)? else {
        return Ok(());
    };
    ensure!(warned(&sight, "unable to send KILL to every process"), "{:?}", sight.words);
    ensure!(!sight.words.iter().any(|line| line.contains("sleep)")), "{:?}", sight.words);
    ensure!(matches!(verdict, Verdict::Lost(_)), "{verdict:?}");
    Ok(())
}

/// A helper whose files cannot be opened looked as if it had ended: it was never asked, and no word was said.
#[test]
fn a_process_whose_files_cannot_be_opened_has_not_ended() -> Outcome {
    for nth in [3, 4, 5] {
        let fault = with(Life::Plain, libc::SYS_openat, libc::EMFILE, nth, true)?;
        let Some((verdict, sight)) = fault else { return Ok(()) };
        let reached = sight.seen.injected > 0;
        ensure!(!reached || warned(&sight, "unable to read the process tree"), "{:?}", sight.words);
        ensure!(!matches!(verdict, Verdict::Broken(_)), "from the {nth}th on: {verdict:?}");
    }
    Ok(())
}

/// Once /proc could not be read any more, all processes were asked, those that had been asked before as well.
#[test]
fn processes_that_were_asked_are_not_asked_again_at_once_without_proc() -> Outcome {
    for nth in [2, 3] {
        let fault = with(Life::Plain, libc::SYS_fstatfs, libc::ENOMEM, nth, true)?;
        let Some((_, sight)) = fault else { return Ok(()) };
        let asked = sight.out.iter().filter(|line| line.starts_with("helper: got TERM ")).count();
        ensure_eq!(asked, 1, "from the {nth}th on: stop signals of the helper");
    }
    Ok(())
}

/// A mask that could not be set was set "back" to none at all: every signal was lost.
#[test]
fn a_refused_change_of_the_mask_unblocks_no_signal() -> Outcome {
    for nth in 1..=6 {
        let fault = with(Life::Hooks, libc::SYS_rt_sigprocmask, libc::EPERM, nth, false)?;
        let Some((verdict, _)) = fault else { return Ok(()) };
        ensure!(!matches!(verdict, Verdict::Broken(_)), "the {nth}th: {verdict:?}");
    }
    Ok(())
}

/// std's list of a directory panics if close(2) fails.
#[test]
fn a_close_that_fails_is_no_fault_of_graceinit() -> Outcome {
    let fault = with(Life::Plain, libc::SYS_close, libc::EDQUOT, 1, true)?;
    let Some((verdict, _)) = fault else { return Ok(()) };
    ensure!(!matches!(verdict, Verdict::Broken(_)), "{verdict:?}");
    Ok(())
}

/// The loop came round a hundred thousand times in a second.
#[test]
fn a_loop_that_wakes_up_for_nothing_pauses() -> Outcome {
    for (life, call, errno) in [
        (Life::Plain, libc::SYS_rt_sigtimedwait, libc::EAGAIN),
        (Life::Everything, libc::SYS_recvmsg, libc::EAGAIN),
    ] {
        let Some((verdict, sight)) = with(life, call, errno, 1, true)? else { return Ok(()) };
        ensure!(warned(&sight, "wakes up for nothing"), "{:?} {:?}", sight.words, sight.log);
        ensure!(!matches!(verdict, Verdict::Broken(_)), "{verdict:?}");
    }
    Ok(())
}

/// A message that could not be removed was heard again and again.
#[test]
fn a_notify_socket_that_cannot_be_read_is_closed() -> Outcome {
    for nth in [1, 2] {
        let fault = with(Life::Everything, libc::SYS_recvmsg, libc::ENOSYS, nth, true)?;
        let Some((verdict, sight)) = fault else { return Ok(()) };
        ensure!(warned(&sight, "unable to read the notify socket"), "{:?}", sight.log);
        ensure!(!matches!(verdict, Verdict::Broken(_)), "from the {nth}th on: {verdict:?}");
    }
    Ok(())
}
