//! Which faults there are, and the lives that suffer them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use super::calls::{CANNOT_FAIL, Call, call};
use super::judge::{Verdict, judge, signs};
use super::life::{Life, Sight, live};
use crate::support::trace::Injection;
use crate::support::{Fault, Outcome};

/// One fault of one life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) life: Life,
    pub(crate) call: &'static Call,
    pub(crate) error: &'static str,
    pub(crate) injection: Injection,
}

impl Job {
    /// `LIFE CALL ERROR N` or `LIFE CALL ERROR N+`.
    pub(crate) fn name(&self) -> String {
        let Injection { nth, on, .. } = self.injection;
        let plus = if on { "+" } else { "" };
        format!("{} {} {} {nth}{plus}", self.life.name(), self.call.name(), self.error)
    }
}

/// A life in which no call fails. It is lived until one ends as it should: the machine may be busy.
pub(crate) fn usual(life: Life, graceinit: Option<&Path>) -> Outcome<Sight> {
    const TRIES: usize = 5;
    let mut last = String::new();
    for _ in 0..TRIES {
        let sight = live(life, None, graceinit)?;
        let wrong = expected(life, &sight);
        if wrong.is_empty() {
            return Ok(sight);
        }
        last = format!("{wrong:?}, log: {:?} {:?}", sight.log, sight.words);
    }
    Err(Fault::new(format!("{}: without a fault: {last}", life.name())))
}

/// What is not as it should be in a life in which no call fails.
fn expected(life: Life, sight: &Sight) -> Vec<String> {
    let signs = signs(life, sight);
    let mut wanted = vec![
        ("exit", "code 7"),
        ("USR1 to the app", "1"),
        ("HUP to the app", "1"),
        ("saved", "saved terms=1"),
    ];
    match life {
        Life::Plain | Life::Tree => {}
        Life::Hooks => wanted.extend([("hooks", "reload on post"), ("pre", "pre")]),
        Life::Everything => wanted.extend([
            ("hooks", "ready reload on post"),
            ("pre", "pre"),
            ("/readyz", "200"),
            ("report", "7"),
            ("metrics file", "true"),
            ("ready file", "false"),
        ]),
    }
    let mut wrong: Vec<String> = wanted
        .into_iter()
        .filter(|(name, value)| signs.get(*name).map(String::as_str) != Some(value))
        .map(|(name, _)| format!("{name}: {:?}", signs.get(name)))
        .collect();
    let asked = signs.iter().filter(|(name, _)| name.starts_with("TERM to "));
    wrong.extend(asked.filter(|(_, value)| *value != "1").map(|(name, n)| format!("{name}: {n}")));
    if sight.zombies > 0 || sight.took > life.longest() {
        wrong.push(format!("{} zombies, {:?}", sight.zombies, sight.took));
    }
    wrong
}

/// How often each call is made in a life.
pub(crate) fn counts(usual: &Sight) -> Outcome<BTreeMap<&'static str, (&'static Call, usize)>> {
    let mut counts = BTreeMap::new();
    for number in usual.seen.calls.iter().filter(|number| !CANNOT_FAIL.contains(number)) {
        let found = call(*number)
            .ok_or_else(|| Fault::new(format!("calls.rs does not have call number {number}")))?;
        counts.entry(found.name()).or_insert((found, 0)).1 += 1;
    }
    Ok(counts)
}

/// The faults of a life. Of a call that is made more than `most` times, each error gets another part of the
/// occurrences, `most` of them, so that all occurrences fail with some error; from a call on: the first, the second, the
/// fourth, and so on.
pub(crate) fn jobs(life: Life, usual: &Sight, most: usize) -> Outcome<Vec<Job>> {
    let mut jobs = Vec::new();
    for (call, count) in counts(usual)?.into_values() {
        for (place, (error, errno)) in call.errors().enumerate() {
            let mut add = |nth, on| {
                let injection = Injection { call: call.number, nth, on, errno };
                jobs.push(Job { life, call, error, injection });
            };
            let stride = count.div_ceil(most).max(1);
            (1..=count)
                .filter(|nth| nth % stride == place % stride)
                .for_each(|nth| add(nth, false));
            // No kernel interrupts every call: a program that repeats it, as it should, would never end. Nor does one
            // say each time that a descriptor can be read, and then that there is nothing.
            let never =
                errno == libc::EINTR || (call.number, errno) == (libc::SYS_read, libc::EAGAIN);
            if !never {
                let mut nth = 1;
                while nth <= count {
                    add(nth, true);
                    nth *= 2;
                }
            }
        }
    }
    Ok(jobs)
}

/// Lives the life of a job. If a promise is broken it is lived again, since the machine may be busy: a promise counts as
/// broken only if it is broken twice; the first time is told to `doubt`.
pub(crate) fn try_it(
    job: &Job,
    usual: &Sight,
    graceinit: Option<&Path>,
    doubt: impl FnOnce(&[String], &Sight),
) -> Outcome<(Verdict, Sight)> {
    let again = || -> Outcome<(Verdict, Sight)> {
        let sight = live(job.life, Some(job.injection), graceinit)?;
        Ok((judge(job.life, job.injection, usual, &sight), sight))
    };
    let first = again()?;
    let Verdict::Broken(reasons) = &first.0 else { return Ok(first) };
    doubt(reasons, &first.1);
    again()
}

/// Does `work` for each job, so many at a time.
pub(crate) fn in_parallel<T: Send>(jobs: Vec<T>, at_a_time: usize, work: impl Fn(T) + Sync) {
    let next = Mutex::new(jobs.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let Some(job) = next.lock().expect("no panic").next() else { return };
                    work(job);
                }
            });
        }
    });
}
