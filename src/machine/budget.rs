//! The arithmetic of the budget: every other time is derived from its end. See docs/shutdown.md.

use std::time::Duration;

use super::attempt::HookId;
use super::plan::{HookLimits, Rung, Wait};
use crate::types::Time;

pub use super::plan::ENDLESS;

/// The longest pause between attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// The pause after the first round of signals to leftovers; it doubles with each round.
const FIRST_SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two rounds.
const LONGEST_SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// When pre-stop and on-stop hooks are killed: a quarter of the budget (at most 5 s) is kept for the app,
/// which has to act on the stop signal whatever the hooks do.
pub fn hooks_end(budget_end: Time, grace: Duration) -> Time {
    budget_end.before((grace / 4).min(Duration::from_secs(5)))
}

/// When the drain ends whatever the samples show: on-stop hooks, if there are any, get a quarter of the
/// budget (at most 5 s) before the quarter of the app.
pub fn drain_end(budget_end: Time, grace: Duration, on_stop_hooks: bool) -> Time {
    let hooks =
        if on_stop_hooks { (grace / 4).min(Duration::from_secs(5)) } else { Duration::ZERO };
    hooks_end(budget_end, grace).before(hooks)
}

/// The pause between two attempts of a probe. Readiness is seen at most a tenth of the start time late, or
/// 20 ms, and a slow start does not cost much CPU time.
pub fn probe_pause(waited: Duration) -> Duration {
    (waited / 10).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

/// When post-stop hooks are killed: a killed process needs time to vanish, and that is part of the reserve.
pub fn post_stop_hooks_end(reserve_end: Time, timeout: Duration) -> Time {
    reserve_end.before((timeout / 10).min(Duration::from_millis(100)))
}

/// How long the machine waits for killed processes: one in uninterruptible sleep never vanishes. This time
/// is part of the post-stop reserve.
pub fn dying(post_stop_timeout: Duration) -> Duration {
    (post_stop_timeout / 2).min(Duration::from_millis(500))
}

/// When an attempt that starts `now` is killed; `None`: no time is left for it.
pub fn attempt_end(now: Time, limits: &HookLimits, hooks_end: Time) -> Option<Time> {
    (now < hooks_end).then(|| now.after(limits.timeout).min(hooks_end))
}

/// The pause after failed attempt `attempt` (from 1). It doubles with each attempt.
pub fn backoff(limits: &HookLimits, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    limits.backoff.saturating_mul(1 << doublings).min(LONGEST_BACKOFF)
}

/// Shortens a pause by up to a half, so that replicas which fail together do not retry together. `seed` is
/// random in each life; 0 shortens nothing.
pub fn jittered(pause: Duration, seed: u64, id: HookId) -> Duration {
    if seed == 0 {
        return pause;
    }
    // The finalizer of splitmix64 (Steele, Lea, Flood 2014): every bit of the seed affects every bit of the
    // result.
    let place = (id.phase as u64) << 56 | (id.index as u64) << 32 | u64::from(id.attempt);
    let mut bits = seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let thousandths = u32::try_from((bits ^ bits >> 31) % 501).unwrap_or(0);
    pause - pause / 1000 * thousandths
}

/// How long before SIGKILL the records of the survivors are begun. A child makes them, because reads of
/// /proc may block and SIGKILL must not wait for them. Less than a tenth, the time that `who` leaves the processes
/// that are asked last: they have woken by then.
pub fn survivors_lead(grace: Duration) -> Duration {
    (grace / 12).min(Duration::from_millis(500))
}

/// How long a second stop request leaves for these records.
pub const HURRIED_SURVIVORS_LEAD: Duration = Duration::from_millis(100);

/// When the diagnose signal is sent: `lead` before the end of the budget, but not before the app had half
/// of the time that was `left` when it was asked to stop.
pub fn diagnose_at(budget_end: Time, lead: Duration, left: Duration) -> Time {
    budget_end.before(lead.min(left / 2))
}

/// The pause after round `round` (from 0) of signals to leftovers.
pub fn sweep_pause(round: u32) -> Duration {
    FIRST_SWEEP_PAUSE.saturating_mul(1 << round.min(6)).min(LONGEST_SWEEP_PAUSE)
}

/// How long step `step` of `--stop-signal` lasts when `left` remains; `None`: until the app has ended.
///
/// Shares always fit. Fixed waits that do not fit are shortened in proportion, so that the last signal is
/// always sent. A last step without a wait keeps a quarter of `left`, however long the other waits are.
/// Where the budget has no end, a fixed wait is kept and a share lasts until the app has ended.
pub fn rung_wait(ladder: &[Rung], step: usize, left: Option<Duration>) -> Option<Duration> {
    match (left, ladder.get(step).and_then(|rung| rung.wait)) {
        (Some(left), _) => Some(bounded_wait(ladder, step, left)),
        (None, Some(Wait::For(wait))) => Some(wait),
        (None, Some(Wait::Share(_)) | None) => None,
    }
}

fn bounded_wait(ladder: &[Rung], step: usize, left: Duration) -> Duration {
    let quarter = left / 4;
    let wants = |rung: &Rung| match rung.wait {
        Some(Wait::For(wait)) => wait,
        Some(Wait::Share(hundredths)) => left * u32::from(hundredths) / 100,
        None => quarter,
    };
    let mine = ladder.get(step).map_or(left, wants);
    if let Some(Rung { wait: Some(Wait::Share(_)), .. }) = ladder.get(step) {
        return mine;
    }
    let all: Duration =
        ladder.iter().skip(step).map(wants).fold(Duration::ZERO, Duration::saturating_add);
    if all <= left {
        return mine;
    }
    let open_end = ladder.len() > step + 1 && ladder.last().is_some_and(|rung| rung.wait.is_none());
    let kept = if open_end { quarter } else { Duration::ZERO };
    let (left, all) = (left - kept, all.saturating_sub(kept));
    let share = left.as_nanos().saturating_mul(mine.as_nanos()) / all.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::attempt::{HookId, HookPhase};
    use super::super::plan::OnFailure;
    use super::*;
    use crate::types::Signal;

    const S: Duration = Duration::from_secs(1);

    fn rung(signal: Signal, wait: Option<u32>) -> Rung {
        Rung { signal: Some(signal), wait: wait.map(|n| Wait::For(S * n)) }
    }

    #[test]
    fn a_ladder_that_fits_is_kept_and_one_that_does_not_is_squeezed() {
        let ladder = [rung(Signal::TERM, Some(10)), rung(Signal::INT, Some(5))];
        assert_eq!(bounded_wait(&ladder, 0, S * 30), S * 10);
        assert_eq!(bounded_wait(&ladder, 0, S * 15), S * 10);
        assert_eq!(bounded_wait(&ladder, 0, S * 6), S * 4);
        assert_eq!(bounded_wait(&ladder, 1, S * 2), S * 2);
        assert_eq!(bounded_wait(&ladder, 0, Duration::ZERO), Duration::ZERO);
        let open = [rung(Signal::TERM, Some(10)), rung(Signal::INT, None)];
        assert_eq!(bounded_wait(&open, 0, S * 8), S * 6);
        assert_eq!(bounded_wait(&open, 0, S * 20), S * 10);
    }

    #[test]
    fn a_share_is_a_share_of_what_is_left() {
        let share = |hundredths| Rung { signal: None, wait: Some(Wait::Share(hundredths)) };
        let ladder = [share(90), share(50), rung(Signal::INT, None)];
        assert_eq!(bounded_wait(&ladder, 0, S * 10), S * 9);
        assert_eq!(bounded_wait(&ladder, 1, S), S / 2);
        assert_eq!(bounded_wait(&ladder, 0, Duration::ZERO), Duration::ZERO);
        let mixed = [rung(Signal::TERM, Some(8)), share(50)];
        assert_eq!(bounded_wait(&mixed, 0, S * 12), S * 12 * 8 / 14);
    }

    #[test]
    fn a_budget_without_an_end_keeps_waits_and_has_no_shares() {
        let share = Rung { signal: None, wait: Some(Wait::Share(50)) };
        let ladder = [rung(Signal::TERM, Some(10)), share, rung(Signal::INT, None)];
        assert_eq!(rung_wait(&ladder, 0, None), Some(S * 10));
        assert_eq!(rung_wait(&ladder, 1, None), None);
        assert_eq!(rung_wait(&ladder, 2, None), None);
        assert_eq!(rung_wait(&ladder, 0, Some(S * 60)), Some(S * 10));
    }

    #[test]
    fn backoff_doubles_and_is_bounded() {
        let limits = HookLimits {
            timeout: S,
            retries: 99,
            backoff: Duration::from_millis(200),
            on_failure: OnFailure::Warn,
        };
        let pauses: Vec<u128> = (1..5).map(|n| backoff(&limits, n).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600]);
        assert_eq!(backoff(&limits, 99), LONGEST_BACKOFF);
        assert_eq!(backoff(&limits, u32::MAX), LONGEST_BACKOFF);
    }

    #[test]
    fn jitter_shortens_by_up_to_a_half_and_differs_by_phase_hook_and_attempt() {
        let mut pauses = Vec::new();
        for phase in HookPhase::ALL {
            for (index, attempt) in [(0, 1), (0, 2), (1, 1)] {
                let id = HookId { phase, round: 0, index, attempt };
                assert_eq!(jittered(S, 0, id), S);
                let pause = jittered(S, 4711, id);
                assert!(pause >= S / 2 && pause <= S, "{pause:?}");
                pauses.push(pause);
            }
        }
        let all = pauses.len();
        pauses.sort_unstable();
        pauses.dedup();
        // Of 501 values a few may coincide by chance.
        assert!(pauses.len() + 2 >= all, "{} of {all}", pauses.len());
    }

    #[test]
    fn jitter_is_the_finalizer_of_splitmix64() {
        // Each seed is such that the finalizer's input is a state of a generator that began with 0. Its outputs are
        // published with the generator: these are the second and the third.
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let id = HookId { phase: HookPhase::PreStart, round: 0, index: 0, attempt: 1 };
        assert_eq!(id.phase as u64, 0);
        for (step, output) in [(2, 0x6e78_9e6a_a1b9_65f4u64), (3, 0x06c4_5d18_8009_454f)] {
            let thousandths = u32::try_from(output % 501).unwrap();
            let pause = jittered(S, GAMMA ^ GAMMA.wrapping_mul(step), id);
            assert_eq!(pause, S - S / 1000 * thousandths);
        }
    }

    #[test]
    fn shares_of_short_times_and_limits_of_long_ones() {
        let ms = Duration::from_millis;
        for (waited, pause) in [(ms(10), ms(20)), (ms(500), ms(50)), (S * 60, S)] {
            assert_eq!(probe_pause(waited), pause);
        }
        let end = Time(100_000_000_000);
        for (timeout, before, wait) in [(ms(200), ms(20), ms(100)), (S * 5, ms(100), ms(500))] {
            assert_eq!(end.since(post_stop_hooks_end(end, timeout)), before);
            assert_eq!(dying(timeout), wait);
        }
        for (grace, lead) in [(ms(1200), ms(100)), (S * 60, ms(500))] {
            assert_eq!(survivors_lead(grace), lead);
        }
        for (lead, left, before) in [(S, S * 10, S), (S * 8, S * 10, S * 5)] {
            assert_eq!(end.since(diagnose_at(end, lead, left)), before);
        }
        for (grace, hooks, before) in
            [(S * 8, false, S * 2), (S * 8, true, S * 4), (S * 60, true, S * 10)]
        {
            assert_eq!(end.since(drain_end(end, grace, hooks)), before);
        }
        let pauses: Vec<u128> = (0..9).map(|round| sweep_pause(round).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
    }

    #[test]
    fn an_attempt_ends_with_its_timeout_or_with_the_time_of_the_hooks() {
        let limits = HookLimits { timeout: S, retries: 0, backoff: S, on_failure: OnFailure::Warn };
        let (now, end) = (Time(1_000_000_000), Time(2_500_000_000));
        assert_eq!(attempt_end(now, &limits, end), Some(now.after(S)));
        assert_eq!(attempt_end(Time(2_000_000_000), &limits, end), Some(end));
        assert_eq!(attempt_end(end, &limits, end), None);
        assert_eq!(attempt_end(end.after(S), &limits, end), None);
    }

    #[test]
    fn hooks_never_get_the_last_quarter() {
        let end = Time(100_000_000_000);
        assert_eq!(end.since(hooks_end(end, S * 8)), S * 2);
        assert_eq!(end.since(hooks_end(end, S * 600)), S * 5);
        assert_eq!(hooks_end(end, Duration::ZERO), end);
    }
}
