//! Why a process died of a SIGKILL that graceinit did not send: the kernel has killed it for want of memory, or another
//! process has. Looked at only when that has happened. Nothing is kept for it but two numbers, read once after the
//! app's start.
//!
//! The kernel tells how many processes it has killed in a control group, not which. Processes whose parent is not
//! graceinit die unseen, and two may die at the same time. So a process counts as killed by the kernel only if
//!
//! - as many processes were killed since the last look as there are that can have been, and
//! - it was large: the kernel chooses the largest process.
//!
//! Everything else that the count does not exclude is "unknown".

use std::time::Duration;

use crate::account::incident::{Incident, KilledBy, Killing, Kin};
use crate::account::journal;
use crate::sys::cgroup::{self, Counted, Group, Kills};
use crate::sys::{reap, tree};
use crate::types::{Pid, Signal, Time};

/// A process that the kernel has killed may take this long to vanish, so it may have been counted before the first
/// reading although it was found dead after it.
const DYING: Duration = Duration::from_secs(10);

/// What is known of deaths.
#[derive(Debug, Default)]
pub struct Deaths {
    /// graceinit has sent SIGKILL to the app or to every process.
    all_killed: bool,
    /// graceinit has sent SIGKILL to these process groups.
    killed_groups: Vec<Pid>,
    /// The last signal that was forwarded to the app.
    forwarded: Option<(Signal, Time)>,
    /// The kernel's count when it was read last; it is not known how many were killed before.
    known: Option<Kills>,
    /// When the count was first read.
    begun: Option<Time>,
    /// Processes to be judged.
    waiting: Vec<Dead>,
}

/// A process that died of a SIGKILL which graceinit did not send.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Dead {
    kin: Kin,
    pid: Pid,
    name: Option<String>,
    /// The most memory that it had in RAM, if that is known.
    peak: Option<u64>,
    /// That may be the memory of a child that it has waited for.
    borrowed: bool,
    evidence: Evidence,
    memory: cgroup::Memory,
}

/// What speaks for and against a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Evidence {
    /// It was so large that the kernel may have chosen it.
    large: bool,
    /// No other process can be the reason why it seems large.
    alone: bool,
    /// If the kernel has killed it, the count shows that.
    counted: bool,
}

impl Deaths {
    /// Reads the kernel's count. Once, after the app was executed.
    pub fn begin(&mut self, now: Time) {
        if self.begun.is_none() {
            self.begun = Some(now);
            self.known = Group::own().and_then(|group| group.kills);
        }
    }

    /// graceinit sends SIGKILL to the app or to every process.
    pub fn kills_all(&mut self) {
        self.all_killed = true;
    }

    /// graceinit sends SIGKILL to a process group.
    pub fn kills_group(&mut self, group: Pid) {
        if !self.killed_groups.contains(&group) {
            self.killed_groups.push(group);
        }
    }

    /// A signal was forwarded to the app.
    pub fn forwards(&mut self, signal: Signal, now: Time) {
        self.forwarded = Some((signal, now));
    }

    /// The app died of `signal`, and is not reaped: what else is known of that.
    pub fn app_died(&self, pid: Pid, signal: Signal, now: Time) {
        if reap::remains(pid).is_some_and(|remains| remains.dumped_core) {
            journal::incident(&Incident::DumpedCore { signal });
        }
        if let Some((_, at)) = self.forwarded.filter(|(forwarded, _)| *forwarded == signal) {
            journal::incident(&Incident::DiedOfForwarded { signal, after: now.since(at) });
        }
    }

    /// A child died of SIGKILL. If it is not reaped yet, more is known of it.
    pub fn killed(&mut self, kin: Kin, pid: Pid) {
        if self.all_killed {
            return;
        }
        let ended = tree::look_up_ended(pid);
        let group = ended.as_ref().map_or(pid, |ended| ended.group);
        if self.killed_groups.contains(&group) {
            return;
        }
        let remains = reap::remains(pid);
        let faults = ended.as_ref().map(|ended| (ended.faults, ended.faults_of_children));
        let peak = remains.map(|remains| remains.peak);
        let borrowed = match (peak, faults) {
            (Some(peak), Some((own, of_children))) => {
                is_borrowed(peak, own, of_children, cgroup::has_huge_pages())
            }
            _ => true,
        };
        self.waiting.push(Dead {
            kin,
            pid,
            name: ended.map(|ended| ended.name),
            peak,
            borrowed,
            evidence: Evidence::default(),
            memory: cgroup::Memory::default(),
        });
    }

    /// Judges the processes that wait for it. Returns the roles of those that the kernel has killed.
    pub fn judge(&mut self, now: Time) -> Vec<Kin> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        let growth = Group::own().map_or(Err(UNREADABLE.to_owned()), |group| {
            let growth = self.growth(&group);
            self.examine(&group, &mut waiting, now);
            growth
        });
        let verdicts =
            judge(&growth, &waiting.iter().map(|dead| dead.evidence).collect::<Vec<_>>());
        let mut by_kernel = Vec::new();
        for (dead, by) in waiting.into_iter().zip(verdicts) {
            if by == KilledBy::OutOfMemory {
                by_kernel.push(dead.kin);
            }
            let Dead { kin, pid, name, memory, .. } = dead;
            let (limit, peak) = (memory.limit, memory.peak);
            let killing = Killing { kin, pid, name, by, limit, peak };
            journal::incident(&Incident::Killed(Box::new(killing)));
        }
        by_kernel
    }

    /// At the end of the app: whether the kernel has killed processes that graceinit has not seen die.
    pub fn look_for_unseen(&mut self) {
        let Some(group) = Group::own() else { return };
        if let Ok(count @ 1..) = self.growth(&group) {
            journal::incident(&Incident::KilledUnseen { count });
        }
    }

    /// How many processes the kernel has killed since the last look; why that is not known.
    fn growth(&mut self, group: &Group) -> Result<u64, String> {
        if group.is_unverifiable() {
            return Err(UNREADABLE.to_owned());
        }
        let kills = group.kills.clone().ok_or_else(|| UNREADABLE.to_owned())?;
        let known = match self.known.take() {
            None if group.began_with_zero() => Some(kills.from_zero()),
            known => known,
        };
        let growth = match known.and_then(|known| kills.since(&known)) {
            Some(growth) => Ok(growth),
            None if kills.count == 0 => Ok(0),
            None => Err(format!(
                "the kernel has killed {} in its control group for want of memory, and how many of them before \
                 graceinit's start is not known",
                processes(kills.count)
            )),
        };
        self.known = Some(kills);
        growth
    }

    fn examine(&self, group: &Group, waiting: &mut [Dead], now: Time) {
        let early = self.begun.is_none_or(|begun| now.since(begun) < DYING);
        let counted_before = self.known.as_ref().is_some_and(|known| known.count > 0);
        for dead in waiting {
            dead.memory = group.memory(dead.pid);
            let whole = dead.memory.peak.or(dead.memory.limit);
            let whole = whole.or_else(cgroup::memory_of_the_machine);
            let large = dead.peak.zip(whole).map(|(peak, whole)| peak >= whole / 3);
            // A count that was read too late, or of another group, is wrong only for a process that was large.
            let doubtful = group.has_neighbours() || early && counted_before;
            let counted = group.counts(dead.pid) == Counted::Here;
            dead.evidence = Evidence {
                large: large == Some(true),
                alone: !dead.borrowed,
                counted: counted && (!doubtful || large == Some(false)),
            };
        }
    }
}

const UNREADABLE: &str = "the count of its control group cannot be read";
const NOT_COUNTED: &str = "the kernel has counted none, but this one may have been counted in another control group or earlier";

fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// The kernel tells one peak for a process and the children that it has waited for (RUSAGE_BOTH in kernel/sys.c).
/// Whether the peak may be a child's. A page fault brings in one page as a rule; `huge`: up to 2 MiB.
fn is_borrowed(peak: u64, own: u64, of_children: u64, huge: bool) -> bool {
    let most = if huge { 2 << 20 } else { 4 * PAGE };
    // All children together were smaller.
    let small = of_children.saturating_mul(most) < peak / 2;
    // An entry script has run small programs, and has then become the app, which has touched the memory itself.
    let itself = match huge {
        true => own / 8 >= of_children,
        false => own >= of_children && own.saturating_mul(PAGE) >= peak / 2,
    };
    !small && !itself
}

const PAGE: u64 = 4096;

/// Who has killed each of these processes, if so many were killed by the kernel.
fn judge(growth: &Result<u64, String>, dead: &[Evidence]) -> Vec<KilledBy> {
    let fits = |evidence: &Evidence| evidence.large && evidence.alone;
    let fitting = dead.iter().filter(|evidence| fits(evidence)).count() as u64;
    let each = dead.iter().map(|evidence| match growth {
        Err(why) => KilledBy::Unknown(why.clone()),
        Ok(0) if evidence.counted => KilledBy::Elsewhere,
        Ok(0) => KilledBy::Unknown(NOT_COUNTED.to_owned()),
        Ok(growth) if fits(evidence) && *growth == fitting => KilledBy::OutOfMemory,
        Ok(growth) => KilledBy::Unknown(format!(
            "the kernel has killed {} in its control group for want of memory, perhaps this one",
            processes(*growth)
        )),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Evidence = Evidence { large: true, alone: true, counted: true };
    const SMALL: Evidence = Evidence { large: false, alone: true, counted: true };

    fn words(growth: u64, dead: &[Evidence]) -> Vec<&'static str> {
        judge(&Ok(growth), dead).iter().map(KilledBy::as_str).collect()
    }

    #[test]
    fn the_kernel_is_named_only_if_the_count_and_the_size_agree() {
        assert_eq!(words(1, &[LARGE]), ["oom"]);
        assert_eq!(words(2, &[LARGE, LARGE]), ["oom", "oom"]);
        assert_eq!(words(1, &[LARGE, SMALL]), ["oom", "unknown"]);
        // A process that no parent of it was graceinit has died as well, and perhaps it alone.
        assert_eq!(words(2, &[LARGE]), ["unknown"]);
        assert_eq!(words(1, &[LARGE, LARGE]), ["unknown", "unknown"]);
        assert_eq!(words(1, &[SMALL]), ["unknown"]);
        assert_eq!(words(1, &[Evidence { alone: false, ..LARGE }]), ["unknown"]);
        assert_eq!(judge(&Err("why".into()), &[LARGE]), [KilledBy::Unknown("why".into())]);
    }

    #[test]
    fn a_count_that_did_not_grow_excludes_the_kernel_if_it_counts_this_process() {
        assert_eq!(words(0, &[LARGE, SMALL]), ["elsewhere", "elsewhere"]);
        assert_eq!(words(0, &[Evidence { counted: false, ..LARGE }]), ["unknown"]);
    }

    #[test]
    fn the_peak_of_a_large_child_is_not_the_own_one() {
        let peak = 64 << 20;
        for huge in [false, true] {
            assert!(!is_borrowed(peak, 300, 0, huge), "no child");
            assert!(!is_borrowed(peak, 16_000, 1000, huge), "small programs of an entry script");
            assert!(is_borrowed(peak, 1500, 16_000, huge), "a large child");
            assert!(is_borrowed(peak, 400, 3000, huge), "a child of any size");
        }
        assert!(!is_borrowed(peak, 16_000, 8700, false), "many small programs");
        assert!(
            is_borrowed(peak, 1500, 1500, true),
            "with huge pages a large child has few faults"
        );
    }

    #[test]
    fn what_graceinit_kills_itself_is_not_judged() {
        let mut deaths = Deaths::default();
        deaths.kills_group(Pid(i32::MAX));
        deaths.killed(Kin::Orphan, Pid(i32::MAX));
        deaths.kills_all();
        deaths.killed(Kin::App, Pid(i32::MAX - 1));
        assert_eq!(deaths.judge(Time::default()), []);
    }
}
